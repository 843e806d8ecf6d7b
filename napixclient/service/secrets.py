"""The secrets that requests carry: found, and taken out of what is kept and shown. Imports masking."""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote_plus

from ..masking import MASK, Shown, is_secret

__all__ = ['Secrets', 'is_secret_field', 'mask_url']

#: Characters that a value has at least, to be looked for in answers.
_SHORTEST = 4
#: Characters of the beginnings by which values are looked for; the fewer, the more there are of them. In all a pattern
#: has so many, for one of more takes longer to make than to use.
_BEGINNINGS = (16, 12, 8, 4, 2)
_MOST_BRANCHES = 20_000
_says_secret = re.compile(r'token|secret|passw|api-?key|credential|session', re.IGNORECASE).search
_pairs = re.compile(r'([?&;])([^=&;#?]*)=([^&;#]*)')


def is_secret_field(name: str) -> bool:
    """Whether a header field of that name is likely to be a credential."""
    return is_secret(name) or bool(_says_secret(name.replace('_', '-')))


def mask_url(url: str) -> str:
    """The URL without the values of parameters that are likely to be credentials."""
    def masked(pair: re.Match[str]) -> str:
        return f'{pair[1]}{pair[2]}={MASK}' if _says_secret(unquote_plus(pair[2])) else pair[0]
    return _pairs.sub(masked, url)


class Secrets:
    """The secret values of the requests of one run."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._finder: _Finder | None = None

    def of_request(self, url: str, headers: Iterable[tuple[str, str]]) -> bool:
        """Take note of the secrets of a request; whether it has any."""
        found = [unquote_plus(value) for _, name, value in _pairs.findall(url)
                 if value and _says_secret(unquote_plus(name))]
        has_secret = bool(found)
        for name, value in headers:
            if is_secret_field(name):
                has_secret = True
                found += _parts(name, value)
        for value in found:
            if len(value) >= _SHORTEST and value not in self._values:
                self._values |= {value, quote(value), quote(value, safe=''), json.dumps(value)[1:-1]}
                self._finder = None
        return has_secret

    def without(self, value: Any) -> Any:
        """Decoded JSON without the secrets."""
        if not self._values:
            return value
        if self._finder is None:
            self._finder = _Finder(self._values)
        return _mapped(value, self._finder.masked)


def _mapped(value: Any, masked: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return value if type(value) is Shown else masked(value)     # that is a sentence of ours
    if isinstance(value, dict):
        return {_mapped(name, masked): _mapped(member, masked) for name, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, masked) for member in value]
    return value


class _Finder:
    """Finds very many values in one pass over a text, the longest where several begin at one place.

    A pattern finds where one may begin; which it is, if any, is then looked up among all in their order.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = sorted(values)
        self._longest = max(map(len, self._values))
        #: For each the longest other one that it begins with; -1 for none.
        self._within = _beginnings(self._values)
        self._find = re.compile(_pattern(_tree(self._values)), re.DOTALL).search

    def masked(self, text: str) -> str:
        """The text with ``***`` in the place of each value."""
        parts: list[str] = []
        at = begin = 0
        while (match := self._find(text, at)) is not None:
            at = match.start()
            size = self._size(text, at)
            if size:
                parts += text[begin:at], MASK
                begin = at + size
            at += size or 1
        return ''.join([*parts, text[begin:]]) if parts else text

    def _size(self, text: str, at: int) -> int:
        """Characters of the longest value that stands there; 0 for none."""
        index = bisect_right(self._values, text[at:at + self._longest]) - 1
        while index >= 0 and not text.startswith(self._values[index], at):
            index = self._within[index]         # what begins there, and sorts before it, is the beginning of it
        return len(self._values[index]) if index >= 0 else 0


def _beginnings(values: list[str]) -> list[int]:
    found: list[int] = []
    open_: list[int] = []
    for index, value in enumerate(values):
        while open_ and not value.startswith(values[open_[-1]]):
            open_.pop()
        found.append(open_[-1] if open_ else -1)
        open_.append(index)
    return found


def _tree(values: list[str]) -> dict[str, Any]:
    """The beginnings of values that are in order: character → what follows; nothing where it is to be looked up."""
    for size in _BEGINNINGS:
        if len({value[:end] for value in values for end in range(1, size + 1)}) <= _MOST_BRANCHES:
            break
    root: dict[str, Any] = {}
    last = ''
    for start in sorted({value[:size] for value in values}):
        if not last or not start.startswith(last):
            last, node = start, root
            for char in start:
                node = node.setdefault(char, {})
    return root


def _pattern(tree: dict[str, Any]) -> str:
    branches = [re.escape(char) + _pattern(below) for char, below in tree.items()]
    return branches[0] if len(branches) == 1 else f'(?:{"|".join(branches)})' if branches else ''


def _parts(name: str, value: str) -> list[str]:
    """The value of a field, and what of it a server may quote."""
    parts = [value]
    if name.lower() == 'cookie':
        parts += [pair.partition('=')[2].strip() for pair in value.split(';')]
    else:
        scheme, _, rest = value.partition(' ')
        parts.append(rest.strip())
        if scheme.lower() == 'basic':
            try:
                login = base64.b64decode(rest, validate=True).decode()
                parts += [login, login.partition(':')[2]]
            except (binascii.Error, UnicodeDecodeError):
                pass
    return parts
