"""The target of a request: path and query as they go on the request line (RFC 9112 §3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

__all__ = ['checked_target', 'remembered', 'target_with']

_is_target = re.compile(r'/[!$-~]*|\*').fullmatch  # visible ASCII but '"' and '#'
_has_control = re.compile(r'[\x00-\x1f\x7f]').search
_REMEMBERED = 8192
#: Targets that passed before: to look here costs less than any call.
remembered: set[str] = set()


def checked_target(url: object) -> str:
    """A url as it goes on the request line. What passed is remembered: a fan-out asks many hosts for the same one.

    :raises ValueError: for what is none.
    """
    if not (isinstance(url, str) and _is_target(url)):
        url = target_with(url, None)
    if len(url) < 200:
        if len(remembered) >= _REMEMBERED:
            remembered.clear()
        remembered.add(url)
    return url


def target_with(url: object, params: Any) -> str:
    """Path and query as they go on the request line, with these parameters added to the query.

    :raises ValueError: for a url that is none.
    """
    if not isinstance(url, str):
        raise ValueError(f'a url is a text such as "/path?query", not {url!r}')
    if _has_control(url):
        raise ValueError(f'control characters such as CR, LF and NUL are not allowed in a url: {url!r}')
    if url == '*' and params:
        raise ValueError('the asterisk form of a url takes no params (RFC 9112 §3.2.4)')
    if url != '*' and not url.startswith('/'):
        raise ValueError(f'a url is a path that begins with "/" (the host is an argument of its own): {url!r}')
    if '#' in url:
        raise ValueError(f'a fragment is never sent; leave out what follows "#" or write it as %23: {url!r}')
    if params is not None:
        query = (
            params
            if isinstance(params, str)
            else urlencode(list(params.items()) if isinstance(params, Mapping) else list(params), doseq=True)
        )
        if query:
            url = f'{url}{"&" if "?" in url else "?"}{query}'
    return quote(url, safe="%/?:@!$&'()*+,;=[]-._~|{}^`\\<>")
