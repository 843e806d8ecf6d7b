r"""Outcomes as a text of the user's: ``{host} {status}\t{body.size}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ..error_texts import escaped
from ..messages import redump_json
from .formats import BadFormat, Format
from .json_format import JsonLines
from .outcomes import Outcome

__all__ = ['Template']

#: The members of ``--json``; of some, members can be named too.
FIELDS = ('index', 'host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried', 'headers', 'body', 'error')
_DEEPER = ('peer', 'tried', 'headers', 'body', 'error')
_OF_ERROR = ('class', 'text', 'chain')
_tokens = re.compile(r'\{\{|\}\}|\{([^{}]*)\}|[{}]|\\[nt\\]|[^{}\\]+|\\').finditer
_WRITTEN = {'{{': '{', '}}': '}', r'\n': '\n', r'\t': '\t', '\\\\': '\\'}


class Template(Format):
    r"""Writes each outcome as a text in which ``{name}`` is a member of ``--json``.

    ``{{`` and ``}}`` are braces, ``\n`` and ``\t`` the end of a line and a tab.

    :raises BadFormat: for a name that there is not, and a brace without its counterpart.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[str | list[str]] = []
        for token in _tokens(text):
            if token[1] is not None:
                self._parts.append(_path(token[1]))
            elif token[0] in ('{', '}'):
                raise BadFormat(f'--template: a "{token[0]}" with no counterpart; write {token[0] * 2} for a brace')
            else:
                self._parts.append(_WRITTEN.get(token[0], token[0]))
        self._record: Callable[[Outcome], str] = JsonLines(include=True).show

    def show(self, outcome: Outcome) -> str:
        """The text of an outcome, and the end of a line."""
        members = json.loads(self._record(outcome))
        return ''.join(part if isinstance(part, str) else _text(members, part) for part in self._parts) + '\n'


def _path(name: str) -> list[str]:
    """The names of a member within a member: ``body.disk.size``."""
    path = name.strip().split('.')
    if path[0] not in FIELDS:
        raise BadFormat(f'--template: {{{name}}} is no member; there are {", ".join(FIELDS)}')
    if path[1:] and path[0] not in _DEEPER:
        raise BadFormat(f'--template: {{{name}}}: {path[0]} has no members; {", ".join(_DEEPER)} have')
    if path[0] == 'error' and path[1:] and path[1] not in _OF_ERROR:
        raise BadFormat(f'--template: {{{name}}} is no member; error has {", ".join(_OF_ERROR)}')
    return path


def _text(found: Any, path: list[str]) -> str:
    """A member as text on one line; empty where this answer does not have it."""
    for at, name in enumerate(path):
        if isinstance(found, dict):
            found = found.get(name.lower() if at and path[0] == 'headers' else name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return ''
    if found is None:
        return ''
    return escaped(found if isinstance(found, str) else redump_json(found, ensure_ascii=False))
