"""Subscriptions: addresses that the server sends messages on to (version 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict
from urllib.parse import quote

from .api import QueueApi, object_of, parsed, query_of
from .paging import Page, follow, marker_of
from .pending import asks

__all__ = ['Subscription', 'Subscriptions']


class _Address(TypedDict):
    """Where a subscription delivers to."""

    subscriber: str


class SubscriptionDocument(_Address, total=False):
    """A subscription in an answer; ``confirmed`` is there where the server knows it."""

    id: str
    ttl: int
    age: int
    options: dict[str, object]
    confirmed: bool


class Subscription:
    """A subscription as the server described it.

    ``id``; ``subscriber``, the address; ``ttl`` and ``age`` in seconds; ``options``; ``confirmed``, whether the
    subscriber has agreed, where the server says so.
    """

    def __init__(self, queue: QueueApi, id: str, document: SubscriptionDocument) -> None:
        self.id = id
        self.subscriber: str = document['subscriber']
        self.ttl: int | None = document.get('ttl')
        self.age: int | None = document.get('age')
        self.options: dict[str, Any] = dict(document.get('options') or {})
        self.confirmed: bool | None = document.get('confirmed')
        self._queue = queue
        self._api = queue.api
        self._path = _path_of(id)

    @asks
    def update(self, /, **changes: object) -> None:
        """Change its ``subscriber``, ``ttl`` or ``options``.

        :raises NotFound: when it is gone.
        :raises TypeError: for another name, or for none.
        """
        unknown = ', '.join(sorted(set(changes) - {'subscriber', 'ttl', 'options'}))
        if unknown or not changes:
            raise TypeError(f'subscriber, ttl and options can be changed, not {unknown or "nothing"}')
        self._queue.ask('PATCH', self._path, changes)
        for name, value in changes.items():
            setattr(self, name, value)

    @asks
    def delete(self) -> None:
        """Delete it; one that is gone counts as deleted."""
        self._queue.ask('DELETE', self._path)

    def __repr__(self) -> str:
        return f'<MarconiSubscription [{self.id}] {self.subscriber}>'


class Subscriptions:
    """The API's calls about the subscriptions of one queue. Each waits for its answer."""

    def __init__(self, queue: QueueApi) -> None:
        self._queue = queue

    def create(self, subscriber: str, ttl: int | None, options: Mapping[str, object] | None) -> Subscription:
        """Subscribe an address."""
        lifetime = {} if ttl is None else {'ttl': ttl}
        body = {'subscriber': subscriber, 'options': dict(options or {}), **lifetime}
        document = object_of(self._queue.ask('POST', '/subscriptions', body))
        known: Any = {**body, 'age': 0}
        return parsed(lambda: Subscription(self._queue, document['subscription_id'], known))

    def page(self, limit: int | None, marker: str | None) -> Page[Subscription]:
        """One page of them."""
        query = query_of({'limit': limit, 'marker': marker})
        document = object_of(self._queue.ask('GET', f'/subscriptions{query}'))
        found = document.get('subscriptions', [])
        return parsed(
            lambda: Page(
                [(each['id'], Subscription(self._queue, each['id'], each)) for each in found],
                marker_of(document.get('links') or ()) if found else None,
            )
        )

    def listed(self, limit: int | None, marker: str | None) -> Iterator[Subscription]:
        """All of them, page by page."""
        return follow(lambda marker: self.page(limit, marker), marker)

    def delete(self, subscriptions: list[Subscription]) -> None:
        """Delete them one by one."""
        for each in subscriptions:
            self._queue.ask('DELETE', _path_of(each.id))


def _path_of(id: str) -> str:
    return f'/subscriptions/{quote(id, safe="")}'
