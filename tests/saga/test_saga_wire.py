"""SagaFailed across servers: the document, the chain, what was rolled back; and as a span, copied, pickled."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import napixclient
from napixclient import Client, ClientPool, HTTPError, RemoteError
from napixclient.saga import Saga, SagaFailed
from napixclient.testing import serve
from napixclient.wsgi import ExceptionsCatcher
from tests import kit
from tests.saga.world import World, located

pytestmark = pytest.mark.usefixtures('oracle')


def front(world: World, steps: int = 1, abort: bool = False) -> Any:
    """A WSGI application whose saga fails behind so many steps."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        with ClientPool(timeout=5) as pool, Saga(pool, undo_timeout=0.1) as saga:
            for number in range(steps):
                saga.call(world.host, 'POST', f'/a{number}?token=s3cret', undo=located)
            saga.call(world.host, 'POST', '/b', undo=('DELETE', '/fail'))
            if abort:
                saga.abort('no more')
            saga.request(world.host, 'POST', '/lost', undo=located)
            saga.request(world.host, 'POST', '/fail', undo=None)
            saga.wait()
        return iter(())

    return ExceptionsCatcher(app)


def refused(host: str) -> RemoteError:
    """What a caller of it is answered."""
    with Client(host) as client, pytest.raises(RemoteError) as caught:
        client.request('POST', '/vm/')
    return caught.value


def test_a_server_tells_its_caller_what_was_rolled_back() -> None:
    """The document of the failed step's error, with the class, and the requests of the lists; the chain reads it."""
    with World() as world, serve(front(world)) as server:
        error = refused(server.host)
        document = error.remote_error
        assert error.status == 502 and document['error_class'] == 'SagaFailed'
        lists = document['saga']
        assert [text.partition('?')[0] for text in lists['undone']] == [f'POST {world.url}/a0']
        assert lists['not_undone'] == [f'POST {world.url}/b'] and lists['unknown'] == [f'POST {world.url}/lost']
        assert 's3cret' not in json.dumps(document)
        assert document['remote_call'] in (f'POST {world.url}/fail', f'POST {world.url}/lost')
        assert error.chain[0].error_class == 'SagaFailed' or error.chain[1].status in (500, None)
        assert 'the saga failed' in str(error) and '1 undone' in str(error)


def test_a_long_saga_stays_within_the_bounds() -> None:
    """16 KiB at most; the lists say how many more there are."""
    with World() as world, serve(front(world, steps=60)) as server:
        error = refused(server.host)
        assert error.response is not None and len(error.response.data) <= 16 * 1024
        lists = error.remote_error['saga']
        assert len(lists['undone']) <= 11 and lists['undone'][-1].endswith('50 more')


def test_an_aborted_saga_has_a_document_too() -> None:
    """Without a call, for none failed."""
    with World() as world, serve(front(world, abort=True)) as server:
        document = refused(server.host).remote_error
        assert document['error_class'] == 'SagaFailed' and 'no more' in document['error_text']
        assert document['saga']['undone'] and 'remote_call' not in document


def test_it_is_an_error_of_the_tree() -> None:
    """Exported, an HTTPError, and its text is a story."""
    assert napixclient.SagaFailed is SagaFailed and issubclass(SagaFailed, HTTPError)
    with World() as world, ClientPool() as pool:
        with pytest.raises(HTTPError) as caught, Saga(pool, undo_timeout=0.1) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/b', undo=('DELETE', '/fail'))
            saga.call(world.host, 'POST', '/fail', undo=None)
    error = caught.value
    assert isinstance(error, SagaFailed)
    lines = str(error).splitlines()
    assert lines[0].startswith(f'POST {world.url}/fail: the saga failed: "500') and 'disk full' in lines[0]
    assert f'  undone: POST {world.url}/a' in lines and any(line.startswith('  NOT undone:') for line in lines)
    assert error.remote_call == f'POST {world.url}/fail' and error.remote_error['error_text'] == 'disk full'
    for made in pickle.loads(pickle.dumps(error)), copy.copy(error):
        assert str(made) == str(error) and made.status == 500 and len(made.undone) == 1
        assert made.undone[0].name == error.undone[0].name and made.undone[0].state == 'undone'


PROGRAM = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
from napixclient import ClientPool
from napixclient.saga import Saga, SagaFailed
host = sys.argv[1]
with ClientPool() as pool:
    try:
        with Saga(pool) as saga:
            saga.call(host, 'POST', '/a', undo=('DELETE', '/a/1'))
            with saga.sub() as part:
                part.call(host, 'POST', '/fail', undo=None)
    except SagaFailed:
        pass
print(json.dumps([[span.name, f'{span.context.span_id:x}', span.parent and f'{span.parent.span_id:x}',
                   span.status.status_code.name, dict(span.attributes)] for span in exporter.get_finished_spans()]))
"""


def test_a_saga_is_a_span_around_those_of_its_steps_and_undos() -> None:
    """A part is one within it; what became of the steps are attributes."""
    with World() as world:
        finished = kit.run_program(PROGRAM, world.host)
        assert finished.code == 0, finished.err
        spans = {name: rest for name, *rest in json.loads(finished.out)}
        outer, part = spans['saga'], spans['saga part']
        assert part[1] == outer[0] and outer[1] is None and outer[2] == 'ERROR'
        assert spans['DELETE'][1] == outer[0] and outer[3]['saga.steps.undone'] == 1


def test_the_example_makes_all_or_nothing(tmp_path: Any) -> None:
    """It ends well, or tells what it has undone; a journal that was left is undone first."""
    with World() as allocator, World() as filer, World() as xen:
        hosts = ['--allocator', allocator.host, '--filer', filer.host, '--xen', xen.host, '--journal', tmp_path / 'j']
        source = (kit.ROOT / 'examples' / 'provisioning.py').read_text()
        finished = kit.run_program(source, *hosts, patched=False)
        assert (finished.code, finished.out) == (0, '/vm-ip/1\n'), finished.err
        xen.statuses['/vm/vm-17'] = [507]
        finished = kit.run_program(source, *hosts, patched=False)
        assert finished.code == 1 and '2 undone' in finished.err and allocator.deleted == ['/vm-ip/2']
        lines = (tmp_path / 'j').read_bytes().splitlines(keepends=True)
        (tmp_path / 'j').write_bytes(
            b''.join(line for line in lines if b'undo' not in line[:16] and b'ended' not in line)
        )
        finished = kit.run_program(source, *hosts, patched=False)
        assert finished.code == 0 and 'undone first' in finished.err
