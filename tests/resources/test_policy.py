"""Which of several hosts: the power of two choices, and what a host costs."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from napixclient.resources import NoHostAvailable, Resources
from napixclient.resources.policy import HALF_LIFE, Load, Ready, best, less_loaded
from napixclient.testing import FakeClock
from tests.kit import Gate, serve
from tests.resources.replicas import closed_loop, counts, one_at_a_time, replicas

pytestmark = pytest.mark.usefixtures('oracle')


# What a host costs ---------------------------------------------------------------------------------------------------


def test_the_cost_is_what_is_in_flight_times_latency() -> None:
    """One more request to a host that is twice as slow, or has twice as much to do, costs twice as much."""
    clock = FakeClock()
    load = Load(clock)
    assert load.cost(0.5) == 0.5  # nothing is known: as usual
    load.answered(0.1)
    assert load.cost(0.5) == pytest.approx(0.1)
    load.in_flight = 3
    assert load.cost(0.5) == pytest.approx(0.4)
    for _ in range(50):
        load.answered(0.2)
    assert load.cost(0.5) == pytest.approx(0.8, rel=0.01)


def test_what_is_known_is_forgotten() -> None:
    """A host that was slow is taken for an ordinary one after a while, and so is one that failed."""
    clock = FakeClock()
    slow, failing = Load(clock), Load(clock)
    slow.answered(8.0)
    for _ in range(20):
        failing.failed(0.001)
    assert slow.cost(0.1) == pytest.approx(8) and failing.cost(0.1) > 1.5
    clock.advance(HALF_LIFE)
    assert slow.cost(0.1) == pytest.approx(4.05)
    clock.advance(20 * HALF_LIFE)
    assert slow.cost(0.1) == pytest.approx(0.1, rel=0.01) and failing.cost(0.1) == pytest.approx(0.1, rel=0.01)
    slow.answered(0.1)  # and then the next answer is what counts
    assert slow.cost(0.1) == pytest.approx(0.1, rel=0.01)


def test_to_fail_fast_is_no_merit() -> None:
    """A failure makes a host seem slower, however soon it comes; one that comes late is slow as well."""
    load = Load(FakeClock())
    load.answered(0.1)
    load.failed(0.001)
    assert load.cost(1) > 0.4
    before = load.cost(1)
    load.failed(5)
    assert load.cost(1) > 5 * before
    for _ in range(30):
        load.answered(0.1)
    assert load.cost(1) == pytest.approx(0.1, rel=0.05)


def test_to_be_given_up_is_to_be_slow() -> None:
    """A request that was given up took at least so long; if that is less than usual, it tells nothing."""
    load = Load(FakeClock())
    load.answered(0.1)
    load.gave_up(0.05)
    assert load.cost(1) == pytest.approx(0.1)
    load.gave_up(2.1)
    assert load.cost(1) == pytest.approx(0.6)


# Choosing ------------------------------------------------------------------------------------------------------------


def test_of_two_the_better() -> None:
    """The worst of several is never chosen while two are left; who is out is not looked at."""
    costs: dict[str, float | None] = {'a': 1, 'b': 2, 'c': 3, 'd': None}
    random.seed(2)
    chosen = Counter(less_loaded(list(costs), costs.get) for _ in range(600))
    assert set(chosen) == {'a', 'b'} and 300 < chosen['a'] < 500
    assert less_loaded(['c', 'd'], costs.get) == 'c'
    assert less_loaded(['d'], costs.get) is None and less_loaded([], costs.get) is None


def test_the_best_and_ties() -> None:
    """The smallest number wins; the default of hosts counts as 0 beside other numbers."""
    random.seed(2)

    def ready(host: str) -> int:
        return 3 if host == 'a' else 0

    chosen = Counter(best({'a': Ready(-3), 'b': Ready(0), 'c': 5}, ready) for _ in range(500))
    assert set(chosen) == {'a', 'b'} and 2.5 < chosen['a'] / chosen['b'] < 6.5
    assert best({'a': Ready(-3), 'b': -1}, ready) == 'b'
    assert best({'a': Ready(-3), 'b': 1}, ready) == 'a'


def test_p2c_through_priority_and_choice() -> None:
    """The load is the host's priority; what `priority` takes out is out, and numbers of one's own count instead."""
    gate = Gate()
    with replicas(2, gate=gate) as servers, Resources([server.host for server in servers], policy='p2c') as resources:
        idle, busy = servers[0].host, servers[1].host
        asking = [gevent.spawn(resources.unicast, 'GET', '/', hosts=[busy]) for _ in range(2)]
        gate.wait_for(2)
        assert resources.priority(busy) == pytest.approx(3 * resources.priority(idle))
        assert {resources.choice(resources) for _ in range(20)} == {idle}
        gate.open()
        gevent.joinall(asking, raise_error=True)

    class Own(Resources):
        ranks: dict[str, Any] = {}

        def priority(self, host: str) -> float | None:
            return self.ranks[host]

    with replicas(3) as servers, Own([server.host for server in servers], policy='p2c') as own:
        own.ranks = dict(zip(own, [None, 2, 1], strict=True))
        assert {own.choice(own) for _ in range(30)} == {servers[2].host}
        own.ranks = dict.fromkeys(own)
        with pytest.raises(NoHostAvailable):
            own.unicast('GET', '/')


@pytest.mark.parametrize('status', [500, 503])
def test_a_host_that_fails_fast_does_not_win(status: int) -> None:
    """One that answers at once that it cannot is not taken for a fast one."""

    def fails(method: str, path: str, headers: Any, body: bytes) -> Any:
        return status, None, None

    def works(method: str, path: str, headers: Any, body: bytes) -> Any:
        gevent.sleep(0.01)
        return 200, None, None

    with (
        serve(fails) as bad,
        serve(works) as good,
        serve(works) as other,
        Resources([bad.host, good.host, other.host], policy='p2c', limit=4, simultaneous=4) as resources,
    ):
        closed_loop(3, 120, lambda: resources.unicast('GET', '/'))
        assert counts([bad])[0] < 25


def test_a_new_host_gets_its_share() -> None:
    """A host of which nothing is known is as good as the average."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(one_at_a_time(0.005))) for _ in range(3)]
        hosts = [server.host for server in servers]
        resources = stack.enter_context(Resources(hosts, 4, simultaneous=4, policy='p2c'))
        closed_loop(4, 40, lambda: resources.unicast('GET', '/', hosts=hosts[:2]))
        closed_loop(6, 90, lambda: resources.unicast('GET', '/'))
        assert counts(servers)[2] >= 10
