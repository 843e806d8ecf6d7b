"""The journal of a saga in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from ..saga.history import History
from .database import LeaseLost, StoreError, StoreRefused
from .saga_store import KeptSaga, SagaStore

__all__ = ['StoreJournal']

#: Seconds between two tries to write to a store that fails.
PAUSE_SECONDS = 0.2


class StoreJournal:
    """Writes the events of a saga into the store, and keeps up what they tell.

    :param history: what was told before.
    :param may_go_on: whether no other instance can have taken the saga over.
    """

    def __init__(self, store: SagaStore, found: KeptSaga, history: History, may_go_on: Callable[[], bool]) -> None:
        self.history = history
        self._store = store
        self._id, self._fence = found.id, found.fence
        self._first = found.events
        self._may_go_on = may_go_on
        self._pending: list[Mapping[str, Any]] = []
        self._lock = BoundedSemaphore()

    def add(self, event: Mapping[str, object]) -> None:
        """One more event, which is durable after the next ``sync``."""
        self._pending.append(event)

    def sync(self) -> None:
        """Block until all events so far are durable; a store that fails is asked again.

        :raises StoreError: when another instance has taken the saga over, or may have, or they can never be kept.
        """
        with self._lock:
            if not self._pending:
                return
            events, self._pending = self._pending, []
            for event in events:
                self.history.tell(dict(event))
            state = self.history.state
            while True:
                try:
                    self._store.append(
                        self._id, self._fence, self._first, events, 'running' if state == 'empty' else state
                    )
                    break
                except (LeaseLost, StoreRefused):
                    raise
                except StoreError:
                    if not self._may_go_on():
                        raise
                    gevent.sleep(PAUSE_SECONDS)
            self._first += len(events)

    def close(self) -> None:
        """Nothing more is to come."""
