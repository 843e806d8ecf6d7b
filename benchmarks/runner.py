"""Who takes part, and how they are run: a process for each run, on one core, in turns (A B C A B C ...)."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.nginx import Server, make_body, nginx
from benchmarks.processes import ROOT, environment, output
from benchmarks.sink import sink

RUN_TIMEOUT = 300.0


@dataclass(frozen=True)
class Contender:
    """A client under one way of using it. `share` is the part of the requests that a slow one is given.

    `alone` is what has to be installed in an environment of its own, since it would spoil that of the others.
    """

    name: str
    label: str
    module: str
    needs: tuple[str, ...]
    mode: str = ''
    share: float = 1.0
    open_files: int | None = None
    alone: str = ''


NAPIXCLIENT = Contender('napixclient', 'napixclient', 'napixclient', ('gevent', 'urllib3', 'httptools'))
PYCURL = Contender('pycurl', 'pycurl multi', 'pycurl_multi', ('pycurl',))
PYCURL_TUNED = Contender('pycurl-tuned', 'pycurl multi, tuned by hand', 'pycurl_tuned', ('pycurl',))
PYREQWEST = Contender('pyreqwest', 'pyreqwest, uvloop', 'pyreqwest_uvloop', ('pyreqwest', 'uvloop'))
WREQ = Contender('wreq', 'wreq, uvloop', 'wreq_uvloop', ('wreq', 'uvloop'))
GO = Contender('go', 'Go net/http', 'main.go', ())
GEVENTHTTPCLIENT = Contender('geventhttpclient', 'geventhttpclient', 'geventhttpclient', ('geventhttpclient',))
AIOHTTP = Contender('aiohttp', 'aiohttp', 'aiohttp', ('aiohttp',))

CURL = Contender('curl', 'curl -Z', 'curl', ())
#: Who takes part where names are looked up.
NAMED = (
    NAPIXCLIENT,
    GO,
    CURL,
    AIOHTTP,
    Contender('aiohttp-aiodns', 'aiohttp, aiodns', 'aiohttp', ('aiohttp', 'aiodns'), mode='aiodns'),
)
#: What the least is that a case can cost here. They are no clients.
BARE_LOOP = Contender('bare-loop', 'a bare loop on gevent and httptools', 'bare_loop', ('gevent', 'httptools'))
BARE_SSL = Contender('bare-ssl', "Python's own ssl, in a bare loop", 'bare_ssl', ())
BARE_JSON = Contender('bare-json', 'json.loads of bytes that are held', 'bare_json', ())
FLOORS = (BARE_LOOP, BARE_SSL, BARE_JSON)
AIOHTTP_WORKERS = Contender('aiohttp-workers', 'aiohttp, 2 workers per host', 'aiohttp', ('aiohttp',), mode='workers')
HTTPX = Contender('httpx', 'httpx', 'httpx', ('httpx',), share=0.05)
URLLIB3_THREADS = Contender('urllib3-threads', 'urllib3, 16 threads', 'urllib3_threads', ('urllib3',), share=0.2)
ASYNC_POOL = Contender(
    'napixclient-asyncio', 'AsyncPool, asyncio', 'napixclient_shared', NAPIXCLIENT.needs, mode='asyncio'
)
ASYNC_POOL_UVLOOP = Contender(
    'napixclient-uvloop', 'AsyncPool, uvloop', 'napixclient_shared', (*NAPIXCLIENT.needs, 'uvloop'), mode='uvloop'
)
SHARED_POOL = Contender(
    'napixclient-threads', 'SharedPool, 16 threads', 'napixclient_shared', NAPIXCLIENT.needs, mode='threads'
)

CONTENDERS = (
    NAPIXCLIENT,
    PYCURL,
    PYCURL_TUNED,
    GO,
    PYREQWEST,
    WREQ,
    GEVENTHTTPCLIENT,
    Contender(
        'geventhttpclient-workers',
        'geventhttpclient, 2 workers per host',
        'geventhttpclient',
        ('geventhttpclient',),
        mode='workers',
    ),
    AIOHTTP,
    AIOHTTP_WORKERS,
    Contender('urllib3', 'urllib3, gevent', 'urllib3_gevent', ('urllib3', 'gevent'), share=0.2),
    Contender('grequests', 'grequests', 'grequests', ('grequests',), share=0.1),
    HTTPX,
    Contender('httpx-clients', 'httpx, a client per host', 'httpx', ('httpx',), mode='clients', share=0.1),
    Contender('httpx2', 'httpx2', 'httpx2', ('httpx2',), share=0.05),
    Contender('httpx2-clients', 'httpx2, a client per host', 'httpx2', ('httpx2',), mode='clients', share=0.1),
    Contender('zapros', 'zapros', 'zapros', ('zapros',), share=0.2),
    Contender('niquests', 'niquests', 'niquests', (), share=0.1, alone='niquests>=3.21,<4'),
)

#: Those that receive and send large bodies.
BODIES = tuple(
    replace(contender, module=f'bodies.{contender.module}')
    for contender in (NAPIXCLIENT, PYCURL, Contender('urllib3', 'urllib3', 'urllib3_plain', ('urllib3',)), AIOHTTP)
)

#: Those of the case `shared`: from asyncio, from uvloop, from threads.
SHARED = (
    NAPIXCLIENT,
    ASYNC_POOL,
    ASYNC_POOL_UVLOOP,
    SHARED_POOL,
    PYREQWEST,
    WREQ,
    AIOHTTP_WORKERS,
    AIOHTTP,
    HTTPX,
    URLLIB3_THREADS,
)


@dataclass(eq=False)
class Row:
    """A contender and its runs, one a round."""

    contender: Contender
    requests: int
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Requests per second, round by round."""
        return [run['requests'] / run['seconds'] for run in self.runs]

    @property
    def cpu_us(self) -> list[float]:
        """CPU time per request in µs, user and system, round by round: what else runs disturbs it less."""
        return [1e6 * run['cpu_seconds'] / run['requests'] for run in self.runs]

    def cpu_ratios(self, baseline: 'Row | None') -> list[float]:
        """How many times the CPU time of ours `baseline` takes for a request, round by round."""
        if baseline is None:
            return []
        return [theirs / ours for ours, theirs in zip(self.cpu_us, baseline.cpu_us, strict=False)]

    @property
    def busy(self) -> float:
        """The part of the time that it had its core, by the median. All of these clients can use one up."""
        return median(run['cpu_seconds'] / run['seconds'] for run in self.runs)

    @property
    def resumed(self) -> float:
        """The part of the requests whose connection resumed a session of TLS, as the server says."""
        return self.median('resumed')

    @property
    def failures(self) -> int:
        return int(sum(run['failures'] for run in self.runs))

    def median(self, figure: str) -> float:
        return median(run[figure] for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        return {
            'name': self.contender.name,
            'label': self.contender.label,
            'requests': self.requests,
            'per_second': round(median(self.rates)),
            'rounds': [round(rate) for rate in self.rates],
            'cpu_us': round(median(self.cpu_us), 1),
            'busy': round(self.busy, 2),
            'failures': self.failures,
            'rss_mb': round(self.median('rss_mb'), 1),
            **({'rss_handed_out_mb': round(self.median('rss_handed_out_mb'), 1)} if self.hands_out_undecoded else {}),
        }

    @property
    def hands_out_undecoded(self) -> bool:
        """Whether it says what it held before its answers were decoded."""
        return all('rss_handed_out_mb' in run for run in self.runs)


class Runner:
    """Runs contenders on one core against an nginx on another. `directory` takes what has to be built.

    :param connections: ask by name, with so many requests in flight at most; 0 for by address, and for any number.
    """

    def __init__(self, directory: Path, only: Sequence[str] = (), connections: int = 0) -> None:
        self.directory = directory
        self.connections = connections
        self.only = only
        cores = sorted(os.sched_getaffinity(0))
        self.client_core = cores[0]
        self.server_core = cores[-1]
        self.go: str | None = None
        if self.wanted(GO):
            self.go = self.build_go()

    def wanted(self, contender: Contender) -> bool:
        """By --only: a contender by its name, or by the first part of it."""
        return not self.only or contender.name in self.only or contender.name.split('-')[0] in self.only

    def lacking(self, contender: Contender) -> list[str]:
        """What has to be installed before this contender can run."""
        if contender is GO:
            return [] if self.go else ['Go']
        if contender is CURL:
            return [] if shutil.which('curl') else ['curl']
        if contender.alone and not self.python(contender):
            return [contender.alone]
        return [name for name in contender.needs if importlib.util.find_spec(name) is None]

    def python(self, contender: Contender) -> str | None:
        """The interpreter that runs a contender; `None` where its environment cannot be made."""
        return environment(self.directory / contender.name, contender.alone) if contender.alone else sys.executable

    def build_go(self) -> str | None:
        """Build main.go. Needs Go alone: no module, no dependency, no C compiler."""
        go = shutil.which('go')
        if go is None:
            return None
        program = self.directory / 'go-net-http'
        source = Path(__file__).parent / 'contenders' / 'main.go'
        environment = {**os.environ, 'GO111MODULE': 'off', 'CGO_ENABLED': '0'}
        subprocess.run([go, 'build', '-o', str(program), str(source)], cwd=ROOT, env=environment, check=True)
        return str(program)

    def taking_part(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those of `contenders` that are wanted and installed."""
        return [contender for contender in contenders if self.wanted(contender) and not self.lacking(contender)]

    def compare(
        self,
        contenders: Sequence[Contender],
        requests: int,
        hosts: int,
        rounds: int,
        may_fail: bool = False,
        **serving: Any,
    ) -> list[Row]:
        """Run all of them `rounds` times, in turns. One that breaks is reported on stderr and left out.

        So is one of whose requests some failed, unless it `may_fail`.

        :param serving: how nginx serves.
        """
        rows = self.rows(contenders, requests, hosts)
        with nginx(hosts, self.server_core, **serving) as server:
            self.take_turns(server, rows, hosts, rounds, may_fail, ['--size', str(serving.get('body', 0))])
        return rows

    def upload(self, contenders: Sequence[Contender], size: int, rounds: int) -> list[Row]:
        """Have all of them send a file of so many bytes, `rounds` times in turns."""
        file = self.directory / 'upload'
        make_body(file, size)
        with file.open('rb') as made:
            while made.read(1 << 20):  # so that nobody has to wait for the disk
                pass
        rows = self.rows(contenders, 1, 1)
        with sink(self.server_core) as server:
            self.take_turns(server, rows, 1, rounds, False, ['--size', str(size), '--file', str(file)])
        return rows

    def rows(self, contenders: Sequence[Contender], requests: int, hosts: int) -> list[Row]:
        """A row for each that takes part, with as many requests as it is given."""
        return [Row(c, max(hosts, round(requests * c.share))) for c in self.taking_part(contenders)]

    def take_turns(
        self, server: Server, rows: list[Row], hosts: int, rounds: int, may_fail: bool, more: Sequence[str]
    ) -> None:
        """Run all of them `rounds` times, in turns, against a server that runs; those that break are taken out.

        :param more: arguments of theirs.
        """
        for number in range(rounds):
            for row in list(rows):
                progress(f'{hosts:,} origins, round {number + 1} of {rounds}: {row.contender.label}')
                try:
                    run = self.run(row.contender, row.requests, hosts, server, more)
                    if run['failures'] and not may_fail:
                        raise RuntimeError(
                            f'{run["failures"]} of {row.requests} requests failed, first {run["first_failure"]}'
                        )
                except RuntimeError as broken:
                    progress('')
                    print(f'{row.contender.label}: left out: {broken}', file=sys.stderr)
                    rows.remove(row)
                else:
                    row.runs.append(run)
        progress('')

    def run(
        self, contender: Contender, requests: int, hosts: int, server: Server, more: Sequence[str]
    ) -> dict[str, Any]:
        """Run one contender once and return its figures; RuntimeError if it breaks."""
        if contender is GO and self.go:
            command, more = [self.go], []
        else:
            command = [
                str(self.python(contender)),
                '-W',
                'ignore',
                '-m',
                f'benchmarks.contenders.{contender.module}',
                '--mode',
                contender.mode,
            ]
        command += ['--requests', str(requests), '--hosts', str(hosts), '--port', str(server.port), *more]
        if server.ca:
            command += ['--ca', server.ca]
        if self.connections:
            command += ['--named', '--connections', str(self.connections)]
        if contender.open_files:
            command += ['--open-files', str(contender.open_files)]
        before = len(server.logged())
        figures: dict[str, Any] = json.loads(output(command, self.client_core, RUN_TIMEOUT))
        return {**figures, 'resumed': server.logged()[before:].count('r') / requests}


def ratios(row: Row | None, baseline: Row | None) -> list[float]:
    """How many times as fast as `baseline`, round by round: what the machine does meanwhile hits both alike."""
    if row is None or baseline is None:
        return []
    return [ours / theirs for ours, theirs in zip(row.rates, baseline.rates, strict=False)]


def find(rows: Sequence[Row], contender: Contender) -> Row | None:
    return next((row for row in rows if row.contender is contender), None)


def progress(text: str) -> None:
    """Say on one line of the terminal what is going on; nothing where there is no terminal."""
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
