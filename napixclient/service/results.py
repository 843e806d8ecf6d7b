"""A result, as it is kept and shown: one line of JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..errors import HTTPError
from ..masking import Shown
from ..messages import Response, exact_text, redump_json, written_json
from .secrets import Secrets
from .submission import Item

__all__ = ['line_of', 'result_of', 'unasked']


def result_of(item: Item, outcome: Response | HTTPError, ms: float, at: float) -> dict[str, Any]:
    """The result of a request, but for its place in the sequence.

    :param ms: milliseconds that it took.
    :param at: milliseconds from the beginning of the run to its end.
    """
    error = outcome if isinstance(outcome, HTTPError) else None
    response = outcome.response if isinstance(outcome, HTTPError) else outcome
    return _result(
        item,
        'done',
        outcome.status,
        ms,
        at,
        outcome.attempts,
        None if response is None else _body_of(response),
        None if error is None else _error_of(error),
    )


def unasked(item: Item, state: str, text: str, at: float) -> dict[str, Any]:
    """The result of a request whose outcome nobody will know.

    :param state: ``cancelled`` or ``interrupted``.
    """
    return _result(item, state, None, 0.0, at, 0, None, {'class': state.capitalize(), 'text': text, 'chain': []})


def _result(
    item: Item,
    state: str,
    status: int | None,
    ms: float,
    at: float,
    attempts: int,
    body: Any,
    error: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        'index': item.number,
        'tag': item.tag,
        'host': item.host,
        'method': item.method,
        'url': item.url,
        'state': Shown(state),
        'status': status,
        'ms': round(ms, 3),
        'at': round(at, 3),
        'attempts': attempts,
        'body': body,
        'error': error,
    }


def _body_of(response: Response) -> Any:
    """JSON as it is, other text as a string, bytes as ``{"base64": …}``."""
    body = response.body
    if not isinstance(body, (str, bytes)) or written_json(response) is not None:
        return body
    text = exact_text(response)
    return {'base64': base64.b64encode(response.data).decode()} if text is None else text


def _error_of(error: HTTPError) -> dict[str, Any]:
    return {
        'class': Shown(type(error).__name__),
        'text': error.message,
        'chain': [
            {
                'remote_call': hop.remote_call,
                'status': hop.status,
                'error_class': hop.error_class,
                'error_text': hop.error_text,
                'elapsed': hop.elapsed,
            }
            for hop in error.chain
        ],
    }


def line_of(seq: int, result: dict[str, Any], secrets: Secrets) -> str:
    """The line, in ASCII; whatever is in it that JSON has no word for is left out."""
    result = {'seq': seq, **result}
    for part in None, 'body', 'tag', 'error':
        if part == 'error':
            result['error'] = result['error'] and {**result['error'], 'text': _UNWRITABLE, 'chain': []}
        elif part is not None:
            result[part] = _UNWRITABLE
        try:
            return _written(secrets.without(result))
        except (ValueError, RecursionError):  # nested deeper than can be written
            pass
    raise ValueError('the result cannot be written')


def _written(result: dict[str, Any]) -> str:
    try:
        return _encode(result)
    except ValueError:  # a number beyond the range of a double
        return redump_json(result, separators=(',', ':'))


_UNWRITABLE = '(JSON that cannot be written again)'
_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False, check_circular=False).encode
