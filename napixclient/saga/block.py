"""A block of steps: what a saga and a part of one have in common, as their callers see them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from types import TracebackType
from typing import Any, TypeVar

from gevent import getcurrent

from .._options import Unpack, lists, refuse_unknown
from ..checks import true_or_false
from ..errors import HTTPError
from ..masking import mask
from ..messages import Body, Fields, Request, Response, plain_request, request_with
from ..resources.quorum import Zone
from ..resources.resources import Resources
from ..resources.rolling import Rollout
from ..tracing import OuterSpan, tracing
from . import fan_out
from .compensation import lists_of
from .core import StepParts
from .errors import SagaFailed
from .options import OF_STEP, ReplicaStepOptions, SagaStats, StepOptions, step_parts
from .scope import Scope
from .steps import Step, Wait
from .undos import UndoSpec

__all__ = ['Block']

_Block = TypeVar('_Block', bound='Block')


class Block:
    """Steps that are done together or undone together; a context manager."""

    _span_name = 'saga'

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._open: Wait | None = None  # of the steps that nobody waits for yet
        self._home: object = getcurrent()
        self._span: OuterSpan | None = None

    # -- asking ----------------------------------------------------------------------------------------------------

    @lists(StepOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        undo: UndoSpec,
        **options: Unpack[StepOptions],
    ) -> Step:
        """Ask for a step; it is sent when the caller gives way to the hub, at the latest by :meth:`wait`.

        :param undo: what undoes it: a tuple ``([host, ]method, url[, body[, headers]])``, a
            :class:`napixclient.Request`, a list of these, a callable of the answer that returns one of these, or
            ``None`` where nothing is to be undone. It has to be said.
        :param options: those of :class:`StepOptions`:
        :raises TypeError: for an ``undo`` that makes no sense, or none.
        :raises ValueError: for a part that cannot be sent.
        :raises SagaFailed: where a step has failed already; what was done is undone then.
        """
        self._scope.check()
        if self._open is None:
            self._open = self._scope.core.new_wait()
        return self._ask(_REQUEST, self._open, (host, method, url, body, headers), undo, options)

    @lists(StepOptions)
    def call(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        undo: UndoSpec,
        **options: Unpack[StepOptions],
    ) -> Response:
        """Ask for a step and wait for it; it is a wait of its own in the order of undoing.

        :param undo: as for :meth:`request`.
        :param options: those of :class:`StepOptions`:
        :raises SagaFailed: where it, or another one, has failed; what was done is undone then.
        """
        self._scope.check()
        wait = self._scope.core.new_wait()
        step = self._ask(_CALL, wait, (host, method, url, body, headers), undo, options)
        self._scope.core.begin_wait(wait)
        self._scope.wait_until(step.ready)
        assert isinstance(step.outcome, Response)
        return step.outcome

    def wait(self) -> list[Response]:
        """Wait for the steps that were asked for since the last wait, and return their answers in the order asked.

        :raises SagaFailed: where one has failed; what was done is undone then.
        """
        self._scope.check()
        wait, self._open = self._open, None
        if wait is None:
            return []
        self._scope.core.begin_wait(wait)
        try:
            self._scope.wait_until(lambda: not wait.left)
        except BaseException:  # thrown in: the next one waits for the same steps, and for those since
            if self._open is not None:
                _merge(wait, self._open)
            self._open = wait
            raise
        return [step.outcome for step in wait.steps if isinstance(step.outcome, Response)]

    def _ask(
        self, taker: Callable[..., object], wait: Wait, asked: tuple[Any, ...], undo: object, options: Mapping[str, Any]
    ) -> Step:
        """:param asked: host, method, url, body and header fields."""
        if options:
            refuse_unknown(taker, options, StepOptions.__optional_keys__)
            given: Any = {name: value for name, value in options.items() if name not in OF_STEP}
            request = _request_with(taker, *asked, given) if given else plain_request(*asked)
            parts = step_parts(undo, options)
        else:
            request, parts = plain_request(*asked), _PLAIN._replace(undo=undo)
        step = self._scope.add(request, parts, wait)
        self._scope.core.runner.ask(step)
        return step

    # -- many hosts ------------------------------------------------------------------------------------------------

    @lists(ReplicaStepOptions)
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
        **options: Unpack[ReplicaStepOptions],
    ) -> list[Any]:
        """Send a request to all hosts of a mapping at once; each that succeeds is a step with an undo of its own.

        It returns what :meth:`napixclient.resources.Resources.broadcast` does. A host that fails fails the saga, unless
        ``need`` is reached.

        :param undo: as for :meth:`request`; without a host it goes to each host, as the request does.
        :param need: how many hosts must succeed, or ``{zone: number}``.
        :param options: those of a step and of its request:
        :raises SagaFailed: where too many have failed; what was done is undone then.
        """
        return fan_out.broadcast(self._scope, resources, (method, path, body, hosts, need), undo, options)

    @lists(ReplicaStepOptions)
    def rolling(
        self,
        resources: Resources,
        requests: Iterable[Any],
        serial: int | str = 5,
        max_fail: int | str = 0,
        *,
        undo: UndoSpec,
        undo_on_stop: bool = True,
        **options: Unpack[ReplicaStepOptions],
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
        return fan_out.rolling(self._scope, resources, requests, (serial, max_fail, undo_on_stop), undo, options)

    # -- the block -------------------------------------------------------------------------------------------------

    def abort(self, reason: str = 'given up') -> None:
        """Give the saga up: what was done is undone.

        In the greenlet that made it, it raises at once; in others, it is raised where that one waits, or asks next.

        :raises SagaFailed: when all is undone.
        """
        if not self._scope.over:
            self._scope.stop(f'it was aborted: {mask(reason)}')
        if getcurrent() is self._home and self._scope.failing:
            raise self._scope.failed()

    def __enter__(self: _Block) -> _Block:
        self._home = getcurrent()
        traces = tracing()
        self._span = None if traces is None else traces.begin_outer(self._span_name)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._end(exc)
        finally:
            if self._span is not None:
                self._end_span(exc)

    def _end_span(self, exc: BaseException | None) -> None:
        assert self._span is not None
        failure = self._scope.failure
        counts = {f'saga.steps.{state}': count for state, count in self._scope.counts().items() if count}
        what = (
            None if failure is None and exc is None else failure.message if failure is not None else type(exc).__name__
        )
        self._span.end(counts, what)

    def _end(self, exc: BaseException | None) -> None:
        scope = self._scope
        if os.getpid() != scope.core.pid or scope.over:  # in the child of a fork the saga is the parent's
            return
        if exc is None:
            self._leave()
            return
        ours = self._is_ours(exc)
        self._roll_back(exc, '' if ours else 'left its block')
        if ours:
            raise scope.failed()

    def _is_ours(self, exc: BaseException) -> bool:
        """Whether an exception is the failure of a step of it."""
        if isinstance(exc, SagaFailed):
            return any(exc is scope.failure for scope in self._scope.family())
        return isinstance(exc, HTTPError) and any(exc is step.outcome for step in self._scope.all_steps())

    def _leave(self) -> None:
        """Wait for what was not waited for, and commit."""
        if self._open is not None:
            self._scope.core.begin_wait(self._open)
        try:
            self._scope.wait_until(self._scope.is_settled)
            self._commit()
        except SagaFailed:
            raise
        except BaseException as exc:
            self._roll_back(exc, 'came at the end of its block')
            raise

    def _roll_back(self, exc: BaseException, what: str) -> None:
        self._scope.core.interrupts += isinstance(exc, (KeyboardInterrupt, SystemExit))
        self._scope.stop(f'{type(exc).__name__} {what}: {mask(str(exc))}' if what else '')
        self._scope.undo_all()

    def _commit(self) -> None:
        """All went well."""

    def stats(self) -> SagaStats:
        """How many steps are in each state, and how many there are."""
        counts: Any = self._scope.counts()
        return counts  # type: ignore[no-any-return]

    # -- what became of it -----------------------------------------------------------------------------------------

    @property
    def failed(self) -> list[HTTPError]:
        """The errors of the steps that failed, in the order asked."""
        return self._scope.errors()

    @property
    def undone(self) -> list[Step]:
        """The steps that are undone, in the order asked."""
        return lists_of(self._scope.all_steps()).undone

    @property
    def not_undone(self) -> list[tuple[Step, HTTPError]]:
        """The steps that could not be undone, each with the error."""
        return lists_of(self._scope.all_steps()).not_undone

    @property
    def unknown(self) -> list[Step]:
        """The steps of which nobody knows whether they were done."""
        return lists_of(self._scope.all_steps()).unknown


def _named(method: Callable[..., object]) -> Callable[..., object]:
    """Stands for a method where its name is told, as its callers know it."""
    named: Callable[..., object] = update_wrapper(lambda *_: None, method)
    named.__qualname__ = f'Saga.{method.__name__}'
    return named


_REQUEST, _CALL = _named(Block.request), _named(Block.call)
_request_with: Callable[..., Request] = request_with
_PLAIN = StepParts(None, None, False, None, None)


def _merge(wait: Wait, later: Wait) -> None:
    """Have the steps of a later wait be waited for with those of an earlier one."""
    for step in later.steps:
        step.wait_group = wait
    wait.steps += later.steps
    wait.left += later.left
