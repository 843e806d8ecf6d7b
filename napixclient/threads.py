"""A pool that all threads of a process share: one gevent hub, in a thread of its own, serves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Literal, overload
from weakref import WeakKeyDictionary

from gevent.hub import get_hub

from ._bridge.batches import CallBatch
from ._bridge.feed import Feed
from ._bridge.futures import ThreadFuture
from ._bridge.hub import HubThread, is_patched
from ._bridge.threads import Greenlets, Natives, ThreadPort
from ._bridge.waits import ThreadBatches
from ._http.figures import Stats
from ._http.options import Options, Simultaneous
from ._http.pending import Outcome, deadline_of
from ._http.settings import Settings
from ._http.streaming import StreamedResponse
from ._log import log
from ._options import Unpack, lists
from .authenticators import Credentials, authenticator_of
from .checks import count_or_auto, is_async, whole_number
from .errors import HTTPError
from .messages import Body, Fields, Request, RequestOptions, Response, WholeOptions, plain_request, request_with
from .verbs import PoolVerbs, by_host, requests_to
from .waiting import unless_failed

__all__ = ['SharedPool']


class SharedPool(PoolVerbs[Body, Future[Response | HTTPError], Future[StreamedResponse | HTTPError]]):
    """A :class:`ClientPool` that any thread may use, at any time: one cap and one set of connections for all.

    ``wait``, ``wait_unordered``, ``cancel`` and iteration concern the requests of the calling thread since its last
    wait. One gevent hub serves them all, in a native thread that starts with the first request and ends with ``close``,
    with the pool, or with the interpreter. After a fork the child has a new one: what was under way is the parent's.

    Hooks, authenticators and ``retry_on`` run in the hub's thread, each in a greenlet and in a copy of the context of
    the call. One that blocks the thread itself, as ``time.sleep`` does in a process that is not patched, holds up all
    requests.

    In a process that gevent has patched threads are greenlets: there a :class:`ClientPool` is what they share. A
    ``SharedPool`` works too, and logs a warning.

    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight to one origin at most, or ``'auto'`` to learn from the answers of each how
        many it can take, from 2 to 64.
    :param options: those of :class:`Options`:
    :raises ValueError: for an authenticator or an option that makes no sense, such as an ``async`` authenticator.
    :raises TypeError: for an option that there is not.
    """

    def __init__(
        self, authenticator: Credentials | None = None, simultaneous: Simultaneous = 2, **options: Unpack[Options]
    ) -> None:
        cap, prove = count_or_auto(simultaneous, 'simultaneous'), authenticator_of(authenticator)
        if is_async(prove) or is_async(getattr(prove, 'challenged', None)):
            raise ValueError('an async authenticator needs an event loop, and a napixclient.aio.AsyncPool')
        #: The thread that serves it, which an ``AsyncPool`` may share.
        self.hub: HubThread = HubThread(Settings.of(SharedPool, options), cap, prove)
        self._batches = ThreadBatches(self.hub)
        self._port: ThreadPort | None = None
        self._ports: WeakKeyDictionary[Any, ThreadPort] = WeakKeyDictionary()
        if is_patched():
            log.warning('gevent has patched this process: its threads are greenlets, which can share a ClientPool')
        else:
            self._port = self.hub.add(ThreadPort(self.hub, Natives()))

    # -- asking ----------------------------------------------------------------------------------------------------

    @overload
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        stream: Literal[True],
        **options: Unpack[WholeOptions],
    ) -> Future[StreamedResponse | HTTPError]: ...

    @overload
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        stream: bool = False,
        **options: Unpack[WholeOptions],
    ) -> Future[Response | HTTPError]: ...

    @lists(RequestOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> Future[Any]:
        """Send a request; its outcome is the result of the future, and part of the next ``wait`` of this thread.

        An error is a result as well: ``result()`` raises no :class:`HTTPError`. ``cancel()`` works until the outcome is
        there, also in flight, where it ends the connection; then ``result()`` raises
        ``concurrent.futures.CancelledError``, and ``wait`` has a :class:`Cancelled`.

        The pool keeps the outcome until ``wait`` collects it, or the thread ends.

        :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
        :param options: those of :class:`RequestOptions`; with ``stream=True`` the result is a
            :class:`StreamedResponse`, which one thread reads:
        :raises ValueError: for a part that cannot be sent. Everything later is part of the outcome.
        :raises TypeError: for an option that there is not.
        :raises RuntimeError: when the pool is closed.
        """
        request = (
            request_with(SharedPool.request, host, method, url, body, headers, options)
            if options
            else plain_request(host, method, url, body, headers)
        )
        hub = self.hub
        if hub.closed:
            hub.check()
        batch = self._batches.current()
        port = self._port or self._port_of_greenlets()
        entries = batch.entries
        future = ThreadFuture(request, copy_context(), port, batch, len(entries))
        try:
            port.expect()
            entries.append(future)
            hub.put(future)
        except BaseException:  # no thread could be started; or Ctrl-C in the midst of it: it may be sent, for nobody
            future.batch = CallBatch({})
            if entries and entries[-1] is future:
                entries.pop()
            self._batches.begin_another()
            raise
        return future

    def _port_of_greenlets(self) -> ThreadPort:
        hub = get_hub()
        port = self._ports.get(hub)
        if port is None:
            port = self._ports[hub] = self.hub.add(ThreadPort(self.hub, Greenlets()))
        return port

    # -- waiting ---------------------------------------------------------------------------------------------------

    @overload
    def wait(self, timeout: float | None = None, *, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome]: ...

    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome] | list[Response]:
        """The outcomes of all requests of this thread since its last wait, in the order asked.

        :param timeout: seconds; what has not finished then is cancelled and comes out as a :class:`Timeout` error.
        :param raise_errors: raise what failed instead of handing it out.
        :raises ExceptionGroup: of every :class:`HTTPError`, with ``raise_errors``.
        :raises RuntimeError: when the pool is closed, and in a hook, which would wait for itself.
        """
        deadline = deadline_of(timeout)
        outcomes = self._batches.wait(self._batches.take(), deadline)
        return unless_failed(outcomes) if raise_errors else outcomes

    @lists(WholeOptions)
    def map(
        self,
        hosts: Iterable[str],
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[WholeOptions],
    ) -> dict[str, Outcome]:
        """Ask each host the same, and wait: see :meth:`napixclient.ClientPool.map`.

        :param options: those of :class:`RequestOptions`, but for ``stream``:
        """
        requests = requests_to(SharedPool.request, hosts, method, url, body, headers, options)
        return by_host(requests, self.stream(requests.values()))

    def wait_unordered(self, count: int = -1, timeout: float | None = None) -> Iterator[Outcome]:
        """The outcomes of all requests of this thread since its last wait, each as soon as it is there.

        Leaving the loop early, or reaching ``count``, drops what has not been sent; what is in flight finishes in the
        background.

        :param count: outcomes to hand out at most; below 0 all.
        :param timeout: seconds from this call on; what has not finished then is cancelled, comes out as a
            :class:`Timeout` error, and the loop ends as if by itself.
        :raises RuntimeError: when the pool is closed, and in a hook.
        """
        deadline = deadline_of(timeout)
        return self._batches.as_they_finish(self._batches.take(), count, deadline)

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes of all requests of this thread since its last wait, in the order asked, each when it is ready.

        Leaving the loop early drops what has not been sent.
        """
        return self._batches.in_order(self._batches.take())

    def stream(
        self,
        requests: Iterable[Request | tuple[object, ...]],
        ordered: bool = False,
        window: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """Send any number of requests, and hand each outcome out: lazily, in constant memory.

        The iterable is asked in the calling thread, between outcomes: one that blocks holds up this stream, and no
        other thread. While the consumer does not take what has finished, it is not asked for more. What it raises is
        raised here, after the outcomes of what it had given before. Leaving the loop early drops what has not been
        sent.

        :param requests: ``Request`` objects or tuples ``(host, method, url[, body[, headers]])``.
        :param ordered: hand out in the order of ``requests`` instead of as they finish.
        :param window: requests that may be under way or finished and not yet taken; by default ``max_connections``.
        :param timeout: seconds from this call on for the whole stream; then no more is asked for, what has not finished
            is cancelled and comes out as a :class:`Timeout` error, and the loop ends as if by itself.
        :raises RuntimeError: when the pool is closed, and in a hook.
        """
        self._batches.check()
        most = self.hub.limit if window is None else whole_number(window, 'window')
        port = self._port or self._port_of_greenlets()
        return self._batches.stream(Feed(port, iter(requests), most, deadline_of(timeout)), ordered)

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what this thread has asked for since its last wait with :class:`Cancelled`, streamed answers too."""
        self._batches.cancel()

    def close(self) -> None:
        """Cancel what is under way, whoever asked for it, and close all connections. May be repeated."""
        self.hub.close()

    def __enter__(self) -> SharedPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Stats]:
        """What became of the requests of all threads, by host: see :meth:`napixclient.Client.stats`.

        A host that has not been used for ``idle_seconds`` (30 by default) and has no connection is forgotten.
        """
        return self.hub.stats()

    def __repr__(self) -> str:
        return f'<SharedPool {self.hub}>'
