"""WSGI applications on real servers: gevent's in this process, gunicorn and our examples in processes of their own."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent.pool
import gevent.subprocess
from gevent import socket
from gevent.pywsgi import WSGIServer

from napixclient.wsgi import RawURIHandler
from tests import kit

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


def says(view: Callable[[Environ], Any]) -> App:
    """An application that answers with what the function returns, as JSON."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        data = json.dumps(view(environ)).encode()
        start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(data)))])
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else [data]

    return app


class Handler(RawURIHandler):
    """What a server prints of the exceptions that it is given is its own affair."""

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        """Nothing."""


@contextmanager
def served(app: App) -> Iterator[str]:
    """The application on gevent's server in this process; yields its host."""
    with listening() as listener:
        connections = gevent.pool.Pool()
        server = WSGIServer(listener, app, handler_class=Handler, log=None, spawn=connections)
        server.start()
        try:
            yield host_of(listener)
        finally:
            server.stop(timeout=0)
            connections.kill()


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that listens on a port that was free; what connects waits until somebody accepts."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(('127.0.0.1', 0))
        listener.listen(128)
        yield listener


def host_of(listener: socket.socket) -> str:
    """As a caller writes it."""
    return f'127.0.0.1:{listener.getsockname()[1]}'


# Programs ------------------------------------------------------------------------------------------------------------


class Programs:
    """Programs in processes of their own, which are ended together."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: list[gevent.subprocess.Popen] = []

    def python(self, *arguments: object, **how: Any) -> gevent.subprocess.Popen:
        """Start Python with these arguments. What it says on standard error is nobody's business."""
        runtime = self._stack.enter_context(tempfile.TemporaryDirectory())
        # Coverage is not counted in them: all that they run is run in this process too, and they start twice as fast.
        env = {
            name: value
            for name, value in kit.environment(XDG_RUNTIME_DIR=runtime).items()
            if not name.startswith('COVERAGE_')
        }
        process = gevent.subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=env,
            cwd=kit.ROOT,
            stdin=gevent.subprocess.DEVNULL,
            stdout=gevent.subprocess.PIPE,
            stderr=gevent.subprocess.DEVNULL,
            **how,
        )
        self._stack.callback(process.stdout.close)
        self._running.append(process)
        return process

    def example(self, name: str, *arguments: object) -> str:
        """Start a program of `examples/`; its host, which is what it prints first."""
        host: str = self.python(f'examples/{name}.py', *arguments).stdout.readline().decode().strip()
        assert host, f'{name} does not start'
        return host

    def gunicorn(self, app: str, worker: str = 'gevent', directory: str = '.', workers: int = 1) -> str:
        """Have gunicorn serve an application, `module:app` as it is written on its command line; its host."""
        listener = self._stack.enter_context(listening())
        self.python(
            '-m',
            'gunicorn',
            '--worker-class',
            worker,
            '--workers',
            workers,
            '--bind',
            f'fd://{listener.fileno()}',
            '--log-level',
            'critical',
            '--graceful-timeout',
            1,
            '--chdir',
            directory,
            app,
            pass_fds=[listener.fileno()],
        )
        return host_of(listener)

    def row(self, under: str) -> str:
        """Start the servers of the examples in a row, Flask, Bottle, and one without a framework; the first's host."""
        host = ''
        for name, behind in ('bare_disk', None), ('bottle_storage', 'disk'), ('flask_front', 'storage'):
            if under == 'gunicorn':
                host = self.gunicorn(f'{name}:make_app({repr(host) if behind else ""})', directory='examples')
            else:
                host = self.example(name, *([f'--{behind}={host}'] if behind else []))
        return host

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._stack:
            for process in self._running:
                process.terminate()
            for process in self._running:
                end(process)


def end(process: gevent.subprocess.Popen) -> None:
    """Wait for the end of what was told to. A worker of gunicorn's that was told while it started did not hear it."""
    for number in signal.SIGQUIT, signal.SIGKILL, None:
        try:
            process.wait(timeout=30)
            return
        except gevent.subprocess.TimeoutExpired:
            assert number is not None, f'{process.args} does not end'
            process.send_signal(number)
