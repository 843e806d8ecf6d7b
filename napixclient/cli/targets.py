"""The requests of a run: each host, each URL, each repetition. They are numbered, and created one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple

from ..masking import mask
from ..messages import Request, plain_request
from .digests import digest_of
from .items import Content, Items
from .layout import Layout
from .ranges import BadUrl

__all__ = ['Tag', 'Targets']


class Tag(NamedTuple):
    """Identifies a request; it comes back with the outcome."""

    number: int
    place: int  # the index of its host
    turn: int  # its index among the requests of that host
    began: float  # ``monotonic()`` when the pool took it


class Targets:
    """All requests of a run, numbered in the order of ``--ordered``: batch by batch, the hosts in turn.

    :param layout: which hosts are asked for what, and how often.
    :param items: what is sent to each.
    :raises BadUrl: if a URL cannot be sent.
    :raises ValueError: if a host is malformed, or its request cannot be made.
    """

    def __init__(self, method: str, layout: Layout, items: Items) -> None:
        self.method = method
        self.hosts: list[str] = layout.hosts
        self.serial: int = layout.serial
        self._layout = layout
        self._items = items
        self._filler = items.filler
        self.turns: Callable[[int], int] = layout.turns
        self.index: Callable[[int, int], int] = layout.index
        self.at: Callable[[int], tuple[int, int]] = layout.at
        self.repetition: Callable[[int, int], int] = layout.repetition
        self._digest: str | None = None
        self._content = None if items.per_host else items.for_host('')
        only = layout.only()
        # A single URL, which is the same for all hosts: it need not be made anew.
        self._plain = None if only is None or self._filler.fills(only) else only
        self._check()

    def __len__(self) -> int:
        return len(self._layout)

    def _check(self) -> None:
        """Refuse what cannot be sent, before anything is sent."""
        known: set[str] = set()
        for place, pattern in self._layout.patterns():
            if not pattern.startswith('/'):
                raise BadUrl(f'{pattern!r} does not begin with "/": give a path such as /captains, after the hosts')
            host = self.hosts[place]
            url = self._filler.fill(pattern, host, in_url=True)
            if url not in known:
                known.add(url)
                try:
                    Request('host', self.method, url)
                except ValueError as exc:
                    raise BadUrl(str(exc)) from exc
            Request(host, self.method, url, None, self.content(place).headers if self._filler.has_variables else None)

    def labels(self) -> Iterator[str]:
        """The names of all targets, as they are shown."""
        if not self._layout.shows_urls:
            return iter(self.hosts)
        return (f'{self.hosts[place]}{mask(pattern)}' for place, pattern in self._layout.patterns())

    def label(self, tag: Tag) -> str:
        """The name of a request, as it is shown: its host, and the URL where there are several."""
        host = self.hosts[tag.place]
        return f'{host}{mask(self.url(tag.place, tag.turn))}' if self._layout.shows_urls else host

    def order(self, batch: range) -> Iterator[tuple[int, int]]:
        """Places and turns of the requests to a batch of hosts, in the order of their numbers."""
        first = self.index(batch[0], 0)
        count = sum(map(self.turns, batch))
        return map(self.at, range(first, first + count))

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

    def content(self, place: int) -> Content:
        """What is sent to the host at this place."""
        return self._content or self._items.for_host(self.hosts[place])

    def digest(self, place: int) -> str:
        """A digest of the body that is sent to the host at this place; empty without one."""
        if self._items.per_host:
            return digest_of(self._items, self.hosts[place])
        if self._digest is None:
            self._digest = digest_of(self._items, '')
        return self._digest

    def url(self, place: int, turn: int, content: Content | None = None) -> str:
        """Path and query of a request, as they are sent."""
        url = self._plain
        if url is None:
            url = self._layout.pattern(place, turn)
            if self._filler.fills(url):
                url = self._filler.fill(url, self.hosts[place], in_url=True)
        query = (content or self.content(place)).query
        return f'{url}{"&" if "?" in url else "?"}{query}' if query else url
