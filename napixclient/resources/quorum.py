"""How many hosts must succeed, in all or in each zone. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from ..checks import is_whole

__all__ = ['Quorum', 'Zone']

#: What a zone is called: a text, a number, or whatever the caller uses.
Zone = TypeVar('Zone', bound=Hashable)
_ALL = object()


class Quorum:
    """Counts successes until enough hosts have succeeded, or too few are left.

    :param need: how many hosts must succeed, or how many in each zone.
    :param hosts: the hosts that are asked.
    :param zones: the zone of each host.
    :raises ValueError: if a number is below 1, or a zone has no host.
    """

    def __init__(self, need: int | Mapping[Zone, int], hosts: Sequence[str], zones: Mapping[str, Hashable]) -> None:
        if isinstance(need, Mapping):
            if not need:
                raise ValueError('need names no zone; leave it out to wait for all hosts')
            unknown = [zone for zone in need if zone not in zones.values()]
            if unknown:
                raise ValueError(
                    f'need: no host is in the zone {unknown[0]!r}; zones={{host: zone}} tells where they are'
                )
            self._zones = [zones.get(host, _ALL) for host in hosts]
            needs: dict[Hashable, int] = dict(need.items())
        else:
            self._zones = [_ALL] * len(hosts)
            needs = {_ALL: need}
        for number in needs.values():
            if not is_whole(number) or number < 1:
                raise ValueError(f'need is a number of hosts of at least 1, or {{zone: number}}, not {need!r}')
        self._needs = needs
        self._succeeded: Counter[Hashable] = Counter()
        self._unknown = Counter(self._zones)

    def note(self, index: int, success: bool) -> None:
        """Note that a host succeeded or failed.

        :param index: its index in ``hosts``.
        """
        zone = self._zones[index]
        self._unknown[zone] -= 1
        self._succeeded[zone] += success

    @property
    def reached(self) -> bool:
        """Whether enough hosts have succeeded."""
        return all(self._succeeded[zone] >= number for zone, number in self._needs.items())

    @property
    def lost(self) -> bool:
        """Whether the hosts that are left cannot be enough."""
        return any(self._succeeded[zone] + self._unknown[zone] < number for zone, number in self._needs.items())

    def __str__(self) -> str:
        return ', '.join(
            f'{self._succeeded[zone]} of {number} succeeded' + ('' if zone is _ALL else f' in {zone}')
            for zone, number in self._needs.items()
        )
