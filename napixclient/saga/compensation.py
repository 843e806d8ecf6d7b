"""Undoes steps: in the reverse order of their waits, side by side within one, each tried again until its time is up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

import gevent

from .._http.pacing import pause_asked_for
from .._http.pending import PendingResponse
from .._log import log
from ..call_context import current
from ..errors import HTTPError
from ..masking import mask
from ..messages import Origin, Request, Response, parse_origin
from ..pool import ClientPool
from ..tracebacks import traceback_of
from .journal import Lines
from .lines import error_text, undo_line
from .resolving import resolve
from .steps import TO_UNDO, State, Step

__all__ = ['Compensation', 'Lists', 'in_order', 'lists_of', 'may_be_undone']

#: Seconds before an undo is tried again; they double, up to the last number.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Answers that say that there is nothing (any more): RFC 9110 §15.5.5, §15.5.11.
GONE = frozenset([404, 410])
#: Methods that change nothing: RFC 9110 §9.2.1.
SAFE = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE'])


class Lists(NamedTuple):
    """What became of the steps that had to be undone."""

    undone: list[Step]
    not_undone: list[tuple[Step, HTTPError]]
    unknown: list[Step]

    @property
    def complete(self) -> bool:
        """Whether nothing is left of them."""
        return not self.not_undone and not self.unknown


class Compensation:
    """Undoes what steps have done.

    :param pool: sends the undos of steps that were sent through it.
    :param origins: of all steps of the saga: credentials go to no other.
    :param journal: where each undo is written down, before and after.
    :param tell: called with a step at each change of its state.
    """

    def __init__(
        self, pool: ClientPool, origins: set[Origin], journal: Lines, key_field: str, tell: Callable[[Step], object]
    ) -> None:
        self._pool = pool
        self._origins = origins
        self._journal = journal
        self._key_field = key_field
        self._tell = tell
        self._context: Context = _without_deadline()

    def run(self, waits: Iterable[list[Step]]) -> None:
        """Undo the steps of each wait, the last wait first.

        :param waits: in the order in which they were waited for.
        """
        for steps in reversed(list(waits)):
            self._run_all([partial(self._undo, step) for step in steps if may_be_undone(step)])

    def _run_all(self, tasks: list[Callable[[], None]]) -> None:
        greenlets = [gevent.Greenlet(task) for task in tasks]
        for greenlet in greenlets:
            greenlet.gr_context = self._context.copy()
            greenlet.start()
        try:
            gevent.joinall(greenlets)
        except BaseException:  # stopped by a second Ctrl-C
            gevent.killall(greenlets, block=False)
            raise

    # -- one step --------------------------------------------------------------------------------------------------

    def _undo(self, step: Step) -> None:
        if step.state == 'unknown' and not self._is_there(step):
            return
        if step.state == 'not_undone' and step.undo is None:
            return  # nobody knows how
        requests = step.undo or ()
        if not requests:
            return
        self._enter(step, 'undoing', undo_line(step, self._key_field))
        end = monotonic() + step.undo_timeout
        accepted = GONE | step.undone_on
        for request in requests:
            error = self._send_until(step, request, end, lambda status: status in accepted)
            if isinstance(error, HTTPError) and error.status not in accepted:
                self._not_undone(step, error)
                return
        self._enter(step, 'undone', {'event': 'undone', 'step': step.number})

    def _is_there(self, step: Step) -> bool:
        """Whether there is something to undo, and it is known how: of a step that was sent and not answered."""
        answer: Response | None = None
        if step.find is not None:
            end = monotonic() + step.undo_timeout
            found = self._send_until(step, step.find, end, GONE.__contains__, lambda status: status < 300)
            if isinstance(found, Response):
                answer = found
            elif found.status in GONE:
                self._enter(step, 'failed', {'event': 'failed', 'step': step.number, 'status': found.status})
                return False
            else:
                self._enter(step, 'unknown', {'event': 'unknown', 'step': step.number, 'error': error_text(found)})
                return False
        if step.given_undo is None:
            if answer is not None:  # it is there, and nothing is to be undone
                self._enter(step, 'done', {'event': 'done', 'step': step.number, 'status': answer.status})
            return False
        if step.undo is not None:
            return True
        if answer is None and step.given_undo.needs_answer:
            return False
        error = resolve(step, answer, self._key_field)
        if error is not None:
            self._not_undone(step, error)
            return False
        return True

    def _not_undone(self, step: Step, error: HTTPError) -> None:
        step.error = error
        self._enter(step, 'not_undone', {'event': 'not_undone', 'step': step.number, 'error': error_text(error)})

    def _enter(self, step: Step, state: State, line: dict[str, Any]) -> None:
        """Change its state; where the journal cannot be written, undoing goes on all the same."""
        step.state = state
        self._journal.add(line)
        try:
            self._journal.sync()
        except Exception as exc:  # a full disk, a store that is away
            log.error('the journal of a saga cannot be written: %s', exc)
        self._tell(step)

    # -- requests --------------------------------------------------------------------------------------------------

    def _send_until(
        self,
        step: Step,
        request: Request,
        end: float,
        is_final: Callable[[int], bool],
        is_good: Callable[[int], bool] = lambda status: status < 400,
    ) -> Response | HTTPError:
        """Send a request until it is answered well, or finally, or the time is up: the last outcome."""
        pause, last = FIRST_PAUSE, HTTPError('there was no time left for it', request=request)
        while True:
            left = end - monotonic()
            if left <= 0:
                return last
            outcome, forever = self._send_once(step, request, left)
            status = outcome.status
            if isinstance(outcome, Response):
                if is_good(outcome.status):
                    return outcome
                last = HTTPError(f'it was answered {outcome.status}', request=request, response=outcome)
            else:
                last = outcome
            if forever or (status is not None and is_final(status)):
                return last
            response = last.response
            asked = None if response is None else pause_asked_for(response.headers.get('retry-after'))
            wait = pause if asked is None else max(asked, FIRST_PAUSE)
            if wait >= end - monotonic():
                return last
            gevent.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _send_once(self, step: Step, request: Request, left: float) -> tuple[Response | HTTPError, bool]:
        """The outcome of one try, and whether no other one can be better."""
        settings, timeout = self._pool.settings, request.timeout
        if left < (settings.clocks if timeout is None else settings.clocks_of(timeout)).total:
            request = request.replace(timeout=left)
        try:
            pending = self._submit(step, request)
            try:
                pending.wait()
            except BaseException:
                pending.cancel()
                raise
        except Exception as exc:  # the pool is closed
            log.error('an undo cannot be sent\n%s', traceback_of(exc))
            error = HTTPError(f'it cannot be sent: {mask(str(exc))}', request=request)
            error.__cause__ = exc
            return error, True
        outcome = pending.outcome
        assert outcome is not None
        return outcome, False

    def _submit(self, step: Step, request: Request) -> PendingResponse:
        pending = None if step.send_undo is None else step.send_undo(request)
        if pending is not None:
            return pending
        if parse_origin(request.host) in self._origins:
            return self._pool.send(request)
        return self._pool.send_unsigned(request)


def may_be_undone(step: Step) -> bool:
    """Whether there may be something to undo."""
    return step.state in TO_UNDO and not step.kept and (step.given_undo is not None or step.state == 'unknown')


def _without_deadline() -> Context:
    """The context of this call for undos: they are sent, and waited for, when its caller has left as well."""
    context = copy_context()
    call_context = current.get()
    if call_context is not None:
        context.run(current.set, call_context.without_deadline())
    return context


def in_order(steps: Iterable[Step]) -> list[list[Step]]:
    """The steps by their waits, in the order in which these were waited for."""
    waits: dict[int, list[Step]] = {}
    for step in sorted(steps, key=lambda step: (step.wait_group.order, step.wait_group.number, step.number)):
        waits.setdefault(step.wait_group.number, []).append(step)
    return list(waits.values())


def lists_of(steps: Iterable[Step]) -> Lists:
    """What became of the steps, in the order asked."""
    lists = Lists([], [], [])
    for step in steps:
        if step.kept:
            continue
        if step.state == 'undone':
            lists.undone.append(step)
        elif step.state == 'not_undone':
            lists.not_undone.append((step, step.error or HTTPError('it was not undone', request=step.request)))
        elif step.state == 'unknown' and (step.given_undo is not None or step.request.method not in SAFE):
            lists.unknown.append(step)
    return lists
