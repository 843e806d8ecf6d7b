"""The clocks of a pool: one sweep over what is in flight, and the deadlines of requests.

A timer for each request would cost more than the request's own bookkeeping; so a timeout may be late by one sweep.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Protocol

from ..errors import ReadTimeout
from .exchange import Exchange
from .gevent_types import Loop, Watcher
from .pending import NEVER, PendingResponse, timeout_of

__all__ = ['Clock']

#: Seconds between two sweeps: how late a timeout may be.
SWEEP_SECONDS = 0.05


class Expiring(Protocol):
    """A connection that is being opened on the loop."""

    #: Of ``time.monotonic()``: when that takes too long.
    expires: float

    def expire(self) -> None:
        """It takes too long."""


class Clock:
    """Ends what is overdue.

    :param loop: gevent's loop.
    :param exchanges: what is looked at: all open connections of the pool.
    :param dials: those that are being opened on the loop.
    :param on_sweep: called with each sweep.
    :param now: seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        loop: Loop,
        exchanges: Collection[Exchange],
        dials: Collection[Expiring],
        on_sweep: Callable[[], object],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.now = now
        self._on_sweep = on_sweep
        self.running: bool = False
        self._exchanges = exchanges
        self._dials = dials
        # Held weakly: whoever has an unfinished request in hand holds it, and a finished one holds a whole answer.
        self._deadlines: list[tuple[float, int, weakref.ref[PendingResponse]]] = []
        self._numbers = count()
        self._compact_at = 1024
        self.timer: Watcher = loop.timer(SWEEP_SECONDS, SWEEP_SECONDS, ref=False)

    def start(self) -> None:
        """Look at what is in flight from now on; stops by itself when nothing is."""
        if not self.running:
            self.running = True
            self.timer.start(self.sweep)

    def watch(self, pending: PendingResponse, deadline: float) -> None:
        """End the request when the clock reaches the deadline."""
        pending.deadline = deadline
        heap = self._deadlines
        if len(heap) >= self._compact_at:  # most are over by now: forget them, or millions pile up
            heap[:] = [entry for entry in heap if _unfinished(entry[2])]
            heapify(heap)
            self._compact_at = max(1024, 2 * len(heap))
        heappush(heap, (deadline, next(self._numbers), weakref.ref(pending)))
        if not self.timer.ref:
            self.timer.ref = True
        self.start()

    @property
    def watched(self) -> int:
        """How many deadlines are remembered, of requests that are over too."""
        return len(self._deadlines)

    def sweep(self) -> None:
        """End what is overdue."""
        self._on_sweep()
        now = self.now()
        busy = self._sweep_exchanges(now)
        for dial in [dial for dial in self._dials if dial.expires < now]:
            dial.expire()
        heap = self._deadlines
        while heap and (heap[0][0] <= now or not _unfinished(heap[0][2])):
            pending = heappop(heap)[2]()
            if pending is not None and pending.outcome is None:
                pending.end(timeout_of(pending, 'total'))
        # The loop goes on for a deadline that is still to come: it may be all that can end a request that waits for a
        # slot which nothing on the loop is going to free.
        self.timer.ref = bool(heap)
        if not busy and not heap and not self._dials:
            self.running = False
            self.timer.stop()

    def _sweep_exchanges(self, now: float) -> bool:
        """End what was silent for too long, and streamed answers that are late; whether anything is in flight."""
        busy = False
        overdue, late = [], []
        for exchange in self._exchanges:
            if exchange.expires != NEVER or exchange.pending is not None:
                busy = True
                if exchange.expires < now:
                    overdue.append(exchange)
            if exchange.streamed is not None and exchange.deadline != NEVER:
                busy = True
                if exchange.deadline <= now:
                    late.append(exchange)
        for exchange in overdue:
            if exchange.expires < now:  # an earlier one's end may have given it another request
                what = 'took' if exchange.phase == 'send' else 'sent'
                exchange.fail(
                    ReadTimeout(f'the server {what} nothing for {exchange.read_seconds:g} s', phase=exchange.phase)
                )
        for exchange in late:
            exchange.cut_off()
        return busy

    def clear(self) -> None:
        """Forget the deadlines: in the child of a fork, they are the parent's."""
        self._deadlines.clear()


def _unfinished(reference: weakref.ref[PendingResponse]) -> bool:
    pending = reference()
    return pending is not None and pending.outcome is None
