"""The queue of one origin: which request goes over which connection, and when one is opened or given up.

What becomes of answers and failures is the client's own business. Imports the rest of the engine.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic
from typing import Any

import gevent

from ..errors import HTTPError
from ..messages import NO_OPTIONS, Origin, Request
from .connection import Connection
from .cookies import add_cookies
from .dialling import Opening
from .engine import Engine
from .opening import NoPlace
from .pending import Outcome, PendingResponse
from .redirecting import without_credentials
from .wire import RequestWriter, ResponseReader

__all__ = ['Dispatcher']

MAX_BODY = 64 * 2**20


class Dispatcher(ABC):
    """At most ``simultaneous`` requests at a time to one origin, over as many connections.

    :param authenticator: a callable ``Request -> Request``, or ``None``.
    :param line: instead of calling that, where it adds one field to requests without fields: what writes the field.
    """

    #: As the holder of a queued request.
    phase = 'queue'

    def __init__(self, engine: Engine, origin: Origin, simultaneous: int, authenticator: Any, line: Any) -> None:
        settings = engine.settings
        self.origin = origin
        self.waiting: deque[Any] | None = None  # the queue for a place in the pool in which it stands
        self._engine = engine
        self._settings = settings
        self._simultaneous = simultaneous
        self._authenticator = authenticator
        self._line = line
        self._blocking = settings.cookies is not None or bool(getattr(authenticator, 'blocking', True))
        #: Whether an authenticator has to be asked for another request, or the cookie jar for its cookies.
        self._asks = settings.cookies is not None or (authenticator is not None and line is None)
        self._writer = RequestWriter(origin.authority, settings.headers)
        self._foreign_writer: RequestWriter | None = None
        self._queue: deque[PendingResponse] = deque()
        self._dropped = 0                       # requests in the queue that are over already
        self._idle: list[Connection] = []
        self._connections: list[Connection] = []
        self._openings: list[Opening] = []
        self._hooked = bool(settings.on_request or settings.on_response or settings.on_error)
        self._max_body = MAX_BODY if settings.max_body is None else settings.max_body
        self._read_seconds = settings.clocks.read
        self._used = monotonic()
        self._weak = weakref.ref(self)
        engine.clients.add(self)

    def _enqueue(self, pending: PendingResponse) -> None:
        while self._idle:
            connection = self._idle[-1]
            if not connection.take(self):
                continue
            self._idle.pop()
            del self._engine.idle[connection]
            if not self._start(connection, pending):
                self._next(connection)
            return
        pending._holder = self
        self._queue.append(pending)
        if len(self._connections) + len(self._openings) < self._simultaneous and self.waiting is None:
            self._widen()

    def _enqueue_later(self, pending: PendingResponse) -> None:
        """Queue from within a transition: a connection that is about to be free takes it, or the next turn widens."""
        pending._holder = self
        self._queue.append(pending)
        self._engine.hub.loop.run_callback(self._catch_up)

    def _catch_up(self) -> None:
        """Give what waits to connections that are idle, or open some."""
        while self._queue and self._idle:
            pending = self._pop()
            if pending is not None:
                self._enqueue(pending)
        if self.waiting is None:
            self._widen()

    def drop(self, pending: PendingResponse) -> Dispatcher:
        """A queued request was cancelled; it is skipped when its turn comes."""
        self._dropped += 1
        if self._dropped > 64 and self._dropped * 2 > len(self._queue):
            self._queue = deque(entry for entry in self._queue if entry._outcome is None and entry is not pending)
            self._dropped = 0
        return self

    # -- connections -----------------------------------------------------------------------------------------------

    def _widen(self) -> None:
        """Open connections while requests wait, up to the cap of the host and that of the pool."""
        while self.wants_more() and self._engine.acquire(self):
            self._open_next()

    @property
    def served(self) -> bool:
        """Whether it has a connection, or one is being opened."""
        return bool(self._connections or self._openings)

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""
        return (len(self._connections) + len(self._openings) < self._simultaneous
                and len(self._queue) > self._dropped)

    def open_one(self) -> bool:
        """Use a place in the pool that is free, if it is still of use; whether it was."""
        if not self.wants_more() or not self._engine.acquire(self):
            return False
        self._open_next()
        return True

    def _open_next(self) -> None:
        """Open a connection, in a place that was taken for it, for the next request in the queue."""
        pending = self._pop()
        assert pending is not None              # the queue is longer than its dropped entries
        self._open_for(pending)

    def _open_for(self, pending: PendingResponse) -> None:
        timeout = pending.request._options.timeout
        clocks = self._settings.clocks if timeout is None else self._settings.clocks_of(timeout)
        opening = Opening(self._engine, self, pending, clocks.connect)
        self._openings.append(opening)
        self._engine.launch(opening)

    def opened(self, opening: Opening, sock: Any) -> None:
        """A connection is open: it takes the request that it was opened for, or the next."""
        self._openings.remove(opening)
        if self._engine.closed:
            sock.close()
            self._engine.places -= 1
            return
        settings = self._settings
        connection = Connection(self, self._weak, sock,
                                ResponseReader(settings.max_header_bytes, settings.max_header_fields))
        self._connections.append(connection)
        self._engine.connections.add(connection)
        pending = opening.pending
        if pending is None or pending._outcome is not None or not self._start(connection, pending):
            self._next(connection)

    def not_opened(self, opening: Opening, error: HTTPError) -> None:
        """A connection could not be opened: its request fails, or is tried again."""
        if opening in self._openings:
            self._openings.remove(opening)
        pending, opening.pending = opening.pending, None
        if isinstance(error, NoPlace) and pending is not None and self._engine.lower_cap():
            pending._holder = self
            self._queue.appendleft(pending)
            self._engine.enlist(self)
            self._engine.release()
            return
        self._engine.release()
        if pending is not None and pending._outcome is None:
            pending._attempts += 1
            self._conclude_failure(pending, error)
        self._widen()

    def _pop(self) -> PendingResponse | None:
        """The next request in the queue that is not over."""
        queue = self._queue
        while queue:
            pending = queue.popleft()
            if pending._outcome is None:
                return pending
            self._dropped -= 1
        return None

    def _next(self, connection: Connection) -> None:
        """A connection is free: give it the next request, or let it rest; a closed one makes room for another."""
        engine = self._engine
        while not connection.closed:
            pending = self._pop() if self._queue else None
            if (engine.waiting and (pending is None or engine.turn_is_over(connection))) or (
                    pending is None and engine.hopeful):
                if pending is not None:
                    self._queue.appendleft(pending)
                self._leave(connection)
                if self.wants_more():
                    engine.enlist(self)
                engine.release()
                return
            if pending is None:
                pending = self._steal()
            if pending is None:
                self._idle.append(connection)
                engine.rest(connection)
                self._used = monotonic()
                return
            if not self._asks:
                self._send(connection, pending, pending.request)
                return
            if self._start(connection, pending):
                return
        if connection in self._connections:
            self._forget(connection)
            engine.release()
        self._widen()

    def _steal(self) -> PendingResponse | None:
        """A request whose own connection is still being opened, while another is free."""
        for opening in self._openings:
            pending = opening.pending
            if pending is not None:
                opening.pending = None
                return pending
        return None

    def _leave(self, connection: Connection) -> None:
        """Close a connection and forget it; its place is the caller's to release."""
        connection.close()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.remove(connection)
        self._engine.connections.discard(connection)

    def evict(self, connection: Connection) -> None:
        """The engine needs the place of an idle connection."""
        self._idle.remove(connection)
        self._leave(connection)
        self._engine.places -= 1

    def gone(self, connection: Connection) -> None:
        """A connection closed while it was idle, or after its request was dropped."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._engine.idle.pop(connection, None)
        if connection in self._connections:
            self._forget(connection)
            self._engine.release()
            self._widen()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _start(self, connection: Connection, pending: PendingResponse) -> bool:
        """Send a request over a free connection; false when the connection is still free afterwards."""
        request = pending._current
        if self._asks:
            if self._blocking:
                connection.reserve(pending, gevent.spawn(self._authenticate_aside, connection, pending))
                return True
            signed = self._authenticate(pending)
            if signed is None:
                return False
            request = signed
        self._send(connection, pending, request)
        return True

    def _authenticate(self, pending: PendingResponse, reserved: Connection | None = None) -> Request | None:
        """The request as the authenticator leaves it; ``None`` when it raised, which is then the outcome.

        :param reserved: the connection that is held for the request, where the authenticator has a greenlet.
        """
        request = pending._current
        try:
            assert pending._context is not None
            # A copy: a hook of the same request may be blocked in the context itself.
            request = pending._context.copy().run(self._prepared, pending)
        except BaseException as exc:            # a gevent.Timeout of its own, too: the slot must come back
            if reserved is not None and reserved.pending is not pending:
                return None                     # killed with its connection; its request is elsewhere by now
            error = HTTPError(f'the authenticator failed: {type(exc).__name__}: {exc}', request=request,
                              phase='authenticate')
            error.__cause__ = exc
            if pending._outcome is None:
                self.settle(pending, error)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
            return None
        return request

    def _prepared(self, pending: PendingResponse) -> Request:
        """What the authenticator makes of the request, and the cookie jar: all code that is the caller's."""
        request = pending._current
        if self._authenticator is not None and self._line is None and not (pending._hop and pending._hop.foreign):
            changed = self._authenticator(request)
            if changed is not None and not isinstance(changed, Request):
                raise TypeError(f'an authenticator returns a Request or None, not {type(changed).__name__}')
            request = changed or request
        if self._settings.cookies is not None:
            request = add_cookies(self._settings.cookies, request)
        return request

    def _authenticate_aside(self, connection: Connection, pending: PendingResponse) -> None:
        """In a greenlet: the authenticator may block."""
        request = self._authenticate(pending, connection)
        if connection.closed or connection.pending is not pending:
            return                              # cancelled, or the server closed the connection, meanwhile
        connection.helper = None
        if request is None:
            connection.pending = None
            self._next(connection)
        else:
            self._send(connection, pending, request)

    def _send(self, connection: Connection, pending: PendingResponse, request: Request) -> None:
        """Send the request as the authenticator left it; one that adds a single line is asked for it here."""
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
        if self._hooked:
            self._call_hook(self._settings.on_request, pending, pending._current)
        if line is None:
            data = writer.write(request)
        elif request.headers._block:            # perhaps with a field of that name
            data = writer.write(self._authenticator(request))
        else:
            data = writer.write(request, line(request))
        connection.start(pending, request, data, read_seconds, max_body, max_streamed)

    def _writer_for_foreigners(self) -> RequestWriter:
        """For requests that a redirect of another origin has sent here: credentials do not follow (RFC 9110 §15.4)."""
        if self._foreign_writer is None:
            self._foreign_writer = RequestWriter(self.origin.authority, without_credentials(self._settings.headers))
        return self._foreign_writer

    # -- the client's business -------------------------------------------------------------------------------------

    @abstractmethod
    def settle(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome of a request."""

    @abstractmethod
    def forked(self) -> None:
        """In the child of a fork: forget every connection; what was pending is cancelled."""

    @abstractmethod
    def _conclude_failure(self, pending: PendingResponse, error: HTTPError) -> None:
        """Make a failure the outcome, unless it is to be tried again."""

    @abstractmethod
    def _call_hook(self, hook: Any, pending: PendingResponse, value: Any) -> None:
        """Call a hook of the caller's."""
