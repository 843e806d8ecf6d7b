"""TLS sessions of one pool, by which a handshake is shorter and checks no certificate (RFC 8446 §2.2, RFC 5077).

A session is resumed only under the checks that its full handshake passed, and for an hour after it at most: a server
shows no certificate meanwhile, so a new one is not seen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from time import time
from typing import Any

from gevent import socket, ssl

__all__ = ['Resumable', 'Session', 'Sessions']

#: Seconds after a full handshake in which its session may be used.
MAX_AGE = 3600.0
#: Servers whose sessions are kept: as many as a pool has connections. One costs 27 KB.
MAX_SERVERS = 1024
#: Ended connections that are kept for a server that takes each ticket only once: each has one ticket.
MAX_SOURCES = 4
#: Sessions in a row that a server does not take, after which it is offered none until `MAX_AGE` has passed.
MAX_REFUSALS = 5
_LINGER = struct.Struct('ii')
#: An end of a connection: its TLS, and until when its certificate is good, if that is known.
Source = tuple[Any, float]


class Resumable(ssl.SSLSocket):
    """A socket that leaves its TLS behind when it is closed, as the server sends tickets after the handshake only."""

    __slots__ = ()
    #: Takes the TLS, and whether it broke.
    farewell: Callable[[Any, bool], None] | None = None

    def close(self) -> None:
        """Close."""
        farewell, self.farewell = self.farewell, None
        tls = self._sslobj  # type: ignore[attr-defined]
        if farewell is not None and tls is not None:
            # After a fatal error OpenSSL knows no version any more. An end without TLS's goodbye, which is common,
            # counts as one; but only a connection that failed its request is aborted as well.
            farewell(tls, self.linger is not None and tls.version() is None)
        super().close()

    @property
    def linger(self) -> bytes | None:
        """``SO_LINGER`` where it is set: the connection is aborted."""
        if self.fileno() < 0:
            return None
        value: bytes = self.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size)
        return value if _LINGER.unpack(value)[0] else None


class Session:
    """One that may be offered. Times are seconds since the epoch, as in certificates.

    :param certified_until: when a full handshake has to look at the certificate again.
    """

    __slots__ = ('_ends', '_renewed_after', 'accepted', 'certified_until', 'refused', 'ticket')

    def __init__(self, ticket: ssl.SSLSession, lifetime: float, certified_until: float) -> None:
        self.ticket = ticket
        self.certified_until = certified_until
        self.accepted = self.refused = 0  # times
        self._ends = min(ticket.time + lifetime, certified_until)
        self._renewed_after = ticket.time + lifetime / 2

    def is_good(self, now: float) -> bool:
        """Whether it may be offered. The clock may have been set back."""
        return self.ticket.time - 1 <= now < self._ends

    def is_old(self, now: float) -> bool:
        """Whether a newer one is wanted."""
        return now >= self._renewed_after


class Sessions:
    """The sessions of a pool. A key holds whom a handshake is with, and all that it checks.

    :param now: seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._servers: dict[Hashable, _Server] = {}  # the one that was used last is the last
        self._closed = False

    def offer(self, key: Hashable) -> Session | None:
        """The session for a handshake, if there is one."""
        server = self._servers.get(key)
        return None if server is None else server.offer(self._now())

    def completed(self, key: Hashable, offered: Session | None, sock: Resumable) -> None:
        """A handshake was completed, and all was checked."""
        if self._closed:
            return
        now = self._now()
        certified_until = now + MAX_AGE
        if offered is not None:
            reused = bool(sock.session_reused)
            self._server(key, now).judge(offered, reused, now)
            if reused:
                certified_until = offered.certified_until

        def farewell(tls: Any, broken: bool) -> None:
            if broken:
                self.failed(key)
            elif not self._closed:
                self._server(key, self._now()).leave((tls, certified_until), self._now())

        sock.farewell = farewell

    def failed(self, key: Hashable, for_good: bool = False) -> None:
        """A handshake or a connection with the session of this key failed.

        :param for_good: it was certainly the session, so none is offered for :data:`MAX_AGE`.
        """
        server = self._servers.get(key)
        if server is not None:
            server.refuse(self._now(), MAX_REFUSALS if for_good else 1)

    def forget(self) -> None:
        """In the child of a fork: tickets are for one client."""
        self._servers.clear()

    def close(self) -> None:
        """Keep nothing any more."""
        self._closed = True
        self._servers.clear()

    def _server(self, key: Hashable, now: float) -> _Server:
        """That of the key, which is used now; those that were not for long are dropped."""
        servers = self._servers
        server = servers[key] = servers.pop(key) if key in servers else _Server()
        server.used = now
        while len(servers) > MAX_SERVERS or now - next(iter(servers.values())).used > MAX_AGE:
            del servers[next(iter(servers))]
        return server


class _Server:
    """What is known of the server behind one key."""

    __slots__ = ('_given_up_until', '_once', '_refusals', '_session', '_sources', '_spent', 'used')

    def __init__(self) -> None:
        self.used = 0.0
        self._session: Session | None = None
        self._sources: list[Source] = []  # the newest is the last
        self._refusals = 0  # in a row
        self._spent = 0  # sessions in a row that were taken once, and then no more
        self._once = False  # whether it takes a ticket only once
        self._given_up_until = 0.0

    def offer(self, now: float) -> Session | None:
        """The session to offer now, copied from an ended connection where none is at hand or the one is old."""
        # Copying costs a third of a full handshake, so a session is offered many times. RFC 8446 appendix C.4 advises
        # against it for the privacy of a client that changes its address; servers, which ours run in, do not.
        session = self._session
        if session is not None and not session.is_good(now):
            session = None
        while self._sources and (session is None or session.is_old(now)):
            newer = _copied(*self._sources.pop())
            if newer is not None and newer.is_good(now):
                session = newer
            elif session is None:
                self.refuse(now)
        self._session = None if self._once else session
        return session

    def judge(self, offered: Session, reused: bool, now: float) -> None:
        """The server took what it was offered, or did not."""
        offered.accepted += reused
        offered.refused += not reused
        if offered.accepted > 1:
            self._spent = 0
        elif offered.accepted and (offered.refused == 1 or (reused and offered.refused)):
            # In whichever order, as handshakes go on side by side. Once, its keys may have changed just then.
            self._spent += 1
            self._once = self._once or self._spent == 2
        if reused:
            self._refusals = 0
        elif offered is self._session or (self._once and not offered.accepted):
            self.refuse(now)

    def leave(self, source: Source, now: float) -> None:
        """A connection ended: a session may be had of it."""
        wanted = self._session is None or self._session.is_old(now)
        if wanted and now >= self._given_up_until:
            self._sources.append(source)
            del self._sources[: -MAX_SOURCES if self._once else -1]

    def refuse(self, now: float, times: int = 1) -> None:
        """The server did not take a session; after some of these, give up for :data:`MAX_AGE`."""
        self._session = None
        self._refusals += times
        if self._refusals >= MAX_REFUSALS:
            self._refusals = 0
            self._sources.clear()
            self._given_up_until = now + MAX_AGE


def _copied(tls: Any, certified_until: float) -> Session | None:
    """The session of a connection that has ended, unless the server gave none."""
    ticket: ssl.SSLSession | None = tls.session
    if ticket is None or not (ticket.has_ticket or ticket.id):
        return None
    # The whole chain was verified, and each of its certificates has an end. A resumed connection has no chain.
    try:
        for certificate in tls.get_verified_chain() or ():
            certified_until = min(certified_until, ssl.cert_time_to_seconds(certificate.get_info()['notAfter']))
    except (OSError, ValueError):  # what is in a certificate may be no text
        return None
    lifetime = float(ticket.ticket_lifetime_hint)
    if not lifetime and tls.version() != 'TLSv1.3':  # not said (RFC 5077 §3.3); in TLS 1.3: not to be used
        lifetime = MAX_AGE
    return Session(ticket, lifetime, certified_until)
