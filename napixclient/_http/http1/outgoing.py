"""Sends what of a request does not go out at once: the rest of its head, a large body, an upload, what awaits a 100."""

from __future__ import annotations

from time import monotonic
from typing import Any, Protocol

from ...errors import HTTPError
from ...messages import Request, Source
from ..pending import NEVER
from .failures import error_of_source
from .parser import ResponseParser
from .states import Event, State
from .transport import AGAIN, Transport
from .upload import FileSpan, Upload
from .writer import INLINE

__all__ = ['Outgoing', 'send_rest']

#: Seconds to wait for a 100 before a body is sent all the same.
EXPECT_SECONDS = 1.0


class Sender(Protocol):
    """The connection that the request goes out over."""

    state: State
    outgoing: Outgoing | None
    read_seconds: float
    expires: float
    parser: ResponseParser

    def step(self, event: Event) -> None:
        """Go to the next state."""

    def writable(self) -> None:
        """Called by the loop: the socket takes more."""

    def send_failed(self, exc: OSError) -> None:
        """The connection broke while part of the request was still to go out."""

    def fail(self, error: HTTPError) -> None:
        """End what is in flight, and the connection."""


class Outgoing:
    """The rest of one request.

    :param connection: the connection that it goes out over.
    :param transport: its socket.
    """

    __slots__ = ('_connection', '_held_back', '_out', '_patience', '_rest', '_source', '_span', '_transport', '_upload')

    def __init__(self, connection: Sender, transport: Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._out: memoryview | None = None
        self._rest: memoryview | None = None  # what goes out after that
        self._source: Source | None = None  # what is uploaded …
        self._upload: Upload | None = None  # … by reading it …
        self._span: FileSpan | None = None  # … or as the file that it is
        self._held_back: bytes | Source | None = None  # a body until the server agrees to it
        self._patience: Any = None  # the timer that ends this

    def send(self, data: memoryview) -> None:
        """Send bytes that the socket has not taken."""
        self._out = data
        self._connection.step('block')
        self._transport.watch_writing(self._connection.writable)

    def send_body(self, payload: bytes | Source) -> None:
        """Send a body that does not go with its head."""
        if self._connection.state != 'sending':
            self._connection.step('block')
        if isinstance(payload, bytes):
            self._rest = memoryview(payload)
            self._transport.watch_writing(self._connection.writable)
            return
        self._source = payload
        self._span = FileSpan.of(payload) if self._transport.sends_files else None
        if self._span is not None:
            self._transport.watch_writing(self._connection.writable)
        else:
            self._read_source(0)

    def _read_source(self, sent: int) -> None:
        """Read what is to be sent, behind so many bytes that are out."""
        assert self._source is not None
        self._upload = Upload(self, self._source, sent)
        if self._out is None:
            self._more()

    def hold_back(self, payload: bytes | Source) -> None:
        """Send a body when the server agrees to it, or has been silent for a while (RFC 9110 §10.1.1)."""
        self._connection.step('hold')
        self._connection.expires = NEVER  # the silence that is borne now is shorter
        self._held_back = payload
        self._patience = self._transport.loop.timer(EXPECT_SECONDS)
        self._patience.start(self.agreed)

    @property
    def holds_back(self) -> bool:
        """Whether a body waits for a 100."""
        return self._held_back is not None

    @property
    def waits_for_source(self) -> bool:
        """Whether it is the caller's own file or iterable that takes its time."""
        return self._upload is not None and self._out is None

    def agreed(self) -> None:
        """The server wants the body, or does not say in time whether it does."""
        payload = self._held_back
        self.stop_waiting()
        connection = self._connection
        if payload is not None and not connection.parser.answering:
            connection.step('agree')
            self._await_server()
            self.send_body(payload)

    def stop_waiting(self) -> None:
        """Wait for no 100 any more."""
        patience, self._patience, self._held_back = self._patience, None, None
        if patience is not None:
            patience.stop()
            patience.close()

    # -- the upload's sink -----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue a piece of an upload; its greenlet waits until the piece is out."""
        self._out = memoryview(data)
        self._await_server()
        self._transport.watch_writing(self._connection.writable)

    def uploaded(self) -> None:
        """The whole body is out."""
        self._upload = None
        self._request_out()

    def upload_failed(self, exc: BaseException) -> None:
        """The caller's file or iterable raised: the request ends, and its connection with it."""
        self._connection.fail(error_of_source(exc))

    def _more(self) -> None:
        """Have the upload go on; while its source takes its time, it is not the server that is slow."""
        assert self._upload is not None
        self._connection.expires = NEVER
        self._upload.more()

    # -- called by the connection ----------------------------------------------------------------------------------

    def writable(self) -> bool:
        """The socket takes more; false where there is nothing to send."""
        out = self._out
        if out is None:
            out, self._out, self._rest = self._rest, self._rest, None
        if out is None:
            if self._span is None:
                return False
            self._send_file(self._span)
            return True
        try:
            sent = self._transport.send(out)  # after want-write TLS demands the same buffer again: this is it
        except AGAIN:
            return True
        except OSError as exc:
            self._broken(exc)
            return True
        self._await_server()
        if sent < len(out):
            self._out = out[sent:]
            return True
        self._out = None
        if self._rest is None and self._span is None:
            self._transport.writer.stop()
            self._all_out()
        return True

    def _send_file(self, span: FileSpan) -> None:
        """Have the system send a part of a file."""
        try:
            complete = span.send(self._transport.send_file)
        except AGAIN:
            return
        except ConnectionError as exc:
            self._broken(exc)
            return
        except ValueError as exc:
            self.upload_failed(exc)
            return
        except OSError:  # a file that has to be read after all, or cannot be: who reads it will hear of it
            self._transport.writer.stop()
            self._span = None
            self._read_source(span.sent)
            return
        self._await_server()
        if complete:
            self._transport.writer.stop()
            self._span = None
            self._request_out()

    def _all_out(self) -> None:
        """What was there to send is out."""
        connection = self._connection
        if self._upload is not None:
            self._more()
        elif connection.state == 'expecting':  # the head took its time; its body is still held back
            connection.expires = NEVER
        elif connection.state != 'refused':  # else the server has answered meanwhile, and the body stays here
            self._request_out()

    def _request_out(self) -> None:
        """The whole request is out."""
        self._connection.outgoing = None
        self._connection.step('sent')
        self._await_server()

    def _await_server(self) -> None:
        """It is the server's turn: the read timeout begins anew, unless it is our reader of its answer who is slow."""
        connection = self._connection
        connection.expires = monotonic() + connection.read_seconds if self._transport.reader.active else NEVER

    def _broken(self, exc: OSError) -> None:
        self._transport.writer.stop()
        self._out = self._rest = self._span = None
        if self._upload is not None:
            self._upload.close()
            self._upload = None
        self._await_server()
        self._connection.send_failed(exc)

    def close(self) -> None:
        """Nothing more is sent; the socket is about to be closed."""
        self._out = self._rest = self._span = None
        if self._upload is not None:
            self._upload.close()
            self._upload = None
        self.stop_waiting()


def send_rest(connection: Sender, transport: Transport, request: Request, left: memoryview) -> Outgoing | None:
    """Send what has not gone out of a request; ``None`` where everything has.

    :param left: of its head, and of a body that went with it.
    """
    payload = request.payload
    expects = payload is not None and request.options.expect and request.expects
    follows = payload is not None and not (isinstance(payload, bytes) and len(payload) <= INLINE)
    if not left and not follows and not expects:
        return None
    outgoing = Outgoing(connection, transport)
    if left:
        outgoing.send(left)
    if expects:
        outgoing.hold_back(payload)
    elif follows:
        outgoing.send_body(payload)
    return outgoing
