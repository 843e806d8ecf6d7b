"""Requests that another process may have published: who goes on with its run waits for what workers say of them.

Nobody here knows in which lot they are, or whether they are in one at all. What must not be sent twice is published
anew only when a worker says that it was not sent, and nobody else can have heard so; what may be sent twice, when there
was nothing to hear for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

from .errors import ClusterError
from .lots import Entry
from .outbox import Outbox
from .outcomes import BEGAN, REFUSED, UNSURE

__all__ = ['Heir']

#: Seconds without a word of any worker after which what may be sent twice is published.
QUIET_SECONDS = 10.0


class Heir:
    """Looks after them.

    :param end: called with requests that a worker refuses, and why.
    :param interrupt: called with a request of which nobody knows what became, and why.
    """

    def __init__(
        self,
        outbox: Outbox,
        end: Callable[[Iterable[Entry], ClusterError], None],
        interrupt: Callable[[Entry, str], None],
    ) -> None:
        self._outbox = outbox
        self._end = end
        self._interrupt = interrupt
        self._entries: list[Entry] = []
        self._heard = 0.0

    def add(self, entry: Entry) -> None:
        """Wait for the outcome of one more."""
        self._outbox.inherit(entry)
        self._entries.append(entry)
        self.hear()

    def hear(self) -> None:
        """There was something to hear of the run."""
        self._heard = monotonic()

    def take_word(self, said: int, again: bool, numbers: list[int], *text: str) -> None:
        """What a worker says of a lot that is not known here.

        :param again: whether the other process may have heard it, and published anew what was not sent.
        """
        found = [entry for entry in map(self._outbox.find, numbers) if entry is not None and entry.inherited]
        if said == REFUSED and found:
            self._end(found, ClusterError(text[0]))
            return
        for entry in found:
            if said == BEGAN:
                entry.began = True
            elif said == UNSURE and entry.began:
                self._interrupt(entry, 'the worker that had begun it is gone')
            elif said == UNSURE and (again or entry.doubtful):
                entry.doubtful = True
            elif said == UNSURE:
                self._publish(entry)

    def look(self) -> None:
        """Publish what may be sent twice, where there is nothing to hear."""
        if self._entries and monotonic() >= self._heard + QUIET_SECONDS:
            entries, self._entries = self._entries, []
            for entry in entries:
                if entry.inherited and entry.safe and entry.pending.outcome is None:
                    self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        self._outbox.leave(entry)
        entry.pending.sent = False
        self._outbox.add(entry)
