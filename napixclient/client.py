"""One host: the queue of its requests, its cap, its connections, and what becomes of each answer and failure.

Imports authenticators, remote, the engine, messages and errors.
"""

from __future__ import annotations

import contextvars
from math import frexp
from time import monotonic
from typing import Any

import gevent
from gevent.hub import get_hub

from ._http.connection import Connection
from ._http.decoding import Decoder
from ._http.dialling import log
from ._http.dispatch import Dispatcher
from ._http.engine import Engine
from ._http.pending import NEVER, Batch, Outcome, PendingResponse, new_pending
from ._http.retrying import after_failure, after_response
from ._http.settings import Settings, whole_number
from .authenticators import Authenticator, OneField, authenticator_of
from .errors import Cancelled, HTTPError, ProtocolError
from .messages import Origin, Request, Response, parse_origin
from .remote import error_of

__all__ = ['Client']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
#: Decoded pieces that are made in the loop itself; a body of more goes on in a greenlet.
_STEPS_AT_ONCE = 4


class Client(Dispatcher):
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
        line = None
        if isinstance(authenticator, OneField) and type(authenticator).__call__ is OneField.__call__:
            line = authenticator._line
        super().__init__(engine, origin, simultaneous, authenticator, line)
        #: The host as it was first written.
        self.host = host
        self._needs_context = self._hooked or self._asks
        self._retries = self._settings.retries
        self._simple = self._retries is None and not self._hooked
        self._total = self._settings.clocks.total
        self._aside: dict[PendingResponse, Any] = {}    # waiting to be tried again, or being decoded
        self._done = self._failed = self._received = 0
        self._latencies: dict[int, int] = {}

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
        for under_way in self._aside.values():
            _stop(under_way)
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
        _stop(self._client._aside.pop(pending, None))
        return self._client


def _stop(under_way: Any) -> None:
    """End the timer of a back-off, or the greenlet that decodes."""
    if isinstance(under_way, gevent.Greenlet):
        under_way.kill(block=False)
    elif under_way is not None:
        under_way.stop()
        under_way.close()


def _run_hook(context: contextvars.Context, hook: Any, value: Any) -> None:
    """In a greenlet, in the context of the ``request`` call; what it raises is logged and changes nothing."""
    try:
        context.copy().run(hook, value)         # a copy: another call of the same request may be blocked in it
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:                       # a gevent.Timeout of its own, too
        log.exception('a hook failed')
