"""TLS inside TLS: the engine watches one end of a socket pair, and two greenlets pump between the other and the proxy.

The rest of a record of the outer TLS lies in memory, where no watcher sees it; hence the pair.
"""

from __future__ import annotations

import _socket
import os
import weakref

import gevent
from gevent import socket
from gevent.hub import get_hub

from .sessions import Resumable

__all__ = ['End', 'RelayedSocket', 'relayed']

#: Bytes pumped at once: what a TLS record holds, and more.
SIZE = 65536


def relayed(outer: socket.socket) -> End:
    """A plain socket that leads where an ``SSLSocket`` does; closed, it closes that one too.

    :param outer: the socket whose TLS is the proxy's. It is the relay's from now on.
    :raises OSError: when the process may open no more descriptors; then it is still the caller's.
    """
    near, far = _socket.socketpair()
    end = End(near.family, near.type, 0, fileno=near.detach())
    end.relay = Relay(outer, socket.socket(far.family, far.type, 0, fileno=far.detach()))
    return end


class Relay:
    """Two greenlets that pump what passes between the two sockets that it owns."""

    def __init__(self, outer: socket.socket, far: socket.socket) -> None:
        self._outer = outer
        self._far = far
        # What is idle does not keep the loop alive; what is in flight is watched at the near end.
        outer.ref = far.ref = False  # type: ignore[attr-defined]
        self._hub = get_hub()
        self.closed = False
        _relays.add(self)
        gevent.spawn(self._up)
        gevent.spawn(self._down)

    def _up(self) -> None:
        try:
            _pump(self._far, self._outer)
        finally:
            self.close()

    def _down(self) -> None:
        try:
            _pump(self._outer, self._far)
        finally:
            # However the outer TLS ended, it is the inner one that tells a whole answer from a cut one.
            try:
                self._far.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # closed already

    def close(self, linger: bytes | None = None) -> None:
        """Close both; the greenlets end with them. May be repeated.

        :param linger: for ``SO_LINGER``: how the near end was closed.
        """
        if self.closed:
            return
        self.closed = True
        if linger is not None:
            try:
                self._outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            except OSError:
                pass  # broken already
        self._outer.close()
        self._far.close()

    def leave_to_parent(self) -> None:
        """In the child of a fork: let go of the connection at once, without a word on the wire."""
        if self.closed or get_hub() is not self._hub:
            return
        nothing = _socket.socket()
        for sock in self._outer, self._far:
            # Greenlets may be waiting for it, so the descriptor has to stay; now it is that of another socket.
            os.dup2(nothing.fileno(), sock.fileno(), inheritable=False)
        nothing.close()
        self.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(SIZE):
            target.sendall(data)
    except Exception:
        pass  # either end broke, or was closed


class End(socket.socket):
    """The near end, until the inner TLS begins."""

    relay: Relay


class RelayedSocket(Resumable):
    """The inner TLS: closed, it closes the relay in the same way."""

    __slots__ = ()
    relay: Relay

    def close(self) -> None:
        """Close, and with it the connection to the proxy."""
        linger = self.linger
        super().close()
        self.relay.close(linger)


_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


def _after_fork() -> None:
    for relay in list(_relays):
        relay.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
