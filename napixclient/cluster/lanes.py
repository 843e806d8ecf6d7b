"""Lanes: each origin belongs to one, and each lane to one worker, so that one pool keeps the cap of an origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b

from ..checks import whole_number
from ..messages import parse_origin

__all__ = ['Zone', 'folded']

#: Lanes of a zone, and at most: each is a queue that the broker replicates.
LANES = 64
MOST_LANES = 4096
#: The task of a batch, as Celery knows it.
TASK = 'napix.fan_out'
#: Times that a batch is delivered: it is refused at the last. Each worker that had it before has died, or was stopped
#: while it only had the batch ahead, which RabbitMQ counts as well.
DELIVERIES = 8
#: Seconds for which the broker keeps the replies of a run that nobody fetches.
REPLIES_KEPT = 600
_is_name = re.compile(r'[0-9A-Za-z_-]{1,64}').fullmatch
_MASK = (1 << 64) - 1


class Zone:
    """The lanes of one cluster, and the names of their queues.

    :param name: clusters that share a broker differ in it.
    :param lanes: how many there are. It is part of the names: who counts otherwise shares no lane.
    :raises ValueError: for a name or a number that makes no sense.
    """

    def __init__(self, name: str = 'default', lanes: int = LANES) -> None:
        if not isinstance(name, str) or not _is_name(name):
            raise ValueError(f'zone is a name of letters, digits, - and _, 64 at most, not {name!r}')
        self.name = name
        self.lanes: int = whole_number(lanes, 'lanes')
        if lanes > MOST_LANES:
            raise ValueError(f'lanes is {MOST_LANES} at most, not {lanes}')
        #: The lane of a host as its caller writes it.
        self.lane_of: Callable[[str], int] = lru_cache(65536)(self._lane_of)

    def _lane_of(self, host: str) -> int:
        origin = parse_origin(host)
        text = f'{origin.scheme}://{origin.host}:{origin.port}'
        return jump(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), 'big'), self.lanes)

    def queue(self, lane: int) -> str:
        """The queue of a lane."""
        return f'napix.{self.name}.{self.lanes}.{lane}'

    @property
    def dead_letters(self) -> str:
        """The queue of batches that no worker survives, for somebody to look at."""
        return f'napix.{self.name}.{self.lanes}.dead'

    @property
    def arguments(self) -> dict[str, object]:
        """How the queue of a lane is declared, by workers and submitters alike."""
        return {
            'x-queue-type': 'quorum',
            'x-single-active-consumer': True,
            'x-delivery-limit': DELIVERIES,
            'x-dead-letter-exchange': '',
            'x-dead-letter-routing-key': self.dead_letters,
        }

    def owned(self, number: int, of: int) -> list[int]:
        """The lanes of the worker with this number, of so many."""
        return list(range(number, self.lanes, of))


def reply_queue(run: str) -> str:
    """The queue of the outcomes of a run."""
    return f'napix.reply.{run}'


def jump(key: int, buckets: int) -> int:
    """Jump consistent hash (Lamping and Veach, 2014): which of so many buckets a key of 64 bits belongs to."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & _MASK
        following = int((bucket + 1) * (1 << 31) / ((key >> 33) + 1))
    return bucket


def folded(lanes: Iterable[int]) -> str:
    """Lanes as people read them: ``0,3,6`` or ``0-63``."""
    runs: list[list[int]] = []
    for lane in sorted(lanes):
        if runs and lane == runs[-1][1] + 1:
            runs[-1][1] = lane
        else:
            runs.append([lane, lane])
    return ','.join(str(first) if first == last else f'{first}-{last}' for first, last in runs)
