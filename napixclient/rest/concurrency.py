"""Many calls at a time, in greenlets, and how many may run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any, Generic, ParamSpec, TypeVar

import gevent
from gevent.event import Event

from .._http.adapting import CEILING, AdaptiveCap
from ..checks import AUTO
from ..errors import HTTPError, Timeout

__all__ = ['Allowance', 'SilentEvent', 'run_all', 'still_running']

_P = ParamSpec('_P')
_T = TypeVar('_T')
_Value = TypeVar('_Value', covariant=True)
#: Statuses of an overloaded server.
_OVERLOADED = (429, 503)


class SilentEvent(Generic[_Value]):
    """A call in a greenlet of its own. Nothing is printed if it fails.

    :param method: called with the other arguments after :meth:`start`, in the ``contextvars`` context of that moment.
    """

    def __init__(self, method: Callable[_P, _Value], /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._call = partial(method, *args, **kwargs)
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._value: _Value | None = None
        self._exception: BaseException | None = None
        self._elapsed: float | None = None

    def start(self) -> None:
        """Start the call.

        :raises RuntimeError: if it was started before.
        """
        if self._greenlet is not None:
            raise RuntimeError('a SilentEvent is started once')
        self._greenlet = gevent.Greenlet(self._run)
        self._greenlet.gr_context = copy_context()
        self._greenlet.start()

    def _run(self) -> None:
        began = monotonic()
        try:
            self._value = self._call()
        except (KeyboardInterrupt, SystemExit) as exc:
            self._exception = exc
            raise  # the program's business
        except BaseException as exc:  # a gevent.Timeout of its own, too; one that was killed has no value
            self._exception = exc
        finally:
            self._elapsed = monotonic() - began

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the call.

        :param timeout: seconds to wait at most.
        :raises RuntimeError: if it was not started.
        """
        if self._greenlet is None:
            raise RuntimeError('a SilentEvent is started before it is joined')
        self._greenlet.join(timeout)

    def is_alive(self) -> bool:
        """Whether the call was started and has not ended."""
        return self._greenlet is not None and not self._greenlet.ready()

    @property
    def value(self) -> _Value | None:
        """What the method returned; ``None`` before it ends, and after an error."""
        return self._value

    @property
    def exception(self) -> BaseException | None:
        """What the method raised; ``None`` before it ends, and after a success."""
        return self._exception

    def __repr__(self) -> str:
        method = self._call.func
        name = getattr(method, '__name__', type(method).__name__)
        state = (
            'running'
            if self.is_alive()
            else 'not started'
            if self._greenlet is None
            else 'done'
            if self._exception is None
            else f'failed: {type(self._exception).__name__}'
        )
        return f'<SilentEvent {name}: {state}>'


class Allowance:
    """How many calls may run at a time: a fixed number, or a number learned from how calls end.

    :param limit: a number, or ``'auto'`` to learn it.
    :param most: the limit of the client: a number that the learned one never exceeds, or ``'auto'`` if the client
        itself learns how many requests its service can take; then as many calls may run as it can ever allow.
    :param start: the number to start learning from.
    """

    def __init__(self, limit: int | str, most: int | str, start: int | None = None) -> None:
        self._cap: AdaptiveCap | None = None
        self._most = most if isinstance(most, int) else CEILING
        self._limit = limit if isinstance(limit, int) else CEILING
        if limit == AUTO and isinstance(most, int):
            self._cap = AdaptiveCap()
            if start is not None:
                self._cap.limit = start
        #: The last result of :func:`still_running`.
        self.seen: Sequence[SilentEvent[object]] = []

    @property
    def adapts(self) -> bool:
        """Whether it learns from how calls end."""
        return self._cap is not None

    @property
    def now(self) -> int:
        """Calls that may run now."""
        return self._limit if self._cap is None else min(self._cap.limit, self._most)

    def ended(self, elapsed: float, error: object, pressed: bool) -> None:
        """Note that a call has ended.

        :param elapsed: seconds that it took.
        :param error: what it raised, or ``None``.
        :param pressed: whether another call was waiting for it.
        """
        if self._cap is None:
            return
        if isinstance(error, HTTPError) and (error.status in _OVERLOADED or isinstance(error.__cause__, Timeout)):
            self._cap.refused()
        else:
            self._cap.answered(elapsed, pressed)
        self._cap.limit = max(min(self._cap.limit, self._most), 1)


def still_running(allowance: Allowance, threads: Sequence[SilentEvent[_T]]) -> list[SilentEvent[_T]]:
    """Wait until one more call may run, and return the calls that still run.

    If none of them is new since the last time, the caller only waits for them: then one of them must end first.
    """
    waits = all(any(thread is one for one in allowance.seen) for thread in threads)
    running = list(threads)
    while True:
        pressed = len(running) >= allowance.now
        for thread in running:
            if not thread.is_alive() and thread._elapsed is not None:
                allowance.ended(thread._elapsed, thread._exception, pressed)
        before, running = running, [thread for thread in running if thread.is_alive()]
        waits = waits and len(running) == len(before)
        if not running or not (waits or len(running) >= allowance.now):
            allowance.seen = running
            return list(running)
        gevent.wait([thread._greenlet for thread in running if thread._greenlet is not None], count=1)


def run_all(
    method: Callable[..., _T], kwarg_list: Iterable[Mapping[str, object]], allowance: Allowance, return_errors: bool
) -> list[_T]:
    """Call a method once with each mapping of keywords, side by side; return the results in their order."""
    calls = list(kwarg_list)
    for index, kwargs in enumerate(calls):
        if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f'kwarg_list has a mapping of keywords for each call; member {index} is {kwargs!r}')
    return _Run(method, calls, allowance, return_errors).results()


class _Run:
    """Workers, greenlets that take one call after another."""

    def __init__(
        self, method: Callable[..., Any], calls: list[Mapping[str, object]], allowance: Allowance, return_errors: bool
    ) -> None:
        self._method = method
        self._left = deque(enumerate(calls))  # calls that have not begun
        self._allowance = allowance
        self._return_errors = return_errors
        self._context = copy_context()
        self._results: list[Any] = [None] * len(calls)
        self._workers: set[gevent.Greenlet[..., None]] = set()
        self._failure: BaseException | None = None
        self._over = Event()

    def results(self) -> list[Any]:
        """Run the calls, and return their results.

        :raises BaseException: the first exception of a call, unless errors are returned.
        """
        self._start_workers()
        try:
            if self._workers:
                self._over.wait()
        except BaseException:
            self._stop(block=False)
            raise
        if self._failure is not None:
            self._stop(block=True)
        # Tracebacks hold this object: it must not hold what was raised.
        (results, self._results), (failure, self._failure) = (self._results, []), (self._failure, None)
        if failure is None:
            return results
        try:
            raise failure
        finally:
            del failure

    def _start_workers(self) -> None:
        for _ in range(min(self._allowance.now - len(self._workers), len(self._left))):
            worker = gevent.Greenlet(self._work)
            worker.gr_context = self._context.copy()
            self._workers.add(worker)
            worker.rawlink(self._on_worker_end)
            worker.start()

    def _on_worker_end(self, worker: gevent.Greenlet[..., None]) -> None:
        self._workers.discard(worker)
        if not self._workers:
            self._over.set()

    def _stop(self, block: bool) -> None:
        self._left.clear()
        gevent.killall(list(self._workers), block=block)

    def _work(self) -> None:
        left, results, method = self._left, self._results, self._method
        adapts = self._allowance.adapts
        began = 0.0
        while left:
            index, kwargs = left.popleft()
            if adapts:
                began = monotonic()
            error = None
            try:
                results[index] = method(**kwargs)
            except (Exception, gevent.Timeout) as exc:
                if not self._return_errors:
                    return self._fail(exc)
                results[index] = error = exc
            except BaseException as exc:
                return self._fail(exc)
            if adapts:
                self._allowance.ended(monotonic() - began, error, bool(left))
                if len(self._workers) > self._allowance.now:
                    self._workers.discard(gevent.getcurrent())  # at once, as the next worker counts those left
                    return None
                self._start_workers()
        return None

    def _fail(self, exc: BaseException) -> None:
        """End the run at the first failure; failures that ending it causes do not count."""
        if self._failure is None:
            self._failure = exc
            self._left.clear()
            self._over.set()
