"""Chooses the next request: hosts take turns, and none exceeds its cap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple

from gevent.event import Event

from ..messages import Request
from .targets import Targets

__all__ = ['Bounds', 'Schedule']


class Bounds(NamedTuple):
    """The rate and the times of a run; ``None`` is no bound."""

    rate: float | None = None  # requests a second in all
    end: float | None = None  # ``monotonic()`` after which no request begins or goes on
    enough: float | None = None  # ``monotonic()`` after which no request begins; those under way go on
    timeout: float | None = None  # seconds of each request, if they differ from those of the pool


class Schedule:
    """The requests of a run, for :meth:`ClientPool.stream`, which draws them in a greenlet of its own.

    A request is created only when its host may receive it, so that it does not time out in a queue.

    :param cap: requests in flight to one host at most.
    :param ordered: give them in the order of their numbers, however many a host has in flight.
    :param bounds: its rate and its times.
    :param skip: ``(place, turn)`` -> whether to leave this request out.
    """

    def __init__(
        self,
        targets: Targets,
        cap: int,
        *,
        ordered: bool = False,
        bounds: Bounds | None = None,
        skip: Callable[[int, int], bool] | None = None,
    ) -> None:
        self.targets = targets
        #: Each of them is called with each request before it is sent.
        self.tells: list[Callable[[Request], None]] = []
        #: Requests that were handed out, and how many of them have ended.
        self.asked: int = 0
        self.ended: int = 0
        self.skipped: int = 0
        #: Whether the time was up before the last request began.
        self.late: bool = False
        self._cap = cap
        self._ordered = ordered
        self._rate, self._end, self._enough, self._timeout = bounds or Bounds()
        self._skip = skip
        self._under_way = [0] * len(targets.hosts)
        self._next = [0] * len(targets.hosts)  # turn
        self._ready: deque[int] = deque()
        self._waiting: set[int] = set()  # those with requests left, at their cap
        self._change = Event()
        self._stopped = False

    def __iter__(self) -> Iterator[Request]:
        due, make = monotonic(), self.targets.request
        for place, turn in self._in_order() if self._ordered else self._by_turns():
            if self._skip is not None and self._skip(place, turn):
                self._under_way[place] -= 1
                self.skipped += 1
                continue
            if self._rate is not None:
                due = max(due, monotonic() - 1 / self._rate)
                while not self._stopped and not self._over() and not self._has_enough() and monotonic() < due:
                    self._pause(due)
                due += 1 / self._rate
            if self._end is not None and self._over() or self._stopped or self._has_enough():
                return
            request = make(place, turn, self._timeout if self._end is None else self._time_left())
            self.asked += 1
            for tell in self.tells:
                tell(request)
            yield request

    def _pause(self, until: float) -> None:
        self._change.clear()
        self._change.wait(min(until, self._end or until, self._enough or until) - monotonic())

    def _over(self) -> bool:
        if self._end is not None and monotonic() >= self._end:
            self.late = True
        return self.late

    def _has_enough(self) -> bool:
        return self._enough is not None and monotonic() >= self._enough

    def _time_left(self) -> float:
        assert self._end is not None
        left = max(self._end - monotonic(), 0.001)
        return left if self._timeout is None else min(left, self._timeout)

    # -- who is next -----------------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[range]:
        """The places of each batch; a batch begins when the last request of the previous one has ended."""
        count, size = len(self.targets.hosts), self.targets.serial
        for first in range(0, count, size):
            while not self._stopped and self.ended < self.asked:
                self._wait()
            yield range(first, min(first + size, count))

    def _in_order(self) -> Iterator[tuple[int, int]]:
        for batch in self._batches():
            for place, turn in self.targets.order(batch):
                self._under_way[place] += 1
                self._next[place] = turn + 1
                yield place, turn

    def _by_turns(self) -> Iterator[tuple[int, int]]:
        ready, under_way, upcoming, turns = self._ready, self._under_way, self._next, self.targets.turns
        for batch in self._batches():
            ready.extend(batch)
            while ready or self._waiting:
                if not ready:
                    if self._stopped:
                        return
                    self._wait()
                    continue
                place = ready.popleft()
                turn = upcoming[place]
                upcoming[place] = turn + 1
                under_way[place] += 1
                yield place, turn
                if turn + 1 < turns(place):
                    if under_way[place] < self._cap:
                        ready.append(place)
                    else:
                        self._waiting.add(place)

    def _wait(self) -> None:
        self._change.clear()
        self._change.wait(None if self._end is None else max(self._end - monotonic(), 0))
        if self._over():
            self._stopped = True

    # -- what the consumer reports ---------------------------------------------------------------------------------

    def ended_at(self, place: int) -> None:
        """A request to this host has ended."""
        self.ended += 1
        self._under_way[place] -= 1
        if place in self._waiting:
            self._waiting.discard(place)
            self._ready.append(place)
        self._change.set()

    def stop(self) -> None:
        """Begin no more requests."""
        self._stopped = True
        self._change.set()

    # -- progress -------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """The hosts whose requests have not all ended."""
        return [
            host
            for place, host in enumerate(self.targets.hosts)
            if self._under_way[place] or self._next[place] < self.targets.turns(place)
        ]

    @property
    def unasked(self) -> int:
        """Requests that have not begun."""
        return len(self.targets) - self.asked - self.skipped
