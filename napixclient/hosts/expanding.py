"""Node sets and groups together: expands a text to its hosts, and folds hosts to a text."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator

from .groups import Groups
from .nodesets import BadHosts, expanded, folded, size_of, terms_of

__all__ = ['expand', 'fold', 'sizes_of']


def expand(text: str, groups: Groups | None = None) -> Iterator[str]:
    """The hosts of one or more node sets, which blanks separate: ``web[1-100].example:8002,[::1]:80``.

    They come in the order written. A host may come twice if ``,`` is the only operator.

    :param groups: what ``@name`` stands for, see :class:`Groups`.
    :raises BadHosts: if it is not a node set, or a part of it names no host.
    """
    return _expand(text, groups or Groups(), None, ())


def _expand(text: str, groups: Groups, source: str | None, within: tuple[str, ...]) -> Iterator[str]:
    """Yield the hosts of a text that is written within other groups.

    :param source: the source of ``@name`` if it names none.
    :param within: the groups in which the text is written.
    """
    if not _has_operators(text):
        for _, term in terms_of(text):
            yield from _hosts_of(term, groups, source, within)
        return
    found: dict[str, None] = {}
    for operator, term in terms_of(text):
        hosts = dict.fromkeys(_hosts_of(term, groups, source, within))
        if not operator:  # the terms before are another set
            yield from found
            found = hosts
        elif operator == ',':
            found.update(hosts)
        elif operator == '&':
            found = {host: None for host in found if host in hosts}
        else:
            both = found.keys() & hosts.keys()
            for host in both:
                del found[host]
            if operator == '^':
                found.update((host, None) for host in hosts if host not in both)
    yield from found


_has_operators = re.compile('[!&^]').search
_has_wildcards = re.compile('[*?]').search


def _hosts_of(term: str, groups: Groups, source: str | None, within: tuple[str, ...]) -> Iterator[str]:
    if term[0] == '@':
        for name in expanded(term):
            yield from _members(name, groups, source, within)
    elif _has_wildcards(term):
        every = dict.fromkeys(_every_host(term, groups, source, within))
        for pattern in expanded(term):
            found = list(filter(re.compile(fnmatch.translate(pattern)).match, every))
            if not found:
                raise BadHosts(f'{pattern!r} names no host: none of those in the groups is like it')
            yield from found
    else:
        yield from expanded(term)


def _every_host(term: str, groups: Groups, source: str | None, within: tuple[str, ...]) -> Iterator[str]:
    """Every host of every group, from which a term chooses."""
    if '*' in within:
        raise BadHosts(f'{term!r} is written in a group, and stands for hosts of all groups')
    try:
        text = groups.everything(source)
    except BadHosts as exc:
        raise BadHosts(f'{term!r} names no host: {exc}') from None
    return _expand(text, groups, source, (*within, '*'))


def _members(written: str, groups: Groups, source: str | None, within: tuple[str, ...]) -> Iterator[str]:
    """The hosts of a group, ``@name``, ``@source:name`` or ``@*``."""
    before, mark, behind = written[1:].partition(':')
    source, name = (before, behind) if mark else (source, before)
    if name == '*':
        return _every_host(written, groups, source, within)
    if (key := f'{source}:{name}') in within:
        raise BadHosts(f'{written!r} is a group that is written in itself')
    return _expand(groups.nodes(name, source), groups, source, (*within, key))


def sizes_of(text: str) -> Iterator[int]:
    """How many hosts each term of node sets names, without expanding them; a group counts as one.

    :raises BadHosts: if it is not a node set.
    """
    return (size_of(term) for _, term in terms_of(text))


def fold(hosts: Iterable[str], groups: Groups | None = None, regroup: bool = False) -> str:
    """The node set of these hosts, never longer than their list; empty for no hosts.

    :param regroup: write ``@name`` instead of all hosts of a group.
    """
    if not regroup:
        return folded(hosts)
    left = dict.fromkeys(hosts)
    named = []
    for name, members in _largest_first(groups or Groups()):
        if members <= left.keys():
            named.append(f'@{name}')
            for host in members:
                del left[host]
    return ','.join(filter(None, (folded(named), folded(left))))


def _largest_first(groups: Groups) -> list[tuple[str, set[str]]]:
    """The groups and their hosts, largest first; groups that cannot be looked up are left out."""
    found = []
    for name in groups.grouplist():
        try:
            found.append((name, set(_members(f'@{name}', groups, None, ()))))
        except BadHosts:
            continue
    return sorted(found, key=lambda one: (-len(one[1]), one[0]))
