"""Tokens by the client credentials of OAuth 2.0 (RFC 6749 §4.4): fetched once for all that wait, and renewed."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from contextvars import Context
from time import monotonic
from typing import Literal
from urllib.parse import quote_plus, urlencode

import gevent
from gevent.hub import Hub, get_hub

from ..checks import is_number
from ..errors import ProtocolError
from ..masking import MASK, hide, mask
from ..messages import Request, Response, split_url
from .fetching import Fetch, fetch_here
from .fields import BasicAuth, BearerToken

__all__ = ['OAuth2ClientCredentials']

#: Seconds before the end of a token at which it is renewed, or a tenth of its time, whichever is less.
_EARLY_SECONDS = 60.0
NEVER = float('inf')


class OAuth2ClientCredentials:
    """``Authorization: Bearer …`` with a token that is fetched for the credentials of a client (RFC 6749 §4.4).

    The first request that needs one fetches it, and all that come meanwhile wait for the same. It is renewed before its
    end, and when a server answers 401 to it: once, however many are refused. A fetch goes over connections of its own,
    with the options of the pool that asks for TLS, proxy, resolver and timeouts; that for a proxy (``proxy_auth``) goes
    straight. Where it fails, all that wait end with an ``HTTPError`` of phase ``authenticate`` whose ``__cause__`` is
    that failure, and the next request tries again.

    :param token_url: where tokens are given, ``https://login.example/oauth2/token``; on a Unix socket
        ``http+unix://%2Frun%2Flogin.sock/token``.
    :param client_id: who asks.
    :param client_secret: the secret of that client.
    :param scope: scopes to ask for: names, or one text with spaces between them.
    :param audience: whom the token is for, where the server wants to know.
    :param auth: how the client proves who it is: ``'basic'``, in a field, or ``'body'``, in the form (RFC 6749 §2.3.1).
    :param early: seconds before the end of a token at which it is renewed. Default: 60, or a tenth of its time if that
        is less. One whose answer has no ``expires_in`` is kept until a 401.
    :raises ValueError: for what makes no sense.
    """

    blocking = True

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | Iterable[str] | None = None,
        audience: str | None = None,
        auth: Literal['basic', 'body'] = 'basic',
        early: float | None = None,
    ) -> None:
        for name, value in ('client_id', client_id), ('client_secret', client_secret):
            if not isinstance(value, str) or not value:
                raise ValueError(f'{name} is a text that is not empty')
        if auth not in ('basic', 'body'):
            raise ValueError(f"auth is 'basic' or 'body', not {auth!r}")
        if early is not None and not (is_number(early) and early >= 0):
            raise ValueError(f'early is a number of seconds, not {early!r}')
        if audience is not None and not isinstance(audience, str):
            raise ValueError(f'audience is a text, not {audience!r}')
        hide(self, client_secret)
        self.token_url = token_url
        self.client_id = client_id
        self._secret = client_secret
        self._scope = _scope(scope)
        self._audience = audience
        self._auth = auth
        self._early = early
        self._request = self._new_request()
        self._token: _Token | None = None
        #: By hub: a fetch of one thread cannot be waited for in another.
        self._flights: dict[Hub, _Flight] = {}
        _all.add(self)

    def _new_request(self) -> Request:
        """What asks for a token."""
        form = {'grant_type': 'client_credentials'}
        for name, value in ('scope', self._scope), ('audience', self._audience):
            if value is not None:
                form[name] = value
        if self._auth == 'body':
            form |= {'client_id': self.client_id, 'client_secret': self._secret}
        host, target = _parts_of(self.token_url)
        headers = {'Content-Type': 'application/x-www-form-urlencoded', 'Accept': 'application/json'}
        request = Request(host, 'POST', target, urlencode(form), headers)
        if self._auth == 'body':
            return request
        # Both are form-encoded first (RFC 6749 §2.3.1), so that either may have a colon.
        self._basic = BasicAuth(quote_plus(self.client_id), quote_plus(self._secret))  # which hides what it sends
        return self._basic(request)

    def __call__(self, request: Request) -> Request:
        """Return the request with a token, which is fetched where there is none.

        :raises HTTPError: when that fails.
        """
        token = self._token
        if token is None or monotonic() >= token.renewed_at:
            token = self._fetched()
        return token.signer(request)

    def challenged(self, request: Request, response: Response) -> Request | None:
        """Return the request with another token than the one that was refused."""
        proxied = not request.url.startswith(('/', '*'))
        if proxied is not (response.status == 407):
            return None  # a proxy is not told the token of a server
        token = self._token
        if token is not None and request.headers.get('authorization') == token.field:
            token = self._token = None
        return (token or self._fetched()).signer(request)

    def parameters(self) -> tuple[str | float | None, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere."""
        return (*(self.token_url, self.client_id, self._secret, self._scope, self._audience, self._auth, self._early),)

    def forget_fetches(self) -> None:
        """In the child of a fork: what is being fetched is the parent's."""
        self._flights.clear()

    def __reduce__(self) -> tuple[object, tuple[str | float | None, ...]]:
        return of_parameters, self.parameters()

    def __repr__(self) -> str:
        return mask(f'OAuth2ClientCredentials({self.token_url!r}, {self.client_id!r}, {MASK})')

    # -- fetching --------------------------------------------------------------------------------------------------

    def _fetched(self) -> _Token:
        """Wait for a token that is being fetched, by us or for another.

        :raises HTTPError: when that fails.
        """
        hub = get_hub()
        flight = self._flights.get(hub)
        if flight is None:
            flight = self._flights[hub] = _Flight()
            # In a context of its own: it is in the name of none of those that wait, nor as short as their time.
            flight.greenlet = gevent.spawn(Context().run, self._fly, flight, fetch_here())
        flight.waiting += 1
        try:
            found = flight.greenlet.get()
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._leave(flight)
                flight.greenlet.kill(block=False)  # nothing, where it is over
        if isinstance(found, _Token):
            return found
        raise found.with_traceback(None)

    def _fly(self, flight: _Flight, fetch: Fetch) -> _Token | BaseException:
        """In a greenlet: fetch a token."""
        try:
            began = monotonic()
            token = self._token = _token_of(fetch(self._request), began, self._early)
        except BaseException as exc:  # a kill, too: those who wait have to hear of it
            return exc
        finally:
            self._leave(flight)  # who comes from now on does not wait for this one
        return token

    def _leave(self, flight: _Flight) -> None:
        hub = get_hub()
        if self._flights.get(hub) is flight:
            del self._flights[hub]


_all: weakref.WeakSet[OAuth2ClientCredentials] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one.forget_fetches()


os.register_at_fork(after_in_child=_after_fork)


class _Flight:
    """A fetch that is under way, for those that wait."""

    greenlet: gevent.Greenlet[..., _Token | BaseException]

    def __init__(self) -> None:
        self.waiting = 0


class _Token:
    """A token, and until when it is used.

    :param renewed_at: of ``monotonic()``.
    """

    def __init__(self, token: str, renewed_at: float) -> None:
        self.signer: BearerToken = BearerToken(token)
        self.field: str = f'Bearer {token}'
        self.renewed_at = renewed_at


def _token_of(response: Response, began: float, early: float | None) -> _Token:
    """The token in an answer (RFC 6749 §5.1).

    :raises ProtocolError: when there is none that can be sent.
    """
    document = response.body
    token = document.get('access_token') if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(token, str) or not token:
        raise ProtocolError('the answer has no access_token (RFC 6749 §5.1)', response=response, phase='read')
    kind = document.get('token_type', 'bearer')
    if not isinstance(kind, str) or kind.lower() != 'bearer':
        raise ProtocolError(
            f'a token of the type {mask(repr(kind))} is none that we can use', response=response, phase='read'
        )
    seconds = _seconds(document.get('expires_in'))
    if early is None:
        early = min(_EARLY_SECONDS, seconds / 10)
    try:
        return _Token(token, began + max(seconds - early, 0.0))
    except ValueError:
        raise ProtocolError('the access_token cannot be sent in a field', response=response, phase='read') from None


def _seconds(told: object) -> float:
    """``expires_in``; endless where nobody can read it."""
    try:
        return float(told) if isinstance(told, (int, float, str)) and not isinstance(told, bool) else NEVER
    except (ValueError, OverflowError):  # no number, or an integer of hundreds of digits
        return NEVER


def _scope(given: str | Iterable[str] | None) -> str | None:
    """The scopes as the form has them (RFC 6749 §3.3)."""
    if given is None or isinstance(given, str):
        return given
    names = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f'scope is a text, or several, not {given!r}')
    return ' '.join(names)


def _parts_of(url: object) -> tuple[str, str]:
    """Origin and target of a URL.

    :raises ValueError: for what is none; it does not repeat the value, in which there may be a password.
    """
    expected = "token_url is a URL such as 'https://login.example/oauth2/token', without user, password and fragment"
    if not isinstance(url, str):
        raise ValueError(f'{expected}, not {type(url).__name__}')
    try:
        if '#' not in url:
            return split_url(url)
    except ValueError:
        pass
    raise ValueError(expected)


def of_parameters(
    token_url: str,
    client_id: str,
    client_secret: str,
    scope: str | None,
    audience: str | None,
    auth: Literal['basic', 'body'],
    early: float | None,
) -> OAuth2ClientCredentials:
    """One that is made of these."""
    return OAuth2ClientCredentials(
        token_url, client_id, client_secret, scope=scope, audience=audience, auth=auth, early=early
    )
