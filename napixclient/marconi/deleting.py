"""How what a consumer has handled is deleted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from .errors import ErrorBase, Forbidden, MalformedRequest
from .forking import Staying
from .inhand import LONGEST, SHORTEST, Task

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['MOST', 'Deleter']

#: Messages in a claim, and ids in a request: what a server takes by default.
MOST = 20


class Deleter:
    """Deletes messages: with one request all that have come while the one before was under way.

    A list of deletes asks for no claim (zaqar 23.0.1, ``MessageController.bulk_delete``; 19.0.0 too): it deletes what
    somebody else may hold by then. So it has only what is surely ours; the others are deleted one by one.

    :param deleted: called with each that is gone.
    :param stays: called with each that is not, and with the refusal, or ``None`` when its time was up.
    :param failed: called with an error of the server; all that it concerns is tried again until ``task.due``.
    """

    def __init__(
        self,
        queue: Queue,
        deleted: Callable[[Task], object],
        stays: Callable[[Task, ErrorBase | None], object],
        failed: Callable[[ErrorBase], object],
    ) -> None:
        self._queue, self._deleted, self._stays, self._failed = queue, deleted, stays, failed
        self._tasks: deque[Task] = deque()
        self._come = Event()
        self.greenlet = Staying.spawn(self._run)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Delete it soon."""
        self._tasks.append(task)
        self._come.set()

    def _run(self) -> None:
        pause = SHORTEST
        while True:
            if not self._tasks:
                self._come.clear()
                self._come.wait()
            some = [self._tasks.popleft() for _ in range(min(len(self._tasks), MOST))]
            try:
                self._delete(some)
                pause = SHORTEST
            except ErrorBase as error:
                self._failed(error)
                self._put_back(some)
                gevent.sleep(pause)
                pause = min(2 * pause, LONGEST)

    def _delete(self, some: list[Task]) -> None:
        """Delete them; those that are done with leave the list."""
        sure = [task for task in some if task.surely_held and not task.alone]
        if sure:
            for task in sure:
                task.alone = True  # the next time, if there is one
            claims = {batch.claim.id or '': None for task in sure for batch in task.batches}
            self._queue._delete_messages([task.message for task in sure], claims)
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

    @staticmethod
    def _delete_alone(task: Task) -> ErrorBase | None:
        """Name the claim that the server may know for it, or none if nobody has claimed it; else it is somebody's."""
        names = [batch.claim.id for batch in reversed(task.batches)] or [task.message.claim_id]
        refused: ErrorBase | None = None
        for name in (*names, None):
            try:
                task.message._delete(name)
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
