"""Trailers of chunked answers: handed out whole, apart from the headers, bounded as they are."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from napixclient import Client, ClientPool, Headers, InvalidResponse, RemoteError, Request, Response, TruncatedBody
from napixclient.aio import AsyncPool
from napixclient.rest import Client as RestClient
from napixclient.threads import SharedPool
from tests.helpers_native import in_loop, in_thread
from tests.kit import CLOSE, READ, FaultServer, Wait
from tests.test_bodies import CHUNKED, Event

pytestmark = pytest.mark.usefixtures('oracle')

SUM = b'X-Sum: 9\r\n'
ENDS = {
    'none': (b'', {}),
    'one': (SUM, {'X-Sum': ['9']}),
    'several of a name': (b'A: b\r\na:c\r\n' + SUM, {'a': ['b', 'c'], 'x-sum': ['9']}),
    'no value': (b'A:\r\nB: \t \r\n', {'A': [''], 'B': ['']}),
    'folded': (b'A: b\r\n \t c\r\n' + SUM, {'A': ['b c'], 'X-Sum': ['9']}),
    'bytes beyond ASCII': (b'A: \xe9\r\n', {'A': ['é']}),
}


def script(trailers: bytes, cut: str, body: bytes = b'3\r\nabc\r\n', head: bytes = CHUNKED) -> list[Any]:
    """A whole answer, at once or with the trailers behind the rest."""
    go = Event()
    go.set()
    whole = [head + body + b'0\r\n' + trailers + b'\r\n'] if cut == 'whole' else []
    behind = [head + body, Wait(go), b'0\r\n' + trailers + b'\r\n']
    drip = [head + body + b'0\r\n', *(bytes([byte]) for byte in trailers + b'\r\n')]
    return [READ, *(whole or (behind if cut == 'behind' else drip))]


@pytest.mark.parametrize('cut', ['whole', 'behind', 'bytes'])
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('name', ENDS)
def test_trailers(name: str, stream: bool, cut: str) -> None:
    """They are there when the body is, apart from the headers, and the connection goes on to the next answer."""
    sent, expected = ENDS[name]
    with FaultServer([*script(sent, cut), *script(b'', cut)]) as server, Client(server.host, simultaneous=1) as client:
        found = client.request('GET', '/', stream=stream)
        assert found.data == b'abc'
        assert {name: found.trailers.getlist(name) for name in expected} == expected
        assert len(found.trailers) == len(expected) and isinstance(found.trailers, Headers)
        assert list(found.headers) == ['Transfer-Encoding']
        again = client.request('GET', '/', stream=stream)
        assert again.data == b'abc' and not again.trailers and server.accepted == 1


@pytest.mark.parametrize(
    'field',
    [
        *('Set-Cookie: a=1', 'Authorization: x', 'Content-Type: application/json', 'Content-Encoding: gzip'),
        *('Location: /x', 'Retry-After: 9', 'Cache-Control: no-store', 'Content-Range: bytes 0-1/2', 'Host: h'),
        *('Trailer: a', 'Connection: close', 'Transfer-Encoding: gzip', 'Age: 1', 'WWW-Authenticate: Basic'),
    ],
)
@pytest.mark.parametrize('cut', ['whole', 'behind'])
def test_forbidden_fields_change_nothing(field: str, cut: str) -> None:
    """What must not stand in trailers (RFC 9110 §6.5.1) never becomes a header, and is not acted on."""
    with FaultServer(script(f'{field}\r\n'.encode(), cut)) as server, Client(server.host, redirect=True) as client:
        found = client.request('GET', '/')
        name, _, value = field.partition(': ')
        assert (found.status, found.body) == (200, 'abc') and found.trailers[name] == value
        assert found.headers.getlist(name) == (['chunked'] if name == 'Transfer-Encoding' else [])


BAD = {
    'no colon': b'A\r\n',
    'a space before the colon': b'A : b\r\n',
    'NUL': b'A: \0\r\n',
    'a bare CR': b'A: b\rc\r\n',
    'a length': b'Content-Length: 3\r\n',
    'too large': b'A: ' + b'x' * 70_000 + b'\r\n',
    'too large in all': b'A: %b\r\n' % (b'x' * 1000) * 70,
    'too many': b'A:b\r\n' * 257,
}


@pytest.mark.parametrize('cut', ['whole', 'behind'])
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('name', BAD)
def test_bad_trailers(name: str, stream: bool, cut: str) -> None:
    """They are an error, as bad headers are, whether they come with the rest or behind it."""
    with FaultServer(script(BAD[name], cut)) as server, Client(server.host) as client, pytest.raises(InvalidResponse):
        response = client.request('GET', '/', stream=stream)
        assert response.data is None  # a streamed one is read here


def test_bounds_are_those_of_headers() -> None:
    """So many trailers, and so many bytes of them, are accepted; one more is not."""
    for options, trailers, right in (
        ({'max_header_fields': 9}, b'A:b\r\n' * 9, True),
        ({'max_header_fields': 9}, b'A:b\r\n' * 10, False),
        ({'max_header_bytes': 1000}, b'A:%b\r\n' % (b'x' * 996), True),
        ({'max_header_bytes': 1000}, b'A:%b\r\n' % (b'x' * 997), False),
    ):
        for cut in 'whole', 'behind':
            with FaultServer(script(trailers, cut)) as server, Client(server.host, **options) as client:  # type: ignore[arg-type]
                if right:
                    assert client.request('GET', '/').trailers
                else:
                    with pytest.raises(InvalidResponse, match='trailers'):
                        client.request('GET', '/')


def test_other_answers_have_none() -> None:
    """One with a length, one without a body, and one that breaks off before the end: an empty mapping."""
    with (
        FaultServer(
            [READ, b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc', READ, CHUNKED + b'3\r\nabc\r\n', CLOSE]
        ) as server,
        Client(server.host) as client,
    ):
        assert not client.request('GET', '/').trailers
        cut_off = client.request('GET', '/', stream=True)
        assert not cut_off.trailers
        with pytest.raises(TruncatedBody):
            cut_off.read()
        assert not cut_off.trailers
        assert not client.request('HEAD', '/').trailers


def test_trailers_of_errors_and_of_what_was_moved_or_tried_again() -> None:
    """Whatever became of the request, the outcome has the trailers of the answer that it is."""
    moved = b'HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n'
    gone = b'HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n'
    with (
        FaultServer([*script(b'A: 1\r\n', 'whole', head=moved), *script(b'A: 2\r\n', 'whole')]) as server,
        Client(server.host, redirect=True) as client,
    ):
        assert client.request('GET', '/').trailers['a'] == '2'
    for stream in False, True:
        with (
            FaultServer(script(SUM, 'behind', head=gone)) as server,
            Client(server.host) as client,
            pytest.raises(RemoteError) as caught,
        ):
            client.request('GET', '/', stream=stream)
        assert caught.value.response is not None and caught.value.response.trailers['x-sum'] == '9'


def test_every_face() -> None:
    """Trailers come through pools and REST clients as well, and to subclasses of the answer."""
    with FaultServer(*[script(SUM, 'whole')] * 2) as server, ClientPool() as pool:
        pool.request(server.host, 'GET', '/')
        (found,) = pool.wait()
        assert isinstance(found, Response) and found.trailers['x-sum'] == '9'
        assert Response.from_response(found).trailers == pickle.loads(pickle.dumps(found)).trailers == found.trailers
        assert not Response(Request('h', 'GET', '/'), 200, b'HTTP/1.1 200 OK', b'', 0.1).trailers
        assert RestClient(server.url).get('/').trailers['x-sum'] == '9'


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Sends trailers behind the body on each of its connections."""
    with FaultServer(*[script(SUM, 'behind')] * 2) as server:
        yield server


@in_thread
def test_threads(server: FaultServer) -> None:
    """A thread has them with the body, which it may read in pieces."""
    with SharedPool(simultaneous=1) as pool:
        found: Any = pool.request(server.host, 'GET', '/', stream=True).result()
        assert not found.trailers and found.data == b'abc' and found.trailers['x-sum'] == '9'
    with SharedPool() as pool:
        found = pool.request(server.host, 'GET', '/').result()
        assert found.trailers['x-sum'] == '9'


@in_loop
async def test_asyncio(server: FaultServer) -> None:
    """A task has them when it has read the body."""
    async with AsyncPool() as pool:
        found: Any = await pool.request(server.host, 'GET', '/', stream=True)
        assert not found.trailers and await found.read() == b'abc' and found.trailers['x-sum'] == '9'
