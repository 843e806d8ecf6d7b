"""A second request for one that is slow: when, how often, who wins."""

from __future__ import annotations

import random
import time
from typing import Any

import gevent
import pytest

from napixclient import DeadlineExceeded
from napixclient.resources import Resources
from napixclient.resources.hedging import BURST, FEWEST, SOONEST, WINDOW, Hedging
from tests import kit
from tests.kit import Gate, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, replicated, told

pytestmark = pytest.mark.usefixtures('oracle')


# What is slow, and how many may be sent twice ------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(12))
def test_the_delay_is_at_least_the_quantile(seed: int) -> None:
    """At least that share of the recent latencies are no longer than the delay; nothing is slow before 50 are known."""
    rng = random.Random(seed)
    latencies = [
        rng.choice([rng.uniform(0.002, 9), 0.01]) for _ in range(rng.choice([FEWEST, 51, 99, 700, WINDOW + 200]))
    ]
    share = rng.choice([0.01, 0.5, 0.95, 0.99, rng.random()])
    hedging = Hedging()
    for latency in latencies[: FEWEST - 1]:
        hedging.note(latency)
    assert hedging.delay(share) is None
    for latency in latencies[FEWEST - 1 :]:
        hedging.note(latency)
    recent = latencies[-WINDOW:]
    delay = hedging.delay(share)
    assert delay in recent and sum(latency <= delay for latency in recent) >= share * len(recent)
    assert sum(latency < delay for latency in recent) <= share * len(recent)


def test_nothing_is_slow_before_a_millisecond() -> None:
    """Where answers take no time, a millisecond is the least delay."""
    hedging = Hedging()
    for _ in range(FEWEST):
        hedging.note(1e-5)
    assert hedging.delay(0.95) == SOONEST


def test_the_budget_is_a_share_of_the_requests() -> None:
    """A token bucket that starts empty, and saves up at least five."""
    hedging = Hedging(0.05)
    assert not hedging.spend('first')
    hedging.leave('first')
    for _ in range(70):
        hedging.earn()
    assert [hedging.spend(number) for number in range(4)] == [True, True, True, False]
    for _ in range(10_000):
        hedging.earn()
    assert hedging.spend(3)
    assert 5 <= sum(hedging.spend(number) for number in range(100, 200)) < BURST
    spent, requests = 0, 0
    hedging = Hedging(0.05)
    for number in range(10_000):
        hedging.earn()
        requests += 1
        if hedging.spend(number):
            hedging.earn()  # a hedge is a request itself
            spent += 1
        else:
            hedging.leave(number)
        assert spent <= 0.05 * requests + 1e-6


def test_who_has_waited_for_longest_is_first() -> None:
    """A token goes to the head of the line; who leaves makes room."""
    hedging = Hedging(0.5)
    assert not any(hedging.spend(who) for who in 'abc')
    hedging.earn()
    hedging.earn()
    assert not hedging.spend('b') and not hedging.spend('c') and hedging.spend('a')
    for _ in range(4):
        hedging.earn()
    assert not hedging.spend('c')
    hedging.leave('b')
    assert hedging.spend('c')


# Real hosts ----------------------------------------------------------------------------------------------------------


def warmed(resources: Resources, requests: int = FEWEST) -> None:
    """Let it learn what is usual."""
    for _ in range(requests):
        assert resources.unicast('GET', '/warm')


class Choosing(Resources):
    """Asks the first host first."""

    def priority(self, host: str) -> float | None:
        """Its place."""
        return list(self).index(host)


def test_the_first_answer_wins_and_the_loser_is_cancelled() -> None:
    """A request that is slow goes to a second host; its own connection is closed, and its slot is back."""
    gate = Gate(opened=True)
    with serve(told, gate) as slow, serve(told) as fast, Choosing([slow.host, fast.host]) as resources:
        warmed(resources)
        gate.shut()
        answer = resources.unicast('GET', '/late', hedge=0.95)
        assert answer.request.host == fast.host and answer.body['path'] == '/late'
        wait_until(lambda: not gate.in_flight, 'the loser is cancelled')
        assert resources.health() == {slow.host: 'up', fast.host: 'up'}
        gate.open()
        is_back(resources, slow)


def test_the_first_host_may_win_as_well() -> None:
    """When the second host is slower still, it is the one that is cancelled."""
    gates = Gate(opened=True), Gate()
    with (
        serve(told, gates[0]) as slow,
        serve(told, gates[1]) as slower,
        Choosing([slow.host, slower.host]) as resources,
    ):
        warmed(resources)
        gates[0].shut()
        asking = gevent.spawn(resources.unicast, 'GET', '/late', hedge=0.5)
        gates[1].wait_for(1)
        gates[0].open()
        assert asking.get().request.host == slow.host
        wait_until(lambda: not gates[1].in_flight, 'the loser is cancelled')
        gates[1].open()
        is_back(resources, slower)


@pytest.mark.parametrize('method', ['POST', 'PATCH'])
def test_only_idempotent_requests_are_hedged(method: str) -> None:
    """What may change something twice is sent once."""
    gate = Gate(opened=True)
    with replicas(2, gate=gate) as servers, Resources([server.host for server in servers]) as resources:
        warmed(resources, 100)
        before = sum(counts(servers))
        gate.shut()
        asking = gevent.spawn(resources.unicast, method, '/', hedge=0.5)
        gate.wait_for(1)
        gevent.sleep(0.1)
        gate.open()
        assert asking.get().status == 200 and sum(counts(servers)) == before + 1


def test_nothing_is_hedged_before_it_is_known_what_is_slow() -> None:
    """49 samples are too few."""
    gate = Gate(opened=True)
    with replicas(2, gate=gate) as servers, Resources([server.host for server in servers], hedge_budget=1) as resources:
        warmed(resources, FEWEST - 1)
        for expected in FEWEST, FEWEST + 2:
            gate.shut()
            asking = gevent.spawn(resources.unicast, 'GET', '/', hedge=0.5)
            gate.wait_for(expected - sum(counts(servers)) if expected > FEWEST else 1)
            gevent.sleep(0.1)
            assert sum(counts(servers)) == expected
            gate.open()
            asking.get()


def test_a_budget_that_is_used_up() -> None:
    """Without a token a slow request waits, and is hedged when one has come in; with a budget of 0 nothing is."""
    gate = Gate(opened=True)
    with (
        replicas(2, gate=gate) as servers,
        Choosing([server.host for server in servers], simultaneous=9, hedge_budget=0.05) as resources,
    ):
        warmed(resources, 60)  # three tokens, or all but
        gate.shut()
        asking = [gevent.spawn(resources.unicast, 'GET', '/', hedge=0.9, hosts=servers_of(servers)) for _ in range(6)]
        gate.wait_for(3, servers[1])
        gevent.sleep(0.1)
        assert counts(servers) == [66, 3]
        gate.open()
        gevent.joinall(asking, raise_error=True)
    with replicated(2, hedge_budget=0) as (servers, resources):
        warmed(resources, 100)
        for server in servers:
            server.handler = late
        resources.unicast('GET', '/', hedge=0.5)
        assert sum(counts(servers)) == 101


def servers_of(servers: list[kit.Server]) -> list[str]:
    """Their hosts."""
    return [server.host for server in servers]


def late(*_: object) -> tuple[int, Any, Any]:
    """An answer that takes its time."""
    gevent.sleep(0.1)
    return 200, None, None


def test_a_failure_waits_for_the_other() -> None:
    """While one of the two is under way, the failure of the other is not the end; nor is it a further attempt."""
    gates = Gate(opened=True), Gate()
    with (
        serve(told, gates[0]) as first,
        serve(told, gates[1]) as second,
        serve(told) as third,
        Choosing([first.host, second.host, third.host]) as resources,
    ):
        warmed(resources)
        gates[0].shut()
        asking = gevent.spawn(resources.unicast, 'GET', '/late', hedge=0.5)
        gates[1].wait_for(1)
        for peer in list(first.peers.values()):
            peer.reset()
        gevent.sleep(0.02)
        assert not asking.ready()
        gates[1].open()
        assert asking.get().request.host == second.host
        assert not third.requests
        assert resources.health()[first.host] == 'down'


def test_a_hedge_needs_a_second_host() -> None:
    """With one host nothing is sent twice, and nothing is spent."""
    with serve(told) as server, Resources([server.host], hedge_budget=1) as resources:
        warmed(resources)
        server.handler = late
        assert resources.unicast('GET', '/', hedge=0.5).status == 200
        assert len(server.requests) == FEWEST + 1


@pytest.mark.timed
def test_a_hedge_is_within_the_deadline() -> None:
    """When both are too slow, the one clock ends both."""
    gate = Gate(opened=True)
    with replicas(2, gate=gate) as servers, Choosing(servers_of(servers)) as resources:
        warmed(resources)
        gate.shut()
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            resources.unicast('GET', '/', hedge=0.5, timeout=0.5)
        assert 0.45 < time.monotonic() - began < kit.limit(2)
        assert 0 < int(servers[1].requests[0].headers['x-napix-timeout']) < 500
        assert counts(servers) == [FEWEST + 1, 1]
        gate.open()
        for server in servers:
            is_back(resources, server)


def test_without_another_host_nothing_is_sent_twice() -> None:
    """When all others are set aside, a slow request is waited for, and no token is spent."""
    with (
        serve(told) as only,
        serve(told, listening=False) as dead,
        Choosing([only.host, dead.host], hedge_budget=1) as resources,
    ):
        warmed(resources)
        resources.broadcast('GET', '/')
        assert resources.health()[dead.host] == 'down'
        only.handler = late
        assert resources.unicast('GET', '/', hedge=0.5).request.host == only.host
        assert len(only.requests) == FEWEST + 2
