"""The result of a run: counts, summary and exit code."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from time import monotonic

from ..errors import HTTPError
from .formats import Outcome, milliseconds, status_of
from .options import Share

__all__ = ['Tally']

#: Exit codes; those for bad usage and for signals are elsewhere.
ALL_GOOD, SOME_FAILED, NOTHING, LATE = 0, 1, 3, 124
#: Bars of the histogram, and their greatest length.
_BARS, _LONGEST = 10, 40
_QUANTILES = (50, 90, 95, 99)


class Tally:
    """Counts the outcomes; its text is the closing line.

    :param asked: requests in all.
    :param hosts: how many hosts they go to.
    :param times: keep the times, for :meth:`summary`.
    """

    def __init__(self, asked: int, hosts: int, times: bool = False) -> None:
        self.asked = asked
        self.hosts = hosts
        self.good: int = 0
        self.bad: int = 0
        self.silent: int = 0
        #: Requests that had succeeded in an earlier run.
        self.done = 0
        self.kinds: Counter[str] = Counter()
        self._times = array('d') if times else None
        self._began = monotonic()

    @property
    def ended(self) -> int:
        """Requests that have an outcome."""
        return self.good + self.bad + self.silent

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return monotonic() - self._began

    def count(self, outcome: Outcome) -> None:
        """Count an outcome: below 400, at 400 or above, or without an answer."""
        if not isinstance(outcome, HTTPError):
            self.good += 1
        elif outcome.status is None:
            self.silent += 1
        else:
            self.bad += 1
        if self._times is not None:
            self.kinds[status_of(outcome)] += 1
            if outcome.status is not None:
                self._times.append(milliseconds(outcome))

    def code(self, need: int | None, min_ok: Share | None, late: bool) -> int:
        """The exit code.

        :param need: successful answers that ``--need`` asks for.
        :param late: whether the deadline ended the run.
        """
        good = self.good + self.done
        wanted = [number for number in (need, None if min_ok is None else min_ok.of(self.asked)) if number is not None]
        if any(good >= number for number in wanted):
            return ALL_GOOD
        if late:
            return LATE
        if good + self.bad == 0 and self.ended:
            return NOTHING
        return ALL_GOOD if good == self.asked and not wanted else SOME_FAILED

    def __str__(self) -> str:
        parts = [f'{self.good} below 400', f'{self.bad} at 400 or above', f'{self.silent} without an answer']
        if self.done:
            parts.append(f'{self.done} done before')
        if missing := self.asked - self.ended - self.done:
            parts.append(f'{missing} not waited for')
        hosts = f'{self.hosts} host' if self.hosts == 1 else f'{self.hosts} hosts'
        what = hosts if self.asked == self.hosts else f'{self.asked} requests to {hosts}'
        return f'{what} in {self.seconds:.2f} s: {", ".join(parts)}'

    # -- the summary -----------------------------------------------------------------------------------------------

    def summary(self) -> Iterator[str]:
        """Lines with counts, quantiles and a histogram of the times."""
        yield str(self)
        if self.ended:
            yield f'{self.ended / max(self.seconds, 1e-9):,.0f} outcomes a second'
        width = max(map(len, self.kinds), default=0)
        for kind, count in sorted(self.kinds.items(), key=lambda pair: (-pair[1], pair[0])):
            yield f'  {kind:<{width}}  {count:>9,}  {100 * count / self.ended:5.1f} %'
        times = sorted(self._times or ())
        if times:
            yield f'time to the answer, of {len(times):,} answers'
            ends = [('fastest', times[0]), ('mean', math.fsum(times) / len(times)), ('slowest', times[-1])]
            for names in ends, [(f'{percent} %', _quantile(times, percent)) for percent in _QUANTILES]:
                yield '  ' + '   '.join(f'{name} {_ms(value)}' for name, value in names)
            yield from _histogram(times)


def _quantile(times: list[float], percent: int) -> float:
    """The smallest time that so many percent of all do not exceed."""
    return times[max(math.ceil(len(times) * percent / 100) - 1, 0)]


def _histogram(times: list[float]) -> Iterator[str]:
    """Bars from the fastest to the slowest time; the upper ends rise by a constant factor."""
    low, high = max(times[0], 0.001), max(times[-1], 0.001)
    bars = _BARS if high > low * 1.01 else 1
    edges = [low * (high / low) ** (number / bars) for number in range(1, bars)] + [math.inf]
    counts = [0] * bars
    at = 0
    for one in times:
        while one > edges[at]:
            at += 1
        counts[at] += 1
    most = max(counts)
    for edge, count in zip([*edges[:-1], high], counts, strict=True):
        bar = '■' * round(_LONGEST * count / most) or ('▏' if count else '')
        yield f'  up to {_ms(edge):>9}  {count:>9,}  {bar}'.rstrip()


def _ms(value: float) -> str:
    return f'{value / 1000:.2f} s' if value >= 10_000 else f'{value:.1f} ms' if value >= 1 else f'{value:.2f} ms'
