"""Outcomes as CSV (RFC 4180), for spreadsheets and for programs."""

from __future__ import annotations

import csv
import re
from io import StringIO

from ..errors import HTTPError
from ..masking import mask
from ..messages import exact_text
from .formats import Format, body_of
from .json_format import headers_of
from .outcomes import Outcome, answered_of, in_place_of_body, milliseconds, tag_of

__all__ = ['Csv']

TITLES = ('index', 'host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried', 'body', 'error')
#: What a spreadsheet takes for a formula, which may run programs: a cell that begins so, unless it is just a number.
_is_formula = re.compile(r'\s*[=+\-@\uff1d\uff0b\uff0d\uff20]').match
_is_number = re.compile(r'[+-]?\d+(\.\d+)?([eE][+-]?\d+)?', re.ASCII).fullmatch
#: Control characters that no cell can have; tabs and ends of lines it can.
_controls = re.compile(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)').sub


class Csv(Format):
    """Writes a line of titles, and a record for each outcome.

    :param include: whether a column has the header fields, in JSON.
    """

    def __init__(self, include: bool) -> None:
        self._include = include
        self._text = StringIO()
        self._writer = csv.writer(self._text, lineterminator='\n')

    def begin(self) -> str:
        """The line of titles."""
        return self._record([*TITLES[:-2], 'headers', *TITLES[-2:]] if self._include else list(TITLES))

    def show(self, outcome: Outcome) -> str:
        """The record of an outcome."""
        request = outcome.request
        cells = [
            str(tag_of(outcome).number),
            request.host,
            request.method,
            mask(request.url),
            '' if outcome.status is None else str(outcome.status),
            f'{milliseconds(outcome):.3f}',
            str(outcome.attempts),
            '' if outcome.peer is None else str(outcome.peer),
            ' '.join(map(str, outcome.tried)),
        ]
        if self._include:
            response = answered_of(outcome)
            cells.append('' if response is None else headers_of(response))
        error = f'{type(outcome).__name__}: {outcome.message}' if isinstance(outcome, HTTPError) else ''
        return self._record([*cells, _body(outcome), error])

    def _record(self, cells: list[str]) -> str:
        self._writer.writerow(map(_cell, cells))
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text


def _body(outcome: Outcome) -> str:
    """The body as text; what is none as ``--json`` has it; without a body the field that is the answer."""
    response = answered_of(outcome)
    if response is None:
        return ''
    text = exact_text(response) if response.data else in_place_of_body(response)
    return body_of(response) if text is None else text.removeprefix('\ufeff')


def _cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    text = _controls(lambda found: found[0].encode('unicode_escape').decode(), text.replace('\r\n', '\n'))
    return f"'{text}" if _is_formula(text) and not _is_number(text) else text
