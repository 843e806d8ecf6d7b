"""Deletes what a consumer has handled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

import gevent
from gevent.event import Event

from .api import MAX_ITEMS
from .backoff import Backoff
from .errors import ErrorBase, Forbidden, MalformedRequest
from .forking import Staying
from .inhand import Task
from .messages import Messages

__all__ = ['Deleter']


class Deleter:
    """Deletes messages: one request deletes all that have come while the one before was under way.

    Deletion in a list does not check claims (zaqar 23.0.1, ``MessageController.bulk_delete``; 19.0.0 too): it deletes
    what somebody else may hold by then. So a list has only what is surely ours; the others are deleted one by one.

    :param deleted: called with each message that is gone.
    :param stays: called with each that is not, and with the refusal, or ``None`` when its time was up.
    :param failed: called with an error of the server; all that it concerns is tried again until ``task.due``.
    """

    def __init__(
        self,
        messages: Messages,
        deleted: Callable[[Task], object],
        stays: Callable[[Task, ErrorBase | None], object],
        failed: Callable[[ErrorBase], object],
    ) -> None:
        self._messages, self._deleted, self._stays, self._failed = messages, deleted, stays, failed
        self._tasks: deque[Task] = deque()
        self._come = Event()
        self.greenlet: Staying = Staying.spawn(self._run)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Delete it soon."""
        self._tasks.append(task)
        self._come.set()

    def _run(self) -> None:
        backoff = Backoff()
        while True:
            if not self._tasks:
                self._come.clear()
                self._come.wait()
            some = [self._tasks.popleft() for _ in range(min(len(self._tasks), MAX_ITEMS))]
            try:
                self._delete(some)
                backoff.reset()
            except ErrorBase as error:
                self._failed(error)
                self._put_back(some)
                gevent.sleep(backoff.next())

    def _delete(self, some: list[Task]) -> None:
        """Delete them; what is deleted, or cannot be, leaves the list."""
        sure = [task for task in some if task.surely_held and not task.alone]
        if sure:
            for task in sure:
                task.alone = True  # the next time, if there is one
            claims = {batch.lease.id or '': None for task in sure for batch in task.batches}
            self._messages.delete_all([task.message for task in sure], claims)
            some[:] = [task for task in some if task not in sure]
            for task in sure:
                self._deleted(task)
        while some:
            refused = self._delete_alone(some[0])
            task = some.pop(0)
            if refused is None:
                self._deleted(task)
            else:
                self._stays(task, refused)

    def _delete_alone(self, task: Task) -> ErrorBase | None:
        """Delete it by each claim that the server may know for it, then as a free one; the refusal if all fail."""
        names = [batch.lease.id for batch in reversed(task.batches)] or [task.message.claim_id]
        refused: ErrorBase | None = None
        for name in (*names, None):
            try:
                self._messages.delete(task.message, name)
                return None
            except (Forbidden, MalformedRequest) as error:
                refused = error
        return refused

    def _put_back(self, tasks: list[Task]) -> None:
        now = monotonic()
        self._tasks.extendleft(task for task in reversed(tasks) if task.due > now)
        for task in tasks:
            if task.due <= now:
                self._stays(task, None)
