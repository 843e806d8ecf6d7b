"""Times counted in buckets, and their quantiles."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

__all__ = ['BOUNDS', 'Histogram']

_LOWEST, _HIGHEST = -20, 32
#: Where each bucket but the first begins, in seconds or in milliseconds: from half a millionth to two thousand
#: millions, eight to an octave.
BOUNDS: tuple[float, ...] = tuple(
    (8 + eighth) / 16 * 2.0**exponent for exponent in range(_LOWEST, _HIGHEST) for eighth in range(8)
)
#: The bucket that begins at a half: those that are stored are numbered from it.
_HALF = BOUNDS.index(0.5) + 1
_bucket_of = partial(bisect_right, BOUNDS)


class Histogram:
    """Counts how many times fall into each bucket. Its size grows with the buckets that are used, not with the times.

    A hot path counts with one call of C: ``histogram.counts[bisect_right(BOUNDS, time)] += 1``.
    """

    __slots__ = ('counts',)

    def __init__(self) -> None:
        #: How many times are in each bucket, by its number.
        self.counts: defaultdict[int, int] = defaultdict(int)

    @classmethod
    def restored(cls, stored: Mapping[str, int]) -> Histogram:
        """One that counts what :meth:`stored` returned."""
        self = cls()
        self.counts.update((int(bucket) + _HALF, count) for bucket, count in stored.items())
        return self

    def stored(self) -> dict[str, int]:
        """The counts as JSON can hold them, a copy. Stores keep them: their numbers never change."""
        return {str(bucket - _HALF): count for bucket, count in self.counts.items()}

    def add(self, time: float) -> None:
        """Count a time of 0 or more."""
        self.counts[bisect_right(BOUNDS, time)] += 1

    def add_all(self, times: Iterable[float]) -> None:
        """Count many."""
        for bucket, count in Counter(map(_bucket_of, times)).items():
            self.counts[bucket] += count

    def quantile(self, share: float) -> float | None:
        """The time that this share of all does not exceed, within 7 %; ``None`` while nothing is counted.

        :param share: above 0, at most 1.
        """
        missing = share * sum(self.counts.values())
        for bucket in sorted(self.counts):
            missing -= self.counts[bucket]
            if missing <= 0:
                return (BOUNDS[max(bucket - 1, 0)] + BOUNDS[min(bucket, len(BOUNDS) - 1)]) / 2
        return None

    def quantiles(self) -> dict[str, float | None]:
        """Those that napixclient shows: ``p50``, ``p90`` and ``p99``."""
        return {f'p{percent}': self.quantile(percent / 100) for percent in (50, 90, 99)}
