"""Shards, against real servers: each sentence of lupyne's client about them, and what it lacked."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napixclient import ConnectError, HTTPError, RefusedError
from napixclient.resources import NoHostAvailable, QuorumError, Resources, Response, Shards
from napixclient.testing import FakeClock
from tests import kit


class Cluster:
    """Servers that tell who they are; each has documents of some zones, as search servers have."""

    def __init__(self, *zones: str, gate: kit.Gate | None = None) -> None:
        self._stack = ExitStack()
        self.servers = [
            self._stack.enter_context(kit.serve(self.answering(index, held), gate)) for index, held in enumerate(zones)
        ]
        self.hosts = [server.host for server in self.servers]

    @staticmethod
    def answering(index: int, zones: str) -> Any:
        """What one server answers."""

        def answer(method: str, path: str, headers: Any, body: bytes) -> Any:
            if path == '/missing':
                return 404, 'no such thing'
            return {'server': index, 'zones': list(zones)}

        return answer

    def asked(self) -> list[int]:
        """How many requests each server has had."""
        return [len(server.requests) for server in self.servers]

    def forget(self) -> None:
        """Count from now on."""
        for server in self.servers:
            server.requests.clear()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def ring(hosts: list[str]) -> list[tuple[str, int]]:
    """Three hosts and three keys, each key on two hosts: 0 on the first two, 1 on the last and the first, 2 on the rest."""
    return list(zip(hosts * 2, [0, 0, 1, 1, 2, 2], strict=True))


@contextmanager
def three(**options: Any) -> Iterator[tuple[Cluster, Shards]]:
    """Three servers in a ring, and shards of them."""
    with Cluster('01', '02', '12') as cluster, Shards(ring(cluster.hosts), **options) as shards:
        yield cluster, shards


class Ranked(Resources):
    """Resources whose priorities the test sets."""

    ranks: dict[str, Any] = {}

    def priority(self, host: str) -> Any:
        """What the test says, else 0."""
        return self.ranks.get(host, 0)


def ranked(shards: Shards, ranks: dict[str, Any]) -> None:
    """Give the shards resources with these priorities."""
    shards.resources.close()
    shards.resources = resources = Ranked(shards.resources)
    resources.ranks = ranks


def stopped(shards: Shards) -> FakeClock:
    """Have the pauses of all hosts go by a clock that goes when it is told to."""
    clock = FakeClock(0)
    for replica in shards.resources.replicas.values():
        replica.health._clock = clock
    return clock


# The mapping ---------------------------------------------------------------------------------------------------------


def test_it_is_a_mapping_of_keys_to_host_clusters_with_associated_resources(tidy: None) -> None:
    """Each key has a set of hosts, and each host is in the resources, once."""
    with Shards([('a', 0), ('b', 0), ('b', 1), ('a', 0)]) as shards:
        assert shards == {0: {'a', 'b'}, 1: {'b'}}
        assert dict(shards.items()) == {0: {'a', 'b'}, 1: {'b'}}
        assert (len(shards), list(shards), 1 in shards, 2 in shards) == (2, [0, 1], True, False)
        assert isinstance(shards.resources, Resources)
        assert set(shards.resources) == {'a', 'b'}


def test_items_are_host_key_pairs_and_multimap_is_a_mapping_of_hosts_to_keys(tidy: None) -> None:
    """Both may be given; keys are anything that is hashable."""
    with Shards([('a:8080', ('x', 1))], **{'a:8080': [None], 'b': iter([None, 7])}) as shards:
        assert shards == {('x', 1): {'a:8080'}, None: {'a:8080', 'b'}, 7: {'b'}}
    with Shards(iter([['a', 0]])) as shards:  # any iterable of pairs
        assert shards == {0: {'a'}}
    with Shards() as shards:
        assert shards == {} and not shards.resources


def test_what_is_no_pair_and_what_is_no_list_of_keys_is_named(tidy: None) -> None:
    """The errors tell what was given, and what should be."""
    for items in ([('a', 1, 2)], [7], {'a:8080': 1}):
        with pytest.raises(ValueError, match='items are pairs of a host and a key, not '):
            Shards(items)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Shards takes no option 'tiemout': did you mean 'timeout'"):
        Shards(tiemout=5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match='same host'):
        Shards([('a', 0), ('http://a:80', 1)])


def test_options_are_those_of_resources(tidy: None) -> None:
    """They go to the resources, and are no hosts; a wrong value is refused."""
    with (
        kit.serve() as server,
        Shards(
            [(server.host, 'x')],
            simultaneous=1,
            timeout=5,
            policy='p2c',
            singleflight=True,
            zones={server.host: 'north'},
            headers={'X-User': 'nemo'},
        ) as shards,
    ):
        assert list(shards) == ['x'] and list(shards.resources) == [server.host]
        shards.unicast('x', 'GET', '/')
        assert server.requests[0].headers['x-user'] == 'nemo'
    with pytest.raises(ValueError, match='policy'):
        Shards([('a', 0)], policy='best')


def test_limit_is_the_number_of_connections_kept_for_each_host(tidy: None) -> None:
    """0 keeps none: each request has a connection of its own."""
    for limit, connections in (0, 5), (1, 1):
        with Cluster('a', 'b') as cluster, Shards([(host, 'k') for host in cluster.hosts], limit) as shards:
            for _ in range(5):
                shards.broadcast('k', 'GET', '/')
            assert [server.accepted for server in cluster.servers] == [connections, connections]


# Asking --------------------------------------------------------------------------------------------------------------


def test_unicast_asks_any_host_of_the_key(tidy: None) -> None:
    """One host of the key is asked, each of them now and then, and no other."""
    with three() as (cluster, shards):
        for _ in range(40):
            response = shards.unicast(0, 'GET', '/')
            assert isinstance(response, Response) and response and response()['server'] in (0, 1)
        first, second, third = cluster.asked()
        assert first + second == 40 and min(first, second) > 0 and third == 0


def test_unicast_returns_a_response_of_any_status(tidy: None) -> None:
    """A 404 is a false response, which raises when it is called."""
    with three() as (_, shards):
        response = shards.unicast(0, 'GET', '/missing')
        assert (response.status, bool(response)) == (404, False)
        with pytest.raises(HTTPError, match='no such thing'):
            response()


def test_broadcast_asks_all_hosts_of_the_key(tidy: None) -> None:
    """Each once, at the same time, and no other."""
    gate = kit.Gate()
    with (
        Cluster('0', '0', '1', gate=gate) as cluster,
        Shards([(cluster.hosts[0], 0), (cluster.hosts[1], 0), (cluster.hosts[2], 1)]) as shards,
    ):
        asking = gevent.spawn(shards.broadcast, 0, 'POST', '/', {'size': 1})
        gate.wait_for(2)
        gate.open()
        assert sorted(response()['server'] for response in asking.get()) == [0, 1]
        assert cluster.asked() == [1, 1, 0]
        assert {request.body for server in cluster.servers for request in server.requests} == {b'{"size":1}'}


def test_multicast_asks_a_minimal_subset_of_hosts_which_cover_all_keys(tidy: None) -> None:
    """One host for one key, one for two keys that it holds, two for all three."""
    with three() as (cluster, shards):
        for keys, size in ([0], 1), ([0, 1], 1), ([0, 2], 1), ([1, 2], 1), ([0, 1, 2], 2), ([2, 0, 2, 1, 0], 2):
            for _ in range(5):
                cluster.forget()
                responses = shards.multicast(keys, 'GET', '/')
                assert len(responses) == sum(cluster.asked()) == size
                zones = set().union(*(response()['zones'] for response in responses))
                assert zones >= {str(key) for key in keys}


def test_response_overlap_is_possible_depending_on_partitioning(tidy: None) -> None:
    """Two hosts of a ring of three have one key in common, and both answer for it."""
    with three() as (_, shards):
        zones = Counter(zone for response in shards.multicast([0, 1, 2], 'GET', '/') for zone in response()['zones'])
        assert sorted(zones.values()) == [1, 1, 2]


def test_multicast_sends_at_the_same_time_and_takes_any_iterable(tidy: None) -> None:
    """All that are chosen are asked before the first has answered."""
    gate = kit.Gate()
    with Cluster('a', 'b', 'c', gate=gate) as cluster, Shards(zip(cluster.hosts, 'abc', strict=True)) as shards:
        asking = gevent.spawn(shards.multicast, iter('abc'), 'GET', '/')
        gate.wait_for(3)
        gate.open()
        assert sorted(response()['server'] for response in asking.get()) == [0, 1, 2]


def test_no_keys_ask_nobody(tidy: None) -> None:
    """And not everybody, either."""
    with three() as (cluster, shards):
        assert shards.multicast([], 'GET', '/') == []
        assert cluster.asked() == [0, 0, 0]


def test_a_key_that_there_is_not_is_a_key_error(tidy: None) -> None:
    """Nobody is asked."""
    with three() as (cluster, shards):
        for ask in (
            lambda: shards.unicast(9, 'GET', '/'),
            lambda: shards.broadcast(9, 'GET', '/'),
            lambda: shards.multicast([0, 9], 'GET', '/'),
        ):
            with pytest.raises(KeyError, match='9'):
                ask()
        assert cluster.asked() == [0, 0, 0]


def test_a_key_that_nobody_holds_any_more_asks_nobody(tidy: None) -> None:
    """The mapping may be changed; no host is not all hosts."""
    with three() as (cluster, shards):
        shards[0].clear()
        for ask in (
            lambda: shards.unicast(0, 'GET', '/'),
            lambda: shards.broadcast(0, 'GET', '/'),
            lambda: shards.multicast([0, 1], 'GET', '/'),
        ):
            with pytest.raises(NoHostAvailable, match='key 0'):
                ask()
        assert cluster.asked() == [0, 0, 0]


def test_the_mapping_may_be_changed(tidy: None) -> None:
    """A key may move to other hosts of the resources."""
    with three() as (cluster, shards):
        shards[0] = {cluster.hosts[2]}
        assert shards.unicast(0, 'GET', '/')()['server'] == 2
        [response] = shards.multicast([0, 1, 2], 'GET', '/')
        assert response()['server'] == 2


def test_options_of_a_request_reach_it(tidy: None) -> None:
    """Headers, parameters and the time are those of the request, in all three."""
    with three() as (cluster, shards):
        shards.unicast(0, 'GET', '/', params={'q': 'x'}, headers={'X-Way': 'uni'})
        shards.broadcast(1, 'GET', '/', params={'q': 'x'}, headers={'X-Way': 'broad'})
        shards.multicast([2], 'GET', '/', params={'q': 'x'}, headers={'X-Way': 'multi'})
        requests = [request for server in cluster.servers for request in server.requests]
        assert {request.path for request in requests} == {'/?q=x'}
        assert Counter(request.headers['x-way'] for request in requests) == {'uni': 1, 'broad': 2, 'multi': 1}


# Priorities ----------------------------------------------------------------------------------------------------------


def test_priority_is_the_combined_priority_of_hosts(tidy: None) -> None:
    """Their number, then the sum of their priorities; `None` when one of them is out."""
    with three() as (cluster, shards):
        one, two, out = cluster.hosts
        ranked(shards, {one: 3, two: -1.5, out: None})
        assert shards.priority([one]) == (1, 3)
        assert shards.priority({one, two}) == shards.priority([one, two, one]) == (2, 1.5)
        assert shards.priority([one, out]) is None
        assert shards.priority([]) == (0, 0)
        shards.resources.close()


def test_choice_is_the_chosen_host_or_group_according_to_priority(tidy: None) -> None:
    """Fewer hosts first, then the smallest sum; ties at random; one that is out is never chosen."""
    with three() as (cluster, shards):
        one, two, out = cluster.hosts
        ranked(shards, {one: 1, two: 1, out: None})
        assert shards.choice([[one, two], [one], [out]]) == [one]
        assert shards.choice([{two}, {one, two}]) == {two}
        assert {shards.choice([one, two, out]) for _ in range(50)} == {one, two}
        shards.resources.ranks = {one: 2, two: 1, out: None}
        assert {shards.choice([one, two, out]) for _ in range(20)} == {two}
        assert shards.choice(iter([frozenset([one]), frozenset([two])])) == {two}
        shards.resources.close()


def test_no_choice_is_an_error(tidy: None) -> None:
    """NoHostAvailable is a ConnectError: nothing was sent."""
    with three() as (cluster, shards):
        ranked(shards, dict.fromkeys(cluster.hosts))
        for hosts in [], cluster.hosts, [[cluster.hosts[0]]]:
            with pytest.raises(NoHostAvailable) as raised:
                shards.choice(hosts)
            assert isinstance(raised.value, ConnectError)
        shards.resources.close()


def test_multicast_takes_the_best_priorities_of_the_least_covers(tidy: None) -> None:
    """The size first, then the smallest sum."""
    with three() as (cluster, shards):
        for worst in range(3):
            ranked(shards, {cluster.hosts[worst]: 0.5})
            for _ in range(5):
                responses = shards.multicast([0, 1, 2], 'GET', '/')
                assert {response()['server'] for response in responses} == {0, 1, 2} - {worst}
        shards.resources.close()


def test_multicast_breaks_ties_at_random(tidy: None) -> None:
    """Each of the three pairs of a ring covers it, and each is asked."""
    with three() as (_, shards):
        pairs = {tuple(response()['server'] for response in shards.multicast([0, 1, 2], 'GET', '/')) for _ in range(60)}
        assert sorted(pairs) == [(0, 1), (0, 2), (1, 2)]


def test_a_host_whose_priority_is_none_is_not_asked(tidy: None) -> None:
    """Even where that needs more hosts, and where it leaves nobody."""
    with (
        Cluster('both', 'a', 'b') as cluster,
        Shards(
            [(cluster.hosts[0], 'a'), (cluster.hosts[0], 'b'), (cluster.hosts[1], 'a'), (cluster.hosts[2], 'b')]
        ) as shards,
    ):
        assert len(shards.multicast('ab', 'GET', '/')) == 1
        ranked(shards, {cluster.hosts[0]: None})
        assert [response()['server'] for response in shards.multicast('ab', 'GET', '/')] == [1, 2]
        assert shards.unicast('a', 'GET', '/')()['server'] == 1
        shards.resources.ranks = {cluster.hosts[0]: None, cluster.hosts[2]: None}
        cluster.forget()
        with pytest.raises(NoHostAvailable, match="'b'"):
            shards.multicast('ab', 'GET', '/')
        assert cluster.asked() == [0, 0, 0]
        shards.resources.close()


def test_a_priority_of_the_shards_own_counts(tidy: None) -> None:
    """A class derived from Shards may say which hosts are better; each host counts for itself."""

    class Near(Shards):
        near: list[str] = []

        def priority(self, hosts: Any) -> Any:
            return len(list(hosts)), sum(host not in self.near for host in hosts)

    class Half(Shards):
        def priority(self, hosts: Any) -> Any:
            return None if max(self.resources) in hosts else super().priority(hosts)

    with Cluster('01', '02', '12') as cluster, Near(ring(cluster.hosts)) as shards:
        for near in itertools.combinations(range(3), 2):
            shards.near = [cluster.hosts[place] for place in near]
            responses = shards.multicast([0, 1, 2], 'GET', '/')
            assert tuple(response()['server'] for response in responses) == near
    with Cluster('01', '02', '12') as cluster, Half(ring(cluster.hosts)) as shards:
        responses = shards.multicast([0, 1, 2], 'GET', '/')
        assert cluster.hosts.index(max(cluster.hosts)) not in {response()['server'] for response in responses}


def test_hosts_with_connections_ready_are_preferred(tidy: None) -> None:
    """By default the priority of a host is minus the number of its connections ready: multicast takes those."""
    with three(limit=1) as (cluster, shards):
        for host in cluster.hosts[:2]:
            shards.resources.unicast('GET', '/', hosts=[host])
        assert shards.priority(cluster.hosts[:2]) == (2, -2)
        for _ in range(5):
            responses = shards.multicast([0, 1, 2], 'GET', '/')
            assert [response()['server'] for response in responses] == [0, 1]
        assert [server.accepted for server in cluster.servers] == [1, 1, 0]


# Failures ------------------------------------------------------------------------------------------------------------


def test_one_failing_host_loses_nobody_elses_answer(tidy: None) -> None:
    """Its place has a falsy error, which raises itself when it is called."""
    with (
        Cluster('a', 'b') as cluster,
        kit.Mute(listening=False) as dead,
        Shards([*zip(cluster.hosts, 'ab', strict=True), (dead.host, 'c')]) as shards,
    ):
        responses = shards.multicast('abc', 'GET', '/')
        assert [bool(response) for response in responses] == [True, True, False]
        assert isinstance(responses[2], RefusedError)
        with pytest.raises(RefusedError):
            responses[2]()


def test_a_host_that_cannot_be_connected_to_is_not_chosen_until_its_pause_is_over(tidy: None) -> None:
    """The first request finds out, and as long as it is set aside the others cover its keys; then it is probed."""
    with (
        Cluster('01', '02') as cluster,
        kit.Server(listening=False) as dead,
        Shards(ring([dead.host, *cluster.hosts])) as shards,
    ):
        clock = stopped(shards)
        assert not all(shards.broadcast(0, 'GET', '/'))
        assert shards.resources.health()[dead.host] == 'down'
        answered = shards.multicast([0, 1, 2], 'GET', '/')
        assert [response()['server'] for response in answered] == [0, 1]
        dead.relent()
        assert all(shards.multicast([0], 'GET', '/')) and not dead.requests
        clock.advance(1)
        assert all(shards.multicast([0], 'GET', '/')) and dead.requests
        assert shards.resources.health()[dead.host] == 'up'


def test_a_key_whose_hosts_are_all_set_aside_asks_nobody(tidy: None) -> None:
    """NoHostAvailable names the key."""
    with (
        Cluster('a') as cluster,
        kit.Mute(listening=False) as dead,
        Shards([(cluster.hosts[0], 'a'), (dead.host, 'b')]) as shards,
    ):
        stopped(shards)
        assert not shards.broadcast('b', 'GET', '/')[0]
        with pytest.raises(NoHostAvailable, match="'b'"):
            shards.multicast('ab', 'GET', '/')
        assert cluster.asked() == [0]


def test_a_host_that_only_fails_is_asked_for_what_nobody_else_holds(tidy: None) -> None:
    """A host that answers 503 is set aside, but can be connected to: better than nobody, and not chosen otherwise."""
    failing = kit.serve(lambda *_: (503, 'busy'))
    with (
        Cluster('1', '2') as cluster,
        failing,
        Shards(
            [(failing.host, 1), (failing.host, 2), (failing.host, 3), (cluster.hosts[0], 1), (cluster.hosts[1], 2)]
        ) as shards,
    ):
        stopped(shards)
        [response] = shards.multicast([1, 2], 'GET', '/')  # the least cover
        assert response.status == 503
        assert [response()['server'] for response in shards.multicast([1, 2], 'GET', '/')] == [0, 1]
        [response] = shards.multicast([3], 'GET', '/')
        assert response.status == 503


def test_unicast_fails_over_within_the_hosts_of_the_key(tidy: None) -> None:
    """`attempts` tries another host of the same key, and never one of another key."""
    with (
        Cluster('a', 'b') as cluster,
        kit.Mute(listening=False) as dead,
        Shards([(dead.host, 'a'), (cluster.hosts[0], 'a'), (cluster.hosts[1], 'b')]) as shards,
    ):
        for _ in range(20):
            assert shards.unicast('a', 'GET', '/', attempts=2)()['server'] == 0
        assert cluster.asked() == [20, 0]


def test_a_quorum_of_the_hosts_of_a_key(tidy: None) -> None:
    """`need` is counted over the hosts of the key."""
    gate = kit.Gate()
    with (
        Cluster('k', 'k') as cluster,
        kit.serve(gate=gate) as slow,
        Shards([(host, 'k') for host in (*cluster.hosts, slow.host)]) as shards,
    ):
        answers = shards.broadcast('k', 'GET', '/', need=2)
        assert sum(map(bool, answers)) == 2
        with pytest.raises(QuorumError) as raised:
            shards.broadcast('k', 'GET', '/missing', need=2)
        assert len(raised.value.outcomes) == 3
        kit.wait_until(lambda: not gate.in_flight, 'the cancelled requests to be gone')


def test_a_killed_caller_leaves_nothing_behind(tidy: None) -> None:
    """Killed in a multicast, all that it asked is cancelled, and the hosts answer the next."""
    gate = kit.Gate()
    with Cluster('a', 'b', 'c', gate=gate) as cluster, Shards(zip(cluster.hosts, 'abc', strict=True), 1) as shards:
        asking = gevent.spawn(shards.multicast, 'abc', 'GET', '/')
        gate.wait_for(3)
        asking.kill()
        kit.wait_until(lambda: not gate.in_flight, 'the cancelled requests to be gone')
        gate.open()
        assert all(shards.multicast('abc', 'GET', '/'))


def test_the_callers_own_timeout_passes_through(tidy: None) -> None:
    """A gevent.Timeout that is not ours is raised as it is, and cancels what was asked."""
    gate = kit.Gate()
    with Cluster('a', 'b', gate=gate) as cluster, Shards(zip(cluster.hosts, 'ab', strict=True)) as shards:
        with pytest.raises(gevent.Timeout) as raised, gevent.Timeout(0.05) as own:
            shards.multicast('ab', 'GET', '/')
        assert raised.value is own
        kit.wait_until(lambda: not gate.in_flight, 'the cancelled requests to be gone')


# Any partitioning ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_whatever_the_partitioning_the_responses_cover_the_keys_with_as_few_hosts_as_can_be(
    data: st.DataObject,
) -> None:
    """Against brute force, over real requests to one server that stands for all hosts."""
    with kit.serve(lambda *_: {}, address='0.0.0.0') as server:
        hosts = [server.at(f'127.0.0.{number}') for number in range(1, 7)]
        partitions = data.draw(
            st.dictionaries(
                st.integers(0, 9), st.sets(st.sampled_from(hosts), min_size=1, max_size=4), min_size=1, max_size=6
            )
        )
        keys = data.draw(st.lists(st.sampled_from(sorted(partitions)), max_size=8))
        with Shards([(host, key) for key, held_by in partitions.items() for host in held_by]) as shards:
            responses = shards.multicast(keys, 'GET', '/')
            asked = {response.request.host for response in responses}
            assert len(asked) == len(responses) == len(server.requests)
        assert all(asked & partitions[key] for key in keys)
        least = next(
            size
            for size in range(7)
            for some in itertools.combinations(hosts, size)
            if all(partitions[key].intersection(some) for key in keys)
        )
        assert len(asked) == least


def test_a_thousand_keys_over_200_hosts(tidy: None) -> None:
    """All keys are answered for by one multicast over real requests."""
    chance = random.Random(7)
    with kit.serve(lambda *_: {}, address='0.0.0.0') as server:
        hosts = [server.at(f'127.0.0.{number}') for number in range(1, 201)]
        items = [(host, key) for key in range(1000) for host in chance.sample(hosts, 3)]
        with Shards(items) as shards:
            responses = shards.multicast(range(1000), 'GET', '/')
            assert all(responses)
            asked = {response.request.host for response in responses}
        assert all(asked & held_by for held_by in shards.values())
        assert len(asked) == len(responses) < 130
