"""The parts of `make test-servers` that need no server, and the page that it fills."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from napixclient import ProtocolError, Request, Response
from tests import kit
from tests.servers import verdicts
from tests.servers.__main__ import run
from tests.servers.counting import Cell, Ledger, count, count_others, new_ids
from tests.servers.programs import NotRunning, Program, Running, free_port
from tests.servers.table import SERVERS, Server
from tests.servers.work import is_right

DOCS = Path(__file__).parent.parent / 'docs'


def answer(request: str, status: int = 200) -> Response:
    """An answer with the id of its request."""
    return Response(Request('h', 'POST', '/'), status, b'HTTP/1.1 200 OK', request.encode(), 0.1, 1)


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    """What a server writes down, and the file that it writes to."""
    return Ledger(tmp_path / 'ledger'), tmp_path / 'ledger'


def test_what_was_carried_out_is_counted(ledger: Any) -> None:
    """Doubled is what began twice, over the cap what was under way beyond it, lost what was not answered as it should."""
    book, path = ledger
    first, second, third = new_ids(3)
    path.write_text(f'B {first}\nB {second}\nB {first}\nE {first}\nE {first}\nE {second}\n')
    failed = ProtocolError('broken')
    outcomes = [(first, answer(first)), (second, failed), (third, answer(third, 413))]
    cell = count(book, outcomes, 2, is_right)
    assert cell == Cell(3, 2, 1, doubled=1, over=1, said={'ProtocolError: broken': 1, '413': 1})
    assert count(book, [], 2, is_right) == Cell()  # what was read is not counted again


def test_what_the_server_knows_nothing_of_is_lost(ledger: Any) -> None:
    """A good answer to what was not carried out is no good answer, nor an error that denies what was."""
    book, path = ledger
    first, second = new_ids(2)
    path.write_text(f'E q\nE q\nB {first}\n')
    denies = ProtocolError('closed')
    denies.unprocessed = True
    cell = count(book, [(first, denies), (second, answer(second))], 0, is_right)
    said = {'ProtocolError: closed': 1, '200, but it was not carried out': 1}
    assert cell == Cell(2, 2, 1, 1, over=1, said=said)  # what began before does not hide what is over the cap
    assert count(book, [(second, answer(second, 413))], 0, lambda *_: True) == Cell(1)


def test_others_are_counted_alike(ledger: Any) -> None:
    """What another client tells is held against the same ledger."""
    book, path = ledger
    path.write_text('B a\nE a\nB a\nE a\nB b\n')
    counted = count_others(book, {'a': 200, 'b': 'closed', 'c': 503})
    assert counted == Cell(3, 2, 1, doubled=1, said={'closed': 1, '503': 1})


#: What was counted, what aiohttp lost, what the server is known for, and whether that is wrong.
VERDICTS: list[tuple[str, Cell, int, dict[str, str], bool]] = [
    ('gets_2', Cell(10), 0, {}, False),
    ('gets_2', Cell(10, lost=1, said={'500': 1}), 0, {}, True),
    ('gets_2', Cell(10, doubled=1), 0, {}, True),
    ('gets_2', Cell(10, over=1), 0, {}, True),
    ('refused', Cell(10, lost=1, said={'502': 1}), 0, {}, False),
    ('refused', Cell(10, lost=1, said={'ReadTimeout: silent': 1}), 0, {}, True),
    ('refused', Cell(10, lost=1, said={'ReadTimeout: silent': 1}), 0, {'refused': 'it is silent'}, False),
    ('refused', Cell(10, lost=1, doubled=1), 0, {'refused': 'it is silent'}, True),
    ('keep', Cell(200, lost=3, said={'ProtocolError: reset': 3}), 0, {}, False),
    ('keep', Cell(200, lost=9, said={'ProtocolError: reset': 9}), 0, {}, True),
    ('keep', Cell(200, lost=9, said={'ProtocolError: reset': 9}), 7, {}, False),
    ('reload', Cell(200, lost=90, said={'503': 90}), 0, {}, False),
    ('reload', Cell(200, lost=1, denied=1, said={'ProtocolError: closed': 1}), 9, {'reload': 'it closes'}, True),
    ('reload', Cell(200, lost=1, said={'ProtocolError: safe to ask again': 1}), 0, {}, True),
]


@pytest.mark.parametrize(('work', 'cell', 'theirs', 'known', 'wrong'), VERDICTS)
def test_verdicts(work: str, cell: Cell, theirs: int, known: dict[str, str], wrong: bool) -> None:
    """No POST doubled, no cap exceeded, and nothing lost that the server had not refused or closed under."""
    server = Server('one', 'one', lambda place: Program([]), known=known)
    others = {'aiohttp': {work: Cell(200, lost=theirs)}}
    assert bool(verdicts.wrongs(server, {work: cell}, others)) is wrong


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """A server is ended with all that it has started, also where it is started anew; one that ends at once is told of."""
    source = (
        'import os, socket, subprocess, sys, time\n'
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        "open('pids', 'a').write(f'{os.getpid()} {child.pid} ')\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        'while True: listener.accept()[0].close()\n'
    )
    port = free_port()
    with Running(Program([sys.executable, '-c', source, str(port)]), port, tmp_path / 'log') as running:
        running.reload()
        running.wait_until_up()
    pids = [int(pid) for pid in (tmp_path / 'pids').read_text().split()]
    assert len(pids) == 4
    kit.wait_until(lambda: not any(_lives(pid) for pid in pids), 'the processes end')
    with pytest.raises(NotRunning, match='no such thing'), Running(
        Program([sys.executable, '-c', 'raise SystemExit("no such thing")']), port, tmp_path / 'log'
    ):  # fmt: skip
        pass


def _lives(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def test_a_server_that_is_missing_is_a_row() -> None:
    """A server that is not installed has a row that says so, and is no failure."""
    row = run(Server('one', 'no-such-server', lambda place: Program([]), ('', '--version')), 1.0)
    assert (row.why, row.cells, row.wrong) == ('no-such-server is not installed', {}, [])
    row = run(Server('one', 'no-such-distribution', lambda place: Program([])), 1.0)
    assert row.why == 'no-such-distribution is not installed' and not row.wrong


def test_the_page_tells_of_each_server() -> None:
    """The tables of the page are of the servers that there are, and of a run that broke no law."""
    rows = json.loads((DOCS / 'servers.json').read_text())['rows']
    assert [row['name'] for row in rows] == [server.name for server in SERVERS]
    assert not any(row['wrong'] for row in rows)
    page = runpy.run_path(str(DOCS / 'servers.py'))
    for table in page['TABLES'].values():
        lines = table(page['figures']())
        assert len({len(line) for line in lines}) == 1
