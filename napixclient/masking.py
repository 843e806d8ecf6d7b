"""Masks secrets: knows those that authenticators hold, and takes them out of texts.

Whatever leaves the process as text goes through here: ``str`` and ``repr`` of errors, log records, error documents.
What others said (a server, a URL, a header, the caller's own exception) goes through :func:`mask` when it is put into a
sentence. The sentence itself is ours, or OpenSSL's or the system's, and goes through :func:`sentence`: it knows no
secret, but is made of words, and any word is somebody's password.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from math import inf
from string import ascii_letters, digits
from urllib.parse import quote, quote_plus, unquote_plus
from weakref import finalize

from .secret_names import is_secret_field, is_secret_parameter, may_name_secrets

__all__ = [
    'MASK',
    'Shown',
    'cut',
    'hide',
    'hide_fields',
    'is_field',
    'mask',
    'mask_around',
    'mask_query',
    'named_secrets',
    'sentence',
]

MASK = '***'
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

# What stands between a name and its value: "Authorization: x", "'Cookie': 'x'", "('X-Auth-Token', 'x')", "pwd=x".
_find_separators = re.compile(r'[:=]|["\'][ \t]*,').finditer
_skip_blanks = re.compile(r'[ \t]*').match
_quote_follows = re.compile(r'b?\\{0,3}["\']').match
_BEFORE_PARAMETER = ('?', '&', ';')
_NAME = f'{ascii_letters}{digits}_.-'
#: Characters before a separator that may be a name, with blanks and a quote behind it.
_LONGEST_NAME = 120
# Of a header field: to the end of the quoted value, of the brackets, or of the line; a mask stays what it is.
_field_value = re.compile(
    r'(\*\*\*(?=[,)\]}"\'\\]|$)|b?"(?:[^"\\\r\n]|\\.)*"?|b?\'(?:[^\'\\\r\n]|\\.)*\'?|\\+["\'][^"\'\\\r\n]*|[\[(][^\])\r\n]*[\])]?'
    r'|(?:="[^"\r\n]*"?|[^\r\n"\']|["\'](?![ \t]*(?:[,)]|$)))+)',
    re.MULTILINE,
).match
# Of anything else: what is between the quotes, the brackets, or the next word, behind the name of a scheme perhaps.
_value = re.compile(
    r'b?"((?:[^"\\\r\n]|\\.)*)|b?\'((?:[^\'\\\r\n]|\\.)*)|\\+["\']([^"\'\\\r\n]*)|([\[(][^\])\r\n]*[\])]?)'
    r'|(?![={]|(?:null|none|true|false)\b)'
    r'(?P<bare>\*\*\*(?=#)|(?:(?:basic|bearer|digest|token|negotiate)[ \t]+)?[^\s,;&"\'<>]+)',
    re.IGNORECASE,
).match
#: What a sentence says of a secret: "token: expired", "auth: 401".
_is_remark = re.compile(r'[^\W\d_]+[.!?]?|\d{1,3}[.]?').fullmatch
#: Names of header fields, whose values are whole lines: those with a hyphen and a capital among them.
_is_field_name = re.compile(r'(?i:(?:http|x)[-_].*|(?:.*[-_.])?(?:authorization|cookie))|[A-Z].*-.*').fullmatch
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
    """Hide the values of the fields that are secret by their names, such as ``X-Auth-Token``, by :func:`hide`."""
    secrets = []
    for name, value in fields:
        if is_secret_field(name):
            secrets.append(value)
            if 'cookie' in name.lower():
                values = (pair.partition('=')[2].strip() for pair in value.split(';'))
                secrets += [one for one in values if len(one) >= _SHORTEST_COOKIE]
            else:
                secrets.append(value.partition(' ')[2])  # what follows the scheme
    if secrets:
        hide(holder, *secrets)


def is_field(name: str) -> bool:
    """Whether a name is that of a secret header field, and of nothing else: it may be followed by anything."""
    return _is_field_name(name) is not None and is_secret_field(name)


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
    for text_of_ours in sorted(filter(None, sentences), key=len, reverse=True):
        pieces = [
            part
            for piece in pieces
            for part in ([piece] if type(piece) is Shown else _between(piece, sentence(text_of_ours), text_of_ours))
        ]
    return ''.join(map(mask, pieces))


def _between(text: str, shown: Shown, text_of_ours: str) -> list[str]:
    """The text with each sentence replaced by what is shown."""
    first, *others = text.split(text_of_ours)
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
    text = _mask_named(mask_query(text))
    if '://' in text and '@' in text:
        text = _mask_userinfo(f'{MASK}@', text)
    return text


def mask_query(text: str) -> str:
    """The text without the values of query parameters that are secret."""
    return _find_parameters(_without_value, text) if '=' in text else text


def named_secrets(text: str) -> list[str]:
    """The values in a text whose names say that they are secret, as in ``{"password": "x"}`` and ``api_key=x``."""
    return [text[start:end].strip('"\'') for start, end in _find_named(text)]


def _mask_named(text: str) -> str:
    """The text without the values whose names say that they are secret."""
    parts: list[str] = []
    done = 0
    for start, end in _find_named(text):
        parts += text[done:start], MASK
        done = end
    return ''.join([*parts, text[done:]]) if parts else text


def _find_named(text: str) -> Iterator[tuple[int, int]]:
    """Where the values stand whose names say that they are secret: beginnings and ends."""
    if not may_name_secrets(text):
        return
    done = 0
    for separator in _find_separators(text):
        at = separator.start()
        if at < done:
            continue
        before = text[max(at - _LONGEST_NAME, 0) : at].rstrip(' \t')
        is_list = separator[0][-1] == ','
        is_quoted = is_list or before[-1:] in ('"', "'")
        before = (before[:-1] if is_quoted and not is_list else before).rstrip('\\')
        name = _name_at_end_of(before)
        if not is_secret_field(name):
            continue
        start = _skip_blanks(text, separator.end()).end()  # type: ignore[union-attr]  # it always matches
        in_query = before[-len(name) - 1 : -len(name)] in _BEFORE_PARAMETER
        if _is_field_name(name) and not in_query and (not is_list or _quote_follows(text, start)):
            span = _span_of_field(text, start)
        elif is_list:  # of names, rather
            continue
        else:
            span = _span_of_value(text, start, in_prose=separator[0] == ':' and not is_quoted, whole_line='-' in name)
        if span is not None:
            done = span[1]
            yield span


def _name_at_end_of(text: str) -> str:
    start = len(text.rstrip(_NAME))
    # A line end, as Python shows it, is no part of a name.
    if text[start - 1 : start] == '\\' and text[start : start + 1] in ('n', 'r', 't'):
        return text[start + 1 :]
    return text[start:]


def _span_of_field(text: str, start: int) -> tuple[int, int] | None:
    value = _field_value(text, start)
    return None if value is None else value.span()


def _span_of_value(text: str, start: int, in_prose: bool, whole_line: bool) -> tuple[int, int] | None:
    """Where a value stands that need not be a header field's; ``None`` where it is none, or a remark about it."""
    if in_prose and text[start : start + 1] in ('[', '('):
        return None
    value = _value(text, start)
    if value is None or value.lastindex is None:
        return None
    if in_prose and value['bare'] is not None and _is_remark(value['bare']):
        return None
    if in_prose and whole_line and value['bare'] is not None:
        return _span_of_field(text, start)
    start, end = value.span(value.lastindex)
    if value['bare'] is not None:
        end = start + len(value['bare'].rstrip(')]}'))  # of what is around it
    return None if start == end else (start, end)


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
    return f'{match[1]}{MASK}' if is_secret_parameter(unquote_plus(match[2])) else match[0]


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
    import html  # its table of two thousand entities is for those who have secrets

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
