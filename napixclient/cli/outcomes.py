"""What an outcome is to the command: its status, its time, and what is shown of it, as texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from time import monotonic

from ..error_texts import escaped
from ..errors import HTTPError
from ..messages import Response, written_json
from .targets import Tag

__all__ = [
    'Outcome',
    'answered_of',
    'answering_field',
    'breaks',
    'chain_of',
    'head_of',
    'in_place_of_body',
    'is_answer',
    'milliseconds',
    'piece_of',
    'shown_answer_of',
    'status_line_of',
    'status_of',
    'tag_of',
]

Outcome = Response | HTTPError

#: In JSON a line ends between two tokens only.
breaks: Callable[[str, str], str] = re.compile(r'\s*[\r\n]\s*').sub
#: Fields that are the answer where there is no body: where it is now (RFC 9110 §10.2.2), what may be asked (§10.2.1).
_ANSWERS = ('Location', 'Allow')
#: Those that say what to do next (RFC 9110 §11.6.1, §11.7.1, §10.2.3); they may be others in each answer.
_ADVICE = ('WWW-Authenticate', 'Proxy-Authenticate', 'Retry-After')
#: Characters of a body of which a terminal can show something.
_PIECE = 2000


def tag_of(outcome: Outcome) -> Tag:
    """The tag of its request."""
    tag: Tag = outcome.request.tag
    return tag


def answered_of(outcome: Outcome) -> Response | None:
    """The server's answer, if there is one."""
    return outcome.response if isinstance(outcome, HTTPError) else outcome


def shown_answer_of(outcome: Outcome) -> Response | None:
    """The answer, where that is what is shown; ``None`` where it is the message of an error."""
    return answered_of(outcome) if is_answer(outcome) else None


def is_answer(outcome: Outcome) -> bool:
    """Whether it is what a server answered; an answer that could not be followed, or not be read, is an error."""
    return outcome.status is not None and (not isinstance(outcome, HTTPError) or outcome.status >= 400)


def status_of(outcome: Outcome) -> str:
    """The status, or the class of the error."""
    return str(outcome.status) if is_answer(outcome) else type(outcome).__name__


def milliseconds(outcome: Outcome) -> float:
    """How long it took. If no byte was sent, it counts from the moment when the pool took the request."""
    seconds = monotonic() - tag_of(outcome).began if outcome.elapsed is None else outcome.elapsed
    return seconds * 1000


# On a line -----------------------------------------------------------------------------------------------------------


def piece_of(outcome: Outcome, longest: int | None = None) -> str:
    """The body on one line, or the error message, without anything that controls a terminal.

    :param longest: characters that can be shown.
    """
    response = shown_answer_of(outcome)
    if response is None:
        assert isinstance(outcome, HTTPError)
        text = outcome.message
    elif not response.data:
        text = in_place_of_body(response)
    else:
        as_json = written_json(response)
        text = (response.text if as_json is None else as_json).removesuffix('\n').removesuffix('\r')
        if as_json is not None and '\n' in text:
            text = breaks(' ', text)
    return escaped(text if longest is None else ' '.join(text[:_PIECE].split())[:longest])


def in_place_of_body(response: Response) -> str:
    """What is shown where there is no body: the field that is the answer, or of an error, what to do next."""
    return answering_field(response) or (_field_of(response, _ADVICE) if response.status >= 400 else '')


def answering_field(response: Response) -> str:
    """The field that is the answer where there is no body: ``Location: /vm/1``; empty without one."""
    return _field_of(response, _ANSWERS)


def _field_of(response: Response, names: tuple[str, ...]) -> str:
    headers = response.headers
    return next((f'{name}: {headers[name]}' for name in names if name in headers), '')


def status_line_of(response: Response) -> str:
    """``HTTP/1.1 204 No Content``."""
    return escaped(response.head.split(b'\r\n', 1)[0].decode('latin-1'))


def head_of(response: Response) -> Iterator[str]:
    """The status line and the header fields, as they came, a line each."""
    yield status_line_of(response)
    for name, value in response.headers.multi_items():
        yield escaped(f'{name}: {value}')


def chain_of(outcome: Outcome) -> list[str]:
    """The lines about the servers behind the one that failed; empty if there are none."""
    if isinstance(outcome, HTTPError) and outcome.response is not None and len(outcome.chain) > 1:
        return [escaped(line) for line in str(outcome).splitlines()]
    return []
