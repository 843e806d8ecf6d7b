"""The journal: what is written, when, by whom; and what is undone of it after a crash."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from napixclient import ClientPool, Request
from napixclient.saga import JournalError, JournalLocked, JournalUnfinished, Saga, SagaFailed
from napixclient.testing import RST, Gate
from tests.saga.world import LOCATION, World, caught, located

pytestmark = pytest.mark.usefixtures('tidy')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / 'vm-17.saga'


def events(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def is_open_as(descriptor: int, path: Path) -> bool:
    """Whether a descriptor of ours is that file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def crashed(path: Path, world: World, gate: Gate, ask: Callable[[Saga], Any], held: int = 1) -> Path:
    """The journal of a saga, as it is when so many of its requests are held at the server."""
    copy = path.with_suffix('.crashed')
    with ClientPool(simultaneous=4) as pool:

        def run() -> None:
            with Saga(pool, path) as saga:
                ask(saga)
                saga.wait()

        running = caught(run)
        gate.wait_for(held)
        shutil.copy(path, copy)
        gate.opened = True
        for request in gate.held():
            request.release([RST])
        running.kill()
    world.deleted.clear()
    world.requests.clear()
    return copy


def test_each_step_is_written_before_it_is_sent_and_after_its_outcome(path: Path) -> None:
    """The journal names the step when its request arrives, and the outcome when `wait` returns."""
    seen: list[list[str]] = []

    class Watching(World):
        def answer(self, peer: Any) -> None:
            seen.append([event['name'] for event in events(path) if event['event'] == 'step'])
            super().answer(peer)

    with Watching() as world, ClientPool() as pool, Saga(pool, path) as saga:
        saga.request(world.host, 'POST', '/a', undo=located)
        saga.wait()
        assert seen == [[f'POST {world.url}/a']]
        (done,) = [event for event in events(path) if event['event'] == 'done']
        assert done['status'] == 201 and done['undo'][0]['url'] == '/a/1' and done['undo'][0]['method'] == 'DELETE'
        saga.call(world.host, 'POST', '/b', undo=None)
        assert events(path)[-1] == {'event': 'done', 'step': 1, 'status': 201}
    assert events(path)[-1] == {'event': 'committed'} and events(path)[0]['event'] == 'saga'


def test_steps_are_written_as_their_turn_comes(path: Path) -> None:
    """What the caps let be in flight, and one group ahead: no more has a line."""
    gate = Gate()
    with World(gate) as world, ClientPool(simultaneous=2) as pool, Saga(pool, path) as saga:
        for number in range(20):
            saga.request(world.host, 'POST', f'/{number}', undo=None)
        waiting = caught(saga.wait)
        gate.wait_for(2)
        assert sum(event['event'] == 'step' for event in events(path)) == 4
        gate.open()
        assert waiting.get() is None
        assert sum(event['event'] == 'step' for event in events(path)) == 20


def test_only_its_owner_may_read_it_and_it_has_no_secrets(path: Path) -> None:
    """Mode 0600, also where the file was there; no credentials in fields, queries, bodies or errors."""
    path.touch(0o644)
    with (
        World() as world,
        ClientPool({'login': 'root', 'key': 'toor-key'}, headers={'X-Auth-Token': 'pool-s3cret'}) as pool,
    ):
        with pytest.raises(SagaFailed), Saga(pool, path) as saga:
            saga.call(
                world.host, 'POST', '/a?token=query-s3cret&x=1', {'password': 'body-s3cret'}, {'Cookie': 'field-s3cret'},
                undo=('DELETE', '/a/1?token=undo-s3cret&x=1', None, {'Authorization': 'Bearer b-s3cret', 'X-Why': 'me'}),
            )  # fmt: skip
            saga.call(world.host, 'POST', '/b', undo=('PATCH', '/b', {'secret': 'patch-s3cret'}))
            saga.call(world.host, 'POST', '/fail', undo=None)
    text = path.read_text()
    assert 's3cret' not in text and 'toor-key' not in text and '"/a/1?x=1"' in text and 'X-Why' in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_sent_without_a_secret_is_told(path: Path) -> None:
    """A body with a secret is not kept: after a crash that step is named as not undone."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:

        def ask(saga: Saga) -> None:
            gate.opened = True
            saga.call(world.host, 'POST', '/a', undo=('PATCH', '/a', {'secret': 'patch-s3cret'}))
            gate.shut()
            saga.request(world.host, 'POST', '/b', undo=None)

        copy = crashed(path, world, gate, ask)
        report = Saga.recover(copy, pool)
        assert report.state == 'not_undone' and 'secret' in str(report.not_undone[0][1]) and not world.requests


def test_one_writer_at_a_time(path: Path) -> None:
    """Another saga, and a recovery, are refused before anything is sent."""
    with World() as world, ClientPool() as pool, Saga(pool, path) as saga:
        with pytest.raises(JournalLocked, match=r'vm-17\.saga'):
            Saga(pool, path)
        with pytest.raises(JournalLocked):
            Saga.recover(path, pool)
        saga.call(world.host, 'POST', '/a', undo=None)
    assert Saga.recover(path, pool).state == 'committed'


def test_a_finished_journal_begins_anew_and_an_unfinished_one_is_refused(path: Path) -> None:
    """With the command that undoes it."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:
        copy = crashed(path, world, gate, lambda saga: saga.request(world.host, 'PUT', '/a', undo=('DELETE', '/a')))
        gate.opened = True
        before = copy.read_bytes()
        with pytest.raises(JournalUnfinished, match=f'napix saga undo {copy}'):
            Saga(pool, copy)
        assert copy.read_bytes() == before
        assert Saga.recover(copy, pool).state == 'undone'
        for _ in range(2):
            with Saga(pool, copy) as saga:
                saga.call(world.host, 'POST', '/b', undo=None)
        assert [event['event'] for event in events(copy)] == ['saga', 'waited', 'step', 'done', 'committed']


@pytest.mark.parametrize(
    'content', [b'something else\n', b'{"a": 1}\n', b'no line end', b'[1]\n{"event":"saga"}\n', b'\xff\xfe']
)
def test_a_file_that_is_no_journal_is_left_alone(path: Path, content: bytes) -> None:
    """Whoever gave its name by mistake does not lose it."""
    path.write_bytes(content)
    with ClientPool() as pool:
        for use in (lambda: Saga(pool, path), lambda: Saga.recover(path, pool)):
            with pytest.raises(JournalError, match='no journal'):
                use()
        assert path.read_bytes() == content
        with pytest.raises(JournalError):
            Saga(pool, path.parent)
        with pytest.raises(JournalError):
            Saga.recover(path.parent / 'none', pool)
        assert not (path.parent / 'none').exists()


def test_a_torn_last_line_is_no_error(path: Path) -> None:
    """A journal that was cut anywhere is read up to its last whole line; damage within it is one."""
    gate = Gate(opened=True)
    with World(gate) as world, ClientPool() as pool:
        with Saga(pool, path) as saga:
            saga.call(world.host, 'PUT', '/a', undo=('DELETE', '/a'))
            saga.call(world.host, 'PUT', '/b', undo=('DELETE', '/b'))
            whole = path.read_bytes()
        for size in range(0, len(whole), 7):
            path.write_bytes(whole[:size])
            report = Saga.recover(path, pool)
            assert report.state == 'undone' and len(report.undone) <= 2
        path.write_bytes(whole + b'\0\0\0')
        assert len(Saga.recover(path, pool).undone) == 2
        lines = whole.splitlines(keepends=True)
        path.write_bytes(b''.join([*lines[:2], b'{"event"\n', *lines[2:]]))
        with pytest.raises(JournalError, match='line 3'):
            Saga.recover(path, pool)


def test_after_a_crash_what_was_done_is_undone_and_what_is_unknown_is_named(path: Path) -> None:
    """In the reverse order of the waits; a callable in flight is unknown, and `find` does not save it."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:

        def ask(saga: Saga) -> None:
            gate.opened = True
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=LOCATION)
            gate.shut()
            saga.request(world.host, 'PUT', '/named', undo=('DELETE', '/named'))
            saga.request(world.host, 'POST', '/callable', undo=located, find=('GET', '/callable'))
            saga.request(world.host, 'PUT', '/found', undo=LOCATION, find=('GET', '/found'))
            saga.request(world.host, 'POST', '/absent', undo=LOCATION, find=('GET', '/absent'))

        copy = crashed(path, world, gate, ask, held=4)
        world.things['/found'] = {}
        report = Saga.recover(copy, pool)
        assert report.state == 'not_undone' and [step.name for step in report.unknown] == [f'POST {world.url}/callable']
        assert [step.request.url for step in report.undone] == ['/a', '/b', '/named', '/found']
        assert sorted(world.deleted[:2]) == ['/found', '/named'] and world.deleted[2:] == ['/b/2', '/a/1']
        assert '/callable' not in world.asked('GET')
        world.requests.clear()
        again = Saga.recover(copy, pool)
        assert [step.name for step in again.unknown] == [f'POST {world.url}/callable'] and not world.requests
        assert len(again.undone) == 4


def test_a_second_recovery_tries_only_what_is_left(path: Path) -> None:
    """With the same keys."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:

        def ask(saga: Saga) -> None:
            gate.opened = True
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=('POST', '/undo'), undo_timeout=0.3)
            gate.shut()
            saga.request(world.host, 'GET', '/c', undo=None)

        copy = crashed(path, world, gate, ask)
        gate.opened = True
        world.statuses['/undo'] = [500] * 3
        world.requests.clear()
        world.things.setdefault('/a/1', {})
        first = Saga.recover(copy, pool)
        assert first.state == 'not_undone' and [step.request.url for step in first.undone] == ['/a']
        world.statuses.clear()
        second = Saga.recover(copy, pool)
        assert second.state == 'undone' and len(second.undone) == 2
        keys = {request.headers['idempotency-key'] for request in world.requests if request.path == '/undo'}
        assert len(keys) == 1 and world.asked('DELETE') == ['/a/1']
        world.requests.clear()
        assert Saga.recover(copy, pool).state == 'undone' and not world.requests


def test_the_recovering_pool_signs_anew(path: Path) -> None:
    """Undos carry the credentials of the pool that recovers."""
    gate = Gate()

    def signs(request: Request) -> Request:
        return request.replace(headers={**request.headers, 'Authorization': 'Bearer of-the-recovery'})

    with World(gate) as world, ClientPool(signs) as pool:
        copy = crashed(path, world, gate, lambda saga: saga.request(world.host, 'PUT', '/a', undo=('DELETE', '/a')))
        gate.opened = True
        Saga.recover(copy, pool)
        assert world.requests[-1].headers['authorization'] == 'Bearer of-the-recovery'


def test_a_journal_that_cannot_be_written_sends_nothing_more(path: Path) -> None:
    """What was done before is undone."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool, path) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            full = os.open('/dev/full', os.O_WRONLY)
            os.dup2(full, next(fd for fd in range(3, 1000) if is_open_as(fd, path)))
            os.close(full)
            saga.call(world.host, 'POST', '/b', undo=located)
        assert isinstance(failed.value.__cause__, OSError) and world.asked('POST') == ['/a'] and not world.things


def test_a_child_of_a_fork_leaves_the_saga_to_its_parent(path: Path) -> None:
    """It undoes nothing and writes nothing, however it leaves the block."""
    with World() as world, ClientPool() as pool, Saga(pool, path) as saga:
        saga.call(world.host, 'POST', '/a', undo=located)
        before = path.read_bytes()
        pid = os.fork()
        if not pid:
            try:
                saga.__exit__(ValueError, ValueError(), None)
            finally:
                os._exit(0)
        gevent.os.waitpid(pid, 0)
        assert path.read_bytes() == before and not world.deleted
    assert Saga.recover(path, pool).state == 'committed'


def test_undoing_goes_on_in_the_journal(path: Path) -> None:
    """A failed saga tells in its journal what became of each step; undone, it is finished."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed), Saga(pool, path, undo_timeout=0.2) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=('DELETE', '/fail'))
            saga.abort()
        kinds = [event['event'] for event in events(path)]
        assert kinds[-1] == 'ended' and events(path)[-1]['state'] == 'not_undone'
        assert {'failing', 'undoing', 'undone', 'not_undone'} <= set(kinds)
        with pytest.raises(JournalUnfinished):
            Saga(pool, path)
