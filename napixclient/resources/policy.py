"""Balancing policies: which of several hosts is asked next. No I/O; the clock is handed in."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

__all__ = ['Load', 'Ready', 'best', 'less_loaded']

#: How much of an average one more sample replaces.
WEIGHT = 0.25
#: Seconds after which half of what is known of a host is forgotten, so that a host that was slow is tried again.
HALF_LIFE = 10.0
#: A host whose answers are all failures looks this many times as loaded as it is.
PENALTY = 20.0


class Ready(int):
    """Minus the number of ready connections, as a priority: it weights hosts of equal rank, and ranks none."""


def best(priorities: Mapping[str, float], ready: Callable[[str], int]) -> str:
    """One of the hosts with the smallest priority, at random, biased to those with connections ready.

    :param ready: returns how many connections of a host are ready.
    """
    ranks = {host: 0 if isinstance(priority, Ready) else priority for host, priority in priorities.items()}
    first = min(ranks.values())
    hosts = [host for host, rank in ranks.items() if rank == first]
    return random.choices(hosts, [1 + ready(host) for host in hosts])[0]


def less_loaded(hosts: Sequence[str], priority: Callable[[str], float | None]) -> str | None:
    """Of two hosts taken at random, the one with the smaller priority (the power of two choices).

    ``None`` if all are out.
    """
    first: str | None = None
    least = 0.0
    for host in random.sample(hosts, len(hosts)):
        found = priority(host)
        if found is None:
            continue
        if first is not None:
            return host if found < least else first
        first, least = host, found
    return first


class Load:
    """What is in flight to one host, how long its answers take, and how many of them are failures.

    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = ('_at', '_clock', '_failing', '_latency', 'in_flight')

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        #: Requests now.
        self.in_flight: int = 0
        self._clock = clock
        self._at = clock()
        self._latency: float | None = None  # moving average of what answers take, in seconds
        self._failing = 0.0  # moving average of 1 for a failure, 0 for an answer

    @property
    def latency(self) -> float | None:
        """Seconds that its answers take on average; ``None`` before the first answer."""
        return self._latency

    def answered(self, seconds: float) -> None:
        """Note an answer that took so many seconds."""
        self._sample(seconds, 0.0)

    def failed(self, seconds: float) -> None:
        """Note a failure after so many seconds; a fast failure must not improve the latency estimate."""
        known = self._latency
        self._sample(None if known is None or seconds < known else seconds, 1.0)

    def gave_up(self, seconds: float) -> None:
        """Note a request that was given up after so many seconds: it would have taken longer."""
        if self._latency is None or seconds > self._latency:
            self._sample(seconds, self._failing)

    def _sample(self, seconds: float | None, failing: float) -> None:
        # An old average weighs less: after one half-life, the sample replaces half of what would be kept of it.
        weight = 1 - (1 - WEIGHT) * self._kept()
        self._at = self._clock()
        if seconds is not None:
            known = seconds if self._latency is None else self._latency
            self._latency = known + weight * (seconds - known)
        self._failing += weight * (failing - self._failing)

    def _kept(self) -> float:
        return float(0.5 ** ((self._clock() - self._at) / HALF_LIFE))

    def cost(self, usual: float) -> float:
        """The cost of one more request: in flight × latency × failures.

        :param usual: the latency to assume if nothing is known, in seconds.
        """
        kept = self._kept()
        latency = usual if self._latency is None else usual + kept * (self._latency - usual)
        return (self.in_flight + 1) * latency * (1 + kept * self._failing * (PENALTY - 1))
