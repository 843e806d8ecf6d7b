"""Which messages of a run that outlives its process may be acknowledged; the broker keeps the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

__all__ = ['Ledger']


class Ledger:
    """What messages tell of, and what of that is kept.

    Requests are known by the numbers that their caller has given them.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()  # requests of which no outcome is kept
        self._held: dict[int, set[int]] = {}  # by the tag of a message: the open ones that it tells of
        self._tags: defaultdict[int, list[int]] = defaultdict(list)  # by request: the messages that tell of it
        self._due: list[int] = []

    def open(self, number: int) -> None:
        """Outcomes of this request are to be kept."""
        self._open.add(number)

    def hold(self, tag: int, numbers: Iterable[int]) -> None:
        """A message has come that tells of these."""
        waits_for = self._open.intersection(numbers)
        if not waits_for:
            self._due.append(tag)
            return
        self._held[tag] = waits_for
        for number in waits_for:
            self._tags[number].append(tag)

    def keep(self, numbers: Iterable[int]) -> None:
        """The outcomes of these are kept."""
        for number in numbers:
            self._open.discard(number)
            for tag in self._tags.pop(number, ()):
                waits_for = self._held[tag]
                waits_for.discard(number)
                if not waits_for:
                    del self._held[tag]
                    self._due.append(tag)

    def take_due(self) -> list[int]:
        """The tags of what may be acknowledged."""
        due, self._due = self._due, []
        return due

    def forget_tags(self) -> None:
        """The connection is another: what was not acknowledged comes once more."""
        self._held.clear()
        self._tags.clear()
        self._due.clear()
