"""The demo's peers: real servers on loopback, each a process of its own.

They are forks of this process, which has already imported everything, so all of them are up in a tenth of a second.
Two pipes connect them to it. *alive* closes when the demo ends, however it ends (even by SIGKILL), and then each peer
exits. Each peer writes to *here* once it is up, and *here* closes when the last peer has exited.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable
from io import FileIO
from time import monotonic
from typing import Any, NoReturn

import gevent
from gevent import monkey, socket
from gevent.os import fork_gevent
from gevent.pywsgi import WSGIServer

from ..client import Client
from ..errors import HTTPError
from ..wsgi.environ import App, Environ, StartResponse

__all__ = ['Peers', 'allocator', 'backend', 'filer', 'hypervisor', 'troubled_hypervisor']

_poll = monkey.get_original('select', 'poll')
#: Seconds that the peers may take to start, and to exit before they are killed.
PATIENCE = 8


class Peers:
    """A context manager that ends its peers and waits until they have exited."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # host -> name
        self._pids: list[int] = []
        self._ghosts: list[socket.socket] = []
        self._alive, self._lifeline = _pipe()
        self._here, self._write_here = _pipe()

    def __enter__(self) -> Peers:
        return self

    def __len__(self) -> int:
        return len(self._pids)

    def start(self, name: str, app: App) -> str:
        """Fork a process that serves the app, and return its host. Call it while signals are held."""
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(64)
        host = self._call(listener, name)
        pid = fork_gevent()
        if pid == 0:
            self._serve(listener, app)
        listener.close()
        self._pids.append(pid)
        return host

    def dead(self, name: str) -> str:
        """The host of a server that is down: its port refuses connections, and no other program can take it."""
        ghost = socket.socket()
        ghost.bind(('127.0.0.1', 0))
        self._ghosts.append(ghost)
        return self._call(ghost, name)

    def _call(self, sock: socket.socket, name: str) -> str:
        host = f'127.0.0.1:{sock.getsockname()[1]}'
        self.names[host] = name
        return host

    def _serve(self, listener: socket.socket, app: App) -> NoReturn:
        """Run a peer until the demo ends."""
        try:
            self._lifeline.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which then ends its peers
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            _Server(listener, _explaining(app), log=None).start()
            self._write_here.write(b'.')
            socket.wait_read(self._alive.fileno())
        finally:
            os._exit(0)  # nothing of what the demo would do at its end

    def wait_until_up(self) -> None:
        """Block until every peer accepts requests. Call it while signals are held.

        :raises OSError: if one does not.
        """
        self._write_here.close()
        up, end = 0, monotonic() + PATIENCE
        while up < len(self._pids):
            heard = self._hear(end)
            if not heard:
                raise OSError(f'only {up} of {len(self._pids)} peers came up')
            up += len(heard)

    def _hear(self, end: float) -> bytes | None:
        """What the peers wrote: empty when all have exited, ``None`` once ``monotonic()`` reaches the end.

        It blocks the whole process, so that nothing interrupts a step that must not be left half done.
        """
        poller = _poll()
        poller.register(self._here)
        return self._here.read(1024) if poller.poll(max(end - monotonic(), 0) * 1000) else None

    def __exit__(self, *exc: object) -> None:
        self._lifeline.close()
        self._write_here.close()
        end = monotonic() + PATIENCE
        while self._hear(end):
            pass
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
                os.waitpid(pid, 0)
        self._alive.close()
        self._here.close()
        for ghost in self._ghosts:
            ghost.close()


def _pipe() -> tuple[FileIO, FileIO]:
    """A pipe's two ends. As files: the ``os.close`` that gevent puts in waits for a turn of the loop."""
    reading, writing = os.pipe()
    return FileIO(reading, 'r'), FileIO(writing, 'w')


class _Server(WSGIServer):
    """pywsgi writes head and body apart: without TCP_NODELAY each answer on a kept connection takes 44 ms."""

    def handle(self, sock: socket.socket, address: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle(sock, address)


def _explaining(app: App) -> App:
    """Answer exceptions with napix's error object; that of a failed call to another server includes its answer."""

    def wrapped(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except Exception as exc:
            document: dict[str, Any] = {
                'error_class': type(exc).__name__,
                'error_text': getattr(exc, 'message', str(exc)),
                'request': {'method': environ['REQUEST_METHOD'], 'path': environ['PATH_INFO']},
            }
            if not isinstance(exc, HTTPError):
                return _json(start_response, '500 Internal Server Error', document)
            document.update(
                remote_call=exc.remote_call,
                remote_status=exc.status,
                remote_elapsed=exc.elapsed,
                remote_error=exc.remote_error,
            )
            return _json(start_response, '502 Bad Gateway', document)

    return wrapped


def _json(start_response: StartResponse, status: str, document: dict[str, Any]) -> list[bytes]:
    data = json.dumps(document).encode()
    start_response(status, [('Content-Type', 'application/json'), ('Content-Length', str(len(data)))])
    return [data]


def hypervisor(size: int, seconds: float) -> App:
    """Answers after some seconds with the bytes that it has free."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gevent.sleep(seconds)
        return _json(start_response, '200 OK', {'size': size})

    return app


def troubled_hypervisor(storage: str) -> App:
    """Asks its storage before it answers, and fails with it."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with Client(storage) as client:
            return _json(start_response, '200 OK', client.request('GET', '/volumes/vg-13').body)

    return app


def backend(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The storage behind a hypervisor, out of order."""
    raise OSError('volume group vg-13 is offline: 2 of its 4 disks have failed')


def allocator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Allocates an IP address."""
    gevent.sleep(0.06)
    return _created(start_response, '/vm-ip/10.0.0.17')


def filer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Creates a volume."""
    gevent.sleep(0.12)
    return _created(start_response, '/storage/vm-17')


def _created(start_response: StartResponse, location: str) -> list[bytes]:
    start_response('204 No Content', [('Location', location)])
    return []
