"""Uploads: bodies that are read from files and iterables while they are sent.

Between a greenlet, in which the caller's object may block, and a connection, which may not.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent.event import Event

from ...messages import Source

__all__ = ['FileSpan', 'Upload']

#: Bytes of a file that the system is asked to send at once: others have their turn.
_SPAN = 1 << 18


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

    :param sent: bytes of the body that are out already.
    """

    __slots__ = ('_chunked', '_sink', '_greenlet', '_out', '_sent', '_source')

    def __init__(self, sink: Sink, source: Source, sent: int = 0) -> None:
        self._sink: Sink | None = sink
        self._source = source
        self._chunked = source.length is None
        self._sent = sent
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
            for piece in self._source.pieces(self._sent):
                self._write(b'%x\r\n%b\r\n' % (len(piece), piece) if self._chunked else piece)
            if self._chunked:
                self._write(b'0\r\n\r\n')
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


class FileSpan:
    """A file that the system can send by itself, without a copy through our memory.

    :param file: it, or what reads it.
    :param start: where the body begins in it.
    :param length: of the body, in bytes.
    """

    __slots__ = ('_file', '_length', '_start', 'sent')

    def __init__(self, file: io.FileIO, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self.sent: int = 0  # bytes that are out

    @classmethod
    def of(cls, source: Source) -> FileSpan | None:
        """The whole of a regular file, from where it stood; ``None`` for what has to be read.

        Nothing but the interpreter's own files will do: what another class reads need not be what is in its file.
        """
        stream, start, length = source.stream, source.start, source.length
        if start is None or not length:
            return None
        try:
            if type(stream) is io.BufferedRandom:
                stream.flush()
            file = stream.raw if type(stream) in (io.BufferedReader, io.BufferedRandom) else stream
            if type(file) is not io.FileIO or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
        except (OSError, ValueError):  # who reads it will hear of it
            return None
        source.begun = True
        return cls(file, start, length)

    def send(self, send_file: Callable[[int, int, int], int]) -> bool:
        """Have the socket take what it can; whether all is out.

        :param send_file: takes a descriptor, an offset and a size; returns how many bytes went out.
        :raises ValueError: when the file was closed, or has become shorter.
        """
        left = self._length - self.sent
        size = send_file(self._file.fileno(), self._start + self.sent, min(left, _SPAN))
        if not size:
            raise Source.ended_early(left)
        self.sent += size
        return size == left
