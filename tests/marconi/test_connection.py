"""Connections: what they need, what they know, and how they get, renew and replace tokens."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from datetime import datetime, timedelta, timezone
from typing import Any

import gevent
import pytest

from napixclient import Cancelled, HTTPError, rest
from napixclient.marconi import (
    Client,
    Connection,
    ErrorBase,
    Forbidden,
    Http,
    NoAnswer,
    NotFound,
    ServerError,
    ServiceUnavailable,
    Unauthorized,
)
from tests import kit
from tests.marconi.conftest import Peers
from tests.marconi.peer import UNAUTHORIZED, Keystone
from tests.marconi.scenarios import a_name


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        ({}, 'auth_url or endpoint is needed'),
        ({'apikey': 'a', 'password': 'b', 'endpoint': 'http://z.example'}, 'another name of password'),
        ({'auth_url': 'http://k.example'}, 'exactly one'),
        ({'auth_url': 'http://k.example', 'password': 'x', 'token': 'y'}, 'exactly one'),
        ({'auth_url': 'http://k.example', 'password': 'x'}, 'needs a username'),
        ({'auth_url': 'http://k.example', 'application_credential': ('id',)}, r'\(id, secret\)'),
        ({'auth_url': 'http://k.example/v2.0', 'token': 'y'}, 'version 2.0 of the identity API'),
        ({'auth_url': '', 'token': 'y'}, 'where Keystone is'),
        ({'endpoint': 'http://z.example', 'version': 3}, 'version is 1, 1.1 or 2, not 3'),
        ({'endpoint': 'http://z.example', 'version': True}, 'version is 1, 1.1 or 2, not True'),
        ({'endpoint': 'http://z.example/v7'}, "not '7'"),
        ({'endpoint': 'ftp://z.example', 'version': 1}, 'not the URL of an endpoint'),
        ({'endpoint': 'http://z.example', 'presigned': {'paths': []}}, 'not what share'),
        ({'endpoint': 'http://z.example', 'presigned': {}, 'token': 'x'}, 'takes the place of an account'),
        ({'endpoint': 'http://z.example', 'version': 1, 'token': 'x\r\ny'}, 'CR, LF'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, Any], match: str) -> None:
    """Before anything is asked, with an error that names what is wrong."""
    with pytest.raises(ValueError, match=match):
        Connection(**given)


@pytest.mark.parametrize(
    ('given', 'version'),
    [
        (1, '1.0'),
        ('1', '1.0'),
        ('v1', '1.0'),
        (1.0, '1.0'),
        ('1.0', '1.0'),
        (1.1, '1.1'),
        ('v1.1', '1.1'),
        (2, '2.0'),
        ('V2', '2.0'),
        (2.0, '2.0'),
        (None, '2.0'),
    ],
)
def test_versions_are_numbers_or_texts(given: Any, version: str, zaqar: Peers) -> None:
    """A version is asked for as 1, 1.1 or 2, as number or text, with or without `v`; None is the newest."""
    conn = zaqar.connect(version=given)
    assert conn.version == version
    assert conn.host == zaqar.server.url + {'1.0': '/v1', '1.1': '/v1.1', '2.0': '/v2'}[version]


def test_an_endpoint_with_a_version_keeps_it(zaqar: Peers) -> None:
    """Whatever else is asked for; nothing has to be asked then."""
    for path, version in (('/v1', '1.0'), ('/v1.0/', '1.0'), ('/v1.1', '1.1'), ('/v2/', '2.0')):
        conn = zaqar.connect(endpoint=zaqar.server.url + path, version=2)
        assert (conn.version, conn.host) == (version, zaqar.server.url + path.rstrip('/'))
    assert zaqar.asked == []


def test_an_endpoint_may_have_a_path(zaqar: Peers) -> None:
    """A Zaqar that is served below a path is found there."""
    zaqar.fault = lambda method, target, headers, body: (
        (300, {}, {'versions': [{'id': '2'}, {'id': '3'}]})
        if target == '/messaging/'
        else (204, {}, None)
        if target == '/messaging/v2/ping'
        else (404, {}, b'')
    )
    conn = zaqar.connect(endpoint=f'{zaqar.server.url}/messaging/')
    assert (conn.version, conn.host) == ('2.0', f'{zaqar.server.url}/messaging/v2')
    assert Client(conn).ping()


@pytest.mark.parametrize('keystone', [False, True])
def test_what_is_dropped_is_freed_at_once(keystone: bool, zaqar: Peers, with_keystone: Any) -> None:
    """A connection, its client and its queues do not wait for the garbage collector."""
    peers = with_keystone() if keystone else zaqar
    account = {'auth_url': peers.identity.url, 'password': 'demopw'} if keystone else {'endpoint': peers.server.url}
    gc.collect()
    gc.disable()
    try:
        conn = Connection('demo', tenant=None if keystone else 'p1', version=2, **account)
        client = Client(conn)
        queue = client.queue('q')
        queue.post_messages({'body': 1})
        held = [weakref.ref(each) for each in (conn, client, queue)]
        conn.close()
        del conn, client, queue
        assert [each() for each in held] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize('document', [{'versions': [{'id': '3'}]}, {'versions': []}, {}, [], 'no', {'versions': [7]}])
def test_who_lists_no_version_is_no_zaqar(document: Any, zaqar: Peers) -> None:
    """That is told, with what to do."""
    zaqar.fault = lambda *_: (200, {}, document)
    with pytest.raises(ErrorBase, match='no version of the API(?s:.*)give version|not JSON'):
        zaqar.connect()


def test_the_fields_of_requests(zaqar: Peers) -> None:
    """Each request has the fields that `headers` tells of, and the id of its client; those given are sent instead."""
    conn = zaqar.connect(version=2)
    assert 'x-auth-token' not in conn.headers and conn.headers['content-length'] == '0'
    client = Client(conn)
    client.ping()
    sent = zaqar.server.requests[-1].headers
    told = conn.headers
    assert all(sent[name] == told[name] for name in ('date', 'host', 'accept', 'accept-encoding', 'x-project-id'))
    assert sent['client-id'] == client.client_id != Client(conn).client_id
    conn.request(
        Http.POST, '/queues/q/messages', {'Client-ID': 'mine', 'X-Project-ID': 'other'}, b'{"messages":[{"body":1}]}'
    )
    sent = zaqar.server.requests[-1].headers
    assert (sent['client-id'], sent['x-project-id'], sent['content-type']) == ('mine', 'other', 'application/json')
    assert conn.headers['content-length'] == sent['content-length'] == '25'
    with pytest.raises(TypeError, match=r'json\.dumps'):
        conn.request('POST', '/queues', data={'a': 1})  # type: ignore[arg-type]


def test_certificates_are_verified(tidy: None, authority: kit.Authority) -> None:
    """By default, and for a single request as it asks for; `verify` also names a file."""
    peers = Peers(tls=authority.server('localhost', '127.0.0.1'))
    try:
        with pytest.raises(NoAnswer, match='(?i)certificate'):
            peers.connect()
        trusting = peers.connect(verify=authority.ca_certs)
        assert trusting.request(Http.GET).status_code == 200
        careless = peers.connect(verify=False)
        assert careless.request(Http.GET).status_code == 200
        with pytest.raises(NoAnswer):
            careless.request(Http.GET, verify=True)
        assert careless.request('GET', '/ping', verify=authority.ca_certs).status_code == 204
    finally:
        peers.close()


# Keystone ------------------------------------------------------------------------------------------------------------


def test_what_keystone_is_asked(with_keystone: Any) -> None:
    """Password, application credential and token, with the scope that belongs to each."""
    peers = with_keystone()
    conn = peers.connect('demo', apikey='demopw', tenant='demo', domain='shop')
    assert peers.keystone.asked[-1] == {
        'identity': {
            'methods': ['password'],
            'password': {'user': {'name': 'demo', 'password': 'demopw', 'domain': {'name': 'shop'}}},
        },
        'scope': {'project': {'name': 'demo', 'domain': {'name': 'shop'}}},
    }
    assert (conn.username, conn.tenant, conn.version) == ('demo', 'a1b2c3', '2.0')
    peers.connect(application_credential=('abc', 'demopw'), tenant='ignored')
    assert peers.keystone.asked[-1] == {
        'identity': {'methods': ['application_credential'], 'application_credential': {'id': 'abc', 'secret': 'demopw'}}
    }
    peers.connect(token=conn.token, tenant='0123456789abcdef0123456789abcdef')
    assert peers.keystone.asked[-1] == {
        'identity': {'methods': ['token'], 'token': {'id': conn.token}},
        'scope': {'project': {'id': '0123456789abcdef0123456789abcdef'}},
    }
    peers.connect('demo', password='demopw')
    assert 'scope' not in peers.keystone.asked[-1]


def test_the_endpoint_comes_from_the_catalogue(with_keystone: Any) -> None:
    """That of the region, or the first one; `endpoint` goes before it."""
    peers = with_keystone()
    url = peers.server.url
    peers.keystone.at(f'{url}/v1', f'{url}/v2')
    assert peers.connect().host == f'{url}/v1'
    assert peers.connect(region='RegionTwo').host == f'{url}/v2'
    assert peers.connect(endpoint=f'{url}/v1.1').host == f'{url}/v1.1'
    with pytest.raises(ErrorBase, match=r'no endpoint for messaging(?s:.*)RegionNine.*messaging \(public, RegionTwo\)'):
        peers.connect(region='RegionNine')
    peers.keystone.catalog = []
    with pytest.raises(ErrorBase, match='give tenant'):
        peers.connect()


def test_what_keystone_refuses_is_reported_in_its_words(with_keystone: Any) -> None:
    """With the class for the status, the chain, and no secret."""
    peers = with_keystone()
    with pytest.raises(Unauthorized) as caught:
        peers.connect('demo', password='wrong secret')
    error = caught.value
    assert str(error) == 'Unauthorized (401): Unauthorized\nThe request you have made requires authentication.'
    assert error.chain[0].remote_call == f'POST {peers.identity.url}/v3/auth/tokens'
    peers.keystone.fault = lambda: (503, {}, b'')
    with pytest.raises(ServiceUnavailable):
        peers.connect()
    for document in ({}, {'token': {}}, {'token': {'expires_at': 'soon', 'issued_at': 'now'}}, [], 'no'):
        peers.keystone.fault = lambda document=document: (201, {'X-Subject-Token': 'x'}, document)
        with pytest.raises(ErrorBase, match='no token|not JSON'):
            peers.connect()
    peers.keystone.fault = lambda: (201, {}, {'token': {}})
    with pytest.raises(ErrorBase, match='X-Subject-Token is missing'):
        peers.connect()


def test_a_hundred_greenlets_cause_one_request_for_a_token(with_keystone: Any) -> None:
    """Those that meet a token that is refused all go on with the same new one."""
    peers = with_keystone()
    client = peers.client(max_concurrency=100)
    assert peers.posts() == 1
    peers.keystone.revoke()
    done = gevent.joinall([gevent.spawn(client.ping) for _ in range(100)], timeout=30, raise_error=True)
    assert [each.value for each in done] == [True] * 100
    assert peers.posts() == 2


def test_a_token_is_renewed_before_it_expires(with_keystone: Any) -> None:
    """When a tenth of its life is left, at least a second: no request is refused."""
    peers = with_keystone(1.6)
    client = peers.client()
    first, end = client.conn.token, datetime.now(timezone.utc) + timedelta(seconds=3)
    while datetime.now(timezone.utc) < end:
        client.ping()
        gevent.sleep(0.05)
    assert client.conn.token != first
    assert peers.keystone.refused == 0
    assert 3 <= peers.posts() <= 8
    assert client.conn.expires is not None and client.conn.expires > datetime.now(timezone.utc)


def test_the_token_is_set_when_a_request_is_sent(with_keystone: Any) -> None:
    """One that waits for its turn while the token is renewed goes out with the new one."""
    peers = with_keystone()
    client = peers.client(max_concurrency=1)
    gate = kit.Gate()
    peers.server.gate = gate
    first, old = gevent.spawn(client.ping), client.conn.token
    gate.wait_for(1)
    second = gevent.spawn(client.ping)
    kit.turn()
    tokens = client.conn._authenticator
    tokens.renewed(tokens.current)
    gate.open()
    gevent.joinall([first, second], timeout=20, raise_error=True)
    assert [request.headers['x-auth-token'] == old for request in peers.server.requests[-2:]] == [True, False]


def test_ctrl_c_while_a_token_is_renewed(with_keystone: Any) -> None:
    """It is the main greenlet's, and only once, however many wait for the token; these are cancelled."""

    class Interrupted:
        """Somebody presses Ctrl-C just then."""

        def body(self) -> Any:
            """What Keystone is to be asked."""
            raise KeyboardInterrupt

    tokens = with_keystone().client().conn._authenticator
    credential, tokens._credential = tokens._credential, Interrupted()
    waiting = [gevent.spawn(pytest.raises, Cancelled, tokens.renewed, tokens.current) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        kit.wait_until(lambda: False)
    gevent.joinall(waiting, timeout=20, raise_error=True)
    tokens._credential = credential
    assert tokens.renewed(tokens.current) is tokens.current


def test_who_is_refused_again_gets_the_error(with_keystone: Any) -> None:
    """A new token is got once; when that is refused too, that is the outcome, and other statuses are not asked again."""
    peers = with_keystone()
    client = peers.client()
    peers.fault = lambda *_: UNAUTHORIZED
    with pytest.raises(Unauthorized):
        client.ping()
    assert peers.posts() == 2
    peers.fault = lambda *_: (403, {}, {'title': 'No'})
    with pytest.raises(Forbidden):
        client.ping()
    assert peers.posts() == 2


def test_a_token_made_from_a_token_is_not_renewed_before(with_keystone: Any) -> None:
    """As it would live no longer; when it is refused it is tried once, and Keystone's words are the outcome."""
    peers = with_keystone(3.0)
    given = peers.connect(version=2).token
    client = peers.client(token=given)
    gevent.sleep(2.2)
    assert client.ping() and peers.posts() == 2
    peers.keystone.revoke()
    with pytest.raises(Unauthorized) as caught:
        client.ping()
    assert caught.value.chain[0].remote_call.endswith('/v3/auth/tokens')


def test_while_keystone_is_away_the_token_is_used_to_its_end(with_keystone: Any, caplog: Any) -> None:
    """A renewal that fails is told in the log; when the token is over, it is the outcome."""
    peers = with_keystone(2.5)
    client = peers.client()
    peers.keystone.fault = lambda: (503, {}, {'error': {'code': 503, 'title': 'Away', 'message': 'Later.'}})
    gevent.sleep(1.6)
    with caplog.at_level(logging.WARNING, 'napixclient.marconi'):
        assert client.ping()
    assert 'could not be renewed yet' in caplog.text and str(client.conn.token) not in caplog.text
    gevent.sleep(1.2)
    with pytest.raises(ServiceUnavailable, match='Away(?s:.*)Later'):
        client.ping()
    peers.keystone.fault = lambda: None
    assert client.ping()


def test_who_waits_for_a_token_may_be_killed(with_keystone: Any) -> None:
    """Others who wait for the same one get it all the same."""
    peers = with_keystone()
    client = peers.client()
    gate = kit.Gate()
    peers.identity.gate = gate
    peers.keystone.revoke()
    first, second = gevent.spawn(client.ping), gevent.spawn(client.ping)
    gate.wait_for(1)
    first.kill()
    gate.open()
    assert second.get(timeout=20) is True and peers.posts() == 2
    assert isinstance(first.value, gevent.GreenletExit)


def test_no_secret_is_shown(with_keystone: Any, caplog: Any) -> None:
    """Neither in a repr, nor in the log, nor in an error that echoes what was sent."""
    peers = with_keystone()
    with caplog.at_level(logging.DEBUG):
        conn = peers.connect('demo', password='demopw')
        client = Client(conn)
        peers.fault = lambda method, target, headers, body: (
            400,
            {},
            {'title': 'Bad', 'description': f'You sent {headers["x-auth-token"]}'},
        )
        with pytest.raises(ErrorBase) as caught:
            client.ping()
    token = str(conn.token)
    shown = [
        repr(conn),
        repr(conn.headers),
        repr(client),
        str(caught.value),
        repr(caught.value),
        caplog.text,
        repr(conn._authenticator),
        repr(conn._authenticator.current),
        caught.value.description,
        repr(conn._authenticator._credential),
    ]
    assert not [text for text in shown if token in text or 'demopw' in text]
    assert conn.headers['x-auth-token'] == token


def test_a_given_token_is_sent_as_it_is(with_keystone: Any) -> None:
    """Without auth_url there is nobody to ask for another one."""
    peers = with_keystone()
    token = peers.connect().token
    conn = Connection(token=token, endpoint=peers.server.url, version=2)
    assert Client(conn).ping() and conn.token == token and conn.expires is None
    assert token not in repr(conn._authenticator)
    peers.keystone.revoke()
    with pytest.raises(Unauthorized):
        Client(conn).ping()
    conn.close()


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('status', 'name'),
    [
        (400, 'MalformedRequest'),
        (401, 'Unauthorized'),
        (403, 'Forbidden'),
        (404, 'NotFound'),
        (405, 'MethodNotAllowed'),
        (406, 'MalformedRequest'),
        (409, 'Conflict'),
        (413, 'MalformedRequest'),
        (418, 'ErrorBase'),
        (429, 'TooManyRequests'),
        (500, 'ServerError'),
        (502, 'ServiceUnavailable'),
        (503, 'ServiceUnavailable'),
        (504, 'ServiceUnavailable'),
        (507, 'ServerError'),
        (302, 'ErrorBase'),
    ],
)
def test_no_error_passes_as_success(status: int, name: str, zaqar: Peers) -> None:
    """Each status has its class, with a document of the server's or an empty body."""
    client = zaqar.client(version=1)
    for document, title, description in (({'title': 'What', 'description': 'Why.'}, 'What', 'Why.'), (b'', None, '')):
        zaqar.fault = lambda *_, document=document: (status, {}, document)
        with pytest.raises(ErrorBase) as caught:
            client.ping()
        error = caught.value
        assert (type(error).__name__, error.code, error.description) == (name, status, description)
        assert error.title and (title is None or error.title == title)
        assert isinstance(error, (rest.ClientError, HTTPError)) and len(error.chain) == 1


def test_an_error_made_by_hand(tidy: None) -> None:
    """It prints as the seed has it."""
    assert str(ErrorBase('a title', 1092, 'A description.')) == 'ErrorBase (1092): a title\nA description.'
    error = ErrorBase()
    assert (error.title, error.description, error.code, error.chain) == ('', '', 0, [])
    assert str(ErrorBase('short', 404)) == 'ErrorBase (404): short'


def test_nobody_there_is_an_error_of_ours(zaqar: Peers) -> None:
    """Refused, broken off, or silent: code 0, raised from the core's error."""
    client = zaqar.client(version=1, timeout=0.5)
    zaqar.fault = lambda *_: gevent.sleep(2)
    with pytest.raises(NoAnswer) as caught:
        client.ping()
    assert caught.value.code == 0 and type(caught.value.__cause__).__name__ == 'DeadlineExceeded'
    with kit.Mute(listening=False) as dead, pytest.raises(NoAnswer) as caught:
        Connection(endpoint=dead.url)
    assert type(caught.value.__cause__).__name__ == 'RefusedError'


@pytest.mark.parametrize(
    'document',
    [
        [],
        7,
        {'messages': 7},
        {'messages': [{}]},
        {'messages': [None]},
        b'<html>',
        {'messages': [{'href': 7, 'ttl': 1, 'age': 1, 'body': 1}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_of_ours(document: Any, zaqar: Peers) -> None:
    """Whatever is sent instead of what the API has."""
    client = zaqar.client(version=2)
    queue = client.queue(a_name())
    zaqar.fault = lambda *_: (200, {'Content-Type': 'application/json'}, document)
    for call in (
        lambda: list(queue.messages()),
        lambda: queue.claim(1),
        lambda: queue.stats,
        lambda: list(client.queues()),
        lambda: queue.pop(),
        lambda: queue.share(),
        lambda: list(queue.subscriptions()),
        lambda: queue.post_messages({'body': 1}),
        lambda: queue.metadata,
    ):
        try:
            found = call()
        except ErrorBase:
            continue
        assert not found or (found == document and isinstance(found, dict))


def test_raw_requests_raise_as_well(zaqar: Peers) -> None:
    """`request` raises for 400 and above as well."""
    with pytest.raises(NotFound):
        zaqar.connect(version=2).request('GET', 'nothing')
    zaqar.fault = lambda *_: (500, {}, b'')
    with pytest.raises(ServerError):
        zaqar.connect(version=2).request('GET', '/queues')


def test_sigterm_is_for_the_main_thread() -> None:
    """Elsewhere it is refused before anything is done."""
    raised: list[BaseException] = []

    def elsewhere() -> None:
        from napixclient.marconi.terminating import attend

        try:
            attend(object(), lambda: None)
        except ValueError as exc:
            raised.append(exc)

    thread = threading.Thread(target=elsewhere)
    if not kit.is_patched():
        thread.start()
        thread.join()
        assert 'main thread' in str(raised[0])


def test_keystone_of_the_tests() -> None:
    """Knows what it gave out only."""
    assert not Keystone().knows({'x-auth-token': 'another'})
