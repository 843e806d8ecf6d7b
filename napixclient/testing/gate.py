"""What holds requests, and counts what is in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from .peer import Received

if TYPE_CHECKING:
    from .server import Server

__all__ = ['Gate', 'LONG', 'wait_until']

#: Seconds after which what does not come true is an error.
LONG = 10.0


def wait_until(condition: Callable[[], object], what: str = 'it', seconds: float = LONG) -> None:
    """Let the other greenlets run until the condition is true: a test never sleeps to win a race.

    :param condition: called again and again.
    :param what: what the error says did not come true.
    :param seconds: how long to wait for it.
    :raises AssertionError: when it is still false then.
    """
    end = monotonic() + seconds
    while not condition():
        if monotonic() > end:
            raise AssertionError(f'{what} did not come true within {seconds:g} s')
        gevent.sleep(0.001)


class Gate:
    """Holds requests at servers until it is opened, and counts what is in flight as these servers see it.

    A request is in flight from when the server has read it to when its answer has been handed to the kernel, or to
    when the connection is closed. So what a client keeps to is seen from the outside: *never more than two at a time*
    is ``gate.peak <= 2``. One gate may serve several servers.

    :param opened: whether it lets everything through from the start, and only counts.
    """

    def __init__(self, opened: bool = False) -> None:
        #: Whether what arrives is let through.
        self.opened: bool = opened
        #: How many requests have arrived so far.
        self.arrived: int = 0
        #: The most that were ever in flight together.
        self.peak: int = 0
        #: The same for each server, by its port.
        self.peaks: Counter[int] = Counter()
        self._in_flight: dict[Received, None] = {}

    def requests(self, server: Server | None = None) -> list[Received]:
        """What is in flight now (at one server), oldest first.

        The connections that the client has closed are taken note of first.
        """
        for request in list(self._in_flight):
            if request.peer.is_gone():
                self.leave(request)
                request.release([])
        return [request for request in self._in_flight if server in (None, request.peer.server)]

    def held(self, server: Server | None = None) -> list[Received]:
        """What waits to be released now (at one server), oldest first; ``release`` of one lets that one go."""
        return [request for request in self.requests(server) if not request.released]

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return len(self.requests())

    def wait_for(self, count: int, server: Server | None = None, *, seconds: float = LONG) -> list[Received]:
        """Wait until so many requests are held (at one server), and hand them out.

        :param seconds: how long to wait for them.
        :raises AssertionError: when there are fewer after that time.
        """
        wait_until(lambda: len(self.held(server)) >= count, f'{count} held requests', seconds)
        return self.held(server)

    def open(self) -> None:
        """Let everything through, now and later."""
        self.opened = True
        for request in self.held():
            request.release()

    def shut(self) -> None:
        """Hold what arrives from now on."""
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
        """It is no longer in flight; called by the server."""
        self._in_flight.pop(request, None)

    def __repr__(self) -> str:
        return f'<Gate {"open" if self.opened else "shut"}, {len(self._in_flight)} in flight, peak {self.peak}>'
