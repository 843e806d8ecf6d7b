"""One connection, as a state machine on the loop: it writes a request, reads its answer, and takes the next.

Nothing here blocks, so nothing can be killed half-way; and no ``Exception`` leaves a callback of the loop: that rule is
of iron.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

import gevent
from gevent import getcurrent, ssl

from ...errors import Cancelled, HTTPError, NapixError, Phase, ProtocolError
from ...masking import mask
from ...messages import NO_OPTIONS, Request, Response, new_response
from ..pending import NEVER, Completer, PendingResponse
from ..streaming import StreamedResponse
from .failures import error_of_break
from .feed import BodyFeed
from .outgoing import Outgoing, send_rest
from .reader import ResponseReader
from .states import PHASES, TRANSITIONS, Event, State, may
from .transport import AGAIN, Transport, Write, close_descriptor, closed

__all__ = ['Connection', 'ConnectionOwner']

#: Seconds before the end that a server announced in which a connection is not used any more, or a quarter of the time
#: that it gave: what is sent then may meet its close on the way.
LAST_MOMENTS = 1.0
#: Bytes asked for at once. No TLS record holds more (2**14 bytes, RFC 8446 §5.1), so that a read leaves nothing in
#: TLS's own buffer, where the loop could not see it.
READ_SIZE = 65536
_MAY_START, _MAY_END = may('start'), may('end')


class ConnectionOwner(Protocol):
    """What a connection reports to: the pool of its origin."""

    @property
    def completion(self) -> Completer:
        """Completes the request that the connection drops."""

    def answered(
        self, connection: Connection, pending: PendingResponse, response: Response, coding: str | None
    ) -> None:
        """The answer is whole; the connection is free, or closed if it cannot be used again."""

    def streaming(self, connection: Connection, pending: PendingResponse, response: StreamedResponse) -> None:
        """The head of a streamed answer is there; the connection stays with its body."""

    def stream_ended(self, connection: Connection) -> None:
        """A streamed body was read to its end; the connection is free, or closed."""

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether the content codings of an answer of that status are undone."""

    def unsent(self, connection: Connection, pending: PendingResponse) -> None:
        """The connection, which was used before, is closed; not a byte of the request went out."""

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """The request failed; the connection is closed. ``error.phase`` says where."""

    def gone(self, connection: Connection) -> None:
        """The connection closed while it was idle, or after its request was dropped."""


class Connection:
    """An open connection to one origin.

    :param owner: what it reports to.
    """

    __slots__ = (
        '_outgoing',
        '_owner',
        '_recv',
        '_rested',
        '_rested_after',
        '_send',
        '_transport',
        'deadline',
        'doubtful',
        'ends',
        'expires',
        'helper',
        'pending',
        'read_seconds',
        'reader',
        'served',
        'started',
        'state',
        'streamed',
    )

    def __init__(self, owner: ConnectionOwner, transport: Transport, reader: ResponseReader) -> None:
        self._transport = transport
        self._recv, self._send = transport.recv, transport.send
        self._owner = owner
        self._outgoing: Outgoing | None = None
        self.reader: ResponseReader = reader
        self.state: State = 'idle'
        self.read_seconds: float = NEVER
        self.pending: PendingResponse | None = None
        self.streamed: BodyFeed | None = None  # the body that is being read in pieces
        self.helper: gevent.Greenlet[..., None] | None = None  # the authenticator's
        self.expires: float = NEVER  # of monotonic(): when the server has been silent for too long
        self.started: float = 0.0  # of monotonic(): when the request in flight began
        self.deadline: float = NEVER  # of monotonic(): of the streamed answer
        self.served: int = 0  # answers that came over this connection
        self.doubtful: bool = False  # whether the server may not have read all of the last request
        self.ends: float = NEVER  # of monotonic(): when the server is about to close it, as it announced
        self._rested = 0.0  # of monotonic(): since when it has had nothing to do …
        self._rested_after = -1  # … after so many answers; below 0 before the first rest
        transport.reader.start(self._readable)

    def guard(self, around: Callable[[Write], Write]) -> None:
        """Write to the socket through this from now on: the last look before the kernel has the bytes."""
        self._transport.send = self._send = around(self._send)

    # -- states ----------------------------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """Go to the next state."""
        assert (self.state, event) in TRANSITIONS, f'{event} while {self.state}'
        self.state = TRANSITIONS[self.state, event]

    @property
    def phase(self) -> Phase:
        """The phase that a failure now is reported with."""
        return PHASES[self.state]

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return self.state == 'idle'

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self.state == 'closed'

    @property
    def answering(self) -> bool:
        """Whether the head of the answer has come."""
        return self.reader.head is not None

    @property
    def untouched(self) -> bool:
        """Whether no byte of an answer to the last request came: what came, if anything, belonged to an earlier one."""
        return not self.reader.started or self.reader.stray

    # -- between requests ------------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Leave idleness: the loop has to go on for what is coming. False when the server has closed meanwhile."""
        transport = self._transport
        poll = transport.poll or transport.start_polling()
        # The loop may not have had its turn since.
        if (self.ends != NEVER and self.ends <= monotonic()) or (poll(0) and not transport.is_quiet()):
            self._closed_idle()
            return False
        transport.reader.ref = True
        return True

    def rest(self) -> None:
        """Become idle: stay watched, so that a close is noticed, but do not keep the loop alive."""
        self._transport.reader.ref = False
        self.expires = NEVER
        if self._rested_after != self.served:
            self._rested_after = self.served
            self._rested = monotonic()
            kept = self.reader.idle_seconds
            if kept is not None:
                self.ends = self._rested + kept - min(kept / 4, LAST_MOMENTS)

    def quiet_for(self, now: float) -> float:
        """Seconds since it became idle after its last answer; 0 where it did not.

        :param now: of ``monotonic()``.
        """
        return now - self._rested if self._rested_after == self.served else 0.0

    @property
    def rested(self) -> bool:
        """Whether it ever was idle, so that the server may have closed it."""
        return self._rested_after >= 0

    def reserve(self, pending: PendingResponse, helper: gevent.Greenlet[..., None]) -> None:
        """Hold the slot for a request whose authenticator is still running, in the greenlet ``helper``."""
        self.step('reserve')
        self.pending = pending
        self.helper = helper
        pending.holder = self
        self.expires = NEVER

    def unreserve(self) -> None:
        """The request is not going to be sent over it after all."""
        self.step('release')
        self.pending = self.helper = None

    # -- sending ---------------------------------------------------------------------------------------------------

    def start(
        self,
        pending: PendingResponse,
        request: Request,
        data: bytes,
        read_seconds: float,
        max_body: int,
        max_streamed: int | None,
    ) -> None:
        """Send a request, as the authenticator left it. What goes wrong is reported to the owner.

        :param data: its head, with its body where that is bytes and small.
        :param max_body: bound of a body that is read whole, in bytes.
        :param max_streamed: bound of one that is handed out in pieces, ``None`` for none.
        """
        assert self.state in _MAY_START, self.state
        now = monotonic()
        self.pending = pending
        pending.holder = self
        pending.sent = True
        self.state = 'reading'
        self.started = now
        self.read_seconds = read_seconds
        self.expires = now + read_seconds
        options = pending.request.options
        if options is not NO_OPTIONS and options.stream:
            self.reader.begin(request.method, max_body, True, max_streamed)
        else:
            self.reader.begin(request.method, max_body)
        if request.headers.block and 'close' in request.headers.get('connection', '').lower():
            self.reader.overrun = True  # RFC 9112 §9.6: the caller said that it is the last one
        try:
            sent = self._send(data)
        except AGAIN:
            sent = 0
        except OSError as exc:
            self._not_sent(exc)
            return
        if sent != len(data) or request.payload is not None:
            self._outgoing = send_rest(self, self._transport, request, memoryview(data)[sent:])

    def writable(self) -> None:
        """Called by the loop: the socket takes more."""
        if self._outgoing is None or not self._outgoing.writable():
            self._transport.writer.stop()
            self._readable()  # TLS had something to say before it could read on

    def request_out(self) -> None:
        """The whole request is out."""
        self._outgoing = None
        self.step('sent')
        self.await_server()

    def await_server(self) -> None:
        """It is the server's turn: the read timeout begins anew, unless it is our reader of its answer who is slow."""
        self.expires = monotonic() + self.read_seconds if self._transport.reader.active else NEVER

    def send_failed(self, exc: OSError) -> None:
        """The connection broke while part of the request was still to go out."""
        # Who reads a streamed answer hears what there is of it.
        if self.streamed is None and not self._answered_early():
            self._lost(exc)

    def upload_failed(self, exc: BaseException) -> None:
        """The caller's file or iterable raised: the request ends, and its connection with it."""
        if self.pending is not None or self.streamed is not None:
            error = HTTPError(f'the body could not be read: {type(exc).__name__}: {mask(str(exc))}', phase='send')
            error.__cause__ = exc
            self.fail(error)

    def _answered_early(self) -> bool:
        """A server may answer and close before it has read the whole request: read its answer."""
        pending = self.pending
        while self.state != 'closed' and self.pending is pending and pending is not None:
            before = self.expires
            self.expires = NEVER
            self._readable()
            if self.expires == NEVER:  # nothing more to read
                self.expires = before
                break
        return self.state == 'closed' or self.pending is not pending

    # -- reading ---------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """The loop says that there is something to read: one read, so that no server starves the others."""
        try:
            data = self._recv(READ_SIZE)
        except OSError as exc:
            self._not_read(exc)
            return
        pending, reader = self.pending, self.reader
        if pending is None:
            if self.streamed is None:
                self._closed_idle()  # closed by the server, or bytes that nobody asked for
                return
        elif self.state == 'reserved':  # nothing was sent yet, so whatever it is, it is not an answer
            self._lost(None)
            return
        try:
            if data:
                complete = reader.feed(data)
            elif self.streamed is None and self._cut_short(False):
                return
            else:
                reader.eof()
                complete = True
        except BaseException as exc:
            self._malformed(exc)
            return
        if pending is None or not complete or reader.stream:
            self._go_on(pending, complete)
            return
        self.pending = None
        self.served += 1
        head = reader.head
        assert head is not None
        response = new_response(pending.request, reader.status, head, reader.last, monotonic() - self.started)
        if self.state in _MAY_END and reader.keep_alive and not reader.overrun:
            self.state = 'idle'
        else:
            self.close()
        self._owner.answered(self, pending, response, reader.coding)

    def _not_read(self, exc: OSError) -> None:
        """Nothing was there to be read, or the connection broke."""
        if isinstance(exc, ssl.SSLWantWriteError):  # TLS has to answer first: to a CertificateRequest, a KeyUpdate
            self._transport.watch_writing(self.writable)
        elif not isinstance(exc, AGAIN) and (
            self.streamed is not None or self.pending is None or not self._cut_short(True)
        ):
            self._lost(exc)

    def _go_on(self, pending: PendingResponse | None, complete: bool) -> None:
        """Part of an answer came, or of a streamed body."""
        self._heard()
        if pending is None:
            if self.streamed is not None:  # else its reader has left meanwhile
                self.streamed.pour(complete)
        elif self.reader.stream and self.answering:
            self._hand_out(pending)
            if complete and self.streamed is not None:
                self.streamed.pour(True)
        elif self._outgoing is not None and self._outgoing.holds_back and self.reader.continued:
            self._outgoing.agreed()

    def _cut_short(self, reset: bool) -> bool:
        """The connection ended: hand out what has come, where that can stand as the answer; return whether it does."""
        pending, reader, owner = self.pending, self.reader, self._owner
        if pending is None or self.state == 'reserved' or not reader.cut_short(reset):
            return False
        assert reader.head is not None
        self.pending = None
        body, coding = reader.last, reader.coding
        if coding is not None and owner.decodes(pending, reader.status):  # cut, it does not decode
            body, coding = b'', None
        response = new_response(pending.request, reader.status, reader.head, body, monotonic() - self.started)
        self.close()
        owner.answered(self, pending, response, coding)
        return True

    def _heard(self) -> None:
        """The server sent something: reset the read timeout, unless the upload's source is what we wait for.

        While the server is asked whether it wants a body, patience is the clock.
        """
        outgoing = self._outgoing
        if outgoing is None or not (outgoing.waits_for_source or (outgoing.holds_back and not self.answering)):
            self.expires = monotonic() + self.read_seconds

    # -- streamed bodies -------------------------------------------------------------------------------------------

    def _hand_out(self, pending: PendingResponse) -> None:
        """The head of an answer that will be read in pieces."""
        reader, owner = self.reader, self._owner
        assert reader.head is not None
        try:
            feed = BodyFeed(self, self._transport, owner.decodes(pending, reader.status))
        except NapixError as exc:
            self._malformed(exc)
            return
        elapsed, url = monotonic() - self.started, pending.current.full_url
        response = StreamedResponse(pending.request, reader.status, reader.head, elapsed, feed.body, url)
        self.step('head')
        self.pending, self.streamed, self.deadline = None, feed, pending.deadline
        owner.streaming(self, pending, response)
        if not reader.complete and self.streamed is not None:
            feed.pour(False)

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""
        self._owner.received(size)

    def pause(self) -> None:
        """Stop reading: it is the reader of a streamed body who is slow, and not the server."""
        self._transport.reader.stop()
        self.expires = NEVER

    def read_on(self) -> None:
        """The reader of a streamed body has caught up."""
        if self.state != 'closed' and not self._transport.reader.active:
            self._heard()
            self._transport.reader.start(self._readable)

    def end_stream(self) -> None:
        """A streamed body was read to its end."""
        self.served += 1
        if self.state in _MAY_END and self.reader.reusable:
            self.step('end')
            self._transport.reader.start(self._readable)
        else:
            self.close()
        self._owner.stream_ended(self)

    def cut_off(self) -> None:
        """The total time of a streamed answer is up."""
        if self.streamed is not None:
            self.streamed.cut_off()

    # -- ends ------------------------------------------------------------------------------------------------------

    def drop(self, pending: PendingResponse) -> Completer:
        """The request was cancelled: whatever is under way, the server will notice."""
        self.pending = None
        self.end_at_once()
        return self._owner.completion

    def end_at_once(self) -> None:
        """End it without a word, whatever is under way."""
        self.abort()
        self._owner.gone(self)

    def leave_to_parent(self) -> None:
        """In the child of a fork: the connection is the parent's, so nothing may be sent over it, not even a FIN."""
        if self.streamed is not None:
            self.streamed.end(Cancelled("the process was forked; this answer is the parent's"))
        self.pending = self.streamed = None
        if self.state != 'closed':
            number = self._transport.detach()
            self.close()
            close_descriptor(number)

    def fail(self, error: HTTPError) -> None:
        """End what is in flight, and the connection."""
        pending, body = self.pending, self.streamed
        self.pending = self.streamed = None
        if pending is not None:
            error.elapsed = monotonic() - self.started if pending.sent else None
            self.abort()
            self._owner.broken(self, pending, error)
            return
        if body is not None:
            body.end(error)
        self.end_at_once()

    def _not_sent(self, exc: OSError) -> None:
        """The connection broke before a byte of the request went out."""
        if not self.served:
            if not self._answered_early():
                self._lost(exc)
            return
        # What the server may have sent answers nothing of this request.
        pending, self.pending = self.pending, None
        assert pending is not None
        self.abort()
        self._owner.unsent(self, pending)

    def _lost(self, exc: OSError | None) -> None:
        """The connection broke."""
        if self.pending is None and self.streamed is None:
            self._closed_idle()
        else:
            self.fail(error_of_break(exc, self.phase, self.answering, self.served))

    def _malformed(self, exc: BaseException) -> None:
        """The reader raised.

        :raises BaseException: SIGINT and SystemExit, which leave after clean-up.
        """
        error = exc
        if not isinstance(error, HTTPError):
            error = ProtocolError(f'cannot read the answer: {exc}' if isinstance(exc, Exception) else 'interrupted')
            error.__cause__ = exc
        error.phase = 'read'
        self.fail(error)
        if not isinstance(exc, Exception):
            raise exc

    def _closed_idle(self) -> None:
        self.close()
        self._owner.gone(self)

    def abort(self) -> None:
        """Close so that the server sees it before our next connection: RST, no goodbye of TLS."""
        if self.state != 'closed':
            self._transport.abort()
            self.close()

    def close(self) -> None:
        """Close the socket, and end whatever is under way for it. May be repeated."""
        if self.state == 'closed':
            return
        self.state = 'closed'  # from whatever state
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.close()
        helper, self.helper = self.helper, None
        if helper is not None and helper is not getcurrent():
            helper.kill(block=False)
        self._recv = self._send = closed
        self._transport.close()

    def __repr__(self) -> str:
        state = self.state if self.state in ('closed', 'idle') else self.phase
        return f'<Connection {state}, {self.served} served>'
