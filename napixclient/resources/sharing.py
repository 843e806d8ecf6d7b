"""Identical requests at the same time that share one flight, and so one answer."""

from __future__ import annotations

from .._http.pending import PendingResponse
from ..call_context import current
from ..errors import HTTPError, copy_for
from ..messages import Request
from .deadline import Deadline
from .flight import Flight
from .replica import Replica
from .resource import Response

__all__ = ['Flights', 'Share']


class Share:
    """One caller's share of a flight that several wait for; it is used like a :class:`Flight`."""

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
    def sent(self) -> bool:
        """Whether any of it may have reached the host."""
        return self._flight.sent

    @property
    def outcome(self) -> Response | HTTPError:
        """The caller's own copy: the others do not see what one caller does to it."""
        found = self._flight.outcome
        if isinstance(found, HTTPError):
            return copy_for(found, self._request)
        found.request = self._request
        if found.error is not None:
            found.error = copy_for(found.error, self._request)
        return found

    def leave(self) -> None:
        """The caller stops waiting."""
        self._flight.leave()

    def give_up(self) -> None:
        """Another host was faster."""
        self._flight.give_up()

    def account(self) -> None:
        """Learn from its outcome, once."""
        self._flight.account()


class Flights:
    """The GETs that are under way, by host and request."""

    def __init__(self) -> None:
        self._flights: dict[object, Flight] = {}

    def send(self, replica: Replica, request: Request, deadline: Deadline) -> Share:
        """Join the flight of an identical request, or begin one. It has no clock: each caller has a clock."""
        key = replica.host, request.url, request.headers, request.options._replace(timeout=None)
        flight = self._flights.get(key)
        if flight is None or flight.pending.ready() or not flight.users:
            flight = self._flights[key] = self._begin(replica, request, deadline)

            def ended(_: object) -> None:
                if self._flights.get(key) is flight:
                    del self._flights[key]

            flight.pending.rawlink(ended)
        return Share(flight, request)

    def _begin(self, replica: Replica, request: Request, deadline: Deadline) -> Flight:
        call_context = current.get()
        token = None if call_context is None else current.set(call_context.without_deadline())
        try:
            return replica.send(request.replace(timeout=deadline.for_shared()), users=0)
        finally:
            if token is not None:
                current.reset(token)
