"""Reads challenges and what else is written as they are (RFC 9110 §11.2 to §11.6), without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ['Challenge', 'is_stale', 'parameters_of', 'parse_challenges', 'quoted']

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_END = r'[ \t]*(?=,|\Z)'
_skip = re.compile(r'[ \t,]*').match
_parameter = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]+)){_END}').match
#: A scheme, with what it may have instead of parameters.
_scheme = re.compile(rf'({_TOKEN})(?:[ \t]+[0-9A-Za-z._~+/-]+=*{_END}|[ \t]+|{_END})').match
_garbage = re.compile(r'[^,]*').match
_unescaped = re.compile(r'\\(.)').sub


class Challenge(NamedTuple):
    """One challenge: its scheme, and its parameters by their names, both in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in the values of ``WWW-Authenticate`` or ``Proxy-Authenticate``, in their order.

    One field may have several, with commas between them as between their parameters. What makes no sense is skipped.
    """
    found: list[Challenge] = []
    for value in values:
        for scheme, name, text in _parts(value):
            if scheme:
                found.append(Challenge(scheme.lower(), {}))
            elif found:
                found[-1].parameters.setdefault(name.lower(), text)
    return found


def parameters_of(value: str) -> dict[str, str]:
    """The parameters of a field that is one list of them, such as ``Authentication-Info``; or has one scheme before."""
    return {name.lower(): text for _, name, text in _parts(value) if name}


def _parts(value: str) -> Iterator[tuple[str, str, str]]:
    """Each scheme, or name and value of a parameter."""
    at = 0
    while (at := _skip(value, at).end()) < len(value):  # type: ignore[union-attr]  # it always matches
        if match := _parameter(value, at):
            name, escaped, token = match.groups()
            yield '', name, token if escaped is None else _unescaped(r'\1', escaped)
        elif match := _scheme(value, at):
            yield match[1], '', ''
        else:
            match = _garbage(value, at)
        at = match.end()  # type: ignore[union-attr]  # likewise


def is_stale(values: Iterable[str]) -> bool:
    """Whether a challenge says that all was right but the nonce, which was too old (RFC 7616 §3.3)."""
    return any(one.parameters.get('stale', '').lower() == 'true' for one in parse_challenges(values))


def quoted(text: str) -> str:
    """The text as a quoted string (RFC 9110 §5.6.4)."""
    escaped = text.replace('\\', '\\\\').replace('"', '\\"')
    return f'"{escaped}"'
