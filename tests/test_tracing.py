"""Calls as spans of OpenTelemetry, in processes of their own: a provider is set once in the life of a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import kit

#: Is told the hosts of a server that answers and of one that never does; writes what spans there were, by scenario.
PROGRAM = '''
import json, logging, sys
import gevent
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, ALWAYS_ON
from opentelemetry.trace import SpanContext, TraceFlags
from urllib3 import Retry
from napixclient import Client, ClientPool, HTTPError, Request
from napixclient.authenticators import TokenIdentifier
from napixclient.call_context import extract, current

good, mute = sys.argv[1:]
told = {}
exporter = InMemorySpanExporter()
early = Client(good)                        # made before there was a provider


class Blocking(SimpleSpanProcessor):
    """Has to wait, as one that sends spans away would."""

    def on_start(self, span, parent_context=None):
        gevent.sleep(0)
        if self.fails == 'start':
            raise ValueError('no span for you, s3cret-token')

    def on_end(self, span):
        if self.fails == 'end':
            raise ValueError('no span for you, s3cret-token')
        if span.attributes.get('url.full', '').endswith('slowly'):
            gevent.sleep(1)
        super().on_end(span)

    fails = None


processor = Blocking(exporter)
provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
provider.add_span_processor(processor)
trace.set_tracer_provider(provider)


def spans(name, wanted=1):
    """Take what has ended at this very moment."""
    told[name] = [{
        'name': span.name, 'kind': span.kind.name, 'trace': f'{span.context.trace_id:032x}', 'id': f'{span.context.span_id:016x}',
        'parent': None if span.parent is None else f'{span.parent.span_id:016x}', 'remote': span.parent is not None and span.parent.is_remote,
        'status': span.status.status_code.name, 'description': span.status.description, 'attributes': dict(span.attributes),
        'scope': span.instrumentation_scope.name, 'took': (span.end_time - span.start_time) / 1e9}
        for span in exporter.get_finished_spans()]
    exporter.clear()
    assert len(told[name]) == wanted, (name, told[name])


def fails(call):
    try:
        call()
    except HTTPError as error:
        return error
    raise AssertionError('it ended well')


early.request('GET', '/early')
spans('early')
with Client(good, TokenIdentifier('s3cret-token', 'own')) as client, ClientPool() as pool:
    client.request('GET', '/alone?own=mine&a=1')
    spans('alone')
    tracer = trace.get_tracer('test')
    with tracer.start_as_current_span('outer') as outer:
        client.request('POST', '/child', {'a': 1})
        told['outer'] = f'{outer.get_span_context().span_id:016x}'
    spans('child', 2)
    with tracer.start_as_current_span('outer'):
        for number in range(3):
            pool.request(good, 'GET', f'/pool{number}')
        pool.wait()
        list(pool.stream([(good, 'GET', '/stream')]))
    gevent.sleep(0.01)
    spans('pool', 5)

    given = {'traceparent': f'00-{"ab" * 16}-{"cd" * 8}-01', 'tracestate': 'a=1', 'X-Request-ID': 'order-17'}
    current.set(extract(given.get, 'here')[0])
    client.request('GET', '/served')
    spans('served')
    with tracer.start_as_current_span('outer'):
        client.request('GET', '/serving')       # a server that is traced itself
    spans('serving', 2)
    given['traceparent'] = given['traceparent'][:-1] + '0'
    current.set(extract(given.get, 'here')[0])
    client.request('GET', '/unsampled')
    spans('unsampled', 0)
    current.set(extract({'X-Napix-Timeout': '0'}.get, 'here')[0])
    fails(lambda: client.request('GET', '/left'))
    gevent.sleep(0.01)                          # nobody waited, so the hub has not had its turn
    spans('left')
    current.set(None)

    fails(lambda: client.request('GET', '/status/404'))
    spans('404')
    fails(lambda: client.request('GET', '/status/500', retries=Retry(2, status_forcelist=[500])))
    spans('retried')
    fails(lambda: Client('127.0.0.1:1').request('GET', '/refused?own=mine'))
    spans('refused')
    with Client(mute) as silent:
        pending = silent.submit('GET', '/cancelled')
        gevent.sleep(0.01)
        pending.cancel()
        gevent.wait([pending])
        spans('cancelled')
        fails(lambda: silent.request('GET', '/late', timeout=0.05))
        spans('late')
    fails(lambda: Client('unix:///no/x.sock').request('GET', '/socket'))
    spans('socket')
    client.request('PROPFIND', '/other')
    spans('other')
    client.request('GET', '/moved', redirect=True)
    spans('moved')
    with client.request('GET', '/streamed', stream=True) as answer:
        spans('streamed')
        answer.read()
    client.request('GET', '/slowly')
    spans('slowly', 0)                          # who asked does not wait for it
    while not exporter.get_finished_spans():
        gevent.sleep(0.01)
    spans('slowly')

    logger = logging.getLogger('napixclient')
    logger.addHandler(logging.StreamHandler())
    for processor.fails in 'start', 'end':
        assert client.request('GET', '/broken').status == 200
        spans('broken', 0)
json.dump(told, sys.stdout)
'''


def respond(method: str, path: str, headers: Any, body: bytes) -> Any:
    """What the program is answered."""
    if path.startswith('/status/'):
        return int(path[8:11]), {}, {'error_text': f'no {path}'}
    if path.startswith('/moved'):
        return 302, {'Location': '/end'}, ''
    return 200, {}, {'ok': True}


class Told:
    """What the program wrote, and what the server read."""

    def __init__(self, spans: dict[str, Any], requests: list[Any], err: str) -> None:
        self.spans, self.requests, self.err = spans, requests, err

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The only span of a scenario."""
        [span] = [span for span in self.spans[name] if span['scope'] == 'napixclient']
        return span  # type: ignore[no-any-return]

    def sent(self, path: str) -> list[Any]:
        """The fields of the requests for that path."""
        return [request.headers for request in self.requests if request.path.startswith(path)]


@pytest.fixture(scope='module')
def told() -> Iterator[Told]:
    """Run the program once."""
    with kit.serve(respond) as server, kit.FaultServer([kit.READ, kit.SILENCE], [kit.READ, kit.SILENCE]) as mute:
        done = kit.run_program(PROGRAM, server.host, mute.host)
        assert done.code == 0, done.err
        yield Told(json.loads(done.out), list(server.requests), done.err)


def test_names_and_attributes(told: Told) -> None:
    """Those of the semantic conventions for HTTP client spans; nothing secret is among them."""
    span = told['alone']
    host, port = told.requests[0].headers['host'].split(':')
    assert (span['name'], span['kind'], span['parent'], span['status'], span['description']) == (
        'GET',
        'CLIENT',
        None,
        'UNSET',
        None,
    )
    assert span['attributes'] == {
        'http.request.method': 'GET',
        'server.address': host,
        'server.port': int(port),
        'url.full': f'http://{host}:{port}/alone?own=***&a=1',
        'http.response.status_code': 200,
        'network.peer.address': host,
        'network.peer.port': int(port),
    }
    assert told.requests[1].path == '/alone?own=mine&a=1&own=s3cret-token'


def test_the_other_end(told: Told) -> None:
    """The address that was connected to, or tried last; of a Unix socket its path; nothing where nothing was tried."""
    refused, socket = told['refused']['attributes'], told['socket']['attributes']
    assert (refused['network.peer.address'], refused['network.peer.port']) == ('127.0.0.1', 1)
    assert {name: socket[name] for name in socket if name.startswith(('server', 'network', 'url'))} == {
        'server.address': '/no/x.sock',
        'url.full': 'http+unix://%2Fno%2Fx.sock/socket',
        'network.transport': 'unix',
        'network.peer.address': '/no/x.sock',
    }
    assert (
        'network.peer.address' in told['cancelled']['attributes']
        and 'network.peer.address' in told['late']['attributes']
    )
    assert 'network.peer.address' not in told['left']['attributes']


def test_the_call_carries_its_span(told: Told) -> None:
    """The traceparent on the wire is the span's own; a client that was made before there was a provider has spans, too."""
    for name in 'early', 'alone', 'child', 'served', 'serving', 'streamed':
        [fields] = told.sent(f'/{name}')
        assert fields['traceparent'][:-3] == f'00-{told[name]["trace"]}-{told[name]["id"]}'
    [fields] = told.sent('/alone')
    assert fields['x-request-id'] == told['alone']['trace'] and 'tracestate' not in fields


def test_parents(told: Told) -> None:
    """The current span; where there is none, that of the caller's request, with its tracestate."""
    assert told['child']['parent'] == told.spans['outer'] and not told['child']['remote']
    ours = [span for span in told.spans['pool'] if span['scope'] == 'napixclient']
    [outer] = [span for span in told.spans['pool'] if span['scope'] == 'test']
    assert len(ours) == 4 and {(span['trace'], span['parent']) for span in ours} == {(outer['trace'], outer['id'])}
    served = told['served']
    assert (served['trace'], served['parent'], served['remote']) == ('ab' * 16, 'cd' * 8, True)
    [fields] = told.sent('/served')
    assert (fields['tracestate'], fields['x-request-id'], fields['x-napix-via']) == ('a=1', 'order-17', 'here')
    [fields] = told.sent('/serving')
    assert told['serving']['trace'] != 'ab' * 16 and 'tracestate' not in fields and fields['x-request-id'] == 'order-17'


def test_what_is_not_sampled(told: Told) -> None:
    """It has no span that anybody sees, and tells so to the next."""
    [fields] = told.sent('/unsampled')
    _, trace, parent, flags = fields['traceparent'].split('-')
    assert (trace, flags) == ('ab' * 16, '00') and parent != 'cd' * 8


@pytest.mark.parametrize(
    ('name', 'kind', 'code', 'resent', 'description'),
    [
        ('404', '404', 404, None, None),
        ('retried', '500', 500, 2, None),
        ('refused', 'RefusedError', None, None, 'connection refused'),
        ('cancelled', 'Cancelled', None, None, 'cancelled'),
        ('late', 'DeadlineExceeded', None, None, 'the total time was up after sending had begun'),
        ('left', 'QueueTimeout', None, None, 'the total time was up before anything was sent'),
    ],
)
def test_failures(
    told: Told, name: str, kind: str, code: int | None, resent: int | None, description: str | None
) -> None:
    """A call that fails says how: by its status, or by the name of its error; and how often it was sent again."""
    span = told[name]
    attributes = span['attributes']
    assert (span['status'], attributes['error.type']) == ('ERROR', kind)
    assert (attributes.get('http.response.status_code'), attributes.get('http.request.resend_count')) == (code, resent)
    assert (span['description'] or '').startswith(description or '') and bool(span['description']) == bool(description)


def test_attempts(told: Told) -> None:
    """All attempts of a call are one span."""
    found = told.sent('/status/500')
    assert len(found) == 3 and len({fields['traceparent'] for fields in found}) == 1


def test_other_methods(told: Told) -> None:
    """One that is not of the well-known is told apart, so that names stay few."""
    span = told['other']
    assert (
        span['name'],
        span['attributes']['http.request.method'],
        span['attributes']['http.request.method_original'],
    ) == ('HTTP', '_OTHER', 'PROPFIND')


def test_redirects(told: Told) -> None:
    """A call that was led elsewhere is one call, of the URL that was asked for."""
    attributes = told['moved']['attributes']
    assert attributes['url.full'].endswith('/moved') and 'http.request.resend_count' not in attributes
    assert told.sent('/end')[0]['traceparent'] == told.sent('/moved')[0]['traceparent']


def test_processors(told: Told) -> None:
    """One may block, and does not hold up the hub or the call; one that fails is logged, without secrets."""
    assert told['slowly']['took'] < 1
    assert told.err.splitlines() == [
        'no span: ValueError: no span for you, ***',
        'a span was lost: ValueError: no span for you, ***',
    ]
    begun, ended = (fields['traceparent'] for fields in told.sent('/broken'))
    assert begun.endswith('-00') and not ended.endswith('-00')  # without a span the call has ids of its own


# Where it is not used ------------------------------------------------------------------------------------------------

CALLS = """
import sys
from napixclient import Client, ClientPool, HTTPError
with Client(sys.argv[1]) as client, ClientPool() as pool:
    assert client.request('GET', '/alone').status == 200
    pool.request(sys.argv[1], 'GET', '/pool')
    assert [found.status for found in pool.wait()] == [200]
"""
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, *rest):
        if name.partition('.')[0] == 'opentelemetry':
            raise ImportError('blocked')
sys.meta_path.insert(0, Blocked())
"""
ABSENT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.partition('.')[0] == 'opentelemetry' else self.finder.find_spec(name, *rest)
sys.meta_path[:] = map(Without, sys.meta_path)
"""
NO_OP = 'from opentelemetry import trace; trace.set_tracer_provider(trace.NoOpTracerProvider())'
NOTHING = "assert not any(name.startswith('opentelemetry') for name in sys.modules)"


def run(source: str, *arguments: object, **env: str) -> list[Any]:
    """Run a program that makes two calls and prints nothing; the fields that they carried."""
    with kit.serve() as server:
        done = kit.run_program(source, server.host, *arguments, **env)
    assert done == (0, '', '')
    return [request.headers for request in server.requests]


@pytest.mark.parametrize(
    'source',
    [BLOCKED + CALLS + NOTHING, ABSENT + CALLS + NOTHING, NO_OP + CALLS, CALLS],
    ids=['blocked', 'not installed', 'no-op', 'the API alone'],
)
def test_calls_without_spans(source: str) -> None:
    """Where it is not installed nothing is imported; where nobody wants spans, calls carry ids of their own."""
    found = [fields['traceparent'].split('-') for fields in run(source)]
    assert len(found) == 2
    for version, trace, parent, flags in found:
        assert (version, flags, len(trace), len(parent)) == ('00', '00', 32, 16) and '0' * 16 not in (
            trace[:16],
            parent,
        )


@pytest.mark.parametrize(
    'files',
    [
        {'__init__.py': 'raise RuntimeError("half an installation")'},
        {'__init__.py': ''},
        {'__init__.py': '', 'trace.py': ''},
        {'__init__.py': '', 'trace.py': 'raise SyntaxError'},
        {'__init__.py': '', 'trace.py': 'def get_tracer(*rest): raise StopIteration'},
        {'__init__.py': '', 'trace.py': 'def get_tracer(*rest): return object()'},
        {'__init__.py': 'import sys; sys.modules[__name__].__spec__ = None'},
        {},
    ],
    ids=range(8),
)
def test_a_broken_installation(tmp_path: Path, files: dict[str, str]) -> None:
    """It does not break ours."""
    (tmp_path / 'opentelemetry').mkdir()
    for name, text in files.items():
        (tmp_path / 'opentelemetry' / name).write_text(text)
    quiet = 'import sys, logging; logging.disable(); sys.path.insert(0, sys.argv[2])'
    assert len(run(quiet + CALLS, tmp_path)) == 2


def test_a_provider_that_is_not_there() -> None:
    """Nor does one that the environment names and nobody has."""
    assert len(run('import logging; logging.disable()' + CALLS, OTEL_PYTHON_TRACER_PROVIDER='nonsense')) == 2
