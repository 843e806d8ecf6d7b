"""One origin: which request goes over which connection, and when one is opened or given up.

What becomes of answers and failures is the client's own business.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import deque
from time import monotonic
from typing import Any

from ..errors import HTTPError
from ..messages import Origin
from .connect.connector import NoPlace
from .connect.dialer import Opening
from .connect.names import Counts
from .engine import Engine
from .http1.connection import Connection
from .http1.wire import ResponseReader
from .pending import PendingResponse
from .queueing import SHORTEST_WAIT
from .reuse import QUIET_SECONDS, Verdict
from .sending import Sender

__all__ = ['Dispatcher']


class Dispatcher(Sender):
    """At most ``simultaneous`` requests at a time to one origin, over as many connections."""

    def __init__(self, engine: Engine, origin: Origin, simultaneous: int | str, authenticator: Any, line: Any) -> None:
        super().__init__(engine, origin, simultaneous, authenticator, line)
        self.waiting: deque[Any] | None = None  # the queue for a place in the pool in which it stands
        self._idle: list[Connection] = []
        self._used = monotonic()
        self.lookups = Counts()
        self._weak = weakref.ref(self)
        engine.clients.add(self)

    def _enqueue(self, pending: PendingResponse) -> None:
        while self._idle and self._pace is None and not self._held_until:
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
        if self._idle:  # those that came before it have the first right to the rate
            self._catch_up()
        elif self._in_use < self._simultaneous and self.waiting is None:
            self._widen()

    def _enqueue_later(self, pending: PendingResponse) -> None:
        """Queue from within a transition: a connection that is about to be free takes it, or the next turn widens."""
        pending._holder = self
        self._queue.append(pending)
        self._engine.hub.loop.run_callback(self._catch_up)

    def _catch_up(self) -> None:
        """Give what waits to connections that are idle, or open some."""
        while self._idle and self._waits and self._may_send():
            connection = self._idle[-1]
            if connection.take(self):
                self._idle.pop()
                del self._engine.idle[connection]
                self._next(connection)
        if self.waiting is None and not self._idle:
            self._widen()

    # -- connections -----------------------------------------------------------------------------------------------

    def _widen(self) -> None:
        """Open connections while requests wait, up to the cap of the host and that of the pool."""
        while self.wants_more() and self._engine.acquire(self):
            self._open_next()

    def _widen_later(self) -> None:
        """The same in the next turn of the loop: what waits may be about to end with what has just ended."""
        if self._waits:
            self._engine.hub.loop.run_callback(self._catch_up)

    @property
    def served(self) -> bool:
        """Whether it has a connection, or one is being opened."""
        return bool(self._connections or self._openings)

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""
        return self._in_use < self._simultaneous and self._waits and self._may_send()

    def open_one(self) -> bool:
        """Use a place in the pool that is free, if it is still of use; whether it was."""
        if not self.wants_more() or not self._engine.acquire(self):
            return False
        self._open_next()
        return True

    def _open_next(self) -> None:
        """Open a connection, in a place that was taken for it, for the next request in the queue."""
        pending = self._pop()
        assert pending is not None  # the queue is longer than its dropped entries
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
        connection = Connection(
            self, self._weak, sock, ResponseReader(settings.max_header_bytes, settings.max_header_fields)
        )
        self._connections.append(connection)
        self._engine.connections.add(connection)
        if self._engine.guard is not None:
            connection.guard(self._engine.guard)
        pending = opening.pending
        if pending is not None and pending._outcome is not None:
            pending = None
        if pending is not None and (self._held_up or self._in_use > self._simultaneous):
            self._put_back(pending)
            pending = None
        if pending is None or not self._start(connection, pending):
            self._next(connection)

    def not_opened(self, opening: Opening, error: HTTPError) -> None:
        """A connection could not be opened: its request fails, or is tried again."""
        if opening in self._openings:
            self._openings.remove(opening)
        pending, opening.pending = opening.pending, None
        if isinstance(error, NoPlace) and pending is not None and self._engine.make_room():
            self._put_back(pending)
            self._engine.enlist(self)
            self._engine.release()
            return
        self._engine.release()
        if pending is not None and pending._outcome is None:
            pending._attempts += 1
            if self._pace is not None:
                self._pace.take()  # it was a try
            self._conclude_failure(pending, error)
        self._widen_later()

    def _next(self, connection: Connection) -> None:
        """A connection is free: give it the next request, or let it rest; a closed one makes room for another."""
        engine = self._engine
        while not connection.closed:
            pending = self._pop() if self._queue and self._may_send() else None
            if (
                (engine.waiting and (pending is None or engine.turn_is_over(connection)))
                or (pending is None and engine.hopeful)
                or self._in_use > self._simultaneous
            ):
                if pending is not None:
                    self._queue.appendleft(pending)
                self._leave(connection)
                if self.wants_more():
                    engine.enlist(self)
                engine.release()
                return
            if pending is None and not self._held_up:
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
            if connection.served > 1:  # it said so: who does may be believed for the rest
                self._reuse.announced()
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
            now = monotonic()
            if connection.served and connection.quiet_for(now) < QUIET_SECONDS and now < connection.ends:
                self._closed_unsaid(connection, False)
        if connection in self._connections:
            self._forget(connection)
            self._engine.release()
            self._widen_later()

    def _follow_cap(self, limit: int) -> None:
        """So many requests may be in flight from now on; what is in flight already is not cut."""
        before, self._simultaneous = self._simultaneous, limit
        if limit > before and self.waiting is None:
            self._widen()
        elif limit < before and self._idle:
            while self._idle and self._in_use > limit:
                del self._engine.idle[self._idle[0]]
                self.evict(self._idle[0])
            self._engine.grant()

    def _note(self, pending: PendingResponse) -> None:
        """What there is to do at each request that is sent."""
        if self._pace is not None:
            self._pace.take()
        if self._hooked:
            self._call_hook(self._settings.on_request, pending, pending._current)

    # -- using connections again -----------------------------------------------------------------------------------

    def _may_reuse(self, connection: Connection, pending: PendingResponse) -> bool:
        """Whether the request is to be sent over this connection; where not, it is taken care of."""
        again = self._resendable(pending, pending._attempts + 1) and pending._current._rereadable
        before = self._reuse.deepest
        verdict = self._reuse.verdict(connection, again, monotonic())
        if self._reuse.deepest > before:
            self._end_hold()
        if verdict is Verdict.GO:
            connection.doubtful = False
            if self._reuse.kept and not self._attentive and not any(one.doubtful for one in self._connections):
                self._noted = False
            return True
        if verdict is Verdict.WAIT and not (self._engine.waiting or self._engine.hopeful):
            self._wait_with(connection, pending)
        else:
            self._leave(connection)
            self._open_for(pending)  # in the place of the old one
        return False

    def _wait_with(self, connection: Connection, pending: PendingResponse) -> None:
        """Let the connection rest until it is clear that the server leaves it open."""
        self._idle.insert(0, connection)  # the one that has rested for longest is taken first
        self._engine.rest(connection)
        self._put_back(pending)
        now = monotonic()
        # It may have been quiet for long enough by now: somebody has to come back for the request all the same.
        self._held_until = now + max(QUIET_SECONDS - max(idle.quiet_for(now) for idle in self._idle), SHORTEST_WAIT)
        if self._may_send():  # else it has started the timer that comes back
            self._engine.hub.loop.run_callback(self._catch_up)

    def _be_doubtful(self, connection: Connection) -> None:
        """The server may close the connection without having read the whole request."""
        connection.doubtful = self._noted = True

    def _closed_unsaid(self, connection: Connection, lost: bool) -> None:
        """The server closed a connection and had not said that it would."""
        self._reuse.closed(connection.served, lost)
        self._noted = True
        self._end_hold()

    def _end_hold(self) -> None:
        """More is known: what was held back may go."""
        if self._held_until:
            self._held_until = 0.0
            self._widen_later()

    # -- the client's business -------------------------------------------------------------------------------------

    @abstractmethod
    def forked(self) -> None:
        """In the child of a fork: forget every connection; what was pending is cancelled."""

    @abstractmethod
    def _resendable(self, pending: PendingResponse, attempt: int) -> bool:
        """Whether the request may be sent once more if the server turns out to have closed the connection."""

    @abstractmethod
    def _conclude_failure(self, pending: PendingResponse, error: HTTPError) -> None:
        """Make a failure the outcome, unless it is to be tried again."""

    @abstractmethod
    def _call_hook(self, hook: Any, pending: PendingResponse, value: Any) -> None:
        """Call a hook of the caller's."""
