"""A WSGI middleware that lets through who proves who they are.

It judges the request as it came over the wire: what a framework unquotes, splits or routes comes after it.
"""

from __future__ import annotations

import hmac
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_to_bytes

from ..secret_names import add_secret_parameter
from .environ import App, Environ
from .nonces import Nonces, NonceStore
from .refusals import Forbidden, Refusal, Unauthorized, answer, denied

__all__ = ['SignatureGuard']

log = logging.getLogger('napixclient.wsgi')
#: What a signed request says of itself.
FIELDS = ('login', 'nonce', 'path', 'host', 'method', 'timestamp')
#: Bounds of what is looked at: characters of ``Authorization``, pairs in it, pairs of a query.
_MAX_LENGTH = 65536
_MAX_FIELDS = 32
_MAX_PARAMETERS = 1000


class SignatureGuard:
    """Serves a WSGI application to who signs requests as ``LoginAuthenticator`` does, or sends a token if allowed.

    The login of who asks is in the environ as ``napix.login``, a text, and as ``REMOTE_USER``, in the form that PEP
    3333 wants (UTF-8 bytes as latin-1), in place of what was there. Anything else is answered with an error document
    and the application is not run: 401 where there is neither ``Authorization`` nor a token, 403 where it does not
    hold, 503 with ``Retry-After`` where no more nonces can be remembered. The body of the request is not read.

    The path is compared with ``RAW_URI`` or ``REQUEST_URI`` where the server gives one of them (gunicorn, werkzeug,
    uwsgi, gevent's with :class:`RawURIHandler`). Elsewhere it is compared with ``SCRIPT_NAME`` and ``PATH_INFO`` once
    unquoted, so that ``/a%2Fb`` is as good as ``/a/b``, and the query with ``QUERY_STRING``.

    Nonces are remembered by each process for itself, unless ``nonces`` does otherwise: several workers accept a
    replayed request once each, and one that was started anew accepts it again. Put the guard outside of what changes
    the environ, and inside :class:`ExceptionsCatcher`, which answers what ``keys`` raises.

    :param app: the WSGI application.
    :param keys: login → key (a text or bytes). A mapping is asked anew for each request; a callable gives ``None``
        for who is unknown and is called outside of any lock, before the signature is known to be right; what it raises
        goes up to the server.
    :param hosts: the values of ``Host`` that are served, with the port where it is sent; ``None`` for any.
    :param window: seconds that a timestamp may be away from the clock, in both directions.
    :param tokens: the tokens that are accepted in the query: token → login, a collection of tokens without logins, or
        a callable that gives the login, or ``True`` for one without a login, or ``None``. The first two are read once.
        The application still finds the token in its query.
    :param parameter: the name of the query parameter that has the token.
    :param max_nonces: nonces to remember at the same time, about 200 bytes each. One login gets no more of them than
        it leaves to the others, so half at most. At the limit requests are refused; nothing is forgotten early.
    :param nonces: what remembers them in the place of ``max_nonces``, such as a database that several processes share.
    :param clock: gives seconds since the epoch.
    :raises ValueError: for a value that makes no sense.
    """

    def __init__(
        self,
        app: App,
        keys: Mapping[str, str | bytes] | Callable[[str], str | bytes | None],
        *,
        hosts: Collection[str] | None = None,
        window: float = 300,
        tokens: Mapping[str, str] | Collection[str] | Callable[[str], str | bool | None] | None = None,
        parameter: str = 'token',
        max_nonces: int = 1_000_000,
        nonces: NonceStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not callable(app):
            raise ValueError(f'app is a WSGI application, a callable, not {app!r}')
        if hosts is not None and (
            isinstance(hosts, (str, bytes))
            or not isinstance(hosts, Collection)
            or not all(isinstance(host, str) for host in hosts)
        ):
            raise ValueError(f'hosts is a collection of texts such as "name:8002", not {hosts!r}')
        if isinstance(window, bool) or not isinstance(window, (int, float)) or not 0 < window < math.inf:
            raise ValueError(f'window is a finite number of seconds above 0, not {window!r}')
        if not isinstance(parameter, str) or not parameter:
            raise ValueError('parameter is a text that is not empty')
        if isinstance(max_nonces, bool) or not isinstance(max_nonces, int) or max_nonces < 1:
            raise ValueError(f'max_nonces is a number above 0, not {max_nonces!r}')
        self._app = app
        self._key_of = _keys_of(keys)
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._window = window
        self._owner_of = None if tokens is None else _owners_of(tokens)
        self._parameter = parameter.encode()
        self._clock = clock
        self._nonces = Nonces(max_nonces) if nonces is None else nonces
        self._nobody = os.urandom(32)  # the key of those who have none
        if tokens is not None:
            add_secret_parameter(parameter)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The application's side of PEP 3333."""
        try:
            login = self._login(environ)
        except Refusal as exc:
            log.info('refused %s: %s', environ.get('REMOTE_ADDR', 'a request'), exc.reason)
            return answer(exc, environ, start_response)
        if login:
            environ['napix.login'] = login
            environ['REMOTE_USER'] = login.encode().decode('latin-1')
        else:
            environ.pop('napix.login', None)
            environ.pop('REMOTE_USER', None)
        return self._app(environ, start_response)

    def _login(self, environ: Environ) -> str:
        """Who asks; empty for the bearer of a token that has no login."""
        authorization = environ.get('HTTP_AUTHORIZATION')
        if authorization:
            return self._signer(environ, authorization)
        if self._owner_of is not None:
            tokens = self._tokens(environ.get('QUERY_STRING', ''))
            if tokens:
                self._check_host(environ)
                return self._owner(tokens)
        raise Unauthorized('You need to sign your request')

    # The standard protocol: a signature ------------------------------------------------------------------------------

    def _signer(self, environ: Environ, authorization: str) -> str:
        """The login whose key the request is signed with."""
        message, signature, said = _read(authorization)
        missing = [name for name in FIELDS if not said.get(name)]
        if missing:
            raise Forbidden(f'Missing authentication data: {", ".join(missing)}')
        now = self._clock()
        timestamp = _number(said['timestamp'])
        # Not a number is in no window, and infinity neither. The sums are those by which nonces are remembered.
        if not timestamp - self._window <= now <= timestamp + self._window:
            raise denied('the timestamp is outside of the window')
        if said['method'] != environ['REQUEST_METHOD']:
            raise denied('the method is another')
        if said['host'] != environ.get('HTTP_HOST'):
            raise denied('the host is another')
        self._check_host(environ)
        if not _is_target(environ, said['path'], said['host']):
            raise denied('the path is another')
        login = _utf8(said['login'].encode('latin-1'))
        if not self._is_right(login, message, signature):
            raise denied('the login or the signature is wrong')
        self._nonces.take(login, said['nonce'], timestamp + self._window, now)
        return login

    def _is_right(self, login: str, message: bytes, signature: bytes) -> bool:
        """Whether the owner of the login signed it. For who is unknown the same is reckoned, with a key of nobody's."""
        key = self._key_of(login)
        if key is not None and not isinstance(key, (str, bytes)):
            raise TypeError(f'keys gives a text, bytes or None, not {type(key).__name__}')
        given = key.encode() if isinstance(key, str) else key
        expected = hmac.digest(given or self._nobody, message, 'sha256').hex().encode()
        return hmac.compare_digest(expected, signature)

    def _check_host(self, environ: Environ) -> None:
        if self._hosts is not None and environ.get('HTTP_HOST', '').lower() not in self._hosts:
            raise denied('the host is not one of ours')

    # The other protocol: a token -------------------------------------------------------------------------------------

    def _tokens(self, query: str) -> list[bytes]:
        """The values that the query has for the parameter."""
        return [value for name, value in _pairs(_latin1(query), _MAX_PARAMETERS) if name == self._parameter]

    def _owner(self, tokens: list[bytes]) -> str:
        """The login of the only token."""
        if len(tokens) > 1:
            raise denied('there is more than one token')
        assert self._owner_of is not None
        owner = self._owner_of(_utf8(tokens[0]))
        if not owner:
            raise denied('the token is unknown')
        if owner is True:
            return ''
        if not isinstance(owner, str):
            raise TypeError(f'tokens gives a login, True or None, not {type(owner).__name__}')
        return owner


# What is sent and what is configured ---------------------------------------------------------------------------------


def _read(authorization: str) -> tuple[bytes, bytes, dict[str, str]]:
    """The message as it was received, its signature, and what it says, as latin-1 like all of the environ."""
    if len(authorization) > _MAX_LENGTH:
        raise denied('Authorization is too long')
    message, _, signature = _latin1(authorization).rpartition(b':')
    said: dict[str, str] = {}
    for name, value in _pairs(message, _MAX_FIELDS):
        field = name.decode('latin-1')
        if field in said:
            raise denied(f'{field[:20]!r} is there twice')
        said[field] = value.decode('latin-1')
    return message, signature, said


def _is_target(environ: Environ, path: str, host: str) -> bool:
    """Whether the path and query that were signed are those of the request line."""
    target = environ.get('RAW_URI') or environ.get('REQUEST_URI')
    if not target:
        path, _, query = path.partition('?')
        found = environ.get('SCRIPT_NAME', '') + environ.get('PATH_INFO', '')
        return (found.startswith('/') or found == '*') and bool(
            unquote_to_bytes(_latin1(path)) == _latin1(found) and query == environ.get('QUERY_STRING', '')
        )
    scheme, absolute, rest = target.partition('://')
    if target.startswith('/') or not absolute or scheme.lower() not in ('http', 'https'):
        return bool(target == path)
    # The absolute form (RFC 9112 §3.2.2) names a host of its own.
    authority = rest.partition('?')[0].partition('/')[0]
    rest = rest[len(authority) :]
    return authority == host and path in (target, rest if rest.startswith('/') else f'/{rest}')


def _pairs(form: bytes, most: int) -> list[tuple[bytes, bytes]]:
    """The pairs of an urlencoded form, as bytes."""
    if form.count(b'&') >= most:
        raise denied('there are too many parameters')
    pairs = (part.partition(b'=') for part in form.split(b'&') if part)
    return [(_unquoted(name), _unquoted(value)) for name, _, value in pairs]


def _unquoted(text: bytes) -> bytes:
    if b'+' in text:
        text = text.replace(b'+', b' ')
    return unquote_to_bytes(text) if b'%' in text else text


def _latin1(text: str) -> bytes:
    try:
        return text.encode('latin-1')
    except UnicodeEncodeError:
        raise denied('there are characters that no server receives') from None


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise denied('a login or token is not UTF-8') from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _keys_of(keys: Any) -> Callable[[str], Any]:
    """Read ``keys``; the keys themselves are in no error's text."""
    if isinstance(keys, Mapping):
        for login, key in keys.items():
            if not isinstance(login, str) or not login or not isinstance(key, (str, bytes)) or not key:
                raise ValueError(f'keys maps logins to keys, texts or bytes that are not empty; see {login!r}')
        return keys.get
    if callable(keys):
        return keys  # type: ignore[no-any-return]
    raise ValueError(f'keys is a mapping of logins to keys or a callable, not {type(keys).__name__}')


def _owners_of(tokens: Any) -> Callable[[str], str | bool | None]:
    """Read ``tokens``; the tokens themselves are in no error's text."""
    if callable(tokens):
        return tokens  # type: ignore[no-any-return]
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Collection):
        raise ValueError(f'tokens is a mapping, a collection of texts or a callable, not {type(tokens).__name__}')
    owners = dict(tokens.items() if isinstance(tokens, Mapping) else dict.fromkeys(tokens, True))
    for token, owner in owners.items():
        if not isinstance(token, str) or not token or not (owner is True or (isinstance(owner, str) and owner)):
            raise ValueError('tokens has texts that are not empty, and so are their logins')
    # What is looked for is a keyed digest: the time that it takes tells nothing of the tokens.
    salt = os.urandom(32)
    known = {_digest(token, salt): owner for token, owner in owners.items()}
    return lambda token: known.get(_digest(token, salt))


def _digest(token: str, salt: bytes) -> bytes:
    return blake2b(token.encode(), digest_size=32, key=salt).digest()
