"""The steps of opening one connection, in a greenlet of its own: name, TCP, proxy, TLS; maps foreign errors to ours.

gevent makes the sockets, so that an unpatched process never blocks; urllib3 does TLS and the checking of names over
them.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from gevent import socket, ssl

from ...errors import ConnectError, HTTPError, NameResolutionError, ProxyError, RefusedError, TLSError
from ...masking import Shown, mask
from ...messages import Origin, Request
from ..http1.parser import ResponseParser
from ..settings import Settings
from .attempts import Attempts
from .happy_eyeballs import Address, is_limit, literal_family, race
from .local_end import LocalEnd, LocalEndError
from .name_cache import Counts, Lookup, LookupWaiter, NameCache
from .proxies import Proxy
from .proxy_handshakes import Refusal, ask_socks
from .proxy_signing import signer_of
from .tls import TLS
from .tls_in_tls import relayed
from .tunnels import Reconnect, Tunnel
from .unix_sockets import connect_to_path

__all__ = ['ConnectWaiter', 'Connector', 'NoDescriptors', 'connect_error']

#: Seconds for the body of a proxy's refusal; its head says what counts.
REFUSAL_SECONDS = 1.0


class NoDescriptors(ConnectError):
    """The process may open no more files. That is no fault of the request, which waits for a descriptor if it can."""


class ConnectWaiter(LookupWaiter, Protocol):
    """Who waits for a connection, and is told how far it is."""

    #: The proxy that is being talked to, whose silence it then is.
    proxy: Proxy | None
    #: Of ``time.monotonic()``: when it has taken too long.
    expires: float
    #: The addresses that are tried.
    attempts: Attempts

    @property
    def request(self) -> Request | None:
        """What the connection is for."""


class Connector:
    """Opens the connections of one pool.

    :param settings: say which proxies, resolver and TLS context it uses.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: Where the connections come from.
        self.local_end: LocalEnd = settings.local_end
        self.names: NameCache = NameCache(settings.resolver)
        self._tls = TLS(settings)

    def open(self, origin: Origin, waiter: ConnectWaiter) -> socket.socket:
        """Connect; return a gevent socket, or ``SSLSocket`` for https. Blocks the calling greenlet.

        :raises HTTPError: for failures whose kind is known here; :func:`connect_error` makes one of all others.
        """
        if origin.socket_path is not None:
            return self.reach_socket(origin.socket_path, waiter)
        if origin.scheme == 'http':
            return self._reach(origin, waiter)
        settings = self._settings
        return self._tls.secure(
            origin.host,
            origin.port,
            settings.proxy_for(origin),
            lambda: self._reach(origin, waiter),
            assert_hostname=settings.assert_hostname,
            assert_fingerprint=settings.assert_fingerprint,
            server_hostname=settings.server_hostname,
        )

    def plain_address(self, origin: Origin) -> tuple[int, tuple[str, int]] | None:
        """Family and address of an origin that needs neither a look-up, a proxy nor TLS; ``None`` for any other."""
        family = literal_family(origin.host) if origin.scheme == 'http' else None
        if (
            family is None
            or self.local_end.family not in (None, family)
            or self._settings.proxy_for(origin) is not None
        ):
            return None
        return family, (origin.host, origin.port)

    def look_up(self, origin: Origin, counts: Counts) -> Lookup | None:
        """Begin to look up an origin that needs neither a proxy nor TLS beside that; ``None`` for any other."""
        if (
            origin.scheme != 'http'
            or literal_family(origin.host) is not None
            or self._settings.proxy_for(origin) is not None
        ):
            return None
        return self.names.look_up(origin.host, origin.port, counts)

    def forget(self) -> None:
        """In the child of a fork: nothing that is known is known of the child."""
        self.names.forget()
        self._tls.sessions.forget()

    def close(self) -> None:
        """Keep no sessions of TLS any more."""
        self._tls.sessions.close()

    # -- to the origin ---------------------------------------------------------------------------------------------

    def _reach(self, origin: Origin, waiter: ConnectWaiter) -> socket.socket:
        """A socket that leads to the origin, straight or through a proxy."""
        proxy = self._settings.proxy_for(origin)
        if proxy is None:
            return self._race(origin.host, origin.port, waiter)
        if proxy.speaks_socks:
            return self._reach_by_socks(proxy, origin, waiter)
        if proxy.forwards(origin):
            return self._through_proxy(proxy, waiter, lambda *_: None)
        tunnel = Tunnel(proxy, origin, signer_of(self._settings, proxy, origin), self._new_parser)
        while True:
            try:
                return self._through_proxy(proxy, waiter, self._tunnel, tunnel, waiter)
            except Reconnect:
                continue

    def _reach_by_socks(self, proxy: Proxy, origin: Origin, waiter: ConnectWaiter) -> socket.socket:
        if proxy.scheme == 'socks5':
            targets = [address[:2] for _, address in self.addresses(origin.host, origin.port, waiter)]
        elif len(origin.host) <= 255:
            targets = [(origin.host, origin.port)]
        else:
            raise NameResolutionError('the name is longer than the 255 bytes that SOCKS has for it', phase='connect')
        refusal: Refusal | None = None
        for host, port in targets:
            try:
                return self._through_proxy(proxy, waiter, ask_socks, host.partition('%')[0], port)
            except Refusal as exc:  # of that address; perhaps not of the next
                refusal = exc
        assert refusal is not None  # there was an address
        raise refusal.error

    def _race(self, host: str, port: int, waiter: ConnectWaiter) -> socket.socket:
        """A socket to whichever address of the host takes the connection first."""
        addresses = self.local_end.fitting(host, self.addresses(host, port, waiter))
        return race(addresses, self.local_end, waiter.attempts)

    def reach_socket(self, path: str, waiter: ConnectWaiter) -> socket.socket:
        """A socket that is connected to a Unix socket; a subclass may refuse."""
        return connect_to_path(path, self.local_end, waiter.attempts)

    # -- through a proxy -------------------------------------------------------------------------------------------

    def _through_proxy(
        self, proxy: Proxy, waiter: ConnectWaiter, ask: Callable[..., socket.socket | None], *target: object
    ) -> socket.socket:
        """A socket to the proxy, or what ``ask`` made of it; failures are blamed on the proxy.

        :param ask: tells the proxy, over the socket, where to connect; a typed error that it raises is the outcome.
        """
        waiter.proxy = proxy
        try:
            sock = self._connect_to_proxy(proxy, waiter)
        except Exception as exc:
            raise _blame(proxy, exc) from exc
        try:
            found = ask(sock, proxy, *target) or sock
        except BaseException as exc:
            sock.close()
            if isinstance(exc, Exception) and not isinstance(exc, (HTTPError, Refusal, Reconnect)):
                raise _blame(proxy, exc) from exc
            raise
        waiter.proxy = None
        return found

    def _connect_to_proxy(self, proxy: Proxy, waiter: ConnectWaiter) -> socket.socket:
        """A socket to the proxy itself."""

        def dial() -> socket.socket:
            return self._race(proxy.host, proxy.port, waiter)

        return self._tls.secure(proxy.host, proxy.port, None, dial) if proxy.scheme == 'https' else dial()

    def _new_parser(self) -> ResponseParser:
        return ResponseParser(self._settings.max_header_bytes, self._settings.max_header_fields)

    def _tunnel(self, sock: socket.socket, proxy: Proxy, tunnel: Tunnel, waiter: ConnectWaiter) -> socket.socket | None:
        tunnel.ask(sock, waiter.request, min(REFUSAL_SECONDS, max(waiter.expires - monotonic(), 0.0) / 2))
        return relayed(sock) if proxy.scheme == 'https' else None

    # -- names -----------------------------------------------------------------------------------------------------

    def addresses(self, host: str, port: int, waiter: ConnectWaiter) -> list[Address]:
        """The addresses to try; blocks the calling greenlet."""
        return self.admitted(host, self.names.addresses(host, port, waiter))

    def candidates(self, host: str, found: list[Address]) -> list[Address]:
        """Those of a host's addresses to which a socket of ours is to be connected.

        :raises HTTPError: when none of them can be, or may be.
        """
        return self.local_end.fitting(host, self.admitted(host, found))

    def admitted(self, host: str, found: list[Address]) -> list[Address]:
        """Those of a host's addresses that may be connected to; a subclass may refuse some.

        :raises HTTPError: when it refuses all.
        """
        return found


def connect_error(exc: BaseException) -> HTTPError:
    """The typed error for whatever ended an attempt to connect."""
    error: HTTPError
    if isinstance(exc, HTTPError):
        return exc
    if is_limit(exc):
        error = NoDescriptors(f'cannot connect: {getattr(exc, "strerror", exc)}', phase='connect')
    elif isinstance(exc, ConnectionRefusedError):
        error = RefusedError('connection refused', phase='connect')
    elif isinstance(exc, ssl.SSLError):
        error = TLSError(Shown(f'TLS handshake failed: {exc}'), phase='connect')
    elif isinstance(exc, OSError):
        error = ConnectError(f'cannot connect: {exc.strerror or exc}', phase='connect')
    else:
        error = ConnectError(f'cannot connect: {type(exc).__name__}: {mask(str(exc))}', phase='connect')
    error.__cause__ = exc
    return error


def _blame(proxy: Proxy, exc: Exception) -> HTTPError:
    """The error for a proxy's failure; that the process may open no more files, or not from there, is none."""
    error = connect_error(exc)
    return (
        error
        if isinstance(error, NoDescriptors) or isinstance(exc, LocalEndError)
        else ProxyError(Shown(f'the proxy {proxy}: {error.message}'), phase='connect')
    )
