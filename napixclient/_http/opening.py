"""Opens connections: name, TCP and TLS, in a greenlet of its own; foreign errors are mapped here.

gevent makes the sockets, so that an unpatched process never blocks; urllib3 does TLS and the checking of names over
them. Imports messages and errors.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent import socket, ssl
from gevent.event import AsyncResult
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPSConnection

from ..errors import ConnectError, HTTPError, NameResolutionError, RefusedError, TLSError
from ..messages import Origin
from .settings import Settings

__all__ = ['NoDescriptors', 'Opener']

#: Seconds for which the addresses of a name are remembered.
NAME_SECONDS = 30.0
_MAX_NAMES = 4096


class NoDescriptors(Exception):
    """The process may open no more files: not the request's fault, nor the host's."""


class Opener:
    """Opens sockets for the clients of one pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._resolve = settings.resolver or _resolve
        self._names: dict[tuple[str, int], tuple[float, AsyncResult[list[Any]]]] = {}

    def open(self, origin: Origin) -> Any:
        """A connected gevent socket, or ``SSLSocket`` for https; blocks the calling greenlet.

        :raises ConnectError: typed; :class:`NoDescriptors` at the process's limit on open files.
        """
        try:
            if origin.scheme == 'http':
                return self._connect(origin)
            return self._connect_tls(origin)
        except OSError as exc:
            raise _connect_error(exc) from exc

    def _connect(self, origin: Origin) -> Any:
        failure: OSError | None = None
        for family, kind, proto, _, address in self._addresses(origin):
            sock = None
            try:
                sock = socket.socket(family, kind, proto)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                return sock
            except OSError as exc:
                if sock is not None:
                    sock.close()
                if exc.errno in _LIMITS:
                    raise
                failure = exc
            except BaseException:           # killed, or out of time
                if sock is not None:
                    sock.close()
                raise
        raise failure or OSError(errno.EADDRNOTAVAIL, 'the name has no address')

    def _connect_tls(self, origin: Origin) -> Any:
        settings = self._settings
        handshake: Any = _Handshake(settings.ssl_context())
        connection = _TLSConnection(
            origin.host, origin.port, ssl_context=handshake,
            cert_reqs=None if settings.verify else 'CERT_NONE', assert_hostname=settings.assert_hostname,  # type: ignore[arg-type]
            assert_fingerprint=settings.assert_fingerprint, server_hostname=settings.server_hostname)
        connection.dial = lambda: self._connect(origin)
        try:
            connection.connect()
        except BaseException as exc:
            for sock in (handshake.socket, connection.sock):
                if sock is not None:
                    sock.close()
            if connection.dialled and isinstance(exc, (OSError, urllib3_errors.HTTPError, ValueError)):
                raise TLSError(f'TLS handshake failed: {exc}', phase='connect') from exc
            raise
        return connection.sock

    def _addresses(self, origin: Origin) -> list[Any]:
        """The addresses to try; look-ups of one name at the same time are one look-up."""
        family = _literal_family(origin.host)
        if family is not None:
            return [(family, socket.SOCK_STREAM, 0, '', (origin.host, origin.port))]
        key = origin.host, origin.port
        expires, result = self._names.get(key, (0.0, None))
        if result is None or (expires < monotonic() and result.ready()) or (
                result.ready() and not result.successful()):
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            result = AsyncResult()
            self._names[key] = (monotonic() + NAME_SECONDS, result)
            gevent.spawn(self._look_up, key, result)    # its own greenlet: who asked first may be killed
        try:
            return list(result.get() or ())
        except Exception as exc:
            raise NameResolutionError(f'cannot resolve {origin.host}: {exc}', phase='connect') from exc

    def _look_up(self, key: tuple[str, int], result: AsyncResult[list[Any]]) -> None:
        try:
            found = list(self._resolve(*key))
            if not found:
                raise OSError(errno.EADDRNOTAVAIL, 'no address')
            result.set(found)
        except Exception as exc:
            result.set_exception(exc)


class _Handshake:
    """An SSL context that lets hold of its socket during the handshake: else nobody could close it on a kill."""

    __slots__ = ('_context', 'socket')

    def __init__(self, context: ssl.SSLContext) -> None:
        object.__setattr__(self, '_context', context)
        object.__setattr__(self, 'socket', None)

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        """Called by urllib3."""
        wrapped = self._context.wrap_socket(sock, do_handshake_on_connect=False, **options)
        object.__setattr__(self, 'socket', wrapped)
        wrapped.do_handshake()
        return wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._context, name, value)


class _TLSConnection(HTTPSConnection):
    """urllib3's connection over a socket that we made."""

    dial: Callable[[], Any]
    dialled = False

    def _new_conn(self) -> Any:
        sock = self.dial()
        self.dialled = True
        return sock


def _resolve(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _literal_family(host: str) -> int | None:
    """The address family of a literal; it needs no look-up, which would take one of the few resolver threads."""
    if ':' in host:
        return socket.AF_INET6 if '%' not in host else None
    if not host[-1:].isdigit():
        return None
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return None
    return socket.AF_INET


_LIMITS = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])


def _connect_error(exc: OSError) -> Exception:
    """The typed error for what the system said; the socket family of errors is all that reaches this place."""
    if isinstance(exc, HTTPError):
        return exc
    if exc.errno in _LIMITS:
        return NoDescriptors(str(exc))
    if isinstance(exc, ConnectionRefusedError):
        return RefusedError('connection refused', phase='connect')
    if isinstance(exc, socket.gaierror):
        return NameResolutionError(f'cannot resolve the name: {exc}', phase='connect')
    if isinstance(exc, ssl.SSLError):
        return TLSError(f'TLS handshake failed: {exc}', phase='connect')
    return ConnectError(f'cannot connect: {exc.strerror or exc}', phase='connect')
