"""Prints each outcome as it arrives: in columns on a terminal, and as a file for its host."""

from __future__ import annotations

import os
import sys
from urllib.parse import quote

from ..errors import HTTPError
from .formats import Format
from .outcomes import Outcome, answered_of, chain_of, head_of, milliseconds, piece_of, status_of, tag_of
from .stdio import DIM, GREEN, OFF, RED, colours, columns_of
from .targets import Targets

__all__ = ['Files', 'Lines', 'chain_lines']

#: The width of the hosts' column on a terminal, at most.
WIDTH = 44
#: Characters between the columns, and the fewest that a body is cut to.
_BETWEEN, _LEAST = len('  ' + ' ' + ' ms  '), 8


class Lines(Format):
    """Writes each outcome as a line: in columns on a terminal, else with tabs.

    :param include: whether status line and header fields follow, indented.
    """

    def __init__(self, targets: Targets, include: bool) -> None:
        hosts = targets.labels()
        self._label = targets.label
        self._include = include
        self._columns = sys.stdout.isatty()
        self._coloured = colours(sys.stdout)
        self._width = min(max(map(len, hosts)), WIDTH)
        self._size = columns_of(sys.stdout) or 0

    def show(self, outcome: Outcome) -> str:
        """The line, with its end."""
        response = answered_of(outcome) if self._include else None
        head = '' if response is None else ''.join(f'    {line}\n' for line in head_of(response))
        return self._line(outcome) + head

    def note(self, outcome: Outcome) -> str:
        """The chain of an error that began at a server behind."""
        return chain_lines(outcome)

    def _line(self, outcome: Outcome) -> str:
        host = self._label(tag_of(outcome))
        status, ms = status_of(outcome), f'{milliseconds(outcome):.1f}'
        if not self._columns:
            if self._coloured:
                status = f'{RED if isinstance(outcome, HTTPError) else GREEN}{status}{OFF}'
            return f'{host}\t{status}\t{ms}\t{piece_of(outcome)}\n'
        return self._in_columns(outcome, host, status, ms)

    def _in_columns(self, outcome: Outcome, host: str, status: str, ms: str) -> str:
        from rich.cells import cell_len, set_cell_size

        cells = [host.ljust(self._width), f'{status:<12}', f'{ms:>7}']
        if self._size - sum(map(len, cells)) - _BETWEEN < _LEAST:
            cells = [host, f'{status} ', ms]  # a narrow terminal has no room for columns
        room = max(self._size - sum(map(len, cells)) - _BETWEEN, 0)
        piece = piece_of(outcome, self._size)
        if cell_len(piece) > room:
            piece = set_cell_size(piece, room - 1) + '…' if room else ''
        host, status, ms = cells
        if self._coloured:
            status = f'{RED if isinstance(outcome, HTTPError) else GREEN}{status}{OFF}'
            piece = piece and f'{DIM}{piece}{OFF}'
        return f'{host}  {status} {ms} ms  {piece}'.rstrip() + '\n'


def chain_lines(outcome: Outcome) -> str:
    """The lines below the line of an error that began at a server behind; empty for any other outcome."""
    return ''.join(f'    {line}\n' for line in chain_of(outcome))


class Files:
    """Writes the body of each host to a file; if a host has several, their numbers follow its name."""

    def __init__(self, directory: str, targets: Targets) -> None:
        self._directory = directory
        self._turns = targets.turns

    def write(self, outcome: Outcome) -> None:
        """Write the body, if there was an answer."""
        response = answered_of(outcome)
        if response is None:
            return
        name = quote(response.request.host, safe='[]:')
        name = name.replace('.', '%2E') if not name.strip('.') else name
        if self._turns(tag_of(outcome).place) > 1:
            name += f'.{tag_of(outcome).turn + 1}'
        with open(os.path.join(self._directory, name), 'wb') as file:
            file.write(response.data)
