"""Authenticators that sign each request by itself, without asking anybody: a field, or a token in the query."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from ..masking import MASK, hide, mask
from ..messages import Headers, Request
from ..secret_names import add_secret_parameter

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = [
    'AnonAuthenticator',
    'BasicAuth',
    'BearerToken',
    'LoginAuthenticator',
    'OneField',
    'TokenIdentifier',
    'can_be_told',
]


def can_be_told(part: object) -> bool:
    """Whether it is a text without control characters (CTL of RFC 5234 §B.1), as user names and passwords are."""
    return isinstance(part, str) and _is_text(part) is not None


#: Any others, such as a no-break space; surrogates are no characters, and have no bytes in UTF-8.
_is_text = re.compile(r'[^\x00-\x1f\x7f\ud800-\udfff]*').fullmatch


class OneField:
    """Adds one ``Authorization`` field and nothing else, without I/O, whatever the context of the call is."""

    blocking = False
    _written = b''  # a field that is the same for all requests

    def __call__(self, request: Request) -> Request:
        """Return the request with the field."""
        return request.with_line(b'authorization', self.line(request))

    def line(self, request: Request) -> bytes:
        """The field as it is written. The client asks for it where no copy of the request is needed."""
        return self._written

    def __repr__(self) -> str:
        return f'{type(self).__name__}({MASK})'


class AnonAuthenticator:
    """Adds nothing: requests go out as they are."""

    blocking = False

    def __call__(self, request: Request) -> Request:
        """Return the request as it is."""
        return request

    def __repr__(self) -> str:
        return 'AnonAuthenticator()'


class LoginAuthenticator(OneField):
    """Signs each request with the key of a login: napix's standard protocol.

    ``Authorization: <message>:<signature>``, where the message is an urlencoded form of login, nonce, path, host,
    method and timestamp, and the signature its HMAC-SHA256 in hex.

    :param login: the name of the key's owner.
    :param key: the secret, a text or bytes.
    :param clock: a function without arguments that returns the time to sign, in seconds since 1970.
    :raises ValueError: if the login or the key is empty or not a text, or the clock cannot be called.
    """

    def __init__(self, login: str, key: str | bytes, *, clock: Callable[[], float] = time) -> None:
        if not isinstance(login, str) or not login:
            raise ValueError(f'login is a text that is not empty, not {login!r}')
        if not isinstance(key, (str, bytes)) or not key:
            raise ValueError('key is a text or bytes, and not empty')
        if not callable(clock):
            raise ValueError(f'clock is a function that returns the time in seconds, not {clock!r}')
        hide(self, key)
        self.login = login
        self._key = key
        self._clock = clock
        self._prefix = f'login={quote_plus(login)}&nonce='
        self._inner, self._outer = _hmac_halves(key.encode() if isinstance(key, str) else key)
        self._quoted: dict[str, str] = {}

    def line(self, request: Request) -> bytes:
        """The field as it is written."""
        quoted = self._quoted
        host = quoted.get(request.host) or self._quote(request.host, request.authority)
        path = quoted.get(request.url) or self._quote(request.url, request.url)
        method = request.method if request.method.isalpha() else quote_plus(request.method)
        try:
            nonce = _nonces.pop()
        except IndexError:
            nonce = _more_nonces()
        message = (
            f'{self._prefix}{nonce}&path={path}&host={host}&method={method}&timestamp={self._clock():.6f}'
        ).encode('ascii')
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return b'\r\nAuthorization: %b:%b' % (message, outer.hexdigest().encode('ascii'))

    def _quote(self, given: str, text: str) -> str:
        """Urlencode a text and remember it: a fan-out asks few hosts, or for few paths, again and again."""
        if len(self._quoted) >= 4096:
            self._quoted.clear()
        quoted = self._quoted[given] = quote_plus(text)
        return quoted

    def parameters(self) -> tuple[str | bytes, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere.

        :raises ValueError: with a clock of its own, which works in this process only.
        """
        if self._clock is not time:
            raise ValueError('a LoginAuthenticator with a clock of its own cannot travel')
        return self.login, self._key

    def __reduce__(self) -> tuple[Callable[..., LoginAuthenticator], tuple[str, str | bytes]]:
        return partial(LoginAuthenticator, clock=self._clock), (self.login, self._key)  # no hash can be copied

    def __repr__(self) -> str:
        return mask(f'LoginAuthenticator({self.login!r}, key={MASK})')


_nonces: list[str] = []


def _more_nonces() -> str:
    """Draw a few hundred nonces with one system call, and return one of them."""
    drawn = os.urandom(16 * 256).hex()
    _nonces.extend(drawn[at : at + 32] for at in range(32, len(drawn), 32))
    return drawn[:32]


os.register_at_fork(after_in_child=_nonces.clear)  # what is left is the parent's


def _hmac_halves(key: bytes) -> tuple[_Hash, _Hash]:
    """HMAC-SHA256 (RFC 2104) up to the message: going on from copies takes a third of the time of ``hmac.digest``."""
    if len(key) > 64:
        key = sha256(key).digest()
    key = key.ljust(64, b'\0')
    return sha256(bytes(byte ^ 0x36 for byte in key)), sha256(bytes(byte ^ 0x5C for byte in key))


class TokenIdentifier:
    """Adds a token to the query: napix's non-secure protocol.

    :param token: opaque to the client.
    :param parameter: the name of the query parameter.
    """

    blocking = False

    def __init__(self, token: str, parameter: str = 'token') -> None:
        if not isinstance(token, str) or not token:
            raise ValueError('token is a text that is not empty')
        if not isinstance(parameter, str) or not parameter:
            raise ValueError('parameter is a text that is not empty')
        hide(self, token)
        add_secret_parameter(parameter)
        self.parameter = parameter
        self._token = token
        self._pair = f'{quote(parameter, safe="")}={quote(token, safe="")}'

    def __call__(self, request: Request) -> Request:
        """Return the request with the token in its query."""
        return request.with_query(self._pair)

    def parameters(self) -> tuple[str | bytes, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere."""
        return self._token, self.parameter

    def __repr__(self) -> str:
        return mask(f'TokenIdentifier({MASK}, parameter={self.parameter!r})')


class BearerToken(OneField):
    """``Authorization: Bearer <token>`` (RFC 6750 §2.1)."""

    def __init__(self, token: str) -> None:
        if not isinstance(token, str) or not token:
            raise ValueError('token is a text that is not empty')
        hide(self, token)
        self._token = token
        self._written = Headers([('Authorization', f'Bearer {token}')]).block  # refuses what cannot be sent

    def parameters(self) -> tuple[str | bytes, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere."""
        return (self._token,)


class BasicAuth(OneField):
    """``Authorization: Basic …`` (RFC 7617 §2, in UTF-8).

    :raises ValueError: if the user name contains a colon, which the scheme cannot carry.
    """

    def __init__(self, username: str, password: str) -> None:
        for part in username, password:
            if not can_be_told(part):
                raise ValueError('user name and password are texts without control characters (RFC 7617 §2)')
        if ':' in username:
            raise ValueError('a user name with a colon cannot be sent with Basic authentication (RFC 7617 §2)')
        encoded = b64encode(f'{username}:{password}'.encode()).decode()
        hide(self, password, encoded)
        self._pair = username, password
        self._written = Headers([('Authorization', f'Basic {encoded}')]).block

    def parameters(self) -> tuple[str | bytes, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere."""
        return self._pair
