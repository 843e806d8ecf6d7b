"""The requests that wait to be sent to one origin."""

from __future__ import annotations

from collections import deque

from .pending import PendingResponse

__all__ = ['RequestQueue']


class RequestQueue:
    """First in, first out. What ended while it waited stays in the queue, and is skipped when its turn comes."""

    __slots__ = ('dropped', 'entries')

    def __init__(self) -> None:
        self.entries: deque[PendingResponse] = deque()
        #: How many of them have ended.
        self.dropped: int = 0

    def __len__(self) -> int:
        return len(self.entries) - self.dropped

    def pop(self) -> PendingResponse | None:
        """The next request."""
        entries = self.entries
        while entries:
            pending = entries.popleft()
            if pending.outcome is None:
                return pending
            self.dropped -= 1
        return None

    def drop(self, pending: PendingResponse) -> None:
        """A request is about to end."""
        self.dropped += 1
        if self.dropped > 64 and self.dropped * 2 > len(self.entries):
            self.entries = deque(entry for entry in self.entries if entry.outcome is None and entry is not pending)
            self.dropped = 0

    def clear(self) -> None:
        """Forget all of them."""
        self.entries.clear()
        self.dropped = 0
