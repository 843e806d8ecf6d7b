"""Nothing holds the hub, in an unpatched process as in a patched one: a greenlet that ticks sees no gap."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
import urllib3
from gevent.event import Event

from napixclient import Client, ClientPool, ConnectTimeout, NameResolutionError, ReadTimeout, Response
from tests import kit
from tests.helpers_pool import SlowHandshake, address, failure
from tests.kit import READ, Drip, FaultServer, FullServer, Gate, serve, wait_until

pytestmark = pytest.mark.timed

GAP = 0.1  # seconds that the hub may be held
BLOCKED = 0.3  # seconds for which something is slow


@contextmanager
def ticking() -> Iterator[None]:
    """The hub turns all the while."""
    with kit.Ticker() as ticker:
        yield
    assert ticker.gap < kit.limit(GAP), f'something held the hub for {ticker.gap:.3f} s'


def test_process_is_what_it_says() -> None:
    """In the unpatched run nothing has patched this process, the library least of all."""
    assert 'napixclient' in sys.modules
    if not kit.is_patched():
        import socket
        import ssl
        import threading

        assert socket.socket.__module__ == 'socket'
        assert ssl.SSLContext.__module__ == 'ssl'
        assert threading.Thread.start.__module__ == 'threading'


def test_ticker_notices() -> None:
    """The instrument of this file works: a blocked hub is seen."""
    from gevent import monkey

    sleep = monkey.get_original('time', 'sleep')
    with kit.Ticker() as ticker:
        gevent.sleep(0.02)
        sleep(2 * GAP)
    assert ticker.gap > GAP


def test_name_by_the_default_resolver() -> None:
    """A name is looked up without holding the hub."""
    with serve() as server, Client(f'localhost:{server.port}') as client, ticking():
        assert client.request('GET', '/000001').data == b'000001'


def test_name_that_does_not_exist() -> None:
    """A name that no server knows does not hold it either, however long that takes to find out."""
    with Client('no-such-name.invalid', timeout=5) as client, ticking():
        assert isinstance(failure(client, 'GET', '/'), (NameResolutionError, ConnectTimeout))


def test_many_names_at_once() -> None:
    """Many names that take their time do not hold it, nor hold up a host that needs no look-up."""
    go = Event()

    def resolver(host: str, port: int) -> Any:
        go.wait(5)
        return [address(server.port)]

    with serve() as server, ClientPool(resolver=resolver) as pool, ticking():
        slow = [pool.request(f'host{n}.example', 'GET', '/000001') for n in range(50)]
        assert pool.request(server.host, 'GET', '/000002').get(timeout=10).data == b'000002'
        gevent.sleep(BLOCKED)
        assert not any(pending.ready() for pending in slow)
        go.set()
        assert all(isinstance(answer, Response) for answer in pool.wait(timeout=20))


def test_slow_connect() -> None:
    """A connection that hangs does not hold it."""
    with FullServer() as full, Client(full.host) as client, ticking():
        assert isinstance(failure(client, 'GET', '/', timeout=BLOCKED), ConnectTimeout)


def test_slow_connect_that_succeeds() -> None:
    """A connection that is taken late is as good as any."""
    with FullServer() as full, Client(full.host) as client, ticking():
        pending = client.submit('GET', '/000001')
        gevent.sleep(BLOCKED)
        full.relent()
        assert pending.get(timeout=10).data == b'000001'


def test_slow_handshake(authority: kit.Authority) -> None:
    """A server that takes its time with the TLS handshake does not hold it."""
    with (
        SlowHandshake(tls=authority.server()) as server,
        ClientPool(simultaneous=8, ca_certs=authority.ca_certs) as pool,
        ticking(),
    ):
        pendings = [pool.request(server.host, 'GET', '/000001') for _ in range(8)]
        wait_until(lambda: server.accepted == 8)
        gevent.sleep(BLOCKED)
        assert not any(pending.ready() for pending in pendings)
        server.willing.set()
        assert [answer.status for answer in pool.wait(timeout=20)] == [200] * 8


def test_handshake_that_never_ends(authority: kit.Authority) -> None:
    """A handshake that is never answered ends by its clock, without holding it."""
    with (
        SlowHandshake(tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
        ticking(),
    ):
        error = failure(client, 'GET', '/', timeout=urllib3.Timeout(connect=BLOCKED))
        assert isinstance(error, ConnectTimeout)
        server.willing.set()


def test_default_certificates() -> None:
    """Loading the system's certificates for the first request over TLS does not hold it for long."""
    with FaultServer([kit.CLOSE]) as server, Client(f'https://{server.authority}') as client, ticking():
        failure(client, 'GET', '/', timeout=20)


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_slow_head_and_body(scheme: str, authority: kit.Authority) -> None:
    """A server that sends head and body a byte at a time does not hold it."""
    tls = authority.server() if scheme == 'https' else None
    text = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789'
    with (
        FaultServer([READ, Drip(text, 0.005)], tls=tls) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
        ticking(),
    ):
        assert client.request('GET', '/').data == b'0123456789'


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_silent_server(scheme: str, authority: kit.Authority) -> None:
    """A server that says nothing does not hold it."""
    tls = authority.server() if scheme == 'https' else None
    with serve(gate=Gate(), tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client, ticking():
        assert isinstance(failure(client, 'GET', '/', timeout=urllib3.Timeout(read=BLOCKED)), ReadTimeout)


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_server_that_reads_slowly(scheme: str, authority: kit.Authority) -> None:
    """A large body to a server that does not read does not hold it."""
    go = Event()

    class Slow(kit.Server):
        """Reads when told."""

        def talk(self, peer: kit.Peer) -> None:
            """Wait, read, answer."""
            go.wait(5)
            kit.play([READ, kit.ANSWER], peer)
            peer.drain()

    tls = authority.server() if scheme == 'https' else None
    with Slow(tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client, ticking():
        pending = client.submit('POST', '/000001', b'x' * 8_000_000)
        gevent.sleep(BLOCKED)
        assert not pending.ready()
        go.set()
        assert pending.get(timeout=10).data == b'000001'


def test_slow_streamed_body() -> None:
    """A reader who waits for a streamed body waits alone."""
    text = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n' + b'0123456789' * 2
    with (
        FaultServer([READ, Drip(text, 0.005)]) as server,
        Client(server.host) as client,
        ticking(),
        client.request('GET', '/', stream=True) as found,
    ):
        assert list(found.iter_lines()) == ['0123456789' * 2]


def test_waits_between_tries() -> None:
    """The wait before another try is a timer: nothing sleeps."""
    answers = iter([503, 503, 200])
    retry = urllib3.Retry(2, status_forcelist=[503], backoff_factor=0.1)
    with serve(lambda *_: (next(answers), None, '')) as server, Client(server.host, retries=retry) as client, ticking():
        assert client.request('GET', '/').attempts == 3


def test_blocking_user_code() -> None:
    """Authenticators, hooks and uploads that wait, wait in greenlets of their own."""

    def authenticator(request: Any) -> Any:
        gevent.sleep(0.05)
        return request

    def hook(_: Any) -> None:
        gevent.sleep(0.05)

    def parts() -> Iterator[bytes]:
        for _ in range(5):
            gevent.sleep(0.02)
            yield b'x'

    with (
        serve(lambda *_: (204, None, None)) as server,
        ClientPool(authenticator, on_request=hook, on_response=hook) as pool,
        ticking(),
    ):
        for _ in range(6):
            pool.request(server.host, 'PUT', '/', parts())
        assert [answer.status for answer in pool.wait(timeout=20)] == [204] * 6
        gevent.sleep(0.1)


def test_everything_slow_at_once(authority: kit.Authority) -> None:
    """A good host is answered in time while all others are slow, each in its own way."""
    never = Event()

    def resolver(host: str, port: int) -> Any:
        never.wait(5)
        return []

    with (
        serve() as good,
        FullServer() as full,
        SlowHandshake(tls=authority.server()) as mute,
        serve(gate=Gate()) as silent,
        ClientPool(resolver=resolver, ca_certs=authority.ca_certs) as pool,
        ticking(),
    ):
        for host in (full.host, mute.host, silent.host, 'name.example'):
            for _ in range(3):
                pool.request(host, 'GET', '/000001')
        began = kit.own_time()
        for _ in range(50):
            assert pool.request(good.host, 'GET', '/000002').get(timeout=10).status == 200
        assert kit.own_time() - began < kit.limit(1)
        found = pool.wait(timeout=0.1)
        assert [answer.status for answer in found] == [None] * 12 + [200] * 50
        never.set()
        mute.willing.set()
