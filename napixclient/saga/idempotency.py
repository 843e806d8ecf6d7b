"""Keys by which servers know a request that they have seen before: the IETF draft of the field Idempotency-Key."""

from __future__ import annotations

from os import urandom

from ..messages import IDEMPOTENT, Request

__all__ = ['with_key']


def with_key(request: Request, header: str) -> Request:
    """The request with a key of its own where it is not idempotent; one that has a key keeps it.

    :param header: the name of the field.
    """
    if request.method in IDEMPOTENT or (request.headers and header in request.headers):
        return request
    return request.with_line(header.lower().encode(), f'\r\n{header}: "{_uuid()}"'.encode())


def _uuid() -> str:
    """A random UUID (RFC 9562 §5.4); ``uuid.uuid4`` takes three times as long."""
    digits = urandom(16).hex()
    variant = '89ab'[int(digits[16], 16) & 3]
    return f'{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}'
