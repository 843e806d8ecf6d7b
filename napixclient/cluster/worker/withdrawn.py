"""Which requests of a run are not to be sent any more."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable

__all__ = ['Numbers', 'Withdrawn']

#: Runs of which something was withdrawn, and that are remembered.
MOST_RUNS = 10_000


class Numbers:
    """Whole numbers, held as ranges in their order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Add a range, both ends included."""
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if begin < end:  # it overlaps with these, or is next to them
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end], self._lasts[begin:end] = [first], [last]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]


class Withdrawn:
    """The requests of all runs that were withdrawn, by run and number."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Numbers] = OrderedDict()

    def add(self, run: str, ranges: Iterable[Iterable[int]]) -> Numbers:
        """Remember these, and return them.

        :raises TypeError, ValueError: for what is no range.
        """
        added = Numbers()
        for first, last in sorted((int(first), int(last)) for first, last in ranges):
            added.add(first, max(first, last))
            self._runs.setdefault(run, Numbers()).add(first, max(first, last))
        if run in self._runs:
            self._runs.move_to_end(run)
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return added

    def of(self, run: str) -> Numbers | None:
        """Those of this run, if there are any."""
        return self._runs.get(run)

    def has(self, run: str, number: int) -> bool:
        """Whether this one was withdrawn."""
        numbers = self._runs.get(run)
        return numbers is not None and number in numbers
