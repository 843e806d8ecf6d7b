"""The progress of a run: how many requests ended how, how long they took, and the document that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from ..histogram import Histogram
from .results import Result
from .store import Kept

__all__ = ['Counts', 'document_of', 'document_of_run']


class Counts:
    """How many requests ended how, and how long they took; written into the store as JSON."""

    def __init__(self, total: int, about: dict[str, Any]) -> None:
        self.about = about
        #: Why the run ended as it did, where that needs a word.
        self.reason: str | None = None
        self.counts: dict[str, int] = {
            'total': total,
            'done': 0,
            'ok': 0,
            'failed': 0,
            'cancelled': 0,
            'interrupted': 0,
            'in_flight': 0,
        }
        self._times = Histogram()  # in milliseconds

    @classmethod
    def of(cls, summary: dict[str, Any]) -> Counts:
        """Read from the store."""
        self = cls(0, summary['about'])
        self.counts = {**summary['counts'], 'in_flight': 0}
        self._times = Histogram.restored(summary['buckets'])
        self.reason = summary.get('reason')
        return self

    def count(self, results: Sequence[Result]) -> None:
        """So many more results."""
        self.counts['done'] += len(results)
        for end, count in Counter(map(_end, results)).items():
            self.counts[end] += count
        self._times.add_all([result.ms for result in results if result.status is not None])

    def latency(self) -> dict[str, float | None]:
        """Quantiles in milliseconds, within 7 %."""
        quantiles = self._times.quantiles()
        return {name: None if time is None else round(time, 3) for name, time in quantiles.items()}

    def summary(self) -> dict[str, Any]:
        """For the store; a copy."""
        return {
            'about': self.about,
            'counts': dict(self.counts),
            'buckets': self._times.stored(),
            'reason': self.reason,
        }


_end = itemgetter(Result._fields.index('end'))


def document_of(
    id: str,
    state: str,
    created: float,
    finished: float | None,
    summary: dict[str, Any],
    results: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    """A run as it is shown; times in seconds since the epoch, latencies in milliseconds."""
    counts = Counts.of(summary)
    return {
        'id': id,
        'state': state,
        'reason': counts.reason,
        'created': round(created, 3),
        'finished': None if finished is None else round(finished, 3),
        'about': counts.about,
        'counts': summary['counts'],
        'latency': counts.latency(),
        'results': results,
        **options,
    }


def document_of_run(run: Kept) -> dict[str, Any]:
    """A run of the store, as it is shown."""
    return document_of(run.id, run.state, run.created, run.finished, run.summary, run.results, run.options)
