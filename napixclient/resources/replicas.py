"""The hosts of a mapping: a replica for each, found by any spelling of its host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ..messages import Origin, parse_origin
from .errors import UnknownHost
from .replica import Replica

__all__ = ['SHOWN', 'Replicas', 'listed']

#: How many hosts an error names.
SHOWN = 5


class Replicas(Mapping[str, Replica]):
    """Replicas by host, in the order and the spelling in which the hosts were given.

    :param make: makes the replica of a host.
    :raises ValueError: if two hosts are the same one.
    """

    def __init__(self, hosts: Iterable[str], make: Callable[[str], Replica]) -> None:
        self._by_host: dict[str, Replica] = {}
        self._by_origin: dict[Origin, Replica] = {}
        for host in hosts:
            origin = parse_origin(host)
            if origin in self._by_origin:
                raise ValueError(f'hosts: {self._by_origin[origin].host!r} and {host!r} are the same host')
            self._by_host[host] = self._by_origin[origin] = make(host)

    def __getitem__(self, host: str) -> Replica:
        """The replica of a host, in any spelling of it.

        :raises UnknownHost: if there is none.
        """
        found = self._by_host.get(host) if isinstance(host, str) else None
        if found is None:
            try:
                found = self._by_origin.get(parse_origin(host))
            except ValueError as exc:
                raise UnknownHost(str(exc)) from None
        if found is None:
            known = ', '.join(map(repr, list(self)[:SHOWN])) + (', …' if len(self) > SHOWN else '')
            raise UnknownHost(f'unknown host {host!r}; these resources have {known or "none"}')
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_host)

    def __len__(self) -> int:
        return len(self._by_host)

    def named(self, hosts: Iterable[str]) -> list[str]:
        """These hosts in their first spelling, each once; all hosts, if none is named."""
        return list(dict.fromkeys(self[host].host for host in listed(hosts))) or list(self)


def listed(hosts: object) -> list[str]:
    """The hosts as a list.

    :raises ValueError: if it is a single text, or cannot be iterated.
    """
    if isinstance(hosts, (str, bytes)):
        raise ValueError(f'hosts are several: [{hosts!r}], not {hosts!r}')
    if not isinstance(hosts, Iterable):
        raise ValueError(f'hosts is a list of hosts, or another iterable, not {hosts!r}')
    return list(hosts)
