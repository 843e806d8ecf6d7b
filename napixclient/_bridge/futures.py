"""What a request of a thread returns."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextvars import Context
from typing import Any

from .._http.pending import Outcome, PendingResponse
from ..errors import HTTPError
from ..messages import Request, Response
from .batches import CallBatch, as_cancelled
from .threads import ThreadPort

__all__ = ['ThreadFuture']


class ThreadFuture(Future['Response | HTTPError']):
    """What ``request`` returns.

    Most futures are never waited for one by one, but by ``wait``. So each makes what waiting for it takes (a condition
    and two lists, six objects for the garbage collector to look at) when that is first asked for, and else never.
    """

    _state = 'PENDING'  # the defaults of what a Future sets for each instance
    _result = None
    _exception = None
    pending: PendingResponse | None = None

    def __init__(self, request: Request, context: Context, port: ThreadPort, batch: CallBatch, index: int) -> None:
        self.request: Request = request
        self.context: Context | None = context
        self.port = port
        self.batch: CallBatch = batch
        self.index: int = index

    def __getattr__(self, name: str) -> Any:
        if name == '_condition':
            return self.__dict__.setdefault(name, threading.Condition())  # two threads get the same one
        if name in ('_waiters', '_done_callbacks'):
            return self.__dict__.setdefault(name, [])
        raise AttributeError(f'a future has no attribute {name!r}')

    def finish(self, outcome: Outcome) -> None:
        """The outcome is there."""
        port = self.port
        with port.finished:
            # Whoever has no condition of his own by now gets this one, and with it what is set here.
            alone = self.__dict__.setdefault('_condition', port.finished) is port.finished
            if alone:
                self._result = outcome
                self._state = 'FINISHED'
        try:
            if not alone:
                self.set_result(outcome)
        except InvalidStateError:
            if self.cancelled():
                outcome = as_cancelled(self.request, outcome)
                self.set_running_or_notify_cancel()  # which tells those who wait
        finally:  # whatever a callback raises
            self.batch.finish(self.index, outcome)

    def forked(self) -> None:
        """In the child of a fork: a thread that is not there may have held the condition."""
        self._condition = threading.Condition()

    def result(self, timeout: float | None = None) -> Response | HTTPError:
        """Wait for the outcome."""
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the outcome; an error is one as well, and no exception of the future's."""
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if self._state == 'PENDING':
            self.port.border.check_thread()

    def cancel(self) -> bool:
        """End the request, queued or in flight; false when its outcome is there."""
        cancelled = super().cancel()
        if cancelled:
            self.port.border.cancel([self])
        return cancelled
