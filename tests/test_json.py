"""What is JSON, how it is read and how it is written: the same in all parts of napixclient."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import gevent
import hypothesis
import pytest
from gevent.event import Event
from hypothesis import strategies as st

from napixclient import Client, RemoteError, Request, Response, rest
from napixclient.marconi.posting import _encoded
from napixclient.marconi.wire import encoded
from napixclient.messages import dump_json, is_json, load_json, redump_json
from tests.kit import READ, FaultServer, Server, Wait, serve

pytestmark = pytest.mark.usefixtures('tidy')

MARK = b'\xef\xbb\xbf'
LINES = 'application/x-ndjson'


def answer(body: bytes, kind: str = 'application/json') -> Response:
    """An answer of that Content-Type."""
    return Response(
        Request('server.example', 'GET', '/'), 200, f'HTTP/1.1 200 OK\r\nContent-Type: {kind}'.encode(), body, 0.25
    )


def answering(body: bytes, kind: str = 'application/json', status: int = 200) -> Server:
    """A server that answers so."""
    return serve(lambda *_: (status, {'Content-Type': kind}, body))


def strict(data: bytes | str) -> Any:
    """Read JSON as a reader does that knows no numbers of Python's own."""

    def refuse(name: str) -> None:
        raise AssertionError(f'{name} is no JSON')

    return json.loads(data, parse_constant=refuse)


# Which it is ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'kind',
    [
        'application/json',
        'Application/JSON',
        'application/json;charset=utf-8',
        ' application/json ; a="b;c"',
        'text/json',
        'application/problem+json',
        'application/vnd.api+json; version=1',
        'image/svg+json',
        'application/json-patch+json',
        'application/x-json',
        'application/json-home',
        'application/x-amz-json-1.1',
        'application/json, application/json',
        'application/json,text/html',
        'application/json;',
        'application/json ;charset',
        '\tapplication/json\t',
        'application/vnd.a.b-c+json',
        'MODEL/GLTF+JSON',
    ],
)
def test_json_types(kind: str) -> None:
    """JSON is what is called so, or has a name that ends in +json (RFC 6839 §3.1)."""
    assert is_json(kind)
    assert answer(b'[1]', kind).body == [1]


@pytest.mark.parametrize(
    'kind',
    [
        'application/x-ndjson',
        'application/ndjson',
        'application/jsonl',
        'application/x-jsonlines',
        'application/jsonlines',
        'application/json-lines',
        'application/stream+json',
        'application/json-seq',
        'application/geo+json-seq',
        'application/x-json-stream',
        'application/json5',
        'application/jsonp',
        'application/javascript',
        'text/html',
        'text/plain; format=json',
        'text/html; a=application/json',
        'jsonapplication',
        '',
        'json',
        'text/html, application/json',
        '+json',
        '/json',
        '/+json',
        'application/',
        'application /json',
        'application/a+json/b+json',
        'application/\xe9+json',
        'application/json\xa0',
        'application/vnd a+json',
        '+json-seq',
    ],
)
def test_other_types_are_text(kind: str) -> None:
    """Lines of JSON and all other types are text, also where the body would be JSON; so is a body without a type."""
    assert not is_json(kind)
    assert answer(b'{"a": 1}\n', kind).body == '{"a": 1}\n'
    assert Response(Request('server.example', 'GET', '/'), 200, b'HTTP/1.1 200 OK', b'[1]', 0.25).body == '[1]'


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e400', math.inf),
        ('[-1e999]', [-math.inf]),
        ('{"a": 1E+400}', {'a': math.inf}),
        ('1e-400', 0.0),
        ('1.0', 1.0),
        ('-0', 0),
        ('123456789012345678901234567890', 123456789012345678901234567890),
        ('"\\ud800"', '\ud800'),
        ('{"a": 1, "a": 2}', {'a': 2}),
        (' \r\n[1]\t', [1]),
        ('"\ufeff"', '\ufeff'),
        ('"é\u2028"', 'é\u2028'),
        ('null', None),
    ],
)
def test_reading(text: str, value: Any) -> None:
    """All that RFC 8259 allows is read, with a byte order mark or without; a number beyond a double is infinite."""
    for data in text.encode(), MARK + text.encode():
        got = answer(data)
        for found in load_json(data), load_json(data.decode()), got.json(), got.body:
            assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    'data',
    [
        b'NaN',
        b'[Infinity]',
        b'{"a": -Infinity}',
        b'{"a"',
        b"{'a': 1}",
        b'[1,]',
        b'[1] [2]',
        b'',
        MARK,
        MARK * 2 + b'1',
        b'[' * 100_000,
        b'{"a":' * 100_000,
        b'9' * 5000,
        b'-' + b'9' * 5000,
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'01',
        b'1.',
        b'"\n"',
    ],
)
def test_what_is_no_json_is_text(data: bytes) -> None:
    """What cannot be read is a ValueError of `json()` and the text as `body`; NaN and Infinity are not JSON."""
    got = answer(data)
    with pytest.raises(ValueError):
        got.json()
    assert got.body == (data.decode('utf-8', 'replace') or None)


def test_charset_where_it_is_no_unicode() -> None:
    """JSON that is not in Unicode is read by the charset of its Content-Type, if that fits."""
    assert answer('{"é": 1}'.encode('latin-1'), 'application/json; charset=latin-1').body == {'é': 1}
    assert answer('{"é": 1}'.encode(), 'application/json; charset=latin-1').body == {'é': 1}
    for charset in 'utf-8', 'ascii', 'nonsense', 'hex', 'punycode', 'idna':
        got = answer('{"é": 1}'.encode('latin-1'), f'application/json; charset={charset}')
        assert got.body == '{"\ufffd": 1}'
        with pytest.raises(ValueError):
            got.json()


@hypothesis.given(st.binary(max_size=40) | st.text('[]{}",:\\u0dN aeE+-1.\ufeff').map(str.encode))
def test_whatever_comes(data: bytes) -> None:
    """Whatever is called JSON is a value or a text, and raises nothing else than ValueError."""
    got = answer(data)
    try:
        assert repr(got.json()) == repr(got.body)
    except ValueError:
        assert isinstance(got.body, str) or not data


@pytest.mark.parametrize('kind', ['application/json', 'application/problem+json', 'application/x-ndjson', 'text/plain'])
def test_error_documents(kind: str) -> None:
    """What a server says of its failure is an object where its type is JSON, with a mark too, and else a text."""
    body = MARK + b'{"message": "no room", "left": 1e400}\n'
    with answering(body, kind, 507) as server, Client(server.host) as client:
        with pytest.raises(RemoteError) as caught:
            client.request('GET', '/')
    if is_json(kind):
        assert caught.value.remote_error == {'message': 'no room', 'left': math.inf}
        assert str(caught.value).endswith('no room')
    else:
        assert caught.value.remote_error == f'"507 Insufficient Storage" {body.decode().rstrip()}'


def test_rest_reads_the_same() -> None:
    """`json` of a REST client's answer is read as `body` is."""
    with answering(MARK + b'[1e400]') as server, rest.Client(f'http://{server.host}') as client:
        assert client.get().json == [math.inf]
    with answering(b'[NaN]') as server, rest.Client(f'http://{server.host}') as client:
        with pytest.raises(rest.ClientError):
            _ = client.get().json


# Writing -------------------------------------------------------------------------------------------------------------


def posted(value: Any) -> bytes:
    """What a queue's message is sent as."""
    return _encoded({'body': value}, '2.0')


WRITERS: dict[str, Callable[[Any], Any]] = {
    'request': lambda value: Request('server.example', 'POST', '/', value),
    'rest': lambda value: rest.Client('http://127.0.0.1:1').post(json=value),
    'queue': encoded,
    'message': posted,
    'codec': dump_json,
}


@pytest.mark.parametrize('writer', WRITERS)
@pytest.mark.parametrize(
    ('value', 'place'),
    [
        ({'size': math.inf}, 'size'),
        ([1, {'a b': [-math.inf]}], "[1]['a b'][0]"),
        ({'a': (0.5, math.nan)}, 'a[1]'),
        ({math.inf: 1}, 'a name in'),
        ({'a': {'b': [[{'c': 1e308 * 10}]]}}, 'a.b[0][0].c'),
    ],
)
def test_numbers_that_are_none_in_json(writer: str, value: Any, place: str) -> None:
    """A number beyond a double, or NaN, is refused wherever it stands, and the error says where, before anything is sent."""
    with pytest.raises(ValueError) as caught:
        WRITERS[writer](value)
    assert place in str(caught.value)
    assert 'RFC 8259' in str(caught.value)


@pytest.mark.parametrize(
    ('value', 'data'),
    [
        ({'a': 1.0, 'b': 10**400, 'c': 1e308}, b'{"a":1.0,"b":%d,"c":1e+308}' % 10**400),
        (['\ud800', 'é'], b'["\\ud800","\\u00e9"]'),
        ({1: None, 2.5: True}, b'{"1":null,"2.5":true}'),
        ([], b'[]'),
    ],
)
def test_writing(value: Any, data: bytes) -> None:
    """What JSON can hold is written in ASCII and exactly, whole numbers of any size too."""
    assert dump_json(value) == data == Request('server.example', 'POST', '/', value).payload


def test_what_has_no_end() -> None:
    """What is nested too deep, within itself, or has more digits than Python converts, is a ValueError that says so."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    for value, word in ((deep, 'deep'), (circle, 'Circular'), ([10**5000], 'digits')):
        with pytest.raises(ValueError, match=word):
            Request('server.example', 'POST', '/', value)
    while deep:  # or the interpreter comes to its own end at it
        deep = deep.pop()


@hypothesis.given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False)
        | st.text()
        | st.sampled_from(['Infinity', '"Infinity', '\\"NaN', math.inf]),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_was_read_is_written_again(value: Any) -> None:
    """Decoded JSON is written as JSON that means the same, numbers beyond a double too, and texts are left alone."""
    for style in {}, {'indent': 2, 'ensure_ascii': False}, {'separators': (',', ':')}:
        assert strict(redump_json(value, **style)) == value


# Lines ---------------------------------------------------------------------------------------------------------------


def streamed(*pieces: bytes | Wait, kind: str = LINES) -> FaultServer:
    """A server that answers in these pieces."""
    head = f'HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n'.encode()
    chunks = [piece if isinstance(piece, Wait) else b'%x\r\n%b\r\n' % (len(piece), piece) for piece in pieces]
    return FaultServer([READ, head, *chunks, b'0\r\n\r\n'])


BODIES = {
    'lines': (LINES, b'{"a": 1}\n[2]\n', [{'a': 1}, [2]]),
    'no last end': (LINES, b'1\n2', [1, 2]),
    'CRLF': (LINES, b'"a"\r\n"b"\r\n', ['a', 'b']),
    'empty lines': (LINES, b'\n1\n\r\n \t\n2\n\n', [1, 2]),
    'mark': (LINES, MARK + b'{"a": 1}\n2\n', [{'a': 1}, 2]),
    'only a mark': (LINES, MARK + b'\r\n1\n', [1]),
    'nothing': (LINES, b'', []),
    'null': (LINES, b'null\nfalse\n0\n', [None, False, 0]),
    'separators of other lines': (LINES, '"a\u2028b\x85"\n"c\\n"\n'.encode(), ['a\u2028b\x85', 'c\n']),
    'beyond a double': (LINES, b'1e400\n', [math.inf]),
    'one document': ('application/json', b'{"a": 1}', [{'a': 1}]),
    'a sequence': ('application/json-seq', b'\x1e{"a":\n 1}\n\x1e[2]\n\x1e\x1e3\n', [{'a': 1}, [2], 3]),
    'of a kind': ('application/geo+json-seq; a=b', b'\x1e"a"\x1etrue\n', ['a', True]),
}


@pytest.mark.parametrize('name', BODIES)
def test_iter_json(name: str) -> None:
    """`iter_json` gives a value for each line, or for each text of a sequence, wherever the pieces were cut, and whole too."""
    kind, body, values = BODIES[name]
    assert list(answer(body, kind).iter_json()) == values
    for size in 1, 2, 3, 100:
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        with streamed(*pieces, kind=kind) as server, Client(server.host) as client:
            assert list(client.request('GET', '/', stream=True).iter_json()) == values


@pytest.mark.parametrize(
    ('kind', 'body', 'told'),
    [
        (LINES, b'1\n\n{"a"\n2\n', 'line 3'),
        (LINES, b'NaN\n2\n', 'line 1'),
        (LINES, b'1\n"\xff"\n2\n', 'line 2'),
        (LINES, b'1\n' + b'[' * 100_000 + b'\n2\n', 'line 2'),
        ('application/json-seq', b'\x1e1\n\x1e2\x1e3\n', 'text 2'),
        ('application/json-seq', b'\x1e{"a"\x1e3\n', 'text 1'),
    ],
)
def test_a_line_that_is_no_json(kind: str, body: bytes, told: str) -> None:
    """A line that cannot be read is a ValueError that names its number; who begins anew reads on behind it."""
    with pytest.raises(ValueError, match=f'{told} '):
        list(answer(body, kind).iter_json())
    with streamed(body, kind=kind) as server, Client(server.host, simultaneous=1) as client:
        found = client.request('GET', '/', stream=True)
        with pytest.raises(ValueError, match=f'{told} '):
            list(found.iter_json())
        assert list(found.iter_json()) == [3 if 'seq' in kind else 2]


def test_iter_json_interrupted() -> None:
    """Who is interrupted in the middle of a line misses nothing of it, and lines keep their numbers."""
    go = Event()
    with streamed(MARK + b'1\n{"a"', Wait(go), b': 2}\noops\n') as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        values = found.iter_json()
        assert next(values) == 1
        mine = gevent.Timeout(0.1)
        with pytest.raises(gevent.Timeout) as caught, mine:
            next(values)
        assert caught.value is mine
        go.set()
        values = found.iter_json()
        assert next(values) == {'a': 2}
        with pytest.raises(ValueError, match='line 3 '):
            next(values)


def test_iter_json_as_they_arrive() -> None:
    """A line's value is there as soon as its end is, and what follows can be read in another way."""
    go = Event()
    with streamed(b'{"a": 1}\n', Wait(go), b'rest') as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        for value in found.iter_json():
            assert value == {'a': 1}
            break
        go.set()
        assert found.read() == b'rest'


def test_a_file_goes_as_it_is() -> None:
    """A body of bytes, a text or a file is nobody's JSON but its sender's: it is not looked at."""
    with serve() as server, Client(server.host) as client:
        for body in MARK + b'[1e400]', '[NaN]', io.BytesIO(b'[1e400]'):
            assert client.request('POST', '/000001', body, {'Content-Type': 'application/json'}).status == 200
