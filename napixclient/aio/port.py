"""The event loop as a destination: outcomes come in groups, and are handed on a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary, ref

from .._bridge.batches import CallBatch, as_cancelled
from .._bridge.ports import Border, Group, Port, Ticket
from .._http.pending import Outcome, PendingResponse
from .._http.streaming import StreamedResponse
from ..messages import Request
from .streaming import AsyncStreamedResponse

__all__ = ['LoopFuture', 'LoopPort']

#: Outcomes that are handed on in one turn of the loop: whoever awaits them has to run as well.
_AT_ONCE = 100
_Task = asyncio.Task[Any]


class LoopPort(Port):
    """One event loop, and what each of its tasks has asked for.

    :param loop: the running one.
    """

    def __init__(self, border: Border, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(border)
        self.loop: asyncio.AbstractEventLoop = loop
        self._arrived: deque[tuple[Ticket, Outcome]] = deque()
        self._scheduled = False
        #: By task, what it has asked for since its last wait.
        self._batches: WeakKeyDictionary[_Task, CallBatch] = WeakKeyDictionary()
        #: The entry that was asked for last: most tasks ask for more than one request.
        self._last: tuple[ref[_Task], CallBatch] | None = None
        #: What callbacks of the loop have asked for, outside any task.
        self._outside = CallBatch([])
        #: The streams that each has under way.
        self._streams: dict[CallBatch, _Task | None] = {}

    # -- in the hub's thread ---------------------------------------------------------------------------------------

    def deliver(self, group: Group) -> None:
        """Have the loop finish the tickets."""
        self._arrived.extend(group)
        if not self._scheduled:
            self._scheduled = True
            self.post(self._hand_on)

    def post(self, function: Callable[[], object]) -> None:
        """Have the loop do it; one that is closed does nothing any more, and what is under way for it ends."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            self._arrived.clear()
            left = [ticket for ticket in self.tickets.values() if ticket.pending is not None]
            if left:
                self.border.cancel(left)

    def streamed(self, response: StreamedResponse) -> AsyncStreamedResponse:
        """The answer with a body that is pulled."""
        return AsyncStreamedResponse(response, self, self.loop)

    # -- in the loop -----------------------------------------------------------------------------------------------

    def _hand_on(self) -> None:
        arrived = self._arrived
        self._scheduled = False
        for _ in range(min(len(arrived), _AT_ONCE)):
            ticket, outcome = arrived.popleft()
            ticket.finish(outcome)
        if arrived and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._hand_on)

    @property
    def handing_on(self) -> bool:
        """Whether something has arrived that was not handed on."""
        return bool(self._arrived)

    def current_batch(self) -> CallBatch:
        """That of the calling task."""
        task = asyncio.current_task(self.loop)
        if task is None:
            return self._outside
        last = self._last
        if last is not None and last[0]() is task:
            return last[1]
        batch = self._batches.get(task)
        if batch is None:
            batch = self._batches[task] = CallBatch([])
        self._last = ref(task), batch
        return batch

    def take_batch(self) -> CallBatch:
        """That of the calling task, which begins another one."""
        task = asyncio.current_task(self.loop)
        if task is None:
            batch, self._outside = self._outside, CallBatch([])
            return batch
        self._last = None
        return self._batches.pop(task, None) or CallBatch([])

    def begin_stream(self, batch: CallBatch) -> None:
        """The calling task has this stream under way."""
        self._streams[batch] = asyncio.current_task(self.loop)

    def end_stream(self, batch: CallBatch) -> None:
        """It has not any more."""
        self._streams.pop(batch, None)

    def all_of_task(self) -> list[CallBatch]:
        """What the calling task has under way: since its last wait, and in streams."""
        task = asyncio.current_task(self.loop)
        return [self.current_batch(), *(batch for batch, owner in self._streams.items() if owner is task)]

    async def wait_for(self, batch: CallBatch, count: int, deadline: float | None) -> None:
        """Wait until so many have finished; those that have not when ``monotonic()`` is at the deadline end then."""
        timer = None if deadline is None else self.loop.call_later(max(deadline - monotonic(), 0), self._expire, batch)
        try:
            while batch.done < count:
                await self.wait_once(batch, count)
        finally:
            if timer is not None:
                timer.cancel()

    async def wait_once(self, batch: CallBatch, count: int) -> None:
        """Wait until so many have finished, or somebody calls ``batch.wake``."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        batch.wake, batch.wake_at = partial(_wake, waiter), count
        await waiter

    def _expire(self, batch: CallBatch) -> None:
        self.border.expire(batch.tickets())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class LoopFuture(asyncio.Future[Any]):
    """What ``AsyncPool.request`` returns."""

    __slots__ = ('batch', 'context', 'index', 'pending', 'port', 'request')

    def __init__(self, request: Request, context: Context, port: LoopPort, batch: CallBatch, index: int) -> None:
        super().__init__(loop=port.loop)
        self.request: Request = request
        self.context: Context | None = context
        self.port: Port = port
        self.pending: PendingResponse | None = None
        self.batch: CallBatch = batch
        self.index: int = index

    def finish(self, outcome: Outcome) -> None:
        """The outcome is there."""
        if self.cancelled():
            outcome = as_cancelled(self.request, outcome)
        elif not self.done():
            self.set_result(outcome)
        self.batch.finish(self.index, outcome)

    def forked(self) -> None:
        """There is nothing that another thread may hold."""

    def cancel(self, msg: object = None) -> bool:
        """End the request, queued or in flight; false when its outcome is there."""
        if not super().cancel(msg):
            return False
        self.port.border.cancel([self])
        return True
