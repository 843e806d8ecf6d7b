"""What all connections of a pool share: the caps, the clocks, the turns, the retry budget, and the fork.

Nothing here does I/O: it decides, and tells clients and connections what to do.
"""

from __future__ import annotations

import os
import resource
import weakref
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

from gevent.hub import get_hub

from ..errors import ReadTimeout
from .connect.connector import Opener
from .connect.dialer import Applicant, Opening
from .http1.connection import Connection
from .interrupting import hush, unhush
from .pacing import RetryBudget
from .pending import NEVER, PendingResponse, timeout_of
from .settings import Settings

__all__ = ['Engine']

#: Seconds between two sweeps over what is in flight: how late a timeout may be.
SWEEP_SECONDS = 0.05
#: Seconds after which an idle connection is closed, and a client without one is forgotten.
IDLE_SECONDS = 30.0
REAP_SECONDS = 5.0
#: Connections that are being opened at the same time.
MAX_OPENINGS = 100
MAX_CONNECTIONS = 1024
#: A connection serves its client for so long, or so often, while other hosts wait for a place.
TURN_SECONDS = 0.05
TURN_REQUESTS = 4


class Engine:
    """Shared by the clients of one pool; belongs to the hub, and so to the thread, that made it."""

    def __init__(self, settings: Settings) -> None:
        self.hub = get_hub()
        self.settings = settings
        self.opener = Opener(settings)
        self.max_connections = settings.max_connections or default_max_connections()
        self.cap = self.max_connections  # lower for a while after the process ran out of descriptors
        self.places = 0  # connections open or being opened
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, float] = {}  # since when; the least recently used first
        self.waiting: deque[Applicant] = deque()  # who has no connection and gets no place for one
        self.hopeful: deque[Applicant] = deque()  # who would like one more
        self.clients: weakref.WeakSet[Any] = weakref.WeakSet()
        self.requests = 0  # asked for so far: what the retry budget is a share of
        self.closed = False
        self.sweeping = False
        self.dialling: set[Opening] = set()  # those of the openings that need no greenlet
        self._opening = 0
        self._granting = False
        self._parked: deque[Opening] = deque()
        # Held weakly: whoever has an unfinished request in hand holds it, and a finished one holds a whole answer.
        self._deadlines: list[tuple[float, int, weakref.ref[PendingResponse]]] = []
        self._numbers = count()
        self._compact_at = 1024
        budget = settings.retry_budget
        self._budget = None if budget is None else RetryBudget(*budget)
        self.reapers: list[Callable[[], object]] = []
        #: Gives the client of a host, made on first use; held weakly, as it is a method of the pool.
        self.client_of: Callable[[], Callable[[str], Any] | None] = lambda: None
        #: Goes around what writes to the socket of each new connection; it may refuse with an ``OSError``.
        self.guard: Callable[[Callable[[Any], int]], Callable[[Any], int]] | None = None
        tick, reap = _weakly(self, 'sweep'), _weakly(self, 'reap')
        self._sweeper: Any = self.hub.loop.timer(SWEEP_SECONDS, SWEEP_SECONDS, ref=False)
        self._reaper: Any = self.hub.loop.timer(REAP_SECONDS, REAP_SECONDS, ref=False)
        self._tick, self._reap = tick, reap
        _engines.add(self)
        hush(self.hub)

    def check_thread(self) -> None:
        """:raises RuntimeError: when the pool is used from another thread than the one that made it."""
        if get_hub() is not self.hub:
            raise RuntimeError('a pool belongs to the thread that made it; make one in each thread')

    def refuse(self) -> None:
        """:raises RuntimeError: that says why no request can be made: wrong thread, or closed."""
        self.check_thread()
        raise RuntimeError('the pool is closed')

    # -- places ----------------------------------------------------------------------------------------------------

    def acquire(self, client: Applicant) -> bool:
        """Take a place for a connection, if need be that of the least recently used idle one.

        Who gets none is called back, in turn, when one is free.
        """
        if self.places >= self.cap and self.idle:
            self._evict(next(iter(self.idle)))
        if self.places < self.cap:
            self.places += 1
            return True
        self.enlist(client)
        return False

    def enlist(self, client: Applicant) -> None:
        """Have the client called back when there is a place.

        Only a client without any connection makes others give theirs up; one that wants a second takes what is free.
        """
        queue = self.hopeful if client.served else self.waiting
        if client.waiting is None or client.waiting is not queue is self.waiting:
            client.waiting = queue
            queue.append(client)

    def release(self) -> None:
        """A place is free: it goes to whoever has waited longest."""
        self.places -= 1
        self.grant()

    def grant(self) -> None:
        """Give free places out, one to each in turn."""
        if self._granting:
            return  # a connection failed at once: the loop below goes on
        self._granting = True
        try:
            while self.places < self.cap and (self.waiting or self.hopeful):
                queue = self.waiting or self.hopeful
                client = queue.popleft()
                if client.waiting is not queue:
                    continue  # it lost its connections meanwhile, and stands in the other queue
                client.waiting = None
                if client.open_one() and client.wants_more():
                    self.enlist(client)
        finally:
            self._granting = False

    def turn_is_over(self, connection: Connection) -> bool:
        """Whether the connection has to make room for hosts that have none at all."""
        connection.turn += 1
        return connection.turn >= TURN_REQUESTS or monotonic() - connection.since > TURN_SECONDS

    def rest(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        connection.rest()
        self.idle[connection] = monotonic()
        if not self._reaper.active:
            self._reaper.start(self._reap)

    def _evict(self, connection: Connection) -> None:
        del self.idle[connection]
        home = connection.home()
        if home is not None:
            home.evict(connection)

    # -- openings --------------------------------------------------------------------------------------------------

    def launch(self, opening: Opening) -> None:
        """Start opening, or park it while a hundred others are under way."""
        if self._opening < MAX_OPENINGS:
            self._opening += 1
            opening.begin()
        else:
            self._parked.append(opening)

    def landed(self) -> None:
        """An opening that had begun is over."""
        self._opening -= 1
        while self._parked and self._opening < MAX_OPENINGS:
            opening = self._parked.popleft()
            if not opening.over:
                self._opening += 1
                opening.begin()

    def rejoin(self, opening: Opening) -> bool:
        """Whether one whose look-up is over may go on; else it is parked, before those that have not begun."""
        if self._opening < MAX_OPENINGS:
            self._opening += 1
            return True
        self._parked.appendleft(opening)
        return False

    def make_room(self) -> bool:
        """The process has no descriptors left for a connection: give up an idle one, or be content with fewer.

        False when neither helps: no pool of this thread has an idle connection, and this one has none in use either.
        """
        if not self._give_up_idle():
            if self.places <= 1:
                return False
            self.cap = min(self.cap, self.places - 1)
        else:
            self.cap = min(self.cap, self.places)
        if not self._reaper.active:
            self._reaper.start(self._reap)
        return True

    def _give_up_idle(self) -> bool:
        """Close the connection that has been idle for longest, one of our own or else another pool's."""
        if self.idle:
            self._evict(next(iter(self.idle)))
            return True
        others = [engine for engine in _engines if engine.idle and engine.hub is self.hub]
        if not others:
            return False
        oldest = min(others, key=lambda engine: next(iter(engine.idle.values())))
        oldest._evict(next(iter(oldest.idle)))
        return True

    # -- clocks ----------------------------------------------------------------------------------------------------

    def start_sweeping(self) -> None:
        """Look at the clocks from now on; stops by itself when nothing is in flight."""
        if not self.sweeping:
            self.sweeping = True
            self._sweeper.start(self._tick)

    def watch(self, pending: PendingResponse, deadline: float) -> None:
        """End the request when ``monotonic()`` reaches the deadline."""
        pending._deadline = deadline
        heap = self._deadlines
        if len(heap) >= self._compact_at:  # most are over by now: forget them, or millions pile up
            heap[:] = [entry for entry in heap if _unfinished(entry[2])]
            heapify(heap)
            self._compact_at = max(1024, 2 * len(heap))
        heappush(heap, (deadline, next(self._numbers), weakref.ref(pending)))
        if not self._sweeper.ref:
            self._sweeper.ref = True
        self.start_sweeping()

    def sweep(self) -> None:
        """End what is overdue."""
        now = monotonic()
        busy = False
        if self._budget is not None:
            self._budget.mark(self.requests)
        overdue, late = [], []
        for connection in self.connections:
            if connection.expires != NEVER or connection.pending is not None:
                busy = True
                if connection.expires < now:
                    overdue.append(connection)
            if connection.streamed is not None and connection.deadline != NEVER:
                busy = True
                if connection.deadline <= now:
                    late.append(connection)
        for opening in [opening for opening in self.dialling if opening.expires < now]:
            opening.expire()
        for connection in overdue:
            if connection.expires < now:  # an earlier one's end may have given it another request
                what = 'took' if connection.phase == 'send' else 'sent'
                connection.fail(
                    ReadTimeout(f'the server {what} nothing for {connection.read_seconds:g} s', phase=connection.phase)
                )
        for connection in late:
            connection.cut_off()
        heap = self._deadlines
        while heap and (heap[0][0] <= now or not _unfinished(heap[0][2])):
            pending = heappop(heap)[2]()
            if pending is not None and pending._outcome is None:
                pending._end(timeout_of(pending, 'total'))
        # The loop goes on for a deadline that is still to come: it may be all that can end a request that waits for a
        # slot which nothing on the loop is going to free.
        self._sweeper.ref = bool(heap)
        if not busy and not heap and not self.dialling:
            self.sweeping = False
            self._sweeper.stop()

    def reap(self) -> None:
        """Close what has been idle for long, and let the cap recover."""
        limit = monotonic() - IDLE_SECONDS
        for connection, since in list(self.idle.items()):
            if since > limit:
                break
            if connection in self.idle:
                self._evict(connection)
        if self.cap < self.max_connections:
            self.cap = min(self.max_connections, self.cap * 2)
            self.grant()
        remaining = [reaper() for reaper in self.reapers]
        if not self.idle and self.cap == self.max_connections and not any(remaining):
            self._reaper.stop()

    # -- retries ---------------------------------------------------------------------------------------------------

    def may_retry(self) -> bool:
        """Take one retry out of the budget; false when it is empty."""
        return self._budget is None or self._budget.take(self.requests)

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is idle and stop the clocks."""
        self.closed = True
        for connection in list(self.idle):
            self._evict(connection)
        for timer in (self._sweeper, self._reaper):
            timer.stop()
            timer.close()
        unhush(self.hub)

    def __del__(self) -> None:
        # Nobody holds the pool any more, but the loop holds its timers and idle connections. Collected in whatever
        # thread, so they are closed in a turn of the loop.
        if not getattr(self, 'closed', True):
            self.closed = True
            self.hub.loop.run_callback_threadsafe(_close_all, self.hub, list(self.idle), [self._sweeper, self._reaper])

    def after_fork(self) -> None:
        """In the child: the sockets are the parent's; close them without a word on the wire."""
        if get_hub() is not self.hub:
            return  # of a thread that the child does not have
        for client in list(self.clients):
            client.forked()
        for connection in list(self.connections):
            connection.leave_to_parent()
        self.connections.clear()
        self.idle.clear()
        self.waiting.clear()
        self.hopeful.clear()
        self._parked.clear()
        self.opener.names.forget()
        self._deadlines.clear()
        self.places = self._opening = 0


def default_max_connections() -> int:
    """The smaller of 1,024 and three quarters of the descriptors that the process may still open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    try:
        used = len(os.listdir('/dev/fd'))
    except OSError:
        used = 16
    return max(1, min(MAX_CONNECTIONS, (soft - used) * 3 // 4))


def _unfinished(reference: weakref.ref[PendingResponse]) -> bool:
    pending = reference()
    return pending is not None and pending._outcome is None


def _weakly(owner: Any, name: str) -> Callable[[], None]:
    """A callback for the loop that does not keep its owner alive."""
    reference = weakref.WeakMethod(getattr(owner, name))

    def call() -> None:
        method = reference()
        if method is not None:
            method()

    return call


def _close_all(hub: Any, connections: list[Connection], timers: list[Any]) -> None:
    for connection in connections:
        connection.close()
    for timer in timers:
        timer.stop()
        timer.close()
    unhush(hub)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.after_fork()
        engine.hub.loop.reinit()


os.register_at_fork(after_in_child=_after_fork)
