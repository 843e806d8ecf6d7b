"""What runs may ask, what callers may set, and what is kept of their secrets."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
import pytest
from gevent import socket

from napixclient import Client, ClientPool, ConnectError, Request
from napixclient.allow import Allow
from napixclient.authenticators import LoginAuthenticator
from napixclient.secret_names import add_secret_names
from napixclient.service.database import open_database
from napixclient.service.nonces import GRACE, TABLES, KeptNonces
from napixclient.service.private import make_private
from napixclient.service.secrets import Secrets, secrets_of_body
from napixclient.wsgi.refusals import Forbidden
from tests import kit
from tests.cli.programs import napix
from tests.service.serving import Service, serving

# Addresses ---------------------------------------------------------------------------------------------------------------

EVERYTHING = ('0.0.0.0/0', '::/0', '*')


@pytest.mark.parametrize(
    'address',
    [
        '169.254.169.254',
        '169.254.1.1',
        'fe80::1',
        'fe80::1%eth0',
        '::ffff:169.254.169.254',
        '64:ff9b::a9fe:a9fe',
        '2002:a9fe:a9fe::1',
        '::a9fe:a9fe',
        'fd00:ec2::254',
        'fd20:ce::254',
        '100.100.100.200',
        '168.63.129.16',
        '192.0.0.192',
        '0.0.0.0',
        '0.1.2.3',
        '::',
        '224.0.0.1',
        'ff02::1',
        '255.255.255.255',
        '::ffff:0.0.0.0',
    ],
)
def test_link_local_and_metadata_addresses_are_never_asked(address: str) -> None:
    """Whatever is allowed: the machine's own link, the clouds' metadata, and what is no single machine."""
    assert not Allow(EVERYTHING).permits('any.example', address)


@pytest.mark.parametrize(
    ('patterns', 'host', 'address', 'permitted'),
    [
        ((), 'a', '127.0.0.1', False),
        ((), 'a', '8.8.8.8', False),
        (('10.0.0.0/8',), 'a', '10.1.2.3', True),
        (('10.0.0.0/8',), 'a', '11.1.2.3', False),
        (('10.0.0.0/8',), 'a', '::ffff:10.1.2.3', True),
        (('10.0.0.0/8',), 'a', '::ffff:127.0.0.1', False),
        (('10.0.0.7',), '10.0.0.7', '10.0.0.7', True),
        (('[::1]',), '::1', '::1', True),
        (('::1',), 'a', '127.0.0.1', False),
        (('*.example',), 'web.example', '192.168.1.1', True),
        (('*.example',), 'WEB.example'.lower(), '10.0.0.1', True),
        (('*.example',), 'example', '10.0.0.1', False),
        (('*.example',), 'web.example.org', '10.0.0.1', False),
        (('*.example',), 'web.example.', '10.0.0.1', True),
        (('web*',), 'web1', '10.0.0.1', True),
        (('*.example',), 'evil.example', '127.0.0.1', False),
        (('*',), 'a', '127.0.0.1', False),
        (('*',), 'a', '::1', False),
        (('*.example', '127.0.0.0/8'), 'evil.example', '127.0.0.1', True),
        (('localhost',), 'localhost', '127.0.0.1', True),
        (('web.example',), 'webxexample', '10.0.0.1', False),
    ],
)
def test_patterns(patterns: tuple[str, ...], host: str, address: str, permitted: bool) -> None:
    """A network lets its addresses through, a name what it leads to, but not this machine itself."""
    assert Allow(patterns).permits(host, address) is permitted


@pytest.mark.parametrize('pattern', ['', '10.0.0.0/33', '1.2.3', 'a b', 'http://a', 'a:80', '10.0.0'])
def test_patterns_that_make_no_sense(pattern: str) -> None:
    """What is neither a network nor a name is refused."""
    with pytest.raises(ValueError, match='neither'):
        Allow([pattern])


def test_row_32_rebinding() -> None:
    """A name that leads somewhere else the next time is judged by where it leads then, also after a redirect."""
    answers = iter(['127.0.0.1', '127.0.0.2', '127.0.0.1'])
    looked_up = []

    def resolver(host: str, port: int) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (next(answers), port))]

    def away(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return 302, {'Location': f'http://b.test:{other.port}/'}, ''

    with (
        kit.serve(away, address='0.0.0.0') as server,
        kit.serve(address='0.0.0.0') as other,
        ClientPool(resolver=resolver, redirect=True) as pool,
    ):
        Allow(['127.0.0.1/32']).guard(pool)
        pool.request(f'a.test:{server.port}', 'GET', '/')
        (error,) = pool.wait(10)
        assert type(error) is ConnectError and 'may not be asked' in str(error) and '127.0.0.2' in str(error)
        assert looked_up == ['a.test', 'b.test'] and other.accepted == 0


def test_some_of_several_addresses() -> None:
    """Of the addresses of a name, those that are allowed are tried, and only those."""

    def resolver(host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (address, port)) for address in ('127.0.0.2', '127.0.0.1')]

    with kit.serve(address='0.0.0.0') as server, ClientPool(resolver=resolver) as pool:
        Allow(['127.0.0.1/32']).guard(pool)
        pool.request(f'a.test:{server.port}', 'GET', '/000123')
        assert pool.wait(10)[0].text == '000123'
        assert server.requests[0].peer.socket.getsockname()[0] == '127.0.0.1'


@pytest.mark.parametrize('host', ['127.1', '0x7f000001', '2130706433', '0177.0.0.1', 'localhost', '0', '0x7f.1'])
def test_row_32_odd_spellings(tmp_path_factory: pytest.TempPathFactory, narrow: Service, host: str) -> None:
    """However loopback is written, it is refused where it is not allowed, at the time of connecting."""
    with kit.serve() as server:
        _, (result,) = narrow.run({'requests': [{'host': f'{host}:{server.port}'}]})
        assert result['error']['class'] == 'ConnectError' and 'may not be asked' in result['error']['text'], result
        assert server.accepted == 0


@pytest.fixture(scope='module')
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service that may ask 127.0.0.9 and nobody else."""
    with serving(tmp_path_factory.mktemp('narrow') / 'runs', '--allow', '127.0.0.9/32') as running:
        yield running


@pytest.mark.parametrize(
    'host',
    [
        '127.0.0.1:80',
        '[::1]:80',
        '[::ffff:127.0.0.1]:80',
        '8.8.8.8',
        'https://10.0.0.1',
        '169.254.169.254',
        '[fe80::1]',
        '0.0.0.0:80',
        '[::]:80',
        '[::ffff:a9fe:a9fe]',
        'unix:///run/docker.sock',
        'http+unix://%2Frun%2Fdocker.sock',
    ],
)
def test_literals_are_refused_at_once(narrow: Service, host: str) -> None:
    """An address that may not be asked is a 400, and nothing is run."""
    error = narrow.start({'requests': [{'host': '127.0.0.9:1'}, {'host': host}]}, 400)
    assert 'requests[1]' in error['error_text'] and 'may not be asked' in error['error_text']


def test_row_31_redirects(narrow: Service) -> None:
    """A redirect leads to nothing that may not be asked, written as an address or as a name."""

    def away(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return 302, {'Location': f'http://{path[1:]}:{secret.port}/'}, ''

    with kit.serve(away, address='127.0.0.9') as server, kit.serve(address='0.0.0.0') as secret:
        _, results = narrow.run(
            {
                'requests': [
                    {'host': server.host, 'url': f'/{host}'}
                    for host in ('127.0.0.1', 'localhost', '127.1', '0x7f000001', '[::ffff:127.0.0.1]', '0.0.0.0')
                ],
                'redirect': True,
            }
        )
        assert [one['error']['class'] for one in results] == ['ConnectError'] * 6, results
        assert secret.accepted == 0
        _, (result,) = narrow.run({'requests': [{'host': server.host, 'url': '/127.0.0.9'}], 'redirect': True})
        assert result['status'] == 200


def test_only_loopback_without_allow(service: Service) -> None:
    """Without `--allow` this machine may be asked, by name and by address, and no other network."""
    with kit.serve() as server:
        _, results = service.run({'requests': [{'host': f'localhost:{server.port}'}, {'host': server.host}]})
        assert [one['status'] for one in results] == [200, 200]
    for host in '10.0.0.1', '192.168.0.1', '[2001:db8::1]', '169.254.169.254':
        service.start({'hosts': [host], 'request': {}}, 400)


# What callers may set ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'request_',
    [
        {'headers': {name: value}}
        for name, value in [
            ('Host', 'x'),
            ('hOST', 'x'),
            ('Content-Length', '0'),
            ('Content_Length', '0'),
            ('Transfer-Encoding', 'chunked'),
            ('TRANSFER_ENCODING', 'chunked'),
            ('Connection', 'Content-Length'),
            ('Upgrade', 'websocket'),
            ('TE', 'trailers'),
            ('Expect', '100-continue'),
            ('X-A', 'a\r\nHost: x'),
            ('X-A', 'a\n'),
            ('X-A', '\0'),
            ('X-A\r\nHost', 'x'),
            ('X-A', '\u2028'),
            ('Host ', 'x'),
            (' Host', 'x'),
            ('', 'x'),
            ('X:A', 'x'),
        ]
    ]
    + [
        {'url': '/\r\nHost: x'},
        {'url': '/\0'},
        {'url': '/a b\n'},
        {'method': 'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET'},
        {'method': 'GET\n'},
        {'method': ''},
        {'url': 'http://other/'},
        {'url': '\ud800'},
        {'body': '\ud800'},
    ],
)
def test_row_33_what_frames_a_message_cannot_be_set(service: Service, request_: dict[str, Any]) -> None:
    """CR, LF, NUL and the fields that frame a message are 400, and nothing is sent."""
    with kit.serve() as server:
        service.start({'requests': [{'host': server.host}, {'host': server.host, **request_}]}, 400)
        service.start({'hosts': server.host, 'request': request_}, 400)
        assert server.accepted == 0


@pytest.mark.parametrize(
    'host', ['a\r\nb', 'a\0', 'user@a', 'a/path', 'a?x', 'ftp://a', 'a:99999', '', '::1', 'ä', 'a..é']
)
def test_row_33_hosts(service: Service, host: str) -> None:
    """A host is a host and nothing else."""
    service.start({'requests': [{'host': host}]}, 400)


# Secrets -----------------------------------------------------------------------------------------------------------------


def test_secrets_are_neither_kept_nor_shown(tmp_path: Path) -> None:
    """What a request carries as a credential is sent, and found nowhere afterwards, even if the server repeats it."""

    def repeat(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (
            200,
            {'Content-Type': 'application/json'},
            {
                'said': [path, headers.get('authorization'), headers.get('cookie'), headers.get('x-api-key')],
                'password': 'p4ssw0rd',
            },
        )

    secrets = {
        'Authorization': 'Basic dXNlcjpwNHNzdzByZA==',
        'Cookie': 'session=c00kie-v4lue; a=b',
        'X-Api-Key': 'k3y-v4lue',
    }
    with kit.serve(repeat) as server, serving(tmp_path / 'runs') as service:
        run, (result,) = service.run(
            {'requests': [{'host': server.host, 'url': '/x?token=t0ken-v4lue&a=1', 'headers': secrets}]}
        )
        assert b't0ken-v4lue' in server.requests[0].raw and b'c00kie-v4lue' in server.requests[0].raw
        assert result['url'] == '/x?token=***&a=1'
        service.start({'requests': [{'host': server.host, 'url': '/y?token=t0ken-v4lue', 'headers': secrets}] * 3})
        shown = b''.join(
            service.ask('GET', path).data
            for path in (
                '/runs',
                f'/runs/{run["id"]}',
                f'/runs/{run["id"]}/results',
                f'/runs/{run["id"]}/events',
                '/metrics',
            )
        )
        kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())  # the journal, too
    kept += b''.join(path.read_bytes() for path in tmp_path.iterdir())
    logged = '\n'.join(map(str, service.log)).encode()
    for word in b't0ken-v4lue', b'c00kie-v4lue', b'k3y-v4lue', b'dXNlcjpwNHNzdzByZA', b'p4ssw0rd':
        assert word not in shown and word not in kept and word not in logged, word


BY_NAME = [
    {'headers': {'X-Auth-Key': 'plugh-v4lue'}},
    {'headers': {'Ocp-Apim-Subscription-Key': 'plugh-v4lue'}},
    {'headers': {'X-Quux': 'plugh-v4lue'}},
    {'url': '/?a=1&sig=plugh-v4lue'},
    {'url': '/?api_key=plugh-v4lue'},
    {'url': '/?code=plugh-v4lue'},
    {'url': '/?xQuux=plugh-v4lue'},
    {'body': {'a': [{'passwd': 'plugh-v4lue'}]}},
    {'body': {'auth': {'user': ['plugh-v4lue']}}},
    {'body': {'x_quux': 'plugh-v4lue'}},
    {'body': 'a=1&pwd=plugh-v4lue', 'headers': {'Content-Type': 'application/x-www-form-urlencoded'}},
    {'body': '{"jwt": "plugh-v4lue"}', 'headers': {'Content-Type': 'application/json'}},
    {'body': {'pad': ['x' * 60] * 2000, 'otp': 'plugh-v4lue'}},
]


def test_secrets_by_their_names(tmp_path: Path) -> None:
    """What fields, parameters and members are called says what is kept and shown, also with a name of --secret."""
    with (
        kit.serve(lambda m, path, headers, body: f'{path} {headers!r} {body[-200:]!r}') as server,
        serving(tmp_path / 'runs', '--secret', 'X-Quux') as service,
    ):
        for part in BY_NAME:
            run, (result,) = service.run({'requests': [{'host': server.host, 'method': 'PUT', **part}]})
            assert b'plugh-v4lue' in server.requests[-1].raw and '***' in result['body'], part
            shown = b''.join(
                service.ask('GET', f'/runs/{run["id"]}{path}').data for path in ('', '/results', '/events')
            )
            assert b'plugh-v4lue' not in shown, part
        kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())
    assert b'plugh-v4lue' not in kept and 'plugh-v4lue' not in str(service.log)


def test_harmless_names_are_kept(tmp_path: Path) -> None:
    """What only looks like the name of a secret is shown as it is, and does not keep a request from the store."""
    with kit.serve(lambda m, path, headers, body: path) as server, serving(tmp_path / 'runs') as service:
        url = '/?author=plugh-v4lue&primary_key=plugh-v4lue'
        request = {
            'url': url,
            'headers': {'Idempotency-Key': 'plugh-v4lue'},
            'body': {'monkey': 'plugh-v4lue', 'code': 'plugh-v4lue', 'tags': [{'key': 'plugh-v4lue', 'value': 1}]},
        }
        _, (result,) = service.run({'requests': [{'host': server.host, 'method': 'PUT', **request}]})
        assert result['url'] == result['body'] == url


def test_a_name_without_its_value(tmp_path: Path) -> None:
    """A name that is none is told of before the service starts."""
    finished = napix('serve', '--store', f'sqlite:///{tmp_path / "runs"}', '--secret', 'X-Quux: plugh-v4lue')
    assert finished.code == 2 and 'name of a secret' in finished.err and 'plugh' not in finished.err


def test_a_secret_in_another_member(tmp_path: Path) -> None:
    """A credential that a tag, or another request of the run, repeats is not kept or shown either; what was sent is as it was."""
    with kit.serve() as server, serving(tmp_path / 'runs') as service:
        run, results = service.run(
            {
                'requests': [
                    {'host': server.host, 'tag': 'of t0ken-v4lue', 'headers': {'X-Auth-Token': 't0ken-v4lue'}},
                    {'host': server.host, 'url': '/?q=t0ken-v4lue', 'method': 'PUT', 'body': {'a': 't0ken-v4lue'}},
                ]
            }
        )
        assert {result['tag'] for result in results} == {'of ***', None}
        assert b''.join(request.raw for request in server.requests).count(b't0ken-v4lue') == 3
        kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())
    assert b't0ken-v4lue' not in kept and not any('t0ken-v4lue' in str(line) for line in service.log)


def test_words_that_are_secrets(service: Service) -> None:
    """A credential that is a word of our sentences is taken out of what others say, and not out of those."""
    with kit.serve(lambda *_: (200, None, 'the connection was refused')) as server:
        _, (failed, answered) = service.run(
            {
                'requests': [
                    {'host': '127.0.0.1:1', 'headers': {'X-Auth-Token': 'refused', 'X-Api-Key': 'done'}},
                    {'host': server.host, 'headers': {'X-Auth-Token': 'connection', 'X-Api-Key': 'RefusedError'}},
                ]
            }
        )
    assert (failed['error']['class'], failed['error']['text']) == ('RefusedError', 'connection refused')
    assert failed['error']['chain'][0]['error_text'] == 'connection refused' and failed['state'] == 'done'
    assert answered['body'] == 'the *** was ***'


@pytest.mark.parametrize('part', ['tag', 'body'])
def test_a_nest_with_a_secret(service: Service, part: str) -> None:
    """What is nested so deep that nobody can look for secrets in it is a 400."""
    nest: list[Any] = []
    for _ in range(600):
        nest = [nest]
    service.start({'requests': [{'host': '127.0.0.1:1', part: nest, 'headers': {'X-Token': 't0ken-v4lue'}}]}, 400)


def test_very_many_secrets() -> None:
    """Where each of thousands of requests has one of its own, as when all are signed, none is overlooked, and nothing else is hidden."""
    secrets = Secrets()
    for number in range(5000):
        secrets.of_request('/', [('Authorization', f'login=me&nonce={number:06}:c0ffee')])
    text = 'login=me&nonce='
    assert secrets.without(
        {'a': [text, f'<{text}004999:c0ffee{text}000000:c0ffee>', f'{text}005000:c0ffee', '', 1]}
    ) == {'a': [text, '<******>', f'{text}005000:c0ffee', '', 1]}


def test_the_store_is_its_owners(tmp_path: Path) -> None:
    """Nobody else may read the store."""
    with serving(tmp_path / 'state' / 'runs') as service, kit.serve() as server:
        service.run({'hosts': server.host, 'request': {}})
        assert (tmp_path / 'state').stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / 'state').iterdir()} == {0o600}


# What others on this machine see -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', [0o644, 0o660, 0o604, 0o777])
def test_a_store_that_others_may_read_is_made_private(tmp_path: Path, mode: int) -> None:
    """It is its owner's alone from the start on, with all files beside it, and the log says what it was."""
    store = tmp_path / 'runs.sqlite'
    with serving(store) as service:
        id = service.start({'hosts': '127.0.0.1:1', 'request': {}})['id']
        service.kill()  # leaves what SQLite has beside it
    files = [path for path in tmp_path.iterdir() if path.name.startswith(store.name)]
    assert len(files) >= 3
    for path in files:
        path.chmod(mode)
    with serving(store) as service:
        assert service.show(id)['id'] == id
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
        for path in files:
            assert service.said(f'{path} was open to other users (mode {mode:04o})')


def test_a_directory_is_left_as_it_is(tmp_path: Path) -> None:
    """Who names a directory for the store has made a mistake; its rights are not the service's business."""
    tmp_path.chmod(0o755)
    make_private(str(tmp_path))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_private_store_is_not_spoken_of(tmp_path: Path) -> None:
    """There is no word where nothing was wrong."""
    for _ in range(2):
        with serving(tmp_path / 'runs') as service:
            assert not service.said('open to other users')


def test_secrets_on_the_command_line(tmp_path: Path) -> None:
    """Each is warned of, without being shown, and what to do instead is named; a file is no reason for a word."""
    with serving(tmp_path / 'runs', '--token', 's3cret-t0ken', '--login', 'root', '--key', 's3cret-key') as service:
        warnings = [one['message'] for one in service.log if one['level'] == 'warning']
        assert [text.partition(':')[0] for text in warnings] == ['--token', '--key']
        assert all('list of processes' in text and '@FILE' in text for text in warnings) and 's3cret' not in str(
            service.log
        )
    (tmp_path / 'token').write_text('s3cret-t0ken')
    with serving(tmp_path / 'runs', '--token', f'@{tmp_path / "token"}') as service:
        assert not service.said('list of processes')
    finished = napix('serve', '--bind', '127.0.0.1:0', '--store', 'postgresql://napix:s3cret@127.0.0.1:1/runs')
    assert finished.code == 2 and 'WARNING --store: a password' in finished.err and 's3cret' not in finished.err


SHADOWS = (
    'json',
    'sqlalchemy',
    'gevent',
    'logging',
    'geventwebsocket',
    'prometheus_client',
    'sqlite3',
    'click',
    'napix',
    'http',
    'readline',
    'sitecustomize',
    'usercustomize',
)


@pytest.mark.parametrize(
    'start', [['-m', 'napixclient'], ['-c', 'import sys; from napixclient.cli import main; sys.exit(main())']]
)
def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, start: list[str]) -> None:
    """Without `--mount` a json.py where the service is started is not run, however it is started."""
    place = tmp_path / 'place'
    place.mkdir()
    for name in SHADOWS:
        (place / f'{name}.py').write_text(f'open({str(tmp_path / "imported")!r}, "a").write({name!r})')
    arguments = ['serve', '--bind', '127.0.0.1:0', '--store', f'sqlite:///{tmp_path / "runs"}']
    if start[0] == '-c':  # for which Python itself puts the directory first
        start = [*start[:1], 'import sys; del sys.path[0]\n' + start[1]]
    process = gevent.subprocess.Popen(
        [sys.executable, *start, *arguments], cwd=place, env=kit.environment(), stderr=gevent.subprocess.PIPE
    )
    try:
        line = b''
        while b'listening' not in line:
            line = process.stderr.readline()
            assert line
        url = re.search(rb'http://([^/]*)/', line)
        assert url is not None
        with Client(url[1].decode()) as client:
            assert client.request('GET', '/healthz').status == 200
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0 and not (tmp_path / 'imported').exists()


def test_control_characters_of_a_path_are_escaped_in_the_log(tmp_path: Path) -> None:
    """What a peer chooses to send does nothing to the terminal that shows the log, and makes no line of its own."""
    process = gevent.subprocess.Popen(
        [
            sys.executable,
            '-m',
            'napixclient',
            'serve',
            '--bind',
            '127.0.0.1:0',
            '--store',
            f'sqlite:///{tmp_path / "runs"}',
        ],
        cwd=kit.ROOT,
        env=kit.environment(),
        stderr=gevent.subprocess.PIPE,
    )
    try:
        log = b''
        while b'listening' not in log:
            log += process.stderr.readline()
        found = re.search(rb'http://127.0.0.1:([0-9]+)/', log)
        assert found is not None
        for target in (
            b'/\x1b[2J\x1b]0;title\x07',
            b'/\x9b31m',
            b'/a\rINFO\x0b',
            b'/\0',
            b'/\x7f',
            b'/%1b%0aINFO',
            b'/?a=\x1b',
        ):
            for method in b'GET', b'G\x1b':
                with socket.create_connection(('127.0.0.1', int(found[1])), 30) as sock:
                    sock.sendall(method + b' ' + target + b' HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n')
                    assert sock.recv(9) == b'HTTP/1.1 '
    finally:
        process.terminate()
        log += process.communicate()[1]
    assert not re.search(rb'[\x00-\x09\x0b-\x1f\x7f-\x9f]', log), log
    assert (
        rb'GET /\x1b[2J\x1b]0;title\x07' in log
        and rb'/\x9b31m' in log
        and all(line[:1].isdigit() for line in log.splitlines())
    )


# Requests that are sent again ------------------------------------------------------------------------------------------


def test_a_signed_request_is_refused_again_after_a_restart(tmp_path: Path) -> None:
    """Whoever has seen a signed request cannot send it again: not at once, nor after a restart or a crash, with no other body."""
    (tmp_path / 'key').write_text('toor')
    options = ['--login', 'root', '--key', f'@{tmp_path / "key"}']
    with serving(tmp_path / 'runs', *options) as service:
        host = service.host
        sign = LoginAuthenticator('root', 'toor')
        signed = [sign(Request(host, 'POST', '/runs')).headers['Authorization'] for _ in range(20)]

        def status(authorization: str, body: str) -> bytes:
            with socket.create_connection(('127.0.0.1', service.port), 30) as sock:
                sock.sendall(
                    f'POST /runs HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Length: {len(body)}\r\n'
                    f'Content-Type: application/json\r\nConnection: close\r\n\r\n{body}'.encode()
                )
                answer: bytes = sock.recv(12)
                return answer[9:]

        at_once = [gevent.spawn(status, one, '{}') for one in signed]  # 400: it was let in
        assert {one.get() for one in at_once} == {b'400'}
        assert status(signed[0], '{"a":1}') == b'403'
        service.kill()
    with serving(tmp_path / 'runs', *options) as service:
        assert {status(one, '{"b":1}') for one in signed} == {b'403'}
        fresh = sign(Request(host, 'POST', '/runs')).headers['Authorization']
        assert status(fresh, '{}') == b'400'


def test_nonces_are_forgotten_after_their_time(tmp_path: Path) -> None:
    """They are kept for the window of their request, by whoever shares the store, and no longer."""
    database = open_database(f'sqlite:///{tmp_path / "nonces"}')
    database.write(lambda to: [to.run(sql) for sql in TABLES])
    ours, theirs = KeptNonces(database), KeptNonces(database)
    ours.take('root', 'n', 1300.0, 1000.0)
    theirs.take('other', 'n', 1300.0, 1000.0)
    with pytest.raises(Forbidden):
        theirs.take('root', 'n', 1300.0, 1000.0)
    ours.take('root', 'm', 1300.0 + 2 * GRACE, 1301.0 + GRACE)
    assert database.read(lambda to: list(to.rows('SELECT COUNT(*) FROM nonces'))) == [(1,)]
    database.close()


def test_names_that_were_met_before() -> None:
    """What is found in a body does not depend on which bodies came before it, nor on when a name became a secret."""
    body = {'tenant-colour': 'ultramarine', 'deep': [{'tenant-colour': 'vermilion', 'token': 'swordfish'}], 'n': 1}
    for _ in range(2):
        assert secrets_of_body(body) == ['swordfish']
        assert secrets_of_body({'n': 1, 'deep': [{'n': 'x'}]}) == []
        assert secrets_of_body({'token': {'n': [7, None, True, '', 'seven']}}) == ['7', 'seven']
    add_secret_names(['tenant-colour'])
    assert sorted(secrets_of_body(body)) == ['swordfish', 'ultramarine', 'vermilion']
