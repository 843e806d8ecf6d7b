"""Requests that wait for the authenticator, which :mod:`.preparer` calls: in place, or in a greenlet of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import gevent

from ..messages import Request
from .completion import Completion, DeferredHolder, killed
from .http1.connection import Connection
from .pending import PendingResponse
from .preparer import Preparer
from .throttle import Throttle

__all__ = ['Signing']


class Pool(Protocol):
    """The pool of the origin."""

    throttle: Throttle

    def next(self, connection: Connection) -> None:
        """A connection is free."""

    def put_back(self, pending: PendingResponse) -> None:
        """A request could not be sent after all, and is the next."""


class Signing:
    """Has requests signed, and sends them.

    :param pool: the pool of the origin.
    :param preparer: asks the authenticator and the cookie jar.
    :param completion: completes what they fail with.
    :param send: sends a signed request.
    """

    def __init__(
        self,
        pool: Pool,
        preparer: Preparer,
        completion: Completion,
        send: Callable[[Connection, PendingResponse, Request], None],
    ) -> None:
        self._pool = pool
        self._preparer = preparer
        self._completion = completion
        self._send = send
        #: Holds a request while it is signed in place.
        self._in_place = DeferredHolder(completion, 'authenticate')

    def start(self, connection: Connection, pending: PendingResponse) -> bool:
        """Sign a request and send it; false when the connection is still free afterwards."""
        if self._preparer.blocks:
            helper = gevent.spawn(self._in_greenlet, connection, pending)
            connection.reserve(pending, helper)
            helper.rawlink(partial(self._ended, connection, pending))
            return True
        pending.holder = self._in_place
        try:
            signed = self._signed(pending)
        except BaseException:  # SIGINT and SystemExit leave, after clean-up
            self._pool.next(connection)
            raise
        if signed is None or pending.outcome is not None:  # the authenticator may have cancelled it
            return False
        self._send(connection, pending, signed)
        return True

    def _signed(self, pending: PendingResponse, reserved: Connection | None = None) -> Request | None:
        """The request as the authenticator leaves it; ``None`` when it raised, which is then the outcome.

        :param reserved: the connection that is held for the request, where the authenticator has a greenlet.
        """
        signed = self._preparer.sign(pending)
        if isinstance(signed, Request):
            return signed
        if reserved is not None and reserved.pending is not pending:
            return None  # killed with its connection; its request is elsewhere by now
        if pending.outcome is None:
            self._completion.complete(pending, signed)
        if isinstance(signed.__cause__, (KeyboardInterrupt, SystemExit)):
            raise signed.__cause__
        return None

    def _in_greenlet(self, connection: Connection, pending: PendingResponse) -> None:
        """The authenticator may block."""
        request = None
        try:
            request = self._signed(pending, connection)
        finally:
            self._go_on(connection, pending, request)

    def _ended(self, connection: Connection, pending: PendingResponse, helper: gevent.Greenlet[..., Any]) -> None:
        """The greenlet of an authenticator ended: one that somebody killed before it began has signed nothing."""
        if connection.helper is helper:
            self._completion.complete(pending, killed(pending, helper))
            self._go_on(connection, pending, None)

    def _go_on(self, connection: Connection, pending: PendingResponse, request: Request | None) -> None:
        """The authenticator is through, in its greenlet."""
        if connection.closed or connection.pending is not pending:
            return  # cancelled, or the server closed the connection, meanwhile
        connection.unreserve()
        if request is not None and not self._pool.throttle.paused:
            self._send(connection, pending, request)
            return
        if request is not None:
            self._pool.put_back(pending)
        self._pool.next(connection)
