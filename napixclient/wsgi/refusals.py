"""What the guard answers instead of running the application."""

from __future__ import annotations

import math
from typing import Any

from ..journey import current
from ..masking import sentence
from ..remote import document_of, encode
from .environ import Environ, accepts_problems, path_of, text_of

__all__ = ['Forbidden', 'Overloaded', 'Refusal', 'Unauthorized', 'answer', 'denied']


class Refusal(Exception):
    """What is answered instead of running the application.

    :param text: for the caller.
    :param reason: for the log, where it says more.
    """

    status = 403
    fields: tuple[tuple[str, str], ...] = ()

    def __init__(self, text: str, reason: str = '') -> None:
        super().__init__(sentence(text))
        self.reason = reason or text


class Unauthorized(Refusal):
    """The caller did not try to prove anything."""

    status = 401
    fields = (('WWW-Authenticate', 'Napix'),)  # RFC 9110 §15.5.2 wants one


class Forbidden(Refusal):
    """What the caller sent proves nothing."""


class Overloaded(Refusal):
    """There is no room to remember one more nonce."""

    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__('Too many signed requests, come back later', 'the memory of nonces is full')
        self.fields = (('Retry-After', str(max(math.ceil(seconds), 1))),)


def denied(reason: str) -> Forbidden:
    """All failures look the same to the caller; the log may know."""
    return Forbidden('Access Denied', reason)


def answer(refusal: Refusal, environ: Environ, start_response: Any) -> list[bytes]:
    """The error document; to HEAD only its head."""
    journey = current.get()
    method = text_of(environ, 'REQUEST_METHOD', 'GET')
    document = document_of(refusal, refusal.status, method, path_of(environ), journey.trace_id if journey else None)
    data = encode(document)
    media = 'problem+json' if accepts_problems(text_of(environ, 'HTTP_ACCEPT')) else 'json'
    start_response(
        f'{refusal.status} {document["title"]}',
        [
            ('Content-Type', f'application/{media}'),
            ('Content-Length', str(len(data))),
            ('X-Content-Type-Options', 'nosniff'),
            *([('X-Request-ID', journey.request_id)] if journey else []),
            *refusal.fields,
        ],
    )
    return [] if method == 'HEAD' else [data]
