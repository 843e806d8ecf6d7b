"""Sagas of the service: submitted as data, durable, resumed or undone after a kill."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import gevent
import pytest

from napixclient.testing import RST, Gate
from tests import kit
from tests.saga.world import World
from tests.service.serving import LONG, Service, serving

JSON = {'Content-Type': 'application/json'}


@pytest.fixture
def store(request: Any, tmp_path: Path) -> str:
    """A store of its own."""
    if request.param == 'sqlite':
        return f'sqlite:///{tmp_path / "runs.sqlite"}'
    postgres = request.getfixturevalue('postgres')
    return postgres.create(f'sagas_{uuid.uuid4().hex}')  # type: ignore[no-any-return]


def submitted(service: Service, body: Any, status: int = 201) -> Any:
    """What a saga is answered."""
    answer = service.ask('POST', '/sagas', body, JSON)
    assert answer.status == status, answer.body
    if status == 201:
        assert answer.headers['location'] == f'/sagas/{answer.body["id"]}'
    return answer.body


def shown(service: Service, id: str) -> Any:
    """How a saga stands."""
    answer = service.ask('GET', f'/sagas/{id}')
    assert answer.status == 200, answer.body
    return answer.body


def ended(service: Service, id: str) -> Any:
    """How a saga has ended."""
    kit.wait_until(lambda: shown(service, id)['finished'] is not None, 'the saga ends', 2 * LONG)
    return shown(service, id)


def step(world: World, url: str, **more: Any) -> dict[str, Any]:
    """A step that is undone at its location."""
    return {
        'host': world.host,
        'method': 'POST',
        'url': url,
        'undo': {'method': 'DELETE', 'url': '{header:location}'},
        **more,
    }


def test_a_saga_does_one_step_after_the_other_and_lists_of_steps_together(service: Service) -> None:
    """With what templates stand for: whole URLs, segments, bodies, of earlier steps."""
    with World() as world:
        first = step(world, '/a', name='first', body={'x': 1})
        second = step(
            world,
            '/b/{first.json.name}?of={first.json.id}',
            name='second',
            body={'id': '{first.json.id}', 'at': 'at {first.header:location}'},
        )
        third = {'name': 'third', 'host': world.host, 'method': 'PUT', 'url': '{first.header:location}', 'undo': None}
        body = {'steps': [first, [second, step(world, '/c')], third], 'undo_timeout': 5, 'simultaneous': 1}
        document = ended(service, submitted(service, body)['id'])
        assert document['state'] == 'committed', document
        assert [one['state'] for one in document['steps']] == ['done'] * 4
        assert [one['wait'] for one in document['steps']] == [1, 2, 2, 3]
        assert document['steps'][0]['undo'] == [f'DELETE {world.host}/a/1'] and document['counts']['done'] == 4
        paths = [request.path for request in world.requests]
        assert paths[0] == '/a' and sorted(paths[1:3]) == ['/b/a%20b%2F1?of=1', '/c'] and paths[3] == '/a/1'
        sent = next(request for request in world.requests if request.path.startswith('/b'))
        assert json.loads(sent.body) == {'id': 1, 'at': 'at /a/1'} and sent.headers['idempotency-key']
        assert any(one['id'] == document['id'] for one in service.ask('GET', '/sagas?limit=5').body['sagas'])


def test_a_step_that_fails_has_what_was_done_undone(service: Service) -> None:
    """In the reverse order; what is not undone is told."""
    with World() as world:
        body = {'steps': [step(world, '/a'), step(world, '/b'), step(world, '/fail')]}
        document = ended(service, submitted(service, body)['id'])
        assert document['state'] == 'undone' and '500' in document['reason']
        assert [one['state'] for one in document['steps']] == ['undone', 'undone', 'failed']
        assert world.deleted == ['/b/2', '/a/1'] and not world.things
        bad = step(world, '/c', undo=['DELETE', '/fail'])
        document = ended(service, submitted(service, {'steps': [bad, step(world, '/fail')], 'undo_timeout': 0.3})['id'])
        assert document['state'] == 'not_undone' and document['steps'][0]['state'] == 'not_undone'
        lost = ended(service, submitted(service, {'steps': [step(world, '/lost')]})['id'])
        assert lost['state'] == 'not_undone' and lost['steps'][0]['state'] == 'unknown'


def test_a_template_that_finds_nothing_fails_its_step(service: Service) -> None:
    """And a whole URL of another origin too: nothing is sent there."""
    with World() as world, World() as other:
        for url in '/b/{a.json.none}', '{a.json.elsewhere}':
            world.statuses.clear()
            body = {'steps': [step(world, '/a', name='a'), step(world, url)]}
            document = ended(service, submitted(service, body)['id'])
            assert document['state'] == 'undone' and 'step2' in document['reason']
        undo = {'method': 'DELETE', 'url': '/x/{json.none}'}
        document = ended(service, submitted(service, {'steps': [step(world, '/a', undo=undo)]})['id'])
        assert document['state'] == 'not_undone' and not other.requests


def test_delete_aborts(service: Service) -> None:
    """What was done is undone; one that has ended stays as it is."""
    gate = Gate()
    with World(gate) as world:
        id = submitted(service, {'steps': [step(world, '/a'), step(world, '/b'), step(world, '/c')]})['id']
        gate.wait_for(1, seconds=LONG)[0].release()
        gate.wait_for(1, seconds=LONG)
        gevent.spawn_later(1, gate.open)  # the answer comes when it has ended
        document = service.ask('DELETE', f'/sagas/{id}').body
        final = ended(service, id)
        assert final['state'] == 'undone' and 'aborted' in final['reason'] and '/c' not in world.asked('POST')
        assert document['state'] in ('undone', 'undoing') and not world.things
        assert service.ask('DELETE', f'/sagas/{id}').body == final
        assert service.ask('DELETE', f'/sagas/{"0" * 32}').status == 404


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'undo': ...}, 'undo'),
        ({'undo': 'DELETE /x'}, 'undo'),
        ({'undo': []}, 'undo'),
        ({'undo': {'method': 'DELETE'}}, 'undo'),
        ({'undo': {'method': 'DELETE', 'url': '/x', 'more': 1}}, 'more'),
        ({'undo': {'method': 'DELETE', 'url': '/x?token=abc'}}, 'secret'),
        ({'headers': {'Authorization': 'Bearer x'}}, 'secret'),
        ({'headers': {'Host': 'x'}}, 'Host'),
        ({'url': '/x?access_token=abc'}, 'secret'),
        ({'url': '/{later.json.id}'}, 'later'),
        ({'url': '/{json.id}'}, 'earlier'),
        ({'url': 'no path'}, ''),
        ({'host': '8.8.8.8'}, 'allow'),
        ({'host': ...}, 'host'),
        ({'name': 'json'}, 'name'),
        ({'name': 'a b'}, 'name'),
        ({'find': {'method': 'GET', 'url': '/{json.id}'}}, 'earlier'),
        ({'idempotency': 1}, 'idempotency'),
        ({'method': 'G T'}, 'method'),
        ({'surprise': 1}, 'surprise'),
    ],
)
def test_a_submission_that_makes_no_sense_is_refused(service: Service, change: dict[str, Any], text: str) -> None:
    """With 400 and the part that is wrong; nothing is sent."""
    one = {'host': '127.0.0.1:9', 'method': 'POST', 'url': '/a', 'undo': None, **change}
    one = {name: value for name, value in one.items() if value is not ...}
    answer = submitted(service, {'steps': [one]}, 400)
    assert 'steps[0]' in json.dumps(answer) and text in json.dumps(answer)


def test_the_body_as_a_whole_has_to_make_sense(service: Service) -> None:
    """Steps, each name once, options in their ranges."""
    one = {'host': '127.0.0.1:9', 'undo': None}
    for body in (
        {},
        {'steps': []},
        {'steps': [[]]},
        {'steps': [one], 'timeout': 0},
        {'steps': [one], 'simultaneous': 0},
        [],
        {'steps': [one], 'x': 1},
    ):
        submitted(service, body, 400)
    submitted(service, {'steps': [{**one, 'name': 'a'}, {**one, 'name': 'a'}]}, 400)
    assert service.ask('POST', '/sagas', 'x', {'Content-Type': 'text/plain'}).status == 415
    assert service.ask('GET', '/sagas/nonsense').status == 404
    assert service.ask('PUT', '/sagas').status == 405


ON_BOTH = pytest.mark.parametrize('store', ['sqlite', 'postgresql'], indirect=True)


# What is shared takes as long as a lease, so not all of them are tried there.
@pytest.mark.parametrize(
    ('store', 'second', 'state'),
    [
        ('sqlite', {'method': 'PUT', 'undo': {'method': 'DELETE', 'url': '/b'}}, 'committed'),
        ('sqlite', {'method': 'POST', 'idempotency': True}, 'committed'),
        ('postgresql', {'method': 'POST', 'idempotency': True}, 'committed'),
        ('sqlite', {'method': 'POST'}, 'not_undone'),
        ('sqlite', {'method': 'POST', 'undo': {'method': 'DELETE', 'url': '/b'}}, 'undone'),
        ('postgresql', {'method': 'POST', 'undo': {'method': 'DELETE', 'url': '/b'}}, 'undone'),
    ],
    indirect=['store'],
)
def test_after_a_kill_a_saga_goes_on_or_is_undone(store: str, second: dict[str, Any], state: str) -> None:
    """On where what has no outcome may be asked again, with the same key and the answers of before; else back."""
    gate = Gate()
    with World(gate) as world:
        steps = [step(world, '/a', name='a'), {**step(world, '/b'), **second}, step(world, '/c/{a.json.id}')]
        with serving(store) as first:
            id = submitted(first, {'steps': steps})['id']
            gate.wait_for(1, seconds=LONG)[0].release()
            held = gate.wait_for(1, seconds=LONG)
            first.kill()
        held[0].release([RST])
        gate.open()
        with serving(store) as again:
            document = ended(again, id)
            assert document['state'] == state, document
        keys = {
            request.headers.get('idempotency-key')
            for request in world.requests
            if request.path == '/b' and request.method == 'POST'
        }
        assert len(keys) <= 1
        if state == 'committed':
            assert '/c/1' in world.asked('POST') and not world.deleted and world.asked('POST').count('/a') == 1
            assert [one['state'] for one in document['steps']] == ['done'] * 3
        else:
            assert '/a/1' in world.deleted and not world.asked('POST')[2:]


@ON_BOTH
def test_undoing_goes_on_after_a_kill(store: str) -> None:
    """What was not undone yet is undone by the next service."""
    gate = Gate(opened=True)
    with World(gate) as world:
        with serving(store) as first:
            gate.shut()
            id = submitted(first, {'steps': [step(world, '/a'), step(world, '/b'), step(world, '/fail')]})['id']
            for _ in range(3):
                gate.wait_for(1, seconds=LONG)[0].release()
                kit.wait_until(lambda: not gate.held() or gate.held()[0].method, 'the next', LONG)
            kit.wait_until(lambda: any(request.method == 'DELETE' for request in gate.held()), 'the undo', LONG)
            first.kill()
        gate.open()
        with serving(store) as again:
            assert ended(again, id)['state'] == 'undone'
        assert not world.things and set(world.deleted) == {'/a/1', '/b/2'}


def test_credentials_come_from_the_profile(tmp_path: Path) -> None:
    """Nothing that is posted is a secret; what is sent is signed."""
    home = tmp_path / 'napix'
    home.mkdir()
    (home / 'config.toml').write_text('[profiles.cloud]\nlogin = "root"\nkey = "toor"\n')
    with World() as world:
        with serving(tmp_path / 'runs.sqlite', '--profile', 'cloud', XDG_CONFIG_HOME=str(tmp_path)) as service:
            assert ended(service, submitted(service, {'steps': [step(world, '/a')]})['id'])['state'] == 'committed'
        assert 'login=root' in world.requests[0].headers['authorization']


def test_the_document_describes_sagas(service: Service) -> None:
    """Paths, and which templates there are."""
    document = service.ask('GET', '/openapi.json').body
    assert set(document['paths']['/sagas']) == {'get', 'post'} and set(document['paths']['/sagas/{id}']) >= {
        'get',
        'delete',
    }
    assert '{json.path}' in document['components']['schemas']['SagaSubmission']['description']
