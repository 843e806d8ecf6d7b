"""Sends bytes to a peer who may be slow, or may take nothing any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EPIPE

import gevent
from gevent.socket import socket

__all__ = ['PIECE', 'Sender', 'not_read', 'within']

#: Bytes that are handed to the kernel at once: each piece has the whole time of a slow reader.
PIECE = 64 * 1024


@contextmanager
def within(seconds: float, late: Exception) -> Iterator[None]:
    """Raise this where the block takes more than so many seconds."""
    # A new clock each time: one that is cancelled and started again goes on with what was left (gevent issue 1890).
    clock = gevent.Timeout.start_new(seconds)
    try:
        yield
    except gevent.Timeout as exc:
        if exc is not clock:
            raise
        raise late from None
    finally:
        clock.close()


def not_read(seconds: float) -> OSError:
    """What is raised when a peer takes nothing."""
    return OSError(EPIPE, f'nothing was read for {seconds:g} s')


class Sender:
    """Sends over a socket of gevent's. One greenlet at a time.

    :param slow_seconds: for which a peer may take nothing.
    """

    __slots__ = ('_kept', '_slow', '_socket', 'sent')

    def __init__(self, sock: socket, slow_seconds: float) -> None:
        self._socket = sock
        self._slow = slow_seconds
        self._kept: list[memoryview] = []
        #: Bytes that were sent.
        self.sent: int = 0

    def send_now(self, data: bytes) -> bool:
        """Send what is taken without waiting, and keep the rest to be sent before anything else; whether none is left.

        It raises nothing: that the peer is gone shows when the rest is sent.
        """
        taken = 0
        if not self._kept:
            try:
                taken = self._socket.send(data, timeout=0.0)  # type: ignore[call-arg]  # of gevent alone
            except OSError:
                pass
            self.sent += taken
        if taken < len(data):
            self.keep(memoryview(data)[taken:])
        return not self._kept

    def keep(self, data: bytes | memoryview) -> None:
        """Send it before anything else."""
        self._kept.append(memoryview(data))

    def send(self, data: bytes = b'') -> None:
        """Send all of it, after what was kept.

        :raises OSError: when the peer is gone, or takes nothing for too long.
        """
        kept, self._kept = self._kept, []
        for view in (*kept, memoryview(data)):
            for start in range(0, len(view), PIECE):
                with within(self._slow, not_read(self._slow)):
                    self._socket.sendall(view[start : start + PIECE])
            self.sent += len(view)
