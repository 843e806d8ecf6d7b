"""Which address answered, and which were tried: on responses and errors, in texts, and wherever outcomes go."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import urllib3

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPError,
    NameResolutionError,
    Peer,
    ProtocolError,
    ProxyError,
    QueueTimeout,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Request,
    Response,
    SagaFailed,
    TruncatedBody,
    rest,
)
from napixclient.aio import AsyncPool
from napixclient.cluster.outcomes import pack_outcome, packed, response_of, restored, unpacked
from napixclient.errors import copy_for
from napixclient.peer import Route
from napixclient.resources import Resources
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread
from tests.helpers_pool import address, failure
from tests.helpers_proxy import Tunnel
from tests.kit import FaultServer, FullServer, serve

pytestmark = pytest.mark.usefixtures('oracle')


def peer_of(server: kit.Server, host: str = '127.0.0.1') -> tuple[str, int]:
    """Where it listens."""
    return host, server.port


def named(*addresses: Any, **options: Any) -> Client:
    """A client of a name that has these addresses."""
    return Client('peer.example', resolver=lambda *_: list(addresses), **options)


# Responses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_an_answer(host: str) -> None:
    """An answer tells which address gave it, over a new connection or one that was used before."""
    with serve() as server, Client(f'{host}:{server.port}') as client:
        for _ in range(2):
            answer = client.request('GET', '/000001')
            assert answer.peer == peer_of(server) and answer.tried == (peer_of(server),)
            assert isinstance(answer.peer, Peer)
            assert (answer.peer.address, answer.peer.port) == peer_of(server)
            assert str(answer.peer) == server.authority
        assert server.accepted == 1


def test_one_of_a_connection() -> None:
    """All answers over a connection share what is known of it: a request makes nothing for that."""
    with serve() as server, Client(server.host, simultaneous=1) as client:
        first, second = client.request('GET', '/000001'), client.request('GET', '/000002')
        assert first.peer is second.peer and first.tried is second.tried


def test_ipv6() -> None:
    """An address of IPv6 is written in brackets in texts."""
    with serve(address='::1') as server, Client(server.host) as client:
        answer = client.request('GET', '/')
        assert answer.peer == ('::1', server.port) and str(answer.peer) == server.authority


def test_raced_addresses() -> None:
    """Those that were tried are told in order, and the one that answered; those that were not needed are not."""
    with FaultServer(listening=False) as dead, serve() as server:
        names = [address(dead.port), address(dead.port, '127.0.0.2'), address(server.port), address(1, '127.0.0.3')]
        with named(*names) as client:
            answer = client.request('GET', '/')
            assert answer.peer == peer_of(server)
            assert answer.tried == (peer_of(dead), peer_of(dead, '127.0.0.2'), peer_of(server))


def test_the_first_may_still_win() -> None:
    """The address that answered need not be the one that was tried last."""
    with FullServer() as full, FullServer() as hole:
        with named(address(full.port), address(hole.port)) as client:
            pending = client.submit('GET', '/000001')
            kit.wait_until(lambda: pending.route and len(pending.route.tried) == 2, 'the second one is tried')
            full.relent()
            answer = pending.get(timeout=kit.LONG)
            assert answer.peer == peer_of(full) and answer.tried == (peer_of(full), peer_of(hole))


def test_a_redirect_and_a_retry() -> None:
    """After a redirect the peer is the one that answered at last, after a retry that of the last attempt."""
    with serve() as server, serve(lambda *_: (302, {'Location': f'{server.url}/000001'}, None)) as first:
        with Client(first.host, redirect=True) as client:
            assert client.request('GET', '/').peer == peer_of(server)
    with FaultServer(listening=False) as server:
        turns = iter([[address(server.port, '127.0.0.2')], [address(server.port)]])

        def resolver(*_: object) -> Any:
            found = next(turns)
            if found[0][4][0] == '127.0.0.1':
                server.relent()
            return found, 0

        with Client('peer.example', resolver=resolver, retries=1) as client:
            answer = client.request('GET', '/')
            assert (answer.attempts, answer.peer, answer.tried) == (2, peer_of(server), (peer_of(server),))


def test_a_streamed_answer() -> None:
    """A streamed answer has it from its head on; so has the error of a body that breaks off."""
    script = [kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', kit.FIN, kit.CLOSE]
    with FaultServer(script) as server, Client(server.host) as client:
        with client.request('GET', '/', stream=True) as answer:
            assert answer.peer == peer_of(server)
            with pytest.raises(TruncatedBody) as caught:
                answer.read()
            assert caught.value.peer == peer_of(server)


def test_an_answer_of_ones_own() -> None:
    """An answer or an error that somebody made by hand knows no peer."""
    for outcome in Response(Request('h', 'GET', '/'), 200, b'', b'', 0.0), HTTPError('x'):
        assert outcome.peer is None and outcome.tried == ()


# Errors --------------------------------------------------------------------------------------------------------------


def test_an_error_of_a_status() -> None:
    """An error that is an answer tells who answered."""
    with serve(lambda *_: (503, 'x')) as server, Client(server.host, retries=1) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, RemoteError) and error.peer == peer_of(server) == error.response.peer


@pytest.mark.parametrize(
    ('script', 'kind'),
    [
        ([kit.READ, kit.SILENCE], ReadTimeout),
        ([kit.READ, b'nonsense\r\n\r\n', kit.CLOSE], ProtocolError),
        ([kit.READ, kit.RST], ProtocolError),
        ([kit.READ, kit.CLOSE], ProtocolError),
        ([kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', kit.CLOSE], TruncatedBody),
    ],
)
def test_an_error_of_a_connection(script: Any, kind: type[HTTPError]) -> None:
    """A connection that was open and failed tells where it led; its text stays as it is."""
    with FaultServer(script) as server, named(address(server.port), timeout=urllib3.Timeout(read=0.2)) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, kind) and error.peer == peer_of(server) and error.tried == (peer_of(server),)
        assert server.authority not in str(error)


def test_a_refusal() -> None:
    """Where no address takes the connection, the text names all that were tried, and the peer is the last of them."""
    with FaultServer(listening=False) as dead:
        hosts = [f'127.0.0.{number}' for number in (2, 3, 4)]
        with named(*[address(dead.port, host) for host in hosts]) as client:
            error = failure(client, 'GET', '/x')
            assert isinstance(error, RefusedError) and error.peer == peer_of(dead, '127.0.0.4')
            assert error.tried == tuple(peer_of(dead, host) for host in hosts)
            listed = ', '.join(f'{host}:{dead.port}' for host in hosts)
            assert str(error) == f'GET http://peer.example/x: connection refused (tried {listed})'
            assert error.message == 'connection refused'  # by which like errors are shown once
        with named(address(dead.port)) as client:
            assert str(failure(client, 'GET', '/')).endswith(f'connection refused (tried {dead.authority})')
        with Client(dead.host) as client:
            assert str(failure(client, 'GET', '/')) == f'GET {dead.url}/: connection refused'  # it stands there
        with named(*[address(dead.port, f'127.0.1.{number}') for number in range(1, 10)]) as client:
            error = failure(client, 'GET', '/')
            assert len(error.tried) == 9 and str(error).endswith(' and 4 more)') and '127.0.1.6' not in str(error)


def test_a_rest_client() -> None:
    """The errors of a REST client tell the same, and its answers."""
    with serve() as server, rest.Client(server.url) as client:
        assert client.get('/x').peer == peer_of(server) and client.get('/x').tried == (peer_of(server),)
        error = pytest.raises(rest.ClientError, client.get, '/x', success=201).value
        assert error.peer == peer_of(server)
    with FaultServer(listening=False) as dead:
        with rest.Client(
            'http://peer.example', resolver=lambda *_: [address(dead.port), address(dead.port, '127.0.0.2')]
        ) as client:
            error = pytest.raises(rest.ClientError, client.get, '/x').value
            assert error.tried == (peer_of(dead), peer_of(dead, '127.0.0.2')) and '127.0.0.2' in str(error)


def test_too_late() -> None:
    """When the time to connect is up, those that were tried until then are told, on the loop and in a race."""
    with FullServer() as full, FullServer() as hole:
        for found in [address(full.port)], [address(full.port), address(hole.port)]:
            with named(*found, timeout=urllib3.Timeout(connect=0.4)) as client:
                error = failure(client, 'GET', '/')
                assert isinstance(error, ConnectTimeout)
                assert error.tried == tuple(each[4] for each in found) and str(full.port) in str(error)
            with named(*found) as client:
                pending = client.submit('GET', '/', timeout=0.4)
                with pytest.raises(ConnectTimeout) as caught:
                    pending.get()
                assert caught.value.peer == found[-1][4]


def test_nothing_was_tried() -> None:
    """``None`` where nothing was tried: a name without an address, a request that never had its turn."""

    def unknown(*_: object) -> Any:
        raise OSError('no such name')

    with Client('peer.example', resolver=unknown) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, NameResolutionError) and error.peer is None and error.tried == ()
    with serve(gate=kit.Gate()) as server, ClientPool(simultaneous=1) as pool:
        pool.request(server.host, 'GET', '/000001')
        pool.request(server.host, 'GET', '/000002')
        server.gate.wait_for(1)
        sent, queued = pool.wait(timeout=0.1)
        assert isinstance(queued, QueueTimeout) and queued.peer is None and queued.tried == ()
        assert isinstance(sent, DeadlineExceeded) and sent.peer == peer_of(server)


def test_cancelled() -> None:
    """A request that is cancelled tells what was tried for it until then, in flight or while it was connected."""
    with FullServer() as full, serve(gate=kit.Gate()) as server, ClientPool() as pool:
        for host in full.host, server.host:
            pool.request(host, 'GET', '/000001')
        server.gate.wait_for(1)
        pool.cancel()
        for outcome, asked in zip(pool.wait(), (full, server), strict=True):
            assert isinstance(outcome, Cancelled) and outcome.peer == peer_of(asked)


def test_between_two_attempts() -> None:
    """A request whose time is up while it waits to be tried again tells what was tried last."""
    retries = urllib3.Retry(3, backoff_factor=60, status_forcelist=[503])
    with (
        FaultServer(listening=False) as dead,
        serve(lambda *_: (503, 'x')) as busy,
        ClientPool(retries=retries) as pool,
    ):
        for server in dead, busy:
            pending = pool.request(server.host, 'GET', '/')
            kit.wait_until(lambda: pool.stats()[server.host]['queued'] == 1, 'it waits')  # noqa: B023
            kit.wait_until(lambda: pending.attempts == 2, 'the first retry is over')  # noqa: B023
            kit.wait_until(lambda: pending.holder and pending.holder.phase == 'backoff', 'it waits')  # noqa: B023
            [outcome] = pool.wait(timeout=0)
            assert isinstance(outcome, HTTPError) and outcome.peer == peer_of(server)


def test_who_does_not_wait() -> None:
    """The error of a ``get`` that waits no longer tells where the request is."""
    with serve(gate=kit.Gate()) as server, Client(server.host) as client:
        pending = client.submit('GET', '/000001')
        server.gate.wait_for(1)
        with pytest.raises(HTTPError) as caught:
            pending.get(timeout=0)
        assert caught.value.peer == peer_of(server)
        client.cancel()


# Proxies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['forwarding', 'tunnel', 'https'])
def test_behind_a_proxy(kind: str, authority: kit.Authority) -> None:
    """The peer is the proxy: what is behind it only the proxy knows."""
    proxy_kind: Any = kit.Server if kind == 'forwarding' else Tunnel
    tls = authority.server()
    with (
        serve(tls=None if kind == 'forwarding' else tls) as server,
        proxy_kind(tls=tls if kind == 'https' else None) as proxy,
    ):
        with Client(server.host, proxy=proxy.url, ca_certs=authority.ca_certs) as client:
            for _ in range(2):
                answer = client.request('GET', '/000001')
                assert answer.peer == peer_of(proxy) and answer.tried == (peer_of(proxy),)


def test_a_proxy_that_fails() -> None:
    """The errors of a proxy tell its address: one that is down, and one that refuses the tunnel."""
    with FaultServer(listening=False) as dead, serve(lambda *_: (403, 'no')) as proxy:
        for each, host in (dead, 'server.example'), (dead, 'https://server.example'), (proxy, 'https://server.example'):
            with Client(host, proxy=each.url) as client:
                error = failure(client, 'GET', '/')
                assert isinstance(error, ProxyError) and error.peer == peer_of(each)


def test_tls() -> None:
    """A handshake that fails tells with whom."""
    with FaultServer([b'not TLS at all']) as server, Client(f'https://{server.authority}') as client:
        error = failure(client, 'GET', '/')
        assert error.peer == peer_of(server)


# Where outcomes go ---------------------------------------------------------------------------------------------------


def outcomes(server: kit.Server, dead: kit.Server) -> list[Response | HTTPError]:
    """An answer, an error that is one, and one of connecting."""
    with ClientPool() as pool:
        for host, url in (server.host, '/good'), (server.host, '/bad'), (dead.host, '/'):
            pool.request(host, 'GET', url)
        return pool.wait()


def respond(method: str, url: str, headers: Any, body: bytes) -> Any:
    """By the URL."""
    return 200 if url == '/good' else 500, 'x'


def assert_same(found: Any, outcome: Any) -> None:
    """It tells the same of its connection."""
    assert type(found.peer) is Peer and (found.peer, found.tried) == (outcome.peer, outcome.tried)


@pytest.mark.parametrize('how', [copy.copy, copy.deepcopy, lambda outcome: pickle.loads(pickle.dumps(outcome))])
def test_copies(how: Any) -> None:
    """A copy, and one that was pickled, tells the same."""
    with serve(respond) as server, FaultServer(listening=False) as dead:
        for outcome in outcomes(server, dead):
            assert_same(how(outcome), outcome)
            if isinstance(outcome, HTTPError):
                assert_same(copy_for(outcome, outcome.request), outcome)
            else:
                assert_same(Response.from_response(outcome), outcome)


def test_through_a_cluster() -> None:
    """An outcome that travels back from a worker tells the address that the worker asked."""
    with serve(respond) as server, FaultServer(listening=False) as dead:
        for outcome in outcomes(server, dead):
            said = unpacked(packed('0/1@here', [pack_outcome(0, outcome)]))
            if said.answers:
                [(_, *_, route)] = said.answers
                assert said.routes[route] == outcome.route
            else:
                [[_, _, error, answer]] = said.words
                response = None if answer is None else response_of(answer, outcome.request, '0/1@here')
                assert_same(restored(error, response, outcome.request, '0/1@here'), outcome)
        unixoid = Response(Request('h', 'GET', '/'), 200, b'', b'', 0.0)
        unixoid.route = Route('/run/x.sock', ('/run/x.sock',))
        assert unpacked(packed('0/1@here', [pack_outcome(0, unixoid)])).routes == (unixoid.route,)


@in_thread
def in_threads(host: str = '', dead: str = '', expected: Any = None) -> None:
    """Ask over a shared pool."""
    with SharedPool() as pool:
        assert pool.request(host, 'GET', '/good').result().peer == expected
        for outcome in pool.wait():
            assert outcome.peer == expected
        with pool.request(host, 'GET', '/good', stream=True).result() as answer:
            assert answer.peer == expected
        pool.request(dead, 'GET', '/')
        errors = [outcome for outcome in pool.wait() if isinstance(outcome, HTTPError)]
        assert [error.peer is not None for error in errors] == [True]


def test_in_threads() -> None:
    """Outcomes that cross to other threads tell the same, streamed ones too."""
    with serve(respond) as server, FaultServer(listening=False) as dead:
        in_threads(host=server.host, dead=dead.host, expected=peer_of(server))


@in_loop
async def in_asyncio(host: str = '', dead: str = '', expected: Any = None) -> None:
    """Ask over an asynchronous pool."""
    async with AsyncPool() as pool:
        assert (await pool.request(host, 'GET', '/good')).peer == expected
        async with await pool.request(host, 'GET', '/good', stream=True) as answer:
            assert answer.peer == expected
        error = await pool.request(dead, 'GET', '/')
        assert isinstance(error, RefusedError) and error.peer is not None


def test_in_asyncio() -> None:
    """And those of an asynchronous pool."""
    with serve(respond) as server, FaultServer(listening=False) as dead:
        in_asyncio(host=server.host, dead=dead.host, expected=peer_of(server))


def test_replicas_and_sagas() -> None:
    """Answers of replicas tell it, and an error of a saga that of the step that failed."""
    with serve(respond) as server, Resources([server.host]) as resources:
        assert resources.unicast('GET', '/good').peer == peer_of(server)
        [failed] = [outcome for outcome in outcomes(server, server) if isinstance(outcome, HTTPError)][:1]
        assert SagaFailed('x', failed=[failed]).peer == peer_of(server)


def test_hooks() -> None:
    """Hooks see it."""
    seen: list[Any] = []
    with serve(respond) as server, Client(server.host, on_response=seen.append, on_error=seen.append) as client:
        client.request('GET', '/good')
        failure(client, 'GET', '/bad')
        kit.wait_until(lambda: len(seen) == 2, 'both were called')
        assert [outcome.peer for outcome in seen] == [peer_of(server)] * 2
