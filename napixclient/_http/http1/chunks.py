"""Chunked bodies (RFC 9112 §7.1), without I/O: sizes, extensions with their white space, data, trailers.

llhttp refuses white space in a chunk extension and a folded trailer, and does not report where it stopped. So it reads
only the bodies that come whole in one read, and that it accepts; this reads all that llhttp accepts, and those two.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...errors import InvalidResponse

__all__ = ['ChunkedBody']

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: Where no backslash escapes a quote or another backslash.
_QUOTED = rb'"[\t !#-~\x80-\xff]*"'
_size_line = re.compile(rb'([0-9A-Fa-f]+)\r\n').match
#: Chunks of less than sixteen bytes, one behind the other, and the data in them: ten thousand come in one read.
_TINY = [(b'[%x%X]' % (size, size), size) for size in range(1, 16)]
_tiny_chunks = re.compile(rb'(?:%b){1,256}' % b'|'.join(rb'%b\r\n[\x00-\xff]{%d}\r\n' % pair for pair in _TINY)).match
_tiny_data = re.compile(rb'.\r\n(%b)\r\n' % b'|'.join(rb'(?<=%b\r\n)[\x00-\xff]{%d}' % pair for pair in _TINY)).findall
_size = re.compile(rb'[0-9A-Fa-f]+').match
#: As lax as llhttp: the name or the value may be missing, a quoted string may follow a token. One at a time, because
#: Python's engine keeps a note of each repeat.
_extension = re.compile(
    rb'[ \t]*;[ \t]*(?:%b|(?=[;=]))(?:[ \t]*=(?:[ \t]*(?:%b(?:%b)?|%b))?)?' % (_TOKEN, _TOKEN, _QUOTED, _QUOTED)
).match
#: What has come of a line that may still become one with a size; enough of it to see that there is one.
_begins_size = re.compile(rb'[0-9A-Fa-f]+(?:\Z|[ \t;]|\r\Z)').match
#: llhttp has no larger size either.
_SIZES = 1 << 64
_ENOUGH = 64
_trailer_line = re.compile(rb'(?:(%b):|[ \t]+(?=[^ \t\r]))([\t \x21-\x7e\x80-\xff]*)\r\n' % _TOKEN).match
#: In the trailers these say nothing that holds (RFC 9110 §6.5.1), so that nobody knows what follows.
_FRAMING = frozenset([b'connection', b'proxy-connection', b'transfer-encoding', b'upgrade'])


def _extended_size(line: bytes) -> bytes:
    """The digits of a size with chunk extensions, which are only checked: none is known to us (RFC 9112 §7.1.1)."""
    if b'\\' in line:  # a comma, too, may stand nowhere but within quotes
        line = line.replace(b'\\\\', b',,').replace(b'\\"', b',,')
    size = found = _size(line)
    while found is not None and not line.startswith(b'\r\n', found.end()):
        found = _extension(line, found.end())
    if size is None or found is None or found.end() + 2 != len(line):
        raise InvalidResponse('malformed answer: a bad chunk size, or a bad chunk extension (RFC 9112 §7.1)')
    return size[0]


class ChunkedBody:
    """Reads one chunked body, however its bytes are cut.

    :param emit: takes the pieces of the body as they come.
    :param max_trailer_bytes: bound of the trailers, in bytes.
    :param max_trailers: bound of their number.
    """

    __slots__ = (
        '_emit',
        '_ended',
        '_held',
        '_left',
        '_line',
        '_max_trailer_bytes',
        '_max_trailers',
        '_size',
        '_trailer_bytes',
        '_trailers',
        'ambiguous',
        'rest',
    )

    def __init__(self, emit: Callable[[bytes], object], max_trailer_bytes: int, max_trailers: int) -> None:
        self._emit = emit
        self._max_trailer_bytes = max_trailer_bytes
        self._max_trailers = max_trailers
        self._held = b''  # what has come of a line
        self._left = 0  # bytes that are missing of the chunk, with the CRLF behind it
        # The last line with a size, and that size. This is the one pair that is right before any has come.
        self._line, self._size = b'0\r\n', 0
        self._ended = False  # whether the last chunk came: what follows are trailers
        self._trailers: list[bytes] = []  # without folds
        self._trailer_bytes = 0  # of the lines that are in them
        self.ambiguous: bool = False  # whether a trailer speaks of framing
        self.rest: bytes = b''  # what follows the body

    def feed(self, data: bytes) -> bool:
        """Take bytes; true when the body, with its trailers, is complete.

        :raises InvalidResponse: when they are no chunked body.
        """
        data, self._held = self._held + data, b''
        at = self._end_chunk(data, 0) if self._left else 0
        if self._left:
            return False
        emit, line, size = self._emit, self._line, self._size
        while not self._ended:
            if data.startswith(line, at):  # most servers cut a body into chunks of one size
                at += len(line)
            else:
                at = self._read_size(data, at)
                if at < 0:
                    return False
                line, size = self._line, self._size
            end = at + size
            if size and data[end : end + 2] == b'\r\n':  # a whole one
                emit(data[at:end])
                at = end + 2
                while size < 16 and (tiny := _tiny_chunks(data, at)) is not None:
                    emit(b''.join(_tiny_data(tiny[0])))
                    at = tiny.end()
            elif size:
                self._left = size + 2
                self._end_chunk(data, at)
                return False
            else:
                self._ended = True
        return self._feed_trailers(data, at)

    def _read_size(self, data: bytes, at: int) -> int:
        """Read the line with a size that begins there: where it ends, -1 while it is not whole."""
        found = _size_line(data, at)
        if found is not None:
            digits, end = found[1], found.end()
        else:  # there are extensions, or it is not whole
            end = data.find(b'\n', at) + 1
            if not end:
                held = data[at:]
                self._hold(held, not held or _begins_size(held[:_ENOUGH]) is not None, 'a bad chunk size')
                return -1
            digits = _extended_size(data[at:end])
        self._line, self._size = data[at:end], int(digits, 16)
        if self._size >= _SIZES:
            raise InvalidResponse('malformed answer: the size of a chunk is beyond 64 bits')
        return end

    def _end_chunk(self, data: bytes, at: int) -> int:
        """Take the rest of a chunk, or what has come of it, from there: where that ends."""
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            if piece:
                self._emit(piece)
            at += len(piece)
            self._left -= len(piece)
        end = data[at : at + 2]
        if self._left == 2 and end:
            if end == b'\r\n':
                self._left = 0
                return at + 2
            self._hold(end, end == b'\r', 'a chunk is longer than its size')
        return at

    @property
    def trailers(self) -> bytes:
        """The trailer fields (RFC 9110 §6.5), as they came, each behind a CRLF."""
        return b''.join(b'\r\n' + line for line in self._trailers)

    def _feed_trailers(self, data: bytes, at: int) -> bool:
        while not data.startswith(b'\r\n', at):
            line = _trailer_line(data, at)
            if line is None:
                held = data[at:]
                self._check_size(len(held))
                return self._hold(held, b'\n' not in held, 'a malformed trailer')
            self._take_trailer(line)
            at = line.end()
        self.rest = data[at + 2 :]
        return True

    def _check_size(self, coming: int) -> None:
        if self._trailer_bytes + coming > self._max_trailer_bytes:
            raise InvalidResponse(f'more than {self._max_trailer_bytes} bytes of trailers')

    def _hold(self, data: bytes, may_go_on: bool, complaint: str) -> bool:
        if not may_go_on:
            raise InvalidResponse(f'malformed answer: {complaint} (RFC 9112 §7.1)')
        self._held = data
        return False

    def _take_trailer(self, line: re.Match[bytes]) -> None:
        name, size = line[1], len(line[0])
        self._check_size(size)
        self._trailer_bytes += size
        if name is None:
            if not self._trailers:
                raise InvalidResponse('malformed answer: a folded line that continues no trailer (RFC 9112 §5.2)')
            self._trailers[-1] = b'%b %b' % (self._trailers[-1], line[2].strip())
            return
        if len(self._trailers) == self._max_trailers:
            raise InvalidResponse(f'more than {self._max_trailers} trailers')
        self._trailers.append(line[0].rstrip())
        name = name.lower()
        if name == b'content-length' or (name == b'transfer-encoding' and not line[2].strip()):
            raise InvalidResponse('malformed answer: a trailer that tells the length of the body (RFC 9110 §6.5.1)')
        self.ambiguous |= name in _FRAMING
