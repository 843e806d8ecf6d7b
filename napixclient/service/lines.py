"""Reads the line of a result: a JSON object without blanks, whose members come in a known order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ['is_doubtful', 'is_good', 'members']

_decode = json.JSONDecoder().raw_decode
#: Errors before anything was sent.
_UNSENT = frozenset(
    ['ConnectError', 'NameResolutionError', 'RefusedError', 'TLSError', 'ProxyError', 'ConnectTimeout', 'QueueTimeout']
)


def is_good(line: str) -> bool:
    """Whether the request has succeeded; the error is the last member."""
    return line.endswith('"error":null}')


def is_doubtful(line: str) -> bool:
    """Whether nobody knows if the server has carried the request out: it was sent, and there was no answer."""
    for name, value, _ in members(line):
        if name == 'status':
            if value is not None:
                return False
            break  # without an answer there is no body, and what is left is short
    result = json.loads(line)
    return bool(result['state'] == 'interrupted' or (result['attempts'] and result['error']['class'] not in _UNSENT))


def members(line: str) -> Iterator[tuple[str, Any, str]]:
    """The members one after the other: name, value, and the value as it is written."""
    at = 0
    while line[at] != '}':
        name, at = _decode(line, at + 1)
        value, end = _decode(line, at + 1)
        yield name, value, line[at + 1 : end]
        at = end
