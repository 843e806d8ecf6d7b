"""A worker for the messages of a queue: claims them, hands them out, and deletes or releases them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

import gevent
from gevent.event import Event

from ..checks import is_whole
from .api import MAX_ITEMS, QueueApi
from .backoff import LONGEST, Rest
from .deleting import Deleter
from .errors import ErrorBase
from .forking import Staying
from .handling import Handlers, Reports
from .inhand import Batch, InHand, Task
from .lease import Claims, Lease
from .messages import Message, Messages
from .terminating import attend, leave

__all__ = ['Consumer', 'Terms']

#: Messages that wait for another try; with more, no others are claimed.
_WAITING = 100
_RELEASE = ('when idle', 'at once')


class Terms(NamedTuple):
    """How a consumer claims and releases: the parameters of :meth:`Queue.consume` of these names."""

    concurrency: int
    ttl: int
    grace: int
    release: str

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises ValueError: for a concurrency or a release of that kind.
        """
        if not is_whole(self.concurrency) or self.concurrency < 1:
            raise ValueError(f'concurrency is a number of 1 or more, not {self.concurrency!r}')
        if self.release not in _RELEASE:
            raise ValueError(f'release is one of {", ".join(map(repr, _RELEASE))}, not {self.release!r}')


class Consumer:
    """Hands the messages of a queue to a handler: what :meth:`Queue.consume` returns, already at work.

    As a context manager it stops at the end. After a fork it goes on in the parent only, with its handlers: in the
    child it is stopped.
    """

    def __init__(
        self,
        queue: QueueApi,
        messages: Messages,
        claims: Claims,
        terms: Terms,
        handler: Callable[[Message], object],
        on_error: Callable[[BaseException, Message | None], object] | None,
        sigterm: bool,
    ) -> None:
        if not callable(handler):
            raise ValueError(f'handler is called with each message, but {handler!r} cannot be called')
        terms.check()
        self._queue, self._claims, self._terms = queue.name, claims, terms
        self._at_once = terms.release == 'at once'
        #: Messages that were handled and deleted.
        self.done: int = 0
        #: How often a handler failed.
        self.failed: int = 0
        #: Messages that were in hand when their claim was lost, so that they may be handed out elsewhere too.
        self.lost: int = 0
        self._stopping = self._over = False
        self._rest = Rest()
        self._tried_again = False  # the last free place went to a message that had failed
        self._in_hand = InHand()
        self._reports = Reports(queue.name, on_error)
        self._handlers = Handlers(handler, self._reports, self._ended)
        self._change = Event()  # wakes the greenlet that claims
        self._calm = Event()  # there was nothing to claim, or it stops
        if sigterm:
            attend(self, self._ask_to_stop)
        self._handled = Deleter(messages, self._is_deleted, self._stays, self._reports.failed)
        self._main = Staying.spawn(self._run)

    # -- claiming --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._change.clear()
                self._give_back()
                self._try_again()
                if self._may_claim and self._rest.over:
                    self._take()
                else:
                    self._change.wait(self._pause())
            self._wait_while(lambda: self._in_hand.busy)
            self._calm.set()
            self._end(self._in_hand.give_back_all())
            self._wait_while(lambda: self._in_hand.batches)
        finally:
            self._over = True
            leave(self)
            self._handled.greenlet.kill(block=False)
            self._handlers.kill()
            for batch in self._in_hand.batches:
                batch.renewal.stop()

    def _wait_while(self, what: Callable[[], object]) -> None:
        while what():
            self._change.clear()
            self._change.wait()

    @property
    def _room(self) -> int:
        """How many more messages may be handed out."""
        return self._terms.concurrency - len(self._handlers)

    @property
    def _may_claim(self) -> bool:
        return (
            self._room > 0
            and len(self._handled) <= self._terms.concurrency + MAX_ITEMS
            and len(self._in_hand.waiting) < _WAITING
        )

    def _pause(self) -> float | None:
        """Seconds until the next thing is due; ``None`` where only a change can tell."""
        due = [self._rest.until] if self._may_claim else []
        if self._room > 0:
            due += [task.due for task in self._in_hand.waiting]
        return max(min(due) - monotonic(), 0.001) if due else None

    def _take(self) -> None:
        """Claim what there is room for, and hand it out."""
        self._tried_again = False
        try:
            lease, messages = self._claims.create(min(self._room, MAX_ITEMS), self._terms.ttl, self._terms.grace)
            busy = lease.id is not None and self._hold(lease, messages)
        except ErrorBase as error:
            self._reports.failed(error)
            busy = False
        if busy:
            self._rest.found_some()
            self._calm.clear()
        else:
            self._calm.set()
            self._rest.after_nothing()

    def _hold(self, lease: Lease, messages: list[Message]) -> bool:
        """Whether any of these is handed out."""
        before = len(self._handlers)
        batch = Batch(lease, len(messages), self._lost)
        for task in self._in_hand.hold(batch, messages):
            if self._in_hand.was_handled(task):
                self._delete_soon(task)
            elif task.due > monotonic():  # given back, and not taken by anybody else
                self._in_hand.waiting.append(task)
            else:
                self._handlers.start(task)
        if not batch.open:  # a claim of nothing
            self._end([batch])
        return len(self._handlers) > before

    # -- what was handled, and what has failed ---------------------------------------------------------------------

    def _ended(self, task: Task, handled: bool) -> None:
        if handled:
            self._delete_soon(task)
        else:
            self.failed += 1
            self._end(self._in_hand.fail(task, self._at_once))
        self._change.set()

    def _try_again(self) -> None:
        """Hand out again what is due: as long as others can be claimed, at most every second free place goes to it."""
        room = self._room
        if self._may_claim and self._rest.over:
            room = room // 2 or 1 - self._tried_again
        for task in self._in_hand.take_due(room):
            self._tried_again = True
            self._handlers.start(task)

    def _give_back(self) -> None:
        ended = self._in_hand.give_back()
        if ended:
            self._end(ended)
            self._rest.after_failure()

    def _lost(self, batch: Batch, error: ErrorBase) -> None:
        """Its claim is over: what no other claim of ours holds may be handed out elsewhere."""
        lost = self._in_hand.lose(batch)
        self._change.set()
        for task in lost:
            self._tell_lost(task, error)

    def _tell_lost(self, task: Task, cause: ErrorBase) -> None:
        self.lost += 1
        self._reports.lost(task.message, cause)

    # -- deleting and releasing ------------------------------------------------------------------------------------

    def _delete_soon(self, task: Task) -> None:
        task.due = monotonic() + self._terms.ttl
        self._in_hand.handled(task)
        self._handled.add(task)

    def _is_deleted(self, task: Task) -> None:
        self._rest.went_well()
        self.done += self._in_hand.deleted(task)
        self._end(self._in_hand.close(task))

    def _stays(self, task: Task, refused: ErrorBase | None) -> None:
        """It was handled, and is not deleted. Releasing its claim would have it handed out again, whoever has it."""
        known_lost = not task.batches
        for batch in task.batches:
            batch.undeleted += 1
        self._end(self._in_hand.close(task))
        if refused is not None and not known_lost:
            self._tell_lost(task, refused)

    def _end(self, batches: list[Batch]) -> None:
        """End the claims that have no message in hand any more."""
        for batch in batches:
            batch.renewal.stop()
            if self._at_once and batch.all_failed:  # claiming them again at once would be in vain
                self._rest.after_failure()
            if not self._over:  # it was killed, and sends no more requests
                Staying.spawn(self._finish, batch)
        self._change.set()

    def _finish(self, batch: Batch) -> None:
        try:
            batch.finish(self._calm, lambda: self._over)
        except ErrorBase as error:
            self._reports.failed(error)
        finally:
            self._in_hand.batches.discard(batch)
            self._change.set()

    # -- ends ------------------------------------------------------------------------------------------------------

    def _ask_to_stop(self) -> None:
        self._stopping = True
        self._change.set()

    def stop(self, timeout: float | None = None) -> bool:
        """Claim no more, and wait until what was claimed is handled, deleted or released. Nothing is tried again.

        A handler, or ``on_error``, may call it; then it does not wait, as it would wait for its caller.

        :param timeout: seconds to wait; then the handlers that still run are killed, and their messages released.
        :returns: whether it has come to its end without that.
        """
        self._ask_to_stop()
        here = gevent.getcurrent()
        if not self.stopped and (here in self._handlers or here in self._reports):
            return False
        if self.join(timeout):
            return True
        self._handlers.kill()
        if not self.join(LONGEST):
            self._main.kill()
        return False

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has come to its end; false if that takes longer than ``timeout`` seconds."""
        if not self._handlers.elsewhere:
            self._main.join(timeout)
        return self.stopped

    @property
    def stopped(self) -> bool:
        """Whether it has come to its end, as it has in the child of a fork."""
        return self._handlers.elsewhere or bool(self._main.ready())

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = 'stopped' if self.stopped else 'stopping' if self._stopping else 'at work'
        lost = f', {self.lost} lost' if self.lost else ''
        return (
            f'<Consumer of {self._queue}: {state}, {0 if self.stopped else len(self._handlers)} under way, '
            f'{self.done} done, {self.failed} failed{lost}>'
        )
