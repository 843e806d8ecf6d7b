"""The lease of a run: the right to send its requests while no other instance may take the run over.

Other instances judge the lease by the database's clock, and take the run after ``LEASE_SECONDS`` without a renewal. The
holder counts from the moment when it *asked* for the renewal, which is earlier, by a monotonic clock, and stops
``MARGIN_SECONDS`` before the end. A process that was suspended finds its lease over when it writes the next byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

__all__ = ['LEASE_SECONDS', 'RENEW_SECONDS', 'Lease', 'LeaseOver', 'clock']

#: Seconds without a renewal after which a run may be taken over, by the database's clock.
LEASE_SECONDS = 20.0
#: Seconds by which the holder stops earlier, for clocks that drift, and for data that the kernel still holds.
MARGIN_SECONDS = 5.0
#: Seconds between two renewals.
RENEW_SECONDS = 1.0
#: A clock that also counts while the machine sleeps, if there is one.
_CLOCK = getattr(time, 'CLOCK_BOOTTIME', time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds of a monotonic clock."""
    return time.clock_gettime(_CLOCK)


class LeaseOver(OSError):
    """Nothing was written, as another instance may have taken the run."""


class Lease:
    """Whether a run may send.

    :param asked: :func:`clock` before the store was asked for the run; infinite if the store is not shared.
    """

    __slots__ = ('_lost', 'until')

    def __init__(self, asked: float) -> None:
        self._lost = False
        #: When it ends, by :func:`clock`.
        self.until: float = asked + LEASE_SECONDS - MARGIN_SECONDS

    @property
    def holds(self) -> bool:
        """Whether no other instance can have taken the run yet."""
        return clock() < self.until

    def renew(self, asked: float) -> None:
        """The store has confirmed that the run is still ours.

        :param asked: :func:`clock` before the store was asked.
        """
        if not self._lost:
            self.until = max(self.until, asked + LEASE_SECONDS - MARGIN_SECONDS)

    def lose(self) -> None:
        """Another instance has the run, for good."""
        self._lost = True
        self.until = -inf

    def guard(self, send: Callable[[bytes | memoryview], int]) -> Callable[[bytes | memoryview], int]:
        """A function that writes to a socket only while the lease holds; it checks right before the system call."""
        gettime, which = time.clock_gettime, _CLOCK

        def guarded(data: bytes | memoryview) -> int:
            if gettime(which) >= self.until:
                raise LeaseOver('the lease of the run is over')
            return send(data)

        return guarded
