"""The hub's thread as callers hold it: started when it is needed, ended with its pool, started anew after a fork."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from gevent import monkey
from gevent.hub import get_hub
from gevent.monkey import get_original

from .._http.core import PoolCore, default_max_connections
from .._http.figures import Stats
from .._http.origins import Origins
from .._http.settings import Settings
from ..authenticators import Authenticator
from ..errors import Cancelled
from .dispatcher import Dispatcher, Entry
from .ports import Port, Ticket

__all__ = ['HubThread', 'is_patched']

_start_native: Callable[..., int] = get_original('_thread', 'start_new_thread')
_native_ident: Callable[[], int] = get_original('_thread', 'get_ident')
_lock: Callable[[], Any] = get_original('_thread', 'allocate_lock')
#: One that the handler of a signal does not wait for in vain.
_reentrant_lock: Callable[[], Any] = get_original('_thread', 'RLock')
P = TypeVar('P', bound=Port)
#: Seconds that the end of the thread is waited for: a hook may be in the way.
_PATIENCE = 5.0


class HubThread:
    """Owns the thread. Whoever gives it requests holds it; when nobody does any more, the thread ends.

    :param authenticator: a callable ``Request -> Request``, or ``None``.
    """

    def __init__(self, settings: Settings, simultaneous: int | str, authenticator: Authenticator | None) -> None:
        #: Connections at once.
        self.limit: int = settings.max_connections or default_max_connections()
        settings.max_connections = self.limit  # as it was when the pool was made
        self.closed: bool = False
        self._make = partial(_make_origins, settings, simultaneous, authenticator)
        self._lock = _reentrant_lock()
        self._dispatcher: Dispatcher | None = None
        self._thread: _Thread | None = None
        self._ports: weakref.WeakSet[Port] = weakref.WeakSet()
        _all.add(self)

    def add(self, port: P) -> P:
        """Take note of a destination."""
        self._ports.add(port)
        return port

    # -- from any thread ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """:raises RuntimeError: when the pool is closed."""
        if self.closed:
            raise RuntimeError('the pool is closed')

    def check_thread(self) -> None:
        """:raises RuntimeError: in the hub's own thread, which would wait for itself."""
        if self.is_here:
            raise RuntimeError('in the thread of the hub, as in a hook, nothing may wait for an outcome of its pool')

    def put(self, entry: Entry) -> None:
        """Give the thread something to do; it is started if it does not run."""
        dispatcher = self._dispatcher
        if dispatcher is None or (dispatcher.ended and not self.closed):
            dispatcher = self._start()
        dispatcher.put(entry)

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        """End these with :class:`Cancelled`, soon."""
        self._tell(Dispatcher.cancel, tickets)

    def cancel_all(self, port: Port) -> None:
        """End all that a destination has asked for, soon."""
        dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.put(partial(dispatcher.cancel_all, port))

    def expire(self, tickets: Iterable[Ticket]) -> None:
        """End these with a timeout, soon: the time to wait for them is up."""
        self._tell(Dispatcher.expire, tickets)

    def drop_unsent(self, tickets: Iterable[Ticket]) -> None:
        """Cancel those of these that have not been sent, soon."""
        self._tell(Dispatcher.drop_unsent, tickets)

    def _tell(self, what: Callable[[Dispatcher, Iterable[Ticket]], None], tickets: Iterable[Ticket]) -> None:
        dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.put(partial(what, dispatcher, tickets))

    def ready(self, port: Port) -> None:
        """Called in the hub: a port has something to hand on."""
        assert self._dispatcher is not None
        self._dispatcher.ready(port)

    @property
    def is_here(self) -> bool:
        """Whether this is the hub's own thread, which must not wait for itself."""
        return self._thread is not None and self._thread.ident == _native_ident()

    def stats(self) -> dict[str, Stats]:
        """The figures of each host, as they are at this moment."""
        origins = None if self._dispatcher is None else self._dispatcher.origins
        while origins is not None:
            try:
                return {pool.host: pool.stats() for pool in list(origins.pools.values())}
            except RuntimeError:  # something was added to what it looks through: look again
                continue
        return {}

    def __str__(self) -> str:
        stats = self.stats().values()
        origins = None if self._dispatcher is None else self._dispatcher.origins
        used = 0 if origins is None else origins.core.slots.used
        return (
            f'{len(stats)} hosts: {sum(host["queued"] for host in stats)} queued, '
            f'{sum(host["in_flight"] for host in stats)} in flight, {used} of {self.limit} connections'
        )

    # -- the thread --------------------------------------------------------------------------------------------------

    def _start(self) -> Dispatcher:
        with self._lock:
            self.check()
            if self._dispatcher is None or self._dispatcher.ended:
                dispatcher = Dispatcher(self._make, self._ports)
                self._thread = _Thread(dispatcher)
                self._dispatcher = dispatcher
            return self._dispatcher

    def begin_close(self) -> None:
        """End what is under way, and the thread, without waiting for it."""
        with self._lock:
            self.closed = True
            if self._dispatcher is not None:
                self._dispatcher.stop()

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call this when the thread has ended, in that thread or at once."""
        if self._thread is None:
            callback()
        else:
            self._thread.when_ended(callback)

    def close(self) -> None:
        """End what is under way, and wait for the end of the thread."""
        self.begin_close()
        if self._thread is not None and not self.is_here:
            self._thread.join(_PATIENCE)

    def __del__(self) -> None:
        dispatcher = getattr(self, '_dispatcher', None)
        if dispatcher is not None and not self.closed:
            dispatcher.stop()

    def forked(self) -> None:
        """In the child, which does not have the thread: what was under way is the parent's."""
        dispatcher, self._dispatcher, self._thread = self._dispatcher, None, None
        self._lock = _reentrant_lock()
        left = [] if dispatcher is None else dispatcher.forked()
        for port in list(self._ports):
            left += port.forked()
        for ticket in left:
            ticket.pending = None
            ticket.forked()
            ticket.finish(Cancelled("the process was forked; this request is the parent's", request=ticket.request))


class _Thread:
    """The native thread of a dispatcher; a greenlet would be no use, whatever gevent has patched."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.ident: int | None = None
        self._ended = _lock()
        self._ended.acquire()
        self._callbacks: list[Callable[[], object]] | None = []
        self._guard = _lock()
        if not is_patched():
            threading.Thread(target=self._run, args=[dispatcher], name='napixclient-hub', daemon=True).start()
            return
        get_hub()  # before the thread makes its own: both import the same, and gevent's locks need a hub to wait
        begun = _lock()
        begun.acquire()
        _start_native(self._run, (dispatcher, begun.release))
        begun.acquire()

    def _run(self, dispatcher: Dispatcher, begun: Callable[[], object] = int) -> None:
        self.ident = _native_ident()
        try:
            get_hub()
        finally:
            begun()
        try:
            dispatcher.run()
        finally:
            with self._guard:
                callbacks, self._callbacks = self._callbacks or [], None
            for callback in callbacks:
                callback()
            self._ended.release()

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call this at the end of the thread, or now if it has ended."""
        with self._guard:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, for so long."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()


def is_patched() -> bool:
    """Whether gevent has patched threads in this process: they are greenlets then."""
    return bool(monkey.is_module_patched('threading'))


def _make_origins(settings: Settings, simultaneous: int | str, authenticator: Authenticator | None) -> Origins:
    return Origins.of_peers(PoolCore(settings), simultaneous, authenticator)


_all: weakref.WeakSet[HubThread] = weakref.WeakSet()


def _after_fork() -> None:
    for hub in list(_all):
        hub.forked()


def _at_exit() -> None:
    """Threads that are no daemons have ended by now; one that ran on would be stopped in the midst of something."""
    hubs = list(_all)
    for hub in hubs:
        hub.begin_close()
    for hub in hubs:
        hub.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
