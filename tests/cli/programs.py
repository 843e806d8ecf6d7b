"""Runs the real `napix` command, in a process of its own, while the servers of the test go on."""
from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent.socket
import gevent.subprocess

from tests import kit

PIPE = gevent.subprocess.PIPE
#: The names of variables that would change what `napix` does.
OURS = ('NAPIX_KEY', 'NAPIX_TOKEN', 'NO_COLOR', 'FORCE_COLOR', 'COLUMNS', 'LINES')


def environment(**more: str) -> dict[str, str]:
    """Warnings are errors, and nothing of the tester's own."""
    inherited = kit.environment(TERM='xterm-256color')
    return {**{name: value for name, value in inherited.items() if name not in OURS}, **more}


@contextmanager
def started(*arguments: object, stdout: Any = PIPE, stdin: Any = gevent.subprocess.DEVNULL,
            **env: str) -> Iterator[gevent.subprocess.Popen]:
    """`napix` with these arguments; it must have ended at the end, and is killed where the test fails."""
    texts = [given if isinstance(given, bytes) else str(given) for given in arguments]
    process = gevent.subprocess.Popen(
        [sys.executable, '-m', 'napixclient', *texts], env=environment(**env), cwd=kit.ROOT,
        stdin=stdin, stdout=stdout, stderr=PIPE)
    try:
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.wait(timeout=10) is not None
    for stream in process.stdin, process.stdout, process.stderr:
        if stream is not None:
            stream.close()


def napix(*arguments: object, input: str | bytes = b'', seconds: float = 30, **env: str) -> kit.Finished:
    """Run `napix` to its end."""
    data = input.encode() if isinstance(input, str) else input
    with started(*arguments, stdin=PIPE, **env) as process:
        out, err = process.communicate(data, timeout=seconds)
        return kit.Finished(process.returncode, out.decode(), err.decode())


def on_terminal(*arguments: object, columns: int = 80, **env: str) -> kit.Finished:
    """Run `napix` with its standard output on a terminal; lines end as the program wrote them."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))
    try:
        with started(*arguments, stdout=slave, **env) as process:
            os.close(slave)
            out = b''
            while True:
                gevent.socket.wait_read(master)
                try:
                    out += os.read(master, 65536)
                except OSError:             # EIO: nobody has the other side open any more
                    break
            err = process.stderr.read()
            return kit.Finished(process.wait(), out.decode().replace('\r\n', '\n'), err.decode())
    finally:
        os.close(master)


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
                except OSError:             # gone meanwhile, or another user's
                    continue
        return found


def interrupt(process: gevent.subprocess.Popen, number: int = signal.SIGINT, seconds: float = 10) -> kit.Finished:
    """Send a signal to a program and see how it ends."""
    process.send_signal(number)
    out, err = process.communicate(timeout=seconds)
    return kit.Finished(process.returncode, out.decode(), err.decode())
