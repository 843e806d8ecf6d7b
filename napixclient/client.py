"""One host: the queue of its requests, its cap, its connections, and what becomes of each answer and failure.

Imports authenticators, remote, the engine, messages and errors.
"""

from __future__ import annotations

import contextvars
import weakref
from collections import deque
from math import frexp
from time import monotonic
from typing import Any

import gevent
from gevent.hub import get_hub

from ._http.connection import Connection
from ._http.decoding import Decoder
from ._http.engine import Engine, Opening, log
from ._http.opening import NoPlace
from ._http.pending import NEVER, Batch, Outcome, PendingResponse, new_pending
from ._http.retrying import after_failure, after_response
from ._http.settings import Settings, whole_number
from ._http.wire import RequestWriter, ResponseReader
from .authenticators import Authenticator, OneField, authenticator_of
from .errors import Cancelled, HTTPError, ProtocolError
from .messages import NO_OPTIONS, Origin, Request, Response, parse_origin
from .remote import error_of

__all__ = ['Client']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
MAX_BODY = 64 * 2**20
#: Decoded pieces that are made in the loop itself; a body of more goes on in a greenlet.
_STEPS_AT_ONCE = 4


class Client:
    """Sends requests to one host, at most ``simultaneous`` at a time over as many connections.

    >>> client = Client('server.example', {'login': 'root', 'key': 'toor'})
    >>> client.request('GET', '/').body
    ['/abc', '/captain']

    :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight at most.
    :param options: those of :class:`ClientPool`.
    :raises ValueError: for a host, an authenticator or an option that makes no sense.
    """

    #: As the holder of a queued request.
    phase = 'queue'

    def __init__(self, host: str, authenticator: Any = None, simultaneous: int = 2, **options: Any) -> None:
        origin = parse_origin(host)
        self._set_up(Engine(Settings(**options)), origin, host, authenticator_of(authenticator),
                     whole_number(simultaneous, 'simultaneous'))
        self._owns_engine = True

    @classmethod
    def _of_pool(cls, engine: Engine, origin: Origin, host: str, authenticator: Authenticator | None,
                 simultaneous: int) -> Client:
        self = cls.__new__(cls)
        self._set_up(engine, origin, host, authenticator, simultaneous)
        self._owns_engine = False
        return self

    def _set_up(self, engine: Engine, origin: Origin, host: str, authenticator: Authenticator | None,
                simultaneous: int) -> None:
        settings = engine.settings
        #: The host as it was first written.
        self.host = host
        self.origin = origin
        self.waiting: deque[Any] | None = None  # the queue for a place in the pool in which it stands
        self._engine = engine
        self._settings = settings
        self._simultaneous = simultaneous
        self._authenticator = authenticator
        self._blocking = bool(getattr(authenticator, 'blocking', True))
        self._writer = RequestWriter(origin.authority, settings.headers)
        self._queue: deque[PendingResponse] = deque()
        self._dropped = 0                       # requests in the queue that are over already
        self._idle: list[Connection] = []
        self._connections: list[Connection] = []
        self._openings: list[Opening] = []
        self._aside: dict[PendingResponse, Any] = {}    # waiting to be tried again, or being decoded
        self._hooked = bool(settings.on_request or settings.on_response or settings.on_error)
        #: What writes the field of an authenticator of ours that adds just one.
        self._line: Any = None
        if isinstance(authenticator, OneField) and type(authenticator).__call__ is OneField.__call__:
            self._line = authenticator._line
        #: Whether an authenticator has to be asked for another request.
        self._asks = authenticator is not None and self._line is None
        self._needs_context = self._hooked or self._asks
        self._simple = settings.retries is None and not self._hooked
        self._max_body = MAX_BODY if settings.max_body is None else settings.max_body
        self._read_seconds = settings.clocks.read
        self._total = settings.clocks.total
        self._retries = settings.retries
        self._done = self._failed = self._received = 0
        self._latencies: dict[int, int] = {}
        self._used = monotonic()
        self._weak = weakref.ref(self)
        engine.clients.add(self)

    # -- asking ----------------------------------------------------------------------------------------------------

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> Response:
        """Send a request and wait for its answer.

        An exception that is thrown in while it waits, such as that of a ``gevent.Timeout``, cancels the request.

        :param options: ``params``, ``timeout``, ``retries``, ``tag``, ``stream``, ``max_body``, ``multipart`` as
            :class:`Request` takes them.
        :raises HTTPError: when the server answered 400 or above, or not at all.
        :raises ValueError: for a part that cannot be sent.
        """
        pending = self.submit(method, url, body, headers, **options)
        try:
            return pending.get()
        except BaseException:
            pending.cancel()
            raise

    def submit(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> PendingResponse:
        """Send a request; its answer can be waited for later.

        :param options: as for :meth:`request`.
        """
        return self._submit(Request(self.host, method, url, body, headers, **options), None)

    def _submit(self, request: Request, batch: Batch | None, index: int = 0) -> PendingResponse:
        engine = self._engine
        if get_hub() is not engine.hub or engine.closed:
            engine.refuse()
        engine.requests += 1
        pending = new_pending(request, batch, index)
        if self._needs_context:
            pending._context = contextvars.copy_context()
        timeout = request._options.timeout
        total = self._total if timeout is None else self._settings.clocks_of(timeout).total
        if total != NEVER:
            engine.watch(pending, monotonic() + total)
        if self._idle:
            self._enqueue(pending)
        else:
            pending._holder = self
            self._queue.append(pending)
            if self.waiting is None and len(self._connections) + len(self._openings) < self._simultaneous:
                self._widen()
        return pending

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

    def drop(self, pending: PendingResponse) -> Client:
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
        request = pending.request
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

    def _authenticate(self, pending: PendingResponse) -> Request | None:
        """The request as the authenticator leaves it; ``None`` when it raised, which is then the outcome."""
        authenticate: Any = self._authenticator
        request = pending.request
        try:
            assert pending._context is not None
            # A copy: a hook of the same request may be blocked in the context itself.
            changed = pending._context.copy().run(authenticate, request)
            if changed is not None and not isinstance(changed, Request):
                raise TypeError(f'an authenticator returns a Request or None, not {type(changed).__name__}')
        except BaseException as exc:            # a gevent.Timeout of its own, too: the slot must come back
            error = HTTPError(f'the authenticator failed: {type(exc).__name__}: {exc}', request=request,
                              phase='authenticate')
            error.__cause__ = exc
            if pending._outcome is None:
                self.settle(pending, error)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
            return None
        return changed or request

    def _authenticate_aside(self, connection: Connection, pending: PendingResponse) -> None:
        """In a greenlet: the authenticator may block."""
        request = self._authenticate(pending)
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
        options = pending.request._options
        read_seconds, max_body, max_streamed = self._read_seconds, self._max_body, self._settings.max_body
        if options is not NO_OPTIONS:
            if options.timeout is not None:
                read_seconds = self._settings.clocks_of(options.timeout).read
            if options.max_body is not None:
                max_body = max_streamed = options.max_body
        if not self._engine.sweeping:
            self._engine.start_sweeping()
        if self._hooked:
            self._call_hook(self._settings.on_request, pending, pending.request)
        if self._line is None:
            data = self._writer.write(request)
        elif request.headers._block:            # perhaps with a field of that name
            data = self._writer.write(self._authenticator(request))     # type: ignore[misc, arg-type]
        else:
            data = self._writer.write(request, self._line(request))
        connection.start(pending, request, data, read_seconds, max_body, max_streamed)

    # -- answers ---------------------------------------------------------------------------------------------------

    def answered(self, connection: Connection, pending: PendingResponse, response: Response) -> None:
        """The answer is whole; the connection is free, or closed if it cannot be used again."""
        elapsed = response.elapsed
        self._received += len(response._payload)
        # Eight buckets to an octave: quantiles within 9 %.
        mantissa, exponent = frexp(elapsed)
        bucket = exponent * 8 + int(mantissa * 16)
        self._latencies[bucket] = self._latencies.get(bucket, 0) + 1
        if pending._attempts > 1:
            response.attempts = pending._attempts
        coding = connection.reader.coding
        if coding is not None and response._payload:
            self._decode(pending, response, coding)
        elif self._simple and response.status < 400 and pending.request._options.retries is None:
            self._done += 1
            pending._finish(response)
        else:
            self._conclude_safely(pending, response)
        # What _next() does, for the case in which there is nothing to think about.
        if self._queue and not self._asks and not connection.closed and not self._engine.waiting:
            pending = self._queue.popleft()
            if pending._outcome is None:
                self._send(connection, pending, pending.request)
                return
            self._dropped -= 1
        self._next(connection)

    def streaming(self, connection: Connection, pending: PendingResponse, response: Response) -> None:
        """The head of a streamed answer is there; the connection stays with its body."""
        response.attempts = pending._attempts
        self.settle(pending, response)

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""
        self._received += size

    def streamed(self, connection: Connection) -> None:
        """A streamed body was read to its end."""
        self._next(connection)

    def _conclude_safely(self, pending: PendingResponse, response: Response) -> None:
        """In a callback of the loop: whatever a server may have found to trip us up is that request's failure."""
        try:
            self._conclude(pending, response)
        except Exception as exc:
            error = ProtocolError(f'cannot read the answer: {type(exc).__name__}: {exc}', response=response,
                                  phase='read')
            error.__cause__ = exc
            if pending._outcome is None:
                self.settle(pending, error)

    def _conclude(self, pending: PendingResponse, response: Response) -> None:
        """Make an answer the outcome, unless it is to be tried again."""
        delay = after_response(self._retries_of(pending), pending, response)
        if delay is not None and self._try_again(pending, delay):
            return
        self.settle(pending, response if response.status < 400 else error_of(response))

    def settle(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Set the outcome, count it, and tell the hooks."""
        if isinstance(outcome, HTTPError):
            self._failed += 1
            outcome.request = pending.request
            outcome.attempts = max(pending._attempts, 1)
        else:
            self._done += 1
        if self._hooked:
            hook = self._settings.on_error if isinstance(outcome, HTTPError) else self._settings.on_response
            self._call_hook(hook, pending, outcome)
        pending._finish(outcome)

    def _call_hook(self, hook: Any, pending: PendingResponse, value: Any) -> None:
        if hook is not None:
            assert pending._context is not None
            gevent.spawn(_run_hook, pending._context, hook, value)

    # -- decoding --------------------------------------------------------------------------------------------------

    def _decode(self, pending: PendingResponse, response: Response, coding: str) -> None:
        """Undo the content coding: here if it is quickly done, else in a greenlet."""
        limit = pending.request._options.max_body
        parts: list[bytes] = []
        try:
            decoder = Decoder(coding, self._max_body if limit is None else limit)
            steps = decoder.feed(response._payload)
            for piece in steps:
                parts.append(piece)
                if len(parts) == _STEPS_AT_ONCE:
                    pending._holder = _Aside(self, 'read')
                    self._aside[pending] = gevent.spawn(self._decode_rest, pending, response, decoder, steps, parts)
                    return
            decoder.finish()
        except HTTPError as error:
            self._spoiled(pending, response, error)
            return
        response._payload = b''.join(parts)
        self._conclude_safely(pending, response)

    def _decode_rest(self, pending: PendingResponse, response: Response, decoder: Decoder, steps: Any,
                     parts: list[bytes]) -> None:
        try:
            for piece in steps:
                parts.append(piece)
                gevent.sleep(0)
            decoder.finish()
        except HTTPError as error:
            if self._aside.pop(pending, None) is not None:
                self._spoiled(pending, response, error)
            return
        if self._aside.pop(pending, None) is not None:
            response._payload = b''.join(parts)
            self._conclude_safely(pending, response)

    def _spoiled(self, pending: PendingResponse, response: Response, error: HTTPError) -> None:
        error.phase, error.elapsed = 'read', response.elapsed
        self._conclude_failure(pending, error)

    # -- failures --------------------------------------------------------------------------------------------------

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """A request failed with its connection."""
        self._forget(connection)
        if error.phase == 'authenticate':       # nothing was sent: it was the idle connection that ended
            self._open_for(pending)
            return
        if self._may_resend(connection, pending, error):
            log.debug('%s: the server had closed the connection; sending once more', self.origin)
            self._open_for(pending)             # in the place of the old one, so that it gets a fresh one
            return
        self._engine.release()
        self._conclude_failure(pending, error)
        self._widen()

    def _may_resend(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> bool:
        """Whether the one free resend applies: idempotent, over a reused connection, before any byte of an answer."""
        request = pending.request
        return (connection.served > 0 and connection.untouched and isinstance(error, ProtocolError)
                and request.method in IDEMPOTENT and pending._attempts == 1
                and (request._payload is None or isinstance(request._payload, bytes))
                and not self._forbids_retries(pending) and self._engine.may_retry())

    def _forbids_retries(self, pending: PendingResponse) -> bool:
        retries = self._retries_of(pending)
        return retries is not None and retries.total is False

    def _retries_of(self, pending: PendingResponse) -> Any:
        if pending._retry is not None:
            return pending._retry
        own = pending.request._options.retries
        return self._retries if own is None else own

    def _conclude_failure(self, pending: PendingResponse, error: HTTPError) -> None:
        """Make a failure the outcome, unless it is to be tried again."""
        if pending._outcome is not None:
            return
        error.request = pending.request
        log.debug('%s: %s', self.origin, error.message)
        delay = after_failure(self._retries_of(pending), pending, error)
        if delay is None or not self._try_again(pending, delay):
            self.settle(pending, error)

    def _try_again(self, pending: PendingResponse, delay: float) -> bool:
        """Queue the request anew, after a delay; false when the deadline or the retry budget forbids it."""
        if monotonic() + delay >= pending._deadline or not self._engine.may_retry():
            return False
        timer = self._engine.hub.loop.timer(delay)
        self._aside[pending] = timer
        pending._holder = _Aside(self, 'backoff')
        timer.start(self._back, pending)
        return True

    def _back(self, pending: PendingResponse) -> None:
        timer = self._aside.pop(pending)
        timer.stop()
        timer.close()
        self._enqueue(pending)

    # -- ends ------------------------------------------------------------------------------------------------------

    def _unfinished(self) -> list[PendingResponse]:
        held = [opening.pending for opening in self._openings] + [conn.pending for conn in self._connections]
        return [pending for pending in (*self._queue, *held, *self._aside)
                if pending is not None and pending._outcome is None]

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        self._engine.check_thread()
        for pending in self._unfinished():
            pending.cancel()
        for connection in list(self._connections):
            if connection.streamed is not None:
                connection.fail(Cancelled('cancelled'))

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        self.cancel()
        if self._owns_engine and not self._engine.closed:
            self._engine.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In the child of a fork: the connections are the parent's, and so are the answers."""
        unfinished = self._unfinished()
        for opening in self._openings:
            opening.stop()
        self._idle.clear()
        self._connections.clear()
        self._openings.clear()
        self._queue.clear()
        self._dropped, self.waiting = 0, None
        for pending in unfinished:
            pending._holder = None
            pending._end(Cancelled('the process was forked; this request is the parent\'s', request=pending.request))
        self._aside.clear()

    @property
    def _forgettable(self) -> bool:
        """Whether nothing is lost with this object."""
        return not (self._connections or self._openings or self._queue or self._aside)

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What became of the requests so far.

        ``queued`` (those waiting to be tried again among them) and ``in_flight`` are requests now; ``done`` (answered
        below 400) and ``failed`` are counts, ``bytes`` the bodies received; ``latency`` has the quantiles ``p50``,
        ``p90`` and ``p99`` of the time from sending to the complete answer, in seconds and within 9 %, ``None``
        before the first answer.
        """
        in_flight = sum(1 for connection in self._connections if not connection.idle)
        opening = sum(1 for opening in self._openings if opening.pending is not None)
        return {'queued': len(self._queue) - self._dropped + opening + len(self._aside), 'in_flight': in_flight,
                'done': self._done, 'failed': self._failed, 'bytes': self._received,
                'latency': {f'p{percent}': self._quantile(percent / 100) for percent in (50, 90, 99)}}

    def _quantile(self, share: float) -> float | None:
        missing = share * sum(self._latencies.values())
        for bucket in sorted(self._latencies):
            missing -= self._latencies[bucket]
            if missing <= 0:
                exponent, part = divmod(bucket - 8, 8)
                return float((part + 8.5) / 16 * 2.0 ** exponent)
        return None

    def __repr__(self) -> str:
        stats = self.stats()
        return (f'<Client {self.origin}: {stats["queued"]} queued, {stats["in_flight"]} in flight, '
                f'{len(self._idle)} idle connections>')


class _Aside:
    """Holds a request that has no slot: it waits to be tried again, or its body is being decoded."""

    __slots__ = ('_client', 'phase')

    def __init__(self, client: Client, phase: str) -> None:
        self._client = client
        self.phase = phase

    def drop(self, pending: PendingResponse) -> Client:
        """Stop the timer or the greenlet."""
        under_way = self._client._aside.pop(pending, None)
        if isinstance(under_way, gevent.Greenlet):
            under_way.kill(block=False)
        elif under_way is not None:
            under_way.stop()
            under_way.close()
        return self._client


def _run_hook(context: contextvars.Context, hook: Any, value: Any) -> None:
    """In a greenlet, in the context of the ``request`` call; what it raises is logged and changes nothing."""
    try:
        context.copy().run(hook, value)         # a copy: another call of the same request may be blocked in it
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:                       # a gevent.Timeout of its own, too
        log.exception('a hook failed')
