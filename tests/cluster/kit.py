"""A cluster for the tests: workers, servers that count, submitters; each is a process, ended by its id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import napixclient
from napixclient.cluster.keys import new_key
from tests.kit import ROOT, environment

__all__ = ['Cluster', 'Process', 'Servers', 'Submitter', 'until']

#: Seconds within which anything happens that happens at all on a busy machine.
LONG = 50


def until(condition: Callable[[], Any], seconds: float = LONG) -> Any:
    """Wait for it, and return what it returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f'it did not come to be: {condition}'
        time.sleep(0.02)
    return found


class Process:
    """A process whose lines are kept as they come."""

    def __init__(self, *command: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(PYTHONWARNINGS='ignore::ResourceWarning'),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip('\n'))

    @property
    def text(self) -> str:
        """All that it has printed."""
        return '\n'.join(self.lines)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def write(self, line: str) -> None:
        """Give it a line on standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f'{line}\n')
        self._process.stdin.flush()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = LONG) -> int:
        """Wait for its end; return its exit code."""
        try:
            code = self._process.wait(seconds)
        finally:  # perhaps it is the test whose time is up
            if self._process.poll() is None:
                print(self.text)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """Kill it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for stream in self._process.stdin, self._process.stdout:
            if stream is not None:
                stream.close()


class Worker(Process):
    """`napix worker`."""

    def __init__(self, *arguments: str) -> None:
        super().__init__('-m', 'napixclient', 'worker', *arguments)

    @property
    def ready(self) -> bool:
        """Whether it says so."""
        return any(line.startswith('ready:') for line in self.lines)


class Servers(Process):
    """Servers that count."""

    def __init__(self, count: int, seconds: float = 0) -> None:
        super().__init__('-m', 'tests.cluster.counting', str(count), str(seconds))
        self.ports: list[int] = json.loads(until(lambda: self.lines and self.lines[0]))
        self.hosts = [f'127.0.0.1:{port}' for port in self.ports]

    def report(self) -> dict[str, Any]:
        """What they have seen."""
        found = napixclient.Client(self.hosts[0], timeout=20).request('GET', '/report').json()
        assert isinstance(found, dict)
        return found


class Submitter(Process):
    """A submitter; its last line is what became of its requests."""

    def __init__(self, **orders: Any) -> None:
        super().__init__('-m', 'tests.cluster.submitting')
        self.write(json.dumps(orders))

    def result(self, seconds: float = LONG) -> dict[str, Any]:
        """Wait for its end; return what it found."""
        assert self.wait(seconds) == 0, self.text
        [line] = [line for line in self.lines if line.startswith('{"kinds"')]
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    @property
    def done(self) -> int:
        """How many outcomes it has told of so far."""
        told = [json.loads(line)['done'] for line in self.lines if line.startswith('{"done"')]
        return told[-1] if told else 0


class Cluster:
    """Workers and submitters of one zone; all is ended with it.

    :param url: how the broker is reached, if not as the broker says.
    """

    _zones = 0

    def __init__(self, broker: Any, folder: Any, lanes: int = 8, url: str | None = None) -> None:
        Cluster._zones += 1
        self.url: str = url or broker.url
        self.broker = broker
        self.zone = f'zone-{os.getpid()}-{Cluster._zones}'
        self.lanes = lanes
        self.key = new_key()
        path = folder / f'{self.zone}.key'
        path.write_text(f'{self.key}\n')
        self.key_file = f'@{path}'
        self._processes: list[Process] = []

    def options(self, **more: Any) -> dict[str, Any]:
        """What a ClusterPool of this cluster is made with."""
        return {'key': self.key, 'lanes': self.lanes, 'zone': self.zone, **more}

    def worker(self, number: int = 0, of: int = 1, *more: str, ready: bool = True) -> Worker:
        """Start a worker, and wait until it is ready."""
        worker = Worker(
            *('--broker', self.url, '--number', str(number), '--of', str(of), '--key', self.key_file),
            *('--zone', self.zone, '--lanes', str(self.lanes), *(more or ('--allow', '127.0.0.0/8'))),
        )
        self._processes.append(worker)
        if ready:
            until(lambda: worker.ready or worker.ended)
            assert worker.ready, worker.text
        return worker

    def workers(self, count: int) -> list[Worker]:
        """Start so many."""
        started = [self.worker(number, count, ready=False) for number in range(count)]
        for worker in started:
            until(lambda worker=worker: worker.ready)  # type: ignore[misc]
        return started

    def servers(self, count: int, seconds: float = 0) -> Servers:
        """Start servers."""
        servers = Servers(count, seconds)
        self._processes.append(servers)
        return servers

    def submitter(self, name: str, hosts: list[str], count: int, *methods: str, **more: Any) -> Submitter:
        """Start a submitter."""
        options = {'lanes': self.lanes, 'zone': self.zone, **more.pop('options', {})}
        submitter = Submitter(
            broker=self.url, key=self.key, name=name, hosts=hosts, count=count, methods=methods, options=options, **more
        )
        self._processes.append(submitter)
        return submitter

    def via(self) -> list[str]:
        """The flags that send something over this cluster."""
        return [*('--via', self.url, '--via-key', self.key_file), *('--zone', self.zone, '--lanes', str(self.lanes))]

    def command(self, *arguments: str) -> Process:
        """Start `napix` with these arguments, over this cluster."""
        command = Process('-m', 'napixclient', arguments[0], *self.via(), *arguments[1:])
        self._processes.append(command)
        return command

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self._processes):
            process.close()
