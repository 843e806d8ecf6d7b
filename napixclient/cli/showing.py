"""Shows what is sent and what is answered, without secrets: targets, requests, answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..authenticators import Authenticator
from ..error_texts import duration, escaped
from ..errors import HTTPError
from ..masking import MASK, mask
from ..messages import Headers, Request, is_coded
from ..secret_names import is_secret_field
from .outcomes import Outcome, answered_of, milliseconds, status_line_of

__all__ = ['answer_lines', 'request_lines', 'target_line']

#: Bytes of a body that are shown, unless all are asked for.
_LONGEST = 2000


def target_line(request: Request) -> str:
    """The line of a request: ``GET http://web1.example/status``."""
    return f'{mask(str(request))}\n'


def request_lines(
    request: Request, authenticator: Authenticator | None, defaults: Headers | None = None, whole: bool = False
) -> Iterator[str]:
    """The lines of a request as ``curl -v`` shows them, without secrets.

    :param defaults: the fields that are sent where the request does not set them.
    :param whole: show the body whole, however long it is.
    """
    # One that answers challenges counts its calls: it is asked by the client only.
    asks = authenticator is not None and not hasattr(authenticator, 'challenged')
    sent = (authenticator(request) if authenticator is not None and asks else None) or request
    yield f'> {mask(str(sent))}'
    own = sent.headers.multi_items()
    named = {name.lower() for name, _ in own}
    more = [pair for pair in ([] if defaults is None else defaults.multi_items()) if pair[0].lower() not in named]
    yield from _fields('>', [('Host', sent.authority), *more, *own])
    data = sent.body
    if isinstance(data, bytes) and data:
        yield '>'
        yield from _body('>', data, sent.headers.get('content-type', ''), whole)
    elif data is not None and not isinstance(data, bytes):
        yield f'>\n> the content of {getattr(data, "name", "a file")}'


def answer_lines(outcome: Outcome, whole: bool = False) -> Iterator[str]:
    """The lines of an answer as ``curl -v`` shows them, without secrets; or of an error without an answer.

    :param whole: show the body whole, however long it is.
    """
    call, response = mask(str(outcome.request)), answered_of(outcome)
    tries = '' if outcome.attempts == 1 else f', at attempt {outcome.attempts}'
    after = f'after {duration(milliseconds(outcome) / 1000)}{tries}'
    if isinstance(outcome, HTTPError) and (response is None or response.status < 400):
        yield f'* {call} failed {after}: {type(outcome).__name__}: {escaped(outcome.message)}'
    else:
        yield f'* {call} answered {after}'
    if response is None:
        return
    if response.url != outcome.request.full_url:
        yield f'* {mask(response.url)} is where redirects led'
    yield f'< {status_line_of(response)}'
    yield from _fields('<', response.headers.multi_items())
    if response.data:
        yield '<'
        if is_coded(response):
            yield f'< {len(response.data):,} bytes in the coding {response.headers.get("content-encoding")}'
        else:
            yield from _body('<', response.data, response.headers.get('content-type', ''), whole)


def _fields(mark: str, fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in fields:
        yield f'{mark} {escaped(name)}: {MASK if is_secret_field(name) else mask(escaped(value))}'


def _body(mark: str, data: bytes, content_type: str, whole: bool) -> Iterator[str]:
    shown = data if whole else data[:_LONGEST]
    for line in _masked_body(shown.decode('utf-8', 'replace'), content_type).splitlines():
        yield f'{mark} {escaped(line)}'
    if len(shown) < len(data):
        yield f'{mark} … {len(data):,} bytes in all'


def _masked_body(text: str, content_type: str) -> str:
    """A form is masked as the query that it would be."""
    if content_type.lower().startswith('application/x-www-form-urlencoded'):
        return mask(f'?{text}')[1:]
    return mask(text)
