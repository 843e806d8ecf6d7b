"""`napix demo --serve`, the real command: whoever does as it says reaches the servers of the documentation."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gevent import socket

from tests.cli.programs import interrupt, napix, started


class Serving(NamedTuple):
    """The process, and what it says that others put into their environment."""

    process: Any
    environment: dict[str, str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.environment['NAPIX_DEMO_PORT'])


def announced(process: Any) -> Serving:
    """What it has announced."""
    for line in process.stdout:
        if line.startswith(b'  export '):
            return Serving(process, dict(re.findall(r'(\w+)=(\S+)', line.decode())))
    raise AssertionError('it ended without an announcement')


@pytest.fixture(scope='module')
def serving() -> Iterator[Serving]:
    """One that serves all tests."""
    with started('demo', '--serve', '--port', '0', fresh=True) as process:
        yield announced(process)
        assert interrupt(process)[::2] == (130, '')


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate that it prints."""
    file = tmp_path_factory.mktemp('authority') / 'ca.pem'
    file.write_text(napix('demo', '--ca-certs', fresh=True).out)
    return file


def test_its_hosts_have_names(serving: Serving) -> None:
    """A process in that environment reaches them by name; one of them is down, and one is not well."""
    done = napix('get', 'web[1-4].example', '/status', '--ordered', fresh=True, **serving.environment)
    assert [line.split('\t')[:2] for line in done.out.splitlines()] == [
        ['web1.example', '200'],
        ['web2.example', '200'],
        ['web3.example', '503'],
        ['web4.example', 'RefusedError'],
    ]


def test_no_other_name_of_its_kind_exists(serving: Serving) -> None:
    """A name in .example that it does not serve is nobody's, whatever the network says."""
    done = napix('get', 'web101.example', '/status', fresh=True, **serving.environment)
    assert done.out.split('\t')[1] == 'NameResolutionError'


def test_other_names_are_looked_up_as_ever(serving: Serving) -> None:
    """The environment takes nothing away: localhost is still there."""
    done = napix('get', f'localhost:{serving.port}', '/captains', fresh=True, **serving.environment)
    assert done.out.split('\t')[1] == '404'


@pytest.mark.parametrize('proxy', [(), ('--proxy', 'http://user:password@proxy.example:3128')])
@pytest.mark.parametrize('host', ['https://secure.example', 'https://secure.example:8443', 'server.example:8002'])
def test_tls_and_proxy_are_on_the_same_port(
    host: str, proxy: tuple[str, ...], serving: Serving, authority: Path
) -> None:
    """Certificates are verified by what it prints, straight and through the proxy, whatever port is asked for."""
    done = napix('get', host, '/', '--cacert', authority, *proxy, fresh=True, **serving.environment)
    assert (done.code, done.out.split('\t')[1]) == (0, '200')


@pytest.mark.parametrize('host', ['https://secure.example', 'server.example'])
def test_the_proxy_wants_to_know_who_asks(host: str, serving: Serving) -> None:
    """Without credentials it answers 407, a tunnel and a request alike."""
    done = napix('get', host, '/', '--json', '--proxy', 'http://proxy.example:3128', fresh=True, **serving.environment)
    assert done.code in (1, 3) and '407 Proxy Authentication Required' in done.out


def test_an_unknown_authority_is_not_trusted(serving: Serving) -> None:
    """The system knows nothing of the authority of these servers."""
    done = napix('get', 'https://secure.example', '/', fresh=True, **serving.environment)
    assert done.out.split('\t')[1] == 'TLSError'


def test_a_port_in_use_is_said_in_one_line(serving: Serving) -> None:
    """Nothing is served, and the line tells what to do."""
    done = napix('demo', '--serve', '--port', serving.port, fresh=True)
    assert (done.code, done.out) == (2, '')
    assert done.err == f'napix: port {serving.port} or {serving.port + 1} is in use: choose another one with --port\n'


def test_it_goes_on_when_clients_break_off(serving: Serving) -> None:
    """Connections that end half-way, or speak nonsense, are nobody's trouble."""
    for data in b'', b'C', b'CONNECT a', b'\x16\x03', b'GET / HTTP/1.1\r\n', b'CONNECT x HTTP/1.1\r\n\r\n', b'\0' * 99:
        with socket.create_connection(('127.0.0.1', serving.port)) as sock:
            sock.sendall(data)
    done = napix('get', 'server.example', '/captains', fresh=True, **serving.environment)
    assert done.code == 0


def test_sigterm_ends_it() -> None:
    """It ends at once, without a word, and its port is free."""
    with started('demo', '--serve', '--port', '0', fresh=True) as process:
        port = announced(process).port
        code, _, err = interrupt(process, signal.SIGTERM)
    assert (code, err) == (143, '')
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(('127.0.0.1', port))
