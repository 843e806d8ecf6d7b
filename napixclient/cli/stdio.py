"""Writes to standard output and standard error without holding up the loop.

A slow reader must not hold up requests in flight, or they time out: a greenlet waits with what cannot be written at
once. The streams stay blocking, because other programs may share them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import Any, TextIO

import gevent
from gevent import monkey, socket
from gevent.event import Event

__all__ = [
    'BOLD',
    'CYAN',
    'DIM',
    'GREEN',
    'OFF',
    'RED',
    'Output',
    'colours',
    'columns_of',
    'is_same_terminal',
    'tell',
    'write',
]

#: What a terminal obeys: colours, and none.
BOLD, DIM, RED, GREEN, CYAN, OFF = '\x1b[1m', '\x1b[2m', '\x1b[31m', '\x1b[32m', '\x1b[36m', '\x1b[0m'

_poll = monkey.get_original('select', 'poll')
#: Bytes that are ready and not written at most, before who makes more of them waits.
_ROOM = 1 << 18
#: What a pipe takes at once when it says that it takes something (POSIX: PIPE_BUF).
_PIECE = 4096
_POLLOUT = 4
#: Columns of a terminal that does not know its size.
_UNKNOWN = 80


def colours(stream: TextIO) -> bool:
    """Whether to use colours: NO_COLOR, CLICOLOR_FORCE and CLICOLOR decide, else whether it is a terminal."""
    if os.environ.get('NO_COLOR'):
        return False
    if os.environ.get('CLICOLOR_FORCE', '0') not in ('', '0'):
        return True
    return stream.isatty() and os.environ.get('CLICOLOR') != '0' and os.environ.get('TERM') != 'dumb'


def is_same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether two streams lead to the same terminal."""
    return one.isatty() and other.isatty() and os.ttyname(one.fileno()) == os.ttyname(other.fileno())


def write(descriptor: int, data: bytes) -> None:
    """Write all data; only this greenlet waits.

    :raises OSError: if it cannot be written.
    """
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(descriptor)):
        while data:  # a file is always ready
            data = data[os.write(descriptor, data) :]
        return
    poller = _poll()
    poller.register(descriptor, _POLLOUT)
    view = memoryview(data)
    while view:
        if not poller.poll(0):
            socket.wait_write(descriptor)
        try:
            view = view[os.write(descriptor, view[:_PIECE]) :]
        except BlockingIOError:  # somebody else has made it so
            socket.wait_write(descriptor)


def columns_of(stream: TextIO) -> int | None:
    """The columns of the terminal that it goes to; ``None`` if it is none. One that does not know its size says 0."""
    return os.get_terminal_size(stream.fileno()).columns or _UNKNOWN if stream.isatty() else None


def tell(text: str) -> None:
    """Write to standard error; ignore it if nobody reads that."""
    with contextlib.suppress(OSError):
        write(sys.stderr.fileno(), text.encode(sys.stderr.encoding, 'backslashreplace'))


class Output:
    """Writes results to standard output in a greenlet of its own, and notes to standard error.

    If writing fails, an ``OSError`` is raised in the greenlet that made this object.
    """

    def __init__(self) -> None:
        self._out = sys.stdout.fileno()
        self._err = sys.stderr.fileno()
        self._encoding = sys.stdout.encoding
        self._ready: list[bytes] = []
        self._size = 0
        self._some = Event()
        self._room = Event()
        self._owner = gevent.getcurrent()
        self._failure: OSError | None = None
        self._taken = False  # whether the owner has the failure, or is not to have it any more
        self._together = sys.stdout.isatty()
        self._writer = gevent.spawn(self._write)
        self._watcher = self._watch()

    def put(self, text: str) -> None:
        """Queue a result; it goes to standard output as soon as all other greenlets wait."""
        if self._failure is not None:
            raise self._take_failure()
        data = text.encode(self._encoding, 'backslashreplace')
        self._ready.append(data)
        self._size += len(data)
        self._some.set()
        while self._size > _ROOM:
            self._room.clear()
            self._room.wait()

    def note(self, text: str) -> None:
        """Write a note about the run to standard error; on a terminal, after the results so far."""
        if self._together:
            self.drain()
        tell(text)

    def drain(self) -> None:
        """Wait until all results are written.

        :raises OSError: when they cannot be.
        """
        while self._size and self._failure is None:
            self._room.clear()
            self._room.wait()
        if self._failure is not None:
            raise self._take_failure()

    def close(self, patience: float | None = None) -> None:
        """Write the rest, and end.

        :param patience: seconds to wait for the reader.
        """
        try:
            with gevent.Timeout(patience, False):  # type: ignore[arg-type]  # a silent one
                self.drain()
        finally:
            self._taken = True
            self._writer.kill()
            if self._watcher is not None:
                self._watcher.stop()
                self._watcher.close()

    def _write(self) -> None:
        try:
            while True:
                self._some.wait()
                self._some.clear()
                while self._ready:
                    pieces, self._ready = self._ready, []
                    self._emit(b''.join(pieces))
                    self._size -= sum(map(len, pieces))
                    self._room.set()
        except OSError as exc:
            self._fail(exc)

    def _emit(self, data: bytes) -> None:
        write(self._out, data)

    def _fail(self, failure: OSError) -> None:
        self._failure = failure
        self._room.set()
        gevent.get_hub().loop.run_callback(self._throw_to_owner)

    def _throw_to_owner(self) -> None:
        # Once: who has learnt it from `put` or `drain` may be far away by now, where it would be a traceback.
        if not self._taken and self._failure is not None:
            self._owner.throw(self._take_failure())

    def _take_failure(self) -> OSError:
        assert self._failure is not None
        self._taken = True
        return self._failure

    def _watch(self) -> Any:
        """Notice that the reader of a pipe has left, even if there is nothing to write."""
        if not stat.S_ISFIFO(os.fstat(self._out).st_mode):
            return None
        watcher = gevent.get_hub().loop.io(self._out, 1, ref=False)

        def left() -> None:
            watcher.stop()
            if self._failure is None:
                self._fail(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))

        watcher.start(left)
        return watcher
