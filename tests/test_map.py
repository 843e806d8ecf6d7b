"""`map`: the same request to many hosts, and a dictionary of what came of it, in every kind of pool."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import gevent
import pytest

from napixclient import ClientPool, DeadlineExceeded, HTTPError, RefusedError, RemoteError, Response
from napixclient.aio import AsyncPool
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread

NOBODY = '127.0.0.1:1'


@pytest.fixture
def servers() -> Iterator[list[kit.Server]]:
    """Three that answer with what they were sent."""

    def answer(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (404 if path == '/no' else 200), {'Content-Type': 'text/plain'}, f'{method} {path} {body.decode()}'

    with kit.serve(answer) as one, kit.serve(answer) as two, kit.serve(answer) as three:
        yield [one, two, three]


def asked(servers: list[kit.Server]) -> list[int]:
    """How often each was asked."""
    return [len(server.requests) for server in servers]


def check(found: dict[str, Any], hosts: list[str], text: str) -> None:
    """Each host answered so, and they are in this order."""
    assert list(found) == hosts
    assert all(
        isinstance(one, Response) and one.text == text and one.request.host == host for host, one in found.items()
    )


def test_each_host_is_asked_once(servers: list[kit.Server]) -> None:
    """The outcomes are in the order of the hosts, as they were written, however often each was named."""
    one, two, three = (server.host for server in servers)
    with ClientPool() as pool:
        check(pool.map([two, one, two, three, one], 'post', '/x', {'a': 1}), [two, one, three], 'POST /x {"a":1}')
        assert asked(servers) == [1, 1, 1]
        check(pool.map((host for host in (one, three)), 'GET', '/', params={'b': 2}), [one, three], 'GET /?b=2 ')
        assert pool.map([], 'GET', '/') == {}
        url = servers[0].url
        assert list(pool.map({url: 'a mapping'}, 'GET', '/')) == [url]


def test_failures_are_values(servers: list[kit.Server]) -> None:
    """An error is the outcome of its host alone."""
    with ClientPool(retries=False) as pool:
        found = pool.map([NOBODY, servers[0].host], 'GET', '/no')
        assert isinstance(found[NOBODY], RefusedError) and isinstance(found[servers[0].host], RemoteError)
        assert [outcome.ok for outcome in found.values()] == [False, False]


def test_it_is_no_part_of_a_wait(servers: list[kit.Server]) -> None:
    """What was asked for otherwise stays to be waited for, and nothing comes beside it."""
    one, two, _ = servers
    with ClientPool() as pool:
        pool.get(one.host, '/mine')
        pool.map([one.host, two.host], 'GET', '/x')
        assert [outcome.text for outcome in pool.wait()] == ['GET /mine '] and pool.wait() == []


def test_a_slow_host_holds_up_no_other() -> None:
    """More hosts than connections: all others are answered while the first is not."""
    with kit.serve(gate=kit.Gate()) as slow, kit.serve() as quick, ClientPool(max_connections=2) as pool:
        hosts = [slow.host, *(f'127.0.0.{number}:{quick.port}' for number in range(1, 2)), quick.url]
        mapped = gevent.spawn(pool.map, hosts, 'GET', '/')
        kit.wait_until(lambda: len(quick.requests) == 2)
        slow.gate.open()
        assert list(mapped.get(timeout=kit.LONG)) == hosts


def test_each_has_its_own_time(servers: list[kit.Server]) -> None:
    """Options are those of any request; one that is late says so."""
    with kit.Mute() as mute, ClientPool() as pool:
        found = pool.map([mute.host, servers[0].host], 'GET', '/x', timeout=0.2, tag='t')
        assert isinstance(found[mute.host], DeadlineExceeded) and found[servers[0].host].ok
        assert {outcome.request.tag for outcome in found.values()} == {'t'}


def test_a_redirect_comes_back_to_its_host() -> None:
    """It is the host that was named, wherever the answer came from."""
    with kit.serve() as end, kit.serve(lambda *_: (302, {'Location': f'{end.url}/000007'}, None)) as server:
        with ClientPool(redirect=True) as pool:
            assert pool.map([server.host], 'GET', '/')[server.host].status == 200
            assert len(end.requests) == 1


@pytest.mark.parametrize(
    ('hosts', 'options', 'kind', 'says'),
    [
        ('web1', {}, ValueError, r"hosts are several: \['web1'\]"),
        (b'web1', {}, ValueError, 'hosts are several'),
        (['h/x'], {}, ValueError, 'not a host'),
        ([None], {}, ValueError, 'a host is a text'),
        (['a', 'b'], {'body': iter(['x'])}, ValueError, 'read only once'),
        (['a'], {'stream': True}, ValueError, 'map hands out whole answers'),
        (['a'], {'timout': 3}, TypeError, "ClientPool.request takes no option 'timout': did you mean 'timeout'"),
        ([], {'headers': {'Host': 'x'}}, ValueError, 'Host'),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(
    servers: list[kit.Server], hosts: Any, options: Any, kind: type[Exception], says: str
) -> None:
    """Nothing is sent to any host then."""
    with ClientPool() as pool:
        given = hosts if isinstance(hosts, (str, bytes)) else [servers[0].host, *hosts]
        with pytest.raises(kind, match=says):
            pool.map(given, 'POST', '/', **options)
        assert asked(servers) == [0, 0, 0]


def test_a_file_goes_to_each_host(servers: list[kit.Server]) -> None:
    """Each reads it from where it stood; one that is read only once may go to one."""
    hosts = [server.host for server in servers]
    with ClientPool() as pool:
        file = io.BytesIO(b'skipped, content')
        file.seek(9)
        check(pool.map(hosts, 'PUT', '/', file), hosts, 'PUT / content')
        check(pool.map(hosts, 'PUT', '/', ('a', 'b')), hosts, 'PUT / ab')
        check(pool.map(hosts[:1], 'PUT', '/', iter('ab')), hosts[:1], 'PUT / ab')


def test_who_is_interrupted_drops_what_was_not_sent() -> None:
    """A `gevent.Timeout` around it comes out, and the pool can be used as before."""
    with kit.serve(gate=kit.Gate()) as slow, ClientPool(max_connections=1) as pool:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            pool.map([slow.host, NOBODY], 'GET', '/')
        slow.gate.open()
        assert pool.map([slow.host], 'GET', '/')[slow.host].ok and pool.wait() == []


@in_thread
def test_a_shared_pool_maps(servers: list[kit.Server]) -> None:
    """Likewise, in whatever thread."""
    hosts = [server.host for server in servers]
    with SharedPool() as pool:
        pool.get(hosts[0], '/mine')
        check(pool.map([*hosts, hosts[0]], 'post', '/x', 'b'), hosts, 'POST /x b')
        assert [outcome.text for outcome in pool.wait()] == ['GET /mine ']
        assert isinstance(pool.map([NOBODY], 'GET', '/')[NOBODY], HTTPError)
        with pytest.raises(TypeError, match='SharedPool.request takes no option'):
            pool.map(hosts, 'GET', '/', timout=3)  # type: ignore[call-arg]


@in_loop
async def test_an_async_pool_maps(servers: list[kit.Server]) -> None:
    """Likewise; it is awaited, and takes a body that the loop gives."""

    class Body:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'a'
            yield b'b'

    hosts = [server.host for server in servers]
    async with AsyncPool() as pool:
        mine = pool.get(hosts[0], '/mine')
        check(await pool.map([*hosts, hosts[0]], 'post', '/x', 'b'), hosts, 'POST /x b')
        check(await pool.map(hosts, 'PUT', '/x', Body()), hosts, 'PUT /x ab')
        assert await pool.wait() == [await mine]
        with pytest.raises(ValueError, match='hosts are several'):
            await pool.map(hosts[0], 'GET', '/')


@pytest.fixture
def gated() -> Iterator[kit.Server]:
    """Answers when its gate is opened."""
    with kit.serve(gate=kit.Gate()) as server:
        yield server


@in_loop
async def test_a_task_that_is_cancelled_cancels_its_map(gated: kit.Server) -> None:
    """What is in flight loses its connection, what is queued is never sent, and the pool can be used as before."""
    async with AsyncPool(max_connections=1) as pool:
        task = asyncio.ensure_future(pool.map([gated.host, NOBODY], 'GET', '/'))
        while not gated.gate.in_flight:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while pool.stats()[gated.host]['failed'] != 1:
            await asyncio.sleep(0.001)
        assert all(host['in_flight'] == host['queued'] == 0 for host in pool.stats().values())
        assert await pool.wait() == []
