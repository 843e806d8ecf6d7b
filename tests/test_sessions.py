"""Sessions of TLS: when a handshake is a resumed one, as the server counts it, and when it must not be."""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent.ssl
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gevent import socket

from napixclient import Client, ClientPool, HTTPError, TLSError
from napixclient._http.connect.sessions import MAX_AGE, MAX_SERVERS, Resumable, Session, Sessions
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_proxy import Tunnel, on_some_port, path_of
from tests.kit import wait_until

pytestmark = pytest.mark.usefixtures('tidy')
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def closing(*_: Any) -> Any:
    """An answer that ends its connection."""
    return 200, {'Connection': 'close'}, b'good'


class Counting(kit.Server):
    """Closes each connection after its answer; `resumed` tells for each handshake whether it resumed a session."""

    def __init__(self, handler: kit.Handler = closing, **options: Any) -> None:
        self.resumed: list[bool] = []
        super().__init__(handler, **options)

    def _greet(self, peer: kit.Peer) -> None:
        super()._greet(peer)
        self.resumed.append(bool(peer.socket.session_reused))


class Hello:
    """What a client says first (RFC 8446 §4.1.2), looked at without taking it."""

    def __init__(self, sock: Any) -> None:
        def whole() -> bool:
            seen = sock.recv(16384, socket.MSG_PEEK)
            return len(seen) >= 5 and len(seen) >= 5 + struct.unpack('>H', seen[3:5])[0]

        wait_until(whole)
        data = sock.recv(16384, socket.MSG_PEEK)
        at = 5 + 4 + 2 + 32
        at += 1 + data[at]
        at += 2 + struct.unpack_from('>H', data, at)[0]
        at += 1 + data[at]
        end = at + 2 + struct.unpack_from('>H', data, at)[0]
        at += 2
        #: The ticket that it offers, of TLS 1.3; empty without one.
        self.ticket = b''
        while at < end:
            kind, size = struct.unpack_from('>HH', data, at)
            if kind == 41:  # pre_shared_key
                self.ticket = data[at + 8 : at + 8 + struct.unpack_from('>H', data, at + 6)[0]]
            at += 4 + size


def ask(client: Client, times: int) -> None:
    """So many requests, one after the other."""
    for _ in range(times):
        assert client.request('GET', '/').data == b'good'


# When a session is resumed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('version', VERSIONS)
def test_reconnections_resume(version: ssl.TLSVersion, authority: kit.Authority) -> None:
    """Every connection after the first one resumes its session, in TLS 1.2 and 1.3."""
    context = authority.server()
    context.minimum_version = context.maximum_version = version
    with Counting(tls=context) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 20)
        assert server.resumed == [False] + [True] * 19


def test_many_at_once(authority: kit.Authority) -> None:
    """One session serves several connections at the same time."""
    with Counting(tls=authority.server()) as server, ClientPool(ca_certs=authority.ca_certs, simultaneous=10) as pool:
        pool.request(server.host, 'GET', '/').get()
        for _ in range(40):
            pool.request(server.host, 'GET', '/')
        assert [answer.status for answer in pool.wait()] == [200] * 41
        assert server.resumed == [False] + [True] * 40


@pytest.mark.parametrize('end', ['server closes', 'no goodbye', 'idle'])
def test_however_a_connection_ended(end: str, authority: kit.Authority) -> None:
    """A session is taken from a connection that the server closed, with TLS's goodbye or without, or that was idle."""

    class Server(Counting):
        def answer(self, peer: kit.Peer) -> None:
            super().answer(peer)
            if end == 'no goodbye':
                peer.play([kit.FIN])
            elif end == 'server closes':
                peer.close()

    options: dict[str, Any] = {'idle_seconds': 0.05} if end == 'idle' else {}
    with (
        Server(lambda *_: (200, {}, b'good'), tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs, **options) as client,
    ):
        for _ in range(4):
            ask(client, 1)
            wait_until(lambda: not server.peers)
        assert server.resumed == [False, True, True, True]


def test_a_cancelled_connection(authority: kit.Authority) -> None:
    """A request that was cancelled before its answer costs no session that was there."""
    gate = kit.Gate()
    with Counting(tls=authority.server(), gate=gate) as server, ClientPool(ca_certs=authority.ca_certs) as pool:
        for cancelled in False, True, False:
            pending = pool.request(server.host, 'GET', '/')
            gate.wait_for(1)
            if cancelled:
                pending.cancel()
            gate.open()
            assert cancelled or pending.get().status == 200
            wait_until(lambda: not server.peers)
            gate.shut()
        assert server.resumed == [False, True, True]


@pytest.mark.parametrize('later', [False, True], ids=['handshake', 'later'])
@pytest.mark.parametrize('version', VERSIONS)
def test_with_a_client_certificate(version: ssl.TLSVersion, later: bool, tmp_path: Path) -> None:
    """A resumed connection shows the same client certificate; one that is asked for later is shown then too."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / 'ca.pem'))
    ca.issue_cert('known.example').private_key_and_cert_chain_pem.write_to_path(str(tmp_path / 'known.pem'))
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    ca.issue_cert('127.0.0.1').configure_cert(context)
    ca.configure_trust(context)
    context.post_handshake_auth = later
    context.verify_mode = ssl.CERT_REQUIRED
    known: list[bool] = []

    class Server(Counting):
        def answer(self, peer: kit.Peer) -> None:
            known.append(bool(peer.socket.getpeercert(True)))
            super().answer(peer)

    with (
        Server(tls=context) as server,
        Client(server.host, ca_certs=str(tmp_path / 'ca.pem'), cert=str(tmp_path / 'known.pem')) as client,
    ):
        ask(client, 4)
        assert server.resumed == [False, True, True, True]
        if not later or version == ssl.TLSVersion.TLSv1_2:
            assert known == [True] * 4


def test_tls_inside_tls(authority: kit.Authority) -> None:
    """Both handshakes through a proxy of https, that with the proxy and that with the origin, are resumed."""

    class Proxy(Tunnel, Counting):
        pass

    with (
        Proxy(tls=authority.server()) as proxy,
        Counting(tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs, proxy=proxy.url) as client,
    ):
        ask(client, 4)
        assert server.resumed == [False, True, True, True]
        assert proxy.resumed == [False, True, True, True]


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
    keepalive_timeout 0;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols {version};
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        {sessions}
        location / {{ return 200 $ssl_session_reused; }}
    }}
}}
"""


@contextmanager
def nginx(sessions: str, version: str, authority: kit.Authority, directory: Path) -> Iterator[int]:
    """The port of an nginx that closes each connection, and answers whether it resumed: `r` or `.`."""
    authority.certificate('127.0.0.1').private_key_and_cert_chain_pem.write_to_path(str(directory / 'server.pem'))

    def command(port: int) -> list[str]:
        text = NGINX.format(directory=directory, port=port, version=version, sessions=sessions)
        (directory / 'nginx.conf').write_text(text)
        return [path_of('nginx'), '-p', str(directory), '-c', str(directory / 'nginx.conf'), '-e', str(directory / 'e')]

    with on_some_port(command) as port:
        yield port


@pytest.mark.parametrize('version', ['TLSv1.2', 'TLSv1.3'])
@pytest.mark.parametrize(
    ('sessions', 'resumed'),
    [
        ('ssl_session_tickets on;', 'r' * 9),
        ('ssl_session_tickets off; ssl_session_cache shared:tests:1m;', 'r' * 9),
        ('ssl_session_tickets off;', '.' * 9),
    ],
    ids=['tickets', 'cache', 'neither'],
)
def test_nginx(sessions: str, resumed: str, version: str, authority: kit.Authority, tmp_path: Path) -> None:
    """Nginx resumes what it can, by tickets or by its cache; where it can do neither, all is as it was."""
    with nginx(sessions, version, authority, tmp_path) as port:
        with Client(f'https://127.0.0.1:{port}', ca_certs=authority.ca_certs) as client:
            assert ''.join(str(client.request('GET', '/').text) for _ in range(10)) == '.' + resumed


# When it is not ------------------------------------------------------------------------------------------------------


def test_one_session_for_each_origin(authority: kit.Authority) -> None:
    """A session is offered to no other origin, of another name or port, even where that is the same server."""
    context = authority.server()
    with (
        Counting(tls=context) as server,
        Counting(tls=context) as other,
        ClientPool(ca_certs=authority.ca_certs) as pool,
    ):
        for host in f'https://localhost:{server.port}', server.host, server.host, other.host, other.host:
            pool.request(host, 'GET', '/').get()
        assert server.resumed == [False, False, True]
        assert other.resumed == [False, True]


def test_pools_share_no_sessions(authority: kit.Authority) -> None:
    """A pool that checks more resumes nothing of one that checks less, though they share a context."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca_certs)
    with Counting(tls=authority.server('other.example')) as server:
        with Client(server.host, ssl_context=context, assert_hostname=False) as lax:
            ask(lax, 2)
            for more in {}, {'assert_fingerprint': '00' * 32}, {'assert_hostname': 'third.example'}:
                with Client(server.host, ssl_context=context, **more) as strict:
                    assert type(failure(strict, 'GET', '/')) is TLSError
            with Client(server.host, ssl_context=context, assert_hostname='other.example') as strict:
                ask(strict, 1)
            ask(lax, 1)
        with Client(server.host, verify=False) as blind, Client(server.host) as seeing:
            ask(blind, 2)
            assert type(failure(seeing, 'GET', '/')) is TLSError
        assert sum(server.resumed) == 3  # the second and third of `lax`, the second of `blind`


def strict_mode(context: ssl.SSLContext) -> None:
    """Verify, which was off."""
    context.verify_mode = ssl.CERT_REQUIRED


def strict_name(context: ssl.SSLContext) -> None:
    """Look for the name, which was not looked for."""
    context.check_hostname = True


def strict_flags(context: ssl.SSLContext) -> None:
    """Be strict about the form of certificates."""
    context.verify_flags |= ssl.VERIFY_X509_STRICT


def strict_common_name(context: ssl.SSLContext) -> None:
    """Another rule for names."""
    context.hostname_checks_common_name = not context.hostname_checks_common_name


@pytest.mark.parametrize('change', [strict_mode, strict_name, strict_flags, strict_common_name])
def test_a_context_that_becomes_stricter(change: Callable[[Any], None], authority: kit.Authority) -> None:
    """What a caller's context begins to check is checked at the next handshake, which is a full one."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.ca_certs)
    if change is strict_mode:
        context.verify_mode = ssl.CERT_NONE
    with Counting(tls=authority.server()) as server, Client(server.host, ssl_context=context) as client:
        ask(client, 2)
        change(context)
        try:
            ask(client, 1)
        except TLSError:
            assert change is strict_flags  # trustme's certificates may not be as strict as that
        assert server.resumed[:3] == [False, True, False][: len(server.resumed)]
        change(context)


def test_lists_of_revoked_certificates(tmp_path: Path) -> None:
    """Where such lists are looked at, that happens at each handshake: one is added, and the next connection fails."""
    ca = trustme.CA()
    leaf = ca.issue_cert('127.0.0.1')
    server_context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server_context)
    key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes()).subject
    serial = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number

    def list_of(number: int, *revoked: int) -> str:
        now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5 - number)
        made = x509.CertificateRevocationListBuilder(issuer, now, now + datetime.timedelta(days=1))
        made = made.add_extension(x509.CRLNumber(number), critical=False)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each).revocation_date(now).build()
            made = made.add_revoked_certificate(entry)
        path = tmp_path / f'{number}.pem'
        path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))  # type: ignore[arg-type]
        return str(path)

    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    context.load_verify_locations(list_of(1))
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with Counting(tls=server_context) as server, Client(server.host, ssl_context=context) as client:
        ask(client, 2)
        context.load_verify_locations(list_of(2, serial))
        assert 'revoked' in str(failure(client, 'GET', '/'))
        assert True not in server.resumed


def test_the_proxy_is_checked_as_a_proxy(authority: kit.Authority) -> None:
    """A session with a server as an origin, under looser checks, is not used where the same server is the proxy."""

    class Both(Tunnel, Counting):
        def talk(self, peer: kit.Peer) -> None:
            if self.accepted <= 2:
                Counting.talk(self, peer)
            else:
                Tunnel.talk(self, peer)

    with Both(tls=authority.server('other.example')) as both, Counting(tls=authority.server()) as server:
        with ClientPool(
            ca_certs=authority.ca_certs, assert_hostname=False, proxy=both.url, no_proxy=both.authority
        ) as pool:
            for _ in range(2):
                assert pool.request(both.host, 'GET', '/').get().status == 200
            assert both.resumed == [False, True]
            error = failure(pool, server.host, 'GET', '/')
            assert "doesn't match" in str(error) or 'mismatch' in str(error)


@pytest.mark.parametrize('right', [True, False])
def test_fingerprints_are_checked_again(right: bool, authority: kit.Authority, tmp_path: Path) -> None:
    """A fingerprint is compared in resumed handshakes as well."""
    leaf = authority.certificate('127.0.0.1')
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    digest = hashlib.sha256(der).hexdigest()
    with (
        Counting(tls=context) as server,
        Client(server.host, ca_certs=authority.ca_certs, assert_fingerprint=digest if right else '0' * 64) as client,
    ):
        for _ in range(3):
            if right:
                ask(client, 1)
            else:
                assert type(failure(client, 'GET', '/')) is TLSError
        assert server.resumed == [False, True, True] if right else True not in server.resumed


def test_a_server_that_became_another(authority: kit.Authority) -> None:
    """A ticket that the server does not know costs nothing but a full handshake, in which the certificate is checked."""
    with Counting(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 2)
        server.tls = authority.server()
        ask(client, 2)
        server.tls = authority.server('other.example')
        assert type(failure(client, 'GET', '/')) is TLSError
        server.tls = authority.server()
        ask(client, 2)
        assert [resumed for resumed in server.resumed if resumed] == [True] * 3


def test_a_server_that_resumes_nothing(authority: kit.Authority) -> None:
    """Where five sessions in a row are not taken, no more are offered: to copy one costs half a handshake."""
    offered: list[bool] = []

    class Forgetful(Counting):
        def _greet(self, peer: kit.Peer) -> None:
            offered.append(bool(Hello(peer.socket).ticket))
            self.tls = authority.server()
            super()._greet(peer)

    with Forgetful(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 12)
        assert offered == [False] + [True] * 5 + [False] * 6


def test_a_server_without_tickets(authority: kit.Authority) -> None:
    """A server that gives no session is asked as ever."""
    context = authority.server()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    with Counting(tls=context) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 8)
        assert server.resumed == [False] * 8


def test_tickets_for_single_use(authority: kit.Authority) -> None:
    """A server that takes each ticket only once (RFC 8446 §8.1) is offered a new one each time, once that shows."""
    tickets: list[bytes] = []

    class Once(Counting):
        def _greet(self, peer: kit.Peer) -> None:
            ticket = Hello(peer.socket).ticket
            if ticket and ticket in tickets:
                self.tls = authority.server()
            tickets.append(ticket)
            super()._greet(peer)

    with Once(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 20)
        assert server.resumed == [False, True, False, True, False] + [True] * 15


@pytest.mark.parametrize('how', [kit.RST, kit.CLOSE], ids=['reset', 'close'])
def test_a_server_that_cannot_stand_sessions(how: Any, authority: kit.Authority) -> None:
    """Where the handshake fails of the session, there is another without one, and none is offered any more."""

    class Broken(Counting):
        def _greet(self, peer: kit.Peer) -> None:
            if Hello(peer.socket).ticket:
                peer.play([how])
                raise EOFError
            super()._greet(peer)

    with Broken(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 5)
        assert server.resumed == [False] * 5
        assert server.accepted == 6


def test_a_handshake_that_fails_with_a_session_and_without(authority: kit.Authority) -> None:
    """Where the handshake without a session fails too, the session was not the cause, and others are offered later."""

    class Restarting(Counting):
        def _greet(self, peer: kit.Peer) -> None:
            if self.accepted in (3, 4):
                peer.play([kit.RST])
                raise EOFError
            super()._greet(peer)

    with Restarting(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 2)
        assert type(failure(client, 'GET', '/')) is TLSError
        ask(client, 2)
        assert server.resumed == [False, True, False, True]


def test_a_connection_that_breaks_after_it_was_resumed(authority: kit.Authority) -> None:
    """A session whose connection broke by an error of TLS is not used again."""

    class Server(Counting):
        def talk(self, peer: kit.Peer) -> None:
            if len(self.resumed) == 2:
                self.read(peer)
                os.write(peer.socket.fileno(), b'\x17\x03\x03\x00\x20' + b'x' * 32)  # a record that is none
                peer.drain()
            else:
                super().talk(peer)

    with Server(tls=authority.server()) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        ask(client, 1)
        with pytest.raises(HTTPError):
            client.request('POST', '/', {})
        ask(client, 2)
        assert server.resumed == [False, True, False, True]


# How long, and how many ----------------------------------------------------------------------------------------------


class Clock:
    """Seconds since the epoch, to be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return time.time() + self.ahead


class Bench:
    """Sessions, a clock, and handshakes with a server by hand."""

    def __init__(self, authority: kit.Authority, port: int) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock)
        self.offered: Session | None = None  # last
        self.sock: Any = None
        self._context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(authority.ca_certs)
        self._port = port

    def connect(self, key: str = 'key') -> bool:
        """Ask once, over a connection of its own; whether it resumed a session."""
        offered = self.offered = self.sessions.offer(key)
        ticket = None if offered is None else offered.ticket
        raw = socket.create_connection(('127.0.0.1', self._port))
        sock: Any = self._context.wrap_socket(raw, server_hostname='127.0.0.1', session=ticket)
        sock.__class__ = Resumable
        self.sock = sock
        self.sessions.completed(key, offered, sock)
        resumed = bool(sock.session_reused)
        sock.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        assert sock.recv(65536)
        sock.close()
        return resumed


def test_an_hour_at_most(authority: kit.Authority) -> None:
    """An hour after a full handshake comes another."""
    with Counting(tls=authority.server()) as server:
        bench = Bench(authority, server.port)
        found = []
        for _ in range(10):
            found.append(bench.connect())
            bench.clock.ahead += MAX_AGE / 5
        assert found == [False, True, True, True, True] * 2


def test_renewed(authority: kit.Authority, tmp_path: Path) -> None:
    """After half of the time that the server gave, a newer session is taken, which is good for no certificate longer."""
    with nginx('ssl_session_timeout 600;', 'TLSv1.3', authority, tmp_path) as port:
        bench = Bench(authority, port)
        assert [bench.connect() for _ in range(3)] == [False, True, True]
        first = bench.offered
        bench.clock.ahead = 310.0
        assert bench.connect() and bench.offered is first  # there was no newer one yet
        assert bench.connect()
        newer = bench.offered
        assert first is not None and newer is not None and newer is not first
        assert newer.certified_until == first.certified_until
        bench.clock.ahead = 601.0
        assert not bench.connect()


def test_the_clock_is_set_back(authority: kit.Authority) -> None:
    """A session of the future is not used: nobody knows how old it is."""
    with Counting(tls=authority.server()) as server:
        bench = Bench(authority, server.port)
        assert [bench.connect(), bench.connect()] == [False, True]
        bench.clock.ahead = -MAX_AGE
        assert not bench.connect()


def test_the_end_of_a_certificate(tmp_path: Path) -> None:
    """A session is not used after the end of the certificate that it was verified by."""
    authority = kit.Authority(tmp_path)
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=600)
    authority.certificate('127.0.0.1', not_after=ends).configure_cert(context)
    with Counting(tls=context) as server:
        bench = Bench(authority, server.port)
        assert [bench.connect(), bench.connect()] == [False, True]
        bench.clock.ahead = 590.0
        assert bench.sessions.offer('key') is not None
        bench.clock.ahead = 601.0
        assert bench.sessions.offer('key') is None


def test_no_more_than_so_many(authority: kit.Authority) -> None:
    """Of so many servers at most something is kept, of those that were used last."""
    with Counting(tls=authority.server()) as server:
        bench = Bench(authority, server.port)
        bench.connect('first')
        bench.connect('second')
        bench.connect('first')
        sock = bench.sock
        for number in range(MAX_SERVERS - 1):
            bench.sessions.completed(str(number), None, sock)
            sock.farewell(None, False)
        assert bench.sessions.offer('second') is None
        assert bench.sessions.offer('first') is not None


FORK = """
import os, sys
from napixclient import ClientPool
host, ca_certs = sys.argv[1:]
pool = ClientPool(ca_certs=ca_certs)
for _ in range(2):
    pool.request(host, 'GET', '/').get()
child = os.fork()
if not child:
    print(pool.request(host, 'GET', '/').get().text, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(pool.request(host, 'GET', '/').get().text, flush=True)
pool.close()
"""


def test_fork(authority: kit.Authority) -> None:
    """The child of a fork resumes nothing of its parent's, who goes on to."""
    with Counting(tls=authority.server()) as server:
        done = kit.run_program(FORK, server.host, authority.ca_certs)
        assert (done.code, done.err, done.out) == (0, '', 'good\ngood\n')
        assert server.resumed == [False, True, False, True]


def test_a_closed_pool_keeps_nothing(authority: kit.Authority) -> None:
    """What a pool kept is gone when it is closed, and what ends later leaves nothing."""
    with Counting(tls=authority.server()) as server:
        bench = Bench(authority, server.port)
        assert [bench.connect(), bench.connect()] == [False, True]
        bench.sessions.close()
        assert [bench.connect(), bench.connect()] == [False, False]
