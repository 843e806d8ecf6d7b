"""A pool for asyncio: each task gets its own, cancelling reaches the server, and the loop is never held."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import urllib3

from napixclient import Cancelled, HTTPError, Request, Response
from napixclient.aio import AsyncPool, AsyncStreamedResponse
from napixclient.authenticators import Digest, OAuth2ClientCredentials
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_digest import ME, Guard
from tests.helpers_native import begin, in_loop, run, run_loop
from tests.test_resuming import DATA, Store

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers with the id of the request."""
    with kit.serve() as server:
        yield server


@pytest.fixture
def gated() -> Iterator[kit.Server]:
    """Answers when its gate is opened."""
    with kit.serve(gate=kit.Gate()) as server:
        yield server


def paths(count: int) -> list[str]:
    """So many that nobody else asks for."""
    return [f'/{kit.next_id()}' for _ in range(count)]


def texts(outcomes: Any) -> list[str]:
    """The paths that were asked for, by the bodies of the answers."""
    return [f'/{outcome.text}' for outcome in outcomes]


async def until(condition: Any) -> None:
    """Wait for it, while the loop turns."""
    end = time.monotonic() + kit.LONG
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


# Requests and waits --------------------------------------------------------------------------------------------------


@in_loop
async def test_outcomes_come_in_the_order_asked(server: kit.Server) -> None:
    """`wait` has them all, also one that was awaited before; the next has none of them."""
    asked = paths(250)
    async with AsyncPool() as pool:
        futures = [pool.request(server.host, 'GET', path) for path in asked]
        assert isinstance(futures[0], asyncio.Future)
        answer = await futures[7]
        assert isinstance(answer, Response) and f'/{answer.text}' == asked[7]
        assert texts(await pool.wait()) == asked
        assert await pool.wait() == []
        assert texts(await asyncio.gather(*futures)) == asked


@in_loop
async def test_errors_are_values() -> None:
    """Neither `await` nor `wait` raises an error; `raise_errors` raises all of them."""
    async with AsyncPool(retries=False) as pool:
        error = await pool.request('127.0.0.1:1', 'GET', '/')
        assert isinstance(error, HTTPError) and error.status is None
        assert await pool.wait() == [error]
        pool.request('127.0.0.1:1', 'GET', '/')
        with pytest.raises(ExceptionGroup, match='1 of 1 requests failed'):
            await pool.wait(raise_errors=True)


@in_loop
async def test_a_bad_argument_raises_at_once(server: kit.Server) -> None:
    """In `request` itself, which leaves nothing behind; and a bad option in the constructor."""
    async with AsyncPool() as pool:
        for bad in ({'url': 'no-slash'}, {'timeout': -1}, {'body': object()}, {'host': 'bad host'}):
            with pytest.raises((ValueError, TypeError)):
                pool.request(**{'host': server.host, 'method': 'GET', 'url': '/', **bad})  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"AsyncPool.request takes no option 'timeot': did you mean 'timeout'"):
            pool.request(server.host, 'GET', '/', timeot=1)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match='timeout'):
            pool.wait(timeout=-1)
        assert await pool.wait() == []
    with pytest.raises(TypeError, match='AsyncPool takes no option'):
        AsyncPool(max_conections=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match='authenticator'):
        AsyncPool('root')  # type: ignore[call-overload]


def test_without_a_loop() -> None:
    """It is made anywhere, and used in a running loop."""
    pool = AsyncPool()
    with pytest.raises(RuntimeError, match='no running event loop'):
        pool.request('127.0.0.1:1', 'GET', '/')


@in_loop
async def test_outcomes_come_as_they_finish(server: kit.Server) -> None:
    """`wait_unordered` hands each out once; `count` is a bound; iteration keeps the order."""
    asked = paths(30)
    async with AsyncPool() as pool:
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert sorted(texts([outcome async for outcome in pool.wait_unordered()])) == asked
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert len([outcome async for outcome in pool.wait_unordered(count=3)]) == 3 and await pool.wait() == []
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert texts([outcome async for outcome in pool]) == asked


@in_loop
async def test_a_batch_is_taken_by_the_call(gated: kit.Server) -> None:
    """What awaits it may be another task, as that of `wait_for`; what is asked for later is not in it."""
    async with AsyncPool() as pool:
        for take in pool.wait, lambda: collected(pool.wait_unordered()):
            pool.request(gated.host, 'GET', '/')
            waiting = take()
            pool.request(gated.host, 'GET', '/')
            later = pool.wait()
            await until(lambda: len(gated.gate.held()) == 2) if not gated.gate.opened else None
            gated.gate.open()
            assert len(await asyncio.wait_for(waiting, kit.LONG)) == 1
            assert len(await asyncio.create_task(later)) == 1


async def collected(outcomes: AsyncIterator[Any]) -> list[Any]:
    """All of them."""
    return [outcome async for outcome in outcomes]


@in_loop
async def test_the_time_to_wait(gated: kit.Server) -> None:
    """When it is up, what has not finished comes out as a timeout, from `wait` and from `wait_unordered`."""
    async with AsyncPool(simultaneous=1) as pool:
        for wait in pool.wait, lambda timeout: collected(pool.wait_unordered(timeout=timeout)):
            pool.request(gated.host, 'GET', '/')
            pool.request(gated.host, 'GET', '/')
            names = sorted(type(outcome).__name__ for outcome in await wait(timeout=0.1))
            assert names == ['DeadlineExceeded', 'QueueTimeout']


@in_loop
async def test_each_task_waits_for_its_own(server: kit.Server) -> None:
    """Many tasks at once each get what they have asked for, in their order; so do callbacks, outside any task."""

    async def work() -> None:
        asked = paths(20)
        for path in asked:
            pool.request(server.host, 'GET', path)
            await asyncio.sleep(0)
        assert texts(await pool.wait()) == asked

    async with AsyncPool() as pool:
        await asyncio.gather(*[work() for _ in range(20)])
        found: list[Any] = []
        asyncio.get_running_loop().call_soon(lambda: found.append(pool.request(server.host, 'GET', '/')))
        await until(lambda: found)
        assert (await found[0]).status == 200 and await pool.wait() == []


# Cancelling ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_to_cancel_a_future_ends_its_request(gated: kit.Server) -> None:
    """In flight, the server sees the end of the connection; queued, it is never sent; `wait` has them as `Cancelled`."""
    async with AsyncPool(simultaneous=1) as pool:
        sending, queued = (pool.request(gated.host, 'GET', '/') for _ in range(2))
        await until(gated.gate.held)
        assert queued.cancel() and sending.cancel() and not sending.cancel() and sending.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert [type(outcome) for outcome in await pool.wait()] == [Cancelled, Cancelled]
        await until(lambda: not gated.gate.in_flight)
        assert len(gated.requests) == 1


@in_loop
async def test_to_cancel_a_task_ends_what_it_awaits(gated: kit.Server) -> None:
    """One request, all that a `wait` or a loop over them waits for, or a stream."""

    async def one() -> None:
        await pool.request(gated.host, 'GET', '/')

    async def waits() -> None:
        for _ in range(2):
            pool.request(gated.host, 'GET', '/')
        await pool.wait()

    async def loops() -> None:
        for _ in range(2):
            pool.request(gated.host, 'GET', '/')
        async for _ in pool.wait_unordered():
            pass

    async def streams() -> None:
        async for _ in pool.stream((gated.host, 'GET', '/') for _ in range(2)):
            pass

    async with AsyncPool(simultaneous=2) as pool:
        for body, count in (one, 1), (waits, 2), (loops, 2), (streams, 2):
            task = asyncio.create_task(body())
            await until(lambda count=count: len(gated.gate.held()) == count)  # type: ignore[misc]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not gated.gate.in_flight)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.request(gated.host, 'GET', '/'), 0.05)
        pool.request(gated.host, 'GET', '/')
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.wait(), 0.05)
        await until(lambda: not gated.gate.in_flight)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await pool.request(gated.host, 'GET', '/')
            await until(lambda: not gated.gate.in_flight)


@in_loop
async def test_cancel_ends_what_the_task_asked_for(gated: kit.Server) -> None:
    """And nothing of another task's."""

    async def other() -> Any:
        return await pool.request(gated.host, 'GET', '/')

    async with AsyncPool() as pool:
        others = asyncio.create_task(other())
        await until(gated.gate.held)
        futures = [pool.request(gated.host, 'GET', '/') for _ in range(3)]
        pool.cancel()
        assert [type(await future) for future in futures] == [Cancelled] * 3
        assert [type(outcome) for outcome in await pool.wait()] == [Cancelled] * 3
        gated.gate.open()
        assert (await others).status == 200


@in_loop
async def test_leaving_a_loop_drops_what_was_not_sent(gated: kit.Server) -> None:
    """Of three requests one is in flight and goes on; the others are never sent."""
    async with AsyncPool(simultaneous=1) as pool:
        for _ in range(4):
            pool.request(gated.host, 'GET', '/')
        await until(gated.gate.held)
        gated.gate.held()[0].release()
        outcomes = pool.wait_unordered()
        async for _ in outcomes:
            break
        await outcomes.aclose()  # type: ignore[attr-defined]
        await until(lambda: pool.stats()[gated.host]['queued'] == 0)
        gated.gate.open()
        await until(lambda: pool.stats()[gated.host]['in_flight'] == 0)
        assert len(gated.requests) <= 2


# Streams -------------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_stream_is_bounded_both_ways(server: kit.Server) -> None:
    """Never more than the window is given and not taken, of an iterable and of an async one; in order if asked for."""
    asked, given, taken = paths(100), 0, 0

    def requests() -> Iterator[tuple[str, str, str]]:
        nonlocal given
        for path in asked:
            assert given - taken < 10
            given += 1
            yield server.host, 'GET', path

    async def later() -> AsyncIterator[tuple[str, str, str]]:
        for request in requests():
            await asyncio.sleep(0)
            yield request

    async with AsyncPool() as pool:
        for made in requests, later:
            for ordered in True, False:
                given, taken, found = 0, 0, []
                async for outcome in pool.stream(made(), ordered=ordered, window=10):
                    found.append(outcome)
                    taken += 1
                assert (texts(found) if ordered else sorted(texts(found))) == asked
        assert [one async for one in pool.stream([])] == [] and await pool.wait() == []
        with pytest.raises(ValueError, match='window'):
            pool.stream([], window=0)


@in_loop
async def test_a_slow_producer_holds_nothing_back(server: kit.Server) -> None:
    """What has finished is handed out while an async iterable waits: here for just that."""
    taken = asyncio.Event()

    async def requests() -> AsyncIterator[tuple[str, str, str]]:
        yield server.host, 'GET', '/'
        await taken.wait()
        yield server.host, 'GET', '/'

    async with AsyncPool() as pool:
        count = 0
        async for outcome in pool.stream(requests()):
            assert outcome.status == 200
            count += 1
            taken.set()
        assert count == 2


@in_loop
async def test_what_an_iterable_raises_comes_last(server: kit.Server) -> None:
    """After the outcomes of what it had given; so does what is no request, and a cancellation of its own."""

    async def failing(error: BaseException) -> AsyncIterator[tuple[str, str, str]]:
        for path in asked:
            yield server.host, 'GET', path
        raise error

    asked = paths(5)
    async with AsyncPool() as pool:
        for error in KeyError('boom'), asyncio.CancelledError():
            outcomes = []
            with pytest.raises(type(error)):
                async for outcome in pool.stream(failing(error), ordered=True):
                    outcomes.append(outcome)
            assert texts(outcomes) == asked
        with pytest.raises(ValueError, match='a stream takes Request objects or tuples'):
            await collected(pool.stream(['nonsense']))  # type: ignore[list-item]


# Bodies --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def large() -> Iterator[kit.Server]:
    """Answers with 2,000 numbered lines of 100 bytes."""
    lines = ''.join(f'{number:<99}\n' for number in range(2000))
    with kit.serve(lambda *_: (200, {'Content-Type': 'text/plain'}, lines)) as server:
        yield server


@in_loop
async def test_a_streamed_answer_is_read_by_a_task(large: kit.Server) -> None:
    """In pieces as they come, of a size, in lines, or whole; its slot is free afterwards."""
    async with AsyncPool(simultaneous=1) as pool:

        async def asked() -> AsyncStreamedResponse:
            response = await asyncio.wait_for(pool.request(large.host, 'GET', '/', stream=True), kit.LONG)
            assert isinstance(response, AsyncStreamedResponse) and response.status == 200
            return response

        whole = b''.join([piece async for piece in await asked()])
        assert len(whole) == 200_000
        async with await asked() as response:
            assert await response.read(100) == whole[:100] and await response.read(0) == b''
            pieces = [piece async for piece in response.iter_bytes(65_536)]
            assert [len(piece) for piece in pieces] == [65_536, 65_536, 65_536, 3_292]
            assert b''.join(pieces) == whole[100:]
            with pytest.raises(ValueError, match='size'):
                response.iter_bytes(0)
        async with await asked() as response:
            assert [int(line) async for line in response.iter_lines()] == list(range(2000))
        async with await asked() as response:
            with pytest.raises(RuntimeError, match='await response.read'):
                print(response.data)
            assert await response.read() == whole == response.data and response.text == whole.decode()
        async with await asked() as response:
            async for line in response.iter_lines():
                assert line.strip() == '0'
                break
            async for line in response.iter_lines():
                assert line.strip() == '1'
                break
        with pytest.raises(Cancelled):
            await response.read()
        response = await asked()
        await response.aclose()
        await response.close()
        response = await asked()
        await pool.wait()
        del response  # nobody reads it: it gives its slot back all the same
        gc.collect()
        assert await (await asked()).read() == whole


def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    """Whoever reads on gets the rest, and the whole of it."""

    async def body() -> None:
        async with AsyncPool() as pool:
            response = await pool.request(server.host, 'GET', '/', stream=True)
            assert isinstance(response, AsyncStreamedResponse)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(response.read(), 0.05)
            server.later.set()
            assert await asyncio.wait_for(response.read(), kit.LONG) == b'halfrest'

    script = [kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf', kit.LATER, b'rest']
    with kit.FaultServer(script) as server:
        run_loop(body)


@pytest.mark.parametrize('how', ['iter_bytes', 'iter_lines', 'iter_events'])
def test_another_task_closes_a_streamed_answer(how: str) -> None:
    """Whoever waits for the next piece gets Cancelled, which knows the request, however far the wait has come."""
    turns = [0, 5, 10, 20, 30, 40, 60, 80, 200]

    async def body() -> None:
        async with AsyncPool() as pool:
            for count in turns:
                response: Any = await pool.request(server.host, 'GET', '/', stream=True)
                reading = asyncio.create_task(anext(getattr(response, how)()))
                for _ in range(count):
                    await asyncio.sleep(0)
                await response.close()
                with pytest.raises(Cancelled) as caught:
                    await asyncio.wait_for(reading, kit.LONG)
                assert caught.value.request is response.request

    head = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n'
    with kit.FaultServer(*[[kit.READ, head, kit.SILENCE] for _ in turns]) as server:
        run_loop(body)


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """`save` writes the file as that of any other streamed answer does, and asks for the rest with `resume=True`."""
    path = tmp_path / 'file'

    async def body() -> None:
        async with AsyncPool(retries=urllib3.Retry(5, backoff_factor=0)) as pool:
            response: Any = await pool.request(store.host, 'GET', '/', stream=True)
            assert await response.save(path, resume=True) == len(DATA)
            response = await pool.request(store.host, 'GET', '/', stream=True)
            async with response:
                assert await response.save(path) == len(DATA)
            assert path.read_bytes() == DATA
            response = await pool.request(store.host, 'GET', '/', stream=True)
            with pytest.raises(IsADirectoryError):
                await response.save(tmp_path)
            assert await response.read(4) == DATA[:4]
            with pytest.raises(ValueError, match='nothing was read'):
                await response.save(path)
            await response.close()

    with Store(100_000, 50_000) as store:
        run_loop(body)
    assert list(tmp_path.iterdir()) == [path]


class Stalling(Store):
    """Stands still in the middle of its first answer."""

    stalled = False

    def talk(self, peer: kit.Peer) -> None:
        """Say half of it, the first time."""
        if self.stalled:
            super().talk(peer)
            return
        self.stalled = True
        self.read(peer)
        peer.send(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(DATA) + DATA[:100_000])
        peer.drain()


def test_a_task_that_is_cancelled_while_it_saves(tmp_path: Path) -> None:
    """It gives up its slot, and the next one goes on behind what has come."""
    path, part = tmp_path / 'file', tmp_path / 'file.part'

    async def body() -> None:
        async with AsyncPool(simultaneous=1) as pool:
            response: Any = await pool.request(store.host, 'GET', '/', stream=True)
            saving = asyncio.create_task(response.save(path, resume=True))
            await until(lambda: part.exists() and part.stat().st_size)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            response = await pool.request(store.host, 'GET', '/', stream=True)
            assert await response.save(path, resume=True) == len(DATA)

    with Stalling() as store:
        run_loop(body)
        assert store.requests[-1].headers['range'].startswith('bytes=')
    assert path.read_bytes() == DATA


def test_a_streamed_answer_that_is_cut_off() -> None:
    """By `cancel` of the pool, and by its end."""

    async def body() -> None:
        async with AsyncPool() as pool:
            response: Any = await pool.request(server.host, 'GET', '/', stream=True)
            assert await response.read(4) == b'half'
            pool.cancel()
            with pytest.raises(Cancelled) as caught:
                await response.read()
            assert caught.value.response is response
            response = await pool.request(server.host, 'GET', '/', stream=True)
            reading = asyncio.create_task(response.read())
            await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            await asyncio.wait_for(reading, kit.LONG)
        await response.aclose()

    script = [kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', kit.SILENCE]
    with kit.FaultServer(script, script) as server:
        run_loop(body)


@pytest.fixture
def redirecting() -> Iterator[kit.Server]:
    """Sends a request on to itself, twice."""
    statuses = [307, 307, 200]
    with kit.serve(lambda *_: (statuses.pop(0), {'Location': '/'}, None)) as server:
        yield server


@in_loop
async def test_a_body_may_be_async(server: kit.Server, redirecting: kit.Server) -> None:
    """It is read in the loop of its caller, as ``data`` too; one that begins anew each time can be sent again."""
    loop = asyncio.get_running_loop()
    who: ContextVar[str] = ContextVar('who', default='nobody')
    who.set('the caller')

    async def pieces() -> AsyncIterator[bytes]:
        assert asyncio.get_running_loop() is loop and who.get() == 'the caller'
        for number in range(3):
            await asyncio.sleep(0)
            yield b'%d' % number

    class Again:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return pieces()

    async with AsyncPool(redirect=True) as pool:
        assert (await pool.request(server.host, 'POST', '/', pieces())).status == 200
        assert server.requests[0].body == b'012'
        assert (await pool.request(redirecting.host, 'PUT', '/', Again())).status == 200
        assert [request.body for request in redirecting.requests] == [b'012'] * 3
        await pool.post(server.host, '/', data=pieces())
        await pool.map([server.host], 'POST', '/', data=pieces())
        assert [request.body for request in server.requests] == [b'012'] * 3


@in_loop
async def test_a_body_that_fails_or_is_not_wanted(gated: kit.Server) -> None:
    """What it raises is the cause of the error; when its request is cancelled, so is what it awaits."""
    ended = asyncio.Event()

    async def failing() -> AsyncIterator[bytes]:
        yield b'one'
        raise KeyError('boom')

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b'one'
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with AsyncPool() as pool:
        error = await pool.request(gated.host, 'POST', '/', failing())
        assert isinstance(error, HTTPError) and isinstance(error.__cause__, KeyError)
        sending = pool.request(gated.host, 'POST', '/', endless())
        await until(lambda: pool.stats()[gated.host]['in_flight'])
        sending.cancel()
        await asyncio.wait_for(ended.wait(), kit.LONG)


# Hooks, authenticators, context --------------------------------------------------------------------------------------


@in_loop
async def test_an_async_authenticator_is_awaited_in_the_loop_of_its_caller(server: kit.Server) -> None:
    """In a copy of the context of the call; functions, methods and partials; a plain one runs in the hub's thread."""
    here = asyncio.get_running_loop()
    who: ContextVar[str] = ContextVar('who', default='nobody')

    async def sign(request: Request, name: str = 'X-Who') -> Request:
        assert asyncio.get_running_loop() is here
        await asyncio.sleep(0)
        return request.replace(headers={name: who.get()})

    class Signer:
        async def __call__(self, request: Request) -> Request:
            return await sign(request)

    def plain(request: Request) -> Request:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return request.replace(headers={'X-Who': who.get()})

    who.set('the caller')
    given: list[Any] = [sign, Signer(), functools.partial(sign, name='x-who'), plain]
    for authenticator in given:
        async with AsyncPool(authenticator) as pool:
            assert (await pool.request(server.host, 'GET', '/')).status == 200
            assert server.requests[-1].headers['x-who'] == 'the caller'


@in_loop
async def test_an_async_authenticator_that_fails_or_is_not_wanted(server: kit.Server) -> None:
    """What it raises is the cause of the error; when its request is cancelled, so is what it awaits."""
    ended = asyncio.Event()

    async def sign(request: Request) -> Request:
        if request.tag == 'fails':
            raise KeyError('boom')
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return request

    async with AsyncPool(sign) as pool:
        error = await pool.request(server.host, 'GET', '/', tag='fails')
        assert isinstance(error, HTTPError) and isinstance(error.__cause__, KeyError)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.request(server.host, 'GET', '/'), 0.05)
        await asyncio.wait_for(ended.wait(), kit.LONG)
    assert server.requests == []


@pytest.fixture
def challenging() -> Iterator[kit.Server]:
    """Wants the new token."""

    def check(method: str, path: str, headers: Any, body: bytes) -> Any:
        return (200 if headers['authorization'] == 'Bearer new' else 401), {'WWW-Authenticate': 'Bearer'}, None

    with kit.serve(check) as server:
        yield server


@in_loop
async def test_an_async_method_answers_challenges(challenging: kit.Server) -> None:
    """And the request is signed anew."""
    token = 'old'

    class Signer:
        def __call__(self, request: Request) -> Request:
            return request.replace(headers={'Authorization': f'Bearer {token}'})

        async def challenged(self, request: Request, response: Response) -> Request:
            nonlocal token
            await asyncio.sleep(0)
            token = 'new'
            return self(request)

    async with AsyncPool(Signer()) as pool:
        assert (await pool.request(challenging.host, 'GET', '/')).status == 200


@in_loop
async def test_the_librarys_own_answer_challenges(own: dict[str, kit.Server]) -> None:
    """Digest and client credentials work as in a ClientPool: one nonce and one token for all."""
    async with AsyncPool(Digest(*ME), simultaneous=1) as pool:
        for n in range(5):
            pool.request(own['digest'].host, 'GET', f'/{n}')
        assert [outcome.status for outcome in await pool.wait()] == [200] * 5
    assert len(own['digest'].requests) == 6
    me = OAuth2ClientCredentials(f'http://{own["tokens"].host}/', 'nemo', 'a long secret')
    async with AsyncPool(me) as pool:
        for n in range(5):
            pool.request(own['service'].host, 'GET', f'/{n}')
        assert [outcome.status for outcome in await pool.wait()] == [200] * 5
    assert len(own['tokens'].requests) == 1


@pytest.fixture
def own() -> Iterator[dict[str, kit.Server]]:
    """Servers that want a digest, give tokens, and want the first of these."""

    def service(method: str, path: str, headers: Any, body: bytes) -> Any:
        return (200 if headers.get('authorization') == 'Bearer t0ken-1' else 401), {}, None

    with (
        kit.serve(Guard()) as digest,
        kit.serve(lambda *_: (200, {}, {'access_token': 't0ken-1'})) as tokens,
        kit.serve(service) as server,
    ):
        yield {'digest': digest, 'tokens': tokens, 'service': server}


@in_loop
async def test_the_call_context_travels(server: kit.Server) -> None:
    """A request that is made while another is served carries the ids of that one, and its deadline."""
    from napixclient.call_context import current, extract

    fields = {'X-Request-ID': 'the-id', 'X-Napix-Timeout': '5000'}
    current.set(extract(fields.get, 'here')[0])
    async with AsyncPool() as pool:
        await pool.request(server.host, 'GET', '/')
        await collected(pool.stream([(server.host, 'GET', '/')]))
    assert {request.headers['x-request-id'] for request in server.requests} == {'the-id'}
    assert all(0 < int(request.headers['x-napix-timeout']) <= 5000 for request in server.requests)


# Sharing and ends ----------------------------------------------------------------------------------------------------


def test_loops_and_threads_share_a_pool() -> None:
    """Sixteen threads and two event loops get their own, and the server never sees more than the cap."""
    with kit.serve() as server, SharedPool(simultaneous=3) as shared:
        own = AsyncPool(shared)

        async def tasks() -> None:
            async def work() -> None:
                asked = paths(20)
                for path in asked:
                    pool.request(server.host, 'GET', path)
                assert texts(await pool.wait()) == asked

            pool = AsyncPool(shared)
            await asyncio.gather(*[work() for _ in range(10)])
            asked = paths(5)
            assert texts(await asyncio.gather(*[own.request(server.host, 'GET', path) for path in asked])) == asked

        def thread() -> None:
            asked = paths(25)
            for path in asked:
                shared.request(server.host, 'GET', path)
            assert texts(shared.wait()) == asked

        in_loops = 1 if kit.is_patched() else 2  # all greenlets of a patched process are one thread to asyncio
        running = [begin(lambda: asyncio.run(tasks())) for _ in range(in_loops)]
        running += [begin(thread) for _ in range(16)]
        for each in running:
            each.get(timeout=kit.LONG)
        assert len(server.requests) == in_loops * 205 + 400
        assert 1 <= server.gate.peak <= 3


@in_loop
async def test_a_pool_over_a_shared_one_leaves_it_open(gated: kit.Server) -> None:
    """Its end is that of its own requests; with options of its own it is an error."""
    shared = SharedPool()
    theirs = shared.request(gated.host, 'GET', '/')
    async with AsyncPool(shared) as pool:
        ours = pool.request(gated.host, 'GET', '/')
        await until(lambda: len(gated.gate.held()) == 2)
    assert isinstance(await ours, Cancelled)
    with pytest.raises(RuntimeError, match='closed'):
        pool.request(gated.host, 'GET', '/')
    gated.gate.open()
    assert (await asyncio.wrap_future(theirs)).status == 200
    with pytest.raises(ValueError, match='SharedPool'):
        AsyncPool(shared, simultaneous=5)  # type: ignore[call-overload]
    await asyncio.get_running_loop().run_in_executor(None, shared.close)
    with pytest.raises(RuntimeError, match='closed'):
        AsyncPool(shared)


@in_loop
async def test_close_ends_who_waits(gated: kit.Server) -> None:
    """At once, with `Cancelled`; afterwards there is nothing to ask or to wait for; twice is fine, by either name."""
    pool = AsyncPool()

    async def waits() -> list[Any]:
        pool.request(gated.host, 'GET', '/')
        return await pool.wait()

    async def streams() -> list[Any]:
        return await collected(pool.stream((gated.host, 'GET', '/') for _ in range(3)))

    async def one() -> list[Any]:
        return [await pool.request(gated.host, 'GET', '/')]

    waiting = [asyncio.create_task(body()) for body in (waits, streams, one)]
    await until(lambda: len(gated.gate.held()) == 2)
    await pool.close()
    for task in waiting:
        assert {type(outcome) for outcome in await task} == {Cancelled}
    await pool.aclose()
    await pool.close()
    for use in lambda: pool.request(gated.host, 'GET', '/'), pool.wait, pool.wait_unordered, lambda: pool.stream([]):
        with pytest.raises(RuntimeError, match='the pool is closed'):
            use()
    await until(lambda: not gated.gate.in_flight)


@in_loop
async def test_close_without_any_request() -> None:
    """It is at once."""
    async with AsyncPool() as pool:
        assert await pool.wait() == [] and pool.stats() == {}
        assert repr(pool).startswith('<AsyncPool 0 hosts: 0 queued, 0 in flight, 0 of ')


def test_what_was_asked_for_in_a_loop_that_has_ended(gated: kit.Server) -> None:
    """Ends too, and the pool goes on for others."""
    pool = AsyncPool()

    async def leaves() -> None:
        pool.request(gated.host, 'GET', '/')
        await until(gated.gate.held)

    async def goes_on() -> int | None:
        return (await pool.request(gated.host, 'GET', '/')).status

    run(lambda: asyncio.run(leaves()))
    gated.gate.open()
    assert run(lambda: asyncio.run(goes_on())) == 200
    run(lambda: asyncio.run(pool.close()))


@in_loop
async def test_a_pool_keeps_nothing_of_tasks_that_have_ended(server: kit.Server) -> None:
    """Outcomes that nobody waited for go with their task."""

    class Tag:
        alive = 0

        def __init__(self) -> None:
            Tag.alive += 1

        def __del__(self) -> None:
            Tag.alive -= 1

    async def work() -> None:
        await pool.request(server.host, 'GET', '/', tag=Tag())

    async with AsyncPool() as pool:
        await asyncio.gather(*[work() for _ in range(50)])
        await asyncio.sleep(0)
        gc.collect()
        assert Tag.alive <= 2


# The loop is not held ------------------------------------------------------------------------------------------------


class OwnTime:
    """Seconds, without those in which a thread of this process was ready to run and the machine let others run."""

    def __init__(self) -> None:
        self._waited: dict[Path, int] = {}

    def __call__(self) -> float:
        """Now."""
        for task in Path('/proc/self/task').iterdir():
            try:
                self._waited[task] = int((task / 'schedstat').read_text().split()[1])
            except OSError:  # it has ended meanwhile, or the kernel does not count
                continue
        return time.perf_counter() - sum(self._waited.values()) / 1e9


def largest_gap(loop_run: Any, body: Any) -> float:
    """Of a task that sleeps a millisecond at a time, while the body runs: the longest that it was not let run."""

    async def main() -> float:
        gap, own_time = 0.0, OwnTime()

        async def tick() -> None:
            nonlocal gap
            last = own_time()
            while True:
                await asyncio.sleep(0.001)
                now = own_time()
                gap, last = max(gap, now - last), now

        ticking = asyncio.create_task(tick())
        await body()
        ticking.cancel()
        return gap

    found: float = loop_run(main())
    return found


def loops() -> list[Any]:
    """How a program on asyncio is run."""
    try:
        import uvloop
    except ImportError:
        return [asyncio.run]
    return [asyncio.run, uvloop.run]


#: Serves all addresses of this machine, in a process that has an interpreter lock of its own.
SERVER = """
import gevent
from tests import kit
with kit.serve(address='0.0.0.0') as server:
    print(server.port, flush=True)
    gevent.sleep(600)
"""


@pytest.mark.timed
def test_the_loop_is_not_held(request: pytest.FixtureRequest) -> None:
    """No gap over 20 ms in a task that ticks, while 20,000 requests run: the best of three runs, on both loops.

    What the garbage collector takes depends on all else that lives in the process, and is left out.
    """
    if kit.is_patched():
        pytest.skip('the loop of a patched process is a guest of its hub')

    async def work() -> None:
        async with AsyncPool() as pool:
            requests = ((hosts[number % len(hosts)], 'GET', '/') for number in range(20_000))
            count = 0
            async for outcome in pool.stream(requests):
                count += outcome.status == 200
            assert count == 20_000

    request.addfinalizer(gc.enable)
    gc.disable()
    with kit.started(SERVER) as process:
        port = int(process.stdout.readline())
        hosts = [f'127.0.0.{number}:{port}' for number in range(1, 101)]
        for loop_run in loops():
            assert any(begin(largest_gap, loop_run, work).get() < kit.limit(0.02) for _ in range(3))
        process.kill()


@in_loop
async def test_outcomes_are_handed_over_in_groups(server: kit.Server) -> None:
    """The loop is woken far less often than there are outcomes, and the hub as well."""
    loop = asyncio.get_running_loop()
    woken = 0

    class Counting(type(loop)):  # type: ignore[misc]
        def call_soon_threadsafe(self, *args: Any, **more: Any) -> Any:
            nonlocal woken
            woken += 1
            return super().call_soon_threadsafe(*args, **more)

    loop.__class__ = Counting
    async with AsyncPool(simultaneous=100) as pool:
        for _ in range(1000):
            pool.request(server.host, 'GET', '/')
        assert len(await pool.wait()) == 1000
        assert woken < 500


@pytest.mark.parametrize('name', ['test_outcomes_come_in_the_order_asked', 'test_close_ends_who_waits'])
def test_uvloop(name: str, gated: kit.Server, server: kit.Server) -> None:
    """It works on uvloop as on asyncio's own loop."""
    uvloop = pytest.importorskip('uvloop')
    if kit.is_patched():
        pytest.skip('uvloop knows nothing of gevent')
    test = globals()[name].__wrapped__
    fixture = {'gated': gated} if 'gated' in test.__code__.co_varnames else {'server': server}
    run(lambda: uvloop.run(test(**fixture)))
