"""A WSGI middleware that lets in only callers who prove who they are.

It checks the request as it was received, before a framework unquotes, splits or routes anything.
"""

from __future__ import annotations

import hmac
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from ..checks import is_number, is_whole
from ..secret_names import add_secret_parameter
from .environ import App, Environ, StartResponse
from .nonces import Nonces, NonceStore
from .refusals import Forbidden, Refusal, Unauthorized, answer, denied

__all__ = ['SignatureGuard']

log: logging.Logger = logging.getLogger('napixclient.wsgi')
#: What the message of a signed request contains.
FIELDS = ('login', 'nonce', 'path', 'host', 'method', 'timestamp')
#: Limits: characters of ``Authorization``, pairs in it, pairs of a query.
_MAX_LENGTH = 65536
_MAX_FIELDS = 32
_MAX_PARAMETERS = 1000


class SignatureGuard:
    """Serves a WSGI application to callers who prove who they are.

    They sign their requests as ``LoginAuthenticator`` does, or send a token if ``tokens`` allows it. The guard sets
    the caller's login in the environ: as ``napix.login``, a text, and as ``REMOTE_USER``, in the form of PEP 3333
    (UTF-8 bytes as latin-1). Any other request gets an error document, and the application does not run: 401 without
    ``Authorization`` or a token, 403 if the proof is wrong, 503 with ``Retry-After`` if no more nonces can be
    remembered. The guard does not read the body.

    The signed path must equal ``RAW_URI`` or ``REQUEST_URI`` if the server sets one of them (gunicorn, werkzeug, uwsgi,
    gevent's with :class:`RawURIHandler`). Otherwise the guard compares unquoted paths, with ``SCRIPT_NAME`` and
    ``PATH_INFO``, so that ``/a%2Fb`` is as good as ``/a/b``, and the query with ``QUERY_STRING``.

    Each process remembers nonces for itself, unless ``nonces`` does otherwise: each of several workers accepts a
    replayed request once, and a restarted worker accepts it again. Put the guard outside of anything that changes the
    environ, and inside :class:`ExceptionsCatcher`, which answers what ``keys`` raises.

    :param app: the WSGI application.
    :param keys: login → key (a text or bytes). A mapping is read again for each request. A callable returns ``None``
        for an unknown login; it is called without holding a lock, before the signature is verified, and its exceptions
        go up to the server.
    :param hosts: the values of ``Host`` that are served, with the port if clients send it; ``None`` for any.
    :param window: seconds by which a timestamp may differ from the clock, in both directions.
    :param tokens: the tokens that are accepted in the query: token → login, a collection of tokens without logins, or
        a callable that returns the login, ``True`` for a token without a login, or ``None`` for an unknown one. A
        mapping or a collection is read once. The token stays in the query that the application gets.
    :param parameter: the name of the query parameter with the token.
    :param max_nonces: nonces to remember at the same time, about 200 bytes each. One login may use as many as it leaves
        to the others, so half at most. At the limit requests are refused; no nonce is forgotten early.
    :param nonces: remembers them instead, such as a database that several processes share; ``max_nonces`` is ignored.
    :param clock: returns seconds since the epoch.
    :raises ValueError: if a value is invalid.
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
        if not is_number(window) or not 0 < window < math.inf:
            raise ValueError(f'window is a finite number of seconds above 0, not {window!r}')
        if not isinstance(parameter, str) or not parameter:
            raise ValueError('parameter is a text that is not empty')
        if not is_whole(max_nonces) or max_nonces < 1:
            raise ValueError(f'max_nonces is a number above 0, not {max_nonces!r}')
        self._app = app
        self._key_of = _keys_of(keys)
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._window = window
        self._owner_of = None if tokens is None else _owners_of(tokens)
        self._parameter = parameter.encode()
        self._clock = clock
        self._nonces = Nonces(max_nonces) if nonces is None else nonces
        self._nobody = os.urandom(32)  # stands in for the key of an unknown login
        if tokens is not None:
            add_secret_parameter(parameter)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request as an application does (PEP 3333)."""
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
        """The caller's login; empty for a token without a login."""
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
        """The login whose key signed the request."""
        message, signature, fields = _read(authorization)
        missing = [name for name in FIELDS if not fields.get(name)]
        if missing:
            raise Forbidden(f'Missing authentication data: {", ".join(missing)}')
        now = self._clock()
        timestamp = _number(fields['timestamp'])
        # NaN and infinity are in no window. Nonces are remembered by the same sums.
        if not timestamp - self._window <= now <= timestamp + self._window:
            raise denied('the timestamp is outside of the window')
        if fields['method'] != environ['REQUEST_METHOD']:
            raise denied('the method is another')
        if fields['host'] != environ.get('HTTP_HOST'):
            raise denied('the host is another')
        self._check_host(environ)
        if not _is_target(environ, fields['path'], fields['host']):
            raise denied('the path is another')
        login = _utf8(fields['login'].encode('latin-1'))
        if not self._is_right(login, message, signature):
            raise denied('the login or the signature is wrong')
        self._nonces.take(login, fields['nonce'], timestamp + self._window, now)
        return login

    def _is_right(self, login: str, message: bytes, signature: bytes) -> bool:
        """Whether the key of the login made the signature. An unknown login takes as long, with a key of nobody's."""
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
        """The values of the parameter in the query."""
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
    """The message as it was received, its signature, and its fields, as latin-1 like all of the environ."""
    if len(authorization) > _MAX_LENGTH:
        raise denied('Authorization is too long')
    message, _, signature = _latin1(authorization).rpartition(b':')
    fields: dict[str, str] = {}
    for name, value in _pairs(message, _MAX_FIELDS):
        field = name.decode('latin-1')
        if field in fields:
            raise denied(f'{field[:20]!r} is there twice')
        fields[field] = value.decode('latin-1')
    return message, signature, fields


def _is_target(environ: Environ, path: str, host: str) -> bool:
    """Whether the signed path and query are those of the request line."""
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


def _keys_of(keys: object) -> Callable[[str], object]:
    """Read ``keys``. Errors do not show the keys."""
    if isinstance(keys, Mapping):
        for login, key in keys.items():
            if not isinstance(login, str) or not login or not isinstance(key, (str, bytes)) or not key:
                raise ValueError(f'keys maps logins to keys, texts or bytes that are not empty; see {login!r}')
        return keys.get
    if callable(keys):
        return keys
    raise ValueError(f'keys is a mapping of logins to keys or a callable, not {type(keys).__name__}')


def _owners_of(tokens: object) -> Callable[[str], object]:
    """Read ``tokens``. Errors do not show the tokens."""
    if callable(tokens):
        return tokens
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Collection):
        raise ValueError(f'tokens is a mapping, a collection of texts or a callable, not {type(tokens).__name__}')
    owners = dict(tokens.items() if isinstance(tokens, Mapping) else dict.fromkeys(tokens, True))
    for token, owner in owners.items():
        if not isinstance(token, str) or not token or not (owner is True or (isinstance(owner, str) and owner)):
            raise ValueError('tokens has texts that are not empty, and so are their logins')
    # Tokens are looked up by a keyed digest, so that the time of a look-up reveals nothing about them.
    salt = os.urandom(32)
    known = {_digest(token, salt): owner for token, owner in owners.items()}
    return lambda token: known.get(_digest(token, salt))


def _digest(token: str, salt: bytes) -> bytes:
    return blake2b(token.encode(), digest_size=32, key=salt).digest()
