"""TLS over a socket that we opened: urllib3 does the handshake and checks the names (RFC 9110 §4.3.4)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal

from gevent import socket, ssl
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPSConnection

from ...errors import TLSError
from ...masking import Shown
from ..settings import Settings
from .sessions import Resumable, Session, Sessions
from .tls_in_tls import End, RelayedSocket

__all__ = ['TLS']


class TLS:
    """Makes the handshakes of one pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sessions: Sessions = Sessions()

    def secure(
        self,
        host: str,
        port: int,
        via: Hashable,
        dial: Callable[[], socket.socket],
        *,
        assert_hostname: str | Literal[False] | None = None,
        assert_fingerprint: str | None = None,
        server_hostname: str | None = None,
    ) -> socket.socket:
        """TLS over the socket that ``dial`` makes, the certificate checked against the host.

        :param via: through what the host is reached.
        :param dial: called once more when the handshake fails after a session was offered.
        :param assert_hostname: the name to find in the certificate instead, ``False`` for none.
        :param assert_fingerprint: the digest of the only certificate that is accepted.
        :param server_hostname: the name to ask for instead (SNI).
        :raises TLSError: when the handshake fails.
        """
        place = (host, port, via, assert_hostname, assert_fingerprint, server_hostname)
        failed: _Handshake | None = None
        for sessions in self.sessions, None:
            handshake: Any = _Handshake(self._settings.ssl_context(), sessions, place)
            connection = _TLSConnection(
                host,
                port,
                ssl_context=handshake,
                cert_reqs=None if self._settings.verify else 'CERT_NONE',
                assert_hostname=assert_hostname,
                assert_fingerprint=assert_fingerprint,
                server_hostname=server_hostname,
            )
            connection.dial = dial
            if _connect(connection, handshake):
                break
            failed = handshake
        if failed is not None:
            failed.blame()
        return connection.sock


def _connect(connection: _TLSConnection, handshake: _Handshake) -> bool:
    """Make the handshake; false when it failed with a session that it may do without.

    :raises TLSError: when it fails for any other reason.
    """
    try:
        connection.connect()
    except BaseException as exc:
        for sock in (handshake.socket, connection.sock):
            if sock is not None:
                sock.close()
        if handshake.failed(exc):
            return False
        if connection.dialled and isinstance(exc, (OSError, urllib3_errors.HTTPError, ValueError)):
            raise TLSError(Shown(f'TLS handshake failed: {exc}'), phase='connect') from exc
        raise
    handshake.completed()
    return True


class _Handshake:
    """An SSL context for one handshake. It exposes the socket, which has to be closed when the greenlet is killed.

    :param sessions: where to find a session to offer; None to offer none.
    :param place: whom it is with, through what, and what urllib3 checks besides what the context says.
    """

    __slots__ = ('_context', '_key', '_offered', '_place', '_sessions', 'check_hostname', 'socket')

    def __init__(self, context: ssl.SSLContext, sessions: Sessions | None, place: tuple[Hashable, ...]) -> None:
        self._context = context
        self._sessions = sessions
        self._place = place
        self._key: Hashable = None
        self._offered: Session | None = None
        self.check_hostname: bool = context.check_hostname
        self.socket: Any = None

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        """Called by urllib3."""
        context = self._context
        shared = context.check_hostname
        # urllib3 checks other names and fingerprints itself, and clears this flag of the context then. The context is
        # shared, or even the caller's own, so the flag is restored before any other greenlet runs.
        context.check_hostname = self.check_hostname
        try:
            self._offer(options.get('server_hostname'))
            ticket = None if self._offered is None else self._offered.ticket
            wrapped: Any = context.wrap_socket(sock, do_handshake_on_connect=False, session=ticket, **options)
        finally:
            context.check_hostname = shared
        wrapped.__class__ = Resumable
        if isinstance(sock, End):
            wrapped.__class__ = RelayedSocket
            wrapped.relay = sock.relay
        self.socket = wrapped
        wrapped.do_handshake()
        return wrapped

    def _offer(self, server_hostname: str | None) -> None:
        """Find a session that was made under the very checks that are made now."""
        context = self._context
        flags = context.verify_flags
        # A list of revoked certificates may be added at any time, and expires: each handshake has to look at it.
        if self._sessions is not None and not flags & ssl.VERIFY_CRL_CHECK_CHAIN:
            names = server_hostname, context.check_hostname, context.hostname_checks_common_name
            self._key = (context, context.verify_mode, flags, names, self._place)
            self._offered = self._sessions.offer(self._key)

    def completed(self) -> None:
        """All was checked: a session of it may be offered later."""
        if self._sessions is not None and self._key is not None:
            self._sessions.completed(self._key, self._offered, self.socket)

    def failed(self, exc: BaseException) -> bool:
        """Drop the session that was offered; true if the handshake may have failed because of it."""
        if self._sessions is None or self._offered is None:
            return False
        self._sessions.failed(self._key)
        return isinstance(exc, OSError) and not isinstance(exc, ssl.SSLCertVerificationError)

    def blame(self) -> None:
        """The handshake succeeds without the session: offer this server none."""
        if self._sessions is not None:
            self._sessions.failed(self._key, for_good=True)

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """The context's; urllib3 sets it to what it is, or to none where nothing is to be verified."""
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        self._context.verify_mode = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _TLSConnection(HTTPSConnection):
    """urllib3's connection over a socket that we made."""

    dial: Callable[[], socket.socket]
    dialled = False

    def _new_conn(self) -> socket.socket:
        sock = self.dial()
        self.dialled = True
        return sock
