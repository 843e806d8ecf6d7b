"""Reads hosts and groups from files, and leaves excluded hosts out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

from ..hosts import BadHosts, Groups, expand
from ..profiles import config_directory

__all__ = ['lines_of', 'name_of', 'read_bytes', 'read_groups', 'read_hosts', 'without']


def read_groups(path: str | None) -> Groups:
    """What ``@name`` stands for: a file with ``name: node set`` on each line, then ClusterShell's own configuration.

    :param path: ``None`` for the user's own file, which need not exist.
    :raises BadHosts: with the name of the file, and the number of the line if there is one.
    """
    if path is None:
        path = os.path.join(config_directory(), 'groups')
        if not os.path.exists(path):
            return Groups(path)
    groups: dict[str, str] = {}
    for number, line in enumerate(lines_of(path, path), 1):
        text = line.partition('#')[0].strip()
        name, mark, nodes = text.partition(':')
        if text and not (mark and name.strip() and nodes.strip()):
            raise BadHosts(f'{path}, line {number}: expected "name: node set", not {text[:40]!r}')
        if text:
            groups[name.strip()] = nodes.strip()
    return Groups(path, groups)


def read_hosts(path: str, groups: Groups | None = None) -> Iterator[str]:
    """The hosts in a file (``-`` is standard input): node sets on each line, ``#`` begins a comment.

    :raises BadHosts: with the name of the file, and the number of the line if there is one.
    """
    name = 'standard input' if path == '-' else path
    for number, line in enumerate(lines_of(path, name), 1):
        try:
            yield from expand(line.partition('#')[0], groups)
        except BadHosts as exc:
            raise BadHosts(f'{name}, line {number}: {exc}') from exc


def lines_of(path: str, name: str) -> list[str]:
    """The lines of a text file; ``-`` is standard input.

    :param name: of the file, for the error.
    :raises BadHosts: when it cannot be read.
    """
    try:
        return read_bytes(path).decode('utf-8-sig').splitlines()
    except OSError as exc:
        raise BadHosts(f'cannot read {name}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        raise BadHosts(f'{name} is not a text in UTF-8') from exc


def read_bytes(path: str) -> bytes:
    """The content of a file; ``-`` is standard input.

    :raises OSError: when it cannot be read.
    """
    if path == '-':
        return b'' if sys.stdin is None else sys.stdin.buffer.read()
    with open(path, 'rb') as file:
        return file.read()


# Hosts ---------------------------------------------------------------------------------------------------------------


def name_of(host: str) -> str:
    """The host with its port, without scheme."""
    return host.partition('://')[2].rstrip('/') if '://' in host else host.rstrip('/')


def without(hosts: Iterable[str], excluded: Iterable[str]) -> Iterator[str]:
    """The hosts without the excluded ones. An excluded host without scheme or port matches every scheme or port."""
    gone = set(excluded)
    for host in hosts:
        name = name_of(host)
        if gone.isdisjoint((host, name, re.sub(r':\d+\Z', '', name))):
            yield host
