"""Counts what became of the requests to each host."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from .._http.figures import Figures, Stats
from .._http.pending import Outcome
from ..histogram import BOUNDS
from ..messages import Response

__all__ = ['HostCounts']

#: Hosts that are remembered before those that have nothing under way are forgotten.
MANY_HOSTS = 2048


class HostCounts:
    """The figures of each host, by how its caller writes it."""

    def __init__(self) -> None:
        self._hosts: dict[str, Figures] = {}

    def add(self, host: str, outcome: Outcome) -> None:
        """A request has its outcome."""
        figures = self._hosts.get(host)
        if figures is None:
            if len(self._hosts) >= MANY_HOSTS:
                del self._hosts[next(iter(self._hosts))]
            figures = self._hosts[host] = Figures()
        if isinstance(outcome, Response):
            figures.done += 1
            figures.received += len(outcome.payload)
            figures.latencies.counts[bisect_right(BOUNDS, outcome.elapsed)] += 1
        else:
            figures.failed += 1

    def stats(self, under_way: Mapping[str, tuple[int, int]], cap: int) -> dict[str, Stats]:
        """The figures of the hosts that are remembered, and of those that are asked now.

        :param under_way: how many wait here, and how many are with the broker or a worker.
        """
        hosts = {**dict.fromkeys(self._hosts), **dict.fromkeys(under_way)}
        return {host: self._hosts.get(host, Figures()).stats(*under_way.get(host, (0, 0)), cap) for host in hosts}
