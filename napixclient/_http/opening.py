"""Opens connections: name, TCP and TLS, in a greenlet of its own; foreign errors are mapped here.

gevent makes the sockets, so that an unpatched process never blocks; urllib3 does TLS and the checking of names over
them. Imports messages and errors.
"""

from __future__ import annotations

import _socket
import errno
import os
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

__all__ = ['NoPlace', 'Opener', 'connect_error', 'dial']

#: Seconds for which the addresses of a name are remembered.
NAME_SECONDS = 30.0
_MAX_NAMES = 4096


class NoPlace(ConnectError):
    """The process may open no more files: not the request's fault, and its outcome only as a last resort."""


class Opener:
    """Opens sockets for the clients of one pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._resolve = settings.resolver or _resolve
        self._names: dict[tuple[str, int], tuple[float, AsyncResult[list[Any]]]] = {}

    def open(self, origin: Origin) -> Any:
        """A connected gevent socket, or ``SSLSocket`` for https; blocks the calling greenlet.

        :raises ConnectError: for what is known better here; anything else is for :func:`connect_error`.
        """
        return self._connect(origin) if origin.scheme == 'http' else self._connect_tls(origin)

    def plain_address(self, origin: Origin) -> tuple[int, tuple[str, int]] | None:
        """Family and address of what can be reached without asking anybody: a literal, over plain TCP."""
        family = _literal_family(origin.host) if origin.scheme == 'http' else None
        return None if family is None else (family, (origin.host, origin.port))

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
        result.wait()
        exc = result.exception
        if isinstance(exc, OSError) and exc.errno in _LIMITS:
            raise exc
        if exc is not None:
            raise NameResolutionError(f'cannot resolve {origin.host}: {exc}', phase='connect') from exc
        return list(result.value or ())

    def _look_up(self, key: tuple[str, int], result: AsyncResult[list[Any]]) -> None:
        try:
            found = list(self._resolve(*key))
            if not found:
                raise OSError(errno.EADDRNOTAVAIL, 'no address')
            result.set(found)
        except BaseException as exc:            # a gevent.Timeout of the resolver's own, too
            result.set_exception(exc)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise


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
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    return socket.AF_INET


_LIMITS = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])


def connect_error(exc: BaseException) -> HTTPError:
    """The typed error for whatever ended an attempt to connect."""
    error: HTTPError
    if isinstance(exc, HTTPError):
        return exc
    if isinstance(exc, OSError) and exc.errno in _LIMITS:
        error = NoPlace(f'cannot connect: {exc.strerror}', phase='connect')
    elif isinstance(exc, ConnectionRefusedError):
        error = RefusedError('connection refused', phase='connect')
    elif isinstance(exc, ssl.SSLError):
        error = TLSError(f'TLS handshake failed: {exc}', phase='connect')
    elif isinstance(exc, OSError):
        error = ConnectError(f'cannot connect: {exc.strerror or exc}', phase='connect')
    else:
        error = ConnectError(f'cannot connect: {type(exc).__name__}: {exc}', phase='connect')
    error.__cause__ = exc
    return error


def dial(family: int, address: tuple[str, int]) -> Any:
    """A socket of the standard library that is being connected; it is writable when that is done.

    :raises OSError: when it fails at once.
    """
    sock = _socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failure = sock.connect_ex(address)
        if failure not in (0, errno.EINPROGRESS):
            raise OSError(failure, os.strerror(failure))
    except BaseException:
        sock.close()
        raise
    return sock
