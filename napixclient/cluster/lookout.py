"""Looks whether there are workers, when requests get no answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Any

import gevent

from ..masking import mask
from .broker import FAILURES, leave
from .control import withdraw, workers
from .errors import ClusterError
from .lots import Lane
from .plan import Plan

__all__ = ['Lookout']

log: logging.Logger = logging.getLogger('napixclient.cluster')

#: Seconds without a word of a lane before somebody looks whether it has a worker.
UNHEARD_SECONDS = 5.0


class Lookout:
    """Asks the broker and the workers, over connections of its own.

    :param refuse: called with what makes the cluster of no use.
    """

    def __init__(self, plan: Plan, refuse: Callable[[ClusterError], None]) -> None:
        self._plan = plan
        self._refuse = refuse
        self._warned = self._asked = False

    def on_no_consumer(self) -> None:
        """A lane has no worker now: perhaps the workers of this zone count otherwise."""
        if not self._asked:
            self._asked = True
            gevent.spawn(self._ask_around)

    def look(self, lanes: Iterable[Lane]) -> None:
        """Warn once, when there is nothing to hear of a lane because it has no worker."""
        if not self._warned:
            silent = _silent(lanes)
            if silent:
                self._warned = True
                gevent.spawn(self._look_for_owners, silent)

    def withdraw(self, numbers: dict[str, list[int]]) -> None:
        """Tell workers to drop these requests."""
        self._unless_failed(lambda: withdraw(self._plan.broker, self._plan.run, numbers))

    def _ask_around(self) -> None:
        zone = self._plan.zone
        found = self._unless_failed(lambda: workers(self._plan.broker, zone.name))
        counts = sorted({one.get('lanes', 0) for one in found or ()})
        if counts and zone.lanes not in counts:
            self._refuse(
                ClusterError(
                    f'the workers of zone {zone.name!r} have {counts[0]} lanes, this pool has {zone.lanes}: '
                    'make it with the same number'
                )
            )

    def _look_for_owners(self, silent: list[Lane]) -> None:
        lane = self._unless_failed(partial(self._without_owner, silent))
        if lane is None:
            gevent.sleep(UNHEARD_SECONDS)
            self._warned = False
            return
        log.warning(
            'no worker has lane %d of zone %r: its requests wait; napix cluster status tells more',
            lane.number,
            self._plan.zone.name,
        )

    def _without_owner(self, lanes: list[Lane]) -> Lane | None:
        connection = self._plan.broker.connect()
        try:
            channel = connection.channel()
            for lane in lanes:
                if not channel.queue_declare(self._plan.zone.queue(lane.number), passive=True)[2]:
                    return lane
        finally:
            leave(connection)
        return None

    def _unless_failed(self, work: Callable[[], Any]) -> Any:
        """What it returns; ``None`` when the broker is away, for then nobody can be told anything."""
        try:
            return work()
        except FAILURES as exc:
            log.info('the broker at %s: %s', self._plan.broker.address, mask(repr(exc)))
            return None


def _silent(lanes: Iterable[Lane]) -> list[Lane]:
    now = monotonic()
    return [lane for lane in lanes if lane.out and now - lane.heard > UNHEARD_SECONDS]
