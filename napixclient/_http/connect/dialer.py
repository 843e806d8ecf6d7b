"""Opens connections, so many at a time: on the loop where nothing can block, else in a greenlet with a connector."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.event import Event

from ..._log import log
from ...errors import Cancelled, ConnectTimeout, HTTPError, Phase, ProxyError
from ...messages import Origin, Request
from ...peer import Route
from ..gevent_types import Loop, Socket
from ..pending import NEVER, Completer, PendingResponse
from .attempts import Attempts
from .connector import Connector, connect_error
from .happy_eyeballs import Address, LoopConnect, race
from .name_cache import Counts, Lookup
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

    :param loop: gevent's, of the thread of the pool.
    :param connector: opens what needs a greenlet.
    """

    def __init__(self, loop: Loop, connector: Connector) -> None:
        self.loop = loop
        self.connector = connector
        #: Those that need no greenlet.
        self.on_loop: set[Dial] = set()
        #: Starts the sweep that calls ``expire`` on those that take too long.
        self.start_clock: Callable[[], None] = lambda: None
        self._under_way = 0
        self._parked: deque[Dial] = deque()
        self._unparking = False

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
        if self._unparking:
            return  # one that has just begun failed at once, or has a name to look up: the loop below goes on
        self._unparking = True
        try:
            while self._parked and self._under_way < MAX_DIALS:
                dial = self._parked.popleft()
                if not dial.over:
                    self._under_way += 1
                    dial.begin()
        finally:
            self._unparking = False

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

    Over plain TCP it is looked up and dialled on the loop itself, at half the cost. Whatever may block (a name that has
    several addresses, a proxy, TLS, a Unix socket) runs in a greenlet.
    """

    __slots__ = (
        '_owner',
        '_clock',
        '_connect',
        '_dialer',
        '_greenlet',
        '_has_turn',
        '_left',
        '_lookup',
        '_resume',
        '_seconds',
        'attempts',
        'counts',
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
        self.attempts: Attempts = Attempts()
        self.counts: Counts = owner.lookups
        pending.holder = self
        self._dialer = dialer
        self._owner = owner
        self._seconds = self._left = seconds  # for all of it, and what is left of that when it has waited for a turn
        self._lookup: Lookup | None = None
        self._greenlet: Any = None
        self._connect: LoopConnect | None = None
        self._clock: Any = None
        self.name: str | None = None  # the one that is being looked up
        self._has_turn = False  # whether it is one of those that may be opened at the same time
        self._resume: Callable[[], object] | None = None  # goes on, when it has its turn again

    @property
    def phase(self) -> Phase:
        """``queue`` until it has begun."""
        return 'queue' if self._greenlet is None and self._connect is None and self._lookup is None else 'connect'

    @property
    def route(self) -> Route | None:
        """The addresses that were tried so far."""
        return self.attempts.route

    def begin(self) -> None:
        """Open, on the loop or in a greenlet; or go on, after a look-up."""
        self._has_turn = True
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()
            return
        connector, origin = self._dialer.connector, self._owner.origin
        address = connector.plain_address(origin)
        if address is not None:
            self._dial(address)
            return
        self._lookup = connector.look_up(origin, self.counts)
        if self._lookup is None:
            self._run_in_greenlet(lambda: connector.open(origin, self))
        elif self._lookup.over:
            self._looked_up()
        else:
            self.lookup_started(origin.host, connector.names.take_turns)
            self._lookup.links[self._looked_up] = None
            self._start_sweep()

    # -- on the loop -----------------------------------------------------------------------------------------------

    def _start_sweep(self) -> None:
        self.expires = monotonic() + self._left
        self._dialer.on_loop.add(self)
        self._dialer.start_clock()

    def _looked_up(self) -> None:
        """The look-up is over: what it found is dialled, or raced, when there is a turn for it."""
        connector = self._dialer.connector
        if self.over or self._lookup is None:
            return  # in the very turn in which the look-up ended
        self.name = None
        if self.expires != NEVER:  # it had to wait
            self._left, self.expires = max(self.expires - monotonic(), 0.0), NEVER
        try:
            addresses = connector.candidates(self._owner.origin.host, self._lookup.result())
        except Exception as exc:
            self._dialer.on_loop.discard(self)
            self._finish(None, connect_error(exc))
            return

        def go_on() -> None:
            if len(addresses) == 1:
                self._dial(addresses[0])
            else:
                self._dialer.on_loop.discard(self)
                self._run_in_greenlet(lambda: race(addresses, connector.local_end, self.attempts))

        self._has_turn = self._has_turn or self._dialer.take_turn(self)
        if self._has_turn:
            go_on()
        else:
            self._resume = go_on

    def _dial(self, address: Address) -> None:
        local_end = self._dialer.connector.local_end
        try:
            self._connect = LoopConnect(self._dialer.loop, address, local_end, self.attempts, self._dialled)
        except OSError as exc:
            self._dialled(None, exc)
        else:
            self._start_sweep()

    def _dialled(self, sock: Socket | None, failure: OSError | None) -> None:
        self._dialer.on_loop.discard(self)
        self._finish(sock, None if failure is None else connect_error(failure))

    def expire(self) -> None:
        """The sweep found that it takes too long."""
        error = self._too_late()
        self._let_go()
        self._finish(None, error)

    def _let_go(self) -> None:
        """Leave what was begun on the loop: the look-up, and the socket."""
        self._dialer.on_loop.discard(self)
        if self._connect is not None:
            self._connect.close()
        if self.name is not None and self._lookup is not None:
            self._dialer.connector.names.leave(self._lookup, self._looked_up)

    # -- from outside ----------------------------------------------------------------------------------------------

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
            else:
                self._let_go()
            self._release_turn()

    def _release_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._dialer.connect_done()

    # -- in a greenlet ---------------------------------------------------------------------------------------------

    # A look-up counts as connecting. Only a look-up by the caller's own resolver, which may not support many at once,
    # keeps its turn: names that no server answers for do not keep other connections from being opened.

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
        self._left = max(self.expires - monotonic(), 0.0)
        self._clock.close()
        turn = Event()
        self._resume = turn.set
        turn.wait()
        self._start_clock()

    def _start_clock(self) -> None:
        self.expires = monotonic() + self._left
        self._clock = gevent.Timeout(None if self._left == NEVER else self._left)
        self._clock.start()

    def _run_in_greenlet(self, connect: Callable[[], socket.socket]) -> None:
        self._greenlet = gevent.spawn(self._run, connect)
        self._greenlet.rawlink(self._ended)

    def _run(self, connect: Callable[[], socket.socket]) -> None:
        """In a greenlet: whatever happens, the owner is told."""
        sock: socket.socket | None = None
        error: BaseException | None = None
        self._start_clock()
        try:
            sock = connect()
        except gevent.Timeout as exc:
            error = self._too_late() if exc is self._clock else exc
        except BaseException as exc:
            error = exc
        finally:
            self._clock.close()
        if self.over:  # dropped in the very turn in which it was done
            if sock is not None:
                sock.close()
        else:
            self._finish(sock, None if error is None else connect_error(error))
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error  # the program's business

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        """The greenlet ended: one that somebody killed before it began has told nobody."""
        if not self.over:
            cause: Any = greenlet.exception or greenlet.value
            self._finish(None, connect_error(cause))

    def _too_late(self) -> HTTPError:
        within = f'within {self._seconds:g} s'
        lookup = self.name and f'the look-up of {self.name} did not end {within}{self._dialer.connector.names.crowd()}'
        if self.proxy is not None:
            why = f': {lookup}' if lookup else f' did not let us through {within}'
            return ProxyError(f'the proxy {self.proxy}{why}', phase='connect')
        return ConnectTimeout(lookup or f'not connected {within}', phase='connect')

    def _finish(self, sock: Any, error: HTTPError | None) -> None:
        self.over = True
        self._release_turn()
        if error is None:
            log.debug('connected to %s', self._owner.origin)
            self._owner.connected(self, sock)
        else:
            error.route = self.attempts.route
            log.debug('not connected to %s: %s', self._owner.origin, error.message)
            self._owner.not_connected(self, error)
