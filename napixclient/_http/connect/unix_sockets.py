"""Connects to Unix sockets (unix(7)), in the greenlet that opens a connection."""

from __future__ import annotations

import gevent
from gevent import socket

from .attempts import Attempts
from .local_end import LocalEnd, dial

__all__ = ['connect_to_path']

#: Seconds between two tries while the server does not accept, at first and at most.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1


def connect_to_path(path: str, local_end: LocalEnd, attempts: Attempts) -> socket.socket:
    """A gevent socket that is connected to a Unix socket.

    :raises OSError: when nobody listens there, it is not there, or it may not be written to.
    """
    attempts.begin()
    pause = _FIRST_PAUSE
    while True:
        try:
            sock = dial(socket.AF_UNIX, path, local_end, attempts)
            return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=sock.detach())
        except BlockingIOError:  # the server's queue is full; the system does not tell when there is room in it
            gevent.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
