"""Prints each outcome as it arrives: in columns on a terminal, and as a file for its host."""

from __future__ import annotations

import os
import sys
from urllib.parse import quote

from ..errors import HTTPError
from .formats import Format
from .outcomes import Outcome, answered_of, chain_of, head_of, milliseconds, piece_of, status_of, tag_of
from .stdio import DIM, GREEN, OFF, RED, colours
from .targets import Targets

__all__ = ['Files', 'Lines', 'chain_lines']

#: The width of the hosts' column on a terminal, at most.
WIDTH = 44
_UNKNOWN = 80


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
        # A terminal that does not know its size says 0.
        self._size = os.get_terminal_size(sys.stdout.fileno()).columns or _UNKNOWN if self._columns else 0

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

        head, tail = f'{host.ljust(self._width)}  ', f'{status:<12} {ms:>7} ms  '
        room = max(self._size - len(head) - len(tail), 0)
        piece = piece_of(outcome, self._size)
        if cell_len(piece) > room:
            piece = set_cell_size(piece, room - 1) + '…' if room else ''
        if self._coloured:
            colour = RED if isinstance(outcome, HTTPError) else GREEN
            return f'{head}{colour}{status:<12}{OFF} {ms:>7} ms  {DIM}{piece}{OFF}\n'
        return f'{head}{tail}{piece}'.rstrip() + '\n'


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
