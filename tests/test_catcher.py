"""The law of ExceptionsCatcher: what it answers, what it lets pass, and that a server and an application see PEP 3333."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import gevent
import pytest

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPError,
    NameResolutionError,
    PendingResponse,
    ProxyError,
    QueueTimeout,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Request,
    TLSError,
    TruncatedBody,
    wsgi,
)
from napixclient.authenticators import BearerToken
from napixclient.wsgi import ExceptionsCatcher
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_wsgi import App, Environ, Programs, says, served

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

TEXT = [('Content-Type', 'text/plain')]


# A server of PEP 3333 that writes down what happens -------------------------------------------------------------------


class Ran(NamedTuple):
    """One request, as its server saw it: `events` has each status line and each part of the body, in their order."""

    events: list[Any]
    fields: dict[str, str]
    raised: BaseException | None

    @property
    def status(self) -> int:
        """Of the answer; there was one."""
        return int(next(event for event in self.events if isinstance(event, str))[:3])

    @property
    def body(self) -> bytes:
        """As far as it was sent."""
        return b''.join(event for event in self.events if isinstance(event, bytes))

    @property
    def document(self) -> dict[str, Any]:
        """The error document."""
        assert self.raised is None, self.raised
        return json.loads(self.body)  # type: ignore[no-any-return]


def run(app: App, method: str = 'GET', path: str = '/', **environ: Any) -> Ran:
    """Serve one request, under the eyes of `wsgiref.validate`."""
    given: Environ = {'REQUEST_METHOD': method, 'SCRIPT_NAME': '', 'PATH_INFO': path, 'QUERY_STRING': '', **environ}
    setup_testing_defaults(given)
    events: list[Any] = []
    fields: dict[str, str] = {}

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info and any(isinstance(event, bytes) for event in events):
            raise exc_info[1]
        events[:] = [status]
        fields.clear()
        fields.update(headers)
        return events.append

    raised: BaseException | None = None
    try:
        answer = validator(app)(given, start)
        try:
            events.extend(iter(answer))
        finally:
            answer.close()  # type: ignore[attr-defined]
    except BaseException as exc:
        raised = exc
    return Ran(events, fields, raised)


class Caught:
    """An `on_error` that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[BaseException] = []

    def __call__(self, exc: BaseException, environ: Environ) -> None:
        """Keep the exception."""
        assert environ['REQUEST_METHOD']
        self.told.append(exc)

    @property
    def texts(self) -> list[str]:
        """The exceptions as texts."""
        return [f'{type(exc).__name__}: {exc}' for exc in self.told]


class Body:
    """An iterable with parts that are bytes, or exceptions to be raised; and perhaps one for its `close`."""

    def __init__(self, *parts: Any, close: BaseException | None = None) -> None:
        self.parts = iter(parts)
        self.failure = close
        self.closed = 0

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        part = next(self.parts)
        if isinstance(part, BaseException):
            raise part
        return part  # type: ignore[no-any-return]

    def close(self) -> None:
        """Count, and perhaps fail."""
        self.closed += 1
        if self.failure is not None:
            raise self.failure


def gives(body: Any, status: str = '200 OK', fields: list[tuple[str, str]] = TEXT) -> App:
    """An application that gives this body."""

    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status, list(fields))
        return body

    return app


def writes(*parts: Any) -> App:
    """An application that uses `write`, and perhaps fails."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        write = start_response('200 OK', list(TEXT))
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            write(part)
        return []

    return app


def raises(exc: BaseException) -> App:
    """An application that raises at once."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        raise exc

    return app


def generates(*parts: Any) -> App:
    """An application that is a generator: it is called, and nothing of it runs before the first part is wanted."""

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response('200 OK', list(TEXT))
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            yield part

    return app


def starts_anew(environ: Environ, start_response: Any) -> list[bytes]:
    """An application with an error handler of its own."""
    start_response('200 OK', list(TEXT))
    try:
        raise ValueError('handled')
    except ValueError:
        start_response('418 Teapot', list(TEXT), sys.exc_info())
    return [b'short and stout']


def starts_anew_too_late(environ: Environ, start_response: Any) -> Iterator[bytes]:
    """An application whose error handler comes too late."""
    start_response('200 OK', list(TEXT))
    yield b'half'
    try:
        raise ValueError('late')
    except ValueError:
        start_response('500 Oops', list(TEXT), sys.exc_info())
    yield b'never'


def starts_twice(environ: Environ, start_response: Any) -> list[bytes]:
    """An application that breaks PEP 3333."""
    start_response('200 OK', list(TEXT))
    start_response('200 OK', list(TEXT))
    return [b'x']


# What does not fail ---------------------------------------------------------------------------------------------------

GOOD = {
    'a list': lambda: gives([b'one', b'', b'two']),
    'an empty list': lambda: gives([], '204 No Content', []),
    'a tuple': lambda: gives((b'one', b'two')),
    'an iterable': lambda: gives(Body(b'one', b'', b'two')),
    'nothing': lambda: gives(Body()),
    'empty parts': lambda: gives(Body(b'', b'')),
    'a generator': lambda: generates(b'one', b'two'),
    'write': lambda: writes(b'one', b'', b'two'),
    'an error handler': lambda: starts_anew,
}


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_what_does_not_fail_is_served_as_it_is(name: str, method: str) -> None:
    """The server sees the same status, fields and bytes as without the middleware."""
    caught = Caught()
    bare, served = (
        run(app, method) for app in (GOOD[name](), ExceptionsCatcher(validator(GOOD[name]()), on_error=caught))
    )
    assert (served.status, served.fields, served.body, served.raised) == (bare.status, bare.fields, bare.body, None)
    assert caught.told == []


def test_a_list_stays_a_list() -> None:
    """So that the server can tell its length."""
    started: list[str] = []
    answer = ExceptionsCatcher(gives([b'body']))(
        {'REQUEST_METHOD': 'GET'}, lambda status, *rest: started.append(status)
    )
    assert (answer, started) == ([b'body'], ['200 OK'])


def test_the_body_is_closed_once() -> None:
    """Whether it was read to its end, failed, or was left by the server."""
    for parts in ([b'x'], [], [b'x', ValueError()], [ValueError()]):
        body = Body(*parts)
        run(ExceptionsCatcher(gives(body)))
        assert body.closed == 1
    body = Body(b'x', b'y')
    answer: Any = ExceptionsCatcher(gives(body))({'REQUEST_METHOD': 'GET'}, lambda *given: None)
    assert next(answer) == b'x'
    answer.close()
    assert body.closed == 1


def test_empty_parts_are_held_back() -> None:
    """The status line waits for the first byte, because servers send it with the first part, even an empty one."""
    events: list[Any] = []

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response('200 OK', list(TEXT))
        for part in b'', b'', b'x', b'', b'y':
            events.append(f'part {part.decode()}')
            yield part

    for part in ExceptionsCatcher(app)({'REQUEST_METHOD': 'GET'}, lambda status, *rest: events.append(status)):
        events.append(part)
    assert events == ['part ', 'part ', 'part x', '200 OK', b'x', 'part ', b'', 'part y', b'y']


# What fails before a byte was sent ------------------------------------------------------------------------------------

FAILS = {
    'at once': (lambda: raises(ValueError('boom')), 'ValueError: boom'),
    'in a generator': (lambda: generates(ValueError('boom')), 'ValueError: boom'),
    'after empty parts': (lambda: generates(b'', b'', ValueError('boom')), 'ValueError: boom'),
    'in an iterable': (lambda: gives(Body(ValueError('boom'))), 'ValueError: boom'),
    'after an empty write': (lambda: writes(b'', ValueError('boom')), 'ValueError: boom'),
    'in close': (lambda: gives(Body(close=ValueError('boom'))), 'ValueError: boom'),
    'StopIteration': (lambda: raises(StopIteration('boom')), 'StopIteration: boom'),
}
#: Applications that break PEP 3333, and what their callers are told.
BREAKS = {
    'starts twice': (lambda: starts_twice, 'AssertionError: start_response was called a second time'),
    'never starts': (lambda: lambda environ, start: [b'x'], 'AssertionError: .* without calling start_response'),
    'never starts nor gives': (lambda: lambda environ, start: [], 'AssertionError: .* without calling start_response'),
    'gives nothing': (lambda: gives(None), 'TypeError: .*iterable'),
    'a list of texts': (lambda: gives(['text']), 'TypeError: the application gave str'),
    'an iterable of texts': (lambda: generates('text'), 'TypeError: the application gave str'),
    'a field in two lines': (lambda: gives([b'x'], fields=[('X-A', 'a\r\nSet-Cookie: b')]), "ValueError: .*'X-A'"),
    'a field that is no latin-1': (lambda: gives([b'x'], fields=[('X-A', '€')]), "ValueError: .*'X-A'"),
    'a name with a space': (lambda: gives([b'x'], fields=[('X A', 'a')]), "ValueError: .*'X A'"),
    'no status': (lambda: gives([b'x'], 'fine'), "ValueError: .*'fine'"),
}


@pytest.mark.parametrize('name', FAILS)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_a_failure_before_the_first_byte_is_answered(name: str, method: str) -> None:
    """The answer is the document alone: no status, no field and no byte of the answer that failed."""
    caught = Caught()
    make, text = FAILS[name]
    got = run(ExceptionsCatcher(validator(make()), on_error=caught), method, '/vm/')
    assert (got.status, got.raised, caught.texts) == (500, None, [text])
    assert got.fields['Content-Type'] == 'application/json' and 'text/plain' not in got.fields.values()
    if method == 'HEAD':
        assert got.body == b'' and int(got.fields['Content-Length']) > 100
    else:
        assert f'{got.document["error_class"]}: {got.document["error_text"]}' == text
        assert got.document['request'] == {'method': 'GET', 'path': '/vm/'}
        assert int(got.fields['Content-Length']) == len(got.body)


@pytest.mark.parametrize('name', BREAKS)
def test_an_application_that_breaks_the_protocol_is_reported(name: str) -> None:
    """What a server would only find when it is too late is found before anything is sent."""
    caught = Caught()
    make, pattern = BREAKS[name]
    got = run(ExceptionsCatcher(make(), on_error=caught))
    assert got.status == 500 and len(caught.told) == 1
    assert re.match(pattern, f'{got.document["error_class"]}: {got.document["error_text"]}'), got.document
    assert 'Set-Cookie' not in got.body.decode()


def test_a_server_that_refuses_the_fields() -> None:
    """A field that the server itself cannot send is a failure like any other: it is given the document instead."""
    starts: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        starts.append((status, exc_info and exc_info[0]))
        if len(starts) == 1:
            raise KeyError('no such field')

    for app in gives([b'x']), generates(b'x'), writes(b'x'):
        starts.clear()
        body = b''.join(ExceptionsCatcher(app)({'REQUEST_METHOD': 'GET'}, start))
        assert json.loads(body)['error_class'] == 'KeyError'
        assert starts == [('200 OK', None), ('500 Internal Server Error', KeyError)]


# What fails afterwards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('app', 'sent', 'text'),
    [
        (lambda: generates(b'half', ValueError('boom')), b'half', 'ValueError: boom'),
        (lambda: gives(Body(b'half', ValueError('boom'))), b'half', 'ValueError: boom'),
        (lambda: writes(b'half', ValueError('boom')), b'half', 'ValueError: boom'),
        (lambda: starts_anew_too_late, b'half', 'ValueError: late'),
    ],
)
def test_a_failure_after_the_first_byte_ends_the_answer(app: Callable[[], App], sent: bytes, text: str) -> None:
    """The exception goes on to the server, which ends the connection; nothing more is sent."""
    caught = Caught()
    got = run(ExceptionsCatcher(validator(app()), on_error=caught))
    assert (got.status, got.body, f'{type(got.raised).__name__}: {got.raised}') == (200, sent, text)
    assert caught.texts == [text]


def test_a_body_that_fails_twice() -> None:
    """The caller is told of the first failure, the hook of both."""
    for parts, status in ([], 500), ([b'half'], 200):
        caught = Caught()
        got = run(
            ExceptionsCatcher(gives(Body(*parts, ValueError('first'), close=KeyError('second'))), on_error=caught)
        )
        assert got.status == status and caught.texts == ['ValueError: first', "KeyError: 'second'"]
        if status == 500:
            assert got.document['error_text'] == 'first'


def test_close_that_fails_after_the_last_byte(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be told to the caller: the hook and the log have it."""
    caught = Caught()
    got = run(ExceptionsCatcher(validator(gives(Body(b'whole', close=ValueError('boom')))), on_error=caught))
    assert (got.status, got.body, got.raised, caught.texts) == (200, b'whole', None, ['ValueError: boom'])
    assert 'ValueError: boom' in caplog.text


PASSES = [MemoryError(), SystemExit(3), KeyboardInterrupt(), gevent.GreenletExit(), gevent.Timeout(3)]


@pytest.mark.parametrize('exc', PASSES, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize(
    'make',
    [
        raises,
        lambda exc: generates(exc),
        lambda exc: generates(b'', exc),
        lambda exc: generates(b'half', exc),
        lambda exc: gives(Body(close=exc)),
        lambda exc: gives(Body(b'whole', close=exc)),
    ],
    ids=range(6),
)
def test_what_is_not_for_us_passes(make: Callable[[BaseException], App], exc: BaseException) -> None:
    """The process ends, a greenlet is killed, somebody's clock runs out: nobody is told, nothing is answered."""
    caught = Caught()
    got = run(ExceptionsCatcher(validator(make(exc)), on_error=caught))
    assert got.raised is exc and caught.told == []
    assert all(event in ('200 OK', b'half', b'whole') for event in got.events)


# The hook and the log -------------------------------------------------------------------------------------------------


def test_what_the_hook_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and changes nothing."""

    def hook(exc: BaseException, environ: Environ) -> None:
        raise ZeroDivisionError('in the hook')

    got = run(ExceptionsCatcher(raises(ValueError('boom')), on_error=hook))
    assert got.document['error_text'] == 'boom'
    assert 'ZeroDivisionError: in the hook' in caplog.text
    assert {record.name for record in caplog.records} == {'napixclient.wsgi'}
    got = run(ExceptionsCatcher(generates(b'half', ValueError('boom')), on_error=hook))
    assert isinstance(got.raised, ValueError)


def test_the_log_has_the_traceback_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """One record at the level ERROR: the request, its traceback, and asterisks for what an authenticator holds."""
    BearerToken('s3cr3t-bearer')
    run(ExceptionsCatcher(raises(ValueError('Authorization: Bearer s3cr3t-bearer is no good'))), 'POST', '/vm/')
    (record,) = caplog.records
    text = record.getMessage()
    assert record.levelno == logging.ERROR and text.startswith('POST /vm/ failed\nTraceback')
    assert 'test_catcher.py' in text and 'ValueError: Authorization: ***' in text
    assert 's3cr3t' not in text and record.exc_info is None


# The document ---------------------------------------------------------------------------------------------------------


class Odd(HTTPError):
    """An error of the application's own."""

    def __init__(self, vm: str) -> None:
        self.vm = vm


class Mute(Exception):
    """An exception that cannot tell what it is."""

    def __str__(self) -> str:
        raise RuntimeError('no text')


class Several(Exception):
    """An exception of somebody's that holds others, and is no group of Python's."""

    exceptions = (ValueError('part'),)


@pytest.mark.parametrize(
    ('exc', 'said'),
    [
        (Odd('vm17'), (502, 'Odd', '')),
        (Mute(), (500, 'Mute', '<Mute that has no text>')),
        (Several('both'), (500, 'Several', 'both')),
        (ExceptionGroup('both', [ValueError('a')]), (500, 'ExceptionGroup', 'both')),
        (ValueError('\udcff\0\u2028'), (500, 'ValueError', '\udcff\0\u2028')),
    ],
    ids=range(5),
)
def test_any_exception_can_be_described(exc: Exception, said: tuple[int, str, str]) -> None:
    """However it is made."""
    document = run(ExceptionsCatcher(raises(exc))).document
    assert (document['status'], document['error_class'], document['error_text']) == said


def test_the_document_has_the_members_of_both_worlds() -> None:
    """Those of napix and those of RFC 9457; without leave, nothing of where in the code it was."""
    got = run(
        ExceptionsCatcher(raises(ValueError('boom'))),
        'PUT',
        '/vm/',
        HTTP_X_REQUEST_ID='r-1',
        HTTP_TRACEPARENT=f'00-{"ab" * 16}-{"cd" * 8}-01',
    )
    instance = got.document['instance']
    assert got.document == {
        'type': 'about:blank',
        'title': 'Internal Server Error',
        'status': 500,
        'instance': instance,
        'trace_id': 'ab' * 16,
        'error_class': 'ValueError',
        'error_text': 'boom',
        'request': {'method': 'PUT', 'path': '/vm/'},
    }
    assert re.fullmatch(r'urn:uuid:[0-9a-f-]{36}', instance)
    assert got.fields['X-Request-ID'] == 'r-1'


def test_it_is_inert() -> None:
    """A browser that is made to show it as a page finds no tag in it."""
    got = run(ExceptionsCatcher(raises(ValueError('<script>alert(1)</script> & co'))), path='/<b>')
    assert not re.search(rb'[<>&]', got.body)
    assert got.document['error_text'] == '<script>alert(1)</script> & co'
    assert got.fields['X-Content-Type-Options'] == 'nosniff'


def test_tracebacks_are_passed_on_with_leave_only() -> None:
    """Our own, in the members that napix has for it."""
    document = run(ExceptionsCatcher(raises(ValueError('boom')), expose_traceback=True)).document
    last = document['traceback'][-1]
    assert last['call'] == 'raise exc' and last['in'] == 'app' and last['filename'] == document['filename'] == __file__
    assert last['line'] == document['line']
    assert not {'traceback', 'filename', 'line'} & set(run(ExceptionsCatcher(raises(ValueError()))).document)


@pytest.mark.parametrize(
    ('accept', 'problem'),
    [
        (None, False),
        ('*/*', False),
        ('application/json', False),
        ('application/problem+json', True),
        ('text/html, Application/Problem+JSON;q=0.5', True),
        ('application/problem+json;q=0', False),
        ('application/problem+json ; Q=0.000, */*', False),
        ('application/problem+json;q=0.001', True),
        ('application/problem+jsonp', False),
    ],
)
def test_the_media_type_is_that_which_is_asked_for(accept: str | None, problem: bool) -> None:
    """`application/problem+json` where `Accept` names it with a weight above 0, `application/json` otherwise."""
    got = run(ExceptionsCatcher(raises(ValueError())), **({} if accept is None else {'HTTP_ACCEPT': accept}))
    assert got.fields['Content-Type'] == ('application/problem+json' if problem else 'application/json')


@pytest.mark.parametrize(
    ('environ', 'path'),
    [
        ({'PATH_INFO': '/a/b', 'QUERY_STRING': 'token=1'}, '/a/b'),
        ({'PATH_INFO': '/a/b', 'RAW_URI': '/a%2Fb?token=1'}, '/a%2Fb'),
        ({'PATH_INFO': '/a/b', 'REQUEST_URI': '/a%2Fb?token=1'}, '/a%2Fb'),
        ({'PATH_INFO': '/b', 'SCRIPT_NAME': '/a'}, '/a/b'),
        ({'PATH_INFO': '/a b/é€'.encode().decode('latin-1')}, '/a%20b/%C3%A9%E2%82%AC'),
        ({'PATH_INFO': '/x\nforged'}, '/x%0Aforged'),
        ({'PATH_INFO': '/a', 'RAW_URI': 'http://server.example/a?b'}, '/a'),
        ({'PATH_INFO': '/a', 'RAW_URI': '/x\x1b\xff'}, '/x%1B%FF'),
    ],
    ids=range(8),
)
def test_the_path_is_as_it_was_sent(environ: Environ, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without its query, and in one line of the log."""
    document = run(ExceptionsCatcher(raises(ValueError('boom'))), **{'path': environ['PATH_INFO'], **environ}).document
    assert document['request']['path'] == path
    assert caplog.records[0].getMessage().startswith(f'GET {path} failed\n')


# The status -----------------------------------------------------------------------------------------------------------


def answered(status: int) -> RemoteError:
    """What a server that answers so makes its caller raise."""
    with kit.serve(lambda *request: (status, {}, 'no')) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error, RemoteError)
        return error


@pytest.mark.parametrize(
    ('status', 'ours'), [(400, 502), (404, 502), (500, 502), (502, 502), (503, 502), (504, 502), (508, 508)]
)
def test_the_status_for_what_was_answered(status: int, ours: int) -> None:
    """A failure behind us is 502, but a loop is 508 for everybody in it."""
    assert run(ExceptionsCatcher(raises(answered(status)))).status == ours


@pytest.mark.parametrize(
    ('kind', 'ours'),
    [
        (RefusedError, 502),
        (NameResolutionError, 502),
        (TLSError, 502),
        (ProxyError, 502),
        (TruncatedBody, 502),
        (Cancelled, 502),
        (HTTPError, 502),
        (ReadTimeout, 504),
        (DeadlineExceeded, 504),
        (QueueTimeout, 503),
        (ConnectTimeout, 503),
        (ValueError, 500),
        (TimeoutError, 500),
    ],
)
def test_the_status_for_what_was_not(kind: type[Exception], ours: int) -> None:
    """Late after something was sent is 504, before it is 503, which says when to come back; our own errors are 500."""
    got = run(ExceptionsCatcher(raises(kind('x'))))
    assert got.status == got.document['status'] == ours
    assert ('Retry-After' in got.fields) == (ours == 503)
    assert got.fields.get('Retry-After', '1').isdecimal()


def test_the_status_for_what_one_did_not_wait_for() -> None:
    """`get(timeout=)` that runs out is 504 when the request had been sent, and 503 while it was queued."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        sent, queued = [pool.request(server.host, 'GET', f'/{number:06}') for number in range(2)]
        kit.wait_until(lambda: gate.arrived == 1)
        for pending, status in (sent, 504), (queued, 503):

            def app(environ: Environ, start_response: Any, pending: PendingResponse = pending) -> list[bytes]:
                return [pending.get(timeout=0.01).data]

            assert run(ExceptionsCatcher(app)).status == status
        pool.cancel()


def test_the_status_of_a_group() -> None:
    """The highest of the calls in it; without a call it is our own error."""
    request = Request('server.example', 'GET', '/')
    late, refused = DeadlineExceeded('x', request=request), RefusedError('x', request=request)
    for group, status in (
        (ExceptionGroup('g', [refused, late]), 504),
        (ExceptionGroup('g', [refused, ExceptionGroup('h', [late])]), 504),
        (ExceptionGroup('g', [ValueError(), refused]), 502),
        (ExceptionGroup('g', [ValueError()]), 500),
    ):
        assert run(ExceptionsCatcher(raises(group))).status == status


def test_the_map_can_be_changed() -> None:
    """The nearest class counts; other classes keep their statuses."""

    class Gone(KeyError):
        """A failure of the application's."""

    statuses = {LookupError: 404, RefusedError: 503, Gone: 410}
    for exc, status in (
        (KeyError(), 404),
        (Gone(), 410),
        (RefusedError(), 503),
        (TLSError(), 502),
        (ValueError(), 500),
    ):
        assert run(ExceptionsCatcher(raises(exc), statuses=statuses)).status == status


def test_statuses_that_are_handed_on() -> None:
    """Those named, and as the answer of our own they are."""
    for status, ours in (404, 404), (409, 409), (410, 502):
        got = run(ExceptionsCatcher(raises(answered(status)), passthrough={404, 409}))
        assert (got.status, got.document['status'], got.document['remote_status']) == (ours, ours, status)


@pytest.mark.parametrize(
    'options',
    [
        {'app': None},
        {'on_error': 5},
        {'statuses': {ValueError: 200}},
        {'statuses': {ValueError: True}},
        {'statuses': {'ValueError': 500}},
        {'statuses': {5: 500}},
        {'passthrough': [99]},
        {'passthrough': ['404']},
        {'server_id': ''},
        {'server_id': 'a,b'},
        {'server_id': 'a b'},
        {'server_id': 5},
        {'server_id': 'x' * 129},
    ],
)
def test_values_that_make_no_sense(options: dict[str, Any]) -> None:
    """They are a ValueError where they are given."""
    with pytest.raises(ValueError):
        ExceptionsCatcher(**{'app': gives([]), **options})


def test_public_names() -> None:
    """What the package has is listed and is loaded when it is asked for; anything else is an AttributeError."""
    assert wsgi.__all__ == sorted(wsgi.__all__)
    for name in wsgi.__all__:
        assert getattr(wsgi, name).__doc__ and name in dir(wsgi)
    with pytest.raises(AttributeError, match='nonsense'):
        wsgi.nonsense  # noqa: B018


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('value', 'runs'),
    [
        ('0', False),
        ('-5', False),
        (' 0 ', False),
        ('-999999999999', False),
        ('1000', True),
        ('', True),
        ('soon', True),
        ('1.5', True),
        ('+0', True),
        ('0x0', True),
        ('1e3', True),
        ('٠', True),
        ('0' * 50, True),
        ('nan', True),
    ],
)
def test_a_caller_who_has_left(value: str, runs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits any more: 503 without running the application. What is no whole number is ignored."""
    caught = Caught()
    got = run(ExceptionsCatcher(validator(gives([b'ran'])), on_error=caught), HTTP_X_NAPIX_TIMEOUT=value)
    assert (got.status, got.body == b'ran') == ((200, True) if runs else (503, False))
    if not runs:
        assert got.document['error_class'] == 'CallerLeft' and got.fields['Retry-After'] == '1'
        assert caught.told == [] and [record.levelname for record in caplog.records] == ['WARNING']


@pytest.mark.parametrize(
    ('via', 'runs'),
    [
        ('', True),
        ('a', True),
        ('a,b,c,d,e,f,g,h', True),
        ('a,b,c,d,e,f,g,h,i', False),
        ('me', False),
        ('a, me ,b', False),
        ('a,ME,mee,m e', True),
        (',' * 1000, True),
        ('x' * 5000, True),
        (','.join('a' * 5000), False),
    ],
)
def test_a_call_that_has_been_here(via: str, runs: bool) -> None:
    """Its own id among those passed, or more than 8 of them, is 508 without running the application."""
    got = run(ExceptionsCatcher(validator(gives([b'ran'])), server_id='me'), HTTP_X_NAPIX_VIA=via)
    assert (got.status, got.body == b'ran') == ((200, True) if runs else (508, False))
    if not runs:
        assert got.document['error_class'] == 'LoopDetected' and got.document['title'] == 'Loop Detected'
        # The cure where it is no loop, and only there.
        assert ('server_id=' in got.document['error_text']) is ('me' in re.split('[, ]+', via))


def test_the_id_of_a_server() -> None:
    """By default stable, so the same in all workers, and another for each port and mount point."""

    def passed(**environ: str) -> Any:
        got = run(ExceptionsCatcher(says(lambda environ: current_via())), **environ)
        return json.loads(got.body)

    from napixclient.call_context import current

    def current_via() -> Any:
        call_context = current.get()
        assert call_context is not None
        return call_context.via

    one = passed(SERVER_PORT='8001')
    assert passed(SERVER_PORT='8001') == one and re.fullmatch('[0-9a-f]{16}', one[0])
    assert passed(SERVER_PORT='8002') != one != passed(SERVER_PORT='8001', SCRIPT_NAME='/api')
    catch = ExceptionsCatcher(says(lambda environ: current_via()))
    ids = {json.loads(run(catch, SERVER_PORT=str(port)).body)[0] for port in range(200)}
    assert len(ids) == 200


# Real servers ---------------------------------------------------------------------------------------------------------


def misbehave(environ: Environ, start_response: Any) -> Any:
    """An application for all failures: the path says which."""
    apps: dict[str, App] = {
        '/whole': generates(b'', b'whole', b''),
        '/list': gives([b'whole']),
        '/at-once': raises(ValueError('boom')),
        '/empty': generates(b'', ValueError('boom')),
        '/close': gives(Body(close=ValueError('boom'))),
        '/closed': gives(Body(b'whole', close=ValueError('late'))),
        '/half': generates(b'half', ValueError('boom')),
        '/write': writes(b'half', ValueError('boom')),
        '/length': gives(Body(b'half', ValueError('boom')), fields=[*TEXT, ('Content-Length', '100')]),
        '/late': starts_anew_too_late,
        '/field': gives([b'x'], fields=[*TEXT, ('Content-Length', '1'), ('X-A', '€')]),
        '/exit': generates(b'half', gevent.GreenletExit()),
    }
    return apps[environ['PATH_INFO']](environ, start_response)


app = ExceptionsCatcher(misbehave)
SERVERS = ['pywsgi', 'gunicorn gevent', 'gunicorn gthread', 'gunicorn sync', 'werkzeug']


@pytest.fixture(scope='module')
def servers() -> Iterator[dict[str, str]]:
    """The misbehaving application on each kind of server: kind -> host."""
    with served(app) as host, Programs() as programs:
        found = {'pywsgi': host}
        for worker in 'gevent', 'gthread', 'sync':
            found[f'gunicorn {worker}'] = programs.gunicorn('tests.test_catcher:app', worker)
        found['werkzeug'] = f'127.0.0.1:{int(programs.python("-c", WERKZEUG).stdout.readline())}'
        yield found


WERKZEUG = """
from werkzeug.serving import make_server
from tests.test_catcher import app
server = make_server('127.0.0.1', 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize('server', SERVERS)
def test_on_a_real_server(server: str, servers: dict[str, str]) -> None:
    """The caller gets the whole answer, or the document, or a truncated answer; never a short success."""
    with Client(servers[server], timeout=20, retries=False) as client:
        for path in '/whole', '/list', '/closed':
            assert client.request('GET', path).text == 'whole', path
        for path in '/at-once', '/empty', '/close':
            error = failure(client, 'GET', path)
            assert (error.status, error.root.error_class, error.root.error_text) == (500, 'ValueError', 'boom'), path
            assert error.remote_error['request'] == {'method': 'GET', 'path': path}
        assert failure(client, 'GET', '/field').root.error_class == 'ValueError'
        for path in '/half', '/write', '/length', '/late':
            assert isinstance(failure(client, 'GET', path), TruncatedBody), path
        head = failure(client, 'HEAD', '/at-once')
        assert head.status == 500 and head.response is not None and head.response.data == b''


def test_a_greenlet_that_is_killed_cuts_its_answer(servers: dict[str, str]) -> None:
    """gevent's server is left by what passes through, and the caller sees no end."""
    with Client(servers['pywsgi'], timeout=20) as client:
        assert isinstance(failure(client, 'GET', '/exit'), TruncatedBody)


# The cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.skipif(sys.gettrace() is not None, reason='a traced process measures its tracer')
@pytest.mark.parametrize('make', [lambda: gives([b'ok']), lambda: generates(b'ok')], ids=['a list', 'a generator'])
def test_it_costs_little(make: Callable[[], App]) -> None:
    """Under 10 µs for a request that does not fail, with all that can travel; the bound leaves room for the machine."""
    environ = {
        'REQUEST_METHOD': 'GET',
        'PATH_INFO': '/',
        'SCRIPT_NAME': '',
        'SERVER_PORT': '80',
        'HTTP_TRACEPARENT': f'00-{"ab" * 16}-{"cd" * 8}-01',
        'HTTP_X_REQUEST_ID': 'ab' * 16,
        'HTTP_X_NAPIX_VIA': 'one,two',
        'HTTP_X_NAPIX_TIMEOUT': '2000',
    }

    def seconds(app: App) -> float:
        def once() -> None:
            answer = app(environ, lambda status, headers, exc_info=None: None)
            for _ in answer:
                pass
            if hasattr(answer, 'close'):
                answer.close()

        return min(timeit.repeat(once, number=500, repeat=20, timer=time.process_time)) / 500

    bare = make()
    assert seconds(ExceptionsCatcher(bare)) - seconds(bare) < kit.limit(25e-6)
