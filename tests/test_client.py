"""The contract of one client: bodies, clocks, retries, TLS, streamed answers, bounds, and what is refused."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    BodyTooLarge,
    Cancelled,
    Client,
    ClientPool,
    ConnectTimeout,
    DeadlineExceeded,
    Headers,
    HTTPError,
    InvalidResponse,
    ProtocolError,
    QueueTimeout,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Request,
    Response,
    Timeout,
    TLSError,
    TruncatedBody,
)
from tests import kit
from tests.helpers_pool import Names, SlowHandshake, address, ask, asking_for_certificates, assert_right, failure
from tests.kit import ANSWER, CLOSE, ID, READ, RST, SILENCE, Drip, FaultServer, FullServer, Gate, serve, wait_until

pytestmark = pytest.mark.usefixtures('oracle')

HEAD = b'HTTP/1.1 200 OK\r\n'


def said(body: bytes, *fields: str, status: str = '200 OK') -> bytes:
    """The bytes of an answer with a body of known length."""
    lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(body)}', *fields, '', '']
    return '\r\n'.join(lines).encode('latin-1') + body


def answering(*answers: bytes) -> FaultServer:
    """A server that gives these answers over its first connection, whatever is asked."""
    return FaultServer([step for answer in answers for step in (READ, answer)])


def nothing(*_: Any) -> tuple[int, Any, Any]:
    """A handler that says 204."""
    return 204, None, None


def error_of(call: Callable[[], Any]) -> HTTPError | None:
    """What it raises."""
    try:
        call()
    except HTTPError as error:
        return error
    return None


# A client ------------------------------------------------------------------------------------------------------------


def test_request_and_submit() -> None:
    """`request` blocks and returns the Response, `submit` returns at once what will become of it."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host) as client:
        pending = client.submit('GET', '/000001', tag='a')
        assert not pending.ready()
        gate.open()
        assert pending.get().data == b'000001'
        found = client.request('GET', '/000002')
        assert (found.status, found.reason, found.data, found.attempts) == (200, 'OK', b'000002', 1)
        assert repr(found) == '<Response 200 OK>'
        assert found.url == f'http://{server.host}/000002'
        assert 0 < found.elapsed < 30


def test_client_has_a_cap_of_its_own() -> None:
    """A client has at most `simultaneous` requests in flight, two by default."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host) as client:
        pendings = [client.submit('GET', f'/{n:06}') for n in range(6)]
        gate.wait_for(2)
        gate.open()
        gevent.wait(pendings)
        assert gate.peak == 2
        assert client.stats()['done'] == 6


def test_client_raises() -> None:
    """400 and above is a RemoteError, raised, with the answer in it; 399 and below is a Response."""
    with serve(lambda method, path, *_: (int(path[1:]), None, {'n': 1})) as server, Client(server.host) as client:
        for status in (200, 201, 301, 302, 399):
            assert client.request('GET', f'/{status}').status == status
        for status in (400, 404, 500, 599, 600, 999):
            error = failure(client, 'GET', f'/{status}')
            assert isinstance(error, RemoteError)
            assert (error.status, error.response.status, error.remote_error) == (status, status, {'n': 1})
            assert error.request.method == 'GET'


def test_redirects_are_answers() -> None:
    """A redirect is not followed: it is the answer."""
    with serve(lambda *_: (302, {'Location': '/000002'}, '')) as server, Client(server.host) as client:
        found = client.request('GET', '/000001')
        assert (found.status, found.headers['location'], len(server.requests)) == (302, '/000002', 1)


def test_killed_in_request() -> None:
    """Who is killed while blocked in `request` cancels the request: in flight, or in the queue."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, simultaneous=1) as client:
        callers = [gevent.spawn(client.request, 'GET', f'/00000{n}') for n in range(4)]
        (held,) = gate.wait_for(1)
        gevent.killall([callers[0], callers[2]])
        gate.wait_for(1)
        assert held.request.peer.is_gone()
        gate.open()
        assert [caller.get().data for caller in (callers[1], callers[3])] == [b'000001', b'000003']
        assert [request.id for request in server.requests] == ['000000', '000001', '000003']
        assert gate.peak == 1


def test_own_timeout_around_request() -> None:
    """A gevent.Timeout of the caller's own passes through untouched, and cancels its request."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, simultaneous=1) as client:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as mine:
            client.request('GET', '/000001')
        assert caught.value is mine
        gate.open()
        assert client.request('GET', '/000002').data == b'000002'


# Bodies that are sent ------------------------------------------------------------------------------------------------


def pieces(*parts: Any) -> Iterator[Any]:
    """Parts, one after the other."""
    for part in parts:
        gevent.sleep(0)
        yield part


def file_of(text: bytes, skip: int = 0) -> Any:
    """A real file, read from `skip` on."""
    file = open(os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR), 'w+b')
    file.write(text)
    file.seek(skip)
    return file


BODIES: dict[str, tuple[Callable[[], Any], bytes, str | None]] = {
    # what is given, what arrives, how it is framed: a length, chunked, or nothing at all
    'none': (lambda: None, b'', '0'),
    'dict': (lambda: {'a': [1, None, 'é']}, b'', 'json'),
    'empty dict': (dict, b'{}', '2'),
    'list': (list, b'[]', '2'),
    'text': (lambda: 'é€', 'é€'.encode(), '5'),
    'empty text': (lambda: '', b'', '0'),
    'bytes': (lambda: b'\0\xff', b'\0\xff', '2'),
    'bytearray': (lambda: bytearray(b'abc'), b'abc', '3'),
    'memoryview': (lambda: memoryview(b'abc'), b'abc', '3'),
    'large bytes': (lambda: b'x' * 3_000_000, b'x' * 3_000_000, '3000000'),
    'file': (lambda: file_of(b'y' * 200_000), b'y' * 200_000, '200000'),
    'file from its middle': (lambda: file_of(b'0123456789', 4), b'456789', '6'),
    'empty file': (lambda: file_of(b''), b'', '0'),
    'BytesIO': (lambda: io.BytesIO(b'abc'), b'abc', '3'),
    'file of text': (lambda: io.StringIO('abc\n'), b'abc\n', None),
    'file of more than ASCII': (lambda: io.StringIO('é€ü' * 1000), ('é€ü' * 1000).encode(), None),
    'iterator': (lambda: pieces(b'a', b'', b'bc', b'd' * 100_000), b'abc' + b'd' * 100_000, 'chunked'),
    'iterator of texts': (lambda: pieces('é', '€'), 'é€'.encode(), 'chunked'),
    'empty iterator': (lambda: pieces(), b'', 'chunked'),
    'tuple': (lambda: (b'a', b'b'), b'ab', 'chunked'),
    'set of one': (lambda: {b'abc'}, b'abc', 'chunked'),
}


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('kind', BODIES)
def test_body(kind: str, scheme: str, authority: kit.Authority) -> None:
    """A body arrives as it was given, framed once, over one connection for all."""
    make, arrives, framing = BODIES[kind]
    tls = authority.server() if scheme == 'https' else None
    with serve(nothing, tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        body = make()
        found = client.request('POST', '/', body)
        if isinstance(body, io.IOBase):
            assert not body.closed
            body.close()
        assert found.status == 204
        assert client.request('GET', '/').status == 204
        first, second = server.requests
        if framing == 'json':
            assert json.loads(first.body) == body
        else:
            assert first.body == arrives
        framed = first.headers.get('transfer-encoding') or first.headers['content-length']
        assert ('content-length' in first.headers) + ('transfer-encoding' in first.headers) == 1
        if framing not in (None, 'json'):
            assert framed == framing
        assert first.headers.get('content-type') == ('application/json' if isinstance(body, (dict, list)) else None)
        assert not {'content-length', 'transfer-encoding'} & set(second.headers)
        assert server.accepted == 1


def test_own_content_type_of_json() -> None:
    """A Content-Type of the caller's own is the only one."""
    with serve(nothing) as server, Client(server.host) as client:
        client.request('POST', '/', {'a': 1}, {'content-TYPE': 'application/vnd.x+json'})
        assert server.requests[0].raw.lower().count(b'content-type:') == 1
        assert server.requests[0].headers['content-type'] == 'application/vnd.x+json'


@pytest.mark.parametrize('body', [7, 1.5, object(), {'a': object()}, {'a': float('nan')}])
def test_not_a_body(body: Any) -> None:
    """What cannot be sent is refused at once."""
    with serve(nothing) as server, Client(server.host) as client:
        with pytest.raises((TypeError, ValueError)):
            client.request('POST', '/', body)
        assert not server.requests


@pytest.mark.parametrize('raised', [KeyError, gevent.Timeout, HTTPError])
def test_body_that_raises(raised: type[BaseException]) -> None:
    """What the caller's iterable raises is the cause of the error; the connection goes, the slot is back at once."""
    mine = raised()

    def parts() -> Iterator[bytes]:
        yield b'abc'
        raise mine

    with serve() as server, ClientPool(simultaneous=1) as pool:
        pool.request(server.host, 'POST', '/', parts())
        good = ask(pool, server)
        error, _ = pool.wait(timeout=20)
        assert isinstance(error, HTTPError)
        assert error.__cause__ is mine
        assert_right(good.get())


def test_body_of_wrong_pieces() -> None:
    """Pieces that are not bytes or text are an error of that request."""
    with serve() as server, ClientPool() as pool:
        pool.request(server.host, 'POST', '/', pieces(b'a', 7))
        (error,) = pool.wait(timeout=20)
        assert isinstance(error, HTTPError)
        assert isinstance(error.__cause__, TypeError)


def test_body_that_takes_its_time() -> None:
    """An iterable that is slower than the read timeout is not the server's silence."""

    def parts() -> Iterator[bytes]:
        yield b'a'
        gevent.sleep(0.8)
        yield b'b'

    with serve(nothing) as server, Client(server.host, timeout=urllib3.Timeout(read=0.4)) as client:
        assert client.request('POST', '/', parts()).status == 204
        assert server.requests[0].body == b'ab'


def test_body_and_the_deadline() -> None:
    """The total ends an upload that takes too long, and its iterable is closed."""
    closed: list[bool] = []

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield b'a'
                gevent.sleep(0.01)
        finally:
            closed.append(True)

    with serve(nothing) as server, Client(server.host) as client:
        body = parts()
        assert isinstance(failure(client, 'POST', '/', body, timeout=0.2), DeadlineExceeded)
        del body
        wait_until(lambda: gc.collect() is not None and closed)


def test_early_answer_to_an_upload() -> None:
    """A server that answers before it has read the whole body is heard, and its connection not used again."""

    def parts() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b'x' * 1000
            gevent.sleep(0)

    class Early(kit.Server):
        """Answers at the head."""

        def talk(self, peer: kit.Peer) -> None:
            """Read a little, answer, close."""
            peer._until(b'\r\n\r\n')
            peer.send(said(b'too large', status='413 Too Large'))
            peer.drain()

    with Early() as server, Client(server.host) as client:
        error = failure(client, 'POST', '/', parts())
        assert (error.status, error.response.data) == (413, b'too large')


def test_multipart() -> None:
    """`multipart` sends fields as a form, and excludes a body."""
    with serve(nothing) as server, Client(server.host) as client:
        client.request('POST', '/', multipart={'name': 'value', 'file': ('a.txt', b'data', 'text/plain')})
        request = server.requests[0]
        assert request.headers['content-type'].startswith('multipart/form-data; boundary=')
        assert b'filename="a.txt"' in request.body
        assert request.headers['content-length'] == str(len(request.body))
        with pytest.raises(ValueError):
            client.request('POST', '/', 'body', multipart={'a': 'b'})


def test_params() -> None:
    """`params` are added to the query, encoded; what the url has stays."""
    with serve(nothing) as server, Client(server.host) as client:
        client.request('GET', '/a', params={'x': 'é &=', 'y': [1, 2]})
        client.request('GET', '/a?b=c', params=[('d', 'e\r\nf'), ('d', 'g')])
        client.request('GET', '/ü b', params={})
        assert [request.path for request in server.requests] == [
            '/a?x=%C3%A9+%26%3D&y=1&y=2',
            '/a?b=c&d=e%0D%0Af&d=g',
            '/%C3%BC%20b',
        ]


def test_default_headers() -> None:
    """Headers of the client go with each request that does not set them itself, in whatever case."""
    with serve(nothing) as server, Client(server.host, headers={'X-A': 'client', 'User-Agent': 'me'}) as client:
        client.request('GET', '/')
        client.request('GET', '/', headers={'x-a': 'request'})
        client.request('GET', '/', headers=[('X-B', '1'), ('X-B', '2')])
        first, second, third = server.requests
        assert (first.headers['x-a'], first.headers['user-agent']) == ('client', 'me')
        assert second.headers['x-a'] == 'request'
        assert second.raw.lower().count(b'x-a:') == 1
        assert third.raw.count(b'\r\nX-B: ') == 2
        assert first.headers['accept'] == 'application/json'


def test_one_authorization() -> None:
    """A request carries one Authorization field, also where caller and authenticator both have one."""
    with serve(nothing) as server, Client(server.host, {'login': 'root', 'key': 'toor'}) as client:
        client.request('GET', '/', headers={'authorization': 'Basic x'})
        assert server.requests[0].raw.lower().count(b'\r\nauthorization:') == 1


# Bodies that are received --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('content_type', 'data', 'body'),
    [
        ('application/json', b'{"a": 1}', {'a': 1}),
        ('application/json; charset=utf-8', '"é"'.encode(), 'é'),
        ('application/problem+json', b'[]', []),
        ('APPLICATION/JSON', b'null', None),
        ('application/json', b'0', 0),
        ('application/json', b'{broken', '{broken'),
        ('application/json', b'', None),
        ('text/plain', b'', None),
        ('text/plain; charset=latin-1', b'\xe9', 'é'),
        ('text/plain', 'é'.encode(), 'é'),
        ('text/html', b'\xff', '�'),
        ('text/plain; charset=no-such', b'a', 'a'),
        ('application/octet-stream', b'abc', 'abc'),
        ('text/plain', b'{"a": 1}', '{"a": 1}'),
    ],
)
def test_response_body(content_type: str, data: bytes, body: Any) -> None:
    """`body` is the decoded JSON where the type says so and it parses, else text, None where there is none."""
    with answering(said(data, f'Content-Type: {content_type}')) as server, Client(server.host) as client:
        found = client.request('GET', '/')
        assert found.body == body
        assert type(found.body) is type(body)
        assert found.data == data
        if 'broken' in str(body):
            with pytest.raises(ValueError):
                found.json()


def test_response_headers() -> None:
    """Headers do not know case; repeated ones are kept, each of them."""
    with (
        answering(said(b'', 'Set-Cookie: a=1', 'X-A:  b ', 'set-cookie: b=2', 'X-Empty:')) as server,
        Client(server.host) as client,
    ):
        headers = client.request('GET', '/').headers
        assert headers['x-a'] == headers['X-A'] == 'b'
        assert headers['Set-Cookie'] == 'a=1, b=2'
        assert headers.getlist('SET-cookie') == ['a=1', 'b=2']
        assert headers['x-empty'] == ''
        assert 'x-b' not in headers
        assert headers.get('x-b') is None
        assert headers.get('日本') is None
        assert '日本' not in headers
        with pytest.raises(KeyError):
            headers['x-b']
        assert [name.lower() for name in headers] == ['content-length', 'set-cookie', 'x-a', 'x-empty']
        assert isinstance(headers, Headers)


@pytest.mark.parametrize(('status', 'method'), [(204, 'GET'), (304, 'GET'), (200, 'HEAD')])
def test_no_body(status: int, method: str) -> None:
    """Where there is no body, `data` is empty and `body` None, and the connection is used again."""
    with (
        serve(lambda *_: (status, {'Content-Type': 'application/json'}, '"x"')) as server,
        Client(server.host) as client,
    ):
        for _ in range(3):
            found = client.request(method, '/')
            assert (found.status, found.data, found.body) == (status, b'', None)
        assert server.accepted == 1


NUMBERS = json.dumps(list(range(20_000))).encode() + b' ' * 1_000_000  # decoded in more than one step


@pytest.mark.parametrize('coding', ['gzip', 'x-gzip', 'deflate', 'raw deflate', 'gzip, gzip', 'identity'])
@pytest.mark.parametrize('stream', [False, True])
def test_content_coding(coding: str, stream: bool) -> None:
    """Content codings are undone, whole or streamed, and the connection is used again."""
    text = NUMBERS
    packed = {
        'gzip': gzip.compress(text),
        'x-gzip': gzip.compress(text),
        'deflate': zlib.compress(text),
        'raw deflate': zlib.compress(text)[2:-4],
        'gzip, gzip': gzip.compress(gzip.compress(text)),
        'identity': text,
    }[coding]
    fields = f'Content-Encoding: {coding.removeprefix("raw ")}', 'Content-Type: application/json'
    with answering(said(packed, *fields), said(b'ok')) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=stream)
        assert found.data == text
        assert found.body == list(range(20_000))
        assert client.request('GET', '/').data == b'ok'
        assert server.accepted == 1
        assert 'gzip' in server.requests[0].headers['accept-encoding']


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('coding', ['gzip', 'deflate'])
@pytest.mark.parametrize('cut', [1, 100, -1])
def test_truncated_coding(coding: str, cut: int, stream: bool) -> None:
    """A coding that does not end is a TruncatedBody, never a short success."""
    text = bytes(i * 7 % 251 for i in range(50_000))
    packed = (gzip.compress if coding == 'gzip' else zlib.compress)(text)[:cut]
    with answering(said(packed, f'Content-Encoding: {coding}')) as server, Client(server.host) as client:
        with pytest.raises(TruncatedBody):
            client.request('GET', '/', stream=stream).read() if stream else client.request('GET', '/')


def test_garbage_in_a_coding() -> None:
    """What does not decode is a ProtocolError."""
    with answering(said(b'this is no gzip', 'Content-Encoding: gzip')) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/'), ProtocolError)


def chunked(body: bytes, size: int = 1000) -> bytes:
    """An answer in chunks."""
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return (
        HEAD
        + b'Transfer-Encoding: chunked\r\n\r\n'
        + b''.join(b'%x\r\n%b\r\n' % (len(part), part) for part in parts)
        + b'0\r\n\r\n'
    )


@pytest.mark.parametrize('where', ['request', 'client'])
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('framing', ['length', 'chunked', 'until close', 'gzip', 'error'])
def test_max_body(framing: str, stream: bool, where: str) -> None:
    """`max_body`, of the request or the client, bounds what is read and what that decodes to, whole or streamed."""
    body = b'x' * 5000
    script = {
        'length': [said(body)],
        'chunked': [chunked(body)],
        'until close': [HEAD + b'\r\n' + body, CLOSE],
        'gzip': [said(gzip.compress(body), 'Content-Encoding: gzip')],
        'error': [said(body, status='500 Oops')],
    }[framing]
    client_has = {'max_body': 4999} if where == 'client' else {}
    request_has = {'max_body': 4999} if where == 'request' else {}
    with FaultServer([READ, *script]) as server, Client(server.host, **client_has) as client:
        with pytest.raises(BodyTooLarge):
            found = client.request('GET', '/', stream=stream, **request_has)
            if stream:
                found.read()
    with FaultServer([READ, *script]) as server, Client(server.host, max_body=5000) as client:
        if framing == 'error':
            assert failure(client, 'GET', '/').response.data == body
        else:
            assert client.request('GET', '/', stream=stream).data == body


def test_streamed_bodies_have_no_bound_by_default() -> None:
    """A body read whole is bounded at 64 MiB, a streamed one not at all."""
    size = 64 * 2**20 + 1
    with answering(HEAD + b'Content-Length: %d\r\n\r\n' % size) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/'), BodyTooLarge)
    with (
        answering(b'HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n' % size) as server,
        Client(server.host) as client,
    ):  # read whole, so bounded, streamed or not
        assert isinstance(failure(client, 'GET', '/', stream=True, timeout=20), BodyTooLarge)
    with (
        FaultServer([READ, HEAD + b'Content-Length: %d\r\n\r\n' % size, *[b'x' * 2**20] * 64, b'x']) as server,
        Client(server.host) as client,
        client.request('GET', '/', stream=True) as found,
    ):
        assert sum(len(piece) for piece in found.iter_bytes()) == size


@pytest.mark.parametrize('bad', [-1, 1.5, 'much', True])
def test_max_body_is_a_number(bad: Any) -> None:
    """A bound that is no number of bytes is a ValueError."""
    with pytest.raises(ValueError):
        Client('host', max_body=bad)
    with pytest.raises(ValueError):
        Request('host', 'GET', '/', max_body=bad)


def test_header_bounds() -> None:
    """Heads are bounded at 64 KiB and 256 fields, and the bounds can be set."""
    with answering(said(b'', 'X-A: ' + 'a' * 65_600)) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/'), InvalidResponse)
    with answering(said(b'', 'X-A: ' + 'a' * 60_000)) as server, Client(server.host) as client:
        assert len(client.request('GET', '/').headers['x-a']) == 60_000
    with (
        answering(said(b'', 'X-A: ' + 'a' * 200_000)) as server,
        Client(server.host, max_header_bytes=300_000) as client,
    ):
        assert len(client.request('GET', '/').headers['x-a']) == 200_000
    with answering(said(b'', 'X-A: aaaa')) as server, Client(server.host, max_header_bytes=20) as client:
        assert isinstance(failure(client, 'GET', '/'), InvalidResponse)
    many = [f'X-{n}: a' for n in range(300)]
    with answering(said(b'', *many)) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/'), InvalidResponse)
    with answering(said(b'', *many)) as server, Client(server.host, max_header_fields=400) as client:
        assert len(client.request('GET', '/').headers) == 301
    with answering(said(b'', *many[:5])) as server, Client(server.host, max_header_fields=5) as client:
        assert isinstance(failure(client, 'GET', '/'), InvalidResponse)


# Streamed answers ----------------------------------------------------------------------------------------------------


def test_stream_is_handed_out_at_its_head() -> None:
    """A streamed answer is there when its head is; its body is read as it arrives."""
    more = Event()
    with (
        FaultServer([READ, HEAD + b'Content-Length: 6\r\n\r\nabc', kit.Wait(more), b'def']) as server,
        Client(server.host) as client,
        client.request('GET', '/', stream=True) as found,
    ):
        assert (found.status, found.headers['content-length']) == (200, '6')
        assert found.read(3) == b'abc'
        reader = gevent.spawn(found.read, 10)
        gevent.sleep(0.01)
        assert not reader.ready()
        more.set()
        assert reader.get(timeout=20) == b'def'
        assert found.read() == found.read(1) == b''


@pytest.mark.parametrize('size', [1, 7, 1000, 10**6, None])
def test_iter_bytes(size: int | None) -> None:
    """`iter_bytes` gives the whole body in pieces of that size, the last of which may be shorter."""
    body = bytes(range(256)) * 8
    with answering(chunked(body, 100), said(b'next')) as server, Client(server.host) as client:
        parts = list(client.request('GET', '/', stream=True).iter_bytes(size))
        assert b''.join(parts) == body
        assert all(parts)
        if size is not None:
            assert {len(part) for part in parts[:-1]} <= {size}
        assert client.request('GET', '/').data == b'next'
        assert server.accepted == 1


def test_iter_lines() -> None:
    """`iter_lines` gives lines as text without their ends, wherever the pieces were cut; the last may lack its end."""
    body = 'one\r\ntwo\n\né€ three\r\nlast'.encode()
    for size in (1, 2, 3, 100):
        with answering(chunked(body, size)) as server, Client(server.host) as client:
            assert list(client.request('GET', '/', stream=True).iter_lines()) == ['one', 'two', '', 'é€ three', 'last']
    with answering(said(b'a\n'), said(b'')) as server, Client(server.host) as client:
        assert list(client.request('GET', '/', stream=True).iter_lines()) == ['a']
        assert list(client.request('GET', '/', stream=True).iter_lines()) == []


def test_save(tmp_path: Path) -> None:
    """`save` writes the body to a file; one that breaks off leaves none."""
    body = b'x' * 300_000
    with answering(said(body)) as server, Client(server.host) as client:
        assert client.request('GET', '/', stream=True).save(tmp_path / 'whole') == 300_000
        assert (tmp_path / 'whole').read_bytes() == body
    with FaultServer([READ, said(body)[:1000], CLOSE]) as server, Client(server.host) as client:
        with pytest.raises(TruncatedBody):
            client.request('GET', '/', stream=True).save(tmp_path / 'half')
        assert not (tmp_path / 'half').exists()


def test_streamed_body_read_whole() -> None:
    """`data`, `text`, `body` and `json()` read a streamed body whole."""
    with answering(*[said(b'{"a": 1}', 'Content-Type: application/json')] * 4) as server, Client(server.host) as client:
        assert client.request('GET', '/', stream=True).data == b'{"a": 1}'
        assert client.request('GET', '/', stream=True).text == '{"a": 1}'
        assert client.request('GET', '/', stream=True).json() == {'a': 1}
        found = client.request('GET', '/', stream=True)
        assert found.body == found.body == {'a': 1}
        assert server.accepted == 1


def test_streamed_body_holds_its_slot() -> None:
    """A streamed body holds its slot until it has been read or closed."""
    with serve(lambda *_: (200, None, 'x' * 100)) as server, Client(server.host, simultaneous=1) as client:
        for leave in ('read', 'close', 'with'):
            found = client.request('GET', '/', stream=True)
            behind = client.submit('GET', '/')
            gevent.sleep(0.02)
            assert not behind.ready()
            if leave == 'read':
                found.read()
            elif leave == 'close':
                found.close()
            else:
                with found:
                    assert found.read(1) == b'x'
            assert behind.get(timeout=20).data == b'x' * 100


def test_streamed_body_dropped() -> None:
    """A streamed answer that nobody holds any more gives its slot back."""
    with serve(lambda *_: (200, None, 'x' * 100)) as server, Client(server.host, simultaneous=1) as client:
        found = client.request('GET', '/', stream=True)
        del found
        assert client.request('GET', '/', timeout=20).data == b'x' * 100


@pytest.mark.parametrize('end', [CLOSE, RST])
@pytest.mark.parametrize('framing', [b'Content-Length: 10', b'Transfer-Encoding: chunked'])
def test_streamed_body_that_breaks_off(end: kit.Step, framing: bytes) -> None:
    """What arrived can be read; then comes a TruncatedBody, each time it is asked."""
    first = b'3\r\nabc\r\n' if b'chunked' in framing else b'abc'
    go = Event()
    with (
        FaultServer([READ, HEAD + framing + b'\r\n\r\n' + first, kit.Wait(go), end]) as server,
        Client(server.host) as client,
    ):
        found = client.request('GET', '/', stream=True)
        assert found.read(3) == b'abc'
        go.set()
        for _ in range(2):
            with pytest.raises(TruncatedBody) as caught:
                found.read()
        assert caught.value.request is found.request


def test_streamed_body_and_the_read_timeout() -> None:
    """A server that falls silent in a streamed body is a ReadTimeout; a slow reader is not."""
    with (
        FaultServer([READ, HEAD + b'Content-Length: 10\r\n\r\nabc', SILENCE]) as server,
        Client(server.host, timeout=urllib3.Timeout(read=0.15)) as client,
    ):
        found = client.request('GET', '/', stream=True)
        with pytest.raises(ReadTimeout):
            found.read()
    body = b'x' * 3_000_000
    with answering(said(body)) as server, Client(server.host, timeout=urllib3.Timeout(read=0.8)) as client:
        found = client.request('GET', '/', stream=True)
        assert found.read(10) == b'x' * 10
        gevent.sleep(1.6)
        assert len(found.read()) == len(body) - 10


@pytest.mark.timed
@pytest.mark.parametrize('slow', ['server', 'reader'])
def test_streamed_body_and_the_deadline(slow: str) -> None:
    """The total is a wall clock over the streamed body too, whoever is slow."""
    body: list[Any] = [Drip(b'x' * 100, 0.03)] if slow == 'server' else [b'x' * 99, SILENCE]
    with FaultServer([READ, HEAD + b'Content-Length: 100\r\n\r\n', *body]) as server, Client(server.host) as client:
        took = kit.Took()
        found = client.request('GET', '/', stream=True, timeout=0.3)
        with pytest.raises(DeadlineExceeded):
            for _ in found.iter_bytes(1):
                if slow == 'reader':
                    gevent.sleep(0.02)
        assert took.between(0.2, 1.5)


def test_streamed_bodies_bound_memory() -> None:
    """A body that nobody reads is not received: the server is made to wait."""
    sent: list[int] = []

    class Pouring(kit.Server):
        """Sends as fast as it can."""

        def talk(self, peer: kit.Peer) -> None:
            """Count what went."""
            self.read(peer)
            peer.send(HEAD + b'Content-Length: 1000000000\r\n\r\n')
            while True:
                peer.send(b'x' * 65536)
                sent.append(65536)

    with Pouring() as server, Client(server.host) as client, client.request('GET', '/', stream=True) as found:
        assert found.read(10) == b'x' * 10
        gevent.sleep(0.1)
        assert sum(sent) < 32_000_000
        before = sum(sent)
        assert len(found.read(20_000_000)) == 20_000_000
        assert sum(sent) > before


def test_streamed_error_is_read_whole() -> None:
    """An answer of 400 or above is an error with its body, streamed or not."""
    with (
        answering(said(b'{"error_text": "no"}', 'Content-Type: application/json', status='500 Oops')) as server,
        Client(server.host) as client,
    ):
        error = failure(client, 'GET', '/', stream=True)
        assert error.remote_error == {'error_text': 'no'}


def test_streamed_in_a_pool() -> None:
    """A pool hands streamed answers out at their heads as well; closing the pool ends their readers, typed."""
    with FaultServer(*[[READ, HEAD + b'Content-Length: 10\r\n\r\nabc', SILENCE]] * 2) as server:
        pool = ClientPool()
        for _ in range(2):
            pool.request(server.host, 'GET', '/', stream=True)
        found = pool.wait()
        assert [answer.read(3) for answer in found] == [b'abc'] * 2
        reader = gevent.spawn(error_of, found[0].read)
        gevent.sleep(0)
        pool.close()
        assert isinstance(reader.get(timeout=20), Cancelled)


def test_cancelled_streamed_body() -> None:
    """To cancel a streamed request ends its reader with Cancelled."""
    with FaultServer([READ, HEAD + b'Content-Length: 10\r\n\r\nabc', SILENCE]) as server, Client(server.host) as client:
        pending = client.submit('GET', '/', stream=True)
        reader = gevent.spawn(error_of, pending.get().read)
        gevent.sleep(0.01)
        pending.cancel()
        assert isinstance(reader.get(timeout=20), Cancelled)


# Time ----------------------------------------------------------------------------------------------------------------


def within(seconds: float, call: Callable[[], HTTPError]) -> HTTPError:
    """The error, which must come at its deadline, at most 250 ms late."""
    took = kit.Took()
    error = call()
    assert took.between(seconds / 2, seconds + 0.25)
    return error


@pytest.mark.timed
def test_total_in_the_queue() -> None:
    """When the total runs out in the queue the error is QueueTimeout, and nothing was sent."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, simultaneous=1) as client:
        client.submit('GET', '/000001')
        gate.wait_for(1)
        error = within(0.2, lambda: failure(client, 'GET', '/000002', timeout=0.2))
        assert isinstance(error, QueueTimeout)
        assert (error.phase, error.status, error.response) == ('queue', None, None)
        assert len(server.requests) == 1


def test_total_waiting_for_a_slot() -> None:
    """The same where it is the pool that has no connection to spare."""
    gate = Gate()
    with serve(gate=gate) as server, serve() as other, ClientPool(max_connections=1) as pool:
        ask(pool, server)
        gate.wait_for(1)
        ask(pool, other, timeout=0.15)
        outcomes = pool.wait_unordered()
        error = next(outcomes)
        assert isinstance(error, QueueTimeout)
        assert error.phase == 'queue'
        outcomes.close()


@pytest.mark.parametrize('slow', ['dns', 'tcp', 'tls'])
@pytest.mark.parametrize('clock', ['total', 'connect'])
def test_connecting_too_slowly(slow: str, clock: str, authority: kit.Authority) -> None:
    """DNS, connect and TLS handshake together have the connect timeout; that, or the total, makes a ConnectTimeout."""
    timeout: Any = 0.2 if clock == 'total' else urllib3.Timeout(connect=0.2)
    never = Event()
    with FullServer() as full, SlowHandshake(tls=authority.server()) as mute:
        host = {'dns': 'peer.example', 'tcp': full.host, 'tls': mute.host}[slow]
        with Client(host, timeout=timeout, resolver=lambda *_: never.wait(5) and []) as client:
            error = within(0.2, lambda: failure(client, 'GET', '/'))
            assert isinstance(error, ConnectTimeout)
            assert (error.phase, error.status) == ('connect', None)
        never.set()
        mute.willing.set()


@pytest.mark.timed
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_silence(method: str) -> None:
    """A server that is silent for the read timeout makes a ReadTimeout; it read the request once."""
    with serve(gate=Gate()) as server, Client(server.host, timeout=urllib3.Timeout(read=0.2)) as client:
        error = within(0.2, lambda: failure(client, method, '/'))
        assert isinstance(error, ReadTimeout)
        assert error.phase == 'read'
        assert len(server.requests) == 1


def test_a_server_that_does_not_read() -> None:
    """A server that takes nothing of a large body for the read timeout is silent too."""

    class Deaf(kit.Server):
        """Reads nothing."""

        def talk(self, peer: kit.Peer) -> None:
            """Until it is closed."""
            wait_until(peer.is_gone)

    with Deaf() as server, Client(server.host, timeout=urllib3.Timeout(read=0.2)) as client:
        error = failure(client, 'POST', '/', b'x' * 30_000_000)
        assert isinstance(error, ReadTimeout)
        assert error.phase == 'send'


def test_each_byte_restarts_the_read_timeout() -> None:
    """The read timeout is between two reads: a slow server within it is heard to its end."""
    with (
        FaultServer([READ, Drip(said(b'abc'), 0.03)]) as server,
        Client(server.host, timeout=urllib3.Timeout(read=1)) as client,
    ):
        assert client.request('GET', '/').data == b'abc'


@pytest.mark.timed
def test_total_after_sending() -> None:
    """When the total runs out after sending has begun the error is DeadlineExceeded."""
    with serve(gate=Gate()) as server, Client(server.host, timeout=0.2) as client:
        error = within(0.2, lambda: failure(client, 'GET', '/'))
        assert isinstance(error, DeadlineExceeded)
        assert error.phase == 'read'


@pytest.mark.timed
def test_total_covers_all_tries() -> None:
    """The total is one wall clock over all tries and the waits between them."""
    with serve(lambda *_: (503, None, '')) as server, Client(server.host) as client:
        retry = urllib3.Retry(1000, status_forcelist=[503], backoff_factor=0.02)
        began = kit.own_time()
        error = failure(client, 'GET', '/', retries=retry, timeout=0.4)
        assert kit.own_time() - began < kit.limit(0.65)
        assert len(server.requests) >= 2
        assert error.attempts == len(server.requests)


def test_timeout_of_request_overrides_the_clients() -> None:
    """A request's own timeout goes before the client's, either way."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, timeout=0.1, simultaneous=2) as client:
        longer = client.submit('GET', '/000001', timeout=5)
        with pytest.raises(Timeout):
            client.request('GET', '/000002')
        assert not longer.ready()
        gate.open()
        assert longer.get().data == b'000001'


@pytest.mark.parametrize('bad', [0, -1, 'soon', True, float('nan'), (1, 2)])
def test_not_a_timeout(bad: Any) -> None:
    """What is no time is a ValueError, for a request and for a client."""
    with pytest.raises(ValueError):
        Client('host', timeout=bad)
    with pytest.raises(ValueError):
        Request('host', 'GET', '/', timeout=bad)


# Retries -------------------------------------------------------------------------------------------------------------


def status_then_good(*statuses: int, **headers: str) -> Callable[..., tuple[int, Any, Any]]:
    """A handler that says these first."""
    left = list(statuses)
    return lambda *request: (left.pop(0), dict(headers), 'no') if left else kit.echo(*request)


RETRY = urllib3.Retry(3, status_forcelist=[500, 503], backoff_factor=0)


@pytest.mark.parametrize('where', ['request', 'client'])
def test_retry_by_status(where: str) -> None:
    """Retry's statuses are tried again, as often as it says; the answer tells how often."""
    client_has, request_has = ({'retries': RETRY}, {}) if where == 'client' else ({}, {'retries': RETRY})
    with serve(status_then_good(500, 503)) as server, Client(server.host, **client_has) as client:
        found = client.request('GET', '/000001', **request_has)
        assert (found.data, found.attempts, len(server.requests)) == (b'000001', 3, 3)
    with serve(lambda *_: (503, None, 'no')) as server, Client(server.host, **client_has) as client:
        error = failure(client, 'GET', '/', **request_has)
        assert isinstance(error, RemoteError)
        assert (error.status, error.attempts, len(server.requests)) == (503, 4, 4)


def test_not_every_method_is_tried_again() -> None:
    """Retry's allowed methods rule: a POST that failed is not sent again."""
    with serve(status_then_good(503)) as server, Client(server.host, retries=RETRY) as client:
        assert failure(client, 'POST', '/', b'x').status == 503
        assert len(server.requests) == 1
    with serve(status_then_good(503)) as server, Client(server.host, retries=RETRY.new(allowed_methods=None)) as client:
        assert client.request('POST', '/000001', b'x').attempts == 2
        assert [request.body for request in server.requests] == [b'x', b'x']


@pytest.mark.parametrize('given', [2, False, 0])
def test_retries_as_a_number(given: Any) -> None:
    """Where a number or False is taken for `retries`, it is the same for a request and for a client."""
    for client_has, request_has in (({'retries': given}, {}), ({}, {'retries': given})):
        with (
            FaultServer([READ, CLOSE], [READ, CLOSE], [READ, ANSWER]) as server,
            Client(server.host, **client_has) as client,
        ):
            if given == 2:
                assert client.submit('GET', '/000001', **request_has).get(timeout=20).attempts == 3
            else:
                with pytest.raises(ProtocolError):
                    client.submit('GET', '/000001', **request_has).get(timeout=20)


@pytest.mark.parametrize('bad', ['3', 1.5, object()])
def test_not_retries(bad: Any) -> None:
    """What is no Retry is a ValueError at once, for a request and for a client."""
    with pytest.raises(ValueError):
        Client('host', retries=bad)
    with pytest.raises(ValueError):
        Request('host', 'GET', '/', retries=bad)


def test_nothing_is_retried_by_default() -> None:
    """By default a failure on a fresh connection, or an answer, is the outcome."""
    with FaultServer([READ, CLOSE]) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/'), ProtocolError)
        assert server.accepted == 1
    with serve(status_then_good(503)) as server, Client(server.host) as client:
        assert failure(client, 'GET', '/').status == 503
        assert len(server.requests) == 1


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'POST', 'PATCH'])
@pytest.mark.parametrize('end', [CLOSE, RST])
def test_free_resend(method: str, end: kit.Step) -> None:
    """Only an idempotent request, on a reused connection closed before any byte, is sent once more, on a fresh one."""
    with FaultServer([READ, ANSWER, READ, end]) as server, Client(server.host) as client:
        client.request('GET', '/000001')
        if method in ('POST', 'PATCH'):
            assert isinstance(failure(client, method, '/000002', b'x'), ProtocolError)
            assert (server.times_read('000002'), server.accepted) == (1, 1)
        else:
            found = client.request(method, '/000002')
            assert found.status == 200
            assert (server.times_read('000002'), server.accepted, found.attempts) == (2, 2, 2)


def test_free_resend_is_one() -> None:
    """It is sent once more, not twice; nor when some of the answer came; nor a body that cannot be read again."""
    with FaultServer([READ, ANSWER, READ, CLOSE], [READ, CLOSE]) as server, Client(server.host) as client:
        client.request('GET', '/000001')
        assert isinstance(failure(client, 'GET', '/000002'), ProtocolError)
        assert server.times_read('000002') == 2
    with FaultServer([READ, ANSWER, READ, b'HTTP/1.1 2', CLOSE]) as server, Client(server.host) as client:
        client.request('GET', '/000001')
        assert isinstance(failure(client, 'GET', '/000002'), ProtocolError)
        assert server.times_read('000002') == 1
    with FaultServer([READ, ANSWER, READ, CLOSE]) as server, Client(server.host) as client:
        client.request('GET', '/000001')
        assert isinstance(failure(client, 'PUT', '/000002', iter([b'x'])), ProtocolError)
        assert server.times_read('000002') == 1
    with FaultServer([READ, ANSWER, READ, CLOSE]) as server, Client(server.host, retries=False) as client:
        client.request('GET', '/000001')
        assert isinstance(failure(client, 'GET', '/000002'), ProtocolError)


@pytest.mark.parametrize('fault', ['refused', 'closed', 'reset', 'truncated', 'silent'])
def test_retry_by_failure(fault: str) -> None:
    """Failures of connections, and of reading, are tried again as Retry says."""
    script: dict[str, list[Any]] = {
        'closed': [READ, CLOSE],
        'reset': [READ, RST],
        'truncated': [READ, said(b'abcdef')[:-3], CLOSE],
        'silent': [READ, SILENCE],
    }
    if fault == 'refused':
        server = FaultServer(listening=False)
    else:
        server = FaultServer(script[fault])
    with (
        server,
        Client(server.host, retries=urllib3.Retry(3, backoff_factor=0.02), timeout=urllib3.Timeout(read=0.5)) as client,
    ):
        pending = client.submit('GET', '/000001')
        gevent.sleep(0.01)
        server.relent()
        found = pending.get(timeout=5)
        assert found.data == b'000001'
        assert found.attempts >= 2


def test_bodies_that_cannot_be_read_again_are_not_retried() -> None:
    """A body from an iterable is sent once; the failure is the outcome."""
    with serve(status_then_good(503)) as server, Client(server.host, retries=RETRY) as client:
        assert failure(client, 'PUT', '/', iter([b'x'])).status == 503
        assert len(server.requests) == 1


@pytest.mark.timed
def test_retry_after() -> None:
    """`Retry-After` is waited for."""
    with (
        serve(status_then_good(503, **{'Retry-After': '1'})) as server,
        Client(server.host, retries=urllib3.Retry(1)) as client,
    ):
        took = kit.Took()
        assert client.request('GET', '/000001', timeout=5).attempts == 2
        assert took.between(0.9, 1.5)
        assert len(server.requests) == 2


@pytest.mark.timed
def test_retry_after_beyond_the_deadline() -> None:
    """If the wait would exceed the deadline, that answer is the outcome at once."""
    with (
        serve(lambda *_: (503, {'Retry-After': '3600'}, 'later')) as server,
        Client(server.host, retries=urllib3.Retry(5)) as client,
    ):
        began = kit.own_time()
        error = failure(client, 'GET', '/', timeout=20)
        assert kit.own_time() - began < kit.limit(0.5)
        assert (error.status, error.response.data, len(server.requests)) == (503, b'later', 1)


@pytest.mark.parametrize('value', ['soon', '-5', '', 'Thu, 01 Jan 1970 00:00:00 GMT', '99999999999999999999'])
def test_retry_after_nonsense(value: str) -> None:
    """A `Retry-After` that makes no sense, or is past, harms nothing."""
    with (
        serve(status_then_good(503, **{'Retry-After': value})) as server,
        Client(server.host, retries=urllib3.Retry(1, status_forcelist=[503], backoff_factor=0)) as client,
    ):
        try:
            assert client.request('GET', '/000001', timeout=20).data == b'000001'
        except RemoteError as error:
            assert error.status == 503
        assert len(server.requests) in (1, 2)


def test_backoff_holds_no_slot() -> None:
    """While one request waits to be tried again, others use its slot and its connection."""
    with (
        serve(status_then_good(503, **{'Retry-After': '20'})) as server,
        Client(server.host, simultaneous=1, retries=urllib3.Retry(1)) as client,
    ):
        waiting = client.submit('GET', '/000001')
        wait_until(lambda: len(server.requests) == 1)
        for _ in range(5):
            assert client.request('GET', '/000002', timeout=10).data == b'000002'
        assert not waiting.ready()
        assert server.accepted == 1
        waiting.cancel()
        assert isinstance(waiting.exception, Cancelled)


def test_cancelled_while_it_waits_to_be_tried_again() -> None:
    """A request that is cancelled in its back-off, by itself or by its client's end, is not sent again."""
    with serve(lambda *_: (503, {'Retry-After': '1'}, '')) as server:
        with Client(server.host, retries=urllib3.Retry(1)) as client:
            pending = client.submit('GET', '/')
            wait_until(lambda: len(server.requests) == 1 and not client.stats()['in_flight'])
        assert isinstance(pending.exception, Cancelled)
        assert len(server.requests) == 1


def test_retry_budget() -> None:
    """Retries may be a share of the requests and a rate; beyond that the last failure is the outcome."""
    with (
        serve(lambda *_: (503, None, '')) as server,
        ClientPool(simultaneous=10, retries=RETRY, retry_budget=(0.1, 1)) as pool,
    ):
        for _ in range(300):
            ask(pool, server)
        assert {error.status for error in pool.wait()} == {503}
        assert 300 < len(server.requests) < 300 + 30 + 25
    with (
        serve(lambda *_: (503, None, '')) as server,
        ClientPool(simultaneous=10, retries=RETRY, retry_budget=None) as pool,
    ):
        for _ in range(50):
            ask(pool, server)
        pool.wait()
        assert len(server.requests) == 200


@pytest.mark.parametrize('bad', [7, 'x', (1,), (-1, 1), (1, -1), ('a', 'b')])
def test_not_a_budget(bad: Any) -> None:
    """A budget is a share and a rate; anything else is a ValueError."""
    with pytest.raises(ValueError):
        Client('host', retry_budget=bad)


# Connections ---------------------------------------------------------------------------------------------------------


def test_connections_are_reused() -> None:
    """Requests one after the other go over one connection."""
    with serve() as server, Client(server.host) as client:
        for n in range(20):
            assert client.request('GET', f'/{n:06}').data == b'%06d' % n
        assert server.accepted == 1


@pytest.mark.parametrize(
    'spoil',
    [
        [READ, HEAD + b'Connection: close\r\nContent-Length: 6\r\n\r\n' + ID],
        [READ, b'HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n' + ID],
        [READ, HEAD + b'Content-Length: 6\r\n\r\n' + ID + b'x'],
        [READ, HEAD + b'\r\n' + ID, CLOSE],
    ],
)
def test_connections_that_are_not_reused(spoil: list[Any]) -> None:
    """After anything but a complete, well-framed answer with nothing left over the connection is closed."""
    with FaultServer(spoil) as server, Client(server.host) as client:
        assert client.request('GET', '/000001').data == b'000001'
        assert client.request('POST', '/000002').data == b'000002'
        assert server.accepted == 2


# TLS -----------------------------------------------------------------------------------------------------------------


def test_tls_verifies_by_default(authority: kit.Authority) -> None:
    """A certificate of an unknown authority is a TLSError, and nothing is sent; `verify=False` takes it."""
    with serve(tls=authority.server()) as server:
        with Client(server.host) as client:
            error = failure(client, 'POST', '/', b'secret')
            assert isinstance(error, TLSError)
            assert error.phase == 'connect'
            assert not server.requests
        with Client(server.host, verify=False) as client:
            assert client.request('GET', '/000001').data == b'000001'
        with Client(server.host, ca_certs=authority.ca_certs) as client:
            assert client.request('GET', '/000002').data == b'000002'


def test_tls_verifies_the_name(authority: kit.Authority) -> None:
    """A certificate for another name is a TLSError, unless another name is asked for."""
    with serve(tls=authority.server('other.example')) as server:
        with Client(server.host, ca_certs=authority.ca_certs) as client:
            assert isinstance(failure(client, 'GET', '/'), TLSError)
            assert not server.requests
        with Client(server.host, ca_certs=authority.ca_certs, assert_hostname='other.example') as client:
            assert client.request('GET', '/000001').data == b'000001'
        with Client(server.host, ca_certs=authority.ca_certs, assert_hostname=False) as client:
            assert client.request('GET', '/000001').data == b'000001'
        with Client(server.host, ca_certs=authority.ca_certs, server_hostname='other.example') as client:
            assert client.request('GET', '/000001').data == b'000001'
        with Client(
            'https://other.example', ca_certs=authority.ca_certs, resolver=lambda *_: [address(server.port)]
        ) as client:
            assert client.request('GET', '/000001').data == b'000001'


@pytest.mark.parametrize('size', [1, 2**14 - 1, 2**14, 2**14 + 1, 2**16, 2**20])
@pytest.mark.parametrize('stream', [False, True])
def test_tls_records_of_any_size(stream: bool, size: int, authority: kit.Authority) -> None:
    """A read takes a whole record of TLS: nothing is left where the loop cannot see it when the server says no more."""
    head = HEAD + b'Content-Length: %d\r\n\r\n' % size
    with (
        FaultServer([READ, head, b'x' * size, READ, said(b'next'), SILENCE], tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs, timeout=5) as client,
    ):
        assert client.request('GET', '/', stream=stream).data == b'x' * size
        assert client.request('GET', '/').data == b'next'


def test_tls_fingerprint(authority: kit.Authority) -> None:
    """`assert_fingerprint` takes that certificate only."""
    import hashlib

    context = authority.server()
    context.maximum_version = gevent.ssl.TLSVersion.TLSv1_2  # whose handshake ends at the server first
    with serve(tls=context) as server:
        seen = gevent.spawn(fingerprint, server.port, hashlib.sha256).get(timeout=5)
        with Client(server.host, assert_fingerprint=seen, verify=False) as client:
            assert client.request('GET', '/000001').data == b'000001'
        with Client(server.host, assert_fingerprint='00' * 32, verify=False) as client:
            assert isinstance(failure(client, 'GET', '/'), TLSError)


def fingerprint(port: int, digest: Any) -> str:
    """The digest of the certificate of the server at that port."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = gevent.ssl.CERT_NONE
    plain = gevent.socket.socket()
    plain.connect(('127.0.0.1', port))
    wrapped = context.wrap_socket(plain)
    try:
        return str(digest(wrapped.getpeercert(True)).hexdigest())
    finally:
        wrapped.close()


def test_tls_client_certificate(authority: kit.Authority, tmp_path: Path) -> None:
    """`cert` is shown to a server that asks, in one file or two; without it such a server refuses."""
    leaf = authority.certificate('client.example')
    both, certificate, key = (str(tmp_path / name) for name in ('both.pem', 'cert.pem', 'key.pem'))
    leaf.private_key_and_cert_chain_pem.write_to_path(both)
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)
    with serve(tls=asking_for_certificates(authority)) as server:
        for cert in (both, (certificate, key)):
            with Client(server.host, ca_certs=authority.ca_certs, cert=cert) as client:
                assert client.request('GET', '/000001').data == b'000001'
        with Client(server.host, ca_certs=authority.ca_certs) as client:
            assert isinstance(failure(client, 'GET', '/000002'), HTTPError)
        assert server.times_read('000002') == 0


def test_tls_own_context(authority: kit.Authority) -> None:
    """A context of one's own is used as it is, and excludes the options that would change it."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca_certs)
    with serve(tls=authority.server()) as server, Client(server.host, ssl_context=context) as client:
        assert client.request('GET', '/000001').data == b'000001'
    assert context.verify_mode == gevent.ssl.CERT_REQUIRED
    assert context.check_hostname
    for more in ({'verify': False}, {'ca_certs': authority.ca_certs}, {'cert': authority.ca_certs}):
        with pytest.raises(ValueError):
            Client('host', ssl_context=context, **more)


@pytest.mark.parametrize(
    'options',
    [
        {'ca_certs': '/no/such/file'},
        {'cert': '/no/such/file'},
        {'verify': 'yes'},
        {'ssl_context': object()},
        {'resolver': 7},
        {'on_error': 'x'},
        {'headers': {'a b': 'c'}},
        {'max_header_bytes': 0},
        {'max_header_fields': -1},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    """An option that makes no sense is a ValueError when the client is made."""
    with pytest.raises(ValueError):
        Client('https://host', **options)
    with pytest.raises(ValueError):
        ClientPool(**options)


def test_options_that_are_not_known() -> None:
    """An option that nobody knows is a TypeError."""
    with pytest.raises(TypeError):
        Client('host', colour='red')
    with pytest.raises(TypeError):
        ClientPool(colour='red')
    with ClientPool() as pool, pytest.raises(TypeError):
        pool.request('host', 'GET', '/', colour='red')


def test_tls_to_a_plain_server() -> None:
    """A server that does not speak TLS makes a TLSError; one that closes at the handshake too."""
    with (
        FaultServer([b'HTTP/1.1 400 Bad Request\r\n\r\n', SILENCE]) as server,
        Client(f'https://{server.authority}') as client,
    ):
        assert isinstance(failure(client, 'GET', '/', timeout=20), TLSError)
    with FaultServer([CLOSE]) as server, Client(f'https://{server.authority}') as client:
        assert isinstance(failure(client, 'GET', '/', timeout=20), TLSError)


# Injection -----------------------------------------------------------------------------------------------------------

BAD = ['a\r\nX-B: c', 'a\nb', 'a\rb', 'a\0b']


@pytest.mark.parametrize('bad', BAD)
def test_injection_is_refused(bad: str) -> None:
    """CR, LF and NUL in any part of a request are a ValueError, and nothing is sent."""
    with serve() as server, Client(server.host) as client, ClientPool() as pool:
        calls: list[Callable[[], Any]] = [
            lambda: client.request(bad, '/'),
            lambda: client.request('GET', f'/{bad}'),
            lambda: client.request('GET', '/', headers={bad: 'x'}),
            lambda: client.request('GET', '/', headers={'X-A': bad}),
            lambda: client.request('GET', '/', headers=[('X-A', bad.encode())]),
            lambda: client.request('GET', '/', headers={'X-A': f'x{bad[1:]}'}),
            lambda: client.request('GET', '/', params=bad),
            lambda: pool.request(f'{server.host}{bad[1:]}', 'GET', '/'),
            lambda: Request('host', 'GET', '/').replace(url=f'/{bad}'),
            lambda: Request('host', 'GET', '/').replace(method=bad),
            lambda: Headers({'X-A': bad}),
            lambda: Client('host', headers={'X-A': bad}),
        ]
        for number, call in enumerate(calls):
            try:
                call()
            except ValueError:
                continue
            sent = [request.raw for request in server.requests]
            assert number == 6, (number, sent)
            assert sent, 'params are encoded instead'
            assert b'\r\nX-B: c' not in sent[0]


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r', '\0'])
def test_injection_at_the_end_is_refused(end: str) -> None:
    """Also where it is the very last character."""
    for parts in (
        ('host', 'GET', f'/{end}'),
        ('host', f'GET{end}', '/'),
        ('host', 'GET', f'*{end}'),
        (f'host{end}', 'GET', '/'),
    ):
        with pytest.raises(ValueError):
            Request(*parts)
    with pytest.raises(ValueError):
        Headers({f'X-A{end}': 'b'})
    with pytest.raises(ValueError):
        Headers({'X-A': f'b{end}'})


@pytest.mark.parametrize(
    'headers',
    [
        {'Host': 'other'},
        {'host': 'other'},
        {'Transfer-Encoding': 'chunked'},
        {'transfer-ENCODING': 'identity'},
        {'Content-Length': '7'},
        {'content-length': '3, 3'},
        [('Content-Length', '1'), ('Content-Length', '3')],
        {'': 'x'},
        {'X A': 'x'},
        {'X:A': 'x'},
        {' X': 'x'},
        {'X\t': 'x'},
        {'X-É': 'x'},
        {'X': None},
        {'X': ['a']},
    ],
)
def test_headers_that_are_refused(headers: Any) -> None:
    """Fields that frame the message, or are none, are a ValueError."""
    with pytest.raises(ValueError):
        Request('host', 'POST', '/', b'abc', headers)


@pytest.mark.parametrize(
    'parts',
    [
        ('', '/'),
        ('GE T', '/'),
        ('GET', ''),
        ('GET', 'path'),
        ('GET', 'http://other/'),
        ('GET', '/#x'),
        (None, '/'),
        ('GET', None),
        (b'GET', '/'),
        ('GET', b'/'),
        ('GÉT', '/'),
    ],
)
def test_parts_that_are_refused(parts: Any) -> None:
    """A method is a token, a url a path with a query."""
    with pytest.raises(ValueError):
        Request('host', *parts)


def test_requests_are_frozen() -> None:
    """A request cannot be changed; `replace` makes another, checked as the first."""
    request = Request('host:8002', 'GET', '/a?b=c', tag=1)
    with pytest.raises(AttributeError):
        request.url = '/b'
    assert str(request) == 'GET http://host:8002/a?b=c'
    assert str(Request('https://server.example', 'PUT', '/')) == 'PUT https://server.example/'
    other = request.replace(url='/x', body={'a': 1})
    assert (other.host, other.url, other.tag, other.body, request.url) == ('host:8002', '/x', 1, {'a': 1}, '/a?b=c')


def test_refused_connection() -> None:
    """Where nobody listens the error is RefusedError, at once and once."""
    with FaultServer(listening=False) as dead, Client(dead.host) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, RefusedError)
        assert (error.phase, error.attempts, error.status) == ('connect', 1, None)
        assert isinstance(error.__cause__, OSError)


def test_second_address() -> None:
    """Of several addresses of a name, the first that takes the connection is used."""
    with (
        serve() as server,
        FaultServer(listening=False) as dead,
        Client('peer.example', resolver=lambda *_: [address(dead.port), address(server.port)]) as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'


def test_names_are_asked_once() -> None:
    """Connections to one name at the same time ask its addresses once."""
    gate = Gate()
    with serve(gate=gate) as server:
        names = Names(peer=server)
        with Client('peer.example', simultaneous=10, resolver=names) as client:
            pendings = [client.submit('GET', '/000001') for _ in range(10)]
            gate.wait_for(10)
            assert names.asked == [('peer.example', 80)]
            gate.open()
            gevent.wait(pendings)
            assert isinstance(pendings[0].value, Response)
