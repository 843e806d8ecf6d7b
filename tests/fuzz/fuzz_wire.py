"""The parser of answers, fed from memory, against the standard library's and a strict one of our own."""

from __future__ import annotations

import http.client
import io
import itertools
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from napixclient import BodyTooLarge, Headers, InvalidResponse, ProtocolError, TruncatedBody
from napixclient._http.http1.parser import ResponseParser
from tests.fuzz import reference
from tests.fuzz.reference import Answer
from tests.fuzz.strategies import (
    BEGUN,
    CUTS,
    GARBAGE,
    MAX_BYTES,
    MAX_FIELDS,
    Made,
    answers,
    examples,
    in_pieces,
    spoilt,
)


def new_parser() -> ResponseParser:
    """With the bounds of the defaults."""
    return ResponseParser(MAX_BYTES, MAX_FIELDS)


def read(
    pieces: list[bytes],
    method: str,
    parser: ResponseParser | None = None,
    max_body: int | None = None,
    taking: bool = False,
) -> Answer:
    """Read an answer that comes in these pieces, after which the server closes.

    :param taking: whether its body is taken while it comes, as for a caller that streams it.
    """
    parser = parser or new_parser()
    parser.begin(method, max_body, taking, max_body)
    taken = []
    for piece in pieces:
        if parser.feed(piece):
            break
        if taking and parser.head is not None:
            taken.append(parser.take_body())
    else:
        parser.eof()
    assert parser.complete and parser.head is not None
    body = b''.join([*taken, parser.take_body()])
    reason = parser.head.split(b'\r\n')[0][13:].decode('latin-1').strip()
    return Answer(parser.status, reason, Headers.of_block(parser.head).multi_items(), body, parser.reusable, None)


def outcome(*arguments: Any, **options: Any) -> Answer | type[ProtocolError]:
    """What `read` returns, or the kind of what it raises: nothing but a ProtocolError."""
    try:
        return read(*arguments, **options)
    except ProtocolError as exc:
        return type(exc)


def head_size(made: Made) -> int:
    """Bytes of the final head, with the empty line behind it."""
    return made.data.index(b'\r\n\r\n') + 4


OF_CODINGS = re.compile(rb'(?im)^(transfer-encoding:)[ \t,]*(chunked)[ \t,]*(?=\r)').sub


def by_http_client(made: Made) -> Answer:
    """As the standard library reads it."""

    class Socket:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(re.sub(rb'[ \t]+\r\n', b'\r\n', head) + rest)

    # It takes 102 and 103 for final, so it gets nothing before; it keeps a fold as it is; and it takes "chunked " and
    # "chunked," for another coding than "chunked".
    head, rest = made.data[: head_size(made)], made.data[head_size(made) :]
    head = OF_CODINGS(rb'\1\2', re.sub(rb'[ \t]*\r\n[ \t]+', b' ', head))

    found = http.client.HTTPResponse(Socket(), method=made.method)  # type: ignore[arg-type]
    found.begin()
    fields = [(name, value.strip(' \t')) for name, value in found.headers.raw_items()]
    keeps = not found.will_close
    return Answer(found.status, found.reason, fields, found.read(), keeps, made.expected.ends)


def assert_fair(made: Made) -> None:
    """The standard library and the strict reader read what was meant, but for the known faults of the former."""
    expected = made.expected
    assert reference.read(made.data, made.method) == expected
    if len(expected.fields) > 100 or (made.expected.status == 304 and made.method != 'HEAD'):
        return  # it reads no more than a hundred fields, and looks for chunks in a 304
    found = by_http_client(made)
    said = reference.values(expected.fields, 'connection')
    if (
        said not in ([], ['close'], ['keep-alive'])
        or reference.values(expected.fields, 'keep-alive')
        or reference.values(expected.fields, 'proxy-connection')
    ):
        found = found._replace(keeps=expected.keeps)  # it looks for parts of words, in the first field only
    fields = [
        (name, value.strip(' ,') if name.lower() == 'transfer-encoding' else value) for name, value in expected.fields
    ]
    assert found == expected._replace(fields=fields)


def assert_read(found: Answer, expected: Answer) -> None:
    """It was read as it was meant."""
    assert found == expected._replace(ends=None)


@examples(500)
@given(answers(), CUTS, st.booleans())
def test_valid(made: Made, cuts: list[Any], taking: bool) -> None:
    """A valid answer is read as http.client reads it, however it is cut and whatever 1xx precede it."""
    assert_fair(made)
    assert_read(read(in_pieces(made.wire, cuts), made.method, taking=taking), made.expected)


@examples(200)
@given(st.lists(st.tuples(answers(large=False), CUTS, st.booleans()), min_size=2, max_size=5))
def test_one_after_another(all_made: list[tuple[Made, list[Any], bool]]) -> None:
    """What an answer was like does not change how the next one over its connection is read."""
    parser = new_parser()
    for made, cuts, taking in all_made:
        found = read(in_pieces(made.wire, cuts), made.method, parser, taking=taking)
        assert_read(found, made.expected)
        if not found.keeps:
            parser = new_parser()


@examples(200)
@given(answers(large=False), CUTS, answers(large=False).map(lambda made: made.wire) | st.binary(min_size=1))
def test_surplus(made: Made, cuts: list[Any], surplus: bytes) -> None:
    """What follows an answer in the same read is nobody's: the answer stands, its connection does not."""
    *pieces, last = in_pieces(made.wire, cuts)
    if made.expected.ends is not None and surplus:
        found = read([*pieces, last + surplus], made.method)
        assert_read(found, made.expected._replace(keeps=False))


@examples(200)
@given(answers(large=False), CUTS, st.integers(0, 100_000))
def test_cut_short(made: Made, cuts: list[Any], place: int) -> None:
    """An answer that breaks off is an error, and never half an answer; a head that breaks off is no short body."""
    place %= len(made.wire)
    found = outcome(in_pieces(made.wire[:place], cuts), made.method)
    whole_head = place - len(made.before) >= head_size(made)
    if whole_head and made.expected.ends is None:
        assert isinstance(found, Answer)
        assert made.expected.body.startswith(found.body) and not found.keeps
    else:
        assert found is (TruncatedBody if whole_head else ProtocolError)


@examples(500)
@given(spoilt(), CUTS, CUTS, st.booleans())
def test_spoilt(given_: tuple[bytes, str], cuts: list[Any], others: list[Any], taking: bool) -> None:
    """Of bytes that nearly are an answer, one is read only where there is one."""
    assert_judged(*given_, cuts, others, taking)


@examples(400)
@given(GARBAGE | BEGUN, st.sampled_from(['GET', 'GET', 'HEAD']), CUTS, CUTS, st.booleans())
def test_garbage(data: bytes, method: str, cuts: list[Any], others: list[Any], taking: bool) -> None:
    """So too of any bytes."""
    assert_judged(data, method, cuts, others, taking)


def assert_judged(data: bytes, method: str, cuts: list[Any], others: list[Any], taking: bool) -> None:
    """The strict reader decides; where it doubts, there may be an error, but no other answer."""
    found = outcome(in_pieces(data, cuts), method, taking=taking)
    again = outcome(in_pieces(data, others), method)
    try:
        expected: Answer | None = reference.read(data, method)
    except reference.Refused as exc:
        expected = None
        for kind in (found, again):
            assert isinstance(kind, type), (kind, exc)
            assert kind is TruncatedBody or not isinstance(exc, reference.ShortBody), (kind, exc)
    for answer, places in ((found, cuts), (again, others)):
        if expected is None:
            break
        if isinstance(answer, type):
            assert expected.doubtful, (answer, expected)
            continue
        # What came behind it in the same read spoils the connection, but for empty lines.
        received = next(
            (
                size
                for size in itertools.accumulate(map(len, in_pieces(data, places)))
                if expected.ends is not None and size >= expected.ends
            ),
            0,
        )
        behind = data[expected.ends : received]
        keeps = expected.keeps and (not behind or (answer.keeps and not behind.strip(b'\r\n')))
        assert answer._replace(keeps=False) == expected._replace(keeps=False, ends=None, doubtful=False)
        assert answer.keeps == keeps or (expected.doubtful and keeps), (answer, expected)
    if isinstance(found, type) != isinstance(again, type):
        raise AssertionError(f'it depends on the cuts: {found}, {again}')


@examples(200)
@given(answers(large=False), CUTS, st.integers(0, 400), st.integers(0, 8))
def test_bounds(made: Made, cuts: list[Any], max_bytes: int, max_fields: int) -> None:
    """A head, or a body, is read when it is within its bounds, and refused when it is not."""
    within = head_size(made) - 4 <= max_bytes and len(made.expected.fields) <= max_fields
    for size in range(len(made.expected.body), max(len(made.expected.body) - 2, -1), -1):
        found = outcome(in_pieces(made.data, cuts), made.method, ResponseParser(max_bytes, max_fields), size)
        if not within:
            # A body that is larger than its bound too may have been noticed before.
            assert found in (InvalidResponse, BodyTooLarge)
        elif found is InvalidResponse:  # trailers, and what is between chunks, are bounded as well
            rest = made.data[head_size(made) :]
            assert len(rest) - len(made.expected.body) > max_bytes or rest.count(b'\n') - 2 > max_fields
        elif size < len(made.expected.body):
            assert found is BodyTooLarge
        else:
            assert isinstance(found, Answer)
            assert_read(found, made.expected)
