"""`napix serve` against `ClientPool` with the same requests, in turns: `python -m benchmarks.service`.

20,000 requests over 100 origins on loopback. nginx has a core of its own; the pool, and the service with its store in
SQLite, are processes of their own on the other. `run` is from when the run is kept to its end, `whole` from before it is
submitted to that end, `processor` is the processor's time for all of it. Ratios are medians over the rounds of what the
pool takes, by that. On a machine that has more to do only those by the processor's time say something.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.nginx import LARGE, NginxMissing, nginx
from benchmarks.processes import ROOT, end, output, pinned
from benchmarks.work import addresses
from napixclient import Client

#: Prints the seconds that it took, and those of the processor's.
POOL = """
import sys, time
from gevent import monkey; monkey.patch_all()
from napixclient import ClientPool
_, method, path, body, count, port = sys.argv
body = eval(body)
hosts = [f'127.0.0.{number % 100 + 1}:' + port for number in range(int(count))]
began, busy = time.perf_counter(), time.process_time()
with ClientPool() as pool:
    for host in hosts:
        pool.request(host, method, path, body)
    assert all(answer.status == 200 and answer.body for answer in pool.wait())
print(time.perf_counter() - began, time.process_time() - busy)
"""
HOSTS = 100
#: Seconds between two looks at a run: each costs the service as much as a few dozen requests.
POLL_SECONDS = 0.25


class Case(NamedTuple):
    """What each request is."""

    method: str
    path: str
    body: Any = None


CASES = {
    'get': Case('GET', '/'),
    'post': Case('POST', '/', {'name': 'vm', 'disks': [{'size': 10 << 30, 'pool': 'fast'}], 'owner': 'root'}),
    'large': Case('GET', LARGE),
}


class Took(NamedTuple):
    """Seconds that something took."""

    run: float
    whole: float
    busy: float  # of the processor's


@contextmanager
def service(core: int) -> Iterator[tuple[str, int]]:
    """Where a service listens, and the number of its process."""
    command = [sys.executable, '-m', 'napixclient', 'serve', '--bind', '127.0.0.1:0', '--log-json']
    with tempfile.TemporaryDirectory(prefix='benchmark-service-') as directory, open(f'{directory}/log', 'w+') as log:
        with pinned(core):
            process = subprocess.Popen(
                [*command, '--store', f'sqlite:///{directory}/runs'],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=log,
                text=True,
            )
        try:
            yield listening(process, Path(log.name)), process.pid
        finally:
            end(process)


def listening(process: 'subprocess.Popen[str]', log: Path) -> str:
    """The address at which it listens, as soon as it does."""
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if '"url"' in line:
                return str(json.loads(line)['url']).removeprefix('http://').rstrip('/')
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f'the service did not start:\n{log.read_text()}')


def of_pool(case: Case, count: int, port: int, core: int) -> Took:
    """The pool, once."""
    given = [case.method, case.path, repr(case.body), str(count), str(port)]
    seconds, busy = map(float, output([sys.executable, '-c', POOL, *given], core, 300).split())
    return Took(seconds, seconds, busy)


def of_service(case: Case, count: int, port: int, where: tuple[str, int]) -> Took:
    """The service, once."""
    host, pid = where
    hosts = addresses(HOSTS)
    requests = [
        {'host': f'{hosts[number % HOSTS]}:{port}', 'method': case.method, 'url': case.path, 'body': case.body}
        for number in range(count)
    ]
    data = json.dumps({'requests': requests}).encode()
    with Client(host, timeout=60) as client:
        busy, began = processor_seconds(pid), time.time()
        id = client.request('POST', '/runs', data, {'Content-Type': 'application/json'}).body['id']
        while (run := client.request('GET', f'/runs/{id}').body)['state'] == 'running':
            time.sleep(POLL_SECONDS)
        busy = processor_seconds(pid) - busy
    assert run['counts']['ok'] == count, run
    return Took(run['finished'] - run['created'], run['finished'] - began, busy)


def processor_seconds(pid: int) -> float:
    """What a process has had of the processor."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def show(name: str, count: int, rounds: list[tuple[Took, Took]]) -> None:
    """A line for what was measured."""
    rates = [f'{count / median(pair[who].run for pair in rounds):7,.0f}/s' for who in (0, 1)]
    ratios = {
        'run': [pool.run / ours.run for pool, ours in rounds],
        'whole': [pool.whole / ours.whole for pool, ours in rounds],
        'processor': [pool.busy / ours.busy for pool, ours in rounds],
    }
    shown = '  '.join(f'{what} {median(all):.2f} ({min(all):.2f}–{max(all):.2f})' for what, all in ratios.items())
    times = [f'{median(pair[who].busy for pair in rounds) / count * 1e6:5.1f} µs' for who in (0, 1)]
    print(f'{name:6} pool {rates[0]} {times[0]}   service {rates[1]} {times[1]}   {shown}', flush=True)


def main() -> int:
    """Measure in turns, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--requests', type=int, default=20_000)
    parser.add_argument('--cases', default=','.join(CASES), help=f'of {",".join(CASES)}')
    asked = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    try:
        with nginx(HOSTS, max(os.sched_getaffinity(0))) as server, service(core) as where:
            for name in asked.cases.split(','):
                case, count = CASES[name], asked.requests
                rounds = [
                    (of_pool(case, count, server.port, core), of_service(case, count, server.port, where))
                    for _ in range(asked.rounds)
                ]
                show(name, count, rounds)
    except NginxMissing as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
