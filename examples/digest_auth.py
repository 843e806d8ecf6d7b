"""Digest authentication in small, as an example of an authenticator of one's own that answers challenges.

The library has all of RFC 7616: ``napixclient.authenticators.Digest``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import new
from itertools import count

from napixclient import Request, Response

HASHES = {'MD5': 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512_256'}
PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?\s*')
CHALLENGE = re.compile(rf'(?:^|,)\s*Digest\s+((?:{PARAMETER.pattern})+)', re.IGNORECASE)


class DigestAuth:
    """Proves to each server that it knows the password, and never sends it."""

    blocking = False

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password
        self.challenges: dict[str, tuple[dict[str, str], Iterator[int]]] = {}

    def challenged(self, request: Request, response: Response) -> Request | None:
        """Remember what a server wants to be told, and tell it; None when it asks for something else."""
        for field in response.headers.getlist('www-authenticate'):
            for found in CHALLENGE.finditer(field):
                parts = {
                    name.lower(): re.sub(r'\\(.)', r'\1', quoted) or token
                    for name, quoted, token in PARAMETER.findall(found[1])
                }
                offered = re.split(r'\s*,\s*', parts.get('qop', ''))
                if parts.get('algorithm', 'MD5').upper() in HASHES and 'auth' in offered:
                    self.challenges[request.host] = parts, count(1)
                    return self(request)
        return None

    def __call__(self, request: Request) -> Request | None:
        """Tell the server what it last wanted to be told, of this request."""
        if request.host not in self.challenges:
            return None
        parts, numbers = self.challenges[request.host]
        algorithm, realm, nonce = parts.get('algorithm', 'MD5'), parts.get('realm', ''), parts.get('nonce', '')

        def digest(*texts: str) -> str:
            name = HASHES[algorithm.upper()]
            return new(name, ':'.join(texts).encode(), usedforsecurity=False).hexdigest()

        number, own = f'{next(numbers):08x}', os.urandom(16).hex()
        secret = digest(self.username, realm, self.password)
        proof = digest(secret, nonce, number, own, 'auth', digest(request.method, request.url))
        told = {'username': self.username, 'realm': realm, 'nonce': nonce, 'uri': request.url, 'response': proof}
        told |= {'cnonce': own} | {name: parts[name] for name in ('opaque',) if name in parts}
        quoted = ', '.join(f'{name}="{quote(value)}"' for name, value in told.items())
        field = f'Digest {quoted}, algorithm={algorithm}, qop=auth, nc={number}'
        return request.replace(headers={**request.headers, 'Authorization': field})


def quote(text: str) -> str:
    """As it stands in a quoted string (RFC 9110 §5.6.4)."""
    return re.sub(r'(["\\])', r'\\\1', text)
