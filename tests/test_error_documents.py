"""The codec of chained errors: what is read out of anything that a server may say, and what we say ourselves."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient import Client, ClientPool, Hop, HTTPError, RefusedError, RemoteError, Request, Response, errors
from napixclient.error_documents import MAX_BYTES, MAX_OBJECTS, document_of, encode, failed_calls
from napixclient.error_shapes import MAX_TEXT, parse
from napixclient.errors import MAX_HOPS
from napixclient.messages import error_of
from tests import kit
from tests.helpers_pool import failure

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

REQUEST = Request('server.example', 'GET', '/captains')
CALL = 'GET http://server.example/captains'
JSON = 'application/json'


def answer(body: Any, media: str = JSON, status: int = 500, reason: str = 'Oops') -> Response:
    """An answer with this body; what is not bytes goes as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        REQUEST, status, f'HTTP/1.1 {status} {reason}\r\nContent-Type: {media}'.encode('latin-1'), data, 0.5
    )


def told(body: Any, media: str = JSON, **how: Any) -> HTTPError:
    """The error for a server that answers so."""
    return error_of(answer(body, media, **how))


def by_hand(document: Any) -> HTTPError:
    """An error whose document no JSON could be."""
    return HTTPError('it broke', request=REQUEST, remote_error=document)


def read(error: HTTPError) -> str:
    """Ask an error for everything that it can tell; its text."""
    chain = error.chain
    assert 1 <= len(chain) <= MAX_HOPS and error.root == chain[-1] and chain[0].remote_call == CALL
    for hop in chain:
        assert isinstance(hop, Hop) and isinstance(repr(hop), str)
        assert all(text is None or isinstance(text, str) for text in (hop.remote_call, hop.error_class, hop.error_text))
        assert hop.status is None or 0 <= hop.status < 1000
        assert hop.elapsed is None or 0 <= hop.elapsed < 1e10
        assert hop.traceback is None or isinstance(hop.traceback, list)
    text = str(error)
    assert (
        len(text.splitlines()) <= MAX_HOPS and len(text) <= MAX_HOPS * 3 * MAX_TEXT and len(repr(error)) < 4 * MAX_TEXT
    )
    assert all(line.isprintable() for line in text.split('\n'))
    assert isinstance(error.message, str)
    return text


def sent(exc: BaseException, expose: bool = False) -> Any:
    """The document that we send for an exception, checked to be what it must always be."""
    data = encode(document_of(exc, 502, 'GET', '/here', 'ab' * 16, expose), expose)
    return checked(data)


def checked(data: bytes) -> Any:
    """A document as it is sent: JSON, bounded, inert, of 8 error objects at most."""
    assert len(data) <= MAX_BYTES and not set(b'<>&') & set(data) and data.isascii()
    document = json.loads(data)
    assert error_objects(document) <= MAX_OBJECTS
    return document


def error_objects(document: Any) -> int:
    """How many there are; an entry of a fan-out that tells of a call alone is none, nor is a mark within one."""
    if not isinstance(document, dict):
        return int(document is not None)
    several = document.get('remote_errors')
    if several is None:
        own = (
            0 if set(document) <= {'remote_call', 'remote_status', 'remote_elapsed', 'remote_error', 'truncated'} else 1
        )
        return own + error_objects(document.get('remote_error'))
    return 1 + sum(error_objects(one) for one in several)


def depth(document: Any) -> int:
    """How deep it nests, the marks counted too."""
    return 1 + depth(document.get('remote_error')) if isinstance(document, dict) else int(document is not None)


def chain(hops: int, root: Any = None, **more: Any) -> Any:
    """A document of so many error objects."""
    document: Any = {'error_class': 'Root', 'error_text': 'disk full'} if root is None else root
    for number in reversed(range(hops - 1)):
        document = {
            'error_class': f'E{number}',
            'error_text': f'text {number}',
            'remote_call': f'GET http://h{number}/',
            'remote_status': 502,
            'remote_elapsed': 0.5,
            **more,
            'remote_error': document,
        }
    return document


# What is read --------------------------------------------------------------------------------------------------------

NAPIX = {
    'error_class': 'ValueError',
    'error_text': 'boom',
    'request': {'path': '/boom/', 'method': 'GET'},
    'filename': 'boom.py',
    'line': 5,
    'traceback': [{'filename': 'boom.py', 'line': 5, 'in': 'list_resource', 'call': "raise ValueError('boom')"}],
}
SHAPES: dict[str, tuple[Any, str | None, str | None]] = {
    'napix': (NAPIX, 'ValueError', 'boom'),
    'napix, validation': ({'_napix_': 'id is world'}, None, 'id is world'),
    'napix and RFC 9457': ({**NAPIX, 'type': 'about:blank', 'title': 'Oops', 'status': 500}, 'ValueError', 'boom'),
    'napix without a class': ({'error_text': 'boom'}, None, 'boom'),
    'napix without words': ({'error_class': '', 'error_text': '', 'message': 'boom'}, None, 'boom'),
    'RFC 9457': (
        {
            'type': 'https://example.com/probs/out-of-credit',
            'title': 'You do not have enough credit.',
            'status': 403,
            'detail': 'Your current balance is 30, but that costs 50.',
            'instance': '/account/12345/msgs/abc',
        },
        'You do not have enough credit.',
        'Your current balance is 30, but that costs 50.',
    ),
    'RFC 9457, bare': ({'type': 'about:blank', 'title': 'Not Found', 'status': 404}, None, 'Not Found'),
    'RFC 9457 without a title': ({'type': 'about:blank', 'status': 404, 'detail': 'gone'}, None, 'gone'),
    'RFC 9457 with errors': (
        {
            'title': 'Your request is not valid.',
            'errors': [
                {'detail': 'must be a positive integer', 'pointer': '#/age'},
                {'detail': "must be 'green' or 'red'"},
            ],
        },
        'Your request is not valid.',
        "must be a positive integer; must be 'green' or 'red'",
    ),
    'OpenStack': (
        {'badRequest': {'message': 'Invalid size', 'code': 400, 'details': ''}},
        'badRequest',
        'Invalid size',
    ),
    'OpenStack with details': (
        {'itemNotFound': {'message': 'no vm', 'code': 404, 'details': 'vm17'}},
        'itemNotFound',
        'no vm: vm17',
    ),
    'OpenStack, Neutron': (
        {'NeutronError': {'type': 'NetworkNotFound', 'message': 'no net', 'detail': ''}},
        'NeutronError',
        'no net',
    ),
    'OpenStack, errors': (
        {'errors': [{'status': 404, 'code': 'x.y', 'title': 'No VM', 'detail': 'vm17 is gone'}]},
        'No VM',
        'vm17 is gone',
    ),
    'OpenStack, many errors': ({'errors': [{'title': 'A', 'detail': 'a'}, {'title': 'B', 'detail': 'b'}]}, 'A', 'a; b'),
    'errors that are texts': ({'errors': ['a', 'b']}, None, 'a; b'),
    'Zaqar': ({'title': 'Invalid API request', 'description': 'no such queue'}, 'Invalid API request', 'no such queue'),
    'Zaqar, error': ({'error': 'no such queue'}, None, 'no such queue'),
    'Google': (
        {'error': {'code': 404, 'message': 'not found', 'status': 'NOT_FOUND', 'details': [{'a': 1}]}},
        'NOT_FOUND',
        'not found',
    ),
    'Google, errors': (
        {'error': {'errors': [{'domain': 'global', 'message': 'no'}], 'code': 404, 'message': 'no'}},
        None,
        'no',
    ),
    'Keystone': (
        {'error': {'message': 'The request needs authentication.', 'code': 401, 'title': 'Unauthorized'}},
        'Unauthorized',
        'The request needs authentication.',
    ),
    'OAuth': ({'error': 'invalid_grant', 'error_description': 'expired'}, 'invalid_grant', 'expired'),
    'Spring': (
        {'status': 500, 'error': 'Internal Server Error', 'message': 'boom', 'path': '/'},
        'Internal Server Error',
        'boom',
    ),
    'Spring without a message': (
        {'status': 500, 'error': 'Internal Server Error', 'path': '/'},
        None,
        'Internal Server Error',
    ),
    'title and error': ({'title': 'Bad', 'error': 'no such queue', 'errors': []}, 'Bad', 'no such queue'),
    'the same twice': ({'title': 'no', 'error': 'no', 'message': 'no'}, 'no', 'no'),
    'detail': ({'detail': 'Not Found'}, None, 'Not Found'),
    'message and code': ({'code': 'E42', 'message': 'boom'}, 'E42', 'boom'),
    'unknown': ({'status': 'fail', 'data': {'reason': 'disk'}}, None, '{"status": "fail", "data": {"reason": "disk"}}'),
    'empty': ({}, None, None),
    'only a call': ({'remote_call': 'GET http://x/', 'remote_error': None}, None, None),
}


@pytest.mark.parametrize('shape', SHAPES)
def test_shapes(shape: str) -> None:
    """What a human wants to read is found in every shape in which servers tell of failures."""
    document, error_class, error_text = SHAPES[shape]
    error = told(document)
    assert error.remote_error == document
    assert (error.root.error_class, error.root.error_text) == (error_class, error_text)
    words = ': '.join(part for part in (error_class, error_text) if part)
    assert read(error).splitlines()[0] == f'{CALL}: "500 Oops" {words}'.rstrip()
    nested = told({'error_class': 'E', 'remote_call': 'GET http://b.example/', 'remote_error': document})
    assert nested.root[2:4] == (error_class, error_text) and read(nested)


TEXTS: dict[str, tuple[bytes, str, str, str]] = {
    # the body, its type, remote_error, and what a human reads
    'text': (b'10 not found', 'text/plain', '10 not found', '10 not found'),
    'nothing': (b'', 'text/plain', '', ''),
    'lines': (b'a\r\n  b\n', 'text/plain', 'a\r\n  b', 'a b'),
    'HTML': (
        b'<!DOCTYPE html>\n<html><head><title>Oops</title><style>p {}</style><script>x = "<p>"</script></head>'
        b'<body><!-- no --><h1>It&#39;s &lt;gone&gt;</h1>\n<p>Really',
        'text/html',
        '',
        "Oops It's <gone> Really",
    ),
    'a page as text': (b'<html><body>no</body></html>', 'text/plain', '', 'no'),
    'XML': (
        b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>no key</Message></Error>',
        'application/xml',
        '',
        'NoSuchKey no key',
    ),
    'tags in a text': (b'a <b> c', 'text/plain', 'a <b> c', 'a <b> c'),
    'JSON, a list': (b'["a", 1]', JSON, '["a", 1]', '["a", 1]'),
    'JSON, a text': (b'"a b"', JSON, 'a b', 'a b'),
    'JSON, a number': (b'5', JSON, '5', '5'),
    'JSON, broken': (b'{oops', JSON, '{oops', '{oops'),
    'JSON, as text': (b'{"a": 1}', 'text/plain', '{"a": 1}', '{"a": 1}'),
    'JSON of UTF-16': ('["é"]'.encode('utf-16'), JSON, '', ''),
    'latin-1': (b'caf\xe9', 'text/plain; charset=latin-1', 'café', 'café'),
    'no UTF-8': (b'caf\xe9', 'text/plain', 'caf\ufffd', 'caf\ufffd'),
    'no such charset': (b'a', 'text/plain; charset=klingon', 'a', 'a'),
    'a codec that is none': (b'\\x41-', 'text/plain; charset=unicode_escape', '\\x41-', '\\x41-'),
}


@pytest.mark.parametrize('name', TEXTS)
def test_texts(name: str) -> None:
    """What is no JSON object is the quoted status line and the body, raw; of a page, its words are shown."""
    body, media, raw, words = TEXTS[name]
    error = told(body, media)
    assert isinstance(error.remote_error, str) and error.remote_error.startswith('"500 Oops"')
    if raw:
        assert error.remote_error == f'"500 Oops" {raw}'
    if words or not body:
        assert read(error) == f'{CALL}: "500 Oops" {words}'.rstrip()
        assert (
            error.root.error_class is None
            and ' '.join((error.root.error_text or '').split()) == f'"500 Oops" {words}'.rstrip()
        )


@pytest.mark.parametrize(
    ('status', 'reason', 'line'), [(404, 'NOT FOUND', '"404 NOT FOUND"'), (500, '', '"500"'), (599, 'é', '"599 é"')]
)
def test_status_lines(status: int, reason: str, line: str) -> None:
    """The status line is quoted; a reason may be missing."""
    assert told(b'no', 'text/plain', status=status, reason=reason).remote_error == f'{line} no'
    assert read(told({'error_text': 'no'}, status=status, reason=reason)) == f'{CALL}: {line} no'


def test_sane_lengths() -> None:
    """A long body, a long reason, a long text in a document: what goes to a log is cut, and says so."""
    for body, media in (
        (b'x' * 10**6, 'text/plain'),
        (b'<html>' + b'x' * 10**6, 'text/html'),
        ({'error_text': 'x' * 10**6}, JSON),
        ({'remote_call': 'x' * 10**6, 'remote_error': {'error_class': 'x' * 10**6}}, JSON),
        (['x' * 10**6], JSON),
        ({'a': {'b': ['x' * 10**6]}}, JSON),
    ):
        error = told(body, media, reason='r' * 10**5)
        assert len(read(error)) < 4 * MAX_TEXT and '…' in str(error)
        assert not isinstance(error.remote_error, str) or len(error.remote_error) < MAX_TEXT + 500
        assert all(len(hop.error_text or '') < 10 * MAX_TEXT for hop in error.chain)


def test_what_a_terminal_obeys_is_escaped() -> None:
    """Neither escape sequences nor lines of its own can a server put into the text of an error."""
    error = told(
        {
            'error_class': 'E\x1b[2J',
            'error_text': 'a\r\n  because GET http://bank.example/ failed\x00\x9b\u202e\ud800',
            'remote_call': 'GET\n\x07',
            'remote_error': 'x\x1b]0;y\x07',
        }
    )
    text = read(error)
    assert '\\x1b[2J' in text and '\\u202e' in text and '\\ud800' in text and len(text.splitlines()) == 2
    text.encode()


def test_an_answer_is_read_when_it_is_asked_for() -> None:
    """An answer comes in a callback of the loop, where a large document would hold up everybody else."""
    error = error_of(answer(b'[' * 10**7, 'text/plain'))
    assert error.args == ('',) and error.status == 500 and error.response is not None
    assert error.response._body is ...  # nobody has decoded it
    assert error.remote_error.startswith('"500 Oops" [[[')
    assert error.args == (error.message,)


def test_message_and_remote_error_can_be_set() -> None:
    """By whoever makes errors of their own of ours."""
    error = told({'error_text': 'no'})
    error.message = 'other'
    assert error.remote_error == {'error_text': 'no'} and str(error) == f'{CALL}: other'
    error = told({'error_text': 'no'})
    error.remote_error = None
    assert error.message == '"500 Oops" no'


# Garbage -------------------------------------------------------------------------------------------------------------

MEMBERS = [
    'error_class',
    'error_text',
    'traceback',
    'filename',
    'line',
    'in',
    'call',
    'request',
    'remote_call',
    'remote_status',
    'remote_elapsed',
    'remote_error',
    'remote_errors',
    'truncated',
    'error',
    'errors',
    'message',
    'detail',
    'details',
    'description',
    'title',
    'status',
    'code',
    'type',
    'Authorization',
    'other',
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 600)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(['<html>', '"500 Oops" no', 'about:blank', 10**400, -1, 1e308, '\ud800', '\x1b[2J', 'x' * 3000])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=40,
)


@hypothesis.given(ANYTHING, st.booleans())
@hypothesis.settings(max_examples=200)
def test_any_document(document: Any, expose: bool) -> None:
    """Whatever JSON a server sends, and whatever Python makes of one: it is read, and sent on in bounds."""
    for error in (by_hand(document), told(document)):
        read(error)
        found = sent(error, expose)
        assert (found['error_class'], found['remote_call']) == (type(error).__name__, CALL)
        assert 'remote_error' in found and isinstance(read(told(found)), str)
    if isinstance(document, dict):
        checked(encode(document, expose))


@hypothesis.given(
    st.binary(max_size=300),
    st.sampled_from(
        [
            '',
            JSON,
            'application/problem+json; charset=utf-16',
            'text/plain',
            'text/html',
            'text/html; charset=utf-16',
            'text/plain; charset="utf-7"',
            'text/plain; charset=punycode',
            'text/x; charset=idna',
            'text/x; charset=undefined',
            'text/x; charset=unicode_escape',
            'text/x; charset=raw-unicode-escape',
            'text/x; charset=hex',
            'text/x; charset=\xff',
            'application/json; charset=zip',
        ]
    ),
)
@hypothesis.example(b'\xff\xfe', 'text/html; charset=utf-16')
@hypothesis.example(b'1' * 5000, JSON)
@hypothesis.example(b'{"a": NaN, "a": Infinity, "b": -0, "c": 1e999}', JSON)
@hypothesis.example(b'{"error_text": "\\ud800", "error_class": "\\udfff\\ud800"}', JSON)
@hypothesis.example(b'\\d\\N{x}', 'text/x; charset=unicode_escape')
def test_any_bytes(body: bytes, media: str) -> None:
    """No bytes whatever make the reader raise."""
    error = told(body, media)
    read(error)
    sent(error)


def nest(times: int, step: Callable[[Any], Any], document: Any) -> Any:
    """The step done so many times."""
    for _ in range(times):
        document = step(document)
    return document


def cycle(step: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """A document that holds itself."""
    document: dict[str, Any] = {}
    document.update(step(document))
    return document


DEEP = 30_000
ODD: dict[str, Callable[[], Any]] = {
    'lists': lambda: nest(DEEP, lambda x: [x], []),
    'objects': lambda: nest(DEEP, lambda x: {'a': x}, {}),
    'error': lambda: nest(DEEP, lambda x: {'error': x}, {}),
    'errors': lambda: nest(DEEP, lambda x: {'errors': [x]}, {}),
    'faults': lambda: nest(DEEP, lambda x: {'a': x, 'message': 'b'}, {}),
    'chain': lambda: nest(DEEP, lambda x: {'remote_error': x}, {'error_class': 'Root'}),
    'fan-outs': lambda: nest(DEEP, lambda x: {'remote_errors': [x]}, {'error_class': 'Root'}),
    'calls of fan-outs': lambda: nest(
        DEEP, lambda x: {'remote_errors': [{'remote_call': 'GET http://x/', 'remote_error': x}]}, {}
    ),
    'trees': lambda: nest(60, lambda x: {'remote_errors': [x, x]}, {'error_class': 'Root'}),
    'trees of calls': lambda: nest(
        60, lambda x: {'error_class': 'E', 'remote_errors': [{'remote_error': x}] * 3}, {'error_class': 'Root'}
    ),
    'marks': lambda: nest(DEEP, lambda x: {'truncated': 1, 'remote_error': x}, {'error_class': 'Root'}),
    'a cycle': lambda: cycle(lambda x: {'error_class': 'E', 'remote_error': x}),
    'a cycle of marks': lambda: cycle(lambda x: {'truncated': 1, 'remote_error': x}),
    'a cycle of fan-outs': lambda: cycle(lambda x: {'remote_errors': [x, x]}),
    'a cycle of calls': lambda: cycle(
        lambda x: {'remote_errors': [{'remote_call': 'GET http://x/', 'remote_error': x}]}
    ),
    'a cycle of errors': lambda: cycle(lambda x: {'errors': [x], 'error': x}),
    'a cycle of anything': lambda: cycle(lambda x: {'a': x, 'b': [x]}),
    'wide': lambda: {str(number): number for number in range(200_000)},
    'a wide fan-out': lambda: {'remote_errors': [{'error_class': 'E'}] * 200_000},
    'wide and deep': lambda: nest(5, lambda x: {str(number): x for number in range(30)}, 'x' * 100),
    'a wide traceback': lambda: {
        'error_class': 'E',
        'traceback': [{'filename': 'f', 'line': 1, 'in': 'x', 'call': 'y'}] * 200_000,
    },
    'a deep traceback': lambda: {
        'error_class': 'E',
        'traceback': [{'filename': 'f', 'in': nest(DEEP, lambda x: [x], [])}],
    },
    'numbers': lambda: {
        'error_class': 'E',
        'a': 10**5000,
        'remote_status': 10**5000,
        'remote_elapsed': 10**5000,
        'remote_error': {
            'truncated': 10**5000,
            'remote_error': {'error_class': 'E', 'traceback': [{'filename': 'f', 'line': 10**5000}]},
        },
    },
    'no numbers': lambda: {
        'error_class': 'E',
        'remote_elapsed': float('nan'),
        'remote_status': float('inf'),
        'a': -float('inf'),
        'remote_error': 'x',
    },
    'no JSON': lambda: {
        'error_class': b'x',
        5: {6},
        None: object(),
        ('a',): 1j,
        'remote_errors': [b'x', 5, None, '', 'text'],
    },
    'long': lambda: {
        'error_class': 'x' * 10**6,
        'error_text': '\U0001f600' * 10**6,
        'y' * 10**6: '<' * 10**6,
        'remote_error': '"' * 10**6,
    },
}


@pytest.mark.timed
@pytest.mark.parametrize('name', ODD)
def test_odd_documents(name: str) -> None:
    """However deep, wide, long or cyclic: it is read in no time, and what is sent on is bounded."""
    document = ODD[name]()
    error = by_hand(document)
    began = time.process_time()
    read(error)
    sent(error)
    sent(error, True)
    checked(encode(document))
    assert time.process_time() - began < kit.limit(8)  # half a second where nothing disturbs


@pytest.mark.timed
@pytest.mark.parametrize(
    ('body', 'media'),
    [
        (b'[' * 10**6, JSON),
        (b'{"a":' * 10**6, JSON),
        (b'{"remote_error":' * 900 + b'{}' + b'}' * 900, JSON),
        (b'1' * 10**6, JSON),
        (b'"' + b'\\ud800' * 10**5 + b'"', JSON),
        (b'{"a":1,' * 10**5, JSON),
        (b'-' * 10**6, 'text/plain; charset=punycode'),
        (b'9' * 10**6, 'text/plain; charset=punycode'),
        (b'<html>' + b'<' * 10**6, 'text/html'),
        (b'<html>' + b'<script>' * 10**5, 'text/html'),
        (b'<html>' + b'<!--' * 10**5, 'text/html'),
        (b'<html>' + b'&#' * 10**5, 'text/html'),
        (b' ' * 10**6 + b'<html>', 'text/html'),
        (b'"' * 10**6, 'text/html'),
        (b'<html><script>' + b'</script ' * 10**5, 'text/html'),
        (b'\n' * 10**6, 'text/plain'),
    ],
    ids=range(16),
)
def test_large_bodies(body: bytes, media: str) -> None:
    """A megabyte of anything is read in no time."""
    began = time.process_time()
    read(told(body, media))
    assert time.process_time() - began < kit.limit(2)


# Chains --------------------------------------------------------------------------------------------------------------


def test_the_root_of_a_long_chain() -> None:
    """A chain of more hops than are handed out loses its middle, and never its root."""
    error = told(chain(300))
    assert len(error.chain) == MAX_HOPS and error.root.error_class == 'Root' and error.chain[1].error_class == 'E1'
    assert read(error).splitlines()[-1].endswith('Root: disk full')


def test_a_fan_out() -> None:
    """The chain follows the first; the text shows all, numbered."""
    error = told(
        {
            'error_class': 'ExceptionGroup',
            'error_text': '3 of 9 requests failed',
            'remote_errors': [
                {
                    'remote_call': 'GET http://a.example/',
                    'remote_status': 502,
                    'remote_elapsed': 0.25,
                    'remote_error': {
                        'error_class': 'A',
                        'error_text': 'a',
                        'remote_call': 'GET http://aa.example/',
                        'remote_error': {'error_class': 'AA'},
                    },
                },
                {'remote_call': 'GET http://b.example/', 'remote_error': '"500 Oops" b'},
                {'error_class': 'C', 'error_text': 'itself'},
                'a text',
            ],
        }
    )
    assert [(hop.remote_call, hop.status, hop.error_class, hop.error_text) for hop in error.chain] == [
        (CALL, 500, 'ExceptionGroup', '3 of 9 requests failed'),
        ('GET http://a.example/', 502, 'A', 'a'),
        ('GET http://aa.example/', None, 'AA', None),
    ]
    lines = read(error).splitlines()
    assert len(lines) == 6 and [line.strip().partition(')')[0] for line in lines[1:2] + lines[3:]] == [
        f'because ({number} of 4' for number in (1, 2, 3, 4)
    ]
    assert all(words in line for words, line in zip(('A: a', 'AA', 'b', 'C: itself', 'a text'), lines[1:], strict=True))


def test_a_fan_out_that_was_cut() -> None:
    """How many more there were is told, and counted."""
    error = told(
        {
            'error_class': 'G',
            'remote_errors': [
                {'remote_call': 'GET http://a.example/', 'remote_error': {'error_class': 'A'}},
                {'truncated': 92},
            ],
        }
    )
    assert len(error.chain) == 2 and '(1 of 93)' in read(error) and '92 more' in read(error)
    assert len(told({'error_class': 'G', 'remote_errors': [{'truncated': 92}]}).chain) == 2


def test_a_chain_that_was_cut() -> None:
    """Who was called last nobody knows; how many calls were taken out is told."""
    error = told(
        {
            'error_class': 'E',
            'remote_call': 'GET http://a.example/',
            'remote_status': 502,
            'remote_error': {
                'truncated': 40,
                'remote_error': {'truncated': 2, 'remote_error': {'error_class': 'Root'}},
            },
        }
    )
    assert error.chain[1:] == [Hop(None, None, 'Root', None)]
    assert 'http://a.example/' in read(error) and '42 calls' in read(error)


# What is sent --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('hops', [1, 2, 7, 8])
def test_eight_objects_are_sent_whole(hops: int) -> None:
    """A chain of up to eight error objects stays as it is."""
    assert checked(encode(chain(hops))) == chain(hops)


@pytest.mark.parametrize('hops', [9, 10, 50, 1000])
def test_the_middle_is_cut(hops: int) -> None:
    """Of more than eight the first six and the root are left; between them stands how many were taken out."""
    found = checked(encode(chain(hops)))
    assert depth(found) == MAX_OBJECTS
    for number in range(6):
        assert (found['error_class'], found['remote_call']) == (f'E{number}', f'GET http://h{number}/')
        found = found['remote_error']
    assert found == {'truncated': hops - 7, 'remote_error': {'error_class': 'Root', 'error_text': 'disk full'}}


@pytest.mark.parametrize('times', [1, 2, 5, 20])
def test_what_was_cut_is_cut_again(times: int) -> None:
    """Each further server adds itself; the number of what was taken out stays right, and so does the root."""
    hops, document = 50, chain(50)
    for number in range(times):
        document = {
            'error_class': f'S{number}',
            'remote_call': f'GET http://s{number}/',
            'remote_error': json.loads(encode(document)),
        }
        hops += 1
    found = checked(encode(document))
    count, left = 0, found
    while isinstance(left, dict):
        count += left['truncated'] if 'truncated' in left else 1
        left = left.get('remote_error')
    assert count == hops and depth(found) == MAX_OBJECTS
    assert by_hand(found).root[2:4] == ('Root', 'disk full') and found['error_class'] == f'S{times - 1}'


@pytest.mark.parametrize('root', ['"404 NOT FOUND" gone', ['a'], 5, False, {}], ids=repr)
def test_any_root_stays(root: Any) -> None:
    """Also one that is no object."""
    found = checked(encode(chain(50, root)))
    for _ in range(6):
        found = found['remote_error']
    assert found == {'truncated': 43, 'remote_error': root}


def test_tracebacks_go_first() -> None:
    """Where there is no room for all, the texts stay as long as they can."""
    frames = [{'filename': f'{number}.py', 'line': number, 'in': 'f', 'call': 'x' * 200} for number in range(9)]
    found = checked(encode(chain(8, traceback=frames, line=5, filename='x.py'), True))
    assert 'traceback' not in json.dumps(found) and by_hand(found).chain[1].error_text == 'text 1'
    found = checked(encode(chain(3, traceback=frames, line=5, filename='x.py'), True))
    assert found['traceback'] == frames == found['remote_error']['traceback']


@pytest.mark.parametrize('char', ['x', 'é', '\U0001f600', '<', '"', '\x00', '\ud800'])
def test_then_texts_are_shortened(char: str) -> None:
    """All of them, as far as it takes; class, text and call of each hop are still there."""
    found = checked(
        encode(
            chain(
                8,
                {'error_class': 'Root', 'error_text': char * 50_000},
                error_text=char * 50_000,
                other=[char * 9000] * 20,
            )
        )
    )
    assert depth(found) == 8
    while 'remote_error' in found:
        assert (
            found['error_class'][0] == 'E'
            and found['error_text'].startswith(char)
            and found['remote_call'].startswith('GET http')
        )
        found = found['remote_error']
    assert (
        found['error_class'] == 'Root'
        and found['error_text'].startswith(char * 2)
        and found['error_text'].endswith('…')
    )


def test_a_foreign_root_that_is_too_large() -> None:
    """What is left of an object of another shape is what a human wants to read of it."""
    found = checked(
        encode(
            chain(3, {'error': {'code': 404, 'status': 'NOT_FOUND', 'message': 'no vm17', 'details': ['x' * 500] * 50}})
        )
    )
    assert by_hand(found).root[2:4] == ('NOT_FOUND', 'no vm17')


@pytest.mark.parametrize(
    'root', [['x' * 3000] * 20, [[['x' * 3000] * 3] * 3] * 3, 'x' * 10**5, {'a': ['x' * 3000] * 9}], ids=range(4)
)
def test_any_large_root_is_shortened(root: Any) -> None:
    """Also one that is no object."""
    assert by_hand(checked(encode(chain(3, root)))).root.error_text


WIDE: Any = {'remote_call': 'GET http://x/', 'remote_status': 500, 'remote_elapsed': 0.1}


@pytest.mark.parametrize(
    ('count', 'hops', 'told_of'),
    [
        (1, 1, 1),
        (2, 1, 2),
        (7, 1, 7),
        (8, 1, 7),
        (500, 1, 7),
        (3, 2, 3),
        (2, 3, 2),
        (3, 30, 3),
        (7, 30, 7),
        (40, 30, 7),
    ],
)
def test_a_fan_out_is_sent(count: int, hops: int, told_of: int) -> None:
    """As many of its calls as there is room for, each with its own root; how many more there were is told."""
    document = {
        'error_class': 'G',
        'remote_errors': [
            {
                **WIDE,
                'remote_call': f'GET http://h{number}/',
                'remote_error': chain(hops, {'error_class': f'Root{number}'}),
            }
            for number in range(count)
        ],
    }
    found = checked(encode(document))
    entries = found['remote_errors']
    assert [entry['remote_call'] for entry in entries[:told_of]] == [
        f'GET http://h{number}/' for number in range(told_of)
    ]
    assert entries[told_of:] == ([{'truncated': count - told_of}] if count > told_of else [])
    for number, entry in enumerate(entries[:told_of]):
        assert by_hand(entry).root.error_class == f'Root{number}'
        assert by_hand(entry).chain[-1] == by_hand(entry).root


@pytest.mark.parametrize('before', [1, 5, 8, 50])
def test_a_fan_out_at_the_end_of_a_chain(before: int) -> None:
    """The middle of the chain before it goes first; its calls and their roots are still told."""
    fan_out = {
        'error_class': 'G',
        'remote_errors': [{**WIDE, 'remote_error': chain(4, {'error_class': f'Root{number}'})} for number in range(3)],
    }
    text = encode(chain(before + 1, fan_out)).decode()
    checked(text.encode())
    assert all(f'Root{number}' in text for number in range(3))


def test_fan_outs_of_fan_outs() -> None:
    """Where even those have no room, the first of each is followed to its root."""
    document: Any = {'error_class': 'Root'}
    for number in range(6):
        document = {'error_class': f'G{number}', 'remote_errors': [{**WIDE, 'remote_error': document}] * 4}
    found = checked(encode(document))
    assert found['error_class'] == 'G5' and by_hand(found).root.error_class == 'Root'


@pytest.mark.parametrize('expose', [False, True])
def test_tracebacks_need_leave(expose: bool) -> None:
    """Without it neither ours nor those of others are sent, at whatever depth they stand."""

    def fail() -> None:
        raise RemoteError(
            'upstream',
            request=REQUEST,
            remote_error={
                **NAPIX,
                'details': {'debug': [NAPIX]},
                'remote_errors': [{**WIDE, 'remote_error': NAPIX}, NAPIX],
            },
        )

    with pytest.raises(RemoteError) as caught:
        fail()
    text = json.dumps(sent(caught.value, expose))
    assert all((f'"{name}"' in text) is expose for name in ('traceback', 'filename', 'line', 'in'))
    assert ('test_error_documents.py' in text and 'boom.py' in text) is expose


def test_our_traceback() -> None:
    """The last frames, in the members that napix gives them."""

    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
        raise ValueError('boom')

    with pytest.raises(ValueError) as caught:
        deeper(200)
    found = sent(caught.value, True)
    assert len(found['traceback']) == 32 and found['filename'] == found['traceback'][-1]['filename'] == __file__
    assert found['line'] == found['traceback'][-1]['line'] and found['traceback'][-1] == {
        'filename': __file__,
        'line': found['line'],
        'in': 'deeper',
        'call': "raise ValueError('boom')",
    }


def test_the_members() -> None:
    """Those of napix beside those of RFC 9457; a call that failed brings its text, status, time and answer."""
    error = told({'error_class': 'ValueError', 'error_text': 'disk <full>'})
    found = sent(error)
    assert found.pop('instance').startswith('urn:uuid:')
    assert found == {
        'type': 'about:blank',
        'title': 'Bad Gateway',
        'status': 502,
        'trace_id': 'ab' * 16,
        'error_class': 'RemoteError',
        'error_text': '"500 Oops" ValueError: disk <full>',
        'request': {'method': 'GET', 'path': '/here'},
        'remote_call': CALL,
        'remote_status': 500,
        'remote_elapsed': 0.5,
        'remote_error': {'error_class': 'ValueError', 'error_text': 'disk <full>'},
    }
    assert 'trace_id' not in document_of(error, 502, 'GET', '/')
    assert document_of(ValueError(), 599, 'GET', '/')['title'] == 'Error'


class OldClient:
    """What a napix client of old makes of an answer: it knows `remote_call` and `remote_error`, and that they nest."""

    def __init__(self, document: Any) -> None:
        self.calls: list[str] = []
        while isinstance(document, dict) and 'remote_error' in document:
            if 'remote_call' in document:
                self.calls.append(document['remote_call'])
            document = document['remote_error']
        self.root = document if isinstance(document, str) else f'{document["error_class"]}: {document["error_text"]}'


@pytest.mark.parametrize('hops', [1, 2, 8, 50])
def test_an_old_client_reads_ours(hops: int) -> None:
    """Cut or not, it finds the root."""
    old = OldClient(json.loads(encode(chain(hops))))
    assert old.root == 'Root: disk full' and old.calls == [
        f'GET http://h{number}/' for number in range(min(hops - 1, 6 if hops > 8 else 7))
    ]


# Exceptions ----------------------------------------------------------------------------------------------------------


class Odd(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise KeyError('no text')


class NoText(Exception):
    """Its text is none."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Several(Exception):
    """Has members, but is no group."""

    exceptions = ('a', 5, ValueError('b'))


KINDS = [
    kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type) and issubclass(kind, HTTPError)
]


@pytest.mark.parametrize('kind', KINDS)
def test_every_error_of_ours(kind: type[HTTPError]) -> None:
    """One without an answer tells itself in the place of the answer."""
    found = sent(kind('it broke', request=REQUEST, elapsed=0.123456789))
    assert found['error_class'] == kind.__name__ and found['error_text'] == 'it broke'
    assert (found['remote_call'], found['remote_status'], found['remote_elapsed']) == (CALL, None, 0.123457)
    assert found['remote_error'] == {'error_class': kind.__name__, 'error_text': 'it broke'}
    assert 'remote_call' not in sent(kind('it broke'))


@pytest.mark.parametrize(
    ('exc', 'text'),
    [
        (ValueError('boom'), 'boom'),
        (KeyError('x'), "'x'"),
        (ValueError(), ''),
        (Odd(), '<Odd that has no text>'),
        (NoText(), '<NoText that has no text>'),
        (ValueError('x' * 10**7), 'x' * MAX_TEXT + '…'),
        (ValueError('\x00\ud800<é'), '\x00\ud800<é'),
        (Several('boom'), 'boom'),
        (type('Ünïcode', (Exception,), {})('ß'), 'ß'),
        (SystemExit(3), '3'),
    ],
    ids=range(10),
)
def test_exceptions_of_all_kinds(exc: BaseException, text: str) -> None:
    """Their class and text are told, whatever those are."""
    found = sent(exc)
    assert (found['error_class'], found['error_text']) == (type(exc).__name__, text) and 'remote_error' not in found


def raised_from(exc: Exception, cause: BaseException | None) -> Exception:
    """The exception, raised from another."""
    exc.__cause__ = cause
    return exc


CAUSE = RefusedError('nobody there', request=REQUEST)


@pytest.mark.parametrize(
    'exc',
    [
        raised_from(ValueError('boom'), CAUSE),
        raised_from(ValueError('boom'), raised_from(KeyError(), CAUSE)),
        raised_from(HTTPError('boom'), CAUSE),
        ExceptionGroup('boom', [CAUSE]),
        ExceptionGroup('boom', [ExceptionGroup('x', [CAUSE])]),
        ExceptionGroup('boom', [ValueError(), raised_from(KeyError(), CAUSE)]),
        raised_from(ValueError('boom'), ExceptionGroup('x', [CAUSE])),
        ExceptionGroup('boom', [CAUSE, raised_from(ValueError(), CAUSE)]),
    ],
    ids=range(8),
)
def test_what_comes_from_one_call(exc: Exception) -> None:
    """An exception that was raised from an error of ours, or a group of one: it brings that call as `remote_error`."""
    assert failed_calls(exc) == [CAUSE]
    found = sent(exc)
    assert (found['error_class'], found['error_text'], found['remote_call']) == (type(exc).__name__, 'boom', CALL)
    assert (
        found['remote_error'] == {'error_class': 'RefusedError', 'error_text': 'nobody there'}
        and 'remote_errors' not in found
    )


def test_what_comes_from_no_call() -> None:
    """What merely happened while an error was handled is not its consequence, nor is what leads to itself."""
    with pytest.raises(ValueError) as caught:
        try:
            raise CAUSE
        except HTTPError:
            raise ValueError('of our own') from None
    assert failed_calls(caught.value) == []
    one, other = ValueError('a'), KeyError('b')
    one.__cause__, other.__cause__ = other, one
    assert failed_calls(one) == [] and sent(one)['error_text'] == 'a'


@pytest.mark.parametrize('count', [2, 7, 8, 9, 1000])
def test_a_group_of_several(count: int) -> None:
    """It brings all calls as `remote_errors`, in order, as many as there is room for."""
    calls = [RefusedError('nobody there', request=Request(f'h{number}', 'GET', '/')) for number in range(count)]
    nested = ExceptionGroup('x', calls[1:])
    for group in (ExceptionGroup('boom', calls), ExceptionGroup('boom', [calls[0], ValueError(), nested])):
        assert failed_calls(group) == calls
        found = sent(group)
        assert (found['error_class'], found['error_text']) == ('ExceptionGroup', 'boom') and 'remote_error' not in found
        entries = found['remote_errors']
        assert [entry['remote_call'] for entry in entries[:7]] == [
            f'GET http://h{number}/' for number in range(min(count, 7))
        ]
        assert entries[7:] == ([{'truncated': count - 7}] if count > 7 else [])
    deep = nest(5000, lambda group: ExceptionGroup('x', [group]), ExceptionGroup('x', calls))
    assert failed_calls(deep) == calls


# From servers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('count', [1, 3])
def test_raise_errors(count: int) -> None:
    """Every failure in one group, also of one, in the order asked; what succeeded is with its PendingResponse."""
    with kit.serve() as server, ClientPool() as pool:
        good = pool.request(server.host, 'GET', '/000001')
        bad = [pool.request('127.0.0.1:1', 'GET', f'/{number}') for number in range(count)]
        late = pool.request(server.host, 'GET', '/000002')
        with pytest.raises(ExceptionGroup) as caught:
            pool.wait(raise_errors=True)
        assert list(caught.value.exceptions) == [one.exception for one in bad]
        assert caught.value.message == f'{count} of {count + 2} requests failed'
        assert (good.get().data, late.get().data) == (b'000001', b'000002')
        assert pool.wait(raise_errors=True) == []  # all were handed out
        pool.request(server.host, 'GET', '/000003')
        assert [found.status for found in pool.wait(raise_errors=True)] == [200]


def test_raise_errors_when_the_time_is_up() -> None:
    """What has not finished is among the failures."""
    with kit.Mute() as mute, ClientPool() as pool:
        pool.request(mute.host, 'GET', '/')
        with pytest.raises(ExceptionGroup) as caught:
            pool.wait(timeout=0.05, raise_errors=True)
    [error] = caught.value.exceptions
    assert isinstance(error, errors.Timeout)


@pytest.mark.usefixtures('oracle')
def test_a_large_document_holds_up_nobody() -> None:
    """Ten megabytes of an error are no reason for others to wait: nobody has asked what it says."""
    body = b'{"error_class": "E", "a": [' + b'1,' * 5_000_000 + b'1]}'
    with kit.serve(lambda *request: (500, {'Content-Type': JSON}, body)) as server, ClientPool() as pool:
        pool.request(server.host, 'GET', '/')
        [error] = pool.wait()
        assert error.status == 500


def test_errors_from_a_server() -> None:
    """The same over the wire, with its status line."""
    with (
        kit.serve(
            lambda method, path, *_: (
                (404, {'Content-Type': 'text/plain'}, '10 not found') if path == '/text' else (500, {}, chain(3))
            )
        ) as server,
        Client(server.host) as client,
    ):
        error = failure(client, 'GET', '/text')
        assert error.remote_error == '"404 Not Found" 10 not found'
        error = failure(client, 'GET', '/json')
        assert error.remote_error == chain(3) and error.root[:4] == ('GET http://h1/', 502, 'Root', 'disk full')
        assert [hop.remote_call for hop in error.chain] == [
            f'GET http://{server.host}/json',
            'GET http://h0/',
            'GET http://h1/',
        ]


def strings(value: Any) -> Iterator[str]:
    """The texts in a document."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(part)


@hypothesis.given(ANYTHING)
def test_what_is_parsed_is_text(document: Any) -> None:
    """Class and text are texts that are not empty, or nothing."""
    error_class, error_text, traceback = parse(document)
    assert error_class is None or (isinstance(error_class, str) and error_class)
    assert error_text is None or (isinstance(error_text, str) and error_text)
    assert traceback is None or isinstance(traceback, list)
