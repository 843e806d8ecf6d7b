"""The clock of a pool, driven by hand: what it ends, when, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napixclient import DeadlineExceeded, HTTPError, QueueTimeout, ReadTimeout, Request
from napixclient._http.clock import Clock
from napixclient._http.pending import NEVER, PendingResponse, new_pending
from napixclient.testing import FakeClock


class Timer:
    """A timer of a loop that never runs: the test calls."""

    def __init__(self) -> None:
        self.ref = False
        self.callback: Callable[[], None] | None = None

    def start(self, callback: Callable[[], None]) -> None:
        """Begin."""
        self.callback = callback

    def stop(self) -> None:
        """End."""
        self.callback = None


class Loop:
    """A loop that has one timer."""

    def timer(self, after: float, repeat: float, ref: bool) -> Timer:
        """Make it."""
        assert after == repeat > 0 and not ref
        return Timer()


class Exchange:
    """A request in flight, as far as the clock looks at it.

    :param then: what happens when it fails.
    """

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.pending: PendingResponse | None = None
        self.streamed: object | None = None
        self.expires = self.deadline = NEVER
        self.read_seconds = 5.0
        self.phase = 'read'
        self.then = then
        self.failed: HTTPError | None = None
        self.cuts = 0

    def fail(self, error: HTTPError) -> None:
        """End, as a connection does."""
        assert self.failed is None
        self.failed, self.pending, self.expires = error, None, NEVER
        self.then()

    def cut_off(self) -> None:
        """The time of a streamed answer is up."""
        self.cuts += 1
        self.streamed = None


class Dial:
    """A connection that is being opened."""

    def __init__(self, dials: set[Any], expires: float) -> None:
        self.dials = dials
        self.expires = expires
        dials.add(self)

    def expire(self) -> None:
        """It takes too long."""
        self.dials.remove(self)


class Watch:
    """A clock at 1000 s, and what it looks at."""

    def __init__(self) -> None:
        self.now = FakeClock(1000)
        self.exchanges: set[Any] = set()
        self.dials: set[Any] = set()
        self.sweeps = 0
        self.clock = Clock(Loop(), self.exchanges, self.dials, self.count, self.now)
        self.timer: Timer = self.clock.timer

    def count(self) -> None:
        """A sweep begins."""
        self.sweeps += 1

    def add(self, expires: float = NEVER, **parts: Any) -> Any:
        """One more exchange."""
        exchange = Exchange(**parts)
        exchange.expires, exchange.pending = expires, pending()
        self.exchanges.add(exchange)
        return exchange

    def at(self, seconds: float) -> None:
        """Sweep at this time."""
        self.now.advance(seconds - self.now())
        self.clock.sweep()


@pytest.fixture
def watch() -> Watch:
    """A clock that stands still."""
    return Watch()


def pending(sent: bool = False) -> PendingResponse:
    """A request."""
    made = new_pending(Request('server.example', 'GET', '/'), None)
    made.sent = sent
    return made


def test_silence(watch: Watch) -> None:
    """What expires is ended after that time, not at it, with a timeout that says for how long nothing came."""
    early, late, never = watch.add(1001), watch.add(1002), watch.add()
    watch.clock.start()
    watch.at(1001)
    assert early.failed is None
    watch.at(1001.05)
    assert isinstance(early.failed, ReadTimeout) and '5 s' in str(early.failed) and early.failed.phase == 'read'
    assert late.failed is None
    watch.at(2000)
    assert isinstance(late.failed, ReadTimeout) and never.failed is None
    assert watch.sweeps == 3


def test_a_server_that_takes_nothing(watch: Watch) -> None:
    """The error says of a request that is still going out that the server took nothing."""
    exchange = watch.add(1001)
    exchange.phase = 'send'
    watch.at(1010)
    assert 'took nothing' in str(exchange.failed) and exchange.failed.phase == 'send'


def test_what_has_another_request_by_then(watch: Watch) -> None:
    """An exchange that the end of another one has given a new request is looked at anew."""

    def renew() -> None:
        for other in exchanges:
            if other.failed is None:
                other.expires = 1100.0

    exchanges = [watch.add(1001, then=renew) for _ in range(3)]
    watch.at(1010)
    assert [exchange.failed is None for exchange in exchanges].count(False) == 1


def test_exchanges_that_come_and_go_meanwhile(watch: Watch) -> None:
    """What ends takes its connection away, and may bring another, while the clock is at it."""

    def replace() -> None:
        watch.exchanges.pop()
        watch.add(1001)

    watch.add(1001, then=replace)
    watch.add(1001, then=replace)
    watch.at(1010)
    assert len(watch.exchanges) == 2


def test_streamed_answers(watch: Watch) -> None:
    """A streamed answer is cut off at its deadline, and is not silent while its reader is slow."""
    exchange = watch.add()
    exchange.pending, exchange.streamed, exchange.deadline = None, object(), 1005.0
    watch.clock.start()
    watch.at(1004.9)
    assert not exchange.cuts and watch.clock.running
    watch.at(1005)
    watch.at(1006)
    assert exchange.cuts == 1 and exchange.failed is None and not watch.clock.running


def test_dials(watch: Watch) -> None:
    """A connection that takes too long to open is ended; as long as one is under way the clock goes on."""
    Dial(watch.dials, 1001)
    slow = Dial(watch.dials, 1003)
    watch.clock.start()
    watch.at(1002)
    assert watch.dials == {slow} and watch.clock.running
    watch.at(1004)
    watch.at(1005)
    assert not watch.dials and not watch.clock.running


@pytest.mark.parametrize(('sent', 'kind'), [(False, QueueTimeout), (True, DeadlineExceeded)])
def test_deadlines(watch: Watch, sent: bool, kind: type[HTTPError]) -> None:
    """A request ends at its deadline, in the order of the deadlines, with an error that says whether it was sent."""
    order: list[float] = []
    made = {deadline: pending(sent) for deadline in (1003.0, 1001.0, 1002.0)}
    for deadline, one in made.items():
        one.rawlink(lambda _, deadline=deadline: order.append(deadline))
        watch.clock.watch(one, deadline)
        assert one.deadline == deadline
    watch.at(1000.9)
    assert not any(one.ready() for one in made.values())
    watch.at(1002)
    assert [one.ready() for one in made.values()] == [False, True, True]
    assert type(made[1001.0].exception) is kind and made[1001.0].exception.request is made[1001.0].request
    watch.at(1003)
    assert made[1003.0].ready()


def test_equal_deadlines(watch: Watch) -> None:
    """Any number of requests may have the same deadline."""
    made = [pending() for _ in range(10)]
    for one in made:
        watch.clock.watch(one, 1001)
    watch.at(1001)
    assert all(isinstance(one.exception, QueueTimeout) for one in made)


def test_what_is_done_stays_done(watch: Watch) -> None:
    """A request that has an outcome keeps it."""
    one = pending()
    watch.clock.watch(one, 1001)
    one.cancel()
    before = one.outcome
    watch.at(1002)
    assert one.outcome is before and not watch.clock.watched


def test_the_loop_goes_on_for_deadlines(watch: Watch) -> None:
    """The timer keeps the loop alive while a deadline is to come, and for nothing else; then it stops."""
    one = pending()
    exchange = watch.add(1005)
    watch.clock.start()
    assert not watch.timer.ref
    watch.clock.watch(one, 1002)
    assert watch.timer.ref
    watch.at(1001)
    assert watch.timer.ref
    watch.at(1003)
    assert one.ready() and not watch.timer.ref and watch.clock.running
    exchange.pending, exchange.expires = None, NEVER
    watch.at(1004)
    assert not watch.clock.running and watch.timer.callback is None
    watch.clock.start()
    assert watch.timer.callback == watch.clock.sweep


def test_requests_that_nobody_holds(watch: Watch) -> None:
    """The clock keeps no request alive, and forgets those that are gone."""
    watch.clock.watch(pending(), 5000)
    watch.at(1001)
    assert not watch.clock.watched and not watch.clock.running


def test_millions_of_deadlines(watch: Watch) -> None:
    """Those of requests that are over are forgotten long before they come; no other is."""
    kept = [pending() for _ in range(10)]
    for number in range(20_000):
        watch.clock.watch(kept[number // 2000] if not number % 2000 else pending(), 5000 + number)
        assert watch.clock.watched <= 2048
    watch.at(50_000)
    assert all(isinstance(one.exception, QueueTimeout) for one in kept) and not watch.clock.watched


def test_in_the_child_of_a_fork(watch: Watch) -> None:
    """The deadlines are the parent's."""
    one = pending()
    watch.clock.watch(one, 1001)
    watch.clock.clear()
    watch.at(2000)
    assert not one.ready() and not watch.clock.watched
