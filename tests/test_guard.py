"""What proves to our own servers who asks: on real servers, with our client, and against whoever wants in without."""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote_plus
from wsgiref.validate import validator

import gevent.pywsgi
import gevent.threadpool
import pytest
from gevent import socket
from gevent.monkey import get_original
from hypothesis import given, settings
from hypothesis import strategies as st

import napixclient.wsgi
from napixclient import Client, ClientPool, RefusedError, RemoteError, Request
from napixclient.authenticators import LoginAuthenticator, TokenIdentifier
from napixclient.masking import mask
from napixclient.wsgi import ExceptionsCatcher, RawURIHandler, SignatureGuard
from napixclient.wsgi.nonces import Nonces
from napixclient.wsgi.refusals import Refusal
from tests import kit
from tests.helpers_guard import KEYS, TOKENS, authorization, checked, fields, message_of, program, signed

FIELDS = ('login', 'nonce', 'path', 'host', 'method', 'timestamp')
WINDOW = 300


# Servers -------------------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A real server that serves the guarded application."""

    name: str
    port: int
    raw: bool  # whether it tells the target as it was sent
    untouched: bool  # whether it leaves `//` and what is not ASCII as it was sent

    @property
    def host(self) -> str:
        """As a caller of the client writes it, and as it stands in `Host`."""
        return f'127.0.0.1:{self.port}'


def listener() -> socket.socket:
    """A socket that listens, without the delay that costs pywsgi 44 ms for each answer."""
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.bind(('127.0.0.1', 0))
    made.listen(64)
    return made


class Servers:
    """The servers, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._started: dict[str, Server] = {}

    def __call__(self, name: str) -> Server:
        """Return the server of this name, started once."""
        if name not in self._started:
            self._started[name] = Server(
                name, self._start(name), name not in ('pywsgi', 'wsgiref'), name not in ('werkzeug', 'wsgiref')
            )
        return self._started[name]

    def _start(self, name: str) -> int:
        if name in ('werkzeug', 'wsgiref'):
            return self._stack.enter_context(program('tests/helpers_guard.py', name))
        made = self._stack.enter_context(listener())
        if name == 'gunicorn':
            return self._stack.enter_context(
                program(
                    '-m',
                    'gunicorn',
                    '--worker-class',
                    'gevent',
                    '--bind',
                    f'fd://{made.fileno()}',
                    '--log-level',
                    'critical',
                    'tests.helpers_guard:app',
                    listener=made,
                )
            )
        handler = RawURIHandler if name == 'pywsgi with RawURIHandler' else gevent.pywsgi.WSGIHandler
        server = gevent.pywsgi.WSGIServer(made, checked, log=None, error_log=None, handler_class=handler)
        server.start()
        self._stack.callback(server.stop)
        return int(server.server_port)


@pytest.fixture(scope='module')
def servers() -> Iterator[Servers]:
    """All of them end with this module."""
    with ExitStack() as stack:
        yield Servers(stack)


NAMES = ['pywsgi with RawURIHandler', 'pywsgi', 'gunicorn', 'werkzeug', 'wsgiref']


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Each of them."""
    return servers(request.param)


class Answer(NamedTuple):
    """What a server answered to raw bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(server: Server, data: bytes) -> Answer:
    """Send bytes, read until the server closes; a connection that it closes without a word is a status of 0."""
    with socket.create_connection(('127.0.0.1', server.port), timeout=kit.LONG) as sock:
        received = b''
        try:
            sock.sendall(data)
            while part := sock.recv(65536):
                received += part
        except ConnectionError:  # it has closed before it had read everything
            pass
    head, _, body = received.partition(b'\r\n\r\n')
    first, *lines = head.decode('latin-1').split('\r\n')
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
    return Answer(int(first.split(' ')[1]) if first else 0, headers, body)


def head(target: str | bytes, host: str | None, *lines: str, method: str = 'GET', version: str = '1.1') -> bytes:
    """A request's head as it stands on the wire."""
    raw = target if isinstance(target, bytes) else target.encode('latin-1')
    fields_ = [*([f'Host: {host}'] if host is not None else []), 'Connection: close', *lines]
    return (
        b'%b %b HTTP/%b\r\n' % (method.encode(), raw, version.encode())
        + b''.join(line.encode('latin-1') + b'\r\n' for line in fields_)
        + b'\r\n'
    )


# Our client asks real servers ----------------------------------------------------------------------------------------

PATHS = [
    '/',
    '/a/b?x=1&y=%26',
    '/x?',
    '/?',
    '/a%2Fb',
    '/a%20b/%C3%A9?%C3%A9=%20',
    '/é b?€=&x',
    "/!$'()*,;:@=~-._",
    '/100%25',
    '/a+b?c+d',
    '/%41',
    '/x?http://y',
    '/a//b',
    '/.',
    '/../x',
]


@pytest.mark.parametrize('login', KEYS)
def test_signed(server: Server, login: str, tidy: None) -> None:
    """What our client signs is let through, whatever the path, and the application knows the login."""
    with ClientPool(LoginAuthenticator(login, KEYS[login])) as pool:
        for path in PATHS + (['//x', '//x/y?z'] if server.untouched else []):
            pool.request(server.host, 'GET', path, tag=path)
        for answer in pool.wait():
            assert answer.status == 200, (answer.request.tag, answer)
            assert answer.body['login'] == login
            assert answer.body['user'].encode('latin-1').decode() == login


def test_methods(server: Server, tidy: None) -> None:
    """Any method and any body is let through, and the guard leaves the body to the application."""
    with Client(server.host, {'login': 'root', 'key': 'toor'}) as client:
        for method in ('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'):
            assert client.request(method, '/').body['login'] == 'root'
        assert client.request('HEAD', '/').status == 200
        assert client.request('POST', '/', b'x' * 100_000).body['size'] == 100_000
        if server.name != 'wsgiref':  # which reads no chunks
            assert client.request('POST', '/', iter([b'x' * 10_000] * 10)).body['size'] == 100_000
        if server.untouched:  # werkzeug and wsgiref know paths only
            assert client.request('OPTIONS', '*').body['login'] == 'root'


@pytest.mark.parametrize('token', TOKENS)
def test_token(server: Server, token: str, tidy: None) -> None:
    """A token in the query is let through with the login of its owner, and the application still sees it."""
    with Client(server.host, TokenIdentifier(token)) as client:
        for path in '/', '/x?y=1':
            answer = client.request('GET', path)
            assert answer.body['login'] == TOKENS[token]
            assert 'token=' in answer.body['query']


@pytest.mark.parametrize(
    ('authenticator', 'status', 'text'),
    [
        (None, 401, 'You need to sign your request'),
        ({'login': 'root', 'key': 'wrong'}, 403, 'Access Denied'),
        ({'login': 'nobody', 'key': 'toor'}, 403, 'Access Denied'),
        ({'login': 'bob', 'key': 'toor'}, 403, 'Access Denied'),
        (TokenIdentifier('wrong'), 403, 'Access Denied'),
        (TokenIdentifier('abc', 'auth'), 401, 'You need to sign your request'),
    ],
    ids=['nobody', 'wrong key', 'unknown login', "another's key", 'wrong token', 'another parameter'],
)
def test_refused(server: Server, authenticator: Any, status: int, text: str, tidy: None) -> None:
    """Who does not prove who he is is told so by an error document, and a HEAD by its status, and may ask again."""
    with Client(server.host, authenticator) as client:
        for _ in range(2):
            with pytest.raises(RemoteError) as caught:
                client.request('POST', '/x?y=1', {'a': 1})
            error = caught.value
            assert error.status == status
            assert error.root.error_text == text
            assert error.remote_error['request'] == {'method': 'POST', 'path': '/x'}
            assert error.response.headers['X-Content-Type-Options'] == 'nosniff'
            assert ('WWW-Authenticate' in error.response.headers) == (status == 401)
            with pytest.raises(RemoteError) as caught:
                client.request('HEAD', '/')
            assert caught.value.status == status


def test_replayed(server: Server) -> None:
    """The same request is let through once, on whatever connection it comes again."""
    data = head('/', server.host, f'Authorization: {authorization(host=server.host)}')
    assert [ask(server, data).status for _ in range(3)] == [200, 403, 403]


def test_upload_is_not_awaited(servers: Servers) -> None:
    """A request that is refused is answered before its body comes, and is not told to go on."""
    for name in NAMES[:2]:
        server = servers(name)
        with socket.create_connection(('127.0.0.1', server.port), timeout=kit.LONG) as sock:
            sock.sendall(head('/', server.host, 'Content-Length: 1000000', 'Expect: 100-continue', method='POST'))
            assert sock.recv(100).startswith(b'HTTP/1.1 401 ')


# Targets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('target', 'path', 'good'),
    [
        ('/a%2Fb', '/a%2Fb', True),
        ('/a%2Fb', '/a/b', False),
        ('/a/b', '/a%2Fb', False),
        ('/a%2fb', '/a%2Fb', False),
        ('/x?', '/x?', True),
        ('/x?', '/x', False),
        ('/x', '/x?', False),
        ('/x?a', '/x', False),
        ('/x', '/x?a', False),
        ('/x?a=1', '/x?a=%31', False),
        ('/x?a=1&b=2', '/x?b=2&a=1', False),
        ('/x?a?b', '/x?a?b', True),
        ('/%41', '/A', False),
        ('/A', '/%41', False),
        ('/X', '/x', False),
        ('/x/', '/x', False),
        ('/x', '/x/', False),
        ('/a+b', '/a b', False),
        ('/a/../b', '/b', False),
        ('/a/../b', '/a/../b', True),
        ('/http://HOST/x', '/x', False),
        ('/?http://HOST/x', '/x', False),
        ('http://HOST/x?y', '/x?y', True),
        ('http://HOST/x?y', 'http://HOST/x?y', True),
        ('HTTP://HOST/x', '/x', True),
        ('http://HOST/x', '/y', False),
        ('http://HOST/x', 'http://HOST/y', False),
        ('http://HOST/x', '/x?', False),
        ('http://other.example/x', '/x', False),
        ('http://other.example/x', 'http://other.example/x', False),
        ('http://HOST@other.example/x', '/x', False),
        ('http://u@HOST/x', '/x', False),
        ('http://HOST', '/', True),
        ('http://HOST?y', '/?y', True),
        ('http://x.HOST/x', '/x', False),
        ('ftp://HOST/x', '/x', False),
        ('//HOST/x', '/x', False),
    ],
)
def test_targets(servers: Servers, target: str, path: str, good: bool) -> None:
    """Where the server tells the target as it was sent, no other one may have been signed."""
    for name in ('pywsgi with RawURIHandler', 'gunicorn', 'werkzeug'):
        server = servers(name)
        wire, path_ = (text.replace('HOST', server.host) for text in (target, path))
        answer = ask(server, head(wire, server.host, f'Authorization: {authorization(path=path_, host=server.host)}'))
        assert answer.status == 200 if good else answer.status in (403, 400), (name, answer)


@pytest.mark.parametrize(
    ('target', 'path', 'good'),
    [
        ('/a%2Fb', '/a%2Fb', True),
        ('/%C3%A9', '/%C3%A9', True),
        ('/a+b', '/a+b', True),
        ('/a+b', '/a b', False),
        ('/x?', '/x?', True),
        ('/x?a', '/x', False),
        ('/x', '/x?a', False),
        ('/x?a=1', '/x?a=%31', False),
        ('/x', '/y', False),
        ('/x/', '/x', False),
        ('/X', '/x', False),
        ('/%41', '/%42', False),
        ('/%3F', '/?', False),
        ('/?', '/%3F', False),
        ('http://other.example/x', '/x', False),
        ('http://other.example/x', 'http://other.example/x', False),
    ],
)
def test_targets_unquoted(servers: Servers, target: str, path: str, good: bool) -> None:
    """Elsewhere the path that was signed is the one that the server unquoted, and the query is as it was sent."""
    for name in ('pywsgi', 'wsgiref'):
        server = servers(name)
        answer = ask(server, head(target, server.host, f'Authorization: {authorization(path=path, host=server.host)}'))
        assert answer.status == (200 if good else 403), (name, answer)


@pytest.mark.parametrize('path', [b'/\xc3\xa9', b'/\xff?\xfe', b'/"<>^`{|}'])
def test_targets_that_are_not_ascii(server: Server, path: bytes) -> None:
    """Bytes that have no place in a target are let through if they were signed, or refused; no more."""
    answer = ask(server, head(path, server.host, f'Authorization: {authorization(path=path, host=server.host)}'))
    assert answer.status in ((200,) if server.name.startswith('pywsgi') else (200, 400, 403)), answer
    answer = ask(server, head(path, server.host, f'Authorization: {authorization(path=b"/x", host=server.host)}'))
    assert answer.status in (400, 403)


def test_mounted() -> None:
    """Below a mount point the path that was signed is the whole one."""
    for path, status in ('/mount/x', 200), ('/x', 403):
        assert call(guard(), authorization(path=path), SCRIPT_NAME='/mount', PATH_INFO='/x').status == status
    raw = {'SCRIPT_NAME': '/mount', 'PATH_INFO': '/x', 'REQUEST_URI': '/mount/%78?y', 'QUERY_STRING': 'y'}
    for path, status in ('/mount/%78?y', 200), ('/mount/x?y', 403), ('/x?y', 403):
        assert call(guard(), authorization(path=path), **raw).status == status


# Hostile bytes -------------------------------------------------------------------------------------------------------


def right(server: Server, **changed: Any) -> str:
    """A line that is right for that server."""
    return f'Authorization: {authorization(**{"host": server.host, **changed})}'


HOSTILE: dict[str, Callable[[Server], bytes]] = {
    'twice the same': lambda it: head('/', it.host, *[right(it)] * 2),
    'two good ones': lambda it: head('/', it.host, right(it), right(it)),
    'a good one and another': lambda it: head('/', it.host, right(it), 'Authorization: Basic abc'),
    'another and a good one': lambda it: head('/', it.host, 'Authorization: Basic abc', right(it)),
    'thousands': lambda it: head('/', it.host, *[right(it)] * 1000),
    'two hosts': lambda it: head('/', it.host, f'Host: {it.host}', right(it)),
    'another host first': lambda it: head('/', 'other.example', f'Host: {it.host}', right(it)),
    'the host in another case': lambda it: head('/', 'A.example', right(it, host='a.example')),
    'no host': lambda it: head('/', None, right(it), version='1.0'),
    'no host signed': lambda it: head('/', None, right(it, host=''), version='1.0'),
    'nothing': lambda it: head('/', it.host, 'Authorization:'),
    'a colon': lambda it: head('/', it.host, 'Authorization: :'),
    'colons': lambda it: head('/', it.host, f'Authorization: {":" * 4000}'),
    'another scheme': lambda it: head('/', it.host, 'Authorization: Basic cm9vdDp0b29y'),
    'no signature': lambda it: head('/', it.host, right(it).rpartition(':')[0] + ':'),
    'half a signature': lambda it: head('/', it.host, right(it)[:-32]),
    'a signature in capitals': lambda it: head(
        '/', it.host, ':'.join([*right(it).split(':')[:-1], right(it).rpartition(':')[2].upper()])
    ),
    'a signature that is not ASCII': lambda it: head('/', it.host, right(it)[:-1] + '\xe9'),
    'a message that is not ASCII': lambda it: head('/', it.host, 'Authorization: \xe9\xff' + right(it)[15:]),
    'NUL': lambda it: head('/', it.host, right(it) + '\0'),
    'a folded line': lambda it: head('/', it.host, right(it)[:60] + '\r\n ' + right(it)[60:]),
    'percents': lambda it: head('/', it.host, f'Authorization: {"%" * 4000}:x'),
    'many fields': lambda it: head('/', it.host, f'Authorization: {signed(b"a=1&" * 900)}'),
    'no fields': lambda it: head('/', it.host, f'Authorization: {signed(b"&" * 900)}'),
    'a long one': lambda it: head('/', it.host, f'Authorization: {signed(b"a" * 200_000)}'),
    'not a number': lambda it: head('/', it.host, right(it, timestamp='nan')),
    'infinite': lambda it: head('/', it.host, right(it, timestamp='inf')),
    'minus infinite': lambda it: head('/', it.host, right(it, timestamp='-1e999')),
    'huge': lambda it: head('/', it.host, right(it, timestamp='9' * 3000)),
    'a word': lambda it: head('/', it.host, right(it, timestamp='now')),
    'a time that is not ASCII': lambda it: head('/', it.host, right(it, timestamp='١٢٣')),
    'a login that is not UTF-8': lambda it: head('/', it.host, right(it, login=b'root\xff')),
    'a login in overlong UTF-8': lambda it: head('/', it.host, right(it, login=b'roo\xc1\xb4')),
    'a token that is not UTF-8': lambda it: head('/?token=%FF', it.host),
    'two tokens': lambda it: head('/?token=abc&token=abc', it.host),
    'a good token and a bad signature': lambda it: head('/?token=abc', it.host, 'Authorization: Basic abc'),
    'no token': lambda it: head('/?token=', it.host),
    'many tokens': lambda it: head('/?' + 'token=abc&' * 300, it.host),
    'a login in a field': lambda it: head('/', it.host, 'Remote-User: root', 'Napix.Login: root', 'REMOTE_USER: root'),
}


def test_hostile(server: Server) -> None:
    """Nothing but what is right gets in, nothing makes the server fail, and it goes on serving."""
    for name, make in HOSTILE.items():
        data = make(server)
        answer = ask(server, data)
        assert 400 <= answer.status < 500 or (answer.status == 0 and len(data) > 8000), (name, answer)
    assert ask(server, head('/', server.host, right(server))).status == 200


# The application's side ----------------------------------------------------------------------------------------------


class FakeClock:
    """Seconds since the epoch as the test says."""

    def __init__(self, now: float = 1_345_195_098.769764) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


class Unread:
    """The body of a request that nobody may read."""

    def _fail(self, *args: object) -> Any:
        raise AssertionError('the body was read')

    read = readline = readlines = __iter__ = _fail


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with who asked, and reads nothing."""
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps([environ.get('napix.login'), environ.get('REMOTE_USER')]).encode()]


def guard(keys: Any = KEYS, app: Any = hello, **options: Any) -> SignatureGuard:
    """A guard of an application that says who asked."""
    return SignatureGuard(app, keys, **options)


def call(app: Any, authorization: str | None = None, **changed: Any) -> Answer:
    """Call an application as a server does, under the eyes of `wsgiref.validate`."""
    environ = {
        'REQUEST_METHOD': 'GET',
        'SCRIPT_NAME': '',
        'PATH_INFO': '/',
        'QUERY_STRING': '',
        'SERVER_NAME': 'x',
        'SERVER_PORT': '80',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'HTTP_HOST': 'server.example',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.input': Unread(),
        'wsgi.errors': Errors(),
        'wsgi.multithread': True,
        'wsgi.multiprocess': False,
        'wsgi.run_once': False,
        **changed,
    }
    if authorization is not None:
        environ['HTTP_AUTHORIZATION'] = authorization
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))

    result = validator(app)(environ, start_response)
    try:
        body = b''.join(result)
    finally:
        result.close()
    [(status, headers)] = started
    return Answer(int(status[:3]), {name.lower(): value for name, value in headers}, body)


class Errors:
    """A log that nothing is written to."""

    def write(self, *args: object) -> None:
        """Nothing."""
        raise AssertionError('something was logged')

    flush = writelines = write


class TestFields:
    """What is signed is what is asked for, each part of it, once."""

    def test_all_of_them(self) -> None:
        """The six fields are enough, in any order, and what is signed beside them is nobody's business."""
        for _ in range(10):
            said = list(fields().items())
            random.shuffle(said)
            assert json.loads(call(guard(), signed(message_of(said))).body) == ['root', 'root']
        assert call(guard(), authorization(version='2', other='')).status == 200
        assert call(guard(), signed(message_of(fields().items()) + b'&&')).status == 200
        unquoted = '&'.join(f'{name}={value}' for name, value in fields(host='server.example:80').items()).encode()
        assert call(guard(), signed(unquoted), HTTP_HOST='server.example:80').status == 200

    def test_bounded(self) -> None:
        """What is longer than any server takes, or has more fields than anybody needs, is not looked at."""
        for size, status in (60_000, 200), (65_536, 403):
            assert call(guard(), authorization(other='x' * size)).status == status
        for more, status in (26, 200), (27, 403):
            assert call(guard(), authorization(**{f'x{number}': '' for number in range(more)})).status == status

    @pytest.mark.parametrize('name', FIELDS)
    def test_missing(self, name: str) -> None:
        """Without one of them, or with an empty one, nothing is let through, and the answer names it."""
        for said in ({key: value for key, value in fields().items() if key != name}, fields(**{name: ''})):
            answer = call(guard(), signed(message_of(said.items())))
            assert answer.status == 403
            assert json.loads(answer.body)['error_text'] == f'Missing authentication data: {name}'

    @pytest.mark.parametrize('name', [*FIELDS, 'other'])
    @pytest.mark.parametrize('value', [None, 'x', 'other'])
    @pytest.mark.parametrize('first', [True, False])
    def test_twice(self, name: str, value: str | None, first: bool) -> None:
        """A field that is there twice is refused, be it with the same value: readers differ in which one they take."""
        said = fields(other='x', nonce='n')
        more = (name, said[name] if value is None else value)
        pairs = [more, *said.items()] if first else [*said.items(), more]
        answer = call(guard(), signed(message_of(pairs)))
        assert (answer.status, json.loads(answer.body)['error_text']) == (403, 'Access Denied')

    @pytest.mark.parametrize(
        ('name', 'values'),
        [
            ('login', ['bob', 'nobody', 'Root', 'root ', 'root\0']),
            ('path', ['/x', '/?x', '/ ', '//', '', '*', '/%2F']),
            ('host', ['other.example', 'server.example:80', 'Server.example', 'server.example.', 'server.example,']),
            ('method', ['POST', 'get', 'GET ', 'HEAD']),
            ('timestamp', ['0', '', 'x', 'nan', '-inf', '1e400', '１２']),
        ],
    )
    def test_another(self, name: str, values: list[str]) -> None:
        """What is rightly signed, but not what is asked for, is refused."""
        for value in values:
            assert call(guard(), authorization(**{name: value})).status == 403, value

    @pytest.mark.parametrize('name', FIELDS)
    def test_changed_after_it_was_signed(self, name: str) -> None:
        """No field can be changed by who does not have the key, not even in how it is written."""
        said = fields(nonce='0123')
        message, _, signature = authorization(**said).rpartition(':')
        value = quote_plus(said[name])
        for other in (f'{name}={value}0', f'{name}={value[:-1]}%{ord(value[-1]):02X}', f'{name.upper()}={value}'):
            assert call(guard(), f'{message.replace(f"{name}={value}", other)}:{signature}').status == 403

    def test_every_character(self) -> None:
        """Whichever character of a signed request is another one, it is refused."""
        good = authorization()
        one = guard()
        for at in range(len(good)):
            changed = f'{good[:at]}{"x" if good[at] != "x" else "y"}{good[at + 1 :]}'
            assert call(one, changed).status == 403, changed
        assert call(one, good).status == 200

    @pytest.mark.parametrize('key', [b'', b'\0', b'toor ', b'nobody', b'None'])
    def test_other_keys(self, key: bytes) -> None:
        """No other key will do, and least of all an empty one, also for a login that has none."""
        for keys in KEYS, {}, lambda login: None, lambda login: '', lambda login: b'':
            assert call(guard(keys), signed(message_of(fields().items()), key)).status == 403


class TestHosts:
    """The host that is signed is the one that is asked, and one of ours."""

    @pytest.mark.parametrize(
        ('hosts', 'host', 'status'),
        [
            (None, 'anything.example:8002', 200),
            (['server.example'], 'server.example', 200),
            ({'a', 'SERVER.example:8002'}, 'server.EXAMPLE:8002', 200),
            (['server.example'], 'server.example:8002', 403),
            (['server.example'], 'other.example', 403),
            ((), 'server.example', 403),
            (['[::1]:80'], '[::1]:80', 200),
        ],
    )
    def test_listed(self, hosts: Any, host: str, status: int) -> None:
        """With a list of hosts the signed one is one of them; case does not count there."""
        one = guard(hosts=hosts, tokens=TOKENS)
        assert call(one, authorization(host=host), HTTP_HOST=host).status == status
        assert call(one, QUERY_STRING='token=abc', HTTP_HOST=host).status == status

    @pytest.mark.parametrize('hosts', [None, ['a.example', 'b.example']])
    def test_the_one_that_is_asked(self, hosts: Any) -> None:
        """What was signed for one host is refused by another, though both are ours."""
        assert call(guard(hosts=hosts), authorization(host='a.example'), HTTP_HOST='b.example').status == 403


class TestTime:
    """A signed request is good for a while, and once."""

    @pytest.mark.parametrize('window', [300, 0.5, 10])
    @pytest.mark.parametrize('now', [1_345_195_098.75, 2_000_000_000.0])
    def test_window(self, window: float, now: float) -> None:
        """The timestamp may be off by the window, in both directions, and not by more."""
        one = guard(window=window, clock=FakeClock(now))
        for off, status in (-window, 200), (window, 200), (-window - 0.001, 403), (window + 0.001, 403), (0, 200):
            assert call(one, authorization(timestamp=repr(now + off))).status == status, off

    def test_as_other_clients_write_it(self) -> None:
        """Any decimal number is a timestamp."""
        one = guard(clock=FakeClock(1_345_195_098.5))
        for text in '1345195098', '1345195098.77', '1.3451950985e9', '+1345195098', ' 1345195098':
            assert call(one, authorization(timestamp=text)).status == 200, text

    def test_replayed_within_the_window(self) -> None:
        """A nonce is good once for as long as its timestamp is, whatever else is signed with it."""
        clock = FakeClock(1_000_000.0)
        one = guard(clock=clock)
        good = authorization(timestamp='1000300', nonce='n')
        assert call(one, good).status == 200
        for now in 1_000_000.0, 1_000_300.0, 1_000_599.0, 1_000_600.0, 1_000_600.5:
            clock.now = now
            assert call(one, good).status == 403
            again = authorization(timestamp=repr(now), nonce='n')
            assert call(one, again).status == (403 if now <= 1_000_600 else 200)

    def test_a_nonce_of_each_login(self) -> None:
        """The nonces of one login are not those of another."""
        one = guard()
        assert call(one, authorization(nonce='n')).status == 200
        bob = signed(message_of(fields(login='bob', nonce='n').items()), b'builder')
        assert [call(one, bob).status for _ in range(2)] == [200, 403]

    def test_only_verified_nonces_are_remembered(self) -> None:
        """Who has no key can use up neither a nonce nor the memory of them."""
        one = guard(max_nonces=1)
        for key, said in (b'wrong', {}), (b'toor', {'path': '/x'}), (b'toor', {'timestamp': '0'}):
            for _ in range(3):
                assert call(one, signed(message_of(fields(nonce='n', **said).items()), key)).status == 403
        assert call(one, authorization(nonce='n')).status == 200

    def test_full(self) -> None:
        """When no more nonces can be remembered, requests are refused for a while, and none is forgotten."""
        clock = FakeClock(1_000_000.0)
        one = guard(clock=clock, max_nonces=10)
        good = [authorization(timestamp=str(1_000_000 + number), nonce=str(number)) for number in range(6)]
        assert [call(one, each).status for each in good] == [200] * 5 + [503]
        for now, seconds in (1_000_000.0, '300'), (1_000_000.5, '300'), (1_000_299.9, '1'), (1_000_300.0, '1'):
            clock.now = now
            refused = call(one, good[5])
            assert (refused.status, refused.headers['retry-after']) == (503, seconds)
        assert json.loads(refused.body)['error_class'] == 'Overloaded'
        clock.now = 1_000_000.0
        assert [call(one, each).status for each in good[:5]] == [403] * 5
        assert call(one, authorization(nonce='n', login='nobody', timestamp='1000000')).status == 403
        clock.now += 300.5
        assert [call(one, each).status for each in good] == [403] * 5 + [200]

    def test_one_login_leaves_room(self) -> None:
        """A login that floods the server shuts out itself; the others go on."""
        keys = {f'user{number}': 'key' for number in range(4)}
        one = guard(keys, max_nonces=64)
        let_in = []
        for login in keys:
            statuses = [call(one, signed(message_of(fields(login=login).items()), b'key')).status for _ in range(70)]
            let_in.append(statuses.count(200))
            assert statuses == sorted(statuses)
        assert let_in == [32, 16, 8, 4]

    def test_memory(self) -> None:
        """What is remembered of a nonce has one size, and goes when its time is over."""
        clock = FakeClock()
        one = guard(clock=clock)
        for number in range(300):
            clock.now += 2
            said = fields(timestamp=repr(clock.now), nonce=f'{number}' + 'x' * 30_000)
            assert call(one, signed(message_of(said.items()))).status == 200
            assert len(one._nonces) == min(number + 1, 151)
        clock.now += 1000
        for number in range(10):
            assert call(one, authorization(timestamp=repr(clock.now), nonce=str(number))).status == 200
        assert len(one._nonces) == 10

    def test_memory_of_logins(self) -> None:
        """Nor is a login remembered that has not come for long."""
        clock = FakeClock()
        one = guard(lambda login: b'toor', clock=clock)
        for number in range(100):
            assert call(one, authorization(timestamp=repr(clock.now), login=f'user{number}')).status == 200
        assert len(one._nonces._used) == 100
        clock.now += 301
        for _ in range(2):
            assert call(one, authorization(timestamp=repr(clock.now))).status == 200
        assert list(one._nonces._used) == ['root']

    def test_clock_set_back(self) -> None:
        """A clock that is set does not let a request in a second time."""
        clock = FakeClock(1_000_000.0)
        one = guard(clock=clock)
        good = authorization(timestamp='1000000')
        assert call(one, good).status == 200
        clock.now += 3600
        assert call(one, authorization(timestamp=repr(clock.now))).status == 200
        clock.now -= 3600
        assert call(one, good).status == 403
        clock.now += 1
        assert call(one, authorization(timestamp=repr(clock.now))).status == 200

    def test_threads(self) -> None:
        """Of many threads that send the same requests at once, one is let in with each."""
        one = guard()
        good = [authorization() for _ in range(30)]
        pool = gevent.threadpool.ThreadPool(8)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # take turns as often as can be
        try:
            jobs = [pool.spawn(lambda: [call(one, each).status for each in good]) for _ in range(8)]
            for statuses in zip(*[job.get() for job in jobs], strict=True):
                assert sorted(statuses) == [200] + [403] * 7
        finally:
            sys.setswitchinterval(interval)
            pool.kill()

    def test_threads_at_the_memory(self) -> None:
        """Threads that meet at the memory of nonces wait for each other, and never for ever, patched or not."""
        nonces = Nonces(1000)

        def take() -> int:
            """How many a thread was first with."""
            first = 0
            for number in range(200):
                try:
                    nonces.take('root', str(number % 100), Slow(number + 1000), number / 2)
                    first += 1
                except Refusal:
                    pass
            return first

        pool = gevent.threadpool.ThreadPool(8)
        try:
            with gevent.Timeout(kit.LONG):
                assert sum([job.get() for job in [pool.spawn(take) for _ in range(8)]]) == 100
        finally:
            pool.kill()


class Slow(float):
    """A number that lets the other threads run whenever it is looked at."""

    def __le__(self, other: float) -> bool:
        nap(1e-5)
        return float(self) <= other


nap = get_original('time', 'sleep')


class TestKeys:
    """Where the keys come from."""

    def test_live(self) -> None:
        """A mapping is asked at each request: who comes is let in, who goes is not."""
        keys: dict[str, str] = {}
        one = guard(keys)
        assert call(one, authorization()).status == 403
        keys['root'] = 'toor'
        assert call(one, authorization()).status == 200
        keys.clear()
        assert call(one, authorization()).status == 403

    @pytest.mark.parametrize('keys', [KEYS, MappingProxyType(KEYS), KEYS.get, lambda login: b'toor'])
    def test_kinds(self, keys: Any) -> None:
        """A mapping or a callable, of texts or bytes."""
        assert call(guard(keys), authorization()).status == 200

    def test_asked_with_the_login(self) -> None:
        """A callable is given the login as a text, and only where everything else is right."""
        asked = []
        one = guard(lambda login: asked.append(login))
        for said in {'path': '/x'}, {'method': 'PUT'}, {'host': 'x'}, {'timestamp': '0'}, {'login': b'\xff'}:
            call(one, authorization(**said))
        call(one, 'Basic abc')
        assert asked == []
        call(one, authorization(login='ünï cödé €'))
        assert asked == ['ünï cödé €']

    def test_what_it_raises(self) -> None:
        """What it raises goes up, so that a catcher can tell of it; the application is not run, no nonce is used up."""
        failures: list[Exception] = [KeyError('x'), RefusedError('no', request=Request('keys.example', 'GET', '/'))]

        def keys(login: str) -> str:
            if failures:
                raise failures.pop(0)
            return 'toor'

        one = guard(keys)
        good = authorization()
        with pytest.raises(KeyError):
            call(one, good)
        quiet: Any = ExceptionsCatcher(one)
        assert call(quiet, good).status == 502
        assert call(quiet, good).status == 200

    def test_wrong_kind(self) -> None:
        """A key that is none is the server's own error, not the caller's."""
        with pytest.raises(TypeError, match='keys gives'):
            call(guard(lambda login: 5), authorization())

    def test_within_itself(self) -> None:
        """Nothing is locked while keys are looked up, which may lead to another request to the same server."""

        def keys(login: str) -> str:
            if login == 'root':
                assert call(one, signed(message_of(fields(login='bob').items()), b'toor')).status == 200
            return 'toor'

        one = guard(keys)
        assert call(one, authorization()).status == 200

    def test_unknown_logins_take_as_long(self) -> None:
        """The time that it takes does not tell whether a login exists."""
        one = guard()
        message = message_of(fields().items())

        def seconds(login: str) -> float:
            start = time.process_time()
            for _ in range(20):
                one._is_right(login, message, b'0' * 64)
            return time.process_time() - start

        for _ in range(5):
            known, unknown = zip(*[(seconds('bob'), seconds('boc')) for _ in range(100)], strict=True)
            ratio = statistics.median(known) / statistics.median(unknown)
            if 0.8 < ratio < 1.25:
                return
        pytest.fail(f'{ratio}')


class TestTokens:
    """The protocol that proves nothing but that one knows a token."""

    @pytest.mark.parametrize(
        ('tokens', 'expected'),
        [
            ({'abc': 'carol'}, ['carol', 'carol']),
            (MappingProxyType({'abc': 'ü€'}), ['ü€', 'Ã¼â\x82¬']),
            (['abc', 'def'], [None, None]),
            ({'abc'}, [None, None]),
            (('abc',), [None, None]),
            (lambda token: 'carol' if token == 'abc' else None, ['carol', 'carol']),
            (lambda token: token == 'abc', [None, None]),
            ({'abc': 'carol'}.get, ['carol', 'carol']),
        ],
    )
    def test_kinds(self, tokens: Any, expected: list[Any]) -> None:
        """A mapping, a collection or a callable; a login that the server had set before is not kept."""
        one = guard({}, tokens=tokens)
        answer = call(one, QUERY_STRING='x=1&token=abc&y', REMOTE_USER='root', **{'napix.login': 'root'})
        assert json.loads(answer.body) == expected
        for query in 'token=abd', 'token=', 'token', 'token=abc&token=abc', 'token=abc&t%6Fken=def', 'token=%FF':
            assert call(one, QUERY_STRING=query).status == 403, query
        for query in '', 'TOKEN=abc', 'x=token=abc', 'abc', 'tokens=abc':
            assert call(one, QUERY_STRING=query).status == 401, query

    def test_how_it_is_written(self) -> None:
        """A token is read as forms are, however it is quoted."""
        one = guard({}, tokens=['a b&é'], parameter='my key')
        for query in 'my+key=a+b%26%C3%A9', 'my%20key=%61%20b%26%c3%a9', '&&my+key=a+b%26\xc3\xa9&':
            assert call(one, QUERY_STRING=query).status == 200, query

    def test_off(self) -> None:
        """Without tokens the parameter means nothing."""
        assert call(guard(), QUERY_STRING='token=abc').status == 401

    def test_beside_a_signature(self) -> None:
        """Where there is an `Authorization` it alone decides."""
        one = guard(tokens=TOKENS)
        good = authorization(path='/?token=wrong')
        assert json.loads(call(one, good, QUERY_STRING='token=wrong').body) == ['root', 'root']
        assert call(one, 'Basic abc', QUERY_STRING='token=abc').status == 403
        assert call(one, '', QUERY_STRING='token=abc').status == 200

    def test_what_it_raises(self) -> None:
        """A callable's own errors go up."""
        with pytest.raises(ZeroDivisionError):
            call(guard({}, tokens=lambda token: 1 // 0), QUERY_STRING='token=abc')
        with pytest.raises(TypeError, match='tokens gives'):
            call(guard({}, tokens=lambda token: 5), QUERY_STRING='token=abc')

    def test_bounded(self) -> None:
        """A query of ever so many parameters is not searched."""
        assert call(guard({}, tokens=['abc']), QUERY_STRING='a&' * 5000 + 'token=abc').status == 403

    def test_masked(self) -> None:
        """The parameter is shown in no text."""
        guard({}, tokens=['xyz'], parameter='sesame')
        assert mask('GET http://h/?sesame=xyz&a=1') == 'GET http://h/?sesame=***&a=1'


class TestAnswers:
    """What is told to who is refused."""

    @pytest.mark.parametrize(
        ('accept', 'media'),
        [
            (None, 'json'),
            ('*/*', 'json'),
            ('application/json', 'json'),
            ('application/problem+json', 'problem+json'),
            ('text/html, application/problem+json;q=0.5', 'problem+json'),
            ('application/problem+json;q=0', 'json'),
        ],
    )
    def test_document(self, accept: str | None, media: str) -> None:
        """An error document, inert in a page, of the type that is asked for."""
        answer = call(guard(), **({'HTTP_ACCEPT': accept} if accept else {}), PATH_INFO='/<b>')
        assert answer.headers['content-type'] == f'application/{media}'
        assert answer.headers['x-content-type-options'] == 'nosniff'
        assert answer.headers['www-authenticate'] == 'Napix'
        assert answer.headers['content-length'] == str(len(answer.body))
        assert b'<' not in answer.body
        document = json.loads(answer.body)
        assert (document['status'], document['title'], document['error_class'], document['error_text']) == (
            401,
            'Unauthorized',
            'Unauthorized',
            'You need to sign your request',
        )
        assert document['request']['method'] == 'GET'

    def test_head(self) -> None:
        """To HEAD the head alone."""
        answer = call(guard(), REQUEST_METHOD='HEAD')
        assert (answer.status, answer.body) == (401, b'') and int(answer.headers['content-length']) > 100

    def test_all_missing(self) -> None:
        """What is no signed request at all lacks everything."""
        for text in 'Basic cm9vdDp0b29y', ':', 'x', '\xff', 'Bearer a.b.c':
            assert json.loads(call(guard(), text).body)['error_text'] == (
                'Missing authentication data: login, nonce, path, host, method, timestamp'
            )

    def test_in_a_chain(self) -> None:
        """Inside the catcher a refusal carries the ids of the request."""
        answer = call(
            ExceptionsCatcher(guard()), HTTP_X_REQUEST_ID='abc', HTTP_TRACEPARENT=f'00-{"a" * 32}-{"b" * 16}-01'
        )
        assert answer.headers['x-request-id'] == 'abc'
        assert json.loads(answer.body)['trace_id'] == 'a' * 32

    def test_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log knows why, and no secret."""
        with caplog.at_level('INFO', 'napixclient.wsgi'):
            call(guard(), authorization(timestamp='0'), REMOTE_ADDR='192.0.2.1')
            call(guard(tokens=['hush']), QUERY_STRING='token=hushhush')
        assert caplog.messages == [
            'refused 192.0.2.1: the timestamp is outside of the window',
            'refused a request: the token is unknown',
        ]

    def test_application_runs_once_or_never(self) -> None:
        """What is refused does not reach the application."""

        def never(environ: Any, start_response: Any) -> Any:
            raise AssertionError('the application ran')

        one = guard(app=never, tokens=['abc'])
        for text in None, '', 'x', authorization(path='/x'):
            assert call(one, text).status in (401, 403)
        with pytest.raises(AssertionError, match='the application ran'):
            call(one, authorization())


# Whatever is sent ----------------------------------------------------------------------------------------------------

TEXTS = st.binary(max_size=300).map(lambda data: data.decode('latin-1'))
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(f'{name}='.encode() for name in FIELDS),
                *message_of(fields().items()).split(b'&'),
                b'&',
                b'=',
                b':',
                b'%',
                b'+',
                b'%00',
                b'%FF',
                b'%F',
                b'nan',
                b'inf',
                b'1e999',
                b'-',
                b'/',
                b'\xff',
                b'\0',
            ]
        ),
        st.binary(max_size=8),
    ),
    max_size=30,
).map(b''.join)
ONE = guard(KEYS, tokens=TOKENS)


@given(TEXTS | PIECES.map(lambda data: data.decode('latin-1')) | st.text(max_size=50))
def test_any_authorization(text: str) -> None:
    """No bytes whatever in `Authorization` make the guard raise or let anybody in."""
    assert call(ONE, text).status in (401, 403)


@given(
    PIECES
    | st.builds(
        lambda changed: message_of(fields(**changed).items()),
        st.dictionaries(
            st.sampled_from(FIELDS),
            st.binary(max_size=20) | st.text(st.characters(codec='utf-8'), max_size=20) | st.floats().map(str),
            max_size=3,
        ),
    )
)
@settings(max_examples=200)
def test_any_message(message: bytes) -> None:
    """Nor do any that are rightly signed: they are let in or refused."""
    assert call(ONE, signed(message)).status in (200, 403)


@given(TEXTS, TEXTS, TEXTS, st.none() | TEXTS | st.just('http://server.example/'), TEXTS)
def test_any_request(host: str, path: str, query: str, raw: str | None, script: str) -> None:
    """Nor does any request, whatever its server makes of it."""
    environ = {'HTTP_HOST': host, 'PATH_INFO': f'/{path}', 'QUERY_STRING': query, 'SCRIPT_NAME': ''}
    if script:
        environ['SCRIPT_NAME'] = f'/{script}'.rstrip('/')
    if raw is not None:
        environ['RAW_URI'] = raw
    for said in (
        {},
        {'host': host.encode('latin-1')},
        {'host': host.encode('latin-1'), 'path': (raw or path).encode('latin-1')},
    ):
        assert call(ONE, authorization(**said), **environ).status in (200, 403)
    assert call(ONE, **environ).status in (200, 401, 403)


@given(st.text(st.characters(codec='latin-1', exclude_characters='%?'), max_size=30), st.booleans())
def test_any_path(text: str, raw: bool) -> None:
    """Whatever a path is made of, it is let in if it is the one that was signed."""
    path = f'/{text}'
    environ = {'RAW_URI': path} if raw else {'PATH_INFO': path}
    assert call(ONE, authorization(path=path.encode('latin-1')), **environ).status == 200


# Construction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'make',
    [
        lambda: SignatureGuard(None, {}),
        lambda: SignatureGuard(hello, None),  # type: ignore[arg-type]
        *[
            lambda keys=keys: guard(keys)
            for keys in (
                [],
                'root',
                5,
                {'root': ''},
                {'root': b''},
                {'root': None},
                {'root': 5},
                {'': 'a'},
                {b'root': 'a'},
                {5: 'a'},
            )
        ],
        *[lambda hosts=hosts: guard(hosts=hosts) for hosts in ('a.example', b'a', [b'a'], [None], 5, iter(['a']))],
        *[lambda window=window: guard(window=window) for window in (0, -1, math.inf, math.nan, '300', None, True)],
        *[
            lambda tokens=tokens: guard(tokens=tokens)
            for tokens in (
                'abc',
                b'abc',
                5,
                [''],
                {''},
                [b'abc'],
                [None],
                {'abc': ''},
                {'abc': None},
                {'': 'a'},
                ['\ud800'],
                iter(['abc']),
            )
        ],
        *[lambda name=name: guard(parameter=name) for name in ('', None, b'token')],
        *[lambda most=most: guard(max_nonces=most) for most in (0, -1, 1.5, '5', None, True)],
    ],
)
def test_bad_options(make: Callable[[], Any]) -> None:
    """What makes no sense is a ValueError when the guard is made, not at each request."""
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    'make',
    [
        lambda: guard(('root', 'hush')),
        lambda: guard({5: 'hush'}),
        lambda: guard({'root': 5, 'bob': 'hush'}),
        lambda: guard(tokens='hush'),
        lambda: guard(tokens={'hush': None}),
        lambda: guard(tokens=[b'hush']),
    ],
)
def test_no_secret_in_the_error(make: Callable[[], Any]) -> None:
    """The error shows neither keys nor tokens."""
    with pytest.raises(ValueError) as caught:
        make()
    assert 'hush' not in str(caught.value)


def test_repr() -> None:
    """Nor does the guard itself."""
    assert 'hush' not in repr(guard({'root': 'hush'}, tokens=['hush']))


def test_imports() -> None:
    """The guard does not need gevent's server."""
    source = (
        'import sys; from napixclient.wsgi import SignatureGuard; import napixclient.wsgi as wsgi;'
        'assert "gevent.pywsgi" not in sys.modules; assert set(wsgi.__all__) <= set(dir(wsgi));'
        'print([getattr(wsgi, name).__name__ for name in wsgi.__all__], "gevent.pywsgi" in sys.modules)'
    )
    ended = kit.run_program(source, patched=False)
    assert (ended.code, ended.err) == (0, '')
    assert 'RawURIHandler' in ended.out and ended.out.endswith('True\n')
    with pytest.raises(AttributeError, match='nothing'):
        napixclient.wsgi.nothing  # noqa: B018
