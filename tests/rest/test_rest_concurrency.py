"""Many calls side by side: their order, their cap, their failures; SilentEvents, and how many of them are good."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from napixclient.rest import Client, ClientError, SilentEvent
from napixclient.rest.concurrency import Allowance
from tests import kit


def number_of(method: str, path: str, headers: Any, body: bytes) -> Any:
    """Answer with the number in the path; some of them fail."""
    number = int(path.rpartition('/')[2])
    return (418 if '/fails/' in path else 200), {'number': number}


class Numbers(Client):
    """Asks for numbers."""

    def one(self, number: int, where: str = 'good') -> int:
        """The number again."""
        return int(self.get(f'{where}/{number}').json['number'])


class Held:
    """A server with a gate, and a client of it."""

    def __init__(self, server: kit.Server, rest: Numbers) -> None:
        self.server, self.gate, self.rest = server, server.gate, rest

    def run(self, count: int, **options: Any) -> gevent.Greenlet[..., Any]:
        """Begin a run."""
        return gevent.spawn(
            self.rest.async_run, self.rest.one, [{'number': number} for number in range(count)], **options
        )


@pytest.fixture
def held(oracle: None) -> Iterator[Held]:
    """A server that holds what arrives; the client's own cap is high."""
    with kit.serve(number_of, kit.Gate()) as server, Numbers(server.url, max_concurrency=40) as rest:
        yield Held(server, rest)


# async_run -----------------------------------------------------------------------------------------------------------


def test_a_thousand_calls(oracle: None) -> None:
    """The results have the order of the calls, and the server never sees more than fifty at a time."""
    with kit.serve(number_of, kit.Gate()) as server, Numbers(server.url, max_concurrency=50) as rest:
        run = gevent.spawn(rest.async_run, rest.one, [{'number': number} for number in range(1000)], max_concurrency=50)
        server.gate.wait_for(50)
        for _ in range(20):
            kit.turn()
        server.gate.open()
        assert run.get(timeout=30) == list(range(1000))
        assert server.gate.peak == 50 and len(server.requests) == 1000


def test_results_are_in_order_whatever_finishes_first(held: Held) -> None:
    """The last may be answered first."""
    run = held.run(5)
    for request in reversed(held.gate.wait_for(5)):
        request.release()
        kit.turn()
    assert run.get(timeout=kit.LONG) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('most', 'seen'), [(None, 40), (7, 7), (1, 1), (100, 40)])
def test_max_concurrency_of_a_run(held: Held, most: int | None, seen: int) -> None:
    """It is counted per run, by default as the client's; the client's own bounds its requests in any case."""
    run = held.run(120, **({} if most is None else {'max_concurrency': most}))
    held.gate.wait_for(seen)
    for _ in range(20):
        kit.turn()
    held.gate.open()
    assert run.get(timeout=kit.LONG) == list(range(120))
    assert held.gate.peak == seen


def test_runs_within_runs(held: Held) -> None:
    """A run within a run has calls of its own, and does not wait for those of the other."""

    def many(first: int) -> list[int]:
        return held.rest.async_run(
            held.rest.one, [{'number': first + number} for number in range(3)], max_concurrency=2
        )

    held.gate.open()
    found = held.rest.async_run(many, [{'first': 10 * number} for number in range(8)], max_concurrency=2)
    assert found == [[10 * number + more for more in range(3)] for number in range(8)]


def test_methods_of_any_kind(held: Held) -> None:
    """Any callable will do, also one that asks nobody; and any iterable of mappings."""
    assert held.rest.async_run(lambda **given: given, iter([{'a': 1}, {}, {'self': 2, 'method': 3}])) == [
        {'a': 1},
        {},
        {'self': 2, 'method': 3},
    ]
    assert held.rest.async_run(dict, []) == []


def test_the_first_error(held: Held) -> None:
    """It is raised when the calls under way have been cancelled; those that had not begun never do."""
    calls = [{'number': number, 'where': 'fails' if number == 3 else 'good'} for number in range(100)]
    run = SilentEvent(held.rest.async_run, held.rest.one, calls, max_concurrency=10)
    run.start()
    requests = held.gate.wait_for(10)
    requests[3].release()
    run.join(kit.LONG)
    assert isinstance(run.exception, ClientError) and run.exception.status == 418
    assert held.rest._core.stats()['in_flight'] == 0
    kit.wait_until(lambda: held.gate.in_flight == 0, 'the server sees them cancelled')
    assert len(held.server.requests) == 10
    held.gate.open()
    assert held.rest.one(7) == 7


def test_errors_instead_of_results(held: Held) -> None:
    """With ``return_errors`` each call is made, whatever becomes of the others."""

    def call(number: int) -> int:
        if number == 1:
            raise KeyError('not a ClientError')
        if number == 2:
            with gevent.Timeout(0.001):
                gevent.sleep(5)
        return held.rest.one(number, 'fails' if number == 0 else 'good')

    held.gate.open()
    found: list[Any] = held.rest.async_run(
        call, [{'number': number} for number in range(30)], return_errors=True, max_concurrency=3
    )
    assert isinstance(found[0], ClientError) and found[0].status == 418
    assert isinstance(found[1], KeyError) and isinstance(found[2], gevent.Timeout)
    assert found[3:] == list(range(3, 30))


@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit, gevent.GreenletExit, ValueError, gevent.Timeout])
@pytest.mark.parametrize('return_errors', [False, True])
def test_what_ends_a_program_ends_a_run(held: Held, kind: type[BaseException], return_errors: bool) -> None:
    """It is raised where the run was started, never handed out and never printed."""

    def call(number: int) -> int:
        if number == 1:
            raise kind
        return held.rest.one(number)

    caught: list[BaseException] = []

    def start() -> None:
        try:
            held.rest.async_run(call, [{'number': number} for number in range(3)], return_errors=return_errors)
        except BaseException as exc:
            caught.append(exc)

    starter = gevent.spawn(start)
    if return_errors and kind in (ValueError, gevent.Timeout):
        held.gate.wait_for(2)
        held.gate.open()
    starter.join(kit.LONG)
    assert [type(exc) for exc in caught] == ([] if return_errors and kind in (ValueError, gevent.Timeout) else [kind])
    kit.wait_until(lambda: held.gate.in_flight == 0)


def test_a_run_that_is_killed(held: Held) -> None:
    """Its calls are cancelled, and those that had not begun never do; a timeout that is not ours goes through."""
    for end in 'kill', 'timeout':
        before = len(held.server.requests)
        if end == 'kill':
            run = held.run(100, max_concurrency=5)
            held.gate.wait_for(5)
            run.kill()
        else:
            with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.2) as ours:
                held.rest.async_run(held.rest.one, [{'number': number} for number in range(100)], max_concurrency=5)
            assert caught.value is ours
        kit.wait_until(lambda: held.gate.in_flight == 0)
        assert len(held.server.requests) == before + 5


def test_a_method_that_does_not_give_up(held: Held) -> None:
    """One that goes on when it is cancelled holds up the end of the run, but begins no other call."""
    calls = []

    def call(number: int) -> None:
        calls.append(number)
        try:
            held.rest.one(number, 'fails' if number == 0 else 'good')
        except gevent.GreenletExit:
            gevent.sleep(0.01)

    run = SilentEvent(held.rest.async_run, call, [{'number': number} for number in range(10)], max_concurrency=3)
    run.start()
    held.gate.wait_for(3)[0].release()
    run.join(kit.LONG)
    assert isinstance(run.exception, ClientError)
    assert calls == [0, 1, 2]


variable: contextvars.ContextVar[str] = contextvars.ContextVar('variable', default='nothing')


def test_the_context_goes_along(tidy: None) -> None:
    """Calls see the context variables of who started them, and do not change them."""

    def see(number: int) -> str:
        seen = variable.get()
        gevent.sleep(0)  # the other begins
        variable.set(f'call {number}')
        return seen

    def within() -> None:
        variable.set('ours')
        with Client('http://server.example') as rest:
            assert rest.async_run(see, [{'number': 1}, {'number': 2}]) == ['ours', 'ours']
        event = SilentEvent(see, 3)
        event.start()
        event.join()
        assert (event.value, variable.get()) == ('ours', 'ours')

    contextvars.copy_context().run(within)


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        ({'max_concurrency': 0}, ValueError),
        ({'max_concurrency': 'many'}, ValueError),
        ({'max_concurrency': True}, ValueError),
        ({'nonsense': 1}, TypeError),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], kind: type[Exception]) -> None:
    """They are told at once."""
    with Client('http://server.example') as rest, pytest.raises(kind):
        rest.async_run(dict, [{}], **options)


def test_a_kwarg_list_of_something_else() -> None:
    """What is no mapping is named, before anything is called."""
    called: list[Any] = []
    with Client('http://server.example') as rest, pytest.raises(TypeError, match='member 1 is 7'):
        rest.async_run(lambda **given: called.append(given), [{}, 7])  # type: ignore[list-item]
    assert called == []


# Learned -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('client', 'run', 'most'), [(8, 'auto', 8), ('auto', 'auto', 64), ('auto', None, 64), ('auto', 5, 5)]
)
def test_auto(oracle: None, client: Any, run: Any, most: int) -> None:
    """How many is learned from the answers: more than at first where that does not make them slower, and never more than the client's own."""

    def calm(*given: Any) -> Any:
        gevent.sleep(0.004)
        return number_of(*given)

    with (
        kit.serve(lambda method, path, headers, body: calm(method, path, headers, body)) as server,
        Numbers(server.url, max_concurrency=client) as rest,
    ):
        found = rest.async_run(rest.one, [{'number': number} for number in range(200)], max_concurrency=run)
    assert found == list(range(200))
    assert 2 < server.gate.peak <= most


def test_an_allowance_shrinks_when_the_server_refuses() -> None:
    """429 and 503 are signs that it has too much to do; other failures are not. It stays between one and the client's own."""

    def limit_after(status: int, most: int = 30) -> int:
        allowance = Allowance('auto', most, 20)
        for _ in range(60):
            allowance.ended(0.1, ClientError('no', status), False)
        return allowance.now

    assert limit_after(429) == limit_after(503) < 20
    assert limit_after(404) == 20
    assert limit_after(503, 1) == 1 and limit_after(404, 3) == 3


# SilentEvent ---------------------------------------------------------------------------------------------------------


def test_silent_event(tidy: None) -> None:
    """It runs when it is started, and then has a value."""

    def add(one: int, *, two: int) -> int:
        gevent.sleep(0)
        return one + two

    event = SilentEvent(add, 1, two=2)
    assert not event.is_alive() and 'not started' in repr(event)
    event.start()
    assert event.is_alive() and event.value is None and 'add: running' in repr(event)
    event.join()
    assert (event.is_alive(), event.value, event.exception) == (False, 3, None) and 'done' in repr(event)
    event.join(timeout=1)


@pytest.mark.parametrize(
    'failure', [ClientError('no luck'), ValueError('no luck'), gevent.Timeout(1), gevent.GreenletExit()]
)
def test_silent_events_that_fail(tidy: None, failure: BaseException) -> None:
    """Nothing is printed, and nothing is raised in who joins it: the exception is there to be asked for."""

    def fail() -> None:
        raise failure

    event = SilentEvent(fail)
    event.start()
    event.join()
    assert event.exception is failure and event.value is None and not event.is_alive() and 'failed' in repr(event)


def test_silent_events_that_are_used_wrongly(tidy: None) -> None:
    """It is started once, and before it is joined."""
    event = SilentEvent(dict)
    with pytest.raises(RuntimeError, match='started'):
        event.join()
    event.start()
    with pytest.raises(RuntimeError, match='once'):
        event.start()
    event.join()


def test_silent_events_that_end_the_program() -> None:
    """What ends a program ends it from within one, too."""
    done = kit.run_program("""
import sys, gevent
from napixclient.rest import SilentEvent
event = SilentEvent(sys.exit, 7)
event.start()
gevent.sleep(5)
""")
    assert done == (7, '', '')


def test_join_with_a_timeout(tidy: None) -> None:
    """It returns when the time is up, and the call goes on."""
    go = gevent.event.Event()
    event = SilentEvent(go.wait)
    event.start()
    event.join(timeout=0.01)
    assert event.is_alive()
    go.set()
    event.join()
    assert event.value is True


# _watch_thread_limit -------------------------------------------------------------------------------------------------


def watched(rest: Client, make: Callable[[int], Any], count: int) -> tuple[list[SilentEvent], list[int]]:
    """The loop of the seed: all events, and how many ran after each was started."""
    events: list[SilentEvent] = []
    running: list[SilentEvent] = []
    seen = []
    left = iter(range(count))
    rest._init_thread_limit()
    for number in left:
        event = SilentEvent(make, number)
        event.start()
        events.append(event)
        running = rest._watch_thread_limit([*running, event])
        seen.append(len(running))
    while running:  # nothing new is started: it waits for what is left
        before = len(running)
        running = rest._watch_thread_limit(running)
        assert len(running) < before
    return events, seen


def test_the_limit_adapts(tidy: None) -> None:
    """It begins low and rises while calls do not become slower, never above that of the client."""
    with Client('http://server.example', max_concurrency=6) as rest:
        events, seen = watched(rest, lambda number: gevent.sleep(0.003), 200)
    assert all(event.exception is None and not event.is_alive() for event in events)
    assert seen[0] <= 1 and 1 < max(seen) <= 5  # those that still run: there is room for one more


@pytest.mark.parametrize('limit', [0, True, 'many'])
def test_limits_that_make_no_sense(limit: Any) -> None:
    """They are told at once."""
    with Client('http://server.example') as rest, pytest.raises(ValueError, match='limit'):
        rest._init_thread_limit(limit)


@pytest.mark.parametrize(('most', 'limit'), [(1, 1), (10, 3), ('auto', 64)])
def test_it_joins_when_the_limit_is_reached(tidy: None, most: Any, limit: int) -> None:
    """Below the limit it returns at once what runs; at the limit it waits for one of them to end."""
    go = [gevent.event.Event() for _ in range(limit)]
    with Client('http://server.example', max_concurrency=most) as rest:
        rest._init_thread_limit(limit)
        running: list[SilentEvent] = []
        for one in go[:-1]:
            running.append(SilentEvent(one.wait))
            running[-1].start()
            assert rest._watch_thread_limit(running) == running
        running.append(SilentEvent(go[-1].wait))
        running[-1].start()
        watcher = gevent.spawn(rest._watch_thread_limit, running)
        kit.turn()
        assert not watcher.ready() or limit != 2
        go[0].set()
        assert rest._watch_thread_limit(running) == running[1:]
        watcher.kill()
        for one in go:
            one.set()
        gevent.sleep(0)
        for event in running:
            event.join()


def test_without_a_thread(tidy: None) -> None:
    """There is nothing to wait for, and no need to begin."""
    with Client('http://server.example') as rest:
        assert rest._watch_thread_limit([]) == []
        event = SilentEvent(dict)
        assert rest._watch_thread_limit([event]) == []  # never started
        event.start()
        event.join()
        assert rest._watch_thread_limit([event]) == []


def test_each_greenlet_has_a_limit_of_its_own(oracle: None) -> None:
    """A hundred may use one client: what one learns, or waits for, is nothing to another."""
    with kit.serve(number_of) as server, Numbers(server.url) as rest:
        loops = [gevent.spawn(watched, rest, rest.one, 20) for _ in range(10)]
        for loop in loops:
            events, _ = loop.get(timeout=kit.LONG)
            assert [event.value for event in events] == list(range(20))
        assert server.gate.peak <= 10
