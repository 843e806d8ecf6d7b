"""The same time for many requests: all outcomes, or those until a quorum is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._http.pending import NEVER, timeout_of
from ..errors import Cancelled, HTTPError
from ..messages import Request
from .deadline import Deadline
from .errors import as_value
from .flight import Flight
from .flights import Share
from .landing import Landing
from .quorum import Quorum

__all__ = ['gather']


def gather(
    requests: Sequence[Request],
    send: Callable[[Request], Flight | Share],
    deadline: Deadline,
    quorum: Quorum | None = None,
) -> list[Any]:
    """Send them all at once, and return an outcome for each, in that order.

    :param deadline: of those that have no clock themselves.
    :param quorum: return when it is decided; what has no outcome by then is cancelled.
    """
    landing = Landing()
    places: dict[Flight | Share, int] = {}
    outcomes: list[Any] = [None] * len(requests)

    def note(flight: Flight | Share, outcome: Any) -> None:
        index = places[flight]
        outcomes[index] = as_value(outcome) if isinstance(outcome, HTTPError) else outcome
        if quorum is not None:
            quorum.note(index, bool(outcomes[index]))

    try:
        cutoff = NEVER
        if quorum is None or not quorum.lost:
            for index, request in enumerate(requests):
                flight = send(request)
                places[flight] = index
                landing.add(flight)
                if flight.shared:
                    cutoff = deadline.at
        while len(landing) and not (quorum is not None and (quorum.reached or quorum.lost)):
            landed = landing.wait(None if cutoff == NEVER else cutoff)
            if landed is None:
                break
            landed.account()
            note(landed, landed.outcome)
        decided = quorum is not None and (quorum.reached or quorum.lost)
        for flight in landing.flights:  # ended in the same turn, or too late
            if flight.pending.ready():
                note(flight, flight.outcome)
            elif not decided:
                note(flight, timeout_of(flight.pending, 'total'))
    finally:
        landing.leave()
    for index, outcome in enumerate(outcomes):
        if outcome is None:
            outcomes[index] = as_value(Cancelled('cancelled: it was decided without it', request=requests[index]))
    return outcomes
