"""Steps that were sent and not answered: the table of what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from napixclient import ClientPool, Timeout
from napixclient.saga import Saga, SagaFailed
from tests import kit
from tests.saga.world import LOCATION, World, located

pytestmark = pytest.mark.usefixtures('oracle')


def failure(pool: ClientPool, host: str, method: str, url: str, **options: Any) -> SagaFailed:
    """That of a saga with this one step."""
    with pytest.raises(SagaFailed) as failed, Saga(pool, undo_timeout=0.4) as saga:
        saga.call(host, method, url, {'x': 1}, **options)
    return failed.value


def state_of(error: SagaFailed) -> str:
    """In which list its step is."""
    lists = {'undone': error.undone, 'not_undone': error.not_undone, 'unknown': error.unknown}
    return ' '.join(name for name, steps in lists.items() if steps)


NAMED = ('DELETE', '/gateway/named')


@pytest.mark.parametrize('url', ['/reset/named', '/gateway/named', '/lost/named', '/mute/named'])
@pytest.mark.parametrize(
    ('undo', 'find', 'expected'),
    [
        ('needs none', False, 'undone'),
        ('needs none', True, 'found'),
        ('template', False, 'unknown'),
        ('template', True, 'found'),
        ('callable', False, 'unknown'),
        ('callable', True, 'found'),
        (None, False, 'unknown'),
        (None, True, ''),
    ],
)
def test_the_truth_table_of_a_step_that_was_not_answered(url: str, undo: Any, find: bool, expected: str) -> None:
    """What needs no answer is sent; what needs one asks `find`; else it is unknown."""
    with World() as world, ClientPool(timeout=0.3 if 'mute' in url else 5) as pool:
        undos = {'needs none': ('DELETE', url), 'template': LOCATION, 'callable': located, None: None}
        options = {'find': ('GET', url)} if find else {}
        error = failure(pool, world.host, 'PUT', url, undo=undos[undo], **options)
        assert len(error.failed) == 1
        if expected == 'found':
            assert state_of(error) == ('' if 'lost' in url else 'undone')
            assert world.asked('DELETE') == ([] if 'lost' in url else [url])
        else:
            assert state_of(error) == expected
        if expected in ('found', 'undone'):
            assert not world.things


def test_lost_find_is_answered_by_a_path_that_is_not_there() -> None:
    """404 and 410 say that there is nothing to undo; anything else is tried again, and then it is unknown."""
    with World() as world, ClientPool() as pool:
        world.statuses['/there'] = [410]
        assert state_of(failure(pool, world.host, 'POST', '/lost', undo=located, find=('GET', '/there'))) == ''
        world.statuses['/there'] = [503, 404]
        assert state_of(failure(pool, world.host, 'POST', '/lost', undo=located, find=('GET', '/there'))) == ''
        world.statuses['/there'] = [302] * 100
        error = failure(pool, world.host, 'POST', '/lost', undo=('DELETE', '/there'), find=('GET', '/there'))
        assert state_of(error) == 'unknown' and not world.deleted


def test_what_find_answers_is_what_undos_get() -> None:
    """Templates and callables alike."""
    with World() as world, ClientPool() as pool:
        world.things['/gateway/named'] = {'id': 41}
        error = failure(
            pool,
            world.host,
            'PUT',
            '/gateway/named',
            undo=('DELETE', '/gateway/{json.name}'),
            find=('GET', '/gateway/named'),
        )
        assert world.asked('DELETE') == ['/gateway/a%20b%2F1'] and state_of(error) == 'undone'


@pytest.mark.parametrize('status', [400, 401, 404, 409, 429, 500, 503])
def test_an_answer_of_400_or_above_is_a_failure_with_nothing_to_undo(status: int) -> None:
    """But 502 and 504, which say that nobody knows."""
    with World() as world, ClientPool() as pool:
        world.statuses['/a'] = [status]
        error = failure(pool, world.host, 'POST', '/a', undo=('DELETE', '/a'))
        assert error.status == status and state_of(error) == '' and not world.deleted
        for unknown in 502, 504:
            world.statuses['/a'] = [unknown]
            assert state_of(failure(pool, world.host, 'POST', '/a', undo=('DELETE', '/a'))) == 'undone'


def test_redirects_are_answers() -> None:
    """A step that is answered 3xx is done."""
    with World() as world, ClientPool() as pool:
        world.statuses['/a'] = [303]
        with Saga(pool) as saga:
            assert saga.call(world.host, 'POST', '/a', undo=None).status == 303


def test_a_step_that_was_never_sent_gets_no_undo() -> None:
    """Refused connections, authenticators that raise, time that ran out in the queue."""

    def raises(request: Any) -> None:
        raise ValueError('no key')

    with World() as world, kit.Server(listening=False) as closed, ClientPool() as pool, ClientPool(raises) as unsigned:
        for sender, host in (pool, closed.host), (unsigned, world.host):
            error = failure(sender, host, 'POST', '/a', undo=('DELETE', '/a'), find=('GET', '/a'))
            assert state_of(error) == '' and len(error.failed) == 1
        assert not world.requests
    with World() as world, ClientPool(simultaneous=1) as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.request(world.host, 'PUT', '/mute', undo=('DELETE', '/mute'), timeout=0.2)
            saga.request(world.host, 'PUT', '/queued', undo=('DELETE', '/queued'), timeout=0.05)
            saga.wait()
        assert any(isinstance(one, Timeout) for one in failed.value.failed)
        assert '/queued' not in world.asked('PUT') and '/queued' not in world.deleted and '/mute' in world.deleted


def test_an_unknown_step_with_nothing_to_undo_is_told_only_where_it_is_unsafe() -> None:
    """A GET that was not answered has changed nothing."""
    with World() as world, ClientPool() as pool:
        assert state_of(failure(pool, world.host, 'GET', '/lost', undo=None)) == ''
        assert state_of(failure(pool, world.host, 'POST', '/lost', undo=None)) == 'unknown'


def test_idempotency_tries_unknown_steps_again() -> None:
    """With the same key; a 409 to a repeated key is tried again, one to the first try is an answer."""
    with World() as world, ClientPool() as pool:
        world.statuses['/a'] = [None, 409, 502, 'go on']
        with Saga(pool) as saga:
            answer = saga.call(world.host, 'POST', '/a', undo=located, idempotency=True, timeout=20)
        keys = [request.headers['idempotency-key'] for request in world.requests]
        assert answer.status == 201 and len(keys) == 4 and len(set(keys)) == 1
        world.statuses['/b'] = [409]
        assert failure(pool, world.host, 'POST', '/b', undo=None, idempotency=True).status == 409
        world.statuses['/c'] = [None, 422]
        assert failure(pool, world.host, 'POST', '/c', undo=('DELETE', '/c'), idempotency=True).status == 422
        assert '/c' not in world.deleted


def test_idempotency_leaves_time_for_three_tries() -> None:
    """Within the step's time, also where the server is silent; without one there are three tries."""
    with World() as world, ClientPool() as pool:
        error = failure(pool, world.host, 'POST', '/mute/a', undo=None, idempotency=True, timeout=1.5)
        assert len(world.asked('POST')) >= 3 and len(set(world.keys['/mute/a'])) == 1 and state_of(error) == 'unknown'
        world.statuses['/b'] = [None] * 3
        error = failure(pool, world.host, 'POST', '/b', undo=('DELETE', '/b'), idempotency=True)
        assert world.asked('POST').count('/b') == 3 and state_of(error) == 'undone'


def test_find_is_a_request() -> None:
    """Nothing that needs an answer, and no nonsense."""
    with World() as world, ClientPool() as pool, Saga(pool) as saga:
        for find in ('GET', '{json.id}'), 'GET /a', located, [('GET', '/a')], ('Get', '/a'), 3:
            with pytest.raises(TypeError, match='find'):
                saga.request(world.host, 'POST', '/a', undo=None, find=find)  # type: ignore[arg-type]
        assert not world.requests
