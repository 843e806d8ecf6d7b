"""Reads answers with llhttp (RFC 9112), without I/O.

The rules around llhttp are those that its silence or leniency makes necessary; each was tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from ...errors import BodyTooLarge, InvalidResponse, ProtocolError, TruncatedBody
from ...masking import mask
from ...messages import REDIRECTS, Headers
from .chunks import ChunkedBody, unfolded

__all__ = ['ResponseReader']

#: Answers 1xx before the final one; a server that sends more is not going to answer.
MAX_INFORMATIONAL = 20
_FEW_PIECES = 16
#: Transfer-Encoding or Content-Encoding; that the pattern begins with what has no case makes it quick.
_names_coding = re.compile(rb'-encoding:', re.IGNORECASE).search
#: Likewise, and Keep-Alive.
_names_special = re.compile(rb'-(?:encoding|alive):', re.IGNORECASE).search
_names_keep_alive = re.compile(rb'-alive:', re.IGNORECASE).search
_is_keep_alive = re.compile(rb'\r\nkeep-alive:([^\r]*)', re.IGNORECASE).search
_announced = re.compile(rb'(?:\A|[,;\s])(timeout|max)[ \t]*=[ \t]*"?([0-9]{1,9})(?![0-9.e])', re.IGNORECASE).findall
_leads_on = re.compile(rb'\r\nlocation:[ \t]*[^ \t\r]', re.IGNORECASE).search
#: In the place of a body that was taken: what llhttp brings then belongs to another answer.
_TAKEN: Any = object()


class ResponseReader:
    """Reads the answers that come over one connection, one after the other.

    :param max_header_bytes: bound of a head, and of the trailers, in bytes.
    :param max_header_fields: bound of the number of fields in a head.
    """

    __slots__ = (
        '_apart',
        '_body_size',
        '_chunks',
        '_counted',
        '_feed',
        '_framed',
        '_fresh',
        '_head_only',
        '_idle_bytes',
        '_informational',
        '_max_bytes',
        '_max_fields',
        '_more',
        '_parser',
        '_pieces',
        '_raw',
        '_searched',
        '_small',
        'coding',
        'complete',
        'continued',
        'follows',
        'head',
        'idle_seconds',
        'keep_alive',
        'last',
        'max_body',
        'max_streamed',
        'on_body',
        'on_message_begin',
        'overrun',
        'status',
        'stream',
    )
    complete: bool
    keep_alive: bool
    overrun: bool

    def __init__(self, max_header_bytes: int, max_header_fields: int) -> None:
        self._max_bytes = max_header_bytes
        self._max_fields = max_header_fields
        #: A head of so many bytes is within both bounds: a field takes four or more.
        self._small = min(max_header_bytes, 4 * max_header_fields)
        self._pieces: list[bytes] = []
        # Called by llhttp. Not methods, to save a frame each; that a message clears the pieces of the one before it
        # is also how _check_overrun() knows.
        self.on_body: Callable[[bytes], object] = self._pieces.append
        self.on_message_begin: Callable[[], object] = self._pieces.clear
        self.last: bytes = b''  # the body, or the end of a streamed one, of a complete answer
        self._fresh = False
        self.follows: bool = False  # whether a redirect is followed, and not handed out to be read in pieces
        self.idle_seconds: int | None = None  # for which the server keeps the connection, as its Keep-Alive says
        self._more: int | None = None  # requests that it takes over this connection, likewise
        self._new_parser()
        self.begin('GET', None)

    def _new_parser(self) -> None:
        self._parser: Any = HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def begin(self, method: str, max_body: int | None, stream: bool = False, max_streamed: int | None = None) -> None:
        """Expect the answer to a request of that method.

        :param max_body: bound of a body, in bytes; of an answer below 400 that is streamed it is ``max_streamed``.
        """
        self.complete = self.keep_alive = self.overrun = False
        self.head: bytes | None = None  # the final head without its last CRLF CRLF, once it is whole
        self.max_body: int | None = max_body
        self.stream: bool = stream
        self.max_streamed: int | None = max_streamed
        self._pieces.clear()
        if self._fresh and method != 'HEAD':
            return  # the answer before came in one read, and left the rest untouched
        self.status: int = 0
        self.coding: str | None = None  # the Content-Encoding, where there is one
        self._raw: bytes | bytearray | None = None
        self._searched = 0  # how much of that holds no end of a head
        self._apart = self._head_only = method == 'HEAD'  # apart: llhttp gets each head alone, and mended
        self._chunks: ChunkedBody | None = None  # reads the body, instead of llhttp
        self._informational = 0
        self.continued: bool = False  # whether a 100 came: the server wants the body
        self._body_size = self._idle_bytes = self._counted = 0
        self._framed = True  # whether the end shows without the connection's end
        self._fresh = not self._head_only

    # -- called by llhttp ------------------------------------------------------------------------------------------

    def on_message_complete(self) -> None:
        """A message is whole: an interim one, or the answer."""
        if self.complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            if status == 101:
                raise InvalidResponse('101 Switching Protocols, which nobody asked for')
            return
        self.status = status
        pieces = self._pieces
        if len(pieces) == 1 and not self._counted:
            last = pieces[0]
            pieces[0] = _TAKEN
            if self.stream or (self.max_body is not None and len(last) > self.max_body):
                self._check_size(len(last))
        else:
            self._count_body()
            last = b''.join(pieces)
            pieces[:] = [_TAKEN]
        self.last = last
        self.complete = True
        self.keep_alive = parser.should_keep_alive()  # right only in here

    # -- called by the connection ----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take bytes; true when the answer is complete.

        :raises ProtocolError: when they are not an answer, or exceed a bound.
        """
        if self.head is not None:
            return self._feed_body(data)
        if self._fresh:
            # By far the most frequent case: a whole 200 in one read, with nothing special in its head.
            try:
                self._feed(data)
            except (HttpParserError, HttpParserUpgrade) as exc:
                self._explain(exc, data)
            if self.complete:
                end = data.find(b'\r\n\r\n')
                if data.startswith(b'HTTP/1.1 200 OK\r\n') and 0 < end <= self._small:
                    head = data[:end]
                    special = _names_special(head)
                    if (special is None and self._more is None) or self._only_keeps_alive(head, special):
                        self.head = head
                        if end + 4 + len(self.last) != len(data):
                            self.overrun = True  # more than the answer
                        return True
                self._check_overrun()
            self._fresh = False
            if self._raw is None:
                self._raw = data
        else:
            raw = self._raw
            if raw is None:
                raw = data
            else:
                if isinstance(raw, bytes):
                    raw = bytearray(raw)
                raw += data
            self._raw = raw
            if not self._apart:
                self._parse(data)
        if self._apart:
            return self._read_apart()
        end = self._head_end()
        if end >= 0:
            self._check_head(bytes(self._raw[:end]))
            raw, self._raw = self._raw, None
            if self._chunks is not None:
                return self._feed_body(bytes(raw[end + 4 :]))
            if not self.complete:
                self._count_body()
        elif self.complete:
            raise InvalidResponse('the head does not end')
        return self.complete

    def _parse(self, data: bytes) -> None:
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._explain(exc, data)
        if self.complete:
            self._check_overrun()

    def _check_overrun(self) -> None:
        if not self._pieces or self._pieces[0] is not _TAKEN:
            self.overrun = True  # a second answer in one read: what follows is nobody's

    def _explain(self, exc: Exception, data: bytes) -> None:
        self._reraise(exc)
        if self.complete:
            self.overrun = True  # left-over bytes: the answer stands, the connection does not
        elif self.head is not None or isinstance(exc, HttpParserUpgrade):
            self._refuse(exc)
        else:  # it may be legal all the same: anew, from its first byte that is here
            self._raw = self._raw or data
            self._apart = True
            self._pieces.clear()
            self._new_parser()

    def _reraise(self, exc: Exception) -> None:
        """Raise what a callback had raised: an error of ours, or a SIGINT that llhttp swallowed."""
        inner = exc.__context__
        if isinstance(exc, HttpParserCallbackError) and inner is not None:
            if isinstance(inner, ProtocolError) or not isinstance(inner, Exception):
                raise inner from None

    def _refuse(self, exc: Exception) -> NoReturn:
        self._reraise(exc)
        if isinstance(exc, HttpParserUpgrade):
            raise InvalidResponse('101 Switching Protocols, which nobody asked for') from None
        raise InvalidResponse(f'malformed answer: {exc or type(exc).__name__}') from exc

    def _parse_alone(self, data: bytes) -> None:
        """Feed llhttp what there is nothing to be mended in."""
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._refuse(exc)

    def _head_end(self, seen: bool = True) -> int:
        """Where the final head ends in what was received, -1 while it is not whole; heads of 1xx are dropped.

        :param seen: whether llhttp has had them.
        """
        raw = self._raw
        assert raw is not None
        while True:
            end = raw.find(b'\r\n\r\n', self._searched)
            if end < 0:
                self._searched = max(len(raw) - len(b'\r\n\r'), 0)
                break
            self._searched = 0
            if raw[0] in b'\r\n':
                self._idle_bytes += len(raw)
                raw = raw.lstrip(b'\r\n')  # RFC 9112 §2.2: an empty line before the status line
                self._idle_bytes -= len(raw)
                continue
            if end > self._max_bytes:
                raise InvalidResponse(f'the head is larger than {self._max_bytes} bytes')
            if raw[9:10] != b'1' or raw[9:12] == b'101':
                self._raw = raw
                return end
            self.continued |= raw[9:12] == b'100'
            head = bytes(raw[:end])
            self._check_version(head)
            if not seen:
                self._parse_alone(unfolded(head) + b'\r\n\r\n')
                self._new_parser()
            raw = raw[end + 4 :]
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise InvalidResponse(f'more than {MAX_INFORMATIONAL} answers 1xx')
        self._raw = raw
        if len(raw) + self._idle_bytes > self._max_bytes + len(b'\r\n\r'):  # its end may have begun
            raise InvalidResponse(f'the head is larger than {self._max_bytes} bytes')
        return -1

    def _check_head(self, head: bytes) -> None:
        # A field takes 4 bytes or more.
        if len(head) > self._max_fields * 4 and head.count(b'\r\n') > self._max_fields:
            raise InvalidResponse(f'the head has more than {self._max_fields} fields')
        if not self.complete:
            self.status = int(head[9:12])
        status = self.status
        if not head.startswith(b'HTTP/1.1 '):
            self._check_version(head)
            if 'close' in _options(Headers.of_block(head)):
                self.overrun = True  # llhttp overlooks it beside a keep-alive (RFC 9112 §9.3)
        if b'\0' in head:  # llhttp lets it through in the reason
            raise InvalidResponse('NUL in the head (RFC 9110 §5.5)')
        if status < 100:  # from 600 on it is processed as a 5xx
            raise InvalidResponse(f'status {status} is not between 100 and 999 (RFC 9110 §15)')
        self.head = head
        if self.stream and (status >= 400 or (self.follows and status in REDIRECTS and _leads_on(head) is not None)):
            self.stream = False
        if not self.complete or _names_coding(head) is not None:
            self._check_framing(head)
        if self._more is not None or _names_keep_alive(head) is not None:
            self._heed_keep_alive(head)

    def _only_keeps_alive(self, head: bytes, special: re.Match[bytes] | None) -> bool:
        """Heed a Keep-Alive in a head in which nothing else is special."""
        if special is not None and _names_coding(head, special.start()) is not None:
            return False
        self._heed_keep_alive(head)
        return True

    def _heed_keep_alive(self, head: bytes) -> None:
        """What the server tells of how long, and for how many requests, it keeps the connection (RFC 2068 §19.7.1)."""
        field = _is_keep_alive(head)
        said = {} if field is None else {name.lower(): int(number) for name, number in _announced(field[1])}
        self.idle_seconds = said.get(b'timeout', self.idle_seconds)
        if self._more is not None:
            self._more -= 1
        self._more = said.get(b'max', self._more)
        if self.idle_seconds == 0 or (self._more is not None and self._more <= 0):
            self.overrun = True  # nothing follows

    def _check_version(self, head: bytes) -> None:
        if not head.startswith((b'HTTP/1.1 ', b'HTTP/1.0 ')):
            raise InvalidResponse(f'neither HTTP/1.1 nor HTTP/1.0: {mask(repr(head[:20]))}')

    def _check_framing(self, head: bytes) -> None:
        """RFC 9112 §6.1 and §6.3: what tells where the body ends, and how it is coded."""
        fields = Headers.of_block(head)
        transfer = fields.get('transfer-encoding')
        length = fields.get('content-length')
        if transfer is not None:
            if _listed(transfer) != ['chunked']:
                raise InvalidResponse(f'unknown Transfer-Encoding {mask(repr(transfer))}')
            if length is not None:
                raise InvalidResponse('both Content-Length and Transfer-Encoding')
            if head.startswith(b'HTTP/1.0 '):
                self.keep_alive = False
                self.overrun = True
        self._framed = transfer is not None or length is not None or self.status in (204, 304)
        if not self._head_only and self.status not in (204, 304):
            if length is not None:
                self._check_size(int(length))  # llhttp let digits through only
            elif transfer is not None and not self.complete:
                self._pieces.clear()  # what llhttp may have found is found anew, from the first byte
                self._new_parser()
                self._chunks = ChunkedBody(self._pieces.append)
        coding = fields.get('content-encoding')
        if coding is not None and coding.strip().lower() not in ('', 'identity'):
            self.coding = coding

    def _feed_body(self, data: bytes) -> bool:
        if self._chunks is None:
            self._parse(data)
        elif self._chunks.feed(data):
            return self._end_chunks(self._chunks)
        if not self.complete and self._count_body():
            self._idle_bytes = 0
        else:  # chunk lengths, their extensions, or trailers: nothing that counts
            self._idle_bytes += len(data)
            if self._idle_bytes > self._max_bytes and not self.complete:
                raise InvalidResponse(f'more than {self._max_bytes} bytes of trailers or chunk extensions')
        return self.complete

    def _check_size(self, size: int) -> None:
        limit = self.max_streamed if self.stream and self.status < 400 else self.max_body
        if limit is not None and size > limit:
            raise BodyTooLarge(f'the body is larger than {limit} bytes')

    def _count_body(self) -> bool:
        """Count what the last read brought of the body; whether it was anything."""
        pieces, counted = self._pieces, self._counted
        if len(pieces) == counted:
            return False
        self._body_size += sum(map(len, pieces[counted:]))
        self._check_size(self._body_size)
        if len(pieces) > counted + _FEW_PIECES:  # chunks of a byte each: no object for each
            pieces[counted:] = [b''.join(pieces[counted:])]
        self._counted = len(pieces)
        return True

    def _end_chunks(self, chunks: ChunkedBody) -> bool:
        self._count_body()
        self.last = b''.join(self._pieces)
        self._pieces.clear()
        self.complete = True
        self.keep_alive = self._persists()
        self.overrun = self.overrun or chunks.ambiguous or chunks.rest != b''
        return True

    def _persists(self) -> bool:
        """Whether the connection outlives the answer, as its head has it (RFC 9112 §9.3)."""
        assert self.head is not None
        options = _options(Headers.of_block(self.head))
        return 'close' not in options and (self.head.startswith(b'HTTP/1.1 ') or 'keep-alive' in options)

    def _read_apart(self) -> bool:
        """Read a head once it is whole, before llhttp sees anything behind it.

        So the answer to a HEAD, which ends with its head, whatever that says of a body: llhttp cannot be told. And so
        what llhttp refused: a head with folded fields, the answer behind a 1xx that says close, and chunks of which we
        read more than llhttp.
        """
        end = self._head_end(seen=False)
        assert self._raw is not None
        if end < 0:
            if not self._head_only and b'\r\n ' not in self._raw and b'\r\n\t' not in self._raw:
                self._apart = False  # there is nothing to mend, or not yet
                self._parse_alone(bytes(self._raw))
            return False
        raw = bytes(self._raw)
        head, rest = unfolded(raw[:end]), raw[end + 4 :]
        self._parse_alone(head + b'\r\n\r\n')
        if self._head_only:
            self.complete = False
        self._check_head(head)
        self._raw = None
        if self._head_only:
            self._end_head_only()
        elif rest and not self.complete:
            return self._feed_body(rest)
        self.overrun = self.overrun or rest != b''
        return self.complete

    def _end_head_only(self) -> None:
        self.keep_alive = self._persists()
        self.coding = None
        self.complete = True
        self._pieces.clear()
        self.last = b''
        self._new_parser()

    def eof(self) -> None:
        """The server closed: complete an answer that only that can end.

        :raises ProtocolError: when the answer is not whole.
        """
        if self.head is None:
            raise ProtocolError('the server closed the connection before it had answered')
        if self._framed:
            raise TruncatedBody('the server closed the connection before the end of the body')
        self.last = self.take_body()
        self.complete = True
        self.keep_alive = False

    def cut_short(self, reset: bool) -> bool:
        """The connection ended: whether what has come is an answer all the same, with as much of its body as came.

        It is where its status tells what there is to tell: a server that refuses a request often closes without having
        read all of it, and what it still had to read turns the close into a reset (RFC 9112 §9.6).

        :param reset: whether it broke; else it is the end of a body that nothing else ends, which is whole.
        """
        if not reset and not self._framed:
            return False
        if self.head is None or self.stream or self.status < (400 if self._framed else 300):
            return False
        self.last = self.take_body()
        self.complete = True
        self.keep_alive = False
        return True

    def take_body(self) -> bytes:
        """The body received so far; it is not kept."""
        if self.complete:
            body, self.last = self.last, b''
            return body
        body = b''.join(self._pieces)
        self._pieces.clear()
        self._counted = 0
        return body

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after this answer."""
        return self.complete and self.keep_alive and not self.overrun

    @property
    def stray(self) -> bool:
        """Whether what came is no answer at all, as the rest of an earlier answer would be."""
        return self.head is None and self._raw is not None and not b'HTTP/'.startswith(bytes(self._raw[:5]))

    @property
    def started(self) -> bool:
        """Whether a byte of the answer has come."""
        return self.head is not None or self._raw is not None or self._informational > 0


def _options(fields: Headers) -> list[str]:
    """What ``Connection`` lists (RFC 9110 §7.6.1), and its forerunner, which llhttp heeds as well."""
    return _listed(f'{fields.get("connection", "")},{fields.get("proxy-connection", "")}')


def _listed(value: str) -> list[str]:
    """The elements of a list, in lower case; empty ones do not count (RFC 9110 §5.6.1.2)."""
    elements = (element.strip(' \t').lower() for element in value.split(','))
    return [element for element in elements if element]
