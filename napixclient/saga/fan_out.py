"""Steps to the hosts of a mapping of resources: all at once, or batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .._http.pending import PendingResponse
from ..errors import Cancelled, HTTPError
from ..messages import Request, parse_origin
from ..resources.deadline import Deadline
from ..resources.errors import QuorumError, RollingError
from ..resources.quorum import Quorum
from ..resources.resources import Resources
from ..resources.rolling import Rollout, batches, is_too_many
from .core import StepParts
from .judging import judged
from .lines import outcome_line, step_line
from .options import step_parts
from .resolving import resolve
from .scope import Scope

__all__ = ['broadcast', 'rolling']


def broadcast(
    scope: Scope, resources: Resources, asked: tuple[Any, ...], undo: object, options: Mapping[str, Any]
) -> list[Any]:
    """See :meth:`napixclient.saga.Saga.broadcast`."""
    scope.check()
    method, path, body, hosts, need = asked
    parts, others = _parts_of(undo, options)
    requests, deadline, quorum = resources.draft_all(method, path, body, hosts, need, others)
    batch = _Batch(scope, resources, requests, parts)
    outcomes = batch.send(deadline, quorum)
    if quorum is not None and quorum.reached:
        batch.excuse()
    elif quorum is not None or not all(outcomes):
        failed = sum(not outcome for outcome in outcomes)
        raise scope.fail('' if batch.errors else f'{failed} of {len(outcomes)} hosts failed')
    return outcomes


def rolling(
    scope: Scope,
    resources: Resources,
    requests: Iterable[Any],
    how: tuple[int | str, int | str, bool],
    undo: object,
    options: Mapping[str, Any],
) -> Rollout:
    """See :meth:`napixclient.saga.Saga.rolling`."""
    scope.check()
    serial, max_fail, undo_on_stop = how
    parts, others = _parts_of(undo, options)
    given = list(requests)
    drafts = [resources.draft_of(one, others) for one in given]
    is_too_many(0, 1, max_fail)  # is it a number at all?
    outcomes: list[Any] = []
    done: list[_Batch] = []
    for drafted in batches(drafts, serial):
        scope.check()
        batch = _Batch(scope, resources, drafted, parts)
        done.append(batch)
        ended = batch.send(resources.deadline(), None)
        outcomes += ended
        failed = sum(not outcome for outcome in ended)
        if is_too_many(failed, len(ended), max_fail):
            not_started = given[len(outcomes) :]
            text = f'{failed} of a batch of {len(ended)} failed; {len(not_started)} of {len(given)} were not started'
            if undo_on_stop:
                raise scope.fail('' if batch.errors else text)
            for each in done:
                each.keep()
            raise RollingError(text, outcomes=outcomes, not_started=not_started)
        batch.excuse()
    return Rollout(outcomes, [])


def _parts_of(undo: object, options: Mapping[str, Any]) -> tuple[StepParts, Any]:
    """The options of the steps, and those of their requests."""
    others = {name: value for name, value in options.items() if name not in ('undone_on', 'undo_timeout')}
    return step_parts(undo, {name: value for name, value in options.items() if name not in others}), others


class _Batch:
    """Steps that are sent at once, by way of the resources.

    :param requests: one for each host.
    """

    def __init__(self, scope: Scope, resources: Resources, requests: Sequence[Request], parts: StepParts) -> None:
        self._scope = scope
        self._core = scope.core
        self._resources = resources
        self._wait = scope.core.new_wait()
        self._steps = [scope.add(request, parts, self._wait) for request in requests]
        for step in self._steps:
            step.excused = True  # until it is clear whether it may fail
            step.send_undo = partial(_send, resources)
        self._flights: dict[str, Any] = {}

    def send(self, deadline: Deadline, quorum: Quorum | None) -> list[Any]:
        """Write the steps down, send them, and write down what became of them; the outcomes of all."""
        core = self._core
        core.begin_wait(self._wait)
        for step in self._steps:
            core.journal.add(step_line(step, core.config.key_field))
        try:
            core.journal.sync()
        except BaseException:
            self._settle_all([None] * len(self._steps))
            raise
        for step in self._steps:
            step.state, step.attempts = 'running', 1
            core.runner.tell(step)
        outcomes: Sequence[Any] = [None] * len(self._steps)
        try:
            outcomes = self._resources.send_all(
                [step.request for step in self._steps], deadline, quorum, self._flights.__setitem__
            )
        except QuorumError as exc:
            outcomes = exc.outcomes
        finally:
            self._settle_all(outcomes)
            core.journal.sync()
        return list(outcomes)

    def _settle_all(self, outcomes: Sequence[Any]) -> None:
        for step, outcome in zip(self._steps, outcomes, strict=True):
            flight = self._flights.get(step.request.host)
            sent = flight is not None and flight.sent
            if outcome is None:  # it was interrupted
                outcome = Cancelled('cancelled: its wait was interrupted', request=step.request)
            outcome = getattr(outcome, 'error', None) or outcome
            state: Any = judged(outcome, sent)
            if state == 'done' and step.undo is None:
                step.error = resolve(step, outcome, self._core.config.key_field)
                state = 'done' if step.error is None else 'not_undone'
            self._core.journal.add(outcome_line(step, state, outcome, self._core.config.key_field))
            step.settle(state, outcome)
            self._core.runner.tell(step)

    @property
    def errors(self) -> list[HTTPError]:
        """The errors of those that failed, which fail the saga from now on."""
        for step in self._steps:
            step.excused = False
        return [step.outcome for step in self._steps if isinstance(step.outcome, HTTPError)]

    def excuse(self) -> None:
        """Enough have succeeded; an undo that cannot be made fails the saga all the same."""
        for step in self._steps:
            if step.state == 'not_undone':
                step.excused = False
                raise self._scope.fail('')

    def keep(self) -> None:
        """Have its steps stay, whatever becomes of the saga."""
        for step in self._steps:
            step.kept = True
            self._core.journal.add({'event': 'kept', 'step': step.number})
        self._core.journal.sync()


def _send(resources: Resources, request: Request) -> PendingResponse | None:
    """Send an undo by way of the resources, if it is for one of their hosts."""
    origin = parse_origin(request.host)
    for host, resource in resources.items():
        if parse_origin(host) == origin:
            return resource.client.send(request)
    return None
