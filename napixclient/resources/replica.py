"""One host of many: its client, its figures, and what is under way to it."""

from __future__ import annotations

from collections.abc import Mapping

from gevent.event import Event

from .._http.engine import Engine
from .._http.http1.connection import Connection
from .._http.pending import PendingResponse
from ..authenticators import Authenticator
from ..client import Client
from ..messages import Origin, Request, parse_origin
from .flight import Flight
from .health import Health
from .hedging import Hedging
from .policy import Load

__all__ = ['Figures', 'Replica']


class HostClient(Client):
    """The client of one host: keeps no more connections than it is told to, and tells when a request goes out."""

    #: Connections that are kept while they are idle.
    kept: int
    #: Set when the request is sent.
    going_out: dict[PendingResponse, Event]
    #: The clients of the other hosts, by origin.
    others: Mapping[Origin, Client]

    def _next(self, connection: Connection) -> None:
        super()._next(connection)
        while len(self._idle) > self.kept:
            engine, oldest = self._engine, self._idle[0]
            del engine.idle[oldest]
            self.evict(oldest)
            engine.grant()

    def _note(self, pending: PendingResponse) -> None:
        super()._note(pending)
        if pending in self.going_out:
            self.going_out.pop(pending).set()

    def _client_for(self, host: str) -> Client:
        return self.others.get(parse_origin(host)) or self._sibling(host)


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
        engine: Engine,
        host: str,
        authenticator: Authenticator | None,
        simultaneous: int | str,
        kept: int,
        figures: Figures,
    ) -> None:
        self.host = host
        client = HostClient._of_pool(engine, parse_origin(host), host, authenticator, simultaneous)
        assert isinstance(client, HostClient)
        client.kept = kept
        client.going_out = {}
        client._attentive = True  # so that _note() is asked
        self.client: HostClient = client
        self.figures = figures
        self.health = Health()
        self.load = Load()

    @property
    def ready(self) -> int:
        """Connections that are open and idle."""
        return len(self.client._idle)

    def send(self, request: Request, users: int = 1) -> Flight:
        """Send a request; where the pause of the host is over, it is its probe.

        :param users: the callers who wait for it.
        """
        probe = self.health.claim()
        try:
            flight = Flight(self, self.client._submit(request, None), probe, users)
        except BaseException:
            if probe:
                self.health.abandon()
            raise
        self.load.in_flight += 1
        self.figures.hedging.earn()
        return flight
