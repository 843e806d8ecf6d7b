"""Large bodies of known length (RFC 9112 §6.3), without I/O and without llhttp, which would copy each piece."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final

__all__ = ['LARGE', 'RECORD', 'PlacedBody', 'SizedBody']

#: From so many bytes on a body of known length is read here. A smaller one mostly comes whole in one read.
LARGE = 65536
#: What a record of TLS holds at most (RFC 8446 §5.1): who asks for fewer bytes leaves some in TLS's own buffer.
RECORD = 16384
#: Bytes received straight into their place at once: others have their turn.
_MOST = 1 << 18
#: Room that is made for a body of which nothing has come, whatever length the server claims …
_FIRST = 1 << 18
#: … and for one of which something has come, by what has come.
_GROWTH = 16


class SizedBody:
    """A body that is handed out in pieces as it comes.

    :param emit: takes the pieces.
    :param length: of the whole, in bytes.
    """

    __slots__ = ('_emit', 'left', 'rest')
    ambiguous: Final = False
    trailers: Final = b''

    def __init__(self, emit: Callable[[bytes], object], length: int) -> None:
        self._emit = emit
        self.left: int = length  # bytes that are missing
        self.rest: bytes = b''  # what follows the body

    def feed(self, data: bytes) -> bool:
        """Take bytes; true when the body is complete."""
        left = self.left - len(data)
        if left < 0:
            data, self.rest, left = data[:left], data[left:], 0
        self.left = left
        if data:
            self._emit(data)
        return not left


class PlacedBody:
    """A body that is handed out whole: its bytes are received where they stay, and what is handed out is no copy.

    Room is made as they come, so that a length which a server merely claims takes none.

    :param length: of the whole, in bytes.
    """

    __slots__ = ('_buffer', '_filled', '_view', 'left', 'rest')
    ambiguous: Final = False
    trailers: Final = b''

    def __init__(self, length: int) -> None:
        self.left: int = length  # bytes that were not handed out
        self.rest: bytes = b''  # what follows the body
        self._clear()

    def _clear(self) -> None:
        self._buffer = BytesIO()
        self._view = self._buffer.getbuffer()
        self._filled = 0

    def feed(self, data: bytes | memoryview) -> bool:
        """Take bytes; true when the body is complete."""
        missing = self.left - self._filled
        if len(data) > missing:
            data, self.rest = data[:missing], bytes(data[missing:])
        self._make_room(len(data))
        end = self._filled + len(data)
        self._view[self._filled : end] = data
        self._filled = end
        return end == self.left

    @property
    def fillable(self) -> bool:
        """Whether so much is missing that it can be received straight into its place.

        The last bytes cannot: behind them may be some that belong to nothing, and this is for ``feed`` to find out.
        """
        return self.left - self._filled >= 2 * RECORD

    def fill(self, receive: Callable[[memoryview], int]) -> int:
        """Have bytes received into their place; how many came. There is room for a record of TLS or more.

        :param receive: receives into a buffer, and returns how many bytes.
        """
        self._make_room(RECORD)
        at = self._filled
        size = receive(self._view[at : min(at + _MOST, self.left - RECORD)])
        self._filled += size
        return size

    def _make_room(self, size: int) -> None:
        needed = self._filled + size
        if needed <= len(self._view):
            return
        most = max(_FIRST, _GROWTH * needed)
        room = self.left
        while room > most:
            room = -(-room // _GROWTH)
        # bytes() asks the system for zeros, which take no memory before they are written to; the buffer takes them over
        # without a copy, and so they are handed out.
        buffer = BytesIO(bytes(room))
        view = buffer.getbuffer()
        view[: self._filled] = self._view[: self._filled]
        self._view.release()
        self._buffer, self._view = buffer, view

    def take(self) -> bytes:
        """Hand out what has come since the last time; it is not kept."""
        self._view.release()
        body = self._buffer.getvalue()
        if len(body) > self._filled:
            body = body[: self._filled]
        self.left -= self._filled
        self._clear()
        return body
