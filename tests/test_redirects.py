"""Redirects: what is sent where, what stays behind, whose slot it takes, and how it ends when something fails."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import gevent
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
    HTTPError,
    ProtocolError,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Request,
    Response,
    TLSError,
    TruncatedBody,
)
from napixclient.authenticators import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from tests import kit
from tests.helpers_pool import address, failure
from tests.kit import CLOSE, READ, RST, SILENCE, FaultServer, FullServer, Gate, serve, wait_until

pytestmark = pytest.mark.usefixtures('oracle')

REDIRECTS = (301, 302, 303, 307, 308)
SECRETS = ('authorization', 'cookie', 'proxy-authorization', 'x-auth-token', 'x-subject-token')


def to(target: str, status: int = 302) -> str:
    """A url that `moving` answers with a redirect to the target."""
    return f'/{status}?{quote(target, safe="")}'


def moving(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
    """A handler: `/302?TARGET` leads there, `/503` is that status, all else is answered with its path and query."""
    word, _, query = path.partition('&token=')[0][1:].partition('?')
    if word.isdigit() and len(word) == 3:
        return int(word), {'Location': unquote(query).encode().decode('latin-1')} if query else None, 'moved'
    return 200, {'Content-Type': 'text/plain'}, path


def moved(*fields: str, status: int = 302, body: bytes = b'') -> bytes:
    """The bytes of a redirect."""
    lines = [f'HTTP/1.1 {status} Moved', f'Content-Length: {len(body)}', *fields, '', '']
    return '\r\n'.join(lines).encode() + body


def paths(server: kit.Server) -> list[str]:
    """What a server was asked for."""
    return [request.path for request in server.requests]


def at(server: kit.Server, path: str = '/000001') -> str:
    """The absolute URL."""
    return f'{"https" if server.tls else "http"}://{server.authority}{path}'


def slots(client: Client | ClientPool) -> list[tuple[int, int]]:
    """Of each host, what is queued and in flight."""
    stats = client.stats()
    return [(host['queued'], host['in_flight']) for host in ([stats] if 'queued' in stats else stats.values())]


# Which answers, and what is sent then -------------------------------------------------------------------------------


def file_of(data: bytes, skip: int = 0, **how: Any) -> Any:
    """A real file that stands at `skip`."""
    file = open(os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR), **{'mode': 'w+b', **how})
    file.buffer.write(data) if how else file.write(data)
    file.seek(skip)
    return file


class Fresh:
    """An iterable that begins anew each time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b'abc', b'def'])


class Listing(list[Any]):
    """A list."""


BODIES: dict[str, tuple[Callable[[], Any], bytes]] = {
    'none': (lambda: None, b''),
    'dict': (lambda: {'a': 1}, b'{"a":1}'),
    'list of another class': (lambda: Listing([1]), b'[1]'),
    'bytes': (lambda: b'abcdef', b'abcdef'),
    'large bytes': (lambda: b'x' * 100_000, b'x' * 100_000),
    'file from its middle': (lambda: file_of(b'0123abcdef', 4), b'abcdef'),
    'file of text from its middle': (lambda: file_of('é€abcdef'.encode(), 5, mode='w+', encoding='utf-8'), b'abcdef'),
    'StringIO': (lambda: io.StringIO('é' * 100_000), 'é'.encode() * 100_000),
    'tuple': (lambda: (b'abc', 'def'), b'abcdef'),
    'iterable': (Fresh, b'abcdef'),
}


@pytest.mark.parametrize('status', REDIRECTS)
def test_method_and_body(status: int) -> None:
    """301, 302 make a GET of a POST, 303 of all but HEAD; then the body is dropped, else it is sent again, whole."""
    with serve(moving) as server, Client(server.host, timeout=5) as client:
        for method in ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'):
            becomes_get = method not in ('GET', 'HEAD') and (status == 303 or status < 303 and method == 'POST')
            for kind, (make, arrives) in BODIES.items():
                with contextlib.closing(body) if hasattr(body := make(), 'close') else contextlib.nullcontext():
                    found = client.request(method, to('/end', status), body, {'X-Own': 'kept'}, redirect=True)
                first, second = server.requests[-2:]
                assert (found.status, found.data) == (200, b'' if method == 'HEAD' else b'/end')
                assert (first.method, first.body) == (method, arrives), (kind, method)
                assert second.method == ('GET' if becomes_get else method)
                assert second.body == (b'' if becomes_get else arrives), (kind, method)
                assert second.headers['x-own'] == 'kept'
                if becomes_get:
                    assert not {'content-type', 'content-length', 'transfer-encoding'} & set(second.headers)
                else:
                    same = {'content-type', 'content-length', 'transfer-encoding'}
                    assert {name: first.headers.get(name) for name in same} == {
                        name: second.headers.get(name) for name in same
                    }
        assert server.accepted == 1


def test_fields_of_the_body_are_dropped_with_it() -> None:
    """What a request says of its body does not stay when the body goes (RFC 9110 §15.4); all else does."""
    of_body = {
        'Content-Type': 'a/b',
        'content-ENCODING': 'identity',
        'Content-Language': 'en',
        'Content-MD5': 'x',
        'Content-Disposition': 'x',
        'Content-Location': '/',
        'Digest': 'x',
        'Last-Modified': 'x',
        'Expect': 'x',
    }
    own = {'X-Own': 'a', 'Accept': 'a/b', 'User-Agent': 'me', 'Authorization': 'mine', 'If-Match': '"1"'}
    with serve(moving) as server, Client(server.host) as client:
        client.request('POST', to('/end', 303), 'abc', {**of_body, **own}, redirect=True)
        client.request('POST', to('/end', 307), 'abc', {**of_body, **own}, redirect=True)
        dropped, kept = (
            {name.lower(): value for name, value in server.requests[index].headers.items()} for index in (1, 3)
        )
        assert not {name.lower() for name in of_body} & set(dropped)
        assert {name.lower() for name in of_body} <= set(kept)
        for name, value in own.items():
            assert dropped[name.lower()] == kept[name.lower()] == value


def test_multipart_goes_once_more() -> None:
    """A form keeps its boundary where it is sent again, and goes with its type where it is dropped."""
    with serve(moving) as server, Client(server.host) as client:
        for status in (307, 303):
            client.request('POST', to('/end', status), multipart={'a': 'b', 'f': ('f.txt', b'1')}, redirect=True)
        first, again, _, dropped = server.requests
        assert b'name="f"' in first.body
        assert (first.body, first.headers['content-type']) == (again.body, again.headers['content-type'])
        assert (dropped.method, dropped.body, dropped.headers.get('content-type')) == ('GET', b'', None)


def test_a_body_that_cannot_be_read_again() -> None:
    """An iterator that was sent cannot be sent once more: an error that says so; where it is dropped there is none."""
    with serve(moving) as server, Client(server.host) as client:
        error = failure(client, 'PUT', to('/end', 307), iter([b'abc']), redirect=True)
        assert isinstance(error, ProtocolError)
        assert 'cannot be read again' in str(error)
        assert (error.status, paths(server)) == (307, [to('/end', 307)])
        assert client.request('PUT', to('/end', 303), iter([b'abc']), redirect=True).data == b'/end'


def test_a_retry_sends_the_body_once_more() -> None:
    """A retry sends the same body as a redirect does; what cannot be read again is not tried again."""
    busy = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n'
    retry = urllib3.Retry(2, status_forcelist=[503])
    for kind, (make, arrives) in BODIES.items():
        with FaultServer([READ, busy, READ, CLOSE]) as server, Client(server.host, retries=retry) as client:
            with contextlib.closing(body) if hasattr(body := make(), 'close') else contextlib.nullcontext():
                assert client.request('PUT', '/000001', body).attempts == 3
            assert [request.body for request in server.requests] == [arrives] * 3, kind
    with FaultServer([READ, busy, READ, CLOSE]) as server, Client(server.host, retries=retry) as client:
        assert [failure(client, 'PUT', '/000001', iter([b'abc'])).attempts for _ in range(2)] == [1, 1]
        assert [request.body for request in server.requests] == [b'abc'] * 2


def test_a_file_that_was_closed_meanwhile() -> None:
    """A file that is closed when it is to be sent again is the cause of an error; the slot is back."""

    def closing(*given: Any) -> tuple[int, Any, Any]:
        file.close()
        return moving(*given)

    file = file_of(b'abc')
    with serve(closing) as server, Client(server.host, simultaneous=1) as client:
        error = failure(client, 'PUT', to('/end', 307), file, redirect=True)
        assert isinstance(error.__cause__, ValueError)
        assert client.request('GET', '/000002').data == b'/000002'


@pytest.mark.parametrize('kind', ['bytes', 'text'])
def test_one_file_for_many_hosts(kind: str) -> None:
    """A file may be sent to many hosts at once and one after the other, again where they redirect; it stays put."""
    data = ''.join(f'é{number:07}\n' for number in range(20_000)).encode()
    how = {'mode': 'w+', 'encoding': 'utf-8', 'newline': ''} if kind == 'text' else {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serve(moving)) for _ in range(20)]
        pool = stack.enter_context(ClientPool())
        file = stack.enter_context(file_of(b'skipped' + data, 7, **how))

        def requests() -> Iterator[Request]:
            for server in servers:
                yield Request(server.host, 'PUT', to('/end', 307), file, redirect=True)
                kit.turn()  # those before it are being sent

        for server in servers:
            pool.request(server.host, 'PUT', to('/end', 307), file, redirect=True)
        answers = [*pool.wait(timeout=10), *pool.stream(requests(), window=5)]
        assert [answer.status for answer in answers] == [200] * 40
        for server in servers:
            assert [request.body == data for request in server.requests] == [True] * 4
        assert file.tell() == 7


def test_the_body_is_what_it_was_when_it_was_given() -> None:
    """What becomes of a dict after the request was made is not sent, and no code of the caller's runs in the hub."""

    class Watched(io.BytesIO):
        def _note(self) -> None:
            in_hub.append(gevent.getcurrent() is gevent.get_hub())

        def read(self, *size: Any) -> bytes:
            self._note()
            return super().read(*size)

        def seek(self, *where: Any) -> int:
            self._note()
            return super().seek(*where)

    class Mapped(dict[str, Any]):
        def keys(self) -> Any:
            in_hub.append(gevent.getcurrent() is gevent.get_hub())
            return super().keys()

    in_hub: list[bool] = []
    with serve(moving) as server, Client(server.host) as client:
        given = Mapped(a=1)
        pending = client.submit('PUT', to('/end', 307), given, redirect=True)
        given['b'] = object()
        assert pending.get().status == 200
        assert client.request('PUT', to('/end', 307), Watched(b'abc'), redirect=True).status == 200
        assert [request.body for request in server.requests] == [b'{"a":1}'] * 2 + [b'abc'] * 2
        assert in_hub and not any(in_hub)


@pytest.mark.parametrize('stream', [False, True])
def test_answers_that_are_no_redirects(stream: bool) -> None:
    """What is not asked for, not 301, 302, 303, 307 or 308, or has no Location, is the answer, streamed or not."""
    unled = [(status, url) for status in REDIRECTS for url in ('', ' ', '\t ')]
    for status, url, options in [
        (300, '/end', {}),
        (304, '/end', {}),
        (305, '/end', {}),
        (306, '/end', {}),
        (200, '/end', {}),
        (201, '/end', {}),
        (302, '/end', {'redirect': False}),
        *((status, url, {}) for status, url in unled),
    ]:
        raw = moved(f'Location: {url}', status=status)
        with FaultServer([READ, raw]) as server, Client(server.host, redirect=True, timeout=20) as client:
            found = client.request('GET', '/000001', stream=stream, **options)
            assert hasattr(found, 'iter_bytes') == stream
            assert (found.status, found.data, found.url) == (status, b'', at(server))
            assert len(server.requests) == 1


def test_who_decides() -> None:
    """A request says whether redirects are followed, else its client or pool does, and by default they are not."""
    for default, own, status in [
        (False, None, 302),
        (False, True, 200),
        (True, None, 200),
        (True, False, 302),
        (False, False, 302),
    ]:
        with (
            serve(moving) as server,
            Client(server.host, redirect=default) as client,
            ClientPool(redirect=default) as pool,
        ):
            assert client.request('GET', to('/end'), redirect=own).status == status
            pool.request(server.host, 'GET', to('/end'), redirect=own)
            pool.request(server.host, 'GET', to('/end'), redirect=own, stream=True)
            for answer in pool.wait():
                assert answer.status == status
                assert answer.data is not None
            for answer in pool.stream([Request(server.host, 'GET', to('/end'), redirect=own)]):
                assert answer.status == status


def test_redirect_is_a_bool() -> None:
    """Anything but True, False and None is refused where it is written."""
    bad: Any
    for bad in (1, 0, 'yes'):
        with pytest.raises(ValueError, match='redirect'):
            Request('host', 'GET', '/', redirect=bad)
        with pytest.raises(ValueError, match='redirect'):
            ClientPool(redirect=bad)


# Where to ------------------------------------------------------------------------------------------------------------

LEADS: list[tuple[bytes, str]] = [
    # Location -> what is asked for then, coming from /d/000001?q=1
    (b'/x', '/x'),
    (b'x', '/d/x'),
    (b'../x', '/x'),
    (b'../../../x', '/x'),
    (b'?a=b', '/d/000001?a=b'),
    (b'./', '/d/'),
    (b'?', '/d/000001?'),
    (b'/x?', '/x?'),
    (b'/x;', '/x;'),
    (b'/x;?q', '/x;?q'),
    (b'x//y', '/d/x//y'),
    (b'/x//../y', '/x/y'),
    (b'..//x', '//x'),
    (b'/..//x/.', '//x/'),
    (b'//HOST//y', '//y'),
    (b'/u/http://HOST/y', '/u/http://HOST/y'),
    (b'12:30', '/d/12:30'),
    (b'/%2e%2e/x', '/%2e%2e/x'),
    (b'#f', '/d/000001?q=1'),
    (b'/x#f', '/x'),
    (b'/x?a#f?g', '/x?a'),
    (b'//HOST/y', '/y'),
    (b'http://HOST', '/'),
    (b'HTTP://HOST/z?#f', '/z?'),
    (b'http://HOST?q', '/?q'),
    (b'http://HOST?', '/?'),
    (b' \t/x \t', '/x'),
    (b'/a b', '/a%20b'),
    (b'/%C3%A0%zz', '/%C3%A0%zz'),
    (b'/a;p?x;y=/&?', '/a;p?x;y=/&?'),
    (b'/a@b:c', '/a@b:c'),
    (b'/"', '/%22'),
    ('/bücher/à'.encode(), '/b%C3%BCcher/%C3%A0'),
    ('/Å'.encode(), '/%C3%85'),
    (b'/\xe0', '/%C3%A0'),
    ('/\u2028'.encode(), '/%E2%80%A8'),
    (b'/a\tb', '/ab'),
    (b'/\\evil.example', '/\\evil.example'),
    (b'\\\\evil.example\\x', '/d/\\\\evil.example\\x'),
    (b'*', '/d/*'),
    (b'/' + b'a' * 60_000, '/' + 'a' * 60_000),
    (b'/x\r\nLocation: /x', '/x'),
    (b'\r\nlocation: /x', '/x'),
    (b'/a, /b', '/a,%20/b'),
]


def test_where_it_leads() -> None:
    """A target is relative to the URL that redirects (RFC 9110 §10.2.2); what is not ASCII is UTF-8 where it can be."""
    for location, path in LEADS:
        with FaultServer() as server, Client(server.host, timeout=20) as client:
            field = b'Location: ' + location.replace(b'HOST', server.authority.encode())
            server.scripts.append([READ, b'HTTP/1.1 302 Found\r\nContent-Length: 0\r\n' + field + b'\r\n\r\n'])
            found = client.request('GET', '/d/000001?q=1', redirect=True)
            path = path.replace('HOST', server.authority)
            assert (found.status, found.url) == (200, at(server, path)), location
            assert (paths(server), server.accepted) == (['/d/000001?q=1', path], 1), location


NOWHERE = [
    'javascript:alert(1)',
    'file:///etc/passwd',
    'ftp://HOST/',
    'data:,x',
    'mailto:a@b',
    'ws://HOST/',
    'localhost:80/x',
    'http:/x',
    'http:x',
    'https:/x',
    'http:',
    'http://',
    'http:///x',
    'https://',
    '//',
    '////x',
    '//:80/x',
    'http://h:0/',
    'http://h:65536/',
    'http://h:99999/',
    'http://h:-1/',
    'http://h:x/',
    'http://HOST:1/',
    'http://[::1/',
    'http://[::1]x/',
    'http://::1/',
    'http://[::g]/',
    'http://a b/',
    'http://a%20b/',
    'http://a%00/',
    'http://u@HOST/',
    'http://u:p@HOST/',
    'http://@HOST/',
    'http://HOST\\@evil.example/',
    'http://evil.example\\.HOST/',
    '/a\r\nLocation: /b',
    'http://HOST/x\r\nLocation: http://evil.example/',
]


@pytest.mark.parametrize('stream', [False, True])
def test_where_nobody_follows(stream: bool) -> None:
    """A target that is not http or https, has credentials, is no host or is several is an error; nothing is sent."""
    for location in NOWHERE:
        with FaultServer() as server, Client(server.host, timeout=2, simultaneous=1) as client:
            field = f'Location: {location.replace("HOST", server.authority)}'
            server.scripts.append([READ, moved(field, body=b'abc')])
            error = failure(client, 'GET', '/000001', redirect=True, stream=stream)
            assert isinstance(error, ProtocolError), location
            assert (error.status, error.phase, error.attempts, error.response.data) == (302, 'read', 1, b'abc')
            assert error.elapsed is not None
            assert len(server.requests) == 1, location
            assert client.request('GET', '/000002').data == b'000002'
            assert server.accepted == 1


def test_ipv6_and_a_default_port() -> None:
    """An address in brackets is followed; a colon without a port is the port of the scheme (RFC 9110 §4.2.3)."""
    asked = []

    def resolver(host: str, port: int) -> list[Any]:
        asked.append((host, port))
        return [address(server.port)]

    with serve(moving, address='::1') as six, serve(moving) as server, Client(server.host, resolver=resolver) as client:
        assert client.request('GET', to(at(six)), redirect=True).url == at(six)
        assert client.request('GET', to('http://name.example:/000003'), redirect=True).data == b'/000003'
        assert asked == [('name.example', 80)]
        assert server.requests[-1].headers['host'] == 'name.example'


def test_from_the_asterisk_form() -> None:
    """`OPTIONS *` has no path, so what is relative begins at the root."""
    with FaultServer([READ, moved('Location: x', status=307)]) as server, Client(server.host) as client:
        assert client.request('OPTIONS', '*', redirect=True).status == 200
        assert [request.raw.split(b' HTTP')[0] for request in server.requests] == [b'OPTIONS *', b'OPTIONS /x']


def test_ten_are_followed() -> None:
    """Ten redirects are followed, the eleventh is a ProtocolError; so ends a loop, and a chain over two hosts."""
    with serve(moving) as one, serve(moving) as other, Client(one.host) as client:
        url = '/end'
        for number in range(10):
            url = to(at([one, other][number % 2], url))
        assert client.request('GET', url, redirect=True).data == b'/end'
        error = failure(client, 'GET', to(url), redirect=True)
        assert isinstance(error, ProtocolError)
        assert '10 redirects' in str(error)
        assert (error.status, error.attempts, error.request.url[:5]) == (302, 1, '/302?')
        assert error.elapsed is not None
        assert len(one.requests) + len(other.requests) == 11 + 11
    with FaultServer([READ, moved('Location: #again')] * 20) as server, Client(server.host) as client:
        assert isinstance(failure(client, 'GET', '/000001', redirect=True), ProtocolError)
        assert (len(server.requests), server.accepted) == (11, 1)


@pytest.mark.parametrize('most', [0, 1, 3, 12])
def test_as_many_as_the_client_says(most: int) -> None:
    """With ``max_redirects`` so many are followed, and one more is an error that names the bound."""
    with serve(moving) as server, Client(server.host, redirect=True, max_redirects=most) as client:
        url = '/end'
        for _ in range(most):
            url = to(at(server, url))
        assert client.request('GET', url).data == b'/end'
        error = failure(client, 'GET', to(at(server, url)))
        assert isinstance(error, ProtocolError)
        assert f'more than {most} redirect' in str(error)
        assert len(server.requests) == 2 * (most + 1)


# What stays behind ---------------------------------------------------------------------------------------------------


class Keyring:
    """An authenticator that blocks, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Request:
        """Note what is asked, and add credentials."""
        gevent.sleep(0.001)
        self.asked.append(request.url.partition('?')[0])
        return request.replace(headers={**request.headers, 'Authorization': 'secret', 'X-Auth-Token': 'secret'})


def key_at_hand(request: Request) -> Request:
    """An authenticator that does not block."""
    return request.replace(headers={**request.headers, 'Authorization': 'secret'})


key_at_hand.blocking = False  # type: ignore[attr-defined]

WAYS: dict[str, tuple[Callable[[], Any], dict[str, Any], dict[str, Any]]] = {
    # authenticator, options of the pool, options of the request
    'LoginAuthenticator': (lambda: LoginAuthenticator('root', 'secret'), {}, {}),
    'a mapping, and fields': (lambda: {'login': 'root', 'key': 'secret'}, {}, {'headers': {'X-Own': 'a'}}),
    'TokenIdentifier': (lambda: TokenIdentifier('secret'), {}, {}),
    'BearerToken': (lambda: BearerToken('secret'), {}, {}),
    'BasicAuth': (lambda: BasicAuth('root', 'secret'), {}, {}),
    'blocking': (Keyring, {}, {}),
    'not blocking': (lambda: key_at_hand, {}, {}),
    'defaults': (lambda: None, {'headers': dict.fromkeys(SECRETS, 'secret')}, {}),
    'own fields': (lambda: None, {}, {'headers': {name.title(): 'secret' for name in SECRETS}}),
    'all': (
        lambda: BearerToken('secret'),
        {'headers': dict.fromkeys(SECRETS, 'secret')},
        {'headers': dict.fromkeys(SECRETS[1:], 'secret')},
    ),
}


def shows(request: kit.Received) -> bool:
    """Whether a credential is in it."""
    return any(name in request.headers for name in SECRETS) or b'secret' in request.raw or b'token=' in request.raw


@pytest.mark.parametrize('lone', [False, True], ids=['pool', 'client'])
def test_credentials_stay_behind(lone: bool) -> None:
    """What proves who asks goes to the origin that the caller named; nowhere else, nor back there from elsewhere."""
    for way, (make, options, how) in WAYS.items():
        with serve(moving) as one, serve(moving) as other, contextlib.ExitStack() as stack:
            if lone:
                ask: Any = stack.enter_context(Client(one.host, make(), **options)).submit
            else:
                ask = partial(stack.enter_context(ClientPool(make(), **options)).request, one.host)
            there = at(other, to(to(at(one, '/end'), 307), 307))
            assert ask('PUT', to(to(there, 307), 307), b'abc', redirect=True, **how).get().status == 200
            first, same, back = one.requests
            assert [shows(request) for request in (first, same, back)] == [True, True, False], way
            assert [shows(request) for request in other.requests] == [False, False], way
            assert {request.body for request in [*one.requests, *other.requests]} == {b'abc'}
            if 'X-Own' in how.get('headers', ()):
                assert back.headers['x-own'] == 'a'


@pytest.mark.parametrize('call_context', ['another name', 'to https', 'to http'])
def test_another_origin_is_another_scheme_or_name(call_context: str, authority: kit.Authority) -> None:
    """The same machine by another name or scheme is another origin, from http to https too."""
    tls = {'tls': authority.server()}
    with (
        serve(moving, **(tls if call_context == 'to http' else {})) as one,
        serve(moving, **(tls if call_context == 'to https' else {})) as other,
    ):
        target = at(one).replace('127.0.0.1', 'other.example') if call_context == 'another name' else at(other)
        with ClientPool(
            BearerToken('secret'),
            ca_certs=authority.ca_certs,
            headers={'Cookie': 'secret'},
            resolver=lambda host, port: [address(port)],
        ) as pool:
            found = pool.request(one.host, 'GET', to(target), redirect=True).get()
            assert (found.status, found.url) == (200, target)
            first, last = [*one.requests, *other.requests]
            assert (shows(first), shows(last)) == (True, False)
            # Who is asked there by the caller is told who asks.
            pool.request(target.removesuffix('/000001'), 'GET', '/000002').get()
            assert shows((other.requests or one.requests)[-1])


def test_the_same_origin_in_other_words() -> None:
    """A port that is the scheme's own, or letters of another case, are the same origin: credentials go along."""
    with (
        serve(moving) as server,
        Client(
            'name.example', BearerToken('secret'), simultaneous=1, resolver=lambda host, port: [address(server.port)]
        ) as client,
    ):
        for target in (
            'http://NAME.example/a',
            'http://name.example:80/a',
            '//name.example/a',
            'HTTP://name.example:/a',
            '/a',
        ):
            assert client.request('GET', to(target), redirect=True).data == b'/a'
        assert all(shows(request) for request in server.requests)
        assert {request.headers['host'] for request in server.requests} == {'name.example'}
        assert server.accepted == 1


def test_each_hop_is_signed_anew() -> None:
    """A redirect within the origin is signed for its own path and method, with a nonce of its own."""
    with serve(moving) as server, Client(server.host, {'login': 'root', 'key': 'toor'}) as client:
        for how in ({}, {'headers': {'X-Own': 'a'}}):
            client.request('POST', to(to('/end', 302), 303), 'abc', redirect=True, **how)
        said = [parse_qs(request.headers['authorization'].rpartition(':')[0]) for request in server.requests]
        assert [(one['path'], one['method'], one['host']) for one in said] == [
            ([request.path], [request.method], [server.authority]) for request in server.requests
        ]
        assert len({one['nonce'][0] for one in said}) == 6


def test_the_authenticator_is_asked_for_each_hop() -> None:
    """An authenticator sees each hop within the origin, in the context of the call, and none beyond."""
    user, seen = ContextVar('user', default='nobody'), []

    def sign(request: Request) -> None:
        seen.append((request.url.partition('?')[0], user.get()))

    with serve(moving) as one, serve(moving) as other:
        for blocking in (True, False):
            sign.blocking = blocking  # type: ignore[attr-defined]
            with ClientPool(sign) as pool:
                user.set('nemo')
                pool.request(one.host, 'GET', to(to(at(other, to('/c')))), redirect=True)
                user.set('ned')
                assert [answer.data for answer in pool.wait()] == [b'/c']
            assert seen == [('/302', 'nemo'), ('/302', 'nemo')]
            seen.clear()


def test_a_token_does_not_pile_up() -> None:
    """The token that an authenticator adds to the query is not part of the URL from which a redirect starts."""
    with (
        FaultServer([READ, moved('Location: ?page=2'), READ, moved('Location: #')]) as server,
        Client(server.host, TokenIdentifier('de7245')) as client,
    ):
        assert client.request('GET', '/000001', redirect=True).url == at(server, '/000001?page=2')
        assert paths(server) == ['/000001?token=de7245', *['/000001?page=2&token=de7245'] * 2]


# Slots, clocks, ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('options', [{}, {'max_connections': 1}, {'max_connections': 2}], ids=str)
def test_it_takes_a_slot_of_the_target(options: dict[str, Any]) -> None:
    """The target's cap holds for redirected requests as for its own, and that of the pool; all of them end."""
    gate, there = Gate(opened=True), Gate(opened=True)
    with serve(moving, gate=gate) as one, serve(moving, gate=there) as other, ClientPool(**options) as pool:
        for number in range(60):
            pool.request(one.host, 'GET', to(at(other, f'/{number:06}')), redirect=True)
            pool.request(other.host, 'GET', f'/{number:06}')
        assert [answer.data.decode() for answer in pool.wait(timeout=10)] == [
            f'/{number:06}' for number in range(60) for _ in range(2)
        ]
        assert max(gate.peak, there.peak) <= options.get('max_connections', 2)
        assert [(stats['done'], stats['failed']) for stats in pool.stats().values()] == [(0, 0), (120, 0)]
        assert slots(pool) == [(0, 0), (0, 0)]


def test_the_slot_of_the_first_origin_is_free_meanwhile() -> None:
    """Who was redirected holds no slot where it comes from."""
    gate = Gate()
    with serve(moving) as one, serve(moving, gate=gate) as other, ClientPool(simultaneous=1) as pool:
        gone = [pool.request(one.host, 'GET', to(at(other)), redirect=True) for _ in range(3)]
        gate.wait_for(1)
        assert pool.request(one.host, 'GET', '/000002').get(timeout=20).data == b'/000002'
        wait_until(lambda: slots(pool) == [(0, 0), (2, 1)])
        assert not any(pending.ready() for pending in gone)
        gate.open()
        assert [pending.get().data for pending in gone] == [b'/000001'] * 3
        assert gate.peak == 1


def test_one_connection_is_enough() -> None:
    """A redirect within the origin goes over the connection that is free, also when others wait and pile up."""
    with serve(moving) as server, ClientPool(simultaneous=2) as pool:
        assert pool.request(server.host, 'GET', to(to('/end')), redirect=True).get().data == b'/end'
        assert server.accepted == 1
        with Client(server.host, simultaneous=1) as client:
            pendings = [client.submit('GET', to(to(f'/{number:06}')), redirect=True) for number in range(50)]
            gevent.wait(pendings, timeout=5)
            assert [pending.get(block=False).data.decode() for pending in pendings] == [
                f'/{number:06}' for number in range(50)
            ]
        assert server.accepted == 2


class Stage:
    """A redirect that stands at one stage of its hop to another host."""

    def __init__(self, stage: str, stack: contextlib.ExitStack, **options: Any) -> None:
        self.gate = Gate()
        self.one = stack.enter_context(serve(moving))
        self.other: Any = stack.enter_context(FullServer() if stage == 'connecting' else serve(moving, gate=self.gate))
        self.pool = stack.enter_context(ClientPool(simultaneous=1))
        self.blocker = None
        if stage == 'queued':
            self.blocker = self.pool.request(self.other.host, 'GET', '/000009')
            self.gate.wait_for(1)
        self.pending = self.pool.request(self.one.host, 'GET', to(at(self.other)), redirect=True, **options)
        wait_until(lambda: len(self.one.requests) == 1)
        match stage:
            case 'queued':
                wait_until(lambda: slots(self.pool)[1:] == [(0, 0)] or (1, 1) in slots(self.pool))
            case 'connecting':
                wait_until(lambda: (1, 0) in slots(self.pool))
            case 'in flight':
                self.gate.wait_for(1)

    def assert_good(self) -> None:
        """The slots are back, and good requests to both hosts succeed."""
        self.gate.open()
        if self.blocker is not None:
            gevent.wait([self.blocker], timeout=20)
        assert set(slots(self.pool)) == {(0, 0)}
        if isinstance(self.other, FullServer):
            self.other.relent()
        for server in (self.one, self.other):
            assert self.pool.request(server.host, 'GET', '/000003').get(timeout=5).status == 200


STAGES = ['queued', 'connecting', 'in flight']


@pytest.mark.parametrize('stage', STAGES)
def test_the_total_covers_all_hops(stage: str) -> None:
    """The total runs on over the redirects; when it is up something was sent, so it is a DeadlineExceeded."""
    with contextlib.ExitStack() as stack:
        it = Stage(stage, stack, timeout=0.3)
        error = it.pending.get
        with pytest.raises(DeadlineExceeded) as caught:
            error(timeout=10)
        assert (caught.value.request.host, caught.value.attempts, caught.value.status) == (it.one.host, 1, None)
        it.assert_good()


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('end', ['cancel', 'wait', 'close', 'leave'])
def test_ended_in_the_middle(stage: str, end: str) -> None:
    """A redirected request can be cancelled, waited for in vain, dropped and closed at each stage of its hop."""
    with contextlib.ExitStack() as stack:
        it = Stage(stage, stack)
        match end:
            case 'cancel':
                it.pending.cancel()
                assert isinstance(it.pending.exception, Cancelled)
            case 'wait':
                assert isinstance(it.pool.wait(timeout=0.05)[-1], DeadlineExceeded)
            case 'close':
                it.pool.close()
                assert isinstance(it.pending.exception, Cancelled)
                assert set(slots(it.pool)) == {(0, 0)}
                return
            case 'leave':
                it.pool.request(it.one.host, 'GET', '/000005')
                for _ in it.pool.wait_unordered():
                    break
                if stage == 'in flight':  # it finishes in the background
                    it.gate.open()
                    assert it.pending.get(timeout=20).data == b'/000001'
                else:
                    assert isinstance(it.pending.exception, Cancelled)
        it.assert_good()


def test_thousands_cancelled_on_their_way() -> None:
    """Whenever it is that redirected requests are cancelled, each has one outcome, and no slot is lost or won."""
    gate = Gate(opened=True)
    with serve(moving) as one, serve(moving, gate=gate) as other, ClientPool(simultaneous=3) as pool:
        pendings = [
            pool.request(one.host, 'GET', to(at(other, f'/{number:06}')), redirect=True) for number in range(600)
        ]
        for turn, pending in enumerate(pendings):
            if turn % 3 == 0:
                pending.cancel()
            if turn % 20 == 0:
                kit.turn()
        found = pool.wait(timeout=10)
        for number, answer in enumerate(found):
            assert isinstance(answer, Cancelled) or answer.data.decode() == f'/{number:06}'
        assert sum(isinstance(answer, Response) for answer in found) >= 400
        assert gate.peak <= 3
        assert set(slots(pool)) == {(0, 0)}


# When the target fails -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('retries', [None, 2])
def test_a_target_that_refuses(retries: int | None) -> None:
    """A target that cannot be reached is an error of its kind; what is tried again is the hop, not the way to it."""
    with serve(moving) as one, kit.Mute(listening=False) as dead, ClientPool(simultaneous=1, retries=retries) as pool:
        error = failure(pool, one.host, 'GET', to(at(dead)), redirect=True)
        assert isinstance(error, RefusedError)
        assert (error.request.host, error.attempts) == (one.host, 1 if retries is None else 3)
        assert error.remote_call == f'GET {at(one, to(at(dead)))}'
        assert len(one.requests) == 1
        assert set(slots(pool)) == {(0, 0)}


def test_a_target_whose_certificate_is_not_known(authority: kit.Authority) -> None:
    """TLS is verified at the target as anywhere, and nothing is sent there."""
    with serve(moving) as one, serve(moving, tls=authority.server()) as other, Client(one.host) as client:
        assert isinstance(failure(client, 'GET', to(at(other)), redirect=True), TLSError)
        assert not other.requests


@pytest.mark.parametrize(('end', 'kind'), [(CLOSE, ProtocolError), (RST, ProtocolError), (SILENCE, ReadTimeout)])
def test_a_target_that_breaks(end: Any, kind: type[HTTPError]) -> None:
    """What goes wrong at the target is the outcome, and with retries the hop is tried again."""
    with serve(moving) as one, ClientPool(timeout=urllib3.Timeout(read=0.6)) as pool:
        for retries, outcome in ((None, kind), (1, Response)):
            with FaultServer([READ, end]) as other:
                pool.request(one.host, 'GET', to(at(other)), redirect=True, retries=retries)
                (found,) = pool.wait()
                assert isinstance(found, outcome)
                assert (found.attempts, len(other.requests)) == ((1, 1) if retries is None else (2, 2))
        assert len(one.requests) == 2


def test_retries_by_status_on_the_way() -> None:
    """An answer that is to be tried again is, at the hop where it came; each try counts, a redirect does not."""
    busy = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n'
    with (
        FaultServer([READ, busy, READ, moved('Location: /000002'), READ, busy]) as server,
        Client(server.host, retries=urllib3.Retry(5, status_forcelist=[503])) as client,
    ):
        found = client.request('GET', '/000001', redirect=True)
        assert (found.data, found.attempts, found.url) == (b'000002', 3, at(server, '/000002'))
        assert [request.id for request in server.requests] == ['000001', '000001', '000002', '000002']


def test_retries_run_out_at_the_target() -> None:
    """When the retries are used up on the way, the last answer is the outcome."""
    with (
        serve(moving) as one,
        serve(moving) as other,
        ClientPool(retries=urllib3.Retry(2, status_forcelist=[503])) as pool,
    ):
        error = failure(pool, one.host, 'GET', to(at(other, '/503')), redirect=True)
        assert isinstance(error, RemoteError)
        assert (error.status, error.attempts, error.response.url) == (503, 3, at(other, '/503'))
        assert (len(one.requests), len(other.requests)) == (1, 3)


def test_the_free_resend_at_the_target() -> None:
    """A connection of the target that turns out to be closed costs one free resend there, for a GET; not for a POST."""
    for method, outcome in (('GET', Response), ('POST', ProtocolError)):
        with serve(moving) as one, FaultServer([READ, kit.ANSWER, READ, CLOSE]) as other, ClientPool() as pool:
            pool.request(other.host, 'GET', '/000009').get()
            (found,) = pool.wait()[1:] or [pool.request(one.host, method, to(at(other), 307), redirect=True)]
            outcomes = pool.wait()
            assert isinstance(outcomes[0], outcome)
            assert (len(one.requests), len(other.requests)) == (1, 3 if method == 'GET' else 2)


def test_an_error_at_the_target() -> None:
    """400 and above at the target is a RemoteError whose request is the caller's, and whose answer tells where."""
    with serve(moving) as one, serve(moving) as other, Client(one.host) as client:
        error = failure(client, 'GET', to(at(other, '/404')), redirect=True, tag='mine')
        assert isinstance(error, RemoteError)
        assert (error.status, error.response.url) == (404, at(other, '/404'))
        assert (error.request.tag, error.request.host, error.attempts) == ('mine', one.host, 1)


# Bodies of answers ---------------------------------------------------------------------------------------------------


def test_streamed() -> None:
    """Of a redirect nothing is handed out in pieces, and its connection is free; what it leads to is streamed."""
    with (
        FaultServer([READ, moved('Location: /000002', body=b'x' * 300_000)]) as server,
        Client(server.host, simultaneous=1) as client,
    ):
        with client.request('GET', '/000001', redirect=True, stream=True) as found:
            assert (found.url, found.status, found.attempts) == (at(server, '/000002'), 200, 1)
            assert slots(client) == [(0, 1)]
            assert b''.join(found.iter_bytes(2)) == b'000002'
        assert slots(client) == [(0, 0)]
        assert server.accepted == 1


FRAMINGS: list[tuple[str, bytes, list[Any]]] = [
    ('Content-Length: 5', b'moved', []),
    ('Connection: close', b'moved', [CLOSE]),
    ('Transfer-Encoding: chunked', b'5\r\nmoved\r\n0\r\n\r\n', []),
    ('Content-Encoding: gzip\r\nConnection: close', gzip.compress(b'moved' * 9), [CLOSE]),
]


@pytest.mark.parametrize('stream', [False, True])
def test_the_body_of_a_redirect_is_read(stream: bool) -> None:
    """However the body of a redirect is framed, the answer that counts is the next one."""
    for method in ('GET', 'HEAD'):
        for fields, raw, ends in FRAMINGS:
            head = f'HTTP/1.1 302 Found\r\nLocation: /000002\r\n{fields}\r\n\r\n'.encode()
            script = [READ, head if method == 'HEAD' else head + raw, *ends]
            with FaultServer(script) as server, Client(server.host, timeout=20) as client:
                found = client.request(method, '/000001', redirect=True, stream=stream)
                assert (found.status, found.data) == (200, b'' if method == 'HEAD' else b'000002'), (method, fields)
                assert [request.method for request in server.requests] == [method] * 2


@pytest.mark.parametrize('stream', [False, True])
def test_max_body_on_the_way(stream: bool) -> None:
    """The bound of a body holds for each answer on the way, and for the last."""
    with FaultServer() as server, Client(server.host, simultaneous=1) as client:
        server.scripts.append([READ, moved('Location: /000002', body=b'12345678')])
        error = failure(client, 'GET', '/000001', redirect=True, stream=stream, max_body=7)
        assert isinstance(error, BodyTooLarge)
        server.scripts.append([READ, moved('Location: /000002', body=b'12345')])
        with pytest.raises(BodyTooLarge):
            client.request('GET', '/000001', redirect=True, stream=stream, max_body=5).data  # noqa: B018
        server.scripts.append([READ, moved('Location: /000002', body=b'12345')])
        assert client.request('GET', '/000001', redirect=True, stream=stream, max_body=6).data == b'000002'


def test_a_redirect_that_breaks_off() -> None:
    """A redirect whose body does not end is not followed."""
    with (
        FaultServer([READ, moved('Location: /000002', body=b'12345')[:-2], CLOSE]) as server,
        Client(server.host) as client,
    ):
        assert isinstance(failure(client, 'GET', '/000001', redirect=True), TruncatedBody)
        assert len(server.requests) == 1


# What is told --------------------------------------------------------------------------------------------------------


def test_what_the_answer_tells() -> None:
    """The request is the caller's own, the url that of the last answer; the attempts do not count redirects."""
    with serve(moving) as one, serve(moving) as other, ClientPool() as pool:
        pending = pool.request(one.host, 'POST', to(at(other, '/end?x=1')), {'a': 1}, redirect=True, tag='mine')
        found = pending.get()
        assert found.request is pending.request
        assert (found.request.method, found.request.url, found.request.tag) == (
            'POST',
            to(at(other, '/end?x=1')),
            'mine',
        )
        assert (found.url, found.status, found.attempts) == (at(other, '/end?x=1'), 200, 1)
        assert repr(found) == '<Response 200 OK>'
        assert found.body == '/end?x=1'
        plain = pool.request(one.host, 'GET', '/end', redirect=True).get()
        assert (plain.url, plain.attempts) == (at(one, '/end'), 1)


def test_hooks() -> None:
    """`on_request` is called for each hop, with what is sent there; `on_response` or `on_error` once, at the end."""
    sent: list[Any] = []
    ended: list[Any] = []
    with (
        serve(moving) as one,
        serve(moving) as other,
        ClientPool(
            on_request=lambda request: sent.append(str(request)), on_response=ended.append, on_error=ended.append
        ) as pool,
    ):
        found = pool.request(one.host, 'POST', to(to(at(other, '/end'))), 'a', redirect=True).get()
        error = failure(pool, one.host, 'GET', to(at(other, '/404')), redirect=True)
        wait_until(lambda: len(ended) == 2)
        assert ended == [found, error]
        assert sent == [
            f'POST {at(one, to(to(at(other, "/end"))))}',
            f'GET {at(one, to(at(other, "/end")))}',
            f'GET {at(other, "/end")}',
            f'GET {at(one, to(at(other, "/404")))}',
            f'GET {at(other, "/404")}',
        ]


def test_no_secret_in_the_records(caplog: pytest.LogCaptureFixture) -> None:
    """Where a redirect leads is logged without its query, in which servers like to put keys."""
    with (
        caplog.at_level('DEBUG', 'napixclient'),
        serve(moving) as one,
        serve(moving) as other,
        Client(one.host, TokenIdentifier('secret')) as client,
    ):
        client.request('GET', to(at(other, '/end?key=secret')), redirect=True)
    assert str(other.port) in caplog.text
    assert 'secret' not in caplog.text


def test_in_the_order_asked() -> None:
    """In a pool redirected requests keep their place, and come as they finish where that is asked for."""
    with serve(moving) as one, serve(moving) as other, ClientPool(redirect=True) as pool:

        def ask() -> list[str]:
            for number in range(10):
                pool.request(one.host, 'GET', to(at(other, f'/{number}')) if number % 2 else f'/{number}')
            return [f'/{number}' for number in range(10)]

        assert ask() == [answer.text for answer in pool.wait()]
        assert ask() == [answer.text for answer in pool]
        assert ask() == sorted(answer.text for answer in pool.wait_unordered())
        given = [(one.host, 'GET', to(at(other, f'/{number}'))) for number in range(10)]
        assert [answer.text for answer in pool.stream(given, ordered=True)] == [f'/{number}' for number in range(10)]


# A client alone, and whoever goes away ------------------------------------------------------------------------------


@pytest.mark.parametrize('end', ['close', 'cancel', 'drop'])
def test_a_client_alone(end: str) -> None:
    """A client without a pool follows to other hosts with the same cap, and ends what it has there when it ends."""
    gate = Gate()
    with serve(moving) as one, serve(moving, gate=gate) as other:
        client: Any = Client(one.host, simultaneous=2)
        pendings = [client.submit('GET', to(at(other)), redirect=True) for _ in range(5)]
        gate.wait_for(2)
        wait_until(lambda: len(one.requests) == 5)
        assert client.submit('GET', '/000002').get(timeout=20).status == 200
        if end == 'drop':
            del client
            gc.collect()
            gate.open()
            gevent.wait(pendings, timeout=20)
            assert [pending.get(block=False).data for pending in pendings] == [b'/000001'] * 5
        else:
            getattr(client, end)()
            assert all(isinstance(pending.exception, Cancelled) for pending in pendings)
            wait_until(lambda: not gate.in_flight)
            if end == 'cancel':
                gate.open()
                assert client.request('GET', to(at(other)), redirect=True).status == 200
            client.close()
        assert gate.peak == 2


def test_a_client_alone_forgets_where_it_was() -> None:
    """A client that is redirected to ever new hosts keeps no more of them than it has connections to."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(serve(moving))
        client = stack.enter_context(Client(one.host))
        for _ in range(20):
            with serve(moving) as other:
                assert client.request('GET', to(at(other)), redirect=True).status == 200
            kit.turn()
        assert len(client._origins.pools) < 4


@pytest.mark.parametrize('stage', STAGES)
def test_a_pool_that_was_dropped(stage: str) -> None:
    """A pool that nobody holds finishes what is under way, redirects among it."""
    with contextlib.ExitStack() as stack:
        gate, there = Gate(), Gate()
        one = stack.enter_context(serve(moving, gate=gate))
        other = stack.enter_context(serve(moving, gate=there))
        pool: Any = ClientPool(BearerToken('secret'), simultaneous=1)
        pending = pool.request(one.host, 'GET', to(at(other, to(at(one)))), redirect=True)
        gate.wait_for(1)
        if stage != 'queued':
            gate.open()
            there.wait_for(1)
        del pool
        gc.collect()
        gate.open()
        there.open()
        assert pending.get(timeout=20).data == b'/000001'
        assert not any(shows(request) for request in [*other.requests, one.requests[-1]])


def test_in_the_child_of_a_fork() -> None:
    """A request that is on its way to another host belongs to the parent; in the child it is cancelled."""
    gate = Gate()
    with (
        serve(moving) as one,
        serve(moving, gate=gate) as other,
        ClientPool(simultaneous=1) as pool,
        Client(one.host, simultaneous=1) as client,
    ):
        pendings = [pool.request(one.host, 'GET', to(at(other)), redirect=True) for _ in range(2)]
        pendings += [client.submit('GET', to(at(other)), redirect=True) for _ in range(2)]
        gate.wait_for(2)
        wait_until(lambda: len(one.requests) == 4)
        if not (child := os.fork()):
            os._exit(0 if all(isinstance(pending.exception, Cancelled) for pending in pendings) else 1)
        assert os.waitpid(child, 0)[1] == 0
        gate.open()
        gevent.wait(pendings, timeout=20)
        assert [pending.get(block=False).data for pending in pendings] == [b'/000001'] * 4


def test_connecting_too_slowly_at_the_target() -> None:
    """The time to connect is that of each hop."""
    with serve(moving) as one, FullServer() as other, Client(one.host, timeout=urllib3.Timeout(connect=0.6)) as client:
        error = failure(client, 'GET', to(at(other)), redirect=True)
        assert isinstance(error, ConnectTimeout)
        assert slots(client) == [(0, 0)]
        other.relent()
        assert client.request('GET', to(at(other)), redirect=True).data == b'000001'


def test_killed_while_blocked_in_request() -> None:
    """Who is killed in `request` cancels it, wherever the redirect has led."""
    gate = Gate()
    with serve(moving) as one, serve(moving, gate=gate) as other, Client(one.host, simultaneous=1) as client:
        caller = gevent.spawn(client.request, 'GET', to(at(other)), redirect=True)
        (held,) = gate.wait_for(1)
        caller.kill()
        assert held.request.peer.is_gone()
        gate.open()
        assert client.request('GET', to(at(other)), redirect=True).status == 200


def test_cancelled_while_the_authenticator_is_asked_at_a_hop() -> None:
    """A request can be cancelled while its authenticator is busy with a later hop; its slot is back."""

    def sign(request: Request) -> None:
        if not request.url.startswith('/302'):
            busy.set()
            gevent.sleep(60)

    busy = Event()
    with serve(moving) as server, ClientPool(sign, simultaneous=1) as pool:
        pending = pool.request(server.host, 'GET', to('/end'), redirect=True)
        assert busy.wait(2)
        pending.cancel()
        assert isinstance(pending.exception, Cancelled)
        assert pool.request(server.host, 'GET', to('/302'), redirect=True).get(timeout=20).status == 302
        assert slots(pool) == [(0, 0)]


def test_many_spellings_of_one_host() -> None:
    """However a server spells the host that it leads to, a pool keeps it once."""
    with (
        serve(moving) as one,
        serve(moving) as other,
        ClientPool(resolver=lambda host, port: [address(port)], redirect=True) as pool,
    ):
        for spelling in ('name.example', 'NAME.example', 'name.EXAMPLE', 'nAmE.example'):
            pool.request(one.host, 'GET', to(f'HTTP://{spelling}:{other.port}/end'))
        assert {answer.url for answer in pool.wait()} == {f'http://name.example:{other.port}/end'}
        assert list(pool.stats()) == [one.host, f'name.example:{other.port}']
        assert len(pool._origins.by_host) == 2


def test_an_authenticator_that_fails_at_a_hop() -> None:
    """An authenticator that raises at a hop of the same origin fails the request there; it is not asked elsewhere."""

    def sign(request: Request) -> None:
        if not request.url.startswith('/302'):
            raise KeyError('no key')

    with serve(moving) as one, serve(moving) as other, ClientPool(sign, simultaneous=1) as pool:
        error = failure(pool, one.host, 'GET', to('/end'), redirect=True)
        assert isinstance(error.__cause__, KeyError)
        assert pool.request(one.host, 'GET', to(at(other, '/end')), redirect=True).get().status == 200
        assert set(slots(pool)) == {(0, 0)}
