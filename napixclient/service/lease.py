"""The right to send the requests of a run, where others would take the run over.

Others judge a lease by the database's clock, and take the run after `LEASE_SECONDS` without a renewal. Whoever holds it
counts from when it *asked* for the renewal, which is earlier, by a clock that nobody sets; and stops `MARGIN_SECONDS`
before. A process that stood still finds its lease over at the next byte that it wants to write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any

__all__ = ['LEASE_SECONDS', 'RENEW_SECONDS', 'Lease', 'LeaseOver', 'clock']

#: Seconds without a renewal after which a run may be taken over, by the database's clock.
LEASE_SECONDS = 20.0
#: Seconds before that at which its holder stops: for clocks that do not run alike, and for what the kernel still holds.
MARGIN_SECONDS = 5.0
#: Seconds between two renewals.
RENEW_SECONDS = 1.0
#: Counts while the machine sleeps, too, where there is such a clock.
_CLOCK = getattr(time, 'CLOCK_BOOTTIME', time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds, of a clock that nobody sets."""
    return time.clock_gettime(_CLOCK)


class LeaseOver(OSError):
    """Nothing was written: another instance may run this by now."""


class Lease:
    """Whether a run may send.

    :param asked: of :func:`clock`, before the store was asked for the run; infinite where the store is nobody else's.
    """

    __slots__ = ('_lost', 'until')

    def __init__(self, asked: float) -> None:
        self._lost = False
        #: Of :func:`clock`.
        self.until: float = asked + LEASE_SECONDS - MARGIN_SECONDS

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken the run yet."""
        return clock() < self.until

    def renew(self, asked: float) -> None:
        """The store has said that the run is ours still.

        :param asked: of :func:`clock`, before the store was asked.
        """
        if not self._lost:
            self.until = max(self.until, asked + LEASE_SECONDS - MARGIN_SECONDS)

    def lose(self) -> None:
        """The run is another's, for good."""
        self._lost = True
        self.until = -inf

    def guard(self, send: Callable[[Any], int]) -> Callable[[Any], int]:
        """What writes to a socket, but only while the lease holds: looked at last of all before the kernel is asked."""
        gettime, which = time.clock_gettime, _CLOCK

        def guarded(data: Any) -> int:
            if gettime(which) >= self.until:
                raise LeaseOver('the lease of the run is over')
            return send(data)

        return guarded
