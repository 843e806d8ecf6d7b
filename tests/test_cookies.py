"""Cookies: kept in the caller's jar and taken from it, by the rules of `http.cookiejar`, and never in the hub."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy, LWPCookieJar
from pathlib import Path
from typing import Any

import gevent
import gevent.lock
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    QueueTimeout,
    RemoteError,
    Request,
    Response,
)
from napixclient.authenticators import LoginAuthenticator, TokenIdentifier
from tests import kit
from tests.helpers_pool import address, failure
from tests.kit import ANSWER, CLOSE, READ, FaultServer, serve, wait_until

pytestmark = pytest.mark.usefixtures('oracle')


def setting(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """A handler: `/503` is answered with that status, and `X-Set: a=1` in a request with `Set-Cookie: a=1`."""
    status = path.partition('?')[0][1:]
    value = headers.get('x-set')
    return int(status) if re.fullmatch(r'\d{3}', status) else 200, {'Set-Cookie': value} if value else {}, 'ok'


def sets(value: str) -> dict[str, Any]:
    """The headers of a request that is answered with that cookie."""
    return {'headers': {'X-Set': value}}


def sent(server: kit.Server, index: int = -1) -> str | None:
    """The Cookie field of a request."""
    return server.requests[index].headers.get('cookie')


def kept(jar: CookieJar) -> dict[str, str | None]:
    """What is in a jar."""
    return {cookie.name: cookie.value for cookie in jar}


def cookie(name: str, value: str, domain: str) -> Cookie:
    """One to be put into a jar."""
    return Cookie(0, name, value, None, False, domain, False, False, '/', True, False, None, True, None, None, {})


def said(*fields: str, status: str = '200 OK', body: bytes = b'') -> bytes:
    """The bytes of an answer."""
    return '\r\n'.join([f'HTTP/1.1 {status}', f'Content-Length: {len(body)}', *fields, '', '']).encode() + body


def slots(client: Client) -> tuple[int, int]:
    """What is queued and in flight."""
    stats = client.stats()
    return stats['queued'], stats['in_flight']


@contextmanager
def client_of(
    server: kit.Server, authenticator: Any = None, jar: CookieJar | None = None, **options: Any
) -> Iterator[tuple[Client, CookieJar]]:
    """A client with a jar and one slot, and the jar."""
    jar = CookieJar() if jar is None else jar
    with Client(server.host, authenticator, 1, cookies=jar, **options) as client:
        yield client, jar


# What is kept, and where it goes -------------------------------------------------------------------------------------


def test_none_are_kept_by_default() -> None:
    """Without `cookies=` nothing is kept and nothing is sent."""
    with serve(setting) as server, Client(server.host) as client:
        for _ in range(2):
            assert client.request('GET', '/', **sets('a=1')).headers['set-cookie'] == 'a=1'
            assert sent(server) is None


def test_a_jar_is_a_cookie_jar() -> None:
    """Anything but a jar is refused when the client is made; one that is empty, and so is false, is a jar."""
    bad: Any
    for bad in (True, {}, 'jar', CookieJar, object(), []):
        with pytest.raises(ValueError, match='cookies'):
            ClientPool(cookies=bad)
    with serve(setting) as server, client_of(server) as (client, jar):
        assert not len(jar)
        client.request('GET', '/', **sets('a=1'))
        client.request('GET', '/')
        assert (kept(jar), sent(server)) == ({'a': '1'}, 'a=1')


@pytest.mark.parametrize(('method', 'stream'), [('GET', False), ('GET', True), ('HEAD', True), ('POST', False)])
def test_every_answer_sets_cookies(method: str, stream: bool) -> None:
    """Whatever its status, an answer's cookies are in the jar before anybody has the answer."""
    with serve(setting) as server, client_of(server) as (client, jar):
        for status in (200, 201, 204, 302, 304, 401, 404, 500, 503):
            pending = client.submit(method, f'/{status}', stream=stream, **sets(f'n{status}=1'))
            seen: list[bool] = []
            pending.rawlink(lambda _, name=f'n{status}', seen=seen: seen.append(name in kept(jar)))
            gevent.wait([pending], timeout=20)
            gevent.sleep(0)
            assert seen == [True], status
            found: Any = pending.value or pending.exception
            assert found.status == status
            if stream and pending.value:
                found.close()
        assert len(kept(jar)) == 9


def test_cookies_of_a_packed_body() -> None:
    """An answer whose body takes its time to be decoded sets its cookies all the same."""
    body = gzip.compress(b'x' * 5_000_000)
    with (
        FaultServer([READ, said('Content-Encoding: gzip', 'Set-Cookie: a=1', body=body)]) as server,
        client_of(server) as (client, jar),
    ):
        assert len(client.request('GET', '/000001').data) == 5_000_000
        assert kept(jar) == {'a': '1'}


def test_what_is_no_answer_sets_no_cookies() -> None:
    """Neither a 103, nor an answer that broke off, nor a trailer sets a cookie."""
    early = b'HTTP/1.1 103 Early\r\nSet-Cookie: early=1\r\n\r\n'
    trailing = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSet-Cookie: late=1\r\n\r\n'
    with (
        FaultServer(
            [READ, early, ANSWER, READ, trailing, READ, said('Set-Cookie: short=1', body=b'abc')[:-1], CLOSE]
        ) as server,
        client_of(server) as (client, jar),
    ):
        assert client.request('GET', '/000001').data == b'000001'
        assert client.request('GET', '/000002').data == b'x'
        assert isinstance(failure(client, 'GET', '/000003'), HTTPError)
        assert kept(jar) == {}


def test_several_at_once() -> None:
    """Each Set-Cookie field is one cookie, with commas in its date, quotes, and bytes beyond ASCII; all go back."""
    fields = [
        'a=1; Expires=Wed, 01 Jan 2070 00:00:00 GMT',
        'b="x y"; Path=/',
        'SET=2; HttpOnly; SameSite=Lax',
        'u=é',
        'c=1=2',
    ]
    with (
        FaultServer([READ, said(*(f'set-Cookie: {field}' for field in fields))]) as server,
        client_of(server) as (client, jar),
    ):
        client.request('GET', '/000001')
        client.request('GET', '/000002', headers={'X-Own': 'a'})
        assert set(kept(jar)) == {'a', 'b', 'SET', 'u', 'c'}
        lines = [line for line in server.requests[1].raw.split(b'\r\n') if line.lower().startswith(b'cookie:')]
        assert len(lines) == 1
        assert set(lines[0][8:].split(b'; ')) == {b'a=1', b'b="x y"', b'SET=2', 'u=é'.encode(), b'c=1=2'}
        assert server.requests[1].headers['x-own'] == 'a'


RULES: list[tuple[str, str, str, bool]] = [
    # Set-Cookie, from where, to where, whether it is sent there
    ('a=1', 'http://www.site.example/', 'http://www.site.example/x', True),
    ('a=1', 'http://www.site.example/', 'http://WWW.site.example:8000/x', True),  # RFC 6265 §8.5: all ports
    ('a=1', 'http://www.site.example/', 'http://api.site.example/', False),
    ('a=1', 'http://www.site.example/', 'http://site.example/', False),
    ('a=1; Domain=site.example', 'http://www.site.example/', 'http://api.site.example/', True),
    ('a=1; Domain=.site.example', 'http://www.site.example/', 'http://api.site.example/', True),
    ('a=1; Domain=site.example', 'http://www.site.example/', 'http://evilsite.example/', False),
    ('a=1; Domain=other.example', 'http://www.site.example/', 'http://other.example/', False),
    ('a=1; Domain=api.site.example', 'http://www.site.example/', 'http://api.site.example/', False),
    ('a=1; Domain=example', 'http://www.site.example/', 'http://other.example/', False),
    ('a=1; Path=/x', 'http://www.site.example/x/', 'http://www.site.example/x/y', True),
    ('a=1; Path=/x', 'http://www.site.example/x/', 'http://www.site.example/xy', False),
    ('a=1; Path=/x', 'http://www.site.example/x/', 'http://www.site.example/', False),
    ('a=1', 'http://www.site.example/x/y', 'http://www.site.example/x/z?q', True),
    ('a=1', 'http://www.site.example/x/y', 'http://www.site.example/z', False),
    ('a=1; Secure', 'https://www.site.example/', 'https://www.site.example/', True),
    ('a=1; Secure', 'https://www.site.example/', 'http://www.site.example/', False),
    ('a=1', 'https://www.site.example/', 'http://www.site.example/', True),
    ('a=1; Max-Age=60', 'http://www.site.example/', 'http://www.site.example/', True),
    ('a=1; Max-Age=0', 'http://www.site.example/', 'http://www.site.example/', False),
    ('a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT', 'http://www.site.example/', 'http://www.site.example/', False),
    ('nonsense; Domain', 'http://www.site.example/', 'http://other.example/', False),
    ('=; ;;', 'http://www.site.example/', 'http://other.example/', False),
]


def test_the_rules_of_the_jar(authority: kit.Authority) -> None:
    """Domain, path, scheme and time decide where a cookie goes, as http.cookiejar has it (RFC 6265); not the port."""

    def ask(url: str, **how: Any) -> None:
        scheme, _, rest = url.partition('://')
        host, _, path = rest.partition('/')
        assert pool.request(f'{scheme}://{host}', 'GET', f'/{path}', **how).get(timeout=5).status == 200

    with serve(setting) as plain, serve(setting, tls=authority.server('www.site.example')) as secure:
        for value, origin, target, goes in RULES:
            with ClientPool(
                cookies=CookieJar(),
                ca_certs=authority.ca_certs,
                resolver=lambda host, port: [address(secure.port if port == 443 else plain.port)],
            ) as pool:
                ask(origin, **sets(value))
                ask(target)
            assert sent(secure if target.startswith('https') else plain) == ('a=1' if goes else None), (value, target)


def test_hosts_without_a_domain() -> None:
    """A cookie of an address or of a name without dots goes back there, and to no other."""
    for host, elsewhere in [('127.0.0.1', 'localhost'), ('localhost', '127.0.0.1'), ('[::1]', '127.0.0.1')]:
        with (
            serve(setting, address='::1' if host == '[::1]' else '127.0.0.1') as server,
            serve(setting) as other,
            ClientPool(cookies=CookieJar(), resolver=lambda host, port: [address(port)]) as pool,
        ):
            pool.request(f'{host}:{server.port}', 'GET', '/', **sets('a=1')).get()
            pool.request(f'{host}:{server.port}', 'GET', '/').get()
            assert sent(server) == 'a=1'
            pool.request(f'{elsewhere}:{other.port}', 'GET', '/').get()
            assert sent(other) is None


def test_a_policy_of_the_callers() -> None:
    """A policy sees the request as that of `urllib.request`: its URL, its scheme, its fields."""

    class Policy(DefaultCookiePolicy):
        def return_ok(self, cookie: Cookie, request: Any) -> bool:
            """Note what there is to see."""
            seen.append(
                (
                    request.get_full_url(),
                    request.type,
                    request.host,
                    request.get_header('x-own'),
                    request.get_header('x-other', 'none'),
                    request.has_header('X-Own'),
                    request.header_items(),
                )
            )
            return bool(super().return_ok(cookie, request))

    seen: list[Any] = []
    with serve(setting) as server, client_of(server, jar=CookieJar(Policy())) as (client, _):
        client.request('GET', '/', **sets('a=1'))
        client.request('GET', '/x?y', headers={'X-Own': 'b'})
        assert sent(server) == 'a=1'
        assert seen == [
            (f'http://{server.authority}/x?y', 'http', server.authority, 'b', 'none', True, [('X-Own', 'b')])
        ]


def test_deletion() -> None:
    """A server takes a cookie back by letting it expire, or by another value."""
    with serve(setting) as server, client_of(server) as (client, jar):
        for value, then in (('a=1', 'a=1'), ('a=2', 'a=2'), ('a=; Max-Age=0', None), ('a=3', 'a=3')):
            client.request('GET', '/', **sets(value))
            client.request('GET', '/')
            assert sent(server) == then


def test_one_jar_for_many() -> None:
    """Pools and clients may share a jar."""
    jar = CookieJar()
    with (
        serve(setting) as server,
        ClientPool(cookies=jar) as one,
        ClientPool(cookies=jar) as other,
        Client(server.host, cookies=jar) as client,
    ):
        one.request(server.host, 'GET', '/', **sets('a=1')).get()
        other.request(server.host, 'GET', '/', **sets('b=2')).get()
        client.request('GET', '/')
        assert sent(server) in ('a=1; b=2', 'b=2; a=1')


def test_own_field() -> None:
    """A Cookie field of the request's own goes instead of what the jar has; the answer's cookies are still kept."""
    with serve(setting) as server, client_of(server, headers={'Cookie': 'default=1'}) as (client, jar):
        client.request('GET', '/', **sets('a=1'))
        assert sent(server) == 'default=1'
        client.request('GET', '/', headers={'cookie': 'own=1', 'X-Set': 'b=2'})
        assert sent(server) == 'own=1'
        assert kept(jar) == {'a': '1', 'b': '2'}
        assert server.requests[1].raw.lower().count(b'\r\ncookie:') == 1
        client.request('GET', '/')
        assert sent(server) in ('a=1; b=2', 'b=2; a=1')


def test_saved_and_loaded(tmp_path: Path) -> None:
    """What a jar of the standard library saved, a later client sends."""
    path = str(tmp_path / 'cookies')
    with serve(setting) as server:
        with client_of(server, jar=LWPCookieJar(path)) as (client, jar):
            client.request('GET', '/', **sets('a=1; Max-Age=60'))
            jar.save()  # type: ignore[attr-defined]
        jar = LWPCookieJar(path)
        jar.load()
        with client_of(server, jar=jar) as (client, _):
            client.request('GET', '/')
            assert sent(server) == 'a=1'


@pytest.mark.parametrize('value', ['a\r\nX: y', 'a\0', '€'])
def test_a_cookie_that_cannot_be_sent(value: str) -> None:
    """A jar that holds what would break a request fails it before anything is sent."""
    jar = CookieJar()
    jar.set_cookie(cookie('a', value, '127.0.0.1'))
    with serve(setting) as server, client_of(server, jar=jar) as (client, _):
        error = failure(client, 'GET', '/')
        assert isinstance(error.__cause__, ValueError)
        assert not server.requests
        jar.clear()
        assert client.request('GET', '/').status == 200


# Beside other things -------------------------------------------------------------------------------------------------


def test_over_redirects() -> None:
    """A cookie that a redirect sets goes to where it leads if the jar says so; the request's own field does not."""

    def login(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        if path == '/login':
            return 303, [('Location', '/home'), ('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2; Path=/other')], ''
        if path == '/away':
            return 307, {'Location': f'http://localhost:{server.port}/there', 'Set-Cookie': 'c=3'}, ''
        if path == '/there':
            return 307, {'Location': f'http://127.0.0.1:{server.port}/back', 'Set-Cookie': 'd=4'}, ''
        return 200, {}, path

    with (
        serve(login) as server,
        client_of(server, redirect=True, resolver=lambda host, port: [address(port)]) as (client, _),
    ):
        assert client.request('POST', '/login', {'user': 'nemo'}).data == b'/home'
        assert (server.requests[-1].method, sent(server)) == ('GET', 'a=1')
        assert server.accepted == 1
        assert client.request('GET', '/away').data == b'/back'
        assert [sent(server, index) for index in (-3, -2)] == ['a=1', None]
        assert set(str(sent(server)).split('; ')) == {'a=1', 'c=3'}
        assert client.request('GET', '/away', headers={'Cookie': 'own=1'}).data == b'/back'
        assert [sent(server, index) for index in (-3, -2)] == ['own=1', 'd=4']
        assert set(str(sent(server)).split('; ')) == {'a=1', 'c=3'}


def test_secure_cookies_over_redirects(authority: kit.Authority) -> None:
    """A Secure cookie is sent where a redirect leads to https, and not where it leads to http."""

    def on(*_: Any) -> tuple[int, Any, Any]:
        return 302, {'Location': f'http://127.0.0.1:{plain.port}/', 'Set-Cookie': 'a=1; Secure'}, ''

    with (
        serve(setting) as plain,
        serve(on, tls=authority.server()) as secure,
        client_of(secure, redirect=True, ca_certs=authority.ca_certs) as (client, jar),
    ):
        for _ in range(2):
            assert client.request('GET', '/').status == 200
            assert sent(plain) is None
        assert sent(secure) == 'a=1'


def test_over_retries() -> None:
    """Each try takes what the jar has by then: a 503 may set what the next try is let in with."""
    with (
        FaultServer([READ, said('Set-Cookie: a=1', status='503 Busy')]) as server,
        client_of(server, retries=urllib3.Retry(1, status_forcelist=[503])) as (client, jar),
    ):
        assert client.request('GET', '/000001').attempts == 2
        assert [sent(server, 0), sent(server, 1)] == [None, 'a=1']


def test_with_authenticators() -> None:
    """Cookies go beside what an authenticator adds, of whatever kind it is."""

    def blocking(request: Request) -> Request:
        gevent.sleep(0)
        return request.replace(headers={**request.headers, 'Authorization': 'of-cookies'})

    def at_hand(request: Request) -> Request:
        hubs.append(gevent.getcurrent() is gevent.get_hub())
        return request.replace(headers={**request.headers, 'Authorization': 'of-cookies'})

    at_hand.blocking = False  # type: ignore[attr-defined]
    hubs: list[bool] = []
    for authenticator in (LoginAuthenticator('root', 'toor'), TokenIdentifier('of-cookies'), blocking, at_hand):
        with serve(setting) as server, client_of(server, authenticator) as (client, _):
            for how in (sets('a=1'), {}, {'headers': {'X-Own': 'b'}}):
                client.request('GET', '/', **how)
            assert [sent(server, index) for index in range(3)] == [None, 'a=1', 'a=1']
            for request in server.requests:
                assert 'authorization' in request.headers or 'token=of-cookies' in request.path
                assert request.raw.lower().count(b'\r\nauthorization:') < 2
            assert server.requests[2].headers['x-own'] == 'b'
            if isinstance(authenticator, LoginAuthenticator):
                nonces = {request.headers['authorization'].split('&')[1] for request in server.requests}
                assert len(nonces) == 3


def test_hooks_come_after_the_cookies() -> None:
    """`on_response` and `on_error` find the answer's cookies in the jar."""
    seen: list[Any] = []
    jar = CookieJar()

    def note(outcome: Any) -> None:
        seen.append((outcome.status, dict(kept(jar))))

    with serve(setting) as server, client_of(server, jar=jar, on_response=note, on_error=note) as (client, _):
        client.request('GET', '/', **sets('a=1'))
        failure(client, 'GET', '/404', **sets('b=2'))
        wait_until(lambda: len(seen) == 2)
        assert seen == [(200, {'a': '1'}), (404, {'a': '1', 'b': '2'})]


def test_a_thousand_at_once() -> None:
    """A thousand requests over many hosts share a jar, and each host gets its own back."""
    jar = CookieJar()
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(setting)) for _ in range(10)]
        names = {f'h{number}.example': server for number, server in enumerate(servers)}
        pool = stack.enter_context(ClientPool(cookies=jar, resolver=lambda host, port: [address(names[host].port)]))
        for round in range(50):
            for name in names:
                pool.request(name, 'GET', f'/{round}', **sets(f'{name[:2]}r{round}=1'))
        assert all(answer.status == 200 for answer in pool.wait(timeout=20))
        assert len(jar) == 500
        for round in range(50):
            for name in names:
                pool.request(name, 'GET', f'/{round}')
        assert all(answer.status == 200 for answer in pool.wait(timeout=20))
        for name, server in names.items():
            for request in server.requests[50:]:
                assert set(request.headers['cookie'].split('; ')) == {f'{name[:2]}r{round}=1' for round in range(50)}


# Jars that block, or fail --------------------------------------------------------------------------------------------


class SlowJar(LWPCookieJar):
    """Waits on gevent, as one does that keeps its cookies on a network."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.slow = slow
        self.open = Event()
        self.inside = 0
        self.killed = 0

    def _wait(self, where: str) -> None:
        if where == self.slow:
            self.inside += 1
            try:
                self.open.wait()
            except gevent.GreenletExit:
                self.killed += 1
                raise
            finally:
                self.inside -= 1

    def add_cookie_header(self, request: Any) -> None:
        """When a request is about to be sent."""
        self._wait('add')
        super().add_cookie_header(request)

    def extract_cookies(self, response: Any, request: Any) -> None:
        """When an answer is there."""
        self._wait('extract')
        super().extract_cookies(response, request)


SLOW = ['add', 'extract']


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('slow', SLOW)
def test_a_jar_that_blocks(slow: str, stream: bool) -> None:
    """A jar that takes its time holds its request and nothing else: while an answer's cookies are kept, no slot."""
    jar = SlowJar(slow)
    with (
        serve(setting) as server,
        serve(setting) as other,
        client_of(server, jar=jar) as (client, _),
        Client(other.host, timeout=2) as bystander,
    ):
        pending = client.submit('GET', '/', stream=stream, **sets('a=1'))
        wait_until(lambda: jar.inside)
        assert bystander.request('GET', '/').status == 200
        if slow == 'extract' and not stream:
            assert slots(client) == (1, 0)
            assert client.request('GET', '/', timeout=20).status == 200  # over the connection that is free
        assert not pending.ready()
        jar.open.set()
        assert pending.get(timeout=20).data == b'ok'
        assert kept(jar) == {'a': '1'}
        assert server.accepted == 1


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('end', ['cancel', 'total', 'wait', 'close'])
@pytest.mark.parametrize('slow', SLOW)
def test_ended_while_the_jar_blocks(slow: str, end: str, stream: bool) -> None:
    """A request can be ended while its jar blocks: at once, by whatever ends requests; the jar's greenlet is killed."""
    jar = SlowJar(slow)
    with serve(setting) as server, ClientPool(simultaneous=1, cookies=jar) as pool:
        pending = pool.request(
            server.host, 'GET', '/', stream=stream, timeout=0.1 if end == 'total' else None, **sets('a=1')
        )
        wait_until(lambda: jar.inside)
        late = QueueTimeout if slow == 'add' else DeadlineExceeded
        match end:
            case 'cancel':
                pending.cancel()
                assert isinstance(pending.exception, Cancelled)
            case 'total':
                gevent.wait([pending], timeout=10)
                assert isinstance(pending.exception, late)
            case 'wait':
                (found,) = pool.wait(timeout=0.01)
                assert isinstance(found, late)
            case 'close':
                pool.close()
                assert isinstance(pending.exception, Cancelled)
        wait_until(lambda: jar.killed == 1)
        wait_until(lambda: pool.stats()[server.host] | {'queued': 0, 'in_flight': 0} == pool.stats()[server.host])
        jar.slow = ''
        if end != 'close':
            assert pool.request(server.host, 'GET', '/').get(timeout=20).status == 200
        assert kept(jar) == {}


def test_killed_caller_while_the_jar_blocks() -> None:
    """Who is killed in `request` while the jar blocks cancels it."""
    for slow in SLOW:
        jar = SlowJar(slow)
        with serve(setting) as server, client_of(server, jar=jar) as (client, _):
            caller = gevent.spawn(client.request, 'GET', '/', **sets('a=1'))
            wait_until(lambda jar=jar: jar.inside)
            caller.kill()
            wait_until(lambda jar=jar: jar.killed)
            assert slots(client) == (0, 0)


def test_closed_by_the_server_while_the_jar_blocks() -> None:
    """A connection that ends while the jar is asked costs another one, and no request."""
    jar = SlowJar('')
    with serve(setting) as server, client_of(server, jar=jar) as (client, _):
        client.request('GET', '/')
        jar.slow = 'add'
        pending = client.submit('GET', '/')
        wait_until(lambda: jar.inside)
        server.peers[0].close()
        wait_until(lambda: jar.killed)
        jar.open.set()
        assert pending.get(timeout=20).status == 200
        assert (server.accepted, len(server.requests)) == (2, 2)


def test_a_jar_whose_lock_is_taken() -> None:
    """A lock that the jar waits for, held by a greenlet of the caller's, holds up nobody else."""

    class Locked(CookieJar):
        lock = gevent.lock.RLock()

        def add_cookie_header(self, request: Any) -> None:
            """Under the lock."""
            with self.lock:
                super().add_cookie_header(request)

    jar = Locked()
    with serve(setting) as server, client_of(server, jar=jar) as (client, _), Client(server.host) as other:
        with jar.lock:
            pending = client.submit('GET', '/')
            assert other.request('GET', '/').status == 200
            assert not pending.ready()
        assert pending.get(timeout=20).status == 200


RAISED: list[Callable[[], BaseException]] = [
    lambda: OSError('disk full'),
    lambda: gevent.Timeout(1),
    gevent.GreenletExit,
    lambda: RemoteError('its own'),
]


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('where', SLOW)
def test_a_jar_that_raises(where: str, stream: bool) -> None:
    """What a jar raises is the cause of a typed error, which names the jar; the slot is back."""

    class Broken(CookieJar):
        def add_cookie_header(self, request: Any) -> None:
            """Raise, if it is here."""
            if where == 'add' and raised is not None:
                raise raised
            super().add_cookie_header(request)

        def extract_cookies(self, response: Any, request: Any) -> None:
            """Raise, if it is here."""
            if where == 'extract' and raised is not None:
                raise raised
            super().extract_cookies(response, request)

    raised: BaseException | None
    errors = []
    with serve(setting) as server, client_of(server, jar=Broken()) as (client, _):
        for make in RAISED:
            raised = make()
            pending = client.submit('GET', '/', stream=stream, timeout=2, **sets('a=1'))
            gevent.wait([pending], timeout=10)
            error: Any = pending.exception
            assert type(error) is HTTPError, raised
            errors.append(error)  # a body that nobody will read is not kept by whoever keeps the error
            assert 'the cookie jar failed' in str(error)
            assert error.__cause__ is raised
            assert (error.status, error.phase) == ((None, 'authenticate') if where == 'add' else (200, 'read'))
            raised = None
            assert client.request('GET', '/', timeout=20).status == 200
            assert slots(client) == (0, 0)
        assert isinstance(client.request('GET', '/'), Response)
