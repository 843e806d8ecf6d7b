"""`stream(timeout=…)`: one clock for a whole stream, in every kind of pool."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import gevent
import pytest

from napixclient import ClientPool, DeadlineExceeded, QueueTimeout, Response, Timeout
from napixclient.aio import AsyncPool
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread

SECONDS = 0.5


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers at once."""
    with kit.serve() as server:
        yield server


@pytest.fixture
def gated() -> Iterator[kit.Server]:
    """Answers nothing until its gate is opened."""
    with kit.serve(gate=kit.Gate()) as server:
        yield server


class Pulled:
    """Requests without end, that counts how many were pulled."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.count = 0

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        while True:
            self.count += 1
            yield self.host, 'GET', f'/{self.count:06}'


def kinds(outcomes: list[Any]) -> set[type]:
    """The classes of the outcomes."""
    return {type(outcome) for outcome in outcomes}


@pytest.mark.parametrize('ordered', [False, True])
def test_what_is_under_way_comes_out_as_a_timeout(gated: kit.Server, ordered: bool) -> None:
    """All that was pulled comes out, what was sent as late, the rest as never sent; the loop ends normally."""
    requests = Pulled(gated.host)
    with ClientPool(simultaneous=2) as pool:
        outcomes = list(pool.stream(requests, ordered, window=5, timeout=SECONDS))
        assert len(outcomes) == requests.count == 5
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ['DeadlineExceeded'] * 2 + ['QueueTimeout'] * 3
        assert all(isinstance(outcome, Timeout) for outcome in outcomes) and pool.wait() == []
        if ordered:
            assert [outcome.request.url for outcome in outcomes] == [f'/{number:06}' for number in range(1, 6)]
        gated.gate.open()
        assert pool.get(gated.host, '/').get().ok


@pytest.mark.parametrize('ordered', [False, True])
def test_a_stream_without_end_ends(server: kit.Server, ordered: bool) -> None:
    """What was answered by then comes out as it is, and each request that was pulled comes out once."""
    requests = Pulled(server.host)
    with ClientPool() as pool:
        outcomes = list(pool.stream(requests, ordered, window=50, timeout=SECONDS))
    assert isinstance(outcomes[0], Response) and len({outcome.request.url for outcome in outcomes}) == len(outcomes)
    assert requests.count - 1 <= len(outcomes) <= requests.count  # one may have been pulled too late
    assert kinds(outcomes) <= {Response, DeadlineExceeded, QueueTimeout}


def test_an_iterable_that_blocks_is_left(server: kit.Server) -> None:
    """Its end is not waited for; it is closed as any greenlet's."""
    closed = []

    def requests() -> Iterator[Any]:
        try:
            yield server.host, 'GET', '/'
            gevent.sleep(kit.LONG)
        finally:
            closed.append(True)

    with ClientPool() as pool:
        assert kinds(list(pool.stream(requests(), timeout=SECONDS))) == {Response}
    gevent.sleep(0)
    assert closed == [True]


def test_an_iterable_that_does_not_end_is_not_heard() -> None:
    """One that goes on when it is told to end gives nothing any more."""
    pulled = []

    def requests() -> Iterator[Any]:
        for number in itertools.count():
            try:
                gevent.sleep(kit.LONG)
            except gevent.GreenletExit:
                pulled.append(number)
            if number > 3:
                return
            yield '127.0.0.1:1', 'GET', '/'

    with ClientPool() as pool:
        assert list(pool.stream(requests(), timeout=0.05)) == []
        gevent.sleep(0)
    assert pulled == [0]


def test_no_time_at_all(server: kit.Server) -> None:
    """Nothing is pulled, and nothing comes out; with time enough nothing is different."""
    requests = Pulled(server.host)
    with ClientPool() as pool:
        assert list(pool.stream(requests, timeout=0)) == [] and requests.count == 0
        assert len(list(pool.stream([(server.host, 'GET', '/')] * 9, timeout=kit.LONG))) == 9
        assert len(list(pool.stream([(server.host, 'GET', '/')] * 9, timeout=float('inf')))) == 9


@pytest.mark.parametrize('wrong', [-1, float('nan'), '3', True])
def test_a_time_that_makes_no_sense_is_refused(wrong: Any) -> None:
    """At the call, in every pool."""
    with ClientPool() as pool, SharedPool() as shared:
        for one in pool, shared:
            with pytest.raises(ValueError, match='timeout is a number of seconds'):
                one.stream([], timeout=wrong)


def test_the_clock_begins_at_the_call(server: kit.Server) -> None:
    """Whoever begins to read too late finds nothing under way that goes on, and no more is pulled."""
    requests = Pulled(server.host)
    with ClientPool() as pool:
        stream = pool.stream(requests, window=4, timeout=0.05)
        gevent.sleep(0.2)
        assert len(list(stream)) == requests.count == 4


def test_an_error_of_the_iterable_is_raised_as_ever(gated: kit.Server) -> None:
    """After the outcomes of what it had given."""

    def requests() -> Iterator[Any]:
        yield gated.host, 'GET', '/'
        raise KeyError('mine')

    with ClientPool() as pool:
        outcomes = []
        with pytest.raises(KeyError, match='mine'):
            outcomes.extend(pool.stream(requests(), timeout=SECONDS))
        for_each = pool.stream(requests(), timeout=SECONDS)
        assert isinstance(next(for_each), DeadlineExceeded)


@pytest.mark.parametrize('ordered', [False, True])
@in_thread
def test_in_a_shared_pool(gated: kit.Server, ordered: bool) -> None:
    """Likewise; the iterable is asked in the thread, so that one that blocks it is waited for."""
    requests = Pulled(gated.host)
    with SharedPool(simultaneous=2) as pool:
        outcomes = list(pool.stream(requests, ordered, window=5, timeout=SECONDS))
        assert len(outcomes) == requests.count == 5
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ['DeadlineExceeded'] * 2 + ['QueueTimeout'] * 3
        assert list(pool.stream(requests, timeout=0)) == [] and requests.count == 5 and pool.wait() == []


@in_thread
def test_a_stream_without_end_in_a_shared_pool(server: kit.Server) -> None:
    """Likewise."""
    requests = Pulled(server.host)
    with SharedPool() as pool:
        outcomes = list(pool.stream(requests, window=50, timeout=SECONDS))
    assert isinstance(outcomes[0], Response) and requests.count - 1 <= len(outcomes) <= requests.count


@pytest.mark.parametrize('ordered', [False, True])
@in_loop
async def test_in_an_async_pool(gated: kit.Server, ordered: bool) -> None:
    """Likewise, with plain iterables and those of the loop, which are cancelled."""
    requests, cancelled = Pulled(gated.host), []

    async def waiting() -> AsyncIterator[Any]:
        try:
            yield gated.host, 'GET', '/'
            await asyncio.sleep(kit.LONG)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with AsyncPool(simultaneous=2) as pool:
        outcomes = [outcome async for outcome in pool.stream(requests, ordered, window=5, timeout=SECONDS)]
        assert len(outcomes) == requests.count == 5
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ['DeadlineExceeded'] * 2 + ['QueueTimeout'] * 3
        outcomes = [outcome async for outcome in pool.stream(waiting(), ordered, timeout=SECONDS)]
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] and cancelled == [True]
        assert [outcome async for outcome in pool.stream(requests, timeout=0)] == [] and requests.count == 5
        with pytest.raises(ValueError, match='timeout is a number of seconds'):
            pool.stream([], timeout=-1)
        assert await pool.wait() == []


@in_loop
async def test_a_stream_without_end_in_an_async_pool(server: kit.Server) -> None:
    """Likewise; each request that was pulled comes out."""
    requests = Pulled(server.host)
    async with AsyncPool() as pool:
        outcomes = [outcome async for outcome in pool.stream(requests, window=50, timeout=SECONDS)]
    assert isinstance(outcomes[0], Response) and requests.count - 1 <= len(outcomes) <= requests.count
