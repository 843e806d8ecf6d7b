"""Node sets as texts, ``web[1-100].example:8002``: parses, counts, expands and folds them.

Everything takes time in proportion to the text, or to the hosts: lists may be long, and come from strangers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

__all__ = ['BadHosts', 'Term', 'expanded', 'folded', 'size_of', 'terms_of']

#: Digits of a number in a range, hosts that one term may name, and brackets in it: more is a typing error.
_DIGITS, _MOST, _MOST_BRACKETS = 18, 10**6, 60
_DIGIT = frozenset('0123456789')


class BadHosts(ValueError):
    """A node set or a file that cannot be read."""


class Term(NamedTuple):
    """A term of a node set, with the operator before it: ``''`` at the beginning of a set.

    ``,`` is the union with the terms before, ``!`` the difference, ``&`` the intersection, ``^`` what is in one only.
    """

    operator: str
    text: str


# Blanks and operators within brackets belong to the term.
_tokens = re.compile(
    r'(?P<part>\[[^\[\]]*\]|[^\s,!&^\[\]]+)|(?P<operator>[,!&^])|(?P<blank>\s+)|(?P<bracket>[\[\]])'
).finditer
_rest = re.compile(r'[^\s,!&^]{1,40}').match


def terms_of(text: str) -> Iterator[Term]:
    """The terms of one or more node sets, which blanks separate.

    :raises BadHosts: for an operator without an operand, and an unpaired bracket.
    """
    operator = ''
    parts: list[str] = []  # of the term that is being read
    ended = False  # by a blank
    for found in _tokens(text):
        kind = found.lastgroup
        if kind == 'operator':
            if not parts:
                raise BadHosts(_nothing_beside(found[0]))
            yield Term(operator, ''.join(parts))
            operator, parts, ended = found[0], [], False
        elif kind == 'blank':
            ended = True
        elif kind == 'bracket':
            raise BadHosts(_unpaired(''.join(parts), text, found.start()))
        else:
            if ended and parts:
                yield Term(operator, ''.join(parts))
                operator, parts = '', []
            parts.append(found[0])
            ended = False
    if operator and not parts:
        raise BadHosts(_nothing_beside(operator))
    if parts:
        yield Term(operator, ''.join(parts))


def _nothing_beside(operator: str) -> str:
    return (
        'a comma with no host beside it'
        if operator == ','
        else f'not a node set: missing operand, {operator!r} with no host beside it'
    )


def _unpaired(before: str, text: str, at: int) -> str:
    rest = _rest(text, at)
    assert rest is not None  # it begins with the bracket
    term = f'{before[-40:]}{rest[0]}'
    if text[at] == ']':
        return f'{term!r} is not a node set: missing bracket "["'
    nested = '[' in rest[0][1:] and ']' in rest[0]
    return f'{term!r} is not a node set: ' + ('a bracket within another' if nested else 'missing bracket "]"')


# Ranges --------------------------------------------------------------------------------------------------------------


class _Range(NamedTuple):
    """A range of numbers with their width, ``08-10/2``."""

    numbers: range
    width: int

    def texts(self) -> list[str]:
        """The numbers as they are written."""
        return [str(number).zfill(self.width) for number in self.numbers]


_brackets = re.compile(r'\[([^\[\]]*)\]').split
_range = re.compile(r'([0-9]+)(?:-([0-9]+)(?:/([0-9]+))?)?').fullmatch


def size_of(term: str) -> int:
    """How many hosts a term names, without expanding it; beyond a million the count may be too low.

    :raises BadHosts: for a malformed range.
    """
    return _size(_parts(term))


def _size(parts: list[str | list[_Range]]) -> int:
    size = 1
    for part in parts:
        if not isinstance(part, str):
            size *= sum(len(one.numbers) for one in part)
            if size > _MOST:  # the whole product may have as many digits as the text
                break
    return size


def expanded(term: str) -> Iterator[str]:
    """The hosts that a term names; numbers rise, and those of the last range change fastest.

    :raises BadHosts: for a malformed range, or too many hosts.
    """
    parts = _parts(term)
    if _size(parts) > _MOST:
        raise BadHosts(f'{term!r:.100} names more than {_MOST} hosts')
    return map(''.join, product(*([part] if isinstance(part, str) else _texts(part) for part in parts)))


def _texts(ranges: list[_Range]) -> list[str]:
    if len(ranges) == 1:
        return ranges[0].texts()
    return sorted({text for one in ranges for text in one.texts()}, key=_in_order)


def _in_order(text: str) -> tuple[int, str]:
    return len(text), text


def _parts(term: str) -> list[str | list[_Range]]:
    """The texts and ranges of a term. A bracket with a colon in it is an IPv6 address, so it is text."""
    if term.count('[') > _MOST_BRACKETS:
        raise BadHosts(f'{term!r:.60} is not a node set: it has more than {_MOST_BRACKETS} ranges')
    parts: list[str | list[_Range]] = ['']
    for at, piece in enumerate(_brackets(term)):
        before = parts[-1]
        if at % 2 and ':' not in piece:
            try:
                parts.append(_ranges(piece, before))
            except BadHosts as exc:
                raise BadHosts(f'{term!r:.100} is not a node set: {exc}') from None
            continue
        text = f'[{piece}]' if at % 2 else piece
        if isinstance(before, str):
            parts[-1] = before + text
        elif text:
            parts.append(text)
    return parts


def _ranges(text: str, before: str | list[_Range]) -> list[_Range]:
    pieces = text.split(',')
    pieces[1:] = (piece.lstrip(' \t') for piece in pieces[1:])
    pieces[:-1] = (piece.rstrip(' \t') for piece in pieces[:-1])
    ranges = [_range_of(piece) for piece in pieces]
    if (
        isinstance(before, str)
        and before[-1:] in _DIGIT
        and len({one.width or len(str(one.numbers[end])) for one in ranges for end in (0, -1)}) > 1
    ):
        # ClusterShell reads web1[8-12] as web[18-112], a shell as web18, web19, web110 …
        raise BadHosts(f'[{text:.40}] has numbers of different length, and a digit stands before it')
    return ranges


def _range_of(text: str) -> _Range:
    found = _range(text)
    if found is None:
        raise BadHosts(
            f'{text!r:.60} is no range of numbers, such as 1-10, 08-12 or 0-10/2' if text else 'an empty range'
        )
    first, last, step = found[1], found[2] or found[1], found[3] or '1'
    if max(map(len, (first, last, step))) > _DIGITS:
        raise BadHosts(f'a number is too long in {text:.60}: it has more than {_DIGITS} digits')
    padded = [number for number in (first, last) if len(number) > 1 and number[0] == '0']
    if padded and len(first) != len(last):
        raise BadHosts(f'{text} begins and ends in numbers of different length, and {padded[0]} begins with 0')
    if int(step) == 0:
        raise BadHosts(f'{text} has a step of 0')
    if int(last) < int(first):
        raise BadHosts(f'{text} ends before it begins')
    return _Range(range(int(first), int(last) + 1, int(step)), len(first) if padded else 0)


# Folding -------------------------------------------------------------------------------------------------------------

# An address in brackets is not a range; a number too long for a range is text.
_numbers = re.compile(rf'(\[[^\[\]]*\]|[0-9]{{{_DIGITS + 1},}}|[^0-9\[]+|\[)|([0-9]+)').findall
#: Columns in which hosts are folded at most: those with the most different numbers.
_MOST_COLUMNS = 6


def folded(hosts: Iterable[str]) -> str:
    """The node set of these hosts, such as ``10.0.[0-3].[1-250]``; it is never longer than their list."""
    shapes: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for host in dict.fromkeys(hosts):
        shape, numbers = _taken_apart(host)
        shapes.setdefault(shape, []).append(numbers)
    return ','.join(
        _written(shape, row) for shape, rows in sorted(shapes.items()) for row in _merged(sum(map(len, shape)), rows)
    )


def _taken_apart(host: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts around the numbers of a host, and the numbers."""
    texts, numbers = [''], []
    for text, number in _numbers(host):
        if number:
            numbers.append(number)
            texts.append('')
        else:
            texts[-1] += text
    return tuple(texts), tuple(numbers)


def _written(texts: tuple[str, ...], row: tuple[str, ...]) -> str:
    return ''.join(text for pair in zip(texts, (*row, ''), strict=True) for text in pair)


def _merged(around: int, hosts: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Merge rows of numbers that differ in one column only; the column that saves most comes first.

    It looks at each column a few times at most, however many hosts there are.

    :param around: characters of the texts around the numbers.
    """
    rows = sorted(hosts, key=lambda row: [_in_order(number) for number in row])
    different = {column: len(set(values)) for column, values in enumerate(zip(*rows, strict=True))}
    left = sorted((column for column, count in different.items() if count > 1), key=lambda column: -different[column])
    left = left[:_MOST_COLUMNS]
    while left and len(rows) > 1:
        found = [(*_merge(around, rows, column), column) for column in left]
        _, rows_then, column = max(found, key=lambda one: (one[0], -len(one[1])))
        if len(rows_then) == len(rows):
            break
        rows = rows_then
        left.remove(column)
    return rows


def _merge(around: int, rows: list[tuple[str, ...]], column: int) -> tuple[int, list[tuple[str, ...]]]:
    """The characters saved by merging a column, and the rows merged wherever the text does not grow."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        alike.setdefault(row[:column] + row[column + 1 :], []).append(row)
    merged, saved = [], 0
    for key, group in alike.items():
        if len(group) > 1:
            numbers = [row[column] for row in group]
            text = f'[{_ranges_of(numbers)}]'
            gain = (len(group) - 1) * (around + sum(map(len, key)) + 1) + sum(map(len, numbers)) - len(text)
            if gain >= 0:
                merged.append((*key[:column], text, *key[column:]))
                saved += gain
                continue
        merged += group
    return saved, merged


def _ranges_of(numbers: list[str]) -> str:
    """Different numbers as ranges, ``1-3,7,010-012``; each keeps its width."""
    ordered = sorted(numbers, key=_in_order)
    runs: list[list[str]] = []
    for number in ordered:
        if runs and int(number) == int(runs[-1][-1]) + 1 and _same_width(runs[-1], number):
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ','.join('-'.join(run) for run in runs)


def _same_width(run: list[str], number: str) -> bool:
    """Whether a number can continue a run, which may be padded with zeros."""
    padded = number[0] == '0' or (run[0][0] == '0' and len(run[0]) > 1)
    return len(number) == len(run[-1]) or not padded
