"""Keys by which servers know a request that they have seen before: the IETF draft of the field Idempotency-Key."""

from __future__ import annotations

from os import urandom
from uuid import UUID

from ..messages import IDEMPOTENT, Request

__all__ = ['with_key']


def with_key(request: Request, header: str) -> Request:
    """The request with a key of its own where it is not idempotent; one that has a key keeps it.

    :param header: the name of the field.
    """
    if request.method in IDEMPOTENT or (request.headers and header in request.headers):
        return request
    line = f'\r\n{header}: "{UUID(bytes=urandom(16), version=4)}"'
    return request.with_line(header.lower().encode(), line.encode())
