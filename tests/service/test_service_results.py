"""How results are written and counted."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from napixclient import Response
from napixclient.allow import Allow
from napixclient.histogram import Histogram
from napixclient.service.counts import Counts
from napixclient.service.metrics import Metrics
from napixclient.service.results import Result, line_of, result_of
from napixclient.service.submission import Item, read_submission

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def item_of(**request: Any) -> Item:
    """The one request of a submission, as the service reads it."""
    data = json.dumps({'requests': [{'host': 'localhost:1', **request}]}).encode()
    (item,) = read_submission(data, 1, Allow((), loopback=True)).items
    return item


def written(item: Item, body: bytes, media: str = 'application/json') -> dict[str, Any]:
    """What the line of an answer says; it is one line in ASCII."""
    assert item.request is not None
    head = f'HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n\r\n'.encode()
    line = line_of(7, result_of(item, Response(item.request, 200, head, body, 0.25), 250.0, '1500.25', None))
    assert line.isascii() and len(line.splitlines()) == 1 and line == line.strip()
    found: dict[str, Any] = json.loads(line)
    return found


@settings(max_examples=200, deadline=None)
@given(
    tag=VALUES,
    url=st.text(min_size=1, max_size=20, alphabet=st.characters(codec='ascii', exclude_characters='#')),
    body=VALUES,
    indent=st.sampled_from([None, 2, '\t']),
    ascii_only=st.booleans(),
    coding=st.sampled_from(['utf-8', 'utf-16', 'utf-16-le', 'utf-32']),
)
def test_a_line_says_what_was_answered(
    tag: Any, url: str, body: Any, indent: Any, ascii_only: bool, coding: str
) -> None:
    """Whatever JSON an answer has, however it is written, its line has the same value beside what was asked."""
    path = '/' + ''.join(char for char in url if char.isprintable())
    item = item_of(tag=tag, url=path)
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    try:
        data = text.encode(coding)
    except UnicodeEncodeError:  # half a surrogate pair, which has to be escaped
        data = json.dumps(body).encode(coding)
    assert written(item, data) == {
        'seq': 7,
        'index': 0,
        'tag': tag,
        'host': 'localhost:1',
        'method': 'GET',
        'url': item.url,
        'state': 'done',
        'status': 200,
        'ms': 250.0,
        'at': 1500.25,
        'attempts': 1,
        'body': body,
        'error': None,
    }


def test_what_is_no_json_is_a_text() -> None:
    """A body that only calls itself JSON is written as the text that it is; without a body there is none."""
    item = item_of()
    for body in '{"a": 1', '[NaN]', '{}\n{}':
        assert written(item, body.encode())['body'] == body
    assert written(item, b'[1]\0')['body'] == {'base64': 'WzFdAA=='}  # which a text would not keep
    assert written(item, b'[1]')['body'] == [1]
    assert written(item, b'[1]', 'text/plain')['body'] == '[1]'  # though the same bytes were JSON before
    assert written(item, b'')['body'] is None
    assert written(item, b'\xff', 'text/plain')['body'] == {'base64': '/w=='}
    assert written(item, b'\xef\xbb\xbf{"a":\r\n1}')['body'] == {'a': 1}


RESULTS = st.builds(
    Result,
    number=st.integers(0, 9),
    end=st.sampled_from(['ok', 'failed', 'cancelled', 'interrupted']),
    status=st.sampled_from([None, 200, 204, 301, 404, 503, 700]),
    ms=st.floats(0, 1e5) | st.sampled_from([0.0, 1.0, 2.0, 4.0, 1000.0, 60_000.0]),
    error=st.sampled_from(['ReadTimeout', 'Cancelled']),
    text=st.just(''),
)


@given(st.lists(st.lists(RESULTS, max_size=20), max_size=5))
def test_many_are_counted_as_each(groups: list[list[Result]]) -> None:
    """Results that are counted together are counted as if each had come alone, by their ends and by their times."""
    counts, metrics, singly = Counts(100, {}), Metrics(), Metrics()
    for group in groups:
        counts.count(group)
        metrics.on_results(group)
        for result in group:
            singly.on_results([result])
    every = [result for group in groups for result in group]
    answered = [result for result in every if result.status is not None]
    ends = Counter(result.end for result in every)
    summary = counts.summary()
    assert summary['counts'] == {'total': 100, 'done': len(every), 'in_flight': 0} | {
        end: ends[end] for end in ('ok', 'failed', 'cancelled', 'interrupted')
    }
    times = Histogram()
    for result in answered:
        times.add(result.ms)
    assert summary['buckets'] == times.stored()
    assert Counts.of(json.loads(json.dumps(summary))).summary() == summary
    assert figures(metrics).keys() == figures(singly).keys()
    for le in (1, 2, 5, 10, 60_000):
        below = bisect_left(sorted(result.ms for result in answered), le * (1 + 1e-12))
        assert figures(metrics)[f'napix_request_seconds_bucket{{le="{le / 1000}"}}'] == below


def figures(metrics: Metrics) -> dict[str, float]:
    """What Prometheus reads."""
    lines = [line for line in metrics.show()[0].decode().splitlines() if not line.startswith('#')]
    return {name: float(value) for name, _, value in (line.rpartition(' ') for line in lines)}
