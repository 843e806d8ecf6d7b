"""The options of clients and pools, as their callers see them: types and meanings. Defaults are in :mod:`.settings`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http.cookiejar import CookieJar
from typing import Any, Literal, TypedDict

from gevent import ssl
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import lists
from ..authenticators import Authenticator
from ..errors import HTTPError
from ..messages import Request, Response

__all__ = ['Options', 'Resolver', 'RetryOn', 'SharedOptions', 'Simultaneous']

#: How many requests may be in flight to one origin.
Simultaneous = int | Literal['auto']
#: Whether an outcome is tried again.
RetryOn = Callable[[Response | HTTPError], object]
Resolver = Callable[[str, int], list[Any] | tuple[list[Any], float]]


class SharedOptions(TypedDict, total=False):
    """The options that all clients have.

    :param max_connections: ``int``, connections open at once in the whole pool. Default: 1,024 or three quarters of
        the descriptors that the process may still open, whichever is less.
    :param timeout: ``float``, seconds in all for a request, or :class:`urllib3.Timeout`. Default: 10 s to connect,
        60 s between reads, and no total.
    :param retries: :class:`urllib3.Retry` or an ``int``, tries after the first; ``False`` for none at all. Default:
        only an idempotent request whose reused connection turned out to be closed is sent once more.
    :param retry_on: a callable that is given an outcome, a :class:`Response` or an :class:`HTTPError`, and returns
        whether the request is tried again, instead of the statuses and failures that ``retries`` names. Those still
        say how often (without them three times), after which pause, and which methods. Default: ``None``.
    :param retry_budget: ``(share, rate)``, both ``float``: retries may be that share of the requests, and ``rate`` a
        second more; beyond that the last failure is the outcome. ``None`` for no bound. Default: ``(0.2, 10)``.
    :param max_body: ``int``, the largest body in bytes, as sent and as decoded. Default: 64 MiB, and no bound for
        streamed answers.
    :param decode: ``bool``, undo content codings (RFC 9110 §8.4); ``False`` for bodies as they came. Default:
        ``True``.
    :param ca_certs: ``str``, the path of a file of PEM certificates to trust instead of the system's. Default:
        ``None``.
    :param cert: ``str``, the path of a PEM file with certificate and key to show to servers, or
        ``(certificate, key)``. Default: ``None``.
    :param ssl_context: a ``gevent.ssl.SSLContext`` of one's own, instead of ``verify``, ``ca_certs``, ``cert`` and
        ``ssl_minimum_version``. Default: ``None``.
    :param assert_hostname: ``str``, the name to find in certificates instead of the host's; ``False`` for none.
        Default: ``None``, the host's.
    :param assert_fingerprint: ``str``, the digest in hex of the only certificate that is accepted. Default: ``None``.
    :param server_hostname: ``str``, the name to ask for in the TLS handshake (SNI). Default: ``None``, the host's.
    :param ssl_minimum_version: an ``ssl.TLSVersion``, the oldest version of TLS that is spoken. Default: 1.2.
    :param proxy: ``str``, the URL of a proxy, such as ``http://user:password@proxy.example:3128``; ``http`` and
        ``https`` are HTTP proxies, ``socks5`` and ``socks5h`` SOCKS proxies, of which the latter looks names up
        itself. Default: ``None``.
    :param proxy_auth: an authenticator, such as ``Digest`` or ``BasicAuth``, that proves to an HTTP proxy who asks, and
        may answer its 407. What it adds as ``Authorization`` is sent as ``Proxy-Authorization``. Default: ``None``,
        what the URL of the proxy says.
    :param no_proxy: a list of ``str`` or one ``str`` with commas: hosts, suffixes and networks that are reached
        without the proxy; ``*`` for all. Default: ``None``.
    :param source_address: ``str``, the address of this machine that connections come from, or a pair of that (``''``
        for any) and a port (0 for any). Addresses of the other family are not tried. Default: ``None``, the system's
        choice.
    :param local_port_range: a pair of ``int``, the first and the last port that connections may come from. Default:
        ``None``, the system's choice.
    :param socket_options: a list of triples ``(level, option, value)`` as ``socket.setsockopt`` takes them, set on
        every socket before it is connected, behind ``TCP_NODELAY``, which is set to 1; on Unix sockets those of the
        level ``SOL_SOCKET``. Default: ``None``, no more.
    :param resolver: a callable ``(host, port)`` that returns a list of 5-tuples as ``socket.getaddrinfo`` does, or a
        pair of such a list and the seconds for which it is good (a TTL; 30 without). Default: ``None``, the system's
        names.
    :param redirect: ``bool``, follow redirects (RFC 9110 §15.4); credentials never follow to another origin. Default:
        ``False``.
    :param max_redirects: ``int``, redirects of one request that are followed at most; one more is a
        :class:`ProtocolError`. Default: 10.
    :param cookies: an :class:`http.cookiejar.CookieJar` to keep cookies in and to take them from. Default: ``None``,
        none are kept.
    :param rate: ``float``, requests a second to each origin at most, tries and redirects included; at most one
        second's worth is saved up. A 429 with ``Retry-After`` pauses that origin, then halves its rate, which
        recovers within 10 s. Default: ``None``, no bound.
    :param on_request: a callable, called with the :class:`Request` at each attempt. Default: ``None``.
    :param on_response: a callable, called with each :class:`Response`. Default: ``None``.
    :param on_error: a callable, called with each :class:`HTTPError`. Default: ``None``.
    :param idle_seconds: ``float``, seconds after which an idle connection is closed, and a host without one is
        forgotten. Default: 30.
    :param max_idle: ``int``, idle connections that are kept to one origin at most. Default: ``None``, no bound.
    :param max_header_bytes: ``int``, bound of the head of an answer, in bytes. Default: 65,536.
    :param max_header_fields: ``int``, bound of the number of fields in it. Default: 256.
    :param secret_names: an iterable of ``str``, further names of header fields, parameters and members that carry
        credentials: they are masked wherever the process shows them, and such a field follows no redirect to another
        origin. Default: none.
    """

    max_connections: int | None
    timeout: float | Timeouts | None
    retries: Retry | int | bool | None
    retry_on: RetryOn | None
    retry_budget: tuple[float, float] | None
    max_body: int | None
    decode: bool
    ca_certs: str | None
    cert: str | tuple[str, str] | None
    ssl_context: ssl.SSLContext | None
    assert_hostname: str | bool | None
    assert_fingerprint: str | None
    server_hostname: str | None
    ssl_minimum_version: ssl.TLSVersion | None
    proxy: str | None
    proxy_auth: Authenticator | None
    no_proxy: str | Iterable[str] | None
    source_address: str | tuple[str, int] | None
    local_port_range: tuple[int, int] | None
    socket_options: Sequence[tuple[int, int, int | bytes]] | None
    resolver: Resolver | None
    redirect: bool
    max_redirects: int
    cookies: CookieJar | None
    rate: float | None
    on_request: Callable[[Request], object] | None
    on_response: Callable[[Response], object] | None
    on_error: Callable[[HTTPError], object] | None
    idle_seconds: float
    max_idle: int | None
    max_header_bytes: int
    max_header_fields: int
    secret_names: Iterable[str]


@lists(SharedOptions)
class Options(SharedOptions, total=False):
    """The options of :class:`Client`, :class:`ClientPool` and those that are made of them.

    :param headers: a mapping of names to values, fields for every request that does not set them itself. Default:
        ``User-Agent``, ``Accept`` and ``Accept-Encoding``.
    :param verify: ``bool``, ``False`` to accept any certificate. Default: ``True``.
    """

    headers: Mapping[str, object] | None
    verify: bool
