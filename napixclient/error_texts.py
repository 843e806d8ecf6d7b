"""Texts about failures: the words of a document, the outline of a chain of calls, and foreign texts made harmless."""

from __future__ import annotations

import re

from .checks import is_whole
from .error_shapes import MAX_TEXT, Nested, nested, parse
from .masking import cut, mask

__all__ = ['MAX_HOPS', 'duration', 'escaped', 'frames', 'one_line', 'tell', 'words']

#: A chain longer than this is cut: a document may nest as deep as its sender likes.
MAX_HOPS = 64
#: Lines of a traceback of another server's that go into a text of ours.
MAX_FRAMES = 5


def words(document: object) -> str:
    """What a failure was, ``class: text``, by the first of a chain who does not only repeat what the next one said."""
    return _words(document, MAX_HOPS, {})[0]


def _words(document: object, depth: int, known: dict[int, tuple[str, bool]]) -> tuple[str, bool]:
    """The words, and whether they are those of the call behind, to which this document adds nothing.

    :param known: those of documents that were looked at before, by their ``id``.
    """
    if id(document) in known:
        return known[id(document)]
    error_class, text, _ = parse(document)
    found = one_line(': '.join(part for part in (error_class, text) if part)), False
    further = nested(document)
    if len(further) == 1 and depth:
        behind = _words(further[0].document, depth - 1, known)[0]
        text = one_line(text or '')
        # A server of ours says of a call what it was answered: perhaps its status line, and these words.
        if behind and behind in (found[0], text, _quoted_status('', text)):
            found = behind, True
    known[id(document)] = found
    return found


_quoted_status = re.compile(r'\A"[^"]*" ?').sub


def tell(calls: list[Nested], margin: str, lines: list[str], known: dict[int, tuple[str, bool]]) -> None:
    """Add a line for each call, and for those behind it: an outline, as bounded as the chain is."""
    total = len(calls) - 1 + max(calls[-1].cut, 1) if calls and calls[-1].document is None else len(calls)
    for number, one in enumerate(calls, 1):
        if len(lines) >= MAX_HOPS:
            return
        if one.document is None and one.cut:
            lines.append(f'{margin}because {one.cut} more failed')
            return
        further = nested(one.document)
        what, repeats = _words(one.document, MAX_HOPS, known)
        which = f'({number} of {total}) ' if total > 1 else ''
        call = one_line(one.call or 'another server')
        how = 'failed' if one.status is None else f'answered {one.status}'
        after = '' if one.elapsed is None else f' after {duration(one.elapsed)}'
        skipped = f', {one.cut} {"call" if one.cut == 1 else "calls"} further on' if one.cut else ''
        text = f': {what}' if what and not repeats else ''
        lines.append(f'{margin}because {which}{call} {how}{after}{skipped}{text}')
        if not further:
            lines += frames(parse(one.document).traceback, margin + '  ')
        tell(further, margin + '  ', lines, known)


def duration(seconds: float) -> str:
    """A time as texts of ours have it: ``12.3 ms``, ``4.5 s``."""
    return f'{seconds * 1000:.1f} ms' if seconds < 1 else f'{seconds:.1f} s'


def frames(traceback: list[object] | None, margin: str) -> list[str]:
    """The last lines of a traceback that a server sent, as Python prints them."""
    lines = []
    for frame in (traceback or [])[-MAX_FRAMES:]:
        if isinstance(frame, dict) and isinstance(frame.get('filename'), str):
            line, name = frame.get('line'), frame.get('in')
            where = f'File "{frame["filename"]}"'
            where += f', line {line}' if is_whole(line) and 0 <= line < 10**9 else ''
            where += f', in {name}' if isinstance(name, str) else ''
            lines.append(margin + one_line(where))
            if isinstance(frame.get('call'), str):
                lines.append(f'{margin}  {one_line(frame["call"])}')
    return lines


def one_line(text: str) -> str:
    """Another server's text on one line, so that it cannot look like a line of ours; control characters are escaped."""
    return cut(escaped(' '.join(mask(cut(text, 2 * MAX_TEXT)).split())), MAX_TEXT)


def escaped(text: str) -> str:
    """The text on one line, with all that a terminal would obey escaped."""
    if text.isprintable():
        return text
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in text)
