"""The progress of a run: how many requests ended how, how long they took, and the document that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from ..histogram import Histogram
from .results import Result
from .rows import Kept

__all__ = ['OUTCOMES', 'STATES', 'Counts', 'document_of']

#: How a run may stand, or have ended; and the states in which the store has such runs.
OUTCOMES: dict[str, tuple[str, ...]] = {
    'running': ('running',),
    'done': ('done',),
    'done_with_failures': ('done',),
    'failed': ('done', 'failed'),
    'cancelled': ('cancelled',),
    'interrupted': ('interrupted',),
}
STATES = ('running', 'done', 'failed', 'cancelled', 'interrupted')


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


def _outcome_of(state: str, counts: dict[str, int]) -> str:
    """One of :data:`OUTCOMES`: the state, and of what is done whether all, some or none of it is well."""
    if state != 'done' or not counts['failed']:
        return state
    return 'done_with_failures' if counts['ok'] else 'failed'


_end = itemgetter(Result._fields.index('end'))


def document_of(run: Kept) -> dict[str, Any]:
    """A run as it is shown; times in seconds since the epoch, latencies in milliseconds."""
    counts = Counts.of(run.summary)
    return {
        'id': run.id,
        'state': run.state,
        'outcome': _outcome_of(run.state, run.summary['counts']),
        'reason': counts.reason,
        'created': round(run.created, 3),
        'finished': None if run.finished is None else round(run.finished, 3),
        'about': counts.about,
        'counts': run.summary['counts'],
        'latency': counts.latency(),
        'results': run.results,
        'parent': run.parent,
        'again': None,
        **run.options,
    }
