"""Servers of WSGI applications: gevent's pywsgi on our own connections."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer
from greenlet import GreenletExit

from ..messages import Headers
from .gate import Gate
from .peer import Peer
from .server import LOGGER, Server

__all__ = ['App', 'AppServer']

App = Callable[[dict[str, Any], Callable[..., Any]], Any]


class AppServer(Server):
    """A server whose requests a WSGI application answers."""

    def __init__(self, app: App, gate: Gate | None = None, **options: Any) -> None:
        super().__init__(None, gate, **options)
        name = self.authority.rpartition(':')[0].strip('[]')
        # It never listens: connections come from this server. Named, for it would look for its name in the DNS.
        self.wsgi = WSGIServer(
            (name, self.port),
            app,
            log=None,
            error_log=LOGGER,
            environ={
                'SERVER_NAME': name,
                'SERVER_PORT': str(self.port),
                'wsgi.url_scheme': 'https' if self.tls else 'http',
            },
        )
        self._talking: dict[Peer, _Handler] = {}

    def talk(self, peer: Peer) -> None:
        """Let pywsgi talk."""
        handler = self._talking[peer] = _Handler(self, peer)
        try:
            handler.handle()
        finally:
            del self._talking[peer]

    def answer(self, peer: Peer) -> None:
        """Let the application answer."""
        self._talking[peer].answer()


class _Handler(WSGIHandler):
    """What reads the requests of one connection, and has the application answer them."""

    def __init__(self, ours: AppServer, peer: Peer) -> None:
        super().__init__(peer.socket, peer.socket.getpeername(), ours.wsgi)
        self._ours = ours
        self._peer = peer
        self._lost: BaseException | None = None  # that the client was gone when something was sent
        peer.reader = self.rfile

    def handle(self) -> None:
        """All requests of the connection. The server closes it."""
        while (found := self.handle_one_request()) is True:
            pass
        if found is not None:  # what was no request
            self.socket.sendall(found[1])

    def handle_one_response(self) -> None:
        """Called when the head has been read."""
        self._peer.request = None
        try:
            super().handle_one_response()
        finally:
            if (request := self._peer.request) is not None:
                self._ours.gate.leave(request)

    def run_application(self) -> None:
        """Read the body, take note of the request, and let it through the gate."""
        try:
            body = self._read_body()
        except OSError:  # the client is gone, or sent what are no chunks
            self.close_connection = True
            return
        ours, peer = self._ours, self._peer
        block = ''.join(f'\r\n{line.strip()}' for line in self.headers.headers).encode('latin-1')
        request = ours.note(ours.received(peer, str(self.command), str(self.path), Headers.of_block(block), body))
        ours.gate.enter(request)
        request.wait()
        if request.script is None:
            self.answer()
        else:
            try:
                ours.play(request.script, peer)
            except OSError:
                self.close_connection = True

    def _read_body(self) -> bytes:
        environ: Any = self.environ
        if not environ['wsgi.input_terminated']:  # another protocol was asked for
            return b''
        body: bytes = environ['wsgi.input'].read()
        environ['wsgi.input'] = BytesIO(body)
        return body

    def answer(self) -> None:
        """Run the application. To pywsgi an OSError of the application's own may be that of the connection."""
        try:
            super().run_application()
        except OSError as exc:
            if exc is not self._lost:
                self.handle_error(*sys.exc_info())
            self.close_connection = True

    def _sendall(self, data: bytes) -> None:
        try:
            super()._sendall(data)  # type: ignore[misc]
        except OSError as exc:
            self._lost = exc
            raise

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Tell of it in the answer, where none has begun."""
        self.close_connection = True
        if issubclass(t, GreenletExit):  # the server closes
            return
        data = self._ours.failed(v).encode()
        if not self.headers_sent:
            self.start_response(
                '500 Internal Server Error',
                [
                    ('Content-Type', 'text/plain; charset=utf-8'),
                    ('Content-Length', str(len(data))),
                    ('Connection', 'close'),
                ],
            )
            try:
                self.write(b'' if self.command == 'HEAD' else data)
            except OSError:
                pass

    def log_request(self) -> None:
        """Nothing."""
