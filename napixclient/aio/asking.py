"""What the hub's thread has an event loop do: authenticators and bodies that are ``async`` belong to their loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any

from gevent.event import Event
from gevent.hub import get_hub

from ..authenticators import Authenticator
from ..checks import is_async
from ..messages import Request, Response
from .port import LoopPort

__all__ = ['awaited_authenticator', 'async_body', 'caller']

#: The loop from which a request was made, in the context of that request.
caller: ContextVar[LoopPort] = ContextVar('napixclient_caller')


class _Call:
    """A coroutine in a loop that a greenlet of the hub waits for.

    :param context: the coroutine runs in a copy of it.
    """

    def __init__(self, port: LoopPort, context: Context, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._loop = port.loop
        self._context = context
        self._make = make
        self._hub_loop: Any = get_hub().loop
        self._ended = Event()
        self._task: asyncio.Task[Any] | None = None
        self._dropped = False

    def result(self) -> Any:
        """What it returns or raises; blocks the calling greenlet. To kill that cancels the coroutine."""
        self._loop.call_soon_threadsafe(self._start, context=self._context)
        try:
            self._ended.wait()
        finally:
            self._dropped = not self._ended.is_set()
            if self._dropped and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._cancel)
        assert self._task is not None
        return self._task.result()

    def _start(self) -> None:
        if not self._dropped:
            self._task = self._loop.create_task(self._make())
            self._task.add_done_callback(self._tell)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _tell(self, task: asyncio.Task[Any]) -> None:
        if self._dropped:
            task.cancelled() or task.exception()  # nobody else asks for it
            return
        try:
            self._hub_loop.run_callback_threadsafe(self._ended.set)
        except Exception:  # the hub has ended meanwhile
            pass


# Authenticators ------------------------------------------------------------------------------------------------------


def awaited_authenticator(given: Authenticator | None) -> Authenticator | None:
    """The authenticator as the hub calls it: one that is ``async`` is awaited in the loop of the request's caller."""
    return _Awaited(given) if is_async(given) or is_async(getattr(given, 'challenged', None)) else given


class _Awaited:
    def __init__(self, given: Any) -> None:
        self._given = given
        self._sign: Callable[[Request], Request | None] = _in_loop(given)
        if hasattr(given, 'challenged'):
            self.challenged: Callable[[Request, Response], object] = _in_loop(given.challenged)
        if hasattr(given, 'informed'):
            self.informed: Callable[[Request, Response], object] = given.informed

    def __call__(self, request: Request) -> Request | None:
        """What the authenticator makes of the request."""
        return self._sign(request)

    def __repr__(self) -> str:
        return repr(self._given)


def _in_loop(function: Any) -> Callable[..., Any]:
    if not is_async(function):
        plain: Callable[..., Any] = function
        return plain

    def call(*arguments: Any) -> Any:
        return _Call(caller.get(), copy_context(), lambda: function(*arguments)).result()

    return call


# Bodies --------------------------------------------------------------------------------------------------------------


def async_body(given: AsyncIterable[Any], port: LoopPort) -> object:
    """A body that a loop gives, as the hub reads it: again from its beginning, where that can be asked for."""
    body = _Body(given, port, copy_context())
    return iter(body) if hasattr(given, '__anext__') else body


class _Body:
    def __init__(self, given: AsyncIterable[Any], port: LoopPort, context: Context) -> None:
        self._given = given
        self._port = port
        self._context = context

    def __iter__(self) -> Iterator[Any]:
        """In a greenlet of the hub."""
        reader = _Reader(self._given)
        try:
            while (piece := self._call(reader.next)) is not _END:
                yield piece
        finally:
            loop = self._port.loop
            if not loop.is_closed():
                loop.call_soon_threadsafe(reader.close, context=self._context)

    def _call(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return _Call(self._port, self._context, make).result()


class _Reader:
    """Reads an async iterable in its loop, and closes it: neither while the other is under way."""

    def __init__(self, given: AsyncIterable[Any]) -> None:
        self._given = given
        self._iterator: AsyncIterator[Any] | None = None
        self._reading = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None

    async def next(self) -> Any:
        """The next piece, ``_END`` behind the last."""
        async with self._reading:
            if self._iterator is None:
                self._iterator = aiter(self._given)
            try:
                return await anext(self._iterator)
            except StopAsyncIteration:
                return _END

    def close(self) -> None:
        """Close it, soon."""
        if hasattr(self._iterator, 'aclose'):
            self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        async with self._reading:
            await self._iterator.aclose()  # type: ignore[union-attr]  # which was looked at


_END: Any = object()
