"""A worker for the messages of a queue."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from .claim import Claim
from .deleting import MOST, Deleter
from .errors import ErrorBase, NotFound
from .forking import Staying
from .inhand import LONGEST, SHORTEST, Batch, Memory, Task, soon
from .messages import Message
from .terminating import attend, leave

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['Consumer']

logger = logging.getLogger('napixclient.marconi')

#: How often a message is tried here before others may have it.
_TRIES = 5
#: Messages that wait for another try; with more, no others are claimed.
_WAITING = 100
#: Ids that are remembered: of messages that were deleted, and of those that could not be.
_DELETED, _UNDELETED = 10_000, 100_000
_RELEASE = ('when idle', 'at once')


class Consumer:
    """Hands the messages of a queue to a handler: what :meth:`Queue.consume` returns, at work already.

    As a context manager it is stopped at the end. In the child of a fork it is stopped: it goes on in the parent only,
    its handlers too.
    """

    def __init__(
        self,
        queue: Queue,
        handler: Callable[[Message], object],
        concurrency: int,
        ttl: int,
        grace: int,
        on_error: Callable[[BaseException, Message | None], object] | None,
        sigterm: bool,
        release: str,
    ) -> None:
        if not callable(handler):
            raise ValueError(f'handler is called with each message, but {handler!r} cannot be called')
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f'concurrency is a number of 1 or more, not {concurrency!r}')
        if release not in _RELEASE:
            raise ValueError(f'release is one of {", ".join(map(repr, _RELEASE))}, not {release!r}')
        self._queue, self._handler, self._on_error = queue, handler, on_error
        self._concurrency, self._ttl, self._grace = concurrency, ttl, grace
        self._at_once = release == 'at once'
        self._context = copy_context()
        self._pid = os.getpid()
        #: Messages that were handled and deleted.
        self.done = 0
        #: How often a handler failed.
        self.failed = 0
        #: Messages that were in hand when their claim was lost, so that they may be handed out elsewhere too.
        self.lost = 0
        self._stopping = self._over = False
        self._rests_until = 0.0  # monotonic: claims nothing before
        self._after_nothing = self._after_failure = SHORTEST  # seconds to rest then
        self._tried_again = False  # the last free place went to a message that had failed
        self._tasks: dict[str, Task] = {}  # all that is in hand, by the message's id
        self._handlers: dict[Any, Task] = {}
        self._waiting: list[Task] = []  # have failed
        self._batches: set[Batch] = set()
        # What is known of messages that are no longer in hand: that they were handled; how often they failed, and when
        # they are to be tried again.
        self._deleted, self._undeleted = Memory[None](_DELETED), Memory[None](_UNDELETED)
        self._tries = Memory[tuple[int, float]](_DELETED)
        self._telling: set[Any] = set()  # greenlets that are in on_error
        self._change = Event()  # wakes the greenlet that claims
        self._calm = Event()  # there was nothing to claim, or it stops
        if sigterm:
            attend(self, self._ask_to_stop)
        self._handled = Deleter(queue, self._is_deleted, self._stays, lambda error: self._tell(error, None))
        self._main = Staying.spawn(self._run)

    # -- claiming --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._change.clear()
                self._give_back()
                self._try_again()
                if self._may_claim and self._rests_until <= monotonic():
                    self._take()
                else:
                    self._change.wait(self._pause())
            self._wait_while(lambda: len(self._tasks) > len(self._waiting))
            self._calm.set()
            failed, self._waiting = self._waiting, []
            for task in failed:
                self._close(task, failed=1)
            self._wait_while(lambda: self._batches)
        finally:
            self._over = True
            leave(self)
            self._handled.greenlet.kill(block=False)
            gevent.killall(list(self._handlers), block=False)
            for batch in self._batches:
                batch.renewal.stop()

    def _wait_while(self, what: Callable[[], object]) -> None:
        while what():
            self._change.clear()
            self._change.wait()

    @property
    def _may_claim(self) -> bool:
        return (
            len(self._handlers) < self._concurrency
            and len(self._handled) <= self._concurrency + MOST
            and len(self._waiting) < _WAITING
        )

    def _pause(self) -> float | None:
        """Seconds until the next thing is due; ``None`` where only a change can tell."""
        due = [self._rests_until] if self._may_claim else []
        if len(self._handlers) < self._concurrency:
            due += [task.due for task in self._waiting]
        return max(min(due) - monotonic(), 0.001) if due else None

    def _take(self) -> None:
        """Claim what there is room for, and hand it out."""
        self._tried_again = False
        room = self._concurrency - len(self._handlers)
        try:
            claim = self._queue._claim(min(room, MOST), self._ttl, self._grace)
        except ErrorBase as error:
            self._tell(error, None)
            claim = None
        if claim and self._hold(claim):
            self._after_nothing = SHORTEST
            self._calm.clear()
        else:
            self._calm.set()
            self._rests_until = soon(self._after_nothing)
            self._after_nothing = min(2 * self._after_nothing, LONGEST)

    def _hold(self, claim: Claim) -> bool:
        """Whether anything of it is handed out."""
        before = len(self._handlers)
        batch = Batch(claim, self._lost)
        self._batches.add(batch)
        for message in claim:
            if message.id not in self._tasks:
                self._hand_out(Task(message, *self._tries.pop(message.id, ())))
            batch.hold(self._tasks[message.id])
        if not batch.open:  # a claim of nothing
            self._end(batch)
        return len(self._handlers) > before

    def _hand_out(self, task: Task) -> None:
        id = task.message.id
        self._tasks[id] = task
        if id in self._deleted or id in self._undeleted:
            self._delete_soon(task)
        elif task.due > monotonic():  # given back, and not taken by anybody else
            self._waiting.append(task)
        else:
            self._start(task)

    def _start(self, task: Task) -> None:
        greenlet = Staying(self._handle, task.message)
        greenlet.gr_context = self._context.copy()
        self._handlers[greenlet] = task
        greenlet.rawlink(self._ended)
        greenlet.start()

    # -- handling --------------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> bool:
        """Whether the handler has returned."""
        try:
            self._handler(message)
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # a gevent.Timeout of the handler's own, too
            self._tell(exc, message)
            return False
        return True

    def _ended(self, greenlet: Any) -> None:
        """Called by the loop, also for a handler that was killed before it began."""
        if self._elsewhere:  # it was the handler that forked
            return
        task = self._handlers.pop(greenlet)
        if greenlet.value is True:
            self._delete_soon(task)
        else:
            self.failed += 1
            task.fail()
            if self._at_once:
                self._close(task, failed=1)
            elif not task.batches:
                self._forgo(task)
            else:
                self._waiting.append(task)
        self._change.set()

    def _tell(self, error: BaseException, message: Message | None, what: str = 'the handler failed at') -> None:
        here = gevent.getcurrent()
        self._telling.add(here)
        try:
            if self._on_error is not None:
                self._on_error(error, message)
            elif message is None:
                logger.warning('consumer of the queue %s: %s', self._queue.name, error)
            else:
                logger.error(
                    'consumer of the queue %s: %s the message %s', self._queue.name, what, message.id, exc_info=error
                )
        except Exception:
            logger.exception('consumer of the queue %s: on_error failed', self._queue.name)
        finally:
            self._telling.discard(here)

    # -- what has failed -------------------------------------------------------------------------------------------

    def _try_again(self) -> None:
        """Hand out again what is due: as long as others can be claimed, at most every second free place goes to it."""
        room = self._concurrency - len(self._handlers)
        if self._may_claim and self._rests_until <= monotonic():
            room = room // 2 or 1 - self._tried_again
        now = monotonic()
        for task in sorted((task for task in self._waiting if task.due <= now), key=lambda task: task.due)[:room]:
            self._waiting.remove(task)
            self._tried_again = True
            self._start(task)

    def _give_back(self) -> None:
        """When nothing else is under way, let others have what has failed too often here.

        A released claim makes the server hand out again what others hold, ours too: not while there is any.
        """
        spent = [task for task in self._waiting if task.failed and task.tries >= _TRIES]
        if not spent or len(self._tasks) > len(self._waiting):
            return
        for batch in {batch: None for task in spent for batch in task.batches}:
            for task in list(batch.open):
                self._forgo(task)
        self._waiting = [task for task in self._waiting if task.batches]
        self._rest_after_failure()

    def _forgo(self, task: Task) -> None:
        """It comes again, here or elsewhere."""
        self._tries.keep(task.message.id, (task.tries, task.due))
        self._close(task, failed=1)

    def _rest_after_failure(self) -> None:
        self._rests_until = soon(self._after_failure)
        self._after_failure = min(2 * self._after_failure, LONGEST)

    def _lost(self, batch: Batch, error: ErrorBase) -> None:
        """Its claim is over: what no other claim of ours holds may be handed out elsewhere."""
        self._batches.discard(batch)
        lost = []
        for task in batch.open:
            task.batches.remove(batch)
            if not task.batches:
                lost.append(task)
        for task in self._waiting:
            if not task.batches:
                self._forgo(task)
        self._waiting = [task for task in self._waiting if task.batches]
        self._change.set()
        for task in lost:
            self._tell_lost(task, error)

    def _tell_lost(self, task: Task, cause: ErrorBase) -> None:
        self.lost += 1
        error = NotFound('the claim was lost', 404, 'The message may be handed out again, here or elsewhere.')
        error.__cause__ = cause
        self._tell(error, task.message, 'lost')

    # -- deleting and releasing ------------------------------------------------------------------------------------

    def _delete_soon(self, task: Task) -> None:
        task.due = monotonic() + self._ttl
        self._undeleted.keep(task.message.id, None)
        self._handled.add(task)

    def _is_deleted(self, task: Task) -> None:
        self._after_failure = SHORTEST
        self.done += task.message.id not in self._deleted
        self._undeleted.pop(task.message.id, None)
        self._deleted.keep(task.message.id, None)
        self._close(task)

    def _stays(self, task: Task, refused: ErrorBase | None) -> None:
        """It was handled, and is not deleted. To release its claim would have it handed out again, whoever has it."""
        known_lost = not task.batches
        for batch in task.batches:
            batch.undeleted += 1
        self._close(task)
        if refused is not None and not known_lost:
            self._tell_lost(task, refused)

    def _close(self, task: Task, failed: int = 0) -> None:
        """One message less in hand; with its last one a claim ends."""
        del self._tasks[task.message.id]
        for batch in task.batches:
            del batch.open[task]
            batch.failed += failed
            if not batch.open:
                self._end(batch)
        task.batches = []
        self._change.set()

    def _end(self, batch: Batch) -> None:
        batch.renewal.stop()
        if self._at_once and batch.failed == len(batch.claim):  # to claim it again at once would be in vain
            self._rest_after_failure()
        if not self._over:  # it was killed, and asks for nothing more
            Staying.spawn(self._finish, batch)

    def _finish(self, batch: Batch) -> None:
        """Release what has failed; and an empty claim, which costs the queue its statistics if it is left to expire."""
        try:
            if not batch.failed:  # in time, but when there is nothing better to do
                batch.claim._messages = []
                self._calm.wait(batch.claim.ttl / 2)
            if (batch.failed or not batch.undeleted) and not self._over:
                batch.claim._release()
        except ErrorBase as error:
            if batch.failed:
                self._tell(error, None)
        finally:
            self._batches.discard(batch)
            self._change.set()

    # -- ends ------------------------------------------------------------------------------------------------------

    @property
    def _elsewhere(self) -> bool:
        return os.getpid() != self._pid

    def _ask_to_stop(self) -> None:
        self._stopping = True
        self._change.set()

    def stop(self, timeout: float | None = None) -> bool:
        """Claim no more, and wait until what was claimed is handled, deleted or released. Nothing is tried again.

        Called by the handler, or by ``on_error``, it does not wait: that would be for itself.

        :param timeout: seconds to wait; then the handlers that still run are killed, and their messages released.
        :returns: whether it has come to its end without that.
        """
        self._ask_to_stop()
        here = gevent.getcurrent()
        if not self.stopped and (here in self._handlers or here in self._telling):
            return False
        if self.join(timeout):
            return True
        gevent.killall(list(self._handlers), block=False)
        if not self.join(LONGEST):
            self._main.kill()
        return False

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has come to its end; false when the time (seconds) was up before."""
        if not self._elsewhere:
            self._main.join(timeout)
        return self.stopped

    @property
    def stopped(self) -> bool:
        """Whether it has come to its end, as it has in the child of a fork."""
        return self._elsewhere or bool(self._main.ready())

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = 'stopped' if self.stopped else 'stopping' if self._stopping else 'at work'
        lost = f', {self.lost} lost' if self.lost else ''
        return (
            f'<Consumer of {self._queue.name}: {state}, {0 if self.stopped else len(self._handlers)} under way, '
            f'{self.done} done, {self.failed} failed{lost}>'
        )
