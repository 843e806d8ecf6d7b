"""The short ways to ask: verbs of clients and pools, requests of whole URLs, methods in lower case."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from napixclient import Client, ClientPool, Request, Response, StreamedResponse
from napixclient.aio import AsyncPool, AsyncStreamedResponse
from napixclient.cluster import ClusterPool
from napixclient.messages import METHODS, parse_origin
from napixclient.saga import Saga, SagaFailed
from napixclient.threads import SharedPool
from napixclient.verbs import PoolVerbs
from tests import kit
from tests.helpers_native import in_loop, in_thread

VERBS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options']


def tell(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """A handler that tells what it was asked; HEAD in a field, for it has no body."""
    return 200, {'Content-Type': 'text/plain', 'X-Asked': f'{method} {path} {body.decode()}'}, 'told'


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Tells what it was asked."""
    with kit.serve(tell) as server:
        yield server


def asked(outcome: Any) -> str:
    """What the server was asked."""
    assert isinstance(outcome, Response)
    return outcome.headers['x-asked']


# Whole URLs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('url', 'origin', 'target'),
    [
        ('http://h:9/x?y=1', 'http://h:9', '/x?y=1'),
        ('https://name.example', 'https://name.example', '/'),
        ('HTTPS://Name.Example:443/A', 'https://name.example', '/A'),
        ('http://h?a=b', 'http://h', '/?a=b'),
        ('http://h/?', 'http://h', '/?'),
        ('http://h:/x', 'http://h', '/x'),
        ('http://h/x#here?no', 'http://h', '/x'),
        ('http://h#', 'http://h', '/'),
        ('http://[::1]:8002/x', 'http://[::1]:8002', '/x'),
        ('http://[fe80::1%25eth0]/x', 'http://[fe80::1]', '/x'),
        ('http://h/a b/é', 'http://h', '/a%20b/%C3%A9'),
        ('http://h/a@b:c//d', 'http://h', '/a@b:c//d'),
        ('http://h/a/../b', 'http://h', '/a/../b'),
    ],
)
def test_a_whole_url_is_a_host_and_a_target(url: str, origin: str, target: str) -> None:
    """`from_url` splits a URL as RFC 3986 does; a fragment is never sent."""
    request = Request.from_url(url)
    assert (request.method, request.url) == ('GET', target)
    assert str(parse_origin(request.host)) == origin


@pytest.mark.parametrize(
    ('url', 'says'),
    [
        ('http://user:hunter2@h/x', 'authenticator='),
        ('https://user@h/x', 'authenticator='),
        ('http://@h/x', 'authenticator='),
        ('http://a@b:hunter2@h/x', 'authenticator='),
        ('ftp://h/x', 'http, https, unix and http.unix are known'),
        ('ws://h/x', 'http, https, unix and http.unix are known'),
        ('h:9/x', 'not an absolute URL'),
        ('//h/x', 'not an absolute URL'),
        ('/x', 'not an absolute URL'),
        ('', 'not an absolute URL'),
        ('http:/x', 'not an absolute URL'),
        ('user:hunter2@h/x', 'not an absolute URL'),
        ('http:///x', "not an absolute URL: 'http:///x'; it names no host"),
        ('http://', "'http://'; it names no host"),
        ('http://h:99999/', 'not a host'),
        ('http://::1/', 'not a host'),
        ('http://h /x', 'not a host'),
        ('http://h/x\r\ny', 'control characters'),
        (' http://h/', 'white space around'),
        ('http://h/x\n', 'white space around'),
        ('http://h/ ', 'white space around'),
        (b'http://h/', 'a URL is a text'),
        (None, 'a URL is a text'),
    ],
)
def test_what_is_no_url_of_a_request_is_refused(url: Any, says: str) -> None:
    """The error says what is wrong, and shows no password; credentials go where they belong."""
    with pytest.raises(ValueError, match=says) as caught:
        Request.from_url(url)
    assert 'hunter2' not in str(caught.value)


def test_from_url_of_a_unix_socket() -> None:
    """The socket is percent-encoded where a path follows; `unix:` has no room for one."""
    request = Request.from_url('http+unix://%2Frun%2Fx.sock/path?q=1#f')
    assert (request.host, request.url) == ('http+unix://%2Frun%2Fx.sock', '/path?q=1')
    assert Request.from_url(request.full_url).full_url == request.full_url == 'http+unix://%2Frun%2Fx.sock/path?q=1'
    assert Request.from_url('unix:///run/x.sock').full_url == 'http+unix://%2Frun%2Fx.sock/'
    for url in 'https+unix://%2Frun%2Fx.sock/', 'http+unix://run/x':
        with pytest.raises(ValueError):
            Request.from_url(url)
    for url in 'unix:///run/x.sock?q', 'unix://run/x.sock', 'http+unix:///run/x.sock', 'http+unix://':
        with pytest.raises(
            ValueError, match=r'not the URL of a Unix socket: .*; expected unix:///run/x\.sock, or with a'
        ):
            Request.from_url(url)


def test_from_url_takes_what_a_request_takes() -> None:
    """Method, body, headers and options, and a misspelt one is told of."""
    request = Request.from_url('http://h/x?a=1', 'put', {'b': 2}, {'X': 'y'}, params={'c': 3}, tag='t', timeout=4)
    assert request.method == 'PUT' and request.url == '/x?a=1&c=3' and request.full_url == 'http://h/x?a=1&c=3'
    assert (request.body, request.headers['x'], request.tag, request.timeout) == ({'b': 2}, 'y', 't', 4)
    with pytest.raises(TypeError, match="from_url takes no option 'timout': did you mean 'timeout'"):
        Request.from_url('http://h/', timout=3)  # type: ignore[call-arg]


# Verbs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('verb', VERBS)
def test_the_verbs_of_a_client(server: kit.Server, verb: str) -> None:
    """Each is `request` with its method."""
    with Client(server.host) as client:
        answer = getattr(client, verb)('/x', body='b', headers={'A': 'c'}, params={'y': 1}, tag='t')
        assert asked(answer) == f'{verb.upper()} /x?y=1 b' and answer.request.tag == 't'
        assert server.requests[0].headers['a'] == 'c'


@pytest.mark.parametrize('verb', VERBS)
def test_the_verbs_of_a_pool(server: kit.Server, verb: str) -> None:
    """Each is `request` with its method, of a host and a url or of a whole URL; all are part of the next wait."""
    with ClientPool() as pool:
        call = getattr(pool, verb)
        assert asked(call(server.host, '/x', body='b', params={'y': 1}).get()) == f'{verb.upper()} /x?y=1 b'
        call(f'{server.url}/z?q#f', tag='t')
        first, second = pool.wait()
        assert asked(first) == f'{verb.upper()} /x?y=1 b' and asked(second) == f'{verb.upper()} /z?q'
        assert second.request.tag == 't' and list(pool.stats()) == [server.host]


@pytest.mark.parametrize('verb', VERBS)
@in_thread
def test_the_verbs_of_a_shared_pool(server: kit.Server, verb: str) -> None:
    """Likewise; the result is a future."""
    with SharedPool() as pool:
        call = getattr(pool, verb)
        assert asked(call(server.host, '/x', body='b').result()) == f'{verb.upper()} /x b'
        call(f'{server.url}/z')
        assert [asked(outcome) for outcome in pool.wait()] == [f'{verb.upper()} /x b', f'{verb.upper()} /z']


@pytest.mark.parametrize('verb', VERBS)
@in_loop
async def test_the_verbs_of_an_async_pool(server: kit.Server, verb: str) -> None:
    """Likewise; the future is awaited."""
    async with AsyncPool() as pool:
        call = getattr(pool, verb)
        assert asked(await call(server.host, '/x', body='b')) == f'{verb.upper()} /x b'
        assert asked(await call(f'{server.url}/z')) == f'{verb.upper()} /z'


@pytest.mark.parametrize('kind', [ClientPool, SharedPool, AsyncPool, ClusterPool])
@pytest.mark.parametrize('verb', VERBS)
def test_all_pools_have_the_same_verbs(kind: type, verb: str) -> None:
    """They are written once."""
    assert inspect.getattr_static(kind, verb) is vars(PoolVerbs)[verb]


def test_a_verb_streams(server: kit.Server) -> None:
    """`stream=True` hands the answer out at its head, whatever the verb."""
    with Client(server.host) as client, client.get('/x', stream=True) as answer:
        assert isinstance(answer, StreamedResponse) and b''.join(answer) == b'told'
    with ClientPool() as pool, pool.put(server.host, '/x', 'b', stream=True).get() as streamed:
        assert isinstance(streamed, StreamedResponse) and streamed.read() == b'told'


@in_loop
async def test_a_verb_streams_in_a_loop(server: kit.Server) -> None:
    """Likewise."""
    async with AsyncPool() as pool:
        answer = await pool.get(f'{server.url}/x', stream=True)
        assert isinstance(answer, AsyncStreamedResponse) and await answer.read() == b'told'


def test_verbs_refuse_what_is_ambiguous() -> None:
    """Two urls, credentials, a body in the place of the url, no URL: an error says how it is written."""
    with ClientPool() as pool:
        for call, says in (
            (lambda: pool.get('http://h:9/x', '/y'), 'without credentials, path or query'),
            (lambda: pool.get('http://u:hunter2@h/'), 'authenticator='),
            (lambda: pool.get('h:9'), 'not an absolute URL'),
        ):
            with pytest.raises(ValueError, match=says) as caught:
                call()
            assert 'hunter2' not in str(caught.value)
        with pytest.raises(TypeError, match=r'the body is given by name: post\("http://name/path", body=…\)'):
            pool.post('http://h:9/x', {'a': 1})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="ClientPool.request takes no option 'timout': did you mean 'timeout'"):
            pool.get('h', '/', timout=3)  # type: ignore[call-overload]
        assert pool.wait() == []


# Methods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', sorted(METHODS))
def test_a_known_method_in_lower_case_is_sent_in_upper_case(server: kit.Server, method: str) -> None:
    """The eight of RFC 9110 §9.3 and RFC 5789 that requests are made with, whoever makes the request."""
    small = method.lower()
    assert len(METHODS) == 8 and Request('h', small, '/').method == method
    assert Request('h', 'GET', '/').replace(method=small).method == method
    with Client(server.host) as client, ClientPool() as pool:
        assert asked(client.request(small, '/a')).split()[0] == method
        pool.request(server.host, small, '/b')
        pool.request(server.host, small, '/c', headers={'A': 'b'})
        assert {asked(outcome).split()[0] for outcome in pool.wait()} == {method}
        assert {asked(outcome).split()[0] for outcome in pool.stream([(server.host, small, '/')])} == {method}


@pytest.mark.parametrize('method', ['Get', 'gET', 'copy', 'PROPFIND', 'report', 'M-SEARCH'])
def test_any_other_method_is_sent_as_it_is_written(server: kit.Server, method: str) -> None:
    """A method's case counts (RFC 9110 §9.1)."""
    with Client(server.host) as client:
        assert asked(client.request(method, '/')).split()[0] == method


@pytest.mark.parametrize('method', ['CONNECT', 'connect', 'Connect'])
def test_connect_is_no_method_of_a_request(method: str) -> None:
    """In whatever case: some servers do not look at it."""
    with pytest.raises(ValueError, match='CONNECT makes a tunnel'):
        Request('h', method, '/')


def test_a_method_in_lower_case_undoes_as_ever(server: kit.Server) -> None:
    """What undoes a step of a saga may be written so as well."""
    with ClientPool() as pool, pytest.raises(SagaFailed, match='2 undone'), Saga(pool) as saga:
        saga.request(server.host, 'post', '/a', undo=('delete', '/a'))
        saga.request(server.host, 'put', '/b', undo=[(server.host, 'delete', '/b')])
        saga.wait()
        saga.abort()
    assert sorted(request.method for request in server.requests) == ['DELETE', 'DELETE', 'POST', 'PUT']
