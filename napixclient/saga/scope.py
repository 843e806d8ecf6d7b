"""The scope of a failure: the steps of a block and of its parts, which are done together or undone together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import gevent

from ..errors import DeadlineExceeded, HTTPError, QueueTimeout
from ..masking import mask
from ..messages import Request
from .compensation import Lists, lists_of, may_be_undone
from .core import SagaCore, StepParts
from .errors import SagaFailed, cause_of
from .shield import join_shielded
from .steps import State, Step, Wait

__all__ = ['Scope']


class Scope:
    """The steps of a block, and what becomes of them.

    :param core: what all scopes of the saga share.
    :param parent: the scope that this one is a part of, ``None`` for that of the whole saga.
    """

    def __init__(self, core: SagaCore, parent: Scope | None) -> None:
        self.core = core
        self.parent = parent
        self.parts: list[Scope] = []
        if parent is not None:
            parent.parts.append(self)
        #: Its own steps, without those of its parts.
        self.steps: list[Step] = []
        #: What it failed with, when all is undone.
        self.failure: SagaFailed | None = None
        self._stopping = False
        self._reason = ''
        self._is_late = False
        self._crash: Exception | None = None
        self._undoing: gevent.Greenlet[..., None] | None = None

    # -- steps -----------------------------------------------------------------------------------------------------

    def add(self, request: Request, parts: StepParts, wait: Wait, name: str = '') -> Step:
        """A further step, which is not sent yet."""
        step = self.core.make_step(request, parts, self, wait, name)
        self.steps.append(step)
        return step

    def family(self) -> Iterator[Scope]:
        """It and all its parts."""
        yield self
        for part in self.parts:
            yield from part.family()

    def all_steps(self) -> list[Step]:
        """Its steps and those of its parts, in the order asked."""
        if not self.parts:
            return list(self.steps)
        return sorted((step for scope in self.family() for step in scope.steps), key=lambda step: step.number)

    def is_settled(self) -> bool:
        """Whether all of them have an outcome."""
        return all(map(Step.ready, self.all_steps()))

    def settled(self, step: Step) -> None:
        """A step has its outcome."""
        self.core.settled(step)
        if step.state != 'done' and not step.excused:
            self.stop()

    # -- failing ---------------------------------------------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Whether nothing more of it is to be sent."""
        return self._stopping or (self.parent is not None and self.parent.failing)

    @property
    def over(self) -> bool:
        """Whether it is committed or undone."""
        return self.core.ended or self.failure is not None

    def check(self) -> None:
        """Whether it takes a further step.

        :raises SagaFailed: where a step has failed; what was done is undone then.
        :raises RuntimeError: where it was committed.
        """
        if self.failing:
            raise self.failed()
        if self.core.ended:
            raise RuntimeError('the saga is over: it was committed')

    def stop(self, reason: str = '') -> None:
        """A step has failed, or the saga was given up: what was not sent is not sent any more."""
        self._reason = self._reason or reason
        if not self._stopping:
            self._stopping = True
            self.core.runner.take_back(self.family(), sent=self.core.config.cancel_on_failure)
            self.core.changed.set()

    def expire(self, reason: str) -> None:
        """The time is up."""
        if not self.over:
            self._is_late = True
            self.stop(reason)
            self.core.runner.expire(self.family())

    def crash(self, exc: Exception) -> None:
        """The journal cannot be written: nothing more is sent, and what was done is undone."""
        self._crash = self._crash or exc
        self.stop(f'it cannot go on: {type(exc).__name__}: {mask(str(exc))}')

    def fail(self, reason: str = '') -> SagaFailed:
        """Undo what was done, and return the error that tells of it."""
        self.stop(reason)
        return self.failed()

    def failed(self) -> SagaFailed:
        """The error that tells of its failure, when all is undone; the same one each time."""
        self.undo_all()
        assert self.failure is not None
        return self.failure.with_traceback(None)

    # -- waiting and undoing ---------------------------------------------------------------------------------------

    def wait_until(self, is_over: Callable[[], bool]) -> None:
        """Block until that is so.

        :raises SagaFailed: where a step fails meanwhile.
        """
        changed = self.core.changed
        while not self.failing and not is_over():
            changed.clear()
            changed.wait()
        if self.failing:
            raise self.failed()

    def undo_all(self) -> None:
        """Undo what was done, in a greenlet of its own: who waits for it may be killed."""
        if self.failure is not None:
            return
        undoing = self._undoing
        if undoing is None:
            context = gevent.getcurrent().gr_context
            undoing = self._undoing = gevent.Greenlet(self._undo_steps)
            undoing.gr_context = None if context is None else context.copy()
            undoing.start()
        try:
            join_shielded(undoing, self.core)
        finally:
            if self.failure is None and undoing.dead:  # it was stopped
                _note_unfinished(self.all_steps())
                self.failure = self._make_failure(lists_of(self.all_steps()))
                if self.parent is None:
                    self.core.close()
        if undoing.exception is not None:
            raise undoing.exception

    def _undo_steps(self) -> None:
        core, is_whole = self.core, self.parent is None
        self.stop()
        with core.lock:
            while not self.is_settled():
                core.changed.clear()
                core.changed.wait()
            if is_whole:
                core.journal.add({'event': 'failing', 'reason': mask(self._story())})
            lists = core.undo(self.all_steps())
            if is_whole:
                core.end(lists)
        self.failure = self._make_failure(lists)

    def halt(self) -> None:
        """Let go of it: it is neither committed nor undone, and somebody else goes on."""
        self.core.close()
        if self._undoing is not None:
            self._undoing.kill(block=False)

    def counts(self) -> dict[str, int]:
        """How many steps there are, and how many are in each state."""
        counts = {'steps': 0, **dict.fromkeys(get_args(State), 0)}
        for step in self.all_steps():
            counts['steps'] += 1
            counts[step.state] += 1
        return counts

    # -- telling ---------------------------------------------------------------------------------------------------

    def errors(self) -> list[HTTPError]:
        """The errors of the steps that failed, in the order asked."""
        found = []
        for step in self.all_steps():
            if isinstance(step.outcome, HTTPError) and not step.excused and step.state != 'dropped':
                found.append(step.outcome)
            elif step.error is not None and step.undo is None:
                found.append(step.error)
        return found

    def _make_failure(self, lists: Lists) -> SagaFailed:
        errors = self.errors()
        counts = [(len(lists.undone), 'undone'), (len(lists.not_undone), 'NOT undone'), (len(lists.unknown), 'unknown')]
        told = ', '.join(f'{count} {what}' for count, what in counts if count) or 'nothing had to be undone'
        failure = SagaFailed(f'{self._story()}; {told}', failed=errors, **lists._asdict())
        failure.__cause__ = self._late_error() if self._is_late else self._crash or cause_of(errors)
        return failure

    def _story(self) -> str:
        """Why it failed."""
        if self._reason:
            return f'the saga failed: {self._reason}'
        errors = self.errors()
        return f'the saga failed: {errors[0].message if errors else "it was given up"}'

    def _late_error(self) -> HTTPError:
        if any(step.attempts for step in self.all_steps()):
            return DeadlineExceeded('the time of the saga was up after sending had begun')
        return QueueTimeout('the time of the saga was up before anything was sent')


def _note_unfinished(steps: list[Step]) -> None:
    """Undoing was stopped: what was to be undone, and is not."""
    for step in steps:
        if may_be_undone(step) and step.state in ('done', 'undoing'):
            step.state, step.error = 'not_undone', HTTPError('undoing was stopped', request=step.request)
