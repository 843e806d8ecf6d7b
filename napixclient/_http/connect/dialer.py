"""One connection that is being opened: on the loop where nothing can block, else in a greenlet."""

from __future__ import annotations

import logging
import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent import socket
from gevent.event import Event

from ...errors import Cancelled, ConnectTimeout, HTTPError, ProxyError
from ...messages import Origin
from ..pending import NEVER, Outcome, PendingResponse
from .connector import connect_error
from .happy_eyeballs import dial
from .names import Counts

if TYPE_CHECKING:
    from ..engine import Engine
    from ..http1.connection import Connection
    from .proxies import Proxy

__all__ = ['Applicant', 'Opening', 'log']

log = logging.getLogger('napixclient')
log.addHandler(logging.NullHandler())  # a library is silent unless told


class Applicant(Protocol):
    """A client, as the engine sees it."""

    origin: Origin
    #: The queue for a place in which it stands.
    waiting: deque[Any] | None
    #: What was looked up for it.
    lookups: Counts

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


class Opening:
    """One connection that is being opened, for one request.

    An address over plain TCP is dialled on the loop itself, at half the price; whatever may block, a name, a proxy,
    TLS or a resolver of the caller's, has a greenlet.
    """

    __slots__ = (
        '_client',
        '_clock',
        '_engine',
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

    def __init__(self, engine: Engine, client: Applicant, pending: PendingResponse, seconds: float) -> None:
        self.over = False
        self.pending: PendingResponse | None = pending
        self.expires = NEVER  # of monotonic(), while it is dialled on the loop
        self.proxy: Proxy | None = None  # the one that is being talked to
        pending._holder = self
        self._engine = engine
        self._client = client
        self._seconds = seconds
        self._greenlet: Any = None
        self._sock: Any = None
        self._watcher: Any = None
        self._clock: Any = None
        self.name: str | None = None  # the one that is being looked up
        self._has_turn = False  # whether it is one of those that may be opened at the same time
        self._turn: Any = None

    @property
    def phase(self) -> str:
        """``queue`` until it has begun."""
        return 'queue' if self._greenlet is None and self._sock is None else 'connect'

    def begin(self) -> None:
        """Open, on the loop or in a greenlet; or go on, after a look-up."""
        self._has_turn = True
        if self._turn is not None:
            self._turn.set()
            return
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
            elif self._sock is not None:
                self._close_socket()
            self._give_turn_back()

    def _give_turn_back(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._engine.landed()

    # A look-up counts as connecting. Only those by a resolver of the caller's, which may not bear many at once, take a
    # turn: however many names nobody answers for, others are opened.

    @property
    def counts(self) -> Counts:
        """What is counted for its client."""
        return self._client.lookups

    def look_up(self, name: str, takes_turn: bool) -> None:
        """It waits for a look-up from now on."""
        self.name = name
        if not takes_turn:
            self._give_turn_back()

    def looked_up(self) -> None:
        """The look-up is over: wait for another turn, while the clock stands still."""
        self.name = None
        if self._has_turn:
            return
        if self._engine.rejoin(self):
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
        sock: Any = None
        error: BaseException | None = None
        self._start_clock(self._seconds)
        try:
            sock = self._engine.opener.open(self._client.origin, self)
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

    def _too_late(self) -> HTTPError:
        within = f'within {self._seconds:g} s'
        lookup = self.name and f'the look-up of {self.name} did not end {within}{self._engine.opener.names.crowd()}'
        if self.proxy is not None:
            why = f': {lookup}' if lookup else f' did not let us through {within}'
            return ProxyError(f'the proxy {self.proxy}{why}', phase='connect')
        return ConnectTimeout(lookup or f'not connected {within}', phase='connect')

    def _failed(self, cause: BaseException) -> None:
        self._finish(None, connect_error(cause))

    def _finish(self, sock: Any, error: HTTPError | None) -> None:
        self.over = True
        self._give_turn_back()
        if error is None:
            log.debug('connected to %s', self._client.origin)
            self._client.opened(self, sock)
        else:
            log.debug('not connected to %s: %s', self._client.origin, error.message)
            self._client.not_opened(self, error)
