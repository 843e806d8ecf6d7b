"""One connection and one request, as the server sees them."""

from __future__ import annotations

import select
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import gevent.ssl
from gevent import monkey, socket
from gevent.event import Event

from ..messages import Headers
from .steps import Script, checked

__all__ = ['AnyServer', 'Peer', 'Received']

# The real poll even in a patched process, because asking whether a client is gone must not switch greenlets.
poll: Any = monkey.get_original('select', 'poll')
RDHUP: int = getattr(select, 'POLLRDHUP', 0)  # poll reports the others unasked
GONE = RDHUP | select.POLLERR | select.POLLHUP | select.POLLNVAL


class AnyServer(Protocol):
    """A server, as its connections and gates know it."""

    port: int
    host: str
    url: str
    requests: list[Received]

    @property
    def received(self) -> type[Received]:
        """The class of its requests."""

    def play(self, script: Script, peer: Peer) -> None:
        """Play a script on a connection."""


@dataclass(eq=False, repr=False)
class Received:
    """One request as the server read it."""

    #: The connection that it came on.
    peer: Peer
    #: ``GET`` and the like.
    method: str
    #: The target as it was sent, with the query.
    path: str
    #: Its header fields, a case-insensitive mapping.
    headers: Headers
    #: Its body, with chunks joined; empty if there is none.
    body: bytes
    #: All its bytes as they came; empty at a server of a WSGI application.
    raw: bytes = b''

    def __post_init__(self) -> None:
        #: The script that the server plays instead of answering, if there is one.
        self.script: Script | None = None
        self._go = Event()

    def release(self, script: Script | None = None) -> None:
        """Release a request that a :class:`Gate` holds: the server answers it.

        :param script: steps to play instead of answering, such as ``[RST]``.
        :raises TypeError: if it is not a list of steps.
        """
        self.script = None if script is None else checked(script)
        self._go.set()

    @property
    def released(self) -> bool:
        """Whether no gate holds the request any more."""
        return self._go.is_set()

    def wait(self) -> None:
        """Wait until it is released; called by the server."""
        self._go.wait()

    def __repr__(self) -> str:
        return f'<Received {self.method} {self.path}>'


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: AnyServer, raw: socket.socket, number: int) -> None:
        #: The server.
        self.server: AnyServer = server
        #: Its number among the connections of the server, from 0.
        self.number: int = number
        #: Its socket, one of gevent's; with TLS, an ``SSLSocket``.
        self.socket: Any = raw
        #: The request that was read last.
        self.request: Received | None = None
        self.continues = False  # whether a client that sends "Expect: 100-continue" is told to send its body
        self.reader: Any = None  # a file that reads from the socket, and would keep it open
        self._buffer = bytearray()

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return bool(self.socket.fileno() < 0)

    def is_gone(self) -> bool:
        """Whether the client has closed or reset the connection by now. Other greenlets do not run meanwhile."""
        if self.closed:
            return True
        poller = poll()
        poller.register(self.socket.fileno(), RDHUP)
        return any(event & GONE for _, event in poller.poll(0))

    def send(self, data: bytes) -> None:
        """Send all of the data.

        :raises OSError: if the client is gone.
        """
        self.socket.sendall(data)

    def close(self) -> None:
        """Close the connection; over TLS, say goodbye (close_notify), and do not wait for the client's."""
        if isinstance(self.socket, gevent.ssl.SSLSocket) and not self.closed:
            try:
                self.socket.settimeout(0)  # so that unwrap() only sends
                self.socket.unwrap()
            except (OSError, ValueError):
                pass
        self._close()

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self._close()

    def _close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.socket.close()

    def finish(self) -> None:
        """Send no more (FIN; over TLS without a goodbye), but go on reading."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def drain(self) -> None:
        """Read and discard until the client is gone."""
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass

    def read(self) -> Received:
        """Read one whole request.

        :raises EOFError, OSError: if the client is gone.
        :raises ValueError: if it sent something other than a request of HTTP/1.1.
        """
        head = self._until(b'\r\n\r\n')
        first = head.partition(b'\r\n')[0].decode('latin-1').split(' ')
        if len(first) != 3:
            raise ValueError(f'a client sent what is no request: {head[:100]!r}')
        headers = Headers.of_block(head[:-4])
        if self.continues and headers.get('expect', '').lower() == '100-continue':
            self.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        if 'chunked' in headers.get('transfer-encoding', ''):
            raw, body = self._chunks()
        else:
            raw = body = self._take(int(headers.get('content-length', 0)))
        return self.server.received(self, first[0], first[1], headers, body, head + raw)

    def _chunks(self) -> tuple[bytes, bytes]:
        raw = body = b''
        while True:
            line = self._until(b'\r\n')
            size = int(line.partition(b';')[0], 16)
            data = self._take(size + 2)
            raw += line + data
            body += data[:-2]
            if not size:
                return raw, body

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            self._fill()
        return self._take(end + len(mark))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data
