"""Streamed answers: bodies that are read in pieces, while they arrive.

Between a greenlet, which may block, and the loop, which may not.
"""

from __future__ import annotations

import os
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import index
from typing import IO, Any, Protocol

import gevent
from gevent.event import Event

from ..errors import Cancelled, HTTPError
from ..messages import Request, Response
from .decoding import Decoder
from .saving import save

__all__ = ['BodyStream', 'StreamedResponse']

#: Received bytes that wait for their reader before the connection stops reading.
HIGH_WATER = 256 * 1024


class BodySource(Protocol):
    """Where a body comes from."""

    def resume(self) -> None:
        """Its reader has caught up."""

    def finish_stream(self) -> None:
        """Its reader has read it to its end."""

    def discard(self) -> None:
        """Its reader leaves it half read."""

    def on_collected(self) -> None:
        """Nobody can read it any more; called in whatever greenlet or thread."""


class BodyStream:
    """A body on its way from its source to the one greenlet that reads it.

    :param coding: its content coding, if any.
    :param decode: whether that is undone.
    :param max_body: bound of the decoded body, in bytes.
    """

    __slots__ = (
        '_changed',
        '_decoder',
        '_ended',
        '_error',
        '_source',
        '_pieces',
        '_rest',
        '_steps',
        '_waiting',
        'coded',
        'response',
    )

    def __init__(self, source: BodySource, coding: str | None, decode: bool, max_body: int | None) -> None:
        self._source: BodySource | None = source
        self._decoder = Decoder(coding, max_body) if decode and coding is not None else None
        #: Whether there is a content coding that is not undone.
        self.coded: bool = coding is not None and (self._decoder is None or not self._decoder.known)
        #: Weak: dropping the response frees the connection.
        self.response: Callable[[], StreamedResponse | None] = lambda: None
        self._pieces: deque[bytes] = deque()  # as received
        self._waiting = 0  # bytes in them
        self._rest: deque[bytes | memoryview] = deque()  # decoded, not yet read
        self._steps: Iterator[bytes] | None = None  # a piece that is being decoded
        self._changed = Event()
        self._ended = False  # nothing more will be received
        self._error: HTTPError | None = None

    # -- called by the source, on the loop -----------------------------------------------------------------------

    def receive(self, data: bytes) -> bool:
        """Take received bytes; true when the source should stop reading for now."""
        self._pieces.append(data)
        self._waiting += len(data)
        self._changed.set()
        return self._waiting >= HIGH_WATER

    def end(self, error: HTTPError | None = None) -> None:
        """Nothing more will be received: the body is whole, or broke off with this error."""
        self._ended = True
        if error is not None:
            self._set_error(error)
            self._source = None
        elif not self.left:
            self._release()  # there is nothing to read, or nothing more
        self._changed.set()

    def break_off(self, error: HTTPError) -> None:
        """The body is not wanted any more: its reader gets the error."""
        source = self._source
        if source is not None:
            self._discard()
            self.end(error)
            source.discard()

    def _set_error(self, error: HTTPError) -> None:
        response = self.response()
        if response is not None:
            error.request, error.response = response.request, response
        self._error = error

    def _discard(self) -> None:
        self._pieces.clear()
        self._rest.clear()
        self._steps = None

    # -- called by the reader --------------------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether there is something received that was not read."""
        return bool(self._rest or self._pieces or self._steps is not None)

    def next(self, most: int = -1) -> bytes:
        """The next decoded piece, or the first bytes of it; ``b''`` at the end."""
        if not self._fill():
            return b''
        piece: bytes | memoryview = self._rest.popleft()
        if 0 < most < len(piece):
            piece = memoryview(piece)  # its rest is not copied each time
            self._rest.appendleft(piece[most:])
            piece = piece[:most]
        if self._ended and not self.left:
            self._release()  # read to its end, though the reader cannot know yet
        return bytes(piece)

    def next_cut(self, cut: Callable[[bytes | memoryview], list[bytes]]) -> bytes:
        """The next decoded piece, up to the first of the places at which ``cut`` cuts it; ``b''`` at the end."""
        if not self._fill():
            return b''
        parts = cut(self._rest[0])
        if len(parts) > 1:
            self._rest.popleft()
            self._rest.extendleft(reversed(parts))
        return self.next()

    def unread(self, parts: list[bytes]) -> None:
        """Something was thrown in, such as a ``gevent.Timeout``: who reads on misses nothing."""
        if self._error is None:
            self._rest.extendleft(reversed(parts))

    def _fill(self) -> bool:
        """Wait until there is something to read; false at the end."""
        while True:
            # At the end look one step ahead, to know whether it is the end.
            if self._steps is not None and len(self._rest) <= (self._ended and not self._pieces):
                self._step()
            elif self._rest:
                return True
            elif self._pieces:
                self._unpack(self._pieces.popleft())
            elif self._error is not None:
                raise self._error.with_traceback(None)
            elif self._ended:
                return False
            else:
                self._changed.clear()
                self._changed.wait()

    def _unpack(self, data: bytes) -> None:
        self._waiting -= len(data)
        if self._decoder is None:
            self._rest.append(data)
        else:
            self._steps = self._decoder.feed(data)
        source = self._source
        if source is not None and not self._ended and self._waiting < HIGH_WATER // 2:
            source.resume()

    def _step(self) -> None:
        """One bounded piece of what a received piece decodes to: it may be a thousand times its size."""
        assert self._steps is not None
        try:
            piece = next(self._steps, None)
        except HTTPError as exc:
            self._steps = None
            self._fail(exc)
            return
        if piece is None:
            self._steps = None
            if self._ended and not self.left:
                self._release()
        else:
            self._rest.append(piece)
            gevent.sleep(0)  # the others' turn: decoding takes its time

    def _fail(self, error: HTTPError) -> None:
        self._set_error(error)
        self._ended = True
        self._pieces.clear()
        source, self._source = self._source, None
        if source is not None:
            source.discard()

    def _release(self) -> None:
        """Read to the end: give the slot back."""
        if self._decoder is not None and self._error is None:
            try:
                self._decoder.finish()
            except HTTPError as exc:
                self._fail(exc)
        source, self._source = self._source, None
        if source is not None:
            source.finish_stream()

    def close(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        source, self._source = self._source, None
        if source is not None or self.left:
            self._discard()
            self._ended = True
            if self._error is None:
                self._set_error(Cancelled('the answer was closed before it was read to its end'))
        if source is not None:
            source.discard()

    def on_collected(self) -> None:
        """Nobody can read it any more; the slot must not be lost."""
        if self._source is not None:
            self._source.on_collected()


class StreamedResponse(Response):
    """An answer that was asked for with ``stream=True``: handed out at its head, read in pieces by one greenlet.

    It holds its slot until its body has been read to the end, or until it is closed; leaving it half read closes the
    connection. Use it as a context manager. ``data``, ``text``, ``json()`` and ``body`` read what is left, and bound
    it by ``max_body`` where the request gave one.

    Every method that reads raises :class:`TruncatedBody`, :class:`ReadTimeout` or another :class:`HTTPError` when the
    body breaks off, and :class:`Cancelled` after ``cancel()``.
    """

    __slots__ = ('_lines_read', '_stream', '_url', '_whole', '__weakref__')

    def __init__(
        self, request: Request, status: int, head: bytes, elapsed: float, stream: BodyStream, url: str
    ) -> None:
        super().__init__(request, status, head, b'', elapsed)
        self._stream = stream
        stream.response = weakref.ref(self)
        self._url = url
        self._lines_read = 0
        self._whole: bytes | None = None

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    def iter_bytes(self, size: int | None = None) -> Iterator[bytes]:
        """The body as it arrives, or in pieces of ``size`` bytes, the last of which may be shorter."""
        if size is not None and index(size) < 1:
            raise ValueError(f'size is a number of bytes above 0, not {size!r}')
        return iter(self._stream.next if size is None else partial(self.read, size), b'')

    def iter_lines(self) -> Iterator[str]:
        """The body's lines as text (UTF-8), without their ends (LF or CR LF).

        A loop that is left early can be followed by another, which goes on behind the last line.
        """
        for _, line in self._lines(b'\n'):
            yield line.decode('utf-8', 'replace')

    def _lines(self, end: bytes) -> Iterator[tuple[int, bytes]]:
        begun: list[bytes] = []  # of a line whose end has not come
        cut = _cuts[end]
        try:
            while piece := self._stream.next_cut(cut):
                begun.append(piece)
                if piece.endswith(end):
                    line = b''.join(begun).removesuffix(end)
                    begun.clear()
                    self._lines_read += 1
                    yield self._lines_read, line.removesuffix(b'\r')
        except BaseException:
            self._stream.unread(begun)
            raise
        if begun:
            self._lines_read += 1
            yield self._lines_read, b''.join(begun)

    def read(self, size: int | None = None) -> bytes:
        """So many bytes, fewer only at the end; all that is left without a size."""
        missing = -1 if size is None else index(size)
        parts: list[bytes] = []
        try:
            while missing and (piece := self._stream.next(missing)):
                parts.append(piece)
                if missing > 0:
                    missing -= len(piece)
        except BaseException:
            self._stream.unread(parts)
            raise
        return b''.join(parts)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the body to a file, which appears when it is whole; returns the number of bytes.

        A file that is there is replaced when the body is whole, and else left as it was. The new one has its owner,
        group and permissions; a symbolic link stays one. Where a new file cannot be the same to everybody, the whole
        body is written into the one that is there: it has several names (hard links), an access list or extended
        attributes, belongs to somebody to whom we cannot give a file, or is in a directory in which we cannot make any
        (then the body is kept in that of ``tempfile`` meanwhile). Set-user-ID and set-group-ID bits are dropped.

        A pipe or a device is written to as it is.

        :raises OSError: when the file cannot be written; before anything is read where it may not be.
        """
        return save(path, self._copy)

    def _copy(self, file: IO[bytes]) -> int:
        written = 0
        for piece in self.iter_bytes():
            file.write(piece)
            written += len(piece)
        return written

    def close(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        self._stream.close()

    def cancel(self) -> None:
        """Abort the body, from whatever greenlet: its reader gets :class:`Cancelled`."""
        self._stream.break_off(Cancelled('cancelled', request=self.request))

    def break_off(self, error: Exception) -> None:
        """Abort the body with an error of the engine's."""
        assert isinstance(error, HTTPError)
        self._stream.break_off(error)

    @property
    def data(self) -> bytes:
        """What is left of the body, read whole."""
        if self._whole is None:
            self._whole = self.read()
        return self._whole

    @property
    def body(self) -> Any:
        """What is left of the body, decoded as that of a :class:`Response` is."""
        return self.data or None if self._stream.coded else super().body

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        stream = getattr(self, '_stream', None)
        if stream is not None:
            stream.on_collected()


#: What cuts a piece behind each end of a line, or of a text in a sequence (RFC 7464).
_cuts = {b'\n': re.compile(rb'[^\n]*\n|[^\n]+').findall, b'\x1e': re.compile(rb'[^\x1e]*\x1e|[^\x1e]+').findall}
