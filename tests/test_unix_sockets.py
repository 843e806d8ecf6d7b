"""Unix sockets as hosts: how they are written, and that requests over them are as those to any other origin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
import pytest
import urllib3
from gevent import socket

from napixclient import (
    Client,
    ClientPool,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    ProtocolError,
    RefusedError,
    Request,
    rest,
)
from napixclient.allow import Allow
from napixclient.messages import Origin, parse_origin
from napixclient.testing import Gate
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_proxy import path_of
from tests.kit import FaultServer, FullServer, serve, wait_until

LONGEST = '/' + 'x' * 106


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path for a socket that is short enough."""
    return str(tmp_path_factory.mktemp('unix') / 'x.sock')


# How they are written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('host', 'expected'),
    [
        ('unix:///run/x.sock', '/run/x.sock'),
        ('UNIX:///run/X.sock', '/run/X.sock'),
        ('unix:///run/x.sock/', '/run/x.sock'),
        ('unix:///run/a b%20.sock', '/run/a b%20.sock'),
        ('http+unix://%2Frun%2Fx.sock', '/run/x.sock'),
        ('HTTP+UNIX://%2frun%2fx.sock/', '/run/x.sock'),
        ('http+unix://%2Frun%2Fa%20b%3A%40.sock', '/run/a b:@.sock'),
        ('http+unix://%2Frun%2F%C3%A9', '/run/é'),
        ('unix:///run/é', '/run/é'),
        (f'unix://{LONGEST}', LONGEST),
    ],
)
def test_a_path(host: str, expected: str) -> None:
    """A socket is written as a path or as an encoded one; its origin is that path, and is written as a URL."""
    origin = parse_origin(host)
    assert origin == Origin('http+unix', expected, 0) and origin.socket_path == expected
    assert origin.authority == 'localhost'
    assert parse_origin(str(origin)) == origin and str(origin).startswith('http+unix://%2F')


@pytest.mark.parametrize(
    ('host', 'said'),
    [
        ('unix://', 'absolute path'),
        ('unix:///', 'absolute path'),
        ('unix://run/x.sock', 'absolute path'),
        ('unix://%2Frun%2Fx.sock', 'absolute path'),
        ('unix:/run/x.sock', 'unix:///path'),
        ('unix:///run/x\0', 'absolute path'),
        ('unix:///run/x\r\n', 'absolute path'),
        ('unix:///run/\udce9\ud800', 'the name of a file'),
        ('http+unix://', 'absolute path'),
        ('http+unix://run%2Fx.sock', 'absolute path'),
        ('http+unix:///run/x.sock', 'absolute path'),
        ('http+unix://%2Frun%2Fx.sock/path', 'without credentials, port, path and query'),
        ('http+unix://%2Frun%2Fx.sock?a=b', 'without credentials, port, path and query'),
        ('http+unix://user:pw@%2Frun%2Fx.sock', 'without credentials, port, path and query'),
        ('http+unix://%2Frun%2Fx.sock:80', 'without credentials, port, path and query'),
        ('http+unix://%2Frun%2Fx%00', 'absolute path'),
        ('https+unix://%2Frun%2Fx.sock', 'no TLS'),
        (f'unix://{LONGEST}x', 'at most 107 bytes'),
        (f'http+unix://%2F{"%C3%A9" * 54}', 'at most 107 bytes'),
        ('ftp+unix://%2Frun', 'unknown scheme'),
    ],
)
def test_no_path(host: str, said: str) -> None:
    """What names no socket is a ValueError that says how one is written, wherever a host is taken."""
    for take in parse_origin, Client, lambda text: Request(text, 'GET', '/'):
        with pytest.raises(ValueError, match=said) as caught:
            take(host)  # type: ignore[operator]
        assert ':pw' not in str(caught.value)


def test_the_url_of_a_request() -> None:
    """The path of the socket and that of the URL are kept apart in every text, and secrets are masked."""
    for host in 'unix:///run/x.sock', 'http+unix://%2Frun%2Fx.sock', 'unix:///run/x.sock/':
        request = Request(host, 'GET', '/path?a=b&token=s3cret')
        assert request.full_url == 'http+unix://%2Frun%2Fx.sock/path?a=b&token=s3cret'
        assert str(request) == 'GET http+unix://%2Frun%2Fx.sock/path?a=b&token=***'
        assert request.authority == 'localhost'


# Requests ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures('oracle')
def test_requests(path: str) -> None:
    """Both forms are one origin, whose connection is kept; the server is told that it is localhost."""
    with serve(address=path) as server, ClientPool() as pool:
        for host in f'unix://{path}', str(parse_origin(f'unix://{path}')), server.host, server.url:
            answer = pool.request(host, 'POST', '/000001?a=b', {'a': 1}).get()
            assert (answer.text, answer.peer, answer.tried) == ('000001', path, (path,))
        assert server.accepted == 1 and {request.headers['host'] for request in server.requests} == {'localhost'}
        assert server.requests[0].path == '/000001?a=b' and server.requests[0].body == b'{"a":1}'
        assert len(pool.wait()) == 4
        with open(__file__, 'rb') as file:
            for body in iter([b'ab', b'c' * 300_000]), b'x' * 1_000_000, file:
                pool.request(server.host, 'PUT', '/000002', body).get()
        sizes = [300_002, 1_000_000, os.path.getsize(__file__)]
        assert [len(request.body) for request in server.requests[-3:]] == sizes
        pool.wait()


@pytest.mark.usefixtures('oracle')
def test_caps(path: str) -> None:
    """At most ``simultaneous`` requests are in flight to a socket, over as many connections."""
    gate = Gate()
    with serve(gate=gate, address=path) as server, ClientPool(simultaneous=3) as pool:
        for number in range(12):
            pool.request(server.host, 'GET', f'/{number:06}')
        gate.wait_for(3)
        assert pool.stats()[server.host]['in_flight'] == 3
        gate.open()
        assert [answer.status for answer in pool.wait()] == [200] * 12
        assert gate.peak == 3 and server.accepted == 3


@pytest.mark.usefixtures('oracle')
def test_a_full_queue(path: str) -> None:
    """A server whose queue of connections is full is waited for, within the time to connect."""
    with FullServer(address=path) as server, Client(server.host) as client:
        with Client(server.host, timeout=urllib3.Timeout(connect=0.1)) as hasty:
            error = failure(hasty, 'GET', '/')
            assert isinstance(error, ConnectTimeout) and error.peer == path
        pending = client.submit('GET', '/000001')
        wait_until(lambda: pending.route, 'it was tried')
        assert not pending.ready()
        server.relent()
        assert pending.get(timeout=kit.LONG).text == '000001'


@pytest.mark.usefixtures('oracle')
def test_a_streamed_answer(path: str) -> None:
    """A streamed answer of a socket is read in pieces, and knows where it came from."""
    with serve(lambda *_: b'x' * 300_000, address=path) as server, Client(server.host) as client:
        with client.request('GET', '/', stream=True) as answer:
            assert answer.peer == path and sum(map(len, answer)) == 300_000
        assert client.request('GET', '/').status == 200 and server.accepted == 1


@pytest.mark.usefixtures('oracle')
def test_retries(path: str) -> None:
    """Retries and the free resend go as to any origin."""
    with FaultServer([kit.READ, kit.ANSWER, kit.CLOSE], address=path) as server, Client(server.host) as client:
        assert client.request('GET', '/000001').status == 200
        assert client.request('GET', '/000002').text == '000002' and server.accepted == 2
    with FaultServer([kit.READ, kit.RST], address=path) as server, Client(server.host, retries=2) as client:
        assert (client.request('GET', '/000003').attempts, server.accepted) == (2, 2)


@pytest.mark.usefixtures('oracle')
def test_failures(path: str, tmp_path: Path) -> None:
    """Nobody listens, nothing is there, it is no socket: each is an error of connecting that names the path."""
    with serve(address=path, listening=False):
        assert type(one := failed(path)) is RefusedError and path in str(one) and one.peer == path
    missing, file, directory = str(tmp_path / 'missing.sock'), tmp_path / 'file', str(tmp_path)
    file.touch()
    error = failed(missing)
    assert type(error) is ConnectError and error.phase == 'connect' and 'No such file' in error.message
    assert missing in str(error) and error.tried == (missing,) and isinstance(error.__cause__, FileNotFoundError)
    assert isinstance(failed(str(file)), RefusedError) and isinstance(failed(directory), ConnectError)
    with ClientPool(retries=1) as pool:
        pool.request(f'unix://{missing}', 'GET', '/')
        [outcome] = pool.wait()
        assert isinstance(outcome, HTTPError) and (outcome.attempts, outcome.peer) == (2, missing)


def failed(path: str) -> HTTPError:
    """What a request over the socket fails with."""
    with Client(f'unix://{path}') as client:
        return failure(client, 'GET', '/')


def test_no_permission(path: str, tmp_path: Path) -> None:
    """A socket that may not be written to is an error of connecting that says so."""
    with serve(address=path):
        os.chmod(path, 0o600)
        os.chmod(os.path.dirname(path), 0o700)
        done = kit.run_program(
            """
import os, sys
from napixclient import Client, HTTPError
client = Client(f'unix://{sys.argv[1]}')
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    client.request('GET', '/')
except HTTPError as error:
    print(type(error).__name__, error.message, error.peer)
""",
            path,
        )
    if os.geteuid() != 0:
        assert done.code == 0  # it is its own socket
        return
    assert done.out == f'ConnectError cannot connect: Permission denied {path}\n', done.err


@pytest.mark.usefixtures('oracle')
def test_no_proxy_and_no_source(path: str) -> None:
    """Neither a proxy nor a source is used for a socket; options of TCP are not set on it, others are."""
    with serve(address=path) as server, FaultServer(listening=False) as dead:
        options: dict[str, Any] = {
            'socket_options': [(socket.IPPROTO_TCP, 99, 1), (socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)],
            'source_address': '192.0.2.1',
        }
        for proxy in dead.url, f'socks5h://{dead.authority}':
            with Client(server.host, proxy=proxy, **options) as client:
                assert client.request('GET', '/000001').peer == path


@pytest.mark.usefixtures('oracle')
def test_cancelled_and_closed(path: str) -> None:
    """What is in flight over a socket is cancelled, and the server sees the end of the connection."""
    gate = Gate()
    with serve(gate=gate, address=path) as server, ClientPool() as pool:
        pending = pool.request(server.host, 'GET', '/000001')
        gate.wait_for(1)
        pending.cancel()
        [outcome] = pool.wait()
        assert isinstance(outcome, HTTPError) and outcome.peer == path
        gate.open()
        wait_until(lambda: not server.peers, 'the server has seen the end')


# What leads to them --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures('oracle')
def test_redirects_within(path: str) -> None:
    """A redirect of the server behind a socket stays there, also as http://localhost, by which it knows itself."""

    def respond(method: str, url: str, headers: Any, body: bytes) -> Any:
        to = {
            '/relative': '/end',
            '/absolute': 'http://localhost/end',
            '/port': 'HTTP://LocalHost:80/end',
            '/own': f'{server.url}/end',
            '/network': '//localhost/end',
        }
        return (302, {'Location': to[url]}, None) if url in to else headers.get('authorization', '')

    with serve(respond, address=path) as server, Client(server.host, redirect=True) as client:
        for url in '/relative', '/absolute', '/port', '/own':
            answer = client.request('GET', url, headers={'Authorization': 'mine'})
            assert (answer.text, answer.url, answer.peer) == ('mine', f'{server.url}/end', path)
        assert server.accepted == 1


@pytest.mark.usefixtures('oracle')
def test_redirects_to_sockets(path: str) -> None:
    """No server leads to a socket: neither one on the network, nor one behind another socket."""
    with serve(address=path) as server:
        for target in server.url, server.host, server.url.lower():
            away = serve(lambda *_: (302, {'Location': f'{target}/x'}, None))  # noqa: B023  # it is asked at once
            other = serve(lambda *_: (302, {'Location': f'{target}/x'}, None), address=f'{path}2')  # noqa: B023
            with away, other:
                for host in away.host, other.host:
                    with Client(host, redirect=True) as client:
                        error = failure(client, 'GET', '/')
                        assert isinstance(error, ProtocolError) and 'only http and https are followed' in str(error)
        assert not server.requests


@pytest.mark.usefixtures('oracle')
def test_redirects_away(path: str) -> None:
    """A redirect from a socket to the network is one to another origin: no credentials follow."""
    with serve(lambda _, url, headers, body: headers.get('authorization', 'none')) as server:
        with serve(lambda *_: (302, {'Location': f'{server.url}/x'}, None), address=path) as socket_server:
            with Client(socket_server.host, redirect=True, headers={'Authorization': 'mine'}) as client:
                answer = client.request('GET', '/')
                assert (answer.text, answer.peer) == ('none', ('127.0.0.1', server.port))


@pytest.mark.usefixtures('oracle')
def test_what_may_be_asked(path: str) -> None:
    """Where only some hosts may be asked, no socket may: behind one there may be what rules the machine."""
    with serve(address=path) as server, ClientPool() as pool:
        allow = Allow(['0.0.0.0/0', '*', 'localhost'], loopback=True)
        with pytest.raises(ValueError, match='may not be asked'):
            allow.check_literal(parse_origin(server.host))
        allow.guard(pool)
        for host in server.host, server.url:
            pool.request(host, 'GET', '/')
        for outcome in pool.wait():
            assert isinstance(outcome, ConnectError) and 'may not be asked' in outcome.message
        assert not server.accepted


@pytest.mark.usefixtures('oracle')
def test_a_rest_client(path: str) -> None:
    """A client of a REST service takes the URL of one behind a socket, and its links are followed there."""

    def respond(method: str, url: str, headers: Any, body: bytes) -> Any:
        if url == '/v1/things':
            return 200, {'Link': '<http://localhost/v1/things?page=2>; rel="next"'}, ['a']
        return ['b']

    with serve(respond, address=path) as server, rest.Client(f'{server.url}/v1') as client:
        assert client.get('things').json == ['a'] and client.get('things').peer == path
        assert list(rest.paginate(client, 'things', items=list, marker=None)) == ['a', 'b']
        assert server.accepted == 1


@pytest.mark.usefixtures('oracle')
def test_a_rest_client_of_the_root(path: str) -> None:
    """The socket alone, as other clients take it, is the root of its server; one that is none is refused."""
    with serve(lambda method, url, *_: {'path': url}, address=path) as server, rest.Client(server.host) as client:
        assert [client.get(asked).json['path'] for asked in ('', '/', '/a', 'b')] == ['/', '/', '/a', '/b']
        assert client.endpoint_url == server.host and client.get('a').url == f'{server.url}/a'
    with pytest.raises(ValueError, match='absolute path'):
        rest.Client('unix://x.sock')


@pytest.mark.usefixtures('oracle')
def test_cookies(path: str) -> None:
    """The cookies of one socket are not those of another."""
    jar = CookieJar()

    def respond(method: str, url: str, headers: Any, body: bytes) -> Any:
        return 200, {'Set-Cookie': 'a=b'}, headers.get('cookie', 'none')

    with (
        serve(respond, address=path) as one,
        serve(respond, address=f'{path}2') as other,
        ClientPool(cookies=jar) as pool,
    ):
        said = [pool.request(server.host, 'GET', '/').get().text for server in (one, one, other)]
        pool.wait()
    assert said == ['none', 'a=b', 'none']


# Real servers --------------------------------------------------------------------------------------------------------

NGINX = """\
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    access_log off;
    server {{
        listen unix:{path};
        location /moved {{ return 301 /status; }}
        location / {{ return 200 "$host $connection_requests"; }}
    }}
}}
"""


@contextmanager
def running(words: list[str], path: str) -> Iterator[None]:
    """The program, from when it listens at the path."""
    process = gevent.subprocess.Popen(
        words, stdin=gevent.subprocess.DEVNULL, stdout=gevent.subprocess.DEVNULL, stderr=gevent.subprocess.DEVNULL
    )
    try:
        wait_until(lambda: accepts(path), 'it listens')
        yield
    finally:
        process.terminate()
        process.wait()


def accepts(path: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


def test_nginx(path: str, tmp_path: Path) -> None:
    """Nginx on a socket is asked over kept connections, and its absolute redirects are followed."""
    config = tmp_path / 'nginx.conf'
    config.write_text(NGINX.format(directory=tmp_path, path=path))
    with running([path_of('nginx'), '-p', str(tmp_path), '-c', str(config), '-e', str(tmp_path / 'e')], path):
        with Client(f'unix://{path}', simultaneous=1, redirect=True) as client:
            assert [client.request('GET', '/').text for _ in range(3)] == [f'localhost {n}' for n in (1, 2, 3)]
            moved = client.request('GET', '/moved')
            assert (moved.text, moved.peer) == ('localhost 5', path)
            assert moved.url == f'{parse_origin(f"unix://{path}")}/status'


def test_gunicorn(path: str) -> None:
    """Gunicorn on a socket is asked by many at once."""
    pytest.importorskip('gunicorn')
    words = ['-m', 'gunicorn', '--bind', f'unix:{path}', '--worker-class', 'gthread', '--threads', '4']
    with running([sys.executable, *words, 'wsgiref.simple_server:demo_app'], path), ClientPool(simultaneous=4) as pool:
        for number in range(40):
            pool.request(f'unix://{path}', 'GET', f'/{number}')
        answers = pool.wait()
        assert [answer.status for answer in answers] == [200] * 40 and {answer.peer for answer in answers} == {path}
