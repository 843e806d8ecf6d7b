"""Subscriptions: addresses that the server sends messages on to (version 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .pending import asks

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['Subscription']


class Subscription:
    """A subscription as the server told of it.

    ``id``; ``subscriber``, the address; ``ttl`` and ``age`` in seconds; ``options``; ``confirmed``, whether the
    subscriber has agreed, where the server says so.
    """

    def __init__(self, queue: Queue, id: str, told: Mapping[str, Any]) -> None:
        self.id = id
        self.subscriber: str = told['subscriber']
        self.ttl: int | None = told.get('ttl')
        self.age: int | None = told.get('age')
        self.options: dict[str, Any] = dict(told.get('options') or {})
        self.confirmed: bool | None = told.get('confirmed')
        self._client = queue._client
        self._path = f'{queue._path}/subscriptions/{quote(id, safe="")}'

    @asks
    def update(self, **changes: Any) -> None:
        """Change it: ``subscriber``, ``ttl``, ``options``.

        :raises NotFound: when it is gone.
        """
        unknown = ', '.join(sorted(set(changes) - {'subscriber', 'ttl', 'options'}))
        if unknown or not changes:
            raise TypeError(f'subscriber, ttl and options can be changed, not {unknown or "nothing"}')
        self._client._ask('PATCH', self._path, changes)
        for name, value in changes.items():
            setattr(self, name, value)

    @asks
    def delete(self) -> None:
        """Delete it; one that is gone counts as deleted."""
        self._client._ask('DELETE', self._path)

    def __repr__(self) -> str:
        return f'<MarconiSubscription [{self.id}] {self.subscriber}>'
