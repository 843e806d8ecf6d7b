"""A result, as it is kept and shown: one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import HTTPError
from ..masking import Shown
from ..messages import Response, body_member, redump_json, says_json
from .secrets import Secrets
from .submission import Item, target_text

__all__ = ['Result', 'line_of', 'result_of', 'unasked']


class Result(NamedTuple):
    """A result, without its number in the sequence.

    :param number: of the request.
    :param end: as what it is counted: ``ok``, ``failed``, ``cancelled`` or ``interrupted``.
    :param ms: milliseconds that it took.
    :param error: the class of the error.
    :param text: the line, in ASCII, without its beginning: see :func:`line_of`.
    """

    number: int
    end: str
    status: int | None
    ms: float
    error: str | None
    text: str


def result_of(item: Item, outcome: Response | HTTPError, ms: float, at: str, secrets: Secrets | None) -> Result:
    """The result of a request, without its number in the sequence.

    :param ms: milliseconds that it took.
    :param at: milliseconds from the beginning of the run to its end, in JSON.
    :param secrets: of all requests of the run; ``None`` where there are none.
    """
    if isinstance(outcome, HTTPError):
        error, response = _error_of(outcome), outcome.response
        state = _STATES.get(error['class'], 'done')
        body = None if response is None else body_member(response)
        return _result(item, state, outcome.status, ms, at, outcome.attempts, body, error, secrets)
    if secrets is None:
        number, tag, host, method, url, _, _, target = item
        try:  # what _result writes where there is no error and no secret, in a tenth of the time
            text = (
                f'"index":{number},"tag":{"null" if tag is None else _encode(tag)},"host":{_quoted(host)},'
                f'{target or target_text(method, url)},"state":"done","status":{outcome.status},"ms":{ms:.3f},'
                f'"at":{at},"attempts":{outcome.attempts},"body":{_body_text(outcome)},"error":null}}'
            )
            return _new_result(Result, (number, 'ok', outcome.status, ms, None, text))
        except (ValueError, RecursionError):  # something in it cannot be written as it is
            pass
    return _result(item, 'done', outcome.status, ms, at, outcome.attempts, body_member(outcome), None, secrets)


def unasked(item: Item, state: str, text: str, at: str, secrets: Secrets | None) -> Result:
    """The result of a request whose outcome nobody will know.

    :param state: ``cancelled`` or ``interrupted``.
    """
    error = {'class': state.capitalize(), 'text': text, 'chain': []}
    return _result(item, state, None, 0.0, at, 0, None, error, secrets)


def line_of(seq: int, result: Result) -> str:
    """The line that is kept and shown."""
    return f'{{"seq":{seq},{result.text}'


def _body_text(response: Response) -> str:
    data = response.data
    text = _known.get(data) if len(data) < _LONGEST_KNOWN else None
    if text is not None and says_json(response):
        return text
    body = response.body
    if body is None:
        return 'null'
    if body.__class__ is dict or body.__class__ is list:
        if data.isascii() and not (_LF in data or _CR in data or 0 in data):
            text = data.decode('ascii')  # it is JSON in one line, and so can be a part of another
            if len(data) < _LONGEST_KNOWN:
                if len(_known) >= _MOST_KNOWN:
                    _known.clear()
                _known[data] = text
            return text
        return _encode(body)
    return _encode(body_member(response))


def _result(
    item: Item,
    state: str,
    status: int | None,
    ms: float,
    at: str,
    attempts: int,
    body: Any,
    error: dict[str, Any] | None,
    secrets: Secrets | None,
) -> Result:
    document = {
        'index': item.number,
        'tag': item.tag,
        'host': item.host,
        'method': item.method,
        'url': item.url,
        'state': Shown(state),
        'status': status,
        'ms': round(ms, 3),
        'at': float(at),
        'attempts': attempts,
        'body': body,
        'error': error,
    }
    end = state if state != 'done' else 'ok' if error is None else 'failed'
    return Result(
        item.number, end, status, ms, None if error is None else error['class'], _text_of(document, secrets)[1:]
    )


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


def _text_of(result: dict[str, Any], secrets: Secrets | None) -> str:
    """The result in JSON, in ASCII; whatever is in it that JSON has no word for is left out."""
    for part in None, 'body', 'tag', 'error':
        if part == 'error':
            result['error'] = result['error'] and {**result['error'], 'text': _UNWRITABLE, 'chain': []}
        elif part is not None:
            result[part] = _UNWRITABLE
        try:
            return _written(result if secrets is None else secrets.without(result))
        except (ValueError, RecursionError):  # nested deeper than can be written
            pass
    raise ValueError('the result cannot be written')


def _written(result: dict[str, Any]) -> str:
    try:
        return _encode(result)
    except ValueError:  # a number beyond the range of a double
        return redump_json(result, separators=(',', ':'))


_new_result: Callable[..., Result] = tuple.__new__  # Result(…) costs twice as much
#: Bodies that were decoded and are JSON in one line: many hosts give the same answer to the same question.
_known: dict[bytes, str] = {}
_MOST_KNOWN, _LONGEST_KNOWN = 1024, 512
_STATES = {'Cancelled': 'cancelled', 'Interrupted': 'interrupted'}
_LF, _CR = b'\n\r'
_quoted = json.encoder.encode_basestring_ascii
_UNWRITABLE = '(JSON that cannot be written again)'
_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False, check_circular=False).encode
