"""The token of a connection: Keystone is asked once, however many need it, and each request gets it when it is sent."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import datetime
from time import monotonic

import gevent
from gevent.event import AsyncResult

from ..errors import Cancelled
from ..masking import hide
from ..messages import Headers, Request
from .errors import ErrorBase
from .keystone import Credential, Token
from .wire import Wire, encoded

__all__ = ['FixedToken', 'Tokens', 'used']

logger: logging.Logger = logging.getLogger('napixclient.marconi')
#: Collects the tokens that the requests of a context were sent with.
used: ContextVar[list[Token] | None] = ContextVar('napixclient_marconi_used', default=None)


class Tokens:
    """Gets tokens from Keystone. As an authenticator it sets ``X-Auth-Token``, again for every attempt."""

    def __init__(self, wire: Wire, credential: Credential) -> None:
        self._wire = wire
        self._credential = credential
        self._coming: AsyncResult[Token] | None = None
        self.current: Token = self._get()

    @property
    def value(self) -> str:
        """The token as it is now."""
        return self.current.value

    @property
    def expires(self) -> datetime:
        """When it expires, by Keystone's clock."""
        return self.current.expires

    def _get(self) -> Token:
        asked = monotonic()
        try:
            answer = self._wire.ask('POST', '/auth/tokens', encoded(self._credential.body()), success=(200, 201))
        except ErrorBase as error:
            error.phase = 'authenticate'  # what the token was wanted for was not done
            raise
        try:
            return Token(answer.headers.get('x-subject-token'), answer.json, asked, self._credential.lasting)
        except ValueError as exc:
            raise ErrorBase('no token', answer.status_code, str(exc)) from exc

    def fresh(self) -> Token:
        """The token; if it expires soon, a new one.

        :raises ErrorBase: when Keystone fails, and the token has expired.
        """
        token = self.current
        if token.fresh:
            return token
        try:
            return self.renewed(token)
        except ErrorBase as error:
            if not token.alive:
                raise
            logger.warning(
                'the token could not be renewed yet, and is good for %.1f s more: %s', token.ends - monotonic(), error
            )
            return token

    def renewed(self, stale: Token) -> Token:
        """A newer token than this one; whoever asks while Keystone is being asked waits for the same answer.

        A greenlet of its own asks Keystone: the others still wait for it if the first who wanted the token is killed.
        """
        if self.current is not stale:
            return self.current
        if self._coming is None:
            self._coming = AsyncResult()
            gevent.spawn(self._renew, self._coming)
        return self._coming.get()  # type: ignore[return-value]

    def _renew(self, coming: AsyncResult[Token]) -> None:
        try:
            self.current = self._get()
        except (KeyboardInterrupt, SystemExit):  # the main greenlet gets it, and once
            self._coming = None
            coming.set_exception(Cancelled('interrupted while a token was asked for'))
            raise
        except BaseException as exc:
            self._coming = None
            coming.set_exception(exc)
        else:
            self._coming = None
            coming.set(self.current)

    def __call__(self, request: Request) -> Request:
        """Return the request with a token that has not expired."""
        token = self.fresh()
        taken = used.get()
        if taken is not None:
            taken.append(token)
        return _with_token(request, token.value)

    def __repr__(self) -> str:
        return f'<Tokens {self._credential!r} {self.current!r}>'


class FixedToken:
    """A token that the caller brings: it is sent as it is, and nobody renews it."""

    blocking = False
    #: Only Keystone knows.
    expires = None

    def __init__(self, token: str) -> None:
        hide(self, token)
        Headers([('X-Auth-Token', token)])  # refuses what cannot be sent
        self.value = token

    def __call__(self, request: Request) -> Request:
        """Return the request with the token."""
        return _with_token(request, self.value)

    def __repr__(self) -> str:
        return 'FixedToken(***)'


def _with_token(request: Request, token: str) -> Request:
    return request.with_line(b'x-auth-token', Headers([('X-Auth-Token', token)]).block)
