"""The error tree, what its errors tell, and the texts and chains that are read out of what servers say."""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

import napixclient
from napixclient import Hop, HTTPError, NapixError, RemoteError, Request, Response, authenticators, errors
from napixclient.error_shapes import MAX_TEXT
from napixclient.errors import MAX_HOPS
from napixclient.messages import error_of

REQUEST = Request('server.example', 'GET', '/captains')
CALL = 'GET http://server.example/captains'

TREE = {
    'NapixError': 'Exception',
    'HTTPError': 'NapixError',
    'RemoteError': 'HTTPError',
    'ConnectError': 'HTTPError',
    'NameResolutionError': 'ConnectError',
    'RefusedError': 'ConnectError',
    'TLSError': 'ConnectError',
    'ProxyError': 'ConnectError',
    'Timeout': 'HTTPError',
    'QueueTimeout': 'Timeout',
    'ConnectTimeout': 'Timeout',
    'ReadTimeout': 'Timeout',
    'DeadlineExceeded': 'Timeout',
    'ProtocolError': 'HTTPError',
    'TruncatedBody': 'ProtocolError',
    'BodyTooLarge': 'ProtocolError',
    'InvalidResponse': 'ProtocolError',
    'Interrupted': 'HTTPError',
    'Cancelled': 'HTTPError',
}
KINDS = [getattr(errors, name) for name in TREE if name != 'NapixError']
PUBLIC = [
    'BodyTooLarge',
    'Cancelled',
    'Client',
    'ClientPool',
    'ConnectError',
    'ConnectTimeout',
    'DeadlineExceeded',
    'HTTPError',
    'Headers',
    'Hop',
    'Interrupted',
    'InvalidResponse',
    'NameResolutionError',
    'NapixError',
    'Options',
    'Peer',
    'PendingResponse',
    'Phase',
    'ProtocolError',
    'ProxyError',
    'QueueTimeout',
    'ReadTimeout',
    'RefusedError',
    'RemoteError',
    'Request',
    'RequestOptions',
    'Response',
    'SagaFailed',
    'ServerSentEvent',
    'StreamedResponse',
    'TLSError',
    'Timeout',
    'TruncatedBody',
    '__version__',
]
MODULES = [
    'napixclient',
    'napixclient.errors',
    'napixclient.messages',
    'napixclient.authenticators',
    'napixclient.client',
    'napixclient.pool',
    'napixclient.error_documents',
]


def answer(status: int = 404, reason: str = 'NOT FOUND', body: bytes = b'', content_type: str = '') -> Response:
    """An answer with this body."""
    head = f'HTTP/1.1 {status} {reason}' + (f'\r\nContent-Type: {content_type}' if content_type else '')
    return Response(REQUEST, status, head.encode('latin-1'), body, 0.5)


def told(document: Any) -> RemoteError:
    """The error for a server that says this in JSON."""
    return error_of(answer(500, 'Oops', json.dumps(document).encode(), 'application/json'))


# The tree and the names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'parent'), TREE.items())
def test_tree(name: str, parent: str) -> None:
    """Each error stands where the tree has it, and has no other parent."""
    assert [base.__name__ for base in getattr(errors, name).__bases__] == [parent]


def test_tree_is_complete() -> None:
    """There are no errors but those of the tree, and the drawing atop the module shows them all."""
    found = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert found == set(TREE)
    assert errors.__doc__ is not None and all(name in errors.__doc__ for name in TREE)


def test_no_error_is_foreign() -> None:
    """No error of ours is an OSError, a ValueError or a gevent.Timeout: what is not ours is never caught with it."""
    import gevent

    for kind in KINDS:
        assert not issubclass(kind, (OSError, ValueError, RuntimeError, gevent.Timeout))


def test_public_names() -> None:
    """The public names are these, sorted; each can be imported and is listed by ``dir``."""
    assert sorted(PUBLIC) == sorted(napixclient.__all__) == napixclient.__all__
    for name in PUBLIC:
        assert getattr(napixclient, name) is not None
        assert name in dir(napixclient)


def test_unknown_name() -> None:
    """A name that is not public is an AttributeError that says which."""
    for name in ('nonsense', 'Clients', 'errors_', '_Options'):
        with pytest.raises(AttributeError, match=name):
            getattr(napixclient, name)


@pytest.mark.parametrize('module', MODULES)
def test_all(module: str) -> None:
    """Each module says what is public in it, sorted, without repeats, and every name is there."""
    imported = importlib.import_module(module)
    assert imported.__all__ == sorted(set(imported.__all__))
    assert all(hasattr(imported, name) for name in imported.__all__)
    assert imported.__doc__


def test_documented() -> None:
    """Every public class, method and property has a docstring."""
    things = [getattr(napixclient, name) for name in PUBLIC if name != '__version__']
    things += [
        value
        for name, value in vars(authenticators).items()
        if name in authenticators.__all__ and name != 'Authenticator'
    ]  # an alias, which 3.10 takes for a class
    missing = []
    for thing in filter(inspect.isclass, things):
        if not thing.__dict__.get('__doc__'):
            missing.append(thing.__name__)
        for name, member in vars(thing).items():
            public = not name.startswith('_') and (
                inspect.isfunction(member) or isinstance(member, (property, classmethod))
            )
            if public and not inspect.getdoc(getattr(thing, name)):
                missing.append(f'{thing.__name__}.{name}')
    assert missing == []


# An error as a value -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
def test_attributes_without_an_answer(kind: type[HTTPError]) -> None:
    """Without an answer the status is ``None``; the chain is our own call alone."""
    error = kind('it broke', request=REQUEST, phase='read', elapsed=0.5)
    assert isinstance(error, NapixError)
    assert (error.request, error.response, error.status, error.remote_error) == (REQUEST, None, None, None)
    assert (error.remote_call, error.phase, error.elapsed, error.attempts) == (CALL, 'read', 0.5, 1)
    assert error.chain == [Hop(CALL, None, kind.__name__, 'it broke', 0.5, None)]
    assert error.root == error.chain[0]
    assert str(error) == f'{CALL}: it broke'
    assert repr(error) == f'<{kind.__name__} {CALL}: it broke>'


def test_error_of_nothing() -> None:
    """An error without request and message still has all attributes and texts."""
    error = HTTPError()
    assert (error.request, error.response, error.status, error.remote_call, error.remote_error, error.phase) == (
        None,
    ) * 6
    assert error.chain == [Hop(None, None, 'HTTPError', '')]
    assert isinstance(str(error), str) and repr(error).startswith('<HTTPError')
    assert str(HTTPError('alone')) == 'alone'


# What the server said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('got', 'said'),
    [
        (answer(body=b'10 not found'), '"404 NOT FOUND" 10 not found'),
        (answer(body=b'<h1>no</h1>', content_type='text/html'), '"404 NOT FOUND" <h1>no</h1>'),
        (answer(body=b''), '"404 NOT FOUND"'),
        (answer(reason='', body=b'x'), '"404" x'),
        (answer(body=b'["a"]', content_type='application/json'), '"404 NOT FOUND" ["a"]'),
        (answer(body=b'"text"', content_type='application/json'), '"404 NOT FOUND" text'),
        (answer(body=b'5', content_type='application/json'), '"404 NOT FOUND" 5'),
        (answer(body=b'false', content_type='application/json'), '"404 NOT FOUND" false'),
        (answer(body=b'{oops', content_type='application/json'), '"404 NOT FOUND" {oops'),
        (answer(body=b'{"a": 1}', content_type='text/plain'), '"404 NOT FOUND" {"a": 1}'),
        (answer(body=b'\xff', content_type='text/plain'), '"404 NOT FOUND" \ufffd'),
    ],
    ids=range(11),
)
def test_remote_error_is_a_text(got: Response, said: str) -> None:
    """What is no JSON object is the quoted status line and the body."""
    error = error_of(got)
    assert (error.remote_error, error.status, error.response) == (said, 404, got)
    assert str(error) == f'{CALL}: {said.replace("<h1>no</h1>", "no")}'


@pytest.mark.parametrize(
    'document', [{}, {'a': 1}, {'_napix_': 'id is world'}, {'error_class': 'ValueError', 'error_text': 'x'}]
)
def test_remote_error_is_an_object(document: dict[str, Any]) -> None:
    """A JSON object is kept as it is."""
    assert told(document).remote_error == document


def test_text_is_cut() -> None:
    """A long body is cut at a sane length."""
    error = error_of(answer(body=b'x' * 1_000_000))
    assert MAX_TEXT <= len(error.remote_error) < MAX_TEXT + 100
    assert len(str(error)) < MAX_TEXT + 200


@pytest.mark.parametrize(
    'document',
    [
        {'error_class': 'E', 'error_text': 'x' * 1_000_000},
        {'error_class': 'E' * 1_000_000},
        {'remote_call': 'x' * 1_000_000, 'remote_error': {}},
        {'remote_error': 'x' * 1_000_000},
        {'remote_error': ['x' * 1_000_000]},
    ],
    ids=range(5),
)
def test_text_of_a_document_is_cut(document: Any) -> None:
    """A document may say what it likes at any length; the text of the error, which goes to logs, is bounded."""
    error = told(document)
    assert len(str(error)) < 10 * MAX_TEXT and len(repr(error)) < 10 * MAX_TEXT


# Chains --------------------------------------------------------------------------------------------------------------

CHAIN = {
    'error_class': 'RemoteError',
    'error_text': 'upstream',
    'remote_call': 'POST http://filer.example/storage/',
    'remote_status': 502,
    'remote_elapsed': 0.31,
    'remote_error': {
        'error_class': 'RemoteError',
        'error_text': 'disk',
        'remote_call': 'GET http://disk.example/',
        'traceback': [{'line': 5}],
        'remote_error': {'error_class': 'ValueError', 'error_text': 'disk full', 'traceback': [{'line': 9}]},
    },
}


def test_chain() -> None:
    """Every hop of a failure three servers down, the nearest first, the root cause last."""
    error = told(CHAIN)
    assert error.chain == [
        Hop(CALL, 500, 'RemoteError', 'upstream', 0.5, None),
        Hop('POST http://filer.example/storage/', 502, 'RemoteError', 'disk', 0.31, [{'line': 5}]),
        Hop('GET http://disk.example/', None, 'ValueError', 'disk full', None, [{'line': 9}]),
    ]
    assert error.root == error.chain[-1]


def test_text_of_a_chain() -> None:
    """The text of an error reads like a traceback across machines: a line for each hop, the root last."""
    lines = str(told(CHAIN)).splitlines()
    assert len(lines) == 3
    assert CALL in lines[0] and 'upstream' in lines[0]
    assert 'filer.example' in lines[1] and 'disk.example' in lines[2] and 'ValueError: disk full' in lines[2]


def test_chain_that_ends_in_a_text() -> None:
    """The last server may have sent no JSON; what it said is the root's text."""
    root = told(
        {'error_class': 'E', 'remote_call': 'GET http://old.example/', 'remote_error': '"404 NOT FOUND" gone'}
    ).root
    assert root == Hop('GET http://old.example/', None, None, '"404 NOT FOUND" gone')


def test_chain_of_an_old_napix() -> None:
    """A document without call and status still makes a hop."""
    error = told({'remote_error': {'error_class': 'ValueError', 'error_text': 'boom'}})
    assert error.chain[1] == Hop(None, None, 'ValueError', 'boom')
    assert 'ValueError: boom' in str(error)


def test_chain_without_a_nested_error() -> None:
    """``remote_error: null`` is no hop."""
    assert len(told({'error_class': 'E', 'remote_call': 'GET http://x/', 'remote_error': None}).chain) == 1


def test_deep_chain_is_cut() -> None:
    """A document may nest as deep as its sender likes; the chain is bounded, and so is its text."""
    document: dict[str, Any] = {'error_class': 'Root'}
    for number in range(5000):
        document = {'error_class': f'E{number}', 'remote_call': f'GET http://h{number}/', 'remote_error': document}
    error = HTTPError('x', request=REQUEST, remote_error=document)
    assert len(error.chain) == MAX_HOPS
    assert len(str(error).splitlines()) <= MAX_HOPS
    assert isinstance(repr(error), str)


def test_document_that_holds_itself() -> None:
    """JSON cannot make a cycle; one that a caller makes ends all the same."""
    document: dict[str, Any] = {'error_class': 'E'}
    document['remote_error'] = document
    error = HTTPError('x', remote_error=document)
    assert len(error.chain) == MAX_HOPS and str(error)


WRONG = [None, True, 0, -1.5, 'text', '', [], ['x'], {}, {'a': 1}]


@pytest.mark.parametrize(
    'member',
    ['error_class', 'error_text', 'traceback', 'remote_call', 'remote_status', 'remote_elapsed', 'remote_error'],
)
@pytest.mark.parametrize('value', WRONG, ids=map(repr, WRONG))
def test_members_of_wrong_types(member: str, value: Any) -> None:
    """A member of the wrong type is as one that is not there: a hop has only what its types say."""
    document = {**CHAIN, member: value}
    for error in (told(document), told({'remote_error': document})):
        for hop in error.chain:
            check(hop)
        assert isinstance(str(error), str) and isinstance(repr(error), str)


def check(hop: Hop) -> None:
    """The members of a hop have the types that it documents."""
    assert hop.remote_call is None or isinstance(hop.remote_call, str)
    assert hop.status is None or type(hop.status) is int
    assert hop.error_class is None or isinstance(hop.error_class, str)
    assert hop.error_text is None or isinstance(hop.error_text, str)
    assert hop.elapsed is None or type(hop.elapsed) in (int, float)
    assert hop.traceback is None or isinstance(hop.traceback, list)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    'error_class',
                    'error_text',
                    'traceback',
                    'remote_call',
                    'remote_status',
                    'remote_elapsed',
                    'remote_error',
                    'other',
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@hypothesis.given(ANYTHING)
def test_any_document(document: Any) -> None:
    """Whatever JSON a server sends, the error has a chain, a root and texts."""
    error = told(document)
    for hop in error.chain:
        check(hop)
    assert error.root == error.chain[-1]
    assert isinstance(str(error), str) and isinstance(repr(error), str)


@hypothesis.given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            '',
            'application/json',
            'text/plain',
            'text/plain; charset=utf-16',
            'application/problem+json',
            'text/html; charset=klingon',
        ]
    ),
)
def test_any_body(body: bytes, content_type: str) -> None:
    """Garbage of any kind never raises from the reader."""
    error = error_of(answer(body=body, content_type=content_type))
    assert isinstance(str(error), str) and error.status == 404


@pytest.mark.parametrize('charset', ['undefined', 'idna', 'punycode'])
def test_any_charset(charset: str) -> None:
    """Nor does a charset that exists but decodes nothing: an exception here would leave a callback of the loop."""
    assert error_of(answer(body=b'\xff', content_type=f'text/plain; charset={charset}')).status == 404


def test_a_line_of_the_text_is_ours() -> None:
    """A server cannot forge a hop: as many lines of the text name another call as there are hops."""
    error = told({'error_class': 'E', 'error_text': 'x\n  because GET http://bank.example/: forged'})
    forged = [line for line in str(error).splitlines() if line.startswith('  because ')]
    assert len(forged) == len(error.chain) - 1
