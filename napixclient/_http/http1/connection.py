"""One connection, as a state machine on the loop: it takes a request, has it sent and answered, and takes the next.

Nothing here blocks, so nothing can be killed half-way; and no ``Exception`` leaves a callback of the loop: that rule is
of iron. Here it says when a connection may be used, how a request starts, and how things end. What does not go out at
once is for :class:`.outgoing.Outgoing`, and what comes for :class:`.receiver.Receiver`.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

import gevent
from gevent import getcurrent

from ...errors import Cancelled, HTTPError, Phase
from ...messages import IDEMPOTENT, NO_OPTIONS, Request
from ...peer import Route
from ..pending import NEVER, Completer, PendingResponse
from .failures import error_of_break, note_what_arrived
from .feed import BodyFeed
from .outgoing import Outgoing, send_rest
from .parser import ResponseParser
from .receiver import Receiver, ReceiverOwner
from .states import PHASES, TRANSITIONS, Event, State
from .transport import AGAIN, Transport
from .usage import Usage

__all__ = ['Connection', 'ConnectionOwner']


class ConnectionOwner(ReceiverOwner['Connection'], Protocol):
    """What a connection reports to: the pool of its origin."""

    @property
    def completion(self) -> Completer:
        """Completes the request that the connection drops."""

    def unsent(self, connection: Connection, pending: PendingResponse) -> None:
        """The connection, which was used before, is closed; not a byte of the request went out."""

    def broken(self, connection: Connection, pending: PendingResponse, error: HTTPError) -> None:
        """The request failed; the connection is closed. ``error.phase`` says where."""

    def gone(self, connection: Connection) -> None:
        """The connection closed while it was idle, or after its request was dropped."""


class Connection:
    """An open connection to one origin.

    :param owner: what it reports to.
    :param route: where it leads.
    """

    __slots__ = (
        '_owner',
        '_receiver',
        '_transport',
        'deadline',
        'expires',
        'helper',
        'outgoing',
        'pending',
        'read_seconds',
        'parser',
        'route',
        'started',
        'state',
        'streamed',
        'usage',
        'written',
    )

    def __init__(
        self, owner: ConnectionOwner, transport: Transport, parser: ResponseParser, route: Route | None
    ) -> None:
        self._owner = owner
        self.route: Route | None = route
        self._transport = transport
        self.parser: ResponseParser = parser
        self.usage: Usage = Usage()
        self.state: State = 'idle'
        self.pending: PendingResponse | None = None
        self.helper: gevent.Greenlet[..., None] | None = None  # the authenticator's
        self.outgoing: Outgoing | None = None  # what of the request did not go out at once
        self.streamed: BodyFeed | None = None  # the body that is being read in pieces
        self.started: float = 0.0  # of monotonic(): when the request in flight began
        self.read_seconds: float = NEVER
        self.expires: float = NEVER  # of monotonic(): when the server has been silent for too long
        self.deadline: float = NEVER  # of monotonic(): of the streamed answer
        self.written: float = 0  # bytes of the request that went out, NEVER where not all did at once
        self._receiver: Receiver[Connection] = Receiver(self, owner, transport, parser)

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

    # -- between requests ------------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Leave idleness: the loop has to go on for what is coming. False when the server has closed meanwhile."""
        transport, ends = self._transport, self.usage.ends
        # The loop may not have had its turn since.
        if (ends is not NEVER and ends <= monotonic()) or not transport.is_quiet():
            self.end_idle()
            return False
        transport.reader.ref = True
        return True

    def rest(self) -> None:
        """Become idle: stay watched, so that a close is noticed, but do not keep the loop alive."""
        self._transport.reader.ref = False
        self.expires = NEVER
        self.parser.last = b''  # whoever has it may drop it
        self.usage.rest(monotonic(), self.parser.idle_seconds)

    def reserve(self, pending: PendingResponse, helper: gevent.Greenlet[..., None]) -> None:
        """Hold the slot for a request whose authenticator is still running, in the greenlet ``helper``."""
        self.step('reserve')
        self.pending, self.helper = pending, helper
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
        """The fast path: send a request, as the authenticator left it. What goes wrong is reported to the owner.

        :param data: its head, with its body where that is bytes and small.
        :param max_body: bound of a body that is read whole, in bytes; ``max_streamed`` of one in pieces, or ``None``.
        """
        assert self.state == 'idle', self.state
        # What cannot be sent once more would be lost where the server has closed: look, though that is a system call.
        risky = request.method not in IDEMPOTENT or (request.payload is not None and not request.rereadable)
        if risky and self.usage.served and not self._transport.is_quiet():
            self._leave_unsent(pending)
            return
        now, send = monotonic(), self._transport.send  # a local: that costs less than to call what a slot holds
        self.pending = pending
        pending.holder = self
        pending.sent = True
        self.state = 'reading'
        self.started = now
        self.read_seconds = read_seconds
        self.expires = now + read_seconds
        options = pending.asked.options
        if options is not NO_OPTIONS and options.stream:
            self.parser.begin(request.method, max_body, True, max_streamed)
        else:
            self.parser.begin(request.method, max_body)
        if request.headers.block and 'close' in request.headers.get('connection', '').lower():
            self.parser.overrun = True  # RFC 9112 §9.6: the caller said that it is the last one
        try:
            sent = send(data)
        except AGAIN:
            sent = 0
        except OSError as exc:
            self.written = NEVER if self._transport.may_have_sent(len(data), exc) else 0
            self.send_failed(exc)
            return
        self.written = sent
        if sent != len(data) or request.payload is not None:
            self.outgoing = send_rest(self, self._transport, request, memoryview(data)[sent:])
            if self.outgoing is not None:
                self.written = NEVER

    def writable(self) -> None:
        """Called by the loop: the socket takes more."""
        if self.outgoing is None or not self.outgoing.writable():
            self._transport.writer.stop()
            self._receiver.readable()  # TLS had something to say before it could read on

    def _leave_unsent(self, pending: PendingResponse) -> None:
        """The server has closed; what it may have sent answers nothing of this request, of which no byte went out."""
        self.pending = None
        self.abort()
        self._owner.unsent(self, pending)

    def send_failed(self, exc: OSError) -> None:
        """The connection broke while the request, or part of it, was still to go out."""
        if not self.written and self.usage.served and self.pending is not None:
            self._leave_unsent(self.pending)
        # Who reads a streamed answer hears what there is of it.
        elif self.streamed is None and not self._receiver.answered_early():
            self.lost(exc)

    # -- ends ------------------------------------------------------------------------------------------------------

    def fail(self, error: HTTPError) -> None:
        """End what is in flight, and the connection."""
        pending, body = self.pending, self.streamed
        self.pending = self.streamed = None
        error.route = self.route
        if pending is not None:
            error.elapsed = monotonic() - self.started if pending.sent else None
            self.abort()
            self._owner.broken(self, pending, error)
            return
        if body is not None:
            body.end(error)
        self.end_at_once()

    def lost(self, exc: OSError | None) -> None:
        """The connection broke, or was closed by the server: before it had answered where there is no exception."""
        if self.pending is None and self.streamed is None:
            self.end_idle()
        elif exc or self.state == 'reserved' or not self._transport.wait_for_word(self.written, self.lost):
            error = error_of_break(exc, self.phase, self.parser.answering, self.usage.served)
            if self.pending is not None and self.state != 'reserved' and not self.parser.started:
                note_what_arrived(error, exc, self.written, self._transport, self.pending.attempts == 1)
            self.fail(error)

    def cut_off(self) -> None:
        """The total time of a streamed answer is up."""
        if self.streamed is not None:
            self.streamed.cut_off()

    def drop(self, pending: PendingResponse) -> Completer:
        """The request was cancelled: whatever is under way, the server will notice."""
        self.pending = None
        self.end_at_once()
        return self._owner.completion

    def end_at_once(self) -> None:
        """End it without a word, whatever is under way."""
        self.abort()
        self._owner.gone(self)

    def end_idle(self) -> None:
        """End it while nothing is in flight."""
        self.close()
        self._owner.gone(self)

    def leave_to_parent(self) -> None:
        """In the child of a fork: the connection is the parent's, so nothing may be sent over it, not even a FIN."""
        if self.streamed is not None:
            self.streamed.end(Cancelled("the process was forked; this answer is the parent's"))
        self.pending = self.streamed = None
        if self.state != 'closed':
            self._transport.disown()
            self.close()

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
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is not None:
            outgoing.close()
        helper, self.helper = self.helper, None
        if helper is not None and helper is not getcurrent():
            helper.kill(block=False)
        self._transport.close()
        # They hold each other, or themselves: without this the garbage collector would have to find them.
        self.parser.close()
        del self._receiver

    def __repr__(self) -> str:
        return f'<Connection {self.state}, {self.usage.served} served>'
