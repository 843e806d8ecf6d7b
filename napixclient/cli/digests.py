"""Digests of what is sent, by which a resumed run knows whether it would send the same."""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from typing import Any

from ..masking import mask
from .items import Items, Upload

__all__ = ['digest_of']

_CHUNK = 1 << 20
#: Hexadecimal digits of a digest, and of one of a body with secrets in it: so few tell next to nothing of them.
_DIGITS, _OF_SECRETS = 16, 4


def digest_of(items: Items, host: str) -> str:
    """A digest of the body that is sent to a host; empty without a body.

    Secrets in the body are masked in it, and four digits more tell whether they are the same: with a whole digest one
    could try out passwords.
    """
    if items.is_form:
        return _of_text(repr([_part(name, value, items, host) for name, value in items.fields]))
    body: Any = items.for_host(host).body
    if body is None:
        return ''
    if not isinstance(body, bytes):
        return _of_file(items.file or '')
    try:
        return _of_text(body.decode())
    except UnicodeDecodeError:
        return sha256(body).hexdigest()[:_DIGITS]


def _part(name: str, value: str | Upload, items: Items, host: str) -> object:
    """A field of a form, whose boundary is another each time."""
    if isinstance(value, Upload):
        data = value.data
        digest = sha256(data).hexdigest() if isinstance(data, bytes) else _of_file(value.path)
        return name, value.name, value.content_type, digest
    return items.filler.fill(name, host), items.filler.fill(value, host)


def _of_text(text: str) -> str:
    shown, whole = mask(text), sha256(text.encode()).hexdigest()
    if shown == text:
        return whole[:_DIGITS]
    return sha256(shown.encode()).hexdigest()[:_DIGITS] + whole[:_OF_SECRETS]


@cache  # all hosts are sent the same
def _of_file(path: str) -> str:
    digest = sha256()
    with open(os.path.expanduser(path), 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:_DIGITS]
