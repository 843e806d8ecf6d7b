"""The formats in which answers are written to standard output: one entry in ``FORMATS`` for each.

To add one, derive a class from ``Format`` in a module of its own, declare its flag in ``options/output.py``, and enter
both here. Each module is imported only by a run that asks for its format.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..hosts import Groups
from ..messages import Response, exact_text, written_json
from .options import Asked
from .outcomes import Outcome, breaks
from .targets import Targets

__all__ = ['FORMATS', 'BadFormat', 'Format', 'body_of', 'format_of', 'quoted']

_not_ascii = re.compile('[^\x00-\x7f]').sub
quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii


class BadFormat(ValueError):
    """Formats that exclude each other, or a template that makes no sense."""


class Format:
    """How answers are written. This one writes nothing: what is not overridden adds nothing."""

    def begin(self) -> str:
        """What stands above all answers."""
        return ''

    def show(self, outcome: Outcome) -> str:
        """What is written of an outcome as soon as it is there, with the end of the line."""
        return ''

    def note(self, outcome: Outcome) -> str:
        """What standard error tells of it."""
        return ''

    def end(self) -> Iterator[str]:
        """The lines that are written when all outcomes are there."""
        return iter(())


class Context(NamedTuple):
    """What a format may depend on: the command line, its targets and groups."""

    asked: Asked
    targets: Targets
    groups: Groups


class Entry(NamedTuple):
    """A format: its flag, whether a command line asks for it, and what makes it."""

    flag: str
    is_asked: Callable[[Asked], bool]
    make: Callable[[Context], Format]


def _json(context: Context) -> Format:
    from .json_format import JsonLines

    return JsonLines(context.asked.include)


def _csv(context: Context) -> Format:
    from .csv_format import Csv

    return Csv(context.asked.include)


def _template(context: Context) -> Format:
    from .template import Template

    return Template(context.asked.template or '')


def _folded(context: Context) -> Format:
    from .folding import Folded

    asked = context.asked
    return Folded(context.groups, regroup=asked.regroup, include=asked.include, compares=asked.diff)


def _lines(context: Context) -> Format:
    from .printing import Lines

    return Lines(context.targets, context.asked.include)


#: Name -> entry. Without any of them each answer is a line; with ``--quiet`` or ``--duration`` nothing, but with
#: ``--watch`` what has changed.
FORMATS: Mapping[str, Entry] = {
    'json': Entry('--json', lambda asked: asked.json, _json),
    'csv': Entry('--csv', lambda asked: asked.csv, _csv),
    'template': Entry('--template', lambda asked: asked.template is not None, _template),
    'folded': Entry('--fold', lambda asked: asked.folds, _folded),
    'lines': Entry('', lambda asked: False, _lines),
}


def format_of(asked: Asked, targets: Targets, groups: Groups) -> Format:
    """The format that the command line asks for.

    :raises BadFormat: if it asks for two, or the format itself makes no sense.
    """
    wanted = [entry for entry in FORMATS.values() if entry.is_asked(asked)]
    if len(wanted) > 1:
        one, other = wanted[:2]
        why = ': answers are shown one by one, or together' if other.flag == '--fold' else ''
        raise BadFormat(f'{one.flag} and {other.flag} exclude each other{why}')
    if not wanted and asked.watch is None and (asked.quiet or asked.duration is not None):
        return Format()
    return (wanted or [FORMATS['lines']])[0].make(Context(asked, targets, groups))


# What several formats write ------------------------------------------------------------------------------------------


def body_of(response: Response) -> str:
    """The body in JSON: JSON stays as it is, other text is a string, and binary data is ``{"base64": …}``."""
    data = response.data
    if not data:
        return 'null'
    text = written_json(response)
    if text is not None:
        if '\n' in text or '\r' in text:
            text = breaks(' ', text.strip())
        return text if text.isascii() else _not_ascii(lambda found: quoted(found[0])[1:-1], text)
    text = exact_text(response)
    return f'{{"base64":"{b64encode(data).decode()}"}}' if text is None else quoted(text)
