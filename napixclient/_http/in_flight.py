"""The requests of one origin that are in flight: has them signed and sent, and takes their answers and failures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Protocol

from .._log import log
from ..authenticators import Authenticator
from ..call_context import current
from ..errors import HTTPError, ProtocolError, ProxyError, ReadTimeout, Timeout, TLSError
from ..histogram import BOUNDS
from ..messages import NO_OPTIONS, Origin, Request, Response, Source
from ..tracing import Tracing
from .answering import Answering
from .completion import Completion, call_hook
from .connect.proxies import Proxy
from .continuation import Continuation
from .core import PoolCore
from .figures import Figures
from .http1.connection import Connection
from .http1.writer import INLINE
from .outcomes import Again, Outcomes
from .pending import PendingResponse, Redirect
from .preparer import Preparer
from .request_queue import RequestQueue
from .reuse import QUIET_SECONDS, Fitness, Reuse
from .settings import MAX_BODY
from .signing import Signing
from .slots import OriginSlots, Slot
from .spans import begin_span
from .streaming import StreamedResponse
from .throttle import Throttle

__all__ = ['InFlight', 'OnSend']

#: What servers say of requests that they do not read to the end, however small they are.
_REFUSES_UNREAD = frozenset([400, 408, 411, 413, 414, 417, 431])


#: Called with each request that is sent.
OnSend = Callable[[PendingResponse], None]


class Growing(Protocol):
    """What opens connections."""

    slots: OriginSlots[Connection]

    def connect(self, pending: PendingResponse, slot: Slot[Connection]) -> None:
        """Open a connection in a slot, for a request."""

    def grow(self) -> None:
        """Open connections while requests wait."""

    def learn(self, response: Response) -> None:
        """Adapt to what an answer shows of how much the origin can take."""

    def timed_out(self) -> None:
        """A request was not answered in time."""


class Pool(Protocol):
    """The pool of the origin: where connections come from, and go back to."""

    origin: Origin
    authenticator: Authenticator | None
    in_flight: InFlight
    queue: RequestQueue
    throttle: Throttle
    figures: Figures
    tracing: Tracing | None

    @property
    def pool_for(self) -> Callable[[str], Pool]:
        """Gives the pool of another host."""

    def enqueue(self, pending: PendingResponse) -> None:
        """Send a request, when it is its turn."""

    def send_elsewhere(self, pending: PendingResponse, redirect: Redirect) -> None:
        """Send something else instead."""

    def gone(self, connection: Connection) -> None:
        """A connection closed while it was idle, or after its request was dropped."""

    def next(self, connection: Connection) -> None:
        """A connection is free, or closed."""

    def put_back(self, pending: PendingResponse) -> None:
        """A request could not be sent after all, and is the next."""

    def wait_with(self, connection: Connection, pending: PendingResponse) -> None:
        """Let a connection rest until it is clear that the server leaves it open; the request is the next."""

    def end_hold(self) -> None:
        """More is known: what was held back may go."""


class InFlight:
    """What happens to a request from the moment when it has a connection to that when it has an outcome.

    :param pool: the pool of the origin.
    :param growth: opens its connections.
    :param on_send: called with each request that is sent.
    """

    def __init__(self, pool: Pool, growth: Growing, core: PoolCore, on_send: OnSend | None) -> None:
        settings, authenticator = core.settings, pool.authenticator
        proxy = settings.proxy_for(pool.origin)
        self._pool, self._growth = pool, growth
        self._queue, self._slots, self._figures = pool.queue, growth.slots, pool.figures
        self._settings, self._core, self._ledger, self._clock = settings, core, core.slots, core.clock
        self._forwarder = proxy if proxy is not None and proxy.forwards(pool.origin) else None
        self._preparer = Preparer(settings, pool.origin, authenticator, self._forwarder, core.dialer)
        self._outcomes = Outcomes(settings, pool.origin, authenticator, self._forwarder, core.may_retry)
        self._challenges = self._outcomes.challenges
        self.completion: Completion = Completion(
            settings, core.loop, pool, pool.figures, growth.timed_out, (authenticator, settings)
        )
        # Only where there is something to sign: each object that every origin has is one more for the collector.
        self._signing = Signing(pool, self._preparer, self.completion, self.send) if self._preparer.asks else None
        self.reuse: Reuse = Reuse()
        #: Whether to do more at the next request than to send it: until it is known if the origin keeps connections.
        self.noted: bool = True
        self._on_send = on_send
        #: Whether there is more to do at each request than to send it, whatever is known of the origin.
        self._attentive = settings.on_request is not None or pool.throttle.pace is not None or on_send is not None
        hooked = bool(settings.on_request or settings.on_response or settings.on_error)
        #: Whether the requests need the context of their calls.
        self.needs_context: bool = hooked or self._preparer.asks or settings.retry_on is not None
        #: Whether an answer that is a success is the outcome, without a further thought.
        self._simple = (settings.retries, settings.retry_on, settings.cookies) == (None, None, None) and not (
            hooked or self._challenges.informs
        )
        #: Whether a connection that is free may simply take the next request in the queue.
        self._plain = pool.throttle.fixed and not self._preparer.asks
        self._max_body = MAX_BODY if settings.max_body is None else settings.max_body
        self._read_seconds = settings.clocks.read

    # -- sending ---------------------------------------------------------------------------------------------------

    def start(self, connection: Connection, pending: PendingResponse) -> bool:
        """Send a request over a free connection; false when the connection is still free afterwards."""
        if self._signing is None:
            self.send(connection, pending, pending.asked)
            return True
        if self.noted and connection.usage.served and not self._may_reuse(connection, pending):
            return True
        return self._signing.start(connection, pending)

    def send(self, connection: Connection, pending: PendingResponse, request: Request) -> None:
        """Send a request as the authenticator left it; one that adds a single line is asked for it here."""
        if pending.redirect is not None and request is pending.asked:
            request = pending.redirect.request
        if self.noted:
            if connection.usage.served and not self._preparer.asks and not self._may_reuse(connection, pending):
                return
            self._note(pending)
        pending.attempts += 1
        options = pending.asked.options
        read_seconds, max_body, max_streamed = self._read_seconds, self._max_body, self._settings.max_body
        if options is not NO_OPTIONS:
            if options.timeout is not None:
                read_seconds = self._settings.clocks_of(options.timeout).read
            if options.max_body is not None:
                max_body = max_streamed = options.max_body
            if options.stream:
                connection.parser.follows = self._settings.redirect if options.redirect is None else options.redirect
        if not self._clock.running:
            self._clock.start()
        connection.start(pending, request, self._preparer.write(pending, request), read_seconds, max_body, max_streamed)

    def send_after(self, pending: PendingResponse, seconds: float) -> None:
        """Send a request that follows another, after a pause, over a slot of the origin that it is for."""
        pool, context = self._pool.pool_for(pending.request.host), pending.context
        begin_span(pool.tracing, pending, pool.origin, None if context is None else context.get(current))
        pool.in_flight.completion.act(pending, Again(seconds))

    def _note(self, pending: PendingResponse) -> None:
        """What there is to do at each request that is sent."""
        self._pool.throttle.sent()
        if self._settings.on_request is not None:
            call_hook(pending, self._settings.on_request, pending.current)
        if self._on_send is not None:
            self._on_send(pending)

    # -- what connections report -----------------------------------------------------------------------------------

    def answered(
        self, connection: Connection, pending: PendingResponse, response: Response, coding: str | None
    ) -> None:
        """The answer is whole; the connection is free, or closed if it cannot be used again.

        The fast path: the only copy of what is done for a plain answer over a connection that goes on.
        """
        figures = self._figures
        figures.received += len(response.payload)
        figures.latencies.counts[bisect_right(BOUNDS, response.elapsed)] += 1
        options = pending.asked.options
        if (
            self._simple
            and response.status < 300
            and coding is None
            and pending.attempts == 1
            and (options is NO_OPTIONS or (options.retries is None and options.retry_on is None))
        ):
            figures.done += 1
            pending.finish(response)
        elif self._judge(connection, pending, response, coding):
            return  # it is held while a challenge is answered
        if not self._plain:
            self._growth.learn(response)
        elif self._queue.entries and connection.state == 'idle' and not self._ledger.starved:
            following = self._queue.entries.popleft()
            if following.outcome is None:
                self.send(connection, following, following.asked)
                return
            self._queue.dropped -= 1
        self._pool.next(connection)

    def _judge(self, connection: Connection, pending: PendingResponse, response: Response, coding: str | None) -> bool:
        """An answer that is not plain; whether somebody is asked first, who holds the connection meanwhile."""
        response.request = pending.request  # whatever becomes of it, both are about the same one
        pending.last_route = connection.route
        payload = pending.current.payload
        is_challenge = self._challenges.asks and self._challenges.is_challenge(pending, response)
        if is_challenge:
            step = partial(self._outcomes.of_answer, pending, response, coding)
            Answering(self, self._slots, connection, pending, step)
        else:
            self.completion.act(pending, self._outcomes.of_answer(pending, response, coding))
        if response.status >= 400 and payload is not None and _may_be_unread(response.status, payload):
            connection.usage.doubtful = self.noted = True
        return is_challenge

    def send_answer(self, slot: Slot[Connection], connection: Connection | None, pending: PendingResponse) -> None:
        """Send the answer to a challenge, over the connection where that is left; it is no further attempt."""
        pending.attempts -= 1
        if connection is None:
            self._growth.connect(pending, slot)
            return
        slot.refill(connection)
        if not self.start(connection, pending):
            self._pool.next(connection)

    def leave(self, slot: Slot[Connection], connection: Connection | None) -> None:
        """A challenge was not answered: its slot is free, with the connection where that is left."""
        if connection is None:
            slot.release()
            self._growth.grow()
        else:
            slot.refill(connection)
            self._pool.next(connection)

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether the content codings of an answer of that status are undone."""
        return self._outcomes.decodes(pending, status)

    def streaming(self, connection: Connection, pending: PendingResponse, response: StreamedResponse) -> None:
        """The head of a streamed answer is there; the connection stays with its body."""
        if self._pool.throttle.cap is not None:
            self._growth.learn(response)
        response.continuation = Continuation(pending, self._core, self.send_after)
        self.completion.act(pending, self._outcomes.of_streamed(pending, response))

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""
        self._figures.received += size

    def stream_ended(self, connection: Connection) -> None:
        """A streamed body was read to its end; the connection is free, or closed."""
        self._pool.next(connection)

    def unsent(self, connection: Connection, pending: PendingResponse) -> None:
        """The connection, which was used before, is closed; not a byte of the request went out."""
        pending.attempts -= 1
        slot = self._slots.remove(connection)
        self.closed_unannounced(connection, False)
        self._growth.connect(pending, slot)

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """A request failed with its connection."""
        slot = self._slots.remove(connection)
        if error.phase == 'authenticate':  # nothing was sent: it was the idle connection that ended
            self._growth.connect(pending, slot)
            return
        used = connection.usage.served or connection.usage.rested
        if used and connection.parser.untouched and isinstance(error, ProtocolError):
            # Most likely it was closed before anything was sent.
            again = self._outcomes.is_resendable(pending, pending.attempts)
            if error.unprocessed and self._outcomes.may_be_sent_again(pending):  # RFC 9110 §9.2.2: it never arrived
                again = True
                pending.attempts -= 1
            if connection.usage.served:
                self.closed_unannounced(connection, not again)
            if again:
                log.debug('%s: the server had closed the connection; sending once more', self._pool.origin)
                self._growth.connect(pending, slot)
                return
        slot.release()
        self.failed(pending, error if self._forwarder is None else _of_proxy(self._forwarder, connection, error))
        self._growth.grow()

    def gone(self, connection: Connection) -> None:
        """The connection closed while it was idle, or after its request was dropped."""
        self._pool.gone(connection)

    def failed(self, pending: PendingResponse, error: HTTPError) -> None:
        """A request failed: it is tried again, or that is its outcome."""
        if pending.outcome is None:
            pending.last_route = error.route or pending.route
            if isinstance(error, Timeout):
                self._growth.timed_out()
            self.completion.act(pending, self._outcomes.of_failure(pending, error))

    # -- using connections again -----------------------------------------------------------------------------------

    def _may_reuse(self, connection: Connection, pending: PendingResponse) -> bool:
        """Whether the request is to be sent over this connection; where not, it is taken care of."""
        reuse = self.reuse
        again = self._outcomes.is_resendable(pending, pending.attempts + 1) and pending.current.rereadable
        before = reuse.deepest
        fitness = reuse.fitness(connection, again, monotonic())
        if reuse.deepest > before:
            self._pool.end_hold()
        if fitness is Fitness.GO:
            connection.usage.doubtful = False
            if reuse.kept and not any(one.usage.doubtful for one in self._slots.open):
                self.noted = self._attentive
            return True
        if fitness is Fitness.WAIT and not (self._ledger.starved or self._ledger.wants_more):
            self._pool.wait_with(connection, pending)
        else:
            self._growth.connect(pending, self._slots.close(connection))  # in the place of the old one
        return False

    def closed_unannounced(self, connection: Connection, lost: bool) -> None:
        """The server closed a connection without announcing it."""
        self.reuse.closed(connection.usage.served, lost)
        self.noted = True
        self._pool.end_hold()

    def gone_idle(self, connection: Connection) -> None:
        """A connection closed while it was idle."""
        now = monotonic()
        if connection.usage.served and connection.usage.quiet_for(now) < QUIET_SECONDS and now < connection.usage.ends:
            self.closed_unannounced(connection, False)


def _may_be_unread(status: int, payload: bytes | Source) -> bool:
    """Whether a server that answers so may not have read the body, and may close the connection for that."""
    return status in _REFUSES_UNREAD or not isinstance(payload, bytes) or len(payload) > INLINE


def _of_proxy(proxy: Proxy, connection: Connection, error: HTTPError) -> HTTPError:
    """The error of a connection to a proxy that forwards: it is the proxy's where it has never spoken HTTP."""
    if isinstance(error, ReadTimeout):
        error.message = f'{error.message} (by way of the proxy {proxy})'
        return error
    if isinstance(error, TLSError):
        what = ' refused us'
    elif isinstance(error, ProtocolError) and not connection.usage.served and connection.parser.untouched:
        what = ' did not answer in HTTP' if connection.parser.started else ' did not answer'
    else:
        return error
    blamed = ProxyError(f'the proxy {proxy}{what}: {error.message}', phase=error.phase, elapsed=error.elapsed)
    blamed.route, blamed.unprocessed, blamed.__cause__ = error.route, error.unprocessed, error
    return blamed
