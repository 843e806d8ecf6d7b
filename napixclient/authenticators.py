"""Authenticators: what proves to a server who asks. Imports messages only.

An authenticator is a callable ``Request -> Request`` (``None`` leaves the request unchanged), called anew for every
attempt. With the class attribute ``blocking = False`` it promises to do no I/O and to take no lock, and is called in
place; any other runs in a greenlet of its own.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from time import time
from typing import Any
from urllib.parse import quote, quote_plus

from .messages import Headers, Request

__all__ = ['AnonAuthenticator', 'Authenticator', 'BasicAuth', 'BearerToken', 'LoginAuthenticator', 'TokenIdentifier',
           'authenticator_of']

Authenticator = Callable[[Request], 'Request | None']


class AnonAuthenticator:
    """Adds nothing: requests go out as they are."""

    blocking = False

    def __call__(self, request: Request) -> Request:
        return request

    def __repr__(self) -> str:
        return 'AnonAuthenticator()'


class LoginAuthenticator:
    """Signs each request with the key of a login: napix's standard protocol.

    ``Authorization: <message>:<signature>``, where the message is an urlencoded form of login, nonce, path, host,
    method and timestamp, and the signature its HMAC-SHA256 in hex.

    :param login: the name of the key's owner.
    :param key: the secret, a text or bytes.
    """

    blocking = False

    def __init__(self, login: str, key: str | bytes) -> None:
        if not isinstance(login, str) or not login:
            raise ValueError(f'login is a text that is not empty, not {login!r}')
        if not isinstance(key, (str, bytes)) or not key:
            raise ValueError('key is a text or bytes, and not empty')
        self.login = login
        self._key = key.encode() if isinstance(key, str) else key
        self._prefix = f'login={quote_plus(login)}&nonce='

    def __call__(self, request: Request) -> Request:
        # One urandom a request: a buffer of randomness would repeat its nonces in a forked child.
        message = (f'{self._prefix}{os.urandom(16).hex()}&path={quote_plus(request.url)}'
                   f'&host={quote_plus(request.authority)}&method={quote_plus(request.method)}&timestamp={time()!r}')
        signature = hmac.digest(self._key, message.encode('ascii'), 'sha256').hex()
        return request._with_field('Authorization', f'{message}:{signature}')

    def __repr__(self) -> str:
        return f'LoginAuthenticator({self.login!r}, key=***)'


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
        self.parameter = parameter
        self._pair = f'{quote(parameter, safe="")}={quote(token, safe="")}'

    def __call__(self, request: Request) -> Request:
        return request._with_query(self._pair)

    def __repr__(self) -> str:
        return f'TokenIdentifier(***, parameter={self.parameter!r})'


class _FieldAuthenticator:
    """Sends a constant ``Authorization`` field."""

    blocking = False

    def __init__(self, value: str) -> None:
        Headers([('Authorization', value)])         # refuses what cannot be sent
        self._value = value

    def __call__(self, request: Request) -> Request:
        return request._with_field('Authorization', self._value)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(***)'


class BearerToken(_FieldAuthenticator):
    """``Authorization: Bearer <token>`` (RFC 6750 §2.1)."""

    def __init__(self, token: str) -> None:
        if not isinstance(token, str) or not token:
            raise ValueError('token is a text that is not empty')
        super().__init__(f'Bearer {token}')


class BasicAuth(_FieldAuthenticator):
    """``Authorization: Basic …`` (RFC 7617 §2, in UTF-8).

    :raises ValueError: for a user name with a colon, which the scheme cannot carry.
    """

    def __init__(self, username: str, password: str) -> None:
        for part in username, password:
            if not isinstance(part, str) or not part.isprintable():
                raise ValueError('user name and password are texts without control characters (RFC 7617 §2)')
        if ':' in username:
            raise ValueError('a user name with a colon cannot be sent with Basic authentication (RFC 7617 §2)')
        super().__init__('Basic ' + b64encode(f'{username}:{password}'.encode()).decode())


def authenticator_of(given: Any) -> Authenticator | None:
    """Read what ``Client`` and ``ClientPool`` take as their authenticator; ``None`` is anonymous.

    :raises ValueError: for anything but a callable, a mapping of ``login`` and ``key``, or ``None``.
    """
    if given is None or type(given) is AnonAuthenticator:
        return None
    if isinstance(given, Mapping):
        if set(given) != {'login', 'key'}:
            raise ValueError(f"a mapping as authenticator has 'login' and 'key', not {sorted(map(str, given))}")
        return LoginAuthenticator(given['login'], given['key'])
    if callable(given) and not isinstance(given, type):
        return given  # type: ignore[no-any-return]
    raise ValueError("an authenticator is a callable, {'login': …, 'key': …} or None, "
                     f'not {type(given).__name__}')
