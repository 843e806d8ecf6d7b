"""Hosts as people write them: ClusterShell's node sets, in an argument or in a file, and groups of them.

Imports nothing of ours.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException, std_group_resolver
from ClusterShell.NodeUtils import GroupResolver, GroupResolverError, GroupSource, GroupSourceError

__all__ = ['BadHosts', 'expand', 'fold', 'name_of', 'read_groups', 'read_hosts', 'without']

_spaced_operator = re.compile(r'\s*([,!&^])\s*')
_comma = re.compile(r',(?![^\[]*\])')                       # but for those within a range, [1,3]
# A bracket with a colon is an IPv6 address, not a range. NodeSet never sees one: its characters are moved to a private
# range, where none is a digit or a bracket, and moved back afterwards.
_address = re.compile(r'\[[^\[\],]*:[^\[\],]*\]')
_moved = re.compile('[\ue000-\ue07f]+')
_PRIVATE = 0xe000


class BadHosts(ValueError):
    """A node set that cannot be read, or a file."""


# Node sets -----------------------------------------------------------------------------------------------------------

def expand(text: str, groups: Any = None) -> Iterator[str]:
    """The hosts of one or more node sets with blanks between them: ``web[1-100].example:8002,[::1]:80``.

    In the order written, where ``,`` is the only operator; a host may come twice.

    :param groups: what ``@name`` stands for, as :func:`read_groups` returns it.
    :raises BadHosts: for what is not a node set, or a part of it that names no host.
    """
    for word in _hidden(_spaced_operator.sub(r'\1', text)).split():
        # A list is the union of its items. Item by item keeps their order, and 5,000 of them take a fifth of a second;
        # as one set, folded, they take four.
        for item in [word] if re.search('[!&^]', word) else _comma.split(word):
            yield from _nodes(item, groups)


def _nodes(item: str, groups: Any) -> Iterator[str]:
    try:
        nodes = NodeSet(item, resolver=groups)
    except (NodeSetException, GroupResolverError, GroupSourceError) as exc:
        reason = str(exc).removesuffix(f': "{item}"')
        raise BadHosts(f'{_back(item)!r} is not a node set: {_back(reason)}') from exc
    if not nodes and not re.search('[!&^]', item):
        raise BadHosts(f'{_back(item)!r} names no host' if item else 'a comma with no host beside it')
    return map(_back, nodes)


def fold(hosts: Iterable[str], groups: Any = None, regroup: bool = False) -> str:
    """The node set of these hosts, as short as it can be written; nothing for none.

    :param regroup: write ``@name`` where all hosts of a group are among them.
    """
    nodes = NodeSet.fromlist(map(_hidden, hosts), resolver=groups if regroup else RESOLVER_NOGROUP)
    if not regroup:
        return _back(str(nodes))
    try:
        return _back(nodes.regroup())
    except (GroupResolverError, GroupSourceError, NodeSetException) as exc:
        raise BadHosts(f'cannot look for groups: {exc}') from exc


def _hidden(text: str) -> str:
    return _address.sub(lambda match: _move(match[0], _PRIVATE), text)


def _back(text: str) -> str:
    return _moved.sub(lambda match: _move(match[0], -_PRIVATE), text)


def _move(text: str, by: int) -> str:
    return ''.join(chr(ord(char) + by) for char in text)


def name_of(host: str) -> str:
    """The host with its port, without scheme."""
    return host.partition('://')[2].rstrip('/') if '://' in host else host.rstrip('/')


def without(hosts: Iterable[str], excluded: Iterable[str]) -> Iterator[str]:
    """The hosts but for the excluded. One without scheme or port excludes that host with any."""
    gone = set(excluded)
    for host in hosts:
        name = name_of(host)
        if gone.isdisjoint((host, name, re.sub(r':\d+\Z', '', name))):
            yield host


# Files ---------------------------------------------------------------------------------------------------------------

def read_hosts(path: str, groups: Any = None) -> Iterator[str]:
    """The hosts in a file (``-`` is standard input): node sets on each line, ``#`` begins a comment.

    :raises BadHosts: with the name of the file, and the line where there is one.
    """
    name = 'standard input' if path == '-' else path
    for number, line in enumerate(_lines(path, name), 1):
        try:
            yield from expand(line.partition('#')[0], groups)
        except BadHosts as exc:
            raise BadHosts(f'{name}, line {number}: {exc}') from exc


def read_groups(path: str | None) -> Any:
    """What ``@name`` stands for: a file with ``name: node set`` on each line, then ClusterShell's own configuration.

    :param path: ``None`` for the user's own file, which need not exist.
    :raises BadHosts: with the name of the file, and the line where there is one.
    """
    if path is None:
        path = os.path.join(config_directory(), 'groups')
        if not os.path.exists(path):
            return std_group_resolver()
    groups: dict[str, str] = {}
    for number, line in enumerate(_lines(path, path), 1):
        text = line.partition('#')[0].strip()
        name, mark, nodes = text.partition(':')
        if text and not (mark and name.strip() and nodes.strip()):
            raise BadHosts(f'{path}, line {number}: expected "name: node set", not {text[:40]!r}')
        if text:
            groups[name.strip()] = _hidden(_spaced_operator.sub(r'\1', nodes.strip()))
    return GroupResolver(_Groups('napix', groups))


def config_directory() -> str:
    """Where the user's own settings are (XDG Base Directory Specification)."""
    return os.path.join(os.environ.get('XDG_CONFIG_HOME') or os.path.expanduser('~/.config'), 'napix')


class _Groups(GroupSource):  # type: ignore[misc]  # ClusterShell ships no types
    """Our own groups, and behind them those that ClusterShell knows."""

    def resolv_map(self, group: str) -> str:
        if group in self.groups:
            return str(self.groups[group])
        try:
            return ','.join(std_group_resolver().group_nodes(group))
        except (GroupResolverError, GroupSourceError):
            return ''

    def resolv_all(self) -> str:
        return ','.join(self.groups.values())


def _lines(path: str, name: str) -> list[str]:
    try:
        return _read(path).decode('utf-8-sig').splitlines()
    except OSError as exc:
        raise BadHosts(f'cannot read {name}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        raise BadHosts(f'{name} is not a text in UTF-8') from exc


def _read(path: str) -> bytes:
    if path == '-':
        return b'' if sys.stdin is None else sys.stdin.buffer.read()
    with open(path, 'rb') as file:
        return file.read()
