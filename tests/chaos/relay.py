"""A TCP relay that can freeze: what is under way stays where it is, as behind a network that is down."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer


class Relay:
    """Hands everything on to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = Event()
        self._open.set()
        self._server = StreamServer(('127.0.0.1', 0), self._relay)
        self._server.start()
        self.port: int = self._server.server_port

    def freeze(self) -> None:
        """Hand nothing on any more, and close nothing."""
        self._open.clear()

    def thaw(self) -> None:
        """Hand on what has come meanwhile, too."""
        self._open.set()

    def _relay(self, near: Any, address: Any) -> None:
        self._open.wait()
        with socket.create_connection(('127.0.0.1', self._to)) as far:
            back = gevent.spawn(self._pump, far, near)
            self._pump(near, far)
            back.join()

    def _pump(self, source: Any, sink: Any) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in source, sink:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.set()
        self._server.stop()
