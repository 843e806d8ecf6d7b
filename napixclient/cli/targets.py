"""The requests of a run: each host, each URL, each repetition. They are numbered, and created one by one."""

from __future__ import annotations

import re
from time import monotonic
from typing import NamedTuple

from ..messages import Request, plain_request
from .items import HOST, Content, Items

__all__ = ['BadUrl', 'Tag', 'Targets', 'Urls']

# It has at least one "-" or ",": many servers use names such as "ids[0]".
_find_ranges = re.compile(r'\[(\d+(?:-\d+(?:/\d+)?)?(?:,\d+(?:-\d+(?:/\d+)?)?)*)\]', re.ASCII).finditer
#: Digits of a number in a range, and requests of a run, at most: more would take years.
_DIGITS, _MOST = 15, 10**15


class BadUrl(ValueError):
    """The URL cannot be sent, or a range in it makes no sense."""


class Tag(NamedTuple):
    """Identifies a request; it comes back with the outcome."""

    number: int
    place: int  # the index of its host
    turn: int  # its index among the requests of that host
    began: float  # ``monotonic()`` when the pool took it


class _Numbers:
    """A range as in a node set, ``1-5/2,08-10``; its numbers are not held in memory."""

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[range, int]] = []
        for piece in text.split(','):
            first, last, step = re.fullmatch(r'(\d+)(?:-(\d+)(?:/(\d+))?)?', piece).groups()  # type: ignore[union-attr]
            if len(max(first, last or '', step or '', key=len)) > _DIGITS:
                raise BadUrl(f'[{text}] is not a range: {piece!r} has more than {_DIGITS} digits')
            numbers = range(int(first), int(last or first) + 1, int(step or 1) or 1)
            if not numbers or step is not None and int(step) == 0:
                raise BadUrl(f'[{text}] is not a range: {piece!r} is empty')
            self._parts.append((numbers, len(first) if first.startswith('0') else 0))
        self.count = sum(len(numbers) for numbers, _ in self._parts)

    def __getitem__(self, at: int) -> str:
        for numbers, width in self._parts:
            if at < len(numbers):
                return str(numbers[at]).zfill(width)
            at -= len(numbers)
        raise IndexError(at)


class Urls:
    """A URL with ranges, as a sequence of URLs.

    :raises BadUrl: if a range is empty.
    """

    def __init__(self, text: str) -> None:
        self._pieces: list[str | _Numbers] = []
        end = 0
        for found in _find_ranges(text):
            if '-' in found[1] or ',' in found[1]:
                self._pieces += [text[end : found.start()], _Numbers(found[1])]
                end = found.end()
        self._pieces.append(text[end:])
        self.count: int = 1
        for piece in self._pieces:
            self.count *= piece.count if isinstance(piece, _Numbers) else 1

    def __getitem__(self, number: int) -> str:
        texts = []
        for piece in reversed(self._pieces):  # the last range turns first
            if isinstance(piece, _Numbers):
                number, at = divmod(number, piece.count)
                texts.append(piece[at])
            else:
                texts.append(piece)
        return ''.join(reversed(texts))


class Targets:
    """All requests of a run, numbered in the order of ``--ordered``: batch by batch, the hosts in turn.

    :param serial: hosts in a batch; ``None`` for all.
    :raises BadUrl: if the URL cannot be sent.
    :raises ValueError: if a host is malformed, or its request cannot be made.
    """

    def __init__(
        self, method: str, hosts: list[str], url: str, items: Items, repeat: int = 1, serial: int | None = None
    ) -> None:
        self.method = method
        self.hosts = hosts
        self._urls = Urls(url)
        self._items = items
        self._per_host = HOST in url or items.per_host
        self.repeat = repeat
        self.serial: int = serial or len(hosts)
        #: Requests to each host.
        self.turns: int = self._urls.count * repeat
        self._check(url)
        if self.turns * len(hosts) > _MOST:
            raise BadUrl(f'{self.turns * len(hosts):.0e} requests are more than a run can have')

    def __len__(self) -> int:
        return len(self.hosts) * self.turns

    def _check(self, url: str) -> None:
        """Refuse what cannot be sent, before anything is sent."""
        if not url.startswith('/'):
            raise BadUrl(f'{url!r} does not begin with "/": give a path such as /captains, after the hosts')
        first = self._urls[0].replace(HOST, 'host')
        try:
            Request('host', self.method, first)
        except ValueError as exc:
            raise BadUrl(str(exc)) from exc
        for host in self.hosts:
            Request(host, self.method, first)
        self._plain = None if self._per_host else self._urls[0] if self._urls.count == 1 else None
        self._content = self._items.for_host('') if not self._items.per_host else None

    def index(self, place: int, turn: int) -> int:
        """The number of the request with this place and turn."""
        batch = place // self.serial * self.serial
        size = min(self.serial, len(self.hosts) - batch)
        return batch * self.turns + turn * size + place - batch

    def at(self, index: int) -> tuple[int, int]:
        """Place and turn of the request with this number."""
        batch = index // (self.serial * self.turns) * self.serial
        size = min(self.serial, len(self.hosts) - batch)
        turn, place = divmod(index - batch * self.turns, size)
        return batch + place, turn

    def request(self, place: int, turn: int, timeout: float | None = None) -> Request:
        """Create a request; its tag is a :class:`Tag`.

        :param timeout: seconds in all, if they differ from those of the pool.
        """
        host = self.hosts[place]
        content = self._content or self._items.for_host(host)
        tag = Tag(self.index(place, turn), place, turn, monotonic())
        url = self.url(place, turn, content)
        if timeout is None:
            return plain_request(host, self.method, url, content.body, content.headers or None, tag)
        return Request(host, self.method, url, content.body, content.headers, timeout=timeout, tag=tag)

    def url(self, place: int, turn: int, content: Content | None = None) -> str:
        """Path and query of a request, as they are sent."""
        if self._plain is not None:
            url = self._plain
        else:
            url = self._urls[turn % self._urls.count]
            if self._per_host:
                url = self._items.filled(url, self.hosts[place])
        query = (content or self._items.for_host(self.hosts[place])).query
        return f'{url}{"&" if "?" in url else "?"}{query}' if query else url

    def repetition(self, turn: int) -> int:
        """How many times the same request went to that host before."""
        return turn // self._urls.count
