"""One host of many: its client, its figures, and what is under way to it."""

from __future__ import annotations

from gevent.event import Event

from .._http.origin_pool import OriginPool
from .._http.origins import Origins
from .._http.pending import PendingResponse
from ..authenticators import Authenticator
from ..client import Client
from ..messages import Request, parse_origin
from .figures import Figures
from .flight import Flight
from .health import Health
from .policy import Load

__all__ = ['Replica']


class Replica:
    """One host.

    :param figures: of all hosts together.
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
        #: The host as it was written.
        self.host: str = host
        core, origin = origins.core, parse_origin(host)
        self._pool = OriginPool(core, origin, host, simultaneous, authenticator, origins.pool_for, kept, self._on_send)
        self.client: Client = Client.of_pool(origins.add(self._pool))
        #: Set when the request is sent.
        self.on_sent: dict[PendingResponse, Event] = {}
        self.figures: Figures = figures
        self.health: Health = Health()
        self.load: Load = Load()

    @property
    def ready(self) -> int:
        """Connections that are open and idle."""
        return len(self._pool.slots.idle)

    def _on_send(self, pending: PendingResponse) -> None:
        if pending in self.on_sent:
            self.on_sent.pop(pending).set()

    def send(self, request: Request, users: int = 1) -> Flight:
        """Send a request. If the host was set aside and its pause is over, the request is the host's probe.

        :param users: the callers who wait for the outcome.
        """
        probe = self.health.claim()
        try:
            flight = Flight(self, self._pool.submit(request, None), probe, users)
        except BaseException:
            if probe:
                self.health.probe_lost()
            raise
        self.load.in_flight += 1
        self.figures.hedging.earn()
        return flight
