"""Runs survive: a killed service goes on where it was, with every result, and sends no POST again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gevent
import pytest

from napixclient.allow import Allow
from napixclient.service.database import Database, LeaseLost, StoreError, StoreRefused, open_database
from napixclient.service.rows import Added, Kept
from napixclient.service.service import Config
from napixclient.service.service import Service as App
from napixclient.service.store import Store
from napixclient.service.submission import kept_all, read_submission, restored
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

    requests = [
        {'method': 'POST' if number % 2 else 'GET', 'url': f'/{number:06}', 'tag': number} for number in range(MANY)
    ]
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
    assert results[: len(shown)] == shown
    assert [one['seq'] for one in results] == list(range(MANY))
    assert sorted(one['tag'] for one in results) == list(range(MANY))
    posts = [counts[f'POST /{number:06}'] for number in range(1, MANY, 2)]
    assert max(posts) == 1
    interrupted = [one for one in results if one['state'] == 'interrupted']
    assert {one['method'] for one in interrupted} <= {'POST'}
    # Whatever else had not been sent is, now. Recorded as sent and not sent are some of each host's at most.
    assert sum(posts) >= MANY // 2 - len(interrupted) and posts.count(0) < MANY // 3
    assert run['state'] == ('interrupted' if interrupted else 'done')
    assert run['counts']['interrupted'] == len(interrupted) and run['counts']['done'] == MANY
    assert all(one['status'] == 200 and one['body'] == one['url'] for one in results if one['state'] == 'done')
    assert all(one['error']['class'] == 'Interrupted' for one in interrupted)


def test_what_may_be_sent_once_more(tmp_path: Path) -> None:
    """Idempotent requests are sent again as they were; those that had secrets are interrupted like a POST."""
    gate = kit.Gate()
    with kit.serve(lambda m, p, h, body: (200, {}, f'{m} {h.get("x-a")} {body.decode()}'), gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            id = service.start(
                {
                    'requests': [
                        {'host': server.host, **request}
                        for request in (
                            {'method': 'PUT', 'body': {'a': 1}, 'headers': {'X-A': 'b'}, 'tag': 'put'},
                            {'method': 'DELETE', 'tag': 'delete'},
                            {'method': 'PATCH', 'tag': 'patch'},
                            {'method': 'POST', 'tag': 'post'},
                            {'headers': {'Authorization': 'Bearer abcdef'}, 'tag': 'secret'},
                            {'url': '/?token=abcdef', 'tag': 'token'},
                            {'headers': {'Cookie': 'a=b'}, 'tag': 'cookie'},
                        )
                    ],
                    'simultaneous': 10,
                }
            )['id']
            gate.wait_for(7)
            service.kill()
        gate.open()
        before = len(server.requests)
        with serving(tmp_path / 'runs') as service:
            assert service.follow(id)['state'] == 'interrupted'
            results = {one['tag']: one for one in service.results(id)}
        assert len(server.requests) == before + 2
    assert {tag for tag, one in results.items() if one['state'] == 'interrupted'} == {
        'patch',
        'post',
        'secret',
        'token',
        'cookie',
    }
    assert results['put']['body'] == 'PUT b {"a":1}' and results['delete']['body'] == 'DELETE None '


@pytest.mark.parametrize('ends', ['killed', 'stopped'])
def test_what_had_not_been_sent_is_sent(tmp_path: Path, ends: str) -> None:
    """Of many POSTs only those are interrupted that may have been sent; the others are sent, once, as they were."""
    gate = kit.Gate()
    with kit.serve(lambda m, p, h, body: (200, {}, f'{p} {h.get("x-a")} {body.decode()}'), gate=gate) as server:
        with serving(tmp_path / 'runs', '--drain-timeout', 0.1) as service:
            id = service.start(
                {
                    'requests': [
                        {
                            'host': server.host,
                            'method': 'POST',
                            'url': f'/{number}',
                            'body': {'n': number},
                            'headers': {'X-A': 'b'},
                            'tag': number,
                        }
                        for number in range(50)
                    ]
                }
            )['id']
            gate.wait_for(2)
            if ends == 'killed':
                service.kill()
            else:
                assert service.stop() == 0
        gate.open()
        with serving(tmp_path / 'runs') as service:
            run = service.follow(id)
            results = {one['tag']: one for one in service.results(id)}
        counts = Counter(request.path for request in server.requests)
    interrupted = [tag for tag, one in results.items() if one['state'] == 'interrupted']
    assert set(counts.values()) == {1} and len(results) == 50
    assert {int(path[1:]) for path in counts} >= set(range(50)) - set(interrupted)
    # Whoever is told to end knows what it has sent; a crash may also have had what was recorded to be sent next.
    assert sorted(interrupted)[:2] == [0, 1] and len(interrupted) <= (2 if ends == 'stopped' else 4)
    assert all(results[tag]['body'] == f'/{tag} b {{"n":{tag}}}' for tag in range(50) if tag not in interrupted)
    assert run['state'] == 'interrupted' and run['counts']['ok'] == 50 - len(interrupted)


def test_secrets_that_were_not_sent(tmp_path: Path) -> None:
    """What was not sent and cannot be, as its secrets are gone, is no riddle: it is cancelled, and the run says why."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            id = service.start(
                {
                    'requests': [{'host': server.host, 'method': 'POST', 'headers': {'Authorization': 'Bearer abcdef'}}]
                    * 20,
                    'simultaneous': 1,
                }
            )['id']
            gate.wait_for(1)
            service.kill()
        gate.open()
        with serving(tmp_path / 'runs') as service:
            run = service.follow(id)
            states = Counter(one['state'] for one in service.results(id))
        assert len(server.requests) == 1
    assert states['interrupted'] in (1, 2) and states['cancelled'] == 20 - states['interrupted']
    assert run['state'] == 'interrupted' and 'secret' in run['reason']


def test_enough_is_enough_after_a_kill(tmp_path: Path) -> None:
    """A run that had as many successes as it needed sends nothing more when it goes on."""
    with kit.serve() as server, kit.serve(gate=kit.Gate()) as slow:
        with serving(tmp_path / 'runs') as service:
            id = service.start(
                {'requests': [{'host': server.host}, {'host': slow.host}, {'host': slow.host}], 'need': 2}
            )['id']
            kit.wait_until(lambda: service.show(id)['results'] == 1, 'one has its result', 30)
            service.kill()
        with sqlite3.connect(tmp_path / 'runs') as database:
            (options,) = database.execute('SELECT options FROM runs').fetchone()
            database.execute('UPDATE runs SET options = ?', [json.dumps({**json.loads(options), 'need': 1})])
        database.close()
        with serving(tmp_path / 'runs') as service:
            assert service.follow(id)['counts'] == {
                'total': 3,
                'done': 3,
                'ok': 1,
                'failed': 0,
                'cancelled': 2,
                'interrupted': 0,
                'in_flight': 0,
            }


def test_cancelled_and_deadline_hold_after_a_kill(tmp_path: Path) -> None:
    """A run keeps its deadline and its options when it goes on; one that was cancelled stays so."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            late = service.start(
                {'requests': [{'host': server.host}], 'deadline': 0.1, 'ordered': True, 'simultaneous': 7}
            )['id']
            service.kill()
        gevent.sleep(0.2)
        with serving(tmp_path / 'runs') as service:
            run = service.follow(late)
            assert run['ordered'] and run['simultaneous'] == 7 and run['counts']['failed'] == 1
            assert (
                'Timeout' in service.results(late)[0]['error']['class']
                or service.results(late)[0]['error']['class'] == 'DeadlineExceeded'
            )


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
            rows = [text for (text,) in database.execute('SELECT line FROM results ORDER BY seq')]
            lines = [json.loads(line) for row in rows for line in row.split('\n')]
        database.close()
        assert lines[:20] == seen
        gate.open()
        watcher.close()
        service.follow(id)


def test_a_store_that_fails(tmp_path: Path) -> None:
    """Where results cannot be kept they are not shown: who watches is told, nothing more is sent, and then it goes on."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs') as service:
            id = service.start(
                {'requests': [{'host': server.host, 'method': 'POST', 'url': f'/{number}'} for number in range(20)]}
            )['id']
            watcher = Watcher(service, f'/runs/{id}/ws')
            gate.wait_for(2)
            with sqlite3.connect(tmp_path / 'runs') as database:
                database.execute('ALTER TABLE results RENAME TO lost')
            gate.open()
            assert results_of(watcher.messages()) == [] and watcher.code == 1001
            answer = service.ask('GET', f'/runs/{id}/results')
            assert answer.status == 200 and answer.data == b'' or answer.status == 503
            assert service.show(id)['state'] == 'running' and service.show(id)['counts']['done'] == 0
            assert service.alive() and len(server.requests) <= 4
            database.execute('ALTER TABLE lost RENAME TO results')
            database.close()
            assert service.said('cannot be kept')
            service.log[:] = [one for one in service.log if one['level'] != 'error']
            kit.wait_until(lambda: service.show(id)['state'] == 'done', 'it goes on', 30)
            assert [one['seq'] for one in service.results(id)] == list(range(20)) and service.said('goes on')
        assert sorted(request.path for request in server.requests) == sorted(f'/{number}' for number in range(20))


def test_cancelled_while_the_store_fails(tmp_path: Path) -> None:
    """A run whose results cannot be kept now can be cancelled, and ends when they can."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, serving(tmp_path / 'runs') as service:
        id = service.start({'requests': [{'host': server.host}] * 20})['id']
        gate.wait_for(2)
        database = sqlite3.connect(tmp_path / 'runs', isolation_level=None)
        database.execute('ALTER TABLE results RENAME TO lost')
        assert service.ask('DELETE', f'/runs/{id}').body['state'] == 'running'
        gate.open()
        database.execute('ALTER TABLE lost RENAME TO results')
        database.close()
        kit.wait_until(lambda: service.show(id)['state'] == 'cancelled', 'it ends', 30)
        assert service.show(id)['counts']['cancelled'] == 20 and len(server.requests) <= 2
        service.log[:] = [one for one in service.log if one['level'] != 'error']


@pytest.mark.parametrize('table', ['results', 'requests'])
def test_a_store_that_refuses(tmp_path: Path, table: str) -> None:
    """What the store will never take ends the run as failed, with a reason; a submission is refused, or its run as well."""
    with kit.serve() as server, serving(tmp_path / 'runs') as service:
        with sqlite3.connect(tmp_path / 'runs') as database:
            database.execute(f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'never ever'); END")
        database.close()
        body = {'requests': [{'host': server.host, 'method': 'PUT'}] * 20}
        if table == 'requests':
            assert 'never ever' in service.start(body, 400)['error_text']
            assert service.ask('GET', '/runs').body['runs'] == []
        else:
            id = service.start(body)['id']
            kit.wait_until(lambda: service.show(id)['state'] == 'failed', 'it fails', 30)
            run = service.show(id)
            assert 'never ever' in run['reason'] and run['results'] == run['counts']['done'] == 0 and run['finished']
            assert service.results(id, '?follow=1') == [] and service.said('cannot be kept')
            assert service.ask('DELETE', f'/runs/{id}').body['state'] == 'failed'
            assert service.ask('GET', f'/runs/{id}/events').status == 204
            assert results_of(Watcher(service, f'/runs/{id}/ws').messages()) == []
        assert service.ask('GET', '/healthz').body['runs'] == 0
        service.log[:] = [one for one in service.log if one['level'] != 'error']


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
        kept.sendall(
            f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
            f'Content-Length: {len(body)}\r\n\r\n{body}'.encode()
        )
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
        [os.sys.executable, '-m', 'napixclient', 'serve', '--bind', '127.0.0.1:0'],
        cwd=kit.ROOT,
        env=kit.environment(XDG_STATE_HOME=str(tmp_path)),
        stderr=gevent.subprocess.PIPE,
    )
    try:
        assert b'listening on http://127.0.0.1:' in process.stderr.readline()
        assert (tmp_path / 'napix' / 'runs.sqlite').exists()
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def test_nobody_takes_over_what_is_about_to_begin(tmp_path: Path) -> None:
    """Runs that begin and end while somebody looks for those that were left are run once, and by who began them."""
    service = App(Config(store=f'sqlite:///{tmp_path / "runs"}'))

    def look() -> None:
        while True:
            service.runs.take_over()
            gevent.sleep(0)

    looking = [gevent.spawn(look) for _ in range(3)]
    try:
        with kit.serve() as server:
            body = json.dumps({'requests': [{'host': server.host, 'method': 'POST'}]}).encode()
            for _ in range(100):
                run = service.runs.start(read_submission(body, 1, service.runs.allow))
                run.greenlet.join(30)
                assert run.state == 'done'
            assert len(server.requests) == 100
    finally:
        gevent.killall(looking)
        service.close()


# The store itself --------------------------------------------------------------------------------------------------------


def kept(number: int, **more: Any) -> Kept:
    """A run as the store has it."""
    return Kept(
        f'{number:032x}', float(number), None, 'running', 'me', False, {'ordered': False}, {'counts': {}}, 0
    )._replace(**more)


@pytest.fixture(params=['sqlite', 'alchemy', 'memory', 'postgresql'])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store of each kind."""
    if request.param == 'postgresql':
        url = request.getfixturevalue('postgres').create(f'store_{uuid.uuid4().hex}')
    else:
        url = {
            'sqlite': f'sqlite:///{tmp_path / "a"}',
            'alchemy': f'sqlite+pysqlite:///{tmp_path / "b"}',
            'memory': 'sqlite:///:memory:',
        }[request.param]
    made = Store(open_database(url), 'me')
    yield made
    made.close()
    made.close()


def database(store: Store) -> Database:
    """What the store is kept in: to age runs, and to write what older releases wrote."""
    return store._database


def commit(
    store: Store, number: int, first: int, lines: list[tuple[int, str]], state: str = 'running', **more: Any
) -> float | None:
    """Commit as the one who added the run."""
    return store.commit(
        kept(number).id, more.get('fence', 0), first, lines, more.get('summary', {}), more.get('sent', ()), state
    )


def test_store(store: Store) -> None:
    """What is written is read, in order and from any place; what is to be done is forgotten at the end."""
    added = store.add(kept(1), ['{"url": "/0"}', '{"url": "/1"}', '{"url": "/2"}'], [0, 2])
    assert abs(added.created - time.time()) < 60 and added.age < 60
    assert store.left(kept(1).id) == [(0, {'url': '/0'}, True), (1, {'url': '/1'}, False), (2, {'url': '/2'}, True)]
    commit(store, 1, 0, [(2, 'c'), (0, 'a')], summary={'counts': {'done': 2}})
    assert (
        store.lines(kept(1).id, 0) == ['c', 'a'] and store.lines(kept(1).id, 1) == ['a'] and store.lines('x', 0) == []
    )
    assert store.left(kept(1).id) == [(1, {'url': '/1'}, False)]
    found = store.find(kept(1).id)
    assert found is not None and found.results == 2 and found.summary == {'counts': {'done': 2}} and not found.cancel
    store.ask_cancel(kept(1).id)
    finished = commit(store, 1, 2, [(1, 'b')], 'done')
    found = store.find(kept(1).id)
    assert found is not None and (found.state, found.finished, found.cancel) == ('done', finished, True)
    assert finished is not None and finished >= found.created
    assert store.left(kept(1).id) == [] and store.find('x') is None
    for number in 2, 3:
        store.add(kept(number), ['{}'], [])
        gevent.sleep(0.01)  # the clock of some databases counts milliseconds
    newest = store.newest(2)
    assert [run.id for run in newest] == [kept(3).id, kept(2).id]
    assert [run.id for run in store.newest(9, newest[-1])] == [kept(1).id]


def test_a_failure_changes_nothing(store: Store) -> None:
    """What cannot be written whole is not written; the same once more, after a broken connection, is written once."""
    store.add(kept(1), ['{}', '{}'], [])
    for _ in range(2):
        commit(store, 1, 0, [(0, 'a')])
    with pytest.raises(StoreRefused, match='unique'):
        commit(store, 1, 0, [(1, 'b')])
    assert store.lines(kept(1).id, 0) == ['a']
    for _ in range(2):
        commit(store, 1, 1, [(1, 'b')])
    assert store.lines(kept(1).id, 0) == ['a', 'b']
    assert commit(store, 1, 2, [], 'done') == commit(store, 1, 2, [], 'done')
    with pytest.raises(StoreRefused):
        commit(store, 1, 2, [(1, 'c')])


def test_pages_are_bounded(store: Store) -> None:
    """A page of lines is bounded in their number and in their size."""
    store.add(kept(1), ['{}'] * 3, [])
    commit(store, 1, 0, [(number, 'x' * 600_000) for number in range(3)])
    assert len(store.lines(kept(1).id, 0)) == 2
    store.add(kept(2), ['{}'], [])
    commit(store, 2, 0, [(number, 'x') for number in range(600)])
    assert len(store.lines(kept(2).id, 0)) == 500


@pytest.mark.parametrize('number', [1, 9, 10, 99, 100, 101, 110, 250])
def test_any_number_of_rows(store: Store, number: int) -> None:
    """However many results are committed, and requests kept, all are there, in their order."""
    store.add(kept(1), [f'{{"url": "/{n}"}}' for n in range(number)], [number - 1])
    expected = [(n, {'url': f'/{n}'}, n == number - 1) for n in range(number)]
    assert store.left(kept(1).id) == expected
    commit(store, 1, 0, [(n, str(n)) for n in range(0, number, 2)])
    assert store.lines(kept(1).id, 0) == [str(n) for n in range(0, number, 2)]
    assert [(n, request) for n, request, _ in store.left(kept(1).id)] == [one[:2] for one in expected[1::2]]


def test_retention(store: Store) -> None:
    """What ended long ago goes, then the oldest while all take too much room; what is under way stays."""
    for number in range(1, 7):
        store.add(kept(number), ['{}'], [])
        gevent.sleep(0.01)
        commit(store, number, 0, [(0, 'x' * 1000)], 'done' if number < 6 else 'running')
    database(store).write(
        lambda to: to.run('UPDATE runs SET finished = finished - 5000 WHERE id <= :id', {'id': kept(2).id})
    )
    assert store.sweep(4000.0, 1 << 30) == 2
    assert {run.id for run in store.newest(9)} == {kept(number).id for number in (6, 5, 4, 3)}
    assert store.sweep(1e9, 3500) == 1
    assert store.sweep(1e9, 10) == 2
    assert [run.id for run in store.newest(9)] == [kept(6).id] and store.lines(kept(5).id, 0) == []


def test_leases(tmp_path: Path) -> None:
    """Where a store is shared, a run is taken over only when its lease is over, by one; who has lost it commits nothing."""
    url = f'sqlite+pysqlite:///{tmp_path / "shared"}'
    first, second, third = (Store(open_database(url), name) for name in ('first', 'second', 'third'))

    def later(seconds: float) -> None:
        database(first).write(lambda to: to.run('UPDATE runs SET seen = seen - :seconds', {'seconds': seconds}))

    first.add(kept(1, owner='first'), ['{}'], [])
    later(15)
    assert second.adopt() == [] and first.renew([(kept(1).id, 0)]) == {kept(1).id: False}
    later(15)
    assert second.adopt() == []
    second.ask_cancel(kept(1).id)
    assert first.renew([(kept(1).id, 0)]) == {kept(1).id: True}
    commit(first, 1, 0, [(0, 'a')])
    later(25)
    assert [(run.id, run.fence) for run in second.adopt()] == [(kept(1).id, 1)]
    assert third.adopt() == [] and first.renew([(kept(1).id, 0)]) == {}
    for state in 'running', 'done':
        with pytest.raises(LeaseLost):
            commit(first, 1, 1, [], state)
    later(25)
    assert [run.fence for run in first.adopt()] == [2]
    with pytest.raises(LeaseLost):  # it has the run again, but what was begun before belongs to nobody
        commit(first, 1, 1, [])
    commit(first, 1, 1, [], 'done', fence=2)
    for store in first, second, third:
        store.close()


def test_a_store_of_an_older_release(store: Store) -> None:
    """A store without the newer columns gets them; of what was left in it, everything may have been sent."""
    store.add(kept(1), ['{}'], [])
    for column in 'fence', 'sent':
        database(store).write(lambda to, column=column: to.run(f'ALTER TABLE runs DROP COLUMN {column}'))
    again = Store(database(store), 'me')
    assert again.left(kept(1).id) == [(0, {}, True)]
    commit(again, 1, 0, [(0, 'a')], 'done')


def test_what_is_sent_next_is_recorded(store: Store) -> None:
    """A commit adds to what may have been sent, or says anew what all of it is."""
    store.add(kept(1), ['{}'] * 9, [0, 1, 2, 8])
    commit(store, 1, 0, [(1, 'a')], sent=Added([3, 4]))
    commit(store, 1, 1, [(3, 'b')], sent=Added([]))
    assert [number for number, _, sent in store.left(kept(1).id) if sent] == [0, 2, 4, 8]
    commit(store, 1, 2, [], sent=[2, 5])
    assert [number for number, _, sent in store.left(kept(1).id) if sent] == [2, 5]
    commit(store, 1, 2, [(2, 'c')], sent=Added([7]))
    assert [number for number, _, sent in store.left(kept(1).id) if sent] == [5, 7]


def test_what_was_sent_of_an_older_release(store: Store) -> None:
    """A list of numbers, as older releases wrote it, is read, and added to."""
    store.add(kept(1), ['{}'] * 6, [])
    database(store).write(lambda to: to.run("UPDATE runs SET sent = '[1, 4]'"))
    assert [number for number, _, sent in store.left(kept(1).id) if sent] == [1, 4]
    commit(store, 1, 0, [(4, 'a')], sent=Added([5]))
    assert [number for number, _, sent in store.left(kept(1).id) if sent] == [1, 5]


def test_requests_that_are_alike(store: Store) -> None:
    """What differs in host and tag only is kept together, beside others, and read as each was posted."""
    requests = [
        {'host': f'127.0.0.{n % 5 + 1}:80', 'url': '/é' if n < 450 else f'/{n}', 'tag': [n] if n % 3 else None}
        for n in range(500)
    ]
    requests[7]['body'] = requests[8]['headers'] = {'a': 'b'}
    posted = json.dumps({'requests': requests, 'timeout': 3}).encode()
    submission = read_submission(posted, 500, Allow(loopback=True))
    store.add(kept(1), kept_all(submission.items, None), [])
    left = store.left(kept(1).id)
    assert [one.number for one in left] == list(range(500))
    for item, one in zip(submission.items, left, strict=True):
        again = restored(one.number, one.request, submission.options, sent=False)
        assert (again.host, again.url, again.tag) == (item.host, item.url, item.tag) and item.url.startswith('/')
        assert item.request is not None and again.request is not None
        for part in 'host', 'method', 'url', 'payload', 'tag', 'timeout', 'headers':
            assert getattr(again.request, part) == getattr(item.request, part)
    (rows,) = database(store).read(lambda to: list(to.rows('SELECT COUNT(*) FROM requests')))
    assert rows[0] < 10


def test_requests_of_an_older_release(store: Store) -> None:
    """Requests that were written into a row each are found as well."""
    store.add(kept(1), [], [1])
    types = {'run': 'VARCHAR', 'number': 'BIGINT', 'request': 'TEXT'}
    rows = [(kept(1).id, number, f'{{"url": "/{number}"}}') for number in range(3)]
    database(store).write(lambda to: to.insert('requests', types, rows))
    commit(store, 1, 0, [(0, 'a')], sent=[1])
    assert store.left(kept(1).id) == [(1, {'url': '/1'}, True), (2, {'url': '/2'}, False)]


def test_results_of_an_older_release(store: Store) -> None:
    """Results that were written into a row each are read as well, also before those of a run that goes on."""
    store.add(kept(1), ['{}'] * 6, [])
    database(store).write(lambda to: to.run('ALTER TABLE results DROP COLUMN numbers'))
    types = {'run': 'VARCHAR', 'seq': 'BIGINT', 'number': 'BIGINT', 'line': 'TEXT'}
    rows = [(kept(1).id, 0, 4, 'e'), (kept(1).id, 1, 0, 'a')]
    database(store).write(lambda to: to.insert('results', types, rows))
    database(store).write(lambda to: to.run('UPDATE runs SET results = 2'))
    again = Store(database(store), 'me')
    commit(again, 1, 2, [(2, 'c'), (5, 'f')])
    assert [number for number, _, _ in again.left(kept(1).id)] == [1, 3]
    assert [again.lines(kept(1).id, seq) for seq in range(5)] == [list('eacf'[seq:]) for seq in range(5)]


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


@pytest.mark.parametrize(
    ('url', 'words'),
    [
        ('sqlite://', 'not a store'),
        ('sqlite:///', 'not a store'),
        ('sqlite:x', 'not a store'),
        ('nothing://', 'cannot open'),
        ('sqlite:////proc/x/y', 'cannot open'),
        ('sqlite:////', 'cannot open'),
        ('postgresql://127.0.0.1:1/x', 'cannot open'),
    ],
)
def test_stores_that_cannot_be_opened(url: str, words: str) -> None:
    """Each failure says what is wrong."""
    with pytest.raises(StoreError, match=words):
        Store(open_database(url), 'me').close()
