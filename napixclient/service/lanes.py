"""Which requests of a run are to be sent next.

What is handed out counts as sent from then on, if only nobody knows better. So no more is handed out than the pool can
have in flight, and what keeps it busy until the next group has been recorded.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from .submission import Item

__all__ = ['Lanes']

#: Requests of one host that are handed out beside those in flight: at least, and at most.
FEWEST_SPARE = 1
MOST_SPARE = 512
#: Requests that are done at least before a host is given less.
FEWEST_TURNED = 8
_MANY = 1 << 30


class _Lane:
    """The requests of one host."""

    __slots__ = ('fresh', 'highest', 'items', 'least', 'limit', 'out', 'round', 'spare', 'taken', 'turned', 'waits')

    def __init__(self) -> None:
        self.items: list[Item] = []  # the next one last
        self.out = 0  # handed out, and not yet done
        self.fresh = 0  # of those, in the group that is being recorded
        self.highest = 0  # the others, when they were most,
        self.least = _MANY  # and when they were fewest
        self.turned = 0  # done since then
        self.spare = FEWEST_SPARE
        self.limit = 0  # how many may be out
        self.waits = True  # whether it stands in the queue for its turn
        self.round = 0  # the latest in which it had its turn,
        self.taken = 0  # and in which something was taken

    def take(self, count: int) -> list[Item]:
        """The next ones."""
        self.out += count
        self.fresh += count
        taken = self.items[: -count - 1 : -1]
        del self.items[-count:]
        return taken

    def adapt(self, simultaneous: int) -> None:
        """Learn from what the pool had left, when it had least, how much that should have been."""
        self.limit = simultaneous + self.spare
        if self.least < simultaneous:
            self.spare = min(self.spare * (4 if self.spare < 16 else 2), MOST_SPARE)
        elif self.turned < max(self.spare // 2, FEWEST_TURNED):
            return  # too few to tell
        else:  # never more than twice of what was used up at most
            self.spare = max(min(self.spare, 2 * (self.highest - self.least)), FEWEST_SPARE)
        self.highest, self.least, self.turned = self.out, _MANY, 0
        self.limit = simultaneous + self.spare


class Lanes:
    """Hands the requests of a run out, in groups: those of each host in their order, hosts in turn.

    :param items: those without a ``request`` are passed over.
    :param simultaneous: how many of a host may be in flight.
    :param most: how many may be handed out and not yet done.
    :param ahead: how far a request may be ahead of the first that has no result, where the order matters.
    """

    def __init__(self, items: Iterable[Item], simultaneous: int, most: int, ahead: int | None) -> None:
        #: Tells how many of a host may be in flight.
        self.simultaneous: Callable[[str], int] = lambda host: simultaneous
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)
        #: How many may be handed out and not yet done.
        self.most = most
        self._ahead = ahead or 0
        self._out = 0
        self._round = 0
        self._fresh: list[_Lane] = []  # those that have a part in the group that is being recorded
        self._positions: dict[int, int] = {}  # number -> its position, where the order matters
        self._first = 0
        self._early: list[tuple[int, str]] = []  # a heap: what is too far ahead, and its host
        for position, item in enumerate(items):
            if item.given is not None:
                self._lanes[item.host].items.append(item)
                if ahead is not None:
                    self._positions[item.number] = position
        for lane in self._lanes.values():
            lane.items.reverse()
        self._ready = deque(self._lanes.items())

    def take(self) -> list[Item]:
        """The next group, perhaps empty."""
        group: list[Item] = []
        self._fresh = fresh = []
        self._round += 1
        ready, early, limit = self._ready, self._early, self._first + self._ahead
        while early and early[0][0] < limit:
            host = heappop(early)[1]
            ready.append((host, self._lanes[host]))
        while ready and self._out < self.most:
            host, lane = entry = ready.popleft()
            if self._positions and self._positions[lane.items[-1].number] >= limit:
                heappush(early, (self._positions[lane.items[-1].number], host))
                continue
            if lane.round != self._round:
                lane.round = self._round
                lane.adapt(self.simultaneous(host))
            # As many at once as leave the others theirs; where the order matters, one, as each has its position.
            share = 1 if self._positions else max((self.most - self._out) // (len(ready) + 1), 1)
            count = min(lane.limit - lane.out, len(lane.items), share)
            lane.waits = False
            if count > 0:
                if lane.taken != self._round:
                    lane.taken = self._round
                    fresh.append(lane)
                group += lane.take(count)
                self._out += count
                if lane.items:
                    lane.waits = True
                    ready.append(entry)
        return group

    def recorded(self) -> None:
        """The group that was taken last is with the pool."""
        for lane in self._fresh:
            lane.fresh = 0
            if lane.out > lane.highest:
                lane.highest = lane.out
        self._fresh = []

    def done(self, item: Item) -> None:
        """A request that was handed out has its outcome."""
        lane = self._lanes[item.host]
        lane.out -= 1
        self._out -= 1
        lane.turned += 1
        if lane.out - lane.fresh < lane.least:
            lane.least = lane.out - lane.fresh
        if lane.items and not lane.waits:
            lane.waits = True
            self._ready.append((item.host, lane))

    def released(self) -> None:
        """The first in order has its result: where the order matters, another may be handed out."""
        self._first += 1

    def close(self) -> None:
        """Hand nothing more out."""
        self._ready.clear()
        self._early.clear()
        for lane in self._lanes.values():
            lane.items.clear()
