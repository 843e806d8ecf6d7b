"""The command line: `python -m benchmarks`, from the root of the repository."""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, QUICK, Size, print_table
from benchmarks.chart import draw
from benchmarks.nginx import NginxMissing, executable
from benchmarks.processes import raise_open_files
from benchmarks.runner import CONTENDERS, FLOORS, NAMED, SHARED, Runner
from benchmarks.targets import verdicts

#: All clients, each once, and what is measured beside them.
ALL = tuple(dict.fromkeys((*CONTENDERS, *NAMED, *SHARED, *FLOORS)))
PACKAGES = (
    'napixclient gevent httptools urllib3 pycurl pyreqwest wreq uvloop geventhttpclient aiohttp aiodns grequests '
    'requests httpx httpx2 zapros'
).split()


def names(known: Sequence[str]) -> Any:
    """An argparse type: names, separated by commas, out of `known`."""

    def parse(text: str) -> list[str]:
        given = [name.strip() for name in text.split(',') if name.strip()]
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(known)}')
        return given

    return parse


def parser() -> argparse.ArgumentParser:
    contenders = [contender.name for contender in ALL]
    result = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__, allow_abbrev=False)
    result.add_argument('--quick', action='store_true', help='everything, but small: under two minutes, and noisy')
    result.add_argument('--rounds', type=int, help='rounds of every interleaved case')
    result.add_argument('--requests', type=int, help='requests of the cases speed, shared and https')
    result.add_argument('--hosts', type=int, help='origins of the cases speed, shared and https')
    result.add_argument(
        '--only', type=names(contenders), default=[], metavar='NAME,…', help=f'of {", ".join(contenders)}'
    )
    result.add_argument(
        '--cases', type=names(list(CASES)), default=list(CASES), metavar='CASE,…', help=f'of {", ".join(CASES)}'
    )
    result.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')
    result.add_argument('--chart', type=Path, metavar='FILE', help='draw speed and memory here (.svg or .png)')
    return result


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    started = time.monotonic()
    try:
        results = run(options)
    except NginxMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n')
    if options.chart:
        chart(results, options.chart)
    print(f'\n{time.monotonic() - started:.0f} s in all')
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the cases, print them as they end, and return everything for the JSON."""
    server = executable()
    size = QUICK if options.quick else Size()
    given = {name: getattr(options, name) for name in ('rounds', 'requests', 'hosts') if getattr(options, name)}
    if options.rounds:
        given['more_rounds'] = options.rounds
    size = replace(size, **given)
    about = machine(server, raise_open_files())
    with tempfile.TemporaryDirectory(prefix='benchmark-') as directory:
        runner = Runner(Path(directory), options.only)
        for contender in filter(runner.wanted, ALL):
            if lacking := runner.lacking(contender):
                print(f'{contender.label}: left out, not installed: {", ".join(lacking)}', file=sys.stderr)
        if runner.client_core == runner.server_core:
            print('Only one core: client and server share it, the figures say little.', file=sys.stderr)
        cases = {name: CASES[name](runner, size) for name in options.cases}
    if judged := list(verdicts(cases)):
        rows = [[what, found, 'met' if met else 'MISSED'] for what, found, met in judged]
        title = 'targets (in a quick run they say little)' if options.quick else 'targets'
        print_table(title, [['target', 'found', ''], *rows])
    targets = [{'target': what, 'found': found, 'met': met} for what, found, met in judged]
    return {'machine': about, 'quick': options.quick, 'cases': cases, 'targets': targets}


def chart(results: dict[str, Any], file: Path) -> None:
    if not {'speed', 'memory'} <= results['cases'].keys():
        print('No chart: it needs the cases speed and memory.', file=sys.stderr)
        return
    try:
        draw(results, file)
    except ImportError:
        print('No chart: matplotlib is not installed.', file=sys.stderr)


def machine(server: str, open_files: int) -> dict[str, Any]:
    """What was measured where: versions, processor, load at the start."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    model = re.search(r'^model name\s*:\s*(.*)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    return {
        'date': time.strftime('%Y-%m-%d'),
        'processor': model[1] if model else platform.machine(),
        'cores': os.cpu_count(),
        'load': os.getloadavg()[0],
        'open_files': open_files,
        'kernel': platform.release(),
        'python': platform.python_version(),
        'openssl': ssl.OPENSSL_VERSION.split()[1],
        'nginx': version([server, '-v']),
        'go': version([shutil.which('go') or '', 'version']),
        'curl': version([shutil.which('curl') or '', '--version']),
        'packages': versions,
    }


def version(command: list[str]) -> str | None:
    """The first number with a dot in what a program says of itself; None without the program."""
    if not command[0]:
        return None
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    number = re.search(r'\d+(\.\d+)+', said.stdout + said.stderr)
    return number[0] if number else None


if __name__ == '__main__':
    sys.exit(main())
