"""The response that is being parsed: what is known of it so far, and what its head says.

Without I/O, and without llhttp, which :mod:`.parser` adds.
"""

from __future__ import annotations

import re

from ...errors import ProtocolError, TruncatedBody
from ...messages import REDIRECTS
from .body_buffer import BodyBuffer, check_size
from .head_buffer import HeadBuffer
from .heads import (
    check_head,
    check_version,
    framing_of,
    keep_alive_of,
    leads_on,
    names_coding,
    names_keep_alive,
    persists,
    says_close,
)
from .sized import LARGE

__all__ = ['IncomingResponse']


class IncomingResponse:
    """One response after the other, as they come over one connection.

    :param max_header_bytes: bound of a head, and of the trailers, in bytes.
    :param max_header_fields: bound of the number of fields in a head.
    """

    __slots__ = (
        '_framed',
        '_max_fields',
        'body',
        'coding',
        'complete',
        'follows',
        'fresh',
        'head',
        'head_only',
        'heads',
        'idle_seconds',
        'keep_alive',
        'last',
        'max_body',
        'max_streamed',
        'overrun',
        'requests_left',
        'status',
        'stream',
        'trailers',
    )
    heads: HeadBuffer
    body: BodyBuffer
    last: bytes
    fresh: bool
    follows: bool
    complete: bool
    keep_alive: bool
    overrun: bool
    head: bytes | None
    max_body: int | None
    stream: bool
    max_streamed: int | None
    head_only: bool
    status: int
    coding: str | None
    trailers: bytes

    def __init__(self, max_header_bytes: int, max_header_fields: int) -> None:
        self._max_fields = max_header_fields
        self.heads = HeadBuffer(max_header_bytes)
        self.body = BodyBuffer(max_header_bytes, max_header_fields)
        self.last = b''  # the body, or the end of a streamed one, of a complete response
        self.fresh = False  # whether nothing has come, and nothing of an earlier response has to be cleared
        self.follows = False  # whether a redirect is followed, and not handed out to be read in pieces
        self.idle_seconds: int | None = None  # for which the server keeps the connection, as its Keep-Alive says
        self.requests_left: int | None = None  # that it accepts over this connection, likewise
        self.begin('GET', None)

    def begin(self, method: str, max_body: int | None, stream: bool = False, max_streamed: int | None = None) -> None:
        """Expect the response to a request of that method.

        :param max_body: bound of a body, in bytes; of a response below 400 that is streamed it is ``max_streamed``.
        """
        self.complete = self.keep_alive = self.overrun = False
        self.head = None  # the final head without its last CRLF CRLF, once it is whole
        self.max_body = max_body
        self.stream = stream
        self.max_streamed = max_streamed
        self.body.pieces.clear()
        if self.fresh and method != 'HEAD':
            return  # the response before came in one read, and left the rest untouched
        self.head_only = method == 'HEAD'
        self.heads.begin(self.head_only)
        if self.body.used:
            self.body.begin()
        self.status = 0
        self.coding = None  # the Content-Encoding, where there is one
        self.trailers = b''  # those of a complete response, each behind a CRLF
        self._framed = True  # whether the end shows without the connection's end
        self.fresh = not self.head_only

    # -- what its head says ----------------------------------------------------------------------------------------

    def heed(self, head: bytes) -> None:
        """Take the final head, which llhttp has accepted.

        :raises InvalidResponse: when it is not valid all the same.
        :raises BodyTooLarge: when it announces such a body.
        """
        if not self.complete:
            self.status = int(head[9:12])
        status = self.status
        check_head(head, status, self._max_fields)
        if not head.startswith(b'HTTP/1.1 '):
            check_version(head)
            if says_close(head):
                self.overrun = True  # llhttp overlooks it beside a keep-alive (RFC 9112 §9.3)
        self.head = head
        if self.stream and (status >= 400 or (self.follows and status in REDIRECTS and leads_on(head) is not None)):
            self.stream = False
        if not self.complete or names_coding(head) is not None:
            self._heed_framing(head)
        if self.requests_left is not None or names_keep_alive(head) is not None:
            self._heed_keep_alive(head)
        if self.head_only:
            self.complete, self.keep_alive, self.last, self.coding = True, persists(head), b'', None

    def _heed_framing(self, head: bytes) -> None:
        chunked, length, self.coding = framing_of(head)
        if chunked and head.startswith(b'HTTP/1.0 '):
            self.keep_alive = False
            self.overrun = True
        bodiless = self.status in (204, 304)
        self._framed = chunked or length is not None or bodiless
        if self.head_only or bodiless:
            return
        if length is not None:
            check_size(length, self.limit)
            if length >= LARGE and not self.complete:
                self.body.expect_size(length, not self.stream)
        elif chunked and not (self.complete and self.heads.ends_chunks):
            self.complete = False  # llhttp does not hand out trailers
            self.body.expect_chunks()

    def heed_only_keep_alive(self, head: bytes, special: re.Match[bytes] | None) -> bool:
        """Heed the Keep-Alive of a head; false, without having done so, where something else in it is special.

        :param special: what ``names_special`` found.
        """
        if special is not None and names_coding(head, special.start()) is not None:
            return False
        self._heed_keep_alive(head)
        return True

    def _heed_keep_alive(self, head: bytes) -> None:
        seconds, requests = keep_alive_of(head)
        if seconds is not None:
            self.idle_seconds = seconds
        if requests is not None:
            self.requests_left = requests
        elif self.requests_left is not None:
            self.requests_left -= 1
        if self.idle_seconds == 0 or (self.requests_left is not None and self.requests_left <= 0):
            self.overrun = True  # nothing follows

    # -- its body, and its end -------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """The bound of the body, in bytes."""
        return self.max_streamed if self.stream and self.status < 400 else self.max_body

    def take_counted(self) -> bytes:
        """Hand out the body, or its end, once all of it has come.

        :raises BodyTooLarge: when it exceeds its bound.
        """
        self.body.count(self.limit)
        return self.body.take()

    def take_body(self) -> bytes:
        """Hand out the body received so far; it is not kept."""
        if not self.complete:
            return self.body.take()
        body, self.last = self.last, b''
        return body

    def end_framed(self) -> None:
        """Complete the response: the last byte of its body, with its trailers, has come."""
        framed = self.body.framed
        assert self.head is not None and framed is not None
        self.last = self.take_counted()
        self.trailers = framed.trailers
        self.complete = True
        self.keep_alive = persists(self.head)
        self.overrun = self.overrun or framed.ambiguous or framed.rest != b''

    def eof(self) -> bool:
        """The server closed: complete a response that only that can end; true, as it is complete then.

        :raises ProtocolError: when the response is not whole.
        """
        if self.head is None:
            raise ProtocolError('the server closed the connection before it had answered')
        if self._framed:
            raise TruncatedBody('the server closed the connection before the end of the body')
        self._end_with_connection()
        return True

    def cut_short(self, reset: bool) -> bool:
        """The connection ended: whether what has come is a response all the same, with as much of its body as came.

        It is where its status tells what there is to tell: a server that refuses a request often closes without having
        read all of it, and what it still had to read turns the close into a reset (RFC 9112 §9.6).

        :param reset: whether it broke; else it is the end of a body that nothing else ends, which is whole.
        """
        if not reset and not self._framed:
            return False
        if self.head is None or self.stream or self.status < (400 if self._framed else 300):
            return False
        self._end_with_connection()
        return True

    def _end_with_connection(self) -> None:
        self.last = self.take_body()
        self.complete = True
        self.keep_alive = False

    # -- asked by the connection -----------------------------------------------------------------------------------

    @property
    def answering(self) -> bool:
        """Whether the head of the response has come."""
        return self.head is not None

    @property
    def untouched(self) -> bool:
        """Whether no byte of the response came: what came, if anything, belonged to an earlier one."""
        return not self.started or self.stray

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after this response."""
        return self.complete and self.keep_alive and not self.overrun

    @property
    def continued(self) -> bool:
        """Whether a 100 came: the server wants the body."""
        return self.heads.continued

    @property
    def stray(self) -> bool:
        """Whether what came is no response at all, as the rest of an earlier one would be."""
        return self.head is None and self.heads.stray

    @property
    def started(self) -> bool:
        """Whether a byte of the response has come."""
        return self.head is not None or self.heads.started
