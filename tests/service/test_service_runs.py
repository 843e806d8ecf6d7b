"""Runs over HTTP: submitted, watched, read again, cancelled."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import gevent
import pytest

from napixclient import Client
from napixclient.cli.formats import body_of as written_body
from tests import kit
from tests.service.serving import Service, Watcher, ok, results_of


def body_of(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Answers with what was asked."""
    status = int(path[1:4]) if path[1:4].isdigit() else 200
    return (
        status,
        {'Content-Type': 'application/json'},
        json.dumps({'method': method, 'path': path, 'body': body.decode(), 'x': headers.get('x-x')}),
    )


def test_a_known_method_may_be_in_small_letters(service: Service) -> None:
    """It is sent and shown in capitals, also where many requests share it; any other is as it was written."""
    with kit.serve(body_of) as server:
        requests = [{'host': server.host, 'method': method, 'url': '/a'} for method in ('get', 'put', 'get', 'report')]
        _, results = service.run({'requests': requests, 'ordered': True})
    assert [one['method'] for one in results] == ['GET', 'PUT', 'GET', 'report']
    assert [one['body']['method'] for one in results] == ['GET', 'PUT', 'GET', 'report']


def test_a_run_is_submitted_watched_and_read_again(service: Service) -> None:
    """Every request has one result, numbered from 0, with its tag, its place and the fields of `napix --json`."""
    with kit.serve(body_of) as server:
        run, results = service.run(
            {
                'requests': [
                    {'host': server.host, 'url': '/a', 'tag': {'any': ['thing']}},
                    {
                        'host': server.host,
                        'method': 'PUT',
                        'url': '/b?x=1',
                        'headers': {'X-X': 'y'},
                        'body': {'size': 1},
                    },
                    {'host': server.host, 'method': 'POST', 'url': '/503', 'body': 'text'},
                ],
                'ordered': True,
            }
        )
    assert run['state'] == 'done' and run['results'] == 3 and run['finished'] >= run['created']
    assert run['counts'] == {
        'total': 3,
        'done': 3,
        'ok': 2,
        'failed': 1,
        'cancelled': 0,
        'interrupted': 0,
        'in_flight': 0,
    }
    assert 0 < run['latency']['p50'] <= run['latency']['p99'] < 30_000
    assert [(one['seq'], one['index'], one['status'], one['tag'], one['url']) for one in results] == [
        (0, 0, 200, {'any': ['thing']}, '/a'),
        (1, 1, 200, None, '/b?x=1'),
        (2, 2, 503, None, '/503'),
    ]
    assert results[1]['body'] == {'method': 'PUT', 'path': '/b?x=1', 'body': '{"size":1}', 'x': 'y'}
    assert results[0]['error'] is None and 0 < results[0]['ms'] <= results[0]['at'] + 1
    assert results[2]['error']['class'] == 'RemoteError' and results[2]['body']['body'] == 'text'
    assert results[2]['error']['chain'][0]['remote_call'] == f'POST http://{server.host}/503'


@pytest.mark.parametrize(
    'form',
    [
        {'request': {'method': 'POST', 'url': '/x', 'body': [1], 'tag': 7}},
        {'method': 'POST', 'url': '/x', 'body': [1], 'tag': 7},
        {'requests': [{'method': 'POST', 'url': '/x', 'body': [1], 'tag': 7}]},
    ],
)
def test_one_request_goes_to_each_host_of_a_node_set(service: Service, form: dict[str, Any]) -> None:
    """Hosts as a node set, or a list of them, with one request, are a request for each host."""
    with kit.serve(body_of, address='0.0.0.0') as server:
        _, results = service.run({'hosts': [f'127.0.0.[1-3]:{server.port}', f'127.0.0.9:{server.port}'], **form})
    assert sorted(one['host'] for one in results) == [f'127.0.0.{n}:{server.port}' for n in (1, 2, 3, 9)]
    assert {(one['method'], one['url'], one['tag'], one['body']['body']) for one in results} == {
        ('POST', '/x', 7, '[1]')
    }


def test_results_are_shown_as_they_finish(service: Service) -> None:
    """`follow=1` hands a result out while others are still under way, and ends when the run ends."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, kit.serve() as fast:
        id = service.start({'requests': [{'host': slow.host}, {'host': fast.host}]})['id']
        with Client(service.host) as client:
            answer = client.request('GET', f'/runs/{id}/results?follow=1', stream=True)
            lines = answer.iter_lines()
            assert json.loads(next(lines))['index'] == 1
            assert service.show(id)['counts']['done'] == 1
            gate.open()
            assert json.loads(next(lines))['index'] == 0
            assert list(lines) == []
        assert service.show(id)['state'] == 'done'


def test_reading_goes_on_where_it_stopped(service: Service) -> None:
    """`from=N` gives what has N or more as its number, of a run that is under way or past."""
    with kit.serve() as server:
        run, results = service.run({'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(20)]})
    assert [one['seq'] for one in results] == list(range(20))
    assert sorted(one['index'] for one in results) == list(range(20))
    assert service.results(run['id'], '?from=15') == results[15:]
    assert service.results(run['id'], '?from=20&follow=1') == []
    assert service.results(run['id'], '?from=99999999') == []


def test_a_run_is_cancelled(service: Service) -> None:
    """What is in flight is cut, what is not sent never is, and both have their result."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'hosts': server.host, 'request': {'url': '/x'}})['id']
        many = service.start({'requests': [{'host': server.host}] * 500, 'simultaneous': 1})['id']
        gate.wait_for(2)
        assert service.ask('DELETE', f'/runs/{id}').body['state'] == 'cancelled'
        shown = service.ask('DELETE', f'/runs/{many}').body
        assert shown['state'] == 'cancelled' and shown['counts']['cancelled'] == 500
        kit.wait_until(lambda: gate.in_flight == 0, 'the connections are closed')
        assert len(server.requests) == 2
    results = service.results(many)
    assert {one['state'] for one in results} == {'cancelled'} and len(results) == 500
    assert {one['error']['class'] for one in results} == {'Cancelled'}
    assert service.ask('DELETE', f'/runs/{id}').status == 200  # again, and of one that has ended


def test_need_ends_a_run_early(service: Service) -> None:
    """When `need` requests have succeeded, the others are cancelled, and the run is done."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, kit.serve() as fast:
        run, results = service.run(
            {'requests': [{'host': slow.host}, {'host': fast.host}, {'host': fast.host}], 'need': 2}
        )
    assert run['state'] == 'done' and run['counts']['ok'] == 2 and run['counts']['cancelled'] == 1
    assert [one['state'] for one in results] == ['done', 'done', 'cancelled']


@pytest.mark.timed
def test_deadline_and_timeout(service: Service) -> None:
    """The deadline is the run's, the timeout each request's; both come out as timeouts."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        began = time.monotonic()
        run, results = service.run({'requests': [{'host': server.host}] * 5, 'deadline': 0.5})
        assert run['state'] == 'done' and time.monotonic() - began < kit.limit(10)
        assert {one['error']['class'] for one in results} <= {'DeadlineExceeded', 'QueueTimeout', 'ConnectTimeout'}
        _, (result,) = service.run({'requests': [{'host': server.host}], 'timeout': 0.2})
        assert result['error']['class'] == 'DeadlineExceeded' and result['state'] == 'done'


def test_retries_are_for_what_may_be_repeated(service: Service) -> None:
    """`retries` tries an idempotent request again after 503, and a POST never."""

    def unwell(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        seen.append(method)
        return (503, {}, '') if seen.count(method) < 3 else (200, {}, 'well')

    seen: list[str] = []
    with kit.serve(unwell) as server:
        _, results = service.run(
            {
                'requests': [{'host': server.host}, {'host': server.host, 'method': 'POST'}],
                'retries': 5,
                'ordered': True,
            }
        )
    assert [(one['status'], one['attempts']) for one in results] == [(200, 3), (503, 1)]


def test_redirects_are_answers_unless_asked_for(service: Service) -> None:
    """`redirect` is false by default; where it is true, the end is the result."""

    def away(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (302, {'Location': '/there'}, '') if path == '/here' else (200, {}, path)

    with kit.serve(away) as server:
        _, (stays,) = service.run({'hosts': server.host, 'request': {'url': '/here'}})
        _, (goes,) = service.run({'hosts': server.host, 'request': {'url': '/here'}, 'redirect': True})
    assert stays['status'] == 302 and (goes['status'], goes['body']) == (200, '/there')


def test_simultaneous_is_kept(service: Service) -> None:
    """No host has more in flight than `simultaneous`."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 12, 'simultaneous': 3})['id']
        gate.wait_for(3)
        gate.open()
        assert service.follow(id)['counts']['ok'] == 12
    assert gate.peak == 3


@pytest.mark.parametrize(
    ('media', 'data', 'body'),
    [
        ('application/json', b'{"a": [1, null, 1.5]}', {'a': [1, None, 1.5]}),
        ('application/json', b'{broken', '{broken'),
        ('application/json', b'[NaN]', '[NaN]'),
        ('application/json', b'\xef\xbb\xbf{"a": 1}', {'a': 1}),
        (
            'application/json',
            b'{"Infinity": [1e400, -1e999, "-Infinity"]}',
            {'Infinity': [math.inf, -math.inf, '-Infinity']},
        ),
        ('application/json', b'9' * 5000, '9' * 5000),
        ('application/x-ndjson', b'{"a": 1}\n', '{"a": 1}\n'),
        ('application/json', b'[' * 900 + b']' * 900, None),
        ('application/json', b'"\\ud800 \\u0000"', '\ud800 \0'),
        ('text/plain', '<b>Ärger</b>'.encode(), '<b>Ärger</b>'),
        ('application/octet-stream', b'\xff\x00\x01', {'base64': '/wAB'}),
        ('text/plain', b'', None),
    ],
)
def test_bodies(service: Service, media: str, data: bytes, body: Any) -> None:
    """JSON comes as it is, text as a string, bytes in base64, nothing as null; each line is JSON that all can read."""
    with kit.serve(lambda *_: (200, {'Content-Type': media}, data)) as server:
        _, (result,) = service.run({'hosts': server.host, 'request': {}})
    assert result['status'] == 200
    assert result['body'] == body or (len(data) == 1800 and result['body'] is not None)


#: Fields and bodies of answers of which the library, the command and the service must have one idea.
FACES: list[tuple[dict[str, str], bytes]] = [
    ({'Content-Type': 'application/json'}, b'{"a": [1, 1.5]}'),
    ({'Content-Type': 'APPLICATION/JSON; Charset="utf-8"'}, b'[1]'),
    ({'Content-Type': 'application/problem+json'}, b'{"title": "x"}'),
    ({'Content-Type': 'text/json'}, b'"\xef\xbf\xbd"'),
    ({'Content-Type': 'application/x-ndjson'}, b'{"a": 1}\n'),
    ({'Content-Type': 'application/stream+json'}, b'{"a": 1}'),
    ({'Content-Type': 'application/json-seq'}, b'\x1e[1]\n'),
    ({'Content-Type': 'application/json, text/plain'}, b'[1]'),
    ({'Content-Type': 'text/plain, application/json'}, b'[1]'),
    ({'Content-Type': ''}, b'[1]'),
    ({'Content-Type': ';;,/+json'}, b'[1]'),
    ({'Content-Type': 'application/json'}, b'{broken'),
    ({'Content-Type': 'application/json'}, b'\xff\xfe[\x001\x00]\x00'),
    ({'Content-Type': 'application/json; charset=latin-1'}, b'"\xe9"'),
    ({'Content-Type': 'application/json'}, b'[\xe9'),
    ({'Content-Type': 'text/plain'}, b'\xe9'),
    ({'Content-Type': 'text/plain; charset=utf-8'}, b'\xe9'),
    ({'Content-Type': 'text/plain; charset=latin-1'}, b'\xe9'),
    ({'Content-Type': 'text/plain; charset=nonsense'}, b'abc'),
    ({'Content-Type': 'text/plain'}, b'a\0b'),
    ({'Content-Type': 'text/plain'}, b''),
    ({'Content-Type': 'application/json', 'Content-Encoding': 'klingon'}, b'[1]'),
    ({}, b'[1]'),
]


def test_bodies_are_alike_to_all(service: Service) -> None:
    """What is an object, a text or base64 to the command is so to the service; JSON to both is JSON to the library."""
    with kit.serve(lambda method, path, *_: (200, *FACES[int(path[1:])])) as server, Client(server.host) as client:
        requests = [{'host': server.host, 'url': f'/{number}'} for number in range(len(FACES))]
        _, results = service.run({'requests': requests, 'ordered': True})
        answers = [client.request('GET', one['url']) for one in requests]
    shown = [json.loads(written_body(answer)) for answer in answers]
    assert [(*FACES[one['index']], one['body']) for one in results] == [
        (*face, body) for face, body in zip(FACES, shown, strict=True)
    ]
    for answer, body in zip(answers, shown, strict=True):
        if not (isinstance(body, dict) and body.keys() == {'base64'}):
            assert answer.body == body


def test_a_body_in_a_coding(service: Service) -> None:
    """What is in a coding that is not undone comes in base64, whatever its type says."""
    with kit.serve(
        lambda *_: (200, {'Content-Type': 'application/json', 'Content-Encoding': 'klingon'}, b'[1]')
    ) as server:
        _, (result,) = service.run({'hosts': server.host, 'request': {}})
    assert (result['state'], result['body']) == ('done', {'base64': 'WzFd'})


def test_an_answer_is_bounded(service: Service) -> None:
    """A body above 1 MiB is an error, and not kept."""
    with kit.serve(lambda *_: (200, {}, b'x' * (1 << 20 | 1))) as server:
        _, (result,) = service.run({'hosts': server.host, 'request': {}})
    assert result['error']['class'] == 'BodyTooLarge' and result['body'] is None


def test_many_large_answers(service: Service) -> None:
    """Results of many megabytes are handed out whole, over every way to read them."""
    with kit.serve(lambda m, path, h, b: (200, {}, path[1:] * 100_000)) as server:
        run, results = service.run({'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(30)]})
    assert [one['seq'] for one in results] == list(range(30))
    assert all(len(one['body']) == 600_000 and one['body'][:6] == f'{one["index"]:06}' for one in results)
    watched = results_of(Watcher(service, f'/runs/{run["id"]}/ws?from=3').messages())
    assert watched == results[3:]


def test_chain_of_errors(service: Service) -> None:
    """What a server says of the servers behind it is the result's chain."""

    def failing(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (
            502,
            {'Content-Type': 'application/json'},
            {
                'error_class': 'RemoteError',
                'error_text': 'no',
                'remote_call': 'GET http://filer/x?token=abcdef',
                'remote_status': 500,
                'remote_error': {'error_class': 'ValueError', 'error_text': '<script>disk full'},
            },
        )

    with kit.serve(failing) as server:
        _, (result,) = service.run({'hosts': server.host, 'request': {}})
    chain = result['error']['chain']
    assert [(hop['error_class'], hop['status']) for hop in chain] == [('RemoteError', 502), ('ValueError', 500)]
    assert chain[1]['remote_call'] == 'GET http://filer/x?token=***'


# Events ------------------------------------------------------------------------------------------------------------------


def events_of(text: str) -> list[dict[str, str]]:
    """Server-sent events, read as HTML §9.2.6 says."""
    found = []
    for block in text.split('\n\n'):
        event = dict(line.split(': ', 1) for line in block.splitlines() if line and not line.startswith(':'))
        if 'data' in event:
            found.append(event)
    return found


def test_events(service: Service) -> None:
    """Each result is an event with its number as id; `Last-Event-ID` goes on after it; then there is nothing more."""
    with kit.serve() as server:
        run, results = service.run({'requests': [{'host': server.host}] * 5})
    path = f'/runs/{run["id"]}/events'
    answer = ok(service.ask('GET', path))
    assert answer.headers['content-type'] == 'text/event-stream'
    events = events_of(answer.text)
    told = [event for event in events if event['event'] == 'result']
    assert [event['id'] for event in told] == ['0', '1', '2', '3', '4']
    assert [json.loads(event['data']) for event in told] == results
    assert events[-1]['event'] == 'end' and json.loads(events[-1]['data'])['state'] == 'done'
    later = events_of(service.ask('GET', path, headers={'Last-Event-ID': '2'}).text)
    assert [event['id'] for event in later if event['event'] == 'result'] == ['3', '4']
    assert service.ask('GET', path, headers={'Last-Event-ID': '4'}).status == 204
    assert service.ask('GET', path, headers={'Last-Event-ID': 'x'}).status == 400


def test_events_live(service: Service) -> None:
    """Events come while the run is under way, progress among them."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, Client(service.host) as client:
        id = service.start({'requests': [{'host': server.host}] * 2})['id']
        answer = client.request('GET', f'/runs/{id}/events', stream=True)
        lines = answer.iter_lines()
        while next(lines) != 'event: progress':
            pass
        gate.wait_for(2)
        gate.open()
        rest = '\n'.join(lines)
        assert rest.count('event: result') == 2 and 'event: end' in rest


# The list ----------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first(service: Service) -> None:
    """`GET /runs` has the newest first, page by page, each run once."""
    with kit.serve() as server:
        made = [service.run({'hosts': server.host, 'request': {}})[0]['id'] for _ in range(3)]
    page = ok(service.ask('GET', '/runs?limit=2')).body
    assert [run['id'] for run in page['runs']] == made[:0:-1]
    assert page['next'] == made[1]
    further = ok(service.ask('GET', f'/runs?limit=500&before={page["next"]}')).body
    assert further['runs'][0]['id'] == made[0] and further['next'] is None


# What makes no sense -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('body', 'word'),
    [
        ('{', 'JSON'),
        ('[1]', 'object'),
        ('{"requests": [NaN]}', 'JSON'),
        ('"\\ud800', 'JSON'),
        ('[' * 100_000, 'JSON'),
        ('{"requests": [{"host": "a"}, {"host": "a", "tag": 1e400}]}', 'requests[1].tag: 1e400'),
        ('{"requests": [{"host": "a", "tag": {"a b": [0, -1e999]}}]}', "requests[0].tag['a b'][1]: -1e999"),
        ('{"requests": [{"host": "a", "body": {"n": 1E+999}}]}', 'requests[0].body.n: 1E+999'),
        ('{"requests": [{"host": "a"}], "timeout": 1e400}', 'timeout: 1e400'),
        ('{"tag": 1e400, "tag": 1}', '1e400'),
        ('{"requests": [{"host": "a", "tag": %s}]}' % ('9' * 5000), 'digits'),
        ({}, 'requests'),
        ({'requests': []}, 'requests'),
        ({'requests': [1]}, 'requests[0]'),
        ({'requests': [{}]}, 'host'),
        ({'requests': [{'host': 1}]}, 'host'),
        ({'requests': [{'host': 'a b'}]}, 'host'),
        ({'requests': [{'host': 'a', 'url': 'x'}]}, 'url'),
        ({'requests': [{'host': 'a', 'url': '/#x'}]}, 'fragment'),
        ({'requests': [{'host': 'a', 'method': 'CONNECT'}]}, 'CONNECT'),
        ({'requests': [{'host': 'a', 'method': 7}]}, 'method'),
        ({'requests': [{'host': 'a', 'body': 7}]}, 'body'),
        ({'requests': [{'host': 'a', 'body': True}]}, 'body'),
        ({'requests': [{'host': 'a', 'headers': []}]}, 'headers'),
        ({'requests': [{'host': 'a', 'headers': {'a': 1}}]}, 'headers'),
        ({'requests': [{'host': 'a', 'headers': {'a b': 'c'}}]}, 'name'),
        ({'requests': [{'host': 'a', 'other': 1}]}, 'other'),
        ({'requests': [{'host': 'a'}], 'other': 1}, 'other'),
        ({'requests': [{'host': 'a'}], 'simultaneous': 0}, 'simultaneous'),
        ({'requests': [{'host': 'a'}], 'simultaneous': True}, 'simultaneous'),
        ({'requests': [{'host': 'a'}], 'simultaneous': 'many'}, 'simultaneous'),
        ({'requests': [{'host': 'a'}], 'timeout': 0}, 'timeout'),
        ({'requests': [{'host': 'a'}], 'timeout': '5'}, 'timeout'),
        ({'requests': [{'host': 'a'}], 'deadline': -1}, 'deadline'),
        ({'requests': [{'host': 'a'}], 'retries': -1}, 'retries'),
        ({'requests': [{'host': 'a'}], 'retries': 1.5}, 'retries'),
        ({'requests': [{'host': 'a'}], 'need': 2}, 'need'),
        ({'requests': [{'host': 'a'}], 'need': 0}, 'need'),
        ({'requests': [{'host': 'a'}], 'ordered': 1}, 'ordered'),
        ({'requests': [{'host': 'a'}], 'redirect': 'no'}, 'redirect'),
        ({'hosts': 'a[', 'request': {}}, 'node set'),
        ({'hosts': '', 'request': {}}, 'hosts'),
        ({'hosts': [], 'request': {}}, 'hosts'),
        ({'hosts': 'a!a', 'request': {}}, 'empty'),
        ({'hosts': '@all', 'request': {}}, 'groups'),
        ({'hosts': 'a', 'request': {'host': 'b'}}, 'host'),
        ({'hosts': 'a[1-999999999]', 'request': {}}, 'at most'),
        ({'hosts': 'a[1-99999][1-99999]', 'request': {}}, 'at most'),
        ({'hosts': 'a[1-99999999999999999999]', 'request': {}}, 'too long'),
        ({'hosts': 'web[1_000]', 'request': {}}, '1_000'),
        ({'hosts': ',a' * 300_000, 'request': {}}, 'at most'),
        ({'hosts': f'a[1{",1" * 300_000}]', 'request': {}}, 'at most'),
        *[({'hosts': hosts, 'request': {}}, 'node set') for hosts in ('[' * 40_000, f'[{":" * 40_000}', '[1' * 20_000)],
        *[({'hosts': hosts, 'request': {}}, 'groups') for hosts in ('*', ['a', 'web?'], 'a!*', '@*')],
        ({'hosts': 'a', 'requests': [{}, {}]}, 'requests'),
        ({'hosts': 'a', 'requests': [None]}, 'request'),
        ({'hosts': 'a', 'request': None}, 'request'),
        ({'hosts': 'a', 'requests': []}, 'requests'),
        ({'hosts': 'a', 'request': 1}, 'request'),
    ],
)
def test_what_makes_no_sense_is_reported(service: Service, body: Any, word: str) -> None:
    """A submission that cannot be run is 400, with an error that names the part."""
    answer = service.ask('POST', '/runs', body, {'Content-Type': 'application/json'})
    assert answer.status == 400 and word in answer.body['error_text'], answer.body
    assert answer.body['error_class'] == 'BadRequest' and answer.body['status'] == 400
    assert answer.body['request'] == {'method': 'POST', 'path': '/runs'}


def test_paths_and_methods(service: Service) -> None:
    """404 for what is not there, 405 with `Allow` for a method that is not known, HEAD like GET without a body."""
    for path in (
        '/nothing',
        '/runs/',
        '/runs/x',
        f'/runs/{"0" * 32}',
        f'/runs/{"0" * 32}/results',
        '/runs/x/events',
        '/runs/x/ws',
    ):
        answer = service.ask('GET', path)
        assert (answer.status, answer.body['error_class']) == (404, 'NotFound')
    answer = service.ask('PUT', '/runs')
    assert answer.status == 405 and answer.headers['allow'] == 'GET, HEAD, POST'
    assert service.ask('DELETE', f'/runs/{"0" * 32}').status == 404
    head = service.ask('HEAD', '/runs')
    assert head.status == 200 and head.data == b'' and int(head.headers['content-length']) > 0
    for query in 'from=x', 'from=-1', 'follow=2':
        with kit.serve() as server:
            id = service.start({'hosts': server.host, 'request': {}})['id']
            assert service.ask('GET', f'/runs/{id}/results?{query}').status == 400
    assert service.ask('GET', '/runs?limit=0').status == 400
    assert service.ask('GET', '/runs?before=x').status == 404
    assert service.ask('POST', '/runs', '{}', {'Content-Type': 'text/plain'}).status == 415
    assert service.ask('POST', '/runs', b'{}').status == 415
    for media in 'application/x-ndjson', 'application/json-seq', 'text/plain, application/json', '+', 'json':
        assert service.ask('POST', '/runs', '{}', {'Content-Type': media}).status == 415
    for media in 'APPLICATION/JSON; charset=utf-8', 'application/vnd.example+json', 'text/json':
        assert service.ask('POST', '/runs', '{}', {'Content-Type': media}).status == 400  # read, and empty
    problem = service.ask('GET', '/nothing', headers={'Accept': 'application/problem+json'})
    assert problem.headers['content-type'] == 'application/problem+json'


def test_health_and_metrics(service: Service) -> None:
    """`/healthz` tells that it lives, `/metrics` what it has done."""
    # What tests before this one have left may still be ending.
    kit.wait_until(lambda: service.metrics()['napix_runs_under_way'] == 0)
    before = service.metrics()
    with kit.serve() as server:
        service.run({'requests': [{'host': server.host}, {'host': '127.0.0.1:1'}]})
    kit.wait_until(lambda: service.metrics()['napix_runs_under_way'] == 0)
    after = service.metrics()
    assert ok(service.ask('GET', '/healthz')).body == {'status': 'ok', 'runs': 0}
    for name in (
        'napix_runs_total{state="done"}',
        'napix_requests_total{outcome="2xx"}',
        'napix_requests_total{outcome="RefusedError"}',
        'napix_request_seconds_count',
    ):
        assert after[name] == before.get(name, 0) + 1, name
    assert after['napix_runs_under_way'] == 0


def test_metrics_of_a_status_beyond_599(service: Service) -> None:
    """A status of 600 to 999 is kept as it is, and counted as a 5xx (RFC 9110 §15)."""
    before = service.metrics()
    with kit.serve(lambda *_: (999, None, 'no')) as server:
        _, found = service.run({'requests': [{'host': server.host}]})
    assert [result['status'] for result in found] == [999]
    name = 'napix_requests_total{outcome="5xx"}'
    assert service.metrics()[name] == before.get(name, 0) + 1


def test_a_watcher_that_leaves_is_forgotten(service: Service) -> None:
    """Who follows a run and goes away costs nothing, and the run goes on."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'hosts': server.host, 'request': {}})['id']
        for path in 'results?follow=1', 'events':
            sock = service.raw(f'GET /runs/{id}/{path} HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode())
            assert sock.recv(10)
            sock.close()
        gevent.sleep(0)
        gate.open()
        assert service.follow(id)['counts']['ok'] == 1
