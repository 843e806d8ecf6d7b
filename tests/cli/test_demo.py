"""`napix demo`, the real command: what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import gevent
import gevent.subprocess
import pytest

from tests import kit
from tests.cli.programs import Marked, interrupt, napix, on_terminal, started
from tests.side_by_side import side_by_side

Process = gevent.subprocess.Popen
ROW = re.compile(r' +(\d+) ms  (\S+) +(127\.0\.0\.1:\d+) +(?:(\d+) ms|-)  (\S.*?) *')


@pytest.fixture(scope='module')
def shown() -> kit.Finished:
    """One run of it in a pipe."""
    marked = Marked()
    began = time.monotonic()
    finished = napix('demo', fresh=True, **marked.environment)
    assert time.monotonic() - began < kit.limit(10)
    assert marked.alive() == []
    return finished


def rows(out: str) -> list[tuple[str, ...]]:
    """The rows of the table: after, who, where, took, answer."""
    return [match.groups() for match in map(ROW.fullmatch, out.splitlines()) if match]


@pytest.mark.timed
def test_ends_well(shown: kit.Finished) -> None:
    """It ends with 0 within 10 seconds, without a word on stderr, and no process is left."""
    assert (shown.code, shown.err) == (0, '')


def test_who_answered_what_and_when(shown: kit.Finished) -> None:
    """All 20 hypervisors, the allocator and the filer are in the table, in the order of their answers."""
    table = rows(shown.out)
    names = [who for _, who, *_ in table]
    assert sorted(names) == sorted(['ip-allocator', 'filer', *(f'hv-{number:02}' for number in range(1, 21))])
    whens = [int(after) for after, *_ in table]
    assert whens == sorted(whens)
    assert len({where for _, _, where, *_ in table}) == 22
    answers = {who: answer for _, who, _, _, answer in table}
    assert answers['hv-09'] == 'RefusedError'
    assert answers['hv-13'] == '502 RemoteError'
    assert answers['ip-allocator'].startswith('204 /vm-ip/')
    assert answers['filer'].startswith('204 /storage/')
    assert sum(int(took) > 700 for _, _, _, took, _ in table if took) >= 5  # the slow ones


@pytest.mark.timed
def test_takes_the_first_that_fits(shown: kit.Finished) -> None:
    """The first answer with room is taken, the orders come right after it, together, and the choice is announced."""
    table = rows(shown.out)
    fits = [(who, answer) for _, who, _, _, answer in table if 'GB' in answer and 'too small' not in answer]
    (chosen, answer), *later = fits
    assert answer.endswith('taken')
    assert later
    assert all(answer.endswith('fits, but later') for _, answer in later)
    assert re.search(rf'After \d+ ms {chosen} is taken, the first that fits', shown.out)
    after = {who: int(after) for after, who, *_ in table}
    took = {who: int(took) for _, who, _, took, _ in table if took}
    assert after[chosen] < after['ip-allocator']
    assert after['filer'] < after[chosen] + took['ip-allocator'] + took['filer'] + kit.limit(100)
    assert f'{chosen}, its IP and its storage were there after {after["filer"]} ms.' in shown.out
    # It listened on: slow ones answered after the orders.
    assert max(after.values()) > after['filer']


def test_chain_of_errors(shown: kit.Finished) -> None:
    """The failed hypervisor's error is told hop by hop, to the first cause on another server."""
    where = {who: where for _, who, where, *_ in rows(shown.out)}
    told = shown.out[shown.out.index('hv-13 failed because') :]
    first, second, cause = told.splitlines()[1:4]
    assert re.fullmatch(rf'  GET http://{where["hv-13"]}/capacity/capacity +hv-13 +502 RemoteError *', first)
    assert re.fullmatch(r'  GET http://127\.0\.0\.1:\d+/volumes/vg-13 +storage +500 OSError *', second)
    assert cause == '  The first cause: volume group vg-13 is offline: 2 of its 4 disks have failed'


def test_totals(shown: kit.Finished) -> None:
    """It ends with the requests, the time, and what the same calls would have taken one after the other."""
    found = re.fullmatch(
        r'22 requests in ([\d.]+) s; one after the other they would have taken ([\d.]+) s\.', shown.out.splitlines()[-1]
    )
    assert found
    together, one_by_one = map(float, found.groups())
    assert one_by_one == pytest.approx(sum(int(took or 0) for _, _, _, took, _ in rows(shown.out)) / 1000, abs=0.03)
    assert together < one_by_one / 2


def test_in_a_pipe(shown: kit.Finished) -> None:
    """In a pipe there are no colours, and no line is wider than 80 columns."""
    assert '\x1b' not in shown.out
    assert all(len(line) <= 80 for line in shown.out.splitlines())


@side_by_side([80, 200])
def test_on_a_terminal(columns: int) -> None:
    """On a terminal it is coloured and says the same."""
    code, out, err = on_terminal('demo', fresh=True, traced=False, columns=columns)
    assert (code, err) == (0, '')
    assert '\x1b[' in out
    plain = re.sub(r'\x1b\[[0-9;]*m', '', out)
    assert len(rows(plain)) == 22
    assert all(len(line) <= 80 for line in plain.splitlines())


# Ends ----------------------------------------------------------------------------------------------------------------


def starting(process: Process, marked: Marked) -> None:
    """Some of the peers are there."""
    while len(marked.alive()) < 6:  # a look at all processes is no small matter
        gevent.sleep(0.05)


def started_up(process: Process, marked: Marked) -> None:
    """The first line is there: the requests are being sent."""
    assert b'22 peers are up' in process.stdout.readline()


def choosing(process: Process, marked: Marked) -> None:
    """The choice is made: slow hypervisors and the orders are still to come."""
    while b'is taken' not in process.stdout.readline():
        pass


def telling(process: Process, marked: Marked) -> None:
    """The table is being printed: the end is near."""
    while b'Who answered what' not in process.stdout.readline():
        pass


@side_by_side(
    [(starting, signal.SIGINT), (started_up, signal.SIGTERM), (choosing, signal.SIGINT), (telling, signal.SIGINT)]
)
def test_interrupted(case: tuple[Callable[[Process, Marked], None], int]) -> None:
    """Ctrl-C or SIGTERM, whenever it comes, ends it without a traceback, and no process is left."""
    moment, number = case
    marked = Marked()
    with started('demo', fresh=True, traced=False, **marked.environment) as process:
        moment(process, marked)
        code, _, err = interrupt(process, number)
    assert marked.alive() == []
    assert err == ''
    assert code == 128 + number or (moment is telling and code == 0)


def test_interrupted_at_the_terminal() -> None:
    """Ctrl-C at a terminal goes to the peers as well: they leave it to the demo, whom a second one does not stop."""
    marked = Marked()
    with started('demo', fresh=True, traced=False, **marked.environment) as process:
        choosing(process, marked)
        for pid in marked.alive():
            os.kill(pid, signal.SIGINT)
        code, _, err = interrupt(process)
    assert (marked.alive(), code, err) == ([], 130, '')


@side_by_side([starting, choosing])
def test_killed(moment: Callable[[Process, Marked], None]) -> None:
    """Its peers end also when nobody is left to end them."""
    marked = Marked()
    with started('demo', fresh=True, traced=False, **marked.environment) as process:
        moment(process, marked)
        process.kill()
        process.wait()
        kit.wait_until(lambda: not marked.alive(), 'the end of all peers', 30)


def test_broken_pipe() -> None:
    """A reader who leaves is no reason to say anything, or to leave processes behind."""
    marked = Marked()
    with started('demo', fresh=True, traced=False, **marked.environment) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        assert process.stderr.read() == b''
        assert process.wait(timeout=30) == 1
    assert marked.alive() == []
