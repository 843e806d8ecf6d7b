"""Runs the real `napix` command, in a process of its own, while the servers of the test go on."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pty
import signal
import socket as plain_socket
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import gevent.os
import gevent.socket
import gevent.subprocess
from gevent.fileobject import FileObject

from tests import kit

PIPE, DEVNULL = gevent.subprocess.PIPE, gevent.subprocess.DEVNULL
#: The names of variables that would change what `napix` does.
OURS = ('NO_COLOR', 'CLICOLOR', 'CLICOLOR_FORCE', 'FORCE_COLOR', 'COLUMNS', 'LINES', 'XDG_CONFIG_HOME', 'SSL_CERT_FILE')


def environment(traced: bool = True, **more: str) -> dict[str, str]:
    """Warnings are errors, and nothing of the tester's own."""
    inherited = kit.environment(traced, TERM='xterm-256color')
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in OURS and not name.startswith('NAPIX_') and not name.lower().endswith('_proxy')
    }
    # A place where no file can be, nor be made.
    return {**kept, 'XDG_CONFIG_HOME': os.devnull, **more}


# Processes -----------------------------------------------------------------------------------------------------------


class Warmed:
    """The process that is forked for each `napix`; it ends with the tests."""

    _one: Warmed | None = None

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix='napix-')
        self.path = os.path.join(self.directory.name, 'warmed')
        self._process = gevent.subprocess.Popen(
            [sys.executable, '-m', 'tests.cli.warmed', self.path],
            env=environment(),
            cwd=kit.ROOT,
            stdin=PIPE,
            stdout=PIPE,
        )
        assert self._process.stdout.readline() == b'ready\n'
        atexit.register(self.end)

    @classmethod
    def here(cls) -> Warmed:
        """The one of this process."""
        if cls._one is None:
            cls._one = cls()
        return cls._one

    def end(self) -> None:
        """Let it end."""
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self.directory.cleanup()


class Process:
    """A `napix` that was forked, as far as it is like a `Popen`."""

    def __init__(
        self, arguments: list[str], environ: dict[str, str], directory: str, stdin: Any, stdout: Any, stderr: Any
    ) -> None:
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        with ExitStack() as theirs:
            ends = []
            for name, wanted, ours in (('stdin', stdin, 'wb'), ('stdout', stdout, 'rb'), ('stderr', stderr, 'rb')):
                if wanted is PIPE:
                    reading, writing = os.pipe()
                    here, there = (writing, reading) if ours == 'wb' else (reading, writing)
                    setattr(self, name, FileObject(here, ours, bufsize=0 if ours == 'wb' else -1))
                elif wanted is DEVNULL:
                    there = os.open(os.devnull, os.O_RDWR)
                else:
                    there = os.dup(wanted if isinstance(wanted, int) else wanted.fileno())
                theirs.callback(os.close, there)
                ends.append(there)
            self._talk = gevent.socket.socket(plain_socket.AF_UNIX)
            self._talk.connect(Warmed.here().path)
            asked = {'arguments': arguments, 'environ': environ, 'directory': directory}
            message = json.dumps(asked).encode() + b'\n'
            sent = self._talk.sendmsg(
                [message], [(plain_socket.SOL_SOCKET, plain_socket.SCM_RIGHTS, struct.pack('3i', *ends))]
            )
            self._talk.sendall(message[sent:])
        self._said = self._talk.makefile('rb')
        self.pid = int(self._said.readline())

    def send_signal(self, number: int) -> None:
        """Send it a signal. It is waited for by nobody but its parent, so its number is still its own."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended."""
        if self.returncode is None:
            with gevent.Timeout(timeout):
                self.returncode = int(self._said.readline())
            self._said.close()
            self._talk.close()
        return self.returncode

    def communicate(self, data: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Give it its input, and read what it writes until it ends."""
        with gevent.Timeout(timeout):
            readers = [
                gevent.spawn(stream.read) if stream is not None and not stream.closed else None
                for stream in (self.stdout, self.stderr)
            ]
            if self.stdin is not None and not self.stdin.closed:
                try:
                    self.stdin.write(data or b'')
                except OSError:
                    pass
                self.stdin.close()
            out, err = (b'' if reader is None else reader.get() for reader in readers)
            self.wait()
        return out, err


@contextmanager
def started(
    *arguments: object,
    stdout: Any = PIPE,
    stdin: Any = DEVNULL,
    stderr: Any = PIPE,
    fresh: bool = False,
    traced: bool = True,
    directory: Any = kit.ROOT,
    **env: str,
) -> Iterator[Any]:
    """`napix` with these arguments; it must have ended at the end, and is killed where the test fails.

    :param fresh: by a start of Python, as users start it, not by a fork.
    :param traced: whether coverage, where it runs, traces a fresh one.
    """
    texts = [given if isinstance(given, bytes) else str(given).encode() for given in arguments]
    process: Any
    if fresh:
        process = gevent.subprocess.Popen(
            [sys.executable, '-m', 'napixclient', *texts],
            env=environment(traced, **env),
            cwd=directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
    else:
        process = Process(
            [text.decode('latin-1') for text in texts], environment(**env), str(directory), stdin, stdout, stderr
        )
    try:
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.wait(timeout=30) is not None
    for stream in process.stdin, process.stdout, process.stderr:
        if stream is not None:
            stream.close()


def napix(
    *arguments: object,
    input: str | bytes = b'',
    seconds: float = 30,
    fresh: bool = False,
    directory: Any = kit.ROOT,
    **env: str,
) -> kit.Finished:
    """Run `napix` to its end."""
    data = input.encode() if isinstance(input, str) else input
    with started(*arguments, stdin=PIPE, fresh=fresh, directory=directory, **env) as process:
        out, err = process.communicate(data, timeout=seconds)
        return kit.Finished(process.returncode, out.decode(), err.decode())


def at_once(*runs: list[object], **env: str) -> list[kit.Finished]:
    """Run `napix` several times side by side."""
    running = [gevent.spawn(napix, *arguments, **env) for arguments in runs]
    return [one.get() for one in running]


# Terminals -----------------------------------------------------------------------------------------------------------


@contextmanager
def terminal(columns: int = 80, lines: int = 40) -> Iterator[tuple[int, int]]:
    """A terminal: our side of it, and theirs."""
    master, slave = pty.openpty()
    resize(slave, columns, lines)
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


def resize(descriptor: int, columns: int, lines: int) -> None:
    """Give a terminal another size."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))


def everything_on(master: int, slave: int, process: Any) -> str:
    """What is written to a terminal until the program ends; lines end as the program wrote them.

    The kernel moves it from their side to ours when it comes to it, so we write a mark behind it, and read up to that.
    """
    out, mark = b'', b'\0the end\0'
    ended = gevent.spawn(process.wait)

    def set_mark() -> None:
        ended.get()
        gevent.socket.wait_write(slave, timeout=60)
        os.write(slave, mark)

    marking = gevent.spawn(set_mark)
    while not out.endswith(mark):
        gevent.socket.wait_read(master, timeout=60)
        out += os.read(master, 65536)
    marking.get()
    return out.removesuffix(mark).decode().replace('\r\n', '\n')


def readable(descriptor: int) -> bool:
    """Whether there is something to read now."""
    return struct.unpack('i', fcntl.ioctl(descriptor, termios.FIONREAD, b'\0' * 4))[0] > 0


def on_terminal(
    *arguments: object,
    columns: int = 80,
    lines: int = 40,
    both: bool = False,
    fresh: bool = False,
    traced: bool = True,
    **env: str,
) -> kit.Finished:
    """Run `napix` with its standard output on a terminal; with `both` standard error too."""
    with terminal(columns, lines) as (master, slave):
        with started(
            *arguments, stdout=slave, stderr=slave if both else PIPE, fresh=fresh, traced=traced, **env
        ) as process:
            out = everything_on(master, slave, process)
            err = b'' if both else process.stderr.read()
            return kit.Finished(process.wait(), out, err.decode())


class Marked:
    """A mark in the environment, by which the processes that descend from a program are found after its end."""

    def __init__(self) -> None:
        self.mark = uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        """What to give to the program."""
        return {'NAPIX_TEST_MARK': self.mark}

    def alive(self) -> list[int]:
        """The processes that have the mark, zombies not counted."""
        found = []
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                try:
                    if self.mark.encode() in (entry / 'environ').read_bytes():
                        found.append(int(entry.name))
                except OSError:  # gone meanwhile, or another user's
                    continue
        return found


def interrupt(process: Any, number: int = signal.SIGINT, seconds: float = 30) -> kit.Finished:
    """Send a signal to a program and see how it ends."""
    process.send_signal(number)
    out, err = process.communicate(timeout=seconds)
    return kit.Finished(process.returncode, out.decode(), err.decode())
