"""How many requests at a time a server can take, learned from its answers. No I/O, no timers, the clock is given.

Additive increase, multiplicative decrease. Its ancestor, kamaki's ``_watch_thread_limit``, went up and down by one as
transfers became faster or slower than the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from time import monotonic

__all__ = ['AdaptiveCap']

FLOOR, CEILING = 2, 64
#: Answers that are needed for a judgement, where the cap is lower than that.
FEWEST = 16
#: What is left of the cap when the server is slow, and when it refuses: that is seen at once, slowness late.
SLOW, REFUSED = 0.75, 0.85
#: A window is slow when its mean is above the baseline by this share, and by two standard errors: chance is no sign.
TOLERANCE, ERRORS = 0.08, 2.0
#: Below this share of the cap at which the server was found slow it is at ease: such windows tell the baseline.
EASE = 0.7
#: How much of the baseline a window replaces: an ordinary one, and one that was made for it.
USUAL, PROBED = 0.1, 0.5
#: The baseline is measured anew after so many seconds, and not before so many windows.
PROBE_SECONDS, PROBE_WINDOWS = 10.0, 40


class AdaptiveCap:
    """The cap of one origin: from 2 to 64.

    It judges windows of as many answers as the cap is, which take about one round trip (at least 16, for less tell
    nothing). While requests have to wait for the cap, it grows by one with each window that is not slow. When one is,
    it loses a quarter; when the server refuses a request (429, 503) or lets its time run out, a seventh; at most once a
    round trip. Slow is relative to a baseline: how long answers took while the server was at ease. Now and then the cap
    drops to half for one window, to measure that again.

    Means, not medians: of requests that wait in a server's queue in turn, half may be as fast as ever. What took more
    than twice the median counts as twice, so that one hiccup is no sign.

    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = (
        '_baseline',
        '_clock',
        '_latencies',
        '_limit_when_slow',
        '_probed',
        '_resume',
        '_skip',
        '_spread',
        '_waited',
        '_windows',
        'limit',
    )

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        #: Requests that may be in flight.
        self.limit: int = FLOOR
        self._clock = clock
        self._baseline = self._spread = 0.0  # mean and standard deviation of what answers take, in seconds
        self._limit_when_slow = float('inf')
        self._latencies: list[float] = []
        self._waited = 0  # how many of these answers found another request waiting
        self._skip = FLOOR  # answers to come that tell nothing about the present cap
        self._probed, self._windows = clock(), 0  # when the baseline was last measured, and windows since then
        self._resume = 0  # the cap to go back to, while it is being measured

    def answered(self, elapsed: float, bound: bool) -> None:
        """A request was answered.

        :param elapsed: seconds since it was sent.
        :param bound: whether another one waits for the cap, and for nothing else.
        """
        if self._skip:
            self._skip -= 1
            return
        self._latencies.append(elapsed)
        self._waited += bound
        if len(self._latencies) >= max(self.limit, FEWEST):
            self._judge()

    def refused(self) -> None:
        """A request was refused because the server has too much to do, or its time ran out."""
        if self._skip:
            self._skip -= 1
        else:
            self._shrink(REFUSED)

    def _judge(self) -> None:
        """A window is full."""
        mean, spread, count = *_mean_and_spread(self._latencies), len(self._latencies)
        pressed = self._waited * 2 > count
        self._latencies.clear()
        self._waited = 0
        self._windows += 1
        if self._resume:
            self._measure(mean, spread, PROBED)
            self._change(self._resume)
            self._resume = 0
            return
        if not self._baseline:
            self._measure(mean, spread, 1)
        if pressed and mean > self._baseline * (1 + TOLERANCE) + ERRORS * self._spread / sqrt(count):
            if self.limit > FLOOR:
                self._shrink(SLOW)
            else:  # it is not we who make it slow
                self._measure(mean, spread, PROBED)
            return
        if self.limit <= EASE * self._limit_when_slow:
            self._measure(mean, spread, USUAL)
        if pressed and self._windows >= PROBE_WINDOWS and self._clock() - self._probed >= PROBE_SECONDS:
            self._probed, self._windows = self._clock(), 0
            self._resume = self.limit
            self._change(max(FLOOR, self.limit // 2))
        elif pressed:
            self.limit = min(self.limit + 1, CEILING)

    def _measure(self, mean: float, spread: float, weight: float) -> None:
        self._baseline += (mean - self._baseline) * weight
        self._spread += (spread - self._spread) * weight

    def _shrink(self, share: float) -> None:
        self._limit_when_slow = self.limit
        self._resume = 0
        self._change(max(FLOOR, int(self.limit * share)))

    def _change(self, limit: int) -> None:
        """What is in flight now, or will be at once, was not sent under the new cap, or is answered out of turn."""
        self._skip = max(self.limit, limit)
        self.limit = limit
        self._latencies.clear()
        self._waited = 0


def _mean_and_spread(latencies: list[float]) -> tuple[float, float]:
    """Mean and standard deviation, without what lies far out."""
    most = 2 * sorted(latencies)[len(latencies) // 2]
    bounded = [min(latency, most) for latency in latencies]
    mean = sum(bounded) / len(bounded)
    return mean, sqrt(sum((latency - mean) ** 2 for latency in bounded) / (len(bounded) - 1))
