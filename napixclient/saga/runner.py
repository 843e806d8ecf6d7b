"""Sends the steps of a saga in their turn, and settles their outcomes, in a greenlet of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from .._http.pacing import pause_asked_for
from .._http.pending import NEVER, Outcome, timeout_of
from .._log import log
from ..errors import Cancelled, HTTPError
from ..masking import mask
from ..messages import Response
from ..pool import ClientPool
from ..tracebacks import traceback_of
from .arrivals import Arrivals
from .journal import Lines, NoJournal
from .judging import Verdict, judged, says_later
from .lanes import Lanes
from .lines import outcome_line, step_line
from .resolving import resolve
from .steps import State, Step

__all__ = ['Runner', 'told']

#: Tries of a step that its server knows again by its key: at least, and without a total time at most.
TRIES = 3
#: Seconds before the second try; before each further one they double, up to the last number.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: The part of its time that a step may wait in our own queue without being sent with less: a change costs as much as
#: half a request.
_SHORT = 0.1

OnStep = Callable[[Step], object]
#: A step, and how it ended.
Ended = tuple[Step, State, Outcome]


class Runner:
    """The steps that are under way.

    :param pool: sends them.
    :param journal: where they are written down before they are sent.
    :param on_step: called with a step at each change of its state.
    :param on_crash: called when the journal cannot be written.
    """

    def __init__(
        self,
        pool: ClientPool,
        journal: Lines,
        key_field: str,
        on_step: OnStep | None,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self.pool = pool
        self.journal = journal
        self.key_field = key_field
        self._on_step = on_step
        self._on_crash = on_crash
        self._is_kept = not isinstance(journal, NoJournal)
        self._asked: deque[Step] = deque()
        self._lanes = Lanes(pool.cap_of, pool.max_connections)
        #: Steps that were handed to the pool, or wait to be tried again.
        self.running: dict[int, Step] = {}
        self._pauses: dict[int, tuple[gevent.Greenlet[..., None], Outcome]] = {}  # of those that wait to be tried again
        self._ended: list[Ended] = []  # to be settled in the next turn
        self._look_again = False  # whether some that are queued may not be wanted any more
        self._wakeup = Event()
        self._arrivals = Arrivals(self._failed_now, self._wakeup.set)
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def ask(self, step: Step) -> None:
        """Send a step, when the caller gives way to the hub."""
        step.runner = self
        self._asked.append(step)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
        self._wakeup.set()

    def close(self) -> None:
        """End the greenlet: nothing is under way any more."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    # -- taking back -----------------------------------------------------------------------------------------------

    def _failed_now(self, index: int, error: HTTPError) -> None:
        """Within the transition that ended a step: what is still queued is not sent any more."""
        step = self.running.get(index)
        if step is not None and not step.idempotent and not step.owner.failing:
            step.owner.stop()

    def take_back(self, owners: Iterable[object], *, sent: bool) -> None:
        """Take back what of these was not sent.

        :param sent: end what was sent as well.
        """
        for step in self._of(owners):
            pending = step.pending
            if pending is not None and pending.outcome is not None:
                continue  # to be settled in the next turn
            if pending is not None and not pending.sent and not step.maybe_sent:
                step.cancelled = step.cancelled or 'dropped'
                pending.cancel()
            elif sent:
                step.cancelled = step.cancelled or 'cancelled'
                self.cancel(step)
        self._look_again = True
        self._wakeup.set()

    def expire(self, owners: Iterable[object]) -> None:
        """Their time is up: what has no outcome ends with a timeout."""
        for step in self._of(owners):
            step.cancelled = step.cancelled or 'late'
            if step.pending is not None:
                step.pending.end(timeout_of(step.pending, 'wait'))
            else:
                self.cancel(step)
        self._look_again = True
        self._wakeup.set()

    def _of(self, owners: Iterable[object]) -> list[Step]:
        """The steps of these that are under way."""
        concerned = set(map(id, owners))
        return [step for step in self.running.values() if id(step.owner) in concerned and step.outcome is None]

    def cancel(self, step: Step) -> None:
        """End one step now."""
        if step.pending is not None:
            step.pending.cancel()
        elif step.number in self._pauses:
            timer, outcome = self._pauses.pop(step.number)
            timer.kill(block=False)
            self._ended.append((step, 'unknown', outcome))
        self._look_again = True
        self._wakeup.set()

    # -- turns -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wakeup.wait()
            self._wakeup.clear()
            try:
                self._turn()
            except Exception as exc:  # the disk is full, perhaps
                log.error('a saga cannot go on\n%s', traceback_of(exc))
                self._on_crash(exc)

    def _turn(self) -> None:
        """Settle what has finished, and send what has its turn: one ``fsync`` for both."""
        settled, self._ended = [*self._ended, *self._finished()], []
        for step, _, _ in settled:
            self._lanes.left(step)
        group = self._next_group()
        if self._look_again:
            self._look_again = False
            settled += [_taken_back(step) for step in self._lanes.take_back(_is_unwanted)]
        failure = self._write_down(settled, group)
        for step, state, outcome in settled:
            self.running.pop(step.number, None)
            step.settle(state, outcome)
            self.tell(step)
        for step in group:
            if failure is None and not _is_unwanted(step):
                self._send(step)
            else:
                self._lanes.left(step)
                self._ended.append(_taken_back(step))
                self._wakeup.set()
        if failure is not None:
            raise failure

    def _write_down(self, settled: list[Ended], group: list[Step]) -> Exception | None:
        """Have the lines of these on the disk; why that cannot be done."""
        if not self._is_kept:
            return None
        try:
            for step in group:
                self.journal.add(step_line(step, self.key_field))
            for step, state, outcome in settled:
                if step.number in self._lanes.written:
                    self.journal.add(outcome_line(step, state, outcome, self.key_field))
            self.journal.sync()
        except Exception as exc:
            return exc
        return None

    def _next_group(self) -> list[Step]:
        """The steps whose turn it is to be sent for the first time."""
        asked, self._asked = self._asked, deque()
        group: list[Step] = []
        for step in asked:
            if step.attempts:
                self._send(step)
            elif self._is_kept:
                self._lanes.add(step)
            else:
                group.append(step)
        return self._lanes.turn() if self._is_kept else group

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, step: Step) -> None:
        """Hand a step to the pool, in the context of the call that asked for it."""
        self.running[step.number] = step
        first = not step.attempts
        step.attempts += 1
        if first:
            step.state = 'running'
            self.tell(step)
        try:
            pending = step.context.run(self._submit, step)
        except Exception as exc:  # the pool is closed
            error = HTTPError(f'it cannot be sent: {mask(str(exc))}', request=step.request, phase='queue')
            error.__cause__ = exc
            self._arrivals.outcomes[step.number] = error
            self._arrivals.finished.append(step.number)
            self._arrivals.wake()
            return
        step.pending = pending

    def _submit(self, step: Step) -> Any:
        request, deadline = step.request, step.deadline
        if deadline is not None and deadline.at != NEVER:
            if step.idempotent:  # a server that is silent at the first try must leave time for the others
                request = request.replace(timeout=deadline.share(max(TRIES - step.attempts + 1, 1)))
            elif monotonic() - step.asked_at > _SHORT * (deadline.at - step.asked_at):
                request = request.replace(timeout=deadline.for_one(first=False))
        return self.pool.send(request, self._arrivals, step.number)

    # -- outcomes --------------------------------------------------------------------------------------------------

    def _finished(self) -> list[Ended]:
        """The steps that have an outcome since the last turn, but for those that are tried again."""
        finished, outcomes = self._arrivals.finished, self._arrivals.outcomes
        settled: list[Ended] = []
        while finished:
            index = finished.popleft()
            outcome, step = outcomes.pop(index), self.running.get(index)
            if step is None:
                continue
            sent = step.pending is not None and step.pending.sent
            verdict = judged(outcome, sent)
            if verdict != 'done' and self._try_again(step, verdict, outcome):
                continue
            if verdict == 'failed' and step.maybe_sent and not _refutes(outcome):
                verdict = 'unknown'
            settled.append((step, self._state_of(step, verdict, outcome), outcome))
        return settled

    def _state_of(self, step: Step, verdict: Verdict, outcome: Outcome) -> State:
        if verdict == 'failed' and step.cancelled == 'dropped':
            return 'dropped'
        outcome.request = step.request
        if verdict == 'done' and step.undo is None:
            assert isinstance(outcome, Response)
            error = resolve(step, outcome, self.key_field)
            if error is not None:
                step.error = error
                return 'not_undone'
        return verdict

    def _try_again(self, step: Step, verdict: Verdict, outcome: Outcome) -> bool:
        """Try a step again that its server knows by its key; false where that is of no use."""
        if not step.idempotent or step.cancelled:
            return False
        again = verdict == 'unknown' or (step.maybe_sent and says_later(outcome.status))
        if not again and not (step.maybe_sent and not _refutes(outcome)):
            return False
        step.maybe_sent = True
        pause = min(FIRST_PAUSE * 2 ** (step.attempts - 1), LONGEST_PAUSE)
        if isinstance(outcome, HTTPError) and outcome.response is not None:
            pause = pause_asked_for(outcome.response.headers.get('retry-after')) or pause
        assert step.deadline is not None
        if step.deadline.at == NEVER and step.attempts >= TRIES:
            return False
        if monotonic() + pause >= step.deadline.at:
            return False
        step.pending = None
        self._pauses[step.number] = gevent.spawn_later(pause, self._ask_again, step), outcome
        return True

    def _ask_again(self, step: Step) -> None:
        del self._pauses[step.number]
        self._asked.append(step)
        self._wakeup.set()

    def tell(self, step: Step) -> None:
        """Tell the hook of a change of state."""
        if self._on_step is not None:
            told(self._on_step, step)


def _is_unwanted(step: Step) -> bool:
    """Whether a step that was not sent is not going to be."""
    return bool(step.cancelled) or step.owner.failing


def _taken_back(step: Step) -> Ended:
    """The end of a step that was never handed to the pool, by this process."""
    if step.maybe_sent:
        return step, 'unknown', Cancelled('it was cancelled before it was sent again', request=step.request)
    state: State = 'failed' if step.cancelled == 'cancelled' and not step.owner.failing else 'dropped'
    return step, state, Cancelled('it was cancelled before it was sent', request=step.request)


def _refutes(outcome: Outcome) -> bool:
    """Whether an answer to a repeated request says that the step was not done."""
    return outcome.status is not None and 400 <= outcome.status < 500 and not says_later(outcome.status)


def told(on_step: OnStep, step: Step) -> None:
    """Call the hook; what it raises is logged and changes nothing."""
    try:
        on_step(step)
    except (KeyboardInterrupt, SystemExit, gevent.GreenletExit):
        raise
    except BaseException as exc:  # a gevent.Timeout of its own, too
        log.error('on_step failed\n%s', traceback_of(exc))
