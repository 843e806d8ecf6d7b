"""The producing side of a stream: takes requests from an async iterable while there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextvars import Context
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
    """

    def __init__(
        self, port: LoopPort, context: Callable[[], Context], requests: AsyncIterable[Any], window: int
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

    def start(self) -> None:
        """Begin to take requests."""
        self._task = self._port.loop.create_task(self._run())

    def stop(self) -> None:
        """Take no more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        batch, port, index = self.batch, self._port, 0
        try:
            async for given in self._requests:
                ticket = StreamTicket(request_of(given), self._context(), port, batch, index)
                batch.entries[index] = ticket
                index += 1
                port.border.put(ticket)
                if len(batch.entries) >= self._window:
                    self._room.clear()
                    await self._room.wait()
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
