"""On a terminal: columns, colours, the live table; looked at on a terminal of our own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import gevent

from tests import kit
from tests.cli.programs import PIPE, everything_on, on_terminal, resize, started, terminal
from tests.cli.screen import Screen
from tests.cli.servers import answering, hosts_of, several
from tests.side_by_side import side_by_side

BAR = re.compile(r'^[━╸╺]+ +([\d,]+)/([\d,]+) +([\d,]+) ok +([\d,]+) failed +([\d,]+) waiting +[\d,]+/s +\d+:\d\d$')


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r'\x1b\[[0-9;]*m', '', text)


# Lines ---------------------------------------------------------------------------------------------------------------


def test_columns(refused: str) -> None:
    """With standard output on a terminal the lines are columns, coloured, and no wider than it is."""
    with several('x' * 200, '宽' * 200, 'short\x1b[2J') as servers:
        code, out, err = on_terminal('get', f'{hosts_of(servers)},{refused}', '/', columns=70)
    assert (code, err.count('\n')) == (1, 1)
    assert '\x1b[32m200' in out
    assert '\x1b[31mRefusedError' in out
    screen = Screen(70, 10)
    screen.feed(out)
    assert len([line for line in screen.everything if line]) == 4
    assert 'short\\x1b[2J' in out


@side_by_side(
    [
        ({'NO_COLOR': '1'}, False),
        ({'CLICOLOR': '0'}, False),
        ({'TERM': 'dumb'}, False),
        ({}, True),
        ({'CLICOLOR': '0', 'CLICOLOR_FORCE': '1'}, True),
    ]
)
def test_colours(case: tuple[dict[str, str], bool]) -> None:
    """NO_COLOR, CLICOLOR and CLICOLOR_FORCE are respected, in the table as well; a dumb terminal has no table."""
    env, coloured = case
    with kit.serve(lambda *_: gevent.sleep(0.5)) as server:
        code, out, _ = on_terminal('get', server.host, '/', both=True, **env)
    assert code == 0
    assert ('\x1b[3' in out) == coloured
    assert ('1 waiting' in plain(out)) == ('TERM' not in env)


# The table -----------------------------------------------------------------------------------------------------------


def watched(*arguments: object, columns: int, lines: int, act: Callable[[int], None] = lambda slave: None) -> Screen:
    """Run `napix` on a terminal; the terminal afterwards, when a table stood there and is gone."""
    with terminal(columns, lines) as (master, slave):
        with started(*arguments, stdout=slave, stderr=slave) as process:
            acting = gevent.spawn(act, slave)
            out = everything_on(master, slave, process)
            acting.get()
    screen = Screen(columns, lines)
    screen.feed(out)
    assert screen.snapshots
    assert not [line for line in screen.everything if '━' in line or 'waiting' in line], 'left over'
    return screen


@side_by_side([80, 200])
def test_few_hosts(columns: int) -> None:
    """With a few hosts each has its place in the table, with state and time; a line is above it as soon as it is there."""
    gate = kit.Gate()
    with several(*'abc', (503, 'out of order'), gate=gate) as servers, answering('quick') as quick:

        def act(slave: int) -> None:
            held = gate.wait_for(4)
            gevent.sleep(0.5)
            for request in held:
                if request.peer.server is servers[3]:
                    request.release()
            gevent.sleep(0.3)
            gate.open()

        screen = watched('get', f'{hosts_of(servers)},{quick.host}', '/', columns=columns, lines=24, act=act)
    assert len([line for line in screen.everything if re.match(r'127\.0\.0\.1:\d+  +(200|503) +[\d.]+ ms', line)]) == 5
    shown = screen.snapshots[-3]
    bar = next(place for place, line in enumerate(shown) if '━' in line)
    assert BAR.match(shown[bar].rstrip())
    table = '\n'.join(shown[bar:])
    assert all(server.host in table for server in servers)
    assert {'waiting', '200'} <= set(re.findall(r'\w+', table))
    assert all(len(line) < columns for line in shown[bar:])
    assert [line for line in shown[:bar] if line.startswith(quick.host)]


def test_no_flicker() -> None:
    """A frame is one piece, the table is in each between the first and the last, and only changes are seen."""
    gate = kit.Gate()
    with several(*'abc', gate=gate) as servers:

        def act(slave: int) -> None:
            held = gate.wait_for(3)
            for request in held:
                gevent.sleep(0.4)
                request.release()

        screen = watched('get', hosts_of(servers), '/', columns=80, lines=24, act=act)
    with_table = ['━' in ''.join(rows) for rows in screen.snapshots]
    first, last = with_table.index(True), len(with_table) - with_table[::-1].index(True)
    assert all(with_table[first:last])
    places = [next(place for place, line in enumerate(rows) if '━' in line) for rows in screen.snapshots[first:last]]
    assert places == sorted(places)  # it only moves down, a line for each answer
    assert places[-1] - places[0] <= 3


@side_by_side([(80, 24), (200, 50)])
def test_many_hosts(size: tuple[int, int]) -> None:
    """With more hosts than there is room for, those who wait and those who failed are shown; no line is lost."""
    columns, lines = size
    with kit.serve(
        lambda method, path, headers, body: gevent.sleep(0.4) or (500 if path.endswith('7') else 200, 'x'),
        address='0.0.0.0',
    ) as server:
        screen = watched('get', f'127.0.[0-1].[1-150]:{server.port}', '/', '-f', 100, columns=columns, lines=lines)
    hosts = [line.split()[0] for line in screen.everything if ' ms  x' in line]
    assert (len(hosts), len(set(hosts))) == (300, 300)
    shown = next(rows for rows in screen.snapshots if any(line.startswith('300 hosts in all') for line in rows))
    bar = next(line for line in shown if '━' in line).rstrip()
    found = BAR.match(bar)
    assert found and int(found[2]) == 300
    assert len([line for line in shown if line]) <= lines
    assert all(len(line) < columns or ' ms  ' in line for line in shown)


def test_apart() -> None:
    """With standard output elsewhere the table is on standard error all the same, and nothing but results goes there."""
    with kit.serve(lambda *_: gevent.sleep(0.5)) as server, terminal() as (master, slave):
        with started('get', server.host, '/', '-v', '--json', stderr=slave) as process:
            reading = gevent.spawn(process.stdout.read)
            err = everything_on(master, slave, process)
            assert re.fullmatch(rb'{"index":0,.*}\n', reading.get())
    screen = Screen(80, 40)
    screen.feed(err)
    assert any('1 waiting' in line for rows in screen.snapshots for line in rows)
    assert screen.everything[0] == f'> GET http://{server.host}/'
    assert not any('━' in line for line in screen.everything)


def test_narrower() -> None:
    """A terminal that becomes narrower, or tiny, does not break it; nor does one that has no size."""
    gate = kit.Gate()
    with several(*'abc', gate=gate) as servers:

        def act(slave: int) -> None:
            held = gate.wait_for(3)
            for request, size in zip(held, ((60, 24), (30, 8), (10, 2)), strict=True):
                gevent.sleep(0.3)
                resize(slave, *size)
                gevent.sleep(0.2)
                request.release()

        with terminal(80, 24) as (master, slave):
            with started('get', hosts_of(servers), '/', stdout=slave, stderr=slave) as process:
                acting = gevent.spawn(act, slave)
                out = everything_on(master, slave, process)
                acting.get()
                assert process.returncode == 0
    assert 'Traceback' not in out
    with kit.serve(lambda *_: gevent.sleep(0.4)) as server:
        assert on_terminal('get', server.host, '/', both=True, columns=0, lines=0).code == 0
    with kit.serve(lambda *_: 'nautilus') as server:
        assert 'nautilus' in on_terminal('get', server.host, '/', columns=0, lines=0).out


def test_a_narrow_terminal() -> None:
    """In 40 columns each answer is a line with a piece of its body, bars fit, and the table says in words that are whole."""
    gate = kit.Gate()
    with several({'name': 'nautilus'}, (503, b''), gate=gate) as servers:

        def act(slave: int) -> None:
            gate.wait_for(2)
            gevent.sleep(0.5)  # for a frame of the table
            gate.open()

        screen = watched('get', hosts_of(servers), '/', '--summary', columns=40, lines=40, act=act)
    for server in servers:
        (line,) = (line for line in screen.everything if line.startswith(server.host))
        assert re.match(r'[\d.:]+  (200  [\d.]+ ms  \{"na.*…|503  [\d.]+ ms)$', line), line
    table = next(rows for rows in screen.snapshots if any('━' in line for line in rows))
    (progress,) = (line for line in table if '━' in line)
    assert re.fullmatch(r'━+ +0/2  0 failed  \d+:\d\d', progress.strip()), progress
    bars = [line for line in screen.everything if '■' in line]
    assert bars and all(line.startswith('  up to ') for line in bars), bars  # none is wrapped


def test_interrupted() -> None:
    """Ctrl-C tells who is pending above the table; the second takes the table away, and the closing line ends it."""
    gate = kit.Gate()
    with several(*'ab', gate=gate) as servers:

        def act(process: object) -> None:
            gate.wait_for(2)
            gevent.sleep(0.5)
            for _ in range(2):
                process.send_signal(signal.SIGINT)  # type: ignore[attr-defined]
                gevent.sleep(0.3)

        with terminal() as (master, slave):
            with started('get', hosts_of(servers), '/', stdout=slave, stderr=slave) as process:
                acting = gevent.spawn(act, process)
                out = everything_on(master, slave, process)
                acting.get()
                assert process.returncode == 130
    screen = Screen(80, 40)
    screen.feed(out)
    lines = [line for line in screen.everything if line]
    assert lines[0].startswith('napix: waiting for 2 of 2: 127.0.0.1:[')
    assert lines[-1].endswith('2 not waited for') or lines[-2].startswith('2 hosts in')
    assert '━' not in ''.join(lines)


def test_quiet_and_quick() -> None:
    """With -q there is no table, nor for a run that is over at once."""
    with answering() as server, kit.serve(lambda *_: gevent.sleep(0.5)) as slow:
        assert on_terminal('get', slow.host, '/', '-q', both=True) == (0, '', '')
        out = on_terminal('get', server.host, '/', both=True).out
    assert '━' not in out
    screen = Screen(80, 40)
    screen.feed(out)
    assert [bool(line) for line in screen.everything[:3]] == [True, True, False]


@side_by_side([False, True])
def test_terminal_goes_away(hung_up: bool) -> None:
    """A terminal that goes away ends a run whose results went there; no process stays behind."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, answering() as quick:
        with terminal() as (master, slave):
            with started(
                'get',
                f'{quick.host},{server.host}',
                '/',
                '--repeat',
                2,
                stdout=slave if hung_up else PIPE,
                stderr=slave,
            ) as process:
                gate.wait_for(2)
                gevent.sleep(0.4)
                with open(os.devnull) as null:
                    os.dup2(null.fileno(), master)  # it was the last descriptor on our side
                gevent.sleep(0.3)
                gate.open()
                if hung_up:
                    assert process.wait(timeout=30) == 1
                else:
                    assert process.stdout.read().count(b'\n') == 4
                    assert process.wait(timeout=30) == 0


def test_json_on_a_terminal() -> None:
    """Lines that are longer than the terminal is wide stay whole above the table."""
    with kit.serve(lambda *_: gevent.sleep(0.3) or ({'x': 'y' * 300})) as server:
        code, out, _ = on_terminal('get', server.host, '/', '--repeat', 6, '--json', both=True)
    screen = Screen(80, 40)
    screen.feed(out)
    assert code == 0
    assert ''.join(screen.everything).count('y' * 300) == 6
