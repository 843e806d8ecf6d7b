"""What is in the rows of the store, and how it is written there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .database import Connection

__all__ = [
    'TOGETHER',
    'Added',
    'Alike',
    'Failed',
    'Kept',
    'Left',
    'found_runs',
    'read_requests',
    'read_sent',
    'rows_of',
    'sent_text',
]

#: Requests that are in one row.
TOGETHER = 100
_COLUMNS = 'id, created, finished, state, owner, cancel, options, summary, results, fence, parent'


class Kept(NamedTuple):
    """A run as the store has it.

    :param fence: how often it was taken over: who does not know the latest number commits nothing.
    :param age: seconds since it was created, by the clock of the database.
    :param parent: the id of the run of which it asks what has not succeeded.
    """

    id: str
    created: float
    finished: float | None
    state: str
    owner: str | None
    cancel: bool
    options: dict[str, Any]
    summary: dict[str, Any]
    results: int
    fence: int = 0
    age: float = 0.0
    parent: str | None = None


class Left(NamedTuple):
    """A request that has no result.

    :param sent: whether it may have been sent.
    """

    number: int
    request: dict[str, Any]
    sent: bool


class Failed(NamedTuple):
    """A request that has not succeeded.

    :param doubtful: whether nobody knows if it was carried out.
    """

    request: dict[str, Any]
    doubtful: bool


class Alike(NamedTuple):
    """Requests without fields and bodies that differ in ``host`` and ``tag`` only.

    :param text: a JSON object: ``method``, ``url``, and a list each for ``hosts`` and ``tags``.
    """

    size: int
    text: str


class Added(NamedTuple):
    """Numbers of requests that may be sent from now on, beside those that were recorded before."""

    numbers: list[int]


def rows_of(requests: Iterable[str | Alike]) -> Iterator[tuple[int, str]]:
    """The number of the first request of each row, and the text of the row."""
    first = 0
    some: list[str] = []
    for request in requests:
        if isinstance(request, str):
            some.append(request)
        if some and (len(some) == TOGETHER or isinstance(request, Alike)):
            yield first, f'[{",".join(some)}]'
            first += len(some)
            some = []
        if isinstance(request, Alike):
            yield first, request.text
            first += request.size
    if some:
        yield first, f'[{",".join(some)}]'


def read_requests(text: str) -> list[dict[str, Any]]:
    """The requests of a row: a list of them, or what those have that are alike.

    Older releases wrote each into a row of its own.
    """
    found = json.loads(text)
    if isinstance(found, list):
        return found
    if 'hosts' not in found:
        return [found]
    pairs = zip(found.pop('hosts'), found.pop('tags'), strict=True)
    return [{**found, 'host': host, 'tag': tag, 'headers': {}, 'body': None} for host, tag in pairs]


def sent_text(first: int, sent: Iterable[int]) -> str:
    """What may have been sent before the result with that number in sequence; rows of results from there on add theirs.

    Runs of numbers are short, as each commit writes the whole row anew. It is no JSON, so that an older release, which
    does not read those of the other rows, rather fails than sends something twice.
    """
    spans: list[list[int]] = []
    for number in sorted(sent):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return f'{first}:{",".join(f"{begin}-{end}" for begin, end in spans)}'


def read_sent(text: str) -> tuple[int, set[int]]:
    """The number in sequence, and the numbers of requests; older releases wrote the latter alone."""
    first, separator, spans = text.partition(':')
    if not separator:
        return 0, set(json.loads(text))
    bounds = [span.split('-') for span in spans.split(',') if span]
    return int(first), {number for begin, end in bounds for number in range(int(begin), int(end) + 1)}


def found_runs(to: Connection, which: str, values: dict[str, Any]) -> list[Kept]:
    """The runs that a query finds.

    :param which: its conditions, its order.
    """
    return [
        Kept(
            id,
            created,
            finished,
            state,
            owner,
            bool(cancel),
            json.loads(options),
            json.loads(summary),
            results,
            fence,
            age,
            parent,
        )
        for id, created, finished, state, owner, cancel, options, summary, results, fence, parent, age in to.rows(
            f'SELECT {_COLUMNS}, {to.now} - created FROM runs {which}', values
        )
    ]
