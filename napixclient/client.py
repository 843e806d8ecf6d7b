"""One host, as its caller sees it: asking, cancelling, counting."""

from __future__ import annotations

import contextvars
import weakref
from time import monotonic
from typing import Any

from gevent.hub import get_hub

from ._http.concluding import Concluder, stop
from ._http.connect.proxies import is_own, shows_origin
from ._http.engine import Engine
from ._http.pending import NEVER, Batch, PendingResponse, new_pending, timeout_of
from ._http.settings import AUTO, Settings, cap_of
from .authenticators import Authenticator, OneField, authenticator_of
from .errors import Cancelled, HTTPError, ProxyError, RemoteError
from .journey import current
from .messages import NO_OPTIONS, Origin, Request, Response, parse_origin
from .remote import error_of, read_later
from .tracing import tracing

__all__ = ['Client']


class Client(Concluder):
    """Sends requests to one host, at most ``simultaneous`` at a time over as many connections.

    >>> client = Client('server.example', {'login': 'root', 'key': 'toor'})
    >>> client.request('GET', '/').body
    ['/abc', '/captain']

    :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight at most, or ``'auto'`` to learn from its answers how many it can take.
    :param options: those of :class:`ClientPool`.
    :raises ValueError: for a host, an authenticator or an option that makes no sense.
    """

    def __init__(self, host: str, authenticator: Any = None, simultaneous: int | str = 2, **options: Any) -> None:
        origin = parse_origin(host)
        self._set_up(Engine(Settings(**options)), origin, host, authenticator_of(authenticator), cap_of(simultaneous))
        self._owns_engine = True
        self._engine.client_of = weakref.WeakMethod(self._sibling)

    @classmethod
    def _of_pool(
        cls, engine: Engine, origin: Origin, host: str, authenticator: Authenticator | None, simultaneous: int | str
    ) -> Client:
        self = cls.__new__(cls)
        self._set_up(engine, origin, host, authenticator, simultaneous)
        self._owns_engine = False
        return self

    def _set_up(
        self, engine: Engine, origin: Origin, host: str, authenticator: Authenticator | None, simultaneous: int | str
    ) -> None:
        line = None
        if isinstance(authenticator, OneField) and type(authenticator).__call__ is OneField.__call__:
            line = authenticator._line
        super().__init__(engine, origin, simultaneous, authenticator, line)
        #: The host as it was first written.
        self.host = host
        self._siblings: dict[Origin, Client] = {}  # where redirects have led
        self._needs_context = self._hooked or self._asks
        self._total = self._settings.clocks.total
        self._tracing = tracing()
        self._observed = self._needs_context or self._tracing is not None

    # -- asking ----------------------------------------------------------------------------------------------------

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> Response:
        """Send a request and wait for its answer.

        An exception that is thrown in while it waits, such as that of a ``gevent.Timeout``, cancels the request.

        :param options: ``params``, ``timeout``, ``retries``, ``tag``, ``stream``, ``max_body``, ``multipart``,
            ``redirect``, ``expect``, ``decode`` as :class:`Request` takes them.
        :raises HTTPError: when the server answered 400 or above, or not at all.
        :raises ValueError: for a part that cannot be sent.
        """
        pending = self.submit(method, url, body, headers, **options)
        try:
            return pending.get()
        except BaseException:
            pending.cancel()
            raise

    def submit(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> PendingResponse:
        """Send a request; its answer can be waited for later.

        :param options: as for :meth:`request`.
        """
        return self._submit(Request(self.host, method, url, body, headers, **options), None)

    def _submit(self, request: Request, batch: Batch | None, index: int = 0) -> PendingResponse:
        engine = self._engine
        if get_hub() is not engine.hub or engine.closed:
            engine.refuse()
        engine.requests += 1
        pending = new_pending(request, batch, index)
        journey = current.get()
        total = self._total
        if request._options is not NO_OPTIONS and request._options.timeout is not None:
            total = self._settings.clocks_of(request._options.timeout).total
        if self._observed or journey is not None:
            if self._needs_context or journey is not None:
                pending._context = contextvars.copy_context()
            if self._tracing is not None:
                self._tracing.begin(pending, self.origin, journey)
            if journey is not None:  # nobody waits for longer than our own caller does
                total = min(total, journey.remaining)
        if total != NEVER:
            if total <= 0:  # that caller has left
                self.settle(pending, timeout_of(pending, 'total'))
                return pending
            engine.watch(pending, monotonic() + total)
        if self._idle:
            self._enqueue(pending)
        else:
            pending._holder = self
            self._queue.append(pending)
            if self.waiting is None and len(self._connections) + len(self._openings) < self._simultaneous:
                self._widen()
        return pending

    # -- what the engine asks --------------------------------------------------------------------------------------

    def _refused(self, response: Response) -> HTTPError:
        proxy = self._forwarder
        if proxy is None:
            return error_of(response)
        status, fields = response.status, response.headers
        if not is_own(status, fields):
            return error_of(response, by='' if shows_origin(fields) else f'by the proxy {proxy}, or through it')
        if status == 407:
            return error_of(response, ProxyError)
        # tinyproxy answers a wrong password with 401. All else is what it says of the origin.
        return error_of(
            response,
            ProxyError if status == 401 or 'proxy-authenticate' in fields else RemoteError,
            f'by the proxy {proxy}',
        )

    def _conclude_failure(self, pending: PendingResponse, error: HTTPError) -> None:
        if isinstance(error, ProxyError) and error.response is not None:
            read_later(error)
        super()._conclude_failure(pending, error)

    def _client_for(self, host: str) -> Client:
        of_pool = self._engine.client_of()
        return self._sibling(host) if of_pool is None else of_pool(host)

    def _sibling(self, host: str) -> Client:
        """The client of the origin that a redirect leads to; credentials do not follow it."""
        origin = parse_origin(host)
        if origin == self.origin:
            return self
        sibling = self._siblings.get(origin)
        if sibling is None:
            self._siblings = {known: other for known, other in self._siblings.items() if not other._forgettable}
            sibling = self._siblings[origin] = Client._of_pool(
                self._engine, origin, host, None, AUTO if self._cap else self._simultaneous
            )
        return sibling

    # -- ends ------------------------------------------------------------------------------------------------------

    def _unfinished(self) -> list[PendingResponse]:
        held = [opening.pending for opening in self._openings] + [conn.pending for conn in self._connections]
        return [
            pending
            for pending in (*self._queue, *held, *self._aside)
            if pending is not None and pending._outcome is None
        ]

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        self._engine.check_thread()
        for pending in self._unfinished():
            pending.cancel()
        for sibling in self._siblings.values():
            sibling.cancel()
        for connection in list(self._connections):
            if connection.streamed is not None:
                connection.fail(Cancelled('cancelled'))

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        self.cancel()
        if self._owns_engine and not self._engine.closed:
            self._engine.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In the child of a fork: the connections are the parent's, and so are the answers."""
        unfinished = self._unfinished()
        for opening in self._openings:
            opening.stop()
        self._idle.clear()
        self._connections.clear()
        self._openings.clear()
        self._queue.clear()
        self._dropped, self.waiting, self._held_until = 0, None, 0.0
        self._silence()
        for under_way in self._aside.values():
            stop(under_way)
        for pending in unfinished:
            pending._holder = None
            pending._end(Cancelled("the process was forked; this request is the parent's", request=pending.request))
        self._aside.clear()

    @property
    def _forgettable(self) -> bool:
        """Whether nothing is lost with this object."""
        return not (self._connections or self._openings or self._waits or self._aside) and self._at_rest

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What became of the requests so far.

        ``queued`` (those waiting to be tried again among them) and ``in_flight`` are requests now; ``done`` (answered
        below 400) and ``failed`` are counts, ``bytes`` the bodies received; ``latency`` has the quantiles ``p50``,
        ``p90`` and ``p99`` of the time from sending to the complete answer, in seconds and within 9 %, ``None``
        before the first answer; ``simultaneous`` is the present cap. ``lookups`` has the ``count`` of the look-ups
        that its connections began, of its own name or a proxy's, how many ``failed``, and their ``seconds`` in all.
        """
        in_flight = sum(1 for connection in self._connections if not connection.idle)
        opening = sum(1 for opening in self._openings if opening.pending is not None)
        return {
            'queued': len(self._queue) - self._dropped + opening + len(self._aside),
            'in_flight': in_flight,
            'done': self._done,
            'failed': self._failed,
            'bytes': self._received,
            'simultaneous': self._simultaneous,
            'lookups': {'count': self.lookups.count, 'failed': self.lookups.failed, 'seconds': self.lookups.seconds},
            'latency': {f'p{percent}': self._quantile(percent / 100) for percent in (50, 90, 99)},
        }

    def _quantile(self, share: float) -> float | None:
        missing = share * sum(self._latencies.values())
        for bucket in sorted(self._latencies):
            missing -= self._latencies[bucket]
            if missing <= 0:
                exponent, part = divmod(bucket - 8, 8)
                return float((part + 8.5) / 16 * 2.0**exponent)
        return None

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f'<Client {self.origin}: {stats["queued"]} queued, {stats["in_flight"]} in flight, '
            f'{len(self._idle)} idle connections>'
        )
