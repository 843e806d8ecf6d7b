"""Listings that come in pages: what follows their links. Does no I/O itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ..messages import split_reference

__all__ = ['Page', 'follow', 'marker_of']


class Page(NamedTuple):
    """Some of a listing: items by what tells them apart, and the marker of the page that follows."""

    items: list[tuple[str, Any]]
    following: str | None


def follow(fetch: Callable[[str | None], Page], marker: str | None) -> Iterator[Any]:
    """The items of all pages, each page fetched when the one before it is used up, each item once.

    A store may repeat items: on Redis the listing begins anew when the message of the marker has been deleted. It may
    also name the same page for ever. So a link is followed while that leads to something new: no marker that led to
    nothing is used again before there was an item that was not seen before.
    """
    seen: set[str] = set()
    fruitless: set[str | None] = set()
    while True:
        items, following = fetch(marker)
        fresh = {key: item for key, item in items if key not in seen}
        seen.update(fresh)
        if fresh:
            fruitless.clear()
        else:
            fruitless.add(marker)
        yield from fresh.values()
        if following is None or following in fruitless:
            return
        marker = following


def marker_of(document: Any) -> str | None:
    """The marker in the link to the next page. Of the link no more is used: its parameters come in any order."""
    for link in document.get('links') or ():
        if link.get('rel') == 'next':
            found = parse_qs(split_reference(str(link.get('href'))).query or '').get('marker')
            return found[0] if found else None
    return None
