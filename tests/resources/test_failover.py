"""Another host after a failure: which failures, which methods, how often, for how long."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from urllib3 import Timeout as Timeouts

from napixclient import DeadlineExceeded, HTTPError, ProtocolError, RefusedError, Timeout
from napixclient.call_context import current, extract
from napixclient.resources import Resources
from tests import kit
from tests.kit import CLOSE, READ, RST, SILENCE, FaultServer, Gate, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, told

pytestmark = pytest.mark.usefixtures('oracle')


class InTurn(Resources):
    """Asks the hosts in the order in which they were given."""

    def priority(self, host: str) -> float | None:
        """Its place."""
        return list(self).index(host)


def in_turn(*servers: kit.Server, **options: Any) -> InTurn:
    """Resources of these servers."""
    return InTurn([server.host for server in servers], **options)


IDEMPOTENT = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']
OTHERS = ['POST', 'PATCH', 'REPORT']


@pytest.mark.parametrize('method', [*IDEMPOTENT, *OTHERS])
def test_after_a_failure_to_connect_any_method_goes_to_another_host(method: str) -> None:
    """Nothing was sent, so nothing can be sent twice."""
    with serve(told, listening=False) as dead, serve(told) as good, in_turn(dead, good) as resources:
        assert resources.unicast(method, '/', attempts=2).request.host == good.host
        assert counts([dead, good]) == [0, 1]


@pytest.mark.parametrize('method', IDEMPOTENT)
@pytest.mark.parametrize(
    'script',
    [
        [READ, RST],
        [READ, CLOSE],
        [READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx', CLOSE],
        [READ, b'nonsense\r\n\r\n'],
        [READ, SILENCE],
        *([READ, b'HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n' % status] for status in (502, 503, 504)),
    ],
)
def test_after_any_failure_an_idempotent_request_goes_to_another_host(method: str, script: Any) -> None:
    """No answer, half an answer, silence for as long as a read may take, and 502, 503 and 504."""
    if method == 'HEAD' and b'Content-Length: 9' in b''.join(step for step in script if isinstance(step, bytes)):
        return  # that is a whole answer
    with FaultServer(script) as bad, serve(told) as good, in_turn(bad, good, timeout=Timeouts(read=0.5)) as resources:
        assert resources.unicast(method, '/', attempts=2).request.host == good.host
        assert counts([bad, good]) == [1, 1]


@pytest.mark.parametrize('method', OTHERS)
@pytest.mark.parametrize(
    'script', [[READ, RST], [READ, CLOSE], [READ, SILENCE], [READ, b'HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n']]
)
def test_what_may_have_arrived_is_not_sent_again_unless_it_is_idempotent(method: str, script: Any) -> None:
    """Once a byte is written, a POST is sent nowhere else."""
    with FaultServer(script) as bad, serve(told) as good, in_turn(bad, good, timeout=Timeouts(read=0.5)) as resources:
        try:
            assert resources.unicast(method, '/', {'a': 1}, attempts=2).status == 503
        except HTTPError as error:
            assert error.status is None
        gevent.sleep(0.05)
        assert counts([bad, good]) == [1, 0]


def test_a_post_on_a_reused_connection_that_proves_dead_is_not_sent_again() -> None:
    """Nobody can know whether it arrived: not over a fresh connection, not to another host."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
    with FaultServer([READ, answer, READ, CLOSE]) as bad, serve(told) as good, in_turn(bad, good, limit=2) as resources:
        assert resources.unicast('POST', '/1')
        with pytest.raises(ProtocolError) as caught:
            resources.unicast('POST', '/2', attempts=2)
        assert caught.value.attempts == 1
        gevent.sleep(0.05)
        assert [request.path for request in bad.requests] == ['/1', '/2'] and counts([good]) == [0]


def test_a_connection_that_the_server_closed_meanwhile_is_not_a_failure() -> None:
    """An idle connection that is closed is not reused, so a POST goes over a fresh one."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
    with FaultServer([READ, answer, CLOSE], handler=told) as server, in_turn(server, limit=2) as resources:
        assert resources.unicast('POST', '/1')
        wait_until(lambda: not server.peers, 'it is closed')
        assert resources.unicast('POST', '/2').status == 200
        assert [request.path for request in server.requests] == ['/1', '/2']


@pytest.mark.parametrize('status', [200, 302, 400, 404, 408, 429, 500, 501, 505])
def test_other_statuses_are_answers(status: int) -> None:
    """Whatever a server has made up its mind about is not asked again elsewhere."""
    with replicas(2) as servers, in_turn(*servers) as resources:
        assert resources.unicast('GET', f'/{status}', attempts=2).status == status
        assert counts(servers) == [1, 0]


def test_no_host_is_asked_twice() -> None:
    """There are no more tries than hosts, nor than attempts."""

    def bad(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 503, None, None

    for attempts, expected in (1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (9, [1, 1, 1]):
        with replicas(3, bad) as servers, in_turn(*servers) as resources:
            assert resources.unicast('GET', '/', attempts=attempts).status == 503
            assert counts(servers) == expected
            # They are set aside, but there is no other: each is asked again, once.
            assert resources.unicast('GET', '/', attempts=attempts, hosts=[servers[1].host] * 3).status == 503
            assert counts(servers)[1] == expected[1] + 1


def test_a_host_that_is_set_aside_is_no_other_host() -> None:
    """Without another host the first failure is the end."""
    with FaultServer([READ, RST]) as broken, serve(told, listening=False) as dead, in_turn(dead, broken) as resources:
        with pytest.raises(RefusedError):
            resources.unicast('GET', '/')
        with pytest.raises(ProtocolError):
            resources.unicast('GET', '/', attempts=2)


def test_an_answer_tells_more_than_none() -> None:
    """Where all fail, the last answer is returned, else the last error raised."""
    with serve(told) as busy, serve(told, listening=False) as dead, FaultServer([READ, RST]) as broken:
        for servers in (busy, dead), (dead, busy), (busy, broken):
            with in_turn(*servers) as resources:
                assert resources.unicast('GET', '/503', attempts=2).status == 503
        broken.scripts.append([READ, RST])
        with in_turn(broken, dead) as resources, pytest.raises(RefusedError):
            resources.unicast('GET', '/', attempts=2)


@pytest.mark.timed
@pytest.mark.parametrize('default', [False, True])
def test_the_timeout_is_over_all_attempts(default: bool) -> None:
    """A host that is slow to fail takes its time from the others; the clock is one, given or by default."""
    gate = Gate()
    clocks: dict[str, Any] = {'timeout': Timeouts(read=0.2, total=0.5)}
    with replicas(6, gate=gate) as servers, in_turn(*servers, **clocks if default else {}) as resources:
        began = time.monotonic()
        with pytest.raises(Timeout):
            resources.unicast('GET', '/', attempts=6, **{} if default else clocks)
        assert 0.35 < time.monotonic() - began < kit.limit(2)
        assert counts(servers)[1] == 1 and counts(servers)[3:] == [0, 0, 0]
        began = time.monotonic()
        with pytest.raises(Timeout):  # a number is the whole
            resources.unicast('GET', '/', attempts=6, timeout=0.1)
        assert 0.05 < time.monotonic() - began < kit.limit(1.5)
        gate.open()
        for server in servers:
            is_back(resources, server)


def test_without_a_failure_there_is_no_other_try() -> None:
    """A host that is slow is waited for, when only the whole has a clock."""
    gate = Gate()
    with replicas(2, gate=gate) as servers, in_turn(*servers) as resources:
        with pytest.raises(DeadlineExceeded):
            resources.unicast('GET', '/', attempts=2, timeout=0.2)
        assert counts(servers) == [1, 0]


def test_what_is_our_own_failure_is_not_tried_elsewhere() -> None:
    """An authenticator that raises raises for any host."""
    asked = []

    def refuse(request: Any) -> None:
        asked.append(request.host)
        raise OSError('no key')

    with replicas(2) as servers, in_turn(*servers, authenticator=refuse) as resources:
        with pytest.raises(HTTPError, match='no key'):
            resources.unicast('GET', '/', attempts=2)
        assert asked == [servers[0].host] and counts(servers) == [0, 0]


def test_nobody_waits_for_longer_than_our_own_caller_does() -> None:
    """While a request is being served, its deadline bounds all attempts, and each host is told what is left."""
    gate = Gate()
    call_context = extract({'X-Napix-Timeout': '500', 'X-Request-ID': 'abc'}.get, 'here')[0]
    with replicas(6, gate=gate) as servers:
        for options in {}, {'singleflight': True}:
            with in_turn(*servers, timeout=Timeouts(read=0.2), **options) as resources:
                token = current.set(call_context)
                try:
                    with pytest.raises(Timeout):
                        resources.unicast('GET', '/', attempts=6)
                finally:
                    current.reset(token)
            assert servers[0].requests[0].headers['x-request-id'] == 'abc' and counts(servers)[4:] == [0, 0]
            left = [int(request.headers.get('x-napix-timeout', 0)) for server in servers for request in server.requests]
            assert all(0 <= one <= 500 for one in left)
            call_context = call_context._replace(deadline=time.monotonic() + 0.5)
            for server in servers:
                server.requests.clear()
