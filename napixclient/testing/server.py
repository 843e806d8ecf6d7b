"""Servers: a listening socket, a greenlet for each connection, and the answers."""

from __future__ import annotations

import json
import logging
import os
import ssl
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import gevent
import gevent.ssl
from gevent import socket
from gevent.event import Event

from ..messages import Fields, Headers, parse_origin
from .gate import Gate
from .peer import Peer, Received
from .steps import Drip, Forever, Pause, Script, Step, Wait

__all__ = ['Handler', 'LOGGER', 'Server', 'encode']

LOGGER = logging.getLogger('napixclient.testing')
_Server = TypeVar('_Server', bound='Server')
Handler = Callable[[str, str, Headers, bytes], Any]


class Server:
    """A server on loopback, on a port of its own, that :func:`serve` starts; a context manager.

    No failure in it stops the test. If a handler or an application raises an exception, the server answers 500 with
    the traceback, logs an error under ``napixclient.testing``, and keeps the exception in ``errors``. Leaving the
    ``with`` does not raise it, because a server that raises may be what the test is about.
    """

    #: The class of its requests.
    received: type[Received] = Received

    def __init__(
        self,
        handler: Handler | None = None,
        gate: Gate | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        address: str = '127.0.0.1',
        listening: bool = True,
    ) -> None:
        _check_tls(tls, address)
        self.handler = handler
        #: Holds and counts its requests; an open gate if none was given.
        self.gate: Gate = gate if gate is not None else Gate(opened=True)
        self.tls = tls
        #: How many connections it has accepted.
        self.accepted: int = 0
        #: All requests that it has read, in their order; each is a :class:`Received`.
        self.requests: list[Received] = []
        #: The exceptions of the handler or the application.
        self.errors: list[BaseException] = []
        #: Its open connections, by number.
        self.peers: dict[int, Peer] = {}
        #: The event that the step ``LATER`` waits for.
        self.later: Event = Event()
        self._greenlets: set[gevent.Greenlet[..., Any]] = set()
        self._path = address if address.startswith('/') else None
        self._listener = _bound(address)
        #: The port; 0 of a Unix socket.
        self.port: int = 0 if self._path else self._listener.getsockname()[1]
        #: Host and port.
        self.authority: str = _authority(address, self.port)
        #: The host as a client takes it: ``'127.0.0.1:1234'``, or ``'https://127.0.0.1:1234'`` with TLS; or of a Unix
        #: socket ``'unix:///run/x.sock'``.
        self.host: str = f'unix://{address}' if self._path else f'https://{self.authority}' if tls else self.authority
        #: The host as a URL: ``'http://127.0.0.1:1234'``, ``'http+unix://%2Frun%2Fx.sock'``.
        self.url: str = str(parse_origin(self.host))
        if listening:
            self.listen()

    def at(self, address: str) -> str:
        """The host at another address of this machine, for a server that listens on ``0.0.0.0``.

        On Linux all of 127.0.0.0/8 are addresses of the machine, so a single server can stand for many hosts.
        """
        return f'{"https://" if self.tls else ""}{address}:{self.port}'

    def listen(self, backlog: int = 4096) -> None:
        """Start to accept connections. Until then they are refused."""
        self._listener.listen(backlog)
        self._greenlets.add(gevent.spawn(self._accept))

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            if self._path is None:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = self.peers[self.accepted] = Peer(self, raw, self.accepted)
            self.accepted += 1
            talking = gevent.spawn(self._connected, peer)
            self._greenlets.add(talking)
            talking.rawlink(self._greenlets.discard)

    def _connected(self, peer: Peer) -> None:
        try:
            self._greet(peer)
            self.talk(peer)
        except (OSError, EOFError):  # the client went away; ssl.SSLError is an OSError
            pass
        except (Exception, gevent.Timeout) as exc:
            self.failed(exc)
        finally:
            peer.close()
            self.peers.pop(peer.number, None)

    def _greet(self, peer: Peer) -> None:
        if self.tls is not None:
            # The handshake is a second step, so that killing it leaves a socket that can be closed.
            peer.socket = self.tls.wrap_socket(peer.socket, server_side=True, do_handshake_on_connect=False)
            peer.socket.do_handshake()

    def talk(self, peer: Peer) -> None:
        """Answer requests on one connection until the client leaves."""
        peer.continues = True
        while not peer.closed:
            request = self.read(peer)
            self.gate.enter(request)
            try:
                request.wait()
                if request.script is None:
                    self.answer(peer)
                else:
                    self.play(request.script, peer)
            finally:
                self.gate.leave(
                    request
                )  # no greenlet has run since the last byte was sent, so nobody saw the answer yet
            if request.headers.get('connection', '').lower() == 'close':
                return

    def read(self, peer: Peer) -> Received:
        """Read a request and record it."""
        return self.note(peer.read())

    def note(self, request: Received) -> Received:
        """Record a request."""
        request.peer.request = request
        self.requests.append(request)
        return request

    def answer(self, peer: Peer) -> None:
        """Answer the request that was read last."""
        request = peer.request
        if request is None:
            raise ValueError('there is no request to answer: ANSWER comes after READ')
        try:
            returned = (
                None
                if self.handler is None
                else self.handler(request.method, request.path, request.headers, request.body)
            )
            data = encode(*_answered(returned), request.method)
        except (Exception, gevent.Timeout) as exc:
            data = encode(500, {'Content-Type': 'text/plain; charset=utf-8'}, self.failed(exc), request.method)
        peer.send(data)

    def failed(self, error: BaseException) -> str:
        """Keep and log an exception; return its traceback."""
        self.errors.append(error)
        LOGGER.error('the server at %s failed', self.url, exc_info=error)
        return ''.join(traceback.format_exception(error))

    def play(self, script: Script, peer: Peer) -> None:
        """Play a script on a connection, which stays as it is when the script ends."""
        for step in script:
            match step:
                case Step.READ:
                    self.read(peer)
                case Step.ANSWER:
                    self.answer(peer)
                case Step.CLOSE:
                    return peer.close()
                case Step.RST:
                    return peer.reset()
                case Step.FIN:
                    peer.finish()
                case Step.LATER:
                    self.later.wait()
                case Step.SILENCE:
                    peer.drain()
                    return peer.close()
                case Wait(event):
                    event.wait()
                case Pause(seconds):
                    gevent.sleep(seconds)
                case Drip(data, every):
                    for index in range(len(data)):
                        peer.send(data[index : index + 1])
                        gevent.sleep(every)
                case Forever(data):
                    while True:
                        peer.send(data)
                        gevent.sleep(0)
                case bytes():
                    peer.send(step)
        return None

    def close(self) -> None:
        """Close the server and all its connections, and wait until they are closed. May be called again."""
        self._listener.close()
        if self._path is not None and os.path.exists(self._path):
            os.unlink(self._path)
        talking = list(self._greenlets)
        for some in range(0, len(talking), 50):  # killing a thousand at once would block the hub
            gevent.killall(talking[some : some + 50])
            gevent.sleep(1e-6)  # with 0 the hub would not poll its sockets
        for peer in list(self.peers.values()):
            peer.close()

    def __enter__(self: _Server) -> _Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.url}, {len(self.requests)} requests over {self.accepted} connections>'


def _bound(address: str) -> socket.socket:
    """A socket at an address, on a port of its own; at a path where that begins with ``/``."""
    if address.startswith('/'):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        return listener
    listener = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 0))
    return listener


def _authority(address: str, port: int) -> str:
    if address.startswith('/'):
        return 'localhost'
    return f'[{address}]:{port}' if ':' in address else f'{address}:{port}'


def _check_tls(tls: object, address: str) -> None:
    if tls is None:
        return
    if address.startswith('/'):
        raise ValueError('no TLS is spoken over a Unix socket')
    if not isinstance(tls, gevent.ssl.SSLContext):
        raise ValueError(
            'tls is a gevent.ssl.SSLContext: the handshakes of any other would block every greenlet, '
            f'the client of the test too; not {tls!r}'
        )
    if tls.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(
            'tls is the context of a server, not of a client: gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)'
        )


def _answered(returned: Any) -> tuple[int, Fields | None, object]:
    """Status, headers and body, from what a handler returned."""
    if not isinstance(returned, tuple):
        return 200, None, returned
    if len(returned) == 2 and isinstance(returned[0], int):
        return returned[0], None, returned[1]
    if len(returned) == 3 and isinstance(returned[0], int):
        return returned
    raise TypeError(f'a handler returns (status, headers, body), (status, body) or a body, not {returned!r}')


def encode(status: int, headers: Fields | None, body: object, method: str = 'GET') -> bytes:
    """The bytes of an answer.

    A dict or a list is sent as JSON. Content-Length is added unless the headers have it or Transfer-Encoding.

    :raises TypeError: if the body is not a dict, a list, a str, bytes or None.
    :raises ValueError: if the body contains a number that JSON does not have: infinity or NaN.
    """
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    given = {name.lower() for name, _ in pairs}
    if isinstance(body, (dict, list)):
        body = json.dumps(body, allow_nan=False)
        if 'content-type' not in given:
            pairs.append(('Content-Type', 'application/json'))
    if not isinstance(body, (str, bytes, bytearray, memoryview, type(None))):
        raise TypeError(f'a body is a dict, a list, a str, bytes or None, not {type(body).__name__}')
    data = body.encode() if isinstance(body, str) else bytes(body or b'')
    bodiless = status in (204, 304) or status < 200
    if not given & {'content-length', 'transfer-encoding'} and not bodiless:
        pairs.append(('Content-Length', str(len(data))))
    reason = HTTPStatus(status).phrase if status in _STATUSES else ''
    head = f'HTTP/1.1 {status} {reason}\r\n' + ''.join(f'{name}: {value}\r\n' for name, value in pairs) + '\r\n'
    return head.encode('latin-1') + (b'' if bodiless or method == 'HEAD' else data)


_STATUSES = frozenset(HTTPStatus)
