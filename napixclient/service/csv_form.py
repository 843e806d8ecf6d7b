"""Results as CSV (RFC 4180), for spreadsheets."""

from __future__ import annotations

import csv
import io
import re

from .lines import members
from .segments import Form

__all__ = ['CSV', 'COLUMNS', 'row_of']

COLUMNS = (
    'seq',
    'index',
    'tag',
    'host',
    'method',
    'url',
    'state',
    'status',
    'ms',
    'at',
    'attempts',
    'error_class',
    'error_text',
    'body',
)
#: A spreadsheet takes such a cell for a formula, whatever is quoted (OWASP, "CSV Injection"); also after blanks, and
#: where it is written full-width.
_is_formula = re.compile(r'[\s\x00-\x1f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]').match
_is_number = re.compile(r'-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z').match


def row_of(line: str) -> list[str]:
    """The cells of a result. A text is as it is, anything else in JSON, with its numbers as they were written."""
    cells: dict[str, str] = {}
    for name, value, text in members(line):
        if name == 'error':
            cells['error_class'] = '' if value is None else value['class']
            cells['error_text'] = '' if value is None else value['text']
        else:
            cells[name] = '' if value is None else value if isinstance(value, str) else text
    return [_harmless(cells.get(name, '')) for name in COLUMNS]


def _harmless(cell: str) -> str:
    """The cell as a text, where a spreadsheet would take it for a formula."""
    return f"'{cell}" if _is_formula(cell) and not _is_number(cell) else cell


def _written(cells: list[str]) -> bytes:
    """All of them quoted, so that no separator of another country's begins a cell."""
    to = io.StringIO()
    csv.writer(to, quoting=csv.QUOTE_ALL).writerow(cells)
    return to.getvalue().encode('utf-8', 'backslashreplace')


def _nothing(progress: str) -> bytes:
    return b''


#: A line of names, then one for each result.
CSV = Form('csv', _written(list(COLUMNS)), lambda seq, line: _written(row_of(line)), _nothing, _nothing, b'')
