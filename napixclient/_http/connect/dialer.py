"""Opens connections, so many at a time: on the loop where nothing can block, else in a greenlet with a connector."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.event import Event
from gevent.hub import Hub

from ..._log import log
from ...errors import Cancelled, ConnectTimeout, HTTPError, Phase, ProxyError
from ...messages import Origin, Request
from ..gevent_types import Socket
from ..pending import NEVER, Completer, PendingResponse
from .connector import Connector, connect_error
from .happy_eyeballs import dial
from .name_cache import Counts
from .proxies import Proxy

__all__ = ['Dial', 'DialOwner', 'Dialer']

#: Connections that are being opened at the same time.
MAX_DIALS = 100


class DialOwner(Protocol):
    """Who needs a connection: the pool of an origin."""

    origin: Origin
    #: What was looked up for it.
    lookups: Counts

    @property
    def completion(self) -> Completer:
        """Completes the request that the dial drops."""

    def connected(self, dial: Dial, sock: Socket) -> None:
        """The connection is open."""

    def not_connected(self, dial: Dial, error: HTTPError) -> None:
        """It could not be opened."""


class Dialer:
    """Runs the dials of one pool, at most ``MAX_DIALS`` at a time.

    :param hub: gevent's, of the thread of the pool.
    :param connector: opens what needs a greenlet.
    """

    def __init__(self, hub: Hub, connector: Connector) -> None:
        self.hub = hub
        self.connector = connector
        #: Those that need no greenlet.
        self.on_loop: set[Dial] = set()
        #: Starts the sweep that calls ``expire`` on those that take too long.
        self.start_clock: Callable[[], None] = lambda: None
        self._under_way = 0
        self._parked: deque[Dial] = deque()

    def start_connect(self, dial: Dial) -> None:
        """Begin, or park it while too many others are under way."""
        if self._under_way < MAX_DIALS:
            self._under_way += 1
            dial.begin()
        else:
            self._parked.append(dial)

    def connect_done(self) -> None:
        """A dial that had begun is over, or is no longer one of those under way."""
        self._under_way -= 1
        while self._parked and self._under_way < MAX_DIALS:
            dial = self._parked.popleft()
            if not dial.over:
                self._under_way += 1
                dial.begin()

    def take_turn(self, dial: Dial) -> bool:
        """Whether a dial whose look-up is over may go on; else it is parked, before those that have not begun."""
        if self._under_way < MAX_DIALS:
            self._under_way += 1
            return True
        self._parked.appendleft(dial)
        return False

    def clear(self) -> None:
        """In the child of a fork: what was under way is the parent's."""
        self._parked.clear()
        self._under_way = 0
        self.connector.forget()


class Dial:
    """One connection that is being opened, for one request.

    An address over plain TCP is dialled on the loop itself, at half the cost; whatever may block (a name, a proxy, TLS,
    the caller's own resolver) runs in a greenlet.
    """

    __slots__ = (
        '_owner',
        '_clock',
        '_dialer',
        '_greenlet',
        '_has_turn',
        '_seconds',
        '_sock',
        '_turn',
        '_watcher',
        'expires',
        'name',
        'over',
        'pending',
        'proxy',
    )

    def __init__(self, dialer: Dialer, owner: DialOwner, pending: PendingResponse, seconds: float) -> None:
        self.over: bool = False
        self.pending: PendingResponse | None = pending
        self.expires: float = NEVER  # of monotonic(), while it is dialled on the loop
        self.proxy: Proxy | None = None  # the one that is being talked to
        pending.holder = self
        self._dialer = dialer
        self._owner = owner
        self._seconds = seconds
        self._greenlet: Any = None
        self._sock: Any = None
        self._watcher: Any = None
        self._clock: Any = None
        self.name: str | None = None  # the one that is being looked up
        self._has_turn = False  # whether it is one of those that may be opened at the same time
        self._turn: Event | None = None

    @property
    def phase(self) -> Phase:
        """``queue`` until it has begun."""
        return 'queue' if self._greenlet is None and self._sock is None else 'connect'

    def begin(self) -> None:
        """Open, on the loop or in a greenlet; or go on, after a look-up."""
        self._has_turn = True
        if self._turn is not None:
            self._turn.set()
            return
        address = self._dialer.connector.plain_address(self._owner.origin)
        if address is None:
            self._greenlet = gevent.spawn(self._run)
            self._greenlet.rawlink(self._ended)
            return
        try:
            self._sock = dial(*address)
        except OSError as exc:
            self._failed(exc)
            return
        self._dialer.on_loop.add(self)
        self.expires = monotonic() + self._seconds
        self._dialer.start_clock()
        self._watcher = self._dialer.hub.loop.io(self._sock.fileno(), 2)
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

    @property
    def request(self) -> Request | None:
        """The request that it is for."""
        return None if self.pending is None else self.pending.request

    def drop(self, pending: PendingResponse) -> Completer:
        """Its request was cancelled: nobody needs the connection."""
        self.pending = None
        self.stop()
        self._owner.not_connected(self, Cancelled('cancelled'))
        return self._owner.completion

    def stop(self) -> None:
        """End it, and close its half-open socket."""
        if not self.over:
            self.over = True
            if self._greenlet is not None:
                self._greenlet.kill(block=False)
            elif self._sock is not None:
                self._close_socket()
            self._release_turn()

    def _release_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._dialer.connect_done()

    # A look-up counts as connecting. Only a look-up by the caller's own resolver, which may not support many at once,
    # keeps its turn: names that no server answers for do not keep other connections from being opened.

    @property
    def counts(self) -> Counts:
        """Where its look-ups are counted."""
        return self._owner.lookups

    def lookup_started(self, name: str, takes_turn: bool) -> None:
        """It waits for a look-up from now on; without its turn, unless the look-up takes one."""
        self.name = name
        if not takes_turn:
            self._release_turn()

    def lookup_done(self) -> None:
        """The look-up is over: wait for another turn, while the clock stands still."""
        self.name = None
        if self._has_turn:
            return
        if self._dialer.take_turn(self):
            self._has_turn = True
            return
        left = max(self.expires - monotonic(), 0.0)
        self._clock.close()
        self._turn = Event()
        self._turn.wait()
        self._start_clock(left)

    def _start_clock(self, seconds: float) -> None:
        self.expires = monotonic() + seconds
        self._clock = gevent.Timeout(None if seconds == NEVER else seconds)
        self._clock.start()

    def _close_watcher(self) -> None:
        self._dialer.on_loop.discard(self)
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def _close_socket(self) -> None:
        self._close_watcher()
        self._sock.close()

    def _run(self) -> None:
        """In a greenlet: whatever happens, the owner is told."""
        sock: socket.socket | None = None
        error: BaseException | None = None
        self._start_clock(self._seconds)
        try:
            sock = self._dialer.connector.open(self._owner.origin, self)
        except gevent.Timeout as exc:
            error = self._too_late() if exc is self._clock else exc
        except BaseException as exc:
            error = exc
        finally:
            self._clock.close()
        if self.over:  # dropped in the very turn in which it was done
            if sock is not None:
                sock.close()
        elif error is None or isinstance(error, HTTPError):
            self._finish(sock, error)
        else:
            self._failed(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error  # the program's business

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        """The greenlet ended: one that somebody killed before it began has told nobody."""
        if not self.over:
            cause: Any = greenlet.exception or greenlet.value
            self._failed(cause)

    def _too_late(self) -> HTTPError:
        within = f'within {self._seconds:g} s'
        lookup = self.name and f'the look-up of {self.name} did not end {within}{self._dialer.connector.names.crowd()}'
        if self.proxy is not None:
            why = f': {lookup}' if lookup else f' did not let us through {within}'
            return ProxyError(f'the proxy {self.proxy}{why}', phase='connect')
        return ConnectTimeout(lookup or f'not connected {within}', phase='connect')

    def _failed(self, cause: BaseException) -> None:
        self._finish(None, connect_error(cause))

    def _finish(self, sock: Any, error: HTTPError | None) -> None:
        self.over = True
        self._release_turn()
        if error is None:
            log.debug('connected to %s', self._owner.origin)
            self._owner.connected(self, sock)
        else:
            log.debug('not connected to %s: %s', self._owner.origin, error.message)
            self._owner.not_connected(self, error)
