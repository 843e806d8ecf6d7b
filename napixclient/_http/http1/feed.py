"""The body of a streamed answer on its way from its connection to its reader."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ...errors import DeadlineExceeded, HTTPError
from ..body_stream import BodyStream
from ..gevent_types import Loop
from .parser import ResponseParser

__all__ = ['BodyFeed']


class Receiving(Protocol):
    """What receives the body."""

    parser: ResponseParser

    def pause(self) -> None:
        """Stop reading: it is the reader who is slow, and not the server."""

    def read_on(self) -> None:
        """Read again."""

    def received(self, size: int) -> None:
        """So many bytes of the body came."""

    def end_stream(self) -> None:
        """The body was read to its end."""

    def leave_stream(self, feed: BodyFeed) -> None:
        """Nobody wants the rest of it."""


class BodyFeed:
    """Feeds the reader of one body; the exchange that this reader knows.

    :raises HTTPError: for a body that cannot be decoded at all.
    """

    __slots__ = ('_counted', '_loop', '_receiver', 'body')

    def __init__(self, receiver: Receiving, loop: Loop, decode: bool) -> None:
        parser = receiver.parser
        self._receiver = receiver
        self._loop = loop
        self._counted = 0  # bytes that were counted before they were gathered
        self.body: BodyStream = BodyStream(self, parser.coding, decode, parser.max_streamed)

    def pour(self, complete: bool) -> None:
        """Give the reader what has come; stop reading while it has enough."""
        receiver = self._receiver
        data = receiver.parser.take_body()
        receiver.received(len(data) - self._counted)
        self._counted = 0
        if data and self.body.receive(data):
            receiver.pause()
        if complete:
            receiver.pause()  # the slot is held until the reader is through
            self.body.end(trailers=receiver.parser.trailers)

    def cut_off(self) -> None:
        """The total time of the answer is up."""
        self.body.break_off(
            DeadlineExceeded('the total time was up after sending had begun (phase: read)', phase='read')
        )

    def end(self, error: HTTPError) -> None:
        """The body broke off; what has come can be read."""
        self._scatter()
        self.body.end(error)

    def _scatter(self) -> bool:
        """Hand out what was gathered; true when that is enough for now."""
        data = self._receiver.parser.body.scatter()
        if not data:
            return False
        self._receiver.received(len(data) - self._counted)
        self._counted = 0
        return self.body.receive(data)

    # -- called by the reader --------------------------------------------------------------------------------------

    def resume(self) -> None:
        """The reader has caught up."""
        self._receiver.read_on()

    def gather(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """The reader wants all of the rest, and these pieces before it, as one; whether that can be."""
        if not self._receiver.parser.body.gather(pieces):
            return False
        self._counted = sum(map(len, pieces))
        self._receiver.read_on()
        return True

    def scatter(self) -> None:
        """The reader does not wait for all of it any more."""
        if self._scatter():
            self._receiver.pause()

    def finish_stream(self) -> None:
        """The reader has read the body to its end."""
        self._receiver.end_stream()

    def on_collected(self) -> None:
        """The answer was collected, in whatever greenlet or thread."""
        with suppress(ValueError):  # the loop has been destroyed, with its thread
            self._loop.run_callback_threadsafe(self.discard)

    def discard(self) -> None:
        """The reader leaves the body half read."""
        self._receiver.leave_stream(self)
