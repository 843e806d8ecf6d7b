"""Access control: checks ``Host``, ``Origin`` and credentials.

Browsers let any page send requests here, and anybody's domain may resolve to this address (DNS rebinding). So ``Host``
and ``Origin`` of every request are checked before anything else.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_address

from ..masking import hide
from ..wsgi import SignatureGuard
from ..wsgi.environ import App, Environ, StartResponse
from ..wsgi.nonces import NonceStore
from ..wsgi.refusals import answer, denied

__all__ = ['Credentials', 'HostCheck', 'is_loopback']

_host = re.compile(r'(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?').fullmatch


def is_loopback(host: str) -> bool:
    """Whether an address or a name means this machine."""
    try:
        return ip_address(host.strip('[]')).is_loopback
    except ValueError:
        return host.lower().rstrip('.') == 'localhost'


class HostCheck:
    """Passes on requests for this host that no page of another origin has sent.

    :param bound: the address that the service listens on. On loopback it accepts the names of this machine, on another
        address only that address, and on all addresses ``localhost`` and anything written as an address.
    :param names: further names of the service, such as that of a proxy in front of it.
    """

    def __init__(self, app: App, bound: str, names: Collection[str] = ()) -> None:
        self._app = app
        self._bound = bound.strip('[]')
        self._names = frozenset(name.lower() for name in names)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The application's side of PEP 3333."""
        host = environ.get('HTTP_HOST', '')
        if not self._is_ours(host):
            return answer(denied('the host is not one of ours'), environ, start_response)
        origin = environ.get('HTTP_ORIGIN')
        if origin is not None and origin.lower() not in (f'http://{host.lower()}', f'https://{host.lower()}'):
            return answer(denied('the origin is another'), environ, start_response)
        return self._app(environ, start_response)

    def _is_ours(self, host: str) -> bool:
        match = _host(host)
        if match is None:
            return False
        name = match[1].strip('[]').lower()
        if name in self._names or host.lower() in self._names:
            return True
        if is_loopback(self._bound):
            return is_loopback(name)
        try:
            bound = ip_address(self._bound)
            if bound.is_unspecified and is_loopback(name):
                return True
            address = ip_address(name)
        except ValueError:  # one of them is a name
            return name == self._bound.lower()
        return bound.is_unspecified or address == bound


class Credentials:
    """Passes on requests that are signed, or that carry the token: as ``Authorization: Bearer`` or in the query.

    :param token: the token that is accepted; ``None`` for none.
    :param keys: login → key, for signed requests.
    :param is_public: whether a path needs no credentials, such as the page, which asks for them, and the health check.
    :param nonces: remembers the nonces of signed requests; by default in this process.
    """

    def __init__(
        self,
        app: App,
        token: str | None,
        keys: dict[str, str],
        is_public: Callable[[str], bool],
        nonces: NonceStore | None = None,
    ) -> None:
        self._app = app
        self._is_public = is_public
        self._salt = os.urandom(32)
        self._token = None if token is None else self._digest(token)
        self._guard = SignatureGuard(app, keys, tokens=None if token is None else [token], nonces=nonces)
        hide(self, *keys.values(), *([] if token is None else [token]))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The application's side of PEP 3333."""
        if self._is_public(environ.get('PATH_INFO', '')):
            return self._app(environ, start_response)
        scheme, _, token = environ.get('HTTP_AUTHORIZATION', '').partition(' ')
        if scheme.lower() == 'bearer':
            if self._token is None or not hmac.compare_digest(self._digest(token.strip()), self._token):
                return answer(denied('the token is unknown'), environ, start_response)
            return self._app(environ, start_response)
        if (
            'websocket' in environ.get('HTTP_UPGRADE', '').lower()
            and scheme == ''
            and not _has_token(environ.get('QUERY_STRING', ''))
        ):
            return answer(denied('no credentials'), environ, start_response)  # after a 401 a browser would ask again
        return self._guard(environ, start_response)

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._salt, token.encode('utf-8', 'surrogateescape'), 'sha256')


def _has_token(query: str) -> bool:
    return any(pair.startswith('token=') and len(pair) > 6 for pair in query.split('&'))
