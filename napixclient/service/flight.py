"""The requests of a run that its pool has in hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gevent.hub import Waiter

from .._http.options import Simultaneous
from .._http.pending import NEVER, Batch, deadline_of, pause
from ..errors import HTTPError
from ..messages import Request, Response
from ..pool import ClientPool
from .submission import Options

__all__ = ['Cluster', 'Flight', 'PoolFlight']


class Flight(ABC):
    """Takes the outcomes of requests, for one greenlet that has them sent and takes them in turn."""

    #: Whether somebody can still tell what became of what was sent before the service began.
    known: bool = False

    def __init__(self) -> None:
        self._under_way: dict[int, Any] = {}  # number -> a PendingResponse, then its outcome
        self._batch = Batch(self._under_way)
        #: Numbers of what has finished, and is not yet taken.
        self.finished: deque[int] = self._batch.finished

    def __len__(self) -> int:
        return len(self._under_way)

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

    @abstractmethod
    def submit(self, number: int, request: Request) -> None:
        """Have a request sent when it is its turn."""

    @abstractmethod
    def inherit(self, number: int, request: Request) -> None:
        """Wait for the outcome of what was sent before the service began; only where that is ``known``."""

    @abstractmethod
    def kept(self, numbers: list[int]) -> None:
        """The results of these are in the store."""

    @abstractmethod
    def cancel(self) -> None:
        """End everything with ``Cancelled``."""

    @abstractmethod
    def halt(self) -> set[int]:
        """The service ends: leave what can be left to the next start; which requests were certainly not sent."""

    @abstractmethod
    def close(self, keeps: bool) -> None:
        """Leave what sends.

        :param keeps: whether the run goes on elsewhere, or later.
        """

    @abstractmethod
    def limit(self, host: str) -> int:
        """How many requests of a host may be in flight, as far as is known by now."""

    @abstractmethod
    def sent(self) -> Iterator[tuple[float, int]]:
        """When each request that is in flight was sent, by ``time.monotonic()``, and its number."""


class Cluster(Protocol):
    """A cluster that asks."""

    def check(self, options: Options) -> None:
        """:raises BadSubmission: for what only a pool of the service's own can do."""

    def open(self, id: str, fence: int, simultaneous: Simultaneous, ended: Callable[[], bool]) -> Flight | None:
        """What sends the requests of a run.

        :param fence: how many had the run before.
        :param ended: whether the run is over; ``None`` is returned when that is before there was a way.
        """

    def status(self) -> dict[str, object]:
        """Its lanes and workers, as ``napix cluster status --json`` prints them.

        :raises HTTPError: when the broker cannot be asked.
        """

    def close(self) -> None:
        """Wait until all runs have left it."""


class PoolFlight(Flight):
    """Gives requests to a pool of its own.

    ``ClientPool.stream`` has a greenlet of its own for an iterable that blocks; that costs each request a microsecond.
    """

    def __init__(self, pool: ClientPool) -> None:
        super().__init__()
        self._pool = pool
        self._origins = pool._origins

    def submit(self, number: int, request: Request) -> None:
        """Have a request sent when it is its turn."""
        origins = self._origins
        pool = origins.by_host.get(request.host) or origins.pool_for(request.host)
        pending = pool.submit(request, self._batch, number)
        if pending.outcome is None:
            self._under_way[number] = pending

    def inherit(self, number: int, request: Request) -> None:
        """A pool knows of nothing that it has not sent."""
        raise AssertionError('only a run over a cluster inherits requests')

    def kept(self, numbers: list[int]) -> None:
        """Nobody else has a copy."""

    def halt(self) -> set[int]:
        """End everything, as the service ends: each outcome tells whether its request was sent."""
        self.cancel()
        return set()

    def close(self, keeps: bool) -> None:
        """Close the pool."""
        self._pool.close()

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
