"""Collects the body of a response, counts it and bounds it, without I/O."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import BodyTooLarge, InvalidResponse
from .chunks import ChunkedBody
from .sized import LARGE, PlacedBody, SizedBody

__all__ = ['BodyBuffer', 'check_size']

#: Pieces of one read that are kept as they are; more are joined, so that chunks of a byte each are not an object each.
_FEW_PIECES = 16


def check_size(size: int, limit: int | None) -> None:
    """Refuse a body of so many bytes where the limit is lower.

    :raises BodyTooLarge: for such a body.
    """
    if limit is not None and size > limit:
        raise BodyTooLarge(f'the body is larger than {limit} bytes')


class BodyBuffer:
    """Collects one body after the other.

    :param max_idle: bytes that may come one after the other and bring nothing of the body: chunk extensions, trailers.
    :param max_trailers: bound of the number of trailers.
    """

    __slots__ = ('_counted', '_idle', '_max_idle', '_max_trailers', 'framed', 'pieces', 'place', 'size', 'used')

    def __init__(self, max_idle: int, max_trailers: int) -> None:
        self._max_idle = max_idle
        self._max_trailers = max_trailers
        #: What has come and was not taken. Whoever decodes the body appends to it.
        self.pieces: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        """Expect another body."""
        self.pieces.clear()
        self.used: bool = False  # whether anything but the pieces is to be cleared
        self.framed: ChunkedBody | SizedBody | PlacedBody | None = None  # reads it, where llhttp does not
        self.place: PlacedBody | None = None  # the same, where that is the place where it is received
        self._counted = 0  # pieces that are in the size
        self.size: int = 0  # of all that has come and was counted, in bytes
        self._idle = 0  # bytes that came since, and brought nothing

    def expect_chunks(self) -> None:
        """Decode chunks from now on; what llhttp has found of them is found again, from the first byte."""
        self.begin()  # llhttp may have counted the whole of it
        self.used = True
        self.framed = ChunkedBody(self.pieces.append, self._max_idle, self._max_trailers)

    def expect_size(self, length: int, whole: bool) -> None:
        """Read so many bytes; what llhttp has found of them is found again, from the first byte.

        :param whole: whether they are taken all at once.
        """
        self.used = True
        self.pieces.clear()
        if whole:
            self.framed = self.place = PlacedBody(length)
        else:
            self.framed = SizedBody(self.pieces.append, length)

    def gather(self, pieces: Iterable[bytes | memoryview]) -> bool:
        """Receive what is missing into one place, behind these pieces; false where its length is unknown, or small."""
        framed = self.framed
        if not isinstance(framed, SizedBody) or framed.left < LARGE:
            return False
        pieces = [*pieces, *self.pieces]
        self.pieces.clear()
        self.framed = self.place = PlacedBody(sum(map(len, pieces)) + framed.left)
        for piece in pieces:
            self.place.feed(piece)
        return True

    def scatter(self) -> bytes:
        """Take what has come instead, and what is missing in pieces again."""
        place, self.place = self.place, None
        if place is None:
            return b''
        came = place.take()
        self.framed = SizedBody(self.pieces.append, place.left)
        return came

    def count(self, limit: int | None) -> bool:
        """Count the pieces that are new; whether there are any.

        :param limit: of the size of the body, in bytes.
        :raises BodyTooLarge: when it is exceeded.
        """
        pieces, counted = self.pieces, self._counted
        if len(pieces) == counted:
            return False
        self.used = True
        self.size += sum(map(len, pieces[counted:]))
        check_size(self.size, limit)
        if len(pieces) > counted + _FEW_PIECES:
            pieces[counted:] = [b''.join(pieces[counted:])]
        self._counted = len(pieces)
        return True

    def count_read(self, size: int, limit: int | None) -> None:
        """Count what a read of so many bytes has brought of a body that goes on.

        :raises BodyTooLarge: as :meth:`count` does.
        :raises InvalidResponse: when too many bytes have brought nothing.
        """
        if self.count(limit):
            self._idle = 0
            return
        self.used = True
        self._idle += size
        if self._idle > self._max_idle:
            raise InvalidResponse(f'more than {self._max_idle} bytes of trailers or chunk extensions')

    def take(self) -> bytes:
        """Hand out what has come since the last time; it is not kept."""
        if self.place is not None:
            return self.place.take()
        body = b''.join(self.pieces)
        self.pieces.clear()
        self._counted = 0
        return body
