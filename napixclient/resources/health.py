"""Which hosts are set aside, and for how long. No I/O, no timers, the clock is given."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

__all__ = ['Health']

#: Seconds for which a host is set aside at first, and at most; each probe that fails doubles them.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
#: A pause may be shorter by this share, so that not all clients come back to a host at once.
JITTER = 0.2
#: The caller's clock may have been short, so it takes so many in a row that it ran out before a host is set aside.
LATE = 3


class Health:
    """Whether one host is ``up``, ``down`` (set aside) or ``probing``.

    A host that fails is set aside. When its pause is over, a single request is its probe: with an answer it is up
    again, without one it is set aside for twice as long.

    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = ('_clock', '_late', '_pause', '_recovered', '_until', 'dead', 'state')

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.state = 'up'
        #: Whether it is set aside because it could not be connected to; else it may be asked where no other is left.
        self.dead = False
        self._clock = clock
        self._pause = 0.0
        self._until = 0.0
        self._late = 0
        self._recovered = float('-inf')

    @property
    def up(self) -> bool:
        """Whether it takes its part of the traffic."""
        return self.state == 'up'

    @property
    def due(self) -> bool:
        """Whether the next request is to be its probe."""
        return self.state == 'down' and self._clock() >= self._until

    @property
    def out(self) -> bool:
        """Whether it is not to be asked at all."""
        return self.dead and not self.up and not self.due

    def claim(self) -> bool:
        """Make a request its probe; false when it is not due, or another one is."""
        if not self.due:
            return False
        self.state = 'probing'
        return True

    def abandon(self) -> None:
        """The probe ended without telling anything, by a kill perhaps: the next request is another."""
        if self.state == 'probing':
            self.state = 'down'

    def succeeded(self) -> None:
        """It answered."""
        if not self.up:
            self._recovered = self._clock()
        self.state = 'up'
        self.dead = False
        self._pause = 0.0
        self._late = 0

    def failed(self, began: float, *, probe: bool = False, dead: bool = False, late: bool = False) -> None:
        """A request to it failed.

        :param began: when, by the clock: what began before it recovered is old news.
        :param probe: whether the request was its probe.
        :param dead: whether it could not be connected to.
        :param late: whether it was only too late for its caller.
        """
        if not probe:
            if not self.up or began < self._recovered:
                return
            self._late = self._late + 1 if late else LATE
            if self._late < LATE:
                return
        self.dead = dead
        self.state = 'down'
        self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE
        self._until = self._clock() + self._pause * random.uniform(1 - JITTER, 1)
