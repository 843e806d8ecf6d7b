"""URLs with ranges, ``/vm/[1-100]``, as sequences of URLs."""

from __future__ import annotations

import re

__all__ = ['BadUrl', 'Urls']

# It has at least one "-" or ",": many servers use names such as "ids[0]".
_find_ranges = re.compile(r'\[(\d+(?:-\d+(?:/\d+)?)?(?:,\d+(?:-\d+(?:/\d+)?)?)*)\]', re.ASCII).finditer
#: Digits of a number in a range, at most: more would take years.
_DIGITS = 15


class BadUrl(ValueError):
    """The URL cannot be sent, or a range in it makes no sense."""


class _Numbers:
    """A range as in a node set, ``1-5/2,08-10``; its numbers are not held in memory."""

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[range, int]] = []
        for piece in text.split(','):
            first, last, step = re.fullmatch(r'(\d+)(?:-(\d+)(?:/(\d+))?)?', piece).groups()  # type: ignore[union-attr]
            if len(max(first, last or '', step or '', key=len)) > _DIGITS:
                raise BadUrl(f'[{text}] is not a range: {piece!r} has more than {_DIGITS} digits')
            numbers = range(int(first), int(last or first) + 1, int(step or 1) or 1)
            if not numbers or step is not None and int(step) == 0:
                raise BadUrl(f'[{text}] is not a range: {piece!r} is empty')
            self._parts.append((numbers, len(first) if first.startswith('0') else 0))
        self.count = sum(len(numbers) for numbers, _ in self._parts)

    def __getitem__(self, at: int) -> str:
        for numbers, width in self._parts:
            if at < len(numbers):
                return str(numbers[at]).zfill(width)
            at -= len(numbers)
        raise IndexError(at)


class Urls:
    """A URL with ranges, as a sequence of URLs.

    :raises BadUrl: if a range is empty.
    """

    def __init__(self, text: str) -> None:
        self._pieces: list[str | _Numbers] = []
        end = 0
        for found in _find_ranges(text):
            if '-' in found[1] or ',' in found[1]:
                self._pieces += [text[end : found.start()], _Numbers(found[1])]
                end = found.end()
        self._pieces.append(text[end:])
        self.count: int = 1
        for piece in self._pieces:
            self.count *= piece.count if isinstance(piece, _Numbers) else 1

    def __getitem__(self, number: int) -> str:
        texts = []
        for piece in reversed(self._pieces):  # the last range turns first
            if isinstance(piece, _Numbers):
                number, at = divmod(number, piece.count)
                texts.append(piece[at])
            else:
                texts.append(piece)
        return ''.join(reversed(texts))
