"""A streamed body on its way from the loop, which may not block, to the one greenlet that reads it, which may."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import gevent
from gevent.event import Event

from ..errors import Cancelled, HTTPError
from ..messages import Response
from .decoding import Decoder

__all__ = ['BodyStream', 'ReadableBody']

#: Received bytes that wait for their reader before the connection stops reading.
HIGH_WATER = 512 * 1024


class BodySource(Protocol):
    """Where a body comes from."""

    def resume(self) -> None:
        """Its reader has caught up."""

    def gather(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """Its reader wants all of the rest, and these pieces before it, as one; whether that can be."""

    def scatter(self) -> None:
        """Its reader wants it as it comes again."""

    def finish_stream(self) -> None:
        """Its reader has read it to its end."""

    def discard(self) -> None:
        """Its reader leaves it half read."""

    def on_collected(self) -> None:
        """Nobody can read it any more; called in whatever greenlet or thread."""


class ReadableBody(Protocol):
    """What a streamed answer reads."""

    #: Whether there is a content coding that is not undone.
    coded: bool
    #: The fields behind the body, each behind a CRLF; none before it is read to its end.
    trailers: bytes
    #: The answer that reads it, weakly.
    response: Callable[[], Response | None]

    @property
    def over(self) -> bool:
        """Whether it was read to its end, or broke off."""

    def gather(self) -> None:
        """All that is left is going to be read: it may be received into one place."""

    def scatter(self) -> None:
        """Who was to read all that is left has been interrupted."""

    def next(self, most: int = -1) -> bytes:
        """The next decoded piece, or the first bytes of it; ``b''`` at the end."""

    def next_part(self, most: int = -1) -> bytes | memoryview:
        """The same, perhaps a view of it."""

    def next_cut(self, cut: Callable[[bytes | memoryview], list[bytes]]) -> bytes:
        """The next decoded piece, up to the first of the places at which ``cut`` cuts it; ``b''`` at the end."""

    def unread(self, parts: Sequence[bytes | memoryview]) -> None:
        """Who reads on reads these first."""

    def give_turn(self) -> None:
        """Let others run before the next piece, of which there may be many."""

    def break_off(self, error: HTTPError) -> None:
        """The body is not wanted any more: its reader gets the error."""

    def close(self) -> None:
        """Give the slot back."""

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
        '_trailers',
        '_waiting',
        'coded',
        'response',
        'trailers',
    )

    def __init__(self, source: BodySource, coding: str | None, decode: bool, max_body: int | None) -> None:
        self._source: BodySource | None = source
        self._decoder = Decoder(coding, max_body) if decode and coding is not None else None
        #: Whether there is a content coding that is not undone.
        self.coded: bool = coding is not None and (self._decoder is None or not self._decoder.known)
        #: The fields behind the body, each behind a CRLF; none before it is read to its end.
        self.trailers: bytes = b''
        #: Weak: dropping the response frees the connection.
        self.response: Callable[[], Response | None] = lambda: None
        self._pieces: deque[bytes] = deque()  # as received
        self._waiting = 0  # bytes in them
        self._rest: deque[bytes | memoryview] = deque()  # decoded, not yet read
        self._steps: Iterator[bytes] | None = None  # a piece that is being decoded
        self._trailers = b''  # until the body is read
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

    def end(self, error: HTTPError | None = None, trailers: bytes = b'') -> None:
        """Nothing more will be received: the body is whole, with these trailers, or broke off with this error."""
        self._ended = True
        self._trailers = trailers
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

    @property
    def over(self) -> bool:
        """Whether it was read to its end, or broke off."""
        return self._source is None and (self._error is not None or not self.left)

    def gather(self) -> None:
        """Have all that is left come as one piece, where its size is known: to join many costs as much again."""
        if self._decoder is None and self._source is not None and not self._ended:
            if self._source.gather([*self._rest, *self._pieces]):
                self._rest.clear()
                self._pieces.clear()
                self._waiting = 0

    def scatter(self) -> None:
        """Who waited for all that is left does so no more: have it come as it comes again."""
        if self._source is not None and not self._ended:
            self._source.scatter()

    def next(self, most: int = -1) -> bytes:
        """The next decoded piece, or the first bytes of it; ``b''`` at the end."""
        return bytes(self.next_part(most))

    def next_part(self, most: int = -1) -> bytes | memoryview:
        """The same without a copy."""
        if not self._fill():
            return b''
        piece: bytes | memoryview = self._rest.popleft()
        if 0 < most < len(piece):
            piece = memoryview(piece)  # its rest is not copied each time
            self._rest.appendleft(piece[most:])
            piece = piece[:most]
        if self._ended and not self.left:
            self._release()  # read to its end, though the reader cannot know yet
        return piece

    def next_cut(self, cut: Callable[[bytes | memoryview], list[bytes]]) -> bytes:
        """The next decoded piece, up to the first of the places at which ``cut`` cuts it; ``b''`` at the end."""
        if not self._fill():
            return b''
        parts = cut(self._rest[0])
        if len(parts) > 1:
            self._rest.popleft()
            self._rest.extendleft(reversed(parts))
        return self.next()

    def unread(self, parts: Sequence[bytes | memoryview]) -> None:
        """Something was thrown in, such as a ``gevent.Timeout``: who reads on misses nothing."""
        if self._error is None:
            self._rest.extendleft(reversed(parts))

    def give_turn(self) -> None:
        """Let others run before the next piece, of which there may be many."""
        gevent.sleep(0)

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
        if self._error is None:
            self.trailers = self._trailers
        source, self._source = self._source, None
        if source is not None:
            source.finish_stream()

    def close(self) -> None:
        """Give the slot back; what has not been read is lost, and its connection with it."""
        source = self._leave()
        if source is not None:
            source.discard()

    def on_collected(self) -> None:
        """Who read it does so no more; the slot must not be lost. Whoever holds the answer still is told."""
        if self._source is not None:
            source = self._leave()
            if source is not None:
                source.on_collected()

    def _leave(self) -> BodySource | None:
        """Read no more; what gives the slot back, if it was not given back before."""
        source, self._source = self._source, None
        if source is not None or self.left:
            self._discard()
            self._ended = True
            if self._error is None:
                self._set_error(Cancelled('the answer was closed before it was read to its end'))
            self._changed.set()  # another greenlet may be reading
        return source
