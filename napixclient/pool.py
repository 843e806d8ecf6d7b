"""Many hosts: one client per origin, and the outcomes of all requests, in order or as they finish."""

from __future__ import annotations

from contextvars import copy_context
from time import monotonic

from ._http.core import PoolCore
from ._http.figures import Stats
from ._http.options import Options, Simultaneous
from ._http.origins import Origins
from ._http.pending import NEVER, Batch, PendingResponse, Redirect, new_pending
from ._http.redirecting import without_credentials
from ._http.settings import Settings
from ._options import Unpack, lists
from .authenticators import Credentials, authenticator_of
from .checks import count_or_auto
from .messages import Body, Fields, Request, RequestOptions, plain_request, request_with, shared_request
from .verbs import PoolVerbs
from .waiting import Waiting

__all__ = ['ClientPool']


@lists(Options)
class ClientPool(Waiting, PoolVerbs[Body, PendingResponse, PendingResponse]):
    """Sends requests to many hosts at once and hands every outcome back.

    >>> pool = ClientPool({'login': 'root', 'key': 'toor'}, simultaneous=2)
    >>> pool.request('ip-allocator.example', 'POST', '/vm-ip/', {'size': 1})
    >>> pool.request('filer.example', 'POST', '/storage/', {'size': 10**9})
    >>> ip, filer = pool.wait()

    An outcome is a :class:`Response`, or an :class:`HTTPError` as a value; both have ``request`` and ``status``.

    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight to one origin at most, or ``'auto'`` to learn from the answers of each how
        many it can take, from 2 to 64.
    :param options: those of :class:`Options`:
    :raises ValueError: for an authenticator or an option that makes no sense.
    :raises TypeError: for an option that there is not.
    """

    def __init__(
        self, authenticator: Credentials | None = None, simultaneous: Simultaneous = 2, **options: Unpack[Options]
    ) -> None:
        cap, prove = count_or_auto(simultaneous, 'simultaneous'), authenticator_of(authenticator)
        core = PoolCore(Settings.of(ClientPool, options))
        self._core = core
        self._origins = Origins.of_peers(core, cap, prove)
        super().__init__(core.check_thread, self._origins.pool_for, core.slots.limit)

    # -- asking ----------------------------------------------------------------------------------------------------

    @lists(RequestOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> PendingResponse:
        """Send a request; its outcome is part of the next ``wait``, also when it was taken by ``get`` before.

        If you only call ``get()``, use a :class:`Client` for each host: a pool keeps outcomes until ``wait`` collects
        them.

        :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
        :param options: those of :class:`RequestOptions`:
        :raises ValueError: for a part that cannot be sent. Everything later is part of the outcome.
        :raises TypeError: for an option that there is not.
        """
        pool = self._origins.by_host.get(host) if host.__class__ is str else None
        if options:
            request = request_with(ClientPool.request, host, method, url, body, headers, options)
        elif pool is None or body is not None or headers is not None:
            request = plain_request(host, method, url, body, headers)
        else:
            request = pool.last_asked = shared_request(pool.last_asked, host, method, url)
        batch = self._batch
        outcomes = batch.outcomes
        index = len(outcomes)
        outcomes.append(None)  # its index: it may have an outcome at once
        try:
            pending = (pool or self._origins.pool_for(host)).submit(request, batch, index)
        except Exception:
            outcomes.pop()
            raise
        except BaseException:  # Ctrl-C in the midst of it: it may end yet, but under nobody else's index
            self._batch = Batch([])
            self._batch.restart(outcomes[:-1])
            raise
        if pending.outcome is None:
            outcomes[index] = pending
        return pending

    def send(self, request: Request, batch: Batch | None = None, index: int = 0) -> PendingResponse:
        """Send a request whose outcome is no part of any ``wait`` of this pool.

        :param batch: what is told of the outcome, at ``index``; for those who build on the pool.
        :raises RuntimeError: in another thread than the pool's, and when the pool is closed.
        """
        return (self._origins.by_host.get(request.host) or self._origins.pool_for(request.host)).submit(
            request, batch, index
        )

    def send_unsigned(self, request: Request) -> PendingResponse:
        """Send a request without any credentials, as one goes that a redirect has led to another origin.

        :raises RuntimeError: in another thread than the pool's, and when the pool is closed.
        """
        if self._core.closed:
            self._core.refuse()
        self._core.check_thread()
        pending = new_pending(request, None)
        pending.context = copy_context()
        timeout = request.timeout
        total = (self.settings.clocks if timeout is None else self.settings.clocks_of(timeout)).total
        if total != NEVER:
            self._core.clock.watch(pending, monotonic() + total)
        bare = request.replace(headers=without_credentials(request.headers))
        self._origins.pool_for(request.host).send_elsewhere(pending, Redirect(bare, 0, True, 0))
        return pending

    @property
    def settings(self) -> Settings:
        """The options, as they were checked."""
        return self._core.settings

    def cap_of(self, host: str) -> int:
        """How many requests may be in flight to a host now, not counting ``max_connections``."""
        return self._origins.pool_for(host).throttle.limit

    @property
    def max_connections(self) -> int:
        """How many connections may be open in the whole pool."""
        return self._core.slots.limit

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        self._origins.cancel()

    def close(self) -> None:
        """Cancel what is under way and close all connections. May be repeated."""
        self._origins.close()

    def __enter__(self) -> ClientPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        origins: Origins | None = getattr(self, '_origins', None)
        if origins is not None:
            origins.on_collected()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Stats]:
        """What became of the requests so far, by host (as it was first written): see :meth:`Client.stats`.

        A host that has not been used for ``idle_seconds`` (30 by default) and has no connection is forgotten.
        """
        return {pool.host: pool.stats() for pool in self._origins.pools.values()}

    def __repr__(self) -> str:
        stats = self.stats().values()
        slots = self._core.slots
        return (
            f'<ClientPool {len(stats)} hosts: {sum(host["queued"] for host in stats)} queued, '
            f'{sum(host["in_flight"] for host in stats)} in flight, {slots.used} of {slots.limit} connections>'
        )
