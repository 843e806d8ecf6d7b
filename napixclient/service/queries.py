"""What is read from the store, each in one transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from .database import Connection
from .lines import is_doubtful, is_good
from .rows import Failed, Kept, Left, found_runs, read_requests, read_sent

__all__ = ['asked_again', 'left', 'lines', 'newest', 'not_succeeded']

#: Result lines that are read at a time, and bytes of them after which no more are.
PAGE_LINES = 500
PAGE_BYTES = 1 << 20


def newest(to: Connection, limit: int, before: Kept | None, states: Iterable[str], words: Iterable[str]) -> list[Kept]:
    """The newest runs, or those older than one.

    :param states: any of these; all where there is none.
    :param words: what id or summary must contain in any case, the latter as JSON has it; others may be among them.
    """
    values: dict[str, Any] = {'limit': limit}
    conditions = []
    if before is not None:
        conditions.append('(created < :created OR (created = :created AND id < :id))')
        values |= {'created': before.created, 'id': before.id}
    named = {f'state{at}': state for at, state in enumerate(states)}
    if named:
        conditions.append(f'state IN ({", ".join(f":{name}" for name in named)})')
    for at, word in enumerate(words):
        conditions.append(f"(LOWER(summary) LIKE :word{at} ESCAPE '!' OR id LIKE :word{at} ESCAPE '!')")
        values[f'word{at}'] = f'%{_literal(json.dumps(word)[1:-1].lower())}%'
    which = f'WHERE {" AND ".join(conditions)} ' if conditions else ''
    return found_runs(to, f'{which}ORDER BY created DESC, id DESC LIMIT :limit', {**values, **named})


def _literal(word: str) -> str:
    """For LIKE, with ``!`` before what that takes for something else."""
    return re.sub('[!%_]', r'!\g<0>', word)


def asked_again(to: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Of these runs those that were asked again, and the id of the run that did."""
    values = {f'id{at}': id for at, id in enumerate(ids)}
    if not values:
        return {}
    names = ', '.join(f':{name}' for name in values)
    found = to.rows(f'SELECT parent, id FROM runs WHERE parent IN ({names})', values)
    return {str(parent): str(id) for parent, id in found}


def not_succeeded(to: Connection, id: str) -> list[Failed]:
    """The requests of a run without a result that is good; none where they are not kept."""
    good: set[int] = set()
    doubtful = {one.number for one in left(to, id) if one.sent}  # where results could not be kept
    for number, numbers, text in to.stream('SELECT number, numbers, line FROM results WHERE run = :run', {'run': id}):
        for one, line in zip([number] if numbers is None else json.loads(numbers), text.split('\n'), strict=True):
            if is_good(line):
                good.add(one)
            elif is_doubtful(line):
                doubtful.add(one)
    return [
        Failed(request, number in doubtful)
        for first, text in to.stream(
            'SELECT number, request FROM requests WHERE run = :run ORDER BY number', {'run': id}
        )
        for number, request in enumerate(read_requests(text), first)
        if number not in good
    ]


def left(to: Connection, id: str) -> list[Left]:
    """The requests of a run that have no result."""
    text = next((text for (text,) in to.rows('SELECT sent FROM runs WHERE id = :run', {'run': id})), None)
    since, sent = (0, None) if text is None else read_sent(text)  # an older release did not say
    done: set[int] = set()
    for seq, number, numbers, added in to.stream(
        'SELECT seq, number, numbers, sent FROM results WHERE run = :run', {'run': id}
    ):
        done.update([number] if numbers is None else json.loads(numbers))
        if sent is not None and added is not None and seq >= since:
            sent.update(json.loads(added))
    return [
        Left(number, request, sent is None or number in sent)
        for first, text in to.stream(
            'SELECT number, request FROM requests WHERE run = :run ORDER BY number', {'run': id}
        )
        for number, request in enumerate(read_requests(text), first)
        if number not in done
    ]


def lines(to: Connection, id: str, seq: int) -> list[str]:
    """Result lines from a number in sequence on: a page of them at most."""
    found: list[str] = []
    size = 0
    for first, text in to.stream(
        'SELECT seq, line FROM results WHERE run = :run AND seq >= COALESCE('
        '(SELECT MAX(seq) FROM results WHERE run = :run AND seq <= :seq), 0) ORDER BY seq LIMIT :limit',
        {'run': id, 'seq': seq, 'limit': PAGE_LINES},
    ):
        for line in text.split('\n')[max(seq - first, 0) :]:
            found.append(line)
            size += len(line)
            if size >= PAGE_BYTES or len(found) >= PAGE_LINES:
                return found
    return found
