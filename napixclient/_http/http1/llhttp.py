"""Errors of llhttp, the parser in C, turned into ours."""

from __future__ import annotations

from typing import NoReturn

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from ...errors import InvalidResponse, ProtocolError
from .heads import UNASKED_UPGRADE

__all__ = ['check_by_llhttp', 'refuse', 'reraise']


def check_by_llhttp(head: bytes) -> None:
    """Have llhttp check a head behind which it must not look for a body.

    :raises InvalidResponse: when it refuses the head.
    """
    try:
        HttpResponseParser(None).feed_data(head + b'\r\n\r\n')
    except (HttpParserError, HttpParserUpgrade) as exc:
        refuse(exc)


def reraise(exc: Exception) -> None:
    """Raise what a callback of llhttp's raised: an error of ours, or a SIGINT that llhttp swallowed."""
    inner = exc.__context__
    if isinstance(exc, HttpParserCallbackError) and inner is not None:
        if isinstance(inner, ProtocolError) or not isinstance(inner, Exception):
            raise inner from None


def refuse(exc: Exception) -> NoReturn:
    """Raise the typed error for a refusal of llhttp's."""
    reraise(exc)
    if isinstance(exc, HttpParserUpgrade):
        raise InvalidResponse(UNASKED_UPGRADE) from None
    raise InvalidResponse(f'malformed answer: {exc or type(exc).__name__}') from exc
