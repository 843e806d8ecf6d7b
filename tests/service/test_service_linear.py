"""Text of any shape: read in time that grows with its size, and with the service alive meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napixclient.masking import MASK
from napixclient.service import slices
from napixclient.service.api import _query
from napixclient.service.framing import read_fields, read_request_line
from napixclient.service.problems import BadRequest, FieldsTooLarge, URITooLong
from napixclient.service.secrets import Secrets, mask_url, secrets_of_body
from tests import kit
from tests.service.serving import serving

#: Times as long for a text that is twice as long, at most: 4 would be the square.
MOST = 3.5


def assert_linear(make: Callable[[int], Any], work: Callable[[Any], object], size: int) -> None:
    """Twice the size takes less than four times as long; one good measurement of several will do."""
    ratios = []
    for _ in range(6):
        seconds = []
        for number in size, 2 * size:
            given = make(number)
            began = kit.own_time()
            work(given)
            seconds.append(kit.own_time() - began)
        ratios.append(seconds[1] / max(seconds[0], 1e-4))
        if ratios[-1] < MOST:
            return
    raise AssertionError(ratios)


# JSON --------------------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text('"\\[]{},: \n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\[{,'), inner),
    max_leaves=30,
)


def outcome(decode: Callable[[str], Any], text: str) -> Any:
    """The value, in a form that tells 1 from 1.0 and from True; or that there is none."""
    try:
        return repr(decode(text))
    except json.JSONDecodeError:
        return None


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([1, 2, 5, 10, 30]), st.sampled_from([None, 1]), st.booleans(), st.data())
def test_slices(value: Any, size: int, indent: int | None, ascii_only: bool, data: st.DataObject) -> None:
    """However a text is cut, its value is that of the standard library's decoder, and what is no JSON there is none here."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    at = data.draw(st.integers(0, len(text)))
    broken = (
        text[:at]
        + data.draw(st.sampled_from([',', ']', '}', '"', 'x', '\\', '1', '[', '{', ':', '-', 'e']))
        + text[at:]
    )
    for one in text, broken, text[:at]:
        assert outcome(partial(slices.loads, size=size), one) == outcome(json.loads, one)


@pytest.mark.parametrize(
    'item', ['0,', '[],', '{},', '"a",', '{"a":0},', '{"a":[{},{}]},', '[0,"a,"],', '"\\\\\\"",', '  1  ,']
)
def test_json_is_linear(item: str) -> None:
    """A list of anything, and an object of it, are decoded in time that grows with their size."""
    assert_linear(lambda n: '[' + item * n + '0]', slices.loads, 40_000)
    assert_linear(lambda n: '{' + ''.join(f'"{number}":{item}' for number in range(n)) + '"a":0}', slices.loads, 20_000)


@pytest.mark.parametrize('piece', ['[', '{"a":', '"', '\\"', ',', '[1,', ' ', '-', '0', '{"a"', '"a" '])
def test_what_is_no_json_is_refused_in_linear_time(piece: str) -> None:
    """So is any text that is no JSON."""

    def work(text: str) -> None:
        with pytest.raises((ValueError, RecursionError)):
            slices.loads(text)

    assert_linear(lambda n: piece * n, work, 200_000)
    assert_linear(lambda n: '["' + piece * n, work, 200_000)


def test_bound_of_values() -> None:
    """More lists, objects and commas than may be are refused; those within strings are none."""
    with pytest.raises(ValueError, match='more than 2,000,000'):
        slices.loads('[' + '[],' * 1_000_001 + '0]')
    text = ',[{\\"' * 1_000_000
    assert slices.loads(f'["{text}", "\\\\", 1]') == [text.replace('\\', ''), '\\', 1]


# Secrets -----------------------------------------------------------------------------------------------------------------


def secrets_of(values: list[str]) -> Secrets:
    """The secrets of requests that have these tokens."""
    found = Secrets()
    for value in values:
        found.of_request('/', [('X-Auth-Token', value)])
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab.|', min_size=4, max_size=20), min_size=1, max_size=40), st.data())
def test_secrets_are_found(values: list[str], data: st.DataObject) -> None:
    """From the left on, the longest secret that begins at a place is masked, whatever characters it has."""
    text = ''.join(data.draw(st.lists(st.sampled_from([*values, 'a', 'b', '.']), max_size=20)))
    expected, at = '', 0
    spelled = [*values, *(value.replace('|', '%7C') for value in values)]
    while at < len(text):
        found = max((one for one in spelled if text.startswith(one, at)), key=len, default='')
        expected += MASK if found else text[at]
        at += len(found) or 1
    assert secrets_of(values).without({'body': [text]}) == {'body': [expected]}


def test_very_many_secrets_are_found() -> None:
    """So it is with more of them than a pattern is made of."""
    chooser = random.Random(1)
    values = [f'{chooser.getrandbits(80):020x}' for _ in range(20_000)]
    secrets = secrets_of(values)
    shown = secrets.without(' and '.join(values) + ' and no secret')
    assert shown == ' and '.join([MASK] * len(values)) + ' and no secret'


ALIKE = [
    ('key-of-host-{:08}-abcdef', 'key-of-host-'),
    ('key-of-host-{:08}-abcdef', 'key-'),
    ('{:08}', '0000000'),
    ('a' * 30 + '{:08}', 'a' * 31 + 'b'),
    ('key-of-host-{:08}', 'the quick brown fox '),
]


@pytest.mark.parametrize(('form', 'text'), ALIKE)
def test_masking_is_linear(form: str, text: str) -> None:
    """Secrets are masked in time that grows with the text, and hardly with their number."""
    secrets = secrets_of([form.format(number) for number in range(1000)])
    secrets.without('')
    assert_linear(lambda n: text * n, secrets.without, 20_000)

    def many(number: int) -> Secrets:
        return secrets_of([form.format(one) for one in range(number)])

    assert_linear(many, lambda found: found.without(text * 5000), 1000)


def test_masking_of_secrets_in_secrets_is_linear() -> None:
    """Also where each secret begins with the one before, and the text with nearly all."""
    assert_linear(
        lambda n: secrets_of(['a' * size for size in range(10, n)]),
        lambda found: found.without(('a' * 11 + 'b') * 2000),
        1000,
    )


@pytest.mark.parametrize('piece', ['key=', '"key":', 'a&', 'a=b&', '-Key:[', 'key: "', "'", '\\', 'pin'])
def test_texts_are_looked_through_in_linear_time(piece: str) -> None:
    """The secrets in a body of any shape are found in time that grows with its size."""
    assert_linear(lambda n: piece * n, secrets_of_body, 100_000 // len(piece))


def test_members_are_looked_through_in_linear_time() -> None:
    """So are those in JSON, however many members it has, and however deep they are."""
    assert_linear(lambda n: {f'a{number}key': [{'pin': number}] for number in range(n)}, secrets_of_body, 2000)

    def nest(depth: int) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for _ in range(depth):
            nested = {'auth': nested}
        return nested

    assert_linear(nest, secrets_of_body, 2000)


# Heads -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'line',
    [
        b'X:' + b' ' * 60_000 + b'x\r\n',
        b'X' * 60_000 + b' :\r\n',
        b'X:' + b' \t' * 30_000 + b'\r\n',
        b'X: ' + b'\r' * 60_000 + b'\r\n',
        b':' * 60_000 + b'\r\n',
    ],
)
def test_fields_are_linear(line: bytes) -> None:
    """A field of any shape is read, or refused, in time that grows with its size."""

    def work(data: bytes) -> None:
        try:
            read_fields(BytesIO(data + b'\r\n'))
        except (BadRequest, FieldsTooLarge):
            pass

    assert_linear(lambda n: line[: n // 2] + line[len(line) - n // 2 :], work, len(line) // 2)


@pytest.mark.parametrize('text', ['?', '&', '?a', '&a=', '?token=', '%', '?a=b;', '?' + 'a' * 50])
def test_urls_and_queries_are_linear(text: str) -> None:
    """A query of any shape is masked and read in time that grows with its size."""

    def work(query: str) -> None:
        mask_url(query)
        secrets_of([]).of_request(query, [])
        try:
            _query({'QUERY_STRING': query})
        except BadRequest:
            pass
        with pytest.raises((BadRequest, URITooLong)):
            read_request_line(query.encode())

    assert_linear(lambda n: text * n, work, 100_000 // len(text))


# Alive meanwhile ---------------------------------------------------------------------------------------------------------

BODIES = {
    'many small values': b'{"requests":[{"host":"127.0.0.1:1","body":[' + b'0,' * 1_900_000 + b'0]}],"x":0}',
    'many lists': b'{"requests":[{"host":"127.0.0.1:1","body":[' + b'[],' * 900_000 + b'0]}],"x":0}',
    'too many values': b'{"x":[' + b'{},' * 4_000_000 + b'0]}',
    'one long text': b'{"x":"' + b'\\"' * 7_000_000 + b'"}',
    'many requests': b'{"requests":[' + b'{"host":"127.0.0.1:1","url":"/x","headers":{"a":"b"}},' * 60_000 + b'{}]}',
}


@pytest.mark.parametrize('name', BODIES)
def test_health_while_a_large_submission_is_read(tmp_path: Path, name: str) -> None:
    """While a large submission is being read, the service says that it lives, many times."""
    body = BODIES[name]
    with serving(tmp_path / 'runs') as service:

        def submit() -> bytes:
            with service.raw(
                f'POST /runs HTTP/1.1\r\nHost: {service.host}\r\nContent-Type: application/json\r\n'
                f'Content-Length: {len(body)}\r\n\r\n'.encode()
                + body
            ) as sock:
                answer: bytes = sock.recv(12)
            return answer

        submitted = gevent.spawn(submit)
        gaps, began = [], kit.own_time()
        while not submitted.ready():
            assert service.ask('GET', '/healthz').status == 200
            began, last = kit.own_time(), began
            gaps.append(began - last)
        assert submitted.get() == b'HTTP/1.1 400'
        assert len(gaps) >= 5 and max(gaps) < max(0.3, sum(gaps) / 2), (len(gaps), max(gaps), sum(gaps))
