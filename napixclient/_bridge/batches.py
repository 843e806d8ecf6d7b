"""The requests of one caller, and what became of each of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .._http.pending import NEVER, Outcome, PendingResponse
from ..errors import Cancelled
from ..messages import Request
from .ports import Port, Ticket

__all__ = ['CallBatch', 'StreamTicket', 'as_cancelled', 'is_ticket']


class CallBatch:
    """Requests that one ``wait``, one loop or one stream hands out.

    Each has an index, at which its outcome replaces its ticket. One side adds and takes, the other one finishes; what
    both touch is atomic by itself, so that no lock is needed.
    """

    __slots__ = ('__weakref__', '_finished', 'done', 'entries', 'wake', 'wake_at')

    def __init__(self, entries: list[Any] | dict[int, Any]) -> None:
        #: By index: a ticket, then its outcome. In a list that becomes ``None`` when it is handed out.
        self.entries: Any = entries
        #: The indexes of what has finished, in that order, and may have been handed out since.
        self._finished: deque[int] = deque()
        #: How many have finished.
        self.done: int = 0
        #: When so many have finished, ``wake`` is called; it may be called once too often.
        self.wake_at: float = NEVER
        self.wake: Callable[[], object] = int

    def finish(self, index: int, outcome: Outcome) -> None:
        """Note an outcome, and wake who waits for it."""
        self.entries[index] = outcome
        self._finished.append(index)
        self.done += 1
        if self.done >= self.wake_at:
            self.wake_at = NEVER  # first: who waits again meanwhile sets both anew, and is woken for nothing
            self.wake()

    def tickets(self) -> list[Ticket]:
        """Those of what has no outcome yet."""
        return [entry for entry in self._entries() if is_ticket(entry)]

    def outcomes(self) -> list[Outcome]:
        """What has finished and was not handed out."""
        return [entry for entry in self._entries() if entry is not None and not is_ticket(entry)]

    def _entries(self) -> list[Any]:
        return list(self.entries.values() if isinstance(self.entries, dict) else self.entries)

    @property
    def left(self) -> int:
        """How many have not been handed out."""
        return len(self.entries) - (0 if isinstance(self.entries, dict) else self.entries.count(None))

    def take_next(self) -> Outcome | None:
        """Hand out what finished first; ``None`` where nothing has."""
        while self._finished:
            outcome = self._taken(self._finished.popleft())
            if outcome is not None:
                return outcome
        return None

    def take(self, index: int) -> Outcome | None:
        """Hand out one, if it has finished."""
        entry = self.entries.get(index) if isinstance(self.entries, dict) else self.entries[index]
        return None if entry is None or is_ticket(entry) else self._taken(index)

    def _taken(self, index: int) -> Outcome | None:
        if isinstance(self.entries, dict):
            outcome: Outcome | None = self.entries.pop(index, None)
        else:
            outcome, self.entries[index] = self.entries[index], None
        return outcome


def is_ticket(entry: object) -> bool:
    """Whether it is no outcome yet."""
    return hasattr(entry, 'pending')


class StreamTicket:
    """A request of a stream: nobody waits for it alone."""

    __slots__ = ('batch', 'context', 'index', 'pending', 'port', 'request')

    def __init__(self, request: Request, context: Context, port: Port, batch: CallBatch, index: int) -> None:
        self.request: Request = request
        self.context: Context | None = context
        self.port = port
        self.pending: PendingResponse | None = None
        self.batch: CallBatch = batch
        self.index: int = index

    def finish(self, outcome: Outcome) -> None:
        """The outcome is there."""
        self.batch.finish(self.index, outcome)

    def forked(self) -> None:
        """There is nothing that another thread may hold."""


def as_cancelled(request: Request, outcome: Outcome) -> Cancelled:
    """What a request ended with whose caller had cancelled it, though its outcome may have been on its way by then."""
    return outcome if isinstance(outcome, Cancelled) else Cancelled('cancelled', request=request)
