"""What must not be shown: knows the secrets that authenticators hold, and takes them out of texts.

Whatever leaves the process as text goes through here: ``str`` and ``repr`` of errors, log records, error documents.
Imports nothing of ours.
"""

from __future__ import annotations

import html
import json
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from urllib.parse import quote, quote_plus, unquote_plus
from weakref import finalize

__all__ = ['FIELDS', 'MASK', 'cut', 'hide', 'hide_fields', 'hide_parameter', 'is_secret', 'mask', 'mask_query']

MASK = '***'
#: Header fields whose values are secret, in lower case.
FIELDS = frozenset(['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-auth-token', 'x-subject-token'])
_MOST_PARAMETERS = 4096
#: Characters that a secret has at least: to mask every "key" leaves less to read, and tells what it is.
_SHORTEST = 4
#: Of a cookie: many a shorter value is a word like any other.
_SHORTEST_COOKIE = 8

# Without a lock, though every thread may hide something: each step is one that no thread sees the half of.
_numbers = count(1)
_held: dict[int, tuple[str, ...]] = {}      # by the number of their holder: its secrets, in all spellings
_gone: deque[int] = deque()                 # the holders that are gone since the last one came
_latest = 0
_known: tuple[int, tuple[str, ...]] = 0, ()     # the latest of the holders whose secrets are in it; the longest first
_parameters = {'token'}

_names = '|'.join(sorted(FIELDS, key=len, reverse=True)).replace('-', '[-_]')
# "Authorization: x", "'Cookie': 'x'", "('X-Auth-Token', 'x')", "HTTP_COOKIE=x": to the end of the quoted value, of the
# brackets, or of the line. Nothing follows the value in the pattern, so that the search never has to go back.
_mask_fields = re.compile(
    rf'(?im)(?<![a-z0-9])({_names})(\\{{0,3}}["\']?[ \t]*[:=][ \t]*|\\{{0,3}}["\'][ \t]*,[ \t]*(?=b?\\{{0,3}}["\']))'
    r'(?=\S)(?:b?"(?:[^"\\\r\n]|\\.)*"?|b?\'(?:[^\'\\\r\n]|\\.)*\'?|\\+["\'][^"\'\\\r\n]*|[\[(][^\])\r\n]*[\])]?'
    r'|(?:="[^"\r\n]*"?|[^\r\n"\']|["\'](?![ \t]*(?:[,)]|$)))+)').sub
_find_parameters = re.compile(r'([?&;]([^=&;#?\s"\'<>]{1,100})=)[^&;#\s"\'<>]*').sub
_mask_userinfo = re.compile(r'(?<=://)[^/\s@"\'<>]+@').sub
_percents = re.compile('%[0-9A-F]{2}').sub


def hide(holder: object, *values: str | bytes) -> None:
    """Never show these again, neither as they are nor as URL, JSON, HTML or Python write them.

    :param holder: whose secrets they are; they are hidden as long as it lives, and until the next has secrets.
    """
    global _latest
    number = next(_numbers)
    _held[number] = tuple({spelling for value in values for text in _texts(value) for spelling in _spelled(text)})
    _latest = number
    finalize(holder, _gone.append, number).atexit = False   # called at any time, so that it only takes note
    with suppress(IndexError):              # when there are no more, or another thread took the last one
        while True:
            _held.pop(_gone.popleft(), None)


def _secrets() -> tuple[str, ...]:
    """All that is hidden now."""
    global _known
    if _known[0] != _latest:
        latest = _latest
        found = {spelling for spellings in tuple(_held.values()) for spelling in spellings}
        _known = latest, tuple(sorted(found, key=len, reverse=True))
    return _known[1]


def hide_fields(holder: object, fields: Iterable[tuple[str, str]]) -> None:
    """Hide the values of the fields that are secret, such as ``X-Auth-Token``, by :func:`hide`."""
    secrets = []
    for name, value in fields:
        if is_secret(name):
            secrets.append(value)
            if 'auth' in name.lower():
                secrets.append(value.partition(' ')[2])     # what follows the scheme
            elif 'cookie' in name.lower():
                values = (pair.partition('=')[2].strip() for pair in value.split(';'))
                secrets += [one for one in values if len(one) >= _SHORTEST_COOKIE]
    if secrets:
        hide(holder, *secrets)


def hide_parameter(name: str) -> None:
    """Show the value of this parameter in no query."""
    if len(_parameters) < _MOST_PARAMETERS:
        _parameters.add(name)


def is_secret(name: str) -> bool:
    """Whether a header field, or a variable of a WSGI environ, of that name has a secret value."""
    return name.lower().replace('_', '-').removeprefix('http-') in FIELDS


def mask(text: str) -> str:
    """The text without what is secret."""
    # Plain searches: there are few secrets, and a pattern of many would take longer to make than to use.
    while found := [secret for secret in _secrets() if secret in text]:
        for secret in found:
            text = text.replace(secret, MASK)
    text = mask_query(text)
    lowered = text.lower()
    if 'auth' in lowered or 'cookie' in lowered or 'subject' in lowered:
        text = _mask_fields(rf'\g<1>\g<2>{MASK}', text)
    if '://' in text and '@' in text:
        text = _mask_userinfo(f'{MASK}@', text)
    return text


def mask_query(text: str) -> str:
    """The text without the values of query parameters that are secret."""
    return _find_parameters(_masked_parameter, text) if '=' in text else text


def cut(text: str, size: int) -> str:
    """The text, or its beginning where it is longer: not cut within a secret, of which nobody would know the half."""
    if len(text) <= size:
        return text
    end = size
    for secret in _secrets():
        at = text.find(secret, max(size - len(secret) + 1, 0), size + len(secret) - 1)
        if 0 <= at < end:
            end = at
    return f'{text[:end]}…' if end == size else cut(text, end)


def _masked_parameter(match: re.Match[str]) -> str:
    return f'{match[1]}{MASK}' if unquote_plus(match[2]) in _parameters else match[0]


def _texts(value: str | bytes) -> set[str]:
    """A secret as the text that it would be shown as."""
    if isinstance(value, str):
        return {value}
    texts = {value.decode('latin-1'), repr(value)[2:-1]}
    try:
        texts.add(value.decode())
    except UnicodeDecodeError:
        pass
    return texts


def _spelled(text: str) -> set[str]:
    """The ways to write a secret."""
    spelled: set[str] = set()
    for one in {text, text.strip(), ' '.join(text.split())}:        # as our own lines show it
        if len(one.strip()) < _SHORTEST:
            continue
        data = one.encode('utf-8', 'surrogatepass')
        quoted = {quote(data, safe=''), quote(data), quote_plus(data)}
        escaped = html.escape(one)
        spelled |= {
            one, data.decode('latin-1'), repr(data)[2:-1],
            *quoted, *(_percents(lambda match: match[0].lower(), each) for each in quoted),
            json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1],
            repr(one)[1:-1], repr(f'{one}\'"')[1:-4], ascii(one)[1:-1],
            escaped, html.escape(one, quote=False), escaped.replace('&quot;', '&#34;').replace('&#x27;', '&#39;')}
    return spelled
