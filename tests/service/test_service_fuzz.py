"""Whatever is submitted is refused with 400, or its run ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napixclient.allow import Allow
from napixclient.service.submission import BadSubmission, Options, kept, read_submission, restored
from tests import kit
from tests.service.serving import LONG, Service, serving

#: JSON in spellings that someone, somewhere, does not bear.
LITERALS = (
    '1e400',
    '-1e400',
    '1E+999',
    '-0.0',
    '5e-324',
    '1e-400',
    'NaN',
    'Infinity',
    '-Infinity',
    'null',
    'true',
    '9' * 400,
    '9' * 4300,
    '9' * 4301,
    '"\\u0000"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\uffff"',
    '"\x7f"',
    '""',
    '{"": ""}',
    '{"\\u0000": 1}',
    '{"\\ud800": 1}',
    '{"a": 1, "a": 2}',
)
WORDS = (
    st.sampled_from(LITERALS)
    | st.text(max_size=20).map(json.dumps)
    | st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
    | st.integers().map(json.dumps)
    | st.integers(1, 1500).map(lambda depth: '[' * depth + ']' * depth)
    | st.integers(1, 300).map(lambda depth: '{"a":' * depth + '1' + '}' * depth)
    | st.integers(1, 300_000).map(lambda size: f'"{"x" * size}"')
)


def objects(names: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """The text of an object."""
    return st.dictionaries(names, values, max_size=3).map(
        lambda members: '{' + ', '.join(f'{json.dumps(name)}: {value}' for name, value in members.items()) + '}'
    )


VALUES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: f'[{", ".join(found)}]') | objects(st.text(max_size=5), inner)
    ),
    max_leaves=4,
)
HEADERS = objects(
    st.sampled_from(['X-A', 'Authorization', 'Cookie', 'X-Api-Key', 'Accept']) | st.text(max_size=5), VALUES
)
METHODS = st.sampled_from(['"GET"', '"POST"', '"PUT"', '"DELETE"', '"TRACE"', '"x"'])
URLS = st.sampled_from(['"/"', '"/?token=abcdef"', '"/%00"', '"/\\u00e9"', '"/?a=\\ud800"']) | VALUES
PARTS = st.fixed_dictionaries(
    {}, optional={'tag': VALUES, 'body': VALUES, 'headers': HEADERS, 'method': METHODS, 'url': URLS}
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        'need': st.sampled_from(['1', '1.0']) | WORDS,
        'retries': st.sampled_from(['0', '1']) | WORDS,
        'ordered': st.sampled_from(['true', '0']),
        'timeout': st.sampled_from(['5', '1e-300']) | WORDS,
        'deadline': st.sampled_from(['5', '1e400']) | WORDS,
        'simultaneous': st.sampled_from(['1', '"auto"', '1e0']) | WORDS,
    },
)


def text_of(host: str, requests: list[dict[str, str]], options: dict[str, str]) -> bytes:
    """A submission, as it is sent."""
    members = [
        ', '.join([f'"host": "{host}"', *(f'"{name}": {value}' for name, value in parts.items())]) for parts in requests
    ]
    rest = ''.join(f', "{name}": {value}' for name, value in options.items())
    return f'{{"requests": [{", ".join(f"{{{one}}}" for one in members)}]{rest}}}'.encode('utf-8', 'surrogatepass')


@pytest.fixture(scope='module')
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service of its own, and the host of a server."""
    with (
        kit.serve(lambda *asked: (200, {'Content-Type': 'application/json'}, asked[3] or b'{}')) as server,
        serving(tmp_path_factory.mktemp('fuzz') / 'runs', '--connections-per-run', 4) as service,
    ):
        yield service, server.host


def strictly(name: str) -> Any:
    """Refuses what Python calls JSON, and others do not."""
    raise AssertionError(name)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PARTS, min_size=1, max_size=3), OPTIONS)
def test_every_run_that_is_taken_ends(
    fuzzed: tuple[Service, str], requests: list[dict[str, str]], options: dict[str, str]
) -> None:
    """A submission is refused with 400, or its run ends, and each request has one result that is JSON."""
    service, host = fuzzed
    answer = service.ask('POST', '/runs', text_of(host, requests, options), {'Content-Type': 'application/json'})
    assert answer.status in (201, 400), answer.body
    if answer.status == 400:
        assert answer.body['error_class'] == 'BadRequest'
        return
    id = answer.body['id']
    kit.wait_until(lambda: service.show(id)['state'] != 'running', 'the run ends', LONG)
    assert service.show(id)['state'] in ('done', 'cancelled')
    lines = service.ask('GET', f'/runs/{id}/results').text.splitlines()
    results = [json.loads(line, parse_constant=strictly) for line in lines]
    assert sorted(result['index'] for result in results) == list(range(len(requests)))
    assert service.ask('GET', f'/runs/{id}/requests').status == 200


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PARTS, min_size=1, max_size=3))
def test_what_is_kept_is_what_is_sent(requests: list[dict[str, str]]) -> None:
    """A request that was never sent is sent after a restart as it would have been before; or not at all, if it has secrets."""
    try:
        submission = read_submission(text_of('127.0.0.1:1', requests, {}), 10, Allow(loopback=True))
        texts = [kept(item, item.request, submission.secrets) for item in submission.items]
    except BadSubmission:
        return
    for item, text in zip(submission.items, texts, strict=True):
        again = restored(item.number, json.loads(text), Options(), sent=False)
        assert (again.number, again.host, again.method, again.url) == (item.number, item.host, item.method, item.url)
        assert json.dumps(again.tag) == json.dumps(item.tag)
        if again.request is None:
            assert item.secret or submission.secrets.without('x') == 'x'
            continue
        assert item.request is not None and not item.secret
        for part in 'host', 'method', 'url', 'payload', 'tag':
            assert getattr(again.request, part) == getattr(item.request, part)
        assert list(again.request.headers.multi_items()) == list(item.request.headers.multi_items())


def test_secrets_are_not_kept() -> None:
    """Of a request that has secrets only what is shown is written down."""
    submission = read_submission(
        text_of(
            '127.0.0.1:1',
            [
                {'method': '"POST"', 'body': '"swordfish"', 'headers': '{"Authorization": "swordfish"}'},
                {'body': '{"also": "swordfish"}'},
                {},
            ],
            {},
        ),
        10,
        Allow(loopback=True),
    )
    texts = [kept(item, item.request, submission.secrets) for item in submission.items]
    assert 'swordfish' not in ''.join(texts) and [len(json.loads(text)) > 4 for text in texts] == [False, False, True]
