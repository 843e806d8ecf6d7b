"""The body of a streamed answer on its way from its connection to its reader."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from ...errors import DeadlineExceeded, HTTPError
from ..streaming import BodyStream
from .reader import ResponseReader
from .transport import Transport

__all__ = ['BodyFeed']


class Streaming(Protocol):
    """The connection that the body comes over."""

    reader: ResponseReader
    streamed: BodyFeed | None

    def pause(self) -> None:
        """Stop reading: it is the reader who is slow, and not the server."""

    def read_on(self) -> None:
        """Read again."""

    def received(self, size: int) -> None:
        """So many bytes of the body came."""

    def end_stream(self) -> None:
        """The body was read to its end."""

    def end_at_once(self) -> None:
        """Nobody wants the rest of it."""


class BodyFeed:
    """Feeds the reader of one body; the exchange that this reader knows.

    :raises HTTPError: for a body that cannot be decoded at all.
    """

    __slots__ = ('_connection', '_transport', 'body')

    def __init__(self, connection: Streaming, transport: Transport, decode: bool) -> None:
        reader = connection.reader
        self._connection = connection
        self._transport = transport
        self.body: BodyStream = BodyStream(self, reader.coding, decode, reader.max_streamed)

    def pour(self, complete: bool) -> None:
        """Give the reader what has come; stop reading while it has enough."""
        connection = self._connection
        data = connection.reader.take_body()
        connection.received(len(data))
        if data and self.body.receive(data):
            connection.pause()
        if complete:
            connection.pause()  # the slot is held until the reader is through
            self.body.end()

    def cut_off(self) -> None:
        """The total time of the answer is up."""
        self.body.break_off(
            DeadlineExceeded('the total time was up after sending had begun (phase: read)', phase='read')
        )

    def end(self, error: HTTPError) -> None:
        """The body broke off."""
        self.body.end(error)

    # -- called by the reader --------------------------------------------------------------------------------------

    def resume(self) -> None:
        """The reader has caught up."""
        self._connection.read_on()

    def finish_stream(self) -> None:
        """The reader has read the body to its end."""
        self._connection.streamed = None
        self._connection.end_stream()

    def on_collected(self) -> None:
        """The answer was collected, in whatever greenlet or thread."""
        with suppress(ValueError):  # the loop has been destroyed, with its thread
            self._transport.loop.run_callback_threadsafe(self.discard)

    def discard(self) -> None:
        """The reader leaves the body half read."""
        if self._connection.streamed is self:
            self._connection.streamed = None
            self._connection.end_at_once()
