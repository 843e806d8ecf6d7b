"""The formats in which an outcome is written: as a line, as JSON, as the chain of an error."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from time import monotonic

from ..error_texts import escaped
from ..errors import HTTPError, error_member, head_of
from ..messages import Response, exact_text, written_json
from .targets import Tag

__all__ = [
    'Outcome',
    'answered_of',
    'body_of',
    'chain_of',
    'json_line',
    'log_line',
    'milliseconds',
    'piece_of',
    'status_of',
    'tag_of',
]

Outcome = Response | HTTPError

_not_ascii = re.compile('[^\x00-\x7f]').sub
#: In JSON a line ends between two tokens only.
_breaks = re.compile(r'\s*[\r\n]\s*').sub
quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii
_encode: Callable[[object], str] = json.JSONEncoder(separators=(',', ':')).encode
#: Characters of a body of which a terminal can show something.
_PIECE = 2000


def tag_of(outcome: Outcome) -> Tag:
    """The tag of its request."""
    tag: Tag = outcome.request.tag
    return tag


def answered_of(outcome: Outcome) -> Response | None:
    """The server's answer, if there is one."""
    return outcome.response if isinstance(outcome, HTTPError) else outcome


def status_of(outcome: Outcome) -> str:
    """The status, or the class of the error."""
    return type(outcome).__name__ if outcome.status is None else str(outcome.status)


def milliseconds(outcome: Outcome) -> float:
    """How long it took. If no byte was sent, it counts from the moment when the pool took the request."""
    seconds = monotonic() - tag_of(outcome).began if outcome.elapsed is None else outcome.elapsed
    return seconds * 1000


# On a line -----------------------------------------------------------------------------------------------------------


def piece_of(outcome: Outcome, longest: int | None = None) -> str:
    """The body on one line, or the error message, without anything that controls a terminal.

    :param longest: characters that can be shown.
    """
    response = answered_of(outcome)
    if response is None:
        assert isinstance(outcome, HTTPError)
        text = outcome.message
    else:
        as_json = written_json(response)
        text = (response.text if as_json is None else as_json).removesuffix('\n').removesuffix('\r')
        if as_json is not None and '\n' in text:
            text = _breaks(' ', text)
    return escaped(text if longest is None else ' '.join(text[:_PIECE].split())[:longest])


def chain_of(outcome: Outcome) -> list[str]:
    """The lines about the servers behind the one that failed; empty if there are none."""
    if isinstance(outcome, HTTPError) and outcome.response is not None and len(outcome.chain) > 1:
        return [escaped(line) for line in str(outcome).splitlines()]
    return []


# JSON ----------------------------------------------------------------------------------------------------------------


def json_line(outcome: Outcome) -> str:
    """The outcome as a JSON object on one line, in ASCII: what ``as_dict()`` has, and the body as it was written."""
    response = answered_of(outcome)
    body = 'null' if response is None else body_of(response)
    return f'{_encode(_numbered(outcome))[:-1]},"body":{body},"error":{_encode(error_member(outcome))}}}\n'


def log_line(outcome: Outcome, repetition: int, time: float) -> str:
    """A line of a job log: the same without the body and the addresses.

    :param time: when it ended, in seconds since 1970.
    """
    head = {name: value for name, value in _numbered(outcome).items() if name not in ('peer', 'tried')}
    members = {'time': round(time, 3), **head, 'repeat': repetition, 'error': error_member(outcome)}
    return f'{_encode(members)}\n'


def _numbered(outcome: Outcome) -> dict[str, object]:
    """The members before the body; here they have a number, and a time even if nothing was sent."""
    return {'index': tag_of(outcome).number, **head_of(outcome), 'ms': round(milliseconds(outcome), 3)}


def body_of(response: Response) -> str:
    """The body in JSON: JSON stays as it is, other text is a string, and binary data is ``{"base64": …}``."""
    data = response.data
    if not data:
        return 'null'
    text = written_json(response)
    if text is not None:
        if '\n' in text or '\r' in text:
            text = _breaks(' ', text.strip())
        return text if text.isascii() else _not_ascii(lambda found: quoted(found[0])[1:-1], text)
    text = exact_text(response)
    return f'{{"base64":"{b64encode(data).decode()}"}}' if text is None else quoted(text)
