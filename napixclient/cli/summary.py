"""The summary of a run, as tools for load have it: rates, quantiles, a histogram, what was answered. In flat memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from ..errors import HTTPError
from ..histogram import BOUNDS, Histogram
from .outcomes import Outcome, is_answer, milliseconds, status_of

__all__ = ['Times', 'summary_lines']

#: Bars of the histogram, and their greatest and smallest length.
_BARS, _LONGEST, _SHORTEST = 10, 40, 8
_QUANTILES = (10, 25, 50, 75, 90, 95, 99)
#: Different errors that are told apart.
_MOST_ERRORS = 20


class Times:
    """What outcomes were, and the times of answers: the same size for a thousand and for a million of them."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.answers: int = 0
        self.fastest: float = math.inf
        self.slowest: float = 0.0
        self._total = 0.0
        self._histogram = Histogram()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and its time if it is an answer."""
        self.statuses[status_of(outcome)] += 1
        if isinstance(outcome, HTTPError):
            text = f'{type(outcome).__name__}: {outcome.message}'
            self.errors[text if text in self.errors or len(self.errors) < _MOST_ERRORS else 'others'] += 1
        if is_answer(outcome):
            time = milliseconds(outcome)
            self.answers += 1
            self._total += time
            self.fastest, self.slowest = min(self.fastest, time), max(self.slowest, time)
            self._histogram.add(time)

    @property
    def average(self) -> float:
        """The mean time of an answer, in milliseconds; there is one at least."""
        return self._total / self.answers

    def quantile(self, share: float) -> float:
        """The time that this share of the answers does not exceed, within 7 %."""
        found = self._histogram.quantile(share)
        return self.slowest if found is None else min(max(found, self.fastest), self.slowest)

    def bars(self) -> list[tuple[float, int]]:
        """The upper end of each bar of a histogram, and its answers; the ends rise by a constant factor."""
        low, high = max(self.fastest, 0.001), max(self.slowest, 0.001)
        bars = _BARS if high > low * 1.01 else 1
        edges = [low * (high / low) ** (number / bars) for number in range(1, bars)] + [high]
        counts = [0] * bars
        at = 0
        for bucket in sorted(self._histogram.counts):
            upper = BOUNDS[min(bucket, len(BOUNDS) - 1)]
            middle = (BOUNDS[max(bucket - 1, 0)] + upper) / 2
            while at < bars - 1 and middle > edges[at]:
                at += 1
            counts[at] += self._histogram.counts[bucket]
        return list(zip(edges, counts, strict=True))


def summary_lines(times: Times, seconds: float, columns: int | None = None) -> Iterator[str]:
    """The lines of the summary.

    :param seconds: how long the run took.
    :param columns: of the terminal; the bars are as long as that allows.
    """
    ended = sum(times.statuses.values())
    yield f'  total       {seconds:.2f} s'
    yield f'  requests/s  {ended / max(seconds, 1e-9):,.1f}'
    if times.answers:
        for name in 'fastest', 'slowest', 'average':
            yield f'  {name}     {_ms(getattr(times, name))}'
        yield f'histogram of the times of {times.answers:,} {"answer" if times.answers == 1 else "answers"}:'
        yield from _histogram(times.bars(), columns)
        yield 'quantiles:'
        for percent in _QUANTILES:
            yield f'  {percent}% in {_ms(times.quantile(percent / 100))}'
    yield 'statuses:'
    width = max(map(len, times.statuses), default=0)
    for kind, count in sorted(times.statuses.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f'  {kind:<{width}}  {count:>9,}  {100 * count / ended:5.1f} %'
    if times.errors:
        yield 'errors:'
        for text, count in times.errors.most_common():
            yield f'  {count:>9,}  {text}'


def _histogram(bars: list[tuple[float, int]], columns: int | None) -> Iterator[str]:
    most = max(count for _, count in bars)
    heads = [f'  up to {_ms(edge):>9}  {count:>9,}  ' for edge, count in bars]
    longest = min(_LONGEST, max((columns or math.inf) - max(map(len, heads)) - 1, _SHORTEST))
    for head, (_, count) in zip(heads, bars, strict=True):
        bar = '■' * round(longest * count / most) or ('▏' if count else '')
        yield f'{head}{bar}'.rstrip()


def _ms(value: float) -> str:
    return f'{value / 1000:.2f} s' if value >= 10_000 else f'{value:.1f} ms' if value >= 1 else f'{value:.2f} ms'
