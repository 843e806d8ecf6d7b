"""Servers that ask servers: the story of a failure, what travels with a call, and what must not."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any
from urllib.parse import quote

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from urllib3 import Retry

from napixclient import Client, ClientPool, DeadlineExceeded, HTTPError, Request
from napixclient.authenticators import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from napixclient.wsgi import ExceptionsCatcher
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_wsgi import App, Environ, Programs, says, served

FULL = '2,000,000,000 bytes were asked for, 1,000,000,000 are free'
DISK_FULL = {'error_class': 'DiskFull', 'error_text': 'no room'}


class DiskFull(Exception):
    """There is no room."""


# The story ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=['pywsgi', 'gunicorn'])
def front(request: pytest.FixtureRequest) -> Iterator[str]:
    """Three processes in a row, Flask, Bottle and bare WSGI, on gevent's server or in gunicorn's gevent workers."""
    with Programs() as programs:
        yield programs.row(request.param)


def ports_and_times_aside(text: str) -> str:
    """What differs from run to run, replaced."""
    return re.sub(r'after [0-9.]+ m?s', 'after a while', re.sub(r'127\.0\.0\.1:\d+', 'host', text))


def test_three_servers_in_a_row(front: str) -> None:
    """The caller's chain has three hops, and the root is what the last one raised."""
    with Client(front, timeout=20) as client:
        error = failure(client, 'POST', '/vms/', {'size': 2 * 10**9})
    assert [(hop.status, ports_and_times_aside(hop.remote_call or ''), hop.error_class) for hop in error.chain] == [
        (502, 'POST http://host/vms/', 'RemoteError'),
        (502, 'POST http://host/volumes/', 'RemoteError'),
        (500, 'POST http://host/room/', 'DiskFull'),
    ]
    assert (error.status, error.root.status, error.root.error_class, error.root.error_text) == (
        502,
        500,
        'DiskFull',
        FULL,
    )
    first, second, third = (hop.elapsed for hop in error.chain)
    assert first is not None and second is not None and third is not None and first > second > third > 0
    assert all(hop.traceback is None for hop in error.chain)


def test_the_story_as_it_is_printed(front: str) -> None:
    """A line for each call, the nearest first, the root cause last, and no line that repeats another."""
    with Client(front, timeout=20) as client:
        error = failure(client, 'POST', '/vms/', {'size': 2 * 10**9})
    assert (
        ports_and_times_aside(str(error))
        == f"""\
POST http://host/vms/: "502 Bad Gateway" DiskFull: {FULL}
  because POST http://host/volumes/ answered 502 after a while
    because POST http://host/room/ answered 500 after a while: DiskFull: {FULL}"""
    )


def test_the_row_answers_well_too(front: str) -> None:
    """What does not fail goes through all three."""
    with Client(front, timeout=20) as client:
        answer = client.request('POST', '/vms/', {'size': 1})
    assert (answer.status, answer.body) == (201, {'vm': 'vm17', 'volume': 'volume17'})


class Row:
    """Servers in a row in this process; the last one raises. `met` has what each of the others met."""

    def __init__(self, length: int, catchers: Callable[[int, App], App]) -> None:
        self.met: dict[int, HTTPError] = {}
        self.ran: list[int] = []
        self.hosts: list[str] = []
        self._stack = contextlib.ExitStack()
        for number in reversed(range(length)):
            app = catchers(number, self._app(number, length))
            self.hosts.insert(0, self._stack.enter_context(served(app)))

    def _app(self, number: int, length: int) -> App:
        def view(environ: Environ) -> Any:
            self.ran.append(number)
            if number == length - 1:
                raise DiskFull('no room')
            with Client(self.hosts[number + 1]) as client:
                self.met[number] = failure(client, 'GET', f'/{number + 1}')
                raise self.met[number]

        return says(view)

    def __enter__(self) -> Row:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ask(self) -> HTTPError:
        """What a caller of the first one meets."""
        with Client(self.hosts[0]) as client:
            return failure(client, 'GET', '/0')


@pytest.mark.parametrize('only', range(3))
def test_only_one_server_uses_the_middleware(only: int) -> None:
    """Who asks it reads all that it knows; the others answer as they would without it."""
    with Row(3, lambda number, app: ExceptionsCatcher(app) if number == only else app) as row:
        error = row.ask()
    assert error.root.error_class in ('RemoteError', None) and str(error)
    if only == 2:
        assert [hop.error_class for hop in row.met[1].chain] == ['DiskFull']
        assert [hop.error_text for hop in row.met[0].chain] == ['"500 Internal Server Error" Internal Server Error']
    else:
        told = error if only == 0 else row.met[0]
        assert [hop.status for hop in told.chain] == [502, 500]
        assert told.chain[1].remote_call == f'GET http://{row.hosts[only + 1]}/{only + 1}'
        assert told.root.error_text == '"500 Internal Server Error" Internal Server Error'
    statuses = [error.status, row.met[0].status, row.met[1].status]
    assert statuses == [502 if only == number < 2 else 500 for number in range(3)]


def test_a_document_of_the_seed_nested_four_deep() -> None:
    """What a napixd sends is read: every call, and the root with its traceback."""
    document: dict[str, Any] = {
        'error_class': 'ValueError',
        'error_text': 'boom',
        'request': {'path': '/boom/', 'method': 'GET'},
        'filename': 'boom.py',
        'line': 5,
        'traceback': [{'filename': 'boom.py', 'line': 5, 'in': 'list_resource', 'call': "raise ValueError('boom')"}],
    }
    for name in 'cba':
        document = {
            'error_class': 'HTTPError',
            'error_text': f'{name} failed',
            'request': {'path': '/', 'method': 'GET'},
            'filename': 'client.py',
            'line': 9,
            'traceback': [],
            'remote_call': f'GET http://{name}.example/boom/',
            'remote_error': document,
        }
    with kit.serve(lambda *request: (500, {}, document)) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/')
    assert [hop.remote_call for hop in error.chain[1:]] == [f'GET http://{name}.example/boom/' for name in 'abc']
    assert error.root == (
        'GET http://c.example/boom/',
        None,
        'ValueError',
        'boom',
        None,
        document_root(document)['traceback'],
    )
    assert str(error).splitlines()[-3:] == [
        '      because GET http://c.example/boom/ failed: ValueError: boom',
        '        File "boom.py", line 5, in list_resource',
        "          raise ValueError('boom')",
    ]


def document_root(document: Any) -> Any:
    """The last of a chain, as a client finds it that knows `remote_call` and `remote_error` only."""
    while isinstance(document, dict) and 'remote_error' in document:
        document = document['remote_error']
    return document


def test_an_old_client_reads_ours() -> None:
    """`remote_call` and `remote_error` are all that it needs to know."""
    with Row(4, lambda number, app: ExceptionsCatcher(app)) as row:
        document = row.ask().remote_error
        assert document_root(document)['error_class'] == 'DiskFull'
        calls = []
        while 'remote_call' in document:
            calls.append(document['remote_call'])
            document = document['remote_error']
        assert calls == [f'GET http://{row.hosts[number]}/{number}' for number in (1, 2, 3)]


def test_tracebacks_of_the_whole_row() -> None:
    """They travel where every server gives leave, and are printed for the root."""
    with Row(3, lambda number, app: ExceptionsCatcher(app, expose_traceback=True)) as row:
        error = row.ask()
    assert all(hop.traceback for hop in error.chain)
    assert str(error).splitlines()[-1].strip() == "raise DiskFull('no room')"
    with Row(3, lambda number, app: ExceptionsCatcher(app, expose_traceback=number != 0)) as row:
        assert all(hop.traceback is None for hop in row.ask().chain)


@contextlib.contextmanager
def middle(host: str, catcher: Callable[[App], App] = ExceptionsCatcher, **options: Any) -> Iterator[Client]:
    """A client of a server that asks this one."""
    with (
        Client(host, **options) as behind,
        served(catcher(says(lambda environ: behind.request('GET', '/behind').body))) as ours,
        Client(ours) as client,
    ):
        yield client


def deep(document: Any, hops: int = 50) -> dict[str, Any]:
    """A chain of so many calls, each with long words."""
    for number in reversed(range(hops)):
        document = {
            'error_class': f'E{number}',
            'error_text': 'x' * 5000,
            'remote_call': f'GET http://h{number}/',
            'remote_status': 500,
            'remote_error': document,
        }
    return document  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ('body', 'media', 'root'),
    [
        (
            '<html><head><title>Oops</title><script>alert(1)</script></head><body><h1>It broke</h1></body></html>',
            'text/html',
            'It broke',
        ),
        (b'<x>' + b'y' * 10_000_000, 'text/plain', 'yyy'),
        (json.dumps(deep(DISK_FULL)), 'application/json', 'no room'),
        (json.dumps(deep('<b>' * 10**6)), 'application/json', '<b><b>'),
        (b'\0\xff' * 1000, 'application/json', ''),
        ('{"error_text": "' + '&' * 10**6 + '"}', 'application/json', '&&&'),
    ],
    ids=range(6),
)
def test_whatever_the_server_behind_says(body: Any, media: str, root: str) -> None:
    """What we send on is at most 8 error objects and 16 KiB, inert, and has the root."""
    with kit.serve(lambda *request: (500, {'Content-Type': media}, body)) as server, middle(server.host) as client:
        error = failure(client, 'GET', '/')
    assert error.response is not None
    data = error.response.data
    assert error.status == 502 and len(data) <= 16384 and not re.search(rb'[<>&]', data)
    assert len(error.chain) <= 8 and root in (error.root.error_text or '')


def test_a_fan_out_that_fails() -> None:
    """`raise_errors=True` makes one failure of many; all of them are told, and the worst gives the status."""

    def view(environ: Environ) -> Any:
        with ClientPool() as pool:
            for host in environ['PATH_INFO'][1:].split(','):
                pool.request(host, 'GET', '/behind', timeout=0.2)
            return [answer.status for answer in pool.wait(raise_errors=True)]

    with (
        kit.serve(lambda *request: (500, {}, DISK_FULL)) as full,
        kit.serve() as good,
        kit.Mute() as mute,
        served(ExceptionsCatcher(says(view))) as ours,
        Client(ours) as client,
    ):

        def ask(*servers: kit.Server) -> HTTPError:
            return failure(client, 'GET', f'/{",".join(server.host for server in servers)}')

        both = ask(full, good, mute)
        assert both.status == 504  # 502 for the one, 504 for the other
        assert [one['remote_status'] for one in both.remote_error['remote_errors']] == [500, None]
        assert both.remote_error['error_text'] == '2 of 3 requests failed' and 'remote_error' not in both.remote_error
        assert [hop.error_class for hop in both.chain] == ['ExceptionGroup', 'DiskFull']
        assert ports_and_times_aside(str(both)).splitlines()[1:] == [
            '  because (1 of 2) GET http://host/behind answered 500 after a while: DiskFull: no room',
            '  because (2 of 2) GET http://host/behind failed after a while: DeadlineExceeded: '
            'the total time was up after sending had begun (phase: read)',
        ]
        one = ask(full, good)
        assert (one.status, one.root.error_class) == (502, 'DiskFull')
        assert one.remote_error['remote_call'] == f'GET http://{full.authority}/behind'
        assert 'remote_errors' not in one.remote_error
        assert client.request('GET', f'/{good.host}').body == [200]


# What travels ---------------------------------------------------------------------------------------------------------

TRAVELS = ('traceparent', 'tracestate', 'x-request-id', 'x-napix-via', 'x-napix-timeout')
TRACE, PARENT = 'ab' * 16, 'cd' * 8
CALLER = {'traceparent': f'00-{TRACE}-{PARENT}-01', 'tracestate': 'a=1,b=2', 'X-Request-ID': 'order-17'}


def by_client(host: str) -> Iterator[bytes]:
    """Ask with a client of one's own."""
    with Client(host) as client:
        yield client.request('GET', '/1').data
        yield client.submit('GET', '/2').get().data


def by_pool(host: str) -> Iterator[bytes]:
    """Ask with a pool."""
    with ClientPool() as pool:
        for number in range(3):
            pool.request(host, 'GET', f'/{number}')
        yield b''.join(answer.data for answer in pool.wait(raise_errors=True))  # type: ignore[union-attr]


def by_stream(host: str) -> Iterator[bytes]:
    """Ask with a stream, whose requests are made in a greenlet of its own."""
    with ClientPool() as pool:
        for answer in pool.stream((Request(host, 'GET', f'/{number}') for number in range(20)), window=3):
            yield answer.data  # type: ignore[union-attr]


def by_hooks(host: str) -> Iterator[bytes]:
    """Ask from a hook and from an authenticator, which run in greenlets of their own."""
    asked = Event()
    with Client(host) as other:

        def authenticator(request: Request) -> Request:
            other.request('GET', '/token')
            return request

        def hook(response: Any) -> None:
            other.request('GET', '/hook')
            asked.set()

        with Client(host, authenticator, on_response=hook) as client:
            yield client.request('GET', '/').data
            assert asked.wait(10)


@pytest.mark.parametrize('ask', [by_client, by_pool, by_stream, by_hooks])
@pytest.mark.parametrize('late', [False, True], ids=['in the call', 'in the body'])
def test_it_is_propagated_with_every_call(ask: Callable[[str], Iterator[bytes]], late: bool) -> None:
    """The ids of the request that is served, and the servers passed; each call is a parent of its own."""

    def app(environ: Environ, start_response: Any) -> Any:
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return ask(behind.host) if late else list(ask(behind.host))

    with kit.serve() as behind, served(ExceptionsCatcher(app, server_id='front')) as front, Client(front) as client:
        assert client.request('GET', '/', headers={**CALLER, 'X-Napix-Via': 'first'}).status == 200
    assert len(behind.requests) >= 2
    parents = set()
    for request in behind.requests:
        found = {name: request.headers[name] for name in TRAVELS if name in request.headers}
        version, trace, parent, flags = found.pop('traceparent').split('-')
        assert (version, trace, flags) == ('00', TRACE, '01')
        assert found == {'tracestate': 'a=1,b=2', 'x-request-id': 'order-17', 'x-napix-via': 'first,front'}
        parents.add(parent)
    assert len(parents) == len(behind.requests) and PARENT not in parents


def test_each_attempt_is_a_parent_of_its_own() -> None:
    """What is sent again has the same trace and request, inside a request and outside of any."""
    statuses = iter([503, 200, 503, 200])
    with (
        kit.serve(lambda *request: (next(statuses), {}, 'x')) as behind,
        middle(behind.host, retries=Retry(3, status_forcelist=[503])) as client,
        Client(behind.host, retries=Retry(3, status_forcelist=[503])) as alone,
    ):
        client.request('GET', '/', headers=CALLER)
        alone.request('GET', '/')
    for first, again in (behind.requests[:2], behind.requests[2:]):
        assert first.headers['x-request-id'] == again.headers['x-request-id']
        (_, trace, parent, _), (_, same, other, _) = (
            request.headers['traceparent'].split('-') for request in (first, again)
        )
        assert trace == same and parent != other


def test_outside_of_any_request() -> None:
    """Each call begins a trace; its request has the same id; it has passed no server."""
    with kit.serve() as server, ClientPool() as pool:
        for _ in range(5):
            pool.request(server.host, 'GET', '/')
        pool.wait()
    found = [request.headers for request in server.requests]
    traces = {headers['traceparent'].split('-')[1] for headers in found}
    assert len(traces) == 5 and {headers['x-request-id'] for headers in found} == traces
    assert not any({'tracestate', 'x-napix-via', 'x-napix-timeout'} & set(headers) for headers in found)


def test_ids_that_are_no_ids() -> None:
    """They are made anew, and nothing of them is sent on."""
    wrong = [
        ('traceparent', f'00-{"0" * 32}-{PARENT}-01'),
        ('traceparent', f'ff-{TRACE}-{PARENT}-01'),
        ('traceparent', CALLER['traceparent'].upper()),
        ('X-Request-ID', 'a b'),
        ('X-Request-ID', 'x' * 129),
        ('X-Request-ID', '"<script>"'),
        ('X-Napix-Via', '"<script>"'),
    ]
    with (
        kit.serve() as behind,
        Client(behind.host) as client,
        served(ExceptionsCatcher(says(lambda environ: client.request('GET', '/').status))) as front,
    ):
        for name, value in wrong:
            fields = {'Host': front, 'Connection': 'close', 'tracestate': 'a=1', name: value}
            with gevent.socket.create_connection(front.split(':')) as raw:
                lines = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
                raw.sendall(f'GET / HTTP/1.1\r\n{lines}\r\n'.encode())
                while raw.recv(65536):
                    pass
            found = behind.requests[-1].headers
            trace = found['traceparent'].split('-')[1]
            assert re.fullmatch(r'00-[0-9a-f]{32}-[0-9a-f]{16}-00', found['traceparent']) and 'tracestate' not in found
            assert found['x-request-id'] == trace not in (TRACE, '0' * 32) and '<' not in found['x-napix-via']
    assert len(behind.requests) == len(wrong)


def test_requests_at_the_same_time_do_not_mix() -> None:
    """Thirty of them take turns in one process, in their calls and in their bodies; each has its own call context."""
    count = 30
    gate = kit.Gate()

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response('200 OK', [('Content-Type', 'text/plain')])
        for _ in range(3):
            client.request('GET', environ['PATH_INFO'])
            yield environ['HTTP_X_REQUEST_ID'].encode()
            gevent.sleep(0)

    with (
        kit.serve(gate=gate) as behind,
        Client(behind.host, simultaneous=count) as client,
        served(ExceptionsCatcher(app)) as front,
        ClientPool(simultaneous=count) as pool,
    ):
        for number in range(count):
            pool.request(front, 'GET', f'/{number:06}', headers={'X-Request-ID': f'{number:06}'})
        gate.wait_for(count)  # all of them are in their first call
        gate.open()
        answers = pool.wait()
    assert [answer.data for answer in answers] == [f'{number:06}'.encode() * 3 for number in range(count)]  # type: ignore[union-attr]
    assert len(behind.requests) == 3 * count
    assert all(request.headers['x-request-id'] == request.id for request in behind.requests)


# Time -----------------------------------------------------------------------------------------------------------------


def test_nobody_works_for_a_caller_who_has_left() -> None:
    """The grandchild of a caller who waits half a second gives up with it, though it was told to wait for ten."""
    ended: dict[str, tuple[float, BaseException]] = {}

    def asks(host: str, name: str) -> App:
        def view(environ: Environ) -> Any:
            sent[name] = int(environ['HTTP_X_NAPIX_TIMEOUT'])
            with Client(host) as client:
                return client.request('GET', '/', timeout=10).status

        def note(exc: BaseException, environ: Environ) -> None:
            ended[name] = monotonic(), exc

        return ExceptionsCatcher(says(view), on_error=note)

    sent: dict[str, int] = {}
    with (
        kit.Mute() as mute,
        served(asks(mute.host, 'grandchild')) as grandchild,
        served(asks(grandchild, 'child')) as child,
        Client(child) as client,
    ):
        started = monotonic()
        error = failure(client, 'GET', '/', timeout=0.5)
        assert isinstance(error, DeadlineExceeded)
        kit.wait_until(lambda: len(ended) == 2)
    assert 0 < sent['grandchild'] <= sent['child'] <= 500
    for when, exc in ended.values():
        assert when - started < 8 and isinstance(exc, DeadlineExceeded)


def test_time_that_is_up_before_the_call() -> None:
    """What the application asks for after its caller has left is not sent: 503, should anybody still listen."""

    def view(environ: Environ) -> Any:
        gevent.sleep(0.06)
        with Client(behind.host) as client:
            return client.request('GET', '/').status

    with kit.serve() as behind, served(ExceptionsCatcher(says(view))) as front, Client(front) as client:
        error = failure(client, 'GET', '/', headers={'X-Napix-Timeout': '50'})
        assert (error.status, error.root.error_class) == (503, 'QueueTimeout')
        assert error.response is not None and error.response.headers['Retry-After'] == '1'
    assert behind.requests == []


def test_the_shorter_time_counts() -> None:
    """What the application says, where it is less than what its caller waits; nothing is sent where nobody said any."""

    def view(environ: Environ) -> Any:
        seconds = environ['QUERY_STRING']
        with Client(behind.host) as client:
            return client.request('GET', '/', timeout=float(seconds) if seconds else None).status

    with kit.serve() as behind, served(ExceptionsCatcher(says(view))) as front, Client(front) as client:
        for query, ours, low, high in (
            ('5', '60000', 4500, 5000),
            ('60', '5000', 4500, 5000),
            ('', '5000', 4500, 5000),
            ('5', None, 4500, 5000),
        ):
            client.request('GET', f'/?{query}', headers={'X-Napix-Timeout': ours} if ours else None)
            assert low < int(behind.requests[-1].headers['x-napix-timeout']) <= high
        client.request('GET', '/?')
        assert 'x-napix-timeout' not in behind.requests[-1].headers


# Loops ----------------------------------------------------------------------------------------------------------------


def test_a_loop_ends_at_once() -> None:
    """Each server runs its application once, whoever notices answers 508, and so does everybody before it."""
    hosts: list[str] = []
    ran: list[str] = []

    def asks(name: str) -> App:
        def view(environ: Environ) -> Any:
            ran.append(name)
            with Client(hosts[0 if name == 'b' else 1]) as client:
                return client.request('GET', f'/from-{name}').status

        return ExceptionsCatcher(says(view))

    with served(asks('a')) as a, served(asks('b')) as b, Client(a, timeout=20) as client:
        hosts += [a, b]
        error = failure(client, 'GET', '/')
    assert ran == ['a', 'b']
    assert [hop.status for hop in error.chain] == [508, 508, 508] and error.root.error_class == 'LoopDetected'


def test_more_than_eight_servers() -> None:
    """The tenth in a row does not run; what it says comes back through all nine."""
    with Row(12, lambda number, app: ExceptionsCatcher(app)) as row:
        error = row.ask()
    assert row.ran == list(range(9))
    assert {found.status for found in (error, *row.met.values())} == {508}
    assert error.root.error_class == 'LoopDetected' and len(error.chain) <= 8


def asks_itself(environ: Environ, start_response: Any) -> Any:
    """An application that asks the server that it runs on."""
    with Client(environ['HTTP_HOST']) as client:
        return says(lambda environ: client.request('GET', '/again').status)(environ, start_response)


app = ExceptionsCatcher(asks_itself)


def test_the_workers_of_one_deployment_are_one_server() -> None:
    """A loop is noticed by whichever worker it comes back to."""
    with Programs() as programs:
        host = programs.gunicorn('tests.test_chains:app', workers=2)
        for _ in range(6):
            with Client(host, timeout=20) as client:
                error = failure(client, 'GET', '/')
            assert [hop.status for hop in error.chain] == [508, 508]


# Secrets --------------------------------------------------------------------------------------------------------------

SECRETS = ['k3y-of-root', 't0ken/of+query', 'p4ss w0rd"é', 'b3arer-token', 'c00kie-value']


def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Not by what the server behind echoes, in no form, and nowhere: documents, texts of errors, log."""
    caplog.set_level(logging.DEBUG)
    key, token, password, bearer, cookie = SECRETS
    held = SECRETS[:4]  # by authenticators, so they are secret wherever they stand

    def echo(method: str, path: str, headers: Any, body: bytes) -> Any:
        fields = dict(headers.items())  # a plain one, which shows all
        raw.append(f'{path} {fields}')
        words = f'{path} {fields} {held} {json.dumps(held)} http://root:{key}@server.example/ {quote(token, safe="")}'
        if path.startswith('/text'):
            return 500, {'Content-Type': 'text/plain', 'Set-Cookie': f'a={cookie}'}, words
        return (
            500,
            {},
            {
                'error_class': bearer,
                'error_text': words,
                'headers': fields,
                'held': held,
                password: 1,
                'remote_call': f'GET http://server.example{path}',
                'remote_error': words,
            },
        )

    def view(environ: Environ) -> Any:
        with Client(behind.host, authenticators[environ['QUERY_STRING']], headers={'Cookie': f'a={cookie}'}) as client:
            return client.request('GET', environ['PATH_INFO']).body

    raw: list[str] = []
    told: list[str] = []
    authenticators = {
        'login': LoginAuthenticator('root', key),
        'token': TokenIdentifier(token, 'key'),
        'basic': BasicAuth('root', password),
        'bearer': BearerToken(bearer),
    }
    with (
        kit.serve(echo) as behind,
        served(ExceptionsCatcher(says(view), expose_traceback=True)) as front,
        Client(front) as client,
    ):
        for name in authenticators:
            for path in '/text', '/json':
                error = failure(client, 'GET', f'{path}?{name}')
                assert error.status == 502 and error.response is not None
                told += [error.response.text, str(error), repr(error), *map(repr, error.chain)]
    told.append(caplog.text)
    forms = ['k3y-of', 't0ken', 'p4ss', b64encode(f'root:{password}'.encode()).decode(), 'b3arer', 'c00kie']
    assert [form for form in forms if not any(form in text for text in raw)] == ['k3y-of', 'p4ss']
    for text in told:
        assert not [form for form in forms if form in text], text
    assert all('***' in text for text in told)
