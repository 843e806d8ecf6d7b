"""The pool of one origin: its queue, and which request goes over which connection."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from time import monotonic

from gevent.hub import get_hub

from .._log import log
from ..authenticators import Authenticator
from ..call_context import current
from ..errors import Cancelled, Phase
from ..messages import NO_OPTIONS, Origin, Request
from ..tracing import Tracing, tracing
from .connect.name_cache import Counts
from .core import PoolCore
from .figures import Figures, Stats
from .growth import Growth
from .http1.connection import Connection
from .in_flight import InFlight, OnSend
from .pending import NEVER, Batch, Completer, PendingResponse, Redirect, new_pending, timeout_of
from .request_queue import RequestQueue
from .reuse import QUIET_SECONDS
from .settings import Settings
from .slots import OriginSlots
from .spans import begin_span
from .throttle import Throttle

__all__ = ['OriginPool']


class OriginPool:
    """At most ``simultaneous`` requests at a time to one origin, over as many connections.

    :param host: the origin as its caller writes it.
    :param simultaneous: requests in flight at most, or ``AUTO``.
    :param authenticator: a callable ``Request -> Request``, or ``None``.
    :param max_idle: connections that are kept while they are idle, ``None`` for as many as there are.
    :param pool_for: gives the pool of the host that a redirect leads to.
    :param on_send: called with each request that is sent.
    """

    #: As the holder of a queued request.
    phase: Phase = 'queue'
    route = None

    def __init__(
        self,
        core: PoolCore,
        origin: Origin,
        host: str,
        simultaneous: int | str,
        authenticator: Authenticator | None,
        pool_for: Callable[[str], OriginPool],
        max_idle: int | None = None,
        on_send: OnSend | None = None,
    ) -> None:
        settings = core.settings
        self.origin = origin
        self.host = host
        self.settings = settings
        self.authenticator = authenticator
        self.queue: RequestQueue = RequestQueue()
        self.throttle: Throttle = Throttle(
            simultaneous, settings.rate, core.loop, self.catch_up, self.queue.__len__, self._promised, core.now
        )
        self.figures: Figures = Figures()
        self.lookups: Counts = self.figures.lookups
        self.growth: Growth = Growth(self, core, settings.max_idle if max_idle is None else max_idle)
        self.slots: OriginSlots[Connection] = self.growth.slots
        self.in_flight: InFlight = InFlight(self, self.growth, core, on_send)
        self.completion: Completer = self.in_flight.completion
        #: What was asked for last, by those who ask for the same again and again.
        self.last_asked: Request | None = None
        self._core = core
        self.pool_for: Callable[[str], OriginPool] = pool_for
        self._total = settings.clocks.total
        self.tracing: Tracing | None = tracing()
        self._observed = self.in_flight.needs_context or self.tracing is not None

    def _promised(self) -> int:
        return self.growth.promised

    # -- the queue -------------------------------------------------------------------------------------------------

    def submit(self, request: Request, batch: Batch | None, index: int = 0) -> PendingResponse:
        """Send a request, when it is its turn.

        :param batch: what hands its outcome out, at ``index``.
        :raises RuntimeError: in another thread, and when the pool is closed.
        """
        core = self._core
        if get_hub() is not core.hub or core.closed:
            core.refuse()
        core.requests += 1
        pending = new_pending(request, batch, index)
        call_context = current.get()
        total = self._total
        if request.options is not NO_OPTIONS:
            total = _note_options(pending, core.settings, total)
        if self._observed or call_context is not None:
            if self.in_flight.needs_context or call_context is not None:
                pending.context = contextvars.copy_context()
            begin_span(self.tracing, pending, self.origin, call_context)
            if call_context is not None:  # nobody waits for longer than our own caller does
                total = min(total, call_context.remaining)
        if total != NEVER:
            if total <= 0:  # that caller has left
                self.completion.complete(pending, timeout_of(pending, 'total'))
                return pending
            core.clock.watch(pending, monotonic() + total)
        slots = self.slots
        if slots.idle:
            self.enqueue(pending)
        else:
            pending.holder = self
            self.queue.entries.append(pending)
            if slots.queue is None and len(slots.open) + len(slots.connecting) < self.throttle.limit:
                self.growth.grow()
        return pending

    def enqueue(self, pending: PendingResponse) -> None:
        """Send a request over an idle connection, or queue it."""
        throttle, slots = self.throttle, self.slots
        while slots.idle and throttle.pace is None and not throttle.held_until:
            connection = slots.idle[-1]
            if connection.take():
                slots.take_back(connection)
                if not self.in_flight.start(connection, pending):
                    self.next(connection)
                return
        pending.holder = self
        self.queue.entries.append(pending)
        if slots.idle:  # those that came before it have the first right to the rate
            self.catch_up()
        elif slots.used < throttle.limit and slots.queue is None:
            self.growth.grow()

    def enqueue_later(self, pending: PendingResponse) -> None:
        """Queue from within a transition: a connection that is about to be free takes it, or the next turn grows."""
        pending.holder = self
        self.queue.entries.append(pending)
        self._core.hub.loop.run_callback(self.catch_up)

    def send_elsewhere(self, pending: PendingResponse, redirect: Redirect) -> None:
        """Send something else instead, over a slot of the origin that it is for."""
        pool = self.pool_for(redirect.request.host)
        log.debug('%s: on to %s', self.origin, pool.origin)  # a query may hold a secret
        pending.redirect = redirect
        pool.enqueue_later(pending)

    def put_back(self, pending: PendingResponse) -> None:
        """A request could not be sent after all, and is the next."""
        pending.holder = self
        self.queue.entries.appendleft(pending)

    def drop(self, pending: PendingResponse) -> Completer:
        """A queued request was cancelled; it is skipped when its turn comes."""
        self.queue.drop(pending)
        if not self.queue:
            self.throttle.silence()
            self.slots.trim()  # one may have been held for it, above those that are kept
        return self.completion

    def catch_up(self) -> None:
        """Give what waits to connections that are idle, or open some."""
        slots = self.slots
        while slots.idle and self.queue and self.throttle.may_send():
            connection = slots.idle[-1]
            if connection.take():
                slots.take_back(connection)
                self.next(connection)
        if slots.queue is None and not slots.idle:
            self.growth.grow()
        elif not self.queue:
            slots.trim()  # one may have been held for what was sent over another

    # -- connections -----------------------------------------------------------------------------------------------

    def next(self, connection: Connection) -> None:
        """A connection is free: give it the next request, or let it rest; a closed one makes room for another."""
        slots, in_flight = self.slots, self.in_flight
        while connection.state != 'closed':
            pending = self.queue.pop() if self.queue.entries and self.throttle.may_send() else None
            if self._gives_up(connection, pending):
                if pending is not None:
                    self.queue.entries.appendleft(pending)
                slot = slots.close(connection)
                if self.growth.wants_more():
                    slots.enlist()
                slot.release()
                return
            if pending is None and not self.throttle.paused:
                pending = self.growth.steal()
            if pending is None:
                slots.rest(connection)
                return
            if in_flight.start(connection, pending):
                return
        if connection in slots.open:
            if connection.usage.served > 1:  # it said so: who does may be believed for the rest
                in_flight.reuse.announced()
            slots.remove(connection).release()
        self.growth.grow()

    def _gives_up(self, connection: Connection, pending: PendingResponse | None) -> bool:
        """Whether a connection has to make room: for others, or because there are too many of its origin."""
        ledger = self._core.slots
        if ledger.starved and (pending is None or self.slots.open[connection].turn_is_over):
            return True
        return bool(pending is None and ledger.wants_more) or self.slots.used > self.throttle.limit

    def gone(self, connection: Connection) -> None:
        """A connection closed while it was idle, or after its request was dropped."""
        if connection in self._core.slots.idle:
            self.slots.take_back(connection)
            self.in_flight.gone_idle(connection)
        if connection in self.slots.open:
            self.slots.remove(connection).release()
            self.growth.grow_later()

    def wait_with(self, connection: Connection, pending: PendingResponse) -> None:
        """Let a connection rest until it is clear that the server leaves it open; the request is the next."""
        self.slots.rest(connection, first=True)  # the one that has rested for longest is taken first
        self.put_back(pending)
        now = monotonic()
        # It may have been quiet for long enough by now: somebody has to come back for the request all the same.
        self.throttle.hold(QUIET_SECONDS - max(idle.usage.quiet_for(now) for idle in self.slots.idle))
        if self.throttle.may_send():  # else it has started the timer that comes back
            self._core.hub.loop.run_callback(self.catch_up)

    def end_hold(self) -> None:
        """More is known of the origin: what was held back may go."""
        if self.throttle.held_until:
            self.throttle.held_until = 0.0
            self.growth.grow_later()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What became of the requests so far: see :meth:`napixclient.Client.stats`."""
        slots = self.slots
        waiting = [attempt.phase for attempt in slots.connecting if attempt.pending is not None]
        challenged = waiting.count('authenticate')
        queued = len(self.queue) + len(waiting) - challenged + len(self.in_flight.completion.deferred)
        return self.figures.stats(queued, len(slots.open) - len(slots.idle) + challenged, self.throttle.limit)

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        self._core.check_thread()
        for pending in _unfinished(self):
            pending.cancel()
        for connection in list(self.slots.open):
            if connection.streamed is not None:
                connection.fail(Cancelled('cancelled'))

    def forked(self) -> None:
        """In the child of a fork: the connections are the parent's, and so are the answers."""
        unfinished = _unfinished(self)
        for dial in self.slots.connecting:
            dial.stop()
        connections = list(self.slots.open)
        self.slots.clear()
        self.queue.clear()
        self.throttle.held_until = 0.0
        self.throttle.silence()
        self.in_flight.completion.clear()
        for pending in unfinished:
            pending.holder = None
            pending.end(Cancelled("the process was forked; this request is the parent's", request=pending.request))
        for connection in connections:
            connection.leave_to_parent()

    @property
    def forgettable(self) -> bool:
        """Whether nothing is lost with this object."""
        return not (self.slots.used or self.queue or self.in_flight.completion.deferred) and self.throttle.at_rest


def _unfinished(pool: OriginPool) -> list[PendingResponse]:
    """All requests to the origin that have no outcome."""
    connecting = [dial.pending for dial in pool.slots.connecting]
    carried = [connection.pending for connection in pool.slots.open]
    return [
        pending
        for pending in (*pool.queue.entries, *connecting, *carried, *pool.in_flight.completion.deferred)
        if pending is not None and pending.outcome is None
    ]


def _note_options(pending: PendingResponse, settings: Settings, total: float) -> float:
    """Note what a request sets for itself; its total time.

    :param total: that of the pool.
    """
    options = pending.asked.options
    if options.retry_on is not None:
        pending.context = contextvars.copy_context()
    return total if options.timeout is None else settings.clocks_of(options.timeout).total
