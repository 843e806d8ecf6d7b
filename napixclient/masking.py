"""What must not be shown: knows the secrets that authenticators hold, and takes them out of texts.

Whatever leaves the process as text goes through here: ``str`` and ``repr`` of errors, log records, error documents.
What others said (a server, a URL, a header, the caller's own exception) goes through :func:`mask` when it is put into a
sentence. The sentence itself is ours, or OpenSSL's or the system's, and goes through :func:`sentence`: it knows no
secret, but is made of words, and any word is somebody's password.
"""

from __future__ import annotations

import html
import json
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from math import inf
from urllib.parse import quote, quote_plus, unquote_plus
from weakref import finalize

__all__ = [
    'FIELDS',
    'MASK',
    'Shown',
    'cut',
    'hide',
    'hide_fields',
    'hide_parameter',
    'is_secret',
    'mask',
    'mask_around',
    'mask_query',
    'sentence',
]

MASK = '***'
#: Header fields whose values are secret, in lower case.
FIELDS = frozenset(['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-auth-token', 'x-subject-token'])
_MOST_PARAMETERS = 4096
#: Characters that a secret has at least: to mask every "key" leaves less to read, and tells what it is.
_SHORTEST = 4
#: Of a cookie: many a shorter value is a word like any other.
_SHORTEST_COOKIE = 8
#: A shorter secret that is a word or a number is masked only where it is a whole value.
_SHORTEST_LONG = 8
#: Letters, perhaps of several words; or so few digits that they may count something.
_is_word = re.compile(r"[^\W\d_]+(?:[ _'-][^\W\d_]+)*\Z|[0-9]{1,7}\Z").match
#: A whole value in what others said: no part of a longer word or number; an escape before it is none of it.
_VALUE = r'(?:(?<![\w-])|(?<=%%[0-9A-Fa-f]{2})|(?<=\\[nrt]))%s(?![\w-])'
#: And in a sentence of ours: what is quoted, assigned, or a part of a path.
_QUOTED = r'(?m)(?<=["\'=/])%s(?=[]"\'/,;&?#)}\s]|$)'

# Without a lock, though every thread may hide something: each step is one that no thread sees the half of.
_numbers = count(1)
_held: dict[int, tuple[str, ...]] = {}  # by the number of their holder: its secrets, in all spellings
_gone: deque[int] = deque()  # the holders that are gone since the last one came
_latest = 0
_known: tuple[int, tuple[str, ...]] = 0, ()  # the latest of the holders whose secrets are in it; the longest first
_parameters = {'token'}

_names = '|'.join(sorted(FIELDS, key=len, reverse=True)).replace('-', '[-_]')
# "Authorization: x", "'Cookie': 'x'", "('X-Auth-Token', 'x')", "HTTP_COOKIE=x": to the end of the quoted value, of the
# brackets, or of the line. Nothing follows the value in the pattern, so that the search never has to go back.
_mask_fields = re.compile(
    rf'(?im)(?<![a-z0-9])({_names})(\\{{0,3}}["\']?[ \t]*[:=][ \t]*|\\{{0,3}}["\'][ \t]*,[ \t]*(?=b?\\{{0,3}}["\']))'
    r'(?=\S)(?:b?"(?:[^"\\\r\n]|\\.)*"?|b?\'(?:[^\'\\\r\n]|\\.)*\'?|\\+["\'][^"\'\\\r\n]*|[\[(][^\])\r\n]*[\])]?'
    r'|(?:="[^"\r\n]*"?|[^\r\n"\']|["\'](?![ \t]*(?:[,)]|$)))+)'
).sub
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
    finalize(holder, _gone.append, number).atexit = False  # called at any time, so that it only takes note
    with suppress(IndexError):  # when there are no more, or another thread took the last one
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
                secrets.append(value.partition(' ')[2])  # what follows the scheme
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


class Shown(str):
    """A text in which nothing secret is left: to mask it once more would only take words of ours out of it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


def mask(text: str) -> str:
    """What others said, without what is secret.

    A short secret that is a word, such as ``wrong``, or a number, is masked where it stands alone, not in ``wrongly``.
    """
    return text if type(text) is Shown else _masked(text, _VALUE, _SHORTEST_LONG)


def sentence(text: str) -> Shown:
    """A sentence of ours, of OpenSSL or of the system: what others said in it is masked already, by :func:`mask`.

    In case it is not, a secret that cannot be a word of it is masked anywhere, and one that can where it is quoted.
    """
    return text if type(text) is Shown else Shown(_masked(text, _QUOTED))


def mask_around(text: str, sentences: Iterable[str]) -> str:
    """What others said, but for the sentences of ours in it, as a traceback has them."""
    pieces = [text]
    for told in sorted(filter(None, sentences), key=len, reverse=True):
        pieces = [
            part
            for piece in pieces
            for part in ([piece] if type(piece) is Shown else _between(piece, sentence(told), told))
        ]
    return ''.join(map(mask, pieces))


def _between(text: str, shown: Shown, told: str) -> list[str]:
    """The text with what is shown in the place of a sentence."""
    first, *others = text.split(told)
    return [first, *(part for other in others for part in (shown, other))]


def _masked(text: str, value: str, long: float = inf) -> str:
    """The text without what is secret.

    :param value: the pattern of a whole value: only there is a word or a number masked
    :param long: that is shorter than so many characters.
    """
    # Plain searches: there are few secrets, and a pattern of many would take longer to make than to use.
    before = ''
    while text != before and (found := [secret for secret in _secrets() if secret in text]):
        before = text
        for secret in found:
            if len(secret) < long and _is_word(secret):
                text = re.sub(value % re.escape(secret), MASK, text)
            else:
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
    return _find_parameters(_without_value, text) if '=' in text else text


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


def _without_value(match: re.Match[str]) -> str:
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
    for one in {text, text.strip(), ' '.join(text.split())}:  # as our own lines show it
        if len(one.strip()) < _SHORTEST:
            continue
        data = one.encode('utf-8', 'surrogatepass')
        quoted = {quote(data, safe=''), quote(data), quote_plus(data)}
        escaped = html.escape(one)
        spelled |= {
            one,
            data.decode('latin-1'),
            repr(data)[2:-1],
            *quoted,
            *(_percents(lambda match: match[0].lower(), each) for each in quoted),
            json.dumps(one)[1:-1],
            json.dumps(one, ensure_ascii=False)[1:-1],
            repr(one)[1:-1],
            repr(f'{one}\'"')[1:-4],
            ascii(one)[1:-1],
            escaped,
            html.escape(one, quote=False),
            escaped.replace('&quot;', '&#34;').replace('&#x27;', '&#39;'),
        }
    return spelled
