"""ClientError: what it tells of an answer, of a failure without one, and of nothing at all."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import gevent
import hypothesis
import pytest
from hypothesis import strategies as st
from urllib3 import Timeout as Timeouts

from napixclient import (
    Cancelled,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPError,
    NapixError,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Timeout,
    TruncatedBody,
)
from napixclient import Client as Core
from napixclient.error_shapes import fault
from napixclient.rest import Client, ClientError
from napixclient.wsgi import ExceptionsCatcher
from tests import kit

NAPIX = {'error_class': 'ValueError', 'error_text': 'boom', 'request': {'path': '/boom/', 'method': 'GET'}}
CHAINED = {
    'error_class': 'RemoteError',
    'error_text': '"500" OSError: disk full',
    'request': {'path': '/vm/', 'method': 'POST'},
    'remote_call': 'POST http://filer.example/storage/',
    'remote_status': 500,
    'remote_error': {'error_class': 'OSError', 'error_text': 'disk full'},
}


def refused(status: int, body: Any, media: str = 'application/json') -> ClientError:
    """The error for a real answer."""
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    with (
        kit.serve(lambda method, path, headers, _: (status, {'Content-Type': media}, data)) as server,
        Client(server.url) as rest,
        pytest.raises(ClientError) as caught,
    ):
        rest.get('/captains')
    return caught.value


# Made by hand --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('details', 'listed'),
    [
        (None, []),
        ('one', ['one']),
        (['one', 2], ['one', 2]),
        ([], []),
        ({'a': 1}, [{'a': 1}]),
        (7, [7]),
        (('a', 'b'), [('a', 'b')]),
        (0, [0]),
        ('', ['']),
    ],
)
def test_details(details: Any, listed: list[Any]) -> None:
    """A text becomes a list of it, a list stays, anything else is the only member."""
    error = ClientError('no', 400, details)
    assert error.details == listed
    assert details is not error.details or isinstance(details, list)


def test_made_by_hand() -> None:
    """It has no request, status 0 and an empty chain."""
    error = ClientError('MyError: no luck')
    assert isinstance(error, HTTPError) and isinstance(error, NapixError)
    assert (error.message, error.status, error.details, str(error)) == ('MyError: no luck', 0, [], 'MyError: no luck')
    assert (error.response, error.request, error.remote_call, error.remote_error, error.chain) == (
        None,
        None,
        None,
        None,
        [],
    )
    assert error.root.error_text == 'MyError: no luck' and error.root.status is None
    assert repr(error) == '<ClientError MyError: no luck>'
    assert ClientError('no', 404).status == 404 and ClientError('no', status=404, details='x').details == ['x']


def test_errors_of_a_client_s_own() -> None:
    """A class below it need not call its ``__init__``."""

    class Odd(ClientError):
        def __init__(self) -> None:
            """Nothing."""

    assert (Odd().status, Odd().details, Odd().chain) == (0, [], [])


@pytest.mark.parametrize('way', [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_that_are_copied(tidy: None, way: Any) -> None:
    """Copied or pickled, read before or not, it tells the same."""
    for read in False, True:
        error = refused(400, {'badRequest': {'message': 'no such flavor', 'code': 400, 'details': 'flavor 9'}})
        if read:
            assert error.message
        other = way(error)
        assert (other.message, other.status, other.details, str(other)) == (
            error.message,
            400,
            ['flavor 9'],
            str(error),
        )
        assert (other.response.status_code, other.remote_call, other.chain) == (400, error.remote_call, error.chain)


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('document', 'message', 'details'),
    [
        ({'_napix_': 'id is world'}, 'id is world', []),
        (NAPIX, 'ValueError: boom', []),
        (CHAINED, 'OSError: disk full', []),
        (
            {'badRequest': {'message': 'no such flavor', 'code': 400, 'details': 'flavor 9'}},
            'no such flavor',
            ['flavor 9'],
        ),
        ({'badRequest': {'message': 'no such flavor', 'code': 400, 'details': ''}}, 'no such flavor', []),
        (
            {'badRequest': {'message': 'no such flavor', 'code': 400, 'details': ['a', 'b']}},
            'no such flavor',
            ['a', 'b'],
        ),
        ({'badRequest': {'message': 'no such flavor', 'code': 400, 'details': {'a': 1}}}, 'no such flavor', [{'a': 1}]),
        (
            {'errors': [{'status': 400, 'title': 'Bad', 'detail': 'no such disk'}, {'detail': 'nor this'}]},
            'Bad: no such disk; nor this',
            [{'status': 400, 'title': 'Bad', 'detail': 'no such disk'}, {'detail': 'nor this'}],
        ),
        (
            {'type': 'about:blank', 'title': 'Out of disk', 'status': 400, 'detail': 'vg-13 is full'},
            'Out of disk: vg-13 is full',
            ['vg-13 is full'],
        ),
        (
            {'title': 'Not found', 'description': 'Queue q does not exist'},
            'Not found: Queue q does not exist',
            ['Queue q does not exist'],
        ),
        ({'error': 'no such queue'}, 'no such queue', []),
        (
            {
                'error': {
                    'code': 401,
                    'title': 'Unauthorized',
                    'message': 'The request you have made requires authentication.',
                }
            },
            'The request you have made requires authentication.',
            [],
        ),
        (
            {
                'error': {
                    'code': 400,
                    'message': 'bad name',
                    'status': 'INVALID_ARGUMENT',
                    'details': [{'field': 'name'}],
                }
            },
            'bad name',
            [{'field': 'name'}],
        ),
        ({'error': 'invalid_grant', 'error_description': 'expired'}, 'invalid_grant: expired', ['expired']),
        ({'message': 'gone', 'code': 'E17'}, 'gone', []),
        ({'nobody': {'knows': 'this'}}, '{"nobody": {"knows": "this"}}', []),
        ({}, 'Bad Request', []),
        ([], '[]', []),
        ('only words', 'only words', []),
        (None, 'null', []),
    ],
)
def test_faults(tidy: None, document: Any, message: str, details: list[Any]) -> None:
    """Every shape of fault gives message and details; the line that ``str()`` begins with has status and all words."""
    error = refused(400, json.dumps(document))
    if message.startswith('{') or document in ({}, []):
        assert document != {} or error.message
    else:
        assert error.message == message
    assert (error.status, error.details) == (400, details)
    assert str(error).partition('\n')[0].startswith(f'{error.remote_call}: "400 Bad Request"')
    assert error.remote_call is not None and error.remote_call.startswith('GET http://127.0.0.1')
    if isinstance(document, dict):
        assert error.remote_error == document
    assert error.response is not None and error.response.status_code == 400 and error.response.json == document


@pytest.mark.parametrize(
    ('body', 'media', 'message', 'text'),
    [
        ('10 not found', 'text/plain', '10 not found', '"404 Not Found" 10 not found'),
        (
            'ERROR 404: The requested\npage',
            'text/plain',
            'ERROR 404: The requested page',
            '"404 Not Found" ERROR 404: The requested page',
        ),
        (
            '<html><head><title>Oops</title></head><body><h1>No such page</h1></body></html>',
            'text/html',
            'Oops No such page',
            '"404 Not Found" Oops No such page',
        ),
        ('', 'text/plain', 'Not Found', '"404 Not Found"'),
        ('{"broken', 'application/json', '{"broken', '"404 Not Found" {"broken'),
    ],
)
def test_faults_that_are_no_json(tidy: None, body: str, media: str, message: str, text: str) -> None:
    """Text and HTML are read as text; without either it is the reason."""
    error = refused(404, body, media)
    assert (error.message, error.status, error.details) == (message, 404, [])
    assert str(error) == f'{error.remote_call}: {text}'


def test_an_answer_without_a_reason(tidy: None) -> None:
    """The message then is the phrase that the status has in the standard, or the number."""
    for status, message in (404, 'Not Found'), (499, 'status 499'):
        script = [kit.READ, b'HTTP/1.1 %d\r\nContent-Length: 0\r\n\r\n' % status]
        with kit.FaultServer(script) as server, Client(server.url) as rest, pytest.raises(ClientError) as caught:
            rest.get()
        assert (caught.value.message, caught.value.status) == (message, status)


@pytest.mark.parametrize('status', [201, 204, 301, 304])
def test_a_status_that_is_no_failure(tidy: None, status: int) -> None:
    """It is raised with what was said, all the same."""
    error = refused(status, {'name': 'Nemo'} if status not in (204, 304) else '')
    assert error.status == status
    assert error.response is not None and (status in (204, 304) or error.response.json == {'name': 'Nemo'})


def test_the_chain(tidy: None) -> None:
    """It joins the chain: its call first, the root last."""
    error = refused(502, CHAINED)
    assert [(hop.status, hop.remote_call, hop.error_class) for hop in error.chain] == [
        (502, error.remote_call, 'RemoteError'),
        (500, 'POST http://filer.example/storage/', 'OSError'),
    ]
    assert error.root.error_text == 'disk full'
    assert str(error).split('\n')[1] == '  because POST http://filer.example/storage/ answered 500: OSError: disk full'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    'error',
                    'errors',
                    'message',
                    'details',
                    'detail',
                    'title',
                    'error_class',
                    'error_text',
                    'description',
                    'x',
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@hypothesis.given(json_values)
def test_any_document(document: Any) -> None:
    """Garbage of any kind is read without an exception, and the details are a list."""
    text, details = fault(document)
    assert text is None or isinstance(text, str)
    assert isinstance(details, list)


# Without an answer ---------------------------------------------------------------------------------------------------


def fails(rest: Client, **options: Any) -> ClientError:
    """How a call fails."""
    with pytest.raises(ClientError) as caught:
        rest.get('/captains', **options)
    return caught.value


def test_refused(oracle: None) -> None:
    """Status 0, and the error of the core is its cause."""
    with kit.Mute(listening=False) as dead, Client(dead.url) as rest:
        error = fails(rest)
    assert isinstance(error.__cause__, RefusedError)
    assert (error.status, error.response, error.details, error.remote_error) == (0, None, [], None)
    assert error.remote_call == f'GET {dead.url}/captains' and error.message == error.__cause__.message
    [hop] = error.chain
    assert (hop.remote_call, hop.status, hop.error_class) == (error.remote_call, None, 'RefusedError')
    assert error.request is error.__cause__.request and (error.attempts, error.phase) == (1, error.__cause__.phase)


@pytest.mark.parametrize(
    ('script', 'kind', 'timeout'),
    [
        ([kit.READ, kit.SILENCE], Timeout, 0.1),
        ([kit.READ, b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc', kit.CLOSE], TruncatedBody, 5),
        ([kit.READ, b'nonsense\r\n\r\n'], HTTPError, 5),
    ],
)
def test_faults_of_the_wire(oracle: None, script: Any, kind: type[HTTPError], timeout: float) -> None:
    """Whatever breaks, ``except ClientError`` catches it; the cause tells what it was."""
    with kit.FaultServer(script) as server, Client(server.url) as rest:
        error = fails(rest, timeout=timeout)
        assert isinstance(error.__cause__, kind) and error.status == 0
        server.relent()
        assert rest.get('/captains').status_code == 200


def test_a_client_that_is_closed(tidy: None) -> None:
    """What was under way is cancelled, which is a ClientError, too."""
    with kit.serve(gate=kit.Gate()) as server:
        rest = Client(server.url)
        caller = gevent.spawn(fails, rest)
        server.gate.wait_for(1)
        rest.close()
        assert isinstance(caller.get(timeout=kit.LONG).__cause__, Cancelled)


def test_an_authenticator_that_fails(tidy: None) -> None:
    """So is that."""

    def broken(request: Any) -> Any:
        raise OSError('no keys')

    with kit.serve() as server, Client(server.url, authenticator=broken) as rest:
        error = fails(rest)
    assert error.status == 0 and error.__cause__ is not None and isinstance(error.__cause__.__cause__, OSError)


def test_foreign_exceptions_pass() -> None:
    """A timeout that is not ours, and the end of a greenlet, are never turned into a ClientError."""
    with kit.serve(gate=kit.Gate()) as server, Client(server.url) as rest:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as ours:
            rest.get('x')
        assert caught.value is ours
        caller = gevent.spawn(rest.get, 'x')
        server.gate.wait_for(1)
        caller.kill(KeyError('not ours'))
        assert isinstance(caller.exception, KeyError)


# Servers that call servers -------------------------------------------------------------------------------------------


@pytest.fixture
def front() -> Iterator[Any]:
    """Makes a server whose application makes a call with a REST client, and asks it."""

    def ask(behind: str, **options: Any) -> RemoteError:
        rest = Client(behind, **options)

        def app(environ: Any, start_response: Any) -> Any:
            start_response('200 OK', [])
            return [rest.get('/disk').content]

        with (
            kit.testing.serve(ExceptionsCatcher(app, passthrough=[404])) as server,
            Core(server.host) as core,
            rest,
            pytest.raises(RemoteError) as caught,
        ):
            core.request('GET', '/vm')
        return caught.value

    yield ask


@pytest.mark.parametrize(('status', 'told'), [(500, 502), (404, 404), (503, 502), (508, 508), (201, 502)])
def test_the_catcher_knows_its_answers(tidy: None, front: Any, status: int, told: int) -> None:
    """A failed call of a REST client is answered as one of the core is, and joins the chain."""
    with kit.serve(lambda *_: (status, None, NAPIX)) as behind:
        error = front(behind.url)
    assert error.status == told
    assert [(hop.status, hop.remote_call) for hop in error.chain][1:] == [(status, f'GET {behind.url}/disk')]
    assert error.root.error_text == 'boom'


@pytest.mark.parametrize(
    ('kind', 'told'), [(RefusedError, 502), (ConnectTimeout, 503), (ReadTimeout, 504), (DeadlineExceeded, 504)]
)
def test_the_catcher_knows_its_failures(tidy: None, front: Any, kind: type[HTTPError], told: int) -> None:
    """One without an answer is answered as its cause is: late ones 504; the root has the name of the cause, and no status."""
    server = kit.FullServer() if kind is ConnectTimeout else kit.Mute(listening=kind is not RefusedError)
    with server as behind:
        error = front(behind.url, timeout=Timeouts(read=0.1) if kind is ReadTimeout else 0.2)
    assert error.status == told
    assert (error.root.status, error.root.error_class) == (None, kind.__name__)
