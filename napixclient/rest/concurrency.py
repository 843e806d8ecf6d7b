"""Many calls at a time, in greenlets, and how many that may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from .._http.adapting import CEILING, AdaptiveCap
from .._http.options import Simultaneous
from .._http.settings import AUTO
from ..errors import HTTPError, Timeout

__all__ = ['Allowance', 'SilentEvent', 'concurrency_of', 'run_all', 'still_running']

#: Statuses with which a server says that it has too much to do.
_OVERLOADED = (429, 503)


def concurrency_of(value: object) -> Simultaneous:
    """Read ``max_concurrency``.

    :raises ValueError: for what is neither a whole number of at least 1 nor ``'auto'``.
    """
    if value == AUTO:
        return 'auto'
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"max_concurrency is a whole number of at least 1, or 'auto', not {value!r}")
    return value


class SilentEvent:
    """One call in a greenlet of its own; nothing is printed when it fails.

    :param method: called with the other arguments once it is started, in the context of that moment.
    """

    def __init__(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self._call = method, args, kwargs
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._value: Any = None
        self._exception: BaseException | None = None
        self._elapsed: float | None = None

    def start(self) -> None:
        """Begin.

        :raises RuntimeError: when it has been started before.
        """
        if self._greenlet is not None:
            raise RuntimeError('a SilentEvent is started once')
        self._greenlet = gevent.Greenlet(self._run)
        self._greenlet.gr_context = copy_context()
        self._greenlet.start()

    def _run(self) -> None:
        method, args, kwargs = self._call
        began = monotonic()
        try:
            self._value = method(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit) as exc:
            self._exception = exc
            raise  # the program's business
        except BaseException as exc:  # a gevent.Timeout of its own, too; one that was killed has no value
            self._exception = exc
        finally:
            self._elapsed = monotonic() - began

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, or for so many seconds.

        :raises RuntimeError: when it has not been started.
        """
        if self._greenlet is None:
            raise RuntimeError('a SilentEvent is started before it is joined')
        self._greenlet.join(timeout)

    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._greenlet is not None and not self._greenlet.ready()

    @property
    def value(self) -> Any:
        """What the method returned; ``None`` before its end, and after an error."""
        return self._value

    @property
    def exception(self) -> BaseException | None:
        """What it raised; ``None`` before its end, and after a success."""
        return self._exception

    def __repr__(self) -> str:
        name = getattr(self._call[0], '__name__', type(self._call[0]).__name__)
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
    """How many calls may run at a time: so many, or as many as the answers show to be good.

    :param limit: a number, or ``'auto'``.
    :param most: of the client: a number that is never exceeded by what is learned, or ``'auto'`` where the client
        itself learns how many requests its service can take; then as many calls may run as it can ever learn of.
    :param start: what to begin to learn from.
    """

    def __init__(self, limit: int | str, most: int | str, start: int | None = None) -> None:
        self._cap: AdaptiveCap | None = None
        self._most = most if isinstance(most, int) else CEILING
        self._limit = limit if isinstance(limit, int) else CEILING
        if limit == AUTO and isinstance(most, int):
            self._cap = AdaptiveCap()
            if start is not None:
                self._cap.limit = start
        #: What :func:`still_running` returned last.
        self.seen: list[SilentEvent] = []

    @property
    def adapts(self) -> bool:
        """Whether it wants to know how calls ended."""
        return self._cap is not None

    @property
    def now(self) -> int:
        """Calls that may run now."""
        return self._limit if self._cap is None else min(self._cap.limit, self._most)

    def ended(self, elapsed: float, error: object, pressed: bool) -> None:
        """A call has ended.

        :param elapsed: seconds that it took.
        :param error: what it raised, or ``None``.
        :param pressed: whether another one was waiting for it.
        """
        if self._cap is None:
            return
        if isinstance(error, HTTPError) and (error.status in _OVERLOADED or isinstance(error.__cause__, Timeout)):
            self._cap.refused()
        else:
            self._cap.answered(elapsed, pressed)
        self._cap.limit = max(min(self._cap.limit, self._most), 1)


def still_running(allowance: Allowance, threads: list[SilentEvent]) -> list[SilentEvent]:
    """Wait until there is room for one more; those that still run.

    When none is new since the last time, nothing else is left to be done than to wait for one of them.
    """
    waits = all(any(thread is one for one in allowance.seen) for thread in threads)
    running = threads
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
    method: Callable[..., Any], kwarg_list: Iterable[Mapping[str, Any]], allowance: Allowance, return_errors: bool
) -> list[Any]:
    """Call a method with each of these keywords, side by side; the results in their order."""
    calls = list(kwarg_list)
    for index, kwargs in enumerate(calls):
        if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f'kwarg_list has a mapping of keywords for each call; member {index} is {kwargs!r}')
    return _Run(method, calls, allowance, return_errors).results()


class _Run:
    """Greenlets that each take the next call when they are through with one."""

    def __init__(
        self, method: Callable[..., Any], calls: list[Mapping[str, Any]], allowance: Allowance, return_errors: bool
    ) -> None:
        self._method = method
        self._left = deque(enumerate(calls))  # calls that have not begun
        self._allowance = allowance
        self._return_errors = return_errors
        self._context = copy_context()
        self._results: list[Any] = [None] * len(calls)
        self._workers: set[Any] = set()
        self._failure: BaseException | None = None
        self._over = Event()

    def results(self) -> list[Any]:
        """Run; what came of each call.

        :raises BaseException: the first thing that a call raised, unless it is handed out.
        """
        self._hire()
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

    def _hire(self) -> None:
        for _ in range(min(self._allowance.now - len(self._workers), len(self._left))):
            worker = gevent.Greenlet(self._work)
            worker.gr_context = self._context.copy()
            self._workers.add(worker)
            worker.rawlink(self._through)
            worker.start()

    def _through(self, worker: Any) -> None:
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
                    self._workers.discard(gevent.getcurrent())  # at once: the next one counts those that are left
                    return None
                self._hire()
        return None

    def _fail(self, exc: BaseException) -> None:
        """The first failure ends the run; those that come of its end are none."""
        if self._failure is None:
            self._failure = exc
            self._left.clear()
            self._over.set()
