"""Reads what a WSGI environ has of its request, and checks what is passed to a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

__all__ = ['App', 'Environ', 'ExcInfo', 'StartResponse', 'accepts_problems', 'checked_head', 'path_of', 'text_of']

Environ = dict[str, Any]
#: What ``sys.exc_info()`` returns.
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class StartResponse(Protocol):
    """``start_response`` of PEP 3333."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Begin the answer; return ``write``."""


App = Callable[[Environ, StartResponse], Iterable[bytes]]


def text_of(environ: Environ, name: str, default: str = '') -> str:
    """The value of a variable if it is a text, else the default."""
    value = environ.get(name, default)
    return value if isinstance(value, str) else default


def path_of(environ: Environ) -> str:
    """The path without the query, as near to what the caller wrote as the server passes it on (see SignatureGuard)."""
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
    """The fields, if they can be sent. PEP 3333 has the server check them, but it does so too late for an error answer.

    :raises ValueError: if the status or a field cannot be sent; the error does not show the value of the field.
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
