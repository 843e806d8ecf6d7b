"""Runs are asked again, listed, forgotten, and downloaded as CSV."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import string
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napixclient import Client
from napixclient.allow import Allow
from napixclient.service.again import Given, request_of
from napixclient.service.csv_form import COLUMNS, row_of
from napixclient.service.database import open_database
from napixclient.service.rows import Kept, read_requests, rows_of
from napixclient.service.store import Store
from napixclient.service.submission import kept_all, read_submission, submission_of
from tests import kit
from tests.chaos.postgres import PostgreSQL
from tests.service.serving import LONG, Service, ok, serving

JSON = {'Content-Type': 'application/json'}


class Moody:
    """Answers 503 where the path is among those that are down; notes what it is asked."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], str]:
        """The application."""
        self.asked.append((method, path, {name.lower(): value for name, value in headers.items()}, body))
        return (503 if path.partition('?')[0] in self.down else 200), {'Content-Type': 'text/plain'}, f'this is {path}'


def again(service: Service, id: str, body: Any = None) -> Any:
    """Ask again what has not succeeded."""
    return service.ask('POST', f'/runs/{id}/again', body, None if body is None else JSON)


# Asking again -----------------------------------------------------------------------------------------------------------


def test_only_what_has_not_succeeded_is_asked_again(service: Service) -> None:
    """Failed and cancelled requests are asked as they were, with the options of the run; each of the two names the other."""
    moody = Moody()
    moody.down = {'/1', '/3'}
    with kit.serve(moody) as server:
        requests = [
            {
                'host': server.host,
                'method': 'PUT',
                'url': f'/{n}',
                'tag': {'n': n},
                'headers': {'X-Number': str(n)},
                'body': {'n': n, 'large': 12345678901234567890},
            }
            for n in range(5)
        ]
        requests.append({'host': '127.0.0.1:1', 'method': 'PUT', 'url': '/5', 'tag': None, 'body': 'text'})
        options = {'timeout': 7.5, 'retries': 1, 'ordered': True, 'simultaneous': 3, 'deadline': 60}
        first, _ = service.run({'requests': requests, **options})
        assert (first['outcome'], first['counts']['failed'], first['parent'], first['again']) == (
            'done_with_failures',
            3,
            None,
            None,
        )
        left = ok(service.ask('GET', f'/runs/{first["id"]}/again')).body
        assert left == {
            'run': None,
            'requests': 3,
            'doubtful': 0,
            'wants': {'headers': [], 'parameters': [], 'body': False},
        }
        moody.asked.clear()
        moody.down = {'/3'}
        answer = again(service, first['id'])
        assert (answer.status, answer.headers['location']) == (201, f'/runs/{answer.body["id"]}')
        second = service.follow(answer.body['id'])
        asked = [(method, path, fields['x-number'], json.loads(body)) for method, path, fields, body in moody.asked]
        assert sorted(asked, key=itemgetter(1)) == [
            ('PUT', path, path[1:], {'n': int(path[1:]), 'large': 12345678901234567890})
            for path in ('/1', *['/3'] * 2)  # which is retried
        ]
        assert {name: second[name] for name in options} == options
        assert (second['parent'], second['counts']['total'], second['counts']['ok']) == (first['id'], 3, 1)
        assert [one['tag'] for one in service.results(second['id'])] == [{'n': 1}, {'n': 3}, None]
        assert service.show(first['id'])['again'] == second['id']
        [listed] = [run for run in service.ask('GET', '/runs').body['runs'] if run['id'] == first['id']]
        assert listed['again'] == second['id']
        third = service.follow(again(service, second['id']).body['id'])  # of a run that asks again, and so on
        assert (third['parent'], third['counts']['total']) == (second['id'], 2)


def test_to_ask_twice_makes_one_run(service: Service) -> None:
    """However many ask at a time, and whenever, one new run is made, and all are told which; also when none could be taken."""
    moody = Moody()
    moody.down = {'/'}
    with kit.serve(moody) as server:
        id = service.run({'requests': [{'host': server.host}] * 300})[0]['id']
        moody.asked.clear()
        answers = [one.get(timeout=LONG) for one in [gevent.spawn(again, service, id) for _ in range(8)]]
        assert len({answer.body['id'] for answer in answers}) == 1
        assert Counter(answer.status for answer in answers) == {201: 1, 200: 7}
        child = service.follow(answers[0].body['id'])
        assert len(moody.asked) == 300 == child['counts']['failed']
        late = again(service, id)
        assert (late.status, late.body['id'], late.headers['location']) == (200, child['id'], f'/runs/{child["id"]}')
        assert service.ask('DELETE', f'/runs/{child["id"]}?forget=1').status == 204
        assert again(service, id).status == 201  # of one that is forgotten nobody knows


def test_a_run_without_failures_or_under_way_is_not_asked_again(service: Service) -> None:
    """There is nothing to ask, or not yet: 409, and the text says which; no such run is 404."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}]})['id']
        gate.wait_for(1)
        for method in 'GET', 'POST':
            answer = service.ask(method, f'/runs/{id}/again')
            assert answer.status == 409 and 'under way' in answer.body['error_text']
        gate.open()
        service.follow(id)
    answer = again(service, id)
    assert answer.status == 409 and 'all requests of the run have succeeded' in answer.body['error_text']
    for path in '0' * 32, 'x':
        assert again(service, path).status == 404


def test_cancelled_and_interrupted_requests_are_asked_again(tmp_path: Path) -> None:
    """What was cut off or never sent is asked again; a POST of which nobody knows what became is told of."""
    gate = kit.Gate()
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        first = Service(tmp_path / 'runs')
        id = first.start(
            {'requests': [{'host': f'127.0.0.{n}:{server.port}', 'method': 'POST', 'body': {'n': n}} for n in (1, 2)]}
        )['id']
        gate.wait_for(2)
        first.kill()
        with serving(tmp_path / 'runs') as second:
            run = second.follow(id)
            assert (run['outcome'], run['counts']['interrupted']) == ('interrupted', 2)
            left = ok(second.ask('GET', f'/runs/{id}/again')).body
            assert (left['requests'], left['doubtful']) == (2, 2)
            child = again(second, id).body['id']
            held = gate.wait_for(2)
            assert {json.loads(one.body)['n'] for one in held} == {1, 2}
            assert ok(second.ask('DELETE', f'/runs/{child}')).body['outcome'] == 'cancelled'
            gate.open()
            last = second.follow(again(second, child).body['id'])
            assert (last['outcome'], last['counts']['ok']) == ('done', 2)


def test_need_is_what_is_missing_of_it(service: Service) -> None:
    """A run that needed three and had one needs two more; where it had enough, those it dropped are all asked."""
    moody = Moody()
    moody.down = {f'/{n}' for n in range(1, 6)}
    with kit.serve(moody) as server:
        requests = [{'host': server.host, 'url': f'/{n}'} for n in range(6)]
        run, _ = service.run({'requests': requests, 'need': 3})
        assert run['counts']['ok'] == 1
        moody.down = set()
        more = service.follow(again(service, run['id']).body['id'])
        assert more['need'] == 2 and more['counts']['ok'] >= 2
        rest = service.follow(again(service, more['id']).body['id'])
        assert (rest['need'], rest['outcome']) == (None, 'done')


def test_secrets_are_asked_for_and_everything_else_is_kept(tmp_path: Path) -> None:
    """Where credentials are not kept they have to be given, those and no others; the rest of the request is as it was."""
    moody = Moody()
    moody.down = {'/a', '/b'}
    with kit.serve(moody) as server, serving(tmp_path / 'runs') as service:
        secret = {'Authorization': 'Bearer s3cr3t-one', 'X-Plain': 'stays'}
        requests = [
            {
                'host': server.host,
                'method': 'PUT',
                'url': '/a?x=1&token=s3cr3t-two',
                'headers': secret,
                'body': {'n': 1},
            },
            {'host': server.host, 'method': 'PUT', 'url': '/b', 'body': {'password': 's3cr3t-three', 'n': 2}},
            {'host': server.host, 'method': 'PUT', 'url': '/b?plain', 'body': 'plain'},
        ]
        id = service.run({'requests': requests})[0]['id']
        assert ok(service.ask('GET', f'/runs/{id}/again')).body['wants'] == {
            'headers': ['Authorization'],
            'parameters': ['token'],
            'body': True,
        }
        good = {'headers': {'authorization': 'Bearer new'}, 'parameters': {'token': 'n&w'}, 'body': {'password': 'new'}}
        for wrong, status, text in [
            (None, 409, 'headers: Authorization is missing'),
            ({**good, 'parameters': {}}, 409, 'parameters: token is missing'),
            ({**good, 'body': None}, 409, 'body: it is missing'),
            ({**good, 'headers': {**good['headers'], 'X-More': '1'}}, 409, 'headers: x-more is none that is missing'),
            ({**good, 'headers': {'Authorization': 'a\nb'}}, 400, 'requests[0]'),
            ({**good, 'url': '/'}, 400, "'url' is not known"),
            ({**good, 'headers': {'Authorization': 1}}, 400, 'headers: an object of texts'),
            ([], 400, 'the body'),
        ]:
            answer = again(service, id, wrong)
            assert answer.status == status and text in answer.body['error_text'], (wrong, answer.body)
        moody.asked.clear()
        answer = again(service, id, good)
        assert answer.status == 201, answer.body
        service.follow(answer.body['id'])
        found = {
            path: (fields.get('authorization'), fields.get('x-plain'), body) for _, path, fields, body in moody.asked
        }
        assert found == {
            '/a?x=1&token=n%26w': ('Bearer new', 'stays', b'{"n":1}'),
            '/b': (None, None, b'{"password":"new"}'),
            '/b?plain': (None, None, b'plain'),
        }
        assert again(service, id).status == 200  # no secret is needed to be told which run that is
    kept = b''.join(path.read_bytes() for path in tmp_path.iterdir())
    assert b's3cr3t' not in kept and b'Bearer new' not in kept


WORDS = st.text(alphabet='abcXYZ019-_é&= "\\', min_size=1, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.sampled_from(['password', 'key']), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(['Accept', 'X-Plain', 'Authorization', 'Cookie', 'X-Api-Key', 'x-trace'])
PRINTABLE = st.text(alphabet=string.ascii_letters + string.digits + '=/+;., ', min_size=1, max_size=20).map(str.strip)


@settings(max_examples=200, deadline=None)
@given(
    headers=st.dictionaries(NAMES, PRINTABLE, max_size=4),
    parameters=st.lists(
        st.tuples(st.sampled_from(['a', 'token', 'api_key', 'q']), WORDS), max_size=3, unique_by=itemgetter(0)
    ),
    body=st.none() | WORDS | st.dictionaries(WORDS | st.sampled_from(['password', 'pin']), VALUES, max_size=3),
    tag=VALUES,
)
def test_what_is_asked_again_is_what_was_asked(
    headers: dict[str, str], parameters: list[tuple[str, str]], body: Any, tag: Any
) -> None:
    """What the store keeps of a request, with the secrets that are wanted, is the same request; no secret field is kept."""
    given = {
        'host': 'localhost:1',
        'method': 'PUT',
        'url': f'/x?{urlencode(parameters)}',
        'headers': headers,
        'body': body,
    }
    allow = Allow((), loopback=True)
    first = read_submission(json.dumps({'requests': [{**given, 'tag': tag}]}).encode(), 1, allow)
    [(_, row)] = rows_of(kept_all(first.items, first.secrets or None))
    [kept] = read_requests(row)
    if 'headers' not in kept:
        wants = kept['wants']
        if wants['url']:
            return  # a value that stands in the path, too: such a request is not asked again
        assert not {'authorization', 'cookie', 'x-api-key'} & {name.lower() for name in kept['kept']['headers']}
        secret = Given(
            {name.lower(): headers[name] for name in wants['headers']},
            {name: value for name, value in parameters if name in wants['parameters']},
            body if wants['body'] else None,
        )
    else:
        secret = Given({}, {}, None)
    second = submission_of({'requests': [request_of(kept, secret)]}, 1, allow)
    one, two = first.items[0].request, second.items[0].request
    assert one is not None and two is not None
    assert (one.method, one.payload) == (two.method, two.payload)
    assert sorted(one.headers.multi_items()) == sorted(two.headers.multi_items())
    assert parse_qsl(one.url.partition('?')[2]) == parse_qsl(two.url.partition('?')[2])


def test_requests_are_kept_for_as_long_as_they_can_be_asked_again(tmp_path: Path) -> None:
    """Of a run that has all it asked for the store forgets the requests; of another with the run."""
    moody = Moody()
    moody.down = {'/1'}
    with kit.serve(moody) as server, serving(tmp_path / 'runs') as service:
        good, _ = service.run({'requests': [{'host': server.host, 'body': 'x'}]})
        bad, _ = service.run({'requests': [{'host': server.host, 'url': f'/{n}', 'body': 'x'} for n in range(2)]})
        with sqlite3.connect(tmp_path / 'runs') as store:
            count = lambda: [row[0] for row in store.execute('SELECT DISTINCT run FROM requests')]  # noqa: E731
            assert count() == [bad['id']]
            assert service.ask('DELETE', f'/runs/{bad["id"]}?forget=true').status == 204
            assert count() == []
        assert ok(service.ask('GET', f'/runs/{good["id"]}/requests')).body == {'requests': []}


def test_a_store_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    """Columns and indexes that it lacks are added; its runs are shown, and cannot be asked again: 409 says why."""
    path = tmp_path / 'runs'
    with kit.serve(lambda *asked: (500, {}, '')) as server, serving(path) as service:
        id = service.run({'requests': [{'host': server.host}]})[0]['id']
    with sqlite3.connect(path) as store:
        store.execute('DROP INDEX runs_parent')
        store.execute('ALTER TABLE runs DROP COLUMN parent')
        store.execute('DELETE FROM requests')
    with serving(path) as service:
        assert service.show(id)['outcome'] == 'failed'
        answer = again(service, id)
        assert answer.status == 409 and 'not kept' in answer.body['error_text']


def test_instances_that_share_a_store_make_one_run(postgres: PostgreSQL) -> None:
    """Whichever instance is asked, and at the same time, there is one new run; both list, filter and forget the runs of all."""
    moody = Moody()
    moody.down = {'/Down_1'}
    url = postgres.create('again')
    with kit.serve(moody) as server, serving(url) as first, serving(url) as second:
        requests = [{'host': server.host, 'url': path} for path in ('/', '/Down_1')]
        run, _ = first.run({'requests': requests})
        asked = [gevent.spawn(again, service, run['id']) for service in (first, second) * 4]
        answers = [one.get(timeout=LONG) for one in asked]
        assert len({answer.body['id'] for answer in answers}) == 1
        assert Counter(answer.status for answer in answers) == {201: 1, 200: 7}
        child = answers[0].body['id']
        kit.wait_until(lambda: second.show(child)['outcome'] == 'failed', 'the run ends', LONG)
        for service in first, second:
            for query, expected in {
                'outcome=failed': [child],
                'outcome=done_with_failures&text=get': [run['id']],
                'text=down_1': [child],
                'text=down%25': [],
                f'text={run["id"]}': [run['id']],
                'text=%00%C3%A9': [],
            }.items():
                found = ok(service.ask('GET', f'/runs?{query}')).body['runs']
                assert [one['id'] for one in found] == expected, query
        assert second.ask('DELETE', f'/runs/{child}?forget=1').status == 204
        assert first.ask('GET', f'/runs/{child}').status == 404


# The list ---------------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_by_outcome_state_and_words(tmp_path: Path) -> None:
    """Each run is found by how it ended and by what it asks, in any case, and by no other; pages go on where they end."""
    moody = Moody()
    moody.down = {'/down'}
    gate = kit.Gate()
    with kit.serve(moody) as server, kit.serve(gate=gate) as slow, serving(tmp_path / 'runs') as service:
        ids = {}
        for name, urls in {'done': ['/Fine_100%'], 'done_with_failures': ['/', '/down'], 'failed': ['/down']}.items():
            ids[name] = service.run({'requests': [{'host': server.host, 'url': url} for url in urls]})[0]['id']
        ids['cancelled'] = service.start({'requests': [{'host': slow.host, 'method': 'PUT'}]})['id']
        gate.wait_for(1)
        service.ask('DELETE', f'/runs/{ids["cancelled"]}')
        ids['running'] = service.start({'requests': [{'host': slow.host}]})['id']

        def find(**query: str) -> set[str]:
            answer = ok(service.ask('GET', '/runs', params=query))
            assert answer.body['next'] is None
            return {name for run in answer.body['runs'] for name in ids if ids[name] == run['id']}

        for name in ids:
            assert find(outcome=name) == {name}
        assert find(state='done') == {'done', 'done_with_failures', 'failed'}
        assert find(state='done', outcome='failed,cancelled') == {'failed'}
        assert find(outcome='failed,cancelled,interrupted') == {'failed', 'cancelled'}
        assert find(state='cancelled', outcome='done') == set()
        assert find(text='PUT') == {'cancelled'} == find(text=f' put   {slow.host} ')
        assert find(text='fine_100%') == {'done'} and find(text='fine_100_') == set()
        assert find(text='"buckets') == find(text='buckets') == find(text='\x00') == find(text='😀') == set()
        assert find(text=ids['running'][:12]) == {'running'}
        assert find(text='down', outcome='failed') == {'failed'} and find() == set(ids)
        for query in 'state=x', 'outcome=well', f'text={"x" * 201}':
            assert service.ask('GET', f'/runs?{query}').status == 400
        page = ok(service.ask('GET', '/runs?outcome=done,failed&limit=1')).body
        assert [run['id'] for run in page['runs']] == [ids['failed']] == [page['next']]
        page = ok(service.ask('GET', f'/runs?outcome=done,failed&limit=1&before={page["next"]}')).body
        assert ([run['id'] for run in page['runs']], page['next']) == ([ids['done']], None)
        gate.open()


def test_a_run_is_found_behind_many_others(tmp_path: Path) -> None:
    """A filter looks through all runs, and not only through the newest."""
    store = Store(open_database(f'sqlite:///{tmp_path / "runs"}'), 'me')
    for number in range(450):
        summary = {
            'about': {'method': 'GET', 'url': f'/{number}', 'host': 'web1', 'hosts': 1},
            'counts': dict.fromkeys(('total', 'done', 'failed'), 1)
            | dict.fromkeys(('ok', 'cancelled', 'interrupted', 'in_flight'), 0)
            | ({'ok': 1, 'failed': 0} if number == 3 else {}),
            'buckets': {},
        }
        options = {'simultaneous': 2, 'timeout': None, 'deadline': None, 'retries': 0, 'need': None}
        kept = Kept(f'{number:032x}', 0.0, None, 'running', 'me', False, options, summary, 0)
        store.add(kept, ['{}'], [0])
        store.commit(kept.id, 0, 0, [], summary, [], 'done')
    store.close()
    with serving(tmp_path / 'runs') as service:
        runs = ok(service.ask('GET', '/runs?outcome=done')).body['runs']
        assert [run['about']['url'] for run in runs] == ['/3']
        assert len(ok(service.ask('GET', '/runs?outcome=failed&limit=500')).body['runs']) == 449


# Forgetting -------------------------------------------------------------------------------------------------------------


def test_a_run_is_forgotten_when_it_has_ended(service: Service) -> None:
    """One under way is not: 409 says what to do. One that has ended is gone, with its results; others stay."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        other = service.start({'requests': [{'host': server.host}]})['id']
        id = service.start({'requests': [{'host': server.host}]})['id']
        gate.wait_for(2)
        answer = service.ask('DELETE', f'/runs/{id}?forget=1')
        assert answer.status == 409 and 'cancel it first' in answer.body['error_text']
        assert service.show(id)['state'] == 'running'
        assert service.ask('DELETE', f'/runs/{id}?forget=2').status == 400
        service.ask('DELETE', f'/runs/{id}')
        answer = service.ask('DELETE', f'/runs/{id}?forget=1')
        assert (answer.status, answer.data) == (204, b'')
        for path in '', '/results', '/requests', '/again', '/events':
            assert service.ask('GET', f'/runs/{id}{path}').status == 404
        assert service.ask('DELETE', f'/runs/{id}?forget=1').status == 404
        assert service.ask('DELETE', '/runs/x?forget=1').status == 404
        gate.open()
        assert service.follow(other)['outcome'] == 'done'


# CSV --------------------------------------------------------------------------------------------------------------------

EVIL = ('=1+1', '+1+1', '-1+1', '@SUM(A1)', '\t=1', ' =1', '\uff1d1', '\r\n=1', '=cmd|" /C calc"!A0', '"=1', "'=1", '-')


def table(answer: Any) -> list[dict[str, str]]:
    """The lines of a table."""
    assert answer.headers['content-type'] == 'text/csv; charset=utf-8; header=present'
    return list(csv.DictReader(io.StringIO(answer.data.decode(), newline='')))


def test_results_are_downloaded_as_csv(service: Service) -> None:
    """Asked for by media type or parameter, each result is a line with all that it has; the name of the file is the run's."""
    bodies = ['text, with "all"\nof it', '{"n": 1.10, "big": 12345678901234567890}', '-5', 'null', 'é☃', '']

    def app(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], str]:
        text = bodies[int(path[1:])]
        return 200, {'Content-Type': 'application/json' if text[:1] in '{-n' else 'text/plain; charset=utf-8'}, text

    with kit.serve(app) as server:
        requests: list[dict[str, Any]] = [
            {'host': server.host, 'url': f'/{n}', 'tag': {'n': n}} for n in range(len(bodies))
        ]
        requests.append({'host': '127.0.0.1:1', 'tag': 'none'})
        run, results = service.run({'requests': requests, 'ordered': True})
    answer = ok(service.ask('GET', f'/runs/{run["id"]}/results?format=csv'))
    assert answer.headers['content-disposition'] == f'attachment; filename="napix-{run["id"]}.csv"'
    assert ok(service.ask('GET', f'/runs/{run["id"]}/results', None, {'Accept': 'text/csv'})).data == answer.data
    cells = table(answer)
    assert tuple(cells[0]) == COLUMNS
    assert [row['body'] for row in cells] == [
        bodies[0],
        '{"n": 1.10, "big": 12345678901234567890}',
        '-5',
        '',
        'é☃',
        '',
        '',
    ]
    for row, result in zip(cells, results, strict=True):
        assert (row['host'], row['state'], row['url']) == (result['host'], result['state'], result['url'])
        assert (int(row['seq']), float(row['ms']), int(row['attempts'])) == tuple(
            result[name] for name in ('seq', 'ms', 'attempts')
        )
    assert json.loads(cells[2]['tag']) == {'n': 2} and cells[-1]['tag'] == 'none'
    assert (cells[-1]['status'], cells[-1]['error_class']) == ('', results[-1]['error']['class'])
    assert len(table(ok(service.ask('GET', f'/runs/{run["id"]}/results?format=csv&from=5')))) == 2
    assert ok(service.ask('GET', f'/runs/{run["id"]}/results?format=csv&follow=1')).data == answer.data
    assert service.ask('GET', f'/runs/{run["id"]}/results?format=xls').status == 400
    for accept, media in {
        'text/csv;q=0.5, application/x-ndjson': 'application/x-ndjson',
        'text/csv, */*;q=0.1': 'text/csv',
        'text/html, text/csv;q=0.9, */*;q=0.8': 'text/csv',
        'text/csv;q=0': 'application/x-ndjson',
        '*/*': 'application/x-ndjson',
        'text/csv;q=x': 'text/csv',
    }.items():
        found = service.ask('GET', f'/runs/{run["id"]}/results', None, {'Accept': accept})
        assert found.headers['content-type'].partition(';')[0] == media, accept
    assert (
        service.ask('GET', f'/runs/{run["id"]}/results?format=ndjson')
        .headers['content-disposition']
        .endswith('ndjson"')
    )
    head = service.ask('HEAD', f'/runs/{run["id"]}/results?format=csv')
    assert (head.status, head.data) == (200, b'')


def test_no_cell_is_a_formula(service: Service) -> None:
    """Whatever a server or a caller says, no cell begins with what a spreadsheet computes; nothing of it is lost."""
    with kit.serve(lambda *asked: (200, {'Content-Type': 'text/plain'}, asked[3])) as server:
        requests = [{'host': server.host, 'method': 'POST', 'body': text, 'tag': text} for text in EVIL]
        run, _ = service.run({'requests': requests, 'ordered': True})
    found = table(ok(service.ask('GET', f'/runs/{run["id"]}/results?format=csv')))
    for row, text in zip(found, EVIL, strict=True):
        for cell in row['tag'], row['body']:
            assert cell.lstrip()[:1] not in ('=', '+', '-', '@', '\uff1d') and cell.endswith(text), cell


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_a_cell_says_what_the_result_says(body: Any) -> None:
    """A text is the text, anything else its JSON, with an apostrophe at most before it."""
    line = json.dumps({'seq': 1, 'tag': None, 'status': 200, 'body': body, 'error': None}, separators=(',', ':'))
    cell = row_of(line)[COLUMNS.index('body')]
    expected = '' if body is None else body if isinstance(body, str) else json.dumps(body, separators=(',', ':'))
    assert cell in (expected, f"'{expected}")


def test_ten_thousand_results_are_streamed(service: Service) -> None:
    """They come in pieces, each line once and in sequence, and others are served meanwhile."""
    with kit.serve(lambda *asked: (200, {'Content-Type': 'text/plain'}, 'x' * 300)) as server:
        run, _ = service.run({'requests': [{'host': server.host}] * 10_000, 'simultaneous': 50})
    for form in 'csv', 'ndjson':
        with Client(service.host, timeout=LONG) as client:
            answer = client.request('GET', f'/runs/{run["id"]}/results?format={form}', stream=True)
            pieces = answer.iter_bytes()
            data = [next(pieces)]
            assert service.ask('GET', '/healthz').status == 200
            data += pieces
        assert len(data) > 10 and 'content-length' not in answer.headers
        text = b''.join(data).decode()
        if form == 'csv':
            seqs = [int(row['seq']) for row in csv.DictReader(io.StringIO(text, newline=''))]
        else:
            seqs = [json.loads(row)['seq'] for row in text.splitlines()]
        assert seqs == list(range(10_000))


@pytest.mark.parametrize('query', ['', 'token=s3cret%2B&'])
def test_a_download_wants_the_token(tmp_path: Path, query: str) -> None:
    """As everything else does; in the query too, as a browser's download has no other place for it."""
    with kit.serve() as server, serving(tmp_path / 'runs', '--token', 's3cret+') as service:
        body = {'requests': [{'host': server.host}]}
        id = service.ask('POST', '/runs', body, {**JSON, 'Authorization': 'Bearer s3cret+'}).body['id']
        answer = service.ask('GET', f'/runs/{id}/results?{query}format=csv')
        assert answer.status == (200 if query else 401)
        assert not any('s3cret' in json.dumps(one) for one in service.log[1:] if '--token' not in json.dumps(one))
