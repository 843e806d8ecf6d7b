"""Servers as processes: each in a process group of its own, which is ended as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import gevent
import gevent.subprocess
from gevent import socket

PATIENCE = 40.0


class Program(NamedTuple):
    """How a server is run.

    :param reload: the signal or the command that has it load its configuration anew; ``None`` where it is started anew.
    """

    command: list[str]
    reload: int | list[str] | None = None
    environment: Mapping[str, str] = {}


class NotRunning(Exception):
    """A server did not start, or has ended."""


class Running:
    """A server that runs; a context manager.

    :param log: the file that takes what it prints.
    """

    def __init__(self, program: Program, port: int, log: Path) -> None:
        self._program = program
        self._port = port
        self._log = log
        self._groups: list[int] = []  # all that may have a process left
        self._start()

    def _start(self) -> None:
        with self._log.open('ab') as log:
            self._process = gevent.subprocess.Popen(
                self._program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._program.environment},
                cwd=self._log.parent,
                start_new_session=True,
            )
        self._groups.append(self._process.pid)

    def wait_until_up(self) -> None:
        """Return when it accepts connections.

        :raises NotRunning: when it has ended before, or has not begun in time.
        """
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', self._port), timeout=1).close()
                return
            except OSError:
                gevent.sleep(0.03)
        raise NotRunning(self._said())

    def reload(self) -> None:
        """Have it load its configuration anew, or start it anew when it has ended."""
        how = self._program.reload
        if isinstance(how, int):
            os.kill(self._process.pid, how)
        elif how is not None:
            done = gevent.subprocess.run(how, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
            if done.returncode:
                raise NotRunning(f'the reload failed: {done.stdout.decode().strip()[-300:]}')
        else:
            os.kill(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._kill()
            self._start()

    def _said(self) -> str:
        lines = self._log.read_text(errors='replace').strip().splitlines()
        return ' | '.join(lines[-3:])[-400:] or 'it said nothing'

    def _kill(self) -> None:
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()

    def __enter__(self) -> Running:
        try:
            self.wait_until_up()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGTERM)
                self._process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also for who interrupts twice
            self._kill()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
        return port
