"""One connection and one request, as the server has them."""

from __future__ import annotations

import select
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent.ssl
from gevent import monkey, socket
from gevent.event import Event

from ..messages import Headers
from .steps import Script, checked

if TYPE_CHECKING:
    from .server import Server

__all__ = ['Peer', 'Received']

# The real one, also in a patched process: to ask whether a client is gone must not switch greenlets.
poll = monkey.get_original('select', 'poll')
RDHUP: int = getattr(select, 'POLLRDHUP', 0)  # poll tells of the others unasked
GONE = RDHUP | select.POLLERR | select.POLLHUP | select.POLLNVAL


@dataclass(eq=False, repr=False)
class Received:
    """One request as the server read it."""

    #: The connection that it came over.
    peer: Peer
    #: ``GET`` and the like.
    method: str
    #: The target as it was sent, the query included.
    path: str
    #: Its header fields, a case-insensitive mapping.
    headers: Headers
    #: Its body, chunks put together; empty where there is none.
    body: bytes
    #: All bytes of it, as they came; empty where a WSGI application is served.
    raw: bytes = b''

    def __post_init__(self) -> None:
        #: What the server is to play instead of its answer, if anything.
        self.script: Script | None = None
        self._go = Event()

    def release(self, script: Script | None = None) -> None:
        """Let a request go that a :class:`Gate` holds: the server answers it.

        :param script: steps to play instead of the answer, such as ``[RST]``.
        :raises TypeError: for what is no script.
        """
        self.script = None if script is None else checked(script)
        self._go.set()

    @property
    def released(self) -> bool:
        """Whether no gate holds it any more."""
        return self._go.is_set()

    def wait(self) -> None:
        """Wait until it is released; called by the server."""
        self._go.wait()

    def __repr__(self) -> str:
        return f'<Received {self.method} {self.path}>'


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: Server, raw: socket.socket, number: int) -> None:
        #: The server.
        self.server: Server = server
        #: Its number among the connections of the server, from 0.
        self.number: int = number
        #: Its socket, one of gevent's; with TLS an SSLSocket after the handshake.
        self.socket: Any = raw
        #: The request that was read last.
        self.request: Received | None = None
        self.willing = False  # whether a client that asks (Expect) is told to go on with its body
        self.reader: Any = None  # a file that others read the socket by: it would keep it open
        self._buffer = bytearray()

    @property
    def closed(self) -> bool:
        """Whether the server has closed it."""
        return bool(self.socket.fileno() < 0)

    def is_gone(self) -> bool:
        """Whether the client has closed or reset the connection, as poll() sees it now. Switches no greenlets."""
        if self.closed:
            return True
        poller = poll()
        poller.register(self.socket.fileno(), RDHUP)
        return any(event & GONE for _, event in poller.poll(0))

    def send(self, data: bytes) -> None:
        """Send all of it.

        :raises OSError: when the client is gone.
        """
        self.socket.sendall(data)

    def close(self) -> None:
        """Close it; over TLS with a goodbye, the client's is not waited for."""
        if isinstance(self.socket, gevent.ssl.SSLSocket) and not self.closed:
            try:
                self.socket._sslobj.shutdown()  # type: ignore[attr-defined]
            except (OSError, ValueError):
                pass
        self._close()

    def reset(self) -> None:
        """Close it with a reset (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self._close()

    def _close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.socket.close()

    def finish(self) -> None:
        """Say that no more will be sent (FIN; over TLS without a goodbye), but go on reading."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def drain(self) -> None:
        """Read and forget until the client is gone."""
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass

    def read(self) -> Received:
        """Read one whole request.

        :raises EOFError, OSError: when the client is gone.
        :raises ValueError: when it sent what is no request of HTTP/1.1.
        """
        head = self._until(b'\r\n\r\n')
        first = head.partition(b'\r\n')[0].decode('latin-1').split(' ')
        if len(first) != 3:
            raise ValueError(f'a client sent what is no request: {head[:100]!r}')
        headers = Headers.of_block(head[:-4])
        if self.willing and headers.get('expect', '').lower() == '100-continue':
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
