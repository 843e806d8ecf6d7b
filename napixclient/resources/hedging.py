"""When a request is slow, and how many requests may be sent twice. No I/O, no timers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

__all__ = ['Hedging']

#: Latencies that are remembered, and how many are needed to tell what is slow.
WINDOW, FEWEST = 1000, 50
#: No request is sent twice before so many seconds.
SOONEST = 0.001
#: Hedges that may be saved up.
BURST = 10.0


class Hedging:
    """Recent latencies, and a token bucket.

    Each request adds a share of a token, and a hedge takes one. The bucket starts empty, so extra requests never
    exceed that share of the requests made so far.

    :param share: extra requests per request.
    """

    __slots__ = ('_latencies', '_line', '_recent', '_share', '_tokens')

    def __init__(self, share: float = 0.05) -> None:
        self._share = share
        self._tokens = 0.0
        self._line: dict[object, None] = {}  # who waits for a token, oldest first
        self._recent: deque[float] = deque()
        self._latencies: list[float] = []  # the same, sorted

    def earn(self) -> None:
        """Count a request."""
        self._tokens = min(self._tokens + self._share, BURST)

    def spend(self, who: object) -> bool:
        """Take a hedge; false if none is left for this request.

        Requests that have waited longer come first: most slow requests are soon answered, and those at the head of
        the line are the ones that need a hedge.

        :param who: the request; it stays in line until it takes a hedge or leaves.
        """
        ahead = list(self._line).index(who) if who in self._line else len(self._line)
        if self._tokens < ahead + 1 - 1e-9:
            self._line[who] = None
            return False
        self._tokens -= 1 + self._share  # as it is a request itself, and brings in its share
        self.leave(who)
        return True

    def leave(self, who: object) -> None:
        """Leave the line: the request needs no hedge any more."""
        self._line.pop(who, None)

    def note(self, seconds: float) -> None:
        """Note an answer that took so many seconds."""
        if len(self._recent) == WINDOW:
            del self._latencies[bisect_left(self._latencies, self._recent.popleft())]
        self._recent.append(seconds)
        insort(self._latencies, seconds)

    def delay(self, quantile: float) -> float | None:
        """Seconds after which a request is slow; ``None`` while too few latencies are known."""
        count = len(self._latencies)
        if count < FEWEST:
            return None
        return max(self._latencies[min(int(quantile * count), count - 1)], SOONEST)
