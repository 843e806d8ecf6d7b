"""The figures of the service at ``/metrics``."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import inf
from operator import itemgetter
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .results import Result

__all__ = ['Metrics']

#: Upper bounds of the buckets of the histogram, in seconds.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts what the runs of this process do: in plain numbers, as each result passes here."""

    def __init__(self) -> None:
        #: Runs that are under way.
        self.under_way: int = 0
        #: Clients that follow a run, by kind.
        self.watchers: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def on_results(self, results: Sequence[Result]) -> None:
        """So many more results."""
        for (status, error), count in Counter(map(_outcome, results)).items():
            # RFC 9110 §15: 600 and above as a 5xx
            self._outcomes[f'{min(status // 100, 5)}xx' if status is not None else error or ''] += count
        times = sorted([result.ms for result in results if result.status is not None])
        self._seconds += sum(times) / 1000
        below = 0
        for bucket, bound in enumerate((*_BUCKETS, inf)):
            upto = bisect_right(times, bound * 1000)
            self._buckets[bucket] += upto - below
            below = upto

    def on_begin(self) -> None:
        """A run begins here."""
        self.under_way += 1

    def on_end(self, state: str) -> None:
        """A run has ended here, or goes on at the next start."""
        self.under_way -= 1
        self._runs['unfinished' if state == 'running' else state] += 1

    @contextmanager
    def watching(self, kind: str) -> Iterator[None]:
        """While a client follows a run."""
        self.watchers[kind] += 1
        try:
            yield
        finally:
            self.watchers[kind] -= 1

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        yield GaugeMetricFamily('napix_runs_under_way', 'Runs that are under way', value=self.under_way)
        watchers = GaugeMetricFamily('napix_watchers', 'Clients that follow a run', labels=['kind'])
        yield _filled(watchers, self.watchers.items())
        runs = CounterMetricFamily('napix_runs', 'Runs that have ended', labels=['state'])
        yield _filled(runs, self._runs.items())
        requests = CounterMetricFamily('napix_requests', 'Requests that have a result', labels=['outcome'])
        yield _filled(requests, self._outcomes.items())
        bounds = [*map(str, _BUCKETS), '+Inf']
        yield HistogramMetricFamily(
            'napix_request_seconds',
            'Time from sending a request to its whole answer',
            buckets=list(zip(bounds, accumulate(self._buckets), strict=True)),
            sum_value=self._seconds,
        )

    def show(self) -> tuple[bytes, str]:
        """The text format of Prometheus, and its type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


_outcome = itemgetter(Result._fields.index('status'), Result._fields.index('error'))


def _filled(family: Any, samples: Iterable[tuple[str, int]]) -> Any:
    for label, value in samples:
        family.add_metric([label], value)
    return family
