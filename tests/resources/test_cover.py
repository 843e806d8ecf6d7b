"""The fewest hosts that hold all keys: against brute force, within its time, good where it is not exact."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napixclient.errors import ConnectError
from napixclient.resources import cover as cover_module
from napixclient.resources.cover import least_cover
from napixclient.resources.errors import NoHostAvailable
from napixclient.resources.exact import exact_cover
from tests import kit

Holders = dict[Any, set[str]]

#: Seconds that the choice for 1,000 keys over 200 hosts may take.
CHOOSING = 0.05
HOSTS = [f'10.0.{number // 250}.{number % 250}:8080' for number in range(2000)]


def brute_force(holders: Mapping[Any, Iterable[str]], priorities: Mapping[str, Any]) -> tuple[int, Any] | None:
    """The least size, and for it the least sum; exact, and exponential. `None` where there is no cover."""
    hosts = [host for host, priority in priorities.items() if priority is not None]
    for size in range(len(hosts) + 1):
        sums = [
            sum(Fraction(priorities[host]) for host in chosen)
            for chosen in itertools.combinations(hosts, size)
            if all(set(chosen) & set(held_by) for held_by in holders.values())
        ]
        if sums:
            return size, min(sums)
    return None


def check(holders: Holders, chosen: list[str]) -> None:
    """It is a cover, and no host is there twice."""
    assert len(set(chosen)) == len(chosen)
    assert all(held_by & set(chosen) for held_by in holders.values())


def drawn(random: random.Random, keys: int, hosts: int, least: int, most: int) -> Holders:
    """So many keys, each on some hosts."""
    return {key: set(random.sample(HOSTS[:hosts], random.randint(least, most))) for key in range(keys)}


def own_seconds(choose: Callable[[], object], times: int = 3) -> float:
    """The best of some runs: the machine may be busy with others."""
    best = math.inf
    for _ in range(times):
        began = kit.own_time()
        choose()
        best = min(best, kit.own_time() - began)
    return best


# Against brute force -------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 3), st.floats(-10, 10), st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e300, -1e-300, 10**400])
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Holders, dict[str, Any]]:
    """Up to 8 keys over up to 8 hosts."""
    hosts = HOSTS[: draw(st.integers(1, 8))]
    holders = draw(
        st.dictionaries(st.integers(0, 20), st.sets(st.sampled_from(hosts), min_size=1, max_size=5), max_size=8)
    )
    number = draw(st.sampled_from([st.just(0), st.integers(-2, 2), NUMBERS]))
    return holders, {host: draw(st.one_of(number, number, number, st.none())) for host in hosts}


@settings(max_examples=600)
@given(problems())
@example(({1: {'a'}}, {'a': None}))
@example(({1: {'a', 'b'}, 2: {'b', 'c'}}, {'a': 0.1, 'b': 10, 'c': 0.2}))
@example(({1: {'a', 'b'}, 2: {'c', 'd'}}, {'a': 0.1 + 0.2, 'b': 0.3, 'c': 0, 'd': 1e-300}))
def test_it_is_a_cover_of_the_least_size_and_of_these_the_best(problem: tuple[Holders, dict[str, Any]]) -> None:
    """On small cases there is no smaller cover, and none as small with a smaller sum of priorities."""
    holders, priorities = problem
    best = brute_force(holders, priorities)
    if best is None:
        with pytest.raises(NoHostAvailable):
            least_cover(holders, priorities)
        return
    chosen = least_cover(holders, priorities)
    check(holders, chosen)
    assert (len(chosen), sum(Fraction(priorities[host]) for host in chosen)) == best


def test_thousands_of_small_cases() -> None:
    """The same on cases that are drawn without a thought, of up to 10 hosts."""
    chance = random.Random(5)
    for _ in range(4000):
        hosts = chance.randint(1, 10)
        holders = drawn(chance, chance.randint(0, 12), hosts, 1, min(hosts, 4))
        priorities = {host: chance.choice([0, 0, 1, -1, 2.5]) for host in HOSTS[:hosts]}
        chosen = least_cover(holders, priorities)
        check(holders, chosen)
        assert (len(chosen), sum(priorities[host] for host in chosen)) == brute_force(holders, priorities)


@settings(max_examples=300)
@given(st.integers(0, 11), st.data())
def test_a_table_finds_the_lightest_of_the_least(hosts: int, data: st.DataObject) -> None:
    """The exact part, alone: for each number of hosts, also where a half of them is empty."""
    rows = data.draw(st.sets(st.integers(1, 2**hosts - 1), max_size=12)) if hosts else set()
    weights = data.draw(st.lists(st.integers(0, 50), min_size=hosts, max_size=hosts))
    found = exact_cover(rows, weights)
    covers = [chosen for chosen in range(2**hosts) if all(chosen & row for row in rows)]
    assert found in covers
    assert rank(found, weights) == min(rank(chosen, weights) for chosen in covers)


def rank(chosen: int, weights: list[int]) -> tuple[int, int]:
    """Size and weight."""
    return chosen.bit_count(), sum(weight for place, weight in enumerate(weights) if chosen >> place & 1)


@pytest.mark.parametrize('width', [2, 3, 5, 10])
def test_twenty_hosts_are_exact(width: int) -> None:
    """At 20 hosts the size is the least, as an independent count shows: no set of hosts one smaller covers."""
    chance = random.Random(width)
    holders = drawn(chance, 25, 20, width, width)
    priorities = {host: chance.randint(-5, 5) for host in HOSTS[:20]}
    chosen = least_cover(holders, priorities)
    check(holders, chosen)
    places = {host: 1 << place for place, host in enumerate(HOSTS[:20])}
    rows = [sum(places[host] for host in held_by) for held_by in holders.values()]
    least = [
        sum(priorities[host] for host in some)
        for some in itertools.combinations(places, len(chosen))
        if all(row & sum(places[host] for host in some) for row in rows)
    ]
    assert sum(priorities[host] for host in chosen) == min(least)
    assert not any(
        all(row & bits for row in rows)
        for some in itertools.combinations(places.values(), len(chosen) - 1)
        for bits in [sum(some)]
    )


def test_many_hosts_are_exact_where_they_are_replicas_of_the_same_keys() -> None:
    """100 shards of three replicas each: the best replica of each, although they are 300 hosts."""
    priorities = {host: place * 7 % 11 for place, host in enumerate(HOSTS[:300])}
    holders = {key: set(HOSTS[key % 100 * 3 : key % 100 * 3 + 3]) for key in range(1000)}
    chosen = least_cover(holders, priorities)
    assert len(chosen) == 100
    assert sum(priorities[host] for host in chosen) == sum(
        min(priorities[host] for host in holders[key]) for key in range(100)
    )


def test_many_hosts_are_exact_where_they_fall_apart() -> None:
    """Four clusters of ten hosts are four small problems."""
    chance = random.Random(8)
    clusters = [
        {(cluster, key): set(chance.sample(HOSTS[cluster * 10 : cluster * 10 + 10], 3)) for key in range(15)}
        for cluster in range(4)
    ]
    priorities = {host: chance.randint(0, 3) for host in HOSTS[:40]}
    holders = {key: held_by for cluster in clusters for key, held_by in cluster.items()}
    chosen = least_cover(holders, priorities)
    each = [
        brute_force(cluster, {host: priorities[host] for host in HOSTS[number * 10 : number * 10 + 10]})
        for number, cluster in enumerate(clusters)
    ]
    assert (len(chosen), sum(priorities[host] for host in chosen)) == tuple(map(sum, zip(*each, strict=True)))


# Priorities ----------------------------------------------------------------------------------------------------------


def test_the_size_counts_more_than_any_priority() -> None:
    """One bad host for both keys rather than two good ones."""
    assert least_cover({1: {'good', 'bad'}, 2: {'better', 'bad'}}, {'good': -1e9, 'better': -1e9, 'bad': 1e9}) == [
        'bad'
    ]


def test_a_host_without_a_priority_is_out() -> None:
    """`None` takes it out, even where that needs more hosts."""
    holders = {1: {'a', 'both'}, 2: {'b', 'both'}}
    assert least_cover(holders, {'a': 0, 'b': 0, 'both': 0}) == ['both']
    assert least_cover(holders, {'a': 0, 'b': 0, 'both': None}) == ['a', 'b']


def test_a_key_whose_hosts_are_all_out_is_named() -> None:
    """The error is a ConnectError: nothing was sent."""
    with pytest.raises(NoHostAvailable, match="the key 'west'") as raised:
        least_cover({'east': {'a'}, 'west': {'b', 'c'}}, {'a': 0, 'b': None, 'c': None})
    assert isinstance(raised.value, ConnectError)


def test_a_key_without_hosts_is_named() -> None:
    """A key that nobody holds cannot be covered."""
    with pytest.raises(NoHostAvailable, match="the key 'west'"):
        least_cover({'west': set()}, {'a': 0})


def test_no_keys_need_no_hosts() -> None:
    """Nothing to ask for is nobody to ask."""
    assert least_cover({}, {}) == least_cover({}, {'a': 0}) == []


@pytest.mark.parametrize('priority', ['1', math.nan, (1, 2), object()])
def test_what_is_no_priority_is_named(priority: Any) -> None:
    """The error tells the host, and what a priority is."""
    with pytest.raises(ValueError, match="priority of 'a' is a number, or None"):
        least_cover({1: {'a'}}, {'a': priority})


def test_infinite_priorities_are_the_last_and_the_first_choice() -> None:
    """As few infinite ones as can be, then the best of the others."""
    inf = math.inf
    holders = {1: {'a', 'b', 'c'}, 2: {'d', 'e', 'f'}}
    assert least_cover(holders, {'a': inf, 'b': 5, 'c': 7, 'd': inf, 'e': inf, 'f': 10**400}) == ['b', 'f']
    assert least_cover(holders, {'a': -inf, 'b': 5, 'c': inf, 'd': 3, 'e': -inf, 'f': -1}) == ['a', 'e']
    assert least_cover({1: {'a'}}, {'a': inf}) == ['a']


def test_sums_are_not_rounded() -> None:
    """A difference that floats lose beside a large number still decides."""
    holders = {1: {'far'}, 2: {'a', 'b'}}
    assert least_cover(holders, {'far': 1e18, 'a': 1e-9, 'b': 0.0}) == ['far', 'b']


@pytest.mark.parametrize(
    'holders, ties',
    [
        ({1: {'a', 'b', 'c'}}, ['a', 'b', 'c']),
        ({1: {'a', 'b'}, 2: {'c', 'd'}}, ['ac', 'ad', 'bc', 'bd']),
        ({1: {'a', 'b'}, 2: {'b', 'c'}, 3: {'a', 'c'}}, ['ab', 'ac', 'bc']),
        ({1: {'a', 'b', 'c'}, 2: {'a', 'b', 'd'}}, ['a', 'b']),
    ],
)
def test_ties_are_broken_at_random(holders: Holders, ties: list[str]) -> None:
    """Each of the covers that are as good is chosen now and then, about as often."""
    times = 300
    found = Counter(''.join(least_cover(holders, dict.fromkeys('abcd', 1))) for _ in range(times))
    assert sorted(found) == sorted(ties)
    assert min(found.values()) > times / len(ties) / 3  # less than that is seven deviations away


def test_ties_are_broken_at_random_where_it_is_not_exact() -> None:
    """A large cover is not always the same."""
    holders = drawn(random.Random(1), 200, 60, 3, 3)
    covers = {tuple(least_cover(holders, dict.fromkeys(HOSTS[:60], 0))) for _ in range(10)}
    assert len(covers) > 1


def test_what_it_is_given_is_left_alone() -> None:
    """Neither the keys nor the priorities are changed."""
    holders = drawn(random.Random(1), 30, 20, 1, 5)
    priorities: dict[str, float | None] = dict.fromkeys(HOSTS[:20], 0.5)
    before = {key: set(held_by) for key, held_by in holders.items()}, dict(priorities)
    least_cover(holders, priorities)
    assert (holders, priorities) == before


# Large ones ----------------------------------------------------------------------------------------------------------


def shapes() -> dict[str, Holders]:
    """1,000 keys over 200 hosts, of all kinds; those by chance always the same."""
    chance = random.Random(1000)
    hosts = HOSTS[:200]
    return {
        **{
            f'{width} replicas': drawn(chance, 1000, 200, width, width)
            for width in (1, 2, 3, 5, 20, 100, 150, 199, 200)
        },
        'any number of replicas': drawn(chance, 1000, 200, 1, 200),
        'a ring': {key: {hosts[(key + step) % 200] for step in range(3)} for key in range(1000)},
        'a wide ring': {key: {hosts[(key * 7 + step) % 200] for step in range(60)} for key in range(1000)},
        'a chain': {key: {hosts[key % 198 + step] for step in range(3)} for key in range(1000)},
        'nested': {key: set(hosts[: key % 200 + 1]) for key in range(1000)},
        'nested the other way': {key: set(hosts[key % 200 :]) for key in range(1000)},
        'windows': {key: set(hosts[key // 10 : key // 10 + 100]) for key in range(1000)},
        'pairs': {key: {hosts[2 * (key % 100)], hosts[2 * (key % 100) + 1]} for key in range(1000)},
        'all pairs of 45': dict(enumerate(map(set, itertools.combinations(hosts[:45], 2)))),
        'ten clusters of 20': {
            key: set(chance.sample(hosts[key % 10 * 20 : key % 10 * 20 + 20], 7)) for key in range(1000)
        },
        'nine clusters of 22': {
            key: set(chance.sample(hosts[key % 9 * 22 : key % 9 * 22 + 22], 8)) for key in range(1000)
        },
        'all but two': {key: set(hosts) - set(chance.sample(hosts, 2)) for key in range(1000)},
        'a projective plane': plane(13),
        'where greedy is worst': trap(7),
        'on 20 hosts': drawn(chance, 1000, 20, 2, 15),
        'on 22 hosts': drawn(chance, 1000, 22, 8, 8),
        'on 23 hosts': drawn(chance, 1000, 23, 8, 8),
    }


def plane(order: int) -> Holders:
    """Lines and points of a projective plane: any two keys have one host in common, so nothing can be left out."""
    points = [(1, x, y) for x in range(order) for y in range(order)] + [(0, 1, x) for x in range(order)] + [(0, 0, 1)]
    return {
        line: {
            HOSTS[place]
            for place, point in enumerate(points)
            if sum(one * other for one, other in zip(line, point, strict=True)) % order == 0
        }
        for line in points
    }


def trap(steps: int) -> Holders:
    """Two hosts hold half of the keys each; others hold halves, quarters, eighths of both, which is always more at first."""
    holders: Holders = {}
    first = 0
    for step in range(1, steps + 1):
        for key in range(first, first + 2**step):
            holders[key] = {f'half {key % 2}', f'step {step}'}
        first += 2**step
    return holders


SHAPES = shapes()


@pytest.mark.timed
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('equal', [True, False])
def test_a_thousand_keys_over_200_hosts_are_chosen_in_time(shape: str, equal: bool) -> None:
    """Under 50 ms, whatever they look like, and it is a cover."""
    holders = SHAPES[shape]
    chance = random.Random(1)
    hosts = sorted(set().union(*holders.values()))
    priorities = {host: 0 if equal else chance.uniform(-100, 100) for host in hosts}
    chosen = least_cover(holders, priorities)
    check(holders, chosen)
    assert own_seconds(lambda: least_cover(holders, priorities)) < kit.limit(CHOOSING)


@pytest.mark.timed
def test_its_time_does_not_explode() -> None:
    """Ten times the keys and the hosts take less than a hundred times as long as 1,000 keys over 200 hosts may."""
    holders = drawn(random.Random(2), 10_000, 2000, 3, 3)
    priorities = dict.fromkeys(HOSTS, 0)
    check(holders, least_cover(holders, priorities))
    assert own_seconds(lambda: least_cover(holders, priorities), 1) < kit.limit(CHOOSING * 100)


@pytest.mark.parametrize('budget', [0, 50, 1000, 10_000])
def test_it_is_a_cover_wherever_the_budget_ends(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems of all densities, greedy from the start: whatever was left out by then, each key has its host."""
    monkeypatch.setattr(cover_module, '_TABLES', 0)
    monkeypatch.setattr(cover_module, '_REDUCING', budget)
    monkeypatch.setattr(cover_module, '_IMPROVING', budget)
    chance = random.Random(budget)
    for _ in range(150):
        hosts = chance.randint(2, 40)
        holders = drawn(chance, chance.randint(1, 100), hosts, 1, chance.randint(1, min(hosts, 9)))
        check(holders, least_cover(holders, {host: chance.choice([0, 0, 1, 5]) for host in HOSTS[:hosts]}))


def test_no_host_is_chosen_for_nothing() -> None:
    """Where it is not exact, still no host of the cover can be left out."""
    for seed in range(30):
        holders = drawn(random.Random(seed), 150, 60, 2, 6)
        chosen = set(least_cover(holders, dict.fromkeys(HOSTS[:60], 0)))
        for host in chosen:
            assert any(not held_by & (chosen - {host}) for held_by in holders.values())


def greedy(holders: Holders) -> int:
    """How many hosts the plain greedy cover has."""
    left, chosen = dict(holders), 0
    while left:
        held = Counter(host for held_by in left.values() for host in held_by)
        host = max(sorted(held), key=held.__getitem__)
        left = {key: held_by for key, held_by in left.items() if host not in held_by}
        chosen += 1
    return chosen


def test_it_is_better_than_greedy_where_it_is_not_exact() -> None:
    """Over some problems of 40 to 100 hosts together it needs fewer hosts, and never clearly more in any."""
    ours = plain = 0
    for seed in range(12):
        chance = random.Random(seed)
        random.seed(seed)  # which of equals is chosen
        hosts = chance.randint(40, 100)
        holders = drawn(chance, 3 * hosts, hosts, 2, 5)
        found, simple = len(least_cover(holders, dict.fromkeys(HOSTS[:hosts], 0))), greedy(holders)
        assert found <= simple + 1
        ours, plain = ours + found, plain + simple
    assert ours < 0.97 * plain


def test_it_is_near_the_least_where_that_is_known() -> None:
    """A ring of 200 hosts, each key on three in a row, needs 67 of them: 80 are never chosen."""
    holders = {key: {HOSTS[(key + step) % 200] for step in range(3)} for key in range(200)}
    assert 67 <= len(least_cover(holders, dict.fromkeys(HOSTS[:200], 0))) < 80


def test_priorities_count_where_it_is_not_exact() -> None:
    """Of twins, of which one is better, the worse one is never chosen."""
    chance = random.Random(6)
    twins = {f'{host} {kind}' for host in HOSTS[:60] for kind in ('good', 'bad')}
    holders = {
        key: {f'{host} {kind}' for host in chance.sample(HOSTS[:60], 3) for kind in ('good', 'bad')}
        for key in range(200)
    }
    chosen = least_cover(holders, {host: 0 if host.endswith('good') else 1 for host in sorted(twins)})
    check(holders, chosen)
    assert all(host.endswith('good') for host in chosen)


def test_a_part_too_large_for_a_table_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts there are, their tables are no more than a bound in all."""
    sizes: list[int] = []

    def counting(rows: Any, weights: Any) -> int:
        sizes.append(1 << len(weights))
        return exact_cover(rows, weights)

    monkeypatch.setattr(cover_module, 'exact_cover', counting)
    least_cover(SHAPES['ten clusters of 20'], dict.fromkeys(HOSTS[:200], 0))
    assert sizes.count(1 << 20) == 4
    assert sum(sizes) < 2 * (1 << 22)
