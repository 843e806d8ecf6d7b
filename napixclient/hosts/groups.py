"""Groups of hosts: those of the user's own file, and those that ClusterShell is configured to find.

It reads only the configuration that the user or the administrator wrote. ClusterShell's package installs samples under
the prefix of Python, and those name hosts that do not exist.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

from .nodesets import BadHosts

__all__ = ['Groups', 'config_home']

_T = TypeVar('_T')


class Groups:
    """Groups by their names.

    :param path: the user's own file of groups, for error messages; ``None`` without one.
    :param own: the groups in it: name -> node set.
    """

    def __init__(self, path: str | None = None, own: dict[str, str] | None = None) -> None:
        self._path = path
        self._own = own or {}

    def nodes(self, name: str, source: str | None = None) -> str:
        """The node set that a group stands for.

        :param source: a source in ClusterShell's configuration; ``None`` for the user's own file, then the default
            source.
        :raises BadHosts: if there is no such group.
        """
        if source is None and name in self._own:
            return self._own[name]
        written = f'@{name}' if source is None else f'@{source}:{name}'
        sources = self._sources(written)
        if source is not None and source not in sources:
            raise BadHosts(f'{written!r} is not a node set: there is no source {source!r}; {self._searched()}')
        if sources and (found := self._asked(written, lambda: self._clustershell.group_nodes(name, source))):
            return ','.join(found)
        raise BadHosts(f'{written!r} names no host: there is no such group; {self._searched()}')

    def everything(self, source: str | None = None) -> str:
        """The node set of all hosts of all groups."""
        found = list(self._own.values()) if source is None else []
        written = '@*' if source is None else f'@{source}:*'
        if source is not None or self._sources(written):
            found += self._asked(written, lambda: self._all_of(source))
        if not found:
            raise BadHosts(f'there are no groups; {self._searched()}')
        return ','.join(found)

    def grouplist(self) -> list[str]:
        """The names of all groups in the user's own file and in the default source, if it lists them."""
        names = dict.fromkeys(self._own)
        with suppress(BadHosts):
            if self._sources('@'):
                names.update(dict.fromkeys(self._asked('@', lambda: self._clustershell.grouplist())))
        return list(names)

    # -- ClusterShell ----------------------------------------------------------------------------------------------

    @cached_property
    def _clustershell(self) -> Any:
        from ClusterShell.NodeSet import DEF_GROUPS_CONFIGS, ILLEGAL_GROUP_CHARS, std_group_resolver
        from ClusterShell.NodeUtils import GroupResolverConfig

        resolver = std_group_resolver()
        if getattr(resolver, 'filenames', None) != DEF_GROUPS_CONFIGS:
            return resolver  # the program has set one of its own
        return GroupResolverConfig(_configurations(), ILLEGAL_GROUP_CHARS)

    def _sources(self, written: str) -> list[str]:
        return self._asked(written, lambda: list(self._clustershell.sources()))

    def _all_of(self, source: str | None) -> list[str]:
        from ClusterShell.NodeUtils import GroupSourceNoUpcall

        resolver = self._clustershell
        try:
            found: list[str] = resolver.all_nodes(source)
        except GroupSourceNoUpcall:
            found = [nodes for name in resolver.grouplist(source) for nodes in resolver.group_nodes(name, source)]
        return found

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        from configparser import Error

        from ClusterShell.NodeUtils import GroupResolverError, GroupSourceError

        return GroupResolverError, GroupSourceError, Error, OSError, ValueError

    def _asked(self, written: str, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except self._failures as exc:
            raise BadHosts(
                f'{written!r} names no host: ClusterShell cannot look it up: {exc}; {self._searched()}'
            ) from exc

    def _searched(self) -> str:
        if self._path is None:
            return f'groups are looked for in {", ".join(_configurations())}'
        return f'groups are looked for in {", ".join([self._path, *_configurations()])}'


def _configurations() -> list[str]:
    """ClusterShell's files in rising precedence, without the samples under the prefix of Python."""
    directories = ['/etc/clustershell', os.path.join(config_home(), 'clustershell')]
    if named := os.environ.get('CLUSTERSHELL_CFGDIR'):
        directories.append(named)
    return [os.path.join(directory, 'groups.conf') for directory in directories]


def config_home() -> str:
    """Where the user's settings are (XDG Base Directory Specification)."""
    return os.environ.get('XDG_CONFIG_HOME') or os.path.expanduser('~/.config')
