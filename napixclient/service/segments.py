"""Results that were committed together, as those who watch take them."""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ['Segment', 'Tail']

#: Bytes of the latest lines of a run that are kept in memory.
TAIL_BYTES = 2 << 20


class Segment:
    """Lines of a run, in sequence.

    :param first: the number in sequence of the first of them.
    """

    __slots__ = ('first', 'lines', 'made', 'size')

    def __init__(self, first: int, lines: list[str]) -> None:
        self.first = first
        self.lines = lines
        self.size = sum(map(len, lines))
        #: What a watcher made of it, for the next one to send as it is.
        self.made: dict[Any, bytes] = {}


class Tail:
    """The latest segments of a run; older ones are in the store."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self._size = 0

    def add(self, segment: Segment) -> None:
        """The next in sequence."""
        self._segments.append(segment)
        self._size += segment.size
        while self._size > TAIL_BYTES and len(self._segments) > 1:
            self._size -= self._segments.popleft().size

    def find(self, seq: int) -> Segment | None:
        """The segment that has this place in the sequence."""
        for segment in reversed(self._segments):
            if segment.first <= seq:
                return segment if seq < segment.first + len(segment.lines) else None
        return None
