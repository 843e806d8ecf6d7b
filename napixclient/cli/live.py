"""The live table on a terminal: overall progress, and the state of each host. Results scroll by above it.

Each frame is one write that overwrites lines in place, so nothing flickers, and printed results are never touched
again. Rich lays out the table; its import takes a tenth of a second, so it happens only if there is a terminal.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from io import StringIO
from time import monotonic
from typing import NamedTuple

import gevent
from gevent.lock import BoundedSemaphore
from rich.cells import cell_len
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..error_texts import duration
from ..errors import HTTPError
from ..messages import Request
from .outcomes import Outcome, milliseconds, status_of, tag_of
from .schedule import Schedule
from .stdio import Output, colours, is_same_terminal, write
from .tally import Tally

__all__ = ['Board', 'Live']

#: Seconds between two frames, and until the first: a run that is over by then needs no table.
_EVERY, _FIRST = 0.1, 0.2
#: Lines of hosts at most, and cells of a host's name.
_ROWS, _NAME = 12, 44
_STATE, _TIME = 16, 9
#: Cells of the bar at least.
_SHORTEST = 4


class _Cell(NamedTuple):
    """A host in the table."""

    host: str
    state: str
    time: str
    style: str


class Board:
    """The data behind the table.

    :param seconds: how long requests are begun, where that and not their number ends the run.
    """

    def __init__(self, schedule: Schedule, tally: Tally, seconds: float | None = None) -> None:
        self._schedule = schedule
        self._tally = tally
        self._seconds = seconds
        self._targets = schedule.targets
        self._few = len(self._targets.hosts) <= 4 * _ROWS
        self._waiting: dict[int, tuple[int, float]] = {}  # number -> place and beginning, the longest wait first
        self._last: dict[int, _Cell] = {}  # place -> its latest outcome, where there are few hosts
        self._failed: deque[_Cell] = deque(maxlen=4 * _ROWS)
        self._good: deque[_Cell] = deque(maxlen=4 * _ROWS)
        self._name = min(max(map(cell_len, self._targets.hosts)), _NAME)
        self._colour = colours(sys.stderr)

    def began(self, request: Request) -> None:
        """A request was sent."""
        self._waiting[request.tag.number] = request.tag.place, request.tag.began

    def ended(self, outcome: Outcome) -> None:
        """A request has its outcome."""
        tag = tag_of(outcome)
        self._waiting.pop(tag.number, None)
        good = not isinstance(outcome, HTTPError)
        cell = _Cell(
            self._targets.hosts[tag.place],
            status_of(outcome),
            duration(milliseconds(outcome) / 1000),
            'green' if good else 'red',
        )
        (self._good if good else self._failed).appendleft(cell)
        if self._few:
            self._last[tag.place] = cell

    # -- the frame -------------------------------------------------------------------------------------------------

    def frame(self, columns: int, lines: int) -> list[str]:
        """The lines of the table, each narrower than the terminal."""
        console = Console(
            file=StringIO(),
            width=columns - 1,
            force_terminal=True,
            highlight=False,
            legacy_windows=False,
            color_system='standard' if self._colour else None,
        )
        rows = max(min(lines // 2 - 2, _ROWS), 0)
        console.print(self._progress(columns - 1))
        if rows > 0:
            across = max((columns - 1) // (self._name + _STATE + _TIME + 6), 1)
            cells, more = self._cells(across * rows)
            console.print(_grid(cells, across, min(self._name, columns - _STATE - _TIME - 7)))
            if more:
                console.print(Text(more, style='dim'), no_wrap=True, overflow='crop')
        assert isinstance(console.file, StringIO)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    def _progress(self, width: int) -> Table:
        tally, grid = self._tally, Table.grid(padding=(0, 2, 0, 0), expand=True)
        ended, total, of_all = float(tally.ended + tally.done), float(max(tally.asked, 1)), f'/{tally.asked:,}'
        if self._seconds is not None:  # of the time, as nobody knows how many there will be
            ended, total, of_all = min(tally.seconds, self._seconds), self._seconds, ''
        wide, bad = max(len(of_all) - 1, 5), tally.bad + tally.silent  # so that the bar stands still
        parts = [
            (f'{tally.ended + tally.done:>{wide},}{of_all}', 'bold'),
            (f'{tally.good:>{wide},} ok', 'green'),
            (f'{bad:,} failed', 'red' if bad else 'dim'),
            (f'{len(self._waiting):>{min(wide, 5)},} waiting', ''),
            (f'{tally.ended / max(tally.seconds, 0.001):,.0f}/s', 'dim'),
            (_clock(tally.seconds), 'dim'),
        ]
        for dispensable in 4, 3, 1:  # on a narrow terminal
            if sum(len(text) + 2 for text, _ in parts) > width - _SHORTEST - 2:
                del parts[dispensable]
        grid.add_column(ratio=1)
        for _ in parts:
            grid.add_column(no_wrap=True, justify='right')
        texts = [Text(text, style=style) for text, style in parts]
        used = sum(map(len, texts)) + 2 * len(texts)
        bar = ProgressBar(
            total=total,
            completed=ended,
            width=max(width - used - 2, _SHORTEST),
            complete_style='green',
            finished_style='green',
            style='bright_black',
        )
        grid.add_row(bar, *texts)
        return grid

    def _cells(self, room: int) -> tuple[list[_Cell], str]:
        """The hosts to show, and a line about those that there is no room for."""
        now, hosts = monotonic(), self._targets.hosts
        waits: dict[int, float] = {}
        for place, began in self._waiting.values():
            waits.setdefault(place, now - began)
            if not self._few and len(waits) >= room:
                break
        if len(hosts) <= min(room, 4 * _ROWS):
            return [self._cell(place, waits) for place in range(len(hosts))], ''
        room -= 1
        waiting = [self._cell(place, waits) for place in waits]
        failed = min(len(self._failed), max(room // 3, room - len(waiting)))
        cells = waiting[: room - failed] + list(self._failed)[:failed]
        cells += list(self._good)[: room - len(cells)]
        to_come = self._schedule.unasked if self._seconds is None else 0
        return (
            cells,
            f'{len(hosts):,} hosts in all, {to_come:,} requests to come' if to_come else f'{len(hosts):,} hosts in all',
        )

    def _cell(self, place: int, waits: dict[int, float]) -> _Cell:
        host = self._targets.hosts[place]
        if place in waits:
            return _Cell(host, 'waiting', duration(waits[place]), 'yellow')
        return self._last.get(place) or _Cell(host, 'to come', '', 'dim')


def _grid(cells: list[_Cell], across: int, name: int) -> Table:
    """The hosts in columns, each filled from top to bottom."""
    down = -(-len(cells) // across)
    grid = Table.grid(padding=(0, 2, 0, 0))
    used = min(across, -(-len(cells) // max(down, 1)))
    for _ in range(used):
        grid.add_column(width=max(name, 4), no_wrap=True, overflow='ellipsis')
        grid.add_column(width=_STATE, no_wrap=True, overflow='ellipsis')
        grid.add_column(width=_TIME, no_wrap=True, justify='right')
    if cells:
        grid.add_row(*(Text(text, style='dim') for _ in range(used) for text in ('host', 'state', 'time')))
    for row in range(down):
        texts: list[Text] = []
        for cell in cells[row::down]:
            texts += [Text(cell.host), Text(cell.state, style=cell.style), Text(cell.time)]
        grid.add_row(*texts)
    return grid


def _clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'


class Live(Output):
    """The output with a table below the results."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._drawn: list[int] = []  # cells of each line that stands there
        self._columns = 0
        self._lock = BoundedSemaphore()
        self._same = is_same_terminal(sys.stdout, sys.stderr)
        super().__init__()
        self._together = False  # notes come above the table
        gevent.get_hub().loop.update_now()  # what was imported took its time
        self._drawer = gevent.spawn_later(_FIRST, self._draw)

    def note(self, text: str) -> None:
        """Write a note about the run, among the results if both streams are on this terminal."""
        if self._same:
            self.put(text)
        else:
            self._show(text.encode(sys.stderr.encoding, 'backslashreplace'), bool(self._drawn))

    def _emit(self, data: bytes) -> None:
        if not self._same:
            super()._emit(data)
            return
        self._show(data, bool(self._drawn))
        if self._drawn:
            gevent.sleep(_EVERY)  # what comes meanwhile is shown together

    def _draw(self) -> None:
        try:
            while True:
                self._show(b'', True)
                gevent.sleep(_EVERY)
        except OSError:  # the terminal is gone: the results tell of it, if they go there
            pass

    def close(self, patience: float | None = None) -> None:
        """Write the rest, and remove the table."""
        self._drawer.kill()
        try:
            with gevent.Timeout(patience, False):  # type: ignore[arg-type]  # a silent one
                self.drain()
                self._show(b'', False)
        finally:
            super().close(patience)

    def _show(self, above: bytes, table: bool) -> None:
        """Write one frame: the text that stays, and the table below it."""
        try:
            self._show_now(above, table)
        except OSError:
            if self._same:  # else nobody sees the table, and the results go elsewhere
                raise

    def _show_now(self, above: bytes, table: bool) -> None:
        with self._lock:
            columns, lines = os.get_terminal_size(self._err)
            rows = self._board.frame(columns, lines) if table and columns > 20 else []
            stays = not above and len(rows) >= len(self._drawn)
            back = self._back(columns, stays)
            self._drawn, self._columns = [_cells(row) for row in rows], columns
            parts = [
                b'\x1b[?2026h',
                back,
                above,
                b'\n'.join(row.encode(sys.stderr.encoding, 'replace') + b'\x1b[K' for row in rows),
                b'\x1b[?2026l',
            ]
            if back or above or rows:
                write(self._err, b''.join(parts))

    def _back(self, columns: int, stays: bool) -> bytes:
        """Moves the cursor to the first line of the table, which is overwritten, or erased if lines take its place.

        It erases line by line, since a terminal told to clear everything below the cursor may keep the old text in
        its scrollback. A terminal that has become narrower has wrapped the lines.
        """
        if not self._drawn:
            return b''
        height = (
            sum(max(-(-cells // columns), 1) for cells in self._drawn) if columns < self._columns else len(self._drawn)
        )
        if stays and columns >= self._columns:
            return b'\r\x1b[%dA' % (height - 1) if height > 1 else b'\r'
        return b'\r\x1b[2K' + b'\x1b[A\x1b[2K' * (height - 1)


def _cells(row: str) -> int:
    return cell_len(Text.from_ansi(row).plain)
