"""Outcomes as members of a JSON object, as ``as_dict()``, the command and its logs have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .masking import mask
from .peer import AnyPeer, Peer

if TYPE_CHECKING:
    from .errors import HTTPError
    from .messages import Request, Response

__all__ = ['error_member', 'head_of']


def head_of(outcome: Response | HTTPError) -> dict[str, object]:
    """What was asked and what came of it, as members of a JSON object; the body and the error come behind them."""
    request: Request | None = outcome.request
    return {
        'host': None if request is None else request.host,
        'method': None if request is None else request.method,
        'url': None if request is None else mask(request.url),
        'status': outcome.status or None,
        'ms': _ms(outcome.elapsed),
        'attempts': outcome.attempts,
        'peer': _member_of(outcome.peer),
        'tried': [_member_of(peer) for peer in outcome.tried],
    }


def _member_of(peer: AnyPeer | None) -> object:
    return list(peer) if isinstance(peer, Peer) else peer


def error_member(error: HTTPError) -> dict[str, object]:
    """The error as a member of that object; it is ``None`` for an answer."""
    chain = [
        {
            'remote_call': hop.remote_call,
            'status': hop.status,
            'error_class': hop.error_class,
            'error_text': hop.error_text,
            'ms': _ms(hop.elapsed),
        }
        for hop in error.chain
    ]
    return {'class': type(error).__name__, 'text': error.message, 'chain': chain}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
