"""The options of sagas and their steps: their types, what each means, and how they are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from .._options import lists
from ..checks import is_number, is_whole, true_or_false
from ..messages import CallOptions, ContentOptions, Fields, Params
from .core import StepParts
from .undos import Find

__all__ = [
    'OF_STEP',
    'ReplicaStepOptions',
    'SagaStats',
    'StepOptions',
    'checked_seconds',
    'checked_statuses',
    'step_parts',
]


class SagaStats(TypedDict):
    """How many steps are in each state, and how many there are."""

    steps: int
    queued: int
    running: int
    done: int
    failed: int
    unknown: int
    dropped: int
    undoing: int
    undone: int
    not_undone: int


@lists(CallOptions, ContentOptions)
class StepOptions(CallOptions, ContentOptions, total=False):
    """The options of a step, beside its request and its ``undo``.

    :param find: a request, as a tuple or a :class:`napixclient.Request`, whose answer says whether the step was done
        where the step itself was not answered: 2xx it was, 404 and 410 it was not. Default: ``None``.
    :param idempotency: ``bool``, whether the server knows the step again by its ``Idempotency-Key``: then it is tried
        again where it was not answered. Default: ``False``.
    :param undone_on: ``int`` statuses of an undo's answer that count as done, beside those below 400, 404 and 410.
        Default: those of the saga.
    :param undo_timeout: ``float``, seconds for the undo over all its tries, and as much for ``find``. Default: that of
        the saga.
    :param params: a mapping or pairs to add to the query, or a query that is written already. Default: ``None``.
    :param tag: anything; it comes back as ``answer.request.tag``. Default: ``None``.
    :param stream: ``bool``, hand the answer out at its head, to be read in pieces. Default: ``False``.
    """

    find: Find | None
    idempotency: bool
    undone_on: Iterable[int]
    undo_timeout: float
    params: Params | None
    tag: object
    stream: bool


@lists(CallOptions, ContentOptions)
class ReplicaStepOptions(CallOptions, ContentOptions, total=False):
    """The options of steps to the hosts of a mapping of resources, beside their requests and their ``undo``.

    :param undone_on: ``int`` statuses of an undo's answer that count as done, beside those below 400, 404 and 410.
        Default: those of the saga.
    :param undo_timeout: ``float``, seconds for each undo over all its tries. Default: that of the saga.
    :param headers: a mapping or pairs of header fields. Default: ``None``.
    :param params: a mapping or pairs to add to the query, or a query that is written already. Default: ``None``.
    :param tag: anything; it comes back as ``answer.request.tag``. Default: ``None``.
    """

    undone_on: Iterable[int]
    undo_timeout: float
    headers: Fields | None
    params: Params | None
    tag: object


#: The options that are the step's own; the others are those of its request.
OF_STEP = frozenset(['find', 'idempotency', 'undone_on', 'undo_timeout'])


def step_parts(undo: object, options: Mapping[str, object]) -> StepParts:
    """What the options of a step say.

    :raises ValueError: for a value that makes no sense.
    """
    statuses, seconds = options.get('undone_on'), options.get('undo_timeout')
    return StepParts(
        undo,
        options.get('find'),
        true_or_false(options.get('idempotency', False), 'idempotency'),
        None if statuses is None else checked_statuses(statuses),
        None if seconds is None else checked_seconds(seconds, 'undo_timeout'),
    )


def checked_statuses(statuses: object) -> frozenset[int]:
    """Read ``undone_on``.

    :raises ValueError: for what is no status.
    """
    found = [statuses] if is_whole(statuses) else list(statuses) if isinstance(statuses, Iterable) else [None]
    for status in found:
        if not is_whole(status) or not 300 <= status < 600:
            raise ValueError(f'undone_on has statuses such as 409, not {status!r}')
    return frozenset(found)


def checked_seconds(seconds: object, name: str) -> float:
    """Read a number of seconds.

    :raises ValueError: for what is none.
    """
    if not is_number(seconds) or not seconds > 0:
        raise ValueError(f'{name} is a number of seconds above 0, not {seconds!r}')
    return seconds
