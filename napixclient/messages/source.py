"""Bodies that are read while they are sent: files, and iterables of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

__all__ = ['Source']

_PIECE = 65536


class Source:
    """A body that is read while it is sent: a file, or an iterable.

    ``length`` are the bytes that it will give, where it can tell. ``start`` is where a file that can seek stood: it is
    read from there, each time that it is sent.
    """

    __slots__ = ('begun', 'length', 'start', 'stream')

    def __init__(self, file: object) -> None:
        stream: Any = file
        self.stream: Any = stream
        self.length: int | None = None
        self.start: int | None = None
        self.begun: bool = False  # whether anything was read from it
        try:  # whatever the caller's object raises: it is told when it is read
            here = stream.tell()
            stream.seek(here)
            self.start = here
            if isinstance(stream.read(0), bytes):  # a text file counts in characters
                end = stream.seek(0, os.SEEK_END)
                self.length = max(int(end) - int(here), 0)
            stream.seek(here)
        except Exception:
            pass

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent (once more)."""
        return not self.begun or self.rereadable

    @property
    def rereadable(self) -> bool:
        """Whether it can be read again: a file that can seek, or an iterable that begins again each time."""
        return self.start is not None or not (hasattr(self.stream, 'read') or hasattr(self.stream, '__next__'))

    def __iter__(self) -> Iterator[bytes]:
        """What it gives, from its beginning."""
        return self.pieces()

    def pieces(self, sent: int = 0) -> Iterator[bytes]:
        """What it gives behind the first ``sent`` bytes; no more than its length, where that is known.

        A file that grows meanwhile ends where it ended when we looked.

        :raises TypeError: for a piece that is neither bytes nor text.
        :raises ValueError: when it ends before its length.
        """
        left = None if self.length is None else self.length - sent
        if left == 0:
            return
        for part in self._parts(sent):
            piece = part.encode() if isinstance(part, str) else part
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise TypeError(f'a piece of a body is bytes or text, not {type(piece).__name__}')
            piece = bytes(piece)
            if not piece:
                if hasattr(self.stream, 'read'):
                    break
                continue
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            yield piece
            if left == 0:
                return
        if left:
            raise self.ended_early(left)

    def _parts(self, sent: int) -> Iterator[Any]:
        """What the caller's object gives, from its beginning, or behind so many bytes of a file."""
        stream, here, self.begun = self.stream, self.start, True
        if not hasattr(stream, 'read'):
            yield from stream
            return
        here = None if here is None else here + sent
        while True:
            if here is None:
                piece = stream.read(_PIECE)
            else:  # left where it stands: others may be sending it, or begin to
                stands = stream.tell()
                stream.seek(here)
                piece = stream.read(_PIECE)
                here = stream.tell() if self.length is None else here + len(piece)
                stream.seek(stands)
            yield piece

    @staticmethod
    def ended_early(left: int) -> ValueError:
        """What is wrong with a file that lacks its last bytes."""
        return ValueError(f'the file ended {left} bytes before its length')
