"""Our own end of connections: the address and the ports that they come from, and what is set on their sockets."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from gevent import socket

from napixclient import Client, ClientPool, ConnectError, ProxyError, RefusedError, rest
from napixclient._http.connect.local_end import LocalEnd
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_thread
from tests.helpers_pool import address, failure
from tests.helpers_proxy import Tunnel
from tests.kit import FaultServer, serve

pytestmark = pytest.mark.usefixtures('oracle')

#: Of the documentation (RFC 5737): no address of any machine.
NOT_OURS = '192.0.2.1'
V6 = stdlib_socket.AF_INET6, stdlib_socket.SOCK_STREAM, 6, ''


class Noting(kit.Server):
    """Notes where its connections come from."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.sources: list[tuple[str, int]] = []
        super().__init__(*arguments, **options)

    def talk(self, peer: kit.Peer) -> None:
        """Note it, and answer."""
        self.sources.append(peer.socket.getpeername()[:2])
        super().talk(peer)

    @property
    def addresses(self) -> set[str]:
        """Those addresses."""
        return {source[0] for source in self.sources}

    @property
    def ports(self) -> list[int]:
        """And the ports."""
        return [source[1] for source in self.sources]


def ask(client: Client, count: int = 1) -> None:
    """So many requests at the same time."""
    for pending in [client.submit('GET', '/000001') for _ in range(count)]:
        assert pending.get(timeout=kit.LONG).text == '000001'


@contextmanager
def free_ports(count: int, of_system: bool) -> Iterator[tuple[int, int]]:
    """So many ports in a row that nobody has, of those that the system gives out or not."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as file:
        first, last = map(int, file.read().split())
    low, high = (first, last) if of_system else (1024, first)
    if high - low < 1000:
        pytest.skip('the system gives out nearly all ports')
    for at in range(low + 500, high - count, 97):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, sock in enumerate(sockets):
                sock.bind(('0.0.0.0', at + number))
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
        yield at, at + count - 1
        return
    raise AssertionError('no ports are free')


# The address ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('source', ['127.0.0.5', ('127.0.0.5', 0), ['127.0.0.5', 0]])
@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', 'peer.example'])
def test_an_address(host: str, source: Any) -> None:
    """All connections come from the source, whether the host is an address or a name; they are kept as ever."""

    def resolver(_: str, port: int) -> Any:
        return [address(port, '127.0.0.1'), address(port, '127.0.0.2')] if host == 'peer.example' else [address(port)]

    with Noting() as server, Client(f'{host}:{server.port}', source_address=source, resolver=resolver) as client:
        ask(client, 4)
        ask(client)
        assert server.addresses == {'127.0.0.5'} and server.accepted == 2


def test_pools_share_no_connection() -> None:
    """Two pools of one host come from their own sources, each over its own connections; so do other faces."""
    with Noting() as server:
        with ClientPool(source_address='127.0.0.5') as one, ClientPool(source_address='127.0.0.6') as other:
            for pool in one, other, one, other:
                pool.request(server.host, 'GET', '/').get()
            assert [source[0] for source in server.sources] == ['127.0.0.5', '127.0.0.6']
            one.wait()
            other.wait()
        with rest.Client(server.url, source_address='127.0.0.7') as client:
            assert client.get('/').peer == ('127.0.0.1', server.port)
        assert '127.0.0.7' in server.addresses


@in_thread
def shared(host: str = '') -> None:
    """Ask over a shared pool."""
    with SharedPool(source_address='127.0.0.8') as pool:
        assert pool.request(host, 'GET', '/').result().status == 200


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_tls_and_tunnels(scheme: str, authority: kit.Authority) -> None:
    """The source is that of connections of TLS, and of those to a proxy, which is what we connect to."""
    tls = authority.server() if scheme == 'https' else None
    options: dict[str, Any] = {'ca_certs': authority.ca_certs, 'source_address': '127.0.0.5'}
    with Noting(tls=tls) as server:
        with Client(server.host, **options) as client:
            ask(client)
        assert server.addresses == {'127.0.0.5'}

    class Proxy(Noting, Tunnel):
        pass

    with serve(tls=authority.server()) as server, Proxy() as proxy:
        with Client(server.host, proxy=proxy.url, **options) as client:
            ask(client)
        assert proxy.addresses == {'127.0.0.5'}


def test_ipv6() -> None:
    """An IPv6 source serves hosts of IPv6."""
    with Noting(address='::1') as server, Client(server.host, source_address='::1') as client:
        ask(client)
        assert server.addresses == {'::1'}


def test_the_other_family_is_not_tried() -> None:
    """Of a name only the addresses of the source's family are tried; where there is none, the error says so."""
    with Noting() as server:
        both = [(*V6, ('::1', server.port, 0, 0)), address(server.port), (*V6, ('::2', server.port, 0, 0))]
        with Client('peer.example', source_address='127.0.0.5', resolver=lambda *_: list(both)) as client:
            ask(client)
            assert client.request('GET', '/').tried == (('127.0.0.1', server.port),)
        with Client('peer.example', source_address='::1', resolver=lambda *_: [address(server.port)] * 2) as client:
            error = failure(client, 'GET', '/')
            assert type(error) is ConnectError and error.peer is None and error.tried == ()
            assert error.message == 'peer.example has no IPv6 address, and source_address ::1 is one'
        with Client(server.host, source_address='::1') as client:
            assert type(failure(client, 'GET', '/')) is ConnectError
        with Client('[::1]:9', source_address='127.0.0.5') as client:
            error = failure(client, 'GET', '/')
            assert type(error) is ConnectError and 'no IPv4 address' in error.message
        assert server.accepted == 1


@pytest.mark.parametrize('host', ['127.0.0.1', 'one.example', 'two.example'])
def test_an_address_that_is_not_ours(host: str) -> None:
    """An address of another machine is an error that says so, at once and for every kind of host."""
    with Noting() as server:
        found = {'one.example': 1, 'two.example': 2}.get(host, 1)
        with Client(
            f'{host}:{server.port}',
            source_address=NOT_OURS,
            resolver=lambda _, port: [address(port, f'127.0.0.{n + 1}') for n in range(found)],
        ) as client:
            error = failure(client, 'GET', '/')
            assert type(error) is ConnectError and error.phase == 'connect' and error.peer is None
            assert error.message == f'cannot connect: source_address {NOT_OURS} is not an address of this machine'
        assert not server.accepted


def test_it_is_not_the_proxy_to_blame() -> None:
    """A source that is not ours is no fault of a proxy's; one of another family than the proxy's is told as such."""
    with serve() as proxy:
        with Client('server.example', proxy=proxy.url, source_address=NOT_OURS) as client:
            assert type(failure(client, 'GET', '/')) is ConnectError
        with Client('server.example', proxy=proxy.url, source_address='::1') as client:
            error = failure(client, 'GET', '/')
            assert isinstance(error, ProxyError) and 'no IPv6 address' in error.message
        assert not proxy.accepted


def test_what_fails_fails_as_ever() -> None:
    """A refusal stays a refusal, and a retry is made from the same source."""
    with FaultServer(listening=False) as dead, Client(dead.host, source_address='127.0.0.5') as client:
        assert type(failure(client, 'GET', '/')) is RefusedError
    with Noting() as server, FaultServer(listening=False) as dead:
        names = [address(dead.port), address(server.port)]
        with Client('peer.example', source_address='127.0.0.5', resolver=lambda *_: names) as client:
            ask(client)
        assert server.addresses == {'127.0.0.5'}


# Ports ---------------------------------------------------------------------------------------------------------------


def test_a_fixed_port() -> None:
    """A fixed port serves one connection at a time to an address, and several to several; the error says so."""
    with free_ports(1, False) as (port, _), Noting() as server, Noting() as other:
        for source in ('127.0.0.5', port), ('', port):
            with ClientPool(source_address=source) as pool:
                for host in server.host, other.host, server.host:
                    assert pool.request(host, 'GET', '/000001').get().text == '000001'
                gate = kit.Gate()
                server.gate = gate
                held = pool.request(server.host, 'GET', '/000002')
                gate.wait_for(1)
                error = pool.request(server.host, 'GET', '/000003')
                kit.wait_until(error.ready, 'the second one has failed')
                assert type(error.exception) is ConnectError and f'the source port {port} is taken' in str(
                    error.exception
                )
                gate.open()
                assert held.get().status == 200
                pool.wait()
                pool.cancel()
                for peer in [*server.peers.values(), *other.peers.values()]:
                    peer.reset()  # or the system would keep the port for a minute
        assert set(server.ports) == {port} == set(other.ports)


@pytest.mark.parametrize('of_system', [True, False], ids=['kernel', 'bind'])
@pytest.mark.parametrize('source', [None, '127.0.0.5', '::1'])
def test_a_range_of_ports(source: str | None, of_system: bool) -> None:
    """Connections come from the ports of the range only, chosen by the kernel where it can, else by trying."""
    with free_ports(6, of_system) as ports, Noting(address='::1' if source == '::1' else '127.0.0.1') as server:
        options: dict[str, Any] = {'source_address': source, 'local_port_range': ports, 'simultaneous': 4}
        with Client(server.host, **options) as client:
            ask(client, 8)
            assert server.accepted == 4 == len(set(server.ports))
            assert all(ports[0] <= port <= ports[1] for port in server.ports)
            assert source is None or server.addresses == {source}


@pytest.mark.parametrize('of_system', [True, False], ids=['kernel', 'bind'])
def test_no_port_is_left(of_system: bool) -> None:
    """When all ports of the range are in use for an address, the error says so, and another address has them all."""
    with free_ports(2, of_system) as ports, Noting(gate=kit.Gate()) as server, Noting() as other:
        with ClientPool(simultaneous=3, local_port_range=ports) as pool:
            held = [pool.request(server.host, 'GET', '/000001') for _ in range(3)]
            server.gate.wait_for(2)
            kit.wait_until(lambda: any(pending.ready() for pending in held), 'the third one has failed')
            [error] = [pending.exception for pending in held if pending.ready()]
            assert type(error) is ConnectError
            assert error.message == 'cannot connect: no port of the local_port_range {}-{} is free'.format(*ports)
            assert pool.request(other.host, 'GET', '/000001').get().text == '000001'
            server.gate.open()
            assert sorted(outcome.status or 0 for outcome in pool.wait()) == [0, 200, 200, 200]


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    """A port of the range that another socket has is no failure while there are others."""
    with free_ports(2, False) as (first, last), Noting() as server, socket.socket() as sock:
        sock.bind(('0.0.0.0', first))
        sock.listen()
        for _ in range(3):
            with Client(server.host, local_port_range=(first, last), headers={'Connection': 'close'}) as client:
                assert client.request('GET', '/000001').text == '000001'
            if len(server.ports) == 1:
                break
        assert set(server.ports) == {last}


def test_ports_that_are_tried() -> None:
    """Of a large range a bounded number of ports is tried, each once and by lot; the kernel needs to be told once."""
    by_bind = LocalEnd(None, (1024, 2000), None)
    tried = list(by_bind.ports())
    assert len(tried) == len(set(tried)) == 512 and all(1024 <= port <= 2000 for port in tried)
    assert tried != list(by_bind.ports())
    assert list(LocalEnd(None, (1024, 1026), None).ports()) in ([a, b, c] for a in R for b in R for c in R)
    assert list(LocalEnd(('', 7), None, None).ports()) == [7] and list(LocalEnd(None, None, None).ports()) == [0]


R = range(1024, 1027)


# Options of sockets --------------------------------------------------------------------------------------------------


def set_on(server: kit.Server, level: int, option: int) -> list[int]:
    """The value of an option of each of our sockets that leads to the server."""
    found = []
    for number, what in kit.descriptors().items():
        if what.startswith('socket:'):
            with socket.socket(fileno=os.dup(int(number))) as sock:
                with suppress(OSError):  # the server's own, which listens
                    if sock.getpeername()[1:] == (server.port,):
                        found.append(sock.getsockopt(level, option))
    return found


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), 1),
        ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, b'\1\0\0\0'), 1),
        ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 0), 0),
        ((socket.IPPROTO_IP, socket.IP_TOS, 0x10), 0x10),
    ],
)
def test_options_of_sockets(option: Any, expected: int) -> None:
    """What is given is set on each socket, behind TCP_NODELAY, as urllib3 has it."""
    with serve() as server, ClientPool(socket_options=[option]) as pool:
        for host in server.host, f'localhost:{server.port}':
            pool.request(host, 'GET', '/').get()
        assert [bool(found) for found in set_on(server, *option[:2])] == [bool(expected)] * 2
        pool.wait()
    with serve() as server, Client(server.host) as client:
        client.request('GET', '/')
        assert all(set_on(server, socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_an_option_that_is_refused() -> None:
    """An option that the system does not have is an error of connecting that names it."""
    with serve() as server, ClientPool(socket_options=[(socket.IPPROTO_TCP, 9999, 1)]) as pool:
        pool.request(server.host, 'GET', '/')
        [error] = pool.wait()
        assert isinstance(error, ConnectError)
        assert error.message.startswith(f'cannot connect: the socket option {(socket.IPPROTO_TCP, 9999, 1)} is refused')


# What makes no sense -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        *[('source_address', value) for value in ('', 5, b'127.0.0.1', 'localhost', '127.0.0.1:80', '[::1]', '1.2.3')],
        *[('source_address', value) for value in (('127.0.0.1',), ('127.0.0.1', -1), ('127.0.0.1', 65536), object())],
        *[('source_address', value) for value in (('127.0.0.1', '0'), ('127.0.0.1', True), ('x', 0), (1, 2, 3))],
        ('source_address', 'fe80::1%no-such-interface'),
        *[('local_port_range', value) for value in (5, '1-2', (1,), (2, 1), (0, 5), (1, 65536), (1.0, 2), (True, 2))],
        *[('socket_options', value) for value in (5, 'abc', [(1, 2)], [(1, 2, 'x')], [('a', 2, 3)], (1, 2, 3), {})],
    ],
)
def test_what_makes_no_sense(option: str, value: Any) -> None:
    """A value that makes no sense is a ValueError that names the option, when the client is made."""
    if value == {}:
        value = {1: 2}
    for make in lambda **options: Client('server.example', **options), ClientPool:
        with pytest.raises(ValueError, match=option):
            make(**{option: value})  # type: ignore[operator]


def test_a_source_is_shown_as_it_was_given() -> None:
    """The error has the text, not the pair that is made of it."""
    with pytest.raises(ValueError, match="not 'localhost'$"):
        Client('server.example', source_address='localhost')


def test_a_port_and_a_range() -> None:
    """A fixed port and a range of ports exclude each other."""
    with pytest.raises(ValueError, match='local_port_range'):
        Client('server.example', source_address=('127.0.0.1', 5000), local_port_range=(5000, 5001))


def test_a_shared_pool() -> None:
    """A pool that all threads share comes from its source too."""
    with Noting() as server:
        shared(host=server.host)
        assert server.addresses == {'127.0.0.8'}
