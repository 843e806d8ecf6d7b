"""Parses responses with llhttp (RFC 9112), without I/O.

The rules around llhttp make up for what it accepts too readily, refuses without need, or does not report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ...errors import InvalidResponse
from .body_buffer import check_size
from .heads import framing_of, names_special
from .incoming import IncomingResponse
from .llhttp import check_by_llhttp, refuse, reraise
from .sized import PlacedBody, SizedBody

__all__ = ['ResponseParser']

#: In place of a body that was taken: what llhttp brings then belongs to another response.
_TAKEN: Any = object()


class ResponseParser(IncomingResponse):
    """Has llhttp read the responses that come over one connection: all of a plain one, of another what it can.

    :param max_header_bytes: bound of a head, and of the trailers, in bytes.
    :param max_header_fields: bound of the number of fields in a head.
    """

    __slots__ = ('_feed', '_parser', '_small', 'on_body', 'on_message_begin')
    complete: bool
    fresh: bool
    head: bytes | None
    keep_alive: bool
    last: bytes
    overrun: bool
    status: int

    def __init__(self, max_header_bytes: int, max_header_fields: int) -> None:
        super().__init__(max_header_bytes, max_header_fields)
        #: A head of so many bytes is within both bounds: a field takes four or more.
        self._small = min(max_header_bytes, 4 * max_header_fields)
        # Called by llhttp. Not methods, to save a frame each; that a message clears the pieces of the one before it
        # is also how _check_overrun() knows.
        self.on_body: Callable[[bytes], object] = self.body.pieces.append
        self.on_message_begin: Callable[[], object] = self.body.pieces.clear
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser: Any = HttpResponseParser(self)
        self._feed: Any = self._parser.feed_data

    def close(self) -> None:
        """Let go of llhttp's parser, which holds this one. What was read stays."""
        self._parser = self._feed = None

    def on_message_complete(self) -> None:
        """A message is whole: an interim one, or the answer."""
        if self.complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            return
        self.status = status
        pieces = self.body.pieces
        if len(pieces) == 1 and self.fresh:  # nothing was counted before
            last = pieces[0]
            pieces[0] = _TAKEN
            if self.stream or (self.max_body is not None and len(last) > self.max_body):
                check_size(len(last), self.limit)
        else:
            last = self.take_counted()
            pieces.append(_TAKEN)
        self.last = last
        self.complete = True
        self.keep_alive = parser.should_keep_alive()  # right only in here

    def feed(self, data: bytes) -> bool:
        """Take bytes; true when the response is complete.

        :raises ProtocolError: when they are not a response, or exceed a bound.
        """
        if self.head is not None:
            return self._feed_body(data)
        if not self.fresh:
            self.heads.add(data)
            if not self.heads.apart:
                self._parse(data)
            return self._feed_head()
        # By far the most frequent case: a whole 200 in one read, with nothing special in its head.
        feed = self._feed  # a local: that costs less than to call what a slot holds
        try:
            feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self.fresh = False
            self.heads.add(data)
            self._explain(exc)
            return self._feed_head()
        if self.complete:
            end = data.find(b'\r\n\r\n')
            if data.startswith(b'HTTP/1.1 200 OK\r\n') and 0 < end <= self._small:
                head = data[:end]
                special = names_special(head)
                if (special is None and self.requests_left is None) or self.heed_only_keep_alive(head, special):
                    self.head = head
                    if end + 4 + len(self.last) != len(data):
                        self.overrun = True  # more than the response
                    return True
            self._check_overrun()
        self.fresh = False
        self.heads.add(data)
        return self._feed_head()

    def _feed_head(self) -> bool:
        """Go on with what is kept, once the final head is whole."""
        heads = self.heads
        head = heads.find()
        if head is None:
            if self.complete:
                raise InvalidResponse('the head does not end')
            if heads.apart and not self.head_only and not heads.folded:
                heads.apart = False  # there is nothing to mend, or not yet
                self._parse_alone(heads.received)
            return False
        if self.head_only:  # llhttp cannot be told that a response ends with its head, whatever that says of a body
            check_by_llhttp(head)
        elif heads.apart:
            self._parse_alone(head + b'\r\n\r\n')
        self.heed(head)
        if not heads.apart and self.body.framed is None:
            if not self.complete:
                self.body.count(self.limit)
            elif heads.rest_size != len(self.last) and not framing_of(head)[0]:
                self.overrun = True  # blank lines that llhttp passes over
            heads.drop()
            return self.complete
        rest = heads.take_rest()
        if self.complete:
            self.overrun = self.overrun or rest != b''
            return True
        if self.body.framed is not None:
            self._new_parser()  # of the next response; this one's has seen some of the body
        return self._feed_body(rest) if rest else False

    def _feed_body(self, data: bytes) -> bool:
        framed = self.body.framed
        if framed is None:
            before = self.body.size
            self._parse(data)
            if self.complete and self.body.size - before != len(data):
                self.overrun = True
        elif framed.feed(data):
            self.end_framed()
        if not self.complete and not isinstance(framed, (SizedBody, PlacedBody)):
            self.body.count_read(len(data), self.limit)
        return self.complete

    def _parse(self, data: bytes) -> None:
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._explain(exc)
        if self.complete:
            self._check_overrun()

    def _parse_alone(self, data: bytes) -> None:
        """Feed llhttp what leaves nothing to mend."""
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            refuse(exc)

    def _check_overrun(self) -> None:
        pieces = self.body.pieces
        if not pieces or pieces[0] is not _TAKEN:
            self.overrun = True  # a second response in one read: what follows is nobody's

    def _explain(self, exc: Exception) -> None:
        """Decide what llhttp's refusal means; what it has refused is kept."""
        reraise(exc)
        if self.complete:
            self.overrun = True  # left-over bytes: the response stands, the connection does not
        elif self.head is not None or isinstance(exc, HttpParserUpgrade):
            refuse(exc)
        else:  # it may be legal all the same: read it again, from the first byte that is kept
            self.heads.apart = True
            self.body.pieces.clear()
            self._new_parser()
