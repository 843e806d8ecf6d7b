"""The engine where nobody looks: early answers, parked dials, idle connections, deadlines by the thousand."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from napixclient import Client, ClientPool, ConnectError, Request, Response
from tests.kit import ANSWER, CLOSE, FIN, LATER, LONG, READ, SILENCE, FaultServer, FullServer, Gate, serve, wait_until

pytestmark = pytest.mark.usefixtures('tidy')

TOO_LARGE = b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!'


def test_early_answer() -> None:
    """A server may answer, and leave, before it has read the request: what it said is the outcome."""
    with FaultServer([TOO_LARGE, CLOSE]) as server, ClientPool(timeout=10) as pool:
        pool.request(server.host, 'POST', '/000001', b'x' * 30_000_000)
        (outcome,) = pool.wait()
        assert outcome.status == 413
        assert outcome.remote_error == '"413 Content Too Large" no!'


def test_server_that_leaves_while_it_is_written_to() -> None:
    """A server that leaves without a word while it is written to fails the request, and no other."""
    with FaultServer([CLOSE]) as server, ClientPool(timeout=10) as pool:
        pool.request(server.host, 'POST', '/000001', b'x' * 30_000_000)
        (outcome,) = pool.wait()
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


def test_more_dials_than_are_made_at_once() -> None:
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
    with serve() as server, ClientPool(idle_seconds=0.1, max_connections=8) as pool:
        pool.request(server.host, 'GET', '/000001').get()
        (connection,) = pool._core.slots.idle
        assert repr(connection) == '<Connection idle, 1 served>'
        wait_until(lambda: connection.closed)
        assert repr(connection) == '<Connection closed, 1 served>'
        wait_until(lambda: pool.stats() == {})
        assert repr(pool).endswith(' 0 of 8 connections>')
        assert pool.request(server.host, 'GET', '/000002').get().status == 200


@pytest.mark.parametrize('seconds', [5e-324, 1e-9, 1e-4])
def test_no_time_to_be_idle(seconds: float) -> None:
    """However short the time is for which connections are kept, they are closed, and the loop is left to others."""
    going, looks = Event(), 0

    def answer(_: str, path: str, *__: Any) -> tuple[int, dict[str, str], str]:
        if path == '/000002':
            going.wait()
        return 200, {}, ''

    def look() -> bool:
        nonlocal looks
        looks += 1
        return True

    with serve(answer) as server, ClientPool(idle_seconds=seconds) as pool:
        pool._core.reapers.append(look)
        pending = pool.request(server.host, 'GET', '/000002')
        pool.request(server.host, 'GET', '/000001').get()
        wait_until(lambda: len(server.peers) == 1)
        looks, began = 0, time.monotonic()
        gevent.sleep(0.1)
        assert looks <= 200 * (time.monotonic() - began) + 2  # it may have begun half-way
        going.set()
        assert pending.get().status == 200


def test_cap_recovers() -> None:
    """The cap is lowered to what the process could open, and grows again by and by."""
    with serve(gate=Gate()) as server, ClientPool(max_connections=8, simultaneous=4) as pool:
        slots = pool._core.slots
        assert not slots.make_room()  # there is nothing to give back
        for number in range(4):
            pool.request(server.host, 'GET', f'/{number:06}')
        server.gate.wait_for(4)
        assert slots.make_room()
        assert slots.cap == 3
        pool._core.reap()
        assert slots.cap == 6
        pool._core.reap()
        assert slots.cap == 8
        server.gate.open()
        assert all(isinstance(outcome, Response) for outcome in pool.wait(timeout=10))


def test_deadlines_of_the_past_are_forgotten() -> None:
    """Requests that are done leave no trace among the deadlines, however far these are."""
    with serve() as server, ClientPool(timeout=3600) as pool:
        for outcome in pool.stream((server.host, 'GET', f'/{number:06}') for number in range(4000)):
            assert outcome.status == 200
        assert pool._core.clock.watched <= 2 * pool._core.slots.limit + 1024


# Ends of many --------------------------------------------------------------------------------------------------------


def end_of_wait(pool: ClientPool, asked: list[Any]) -> None:
    """The time of a wait is up."""
    pool.wait(timeout=0.05)


def end_of_loop(pool: ClientPool, asked: list[Any]) -> None:
    """A loop over the outcomes is left."""
    outcomes = pool.wait_unordered(timeout=0.05)
    next(outcomes)
    outcomes.close()


def cancelled_one_by_one(pool: ClientPool, asked: list[Any]) -> None:
    """Each is cancelled, those in flight first."""
    for pending in asked:
        pending.cancel()
    pool.wait()


@pytest.mark.parametrize('end', [end_of_wait, end_of_loop, cancelled_one_by_one])
def test_what_ends_makes_no_room_for_what_ends_with_it(end: Any) -> None:
    """When thousands end together, no connection is opened for those in the queue on the way."""
    with serve(gate=Gate()) as server, ClientPool() as pool:
        asked = [pool.request(server.host, 'GET', '/000001') for _ in range(1000)]
        server.gate.wait_for(2)
        end(pool, asked)
        server.gate.open()
        assert pool.request(server.host, 'GET', '/000002').get(timeout=5).status == 200
        assert server.accepted <= 5


def test_hosts_that_end_make_no_room_for_hosts_that_end_with_them() -> None:
    """Nor where the hosts take turns for the slots of the pool."""

    def resolver(host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port))]

    with serve(gate=Gate()) as server, ClientPool(max_connections=2, resolver=resolver) as pool:
        for number in range(100):
            pool.request(f'host{number}.example:{server.port}', 'GET', '/000001')
        server.gate.wait_for(2)
        pool.wait(timeout=0.05)
        server.gate.open()
        assert pool.request(server.host, 'GET', '/000002').get(timeout=5).status == 200
        assert server.accepted <= 5


def test_connections_that_fail_at_once() -> None:
    """Thousands that cannot even be begun fail one after another, not one within the other."""
    with serve(gate=Gate()) as server, ClientPool(max_connections=1) as pool:
        pool.request(server.host, 'GET', '/000001')
        server.gate.wait_for(1)
        for _ in range(2000):
            pool.request('255.255.255.255', 'GET', '/')  # no machine has that address
        server.gate.open()
        first, *others = pool.wait(timeout=20)
        assert first.status == 200 and len(others) == 2000
        assert all(isinstance(outcome, ConnectError) for outcome in others)


def test_the_time_to_wait_is_not_that_of_long_ago() -> None:
    """Whoever computes for a while before it waits has the whole time to wait."""
    with serve(gate=Gate()) as server, ClientPool() as pool:
        pool.request(server.host, 'GET', '/000001')
        pool.wait(timeout=0.01)  # the loop has been left by one of its timers
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            pass
        pending = pool.request(server.host, 'GET', '/000002')
        gevent.spawn_later(0.02, server.gate.open)
        (outcome,) = pool.wait(timeout=0.75)
        assert outcome is pending.value


def test_thousands_that_fail_at_once() -> None:
    """Connections that were parked and fail as soon as they begin are opened one after the other, however many."""
    with FullServer() as full, ClientPool(simultaneous=2000, max_connections=2000) as pool:
        opening = [pool.request(f'127.0.0.1:{full.port}', 'GET', '/') for _ in range(100)]
        gevent.sleep(0)
        # Nothing is sent to that address: a stream cannot be broadcast.
        parked = [pool.request('255.255.255.255:80', 'GET', '/') for _ in range(1500)]
        gevent.sleep(0)
        assert not any(pending.ready() for pending in parked)
        opening[0].cancel()
        gevent.wait(parked, timeout=LONG)
        assert {type(pending.exception) for pending in parked} == {ConnectError}
