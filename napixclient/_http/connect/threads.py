"""Threads for calls that nothing can interrupt: one for each call, up to a bound.

gevent's own pool has ten for the whole program: ten calls that hang would block all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from gevent import getcurrent
from gevent.event import Event
from gevent.hub import Hub
from gevent.monkey import get_original

__all__ = ['Threads']

#: Threads at once. One that waits costs some 30 KB of memory.
MOST = 512
P = ParamSpec('P')
T = TypeVar('T')

_start: Callable[..., int] = get_original('_thread', 'start_new_thread')


class Threads:
    """Makes blocking calls in threads, for the greenlets of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._loop = hub.loop
        self._tasks: deque[_Task[Any]] = deque()  # both ends of which are safe to use from any thread
        self._running = 0
        self._dead = 0  # those with a call that nobody waits for any more
        #: Greenlets that wait for a call; to kill one gives its call up.
        self.callers: set[Any] = set()
        # The loop cannot see threads, and would end while somebody waits for one.
        self._alive = hub.loop.timer(3600.0, 3600.0)

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The value of a call that is made in a thread; blocks the calling greenlet, which may be killed.

        :raises RuntimeError: when the system allows no thread at all.
        """
        task = _Task(partial(function, *arguments, **named))
        self._tasks.append(task)
        self._grow()
        caller = getcurrent()
        self.callers.add(caller)
        self._alive.start(int)
        try:
            task.done.wait()
        finally:
            self.callers.discard(caller)
            if not self.callers:
                self._alive.stop()
            if not task.done.is_set():
                task.dropped = True
                task.dead = task.begun
                self._dead += task.dead
        return task.result()

    def leave_to_parent(self) -> None:
        """In the child of a fork, which has none of the threads: keep its loop alive for no call."""
        self._alive.stop()

    @property
    def crowd(self) -> str:
        """Why a call may have to wait for a thread; empty when there is one for each."""
        if not self._tasks:
            return ''
        return (
            f'; all {self._running} threads for look-ups are busy, {self._dead} of them with look-ups that were '
            'given up'
        )

    def _grow(self) -> None:
        """Start a thread if a call waits for one and another is allowed."""
        if self._tasks and self._running < MOST:
            self._running += 1
            try:
                _start(self._work, ())
            except RuntimeError as exc:
                self._running -= 1
                while self._tasks and not self._running:  # else one of those takes it
                    task = self._tasks.popleft()
                    task.failure = exc
                    task.done.set()

    def _work(self) -> None:
        """In a thread: make what calls there are, then end."""
        tasks = self._tasks
        while True:
            try:
                task = tasks.popleft()
            except IndexError:
                break
            if not task.dropped:
                task.make()
                self._tell(self._made, task)
        self._tell(self._ended)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.run_callback_threadsafe(callback, *arguments)
        except Exception:  # the hub was destroyed meanwhile
            pass

    def _made(self, task: _Task[Any]) -> None:
        if task.dropped:
            self._dead -= task.dead
        task.done.set()

    def _ended(self) -> None:
        self._running -= 1
        self._grow()  # for what came while it was ending


class _Task(Generic[T]):
    """One call."""

    __slots__ = ('_function', 'begun', 'dead', 'done', 'dropped', 'failure', 'value')

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.done = Event()  # AsyncResult may need a descriptor to keep a failure
        self.begun = self.dead = self.dropped = False
        self.value: Any = None
        self.failure: BaseException | None = None

    def make(self) -> None:
        """In a thread."""
        self.begun = True
        try:
            self.value = self._function()
        except BaseException as exc:
            self.failure = exc

    def result(self) -> T:
        """What the call, which is over, returned or raised."""
        if self.failure is not None:
            raise self.failure
        value: T = self.value
        return value
