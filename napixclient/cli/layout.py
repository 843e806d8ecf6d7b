"""Which URLs each host is asked for, in which order, how often: the places of hosts, and the turns of each."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol

from .ranges import BadUrl, Urls

__all__ = ['MOST', 'Grid', 'Layout', 'Listed']

#: Requests of a run at most, and URLs that are held in memory: more would take years, or is a mistake.
MOST, _MOST_LISTED = 10**15, 10**6


class Layout(Protocol):
    """Numbers the requests of a run: batch by batch of hosts, in the order of ``--ordered``."""

    hosts: list[str]
    serial: int
    #: Whether a host alone does not tell which of the listed URLs is meant.
    shows_urls: bool

    def __len__(self) -> int:
        """Requests in all."""

    def turns(self, place: int) -> int:
        """How many requests go to the host at this place."""

    def pattern(self, place: int, turn: int) -> str:
        """The URL of a request as it was written, without ranges."""

    def only(self) -> str | None:
        """The one URL that all hosts are asked for; ``None`` where there are several."""

    def patterns(self) -> Iterable[tuple[int, str]]:
        """Every kind of URL, with the place of a host that is asked for it: what has to be looked at beforehand."""

    def repetition(self, place: int, turn: int) -> int:
        """How many times the same request went to that host before."""

    def index(self, place: int, turn: int) -> int:
        """The number of the request with this place and turn."""

    def at(self, index: int) -> tuple[int, int]:
        """Place and turn of the request with this number."""


class Grid:
    """Each host is asked for the same URLs; nothing is held in memory but the hosts.

    :param url: a URL, perhaps with ranges.
    :param serial: hosts in a batch; ``None`` for all.
    :raises BadUrl: for a bad range, and for too many requests.
    """

    shows_urls = False

    def __init__(self, hosts: list[str], url: str, repeat: int | None, serial: int | None) -> None:
        self.hosts = hosts
        self.serial: int = serial or len(hosts)
        self._urls = Urls(url)
        self._turns: int = self._urls.count * _checked(len(hosts) * self._urls.count, repeat)

    def __len__(self) -> int:
        return len(self.hosts) * self._turns

    def turns(self, place: int) -> int:
        """How many requests go to the host at this place."""
        return self._turns

    def pattern(self, place: int, turn: int) -> str:
        """The URL of a request as it was written, without ranges."""
        return self._urls[turn % self._urls.count]

    def only(self) -> str | None:
        """The one URL that all hosts are asked for; ``None`` where there are several."""
        return self._urls[0] if self._urls.count == 1 else None

    def patterns(self) -> Iterable[tuple[int, str]]:
        """The first URL, for each host."""
        first = self._urls[0]
        return ((place, first) for place in range(len(self.hosts)))

    def repetition(self, place: int, turn: int) -> int:
        """How many times the same request went to that host before."""
        return turn // self._urls.count

    def index(self, place: int, turn: int) -> int:
        """The number of the request with this place and turn."""
        batch = place // self.serial * self.serial
        size = min(self.serial, len(self.hosts) - batch)
        return batch * self._turns + turn * size + place - batch

    def at(self, index: int) -> tuple[int, int]:
        """Place and turn of the request with this number."""
        batch = index // (self.serial * self._turns) * self.serial
        size = min(self.serial, len(self.hosts) - batch)
        turn, place = divmod(index - batch * self._turns, size)
        return batch + place, turn


class Listed:
    """Each host is asked for URLs of its own, as a list has them.

    :param entries: hosts and their URLs, perhaps with ranges; the same one counts once.
    :param serial: hosts in a batch; ``None`` for all.
    :raises BadUrl: for a bad range, and for too many URLs.
    """

    def __init__(self, entries: Iterable[tuple[str, str]], repeat: int | None, serial: int | None) -> None:
        places: dict[str, int] = {}
        self._urls: list[list[str]] = []
        pairs = list(dict.fromkeys(_spread(entries)))
        own: list[tuple[int, int]] = []  # place, and which of its URLs
        for host, url in pairs:
            place = places.setdefault(host, len(places))
            if place == len(self._urls):
                self._urls.append([])
            own.append((place, len(self._urls[place])))
            self._urls[place].append(url)
        self.hosts: list[str] = list(places)
        self.serial: int = serial or max(len(places), 1)
        self.shows_urls: bool = len(places) < len(pairs)
        self._repeat = _checked(len(pairs), repeat)
        # In the order of their numbers, without repetitions; where each batch begins, and each host's numbers in it.
        self._order: list[tuple[int, int]] = sorted(own, key=lambda one: one[0] // self.serial)
        self._starts: list[int] = []
        self._numbers: list[array[int]] = [array('q') for _ in places]
        for number, (place, _) in enumerate(self._order):
            if place // self.serial == len(self._starts):
                self._starts.append(number)
            self._numbers[place].append(number)
        self._starts.append(len(pairs))

    def __len__(self) -> int:
        return len(self._order) * self._repeat

    def turns(self, place: int) -> int:
        """How many requests go to the host at this place."""
        return len(self._urls[place]) * self._repeat

    def pattern(self, place: int, turn: int) -> str:
        """The URL of a request as it was written, without ranges."""
        urls = self._urls[place]
        return urls[turn % len(urls)]

    def only(self) -> str | None:
        """``None``: there are several."""
        return None

    def patterns(self) -> Iterable[tuple[int, str]]:
        """All URLs."""
        return ((place, url) for place, urls in enumerate(self._urls) for url in urls)

    def repetition(self, place: int, turn: int) -> int:
        """How many times the same request went to that host before."""
        return turn // len(self._urls[place])

    def index(self, place: int, turn: int) -> int:
        """The number of the request with this place and turn."""
        batch = place // self.serial
        start, end = self._starts[batch], self._starts[batch + 1]
        repetition, which = divmod(turn, len(self._urls[place]))
        return start * self._repeat + repetition * (end - start) + self._numbers[place][which] - start

    def at(self, index: int) -> tuple[int, int]:
        """Place and turn of the request with this number."""
        batch = bisect_right(self._starts, index // self._repeat) - 1
        start, end = self._starts[batch], self._starts[batch + 1]
        repetition, which = divmod(index - start * self._repeat, end - start)
        place, turn = self._order[start + which]
        return place, repetition * len(self._urls[place]) + turn


def _spread(entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The entries with a URL for each number of a range."""
    count = 0
    for host, text in entries:
        urls = Urls(text)
        count += urls.count
        if count > _MOST_LISTED:
            raise BadUrl(f'more than {_MOST_LISTED:,} different URLs; many to each host are written as HOSTS URL')
        for number in range(urls.count):
            yield host, urls[number]


def _checked(requests: int, repeat: int | None) -> int:
    """How often all is repeated; without a number as often as a run may have it.

    :raises BadUrl: for too many requests.
    """
    if requests * (repeat or 1) > MOST:
        raise BadUrl(f'{requests * (repeat or 1):.0e} requests are more than a run can have')
    return repeat or max(MOST // max(requests, 1), 1)
