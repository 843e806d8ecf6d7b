"""Authenticators that answer challenges (RFC 9110 §11.4): when they are asked, and what comes of their answer."""

from __future__ import annotations

import contextvars
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
import pytest
from gevent import socket
from gevent.event import Event
from urllib3 import Retry, Timeout

from napixclient import Cancelled, Client, ClientPool, DeadlineExceeded, HTTPError, RemoteError, Request, Response
from napixclient.authenticators import BearerToken, Digest, authenticator_of
from tests import kit
from tests.kit import ANSWER, CLOSE, READ, FaultServer, serve

pytestmark = pytest.mark.usefixtures('tidy')

ME = 'Mufasa', 'Circle of Life'


# A server that checks digests -----------------------------------------------------------------------------------------


def digest_of(algorithm: str, method: str, told: dict[str, str], password: str) -> str:
    """RFC 7616 §3.4.1, written from the document alone."""
    kind = {'MD5': hashlib.md5, 'SHA-256': hashlib.sha256}[algorithm]

    def hashed(text: str) -> str:
        return kind(text.encode()).hexdigest()

    a1 = hashed(f'{told["username"]}:{told["realm"]}:{password}')
    a2 = hashed(f'{method}:{told["uri"]}')
    return hashed(f'{a1}:{told["nonce"]}:{told["nc"]}:{told["cnonce"]}:{told["qop"]}:{a2}')


@pytest.mark.parametrize(
    ('algorithm', 'expected'),
    [
        ('MD5', '8ca523f5e9506fed4657c9700eebdbec'),
        ('SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'),
    ],
)
def test_the_server_of_these_tests(algorithm: str, expected: str) -> None:
    """What our server checks is what RFC 7616 §3.9.1 gives as its example."""
    told = {
        'username': 'Mufasa',
        'realm': 'http-auth@example.org',
        'uri': '/dir/index.html',
        'nonce': '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v',
        'nc': '00000001',
        'cnonce': 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
        'qop': 'auth',
    }
    assert digest_of(algorithm, 'GET', told, 'Circle of Life') == expected


class Guard:
    """The handler of a server that wants a digest, and accepts no count of a nonce twice.

    :param algorithm: of its challenge.
    :param uses: how many requests a nonce is good for; more are told that it is stale.
    """

    realm = 'a "quoted", realm'

    def __init__(self, algorithm: str = 'SHA-256', uses: int = 10**9) -> None:
        self.algorithm = algorithm
        self.uses = uses
        self.used: dict[str, set[str]] = {}
        self.verdicts: list[str] = []

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        """Let in who proves it, and challenge all others."""
        verdict = self.judge(method, path, headers.get('authorization', ''))
        self.verdicts.append(verdict)
        if verdict == 'right':
            return 200, {'Content-Type': 'text/plain'}, body or path
        nonce = os.urandom(8).hex()
        self.used[nonce] = set()
        quoted = self.realm.replace('"', r'\"')
        field = (
            f'Basic realm="not this", Digest realm="{quoted}", qop="auth-int,auth", algorithm={self.algorithm}, '
            f'nonce="{nonce}", opaque="o,p=q"{", stale=true" if verdict == "stale" else ""}'
        )
        return 401, {'WWW-Authenticate': field}, None

    def judge(self, method: str, path: str, field: str) -> str:
        """What a request proves."""
        scheme, _, rest = field.partition(' ')
        if scheme != 'Digest':
            return 'unsigned'
        told = {
            name: re.sub(r'\\(.)', r'\1', quoted) or token
            for name, quoted, token in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^ ,]+))', rest)
        }
        assert told['realm'] == self.realm and told['uri'] == path and told['opaque'] == 'o,p=q'
        if told['response'] != digest_of(self.algorithm, method, told, ME[1]) or told['username'] != ME[0]:
            return 'wrong'
        used = self.used[told['nonce']]
        assert told['nc'] not in used  # RFC 7616 §3.4: a count is told once
        used.add(told['nc'])
        return 'stale' if len(used) > self.uses else 'right'


@pytest.mark.parametrize('algorithm', ['MD5', 'SHA-256'])
def test_a_digest(algorithm: str) -> None:
    """The first request is challenged and sent once more, signed; those that follow are signed at once."""
    digest = Guard(algorithm)
    with serve(digest) as server, Client(server.host, Digest(*ME)) as client:
        answers = [client.request('GET', '/x?a=b') for _ in range(3)]
    assert [answer.attempts for answer in answers] == [1, 1, 1]
    assert digest.verdicts == ['unsigned', 'right', 'right', 'right']
    assert [sorted(counts) for counts in digest.used.values()] == [['00000001', '00000002', '00000003']]


def test_a_stale_nonce() -> None:
    """A nonce that the server does not take any more is one more challenge."""
    digest = Guard(uses=2)
    with serve(digest) as server, Client(server.host, Digest(*ME)) as client:
        answers = [client.request('GET', '/x') for _ in range(5)]
    assert [answer.attempts for answer in answers] == [1] * 5
    assert digest.verdicts.count('stale') == 2 and digest.verdicts.count('right') == 5


def test_many_at_once() -> None:
    """Each of the requests that were under way unsigned is sent once more; no count of a nonce is told twice."""
    digest = Guard()
    with serve(digest) as server, ClientPool(Digest(*ME), simultaneous=8) as pool:
        for _ in range(100):
            pool.request(server.host, 'POST', '/x', b'body')
        outcomes = list(pool.wait())
    assert [outcome.data for outcome in outcomes] == [b'body'] * 100
    assert digest.verdicts.count('right') == 100 and 1 <= digest.verdicts.count('unsigned') <= 100


def test_each_server_has_its_own_challenge() -> None:
    """One authenticator serves a pool of many hosts."""
    digests = [Guard('MD5'), Guard('SHA-256')]
    with serve(digests[0]) as one, serve(digests[1]) as other, ClientPool(Digest(*ME)) as pool:
        for server in one, other, one, other:
            pool.request(server.host, 'GET', '/x')
        assert [outcome.status for outcome in pool.wait()] == [200] * 4


@contextmanager
def apache(directory: Path) -> Iterator[str]:
    """Apache's httpd with mod_auth_digest, in a process of its own; its host."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        host = f'127.0.0.1:{free.getsockname()[1]}'
    (directory / 'index.html').write_text('let in')
    hashed = hashlib.md5(b'Mufasa:pride:Circle of Life').hexdigest()
    (directory / 'users').write_text(f'Mufasa:pride:{hashed}\n')
    modules = 'mpm_event', 'authn_core', 'authn_file', 'authz_core', 'authz_user', 'auth_digest'
    lines = [f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so' for name in modules]
    (directory / 'conf').write_text(
        '\n'.join(lines)
        + f"""
        ServerName localhost
        ServerRoot "{directory}"
        DefaultRuntimeDir "{directory}"
        Mutex sem
        PidFile "{directory}/pid"
        ErrorLog "{directory}/log"
        Listen {host}
        DocumentRoot "{directory}"
        <Location "/">
            AuthType Digest
            AuthName pride
            AuthUserFile "{directory}/users"
            Require valid-user
        </Location>
        """
    )
    program = shutil.which('apache2') or shutil.which('httpd') or ''
    process = gevent.subprocess.Popen([program, '-X', '-f', str(directory / 'conf')])
    try:
        kit.wait_until(lambda: answers(host), 'httpd')
        yield host
    finally:
        process.terminate()
        process.wait()


def answers(host: str) -> bool:
    """Whether somebody listens there."""
    address, port = host.split(':')
    try:
        socket.create_connection((address, int(port))).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(
    not Path('/usr/lib/apache2/modules/mod_auth_digest.so').exists(), reason='the web server of Apache is not there'
)
def test_apache_lets_us_in(tmp_path: Path) -> None:
    """A server that is not ours takes our digests, and refuses those of another password."""
    with apache(tmp_path) as host:
        with Client(host, Digest(*ME)) as client:
            answers = [client.request('GET', '/index.html') for _ in range(3)]
        assert [(answer.text, answer.attempts) for answer in answers] == [('let in', 1)] * 3
        with Client(host, Digest('Mufasa', 'wrong')) as client:
            assert failure(client, 'GET', '/index.html').status == 401


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
