"""Which hosts are set aside, for how long, and how they come back."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from napixclient import ConnectError, DeadlineExceeded, HTTPError, RefusedError
from napixclient.resources import NoHostAvailable, Resources
from napixclient.resources.health import FIRST_PAUSE, JITTER, LATE, LONGEST_PAUSE, Health
from napixclient.testing import FakeClock
from tests import kit
from tests.kit import CLOSE, READ, SILENCE, FaultServer, Gate, serve, wait_until
from tests.resources.replicas import Reborn, counts, die, is_back, replicas, told, until_up

pytestmark = pytest.mark.usefixtures('oracle')


# The states ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that jumps."""
    yield FakeClock()


def test_a_host_that_fails_is_set_aside_and_probed(clock: FakeClock) -> None:
    """A failure sets it aside; when its pause is over one request is its probe, and an answer brings it back."""
    health = Health(clock)
    assert health.up and not health.due and not health.out and not health.claim()
    health.failed(clock(), dead=True)
    assert (health.state, health.due, health.out) == ('down', False, True)
    clock.advance(FIRST_PAUSE * (1 - JITTER) - 0.01)
    assert not health.claim()
    clock.advance(FIRST_PAUSE)
    assert health.due and not health.out
    assert health.claim() and not health.claim()
    assert (health.state, health.due, health.out) == ('probing', False, True)
    health.succeeded()
    assert health.up and not health.out


def test_pauses_grow_up_to_a_bound(clock: FakeClock) -> None:
    """Each probe that fails doubles the pause; an answer makes it short again."""
    health = Health(clock)
    health.failed(clock(), dead=True)
    expected = FIRST_PAUSE
    for _ in range(12):
        clock.advance(expected * (1 - JITTER) - 0.01)
        assert not health.due
        clock.advance(expected * JITTER + 0.02)
        assert health.claim()
        health.failed(clock(), probe=True, dead=True)
        expected = min(2 * expected, LONGEST_PAUSE)
    assert expected == LONGEST_PAUSE
    health.succeeded()
    health.failed(clock(), dead=True)
    clock.advance(FIRST_PAUSE)
    assert health.due


def test_a_probe_that_tells_nothing_leaves_room_for_another(clock: FakeClock) -> None:
    """Nobody is stuck in probing, and the pause does not begin anew."""
    health = Health(clock)
    health.failed(clock())
    clock.advance(FIRST_PAUSE)
    for _ in range(3):
        assert health.claim()
        health.probe_lost()
        assert health.state == 'down' and health.due
    health.succeeded()
    health.probe_lost()
    assert health.up


def test_only_news_counts(clock: FakeClock) -> None:
    """Of many requests that fail together one sets the host aside; what began before it recovered changes nothing."""
    health = Health(clock)
    before = clock()
    for _ in range(10):
        health.failed(before, dead=True)
    clock.advance(FIRST_PAUSE)
    assert health.claim()
    health.failed(before, dead=True)  # not the probe
    assert health.state == 'probing'
    health.succeeded()
    health.failed(before, dead=True)
    assert health.up
    health.failed(clock())
    assert not health.up and not health.out  # it can be connected to


def test_a_deadline_that_ran_out_counts_when_it_happens_again_and_again(clock: FakeClock) -> None:
    """Perhaps it was the caller who had no time; an answer in between makes it forgotten."""
    health = Health(clock)
    for _ in range(3):
        for _ in range(LATE - 1):
            health.failed(clock(), late=True)
        assert health.up
        health.succeeded()
    for _ in range(LATE):
        health.failed(clock(), late=True)
    assert health.state == 'down' and not health.out


# Real hosts ----------------------------------------------------------------------------------------------------------


def test_health_tells() -> None:
    """Up, down, probing, and up again: as requests find out."""
    gate = Gate(opened=True)
    with (
        serve(told) as good,
        serve(told, gate, listening=False) as dead,
        Resources([dead.host, good.host]) as resources,
    ):
        assert resources.health() == {dead.host: 'up', good.host: 'up'}
        with pytest.raises(RefusedError):
            resources.unicast('GET', '/', hosts=[dead.host])
        assert resources.health() == {dead.host: 'down', good.host: 'up'}
        assert repr(resources) == '<Resources 2 hosts: 1 up, 1 down>'
        assert resources.priority(dead.host) is None
        with pytest.raises(NoHostAvailable):
            resources.choice([dead.host])
        for _ in range(20):
            if resources.health()[dead.host] != 'down':  # its pause is over: the machine is busy
                break
            assert resources.unicast('GET', '/').request.host == good.host
        gate.shut()
        dead.listen()
        wait_until(lambda: resources.priority(dead.host) is not None, 'its pause is over')
        assert resources.health()[dead.host] == 'down'
        probe = gevent.spawn(resources.unicast, 'GET', '/probe')
        gate.wait_for(1)
        assert resources.health()[dead.host] == 'probing'
        for _ in range(20):
            assert resources.unicast('GET', '/').request.host == good.host
        gate.open()
        assert probe.get().request.host == dead.host
        assert resources.health() == {dead.host: 'up', good.host: 'up'}


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_one_probe_at_a_time(method: str) -> None:
    """However many ask when the pause is over, one request finds out; the others do not wait for it."""
    gate = Gate()
    with serve(told, gate, listening=False) as server, Resources([server.host], simultaneous=8) as resources:
        with pytest.raises(RefusedError):
            resources.unicast(method, '/')
        server.listen()
        wait_until(lambda: resources.priority(server.host) is not None, 'its pause is over')
        asking = [gevent.spawn(lambda: isinstance(failure(resources, method), NoHostAvailable)) for _ in range(20)]
        gate.wait_for(1)
        wait_until(lambda: sum(one.ready() for one in asking) == 19, 'the others are told')
        assert counts([server]) == [1] and sum(one.value for one in asking if one.ready()) == 19
        gate.open()
        gevent.joinall(asking)
        assert resources.health() == {server.host: 'up'}


def failure(resources: Resources, method: str = 'GET') -> HTTPError | None:
    """The error that a request ends with, if it does."""
    try:
        resources.unicast(method, '/')
    except HTTPError as error:
        return error
    return None


@pytest.mark.parametrize('end', ['kill', 'timeout', 'cancelled lease'])
def test_a_probe_that_is_killed_is_followed_by_another(end: str) -> None:
    """The host is not probing for ever: the next request is its probe."""
    gate = Gate()
    with serve(told, gate, listening=False) as server, Resources([server.host]) as resources:
        assert isinstance(failure(resources), ConnectError)
        server.listen()
        wait_until(lambda: resources.priority(server.host) is not None, 'its pause is over')
        for _ in range(3):
            if end == 'timeout':
                with gevent.Timeout(0.05, False):
                    resources.unicast('GET', '/probe')
            elif end == 'kill':
                probe = gevent.spawn(resources.unicast, 'GET', '/probe')
                gate.wait_for(1)
                assert resources.health() == {server.host: 'probing'}
                probe.kill()
            else:
                resource = resources.request(server.host, 'GET', '/probe')
                assert resources.health() == {server.host: 'probing'}
                resource.close()
            assert resources.health() == {server.host: 'down'}
            assert resources.priority(server.host) is not None
        gate.open()
        assert resources.unicast('GET', '/').status == 200
        assert resources.health() == {server.host: 'up'}
        is_back(resources, server)


def test_a_probe_that_could_not_be_made_is_none() -> None:
    """When a request cannot be made at all, nobody waits for its outcome."""
    with serve(told, listening=False) as server:
        resources = Resources([server.host])
        assert isinstance(failure(resources), ConnectError)
        wait_until(lambda: resources.priority(server.host) is not None, 'its pause is over')
        resources.close()
        with pytest.raises(RuntimeError):
            resources.unicast('GET', '/')
        assert resources.health() == {server.host: 'down'}


def test_a_host_that_can_be_connected_to_is_the_last_resort() -> None:
    """One that answers 503, or breaks off, is set aside while there are others, but better than none."""
    with (
        serve(lambda method, path, headers, body: (503, None, 'busy')) as busy,
        serve(told) as good,
        FaultServer([READ, CLOSE], handler=told) as broken,
        Resources([busy.host, broken.host, good.host]) as resources,
    ):
        for host in busy.host, broken.host:
            resources.broadcast('GET', '/', hosts=[host])
        assert resources.health() == {busy.host: 'down', broken.host: 'down', good.host: 'up'}
        for _ in range(20):
            assert resources.unicast('GET', '/').request.host == good.host
        assert resources.unicast('GET', '/', hosts=[busy.host]).status == 503
        assert resources.unicast('GET', '/', hosts=[broken.host]).status == 200  # and that brings it back
        assert resources.health() == {busy.host: 'down', broken.host: 'up', good.host: 'up'}


def test_whoever_asks_by_name_brings_a_host_back() -> None:
    """A broadcast and `request` ask hosts that are set aside as well, and an answer is an answer."""
    with serve(told, listening=False) as server, Resources([server.host]) as resources:
        assert isinstance(failure(resources), ConnectError)
        server.listen()
        for ask in (
            lambda: resources.broadcast('GET', '/')[0],
            lambda: resources.getresponse(server.host, resources.request(server.host, 'GET', '/')),
        ):
            assert ask().status == 200
            assert resources.health() == {server.host: 'up'}


def test_failures_of_our_own_tell_nothing_of_the_host() -> None:
    """An authenticator that raises, a body that is too large, a caller without time: the host is up."""

    def refuse(request: object) -> None:
        raise OSError('no key')

    with serve(told) as server:
        with Resources([server.host], authenticator=refuse) as resources, pytest.raises(HTTPError, match='no key'):
            resources.unicast('GET', '/', attempts=2)
        with Resources([server.host], max_body=3) as resources:
            assert failure(resources) is not None
            assert resources.health() == {server.host: 'up'}
    with FaultServer([READ, SILENCE], handler=told) as slow, Resources([slow.host]) as resources:
        with pytest.raises(DeadlineExceeded):
            resources.unicast('GET', '/', timeout=0.1)
        assert resources.health() == {slow.host: 'up'}
        is_back(resources, slow)


# A host dies and comes back ------------------------------------------------------------------------------------------


def test_a_host_dies_and_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    """With two attempts no request is lost, while it dies, is dead, and is back; it takes traffic within its pause."""
    with replicas(3) as servers, Resources([server.host for server in servers], 4, simultaneous=4) as resources:
        dying = servers[0].host
        asked, answered, over = 0, 0, False

        def caller() -> None:
            nonlocal asked, answered
            while not over:
                asked += 1
                status = resources.unicast('GET', '/', attempts=2).status
                answered += status == 200
                gevent.sleep(0.002)

        callers = [gevent.spawn(caller) for _ in range(6)]
        wait_until(lambda: min(counts(servers)) >= 10, 'all take their part')
        die(servers[0])
        wait_until(lambda: resources.health()[dying] == 'down', 'it is found dead')
        gevent.sleep(0.6)  # dead for longer than its first pause
        pause = resources.replicas[dying].health._pause
        assert pause > FIRST_PAUSE
        with Reborn(servers[0].port, told) as reborn:
            wait_until(lambda: reborn.requests, 'it takes traffic again', 2 * pause + 1)
            wait_until(lambda: len(reborn.requests) >= 10, 'it takes its part')
            over = True
            gevent.joinall(callers, raise_error=True)
            assert resources.health()[dying] == 'up'
        with capfd.disabled():
            print(f'\n{asked} requests while a host died and came back: {asked - answered} lost')
        assert asked == answered


def test_a_new_connection_is_enough_to_be_back() -> None:
    """A host whose connections all broke but that is alive is asked again within its first pause."""
    with replicas(2, kit.echo) as servers, Resources([server.host for server in servers], 2) as resources:
        resources.broadcast('GET', '/')
        for peer in list(servers[0].peers.values()):
            peer.reset()
        until_up(resources, servers[0].host)
        for _ in range(30):
            assert resources.unicast('GET', '/', attempts=2)
        assert min(counts(servers)) > 1
