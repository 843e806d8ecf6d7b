"""Keys, and what is sealed with them: AES-GCM, so that the broker neither reads nor changes what passes through it.

A sealed text is a version, the id of the key and its length, a nonce of 12 bytes, and what AES-GCM makes of the text.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..masking import hide

__all__ = ['BadSeal', 'Keyring', 'new_key']

#: The version of all that is sealed: of the seal, and of the messages within.
VERSION = 1
KEY_BYTES = 32
NONCE_BYTES = 12
_is_id = re.compile(r'[0-9A-Za-z_-]{1,32}').fullmatch


class BadSeal(ValueError):
    """What was received cannot be opened."""


def new_key() -> str:
    """A new key, as it stands on a line of a file: ``id:base64``."""
    return f'{os.urandom(4).hex()}:{b64encode(os.urandom(KEY_BYTES)).decode()}'


class Keyring:
    """Keys by their ids. The first seals; all of them open.

    :param given: ``'@FILE'``, a line ``id:base64``, or several of these. A file has one key a line.
    :raises ValueError: if there is no key, or one makes no sense.
    """

    def __init__(self, given: str | Iterable[str] | None) -> None:
        self._ciphers: dict[str, AESGCM] = {}
        for line in _lines(given):
            self._add(line)
        if not self._ciphers:
            raise ValueError("key is missing: give '@FILE', or a line of it; `napix cluster key` makes one")
        #: The id of the key that seals.
        self.id: str = next(iter(self._ciphers))

    def _add(self, line: str) -> None:
        id, colon, text = line.partition(':')
        try:
            secret = b64decode(text, validate=True)
        except (NotBase64, ValueError):
            secret = b''
        if not colon or not _is_id(id) or len(secret) != KEY_BYTES:
            raise ValueError('a key is a line id:base64 of 32 bytes, as `napix cluster key` prints it')
        if id in self._ciphers:
            raise ValueError(f'two keys have the id {id!r}')
        hide(self, text)
        self._ciphers[id] = AESGCM(secret)

    def seal(self, data: bytes, about: bytes) -> bytes:
        """The data sealed.

        :param about: what it belongs to; it opens nowhere else.
        """
        id = self.id.encode()
        nonce = os.urandom(NONCE_BYTES)
        head = bytes((VERSION, len(id))) + id
        return head + nonce + self._ciphers[self.id].encrypt(nonce, data, head + about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed.

        :raises BadSeal: that says what is wrong: the version, the key, or the data.
        """
        if sealed[:1] != bytes((VERSION,)):
            raise BadSeal(f'a message has version {sealed[0] if sealed else "0"}, and this is version {VERSION}')
        end = 2 + sealed[1] if len(sealed) > 1 else 2
        id = sealed[2:end].decode('ascii', 'replace')
        cipher = self._ciphers.get(id)
        if cipher is None:
            raise BadSeal(f'a message is sealed with the key {id!r}, which is not among those here')
        try:
            return cipher.decrypt(sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :], sealed[:end] + about)
        except (InvalidTag, ValueError) as exc:
            raise BadSeal(f'the key {id!r} does not open a message: it is another key of that id here') from exc


def _lines(given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    if isinstance(given, bytes) or not isinstance(given, (str, Iterable)):
        raise ValueError("key is '@FILE', a line id:base64, or a list of these")
    lines: list[str] = []
    for one in [given] if isinstance(given, str) else given:
        if not isinstance(one, str):
            raise ValueError("key is '@FILE', a line id:base64, or a list of these")
        lines += _of_file(one[1:]) if one.startswith('@') else one.splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith('#')]


def _of_file(path: str) -> list[str]:
    try:
        with open(os.path.expanduser(path), encoding='ascii') as file:
            lines = file.read().splitlines()
    except OSError as exc:
        raise ValueError(f'cannot read the key file {path}: {exc.strerror}') from exc
    except UnicodeError as exc:
        raise ValueError(f'the key file {path} holds no keys: they are lines id:base64') from exc
    if not any(line.strip() for line in lines):
        raise ValueError(f'the key file {path} is empty; `napix cluster key` makes a key')
    return lines
