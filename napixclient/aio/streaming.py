"""Streamed answers of an ``AsyncPool``."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from functools import partial
from operator import index
from typing import Any, TypeVar

from .._bridge.bodies import Pieces, Pulled
from .._bridge.ports import Port
from .._http.streaming import StreamedResponse, at_rest
from ..checks import whole_number
from ..errors import Cancelled, HTTPError
from ..messages import MAX_EVENT, Headers, Response, ServerSentEvent
from ..peer import Route

__all__ = ['AsyncStreamedResponse']

T = TypeVar('T')


class AsyncStreamedResponse(Response):
    """An answer that was asked for with ``stream=True``: handed out at its head, read in pieces by one task.

    It holds its slot until its body has been read to the end, or until it is closed; leaving it half read closes the
    connection. Use it in ``async with``. Every method that reads raises :class:`TruncatedBody`, :class:`ReadTimeout` or
    another :class:`HTTPError` when the body breaks off, and :class:`Cancelled` when the request was cancelled. A task
    that is cancelled while it reads loses nothing: whoever reads on gets the next piece.

    ``data``, ``text``, ``json()`` and ``body`` are there when ``await response.read()`` has read what was left.
    """

    __slots__ = (
        '__weakref__',
        '_arrived',
        '_loop',
        '_pieces',
        '_port',
        '_pulling',
        '_read',
        '_source',
        '_url',
        '_whole',
    )

    def __init__(self, source: StreamedResponse, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(source.request, source.status, source.head, b'', source.elapsed, source.attempts)
        self.route: Route | None = source.route
        self._url = source.url
        self._port = port
        self._loop = loop
        self._source: StreamedResponse | None = source
        self._read: Iterator[bytes] | None = None  # as long as nobody has begun
        self._pieces = Pieces()
        self._pulling = False
        self._arrived: asyncio.Future[None] | None = None
        self._whole: bytes | None = None

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    @property
    def trailers(self) -> Headers:
        """The fields behind the body (RFC 9110 §6.5); empty until it has been read to its end."""
        return Headers() if self._source is None else self._source.trailers

    # -- reading ---------------------------------------------------------------------------------------------------

    def iter_bytes(self, size: int | None = None) -> AsyncIterator[bytes]:
        """The body as it arrives, or in pieces of ``size`` bytes, the last of which may be shorter."""
        if size is not None and index(size) < 1:
            raise ValueError(f'size is a number of bytes above 0, not {size!r}')
        return self._iterate(size)

    async def _iterate(self, size: int | None) -> AsyncIterator[bytes]:
        while piece := await (self._next() if size is None else self.read(size)):
            yield piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        return self._iterate(None)

    async def iter_lines(self) -> AsyncIterator[str]:
        """The body's lines as text (UTF-8), without their ends (LF or CR LF).

        A loop that is left early can be followed by another, which goes on behind the last line.
        """
        begun: list[bytes] = []  # of a line whose end has not come
        try:
            while await self._fill():
                piece = self._pieces.take_cut(_lines)
                begun.append(piece)
                if piece.endswith(b'\n'):
                    line = b''.join(begun).removesuffix(b'\n').removesuffix(b'\r')
                    begun.clear()
                    yield line.decode('utf-8', 'replace')
        except BaseException:
            self._pieces.put_back(begun)
            raise
        if begun:
            yield b''.join(begun).decode('utf-8', 'replace')

    async def iter_events(self, max_event: int = MAX_EVENT) -> AsyncIterator[ServerSentEvent]:
        """The server-sent events, as they arrive: see :meth:`napixclient.StreamedResponse.iter_events`.

        Leaving the loop, and cancelling the task that reads, gives up the slot. ``async with`` does so at once; without
        it, that is when the loop has its turn to close the iterator.
        """
        whole_number(max_event, 'max_event')
        source = self._source
        assert source is not None
        try:
            events = await self._of_hub(partial(source.iter_events, max_event))
            while (event := await self._of_hub(partial(next, events, None))) is not None:
                yield event
        finally:
            self._port.border.put(partial(source.break_off, Cancelled('the events were closed', request=self.request)))

    async def save(self, path: str | os.PathLike[str], resume: bool = False) -> int:
        """Write the body to a file, which appears when it is whole: see :meth:`napixclient.StreamedResponse.save`.

        The file is written in the thread of the pool. A task that is cancelled meanwhile gives up the slot; with
        ``resume=True`` what has come is kept for the next time.

        :returns: the number of bytes.
        :raises OSError: when the file cannot be written.
        :raises ValueError: when some of the body was read, and as there.
        """
        source = self._source
        if source is None or self._read is not None:
            raise ValueError('save() is for an answer of which nothing was read')

        def write() -> int | OSError | ValueError:
            try:
                return source.save(path, resume)
            except (OSError, ValueError) as exc:
                return exc

        try:
            found = await self._of_hub(write)
        except asyncio.CancelledError:
            self._port.border.put(partial(source.break_off, Cancelled('cancelled', request=self.request)))
            raise
        if isinstance(found, Exception):
            raise found
        self._pieces.put(b'')
        return found

    async def _of_hub(self, wait: Callable[[], T]) -> T:
        """What a greenlet of the hub waits for."""
        arrived: asyncio.Future[T | HTTPError] = self._loop.create_future()

        def take(found: T | HTTPError) -> None:
            if not arrived.done():
                arrived.set_result(found)

        self._port.border.put(Pulled(self._port, wait, take))
        found = await arrived
        if isinstance(found, HTTPError):
            found.request, found.response = self.request, self
            raise found
        return found

    async def read(self, size: int | None = None) -> bytes:
        """So many bytes, fewer only at the end; all that is left without a size."""
        missing = -1 if size is None else index(size)
        parts: list[bytes] = []
        try:
            while missing and (piece := await self._next(missing)):
                parts.append(piece)
                if missing > 0:
                    missing -= len(piece)
        except BaseException:
            self._pieces.put_back(parts)
            raise
        data = b''.join(parts)
        if size is None:
            self._whole = (self._whole or b'') + data
        return data

    async def _next(self, most: int = -1) -> bytes:
        return self._pieces.take(most) if await self._fill() else b''

    async def _fill(self) -> bool:
        """Wait until there is something to read; false at the end."""
        pieces = self._pieces
        while not pieces.has_some():
            if pieces.ended:
                return False
            if not self._pulling:
                if self._read is None:
                    assert self._source is not None
                    self._read = self._source.iter_bytes()
                self._pulling = True
                self._arrived = self._loop.create_future()
                self._port.border.put(Pulled(self._port, partial(next, self._read, b''), self._take))
            assert self._arrived is not None
            await asyncio.shield(self._arrived)
        return True

    def _take(self, piece: bytes | HTTPError) -> None:
        """A piece has come."""
        if isinstance(piece, HTTPError):
            piece.request, piece.response = self.request, self
        self._pieces.put(piece)
        self._pulling = False
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    # -- what was read ---------------------------------------------------------------------------------------------

    @property
    def data(self) -> bytes:
        """What ``await response.read()`` has read.

        :raises RuntimeError: before that.
        """
        if self._whole is None:
            raise RuntimeError('the body of a streamed answer is there after "await response.read()"')
        return self._whole

    @property
    def body(self) -> Any:
        """What was read, decoded as the body of a :class:`Response` is."""
        source = self._source
        return self.data or None if source is not None and source.coded else super().body

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Abort the body: its reader gets :class:`Cancelled`."""
        source = self._source
        if source is not None and not self._pieces.ended:
            error = Cancelled('cancelled', request=self.request)
            self._port.border.put(partial(source.break_off, error))
            self._take(error)

    async def aclose(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        what = 'the answer was closed before it was read to its end'
        if not self._pieces.ended and self._source is not None:
            self._port.border.put(partial(self._source.break_off, Cancelled(what, request=self.request)))
        self._pieces.break_off(Cancelled(what, request=self.request, response=self))

    close = aclose

    def __reduce__(self) -> Any:
        return copy, (at_rest(self, self._pieces.over, self._whole),)

    async def __aenter__(self) -> AsyncStreamedResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


#: Cuts a piece behind each end of a line.
_lines = re.compile(rb'[^\n]*\n|[^\n]+').findall
