"""What a run may send: lanes hand out what is recorded, a lease that is over holds everything back."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from napixclient import ClientPool, ProtocolError, Response
from napixclient.messages import Request
from napixclient.service.lanes import MOST_SPARE, Lanes
from napixclient.service.lease import LEASE_SECONDS, MARGIN_SECONDS, Lease, LeaseOver, clock
from napixclient.service.submission import Item
from tests import kit


def items_of(hosts: list[int]) -> list[Item]:
    """A request for each, to the host of that number."""
    return [
        Item(number, None, f'h{host}', 'POST', '/', Request(f'h{host}', 'POST', '/'), False)
        for number, host in enumerate(hosts)
    ]


@given(
    st.lists(st.integers(0, 4), max_size=120),
    st.integers(1, 5),
    st.integers(1, 60),
    st.none() | st.integers(1, 20),
    st.data(),
)
def test_lanes_hand_out_each_request_once(
    hosts: list[int], simultaneous: int, most: int, ahead: int | None, data: st.DataObject
) -> None:
    """Each request is handed out once, those of a host in order, never more than may be; and none is left behind."""
    lanes = Lanes(items_of(hosts), simultaneous, most, ahead)
    out: list[Item] = []
    given_out: list[int] = []
    done: set[int] = set()
    first = 0
    while len(done) < len(hosts):
        group = lanes.take()
        lanes.recorded()
        out += group
        given_out += [item.number for item in group]
        assert len(out) <= most
        assert all(count <= simultaneous + MOST_SPARE for count in Counter(item.host for item in out).values())
        assert ahead is None or all(item.number < first + ahead for item in group)
        assert out, 'nothing is under way, and nothing is handed out'
        for item in data.draw(st.lists(st.sampled_from(out), min_size=1, unique=True)) if ahead is None else list(out):
            out.remove(item)
            lanes.done(item)
            done.add(item.number)
        while first in done:
            first += 1
            lanes.released()
    assert sorted(given_out) == list(range(len(hosts))) and lanes.take() == []
    for host in set(hosts):
        mine = [number for number in given_out if hosts[number] == host]
        assert mine == sorted(mine)


def test_lanes_learn_how_much_is_needed() -> None:
    """A host that runs dry before the next group is recorded is given more, one that does not is given less again."""
    lanes = Lanes(items_of([0] * 5000), 2, 1000, None)
    out = lanes.take()
    few = len(out)
    for _ in range(16):  # all of it is used up while the next group is being recorded
        group = lanes.take()
        for item in out:
            lanes.done(item)
        lanes.recorded()
        out = group
    many = len(out)
    for _ in range(1000):  # one at a time
        lanes.recorded()
        lanes.done(out.pop(0))
        out += lanes.take()
    assert few <= 4 and many > 10 * few and len(out) < many / 4


def test_a_lease_ends_before_it_can_be_taken() -> None:
    """It is counted from when its renewal was asked for, ends a margin early, and once lost it stays so."""
    lease = Lease(clock())
    assert lease.holds and lease.until <= clock() + LEASE_SECONDS - MARGIN_SECONDS
    lease = Lease(clock() - LEASE_SECONDS + MARGIN_SECONDS)
    assert not lease.holds
    lease.renew(clock() - LEASE_SECONDS)
    assert not lease.holds
    lease.renew(clock())
    lease.renew(clock() - LEASE_SECONDS)  # an answer that comes late
    assert lease.holds
    lease.lose()
    lease.renew(clock())
    assert not lease.holds


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases do not look at the time of day."""
    lease = Lease(clock())
    now = time.time()
    monkeypatch.setattr(time, 'time', lambda: now + 1e6)
    assert lease.holds


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_nothing_is_written_when_the_lease_is_over(method: str) -> None:
    """Not over a new connection nor a kept one, not the head nor the rest of a body; and then everything again."""
    lease = Lease(clock())
    with kit.serve(lambda *asked: (200, {}, asked[0])) as server, ClientPool() as pool:
        pool._core.guard = lease.guard

        def ask(body: Any = None) -> Any:
            pool.request(server.host, method, '/', body)
            (outcome,) = pool.wait()
            return outcome

        assert isinstance(ask(), Response)
        before = len(server.requests)
        lease.until = clock()
        for _ in range(2):
            outcome = ask(b'x' * 1_000_000 if method == 'POST' else None)
            assert isinstance(outcome, ProtocolError) and isinstance(outcome.__cause__, LeaseOver)
            assert outcome.phase == 'read'  # which tells that nothing was written at all
        assert len(server.requests) == before
        lease.renew(clock())
        assert isinstance(ask(), Response) and len(server.requests) == before + 1


def test_the_rest_of_a_body_is_held_back() -> None:
    """A request that is half sent when the lease ends is never whole at the server."""
    lease = Lease(clock())
    with socket.socket() as listener, ClientPool() as pool:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        pool._core.guard = lease.guard
        pool.request(f'127.0.0.1:{listener.getsockname()[1]}', 'POST', '/', b'x' * 50_000_000)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(kit.LONG)
            size = len(peer.recv(1))  # more than this the kernel takes, but not all
            lease.until = clock()
            (outcome,) = pool.wait()  # as soon as there is room for more
            with suppress(ConnectionResetError):
                while data := peer.recv(1 << 20):
                    size += len(data)
    assert size < 50_000_000
    assert isinstance(outcome, ProtocolError) and isinstance(outcome.__cause__, LeaseOver) and outcome.phase == 'send'
