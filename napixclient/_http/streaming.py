"""Streamed answers as their callers have them: read in pieces, while they arrive."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator
from copy import copy
from functools import partial
from operator import index
from typing import IO, Any

from ..checks import whole_number
from ..errors import Cancelled, HTTPError
from ..messages import MAX_EVENT, Headers, Request, Response, ServerSentEvent
from .body_stream import ReadableBody
from .event_stream import EventStream
from .following import Continuing, Follower
from .part_file import PartFile
from .resuming import Download
from .saving import save, save_resumed

__all__ = ['StreamedResponse', 'at_rest']


class StreamedResponse(Response):
    """An answer that was asked for with ``stream=True``: handed out at its head, read in pieces by one greenlet.

    It holds its slot until its body has been read to the end, or until it is closed; leaving it half read closes the
    connection. Use it as a context manager. ``data``, ``text``, ``json()`` and ``body`` read what is left, and bound
    it by ``max_body`` where the request gave one.

    Every method that reads raises :class:`TruncatedBody`, :class:`ReadTimeout` or another :class:`HTTPError` when the
    body breaks off, and :class:`Cancelled` after ``cancel()``.
    """

    __slots__ = ('__weakref__', '_begun', '_follower', '_lines_read', '_stream', '_url', '_whole', 'continuation')

    def __init__(
        self, request: Request, status: int, head: bytes, elapsed: float, stream: ReadableBody, url: str
    ) -> None:
        super().__init__(request, status, head, b'', elapsed)
        self._stream = stream
        stream.response = weakref.ref(self)
        self._url = url
        self._begun = False  # whether somebody has begun to read it
        self._lines_read = 0
        self._whole: bytes | None = None
        self._follower: weakref.ref[Follower] | None = None
        #: Asks for what follows.
        self.continuation: Continuing | None = None

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    @property
    def trailers(self) -> Headers:
        """The fields behind the body (RFC 9110 §6.5); empty until it has been read to its end."""
        return Headers.of_block(self._stream.trailers)

    @property
    def coded(self) -> bool:
        """Whether the body is in a content coding that is not undone."""
        return self._stream.coded

    def __iter__(self) -> Iterator[bytes]:
        """The body as it arrives."""
        return self.iter_bytes()

    def iter_bytes(self, size: int | None = None) -> Iterator[bytes]:
        """The body as it arrives, or in pieces of ``size`` bytes, the last of which may be shorter."""
        if size is not None and index(size) < 1:
            raise ValueError(f'size is a number of bytes above 0, not {size!r}')
        self._begun = True
        return iter(self._stream.next if size is None else partial(self.read, size), b'')

    def iter_lines(self) -> Iterator[str]:
        """The body's lines as text (UTF-8), without their ends (LF or CR LF).

        A loop that is left early can be followed by another, which goes on behind the last line.
        """
        for _, line in self._lines(b'\n'):
            yield line.decode('utf-8', 'replace')

    def _lines(self, end: bytes) -> Iterator[tuple[int, bytes]]:
        self._begun = True
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
        self._begun = True
        parts: list[bytes | memoryview] = []
        if missing < 0:
            self._stream.gather()
        try:
            while missing and (piece := self._stream.next_part(missing)):
                parts.append(piece)
                if missing > 0:
                    missing -= len(piece)
        except BaseException:
            self._stream.scatter()
            self._stream.unread(parts)
            raise
        return b''.join(parts)

    def save(self, path: str | os.PathLike[str], resume: bool = False) -> int:
        """Write the body to a file, which appears when it is whole; returns the number of bytes.

        A file that is there is replaced when the body is whole, and else left as it was. The new one has its owner,
        group and permissions; a symbolic link stays one. Where a new file cannot be the same to everybody, the whole
        body is written into the one that is there: it has several names (hard links), an access list or extended
        attributes, belongs to somebody to whom we cannot give a file, or is in a directory in which we cannot make any
        (then the body is kept in that of ``tempfile`` meanwhile). Set-user-ID and set-group-ID bits are dropped.

        A pipe or a device is written to as it is.

        With ``resume=True``, of an answer to a ``GET`` of which nothing was read, it goes on where the body breaks off,
        as far as ``retries`` allow: with ``Range`` and ``If-Range`` (RFC 9110 §13.1.5), if the answer has a strong ETag
        or a Last-Modified. What has come is in ``<path>.part`` meanwhile. When this raises it stays there, and the next
        ``save(path, resume=True)`` of the same URL closes its answer and asks for the rest. What has changed on the
        server begins anew.

        :raises OSError: when the file cannot be written; before anything is read where it may not be.
        :raises ValueError: for ``resume=True`` where the method is not GET, the request has a Range of its own, some of
            the body was read, or the path is that of a pipe or a device.
        """
        if not resume:
            return save(path, self._copy)
        request, continuation = self.request, self.continuation
        if request.method != 'GET' or 'range' in request.headers:
            raise ValueError('resume=True is for a GET without a Range of its own')
        if self._begun:
            raise ValueError('resume=True is for an answer of which nothing was read')
        if self.status != 200 or continuation is None:
            return save(path, self._copy)

        def run(part: PartFile) -> int:
            download = Download(self, continuation, part)
            self._follower = weakref.ref(download)
            return download.run()

        try:
            return save_resumed(path, request.full_url, run)
        finally:
            self._begun = False  # what this has read is in the part: it may go on

    def _copy(self, file: IO[bytes]) -> int:
        written = 0
        for piece in self.iter_bytes():
            file.write(piece)
            written += len(piece)
        return written

    def iter_events(self, max_event: int = MAX_EVENT) -> Iterator[ServerSentEvent]:
        """The server-sent events (WHATWG HTML §9.2), as they arrive; of a request that accepts ``text/event-stream``.

        When a stream that was asked for with ``GET`` ends or breaks off, the request is sent again, with
        ``Last-Event-ID``, after as many milliseconds as the server said in ``retry``, or 3 s; while the server cannot
        be reached the pause grows, up to a minute. The events end when the server answers 204. Leaving the loop gives
        up the slot.

        :param max_event: bytes of a line, and of the data of an event, at most.
        :raises InvalidResponse: when an answer is no stream of events.
        :raises BodyTooLarge: for a line or an event that exceeds its bound.
        :raises RemoteError: when the server answers 400 or above; there is no further attempt.
        :raises DeadlineExceeded: when the total ``timeout`` of the request is up.
        """
        whole_number(max_event, 'max_event')
        # To send anything else again, nobody may do but who sent it (RFC 9110 §9.2.2); EventSource only knows GET.
        continuation = self.continuation if self.request.method == 'GET' else None
        events = EventStream(self, continuation, max_event, self._stream.give_turn)
        self._follower = weakref.ref(events)
        return events

    def close(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        self.release()
        follower = self._following()
        if follower is not None:
            follower.close()

    def release(self) -> None:
        """Give the slot back; what follows this answer goes on."""
        self._stream.close()

    def cancel(self) -> None:
        """Abort the body, from whatever greenlet: its reader gets :class:`Cancelled`."""
        self.break_off(Cancelled('cancelled', request=self.request))

    def break_off(self, error: Exception) -> None:
        """Abort the body with an error of the engine's."""
        assert isinstance(error, HTTPError)
        self._stream.break_off(error)
        follower = self._following()
        if follower is not None:
            follower.break_off(error)

    def _following(self) -> Follower | None:
        """What reads other answers behind this one, once: it ends this one as well."""
        follower, self._follower = self._follower, None
        return None if follower is None else follower()

    @property
    def data(self) -> bytes:
        """What is left of the body, read whole."""
        if self._whole is None:
            self._whole = self.read()
        return self._whole

    @property
    def body(self) -> Any:
        """What is left of the body, decoded as that of a :class:`Response` is."""
        return self.data or None if self.coded else super().body

    def __reduce__(self) -> Any:
        return copy, (at_rest(self, self._stream.over, self._whole),)

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_collected(self) -> None:
        """Nobody reads it any more; called in whatever greenlet or thread."""
        self._stream.on_collected()

    def __del__(self) -> None:
        if getattr(self, '_stream', None) is not None:
            self.on_collected()


def at_rest(answer: Response, is_over: bool, whole: bytes | None) -> Response:
    """A streamed answer as it is copied and pickled, such as with an error that has it: with what was read whole.

    :raises TypeError: while its body is still to be read, which can be done in one place only.
    """
    if not is_over:
        raise TypeError('an answer that is still streamed can be neither copied nor pickled: read or close it before')
    return Response.from_response(answer, whole or b'')


#: What cuts a piece behind each end of a line, or of a text in a sequence (RFC 7464).
_cuts = {b'\n': re.compile(rb'[^\n]*\n|[^\n]+').findall, b'\x1e': re.compile(rb'[^\x1e]*\x1e|[^\x1e]+').findall}
