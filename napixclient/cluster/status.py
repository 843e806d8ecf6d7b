"""How a cluster fares: its lanes, who has them, and what waits. It takes no key."""

from __future__ import annotations

from collections import Counter
from time import time
from typing import Any, NamedTuple

from amqp.exceptions import NotFound

from .broker import Broker, leave
from .control import workers
from .lanes import Zone, folded

__all__ = ['LaneState', 'Status', 'look']


class LaneState(NamedTuple):
    """One lane: who has it, and what waits in it.

    ``depth`` are batches that the broker has, ``oldest`` the seconds since the oldest that a worker has in hand was
    published; ``None`` where nobody knows.
    """

    lane: int
    owner: str | None
    depth: int
    oldest: float | None


class Status(NamedTuple):
    """What was found of a zone."""

    zone: str
    lanes: list[LaneState]
    workers: list[dict[str, Any]]
    dead: int
    problems: list[str]

    @property
    def unowned(self) -> list[int]:
        """Lanes that have no worker."""
        return [state.lane for state in self.lanes if state.owner is None]

    def document(self) -> dict[str, object]:
        """All of it, as JSON."""
        return {
            'zone': self.zone,
            'lanes': [state._asdict() for state in self.lanes],
            'workers': self.workers,
            'dead': self.dead,
            'unowned': self.unowned,
            'problems': self.problems,
        }

    def lines(self) -> list[str]:
        """All of it, for people."""
        lines = [f'zone {self.zone}: {len(self.lanes)} lanes, {len(self.workers)} workers']
        for one in self.workers:
            own = [state for state in self.lanes if state.owner == one['name']]
            ages = [state.oldest for state in own if state.oldest is not None]
            oldest = f'{max(ages):.1f} s' if ages else '-'
            lines.append(
                f'  {one["name"]}: lanes {folded(state.lane for state in own) or "none"}, '
                f'{sum(state.depth for state in own)} batches wait, {one["batches"]} under way, oldest {oldest}, '
                f'{one["rate"]:g} requests/s, {one["done"]} in all'
            )
        if self.unowned:
            waiting = sum(state.depth for state in self.lanes if state.owner is None)
            lines.append(f'  no worker: lanes {folded(self.unowned)}, {waiting} batches wait')
        if self.dead:
            lines.append(f'  dead letters: {self.dead} batches that no worker survived')
        return [*lines, *(f'  {problem}' for problem in self.problems)]


def look(broker: Broker, zone: Zone) -> Status:
    """Look at a zone.

    :raises OSError, AMQPError: when the broker cannot be used.
    """
    found = sorted(workers(broker, zone.name), key=lambda one: (one['number'], str(one['name'])))
    same = [one for one in found if one['lanes'] == zone.lanes]
    connection = broker.connect()
    try:
        counts = {lane: _count(connection, zone.queue(lane)) for lane in range(zone.lanes)}
        dead = _count(connection, zone.dead_letters)[0]
    finally:
        leave(connection)
    now = time()
    states = []
    for lane, (depth, consumers) in counts.items():
        owners = [one for one in same if lane in one['owns']]
        # Of several the broker knows which is active; who has something in hand is.
        owner = max(owners, key=lambda one: (one['batches'], one['done']), default=None)
        sent = None if owner is None else owner['oldest'].get(str(lane))
        name = None if not consumers else 'somebody' if owner is None else str(owner['name'])
        states.append(LaneState(lane, name, depth, None if sent is None else max(now - sent, 0)))
    return Status(zone.name, states, found, dead, _problems(found, zone))


def _count(connection: Any, queue: str) -> tuple[int, int]:
    """The messages that wait in a queue, and its consumers; none where there is no such queue."""
    channel = connection.channel()
    try:
        _, depth, consumers = channel.queue_declare(queue, passive=True)
    except NotFound:
        return 0, 0
    channel.close()
    return depth, consumers


def _problems(found: list[dict[str, Any]], zone: Zone) -> list[str]:
    """What makes no sense, each in a line."""
    problems = []
    numbers = Counter((one['number'], one['of'], one['lanes']) for one in found)
    for (number, of, _), count in sorted(numbers.items()):
        if count > 1:
            problems.append(f'{count} workers have --number {number} --of {of}: one of them works, the others stand by')
    for name, option in ('of', '--of'), ('lanes', '--lanes'), ('simultaneous', '--simultaneous'):
        values = sorted({one[name] for one in found})
        if len(values) > 1:
            problems.append(f'the workers differ in {option}: {", ".join(map(str, values))}; give all of them the same')
    if found and all(one['lanes'] != zone.lanes for one in found):
        problems.append(f'the workers have {found[0]["lanes"]} lanes, not {zone.lanes}: say so with --lanes')
    return problems
