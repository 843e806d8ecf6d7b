"""What a WSGI environ says of its request, and what may be said to a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

__all__ = ['App', 'Environ', 'accepts_problems', 'checked_head', 'path_of', 'text_of']

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


def text_of(environ: Environ, name: str, default: str = '') -> str:
    """A variable, if it is a text."""
    value = environ.get(name, default)
    return value if isinstance(value, str) else default


def path_of(environ: Environ) -> str:
    """The path as its caller wrote it, without the query; as near to it as the server tells (see SignatureGuard)."""
    target = text_of(environ, 'RAW_URI') or text_of(environ, 'REQUEST_URI')
    if target.startswith('/'):
        path, safe = target.partition('?')[0], f'%{_SAFE}'
    else:
        path, safe = text_of(environ, 'SCRIPT_NAME') + text_of(environ, 'PATH_INFO'), _SAFE
    return quote(path.encode('latin-1', 'replace'), safe)  # PEP 3333: bytes disguised as text


#: What stands in a path as it is (RFC 3986 §3.3).
_SAFE = "/:@!$&'()*+,;="


def accepts_problems(accept: str) -> bool:
    """Whether ``Accept`` names RFC 9457's type, with a weight above 0 (RFC 9110 §12.5.1)."""
    for part in accept.split(','):
        media, *parameters = part.split(';')
        if media.strip().lower() == 'application/problem+json':
            return not any(
                re.fullmatch(r'\s*q\s*=\s*0(\.0*)?\s*', parameter, re.IGNORECASE) for parameter in parameters
            )
    return False


def checked_head(status: str, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields, if they can be sent: the server, who is to check it (PEP 3333), is told too late to tell of it.

    :raises ValueError: for a status or a field that cannot be sent; what it says is not in the text.
    """
    if not _is_status(status):
        raise ValueError(f'the application gave a status that cannot be sent: {status!r}')
    checked = list(headers)
    for name, value in checked:
        if not (_is_name(name) and (value.isascii() and value.isprintable() or _is_value(value))):
            raise ValueError(f'the application gave a field that cannot be sent: {name!r}')
    return checked


_is_status = lru_cache(maxsize=256)(re.compile(r'[1-9][0-9]{2}(?: [\t -~\x80-\xff]*)?').fullmatch)
_is_name = lru_cache(maxsize=1024)(re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch)
_is_value = re.compile(r'[\t -~\x80-\xff]*').fullmatch
