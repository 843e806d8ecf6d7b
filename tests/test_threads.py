"""A pool that threads share: each gets its own, one cap holds for all, and nobody waits for nothing."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import gevent
import pytest

from napixclient import Cancelled, ClientPool, HTTPError, QueueTimeout, Request, Response, StreamedResponse
from napixclient.authenticators import Digest
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_digest import ME, Guard
from tests.helpers_native import begin, in_thread, run

if kit.sys.version_info < (3, 11):
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


# Requests and waits --------------------------------------------------------------------------------------------------


@in_thread
def test_outcomes_come_in_the_order_asked(server: kit.Server) -> None:
    """`wait` has them all, also one that was taken by `result` before; the next has none of them."""
    asked = paths(50)
    with SharedPool() as pool:
        futures = [pool.request(server.host, 'GET', path) for path in asked]
        answer = futures[7].result()
        assert isinstance(answer, Response) and f'/{answer.text}' == asked[7]
        assert texts(pool.wait()) == asked
        assert pool.wait() == []
        assert all(future.done() for future in futures)


@in_thread
def test_errors_are_values() -> None:
    """Neither `result` nor `wait` raises an error; `raise_errors` raises all of them."""
    with SharedPool(retries=False) as pool:
        future = pool.request('127.0.0.1:1', 'GET', '/')
        error = future.result()
        assert isinstance(error, HTTPError) and future.exception() is None and error.status is None
        assert pool.wait() == [error]
        pool.request('127.0.0.1:1', 'GET', '/')
        with pytest.raises(ExceptionGroup, match='1 of 1 requests failed'):
            pool.wait(raise_errors=True)


@in_thread
def test_a_bad_argument_raises_at_once(server: kit.Server) -> None:
    """In `request` itself, which leaves nothing behind; and a bad option in the constructor."""
    with SharedPool() as pool:
        for bad in ({'url': 'no-slash'}, {'timeout': -1}, {'body': object()}, {'host': 'bad host'}):
            with pytest.raises((ValueError, TypeError)):
                pool.request(**{'host': server.host, 'method': 'GET', 'url': '/', **bad})  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"SharedPool.request takes no option 'timeot': did you mean 'timeout'"):
            pool.request(server.host, 'GET', '/', timeot=1)  # type: ignore[call-overload]
        assert pool.wait() == []
    with pytest.raises(TypeError, match='SharedPool takes no option'):
        SharedPool(max_conections=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match='simultaneous'):
        SharedPool(simultaneous=0)

    async def authenticator(request: Request) -> None: ...

    class Challenged:
        def __call__(self, request: Request) -> None: ...

        async def challenged(self, request: Request, response: Response) -> Request:
            return request

    for given in authenticator, Challenged():
        with pytest.raises(ValueError, match='AsyncPool'):
            SharedPool(given)  # type: ignore[arg-type]


@pytest.fixture
def digesting() -> Iterator[kit.Server]:
    """Wants a digest."""
    with kit.serve(Guard()) as server:
        yield server


@in_thread
def test_a_digest(digesting: kit.Server) -> None:
    """One Digest of a SharedPool keeps one nonce for all threads."""
    with SharedPool(Digest(*ME), simultaneous=1) as pool:
        for path in paths(5):
            pool.request(digesting.host, 'GET', path)
        assert [outcome.status for outcome in pool.wait()] == [200] * 5
    assert len(digesting.requests) == 6


@in_thread
def test_outcomes_come_as_they_finish(server: kit.Server) -> None:
    """`wait_unordered` hands each out once; `count` is a bound; iteration keeps the order."""
    asked = paths(30)
    with SharedPool() as pool:
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert sorted(texts(pool.wait_unordered())) == asked
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert len(list(pool.wait_unordered(count=3))) == 3 and pool.wait() == []
        for path in asked:
            pool.request(server.host, 'GET', path)
        assert texts(pool) == asked


def test_leaving_a_loop_drops_what_was_not_sent(gated: kit.Server) -> None:
    """Of three requests one is in flight and goes on; the others are never sent."""

    def body(pool: SharedPool) -> None:
        pool.request(gated.host, 'GET', '/')
        for _ in range(3):
            pool.request(gated.host, 'GET', '/')
        for _ in pool.wait_unordered():
            break

    with SharedPool(simultaneous=1) as pool:
        leaving = begin(body, pool)
        gated.gate.wait_for(1)
        gated.gate.held()[0].release()
        leaving.get()
        kit.wait_until(lambda: pool.stats()[gated.host]['queued'] == 0, 'what is dropped')
        gated.gate.open()
        kit.wait_until(lambda: pool.stats()[gated.host]['in_flight'] == 0, 'what is in flight')
    assert len(gated.requests) <= 2


def test_the_time_to_wait(gated: kit.Server) -> None:
    """When it is up, what has not finished comes out as a timeout, from `wait` and from `wait_unordered`."""

    def body() -> None:
        with SharedPool(simultaneous=1) as pool:
            for wait in pool.wait, pool.wait_unordered:
                pool.request(gated.host, 'GET', '/')
                pool.request(gated.host, 'GET', '/')
                names = sorted(type(outcome).__name__ for outcome in wait(timeout=0.1))
                assert names == ['DeadlineExceeded', 'QueueTimeout']
            with pytest.raises(ValueError, match='timeout'):
                pool.wait(timeout=-1)
            pool.request(gated.host, 'GET', '/')
            assert isinstance(pool.wait(0)[0], QueueTimeout | HTTPError)

    run(body)


@in_thread
def test_each_thread_waits_for_its_own(server: kit.Server) -> None:
    """Sixteen threads at once each get what they have asked for, in their order."""
    with SharedPool() as pool:

        def work() -> None:
            asked = paths(40)
            for path in asked:
                pool.request(server.host, 'GET', path)
            assert texts(pool.wait()) == asked

        results = [begin(work) for _ in range(16)]
        for result in results:
            result.get()


def test_one_cap_for_all_threads() -> None:
    """The server never sees more connections at once than the cap, whoever asks."""
    with kit.serve() as server, SharedPool(simultaneous=3) as pool:

        def work() -> None:
            for _ in range(50):
                pool.request(server.host, 'GET', '/')
            assert all(outcome.status == 200 for outcome in pool.wait())

        for result in [begin(work) for _ in range(16)]:
            result.get(timeout=kit.LONG)
        assert 1 <= server.gate.peak <= 3 and len(server.requests) == 800


# Futures -------------------------------------------------------------------------------------------------------------


@in_thread
def test_futures_are_those_of_concurrent_futures(server: kit.Server) -> None:
    """`as_completed`, `wait` and callbacks take them, done or not."""
    asked = paths(20)
    with SharedPool() as pool:
        futures = [pool.request(server.host, 'GET', path) for path in asked]
        told: list[Any] = []
        futures[3].add_done_callback(lambda future: told.append(future.result()))
        assert sorted(texts(future.result() for future in concurrent.futures.as_completed(futures))) == asked
        done, not_done = concurrent.futures.wait(futures, timeout=0)
        assert len(done) == 20 and not not_done
        pool.wait()
        futures[4].add_done_callback(lambda future: told.append(future.result()))
        kit.wait_until(lambda: len(told) == 2, 'both callbacks') if kit.is_patched() else None
        assert texts(told) == asked[3:5]
        assert not futures[0].cancel() and not futures[0].cancelled() and not futures[0].running()


def test_a_future_is_cancelled_in_flight(gated: kit.Server) -> None:
    """The server sees the end of the connection; the one that is queued is never sent; `wait` has both as `Cancelled`."""

    def body(pool: SharedPool) -> list[Any]:
        futures = [pool.request(gated.host, 'GET', path) for path in paths(2)]
        asked.extend(futures)
        return pool.wait()

    asked: list[concurrent.futures.Future[Any]] = []
    with SharedPool(simultaneous=1) as pool:
        waiting = begin(body, pool)
        gated.gate.wait_for(1)
        sending, queued = asked
        assert queued.cancel() and sending.cancel() and sending.cancel() and sending.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            sending.result()
        outcomes = waiting.get(timeout=kit.LONG)
        assert [type(outcome) for outcome in outcomes] == [Cancelled, Cancelled]
        assert [outcome.request.url for outcome in outcomes] and len(gated.requests) == 1
        kit.wait_until(lambda: gated.gate.in_flight == 0, 'the end of the connection')
        done, _ = run(lambda: concurrent.futures.wait(asked, timeout=kit.LONG))
        assert len(done) == 2


def test_cancel_ends_what_the_thread_asked_for(gated: kit.Server) -> None:
    """And nothing of another thread's."""

    def other(pool: SharedPool) -> Any:
        return pool.request(gated.host, 'GET', '/').result()

    def body(pool: SharedPool) -> None:
        futures = [pool.request(gated.host, 'GET', '/') for _ in range(3)]
        pool.cancel()
        assert [type(future.result()) for future in futures] == [Cancelled] * 3
        assert [type(outcome) for outcome in pool.wait()] == [Cancelled] * 3

    with SharedPool() as pool:
        others = begin(other, pool)
        gated.gate.wait_for(1)
        run(body, pool)
        gated.gate.open()
        assert others.get(timeout=kit.LONG).status == 200


# Streams -------------------------------------------------------------------------------------------------------------


@in_thread
def test_a_stream_asks_its_iterable_in_the_calling_thread(server: kit.Server) -> None:
    """In constant memory: never more than the window is given and not taken; in order where that is asked for."""
    asked, given, taken = paths(100), 0, 0
    here = threading.get_ident()

    def requests() -> Iterator[tuple[str, str, str]]:
        nonlocal given
        for path in asked:
            assert threading.get_ident() == here and given - taken < 10
            given += 1
            yield server.host, 'GET', path

    with SharedPool() as pool:
        for outcome in pool.stream(requests(), ordered=True, window=10):
            assert f'/{outcome.text}' == asked[taken]  # type: ignore[union-attr]
            taken += 1
        assert taken == 100 and pool.wait() == []
        given = taken = 0
        for _ in pool.stream(requests(), window=10):
            taken += 1
        assert taken == 100
        assert list(pool.stream([])) == []


@in_thread
def test_what_an_iterable_raises_comes_last(server: kit.Server) -> None:
    """After the outcomes of what it had given; so does what is no request."""

    def failing() -> Iterator[tuple[str, str, str]]:
        yield from ((server.host, 'GET', path) for path in asked)
        raise KeyError('boom')

    asked = paths(5)
    with SharedPool() as pool:
        outcomes = []
        with pytest.raises(KeyError, match='boom'):
            for outcome in pool.stream(failing(), ordered=True):
                outcomes.append(outcome)
        assert texts(outcomes) == asked
        with pytest.raises(ValueError, match='a stream takes Request objects or tuples'):
            list(pool.stream(['nonsense']))  # type: ignore[list-item]
        with pytest.raises(ValueError, match='window'):
            pool.stream([], window=0)


def test_cancel_ends_a_stream(gated: kit.Server) -> None:
    """Its outcomes are `Cancelled`, and it goes on to its end."""

    def body() -> list[Any]:
        found = []
        with SharedPool() as pool:
            requests = ((gated.host, 'GET', path) for path in [*paths(1), *['/held'] * 3])
            for outcome in pool.stream(requests, window=4):
                found.append(outcome)
                pool.cancel()
        return found

    running = begin(body)
    gated.gate.wait_for(2)
    gated.gate.held()[0].release()
    found = running.get(timeout=kit.LONG)
    assert len(found) == 4 and {type(outcome) for outcome in found} == {Response, Cancelled}


# Streamed answers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def large() -> Iterator[kit.Server]:
    """Answers with 2,000 numbered lines of 100 bytes."""
    lines = ''.join(f'{number:<99}\n' for number in range(2000))
    with kit.serve(lambda *_: (200, {'Content-Type': 'text/plain'}, lines)) as server:
        yield server


@in_thread
def test_a_streamed_answer_is_read_by_a_thread(large: kit.Server) -> None:
    """In pieces as they come, of a size, in lines, or whole; its slot is free afterwards."""
    with SharedPool(simultaneous=1) as pool:

        def asked() -> StreamedResponse:
            response = pool.request(large.host, 'GET', '/', stream=True).result(timeout=kit.LONG)
            assert isinstance(response, StreamedResponse) and response.status == 200
            return response

        whole = b''.join(asked())
        assert len(whole) == 200_000
        with asked() as response:
            assert response.read(100) == whole[:100] and response.read(0) == b''
            pieces = list(response.iter_bytes(65_536))
            assert [len(piece) for piece in pieces] == [65_536, 65_536, 65_536, 3_292]
            assert b''.join(pieces) == whole[100:]
        with asked() as response:
            assert [int(line) for line in response.iter_lines()] == list(range(2000))
        assert asked().data == whole and asked().text == whole.decode()
        with asked() as response:
            lines = response.iter_lines()
            assert next(lines).strip() == '0' and next(lines).strip() == '1'
        with pytest.raises(Cancelled):
            response.read()  # a loop was left, and then the answer
        response = asked()
        pool.wait()
        del response  # nobody reads it: it gives its slot back all the same
        gc.collect()
        assert asked().read() == whole


def test_another_thread_closes_a_streamed_answer() -> None:
    """Whoever waits for the next piece gets Cancelled, with the answer as its caller knows it."""
    with kit.FaultServer([kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', kit.SILENCE]) as server:
        with SharedPool() as pool:
            response: Any = run(lambda: pool.request(server.host, 'GET', '/', stream=True).result())
            assert run(response.read, 4) == b'half'
            reader = begin(lambda: pytest.raises(Cancelled, response.read).value)
            gevent.sleep(0.01)
            run(response.close)
            error = reader.get(timeout=kit.LONG)
    assert error.response is response and error.request is response.request


def test_a_streamed_answer_that_breaks_off() -> None:
    """Its reader gets the error, with the answer as its caller knows it; `cancel` of the pool is one as well."""
    script = [kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', kit.LATER, kit.CLOSE]
    with kit.FaultServer(script) as server, SharedPool() as pool:

        def body() -> None:
            response: Any = pool.request(server.host, 'GET', '/', stream=True).result()
            server.later.set()
            with pytest.raises(HTTPError) as caught:
                response.read()
            assert caught.value.response is response and type(caught.value).__name__ == 'TruncatedBody'

        run(body)
    with kit.FaultServer([kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', kit.SILENCE]) as server:

        def cancelled() -> None:
            with SharedPool() as pool:
                response: Any = pool.request(server.host, 'GET', '/', stream=True).result()
                assert response.read(4) == b'half'
                pool.cancel()
                with pytest.raises(Cancelled):
                    response.read()
                response = pool.request(server.host, 'GET', '/', stream=True).result()
            with pytest.raises(Cancelled):
                response.read()
            response.close()

        run(cancelled)


# Hooks and context ---------------------------------------------------------------------------------------------------


@in_thread
def test_hooks_and_authenticators_run_in_the_context_of_the_call(server: kit.Server) -> None:
    """In the thread of the hub, in a copy: what they set there nobody sees."""
    who: ContextVar[str] = ContextVar('who', default='nobody')
    seen: list[tuple[str, bool]] = []

    def note(*_: object) -> None:
        seen.append((who.get(), hub.is_here))
        who.set('the hook')

    def sign(request: Request) -> Request:
        note()
        return request.replace(headers={'X-Who': who.get()})

    with SharedPool(sign, on_request=note, on_response=note) as pool:
        hub = pool.hub
        who.set('the caller')
        pool.request(server.host, 'GET', '/').result()
        pool.wait()
        deadline = time.monotonic() + kit.LONG
        while len(seen) < 3 and time.monotonic() < deadline:
            pool.request('127.0.0.1:1', 'GET', '/').result()  # hooks may come after the outcome
        assert seen[:3] == [('the caller', True)] * 3
        assert [request.headers.get('x-who') for request in server.requests[:1]] == ['the hook']
        assert who.get() == 'the caller'


@in_thread
def test_a_hook_cannot_wait_for_itself(server: kit.Server) -> None:
    """It may make requests; whatever would wait for an outcome of its own pool says so. What it raises is no end."""
    told: list[BaseException] = []
    made: list[Any] = []

    def hook(response: Response) -> None:
        if response.request.tag:
            made.append(pool.request(server.host, 'GET', '/'))
            for wait in pool.wait, made[0].result, lambda: list(pool.stream([])):
                try:
                    wait()
                except RuntimeError as exc:
                    told.append(exc)
            raise SystemExit

    with SharedPool(on_response=hook) as pool:
        pool.request(server.host, 'GET', '/', tag='first').result()
        while not made:
            pool.request(server.host, 'GET', '/').result()
        assert made[0].result(timeout=kit.LONG).status == 200
        assert len(told) >= 2 and 'the thread of the hub' in str(told[0])


@in_thread
def test_what_a_callback_raises_concerns_nobody_else(server: kit.Server, caplog: pytest.LogCaptureFixture) -> None:
    """An exception, and even what would end a program, is logged; all outcomes come."""

    def leave(future: object) -> None:
        raise SystemExit

    with SharedPool() as pool:
        asked = paths(20)
        for path in asked:
            pool.request(server.host, 'GET', path).add_done_callback(leave)
        assert texts(pool.wait()) == asked
        assert 'SystemExit' in caplog.text


@in_thread
def test_what_a_hook_asks_for_is_not_kept(server: kit.Server) -> None:
    """Nobody can wait for it there, so it goes as soon as it is done."""

    class Tag:
        alive = 0

        def __init__(self) -> None:
            Tag.alive += 1

        def __del__(self) -> None:
            Tag.alive -= 1

    def hook(response: Response) -> None:
        if not isinstance(response.request.tag, Tag):
            pool.request(server.host, 'GET', '/', tag=Tag())

    with SharedPool(on_response=hook) as pool:
        for _ in range(30):
            pool.request(server.host, 'GET', '/')
        pool.wait()
        deadline = time.monotonic() + kit.LONG
        while (len(server.requests) < 60 or Tag.alive > 2) and time.monotonic() < deadline:
            time.sleep(0.001)
            gc.collect()
        assert len(server.requests) == 60 and Tag.alive <= 2


# Ends ----------------------------------------------------------------------------------------------------------------


def test_close_ends_who_waits(gated: kit.Server) -> None:
    """At once, with `Cancelled`; afterwards there is nothing to ask or to wait for; twice is fine."""
    with SharedPool() as pool:

        def wait() -> list[Any]:
            pool.request(gated.host, 'GET', '/')
            return pool.wait()

        def take() -> list[Any]:
            return list(pool.stream((gated.host, 'GET', '/') for _ in range(3)))

        def result() -> list[Any]:
            return [pool.request(gated.host, 'GET', '/').result()]

        waiting = [begin(body) for body in (wait, take, result)]
        gated.gate.wait_for(2)
        run(pool.close)
        for each in waiting:
            assert {type(outcome) for outcome in each.get(timeout=kit.LONG)} == {Cancelled}
        run(pool.close)
        for use in (
            lambda: pool.request(gated.host, 'GET', '/'),
            pool.wait,
            pool.wait_unordered,
            lambda: pool.stream([]),
            lambda: iter(pool),
        ):
            with pytest.raises(RuntimeError, match='the pool is closed'):
                use()
        assert pool.stats() == {} or pool.stats()[gated.host]['in_flight'] == 0
    kit.wait_until(lambda: gated.gate.in_flight == 0, 'the end of the connections')


@in_thread
def test_the_thread_lives_as_long_as_it_is_needed(server: kit.Server) -> None:
    """It starts with the first request, and ends with the pool, closed or not."""

    def threads() -> int:
        return len(kit.os.listdir('/proc/self/task'))

    before = threads()
    pool = SharedPool()
    assert pool.wait() == [] and pool.stats() == {} and threads() <= before
    pool.close()
    pool = SharedPool()
    future = pool.request(server.host, 'GET', '/')
    during = threads()
    del pool
    assert future.result(timeout=kit.LONG).status == 200 and during == before + 1
    del future
    deadline = time.monotonic() + kit.LONG
    while threads() > before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.001)
    assert threads() <= before


def test_pools_that_come_and_go_leave_nothing(authority: kit.Authority, gated: kit.Server) -> None:
    """No descriptor and no thread, whatever was under way: names, TLS, uploads, streamed answers."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b'x'
            gevent.sleep(0.01)

    def body() -> None:
        pool = SharedPool(ca_certs=authority.ca_certs)
        answers = [
            pool.request(host, 'GET', '/') for host in (f'localhost:{plain.port}', f'https://localhost:{tls.port}')
        ]
        assert [answer.result(timeout=kit.LONG).status for answer in answers] == [200, 200]
        pool.request(gated.host, 'GET', '/')
        pool.request(gated.host, 'POST', '/', endless())
        pool.request(plain.host, 'GET', '/', stream=True).result(timeout=kit.LONG)
        pool.close()

    with kit.serve() as plain, kit.serve(tls=authority.server()) as tls:
        run(body)  # what is made once is made
        before = kit.Leaks.now(), len(kit.os.listdir('/proc/self/task'))
        for _ in range(5):
            run(body)
        before[0].assert_back()
        kit.wait_until(lambda: len(kit.os.listdir('/proc/self/task')) <= before[1], 'the end of the threads')


@in_thread
def test_what_it_shows(server: kit.Server) -> None:
    """`stats` and `repr` are those of a pool."""
    with SharedPool(max_connections=7) as pool:
        pool.request(server.host, 'GET', '/').result()
        assert pool.stats()[server.host]['done'] == 1
        assert repr(pool) == '<SharedPool 1 hosts: 0 queued, 0 in flight, 1 of 7 connections>'


def test_the_error_of_the_wrong_thread_names_it() -> None:
    """A `ClientPool` says what there is for threads."""
    pool = ClientPool()
    found: list[BaseException] = []

    def other() -> None:
        try:
            pool.request('127.0.0.1:1', 'GET', '/')
        except RuntimeError as exc:
            found.append(exc)

    gevent.get_hub().threadpool.spawn(other).get()
    assert 'SharedPool' in str(found[0]) and 'From threads and asyncio' in str(found[0])
