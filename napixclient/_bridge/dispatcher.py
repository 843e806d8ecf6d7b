"""What runs in the hub's thread: makes the requests that callers give, and hands their outcomes out in groups."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import gevent
from gevent.event import Event
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original

from .._http.gevent_types import Loop, Sender
from .._http.origins import Origins
from .._http.pending import Batch
from .._log import log
from ..errors import Cancelled, HTTPError
from ..tracebacks import traceback_of
from .ports import Port, Pull, Ticket

__all__ = ['Dispatcher', 'Entry']

#: What callers give: a request, something to do in a greenlet, or something to do at once.
Entry = Ticket | Pull | partial[None]
_lock: Callable[[], Any] = get_original('_thread', 'allocate_lock')


class Dispatcher:
    """Lives as long as the thread does.

    :param make_origins: makes the pools of the origins, in the thread.
    :param ports: those that there are.
    """

    def __init__(self, make_origins: Callable[[], Origins], ports: Iterable[Port]) -> None:
        self._make_origins = make_origins
        self._ports = ports
        self.origins: Origins | None = None
        self._inbox: deque[Entry] = deque()
        #: Whether the thread is going to look into the inbox anyway.
        self._awake = True
        #: Guards the watcher, which must not be used any more when the loop is gone.
        self._lock = _lock()
        self._watcher: Sender | None = None
        self._changed: Event | None = None
        self._ready: list[Port] = []
        self._greenlets: dict[gevent.Greenlet[..., Any], Pull] = {}
        self._stopping = False
        #: Whether the inbox is not looked into any more.
        self.ended: bool = False

    # -- from any thread ---------------------------------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """Give the thread something to do, and wake it if it sleeps."""
        self._inbox.append(entry)
        if not self._awake:
            self._awake = True
            self._wake()
        if self.ended:
            self._refuse_left()

    def _wake(self) -> None:
        with self._lock:
            if self._watcher is not None:
                self._watcher.send()

    def stop(self) -> None:
        """End the thread, and with it all that is under way."""
        self._stopping = True
        self._wake()

    def _refuse_left(self) -> None:
        """The thread has ended: so does what is still in the inbox."""
        while True:
            try:
                entry = self._inbox.popleft()
            except IndexError:
                return
            if isinstance(entry, Pull):
                entry.refuse()
            elif not isinstance(entry, partial):  # which would concern what has ended
                _refuse(entry)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The thread: until it is stopped."""
        hub = get_hub()
        self._changed = Event()
        try:
            self.origins = self._make_origins()
            watcher = cast(Loop, hub.loop).async_()
            watcher.start(self._changed.set)
            with self._lock:
                self._watcher = watcher
            self._changed.set()  # for what was put meanwhile
            while not self._stopping:
                self._turn()
        finally:
            self._end(hub)

    def _turn(self) -> None:
        assert self._changed is not None
        try:
            self._changed.wait()
            self._changed.clear()
            self._awake = False
            self._drain()
            self._flush()
        except BaseException as exc:  # such as a SystemExit of a hook, which gevent throws in here
            log.error("what was raised in the hub's thread ends no program\n%s", traceback_of(exc))
            self._changed.set()  # for what is left

    def _drain(self) -> None:
        inbox = self._inbox
        for _ in range(len(inbox)):
            entry = inbox.popleft()
            if isinstance(entry, partial):
                entry()
            elif isinstance(entry, Pull):
                self._spawn(entry)
            else:
                self._submit(entry)

    def _submit(self, ticket: Ticket) -> None:
        origins, port, request, context = self.origins, ticket.port, ticket.request, ticket.context
        assert origins is not None and context is not None
        ticket.context = None
        index = port.add(ticket)
        try:
            pool = origins.by_host.get(request.host) or origins.pool_for(request.host)
            pending = context.run(pool.submit, request, port.batch, index)
        except BaseException as exc:  # of a span's sampler, or thrown in
            error = HTTPError(f'the request could not be made: {type(exc).__name__}', request=request)
            error.__cause__ = exc
            del port.tickets[index]
            _deliver(ticket, error)
        else:
            if pending.outcome is None:
                ticket.pending = pending

    def _spawn(self, pull: Pull) -> None:
        greenlet = gevent.Greenlet(pull.run)
        self._greenlets[greenlet] = pull
        greenlet.rawlink(self._pulled)
        greenlet.start()

    def _pulled(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        pull = self._greenlets.pop(greenlet)
        if not greenlet.successful() or isinstance(greenlet.value, gevent.GreenletExit):
            pull.refuse()

    def ready(self, port: Port) -> None:
        """Called in the hub: a port has something to hand on."""
        self._ready.append(port)
        if self._changed is not None:
            self._changed.set()

    def _flush(self) -> None:
        while self._ready:
            self._ready.pop().flush()

    # -- what callers have done in the thread ------------------------------------------------------------------------

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        """End these with :class:`Cancelled`."""
        for pending in _batch_of(tickets).unfinished():
            pending.cancel()

    def cancel_all(self, port: Port) -> None:
        """End all that a port has under way."""
        self.cancel(list(port.tickets.values()))

    def expire(self, tickets: Iterable[Ticket]) -> None:
        """The time to wait for these is up."""
        _batch_of(tickets).expire()

    def drop_unsent(self, tickets: Iterable[Ticket]) -> None:
        """Cancel those of these that have not been sent."""
        _batch_of(tickets).drop_unsent()

    # -- ends --------------------------------------------------------------------------------------------------------

    def _end(self, hub: Hub) -> None:
        try:
            if self.origins is not None:
                self.origins.close()
            gevent.sleep(0)  # whoever reads a streamed answer is told
            self._flush()
            for greenlet, pull in list(self._greenlets.items()):
                greenlet.unlink(self._pulled)
                pull.refuse()
            self._greenlets.clear()
        finally:
            self.ended = True
            self._refuse_left()
            for port in list(self._ports):  # where something has gone wrong
                for ticket in port.forget():
                    _refuse(ticket)
            with self._lock:
                watcher, self._watcher = self._watcher, None
            if watcher is not None:
                watcher.stop()
                watcher.close()
            hub.destroy(destroy_loop=True)

    def forked(self) -> list[Ticket]:
        """In the child, which does not have the thread: let go of its connections; returns what was not yet begun."""
        if self.origins is not None:
            try:
                self.origins.after_fork()
            except Exception as exc:  # the fork may have come in the midst of anything
                log.debug('the connections of a forked pool: %s', traceback_of(exc))
        pulls = [*self._greenlets.values(), *(entry for entry in self._inbox if isinstance(entry, Pull))]
        for pull in pulls:
            pull.refuse()
        return [entry for entry in self._inbox if not isinstance(entry, Pull | partial)]


def _batch_of(tickets: Iterable[Ticket]) -> Batch:
    return Batch([ticket.pending for ticket in tickets])


def _refuse(ticket: Ticket) -> None:
    _deliver(ticket, Cancelled('the pool is closed', request=ticket.request))


def _deliver(ticket: Ticket, outcome: HTTPError) -> None:
    ticket.pending = None
    ticket.port.deliver([(ticket, outcome)])
