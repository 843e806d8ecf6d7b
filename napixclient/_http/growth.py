"""Decides when one origin opens another connection and which request has it, and what becomes of one that gets none."""

from __future__ import annotations

from typing import Protocol

from ..errors import HTTPError
from ..messages import Origin, Response
from .connect.connector import NoDescriptors
from .connect.dialer import Dial
from .connect.name_cache import Counts
from .core import PoolCore
from .gevent_types import Socket
from .http1.connection import Connection
from .http1.parser import ResponseParser
from .http1.transport import Transport
from .in_flight import InFlight
from .pending import Completer, PendingResponse
from .request_queue import RequestQueue
from .slots import OriginSlots, Slot
from .throttle import Throttle

__all__ = ['Growth']


class Pool(Protocol):
    """The pool of the origin."""

    origin: Origin
    queue: RequestQueue
    throttle: Throttle
    in_flight: InFlight
    lookups: Counts
    completion: Completer

    def put_back(self, pending: PendingResponse) -> None:
        """A request could not be sent after all, and is the next."""

    def next(self, connection: Connection) -> None:
        """A connection is free."""

    def catch_up(self) -> None:
        """Give what waits to connections that are idle, or open some."""


class Growth:
    """Opens connections to one origin, up to its limit and that of the pool.

    :param max_idle: connections that are kept while they are idle, ``None`` for as many as there are.
    """

    def __init__(self, pool: Pool, core: PoolCore, max_idle: int | None) -> None:
        self._pool = pool
        self._core = core
        self.origin: Origin = pool.origin
        self.lookups: Counts = pool.lookups
        self.slots: OriginSlots[Connection] = OriginSlots(core.slots, self, max_idle)
        self._queue, self._throttle = pool.queue, pool.throttle

    @property
    def completion(self) -> Completer:
        """Completes the request that a dial drops."""
        return self._pool.completion

    def grow(self) -> None:
        """Open connections while requests wait."""
        while self.wants_more() and (slot := self.slots.acquire()) is not None:
            self._connect_next(slot)

    def grow_later(self) -> None:
        """The same in the next turn of the loop: what waits may be about to end with what has just ended."""
        if self._queue:
            self._core.hub.loop.run_callback(self._pool.catch_up)

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""
        slots, queue, throttle = self.slots, self._queue, self._throttle
        if len(slots.open) + len(slots.connecting) >= throttle.limit or len(queue.entries) == queue.dropped:
            return False
        return throttle.may_send()

    def use_slot(self) -> bool:
        """Use a slot that is free, if it is still of use; whether it was."""
        slot = self.slots.acquire() if self.wants_more() else None
        if slot is None:
            return False
        self._connect_next(slot)
        return True

    def _connect_next(self, slot: Slot[Connection]) -> None:
        """Open a connection for the next request in the queue."""
        pending = self._queue.pop()
        assert pending is not None  # it is longer than what has ended in it
        self.connect(pending, slot)

    def connect(self, pending: PendingResponse, slot: Slot[Connection]) -> None:
        """Open a connection in a slot, for a request."""
        timeout = pending.asked.options.timeout
        settings, dialer = self._core.settings, self._core.dialer
        clocks = settings.clocks if timeout is None else settings.clocks_of(timeout)
        dial = Dial(dialer, self, pending, clocks.connect)
        slot.connect(dial)
        dialer.start_connect(dial)

    def steal(self) -> PendingResponse | None:
        """A request whose own connection is still being opened, for one that is free."""
        for dial in self.slots.connecting:
            pending = dial.pending
            if pending is not None and dial.phase != 'authenticate':  # what answers a challenge has a connection
                dial.pending = None
                return pending
        return None

    def connected(self, dial: Dial, sock: Socket) -> None:
        """A connection is open: it takes the request that it was opened for, or the next."""
        core, pool, settings = self._core, self._pool, self._core.settings
        slot = self.slots.connecting.pop(dial)
        if core.closed:
            sock.close()
            slot.release()
            return
        transport = Transport(sock, core.loop)
        if core.guard is not None:
            transport.guard(core.guard)
        parser = ResponseParser(settings.max_header_bytes, settings.max_header_fields)
        connection = Connection(pool.in_flight, transport, parser, dial.route)
        slot.fill(connection)
        pending = dial.pending
        if pending is not None and pending.outcome is not None:
            pending = None
        throttle = self._throttle
        if pending is not None and not throttle.fixed and (throttle.paused or self.slots.used > throttle.limit):
            pool.put_back(pending)
            pending = None
        if pending is None or not pool.in_flight.start(connection, pending):
            pool.next(connection)

    def not_connected(self, dial: Dial, error: HTTPError) -> None:
        """A connection could not be opened: its request fails, or is tried again."""
        slot = self.slots.connecting.pop(dial)
        pending, dial.pending = dial.pending, None
        if isinstance(error, NoDescriptors) and pending is not None and self._core.slots.make_room():
            self._pool.put_back(pending)
            self.slots.enlist()
            slot.release()
            return
        slot.release()
        if pending is not None and pending.outcome is None:
            pending.attempts += 1
            self._throttle.sent()  # it was a try
            self._pool.in_flight.failed(pending, error)
        self.grow_later()

    @property
    def promised(self) -> int:
        """How many requests have a connection coming to them, or hold one while an authenticator runs."""
        slots = self.slots
        return sum(dial.pending is not None for dial in slots.connecting) + sum(
            connection.helper is not None for connection in slots.open
        )

    # -- limits ----------------------------------------------------------------------------------------------------

    def learn(self, response: Response) -> None:
        """Adapt to what an answer shows of how much the origin can take."""
        self.follow_limit(self._throttle.learn(response, self._limit_binds))

    def timed_out(self) -> None:
        """A request was not answered in time."""
        self.follow_limit(self._throttle.learn_of_timeout())

    def follow_limit(self, limit: int) -> None:
        """So many requests may be in flight from now on; what is in flight already is not cut."""
        before, self._throttle.limit = self._throttle.limit, limit
        if limit > before and self.slots.queue is None:
            self.grow()
        elif limit < before:
            self.slots.shrink(limit)

    def _limit_binds(self) -> bool:
        """Whether it is the limit that holds requests up: not the pool, which has no slot, nor the rate."""
        return bool(self._queue) and self.slots.used >= self._throttle.limit and not self._throttle.paused
