"""The engine where nobody looks: early answers, parked openings, idle connections, deadlines by the thousand."""
from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from napixclient import Client, ClientPool, Request, Response
from tests.kit import ANSWER, CLOSE, FIN, LATER, READ, SILENCE, FaultServer, Gate, serve, wait_until

pytestmark = pytest.mark.usefixtures('tidy')

TOO_LARGE = b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!'


def test_early_answer() -> None:
    """A server may answer, and leave, before it has read the request: what it said is the outcome."""
    with FaultServer([TOO_LARGE, CLOSE]) as server, ClientPool(timeout=10) as pool:
        pool.request(server.host, 'POST', '/000001', b'x' * 30_000_000)
        outcome, = pool.wait()
        assert outcome.status == 413
        assert outcome.remote_error == '"413 Content Too Large" no!'


def test_server_that_leaves_while_it_is_written_to() -> None:
    """A server that leaves without a word while it is written to fails the request, and no other."""
    with FaultServer([CLOSE]) as server, ClientPool(timeout=10) as pool:
        pool.request(server.host, 'POST', '/000001', b'x' * 30_000_000)
        outcome, = pool.wait()
        assert outcome.status is None
        assert pool.request(server.host, 'GET', '/000002').get().status == 200


def test_connection_that_ends_while_an_authenticator_runs() -> None:
    """Nothing was sent yet, so a connection that ends meanwhile is replaced, also for a POST."""
    asked, go = Event(), Event()

    def slowly(request: Request) -> Request:
        asked.set()
        go.wait(5)
        return request

    with FaultServer([READ, ANSWER, LATER, FIN, SILENCE]) as server, Client(server.host, slowly) as client:
        go.set()
        client.request('GET', '/000001')
        asked.clear()
        go.clear()
        pending = client.submit('POST', '/000002', {'id': '000002'})
        asked.wait(5)
        server.later.set()
        wait_until(lambda: server.accepted == 2, 'a fresh connection')
        go.set()
        assert pending.get(timeout=5).status == 200
        assert pending.get().attempts == 1


def test_cancelled_while_an_authenticator_runs() -> None:
    """The slot is free at once, whatever the authenticator is doing."""
    def never(request: Request) -> None:
        if request.url == '/000001':
            Event().wait()

    with serve() as server, Client(server.host, never, simultaneous=1) as client:
        stuck = client.submit('GET', '/000001')
        wait_until(lambda: client.stats()['in_flight'] == 1)
        stuck.cancel()
        assert client.request('GET', '/000002', timeout=5).status == 200


def test_more_openings_than_are_made_at_once() -> None:
    """At most a hundred connections are being opened at once; the others wait, and are opened then."""
    waiting, go = 0, Event()

    def resolver(host: str, port: int) -> list[Any]:
        nonlocal waiting
        waiting += 1
        go.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port))]

    with serve() as server, ClientPool(resolver=resolver) as pool:
        for number in range(130):
            pool.request(f'host{number}.example:{server.port}', 'GET', f'/{number:06}')
        wait_until(lambda: waiting == 100)
        gevent.sleep(0.01)
        assert waiting == 100
        assert pool.stats()[f'host129.example:{server.port}']['queued'] == 1
        dropped = pool.request(f'other.example:{server.port}', 'GET', '/000200')
        dropped.cancel()
        go.set()
        assert [outcome.status for outcome in pool.wait(timeout=10)] == [200] * 130 + [None]


def test_idle_connections_are_closed_after_a_while() -> None:
    """What has been idle for long is closed, and a host that has been is forgotten."""
    with serve() as server, ClientPool() as pool:
        pool.request(server.host, 'GET', '/000001').get()
        engine = pool._engine
        connection, = engine.idle
        assert repr(connection) == '<Connection idle, 1 served>'
        engine.reap()
        assert not connection.closed                        # not yet
        engine.idle[connection] -= 3600
        pool._clients[next(iter(pool._clients))]._used -= 3600
        engine.reap()
        assert connection.closed and engine.places == 0
        assert repr(connection) == '<Connection closed, 1 served>'
        assert pool.stats() == {}
        assert pool.request(server.host, 'GET', '/000002').get().status == 200


def test_cap_recovers() -> None:
    """The cap is lowered to what the process could open, and grows again by and by."""
    with serve(gate=Gate()) as server, ClientPool(max_connections=8, simultaneous=4) as pool:
        engine = pool._engine
        assert not engine.lower_cap()                       # there is nothing to give back
        for number in range(4):
            pool.request(server.host, 'GET', f'/{number:06}')
        server.gate.wait_for(4)
        assert engine.lower_cap()
        assert engine.cap == 3
        engine.reap()
        assert engine.cap == 6
        engine.reap()
        assert engine.cap == 8
        server.gate.open()
        assert all(isinstance(outcome, Response) for outcome in pool.wait(timeout=10))


def test_deadlines_of_the_past_are_forgotten() -> None:
    """Requests that are done leave no trace among the deadlines, however far these are."""
    with serve() as server, ClientPool(timeout=3600) as pool:
        for outcome in pool.stream((server.host, 'GET', f'/{number:06}') for number in range(4000)):
            assert outcome.status == 200
        assert len(pool._engine._deadlines) <= 2 * pool._engine.max_connections + 1024
