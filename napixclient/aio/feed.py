"""The producing side of a stream: takes requests from an async iterable while there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextvars import Context
from time import monotonic
from typing import Any

from .._bridge.batches import CallBatch, StreamTicket
from ..waiting import request_of
from .port import LoopPort

__all__ = ['Feed', 'one_by_one']

#: Requests that are taken from an iterable before the loop turns.
_AT_ONCE = 100


class Feed:
    """Runs in a task of its own.

    :param context: gives that of a request.
    :param window: requests that may be under way or finished and not yet taken.
    :param deadline: of ``monotonic()``, when no more is asked for, and what is under way ends.
    """

    def __init__(
        self,
        port: LoopPort,
        context: Callable[[], Context],
        requests: AsyncIterable[Any],
        window: int,
        deadline: float | None,
    ) -> None:
        self.batch: CallBatch = CallBatch({})
        #: Whether nothing more comes.
        self.over: bool = False
        #: What the iterable raised.
        self.failure: BaseException | None = None
        self._port = port
        self._context = context
        self._requests = requests
        self._window = window
        self._low = window - max(1, window // 4)  # waking for each place would cost a turn a request
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take requests."""
        loop = self._port.loop
        if self._deadline is not None:
            self._timer = loop.call_later(max(self._deadline - monotonic(), 0), self._expire)
        self._task = loop.create_task(self._run())

    def end(self) -> None:
        """The stream is over: take no more, whatever is left."""
        self._stop()
        if self._timer is not None:
            self._timer.cancel()

    def _is_late(self) -> bool:
        return self._stopped or (self._deadline is not None and monotonic() >= self._deadline)

    def _stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def _expire(self) -> None:
        """The time of the stream is up."""
        self._stop()
        self.over = True
        self._port.border.expire(self.batch.tickets())
        self.batch.wake()

    async def _run(self) -> None:
        batch, port, index = self.batch, self._port, 0
        try:
            if self._is_late():
                return
            async for given in self._requests:
                if self._is_late():  # it may have waited until then, or not have heeded its end
                    break
                ticket = StreamTicket(request_of(given), self._context(), port, batch, index)
                batch.entries[index] = ticket
                index += 1
                port.border.put(ticket)
                if len(batch.entries) >= self._window:
                    self._room.clear()
                    await self._room.wait()
                if self._is_late():
                    break
        except asyncio.CancelledError as exc:
            if self._stopped:
                raise
            self.failure = exc  # of something that the iterable awaits
        except Exception as exc:
            self.failure = exc
        finally:
            self.over = True
            batch.wake()

    async def wait(self, count: int) -> None:
        """Wait until so many requests have finished, or it is clear that nothing more comes."""
        await self._port.wait_once(self.batch, count)

    def make_room(self) -> None:
        """An outcome was taken."""
        if len(self.batch.entries) <= self._low:
            self._room.set()


async def one_by_one(requests: Iterator[Any]) -> AsyncIterator[Any]:
    """The requests of an iterable that is none of asyncio's; the loop turns between some of them."""
    for number, request in enumerate(requests, 1):
        yield request
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
