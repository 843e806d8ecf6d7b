"""A worker for the messages of a queue. Imports claim, messages, terminating and errors."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent.event import Event

from .claim import Claim, Renewal
from .errors import ErrorBase
from .messages import Message
from .terminating import attend, leave

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['MOST', 'Consumer']

logger = logging.getLogger('napixclient.marconi')

#: Messages in a claim, and ids in a request: what a server takes by default.
MOST = 20
#: Seconds to wait when there was nothing to do, or a failure: at first, and at most.
_SHORTEST, _LONGEST = 0.1, 5.0


class _Batch:
    """The messages of one claim, while they are handled."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.left = len(claim)                  # neither deleted nor failed yet
        self.failed = 0
        self.renewal = Renewal(claim)


class _Handled(NamedTuple):
    """A message that is to be deleted, and until when that is tried."""

    batch: _Batch
    message: Message
    until: float


class Consumer:
    """Hands the messages of a queue to a handler: what :meth:`Queue.consume` returns, at work already.

    As a context manager it is stopped at the end.
    """

    def __init__(self, queue: Queue, handler: Callable[[Message], object], concurrency: int, ttl: int, grace: int,
                 on_error: Callable[[BaseException, Message | None], object] | None, sigterm: bool) -> None:
        if not callable(handler):
            raise ValueError(f'handler is called with each message, but {handler!r} cannot be called')
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f'concurrency is a number of 1 or more, not {concurrency!r}')
        self._queue, self._handler, self._on_error = queue, handler, on_error
        self._concurrency, self._ttl, self._grace = concurrency, ttl, grace
        self._context = copy_context()
        #: Messages that were handled and deleted.
        self.done = 0
        #: How often a handler failed.
        self.failed = 0
        self._stopping = self._over = False
        self._vain = False                      # a whole claim has failed: to claim it again at once would be in vain
        self._after_nothing = self._after_failure = _SHORTEST       # seconds to wait then
        self._handlers: dict[Any, tuple[_Batch, Message]] = {}
        self._batches: set[_Batch] = set()
        self._handled: deque[_Handled] = deque()
        self._change = Event()                  # wakes the greenlet that claims
        self._to_delete = Event()
        if sigterm:
            attend(self, self._ask_to_stop)
        self._deleter = gevent.spawn(self._delete)
        self._main = gevent.spawn(self._run)

    # -- claiming --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._change.clear()
                room = self._concurrency - len(self._handlers)
                if room < 1 or len(self._handled) > self._concurrency + MOST:
                    self._change.wait()
                elif self._vain:
                    self._vain = False
                    self._rest(self._after_failure)
                    self._after_failure = min(2 * self._after_failure, _LONGEST)
                elif claim := self._claimed(min(room, MOST)):
                    self._hand_out(claim)
                    self._after_nothing = _SHORTEST
                else:
                    self._rest(self._after_nothing)
                    self._after_nothing = min(2 * self._after_nothing, _LONGEST)
            while self._batches:
                self._change.clear()
                self._change.wait()
        finally:
            self._over = True
            leave(self)
            self._deleter.kill(block=False)
            gevent.killall(list(self._handlers), block=False)
            for batch in list(self._batches):
                batch.renewal.stop()

    def _claimed(self, limit: int) -> Claim | None:
        try:
            return self._queue._claim(limit, self._ttl, self._grace)
        except ErrorBase as error:
            self._tell(error, None)
            return None

    def _rest(self, pause: float) -> None:
        """Wait; a little differently in each consumer, lest they all come at once."""
        end = monotonic() + uniform(0.75, 1) * pause
        while not self._stopping and (left := end - monotonic()) > 0:
            self._change.clear()
            self._change.wait(left)

    def _hand_out(self, claim: Claim) -> None:
        batch = _Batch(claim)
        self._batches.add(batch)
        for message in claim:
            greenlet = gevent.Greenlet(self._handle, message)
            greenlet.gr_context = self._context.copy()
            self._handlers[greenlet] = batch, message
            greenlet.rawlink(self._ended)
            greenlet.start()

    # -- handling --------------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> bool:
        """Whether the handler has returned."""
        try:
            self._handler(message)
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:            # a gevent.Timeout of the handler's own, too
            self._tell(exc, message)
            return False
        return True

    def _ended(self, greenlet: Any) -> None:
        """Called by the loop, also for a handler that was killed before it began."""
        batch, message = self._handlers.pop(greenlet)
        if greenlet.value is True:
            self._handled.append(_Handled(batch, message, monotonic() + self._ttl))
            self._to_delete.set()
        else:
            self.failed += 1
            batch.failed += 1
            self._settle(batch)
        self._change.set()

    def _tell(self, error: BaseException, message: Message | None) -> None:
        try:
            if self._on_error is not None:
                self._on_error(error, message)
            elif message is None:
                logger.warning('consumer of the queue %s: %s', self._queue.name, error)
            else:
                logger.error('consumer of the queue %s: the handler failed at the message %s', self._queue.name,
                             message.id, exc_info=error)
        except Exception:
            logger.exception('consumer of the queue %s: on_error failed', self._queue.name)

    # -- deleting and releasing ------------------------------------------------------------------------------------

    def _delete(self) -> None:
        """Delete what was handled: with one request all that has come while the one before was under way."""
        pause = _SHORTEST
        while True:
            if not self._handled:
                self._to_delete.clear()
                self._to_delete.wait()
            some = [self._handled.popleft() for _ in range(min(len(self._handled), MOST))]
            try:
                self._queue._delete_messages([each.message for each in some])
            except ErrorBase as error:
                self._tell(error, None)
                now = monotonic()
                self._handled.extendleft(each for each in reversed(some) if each.until > now)
                for each in some:
                    if each.until <= now:       # it will come again
                        self._settle(each.batch)
                gevent.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            else:
                pause = self._after_failure = _SHORTEST
                self.done += len(some)
                for each in some:
                    self._settle(each.batch)

    def _settle(self, batch: _Batch) -> None:
        """One message less; with the last one the claim ends."""
        batch.left -= 1
        if not batch.left:
            batch.renewal.stop()
            self._vain = batch.failed == len(batch.claim)
            if not self._over:                  # it was killed, and asks for nothing more
                gevent.spawn(self._finish, batch)

    def _finish(self, batch: _Batch) -> None:
        try:
            if batch.failed:
                batch.claim._release()
        except ErrorBase as error:
            self._tell(error, None)
        finally:
            self._batches.discard(batch)
            self._change.set()

    # -- ends ------------------------------------------------------------------------------------------------------

    def _ask_to_stop(self) -> None:
        self._stopping = True
        self._change.set()

    def stop(self, timeout: float | None = None) -> bool:
        """Claim no more, and wait until what was claimed is handled, deleted or released.

        Called by the handler, or by ``on_error``, it does not wait: that would be for itself.

        :param timeout: seconds to wait; then the handlers that still run are killed, and their messages released.
        :returns: whether it has come to its end without that.
        """
        self._ask_to_stop()
        here = gevent.getcurrent()
        if here in self._handlers or here in (self._main, self._deleter):
            return False
        if self.join(timeout):
            return True
        gevent.killall(list(self._handlers), block=False)
        if not self.join(_LONGEST):
            self._main.kill()
        return False

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has come to its end; false when the time (seconds) was up before."""
        self._main.join(timeout)
        return self.stopped

    @property
    def stopped(self) -> bool:
        """Whether it has come to its end."""
        return bool(self._main.ready())

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = 'stopped' if self.stopped else 'stopping' if self._stopping else 'at work'
        return (f'<Consumer of {self._queue.name}: {state}, {len(self._handlers)} under way, {self.done} done, '
                f'{self.failed} failed>')
