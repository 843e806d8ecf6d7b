"""Hosts as people write them: ClusterShell's node sets, in an argument or in a file. Imports nothing of ours."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from ClusterShell.NodeSet import NodeSet, NodeSetException
from ClusterShell.NodeUtils import GroupResolverError, GroupSourceError

__all__ = ['BadHosts', 'expand', 'read_hosts']

_spaced_operator = re.compile(r'\s*([,!&^])\s*')
_comma = re.compile(r',(?![^\[]*\])')                       # but for those within a range, [1,3]
# A bracket with a colon is an IPv6 address, not a range. NodeSet never sees one: its characters are moved to a private
# range, where none is a digit or a bracket, and moved back afterwards.
_address = re.compile(r'\[[^\[\],]*:[^\[\],]*\]')
_moved = re.compile('[\ue000-\ue07f]+')
_PRIVATE = 0xe000


class BadHosts(ValueError):
    """A node set that cannot be read, or a file."""


def expand(text: str) -> Iterator[str]:
    """The hosts of one or more node sets with blanks between them: ``web[1-100].example:8002,[::1]:80``.

    In the order written, where ``,`` is the only operator; a host may come twice.

    :raises BadHosts: for what is not a node set, or a part of it that names no host.
    """
    text = _address.sub(lambda match: _move(match[0], _PRIVATE), _spaced_operator.sub(r'\1', text))
    for word in text.split():
        # A list is the union of its items. Item by item keeps their order, and 5,000 of them take a fifth of a second;
        # as one set, folded, they take four.
        for item in [word] if re.search('[!&^]', word) else _comma.split(word):
            yield from _nodes(item)


def _nodes(item: str) -> Iterator[str]:
    try:
        nodes = NodeSet(item)
    except (NodeSetException, GroupResolverError, GroupSourceError) as exc:
        reason = str(exc).removesuffix(f': "{item}"')
        raise BadHosts(f'{_back(item)!r} is not a node set: {_back(reason)}') from exc
    if not nodes and not re.search('[!&^]', item):
        raise BadHosts(f'{_back(item)!r} names no host' if item else 'a comma with no host beside it')
    return map(_back, nodes)


def _back(text: str) -> str:
    return _moved.sub(lambda match: _move(match[0], -_PRIVATE), text)


def _move(text: str, by: int) -> str:
    return ''.join(chr(ord(char) + by) for char in text)


def read_hosts(path: str) -> Iterator[str]:
    """The hosts in a file (``-`` is standard input): node sets on each line, ``#`` begins a comment.

    :raises BadHosts: with the name of the file, and the line where there is one.
    """
    name = 'standard input' if path == '-' else path
    try:
        text = _read(path).decode('utf-8-sig')
    except OSError as exc:
        raise BadHosts(f'cannot read {name}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        raise BadHosts(f'{name} is not a text in UTF-8') from exc
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield from expand(line.partition('#')[0])
        except BadHosts as exc:
            raise BadHosts(f'{name}, line {number}: {exc}') from exc


def _read(path: str) -> bytes:
    if path == '-':
        return b'' if sys.stdin is None else sys.stdin.buffer.read()
    with open(path, 'rb') as file:
        return file.read()
