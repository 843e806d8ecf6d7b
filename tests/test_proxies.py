"""Proxies: what goes over the wire to them, what of theirs is whose fault, and that nothing is left behind."""

from __future__ import annotations

import base64
import gc
import logging
import ssl
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import gevent.subprocess
import pytest
import urllib3
from gevent import socket
from gevent.event import Event

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    NameResolutionError,
    ProxyError,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Response,
    TLSError,
    TruncatedBody,
)
from napixclient._http.connect.proxies import NoProxy, proxy_of
from napixclient.messages import parse_origin
from tests import kit
from tests.helpers_pool import Names, address, failure
from tests.helpers_proxy import TLSFront, Tunnel, connected, join, on_some_port, path_of
from tests.kit import ANSWER, CLOSE, FIN, READ, RST, SILENCE, FaultServer, Forever, Gate, serve, wait_until

SECRET = 'hunter2'
#: For where somebody is mute.
SHORT = urllib3.Timeout(connect=0.25, read=0.25)


# The options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('http://proxy.example:3128', ('http', 'proxy.example', 3128, None)),
        ('http://proxy.example', ('http', 'proxy.example', 80, None)),
        ('HTTP://Proxy.Example:80/', ('http', 'proxy.example', 80, None)),
        ('https://proxy.example', ('https', 'proxy.example', 443, None)),
        ('socks5://10.0.0.1', ('socks5', '10.0.0.1', 1080, None)),
        ('socks5h://[::1]:80', ('socks5h', '::1', 80, None)),
        ('socks5h://[::1]', ('socks5h', '::1', 1080, None)),
        ('http://user:pw@proxy.example', ('http', 'proxy.example', 80, (b'user', b'pw'))),
        ('http://user@proxy.example', ('http', 'proxy.example', 80, (b'user', b''))),
        ('http://u%40b:p%3A%2f%25@proxy.example', ('http', 'proxy.example', 80, (b'u@b', b'p:/%'))),
        ('http://us@er:p:w@proxy.example', ('http', 'proxy.example', 80, (b'us@er', b'p:w'))),
        ('http://ü:%C3%BC@proxy.example', ('http', 'proxy.example', 80, (b'\xc3\xbc', b'\xc3\xbc'))),
    ],
)
def test_proxy_urls(text: str, expected: Any) -> None:
    """A proxy is a URL with credentials, percent-decoded; the port is the scheme's own where none is given."""
    proxy = proxy_of(text)
    assert proxy is not None
    assert (proxy.scheme, proxy.host, proxy.port, proxy.credentials) == expected


@pytest.mark.parametrize(
    'value',
    [
        5,
        b'http://proxy',
        object(),
        '',
        'proxy.example',
        'proxy.example:3128',
        f'user:{SECRET}@proxy.example:3128',
        f'ftp://user:{SECRET}@proxy',
        f'socks4://user:{SECRET}@proxy',
        f'socks://user:{SECRET}@proxy',
        'http://',
        'http:///',
        f'http://user:{SECRET}',
        f'http://user:{SECRET}@',
        f'http://user:{SECRET}@proxy:0',
        f'http://user:{SECRET}@proxy:65536',
        f'http://user:{SECRET}@proxy:x',
        f'http://user:{SECRET}@proxy/path',
        f'http://user:{SECRET}@proxy?q',
        f'http://user:{SECRET}@proxy#f',
        f'http://user:{SECRET}@pro xy',
        f'http://user:{SECRET}@proxy\r\nX: y',
        f'http://us er:{SECRET}@proxy',
        f'http://user:{SECRET}\r\n@proxy',
        f'http://user:{SECRET}%0d%0aX@proxy',
        f'http://user:{SECRET}%00@proxy',
        f'http://user%0A:{SECRET}@proxy',
        f'http://us%3Aer:{SECRET}@proxy',
        f'http://user:{SECRET}/@proxy',
        f'http://evil/{SECRET}@proxy',
        f'socks5://:{SECRET}@proxy',
        f'socks5://user:{SECRET * 40}@proxy',
        f'socks5://{"u" * 256}:{SECRET}@proxy',
    ],
)
def test_not_a_proxy(value: Any) -> None:
    """Anything else is a ValueError that says what is expected and never repeats a password."""
    for make in (ClientPool, lambda **options: Client('server.example', **options)):
        with pytest.raises(ValueError, match='proxy') as caught:
            make(proxy=value)
        assert SECRET not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


COVERED = [
    ('*', 'anything.example', True),
    ('', 'anything.example', False),
    (None, 'anything.example', False),
    ('server.example', 'server.example', True),
    ('server.example', 'SERVER.example', True),
    ('server.example', 'a.server.example', True),
    ('server.example', 'myserver.example', False),
    ('server.example', 'server.example.org', False),
    ('.server.example', 'a.b.server.example', True),
    ('.server.example', 'server.example', True),
    ('*.server.example', 'a.server.example', True),
    ('Server.Example.', 'server.example', True),
    ('other, server.example ,', 'server.example', True),
    ('server.example:8080', 'server.example:8080', True),
    ('server.example:8080', 'server.example', False),
    ('server.example:443', 'https://server.example', True),
    ('server.example:443', 'server.example', False),
    ('10.0.0.0/8', '10.1.2.3', True),
    ('10.0.0.0/8', '11.1.2.3', False),
    ('10.0.0.0/8', '10.example', False),
    ('10.0.0.1', '10.0.0.1', True),
    ('10.0.0.1', '10.0.0.10', False),
    ('0.0.1', '10.0.0.1', False),
    ('10.0.0.1:80', '10.0.0.1', True),
    ('10.0.0.1:81', '10.0.0.1', False),
    ('10.0.0.1/8', '10.9.9.9', True),
    ('::1', '[::1]:80', True),
    ('[::1]', '[::1]:8080', True),
    ('[::1]:80', '[::1]:8080', False),
    ('fd00::/8', '[fd12::1]', True),
    ('fd00::/8', '[fe80::1]', False),
    ('fe80::/10', '[fe80::1%25lo]', True),
    ('::/0', '10.0.0.1', False),
    ('0.0.0.0/0', '[::1]', False),
    (['10.0.0.0/8', 'a.example'], 'a.example', True),
    (('a.example',), 'b.example', False),
    ({'a.example'}, 'a.example', True),
    ([], 'a.example', False),
]


@pytest.mark.parametrize(('value', 'host', 'covered'), COVERED)
def test_no_proxy(value: Any, host: str, covered: bool) -> None:
    """``no_proxy`` names hosts (and what is below them), addresses, networks, with a port or without, or everything."""
    assert NoProxy(value).covers(parse_origin(host)) is covered


@pytest.mark.parametrize(
    'value',
    [
        5,
        object(),
        {'a': 'b'},
        b'host',
        [5],
        [None],
        [''],
        'a b',
        'http://host',
        'host/path',
        '10.0.0.0/33',
        '10.0.0.0/x',
        'fd00::/129',
        '[::1',
        '::1]',
        'host:0',
        'host:65536',
        'host:port',
        'us@er',
        'a..b',
        '.',
        '*:80',
        '**',
        'a*b',
        'h\xf6st',
        'a\nb',
        'a\0b',
        ':80',
        '10.0.0.0/8:80',
    ],
)
def test_not_a_no_proxy(value: Any) -> None:
    """Anything else is a ValueError that names the entry."""
    for make in (ClientPool, lambda **options: Client('server.example', **options)):
        with pytest.raises(ValueError, match='no_proxy'):
            make(no_proxy=value)


def test_socks_without_socksio() -> None:
    """Without its package a SOCKS proxy is a ValueError that says what to install; nothing else needs it."""
    done = kit.run_program("""
import sys
sys.modules['socksio'] = None
from napixclient import Client
Client('host', proxy='http://proxy')
for scheme in 'socks5', 'socks5h':
    try:
        Client('host', proxy=f'{scheme}://proxy')
    except ValueError as exc:
        print(exc)
""")
    assert (done.code, done.err) == (0, '')
    assert done.out.count("pip install 'napixclient[socks]'") == 2


# Real proxies --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=['open', 'closed'])
def tinyproxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real tinyproxy, that wants credentials or not: its port, and what stands before it in a URL."""
    program, directory = path_of('tinyproxy'), tmp_path_factory.mktemp('tinyproxy')
    user = '' if request.param == 'open' else f'user:{SECRET}@'

    def command(port: int) -> list[str]:
        (directory / 'conf').write_text(
            f'Port {port}\nListen 127.0.0.1\nTimeout 30\nLogLevel Critical\nLogFile "{directory}/log"\n'
            + (f'BasicAuth user {SECRET}\n' if user else '')
        )
        return [program, '-d', '-c', str(directory / 'conf')]

    with on_some_port(command) as port:
        yield port, user


@pytest.fixture(scope='module', params=['open', 'closed'])
def microsocks(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A real microsocks, that wants credentials or not: its port, and what stands before it in a URL."""
    program = path_of('microsocks')
    secret = [] if request.param == 'open' else ['-u', 'user', '-P', SECRET]
    with on_some_port(lambda port: [program, '-i', '127.0.0.1', '-p', str(port), *secret]) as port:
        yield port, f'user:{SECRET}@' if secret else ''


LARGE = bytes(range(256)) * 4000


def large(method: str, path: str, headers: Any, body: bytes) -> Any:
    """Give back what was sent, or something large."""
    return (
        (200, {'Content-Type': 'application/octet-stream'}, body or LARGE)
        if 'large' in path
        else kit.echo(method, path, headers, body)
    )


def assert_carries(client: Client) -> None:
    """Requests of all kinds come through."""
    assert client.request('GET', '/000001?a=b').data == b'000001'
    for _ in range(3):  # not to be sent once more, whatever becomes of the connection
        assert client.request('POST', '/large', b'abc').data == b'abc'
        assert client.request('GET', '/000001', retries=False).status == 200
    pendings = [client.submit('GET', f'/{n:06}') for n in range(30)]
    gevent.wait(pendings)
    assert [pending.get().data for pending in pendings] == [b'%06d' % n for n in range(30)]
    assert client.request('POST', '/large', LARGE[:300_000]).data == LARGE[:300_000]
    assert client.request('POST', '/large', iter([LARGE[:100_000]] * 3)).data == LARGE[:100_000] * 3
    with client.request('GET', '/large', stream=True) as streamed:
        assert b''.join(streamed.iter_bytes(10_000)) == LARGE
    assert client.request('HEAD', '/000002').data == b''


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_through_tinyproxy(scheme: str, tls_to: bool, tinyproxy: Any, authority: kit.Authority) -> None:
    """Requests to http and https origins come through a real proxy, over TCP and over TLS, with credentials."""
    port, user = tinyproxy
    with ExitStack() as stack:
        server = stack.enter_context(serve(large, tls=authority.server() if scheme == 'https' else None))
        if tls_to:
            port = stack.enter_context(TLSFront(port, authority.server())).port
        proxy = f'http{"s" if tls_to else ""}://{user}127.0.0.1:{port}'
        with Client(server.host, proxy=proxy, ca_certs=authority.ca_certs, timeout=10) as client:
            assert_carries(client)
        assert all('proxy-authorization' not in request.headers for request in server.requests)
        assert server.requests[0].path == '/000001?a=b'
        if scheme == 'https':
            assert server.accepted <= 2  # connections are kept; this proxy keeps none to http origins


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_tinyproxy_refuses(scheme: str, tinyproxy: Any, authority: kit.Authority) -> None:
    """Without the credentials that it wants, and where it cannot reach the origin, a real proxy's refusal is told."""
    port, user = tinyproxy
    tls = authority.server() if scheme == 'https' else None
    with serve(tls=tls) as server, FaultServer(listening=False, tls=tls) as dead:
        if user:
            with Client(server.host, proxy=f'http://127.0.0.1:{port}', timeout=10) as client:
                error = failure(client, 'GET', '/000001')
                assert isinstance(error, ProxyError) and '407' in error.message
                assert error.status == 407 and '407' in error.remote_error
                assert error.response is not None and 'proxy-authenticate' in error.response.headers
            with Client(server.host, proxy=f'http://user:wrong@127.0.0.1:{port}', timeout=10) as client:
                error = failure(client, 'GET', '/000001')  # which it answers as an origin would
                assert isinstance(error, ProxyError) and error.status == 401
                assert f'the proxy http://127.0.0.1:{port}' in error.message and 'wrong' not in str(error)
            assert not server.requests
        with Client(dead.host, proxy=f'http://{user}127.0.0.1:{port}', timeout=10) as client:
            error = failure(client, 'GET', '/000001')
            assert '500' in error.message and error.status == 500
            assert isinstance(error, ProxyError if scheme == 'https' else RemoteError)
            assert f'the proxy http://127.0.0.1:{port}' in error.message


@pytest.mark.parametrize('names', ['socks5', 'socks5h'])
@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_through_microsocks(scheme: str, names: str, microsocks: Any, authority: kit.Authority) -> None:
    """Requests come through a real SOCKS proxy; ``socks5`` looks names up here, ``socks5h`` has the proxy do it."""
    port, user = microsocks
    with serve(large, tls=authority.server() if scheme == 'https' else None) as server:
        asked: list[str] = []

        def resolver(host: str, port: int) -> Any:
            asked.append(host)
            return [address(server.port)]

        options: dict[str, Any] = {
            'proxy': f'{names}://{user}127.0.0.1:{port}',
            'ca_certs': authority.ca_certs,
            'timeout': 10,
            'resolver': resolver,
        }
        with Client(f'{scheme}://localhost:{server.port}', **options) as client:
            assert_carries(client)
            assert asked == (['localhost'] if names == 'socks5' else [])
            assert server.accepted <= 2
        with Client(server.host, **options) as client:
            assert client.request('GET', '/000001').status == 200
    with serve(address='::1') as server, Client(server.host, **options) as client:
        assert client.request('GET', '/000001').status == 200


@pytest.mark.usefixtures('oracle')
def test_microsocks_refuses(microsocks: Any) -> None:
    """What a real SOCKS proxy cannot reach is a ConnectError of the origin's; wrong credentials are the proxy's."""
    port, user = microsocks
    with FaultServer(listening=False) as dead, serve() as server:
        with Client(dead.host, proxy=f'socks5://{user}127.0.0.1:{port}', timeout=10) as client:
            assert type(failure(client, 'GET', '/')) is RefusedError
        with Client('no-such-name.invalid', proxy=f'socks5h://{user}127.0.0.1:{port}', timeout=10) as client:
            assert type(failure(client, 'GET', '/')) is ConnectError
        if user:
            for wrong in ('', 'user:wrong@'):
                with Client(server.host, proxy=f'socks5://{wrong}127.0.0.1:{port}', timeout=10) as client:
                    assert type(failure(client, 'GET', '/')) is ProxyError
        assert not server.requests


# HTTP proxies that are sent the requests -----------------------------------------------------------------------------


@pytest.mark.usefixtures('oracle')
def test_absolute_form() -> None:
    """An http origin's requests go to the proxy in absolute form, credentials with each, over one connection (§3.2.2)."""
    with serve() as proxy, Client('server.example:8002', proxy=f'http://us%40er:p%3Aw@{proxy.authority}') as client:
        client.request('GET', '/000001?a=b')
        client.request('OPTIONS', '*')
        client.request('POST', '/000002', {'a': 1}, headers={'X-A': 'b'})
        client.request('POST', '/000003', iter([b'abc']))
        client.request('PUT', '/000004', b'x' * 100_000)
        assert proxy.accepted == 1
        lines = [request.raw.partition(b'\r\n')[0] for request in proxy.requests]
        assert lines == [
            b'GET http://server.example:8002/000001?a=b HTTP/1.1',
            b'OPTIONS http://server.example:8002 HTTP/1.1',
            b'POST http://server.example:8002/000002 HTTP/1.1',
            b'POST http://server.example:8002/000003 HTTP/1.1',
            b'PUT http://server.example:8002/000004 HTTP/1.1',
        ]
        for request in proxy.requests:
            assert request.headers['host'] == 'server.example:8002'
            assert request.headers.getlist('proxy-authorization') == [
                'Basic ' + base64.b64encode(b'us@er:p:w').decode()
            ]
        assert (proxy.requests[2].body, proxy.requests[3].body) == (b'{"a":1}', b'abc')
        assert len(proxy.requests[4].body) == 100_000
        assert client.request('GET', '/000001').url == 'http://server.example:8002/000001'


@pytest.mark.usefixtures('oracle')
def test_signed_through_a_proxy() -> None:
    """A signature is over the path that the server will see, with every kind of authenticator."""
    with serve() as proxy:
        for headers in (None, {'X-A': 'b'}):
            with Client('server.example', {'login': 'root', 'key': 'toor'}, proxy=proxy.url) as client:
                client.request('GET', '/000001?a=b', headers=headers)
            signed = proxy.requests[-1].headers['authorization']
            assert 'path=%2F000001%3Fa%3Db' in signed and 'host=server.example&' in f'{signed.rpartition(":")[0]}&'
            assert proxy.requests[-1].path == 'http://server.example/000001?a=b'


@pytest.mark.parametrize('simultaneous', [1, 3])
@pytest.mark.usefixtures('oracle')
def test_a_proxy_that_closes_and_does_not_say_so(simultaneous: int) -> None:
    """Where each answer is the last one of its connection, nothing fails and nothing arrives twice, POST included."""
    with (
        FaultServer(*[[READ, ANSWER, CLOSE]] * 200) as proxy,
        ClientPool(simultaneous=simultaneous, proxy=proxy.url) as pool,
    ):
        for round in range(3):
            for n in range(20):
                pool.request('server.example', 'POST' if n % 2 else 'GET', f'/{round * 100 + n:06}')
            assert [answer.data for answer in pool.wait(timeout=5)] == [b'%06d' % (round * 100 + n) for n in range(20)]
        assert len(proxy.requests) == 60
    with serve() as proxy, Client('server.example', proxy=proxy.url) as client:
        for method in ('POST', 'POST', 'GET', 'GET', 'POST', 'POST'):
            assert client.request(method, '/000001').status == 200
        assert proxy.accepted <= 3  # once it has kept a connection, connections are kept


@pytest.mark.usefixtures('oracle')
def test_hosts_of_one_proxy() -> None:
    """Each origin has its own connections and cap, though all lead to the same proxy."""
    gate = Gate()
    with serve(gate=gate) as proxy, ClientPool(simultaneous=1, proxy=proxy.url) as pool:
        for host in ('a.example', 'b.example'):
            for _ in range(2):
                pool.request(host, 'GET', '/000001')
        gate.wait_for(2)
        assert proxy.accepted == 2
        assert sorted(request.headers['host'] for request in proxy.requests) == ['a.example', 'b.example']
        gate.open()
        assert [answer.status for answer in pool.wait(timeout=5)] == [200] * 4


@pytest.mark.usefixtures('oracle')
def test_straight_where_no_proxy_says_so() -> None:
    """What ``no_proxy`` covers is reached straight, in origin form and without the proxy's credentials."""
    with (
        serve() as proxy,
        serve() as server,
        ClientPool(
            proxy=f'http://user:pw@{proxy.authority}',
            no_proxy='localhost,127.0.0.0/8',
            resolver=Names(localhost=server),
        ) as pool,
    ):
        for host in (server.host, f'localhost:{server.port}', 'other.example'):
            assert pool.request(host, 'GET', '/000001').get(timeout=5).status == 200
        assert [request.path for request in server.requests] == ['/000001'] * 2
        assert all('proxy-authorization' not in request.headers for request in server.requests)
        assert [request.path for request in proxy.requests] == ['http://other.example/000001']


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.usefixtures('oracle')
def test_407(stream: bool, authority: kit.Authority) -> None:
    """A proxy's 407 is a ProxyError with the answer; an origin's own is an answer like any other."""

    def closed(*_: object) -> Any:
        return 407, {'Proxy-Authenticate': 'Basic realm="x"', 'Content-Type': 'text/plain'}, 'who are you'

    with serve(closed) as proxy, Client('server.example', proxy=proxy.url) as client:
        error = failure(client, 'GET', '/000001', stream=stream)
        assert type(error) is ProxyError
        assert (error.status, error.phase, error.attempts) == (407, 'read', 1)
        assert error.response is not None and error.response.headers['proxy-authenticate'] == 'Basic realm="x"'
        assert error.message == error.remote_error == '"407 Proxy Authentication Required" who are you'
    with (
        serve(closed, tls=authority.server()) as server,
        Tunnel() as tunnel,
        Client(server.host, proxy=tunnel.url, ca_certs=authority.ca_certs) as client,
    ):
        assert type(failure(client, 'GET', '/000001', stream=stream)) is RemoteError
    with serve(closed) as server, Client(server.host) as client:
        assert type(failure(client, 'GET', '/000001', stream=stream)) is RemoteError


@pytest.mark.usefixtures('oracle')
def test_redirected_through_a_proxy() -> None:
    """A redirect to another origin goes through the proxy too: its credentials are the proxy's, not the origin's."""

    def moved(method: str, path: str, *_: object) -> Any:
        return (302, {'Location': 'http://b.example/000002'}, None) if '//a.' in path else (200, None, 'here')

    with (
        serve(moved) as proxy,
        Client(
            'a.example',
            lambda request: request.replace(headers={'Authorization': 'x'}),
            proxy=f'http://user:pw@{proxy.authority}',
            redirect=True,
        ) as client,
    ):
        assert client.request('GET', '/000001').text == 'here'
    first, second = proxy.requests
    assert (first.path, second.path) == ('http://a.example/000001', 'http://b.example/000002')
    assert first.headers['proxy-authorization'] == second.headers['proxy-authorization']
    assert 'authorization' in first.headers and 'authorization' not in second.headers


# Tunnels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('host', ['https://server.example', 'https://server.example:8443', 'https://[::1]:8443'])
@pytest.mark.usefixtures('oracle')
def test_what_is_sent_for_a_tunnel(host: str) -> None:
    """The proxy is asked for host and port, with the credentials, and is told nothing else (RFC 9110 §9.3.6)."""
    with FaultServer([READ, CLOSE]) as proxy, Client(host, proxy=f'http://user:pw@{proxy.authority}') as client:
        failure(client, 'GET', '/secret', headers={'X-A': 'secret'})
        place = host[8:] if host.count(':') > 1 else f'{host[8:]}:443'
        assert [request.raw for request in proxy.requests] == [
            f'CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n'.encode()
        ]


#: What a proxy says before the tunnel is open.
ESTABLISHED = [
    b'HTTP/1.1 200 Connection established\r\n\r\n',
    b'HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\n',
    b'HTTP/1.1 204 No Content\r\n\r\n',
    b'HTTP/1.1 299 \r\nContent-Length: 100\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nVia: 1.1 a,\r\n\t1.1 b\r\n\r\n',
]


@pytest.mark.parametrize('every', [0, 0.0005])
@pytest.mark.usefixtures('oracle')
def test_any_2xx_is_a_tunnel(every: float, authority: kit.Authority) -> None:
    """Every 2xx opens the tunnel, whatever it says of a body, at once or byte by byte (RFC 9110 §9.3.6)."""

    class Polite(Tunnel):
        """Says it in all ways, in turn."""

        left = list(ESTABLISHED)

        def talk(self, peer: kit.Peer) -> None:
            asked = self.read(peer)
            with connected(int(asked.path.rpartition(':')[2])) as onward:
                said = self.left.pop()
                self.play([kit.Drip(said, every) if every else said], peer)
                join(peer, onward)

    with (
        serve(tls=authority.server()) as server,
        Polite() as proxy,
        Client(server.host, proxy=proxy.url, ca_certs=authority.ca_certs) as client,
    ):
        for _ in ESTABLISHED:
            assert client.request('GET', '/000001', headers={'Connection': 'close'}).data == b'000001'
        assert not proxy.left


class Row(NamedTuple):
    """How a proxy fails to open a tunnel, and a word that the error has about it."""

    what: str
    script: list[Any]
    word: str
    status: int | None = None
    body: bytes = b''


OK, NO = b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 503 No\r\n'
ROWS = [
    Row(
        '403', [READ, b'HTTP/1.1 403 Filtered\r\nContent-Length: 3\r\n\r\nabc', SILENCE], '"403 Filtered"', 403, b'abc'
    ),
    Row('407', [READ, b'HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n', SILENCE], '407 Who are you', 407),
    Row('502', [READ, b'HTTP/1.0 502 Bad Gateway\r\n\r\n', CLOSE], '502 Bad Gateway', 502),
    Row('302', [READ, b'HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n', CLOSE], '302 Found', 302),
    Row('101', [READ, b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', SILENCE], '101'),
    Row('no reason', [READ, b'HTTP/1.1 500 \r\n\r\n', CLOSE], '"500', 500),
    Row('a reason that looks like lines', [READ, b'HTTP/1.1 500 a\tb\x0bc\r\n\r\n', CLOSE], '500', 500),
    Row(
        'a body in chunks',
        [READ, NO + b'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n', SILENCE],
        '503',
        503,
        b'abc',
    ),
    Row('a body to the end', [READ, b'HTTP/1.1 100 Continue\r\n\r\n' + NO + b'\r\nabc', CLOSE], '503', 503, b'abc'),
    Row('half a body', [READ, NO + b'Content-Length: 9\r\n\r\nabc', CLOSE], '503', 503, b'abc'),
    Row('a body and a reset', [READ, NO + b'Content-Length: 9\r\n\r\n', RST], '503', 503),
    Row('a silent body', [READ, NO + b'Content-Length: 9\r\n\r\nabc', SILENCE], '503', 503, b'abc'),
    Row('a body that is none', [READ, NO + b'Transfer-Encoding: chunked\r\n\r\nxyz', SILENCE], '503', 503),
    Row('600', [READ, b'HTTP/1.1 600 Odd\r\n\r\n', CLOSE], '"600 Odd"', 600),
    Row('a fold of no field', [READ, OK + b' X-A: b\r\n\r\n', SILENCE], 'white space'),
    Row('garbage', [READ, b'\x16\x03\x01 what?\r\n\r\n', SILENCE], 'HTTP'),
    Row('another protocol', [b'220 mail.example ESMTP\r\n\r\n', SILENCE], 'HTTP'),
    Row('HTTP/2.0', [READ, b'HTTP/2.0 200 OK\r\n\r\n', SILENCE], 'HTTP'),
    Row('status 099', [READ, b'HTTP/1.1 099 OK\r\n\r\n', SILENCE], 'status 99'),
    Row('NUL', [READ, b'HTTP/1.1 200 O\0K\r\n\r\n', SILENCE], 'NUL'),
    Row('no colon', [READ, OK + b'nonsense\r\n\r\n', SILENCE], 'HTTP'),
    Row('closed at once', [CLOSE], 'reset'),
    Row('closed after the request', [READ, CLOSE], 'closed'),
    Row('closed in the head', [READ, OK + b'X-A: b\r\n', CLOSE], 'closed'),
    Row('reset', [READ, RST], 'reset'),
    Row('reset in the head', [READ, OK, RST], 'reset'),
    Row('surplus', [READ, OK + b'\r\nmore', SILENCE], 'more'),
    Row('silence', [READ, SILENCE], 'within 0.25 s'),
    Row('silence in the head', [READ, OK, SILENCE], 'within 0.25 s'),
    Row('dripping', [READ, kit.Drip(OK + b'X: ' + b'x' * 1000, 0.01)], 'within 0.25 s'),
    Row('endless head', [READ, OK, Forever(b'X-A: ' + b'b' * 8000 + b'\r\n')], 'larger'),
    Row('endless field', [READ, OK + b'X-A: ', Forever(b'b' * 8000)], 'larger'),
    Row('many fields', [READ, OK + b'X: y\r\n' * 5000 + b'\r\n', SILENCE], 'fields'),
    Row('endless 1xx', [READ, Forever(b'HTTP/1.1 100 Continue\r\n\r\n')], '1xx'),
    Row('endless blank lines', [READ, Forever(b'\r\n' * 4000)], 'larger'),
]


@pytest.mark.usefixtures('oracle')
def test_tunnels_that_are_not_opened() -> None:
    """Anything but a 2xx is the proxy's failure, said in its own words; nothing of the request has left."""
    with ExitStack() as stack:
        good = stack.enter_context(serve())
        asked = []
        for row in ROWS:
            proxy = stack.enter_context(FaultServer(row.script))
            # Not verified: to read the system's certificates takes 20 ms for each of these pools.
            pool = stack.enter_context(
                ClientPool(proxy=proxy.url, no_proxy=good.authority, timeout=SHORT, verify=False)
            )
            asked.append((row, proxy, pool.request('https://server.example', 'POST', '/secret', b'secret')))
        for _ in range(20):
            assert pool.request(good.host, 'GET', '/000001').get(timeout=10).status == 200
        gevent.wait([pending for _, _, pending in asked], timeout=20)
        for row, proxy, pending in asked:
            error = pending.exception
            assert type(error) is ProxyError, (row, error)
            assert (error.status, error.phase) == (row.status, 'connect'), row
            assert row.body == (b'' if error.response is None else error.response.data), row
            assert (error.remote_error is None) == (row.status is None), row
            assert row.word in error.message and len(error.message) < 500, (row, error)
            assert '\n' not in str(error) and proxy.url in error.message, (row, error)
            assert all(b'secret' not in request.raw for request in proxy.requests), row


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_a_refusal_that_never_ends(tls_to: bool, authority: kit.Authority) -> None:
    """Of the body of a refusal so much is read as a message may have, also where it is sent without end."""
    with (
        FaultServer([READ, NO + b'\r\n', Forever(b'x' * 8000)], tls=authority.server() if tls_to else None) as proxy,
        Client('https://server.example', proxy=proxy.url, ca_certs=authority.ca_certs, timeout=5) as client,
    ):
        error = failure(client, 'POST', '/secret', b'secret', retries=0)
        assert type(error) is ProxyError and error.response is not None
        assert len(error.response.data) < 200_000 and error.remote_error.startswith('"503 No" xxx')


@pytest.mark.usefixtures('oracle')
def test_a_document_of_a_proxy_s() -> None:
    """A refusal that is a JSON object is read as that of any server is, and the refused request can be tried again."""
    said = (
        b'HTTP/1.1 403 No\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n'
        b'{"error_text": "not on Sundays"}\n'
    )
    with (
        FaultServer(*[[READ, said, CLOSE]] * 3) as proxy,
        Client('https://server.example', proxy=proxy.url, timeout=5) as client,
    ):
        error = failure(client, 'POST', '/secret', b'secret', retries=2)
        assert error.remote_error == {'error_text': 'not on Sundays'}
        assert (error.attempts, error.status, error.root.error_text) == (3, 403, 'not on Sundays')
        assert error.message == f'the proxy {proxy.url} refused the tunnel: "403 No"'


#: What listens where a proxy was expected, and what one hears of it.
STRANGERS: dict[str, list[Any]] = {
    'SSH': [b'SSH-2.0-OpenSSH_9.2\r\n', SILENCE],
    'SMTP': [b'220 mail.example ESMTP\r\n', SILENCE],
    'SOCKS': [READ, b'\x05\xff', CLOSE],
    'TLS': [READ, b'\x15\x03\x01\x00\x02\x02\x16', CLOSE],
    'HTTP/2': [READ, b'\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0d', SILENCE],
    'text': [READ, b'what?\n', CLOSE],
    'closes at once': [CLOSE],
    'closes': [READ, CLOSE],
    'resets': [READ, RST],
}


@pytest.mark.parametrize('host', ['http://server.example', 'https://server.example'])
@pytest.mark.parametrize('what', STRANGERS)
@pytest.mark.usefixtures('oracle')
def test_no_proxy_at_all(what: str, host: str) -> None:
    """What speaks no HTTP is told as the proxy's failure, for every origin; no POST is sent twice for that."""
    with (
        FaultServer(*[STRANGERS[what]] * 4) as stranger,
        Client(host, proxy=stranger.url.replace('//', '//user:hunter2@'), timeout=5) as client,
    ):
        error = failure(client, 'POST', '/secret', b'secret', retries=urllib3.Retry(3, allowed_methods=['GET']))
        assert type(error) is ProxyError and stranger.url in error.message and SECRET not in str(error)
        assert (error.status, error.phase == 'connect') == (None, host.startswith('https'))
        assert error.attempts == (4 if host.startswith('https') else 1)
        assert sum(request.method == 'POST' for request in stranger.requests) <= 1


@pytest.mark.parametrize('host', ['http://server.example', 'https://server.example'])
@pytest.mark.usefixtures('oracle')
def test_a_port_that_wants_tls(host: str, authority: kit.Authority) -> None:
    """A real TLS server where ``http://`` was written is such a stranger."""
    with serve(tls=authority.server()) as server, Client(host, proxy=f'http://{server.authority}', timeout=5) as client:
        assert type(failure(client, 'GET', '/')) is ProxyError
    with Client(host, proxy=f'http://{server.authority}', timeout=5) as client:
        assert type(failure(client, 'GET', '/')) is ProxyError


def test_silence_of_a_proxy() -> None:
    """One that forwards may wait for its origin: its silence is a ReadTimeout that names it."""
    with kit.Mute() as proxy, Client('server.example', proxy=proxy.url, timeout=SHORT) as client:
        error = failure(client, 'GET', '/')
        assert type(error) is ReadTimeout and proxy.url in error.message


SQUID = 'Via: 1.1 host (squid/5.7)'
#: Fields of an answer that came from a proxy; whether it is the proxy's own, or may be.
WHOSE = [
    (403, [], None),
    (403, ['Server: nginx'], None),
    (502, ['Server: nginx', SQUID], None),
    (502, [SQUID], 'perhaps'),
    (502, ['Via: 1.1 host', 'ETag: "x"'], None),
    (503, ['Server: squid/5.7', SQUID], 'own'),
    (503, ['Server: squid/5.7', 'Via: 1.1 origin (squid/5.7), 1.1 host (squid/5.7)'], None),
    (500, ['Server: tinyproxy/1.11.1'], 'own'),
    (500, ['Server: tinyproxy/1.11.1', SQUID], None),
    (504, ['X-Squid-Error: ERR_CONNECT_FAIL 111'], 'own'),
    (502, ['Proxy-Agent: Fortinet'], 'own'),
    (401, ['WWW-Authenticate: Basic realm="x"', SQUID], None),
    (401, ['Server: tinyproxy/1.11.1'], 'ProxyError'),
    (401, ['Proxy-Authenticate: Basic realm="x"'], 'ProxyError'),
    (403, ['Proxy-Authenticate: Basic realm="x"'], 'ProxyError'),
]


@pytest.mark.parametrize(('status', 'fields', 'whose'), WHOSE)
@pytest.mark.usefixtures('oracle')
def test_whose_answer(status: int, fields: list[str], whose: str | None) -> None:
    """An answer that shows to be the proxy's own is said to be; only where it is about credentials, a ProxyError."""
    head = ''.join(f'{field}\r\n' for field in [f'HTTP/1.1 {status} No', *fields, 'Content-Length: 3'])
    with (
        FaultServer([READ, head.encode() + b'\r\nabc', SILENCE]) as proxy,
        Client('server.example', proxy=f'http://user:{SECRET}@{proxy.authority}') as client,
    ):
        error = failure(client, 'GET', '/000001')
        assert type(error) is (ProxyError if whose == 'ProxyError' else RemoteError)
        assert (error.status, error.remote_error) == (status, f'"{status} No" abc')
        assert error.message == f'"{status} No" abc' + {
            None: '',
            'perhaps': f' (by the proxy {proxy.url}, or through it)',
        }.get(whose, f' (by the proxy {proxy.url})')
        assert SECRET not in str(error)
    with FaultServer([READ, head.encode() + b'\r\nabc', SILENCE]) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/000001')  # without a proxy, nobody is blamed
        assert (type(error), error.message) == (RemoteError, f'"{status} No" abc')


@pytest.fixture(scope='module')
def squid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Squid that wants credentials: its port."""
    program, directory = path_of('squid'), tmp_path_factory.mktemp('squid')
    helper = directory / 'auth'
    helper.write_text(
        f'#!/bin/sh\nwhile read line; do case $line in "user {SECRET}"*) echo OK;; *) echo ERR;; esac; done'
    )
    for place in (directory, *directory.parents[:2]):
        place.chmod(0o755)  # it gives up the rights of root
    helper.chmod(0o755)
    logs = directory / 'logs'
    logs.mkdir(mode=0o777)
    logs.chmod(0o777)

    def command(port: int) -> list[str]:
        (directory / 'conf').write_text(
            f'http_port 127.0.0.1:{port}\npid_filename none\ncache_log {logs}/cache.log\naccess_log none\n'
            f'cache deny all\ncoredump_dir {logs}\nauth_param basic program {helper}\n'
            'auth_param basic children 1 startup=1\nacl known proxy_auth REQUIRED\nshutdown_lifetime 0 seconds\n'
            'http_access allow known\nhttp_access deny all\n'
        )
        # A name of its own, or it would share its memory with another of this machine.
        return [program, '-n', f'test{port}', '-N', '-f', str(directory / 'conf')]

    with on_some_port(command) as port:
        yield port


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_squid_refuses(scheme: str, squid: int, authority: kit.Authority) -> None:
    """What Squid says itself is told as its own: wrong credentials, and an origin that cannot be reached."""
    tls = authority.server() if scheme == 'https' else None
    with serve(large, tls=tls) as server, FaultServer(listening=False, tls=tls) as dead:
        good = f'http://user:{SECRET}@127.0.0.1:{squid}'
        with Client(server.host, proxy=good, ca_certs=authority.ca_certs, timeout=10) as client:
            assert_carries(client)
        server.requests.clear()
        for proxy in (good.replace(SECRET, 'wrong'), good.replace(f'user:{SECRET}@', '')):
            with Client(server.host, proxy=proxy, timeout=10) as client:
                error = failure(client, 'GET', '/000001')
                assert type(error) is ProxyError and error.status == 407 and error.response is not None
                assert error.response.headers['x-squid-error'].startswith('ERR_CACHE_ACCESS_DENIED')
                assert 'ERR_CACHE_ACCESS_DENIED' in error.response.text
        assert not server.requests
        with Client(dead.host, proxy=good, timeout=10) as client:
            error = failure(client, 'GET', '/000001')
            assert error.status == 503 and f'the proxy http://127.0.0.1:{squid}' in error.message
            assert type(error) is (RemoteError if scheme == 'http' else ProxyError)
    if scheme == 'http':

        def missing(*_: object) -> Any:
            return 404, {'Server': 'ours'}, 'no'

        with serve(missing) as server, Client(server.host, proxy=good, timeout=10) as client:
            assert failure(client, 'GET', '/000001').message == '"404 Not Found" no'


@pytest.mark.usefixtures('oracle')
def test_a_proxy_that_floods() -> None:
    """A proxy that sends at full speed, in a process of its own, holds nobody: its own requests fail at once."""
    with (
        kit.flood() as flood,
        serve() as good,
        ClientPool(proxy=f'http://{flood}', no_proxy=good.authority, timeout=5) as pool,
    ):
        bad = [
            pool.request(f'https://{kind}.example', 'GET', '/')
            for kind in ('body', 'chunks', 'trailers', 'informational')
            for _ in range(2)
        ]
        for _ in range(50):
            assert pool.request(good.host, 'GET', '/000001').get(timeout=10).status == 200
        gevent.wait(bad, timeout=20)
        # What comes a moment after a good answer to CONNECT is taken for the origin's TLS.
        assert all(isinstance(pending.exception, (ProxyError, TLSError)) for pending in bad)
        assert [type(pending.exception) for pending in bad[-2:]] == [ProxyError] * 2


@pytest.mark.timed
@pytest.mark.usefixtures('oracle')
def test_proxies_that_cannot_be_reached() -> None:
    """A proxy that refuses, hangs or has no address is a ProxyError for every origin; a refused one can be retried."""
    with FaultServer(listening=False) as dead, kit.FullServer() as full, ExitStack() as stack:
        pools = {
            (scheme, place): stack.enter_context(
                ClientPool(proxy=f'{scheme}://{place}', resolver=Names(), timeout=SHORT, verify=False)
            )
            for place in (dead.authority, 'no.such.example', full.authority)
            for scheme in ('http', 'https', 'socks5', 'socks5h')
        }
        began = kit.own_time()
        for pool in pools.values():
            for host in ('http://127.0.0.1:1', 'https://127.0.0.1:1'):
                pool.request(host, 'GET', '/')
        for (scheme, place), pool in pools.items():
            errors = pool.wait()
            assert [type(error) for error in errors] == [ProxyError] * 2, (scheme, place, errors)
            assert all(error.__cause__ is not None for error in errors) or place == full.authority
            assert kit.own_time() - began < kit.limit(1)
        with Client('server.example', proxy=dead.url, retries=2) as client:
            assert failure(client, 'GET', '/').attempts == 3


@pytest.mark.usefixtures('oracle')
def test_a_proxy_with_several_addresses() -> None:
    """The proxy's own name is looked up and raced as any other; a name's look-up that is slow is the proxy's too."""
    never = Event()
    with FaultServer(listening=False) as dead, kit.FullServer() as full, serve() as proxy:

        def resolver(host: str, port: int) -> Any:
            if host == 'slow.example':
                never.wait()
            return [address(dead.port), address(full.port), address(proxy.port)]

        with Client('server.example', proxy='http://proxy.example', resolver=resolver) as client:
            assert client.request('GET', '/000001').status == 200
        soon = urllib3.Timeout(connect=0.3)
        with Client('server.example', proxy='http://slow.example', resolver=resolver, timeout=soon) as client:
            assert type(failure(client, 'GET', '/')) is ProxyError
        with Client('https://slow.example', proxy='socks5://proxy.example', resolver=resolver, timeout=soon) as client:
            assert type(failure(client, 'GET', '/')) is ConnectTimeout
        never.set()


# TLS to the proxy, and TLS inside TLS --------------------------------------------------------------------------------


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_the_proxy_s_certificate(scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """It is verified against the proxy's own name, whatever is asked of the origin's; nothing is said if it is bad."""
    other = kit.Authority(tmp_path)
    host = f'{scheme}://server.example'
    for context, options in (
        (authority.server('other.example'), {'ca_certs': authority.ca_certs}),
        (other.server(), {'ca_certs': authority.ca_certs}),
        (authority.server('other.example'), {'ca_certs': authority.ca_certs, 'assert_hostname': 'other.example'}),
        (authority.server('other.example'), {'ca_certs': authority.ca_certs, 'assert_hostname': False}),
        (authority.server('other.example'), {'ca_certs': authority.ca_certs, 'server_hostname': 'other.example'}),
        (authority.server(), {}),
        (authority.server(), {'ca_certs': authority.ca_certs, 'ssl_minimum_version': ssl.TLSVersion.TLSv1_3}),
    ):
        if 'ssl_minimum_version' in options:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with serve(tls=context) as proxy, Client(host, proxy=proxy.url, timeout=5, **options) as client:
            error = failure(client, 'GET', '/')
            assert type(error) is ProxyError and 'TLS' in error.message, options
            assert not proxy.requests
    with (
        FaultServer([b'HTTP/1.1 400 Bad Request\r\n\r\n', SILENCE]) as plain,
        Client(host, proxy=f'https://{plain.authority}', timeout=5) as client,
    ):
        assert type(failure(client, 'GET', '/')) is ProxyError


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_the_origin_s_certificate(tls_to: bool, authority: kit.Authority) -> None:
    """Through a tunnel the origin's certificate is the origin's affair: a TLSError, and its options work as without."""
    with (
        Tunnel(tls=authority.server() if tls_to else None) as proxy,
        serve(tls=authority.server('other.example')) as server,
    ):
        options: dict[str, Any] = {'ca_certs': authority.ca_certs, 'proxy': proxy.url, 'timeout': 5}
        with Client(server.host, **options) as client:
            assert type(failure(client, 'GET', '/')) is TLSError
        with Client(server.host, **options, assert_fingerprint='00' * 32) as client:
            assert type(failure(client, 'GET', '/')) is TLSError
        assert not server.requests
        for more in (
            {'assert_hostname': 'other.example'},
            {'assert_hostname': False},
            {'server_hostname': 'other.example'},
        ):
            with Client(server.host, **options, **more) as client:
                assert client.request('GET', '/000001').data == b'000001'


@pytest.mark.usefixtures('oracle')
def test_tls_inside_tls(authority: kit.Authority) -> None:
    """All kinds of requests, over connections that are kept, through two layers of TLS."""
    with (
        Tunnel(tls=authority.server()) as proxy,
        serve(large, tls=authority.server()) as server,
        Client(server.host, proxy=proxy.url, ca_certs=authority.ca_certs) as client,
    ):
        assert_carries(client)
        assert server.accepted == proxy.accepted == 2


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
@pytest.mark.parametrize(('end', 'whole'), [(CLOSE, True), (FIN, False), (RST, False)])
@pytest.mark.usefixtures('oracle')
def test_the_end_of_a_body_inside_tls(end: kit.Step, whole: bool, tls_to: bool, authority: kit.Authority) -> None:
    """A body that ends with its connection is whole only where the origin's TLS says goodbye (RFC 9112 §9.8)."""
    with (
        Tunnel(tls=authority.server() if tls_to else None) as proxy,
        FaultServer([READ, OK + b'\r\n', b'part', end], tls=authority.server()) as server,
        Client(server.host, proxy=proxy.url, ca_certs=authority.ca_certs, timeout=5) as client,
    ):
        if whole:
            assert client.request('GET', '/000001').data == b'part'
        else:
            assert type(failure(client, 'GET', '/000001')) is TruncatedBody


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_the_proxy_cuts_a_body_short(scheme: str, authority: kit.Authority) -> None:
    """A proxy that breaks off, however, cannot make half a body look whole."""
    with serve(tls=authority.server(), gate=Gate()) as server:

        class Rude(Tunnel):
            def talk(self, peer: kit.Peer) -> None:
                if scheme == 'http':
                    self.play([READ, OK + b'\r\n', b'part', FIN, SILENCE], peer)
                else:
                    super().talk(peer)

        with (
            Rude(tls=authority.server()) as proxy,
            Client(
                server.host if scheme == 'https' else 'server.example',
                proxy=proxy.url,
                ca_certs=authority.ca_certs,
                timeout=5,
            ) as client,
        ):
            pending = client.submit('GET', '/000001')
            if scheme == 'https':
                (held,) = server.gate.wait_for(1)
                held.release([OK + b'\r\n', b'part', SILENCE])
                gevent.sleep(0.05)
                for peer in list(proxy.peers.values()):
                    peer.close()  # with the goodbye of its own TLS
            gevent.wait([pending], timeout=5)
            assert type(pending.exception) is TruncatedBody


@pytest.mark.usefixtures('oracle')
def test_an_upload_that_nobody_reads_through_tls_inside_tls(authority: kit.Authority) -> None:
    """Where all buffers are full, a cancelled request still leaves nothing behind, and the proxy sees it go."""

    class Deaf(kit.Server):
        def talk(self, peer: kit.Peer) -> None:
            Event().wait()

    with Tunnel(tls=authority.server()) as proxy, Deaf(tls=authority.server()) as server:
        with Client(server.host, proxy=proxy.url, ca_certs=authority.ca_certs) as client:
            pending = client.submit('POST', '/000001', bytes(30_000_000))
            wait_until(lambda: server.peers)
            gevent.sleep(0.2)
            assert not pending.ready()
            pending.cancel()
            assert isinstance(pending.exception, Cancelled)
            wait_until(lambda: proxy.peers[0].is_gone())


def test_idle_tls_inside_tls_keeps_nothing_alive(authority: kit.Authority) -> None:
    """An idle connection of this kind keeps neither the loop nor a forgotten pool alive."""
    with Tunnel(tls=authority.server()) as proxy, serve(tls=authority.server()) as server:
        done = kit.run_program(
            """
import sys, gevent
from napixclient import ClientPool
pool = ClientPool(proxy=sys.argv[1], ca_certs=sys.argv[3])
pool.request(sys.argv[2], 'GET', '/000001')
print(pool.wait())
print(gevent.wait(timeout=5), pool)
""",
            proxy.url,
            server.host,
            authority.ca_certs,
        )
        assert (done.err, done.code) == ('', 0)
        assert done.out.splitlines()[0] == '[<Response 200 OK>]' and done.out.splitlines()[1].startswith('True')
        before = kit.Leaks.now()
        pool = ClientPool(proxy=proxy.url, ca_certs=authority.ca_certs)
        assert pool.request(server.host, 'GET', '/000001').get(timeout=5).status == 200
        forgotten = weakref.ref(pool)
        del pool
        gc.collect()
        assert forgotten() is None
        wait_until(lambda: not proxy.peers and not server.peers)
        before.assert_back()


FORK = """
import os, sys
import gevent
from gevent import select
from napixclient import ClientPool
proxy, host, ca_certs, slow = sys.argv[1:]
reads, writes = os.pipe()
pool = ClientPool(simultaneous=1, proxy=proxy, ca_certs=ca_certs, timeout=20)
print(pool.request(host, 'GET', '/000001').get().data, flush=True)
opening = pool.request(slow, 'GET', '/000009')
gevent.sleep(0.2)
child = os.fork()
if not child:
    print('child', opening.exception.__class__.__name__, flush=True)
    print('child', pool.request(host, 'GET', '/000002').get().data, flush=True)
    select.select([reads], [], [], 10)
    os._exit(0)
for number in range(100, 120):          # while the child's loop turns
    assert pool.request(host, 'GET', f'/{number:06}').get().data == b'%06d' % number
os.write(writes, b'x')
os.waitpid(child, 0)
print('parent', pool.request(host, 'GET', '/000003').get().data, flush=True)
opening.cancel()
pool.close()
"""


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
def test_fork(tls_to: bool, authority: kit.Authority) -> None:
    """After a fork the connections through a proxy are the parent's, those that are being opened too."""

    class Slow(Tunnel):
        def talk(self, peer: kit.Peer) -> None:
            if self.accepted == 2:  # the opening that is under way when the process forks
                return self.play([READ, SILENCE], peer)
            return super().talk(peer)

    with Slow(tls=authority.server() if tls_to else None) as proxy, serve(tls=authority.server()) as server:
        done = kit.run_program(FORK, proxy.url, server.host, authority.ca_certs, 'https://slow.example')
        assert (done.code, done.err) == (0, '')
        assert done.out.splitlines() == ["b'000001'", 'child Cancelled', "child b'000002'", "parent b'000003'"]
        assert server.accepted == 2  # the parent went on with its own connection
        assert proxy.accepted == 3


# SOCKS ---------------------------------------------------------------------------------------------------------------


class Steps(kit.Server):
    """Plays SOCKS: answers each message, of the given length, with the given bytes; then goes on as an HTTP server."""

    def __init__(self, *steps: tuple[int, bytes], end: Callable[[kit.Peer], Any] | None = None) -> None:
        self.steps, self.end = steps, end
        self.heard: list[bytes] = []
        super().__init__()

    def talk(self, peer: kit.Peer) -> None:
        """Play."""
        for size, answer in self.steps:
            heard = b''
            while len(heard) < size:
                data = peer.socket.recv(size - len(heard))
                if not data:
                    return
                heard += data
            self.heard.append(heard)
            for index in range(len(answer)):  # bytes may come one by one
                peer.send(answer[index : index + 1])
        if self.end is not None:
            self.end(peer)
        else:
            super().talk(peer)


#: RFC 1928: no authentication; CONNECT to 127.0.0.1:80; RFC 1929: accepted.
HELLO, WANT, GRANTED = b'\5\1\0', b'\5\1\0\1\x7f\0\0\1\0\x50', b'\5\0\0\1\0\0\0\0\0\0'
NONE, PASSWORD, ACCEPTED = b'\5\0', b'\5\2', b'\1\0'


@pytest.mark.usefixtures('oracle')
def test_what_is_sent_in_socks() -> None:
    """The messages are those of RFC 1928 and RFC 1929, and no byte behind the reply is taken for a part of it."""
    for bound in (b'\1\0\0\0\0\0\0', b'\3\x07example\0\0', b'\3\0\0\0', b'\4' + bytes(18)):
        assert_said_in_socks(bound)


def assert_said_in_socks(bound: bytes) -> None:
    """With this address in the reply."""
    with (
        Steps((3, NONE), (10, b'\5\0\0' + bound)) as proxy,
        Client('127.0.0.1', proxy=f'socks5://{proxy.authority}') as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'
        assert client.request('GET', '/000002').data == b'000002'
        assert proxy.heard == [HELLO, WANT]
        assert proxy.requests[0].path == '/000001'
    user, password = b'\1\4us:r\2p@', b'\5\2\0\2'
    name = b'\5\1\0\3\x0eserver.example\x1f\x42'
    with (
        Steps((4, PASSWORD), (len(user), ACCEPTED), (len(name), b'\5\0\0' + bound)) as proxy,
        Client('server.example:8002', proxy=f'socks5h://us%3Ar:p%40@{proxy.authority}') as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'
        assert proxy.heard == [password, user, name]
    with (
        Steps((3, NONE), (22, b'\5\0\0' + bound)) as proxy,
        Client('[fe80::1%25lo]:80', proxy=f'socks5h://{proxy.authority}') as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'
        assert proxy.heard[1] == b'\5\1\0\4\xfe\x80' + bytes(13) + b'\1\0\x50'


@pytest.mark.usefixtures('oracle')
def test_replies_of_socks() -> None:
    """An origin that cannot be reached is a ConnectError; what the proxy will not or cannot do is a ProxyError."""
    for code, expected in (
        (1, ConnectError),
        (2, ProxyError),
        (3, ConnectError),
        (4, ConnectError),
        (5, RefusedError),
        (6, ConnectError),
        (7, ProxyError),
        (8, ProxyError),
        (9, ProxyError),
        (255, ProxyError),
    ):
        with (
            Steps((3, NONE), (10, bytes([5, code]) + GRANTED[2:])) as proxy,
            Client('127.0.0.1', proxy=f'socks5://{proxy.authority}') as client,
        ):
            error = failure(client, 'GET', '/')
            assert (type(error), error.phase) == (expected, 'connect'), code
            assert proxy.accepted == 1


@pytest.mark.usefixtures('oracle')
def test_socks_proxies_that_break_off() -> None:
    """A SOCKS proxy that closes or falls silent anywhere in the conversation is a ProxyError."""
    conversations: list[list[tuple[int, bytes]]] = [
        [],
        [(3, b'')],
        [(3, b'\5')],
        [(3, NONE), (10, b'')],
        [(3, NONE), (10, b'\5\0\0\1')],
        [(3, NONE), (10, b'\5\0\0\3\xff' + bytes(100))],
        [(3, NONE), (10, GRANTED[:-1])],
    ]
    with ExitStack() as stack:
        asked = []
        for steps in conversations:
            for end in (kit.Peer.drain, kit.Peer.close):
                proxy = stack.enter_context(Steps(*steps, end=end))
                client = stack.enter_context(Client('127.0.0.1', proxy=f'socks5://{proxy.authority}', timeout=SHORT))
                asked.append((steps, end, client.submit('GET', '/')))
        gevent.wait([pending for *_, pending in asked], timeout=20)
        for steps, end, pending in asked:
            assert type(pending.exception) is ProxyError, (steps, end, pending)


@pytest.mark.timed
@pytest.mark.usefixtures('oracle')
def test_socks_proxies_that_refuse_or_talk_nonsense() -> None:
    """Credentials that are not accepted, and what is not SOCKS5, are ProxyErrors at once."""
    for steps in NONSENSE:
        with (
            Steps(*steps, end=kit.Peer.drain) as proxy,
            Client('127.0.0.1', proxy=f'socks5://user:pw@{proxy.authority}', timeout=5) as client,
        ):
            began = kit.own_time()
            assert type(failure(client, 'GET', '/')) is ProxyError, steps
            assert kit.own_time() - began < kit.limit(0.5)
    with (
        Steps((3, PASSWORD), end=kit.Peer.drain) as proxy,
        Client('127.0.0.1', proxy=f'socks5://{proxy.authority}', timeout=5) as client,
    ):
        assert type(failure(client, 'GET', '/')) is ProxyError  # it chose what it was not offered


NONSENSE: list[list[tuple[int, bytes]]] = [
    [(4, b'\5\xff')],
    [(4, b'\5\1')],
    [(4, b'\5\3')],
    [(4, b'\4\0')],
    [(4, b'HT')],
    [(4, PASSWORD), (9, b'\1\1')],
    [(4, PASSWORD), (9, b'\1\xff')],
    [(4, PASSWORD), (9, b'\5\0')],
    [(4, NONE), (10, b'\4\0\0\1' + bytes(6))],
    [(4, NONE), (10, b'\5\0\0\0' + bytes(6))],
    [(4, NONE), (10, b'\5\0\0\2' + bytes(6))],
    [(4, NONE), (10, b'\5\0\0\3\2\xff\xff\0\0')],
    [(4, NONE), (10, b'HTTP/1.1 400 Bad Request\r\n\r\n')],
]


@pytest.mark.usefixtures('oracle')
def test_addresses_through_socks() -> None:
    """All addresses of a name are tried, one after the other; the proxy's own failure ends that."""

    class Choosy(kit.Server):
        """Knows its way to 127.0.0.3 only."""

        asked: list[bytes] = []

        def talk(self, peer: kit.Peer) -> None:
            assert peer.socket.recv(3) == HELLO
            peer.send(NONE)
            head = peer.socket.recv(4)
            where = peer.socket.recv(6 if head[3] == 1 else 18)
            self.asked.append(where)
            if where[:4] != b'\x7f\0\0\3':
                return peer.send(bytes([5, 8 if len(where) > 6 else 5]) + GRANTED[2:])
            peer.send(GRANTED)
            return super().talk(peer)

    six = socket.AF_INET6, 1, 6, '', ('::1', 80, 0, 0)
    with Choosy() as proxy:
        options = {'proxy': f'socks5://{proxy.authority}', 'timeout': 5}
        found = [six, address(80, '127.0.0.1'), address(80, '127.0.0.3')]
        with Client('peer.example', resolver=lambda *_: found, **options) as client:
            assert client.request('GET', '/000001').data == b'000001'
            assert [len(where) for where in proxy.asked] == [18, 6, 6]
        with Client('peer.example', resolver=lambda *_: found[:2], **options) as client:
            assert type(failure(client, 'GET', '/')) is RefusedError
        with Client('peer.example', resolver=Names(), **options) as client:
            assert type(failure(client, 'GET', '/')) is NameResolutionError
        with Client(
            f'{"a" * 63}.{"b" * 63}.{"c" * 63}.{"d" * 63}.example', timeout=5, proxy=f'socks5h://{proxy.authority}'
        ) as client:
            assert type(failure(client, 'GET', '/')) is NameResolutionError


# Ends in the middle --------------------------------------------------------------------------------------------------


class MuteInside(Tunnel):
    """Makes the tunnel, but what is behind it says nothing."""

    def talk(self, peer: kit.Peer) -> None:
        """200, and silence."""
        self.play([READ, b'HTTP/1.1 200 OK\r\n\r\n', SILENCE], peer)


@contextmanager
def stage(name: str, authority: kit.Authority) -> Iterator[tuple[dict[str, Any], str, type[HTTPError]]]:
    """A proxy that falls silent at some point: options, the host to ask, and whose fault the silence is."""
    tls = authority.server()
    origin = 'https://127.0.0.1:9'
    with ExitStack() as stack:
        match name:
            case 'TCP':
                proxy, fault = f'http://{stack.enter_context(kit.FullServer()).authority}', ProxyError
            case 'TLS to the proxy':
                proxy, fault = f'https://{stack.enter_context(kit.Mute()).authority}', ProxyError
            case 'CONNECT':
                proxy, fault = stack.enter_context(kit.Mute()).url, ProxyError
            case 'CONNECT in TLS':
                proxy, fault = stack.enter_context(kit.Mute(tls=tls)).url, ProxyError
            case 'SOCKS':
                proxy, fault = f'socks5://{stack.enter_context(kit.Mute()).authority}', ProxyError
            case 'SOCKS reply':
                server = stack.enter_context(Steps((3, NONE), end=kit.Peer.drain))
                proxy, fault = f'socks5h://{server.authority}', ProxyError
            case 'TLS of the origin':
                proxy, fault = stack.enter_context(MuteInside()).url, ConnectTimeout
            case 'TLS in TLS':
                proxy, fault = stack.enter_context(MuteInside(tls=tls)).url, ConnectTimeout
            case 'TLS through SOCKS':
                server = stack.enter_context(Steps((3, NONE), (10, GRANTED), end=kit.Peer.drain))
                proxy, fault = f'socks5://{server.authority}', ConnectTimeout
        yield {'proxy': proxy, 'ca_certs': authority.ca_certs}, origin, fault


STAGES = [
    'TCP',
    'TLS to the proxy',
    'CONNECT',
    'CONNECT in TLS',
    'SOCKS',
    'SOCKS reply',
    'TLS of the origin',
    'TLS in TLS',
    'TLS through SOCKS',
]


@contextmanager
def stages(authority: kit.Authority, **more: Any) -> Iterator[list[tuple[str, ClientPool, str, type[HTTPError]]]]:
    """All stages: name, a pool whose proxy falls silent there, the host to ask, whose fault it is."""
    with ExitStack() as stack:
        found = []
        for name in STAGES:
            options, host, fault = stack.enter_context(stage(name, authority))
            found.append((name, stack.enter_context(ClientPool(simultaneous=3, **options, **more)), host, fault))
        yield found


@pytest.mark.usefixtures('oracle')
def test_silence(authority: kit.Authority) -> None:
    """When the time to connect is up, it is the fault of whoever was being talked to; all sockets are closed."""
    with stages(authority, timeout=SHORT) as found:
        for _, pool, host, _ in found:
            for _ in range(2):
                pool.request(host, 'GET', '/')
        for name, pool, _, fault in found:
            errors = pool.wait(timeout=20)
            assert [type(error) for error in errors] == [fault] * 2, (name, errors)
            assert all(error.phase == 'connect' and error.status is None for error in errors), name


@pytest.mark.parametrize('end', ['cancel', 'kill', 'close', 'total', 'wait', 'killed'])
@pytest.mark.usefixtures('oracle')
def test_ended_while_connecting(end: str, authority: kit.Authority) -> None:
    """A connection that is being opened through a proxy leaves nothing behind, however it is ended."""
    with stages(authority) as found:
        before = kit.Leaks.now()
        asked = [
            pool.request(host, 'GET', '/', timeout=1 if end == 'total' else None)
            for _, pool, host, _ in found
            for _ in range(2)
        ]
        callers = [
            gevent.spawn(Client.of_pool(pool._origins.pool_for(host)).request, 'GET', '/') for _, pool, host, _ in found
        ]
        opening = before.descriptors + 2 * len(asked)
        wait_until(lambda: len(kit.descriptors()) >= opening, 'all are being opened')
        gevent.killall(callers)
        for _, pool, _, _ in found:
            if end == 'cancel':
                pool.cancel()
            elif end == 'close':
                pool.close()
            elif end == 'wait':
                pool.wait(timeout=0.01)
        if end == 'total':
            gevent.wait(asked, timeout=20)
        elif end.startswith('kill'):
            for pending in asked:
                pending.kill()
        assert all(isinstance(pending.exception, HTTPError) for pending in asked)
        del asked, callers
        before.assert_back()


@pytest.mark.parametrize('tls_to', [False, True], ids=['http', 'https'])
@pytest.mark.usefixtures('oracle')
def test_killed_in_flight(tls_to: bool, authority: kit.Authority) -> None:
    """Requests that are cancelled in flight through a tunnel close it: the origin sees it, the others are right."""
    gate = Gate()
    with (
        Tunnel(tls=authority.server() if tls_to else None) as proxy,
        serve(gate=gate, tls=authority.server()) as server,
        ClientPool(simultaneous=4, proxy=proxy.url, ca_certs=authority.ca_certs) as pool,
    ):
        pendings = [pool.request(server.host, 'GET', f'/{n:06}') for n in range(8)]
        gate.wait_for(4)
        for pending in pendings[:4:2]:
            pending.cancel()
        wait_until(
            lambda: len(server.peers) + len(gate.held()) >= 4 and server.accepted == 6, 'the slots are used again'
        )
        gate.open()
        answers = pool.wait(timeout=5)
        assert [type(answer) for answer in answers] == [Cancelled, Response] * 2 + [Response] * 4
        assert [answer.data for answer in answers[4:]] == [b'%06d' % n for n in range(4, 8)]


# Secrets -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures('tidy')
def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture, authority: kit.Authority) -> None:
    """The credentials are in no repr, log record or error, of whatever kind the proxy and its failure are."""
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f'user:{SECRET}'.encode()).decode()
    shown: list[str] = []
    refusing = [READ, b'HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n', CLOSE]
    with FaultServer(listening=False) as dead:
        for scheme in ('http', 'https', 'socks5', 'socks5h'):
            for server in (FaultServer(refusing, refusing), FaultServer([SILENCE]), dead):
                with (
                    server,
                    ClientPool(
                        proxy=f'{scheme}://user:{SECRET}@{server.authority}',
                        verify=False,
                        timeout=urllib3.Timeout(connect=0.05, read=0.05),
                    ) as pool,
                ):
                    for host in ('http://127.0.0.1:9', 'https://127.0.0.1:9'):
                        pool.request(host, 'GET', '/')
                    for error in pool.wait():
                        assert isinstance(error, HTTPError)
                        shown += [str(error), repr(error), repr(error.__cause__), repr(error.chain), repr(vars(error))]
                    shown += [
                        repr(pool),
                        repr(pool.stats()),
                        repr(vars(pool)),
                        repr(pool._core.settings._proxy),
                        str(pool._core.settings._proxy),
                    ]
    with serve() as proxy, Client('server.example', proxy=f'http://user:{SECRET}@{proxy.authority}') as client:
        answer = client.request('GET', '/000001')
        assert encoded in proxy.requests[0].headers['proxy-authorization']
        shown += [repr(answer), repr(answer.request), repr(answer.request.headers), repr(client), answer.url]
    shown += [record.getMessage() for record in caplog.records]
    assert caplog.records and len(shown) > 100
    for text in shown:
        assert SECRET not in text and encoded not in text, text
