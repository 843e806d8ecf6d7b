"""Outcomes as JSON: a line of ``--json``, a line of a job log."""

from __future__ import annotations

import json
from collections.abc import Callable

from ..errors import HTTPError
from ..members import error_member, head_of
from ..messages import Response
from .formats import Format, body_of
from .outcomes import Outcome, answered_of, milliseconds, tag_of

__all__ = ['JsonLines', 'error_of', 'headers_of', 'log_line']

_encode: Callable[[object], str] = json.JSONEncoder(separators=(',', ':')).encode


class JsonLines(Format):
    """Writes each outcome as a JSON object on one line, in ASCII.

    :param include: whether it has the header fields too.
    """

    def __init__(self, include: bool) -> None:
        self._include = include

    def show(self, outcome: Outcome) -> str:
        """The line of an outcome."""
        response = answered_of(outcome)
        body = 'null' if response is None else body_of(response)
        headers = f',"headers":{headers_of(response)}' if self._include else ''
        return f'{_encode(_numbered(outcome))[:-1]}{headers},"body":{body},"error":{error_of(outcome)}}}\n'


def log_line(outcome: Outcome, repetition: int, time: float, sent: str) -> str:
    """A line of a job log: the same without the body and the addresses.

    :param time: when it ended, in seconds since 1970.
    :param sent: a digest of the body of the request; empty without one.
    """
    head = {name: value for name, value in _numbered(outcome).items() if name not in ('peer', 'tried')}
    members = {'time': round(time, 3), **head, 'repeat': repetition}
    if sent:
        members['sent'] = sent
    return f'{_encode({**members, "error": _error_of(outcome)})}\n'


def _numbered(outcome: Outcome) -> dict[str, object]:
    """The members before the body; here they have a number, and a time even if nothing was sent."""
    return {'index': tag_of(outcome).number, **head_of(outcome), 'ms': round(milliseconds(outcome), 3)}


def headers_of(response: Response | None) -> str:
    """The header fields in JSON, by their names in small letters: a text, or a list where a name comes twice."""
    found: dict[str, list[str]] = {}
    for name, value in () if response is None else response.headers.multi_items():
        found.setdefault(name.lower(), []).append(value)
    return json.dumps(
        None if response is None else {name: values if values[1:] else values[0] for name, values in found.items()},
        separators=(',', ':'),
    )


def error_of(outcome: Outcome) -> str:
    """The error in JSON: class, text and chain; ``null`` where there is none."""
    return _encode(_error_of(outcome))


def _error_of(outcome: Outcome) -> dict[str, object] | None:
    return error_member(outcome) if isinstance(outcome, HTTPError) else None
