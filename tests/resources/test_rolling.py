"""Batch by batch: how many at a time, how many may fail, what was not started."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from napixclient import HTTPError, RefusedError, Timeout
from napixclient.resources import Resources, RollingError, Rollout
from napixclient.resources.rolling import batches, is_too_many
from tests import kit
from tests.kit import Gate, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, replicated, told

pytestmark = pytest.mark.usefixtures('oracle')


@pytest.mark.parametrize(
    ('total', 'serial', 'sizes'),
    [
        (12, 5, [5, 5, 2]),
        (5, 5, [5]),
        (3, 5, [3]),
        (0, 5, []),
        (0, '10%', []),
        (25, '10%', [2] * 12 + [1]),
        (3, '10%', [1, 1, 1]),
        (4, '50%', [2, 2]),
        (3, '100%', [3]),
        (3, ' 33.4 % ', [1, 1, 1]),
    ],
)
def test_batches(total: int, serial: Any, sizes: list[int]) -> None:
    """So many at a time; a percentage is one of all, rounded down, and at least one."""
    requests = list(range(total))
    found = list(batches(requests, serial))
    assert [len(batch) for batch in found] == sizes and [one for batch in found for one in batch] == requests


@pytest.mark.parametrize(
    ('failed', 'batch', 'max_fail', 'too_many'),
    [
        (0, 5, 0, False),
        (1, 5, 0, True),
        (2, 5, 2, False),
        (3, 5, 2, True),
        (1, 5, '20%', False),
        (2, 5, '20%', True),
        (1, 2, '50%', False),
        (1, 1, '50%', True),
        (1, 5, '0%', True),
        (5, 5, '100%', False),
        (1, 3, '33%', True),
    ],
)
def test_too_many_of_the_whole_batch(failed: int, batch: int, max_fail: Any, too_many: bool) -> None:
    """A number, or a share of the batch as it is, may fail; more is too many."""
    assert is_too_many(failed, batch, max_fail) == too_many


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        ({'serial': 0}, 'serial is'),
        ({'serial': '0%'}, 'serial is'),
        ({'serial': '101%'}, 'serial is'),
        ({'serial': '5'}, 'serial is'),
        ({'serial': 2.5}, 'serial is'),
        ({'serial': True}, 'serial is'),
        ({'max_fail': -1}, 'max_fail is'),
        ({'max_fail': 'few'}, 'max_fail is'),
        ({'stream': True}, 'read whole'),
    ],
)
def test_options_that_make_no_sense(options: Any, why: str) -> None:
    """They are refused before anything is sent."""
    with replicated(1) as (servers, resources):
        with pytest.raises(ValueError, match=why):
            resources.rolling([(servers[0].host, 'GET', '/')], **options)
        assert counts(servers) == [0]


@pytest.mark.parametrize('bad', [('GET', '/'), 'host', (), ('a', 'GET', '/', None, 1), ('nowhere', 'GET', '/'), None])
def test_requests_that_make_no_sense(bad: Any) -> None:
    """One of them is enough to send none."""
    with replicated(1) as (servers, resources):
        with pytest.raises(ValueError, match='rolling takes|unknown host'):
            resources.rolling([(servers[0].host, 'GET', '/'), bad])
        assert counts(servers) == [0]


def test_batch_by_batch() -> None:
    """A batch begins when the one before has ended, all of it at once; outcomes are in the order of the requests."""
    gate = Gate()
    with replicas(5, gate=gate) as servers, Resources([server.host for server in servers]) as resources:
        requests = [(server.host, 'PUT', '/state', {'up': True}) for server in servers]
        rolling = gevent.spawn(resources.rolling, requests, serial=2)
        for number in 2, 2, 1:
            held = gate.wait_for(number)
            gevent.sleep(0.02)
            assert gate.in_flight == number
            for request in reversed(held):
                request.release()
            wait_until(lambda held=held: not set(held) & set(gate.requests()), 'the batch has ended')
        found = rolling.get()
        assert isinstance(found, Rollout) and found.not_started == []
        assert [outcome.request.host for outcome in found.outcomes] == list(resources)
        assert found.outcomes[0].body['sent'] == '{"up":true}'


def test_it_stops_when_too_many_failed() -> None:
    """The rest is not started, and it says which; what the batch did is not lost."""
    with (
        replicas(4) as servers,
        serve(told, listening=False) as dead,
        Resources([*(server.host for server in servers), dead.host]) as resources,
    ):
        hosts = [server.host for server in servers]
        requests = [
            (hosts[0], 'GET', '/'),
            (dead.host, 'GET', '/'),
            (hosts[1], 'GET', '/409'),
            (hosts[2], 'GET', '/'),
            (hosts[3], 'GET', '/'),
        ]
        with pytest.raises(RollingError) as caught:
            resources.rolling(iter(requests), serial=3, max_fail=1)
        assert [outcome.status for outcome in caught.value.outcomes] == [200, None, 409]
        assert [bool(outcome) for outcome in caught.value.outcomes] == [True, False, False]
        assert isinstance(caught.value.outcomes[1], RefusedError) and isinstance(caught.value, HTTPError)
        assert caught.value.not_started == requests[3:]
        assert '2 of a batch of 3 failed; 2 of 5 were not started' in str(caught.value)
        assert counts(servers) == [1, 1, 0, 0] and len(caught.value.exceptions) == 2
        found = resources.rolling(requests, serial=3, max_fail='67%')
        assert [outcome.status for outcome in found.outcomes] == [200, None, 409, 200, 200]


def test_what_may_fail_is_counted_anew_in_each_batch() -> None:
    """It is the share of the batch, not of all that went before."""
    with replicated(1) as (servers, resources):
        requests = [(servers[0].host, 'GET', path) for path in ('/', '/500', '/', '/500', '/', '/500')]
        assert len(resources.rolling(requests, serial=2, max_fail=1).outcomes) == 6
        with pytest.raises(RollingError) as caught:
            resources.rolling(requests, serial=2)
        assert len(caught.value.outcomes) == 2 and len(caught.value.not_started) == 4


def test_each_request_has_its_own_timeout() -> None:
    """A host that hangs has failed when its time is up."""
    gate = Gate()
    with serve(told, gate) as slow, serve(told) as good, Resources([slow.host, good.host]) as resources:
        with pytest.raises(RollingError) as caught:
            resources.rolling([(slow.host, 'GET', '/'), (good.host, 'GET', '/')], serial=1, timeout=0.2)
        assert isinstance(caught.value.outcomes[0], Timeout) and caught.value.not_started == [(good.host, 'GET', '/')]
        gate.open()
        is_back(resources, slow)


def test_a_batch_keeps_to_simultaneous() -> None:
    """Many requests to one host wait for each other."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], simultaneous=2) as resources:
        rolling = gevent.spawn(resources.rolling, [(server.host, 'GET', '/')] * 6, serial=6)
        gate.wait_for(2)
        gate.open()
        assert len(rolling.get(timeout=kit.LONG).outcomes) == 6 and gate.peak == 2
