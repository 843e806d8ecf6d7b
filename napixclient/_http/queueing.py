"""What waits to be sent to one origin, how fast it may go out, and how much of it at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from time import monotonic
from typing import Any

from ..messages import Response
from .adapting import AdaptiveCap
from .connect.dialer import Opening
from .engine import Engine
from .http1.connection import Connection
from .pacing import Pace, pause_asked_for
from .pending import PendingResponse
from .settings import AUTO

__all__ = ['SHORTEST_WAIT', 'Queueing']

#: Seconds between two looks at the rate: tokens that come in meanwhile are taken together.
SHORTEST_WAIT = 0.001


class Queueing(ABC):
    """The queue of one origin, its cap, and its rate where one was given.

    :param simultaneous: requests in flight at most, or ``AUTO``.
    """

    #: As the holder of a queued request.
    phase = 'queue'

    def __init__(self, engine: Engine, simultaneous: int | str) -> None:
        self._engine = engine
        self._queue: deque[PendingResponse] = deque()
        self._dropped = 0  # requests in the queue that are over already
        self._connections: list[Connection] = []
        self._openings: list[Opening] = []
        self._cap = AdaptiveCap() if simultaneous == AUTO else None
        self._simultaneous = simultaneous if isinstance(simultaneous, int) else AdaptiveCap().limit
        self._pace = None if engine.settings.rate is None else Pace(engine.settings.rate)
        self._held_until = 0.0  # of monotonic(): when a connection has been quiet for long enough
        self._alarm: Any = None  # the timer that tells when the rate allows more, or this is over

    @property
    def _waits(self) -> bool:
        """Whether a request is in the queue."""
        return len(self._queue) > self._dropped

    @property
    def _in_use(self) -> int:
        """Connections, and those that are being opened."""
        return len(self._connections) + len(self._openings)

    def _pop(self) -> PendingResponse | None:
        """The next request in the queue that is not over."""
        queue = self._queue
        while queue:
            pending = queue.popleft()
            if pending._outcome is None:
                return pending
            self._dropped -= 1
        return None

    def _put_back(self, pending: PendingResponse) -> None:
        """It could not be sent after all, and is the next."""
        pending._holder = self
        self._queue.appendleft(pending)

    def drop(self, pending: PendingResponse) -> Any:
        """A queued request was cancelled; it is skipped when its turn comes."""
        self._dropped += 1
        if self._dropped > 64 and self._dropped * 2 > len(self._queue):
            self._queue = deque(entry for entry in self._queue if entry._outcome is None and entry is not pending)
            self._dropped = 0
        if not self._waits:
            self._silence()
        return self

    # -- the rate --------------------------------------------------------------------------------------------------

    def _may_send(self) -> bool:
        """Whether the rate allows one more request; where it does not, a timer comes back to those that wait.

        Tokens are taken when requests are sent. Those for which a connection is being opened, or an authenticator
        runs, have one coming to them. Nor may anything be sent while the next request waits to see whether the server
        leaves a connection open.
        """
        seconds = 0.0
        if self._held_until:
            seconds = self._held_until - monotonic()
            if seconds <= 0:
                seconds = self._held_until = 0.0
        if self._pace is not None:
            seconds = max(
                seconds,
                self._pace.wait(
                    sum(opening.pending is not None for opening in self._openings)
                    + sum(connection.helper is not None for connection in self._connections)
                ),
            )
        if not seconds:
            return True
        if self._alarm is None and self._waits:
            self._alarm = self._engine.hub.loop.timer(max(seconds, SHORTEST_WAIT))
            self._alarm.start(self._awake)
        return False

    @property
    def _held_up(self) -> bool:
        """Whether the rate forbids even what has a token coming to it: the origin asked for a pause meanwhile."""
        return self._pace is not None and self._pace.wait() > 0

    def _awake(self) -> None:
        self._silence()
        self._catch_up()

    def _silence(self) -> None:
        """Stop the timer."""
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.stop()
            alarm.close()

    @property
    def _at_rest(self) -> bool:
        """Whether the rate would be the same for a new client of this origin."""
        return self._pace is None or self._pace.full

    # -- learning --------------------------------------------------------------------------------------------------

    def _learn(self, response: Response) -> None:
        """What an answer tells of how much the origin can take."""
        status = response.status
        if self._pace is not None and status == 429:
            pause = pause_asked_for(response.headers.get('retry-after'))
            if pause is not None:
                self._pace.tighten(pause, monotonic() - response.elapsed)
        if self._cap is None:
            return
        if status in (429, 503):
            self._cap.refused()
        else:
            # Not where it is the pool that has no place for more connections, or the rate that holds them up.
            bound = self._waits and self._in_use >= self._simultaneous and not self._held_up
            self._cap.answered(response.elapsed, bound)
        self._follow_cap(self._cap.limit)

    def _learn_of_timeout(self) -> None:
        """A request was not answered in time."""
        if self._cap is not None:
            self._cap.refused()
            self._follow_cap(self._cap.limit)

    # -- the dispatcher's business ---------------------------------------------------------------------------------

    @abstractmethod
    def _catch_up(self) -> None:
        """Give what waits to connections that are idle, or open some."""

    @abstractmethod
    def _follow_cap(self, limit: int) -> None:
        """So many requests may be in flight from now on."""
