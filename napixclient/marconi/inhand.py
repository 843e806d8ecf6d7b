"""What a consumer has in hand: messages, and the claims that hold them. Sends renewals and releases only.

A message may be held by several claims of the same consumer: on Redis, once an older claim was released or has expired,
Zaqar hands out again what younger claims still hold (zaqar 23.0.1, ``storage/redis/scripts/claim_messages.lua``: behind
the first free message all count as free). The server knows only the one that was made or renewed last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from gevent.event import Event

from .backoff import LONGEST, SHORTEST, soon
from .errors import ErrorBase
from .lease import Lease, Renewal
from .messages import Message

__all__ = ['Batch', 'InHand', 'Memory', 'Task']

T = TypeVar('T')

#: How often a message is tried here before others may have it.
_TRIES = 5
#: Ids that are remembered: of messages that were deleted, and of those that could not be.
_DELETED, _UNDELETED = 10_000, 100_000


class Task:
    """A message in hand: with its handler, failed and waiting for another try, or handled and to be deleted."""

    def __init__(self, message: Message, tries: int = 0, due: float = 0.0) -> None:
        self.message = message
        #: Whose claims hold it, the newest last; none once all are lost.
        self.batches: list[Batch] = []
        #: How often its handler has failed.
        self.tries: int = tries
        #: When to hand it out again, or until when to try to delete it.
        self.due: float = due
        #: Whether its handler has failed since it was claimed.
        self.failed: bool = False
        #: Whether to delete it by itself, as deleting it in a list has failed.
        self.alone = False

    def fail(self) -> None:
        """Count a failure of its handler; it waits longer each time."""
        self.due = soon(min(SHORTEST * 2 ** min(self.tries, 10), LONGEST))
        self.tries += 1
        self.failed = True

    @property
    def surely_held(self) -> bool:
        """Whether nobody else's claim can hold it: a claim of it has more time left than a timely renewal leaves it.

        Deletion in a list does not check claims.
        """
        return any(batch.lease.left > batch.lease.ttl / 4 + 1 for batch in self.batches)


class Batch:
    """A claim, and those of its messages that are still in hand.

    :param size: how many messages it was made with.
    :param on_lost: called when the claim is over before its end.
    """

    def __init__(self, lease: Lease, size: int, on_lost: Callable[[Batch, ErrorBase], object]) -> None:
        self.lease = lease
        self._size = size
        self.open: dict[Task, None] = {}  # in order
        #: Messages that have failed, and those that were handled and could not be deleted.
        self.failed = self.undeleted = 0
        self.renewal: Renewal = Renewal(lease, lambda error: on_lost(self, error))

    def hold(self, task: Task) -> None:
        """Add a message that the claim lists."""
        if task not in self.open:
            self.open[task] = None
            task.batches.append(self)
            task.message.claim_id = self.lease.id

    @property
    def all_failed(self) -> bool:
        """Whether every message of it has failed."""
        return self.failed == self._size

    def finish(self, calm: Event, over: Callable[[], bool]) -> None:
        """Release what has failed; and an empty claim, which costs the queue its statistics if it expires.

        :param calm: set when there is nothing better to do: an empty claim can wait for that, up to half of its life.
        :param over: whether to send no more requests.
        :raises ErrorBase: when what has failed could not be released.
        """
        try:
            if not self.failed:
                calm.wait(self.lease.ttl / 2)
            if (self.failed or not self.undeleted) and not over():
                self.lease.release()
        except ErrorBase:
            if self.failed:
                raise


class Memory(dict[str, T]):
    """The newest ids, up to a number of them, and something about each."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, id: str, what: T) -> None:
        """Remember it; forget the oldest one if there are too many."""
        self.pop(id, None)
        self[id] = what
        if len(self) > self._most:
            del self[next(iter(self))]


class InHand:
    """All that a consumer has in hand, and what it remembers of messages that it had. Sends nothing itself."""

    def __init__(self) -> None:
        #: By the message's id.
        self.tasks: dict[str, Task] = {}
        #: Those that have failed, and wait for another try.
        self.waiting: list[Task] = []
        self.batches: set[Batch] = set()
        self._deleted, self._undeleted = Memory[None](_DELETED), Memory[None](_UNDELETED)
        self._tries = Memory[tuple[int, float]](_DELETED)  # how often each has failed, and when to try it again

    @property
    def busy(self) -> bool:
        """Whether anything is under way, rather than waiting for another try."""
        return len(self.tasks) > len(self.waiting)

    def hold(self, batch: Batch, messages: Iterable[Message]) -> list[Task]:
        """Add a claim and its messages; those that were not in hand yet."""
        self.batches.add(batch)
        new = []
        for message in messages:
            task = self.tasks.get(message.id)
            if task is None:
                task = self.tasks[message.id] = Task(message, *self._tries.pop(message.id, ()))
                new.append(task)
            batch.hold(task)
        return new

    def was_handled(self, task: Task) -> bool:
        """Whether its handler has returned before, here."""
        return task.message.id in self._deleted or task.message.id in self._undeleted

    def handled(self, task: Task) -> None:
        """Remember that its handler has returned."""
        self._undeleted.keep(task.message.id, None)

    def deleted(self, task: Task) -> bool:
        """Remember that it is deleted; false if it was deleted before."""
        id = task.message.id
        before = id in self._deleted
        self._undeleted.pop(id, None)
        self._deleted.keep(id, None)
        return not before

    def close(self, task: Task, failed: int = 0) -> list[Batch]:
        """Take a message out of hand; the claims that have no message left."""
        del self.tasks[task.message.id]
        for batch in task.batches:
            del batch.open[task]
            batch.failed += failed
        ended = [batch for batch in task.batches if not batch.open]
        task.batches = []
        return ended

    def fail(self, task: Task, at_once: bool) -> list[Batch]:
        """Count a failure of its handler: it waits for another try, unless its claim is over.

        :param at_once: let go of it, so that its claim may end.
        """
        task.fail()
        if at_once:
            return self.close(task, failed=1)
        if not task.batches:
            return self.forgo(task)
        self.waiting.append(task)
        return []

    def forgo(self, task: Task) -> list[Batch]:
        """Let go of a message that has failed; it comes again, here or elsewhere."""
        self._tries.keep(task.message.id, (task.tries, task.due))
        return self.close(task, failed=1)

    def take_due(self, room: int) -> list[Task]:
        """At most ``room`` of those that wait and are due; they wait no longer."""
        now = monotonic()
        due = sorted((task for task in self.waiting if task.due <= now), key=lambda task: task.due)[:room]
        for task in due:
            self.waiting.remove(task)
        return due

    def give_back(self) -> list[Batch]:
        """When nothing is under way, let go of what has failed too often here, with all that its claims hold.

        A released claim makes the server hand out again what others hold, ours too: not while anything is under way.
        """
        spent = [task for task in self.waiting if task.failed and task.tries >= _TRIES]
        if not spent or self.busy:
            return []
        ended = []
        for batch in {batch: None for task in spent for batch in task.batches}:
            for task in list(batch.open):
                ended += self.forgo(task)
        self.waiting = [task for task in self.waiting if task.batches]
        return ended

    def give_back_all(self) -> list[Batch]:
        """Let go of all that waits, for good."""
        failed, self.waiting = self.waiting, []
        return [batch for task in failed for batch in self.close(task, failed=1)]

    def lose(self, batch: Batch) -> list[Task]:
        """Strike a claim that is over; the messages that no other claim of ours holds."""
        self.batches.discard(batch)
        lost = []
        for task in batch.open:
            task.batches.remove(batch)
            if not task.batches:
                lost.append(task)
        for task in self.waiting:
            if not task.batches:
                self.forgo(task)
        self.waiting = [task for task in self.waiting if task.batches]
        return lost
