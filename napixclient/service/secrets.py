"""The secrets that requests carry: found, and taken out of what is kept and shown. Imports masking."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote_plus

from ..masking import MASK, Shown, is_secret

__all__ = ['Secrets', 'is_secret_field', 'mask_url']

#: Characters that a value has at least, to be looked for in answers.
_SHORTEST = 4
#: Values that are looked for one by one; where there are more, as when each request is signed, that would take longer
#: than the requests.
_FEW = 200
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
        self._ordered: list[str] | None = []
        self._starts: set[str] = set()
        self._lengths: list[int] = []

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
                self._ordered = None
        return has_secret

    def without(self, value: Any) -> Any:
        """Decoded JSON without the secrets."""
        if self._ordered is None:
            self._ordered = sorted(self._values, key=len, reverse=True)     # none is a part of a later one
            self._starts = {value[:_SHORTEST] for value in self._values}
            self._lengths = sorted(set(map(len, self._values)), reverse=True)
        return self._without(value) if self._ordered else value

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            if type(value) is Shown:        # a sentence of ours
                return value
            if len(self._values) > _FEW:
                return self._scanned(value)
            for secret in self._ordered or ():
                if secret in value:
                    value = value.replace(secret, MASK)
            return value
        if isinstance(value, dict):
            return {self._without(name): self._without(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._without(member) for member in value]
        return value

    def _scanned(self, text: str) -> str:
        """The text without any of very many secrets, in one pass over it."""
        parts: list[str] = []
        at = begin = 0
        while at <= len(text) - _SHORTEST:
            size = 0
            if text[at:at + _SHORTEST] in self._starts:
                size = next((length for length in self._lengths if text[at:at + length] in self._values), 0)
            if size:
                parts += text[begin:at], MASK
                begin = at + size
            at += size or 1
        return ''.join([*parts, text[begin:]])


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
