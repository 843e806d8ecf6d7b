"""The WebSocket protocol, hardened against hostile peers; knows nothing of runs.

What gevent-websocket 0.10 leaves open, and is closed here: frames without a mask, of any size and any number are taken;
close codes are not sent; two greenlets that send at once mix their frames; who does not read holds his sender for
ever; and a handler that returns while another greenlet still sends makes libev abort the process.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import gevent
from gevent.lock import RLock
from gevent.socket import SHUT_WR
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler
from geventwebsocket.websocket import Header, Stream, WebSocket

from .sender import PIECE, Sender

__all__ = ['LINGER_SECONDS', 'Gone', 'GuardedSocket', 'UpgradingHandler', 'Violation', 'frame']

#: Bounds of what a peer may send (RFC 6455 §10.4 leaves them to us).
MAX_MESSAGE = 1 << 20
MAX_FRAGMENTS = 1000
MAX_CONTROLS = 100  # a second, messages too
#: Seconds for which we read on after our Close, for the peer's: to close with something unread would reset the
#: connection, and the peer might never see ours.
LINGER_SECONDS = 2.0
#: Bytes that are read before others have their turn: there may always be more.
TURN = 64 * 1024
#: As the exception of a ``gevent.Timeout``: end the block, and raise nothing.
_QUIETLY: Any = False
#: Of RFC 6455 §7.4.1 and the registry it names; those from 3000 on are for libraries and applications.
_CODES = frozenset([*range(1000, 1004), *range(1007, 1015)])


class Gone(WebSocketError):  # type: ignore[misc]
    """The connection is closed, or the peer has left, or takes nothing any more."""


class Violation(Exception):
    """The peer has broken a rule.

    :param code: the close code to tell it by (RFC 6455 §7.4.1).
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message or control frame of a server's: without a mask (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack('!BBH', 0x80 | opcode, 126, size) + payload
    return struct.pack('!BBQ', 0x80 | opcode, 127, size) + payload


class GuardedSocket(WebSocket):  # type: ignore[misc]
    """One connection. One greenlet may read, any may send.

    :param slow_seconds: for which a peer may take nothing of what it is sent.
    """

    __slots__ = ('_controls', '_in_turn', '_lock', '_sender', '_told', 'code', 'gone', 'heard', 'reason')

    def __init__(self, environ: Any, stream: Any, handler: Any, slow_seconds: float) -> None:
        super().__init__(environ, stream, handler)
        self._sender = Sender(handler.socket, slow_seconds)
        self._lock = RLock()
        self._controls: deque[float] = deque(maxlen=MAX_CONTROLS)
        self._in_turn = 0
        self._told = False  # whether our Close has been sent
        #: Whether nothing can be sent any more.
        self.gone: bool = False
        #: When the peer was last heard of, by ``time.monotonic()``.
        self.heard: float = monotonic()
        #: The peer's close code and reason; ``None`` before its Close.
        self.code: int | None = None
        self.reason: str = ''

    def __del__(self) -> None:
        """Not theirs, which sends a Close at any time at all."""

    # -- sending ---------------------------------------------------------------------------------------------------

    def send_frames(self, frames: bytes) -> None:
        """Send what :func:`frame` has made, one or more.

        :raises Gone: when the connection is closed, or the peer took nothing for too long.
        """
        with self._lock:
            if self._told or self.gone:
                raise Gone('closed')
            self._send(frames)

    def _send(self, frames: bytes) -> None:
        try:
            self._sender.send(frames)
        except OSError as exc:
            self.gone = True  # a frame may be cut: nothing can follow it
            raise Gone(str(exc)) from exc
        except BaseException:
            self.gone = True
            raise

    def send_now(self, frames: bytes) -> bool:
        """Send what is taken without waiting; the rest goes before anything else. Whether there is none."""
        if not self._lock.locked() and not self._told and not self.gone:
            return self._sender.send_now(frames)
        self._sender.keep(frames)
        return False

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a message or control frame (their seam)."""
        self.send_frames(frame(opcode, message.encode() if isinstance(message, str) else bytes(message)))

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message: a text, or bytes."""
        self.send_frame(message, self.OPCODE_TEXT if isinstance(message, str) else self.OPCODE_BINARY)

    def ping(self) -> None:
        """Ask whether the peer is there; its answer shows in ``heard``."""
        self.send_frame(b'', self.OPCODE_PING)

    def close(self, code: int = 1000, message: Any = b'') -> None:
        """Send our Close, once; nothing can be sent after it.

        :param message: the reason, cut at what fits.
        """
        with self._lock:
            if not self._told and not self.gone:
                self._told = True
                reason = message.encode() if isinstance(message, str) else bytes(message)
                with suppress(Gone):
                    self._send(frame(self.OPCODE_CLOSE, struct.pack('!H', code) + reason[:123]))

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self) -> str | bytes | None:
        """The next message; ``None`` when the peer has sent its Close, or has left.

        Pings are answered, pongs noted.

        :raises Violation: when the peer breaks a rule; the caller is to close with its code.
        """
        try:
            return self.read_message()
        except (EOFError, OSError):
            return None

    def read_message(self) -> str | bytes | None:
        """A whole message, put together of its fragments (their seam)."""
        opcode, size = None, 0
        parts: list[Any] = []
        decoder = codecs.getincrementaldecoder('utf-8')()
        while True:
            header, payload = self.read_frame(MAX_MESSAGE - size)
            if header.opcode >= self.OPCODE_CLOSE:
                if self._control(header.opcode, payload):
                    return None
                continue
            if (header.opcode == self.OPCODE_CONTINUATION) is (opcode is None):
                raise Violation(1002, 'a fragment out of order')
            if opcode is None:
                opcode = header.opcode
                self._count()
            size += len(payload)
            try:
                parts.append(decoder.decode(payload, header.fin) if opcode == self.OPCODE_TEXT else payload)
            except UnicodeDecodeError:
                raise Violation(1007, 'not UTF-8') from None
            if header.fin:
                return ''.join(parts) if opcode == self.OPCODE_TEXT else b''.join(parts)
            if len(parts) >= MAX_FRAGMENTS:
                raise Violation(1008, 'too many fragments')

    def read_frame(self, room: int = MAX_MESSAGE) -> tuple[Any, bytes]:
        """A frame, judged before its payload is read (their seam).

        :param room: bytes that its payload may have.
        """
        header, mask = self._read_header()
        if header.opcode not in (0, 1, 2, 8, 9, 10):
            raise Violation(1002, 'an opcode that is not known')
        if header.flags:
            raise Violation(1002, 'a reserved bit is set')
        if not mask:
            raise Violation(1002, 'a frame without a mask')
        if header.opcode >= self.OPCODE_CLOSE and (not header.fin or header.length > 125):
            raise Violation(1002, 'a control frame that is too long, or in fragments')
        if header.length > room:
            raise Violation(1009, f'a message of more than {MAX_MESSAGE} bytes')
        payload = self._read(header.length)
        self.heard = monotonic()
        return header, _unmasked(payload, mask)

    def _read_header(self) -> tuple[Any, bytes]:
        first, second = self._read(2)
        length = second & Header.LENGTH_MASK
        if length == 126:
            (length,) = struct.unpack('!H', self._read(2))
        elif length == 127:
            (length,) = struct.unpack('!Q', self._read(8))
        header = Header(
            bool(first & Header.FIN_MASK), first & Header.OPCODE_MASK, first & Header.HEADER_FLAG_MASK, length
        )
        return header, self._read(4) if second & Header.MASK_MASK else b''

    def _read(self, size: int) -> bytes:
        data = self.raw_read(size) if size else b''
        if len(data) != size:
            raise EOFError
        self._in_turn += size + 64  # a gevent socket does not let others run while there is something to read
        if self._in_turn > TURN:
            self._in_turn = 0
            gevent.sleep(0)
        return data

    def _count(self) -> None:
        """:raises Violation: when there have been too many frames in the last second."""
        now = monotonic()
        if len(self._controls) == MAX_CONTROLS and now - self._controls[0] < 1:
            raise Violation(1008, 'too many frames in a second')
        self._controls.append(now)

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Answer a control frame; whether it was the Close."""
        if opcode == self.OPCODE_CLOSE:
            self._closed_by_peer(payload)
            return True
        self._count()
        if opcode == self.OPCODE_PING:
            with suppress(Gone):  # after our Close there is no answer
                self.send_frame(payload, self.OPCODE_PONG)
        return False

    def _closed_by_peer(self, payload: bytes) -> None:
        code = 1005  # there was none: RFC 6455 §7.1.5
        if len(payload) == 1:
            raise Violation(1002, 'half a close code')
        if payload:
            (code,) = struct.unpack('!H', payload[:2])
            if code not in _CODES and not 3000 <= code < 5000:
                raise Violation(1002, 'a close code that must not be sent')
            try:
                self.reason = payload[2:].decode()
            except UnicodeDecodeError:
                raise Violation(1007, 'a reason that is not UTF-8') from None
        self.code = code

    def drain(self) -> None:
        """After our Close, when what comes can no longer be read as frames: let it pass, until its end."""
        end = monotonic() + LINGER_SECONDS
        with gevent.Timeout(LINGER_SECONDS, _QUIETLY), suppress(OSError):
            self.handler.socket.shutdown(SHUT_WR)
            while self.handler.rfile.read1(PIECE) and monotonic() < end:
                gevent.sleep(0)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 §5.3, on all at once: byte by byte a megabyte would hold the hub for a tenth of a second."""
    size = len(payload)
    if not size:
        return b''
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, 'little') ^ int.from_bytes(key, 'little')).to_bytes(size, 'little')


class UpgradingHandler(WebSocketHandler):  # type: ignore[misc]
    """Lets the application decide: it says no with an ordinary answer, or hands in what is to be run after the head.

    The application finds a callable in ``environ['napix.session']``, checks what it wants to check, calls it with a
    function, and returns an empty list after ``start_response``. After 101 the function is called with the
    :class:`GuardedSocket`. After any other status it is called with a :class:`Sender` for the body, and with whether
    what it sends are chunks (RFC 9112 §7.1), and gives back whether that is the whole body.
    """

    slow_seconds: float = 10.0
    session: Any = None
    result: Any
    response_length: int

    def run_application(self) -> None:
        """Run the application, and what it handed in (their seam)."""
        self.session = None
        self.environ['napix.session'] = self._accept
        super(WebSocketHandler, self).run_application()
        self.environ.pop('napix.session', None)

    def _accept(self, session: Any) -> None:
        self.session = session

    def process_result(self) -> None:
        """Send the answer, or run what was handed in for it."""
        session, self.session = self.session, None
        if session is None:
            super().process_result()
        elif self.code == 101:
            self._run_websocket(session)
        else:
            self._run_stream(session)

    def _run_websocket(self, session: Callable[[GuardedSocket], None]) -> None:
        self.upgrade_connection()
        self.write(b'')
        try:
            session(self.websocket)
        finally:
            self._shut()

    def _run_stream(self, session: Callable[[Sender, bool], bool]) -> None:
        self.result = None  # an empty list, by which pywsgi would tell the length of the body
        self.write(b'')
        sender = Sender(self.socket, self.slow_seconds)
        try:
            whole = session(sender, self.response_use_chunked)
            if whole and self.response_use_chunked:
                sender.send(b'0\r\n\r\n')
        finally:
            self.response_length += sender.sent
        if not whole or not self.response_use_chunked:
            self.close_connection = True

    def upgrade_connection(self) -> None:
        """Prepare the 101; the application has checked the request (their seam)."""
        self.websocket: GuardedSocket = GuardedSocket(self.environ, Stream(self), self, self.slow_seconds)
        self.environ['wsgi.websocket'] = self.websocket
        key = self.environ['HTTP_SEC_WEBSOCKET_KEY'].strip() + self.GUID
        accept = base64.b64encode(hashlib.sha1(key.encode('latin-1')).digest()).decode()
        self.start_response(
            '101 Switching Protocols',
            [('Upgrade', 'websocket'), ('Connection', 'Upgrade'), ('Sec-WebSocket-Accept', accept)],
        )

    def _shut(self) -> None:
        """Close through gevent: pywsgi would close the descriptor under whoever waits for it, and libev abort."""
        self.websocket.gone = True
        self.environ['wsgi.websocket'] = None
        with suppress(OSError, RuntimeError):
            self.rfile.close()
        self.socket.close()

    def log_request(self) -> None:
        """As the server does it."""
        super(WebSocketHandler, self).log_request()
