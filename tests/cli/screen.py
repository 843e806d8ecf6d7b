"""A terminal as far as `napix` makes use of one: what stands on it, and what has scrolled out at its upper end."""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

_next = re.compile(r'\x1b\[(\??)([0-9;]*)([A-Za-z])|[^\x1b]').match


class Screen:
    """Lines of so many columns. `snapshots` are what stood there whenever a frame was complete."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.scrolled: list[str] = []
        self.rows = [''] * lines
        self.row = self.column = 0
        self.snapshots: list[list[str]] = []

    def feed(self, text: str) -> None:
        """Obey it. An escape sequence that is not known is an error."""
        at = 0
        while at < len(text):
            found = _next(text, at)
            assert found, f'unknown: {text[at : at + 20]!r}'
            at = found.end()
            if found[3]:
                self._obey(found[1], found[2], found[3])
            else:
                self._write(found[0])

    def _obey(self, mark: str, number: str, letter: str) -> None:
        match mark, number, letter:
            case '', _, 'A':
                assert self.row >= int(number or 1), 'above the upper end'
                self.row -= int(number or 1)
            case '', '' | '0', 'K':
                self.rows[self.row] = self.rows[self.row][: self.column]
            case '', '2', 'K':
                self.rows[self.row] = ''
            case '', _, 'm':
                pass
            case '?', '2026', 'l':
                self.snapshots.append(list(self.rows))
            case '?', '2026', 'h':
                pass
            case _:
                raise AssertionError(f'unknown: {mark}{number}{letter}')

    def _write(self, char: str) -> None:
        if char == '\r':
            self.column = 0
        elif char == '\n':
            self.column = 0  # the terminal's ONLCR
            self._down()
        else:
            assert char.isprintable(), repr(char)
            width = 0 if combining(char) else 2 if east_asian_width(char) in 'WF' else 1
            if self.column + width > self.columns:
                self.column = 0
                self._down()
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.scrolled.append(self.rows.pop(0))
            self.rows.append('')
            self.row -= 1

    @property
    def everything(self) -> list[str]:
        """All lines, those that have scrolled out first."""
        return [line.rstrip() for line in [*self.scrolled, *self.rows]]
