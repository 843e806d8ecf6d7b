"""What proves who asks, verified by another reading of the protocol, and by a server that got it."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import pickle
import sys
import time
import urllib.parse
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import gevent.subprocess
import pytest

from napixclient import Cancelled, Client, ClientPool, Headers, PendingResponse, Request
from napixclient._http.http1.writer import RequestWriter
from napixclient._http.settings import Settings
from napixclient.authenticators import (
    AnonAuthenticator,
    BasicAuth,
    BearerToken,
    LoginAuthenticator,
    TokenIdentifier,
    authenticator_of,
)
from napixclient.testing import FakeClock
from tests import kit

SIGN = LoginAuthenticator('root', 'toor')


def sent(request: Request, defaults: Headers | None = None) -> tuple[str, list[tuple[str, str]]]:
    """The target and the fields of a request as they stand on the wire."""
    head = RequestWriter(request.authority, defaults or Headers()).write(request).partition(b'\r\n\r\n')[0]
    first, *lines = head.decode('latin-1').split('\r\n')
    return first.split(' ')[1], [(name.lower(), value) for name, _, value in (line.partition(': ') for line in lines)]


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    """The values of all fields of that name."""
    return [value for key, value in fields if key == name]


def verify(method: str, target: str, fields: list[tuple[str, str]], key: bytes) -> dict[str, str]:
    """The server's side of the signed request, written from the protocol alone; returns what was signed."""
    [authorization] = values(fields, 'authorization')
    [host] = values(fields, 'host')
    message, colon, signature = authorization.rpartition(':')
    assert colon
    assert hmac.compare_digest(signature, hmac.new(key, message.encode('ascii'), hashlib.sha256).hexdigest())
    pairs = urllib.parse.parse_qsl(
        message, strict_parsing=True, keep_blank_values=True, encoding='utf-8', errors='strict'
    )
    signed = dict(pairs)
    assert len(pairs) == len(signed)
    assert set(signed) == {'login', 'nonce', 'path', 'host', 'method', 'timestamp'}
    assert signed['path'] == target
    assert signed['host'] == host
    assert signed['method'] == method
    assert abs(float(signed['timestamp']) - time.time()) < 60
    return signed


# Signing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'host',
    [
        'server.example',
        'server.example:80',
        'server.example:8002',
        'https://server.example',
        'https://server.example:443',
        'https://server.example:8443',
        'Server.EXAMPLE',
        '[::1]',
        '[::1]:8002',
        '[2001:DB8::1]:80',
        '127.0.0.1:8002',
    ],
)
@pytest.mark.parametrize(
    ('method', 'url', 'params'),
    [
        ('GET', '/', None),
        ('GET', '/hello/?x=1', None),
        ('POST', '/vm-ip/', None),
        ('DELETE', '/a%20b/%C3%A9', None),
        ('GET', '/é b?€=&x', None),
        ('GET', '/?a=b+c&d=%26%3D', None),
        ('GET', '/x?', None),
        ('GET', '/x', {'a b': 'c+d&e', 'é': '€'}),
        ('PATCH', "/!$'()*,;:@=~-._", None),
    ],
)
def test_signature(host: str, method: str, url: str, params: Any) -> None:
    """A server that knows only the protocol accepts the signature: of the very target and Host that it received."""
    target, fields = sent(SIGN(Request(host, method, url, params=params)))
    assert verify(method, target, fields, b'toor')['login'] == 'root'


@pytest.mark.parametrize('method', ['PROPFIND', 'M-SEARCH', 'A&B', 'A+B', '100%41', "!#$%&'*+-.^_`|~"])
def test_signature_of_any_method(method: str) -> None:
    """The method is urlencoded as the other members are: a token may hold ``&``, ``+`` and ``%``."""
    target, fields = sent(SIGN(Request('server.example', method, '/')))
    verify(method, target, fields, b'toor')


@pytest.mark.parametrize(
    ('login', 'key'),
    [
        ('root', 'toor'),
        ('a:b', 'k:e:y'),
        ('ünï cödé', 'schlüssel'),
        ('a&b=c+d%', b'\x00\xff'),
        ('x' * 1000, b'k' * 1000),
        ('a\r\nb', 'k'),
    ],
)
def test_any_login_and_key(login: str, key: str | bytes) -> None:
    """A login may be any text and a key any bytes; a text as key is UTF-8."""
    target, fields = sent(LoginAuthenticator(login, key)(Request('server.example', 'GET', '/')))
    raw = key.encode() if isinstance(key, str) else key
    assert verify('GET', target, fields, raw)['login'] == login


def test_another_key() -> None:
    """With another key the signature is another."""
    target, fields = sent(SIGN(Request('server.example', 'GET', '/')))
    with pytest.raises(AssertionError):
        verify('GET', target, fields, b'secret')


def nonce(authenticator: LoginAuthenticator) -> str:
    """The nonce of one more request."""
    target, fields = sent(authenticator(Request('server.example', 'GET', '/')))
    return verify('GET', target, fields, b'toor')['nonce']


def test_nonces() -> None:
    """No nonce is used twice, neither by one authenticator nor by two, and each is long enough not to be guessed."""
    other = LoginAuthenticator('root', 'toor')
    found = [nonce(authenticator) for _ in range(500) for authenticator in (SIGN, other)]
    assert len(set(found)) == len(found)
    assert min(map(len, found)) >= 16


FORKS = """
import os
from napixclient import Request
from napixclient.authenticators import LoginAuthenticator
sign, request = LoginAuthenticator('root', 'toor'), Request('server.example', 'GET', '/')
sign(request)
child = os.fork()
for _ in range(20):
    os.write(1, sign(request).headers['authorization'].encode() + b'\\n')
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_nonces_after_a_fork() -> None:
    """A forked child does not repeat the nonces of its parent."""
    lines = gevent.subprocess.check_output([sys.executable, '-c', FORKS], cwd=kit.ROOT).decode().split()
    nonces = [urllib.parse.parse_qs(line.rpartition(':')[0])['nonce'][0] for line in lines]
    assert len(nonces) == len(set(nonces)) == 40


def test_request_stays_as_it_was() -> None:
    """Signing makes a new request; the caller's own is not touched, and all its other parts go on."""
    request = Request('server.example', 'POST', '/x', {'a': 1}, {'X': 'y'}, timeout=5, tag='t')
    signed = SIGN(request)
    assert dict(request.headers) == {'X': 'y'}
    for name in ('host', 'method', 'url', 'body', 'timeout', 'tag', 'retries', 'stream', 'max_body'):
        assert getattr(signed, name) == getattr(request, name)
    assert signed.headers['X'] == 'y' and 'Authorization' in signed.headers


def test_signed_on_the_wire() -> None:
    """What a real server receives is signed for it, port included, and anew for each request."""
    with kit.serve() as server, ClientPool({'login': 'root', 'key': 'toor'}) as pool:
        for number in range(3):
            pool.request(server.host, 'GET', '/000001', params={'n': number, 'e': 'é &'})
        assert [answer.status for answer in pool.wait()] == [200] * 3
        received = [
            (got, [(name.lower(), value) for name, value in got.headers.multi_items()]) for got in server.requests
        ]
        nonces = {verify(got.method, got.path, fields, b'toor')['nonce'] for got, fields in received}
        assert len(nonces) == 3


# Tokens, basic, anonymous --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('url', 'expected'), [('/', '/?token=abc'), ('/x?a=1', '/x?a=1&token=abc'), ('/é b', '/%C3%A9%20b?token=abc')]
)
def test_token(url: str, expected: str) -> None:
    """The token is one more parameter of the query."""
    assert TokenIdentifier('abc')(Request('server.example', 'GET', url)).url == expected


@pytest.mark.parametrize('token', ['abc', 'a b', 'a&b=c', 'a+b', '%41', 'é€', 'a\r\nb', '\0', '#', '/?', '\'"<>'])
@pytest.mark.parametrize('parameter', ['token', 'auth_token', 'a b&c', 'é'])
def test_any_token(token: str, parameter: str) -> None:
    """Whatever a token and its parameter are made of, the server reads them back, and nothing else."""
    target, _ = sent(TokenIdentifier(token, parameter)(Request('server.example', 'GET', '/x?a=1')))
    assert urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query, strict_parsing=True) == [
        ('a', '1'),
        (parameter, token),
    ]


def test_token_keeps_the_rest() -> None:
    """The token changes nothing but the url."""
    request = Request('server.example', 'POST', '/x', {'a': 1}, {'X': 'y'}, timeout=5, tag='t', stream=True, max_body=9)
    changed = TokenIdentifier('abc')(request)
    for name in ('host', 'method', 'body', 'headers', 'timeout', 'tag', 'stream', 'max_body', 'payload'):
        assert getattr(changed, name) == getattr(request, name)
    assert request.url == '/x'


def test_token_sends_the_body_that_was_asked_for() -> None:
    """A body that its owner changed after the request was made goes out as it was: a request is frozen."""
    body = {'size': 1}
    request = Request('server.example', 'POST', '/', body)
    body['size'] = 2
    assert TokenIdentifier('abc')(request).payload == b'{"size":1}'


def test_token_with_an_asterisk() -> None:
    """``OPTIONS *`` has no query to carry a token: the request goes as it is, or the error is a ValueError."""
    request = Request('server.example', 'OPTIONS', '*')
    try:
        changed = TokenIdentifier('abc')(request)
    except ValueError:
        return
    assert changed.url == '*'


def test_bearer() -> None:
    """RFC 6750 §2.1."""
    assert values(sent(BearerToken('mF_9.B5f-4.1JqM')(Request('h', 'GET', '/')))[1], 'authorization') == [
        'Bearer mF_9.B5f-4.1JqM'
    ]


#: With a no-break space, one that is as wide as a letter, and a character that joins others.
ODD = 'n\xa0', 'p\u3000\u200d'


@pytest.mark.parametrize(('user', 'password'), [('Aladdin', 'open sesame'), ('ü', '£'), ('', ''), ('u', 'a:b:c'), ODD])
def test_basic(user: str, password: str) -> None:
    """RFC 7617 §2, in UTF-8."""
    [field] = values(sent(BasicAuth(user, password)(Request('h', 'GET', '/')))[1], 'authorization')
    scheme, _, code = field.partition(' ')
    assert scheme == 'Basic'
    assert base64.b64decode(code, validate=True).decode().partition(':') == (user, ':', password)


def test_anonymous() -> None:
    """Nothing is added."""
    request = Request('h', 'GET', '/x', None, {'A': 'b'})
    assert AnonAuthenticator()(request) is request


# One Authorization ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'authenticator', [SIGN, BearerToken('abc'), BasicAuth('a', 'b')], ids=lambda it: type(it).__name__
)
@pytest.mark.parametrize('spelling', ['Authorization', 'authorization', 'AUTHORIZATION'])
def test_one_authorization(authenticator: Any, spelling: str) -> None:
    """The caller's Authorization and the authenticator's do not both go out: servers differ in which one they read."""
    try:
        signed = authenticator(Request('server.example', 'GET', '/', None, {spelling: 'Basic bWluZQ==', 'A': 'b'}))
    except ValueError:
        return
    _, fields = sent(signed)
    assert len(values(fields, 'authorization')) == 1
    assert values(fields, 'a') == ['b']


def test_authorization_of_the_client_s_defaults() -> None:
    """An Authorization among the client's default headers does not go out beside the authenticator's."""
    defaults = Settings(headers={'authorization': 'Basic bWluZQ=='}).headers
    target, fields = sent(SIGN(Request('server.example', 'GET', '/')), defaults)
    verify('GET', target, fields, b'toor')


# Construction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'make',
    [
        lambda: LoginAuthenticator('', 'key'),
        lambda: LoginAuthenticator(None, 'key'),
        lambda: LoginAuthenticator(b'a', 'key'),
        lambda: LoginAuthenticator('login', ''),
        lambda: LoginAuthenticator('login', b''),
        lambda: LoginAuthenticator('login', None),
        lambda: LoginAuthenticator('login', 5),
        lambda: LoginAuthenticator('\ud800', 'key'),
        lambda: LoginAuthenticator('login', '\ud800'),
        lambda: TokenIdentifier(''),
        lambda: TokenIdentifier(None),
        lambda: TokenIdentifier(b'abc'),
        lambda: TokenIdentifier('\ud800'),
        lambda: TokenIdentifier('abc', ''),
        lambda: TokenIdentifier('abc', None),
        lambda: BearerToken(''),
        lambda: BearerToken(None),
        lambda: BearerToken(b'abc'),
        lambda: BearerToken('a\r\nX: y'),
        lambda: BearerToken('a\0'),
        lambda: BearerToken('€'),
        lambda: BasicAuth('a:b', 'c'),
        lambda: BasicAuth(None, 'c'),
        lambda: BasicAuth('a', None),
        lambda: BasicAuth(5, 'c'),
        lambda: BasicAuth('a', 5),
        lambda: BasicAuth('a\r\n', 'c'),
        lambda: BasicAuth('a', 'c\0'),
        lambda: BasicAuth('a', 'c\ud800'),
    ],
    ids=range(29),
)
def test_bad_parts(make: Any) -> None:
    """What cannot be sent is a ValueError when the authenticator is made, not at each request."""
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    'given', [{'login': 'root', 'key': 'toor'}, MappingProxyType({'key': b'toor', 'login': 'root'})]
)
def test_mapping(given: Any) -> None:
    """A mapping of login and key means ``LoginAuthenticator``."""
    authenticator = authenticator_of(given)
    assert isinstance(authenticator, LoginAuthenticator) and authenticator.login == 'root'


def test_none_and_callables() -> None:
    """``None`` is anonymous; any callable is taken as it is."""

    def mine(request: Request) -> None:
        return None

    assert authenticator_of(None) is None
    assert authenticator_of(mine) is mine and authenticator_of(SIGN) is SIGN


@pytest.mark.parametrize(
    'given',
    [
        {},
        {'login': 'a'},
        {'key': 'b'},
        {'login': 'a', 'key': 'b', 'c': 'd'},
        {'login': '', 'key': 'b'},
        {'login': 'a', 'key': None},
        'root:toor',
        b'x',
        5,
        True,
        False,
        (),
        [],
        ('root', 'toor'),
        object(),
        LoginAuthenticator,
        Request,
    ],
)
@pytest.mark.parametrize(
    'make',
    [authenticator_of, ClientPool, lambda given: Client('server.example', given)],
    ids=['authenticator_of', 'ClientPool', 'Client'],
)
def test_anything_else(make: Any, given: Any) -> None:
    """Anything else is a ValueError at construction."""
    with pytest.raises(ValueError):
        make(given)


@pytest.mark.parametrize(
    'wrong', [{'login': 'a', 'key': 5}, {'login': 'a', 'key': 'hush', 'c': 1}, ('a', 'hush'), 'a:hush']
)
def test_no_secret_in_the_error(wrong: Any) -> None:
    """The error for a wrong authenticator does not show the secret in it."""
    with pytest.raises(ValueError) as caught:
        authenticator_of(wrong)
    assert 'hush' not in str(caught.value)


@pytest.mark.parametrize(
    'authenticator',
    [LoginAuthenticator('root', 'hush'), TokenIdentifier('hush'), BearerToken('hush'), BasicAuth('root', 'hush')],
    ids=lambda it: type(it).__name__,
)
def test_repr_hides_secrets(authenticator: Any) -> None:
    """No repr or text shows a secret, plain or encoded, nor does that of a request's headers once signed."""
    shown = repr(authenticator) + str(authenticator)
    assert type(authenticator).__name__ in shown
    shown += repr(authenticator(Request('h', 'GET', '/')).headers)
    assert 'hush' not in shown and base64.b64encode(b'root:hush').decode() not in shown
    with ClientPool(authenticator) as pool, Client('h', authenticator) as client:
        assert 'hush' not in repr(pool) + repr(client)


@pytest.mark.parametrize('through', [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_sign_alike(through: Callable[[Any], Any]) -> None:
    """Each can be copied, and pickled for another process; what comes of it adds the same."""
    request = Request('h', 'GET', '/x')
    for one in TokenIdentifier('hush', 'key'), BearerToken('hush'), BasicAuth('root', 'hush'), AnonAuthenticator():
        same = through(one)
        assert repr(same) == repr(one) and sent(same(request)) == sent(one(request))
    for signer in SIGN, LoginAuthenticator('root', b'toor', clock=FakeClock(time.time())):
        same = through(signer)
        assert repr(same) == repr(signer) and verify('GET', '/x', sent(same(request))[1], b'toor')['login'] == 'root'


@pytest.mark.parametrize('kind', [AnonAuthenticator, LoginAuthenticator, TokenIdentifier, BearerToken, BasicAuth])
def test_ours_do_not_block(kind: type) -> None:
    """Ours do no I/O and say so, so that they are called in place."""
    assert kind.blocking is False  # type: ignore[attr-defined]


@pytest.mark.parametrize('blocking', [False, True])
@pytest.mark.parametrize('used', [False, True])
def test_an_authenticator_that_cancels(blocking: bool, used: bool) -> None:
    """An authenticator may cancel the requests that it cannot sign, the one at hand as well; others go on."""

    class Cancelling:
        """Cancels all."""

        def __init__(self) -> None:
            self.blocking = blocking
            self.pendings: list[PendingResponse] = []

        def __call__(self, request: Request) -> None:
            """Sign nothing."""
            for pending in self.pendings:
                pending.cancel()

    me, gate = Cancelling(), kit.Gate()
    with kit.serve(gate=gate) as server, ClientPool(me, simultaneous=1) as pool:
        if used:
            pool.request(server.host, 'GET', '/000001')
            gate.wait_for(1)
        me.pendings += [pool.request(server.host, 'GET', '/000002') for _ in range(3)]
        gate.open()
        for pending in me.pendings:
            pending.wait()
            assert isinstance(pending.exception, Cancelled)
        me.pendings.clear()
        assert pool.stats()[server.host]['failed'] == 3
        assert [pool.request(server.host, 'GET', '/000003').get().text for _ in range(3)] == ['000003'] * 3
        assert '000002' not in [request.id for request in server.requests]
        assert pool.stats()[server.host]['queued'] == pool.stats()[server.host]['in_flight'] == 0
