"""Listings that come in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any, TypedDict

import gevent
from gevent.lock import Semaphore
from gevent.queue import Queue
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import Unpack, lists, refuse_unknown
from ..masking import mask
from ..messages import lead, parse_origin, written
from .client import Client, Success
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
    """The items of a listing that comes in pages, one by one; a page is asked for when its first item is wanted.

    The next page is where the answer's field ``Link: <…>; rel="next"`` says (RFC 8288). A listing without such fields
    is asked for what follows the last item, until a page is empty. The marker is that item, where it is a text or a
    number, else its member ``id``, else ``name``.

    A link to another origin is followed without token, authenticator and secret fields, and so are those behind it.

    >>> from napixclient.rest import Client, paginate
    >>> list(paginate(Client('http://server.example'), '/captains', items=list, marker=None))
    ['/captains/1', '/captains/2']

    :param items: what finds the items in the decoded JSON of a page: the name of a member, or a function.
    :param marker: the parameter that names the last item; ``None`` where the listing knows nothing of the kind.
    :param limit: the parameter ``limit``: how many items a page should have; without it that is the server's choice.
    :param prefetch: pages that may be asked for before their items are wanted.
    :param options: those of each request:
    :raises ClientError: when a page cannot be had or read, and when a page comes up that was there before.
    :raises ValueError: for an argument that makes no sense.
    :raises TypeError: for an option that there is not.
    """
    if not isinstance(items, str) and not callable(items):
        raise ValueError(f'items is the name of a member, or a function of the decoded page, not {items!r}')
    for name, value, least in ('limit', limit, 1), ('prefetch', prefetch, 0):
        if name == 'limit' and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f'{name} is a whole number of at least {least}, not {value!r}')
    if marker is not None and (not isinstance(marker, str) or not marker):
        raise ValueError(f'marker is the name of a parameter, or None, not {marker!r}')
    refuse_unknown(paginate, options, PageOptions.__optional_keys__)
    pages = _Listing(client, path, items, marker, limit, {**options}).pages()
    return _items(_ahead(pages, prefetch) if prefetch else pages)


def _items(pages: Iterator[list[Any]]) -> Iterator[Any]:
    for page in pages:
        yield from page


class _Listing:
    """Where the pages are."""

    def __init__(
        self, client: Client, path: str, items: Items, marker: str | None, limit: int | None, options: dict[str, Any]
    ) -> None:
        params = options.pop('params', None) or ()
        self._params = [
            *(params.items() if hasattr(params, 'items') else params),
            *([] if limit is None else [('limit', limit)]),
        ]
        self._client = client
        self._path = path
        self._items = items
        self._marker = marker
        self._limit = limit
        self._options = options
        self._stranger: Client | None = None  # who asks another origin
        self._seen: set[str] = set()  # links and markers

    def pages(self) -> Iterator[list[Any]]:
        """The items of each page."""
        try:
            response = self._first()
            self._seen.add(_url(response))
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
            self._drop_stranger()

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
            raise response._faults.broken(f'the page has no list {self._items!r}', response)
        return found

    # -- by marker -------------------------------------------------------------------------------------------------

    def _behind(self, response: Response, page: list[Any]) -> Response | None:
        """What follows the last item; ``None`` where nothing can."""
        full = self._limit is not None and len(page) >= self._limit
        last = _marker_of(page[-1])
        if last is None:
            if not full:
                return None
            raise response._faults.broken(
                f'nobody knows what follows an item without id and name: {mask(repr(page[-1]))}', response
            )
        self._seen.add(last)
        assert self._marker is not None
        further = self._first((self._marker, last))
        behind = self._read(further)
        if behind and _marker_of(behind[-1]) in self._seen:
            if not full and behind == page:
                return None  # it has no pages, and does not look at the marker
            raise further._faults.broken(f'the listing repeats itself: what follows {last!r} was there before', further)
        return further

    # -- by link ---------------------------------------------------------------------------------------------------

    def _follow(self, response: Response, link: str) -> Response:
        """What the link of an answer leads to."""
        try:
            host, target = lead(_url(response), link)
        except ValueError as exc:
            raise response._faults.broken(
                f'cannot follow the link to the next page, {link!r}: {exc}', response
            ) from exc
        url, origin = f'{host}{target}', parse_origin(host)
        if url in self._seen:
            raise response._faults.broken(f'the listing repeats itself: {url} was there before', response)
        self._seen.add(url)
        if self._stranger is not None or origin != self._client._core.origin:
            if self._stranger is None or origin != self._stranger._core.origin:
                self._drop_stranger()
                self._stranger = self._client._stranger(host)
            return self._stranger._fetch(target, self._options, without_proof=True)
        return self._client._fetch(target, self._options)

    def _drop_stranger(self) -> None:
        stranger, self._stranger = self._stranger, None
        if stranger is not None:
            stranger.close()


def _url(response: Response) -> str:
    return response._wait().url


def _marker_of(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get('id', item.get('name'))
    return str(item) if isinstance(item, (str, int, float)) and not isinstance(item, bool) else None


# RFC 8288 §3: "<target>; rel=next; title="a; b, c", <…>; …"
_links = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)').finditer
_parameters = re.compile(r';\s*([^\s=;,"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))').finditer


def _next_link(response: Response) -> str | None:
    """Where the next page is, as the answer tells it."""
    for link in _links(response.headers.get('link', '')):
        for name, quoted, plain in (match.groups() for match in _parameters(link[2])):
            if name.lower() == 'rel':  # the first one counts: §3.3
                if 'next' in (quoted or plain or '').lower().split():
                    return written(link[1].strip())
                break
    return None


# Ahead ---------------------------------------------------------------------------------------------------------------


def _ahead(pages: Iterator[list[Any]], count: int) -> Iterator[list[Any]]:
    """The same pages, so many of which are fetched before they are wanted, by a greenlet of its own."""
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
        except BaseException as exc:  # whatever a page raises is raised where its items are wanted
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
