"""Identical requests that share one answer."""

from __future__ import annotations

from copy import copy
from typing import Any

from .._http.pending import PendingResponse
from ..errors import HTTPError
from ..journey import current
from ..messages import Request
from .deadline import Deadline
from .flight import Flight
from .replica import Replica
from .resource import Response

__all__ = ['Flights', 'Share']


class Share:
    """One caller's part in a flight of several; used as a :class:`Flight` is."""

    __slots__ = ('_flight', '_request')
    shared = True

    def __init__(self, flight: Flight, request: Request) -> None:
        self._flight = flight
        self._request = request
        flight.users += 1

    @property
    def pending(self) -> PendingResponse:
        """The request that is under way."""
        return self._flight.pending

    @property
    def outcome(self) -> Response | HTTPError:
        """The caller's own copy: what one of them does to it, the others do not see."""
        found = self._flight.outcome
        if isinstance(found, HTTPError):
            return _copied(found, self._request)
        found.request = self._request
        if found._error is not None:
            found._error = _copied(found._error, self._request)
        return found

    def leave(self) -> None:
        """The caller does not wait for it any longer."""
        self._flight.leave()

    def give_up(self) -> None:
        """Another host was faster."""
        self._flight.give_up()

    def account(self) -> None:
        """Learn from its outcome, once."""
        self._flight.account()


def _copied(error: HTTPError, request: Request) -> HTTPError:
    """The same error, of another caller's request."""
    copied = copy(error)
    copied.__cause__, copied._keeps, copied.request = error.__cause__, error._keeps, request
    return copied


class Flights:
    """The GETs that are under way, by what they ask whom."""

    def __init__(self) -> None:
        self._flights: dict[Any, Flight] = {}

    def send(self, replica: Replica, request: Request, deadline: Deadline) -> Share:
        """Join a flight that asks the same, or begin one, which has no clock: each caller has its own."""
        key = replica.host, request.url, request.headers, request.options._replace(timeout=None)
        flight = self._flights.get(key)
        if flight is None or flight.pending.ready() or not flight.users:
            flight = self._flights[key] = self._begin(replica, request, deadline)

            def ended(_: Any) -> None:
                if self._flights.get(key) is flight:
                    del self._flights[key]

            flight.pending.rawlink(ended)
        return Share(flight, request)

    def _begin(self, replica: Replica, request: Request, deadline: Deadline) -> Flight:
        journey = current.get()
        token = None if journey is None else current.set(journey._replace(deadline=float('inf')))
        try:
            return replica.send(request.replace(timeout=deadline.for_shared()), users=0)
        finally:
            if token is not None:
                current.reset(token)
