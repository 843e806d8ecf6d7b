"""The kit for tests that is shipped: its servers, gates, scripts and its clock, met with bare sockets and with clients."""

from __future__ import annotations

import functools
import json
import logging
import math
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import gevent
import gevent.ssl
import pytest
from gevent import socket
from gevent.event import Event

from napixclient import (
    Client,
    ClientPool,
    ProtocolError,
    RefusedError,
    RemoteError,
    Timeout,
    TLSError,
    TruncatedBody,
    testing,
)
from napixclient.authenticators import LoginAuthenticator
from napixclient.testing import (
    ANSWER,
    CLOSE,
    FIN,
    LATER,
    READ,
    RST,
    SILENCE,
    Drip,
    FakeClock,
    FaultServer,
    Forever,
    Gate,
    Pause,
    Server,
    Step,
    Wait,
    serve,
    wait_until,
)
from tests import kit

pytestmark = pytest.mark.usefixtures('oracle')

GET = b'GET /captains?rank=1 HTTP/1.1\r\nHost: server.example\r\n\r\n'
LAST = b'GET /captains?rank=1 HTTP/1.1\r\nHost: server.example\r\nConnection: close\r\n\r\n'
POST = b'POST /captains HTTP/1.1\r\nContent-Length: 4\r\n\r\nNemo'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
Environ = dict[str, Any]
Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged is kept for the test, and not shown."""
    caplog.set_level(logging.INFO)
    return caplog


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """A bare connection to the server."""
    with socket.create_connection(('127.0.0.1', server.port)) as sock, gevent.Timeout(kit.LONG):
        yield sock


def read_all(sock: socket.socket) -> bytes:
    """All bytes until the server closes."""
    found = b''
    while data := sock.recv(65536):
        found += data
    return found


def said(server: Server, data: bytes) -> bytes:
    """What the server says to these bytes until it closes."""
    with connected(server) as sock:
        sock.sendall(data)
        return read_all(sock)


def handler(method: str, path: str, headers: Any, body: bytes) -> dict[str, Any]:
    """Tell what was received."""
    return {'method': method, 'path': path, 'host': headers['HOST'], 'body': body.decode()}


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The same as an application."""
    body = environ['wsgi.input'].read().decode()
    path = environ['PATH_INFO'] + ('?' + environ['QUERY_STRING'] if environ['QUERY_STRING'] else '')
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [
        json.dumps(
            {'method': environ['REQUEST_METHOD'], 'path': path, 'host': environ['HTTP_HOST'], 'body': body}
        ).encode()
    ]


both = pytest.mark.parametrize('served', [handler, app], ids=['handler', 'app'])


# Servers -------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_a_server_answers_and_keeps_what_it_read(served: Any, scheme: str, authority: kit.Authority) -> None:
    """What a client sends reaches the handler or the application, and is kept, over one connection."""
    with (
        serve(served, tls=authority.server() if scheme == 'https' else None) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
    ):
        assert server.host == (server.url if scheme == 'https' else f'127.0.0.1:{server.port}')
        assert server.url == f'{scheme}://127.0.0.1:{server.port}'
        assert client.request('GET', '/captains', params={'rank': 1}).body == {
            'method': 'GET',
            'path': '/captains?rank=1',
            'host': server.authority,
            'body': '',
        }
        assert client.request('POST', '/captains', {'name': 'Nemo'}).body['body'] == '{"name":"Nemo"}'
        assert client.request('PUT', '/captains', (piece for piece in ['Ne', 'mo'])).body['body'] == 'Nemo'
        assert [(one.method, one.path, one.body) for one in server.requests] == [
            ('GET', '/captains?rank=1', b''),
            ('POST', '/captains', b'{"name":"Nemo"}'),
            ('PUT', '/captains', b'Nemo'),
        ]
        assert server.requests[1].headers['Content-Type'] == 'application/json'
        assert repr(server.requests[0]) == '<Received GET /captains?rank=1>'
        assert (server.accepted, len(server.peers), server.errors) == (1, 1, [])
        assert server.gate.peak == 1
        assert repr(server).endswith(f'{server.url}, 3 requests over 1 connections>')
    assert not server.peers
    server.close()


@pytest.mark.timed
@both
def test_a_server_answers_many_at_once(served: Any) -> None:
    """Each connection has its greenlet, and answers come without the 44 ms of a delayed acknowledgement."""
    with serve(served, address='0.0.0.0') as server, ClientPool() as pool, gevent.Timeout(30):
        hosts = [server.at(f'127.0.0.{number}') for number in range(1, 21)]
        for number in range(200):
            pool.request(hosts[number % 20], 'GET', '/')
        found = pool.wait()
        assert [answer.status for answer in found] == [200] * 200
        assert {answer.body['host'] for answer in found} == set(hosts)
        assert server.accepted <= 40
        assert sorted(answer.elapsed for answer in found)[60] < kit.limit(0.04)  # not only those that came first


def test_addresses() -> None:
    """IPv6 is written in brackets; who does not listen refuses, until told."""
    with serve(handler, address='::1') as server, Client(server.host) as client:
        assert server.host == f'[::1]:{server.port}'
        assert client.request('GET', '/').status == 200
    with serve(handler, listening=False) as server, Client(server.host) as client:
        with pytest.raises(RefusedError):
            client.request('GET', '/')
        server.listen()
        assert client.request('GET', '/').status == 200


@pytest.mark.parametrize(
    ('returned', 'expected'),
    [
        ({'a': 1}, b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'),
        ([1], b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]'),
        ('é', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xc3\xa9'),
        (b'\0', b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\0'),
        (None, b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
        ((404, 'no'), b'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno'),
        ((599, None), b'HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n'),
        ((204, 'dropped'), b'HTTP/1.1 204 No Content\r\n\r\n'),
        (
            (201, {'X-A': 1}, {}),
            b'HTTP/1.1 201 Created\r\nX-A: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
        ),
        (
            (200, [('X-A', 'a'), ('X-A', 'b'), ('Content-Type', 'x/y')], []),
            b'HTTP/1.1 200 OK\r\nX-A: a\r\nX-A: b\r\nContent-Type: x/y\r\nContent-Length: 2\r\n\r\n[]',
        ),
        (
            (200, {'Transfer-Encoding': 'chunked'}, b'2\r\nok\r\n0\r\n\r\n'),
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
        ),
    ],
)
def test_what_a_handler_returns(returned: Any, expected: bytes) -> None:
    """A body, a status and a body, or a status, headers and a body; a length is added where there is none."""
    with serve(lambda method, path, headers, body: returned) as server:
        assert said(server, LAST) == expected
        assert said(server, LAST.replace(b'GET', b'HEAD')) == expected.partition(b'\r\n\r\n')[0] + b'\r\n\r\n'
        assert server.requests[0].raw == LAST


@pytest.mark.parametrize(
    'returned',
    [3.14, object(), (200,), ('200', {}, None), (200, {}, 7), (200, {}, None, None), (200, {'X-A': '€'}, None)],
)
def test_what_a_handler_must_not_return(returned: Any, logged: pytest.LogCaptureFixture) -> None:
    """Anything else is an error of the handler."""
    with serve(lambda method, path, headers, body: returned) as server:
        assert said(server, LAST).startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
    assert isinstance(server.errors[0], (TypeError, UnicodeError))


def raising(error: BaseException) -> tuple[Any, Any]:
    """A handler and an application that raise this."""

    def handler(method: str, path: str, headers: Any, body: bytes) -> Any:
        raise error

    def app(environ: Environ, start_response: Start) -> Any:
        start_response('200 OK', [])
        raise error

    return handler, app


@pytest.mark.parametrize('kind', [0, 1], ids=['handler', 'app'])
@pytest.mark.parametrize(
    'error', [KeyError('vg-13'), ConnectionResetError(104, 'vg-13'), gevent.Timeout(1, 'vg-13')], ids=repr
)
def test_what_raises_is_seen(kind: int, error: BaseException, logged: pytest.LogCaptureFixture) -> None:
    """The client gets 500 with the traceback, the test finds the exception; leaving the `with` raises nothing."""
    with serve(raising(error)[kind]) as server, Client(server.host) as client:
        with pytest.raises(RemoteError, match='vg-13') as caught:
            client.request('GET', '/')
        assert (caught.value.status, server.errors) == (500, [error])
        assert 'raise error' in str(caught.value.remote_error)
        assert server.gate.in_flight == 0
    [record] = [record for record in logged.records if record.name == 'napixclient.testing']
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None and record.exc_info[1] is error


# Which it is ---------------------------------------------------------------------------------------------------------


class Handling:
    """Things that are called as handlers are."""

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> str:
        """By the object itself."""
        return 'handler'

    def method(self, method: str, path: str, headers: Any, body: bytes) -> str:
        """Bound."""
        return 'handler'

    @staticmethod
    def static(method: str, path: str, headers: Any, body: bytes, more: str = '') -> str:
        """With a default."""
        return 'handler'

    @classmethod
    def of_class(cls, *request: Any) -> str:
        """Takes anything, but for what wraps it."""
        return 'handler'


class Serving:
    """Things that are called as applications are."""

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """By the object itself."""
        start_response('200 OK', [])
        return [b'app']

    def method(self, environ: Environ, start_response: Start, exc_info: Any = None) -> Iterable[bytes]:
        """Bound, with a default."""
        return self(environ, start_response)


class Page:
    """A class that is an application (PEP 3333 has such an example)."""

    def __init__(self, environ: Environ, start_response: Start) -> None:
        start_response('200 OK', [('Content-Length', '3')])

    def __iter__(self) -> Iterator[bytes]:
        yield b'app'


def decorated(function: Any) -> Any:
    """As most decorators do it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def adapted(function: Any) -> Any:
    """An application, although what it wraps is none."""

    @functools.wraps(function)
    def wrapper(environ: Environ, start_response: Start) -> Any:
        start_response('200 OK', [])
        return [b'app']

    return wrapper


@pytest.mark.parametrize(
    ('given', 'kind'),
    [
        (Handling(), b'handler'),
        (Handling().method, b'handler'),
        (Handling.static, b'handler'),
        (decorated(Handling().method), b'handler'),
        (decorated(decorated(Handling())), b'handler'),
        (functools.partial(lambda given, *, key, method, path, headers, body: 'handler', 1, key=2), None),
        (functools.partial(lambda given, method, path, headers, body: 'handler', 1), b'handler'),
        (lambda method, path, *rest: 'handler', None),
        (Handling.of_class, None),
        (lambda *request: 'handler', None),
        (Serving(), b'app'),
        (Serving().method, b'app'),
        (Page, b'app'),
        (decorated(Serving()), b'app'),
        (functools.partial(lambda given, environ, start_response: Serving()(environ, start_response), 1), b'app'),
        (adapted(Handling().method), b'app'),
        (lambda scope, receive, send: None, None),
        (lambda: None, None),
        (lambda method, path, headers=None, body=b'': '', None),
        (None, None),
        ({'/': 'x'}, None),
        ('handler', None),
        (type, None),
    ],
)
def test_which_it_is(given: Any, kind: bytes | None) -> None:
    """Two positional arguments make an application, four a handler; where both or none fit, it is refused."""
    if kind is None:
        with pytest.raises(
            TypeError, match=r'serve takes a handler, called as \(method, path, headers, body\), or a WSGI'
        ):
            serve(given)
    else:
        with serve(given) as server:
            assert said(server, LAST).endswith(kind)


def test_a_tls_context_that_would_block_is_refused() -> None:
    """Only a context of gevent's that is made for servers is taken."""
    for context in object(), gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT):
        for make in serve, lambda _, **options: FaultServer(**options):
            with pytest.raises(ValueError, match=r'gevent\.ssl\.SSLContext'):
                make(handler, tls=context)
    if not kit.is_patched():
        with pytest.raises(ValueError, match='would block'):
            serve(handler, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@both
def test_a_failed_handshake_harms_nobody(served: Any, authority: kit.Authority) -> None:
    """A client that does not trust the server leaves; the next one is answered."""
    with (
        serve(served, tls=authority.server()) as server,
        Client(server.host) as wary,
        Client(server.host, ca_certs=authority.ca_certs) as client,
    ):
        with pytest.raises(TLSError):
            wary.request('GET', '/')
        assert client.request('GET', '/').status == 200
        assert (len(server.requests), server.accepted, server.errors) == (1, 2, [])


@pytest.mark.parametrize('scripts', [[[CLOSE]], [[FIN]]], ids=['close', 'fin'])
def test_over_tls_a_close_says_goodbye(scripts: Any, authority: kit.Authority) -> None:
    """The client of a connection that is closed reads its end; after a FIN alone it reads that the end was cut off."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca_certs)
    with FaultServer(*scripts, tls=authority.server()) as server:
        raw = socket.create_connection(('127.0.0.1', server.port))
        with context.wrap_socket(raw, server_hostname='127.0.0.1', suppress_ragged_eofs=False) as client:
            if scripts == [[CLOSE]]:
                assert client.recv(1) == b''
            else:
                with pytest.raises(ssl.SSLEOFError):
                    client.recv(1)


# HTTP ----------------------------------------------------------------------------------------------------------------


@both
def test_a_client_that_waits_for_a_100_gets_it(served: Any) -> None:
    """Expect: 100-continue is answered before the body is there (RFC 9110 §10.1.1)."""
    with serve(served) as server, connected(server) as sock:
        head, body = (
            POST[:-4].replace(b'\r\n\r\n', b'\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n'),
            b'Nemo',
        )
        sock.sendall(head)
        assert sock.recv(1000).startswith(b'HTTP/1.1 100 Continue\r\n')
        sock.sendall(body)
        assert b'"body": "Nemo"' in read_all(sock)


@both
def test_chunks_are_put_together(served: Any) -> None:
    """With extensions and trailers as well (RFC 9112 §7.1)."""
    with serve(served) as server, connected(server) as sock:
        sock.sendall(
            b'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
            b'2;a=b\r\nNe\r\n2\r\nmo\r\n0\r\n'
        )
        kit.turn()
        sock.sendall((b'X-T: 1\r\n' if served is handler else b'') + b'\r\n')
        assert b'"body": "Nemo"' in read_all(sock)


@both
@pytest.mark.parametrize(
    'data', [b'', b'GET / HTT', POST[:-1], b'PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nN']
)
def test_a_client_that_leaves_half_way_is_no_error(served: Any, data: bytes) -> None:
    """What was begun is forgotten."""
    with serve(served) as server:
        with connected(server) as sock:
            sock.sendall(data)
            wait_until(lambda: server.peers)
        wait_until(lambda: not server.peers, 'the end of the connection')
        assert (server.requests, server.errors) == ([], [])


def test_what_is_no_request_is_reported() -> None:
    """A handler's server keeps the error; pywsgi answers 400."""
    with serve(handler) as server:
        assert said(server, b'nonsense\r\n\r\n') == b''
        assert [str(error) for error in server.errors] == ["a client sent what is no request: b'nonsense\\r\\n\\r\\n'"]
    with serve(app) as server:
        assert said(server, b'nonsense\r\n\r\n').startswith(b'HTTP/1.1 400 Bad Request\r\n')
        assert server.errors == []


# Applications --------------------------------------------------------------------------------------------------------


def test_what_an_application_is_given(authority: kit.Authority, logged: pytest.LogCaptureFixture) -> None:
    """The environment is that of PEP 3333; what is written to `wsgi.errors` is logged."""
    told: Environ = {}

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        told.update(environ)
        environ['wsgi.errors'].write('something is odd\n')
        start_response('200 OK', [('Content-Length', '2')])
        yield b'o'
        yield b'k'

    with serve(app, tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        assert client.request('POST', '/a%20b?c=d', 'Nemo', {'X-A': 'b', 'Content-Type': 'x/y'}).text == 'ok'
    expected = {
        'REQUEST_METHOD': 'POST',
        'PATH_INFO': '/a b',
        'QUERY_STRING': 'c=d',
        'SERVER_NAME': '127.0.0.1',
        'SERVER_PORT': str(server.port),
        'REMOTE_ADDR': '127.0.0.1',
        'wsgi.url_scheme': 'https',
        'HTTP_X_A': 'b',
        'CONTENT_TYPE': 'x/y',
        'CONTENT_LENGTH': '4',
        'SERVER_PROTOCOL': 'HTTP/1.1',
    }
    assert {name: told.get(name) for name in expected} == expected
    assert 'something is odd' in logged.text
    assert server.errors == []


def test_an_application_that_breaks_off(logged: pytest.LogCaptureFixture) -> None:
    """What raises after the answer has begun breaks it off; `close` of an iterable is called, its error is seen."""
    closed: list[str] = []

    class Body:
        def __init__(self, path: str) -> None:
            self.path = path

        def __iter__(self) -> Iterator[bytes]:
            yield b'half'
            if self.path == '/raises':
                raise OSError('vg-13')

        def close(self) -> None:
            closed.append(self.path)
            if self.path == '/close':
                raise ValueError('closing')

    def app(environ: Environ, start_response: Start) -> Any:
        start_response('200 OK', [])
        return Body(environ['PATH_INFO'])

    with serve(app) as server, Client(server.host) as client:
        with pytest.raises(TruncatedBody):
            client.request('GET', '/raises')
        assert client.request('GET', '/').text == 'half'
        client.request('GET', '/close')
        wait_until(lambda: len(closed) == 3)
        assert [str(error) for error in server.errors] == ['vg-13', 'closing']
        assert closed == ['/raises', '/', '/close']
        assert client.request('GET', '/').text == 'half'


def test_an_application_whose_client_leaves_has_not_failed() -> None:
    """That nobody reads an answer is no error of the application."""

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response('200 OK', [])
        while True:
            yield b'x' * 65536

    with serve(app) as server:
        with connected(server) as sock:
            sock.sendall(GET)
            sock.recv(1000)
        wait_until(lambda: not server.peers, 'the end of the connection')
        assert (len(server.requests), server.errors, server.gate.in_flight) == (1, [], 0)


def test_an_application_may_speak_another_protocol() -> None:
    """After an upgrade the connection is the application's own."""

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response('101 Switching Protocols', [('Upgrade', 'echo'), ('Connection', 'Upgrade')])
        write(b'')
        write(environ['wsgi.input'].readline().upper())
        return []

    with serve(app) as server, connected(server) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
        assert sock.recv(1000).startswith(b'HTTP/1.1 101 ')
        sock.sendall(b'nemo\n')
        assert sock.recv(1000) == b'NEMO\n'


# Gates ---------------------------------------------------------------------------------------------------------------


@both
def test_a_gate_holds_until_it_is_released(served: Any) -> None:
    """One goes when it is released, all when the gate is opened, none when it is shut; the servers' count is exact."""
    gate = Gate()
    with serve(served, gate) as server, ClientPool(simultaneous=2) as pool:
        pendings = [pool.request(server.host, 'GET', f'/{number}') for number in range(6)]
        first, second = gate.wait_for(2)
        assert (first.path, second.path, gate.in_flight, gate.arrived) == ('/0', '/1', 2, 2)
        first.release()
        assert gate.held() == [second] and gate.requests() == [first, second]
        assert pendings[0].get().status == 200
        assert [request.path for request in gate.wait_for(2)] == ['/1', '/2']
        gate.open()
        assert pendings[5].get().status == 200
        assert repr(gate) == '<Gate open, 0 in flight, peak 2>'
        gate.shut()
        last = pool.request(server.host, 'GET', '/6')
        [held] = gate.wait_for(1)
        assert not held.released and not last.ready()
        held.release()
        assert all(answer.status == 200 for answer in pool.wait())
        assert (gate.peak, dict(gate.peaks), gate.arrived, gate.held()) == (2, {server.port: 2}, 7, [])


@both
def test_a_gate_takes_note_of_those_that_left(served: Any) -> None:
    """A request whose client has gone is in flight no more, and is not answered."""
    gate = Gate()
    with serve(served, gate) as server, ClientPool(simultaneous=1) as pool:
        for _ in range(3):
            pool.request(server.host, 'GET', '/')
            gate.wait_for(1)
            assert isinstance(pool.wait(timeout=0.02)[0], Timeout)
            assert (gate.held(), gate.in_flight) == ([], 0)
        wait_until(lambda: not server.peers, 'the end of the connections')
        assert (gate.peak, gate.arrived) == (1, 3)


@both
@pytest.mark.parametrize(
    ('script', 'outcome'),
    [
        ([RST], ProtocolError),
        ([CLOSE], ProtocolError),
        ([b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', CLOSE], TruncatedBody),
        ([OK], 'ok'),
        ([b'HTTP/1.1 103 Early Hints\r\n\r\n', Pause(0.01), ANSWER], '/'),
        ([SILENCE], Timeout),
        ([b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', Forever(b'1\r\nx\r\n')], Timeout),
    ],
)
def test_a_held_request_may_end_otherwise(served: Any, script: Any, outcome: Any) -> None:
    """A script is played instead of the answer; the connection goes on where the script left it open."""
    gate = Gate()
    with serve(served, gate) as server, Client(server.host, retries=False) as client:
        pending = client.submit('GET', '/', timeout=None if isinstance(outcome, str) else 0.1)
        gate.wait_for(1)[0].release(script)
        gate.opened = True
        if isinstance(outcome, str):
            assert outcome in pending.get().text
        else:
            with pytest.raises(outcome):
                pending.get()
        assert client.request('GET', '/').status == 200
        assert server.accepted == (1 if isinstance(outcome, str) else 2)
        wait_until(lambda: gate.in_flight == 0)
    assert server.errors == []


def test_one_gate_for_several_servers() -> None:
    """It counts what is in flight in all, and at each."""
    gate = Gate()
    with serve(handler, gate) as one, serve(app, gate) as other, ClientPool() as pool:
        for server in one, one, other:
            pool.request(server.host, 'GET', '/')
        assert len(gate.wait_for(3)) == 3
        assert [request.peer.server for request in gate.wait_for(1, other)] == [other]
        assert len(gate.held(one)) == len(gate.requests(one)) == 2
        gate.open()
        assert {answer.status for answer in pool.wait()} == {200}
        assert (gate.peak, dict(gate.peaks)) == (3, {one.port: 2, other.port: 1})


@both
def test_a_server_closes_while_it_holds(served: Any) -> None:
    """Closing waits for nothing, and answers nothing."""
    gate = Gate()
    with ClientPool() as pool:
        with serve(served, gate) as server:
            pool.request(server.host, 'GET', '/')
            gate.wait_for(1)
        [found] = pool.wait()
        assert isinstance(found, ProtocolError)
        assert (server.errors, gate.in_flight) == ([], 0)


def test_waiting_is_bounded() -> None:
    """What does not come true is an AssertionError that says what it was."""
    with pytest.raises(AssertionError, match='3 held requests did not come true within 0.02 s'):
        Gate().wait_for(3, seconds=0.02)
    with pytest.raises(AssertionError, match='the end did not come true within 0.01 s'):
        wait_until(lambda: False, 'the end', 0.01)
    wait_until(lambda: True, seconds=0)


# Scripts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('script', 'expected'),
    [
        ([READ, OK, CLOSE], OK),
        ([READ, b'HTTP/1.1 200', CLOSE], b'HTTP/1.1 200'),
        ([OK, CLOSE], OK),
        ([READ, FIN, SILENCE], b''),
        ([READ, Drip(b'slow', 0.001), CLOSE], b'slow'),
        ([READ, Pause(0.01), OK, CLOSE], OK),
        ([READ, ANSWER, CLOSE], b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
    ],
)
def test_a_script_is_played(script: Any, expected: bytes) -> None:
    """Step by step, to the byte."""
    with FaultServer(script) as server, connected(server) as sock:
        if READ in script:
            sock.sendall(GET)
        assert read_all(sock) == expected


def test_steps_that_wait() -> None:
    """Events of the test tell when to go on."""
    event = Event()
    with FaultServer([READ, Wait(event), b'one', LATER, b'two', CLOSE]) as server, connected(server) as sock:
        sock.sendall(GET)
        wait_until(lambda: server.requests)
        event.set()
        assert sock.recv(100) == b'one'
        server.later.set()
        assert read_all(sock) == b'two'


@pytest.mark.parametrize('script', [[SILENCE], [Forever(b'x' * 100000)], [READ, SILENCE], [FIN]])
def test_steps_that_end_with_the_client(script: Any) -> None:
    """A server that never stops stops when the client has gone."""
    with FaultServer(script) as server:
        with connected(server) as sock:
            sock.sendall(GET)
            wait_until(lambda: server.accepted)
            kit.turn()
        wait_until(lambda: not server.peers, 'the end of the connection')
        assert server.errors == []


def test_a_reset_is_a_reset() -> None:
    """RST, not FIN."""
    with FaultServer([READ, RST]) as server, connected(server) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            read_all(sock)


def test_first_the_scripts_then_good(authority: kit.Authority) -> None:
    """The first connections play one script each; what comes then is answered by the handler, through the gate."""
    gate = Gate(opened=True)
    with (
        FaultServer([READ, RST], [READ, OK], handler=handler, gate=gate, tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
    ):
        with pytest.raises(ProtocolError):
            client.request('GET', '/1')
        assert client.request('GET', '/2').text == 'ok'
        assert client.request('GET', '/3').body['path'] == '/3'
        assert ([request.path for request in server.requests], server.accepted) == (['/1', '/2', '/3'], 2)
        assert gate.arrived == 1


@pytest.mark.parametrize('script', [READ, b'bytes', 'text', Pause(1), [READ, 'text'], [0.5], [[READ]], None])
def test_what_is_no_script(script: Any) -> None:
    """It is refused at once, where it was written."""
    with pytest.raises(TypeError):
        FaultServer(script)
    if script is not None:
        gate = Gate()
        with serve(handler, gate) as server, Client(server.host) as client:
            pending = client.submit('GET', '/')
            with pytest.raises(TypeError, match=r'script'):
                gate.wait_for(1)[0].release(script)
            gate.open()
            assert pending.get().status == 200


def test_a_script_that_answers_before_it_reads(logged: pytest.LogCaptureFixture) -> None:
    """It is an error of the server, which is kept."""
    with FaultServer([ANSWER]) as server:
        assert said(server, b'') == b''
        assert [str(error) for error in server.errors] == ['there is no request to answer: ANSWER comes after READ']


def test_steps_tell_what_they_are() -> None:
    """Each step has its own sentence."""
    assert list(Step) == [READ, ANSWER, CLOSE, RST, FIN, LATER, SILENCE]
    assert repr([READ, CLOSE]) == '[READ, CLOSE]'
    assert READ.__doc__ == 'Read one whole request, and add it to the ``requests`` of the server.'
    assert len({step.__doc__ for step in Step}) == len(Step)


# The clock -----------------------------------------------------------------------------------------------------------


def test_a_fake_clock_goes_when_it_is_advanced() -> None:
    """It starts where it is told, advances by what it is told, and never goes back."""
    clock = FakeClock()
    assert clock() == clock() == 0.0
    clock.advance(1.5)
    clock.advance(0)
    assert clock() == 1.5
    assert FakeClock(10)() == 10.0
    for wrong in -1, -0.001, math.inf, math.nan:
        with pytest.raises(ValueError, match='a clock advances'):
            clock.advance(wrong)
    assert repr(clock) == '<FakeClock 1.5 s>'


def test_signed_at_a_time_of_the_clock() -> None:
    """The timestamp of a signature is what the clock shows when it is made."""
    clock = FakeClock(1700000000.25)
    with serve(handler) as server, Client(server.host, LoginAuthenticator('root', 'toor', clock=clock)) as client:
        client.request('GET', '/')
        clock.advance(60)
        client.request('GET', '/')
        signed = [
            parse_qs(request.headers['authorization'].partition(':')[0])['timestamp'] for request in server.requests
        ]
    assert signed == [['1700000000.250000'], ['1700000060.250000']]
    with pytest.raises(ValueError, match='clock'):
        LoginAuthenticator('root', 'toor', clock=1700000000)  # type: ignore[arg-type]


# As a package --------------------------------------------------------------------------------------------------------


def test_names() -> None:
    """The public names are sorted, and there."""
    assert testing.__all__ == sorted(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_it_needs_nothing_but_what_the_library_needs() -> None:
    """Importing it patches nothing, and loads neither pytest nor trustme, nor the client."""
    done = kit.run_program(
        """
import sys
sys.modules.update(dict.fromkeys(['pytest', 'trustme', 'httptools']))
from gevent import monkey
import napixclient.testing
assert not [name for name in sys.modules if name.startswith(('napixclient.client', 'napixclient._http'))]
assert not monkey.saved
with napixclient.testing.serve(lambda method, path, headers, body: path) as server:
    print(server.url.startswith('http://127.0.0.1:'))
""",
        patched=False,
    )
    assert done == (0, 'True\n', '')
