"""The secrets that requests carry: found, and taken out of what is kept and shown."""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote_plus

from ..masking import MASK, Shown, named_secrets
from ..secret_names import are_plain, is_secret_field, is_secret_parameter

__all__ = ['Secrets', 'mask_url', 'secret_parameters', 'secrets_of_body', 'with_parameters']

#: Characters that a value has at least, to be looked for in answers.
_SHORTEST = 4
#: Of the beginnings by which values are looked for: characters of each, and how many characters a pattern of them has
#: at most, for one of more takes longer to make than to use.
_LONGEST_BEGINNING = 16
_MOST_BRANCHES = 20_000
#: Characters of a text that are looked at together.
_STRETCH = 65536
#: ``a=b&c=d``, and nothing that a form would write otherwise.
_is_form = re.compile(r'[^\s&="{}]+=[^\s&"{}]*(?:&[^\s&="{}]+=[^\s&"{}]*)*').fullmatch
_pairs = re.compile(r'([?&;])([^=&;#?]*)=([^&;#]*)')


def mask_url(url: str) -> str:
    """The URL without the values of parameters that are credentials."""

    def masked(pair: re.Match[str]) -> str:
        return f'{pair[1]}{pair[2]}={MASK}' if is_secret_parameter(unquote_plus(pair[2])) else pair[0]

    return _pairs.sub(masked, url)


def secret_parameters(url: str) -> list[str]:
    """The names of the parameters that are credentials, as they are written."""
    return list(dict.fromkeys(pair[1] for pair in _pairs.findall(url) if is_secret_parameter(unquote_plus(pair[1]))))


def with_parameters(url: str, values: dict[str, str]) -> str:
    """A masked URL with the values of the parameters that are credentials.

    :raises KeyError: where one is missing.
    """

    def given(pair: re.Match[str]) -> str:
        if pair[3] != MASK or not is_secret_parameter(unquote_plus(pair[2])):
            return pair[0]
        return f'{pair[1]}{pair[2]}={quote(values[pair[2]], safe="")}'

    return _pairs.sub(given, url)


class Secrets:
    """The secret values of the requests of one run."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._finder: _Finder | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._values)

    def of_request(self, url: str, headers: Iterable[tuple[str, str]], in_body: Iterable[str] = ()) -> bool:
        """Take note of the secrets of a request; whether it has any.

        :param in_body: those of its body, as :func:`secrets_of_body` finds them.
        """
        found = [*_of_query(url), *in_body]
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


def _of_query(url: str) -> list[str]:
    """The values of the secret parameters."""
    return [
        unquote_plus(value)
        for _, name, value in _pairs.findall(url)
        if value and is_secret_parameter(unquote_plus(name))
    ]


def secrets_of_body(body: Any) -> list[str]:
    """The values in a body whose names say that they are secret.

    :param body: decoded JSON, or the text of a form, of JSON, or of anything else.
    """
    if isinstance(body, str):
        return _of_query(f'?{body}') if _is_form(body) else named_secrets(body)
    found: list[str] = []
    left: list[tuple[Any, bool]] = [(body, False)]  # lists and objects, and whether they are within a secret member
    while left:
        part, secret = left.pop()
        if not secret and isinstance(part, dict) and are_plain(part):
            left += [(member, False) for member in part.values() if isinstance(member, (dict, list))]
            continue
        for name, member in part.items() if isinstance(part, dict) else ((None, member) for member in part):
            is_secret = secret or (name is not None and is_secret_field(name) and not _names_value(name, part))
            if isinstance(member, (dict, list)):
                left.append((member, is_secret))
            elif is_secret and member is not None and not isinstance(member, bool) and member != '':
                found.append(str(member))
    return found


def _names_value(name: str, members: dict[str, Any]) -> bool:
    """Whether it is the "key" of an object that has its "value" as well."""
    return name.lower() == 'key' and 'value' in members


def _mapped(value: Any, masked: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return value if type(value) is Shown else masked(value)  # that is a sentence of ours
    if isinstance(value, dict):
        return {_mapped(name, masked): _mapped(member, masked) for name, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, masked) for member in value]
    return value


class _Finder:
    """Finds very many values in one pass over a text, the longest where several begin at one position.

    First where one may begin, by the beginnings of them all; which it is, if any, is then looked up in their order.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = sorted(values)
        self._longest = max(map(len, self._values))
        self._within, self._far_within = _beginnings(self._values)
        size = _size_of_beginnings(self._values)
        if size >= _SHORTEST:
            self._find = re.compile(_pattern(_tree(self._values, size))).search
            self._starts = self._searched
        else:
            self._beginnings = {value[:_SHORTEST] for value in self._values}
            self._starts = self._looked_up

    def masked(self, text: str) -> str:
        """The text with each value replaced by ``***``."""
        parts: list[str] = []
        begin = 0
        for at in self._starts(text):
            size = self._size(text, at) if at >= begin else 0
            if size:
                parts += text[begin:at], MASK
                begin = at + size
        return ''.join([*parts, text[begin:]]) if parts else text

    def _searched(self, text: str) -> Iterator[int]:
        """Where a beginning stands, by the pattern of them."""
        at = -1
        while (match := self._find(text, at + 1)) is not None:
            at = match.start()
            yield at

    def _looked_up(self, text: str) -> Iterator[int]:
        """Where a beginning stands, with each position looked up among them."""
        known = self._beginnings
        for start in range(0, len(text), _STRETCH):
            yield from [
                at for at in range(start, min(start + _STRETCH, len(text))) if text[at : at + _SHORTEST] in known
            ]

    def _size(self, text: str, at: int) -> int:
        """Characters of the longest value that stands there; 0 for none."""
        index = bisect_right(self._values, text[at : at + self._longest]) - 1
        # What stands there, and sorts before that one, is a beginning of it; and so are all shorter ones of it.
        while index >= 0 and not text.startswith(self._values[index], at):
            far = self._far_within[index]
            index = self._within[index] if far < 0 or text.startswith(self._values[far], at) else far
        return len(self._values[index]) if index >= 0 else 0


def _beginnings(values: list[str]) -> tuple[list[int], list[int]]:
    """For each value in order the longest other one that it begins with, -1 for none; and one much shorter of those.

    The second are the jump pointers of Myers: any of a chain of n is reached in about log n steps.
    """
    nearest: list[int] = []
    far: list[int] = []
    depths: list[int] = []
    within: list[int] = []
    for index, value in enumerate(values):
        while within and not value.startswith(values[within[-1]]):
            within.pop()
        near = within[-1] if within else -1
        jump = far[near] if near >= 0 else -1
        second = far[jump] if jump >= 0 else -1
        depth = [depths[one] if one >= 0 else 0 for one in (near, jump, second)]
        nearest.append(near)
        far.append(second if depth[0] - depth[1] == depth[1] - depth[2] else near)
        depths.append(depth[0] + 1)
        within.append(index)
    return nearest, far


def _size_of_beginnings(values: list[str]) -> int:
    """How many characters of each value a pattern may have."""
    total = 0
    for size in range(1, _LONGEST_BEGINNING + 1):
        total += len({value[:size] for value in values})
        if total > _MOST_BRANCHES:
            return size - 1
    return _LONGEST_BEGINNING


def _tree(values: list[str], size: int) -> dict[str, Any]:
    """The beginnings of values: character → what follows; nothing where the value is to be looked up."""
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
    text = '|'.join(branches)
    return f'(?:{text})' if len(branches) > 1 else text


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
