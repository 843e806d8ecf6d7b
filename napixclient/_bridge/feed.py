"""The producing side of a stream of a thread: asks the iterable in that thread, between outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context
from time import monotonic

from ..messages import Request
from ..waiting import request_of
from .batches import CallBatch, StreamTicket
from .threads import ThreadPort

__all__ = ['Feed']


class Feed:
    """Gives requests to the hub while there is room.

    :param window: requests that may be under way or finished and not yet taken.
    :param deadline: of ``monotonic()``, when no more is asked for.
    """

    def __init__(
        self, port: ThreadPort, requests: Iterator[object], window: int, deadline: float | None = None
    ) -> None:
        self.batch: CallBatch = CallBatch({})
        #: What the iterable raised.
        self.failure: Exception | None = None
        #: ``None`` where there is none, and behind it.
        self.deadline: float | None = deadline
        self._requests: Iterator[object] | None = requests
        self._port = port
        self._window = window
        self._given = 0

    def is_late(self) -> bool:
        """Whether the time of the stream is up, and nobody has acted on that."""
        return self.deadline is not None and monotonic() >= self.deadline

    def stop(self) -> None:
        """Ask for no more."""
        self._requests = self.deadline = None

    def pull(self, count: int) -> bool:
        """Take so many requests from the iterable, as far as there is room; whether there was one."""
        batch, pulled = self.batch, False
        while count and self._requests is not None and len(batch.entries) < self._window and not self.is_late():
            count -= 1
            try:
                given = next(self._requests)
                if self.is_late():  # it has blocked until then
                    break
                request = request_of(given)
            except StopIteration:
                self._requests = None
            except Exception as exc:
                self._requests, self.failure = None, exc
            else:
                self._send(request)
                pulled = True
        return pulled

    def _send(self, request: Request) -> None:
        ticket = StreamTicket(request, copy_context(), self._port, self.batch, self._given)
        self._given += 1
        self._port.expect()
        self.batch.entries[ticket.index] = ticket
        self._port.border.put(ticket)
