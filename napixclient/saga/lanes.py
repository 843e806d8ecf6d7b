"""Whose turn it is to be written down and sent: as many as the caps let be in flight, and one group ahead. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from .steps import Step

__all__ = ['Lanes']


class _Lane:
    """The steps to one host."""

    __slots__ = ('out', 'queue')

    def __init__(self) -> None:
        self.queue: deque[Step] = deque()
        self.out = 0  # handed to the pool, without an outcome


class Lanes:
    """The steps that wait to be sent, by host.

    :param cap_of: how many may be in flight to a host.
    :param limit: how many may be in flight to all.
    """

    def __init__(self, cap_of: Callable[[str], int], limit: int) -> None:
        self._cap_of = cap_of
        self._limit = limit
        self._lanes: dict[str, _Lane] = {}
        self._due: dict[str, None] = {}  # the hosts whose turn may have come
        self._out: dict[int, _Lane] = {}
        #: Numbers of the steps that had their turn, and so are written down.
        self.written: set[int] = set()

    def add(self, step: Step) -> None:
        """One more that waits."""
        host = step.request.host
        lane = self._lanes.get(host)
        if lane is None:
            lane = self._lanes[host] = _Lane()
        lane.queue.append(step)
        self._due[host] = None

    def turn(self) -> list[Step]:
        """Those whose turn has come: they are out from now on."""
        group: list[Step] = []
        for host in list(self._due):
            lane, cap = self._lanes[host], self._cap_of(host)
            if lane.out <= cap:
                room = min(2 * cap - lane.out, 2 * self._limit - len(self._out))
                for _ in range(min(room, len(lane.queue))):
                    step = lane.queue.popleft()
                    lane.out += 1
                    self._out[step.number] = lane
                    self.written.add(step.number)
                    group.append(step)
            if not lane.queue or len(self._out) < 2 * self._limit:
                del self._due[host]
        return group

    def left(self, step: Step) -> None:
        """It is out no more."""
        lane = self._out.pop(step.number, None)
        if lane is not None:
            lane.out -= 1
            if lane.queue:
                self._due[step.request.host] = None

    def take_back(self, is_unwanted: Callable[[Step], bool]) -> Iterator[Step]:
        """Remove those that are not to be sent any more."""
        for lane in self._lanes.values():
            if lane.queue:
                unwanted = [step for step in lane.queue if is_unwanted(step)]
                lane.queue = deque(step for step in lane.queue if not is_unwanted(step))
                yield from unwanted
