"""Listings that come in pages: follows the links from page to page. Does no I/O itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import parse_qs

from ..messages import split_reference

__all__ = ['Page', 'follow', 'marker_of']

T = TypeVar('T')


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing: items by the key that identifies each, and the marker of the next page."""

    items: list[tuple[str, T]]
    following: str | None


def follow(fetch: Callable[[str | None], Page[T]], marker: str | None) -> Iterator[T]:
    """The items of all pages, each item once; each page is fetched when the one before is used up.

    A store may repeat items: on Redis the listing starts over when the message of the marker has been deleted. It may
    also name the same page for ever. So a link is followed as long as that leads to something new: a marker that led
    to nothing new is not used again until some other page has brought an item that was not seen before.
    """
    seen: set[str] = set()
    fruitless: set[str | None] = set()
    while True:
        page = fetch(marker)
        fresh = {key: item for key, item in page.items if key not in seen}
        seen.update(fresh)
        if fresh:
            fruitless.clear()
        else:
            fruitless.add(marker)
        yield from fresh.values()
        if page.following is None or page.following in fruitless:
            return
        marker = page.following


def marker_of(links: Iterable[Mapping[str, str]]) -> str | None:
    """The marker in the link to the next page. Nothing else of the link is used: its parameters come in any order."""
    for link in links:
        if link.get('rel') == 'next':
            found = parse_qs(split_reference(str(link.get('href'))).query or '').get('marker')
            return found[0] if found else None
    return None
