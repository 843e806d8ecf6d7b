"""What the blocks of one saga share: the runner, the journal, the numbers of steps and waits, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import NamedTuple
from uuid import uuid4

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from .._log import log
from ..messages import Request, parse_origin
from ..pool import ClientPool
from ..resources.deadline import Deadline
from .compensation import Compensation, Lists, in_order, lists_of
from .idempotency import with_key
from .journal import Lines, NoJournal
from .lines import head_line
from .runner import OnStep, Runner
from .steps import Owner, Step, Wait
from .undos import find_of, undo_of

__all__ = ['Config', 'SagaCore', 'StepParts']


class Config(NamedTuple):
    """What holds for each step that does not say otherwise."""

    undo_timeout: float
    undone_on: frozenset[int]
    cancel_on_failure: bool
    key_field: str


class StepParts(NamedTuple):
    """What a step takes beside its request."""

    undo: object
    find: object
    idempotent: bool
    undone_on: frozenset[int] | None
    undo_timeout: float | None


class SagaCore:
    """The machinery of one saga.

    :param pool: sends its requests.
    :param journal: where its events are written down.
    :param on_crash: called when the journal cannot be written.
    """

    def __init__(
        self,
        pool: ClientPool,
        journal: Lines,
        config: Config,
        on_step: OnStep | None,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self.pool = pool
        self.config = config
        self.pid: int = os.getpid()
        self.steps: list[Step] = []
        self._hosts: set[str] = set()
        self.journal = journal
        self.runner: Runner = Runner(pool, self.journal, config.key_field, on_step, on_crash)
        #: Set when somebody who waits has to look again.
        self.changed: Event = Event()
        #: Held by who undoes.
        self.lock: BoundedSemaphore = BoundedSemaphore()
        self.ended: bool = False
        self.interrupts: int = 0
        self._waits = 0
        self._waited = 0

    def begin(self) -> None:
        """Write the first line."""
        config = self.config
        self.journal.add(head_line(str(uuid4()), config.undo_timeout, config.undone_on, config.key_field))

    def go_on(self, steps: list[Step], waits: int) -> None:
        """Know of what was done before, by a process that is gone.

        :param waits: how many there were.
        """
        self.steps += steps
        self._hosts.update(step.request.host for step in steps)
        self._waits = self._waited = waits

    # -- asking ----------------------------------------------------------------------------------------------------

    def new_wait(self) -> Wait:
        """A wait that nobody waits for yet."""
        self._waits += 1
        return Wait(self._waits)

    def begin_wait(self, wait: Wait) -> None:
        """Somebody waits for it."""
        if wait.order == float('inf'):
            self._waited += 1
            wait.order = self._waited
            self.journal.add({'event': 'waited', 'wait': wait.number})

    def make_step(self, request: Request, parts: StepParts, owner: Owner, wait: Wait, name: str = '') -> Step:
        """A step that is not sent yet.

        :param name: for those who name their steps.

        :raises TypeError: for an ``undo`` or a ``find`` that makes no sense.
        """
        header = self.config.key_field
        undo, requests = undo_of(parts.undo, request, header)
        step = Step(len(self.steps), with_key(request, header), owner, wait, name)
        step.given_undo, step.undo = undo, requests
        if parts.find is not None:
            step.find = find_of(parts.find, request)
        step.undone_on = self.config.undone_on if parts.undone_on is None else parts.undone_on
        step.undo_timeout = self.config.undo_timeout if parts.undo_timeout is None else parts.undo_timeout
        step.context = copy_context()
        if parts.idempotent or not isinstance(self.journal, NoJournal):
            step.idempotent = parts.idempotent
            step.deadline, step.asked_at = Deadline(request.timeout, self.pool.settings), monotonic()
        self.steps.append(step)
        self._hosts.add(request.host)
        wait.steps.append(step)
        wait.left += 1
        return step

    def settled(self, step: Step) -> None:
        """A step has its outcome."""
        wait = step.wait_group
        wait.left -= 1
        if not wait.left or step.state != 'done':
            self.changed.set()

    # -- ends ------------------------------------------------------------------------------------------------------

    def undo(self, steps: list[Step]) -> Lists:
        """Undo what these have done."""
        Compensation(
            self.pool, set(map(parse_origin, self._hosts)), self.journal, self.config.key_field, self.runner.tell
        ).run(in_order(steps))
        return lists_of(steps)

    def commit(self) -> None:
        """The end, where all went well.

        :raises OSError: when that cannot be written down: then it is not the end.
        """
        self.journal.add({'event': 'committed'})
        self.journal.sync()
        self.close()

    def end(self, lists: Lists) -> None:
        """The end, where it was undone."""
        self.journal.add({'event': 'ended', 'state': 'undone' if lists.complete else 'not_undone'})
        try:
            self.journal.sync()
        except OSError as exc:
            log.error('the journal of a saga cannot be written: %s', exc)
        self.close()

    def close(self) -> None:
        """Give back what it holds."""
        self.ended = True
        self.runner.close()
        with suppress(OSError):
            self.journal.close()
