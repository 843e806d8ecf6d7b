"""How a request goes out: what the authenticator and the cookie jar make of it, then its bytes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gevent

from ..errors import HTTPError
from ..journey import begin, beginnings, current, departure
from ..masking import mask
from ..messages import NO_OPTIONS, Headers, Origin, Request
from ..tracing import current_span
from .cookies import add_cookies
from .engine import Engine
from .http1.connection import Connection
from .http1.wire import ForwardingWriter, RequestWriter
from .pending import NEVER, Outcome, PendingResponse
from .queueing import Queueing
from .redirecting import without_credentials
from .reuse import Reuse
from .settings import MAX_BODY

__all__ = ['Sender']


class Sender(Queueing):
    """Sends requests to one origin over connections that are free.

    :param authenticator: a callable ``Request -> Request``, or ``None``.
    :param line: instead of calling that, where it adds one field to requests without fields: what writes the field.
    """

    def __init__(self, engine: Engine, origin: Origin, simultaneous: int | str, authenticator: Any, line: Any) -> None:
        super().__init__(engine, simultaneous)
        settings = engine.settings
        self.origin = origin
        self._settings = settings
        self._authenticator = authenticator
        self._line = line
        self._blocking = settings.cookies is not None or bool(getattr(authenticator, 'blocking', True))
        #: Whether an authenticator has to be asked for another request, or the cookie jar for its cookies.
        self._asks = settings.cookies is not None or (authenticator is not None and line is None)
        #: Whether a connection that is free may simply take the next request in the queue.
        self._plain = not self._asks and self._pace is None and self._cap is None
        proxy = settings.proxy_for(origin)
        #: The proxy that is sent the requests themselves.
        self._forwarder = proxy if proxy is not None and proxy.forwards(origin) else None
        self._writer = self._new_writer(settings.headers, settings.ranged)
        self._foreign_writer: RequestWriter | None = None
        self._hooked = bool(settings.on_request or settings.on_response or settings.on_error)
        self._reuse = Reuse()
        #: Whether there is more to do at each request than to send it, whatever is known of the origin.
        self._attentive = self._hooked or self._pace is not None
        #: Whether there is more to do at the next: until it is known, to look whether the origin keeps connections.
        self._noted = True
        self._max_body = MAX_BODY if settings.max_body is None else settings.max_body
        self._read_seconds = settings.clocks.read

    def _start(self, connection: Connection, pending: PendingResponse) -> bool:
        """Send a request over a free connection; false when the connection is still free afterwards."""
        request = pending._current
        if self._asks:
            if self._noted and connection.served and not self._may_reuse(connection, pending):
                return True
            if self._blocking:
                connection.reserve(pending, gevent.spawn(self._authenticate_aside, connection, pending))
                return True
            try:
                signed = self._authenticate(pending)
            except BaseException:  # SIGINT and SystemExit leave, after clean-up
                self._next(connection)
                raise
            if signed is None:
                return False
            request = signed
        self._send(connection, pending, request)
        return True

    def _authenticate(self, pending: PendingResponse, reserved: Connection | None = None) -> Request | None:
        """The request as the authenticator leaves it; ``None`` when it raised, which is then the outcome.

        :param reserved: the connection that is held for the request, where the authenticator has a greenlet.
        """
        request, asked = pending._current, 'authenticator'
        try:
            assert pending._context is not None
            # A copy: a hook of the same request may be blocked in the context itself.
            request = pending._context.copy().run(self._authenticated, pending)
            asked = 'cookie jar'
            if self._settings.cookies is not None:
                request = add_cookies(self._settings.cookies, request)
        except BaseException as exc:  # a gevent.Timeout of its own, too: the slot must come back
            if reserved is not None and reserved.pending is not pending:
                return None  # killed with its connection; its request is elsewhere by now
            error = HTTPError(
                f'the {asked} failed: {type(exc).__name__}: {mask(str(exc))}', request=request, phase='authenticate'
            )
            error.__cause__ = exc
            if pending._outcome is None:
                self.settle(pending, error)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
            return None
        return request

    def _authenticated(self, pending: PendingResponse) -> Request:
        """What the authenticator makes of the request."""
        request = pending._current
        if self._authenticator is not None and self._line is None and not (pending._hop and pending._hop.foreign):
            changed = self._authenticator(request)
            if changed is not None and not isinstance(changed, Request):
                raise TypeError(f'an authenticator returns a Request or None, not {type(changed).__name__}')
            request = changed or request
        return request

    def _authenticate_aside(self, connection: Connection, pending: PendingResponse) -> None:
        """In a greenlet: the authenticator may block."""
        request = None
        try:
            request = self._authenticate(pending, connection)
        finally:
            self._go_on(connection, pending, request)

    def _go_on(self, connection: Connection, pending: PendingResponse, request: Request | None) -> None:
        if connection.closed or connection.pending is not pending:
            return  # cancelled, or the server closed the connection, meanwhile
        connection.helper = None
        if request is None:
            connection.pending = None
            self._next(connection)
        elif self._held_up:
            connection.pending = None
            self._put_back(pending)
            self._next(connection)
        else:
            self._send(connection, pending, request)

    def _send(self, connection: Connection, pending: PendingResponse, request: Request) -> None:
        """Send the request as the authenticator left it; one that adds a single line is asked for it here."""
        if self._noted and connection.served and not self._asks and not self._may_reuse(connection, pending):
            return
        pending._attempts += 1
        writer, line = self._writer, self._line
        if pending._attempts > 1 and pending._hop is not None:
            if request is pending.request:
                request = pending._hop.request
            if pending._hop.foreign:
                writer, line = self._writer_for_foreigners(), None
        options = pending.request._options
        read_seconds, max_body, max_streamed = self._read_seconds, self._max_body, self._settings.max_body
        if options is not NO_OPTIONS:
            if options.timeout is not None:
                read_seconds = self._settings.clocks_of(options.timeout).read
            if options.max_body is not None:
                max_body = max_streamed = options.max_body
            if options.stream:
                connection.reader.follows = self._settings.redirect if options.redirect is None else options.redirect
        if not self._engine.sweeping:
            self._engine.start_sweeping()
        if self._noted:
            self._note(pending)
        if pending._context is None and pending._attempts == 1 and pending._deadline == NEVER:
            try:
                travel = beginnings.pop()
            except IndexError:
                travel = begin()
            pending._travelled = travel
        else:
            travel = _travel(pending)
        if line is None:
            data = writer.write(request, b'', travel)
        elif request.headers._block:  # perhaps with a field of that name
            data = writer.write(self._authenticator(request), b'', travel)
        else:
            data = writer.write(request, line(request), travel)
        connection.start(pending, request, data, read_seconds, max_body, max_streamed)

    def _writer_for_foreigners(self) -> RequestWriter:
        """For requests that a redirect of another origin has sent here: credentials do not follow (RFC 9110 §15.4)."""
        if self._foreign_writer is None:
            self._foreign_writer = self._new_writer(
                without_credentials(self._settings.headers), without_credentials(self._settings.ranged)
            )
        return self._foreign_writer

    def _new_writer(self, headers: Headers, ranged: Headers) -> RequestWriter:
        if self._forwarder is None:
            return RequestWriter(self.origin.authority, headers, ranged)
        return ForwardingWriter(self.origin, headers, self._forwarder.fields, ranged)

    # -- the dispatcher's business ---------------------------------------------------------------------------------

    @abstractmethod
    def settle(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome of a request."""

    @abstractmethod
    def _next(self, connection: Connection) -> None:
        """A connection is free."""

    @abstractmethod
    def _may_reuse(self, connection: Connection, pending: PendingResponse) -> bool:
        """Whether the request is to be sent over this connection, which was used before."""

    @abstractmethod
    def _note(self, pending: PendingResponse) -> None:
        """What there is to do at each request that is sent."""


def _travel(pending: PendingResponse) -> str:
    """The fields that travel with this attempt."""
    context = pending._context
    journey, span = (None, None) if context is None else (context.get(current), context.get(current_span))
    pending._travelled = departure(journey, pending._travelled, pending._deadline, span)
    return pending._travelled
