"""Commits the results of a run, many at a time, and with them what is to be sent next.

One greenlet for each run. What the store does not take now waits until it does; and as nothing is sent that was not
recorded, the run waits with it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, TypeVar

import gevent
from gevent.event import Event

from ..masking import mask
from .counts import Counts
from .database import LeaseLost, StoreError, StoreRefused
from .metrics import Metrics
from .results import Result, line_of
from .rows import Added, Kept
from .segments import Segment, Tail
from .store import Store
from .submission import Item

__all__ = ['Keeper', 'Owner']

_T = TypeVar('_T')
log: logging.Logger = logging.getLogger('napixclient.service')

#: Results that are committed together, and bytes of them.
COMMIT_LINES = 1000
COMMIT_BYTES = 1 << 20
#: Seconds between two commits of a run, at least.
COMMIT_SECONDS = 0.02
#: Bytes of results that may wait for their commit; then no more outcomes are taken.
MOST_WAITING = 8 << 20
#: Seconds after which a store that failed is tried again, and after which those who watch are informed.
AGAIN_SECONDS = 0.5
TELL_SECONDS = 5.0


class Owner(Protocol):
    """The run, as its keeper knows it."""

    def plan(self) -> list[Item]:
        """What is to be sent next; it is recorded together with what is committed."""

    def send(self, group: list[Item]) -> None:
        """What was recorded may be sent."""

    def kept(self, numbers: list[int]) -> None:
        """The results of these are in the store."""

    def tell(self) -> None:
        """Something new can be seen."""

    def lost(self) -> None:
        """Another instance runs it by now."""

    def failed(self, reason: str) -> None:
        """Its results cannot be kept, now or later."""


class Keeper:
    """What is known of a run, and how it comes into the store.

    :param sent: numbers of the requests that may have been sent, and have no result.
    """

    def __init__(self, owner: Owner, store: Store, found: Kept, sent: set[int], metrics: Metrics) -> None:
        self.counts: Counts = Counts.of(found.summary)
        #: As it was committed last.
        self.summary: dict[str, Any] = found.summary
        #: Results that are committed.
        self.results: int = found.results
        self.finished: float | None = None
        #: Whether the store has not done what it was asked for a while.
        self.stuck: bool = False
        self.sent: set[int] = sent
        self.tail: Tail = Tail()
        self._owner = owner
        self._store = store
        self._id = found.id
        self._fence = found.fence
        self._metrics = metrics
        self._waiting: deque[Result] = deque()
        self._size = 0
        self._room = Event()
        self._work = Event()
        self._work.set()  # the first group
        self._over = Event()  # nothing more will wait for its commit
        self._dead = False

    # -- the run's side --------------------------------------------------------------------------------------------

    def add(self, results: list[Result]) -> None:
        """More results."""
        if results:
            self._waiting.extend(results)
            self._size += sum([len(result.text) for result in results])
            if not self._work.is_set():
                self._work.set()

    def wait_for_room(self) -> None:
        """Until what waits for its commit takes no more memory than it may."""
        while self._size > MOST_WAITING and not self._dead:
            self._room.clear()
            self._room.wait()

    def close(self) -> None:
        """There will be no more results."""
        self._over.set()
        self._work.set()

    def run(self) -> None:
        """Commit until there will be no more; whatever goes wrong for good is the owner's to end."""
        try:
            while self._waiting or not self._over.is_set():
                self._work.wait()
                self._work.clear()
                began = monotonic()
                while self._commit():
                    self._over.wait(max(began + COMMIT_SECONDS - monotonic(), 0))  # what comes meanwhile goes together
                    began = monotonic()
        except LeaseLost:
            self._owner.lost()
        except Exception as exc:
            log.error('run %s: its results cannot be kept', self._id, exc_info=True)
            self.counts = Counts.of(self.summary)  # without those that are lost
            self._owner.failed(f'its results cannot be kept: {type(exc).__name__}: {mask(str(exc))}')
        finally:
            self._dead = True
            self._room.set()

    def end(self, state: str) -> None:
        """Commit that the run has ended, or, with ``running``, what of it has been sent so far.

        :raises StoreRefused: when it cannot, now or later; :class:`LeaseLost` when it is another's.
        """
        summary, sent = self.counts.summary(), self.sent if state == 'running' else ()
        self.finished = self._persist(
            lambda: self._store.commit(self._id, self._fence, self.results, [], summary, sent, state)
        )
        self.summary = summary
        if state == 'running':
            self._store.leave(self._id, self._fence)

    # -- committing ------------------------------------------------------------------------------------------------

    def _commit(self) -> bool:
        """Commit some of what waits; whether there was anything."""
        results, size = self._next()
        self.counts.count(results)  # here, so that what is kept counts what is kept with it
        self._metrics.on_results(results)
        lines = [(result.number, line_of(seq, result)) for seq, result in enumerate(results, self.results)]
        group = self._owner.plan()
        if not lines and not group:
            return False
        added = [item.number for item in group]
        self.sent.update(added)
        self.sent.difference_update([number for number, _ in lines])
        # With results only what is new is written: all would be six times as many.
        sent = Added(added) if lines else self.sent
        summary, first = self.counts.summary(), self.results
        self._persist(lambda: self._store.commit(self._id, self._fence, first, lines, summary, sent))
        self.summary = summary
        self._size -= size
        self._room.set()
        if group:
            self._owner.send(group)
        if lines:
            self.tail.add(Segment(first, [line for _, line in lines]))
            self.results += len(lines)
            self._owner.kept([number for number, _ in lines])
            self._owner.tell()
        return True

    def _next(self) -> tuple[list[Result], int]:
        """What is committed next of what waits, and its size."""
        results: list[Result] = []
        size, waiting = self._size, self._waiting
        if len(waiting) <= COMMIT_LINES and size < COMMIT_BYTES:
            results.extend(waiting)
            waiting.clear()
            return results, size
        size = 0
        while waiting and len(results) < COMMIT_LINES and size < COMMIT_BYTES:
            result = waiting.popleft()
            results.append(result)
            size += len(result.text)
        return results, size

    def _persist(self, work: Callable[[], _T]) -> _T:
        """Do it, as soon as the store can: a disk is full, a database is away for as long as they are."""
        since: float | None = None
        while True:
            try:
                value = work()
                break
            except (LeaseLost, StoreRefused):
                raise
            except StoreError as exc:
                if since is None:
                    since = monotonic()
                    log.error('run %s pauses: its results cannot be kept: %s', self._id, mask(str(exc)))
                if not self.stuck and monotonic() > since + TELL_SECONDS:
                    self.stuck = True
                    self._owner.tell()
                gevent.sleep(AGAIN_SECONDS)
        if since is not None:
            self.stuck = False
            log.warning('run %s goes on after %.1f s', self._id, monotonic() - since)
        return value
