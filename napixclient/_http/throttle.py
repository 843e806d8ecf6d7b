"""How much may be sent to one origin, and when: its cap, its rate, and the wait for a connection to prove itself."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..checks import AUTO
from ..messages import Response
from .adapting import AdaptiveCap
from .gevent_types import Loop, Watcher
from .pacing import Pace, pause_asked_for

__all__ = ['Throttle']

#: Seconds between two looks at the rate: tokens that come in meanwhile are taken together.
SHORTEST_WAIT = 0.001


class Throttle:
    """The limits of one origin.

    :param simultaneous: requests in flight at most, or ``AUTO``.
    :param rate: requests a second, or ``None``.
    :param loop: gevent's loop.
    :param wake: called when more may be sent than before.
    :param queued: counts the requests in the queue.
    :param promised: counts those that have a token coming to them: a connection is being opened for them, or an
        authenticator runs.
    :param now: seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        simultaneous: int | str,
        rate: float | None,
        loop: Loop,
        wake: Callable[[], None],
        queued: Callable[[], int],
        promised: Callable[[], int],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.cap: AdaptiveCap | None = AdaptiveCap() if simultaneous == AUTO else None
        #: Requests in flight at most.
        self.limit: int = simultaneous if isinstance(simultaneous, int) else AdaptiveCap().limit
        self.pace: Pace | None = None if rate is None else Pace(rate, now)
        #: Whether answers teach nothing, and no rate holds.
        self.fixed: bool = self.cap is None and self.pace is None
        #: Of the clock: when a connection has been quiet for long enough; 0 where nobody waits for that.
        self.held_until: float = 0.0
        self._loop = loop
        self._wake, self._queued, self._promised, self._now = wake, queued, promised, now
        self._alarm: Watcher | None = None  # the timer that tells when the rate allows more, or the wait is over

    def may_send(self) -> bool:
        """Whether the rate allows one more request; where it does not, a timer comes back to those that wait.

        Tokens are taken when requests are sent.
        """
        if self.fixed and not self.held_until:
            return True
        seconds = 0.0
        if self.held_until:
            seconds = self.held_until - self._now()
            if seconds <= 0:
                seconds = self.held_until = 0.0
        if self.pace is not None:
            seconds = max(seconds, self.pace.wait(self._promised()))
        if not seconds:
            return True
        if self._alarm is None and self._queued():
            self._alarm = self._loop.timer(max(seconds, SHORTEST_WAIT))
            self._alarm.start(self._ring)
        return False

    @property
    def paused(self) -> bool:
        """Whether the rate forbids even what has a token coming to it: the origin asked for a pause meanwhile."""
        return self.pace is not None and self.pace.wait() > 0

    def sent(self) -> None:
        """A request was sent, or tried in vain."""
        if self.pace is not None:
            self.pace.take()

    def hold(self, seconds: float) -> None:
        """Send nothing for a while: the next request waits to see whether the server leaves a connection open."""
        self.held_until = self._now() + max(seconds, SHORTEST_WAIT)

    def _ring(self) -> None:
        self.silence()
        self._wake()

    def silence(self) -> None:
        """Stop the timer: nobody waits."""
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.stop()
            alarm.close()

    @property
    def at_rest(self) -> bool:
        """Whether the rate would be the same for a new pool of this origin."""
        return self.pace is None or self.pace.full

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, response: Response, bound: Callable[[], bool]) -> int:
        """Learn from an answer how much the origin can take; return the new limit.

        :param bound: whether it is the limit that holds requests up, and not the pool or the rate.
        """
        status = response.status
        if self.pace is not None and status == 429:
            pause = pause_asked_for(response.headers.get('retry-after'))
            if pause is not None:
                self.pace.tighten(pause, self._now() - response.elapsed)
        if self.cap is None:
            return self.limit
        if status in (429, 503):
            self.cap.refused()
        else:
            self.cap.answered(response.elapsed, bound())
        return self.cap.limit

    def learn_of_timeout(self) -> int:
        """A request was not answered in time; the new limit."""
        if self.cap is None:
            return self.limit
        self.cap.refused()
        return self.cap.limit
