"""One host of many: its client, its figures, and what is under way to it."""

from __future__ import annotations

from gevent.event import Event

from .._http.origin_pool import OriginPool
from .._http.origins import Origins
from .._http.pending import PendingResponse
from ..authenticators import Authenticator
from ..client import Client
from ..messages import Request, parse_origin
from .flight import Flight
from .health import Health
from .hedging import Hedging
from .policy import Load

__all__ = ['Figures', 'Replica']


class Figures:
    """What is known of all hosts together.

    :param hedges: the share of requests that may be sent twice.
    """

    def __init__(self, hedges: float) -> None:
        self.hedging = Hedging(hedges)
        self.load = Load()

    @property
    def usual(self) -> float:
        """The latency of a host of which nothing is known, in seconds."""
        return self.load.latency or 1.0


class Replica:
    """One host.

    :param kept: connections that are kept while they are idle.
    """

    def __init__(
        self,
        origins: Origins,
        host: str,
        authenticator: Authenticator | None,
        simultaneous: int | str,
        kept: int,
        figures: Figures,
    ) -> None:
        self.host = host
        core, origin = origins.core, parse_origin(host)
        self._pool = OriginPool(core, origin, host, simultaneous, authenticator, origins.pool_for, kept, self._on_send)
        self.client = Client.of_pool(origins.add(self._pool))
        #: Set when the request is sent.
        self.going_out: dict[PendingResponse, Event] = {}
        self.figures = figures
        self.health = Health()
        self.load = Load()

    @property
    def ready(self) -> int:
        """Connections that are open and idle."""
        return len(self._pool.slots.idle)

    def _on_send(self, pending: PendingResponse) -> None:
        if pending in self.going_out:
            self.going_out.pop(pending).set()

    def send(self, request: Request, users: int = 1) -> Flight:
        """Send a request; where the pause of the host is over, it is its probe.

        :param users: the callers who wait for it.
        """
        probe = self.health.claim()
        try:
            flight = Flight(self, self._pool.submit(request, None), probe, users)
        except BaseException:
            if probe:
                self.health.abandon()
            raise
        self.load.in_flight += 1
        self.figures.hedging.earn()
        return flight
