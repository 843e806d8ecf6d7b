"""What the guard answers instead of running the application."""

from __future__ import annotations

import math

from ..call_context import current
from ..error_documents import document_of, encode
from ..masking import sentence
from .environ import Environ, StartResponse, accepts_problems, path_of, text_of

__all__ = ['Forbidden', 'Overloaded', 'Refusal', 'Unauthorized', 'answer', 'denied']


class Refusal(Exception):
    """A request is refused: it is answered without running the application.

    :param text: for the caller.
    :param reason: for the log, if it says more.
    """

    status = 403
    fields: tuple[tuple[str, str], ...] = ()

    def __init__(self, text: str, reason: str = '') -> None:
        super().__init__(sentence(text))
        self.reason: str = reason or text


class Unauthorized(Refusal):
    """The caller sent no proof."""

    status = 401
    fields: tuple[tuple[str, str], ...] = (('WWW-Authenticate', 'Napix'),)  # RFC 9110 §15.5.2 wants one


class Forbidden(Refusal):
    """The caller's proof is not accepted."""


class Overloaded(Refusal):
    """No more nonces can be remembered.

    :param seconds: until one is forgotten.
    """

    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__('Too many signed requests, come back later', 'the memory of nonces is full')
        self.fields: tuple[tuple[str, str], ...] = (('Retry-After', str(max(math.ceil(seconds), 1))),)


def denied(reason: str) -> Forbidden:
    """A refusal that looks the same to every caller; only the log gets the reason."""
    return Forbidden('Access Denied', reason)


def answer(refusal: Refusal, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with the error document; for HEAD without a body."""
    call_context = current.get()
    method = text_of(environ, 'REQUEST_METHOD', 'GET')
    document = document_of(
        refusal, refusal.status, method, path_of(environ), call_context.trace_id if call_context else None
    )
    data = encode(document)
    media = 'problem+json' if accepts_problems(text_of(environ, 'HTTP_ACCEPT')) else 'json'
    start_response(
        f'{refusal.status} {document["title"]}',
        [
            ('Content-Type', f'application/{media}'),
            ('Content-Length', str(len(data))),
            ('X-Content-Type-Options', 'nosniff'),
            *([('X-Request-ID', call_context.request_id)] if call_context else []),
            *refusal.fields,
        ],
    )
    return [] if method == 'HEAD' else [data]
