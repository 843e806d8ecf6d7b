"""``--watch``: asks all again and again, and shows what has changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from time import localtime, monotonic, strftime

import gevent

from . import signals
from .folding import Shown, coloured_difference
from .formats import Format, format_of
from .outcomes import Outcome, tag_of
from .plan import Plan
from .printing import Lines
from .run import Run
from .stdio import colours
from .tally import Tally

__all__ = ['Watch']

#: How long a server behind took is no change.
_without_times = re.compile(r' after [\d.]+ m?s\b').sub


class Watch:
    """Repeats a run until it was done ``-n`` times, ``--duration`` is up, or it is interrupted."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: dict[int, Shown] = {}

    def go(self) -> int:
        """Repeat it, close the pool, and return the exit code of the last run."""
        signals.raise_exit()
        asked, began, rounds = self._plan.asked, monotonic(), 0
        assert asked.watch is not None
        end = began + (asked.duration or float('inf'))
        try:
            while True:
                code = self._round(first=rounds == 0)
                rounds += 1
                began = max(began + asked.watch, monotonic())
                if rounds == asked.repeat or began > end:
                    return code
                gevent.sleep(began - monotonic())
        finally:
            self._plan.pool.close()

    def _round(self, first: bool) -> int:
        plan = self._plan
        inner = plan.format if first else format_of(plan.asked, plan.targets, plan.groups)
        changes = Changes(inner, self._known, plan, first)
        return Run(plan, changes, None if first else changes.closing_line).send()


class Changes(Format):
    """Writes the answers that are others than those before, and how they differ.

    :param inner: the format in which it writes them.
    :param known: what each request was answered last, by its number; it is kept up to date.
    :param first: whether there is nothing to compare with yet.
    """

    def __init__(self, inner: Format, known: dict[int, Shown], plan: Plan, first: bool) -> None:
        self._inner = inner
        self._known = known
        self._include = plan.asked.include
        only_changes = plan.asked.quiet and isinstance(inner, Lines)
        self._shows_all = first and not only_changes or plan.asked.folds
        self._first = first
        self._changed = 0
        self._coloured = colours(sys.stdout)

    def begin(self) -> str:
        """What stands above all answers."""
        return self._inner.begin() if self._first else ''

    def show(self, outcome: Outcome) -> str:
        """What is written of an outcome, if it has changed."""
        number, shown = tag_of(outcome).number, Shown.of(outcome, self._include)
        before, self._known[number] = self._known.get(number), shown
        changed = not self._first and (before is None or _untimed(before) != _untimed(shown))
        self._changed += changed
        if not (changed or self._shows_all):
            return ''
        text = self._inner.show(outcome)
        if changed and before is not None and isinstance(self._inner, Lines):
            text += ''.join(f'    {line}\n' for line in self._difference(before, shown))
        return text

    def _difference(self, before: Shown, after: Shown) -> Iterator[str]:
        lines = list(before.difference(after, context=1))[2:]
        return coloured_difference(lines) if self._coloured else iter(lines)

    def note(self, outcome: Outcome) -> str:
        """What standard error tells of it: nothing new about what has not changed."""
        return self._inner.note(outcome) if self._shows_all else ''

    def end(self) -> Iterator[str]:
        """The lines that are written when all outcomes are there, if anything has changed."""
        return self._inner.end() if self._first or self._changed else iter(())

    def closing_line(self, tally: Tally) -> str:
        """When something changed, and how much; empty when nothing did."""
        if not self._changed:
            return ''
        return f'{strftime("%H:%M:%S", localtime())}: {self._changed} of {tally.asked} changed\n'


def _untimed(shown: Shown) -> list[str]:
    return [_without_times('', line) for line in shown.lines]
