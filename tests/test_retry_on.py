"""`retry_on=`: the caller decides whether an outcome is tried again, within what `retries` allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gevent
import gevent.event
import pytest
from urllib3 import Retry

from napixclient import (
    BodyTooLarge,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    ProtocolError,
    RefusedError,
    RemoteError,
    Request,
    Response,
)
from napixclient.aio import AsyncPool
from napixclient.cluster.travel import check
from napixclient.resources import Resources
from napixclient.rest import Client as RestClient
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread

#: Any method, as often as is allowed, whatever the statuses.
ANY = Retry(2, allowed_methods=None)


def counting(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Answers with the status that the path ends in."""
    return int(path.rpartition('/')[2]), {'Content-Type': 'application/json'}, '{"state": "busy"}'


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers with the status that the path ends in."""
    with kit.serve(counting) as server:
        yield server


class Says:
    """Decides on each outcome in turn, and keeps them; at the end of its answers it is against."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.outcomes: list[Any] = []

    def __call__(self, outcome: Any) -> Any:
        """The next answer."""
        self.outcomes.append(outcome)
        return self.answers.pop(0) if self.answers else False


def always(outcome: Any) -> bool:
    """For another try."""
    return True


def never(outcome: Any) -> bool:
    """Against it."""
    return False


def outcome_of(host: str, method: str = 'GET', url: str = '/200', body: Any = None, **options: Any) -> Any:
    """The outcome of a request in a pool with these options, all of which a request takes too."""
    with ClientPool(**options) as pool:
        pool.request(host, method, url, body)
        (first,) = pool.wait()
    with ClientPool() as pool:
        pool.request(host, method, url, body, **options)
        (second,) = pool.wait()
    assert (type(first), first.status, first.attempts) == (type(second), second.status, second.attempts)
    return second


# What it decides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('status', [200, 202, 404, 409, 503])
def test_it_is_asked_about_each_outcome(server: kit.Server, status: int) -> None:
    """What would be the outcome, with the attempts so far; for a client, a pool or one request."""
    says = Says(True, True, False)
    with Client(server.host, retries=5, retry_on=says) as client:
        pending = client.submit('GET', f'/{status}')
        pending.wait()
        assert len(server.requests) == 3 and pending.outcome is says.outcomes[-1]
        assert [outcome.attempts for outcome in says.outcomes] == [1, 2, 3]
        assert all(isinstance(outcome, Response if status < 400 else RemoteError) for outcome in says.outcomes)
        assert all(outcome.body == {'state': 'busy'} for outcome in says.outcomes)
        assert all(outcome.request is pending.request for outcome in says.outcomes)


def test_it_decides_instead_of_the_list_of_statuses(server: kit.Server) -> None:
    """What is in the list is not tried again if it is against it, and what is not in it is if it is for it."""
    retries = Retry(2, status_forcelist=[503])
    assert outcome_of(server.host, url='/503', retries=retries).attempts == 3
    assert outcome_of(server.host, url='/503', retries=retries, retry_on=never).attempts == 1
    assert outcome_of(server.host, url='/404', retries=retries, retry_on=always).attempts == 3


def test_it_decides_about_failures() -> None:
    """Without an answer the outcome is the error; what is never tried again by itself is, if it is for it."""
    assert outcome_of('127.0.0.1:1', retries=2, retry_on=always).attempts == 3
    assert outcome_of('127.0.0.1:1', retries=2, retry_on=never).attempts == 1
    says = Says(True)
    with kit.serve(lambda *_: 'x' * 100) as large, ClientPool(max_body=10, retries=1, retry_on=says) as pool:
        pool.get(large.host, '/')
        (outcome,) = pool.wait()
        assert isinstance(outcome, BodyTooLarge) and outcome.attempts == 2 == len(large.requests)
        assert [type(one) for one in says.outcomes] == [BodyTooLarge]  # the second could not be tried again


def test_one_of_a_request_comes_before_that_of_the_pool(server: kit.Server) -> None:
    """As all options do."""
    with ClientPool(retries=1, retry_on=always) as pool:
        pool.get(server.host, '/200')
        pool.get(server.host, '/200', retry_on=never)
        assert [outcome.attempts for outcome in pool.wait()] == [2, 1]
        assert list(pool.stream([Request(server.host, 'GET', '/200', retry_on=never)]))[0].attempts == 1


def test_where_a_redirect_leads_is_no_outcome() -> None:
    """It is asked about what comes at its end."""
    says = Says(False)
    with kit.serve(lambda method, path, *_: (302, {'Location': '/end'}, None) if path == '/' else 'end') as server:
        with Client(server.host, redirect=True, retries=3, retry_on=says) as client:
            assert client.get('/').text == 'end'
    assert [outcome.url.rpartition('/')[2] for outcome in says.outcomes] == ['end']


def test_a_streamed_answer_is_handed_out(server: kit.Server) -> None:
    """At its head nobody knows what it will be; an error is read whole, and asked about."""
    says = Says(True)
    with Client(server.host, retries=3, retry_on=says) as client:
        with client.get('/200', stream=True) as answer:
            assert answer.read() and answer.attempts == 1 and not says.outcomes
        with pytest.raises(RemoteError) as caught:
            client.get('/503', stream=True)
        assert caught.value.attempts == 2


# What it does not decide ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', ['POST', 'PATCH', 'PROPFIND'])
def test_what_is_not_idempotent_is_sent_once(server: kit.Server, method: str) -> None:
    """Unless `allowed_methods` says so, as ever; it is not even asked."""
    says = Says(True)
    with ClientPool(retries=2, retry_on=says) as pool:
        pool.request(server.host, method, '/503', 'x')
        pool.wait()
        assert len(server.requests) == 1 and not says.outcomes
    assert outcome_of(server.host, method, '/503', retries=ANY, retry_on=always).attempts == 3


def test_what_may_have_arrived_is_not_sent_again() -> None:
    """A POST whose connection broke off may have been carried out; one that found no server was not."""
    for retries, sent in (2, 1), (ANY, 3):
        with kit.FaultServer(*[[kit.READ, kit.CLOSE]] * 3) as server:
            with ClientPool(retries=retries, retry_on=always) as pool:
                pool.post(server.host, '/', 'x')
                (outcome,) = pool.wait()
            assert isinstance(outcome, ProtocolError) and len(server.requests) == sent == outcome.attempts
    assert outcome_of('127.0.0.1:1', 'POST', '/', 'x', retries=2, retry_on=always).attempts == 3


def test_the_total_is_the_total(server: kit.Server) -> None:
    """`retries` counts; without it there are three tries more, with `False` none, and it is not asked in vain."""
    for retries, attempts in (None, 4), (False, 1), (0, 1), (1, 2), (Retry(5, status=2), 3):
        says = Says(*[True] * 9)
        with ClientPool(retries=retries, retry_on=says) as pool:
            pool.get(server.host, '/200')
            (outcome,) = pool.wait()
        assert outcome.attempts == attempts and len(says.outcomes) == attempts - 1


def test_the_budget_is_the_budget(server: kit.Server) -> None:
    """Where that is empty, as it is here after the ten that each begins with, the last outcome is the outcome."""
    for budget, most in ((0, 0), 10), (None, 180):
        with ClientPool(retries=9, retry_on=always, retry_budget=budget) as pool:
            for _ in range(20):
                pool.get(server.host, '/200')
            outcomes = pool.wait()
        assert all(outcome.ok for outcome in outcomes) and sum(outcome.attempts - 1 for outcome in outcomes) == most


def test_a_body_that_cannot_be_read_again_is_not_sent_again(server: kit.Server) -> None:
    """As ever."""
    with ClientPool(retries=ANY, retry_on=always) as pool:
        pool.put(server.host, '/503', iter(['x']))
        pool.put(server.host, '/503', ('x',))
        assert [outcome.attempts for outcome in pool.wait()] == [1, 3]


def test_a_pause_that_the_time_has_no_room_for_is_not_made() -> None:
    """Then the last outcome is the outcome, at once, and it is not asked."""
    says = Says(True)
    with kit.serve(lambda *_: (503, {'Retry-After': '100'}, None)) as server:
        with ClientPool(timeout=5, retry_on=says) as pool:
            pool.get(server.host, '/')
            (outcome,) = pool.wait()
    assert isinstance(outcome, RemoteError) and outcome.attempts == 1 and not says.outcomes


# What goes wrong in it -----------------------------------------------------------------------------------------------


def fails(outcome: Any) -> bool:
    """Raises."""
    raise KeyError('mine')


async def awaits(outcome: Any) -> bool:
    """Is no decision at once."""
    return True


@pytest.mark.parametrize('decide', [fails, lambda outcome: awaits(outcome)])
def test_an_exception_in_it_is_the_outcome(server: kit.Server, decide: Callable[[Any], Any]) -> None:
    """With what the server said, which is not lost; it is neither tried again nor raised elsewhere."""
    with ClientPool(retries=2, retry_on=decide) as pool:
        for url in '/200', '/503':
            pool.get(server.host, url)
        pool.get('127.0.0.1:1', '/')
        found = pool.wait()
    assert all(type(error) is HTTPError and error.phase == 'backoff' for error in found)
    assert [error.status for error in found] == [200, 503, None] and found[0].body == {'state': 'busy'}
    assert all(isinstance(error.__cause__, (KeyError, TypeError)) for error in found)
    assert all('retry_on failed: ' in error.message for error in found) and len(server.requests) == 2


@pytest.mark.parametrize('wrong', [awaits, 3, [503], 'always', True])
def test_what_cannot_decide_is_refused(wrong: Any) -> None:
    """At once, for a client and for a request."""
    for make in (
        lambda: ClientPool(retry_on=wrong),
        lambda: Client('h', retry_on=wrong),
        lambda: Request('h', 'GET', '/', retry_on=wrong),
    ):
        with pytest.raises(ValueError, match='retry_on'):
            make()


def test_it_may_block(server: kit.Server) -> None:
    """It runs in a greenlet: others go on; the time of its request goes on as well."""
    gate = gevent.event.Event()

    def wait(outcome: Any) -> bool:
        gate.wait()
        return False

    with ClientPool() as pool:
        pending = pool.get(server.host, '/200', retry_on=wait)
        late = pool.get(server.host, '/200', retry_on=wait, timeout=0.2)
        assert pool.get(server.host, '/200').get().ok and not pending.ready()
        late.wait()
        assert isinstance(late.exception, DeadlineExceeded) and late.exception.phase == 'backoff'
        gate.set()
        assert pending.get().ok


def test_it_runs_in_the_context_of_the_call(server: kit.Server) -> None:
    """What the caller has set, it sees; for a client and for a request."""
    who: ContextVar[str] = ContextVar('who')
    seen = []

    def look(outcome: Any) -> bool:
        seen.append(who.get('nobody'))
        return False

    who.set('me')
    outcome_of(server.host, retry_on=look)
    assert seen == ['me', 'me']


def test_a_cancelled_request_is_not_tried_again(server: kit.Server) -> None:
    """Whatever it says."""
    asked = gevent.event.Event()

    def wait(outcome: Any) -> bool:
        asked.set()
        gevent.sleep(kit.LONG)
        return True

    with ClientPool(retry_on=wait) as pool:
        pending = pool.get(server.host, '/200')
        assert asked.wait(kit.LONG)
        pending.cancel()
        assert pending.exception is not None and len(server.requests) == 1


# Wherever requests are made ------------------------------------------------------------------------------------------


def test_in_rest_clients_and_replicas(server: kit.Server) -> None:
    """For the client and for a call."""
    says = Says(True)
    with RestClient(server.url, retry_on=says) as rest:
        assert rest.get('/202', success=202).answer.attempts == 2
        assert rest.get('/202', success=202, retry_on=Says(True, True)).answer.attempts == 3
    with Resources([server.host], retry_on=Says(True)) as resources:
        assert resources.unicast('GET', '/200').attempts == 2
        assert resources.unicast('GET', '/200', retry_on=always, retries=1).attempts == 2


@in_thread
def test_in_a_shared_pool(server: kit.Server) -> None:
    """In the hub's thread."""
    with SharedPool(retries=2, retry_on=always) as pool:
        assert pool.get(server.host, '/200').result().attempts == 3
        assert pool.get(server.host, '/200', retry_on=never).result().attempts == 1
        error = pool.get('127.0.0.1:1', '/').result()
        assert isinstance(error, RefusedError) and error.attempts == 3


@in_loop
async def test_in_an_async_pool(server: kit.Server) -> None:
    """Likewise; an `async` one is refused."""
    async with AsyncPool(retries=2) as pool:
        assert (await pool.get(server.host, '/200', retry_on=always)).attempts == 3
        outcomes = await asyncio.gather(*(pool.get(server.host, '/200', retry_on=Says(True)) for _ in range(3)))
        assert [outcome.attempts for outcome in outcomes] == [2, 2, 2]
        with pytest.raises(ValueError, match='retry_on decides at once, so it cannot be async'):
            pool.get(server.host, '/200', retry_on=awaits)


def test_it_cannot_travel() -> None:
    """A worker of a cluster does not have the caller's code: the error says what to do."""
    with pytest.raises(ValueError, match='retry_on cannot travel to a worker: say by retries= which statuses'):
        check(Request('h', 'GET', '/', retry_on=always))
