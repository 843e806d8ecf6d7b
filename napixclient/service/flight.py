"""The requests of a run that its pool has in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from gevent.hub import Waiter

from .._http.pending import NEVER, Batch, deadline_of, pause
from ..errors import HTTPError
from ..messages import Request, Response
from ..pool import ClientPool

__all__ = ['Flight']


class Flight:
    """Gives requests to a pool, and takes their outcomes, for one greenlet that does both in turn.

    ``ClientPool.stream`` has a greenlet of its own for an iterable that blocks; that costs each request a microsecond.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._origins = pool._origins
        self._under_way: dict[int, Any] = {}  # number -> a PendingResponse, then its outcome
        self._batch = Batch(self._under_way)
        #: Numbers of what has finished, and is not yet taken.
        self.finished: deque[int] = self._batch.finished

    def __len__(self) -> int:
        return len(self._under_way)

    def submit(self, number: int, request: Request) -> None:
        """Have a request sent when it is its turn."""
        origins = self._origins
        pool = origins.by_host.get(request.host) or origins.pool_for(request.host)
        pending = pool.submit(request, self._batch, number)
        if pending.outcome is None:
            self._under_way[number] = pending

    def take(self, most: int) -> Iterator[tuple[int, Response | HTTPError]]:
        """The outcomes that are there, so many at most, and the numbers of their requests.

        One at a time: decoded bodies that were held together would be the garbage collector's business.
        """
        finished, under_way = self.finished, self._under_way
        for _ in range(min(len(finished), most)):
            number = finished.popleft()
            yield number, under_way.pop(number)

    def wait(self, seconds: float | None = None) -> None:
        """Block until there is an outcome, until :meth:`wake`, or for so many seconds."""
        batch = self._batch
        batch.waiter = Waiter()
        batch.wake_at = 1
        try:
            pause(batch.waiter, deadline_of(seconds))
        finally:
            batch.wake_at = NEVER

    def wake(self) -> None:
        """End the wait."""
        if self._batch.wake_at != NEVER:
            self._batch.wake()

    def cancel(self) -> None:
        """End everything with ``Cancelled``."""
        self._origins.cancel()

    def limit(self, host: str) -> int:
        """How many requests of a host may be in flight, as far as the pool knows by now."""
        return self._origins.pool_for(host).throttle.limit

    def sent(self) -> Iterator[tuple[float, int]]:
        """When each request that is in flight was sent, by ``time.monotonic()``, and its number.

        Read off the connections when somebody asks: a hook would cost each request a greenlet.
        """
        for connection in self._origins.core.slots.open:
            if connection.pending is not None:
                yield connection.started, connection.pending.request.tag
