"""So many successes, in all or in each zone: as soon as they are there, or cannot be any more."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import gevent
import pytest

from napixclient import Cancelled, ConnectError, HTTPError, RefusedError, Timeout
from napixclient.error_documents import document_of
from napixclient.resources import QuorumError, Resources, Response
from napixclient.resources.quorum import Quorum
from tests import kit
from tests.kit import Gate, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, replicated, told

pytestmark = pytest.mark.usefixtures('oracle')


# Counting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('need', [1, 3, 5])
def test_it_is_decided_as_soon_as_it_can_be(need: int) -> None:
    """Reached with the success that makes it enough, lost with the failure after which no luck would help; never both."""
    for outcomes in itertools.product([True, False], repeat=5):
        quorum = Quorum(need, 'abcde', {})
        for index, success in enumerate(outcomes):
            succeeded, left = sum(outcomes[:index]), 5 - index
            assert quorum.reached == (succeeded >= need)
            assert quorum.lost == (succeeded + left < need)
            quorum.note(index, success)
        assert quorum.reached != quorum.lost


def test_zones_are_counted_apart() -> None:
    """Each zone needs its own; hosts of other zones, or of none, count for none."""
    zones = {'a': 1, 'b': 1, 'c': 2, 'd': 3}
    quorum = Quorum({1: 1, 2: 1}, 'abcde', zones)
    for index in 0, 1, 3, 4:
        quorum.note(index, True)
        assert not quorum.reached and not quorum.lost
    quorum.note(2, False)
    assert quorum.lost and str(quorum) == '2 of 1 succeeded in 1, 0 of 1 succeeded in 2'


@pytest.mark.parametrize(
    ('need', 'why'),
    [
        (0, 'at least 1'),
        (True, 'at least 1'),
        (2.0, 'at least 1'),
        ('2', 'at least 1'),
        ({'z': 0}, 'at least 1'),
        ({}, 'names no zone'),
        ({'y': 1}, "no host is in the zone 'y'"),
    ],
)
def test_needs_that_make_no_sense(need: Any, why: str) -> None:
    """Bad input says what is wrong, before anything is sent."""
    with replicas(2) as servers:
        hosts = [server.host for server in servers]
        with Resources(hosts, zones={hosts[0]: 'z'}) as resources, pytest.raises(ValueError, match=why):
            resources.broadcast('GET', '/', need=need)
        assert counts(servers) == [0, 0]


# Real hosts ----------------------------------------------------------------------------------------------------------


def test_three_of_five_while_two_hang() -> None:
    """It returns at the third answer; the two are cancelled, and their slots are back."""
    gate, hanging = Gate(), Gate()
    with replicas(3, gate=gate) as good, replicas(2, gate=hanging) as slow:
        servers = [slow[0], good[0], good[1], slow[1], good[2]]
        with Resources([server.host for server in servers]) as resources:
            asking = gevent.spawn(resources.broadcast, 'PUT', '/key', {'value': 1}, need=3)
            hanging.wait_for(2)
            for request in gate.wait_for(3)[:2]:
                request.release()
            kit.turn()
            assert not asking.ready()
            gate.open()
            answers = asking.get(timeout=kit.LONG)
            assert [bool(answer) for answer in answers] == [False, True, True, False, True]
            assert [type(answer) for answer in (answers[1], answers[2], answers[4])] == [Response] * 3
            for answer, server in (answers[0], slow[0]), (answers[3], slow[1]):
                assert isinstance(answer, Cancelled) and answer.request.host == server.host
            wait_until(lambda: not hanging.in_flight, 'the two are cancelled')
            assert set(resources.health().values()) == {'up'}
            hanging.open()
            for server in slow:
                is_back(resources, server)


def test_it_fails_as_soon_as_it_must() -> None:
    """With three of five dead or unwilling three cannot succeed: it does not wait for the others."""
    gate = Gate()
    with (
        serve(told, gate) as slow,
        serve(told) as good,
        serve(lambda method, path, headers, body: (409, None, 'no')) as no,
        serve(told, listening=False) as dead,
        serve(told, listening=False) as other,
    ):
        servers = [slow, good, no, dead, other]
        with Resources([server.host for server in servers]) as resources:
            with pytest.raises(QuorumError) as caught:
                resources.broadcast('GET', '/', need=3)
            outcomes = caught.value.outcomes
            assert isinstance(outcomes[0], Cancelled) and isinstance(outcomes[3], RefusedError)
            assert isinstance(outcomes[4], RefusedError) and not any(outcomes[2:]) and outcomes[2].status == 409
            assert isinstance(caught.value, HTTPError) and caught.value.status is None
            assert 'of 3 succeeded' in str(caught.value)
            copied = pickle.loads(pickle.dumps(caught.value))
            assert [bool(one) for one in copied.outcomes] == [bool(one) for one in outcomes]
            assert str(copied) == str(caught.value)
            gate.open()
            is_back(resources, slow)
            # Who is asked by a server in turn hears of every one of them.
            assert len(document_of(caught.value, 502, 'GET', '/')['remote_errors']) == 3


def test_what_cannot_be_reached_at_all_is_not_sent() -> None:
    """Four of three is lost before it begins; so is a zone none of whose hosts is asked."""
    with replicas(3) as servers:
        hosts = [server.host for server in servers]
        with Resources(hosts, zones={hosts[0]: 'a', hosts[1]: 'b'}) as resources:
            for need, asked in (4, hosts), ({'a': 2}, hosts), ({'a': 1}, hosts[1:]):
                with pytest.raises(QuorumError) as caught:
                    resources.broadcast('GET', '/', hosts=asked, need=need)
                assert [type(outcome).__name__ for outcome in caught.value.outcomes] == ['Cancelled'] * len(asked)
            assert counts(servers) == [0, 0, 0]
    with Resources([]) as nobody, pytest.raises(QuorumError):
        nobody.broadcast('GET', '/', need=1)


def test_a_quorum_in_each_zone() -> None:
    """It returns when each zone has its number, and fails when one of them cannot have it."""
    gate = Gate()
    with replicas(4, gate=gate) as servers:
        hosts = [server.host for server in servers]
        zones = dict(zip(hosts, ['east', 'east', 'west', 'west'], strict=True))
        with Resources(hosts, zones=zones) as resources:
            asking = gevent.spawn(resources.broadcast, 'GET', '/', need={'east': 1, 'west': 1})
            for held in gate.wait_for(4)[:2]:
                assert held.peer.server in servers
            for server in servers[:2]:
                gate.held(server)[0].release()
            gevent.sleep(0.02)
            assert not asking.ready()
            gate.held(servers[3])[0].release()
            assert [bool(answer) for answer in asking.get(timeout=kit.LONG)] == [True, True, False, True]
        with Resources(hosts, zones=zones) as resources:
            asking = gevent.spawn(
                lambda: pytest.raises(QuorumError, resources.broadcast, 'GET', '/', need={'east': 1, 'west': 2})
            )
            wait_until(lambda: len(gate.held()) >= 4, 'all are asked')
            for peer in list(servers[2].peers.values()):
                peer.reset()
            assert 'west' in str(asking.get(timeout=kit.LONG).value)


def test_a_quorum_that_is_late() -> None:
    """What did not answer in time has failed."""
    gate = Gate()
    with serve(told) as good, replicas(2, gate=gate) as slow:
        with Resources([good.host, *(server.host for server in slow)]) as resources:
            with pytest.raises(QuorumError) as caught:
                resources.broadcast('GET', '/', need=2, timeout=0.2)
            outcomes = caught.value.outcomes
            assert outcomes[0].status == 200 and any(isinstance(outcome, Timeout) for outcome in outcomes)
            gate.open()
            for server in slow:
                is_back(resources, server)


def test_a_success_is_a_2xx() -> None:
    """Other answers count as failures, and are among the outcomes as what they are."""
    with replicated(2) as (servers, resources):
        assert [answer.status for answer in resources.broadcast('GET', '/201', need=2)] == [201, 201]
        for status in 302, 404, 500:
            with pytest.raises(QuorumError) as caught:
                resources.broadcast('GET', f'/{status}', need=1)
            assert [outcome.status for outcome in caught.value.outcomes] == [status, status]
        assert not isinstance(caught.value, ConnectError)
