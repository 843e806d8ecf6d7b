"""Servers of WSGI applications: gevent's pywsgi on our own connections."""

from __future__ import annotations

import ssl
import sys
from io import BytesIO
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer
from greenlet import GreenletExit

from ..messages import Headers
from ..wsgi.environ import App
from .gate import Gate
from .peer import Peer
from .server import LOGGER, Server

__all__ = ['App', 'AppServer']


class AppServer(Server):
    """A server whose requests a WSGI application answers.

    :param app: the application.
    :param gate: holds and counts the requests.
    :param tls: as :func:`serve` takes it.
    :param address: the address to listen on.
    :param listening: ``False`` to refuse connections until ``listen()`` is called.
    """

    def __init__(
        self,
        app: App,
        gate: Gate | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        address: str = '127.0.0.1',
        listening: bool = True,
    ) -> None:
        super().__init__(None, gate, tls=tls, address=address, listening=listening)
        name = self.authority.rpartition(':')[0].strip('[]') or self.authority
        # It never listens: its connections come from this server. The name is given, or it would ask the DNS for one.
        self.wsgi: WSGIServer = WSGIServer(
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
    """Reads the requests of one connection, and has the application answer them."""

    def __init__(self, ours: AppServer, peer: Peer) -> None:
        super().__init__(peer.socket, peer.socket.getpeername(), ours.wsgi)
        self._ours = ours
        self._peer = peer
        self._lost: BaseException | None = None  # raised by sending after the client had left
        peer.reader = self.rfile

    def handle(self) -> None:
        """Serve all requests of the connection, which the server closes."""
        while (found := self.handle_one_request()) is True:
            pass
        if found is not None:  # it was not a request
            self.socket.sendall(found[1])

    def handle_one_response(self) -> None:
        """Serve the request whose head was read."""
        self._peer.request = None
        try:
            super().handle_one_response()
        finally:
            if (request := self._peer.request) is not None:
                self._ours.gate.leave(request)

    def run_application(self) -> None:
        """Read the body, record the request, and pass it through the gate."""
        try:
            body = self._read_body()
        except OSError:  # the client is gone, or its chunks are malformed
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
        if not environ['wsgi.input_terminated']:  # the client asked for another protocol
            return b''
        body: bytes = environ['wsgi.input'].read()
        environ['wsgi.input'] = BytesIO(body)
        return body

    def answer(self) -> None:
        """Run the application. pywsgi cannot tell an ``OSError`` of the application from one of the connection."""
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
        """Send the traceback as the answer, if no answer has begun."""
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
