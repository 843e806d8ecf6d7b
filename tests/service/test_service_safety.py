"""What runs may ask, what callers may set, and what is kept of their secrets."""
from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from napixclient import ClientPool, ConnectError
from napixclient.service.allow import Allow
from napixclient.service.secrets import Secrets
from tests import kit
from tests.service.serving import Service, serving

# Addresses ---------------------------------------------------------------------------------------------------------------

EVERYTHING = ('0.0.0.0/0', '::/0', '*')


@pytest.mark.parametrize('address', [
    '169.254.169.254', '169.254.1.1', 'fe80::1', 'fe80::1%eth0', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe',
    '2002:a9fe:a9fe::1', '::a9fe:a9fe', 'fd00:ec2::254', 'fd20:ce::254', '100.100.100.200', '168.63.129.16', '192.0.0.192',
    '0.0.0.0', '0.1.2.3', '::', '224.0.0.1', 'ff02::1', '255.255.255.255', '::ffff:0.0.0.0',
])
def test_link_local_and_metadata_addresses_are_never_asked(address: str) -> None:
    """Whatever is allowed: the machine's own link, the clouds' metadata, and what is no single machine."""
    assert not Allow(EVERYTHING).permits('any.example', address)


@pytest.mark.parametrize(('patterns', 'host', 'address', 'permitted'), [
    ((), 'a', '127.0.0.1', False), ((), 'a', '8.8.8.8', False),
    (('10.0.0.0/8',), 'a', '10.1.2.3', True), (('10.0.0.0/8',), 'a', '11.1.2.3', False),
    (('10.0.0.0/8',), 'a', '::ffff:10.1.2.3', True), (('10.0.0.0/8',), 'a', '::ffff:127.0.0.1', False),
    (('10.0.0.7',), '10.0.0.7', '10.0.0.7', True), (('[::1]',), '::1', '::1', True), (('::1',), 'a', '127.0.0.1', False),
    (('*.example',), 'web.example', '192.168.1.1', True), (('*.example',), 'WEB.example'.lower(), '10.0.0.1', True),
    (('*.example',), 'example', '10.0.0.1', False), (('*.example',), 'web.example.org', '10.0.0.1', False),
    (('*.example',), 'web.example.', '10.0.0.1', True), (('web*',), 'web1', '10.0.0.1', True),
    (('*.example',), 'evil.example', '127.0.0.1', False), (('*',), 'a', '127.0.0.1', False), (('*',), 'a', '::1', False),
    (('*.example', '127.0.0.0/8'), 'evil.example', '127.0.0.1', True), (('localhost',), 'localhost', '127.0.0.1', True),
    (('web.example',), 'webxexample', '10.0.0.1', False),
])
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

    with kit.serve(away, address='0.0.0.0') as server, kit.serve(address='0.0.0.0') as other, \
            ClientPool(resolver=resolver, redirect=True) as pool:
        Allow(['127.0.0.1/32']).guard(pool)
        pool.request(f'a.test:{server.port}', 'GET', '/')
        error, = pool.wait(10)
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


@pytest.mark.parametrize('host', [
    '127.0.0.1:80', '[::1]:80', '[::ffff:127.0.0.1]:80', '8.8.8.8', 'https://10.0.0.1', '169.254.169.254', '[fe80::1]',
    '0.0.0.0:80', '[::]:80', '[::ffff:a9fe:a9fe]'])
def test_literals_are_refused_at_once(narrow: Service, host: str) -> None:
    """An address that may not be asked is a 400, and nothing is run."""
    error = narrow.start({'requests': [{'host': '127.0.0.9:1'}, {'host': host}]}, 400)
    assert 'requests[1]' in error['error_text'] and 'may not be asked' in error['error_text']


def test_row_31_redirects(narrow: Service) -> None:
    """A redirect leads to nothing that may not be asked, written as an address or as a name."""
    def away(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return 302, {'Location': f'http://{path[1:]}:{secret.port}/'}, ''

    with kit.serve(away, address='127.0.0.9') as server, kit.serve(address='0.0.0.0') as secret:
        _, results = narrow.run({'requests': [{'host': server.host, 'url': f'/{host}'} for host in (
            '127.0.0.1', 'localhost', '127.1', '0x7f000001', '[::ffff:127.0.0.1]', '0.0.0.0')], 'redirect': True})
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

@pytest.mark.parametrize('request_', [
    {'headers': {name: value}} for name, value in [
        ('Host', 'x'), ('hOST', 'x'), ('Content-Length', '0'), ('Content_Length', '0'), ('Transfer-Encoding', 'chunked'),
        ('TRANSFER_ENCODING', 'chunked'), ('Connection', 'Content-Length'), ('Upgrade', 'websocket'), ('TE', 'trailers'),
        ('Expect', '100-continue'), ('X-A', 'a\r\nHost: x'), ('X-A', 'a\n'), ('X-A', '\0'), ('X-A\r\nHost', 'x'),
        ('X-A', '\u2028'), ('Host ', 'x'), (' Host', 'x'), ('', 'x'), ('X:A', 'x')]
] + [{'url': '/\r\nHost: x'}, {'url': '/\0'}, {'url': '/a b\n'}, {'method': 'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET'},
     {'method': 'GET\n'}, {'method': ''}, {'url': 'http://other/'}, {'url': '\ud800'}, {'body': '\ud800'}])
def test_row_33_what_frames_a_message_cannot_be_set(service: Service, request_: dict[str, Any]) -> None:
    """CR, LF, NUL and the fields that frame a message are 400, and nothing is sent."""
    with kit.serve() as server:
        service.start({'requests': [{'host': server.host}, {'host': server.host, **request_}]}, 400)
        service.start({'hosts': server.host, 'request': request_}, 400)
        assert server.accepted == 0


@pytest.mark.parametrize('host', ['a\r\nb', 'a\0', 'user@a', 'a/path', 'a?x', 'ftp://a', 'a:99999', '', '::1', 'ä', 'a..é'])
def test_row_33_hosts(service: Service, host: str) -> None:
    """A host is a host and nothing else."""
    service.start({'requests': [{'host': host}]}, 400)


# Secrets -----------------------------------------------------------------------------------------------------------------

def test_secrets_are_neither_kept_nor_shown(tmp_path: Path) -> None:
    """What a request carries as a credential is sent, and found nowhere afterwards, even if the server repeats it."""
    def repeat(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return 200, {'Content-Type': 'application/json'}, {
            'said': [path, headers.get('authorization'), headers.get('cookie'), headers.get('x-api-key')], 'password': 'p4ssw0rd'}

    secrets = {'Authorization': 'Basic dXNlcjpwNHNzdzByZA==', 'Cookie': 'session=c00kie-v4lue; a=b', 'X-Api-Key': 'k3y-v4lue'}
    with kit.serve(repeat) as server, serving(tmp_path / 'runs') as service:
        run, (result,) = service.run({'requests': [
            {'host': server.host, 'url': '/x?token=t0ken-v4lue&a=1', 'headers': secrets}]})
        assert b't0ken-v4lue' in server.requests[0].raw and b'c00kie-v4lue' in server.requests[0].raw
        assert result['url'] == '/x?token=***&a=1'
        service.start({'requests': [{'host': server.host, 'url': '/y?token=t0ken-v4lue', 'headers': secrets}] * 3})
        shown = b''.join(service.ask('GET', path).data for path in (
            '/runs', f'/runs/{run["id"]}', f'/runs/{run["id"]}/results', f'/runs/{run["id"]}/events', '/metrics'))
        kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())       # the journal, too
    kept += b''.join(path.read_bytes() for path in tmp_path.iterdir())
    logged = '\n'.join(map(str, service.log)).encode()
    for word in b't0ken-v4lue', b'c00kie-v4lue', b'k3y-v4lue', b'dXNlcjpwNHNzdzByZA', b'p4ssw0rd':
        assert word not in shown and word not in kept and word not in logged, word


def test_a_secret_in_another_place(tmp_path: Path) -> None:
    """A credential that a tag, or another request of the run, repeats is not kept or shown either; what was sent is as it was."""
    with kit.serve() as server, serving(tmp_path / 'runs') as service:
        run, results = service.run({'requests': [
            {'host': server.host, 'tag': 'of t0ken-v4lue', 'headers': {'X-Auth-Token': 't0ken-v4lue'}},
            {'host': server.host, 'url': '/?q=t0ken-v4lue', 'method': 'PUT', 'body': {'a': 't0ken-v4lue'}}]})
        assert {result['tag'] for result in results} == {'of ***', None}
        assert b''.join(request.raw for request in server.requests).count(b't0ken-v4lue') == 3
        kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())
    assert b't0ken-v4lue' not in kept and not any('t0ken-v4lue' in str(line) for line in service.log)


def test_words_that_are_secrets(service: Service) -> None:
    """A credential that is a word of our sentences is taken out of what others say, and not out of those."""
    with kit.serve(lambda *_: (200, None, 'the connection was refused')) as server:
        _, (failed, answered) = service.run({'requests': [
            {'host': '127.0.0.1:1', 'headers': {'X-Auth-Token': 'refused', 'X-Api-Key': 'done'}},
            {'host': server.host, 'headers': {'X-Auth-Token': 'connection', 'X-Api-Key': 'RefusedError'}}]})
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
    assert secrets.without({'a': [text, f'<{text}004999:c0ffee{text}000000:c0ffee>', f'{text}005000:c0ffee', '', 1]}) \
        == {'a': [text, '<******>', f'{text}005000:c0ffee', '', 1]}


def test_the_store_is_its_owners(tmp_path: Path) -> None:
    """Nobody else may read the store."""
    with serving(tmp_path / 'state' / 'runs') as service, kit.serve() as server:
        service.run({'hosts': server.host, 'request': {}})
        assert (tmp_path / 'state').stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / 'state').iterdir()} == {0o600}
