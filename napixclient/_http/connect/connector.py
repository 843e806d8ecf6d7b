"""Opens connections: name, TCP, proxy and TLS, in a greenlet of its own; foreign errors are mapped here.

gevent makes the sockets, so that an unpatched process never blocks; urllib3 does TLS and the checking of names over
them.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import ssl
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPSConnection

from ...errors import ConnectError, HTTPError, NameResolutionError, ProxyError, RefusedError, TLSError
from ...masking import Shown, mask
from ...messages import Origin
from ..http1.wire import ResponseReader
from ..settings import Settings
from .happy_eyeballs import Address, is_limit, literal_family, race
from .names import Names
from .proxies import Proxy, Refusal, ask_socks, ask_tunnel
from .tls_in_tls import End, RelayedSocket, relayed

if TYPE_CHECKING:
    from .dialer import Opening

__all__ = ['NoPlace', 'Opener', 'connect_error']

#: Seconds for the body of a proxy's refusal; its head says what counts.
REFUSAL_SECONDS = 1.0


class NoPlace(ConnectError):
    """The process may open no more files: not the request's fault, and its outcome only as a last resort."""


class Opener:
    """Opens sockets for the clients of one pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.names = Names(settings.resolver)

    def open(self, origin: Origin, opening: Opening) -> Any:
        """A connected gevent socket, or ``SSLSocket`` for https; blocks the calling greenlet.

        :param opening: is told by ``proxy`` which proxy is being talked to, whose silence it then is.
        :raises ConnectError: for what is known better here; anything else is for :func:`connect_error`.
        """
        if origin.scheme == 'http':
            return self._reach(origin, opening)
        settings = self._settings
        return self._secure(
            origin.host,
            origin.port,
            lambda: self._reach(origin, opening),
            assert_hostname=settings.assert_hostname,
            assert_fingerprint=settings.assert_fingerprint,
            server_hostname=settings.server_hostname,
        )

    def plain_address(self, origin: Origin) -> tuple[int, tuple[str, int]] | None:
        """Family and address of what can be reached without asking anybody: a literal, over plain TCP."""
        family = literal_family(origin.host) if origin.scheme == 'http' else None
        if family is None or self._settings.proxy_for(origin) is not None:
            return None
        return family, (origin.host, origin.port)

    # -- to the origin ---------------------------------------------------------------------------------------------

    def _reach(self, origin: Origin, opening: Opening) -> Any:
        """A socket that leads to the origin, straight or through a proxy."""
        proxy = self._settings.proxy_for(origin)
        if proxy is None:
            return race(self._addresses(origin.host, origin.port, opening))
        if proxy.speaks_socks:
            return self._reach_by_socks(proxy, origin, opening)
        return self._through(proxy, opening, self._tunnel, origin, opening)

    def _reach_by_socks(self, proxy: Proxy, origin: Origin, opening: Opening) -> Any:
        if proxy.scheme == 'socks5':
            places = [address[:2] for _, address in self._addresses(origin.host, origin.port, opening)]
        elif len(origin.host) <= 255:
            places = [(origin.host, origin.port)]
        else:
            raise NameResolutionError('the name is longer than the 255 bytes that SOCKS has for it', phase='connect')
        refusal: Refusal | None = None
        for host, port in places:
            try:
                return self._through(proxy, opening, ask_socks, host.partition('%')[0], port)
            except Refusal as exc:  # of that address; perhaps not of the next
                refusal = exc
        assert refusal is not None  # there was an address
        raise refusal.error

    def _secure(self, host: str, port: int, dial: Callable[[], Any], **checks: Any) -> Any:
        """TLS over the socket that ``dial`` makes, the certificate checked against the host.

        :param checks: what urllib3 is to check instead.
        """
        handshake: Any = _Handshake(self._settings.ssl_context())
        connection = _TLSConnection(
            host, port, ssl_context=handshake, cert_reqs=None if self._settings.verify else 'CERT_NONE', **checks
        )
        connection.dial = dial
        try:
            connection.connect()
        except BaseException as exc:
            for sock in (handshake.socket, connection.sock):
                if sock is not None:
                    sock.close()
            if connection.dialled and isinstance(exc, (OSError, urllib3_errors.HTTPError, ValueError)):
                raise TLSError(Shown(f'TLS handshake failed: {exc}'), phase='connect') from exc
            raise
        return connection.sock

    # -- through a proxy -------------------------------------------------------------------------------------------

    def _through(self, proxy: Proxy, opening: Opening, ask: Callable[..., Any], *place: Any) -> Any:
        """A socket to the proxy, or what ``ask`` made of it; what goes wrong is the proxy's failure.

        :param ask: says over the socket where to; a typed error of its own is the outcome.
        """
        opening.proxy = proxy
        try:
            sock = self._call(proxy, opening)
        except Exception as exc:
            raise _blame(proxy, exc) from exc
        try:
            found = ask(sock, proxy, *place) or sock
        except BaseException as exc:
            sock.close()
            if isinstance(exc, Exception) and not isinstance(exc, (HTTPError, Refusal)):
                raise _blame(proxy, exc) from exc
            raise
        opening.proxy = None
        return found

    def _call(self, proxy: Proxy, opening: Opening) -> Any:
        """A socket to the proxy itself."""

        def dial() -> Any:
            return race(self._addresses(proxy.host, proxy.port, opening))

        return self._secure(proxy.host, proxy.port, dial) if proxy.scheme == 'https' else dial()

    def _tunnel(self, sock: Any, proxy: Proxy, origin: Origin, opening: Opening) -> Any:
        if proxy.forwards(origin):
            return None
        settings, pending = self._settings, opening.pending
        ask_tunnel(
            sock,
            proxy,
            origin,
            ResponseReader(settings.max_header_bytes, settings.max_header_fields),
            None if pending is None else pending.request,
            min(REFUSAL_SECONDS, max(opening.expires - monotonic(), 0.0) / 2),
        )
        return relayed(sock) if proxy.scheme == 'https' else None

    # -- names -----------------------------------------------------------------------------------------------------

    def _addresses(self, host: str, port: int, opening: Opening) -> list[Address]:
        """The addresses to try."""
        return self.names.addresses(host, port, opening)


class _Handshake:
    """An SSL context for one handshake, which lets hold of its socket: else nobody could close it on a kill."""

    __slots__ = ('_context', 'check_hostname', 'socket')

    def __init__(self, context: ssl.SSLContext) -> None:
        for name, value in ('_context', context), ('check_hostname', context.check_hostname), ('socket', None):
            object.__setattr__(self, name, value)

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        """Called by urllib3."""
        context = self._context
        shared = context.check_hostname
        # urllib3 checks other names and fingerprints itself, and takes this from the context then. The context is
        # shared, if not the caller's own, so it is put back before anybody else has a turn.
        context.check_hostname = self.check_hostname
        try:
            wrapped = context.wrap_socket(sock, do_handshake_on_connect=False, **options)
        finally:
            context.check_hostname = shared
        if isinstance(sock, End):
            wrapped.__class__ = RelayedSocket
            wrapped.relay = sock.relay
        object.__setattr__(self, 'socket', wrapped)
        wrapped.do_handshake()
        return wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == 'check_hostname':
            object.__setattr__(self, name, value)
        else:
            setattr(self._context, name, value)


class _TLSConnection(HTTPSConnection):
    """urllib3's connection over a socket that we made."""

    dial: Callable[[], Any]
    dialled = False

    def _new_conn(self) -> Any:
        sock = self.dial()
        self.dialled = True
        return sock


def connect_error(exc: BaseException) -> HTTPError:
    """The typed error for whatever ended an attempt to connect."""
    error: HTTPError
    if isinstance(exc, HTTPError):
        return exc
    if is_limit(exc):
        error = NoPlace(f'cannot connect: {getattr(exc, "strerror", exc)}', phase='connect')
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
    """The error for a proxy's failure; that the process may open no more files is not one."""
    error = connect_error(exc)
    return (
        error
        if isinstance(error, NoPlace)
        else ProxyError(Shown(f'the proxy {proxy}: {error.message}'), phase='connect')
    )
