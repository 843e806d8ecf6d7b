"""What undoes a step: its forms, templates, where it goes, how often it is tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from napixclient import ClientPool, HTTPError, Request
from napixclient.saga import Saga, SagaFailed
from napixclient.testing import Gate, wait_until
from tests.saga.world import LOCATION, World, caught, located

pytestmark = pytest.mark.usefixtures('oracle')


def undone(pool: ClientPool, host: str, undo: Any, url: str = '/vm', **options: Any) -> SagaFailed:
    """The failure of a saga whose one step is undone."""
    with pytest.raises(SagaFailed) as failed, Saga(pool, **options) as saga:
        saga.call(host, 'POST', url, {'x': 1}, undo=undo)
        saga.abort('to see it undone')
    return failed.value


FORMS: list[Callable[[World], Any]] = [
    lambda world: ('DELETE', '/vm/1'),
    lambda world: (world.host, 'DELETE', '/vm/1'),
    lambda world: ('DELETE', f'{world.url}/vm/1'),
    lambda world: ('DELETE', 'vm/1'),
    lambda world: ('DELETE', '1/../../vm/1'),
    lambda world: Request(world.host, 'DELETE', '/vm/1'),
    lambda world: [('DELETE', '/vm/1'), ('DELETE', '/other')],
    lambda world: ('DELETE', '{header:location}'),
    lambda world: ('DELETE', '/vm/{json.id}'),
    lambda world: (world.host, 'DELETE', '{json.path}'),
    lambda world: Request(world.host, 'DELETE', '/vm/{json.id}'),
    lambda world: lambda answer: ('DELETE', answer.headers['location']),
    lambda world: lambda answer: [Request(world.host, 'DELETE', answer.headers['location'])],
    lambda world: lambda answer: ('DELETE', '{json.path}'),
    lambda world: ('DELETE', '/vm/1', None, {'X-Why': 'undo'}),
    lambda world: (world.host, 'DELETE', '/vm/1', {'a': 1}, [('X-Why', 'undo')]),
]


@pytest.mark.parametrize('form', range(len(FORMS)))
def test_every_form_of_an_undo_undoes(form: int) -> None:
    """Without a host it goes to the step's; URLs are taken apart and resolved."""
    with World() as world, ClientPool() as pool:
        error = undone(pool, world.host, FORMS[form](world))
        assert world.deleted[0] == '/vm/1' and not world.things and len(error.undone) == 1
        assert error.undone[0].undo[0].method == 'DELETE'  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    'undo',
    [
        'DELETE /vm/1',
        ('DELETE',),
        ('DELETE', 3),
        ('Delete', '/vm/1'),
        ('a b', '/vm/1'),
        ('a', 'b', 'c'),
        (3, 'DELETE', '/vm/1'),
        ('bad host/', 'DELETE', '/vm/1'),
        ('DELETE', '/vm/1', object()),
        ('DELETE', '/vm/1', {'a': object()}),
        ('DELETE', '/vm/1', None, {'bad name': 1}),
        ('DELETE', '/vm/1', None, 7),
        ('DELETE', '/vm/1\r\n'),
        ['DELETE', '/vm/1'],
        [],
        {},
        0,
        False,
        iter([]),
        (1, 2, 3, 4, 5, 6),
        [lambda answer: None],
    ],
)
def test_nonsense_is_refused_at_the_call(undo: Any) -> None:
    """It is a TypeError, and nothing is sent."""
    with World() as world, ClientPool() as pool, Saga(pool) as saga:
        with pytest.raises(TypeError):
            saga.request(world.host, 'POST', '/vm', undo=undo)
        assert saga.stats()['steps'] == 0 and not world.requests


def test_what_a_callable_returns_may_be_nothing() -> None:
    """Then the step stays, and is no part of any list."""
    with World() as world, ClientPool() as pool:
        error = undone(pool, world.host, lambda answer: None)
        assert error.undone == [] and error.not_undone == [] and world.deleted == [] and world.things


@pytest.mark.parametrize(
    'undo',
    [
        lambda answer: answer.headers['no-such-field'] and None,
        lambda answer: 'DELETE /vm/1',
        ('DELETE', '/vm/{json.no.such}'),
        ('DELETE', '{header:x-no-such}'),
        ('DELETE', '/vm/{json.tags}'),
    ],
)
def test_an_undo_that_cannot_be_made_fails_the_saga_and_loses_no_other(undo: Any) -> None:
    """The step is in `not_undone` with the error, and what else was done is undone."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed, match='NOT undone') as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=undo)
        error = failed.value
        assert [step.request.url for step in error.undone] == ['/a'] and list(world.things) == ['/b/2']
        ((step, why),) = error.not_undone
        assert step.request.url == '/b' and isinstance(why, HTTPError) and error.failed == [why]  # type: ignore[attr-defined]


def test_templates_are_filled_in_urls_bodies_and_fields() -> None:
    """In a URL as one segment or value, percent-encoded; alone in a body with their own type."""
    undo = (
        'PATCH',
        '/undo/{json.name}?of={json.tags.1.y}&ok={json.ok}',
        {'id': '{json.id}', 'tags': '{json.tags}', 'text': 'thing {json.id}!', 'no': '{other}'},
        {'X-Of': '{header:location}'},
    )
    with World() as world, ClientPool() as pool:
        undone(pool, world.host, undo)
        request = world.requests[-1]
        assert request.method == 'PATCH' and request.path == '/undo/a%20b%2F1?of=7&ok=true'
        assert request.headers['x-of'] == '/vm/1'
        assert request.body == b'{"id":1,"tags":["x",{"y":7}],"text":"thing 1!","no":"{other}"}'


def test_credentials_go_only_to_origins_of_the_sagas_steps() -> None:
    """An answer that names another server for its undo gets no credentials sent there, of whatever kind."""
    with World() as world, World() as other, World() as foreign:
        with ClientPool({'login': 'root', 'key': 'toor'}, headers={'X-Auth-Token': 's3cret'}) as pool:
            with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
                saga.call(
                    world.host, 'POST', '/a', undo=('DELETE', f'{foreign.url}/a', None, {'Cookie': 'a=b', 'X-A': '1'})
                )
                saga.call(world.host, 'POST', '/b', undo=('DELETE', f'{other.url}/b'))
                saga.call(other.host, 'POST', '/c', undo=None)
                saga.abort()
            assert len(failed.value.undone) == 2
        (told,) = foreign.requests
        assert told.headers['x-a'] == '1' and told.headers['x-request-id']
        assert not {'authorization', 'x-auth-token', 'cookie'} & {name.lower() for name in told.headers}
        assert 'authorization' in other.requests[-1].headers and 'x-auth-token' in other.requests[-1].headers


def test_an_undo_is_tried_again_until_it_is_accepted() -> None:
    """After errors and after any status but 404, 410 and those of `undone_on`."""
    with World() as world, ClientPool() as pool:
        world.statuses['/vm/1'] = [503, None, 429, 400, 409]
        error = undone(pool, world.host, LOCATION)
        assert len(error.undone) == 1 and len(world.asked('DELETE')) == 6
        world.statuses['/vm/2'] = [410]
        world.statuses['/vm/3'] = [404]
        world.statuses['/vm/4'] = [409]
        for _ in range(2):
            assert len(undone(pool, world.host, LOCATION).undone) == 1
        assert len(undone(pool, world.host, LOCATION, undone_on=[409]).undone) == 1
        assert len(world.asked('DELETE')) == 9


def test_retry_after_is_honoured() -> None:
    """A server that asks for more time than there is is not asked again."""
    with World() as world, ClientPool() as pool:
        world.statuses['/vm/1'] = [(503, {'Retry-After': '3600'})]
        error = undone(pool, world.host, LOCATION, undo_timeout=5)
        assert len(error.not_undone) == 1 and error.not_undone[0][1].status == 503
        assert len(world.asked('DELETE')) == 1


def test_the_other_waits_go_on_when_one_undo_is_given_up() -> None:
    """`undo_timeout` is for each undo over all its tries; a step may have its own."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool, undo_timeout=30) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=('DELETE', '/fail'), undo_timeout=0.3)
            saga.call(world.host, 'POST', '/c', undo=located)
            saga.abort()
        error = failed.value
        assert [step.request.url for step in error.undone] == ['/a', '/c']
        ((step, why),) = error.not_undone
        assert step.request.url == '/b' and why.status == 500 and len(world.asked('DELETE')) > 3
        assert 'NOT undone' in str(error) and 'DELETE' in str(error)


def test_a_list_is_sent_one_after_the_other() -> None:
    """The step is undone when all are; one that is given up ends the list."""
    with World() as world, ClientPool() as pool:
        error = undone(pool, world.host, [('DELETE', '/first'), LOCATION])
        assert world.asked('DELETE') == ['/first', '/vm/1'] and len(error.undone) == 1
        error = undone(pool, world.host, [('DELETE', '/fail'), LOCATION], undo_timeout=0.05)
        assert len(error.not_undone) == 1 and '/vm/2' not in world.deleted


def test_undos_that_are_not_idempotent_have_a_key() -> None:
    """The same for each try; a caller's own is kept."""
    with World() as world, ClientPool() as pool:
        world.statuses['/undo'] = [503, 503]
        undone(pool, world.host, ('POST', '/undo', {'a': 1}))
        keys = [request.headers['idempotency-key'] for request in world.requests if request.path == '/undo']
        assert len(keys) == 3 and len(set(keys)) == 1
        assert re.fullmatch(r'"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"', keys[0])
        undone(pool, world.host, ('POST', '/own', None, {'Idempotency-Key': 'mine'}))
        assert world.keys['/own'] == ['mine']


def test_steps_that_are_not_idempotent_have_a_key() -> None:
    """A quoted UUID, as in the draft, in the field of that name; a caller's own is kept; PUT has none."""
    with World() as world, ClientPool() as pool:
        with Saga(pool) as saga:
            saga.request(world.host, 'POST', '/a', undo=None)
            saga.request(world.host, 'POST', '/b', undo=None)
            saga.request(world.host, 'POST', '/c', None, {'idempotency-key': 'mine'}, undo=None)
            saga.request(world.host, 'PUT', '/d', undo=None)
        keys = [*world.keys['/a'], *world.keys['/b']]
        assert None not in keys and len(set(keys)) == 2 and all(key[0] == key[-1] == '"' for key in keys)  # type: ignore[index]
        assert world.keys['/c'] == ['mine'] and world.keys['/d'] == [None]
        with Saga(pool, idempotency_header='X-Key') as saga:
            saga.request(world.host, 'POST', '/e', undo=None)
        assert 'x-key' in world.requests[-1].headers and world.keys['/e'] == [None]


def test_undos_are_sent_when_the_caller_of_the_server_has_left() -> None:
    """A deadline that was handed down bounds steps, not undos."""
    from napixclient.call_context import current, extract

    with World() as world, ClientPool() as pool:
        fields = {'X-Napix-Timeout': '150', 'X-Request-ID': 'mine'}
        token = current.set(extract(fields.get, 'me')[0])
        try:
            with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
                saga.call(world.host, 'POST', '/a', undo=located)
                saga.call(world.host, 'POST', '/mute', undo=None)
        finally:
            current.reset(token)
        assert not world.things.get('/a/1') and len(failed.value.undone) == 1
        assert world.requests[-1].headers['x-request-id'] == 'mine'


def test_a_closed_pool_is_no_reason_to_wait() -> None:
    """An undo that can never be sent is given up at once."""
    with World() as world:
        pool = ClientPool()
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            pool.close()
            saga.abort()
        assert 'closed' in str(failed.value.not_undone[0][1])


def test_a_second_interrupt_stops_undoing() -> None:
    """The first one undoes; what was not undone by then is told."""
    gate = Gate(opened=True)
    with World(gate) as world, ClientPool() as pool:

        def run() -> None:
            with Saga(pool) as saga:
                sagas.append(saga)
                saga.call(world.host, 'POST', '/a', undo=located)
                saga.call(world.host, 'POST', '/b', undo=located)
                gate.shut()
                raise KeyboardInterrupt

        sagas: list[Saga] = []
        running = caught(run)
        gate.wait_for(1)
        running.kill(KeyboardInterrupt, block=False)
        assert isinstance(running.get(), KeyboardInterrupt)
        assert [step.request.url for step, _ in sagas[0].not_undone] == ['/a', '/b']
        gate.open()
        wait_until(lambda: not gate.in_flight)
