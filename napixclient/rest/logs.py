"""What is logged of a call, at the level DEBUG.

``napixclient.send`` gets a record when a request is made; ``napixclient.recv`` gets one when its answer is taken, or
for a lazy response, when the answer arrives. The filter of both takes secrets out as the record is made, so that no
handler ever sees them. Records are made in greenlets, never in the hub, because a handler may block.
"""

from __future__ import annotations

import logging

import gevent

from .._http.pending import PendingResponse
from .._http.settings import Settings
from .._http.streaming import StreamedResponse
from ..error_texts import escaped
from ..errors import HTTPError
from ..masking import cut, hide_fields, mask, sentence
from ..messages import Headers, Request, Response

__all__ = ['DEBUG', 'log_outcome', 'log_outcome_later', 'log_request', 'recv', 'send']

DEBUG = logging.DEBUG
#: Characters of a body that are shown, and bytes after them that are masked too, because a secret may begin before.
_SHOWN, _BEHIND = 10_000, 65_536


class _Masking(logging.Filter):
    """Takes secrets out of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), ()
        return True


send: logging.Logger = logging.getLogger('napixclient.send')
recv: logging.Logger = logging.getLogger('napixclient.recv')
logging.getLogger('napixclient').addHandler(logging.NullHandler())  # a library is silent unless told
for _logger in send, recv:
    _logger.addFilter(_Masking())


def log_request(request: Request, settings: Settings, authenticator: object, bodies: bool) -> None:
    """Log a request.

    :param settings: the settings of its client, with the fields of every request.
    :param authenticator: will add its proof to the request.
    :param bodies: whether to log the body.
    """
    holder = _Holder(request.headers)
    own = {name.lower() for name in request.headers}
    defaults = settings.ranged if 'range' in own else settings.headers
    fields = [pair for pair in defaults.multi_items() if pair[0].lower() not in own]
    payload = request.payload
    size = len(payload) if isinstance(payload, bytes) else 0 if payload is None else 'a stream of'
    lines = [f'{request}: {size} bytes', *_lines([*fields, *request.headers.multi_items()])]
    if authenticator is not None:
        lines.append(f'  proof: {authenticator!r}')
    if bodies and isinstance(payload, bytes):
        lines += _body(payload)
    _tell(send, lines, holder)


def log_outcome(request: Request, outcome: Response | HTTPError, bodies: bool) -> None:
    """Log the answer to a request, or why there is none.

    :param bodies: whether to log the body.
    """
    response = outcome.response if isinstance(outcome, HTTPError) else outcome
    holder = _Holder(request.headers, *(() if response is None else (response.headers,)))
    if response is None:  # a sentence of ours
        recv.debug(sentence(_printable([f'{mask(str(request))}: {outcome!r}'])))
        return
    streamed = isinstance(response, StreamedResponse)  # its body is its reader's
    lines = [
        f'{request}: {response.status} {response.reason}, {"a stream of" if streamed else len(response.data)} bytes '
        f'in {response.elapsed * 1000:.1f} ms',
        *_lines(response.headers.multi_items()),
    ]
    if bodies and not streamed:
        lines += _body(response.data)
    _tell(recv, lines, holder)


def log_outcome_later(pending: PendingResponse, bodies: bool) -> None:
    """Log the outcome of a request when it is there, whether or not anybody reads it."""

    def log(pending: PendingResponse) -> None:
        outcome = pending.value or pending.exception
        assert outcome is not None
        log_outcome(pending.request, outcome, bodies)

    pending.rawlink(lambda pending: gevent.spawn(log, pending))


class _Holder:
    """Hides the secrets of one call for as long as this object lives."""

    def __init__(self, *fields: Headers) -> None:
        for headers in fields:
            hide_fields(self, headers.multi_items())


def _tell(log: logging.Logger, lines: list[str], holder: _Holder) -> None:
    """Make the record while the holder still lives."""
    log.debug('%s', _printable(lines))


def _lines(fields: list[tuple[str, str]]) -> list[str]:
    return [f'  {name}: {value}' for name, value in fields]


def _body(data: bytes) -> list[str]:
    text = cut(data[: _SHOWN + _BEHIND].decode('utf-8', 'replace'), _SHOWN)
    return ['', *text.splitlines()] if text else []


def _printable(lines: list[str]) -> str:
    """In one text, without what a terminal would obey."""
    return '\n'.join(map(escaped, lines))
