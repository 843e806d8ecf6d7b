"""Bytes and messages: what a request looks like on the wire, and what an answer is, however its bytes are cut."""

from __future__ import annotations

import http.client
import io
import itertools
import random
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient import BodyTooLarge, Client, Headers, InvalidResponse, ProtocolError, Request, TruncatedBody
from napixclient._http.http1.parser import ResponseParser
from napixclient._http.http1.sized import RECORD, PlacedBody
from napixclient._http.http1.writer import RequestWriter
from napixclient._http.settings import Settings
from tests import kit

MAX_BYTES, MAX_FIELDS = 65536, 256


# Reading: how --------------------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """What came of some bytes: an answer, or the kind of the error."""

    status: int | None = None
    head: bytes | None = None
    body: bytes = b''
    reusable: bool = False
    coding: str | None = None
    error: type[ProtocolError] | None = None


def new_parser() -> ResponseParser:
    """With the bounds of the defaults."""
    return ResponseParser(MAX_BYTES, MAX_FIELDS)


def read(
    data: bytes,
    method: str = 'GET',
    cuts: Iterable[int] = (),
    max_body: int | None = None,
    parser: ResponseParser | None = None,
) -> Read:
    """Read an answer that comes in pieces; the server closes after the last."""
    parser = parser or new_parser()
    parser.begin(method, max_body)
    edges = [0, *cuts, len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            if end > start and parser.feed(data[start:end]):
                break
        else:
            parser.eof()
    except ProtocolError as exc:
        return Read(error=type(exc))
    assert parser.complete
    return Read(parser.status, parser.head, parser.take_body(), parser.reusable, parser.coding)


def all_cuts(data: bytes) -> list[Sequence[int]]:
    """In one piece, in two at every place, byte by byte, and in pieces of two and three."""
    size = len(data)
    return [(), *((at,) for at in range(1, size)), *(range(step, size, step) for step in (1, 2, 3))]


def answer(*fields: str, body: bytes = b'', first: str = 'HTTP/1.1 200 OK') -> bytes:
    """The bytes of an answer with just these fields."""
    return '\r\n'.join([first, *fields, '', '']).encode('latin-1') + body


def chunked(body: bytes, *fields: str) -> bytes:
    """A chunked answer; the body is given as it stands on the wire."""
    return answer('Transfer-Encoding: chunked', *fields, body=body)


# Reading: the table --------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """An answer that is right: its bytes, and what must be read."""

    data: bytes
    status: int
    body: bytes
    reusable: bool = True
    method: str = 'GET'


EARLY = answer('Link: </a.css>', first='HTTP/1.1 103 Early Hints')
CONTINUE = answer(first='HTTP/1.1 100 Continue')
PROCESSING = answer(first='HTTP/1.1 102 Processing')
PLAIN = answer('Content-Length: 6', body=b'000001')
ROWS = {
    'length': Row(PLAIN, 200, b'000001'),
    'length 0': Row(answer('Content-Length: 0'), 200, b''),
    'length with zeros and spaces': Row(answer('Content-Length: \t006 ', body=b'000001'), 200, b'000001'),
    'no reason': Row(answer('Content-Length: 1', body=b'x', first='HTTP/1.1 200 '), 200, b'x'),
    'no space behind the status': Row(answer('Content-Length: 1', body=b'x', first='HTTP/1.1 200'), 200, b'x'),
    'latin-1 in the head': Row(answer('A: \xe9\xff', 'Content-Length: 0', first='HTTP/1.1 200 d\xe9j\xe0'), 200, b''),
    'no fields but one': Row(answer('content-LENGTH:1', body=b'x'), 200, b'x'),
    'body that looks like an answer': Row(answer(f'Content-Length: {len(PLAIN)}', body=PLAIN), 200, PLAIN),
    'body that looks like the end of a head': Row(
        answer('Content-Length: 8', body=b'\r\n\r\n\r\n\r\n'), 200, b'\r\n\r\n\r\n\r\n'
    ),
    'status 599': Row(answer('Content-Length: 0', first='HTTP/1.1 599 X'), 599, b''),
    'upgrade offered': Row(
        answer('Connection: Upgrade, Keep-Alive', 'Upgrade: h2,h2c', 'Content-Length: 1', body=b'x'), 200, b'x'
    ),
    'empty lines first': Row(b'\r\n\r\n' + PLAIN, 200, b'000001'),
    'chunked': Row(chunked(b'3\r\nabc\r\n0\r\n\r\n'), 200, b'abc'),
    'chunked, empty': Row(chunked(b'0\r\n\r\n'), 200, b''),
    'chunked, many': Row(chunked(b'1\r\na\r\n' * 30 + b'000\r\n\r\n'), 200, b'a' * 30),
    'chunked, case and zeros': Row(
        chunked(b'0000A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n'), 200, b'0123456789' * 2
    ),
    'chunked, extensions': Row(chunked(b'3;a=b;c="d"\r\nabc\r\n0;last\r\n\r\n'), 200, b'abc'),
    'chunked, trailers': Row(chunked(b'3\r\nabc\r\n0\r\nA: b\r\nX-Sum: 9\r\n\r\n'), 200, b'abc'),
    'chunked, CRLF inside': Row(chunked(b'7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n'), 200, b'\r\n0\r\n\r\n'),
    'chunked, upper case': Row(answer('TRANSFER-ENCODING: CHUNKED', body=b'1\r\nx\r\n0\r\n\r\n'), 200, b'x'),
    'until the end': Row(answer(body=b'abc'), 200, b'abc', False),
    'until the end, empty': Row(answer(), 200, b'', False),
    'until the end, keep-alive': Row(answer('Connection: keep-alive', body=b'abc'), 200, b'abc', False),
    '1.0': Row(answer('Content-Length: 1', body=b'x', first='HTTP/1.0 200 OK'), 200, b'x', False),
    '1.0 keep-alive': Row(
        answer('Content-Length: 1', 'Connection: Keep-Alive', body=b'x', first='HTTP/1.0 200 OK'), 200, b'x'
    ),
    '1.0 until the end': Row(answer(body=b'x', first='HTTP/1.0 200 OK'), 200, b'x', False),
    '1.0 chunked': Row(
        answer(
            'Transfer-Encoding: chunked', 'Connection: keep-alive', body=b'1\r\nx\r\n0\r\n\r\n', first='HTTP/1.0 200 OK'
        ),
        200,
        b'x',
        False,
    ),
    'close': Row(answer('Content-Length: 1', 'Connection: close', body=b'x'), 200, b'x', False),
    'Close among others': Row(answer('Content-Length: 1', 'Connection: foo, Close', body=b'x'), 200, b'x', False),
    'close in a second field': Row(
        answer('Content-Length: 1', 'Connection: foo', 'connection: close', body=b'x'), 200, b'x', False
    ),
    'close against keep-alive': Row(answer('Connection: keep-alive, close', 'Content-Length: 0'), 200, b'', False),
    '1.0 close against keep-alive': Row(
        answer('Connection: keep-alive, close', 'Content-Length: 0', first='HTTP/1.0 200 OK'), 200, b'', False
    ),
    'not quite close': Row(answer('Connection: closed', 'Content-Length: 0'), 200, b''),
    '204': Row(answer(first='HTTP/1.1 204 No Content'), 204, b''),
    '204 with a length': Row(answer('Content-Length: 5', first='HTTP/1.1 204 No Content'), 204, b''),
    '304': Row(answer('ETag: "x"', first='HTTP/1.1 304 Not Modified'), 304, b''),
    '304 with a length': Row(answer('Content-Length: 5', first='HTTP/1.1 304 Not Modified'), 304, b''),
    '304 chunked': Row(answer('Transfer-Encoding: chunked', first='HTTP/1.1 304 Not Modified'), 304, b''),
    'HEAD with a length': Row(answer('Content-Length: 5'), 200, b'', method='HEAD'),
    'HEAD with length 0': Row(answer('Content-Length: 0'), 200, b'', method='HEAD'),
    'HEAD chunked': Row(answer('Transfer-Encoding: chunked'), 200, b'', method='HEAD'),
    'HEAD without either': Row(answer(), 200, b'', method='HEAD'),
    'HEAD packed': Row(answer('Content-Encoding: gzip', 'Content-Length: 5'), 200, b'', method='HEAD'),
    'HEAD close': Row(answer('Content-Length: 5', 'Connection: close'), 200, b'', False, 'HEAD'),
    'HEAD 1.0': Row(answer('Content-Length: 5', first='HTTP/1.0 200 OK'), 200, b'', False, 'HEAD'),
    'HEAD 404': Row(answer('Content-Length: 5', first='HTTP/1.1 404 X'), 404, b'', method='HEAD'),
    'HEAD after 103': Row(EARLY + answer('Content-Length: 5'), 200, b'', method='HEAD'),
    '100': Row(CONTINUE + PLAIN, 200, b'000001'),
    '102': Row(PROCESSING + PLAIN, 200, b'000001'),
    '103': Row(EARLY + PLAIN, 200, b'000001'),
    '103 with a length': Row(answer('Content-Length: 5', first='HTTP/1.1 103 X') + PLAIN, 200, b'000001'),
    'many 1xx': Row(EARLY * 10 + CONTINUE * 10 + PLAIN, 200, b'000001'),
    '1xx before chunks': Row(CONTINUE + chunked(b'3\r\nabc\r\n0\r\n\r\n'), 200, b'abc'),
    '1xx before 204': Row(CONTINUE + answer(first='HTTP/1.1 204 X'), 204, b''),
    '1xx before a body until the end': Row(EARLY + answer(body=b'abc'), 200, b'abc', False),
    '1xx that says close': Row(answer('Connection: close', first='HTTP/1.1 100 X') + EARLY + PLAIN, 200, b'000001'),
    '1xx of HTTP/1.0': Row(answer(first='HTTP/1.0 100 Continue') * 2 + PLAIN, 200, b'000001'),
    '1xx that says close before HEAD': Row(
        answer('Connection: close', first='HTTP/1.1 100 X') + answer('Content-Length: 5'), 200, b'', method='HEAD'
    ),
    '1xx between empty lines': Row(b'\r\n' + CONTINUE + b'\r\n' + PLAIN, 200, b'000001'),
    # folded fields (RFC 9112 §5.2)
    'folded': Row(answer('A: b', ' c', 'Content-Length: 6', body=b'000001'), 200, b'000001'),
    'folded by a tab, over three lines': Row(answer('A: b \t', '\t c', ' \t d', 'Content-Length: 0'), 200, b''),
    'folded, last of the head': Row(answer('Content-Length: 1', 'A: b', ' c', body=b'x'), 200, b'x'),
    'folded length': Row(answer('Content-Length:', ' 6', body=b'000001'), 200, b'000001'),
    'folded transfer coding': Row(answer('Transfer-Encoding: ', '\tchunked', body=b'1\r\nx\r\n0\r\n\r\n'), 200, b'x'),
    'folded close': Row(answer('Connection: x,', ' close', 'Content-Length: 0'), 200, b'', False),
    'folded, chunked': Row(chunked(b'3\r\nabc\r\n0\r\n\r\n', 'A: b', ' c'), 200, b'abc'),
    'folded, until the end': Row(answer('A: b', ' c', body=b'abc'), 200, b'abc', False),
    'folded, until the end, empty': Row(answer('A: b', ' c'), 200, b'', False),
    'folded length that is none': Row(answer('A: b', ' Content-Length: 5', 'Content-Length: 1', body=b'x'), 200, b'x'),
    'folded 204': Row(answer('A: b', ' c', first='HTTP/1.1 204 X'), 204, b''),
    'folded 304': Row(answer('A: b', ' c', 'Content-Length: 5', first='HTTP/1.1 304 X'), 304, b''),
    'folded 1.0': Row(answer('A: b', ' c', 'Content-Length: 1', body=b'x', first='HTTP/1.0 200 OK'), 200, b'x', False),
    'folded HEAD': Row(answer('A: b', ' c', 'Content-Length: 5'), 200, b'', method='HEAD'),
    'folded HEAD that says close': Row(answer('Connection:', ' close'), 200, b'', False, 'HEAD'),
    'folded 1xx': Row(answer('Link: <a>,', ' <b>', first='HTTP/1.1 103 X') * 2 + PLAIN, 200, b'000001'),
    'folded 1xx, folded answer': Row(
        answer('Link: <a>,', ' <b>', first='HTTP/1.1 103 X')
        + EARLY
        + answer('A: b', ' c', 'Content-Length: 1', body=b'x'),
        200,
        b'x',
    ),
    'folded 1xx before HEAD': Row(
        answer('Link: <a>,', ' <b>', first='HTTP/1.1 103 X') + answer('Content-Length: 5'), 200, b'', method='HEAD'
    ),
    '1xx that says close, folded answer': Row(
        answer('Connection: close', first='HTTP/1.1 100 X') + answer('A: b', ' c', 'Content-Length: 1', body=b'x'),
        200,
        b'x',
    ),
    'folded trailers': Row(chunked(b'3\r\nabc\r\n0\r\nA: b\r\n \tc\r\nD: e\r\n\r\n'), 200, b'abc'),
    # white space in chunk extensions (RFC 9112 §7.1.1); empty elements, tabs around chunked (RFC 9110 §5.5, §5.6.1.2)
    **{
        f'chunk extensions {text!r}': Row(chunked(b'3%b\r\nabc\r\n0%b\r\n\r\n' % (text, text)), 200, b'abc')
        for text in (
            b' ;a=b',
            b'; a=b',
            b';a =b',
            b';a= b',
            b'\t;\ta\t=\tb',
            b' ; a = "b ; c" ; d ;e',
            b';a="\\";\t"',
            b' ;a;b ;c="\xff"',
            b';a=b' * 20,
        )
    },
    'chunk extensions that differ': Row(chunked(b'1;a\r\na\r\n1 ;b\r\nb\r\n1\r\nc\r\n0;d\r\n\r\n'), 200, b'abc'),
    'chunks of one size, and another between': Row(
        chunked(b'02\r\nab\r\n02\r\ncd\r\n2;a\r\nef\r\n2;a\r\ngh\r\n20\r\n%b\r\n02\r\nij\r\n0\r\n\r\n' % (b'x' * 32)),
        200,
        b'abcdefgh' + b'x' * 32 + b'ij',
    ),
    'chunks of many sizes': Row(
        chunked(
            b''.join(b'%x\r\n%b\r\n' % (size, b'x' * size) for size in (1, 1, 2, 15, 10, 16, 1, 17, 3))
            + b'F\r\n'
            + b'\r\n1\r\n' * 2
            + b'a\r\n\r\n\r\n2;a\r\nxx\r\n0\r\n\r\n'
        ),
        200,
        b'x' * 66 + b'\r\n1\r\n' * 2 + b'a\r\n\r\nxx',
    ),
    **{
        f'transfer coding {coding!r}': Row(
            answer(f'Transfer-Encoding:{coding}', body=b'3\r\nabc\r\n0\r\n\r\n'), 200, b'abc'
        )
        for coding in (
            'chunked\t',
            ' chunked \t ',
            ',chunked',
            ', chunked',
            'chunked,',
            ' , chunked , ',
            '\t,,CHUNKED\t,\t,',
        )
    },
    'empty transfer coding beside chunked': Row(
        answer('Transfer-Encoding: ,', 'Transfer-Encoding: chunked', body=b'3\r\nabc\r\n0\r\n\r\n'), 200, b'abc'
    ),
    'transfer coding, extensions and folds': Row(
        answer('Transfer-Encoding: ,', ' chunked', ' ,', body=b'3 ;a\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n'), 200, b'abc'
    ),
    'HEAD with an odd transfer coding': Row(answer('Transfer-Encoding: chunked\t,'), 200, b'', method='HEAD'),
    # statuses beyond 5xx (RFC 9110 §15)
    'status 600': Row(answer('Content-Length: 1', first='HTTP/1.1 600 X', body=b'x'), 600, b'x'),
    'status 999': Row(answer('Content-Length: 0', first='HTTP/1.1 999 Request denied'), 999, b''),
    'status 700 of HEAD': Row(answer('Content-Length: 5', first='HTTP/1.1 700 X'), 700, b'', method='HEAD'),
}


@pytest.mark.parametrize('name', ROWS)
def test_answers(name: str) -> None:
    """An answer is read the same however its bytes are cut."""
    row = ROWS[name]
    for cuts in all_cuts(row.data):
        got = read(row.data, row.method, cuts)
        assert (got.error, got.status, got.body, got.reusable) == (None, row.status, row.body, row.reusable), cuts
        assert got.head is not None and got.head.startswith(b'HTTP/1.') and got.head[9:12] == b'%d' % row.status, cuts
        assert got.coding is None or row.method != 'HEAD'


@pytest.mark.parametrize(
    'name', ['length', 'chunked, trailers', '100', 'HEAD with a length', 'chunked, extensions', '204']
)
def test_three_pieces(name: str) -> None:
    """So too in three pieces, at every two places."""
    row = ROWS[name]
    whole = read(row.data, row.method)
    for cuts in itertools.combinations(range(1, len(row.data)), 2):
        assert read(row.data, row.method, cuts) == whole, cuts


REUSABLE = [name for name, row in ROWS.items() if row.reusable]


@pytest.mark.parametrize('first', REUSABLE)
def test_one_after_the_other(first: str) -> None:
    """One parser reads any answer after any other as a new one would, in one piece or byte by byte."""
    for second, row in ROWS.items():
        for cut_first, cut_second in itertools.product((False, True), repeat=2):
            parser = new_parser()
            for step, (data, method, cut) in enumerate(
                [(ROWS[first].data, ROWS[first].method, cut_first), (row.data, row.method, cut_second)]
            ):
                got = read(data, method, range(1, len(data)) if cut else (), parser=parser)
                if step:
                    assert got == read(row.data, row.method), (second, cut_first, cut_second)


# Reading: left over --------------------------------------------------------------------------------------------------

POISON = answer('Content-Length: 6', body=b'poison')


@pytest.mark.parametrize(
    'left',
    [POISON[:size] for size in range(1, len(POISON) + 1)]
    + [
        b' ',
        b'\0',
        b'x',
        b'hello',
        POISON * 3,
        chunked(b'6\r\npoison\r\n0\r\n\r\n'),
        CONTINUE,
        b'\r\n' + POISON,
        b'poison' * 10000,
    ],
    ids=lambda left: f'{len(left)} bytes',
)
@pytest.mark.parametrize('name', ['length', 'length 0', 'chunked', '204', '304', 'HEAD with a length', '100'])
def test_left_over(name: str, left: bytes) -> None:
    """What follows an answer in the same read is nobody's: the answer stands alone, its connection is closed."""
    row = ROWS[name]
    for cuts in [(), (1,), (len(row.data) - 1,), range(1, len(row.data) - 1)]:
        got = read(row.data + left, row.method, cuts)
        assert (got.error, got.status, got.body) == (None, row.status, row.body)
        assert not got.reusable, cuts


@pytest.mark.parametrize('left', [b'\r\n', b'\n', b'\r', b'\r\n\r\n'])
@pytest.mark.parametrize('name', ['length', 'length 0', 'chunked', '204', '304', 'HEAD with a length', '100'])
def test_empty_line_left_over(name: str, left: bytes) -> None:
    """Reused is a connection only with nothing left over, however the answer is cut: an empty line is not nothing."""
    row = ROWS[name]
    assert not read(PLAIN + left).reusable
    for cuts in [(), (1,), (len(row.data) - 1,), range(1, len(row.data) - 1)]:
        assert read(row.data, row.method, cuts).reusable, cuts
        assert not read(row.data + left, row.method, cuts).reusable, cuts


@pytest.mark.parametrize('first', ['HTTP/1.1 204 X', 'HTTP/1.1 304 X'])
def test_late_body(first: str) -> None:
    """A body where none may be, that comes late, is not taken for the next answer: it is seen to be no answer."""
    parser = new_parser()
    assert read(answer('Content-Length: 5', first=first), parser=parser).reusable
    parser.begin('GET', None)
    with pytest.raises(ProtocolError):
        parser.feed(b'hello' + PLAIN)
    assert parser.stray


def test_bodies_stay_apart_on_the_wire() -> None:
    """A body that only the end of the connection ends is its own request's, not that of the answer before it."""
    first, second = answer('Content-Length: 5', body=b'first'), answer(body=b'second')
    script = [kit.READ, first, kit.READ, second, kit.CLOSE]
    with kit.FaultServer(script) as server, Client(server.host, simultaneous=1, timeout=5) as client:
        assert [client.request('GET', path).data for path in ('/000001', '/000002')] == [b'first', b'second']
        assert server.accepted == 1


@pytest.mark.parametrize('data', [PLAIN, answer('Upgrade: x', 'Connection: Upgrade', first='HTTP/1.1 101 X')])
def test_refused_is_started(data: bytes) -> None:
    """An answer that is refused has begun all the same, however its bytes are cut."""
    for cuts in all_cuts(data):
        parser = new_parser()
        assert read(data, cuts=cuts, max_body=5, parser=parser).error is not None
        assert (parser.started, parser.stray) == (True, False), cuts


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize('fields', [[], ['Upgrade: x'], ['Connection: Upgrade'], ['Upgrade: x', 'Connection: Upgrade']])
def test_unasked_upgrade(fields: list[str], method: str) -> None:
    """An upgrade that nobody asked for is named as such, whatever its head says and however its bytes are cut."""
    data = answer(*fields, first='HTTP/1.1 101 Switching Protocols')
    for cuts in all_cuts(data + PLAIN):
        parser = new_parser()
        parser.begin(method, None)
        with pytest.raises(InvalidResponse, match='101 Switching Protocols, which nobody asked for'):
            for start, end in itertools.pairwise([0, *cuts, len(data + PLAIN)]):
                parser.feed((data + PLAIN)[start:end])


def test_refused_is_not_sent_again() -> None:
    """A request whose answer is refused is not sent again, over a connection that was used before either."""
    script = [kit.READ, PLAIN, kit.READ, PLAIN, kit.CLOSE]
    with kit.FaultServer(script) as server, Client(server.host, simultaneous=1, timeout=5) as client:
        assert client.request('GET', '/first').data == b'000001'
        with pytest.raises(BodyTooLarge):
            client.request('GET', '/second', max_body=5)
        assert server.accepted == 1


# Reading: errors -----------------------------------------------------------------------------------------------------

BAD: dict[str, bytes] = {
    # row 12
    **{
        f'chunk size {size!r}': chunked(b'%s\r\nabc\r\n0\r\n\r\n' % size)
        for size in (
            b'ZZ',
            b'-5',
            b'0x5',
            b'1_0',
            b'',
            b' 3',
            b'3 ',
            b'+3',
            b'3.0',
            b'%x' % 2**70,
            b'f' * 17,
            b'\xb3',
            b'3\n',
            b'\0',
            b'3\0',
            b' 3;a',
            b'3 3',
            b'3 3;a',
            b'3;a ',
            b'3;a b',
            b'3;a=b ',
            b'3;a="b" ',
            b'3;',
            b'3; ',
            b'3;a;',
            b'3;a=b=c',
            b'3;a="',
            b'3;a="b"c',
            b'3;a\n',
            b'3;a\r',
            b'3;a="\r"',
            b'3;\0',
            b'3\x0b;a',
            b'3;\xa0a',
            b'3, 3',
            b'3;"a"',
        )
    },
    'chunk longer than its size': chunked(b'2\r\nabc\r\n0\r\n\r\n'),
    'chunk without its end': chunked(b'3\r\nabc0\r\n\r\n'),
    'chunk with bare LF': chunked(b'3\nabc\n0\n\n'),
    # row 13
    **{
        f'length {length!r}': answer(f'Content-Length: {length}', body=b'abc')
        for length in (
            '-3',
            '3x',
            '+3',
            '3, 4',
            '',
            '0x3',
            '3.0',
            '3 3',
            '1_0',
            '3;',
            '"3"',
            '\xb3',
            '9' * 30,
            '9' * 5000,
        )
    },
    'two lengths': answer('Content-Length: 3', 'Content-Length: 4', body=b'abcd'),
    'two lengths, one empty': answer('Content-Length: 3', 'Content-Length:', body=b'abcd'),
    # row 14
    'length and chunks': answer('Content-Length: 3', 'Transfer-Encoding: chunked', body=b'0\r\n\r\n'),
    'chunks and length': answer('Transfer-Encoding: chunked', 'Content-Length: 3', body=b'0\r\n\r\n'),
    'length and identity': answer('Content-Length: 3', 'Transfer-Encoding: identity', body=b'abc'),
    **{
        f'transfer coding {coding!r}': answer(f'Transfer-Encoding: {coding}', body=b'0\r\n\r\n')
        for coding in (
            'gzip, chunked',
            'gzip',
            'chunked, gzip',
            'chunked, chunked',
            'identity',
            'xchunked',
            'chunked;a=b',
            '"chunked"',
            ',',
            ' , ,',
            '',
            'chun ked',
            'chunked\x0b',
            'chunked\xa0',
            'chunked,, chunked',
            ', gzip,chunked,',
        )
    },
    'two transfer codings': answer('Transfer-Encoding: gzip', 'Transfer-Encoding: chunked', body=b'0\r\n\r\n'),
    'chunked twice': answer('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked', body=b'0\r\n\r\n'),
    'space before the colon': answer('Transfer-Encoding : chunked', body=b'0\r\n\r\n'),
    # row 16
    '101': answer('Upgrade: x', 'Connection: Upgrade', first='HTTP/1.1 101 Switching'),
    '101 alone': answer(first='HTTP/1.1 101 Switching'),
    '101 with a length': answer('Content-Length: 0', first='HTTP/1.1 101 Switching'),
    '101 after 100': CONTINUE + answer('Upgrade: x', 'Connection: Upgrade', first='HTTP/1.1 101 Switching'),
    'no 1xx, though it looks like one': answer(first='ITTP/1.1 100 X') + PLAIN,
    '1xx of HTTP/2.0': answer(first='HTTP/2.0 100 X') + PLAIN,
    'a bad 1xx after one that says close': answer('Connection: close', first='HTTP/1.1 100 X')
    + answer('A b: c', first='HTTP/1.1 100 X')
    + PLAIN,
    # rows 17, 18
    'endless 100s': CONTINUE * 21 + PLAIN,
    'NUL in a value': answer('A: b\0', 'Content-Length: 0'),
    'NUL in a name': answer('A\0: b', 'Content-Length: 0'),
    'NUL in the reason': answer('Content-Length: 0', first='HTTP/1.1 200 O\0K'),
    'no colon': answer('A', 'Content-Length: 0'),
    'no name': answer(': b', 'Content-Length: 0'),
    'space in a name': answer('A b: c', 'Content-Length: 0'),
    'name in latin-1': answer('\xe9: b', 'Content-Length: 0'),
    'fold before the first field': answer(' A: b', 'Content-Length: 0'),
    'fold before the first field of a 1xx': answer(' A: b', first='HTTP/1.1 103 X') + PLAIN,
    'fold of white space alone': answer('A: b', ' ', 'Content-Length: 0'),
    'fold of white space alone at the end': answer('Content-Length: 0', '\t '),
    'fold within a length': answer('Content-Length: 1', ' 0', body=b'x' * 10),
    'fold that doubles a length': answer('Content-Length: 1,', ' 2', body=b'xy'),
    'fold that adds a coding': answer('Transfer-Encoding: gzip,', ' chunked', body=b'0\r\n\r\n'),
    'fold within a coding': answer('Transfer-Encoding: chun', ' ked', body=b'0\r\n\r\n'),
    'folded length and chunks': answer('Content-Length:', ' 3', 'Transfer-Encoding: chunked', body=b'0\r\n\r\n'),
    'fold before the colon': answer('A', ' : b', 'Content-Length: 0'),
    'fold within a name': answer('A', ' B: c', 'Content-Length: 0'),
    'fold behind a bare LF': answer('A: b\n c', 'Content-Length: 0'),
    'fold behind a bare CR': answer('A: b\r c', 'Content-Length: 0'),
    'fold behind CR CR LF': answer('A: b\r', ' c', 'Content-Length: 0'),
    'folded, NUL': answer('A: b', ' \0', 'Content-Length: 0'),
    'folded, and no colon': answer('A: b', ' c', 'D', 'Content-Length: 0'),
    'folded 101': answer('A: b', ' c', first='HTTP/1.1 101 Switching'),
    'folded status 099': answer('A: b', ' c', 'Content-Length: 0', first='HTTP/1.1 099 X'),
    'fold before the first trailer': chunked(b'3\r\nabc\r\n0\r\n A: b\r\n\r\n'),
    'trailer folded by white space alone': chunked(b'3\r\nabc\r\n0\r\nA: b\r\n \r\n\r\n'),
    **{
        f'trailer {trailer!r}': chunked(b'3\r\nabc\r\n0\r\n%b\r\n\r\n' % trailer)
        for trailer in (
            b'Content-Length: 3',
            b'A: b\r\ncontent-length: 3',
            b'A : b',
            b': b',
            b'A',
            b'A: \0',
            b'A: b\rc',
            b'A: b\nC: d',
        )
    },
    'CR in a value': answer('A: b\rc', 'Content-Length: 0'),
    'CR in the reason': answer('Content-Length: 0', first='HTTP/1.1 200 O\rK'),
    'bare LF': answer('Content-Length: 0').replace(b'\r\n', b'\n'),
    'bare LF at the end': answer('Content-Length: 0')[:-2] + b'\n',
    # the status line
    **{
        f'first line {first!r}': answer('Content-Length: 0', first=first)
        for first in (
            'HTTP/0.9 200 OK',
            'HTTP/1.2 200 OK',
            'HTTP/2.0 200 OK',
            'HTTP/2 200 OK',
            'HTTP/11.1 200 OK',
            'HTTP/1.10 200 OK',
            'http/1.1 200 OK',
            'ICY 200 OK',
            'RTSP/1.0 200 OK',
            'ICE/1.0 200 OK',
            'HTTP/1.1 099 OK',
            'HTTP/1.1 000 OK',
            'HTTP/1.1 20 OK',
            'HTTP/1.1 2000 OK',
            'HTTP/1.1 2x0 OK',
            'HTTP/1.1 -20 OK',
            'HTTP/1.1  200 OK',
            'HTTP/1.1\t200 OK',
            'HTTP/1.1',
            'HTTP/1.1 ',
            ' HTTP/1.1 200 OK',
            'HTTP/1,1 200 OK',
            'GET / HTTP/1.1',
            'hello',
            '',
            '\0',
        )
    },
}
TRUNCATED = {
    'short body': answer('Content-Length: 6', body=b'00000'),
    'no body': answer('Content-Length: 6'),
    'no final chunk': chunked(b'3\r\nabc\r\n'),
    'no chunk at all': chunked(b''),
    'within a chunk': chunked(b'3\r\nab'),
    'within a size': chunked(b'3'),
    'within the last chunk': chunked(b'3\r\nabc\r\n0\r\n'),
    'within the trailers': chunked(b'3\r\nabc\r\n0\r\nA: b\r\n'),
    'short body after 100': CONTINUE + answer('Content-Length: 6', body=b'0'),
    'short body after a fold': answer('A: b', ' c', 'Content-Length: 6', body=b'0'),
    'no final chunk after a fold': chunked(b'3\r\nabc\r\n', 'A: b', ' c'),
    'within a chunk extension': chunked(b'3\r\nabc\r\n1 ; a = "b'),
    'within a chunk behind an extension': chunked(b'3 ;a\r\nabc\r'),
    'within a folded trailer': chunked(b'3\r\nabc\r\n0\r\nA: b\r\n c\r\n'),
}


@pytest.mark.parametrize('name', BAD)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_malformed(name: str, method: str) -> None:
    """What is no answer by RFC 9112 is a ProtocolError, however it is cut."""
    data = BAD[name]
    if method == 'HEAD' and (name.startswith('chunk ') or 'trailer' in name):
        pytest.skip('a HEAD answer has no chunks')
    for cuts in all_cuts(data) if len(data) < 1000 else [(), (1,), (100,), range(1, len(data))]:
        got = read(data, method, cuts)
        assert got.error is not None and issubclass(got.error, ProtocolError), (cuts, got)
        assert got.error is not TruncatedBody, cuts


@pytest.mark.parametrize('name', TRUNCATED)
def test_truncated(name: str) -> None:
    """A body that ends before its end is TruncatedBody, never a short answer."""
    data = TRUNCATED[name]
    for cuts in all_cuts(data):
        assert read(data, cuts=cuts).error is TruncatedBody, cuts


@pytest.mark.parametrize('name', ROWS)
def test_cut_short(name: str) -> None:
    """An answer that breaks off at any byte is an error, unless only the connection's end could have ended it."""
    row = ROWS[name]
    for end in range(len(row.data)):
        got = read(row.data[:end], row.method)
        if got.error is None:
            assert not got.reusable and b'\r\n\r\n' in row.data[:end] and row.body.startswith(got.body)
            assert 'until the end' in name, end


def test_nothing() -> None:
    """A connection that is closed before any byte, or within 1xx, is an error that is not about a body."""
    for data in (b'', b'H', CONTINUE, b'\r\n', PLAIN[:20]):
        assert read(data).error is ProtocolError


@pytest.mark.parametrize(
    'data',
    [
        b'SSH-2.0-OpenSSH_9.6\r\n',
        b'\r\n\r\nSSH-2.0',
        CONTINUE + b'SSH-2.0',
        b'HTTP/1.1 200 OK\r\nA b: ',
        answer('Connection: close', first='HTTP/1.1 100 X') + b'SSH-2.0',
        chunked(b'ZZ'),
        chunked(b'3\n'),
        chunked(b' '),
        chunked(b'3;a\nx'),
        chunked(b'1\r\nabc'),
        chunked(b'1\r\na\n'),
        chunked(b'0\r\nA: b\n'),
        chunked(b'0\r\n\n'),
        chunked(b'0\r\n b: c\r\n'),
    ],
)
def test_refused_at_once(data: bytes) -> None:
    """What cannot become an answer any more is refused when it comes, though the server sends nothing more."""
    for cuts in all_cuts(data):
        parser = new_parser()
        parser.begin('GET', None)
        with pytest.raises(ProtocolError):
            for start, end in itertools.pairwise([0, *cuts, len(data)]):
                parser.feed(data[start:end])


@pytest.mark.parametrize(
    ('lines', 'fields'),
    [
        (['A: b', ' c'], [('A', 'b c')]),
        (['A: b  ', '\t \tc \t', '  d'], [('A', 'b c d')]),
        (['A:', ' b'], [('A', 'b')]),
        (['A: b', ' c: d', 'E: f'], [('A', 'b c: d'), ('E', 'f')]),
        (['A: "b', ' c"', 'A: d,', ' e'], [('A', '"b c"'), ('A', 'd, e')]),
        (['Set-Cookie: a=b;', '\tPath=/'], [('Set-Cookie', 'a=b; Path=/')]),
        (
            ['Content-Type:', ' application/json;', ' charset=utf-8'],
            [('Content-Type', 'application/json; charset=utf-8')],
        ),
        (['Content-Encoding:', ' gzip'], [('Content-Encoding', 'gzip')]),
    ],
)
@pytest.mark.parametrize(
    'before', [b'', EARLY, answer('A: b', ' c', first='HTTP/1.1 103 X')], ids=['', '103', 'folded 103']
)
def test_unfolded(lines: list[str], fields: list[tuple[str, str]], before: bytes) -> None:
    """A fold is a blank in the head that is kept (RFC 9112 §5.2), for every method and framing, however it is cut."""
    for method, data in (
        ('GET', answer(*lines, 'Content-Length: 1', body=b'x')),
        ('HEAD', answer(*lines, 'Content-Length: 1')),
        ('GET', chunked(b'1 ;a\r\nx\r\n0\r\n\r\n', *lines)),
        ('GET', answer(*lines, body=b'x')),
    ):
        for cuts in all_cuts(before + data):
            got = read(before + data, method, cuts)
            assert got.error is None and got.head is not None and got.head.startswith(b'HTTP/1.1 200 OK\r\n')
            found = Headers.of_block(got.head).multi_items()
            assert [pair for pair in found if pair[0] not in ('Content-Length', 'Transfer-Encoding')] == fields
            assert got.coding == (fields[0][1] if fields[0][0] == 'Content-Encoding' and method == 'GET' else None)


def test_unfolded_within_the_bounds() -> None:
    """A folded head is as large as it came, and a folded field is one field."""
    for size, right in ((MAX_BYTES, True), (MAX_BYTES + 1, False)):
        data = answer('Content-Length: 0', 'A: b', ' ')
        data = answer('Content-Length: 0', 'A: b', ' ' * (size - len(data) + 4) + 'c')
        for cuts in ((), (100,), (len(data) - 3,), range(1000, len(data), 1000)):
            for method in ('GET', 'HEAD'):
                assert read(data, method, cuts).error is (None if right else InvalidResponse), (size, cuts)
    for count, error in ((MAX_FIELDS - 1, None), (MAX_FIELDS, InvalidResponse)):
        assert read(answer('Content-Length: 0', *['A: b', ' c', ' d'] * count)).error is error


def test_odd_bodies_in_pieces() -> None:
    """A chunked body with odd extensions is given as it comes, and bounded as any other."""
    data = chunked(b'2 ;a\r\n00\r\n4; b = "c"\r\n0001\r\n0 ;d\r\nA: b\r\n c\r\n\r\n')
    for cuts in all_cuts(data):
        parser, parts = new_parser(), []
        parser.begin('GET', None, True, 6)
        for start, end in itertools.pairwise([0, *cuts, len(data)]):
            parser.feed(data[start:end])
            parts.append(parser.take_body())
        assert b''.join(parts) == b'000001' and parser.reusable
        assert read(data, cuts=cuts, max_body=5).error is BodyTooLarge


@pytest.mark.parametrize('trailer', ['Connection: close', 'Transfer-Encoding: gzip', 'Upgrade: x'])
def test_trailers_that_frame(trailer: str) -> None:
    """After trailers that speak of framing (RFC 9110 §6.5.1), which two may read differently, there is no reuse."""
    data = chunked(f'1 ;a\r\nx\r\n0\r\n{trailer}\r\n\r\n'.encode())
    for cuts in all_cuts(data):
        got = read(data, cuts=cuts)
        assert (got.error, got.body, got.reusable) == (None, b'x', False)


def test_started_and_stray() -> None:
    """Whether an answer has begun, and whether what came is one at all, decides about sending once more."""
    for data, started, stray in (
        (b'', False, False),
        (b'HTTP/1.1 2', True, False),
        (PLAIN[:-1], True, False),
        (CONTINUE, True, False),
    ):
        parser = new_parser()
        parser.begin('GET', None)
        if data:
            parser.feed(data)
        assert (parser.started, parser.stray) == (started, stray), data


# Reading: bounds -----------------------------------------------------------------------------------------------------


def feed_until_error(
    pieces: Iterable[bytes], method: str = 'GET', max_body: int | None = None
) -> tuple[type[Exception] | None, int]:
    """Feed until something is raised: what, and after how many bytes."""
    parser = new_parser()
    parser.begin(method, max_body)
    size = 0
    for piece in pieces:
        size += len(piece)
        try:
            if parser.feed(piece):
                return None, size
            parser.take_body()
        except ProtocolError as exc:
            return type(exc), size
    return None, size


ENDLESS = {
    'one field': (b'HTTP/1.1 200 OK\r\nA: ', b'x' * 4096),
    'one name': (b'HTTP/1.1 200 OK\r\n', b'x' * 4096),
    'fields': (b'HTTP/1.1 200 OK\r\n', b'A: b\r\n' * 700),
    'reason': (b'HTTP/1.1 200 ', b'x' * 4096),
    'trailer': (chunked(b'0\r\nA: '), b'x' * 4096),
    'trailers': (chunked(b'0\r\n'), b'A: b\r\n' * 700),
    'chunk extension': (chunked(b'3;a='), b'x' * 4096),
    '1xx': (b'', CONTINUE * 30),
    'a field in a 1xx': (b'HTTP/1.1 103 X\r\nA: ', b'x' * 4096),
    'empty lines': (b'', b'\r\n' * 2048),
    'zeros of a chunk size': (chunked(b''), b'0' * 4096),
    'folds': (b'HTTP/1.1 200 OK\r\nA: b', b'\r\n c' * 1000),
    'one fold': (b'HTTP/1.1 200 OK\r\nA: b\r\n ', b'x' * 4096),
    'blanks of a fold': (b'HTTP/1.1 200 OK\r\nA: b\r\n ', b' ' * 4096),
    'folds in a 1xx': (b'HTTP/1.1 103 X\r\nA: b', b'\r\n c' * 1000),
    'folds in a trailer': (chunked(b'0\r\nA: b'), b'\r\n c' * 1000),
    'blanks behind a chunk size': (chunked(b'3'), b' ' * 4096),
    'blanks in a chunk extension': (chunked(b'3;a'), b' \t' * 2048),
    'a quoted chunk extension': (chunked(b'3 ; a = "'), b'; ' * 2048),
    'chunk extensions': (chunked(b'3'), b' ;a' * 1400),
}


@pytest.mark.parametrize('name', ENDLESS)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_endless(name: str, method: str) -> None:
    """Nothing but the body may go on for ever: heads, trailers and the like end in an error soon after their bound."""
    first, more = ENDLESS[name]
    if method == 'HEAD' and first.startswith(chunked(b'')):
        pytest.skip('a HEAD answer ends with its head')
    tracemalloc.start()
    try:
        error, size = feed_until_error(itertools.chain([first] if first else [], itertools.repeat(more, 1000)), method)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error is InvalidResponse
    assert size < 5 * MAX_BYTES and peak < 10 * MAX_BYTES


def test_bounds_of_the_head() -> None:
    """A head of so many bytes, or fields, is accepted; one more is not; also when it is whole in one read."""

    def of_size(size: int) -> bytes:
        rest = len(answer('Content-Length: 0', 'A: ')) - 4
        return answer('Content-Length: 0', 'A: ' + 'x' * (size - rest))

    for data, right in (
        (of_size(MAX_BYTES), True),
        (of_size(MAX_BYTES + 1), False),
        (of_size(300 * 1024), False),
        (answer('Content-Length: 0', *['A: b'] * (MAX_FIELDS - 1)), True),
        (answer('Content-Length: 0', *['A: b'] * MAX_FIELDS), False),
        (answer('Content-Length: 0', *['A: b'] * 5000), False),
        (answer('Content-Length: 0', *['A:'] * 5000), False),
    ):
        for cuts in ((), (100,), (len(data) - 3,), (len(data) - 1,), range(1000, len(data), 1000)):
            assert read(data, cuts=cuts).error is (None if right else InvalidResponse), (len(data), cuts)
            assert read(data, 'HEAD', cuts).error is (None if right else InvalidResponse), (len(data), cuts)


@pytest.mark.parametrize(
    'data',
    [
        answer('Content-Length: 1000', body=b'x' * 1000),
        chunked(b'3e8\r\n' + b'x' * 1000 + b'\r\n0\r\n\r\n'),
        chunked(b'1\r\nx\r\n' * 1000 + b'0\r\n\r\n'),
        answer(body=b'x' * 1000),
    ],
    ids=['length', 'chunk', 'chunks', 'until the end'],
)
def test_max_body(data: bytes) -> None:
    """A body as large as the bound is accepted, one byte more is BodyTooLarge, however it is framed and cut."""
    for cuts in ((), (30,), (len(data) - 3,), range(1, len(data)), range(7, len(data), 7)):
        assert read(data, cuts=cuts, max_body=1000).body == b'x' * 1000
        assert read(data, cuts=cuts, max_body=999).error is BodyTooLarge
        assert read(data, cuts=cuts, max_body=0).error is BodyTooLarge
        assert read(data, cuts=cuts, max_body=None).body == b'x' * 1000


def test_max_body_by_its_length() -> None:
    """A Content-Length above the bound is refused at the head; what HEAD, 204 and 304 tell of a body is none."""
    assert read(answer('Content-Length: 1000'), max_body=999).error is BodyTooLarge
    assert read(answer('Content-Length: 1000'), 'HEAD', max_body=999).error is None
    for first in ('HTTP/1.1 204 X', 'HTTP/1.1 304 X'):
        assert read(answer('Content-Length: 1000', first=first), max_body=999).error is None
    assert read(answer('Content-Length: 0'), max_body=0).error is None


def test_dripped_head_is_linear() -> None:
    """A head that comes byte by byte costs no more than its size."""

    def seconds(size: int) -> float:
        data = answer('Content-Length: 0', 'A: ' + 'x' * size)
        began = time.process_time()
        assert read(data, cuts=range(1, len(data))).status == 200
        return time.process_time() - began

    eighth = min(seconds((MAX_BYTES - 200) // 8) for _ in range(3))
    assert seconds(MAX_BYTES - 200) < 8 * eighth * 4


@pytest.mark.parametrize(
    ('fields', 'coding'),
    [
        (['Content-Encoding: gzip'], 'gzip'),
        (['content-encoding: GZIP'], 'gzip'),
        (['Content-Encoding: identity'], None),
        (['Content-Encoding:'], None),
        ([], None),
        (['X-Content-Encoding: gzip'], None),
        (['Content-Encoding: gzip', 'Content-Encoding: deflate'], 'gzip, deflate'),
    ],
)
def test_coding(fields: list[str], coding: str | None) -> None:
    """The content coding is told, where there is one, for bodies of every framing."""
    for data in (
        answer(*fields, 'Content-Length: 3', body=b'abc'),
        chunked(b'3\r\nabc\r\n0\r\n\r\n', *fields),
        answer(*fields, body=b'abc'),
    ):
        for cuts in ((), range(1, len(data))):
            got = read(data, cuts=cuts).coding
            assert (got and got.lower()) == coding
    assert read(answer(*fields, 'Content-Length: 3'), 'HEAD').coding is None


def test_take_body_in_pieces() -> None:
    """What has come so far can be taken; it is not given twice, and the rest follows."""
    for data in (PLAIN, chunked(b'2\r\n00\r\n4\r\n0001\r\n0\r\n\r\n')):
        parser = new_parser()
        parser.begin('GET', None)
        parts = []
        for byte in data:
            parser.feed(bytes([byte]))
            parts.append(parser.take_body())
        assert b''.join(parts) == b'000001' and parser.complete and parser.take_body() == b''


LARGE_BODY = random.Random(16).randbytes(900_000)


@hypothesis.settings(max_examples=100)
@hypothesis.given(st.integers(65_536, 700_000), st.integers(0, 1 << 32))
def test_place(length: int, seed: int) -> None:
    """However bytes come to their place, fed or received there, and taken in between, they are the body in the end."""

    def receive(view: memoryview) -> int:
        assert len(view) >= RECORD  # or TLS would keep a part of a record for itself
        size = chance.randint(1, len(view))
        view[:size] = LARGE_BODY[came : came + size]
        return size

    chance = random.Random(seed)
    place, came, taken, complete = PlacedBody(length), 0, b'', False
    while not complete:
        if place.fillable and chance.random() < 0.7:
            came += place.fill(receive)
        else:
            size = chance.randint(1, 70_000)
            complete = place.feed(LARGE_BODY[came : came + size])
            came += size
        if chance.random() < 0.1:
            taken += place.take()
    assert taken + place.take() + place.rest == LARGE_BODY[:came]
    assert len(place.rest) == came - length


# Reading: against http.client ----------------------------------------------------------------------------------------


class _Socket:
    """As much of a socket as http.client wants."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_http_client(data: bytes, method: str) -> tuple[int, list[tuple[str, str]], bytes, bool]:
    """Status, fields, body and whether the connection stays, as the standard library reads them."""
    got = http.client.HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    got.begin()
    stays = not got.will_close
    return got.status, list(got.headers.raw_items()), got.read(), stays


NAMES = st.text(st.sampled_from('abcXYZ09-_!~'), min_size=1, max_size=8).map('X-'.__add__)
VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E) | st.sampled_from(' \t\xa1\xe9\xff'), max_size=12
).map(str.strip)
EXTENSIONS = st.sampled_from([b'', b';a', b';a=b', b';a="b c"', b';a;b=c'])


@st.composite
def answers(draw: Any) -> tuple[bytes, bytes, str]:
    """What precedes the final answer, that answer, valid by RFC 9112, and the method it belongs to."""
    method = draw(st.sampled_from(['GET', 'GET', 'GET', 'POST', 'HEAD']))
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 206, 301, 304, 404, 500, 503]))
    reason = draw(st.sampled_from(['OK', '', 'Not Found', 'd\xe9j\xe0']))
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))
    connection = draw(st.sampled_from([None, None, 'close', 'keep-alive', 'Close', 'foo, close']))
    if connection:
        fields.append(('Connection', connection))
    body = draw(st.binary(max_size=60))
    framing = draw(st.sampled_from(['length', 'chunked', 'end']))
    version = draw(st.sampled_from(['HTTP/1.1'] * 4 + ['HTTP/1.0'])) if framing != 'chunked' else 'HTTP/1.1'
    if status == 204 and framing != 'end':
        framing = 'end'  # a 204 has neither (RFC 9110 §8.6)
    if status == 304 and framing == 'chunked':
        framing = 'length'  # http.client looks for chunks there
    if framing == 'length':
        fields.append(('Content-Length', str(len(body))))
    elif framing == 'chunked':
        fields.append(('Transfer-Encoding', 'chunked'))
    fields = draw(st.permutations(fields))
    space = draw(st.sampled_from([' ', '', '\t', '  ']))
    head = f'{version} {status} {reason}\r\n' + ''.join(f'{name}:{space}{value}\r\n' for name, value in fields) + '\r\n'
    sent = body
    if framing == 'chunked':
        sent, left = b'', body
        while left:
            size = draw(st.integers(1, len(left)))
            sent += b'%x%b\r\n%b\r\n' % (size, draw(EXTENSIONS), left[:size])
            left = left[size:]
        sent += b'0%b\r\n%b\r\n' % (draw(EXTENSIONS), draw(st.sampled_from([b'', b'A: b\r\n', b'A: b\r\nC: d\r\n'])))
    if method == 'HEAD' or status in (204, 304):
        sent = b''
    before = b''.join(draw(st.lists(st.sampled_from([CONTINUE, PROCESSING, EARLY]), max_size=3)))
    return before, head.encode('latin-1') + sent, method


def cuts_of(draw_from: list[int], size: int) -> list[int]:
    """Places to cut, in order."""
    return sorted({cut % size for cut in draw_from} - {0}) if size else []


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@hypothesis.settings(max_examples=200)
@hypothesis.given(answers(), CUTS)
def test_valid_answers(made: tuple[bytes, bytes, str], cuts: list[int]) -> None:
    """A valid answer, cut at random places and after any 1xx, is read as http.client reads it."""
    before, data, method = made
    got = read(before + data, method, cuts_of(cuts, len(before + data)))
    status, fields, body, stays = by_http_client(data, method)
    assert got.error is None
    assert (got.status, got.body) == (status, body)
    assert got.head is not None
    assert Headers.of_block(got.head).multi_items() == [(name, value.strip(' \t')) for name, value in fields]
    assert got.reusable == stays


@hypothesis.settings(max_examples=80)
@hypothesis.given(answers(), answers(), CUTS, CUTS)
def test_two_valid_answers(
    first: tuple[bytes, bytes, str], second: tuple[bytes, bytes, str], cuts: list[int], more: list[int]
) -> None:
    """What one answer was like does not change how the next one over its connection is read."""
    parser = new_parser()
    data = first[0] + first[1]
    if not read(data, first[2], cuts_of(cuts, len(data)), parser=parser).reusable:
        return
    data = second[0] + second[1]
    assert read(data, second[2], cuts_of(more, len(data)), parser=parser) == read(data, second[2])


def consistent(data: bytes, method: str, cuts: list[int], max_body: int | None) -> None:
    """An answer or a ProtocolError, and nothing else; the same in one piece and in many."""
    whole, cut = read(data, method, (), max_body), read(data, method, cuts_of(cuts, len(data)), max_body)
    assert (whole.error is None, whole.status, whole.body, whole.head) == (
        cut.error is None,
        cut.status,
        cut.body,
        cut.head,
    )


PIECES = st.sampled_from(
    [
        b'HTTP/1.1 200 OK\r\n',
        b'HTTP/1.0 404 \r\n',
        b'HTTP/1.1 100 C\r\n\r\n',
        b'HTTP/1.1 101 S\r\n',
        b'HTTP/1.1 204 N\r\n',
        b'\r\n',
        b'\n',
        b'\r',
        b'\r\n\r\n',
        b'Content-Length: 5\r\n',
        b'Content-Length: 0\r\n',
        b'Transfer-Encoding: chunked\r\n',
        b'Transfer-Encoding: gzip\r\n',
        b'Connection: close\r\n',
        b'Connection: upgrade\r\nUpgrade: x\r\n',
        b'hello',
        b'5\r\nhello\r\n',
        b'0\r\n\r\n',
        b'0\r\n',
        b'A: b\r\n',
        b' c\r\n',
        b'\0',
        b':',
        b'Content-Encoding: gzip\r\n',
        b'HTTP/',
        b'HTTP/1.1 ',
        b'3;a=b\r\n',
        b'ffffffffffffffffff\r\n',
        b'-1\r\n',
    ]
)


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    st.lists(PIECES | st.binary(max_size=5), max_size=12).map(b''.join),
    st.sampled_from(['GET', 'HEAD']),
    CUTS,
    st.sampled_from([None, 4, 1000]),
)
def test_any_bytes(data: bytes, method: str, cuts: list[int], max_body: int | None) -> None:
    """Whatever bytes come, there is an answer or a ProtocolError, the same however they are cut."""
    consistent(data, method, cuts, max_body)


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    answers(),
    st.integers(0, 10_000),
    st.sampled_from(['delete', 'insert', 'replace', 'double']),
    st.binary(min_size=1, max_size=3),
    CUTS,
)
def test_spoiled_answers(made: tuple[bytes, bytes, str], place: int, how: str, what: bytes, cuts: list[int]) -> None:
    """So too for an answer that was right but for a few bytes."""
    data, method = made[0] + made[1], made[2]
    at = place % len(data)
    start, end = data[:at], data[at:]
    data = {
        'delete': start + end[len(what) :],
        'insert': start + what + end,
        'replace': start + what + end[len(what) :],
        'double': start + end[: len(what)] + end,
    }[how]
    consistent(data, method, cuts, None)


# Writing -------------------------------------------------------------------------------------------------------------


def write(
    *args: Any, defaults: Any = (), authority: str = 'server.example', **options: Any
) -> tuple[str, list[tuple[str, str]], bytes]:
    """The first line, the fields and what follows them, as a request stands on the wire."""
    request = Request('server.example', *args, **options)
    data = RequestWriter(authority, Headers(defaults)).write(request)
    head, end, body = data.partition(b'\r\n\r\n')
    assert end
    first, *lines = head.decode('latin-1').split('\r\n')
    assert all(': ' in line or line.endswith(':') for line in lines)
    return first, [(name, value.strip()) for name, _, value in (line.partition(':') for line in lines)], body


def lowered(fields: list[tuple[str, str]]) -> dict[str, str]:
    """The fields by name; each name must be there once."""
    found = {name.lower(): value for name, value in fields}
    assert len(found) == len(fields), f'repeated: {fields}'
    return found


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'Get', 'PROPFIND'])
def test_bare_request(method: str) -> None:
    """The request line, Host first (RFC 9110 §7.2), the defaults, and no word about a body."""
    first, fields, body = write(method, '/captains?x=1', defaults={'Accept': 'application/json'})
    assert first == f'{method} /captains?x=1 HTTP/1.1'
    assert fields == [('Host', 'server.example'), ('Accept', 'application/json')] and body == b''


@pytest.mark.parametrize('method', ['POST', 'PUT', 'PATCH'])
@pytest.mark.parametrize('headers', [None, {}, {'A': 'b'}])
def test_without_a_body(method: str, headers: Any) -> None:
    """A method that expects content says that there is none (RFC 9110 §8.6)."""
    _, fields, body = write(method, '/', None, headers)
    assert lowered(fields)['content-length'] == '0' and 'transfer-encoding' not in lowered(fields) and body == b''


@pytest.mark.parametrize('method', ['GET', 'POST', 'DELETE', 'PROPFIND'])
@pytest.mark.parametrize(
    ('body', 'sent', 'content_type'),
    [
        ({'a': 1}, b'{"a":1}', 'application/json'),
        ([], b'[]', 'application/json'),
        ('é', b'\xc3\xa9', None),
        (b'\r\n\r\n', b'\r\n\r\n', None),
        ('', b'', None),
        (b'', b'', None),
        (bytearray(b'x'), b'x', None),
    ],
)
def test_with_a_body(method: str, body: Any, sent: bytes, content_type: str | None) -> None:
    """A body goes with its length, and JSON with its type."""
    _, fields, data = write(method, '/', body)
    found = lowered(fields)
    assert data == sent and found['content-length'] == str(len(sent)) and 'transfer-encoding' not in found
    assert found.get('content-type') == content_type


@pytest.mark.parametrize('spelling', ['Content-Type', 'content-type', 'CONTENT-TYPE'])
@pytest.mark.parametrize('where', ['request', 'defaults', 'both'])
def test_one_content_type(spelling: str, where: str) -> None:
    """A Content-Type of the caller's, in the request or the defaults, takes the place of ours; the request's wins."""
    mine = {spelling: 'application/vnd.api+json'}
    defaults = {'request': {}, 'defaults': mine, 'both': {'Content-Type': 'text/plain'}}[where]
    _, fields, _ = write('POST', '/', {'a': 1}, None if where == 'defaults' else mine, defaults=defaults)
    assert lowered(fields)['content-type'] == 'application/vnd.api+json'


@pytest.mark.parametrize('spelling', ['accept', 'Accept', 'ACCEPT'])
def test_request_overrides_defaults(spelling: str) -> None:
    """A field of the request takes the place of the default, in any case; the others stay."""
    _, fields, _ = write('GET', '/', None, {spelling: 'text/html'}, defaults={'Accept': 'application/json', 'X': 'y'})
    assert lowered(fields) == {'host': 'server.example', 'accept': 'text/html', 'x': 'y'}


def test_value_that_looks_like_a_field() -> None:
    """A value that holds the name of a default does not take its place."""
    _, fields, _ = write('GET', '/', None, {'B': 'accept: x', 'X-Accept': 'y'}, defaults={'Accept': 'z'})
    assert lowered(fields)['accept'] == 'z'


def test_repeats_are_sent() -> None:
    """Fields that the caller repeats are sent as often, in order."""
    _, fields, _ = write('GET', '/', None, [('A', '1'), ('a', '2')])
    assert [value for name, value in fields if name.lower() == 'a'] == ['1', '2']


@pytest.mark.parametrize('name', ['Content-Length', 'content-length', 'Transfer-Encoding', 'Host'])
def test_defaults_never_frame(name: str) -> None:
    """A default never frames a message: it is refused, or is not sent beside what the body itself demands."""
    value = {'h': 'other', 't': 'chunked', 'c': '0'}[name[0].lower()]
    try:
        defaults = Settings(headers={name: value}).headers
    except ValueError:
        return
    for body in (None, b'abc', {'a': 1}, io.BytesIO(b'abc'), iter([b'abc'])):
        _, fields, _ = write('POST', '/', body, defaults=defaults)
        found = lowered(fields)
        assert not ('content-length' in found and 'transfer-encoding' in found)
        assert found['host'] == 'server.example'


def test_file_with_a_length() -> None:
    """A file goes with the length of what is left of it; its content is sent later."""
    file = io.BytesIO(b'abcdef')
    file.read(2)
    _, fields, body = write('PUT', '/', file)
    assert lowered(fields)['content-length'] == '4' and body == b'' and file.read() == b'cdef'


@pytest.mark.parametrize(
    'make',
    [
        lambda: iter([b'abc']),
        lambda: (piece for piece in [b'abc']),
        lambda: (b'a', b'b'),
        lambda: io.BufferedReader(io.BytesIO(b'abc')).raw and iter([b'x']),
    ],
)
def test_body_without_a_length(make: Any) -> None:
    """What cannot tell its length goes in chunks (RFC 9112 §7.1), and then without a Content-Length."""
    _, fields, body = write('POST', '/', make())
    found = lowered(fields)
    assert found['transfer-encoding'] == 'chunked' and 'content-length' not in found and body == b''


def test_file_behind_its_end() -> None:
    """A file that stands behind its end has nothing left: no negative length goes out."""
    file = io.BytesIO(b'abc')
    file.seek(50)
    found = lowered(write('POST', '/', file)[1])
    assert found.get('content-length', '0') == '0'


def test_text_file() -> None:
    """A text file's length in characters is not that of its bytes: it goes in chunks, or with the right length."""
    found = lowered(write('POST', '/', io.StringIO('é' * 10))[1])
    assert found.get('content-length', '20') == '20'


class _Failing(io.BytesIO):
    """A file of the caller's with a fault of its own."""

    def tell(self) -> int:
        raise RuntimeError('mine')


def test_file_that_fails() -> None:
    """A file that raises is one that cannot tell its length; the writer is called by the loop and raises nothing."""
    assert lowered(write('POST', '/', _Failing(b'abc'))[1])['transfer-encoding'] == 'chunked'


@hypothesis.given(
    st.sampled_from(['GET', 'POST', 'PUT']),
    st.text(),
    st.dictionaries(st.text(), st.text() | st.binary(), max_size=3),
    st.none() | st.binary() | st.text() | st.dictionaries(st.text(), st.integers()),
)
def test_any_request_is_one_request(method: str, path: str, headers: dict[Any, Any], body: Any) -> None:
    """Whatever a request is made of, a server reads exactly this one request, or it is refused."""
    try:
        request = Request('server.example', method, f'/{path}', body, headers)
    except ValueError:
        return
    data = RequestWriter('server.example', Settings().headers).write(request)
    head, _, rest = data.partition(b'\r\n\r\n')
    lines = head.split(b'\r\n')
    assert len(lines[0].split(b' ')) == 3 and lines[1] == b'Host: server.example'
    assert head.count(b'\n') == head.count(b'\r') == len(lines) - 1 and b'\0' not in head
    fields = lowered([tuple(line.decode('latin-1').split(':', 1)) for line in lines[1:]])  # type: ignore[misc]
    assert len(rest) == int(fields.get('content-length', 0)) and 'transfer-encoding' not in fields
