"""Distinct names, each asked once, of a DNS server that takes its time: `python -m benchmarks.names`.

All of it runs in a network namespace of its own, which this program makes by `unshare` and which ends with it: there the
DNS server is the system's, and nothing that is asked leaves the machine. It takes root.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, end, pinned, raise_open_files
from benchmarks.runner import NAMED, Row, Runner

#: Seconds after which the DNS server answers.
DELAY = 0.02
#: Requests in flight, or connections, at most.
CONNECTIONS = 500
#: A network and mounts of its own.
UNSHARE = ['unshare', '--net', '--mount']


def lacking() -> str:
    """Why there can be no namespace here; empty where there can."""
    for program in 'unshare', 'ip', 'mount':
        if shutil.which(program) is None:
            return f'{program} is not installed'
    tried = subprocess.run([*UNSHARE, 'true'], capture_output=True, text=True, check=False)
    return '' if tried.returncode == 0 else f'it takes root: {tried.stderr.strip()}'


def compare(names: int, rounds: int, only: Sequence[str]) -> list[Row]:
    """Run all that look names up, in turns, in a namespace."""
    command = [*UNSHARE, sys.executable, '-m', 'benchmarks.names', 'inside']
    command += ['--names', str(names), '--rounds', str(rounds), '--only', ','.join(only)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    runs: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return [Row(contender, names, runs[contender.name]) for contender in NAMED if contender.name in runs]


@contextmanager
def dns_server(core: int) -> Iterator[None]:
    """In the namespace: have its network, and a DNS server that is the system's."""
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    with tempfile.TemporaryDirectory(prefix='benchmark-etc-') as directory:
        for name, text in ('resolv.conf', 'nameserver 127.0.0.1\n'), ('nsswitch.conf', 'hosts: files dns\n'):
            file = Path(directory) / name
            file.write_text(text)
            subprocess.run(['mount', '--bind', str(file), os.path.realpath(f'/etc/{name}')], check=True)
        with pinned(core):
            command = [sys.executable, '-m', 'benchmarks.dns_server', str(DELAY)]
            server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None and server.stdout.readline(), 'the DNS server did not start'
            yield
        finally:
            end(server)


def inside(names: int, rounds: int, only: Sequence[str]) -> None:
    """In the namespace: run them, and print their figures."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as directory:
        runner = Runner(Path(directory), only, CONNECTIONS)
        with dns_server(runner.server_core):
            rows = runner.compare(NAMED, names, names, rounds)
    print(json.dumps({row.contender.name: row.runs for row in rows}))


def main() -> int:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('where', nargs='?', choices=['inside'], help=argparse.SUPPRESS)
    parser.add_argument('--names', type=int, default=2000)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--only', default='', help='only these, separated by commas')
    asked = parser.parse_args()
    only = [name for name in asked.only.split(',') if name]
    raise_open_files()
    if asked.where == 'inside':
        inside(asked.names, asked.rounds, only)
        return 0
    if why := lacking():
        print(f'left out: {why}', file=sys.stderr)
        return 2
    for row in compare(asked.names, asked.rounds, only):
        print(json.dumps(row.as_json()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
