"""Many requests at the same time: the outcomes of all, or of those that decided a quorum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._http.pending import NEVER, timeout_of
from ..errors import Cancelled, HTTPError
from ..messages import Request
from .deadline import Deadline
from .errors import Failure, as_value
from .flight import Flight
from .landing import Landing
from .quorum import Quorum
from .resource import Response
from .sharing import Share

__all__ = ['gather']


def gather(
    requests: Sequence[Request],
    send: Callable[[Request], Flight | Share],
    deadline: Deadline,
    quorum: Quorum | None = None,
) -> list[Response | Failure]:
    """Send all requests at once, and return an outcome for each, in their order.

    :param deadline: bounds the requests that have no clock of their own.
    :param quorum: return when it is decided, and cancel the requests that have no outcome by then.
    """
    gathering = _Gathering(requests, quorum)
    try:
        if not gathering.decided:
            gathering.send(send, deadline)
        gathering.wait()
        gathering.sweep()
    finally:
        gathering.leave()
    return gathering.outcomes()


class _Gathering:
    """The flights of one ``gather``."""

    def __init__(self, requests: Sequence[Request], quorum: Quorum | None) -> None:
        self._requests = requests
        self._quorum = quorum
        self._landing = Landing()
        self._indexes: dict[Flight | Share, int] = {}
        self._outcomes: list[Response | Failure | None] = [None] * len(requests)
        self._cutoff = NEVER  # for flights without a clock of their own

    @property
    def decided(self) -> bool:
        """Whether the quorum is reached or lost."""
        return self._quorum is not None and (self._quorum.reached or self._quorum.lost)

    def send(self, send: Callable[[Request], Flight | Share], deadline: Deadline) -> None:
        """Send all requests."""
        for index, request in enumerate(self._requests):
            flight = send(request)
            self._indexes[flight] = index
            self._landing.add(flight)
            if flight.shared:
                self._cutoff = deadline.at

    def wait(self) -> None:
        """Collect outcomes until all are there, the quorum is decided, or the time is up."""
        while len(self._landing) and not self.decided:
            flight = self._landing.wait(None if self._cutoff == NEVER else self._cutoff)
            if flight is None:
                return
            flight.account()
            self._note(flight, flight.outcome)

    def sweep(self) -> None:
        """Collect what ended in the same turn. What is late is a timeout, unless the quorum was decided first."""
        decided = self.decided
        for flight in self._landing.flights:
            if flight.pending.ready():
                self._note(flight, flight.outcome)
            elif not decided:
                self._note(flight, timeout_of(flight.pending, 'total'))

    def _note(self, flight: Flight | Share, outcome: Response | HTTPError) -> None:
        index = self._indexes[flight]
        self._outcomes[index] = value = as_value(outcome) if isinstance(outcome, HTTPError) else outcome
        if self._quorum is not None:
            self._quorum.note(index, bool(value))

    def leave(self) -> None:
        """End the flights that nobody waits for."""
        self._landing.leave()

    def outcomes(self) -> list[Response | Failure]:
        """An outcome for each request; it is ``Cancelled`` for those that were not needed."""
        return [
            as_value(Cancelled('cancelled: it was decided without it', request=request)) if outcome is None else outcome
            for request, outcome in zip(self._requests, self._outcomes, strict=True)
        ]
