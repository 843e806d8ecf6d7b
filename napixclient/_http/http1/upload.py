"""Uploads: bodies that are read from files and iterables while they are sent.

Between a greenlet, in which the caller's object may block, and a connection, which may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import gevent
from gevent.event import Event

from ...messages import Source

__all__ = ['Upload']

_PIECE = 65536


class Sink(Protocol):
    """Where an upload goes."""

    def write(self, data: bytes) -> None:
        """Send a piece; ``Upload.more`` is called when it is out."""

    def uploaded(self) -> None:
        """The whole body is out."""

    def upload_failed(self, exc: BaseException) -> None:
        """The caller's object raised."""


class Upload:
    """Sends a body from a file or an iterable, in a greenlet, a piece at a time.

    A file whose length is known goes with Content-Length, anything else in chunks (RFC 9112 §7.1).
    """

    __slots__ = ('_chunked', '_sink', '_greenlet', '_left', '_out', '_source')

    def __init__(self, sink: Sink, source: Source) -> None:
        self._sink: Sink | None = sink
        self._source = source
        self._chunked = source.length is None
        self._left = source.length or 0
        self._out = Event()
        self._greenlet: Any = None

    def more(self) -> None:
        """What was given to the sink is out."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
            self._greenlet.rawlink(self._ended)
        else:
            self._out.set()

    def close(self) -> None:
        """Nothing more can be sent."""
        self._sink = None
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
            if self._sink is not None:
                self._sink.upload_failed(exc)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            if self._sink is not None:
                self._sink.uploaded()

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        """The greenlet ended: one that somebody killed before it began has read nothing."""
        if self._sink is not None and isinstance(greenlet.value, gevent.GreenletExit):
            self._sink.upload_failed(greenlet.value)

    def _write(self, data: bytes) -> None:
        if self._sink is None:  # cancelled by its own source, which nobody could stop
            raise gevent.GreenletExit
        self._out.clear()
        self._sink.write(data)
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
