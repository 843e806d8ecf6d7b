"""wait: until a resource is ready, or the time is up."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import gevent
import pytest

from napixclient import HTTPError, Timeout
from napixclient.rest import Client, ClientError, wait
from tests import kit


def test_a_resource_that_becomes_ready(oracle: None) -> None:
    """The value that is waited for is returned; each one is told; other greenlets run meanwhile."""
    states = iter(['BUILD', 'BUILD', 'ACTIVE', 'never asked for'])
    told: list[str] = []
    with kit.serve(lambda method, path, headers, body: {'state': next(states)}) as server, Client(server.url) as rest:
        found = wait(
            lambda: rest.get('servers/7').json['state'],
            until=lambda state: state == 'ACTIVE',
            delay=0.01,
            on_poll=told.append,
        )
    assert (found, told) == ('ACTIVE', ['BUILD', 'BUILD', 'ACTIVE'])


def test_what_is_true_is_ready() -> None:
    """Without ``until``, the first value that is true."""
    values = iter([None, 0, [], 'there'])
    assert wait(lambda: next(values), delay=0) == 'there'


@pytest.mark.timed
def test_the_delays(tidy: None) -> None:
    """A delay lies between two polls, each so many times as long as the one before; none behind the last."""
    asked: list[float] = []

    def poll() -> int:
        asked.append(monotonic())
        return len(asked)

    took = kit.Took()
    wait(poll, until=lambda count: count == 4, delay=0.02, backoff=2)
    assert took.between(0.13, 3)
    pauses = [after - before for before, after in zip(asked, asked[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.019, 0.039, 0.079), strict=True))


@pytest.mark.timed
def test_the_time_is_up(oracle: None) -> None:
    """The error tells how long it was, and what came last; it is a Timeout of ours, and no gevent.Timeout."""
    took = kit.Took()
    with pytest.raises(Timeout, match=r'not ready after 0\.1 s; the last poll gave .*BUILD') as caught:
        wait(lambda: {'state': 'BUILD'}, until=lambda value: False, delay=0.01, timeout=0.1)
    assert took.between(0.09, 3)
    assert (
        isinstance(caught.value, HTTPError)
        and not isinstance(caught.value, gevent.Timeout)
        and caught.value.status is None
    )


@pytest.mark.timed
def test_a_delay_is_cut_by_the_clock(tidy: None) -> None:
    """It does not sleep longer than there is time."""
    took = kit.Took()
    with pytest.raises(Timeout):
        wait(lambda: False, delay=60, timeout=0.05)
    assert took.between(0.04, 3)


def test_a_poll_that_hangs(oracle: None) -> None:
    """The clock covers it: its request is cancelled."""
    with kit.serve(gate=kit.Gate()) as server, Client(server.url) as rest:
        with pytest.raises(Timeout, match='no poll has ended'):
            wait(lambda: rest.get('000001'), timeout=0.1)
        kit.wait_until(lambda: server.gate.in_flight == 0)
        server.gate.open()
        assert wait(lambda: rest.get('000001'), timeout=5).text == '000001'


def test_no_time_at_all() -> None:
    """A poll that does not block has its chance."""
    assert wait(lambda: 7, timeout=0) == 7
    with pytest.raises(Timeout):
        wait(lambda: 0, timeout=0, delay=0)


def test_no_clock() -> None:
    """``timeout=None`` waits as long as it takes."""
    values = iter([0, 0, 1])
    assert wait(lambda: next(values), timeout=None, delay=0.001) == 1


@pytest.mark.parametrize('where', ['poll', 'until', 'on_poll'])
def test_what_the_caller_s_code_raises(where: str) -> None:
    """It goes on as it is."""

    def fail(*_: Any) -> Any:
        raise ClientError('no luck', 500)

    given: dict[str, Any] = {'poll': lambda: 1, where: fail}
    with pytest.raises(ClientError, match='no luck'):
        wait(given.pop('poll'), **given)


@pytest.mark.parametrize('where', ['poll', 'delay'])
def test_foreign_timeouts_pass(tidy: None, where: str) -> None:
    """A timeout of the caller's is none of ours, and no clock of ours is left behind; nor is one after a kill."""
    poll = (lambda: gevent.sleep(10)) if where == 'poll' else (lambda: None)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.02) as ours:
        wait(poll, delay=10)
    assert caught.value is ours
    waiter = gevent.spawn(wait, poll, delay=10)
    kit.turn()
    waiter.kill()
    assert isinstance(waiter.value, gevent.GreenletExit)


def test_the_clock_does_not_fire_in_the_caller_s_code(tidy: None) -> None:
    """Neither ``until`` nor ``on_poll`` is interrupted, and what is ready is returned, however late."""
    assert (
        wait(
            lambda: 7,
            until=lambda value: gevent.sleep(0.05) is None,
            on_poll=lambda value: gevent.sleep(0.05),
            timeout=0.02,
        )
        == 7
    )


@pytest.fixture
def never() -> Iterator[Any]:
    """A poll that must not happen."""
    called: list[int] = []
    yield lambda: called.append(1)
    assert called == []


@pytest.mark.parametrize(
    'options',
    [
        {'delay': -1},
        {'delay': None},
        {'delay': float('nan')},
        {'delay': True},
        {'backoff': 0.5},
        {'backoff': '2'},
        {'timeout': -1},
        {'timeout': float('nan')},
        {'timeout': 'long'},
    ],
)
def test_numbers_that_make_no_sense(never: Any, options: dict[str, Any]) -> None:
    """They are named, before anything is asked."""
    with pytest.raises(ValueError, match=next(iter(options))):
        wait(never, **options)
