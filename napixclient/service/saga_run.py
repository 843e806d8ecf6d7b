"""A saga that is under way here: its steps one wait after the other, from wherever it stands."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Context
from typing import Any, Protocol

import gevent

from .._http.options import Simultaneous
from ..errors import NapixError
from ..masking import mask
from ..messages import IDEMPOTENT, Request, Response, parse_origin, plain_request
from ..pool import ClientPool
from ..saga.core import Config, SagaCore, StepParts
from ..saga.errors import SagaFailed
from ..saga.history import Entry
from ..saga.recovery import steps_of, undo_history
from ..saga.scope import Scope
from ..saga.steps import Step, Wait
from ..saga.templates import OWN, TemplateError, fill, fill_url, part_of, parts_in
from ..saga.undos import Draft
from ..secret_names import is_secret_field
from .lease import Lease
from .saga_journal import StoreJournal
from .saga_store import KeptSaga, SagaStore
from .saga_submission import SagaSubmission, StepSubmission

__all__ = ['SagaParent', 'SagaRun']

log: logging.Logger = logging.getLogger('napixclient.service')
KEY_FIELD = 'Idempotency-Key'


class SagaParent(Protocol):
    """What a saga knows of those who run it."""

    store: SagaStore

    def open_pool(self, simultaneous: Simultaneous, lease: Lease) -> ClientPool:
        """A pool that asks only whom it may, and signs as the profile says."""

    def ended(self, saga: SagaRun) -> None:
        """It has ended here."""


class SagaRun:
    """One saga.

    :param found: as the store has it.
    """

    def __init__(self, parent: SagaParent, found: KeptSaga, submission: SagaSubmission, lease: Lease) -> None:
        self.id: str = found.id
        self.created: float = found.created
        self.fence: int = found.fence
        self.lease = lease
        self._parent = parent
        self._found = found
        self._submission = submission
        self._scope: Scope | None = None
        self._aborted = found.cancel
        #: The answers of the steps so far, or what is wanted of them.
        self._answers: dict[str, Response | Mapping[str, Any]] = {}
        self.journal: StoreJournal = StoreJournal(
            parent.store, found, parent.store.history(found.id), lambda: lease.holds
        )
        self.greenlet: gevent.Greenlet[[], None] = gevent.Greenlet(self._run)
        self.greenlet.gr_context = Context()  # it outlives the request that it came with

    # -- from outside ----------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Undo it."""
        self._aborted = True
        if self._scope is not None:
            self._scope.stop('it was aborted')

    def halt(self) -> None:
        """Leave it as it is: it goes on elsewhere, or at the next start."""
        if self._scope is not None:
            self._scope.halt()
        self.greenlet.kill(block=False)

    # -- running ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pool = self._parent.open_pool(self._submission.simultaneous, self.lease)
        try:
            if self._may_go_on():
                self._go_on(pool)
            else:
                undo_history(self.journal.history, self.journal, pool)
        except SagaFailed as exc:
            log.info('saga %s failed: %s', self.id, exc.message)
        except Exception as exc:
            log.error('saga %s cannot go on here: %s: %s', self.id, type(exc).__name__, mask(str(exc)))
        finally:
            if self._scope is not None:
                self._scope.halt()
            pool.close()
            self._parent.ended(self)

    def _may_go_on(self) -> bool:
        """Whether what has no outcome can be asked again without harm; else all is undone."""
        history = self.journal.history
        if history.state not in ('empty', 'running') or (self._aborted and history.state == 'running'):
            return False
        named = {step.name: step for step in self._submission.steps}
        return all(_may_repeat(entry, named) for entry in history.entries.values())

    def _go_on(self, pool: ClientPool) -> None:
        config = Config(self._submission.undo_timeout, frozenset(), False, KEY_FIELD)
        core = SagaCore(pool, self.journal, config, None, self._crashed)
        scope = self._scope = Scope(core, None)
        history = self.journal.history
        if history.state == 'empty':
            core.begin()
            before: dict[str, Step] = {}
        else:
            before = self._restore(scope, core)
        timer = None
        if self._submission.timeout is not None:
            left = max(self._submission.timeout - self._found.age, 0)
            timer = gevent.spawn_later(left, scope.expire, f'its {self._submission.timeout:g} s were up')
        try:
            if self._aborted:
                scope.stop('it was aborted')
            for together in self._submission.waits:
                self._do(scope, core, together, before)
            core.commit()
        finally:
            if timer is not None:
                timer.kill(block=False)

    def _crashed(self, exc: Exception) -> None:
        """The store refuses: nothing can be undone by us that others may be undoing."""
        log.error('saga %s cannot be kept: %s', self.id, exc)
        gevent.spawn(self.halt)

    def _restore(self, scope: Scope, core: SagaCore) -> dict[str, Step]:
        """Know of the steps that were done, or asked for, before."""
        history = self.journal.history
        steps = steps_of(history, scope)
        for step in steps:
            entry = history.entries[step.number]
            step.outcome = _outcome_of(entry, step.request)
        scope.steps += steps
        core.go_on(steps, max((entry.wait for entry in history.entries.values()), default=0))
        for entry in history.entries.values():
            self._answers.setdefault(entry.name, entry.values)
        return {step.name: step for step in steps}

    def _do(self, scope: Scope, core: SagaCore, together: list[StepSubmission], before: dict[str, Step]) -> None:
        """Do the steps of one wait, but for those that are done already."""
        asked: list[tuple[StepSubmission, Step]] = []
        wait = core.new_wait()
        for one in together:
            earlier = before.get(one.name)
            if earlier is not None and earlier.state == 'done':
                continue
            scope.check()
            try:
                step = self._ask(scope, wait, one, earlier)
            except (NapixError, TypeError, ValueError) as exc:
                raise scope.fail(f'{one.name} cannot be sent: {mask(str(exc))}') from exc
            asked.append((one, step))
        core.begin_wait(wait)
        scope.wait_until(lambda: not wait.left)
        for one, step in asked:
            assert isinstance(step.outcome, Response)
            self._answers[one.name] = step.outcome
            self._keep_parts(one.name, step)

    def _ask(self, scope: Scope, wait: Wait, one: StepSubmission, earlier: Step | None) -> Step:
        """Ask for a step, with what it wants of earlier answers.

        :param earlier: the same, asked for by a process that is gone.
        """
        request = _request_of(one.draft, self._answers)
        if earlier is not None:
            key = self.journal.history.entries[earlier.number].line.get('key')
            if key is not None:
                request = request.replace(headers=[*request.headers.multi_items(), (KEY_FIELD, key)])
        undo = None if one.undo is None else [_filled(draft, self._answers) for draft in one.undo]
        find = None if one.find is None else _filled(one.find, self._answers).request(request, {})
        step = scope.add(request, StepParts(undo, find, one.idempotency, None, None), wait, one.name)
        if earlier is not None:
            step.maybe_sent, step.again = True, earlier.number
            earlier.state = 'dropped'  # it goes on under another number
        scope.core.runner.ask(step)
        return step

    def _keep_parts(self, name: str, step: Step) -> None:
        """Write down what later steps want of an answer: after a restart nobody else knows it."""
        wanted = {
            part
            for one in self._submission.steps
            for draft in (one.draft, *(one.undo or ()), *filter(None, [one.find]))
            for part in parts_in([draft.url, draft.body, [list(pair) for pair in draft.headers]], name)
        }
        values = {}
        answer = step.outcome
        assert isinstance(answer, Response)
        for part in sorted(wanted):
            if not is_secret_field(part.rpartition('.')[2].rpartition(':')[2]):
                try:
                    values[part] = part_of(answer, part)
                except TemplateError:
                    continue  # who wants it fails
        if values:
            self.journal.add({'event': 'values', 'step': step.number, 'values': values})


def _may_repeat(entry: Entry, named: Mapping[str, StepSubmission]) -> bool:
    if entry.state in ('done', 'dropped'):
        return True
    step = named.get(entry.name)
    return entry.state == 'running' and step is not None and (step.draft.method in IDEMPOTENT or step.idempotency)


def _outcome_of(entry: Entry, request: Request) -> Response:
    """What stands for the answer of a step that was done before."""
    return Response(request, entry.status or 200, b'', b'', 0.0)


def _filled(draft: Draft, answers: Mapping[str, Response | Mapping[str, Any]]) -> Draft:
    """A request with what it wants of earlier answers; what it wants of its own stays."""
    return draft._replace(
        url=fill_url(draft.url, answers),
        body=fill(draft.body, answers),
        headers=tuple((name, fill(value, answers)) for name, value in draft.headers),
    )


def _request_of(draft: Draft, answers: Mapping[str, Response | Mapping[str, Any]]) -> Request:
    """The request of a step.

    :raises ValueError: for a URL that leads to another origin than the step's.
    """
    assert draft.host is not None and OWN not in answers
    filled = _filled(draft, answers)
    base = plain_request(draft.host, draft.method, '/', None, None)
    request = filled.request(base, {})
    if parse_origin(request.host) != parse_origin(draft.host):
        raise ValueError(f'its URL leads to {parse_origin(request.host)}, which is not its host')
    return request
