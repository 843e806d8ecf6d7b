"""How many hosts at a time, and how many of them may fail. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ..checks import is_whole

__all__ = ['Rollout', 'batches', 'is_too_many', 'share_of']

_T = TypeVar('_T')
_is_percentage = re.compile(r'([0-9]{1,3}(?:\.[0-9]+)?) ?%').fullmatch


class Rollout(NamedTuple):
    """The outcomes of requests that were sent batch by batch.

    ``outcomes`` has a :class:`Response` or a falsy :class:`HTTPError` for each, in the order of the requests.
    ``not_started`` is empty: :class:`RollingError` has the requests that were not sent.
    """

    outcomes: list[Any]
    not_started: list[Any]


def share_of(given: object, name: str, least: int) -> tuple[float, bool]:
    """Read a number of hosts or a percentage such as ``'10%'``; return the number, and whether it is a percentage.

    :param least: the smallest number that is allowed.
    :raises ValueError: if it is neither.
    """
    if isinstance(given, str):
        match = _is_percentage(given.strip())
        if match is not None and (0 < float(match[1]) <= 100 or (float(match[1]) == 0 and not least)):
            return float(match[1]), True
    elif is_whole(given) and given >= least:
        return given, False
    raise ValueError(f"{name} is a whole number of at least {least} or a percentage such as '10%', not {given!r}")


def batches(requests: Sequence[_T], serial: object) -> Iterator[Sequence[_T]]:
    """The requests in batches; a percentage is that share of all requests, rounded down, but at least one."""
    number, is_percentage = share_of(serial, 'serial', 1)
    size = max(int(number * len(requests) / 100), 1) if is_percentage else int(number)
    return (requests[start : start + size] for start in range(0, len(requests), size))


def is_too_many(failed: int, batch: int, max_fail: object) -> bool:
    """Whether more requests failed than may; a percentage is that share of the batch."""
    number, is_percentage = share_of(max_fail, 'max_fail', 0)
    return failed * 100 > number * batch if is_percentage else failed > number
