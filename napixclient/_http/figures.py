"""What became of the requests to one origin, in figures."""

from __future__ import annotations

from math import frexp
from typing import TypedDict

from .connect.names import Counts

__all__ = ['Figures', 'LatencyStats', 'LookupStats', 'Stats', 'bucket_of']


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
    """What :meth:`Client.stats` tells."""

    queued: int
    in_flight: int
    done: int
    failed: int
    bytes: int
    simultaneous: int
    lookups: LookupStats
    latency: LatencyStats


class Figures:
    """Counts of one origin.

    Latencies are counted in buckets, eight to an octave: a quantile is right within 9 %.
    """

    __slots__ = ('done', 'failed', 'latencies', 'lookups', 'received')

    def __init__(self) -> None:
        #: Requests that were answered below 400, and those that were not.
        self.done = self.failed = 0
        #: Bytes of bodies.
        self.received = 0
        #: Answers by the bucket of the seconds that they took.
        self.latencies: dict[int, int] = {}
        self.lookups = Counts()

    def quantile(self, share: float) -> float | None:
        """Seconds in which that share of the answers came; ``None`` before the first."""
        missing = share * sum(self.latencies.values())
        for bucket in sorted(self.latencies):
            missing -= self.latencies[bucket]
            if missing <= 0:
                exponent, part = divmod(bucket - 8, 8)
                return float((part + 8.5) / 16 * 2.0**exponent)
        return None


def bucket_of(seconds: float) -> int:
    """The bucket of a latency."""
    mantissa, exponent = frexp(seconds)
    return exponent * 8 + int(mantissa * 16)
