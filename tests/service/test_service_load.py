"""A large run, watched by many at once; `FULL=1` makes it as large as the law says (`make test-service-full`)."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import gevent.subprocess
import pytest

from napixclient import ClientPool
from tests import kit
from tests.service.serving import LONG, Service, Watcher, results_of, serving

REQUESTS, WATCHERS = (10_000, 50) if os.environ.get('FULL') else (2_000, 50)
HOSTS = 100
#: Watchers as people write them, in a process of their own: each must have every result once, in sequence, then 1000.
WATCHING = """
import asyncio, json, sys
from websockets.asyncio.client import connect

async def watch(url):
    async with connect(url) as socket:
        seen = [message['result'] async for message in map_json(socket) if message['type'] == 'result']
    return [one['seq'] for one in seen], sorted(one['tag'] for one in seen), socket.close_code

async def map_json(socket):
    async for message in socket:
        yield json.loads(message)

async def main(url, count, expected):
    for seqs, tags, code in await asyncio.gather(*(watch(url) for _ in range(count))):
        assert seqs == list(range(expected)), (len(seqs), seqs[:10])
        assert tags == list(range(expected))
        assert code == 1000, code

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
#: A server of many hosts, in a process of its own so that it takes no time from anybody who is measured.
SERVER = """
import sys
import gevent
from napixclient.testing import serve

def answer(method, path, headers, body):
    return 200, {'Content-Type': 'application/json'}, '{"name": "web", "load": 0.25}'

with serve(answer, address='0.0.0.0') as server:
    print(server.port, flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.read)
"""


@pytest.fixture
def port() -> int:
    """Where 100 hosts answer."""
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', SERVER],
        env=kit.environment(),
        stdin=gevent.subprocess.PIPE,
        stdout=gevent.subprocess.PIPE,
    )
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


def processor_seconds(service: Service) -> float:
    """Seconds of the processor that the service has had."""
    fields = Path(f'/proc/{service.process.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def test_many_watchers(tmp_path: Path, port: int) -> None:
    """Every one of 50 watchers has all results exactly once in sequence; the service stays small."""
    requests = [
        {'host': f'127.0.0.{number % HOSTS + 1}:{port}', 'url': f'/{number:06}', 'tag': number}
        for number in range(REQUESTS)
    ]
    with serving(tmp_path / 'runs') as service:
        id = service.start({'requests': requests})['id']
        watching = gevent.subprocess.Popen(
            [sys.executable, '-c', WATCHING, f'ws://{service.host}/runs/{id}/ws', str(WATCHERS), str(REQUESTS)],
            env=kit.environment(),
            stdout=gevent.subprocess.PIPE,
            stderr=gevent.subprocess.STDOUT,
        )
        said, _ = watching.communicate(timeout=55)
        assert watching.returncode == 0, said.decode()
        run = service.show(id)
        assert run['state'] == 'done' and run['counts']['ok'] == REQUESTS
        status = Path(f'/proc/{service.process.pid}/status').read_text()
        peak = int(status.partition('VmHWM:')[2].split()[0])
        assert peak < 200_000, f'{peak} kB'


def test_throughput(tmp_path: Path, port: int) -> None:
    """A run takes at most three times the processor of the bare pool for the same requests (the best of four)."""

    def bare() -> float:
        began = time.process_time()
        with ClientPool() as pool:
            for answer in pool.stream(
                (f'127.0.0.{number % HOSTS + 1}:{port}', 'GET', f'/{number:06}') for number in range(REQUESTS)
            ):
                assert answer.status == 200
        return time.process_time() - began

    requests = [{'host': f'127.0.0.{number % HOSTS + 1}:{port}', 'url': f'/{number:06}'} for number in range(REQUESTS)]
    ratios = []
    with serving(tmp_path / 'runs') as service:
        for _ in range(4):
            began = processor_seconds(service)
            assert service.run({'requests': requests})[0]['counts']['ok'] == REQUESTS
            ratios.append((processor_seconds(service) - began) / bare())
            print(ratios)
            if ratios[-1] < 3:
                break
    assert min(ratios) < (3 if os.environ.get('FULL') else 5) or sys.gettrace() is not None, ratios


def test_a_slow_watcher_holds_nobody(tmp_path: Path, port: int) -> None:
    """Who reads slowly has every result all the same, and neither the run nor other watchers wait for him."""
    requests = [
        {'host': f'127.0.0.{number % HOSTS + 1}:{port}', 'url': '/', 'tag': 'x' * 5000} for number in range(2000)
    ]
    with serving(tmp_path / 'runs') as service:
        id = service.start({'requests': requests})['id']
        slow = Watcher(service, f'/runs/{id}/ws')
        assert service.follow(id)['counts']['ok'] == 2000
        quick = Watcher(service, f'/runs/{id}/ws')
        assert len(results_of(quick.messages())) == 2000
        assert [one['seq'] for one in results_of(slow.messages())] == list(range(2000))
        assert slow.code == quick.code == 1000


@pytest.mark.parametrize('phases', ['examples,coverage', 'fuzzing'])
def test_schemathesis(phases: str, tmp_path: Path) -> None:
    """What schemathesis makes of `/openapi.json` is answered as the document says.

    That a run is still there after DELETE is how it is meant: DELETE cancels.
    """
    with serving(tmp_path / 'runs', GEVENT_RESOLVER='tests.service.resolver.Nowhere') as service:
        answer = service.ask('GET', '/openapi.json')
        assert answer.body['openapi'].startswith('3.1') and '/runs/{id}/results' in answer.body['paths']
        process = gevent.subprocess.Popen(
            [
                sys.executable,
                '-m',
                'schemathesis.cli',
                'run',
                f'{service.url}openapi.json',
                '--checks',
                'all',
                '--exclude-checks',
                'use_after_free',
                '--phases',
                phases,
                '--max-examples',
                '100' if os.environ.get('FULL') else '10',
                '--seed',
                '1',
                '--request-timeout',
                str(LONG),
                '--no-color',
            ],
            env={
                # Traced it takes six times as long, and none of our code runs in it.
                **kit.environment(traced=False),
                'PYTHONWARNINGS': '',
                'HYPOTHESIS_STORAGE_DIRECTORY': str(tmp_path / 'hypothesis'),
            },
            cwd=tmp_path,
            stdout=gevent.subprocess.PIPE,
            stderr=gevent.subprocess.STDOUT,
        )
        said, _ = process.communicate(timeout=300 if os.environ.get('FULL') else 110)
        assert process.returncode == 0, said.decode()
        assert json.dumps(answer.body)
