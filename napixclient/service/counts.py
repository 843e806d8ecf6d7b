"""How a run stands, in numbers, and as it is shown."""

from __future__ import annotations

from math import frexp
from typing import Any

from .store import Kept

__all__ = ['Counts', 'document_of', 'document_of_run']


class Counts:
    """How many requests ended how, and how long they took; written into the store as JSON."""

    def __init__(self, total: int, about: dict[str, Any]) -> None:
        self.about = about
        #: Why the run ended as it did, where that needs a word.
        self.reason: str | None = None
        self.counts = {
            'total': total,
            'done': 0,
            'ok': 0,
            'failed': 0,
            'cancelled': 0,
            'interrupted': 0,
            'in_flight': 0,
        }
        self.buckets: dict[str, int] = {}  # of milliseconds, eight to a power of two

    @classmethod
    def of(cls, summary: dict[str, Any]) -> Counts:
        """Read from the store."""
        self = cls(0, summary['about'])
        self.counts = {**summary['counts'], 'in_flight': 0}
        self.buckets = dict(summary['buckets'])
        self.reason = summary.get('reason')
        return self

    def count(self, result: dict[str, Any]) -> None:
        """One more result."""
        counts = self.counts
        counts['done'] += 1
        error = result['error']
        if error is None:
            counts['ok'] += 1
        elif result['state'] == 'done' and error['class'] != 'Cancelled':
            counts['failed'] += 1
        else:
            counts['interrupted' if result['state'] == 'interrupted' else 'cancelled'] += 1
        if result['status'] is not None:
            fraction, exponent = frexp(result['ms'] or 1e-3)
            bucket = str(exponent * 8 + int(fraction * 16) - 8)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def latency(self) -> dict[str, float | None]:
        """Quantiles in milliseconds, within 9 %."""
        return {f'p{percent}': self._quantile(percent / 100) for percent in (50, 90, 99)}

    def _quantile(self, share: float) -> float | None:
        missing = share * sum(self.buckets.values())
        for bucket in sorted(map(int, self.buckets)):
            missing -= self.buckets[str(bucket)]
            if missing <= 0:
                exponent, part = divmod(bucket, 8)
                return round(float((part + 8.5) / 16 * 2.0**exponent), 3)
        return None

    def summary(self) -> dict[str, Any]:
        """For the store; a copy."""
        return {'about': self.about, 'counts': dict(self.counts), 'buckets': dict(self.buckets), 'reason': self.reason}


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
