"""What the outcome of a request says about its step: done, not done, or nobody knows. No I/O."""

from __future__ import annotations

from typing import Literal

from .._http.pending import Outcome
from ..errors import ConnectError, ConnectTimeout, HTTPError, ProxyError, QueueTimeout, RemoteError

__all__ = ['Verdict', 'judged', 'says_later', 'was_sent']

Verdict = Literal['done', 'failed', 'unknown']
#: What a gateway says that does not know what became of the request (RFC 9110 §15.6.3, §15.6.5).
_OF_GATEWAYS = frozenset([502, 504])
#: Phases in which nothing was sent yet; behind a first try ``backoff`` is another matter.
_BEFORE = frozenset(['queue', 'connect', 'authenticate'])
_AFTER = frozenset(['send', 'expect', 'read'])


def judged(outcome: Outcome, sent: bool) -> Verdict:
    """Whether a step was done.

    :param sent: whether a byte of it ever left.
    """
    if not isinstance(outcome, HTTPError):
        return 'done'
    status = outcome.status
    if isinstance(outcome, ProxyError) and outcome.phase == 'connect':
        return 'failed'  # it was the tunnel that was refused
    if isinstance(outcome, (RemoteError, ProxyError)) and status is not None:
        return 'unknown' if status in _OF_GATEWAYS else 'failed'
    if not sent or (status is not None and status >= 400 and status not in _OF_GATEWAYS):
        return 'failed'
    return 'unknown'


def was_sent(error: HTTPError) -> bool:
    """Whether any of a request was sent, by its error alone."""
    if error.phase in _AFTER:
        return True
    return error.phase not in _BEFORE and not isinstance(error, (ConnectError, ConnectTimeout, QueueTimeout))


def says_later(status: int | None) -> bool:
    """Whether a server that knows the key of a request asks for it again, or could not look at it."""
    return status in (409, 425, 429) or (status is not None and status >= 500)
