"""A second reader of answers, strict and simple, straight from the grammar of RFC 9112: what ours is held against.

It wants all bytes at once and minds no cost. Where the RFC, or a decision of ours, leaves open whether something may
be accepted, the answer is `doubtful`: ours may refuse it, but if it reads an answer, it must be this one.
Imports nothing of napixclient.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINE = rb'%b:[^\r\n\0]*\r\n(?:[ \t]+[^ \t\r\n\0][^\r\n\0]*\r\n)*' % TOKEN  # with folds (RFC 9112 §5.2)
HEAD = re.compile(rb'HTTP/1\.([01]) ([1-9][0-9][0-9])(?:( [^\r\n\0]*))?\r\n((?:%b)*)\r\n' % LINE)
FIELDS = re.compile(rb'((?:%b)*)\r\n' % LINE)
CONTROL = re.compile(rb'[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]')  # discouraged in reasons and values, and harmless
FRAMING = re.compile(
    rb'^(?:proxy-connection|connection|content-length|transfer-encoding|upgrade):', re.IGNORECASE | re.MULTILINE
)  # no trailer may be one of these (RFC 9110 §6.5.1)
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
EXTENSION = rb'[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?' % (TOKEN, TOKEN, QUOTED)
CHUNK = re.compile(rb'([0-9A-Fa-f]+)((?:%b)*)\r\n' % EXTENSION)
LAX_CHUNK = re.compile(rb'([0-9A-Fa-f]+)([ \t]*;[^\r\n]*)?\r\n')
MAX_INFORMATIONAL = 20


class Answer(NamedTuple):
    """What an answer says."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes
    keeps: bool  # whether it leaves the connection open, nothing behind it
    ends: int | None  # where it ends in the bytes, None where only the connection's end ends it
    doubtful: bool = False


class Refused(Exception):
    """No answer."""


class Short(Refused):
    """A right beginning of an answer, whose end did not come."""


class ShortBody(Short):
    """Whose head is whole."""


def read(data: bytes, method: str) -> Answer:
    """The answer that these bytes are, after which the server closes.

    :raises Refused: when they are none.
    """
    at, doubtful = 0, False
    for _ in range(MAX_INFORMATIONAL + 1):
        skipped = len(data[at:]) - len(data[at:].lstrip(b'\r\n'))
        at, doubtful = at + skipped, doubtful or skipped > 0
        head = HEAD.match(data, at)
        if head is None:
            raise Refused('no head')
        status = int(head[2])
        doubtful = doubtful or head[3] is None or CONTROL.search(head[0]) is not None
        fields = fields_of(head[4])
        at = head.end()
        if status == 101:
            raise Refused('101')
        if status >= 200:
            break
        doubtful = doubtful or bool(values(fields, 'content-length') or values(fields, 'transfer-encoding'))
    else:
        raise Refused('too many 1xx')
    keeps = stays(int(head[1]), fields)
    try:
        body, ends, doubts = framed(data, at, method, status, int(head[1]), fields)
    except ShortBody as exc:
        if doubtful:
            raise Refused('doubtful, and short') from exc
        raise
    if ends is None or (head[1] == b'0' and values(fields, 'transfer-encoding')):
        keeps = False
    reason = (head[3] or b'').decode('latin-1').strip()
    return Answer(status, reason, fields, body, keeps, ends, doubtful or doubts)


def framed(
    data: bytes, at: int, method: str, status: int, minor: int, fields: list[tuple[str, str]]
) -> tuple[bytes, int | None, bool]:
    """The body, where it ends, and whether there is doubt (RFC 9112 §6.3)."""
    codings, lengths = values(fields, 'transfer-encoding'), values(fields, 'content-length')
    if method == 'HEAD' or status in (204, 304):
        plain = not codings or (elements(codings) == ['chunked'] and status != 204)
        doubtful = len(lengths) > 1 or not all(re.fullmatch('[0-9]{1,18}', length) for length in lengths)
        return b'', at, not plain or doubtful
    if codings:
        if lengths or elements(codings) != ['chunked']:
            raise Refused('an unknown or contradictory Transfer-Encoding')
        body, at, doubts = chunks(data, at)
        return body, at, doubts or minor == 0 or '' in codings
    if lengths:
        if not re.fullmatch('[0-9]+', lengths[0]) or len(set(lengths)) > 1:
            raise Refused('a bad Content-Length')
        size = int(lengths[0][:30])
        doubtful = len(lengths) > 1 or len(lengths[0]) > 18
        if len(data) < at + size:
            raise (Refused if doubtful else ShortBody)('Content-Length')
        return data[at : at + size], at + size, doubtful
    return data[at:], None, False


def chunks(data: bytes, at: int) -> tuple[bytes, int, bool]:
    """A chunked body (RFC 9112 §7.1), where it ends, and whether there is doubt."""
    body, doubtful = b'', False
    while True:
        line = CHUNK.match(data, at)
        if line is None:
            line, doubtful = LAX_CHUNK.match(data, at), True
        if line is None:
            raise (Refused if b'\n' in data[at:] else Short)('a chunk size')
        size, at = int(line[1], 16), line.end()
        doubtful = doubtful or len(line[1]) > 15
        if size == 0:
            trailers = FIELDS.match(data, at)
            if trailers is None:
                raise (Refused if b'\r\n\r\n' in data[at - 2 :] else Short)('trailers')
            doubtful = doubtful or bool(CONTROL.search(trailers[0]) or FRAMING.search(trailers[0]))
            return body, trailers.end(), doubtful
        if data[at + size : at + size + 2] != b'\r\n':
            raise (Refused if len(data) >= at + size + 2 else Short)('the end of a chunk')
        body += data[at : at + size]
        at += size + 2


def elements(values: list[str]) -> list[str]:
    """The elements of lists, in lower case, without the empty ones (RFC 9110 §5.6.1.2)."""
    found = [element.strip(' \t').lower() for value in values for element in value.split(',')]
    return [element for element in found if element]


def fields_of(block: bytes) -> list[tuple[str, str]]:
    """Name and value of each field; what is folded has a blank there."""
    block = re.sub(rb'[ \t]*\r\n[ \t]+', b' ', block)
    pairs = (line.partition(':') for line in block.decode('latin-1').split('\r\n')[:-1])
    return [(name, value.strip(' \t')) for name, _, value in pairs]


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    """The values of all fields of that name."""
    return [value for known, value in fields if known.lower() == name]


def stays(minor: int, fields: list[tuple[str, str]]) -> bool:
    """Whether the connection outlives the answer (RFC 9112 §9.3); the old Proxy-Connection is heeded like the new."""
    said = {
        token.strip(' \t').lower()
        for name in ('connection', 'proxy-connection')
        for value in values(fields, name)
        for token in value.split(',')
    }
    return 'close' not in said and (minor == 1 or 'keep-alive' in said)
