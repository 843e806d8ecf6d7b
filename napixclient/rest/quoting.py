"""Endpoints, paths, parameters and fields: each arrives as it was given, or is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ..checks import is_number
from ..messages import UNIX, parse_origin

__all__ = ['Endpoint', 'Fields', 'Params', 'endpoint_of', 'fields_of', 'query_of', 'quoted_path']

Params = Mapping[str, object] | Iterable[tuple[str, object]]
Fields = Mapping[str, object] | Iterable[tuple[str, object]]

# RFC 3986 §3.3: pchar and "/". In a query the comma stays as it is too, because some servers split lists at it before
# they decode. The other delimiters mean something in a form, or end a value for code that masks it.
_IN_PATH = "/:@!$&'()*+,;="
_IN_QUERY = '/:@,'
_is_plain = re.compile(r"[0-9A-Za-z\-._~/:@!$&'()*+,;=]*").fullmatch
_ends_line = re.compile(r'[\x00\r\n]').search
_is_value = re.compile(r'[\t\x20-\x7e\x80-\xff]*').fullmatch
_stray_percent = re.compile(r'%(?![0-9A-Fa-f]{2})').search


class Endpoint(NamedTuple):
    """Where a service is."""

    host: str  # with its scheme, as a client takes it
    path: str  # as it goes on the request line; begins with "/"
    prefix: str  # the path without slashes at its end


def endpoint_of(url: object) -> Endpoint:
    """Read the URL of a service; ``unix:///run/x.sock`` is the root of the server on that socket.

    :raises ValueError: if it is not a URL, has a scheme other than http, https, unix and http+unix, a query, a fragment
        or credentials.
    """
    expected = (
        'expected http://host/path, https://host:port/path, unix:///run/x.sock or http+unix://%2Frun%2Fx.sock/path'
    )
    if not isinstance(url, str):
        raise ValueError(f'an endpoint is a URL, not {url!r}; {expected}')
    scheme, mark, behind = url.partition('://')
    if mark and scheme.lower() == 'unix':
        parse_origin(url)
        return Endpoint(url, '/', '')
    if not mark or scheme.lower() not in ('http', 'https', UNIX):
        raise ValueError(f'not the URL of an endpoint: {url!r}; {expected}')
    if '?' in url or '#' in url:
        raise ValueError(f'an endpoint has neither a query nor a fragment: {url!r}; a call has params')
    authority, _, path = behind.partition('/')
    if _stray_percent(path) or re.search(r'[\x00-\x20\x7f\\]', path):
        raise ValueError(f'the path of an endpoint is that of a URL, in which such a character is quoted: {url!r}')
    host = f'{scheme.lower()}://{authority}'
    parse_origin(host)
    path = '/' + quoted(path, _IN_PATH + '%', 'endpoint')
    return Endpoint(host, path, path.rstrip('/'))


def quoted_path(path: object) -> str:
    """A path as it goes on the request line (RFC 3986 §3.3). All characters are data, ``%``, ``?`` and ``#`` too.

    :raises ValueError: if it is not a text, or contains CR, LF, NUL or a lone surrogate.
    """
    if not isinstance(path, str):
        raise ValueError(f'a path is a text, not {path!r}')
    if _is_plain(path):
        return path
    if _ends_line(path):
        raise ValueError(f'CR, LF and NUL are not allowed in a path: {path!r}')
    return quoted(path, _IN_PATH, 'path')


def query_of(params: object) -> str:
    """Parameters as they go on the request line. If a value is a list or a tuple, its name is repeated.

    :raises ValueError: if it is neither a mapping nor pairs, or a name or value is neither a text nor a number.
    """
    pairs = []
    for name, value in _pairs(params, 'params'):
        name = _word(name, 'the name of a parameter')
        for one in value if isinstance(value, (list, tuple)) else (value,):
            pairs.append(f'{name}={_word(one, f"parameter {name}")}')
    return '&'.join(pairs)


def _pairs(given: object, what: str) -> Iterator[tuple[Any, object]]:
    """Names and values of a mapping or of pairs. Errors do not show them, because they may be secret."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ValueError(f'{what} is a mapping or pairs of name and value, not {type(given).__name__}')
    for pair in given.items() if isinstance(given, Mapping) else given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                f'{what} is a mapping or pairs of name and value; a {type(pair).__name__} in it is no pair'
            )
        yield pair[0], pair[1]


def _word(value: object, what: str) -> str:
    if isinstance(value, (int, float)):
        value = str(value)
    if not isinstance(value, (str, bytes)):
        raise ValueError(f'{what}: a text, bytes or a number can be sent, not {value!r}')
    return quoted(value, _IN_QUERY, what)


def quoted(text: str | bytes, safe: str, what: str) -> str:
    """A text percent-encoded as UTF-8 (RFC 3986 §2.5), except for the safe and the unreserved characters."""
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise ValueError(f'{what}: a lone surrogate cannot be sent: {text!r}') from None


def fields_of(headers: object) -> list[tuple[str, str]]:
    """Header fields as pairs.

    A value is visible ASCII or Latin-1 with blanks and tabs inside (RFC 9110 §5.5). Blanks around it would not arrive.

    :raises ValueError: if a name or a value cannot be sent.
    """
    pairs = []
    for name, value in _pairs(headers, 'headers'):
        if isinstance(name, bytes):
            name = name.decode('latin-1')
        pairs.append((name, value_of(name, value)))
    return pairs


def value_of(name: object, value: object) -> str:
    """The value of a header field.

    :raises ValueError: if it would not arrive as it is.
    """
    if isinstance(value, bytes):
        value = value.decode('latin-1')
    elif is_number(value):
        value = str(value)
    # Its value is not shown, for it may be a secret.
    if not isinstance(value, str):
        raise ValueError(f'header {name}: the value is a text, bytes or a number, not {type(value).__name__}')
    if not _is_value(value):
        raise ValueError(f'header {name}: a value is ASCII or Latin-1 without control characters (RFC 9110 §5.5)')
    if value.strip() != value:
        raise ValueError(f'header {name}: blanks at the beginning or the end of a value would not arrive')
    return value
