"""The ledger of slots, without a socket: who gets one, whose turn it is, and what becomes of idle connections."""

from __future__ import annotations

import gc
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napixclient._http.slots import TURN_REQUESTS, TURN_SECONDS, OriginSlots, Slot, Slots
from napixclient.testing import FakeClock


class Conn:
    """As much of a connection as the ledger knows."""

    def __init__(self, name: str = '') -> None:
        self.name = name
        self.rests = 0
        self.closed = False

    def rest(self) -> None:
        """Become idle."""
        assert not self.closed
        self.rests += 1

    def close(self) -> None:
        """Close."""
        assert not self.closed
        self.closed = True

    def __repr__(self) -> str:
        return self.name


class Attempt:
    """A connection that is being opened."""

    pending = None

    def stop(self) -> None:
        """End it."""


class Origin:
    """The pool of an origin that has nothing but its slots: it wants so many more connections."""

    def __init__(self, ledger: Slots[Any], max_idle: int | None = None) -> None:
        self.slots: OriginSlots[Any] = OriginSlots(ledger, self, max_idle)
        self.wanted = 0
        self.called = 0  # how often it was given a slot in its turn

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""
        return self.wanted > 0

    def use_slot(self) -> bool:
        """Begin to open a connection."""
        self.called += 1
        if not self.wanted:
            return False
        slot = self.slots.acquire()
        assert slot is not None
        self.connect(slot)
        return True

    def connect(self, slot: Slot[Any]) -> None:
        """Begin to open one."""
        self.wanted -= 1
        slot.connect(Attempt())

    def want(self, count: int = 1) -> int:
        """Want so many more; the number of connections that were begun at once."""
        self.wanted += count
        began = 0
        while self.wanted and (slot := self.slots.acquire()) is not None:
            self.connect(slot)
            began += 1
        return began

    def connected(self, name: str = '') -> Conn:
        """The one that has been opened for longest is open."""
        conn, attempt = Conn(name), next(iter(self.slots.connecting))
        self.slots.connecting.pop(attempt).fill(conn)
        return conn

    def open(self, name: str = '') -> Conn:
        """Open one."""
        assert self.want() == 1
        return self.connected(name)


def ledger(limit: int = 4, clock: FakeClock | None = None, hub: object = None) -> Slots[Any]:
    """A ledger, by default of a thread of its own; its clock stands still, and it is reaped."""
    made: Slots[Any] = Slots(limit, hub or object(), lambda: None, clock or FakeClock())
    made.reaped = True
    return made


# One slot ------------------------------------------------------------------------------------------------------------


def test_a_slot_is_one_from_the_attempt_to_the_end() -> None:
    """A slot is used from when a connection begins to be opened until it is given back, and counted once."""
    slots = ledger(1)
    origin = Origin(slots)
    assert origin.want(2) == 1 and slots.used == origin.slots.used == 1
    conn = origin.connected()
    assert slots.used == origin.slots.used == 1 and slots.open == {conn}
    slot = origin.slots.close(conn)
    assert conn.closed and slots.used == 1 and not slots.open and not origin.slots.used
    origin.wanted = 0
    slot.release()
    assert slots.used == 0


def test_a_slot_is_passed_on() -> None:
    """The slot of a connection that ended goes to the next one of its origin, and no other origin gets it meanwhile."""
    slots = ledger(1)
    one, other = Origin(slots), Origin(slots)
    conn = one.open()
    assert other.want() == 0
    one.wanted = 1
    one.connect(one.slots.close(conn))
    assert slots.used == 1 and not other.called and len(one.slots.connecting) == 1
    one.connected()
    assert slots.used == 1 and one.slots.used == 1


def test_a_new_connection_has_its_own_turn() -> None:
    """What is passed on is the right, not the turn that was served in it."""
    slots = ledger(1)
    one = Origin(slots)
    slot = one.slots.open[one.open()]
    for _ in range(TURN_REQUESTS):
        over = slot.turn_is_over
    assert over
    conn = next(iter(one.slots.open))
    one.wanted = 1
    one.connect(one.slots.close(conn))
    one.connected()
    assert not slot.turn_is_over


def test_a_turn_is_a_number_of_answers_or_a_time() -> None:
    """A turn ends after some answers, or after some time, whichever comes first."""
    clock = FakeClock(1000)
    slots = ledger(2, clock)
    origin = Origin(slots)
    by_number, by_time = (origin.slots.open[origin.open()] for _ in range(2))
    assert [by_number.turn_is_over for _ in range(TURN_REQUESTS)] == [False] * (TURN_REQUESTS - 1) + [True]
    assert not by_time.turn_is_over
    clock.advance(TURN_SECONDS + 0.001)
    assert by_time.turn_is_over


# Whose turn it is ----------------------------------------------------------------------------------------------------


def test_first_come_first_served() -> None:
    """A slot that comes free goes to whoever has waited longest, one to each in turn."""
    slots = ledger(1)
    first, others = Origin(slots), [Origin(slots) for _ in range(3)]
    conn = first.open()
    for other in others:
        assert other.want(2) == 0
    first.slots.close(conn).release()
    got = []
    for _ in range(6):
        [at] = [at for at, other in enumerate(others) if other.slots.connecting]
        got.append(at)
        others[at].slots.close(others[at].connected()).release()
    assert got == [0, 1, 2, 0, 1, 2] and slots.used == 0


def test_who_has_none_goes_first() -> None:
    """An origin without any connection goes before all that only want one more, however long those have waited."""
    slots = ledger(2)
    rich, poor = Origin(slots), Origin(slots)
    conn, _ = rich.open(), rich.open()
    assert rich.want() == 0 and poor.want() == 0
    assert list(slots.wants_more) == [rich] and list(slots.starved) == [poor]
    rich.slots.close(conn).release()
    assert poor.slots.used == 1 and rich.wanted == 1


def test_who_loses_all_waits_with_those_who_have_none() -> None:
    """Whoever loses the last connection while it waits for one more is one of those that have none, once."""
    slots = ledger(1)
    one, other = Origin(slots), Origin(slots)
    conn = one.open()
    assert one.want() == 0 and list(slots.wants_more) == [one]
    assert other.want() == 0
    one.slots.close(conn).release()
    assert other.slots.used == 1 and list(slots.starved) == [one]
    other.slots.close(other.connected()).release()
    assert one.slots.used == 1 and one.called == 1 and not slots.starved
    one.slots.close(one.connected()).release()
    assert one.called == 1  # its place in the other queue is nobody's
    assert slots.used == 0


def test_nobody_stands_in_a_queue_twice() -> None:
    """However often an origin asks, it has one place."""
    slots = ledger(1)
    one, other = Origin(slots), Origin(slots)
    one.open()
    for _ in range(5):
        assert other.want() == 0
        other.slots.enlist()
    assert list(slots.starved) == [other]


def test_a_slot_that_is_of_no_use_any_more_goes_on() -> None:
    """An origin whose requests have ended meanwhile lets the next one have the slot."""
    slots = ledger(1)
    one, ended, other = (Origin(slots) for _ in range(3))
    conn = one.open()
    ended.want()
    other.want()
    ended.wanted = 0
    one.slots.close(conn).release()
    assert ended.called == 1 and other.slots.used == 1


def test_attempts_that_fail_at_once() -> None:
    """An attempt that fails while slots are given out loses none, and gives nobody two."""
    slots = ledger(1)

    class Failing(Origin):
        def connect(self, slot: Slot[Any]) -> None:
            """Fail at once."""
            super().connect(slot)
            attempt = next(iter(self.slots.connecting))
            self.slots.connecting.pop(attempt).release()

    one, failing, other = Origin(slots), Failing(slots), Origin(slots)
    conn = one.open()
    failing.want(3)
    other.want()
    one.slots.close(conn).release()
    assert other.slots.used == slots.used == 1
    other.slots.close(other.connected()).release()
    assert failing.called == 3 and not failing.wanted and slots.used == 0


def test_who_waits_is_kept_alive() -> None:
    """The ledger holds an origin while it waits for a slot."""
    slots = ledger(1)
    one, other = Origin(slots), Origin(slots)
    conn = one.open()
    other.want()
    kept = other.slots
    del other
    gc.collect()
    one.slots.close(conn).release()
    assert slots.used == len(kept.connecting) == 1
    kept.connecting.popitem()[1].release()
    assert slots.used == 0 and not slots.starved and not slots.wants_more


# Idle connections ----------------------------------------------------------------------------------------------------


def test_the_one_that_has_been_idle_for_longest_makes_room() -> None:
    """Whoever needs a slot gets that of the connection in the pool that has been idle for longest."""
    slots = ledger(3)
    origins = [Origin(slots) for _ in range(3)]
    conns = [origin.open() for origin in origins]
    for at in 1, 2, 0:
        origins[at].slots.rest(conns[at])
    other = Origin(slots)
    assert other.want(2) == 2
    assert [conn.closed for conn in conns] == [False, True, True] and slots.used == 3
    assert [origin.slots.used for origin in origins] == [1, 0, 0]


def test_the_last_one_used_is_used_first() -> None:
    """Idle connections are in the order in which they came to rest; one that is kept for later goes to the front."""
    slots = ledger(4)
    origin = Origin(slots)
    conns = [origin.open(name) for name in 'abcd']
    for conn in conns[:3]:
        origin.slots.rest(conn)
    origin.slots.rest(conns[3], first=True)
    assert [conn.name for conn in origin.slots.idle] == ['d', 'a', 'b', 'c']
    origin.slots.take_back(conns[0])
    assert [conn.name for conn in origin.slots.idle] == ['d', 'b', 'c'] and conns[0] not in slots.idle
    origin.slots.rest(conns[0])
    assert origin.slots.idle[-1] is conns[0] and all(conn.rests for conn in conns)


@pytest.mark.parametrize('most', [0, 1, 3, 10])
def test_so_many_are_kept(most: int) -> None:
    """No more than ``max_idle`` are kept, those that were used last; the others' slots are free."""
    slots = ledger(4)
    origin = Origin(slots, most)
    conns = [origin.open() for _ in range(4)]
    for conn in conns:
        origin.slots.rest(conn)
    kept = min(most, 4)
    assert origin.slots.idle == conns[4 - kept :] and slots.used == kept
    assert [conn.closed for conn in conns] == [True] * (4 - kept) + [False] * kept


def test_one_that_was_held_back_is_no_more_than_the_others() -> None:
    """One that rests until it is clear whether it may be used is above ``max_idle`` for as long as it is the only one."""
    slots = ledger(4)
    origin = Origin(slots, 0)
    held, other = origin.open(), origin.open()
    origin.slots.rest(held, first=True)
    assert origin.slots.idle == [held]
    origin.slots.rest(other)
    assert not origin.slots.idle and slots.used == 0 and held.closed and other.closed


def test_what_is_not_needed_is_trimmed() -> None:
    """One that was held back for nothing is closed, and whoever waits gets its slot."""
    slots = ledger(2)
    origin, other = Origin(slots, 0), Origin(slots)
    held = origin.open()
    origin.slots.rest(held, first=True)
    assert slots.used == 1 and not held.closed
    origin.slots.trim()
    assert held.closed and slots.used == 0
    assert other.want(2) == 2


def test_what_is_idle_too_long_is_closed() -> None:
    """``reap`` closes what has been idle for so long and nothing else, whatever origin it is of."""
    clock = FakeClock(1000)
    slots = ledger(4, clock)
    one, other = Origin(slots), Origin(slots)
    conns = [one.open(), other.open(), one.open()]
    busy = other.open()
    for origin, conn in zip((one, other, one), conns, strict=True):
        clock.advance(10)
        origin.slots.rest(conn)
    assert one.slots.used_at == 1030 and other.slots.used_at == 1020
    slots.reap(20.5)
    assert not any(conn.closed for conn in conns)
    clock.advance(1)
    slots.reap(20.5)
    assert [conn.closed for conn in conns] == [True, False, False] and slots.used == 3 and not slots.at_rest
    clock.advance(100)
    slots.reap(20.5)
    assert all(conn.closed for conn in conns) and not busy.closed and slots.used == 1 and slots.at_rest


def test_somebody_is_told_that_there_is_something_to_reap() -> None:
    """The first connection to rest is told, once somebody reaps none is."""
    told: list[str] = []
    slots: Slots[Any] = Slots(4, object(), lambda: told.append('idle'), FakeClock())
    origin = Origin(slots)
    origin.slots.rest(origin.open())
    assert told == ['idle']
    slots.reaped = True
    origin.slots.rest(origin.open())
    assert told == ['idle']


def test_a_lower_limit() -> None:
    """``shrink`` closes idle connections only, and gives what is free to others."""
    slots = ledger(4)
    one, other = Origin(slots), Origin(slots)
    conns = [one.open() for _ in range(4)]
    for conn in conns[:2]:
        one.slots.rest(conn)
    one.slots.shrink(3)
    assert one.slots.used == 3 and conns[0].closed
    other.want()
    one.slots.shrink(0)
    assert one.slots.used == 2 and other.slots.used == 1 and slots.used == 3


def test_nothing_is_kept_any_more() -> None:
    """``keep_none`` closes what is idle, and what becomes idle later; whoever waits gets those slots."""
    slots = ledger(2)
    one, other = Origin(slots), Origin(slots)
    conns = [one.open(), one.open()]
    one.slots.rest(conns[0])
    slots.keep_none()
    assert conns[0].closed and not conns[1].closed and slots.used == 1
    assert other.want(2) == 1
    one.slots.rest(conns[1])
    assert conns[1].closed and other.slots.used == slots.used == 2


# No descriptors ------------------------------------------------------------------------------------------------------


def test_room_by_an_idle_connection() -> None:
    """Without descriptors, the connection that has been idle for longest is given up, our own first."""
    clock = FakeClock()
    hub = object()
    slots, others = ledger(4, clock, hub), ledger(4, clock, hub)
    one, foreign = Origin(slots), Origin(others)
    idle, far = one.open(), foreign.open()
    foreign.slots.rest(far)
    clock.advance(1)
    one.slots.rest(idle)
    one.want()
    assert slots.make_room() and idle.closed and not far.closed
    assert slots.make_room() and far.closed and others.used == 0
    assert slots.used == 1 and slots.cap == 1
    assert not slots.make_room()  # only the attempt itself is left


def test_only_of_the_same_thread() -> None:
    """A connection of another thread's loop is not touched."""
    slots, others = ledger(4), ledger(4)
    one, foreign = Origin(slots), Origin(others)
    far = foreign.open()
    foreign.slots.rest(far)
    one.want()
    assert not slots.make_room() and not far.closed


def test_fewer_connections_for_a_while() -> None:
    """Where nothing is idle the pool is content with what it has; the cap doubles with each ``reap`` until it is back."""
    slots = ledger(20)
    one = Origin(slots)
    assert one.want(6) == 6
    assert slots.make_room() and slots.cap == 5 and not slots.at_rest
    one.slots.connecting.popitem()[1].release()
    assert one.want(20) == 0
    used = []
    while slots.cap < slots.limit:
        slots.reap(60)
        used.append(slots.used)
    assert used == [10, 20] and slots.at_rest


# All of it -----------------------------------------------------------------------------------------------------------

ORIGINS = st.integers(0, 2)


class Ledger(RuleBasedStateMachine):
    """Three origins use one ledger as pools do, in any order; `busy` is what is told to be in use."""

    @initialize(limit=st.integers(1, 4), max_idle=st.sampled_from([None, 0, 1]))
    def begin(self, limit: int, max_idle: int | None) -> None:
        """Make them."""
        self.clock = FakeClock()
        self.slots = ledger(limit, self.clock)
        self.origins = [Origin(self.slots, max_idle) for _ in range(3)]
        self.busy: list[list[Conn]] = [[], [], []]

    def pick(self, at: int, which: int) -> Conn:
        """Take one out of those that are in use."""
        return self.busy[at].pop(which % len(self.busy[at]))

    @rule(at=ORIGINS, count=st.integers(1, 3))
    def want(self, at: int, count: int) -> None:
        """Requests come: idle connections take them first."""
        origin = self.origins[at]
        while count and origin.slots.idle:
            conn = origin.slots.idle[-1]
            origin.slots.take_back(conn)
            self.busy[at].append(conn)
            count -= 1
        origin.want(count)

    @rule(at=ORIGINS, count=st.integers(1, 3))
    def give_up(self, at: int, count: int) -> None:
        """Requests end while they wait."""
        self.origins[at].wanted = max(0, self.origins[at].wanted - count)

    @precondition(lambda self: any(origin.slots.connecting for origin in self.origins))
    @rule(at=ORIGINS, fails=st.booleans())
    def connected(self, at: int, fails: bool) -> None:
        """An attempt ends."""
        origin = self.origins[at]
        if not origin.slots.connecting:
            return
        if fails:
            origin.slots.connecting.pop(next(iter(origin.slots.connecting))).release()
        else:
            self.busy[at].append(origin.connected())

    @precondition(lambda self: any(self.busy))
    @rule(at=ORIGINS, which=st.integers(0, 3), held=st.booleans())
    def answered(self, at: int, which: int, held: bool) -> None:
        """A connection is free: it makes room, takes the next request, or rests."""
        if not self.busy[at]:
            return
        conn, origin = self.pick(at, which), self.origins[at]
        if self.slots.starved and (not origin.wanted or origin.slots.open[conn].turn_is_over):
            slot = origin.slots.close(conn)
            if origin.wanted:
                origin.slots.enlist()
            slot.release()
        elif origin.wanted:
            origin.wanted -= 1
            self.busy[at].append(conn)
        elif self.slots.wants_more:
            origin.slots.close(conn).release()
        else:
            origin.slots.rest(conn, first=held)

    @precondition(lambda self: any(self.busy))
    @rule(at=ORIGINS, which=st.integers(0, 3), again=st.booleans())
    def broken(self, at: int, which: int, again: bool) -> None:
        """A connection breaks; its slot goes to another one of its origin, or back."""
        if not self.busy[at]:
            return
        conn = self.pick(at, which)
        slot = self.origins[at].slots.close(conn)
        if again:
            self.origins[at].wanted += 1
            self.origins[at].connect(slot)
        else:
            slot.release()

    @rule(at=ORIGINS)
    def closed_while_idle(self, at: int) -> None:
        """The server closes an idle connection."""
        origin = self.origins[at]
        if origin.slots.idle:
            conn = origin.slots.idle[0]
            conn.close()
            origin.slots.take_back(conn)
            origin.slots.remove(conn).release()

    @rule(at=ORIGINS, limit=st.integers(0, 3))
    def shrink(self, at: int, limit: int) -> None:
        """The limit of an origin is lower."""
        self.origins[at].slots.shrink(limit)

    @rule(seconds=st.sampled_from([0.01, 1.0, 100.0]))
    def reap(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.slots.reap(50.0)

    @rule(at=ORIGINS)
    def no_descriptors(self, at: int) -> None:
        """An attempt finds no descriptor."""
        origin = self.origins[at]
        if origin.slots.connecting and self.slots.make_room():
            slot = origin.slots.connecting.pop(next(iter(origin.slots.connecting)))
            origin.wanted += 1
            origin.slots.enlist()
            slot.release()

    @invariant()
    def each_slot_is_counted_once(self) -> None:
        """What is open and what is being opened are all the slots that are used; never more than the limit."""
        if not hasattr(self, 'slots'):
            return
        assert self.slots.used == sum(origin.slots.used for origin in self.origins) <= self.slots.limit
        assert self.slots.open == {conn for origin in self.origins for conn in origin.slots.open}
        assert not any(conn.closed for conn in self.slots.open)

    @invariant()
    def what_is_idle_is_open(self) -> None:
        """A connection is in use or idle, in one origin, and idle in the ledger as well, in the order of rest."""
        if not hasattr(self, 'slots'):
            return
        for origin, busy in zip(self.origins, self.busy, strict=True):
            assert sorted([*map(id, origin.slots.idle), *map(id, busy)]) == sorted(map(id, origin.slots.open))
        idle = [conn for origin in self.origins for conn in origin.slots.idle]
        assert len(idle) == len(set(idle)) and set(idle) == set(self.slots.idle)
        since = [slot.idle_since for slot in self.slots.idle.values()]
        assert since == sorted(since)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Whoever wants a connection has a place in a queue, and no slot is free or idle then."""
        if not hasattr(self, 'slots') or not any(origin.wanted for origin in self.origins):
            return
        assert self.slots.used >= self.slots.cap and not self.slots.idle
        for origin in self.origins:
            if origin.wanted:
                assert origin.slots.queue is not None and origin in origin.slots.queue
                assert origin.slots.used or origin.slots.queue is self.slots.starved

    def teardown(self) -> None:
        """When all is given back, nothing is used."""
        if not hasattr(self, 'slots'):
            return
        self.slots.close()
        for origin in self.origins:
            origin.wanted = 0
            for attempt in list(origin.slots.connecting):
                origin.slots.connecting.pop(attempt).release()
            for conn in list(origin.slots.open):
                origin.slots.close(conn).release()
        assert self.slots.used == 0 and not self.slots.open and not self.slots.idle


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=100, stateful_step_count=40)
