"""The client of one host: sends requests, cancels them, and counts what became of them."""

from __future__ import annotations

from typing import Literal, overload

from ._http.core import PoolCore
from ._http.figures import Stats
from ._http.options import Options, Simultaneous
from ._http.origin_pool import OriginPool
from ._http.origins import Origins
from ._http.pending import PendingResponse
from ._http.settings import Settings
from ._http.streaming import StreamedResponse
from ._options import Unpack, lists
from .authenticators import Authenticator, Credentials, authenticator_of
from .checks import count_or_auto
from .messages import (
    Body,
    Fields,
    Origin,
    Request,
    RequestOptions,
    Response,
    WholeOptions,
    parse_origin,
    plain_request,
    request_with,
)
from .verbs import ClientVerbs

__all__ = ['Client', 'Stats']


@lists(Options)
class Client(ClientVerbs):
    """Sends requests to one host, at most ``simultaneous`` at a time over as many connections.

    >>> client = Client('server.example', {'login': 'root', 'key': 'toor'})
    >>> client.request('GET', '/').body
    ['/abc', '/captain']

    :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight at most, or ``'auto'`` to learn from its answers how many it can take.
    :param options: those of :class:`Options`:
    :raises ValueError: for a host, an authenticator or an option that makes no sense.
    :raises TypeError: for an option that there is not.
    """

    def __init__(
        self,
        host: str,
        authenticator: Credentials | None = None,
        simultaneous: Simultaneous = 2,
        **options: Unpack[Options],
    ) -> None:
        origin = parse_origin(host)
        cap, prove = count_or_auto(simultaneous, 'simultaneous'), authenticator_of(authenticator)
        core = PoolCore(Settings.of(Client, options))
        origins = Origins.of_strangers(core, cap)
        self._origins: Origins | None = origins
        self._pool = OriginPool(core, origin, host, cap, prove, origins.pool_for)
        origins.add(self._pool)

    @classmethod
    def of_pool(cls, pool: OriginPool) -> Client:
        """A client over the pool of an origin that belongs to somebody else, such as a :class:`ClientPool`."""
        self = cls.__new__(cls)
        self._origins = None
        self._pool = pool
        return self

    @property
    def host(self) -> str:
        """The host as it was given."""
        return self._pool.host

    @property
    def origin(self) -> Origin:
        """Scheme, host and port."""
        return self._pool.origin

    @property
    def settings(self) -> Settings:
        """The options, as they were checked."""
        return self._pool.settings

    @property
    def authenticator(self) -> Authenticator | None:
        """What signs the requests."""
        return self._pool.authenticator

    # -- asking ----------------------------------------------------------------------------------------------------

    @overload
    def request(
        self,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        stream: Literal[True],
        **options: Unpack[WholeOptions],
    ) -> StreamedResponse: ...

    @overload
    def request(
        self,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        *,
        stream: bool = False,
        **options: Unpack[WholeOptions],
    ) -> Response: ...

    @lists(RequestOptions)
    def request(
        self,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Send a request and wait for its answer.

        An exception that is thrown in while it waits, such as that of a ``gevent.Timeout``, cancels the request.

        :param options: those of :class:`RequestOptions`; with ``stream=True`` it returns a :class:`StreamedResponse`:
        :raises HTTPError: when the server answered 400 or above, or not at all.
        :raises ValueError: for a part that cannot be sent.
        :raises TypeError: for an option that there is not.
        """
        pending = self.submit(method, url, body, headers, **options)
        try:
            return pending.get()
        except BaseException:
            pending.cancel()
            raise

    @lists(RequestOptions)
    def submit(
        self,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> PendingResponse:
        """Send a request; its answer can be waited for later.

        :param options: those of :class:`RequestOptions`:
        """
        host = self._pool.host
        request = (
            request_with(Client.request, host, method, url, body, headers, options)
            if options
            else plain_request(host, method, url, body, headers)
        )
        return self._pool.submit(request, None)

    def send(self, request: Request) -> PendingResponse:
        """Send a request that was made for this host; its answer can be waited for later."""
        return self._pool.submit(request, None)

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End everything that is queued or in flight with :class:`Cancelled`, streamed answers too."""
        (self._origins or self._pool).cancel()

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        if self._origins is None:
            self.cancel()
        else:
            self._origins.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        origins: Origins | None = getattr(self, '_origins', None)
        if origins is not None:
            origins.on_collected()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What became of the requests so far.

        ``queued`` (those waiting to be tried again among them) and ``in_flight`` are requests now; ``done`` (answered
        below 400) and ``failed`` are counts, ``bytes`` the bodies received; ``latency`` has the quantiles ``p50``,
        ``p90`` and ``p99`` of the time from sending to the complete answer, in seconds and within 7 %, ``None``
        before the first answer; ``simultaneous`` is the present cap. ``lookups`` has the ``count`` of the look-ups
        that its connections began, of its own name or a proxy's, how many ``failed``, and their ``seconds`` in all.
        """
        return self._pool.stats()

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f'<Client {self._pool.origin}: {stats["queued"]} queued, {stats["in_flight"]} in flight, '
            f'{len(self._pool.slots.idle)} idle connections>'
        )
