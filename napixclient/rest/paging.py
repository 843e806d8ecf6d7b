"""Listings that come in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from typing import Any, TypedDict

import gevent
from gevent.lock import Semaphore
from gevent.queue import Queue
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import Unpack, lists, refuse_unknown
from ..checks import is_number, whole_number
from ..masking import mask
from ..messages import lead, written
from .client import Client, Follower, Success
from .quoting import Fields, Params
from .responses import Response

__all__ = ['paginate']

Items = str | Callable[[Any], Iterable[Any]]


class PageOptions(TypedDict, total=False):
    """What each page is asked for with.

    :param params: as :meth:`Client.request` takes them; a link has the parameters that it needs. Default: ``None``.
    :param headers: a mapping or pairs, instead of the client's own fields of these names. Default: ``None``.
    :param success: the status that is a success, or a collection or range of them. Default: 200.
    :param timeout: ``float``, seconds in all for a page, or :class:`urllib3.Timeout`. Default: that of the client.
    :param retries: :class:`urllib3.Retry`, an ``int``, or ``False`` for none at all. Default: that of the client.
    :param redirect: ``bool``, follow redirects. Default: that of the client.
    :param max_body: ``int``, the largest page that is accepted, in bytes. Default: that of the client.
    """

    params: Params | None
    headers: Fields | None
    success: Success
    timeout: float | Timeouts | None
    retries: Retry | int | bool | None
    redirect: bool | None
    max_body: int | None


@lists(PageOptions)
def paginate(
    client: Client,
    path: str = '',
    *,
    items: Items,
    marker: str | None = 'marker',
    limit: int | None = None,
    prefetch: int = 0,
    **options: Unpack[PageOptions],
) -> Iterator[Any]:
    """Iterate over the items of a listing that comes in pages. A page is requested when its first item is needed.

    The field ``Link: <…>; rel="next"`` of an answer names the next page (RFC 8288). If a listing has no such fields,
    each request asks for what follows the last item, until a page is empty. The marker is the last item if that is a
    text or a number, else its member ``id``, else ``name``.

    A link to another origin is followed without token, authenticator and secret fields, and so are all further links.

    >>> from napixclient.rest import Client, paginate
    >>> list(paginate(Client('http://server.example'), '/captains', items=list, marker=None))
    ['/captains/1', '/captains/2']

    :param items: finds the items in the decoded JSON of a page: the name of a member, or a function.
    :param marker: the parameter that names the last item; ``None`` if the listing has no such parameter.
    :param limit: the parameter ``limit``, the number of items of a page; without it the server chooses.
    :param prefetch: pages that may be requested before their items are needed.
    :param options: those of each request:
    :raises ClientError: if a page cannot be fetched or read, or appears a second time.
    :raises ValueError: if an argument is invalid.
    :raises TypeError: if there is no such option.
    """
    _check(items, marker, limit, prefetch, options)
    pages = _Listing(client, path, items, marker, limit, options).pages()
    return _items(_ahead(pages, prefetch) if prefetch else pages)


def _check(items: object, marker: object, limit: object, prefetch: object, options: Mapping[str, object]) -> None:
    if not isinstance(items, str) and not callable(items):
        raise ValueError(f'items is the name of a member, or a function of the decoded page, not {items!r}')
    for name, value, least in ('limit', limit, 1), ('prefetch', prefetch, 0):
        if name == 'limit' and value is None:
            continue
        whole_number(value, name, least)
    if marker is not None and (not isinstance(marker, str) or not marker):
        raise ValueError(f'marker is the name of a parameter, or None, not {marker!r}')
    refuse_unknown(paginate, options, PageOptions.__optional_keys__)


def _items(pages: Iterator[list[Any]]) -> Iterator[Any]:
    for page in pages:
        yield from page


class _Listing:
    """Finds the pages of a listing."""

    def __init__(
        self, client: Client, path: str, items: Items, marker: str | None, limit: int | None, options: PageOptions
    ) -> None:
        self._options: dict[str, Any] = {**options}
        params = self._options.pop('params', None) or ()
        self._params = [
            *(params.items() if hasattr(params, 'items') else params),
            *([] if limit is None else [('limit', limit)]),
        ]
        self._client = client
        self._path = path
        self._items = items
        self._marker = marker
        self._limit = limit
        self._follower = Follower(client)
        self._seen: set[str] = set()  # links and markers

    def pages(self) -> Iterator[list[Any]]:
        """The items of each page."""
        try:
            response = self._first()
            self._seen.add(response.url)
            page = self._read(response)
            linked, link = False, _next_link(response)
            while page or link is not None:
                yield page
                if link is not None:
                    linked, response = True, self._follow(response, link)
                elif linked or self._marker is None:
                    return
                else:
                    found = self._behind(response, page)
                    if found is None:
                        return
                    response = found
                page = self._read(response)
                link = _next_link(response)
        finally:
            self._follower.close()

    def _first(self, *more: tuple[str, Any]) -> Response:
        return self._client.get(self._path, params=[*self._params, *more], **self._options)

    def _read(self, response: Response) -> list[Any]:
        if not response.content:  # such as a 204: there is nothing
            return []
        page = response.json
        if not isinstance(self._items, str):
            return list(self._items(page))
        found = page.get(self._items) if isinstance(page, dict) else None
        if not isinstance(found, list):
            raise self._follower.broken(f'the page has no list {self._items!r}', response)
        return found

    # -- by marker -------------------------------------------------------------------------------------------------

    def _behind(self, response: Response, page: list[Any]) -> Response | None:
        """The page that follows the last item; ``None`` if there cannot be one."""
        full = self._limit is not None and len(page) >= self._limit
        last = _marker_of(page[-1])
        if last is None:
            if not full:
                return None
            raise self._follower.broken(
                f'nobody knows what follows an item without id and name: {mask(repr(page[-1]))}', response
            )
        self._seen.add(last)
        assert self._marker is not None
        further = self._first((self._marker, last))
        behind = self._read(further)
        if behind and _marker_of(behind[-1]) in self._seen:
            if not full and behind == page:
                return None  # the listing has no pages, and ignores the marker
            raise self._follower.broken(f'the listing repeats itself: what follows {last!r} was there before', further)
        return further

    # -- by link ---------------------------------------------------------------------------------------------------

    def _follow(self, response: Response, link: str) -> Response:
        """The page that the link of an answer leads to."""
        try:
            host, target = lead(response.url, link)
        except ValueError as exc:
            raise self._follower.broken(f'cannot follow the link to the next page, {link!r}: {exc}', response) from exc
        url = f'{host}{target}'
        if url in self._seen:
            raise self._follower.broken(f'the listing repeats itself: {url} was there before', response)
        self._seen.add(url)
        return self._follower.follow(host, target, self._options)


def _marker_of(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get('id', item.get('name'))
    return str(item) if isinstance(item, str) or is_number(item) else None


# RFC 8288 §3: "<target>; rel=next; title="a; b, c", <…>; …"
_links = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)').finditer
_parameters = re.compile(r';\s*([^\s=;,"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))').finditer


def _next_link(response: Response) -> str | None:
    """The link to the next page, if the answer has one."""
    for link in _links(response.headers.get('link', '')):
        for name, quoted, plain in (match.groups() for match in _parameters(link[2])):
            if name.lower() == 'rel':  # the first one counts: §3.3
                if 'next' in (quoted or plain or '').lower().split():
                    return written(link[1].strip())
                break
    return None


# Ahead ---------------------------------------------------------------------------------------------------------------


def _ahead(pages: Iterator[list[Any]], count: int) -> Iterator[list[Any]]:
    """The same pages; a greenlet fetches up to so many of them before they are needed."""
    ready: Queue[tuple[list[Any] | None, BaseException | None]] = Queue()
    room = Semaphore(count)

    def fetch() -> None:
        failure = None
        try:
            while True:
                room.acquire()
                page = next(pages, None)
                if page is None:
                    break
                ready.put((page, None))
        except gevent.GreenletExit:
            raise
        except BaseException as exc:  # whatever a page raises is raised where its items are needed
            failure = exc
        ready.put((None, failure))

    fetcher = gevent.Greenlet(fetch)
    fetcher.gr_context = copy_context()
    fetcher.start()
    try:
        while True:
            page, failure = ready.get()
            room.release()
            if failure is not None:
                raise failure
            if page is None:
                return
            yield page
    finally:
        fetcher.kill(block=False)
