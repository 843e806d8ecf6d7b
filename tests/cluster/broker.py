"""RabbitMQ for the tests: a node of its own, with its own ports and its own data, ended by its process id."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ['RabbitMQ', 'find_server', 'free_port']


def find_server() -> str | None:
    """The script that starts RabbitMQ, without Debian's wrapper, which wants its own user."""
    found = sorted(glob.glob('/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server'))
    return found[-1] if found and shutil.which('epmd') else None


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return int(listener.getsockname()[1])


class RabbitMQ:
    """One node; `kill` and `start` as often as needed, on the same data.

    :param config: further lines of its configuration.
    """

    def __init__(self, config: str = '') -> None:
        script = find_server()
        assert script is not None
        self._script = script
        self.port = free_port()
        self._epmd_port, dist = free_port(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix='napix-mq-'))
        (self.folder / 'rabbitmq.conf').write_text(
            f'listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\nlog.console = false\n{config}\n'
        )
        (self.folder / 'plugins').write_text('[].')
        self._environment = {
            **os.environ,
            'HOME': str(self.folder),
            'RABBITMQ_NODENAME': f'napix{self.port}@localhost',
            'RABBITMQ_NODE_PORT': str(self.port),
            'RABBITMQ_DIST_PORT': str(dist),
            'RABBITMQ_MNESIA_BASE': str(self.folder / 'data'),
            'RABBITMQ_LOG_BASE': str(self.folder / 'log'),
            'RABBITMQ_CONFIG_FILE': str(self.folder / 'rabbitmq.conf'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(self.folder / 'plugins'),
            'RABBITMQ_PID_FILE': str(self.folder / 'pid'),
            'ERL_EPMD_PORT': str(self._epmd_port),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '+sbwt none +sbwtdcpu none +sbwtdio none',
        }
        self._epmd = subprocess.Popen(
            ['epmd', '-port', str(self._epmd_port), '-address', '127.0.0.1'],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f'amqp://guest:guest@127.0.0.1:{self.port}//'

    def start(self, seconds: float = 60) -> RabbitMQ:
        """Start it, and return when it takes connections."""
        self._process = subprocess.Popen(
            [self._script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + seconds
        while not self._answers():
            assert time.monotonic() < end and self._process.poll() is None, f'RabbitMQ does not start: {self.folder}'
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port), 1) as sock:
            sock.sendall(b'AMQP\0\0\x09\x01')
            sock.settimeout(5)
            return bool(sock.recv(1))
        return False

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl, and return what it prints."""
        done = subprocess.run(
            [self._script.replace('rabbitmq-server', 'rabbitmqctl'), '-q', *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        return done.stdout.decode()

    def kill(self) -> None:
        """As kill -9 does."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End it, and remove its data."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
