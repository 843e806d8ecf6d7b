"""An open socket on gevent's loop: what reads and writes it, its watchers, and its end.

A watcher is stopped and closed before its socket is: that rule is of iron.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import struct
import sys
import termios
from collections.abc import Callable
from time import monotonic
from typing import Any, NoReturn

from gevent import monkey, socket, ssl

from ..gevent_types import Loop, Socket
from .sized import RECORD

__all__ = ['AGAIN', 'READ_SIZE', 'Transport', 'Write']

Write = Callable[[bytes | memoryview], int]
#: What says that the socket has nothing, or takes nothing, at the moment.
AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: Bytes asked for at once. No TLS record holds more (2**14 bytes, RFC 8446 §5.1), so that a read leaves nothing in
#: TLS's own buffer, where the loop could not see it.
READ_SIZE = 65536
#: The same where much comes. To make room for so much costs more than it saves where less comes.
_MUCH = 262144
#: The records that are read in a turn of the loop where much comes: TLS gives one at a time.
_RECORDS = 8
_ABORT = struct.pack('ii', 1, 0)
_READ, _WRITE = 1, 2
#: The state of a socket that met a RST, as Linux numbers them (TCP_CLOSE).
_CLOSED = 7
#: Seconds between two looks for what TCP says at last, and for all of them.
_LOOK_SECONDS, _WORD_SECONDS = 0.005, 0.3
# The real one, also in a patched process: it is asked for what is there, and never waits.
_poll = monkey.get_original('select', 'poll')


class Transport:
    """An open socket.

    :param sock: one of the standard library or of gevent, or an ``SSLSocket``.
    :param loop: gevent's loop.
    """

    __slots__ = ('_recv', '_sock', '_timer', 'loop', 'poll', 'reader', 'recv', 'send', 'writer')
    recv: Callable[[int], bytes]
    _recv: Callable[[int], bytes]
    send: Write

    def __init__(self, sock: Socket, loop: Loop) -> None:
        if sock.gettimeout() != 0.0:
            sock.settimeout(0.0)  # which asks the kernel, even where nothing changes
        self._sock: Any = sock  # nothing at all once it is the parent's
        # A gevent socket wraps what the standard library has; its own methods cost as much again.
        if isinstance(sock, ssl.SSLSocket):
            # An end without TLS's goodbye, which may be a cut (RFC 9112 §9.8), is an SSLEOFError here.
            tls: Any = sock._sslobj  # type: ignore[attr-defined]
            self._recv, self.send = tls.read, tls.write
        else:
            raw = getattr(sock, '_sock', sock)
            self._recv, self.send = raw.recv, raw.send
        self.recv = self._recv
        self.loop: Loop = loop
        #: The watcher that calls when there is something to read.
        self.reader: Any = loop.io(sock.fileno(), _READ)
        #: The watcher that calls when the socket takes more; made when it is first needed.
        self.writer: Any = None
        self._timer: Any = None
        #: ``poll(0)`` tells whether something may have come; made by ``start_polling``.
        self.poll: Callable[[int], object] | None = None

    def guard(self, around: Callable[[Write], Write]) -> None:
        """Write to the socket through this from now on: the last look before the kernel has the bytes."""
        self.send = around(self.send)

    def expect_much(self, much: bool) -> None:
        """Have ``recv`` give more at once than it is asked for, or not."""
        self.recv = self._recv_much if much else self._recv

    def _recv_much(self, _: int) -> bytes:
        if not isinstance(self._sock, ssl.SSLSocket):
            return self._recv(_MUCH)
        parts = [self._recv(READ_SIZE)]
        try:
            while len(parts[-1]) == RECORD and len(parts) < _RECORDS:
                parts.append(self._recv(RECORD))
        except OSError:
            pass  # whatever it is, the next read meets it as well
        return b''.join(parts)

    def may_have_sent(self, size: int, exc: OSError) -> bool:
        """Whether the peer can have read something of a write that failed.

        TLS writes one record after the other, and does not say how many went out before one failed. Of a record that is
        not whole nobody can read anything (RFC 8446 §5.2).

        :param size: of what was to be written.
        :param exc: how it failed; without a number, it was kept from TLS and from the system.
        """
        return size > RECORD and exc.errno is not None and isinstance(self._sock, ssl.SSLSocket)

    def refused(self) -> int:
        """Bytes written that the TCP of the other side has neither acknowledged nor will: it answered them with a RST.

        0, which tells nothing, where the system is not Linux.
        """
        return self._unacknowledged() if self._is_reset() else 0

    def wait_for_word(self, written: float, then: Callable[[None], object]) -> bool:
        """Call back, with nothing, when it is clear, or never will be, what becomes of bytes that no FIN acknowledged.

        A RST comes back from a socket that is closed. For one that only sends no more the system acknowledges them,
        within 0.2 seconds on Linux, as its program may still read them.

        :param written: how many that are.
        :returns: whether there is something to wait for; false without a call where there is not, or was before.
        """
        if not written or self._timer is not None or self._is_reset() or self._unacknowledged() < written:
            return False
        self.reader.stop()  # an end is always readable
        until = monotonic() + _WORD_SECONDS
        timer = self._timer = self.loop.timer(_LOOK_SECONDS, _LOOK_SECONDS)

        def look() -> None:
            if self._is_reset() or self._unacknowledged() < written or monotonic() >= until:
                timer.stop()
                then(None)

        timer.start(look)
        return True

    def _is_reset(self) -> bool:
        """Whether a RST has come: ``TCP_INFO`` of Linux (``tcp(7)``)."""
        try:
            return self._of_linux and self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED
        except OSError:
            return False

    def _unacknowledged(self) -> int:
        """Bytes that were written and not acknowledged, also once the connection has ended: ``SIOCOUTQ``."""
        try:
            answer = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)) if self._of_linux else bytes(4)
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    @property
    def _of_linux(self) -> bool:
        return sys.platform == 'linux' and self._sock.family in (socket.AF_INET, socket.AF_INET6)

    @property
    def reads(self) -> int:
        """How many calls of ``recv_into`` take about as much as may be taken in a turn of the loop."""
        return _RECORDS if isinstance(self._sock, ssl.SSLSocket) else 1

    def recv_into(self, view: memoryview) -> int:
        """Receive into a buffer; how many bytes came."""
        receive: Any
        if isinstance(self._sock, ssl.SSLSocket):
            receive = self._recv
            size = receive(len(view), view)
        else:
            receive = getattr(self._sock, '_sock', self._sock).recv_into
            size = receive(view)
        return int(size)

    @property
    def sends_files(self) -> bool:
        """Whether the system can send a file by itself: nobody has to encrypt it, or to look at it before."""
        raw = getattr(self._sock, '_sock', self._sock)
        return hasattr(os, 'sendfile') and not isinstance(self._sock, ssl.SSLSocket) and self.send == raw.send

    def send_file(self, file: int, at: int, size: int) -> int:
        """Have the system send a part of a file; how many bytes it took.

        :param file: its descriptor.
        """
        return os.sendfile(self._sock.fileno(), file, at, size)

    def watch_writing(self, callback: Callable[[], None]) -> None:
        """Call back while the socket takes more."""
        if self.writer is None:
            self.writer = self.loop.io(self._sock.fileno(), _WRITE)
        if not self.writer.active:
            self.writer.start(callback)

    def start_polling(self) -> Callable[[int], object]:
        """Make ``poll``. To find out by reading costs an exception, three times as much as to ask first."""
        poll = self.poll = _listener(self._sock)
        return poll

    def is_quiet(self) -> bool:
        """Whether nothing came: neither an end, nor a byte that nobody asked for."""
        poll = self.poll or self.start_polling()
        if not poll(0):
            return True
        try:
            self.recv(1)
        except AGAIN:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Stop and close the watchers, then the socket."""
        for watcher in (self.reader, self.writer, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self.reader = self.writer = self._timer = None
        self.recv = self._recv = self.send = closed
        self._sock.close()

    def abort(self) -> None:
        """Have the end be a RST, which the server sees before our next connection; nor a goodbye of TLS."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        except OSError:
            pass  # the socket is broken already

    def disown(self) -> None:
        """Have the end be without a word: the socket is another process's too."""
        self._sock = _Descriptor(self._sock.detach())


class _Descriptor:
    """In place of a socket that is another process's too."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Close it at once: sockets leave that to a later turn of the loop."""
        _socket.close(self._number)


def _listener(sock: Socket) -> Callable[[int], object]:
    """What tells whether something may have come."""
    if isinstance(sock, ssl.SSLSocket):  # what came may be in its buffer
        return _always
    poller = _poll()
    poller.register(sock.fileno(), select.POLLIN)
    poll: Callable[[int], object] = poller.poll
    return poll


def _always(_: int) -> bool:
    return True


def closed(*_: object) -> NoReturn:
    """In place of ``recv`` and ``send``."""
    raise OSError('the connection is closed')
