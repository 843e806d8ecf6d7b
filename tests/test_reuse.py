"""Servers that close connections without having said so, and those that announce when they will."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import gevent
import gevent.subprocess
import pytest

from napixclient import Client, ClientPool, HTTPError, ProtocolError, RemoteError
from tests import kit
from tests.kit import ANSWER, CLOSE, READ, RST, FaultServer, next_id

pytestmark = pytest.mark.usefixtures('tidy')

#: Whether a server closes, by the number of answers over this connection, and of all.
CLOSES: dict[str, Callable[[int, int], bool]] = {
    'after each': lambda here, all: True,
    'after every 2nd': lambda here, all: here % 2 == 0,
    'after every 5th': lambda here, all: here % 5 == 0,
    'after every 2nd of all': lambda here, all: all % 2 == 0,
    'after every 5th of all': lambda here, all: all % 5 == 0,
}


class Closing(kit.Server):
    """Closes after some of its answers, and does not say so."""

    def __init__(self, closes: Callable[[int, int], bool], delay: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.closes = closes
        self.delay = delay
        self.answers = 0

    def talk(self, peer: kit.Peer) -> None:
        """Answer until it closes."""
        here = 0
        while True:
            self.read(peer)
            here += 1
            self.answers += 1
            closes = self.closes(here, self.answers)
            self.answer(peer)
            if closes:
                if self.delay:
                    gevent.sleep(self.delay)
                return peer.close()


def ask(pool: ClientPool, server: kit.Server, method: str, count: int) -> Iterator[Any]:
    """So many requests at once; their outcomes in order."""
    for _ in range(count):
        pool.request(server.host, method, f'/{next_id()}', {'a': 1} if method in ('POST', 'PUT') else None)
    yield from pool.wait(timeout=40)


@pytest.mark.parametrize('method', ['GET', 'PUT', 'POST'])
@pytest.mark.parametrize('simultaneous', [2, 8])
@pytest.mark.parametrize('delay', [0, 0.005], ids=['at once', 'after 5 ms'])
@pytest.mark.parametrize('closes', CLOSES)
def test_unannounced_close(closes: str, delay: float, simultaneous: int, method: str) -> None:
    """What may be sent twice never fails; of the rest none where each answer is the last, else 2 % at most."""
    count = 300 if method == 'POST' else 100
    with Closing(CLOSES[closes], delay) as server, ClientPool(simultaneous=simultaneous) as pool:
        failed = [answer for answer in ask(pool, server, method, count) if answer.status != 200]
        assert all(isinstance(error, ProtocolError) for error in failed)
        assert len(failed) <= (max(count // 50, 3) if method == 'POST' and closes != 'after each' else 0)
        assert max(Counter(request.path for request in server.requests).values()) == 1
        assert len(server.requests) >= count - len(failed)


@pytest.mark.parametrize('delay', [0, 0.005], ids=['at once', 'after 5 ms'])
def test_unannounced_close_of_tls(delay: float, authority: kit.Authority) -> None:
    """Nothing is lost over TLS either, where the end is announced by a goodbye that comes when nobody reads."""
    with (
        Closing(CLOSES['after each'], delay, tls=authority.server()) as server,
        ClientPool(simultaneous=4, ca_certs=authority.ca_certs) as pool,
    ):
        for method in ('POST', 'GET'):
            assert {answer.status for answer in ask(pool, server, method, 60)} == {200}
        assert max(Counter(request.path for request in server.requests).values()) == 1


@pytest.mark.parametrize('closes', CLOSES)
def test_many_origins_that_close(closes: str) -> None:
    """Resends take nothing of the retry budget: it does not matter how many of the hosts of a pool close."""
    with Closing(CLOSES[closes], address='0.0.0.0') as server, ClientPool(retry_budget=(0, 0)) as pool:
        for number in range(120):
            for _ in range(6):
                pool.request(server.at(f'127.0.0.{number + 1}'), 'GET', f'/{next_id()}')
        assert {answer.status for answer in pool.wait(timeout=40)} == {200}


@pytest.mark.parametrize('method', ['GET', 'POST'])
@pytest.mark.parametrize('closes', CLOSES)
def test_what_was_learnt_is_unlearnt(closes: str, method: str) -> None:
    """A server that begins to keep its connections is soon asked over few of them."""
    with Closing(CLOSES[closes]) as server, ClientPool() as pool:
        list(ask(pool, server, method, 50))
        server.closes = lambda here, all: False
        list(ask(pool, server, method, 250))
        before = server.accepted
        assert {answer.status for answer in ask(pool, server, method, 100)} == {200}
        assert server.accepted - before <= 2


@pytest.mark.parametrize('methods', [('GET',), ('POST',), ('GET', 'POST'), ('POST', 'GET', 'PUT')])
def test_kept_connections_are_used_again(methods: tuple[str, ...]) -> None:
    """A server that keeps its connections is asked over as many as may be used at once, whatever is asked first."""
    with kit.serve() as server, ClientPool(simultaneous=3) as pool:
        for turn in range(100):
            pool.request(server.host, methods[turn % len(methods)], f'/{next_id()}')
        assert {answer.status for answer in pool.wait(timeout=20)} == {200}
        assert server.accepted == 3
    with kit.serve() as server, Client(server.host) as client:
        for turn in range(20):
            client.request(methods[turn % len(methods)], f'/{next_id()}')
        assert server.accepted == 1


@pytest.mark.parametrize('method', ['PUT', 'POST'])
def test_bodies_that_are_read_once(method: str) -> None:
    """A request whose body cannot be read again cannot be sent twice, whatever its method."""
    with Closing(CLOSES['after each'], 0.005) as server, ClientPool() as pool:
        for _ in range(60):
            pool.request(server.host, method, f'/{next_id()}', iter([b'once']))
        assert {answer.status for answer in pool.wait(timeout=40)} == {200}
        assert {request.body for request in server.requests} == {b'once'}


def test_a_server_that_announces_its_ends_is_believed() -> None:
    """Who closes after every 5th answer, and says so, is known to keep connections until then."""
    count = iter(range(1, 1000))
    with (
        kit.serve(lambda *_: (200, {'Connection': 'close'} if next(count) % 5 == 0 else {}, b'')) as server,
        Client(server.host) as client,
    ):
        for _ in range(12):
            client.request('POST', f'/{next_id()}', b'x')
        assert client._pool.in_flight.reuse.kept and server.accepted == 3


def test_one_odd_close_is_forgotten() -> None:
    """A server that has closed one connection unannounced, and then keeps them, is soon sent to without a look."""
    with FaultServer([READ, ANSWER, READ, CLOSE]) as server, Client(server.host, simultaneous=1) as client:
        for _ in range(60):
            client.request('GET', f'/{next_id()}')
        assert client._pool.in_flight.reuse.kept and not client._pool.in_flight.noted
        assert server.accepted == 2


def test_errors_are_no_doubt() -> None:
    """An error answer to a small body that was read, as those of most programs, holds nothing up."""
    with (
        kit.serve(lambda method, path, headers, body: (409 if 'no' in path else 200, {}, b'')) as server,
        Client(server.host, simultaneous=1) as client,
    ):
        for _ in range(40):
            client.request('POST', f'/{next_id()}', b'x')
        assert not client._pool.in_flight.noted
        for _ in range(5):
            with pytest.raises(RemoteError):
                client.request('POST', '/no', b'x')
            assert not client._pool.in_flight.noted and not client._pool.throttle.held_until
        assert server.accepted == 1


def test_a_request_that_could_not_be_sent_is_sent_elsewhere() -> None:
    """Where the server had reset the connection before anything went out, any request goes over another one."""
    with FaultServer([READ, ANSWER] * 20 + [RST]) as server, ClientPool(simultaneous=1) as pool:
        outcomes = list(ask(pool, server, 'POST', 60))
        assert [answer.status for answer in outcomes] == [200] * 60
        assert [answer.attempts for answer in outcomes] == [1] * 60
        assert len(server.requests) == 60


@pytest.mark.parametrize('answers', [1, 2, 5, 20, 40])
@pytest.mark.parametrize('size', [10, 3_000_000])
def test_a_request_that_waits_behind_an_early_refusal(size: int, answers: int) -> None:
    """A server that refuses a body unread, and closes, takes none of the requests along that wait for the connection."""

    class Refusing(kit.Server):
        """Keeps its connections but after a refusal, of which it does not tell that it is the last answer."""

        def talk(self, peer: kit.Peer) -> None:
            while True:
                head = peer._until(b'\r\n\r\n')
                if b'/refused' in head:
                    peer.send(b'HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n')
                    return peer.close()  # with what it has not read, so that it is a reset
                peer._buffer[:0] = head
                self.read(peer)
                self.answer(peer)

    with Refusing() as server, ClientPool(simultaneous=1) as pool:
        for _ in range(answers):  # of which each makes it better known to keep its connections
            pool.request(server.host, 'POST', f'/{next_id()}', b'x')
        assert {answer.status for answer in pool.wait(timeout=20)} == {200}
        pool.request(server.host, 'POST', '/refused', b'x' * size)
        for _ in range(3):
            pool.request(server.host, 'POST', f'/{next_id()}', b'x')
        refused, *others = pool.wait(timeout=20)
        assert (type(refused), refused.status) == (RemoteError, 413)
        assert [answer.status for answer in others] == [200] * 3


# Keep-Alive ----------------------------------------------------------------------------------------------------------


def announcing(*fields: str) -> Any:
    """A handler that announces how long it keeps the connection: in turn, the last for good."""
    turns = list(fields)

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        field = turns.pop(0) if len(turns) > 1 else turns[0]
        return 200, {'Keep-Alive': field} if field else {}, kit.id_of(path)

    return handle


@pytest.mark.parametrize(
    ('field', 'requests', 'connections'),
    [
        ('timeout=60, max=1', 6, 3),  # one more after each of these, which says it again
        ('max=0', 4, 4),
        ('timeout=0', 4, 4),
        ('timeout=0.5', 4, 1),
        ('timeout=1e9', 4, 1),
        ('timeout=0, max=100', 4, 4),
        ('MAX=0;timeout=9', 4, 4),
        ('timeout=60', 6, 1),
        ('timeout=60, max=100', 6, 1),
        ('', 6, 1),
        ('nonsense', 6, 1),
        ('max=-1', 6, 1),
        ('maximum=0', 6, 1),
        ('timeout = "60", max = 0', 4, 4),
    ],
)
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_keep_alive_announced(method: str, field: str, requests: int, connections: int) -> None:
    """Nothing is sent over a connection after the last request, or the last moment, that its server has announced."""
    if field == 'timeout=60, max=1':
        connections = 1  # it is announced anew with each answer
    with kit.serve(announcing(field)) as server, ClientPool(simultaneous=1) as pool:
        assert {answer.status for answer in ask(pool, server, method, requests)} == {200}
        assert server.accepted == connections


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'POST'])
def test_keep_alive_max_announced_once(method: str) -> None:
    """A number that is not announced again is counted down: after so many more requests the connection is closed."""
    with kit.serve(announcing('max=2', '')) as server, ClientPool(simultaneous=1) as pool:
        assert {answer.status for answer in ask(pool, server, method, 3)} == {200}
        assert server.accepted == 1
        assert {answer.status for answer in ask(pool, server, method, 4)} == {200}
        assert server.accepted == 2


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_keep_alive_timeout(method: str) -> None:
    """A connection that has been idle for nearly as long as its server keeps it is not used any more, nor learnt from."""
    with kit.serve(announcing('timeout=60')) as server, Client(server.host) as client:
        began = monotonic()
        client.request(method, f'/{next_id()}')
        (connection,) = client._pool.slots.open
        assert began + 58.9 < connection.usage.ends < monotonic() + 59.1
        client.request(method, f'/{next_id()}')
        assert server.accepted == 1
        connection.usage.ends -= 59  # as if it had been idle for so long
        assert client.request(method, f'/{next_id()}').attempts == 1
        assert server.accepted == 2
        assert client._pool.in_flight.reuse._limit is None


@pytest.mark.parametrize('method', ['GET', 'POST'])
@pytest.mark.parametrize('asks', [True, False])
def test_keep_alive_announced_to_who_asks(method: str, asks: bool) -> None:
    """Servers that announce their end only to who says `Connection: keep-alive`, as Apache httpd does, can be asked."""

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        asked = headers.get('connection', '').lower() == 'keep-alive'
        return 200, {'Connection': 'Keep-Alive', 'Keep-Alive': 'timeout=0'} if asked else {}, kit.id_of(path)

    fields = {'Connection': 'keep-alive'} if asks else {}
    with kit.serve(handle) as server, ClientPool(simultaneous=1, headers=fields) as pool:
        assert {answer.status for answer in ask(pool, server, method, 4)} == {200}
        assert server.accepted == (4 if asks else 1)


# Real servers --------------------------------------------------------------------------------------------------------

UVICORN = """
import socket, sys, uvicorn
async def app(scope, receive, send):
    assert scope['type'] == 'http'
    while (await receive())['type'] != 'http.disconnect':
        break
    body = scope['path'].strip('/').encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, timeout_keep_alive=0, log_level='critical', lifespan='off')
uvicorn.Server(config).run(sockets=[listener])
"""


@contextmanager
def program(source: str) -> Iterator[str]:
    """A server in a process of its own, which prints its port: yields its host."""
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', source], stdin=gevent.subprocess.DEVNULL, stdout=gevent.subprocess.PIPE
    )
    try:
        yield f'127.0.0.1:{int(process.stdout.readline())}'
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize('simultaneous', [2, 8])
def test_uvicorn_that_keeps_nothing(simultaneous: int) -> None:
    """uvicorn with --timeout-keep-alive 0 closes each connection a moment after its answer: nothing fails."""
    with program(UVICORN) as host, ClientPool(simultaneous=simultaneous) as pool:
        for method in ('GET', 'POST', 'PUT'):
            for _ in range(150):
                pool.request(host, method, f'/{next_id()}', None if method == 'GET' else b'x')
        outcomes = pool.wait(timeout=40)
        assert not [answer for answer in outcomes if isinstance(answer, HTTPError)]
        assert [answer.text for answer in outcomes] == [answer.request.url[1:] for answer in outcomes]


def test_none_is_kept_for_a_request_that_ended() -> None:
    """With ``max_idle=0`` a connection that is held for a request is closed when that is cancelled meanwhile."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, ClientPool(simultaneous=1, max_idle=0) as pool:
        first, second = (pool.request(server.host, 'POST', f'/{next_id()}', b'x') for _ in range(2))
        [held] = gate.wait_for(1)
        held.release()
        first.wait()  # the second one waits to see whether the server leaves the connection open
        second.cancel()
        kit.wait_until(held.peer.is_gone, 'the end of the connection')
        assert [request.id for request in server.requests] == [held.id]
