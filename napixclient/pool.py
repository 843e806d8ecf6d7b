"""Many hosts: one client per origin, and the outcomes of all requests, in order or as they finish."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any, Literal, overload

import gevent
from gevent.event import Event
from gevent.hub import Waiter

from ._http.core import PoolCore
from ._http.figures import Stats
from ._http.options import Options, Simultaneous
from ._http.origin_pool import OriginPool
from ._http.origins import Origins
from ._http.pending import NEVER, Batch, Outcome, PendingResponse, deadline_of
from ._http.settings import Settings
from ._options import Unpack, lists
from .authenticators import Authenticator, Credentials, authenticator_of
from .checks import count_or_auto, whole_number
from .errors import HTTPError
from .masking import Shown
from .messages import (
    Body,
    Fields,
    Origin,
    Request,
    RequestOptions,
    Response,
    plain_request,
    request_with,
    shared_request,
)

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

__all__ = ['ClientPool']


@lists(Options)
class ClientPool:
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
        self._origins = Origins(core, partial(_member, core, cap, prove))
        self._batch = Batch([])

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

    # -- waiting ---------------------------------------------------------------------------------------------------

    @overload
    def wait(self, timeout: float | None = None, *, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome]: ...

    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome] | list[Response]:
        """The outcomes of all requests since the last wait, in the order asked.

        :param timeout: seconds; what has not finished then is cancelled and comes out as a :class:`Timeout` error.
        :param raise_errors: raise what failed instead of handing it out; what succeeded is then in the
            :class:`PendingResponse` objects that ``request`` returned.
        :raises ExceptionGroup: of every :class:`HTTPError`, also of a single one, with ``raise_errors`` (that of the
            package ``exceptiongroup`` on Python 3.10).
        """
        deadline = deadline_of(timeout)
        batch = self._take_batch()
        try:
            if not batch.wait(len(batch.outcomes), deadline):
                batch.expire()
        except BaseException:  # thrown in: nothing is cancelled, nothing is lost
            self._give_back(batch)
            raise
        if raise_errors:
            errors = [outcome for outcome in batch.outcomes if isinstance(outcome, HTTPError)]
            if errors:
                raise ExceptionGroup(Shown(f'{len(errors)} of {len(batch.outcomes)} requests failed'), errors)
        return batch.outcomes

    def wait_unordered(self, count: int = -1, timeout: float | None = None) -> Iterator[Outcome]:
        """The outcomes of all requests since the last wait, each as soon as it is there.

        Leaving the loop early, or reaching ``count``, drops what has not been sent; what is in flight finishes in the
        background.

        :param count: outcomes to hand out at most; below 0 all.
        :param timeout: seconds from this call on; what has not finished then is cancelled, comes out as a
            :class:`Timeout` error, and the loop ends as if by itself.
        """
        deadline = deadline_of(timeout)
        return self._as_they_finish(self._take_batch(), count, deadline)

    def _as_they_finish(self, batch: Batch, count: int, deadline: float | None) -> Iterator[Outcome]:
        finished, outcomes = batch.finished, batch.outcomes
        left = len(outcomes) if count < 0 else min(count, len(outcomes))
        while left:
            if deadline is not None and monotonic() >= deadline:
                batch.expire()
                deadline = None
            elif not finished:
                try:
                    batch.wait(1, deadline)
                except BaseException:  # thrown in: nothing is cancelled, nothing is lost
                    self._give_back(batch)
                    raise
                continue
            index = finished.popleft()
            outcome, outcomes[index] = outcomes[index], None
            left -= 1
            try:
                yield outcome
            except GeneratorExit:
                batch.drop_unsent()
                raise
        batch.drop_unsent()

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes of all requests since the last wait, in the order asked, each as soon as it is ready."""
        return self._in_order(self._take_batch())

    def _in_order(self, batch: Batch) -> Iterator[Outcome]:
        outcomes = batch.outcomes
        for index, pending in enumerate(outcomes):
            if isinstance(pending, PendingResponse):
                try:
                    pending.wait()
                except BaseException:
                    self._give_back(batch)
                    raise
            outcome, outcomes[index] = outcomes[index], None
            try:
                yield outcome
            except GeneratorExit:
                batch.drop_unsent()
                raise

    def _take_batch(self) -> Batch:
        self._core.check_thread()
        batch, self._batch = self._batch, Batch([])
        return batch

    def _give_back(self, batch: Batch) -> None:
        """A wait was interrupted: the next one returns the same requests, and those asked for since."""
        batch.restart(batch.outcomes + self._batch.outcomes)
        self._batch = batch

    def stream(
        self, requests: Iterable[Request | tuple[object, ...]], ordered: bool = False, window: int | None = None
    ) -> Iterator[Outcome]:
        """Send any number of requests, and hand each outcome out: lazily, in constant memory.

        The iterable runs in a greenlet of its own: while it blocks, finished outcomes are still handed out; while the
        consumer does not take them, it is not asked for more. What it raises is raised here, after the outcomes of
        what it had given before. Leaving the loop early drops what has not been sent.

        :param requests: ``Request`` objects or tuples ``(host, method, url[, body[, headers]])``.
        :param ordered: hand out in the order of ``requests`` instead of as they finish.
        :param window: requests that may be under way or finished and not yet taken; by default
            ``max_connections``, so that no more wait for their turn, while their time runs, than could have it.
        """
        if window is None:
            window = self._core.slots.limit
        return _stream(_Feed(self, self._origins.pool_for, iter(requests), whole_number(window, 'window')), ordered)

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


def _member(
    core: PoolCore,
    simultaneous: int | str,
    authenticator: Authenticator | None,
    origin: Origin,
    host: str,
    pool_for: Callable[[str], OriginPool],
) -> OriginPool:
    return OriginPool(core, origin, host, simultaneous, authenticator, pool_for)


class _Feed:
    """The producing side of a stream: takes requests from the caller's iterable while there is room."""

    def __init__(
        self, pool: ClientPool, pool_for: Callable[[str], OriginPool], requests: Iterator[Any], window: int
    ) -> None:
        self.under_way: dict[int, Any] = {}  # what is not yet taken: a PendingResponse, then its outcome
        self.batch = Batch(self.under_way)
        self.over = False
        self.failure: BaseException | None = None
        self._pool = pool  # so that it lives for as long as requests may come
        self._pool_for = pool_for
        self._requests = requests
        self._window = window
        # Waking for each slot that is freed would cost two switches a request.
        self._low = window - max(1, window // 4)
        self._room = Event()
        self.greenlet = gevent.Greenlet(self._run)
        self.greenlet.gr_context = copy_context()  # these calls hand on its call context
        self.greenlet.start()

    def _run(self) -> None:
        under_way = self.under_way
        try:
            for index, given in enumerate(self._requests):
                request = given if isinstance(given, Request) else _request_of(given)
                pending = self._pool_for(request.host).submit(request, self.batch, index)
                if pending.outcome is None:
                    under_way[index] = pending
                if len(under_way) >= self._window:
                    self._room.clear()
                    self._room.wait()
        except gevent.GreenletExit:
            pass
        except BaseException as exc:  # a gevent.Timeout of the iterable's own, too
            self.failure = exc
        finally:
            self.over = True
            if self.batch.wake_at != NEVER:
                self.batch.wake()

    def wait(self) -> None:
        """Block until something has finished or the iterable has ended."""
        self.batch.waiter = Waiter()
        self.batch.wake_at = 1
        try:
            self.batch.waiter.get()
        finally:
            self.batch.wake_at = NEVER

    def take(self, index: int) -> Outcome:
        """Hand out the outcome at that index, which makes room for another."""
        outcome = self.under_way.pop(index)
        if len(self.under_way) <= self._low:
            self._room.set()
        return outcome  # type: ignore[no-any-return]


def _request_of(given: Any) -> Request:
    if not isinstance(given, tuple) or not 3 <= len(given) <= 5:
        raise ValueError(
            f'a stream takes Request objects or tuples (host, method, url[, body[, headers]]), not {given!r}'
        )
    return Request(*given)


def _stream(feed: _Feed, ordered: bool) -> Iterator[Outcome]:
    batch, finished, turn = feed.batch, feed.batch.finished, 0
    try:
        while True:
            if ordered:
                pending = feed.under_way.get(turn)
                if pending is not None:
                    if isinstance(pending, PendingResponse):
                        pending.wait()
                    finished.clear()
                    turn += 1
                    yield feed.take(turn - 1)
                    continue
            elif finished:
                yield feed.take(finished.popleft())
                continue
            if feed.over and not feed.under_way:
                break
            feed.wait()
    finally:
        feed.greenlet.kill(block=False)
        batch.drop_unsent()
    if feed.failure is not None:
        raise feed.failure
