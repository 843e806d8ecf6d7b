"""The command over Unix sockets, and from an address of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import kit
from tests.cli.programs import napix
from tests.cli.servers import fields, objects


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a name that is short enough."""
    return tmp_path_factory.mktemp('cli')


def told(method: str, path: str, headers: Any, body: bytes) -> Any:
    """What came."""
    return {'path': path, 'host': headers['host']}


def test_a_socket(directory: Path) -> None:
    """A socket is a host in both forms, and --json tells its path."""
    path = f'{directory}/x.sock'
    with kit.serve(told, address=path) as server:
        for host in server.host, server.url:
            code, out, err = napix('get', host, '/x', '--json')
            [said] = objects(out)
            assert (code, said['host'], said['peer'], said['tried']) == (0, host, path, [path]), err
            assert said['body'] == {'path': '/x', 'host': 'localhost'}


def test_the_url_of_a_socket(directory: Path) -> None:
    """It may be given whole, or on a line of a file of URLs, as one of the network."""
    with kit.serve(told, address=f'{directory}/x.sock') as server:
        url = f'{server.url}/x?a=1'
        code, out, err = napix('get', url, 'b==2', '--json')
        [said] = objects(out)
        assert (code, said['host'], said['url']) == (0, server.url, '/x?a=1&b=2'), err
        (directory / 'urls').write_text(f'{server.url}/1\n{server.url}/2\n')
        napix('get', '--urls', str(directory / 'urls'))
        assert sorted(request.path for request in server.requests) == ['/1', '/2', '/x?a=1&b=2']


def test_node_sets_of_sockets(directory: Path) -> None:
    """A node set names several sockets; --fold folds them, -o writes a file for each, --exclude leaves one out."""
    with (
        kit.serve(told, address=f'{directory}/app1.sock'),
        kit.serve(told, address=f'{directory}/app2.sock'),
        kit.serve(told, address=f'{directory}/app3.sock') as third,
        kit.serve(told) as server,
    ):
        hosts = f'unix://{directory}/app[1-3].sock'
        code, out, _ = napix('get', f'{hosts},{server.host}', '/', '-x', third.host, '--ordered')
        assert code == 0
        assert list(fields(out)) == [f'unix://{directory}/app1.sock', f'unix://{directory}/app2.sock', server.host]
        code, out, _ = napix('get', hosts, '/', '--fold')
        assert code == 0 and f'unix://{directory}/app[1-3].sock (3)' in out
        napix('get', hosts, '/', '-o', str(directory / 'out'))
        assert len(list((directory / 'out').iterdir())) == 3


def test_a_socket_that_is_not_there(directory: Path) -> None:
    """It is a host without an answer; a path that can be none is a mistake of the command line."""
    code, out, _ = napix('get', f'unix://{directory}/none.sock', '/', '--json')
    [said] = objects(out)
    assert (code, said['status'], said['error']['class']) == (3, None, 'ConnectError')
    assert 'No such file' in said['error']['text'] and said['peer'] == f'{directory}/none.sock'
    for host, why in (
        ('https+unix://%2Fx', 'no TLS'),
        (f'unix:///{"x" * 120}', 'at most'),
        ('unix://x', 'absolute path'),
    ):
        code, out, err = napix('get', host, '/')
        assert (code, out) == (2, '') and why in err


def test_a_url_of_a_socket(directory: Path) -> None:
    """The URL that --dry-run shows is a target as well, with a node set in it too, on the command line and in a file."""
    with kit.serve(told, address=f'{directory}/x1.sock') as one, kit.serve(told, address=f'{directory}/x2.sock') as two:
        shown = napix('get', f'unix://{directory}/x[1-2].sock', '/x?a=1', '--dry-run').out
        urls = [line.split()[1] for line in shown.splitlines()]
        (directory / 'urls').write_text('\n'.join(urls))
        for words in urls, [urls[0].replace('x1', 'x[1-2]')], ['--urls', f'{directory}/urls']:
            code, out, err = napix('get', *words)
            assert code == 0 and set(fields(out)) == {one.url, two.url}, err
        assert {request.path for request in [*one.requests, *two.requests]} == {'/x?a=1'}
        assert len(one.requests) == len(two.requests) == 3


def test_proxies_are_for_others(directory: Path) -> None:
    """What the environment or a flag says of proxies is not for sockets."""
    with kit.serve(told, address=f'{directory}/x.sock') as server, kit.serve(told) as proxy:
        for env, flags in ({'http_proxy': proxy.url}, []), ({}, ['--proxy', proxy.url]):
            code, out, _ = napix('get', f'{server.host},server.example', '/', *flags, **env)
            assert code == 0 and list(fields(out)) == [server.host, 'server.example']
        assert len(server.requests) == 2 == len(proxy.requests)


def test_shown() -> None:
    """--curl writes what curl takes for a socket and a source; --dry-run and -v show a URL."""
    out = napix('get', 'http+unix://%2Frun%2Fa%20b.sock', '/x?a=1', '--curl', '--source', '127.0.0.5').out
    assert "--unix-socket '/run/a b.sock'" in out and 'http://localhost/x?a=1' in out and '--interface 127.0.0.5' in out
    assert napix('get', 'unix:///run/x.sock', '/x', '--dry-run').out == 'GET http+unix://%2Frun%2Fx.sock/x\n'


def test_source() -> None:
    """--source says from which address the command connects."""
    sources: list[str] = []

    class Noting(kit.Server):
        def talk(self, peer: kit.Peer) -> None:
            sources.append(peer.socket.getpeername()[0])
            super().talk(peer)

    with Noting() as server:
        assert napix('get', server.host, '/', '--source', '127.0.0.5').code == 0
        assert sources == ['127.0.0.5']


@pytest.mark.parametrize(
    ('source', 'code', 'why'),
    [
        ('192.0.2.1', 3, 'not an address of this machine'),
        ('::1', 3, 'has no IPv6 address'),
        ('here', 2, "--source takes an address such as 10.0.0.5, not 'here'"),
        ('', 2, 'it is empty'),
    ],
)
def test_a_source_that_will_not_do(source: str, code: int, why: str) -> None:
    """An address of another machine or family is the hosts' outcome; what is no address is a mistake."""
    with kit.serve() as server:
        done = napix('get', server.host, '/', '--source', source)
        assert done.code == code and why in done.out + done.err
        assert not server.accepted


def test_not_over_a_cluster() -> None:
    """Where workers ask, the source is theirs."""
    done = napix('get', 'server.example', '/', '--source', '127.0.0.1', '--via', 'amqp://127.0.0.1:1')
    assert done.code == 2 and '--source and --via exclude each other' in done.err
