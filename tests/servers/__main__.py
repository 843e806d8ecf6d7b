"""`python -m tests.servers`: ordinary work on real servers. Nothing may be lost that they did not refuse, or doubled.

Each server has its own configuration in a temporary folder, and ports of its own on loopback. What the application behind
it writes down is counted. At closing, keeping and reloading, aiohttp and libcurl do the same work in the same run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import httptools
import urllib3

import napixclient
from tests.servers import verdicts
from tests.servers.counting import Cell, Ledger
from tests.servers.install import PYTHON
from tests.servers.programs import NotRunning, Running, free_port
from tests.servers.table import SERVERS, Missing, Place, Server, application, version_of
from tests.servers.work import Failed, Other, Work

#: How much of the work is done in the quick run.
QUICK = 0.4
COMPARED = 'closing', 'keep', 'reload', 'hosts'
OTHERS: tuple[Other, ...] = ('aiohttp', 'pycurl')


@dataclass
class Row:
    """One server, and what became of the work on it.

    :param why: why nothing was done, '' where it was.
    """

    server: Server
    version: str = ''
    why: str = ''
    seconds: float = 0.0
    cells: dict[str, Cell] = field(default_factory=dict)
    others: dict[str, dict[str, Cell]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            'name': self.server.name,
            'version': self.version,
            'why': self.why,
            'seconds': round(self.seconds, 1),
            'cells': {work: cell.as_json() for work, cell in self.cells.items()},
            'others': {
                client: {work: cell.as_json() for work, cell in cells.items()} for client, cells in self.others.items()
            },
            'known': dict(self.server.known),
            'wrong': self.wrong,
        }


def run(server: Server, share: float) -> Row:
    """Do the work on one server."""
    row = Row(server)
    began = time.monotonic()
    try:
        row.version = version_of(server)
        if server.behind and not PYTHON.exists():
            raise Missing('aiohttp, which runs the application behind it, is not installed')
        with tempfile.TemporaryDirectory(prefix='servers-') as name, ExitStack() as stack:
            _work(server, row, Path(name), stack, share)
    except (Missing, NotRunning) as exc:
        row.why = str(exc)
        if isinstance(exc, NotRunning):
            row.wrong.append(f'it does not run: {exc}')
    except (Failed, subprocess.TimeoutExpired) as exc:
        row.wrong.append(f'another client fails: {exc}')
    row.seconds = time.monotonic() - began
    if row.cells:
        row.wrong += verdicts.wrongs(server, row.cells, row.others)
    return row


def _work(server: Server, row: Row, folder: Path, stack: ExitStack, share: float) -> None:
    folder.chmod(0o755)  # as root, some become another user
    place = Place(folder / 'here', free_port(), free_port(), folder / 'ledger')
    place.folder.mkdir()
    place.folder.chmod(0o777)
    ledger = Ledger(place.ledger)
    if server.behind:
        stack.enter_context(Running(application(place), place.behind, folder / 'behind.log'))
    running = stack.enter_context(Running(server.program(place), place.port, folder / 'log'))
    work = Work(server, running, ledger, place.port, place.behind, share)
    pieces = {
        'gets_2': lambda: work.gets(2),
        'gets_8': lambda: work.gets(8),
        'head': work.head,
        'empty': work.empty,
        'gzip': work.gzip,
        'header_sent': work.header_sent,
        'header_received': work.header_received,
        'closing': work.closing,
        'refused': work.refused,
        'expect': work.expect,
        'chunked': work.chunked,
        **({'keep': work.keep} if server.keeps else {}),
        'reload': work.reload,
    }
    if server.hosts > 1:
        pieces = {'hosts': work.hosts}
    for name, piece in pieces.items():
        row.cells[name] = piece()
        if name in COMPARED and PYTHON.exists():
            for client in OTHERS:
                if client == 'pycurl' or server.takes != 'socks5':  # which aiohttp does not speak
                    row.others.setdefault(client, {})[name] = work.by_another(client, name)


def show(row: Row) -> None:
    """Print a row."""
    told = [verdicts.brief(name, row.cells[name], row.others) for name in row.cells]
    print(
        f'{"WRONG" if row.wrong else "-" if row.why else "ok":6}{row.server.name:21} {row.version:12} '
        f'{row.seconds:5.1f} s  {row.why or ", ".join(filter(None, told)) or "all as on a good day"}',
        flush=True,
    )
    for wrong in row.wrong:
        print(f'      {wrong}', flush=True)


def main() -> bool:
    """Whether all is right."""
    parser = argparse.ArgumentParser(prog='python -m tests.servers', description=__doc__)
    parser.add_argument('--quick', action='store_true', help='some of the servers, and less of the work')
    parser.add_argument('--only', metavar='NAMES', help='servers whose name has one of these in it, between commas')
    parser.add_argument('--json', metavar='FILE', type=Path, help='write down what was counted')
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the servers too
    names = [name.lower() for name in (given.only or '').split(',')]
    chosen = [
        server
        for server in SERVERS
        if (server.quick or not given.quick or given.only) and any(name in server.name.lower() for name in names)
    ]
    if not chosen:
        parser.error(f'no server has one of these in its name: {given.only}')
    began, rows = time.monotonic(), []
    for server in chosen:
        rows.append(run(server, QUICK if given.quick else 1.0))
        show(rows[-1])
    worked = [row for row in rows if row.cells]
    print(
        f'{len(worked)} servers of {len(rows)} in {time.monotonic() - began:.0f} s; '
        f'doubled: {verdicts.total(worked, "doubled")}, over the cap: {verdicts.total(worked, "over")}'
    )
    if given.json:
        given.json.write_text(json.dumps({'about': about(), 'rows': [row.as_json() for row in rows]}, indent=1) + '\n')
    return not any(row.wrong for row in rows)


def about() -> dict[str, Any]:
    """When and with what it was counted."""
    return {
        'date': datetime.date.today().isoformat(),
        'kernel': platform.release(),
        'python': platform.python_version(),
        'napixclient': napixclient.__version__,
        'gevent': gevent.__version__,
        'httptools': httptools.__version__,
        'urllib3': urllib3.__version__,
        'others': _others(),
    }


def _others() -> str:
    """The versions of the other clients."""
    if not PYTHON.exists():
        return ''
    code = 'import aiohttp, pycurl; print("aiohttp", aiohttp.__version__ + ",", *pycurl.version.split()[:2])'
    done = subprocess.run([str(PYTHON), '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


if __name__ == '__main__':
    sys.exit(not main())
