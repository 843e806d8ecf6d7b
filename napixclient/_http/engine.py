"""What all connections of a pool share: the caps, the clocks, the turns, the retry budget, and the fork.

Nothing here does I/O: it decides, and tells clients and connections what to do. Imports messages and errors.
"""

from __future__ import annotations

import logging
import os
import resource
import weakref
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.hub import get_hub

from ..errors import Cancelled, ConnectTimeout, HTTPError, ReadTimeout
from ..messages import Origin
from .connection import Connection
from .opening import Opener, connect_error, dial
from .pending import NEVER, Outcome, PendingResponse, timeout_of
from .settings import Settings

__all__ = ['Applicant', 'Engine', 'Opening']

log = logging.getLogger('napixclient')

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


class Applicant(Protocol):
    """A client, as the engine sees it."""

    origin: Origin
    #: The queue for a place in which it stands.
    waiting: deque[Any] | None

    @property
    def served(self) -> bool:
        """Whether it has a connection, or one is being opened."""

    def open_one(self) -> bool:
        """Use one more place in the pool, which is free, if it is still of use; whether it was."""

    def wants_more(self) -> bool:
        """Whether one more connection would be of use."""

    def opened(self, opening: Opening, sock: Any) -> None:
        """The connection is open."""

    def not_opened(self, opening: Opening, error: HTTPError) -> None:
        """It could not be opened; its place is free again."""

    def settle(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome of a request."""

    def evict(self, connection: Connection) -> None:
        """Close an idle connection; its place is free again."""

    def forked(self) -> None:
        """In the child of a fork: forget every connection; what was pending is cancelled."""


class Engine:
    """Shared by the clients of one pool; belongs to the hub, and so to the thread, that made it."""

    def __init__(self, settings: Settings) -> None:
        self.hub = get_hub()
        self.settings = settings
        self.opener = Opener(settings)
        self.max_connections = settings.max_connections or default_max_connections()
        self.cap = self.max_connections         # lower for a while after the process ran out of descriptors
        self.places = 0                         # connections open or being opened
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, float] = {}     # since when; the least recently used first
        self.waiting: deque[Applicant] = deque()    # who has no connection and gets no place for one
        self.hopeful: deque[Applicant] = deque()    # who would like one more
        self.clients: weakref.WeakSet[Any] = weakref.WeakSet()
        self.requests = 0                       # asked for so far: what the retry budget is a share of
        self.closed = False
        self.sweeping = False
        self.dialling: set[Opening] = set()         # those of the openings that need no greenlet
        self._opening = 0
        self._parked: deque[Opening] = deque()
        self._deadlines: list[tuple[float, int, PendingResponse]] = []
        self._numbers = count()
        self._compact_at = 1024
        self._spent_at, self._saved, self._seen = monotonic(), 10.0, 0
        self.reapers: list[Callable[[], object]] = []
        tick, reap = _weakly(self, 'sweep'), _weakly(self, 'reap')
        self._sweeper: Any = self.hub.loop.timer(SWEEP_SECONDS, SWEEP_SECONDS, ref=False)
        self._reaper: Any = self.hub.loop.timer(REAP_SECONDS, REAP_SECONDS, ref=False)
        self._tick, self._reap = tick, reap
        _engines.add(self)

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
        while self.places < self.cap and (self.waiting or self.hopeful):
            queue = self.waiting or self.hopeful
            client = queue.popleft()
            if client.waiting is not queue:
                continue                        # it lost its connections meanwhile, and stands in the other queue
            client.waiting = None
            if client.open_one() and client.wants_more():
                self.enlist(client)

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

    def lower_cap(self) -> bool:
        """The process has no descriptors left; false when giving some back is not in our hands."""
        others = self.places - 1
        if others < 1:
            return False
        self.cap = min(self.cap, others)
        self.start_sweeping()
        if not self._reaper.active:
            self._reaper.start(self._reap)
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
        if len(heap) >= self._compact_at:       # most are over by now: forget them, or millions pile up
            heap[:] = [entry for entry in heap if entry[2]._outcome is None or entry[2]._streaming]
            heapify(heap)
            self._compact_at = max(1024, 2 * len(heap))
        heappush(heap, (deadline, next(self._numbers), pending))
        self.start_sweeping()

    def sweep(self) -> None:
        """End what is overdue."""
        now = monotonic()
        busy = False
        overdue = []
        for connection in self.connections:
            if connection.expires != NEVER or connection.pending is not None:
                busy = True
                if connection.expires < now:
                    overdue.append(connection)
        for opening in [opening for opening in self.dialling if opening.expires < now]:
            opening.expire()
        for connection in overdue:
            if connection.expires < now:        # an earlier one's end may have given it another request
                what = 'took' if connection.phase == 'send' else 'sent'
                connection.fail(ReadTimeout(f'the server {what} nothing for {connection.read_seconds:g} s',
                                            phase=connection.phase))
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            pending = heappop(heap)[2]
            if pending._outcome is None or pending._streaming:
                pending._end(timeout_of(pending, 'total'))
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
        budget = self.settings.retry_budget
        if budget is None:
            return True
        share, rate = budget
        now = monotonic()
        self._saved = min(max(rate, 10.0) + share * self.requests,
                          self._saved + share * (self.requests - self._seen) + rate * (now - self._spent_at))
        self._seen, self._spent_at = self.requests, now
        if self._saved < 1:
            return False
        self._saved -= 1
        return True

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is idle and stop the clocks."""
        self.closed = True
        for connection in list(self.idle):
            self._evict(connection)
        for timer in (self._sweeper, self._reaper):
            timer.stop()
            timer.close()

    def __del__(self) -> None:
        # Nobody holds the pool any more, but the loop holds its timers and idle connections. Collected in whatever
        # thread, so they are closed in a turn of the loop.
        if not getattr(self, 'closed', True):
            self.closed = True
            self.hub.loop.run_callback_threadsafe(_close_all, list(self.idle), [self._sweeper, self._reaper])

    def after_fork(self) -> None:
        """In the child: the sockets are the parent's; close them without a word on the wire."""
        if get_hub() is not self.hub:
            return                              # of a thread that the child does not have
        for client in list(self.clients):
            client.forked()
        for connection in list(self.connections):
            connection.leave_to_parent()
        self.connections.clear()
        self.idle.clear()
        self.waiting.clear()
        self.hopeful.clear()
        self._parked.clear()
        self._deadlines.clear()
        self.places = self._opening = 0


class Opening:
    """One connection that is being opened, for one request.

    An address over plain TCP is dialled on the loop itself, at half the price; whatever may block, a name, TLS or a
    resolver of the caller's, has a greenlet.
    """

    __slots__ = ('_client', '_engine', '_greenlet', '_seconds', '_sock', '_watcher', 'expires', 'over', 'pending')

    def __init__(self, engine: Engine, client: Applicant, pending: PendingResponse, seconds: float) -> None:
        self.over = False
        self.pending: PendingResponse | None = pending
        self.expires = NEVER                    # of monotonic(), while it is dialled on the loop
        pending._holder = self
        self._engine = engine
        self._client = client
        self._seconds = seconds
        self._greenlet: Any = None
        self._sock: Any = None
        self._watcher: Any = None

    @property
    def phase(self) -> str:
        """``queue`` until it has begun."""
        return 'queue' if self._greenlet is None and self._sock is None else 'connect'

    def begin(self) -> None:
        """Open, on the loop or in a greenlet."""
        address = self._engine.opener.plain_address(self._client.origin)
        if address is None:
            self._greenlet = gevent.spawn(self._run)
            return
        try:
            self._sock = dial(*address)
        except OSError as exc:
            self._failed(exc)
            return
        self._engine.dialling.add(self)
        self.expires = monotonic() + self._seconds
        self._engine.start_sweeping()
        self._watcher = self._engine.hub.loop.io(self._sock.fileno(), 2)
        self._watcher.start(self._dialled)

    def _dialled(self) -> None:
        """The loop says that the socket is connected, or will never be."""
        failure = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            self._close_socket()
            self._failed(OSError(failure, os.strerror(failure)))
        else:
            self._close_watcher()
            self._finish(self._sock, None)

    def expire(self) -> None:
        """The sweep found that it takes too long."""
        self._close_socket()
        self._finish(None, self._too_late())

    def drop(self, pending: PendingResponse) -> Applicant:
        """Its request was cancelled: nobody needs the connection."""
        self.pending = None
        self.stop()
        self._client.not_opened(self, Cancelled('cancelled'))
        return self._client

    def stop(self) -> None:
        """End it, and close its half-open socket."""
        if not self.over:
            self.over = True
            if self._greenlet is not None:
                self._greenlet.kill(block=False)
                self._engine.landed()
            elif self._sock is not None:
                self._close_socket()
                self._engine.landed()

    def _close_watcher(self) -> None:
        self._engine.dialling.discard(self)
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def _close_socket(self) -> None:
        self._close_watcher()
        self._sock.close()

    def _run(self) -> None:
        """In a greenlet: whatever happens, the client is told."""
        clock = gevent.Timeout(None if self._seconds == NEVER else self._seconds)
        sock: Any = None
        error: BaseException | None = None
        clock.start()
        try:
            sock = self._engine.opener.open(self._client.origin)
        except gevent.GreenletExit as exc:
            error = exc
        except gevent.Timeout as exc:
            error = self._too_late() if exc is clock else exc
        except Exception as exc:
            error = exc
        finally:
            clock.close()
        if self.over:                           # dropped in the very turn in which it was done
            if sock is not None:
                sock.close()
        elif error is None or isinstance(error, HTTPError):
            self._finish(sock, error)
        else:
            self._failed(error)

    def _too_late(self) -> ConnectTimeout:
        return ConnectTimeout(f'not connected within {self._seconds:g} s', phase='connect')

    def _failed(self, cause: BaseException) -> None:
        self._finish(None, connect_error(cause))

    def _finish(self, sock: Any, error: HTTPError | None) -> None:
        self.over = True
        self._engine.landed()
        if error is None:
            log.debug('connected to %s', self._client.origin)
            self._client.opened(self, sock)
        else:
            log.debug('not connected to %s: %s', self._client.origin, error.message)
            self._client.not_opened(self, error)


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


def _weakly(owner: Any, name: str) -> Callable[[], None]:
    """A callback for the loop that does not keep its owner alive."""
    reference = weakref.WeakMethod(getattr(owner, name))

    def call() -> None:
        method = reference()
        if method is not None:
            method()
    return call


def _close_all(connections: list[Connection], timers: list[Any]) -> None:
    for connection in connections:
        connection.close()
    for timer in timers:
        timer.stop()
        timer.close()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.after_fork()
        engine.hub.loop.reinit()


os.register_at_fork(after_in_child=_after_fork)
