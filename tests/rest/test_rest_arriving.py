"""Any path, parameter and header value arrives at a real server exactly as it was given, or is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient.rest import Client
from tests import kit

ENDPOINT = '/some/%C3%A9/api'
texts = st.text(max_size=30) | st.text(st.sampled_from('ab/.%?#&=+ ;,:@\\"\'é☃\r\n\t\0\x7f\x85\xa0\ud800'), max_size=12)
latin = texts | st.text(st.characters(max_codepoint=0xFF), max_size=20)
names = st.text(st.sampled_from("abcXYZ019-_.!#$%&'*+^`|~ :é\r\n"), min_size=1, max_size=8).map(
    lambda name: f'X-{name}'
)


@pytest.fixture(scope='module')
def server() -> Iterator[kit.Server]:
    """A server that keeps what it received."""
    with kit.serve() as server:
        yield server


@pytest.fixture(scope='module')
def rest(server: kit.Server) -> Iterator[Client]:
    """A client of a service below a path."""
    with Client(server.url + ENDPOINT) as rest:
        yield rest


def received(server: kit.Server, rest: Client, **options: Any) -> Any:
    """What arrived: one request, whose parts are its own; ``None`` when it was refused, and then nothing was sent."""
    server.requests.clear()
    try:
        rest.get(**options)
    except ValueError:
        assert server.requests == []
        return None
    [request] = server.requests
    assert request.raw.count(b'\r\n\r\n') == 1 and request.raw.split(b' ', 2)[2].startswith(b'HTTP/1.1\r\n')
    return request


def sendable(text: str) -> bool:
    """Whether it can be encoded."""
    return not any(0xD800 <= ord(char) < 0xE000 for char in text)


@hypothesis.given(texts)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_paths(server: kit.Server, rest: Client, path: str) -> None:
    """What a server decodes is the path as it was given; only line ends, NUL and lone surrogates are refused."""
    request = received(server, rest, path=path)
    assert (request is None) == (not sendable(path) or any(char in path for char in '\r\n\0'))
    if request is not None:
        target = request.path
        assert target.isascii() and target.isprintable() and not set(target) & set(' ?#"<>\\^`{|}[]')
        joined = path if path == '' or path.startswith('/') else f'/{path}'
        assert unquote(target, errors='strict') == unquote(ENDPOINT) + joined


@hypothesis.given(st.lists(st.tuples(texts, texts | st.integers() | st.binary(max_size=5)), max_size=4), st.booleans())
def test_params(server: kit.Server, rest: Client, pairs: list[tuple[str, Any]], mapping: bool) -> None:
    """What a server decodes are the parameters as they were given; only lone surrogates are refused."""
    given = dict(pairs) if mapping else pairs
    pairs = list(dict(pairs).items()) if mapping else pairs
    request = received(server, rest, params=given)
    fine = all(sendable(name) and (not isinstance(value, str) or sendable(value)) for name, value in pairs)
    assert (request is not None) == fine
    if request is not None:
        path, _, query = request.path.partition('?')
        assert path == ENDPOINT and query.isascii() and query.isprintable() and not set(query) & set(' #"<>+')
        told = [tuple(unquote_to_bytes(part) for part in pair.partition('=')[::2]) for pair in query.split('&') if pair]
        assert told == [
            (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in pairs
        ]
        if all(isinstance(value, str) for _, value in pairs):
            assert parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)) == pairs


@hypothesis.given(latin | st.integers() | st.binary(max_size=10), names | st.just('X-Thing'))
def test_header_values(server: kit.Server, rest: Client, value: Any, name: str) -> None:
    """A value is seen by the server as it was given, and so is its name, or the call is refused."""
    request = received(server, rest, headers={name: value})
    text = value.decode('latin-1') if isinstance(value, bytes) else str(value)
    if request is not None:
        assert request.headers.getlist(name) == [text]
        assert (f'\r\n{name}: {text}\r\n').encode('latin-1') in request.raw
    elif name == 'X-Thing':
        assert text.strip() != text or any(
            ord(char) > 0xFF or (char != '\t' and ord(char) < 0x20) or char == '\x7f' for char in text
        )


@hypothesis.given(latin)
def test_tokens(server: kit.Server, token: str) -> None:
    """So does a token."""
    server.requests.clear()
    try:
        rest = Client(server.url, token)
    except ValueError:
        return
    with rest:
        rest.get()
    assert [request.headers['x-auth-token'] for request in server.requests] == [token]


@hypothesis.given(st.text(st.sampled_from('ab/.%20éÿ:@;=&+,!\'()*~-_"<>\\^`{|}[] ?#\n'), max_size=12))
def test_endpoints(server: kit.Server, path: str) -> None:
    """The path of an endpoint is that of a URL: what is quoted stays so, and what cannot be in one is refused."""
    server.requests.clear()
    try:
        rest = Client(f'{server.url}/{path}')
    except ValueError:
        assert any(char in path for char in '?#% \n\\')
        return
    with rest:
        rest.get()
        rest.get('x')
    first, second = (request.path for request in server.requests)
    assert unquote(first) == unquote(f'/{path}') and second == f'{first.rstrip("/")}/x'
