"""The one ledger of a pool: its slots, who has them and who waits; closes connections that are idle for too long.

A slot is the right to one connection, from when it begins to be opened until it is closed. It passes from a dial to its
connection, from a connection that broke to the dial of another, and at last back to the ledger, which gives it to
whoever has waited longest. Nothing here does I/O, but that idle connections are closed to make room.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from ..errors import Phase
from .exchange import Exchange
from .pending import PendingResponse

__all__ = ['OriginSlots', 'Slot', 'SlotWaiter', 'Slots']

C = TypeVar('C', bound=Exchange)
D = TypeVar('D', bound=Exchange)
#: A connection serves its origin for so long, or so often, while other origins wait for a slot.
TURN_SECONDS = 0.05
TURN_REQUESTS = 4


class SlotWaiter(Protocol[C]):
    """Who uses the slots of one origin."""

    @property
    def slots(self) -> OriginSlots[C]:
        """Its slots."""

    def use_slot(self) -> bool:
        """Use one more slot, which is free, if it is still of use; whether it was."""

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""


class Attempt(Protocol):
    """A connection that is being opened, or has to wait for its request to be signed."""

    #: The request that it is opened for; ``None`` when that is elsewhere or over.
    pending: PendingResponse | None

    @property
    def phase(self) -> Phase:
        """What the request waits for."""

    def stop(self) -> None:
        """End it."""


class Slot(Generic[C]):
    """The right to one connection. Whoever has one fills it, passes it on, or releases it."""

    __slots__ = ('idle_since', 'origin', 'since', 'turns')

    since: float  # of ledger.now(): when its connection was opened
    turns: int  # answers since then that found another origin waiting
    idle_since: float  # of ledger.now()

    def __init__(self, origin: OriginSlots[C]) -> None:
        self.origin: OriginSlots[C] = origin

    def connect(self, attempt: Attempt) -> None:
        """A connection is being opened in it."""
        self.origin.connecting[attempt] = self

    def fill(self, connection: C) -> None:
        """A connection was opened in it."""
        self.since = self.origin.ledger.now()
        self.turns = 0
        self.refill(connection)

    def refill(self, connection: C) -> None:
        """The connection that was in it is in it again."""
        self.origin.open[connection] = self
        self.origin.ledger.open.add(connection)

    def release(self) -> None:
        """Give it back: it goes to whoever has waited longest."""
        origin = self.origin
        ledger = origin.ledger
        ledger.used -= 1
        if origin.queue is ledger.wants_more and not origin.used:
            origin.enlist()  # it had one when it began to wait, and has none now
        ledger.grant()

    @property
    def turn_is_over(self) -> bool:
        """Whether its connection has to make room for origins that have none at all; asked after each answer."""
        self.turns += 1
        return self.turns >= TURN_REQUESTS or self.origin.ledger.now() - self.since > TURN_SECONDS


class OriginSlots(Generic[C]):
    """The slots of one origin.

    :param owner: who is called back when there is a slot for it.
    :param max_idle: connections that are kept while they are idle, ``None`` for as many as there are.
    """

    __slots__ = ('_max_idle', '_owner', 'connecting', 'idle', 'ledger', 'open', 'queue', 'used_at')

    def __init__(self, ledger: Slots[C], owner: SlotWaiter[C], max_idle: int | None) -> None:
        self.ledger: Slots[C] = ledger
        self._owner = owner
        self._max_idle = max_idle
        #: The open connections.
        self.open: dict[C, Slot[C]] = {}
        #: Those that are idle; the least recently used first.
        self.idle: list[C] = []
        #: Those that are being opened.
        self.connecting: dict[Attempt, Slot[C]] = {}
        #: Of ``ledger.now()``: when a connection last became idle.
        self.used_at: float = ledger.now()
        #: The queue for a slot in which the origin stands.
        self.queue: deque[SlotWaiter[C]] | None = None

    @property
    def used(self) -> int:
        """How many it has."""
        return len(self.open) + len(self.connecting)

    def acquire(self) -> Slot[C] | None:
        """Take a slot, if need be that of the connection in the pool that has been idle for longest.

        Who gets none is called back, in turn, when one is free.
        """
        ledger = self.ledger
        if ledger.used >= ledger.cap and ledger.idle:
            ledger.evict(next(iter(ledger.idle)))
        if ledger.used < ledger.cap:
            ledger.used += 1
            return Slot(self)
        self.enlist()
        return None

    def enlist(self) -> None:
        """Be called back when there is a slot.

        Only an origin without any connection makes others give theirs up; one that wants a second takes what is free.
        """
        ledger = self.ledger
        queue = ledger.wants_more if self.used else ledger.starved
        if self.queue is None or self.queue is not queue is ledger.starved:
            self.queue = queue
            queue.append(self._owner)

    def rest(self, connection: C, first: bool = False) -> None:
        """A connection has nothing to do.

        :param first: whether it is taken again when all others have been.
        """
        ledger, slot = self.ledger, self.open[connection]
        connection.rest()
        slot.idle_since = self.used_at = ledger.now()
        self.idle.insert(0 if first else len(self.idle), connection)
        ledger.idle[connection] = slot
        if not first:
            self.trim()
        if not ledger.reaped:
            ledger.on_idle()

    def trim(self) -> None:
        """Close idle connections beyond those that are kept."""
        ledger = self.ledger
        most = self._max_idle if ledger.keeps_idle else 0
        if most is not None and len(self.idle) > most:
            while len(self.idle) > most:
                ledger.evict(self.idle[0])
            ledger.grant()

    def take_back(self, connection: C) -> None:
        """An idle connection has something to do again, or is closed."""
        if self.idle[-1] is connection:
            self.idle.pop()
        else:
            self.idle.remove(connection)
        del self.ledger.idle[connection]

    def close(self, connection: C) -> Slot[C]:
        """Close a connection that is in use, and have its slot."""
        connection.close()
        return self.remove(connection)

    def remove(self, connection: C) -> Slot[C]:
        """Forget a closed connection, and have its slot."""
        self.ledger.open.discard(connection)
        return self.open.pop(connection)

    def shrink(self, limit: int) -> None:
        """Close idle connections until no more slots than so many are used."""
        while self.idle and self.used > limit:
            self.ledger.evict(self.idle[0])
        self.ledger.grant()

    def clear(self) -> None:
        """In the child of a fork: the connections are the parent's."""
        self.idle.clear()
        self.open.clear()
        self.connecting.clear()
        self.queue = None


class Slots(Generic[C]):
    """The ledger.

    :param limit: slots at most.
    :param owner: the hub; ledgers with different ones have connections on different loops.
    :param on_idle: called when a connection becomes idle, and nobody reaps.
    :param now: seconds, as ``time.monotonic``.
    """

    def __init__(
        self, limit: int, owner: object, on_idle: Callable[[], None], now: Callable[[], float] = monotonic
    ) -> None:
        self.limit = limit
        #: Lower than the limit for a while after the process ran out of descriptors.
        self.cap: int = limit
        self.used: int = 0
        self.now = now
        self.on_idle = on_idle
        #: All open connections.
        self.open: set[C] = set()
        #: The idle ones; the least recently used first.
        self.idle: dict[C, Slot[C]] = {}
        #: Who has no connection and gets no slot for one, and who would like one more.
        self.starved: deque[SlotWaiter[C]] = deque()
        self.wants_more: deque[SlotWaiter[C]] = deque()
        self.keeps_idle: bool = True
        #: Whether somebody calls ``reap`` now and then; else ``on_idle`` is called.
        self.reaped = False
        self._owner = owner
        self._granting = False
        _ledgers.add(self)

    def grant(self) -> None:
        """Give free slots out, one to each in turn."""
        if self._granting:
            return  # a connection failed at once: the loop below goes on
        self._granting = True
        try:
            while self.used < self.cap and (self.starved or self.wants_more):
                queue = self.starved or self.wants_more
                waiter = queue.popleft()
                if waiter.slots.queue is not queue:
                    continue  # it lost its connections meanwhile, and stands in the other queue
                waiter.slots.queue = None
                if waiter.use_slot() and waiter.wants_more():
                    waiter.slots.enlist()
        finally:
            self._granting = False

    def evict(self, connection: C) -> None:
        """Close an idle connection. Its slot is free, and for the caller to give out."""
        origin = self.idle[connection].origin
        origin.take_back(connection)
        origin.close(connection)
        self.used -= 1

    def reap(self, idle_seconds: float) -> None:
        """Close what has been idle for so long, and let the cap recover."""
        limit = self.now() - idle_seconds
        for connection, slot in list(self.idle.items()):
            if slot.idle_since > limit:
                break
            if connection in self.idle:
                self.evict(connection)
        if self.cap < self.limit:
            self.cap = min(self.limit, self.cap * 2)
            self.grant()

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to reap."""
        return not self.idle and self.cap == self.limit

    def make_room(self) -> bool:
        """The process has no descriptors left for a connection: give up an idle one, or be content with fewer.

        False when neither helps: no pool of this thread has an idle connection, and this one has none in use either.
        """
        if not self._give_up_idle():
            if self.used <= 1:
                return False
            self.cap = min(self.cap, self.used - 1)
        else:
            self.cap = min(self.cap, self.used)
        if not self.reaped:
            self.on_idle()
        return True

    def _give_up_idle(self) -> bool:
        """Close the connection that has been idle for longest, one of our own or else another pool's."""
        if self.idle:
            self.evict(next(iter(self.idle)))
            return True
        others = [ledger for ledger in _ledgers if ledger.idle and ledger.shares_thread_of(self)]
        if not others:
            return False
        oldest = min(others, key=lambda ledger: next(iter(ledger.idle.values())).idle_since)
        oldest.evict(next(iter(oldest.idle)))
        return True

    def shares_thread_of(self, other: Slots[D]) -> bool:
        """Whether connections of both live on one loop."""
        return self._owner is other._owner

    def forget_waiters(self) -> None:
        """Give no slot to anybody who waits for one."""
        self.starved.clear()
        self.wants_more.clear()

    def close(self) -> None:
        """Forget who waits, and close what is idle, now and later."""
        self.forget_waiters()
        self.keep_none()

    def keep_none(self) -> None:
        """Close what is idle, now and later."""
        self.keeps_idle = False
        for connection in list(self.idle):
            self.evict(connection)

    def clear(self) -> None:
        """In the child of a fork: the connections are the parent's."""
        self.open.clear()
        self.idle.clear()
        self.forget_waiters()
        self.used = 0


_ledgers: weakref.WeakSet[Slots[Any]] = weakref.WeakSet()
