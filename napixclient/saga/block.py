"""A block of steps that are done together or undone together: what a saga and a part of one have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import gevent
from gevent import getcurrent

from .._options import Unpack, lists
from ..checks import true_or_false
from ..errors import DeadlineExceeded, HTTPError, QueueTimeout
from ..masking import mask
from ..messages import Body, Fields, Request, RequestOptions, Response, plain_request, request_with
from ..resources.quorum import Zone
from ..resources.resource import AskOptions
from ..resources.resources import Resources
from ..resources.rolling import Rollout
from . import fan_out
from .compensation import Lists, lists_of
from .core import SagaCore, StepParts
from .errors import SagaFailed, cause_of
from .options import OF_STEP, AllAskOptions, AllStepOptions, SagaStats, StepOptions, UndoOptions, step_parts
from .shield import join_shielded
from .steps import Step, Wait
from .undos import UndoSpec

__all__ = ['Block']

_Block = TypeVar('_Block', bound='Block')


class Block:
    """Steps that are done together or undone together; a context manager."""

    def __init__(self, core: SagaCore, parent: Block | None) -> None:
        self._core = core
        self._parent = parent
        self._subs: list[Block] = []
        self._steps: list[Step] = []
        self._open: Wait | None = None
        self._stopping = False
        self._is_late = False
        self._crash: Exception | None = None  # why the journal cannot be written
        self._reason = ''
        self._undoing: gevent.Greenlet[..., None] | None = None
        self._failure: SagaFailed | None = None
        self._home: object = getcurrent()

    # -- asking ----------------------------------------------------------------------------------------------------

    @lists(StepOptions, RequestOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        undo: UndoSpec,
        **options: Unpack[AllStepOptions],
    ) -> Step:
        """Ask for a step; it is sent when the caller gives way to the hub, at the latest by :meth:`wait`.

        :param undo: what undoes it: a tuple ``([host, ]method, url[, body[, headers]])``, a
            :class:`napixclient.Request`, a list of these, a callable of the answer that returns one of these, or
            ``None`` where nothing is to be undone. It has to be said.
        :param options: those of a step and of its request:
        :raises TypeError: for an ``undo`` that makes no sense, or none.
        :raises ValueError: for a part that cannot be sent.
        :raises SagaFailed: where a step has failed already; what was done is undone then.
        """
        self.check()
        if self._open is None:
            self._open = self._core.new_wait()
        return self._ask(Block.request, self._open, host, method, url, body, headers, undo, options)

    @lists(StepOptions, RequestOptions)
    def call(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        undo: UndoSpec,
        **options: Unpack[AllStepOptions],
    ) -> Response:
        """Ask for a step and wait for it; it is a wait of its own in the order of undoing.

        :param undo: as for :meth:`request`.
        :param options: those of a step and of its request:
        :raises SagaFailed: where it, or another one, has failed; what was done is undone then.
        """
        self.check()
        wait = self._core.new_wait()
        step = self._ask(Block.call, wait, host, method, url, body, headers, undo, options)
        self._core.begin_wait(wait)
        self._until(step.ready)
        assert isinstance(step.outcome, Response)
        return step.outcome

    def wait(self) -> list[Response]:
        """Wait for the steps that were asked for since the last wait, and return their answers in the order asked.

        :raises SagaFailed: where one has failed; what was done is undone then.
        """
        self.check()
        wait, self._open = self._open, None
        if wait is None:
            return []
        self._core.begin_wait(wait)
        try:
            self._until(lambda: not wait.left)
        except BaseException:  # thrown in: the next one waits for the same steps, and for those since
            if self._open is not None:
                _merge(wait, self._open)
            self._open = wait
            raise
        return [step.outcome for step in wait.steps if isinstance(step.outcome, Response)]

    def _ask(
        self,
        taker: Callable[..., object],
        wait: Wait,
        host: str,
        method: str,
        url: str,
        body: Body | None,
        headers: Fields | None,
        undo: object,
        options: Mapping[str, Any],
    ) -> Step:
        if options:
            given: Any = {name: value for name, value in options.items() if name not in OF_STEP}
            request = request_with(taker, host, method, url, body, headers, given) if given else None
            parts = step_parts(undo, options)
        else:
            request, parts = None, StepParts(undo, None, False, None, None)
        if request is None:
            request = plain_request(host, method, url, body, headers)
        step = self._core.make_step(request, parts, self, wait)
        self._steps.append(step)
        self._core.runner.ask(step)
        return step

    # -- many hosts ------------------------------------------------------------------------------------------------

    @lists(UndoOptions, AskOptions)
    def broadcast(
        self,
        resources: Resources,
        method: str,
        path: str,
        body: Body | None = None,
        hosts: Iterable[str] = (),
        *,
        undo: UndoSpec,
        need: int | Mapping[Zone, int] | None = None,
        **options: Unpack[AllAskOptions],
    ) -> list[Any]:
        """Send a request to all hosts of a mapping at once; each that succeeds is a step with an undo of its own.

        It returns what :meth:`napixclient.resources.Resources.broadcast` does. A host that fails fails the saga, unless
        ``need`` is reached.

        :param undo: as for :meth:`request`; without a host it goes to each host, as the request does.
        :param need: how many hosts must succeed, or ``{zone: number}``.
        :param options: those of a step and of its request:
        :raises SagaFailed: where too many have failed; what was done is undone then.
        """
        return fan_out.broadcast(self, resources, (method, path, body, hosts, need), undo, options)

    @lists(UndoOptions, AskOptions)
    def rolling(
        self,
        resources: Resources,
        requests: Iterable[Any],
        serial: int | str = 5,
        max_fail: int | str = 0,
        *,
        undo: UndoSpec,
        undo_on_stop: bool = True,
        **options: Unpack[AllAskOptions],
    ) -> Rollout:
        """Send requests batch by batch, and stop once too many of a batch have failed; each batch is one wait.

        :param requests: tuples ``(host, method, path[, body])``.
        :param serial: how many at a time, or a percentage of all such as ``'10%'``.
        :param max_fail: how many of a batch may fail, or a percentage of it.
        :param undo: as for :meth:`request`; without a host it goes to each host, as the request does.
        :param undo_on_stop: fail the saga where it stops, so that the batches done are undone; else they stay.
        :param options: those of a step and of its request:
        :raises SagaFailed: where too many have failed; what was done is undone then.
        :raises RollingError: where too many have failed, with ``undo_on_stop=False``.
        """
        true_or_false(undo_on_stop, 'undo_on_stop')
        return fan_out.rolling(self, resources, requests, (serial, max_fail, undo_on_stop), undo, options)

    # -- what its parts call ---------------------------------------------------------------------------------------

    @property
    def core(self) -> SagaCore:
        """What all blocks of the saga share."""
        return self._core

    def adopt(self, request: Request, parts: StepParts, wait: Wait) -> Step:
        """A step that somebody else sends."""
        step = self._core.make_step(request, parts, self, wait)
        self._steps.append(step)
        return step

    def add_part(self, part: _Block) -> _Block:
        """A part of it, whose steps it undoes as its own."""
        self._subs.append(part)
        return part

    @property
    def failing(self) -> bool:
        """Whether nothing more of it is to be sent."""
        return self._stopping or (self._parent is not None and self._parent.failing)

    def stop(self) -> None:
        """A step has failed, or the saga was given up: what was not sent is not sent any more."""
        if not self._stopping:
            self._stopping = True
            self._core.runner.take_back(self._family(), sent=self._core.config.cancel_on_failure)
            self._core.changed.set()

    def settled(self, step: Step) -> None:
        """A step of it has its outcome."""
        self._core.settled(step)
        if step.state != 'done' and not step.excused:
            self.stop()

    def check(self) -> None:
        """:raises SagaFailed: where it takes no further step, as it has failed.

        :raises RuntimeError: where it takes none, as it is over.
        """
        if self.failing:
            raise self._failed()
        if self._core.ended:
            raise RuntimeError('the saga is over: it was committed')

    def fail(self, reason: str) -> SagaFailed:
        """Undo what was done, and return the error that tells of it."""
        self._reason = self._reason or reason
        self.stop()
        return self._failed()

    def _family(self) -> Iterator[Block]:
        yield self
        for sub in self._subs:
            yield from sub._family()

    # -- waiting and undoing ---------------------------------------------------------------------------------------

    def _until(self, is_over: Callable[[], bool]) -> None:
        """Block until that is so.

        :raises SagaFailed: where a step fails meanwhile.
        """
        changed = self._core.changed
        while not self.failing and not is_over():
            changed.clear()
            changed.wait()
        if self.failing:
            raise self._failed()

    def _all_steps(self) -> list[Step]:
        """Its steps and those of its parts, in the order asked."""
        return sorted((step for block in self._family() for step in block._steps), key=lambda step: step.number)

    def _failed(self) -> SagaFailed:
        """The error that tells of its failure, when all is undone; the same one each time."""
        self._undo_all()
        assert self._failure is not None
        return self._failure.with_traceback(None)

    def _undo_all(self) -> None:
        """Undo what was done, in a greenlet of its own: who waits for it may be killed."""
        if self._failure is not None:
            return
        if self._undoing is None:
            context = gevent.getcurrent().gr_context
            self._undoing = gevent.Greenlet(self._undo_steps)
            self._undoing.gr_context = None if context is None else context.copy()
            self._undoing.start()
        try:
            join_shielded(self._undoing, self._core)
        finally:
            if self._failure is None and self._undoing.dead:
                self._failure = self._make_failure(lists_of(self._all_steps()))
                if self._parent is None:
                    self._core.close()
        if self._undoing.exception is not None:
            raise self._undoing.exception

    def _undo_steps(self) -> None:
        core = self._core
        self.stop()
        with core.lock:
            steps = self._all_steps()
            while not all(map(Step.ready, steps)):
                core.changed.clear()
                core.changed.wait()
            if self._parent is None:
                core.journal.add({'event': 'failing', 'reason': mask(self._reason or self._text_of_failure())})
            lists = core.undo(steps)
            if self._parent is None:
                core.end(lists)
        self._failure = self._make_failure(lists)

    def _make_failure(self, lists: Lists) -> SagaFailed:
        errors = self._errors()
        counts = [(len(lists.undone), 'undone'), (len(lists.not_undone), 'NOT undone'), (len(lists.unknown), 'unknown')]
        told = ', '.join(f'{count} {what}' for count, what in counts if count) or 'nothing had to be undone'
        failure = SagaFailed(
            f'{self._text_of_failure()}; {told}',
            failed=errors,
            undone=lists.undone,
            not_undone=lists.not_undone,
            unknown=lists.unknown,
        )
        failure.__cause__ = self._late_error() if self._is_late else self._crash or cause_of(errors)
        return failure

    def _errors(self) -> list[HTTPError]:
        """The errors of the steps that failed, in the order asked."""
        found = []
        for step in self._all_steps():
            if isinstance(step.outcome, HTTPError) and not step.excused and not step.was_dropped:
                found.append(step.outcome)
            elif step.error is not None and step.undo is None:
                found.append(step.error)
        return found

    def _text_of_failure(self) -> str:
        errors = self._errors()
        if self._reason or not errors:
            return f'the saga failed: {self._reason or "it was given up"}'
        return f'the saga failed: {errors[0].message}'

    def _late_error(self) -> HTTPError:
        if any(step.attempts for step in self._all_steps()):
            return DeadlineExceeded('the time of the saga was up after sending had begun')
        return QueueTimeout('the time of the saga was up before anything was sent')

    def abort(self, reason: str = 'aborted') -> None:
        """Give the saga up: what was done is undone.

        In the greenlet that made it, it raises at once; in others, it is raised where that one waits, or asks next.

        :raises SagaFailed: when all is undone.
        """
        if not self._core.ended and self._failure is None:
            self._reason = self._reason or f'it was aborted: {reason}'
            self.stop()
        if getcurrent() is self._home and self._stopping:
            raise self._failed()

    # -- the block -------------------------------------------------------------------------------------------------

    def __enter__(self: _Block) -> _Block:
        self._home = getcurrent()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None) -> None:
        if os.getpid() != self._core.pid:  # the child of a fork: the saga is the parent's
            return
        if exc is None:
            self._leave()
        elif self._failure is None and not self._core.ended:
            self._core.interrupts += isinstance(exc, (KeyboardInterrupt, SystemExit))
            self._reason = self._reason or (
                '' if self._is_ours(exc) else f'{type(exc).__name__} left its block: {mask(str(exc))}'
            )
            self._undo_all()
            if self._is_ours(exc):
                assert self._failure is not None
                raise self._failure

    def _is_ours(self, exc: BaseException) -> bool:
        """Whether an exception is the failure of a step of it."""
        if isinstance(exc, SagaFailed):
            return any(exc is sub._failure for sub in self._family())
        return isinstance(exc, HTTPError) and any(exc is step.outcome for step in self._all_steps())

    def _leave(self) -> None:
        """Wait for what was not waited for, and commit."""
        if self._failure is not None or self._core.ended:
            return
        try:
            self._until(lambda: all(map(Step.ready, self._all_steps())))
            self._commit()
        except SagaFailed:
            raise
        except BaseException as exc:
            self._core.interrupts += isinstance(exc, (KeyboardInterrupt, SystemExit))
            self._reason = self._reason or f'{type(exc).__name__} at the end of its block: {mask(str(exc))}'
            self._undo_all()
            raise

    def _commit(self) -> None:
        """All went well."""

    def stats(self) -> SagaStats:
        """How many steps are in each state, and how many there are."""
        counts: Any = dict.fromkeys(SagaStats.__annotations__, 0)
        for step in self._all_steps():
            counts['steps'] += 1
            counts[step.state] += 1
        return counts  # type: ignore[no-any-return]

    # -- what became of it -----------------------------------------------------------------------------------------

    @property
    def failed(self) -> list[HTTPError]:
        """The errors of the steps that failed, in the order asked."""
        return self._errors()

    @property
    def undone(self) -> list[Step]:
        """The steps that are undone, in the order asked."""
        return lists_of(self._all_steps()).undone

    @property
    def not_undone(self) -> list[tuple[Step, HTTPError]]:
        """The steps that could not be undone, each with the error."""
        return lists_of(self._all_steps()).not_undone

    @property
    def unknown(self) -> list[Step]:
        """The steps of which nobody knows whether they were done."""
        return lists_of(self._all_steps()).unknown


def _merge(wait: Wait, later: Wait) -> None:
    """Have the steps of a later wait be waited for with those of an earlier one."""
    for step in later.steps:
        step.wait_group = wait
    wait.steps += later.steps
    wait.left += later.left
