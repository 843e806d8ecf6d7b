"""Who may ask: the host that is asked for, the page that asks, the credentials, and the bounds."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
import pytest
from gevent import socket

from napixclient import Client, HTTPError
from napixclient.authenticators import BearerToken, LoginAuthenticator, TokenIdentifier
from napixclient.service.access import HostCheck
from tests import kit
from tests.cli.programs import napix
from tests.service.serving import Service, Watcher, descriptors_of, results_of, serving, upgraded

ROUTES = [
    '/',
    '/runs',
    f'/runs/{"0" * 32}',
    f'/runs/{"0" * 32}/results',
    f'/runs/{"0" * 32}/events',
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/nothing',
]


@pytest.mark.parametrize(
    'host',
    [
        'evil.example',
        '127.0.0.1.evil.example',
        '10.0.0.1',
        '',
        'localhost@evil.example',
        'evil.example:80',
        '[::2]',
        'localhost.evil',
        '127.0.0.1, evil.example',
    ],
)
def test_row_46_foreign_host(service: Service, host: str) -> None:
    """Every route refuses a Host that is not this machine's: a name of anybody's may lead here."""
    for path in ROUTES:
        sock = service.raw(f'GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n'.encode())
        assert sock.recv(12) == b'HTTP/1.1 403'
        sock.close()
    watcher = Watcher(service, f'/runs/{"0" * 32}/ws', Host=host)
    assert watcher.answer.status_code == 403
    watcher.sock.close()


@pytest.mark.parametrize('host', ['localhost', 'localhost:9000', '127.0.0.1', '127.0.0.99:1', '[::1]:80', 'LOCALHOST'])
def test_hosts_of_this_machine(service: Service, host: str) -> None:
    """What the browser of this machine may write is served."""
    sock = service.raw(f'GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n'.encode())
    assert sock.recv(12) == b'HTTP/1.1 200'
    sock.close()


@pytest.mark.parametrize(
    ('bound', 'host', 'good'),
    [
        ('0.0.0.0', 'localhost:8080', True),
        ('0.0.0.0', '10.0.0.1', True),
        ('::', 'LOCALHOST', True),
        ('0.0.0.0', 'evil.example', False),
        ('::', 'localhost.evil', False),
        ('10.0.0.1', 'localhost', False),
        ('10.0.0.1', '10.0.0.1:8080', True),
        ('10.0.0.1', '10.0.0.2', False),
        ('Web.Example', 'web.example:8080', True),
        ('web.example', '10.0.0.1', False),
    ],
)
def test_hosts_where_bound_elsewhere(bound: str, host: str, good: bool) -> None:
    """The address or the name that is bound to is served; on all addresses also localhost, and all that are written as such."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response('200 OK', [])
        return []

    statuses: list[str] = []
    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'HTTP_HOST': host}
    list(HostCheck(app, bound)(environ, lambda status, fields: statuses.append(status)))
    assert statuses == ['200 OK' if good else '403 Forbidden']


@pytest.mark.parametrize(
    'origin', ['http://evil.example', 'null', 'http://localhost:1', 'http://127.0.0.1', 'file://', '']
)
def test_row_46_foreign_origin(service: Service, origin: str) -> None:
    """Every route refuses the page of another origin, the WebSocket too."""
    for path in ROUTES:
        answer = service.ask('GET', path, headers={'Origin': origin})
        assert (answer.status, answer.body['error_class']) == (403, 'Forbidden')
    assert service.ask('POST', '/runs', {}, {'Origin': origin, 'Content-Type': 'application/json'}).status == 403
    watcher = Watcher(service, f'/runs/{"0" * 32}/ws', Origin=origin)
    assert watcher.answer.status_code == 403
    watcher.sock.close()


def test_own_origin(service: Service) -> None:
    """The service's own page may ask."""
    answer = service.ask('GET', '/runs', headers={'Origin': f'http://{service.host}'})
    assert answer.status == 200 and 'access-control-allow-origin' not in answer.headers
    watcher = Watcher(service, f'/runs/{"0" * 32}/ws', Origin=f'http://{service.host}')
    assert watcher.answer.status_code == 404
    watcher.sock.close()


# Credentials -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service with a token and a login."""
    directory = tmp_path_factory.mktemp('guarded')
    (directory / 'token').write_text('s3cret-t0ken\n')
    (directory / 'key').write_text('toor')
    with serving(
        directory / 'runs',
        '--token',
        f'@{directory / "token"}',
        '--login',
        'root',
        '--key',
        f'@{directory / "key"}',
        '--name',
        'napix.example',
    ) as running:
        yield running


def status(service: Service, authenticator: Any, path: str = '/runs') -> int:
    """What such a caller is answered."""
    with Client(service.host, authenticator) as client:
        try:
            return client.request('GET', path).status
        except HTTPError as exc:
            assert exc.status is not None
            return exc.status


def test_credentials(guarded: Service) -> None:
    """A token, as a bearer or in the query, or a signature is let in; without it is 401, with a wrong one 403."""
    for good in BearerToken('s3cret-t0ken'), TokenIdentifier('s3cret-t0ken'), LoginAuthenticator('root', 'toor'):
        assert status(guarded, good) == 200
    for wrong in (
        BearerToken('other'),
        TokenIdentifier('other'),
        LoginAuthenticator('root', 'other'),
        LoginAuthenticator('other', 'toor'),
    ):
        assert status(guarded, wrong) == 403
    for path in '/runs', '/metrics', '/openapi.json', '/nothing', f'/runs/{"0" * 32}/results':
        assert status(guarded, None, path) == 401
    assert status(guarded, None, '/healthz') == 200
    assert '"url"' not in str(guarded.log) and 's3cret-t0ken' not in str(guarded.log)


def test_row_46_websocket_without_the_token(guarded: Service) -> None:
    """A WebSocket without the token, or with another, is 403; with it, the run is looked for."""
    path = f'/runs/{"0" * 32}/ws'
    for query, expected in ('', 403), ('?token=other', 403), ('?token=', 403), ('?token=s3cret-t0ken', 404):
        watcher = Watcher(guarded, path + query)
        assert watcher.answer.status_code == expected
        watcher.sock.close()
    watcher = Watcher(guarded, path, Authorization='Bearer s3cret-t0ken')
    assert watcher.answer.status_code == 404
    watcher.sock.close()


def test_further_names(guarded: Service) -> None:
    """`--name` adds a Host, such as that of a proxy before it."""
    sock = guarded.raw(b'GET /healthz HTTP/1.1\r\nHost: napix.example\r\nOrigin: https://napix.example\r\n\r\n')
    assert sock.recv(12) == b'HTTP/1.1 200'
    sock.close()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--bind', '0.0.0.0:0'], 'can be reached from elsewhere'),
        (['--bind', '[::]:0'], 'can be reached from elsewhere'),
        (['--bind', '192.0.2.1:0', '--token', 'x' * 8], 'cannot listen'),
        (['--bind', '8080'], 'ADDRESS:PORT'),
        (['--bind', '::1:80'], 'ADDRESS:PORT'),
        (['--bind', 'a:99999'], 'ADDRESS:PORT'),
        (['--login', 'root'], 'go together'),
        (['--token', '@/nowhere'], 'cannot read /nowhere'),
        (['--token', ''], 'empty'),
        (['--allow', 'a b'], 'neither a network'),
        (['--mount', 'x'], '/PATH=MODULE:APP'),
        (['--mount', '/x=nowhere:app'], 'cannot mount'),
        (['--mount', '/x=os:path'], 'no WSGI application'),
        (['--mount', '/runs=os:getcwd'], 'of the service itself'),
        (['--store', 'sqlite:///'], 'not a store'),
        (['--store', 'sqlite:////proc/nothing/x'], 'cannot open'),
        (['--store', 'nothing://x'], 'cannot open'),
        (['--max-body', 'many'], 'not a size'),
        (['--ping-every', '0'], 'range'),
    ],
)
def test_bad_usage(tmp_path: Path, options: list[str], words: str) -> None:
    """What cannot be served is told in one line, and nothing is served."""
    given = options if '--bind' in options else ['--bind', '127.0.0.1:0', *options]
    finished = napix('serve', *given, XDG_STATE_HOME=str(tmp_path))
    assert finished.code == 2 and finished.out == ''
    assert finished.err.startswith('napix: ') and finished.err.count('\n') == 1 and words in finished.err


def test_other_addresses_with_credentials(tmp_path: Path) -> None:
    """With credentials it serves every address; only addresses, localhost and given names are good as Host; no loopback is asked."""
    (tmp_path / 'token').write_text('s3cret-t0ken')
    with (
        kit.serve() as server,
        serving(tmp_path / 'runs', '--bind', '0.0.0.0:0', '--token', f'@{tmp_path / "token"}') as service,
    ):
        service.host = f'127.0.0.1:{service.port}'
        assert status(service, BearerToken('s3cret-t0ken')) == 200
        for name, expected in ('localhost', b'200'), ('10.1.2.3', b'200'), ('evil.example', b'403'):
            sock = service.raw(f'GET /healthz HTTP/1.1\r\nHost: {name}\r\n\r\n'.encode())
            assert sock.recv(12) == b'HTTP/1.1 ' + expected, name
            sock.close()
        with Client(service.host, BearerToken('s3cret-t0ken')) as client, pytest.raises(HTTPError) as raised:
            client.request('POST', '/runs', {'hosts': server.host, 'request': {}})
        assert raised.value.status == 400 and 'may not be asked' in str(raised.value)


GUNICORN = """
from napixclient.service import create_app

app = create_app(store='sqlite:///runs')
"""


def test_gunicorn(tmp_path: Path) -> None:
    """gunicorn serves it with our worker: runs, and WebSockets."""
    (tmp_path / 'under_gunicorn.py').write_text(GUNICORN)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    process = gevent.subprocess.Popen(
        [
            sys.executable,
            '-m',
            'gunicorn',
            '-k',
            'napixclient.service.gunicorn.Worker',
            '-b',
            f'127.0.0.1:{port}',
            '--worker-tmp-dir',
            str(tmp_path),
            'under_gunicorn:app',
        ],
        cwd=tmp_path,
        env={**kit.environment(), 'PYTHONWARNINGS': ''},
        stderr=gevent.subprocess.PIPE,
    )
    service = Service.__new__(Service)  # what asks, without the process
    service.host, service.port, service.process, service.log = f'127.0.0.1:{port}', port, process, []
    try:
        while b'Booting worker' not in (line := process.stderr.readline()):
            assert line
        with kit.serve() as server:
            run, results = service.run({'requests': [{'host': server.host}] * 5})
        assert run['counts']['ok'] == 5
        watcher = Watcher(service, f'/runs/{run["id"]}/ws')
        assert results_of(watcher.messages()) == results and watcher.code == 1000
        assert service.ask('GET', '/runs', headers={'Host-': 'x', 'Origin': 'http://evil.example'}).status == 403
    finally:
        process.terminate()
        _, said = process.communicate()
    assert b'Traceback' not in said, said


NGINX = """
daemon off; pid {directory}/pid; error_log stderr; events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    {conf}
}}
"""


def test_nginx_before_it(tmp_path: Path) -> None:
    """The configuration for nginx in `examples/service` hands everything through: runs, results as they come, WebSockets."""
    with (
        serving(tmp_path / 'runs', '--name', 'napix.example') as service,
        kit.serve(gate=(gate := kit.Gate())) as server,
    ):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
        conf = (kit.ROOT / 'examples' / 'service' / 'nginx.conf').read_text()
        conf = conf.replace('listen 443 ssl', f'listen 127.0.0.1:{port}').replace('127.0.0.1:8080', service.host)
        conf = '\n'.join(line for line in conf.splitlines() if 'ssl_certificate' not in line)
        (tmp_path / 'nginx.conf').write_text(NGINX.format(directory=tmp_path, conf=conf))
        nginx = gevent.subprocess.Popen(
            ['nginx', '-p', str(tmp_path), '-c', str(tmp_path / 'nginx.conf')],
            env={**os.environ, 'PATH': f'{os.environ["PATH"]}:/usr/sbin'},
            stderr=gevent.subprocess.PIPE,
        )
        try:

            def through() -> socket.socket:
                return socket.create_connection(('127.0.0.1', port), 30)

            def listens() -> bool:
                try:
                    through().close()
                except OSError:
                    return False
                return True

            kit.wait_until(listens, 'nginx listens', 30)
            origin = {'Host': 'napix.example', 'Origin': 'https://napix.example'}
            id = service.start({'requests': [{'host': server.host}] * 2})['id']
            watcher = Watcher(service, f'/runs/{id}/ws', through(), **origin)
            assert watcher.answer.status_code == 101
            messages = watcher.messages()
            assert next(messages)['type'] == 'progress'  # as it comes
            gate.open()
            assert len(results_of(messages)) == 2 and watcher.code == 1000
            refused = Watcher(service, f'/runs/{id}/ws', through(), Host='napix.example', Origin='https://evil.example')
            assert refused.answer.status_code == 403
            refused.sock.close()
        finally:
            nginx.terminate()
            _, said = nginx.communicate()
        assert b'emerg' not in said, said


# Mounts ------------------------------------------------------------------------------------------------------------------

MOUNTED = """
from napixclient import Client

def app(environ, start_response):
    if environ['PATH_INFO'] == '/fail':
        with Client(environ['QUERY_STRING']) as client:
            client.request('GET', '/')
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']} {environ.get('napix.login')}".encode()]
"""


def test_mounts(tmp_path: Path) -> None:
    """`--mount` serves another application behind the same checks, guard and catcher."""
    (tmp_path / 'mounted_app.py').write_text(MOUNTED)
    (tmp_path / 'key').write_text('toor')
    broken = kit.serve(
        lambda *_: (500, {'Content-Type': 'application/json'}, {'error_class': 'OSError', 'error_text': 'full'})
    )
    with (
        broken as server,
        serving(
            tmp_path / 'runs',
            '--mount',
            '/x=mounted_app:app',
            '--login',
            'root',
            '--key',
            f'@{tmp_path / "key"}',
            PYTHONPATH=f'{kit.ROOT}:{tmp_path}',
        ) as service,
    ):
        assert status(service, None, '/x/') == 401
        with Client(service.host, LoginAuthenticator('root', 'toor')) as client:
            assert client.request('GET', '/x/a').text == '/x /a root'
            assert client.request('GET', '/x').text == '/x  root'
            with pytest.raises(HTTPError) as raised:
                client.request('GET', f'/x/fail?{server.host}')
            assert [hop.error_class for hop in raised.value.chain] == ['RemoteError', 'OSError']
            assert status(service, LoginAuthenticator('root', 'toor'), '/xy') == 404
        service.log[:] = [one for one in service.log if one['level'] != 'error']  # what the catcher tells


# Bounds ------------------------------------------------------------------------------------------------------------------


def test_row_49_half_a_request_head(tmp_path: Path) -> None:
    """200 connections with half a request's head are dropped after the deadline, with 408 or without a word; others are served."""
    with serving(tmp_path / 'runs', '--header-timeout', 1) as service:
        before = descriptors_of(service)
        halves = [
            b'',
            b'G',
            b'GET / HTTP/1.1',
            b'GET / HTTP/1.1\r\nHost: local',
            b'GET / HTTP/1.1\r\nHost: localhost\r\n',
        ]
        socks = [service.raw(halves[number % len(halves)]) for number in range(200)]
        assert service.alive()
        kit.wait_until(lambda: descriptors_of(service) <= before + 1, 'they are dropped', 30)
        for sock in socks:
            assert sock.recv(100)[:12] in (b'', b'HTTP/1.1 408')
            sock.close()
        dripping = service.raw()
        for byte in b'GET / HTTP/1.1\r\nX: ' + b'x' * 50:  # a byte now and then does not help
            try:
                dripping.sendall(bytes([byte]))
            except OSError:
                break
            gevent.sleep(0.05)
        else:
            raise AssertionError('it was not dropped')
        dripping.close()


def test_a_request_with_two_readings_is_refused(service: Service) -> None:
    """What a proxy could read in another way than we do is 400."""
    head = f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
    for fields in (
        'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n',
        'Transfer-Encoding: gzip, chunked\r\n',
        'Content-Length: 2\r\nContent-Length: 3\r\n',
        'Content-Length: +2\r\n',
        'Content-Length: 1_0\r\n',
        'Transfer-Encoding: identity\r\n',
        'Host: other\r\n',
        'Content-Length: -1\r\n',
    ):
        sock = service.raw(f'{head}{fields}\r\n{{}}'.encode())
        assert sock.recv(12) == b'HTTP/1.1 400', fields
        sock.close()
    sock = service.raw(b'GET /healthz\r\n')
    assert sock.recv(12) == b'HTTP/1.1 400'
    sock.close()


def test_bounds_of_a_submission(tmp_path: Path) -> None:
    """The size of a body, the number of requests, the number of runs: each has its bound and its error."""
    gate = kit.Gate()
    with (
        kit.serve(gate=gate) as server,
        serving(
            tmp_path / 'runs', '--max-body', '10K', '--max-requests', 5, '--max-runs', 2, '--slow-timeout', 1
        ) as service,
    ):
        one = {'hosts': server.host, 'request': {}}
        assert service.start({'requests': [{'host': server.host}] * 6}, 400)['error_class'] == 'BadRequest'
        assert 'at most 5' in service.start({'hosts': 'a[1-6]', 'request': {}}, 400)['error_text']
        assert service.start({**one, 'request': {'body': 'x' * 11_000}}, 413)['error_class'] == 'TooLarge'
        chunked = service.raw(
            f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
            'Transfer-Encoding: chunked\r\n\r\n'.encode()
            + b'1000\r\n'
            + b' ' * 0x1000
            + b'\r\n'
            + b'1000\r\n'
            + b' ' * 0x1000
            + b'\r\n1000\r\n'
            + b' ' * 0x1000
            + b'\r\n'
        )
        assert chunked.recv(12) == b'HTTP/1.1 413'
        chunked.close()
        slow = service.raw(
            f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
            'Content-Length: 1000\r\n\r\n{"requests":'.encode()
        )
        assert slow.recv(12) == b'HTTP/1.1 408'
        slow.close()
        ids = [service.start(one)['id'] for _ in range(2)]
        answer = service.ask('POST', '/runs', one, {'Content-Type': 'application/json'})
        assert answer.status == 503 and answer.headers['retry-after'] == '1'
        gate.open()
        assert [service.follow(id)['state'] for id in ids] == ['done', 'done']
        service.run(one)


ASK = 'GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n'
#: The head of a request whose body does not come.
SLOW = 'POST /runs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n'


def ask(service: Service, path: str = '/healthz', text: str = ASK) -> socket.socket:
    """A new connection over which something is asked."""
    return service.raw(text.format(path=path, host=service.host).encode())


def answered(service: Service, path: str = '/healthz') -> bytes:
    """The status of the answer over a connection of its own."""
    with ask(service, path) as sock:
        return sock.recv(12)[9:]


def test_bound_of_connections(tmp_path: Path) -> None:
    """Beyond `--max-connections`, who asks something waits until another is answered; /healthz is told at once all the same."""
    with serving(tmp_path / 'runs', '--max-connections', 3) as service:
        slow = [ask(service, text=SLOW) for _ in range(3)]
        waiting = ask(service, '/runs')
        for _ in range(20):
            assert answered(service) == b'200'
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        slow[0].close()
        waiting.settimeout(30)
        assert waiting.recv(12) == b'HTTP/1.1 200'
        for sock in [waiting, *slow[1:]]:
            sock.close()


def test_slow_and_steady(tmp_path: Path) -> None:
    """`--slow-timeout` is for who sends or reads nothing, however long it takes in all."""

    def big(*_: object) -> tuple[int, Any, bytes]:
        return 200, {'Content-Type': 'text/plain'}, b'x' * 60_000

    with serving(tmp_path / 'runs', '--slow-timeout', 2) as service, kit.serve(big) as server:
        text = json.dumps({'requests': [{'host': server.host}] * 60}).encode()
        sock = service.raw(
            f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
            f'Content-Length: {len(text) + 12}\r\n\r\n'.encode()
        )
        for _ in range(12):  # four seconds in all
            gevent.sleep(0.3)
            sock.sendall(b' ')
        sock.sendall(text)
        assert sock.recv(12)[9:] == b'201'
        sock.close()
        [run] = service.ask('GET', '/runs').body['runs']
        kit.wait_until(lambda: service.show(run['id'])['state'] == 'done', 'it ends', 30)
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader.connect(('127.0.0.1', service.port))
        reader.sendall(
            f'GET /runs/{run["id"]}/results HTTP/1.1\r\nHost: {service.host}\r\nConnection: close\r\n\r\n'.encode()
        )
        read = 0
        while data := reader.recv(50_000, socket.MSG_WAITALL):
            read += len(data)
            gevent.sleep(0.05)  # as long
        reader.close()
        assert read > 60 * 60_000


def test_who_waits_too_long_is_answered(tmp_path: Path) -> None:
    """Who has waited for `--slow-timeout` is answered 503, with a time to come back."""
    with serving(tmp_path / 'runs', '--max-connections', 1, '--slow-timeout', 1) as service:
        with kit.serve(gate=(gate := kit.Gate())) as server:
            id = service.start({'hosts': server.host, 'request': {}})['id']
            watcher = Watcher(service, f'/runs/{id}/ws')
            answer = service.ask('GET', '/runs')
            assert (
                answer.status == 503
                and answer.headers['retry-after'] == '1'
                and answer.body['error_class'] == 'Unavailable'
            )
            gate.open()
            assert len(results_of(watcher.messages())) == 1
        assert service.ask('GET', '/runs').status == 200


@pytest.mark.parametrize(
    'text', ['', 'G', 'GET / HTTP/1.1\r\nHost: {host}\r\n', 'GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n', SLOW]
)
def test_many_slow_clients(tmp_path: Path, text: str) -> None:
    """However many connect and are slow, /healthz is answered, before any of their deadlines; the oldest idle ones give way."""
    with serving(
        tmp_path / 'runs', '--max-connections', 40, '--header-timeout', 1000, '--slow-timeout', 1000
    ) as service:
        slow = []
        for _ in range(30):
            slow += [ask(service, text=text) for _ in range(10)]
            assert answered(service) == b'200'
        assert descriptors_of(service) < 140
        for sock in slow:
            sock.close()
        kit.wait_until(lambda: answered(service, '/runs') == b'200', 'it serves as before', 30)


def test_no_descriptors_left(tmp_path: Path) -> None:
    """Where no descriptor is left for a new connection, an idle one gives way."""
    with serving(tmp_path / 'runs', '--max-connections', 1000) as service:
        number = descriptors_of(service) + 20
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (number, number))
        idle = [service.raw() for _ in range(100)]
        assert answered(service) == b'200'
        for sock in idle:
            sock.close()


def test_keep_alive(service: Service) -> None:
    """Requests follow each other over one connection, also several sent at once."""
    one = f'GET /healthz HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode()
    sock = service.raw(one * 3)
    data = b''
    while data.count(b'"status"') < 3:
        data += sock.recv(65536)
    sock.sendall(one)
    assert sock.recv(12) == b'HTTP/1.1 200'
    sock.close()


def test_a_flood_of_requests_lets_others_have_their_turn(service: Service) -> None:
    """While one client sends requests over its connection as fast as it can, others are answered."""
    one = f'GET /healthz HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode()
    sock = service.raw()
    reader = gevent.spawn(lambda: [None for _ in iter(lambda: sock.recv(1 << 20), b'')])
    writer = gevent.spawn(lambda: [sock.sendall(one * 1000) for _ in range(1000)])
    for _ in range(10):
        assert answered(service) == b'200'
    assert not writer.ready()
    gevent.killall([writer, reader])
    sock.close()


def test_log_has_each_request(service: Service) -> None:
    """`--log-json` has a record for each request, with its fields, and no secret."""
    service.ask('GET', '/healthz?token=v3ry-secret')
    kit.wait_until(lambda: any(one.get('path') == '/healthz?token=***' for one in service.log), 'it is logged')
    record = next(one for one in service.log if one.get('path') == '/healthz?token=***')
    assert record['status'] == 200 and record['method'] == 'GET' and record['level'] == 'info' and record['ms'] >= 0
    assert json.dumps(record) and record['time'].endswith('Z') and record['remote'] == '127.0.0.1'
    assert service.said('no credentials')


def test_upgrade_of_another_path(service: Service) -> None:
    """A WebSocket is only where there is a run."""
    with kit.serve() as server:
        id = service.run({'hosts': server.host, 'request': {}})[0]['id']
    upgraded(service, f'/runs/{id}/ws').close()
    for path in '/', '/runs', f'/runs/{id}', '/healthz':
        watcher = Watcher(service, path)
        assert watcher.answer.status_code in (200, 404)
        watcher.sock.close()
