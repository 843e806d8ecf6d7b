"""Which hosts are set aside, and for how long. No I/O, no timers; the clock is handed in."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

__all__ = ['Health']

#: Seconds for which a host is set aside at first, and at most; each probe that fails doubles them.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
#: A pause is shortened by up to this share, so that clients do not all come back to a host at once.
JITTER = 0.2
#: So many requests in a row must run out of time before a host is set aside: the caller's clock may just be short.
LATE = 3


class Health:
    """Whether one host is ``up``, ``down`` (set aside) or ``probing``.

    A host that fails is set aside. When its pause is over, a single request is its probe: if it is answered, the host
    is up again; if not, the host is set aside for twice as long.

    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = ('_clock', '_late', '_pause', '_recovered', '_until', 'dead', 'state')

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.state: str = 'up'
        #: Whether no connection to the host could be made. A host that is only ``down`` is asked if no other is left.
        self.dead: bool = False
        self._clock = clock
        self._pause = 0.0
        self._until = 0.0
        self._late = 0
        self._recovered = float('-inf')

    @property
    def up(self) -> bool:
        """Whether the host takes its share of the traffic."""
        return self.state == 'up'

    @property
    def due(self) -> bool:
        """Whether the next request is to be the host's probe."""
        return self.state == 'down' and self._clock() >= self._until

    @property
    def out(self) -> bool:
        """Whether the host must not be asked at all."""
        return self.dead and not self.up and not self.due

    def claim(self) -> bool:
        """Make a request the probe; false if none is due, or another request is the probe."""
        if not self.due:
            return False
        self.state = 'probing'
        return True

    def probe_lost(self) -> None:
        """The probe ended without an outcome, perhaps by a kill: the next request is the probe."""
        if self.state == 'probing':
            self.state = 'down'

    def succeeded(self) -> None:
        """The host answered."""
        if not self.up:
            self._recovered = self._clock()
        self.state = 'up'
        self.dead = False
        self._pause = 0.0
        self._late = 0

    def failed(self, began: float, *, probe: bool = False, dead: bool = False, late: bool = False) -> None:
        """A request to the host failed.

        :param began: when it began, by the clock: a request older than the host's recovery says nothing new.
        :param probe: whether the request was the probe.
        :param dead: whether no connection could be made.
        :param late: whether the host was only too late for the caller's clock.
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
