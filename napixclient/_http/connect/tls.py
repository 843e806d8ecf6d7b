"""TLS over a socket that we opened: urllib3 does the handshake and checks the names (RFC 9110 §4.3.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from gevent import socket, ssl
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPSConnection

from ...errors import TLSError
from ...masking import Shown
from ..settings import Settings
from .tls_in_tls import End, RelayedSocket

__all__ = ['secure']


def secure(
    settings: Settings,
    host: str,
    port: int,
    dial: Callable[[], socket.socket],
    *,
    assert_hostname: str | Literal[False] | None = None,
    assert_fingerprint: str | None = None,
    server_hostname: str | None = None,
) -> socket.socket:
    """TLS over the socket that ``dial`` makes, the certificate checked against the host.

    :param assert_hostname: the name to find in the certificate instead, ``False`` for none.
    :param assert_fingerprint: the digest of the only certificate that is accepted.
    :param server_hostname: the name to ask for instead (SNI).
    :raises TLSError: when the handshake fails.
    """
    handshake: Any = _Handshake(settings.ssl_context())
    connection = _TLSConnection(
        host,
        port,
        ssl_context=handshake,
        cert_reqs=None if settings.verify else 'CERT_NONE',
        assert_hostname=assert_hostname,
        assert_fingerprint=assert_fingerprint,
        server_hostname=server_hostname,
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


class _Handshake:
    """An SSL context for one handshake. It exposes the socket, which has to be closed when the greenlet is killed."""

    __slots__ = ('_context', 'check_hostname', 'socket')

    def __init__(self, context: ssl.SSLContext) -> None:
        for name, value in ('_context', context), ('check_hostname', context.check_hostname), ('socket', None):
            object.__setattr__(self, name, value)

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        """Called by urllib3."""
        context = self._context
        shared = context.check_hostname
        # urllib3 checks other names and fingerprints itself, and clears this flag of the context then. The context is
        # shared, or even the caller's own, so the flag is restored before any other greenlet runs.
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

    dial: Callable[[], socket.socket]
    dialled = False

    def _new_conn(self) -> socket.socket:
        sock = self.dial()
        self.dialled = True
        return sock
