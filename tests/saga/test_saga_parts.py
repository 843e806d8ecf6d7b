"""Parts of sagas, and steps to many hosts of a mapping of resources."""

from __future__ import annotations

import json
from pathlib import Path

import gevent
import pytest

from napixclient import ClientPool
from napixclient.resources import Resources, RollingError
from napixclient.saga import Saga, SagaFailed
from napixclient.testing import Gate
from tests.saga.world import World, caught, located

pytestmark = pytest.mark.usefixtures('oracle')


def test_a_part_undoes_its_own_and_the_saga_may_go_on(tmp_path: Path) -> None:
    """Its failure is raised in its block; who catches it commits the rest, in the same journal."""
    path = tmp_path / 'j'
    with World() as world, ClientPool() as pool:
        with Saga(pool, path) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            with pytest.raises(SagaFailed) as failed, saga.sub() as part:
                part.call(world.host, 'POST', '/b', undo=located)
                part.call(world.host, 'POST', '/fail', undo=None)
            assert [step.request.url for step in failed.value.undone] == ['/b']
            saga.call(world.host, 'POST', '/c', undo=located)
        assert sorted(world.things) == ['/a/1', '/c/3'] and len(world.deleted) == 1
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[-1]['event'] == 'committed' and sum(line['event'] == 'step' for line in lines) == 4


def test_a_part_commits_into_its_saga() -> None:
    """Its waits are waits of the saga in time: its steps are undone between those before and those behind it."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            with saga.sub() as part:
                part.call(world.host, 'POST', '/b', undo=located)
                with part.sub() as inner:
                    inner.request(world.host, 'POST', '/c', undo=located)
            saga.call(world.host, 'POST', '/d', undo=located)
            saga.call(world.host, 'POST', '/fail', undo=None)
        assert [path.split('/')[1] for path in world.deleted] == ['d', 'c', 'b', 'a']
        assert [step.request.url for step in failed.value.undone] == ['/a', '/b', '/c', '/d']


def test_the_failure_of_a_part_that_nobody_catches_is_told_completely() -> None:
    """The saga's error has the steps of both."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            with saga.sub() as part:
                part.call(world.host, 'POST', '/b', undo=located)
                part.call(world.host, 'POST', '/fail', undo=None)
        assert [step.request.url for step in failed.value.undone] == ['/a', '/b'] and not world.things
        assert failed.value.status == 500 and saga.stats()['undone'] == 2


def test_the_failure_of_a_saga_ends_its_parts() -> None:
    """A part that another greenlet waits for fails with it."""
    gate = Gate(opened=True)
    with World(gate) as world, ClientPool() as pool:
        with pytest.raises(SagaFailed), Saga(pool) as saga:

            def run() -> None:
                with saga.sub() as part:
                    part.call(world.host, 'POST', '/b', undo=located)
                    gate.shut()
                    part.call(world.host, 'POST', '/c', undo=located)

            running = caught(run)
            gate.wait_for(1)
            gevent.spawn_later(0, gate.open)
            saga.abort('enough')
        assert isinstance(running.get(), SagaFailed) and not world.things


def test_greenlets_share_a_saga() -> None:
    """Each `call` waits for its own step; where one fails all raise the same error."""
    with World() as world, ClientPool() as pool:
        with Saga(pool) as saga:
            calls = [gevent.spawn(saga.call, world.host, 'POST', f'/{n}', undo=located) for n in range(5)]
            assert {call.get().status for call in calls} == {201}
        with Saga(pool) as saga:
            ends = [caught(lambda n=n: saga.call(world.host, 'POST', f'/fail/{n}', undo=None)) for n in range(5)]  # type: ignore[misc]
            errors = {end.get() for end in ends}
            assert len(errors) == 1 and isinstance(errors.pop(), SagaFailed)


@pytest.mark.parametrize('kept', [False, True])
def test_a_broadcast_undoes_on_exactly_the_hosts_that_succeeded(tmp_path: Path, kept: bool) -> None:
    """And returns what a broadcast of the resources returns."""
    with World() as one, World() as two, World() as three, ClientPool() as pool:
        hosts = [one.host, two.host, three.host]
        with Resources(hosts, headers={'X-Auth-Token': 'theirs'}) as resources:
            with Saga(pool, tmp_path / 'j' if kept else None) as saga:
                answers = saga.broadcast(resources, 'POST', '/conf', {'a': 1}, undo=located)
            assert [answer.status for answer in answers] == [201] * 3 and all(answers)
            keys = [world.keys['/conf'][0] for world in (one, two, three)]
            assert len(set(keys)) == 3 and None not in keys
            two.statuses['/conf'] = [500]
            with pytest.raises(SagaFailed) as failed, Saga(pool, tmp_path / 'j' if kept else None) as saga:
                saga.broadcast(resources, 'POST', '/conf', undo=located)
            assert [len(world.deleted) for world in (one, two, three)] == [1, 0, 1]
            assert len(failed.value.undone) == 2 and failed.value.status == 500
            assert one.requests[-1].headers['x-auth-token'] == 'theirs'


def test_a_broadcast_that_reaches_its_need_does_not_fail() -> None:
    """The hosts that failed are no failures of the saga; those that succeeded are undone when it fails later."""
    with World() as one, World() as two, World() as three, ClientPool() as pool:
        with Resources([one.host, two.host, three.host]) as resources:
            two.statuses['/conf'] = [500, 500]
            with Saga(pool) as saga:
                answers = saga.broadcast(resources, 'PUT', '/conf', undo=('DELETE', '/conf'), need=2)
                assert sum(map(bool, answers)) == 2
            with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
                saga.broadcast(resources, 'PUT', '/conf', undo=('DELETE', '/conf'), need=2)
                saga.call(one.host, 'POST', '/fail', undo=None)
            assert [error.request.url for error in failed.value.failed] == ['/fail']
            assert [len(world.deleted) for world in (one, two, three)] == [1, 0, 1]
            two.statuses['/conf'] = [500]
            three.statuses['/conf'] = [500]
            with pytest.raises(SagaFailed), Saga(pool) as saga:
                saga.broadcast(resources, 'PUT', '/conf', undo=('DELETE', '/conf'), need=2)
            assert '/conf' not in one.things


def test_a_rolling_change_stops_and_undoes_the_batches_done() -> None:
    """The last batch first; what was not started is not sent."""
    worlds = [World() for _ in range(5)]
    try:
        with ClientPool() as pool, Resources([world.host for world in worlds]) as resources:
            change = [(world.host, 'PUT', '/conf') for world in worlds]
            with Saga(pool) as saga:
                rollout = saga.rolling(resources, change, serial=2, undo=('DELETE', '/conf'))
            assert [answer.status for answer in rollout.outcomes] == [201] * 5 and rollout.not_started == []
            worlds[2].statuses['/conf'] = [500]
            for world in worlds:
                world.requests.clear()
            with pytest.raises(SagaFailed), Saga(pool) as saga:
                saga.rolling(resources, change, serial=2, undo=('DELETE', '/conf'))
            assert [len(world.asked('DELETE')) for world in worlds] == [1, 1, 0, 1, 0]
            assert not worlds[4].requests
    finally:
        for world in worlds:
            world.close()


def test_a_rolling_change_may_leave_the_batches_done() -> None:
    """With `undo_on_stop=False` it raises what the resources raise, and its steps stay, whatever becomes of the rest."""
    with World() as one, World() as two, ClientPool() as pool, Resources([one.host, two.host]) as resources:
        two.statuses['/conf'] = [500]
        change = [(one.host, 'PUT', '/conf'), (two.host, 'PUT', '/conf')]
        with pytest.raises(RollingError) as raised, Saga(pool) as saga:
            saga.call(one.host, 'POST', '/a', undo=located)
            saga.rolling(resources, change, serial=1, undo=('DELETE', '/conf'), undo_on_stop=False)
        assert len(raised.value.outcomes) == 2 and '/conf' in one.things and one.deleted == ['/a/1']
        two.statuses['/conf'] = [500]
        with Saga(pool) as saga:
            rollout = saga.rolling(resources, change, serial=1, max_fail=1, undo=('DELETE', '/conf'))
        assert [bool(outcome) for outcome in rollout.outcomes] == [True, False]


def test_a_broadcast_that_is_interrupted_undoes_what_was_sent() -> None:
    """What was never sent gets no undo."""
    gate = Gate()
    with World(gate) as one, World(gate) as two, ClientPool() as pool:
        with Resources([one.host, two.host], simultaneous=1) as resources:

            def run() -> None:
                with Saga(pool) as saga, gevent.Timeout(0.2):
                    saga.broadcast(resources, 'PUT', '/conf', undo=('DELETE', '/conf'))

            running = caught(run)
            gate.wait_for(2)
            gate.opened = True
            assert isinstance(running.get(), gevent.Timeout)
            assert one.asked('DELETE') == two.asked('DELETE') == ['/conf']
