"""A resource that one caller has for itself while a request of its own is under way."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event
from gevent.hub import get_hub
from gevent.lock import Semaphore

from ..errors import QueueTimeout
from ..messages import Request
from .deadline import Deadline
from .flight import Flight
from .replica import Replica
from .resource import Resource, Response

__all__ = ['Lease']


class Lease(Resource):
    """A resource with a request sent.

    It is released when its answer is taken, when it is closed or dropped, and when the greenlet that asked for it is
    killed or fails: the frames of a dead greenlet may live on, and hold it.
    """

    def __init__(self, replica: Replica, places: Semaphore) -> None:
        self._client = replica.client
        self._asked = None
        self._replica = replica
        self._places = places
        self._flight: Flight | None = None
        self._held = False
        self._hub = get_hub()
        self._awaited = False
        self._owner = gevent.getcurrent()
        self._link = _ended(weakref.ref(self))

    def send(self, request: Request, deadline: Deadline) -> None:
        """Wait for a turn, and return when the request goes out.

        :raises QueueTimeout: when that takes too long.
        :raises HTTPError: when it could not be sent.
        """
        until = monotonic() + deadline.patience
        if not self._places.acquire(timeout=max(deadline.patience, 0)):
            raise self._too_late(request)
        self._held = True
        if isinstance(self._owner, gevent.Greenlet):
            self._owner.rawlink(self._link)
        try:
            self._flight = flight = self._replica.send(request.replace(timeout=deadline.for_one(False)))
            self._asked = flight.pending
            if not self._wait_until_sent(flight, until):
                raise self._too_late(request)
            if flight.pending.outcome is not None and not flight.pending.sent:
                self.getresponse()  # raises why
        except BaseException:
            self.close()
            raise

    def _wait_until_sent(self, flight: Flight, until: float) -> bool:
        pending, going_out = flight.pending, self._replica.going_out
        if pending.sent or pending.outcome is not None:
            return True
        sent = going_out[pending] = Event()

        def ended(_: Any) -> None:
            sent.set()

        pending.rawlink(ended)
        try:
            return sent.wait(max(until - monotonic(), 0))
        finally:
            pending.unlink(ended)
            going_out.pop(pending, None)

    def _too_late(self, request: Request) -> QueueTimeout:
        return QueueTimeout(
            f'all connections to {request.host} were taken for as long as the caller would wait',
            request=request,
            phase='queue',
        )

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> None:
        """:raises RuntimeError: always: this resource is for the request that was sent with it."""
        raise RuntimeError('this resource has its one request: ask Resources.request() for another')

    def getresponse(self) -> Response:
        """Wait for the answer, and release the resource.

        :raises HTTPError: when there is none.
        :raises RuntimeError: when it was released before.
        """
        if self._asked is None:
            raise RuntimeError('the answer was taken, and the resource released: ask Resources.request() for another')
        self._awaited = True  # by whoever it was handed to
        try:
            return self._answer(self._asked)
        finally:
            self.close()

    def close(self) -> None:
        """Release the resource; what it asked is cancelled if there is no answer yet. May be repeated."""
        flight, self._flight, self._asked = self._flight, None, None
        if flight is not None:
            flight.leave()
        if self._held:
            self._held = False
            self._places.release()
            if isinstance(self._owner, gevent.Greenlet):
                self._owner.unlink(self._link)

    def __del__(self) -> None:
        if getattr(self, '_held', False):  # collected in whatever thread
            self._hub.loop.run_callback_threadsafe(_give_back, self._flight, self._places, self._owner, self._link)


def _ended(lease: weakref.ref[Lease]) -> Callable[[Any], None]:
    """What a greenlet calls at its end: where it was killed or failed, nobody will take the answer."""

    def ended(owner: Any) -> None:
        orphan = lease()
        if (
            orphan is not None
            and not orphan._awaited
            and (owner.exception is not None or isinstance(owner.value, gevent.GreenletExit))
        ):
            orphan.close()

    return ended


def _give_back(flight: Flight | None, places: Semaphore, owner: Any, link: Any) -> None:
    if flight is not None:
        flight.leave()
    places.release()
    if isinstance(owner, gevent.Greenlet):
        owner.unlink(link)
