"""Parts of bodies, and bodies as they came: what is offered, what is undone, and what is left as it is."""

from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from napixclient import BodyTooLarge, Client, ClientPool, RemoteError, Request, TruncatedBody
from napixclient._http.decoding import ACCEPT_ENCODING
from napixclient.authenticators import BearerToken, LoginAuthenticator
from napixclient.resources import Resource, Resources
from napixclient.rest import Client as RestClient
from tests import kit
from tests.helpers_pool import failure
from tests.kit import READ, FaultServer, serve

pytestmark = pytest.mark.usefixtures('oracle')

TEXT = b'{"captains": "Ahab, Nemo"} ' * 400
STORED = gzip.compress(TEXT, mtime=0)
BOUNDARY = b'\r\n--b\r\nContent-Range: bytes 0-9/99\r\n\r\n' + STORED[:10] + b'\r\n--b--\r\n'


def said(body: bytes, *fields: str, status: str = '206 Partial Content') -> bytes:
    """The bytes of an answer."""
    return '\r\n'.join([f'HTTP/1.1 {status}', f'Content-Length: {len(body)}', *fields, '', '']).encode() + body


def stored(method: str, path: str, headers: Any, body: bytes) -> Any:
    """A handler of an object that is kept as gzip, as stores of objects have them: whole, or a range of it."""
    fields = {'Content-Encoding': 'gzip', 'Content-Type': 'application/json', 'ETag': '"1"'}
    asked = re.fullmatch(r'bytes=(\d+)-(\d+)', headers.get('range', ''))
    if asked is None or headers.get('if-range', '"1"') != '"1"':
        return 200, fields, STORED
    first, last = int(asked[1]), int(asked[2])
    if first >= len(STORED):
        return 416, fields, gzip.compress(b'{"error": "beyond"}')
    part = STORED[first : last + 1]
    return 206, {**fields, 'Content-Range': f'bytes {first}-{first + len(part) - 1}/{len(STORED)}'}, part


# A part is never decoded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('span', [(0, 39), (40, 79), (len(STORED) - 8, len(STORED) - 1), (0, len(STORED) - 1)])
def test_a_part_is_as_it_came(span: tuple[int, int], stream: bool) -> None:
    """The first bytes of a gzip, some within, the last and all of them: what was asked for, and its coding is told."""
    with serve(stored) as server, Client(server.host) as client:
        found = client.request('GET', '/', headers={'Range': f'bytes={span[0]}-{span[1]}'}, stream=stream)
        part = STORED[span[0] : span[1] + 1]
        assert (found.status, found.data, found.body) == (206, part, part)
        assert (found.headers['content-encoding'], type(found.body)) == ('gzip', bytes)
        with pytest.raises(ValueError):
            found.json()
        assert client.request('GET', '/', stream=stream).data == TEXT
    assert server.accepted == 1


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize(
    'fields',
    [
        ['Content-Encoding: gzip'],
        ['Content-Encoding: deflate'],
        ['Content-Encoding: br'],
        ['Content-Encoding: zstd'],
        ['Content-Encoding: klingon'],
        ['Content-Encoding: ' + 'gzip, ' * 9 + 'gzip'],
        ['Content-Encoding: gzip', 'Content-Type: multipart/byteranges; boundary=b'],
        ['Content-Encoding: gzip', 'Transfer-Encoding: chunked'],
        [],
    ],
    ids=str,
)
def test_a_part_of_any_coding(fields: list[str], stream: bool) -> None:
    """Whatever its coding is, however it is framed, and where it is several parts; one without a coding is text."""
    answer = said(BOUNDARY, *fields)
    if 'Transfer-Encoding: chunked' in fields:
        answer = re.sub(rb'Content-Length: \d+\r\n', b'', answer[: -len(BOUNDARY)]) + b'%x\r\n%b\r\n0\r\n\r\n' % (
            len(BOUNDARY),
            BOUNDARY,
        )
    with FaultServer([READ, answer]) as server, Client(server.host) as client:
        found = client.request('GET', '/', headers={'Range': 'bytes=0-9'}, stream=stream)
        assert found.data == BOUNDARY
        assert found.body == (BOUNDARY if fields else BOUNDARY.decode('utf-8', 'replace'))
        assert client.request('GET', '/000001').data == b'000001'
        assert server.accepted == 1


@pytest.mark.parametrize('stream', [False, True])
def test_what_is_no_part(stream: bool) -> None:
    """A server that ignores the range, or refuses it, is read as ever; so is one whose object has changed."""
    with serve(stored) as server, Client(server.host) as client:
        found = client.request('GET', '/', headers={'Range': 'bytes=-5'}, stream=stream)
        assert (found.status, found.data) == (200, TEXT)
        found = client.request('GET', '/', headers={'Range': 'bytes=0-5', 'If-Range': '"old"'}, stream=stream)
        assert (found.status, found.data) == (200, TEXT)
        error = failure(client, 'GET', '/', headers={'Range': f'bytes={len(STORED)}-{len(STORED)}'}, stream=stream)
        assert (error.status, error.remote_error) == (416, {'error': 'beyond'})
        assert client.request('HEAD', '/', headers={'Range': 'bytes=0-5'}).data == b''


def test_a_part_is_bounded_and_saved_as_it_came(tmp_path: Path) -> None:
    """The bound of a part is that of its bytes, and parts that are saved one behind the other are the object."""
    with serve(stored) as server, Client(server.host, max_body=40) as client:
        assert len(client.request('GET', '/', headers={'Range': 'bytes=0-39'}).data) == 40
        assert isinstance(failure(client, 'GET', '/', headers={'Range': 'bytes=0-40'}), BodyTooLarge)
        whole = b''
        for at in range(0, len(STORED), 40):
            with client.request('GET', '/', headers={'Range': f'bytes={at}-{at + 39}'}, stream=True) as found:
                found.save(tmp_path / 'part')
            whole += (tmp_path / 'part').read_bytes()
        assert gzip.decompress(whole) == TEXT


def test_a_part_after_a_retry_and_a_redirect() -> None:
    """A part that was not the first answer is as it came, too, and so is its copy."""
    part = said(STORED[:9], 'Content-Encoding: gzip')
    first = (
        b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 302 Found\r\nLocation: /000002\r\nContent-Length: 0\r\n\r\n',
    )
    with (
        FaultServer([READ, first[0], READ, first[1], READ, part]) as server,
        Client(server.host, redirect=True, retries=urllib3.Retry(1, status_forcelist=[503])) as client,
    ):
        found = client.request('GET', '/000001', headers={'Range': 'bytes=0-8'})
        assert (found.body, found.attempts, found.url) == (STORED[:9], 2, f'http://{server.host}/000002')
        assert pickle.loads(pickle.dumps(found)).body == STORED[:9]
        assert [request.headers['accept-encoding'] for request in server.requests] == ['identity'] * 3


# What is offered -----------------------------------------------------------------------------------------------------

OFFERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # fields of the client, of the request, and what is offered
    ({}, {}, ACCEPT_ENCODING),
    ({}, {'X-Range': 'bytes=0-1'}, ACCEPT_ENCODING),
    ({}, {'If-Range': '"1"'}, ACCEPT_ENCODING),
    ({}, {'Range': 'bytes=0-1'}, 'identity'),
    ({}, {'rANGE': 'bytes=0-1'}, 'identity'),
    ({'Range': 'bytes=0-1'}, {}, 'identity'),
    ({'range': 'bytes=0-1'}, {'X-A': '1'}, 'identity'),
    ({}, {'Range': 'bytes=0-1', 'accept-encoding': 'gzip'}, 'gzip'),
    ({'accept-ENCODING': 'br'}, {'Range': 'bytes=0-1'}, 'br'),
    ({'Accept-Encoding': ACCEPT_ENCODING}, {'Range': 'bytes=0-1'}, ACCEPT_ENCODING),
    ({'Accept-Encoding': 'br', 'Range': 'bytes=0-1'}, {}, 'br'),
    ({'Range': 'bytes=0-1'}, {'Accept-Encoding': 'gzip'}, 'gzip'),
    ({'Range': 'bytes=0-1'}, {'Range': 'bytes=0-2'}, 'identity'),
]


@pytest.mark.parametrize(('of_client', 'of_request', 'offered'), OFFERS, ids=str)
def test_what_is_offered(of_client: dict[str, Any], of_request: dict[str, Any], offered: str) -> None:
    """With a range no coding is wanted, unless the caller says so; else all that can be undone."""
    with (
        serve() as server,
        Client(server.host, headers=of_client) as client,
        ClientPool({'login': 'a', 'key': 'b'}, headers=of_client) as pool,
        Client('http://else.example', headers=of_client, proxy=server.url) as behind,
        RestClient(server.url, base_headers=of_client) as rest,
    ):
        client.request('GET', '/', headers=of_request)
        client.request('POST', '/', 'abc', headers=of_request)
        pool.request(server.host, 'GET', '/', headers=of_request).get()
        behind.request('GET', '/', headers=of_request)
        rest.get('/', headers=of_request)
        assert [re.findall(rb'\r\naccept-encoding: ([^\r]*)', request.raw, re.I) for request in server.requests] == [
            [offered.encode()]
        ] * 5


class Ranging:
    """An authenticator that asks for a part."""

    blocking = False

    def __call__(self, request: Request) -> Request:
        """Ask for two bytes."""
        return request.replace(headers={**request.headers, 'Range': 'bytes=0-1'})


@pytest.mark.parametrize('authenticator', [LoginAuthenticator('root', 'toor'), BearerToken('abcdefgh'), Ranging()])
def test_what_is_offered_with_a_proof(authenticator: Any) -> None:
    """The same with a proof beside the range, by an authenticator that adds one, and at the origin that a redirect leads to."""
    with (
        serve() as there,
        serve(lambda *_: (302, {'Location': there.url}, '')) as server,
        Client(server.host, authenticator, redirect=True) as client,
    ):
        client.request('GET', '/', headers={'Range': 'bytes=0-1'})
        assert (
            server.requests[0].headers['accept-encoding'] == there.requests[0].headers['accept-encoding'] == 'identity'
        )


# As it came ----------------------------------------------------------------------------------------------------------

WAYS: list[tuple[bool, bool | None, bool]] = [  # of the client, of the request, whether it is decoded
    (True, None, True),
    (True, False, False),
    (False, None, False),
    (False, True, True),
    (True, True, True),
    (False, False, False),
]


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize(('default', 'own', 'decoded'), WAYS)
def test_decode(default: bool, own: bool | None, decoded: bool, stream: bool) -> None:
    """A request says whether its body is decoded, else its client or pool does, and by default it is."""
    wanted = TEXT if decoded else STORED
    with serve(stored) as server, Client(server.host, decode=default) as client, ClientPool(decode=default) as pool:
        found = client.request('GET', '/', decode=own, stream=stream)
        assert (found.data, found.headers['content-encoding']) == (wanted, 'gzip')
        pool.request(server.host, 'GET', '/', decode=own, stream=stream)
        [answer] = pool.wait(timeout=5)
        assert answer.body == (wanted.decode() if decoded else wanted)
        assert Request('host', 'GET', '/', decode=own).replace(url='/x').decode is own


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize(
    'fields',
    [['Content-Encoding: gzip'], ['Content-Encoding: ' + 'gzip, ' * 9 + 'gzip'], ['Content-Encoding: deflate']],
    ids=str,
)
def test_what_does_not_decode_is_no_error_as_it_came(fields: list[str], stream: bool) -> None:
    """A coding that is cut short, too deep or none at all is nobody's business with `decode=False`."""
    for body in STORED[:-5], b'plain text':
        with FaultServer([READ, said(body, *fields, status='200 OK')]) as server, Client(server.host) as client:
            assert client.request('GET', '/', decode=False, stream=stream).data == body
    with (
        FaultServer([READ, said(STORED, *fields, status='200 OK')[:-5], kit.CLOSE]) as server,
        Client(server.host) as client,
        pytest.raises(TruncatedBody),
    ):
        assert client.request('GET', '/', decode=False, stream=stream).data  # which is the connection's end


@pytest.mark.parametrize('of_client', [False, True])
def test_every_way_to_read_gives_it_as_it_came(of_client: bool, tmp_path: Path) -> None:
    """In pieces, by sizes, whole and into a file: the coded bytes, whoever said that they stay so."""
    own = {} if of_client else {'decode': False}
    with serve(stored) as server, Client(server.host, decode=not of_client) as client:

        def ask() -> Any:
            return client.request('GET', '/', stream=True, **own)  # type: ignore[call-overload]

        assert b''.join(ask()) == b''.join(ask().iter_bytes(7)) == ask().read() == STORED
        with ask() as found:
            assert found.read(10) + found.data == STORED
        assert ask().save(tmp_path / 'saved') == len(STORED) and (tmp_path / 'saved').read_bytes() == STORED


def test_bounds_as_it_came() -> None:
    """The bound is that of the bytes that came: what they would decode to does not count."""
    bomb = gzip.compress(bytes(10**6))
    with serve(lambda *_: (200, {'Content-Encoding': 'gzip'}, bomb)) as server, Client(server.host) as client:
        for stream in False, True:
            assert client.request('GET', '/', decode=False, max_body=len(bomb), stream=stream).data == bomb
            with pytest.raises(BodyTooLarge):
                assert client.request('GET', '/', decode=False, max_body=len(bomb) - 1, stream=stream).data


@pytest.mark.parametrize('kind', ['application/json', 'text/plain'])
def test_an_error_as_it_came(kind: str) -> None:
    """An error keeps its body as it came, and says so instead of showing what nobody can read."""
    packed = gzip.compress(b'{"error_text": "no disk"}')
    with (
        serve(lambda *_: (500, {'Content-Encoding': 'gzip', 'Content-Type': kind}, packed)) as server,
        Client(server.host) as client,
        RestClient(server.url) as rest,
    ):
        error = failure(client, 'GET', '/', decode=False)
        assert isinstance(error, RemoteError)
        assert (error.response.data, error.response.body) == (packed, packed)
        assert error.remote_error == f'"500 Internal Server Error" ({len(packed)} bytes in the content coding gzip)'
        with pytest.raises(Exception, match='bytes in the content coding gzip'):
            rest.get('/', decode=False)
        assert 'no disk' in str(failure(client, 'GET', '/'))


def test_a_coding_that_nobody_knows() -> None:
    """It is left as it came whatever was wanted, and its body is bytes, not a text that nobody can read."""
    with serve(lambda *_: (200, {'Content-Encoding': 'klingon'}, STORED)) as server, Client(server.host) as client:
        for stream in False, True:
            assert client.request('GET', '/', stream=stream).body == STORED
    with (
        serve(lambda *_: (200, {'Content-Encoding': 'identity, identity'}, 'abc')) as server,
        Client(server.host) as client,
    ):
        for stream in False, True:
            assert client.request('GET', '/', stream=stream).body == 'abc'


def test_nothing_is_nothing() -> None:
    """A body of no bytes is None in whatever coding."""
    with (
        serve(lambda *_: (200, {'Content-Encoding': 'gzip'}, b'')) as server,
        Client(server.host, decode=False) as client,
    ):
        for stream in False, True:
            assert client.request('GET', '/', stream=stream).body is None


def test_other_faces() -> None:
    """Clients of REST services, one resource and many take the option along, and keep apart those who join one request."""
    with (
        serve(stored) as server,
        RestClient(server.url) as rest,
        closing(Resource(server.host)) as one,
        closing(Resources([server.host])) as many,
    ):
        assert (rest.get('/').content, rest.get('/', decode=False).content) == (TEXT, STORED)
        for answer in (
            one('GET', '/', decode=False),
            many.unicast('GET', '/', decode=False)(),
            *(found() for found in many.broadcast('GET', '/', decode=False)),
        ):
            assert answer == STORED
        assert one('GET', '/', headers={'Range': 'bytes=0-9'}) == STORED[:10]


@pytest.fixture(params=[0, 1, 'no', b''])
def senseless(request: Any) -> Iterator[Any]:
    """What is no answer to whether."""
    yield request.param


def test_decode_is_a_bool(senseless: Any) -> None:
    """Anything but True and False, and None for a request, is refused where it is written."""
    with pytest.raises(ValueError, match='decode'):
        Request('host', 'GET', '/', decode=senseless)
    with pytest.raises(ValueError, match='decode'):
        ClientPool(decode=senseless)
    with pytest.raises(ValueError, match='decode'):
        Client('host', decode=None)
