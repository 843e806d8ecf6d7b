"""How connections are opened: all addresses of a name, raced; and every option of TLS against real servers."""

from __future__ import annotations

import datetime
import gc
import hashlib
import socket as stdlib_socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme
import urllib3

from napixclient import (
    Client,
    ClientPool,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    NameResolutionError,
    RefusedError,
    Response,
    TLSError,
)
from napixclient._http.connect.happy_eyeballs import by_turns
from napixclient._http.settings import Settings
from tests import kit
from tests.helpers_pool import address, asking_for_certificates, failure
from tests.kit import FaultServer, FullServer, serve, wait_until

#: Seconds: what RFC 8305 gives an address before the next is tried, and what is quick beside it.
HEAD_START = 0.25
QUICK = kit.limit(0.2)
NOWHERE = '100::1'  # IPv6's address for what is to be discarded (RFC 6666)


# Names with several addresses ----------------------------------------------------------------------------------------


def six(host: str, port: int) -> Any:
    """What getaddrinfo says of an IPv6 address."""
    return stdlib_socket.AF_INET6, stdlib_socket.SOCK_STREAM, 6, '', (host, port, 0, 0)


@contextmanager
def named(*addresses: Any, **options: Any) -> Iterator[Client]:
    """A client of a name that has these addresses."""
    with Client('peer.example', resolver=lambda *_: list(addresses), **options) as client:
        yield client


def took(call: Callable[[], Any]) -> float:
    """Seconds of a call, those apart in which the machine was busy with others."""
    began = kit.own_time()
    call()
    return kit.own_time() - began


def test_families_by_turns() -> None:
    """Addresses are tried in the resolver's order, but the families by turns, each address once (RFC 8305 §4)."""

    def four(host: str) -> Any:
        return address(80, host)

    assert [
        found[0]
        for _, found in by_turns([six('::1', 80), six('::2', 80), four('1.0.0.1'), four('1.0.0.2'), four('1.0.0.3')])
    ] == ['::1', '1.0.0.1', '::2', '1.0.0.2', '1.0.0.3']
    assert [found[0] for _, found in by_turns([four('1.0.0.1'), four('1.0.0.1'), six('::1', 80)])] == ['1.0.0.1', '::1']
    # getaddrinfo without a type names each address three times.
    kinds = [(2, kind, 0, '', ('1.0.0.1', 80)) for kind in (1, 2, 3)]
    assert by_turns(kinds) == [(2, ('1.0.0.1', 80))]
    assert by_turns([(10, 1, 0, '', ('fe80::1%lo', 80, 0, 1))]) == [(10, ('fe80::1%lo', 80, 0, 1))]


@pytest.mark.timed
@pytest.mark.usefixtures('oracle')
def test_a_black_hole_first() -> None:
    """An address that never answers costs a quarter of a second; its half-open socket is closed when another won."""
    with FullServer() as full, serve() as server, named(address(full.port), address(server.port)) as client:
        assert HEAD_START / 2 < took(lambda: client.request('GET', '/000001')) < HEAD_START + QUICK
        assert server.accepted == 1


@pytest.mark.timed
@pytest.mark.usefixtures('oracle')
def test_a_dead_address_first() -> None:
    """An address that refuses costs nothing: the next is tried at once."""
    with (
        FaultServer(listening=False) as dead,
        serve() as server,
        named(address(dead.port), address(dead.port, '127.0.0.2'), address(server.port)) as client,
    ):
        assert took(lambda: client.request('GET', '/000001')) < QUICK


@pytest.mark.timed
@pytest.mark.usefixtures('oracle')
def test_ipv6_that_leads_nowhere() -> None:
    """Where IPv6 does not work, IPv4 does, whether that fails at once or hangs."""
    with serve() as server, named(*[six(NOWHERE, server.port)] * 3, address(server.port)) as client:
        assert took(lambda: client.request('GET', '/000001')) < HEAD_START + QUICK


@pytest.mark.usefixtures('oracle')
def test_both_families() -> None:
    """A server that listens on ::1 only is found behind addresses of IPv4 that refuse."""
    with (
        serve(address='::1') as server,
        named(*[address(server.port, f'127.0.0.{n}') for n in range(1, 9)], six('::1', server.port)) as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'


@pytest.mark.usefixtures('oracle')
def test_many_addresses() -> None:
    """A name with a thousand dead addresses and one good one holds up neither the hub nor another host."""
    with FaultServer(listening=False) as dead, serve() as server:
        many = [address(dead.port, f'127.0.{n // 200 + 1}.{n % 200 + 1}') for n in range(1000)]
        with ClientPool(resolver=lambda *_: [*many, address(server.port)]) as pool:
            slow, good = pool.request('peer.example', 'GET', '/000001'), pool.request(server.host, 'GET', '/000002')
            assert good.get(timeout=10).data == b'000002'
            assert slow.get(timeout=20).data == b'000001'


@pytest.mark.usefixtures('oracle')
def test_the_slow_one_may_still_win() -> None:
    """An address that was tried first goes on while others are tried, and is as good as they."""
    with (
        FullServer() as full,
        FullServer() as hole,
        named(address(full.port), address(hole.port), address(hole.port, '127.0.0.2')) as client,
    ):
        pending = client.submit('GET', '/000001')
        gevent.sleep(HEAD_START + 0.1)
        full.relent()
        assert pending.get(timeout=20).data == b'000001'


@pytest.mark.usefixtures('oracle')
def test_all_addresses_fail() -> None:
    """All refused is a RefusedError; otherwise the error is that of an address that failed in another way."""
    with FaultServer(listening=False) as dead:
        refused = [address(dead.port, f'127.0.0.{n}') for n in (1, 2, 3)]
        with named(*refused) as client:
            error = failure(client, 'GET', '/')
            assert isinstance(error, RefusedError) and isinstance(error.__cause__, OSError)
        with named(*refused, (*address(dead.port)[:4], ('::1', dead.port))) as client:  # of the other family
            error = failure(client, 'GET', '/')
            assert isinstance(error, ConnectError) and (type(error), error.phase) == (ConnectError, 'connect')


@pytest.mark.usefixtures('oracle')
def test_all_addresses_hang() -> None:
    """All attempts together are within the time to connect."""
    with FullServer() as full:
        holes = [address(full.port, host) for host in ('127.0.0.1', '127.0.0.2', '127.0.0.3')]
        with named(*holes, timeout=urllib3.Timeout(connect=0.4)) as client:
            assert isinstance(failure(client, 'GET', '/'), ConnectTimeout)


@pytest.mark.parametrize('end', ['cancel', 'kill', 'close', 'drop'])
@pytest.mark.usefixtures('oracle')
def test_ended_in_the_middle_of_a_race(end: str) -> None:
    """A race that is ended half-way leaves no socket and no watcher behind, however it ends."""
    with FullServer() as full:
        holes = [address(full.port, f'127.0.0.{n}') for n in range(1, 4)]
        with named(*holes) as client:
            asking = gevent.spawn(failure, client, 'GET', '/')
            gevent.sleep(HEAD_START + 0.05)
            assert sum('socket' in name for name in kit.descriptors().values()) >= 2
            if end == 'kill':
                asking.kill()
            elif end == 'close':
                client.close()
            elif end == 'cancel':
                client.cancel()
            else:
                asking.kill(block=False)
        asking.kill()


def test_one_address_costs_nothing_more() -> None:
    """A name with one address is dialled on the loop: no greenlet waits for it."""
    with FullServer() as full, named(address(full.port)) as client:
        before = len(kit.greenlets())
        client.submit('GET', '/')
        gevent.sleep(0.05)
        assert client.stats()['lookups']['count'] == 1 and len(kit.greenlets()) == before
        client.cancel()


def test_a_resolver_that_returns_names() -> None:
    """To look a name up where an address belongs would hold the hub: it is an error."""
    with serve() as server, named(address(server.port, 'localhost')) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, NameResolutionError) and 'localhost' in str(error)


def test_descriptors_run_out_in_the_middle_of_a_race() -> None:
    """When no second socket can be made, the first still has its chance; a descriptor that comes back helps the rest."""
    done = kit.run_program("""
import resource
import gevent
from napixclient import Client
from tests import kit
from tests.helpers_pool import address
with kit.FullServer() as full, kit.FaultServer(listening=False) as dead:
    for first in full, dead:
        with Client('peer.example', resolver=lambda *_: [address(first.port), address(dead.port), address(dead.port)],
                    timeout=3) as client:
            gevent.sleep(0.01)              # what the loop makes for itself, it has now
            open_now = kit.descriptors()
            number = next(number for number in range(1000) if str(number) not in open_now)
            resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            pending = client.submit('GET', '/000001')
            gevent.sleep(0.3)
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            if first is full:
                full.relent()
            print(repr(pending.exception or pending.get(timeout=20)), flush=True)
""")
    assert done.err == ''
    first, second = done.out.splitlines()
    assert first == '<Response 200 OK>'
    assert second.startswith('<RefusedError')


# TLS: what is accepted -----------------------------------------------------------------------------------------------


class Silent(kit.Server):
    """Counts the bytes that come after the handshake."""

    said = 0

    def talk(self, peer: kit.Peer) -> None:
        """Read until the client leaves."""
        while data := peer.socket.recv(65536):
            self.said += len(data)


def certificate(kind: str, directory: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate that is not good for 127.0.0.1, and the authorities that its client trusts."""
    ca = trustme.CA()
    path = str(directory / 'trusted.pem')
    ca.cert_pem.write_to_path(path)
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
    if kind == 'self-signed':
        own = trustme.CA()  # the certificate of an authority is signed by itself
        with own.cert_pem.tempfile() as chain, own.private_key_pem.tempfile() as key:
            context.load_cert_chain(chain, key)
        return context, path
    if kind == 'other host':
        leaf = ca.issue_cert('other.example', '127.0.0.2')
    elif kind == 'expired':
        leaf = ca.issue_cert('127.0.0.1', not_before=long_ago, not_after=long_ago + datetime.timedelta(days=1))
    else:
        leaf = trustme.CA().issue_cert('127.0.0.1')
    leaf.configure_cert(context)
    return context, path


@pytest.mark.parametrize('version', ['TLSv1_2', 'TLSv1_3'])
@pytest.mark.parametrize('kind', ['other host', 'expired', 'self-signed', 'unknown CA'])
@pytest.mark.usefixtures('oracle')
def test_34_certificates(kind: str, version: str, tmp_path: Path) -> None:
    """A certificate that is not good is a TLSError, and nothing is sent, neither at first nor by retries."""
    context, trusted = certificate(kind, tmp_path)
    context.maximum_version = ssl.TLSVersion[version]
    with Silent(tls=context) as server, Client(server.host, ca_certs=trusted, timeout=5) as client:
        for retries in (None, 2):
            error = failure(client, 'POST', '/secret', b'secret', retries=retries)
            assert isinstance(error, TLSError)
            assert (error.phase, error.status, error.response) == ('connect', None, None)
            assert isinstance(error.__cause__, ssl.SSLCertVerificationError | urllib3.exceptions.SSLError)
        wait_until(lambda: not server.peers)
        assert server.said == 0
    with serve(tls=context) as server, Client(server.host, verify=False) as client:
        assert client.request('GET', '/000001').data == b'000001'


@pytest.mark.parametrize(
    'kind',
    [
        'ca_certs',
        'verify=False',
        'PEM',
        'pair',
        'ssl_context',
        'assert_hostname',
        'assert_hostname=False',
        'assert_fingerprint',
        'server_hostname',
        'minimum',
    ],
)
@pytest.mark.usefixtures('oracle')
def test_options_of_tls(kind: str, authority: kit.Authority, tmp_path: Path) -> None:
    """Each option makes the difference between an answer and a TLSError."""
    with tls_case(kind, authority, tmp_path) as (context, good, bad), serve(tls=context) as server:
        for options in bad:
            with Client(server.host, timeout=5, **options) as client:
                # A server that wants a certificate says so after a handshake of TLS 1.3, in the place of an answer.
                assert isinstance(failure(client, 'GET', '/000001'), HTTPError if 'cert' in good else TLSError)
        assert not server.requests
        with Client(server.host, timeout=5, **good) as client:
            assert client.request('GET', '/000001').data == b'000001'


@contextmanager
def tls_case(kind: str, authority: kit.Authority, directory: Path) -> Iterator[Any]:
    """A server's context, the options that are right for it, and some that are not."""
    trusted = {'ca_certs': authority.ca_certs}
    leaf = trustme.CA().issue_cert('127.0.0.1')  # of an authority that nobody knows
    match kind:
        case 'ca_certs':
            yield authority.server(), trusted, [{}]
        case 'verify=False':
            yield authority.server(), {'verify': False}, [{}, {'verify': True}]
        case 'PEM' | 'pair':
            client = authority.certificate('client.example')
            with (
                client.private_key_and_cert_chain_pem.tempfile() as both,
                client.private_key_pem.tempfile() as key,
                client.cert_chain_pems[0].tempfile() as chain,
                leaf.private_key_and_cert_chain_pem.tempfile() as bad,
            ):
                yield (
                    asking_for_certificates(authority),
                    {**trusted, 'cert': both if kind == 'PEM' else (chain, key)},
                    [trusted, {**trusted, 'cert': bad}],
                )
        case 'ssl_context':
            own = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            own.load_verify_locations(authority.ca_certs)
            yield (
                authority.server(),
                {'ssl_context': own},
                [{'ssl_context': gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}],
            )
        case 'assert_hostname':
            yield (
                authority.server('other.example'),
                {**trusted, 'assert_hostname': 'other.example'},
                [trusted, {**trusted, 'assert_hostname': 'another.example'}],
            )
        case 'assert_hostname=False':
            yield (
                authority.server('other.example'),
                {**trusted, 'assert_hostname': False},
                [trusted, {'assert_hostname': False}],
            )
        case 'assert_fingerprint':
            context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            leaf.configure_cert(context)
            der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
            digest = hashlib.sha256(der).hexdigest()
            yield (
                context,
                {
                    'verify': False,
                    'assert_fingerprint': ':'.join(digest[at : at + 2] for at in range(0, 64, 2)).upper(),
                },
                [{}, {'verify': False, 'assert_fingerprint': '00' * 32}],
            )
        case 'server_hostname':
            asked = []
            context = authority.server('other.example')
            context.sni_callback = lambda _, name, __: asked.append(name)  # type: ignore[assignment]
            yield context, {**trusted, 'server_hostname': 'other.example'}, [trusted]
            assert asked == [None, 'other.example']
        case 'minimum':
            context = authority.server()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            yield context, trusted, [{**trusted, 'ssl_minimum_version': ssl.TLSVersion.TLSv1_3}]


def test_minimum_version(authority: kit.Authority) -> None:
    """TLS 1.2 by default; what is no version is a ValueError, and so is one beside a context of one's own."""
    versions = ssl.TLSVersion
    assert Settings().ssl_context().minimum_version == versions.TLSv1_2
    assert Settings(ssl_minimum_version=versions.TLSv1_3).ssl_context().minimum_version == versions.TLSv1_3
    for bad in ('TLSv1_3', 1.3, int(versions.TLSv1_3), ssl.PROTOCOL_TLS_CLIENT, object(), True):
        for make in (ClientPool, lambda **options: Client('server.example', **options)):
            with pytest.raises(ValueError, match=r'ssl_minimum_version.*ssl\.TLSVersion'):
                make(ssl_minimum_version=bad)
    with pytest.raises(ValueError, match='ssl_context'):
        Client('host', ssl_context=gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl_minimum_version=versions.TLSv1_3)
    with (
        serve(tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs, ssl_minimum_version=versions.TLSv1_3) as client,
    ):
        assert client.request('GET', '/000001').data == b'000001'


def test_a_context_is_left_as_it_is(authority: kit.Authority) -> None:
    """What a pool has checked in another way is its own business: the caller's context checks names as before."""
    own = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.load_verify_locations(authority.ca_certs)
    with serve(tls=authority.server('other.example')) as server:
        for options in ({'assert_hostname': 'other.example'}, {'assert_hostname': False}):
            with Client(server.host, ssl_context=own, **options) as client:
                assert client.request('GET', '/000001').status == 200
            assert (own.check_hostname, own.verify_mode) == (True, ssl.CERT_REQUIRED)
        with Client(server.host, ssl_context=own) as client:
            assert isinstance(failure(client, 'GET', '/'), TLSError)


def test_encrypted_key(tmp_path: Path) -> None:
    """The password of a key is not asked for on the terminal: the key is refused where it is named."""
    from cryptography.hazmat.primitives import serialization

    leaf = trustme.CA().issue_cert('client.example')
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    path = tmp_path / 'key.pem'
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b'secret'),
        )
    )
    with leaf.cert_chain_pems[0].tempfile() as chain, pytest.raises(ValueError, match='cert: its key is encrypted'):
        Client('host', cert=(chain, str(path)))


def test_a_thousand_origins_share_a_context(authority: kit.Authority) -> None:
    """However many origins: certificates are read once, and connections are verified each by its own name."""

    def contexts() -> int:
        gc.collect()
        return sum(isinstance(found, ssl.SSLContext) for found in gc.get_objects())

    with (
        serve(tls=authority.server('127.0.0.1'), address='0.0.0.0') as server,
        ClientPool(ca_certs=authority.ca_certs) as pool,
    ):
        before = contexts()
        clients = [pool._origins.pool_for(server.at(f'127.{n // 200 + 1}.0.{n % 200 + 1}')) for n in range(950)]
        hosts = [server.at('127.0.0.1'), *(server.at(f'127.0.0.{n}') for n in range(2, 50))]
        for host in hosts:
            pool.request(host, 'GET', '/000001')
        good, *bad = pool.wait(timeout=10)
        assert isinstance(good, Response) and all(isinstance(error, TLSError) for error in bad)
        assert len(pool.stats()) == len(clients) + len(hosts) >= 999
        assert contexts() == before


# Names ---------------------------------------------------------------------------------------------------------------


def test_literals_need_no_resolver() -> None:
    """An address as the host is not looked up."""

    def resolver(host: str, port: int) -> Any:
        raise AssertionError('asked')

    with serve() as four, serve(address='::1') as six_only, ClientPool(resolver=resolver) as pool:
        for host in four.host, six_only.host:
            assert pool.request(host, 'GET', '/000001').get(timeout=5).data == b'000001'


def test_names_are_remembered_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is asked for again when its addresses have got old."""
    from napixclient._http.connect import name_cache

    asked = []

    def resolver(host: str, port: int) -> Any:
        asked.append(host)
        return [address(server.port)]

    with serve() as server, ClientPool(resolver=resolver) as pool:

        def ask() -> None:
            assert pool.request('peer.example', 'GET', '/000001', headers={'Connection': 'close'}).get().status == 200

        ask()
        ask()
        assert asked == ['peer.example']
        began = time.monotonic()
        monkeypatch.setattr(name_cache, 'monotonic', lambda: began + name_cache.NAME_SECONDS + 1)
        ask()
        assert asked == ['peer.example'] * 2
