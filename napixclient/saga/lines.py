"""The lines of a journal, as they are written; :mod:`.history` says what each means. No I/O."""

from __future__ import annotations

from typing import Any

from .._http.pending import Outcome
from ..error_texts import one_line
from ..errors import HTTPError
from ..masking import mask
from ..messages import Request
from .history import VERSION
from .records import record_of, record_of_draft, without_secrets
from .steps import State, Step

__all__ = ['error_text', 'head_line', 'outcome_line', 'step_line', 'undo_line']

Line = dict[str, Any]


def head_line(id: str, undo_timeout: float, undone_on: frozenset[int], key_field: str) -> Line:
    """The first line."""
    return {
        'event': 'saga',
        'version': VERSION,
        'id': id,
        'undo_timeout': _number(undo_timeout),
        'undone_on': sorted(undone_on),
        'key_field': key_field,
    }


def step_line(step: Step, key_field: str) -> Line:
    """The line of a step that is about to be sent."""
    request = step.request
    line: Line = {
        'event': 'step',
        'step': step.number,
        'wait': step.wait_group.number,
        'name': step.name,
        'host': request.host,
        'method': request.method,
        'url': mask(without_secrets(request.url)) if '?' in request.url else request.url,
        'undo': _undo(step, key_field),
        'undo_timeout': _number(step.undo_timeout),
    }
    if request.headers and (key := request.headers.get(key_field)) is not None:
        line['key'] = key
    if step.again is not None:
        line['again'] = step.again
    if step.find is not None:
        line['find'] = record_of(step.find, key_field)
    if step.undone_on:
        line['undone_on'] = sorted(step.undone_on)
    return line


def _undo(step: Step, key_field: str) -> object:
    if step.given_undo is None:
        return None
    if step.undo is not None:
        return [record_of(request, key_field) for request in step.undo]
    if step.given_undo.make is not None:
        return 'callable'
    return [record_of_draft(draft, key_field) for draft in step.given_undo.drafts]


def outcome_line(step: Step, state: State, outcome: Outcome, key_field: str) -> Line:
    """The line of a step that has its outcome."""
    line: Line = {'event': state, 'step': step.number}
    if outcome.status is not None:
        line['status'] = outcome.status
    if state == 'done' and step.given_undo is not None and step.given_undo.needs_answer:
        line['undo'] = _records(step.undo or (), key_field)
    elif state == 'not_undone':
        line['error'] = error_text(step.error)
    elif isinstance(outcome, HTTPError):
        line['error'] = error_text(outcome)
    return line


def undo_line(step: Step, key_field: str) -> Line:
    """The line of a step whose undo is about to be sent."""
    return {'event': 'undoing', 'step': step.number, 'undo': _records(step.undo or (), key_field)}


def _records(requests: tuple[Request, ...], key_field: str) -> list[Any]:
    return [record_of(request, key_field) for request in requests]


def error_text(error: HTTPError | None) -> str:
    """An error on one line, without secrets."""
    if error is None:
        return ''
    call = error.remote_call
    return one_line(f'{type(error).__name__}: {"" if call is None else f"{call}: "}{error.message}')


def _number(seconds: float) -> float | None:
    return None if seconds == float('inf') else seconds
