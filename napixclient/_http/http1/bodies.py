"""Bodies in pieces: answers that are read while they arrive, and uploads from files and iterables.

Both stand between a greenlet that may block and a connection that may not.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from functools import partial
from operator import index
from typing import IO, TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from ...errors import Cancelled, HTTPError
from ...messages import Request, Response, Source
from ..decoding import Decoder
from ..saving import save

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ['StreamedResponse', 'Upload']

#: Received bytes that wait for their reader before the connection stops reading.
HIGH_WATER = 256 * 1024
_PIECE = 65536


class StreamedResponse(Response):
    """An answer that was asked for with ``stream=True``: handed out at its head, read in pieces by one greenlet.

    It holds its slot until its body has been read to the end, or until it is closed; leaving it half read closes the
    connection. Use it as a context manager. ``data``, ``text``, ``json()`` and ``body`` read what is left, and bound
    it by ``max_body`` where the request gave one.

    Every method that reads raises :class:`TruncatedBody`, :class:`ReadTimeout` or another :class:`HTTPError` when the
    body breaks off, and :class:`Cancelled` after ``cancel()``.
    """

    __slots__ = (
        '_changed',
        '_coded',
        '_connection',
        '_decoder',
        '_ended',
        '_error',
        '_lines_read',
        '_pieces',
        '_rest',
        '_steps',
        '_url',
        '_waiting',
        '_whole',
        '__weakref__',
    )

    def __init__(
        self,
        request: Request,
        status: int,
        head: bytes,
        elapsed: float,
        connection: Connection,
        coding: str | None,
        decode: bool,
        max_body: int | None,
    ) -> None:
        super().__init__(request, status, head, b'', elapsed)
        self._connection: Connection | None = connection
        self._decoder = Decoder(coding, max_body) if decode and coding is not None else None
        self._coded = coding is not None and (self._decoder is None or not self._decoder.known)
        self._pieces: deque[bytes] = deque()  # as received
        self._waiting = 0  # bytes in them
        self._rest: deque[bytes | memoryview] = deque()  # decoded, not yet read
        self._steps: Iterator[bytes] | None = None  # a piece that is being decoded
        self._changed = Event()
        self._ended = False  # nothing more will be received
        self._error: HTTPError | None = None
        self._lines_read = 0
        self._whole: bytes | None = None
        self._url = super().url

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    # -- called by the connection, on the loop ---------------------------------------------------------------------

    def _receive(self, data: bytes) -> bool:
        """Take received bytes; true when the connection had better stop reading for now."""
        self._pieces.append(data)
        self._waiting += len(data)
        self._changed.set()
        return self._waiting >= HIGH_WATER

    def _end(self, error: HTTPError | None) -> None:
        self._ended = True
        self._error = error
        if error is not None:
            error.response = self
            self._connection = None
        elif not self._left:
            self._release()  # there is nothing to read, or nothing more
        self._changed.set()

    def _abort(self, error: HTTPError) -> None:
        """``cancel()`` after the answer was handed out: the reader gets the error."""
        connection = self._connection
        if connection is not None:
            self._pieces.clear()
            self._rest.clear()
            self._steps = None
            self._end(error)
            connection.abandon()

    # -- called by the reader --------------------------------------------------------------------------------------

    def iter_bytes(self, size: int | None = None) -> Iterator[bytes]:
        """The body as it arrives, or in pieces of ``size`` bytes, the last of which may be shorter."""
        if size is not None and index(size) < 1:
            raise ValueError(f'size is a number of bytes above 0, not {size!r}')
        return iter(self._next if size is None else partial(self.read, size), b'')

    def iter_lines(self) -> Iterator[str]:
        """The body's lines as text (UTF-8), without their ends (LF or CR LF).

        Who leaves the loop early can read on behind the last line that he got.
        """
        for _, line in self._lines(b'\n'):
            yield line.decode('utf-8', 'replace')

    def _lines(self, end: bytes) -> Iterator[tuple[int, bytes]]:
        begun: list[bytes] = []  # of a line whose end has not come
        cut = _cuts[end]
        try:
            while self._fill():
                lines = cut(self._rest[0])
                if len(lines) > 1:
                    self._rest.popleft()
                    self._rest.extendleft(reversed(lines))
                piece = self._next()
                begun.append(piece)
                if piece.endswith(end):
                    line = b''.join(begun).removesuffix(end)
                    begun.clear()
                    self._lines_read += 1
                    yield self._lines_read, line.removesuffix(b'\r')
        except BaseException:
            self._unread(begun)
            raise
        if begun:
            self._lines_read += 1
            yield self._lines_read, b''.join(begun)

    def read(self, size: int | None = None) -> bytes:
        """So many bytes, fewer only at the end; all that is left without a size."""
        missing = -1 if size is None else index(size)
        parts: list[bytes] = []
        try:
            while missing and (piece := self._next(missing)):
                parts.append(piece)
                if missing > 0:
                    missing -= len(piece)
        except BaseException:
            self._unread(parts)
            raise
        return b''.join(parts)

    def _unread(self, parts: list[bytes]) -> None:
        """Something was thrown in, such as a ``gevent.Timeout``: who reads on misses nothing."""
        if self._error is None:
            self._rest.extendleft(reversed(parts))

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

    @property
    def _left(self) -> bool:
        """Whether there is something received that was not read."""
        return bool(self._rest or self._pieces or self._steps is not None)

    def _next(self, most: int = -1) -> bytes:
        """The next decoded piece, or the first bytes of it; ``b''`` at the end."""
        if not self._fill():
            return b''
        piece: bytes | memoryview = self._rest.popleft()
        if 0 < most < len(piece):
            piece = memoryview(piece)  # its rest is not copied each time
            self._rest.appendleft(piece[most:])
            piece = piece[:most]
        if self._ended and not self._left:
            self._release()  # read to its end, though the reader cannot know yet
        return bytes(piece)

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
        connection = self._connection
        if connection is not None and not self._ended and self._waiting < HIGH_WATER // 2:
            connection.resume()

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
            if self._ended and not self._left:
                self._release()
        else:
            self._rest.append(piece)
            gevent.sleep(0)  # the others' turn: decoding takes its time

    def _fail(self, error: HTTPError) -> None:
        error.request, error.response = self.request, self
        connection, self._connection = self._connection, None
        self._error, self._ended = error, True
        self._pieces.clear()
        if connection is not None:
            connection.abandon()

    def _release(self) -> None:
        """Read to the end: give the slot back."""
        if self._decoder is not None and self._error is None:
            try:
                self._decoder.finish()
            except HTTPError as exc:
                self._fail(exc)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish_stream()

    def close(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        connection, self._connection = self._connection, None
        if connection is not None or self._left:
            self._pieces.clear()
            self._rest.clear()
            self._steps = None
            self._ended = True
            self._error = self._error or Cancelled(
                'the answer was closed before it was read to its end', request=self.request, response=self
            )
        if connection is not None:
            connection.abandon()

    def cancel(self) -> None:
        """Abort the body, from whatever greenlet: its reader gets :class:`Cancelled`. As that of the request does."""
        self._abort(Cancelled('cancelled', request=self.request))

    @property
    def data(self) -> bytes:
        """What is left of the body, read whole."""
        if self._whole is None:
            self._whole = self.read()
        return self._whole

    @property
    def body(self) -> Any:
        """What is left of the body: as that of a response that is read whole."""
        return self.data or None if self._coded else super().body

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        connection = self._connection
        if connection is not None:  # nobody can read it any more; the slot must not be lost
            connection.forsake()


#: What cuts a piece behind each end of a line, or of a text in a sequence (RFC 7464).
_cuts = {b'\n': re.compile(rb'[^\n]*\n|[^\n]+').findall, b'\x1e': re.compile(rb'[^\x1e]*\x1e|[^\x1e]+').findall}


class Upload:
    """Sends a body from a file or an iterable, in a greenlet, a piece at a time.

    A file whose length is known goes with Content-Length, anything else in chunks (RFC 9112 §7.1).
    """

    __slots__ = ('_chunked', '_connection', '_greenlet', '_left', '_out', '_source')

    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection: Connection | None = connection
        self._source = source
        self._chunked = source.length is None
        self._left = source.length or 0
        self._out = Event()
        self._greenlet: Any = None

    def more(self) -> None:
        """What was given to the connection is out."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
        else:
            self._out.set()

    def abandon(self) -> None:
        """Nothing more can be sent."""
        self._connection = None
        if self._greenlet is not None and self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        try:
            for piece in self._pieces():
                self._write(b'%x\r\n%b\r\n' % (len(piece), piece) if self._chunked else piece)
            if self._chunked:
                self._write(b'0\r\n\r\n')
            elif self._left:
                raise ValueError(f'the file ended {self._left} bytes before its length')
        except BaseException as exc:  # a gevent.Timeout or GreenletExit of the source's own, too
            if self._connection is not None:
                self._connection.upload_failed(exc)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            if self._connection is not None:
                self._connection.uploaded()

    def _write(self, data: bytes) -> None:
        if self._connection is None:  # cancelled by its own source, which nobody could stop
            raise gevent.GreenletExit
        self._out.clear()
        self._connection.write(data)
        self._out.wait()

    def _pieces(self) -> Iterator[bytes]:
        if not self._chunked and not self._left:
            return
        for part in self._parts():
            piece = part.encode() if isinstance(part, str) else part
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise TypeError(f'a piece of a body is bytes or text, not {type(piece).__name__}')
            piece = bytes(piece)
            if not piece:
                if hasattr(self._source.stream, 'read'):
                    return
                continue
            if not self._chunked:
                piece = piece[: self._left]  # a file that grows meanwhile ends where it ended when we looked
                self._left -= len(piece)
            yield piece
            if not self._chunked and not self._left:
                return

    def _parts(self) -> Iterator[Any]:
        """What the caller's object gives, from its beginning."""
        source = self._source
        stream, here, source.begun = source.stream, source.start, True
        if not hasattr(stream, 'read'):
            yield from stream
            return
        while True:
            if here is None:
                piece = stream.read(_PIECE)
            else:  # left where it stands: others may be sending it, or begin to
                stands = stream.tell()
                stream.seek(here)
                piece = stream.read(_PIECE)
                here = stream.tell() if source.length is None else here + len(piece)
                stream.seek(stands)
            yield piece
