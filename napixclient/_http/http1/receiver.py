"""Receives the answer to the request in flight: reads the socket when there is something to read, and reports.

It hands out a whole answer, the head and then the body of a streamed one, or what has come of one that broke off.
"""

from __future__ import annotations

from time import monotonic
from typing import Generic, Protocol, TypeVar

from gevent import ssl

from ...errors import HTTPError, NapixError
from ...messages import Response, new_response
from ...peer import Route
from ..pending import NEVER, PendingResponse
from ..streaming import StreamedResponse
from .failures import error_of_parser
from .feed import BodyFeed
from .outgoing import Outgoing
from .parser import ResponseParser
from .sized import RECORD
from .states import Event, State, may
from .transport import AGAIN, READ_SIZE, Transport
from .usage import Usage

__all__ = ['Carrier', 'ReceiverOwner', 'Receiver']

_MAY_END = may('end')


class Carrier(Protocol):
    """The connection that the answer comes over."""

    state: State
    usage: Usage
    pending: PendingResponse | None
    streamed: BodyFeed | None
    outgoing: Outgoing | None
    started: float
    read_seconds: float
    expires: float
    deadline: float
    route: Route | None

    def step(self, event: Event) -> None:
        """Go to the next state."""

    def writable(self) -> None:
        """Called by the loop: the socket takes more."""

    def fail(self, error: HTTPError) -> None:
        """End what is in flight, and the connection."""

    def lost(self, exc: OSError | None) -> None:
        """The connection broke, or was closed by the server."""

    def close(self) -> None:
        """Close it."""

    def end_idle(self) -> None:
        """Close it while nothing is in flight."""

    def end_at_once(self) -> None:
        """End it without a word, whatever is under way."""


CarrierT = TypeVar('CarrierT', bound=Carrier)
_Reported = TypeVar('_Reported', contravariant=True)


class ReceiverOwner(Protocol[_Reported]):
    """What hears of answers: the owner of the connection."""

    def answered(self, connection: _Reported, pending: PendingResponse, response: Response, coding: str | None) -> None:
        """The answer is whole; the connection is free, or closed if it cannot be used again."""

    def streaming(self, connection: _Reported, pending: PendingResponse, response: StreamedResponse) -> None:
        """The head of a streamed answer is there; the connection stays with its body."""

    def stream_ended(self, connection: _Reported) -> None:
        """A streamed body was read to its end; the connection is free, or closed."""

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came."""

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether the content codings of an answer of that status are undone."""


class Receiver(Generic[CarrierT]):
    """Receives what comes over one connection.

    :param connection: that connection.
    :param owner: hears of answers.
    :param transport: the socket.
    :param parser: makes answers of bytes.
    """

    __slots__ = ('_connection', '_owner', '_transport', 'parser')

    def __init__(
        self, connection: CarrierT, owner: ReceiverOwner[CarrierT], transport: Transport, parser: ResponseParser
    ) -> None:
        self._connection = connection
        self._owner = owner
        self._transport = transport
        self.parser: ResponseParser = parser
        transport.reader.start(self.readable)

    def readable(self) -> None:
        """The fast path, called by the loop: read what is there, once, so that no server starves the others."""
        recv = self._transport.recv  # a local: that costs less than to call what a slot holds
        try:
            data = recv(READ_SIZE)
        except OSError as exc:
            self._not_read(exc)
            return
        connection, parser = self._connection, self.parser
        pending = connection.pending
        if pending is None:
            if connection.streamed is None:
                connection.end_idle()  # closed by the server, or bytes that nobody asked for
                return
        elif connection.state == 'reserved':  # nothing was sent yet, so whatever it is, it is not an answer
            connection.lost(None)
            return
        try:
            if not data and connection.streamed is None:
                if not parser.started:
                    connection.lost(None)
                    return
                if self._cut_short(False):
                    return
            complete = parser.feed(data) if data else parser.eof()
        except BaseException as exc:
            self._malformed(exc)
            return
        if pending is None or not complete or parser.stream:
            self._go_on(pending, complete)
            return
        connection.pending = None
        connection.usage.served += 1
        head = parser.head
        assert head is not None
        elapsed = monotonic() - connection.started
        response = new_response(pending.asked, parser.status, head, parser.last, elapsed, connection.route)
        if parser.trailers:
            response.trailer_block = parser.trailers
        if connection.state in _MAY_END and parser.keep_alive and not parser.overrun:
            connection.state = 'idle'
        else:
            connection.close()
        self._owner.answered(connection, pending, response, parser.coding)

    def _fill(self) -> None:
        """The same, where a large body is under way: it is received into its place, up to its last bytes."""
        transport, place = self._transport, self.parser.body.place
        for _ in range(transport.reads):
            if place is None or not place.fillable:
                transport.reader.callback = self.readable
                self.readable()
                return
            try:
                size = place.fill(transport.recv_into)
            except OSError as exc:
                self._not_read(exc)
                return
            except BaseException as exc:  # such as a MemoryError
                self._malformed(exc)
                return
            if not size:
                self.readable()  # to find the end once more
                return
            self._heard()

    def _not_read(self, exc: OSError) -> None:
        """Nothing was there to be read, or the connection broke."""
        connection = self._connection
        if isinstance(exc, ssl.SSLWantWriteError):  # TLS has to answer first: to a CertificateRequest, a KeyUpdate
            self._transport.watch_writing(connection.writable)
        elif not isinstance(exc, AGAIN) and (
            connection.streamed is not None or connection.pending is None or not self._cut_short(True)
        ):
            connection.lost(exc)

    def _malformed(self, exc: BaseException) -> None:
        """The parser raised.

        :raises BaseException: SIGINT and SystemExit, which leave after clean-up.
        """
        self._connection.fail(error_of_parser(exc))
        if not isinstance(exc, Exception):
            raise exc

    # -- answers that are not whole --------------------------------------------------------------------------------

    def _go_on(self, pending: PendingResponse | None, complete: bool) -> None:
        """Part of an answer came, or of a streamed body."""
        self._heard()
        connection, parser = self._connection, self.parser
        if parser.body.place is not None and not complete:
            self._transport.reader.callback = self._fill
        elif pending is None:
            if connection.streamed is not None:  # else its reader has left meanwhile
                connection.streamed.pour(complete)
        elif parser.stream and parser.answering:
            self._hand_out(pending)
            if complete and connection.streamed is not None:
                connection.streamed.pour(True)
        elif connection.outgoing is not None and connection.outgoing.holds_back and parser.continued:
            connection.outgoing.agreed()

    def _heard(self) -> None:
        """The server sent something: reset the read timeout, unless the upload's source is what we wait for.

        While the server is asked whether it wants a body, patience is the clock.
        """
        connection = self._connection
        outgoing = connection.outgoing
        if outgoing is None or not (outgoing.waits_for_source or (outgoing.holds_back and not self.parser.answering)):
            connection.expires = monotonic() + connection.read_seconds

    def answered_early(self) -> bool:
        """Read the answer of a server that closes before it has read the whole request; whether there is one."""
        connection = self._connection
        pending = connection.pending
        while connection.state != 'closed' and connection.pending is pending and pending is not None:
            before = connection.expires
            connection.expires = NEVER
            self.readable()
            if connection.expires == NEVER:  # nothing more to read
                connection.expires = before
                break
        return connection.state == 'closed' or connection.pending is not pending

    def _cut_short(self, reset: bool) -> bool:
        """The connection ended: hand out what has come, where that can stand as the answer; return whether it does."""
        connection, parser, owner = self._connection, self.parser, self._owner
        pending = connection.pending
        if pending is None or connection.state == 'reserved' or not parser.cut_short(reset):
            return False
        assert parser.head is not None
        connection.pending = None
        body, coding = parser.last, parser.coding
        if coding is not None and owner.decodes(pending, parser.status):  # cut, it does not decode
            body, coding = b'', None
        elapsed = monotonic() - connection.started
        response = new_response(pending.asked, parser.status, parser.head, body, elapsed, connection.route)
        connection.close()
        owner.answered(connection, pending, response, coding)
        return True

    # -- streamed bodies -------------------------------------------------------------------------------------------

    def _hand_out(self, pending: PendingResponse) -> None:
        """The head of an answer that will be read in pieces."""
        connection, parser, owner = self._connection, self.parser, self._owner
        assert parser.head is not None
        try:
            feed = BodyFeed(self, self._transport.loop, owner.decodes(pending, parser.status))
        except NapixError as exc:
            self._malformed(exc)
            return
        elapsed, url = monotonic() - connection.started, pending.current.full_url
        response = StreamedResponse(pending.request, parser.status, parser.head, elapsed, feed.body, url)
        response.route = connection.route
        connection.step('head')
        connection.pending, connection.streamed, connection.deadline = None, feed, pending.deadline
        owner.streaming(connection, pending, response)
        if not parser.complete and connection.streamed is not None:
            feed.pour(False)

    def received(self, size: int) -> None:
        """So many bytes of a streamed body came: more are asked for at once while it comes fast."""
        self._owner.received(size)
        if self._connection.state != 'closed':
            self._transport.expect_much(size >= RECORD)

    def pause(self) -> None:
        """Stop reading: it is the reader of a streamed body who is slow, and not the server."""
        self._transport.reader.stop()
        self._connection.expires = NEVER

    def read_on(self) -> None:
        """The reader of a streamed body has caught up."""
        if self._connection.state != 'closed' and not self._transport.reader.active:
            self._heard()
            self._transport.reader.start(self.readable)

    def end_stream(self) -> None:
        """A streamed body was read to its end."""
        connection = self._connection
        connection.streamed = None
        connection.usage.served += 1
        if connection.state in _MAY_END and self.parser.reusable:
            connection.step('end')
            self._transport.expect_much(False)
            self._transport.reader.start(self.readable)
        else:
            connection.close()
        self._owner.stream_ended(connection)

    def leave_stream(self, feed: BodyFeed) -> None:
        """Nobody wants the rest of a streamed body."""
        connection = self._connection
        if connection.streamed is feed:
            connection.streamed = None
            connection.end_at_once()
