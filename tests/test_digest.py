"""Digest (RFC 7616): against a strict server of our own, and side by side with the programs that are used for it."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from napixclient import Client, ClientPool, HTTPError, ProxyError, RemoteError, Request, Response
from napixclient.authenticators import BasicAuth, Digest
from napixclient.authenticators.challenges import parameters_of, parse_challenges
from tests import kit
from tests.helpers_digest import ME, Guard, apache, curl, digest_of, squid
from tests.helpers_proxy import connected, join
from tests.kit import READ, FaultServer, serve

pytestmark = pytest.mark.usefixtures('tidy')

#: Of OpenSSL's, so that not every Python has it.
HAS_SHA512_256 = 'sha512_256' in hashlib.algorithms_available
NAMES = ['MD5', 'SHA-256', *(['SHA-512-256'] if HAS_SHA512_256 else [])]
ALGORITHMS = [f'{name}{sess}' for name in NAMES for sess in ('', '-sess')]
needs_sha512_256 = pytest.mark.skipif(not HAS_SHA512_256, reason='this OpenSSL has no SHA-512/256')


def statuses(client: Client, *paths: str, **options: Any) -> list[int]:
    """Ask for each path in turn."""
    found = []
    for path in paths:
        pending = client.submit('GET', path, **options)
        pending.wait()
        assert pending.outcome is not None and pending.outcome.attempts == 1
        found.append(pending.outcome.status or 0)  # type: ignore[union-attr]
    return found


# The hash -----------------------------------------------------------------------------------------------------------


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
        'algorithm': algorithm,
        'realm': 'http-auth@example.org',
        'uri': '/dir/index.html',
        'nonce': '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v',
        'nc': '00000001',
        'cnonce': 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
        'qop': 'auth',
    }
    assert digest_of('GET', told, *ME) == expected


@pytest.mark.parametrize('qop', ['auth', 'auth-int', 'auth-int,auth', 'auth-conf, AUTH', None, ''])
@pytest.mark.parametrize('algorithm', ['', *ALGORITHMS])
def test_what_a_server_may_want(algorithm: str, qop: str | None) -> None:
    """Each algorithm goes with each quality of protection: the first request is challenged, the next are signed at once."""
    guard = Guard(algorithm, qop=qop)
    with serve(guard) as server, Client(server.host, Digest(*ME)) as client:
        assert statuses(client, '/x?a="b"', r'/x\y', '/') == [200] * 3
        assert client.request('POST', '/x', b'a body').data == b'a body'
    assert guard.verdicts == ['unsigned', *['right'] * 4]
    expected = 'auth-int' if qop == 'auth-int' else 'auth' if qop else None
    assert {told.get('qop') for told in guard.told} == {expected}
    assert [told.get('nc') for told in guard.told] == [f'{n:08x}' if expected else None for n in (1, 2, 3, 4)]


@pytest.mark.parametrize('algorithm', ALGORITHMS[:4])  # it took SHA-512-256 for something else until 8.10
def test_curl_beside_us(algorithm: str) -> None:
    """What our server accepts of us it accepts of curl, so that it is not of our own making."""
    guard = Guard(algorithm, qop='auth', realm='pride', before='')
    with serve(guard) as server:
        assert curl('--digest', '-u', ':'.join(ME), f'http://{server.host}/x') == '/x'
        with Client(server.host, Digest(*ME)) as client:
            assert client.request('GET', '/x').text == '/x'
    ours, curls = guard.told[1], guard.told[0]
    assert set(ours) == set(curls) and {ours[name] for name in ('realm', 'qop', 'uri', 'opaque')} == {
        curls[name] for name in ('realm', 'qop', 'uri', 'opaque')
    }


def test_a_body_as_part_of_the_proof() -> None:
    """With ``auth-int`` a body in memory is proven; one that is read while it is sent cannot be: the 401 is the outcome."""
    guard = Guard(qop='auth-int')
    with serve(guard) as server, Client(server.host, Digest(*ME)) as client:
        assert client.request('POST', '/x', {'a': 1}).status == 200
        assert client.request('GET', '/x').status == 200
        with pytest.raises(RemoteError) as caught:
            client.request('POST', '/x', io.BytesIO(b'abc'))
        assert caught.value.status == 401


# The user ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('algorithm', 'more', 'name', 'sent'),
    [
        ('SHA-256', 'userhash=true', 'Mufasa', 'hash'),
        pytest.param('SHA-512-256', 'userhash=true, charset=UTF-8', 'Jäsøn Doe', 'hash', marks=needs_sha512_256),
        ('MD5', 'charset=UTF-8', 'Jäsøn Doe', 'username*'),
        ('SHA-256', '', 'Jäsøn "Doe"', 'username*'),
        ('MD5', '', 'Jäsøn Doe', 'username'),
        ('MD5', 'userhash=false', 'a "quoted" \\name', 'username'),
        ('SHA-256', 'charset=UTF-8', 'plain', 'username'),
        ('MD5', '', 'Jäsøn\xa0Doe\u200d', 'username'),
    ],
)
def test_how_the_user_is_told(algorithm: str, more: str, name: str, sent: str) -> None:
    """As a hash where the server wants one, in ``username*`` where it is not ASCII and the server knows that."""
    guard = Guard(algorithm, more=f'{more or "x=y"}, opaque="o,p=q"', username=name)
    with serve(guard) as server, Client(server.host, Digest(name, ME[1])) as client:
        assert statuses(client, '/', '/') == [200, 200]
    [told, _] = guard.told
    assert ('userhash' in told) is (sent == 'hash') and ('username*' in told) is (sent == 'username*')
    if sent == 'username*':
        assert told['username*'].startswith("UTF-8''J%C3%A4s%C3%B8n%20")


@needs_sha512_256
def test_the_hash_of_a_user() -> None:
    """It is that of the example in RFC 7616 §3.9.2."""
    request = Request('server.example', 'GET', '/doe.json')
    challenge = (
        'WWW-Authenticate: Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", charset=UTF-8, userhash=true'
    )
    response = Response(request, 401, f'HTTP/1.1 401 No\r\n{challenge}'.encode(), b'', 0.1)
    answer = Digest('Jäsøn Doe', 'Secret, or not?').challenged(request, response)
    assert answer is not None
    hashed = '793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b'
    assert f'username="{hashed}", userhash=true' in answer.headers['authorization']


@pytest.mark.parametrize('bad', ['a\nb', 'a\0', 'a\x7f', '\ud800', 5, None, b'x'])
def test_what_is_no_name(bad: Any) -> None:
    """What is no text, or has control characters, is a ValueError that does not repeat it."""
    for arguments in (bad, 'password'), ('name', bad):
        with pytest.raises(ValueError, match='user name and password are texts'):
            Digest(*arguments)


def test_nothing_shows_the_password() -> None:
    """Neither the repr, nor an error, nor what of it reaches the wire."""
    me = Digest('nemo', 'a long secret')
    assert repr(me) == "Digest('nemo', ***)"
    guard = Guard()
    with serve(guard) as server, Client(server.host, me) as client:
        with pytest.raises(RemoteError) as caught:
            client.request('GET', '/a%20long%20secret')
        assert 'secret' not in str(caught.value) + repr(caught.value)
        assert all(b'long secret' not in request.raw for request in server.requests)


# Nonces --------------------------------------------------------------------------------------------------------------


def test_a_stale_nonce() -> None:
    """A nonce that the server does not take any more is one more challenge, for the same attempt."""
    guard = Guard(uses=2)
    with serve(guard) as server, Client(server.host, Digest(*ME), retries=0) as client:
        assert statuses(client, *['/'] * 5) == [200] * 5
    assert guard.verdicts.count('stale') == 2 and guard.verdicts.count('right') == 5


def test_a_nonce_that_is_always_stale() -> None:
    """A server that finds each nonce stale has two answers of an attempt, and its third 401 is the outcome."""
    guard = Guard(uses=0)
    with serve(guard) as server, Client(server.host, Digest(*ME)) as client:
        assert statuses(client, '/') == [401] and guard.verdicts == ['unsigned', 'stale', 'stale']
        assert statuses(client, '/') == [401] and guard.verdicts[3:] == ['stale'] * 3


def test_a_wrong_password() -> None:
    """The second 401 is the outcome where it does not say that only the nonce was wrong."""
    guard = Guard()
    with serve(guard) as server, Client(server.host, Digest(ME[0], 'wrong'), retries=3) as client:
        assert statuses(client, '/') == [401] and guard.verdicts == ['unsigned', 'wrong']


@pytest.mark.parametrize('algorithm', ['MD5', 'SHA-256-sess'])
def test_a_nonce_for_all(algorithm: str) -> None:
    """Where a server gives the same nonce again, its counts go on."""
    guard = Guard(algorithm, nonce='the only one')
    with serve(guard) as server, ClientPool(Digest(*ME), simultaneous=8) as pool:
        for _ in range(50):
            pool.request(server.host, 'POST', '/x', b'body')
        assert [outcome.status for outcome in pool.wait()] == [200] * 50
    assert len(guard.used['the only one']) == 50


def test_the_next_nonce() -> None:
    """A nonce that ``Authentication-Info`` announces is used from then on: no request is challenged but the first."""
    guard = Guard(uses=3, announces=True)
    with serve(guard) as server, Client(server.host, Digest(*ME)) as client:
        assert statuses(client, *['/'] * 10) == [200] * 10
        with client.request('GET', '/', stream=True) as answer:
            assert answer.read() == b'/'
    assert guard.verdicts == ['unsigned', *['right'] * 11] and len(guard.used) == 4


def test_many_at_once() -> None:
    """Each of the requests that were under way unsigned is sent once more; no count of a nonce is told twice."""
    guard = Guard()
    with serve(guard) as server, ClientPool(Digest(*ME), simultaneous=8) as pool:
        for _ in range(100):
            pool.request(server.host, 'POST', '/x', b'body')
        outcomes = list(pool.wait())
    assert [outcome.data for outcome in outcomes] == [b'body'] * 100
    assert guard.verdicts.count('right') == 100 and 1 <= guard.verdicts.count('unsigned') <= 8


def test_each_server_has_its_own_challenge() -> None:
    """One authenticator serves a pool of many hosts, and several pools, each host by its own nonce."""
    guards, me = [Guard('MD5'), Guard('SHA-256')], Digest(*ME)
    with serve(guards[0]) as one, serve(guards[1]) as other:
        for _ in range(2):
            with ClientPool(me) as pool:
                for server in one, other, one, other:
                    pool.request(server.host, 'GET', '/x')
                assert [outcome.status for outcome in pool.wait()] == [200] * 4
    assert all(guard.verdicts[-2:] == ['right', 'right'] for guard in guards)


def test_the_realms_of_one_server() -> None:
    """What is below a path that was challenged is signed for its realm, without being challenged again."""
    guards = {'one': Guard('MD5', realm='one'), 'other': Guard('SHA-256', realm='other')}

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return guards[path.split('/')[1]](method, path, headers, body)

    with serve(handler) as server, Client(server.host, Digest(*ME)) as client:
        paths = ['/one/a', '/other/a', '/one/b/c', '/other/b/c?d', '/one/a', '/other/a']
        assert statuses(client, *paths) == [200] * 6
        assert len(server.requests) == 6 + 2  # that to the other was signed for the first, and then for its own
    assert guards['one'].verdicts == ['unsigned', *['right'] * 3]
    assert guards['other'].verdicts == ['of another realm', *['right'] * 3]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_after_a_fork_and_a_pickle() -> None:
    """The counts of a nonce go on in the parent only: the child, and a copy, begin with a challenge of their own."""
    guard = Guard()
    me = Digest(*ME)
    with serve(guard) as server:
        with Client(server.host, me) as client:
            assert statuses(client, '/') == [200]
        with Client(server.host, pickle.loads(pickle.dumps(me))) as client:
            assert statuses(client, '/') == [200]
        assert guard.verdicts == ['unsigned', 'right'] * 2
        child = gevent.os.fork_and_watch()
        if not child:
            signed = me(Request(server.host, 'GET', '/'))
            os._exit(int('authorization' in signed.headers))
        assert gevent.os.waitpid(child, 0)[1] == 0
        assert 'authorization' in me(Request(server.host, 'GET', '/')).headers


# Which challenge -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        (['Digest realm=a, nonce=b, algorithm=MD5', 'Digest realm=a, nonce=b, algorithm=SHA-256'], 'SHA-256'),
        (['Digest realm=a, nonce=b, algorithm=sha-256, Digest realm=a, nonce=b, algorithm=MD5'], 'sha-256'),
        pytest.param(
            ['Digest realm=a, nonce=b, algorithm=SHA-512-256,Digest realm=a,nonce=b,algorithm=SHA-256-sess'],
            'SHA-512-256',
            marks=needs_sha512_256,
        ),
        (['Negotiate, NTLM abc==, Basic realm="Digest realm=x, nonce=y", dIGEST realm=a , nonce = "b"'], None),
        (['Digest realm=a, nonce=b, algorithm=SHA-3000, Digest realm=a, nonce=b, algorithm=MD5-sess'], 'MD5-sess'),
        (['Digest realm=a, nonce=b, algorithm=SHA-256, qop="new", Digest realm=a, nonce=b, algorithm=MD5'], 'MD5'),
        ([',, Digest , realm="a",, nonce="b" ,algorithm="MD5",'], 'MD5'),
        (['Bearer', 'Digest realm="a\\"b", nonce="c\\\\d", algorithm=MD5'], 'MD5'),
    ],
)
def test_the_strongest_is_answered(fields: list[str], expected: str | None) -> None:
    """Of several challenges, in one field or in several, the strongest that we know is answered."""
    head = ''.join(f'\r\nWWW-Authenticate: {field}' for field in fields)
    request = Request('server.example', 'GET', '/')
    response = Response(request, 401, f'HTTP/1.1 401 No{head}'.encode(), b'', 0.1)
    answer = Digest(*ME).challenged(request, response)
    assert answer is not None
    [challenge] = parse_challenges([answer.headers['authorization']])
    assert challenge.scheme == 'digest' and challenge.parameters.get('algorithm') == expected
    assert challenge.parameters['realm'] in ('a', 'a"b')


@pytest.mark.parametrize(
    'field',
    [
        *('', 'Digest', 'Digest realm=a', 'Basic realm="Digest"', 'Digest realm=a, nonce=b, algorithm=SHA-3'),
        *('Digest realm=a, nonce=b, qop=new', 'Digest realm=a, nonce=""', 'Digest ="', '"'),
        *('Digestrealm=a, nonce=b', 'Negotiate Digest', 'a="x,' * 9000, '\\"' * 9000, 'x' * 30_000),
    ],
    ids=lambda field: field[:30],
)
def test_what_is_no_challenge_of_ours(field: str) -> None:
    """Without a challenge that we can answer there is no answer, whatever the field holds."""
    request = Request('server.example', 'GET', '/')
    response = Response(request, 401, f'HTTP/1.1 401 No\r\nWWW-Authenticate: {field}'.encode(), b'', 0.1)
    assert Digest(*ME).challenged(request, response) is None


def test_parameters_without_a_scheme() -> None:
    """``Authentication-Info`` is one list of parameters."""
    assert parameters_of('nextnonce="a,b", qop=auth,nc = 00000001') == {
        'nextnonce': 'a,b',
        'qop': 'auth',
        'nc': '00000001',
    }


# Bodies that can be read once ----------------------------------------------------------------------------------------


def test_a_body_that_can_be_read_once(tmp_path: Path) -> None:
    """It is held back as long as the nonce is not known, so it is still there for the answer; then it goes at once."""
    with apache(tmp_path) as host, Client(host, Digest(*ME)) as client:
        for _ in range(2):
            began = Once()
            assert client.request('POST', '/index.html', began).text == 'let in'
            assert began.pieces == []


class Once:
    """A body that can be read once."""

    def __init__(self) -> None:
        self.pieces = [b'a', b'b']

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        return self.pieces.pop(0) if self.pieces else b''


def test_what_is_sent_of_a_body_that_can_be_read_once() -> None:
    """Nothing before the challenge, and all of it behind the answer."""
    refusal = (
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n'
        b'WWW-Authenticate: Digest realm="a \\"quoted\\", realm", nonce=n, qop=auth, opaque="o,p=q"\r\n\r\n'
    )
    guard = Guard('', nonce='n', qop='auth')
    guard.new_nonce()
    with FaultServer([kit.Wait(seen := Event()), refusal, kit.CLOSE], handler=guard) as server:
        seen.set()
        with Client(server.host, Digest(*ME)) as client:
            assert client.request('POST', '/x', Once()).data == b'ab'
            assert client.request('POST', '/x', Once()).data == b'ab'
    assert guard.verdicts == ['right', 'right'] and 'expect' not in server.requests[-1].headers


def test_a_body_that_is_gone() -> None:
    """Where the nonce is stale after all, it is gone: the 401 is the outcome, and the next request is signed."""
    guard = Guard(uses=1, qop='auth')
    with serve(guard) as server, Client(server.host, Digest(*ME)) as client:
        assert client.request('POST', '/x', b'ab').status == 200
        with pytest.raises(RemoteError) as caught:
            client.request('POST', '/x', iter([b'a', b'b']))
        assert caught.value.status == 401
        assert client.request('GET', '/x').status == 200 and guard.verdicts[-1] == 'right'


# Connections ---------------------------------------------------------------------------------------------------------


def test_the_connection_is_kept() -> None:
    """The answer goes over the connection that the challenge came over, before anything else that waits."""
    guard = Guard()
    with serve(guard) as server, ClientPool(Digest(*ME), simultaneous=1) as pool:
        for path in '/a', '/b':
            pool.request(server.host, 'GET', path)
        assert [outcome.status for outcome in pool.wait()] == [200, 200]
        assert [request.path for request in server.requests] == ['/a', '/a', '/b']
        assert len({request.peer for request in server.requests}) == 1


def test_a_server_that_closes_behind_its_challenge() -> None:
    """The answer has the slot all the same, and another connection in it."""
    refusal = (
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n'
        b'WWW-Authenticate: Digest realm="a \\"quoted\\", realm", nonce=n, qop=auth, opaque="o,p=q"\r\n\r\n'
    )
    guard = Guard('', nonce='n')
    guard.new_nonce()
    with FaultServer([READ, refusal, kit.CLOSE], handler=guard) as server:
        with ClientPool(Digest(*ME), simultaneous=1, max_connections=1) as pool:
            for path in '/a', '/b':
                pool.request(server.host, 'POST', path, b'x')
            assert [(outcome.status, outcome.attempts) for outcome in pool.wait()] == [(200, 1)] * 2
            assert [request.path for request in server.requests] == ['/a', '/a', '/b']
    assert guard.verdicts == ['right', 'right']


# Programs ------------------------------------------------------------------------------------------------------------


def test_apache(tmp_path: Path) -> None:
    """A server that is not ours takes our digests as it takes those of curl, and refuses those of another password."""
    with apache(tmp_path) as host:
        with Client(host, Digest(*ME)) as client:
            answers = [client.request('GET', f'/index.html?{n}') for n in range(3)]
        assert [(answer.text, answer.attempts) for answer in answers] == [('let in', 1)] * 3
        assert curl('--digest', '-u', ':'.join(ME), f'http://{host}/index.html') == 'let in'
        with Client(host, Digest(ME[0], 'wrong')) as client, pytest.raises(RemoteError) as caught:
            client.request('GET', '/index.html')
        assert caught.value.status == 401


def test_nonces_of_apache(tmp_path: Path) -> None:
    """Its nonces are good for a second, and it announces the next: each request is let in at once or after a challenge."""
    lines = '<Location "/">\nDIGEST\nAuthDigestNonceLifetime 1\n</Location>'
    with apache(tmp_path, lines) as host, Client(host, Digest(*ME)) as client:
        for _ in range(12):
            assert client.request('GET', '/index.html').text == 'let in'
            gevent.sleep(0.2)


# Proxies -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Proxies that want a digest, for requests and for tunnels: name -> host."""
    lines = """
        ProxyRequests On
        AllowCONNECT 0-65535
        <Proxy "*">
            DIGEST
        </Proxy>
    """
    with (
        squid(tmp_path_factory.mktemp('squid')) as one,
        apache(tmp_path_factory.mktemp('apache'), lines, ('proxy', 'proxy_http', 'proxy_connect')) as other,
    ):
        yield {'squid': one, 'apache': other}


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('program', ['squid', 'apache'])
def test_real_proxies(program: str, scheme: str, proxies: dict[str, str], authority: kit.Authority) -> None:
    """squid and Apache let us through, and refuse us with another password, for requests and for tunnels; as curl."""
    tls = authority.server() if scheme == 'https' else None
    options: dict[str, Any] = {'proxy': f'http://{proxies[program]}', 'ca_certs': authority.ca_certs}
    with serve(lambda *_: (200, {'Content-Type': 'text/plain'}, 'behind'), tls=tls) as server:
        host = f'{scheme}://127.0.0.1:{server.port}'
        with ClientPool(simultaneous=3, proxy_auth=Digest(*ME), **options) as pool:
            for n in range(12):
                pool.request(host, 'GET', f'/{n}?a=b')
            outcomes = list(pool.wait())
            assert [(outcome.text, outcome.attempts) for outcome in outcomes] == [('behind', 1)] * 12  # type: ignore[union-attr]
        assert len(server.requests) == 12
        assert all('proxy-authorization' not in request.headers for request in server.requests)
        arguments = ['--proxy-digest', '-U', ':'.join(ME), '-x', options['proxy'], '--cacert', authority.ca_certs]
        assert curl(*arguments, '--proxy-insecure', f'{host}/') == 'behind'
        with Client(host, proxy_auth=Digest(ME[0], 'wrong'), **options) as client:
            with pytest.raises(ProxyError) as caught:
                client.request('GET', '/')
            assert caught.value.status == 407 and caught.value.attempts == 1


def test_a_server_and_its_proxy() -> None:
    """Both may challenge the same attempt, each has its own answer, and neither is told of the other's."""
    behind, front = Guard(realm='behind'), Guard('MD5', realm='front', proxy=True)

    def proxy(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        status, fields, said = front(method, path, headers, body)
        if status != 200:
            return status, fields, said
        return behind(method, f'/{path.split("/", 3)[3]}', headers, body)

    with serve(proxy) as server:
        options: dict[str, Any] = {'proxy': f'http://{server.host}', 'proxy_auth': Digest(*ME)}
        with Client('server.example', Digest(*ME), **options) as client:
            assert statuses(client, '/a', '/b') == [200, 200]
            assert client.request('POST', '/x', b'a body').data == b'a body'
    assert behind.verdicts == ['unsigned', 'right', 'right', 'right']
    assert front.verdicts.count('unsigned') == 1 and 'wrong' not in front.verdicts


def test_the_next_nonce_of_a_proxy() -> None:
    """It is announced in ``Proxy-Authentication-Info``."""
    front = Guard(proxy=True, uses=2, announces=True)
    with serve(front) as server:
        with Client('server.example', proxy=f'http://{server.host}', proxy_auth=Digest(*ME)) as client:
            assert statuses(client, *['/'] * 6) == [200] * 6
    assert front.verdicts == ['unsigned', *['right'] * 6]


def test_what_a_proxy_is_not_told() -> None:
    """Without ``proxy_auth``, the password of the server proves nothing to a proxy, nor that of a proxy to a server."""
    front = Guard('MD5', proxy=True)
    with serve(front) as server, Client('server.example', Digest(*ME), proxy=f'http://{server.host}') as client:
        assert statuses(client, '/') == [407] and front.verdicts == ['unsigned']
    guard = Guard()
    with serve(guard) as server:
        with Client('server.example', proxy=f'http://{server.host}', proxy_auth=Digest(*ME)) as client:
            assert statuses(client, '/') == [401] and guard.verdicts == ['unsigned']


class Tunnels(kit.Server):
    """A proxy that wants a digest for its tunnels to ports of 127.0.0.1.

    :param closes: whether it closes the connection behind its challenge: not, ``'announced'``, or without a word.
    """

    def __init__(self, guard: Guard, closes: str = '') -> None:
        self.guard, self.closes = guard, closes
        super().__init__()

    def talk(self, peer: kit.Peer) -> None:
        """Challenge, or let through."""
        while True:
            asked = self.read(peer)
            status, fields, _ = self.guard(asked.method, asked.path, asked.headers, b'')
            if status == 200:
                with connected(int(asked.path.rpartition(':')[2])) as onward:
                    peer.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
                    return join(peer, onward)
            lines = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
            close = 'Connection: close\r\n' if self.closes == 'announced' else ''
            peer.send(f'HTTP/1.1 407 No\r\n{lines}{close}Content-Length: 4\r\n\r\nwhy?'.encode())
            if self.closes:
                return None


@pytest.mark.parametrize('closes', ['', 'announced', 'silently'])
def test_tunnels(closes: str, authority: kit.Authority) -> None:
    """A tunnel is asked for once more with the answer, over the same connection or another; stale nonces as well."""
    guard = Guard(proxy=True, uses=1)
    with Tunnels(guard, closes) as proxy, serve(tls=authority.server()) as server:
        options: dict[str, Any] = {'proxy': f'http://{proxy.host}', 'ca_certs': authority.ca_certs}
        me = Digest(*ME)
        for _ in range(2):
            with Client(f'https://127.0.0.1:{server.port}', proxy_auth=me, **options) as client:
                assert statuses(client, '/') == [200]
        assert guard.verdicts == ['unsigned', 'right', 'stale', 'right']
        assert len({request.peer for request in proxy.requests}) == (4 if closes else 2)
        with Client(f'https://127.0.0.1:{server.port}', proxy_auth=BasicAuth('a', 'b'), **options) as client:
            with pytest.raises(ProxyError) as caught:
                client.request('GET', '/')
            assert caught.value.response is not None and caught.value.response.data == b'why?'
        assert guard.verdicts[4:] == ['unsigned']


def test_an_authenticator_of_a_tunnel_that_raises(authority: kit.Authority) -> None:
    """It fails the request, as that of a server does, and the connection to the proxy is not left behind."""

    class Broken:
        def __call__(self, request: Request) -> Request:
            return request.replace(headers={**request.headers, 'Proxy-Authorization': request.url})

        def challenged(self, request: Request, response: Response) -> Request:
            raise KeyError(request.method)

    with Tunnels(Guard(proxy=True)) as proxy:
        with Client('https://127.0.0.1:9', proxy=f'http://{proxy.host}', proxy_auth=Broken()) as client:
            with pytest.raises(HTTPError) as caught:
                client.request('GET', '/')
            assert caught.value.phase == 'authenticate' and isinstance(caught.value.__cause__, KeyError)
            assert "'CONNECT'" in str(caught.value)
            assert proxy.requests[0].headers['proxy-authorization'] == '127.0.0.1:9'


@pytest.mark.parametrize('blocking', [False, True])
def test_basic_and_own_authenticators_of_proxies(blocking: bool) -> None:
    """What an authenticator adds as ``Authorization`` goes to the proxy, beside what the server is told."""

    class Own(BasicAuth):
        def __call__(self, request: Request) -> Request:
            assert request.url == 'http://server.example/x' and 'authorization' not in request.headers
            return super().__call__(request)

    Own.blocking = blocking
    with serve(lambda *_: (200, {}, None)) as server:
        with Client(
            'server.example', BasicAuth('c', 'd'), proxy=f'http://{server.host}', proxy_auth=Own('a', 'b')
        ) as client:
            assert client.request('GET', '/x', headers={'X-A': 'b'}).status == 200
        [request] = server.requests
        assert request.headers['proxy-authorization'] == 'Basic YTpi'
        assert request.headers['authorization'] == 'Basic Yzpk' and request.headers['x-a'] == 'b'


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'proxy': 'http://p:1', 'proxy_auth': 'user:password'}, 'such as Digest'),
        ({'proxy': 'http://p:1', 'proxy_auth': ('user', 'password')}, 'such as Digest'),
        ({'proxy': 'http://a:b@p:1', 'proxy_auth': BasicAuth('a', 'b')}, 'exclude'),
        ({'proxy': 'socks5://p:1', 'proxy_auth': BasicAuth('a', 'b')}, 'SOCKS'),
        ({'proxy': 'http://p:1', 'proxy_auth': 5}, 'authenticator'),
        ({'proxy': 'http://p:1', 'proxy_auth': Digest}, 'authenticator'),
    ],
)
def test_what_is_no_authenticator_of_a_proxy(options: dict[str, Any], said: str) -> None:
    """It is a ValueError when the client is made, which does not repeat what was given."""
    with pytest.raises(ValueError, match=said) as caught:
        Client('server.example', **options)
    assert 'password' not in str(caught.value).replace('user:password@proxy.example', '').replace(
        'user and password', ''
    )
