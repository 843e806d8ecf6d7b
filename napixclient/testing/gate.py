"""Holds requests, and counts those in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic

import gevent

from .peer import AnyServer, Received

__all__ = ['Gate', 'LONG', 'wait_until']

#: Seconds to wait for a condition before it is an error.
LONG = 10.0


def wait_until(condition: Callable[[], object], what: str = 'it', seconds: float = LONG) -> None:
    """Let other greenlets run until a condition is true, so that a test never sleeps to win a race.

    :param condition: called again and again.
    :param what: names the condition in the error.
    :param seconds: how long to wait.
    :raises AssertionError: if it is still false then.
    """
    end = monotonic() + seconds
    while not condition():
        if monotonic() > end:
            raise AssertionError(f'{what} did not come true within {seconds:g} s')
        gevent.sleep(0.001)


class Gate:
    """Holds requests at servers until it is opened, and counts the requests in flight as these servers see them.

    A request is in flight from when the server has read it until its answer was handed to the kernel or the connection
    is closed. So a test sees from the outside what a client does: *never more than two at a time* is
    ``gate.peak <= 2``. Several servers may share a gate.

    :param opened: whether the gate is open from the start, and only counts.
    """

    def __init__(self, opened: bool = False) -> None:
        #: Whether requests pass without being held.
        self.opened: bool = opened
        #: How many requests have arrived so far.
        self.arrived: int = 0
        #: The most requests that were ever in flight together.
        self.peak: int = 0
        #: The peak at each server, by its port.
        self.peaks: Counter[int] = Counter()
        self._in_flight: dict[Received, None] = {}

    def requests(self, server: AnyServer | None = None) -> list[Received]:
        """The requests in flight now, at one server or at all, oldest first.

        Requests whose client has closed the connection do not count any more.
        """
        for request in list(self._in_flight):
            if request.peer.is_gone():
                self.leave(request)
                request.release([])
        return [request for request in self._in_flight if server in (None, request.peer.server)]

    def held(self, server: AnyServer | None = None) -> list[Received]:
        """The requests held now, at one server or at all, oldest first; :meth:`Received.release` lets one go."""
        return [request for request in self.requests(server) if not request.released]

    @property
    def in_flight(self) -> int:
        """The number of requests in flight now."""
        return len(self.requests())

    def wait_for(self, count: int, server: AnyServer | None = None, *, seconds: float = LONG) -> list[Received]:
        """Wait until so many requests are held, at one server or at all, and return them.

        :param seconds: how long to wait.
        :raises AssertionError: if fewer are held after that time.
        """
        wait_until(lambda: len(self.held(server)) >= count, f'{count} held requests', seconds)
        return self.held(server)

    def open(self) -> None:
        """Release all requests, and let later ones pass."""
        self.opened = True
        for request in self.held():
            request.release()

    def shut(self) -> None:
        """Hold the requests that arrive from now on."""
        self.opened = False

    def enter(self, request: Received) -> None:
        """Count a request that has arrived; called by the server."""
        server = request.peer.server
        self._in_flight[request] = None
        now = self.requests()
        self.arrived += 1
        self.peak = max(self.peak, len(now))
        self.peaks[server.port] = max(self.peaks[server.port], sum(one.peer.server is server for one in now))
        if self.opened:
            request.release()

    def leave(self, request: Received) -> None:
        """A request is no longer in flight; called by the server."""
        self._in_flight.pop(request, None)

    def __repr__(self) -> str:
        return f'<Gate {"open" if self.opened else "shut"}, {len(self._in_flight)} in flight, peak {self.peak}>'
