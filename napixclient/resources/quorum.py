"""How many hosts must succeed, in all or in each zone. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ['Quorum']

_ALL = object()


class Quorum:
    """Counts successes until enough hosts have succeeded, or can no more.

    :param need: how many, or how many in each zone.
    :param hosts: who is asked.
    :param zones: where the hosts are.
    :raises ValueError: for a number below 1, or a zone in which no host is.
    """

    def __init__(self, need: int | Mapping[Any, int], hosts: Sequence[str], zones: Mapping[str, Any]) -> None:
        if isinstance(need, Mapping):
            if not need:
                raise ValueError('need names no zone; leave it out to wait for all hosts')
            unknown = [zone for zone in need if zone not in zones.values()]
            if unknown:
                raise ValueError(
                    f'need: no host is in the zone {unknown[0]!r}; zones={{host: zone}} tells where they are'
                )
            self._zones = [zones.get(host, _ALL) for host in hosts]
            needs: Mapping[Any, int] = need
        else:
            self._zones = [_ALL] * len(hosts)
            needs = {_ALL: need}
        for number in needs.values():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f'need is a number of hosts of at least 1, or {{zone: number}}, not {need!r}')
        self._needs = needs
        self._succeeded: Counter[Any] = Counter()
        self._unknown = Counter(self._zones)

    def note(self, index: int, success: bool) -> None:
        """The host at that place succeeded, or failed."""
        zone = self._zones[index]
        self._unknown[zone] -= 1
        self._succeeded[zone] += success

    @property
    def reached(self) -> bool:
        """Whether enough have succeeded."""
        return all(self._succeeded[zone] >= number for zone, number in self._needs.items())

    @property
    def lost(self) -> bool:
        """Whether those that are left are not enough."""
        return any(self._succeeded[zone] + self._unknown[zone] < number for zone, number in self._needs.items())

    def __str__(self) -> str:
        return ', '.join(
            f'{self._succeeded[zone]} of {number} succeeded' + ('' if zone is _ALL else f' in {zone}')
            for zone, number in self._needs.items()
        )
