"""What goes wrong with a cluster is one clear error at the caller, and nothing is lost."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from math import isinf
from typing import Any

import gevent
import pytest
from urllib3 import Retry

from napixclient import Cancelled, ConnectError, DeadlineExceeded, HTTPError, Interrupted, Request, Response, Timeout
from napixclient.authenticators import Digest, NetrcAuth, OAuth2ClientCredentials, TokenIdentifier
from napixclient.cluster import ClusterError, ClusterPool
from napixclient.cluster.broker import Broker
from napixclient.cluster.keys import new_key
from napixclient.cluster.lanes import Zone
from napixclient.cluster.publisher import Publishable, Publisher
from tests import kit
from tests.cluster.broker import RabbitMQ, free_port
from tests.cluster.kit import Cluster, until
from tests.helpers_digest import ME, Guard
from tests.helpers_proxy import connected
from tests.kit import STRETCH, serve


def pool_of(cluster: Cluster, **more: Any) -> ClusterPool:
    """A pool of this cluster."""
    return ClusterPool(cluster.broker.url, **cluster.options(timeout=30, **more))


def refusal(pool: ClusterPool, host: str = '127.0.0.1:9', count: int = 5) -> str:
    """The text of the one error that requests end with; they are there in the next wait."""
    for number in range(count):
        pool.request(host, 'GET', f'/{number}')
    with pytest.raises(ClusterError) as caught:
        pool.wait()
    assert len(caught.value.requests) == count
    outcomes = pool.wait()
    assert [outcome.request.url for outcome in outcomes] == [f'/{number}' for number in range(count)]
    assert {type(outcome) for outcome in outcomes} == {ClusterError}
    return str(caught.value)


def test_outcomes_are_those_of_a_pool(cluster: Cluster) -> None:
    """Outcomes have the caller's own request, status, attempts, elapsed, phase, chain and peer, and their worker."""
    servers = cluster.servers(2)
    worker = cluster.worker()
    request = Request(servers.hosts[0], 'GET', '/a', tag=object())
    with pool_of(cluster) as pool:
        [answer] = pool.stream([request])
        [lost] = pool.stream([(f'127.0.0.1:{free_port()}', 'GET', '/')])
        pending = pool.request(servers.hosts[1], 'POST', '/b', {'size': 1})
        assert pending.get().status == 200
        assert [outcome.status for outcome in pool] == [200]
        stats = pool.stats()[servers.hosts[0]]
    assert isinstance(answer, Response) and answer.request is request and answer.text == 'ok'
    assert answer.attempts == 1 and answer.elapsed > 0 and answer.headers['content-length'] == '2'
    assert isinstance(lost, ConnectError) and lost.phase == 'connect' and lost.status is None
    assert lost.chain[0].error_class == 'RefusedError' and type(lost).__name__ == 'RefusedError'
    assert lost.unprocessed is True
    for outcome in answer, lost:
        assert str(outcome.peer) == outcome.request.host and outcome.tried == (outcome.peer,)
    assert answer.worker == lost.worker and str(answer.worker).startswith('0/1@') and str(answer.worker) in worker.text
    assert (stats['done'], stats['queued'], stats['in_flight']) == (1, 0, 0)


def test_the_short_ways_are_those_of_a_pool(cluster: Cluster) -> None:
    """Verbs, whole URLs, other bodies, `map`, and a stream with a clock; what cannot travel is refused at once."""
    servers = cluster.servers(2)
    cluster.worker()
    with pool_of(cluster) as pool:
        assert pool.get(f'http://{servers.hosts[0]}/a#b').get().ok
        pool.post(servers.hosts[0], '/b', json='text')
        pool.put(servers.hosts[1], '/c', data={'d': 1})
        first, *answers = pool.wait()
        assert first.raise_for_status() is first and [answer.ok for answer in answers] == [True, True]
        assert first.as_dict()['body'] == 'ok'
        lost = f'127.0.0.1:{free_port()}'
        found = pool.map([servers.hosts[1], lost, servers.hosts[0], lost], 'get', '/e')
        assert {host: outcome.ok for host, outcome in found.items()} == {
            servers.hosts[1]: True,
            lost: False,
            servers.hosts[0]: True,
        }
        assert list(found) == [servers.hosts[1], lost, servers.hosts[0]] and pool.wait() == []
        for options, says in ({'retry_on': bool}, 'retry_on cannot travel'), ({'stream': True}, 'cannot travel'):
            with pytest.raises(ValueError, match=says):
                pool.get(servers.hosts[0], '/', **options)  # type: ignore[arg-type]
        assert pool.wait() == []
    with pytest.raises(ValueError, match='retry_on cannot travel'):
        pool_of(cluster, retry_on=bool)


def test_a_stream_ends_when_its_time_is_up(cluster: Cluster) -> None:
    """What is under way comes out as a timeout, here for want of a worker; no more is pulled."""
    pulled = []

    def requests() -> Iterator[tuple[str, str, str]]:
        while True:
            pulled.append(len(pulled))
            yield '127.0.0.1:9', 'GET', '/'

    with pool_of(cluster) as pool:
        outcomes = list(pool.stream(requests(), window=5, timeout=1))
        assert len(outcomes) == len(pulled) == 5 and all(isinstance(outcome, Timeout) for outcome in outcomes)


def test_authenticator_signs_at_the_worker(cluster: Cluster) -> None:
    """Login and key sign there, anew for each request."""
    servers = cluster.servers(1)
    cluster.worker()
    with ClusterPool(cluster.broker.url, {'login': 'root', 'key': 'toor'}, **cluster.options()) as pool:
        pool.request(servers.hosts[0], 'GET', '/a')
        pool.request(servers.hosts[0], 'GET', '/b')
        texts = [outcome.text for outcome in pool.wait() if isinstance(outcome, Response)]
    assert len(set(texts)) == 2 and all(text.startswith('login=root&nonce=') for text in texts)
    with ClusterPool(cluster.broker.url, **cluster.options()) as pool:
        for fields in {'Authorization': 'Own it'}, {'X-Other': 'y'}, None:
            pool.request(servers.hosts[0], 'GET', '/c', headers=fields)
        assert [outcome.text for outcome in pool.wait() if isinstance(outcome, Response)] == ['Own it', 'ok', 'ok']
    with ClusterPool(cluster.broker.url, TokenIdentifier('abc'), **cluster.options()) as pool:
        pool.request(servers.hosts[0], 'GET', '/d?a=b', headers={'Authorization': 'Own it'})
        assert [outcome.text for outcome in pool.wait() if isinstance(outcome, Response)] == ['Own it']
    assert servers.report()['last'] == '/d?a=b&token=abc'


def test_challenges_are_answered_at_the_worker(cluster: Cluster) -> None:
    """A digest travels: what is challenged is sent once more, as what is sent once only, and the nonce is used again."""
    guard = Guard(uses=20)
    cluster.worker()
    with serve(guard) as server, ClusterPool(cluster.broker.url, Digest(*ME), **cluster.options()) as pool:
        for _ in range(30):
            pool.request(server.host, 'POST', '/x', b'body')
        outcomes = pool.wait(20)
        assert [(outcome.status, outcome.attempts) for outcome in outcomes] == [(200, 1)] * 30
    assert guard.verdicts.count('right') == 30 and 'wrong' not in guard.verdicts
    guard = Guard()
    with serve(guard) as server, ClusterPool(cluster.broker.url, Digest('x', 'y'), **cluster.options()) as pool:
        pool.request(server.host, 'GET', '/x')
        assert [outcome.status for outcome in pool.wait(20)] == [401]
        assert guard.verdicts == ['unsigned', 'wrong']


def test_tokens_are_fetched_by_the_worker(cluster: Cluster) -> None:
    """Client credentials travel: the worker fetches one token for all, and another when it is refused."""
    fetched: list[str] = []
    accepted = {'1'}

    def tokens(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        fetched.append(path)
        return (200, {}, {'access_token': str(len(fetched))}) if path == '/token' else (403, {}, None)

    def service(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        return (200 if headers.get('authorization', '').removeprefix('Bearer ') in accepted else 401), {}, None

    cluster.worker()
    with serve(tokens) as issuer, serve(service) as server:
        me = OAuth2ClientCredentials(f'http://{issuer.host}/token', 'nemo', 'a long secret', scope='a')
        with ClusterPool(cluster.broker.url, me, **cluster.options()) as pool:
            for _ in range(20):
                pool.request(server.host, 'GET', '/')
            assert [outcome.status for outcome in pool.wait(20)] == [200] * 20 and fetched == ['/token']
            accepted.clear()
            accepted.add('2')
            for _ in range(20):
                pool.request(server.host, 'POST', '/', b'x')
            assert [outcome.status for outcome in pool.wait(20)] == [200] * 20 and fetched == ['/token'] * 2
        wrong = OAuth2ClientCredentials(f'http://{issuer.host}/none', 'nemo', 'a long secret')
        with ClusterPool(cluster.broker.url, wrong, **cluster.options()) as pool:
            for _ in range(20):
                pool.request(server.host, 'GET', '/')
            outcomes = pool.wait(20)
            assert all(isinstance(error, HTTPError) and error.phase == 'authenticate' for error in outcomes)
            assert '403' in str(outcomes[0]) and fetched.count('/none') == 1
    with kit.serve() as server:  # not among what the worker may ask
        there = OAuth2ClientCredentials(f'http://[::1]:{server.port}/token', 'nemo', 'a long secret')
        with ClusterPool(cluster.broker.url, there, **cluster.options()) as pool:
            pool.request(server.host, 'GET', '/')
            [outcome] = pool.wait(20)
            assert 'may not be asked' in str(outcome) and not server.requests


def test_redirect_to_another_lane(cluster: Cluster) -> None:
    """A redirect to another origin is followed by the worker of that origin's lane, without credentials."""
    servers = cluster.servers(8)
    cluster.workers(2)
    first = servers.hosts[0]
    with ClusterPool(cluster.broker.url, {'login': 'root', 'key': 'toor'}, redirect=True, **cluster.options()) as pool:
        for port in servers.ports:
            pool.request(first, 'GET', f'/to/{port}/there')
        answers = pool.wait(20)
    assert [answer.url for answer in answers if isinstance(answer, Response)] == [
        f'http://127.0.0.1:{port}/there' for port in servers.ports
    ]
    assert [answer.text for answer in answers[1:] if isinstance(answer, Response)] == ['ok'] * 7
    assert all(answer.request.host == first and answer.attempts == 1 for answer in answers)
    assert len({answer.worker for answer in answers}) == 2


def test_wrong_key(cluster: Cluster) -> None:
    """A worker without the key says so, by the key's id; so does one with another key of that id."""
    cluster.worker()
    key = new_key()
    with ClusterPool(cluster.broker.url, **{**cluster.options(timeout=20), 'key': key}) as pool:
        assert f'is sealed with the key {key.partition(":")[0]!r}, which is not among those here' in refusal(pool)
    same = f'{cluster.key.partition(":")[0]}:{key.partition(":")[2]}'
    with ClusterPool(cluster.broker.url, **{**cluster.options(timeout=20), 'key': same}) as pool:
        assert 'does not open a message' in refusal(pool)


def test_several_keys(cluster: Cluster) -> None:
    """The first key seals, and all of them open: so keys are changed while the cluster runs."""
    servers = cluster.servers(1)
    cluster.worker()
    with ClusterPool(cluster.broker.url, **{**cluster.options(), 'key': [cluster.key, new_key()]}) as pool:
        pool.request(servers.hosts[0], 'GET', '/')
        assert [outcome.status for outcome in pool.wait(20)] == [200]


def test_another_cap(cluster: Cluster) -> None:
    """A worker with another cap refuses, and the one error has both figures."""
    cluster.worker()
    with pool_of(cluster, simultaneous=5) as pool:
        text = refusal(pool)
    assert '2 requests at once' in text and 'to 5' in text


def test_a_refusal_that_nobody_waits_for(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that refuses a pool while it has nothing under way is no error; what comes later is asked for."""
    host = cluster.servers(1).hosts[0]
    cluster.worker()
    control, user = cluster.broker.control, cluster.zone
    url = cluster.broker.url.replace('guest:guest', f'{user}:secret')

    def allow() -> None:
        control('add_user', user, 'secret')
        control('set_permissions', user, '.*', '.*', '.*')

    allow()
    with ClusterPool(url, **cluster.options(timeout=30)) as pool, caplog.at_level(logging.INFO, 'napixclient.cluster'):
        assert [outcome.status for outcome in pool.stream([(host, 'GET', '/')])] == [200]
        control('delete_user', user)
        control('close_all_user_connections', user, 'it has gone')
        until(lambda: 'ACCESS_REFUSED' in caplog.text)
        allow()
        for _ in range(2):
            assert [outcome.status for outcome in pool.stream([(host, 'GET', '/')])] == [200]


def test_another_number_of_lanes(cluster: Cluster) -> None:
    """A pool with another number of lanes than the workers is told so at once."""
    cluster.worker()
    with ClusterPool(cluster.broker.url, **{**cluster.options(timeout=20), 'lanes': 5}) as pool:
        text = refusal(pool)
    assert '8 lanes' in text and 'has 5' in text


@pytest.mark.parametrize(
    ('url', 'text'),
    [
        ('amqp://guest:wrong@127.0.0.1:{port}//', 'refuses the login'),
        ('amqp://guest:guest@127.0.0.1:{port}/nowhere', 'no such virtual host'),
        ('amqp://guest:guest@127.0.0.1:{free}//', 'cannot be reached'),
        ('amqp://guest:guest@127.0.0.1:{silent}//', 'cannot be reached'),
    ],
)
def test_broker_that_refuses(cluster: Cluster, url: str, text: str) -> None:
    """A broker that refuses is one error within ten seconds of the first use, without the password."""
    silent = socket.create_server(('127.0.0.1', 0))
    where = url.format(port=cluster.broker.port, free=free_port(), silent=silent.getsockname()[1])
    began = time.monotonic()
    with silent, ClusterPool(where, **cluster.options(timeout=20, window=10, batch=5)) as pool:
        found = refusal(pool, count=30)  # what stands behind the window, too
        assert time.monotonic() - began < 15  # ten, on a machine that does nothing else
        with pytest.raises(ClusterError):  # once more, as it is tried anew
            list(pool.stream([('127.0.0.1:9', 'GET', '/')]))
    assert text in found and 'wrong' not in found


def test_worker_without_permission(cluster: Cluster) -> None:
    """A worker whose login may not do all that it has to says so in one line, and ends with 1."""
    cluster.broker.control('add_user', cluster.zone, 'secret')
    for rights in ('.*', '^$', '.*'), ('.*', '.*', '^$'):  # to configure, to write, to read
        cluster.broker.control('set_permissions', cluster.zone, *rights)
        cluster.url = cluster.broker.url.replace('guest:guest', f'{cluster.zone}:secret')
        worker = cluster.worker(ready=False)
        assert worker.wait() == 1, worker.text
        [line] = worker.lines
        assert f'does not permit {cluster.zone!r} to do this' in line, worker.text


def test_host_that_is_not_allowed(cluster: Cluster) -> None:
    """A host that no worker may ask is the outcome of its request, which names it and --allow."""
    servers = cluster.servers(1)
    cluster.worker(0, 1, '--allow', '10.0.0.0/8')
    with pool_of(cluster) as pool:
        pool.request(servers.hosts[0], 'GET', '/')
        [error] = pool.wait(20)
    assert isinstance(error, ConnectError) and '127.0.0.1' in str(error) and '--allow' in str(error)


def test_no_worker(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Without a worker requests end at their deadline; after five seconds one warning says why."""
    with pool_of(cluster) as pool, caplog.at_level(logging.WARNING, 'napixclient.cluster'):
        for number in range(20):
            pool.request(f'127.0.0.1:{1000 + number}', 'GET', '/', timeout=8)
        pool.request('127.0.0.1:9', 'POST', '/', timeout=8)
        outcomes = pool.wait()
    assert {type(outcome) for outcome in outcomes[:-1]} == {DeadlineExceeded}
    assert isinstance(outcomes[-1], Interrupted)
    assert len(caplog.records) == 1 and 'no worker has lane' in caplog.text


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_window(cluster: Cluster, method: str) -> None:
    """No more requests than the window are with the broker and the workers at once; the others follow."""
    servers = cluster.servers(1, 0.05)
    with pool_of(cluster, window=7) as pool:
        asked = [pool.request(servers.hosts[0], method, f'/{number}') for number in range(40)]
        until(lambda: pool.stats()[servers.hosts[0]]['in_flight'])
        assert [pool.stats()[servers.hosts[0]][state] for state in ('in_flight', 'queued')] == [7, 33]
        cluster.worker()
        while not all(one.ready() for one in asked):
            assert pool.stats()[servers.hosts[0]]['in_flight'] <= 7
            time.sleep(0.01)
        assert [outcome.status for outcome in pool.wait()] == [200] * 40
    assert servers.report()['different'] == servers.report()['seen'] == 40


def test_requests_linger_each_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked within some milliseconds travels together, not only the first time."""
    rounds, requests = 4, 6
    put, messages = Publisher.put, []

    def counted(publisher: Publisher, message: Publishable) -> None:
        messages.append(message)
        put(publisher, message)

    monkeypatch.setattr(Publisher, 'put', counted)
    with serve(lambda *_: (200, {}, b'')) as server, pool_of(cluster) as pool:
        cluster.worker()
        lots = []
        for _ in range(rounds):
            messages.clear()
            for _ in range(requests):
                pool.request(server.host, 'GET', '/')
                gevent.sleep(0.001)
            assert [outcome.status for outcome in pool.wait()] == [200] * requests
            lots.append(len(messages))
    assert min(lots) and sorted(lots)[rounds // 2] == 1, lots


def test_what_is_slow_holds_nothing_back(cluster: Cluster) -> None:
    """Answers are said while others of their batch take long, though many are said together."""
    slow = cluster.servers(1, 60).hosts[0]
    zone = Zone(cluster.zone, cluster.lanes)
    quick = next(host for host in cluster.servers(60).hosts if zone.lane_of(host) == zone.lane_of(slow))
    cluster.worker()
    with pool_of(cluster) as pool:
        for number in range(40):
            pool.request(quick if number in (0, 13, 39) else slow, 'GET', f'/{number}')
        assert {outcome.request.host for outcome in pool.wait_unordered(3, 25)} == {quick}


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_cancel_publishes_nothing(cluster: Cluster, method: str) -> None:
    """What stands behind the window when all is cancelled is never sent."""
    slow, quick = cluster.servers(1, 60).hosts[0], cluster.servers(60)
    zone = Zone(cluster.zone, cluster.lanes)
    host = next(host for host in quick.hosts if zone.lane_of(host) == zone.lane_of(slow))
    cluster.worker()
    with pool_of(cluster, window=20) as pool:
        for number in range(60):
            pool.request(slow if number < 20 else host, method, f'/{number}')
        until(lambda: pool.stats()[slow]['in_flight'] == 20)
        pool.cancel()
        assert {type(outcome) for outcome in pool.wait()} == {Cancelled}
        pool.request(host, 'GET', '/last')  # of the same lane: it comes behind what was published
        assert [outcome.status for outcome in pool.wait(25)] == [200]
    assert quick.report()['seen'] == 1


def test_a_batch_that_comes_twice(cluster: Cluster) -> None:
    """A batch whose confirm is lost is published again: the worker has it twice at once, and bears that."""
    servers = cluster.servers(1, 2)
    worker = cluster.worker()
    with Between(cluster.broker.port) as between:
        url = cluster.broker.url.replace(str(cluster.broker.port), str(between.port))
        with ClusterPool(url, **cluster.options()) as pool:
            pool.map([servers.hosts[0]], 'GET', '/first')
            between.keeps = 'back'
            for number in range(4):
                pool.request(servers.hosts[0], 'GET', f'/{number}', timeout=600)
            until(lambda: servers.report()['seen'] > 1)
            between.cut()
            assert [outcome.status for outcome in pool.wait(50)] == [200] * 4
            assert [outcome.status for outcome in pool.map([servers.hosts[0]], 'GET', '/last').values()] == [200]
    connection = Broker(cluster.broker.url).connect()
    dead = f'napix.{cluster.zone}.{cluster.lanes}.dead'
    assert connection.channel().queue_declare(dead, passive=True)[1] == 0
    connection.release()
    assert 'Traceback' not in worker.text


class Between(kit.Server):
    """Stands between a pool and the broker, and keeps to itself what goes one way, when it is told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[Any] = []
        self.keeps = ''
        self.kept = b''
        super().__init__()

    def talk(self, peer: kit.Peer) -> None:
        """Pass everything on, or nothing."""
        with connected(self._port) as onward:
            self._open += [peer.socket, onward]
            back = gevent.spawn(self._pass_on, 'back', onward, peer.socket)
            try:
                self._pass_on('there', peer.socket, onward)
            finally:
                back.kill()

    def _pass_on(self, way: str, source: Any, target: Any) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.keeps == way:
                    self.kept += data
                else:
                    target.sendall(data)

    def cut(self) -> None:
        """End all connections; those to come are passed on."""
        self.keeps = ''
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize('way', ['there', 'back'])
def test_a_confirm_that_is_lost(cluster: Cluster, way: str) -> None:
    """A POST whose confirm was lost is not sent again; it ends as soon as it is clear whether a worker has it.

    It was lost with the connection, or only its confirm was: then its outcome comes.
    """
    servers = cluster.servers(1, 2)
    cluster.worker()
    with Between(cluster.broker.port) as between:
        url = cluster.broker.url.replace(str(cluster.broker.port), str(between.port))
        with ClusterPool(url, **cluster.options()) as pool:
            [first] = pool.map([servers.hosts[0]], 'GET', '/first').values()
            assert first.status == 200
            between.keeps = way
            pool.request(servers.hosts[0], 'POST', '/once', timeout=600)
            until(lambda: b'fan_out' in between.kept if way == 'there' else '/once' in servers.report()['last'])
            between.cut()
            [outcome] = pool.wait(50)
    if way == 'there':
        assert isinstance(outcome, Interrupted) and 'lost before it had confirmed' in str(outcome)
    else:
        assert outcome.status == 200
    assert servers.report()['seen'] == (1 if way == 'there' else 2)


def test_cancel(cluster: Cluster) -> None:
    """cancel() ends all at once, and workers stop asking."""
    servers = cluster.servers(2, 0.2)
    cluster.worker()
    with pool_of(cluster) as pool:
        for number in range(400):
            pool.request(servers.hosts[number % 2], 'GET', f'/{number}')
        until(lambda: servers.report()['seen'])
        pool.cancel()
        assert {type(outcome) for outcome in pool.wait(5)} == {Cancelled}
        seen = servers.report()['seen']
        pool.request(servers.hosts[0], 'GET', '/after')
        assert [outcome.status for outcome in pool.wait(20)] == [200]
        assert servers.report()['seen'] < 400 and servers.report()['seen'] - seen < 100


def test_runs_of_the_same_name(cluster: Cluster) -> None:
    """Several runs may have the same name, at once and after each other: each has its own outcomes."""
    servers = cluster.servers(1, 0.1)
    cluster.worker()
    with pool_of(cluster, run='same', headers={'Authorization': 'first'}) as first:
        for _ in range(20):
            first.request(servers.hosts[0], 'GET', '/')
        for ends in True, False:
            with pool_of(cluster, run='same', headers={'Authorization': 'second'}) as second:
                for _ in range(5):
                    second.request(servers.hosts[0], 'GET', '/')
                if ends:
                    until(lambda: servers.report()['seen'])
                else:
                    assert [outcome.text for outcome in second.wait() if isinstance(outcome, Response)] == [
                        'second'
                    ] * 5
        assert [outcome.text for outcome in first.wait() if isinstance(outcome, Response)] == ['first'] * 20


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_a_loop_that_is_left(cluster: Cluster, method: str) -> None:
    """Leaving a loop or a stream drops what workers have not sent; what is in flight ends, and others are asked."""
    servers = cluster.servers(1, 0.1)
    cluster.worker()
    with pool_of(cluster) as pool:
        stream = pool.stream((servers.hosts[0], method, f'/a{number}') for number in range(400))
        assert next(stream).status == 200
        stream.close()  # type: ignore[attr-defined]
        pool.request(servers.hosts[0], method, '/b')
        assert [outcome.status for outcome in pool.wait()] == [200]
        asked = [pool.request(servers.hosts[0], method, f'/c{number}') for number in range(400)]
        assert [outcome.status for outcome in pool.wait_unordered(3)] == [200] * 3
        until(lambda: pool.stats()[servers.hosts[0]]['in_flight'] == 0)
        stats, report = pool.stats()[servers.hosts[0]], servers.report()
    assert {type(one.exception) for one in asked if not one.successful()} == {Cancelled}
    assert stats['done'] + stats['failed'] == 801
    assert (report['seen'], report['different']) == (stats['done'], stats['done'])  # none was cut off
    assert report['seen'] < 400


def test_broker_shows_no_secret(cluster: Cluster) -> None:
    """Nothing of a request is in plain in the queues, neither in bodies nor in headers."""
    connection = Broker(cluster.broker.url).connect()
    with ClusterPool(
        cluster.broker.url, {'login': 'secret-login', 'key': 'secret-key'}, **cluster.options(timeout=20)
    ) as pool:
        pool.request('secret-host.example', 'POST', '/secret-path', {'secret': 'secret-body'}, {'X-Secret': 'secret'})
        channel = connection.channel()
        queues = [f'napix.{cluster.zone}.{cluster.lanes}.{lane}' for lane in range(cluster.lanes)]

        def found() -> list[Any]:
            held = []
            for queue in queues:
                channel = connection.channel()
                try:
                    if channel.queue_declare(queue, passive=True)[1]:
                        channel.basic_consume(queue, callback=held.append)
                        while not held:
                            connection.drain_events(timeout=10)
                except connection.channel_errors:
                    pass
            return held

        [message] = until(found)
        shown = repr((bytes(message.body), message.properties, message.headers, message.delivery_info))
        pool.cancel()
        channel.close()
    connection.release()
    assert 'secret' not in shown and message.properties['reply_to'].startswith('napix.reply.')
    assert cluster.key.partition(':')[0] in shown  # the key's id is no secret


def test_too_large_for_the_broker(tmp_path: Any) -> None:
    """What is larger than the broker takes is told: a batch as the one error, an answer as its outcome."""
    node = RabbitMQ('max_message_size = 200000')
    cluster = Cluster(node, tmp_path)
    try:
        node.start()
        servers = cluster.servers(1)
        cluster.worker()
        with pool_of(cluster) as pool:
            pool.request(servers.hosts[0], 'POST', '/large', b'x' * 300_000)
            pool.request(servers.hosts[0], 'GET', '/small')
            pool.request(servers.hosts[0], 'GET', '/large/300000')
            with pytest.raises(ClusterError, match='larger than the broker takes'):
                pool.wait(20)
            refused, small, large = pool.wait(20)
            assert type(refused) is ClusterError and small.status == 200
            assert 'larger than the broker takes' in str(large) and type(large).__name__ == 'BodyTooLarge'
    finally:
        cluster.close()
        node.close()


def test_status(cluster: Cluster) -> None:
    """The status tells lanes, workers and what makes no sense; it ends with 1 when a lane has no worker."""
    from tests.cli.programs import napix

    def look(*more: str) -> tuple[int, str]:
        done = napix(
            *('cluster', 'status', '--broker', cluster.broker.url, '--zone', cluster.zone, '--lanes', '8', *more)
        )
        return done.code, done.out

    cluster.worker(0, 2)
    code, text = look()
    assert code == 1 and 'no worker: lanes 1,3,5,7' in text
    cluster.worker(1, 2)
    code, text = look('--json')
    assert code == 0 and json.loads(text)['problems'] == [] and len(json.loads(text)['workers']) == 2
    cluster.worker(1, 3)
    code, text = look()
    assert code == 1 and 'differ in --of: 2, 3' in text


def test_construction() -> None:
    """What cannot travel, and what makes no sense, is refused at once."""
    key = new_key()
    url = 'amqp://guest:guest@127.0.0.1:1//'
    for options, text in [
        ({}, 'key is missing'),
        ({'key': 'x'}, 'id:base64'),
        ({'key': key, 'cookies': None}, 'cookies cannot travel'),
        ({'key': key, 'on_request': print}, 'on_request cannot travel'),
        ({'key': key, 'authenticator': lambda request: request}, "one of the library's own"),
        ({'key': key, 'authenticator': NetrcAuth(os.devnull)}, 'Digest or OAuth2ClientCredentials, not NetrcAuth'),
        ({'key': key, 'zone': 'a b'}, 'zone'),
        ({'key': key, 'simultaneous': 0}, 'simultaneous'),
    ]:
        with pytest.raises(ValueError, match=text):
            ClusterPool(url, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='amqp or amqps'):
        ClusterPool('redis://127.0.0.1/', key=key)
    with pytest.raises(TypeError, match='no option'):
        ClusterPool(url, key=key, timeuot=3)  # type: ignore[call-arg]
    with ClusterPool(url, key=key) as pool:
        for more, text in [({'stream': True}, 'stream'), ({'retries': type('R', (Retry,), {})(3)}, 'retries')]:
            with pytest.raises(ValueError, match=text):
                pool.request('a.example', 'GET', '/', **more)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match='iterable cannot travel'):
            pool.request('a.example', 'POST', '/', iter([b'a']))


def test_unknown_version(cluster: Cluster) -> None:
    """A worker that gets a message of a later version says so to the queue of the replies, in plain."""
    cluster.worker()
    connection = Broker(cluster.broker.url).connect()
    channel, held = connection.channel(), []
    reply = channel.queue_declare('', exclusive=True)[0]
    channel.basic_consume(reply, callback=held.append)
    headers = {'lang': 'py', 'task': 'napix.fan_out', 'id': 'run.1', 'argsrepr': '-', 'kwargsrepr': '-'}
    message = channel.prepare_message(
        b'\x02 of a later version',
        content_type='application/x-napix',
        content_encoding='binary',
        headers=headers,
        properties={'reply_to': reply, 'correlation_id': 'run.1'},
    )
    channel.basic_publish(message, '', f'napix.{cluster.zone}.{cluster.lanes}.0')
    while not held:
        connection.drain_events(timeout=20)
    assert b'has version 2, and this is version 1' in bytes(held[0].body)
    assert held[0].properties['correlation_id'] == 'run.1'
    connection.release()


def test_what_is_no_batch(cluster: Cluster) -> None:
    """A message that nobody can make sense of goes to the dead letters; it ends no worker, nor do words to all."""
    servers = cluster.servers(1)
    worker = cluster.worker()
    connection = Broker(cluster.broker.url).connect()
    channel = connection.channel()
    task, names = {'task': 'napix.fan_out'}, {'reply_to': 'napix.reply.run', 'correlation_id': 'run.1'}
    for headers, properties in (
        (task, {'reply_to': 'napix.reply.run'}),
        (task, {'correlation_id': 'run.1'}),
        ({'task': 'another'}, names),
        ({'task': ['several']}, names),
        ({**task, 'sent': 'x'}, names),
        ({**task, 'x-delivery-count': 'x'}, names),
        ({}, names),
    ):
        message = channel.prepare_message(
            b'x', content_type='application/x-napix', headers=headers, properties=properties
        )
        channel.basic_publish(message, '', f'napix.{cluster.zone}.{cluster.lanes}.0')
    words = {'method': 'napix_cancel', 'arguments': {'run': 'run', 'ranges': [[0, 9], [0]]}}
    for body in json.dumps(words), '{}', 'x':
        message = channel.prepare_message(body, content_type='application/json', content_encoding='utf-8')
        channel.basic_publish(message, 'napix.pidbox', '')
    until(lambda: channel.queue_declare(f'napix.{cluster.zone}.{cluster.lanes}.dead', passive=True)[1] == 7)
    connection.release()
    with pool_of(cluster) as pool:
        pool.request(servers.hosts[0], 'GET', '/')
        assert [outcome.status for outcome in pool.wait(20)] == [200]
    assert (
        not worker.ended
        and 'Traceback' not in worker.text
        and 'is no batch: it is no application/x-napix' in worker.text
    )


def test_poison(cluster: Cluster) -> None:
    """A batch with which each worker dies goes to the dead letters at last, and its caller is told."""
    servers = cluster.servers(1, 30)
    with pool_of(cluster) as pool:
        pending = pool.request(servers.hosts[0], 'GET', '/poison', timeout=100)
        for number in range(1, 9):
            worker = cluster.worker(ready=False)
            until(lambda number=number: pending.ready() or servers.report()['seen'] == number)  # type: ignore[misc]
            if pending.ready():
                break
            worker.send(signal.SIGKILL)
            worker.wait()
        with pytest.raises(ClusterError, match='each worker that had it is gone'):
            pool.wait(20)
    connection = Broker(cluster.broker.url).connect()
    dead = f'napix.{cluster.zone}.{cluster.lanes}.dead'
    until(lambda: connection.channel().queue_declare(dead, passive=True)[1] == 1)
    connection.release()


def test_memory_is_bounded(cluster: Cluster) -> None:
    """A stream of any length takes no more memory than its window, in the submitter."""
    servers = cluster.servers(40)
    cluster.workers(2)
    submitter = cluster.submitter('many', servers.hosts, 25_000, 'GET', options={'timeout': 100})
    result = submitter.result()
    assert result['once'] and result['kinds'] == {'200': 25_000}
    assert result['rss'] < (120 if isinf(STRETCH) else 80)  # what traces it takes memory, too
