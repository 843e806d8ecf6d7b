"""Runs survive: a killed service goes on where it was, with every result, and sends no POST again."""
from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gevent
import pytest

from napixclient.service.database import StoreError, open_database
from napixclient.service.store import Kept, Store
from tests import kit
from tests.cli.programs import napix
from tests.service.serving import Watcher, results_of, serving

#: Requests of the run that is killed; FULL asks for as many as the law says.
MANY = 10_000 if os.environ.get('FULL') else 2_000


def results_as_they_come(watcher: Watcher) -> Iterator[dict[str, Any]]:
    """The results over a WebSocket."""
    return (message['result'] for message in watcher.messages() if message['type'] == 'result')


@pytest.mark.parametrize('at', [0.2, 0.5, 0.8])
def test_kill_9_in_the_middle(tmp_path: Path, at: float) -> None:
    """`kill -9` in the middle: every result that was shown is there again, each request has one, no POST is repeated."""
    counts: Counter[str] = Counter()

    def count(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        counts[f'{method} {path}'] += 1
        return 200, {}, path

    requests = [{'method': 'POST' if number % 2 else 'GET', 'url': f'/{number:06}', 'tag': number} for number in range(MANY)]
    with kit.serve(count, address='0.0.0.0') as server:
        for number, request in enumerate(requests):
            request['host'] = f'127.0.0.{number % 100 + 1}:{server.port}'
        with serving(tmp_path / 'runs') as service:
            id = service.start({'requests': requests})['id']
            watcher = Watcher(service, f'/runs/{id}/ws')
            shown = list(islice(results_as_they_come(watcher), int(MANY * at)))
            service.kill()
            watcher.sock.close()
        with serving(tmp_path / 'runs') as service:
            run = service.follow(id)
            results = service.results(id)
    assert results[:len(shown)] == shown
    assert [one['seq'] for one in results] == list(range(MANY))
    assert sorted(one['tag'] for one in results) == list(range(MANY))
    assert max(counts[key] for key in counts if key.startswith('POST')) == 1
    interrupted = [one for one in results if one['state'] == 'interrupted']
    assert {one['method'] for one in interrupted} <= {'POST'}
    assert run['state'] == ('interrupted' if interrupted else 'done')
    assert run['counts']['interrupted'] == len(interrupted) and run['counts']['done'] == MANY
    assert all(one['status'] == 200 and one['body'] == one['url'] for one in results if one['state'] == 'done')
    assert all(one['error']['class'] == 'Interrupted' for one in interrupted)


def test_what_may_be_sent_once_more(tmp_path: Path) -> None:
    """Idempotent requests are sent again as they were; those that had secrets are interrupted like a POST."""
    gate = kit.Gate()
    with kit.serve(lambda m, p, h, body: (200, {}, f'{m} {h.get("x-a")} {body.decode()}'), gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            id = service.start({'requests': [{'host': server.host, **request} for request in (
                {'method': 'PUT', 'body': {'a': 1}, 'headers': {'X-A': 'b'}, 'tag': 'put'},
                {'method': 'DELETE', 'tag': 'delete'}, {'method': 'PATCH', 'tag': 'patch'}, {'method': 'POST', 'tag': 'post'},
                {'headers': {'Authorization': 'Bearer abcdef'}, 'tag': 'secret'},
                {'url': '/?token=abcdef', 'tag': 'token'}, {'headers': {'Cookie': 'a=b'}, 'tag': 'cookie'})],
                'simultaneous': 10})['id']
            gate.wait_for(7)
            service.kill()
        gate.open()
        before = len(server.requests)
        with serving(tmp_path / 'runs') as service:
            assert service.follow(id)['state'] == 'interrupted'
            results = {one['tag']: one for one in service.results(id)}
        assert len(server.requests) == before + 2
    assert {tag for tag, one in results.items() if one['state'] == 'interrupted'} == {
        'patch', 'post', 'secret', 'token', 'cookie'}
    assert results['put']['body'] == 'PUT b {"a":1}' and results['delete']['body'] == 'DELETE None '


def test_cancelled_and_deadline_hold_after_a_kill(tmp_path: Path) -> None:
    """A run keeps its deadline and its options when it goes on; one that was cancelled stays so."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            late = service.start({'requests': [{'host': server.host}], 'deadline': 0.1, 'ordered': True, 'simultaneous': 7})['id']
            service.kill()
        gevent.sleep(0.2)
        with serving(tmp_path / 'runs') as service:
            run = service.follow(late)
            assert run['ordered'] and run['simultaneous'] == 7 and run['counts']['failed'] == 1
            assert 'Timeout' in service.results(late)[0]['error']['class'] or \
                service.results(late)[0]['error']['class'] == 'DeadlineExceeded'


def test_past_runs_are_there_after_a_restart(tmp_path: Path) -> None:
    """What has ended is read as before, by every way to read it."""
    with kit.serve() as server:
        with serving(tmp_path / 'runs') as service:
            before, results = service.run({'requests': [{'host': server.host}, {'host': '127.0.0.1:1'}]})
        with serving(tmp_path / 'runs') as service:
            assert service.show(before['id']) == before
            assert service.results(before['id'], '?follow=1') == results
            assert results_of(Watcher(service, f'/runs/{before["id"]}/ws').messages()) == results
            assert [run['id'] for run in service.ask('GET', '/runs').body['runs']] == [before['id']]


def test_a_result_is_committed_before_it_is_shown(tmp_path: Path) -> None:
    """Whatever a follower has read is in the file, for anybody who opens it."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, kit.serve() as fast, serving(tmp_path / 'runs') as service:
        id = service.start({'requests': [{'host': slow.host}] + [{'host': fast.host}] * 20})['id']
        watcher = Watcher(service, f'/runs/{id}/ws')
        seen = list(islice(results_as_they_come(watcher), 20))
        with sqlite3.connect(f'file:{tmp_path / "runs"}?mode=ro', uri=True) as database:
            lines = [json.loads(line) for line, in database.execute('SELECT line FROM results ORDER BY seq')]
        database.close()
        assert lines[:20] == seen
        gate.open()
        watcher.close()
        service.follow(id)


def test_a_store_that_fails(tmp_path: Path) -> None:
    """Where results cannot be kept they are not shown: who watches is told, the process lives, and a restart goes on."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            id = service.start({'requests': [{'host': server.host}] * 2})['id']
            watcher = Watcher(service, f'/runs/{id}/ws')
            gate.wait_for(2)
            with sqlite3.connect(tmp_path / 'runs') as database:
                database.execute('ALTER TABLE results RENAME TO lost')
            gate.open()
            assert results_of(watcher.messages()) == [] and watcher.code == 1001
            answer = service.ask('GET', f'/runs/{id}/results')
            assert answer.status == 200 and answer.data == b'' or answer.status == 503
            assert service.alive()
            database.execute('ALTER TABLE lost RENAME TO results')
            database.close()
            assert any('cannot be kept' in one['message'] for one in service.log)
            service.log[:] = [one for one in service.log if one['level'] != 'error']
        with serving(tmp_path / 'runs') as service:
            assert service.follow(id)['counts']['ok'] == 2


def test_drain(tmp_path: Path) -> None:
    """SIGTERM lets what is under way finish, takes nothing new, and the process ends with 0."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, serving(tmp_path / 'runs') as service:
        id = service.start({'hosts': server.host, 'request': {'method': 'POST'}})['id']
        watcher = Watcher(service, f'/runs/{id}/ws')
        following = service.raw(f'GET /runs/{id}/results?follow=1 HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode())
        kept = service.raw()
        gate.wait_for(1)
        service.process.send_signal(signal.SIGTERM)
        kit.wait_until(lambda: service.said('draining'), 'it drains', 30)
        with pytest.raises(OSError, match='refused'):
            service.raw()
        body = json.dumps({'hosts': server.host, 'request': {}})
        kept.sendall(f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
                     f'Content-Length: {len(body)}\r\n\r\n{body}'.encode())
        assert kept.recv(12) == b'HTTP/1.1 503'
        kept.close()
        gate.open()
        assert [one['status'] for one in results_of(watcher.messages())] == [200] and watcher.code == 1000
        data = b''
        while piece := following.recv(65536):
            data += piece
        following.close()
        assert data.endswith(b'0\r\n\r\n') and b'"status":200' in data
        assert service.process.wait(timeout=30) == 0
    with serving(tmp_path / 'runs') as service:
        assert service.show(id)['state'] == 'done'


@pytest.mark.timed
def test_drain_has_an_end(tmp_path: Path) -> None:
    """After `--drain-timeout` it ends, whatever is under way; a second signal ends it at once."""
    with kit.serve(gate=kit.Gate()) as server:
        with serving(tmp_path / 'runs', '--drain-timeout', 0.5) as service:
            service.start({'hosts': server.host, 'request': {}})
            began = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - began < kit.limit(15)
        with serving(tmp_path / 'runs', '--drain-timeout', 60) as service:
            service.process.send_signal(signal.SIGINT)
            kit.wait_until(lambda: service.said('draining'), 'it drains', 30)
            assert service.stop(signal.SIGINT) == 130


def test_a_store_is_one_services(tmp_path: Path) -> None:
    """A second service on the same file is refused in one line; a dead one leaves nothing that is in the way."""
    with serving(tmp_path / 'runs') as service:
        refused = napix('serve', '--bind', '127.0.0.1:0', '--store', f'sqlite:///{tmp_path / "runs"}')
        assert refused.code == 2 and 'in use by another service' in refused.err and refused.err.count('\n') == 1
        service.kill()
    with serving(tmp_path / 'runs'):
        pass


def test_default_store(tmp_path: Path) -> None:
    """Without `--store`, runs are kept under `$XDG_STATE_HOME/napix/`."""
    process = gevent.subprocess.Popen(
        [os.sys.executable, '-m', 'napixclient', 'serve', '--bind', '127.0.0.1:0'], cwd=kit.ROOT,
        env=kit.environment(XDG_STATE_HOME=str(tmp_path)), stderr=gevent.subprocess.PIPE)
    try:
        assert b'listening on http://127.0.0.1:' in process.stderr.readline()
        assert (tmp_path / 'napix' / 'runs.sqlite').exists()
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


# The store itself --------------------------------------------------------------------------------------------------------

def kept(number: int, **more: Any) -> Kept:
    """A run as the store has it."""
    return Kept(f'{number:032x}', float(number), None, 'running', 'me', False, {'ordered': False}, {'counts': {}}, 0)._replace(**more)


@pytest.fixture(params=['sqlite', 'alchemy', 'memory'])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store of each kind."""
    url = {'sqlite': f'sqlite:///{tmp_path / "a"}', 'alchemy': f'sqlite+pysqlite:///{tmp_path / "b"}',
           'memory': 'sqlite:///:memory:'}[request.param]
    made = Store(open_database(url), 'me')
    yield made
    made.close()
    made.close()


def test_store(store: Store) -> None:
    """What is written is read, in order and from any place; what is to be done is forgotten at the end."""
    store.add(kept(1), [{'url': '/0'}, {'url': '/1'}, {'url': '/2'}], 1.0)
    store.commit(kept(1).id, 0, [(2, 'c'), (0, 'a')], {'counts': {'done': 2}}, 'running', None)
    assert store.lines(kept(1).id, 0) == ['c', 'a'] and store.lines(kept(1).id, 1) == ['a'] and store.lines('x', 0) == []
    assert store.left(kept(1).id) == [(1, {'url': '/1'})]
    found = store.find(kept(1).id)
    assert found is not None and found.results == 2 and found.summary == {'counts': {'done': 2}} and not found.cancel
    store.ask_cancel(kept(1).id)
    store.commit(kept(1).id, 2, [(1, 'b')], {}, 'done', 5.0)
    found = store.find(kept(1).id)
    assert found is not None and (found.state, found.finished, found.cancel) == ('done', 5.0, True)
    assert store.left(kept(1).id) == [] and store.find('x') is None
    store.add(kept(2), [{}], 2.0)
    store.add(kept(3, created=2.0), [{}], 2.0)
    newest = store.newest(2)
    assert [run.id for run in newest] == [kept(3).id, kept(2).id]
    assert [run.id for run in store.newest(9, newest[-1])] == [kept(1).id]


def test_a_failure_changes_nothing(store: Store) -> None:
    """What cannot be written whole is not written."""
    store.add(kept(1), [{}, {}], 1.0)
    store.commit(kept(1).id, 0, [(0, 'a')], {}, 'running', None)
    with pytest.raises(Exception, match='(?i)unique'):
        store.commit(kept(1).id, 0, [(1, 'b')], {}, 'running', None)
    assert store.lines(kept(1).id, 0) == ['a']
    store.commit(kept(1).id, 1, [(1, 'b')], {}, 'running', None)
    assert store.lines(kept(1).id, 0) == ['a', 'b']


def test_pages_are_bounded(store: Store) -> None:
    """A page of lines is bounded in their number and in their size."""
    store.add(kept(1), [{}] * 3, 1.0)
    store.commit(kept(1).id, 0, [(number, 'x' * 600_000) for number in range(3)], {}, 'running', None)
    assert len(store.lines(kept(1).id, 0)) == 2
    store.add(kept(2), [{}], 1.0)
    store.commit(kept(2).id, 0, [(number, 'x') for number in range(600)], {}, 'running', None)
    assert len(store.lines(kept(2).id, 0)) == 500


def test_retention(store: Store) -> None:
    """What ended before a time goes, then the oldest while all take too much room; what is under way stays."""
    for number in range(1, 7):
        store.add(kept(number), [{}], 1.0)
        store.commit(kept(number).id, 0, [(0, 'x' * 1000)], {}, *(('done', float(number)) if number < 6 else ('running', None)))
    assert store.sweep(2.5, 1 << 30) == 2
    assert [run.id for run in store.newest(9)] == [kept(number).id for number in (6, 5, 4, 3)]
    assert store.sweep(0.0, 3500) == 1
    assert store.sweep(0.0, 10) == 2
    assert [run.id for run in store.newest(9)] == [kept(6).id] and store.lines(kept(5).id, 0) == []


def test_leases(tmp_path: Path) -> None:
    """Where a store is shared, a run is taken over only when its service has shown no life for a while, and by one."""
    url = f'sqlite+pysqlite:///{tmp_path / "shared"}'
    first, second, third = (Store(open_database(url), name) for name in ('first', 'second', 'third'))
    first.add(kept(1, owner='first'), [{}], 100.0)
    assert second.adopt(110.0, 20.0) == []
    assert first.seen([kept(1).id], 115.0) == []
    assert second.adopt(134.0, 20.0) == []
    second.ask_cancel(kept(1).id)
    assert first.seen([kept(1).id], 116.0) == [kept(1).id]
    assert [run.id for run in second.adopt(140.0, 20.0)] == [kept(1).id]
    assert third.adopt(141.0, 20.0) == [] and first.seen([kept(1).id], 142.0) == []
    for store in first, second, third:
        store.close()


def test_two_services_on_one_store(tmp_path: Path) -> None:
    """Runs of one service are shown, followed and cancelled by another that shares the store."""
    url = f'sqlite+pysqlite:///{tmp_path / "shared"}'
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, serving(url) as one, serving(url) as other:
        id = one.start({'requests': [{'host': server.host}] * 2})['id']
        assert other.show(id)['state'] == 'running'
        watcher = Watcher(other, f'/runs/{id}/ws')
        gate.wait_for(2)
        gate.open()
        assert [result['seq'] for result in results_of(watcher.messages())] == [0, 1] and watcher.code == 1000
        assert other.results(id) == one.results(id)
        gate.shut()
        id = one.start({'requests': [{'host': server.host}] * 2})['id']
        gate.wait_for(2)
        assert other.ask('DELETE', f'/runs/{id}').status == 200
        assert one.follow(id)['state'] == 'cancelled'


@pytest.mark.parametrize(('url', 'words'), [
    ('sqlite://', 'not a store'), ('sqlite:///', 'not a store'), ('sqlite:x', 'not a store'), ('nothing://', 'cannot open'),
    ('sqlite:////proc/x/y', 'cannot open'), ('sqlite:////', 'cannot open'), ('postgresql://127.0.0.1:1/x', 'cannot open')])
def test_stores_that_cannot_be_opened(url: str, words: str) -> None:
    """Each failure says what is wrong."""
    with pytest.raises(StoreError, match=words):
        Store(open_database(url), 'me').close()
