"""Answers to draw: valid ones by RFC 9112 with what must be read, spoilt ones, garbage, and places to cut them."""

from __future__ import annotations

import gzip
import itertools
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import brotli
import hypothesis
from backports import zstd
from hypothesis import strategies as st

from tests.fuzz.reference import Answer, stays

MAX_BYTES, MAX_FIELDS = 65536, 256  # the bounds of a head


def examples(count: int, shrinking: bool = True) -> Any:
    """Settings for so many examples: drawn anew also where CI asks for the same in every run.

    :param shrinking: whether a failing example is made small: not where one may take seconds to fail.
    """
    phases = [hypothesis.Phase.generate, *[hypothesis.Phase.shrink][:shrinking]]
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


class Made(NamedTuple):
    """A valid answer: the method that it answers, what precedes it, its bytes, and what must be read."""

    method: str
    before: bytes
    data: bytes
    expected: Answer

    @property
    def wire(self) -> bytes:
        """All that the server sends."""
        return self.before + self.data


TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=10)
TEXTS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from('\t\x80\x85\xa0\xe9\xff'), max_size=20
).map(lambda text: text.strip(' \t'))
# Names that say nothing about framing, some of which nearly do.
NAMES = TOKENS.map('X-'.__add__) | st.sampled_from(
    [
        'Date',
        'Server',
        'Set-Cookie',
        'ETag',
        'Vary',
        'Via',
        'Content-Type',
        'Link',
        'Age',
        'X-Content-Length',
        'Content-Length-X',
        'X-Transfer-Encoding',
        'X-Connection',
        'Not-Content-Encoding',
        'Trailer',
        'Keep-Alive',
        'x',
        '1',
        '~',
    ]
)
VALUES = TEXTS | st.sampled_from(['chunked', 'close', '5', '0', 'Content-Length: 3', 'HTTP/1.1 200 OK', 'a, b', '"'])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
SPACES = st.sampled_from([' ', ' ', '', '\t', '  ', ' \t '])
REASONS = st.sampled_from(['OK', '', 'Not Found', 'd\xe9j\xe0', '200 OK', 'HTTP/1.1']) | TEXTS
METHODS = st.sampled_from(['GET', 'GET', 'GET', 'POST', 'HEAD'])
STATUSES = st.sampled_from(
    [
        200,
        200,
        200,
        200,
        201,
        202,
        203,
        204,
        205,
        206,
        226,
        299,
        300,
        301,
        304,
        304,
        307,
        400,
        401,
        404,
        407,
        418,
        429,
        451,
        500,
        502,
        503,
        599,
        600,
        999,
    ]
)
CONNECTIONS = st.sampled_from(
    [
        (),
        (),
        (),
        ('close',),
        ('keep-alive',),
        ('Close',),
        ('KEEP-ALIVE',),
        ('foo, close',),
        ('closed',),
        ('closet, x',),
        ('keep-alive, close',),
        ('x', 'close'),
        ('x',),
        ('upgrade',),
        ('Upgrade, Keep-Alive',),
        ('close,',),
        ('keep-alive , x',),
        (', keep-alive',),
        ('',),
    ]
)
QUOTED = st.text(' \t!#;=,az\xe9', max_size=5).map(lambda text: f'"{text}"') | st.just('"\\"\\\\;"')
BLANKS = st.sampled_from(['', '', '', ' ', '\t', ' \t '])
EXTENSIONS = st.lists(st.tuples(BLANKS, BLANKS, TOKENS, BLANKS, BLANKS, st.none() | TOKENS | QUOTED), max_size=2).map(
    lambda found: ''.join(
        f'{a};{b}{name}' if value is None else f'{a};{b}{name}{c}={d}{value}' for a, b, name, c, d, value in found
    )
)
#: Between the words of a value that is folded.
FOLD = st.sampled_from([' '] * 12 + ['\r\n ', '\r\n\t', ' \r\n  ', '\t\r\n \t'])
BODIES = (
    st.binary(max_size=60)
    | st.builds(
        lambda piece, times: piece * times, st.binary(min_size=1, max_size=20), st.sampled_from([10, 100, 1000, 4000])
    )
    | st.sampled_from([b'', b'\r\n', b'\r\n\r\n', b'0\r\n\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'])
)
BETWEEN_WORDS = re.compile(r'(?<=[^ \t]) (?=[^ \t])').sub
CUTS = st.lists(st.integers(0, 100_000), max_size=12) | st.sampled_from([[], [1], ['each']])


def lines_of(fields: list[tuple[str, str]], space: str, fold: str = ' ') -> str:
    """The lines of a head.

    :param fold: what stands in the place of a blank between two words of a value.
    """
    return ''.join(f'{name}:{space}{BETWEEN_WORDS(fold, value)}{space}\r\n' for name, value in fields)


@st.composite
def informational(draw: Any) -> bytes:
    """A 1xx that may precede an answer."""
    status = draw(st.sampled_from([100, 100, 102, 103, 104, 199]))
    fields = draw(FIELDS) + [('Connection', value) for value in draw(CONNECTIONS)]
    minor = draw(st.sampled_from([1, 1, 1, 0]))
    lines = lines_of(fields, ' ', draw(FOLD))
    return f'HTTP/1.{minor} {status} {draw(REASONS)}\r\n{lines}\r\n'.encode('latin-1')


@st.composite
def chunked(draw: Any, body: bytes) -> bytes:
    """A body in chunks with random borders, extensions and trailers."""
    sizes = itertools.cycle(draw(st.lists(st.integers(1, 5000) | st.integers(1, 20), min_size=1, max_size=4)))
    extensions = itertools.cycle(draw(st.lists(EXTENSIONS, min_size=1, max_size=3)))
    style = draw(st.sampled_from(['%x', '%X', '00%x', '%08X']))
    sent, at = [], 0
    while at < len(body):
        # A hundred chunks a body are enough.
        piece = body[at : at + max(next(sizes), len(body) // 100)]
        sent.append(f'{style % len(piece)}{next(extensions)}\r\n'.encode('latin-1') + piece + b'\r\n')
        at += len(piece)
    last = draw(st.sampled_from(['0', '000'])) + next(extensions) + '\r\n'
    trailers = lines_of(draw(FIELDS), draw(SPACES), draw(FOLD))
    return b''.join(sent) + f'{last}{trailers}\r\n'.encode('latin-1')


@st.composite
def answers(draw: Any, bodies: Any = BODIES, coding: str | None = None, large: bool = True) -> Made:
    """An answer, valid by RFC 9112.

    :param coding: what its Content-Encoding says of the bodies.
    :param large: whether its head may be as large as its bounds.
    """
    method, status, reason, body = draw(METHODS), draw(STATUSES), draw(REASONS), draw(bodies)
    fields = draw(FIELDS) + [('Connection', value) for value in draw(CONNECTIONS)]
    fields += draw(
        st.sampled_from(
            [[]] * 16 + [[('Upgrade', 'h2c')], [('Proxy-Connection', 'close')], [('Proxy-Connection', 'keep-alive')]]
        )
    )
    if coding is not None:
        fields.append(('Content-Encoding', coding))
    framing = draw(st.sampled_from(['length', 'length', 'chunked', 'chunked', 'end']))
    minor = draw(st.sampled_from([1, 1, 1, 0]))
    if status == 204 or (framing == 'chunked' and minor == 0):
        framing = 'end'  # RFC 9110 §8.6, RFC 9112 §6.1
    if framing == 'length':
        zeros = draw(st.sampled_from(['', '', '00']))
        fields.append((draw(st.sampled_from(['Content-Length', 'content-LENGTH'])), f'{zeros}{len(body)}'))
    elif framing == 'chunked':
        fields.append(
            (
                draw(st.sampled_from(['Transfer-Encoding', 'TRANSFER-encoding'])),
                draw(st.sampled_from(['chunked'] * 4 + ['Chunked', ',chunked', 'chunked,', ', chunked ,,'])),
            )
        )
    fields = draw(st.permutations(fields))
    space, fold = draw(SPACES), draw(FOLD)
    first = f'HTTP/1.{minor} {status} {reason}\r\n'
    if large:
        swollen(draw, first, fields, space, fold)
    sent = draw(chunked(body)) if framing == 'chunked' else body
    bodiless = method == 'HEAD' or status in (204, 304)
    if bodiless:
        sent = body = b''
    head = f'{first}{lines_of(fields, space, fold)}\r\n'.encode('latin-1')
    ends = None if framing == 'end' and not bodiless else len(head + sent)
    keeps = stays(minor, fields) and ends is not None
    before = b''.join(draw(st.lists(informational() | st.just(b'\r\n'), max_size=3))) if draw(st.booleans()) else b''
    return Made(method, before, head + sent, Answer(status, reason.strip(), fields, body, keeps, ends))


def swollen(draw: Any, first: str, fields: list[tuple[str, str]], space: str, fold: str) -> None:
    """Sometimes bring the head to its bound, in bytes or in fields, or just below."""
    how = draw(st.sampled_from([None] * 16 + ['bytes', 'fields']))
    if how == 'fields':
        fields += [('X', 'y')] * (MAX_FIELDS - len(fields) - draw(st.integers(0, 1)))
    elif how == 'bytes':
        # The last CR LF CR LF is not counted: that of the last field, and the empty line.
        used = len(first) + len(lines_of([*fields, ('X', '')], space, fold)) - 2
        fields.append(('X', 'y' * (MAX_BYTES - used - draw(st.integers(0, 1)))))


# Content codings -----------------------------------------------------------------------------------------------------


def gz(data: bytes, level: int) -> bytes:
    """gzip (RFC 1952), now and then with all that its header may hold."""
    packed = gzip.compress(data, level, mtime=0)
    if level != 2:
        return packed
    head = b'\x1f\x8b\x08\x1e' + packed[4:10] + b'\x03\x00abc' + b'name\0' + b'comment\0'
    return head + struct.pack('<H', zlib.crc32(head) & 0xFFFF) + packed[10:]


def bare(data: bytes, level: int) -> bytes:
    """Deflate without the wrapper of zlib, as some servers send it; flushed half-way."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data[:100]) + packer.flush(zlib.Z_SYNC_FLUSH) + packer.compress(data[100:]) + packer.flush()


def br(data: bytes, level: int) -> bytes:
    """Brotli (RFC 7932)."""
    packed: bytes = brotli.compress(data, quality=level, lgwin=10 + level)
    return packed


def zst(data: bytes, level: int) -> bytes:
    """Zstandard (RFC 8878), with a checksum."""
    packed: bytes = zstd.compress(
        data, options={zstd.CompressionParameter.checksum_flag: 1, zstd.CompressionParameter.compression_level: level}
    )
    return packed


class Coding(NamedTuple):
    """A content coding: its name, what packs for it, whether it notices what is spoilt, whether it may be repeated."""

    name: str
    pack: Callable[[bytes, int], bytes]
    checked: bool
    members: bool


# A spoilt wrapper of zlib's may pass for none, so neither kind of deflate is sure to notice.
CODINGS = [
    Coding('gzip', gz, True, True),
    Coding('x-gzip', gz, True, True),
    Coding('zstd', zst, True, True),
    Coding('deflate', zlib.compress, False, False),
    Coding('deflate', bare, False, False),
    Coding('br', br, False, False),
]
LEVELS = st.integers(1, 9)
PLAIN = (
    st.binary(max_size=200)
    | st.builds(
        lambda piece, times: piece * times, st.binary(min_size=1, max_size=40), st.sampled_from([3, 100, 5000, 30_000])
    )
    | st.builds(
        lambda seed, size: random.Random(seed).randbytes(size).hex().encode(),
        st.integers(),
        st.sampled_from([100, 5000, 70_000, 500_000]),
    )
)


@st.composite
def packed(draw: Any) -> tuple[str, bytes, bytes]:
    """A Content-Encoding, a body as it is on the wire, and what it stands for."""
    plain = draw(PLAIN)
    data, names = plain, []
    for coding in draw(st.lists(st.sampled_from(CODINGS), min_size=1, max_size=3)):
        data = pack(coding, data, draw(LEVELS), draw(st.lists(st.integers(0, 100_000), max_size=3)))
        names.append(draw(st.sampled_from([coding.name, coding.name.upper()])))
    return draw(st.sampled_from([',', ', '])).join(names), data, plain


def pack(coding: Coding, data: bytes, level: int, cuts: list[int]) -> bytes:
    """Packed whole, or in several members where the coding has them."""
    if not coding.members or not data:
        return coding.pack(data, level)
    return b''.join(coding.pack(piece, level) for piece in in_pieces(data, cuts))


@st.composite
def coded(draw: Any) -> Made:
    """A valid answer whose body is packed; what is expected of it is the plain one, but of a part."""
    coding, data, plain = draw(packed())
    made: Made = draw(answers(st.just(data), coding, large=False))
    if made.expected.status == 206:  # a part of the coded bytes, which is as it came
        return made
    return made._replace(expected=made.expected._replace(body=plain if made.expected.body else b''))


# What is no valid answer ---------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        b'HTTP/1.1 200 OK\r\n',
        b'HTTP/1.0 404 \r\n',
        b'HTTP/1.1 100 C\r\n\r\n',
        b'HTTP/1.1 101 S\r\n',
        b'HTTP/1.1 204 N\r\n',
        b'HTTP/1.1 304 N\r\n',
        b'HTTP/1.1 103 E\r\nLink: x\r\n\r\n',
        b'HTTP/2 200\r\n',
        b'\r\n',
        b'\n',
        b'\r',
        b'\r\n\r\n',
        b' ',
        b'\t',
        b'\0',
        b':',
        b';',
        b',',
        b'"',
        b'\x7f',
        b'\x80',
        b'Content-Length: 5\r\n',
        b'Content-Length: 0\r\n',
        b'Content-Length: 5, 5\r\n',
        b'Content-Length: +5\r\n',
        b'content-length:5\r\n',
        b'Content-Length : 5\r\n',
        b'Content-Length: 18446744073709551616\r\n',
        b'Transfer-Encoding: chunked\r\n',
        b'Transfer-Encoding: gzip\r\n',
        b'Transfer-Encoding: gzip, chunked\r\n',
        b'Transfer-Encoding: identity\r\n',
        b'Transfer-Encoding:\r\n',
        b'Transfer-Encoding: chunked, chunked\r\n',
        b'Connection: close\r\n',
        b'Connection: keep-alive\r\n',
        b'Connection: upgrade\r\nUpgrade: x\r\n',
        b'Content-Encoding: gzip\r\n',
        b'Content-Encoding: identity\r\n',
        b'hello',
        b'5\r\nhello\r\n',
        b'0\r\n\r\n',
        b'0\r\n',
        b'5\r\n',
        b'5;a=b\r\n',
        b'5 \r\n',
        b'0x5\r\n',
        b'-1\r\n',
        b'ffffffffffffffffff\r\n',
        b'00000000000000005\r\n',
        b'5 ;a=b\r\n',
        b'5;a = "b" ;c\r\n',
        b'5; \r\n',
        b'5;a \r\n',
        b'Transfer-Encoding: ,chunked\t\r\n',
        b'Transfer-Encoding: chunked,\r\n',
        b'Transfer-Encoding:\r\n chunked\r\n',
        b'Connection: x,\r\n\tclose\r\n',
        b'Content-Length:\r\n 5\r\n',
        b'A: b\r\n c\r\n',
        b'A: b\r\n \r\n',
        b'HTTP/1.1 600 X\r\n',
        b'HTTP/1.1 099 X\r\n',
        b'HTTP/1.1 103 E\r\nLink: x\r\n y\r\n\r\n',
        b'A: b\r\n',
        b' c\r\n',
        b'A\r\n',
        b': b\r\n',
        b'HTTP/',
        b'HTTP/1.1 ',
        b'ICY 200 OK\r\n',
    ]
)
GARBAGE = st.lists(PIECES | st.binary(max_size=5), max_size=14).map(b''.join)
BEGUN = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(
        [
            b'HTTP/1.1 200 OK\r\n',
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n',
            b'HTTP/1.0 200 OK\r\n',
            b'HTTP/1.1 200 OK\r\n\r\n',
        ]
    ),
    GARBAGE,
)


@st.composite
def spoilt(draw: Any) -> tuple[bytes, str]:
    """A valid answer with one to three things done to it, and its method."""
    made = draw(answers(large=False))
    data = made.wire
    for _ in range(draw(st.integers(1, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1) | st.integers(0, min(len(data) - 1, 120)))
        size = draw(st.integers(1, 4))
        start, end = data[:at], data[at:]
        how = draw(st.sampled_from(['flip', 'delete', 'double', 'insert', 'replace', 'cut', 'swap']))
        if how == 'flip':
            end = bytes([end[0] ^ 1 << draw(st.integers(0, 7))]) + end[1:]
        elif how == 'delete':
            end = end[size:]
        elif how == 'double':
            end = end[: size * 10] + end
        elif how in ('insert', 'replace'):
            end = draw(PIECES | st.binary(min_size=1, max_size=3)) + end[size if how == 'replace' else 0 :]
        elif how == 'cut':
            end = b''
        else:
            line = start.rfind(b'\n') + 1
            start, end = start[:line] + end[:size], start[line:] + end[size:]
        data = start + end
    return data, made.method


def in_pieces(data: bytes, cuts: list[Any]) -> list[bytes]:
    """The bytes, cut at these places; of 'each' byte by byte, where they are few."""
    if not data:
        return []
    if cuts == ['each']:
        cuts = list(range(1, len(data), max(len(data) // 2000, 1)))
    edges = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]
