"""The JSON of a submission, of any size, decoded in slices.

The decoder of the standard library is one call into C. Nothing else runs meanwhile, in no thread, and 16 MB may take
seconds. Here it is called for a piece at a time, so that a thread that decodes leaves the others their turns.
"""

from __future__ import annotations

import json
import json.decoder
import re
from typing import Any

__all__ = ['MOST_VALUES', 'loads']

#: Characters that are decoded at once.
SLICE = 32 * 1024
#: Lists, objects and commas in one text. More takes too long where nothing divides it: whenever Python collects its
#: garbage, and when the same is written as JSON again.
MOST_VALUES = 2_000_000
#: Characters after a number by which it may go on: ``1`` is the beginning of ``1.5`` and of ``1e+5``.
_TAIL = 3
_scan_string: Any = json.decoder.scanstring  # type: ignore[attr-defined]  # typeshed does not tell of it
_blanks = re.compile(r'[ \t\n\r]*').match
_comma = re.compile(r'[ \t\n\r]*,[ \t\n\r]*').match


def loads(text: str, *, size: int = SLICE, **hooks: Any) -> Any:
    """The value that a text of JSON stands for, as ``json.loads`` has it.

    :param size: characters that are decoded at once.
    :param hooks: those for numbers and constants: ``parse_float``, ``parse_int``, ``parse_constant``.
    :raises ValueError: for what is no JSON, or has more than :data:`MOST_VALUES` lists, objects and commas.
    """
    decoder = json.JSONDecoder(**hooks)
    if len(text) <= size:
        return decoder.decode(text)
    if _marks(text) > MOST_VALUES and _marks_outside_strings(text) > MOST_VALUES:
        raise ValueError(f'there are more than {MOST_VALUES:,} lists, objects and commas')
    return _Reader(text, decoder, size).read()


def _marks(text: str) -> int:
    return text.count('[') + text.count('{') + text.count(',')


def _marks_outside_strings(text: str) -> int:
    text = text.replace('\\\\', '').replace('\\"', '')
    count, inside = 0, 0
    for start in range(0, len(text), SLICE):
        parts = text[start : start + SLICE].split('"')
        count += _marks(''.join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
    return count


class _Reader:
    """Goes through the large lists and objects of a text itself, and has what is in them decoded."""

    def __init__(self, text: str, decoder: json.JSONDecoder, size: int) -> None:
        self._text = text
        self._size = size
        self._decode = decoder.decode
        self._scan: Any = decoder.scan_once  # type: ignore[attr-defined]
        self._base = 0
        self._window = text[:size]

    def read(self) -> Any:
        value, at = self._value(self._after(0))
        if (at := self._after(at)) < len(self._text):
            raise json.JSONDecodeError('Extra data', self._text, at)
        return value

    def _after(self, at: int) -> int:
        match = _blanks(self._text, at)
        assert match is not None
        return match.end()

    def _value(self, at: int) -> tuple[Any, int]:
        """The value that begins there, and where it ends."""
        short = self._short(at)
        if short is not None:
            return short
        bracket = self._text[at : at + 1]
        if bracket == '[':
            return self._list(at + 1)
        if bracket == '{':
            return self._object(at + 1)
        try:
            return self._scan(self._text, at)  # type: ignore[no-any-return]    # a long string, or none at all
        except StopIteration as exc:
            raise json.JSONDecodeError('Expecting value', self._text, exc.value) from None

    def _short(self, at: int) -> tuple[Any, int] | None:
        """The value, if it ends in the window, or in one that begins with it."""
        for _ in range(2):
            place = at - self._base
            if 0 <= place < len(self._window):
                try:
                    value, end = self._scan(self._window, place)
                    if end + _TAIL <= len(self._window) or self._base + len(self._window) == len(self._text):
                        return value, self._base + end
                except (StopIteration, ValueError):  # it does not end there, or is none
                    pass
                if not place:
                    return None
            self._base, self._window = at, self._text[at : at + self._size]
        return None

    def _list(self, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        at = self._after(at)
        if self._text[at : at + 1] == ']':
            return values, at + 1
        tried = 0  # to where many values have been tried at once
        while (some_more := self._objects(at)) is not None:
            values += some_more[0]
            at = some_more[1]
        while True:
            if self._text.startswith('{', at):  # a slice would most likely end within such a value
                at = self._one_by_one(at, values)
            while at >= tried and not self._text.startswith('{', at):
                tried = at + self._size
                some, at = self._many(at, '[]')
                values += some or ()
            value, at = self._value(at)
            values.append(value)
            closing, at = self._separator(at, ']')
            if closing:
                return values, at

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        at = self._after(at)
        if self._text[at : at + 1] == '}':
            return members, at + 1
        tried = 0
        while True:
            while at >= tried:
                tried = at + self._size
                some, at = self._many(at, '{}')
                members.update(some or {})
            name, at = self._name(at)
            members[name], at = self._value(at)
            closing, at = self._separator(at, '}')
            if closing:
                return members, at

    def _many(self, at: int, brackets: str) -> tuple[Any, int]:
        """The values to the last comma of a slice, and where the next one begins; none if it is not between them."""
        piece = self._text[at : at + self._size]
        end = piece.rfind(',')
        if end > 0:
            try:
                if some := self._decode(brackets[0] + piece[:end] + brackets[1]):
                    return some, self._after(at + end + 1)
            except ValueError:
                pass
        return None, at

    def _objects(self, at: int) -> tuple[list[Any], int] | None:
        """The objects of a list to the last in a slice that another seems to follow, and where that one begins."""
        piece = self._text[at : at + self._size]
        end = max(piece.rfind('},{'), piece.rfind('}, {')) + 1 if piece.startswith('{') else 0
        if end:
            try:
                return self._decode(f'[{piece[:end]}]'), self._after(at + end + 1)
            except ValueError:  # it was within one
                pass
        return None

    def _one_by_one(self, at: int, values: list[Any]) -> int:
        """Take the values that end in the window and have a comma behind them; where the next one begins."""
        window, scan = self._window, self._scan
        place = at - self._base
        if not 0 <= place < len(window):
            return at
        try:
            while True:
                value, end = scan(window, place)
                if window.startswith(',{', end):
                    place = end + 1
                elif (comma := _comma(window, end)) is not None:
                    place = comma.end()
                else:
                    break
                values.append(value)
        except (StopIteration, ValueError):  # it does not end there, or is none
            pass
        return self._after(self._base + place)

    def _name(self, at: int) -> tuple[str, int]:
        if self._text[at : at + 1] != '"':
            raise json.JSONDecodeError('Expecting property name enclosed in double quotes', self._text, at)
        name, at = _scan_string(self._text, at + 1)
        at = self._after(at)
        if self._text[at : at + 1] != ':':
            raise json.JSONDecodeError("Expecting ':' delimiter", self._text, at)
        return name, self._after(at + 1)

    def _separator(self, at: int, closing: str) -> tuple[bool, int]:
        """Whether the end has come, and where to go on."""
        at = self._after(at)
        found = self._text[at : at + 1]
        if found == closing:
            return True, at + 1
        if found != ',':
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, at)
        return False, self._after(at + 1)
