"""Authenticators that answer challenges (RFC 9110 §11.4): when they are asked, and what comes of their answer."""

from __future__ import annotations

import contextvars
import gzip
import io
import os
import runpy
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import gevent
import pytest
from gevent.event import Event
from urllib3 import Retry, Timeout

from napixclient import Cancelled, Client, ClientPool, DeadlineExceeded, HTTPError, RemoteError, Request, Response
from napixclient.authenticators import BearerToken, authenticator_of
from tests import kit
from tests.helpers_digest import ME, Guard
from tests.kit import ANSWER, CLOSE, READ, FaultServer, serve

pytestmark = pytest.mark.usefixtures('tidy')


DigestAuth: Any = runpy.run_path(str(kit.ROOT / 'examples' / 'digest_auth.py'))['DigestAuth']


@pytest.mark.parametrize('algorithm', ['MD5', 'SHA-256'])
def test_the_example(algorithm: str) -> None:
    """The authenticator of the example answers a challenge, and signs the next requests at once."""
    guard = Guard(algorithm)
    with serve(guard) as server, Client(server.host, DigestAuth(*ME)) as client:
        answers = [client.request('GET', '/x?a=b') for _ in range(3)]
    assert [answer.attempts for answer in answers] == [1, 1, 1]
    assert guard.verdicts == ['unsigned', 'right', 'right', 'right']


# When it is asked -----------------------------------------------------------------------------------------------------


class Asked:
    """An authenticator that notes what it is asked, and signs once it has been challenged.

    :param step: what it does when it is challenged.
    """

    def __init__(self, step: Callable[[], object] = lambda: True, field: str = 'Authorization') -> None:
        self.step = step
        self.field = field
        self.challenges: list[Response] = []

    def __call__(self, request: Request) -> Request | None:
        """Sign it with the number of challenges."""
        if not self.challenges:
            return None
        return request.replace(headers={**request.headers, self.field: f'Number {len(self.challenges)}'})

    def challenged(self, request: Request, response: Response) -> Any:
        """Note it; the answer is what the step returns, with True for the request signed."""
        self.challenges.append(response)
        answer = self.step()
        return self(request) if answer is True else answer


def guarded(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Whoever proves something is let in; nobody is at ``/never``."""
    if 'authorization' in headers and path != '/never':
        return 200, {'Content-Type': 'text/plain'}, body
    return 401, {'WWW-Authenticate': 'Number'}, None


def failure(client: Client, method: str, path: str, *arguments: Any, **options: Any) -> HTTPError:
    """The error that a request ends with."""
    with pytest.raises(HTTPError) as caught:
        client.request(method, path, *arguments, **options)
    return caught.value


def test_asked_once() -> None:
    """A server that refuses the signed request as well has the last word: it is not asked for ever."""
    me = Asked()
    with serve(guarded) as server, Client(server.host, me) as client:
        error = failure(client, 'GET', '/never')
        assert isinstance(error, RemoteError) and error.status == 401 and error.attempts == 1
        assert len(server.requests) == 2 and len(me.challenges) == 1
        assert failure(client, 'GET', '/never').attempts == 1


def test_no_answer() -> None:
    """An authenticator that has no answer leaves the 401 as it is."""
    me = Asked(lambda: None)
    with serve(guarded) as server, Client(server.host, me) as client:
        error = failure(client, 'GET', '/')
        assert error.attempts == len(server.requests) == len(me.challenges) == 1
        assert me.challenges[0].status == 401 and me.challenges[0].headers['www-authenticate'] == 'Number'


@pytest.mark.parametrize('status', [400, 402, 403, 407, 503, 204])
def test_not_a_challenge(status: int) -> None:
    """Only a 401 is a challenge of an origin; a 407 is a proxy's, and there is none."""
    me = Asked()
    with serve(lambda *_: (status, {}, None)) as server, ClientPool(me) as pool:
        pool.request(server.host, 'GET', '/')
        [outcome] = pool.wait()
        assert outcome.status == status and outcome.attempts == 1 and not me.challenges


class Once:
    """A body that can be read once."""

    def __init__(self) -> None:
        self.pieces = iter([b'a', b'b'])

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        return next(self.pieces, b'')


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        (b'x' * 100_000, 2),
        ({'a': 1}, 2),
        (io.BytesIO(b'abc'), 2),
        ((b'a', b'b'), 2),
        (iter([b'a', b'b']), 1),
        (Once(), 1),
    ],
    ids=['bytes', 'json', 'file', 'tuple', 'iterator', 'pipe'],
)
def test_bodies(body: Any, expected: int) -> None:
    """A body goes out once more; one that can be read only once is not sent in part, though the challenge is told."""
    me = Asked()
    with serve(guarded) as server, ClientPool(me) as pool:
        pool.request(server.host, 'POST', '/', body)
        [outcome] = pool.wait()
        assert outcome.attempts == 1 and len(server.requests) == expected and len(me.challenges) == 1
        assert outcome.status == (200 if expected == 2 else 401)
        assert server.requests[0].body == server.requests[-1].body
        pool.request(server.host, 'POST', '/', b'next')
        assert [next_one.attempts for next_one in pool.wait()] == [1]


def test_a_body_that_was_held_back() -> None:
    """With ``expect`` a body that can be read only once stays where it is until the server has let us in."""
    refusal = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Number\r\n\r\n'
    with FaultServer([kit.Wait(seen := Event()), refusal, CLOSE], handler=guarded) as server:
        seen.set()
        with Client(server.host, Asked()) as client:
            answer = client.request('POST', '/', iter([b'a', b'b']), expect=True)
            assert answer.data == b'ab' and answer.attempts == 1


def test_streamed_answers() -> None:
    """A request whose answer is to be streamed is challenged as any other."""
    with serve(guarded) as server, Client(server.host, Asked()) as client:
        with client.request('PUT', '/', b'abc', stream=True) as answer:
            assert answer.read() == b'abc' and answer.attempts == 1


def test_a_redirect_to_the_same_origin() -> None:
    """Behind a redirect there may be another challenge, and it is answered too: once."""

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        wanted = {'/': 'Number 1', '/next': 'Number 2', '/never': 'no such'}[path]
        if headers.get('authorization') != wanted:
            return 401, {}, None
        return (302, {'Location': '/never' if body else '/next'}, None) if path == '/' else (200, {}, None)

    with serve(handler) as server, Client(server.host, Asked(), redirect=True) as client:
        answer = client.request('GET', '/')
        assert answer.url.endswith('/next') and len(server.requests) == 4 and answer.attempts == 1
    with serve(handler) as server, Client(server.host, Asked(), redirect=True) as client:
        assert failure(client, 'PUT', '/', b'x').status == 401
        assert [request.path for request in server.requests] == ['/', '/', '/never', '/never']


def test_a_redirect_to_another_origin() -> None:
    """Another origin is not told what the authenticator knows, whatever it asks for, even one of the same pool."""
    me = Asked()
    with serve(guarded) as foreign:
        with serve(lambda *_: (302, {'Location': f'http://{foreign.host}/'}, None)) as server:
            for known in False, True:
                with ClientPool(me, redirect=True) as pool:
                    if known:
                        pool.request(foreign.host, 'GET', '/')
                        assert [outcome.status for outcome in pool.wait()] == [200]
                        me.challenges.clear()
                    pool.request(server.host, 'GET', '/')
                    assert [outcome.status for outcome in pool.wait()] == [401]
                    assert not me.challenges and 'authorization' not in foreign.requests[-1].headers


def test_the_challenge_of_a_proxy() -> None:
    """A 407 of a proxy that forwards is a challenge."""

    def proxy(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        if headers.get('proxy-authorization') == 'Number 1':
            return 200, {'Content-Type': 'text/plain'}, path
        return 407, {'Proxy-Authenticate': 'Number'}, None

    with serve(proxy) as server:
        with Client('server.example', Asked(field='Proxy-Authorization'), proxy=f'http://{server.host}') as client:
            answer = client.request('GET', '/x')
            assert answer.text == 'http://server.example/x' and answer.attempts == 1


# What else counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('retries', [None, False, 0, Retry(0), Retry(total=0, status_forcelist=[401])])
def test_it_is_no_retry(retries: Any) -> None:
    """The answer to a challenge takes nothing of the retries, nor of their budget."""
    with serve(guarded) as server, Client(server.host, Asked(), retries=retries, retry_budget=(0.0, 0.0)) as client:
        assert client.request('GET', '/').attempts == 1


def test_retries_go_on_where_there_is_no_answer() -> None:
    """A 401 for which the authenticator has no answer is tried again where ``retries`` says so."""
    retries = Retry(2, status_forcelist=[401], backoff_factor=0)
    with serve(guarded) as server, Client(server.host, Asked(lambda: None), retries=retries) as client:
        assert failure(client, 'GET', '/never').attempts == len(server.requests) == 3


def test_a_connection_that_closed_behind_the_challenge() -> None:
    """The signed request is as a first one: sent once more where the server had closed, and had not said so."""
    refusal = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'
    with FaultServer([READ, refusal, READ, CLOSE], handler=guarded) as server:
        with Client(server.host, Asked()) as client:
            assert client.request('GET', '/').attempts == 2


@pytest.mark.parametrize('after', ['kept', 'closed'])
def test_what_may_not_be_sent_twice(after: str) -> None:
    """A POST that was challenged is sent once more, and once only, also where the server closed behind the 401."""
    refusal = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'
    script = [READ, refusal, ANSWER] if after == 'kept' else [READ, refusal, CLOSE]
    with FaultServer(script[:2] if after == 'kept' else script, handler=guarded) as server:
        with Client(server.host, Asked()) as client:
            assert client.request('POST', '/', b'x').attempts == 1 and len(server.requests) == 2


def test_the_deadline() -> None:
    """The time that the authenticator takes is the request's, and so is its slot, which is free afterwards."""
    never = Event()
    me = Asked(never.wait)
    with serve(guarded) as server, ClientPool(me, simultaneous=1) as pool:
        late = pool.request(server.host, 'GET', '/', timeout=Timeout(total=0.2))
        after = pool.request(server.host, 'GET', '/never')
        kit.wait_until(lambda: bool(me.challenges), 'the challenge')
        assert len(server.requests) == 1
        late.wait()
        error = late.exception
        assert isinstance(error, DeadlineExceeded) and error.phase == 'authenticate' and error.attempts == 1
        kit.wait_until(lambda: len(me.challenges) == 2, 'the challenge of the other')
        after.cancel()


def test_cancelled_meanwhile() -> None:
    """Who cancels while the authenticator is asked ends it, and nothing more is sent."""
    ended: list[str] = []

    def step() -> object:
        try:
            Event().wait()
        finally:
            ended.append('ended')

    me = Asked(step)
    with serve(guarded) as server, Client(server.host, me) as client:
        pending = client.submit('GET', '/')
        kit.wait_until(lambda: bool(me.challenges), 'the challenge')
        pending.cancel()
        assert isinstance(pending.exception, Cancelled)
        kit.wait_until(lambda: bool(ended), 'the end of the greenlet')
        assert len(server.requests) == 1
        assert client.stats()['in_flight'] == client.stats()['queued'] == 0


@pytest.mark.parametrize('raised', [KeyError('no key'), gevent.Timeout(5), gevent.GreenletExit()], ids=repr)
def test_it_raises(raised: BaseException) -> None:
    """What the authenticator raises fails the request, as it does when it signs."""

    def step() -> object:
        raise raised

    with serve(guarded) as server, Client(server.host, Asked(step)) as client:
        error = failure(client, 'GET', '/')
        assert error.phase == 'authenticate' and error.__cause__ is raised and 'the authenticator failed' in str(error)
        assert error.attempts == 1


@pytest.mark.parametrize('answer', ['yes', 1, False, b''], ids=repr)
def test_neither_a_request_nor_none(answer: Any) -> None:
    """What it returns is a request or None: anything else is a mistake, such as what an ``async`` function returns."""
    with serve(guarded) as server, Client(server.host, Asked(lambda: answer)) as client:
        error = failure(client, 'GET', '/')
        assert isinstance(error.__cause__, TypeError) and 'a Request or None' in str(error)
        assert len(server.requests) == 1


def test_what_is_no_method() -> None:
    """Something called ``challenged`` that cannot be called is a ValueError when the client is made."""
    me = Asked()
    me.challenged = True  # type: ignore[assignment, method-assign]
    for make in authenticator_of, ClientPool, lambda given: Client('server.example', given):
        with pytest.raises(ValueError, match='challenged'):
            make(me)


def test_the_context_of_the_call() -> None:
    """It is asked in the context of the call, as when it signs."""
    user = contextvars.ContextVar('user', default='nobody')
    seen: list[str] = []
    me = Asked(lambda: seen.append(user.get()))
    with serve(guarded) as server, ClientPool(me) as pool:
        for name in 'nemo', 'ned':
            user.set(name)
            pool.request(server.host, 'GET', '/')
        user.set('another')
        list(pool.wait())
    assert sorted(seen) == ['ned', 'nemo']


def test_a_token_that_is_renewed() -> None:
    """An authenticator of the library that is told to answer challenges may block there, though it never does to sign."""

    class Renewed(BearerToken):
        """A token that another request fetches when it is refused."""

        def __init__(self, client: Client) -> None:
            super().__init__('old')
            self.client = client
            self.signing = BearerToken('old')

        def line(self, request: Request) -> bytes:
            return self.signing.line(request)

        def challenged(self, request: Request, response: Response) -> Request:
            """Fetch a new one."""
            self.signing = BearerToken(self.client.request('GET', '/token').text)
            return self(request)

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (200 if headers['authorization'] == 'Bearer new' else 401), {}, None

    with serve(lambda *_: (200, {'Content-Type': 'text/plain'}, 'new')) as tokens, serve(handler) as server:
        with Client(tokens.host) as fetching, Client(server.host, Renewed(fetching)) as client:
            assert [client.request('GET', '/').attempts for _ in range(2)] == [1, 1]


def test_nobody_is_asked_twice_at_a_time() -> None:
    """Requests that are challenged at once are asked about at once: an authenticator that fetches has a lock for that."""
    go = Event()
    me = Asked(lambda: go.wait() or True)
    with serve(guarded) as server, ClientPool(me, simultaneous=3) as pool:
        for _ in range(3):
            pool.request(server.host, 'GET', '/')
        kit.wait_until(lambda: len(me.challenges) == 3, 'three challenges')
        go.set()
        assert [outcome.status for outcome in pool.wait()] == [200] * 3


# The slot and the connection -----------------------------------------------------------------------------------------


def test_it_keeps_its_slot() -> None:
    """While challenges are answered, no more requests are in flight than may be, and nothing overtakes the answers."""
    go = Event()
    me = Asked(lambda: go.wait() and True)
    with serve(guarded) as server, ClientPool(me, simultaneous=2) as pool:
        for n in range(6):
            pool.request(server.host, 'GET', f'/{n}')
        kit.wait_until(lambda: len(me.challenges) == 2, 'two challenges')
        kit.turn()
        assert len(server.requests) == 2
        [stats] = pool.stats().values()
        assert (stats['in_flight'], stats['queued']) == (2, 4)
        go.set()
        assert [outcome.status for outcome in pool.wait()] == [200] * 6
        assert {request.path for request in server.requests[2:4]} == {'/0', '/1'}
        assert len({request.peer for request in server.requests}) == 2


def test_a_server_that_closes_meanwhile() -> None:
    """The authenticator goes on where the server closes the connection meanwhile; its answer goes over another."""
    refusal = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'
    go, closed = Event(), Event()
    me = Asked(lambda: go.wait() and True)
    with FaultServer([READ, refusal, kit.Wait(closed), CLOSE], handler=guarded) as server:
        with ClientPool(me, simultaneous=1) as pool:
            pool.request(server.host, 'POST', '/a', b'x')
            pool.request(server.host, 'GET', '/b')
            kit.wait_until(lambda: bool(me.challenges), 'the challenge')
            closed.set()
            for _ in range(5):
                kit.turn()
            go.set()
            assert [(outcome.status, outcome.attempts) for outcome in pool.wait()] == [(200, 1)] * 2
        assert [request.path for request in server.requests] == ['/a', '/a', '/b'] and len(me.challenges) == 1


def test_closed_meanwhile() -> None:
    """A pool that is closed while challenges are answered leaves nothing behind, and all requests are cancelled."""
    me = Asked(lambda: Event().wait())
    with serve(guarded) as server, ClientPool(me, simultaneous=3) as pool:
        under_way = [pool.request(server.host, 'GET', '/') for _ in range(5)]
        kit.wait_until(lambda: len(me.challenges) == 3, 'three challenges')
    assert all(isinstance(pending.exception, Cancelled) for pending in under_way)


def test_killed_meanwhile_the_slot_is_free() -> None:
    """Who cancels a request that is challenged gives its slot, and its connection, to the next."""
    go = Event()
    me = Asked(lambda: go.wait() and True)
    with serve(guarded) as server, ClientPool(me, simultaneous=1, max_connections=1) as pool:
        first = pool.request(server.host, 'GET', '/a')
        pool.request(server.host, 'GET', '/b')
        kit.wait_until(lambda: bool(me.challenges), 'the challenge')
        go.set()
        first.cancel()
        assert [outcome.status for outcome in pool.wait()] == [None, 200]
        assert len({request.peer for request in server.requests}) == 1


def test_a_fork_meanwhile() -> None:
    """In the child of a fork the request is the parent's; there it goes on, over its connection."""
    go = Event()
    me = Asked(lambda: go.wait() and True)
    with serve(guarded) as server, ClientPool(me) as pool:
        pending = pool.request(server.host, 'GET', '/')
        kit.wait_until(lambda: bool(me.challenges), 'the challenge')
        child = gevent.os.fork_and_watch()
        if not child:
            go.set()
            kit.turn()
            os._exit(0 if isinstance(pending.exception, Cancelled) else 1)
        assert gevent.os.waitpid(child, 0)[1] == 0
        go.set()
        assert [outcome.status for outcome in pool.wait()] == [200]
        assert len(server.requests) == 2 and len({request.peer for request in server.requests}) == 1


def test_cookies_of_a_challenge() -> None:
    """A cookie that comes with the challenge goes with the answer."""

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        if 'authorization' in headers:
            return (200 if headers.get('cookie') == 'a=1' else 403), {}, None
        return 401, {'Set-Cookie': 'a=1'}, None

    with serve(handler) as server, Client(server.host, Asked(), cookies=CookieJar()) as client:
        assert client.request('GET', '/').attempts == 1


def test_what_the_authenticator_sees() -> None:
    """It is given the request as it was sent, and the whole answer, its body decoded."""
    seen: list[tuple[Request, Response]] = []

    class Seeing:
        blocking = False

        def __call__(self, request: Request) -> Request:
            return request.replace(headers={**request.headers, 'Authorization': 'old'})

        def challenged(self, request: Request, response: Response) -> Request:
            seen.append((request, response))
            return request.replace(headers={'Authorization': 'new'})

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        if headers['authorization'] == 'new':
            return 200, {}, None
        return 401, {'Content-Encoding': 'gzip', 'Content-Type': 'text/plain'}, gzip.compress(b'why')

    with serve(handler) as server, Client(server.host, Seeing()) as client:
        answer = client.request('PUT', '/x', {'a': 1}, tag='t')
        [(request, response)] = seen
        assert request.headers['authorization'] == 'old' and request.body == {'a': 1} and request.url == '/x'
        assert (
            response.text == 'why'
            and response.request is answer.request
            and 'authorization' not in answer.request.headers
        )
        assert answer.request.tag == 't'


def test_a_retry_is_challenged_anew() -> None:
    """Each attempt has its challenge: what a retry sends is signed again, and answered again where it has to be."""
    answers = iter([401, 503, 401, 200])
    me = Asked()
    with serve(lambda *_: (next(answers), {}, None)) as server:
        retries = Retry(1, status_forcelist=[503], backoff_factor=0)
        with Client(server.host, me, retries=retries) as client:
            assert client.request('GET', '/').attempts == 2 and len(me.challenges) == 2
        assert [request.headers.get('authorization') for request in server.requests] == [
            *(None, 'Number 1', 'Number 1', 'Number 2')
        ]
