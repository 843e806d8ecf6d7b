"""Requests as bytes, read in the one way in which every server reads them, or refused (RFC 9112).

What a proxy before us and we ourselves would take for two different requests is how one is smuggled through. So the
grammar is taken at its word: nothing is repaired, and nothing is read as a body before all of the head has been judged.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

import gevent

from .problems import BadRequest, FieldsTooLarge, TooLarge, URITooLong, VersionNotSupported

__all__ = ['BadBody', 'Body', 'LONGEST_LINE', 'length_of', 'read_fields', 'read_request_line', 'split_target']

#: Bytes of a request line, bytes of all fields, and how many there may be.
LONGEST_LINE = 8192
MOST_BYTES = 65536
MOST_FIELDS = 100
#: Bytes of chunk extensions in one body (RFC 9112 §7.1.1).
MOST_EXTENSIONS = 16384
#: Bytes that are read, a chunk's head counted as 64, before others have their turn: there may always be more.
TURN = 65536
#: Of what the application has left unread: more bytes, or more seconds, and the connection is closed instead.
SKIPPED_BYTES = 65536
SKIPPED_SECONDS = 1.0
CHUNKED = -1
_QUIETLY: Any = False

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_is_request_line = re.compile(rb'(' + _TOKEN + rb') ([!-~\x80-\xff]+) (HTTP/[0-9]\.[0-9])\r\n').fullmatch
_is_field = re.compile(rb'(' + _TOKEN + rb'):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n').fullmatch
_is_chunk = re.compile(
    rb'([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*'
    + _TOKEN
    + rb'(?:[ \t]*=[ \t]*(?:'
    + _TOKEN
    + rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~\x80-\xff])*"))?)*)\r\n'
).fullmatch
_is_length = re.compile(r'[0-9]+', re.ASCII).fullmatch
_is_authority = re.compile(r'https?://([^/?#@]+)(?=[/?]|\Z)', re.IGNORECASE).match


class BadBody(OSError):
    """A body that breaks off, or whose chunks cannot be read."""


# The head ------------------------------------------------------------------------------------------------------------


def read_request_line(line: bytes) -> tuple[str, str, str]:
    """Method, target and version of a request line (RFC 9112 §3).

    :raises Refusal: for anything else.
    """
    match = _is_request_line(line)
    if match is None:
        if len(line) >= LONGEST_LINE:
            raise URITooLong(f'a request line of at most {LONGEST_LINE} bytes')
        raise BadRequest('not a request line of HTTP/1: METHOD, one blank, target, one blank, HTTP/1.1 (RFC 9112 §3)')
    method, target, version = (part.decode('latin-1') for part in match.groups())
    if version[5] != '1':
        raise VersionNotSupported(f'{version} is not spoken here, but HTTP/1.1')
    if target[0] != '/' and not _is_authority(target) and (method, target) != ('OPTIONS', '*'):
        raise BadRequest('the target is neither a path nor a URL of http (RFC 9112 §3.2)')
    return method, target, version


def split_target(target: str) -> tuple[str | None, str]:
    """The authority of a target in absolute form (RFC 9112 §3.2.2), and its path and query."""
    match = _is_authority(target)
    if match is None:
        return None, target
    rest = target[match.end() :]
    return match[1], rest if rest.startswith('/') else f'/{rest}'


def read_fields(rfile: Any) -> list[tuple[str, str]]:
    """The fields to the empty line after them (RFC 9112 §5), of a head or of a trailer section.

    :raises Refusal: for what is no field, or is too long.
    """
    fields: list[tuple[str, str]] = []
    size = 0
    while True:
        line = rfile.readline(MOST_BYTES + 1)
        if line == b'\r\n':
            return fields
        size += len(line)
        if size > MOST_BYTES or len(fields) == MOST_FIELDS:
            raise FieldsTooLarge(f'at most {MOST_FIELDS} fields, of {MOST_BYTES} bytes in all')
        match = _is_field(line)
        if match is None:
            raise BadRequest(_what_is_wrong(line))
        name, value = match.groups()
        fields.append((name.decode('latin-1'), value.strip(b' \t').decode('latin-1')))


def _what_is_wrong(line: bytes) -> str:
    name, colon, value = line.partition(b':')
    if not line.endswith(b'\n'):
        return 'the head broke off'
    if not line.endswith(b'\r\n') or b'\r' in line[:-2]:
        return 'a line of the head ends in CR or LF alone (RFC 9112 §2.2)'
    if line[:1] in b' \t':
        return 'a line of the head begins with a blank: fields are not folded (RFC 9112 §5.2)'
    if not colon:
        return 'a line of the head has no colon (RFC 9112 §5)'
    if name != name.strip():
        return 'there is a blank before the colon of a field (RFC 9112 §5.1)'
    return 'a field has a name that is no token, or a control character in its value (RFC 9110 §5)'


def length_of(fields: Iterable[tuple[str, str]], version: str) -> int:
    """Bytes of the body, or :data:`CHUNKED`; and there is one ``Host`` (RFC 9112 §3.2, §6).

    :raises Refusal: where two servers could tell two different lengths.
    """
    found: dict[str, list[str]] = {'host': [], 'content-length': [], 'transfer-encoding': []}
    for name, value in fields:
        if name.lower() in found:
            found[name.lower()].append(value)
    hosts, lengths, codings = found.values()
    if len(hosts) > 1 or (not hosts and version != 'HTTP/1.0'):
        raise BadRequest('there is one Host in a request (RFC 9112 §3.2)')
    if codings:
        if lengths:
            raise BadRequest('Content-Length beside Transfer-Encoding (RFC 9112 §6.1)')
        if version == 'HTTP/1.0':
            raise BadRequest('HTTP/1.0 has no Transfer-Encoding (RFC 9112 §6.1)')
        if len(codings) > 1 or codings[0].lower() != 'chunked':
            raise BadRequest('the only transfer coding known is chunked, once (RFC 9112 §6.1)')
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1 or not _is_length(lengths[0]):
        raise BadRequest('Content-Length is one number, in digits (RFC 9110 §8.6)')
    if len(lengths[0]) > 18:
        raise TooLarge('a body of that length is taken by nobody')
    return int(lengths[0])


# The body ------------------------------------------------------------------------------------------------------------


class Body(io.BufferedReader):
    """A request's body as PEP 3333 wants it: it ends where the request does.

    :param length: of :func:`length_of`.
    :param agree: called before the first byte is read, where the client waits for that (RFC 9110 §10.1.1).
    """

    def __init__(self, rfile: Any, length: int, agree: Any = None) -> None:
        self._source = _Source(rfile, length, agree)
        super().__init__(self._source, TURN)

    def _discard(self) -> None:
        """pywsgi's seam: it would read to the end, however far away that is."""

    def skip(self) -> bool:
        """Read what the application left; whether that was the end, so that another request can follow."""
        size = 0
        try:
            with gevent.Timeout(SKIPPED_SECONDS, _QUIETLY):
                while not self._source.agree and size <= SKIPPED_BYTES:
                    data = self.read1(TURN)
                    size += len(data)
                    if not data:
                        return True
        except OSError:
            pass
        return self._source.ended


class _Source(io.RawIOBase):
    """The bytes of a body out of a connection's."""

    def __init__(self, rfile: Any, length: int, agree: Any) -> None:
        self._rfile = rfile
        self._chunked = length == CHUNKED
        self._left = max(length, 0)  # of the body, or of the chunk
        self._extensions = MOST_EXTENSIONS
        self._in_turn = 0
        self._broken = False
        self.ended = length == 0
        self.agree = None if self.ended else agree

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.ended:
            return 0
        if self._broken:
            raise BadBody('the body broke off')
        self._broken = True  # until this has gone well: nobody knows where the next byte belongs
        if self.agree is not None:
            agree, self.agree = self.agree, None
            agree()
        if self._chunked and not self._left:
            self._begin_chunk()
        data = self._rfile.read1(min(len(buffer), self._left)) if not self.ended else b''
        if not data and not self.ended:
            raise BadBody('the body broke off')
        buffer[: len(data)] = data
        self._end_piece(len(data))
        self._broken = False
        return len(data)

    def _begin_chunk(self) -> None:
        """RFC 9112 §7.1."""
        line = self._rfile.readline(LONGEST_LINE)
        match = _is_chunk(line)
        if match is None:
            raise BadBody('the head of a chunk cannot be read (RFC 9112 §7.1)' if line else 'the body broke off')
        self._left = int(match[1], 16)
        self._extensions -= len(match[2])
        if self._extensions < 0:
            raise BadBody('the chunk extensions are too long')
        if not self._left:
            try:
                read_fields(self._rfile)  # of the trailer section nothing is used
            except (BadRequest, FieldsTooLarge) as exc:
                raise BadBody(f'after the last chunk: {exc}') from exc
            self.ended = True

    def _end_piece(self, size: int) -> None:
        self._left -= size
        if self._chunked and not self._left and not self.ended and self._rfile.read(2) != b'\r\n':
            raise BadBody('a chunk is longer than it says (RFC 9112 §7.1)')
        if not self._chunked and not self._left:
            self.ended = True
        self._in_turn += size + 64
        if self._in_turn > TURN:  # a gevent socket lets nobody else run while there is something to read
            self._in_turn = 0
            gevent.sleep(0)
