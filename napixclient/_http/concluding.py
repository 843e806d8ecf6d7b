"""What becomes of an answer or a failure: decoded, tried again, followed elsewhere, or handed out."""

from __future__ import annotations

import contextvars
from abc import abstractmethod
from math import frexp
from time import monotonic
from typing import Any

import gevent
from urllib3 import Retry

from ..errors import (
    BodyTooLarge,
    DeadlineExceeded,
    HTTPError,
    ProtocolError,
    ProxyError,
    ReadTimeout,
    Timeout,
    TLSError,
    traceback_of,
)
from ..masking import mask
from ..messages import Origin, Response
from .connect.dialer import log
from .cookies import keep_cookies, sets_cookies
from .decoding import Decoder
from .dispatch import Dispatcher
from .engine import Engine
from .http1.bodies import StreamedResponse
from .http1.connection import UNSENT, Connection
from .http1.wire import INLINE
from .pending import Hop, Outcome, PendingResponse
from .redirecting import MovedResponse, next_hop, without_expectation
from .retrying import after_failure, after_response

__all__ = ['Concluder', 'stop']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
#: What servers say of requests that they do not read to the end, however small they are.
_REFUSES_UNREAD = frozenset([400, 408, 411, 413, 414, 417, 431])
#: Decoded pieces that are made in the loop itself; a body of more goes on in a greenlet.
_STEPS_AT_ONCE = 4


class Concluder(Dispatcher):
    """Gives each request its one outcome."""

    def __init__(self, engine: Engine, origin: Origin, simultaneous: int | str, authenticator: Any, line: Any) -> None:
        super().__init__(engine, origin, simultaneous, authenticator, line)
        settings = self._settings
        self._retries = settings.retries
        #: Whether an answer that is a success is the outcome, without a further thought.
        self._simple = self._retries is None and not self._hooked and settings.cookies is None
        self._aside: dict[PendingResponse, Any] = {}  # without a slot: a timer, or the greenlet that is busy with it
        self._done = self._failed = self._received = 0
        self._latencies: dict[int, int] = {}

    @abstractmethod
    def _client_for(self, host: str) -> Concluder:
        """Who sends to that host."""

    @abstractmethod
    def _refused(self, response: Response) -> HTTPError:
        """The error that an answer of 400 or above stands for."""

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
            response = _marked(pending, response)
        coding = connection.reader.coding
        if coding is not None and response._payload:
            self._decode(pending, response, coding)
        elif self._simple and response.status < 300 and pending.request._options.retries is None:
            self._done += 1
            pending._finish(response)
        else:
            self._ended(pending, response)
            if response.status >= 400 and _may_be_unread(response.status, pending._current._payload):
                self._be_doubtful(connection)
        if not self._plain:
            self._learn(response)
        # What _next() does, for the case in which there is nothing to think about.
        elif self._queue and not connection.closed and not self._engine.waiting:
            pending = self._queue.popleft()
            if pending._outcome is None:
                self._send(connection, pending, pending.request)
                return
            self._dropped -= 1
        self._next(connection)

    def streaming(self, connection: Connection, pending: PendingResponse, response: StreamedResponse) -> None:
        """The head of a streamed answer is there; the connection stays with its body."""
        if self._cap is not None:
            self._learn(response)
        response.attempts = pending._tries
        if pending._hop is not None:
            response._url = pending._hop.url
        self._ended(pending, response)

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""
        self._received += size

    def streamed(self, connection: Connection) -> None:
        """A streamed body was read to its end."""
        self._next(connection)

    def _ended(self, pending: PendingResponse, response: Response) -> None:
        """The answer is there, decoded: its cookies are kept before anybody sees it."""
        if self._settings.cookies is not None and sets_cookies(response):
            pending._holder = _Aside(self, 'read')
            self._aside[pending] = gevent.spawn(self._keep_cookies, pending, response)
        else:
            self._consider(pending, response)

    def _consider(self, pending: PendingResponse, response: Response) -> None:
        """Make an answer the outcome, unless it is to be tried again."""
        if isinstance(response, StreamedResponse):
            self.settle(pending, response)  # it is being received already
        else:
            self._unless_retried(pending, after_response, response, self._conclude_safely)

    def _conclude_safely(self, pending: PendingResponse, response: Response) -> None:
        """In a callback of the loop: whatever a server may have found to trip us up is that request's failure."""
        try:
            self._conclude(pending, response)
        except Exception as exc:
            error = ProtocolError(
                f'cannot read the answer: {type(exc).__name__}: {exc}', response=response, phase='read'
            )
            error.__cause__ = exc
            if pending._outcome is None:
                self.settle(pending, error)

    def _conclude(self, pending: PendingResponse, response: Response) -> None:
        """Make an answer the outcome, or go where it leads."""
        if response.status == 417 and pending._current._expects and pending._current._repeatable:
            self._go(pending, without_expectation(pending))
            return
        try:
            hop = next_hop(pending, response, self._settings.redirect)
        except ProtocolError as error:
            self.settle(pending, error)
            return
        if hop is not None:
            self._go(pending, hop)
        else:
            self.settle(pending, response if response.status < 400 else self._refused(response))

    def _go(self, pending: PendingResponse, hop: Hop) -> None:
        """Send something else instead, over a slot of the origin that it is for."""
        client = self._client_for(hop.request.host)
        log.debug('%s: on to %s', self.origin, client.origin)  # a query may hold a secret
        pending._hop = hop
        client._enqueue_later(pending)

    def _keep_cookies(self, pending: PendingResponse, response: Response) -> None:
        """In a greenlet: the jar is the caller's, and has a lock."""
        jar: Any = self._settings.cookies
        error: HTTPError | None = None
        try:
            keep_cookies(jar, pending._current, response)
        except BaseException as exc:  # a gevent.Timeout of its own, too
            error = HTTPError(
                f'the cookie jar failed: {type(exc).__name__}: {mask(str(exc))}',
                response=response,
                phase='read',
                elapsed=response.elapsed,
            )
            error.__cause__ = exc
        over = self._aside.pop(pending, None) is None  # cancelled meanwhile
        if isinstance(response, StreamedResponse) and (over or error is not None):
            response.close()  # nobody will read it
        if not over and error is not None:
            self.settle(pending, error)
        elif not over:
            self._consider(pending, response)
        if error is not None and isinstance(error.__cause__, (KeyboardInterrupt, SystemExit)):
            raise error.__cause__  # the program's business

    def settle(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Set the outcome, count it, and tell the hooks."""
        if isinstance(outcome, HTTPError):
            self._failed += 1
            outcome.request = pending.request
            outcome.attempts = max(pending._tries, 1)
            outcome._keeps = self._authenticator, self._settings  # whose secrets its text must not show
            if isinstance(outcome, DeadlineExceeded) and outcome.phase in ('send', 'read'):
                self._learn_of_timeout()
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

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether content codings are undone; never those of a part, which is one of coded bytes (RFC 9110 §14.4)."""
        wanted = pending.request._options.decode
        return status != 206 and (self._settings.decode if wanted is None else wanted)

    def _decode(self, pending: PendingResponse, response: Response, coding: str) -> None:
        """Undo the content coding: here if it is quickly done, else in a greenlet."""
        limit = pending.request._options.max_body
        parts: list[bytes] = []
        try:
            decoder = (
                Decoder(coding, self._max_body if limit is None else limit)
                if self.decodes(pending, response.status)
                else None
            )
            if decoder is None or not decoder.known:
                response._body = response._payload  # it is as it came, and that is no text
                self._ended(pending, response)
                return
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
        self._ended(pending, response)

    def _decode_rest(
        self, pending: PendingResponse, response: Response, decoder: Decoder, steps: Any, parts: list[bytes]
    ) -> None:
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
            self._ended(pending, response)

    def _spoiled(self, pending: PendingResponse, response: Response, error: HTTPError) -> None:
        if response.status >= 400 and not isinstance(error, BodyTooLarge):
            response._payload = b''  # its status tells what there is to tell
            self._ended(pending, response)
            return
        error.phase, error.elapsed = 'read', response.elapsed
        self._conclude_failure(pending, error)

    # -- failures --------------------------------------------------------------------------------------------------

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """A request failed with its connection."""
        self._forget(connection)
        if error.phase == 'authenticate':  # nothing was sent: it was the idle connection that ended
            self._open_for(pending)
            return
        if error.phase == UNSENT:
            pending._attempts -= 1
            self._closed_unsaid(connection, False)
            self._open_for(pending)
            return
        again = False
        if (connection.served or connection.rested) and connection.untouched and isinstance(error, ProtocolError):
            again = self._resendable(pending, pending._attempts)  # most likely it was closed before anything was sent
            if connection.served:
                self._closed_unsaid(connection, not again)
        if again:
            log.debug('%s: the server had closed the connection; sending once more', self.origin)
            self._open_for(pending)  # in the place of the old one, so that it gets a fresh one
            return
        self._engine.release()
        self._conclude_failure(pending, error if self._forwarder is None else self._of_proxy(connection, error))
        self._widen()

    def _of_proxy(self, connection: Connection, error: HTTPError) -> HTTPError:
        """The error of a connection to a proxy that forwards: it is the proxy's where it has never spoken HTTP."""
        proxy = self._forwarder
        if isinstance(error, ReadTimeout):
            error.message = f'{error.message} (by way of the proxy {proxy})'
            return error
        if isinstance(error, TLSError):
            what = ' refused us'
        elif isinstance(error, ProtocolError) and not connection.served and connection.untouched:
            what = ' did not answer in HTTP' if connection.reader.started else ' did not answer'
        else:
            return error
        blamed = ProxyError(f'the proxy {proxy}{what}: {error.message}', phase=error.phase, elapsed=error.elapsed)
        blamed.__cause__ = error
        return blamed

    def _resendable(self, pending: PendingResponse, attempt: int) -> bool:
        """Whether the one free resend applies to this attempt: idempotent, the first, and not forbidden.

        It takes nothing of the retry budget: the server had closed, so it has no more to do for that, and an origin
        that was found to close is asked over fresh connections from then on.
        """
        request = pending._current
        first = 1 if pending._hop is None else pending._hop.sent_before + 1
        return (
            request.method in IDEMPOTENT
            and attempt == first
            and request._repeatable
            and not self._forbids_retries(pending)
        )

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
        if isinstance(error, Timeout):
            self._learn_of_timeout()
        self._unless_retried(pending, after_failure, error, self.settle)

    def _unless_retried(self, pending: PendingResponse, when: Any, last: Any, conclude: Any) -> None:
        """Try again if ``retries`` says so, else conclude with the last answer or failure."""
        retries = self._retries_of(pending)
        if retries is None:
            conclude(pending, last)
        elif type(retries) is Retry:
            self._ask_retries(pending, when, last, conclude)
        else:  # a class of the caller's own: it may block
            pending._holder = _Aside(self, 'backoff')
            self._aside[pending] = gevent.spawn(self._ask_retries, pending, when, last, conclude)

    def _ask_retries(self, pending: PendingResponse, when: Any, last: Any, conclude: Any) -> None:
        delay = None
        interrupt: BaseException | None = None
        try:
            delay = when(self._retries_of(pending), pending, last)
        except BaseException as exc:
            interrupt = exc if isinstance(exc, (KeyboardInterrupt, SystemExit)) else None
            last = HTTPError(f'retries failed: {type(exc).__name__}: {mask(str(exc))}', phase='backoff')
            conclude = self.settle
            last.__cause__ = exc
        self._aside.pop(pending, None)
        if pending._outcome is None and (delay is None or not self._try_again(pending, delay)):
            conclude(pending, last)
        if interrupt is not None:
            raise interrupt  # the program's business

    def _try_again(self, pending: PendingResponse, delay: float) -> bool:
        """Queue the request anew, after a delay; false when the deadline or the retry budget forbids it."""
        if monotonic() + delay >= pending._deadline or not self._engine.may_retry():
            return False
        timer = self._engine.hub.loop.timer(delay)
        self._aside[pending] = timer
        pending._holder = _Aside(self, 'backoff')
        timer.start(self._back, pending, update=True)  # the loop's own time may be that of long ago
        return True

    def _back(self, pending: PendingResponse) -> None:
        timer = self._aside.pop(pending)
        timer.stop()
        timer.close()
        self._enqueue(pending)


class _Aside:
    """Holds a request that has no slot: it waits to be tried again, its body is being decoded, its cookies kept."""

    __slots__ = ('_client', 'phase')

    def __init__(self, client: Concluder, phase: str) -> None:
        self._client = client
        self.phase = phase

    def drop(self, pending: PendingResponse) -> Concluder:
        """Stop the timer or the greenlet."""
        stop(self._client._aside.pop(pending, None))
        return self._client


def _may_be_unread(status: int, payload: Any) -> bool:
    """Whether a server that answers so may not have read the body, and may close the connection for that."""
    if payload is None:
        return False
    return status in _REFUSES_UNREAD or not isinstance(payload, bytes) or len(payload) > INLINE


def stop(under_way: Any) -> None:
    """End the timer of a back-off, or the greenlet that decodes."""
    if isinstance(under_way, gevent.Greenlet):
        under_way.kill(block=False)
    elif under_way is not None:
        under_way.stop()
        under_way.close()


def _marked(pending: PendingResponse, response: Response) -> Response:
    """The answer to something that was not sent once only."""
    response.attempts = pending._tries
    return response if pending._hop is None else MovedResponse(response, pending._hop.url)


def _run_hook(context: contextvars.Context, hook: Any, value: Any) -> None:
    """In a greenlet, in the context of the ``request`` call; what it raises is logged and changes nothing."""
    try:
        context.copy().run(hook, value)  # a copy: another call of the same request may be blocked in it
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # a gevent.Timeout of its own, too
        log.error('a hook failed\n%s', traceback_of(exc))
