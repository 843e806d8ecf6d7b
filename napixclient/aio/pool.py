"""The pool of programs on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Literal, overload

from .._bridge.batches import CallBatch
from .._bridge.hub import HubThread
from .._http.figures import Stats
from .._http.options import Options, Simultaneous
from .._http.pending import Outcome, deadline_of
from .._http.settings import Settings
from .._options import Unpack, lists
from ..authenticators import Credentials, authenticator_of
from ..checks import count_or_auto, is_async, whole_number
from ..errors import HTTPError
from ..messages import Body, Fields, Request, RequestOptions, Response, WholeOptions, plain_request, request_with
from ..threads import SharedPool
from ..verbs import PoolVerbs, by_host, requests_to
from ..waiting import unless_failed
from .asking import async_body, awaited_authenticator, caller
from .feed import Feed, one_by_one
from .port import LoopFuture, LoopPort
from .streaming import AsyncStreamedResponse

__all__ = ['AsyncPool']

#: What an authenticator may be: one that is ``async`` as well.
AsyncCredentials = Credentials | Callable[[Request], Awaitable[Request | None]]
AsyncBody = Body | AsyncIterable[bytes | str]


class AsyncPool(
    PoolVerbs[AsyncBody, asyncio.Future[Response | HTTPError], asyncio.Future[AsyncStreamedResponse | HTTPError]]
):
    """A :class:`ClientPool` for tasks: several event loops may use one, and threads share it by a ``SharedPool``.

    ``wait``, ``wait_unordered``, ``cancel`` and ``async for`` concern the requests of the calling task since its last
    wait. One gevent hub makes the requests, in a native thread that starts with the first of them; see ``SharedPool``.
    The event loop is never blocked: outcomes come in groups, and are handed on a hundred in a turn of the loop.

    Hooks, plain authenticators and ``retry_on`` run in the hub's thread, each in a greenlet and in a copy of the
    context of the call. An authenticator that is an ``async`` function is awaited in the loop of the request's caller,
    in such a copy as well; so is ``challenged``, if it is one.

    :param authenticator: a callable ``Request -> Request``, which may be ``async``, ``{'login': …, 'key': …}``, or
        ``None``; or a ``SharedPool``, whose hub, caps, options and connections are used instead of any given here.
        ``close`` then ends what was asked for through this object, and leaves the ``SharedPool`` as it is.
    :param simultaneous: requests in flight to one origin at most, or ``'auto'`` to learn from the answers of each how
        many it can take, from 2 to 64.
    :param options: those of :class:`Options`:
    :raises ValueError: for an authenticator or an option that makes no sense.
    :raises TypeError: for an option that there is not.
    """

    @overload
    def __init__(self, authenticator: SharedPool, /) -> None: ...

    @overload
    def __init__(
        self, authenticator: AsyncCredentials | None = None, simultaneous: Simultaneous = 2, **options: Unpack[Options]
    ) -> None: ...

    @lists(Options)
    def __init__(
        self,
        authenticator: AsyncCredentials | SharedPool | None = None,
        simultaneous: Simultaneous = 2,
        **options: Unpack[Options],
    ) -> None:
        if isinstance(authenticator, SharedPool):
            if options or simultaneous != 2:
                raise ValueError('a SharedPool has its options already: it takes no others')
            authenticator.hub.check()
            self._hub: HubThread = authenticator.hub
        else:
            cap, prove = count_or_auto(simultaneous, 'simultaneous'), authenticator_of(authenticator)  # type: ignore[arg-type]  # an async one is wrapped
            self._hub = HubThread(Settings.of(AsyncPool, options), cap, awaited_authenticator(prove))
        self._shared = authenticator if isinstance(authenticator, SharedPool) else None
        self._awaits = is_async(authenticator) or is_async(getattr(authenticator, 'challenged', None))
        self._ports: dict[asyncio.AbstractEventLoop, LoopPort] = {}
        self._closed = False

    # -- asking ----------------------------------------------------------------------------------------------------

    @overload
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: AsyncBody | None = None,
        headers: Fields | None = None,
        *,
        stream: Literal[True],
        **options: Unpack[WholeOptions],
    ) -> asyncio.Future[AsyncStreamedResponse | HTTPError]: ...

    @overload
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: AsyncBody | None = None,
        headers: Fields | None = None,
        *,
        stream: bool = False,
        **options: Unpack[WholeOptions],
    ) -> asyncio.Future[Response | HTTPError]: ...

    @lists(RequestOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Any = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> asyncio.Future[Any]:
        """Send a request at once; its outcome is the result of the future, and part of the next ``wait`` of this task.

        An error is a result as well: ``await`` raises no :class:`HTTPError`. To cancel the future, or the task that
        awaits it, ends the request, queued or in flight, where it loses its connection; ``wait`` has a
        :class:`Cancelled` in its place.

        The pool keeps the outcome until ``wait`` collects it, or the task ends. A task that goes on for long, and
        awaits its requests one by one, calls ``await pool.wait()`` now and then.

        :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
        :param body: also an async iterable of bytes, which is read in this loop; so may ``data`` be.
        :param options: those of :class:`RequestOptions`; with ``stream=True`` the result is an
            :class:`AsyncStreamedResponse`:
        :raises ValueError: for a part that cannot be sent. Everything later is part of the outcome.
        :raises TypeError: for an option that there is not.
        :raises RuntimeError: when the pool is closed, and without a running event loop.
        """
        port = self._here()
        if body is not None and hasattr(body, '__aiter__'):
            body = async_body(body, port)
        request = (
            request_with(AsyncPool.request, host, method, url, body, headers, _with_async_data(options, port))
            if options
            else plain_request(host, method, url, body, headers)
        )
        batch = port.current_batch()
        entries = batch.entries
        future = LoopFuture(request, self._context(port), port, batch, len(entries))
        self._hub.put(future)
        entries.append(future)
        return future

    def _here(self) -> LoopPort:
        """What belongs to the running loop."""
        if self._closed or self._hub.closed:
            raise RuntimeError('the pool is closed')
        loop = asyncio.get_running_loop()
        port = self._ports.get(loop)
        if port is None:
            for known in list(self._ports):  # copied at once: other threads may add theirs
                if known.is_closed():
                    self._ports.pop(known, None)
            port = self._ports[loop] = self._hub.add(LoopPort(self._hub, loop))
        return port

    def _context(self, port: LoopPort) -> Context:
        context = copy_context()
        if self._awaits:
            context.run(caller.set, port)
        return context

    # -- waiting ---------------------------------------------------------------------------------------------------

    @overload
    def wait(
        self, timeout: float | None = None, *, raise_errors: Literal[True]
    ) -> Coroutine[Any, Any, list[Response]]: ...

    @overload
    def wait(self, timeout: float | None, raise_errors: Literal[True]) -> Coroutine[Any, Any, list[Response]]: ...

    @overload
    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> Coroutine[Any, Any, list[Outcome]]: ...

    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> Coroutine[Any, Any, Any]:
        """The outcomes of all requests of this task since its last wait, in the order asked; to be awaited.

        Which requests that are is settled by the call: who awaits it may be another task, such as that of
        ``asyncio.wait_for``. If that is cancelled, the requests are cancelled too.

        :param timeout: seconds from the call on; what has not finished then is cancelled and comes out as a
            :class:`Timeout` error.
        :param raise_errors: raise what failed instead of handing it out.
        :raises ExceptionGroup: of every :class:`HTTPError`, with ``raise_errors``.
        :raises RuntimeError: when the pool is closed.
        """
        deadline = deadline_of(timeout)
        port = self._here()
        return self._wait(port, port.take_batch(), deadline, raise_errors)

    async def _wait(self, port: LoopPort, batch: CallBatch, deadline: float | None, raise_errors: bool) -> Any:
        try:
            await port.wait_for(batch, len(batch.entries), deadline)
        except BaseException:
            self._hub.cancel(batch.tickets())
            raise
        return unless_failed(batch.entries) if raise_errors else batch.entries

    @lists(WholeOptions)
    async def map(
        self,
        hosts: Iterable[str],
        method: str,
        url: str,
        body: AsyncBody | None = None,
        headers: Fields | None = None,
        **options: Unpack[WholeOptions],
    ) -> dict[str, Outcome]:
        """Ask each host the same, and wait: see :meth:`napixclient.ClientPool.map`.

        A task that is cancelled meanwhile cancels the requests.

        :param options: those of :class:`RequestOptions`, but for ``stream``:
        """
        given: Any = body
        port = self._here()
        if body is not None and hasattr(body, '__aiter__'):
            given = async_body(given, port)
        options = _with_async_data(options, port)
        requests = requests_to(AsyncPool.request, hosts, method, url, given, headers, options)
        return by_host(requests, [outcome async for outcome in self.stream(requests.values())])

    def wait_unordered(self, count: int = -1, timeout: float | None = None) -> AsyncIterator[Outcome]:
        """The outcomes of all requests of this task since its last wait, each as soon as it is there.

        Leaving the loop early, or reaching ``count``, drops what has not been sent; what is in flight finishes in the
        background. A task that is cancelled while it waits here cancels them all.

        :param count: outcomes to hand out at most; below 0 all.
        :param timeout: seconds from the call on; what has not finished then is cancelled, comes out as a
            :class:`Timeout` error, and the loop ends as if by itself.
        :raises RuntimeError: when the pool is closed.
        """
        deadline = deadline_of(timeout)
        port = self._here()
        return self._hand_out(port, port.take_batch(), False, count, deadline)

    def __aiter__(self) -> AsyncIterator[Outcome]:
        """The outcomes of all requests of this task since its last wait, in the order asked, each when it is ready.

        Leaving the loop early drops what has not been sent.
        """
        port = self._here()
        return self._hand_out(port, port.take_batch(), True, -1, None)

    async def _hand_out(
        self, port: LoopPort, batch: CallBatch, ordered: bool, count: int, deadline: float | None
    ) -> AsyncIterator[Outcome]:
        with _ending(self._hub, batch):
            total = len(batch.entries)
            for turn in range(total if count < 0 else min(count, total)):
                while (outcome := batch.take(turn) if ordered else batch.take_next()) is None:
                    await port.wait_for(batch, batch.done + 1, deadline)
                yield outcome

    # -- streams ---------------------------------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[Request | tuple[object, ...]] | AsyncIterable[Request | tuple[object, ...]],
        ordered: bool = False,
        window: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """Send any number of requests, and hand each outcome out: lazily, in constant memory.

        An async iterable runs in a task of its own: while it waits, finished outcomes are handed out. A plain one is
        asked in this task, and must not block. While the consumer does not take what has finished, neither is asked for
        more. What it raises is raised here, after the outcomes of what it had given before. Leaving the loop early
        drops what has not been sent.

        :param requests: ``Request`` objects or tuples ``(host, method, url[, body[, headers]])``.
        :param ordered: hand out in the order of ``requests`` instead of as they finish.
        :param window: requests that may be under way or finished and not yet taken; by default ``max_connections``.
        :param timeout: seconds from this call on for the whole stream; then no more is asked for, what has not finished
            is cancelled and comes out as a :class:`Timeout` error, and the loop ends as if by itself.
        :raises RuntimeError: when the pool is closed.
        """
        port = self._here()
        most = self._hub.limit if window is None else whole_number(window, 'window')
        given = requests if isinstance(requests, AsyncIterable) else one_by_one(iter(requests))
        return self._stream(Feed(port, partial(self._context, port), given, most, deadline_of(timeout)), port, ordered)

    async def _stream(self, feed: Feed, port: LoopPort, ordered: bool) -> AsyncIterator[Outcome]:
        batch, turn = feed.batch, 0
        port.begin_stream(batch)
        feed.start()
        try:
            with _ending(self._hub, batch):
                while not feed.over or batch.entries:
                    done = batch.done
                    outcome = batch.take(turn) if ordered else batch.take_next()
                    if outcome is None:
                        await feed.wait(done + 1)
                        continue
                    turn += 1
                    feed.make_room()
                    yield outcome
        finally:
            port.end_stream(batch)
            feed.end()
        if feed.failure is not None:
            raise feed.failure

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what this task has asked for since its last wait with :class:`Cancelled`, streamed answers too.

        That takes a turn of the loop or two; ``wait`` hands it out.
        """
        for batch in self._here().all_of_task():
            self._cancel(batch)

    def _cancel(self, batch: CallBatch) -> None:
        self._hub.cancel(batch.tickets())
        for entry in batch.outcomes():
            if isinstance(entry, AsyncStreamedResponse):
                entry.cancel()

    async def close(self) -> None:
        """End what is under way with :class:`Cancelled`, whoever asked for it, and close all connections.

        With the hub of a ``SharedPool`` only what was asked for through this object ends. May be repeated.
        """
        self._closed = True
        if self._shared is None:
            await self._end_hub()
        else:
            for port in list(self._ports.values()):
                self._hub.cancel_all(port)
        here = self._ports.get(asyncio.get_running_loop())
        while here is not None and here.handing_on:
            await asyncio.sleep(0)

    async def _end_hub(self) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._hub.begin_close()
        self._hub.when_ended(partial(_tell, loop, ended))
        await ended.wait()

    aclose = close

    async def __aenter__(self) -> AsyncPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Stats]:
        """What became of the requests so far, by host (as it was first written): see :meth:`napixclient.Client.stats`.

        A host that has not been used for ``idle_seconds`` (30 by default) and has no connection is forgotten.
        """
        return self._hub.stats()

    def __repr__(self) -> str:
        return f'<AsyncPool {self._hub}>'


def _with_async_data(options: Any, port: LoopPort) -> Any:
    """The options, with an async iterable as ``data`` read as one that is the body is."""
    data = options.get('data')
    return options if not hasattr(data, '__aiter__') else {**options, 'data': async_body(data, port)}


@contextmanager
def _ending(hub: HubThread, batch: CallBatch) -> Iterator[None]:
    """What is left of a batch ends with the loop that hands it out; all of it, where that is cancelled."""
    try:
        yield
    except asyncio.CancelledError:
        hub.cancel(batch.tickets())
        raise
    finally:
        tickets = batch.tickets()
        if tickets:
            hub.drop_unsent(tickets)


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """In the hub's thread."""
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:  # it was closed meanwhile
        pass
