"""Results that were committed together, encoded once for all who watch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ['Form', 'Segment', 'Tail', 'written']

#: Bytes of the latest lines of a run that are kept in memory.
TAIL_BYTES = 2 << 20


class Form(NamedTuple):
    """How one kind of stream writes what it is sent.

    :param name: forms of the same name write results alike.
    :param head: what is sent first.
    :param result: writes a result, of its number in sequence and its line of JSON.
    :param progress: writes how the run stands, a JSON object; nothing where the stream does not tell.
    :param end: writes the last progress.
    :param idle: what is sent when nothing else was for a while.
    :param wrap: what is put around all that is sent at once.
    """

    name: str
    head: bytes
    result: Callable[[int, str], bytes]
    progress: Callable[[str], bytes]
    end: Callable[[str], bytes]
    idle: bytes
    wrap: Callable[[bytes], bytes] = bytes


class Segment:
    """Lines of a run, in sequence.

    :param first: the number in sequence of the first of them.
    """

    __slots__ = ('_written', 'first', 'lines', 'size')

    def __init__(self, first: int, lines: list[str]) -> None:
        self.first: int = first
        self.lines: list[str] = lines
        self.size: int = sum(map(len, lines))
        self._written: dict[str, list[bytes]] = {}

    @property
    def end(self) -> int:
        """The number in sequence after the last of them."""
        return self.first + len(self.lines)

    def reach(self, seq: int, end: int, room: int) -> tuple[int, int]:
        """How far so many bytes go from a number in sequence on, by one line at least, and what is left of them."""
        for line in self.lines[seq - self.first : end - self.first]:
            seq += 1
            room -= len(line)
            if room <= 0:
                break
        return seq, room

    def written(self, form: Form, seq: int, end: int) -> bytes:
        """The results from one number in sequence to another; each is written once, whoever asks."""
        pieces = self._written.get(form.name)
        if pieces is None:
            pieces = self._written[form.name] = list(map(form.result, range(self.first, self.end), self.lines))
        return b''.join(pieces[max(seq - self.first, 0) : max(end - self.first, 0)])


def written(form: Form, segments: Iterable[Segment], seq: int, end: int) -> bytes:
    """The results from one number in sequence to another; what two segments have is of the first."""
    pieces: list[bytes] = []
    for segment in segments:
        pieces.append(segment.written(form, seq, end))
        seq = max(seq, segment.end)
    return b''.join(pieces)


class Tail:
    """The latest segments of a run; older ones are in the store."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._size = 0

    def add(self, segment: Segment) -> None:
        """The next in sequence."""
        self._segments.append(segment)
        self._size += segment.size
        count = 0
        while self._size > TAIL_BYTES and count < len(self._segments) - 1:
            self._size -= self._segments[count].size
            count += 1
        del self._segments[:count]

    def find(self, seq: int) -> Segment | None:
        """The segment that holds this number of the sequence."""
        at = bisect_right(self._segments, seq, key=lambda segment: segment.first)
        return self._segments[at - 1] if at and seq < self._segments[at - 1].end else None
