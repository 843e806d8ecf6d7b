"""What all origins of a pool share: the slots, the clock, the dialer, the budget for retries; and how a pool ends."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from time import monotonic
from typing import cast

from gevent.hub import Hub, get_hub

from .clock import Clock
from .connect.connector import Connector
from .connect.dialer import Dialer
from .gevent_types import Loop, Watcher
from .http1.connection import Connection
from .http1.transport import Write
from .interrupting import hush, unhush
from .pacing import RetryBudget
from .settings import Settings
from .slots import Slots

__all__ = ['PoolCore', 'default_max_connections']

#: Seconds between two looks at what is idle, at most.
REAP_SECONDS = 5.0
#: And at least: the loop has other things to do.
SHORTEST_REAP_SECONDS = 0.01
MAX_CONNECTIONS = 1024


class PoolCore:
    """Belongs to the hub, and so to the thread, that made it.

    :param now: seconds, as ``time.monotonic``.
    :param connector: that of another pool, to connect as that does.
    """

    def __init__(
        self, settings: Settings, now: Callable[[], float] = monotonic, connector: Connector | None = None
    ) -> None:
        self.hub: Hub = get_hub()
        self.loop: Loop = cast(Loop, self.hub.loop)
        self.settings = settings
        self.now = now
        self.closed: bool = False
        #: Requests asked for so far: what the retry budget is a share of.
        self.requests = 0
        limit = settings.max_connections or default_max_connections()
        self.slots: Slots[Connection] = Slots(limit, self.hub, self.start_reaping, now)
        self.dialer: Dialer = Dialer(self.loop, connector or Connector(settings))
        self._is_borrowed = connector is not None
        budget = settings.retry_budget
        self._budget = None if budget is None else RetryBudget(*budget)
        self.clock: Clock = Clock(self.loop, self.slots.open, self.dialer.on_loop, self._mark, now)
        self.dialer.start_clock = self.clock.start
        #: Called now and then; each says whether there is more for it to do later.
        self.reapers: list[Callable[[], bool]] = [self._reap_slots]
        #: Goes around what writes to the socket of each new connection; it may refuse with an ``OSError``.
        self.guard: Callable[[Write], Write] | None = None
        seconds = min(REAP_SECONDS, max(settings.idle_seconds / 4, SHORTEST_REAP_SECONDS))
        self._reaper: Watcher = self.loop.timer(seconds, seconds, ref=False)
        hush(self.hub)

    def check_thread(self) -> None:
        """:raises RuntimeError: when the pool is used from another thread than the one that made it."""
        if get_hub() is not self.hub:
            raise RuntimeError(
                'a pool belongs to the thread that made it; make one in each thread, or share a '
                'napixclient.threads.SharedPool (asyncio: napixclient.aio.AsyncPool): see "From threads and asyncio"'
            )

    def refuse(self) -> None:
        """:raises RuntimeError: that says why no request can be made: wrong thread, or closed."""
        self.check_thread()
        raise RuntimeError('the pool is closed')

    def may_retry(self) -> bool:
        """Take one retry out of the budget; false when it is empty."""
        return self._budget is None or self._budget.take(self.requests)

    def _mark(self) -> None:
        if self._budget is not None:
            self._budget.mark(self.requests)

    # -- what is idle ----------------------------------------------------------------------------------------------

    def start_reaping(self) -> None:
        """Look at what is idle from now on; stops by itself when nothing is."""
        if not self.slots.reaped and not self.closed:
            self.slots.reaped = True
            self._reaper.start(self.reap)

    def reap(self) -> None:
        """Close and forget what has been idle for long."""
        left = [reaper() for reaper in self.reapers]  # each is asked
        if not any(left):
            self.slots.reaped = False
            self._reaper.stop()

    def _reap_slots(self) -> bool:
        self.slots.reap(self.settings.idle_seconds)
        return not self.slots.at_rest

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is idle and stop the clocks."""
        if self.closed:
            return
        self.closed = True
        self._close_connector()  # before the connections, which leave their sessions to it
        self.slots.close()
        for timer in (self.clock.timer, self._reaper):
            timer.stop()
            timer.close()
        unhush(self.hub)

    def leave(self) -> None:
        """Nobody can ask for anything any more: close what is idle, now and later. What is in flight goes on."""
        if not self.closed:
            self._close_connector()
            self.slots.keep_none()
            self.clock.sweep()  # which stops where nothing is in flight
            self._reaper.stop()
            self.slots.reaped = True  # for nobody has to
            unhush(self.hub)

    def _close_connector(self) -> None:
        if not self._is_borrowed:
            self.dialer.connector.close()

    def clear(self) -> None:
        """In the child of a fork: what is open and under way is the parent's."""
        self.slots.clear()
        self.dialer.clear()
        self.clock.clear()


def default_max_connections() -> int:
    """The smaller of 1,024 and three quarters of the descriptors that the process may still open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    try:
        used = len(os.listdir('/dev/fd'))
    except OSError:
        used = 16
    return max(1, min(MAX_CONNECTIONS, (soft - used) * 3 // 4))
