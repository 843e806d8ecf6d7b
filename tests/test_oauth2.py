"""Tokens of OAuth 2.0: fetched once for all that wait, renewed in time and when they are refused."""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gevent
import pytest
from gevent.event import Event
from urllib3 import Timeout

from napixclient import Client, ClientPool, HTTPError, ProtocolError, RefusedError, RemoteError, Request, rest
from napixclient.authenticators import OAuth2ClientCredentials
from napixclient.messages import parse_origin
from tests import kit
from tests.kit import serve

pytestmark = pytest.mark.usefixtures('tidy')

SECRET = 'a long secret'


class Issuer:
    """The handler of a token endpoint (RFC 6749 §3.2).

    :param expires_in: of its tokens, if it says so.
    :param gate: is waited for before each answer.
    """

    def __init__(self, expires_in: Any = None, **more: Any) -> None:
        self.more = more | ({} if expires_in is None else {'expires_in': expires_in})
        self.gate: Callable[[], object] = lambda: None
        self.forms: list[dict[str, str]] = []
        self.proofs: list[str | None] = []
        self.failures = 0

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        """Give a token: the first, the second ..."""
        assert (method, headers['content-type']) == ('POST', 'application/x-www-form-urlencoded')
        self.forms.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
        self.proofs.append(headers.get('authorization'))
        number = len(self.forms)
        self.gate()
        if self.failures:
            self.failures -= 1
            return 401, {}, {'error': 'invalid_client', 'error_description': f'not {SECRET}'}
        return 200, {}, {'access_token': f'token-{number}', 'token_type': 'bearer', **self.more}


class Service:
    """The handler of a server that takes some tokens."""

    def __init__(self, *accepted: str) -> None:
        self.accepted = set(accepted)
        self.seen: list[str | None] = []

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        """Say which token it was."""
        token = headers.get('authorization', '').removeprefix('Bearer ')
        self.seen.append(token)
        if token in self.accepted or not self.accepted:
            return 200, {'Content-Type': 'text/plain'}, token
        return 401, {'WWW-Authenticate': 'Bearer error="invalid_token"'}, None


def credentials(server: kit.Server, **options: Any) -> OAuth2ClientCredentials:
    """Those of our client."""
    url = server.host if '://' in server.host else f'http://{server.host}'
    return OAuth2ClientCredentials(f'{url}/token?a=b', 'nemo', SECRET, **options)


@pytest.mark.parametrize('auth', ['basic', 'body'])
def test_what_is_asked_for(auth: Any) -> None:
    """The endpoint is told the grant, the scope and the audience in a form, and who asks in a field or in the form."""
    issuer = Issuer()
    with serve(issuer) as tokens, serve(Service()) as server:
        me = OAuth2ClientCredentials(
            f'http://{tokens.host}/token', 'n:emo', 'a b%', scope=['read', 'write'], audience='api', auth=auth
        )
        with Client(server.host, me, headers={'X-Private': 'x'}) as client:
            assert [client.request('GET', '/').text for _ in range(3)] == ['token-1'] * 3
        assert 'x-private' not in tokens.requests[0].headers
    form = {'grant_type': 'client_credentials', 'scope': 'read write', 'audience': 'api'}
    if auth == 'body':
        assert issuer.forms == [{**form, 'client_id': 'n:emo', 'client_secret': 'a b%'}] and issuer.proofs == [None]
    else:
        assert issuer.forms == [form]
        assert issuer.proofs == [f'Basic {base64.b64encode(b"n%3Aemo:a+b%25").decode()}']


def test_one_fetch_for_all_that_wait() -> None:
    """Requests to several hosts and of several pools wait for one token, while it is fetched."""
    issuer, go = Issuer(), Event()
    issuer.gate = go.wait
    with serve(issuer) as tokens, serve(Service()) as one, serve(Service()) as other:
        me = credentials(tokens)
        with ClientPool(me, simultaneous=10, max_connections=15) as pool, ClientPool(me) as second:
            for n in range(20):
                pool.request((one, other)[n % 2].host, 'GET', '/')
            second.request(one.host, 'GET', '/')
            kit.wait_until(lambda: bool(issuer.forms), 'a fetch')
            kit.turn()
            go.set()
            assert [outcome.status for outcome in [*pool.wait(), *second.wait()]] == [200] * 21
    assert len(issuer.forms) == 1


def test_twenty_refused_at_once() -> None:
    """Twenty 401 for one token make one fetch; each request is sent once more with the new one, in its attempt."""
    issuer, service = Issuer(), Service('token-1')
    with serve(issuer) as tokens, serve(service) as server:
        with ClientPool(credentials(tokens), simultaneous=20) as pool:
            pool.request(server.host, 'GET', '/')
            pool.wait()
            service.accepted = {'token-2'}
            for _ in range(20):
                pool.request(server.host, 'POST', '/', b'x')
            assert [(outcome.status, outcome.attempts) for outcome in pool.wait()] == [(200, 1)] * 20
    assert len(issuer.forms) == 2 and service.seen.count('token-2') == 20


def test_a_new_token_that_is_refused() -> None:
    """Where the new token is refused as well, the 401 is the outcome."""
    issuer, service = Issuer(), Service('none')
    with serve(issuer) as tokens, serve(service) as server, Client(server.host, credentials(tokens)) as client:
        with pytest.raises(RemoteError) as caught:
            client.request('GET', '/')
        assert caught.value.status == 401 and service.seen == ['token-1', 'token-2']


@pytest.mark.parametrize(
    ('expires_in', 'early', 'fetches'),
    [
        (None, None, 1),
        (3600, None, 1),
        ('3600', None, 1),
        (3600, 3600, 3),
        (3600, 3599, 1),
        (0, None, 3),
        (-5, None, 3),
        ('soon', None, 1),
        ([], None, 1),
        (None, 10, 1),
        ('1e400', None, 1),
        (10**400, None, 1),
        ('nan', None, 1),
        (True, None, 1),
    ],
)
def test_when_it_is_renewed(expires_in: Any, early: float | None, fetches: int) -> None:
    """A token is renewed so many seconds before its end; one of which nobody knows the end is kept until a 401."""
    issuer = Issuer(expires_in)
    with serve(issuer) as tokens, serve(Service()) as server:
        with Client(server.host, credentials(tokens, early=early)) as client:
            for _ in range(3):
                assert client.request('GET', '/').status == 200
    assert len(issuer.forms) == fetches


def test_it_is_renewed_before_its_end() -> None:
    """A tenth of its time before the end, by default: then the next request waits for another."""
    issuer = Issuer(1)
    with serve(issuer) as tokens, serve(Service()) as server, Client(server.host, credentials(tokens)) as client:
        began = kit.Took()
        while len(issuer.forms) < 2:
            client.request('GET', '/')
            kit.turn()
        assert began.between(0.85, 20)


# Failures ------------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_refuses() -> None:
    """All that wait end with its failure as the cause, nothing of them is sent, and the next request tries again."""
    issuer, go = Issuer(), Event()
    issuer.gate, issuer.failures = go.wait, 1
    with serve(issuer) as tokens, serve(Service()) as server:
        with ClientPool(credentials(tokens), simultaneous=5) as pool:
            for _ in range(5):
                pool.request(server.host, 'GET', '/')
            kit.wait_until(lambda: bool(issuer.forms), 'a fetch')
            kit.turn()
            go.set()
            outcomes = list(pool.wait())
            assert not server.requests and len(issuer.forms) == 1
            for error in outcomes:
                assert isinstance(error, HTTPError) and error.phase == 'authenticate'
                cause = error.__cause__
                assert isinstance(cause, RemoteError) and cause.status == 401 and 'invalid_client' in str(error)
                assert SECRET not in str(error) + repr(error) + str(cause)
            pool.request(server.host, 'GET', '/')
            assert [outcome.status for outcome in pool.wait()] == [200]


def test_an_endpoint_that_refuses_after_a_401() -> None:
    """The same where the token was refused: the next request fetches another at once."""
    issuer, service = Issuer(), Service('token-1')
    with serve(issuer) as tokens, serve(service) as server, Client(server.host, credentials(tokens)) as client:
        client.request('GET', '/')
        service.accepted, issuer.failures = {'token-3'}, 1
        with pytest.raises(HTTPError) as caught:
            client.request('GET', '/')
        assert caught.value.phase == 'authenticate' and isinstance(caught.value.__cause__, RemoteError)
        assert client.request('GET', '/').text == 'token-3' and len(service.seen) == 3


@pytest.mark.parametrize(
    'answer',
    [
        (200, {}, None),
        (200, {'Content-Type': 'text/html'}, 'log in here'),
        (200, {}, ['token']),
        (200, {}, {'access_token': ''}),
        (200, {}, {'access_token': 5}),
        (200, {}, {'access_token': 'a\r\nb'}),
        (200, {}, {'access_token': 'ab', 'token_type': 'mac'}),
        (200, {}, {'access_token': 'ab', 'token_type': None}),
        (302, {'Location': '/elsewhere'}, None),
    ],
    ids=repr,
)
def test_an_answer_without_a_token(answer: Any) -> None:
    """What is no token that can be sent fails the request, and says so."""
    with serve(lambda *_: answer) as tokens, serve(Service()) as server:
        with Client(server.host, credentials(tokens)) as client, pytest.raises(HTTPError) as caught:
            client.request('GET', '/')
        assert caught.value.phase == 'authenticate' and isinstance(caught.value.__cause__, ProtocolError)
        assert not server.requests


def test_nobody_is_there() -> None:
    """An endpoint that cannot be reached is the cause, as any failure to connect."""
    with kit.Mute(listening=False) as dead, serve(Service()) as server:
        me = OAuth2ClientCredentials(f'http://{dead.host}/token', 'nemo', SECRET)
        with Client(server.host, me) as client, pytest.raises(HTTPError) as caught:
            client.request('GET', '/')
        assert isinstance(caught.value.__cause__, RefusedError)


def test_one_that_does_not_wait_any_more() -> None:
    """A request whose time is up, or that is cancelled, ends the fetch only where nobody else waits for it."""
    issuer, go = Issuer(), Event()
    issuer.gate = go.wait
    with serve(issuer) as tokens, serve(Service()) as server:
        with ClientPool(credentials(tokens), simultaneous=3) as pool:
            late = pool.request(server.host, 'GET', '/', timeout=Timeout(total=0.1))
            gone = pool.request(server.host, 'GET', '/')
            left = pool.request(server.host, 'GET', '/')
            kit.wait_until(lambda: bool(issuer.forms), 'a fetch')
            gone.cancel()
            late.wait()
            assert late.exception is not None and late.exception.phase == 'authenticate'
            go.set()
            assert left.get().status == 200 and len(issuer.forms) == 1


def test_nobody_waits_any_more() -> None:
    """A fetch that nobody waits for is ended, and leaves nothing behind; the next request begins another."""
    issuer, go = Issuer(), Event()
    issuer.gate = go.wait
    with serve(issuer) as tokens, serve(Service()) as server:
        me = credentials(tokens)
        with ClientPool(me) as pool:
            pool.request(server.host, 'GET', '/').cancel()
            pending = pool.request(server.host, 'GET', '/')
            kit.wait_until(lambda: bool(issuer.forms), 'a fetch')
            pending.cancel()
            kit.turn()
            go.set()
            pool.request(server.host, 'GET', '/')
            assert [outcome.status for outcome in pool.wait()][-1] == 200
        assert len(issuer.forms) == 2


def test_a_fork_meanwhile() -> None:
    """The child of a fork does not wait for what its parent is fetching: it fetches a token of its own."""
    issuer, go = Issuer(), Event()
    issuer.gate = go.wait
    with serve(issuer) as tokens, serve(Service()) as server:
        me = credentials(tokens)
        with ClientPool(me) as pool:
            pool.request(server.host, 'GET', '/')
            kit.wait_until(lambda: bool(issuer.forms), 'a fetch')
            child = gevent.os.fork_and_watch()
            if not child:
                tokens.leave_to_parent()  # or it would take its own connection
                signed = me(Request('server.example', 'GET', '/'))
                os._exit(0 if signed.headers['authorization'] == 'Bearer token-2' else 1)
            kit.wait_until(lambda: len(issuer.forms) == 2, 'the fetch of the child')
            go.set()
            assert gevent.os.waitpid(child, 0)[1] == 0
            assert [outcome.text for outcome in pool.wait()] == ['token-1']  # type: ignore[union-attr]


# How it is fetched ---------------------------------------------------------------------------------------------------


def test_the_options_of_the_pool(authority: kit.Authority) -> None:
    """The fetch trusts the authorities that the pool trusts, and calls none of its hooks."""
    issuer, asked = Issuer(), []
    with serve(issuer, tls=authority.server()) as tokens, serve(Service(), tls=authority.server()) as server:
        host = server.host
        with Client(host, credentials(tokens), ca_certs=authority.ca_certs, on_request=asked.append) as client:
            assert client.request('GET', '/').text == 'token-1'
        with Client(host, credentials(tokens)) as client, pytest.raises(HTTPError) as caught:
            client.request('GET', '/')
        assert 'certificate' in str(caught.value)
    assert [request.url for request in asked] == ['/']


def test_the_proxy_of_the_pool() -> None:
    """The fetch goes through the proxy of the pool; where the token is for that proxy, it goes straight."""
    issuer = Issuer()

    def proxy(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        if path.endswith('/token?a=b'):
            return issuer(method, path, headers, body)
        token = headers.get('proxy-authorization') or headers.get('authorization')
        return 200, {'Content-Type': 'text/plain'}, f'{token} {path}'

    with serve(issuer) as tokens, serve(proxy) as server:
        options: dict[str, Any] = {'proxy': f'http://{server.host}'}
        with Client(
            'server.example', OAuth2ClientCredentials('http://tokens.example/token?a=b', 'n', SECRET), **options
        ) as client:
            assert client.request('GET', '/x').text == 'Bearer token-1 http://server.example/x'
        assert not tokens.requests
        with Client('server.example', proxy_auth=credentials(tokens), **options) as client:
            assert client.request('GET', '/x').text == 'Bearer token-2 http://server.example/x'
        assert len(tokens.requests) == 1


def test_rest_and_by_hand() -> None:
    """It works in a `rest.Client`, and when somebody calls it: then with the default options."""
    issuer = Issuer()
    with serve(issuer) as tokens, serve(Service()) as server:
        me = credentials(tokens)
        assert me(Request('server.example', 'GET', '/')).headers['authorization'] == 'Bearer token-1'
        with rest.Client(f'http://{server.host}', authenticator=me) as client:
            assert client.get('/').text == 'token-1'


def test_another_origin_of_a_redirect() -> None:
    """Another origin is told no token."""
    issuer, service = Issuer(), Service()
    with serve(issuer) as tokens, serve(service) as foreign:
        with serve(lambda *_: (302, {'Location': f'http://{foreign.host}/'}, None)) as server:
            with Client(server.host, credentials(tokens), redirect=True) as client:
                assert client.request('GET', '/').status == 200
    assert service.seen == ['']


# What it is made of --------------------------------------------------------------------------------------------------


def test_repr_and_pickle() -> None:
    """The repr shows no secret; a pickled one is the same, without its token."""
    me = OAuth2ClientCredentials('https://a.example/t', 'nemo', SECRET, scope='a', audience='b', auth='body', early=5)
    assert repr(me) == "OAuth2ClientCredentials('https://a.example/t', 'nemo', ***)"
    assert pickle.loads(pickle.dumps(me)).parameters() == me.parameters()


def test_a_token_of_a_unix_socket(tmp_path: Path) -> None:
    """Tokens may be given on a Unix socket, by an agent beside us."""
    path = str(tmp_path / 'x.sock')
    with serve(Issuer(), address=path) as tokens, serve(Service()) as server:
        with Client(
            server.host, OAuth2ClientCredentials(f'{parse_origin(tokens.host)}/token?a=b', 'nemo', SECRET)
        ) as client:
            assert client.request('GET', '/').text == 'token-1'
        assert tokens.requests[0].path == '/token?a=b'


@pytest.mark.parametrize(
    ('arguments', 'options'),
    [
        (('unix:///run/login.sock#x', 'a', 'b'), {}),
        (('login.example/token', 'a', 'b'), {}),
        (('ftp://login.example/token', 'a', 'b'), {}),
        (('http://user:pw@login.example/', 'a', 'b'), {}),
        (('http://login.example/#x', 'a', 'b'), {}),
        (('http://[::1/', 'a', 'b'), {}),
        (('http://a b/', 'a', 'b'), {}),
        (('http:///token', 'a', 'b'), {}),
        ((5, 'a', 'b'), {}),
        (('http://a/', '', 'b'), {}),
        (('http://a/', 'a', None), {}),
        (('http://a/', 'a', 'b'), {'auth': 'post'}),
        (('http://a/', 'a', 'b'), {'early': -1}),
        (('http://a/', 'a', 'b'), {'early': '5'}),
        (('http://a/', 'a', 'b'), {'scope': [5]}),
        (('http://a/', 'a', 'b'), {'scope': 5}),
        (('http://a/', 'a', 'b'), {'audience': 5}),
    ],
)
def test_what_makes_no_sense(arguments: Any, options: Any) -> None:
    """It is a ValueError that does not repeat a password."""
    with pytest.raises(ValueError) as caught:
        OAuth2ClientCredentials(*arguments, **options)
    assert 'pw' not in str(caught.value)
