"""Undoes what a journal tells of, after a crash."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, NamedTuple, cast

from ..errors import HTTPError
from ..messages import Request, Response, parse_origin, plain_request
from ..pool import ClientPool
from .compensation import Compensation, in_order, lists_of
from .history import Entry, History
from .journal import Journal, Lines
from .records import draft_of
from .steps import GONE, Owner, State, Step, Wait
from .undos import Undo

__all__ = ['Report', 'recover', 'steps_of', 'undo_history']


class Report(NamedTuple):
    """What became of a saga.

    ``state`` is ``committed``, ``undone`` or ``not_undone``, where something is left: ``not_undone`` has pairs of a
    :class:`Step` and the error, ``unknown`` the steps of which nobody knows whether they were done. ``undone`` has the
    steps that are undone.
    """

    state: str
    undone: list[Step]
    not_undone: list[tuple[Step, HTTPError]]
    unknown: list[Step]


def recover(path: str | os.PathLike[str], pool: ClientPool) -> Report:
    """See :meth:`napixclient.saga.Saga.recover`."""
    journal = Journal.resume(path)
    try:
        return undo_history(journal.history, journal, pool)
    finally:
        journal.close()


def undo_history(
    history: History, journal: Lines, pool: ClientPool, tell: Callable[[Step], object] = lambda step: None
) -> Report:
    """Undo what a journal tells of.

    :param journal: where that is written down.
    :param tell: called with a step at each change of its state.
    """
    if history.state == 'committed':
        return Report('committed', [], [], [])
    steps = steps_of(history, GONE)
    if not history.finished:
        key_field = history.head['key_field']
        journal.add({'event': 'failing', 'reason': history.reason or 'recovered after a crash'})
        origins = {parse_origin(step.request.host) for step in steps}
        Compensation(pool, origins, journal, key_field, tell).run(in_order(steps))
        journal.add({'event': 'ended', 'state': 'undone' if lists_of(steps).complete else 'not_undone'})
        journal.sync()
    lists = lists_of(steps)
    return Report('undone' if lists.complete else 'not_undone', *lists)


def steps_of(history: History, owner: Owner) -> list[Step]:
    """The steps that a journal tells of."""
    waits: dict[int, Wait] = {}
    steps = []
    for entry in history.entries.values():
        wait = waits.setdefault(entry.wait, Wait(entry.wait))
        wait.order = history.order_of(entry.wait)[0]
        steps.append(_step_of(entry, wait, history.head, owner))
    return steps


def _step_of(entry: Entry, wait: Wait, head: dict[str, Any], owner: Owner) -> Step:
    line = entry.line
    request = plain_request(line['host'], line['method'], line['url'], None, None)
    step = Step(entry.number, request, owner, wait, entry.name)
    step.context = copy_context()
    step.kept = entry.kept
    step.undo_timeout = line.get('undo_timeout') or float('inf')
    step.undone_on = frozenset(line.get('undone_on', head.get('undone_on', ())))
    if 'find' in line and line.get('undo') != 'callable':
        step.find = _find_of(line['find'], request)
    _set_state(step, entry, head['key_field'])
    return step


def _find_of(record: dict[str, Any], base: Request) -> Request | None:
    draft = draft_of(record)
    return None if draft is None else draft.request(base, {})


def _set_state(step: Step, entry: Entry, key_field: str) -> None:
    """What its lines say of a step, and what undoes it."""
    step.state = cast(State, 'unknown' if entry.state == 'running' else entry.state)
    if not entry.undo:
        step.undo = ()
        return
    if entry.undo == 'callable':
        step.given_undo = Undo((), _lost)
        step.error = HTTPError(entry.error or 'what undoes it is lost with its program', request=step.request)
        return
    assert isinstance(entry.undo, list)
    drafts = [draft_of(record) for record in entry.undo]
    known = tuple(draft for draft in drafts if draft is not None)
    step.given_undo = Undo(known)
    if len(known) < len(drafts):
        step.given_undo.needs_answer = True
        step.error = HTTPError('its undo holds a secret, which no journal keeps', request=step.request)
    elif not step.given_undo.needs_answer:
        step.undo = step.given_undo.requests(step.request, None, key_field)
    if step.state in ('done', 'undoing', 'not_undone'):
        # One that was begun is begun anew. What could not be made of the answer cannot be made without it.
        unmade: State = 'unknown' if entry.outcome in ('running', 'unknown') else 'not_undone'
        step.state = 'done' if step.undo is not None else unmade
        if step.undo is None and step.error is None:
            step.error = HTTPError(entry.error or 'what undoes it cannot be made', request=step.request)


def _lost(answer: Response) -> None:
    """In the place of a callable that only its program has."""
    raise AssertionError('it is never called')
