"""The directory of a pool: the pools of its origins, made on first use, forgotten when nothing is lost with them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

from gevent.hub import get_hub

from ..authenticators import Authenticator
from ..authenticators.fetching import Way
from ..messages import Origin, Request, Response, parse_origin
from .connect.dialer import Dialer
from .core import PoolCore
from .origin_pool import OriginPool
from .settings import Settings

__all__ = ['Origins', 'fetch_over']

#: Origins below which nobody looks for those that can be forgotten.
_FEW = 1024


class Origins:
    """The origins that are asked through one core.

    :param make: makes the pool of an origin, with how its caller writes it, and what gives the pools of others.
    """

    def __init__(self, core: PoolCore, make: Callable[[Origin, str, Callable[[str], OriginPool]], OriginPool]) -> None:
        self.core = core
        #: The pools, in the order in which they were first asked.
        self.pools: dict[Origin, OriginPool] = {}
        #: The same, by what callers write.
        self.by_host: dict[str, OriginPool] = {}
        self._make = make
        self._kept: set[Origin] = set()  # that are never forgotten
        self._few = _FEW
        self._prune_at = _FEW
        core.reapers.append(self.prune)
        _all.add(self)

    @classmethod
    def of_strangers(cls, core: PoolCore, simultaneous: int | str) -> Origins:
        """Those that only redirects lead to, beside what is added: credentials do not follow."""

        def make(origin: Origin, host: str, pool_for: Callable[[str], OriginPool]) -> OriginPool:
            return OriginPool(core, origin, host, simultaneous, None, pool_for)

        origins = cls(core, make)
        origins._few = origins._prune_at = 0  # there is no telling how many it will be
        return origins

    @classmethod
    def of_peers(cls, core: PoolCore, simultaneous: int | str, authenticator: Authenticator | None) -> Origins:
        """Those that a pool asks, which all have the same cap and the same credentials."""

        def make(origin: Origin, host: str, pool_for: Callable[[str], OriginPool]) -> OriginPool:
            return OriginPool(core, origin, host, simultaneous, authenticator, pool_for)

        return cls(core, make)

    def pool_for(self, host: str) -> OriginPool:
        """The pool of a host; equal origins share one.

        :raises ValueError: for what is no host.
        """
        known = self.by_host.get(host)
        if known is not None:
            return known
        origin = parse_origin(host)
        pool = self.pools.get(origin)
        if pool is None:
            if len(self.pools) >= self._prune_at:
                self._forget(float('inf') if not self._few else self.core.now() - self.core.settings.idle_seconds)
            pool = self.pools[origin] = self._make(origin, host, self.pool_for)
        self.by_host[host] = pool
        return pool

    def add(self, pool: OriginPool) -> OriginPool:
        """Have this pool be asked for its origin, for good."""
        self._kept.add(pool.origin)
        self.pools[pool.origin] = pool
        return pool

    def prune(self) -> bool:
        """Forget what has had nothing to do for a while; whether something is left."""
        self._forget(self.core.now() - self.core.settings.idle_seconds)
        return len(self.pools) > len(self._kept)

    def _forget(self, limit: float) -> None:
        """Forget what has had nothing to do since then."""
        self.pools = {
            origin: pool
            for origin, pool in self.pools.items()
            if origin in self._kept or not pool.forgettable or pool.slots.used_at > limit
        }
        self.by_host = {host: pool for host, pool in self.by_host.items() if pool.origin in self.pools}
        self._prune_at = max(self._few, 2 * len(self.pools)) if self._few else 0

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        self.core.check_thread()
        for pool in list(self.pools.values()):
            pool.cancel()

    def close(self) -> None:
        """Cancel what is under way and close all connections. May be repeated."""
        self.core.check_thread()
        if not self.core.closed:
            self.core.slots.forget_waiters()
            self.cancel()
            self.core.close()

    def on_collected(self) -> None:
        """Nobody holds the pool any more, in whatever thread that was found."""
        loop = self.core.hub.loop
        if not self.core.closed and loop is not None:  # else the hub has been destroyed
            loop.run_callback_threadsafe(self.core.leave)

    def after_fork(self) -> None:
        """In the child: the sockets are the parent's; close them without a word on the wire."""
        self.core.dialer.clear()  # or the end of what is under way would begin what is parked
        for pool in self.pools.values():
            pool.forked()
        self.core.clear()


def fetch_over(way: Way | None, request: Request) -> Response:
    """Send one request by itself, over a connection of its own, and wait for its answer.

    :param way: how to connect; ``None`` for the default options.
    :raises HTTPError: when the server answers 400 or above, or not at all.
    """
    settings, connector = Settings(), None
    if way is not None and isinstance(way.settings, Settings):
        settings = way.settings.for_fetching(straight=way.dialer is None)
        connector = way.dialer.connector if isinstance(way.dialer, Dialer) else None
    origins = Origins.of_peers(PoolCore(settings, connector=connector), 1, None)
    try:
        return origins.pool_for(request.host).submit(request, None).get()
    finally:
        origins.close()


_all: weakref.WeakSet[Origins] = weakref.WeakSet()


def _after_fork() -> None:
    for origins in list(_all):
        core = origins.core
        if core.hub is get_hub():  # else of a thread that the child does not have
            origins.after_fork()
        if core.hub.loop is not None:  # else it has been destroyed, with its thread
            core.hub.loop.reinit()


os.register_at_fork(after_in_child=_after_fork)
