"""One socket, as a state machine on gevent's loop: writes a request, reads its answer, takes the next.

Nothing here blocks, so nothing can be killed half-way. Two rules are of iron: a watcher is stopped and closed before
its socket is, and no ``Exception`` leaves a callback of the loop.
"""

from __future__ import annotations

import _socket
import select
import struct
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from gevent import getcurrent, monkey, socket, ssl
from gevent.hub import get_hub

from ...errors import Cancelled, DeadlineExceeded, HTTPError, NapixError, ProtocolError, TLSError, TruncatedBody
from ...masking import mask
from ...messages import NO_OPTIONS, Request, Response, new_response
from ..pending import NEVER, PendingResponse
from .bodies import StreamedResponse, Upload
from .wire import INLINE, ResponseReader

__all__ = ['UNSENT', 'Connection', 'Home']

#: Seconds to wait for a 100 before a body is sent all the same.
EXPECT_SECONDS = 1.0
#: Seconds before the end that a server announced in which a connection is not used any more, or a quarter of the time
#: that it gave: what is sent then may meet its close on the way.
LAST_MOMENTS = 1.0
#: Bytes asked for at once. No TLS record holds more (2**14 bytes, RFC 8446 §5.1), so that a read leaves nothing in
#: TLS's own buffer, where the loop could not see it.
READ_SIZE = 65536
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_ABORT = struct.pack('ii', 1, 0)
_READ, _WRITE = 1, 2
#: The phase of a failure before any byte of the request went out, over a connection that was used before.
UNSENT = 'unsent'
#: What names of alerts about certificates have in them (RFC 8446 §6.2).
_OF_CERTIFICATES = ('CERTIFICATE', 'UNKNOWN_CA', 'ACCESS_DENIED', 'DECRYPT_ERROR')
# The real one, also in a patched process: it is asked for what is there, and never waits.
_poll = monkey.get_original('select', 'poll')


class Home(Protocol):
    """What a connection reports to: the client of its origin."""

    def answered(self, connection: Connection, pending: PendingResponse, response: Response) -> None:
        """The answer is whole; the connection is free, or closed if it cannot be used again."""

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """The request failed; the connection is closed. ``error.phase`` tells where."""

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether the content codings of an answer of that status are undone."""

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""

    def gone(self, connection: Connection) -> None:
        """The connection closed while it was idle, or after its request was dropped."""


class Connection:
    """An open connection of one client.

    :param home: the client; held strongly only while a request is in flight, so that a pool that nobody holds any
        more can be collected while its connections are idle.
    """

    __slots__ = (
        '_heard_since',
        '_held_back',
        '_home',
        '_loop',
        '_out',
        '_patience',
        '_rest',
        '_recv',
        '_send',
        '_rested',
        '_rested_after',
        '_sock',
        '_upload',
        '_watcher',
        '_weak_home',
        '_writer',
        'closed',
        'deadline',
        'doubtful',
        'ends',
        'expires',
        'helper',
        'pending',
        'phase',
        'read_seconds',
        'reader',
        'served',
        'since',
        'started',
        'streamed',
        'turn',
    )

    def __init__(self, home: Any, weak_home: Callable[[], Any], sock: Any, reader: ResponseReader) -> None:
        sock.settimeout(0.0)
        self._sock = sock
        # A gevent socket wraps what the standard library has; its own methods cost as much again.
        if isinstance(sock, ssl.SSLSocket):
            # An end without TLS's goodbye, which may be a cut (RFC 9112 §9.8), is an SSLEOFError here.
            tls: Any = sock._sslobj  # type: ignore[attr-defined]
            self._recv, self._send = tls.read, tls.write
        else:
            raw = getattr(sock, '_sock', sock)
            self._recv, self._send = raw.recv, raw.send
        self._home: Any = home
        self._weak_home = weak_home
        self.reader = reader
        self._loop = get_hub().loop
        self._watcher: Any = self._loop.io(sock.fileno(), _READ)
        self._writer: Any = None
        self._heard_since: Any = None  # made when it is first used again: many never are
        self._out: memoryview | None = None
        self._rest: memoryview | None = None  # what goes out after that
        self._upload: Upload | None = None
        self._held_back: Any = None  # a body until the server agrees to it
        self._patience: Any = None  # the timer that ends this
        self.read_seconds = NEVER
        self.closed = False
        self.pending: PendingResponse | None = None
        self.streamed: Callable[[], StreamedResponse | None] | None = None  # weak: who drops it gives it back
        self.helper: Any = None
        self.phase = 'read'
        self.expires = NEVER  # of monotonic(): when the server has been silent for too long
        self.started = 0.0  # of monotonic(): when the request in flight began
        self.deadline = NEVER  # of monotonic(): of the streamed answer
        self.served = 0  # answers that came over this connection
        self.doubtful = False  # whether the server may not have read all of the last request
        self.ends = NEVER  # of monotonic(): when the server, as it said, is about to close it
        self._rested = 0.0  # of monotonic(): since when it has had nothing to do …
        self._rested_after = -1  # … after so many answers; below 0 before the first rest
        self.since = monotonic()  # when its client got the place in the pool that it fills
        self.turn = 0  # answers since then
        self._watcher.start(self._readable)

    def guard(self, around: Callable[[Callable[[Any], int]], Callable[[Any], int]]) -> None:
        """Write to the socket through this from now on: the last look before the kernel has the bytes."""
        self._send = around(self._send)

    # -- states ----------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return self.pending is None and self.streamed is None and not self.closed

    def take(self, home: Any) -> bool:
        """Leave idleness: the loop has to go on for what is coming. False when the server has closed meanwhile."""
        if self.ends != NEVER and self.ends <= monotonic():
            self._closed_idle()
            return False
        if self._heard_since is None:
            self._heard_since = _listener(self._sock)
        if self._heard_since(0) and not self._is_quiet():  # the loop may not have had its turn since
            self._closed_idle()
            return False
        self._home = home
        self._watcher.ref = True
        return True

    def _is_quiet(self) -> bool:
        """Whether nothing came for us: neither an end nor a byte, which would be one too many."""
        try:
            self._recv(1)
        except _AGAIN:
            return True
        except OSError:
            pass
        return False

    def rest(self) -> None:
        """Become idle: stay watched, so that a close is noticed, but keep neither the loop nor the pool alive."""
        self._home = None
        self._watcher.ref = False
        self.expires = NEVER
        if self._rested_after != self.served:
            self._rested_after = self.served
            self._rested = monotonic()
            if self.reader.idle_seconds is not None:
                self.ends = self._rested + self.reader.idle_seconds - min(self.reader.idle_seconds / 4, LAST_MOMENTS)

    def quiet_for(self, now: float) -> float:
        """Seconds since it became idle after its last answer; 0 where it did not.

        :param now: of ``monotonic()``.
        """
        return now - self._rested if self._rested_after == self.served else 0.0

    @property
    def rested(self) -> bool:
        """Whether it ever was idle, so that the server may have closed it."""
        return self._rested_after >= 0

    def reserve(self, pending: PendingResponse, helper: Any) -> None:
        """Hold the slot for a request whose authenticator is still running, in the greenlet ``helper``."""
        self.pending = pending
        self.helper = helper
        pending._holder = self
        self.phase = 'authenticate'
        self.expires = NEVER

    def start(
        self,
        pending: PendingResponse,
        request: Request,
        data: bytes,
        read_seconds: float,
        max_body: int,
        max_streamed: int | None,
    ) -> None:
        """Send a request, as the authenticator left it. What goes wrong is reported to the client.

        :param data: its head, with its body where that is bytes.
        :param max_body: bound of a body that is read whole, in bytes.
        :param max_streamed: bound of one that is handed out in pieces, ``None`` for none.
        """
        now = monotonic()
        self.pending = pending
        pending._holder = self
        pending._sent = True
        self.phase = 'read'
        self.started = now
        self.read_seconds = read_seconds
        self.expires = now + read_seconds
        options = pending.request._options
        if options is not NO_OPTIONS and options.stream:
            self.reader.begin(request.method, max_body, True, max_streamed)
        else:
            self.reader.begin(request.method, max_body)
        if request.headers._block and 'close' in request.headers.get('connection', '').lower():
            self.reader.overrun = True  # RFC 9112 §9.6: the caller said that it is the last one
        try:
            sent = self._send(data)
        except _AGAIN:
            sent = 0
        except OSError as exc:
            if self.served:  # what it may have said was said before
                self._fail(_unsent(exc))
            elif not self._answered_early():
                self._lost(exc)
            return
        if sent != len(data):
            self._out = memoryview(data)[sent:]
            self.phase = 'send'
            self._watch_writing()
        payload = request._payload
        if payload is None:
            return
        if request._options.expect and request._expects:
            self.phase = 'expect'
            self.expires = NEVER  # the silence that is borne now is shorter
            self._held_back = payload
            self._patience = self._loop.timer(EXPECT_SECONDS)
            self._patience.start(self._go_on)
        elif not isinstance(payload, bytes) or len(payload) > INLINE:
            self._send_body(payload)

    def _send_body(self, payload: Any) -> None:
        """What did not go with the head."""
        self.phase = 'send'
        if isinstance(payload, bytes):
            self._rest = memoryview(payload)
            self._watch_writing()
        else:
            self._upload = Upload(self, payload)
            if self._out is None:
                self._more()

    def _go_on(self) -> None:
        """The server wants the body (RFC 9110 §10.1.1), or does not say in time whether it does."""
        payload = self._held_back
        self._impatient()
        if not self.closed and self.reader.head is None:
            self.expires = monotonic() + self.read_seconds
            self._send_body(payload)

    def _impatient(self) -> None:
        """Wait for no 100 any more."""
        patience, self._patience, self._held_back = self._patience, None, None
        if patience is not None:
            patience.stop()
            patience.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def _watch_writing(self) -> None:
        if self._writer is None:
            self._writer = self._loop.io(self._sock.fileno(), _WRITE)
        if not self._writer.active:
            self._writer.start(self._writable)

    def write(self, data: bytes) -> None:
        """Queue a piece of an upload; its greenlet waits until the piece is out."""
        self._out = memoryview(data)
        self.expires = monotonic() + self.read_seconds
        self._watch_writing()

    def _more(self) -> None:
        """Have the upload go on; while its source takes its time, it is not the server that is slow."""
        assert self._upload is not None
        self.expires = NEVER
        self._upload.more()

    def uploaded(self) -> None:
        """The whole body is out."""
        self._upload = None
        self.phase = 'read'
        if self._watcher.active:  # else it is the reader of a streamed answer who is slow
            self.expires = monotonic() + self.read_seconds

    def upload_failed(self, exc: BaseException) -> None:
        """The caller's file or iterable raised: the request ends, and its connection with it."""
        if self.pending is not None or self.streamed is not None:
            error = HTTPError(f'the body could not be read: {type(exc).__name__}: {mask(str(exc))}', phase='send')
            error.__cause__ = exc
            self._fail(error)

    def _writable(self) -> None:
        out = self._out
        if out is None:
            out, self._out, self._rest = self._rest, self._rest, None
        if out is None:
            self._writer.stop()
            self._readable()  # TLS had something to say before it could read on
            return
        try:
            sent = self._send(out)  # after want-write TLS demands the same buffer again: this is it
        except _AGAIN:
            return
        except OSError as exc:
            self._writer.stop()
            self._out = self._rest = None
            if self._upload is not None:
                self._upload.abandon()
                self._upload = None
            self.expires = monotonic() + self.read_seconds
            # Who reads a streamed answer hears what there is of it.
            if self.streamed is None and not self._answered_early():
                self._lost(exc)
            return
        self.expires = monotonic() + self.read_seconds
        if sent < len(out):
            self._out = out[sent:]
            return
        self._out = None
        if self._rest is not None:
            return
        self._writer.stop()
        if self._upload is not None:
            self._more()
        elif self.phase == 'expect':  # the head took its time; its body is still held back
            self.expires = NEVER
        else:
            self.phase = 'read'

    def _answered_early(self) -> bool:
        """A server may answer and close before it has read the whole request: read what it said."""
        pending = self.pending
        while not self.closed and self.pending is pending and pending is not None:
            before = self.expires
            self.expires = NEVER
            self._readable()
            if self.expires == NEVER:  # nothing more to read
                self.expires = before
                break
        return self.closed or self.pending is not pending

    # -- reading ---------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """The loop says that there is something to read: one read, so that no server starves the others."""
        try:
            data = self._recv(READ_SIZE)
        except ssl.SSLWantWriteError:  # TLS has to answer first: to a CertificateRequest, a KeyUpdate
            self._watch_writing()
            return
        except _AGAIN:
            return
        except OSError as exc:
            if self.streamed is not None or self.pending is None or not self._cut_short(True):
                self._lost(exc)
            return
        pending: Any = self.pending
        if pending is None:
            if self.streamed is None:
                self._closed_idle()  # closed by the server, or bytes that nobody asked for
                return
        elif self.phase == 'authenticate':  # nothing was sent yet, so whatever it is, it is not an answer
            self._lost(None)
            return
        reader: Any = self.reader
        try:
            if data:
                complete = reader.feed(data)
            elif self.streamed is None and self._cut_short(False):
                return
            else:
                reader.eof()
                complete = True
        except NapixError as exc:
            self._malformed(exc)
            return
        except Exception as exc:
            error = ProtocolError(f'cannot read the answer: {exc}')
            error.__cause__ = exc
            self._malformed(error)
            return
        except BaseException:  # SIGINT and SystemExit leave, after clean-up
            self._fail(ProtocolError('interrupted', phase='read'))
            raise
        now = monotonic()
        if self.streamed is not None:
            self._heard(now)
            self._pour(complete)
        elif complete:
            if reader.stream:
                self._hand_out(pending, now)
                if self.streamed is not None:
                    self._pour(True)
            else:
                self.pending = None
                self.served += 1
                response = new_response(pending.request, reader.status, reader.head, reader.last, now - self.started)
                if not reader.keep_alive or reader.overrun or self.phase != 'read':
                    self._close_keeping_home()
                self._home.answered(self, pending, response)
        else:
            self._heard(now)
            if reader.stream and reader.head is not None:
                self._hand_out(pending, now)
            elif self._held_back is not None and reader.continued:
                self._go_on()

    def _cut_short(self, reset: bool) -> bool:
        """The connection ended: whether what had come of the answer is told as the answer, and was."""
        pending, reader = self.pending, self.reader
        if pending is None or self.phase == 'authenticate' or not reader.cut_short(reset):
            return False
        assert reader.head is not None
        self.pending = None
        body = reader.last
        if reader.coding is not None and self._home.decodes(pending, reader.status):  # cut, it does not decode
            body, reader.coding = b'', None
        response = new_response(pending.request, reader.status, reader.head, body, monotonic() - self.started)
        self._close_keeping_home()
        self._home.answered(self, pending, response)
        return True

    def _heard(self, now: float) -> None:
        """The server sent something: it has its time anew, unless it is the source of an upload that is waited for.

        While it is asked whether it wants a body, patience is the clock.
        """
        asked = self._held_back is not None and self.reader.head is None
        if not asked and (self._upload is None or self._out is not None):
            self.expires = now + self.read_seconds

    def _close_keeping_home(self) -> None:
        home = self._home
        self.close()
        self._home = home

    # -- streamed bodies -------------------------------------------------------------------------------------------

    def _hand_out(self, pending: PendingResponse, now: float) -> None:
        """The head of an answer that will be read in pieces."""
        reader = self.reader
        head = reader.head
        assert head is not None
        try:
            response = StreamedResponse(
                pending.request,
                reader.status,
                head,
                now - self.started,
                self,
                reader.coding,
                self._home.decodes(pending, reader.status),
                reader.max_streamed,
            )
        except NapixError as exc:
            self._malformed(exc)
            return
        self.pending = None
        self.streamed = weakref.ref(response)
        self.deadline = pending._deadline
        self._home.streaming(self, pending, response)
        if not reader.complete:
            self._pour(False)

    def _pour(self, complete: bool) -> None:
        """Give the reader of a streamed body what has come; stop reading while it has enough."""
        response = None if self.streamed is None else self.streamed()
        if response is None:
            return  # it was dropped; forsake() is on its way
        data = self.reader.take_body()
        self._home.received(len(data))
        if data and response._receive(data):
            self._watcher.stop()
            self.expires = NEVER  # the reader is slow, not the server
        if complete:
            self._watcher.stop()  # the slot is held until the reader is through
            self.expires = NEVER
            response._end(None)

    def finish_stream(self) -> None:
        """The reader of a streamed body has read it to its end."""
        self.streamed = None
        self.served += 1
        home = self._home
        if not self.reader.reusable or self.phase != 'read':
            self._close_keeping_home()
        else:
            self._watcher.start(self._readable)
        home.streamed(self)

    def resume(self) -> None:
        """The reader of a streamed body has caught up."""
        if not self.closed and not self._watcher.active:
            self._heard(monotonic())
            self._watcher.start(self._readable)

    def forsake(self) -> None:
        """The streamed answer was collected, in whatever greenlet or thread."""
        self._loop.run_callback_threadsafe(self.abandon)

    def cut_off(self) -> None:
        """The total time of a streamed answer is up."""
        response = None if self.streamed is None else self.streamed()
        if response is not None:
            response._abort(
                DeadlineExceeded(
                    'the total time was up after sending had begun (phase: read)',
                    request=response.request,
                    phase='read',
                )
            )

    def abandon(self) -> None:
        """The reader of a streamed body leaves it half read."""
        streamed, self.streamed = self.streamed, None
        if streamed is not None:
            home = self._home
            self.abort()
            home.gone(self)

    # -- ends ------------------------------------------------------------------------------------------------------

    def drop(self, pending: PendingResponse) -> Any:
        """The request was cancelled: whatever is under way, the server will notice."""
        self.pending = None
        home = self._home
        self.abort()
        home.gone(self)
        return home

    def leave_to_parent(self) -> None:
        """In the child of a fork: the connection is the parent's, so nothing may be sent over it, not even a FIN."""
        response = None if self.streamed is None else self.streamed()
        if response is not None:
            response._end(Cancelled("the process was forked; this answer is the parent's", request=response.request))
        self.pending = self.streamed = None
        sock, self._sock = self._sock, _Nothing()
        self.close()
        _socket.close(sock.detach())  # at once: the others leave it to a later turn of the loop

    def home(self) -> Any:
        """The client, if there still is one."""
        return self._home or self._weak_home()

    def fail(self, error: HTTPError) -> None:
        """End what is in flight, and the connection."""
        self._fail(error)

    def _lost(self, exc: OSError | None) -> None:
        """The connection broke."""
        why = 'closed the connection' if exc is None else f'broke the connection: {exc.strerror or exc}'
        if self.pending is None and self.streamed is None:
            self._closed_idle()
            return
        error: HTTPError
        if self.reader.head is None and _is_refusal(exc, self.served):
            error = TLSError(f'the server refused the TLS handshake: {exc}', phase='connect')
        elif self.reader.head is not None and self.phase != 'authenticate':
            error = TruncatedBody(f'the server {why} before the end of the body', phase='read')
        else:
            error = ProtocolError(f'the server {why} before it had answered', phase=self.phase)
        error.__cause__ = exc
        self._fail(error)

    def _malformed(self, error: NapixError) -> None:
        assert isinstance(error, HTTPError)
        error.phase = 'read'
        self._fail(error)

    def _fail(self, error: HTTPError) -> None:
        pending, streamed, home = self.pending, self.streamed, self._home
        self.pending = self.streamed = None
        self.abort()
        if streamed is not None:
            response = streamed()
            if response is not None:
                error.request = response.request
                response._end(error)
            home.gone(self)
        elif pending is not None:
            error.elapsed = monotonic() - self.started if pending._sent else None
            home.broken(self, pending, error)
        elif home is not None:
            home.gone(self)

    @property
    def untouched(self) -> bool:
        """Whether no byte of an answer to the last request came: what came, if anything, belonged to an earlier one."""
        return not self.reader.started or self.reader.stray

    def _closed_idle(self) -> None:
        home = self.home()
        self.close()
        if home is not None:
            home.gone(self)

    def abort(self) -> None:
        """Close so that the server sees it before our next connection: RST, no goodbye of TLS."""
        if not self.closed:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            except OSError:
                pass  # the socket is broken already
            self.close()

    def close(self) -> None:
        """Stop and close the watchers, then the socket. May be repeated."""
        if self.closed:
            return
        self.closed = True
        self._home = None
        for watcher in (self._watcher, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._watcher = self._writer = self._out = self._rest = None
        if self._upload is not None:
            self._upload.abandon()
            self._upload = None
        if self._patience is not None:
            self._impatient()
        helper, self.helper = self.helper, None
        if helper is not None and helper is not getcurrent():
            helper.kill(block=False)
        self._recv = self._send = _closed
        self._sock.close()

    def __repr__(self) -> str:
        state = 'closed' if self.closed else 'idle' if self.idle else self.phase
        return f'<Connection {state}, {self.served} served>'


def _is_refusal(exc: OSError | None, served: int) -> bool:
    """Whether TLS broke with an alert of the server's that belongs to the handshake.

    In TLS 1.3 the client has sent its request by the time in which the server looks at its certificate (RFC 8446 §2).

    :param served: answers that came before; behind them only a certificate that was asked for later can be the cause.
    """
    reason = (exc.reason or '') if isinstance(exc, ssl.SSLError) else ''
    return 'ALERT' in reason and (not served or any(word in reason for word in _OF_CERTIFICATES))


def _unsent(exc: OSError) -> ProtocolError:
    """The error for a request of which no byte could be sent."""
    error = ProtocolError(f'the server broke the connection: {exc.strerror or exc}', phase=UNSENT)
    error.__cause__ = exc
    return error


class _Nothing:
    """In place of a socket that is the parent's."""

    def close(self) -> None:
        """Nothing to close."""


def _listener(sock: Any) -> Any:
    """What tells whether something may have come. To ask by reading costs an exception, which takes thrice as long."""
    if isinstance(sock, ssl.SSLSocket):  # what came may be in its buffer
        return _always
    poller = _poll()
    poller.register(sock.fileno(), select.POLLIN)
    return poller.poll


def _always(_: int) -> bool:
    return True


def _closed(*_: Any) -> int:
    raise OSError('the connection is closed')
