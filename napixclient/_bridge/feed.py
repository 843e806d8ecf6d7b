"""The producing side of a stream of a thread: asks the iterable in that thread, between outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context

from ..messages import Request
from ..waiting import request_of
from .batches import CallBatch, StreamTicket
from .threads import ThreadPort

__all__ = ['Feed']


class Feed:
    """Gives requests to the hub while there is room.

    :param window: requests that may be under way or finished and not yet taken.
    """

    def __init__(self, port: ThreadPort, requests: Iterator[object], window: int) -> None:
        self.batch: CallBatch = CallBatch({})
        #: What the iterable raised.
        self.failure: Exception | None = None
        self._requests: Iterator[object] | None = requests
        self._port = port
        self._window = window
        self._given = 0

    def pull(self, count: int) -> bool:
        """Take so many requests from the iterable, as far as there is room; whether there was one."""
        batch, pulled = self.batch, False
        while count and self._requests is not None and len(batch.entries) < self._window:
            count -= 1
            try:
                request = request_of(next(self._requests))
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
