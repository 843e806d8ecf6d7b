"""Waits for several flights at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gevent.hub import Waiter

from .._http.pending import pause
from .flight import Flight
from .sharing import Share

__all__ = ['Landing']


class Landing:
    """Hands out flights as they end, to one greenlet that waits."""

    def __init__(self) -> None:
        self._ended: deque[Flight | Share] = deque()
        self._waiter: Waiter[object] | None = None
        self._links: dict[Flight | Share, Callable[[object], None]] = {}

    def add(self, flight: Flight | Share) -> None:
        """Wait for this flight too."""

        def ended(_: object) -> None:
            self._ended.append(flight)
            if self._waiter is not None:
                self._waiter.switch(None)

        self._links[flight] = ended
        flight.pending.rawlink(ended)

    def wait(self, until: float | None) -> Flight | Share | None:
        """Block until a flight has ended, and return it; ``None`` if ``monotonic()`` reaches ``until`` first."""
        while not self._ended:
            self._waiter = Waiter()
            try:
                if not pause(self._waiter, until):
                    return None
            finally:
                self._waiter = None
        flight = self._ended.popleft()
        del self._links[flight]
        return flight

    def __len__(self) -> int:
        return len(self._links)

    @property
    def flights(self) -> list[Flight | Share]:
        """The flights that were not handed out."""
        return list(self._links)

    def leave(self, slow: Flight | Share | None = None) -> None:
        """Stop waiting for the flights that were not handed out.

        :param slow: the flight that is given up because it was slow.
        """
        links, self._links = self._links, {}
        for flight, ended in links.items():
            flight.pending.unlink(ended)
            if flight is slow:
                flight.give_up()
            else:
                flight.leave()
