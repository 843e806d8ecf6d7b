"""A resource that one caller owns while its request is under way."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import monotonic

import gevent
from gevent.event import Event
from gevent.hub import get_hub
from gevent.lock import Semaphore

from .._options import Unpack
from ..client import Client
from ..errors import QueueTimeout
from ..messages import Body, Request
from .deadline import Deadline
from .flight import Flight
from .replica import Replica
from .resource import AskOptions, Resource, Response

__all__ = ['Lease']


class Lease(Resource):
    """A resource whose request was sent.

    Taking the answer releases it, and so does closing or dropping it. If the greenlet that asked for it is killed or
    fails, it is released as well, because the frames of a dead greenlet may live on and hold it.
    """

    def __init__(self, replica: Replica, slots: Semaphore) -> None:
        self.client: Client = replica.client
        self._pending = None
        self._replica = replica
        self._slots = slots
        self._flight: Flight | None = None
        self._holds_slot = False
        self._hub = get_hub()
        self._awaited = False
        self._owner = gevent.getcurrent()
        self._link = _ended(weakref.ref(self))

    def send(self, request: Request, deadline: Deadline) -> None:
        """Wait for a slot, and return when the request is sent.

        :raises QueueTimeout: if that takes too long.
        :raises HTTPError: if the request could not be sent.
        """
        until = monotonic() + deadline.patience
        if not self._slots.acquire(timeout=max(deadline.patience, 0)):
            raise self._too_late(request)
        self._holds_slot = True
        if isinstance(self._owner, gevent.Greenlet):
            self._owner.rawlink(self._link)
        try:
            self._flight = flight = self._replica.send(request.replace(timeout=deadline.for_one(False)))
            self._pending = flight.pending
            if not self._wait_until_sent(flight, until):
                raise self._too_late(request)
            if flight.pending.ready() and not flight.sent:
                self.getresponse()  # raises why
        except BaseException:
            self.close()
            raise

    def _wait_until_sent(self, flight: Flight, until: float) -> bool:
        pending, on_sent = flight.pending, self._replica.on_sent
        if flight.sent or pending.ready():
            return True
        sent = on_sent[pending] = Event()

        def ended(_: object) -> None:
            sent.set()

        pending.rawlink(ended)
        try:
            return sent.wait(max(until - monotonic(), 0))
        finally:
            pending.unlink(ended)
            on_sent.pop(pending, None)

    def _too_late(self, request: Request) -> QueueTimeout:
        return QueueTimeout(
            f'all connections to {request.host} were taken for as long as the caller would wait',
            request=request,
            phase='queue',
        )

    def request(self, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]) -> None:
        """:raises RuntimeError: always, because this resource is for one request, which was sent."""
        raise RuntimeError('this resource has its one request: ask Resources.request() for another')

    def getresponse(self) -> Response:
        """Wait for the answer, and release the resource.

        :raises HTTPError: if there is no answer.
        :raises RuntimeError: if the resource was released before.
        """
        if self._pending is None:
            raise RuntimeError('the answer was taken, and the resource released: ask Resources.request() for another')
        self._awaited = True  # by whoever it was handed to
        try:
            return self._answer(self._pending)
        finally:
            self.close()

    def close(self) -> None:
        """Release the resource; its request is cancelled if there is no answer yet. May be called again."""
        flight, self._flight, self._pending = self._flight, None, None
        if flight is not None:
            flight.leave()
        if self._holds_slot:
            self._holds_slot = False
            self._slots.release()
            if isinstance(self._owner, gevent.Greenlet):
                self._owner.unlink(self._link)

    def __del__(self) -> None:
        if getattr(self, '_holds_slot', False):  # collected in whatever thread
            self._hub.loop.run_callback_threadsafe(_release, self._flight, self._slots, self._owner, self._link)


def _ended(lease: weakref.ref[Lease]) -> Callable[[gevent.Greenlet[..., object]], None]:
    """A link of the greenlet that owns the lease: if it was killed or failed, nobody will take the answer."""

    def ended(owner: gevent.Greenlet[..., object]) -> None:
        orphan = lease()
        if (
            orphan is not None
            and not orphan._awaited
            and (owner.exception is not None or isinstance(owner.value, gevent.GreenletExit))
        ):
            orphan.close()

    return ended


def _release(
    flight: Flight | None, slots: Semaphore, owner: object, link: Callable[[gevent.Greenlet[..., object]], None]
) -> None:
    if flight is not None:
        flight.leave()
    slots.release()
    if isinstance(owner, gevent.Greenlet):
        owner.unlink(link)
