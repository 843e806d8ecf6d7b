"""The result of a run: counts, summary and exit code."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

from ..errors import HTTPError
from .options import Share
from .outcomes import Outcome, is_answer
from .summary import Times, summary_lines

__all__ = ['Tally']

#: Exit codes; those for bad usage and for signals are elsewhere.
ALL_GOOD, SOME_FAILED, NOTHING, LATE = 0, 1, 3, 124


class Tally:
    """Counts the outcomes; its text is the closing line.

    :param asked: requests in all.
    :param hosts: how many hosts they go to.
    :param times: what keeps the times, for :meth:`summary`; ``None`` for nothing.
    """

    def __init__(self, asked: int, hosts: int, times: Times | None = None) -> None:
        self.asked = asked
        self.hosts = hosts
        self.good: int = 0
        self.bad: int = 0
        self.silent: int = 0
        #: Requests that had succeeded in an earlier run.
        self.done = 0
        self.times = times
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
        elif is_answer(outcome):
            self.bad += 1
        else:
            self.silent += 1
        if self.times is not None:
            self.times.add(outcome)

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

    def summary(self, columns: int | None) -> Iterator[str]:
        """The closing line, and those of a summary.

        :param columns: of the terminal, if there is one.
        """
        yield str(self)
        if self.times is not None:
            yield from summary_lines(self.times, self.seconds, columns)
