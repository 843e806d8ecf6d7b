"""Counts what became of the requests to one origin, and how long they took."""

from __future__ import annotations

from typing import TypedDict

from ..histogram import Histogram
from .connect.name_cache import Counts

__all__ = ['Figures', 'LatencyStats', 'LookupStats', 'Stats']


class LookupStats(TypedDict):
    """The look-ups of names that the connections of a client began."""

    count: int
    failed: int
    seconds: float


class LatencyStats(TypedDict):
    """Quantiles of the time from sending to the complete answer, in seconds; ``None`` before the first answer."""

    p50: float | None
    p90: float | None
    p99: float | None


class Stats(TypedDict):
    """What :meth:`Client.stats` returns."""

    queued: int
    in_flight: int
    done: int
    failed: int
    bytes: int
    simultaneous: int
    lookups: LookupStats
    latency: LatencyStats


class Figures:
    """Counts of one origin."""

    __slots__ = ('done', 'failed', 'latencies', 'lookups', 'received')
    done: int
    failed: int

    def __init__(self) -> None:
        #: Requests that were answered below 400, and those that were not.
        self.done = self.failed = 0
        #: Bytes of bodies.
        self.received: int = 0
        #: The seconds from sending to the complete answer.
        self.latencies: Histogram = Histogram()
        self.lookups: Counts = Counts()

    def stats(self, queued: int, in_flight: int, simultaneous: int) -> Stats:
        """All of it, with what only the pool of the origin knows."""
        lookups, latencies = self.lookups, self.latencies
        return {
            'queued': queued,
            'in_flight': in_flight,
            'done': self.done,
            'failed': self.failed,
            'bytes': self.received,
            'simultaneous': simultaneous,
            'lookups': {'count': lookups.count, 'failed': lookups.failed, 'seconds': lookups.seconds},
            'latency': {
                'p50': latencies.quantile(0.5),
                'p90': latencies.quantile(0.9),
                'p99': latencies.quantile(0.99),
            },
        }
