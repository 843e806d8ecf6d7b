"""The contract of the pool: caps and turns, pending requests, waits, streams, context, and what can be observed."""

from __future__ import annotations

import contextvars
import gc
import io
import logging
import pickle
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    NameResolutionError,
    QueueTimeout,
    RefusedError,
    RemoteError,
    Request,
    Response,
    Timeout,
)
from napixclient.authenticators import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from tests import kit
from tests.helpers_pool import Names, SlowHandshake, address, ask, assert_right, tags
from tests.kit import ANSWER, CLOSE, READ, FaultServer, FullServer, Gate, next_id, run_program, serve, wait_until

pytestmark = pytest.mark.usefixtures('oracle')


def turns(count: int = 10) -> None:
    """Let the loop turn, so that what should not happen had its chance."""
    for _ in range(count):
        gevent.sleep(0.001)


def by_tag(gate: Gate, tag: str) -> kit.Held:
    """The request of that tag, once a server holds it."""
    wait_until(lambda: any(held.id == tag for held in gate.held()), f'{tag} in flight')
    return next(held for held in gate.held() if held.id == tag)


# Hosts ---------------------------------------------------------------------------------------------------------------


def test_equal_origins_share_one_client() -> None:
    """However a host is written, equal origins share a client, so also its cap."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        spellings = [f'127.0.0.1:{server.port}', f'http://127.0.0.1:{server.port}', f'HTTP://127.0.0.1:{server.port}']
        for host in spellings:
            ask(pool, host)
        gate.wait_for(1)
        turns()
        gate.open()
        found = pool.wait()
        for answer in found:
            assert_right(answer)
        assert [answer.request.host for answer in found] == spellings
        assert gate.peak == 1
        assert list(pool.stats()) == [spellings[0]]


@pytest.mark.parametrize('looked_at', ['before', 'after', 'by a hook', 'first at the outcome'])
def test_each_call_is_a_request_of_its_own(looked_at: str) -> None:
    """Calls that ask for the same are as many requests; each outcome has that of its call, however it ended."""
    seen: list[Request] = []
    options: dict[str, Any] = {'on_request': seen.append} if looked_at == 'by a hook' else {}
    gate = Gate()
    with serve(lambda *_: (200 + 204 * (len(server.requests) % 2), {}, b''), gate) as server:
        with ClientPool(simultaneous=2, **options) as pool:
            calls = [pool.request(server.host, 'GET', '/000001') for _ in range(12)]
            if looked_at == 'before':
                seen = [call.request for call in calls]
            gate.wait_for(2)
            calls[11].cancel()
            gate.open()
            found = pool.wait()
            if looked_at == 'first at the outcome':
                seen = [outcome.request for outcome in found]
    requests = [call.request for call in calls]
    assert len(set(map(id, requests))) == 12 and {type(request) for request in requests} == {Request}
    assert [outcome.request for outcome in found] == requests
    assert {outcome.status for outcome in found} == {200, 404, None}
    assert not seen or set(seen) == set(requests[: len(seen)])
    assert {request.tag for request in requests} == {None}


def test_outcomes_of_equal_calls_are_pickled() -> None:
    """An answer is pickled with its request, whether or not anybody has looked at that."""
    with serve() as server, ClientPool() as pool:
        for _ in range(3):
            pool.request(server.host, 'GET', '/000001')
        for answer in pickle.loads(pickle.dumps(pool.wait())):
            assert (answer.request.host, answer.request.url, answer.request.tag) == (server.host, '/000001', None)


def test_names_do_not_know_case() -> None:
    """The case of a name does not make another origin."""
    with serve() as server, ClientPool(resolver=Names(peer=server)) as pool:
        for host in ('peer.example', 'PEER.Example', 'http://peer.example', 'peer.example:80'):
            ask(pool, host).get()
        assert len(pool.stats()) == 1
        assert {request.headers['host'].lower() for request in server.requests} == {'peer.example'}


def test_scheme_and_port_make_origins() -> None:
    """Another scheme or port is another origin."""
    names = [serve(), serve()]
    with names[0] as one, names[1] as two, ClientPool() as pool:
        ask(pool, one)
        ask(pool, two)
        ask(pool, f'https://{one.authority}', timeout=0.2)
        found = pool.wait()
        assert [answer.status for answer in found] == [200, 200, None]
        assert len(pool.stats()) == 3


def test_ipv6() -> None:
    """An IPv6 address goes in brackets, also in the Host field."""
    with serve(address='::1') as server, ClientPool() as pool:
        assert_right(ask(pool, f'[::1]:{server.port}').get())
        assert server.requests[0].headers['host'] == f'[::1]:{server.port}'


@pytest.mark.parametrize(
    'host',
    [
        '',
        ' ',
        'a b',
        'name:',
        'name:x',
        'name:99999',
        'name:-1',
        'name:0',
        '::1',
        '[::1',
        'ftp://name',
        '//name',
        'http://',
        'name/path',
        'http://name/path',
        'http://name?x=1',
        'user:secret@name',
        'http://user@name',
        'name#f',
        'na\rme',
        'name\n',
        'na\0me',
        'na\tme',
        'name:80:90',
        None,
        7,
        b'name',
        ('name', 80),
        'a\\b',
        'a<b',
        'a"b',
        'http://http://x',
    ],
)
def test_not_a_host(host: Any) -> None:
    """Anything that is not a name or address, with a port and a scheme at most, is a ValueError at once."""
    with ClientPool() as pool:
        with pytest.raises(ValueError):
            pool.request(host, 'GET', '/')
        with pytest.raises(ValueError):
            Client(host)
        assert pool.wait() == []


# Caps and turns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('simultaneous', [None, 1, 5])
def test_simultaneous(simultaneous: int | None) -> None:
    """At most `simultaneous` (2 by default) requests are in flight at one origin, and as many as that are."""
    gate = Gate()
    with (
        serve(gate=gate) as server,
        ClientPool() if simultaneous is None else ClientPool(simultaneous=simultaneous) as pool,
    ):
        cap = simultaneous or 2
        for _ in range(3 * cap):
            ask(pool, server)
        gate.wait_for(cap)
        turns()
        assert gate.in_flight == cap
        gate.open()
        for answer in pool.wait():
            assert_right(answer)
        assert gate.peak == server.accepted == cap


@pytest.mark.parametrize('bad', [0, -1, 1.5, True, '2', None])
def test_caps_are_whole_numbers(bad: Any) -> None:
    """A cap below one, or no whole number, is a ValueError."""
    with pytest.raises(ValueError):
        ClientPool(simultaneous=bad)
    if bad is not None:
        with pytest.raises(ValueError):
            ClientPool(max_connections=bad)


def test_many_origins_with_few_connections() -> None:
    """Sixty origins share three connections: all are answered, and never more than three are open."""
    most = 0

    def handler(*request: Any) -> Any:
        nonlocal most
        most = max(most, sum(not peer.is_gone() for peer in server.peers.values()))
        return kit.echo(*request)

    with serve(handler, address='0.0.0.0') as server, ClientPool(max_connections=3) as pool:
        for _ in range(3):
            for last in range(1, 61):
                ask(pool, server.at(f'127.0.0.{last}'))
        found = pool.wait(timeout=20)
        assert len(found) == 180
        for answer in found:
            assert_right(answer)
        assert most <= 3
        assert len(pool.stats()) == 60


def test_slow_host_does_not_starve_others() -> None:
    """While a slow host holds all it may have, others take turns on what is left."""
    slow_gate = Gate()
    with (
        serve(gate=slow_gate) as slow,
        serve(address='0.0.0.0') as quick,
        ClientPool(simultaneous=2, max_connections=3) as pool,
    ):
        held = [ask(pool, slow) for _ in range(20)]
        slow_gate.wait_for(2)
        others = [ask(pool, quick.at(f'127.0.0.{last}')) for _ in range(3) for last in range(1, 11)]
        assert len(gevent.wait(others, timeout=5)) == 30
        assert not any(pending.ready() for pending in held)
        slow_gate.open()
        for answer in pool.wait():
            assert_right(answer)
        assert slow_gate.peak == 2


def test_slot_that_a_slow_host_frees_goes_to_who_waits() -> None:
    """A host that holds every connection gives the next one that is free to the host that waits, not its own queue."""
    gate = Gate()
    with serve(gate=gate) as slow, serve() as quick, ClientPool(simultaneous=2, max_connections=2) as pool:
        mine = [ask(pool, slow) for _ in range(6)]
        gate.wait_for(2)
        other = ask(pool, quick)
        turns()
        time.sleep(0.06)  # longer than any turn lasts: now the first to be free must make room
        gate.held()[0].release()
        assert_right(other.get(timeout=20))
        assert sum(pending.ready() for pending in mine) == 1
        gate.open()
        for answer in pool.wait():
            assert_right(answer)
        assert gate.peak == 2


def test_busy_host_makes_room() -> None:
    """With one connection in all, a host with a long queue of quick requests lets others in before it is through."""
    with serve() as busy, serve(address='0.0.0.0') as quick, ClientPool(max_connections=1) as pool:
        for _ in range(200):
            ask(pool, busy)
        others = [ask(pool, quick.at(f'127.0.0.{last}')).request.tag for last in range(1, 6)]
        order = tags(pool.wait_unordered(timeout=20))
        assert len(order) == 205
        assert max(order.index(tag) for tag in others) < 150


def test_slots_come_back() -> None:
    """Requests that are refused, reset, killed or late give their slot back."""
    gate = Gate()
    dead = kit.FaultServer(listening=False)
    with dead, serve(gate=gate) as server, ClientPool(simultaneous=2, max_connections=2) as pool:
        for _ in range(5):
            ask(pool, dead)
        late = [ask(pool, server, timeout=0.1) for _ in range(3)]
        killed = [ask(pool, server) for _ in range(2)]
        gevent.wait(late, timeout=20)
        for pending in killed:
            by_tag(gate, pending.request.tag)
            pending.cancel()
        reset = ask(pool, server, 'POST')
        by_tag(gate, reset.request.tag).release([kit.RST])
        gate.open()
        last = [ask(pool, server) for _ in range(4)]
        found = pool.wait(timeout=5)
        for answer in found[-len(last) :]:
            assert_right(answer)
        assert [type(answer) for answer in found[:5]] == [RefusedError] * 5
        assert (gate.peak, pool.stats()[server.host]['in_flight']) == (2, 0)


# Cheap requests ------------------------------------------------------------------------------------------------------


def test_requests_are_no_greenlets() -> None:
    """A request, queued or in flight, takes no greenlet."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=10) as pool:
        ask(pool, server).cancel()
        pool.wait()
        for _ in range(10):
            ask(pool, server)
        gate.wait_for(10)
        before = len(kit.greenlets())
        for _ in range(1000):
            ask(pool, server)
        assert len(kit.greenlets()) <= before
        pool.cancel()


# PendingResponse -----------------------------------------------------------------------------------------------------


def test_pending_before_and_after() -> None:
    """Before its end a pending is not ready; after a success it has a value and no exception."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        pending = ask(pool, server)
        gate.wait_for(1)
        assert (pending.ready(), pending.successful(), pending.value, pending.exception) == (False, False, None, None)
        gate.open()
        found = pending.get()
        assert_right(found)
        assert found is pending.get() is pending.get(block=False) is pending.value
        assert (pending.ready(), pending.successful(), pending.exception) == (True, True, None)
        assert pending.request is found.request


def test_pending_after_an_error() -> None:
    """After an error a pending has an exception and no value, and raises it each time it is asked."""
    with serve(lambda *_: (404, None, 'no')) as server, ClientPool() as pool:
        pending = pool.request(server.host, 'GET', '/')
        for _ in range(2):
            with pytest.raises(RemoteError) as caught:
                pending.get()
            assert caught.value is pending.exception
        assert (pending.ready(), pending.successful(), pending.value) == (True, False, None)


def test_get_that_does_not_wait() -> None:
    """`get` that may not block, or not longer, raises a Timeout that is also gevent's; the request goes on."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        pending = ask(pool, server)
        for how in ({'block': False}, {'timeout': 0.01}, {'timeout': 0}):
            with pytest.raises(Timeout) as caught:
                pending.get(**how)
            assert isinstance(caught.value, gevent.Timeout)
            assert not pending.ready()
        gate.open()
        assert_right(pending.get(timeout=5))


def test_gevent_wait_takes_pendings() -> None:
    """`gevent.wait` and `iwait` take pendings, ready or not, and give them as they finish."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=3) as pool:
        first, second, third = (ask(pool, server) for _ in range(3))
        gate.wait_for(3)
        order = gevent.iwait([first, second, third], timeout=5)
        by_tag(gate, second.request.tag).release()
        assert next(order) is second
        assert gevent.wait([first, second, third], count=1) == [second]
        assert gevent.wait([first], timeout=0.01) == []
        by_tag(gate, third.request.tag).release()
        assert next(order) is third
        gate.open()
        assert list(order) == [first]
        assert set(gevent.wait([first, second, third])) == {first, second, third}


def test_gevent_joinall_takes_pendings() -> None:
    """`gevent.joinall` takes pendings, and raises their error when told to."""
    with serve() as server, serve(lambda *_: (500, None, 'no')) as bad, ClientPool() as pool:
        good = [ask(pool, server) for _ in range(5)]
        assert set(gevent.joinall(good, timeout=5)) == set(good)
        assert all(pending.successful() for pending in good)
        assert set(gevent.joinall(good, timeout=5, raise_error=True)) == set(good)
        with pytest.raises(RemoteError):
            gevent.joinall([ask(pool, bad)], raise_error=True)


def test_links_are_called_once() -> None:
    """A link is called exactly once, by the hub, never inside the call that links; also after completion."""
    gate = Gate()
    calls: list[Any] = []

    def link(done: Any) -> None:
        calls.append((done, gevent.getcurrent() is gevent.get_hub()))

    with serve(gate=gate) as server, ClientPool() as pool:
        pending = ask(pool, server)
        pending.rawlink(link)
        gate.open()
        pending.get()
        wait_until(lambda: calls)
        turns()
        assert calls == [(pending, True)]
        pending.rawlink(link)
        assert len(calls) == 1
        wait_until(lambda: len(calls) == 2)
        turns()
        assert calls == [(pending, True)] * 2


def test_links_are_called_when_cancelled() -> None:
    """A cancelled request calls its links too, later than the call that cancels."""
    calls: list[Any] = []
    with serve(gate=Gate()) as server, ClientPool() as pool:
        pending = ask(pool, server)
        pending.rawlink(calls.append)
        pending.cancel()
        assert not calls
        wait_until(lambda: calls)
        turns()
        assert calls == [pending]


def test_unlink() -> None:
    """A link that was taken back is not called; taking it back again, or one never given, is nothing."""
    calls: list[Any] = []
    with serve() as server, ClientPool() as pool:
        pending = ask(pool, server)
        pending.rawlink(calls.append)
        pending.unlink(calls.append)
        pending.unlink(calls.append)
        pending.unlink(print)
        pending.get()
        pending.rawlink(calls.append)
        pending.unlink(calls.append)
        turns()
        assert calls == []


def test_failing_link_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a link raises is reported by gevent; the links after it are called."""
    reported: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), 'print_exception', lambda *args: reported.append(args))
    calls: list[Any] = []
    with serve() as server, ClientPool() as pool:
        pending = ask(pool, server)
        pending.rawlink(lambda _: 1 / 0)
        pending.rawlink(calls.append)
        assert_right(pending.get())
        wait_until(lambda: calls)
        assert len(reported) == 1
        assert_right(ask(pool, server).get())


@pytest.mark.parametrize('how', ['cancel', 'kill'])
def test_cancel_in_flight(how: str) -> None:
    """To cancel a request in flight closes its connection; its slot is free at once, its outcome Cancelled."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        first, second = ask(pool, server), ask(pool, server)
        (held,) = gate.wait_for(1)
        getattr(first, how)()
        assert isinstance(first.exception, Cancelled)
        by_tag(gate, second.request.tag)
        assert held.request.peer.is_gone()
        gate.open()
        assert_right(second.get())
        assert gate.peak == 1


def test_cancel_queued() -> None:
    """A request that is cancelled in the queue is never sent; what is behind it moves up."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        first, second, third = (ask(pool, server) for _ in range(3))
        gate.wait_for(1)
        second.cancel()
        gate.open()
        found = pool.wait()
        assert [type(answer) for answer in found] == [Response, Cancelled, Response]
        assert [request.id for request in server.requests] == tags([first, third])


def test_cancel_while_connecting() -> None:
    """A request that is cancelled while its connection is being opened gives its place back."""
    with FullServer() as full, serve() as server, ClientPool(simultaneous=1, max_connections=1) as pool:
        stuck, behind = ask(pool, full), ask(pool, server)
        turns()
        stuck.cancel()
        assert_right(behind.get(timeout=20))
        assert isinstance(stuck.exception, Cancelled)


def test_cancel_while_shaking_hands(authority: kit.Authority) -> None:
    """A request that is cancelled in its TLS handshake leaves no socket behind."""
    with SlowHandshake(tls=authority.server()) as server, ClientPool(ca_certs=authority.ca_certs) as pool:
        pending = ask(pool, server)
        wait_until(lambda: server.peers)
        peer = server.peers[0]
        pending.cancel()
        wait_until(peer.is_gone)
        server.willing.set()
        assert_right(ask(pool, server).get())


def test_cancel_after_the_end() -> None:
    """Cancelling what has ended changes nothing."""
    with serve() as server, ClientPool() as pool:
        pending = ask(pool, server)
        pending.get()
        pending.cancel()
        pending.kill()
        assert_right(pending.get())
        assert_right(ask(pool, server).get())
        assert server.accepted == 1


# Outcomes ------------------------------------------------------------------------------------------------------------


def test_every_outcome_has_request_and_status() -> None:
    """Whatever comes out has `request`, with host and tag as given, and a status that may be None."""
    dead = kit.FaultServer(listening=False)
    names = Names()
    with (
        dead,
        serve() as good,
        serve(lambda *_: (503, None, 'no')) as bad,
        FaultServer([READ, CLOSE]) as rude,
        serve(gate=Gate()) as silent,
        ClientPool(resolver=names) as pool,
    ):
        hosts = [good.host, bad.host, dead.host, rude.host, 'unknown.example', silent.host, silent.host]
        for index, host in enumerate(hosts):
            pool.request(host, 'POST', f'/{index:06}', {'n': index}, tag=('tag', index))
        found = pool.wait(timeout=1.5)
        assert [answer.request.host for answer in found] == hosts
        assert [answer.request.tag for answer in found] == [('tag', index) for index in range(7)]
        assert [answer.status for answer in found] == [200, 503, None, None, None, None, None]
        assert isinstance(found[4], NameResolutionError)
        assert all(isinstance(answer, HTTPError) for answer in found[1:])
        assert [answer.remote_call for answer in found[1:]] == [
            f'POST http://{host}/{index:06}' for index, host in enumerate(hosts)
        ][1:]


# wait ----------------------------------------------------------------------------------------------------------------


def test_wait_is_in_the_order_asked() -> None:
    """`wait` returns outcomes in the order asked, whatever the order in which they finished."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=8) as pool:
        asked = [ask(pool, server) for _ in range(8)]
        for held in reversed(gate.wait_for(8)):
            held.release()
        found = pool.wait()
        assert tags(found) == tags(asked)
        assert isinstance(found, list)
        assert pool.wait() == []


def test_wait_returns_what_was_taken_or_cancelled() -> None:
    """`wait` returns all requests since the last wait, also those taken by `get`, cancelled, or failed."""
    with serve() as server, serve(lambda *_: (500, None, 'no')) as bad, ClientPool(simultaneous=1) as pool:
        taken, cancelled, failed = ask(pool, server), ask(pool, server), ask(pool, bad)
        taken.get()
        cancelled.cancel()
        found = pool.wait()
        assert tags(found) == tags([taken, cancelled, failed])
        assert found[0] is taken.get()
        assert [type(answer) for answer in found[1:]] == [Cancelled, RemoteError]


@pytest.mark.timed
def test_wait_with_a_timeout() -> None:
    """When the time is up, what was in flight is DeadlineExceeded, what was not sent QueueTimeout; both are over."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        done, flying, queued = (ask(pool, server) for _ in range(3))
        by_tag(gate, done.request.tag).release()
        done.get()
        queued_too = ask(pool, server)
        gate.wait_for(2)
        took = kit.Took()
        found = pool.wait(timeout=0.5)
        assert took.between(0.4, 0.75)
        assert [type(answer) for answer in found] == [Response, DeadlineExceeded, DeadlineExceeded, QueueTimeout]
        assert tags(found) == tags([done, flying, queued, queued_too])
        wait_until(lambda: not gate.in_flight)
        assert len(server.requests) == 3
        assert pool.wait() == []


def test_wait_zero() -> None:
    """A timeout of nothing takes what is there, and ends the rest."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        ask(pool, server)
        gate.wait_for(1)
        gate.open()
        pool.wait()
        gate.shut()
        ask(pool, server)
        ask(pool, server)
        by_tag(gate, gate.wait_for(2)[0].id)
        assert [type(answer) for answer in pool.wait(timeout=0)] == [DeadlineExceeded] * 2


@pytest.mark.parametrize('timeout', [-1, 'soon', True, float('nan')])
def test_wait_refuses_what_is_no_time(timeout: Any) -> None:
    """A timeout that is no number of seconds is a ValueError, and no request is lost by it."""
    with serve() as server, ClientPool() as pool:
        asked = ask(pool, server)
        with pytest.raises(ValueError):
            pool.wait(timeout=timeout)
        with pytest.raises(ValueError):
            next(pool.wait_unordered(timeout=timeout))
        assert tags(pool.wait()) == tags([asked])


def test_wait_is_for_what_was_asked_before() -> None:
    """What is asked while somebody waits belongs to the next wait."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        first = ask(pool, server)
        waiter = gevent.spawn(pool.wait)
        gate.wait_for(1)
        second = ask(pool, server)
        gate.open()
        assert tags(waiter.get(timeout=5)) == tags([first])
        assert tags(pool.wait()) == tags([second])


def test_two_waiters() -> None:
    """Two greenlets that ask and wait in one pool each get what was asked before their own wait, once."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=4) as pool:
        first = ask(pool, server)
        one = gevent.spawn(pool.wait)
        gevent.sleep(0)
        second = ask(pool, server)
        two = gevent.spawn(pool.wait)
        gevent.sleep(0)
        by_tag(gate, second.request.tag).release()
        assert tags(two.get(timeout=5)) == tags([second])
        assert not one.ready()
        gate.open()
        assert tags(one.get(timeout=5)) == tags([first])


def test_wait_of_nothing() -> None:
    """With nothing asked, every way to wait ends at once."""
    with ClientPool() as pool:
        assert pool.wait() == pool.wait(timeout=20) == list(pool.wait_unordered()) == list(pool) == []


# wait_unordered ------------------------------------------------------------------------------------------------------


def test_unordered_as_they_finish() -> None:
    """`wait_unordered` hands out each outcome as soon as it is there, in the order in which they finish."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=5) as pool:
        asked = [ask(pool, server) for _ in range(5)]
        gate.wait_for(5)
        outcomes = pool.wait_unordered()
        for index in (3, 0, 4, 2, 1):
            by_tag(gate, asked[index].request.tag).release()
            assert_right(found := next(outcomes))
            assert found.request.tag == asked[index].request.tag
        assert next(outcomes, None) is None


def test_unordered_returns_what_was_taken_or_cancelled() -> None:
    """Whatever was asked since the last wait comes out once, also what was taken or cancelled."""
    with serve() as server, ClientPool() as pool:
        taken, cancelled, plain = (ask(pool, server) for _ in range(3))
        taken.get()
        cancelled.cancel()
        assert Counter(tags(pool.wait_unordered())) == Counter(tags([taken, cancelled, plain]))
        assert pool.wait() == []


def test_unordered_count() -> None:
    """After `count` outcomes the loop ends; what was not sent is dropped, what is in flight finishes."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(6)]
        gate.wait_for(2)
        gate.held()[0].release()
        gate.wait_for(2)
        found = []
        for answer in pool.wait_unordered(count=1):
            found.append(answer)
        else:
            found.append('else')
        assert_right(found[0])
        assert found[1:] == ['else']
        assert [type(pending.exception) for pending in asked[3:]] == [Cancelled] * 3
        assert not any(isinstance(pending.exception, Cancelled) for pending in asked[:3])
        gate.open()
        gevent.wait(asked, timeout=5)
        assert all(pending.successful() for pending in asked[:3])
        assert len(server.requests) == 3
        assert pool.wait() == []


@pytest.mark.parametrize('count', [0, 3, 99, -1])
def test_unordered_any_count(count: int) -> None:
    """A count is a bound: none, some, more than there are; below zero it is none."""
    with serve() as server, ClientPool() as pool:
        for _ in range(5):
            ask(pool, server)
        assert len(list(pool.wait_unordered(count))) == {0: 0, 3: 3, 99: 5, -1: 5}[count]


def test_unordered_leaving_early() -> None:
    """Leaving early drops what has not been sent; what is in flight finishes, and its connection is used again."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(6)]
        gate.wait_for(2)
        gate.held()[0].release()
        for answer in pool.wait_unordered(timeout=5):
            assert_right(answer)
            break
        else:
            raise AssertionError('the else of a loop that was left')
        turns()
        dropped = [pending for pending in asked if isinstance(pending.exception, Cancelled)]
        assert 3 <= len(dropped) <= 4
        gate.open()
        gevent.wait(asked, timeout=5)
        assert len(server.requests) == 6 - len(dropped)
        assert_right(ask(pool, server).get())
        assert tags(pool.wait())[-1] == server.requests[-1].id
        assert server.accepted == 2
        assert pool.wait() == []


def test_unordered_left_by_an_exception() -> None:
    """An exception in the body of the loop leaves it too: it is the caller's own, and what was not sent is dropped."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        asked = [ask(pool, server) for _ in range(3)]
        gate.wait_for(1)[0].release()

        def loop() -> None:
            for _ in pool.wait_unordered():
                raise KeyError('mine')

        with pytest.raises(KeyError, match='mine'):
            loop()
        gc.collect()
        assert isinstance(asked[2].exception, Cancelled)


def test_cancel_aborts_what_was_left_in_flight() -> None:
    """After a loop was left, `pool.cancel()` aborts what is still in flight."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=3) as pool:
        asked = [ask(pool, server) for _ in range(4)]
        gate.wait_for(3)[0].release()
        for _ in pool.wait_unordered():
            break
        gate.wait_for(2)
        pool.cancel()
        wait_until(lambda: not gate.in_flight)
        assert all(isinstance(pending.exception, Cancelled) for pending in asked[1:])
        gate.open()
        assert_right(ask(pool, server).get())


@pytest.mark.timed
def test_unordered_timeout() -> None:
    """When the time is up, what has not finished comes out as Timeout and is cancelled, and the `else` is reached."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(4)]
        gate.wait_for(2)[0].release()
        ends: Counter[type] = Counter()
        took = kit.Took()
        for answer in pool.wait_unordered(timeout=0.5):
            ends[type(answer)] += 1
        else:
            ends[Ellipsis.__class__] += 1
        assert took.between(0.4, 0.75)
        assert ends == {Response: 1, DeadlineExceeded: 2, QueueTimeout: 1, Ellipsis.__class__: 1}
        assert all(pending.ready() for pending in asked)
        wait_until(lambda: not gate.in_flight)
        assert len(server.requests) == 3
        gate.open()
        assert_right(ask(pool, server).get())


def test_the_clock_does_not_fire_in_the_callers_code() -> None:
    """A body that takes longer than the loop's time is not interrupted; then what has not finished is a Timeout."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        ask(pool, server)
        stuck = ask(pool, server)
        gate.wait_for(2)[0].release()
        found = []
        for answer in pool.wait_unordered(timeout=0.5):
            found.append(answer)
            gevent.sleep(0.3)
            gevent.sleep(0.3)
        assert [type(answer) for answer in found] == [Response, DeadlineExceeded]
        assert found[1].request is stuck.request


def test_unordered_hands_out_what_was_there_in_time() -> None:
    """What had finished before the time was up is an answer, however late its consumer asks for it."""
    with serve() as server, ClientPool() as pool:
        asked = [ask(pool, server) for _ in range(4)]
        outcomes = pool.wait_unordered(timeout=1)
        gevent.wait(asked)
        gevent.sleep(1.1)
        for answer in outcomes:
            assert_right(answer)


# Iterating -----------------------------------------------------------------------------------------------------------


def test_iterating_is_in_order_each_as_soon_as_ready() -> None:
    """Iterating the pool yields in the order asked, each as soon as it is ready."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=3) as pool:
        asked = [ask(pool, server) for _ in range(3)]
        gate.wait_for(3)
        outcomes = iter(pool)
        by_tag(gate, asked[1].request.tag).release()
        asked[1].get()
        reader = gevent.spawn(next, outcomes)
        turns()
        assert not reader.ready()
        by_tag(gate, asked[0].request.tag).release()
        assert reader.get(timeout=5) is asked[0].value
        assert next(outcomes) is asked[1].value  # while the third is still in flight
        gate.open()
        assert tags(outcomes) == tags(asked[2:])
        assert list(pool) == pool.wait() == []


def test_iterating_hands_out_errors() -> None:
    """Errors are values there too, cancelled requests among them."""
    with serve(lambda *_: (404, None, 'no')) as bad, serve() as server, ClientPool() as pool:
        ask(pool, bad)
        ask(pool, server).cancel()
        ask(pool, server)
        assert [type(answer) for answer in pool] == [RemoteError, Cancelled, Response]


def test_iterating_left_early() -> None:
    """Leaving that loop early drops what has not been sent as well."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        asked = [ask(pool, server) for _ in range(4)]
        gate.wait_for(1)[0].release()
        for _ in pool:
            break
        assert [type(pending.exception) for pending in asked[2:]] == [Cancelled] * 2
        gate.open()
        assert_right(ask(pool, server).get())


# Thrown into who waits -----------------------------------------------------------------------------------------------

WAITS: dict[str, Callable[[ClientPool], Any]] = {
    'wait': lambda pool: pool.wait(),
    'wait with a timeout': lambda pool: pool.wait(timeout=9),
    'wait_unordered': lambda pool: list(pool.wait_unordered()),
    'wait_unordered with a count': lambda pool: list(pool.wait_unordered(2, timeout=9)),
    'iterating': lambda pool: list(pool),
}


@pytest.mark.parametrize('way', WAITS)
@pytest.mark.parametrize('thrown', [gevent.GreenletExit, gevent.Timeout, KeyError])
def test_thrown_into_a_wait(way: str, thrown: type[BaseException]) -> None:
    """What is thrown into a wait passes through, cancels nothing, and the next wait returns the same requests."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(4)]
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                WAITS[way](pool)
            except BaseException as exc:
                caught.append(exc)

        waiter = gevent.spawn(wait)
        gate.wait_for(2)
        mine = thrown()
        waiter.kill(mine)
        assert caught == [mine]
        asked.append(ask(pool, server))
        turns()
        assert not any(pending.ready() for pending in asked)
        gate.open()
        found = pool.wait()
        assert tags(found) == tags(asked)
        for answer in found:
            assert_right(answer)
        assert server.accepted == 2


@pytest.mark.parametrize('way', ['wait_unordered', 'iterating'])
def test_thrown_into_a_loop_half_way(way: str) -> None:
    """Thrown in half-way, the next wait returns those requests that had not been handed out, in the order asked."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(5)]
        seen: list[Any] = []

        def loop() -> None:
            for answer in pool if way == 'iterating' else pool.wait_unordered():
                seen.append(answer)

        waiter = gevent.spawn(loop)
        for index in range(2):
            by_tag(gate, asked[index].request.tag).release()
            wait_until(lambda index=index: len(seen) == index + 1)
        waiter.kill()
        gate.open()
        found = pool.wait()
        assert tags(seen) + tags(found) == tags(asked)
        for answer in found:
            assert_right(answer)


def test_killed_in_get() -> None:
    """A greenlet that is killed in `get` harms no request."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        pending = ask(pool, server)
        waiters = [gevent.spawn(pending.get), gevent.spawn(pending.get, timeout=9)]
        gate.wait_for(1)
        gevent.killall(waiters)
        gate.open()
        assert_right(pending.get())
        assert tags(pool.wait()) == tags([pending])


def test_own_timeout_around_wait() -> None:
    """A gevent.Timeout of the caller's own around `wait` is the caller's; the requests go on."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool() as pool:
        asked = [ask(pool, server) for _ in range(3)]
        with gevent.Timeout(0.05) as mine:
            try:
                pool.wait()
            except gevent.Timeout as caught:
                assert caught is mine
            else:
                raise AssertionError('it did not fire')
        gate.open()
        assert tags(pool.wait()) == tags(asked)


def test_thrown_just_as_all_is_done() -> None:
    """Also when it is thrown in the very turn in which the last answer comes, nothing is lost."""
    with serve() as server, ClientPool() as pool:
        for way in WAITS.values():
            asked = [ask(pool, server) for _ in range(3)]
            waiter = gevent.spawn(way, pool)
            gevent.sleep(0)
            asked[-1].rawlink(lambda _, waiter=waiter: waiter.kill(block=False))
            gevent.wait(asked)
            waiter.join()
            rest = pool.wait(timeout=5)
            assert tags(rest) in ([], tags(asked)) or way in (
                WAITS['wait_unordered'],
                WAITS['iterating'],
                WAITS['wait_unordered with a count'],
            )
            assert_right(ask(pool, server).get())
            pool.wait()


# Streams -------------------------------------------------------------------------------------------------------------


def specs(server: kit.Server, count: int, taken: list[str] | None = None) -> Iterator[Request]:
    """So many requests, made when they are asked for."""
    for _ in range(count):
        id = next_id()
        if taken is not None:
            taken.append(id)
        yield Request(server.host, 'GET', f'/{id}', tag=id)


@pytest.mark.parametrize('ordered', [False, True])
def test_stream(ordered: bool) -> None:
    """A stream sends all that an iterable gives, and hands out every outcome once."""
    taken: list[str] = []
    with serve() as server, ClientPool(simultaneous=4) as pool:
        found = list(pool.stream(specs(server, 300, taken), ordered=ordered))
        for answer in found:
            assert_right(answer)
        assert Counter(tags(found)) == Counter(taken)
        if ordered:
            assert tags(found) == taken
        assert pool.wait() == []


def test_stream_is_in_order_when_asked() -> None:
    """An ordered stream hands out in the order of its iterable, whichever is answered first."""
    gate = Gate()
    taken: list[str] = []
    with serve(gate=gate) as server, ClientPool(simultaneous=5) as pool:
        reader = gevent.spawn(list, pool.stream(specs(server, 5, taken), ordered=True))
        for held in reversed(gate.wait_for(5)):
            held.release()
            turns(2)
        assert tags(reader.get(timeout=5)) == taken


def test_stream_of_tuples() -> None:
    """A stream takes tuples of host, method, url, and body and headers at most, and hands out errors as values."""
    with serve() as server, serve(lambda *_: (500, None, 'no')) as bad, ClientPool() as pool:
        found = list(
            pool.stream(
                [
                    (server.host, 'GET', '/000001'),
                    (server.host, 'POST', '/000002', {'a': 1}),
                    (bad.host, 'PUT', '/000003', 'x', {'X-A': 'b'}),
                ],
                ordered=True,
            )
        )
        assert [answer.status for answer in found] == [200, 200, 500]
        assert server.requests[-1].body == b'{"a":1}'
        assert bad.requests[0].headers['x-a'] == 'b'


@pytest.mark.parametrize(
    'bad',
    [
        'GET',
        ('host', 'GET'),
        ('h', 'GET', '/', None, None, 6),
        7,
        None,
        ('a host', 'GET', '/'),
        ('host', 'GET', 'no slash'),
    ],
)
def test_stream_of_something_else(bad: Any) -> None:
    """What is neither a Request nor such a tuple is an error of the caller, after the outcomes of what came before."""
    found = []
    with serve() as server, ClientPool() as pool:
        with pytest.raises((ValueError, TypeError)):
            for answer in pool.stream([*specs(server, 3), bad]):
                found.append(answer)
        assert len(found) == 3


def test_stream_is_lazy() -> None:
    """Nothing is taken from the iterable before the first outcome is asked for, and it may be without end."""
    taken: list[str] = []
    with serve() as server, ClientPool() as pool:
        stream = pool.stream(specs(server, 10**9, taken), window=10)
        turns()
        assert len(taken) <= 10
        for _ in range(100):
            assert_right(next(stream))
        stream.close()
        turns()
        assert len(taken) <= 111


@pytest.mark.parametrize('ordered', [False, True])
@pytest.mark.parametrize('window', [1, 2, 7])
def test_stream_window(window: int, ordered: bool) -> None:
    """A consumer that does not take pauses the sending: never more than `window` are taken and not handed out."""
    taken: list[str] = []
    with serve() as server, ClientPool(simultaneous=10) as pool:
        handed = 0
        for _ in pool.stream(specs(server, 40, taken), ordered, window):
            handed += 1
            turns(3)
            assert len(taken) - handed <= window
            assert len(server.requests) - handed <= window
        assert handed == 40


@pytest.mark.parametrize('bad', [0, -1, 1.5, 'many', True])
def test_stream_window_is_a_whole_number(bad: Any) -> None:
    """A window below one, or no whole number, is a ValueError."""
    with ClientPool() as pool, pytest.raises(ValueError):
        list(pool.stream([], window=bad))


@pytest.mark.parametrize('ordered', [False, True])
def test_stream_with_a_slow_producer(ordered: bool) -> None:
    """A producer that blocks does not hold back what has finished."""
    more = Event()
    taken: list[str] = []

    def produce(server: kit.Server) -> Iterator[Request]:
        yield from specs(server, 2, taken)
        more.wait()
        yield from specs(server, 1, taken)

    with serve() as server, ClientPool() as pool:
        stream = pool.stream(produce(server), ordered)
        with gevent.Timeout(5):
            assert_right(next(stream))
            assert_right(next(stream))
        assert len(taken) == 2
        reader = gevent.spawn(list, stream)
        turns()
        assert not reader.ready()
        more.set()
        assert tags(reader.get(timeout=5)) == taken[2:]


@pytest.mark.parametrize('ordered', [False, True])
@pytest.mark.parametrize('raised', [KeyError, gevent.Timeout, HTTPError])
def test_stream_with_a_raising_producer(raised: type[BaseException], ordered: bool) -> None:
    """What the iterable raises is raised to the consumer, after the outcomes of what it had given before."""
    mine = raised()

    def produce(server: kit.Server) -> Iterator[Request]:
        yield from specs(server, 3)
        raise mine

    found = []
    with serve() as server, ClientPool() as pool:
        with pytest.raises(raised) as caught:
            for answer in pool.stream(produce(server), ordered):
                found.append(answer)
        assert caught.value is mine
        assert len(found) == 3
        for answer in found:
            assert_right(answer)


def test_stream_left_early() -> None:
    """Leaving a stream closes its iterable and drops what has not been sent; the pool goes on."""
    gate = Gate()
    closed: list[bool] = []

    def produce(server: kit.Server) -> Iterator[Request]:
        try:
            yield from specs(server, 1000)
        finally:
            closed.append(True)

    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        stream = pool.stream(produce(server), window=8)
        reader = gevent.spawn(next, stream)
        gate.wait_for(2)[0].release()
        assert_right(reader.get(timeout=5))
        gate.wait_for(2)
        stream.close()
        gc.collect()
        wait_until(lambda: closed)
        gate.open()
        wait_until(lambda: not gate.in_flight)
        turns()
        assert len(server.requests) <= 4
        assert_right(ask(pool, server).get())


def test_stream_killed() -> None:
    """A greenlet that is killed while it waits for a stream leaves no request unsent in the queue, and no slot lost."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        reader = gevent.spawn(list, pool.stream(specs(server, 100), window=20))
        gate.wait_for(2)
        reader.kill()
        assert pool.stats()[server.host]['queued'] == 0
        gate.open()
        assert_right(ask(pool, server).get())
        assert len(server.requests) <= 4


def test_stream_and_wait_do_not_mix() -> None:
    """What a stream sends is not part of a wait, nor the other way round; a `cancel` ends both."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=10) as pool:
        asked = ask(pool, server)
        reader = gevent.spawn(list, pool.stream(specs(server, 3)))
        gate.wait_for(4)
        pool.cancel()
        assert [type(answer) for answer in reader.get(timeout=5)] == [Cancelled] * 3
        assert tags(pool.wait()) == tags([asked])


def test_two_streams() -> None:
    """Two streams of one pool each get the outcomes of their own requests."""
    with serve() as server, ClientPool() as pool:
        both: list[list[str]] = [[], []]
        readers = [gevent.spawn(list, pool.stream(specs(server, 50, taken))) for taken in both]
        for reader, taken in zip(readers, both, strict=True):
            assert Counter(tags(reader.get(timeout=10))) == Counter(taken)


# The end of a pool ---------------------------------------------------------------------------------------------------


def test_close() -> None:
    """Closing a pool ends what is queued or in flight as Cancelled, closes its connections, and may be repeated."""
    gate = Gate()
    with serve(gate=gate) as server:
        pool = ClientPool(simultaneous=2)
        asked = [ask(pool, server) for _ in range(4)]
        gate.wait_for(2)
        pool.close()
        pool.close()
        wait_until(lambda: not server.peers or all(peer.is_gone() for peer in server.peers.values()))
        assert [type(answer) for answer in pool.wait()] == [Cancelled] * 4
        assert all(pending.ready() for pending in asked)
        with pytest.raises(RuntimeError):
            ask(pool, server)


def test_leaving_with_closes() -> None:
    """As a context manager a pool, and a client, is closed at the end."""
    with serve() as server:
        with ClientPool() as pool, Client(server.host) as client:
            ask(pool, server).get()
            client.request('GET', '/')
            assert len(server.peers) == 2
        wait_until(lambda: not server.peers)
        with pytest.raises(RuntimeError):
            client.request('GET', '/')


@pytest.mark.parametrize('make', ['pool', 'client'])
def test_dropped_pool_is_collected(make: str) -> None:
    """A pool that nobody holds any more is collected, and its idle connections are closed."""
    with serve() as server:
        owner: Any
        if make == 'pool':
            owner = ClientPool()
            for answer in [ask(owner, server) for _ in range(4)]:
                assert_right(answer.get())
            owner.wait()
        else:
            owner = Client(server.host)
            owner.request('GET', '/')
        gone = weakref.ref(owner)
        assert server.peers
        del owner
        answer = None
        gc.collect()
        assert gone() is None
        wait_until(lambda: not server.peers)


def test_dropped_pool_in_flight() -> None:
    """Requests of a pool that nobody holds any more still have their outcome; then the connections go too."""
    gate = Gate()
    with serve(gate=gate) as server:
        pool: ClientPool | None = ClientPool()
        assert pool is not None
        asked = [ask(pool, server) for _ in range(4)]
        gate.wait_for(2)
        del pool
        gc.collect()
        gate.open()
        for pending in asked:
            assert_right(pending.get(timeout=5))
        del pending, asked
        gate.held()
        gc.collect()
        wait_until(lambda: gc.collect() is not None and not server.peers)


def test_dropped_pools_leave_nothing() -> None:
    """Pools that are made, used and dropped leave no object behind, however many."""
    with serve() as server:

        def use(count: int) -> int:
            for _ in range(count):
                pool = ClientPool()
                ask(pool, server, timeout=5)
                pool.wait()
            del pool
            gc.collect()
            wait_until(lambda: not server.peers)
            server.requests.clear()
            gc.collect()
            return len(gc.get_objects())

        use(5)
        before = use(5)
        assert use(60) - before < 60


def test_idle_connections_keep_nothing_waiting() -> None:
    """`gevent.wait()` returns while connections are idle, and a process with them ends by itself."""
    with serve() as server:
        done = run_program(
            """
import sys, time, gevent
from napixclient import ClientPool
pool = ClientPool()
for _ in range(5):
    pool.request(sys.argv[1], 'GET', '/000001', timeout=60)
assert [answer.status for answer in pool.wait()] == [200] * 5
began = time.monotonic()
assert gevent.wait(timeout=10) is True or True
print(time.monotonic() - began < 5)
pool.request(sys.argv[1], 'GET', '/000002')
assert gevent.wait(timeout=10)
print([answer.status for answer in pool.wait()])
""",
            server.host,
        )
        assert done == (0, 'True\n[200]\n', '')


# Context, threads, forks ---------------------------------------------------------------------------------------------

who: contextvars.ContextVar[str] = contextvars.ContextVar('who', default='nobody')


@pytest.mark.parametrize('blocking', [True, False])
def test_context_of_the_request_call(blocking: bool) -> None:
    """Authenticators and hooks run in the context of the `request` call, also for a queued request, or a later try."""
    seen: dict[str, set[str]] = {}

    class Authenticator:
        """Takes note."""

        def __init__(self) -> None:
            self.blocking = blocking

        def __call__(self, request: Request) -> Request:
            if blocking:
                gevent.sleep(0)
            note(request)
            return request

    def note(what: Any) -> None:
        request = what if isinstance(what, Request) else what.request
        seen.setdefault(request.tag, set()).add(who.get())

    with (
        serve() as server,
        serve(lambda *_: (503, None, '')) as bad,
        ClientPool(
            Authenticator(),
            1,
            on_request=note,
            on_response=note,
            on_error=note,
            retries=urllib3.Retry(1, status_forcelist=[503], backoff_factor=0),
        ) as pool,
    ):
        asked = {}
        for name in 'abcdef':

            def call(name: str = name) -> None:
                who.set(name)
                asked[ask(pool, bad if name == 'f' else server).request.tag] = {name}

            contextvars.copy_context().run(call)
        who_before = who.get()
        pool.wait()
        wait_until(lambda: len(seen) == 6)
        turns()
        assert seen == asked
        assert who.get() == who_before == 'nobody'


def test_blocked_hooks_do_not_meet() -> None:
    """A hook that blocks keeps neither the other hooks nor the authenticator of its request from running."""
    go = Event()
    seen: list[str] = []

    def on_request(request: Request) -> None:
        go.wait()
        seen.append('request')

    def authenticator(request: Request) -> Request:
        gevent.sleep(0)
        return request

    answers = iter([503, 200])
    with (
        serve(lambda *_: (next(answers), None, '')) as server,
        ClientPool(
            authenticator,
            on_request=on_request,
            on_response=lambda _: seen.append('response'),
            retries=urllib3.Retry(1, status_forcelist=[503], backoff_factor=0),
        ) as pool,
    ):
        pool.request(server.host, 'GET', '/')
        (found,) = pool.wait(timeout=5)
        assert found.status == 200, found
        wait_until(lambda: seen == ['response'], 'the hook on_response')
        go.set()
        wait_until(lambda: seen == ['response', 'request', 'request'])


def test_another_thread_is_refused() -> None:
    """A pool that is used from another thread than its own says so, whatever is called; its own goes on."""
    with serve() as server:
        done = run_program(
            """
import sys, time
from gevent import monkey
start = monkey.get_original('_thread', 'start_new_thread')
sleep = monkey.get_original('time', 'sleep')
from napixclient import Client, ClientPool
host = sys.argv[1]
pool, client = ClientPool(), Client(host)
pool.request(host, 'GET', '/000001')
said = {}
def of(name, call):
    def run():
        said[name] = 'still running'
        try:
            said[name] = repr(call())
        except RuntimeError as exc:
            said[name] = 'thread' if 'thread' in str(exc) else repr(exc)
        except BaseException as exc:
            said[name] = repr(exc)
    start(run, ())
    end = time.monotonic() + 20
    while said.get(name, 'still running') == 'still running' and time.monotonic() < end:
        sleep(0.01)
of('request', lambda: pool.request(host, 'GET', '/000002'))
of('client', lambda: client.request('GET', '/000002'))
of('wait', lambda: pool.wait(timeout=10))
of('wait_unordered', lambda: list(pool.wait_unordered(timeout=10)))
of('iterating', lambda: list(pool))
of('stream', lambda: list(pool.stream([(host, 'GET', '/000003')])))
of('cancel', lambda: pool.cancel())
print({name: what for name, what in said.items() if what != 'thread'})
print([answer.status for answer in pool.wait(timeout=5)], client.request('GET', '/000004').status, flush=True)
import os
os._exit(0)
""",
            server.host,
        )
        assert done.out.splitlines() == ['{}', '[200] 200'], done
        assert (done.code, done.err) == (0, '')


def test_a_pool_in_each_thread() -> None:
    """Each thread may have a pool of its own."""
    with serve() as server:
        done = run_program(
            """
import sys, time
from gevent import monkey
start = monkey.get_original('_thread', 'start_new_thread')
sleep = monkey.get_original('time', 'sleep')
from napixclient import ClientPool
found = []
def run():
    with ClientPool() as pool:
        for _ in range(10):
            pool.request(sys.argv[1], 'GET', '/000001')
        found.append([answer.status for answer in pool.wait(timeout=5)])
    import gevent
    gevent.get_hub().destroy(destroy_loop=True)
for _ in range(3):
    start(run, ())
end = time.monotonic() + 10
while len(found) < 3 and time.monotonic() < end:
    sleep(0.01)
sleep(0.1)
print(found == [[200] * 10] * 3)
""",
            server.host,
        )
        assert done == (0, 'True\n', '')


def test_fork() -> None:
    """After a fork the child has clean pools: what was pending is Cancelled there, new requests are answered."""
    gate = Gate(opened=True)
    with serve(gate=gate) as server:
        done = run_program(
            """
import os, sys
from napixclient import Cancelled, ClientPool
import gevent
host = sys.argv[1]
pool = ClientPool()
for _ in range(2):
    pool.request(host, 'GET', '/000001')
pool.wait()
pending = pool.request(host, 'GET', '/000002')
queued = [pool.request(host, 'GET', '/000003') for _ in range(4)]
child = os.fork()
if not child:
    code = 1
    try:
        first = pool.wait(timeout=5)
        assert [type(answer) for answer in first] == [Cancelled] * 5, first
        assert pool.request(host, 'GET', '/000004').get(timeout=5).data == b'000004'
        assert list(pool.stats().values())[0]['in_flight'] == 0
        code = 0
    finally:
        os._exit(code)
assert pending.get(timeout=5).data == b'000002'
assert [answer.data for answer in pool.wait()] == [b'000002'] + [b'000003'] * 4
print(os.waitpid(child, 0)[1])
""",
            server.host,
        )
        assert done == (0, '0\n', '')
        assert server.times_read('000002') == 1
        assert server.times_read('000003') == 4


def test_fork_with_parked_dials() -> None:
    """The child begins none of the connections that waited in the parent for others to be open."""
    with kit.FullServer() as full, serve() as server:
        done = run_program(
            """
import os, sys
import gevent
from napixclient import Cancelled, ClientPool
full, host = sys.argv[1:]
pool = ClientPool(simultaneous=200, max_connections=1000)
asked = [pool.request(full, 'GET', '/') for _ in range(100)] + [pool.request(host, 'GET', '/') for _ in range(20)]
gevent.sleep(0)
child = os.fork()
if not child:
    code = sum(type(pending.exception) is not Cancelled for pending in asked)
    gevent.sleep(0.01)
    os._exit(code)
print(os.waitpid(child, 0)[1], flush=True)
os._exit(0)
""",
            full.host,
            server.host,
            patched=False,
        )
        assert done == (0, '0\n', '')
        assert server.accepted == 0


def test_pools_of_a_thread_that_is_gone() -> None:
    """A pool whose thread has destroyed its hub is collected without a word, and a fork minds the others all the same."""
    with serve() as server:
        done = run_program(
            """
import os, sys, threading
import gevent
from napixclient import Cancelled, Client, ClientPool
host = sys.argv[1]
old, pools = [], []

def make():
    old.extend([ClientPool(), Client(host), Client(host)])
    old.append(old[-1].request('GET', '/000001', stream=True))
    gevent.get_hub().destroy()

for _ in range(8):
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    pools.append(ClientPool())
pending = [pool.request(host, 'GET', '/000002') for pool in pools]
child = os.fork()
if not child:
    os._exit(sum(type(one.exception) is not Cancelled for one in pending))
print([one.get(timeout=5).status for one in pending] == [200] * 8, os.waitpid(child, 0)[1])
old.clear()
gevent.sleep(0)
""",
            server.host,
            patched=False,
        )
        assert done == (0, 'True 0\n', '')


# Authenticators, resolvers and hooks that misbehave ------------------------------------------------------------------


@pytest.mark.parametrize('blocking', [True, False])
@pytest.mark.parametrize('raised', [ValueError, gevent.Timeout, HTTPError])
def test_authenticator_that_raises(raised: type[BaseException], blocking: bool) -> None:
    """An authenticator that raises makes an HTTPError with that cause; nothing is sent, and the slot is back."""
    mine = raised()

    class Authenticator:
        """Fails for some."""

        def __init__(self) -> None:
            self.blocking = blocking

        def __call__(self, request: Request) -> Request:
            if request.url.startswith('/bad'):
                raise mine
            return request

    with serve() as server, ClientPool(Authenticator(), 1) as pool:
        for _ in range(3):
            pool.request(server.host, 'GET', '/bad')
        good = ask(pool, server)
        found = pool.wait(timeout=20)
        for error in found[:3]:
            assert isinstance(error, HTTPError)
            assert error.__cause__ is mine
            assert error.status is None
        assert_right(good.get())
        assert len(server.requests) == 1
        assert pool.stats()[server.host]['in_flight'] == 0


@pytest.mark.parametrize('returned', [7, 'GET', (1, 2)])
def test_authenticator_that_returns_nonsense(returned: Any) -> None:
    """What an authenticator returns is a Request or None; anything else is an error of that request."""
    with serve() as server, ClientPool(lambda _: returned) as pool:
        pool.request(server.host, 'GET', '/')
        (error,) = pool.wait(timeout=20)
        assert isinstance(error, HTTPError)
        assert not server.requests


def test_authenticator_that_adds_what_cannot_be_sent() -> None:
    """An authenticator cannot smuggle a line into a request: it is an error, and nothing is sent."""
    with serve() as server, ClientPool(lambda request: request.replace(headers={'X-A': 'a\r\nX-B: b'})) as pool:
        pool.request(server.host, 'GET', '/')
        (error,) = pool.wait(timeout=20)
        assert isinstance(error, HTTPError)
        assert not server.requests


@pytest.mark.parametrize(
    'bad',
    [
        {'login': 'x'},
        {'key': 'x'},
        {},
        {'login': 'a', 'key': 'b', 'c': 1},
        'root',
        7,
        ('root', 'toor'),
        LoginAuthenticator,
    ],
)
def test_not_an_authenticator(bad: Any) -> None:
    """Anything but a callable, a mapping of login and key, or None is a ValueError when the pool is made."""
    with pytest.raises(ValueError):
        ClientPool(bad)
    with pytest.raises(ValueError):
        Client('host', bad)


def test_cancelled_while_the_authenticator_blocks() -> None:
    """A request that is cancelled while its authenticator runs is not sent, and its slot is free at once."""
    go = Event()
    ended: list[str] = []

    def authenticator(request: Request) -> Request:
        if not ended and not go.is_set():
            try:
                go.wait()
            finally:
                ended.append(request.tag)
        return request

    with serve() as server, ClientPool(authenticator, 1) as pool:
        first = ask(pool, server)
        gevent.sleep(0.02)
        first.cancel()
        assert_right(ask(pool, server).get(timeout=20))
        assert ended == [first.request.tag]
        assert [request.id for request in server.requests] != [first.request.tag]


@pytest.mark.parametrize('raised', [OSError, ValueError, gevent.Timeout])
def test_resolver_that_raises(raised: type[BaseException]) -> None:
    """A resolver that raises, whatever, makes a NameResolutionError; the name can be asked for again."""
    fails = [True]

    def resolver(host: str, port: int) -> Any:
        if fails:
            fails.clear()
            raise raised()
        return [address(server.port)]

    with serve() as server, ClientPool(resolver=resolver) as pool:
        ask(pool, 'peer.example', timeout=1)
        (error,) = pool.wait()
        assert isinstance(error, NameResolutionError), error
        ask(pool, 'peer.example', timeout=1)
        assert_right(pool.wait()[0])


@pytest.mark.parametrize('returned', [[], None, 7, '127.0.0.1', ['127.0.0.1'], [(1, 2)], ('127.0.0.1', 9)])
def test_resolver_that_returns_nonsense(returned: Any) -> None:
    """A resolver that returns no addresses makes a typed error that says what it is to return, and nothing else suffers."""
    with serve() as server, ClientPool(resolver=lambda *_: returned) as pool:
        ask(pool, 'peer.example', timeout=1)
        good = ask(pool, server)
        error, _ = pool.wait()
        assert isinstance(error, NameResolutionError)
        assert error.phase == 'connect'
        assert returned == [] or 'as socket.getaddrinfo does' in error.message, error.message
        assert_right(good.get())


def test_hooks() -> None:
    """Hooks see each attempt, each response and each error, whatever made the error."""
    requests: list[Any] = []
    responses: list[Any] = []
    errors: list[Any] = []
    gate = Gate()
    dead = kit.FaultServer(listening=False)
    with (
        dead,
        serve() as server,
        serve(lambda *_: (404, None, 'no')) as bad,
        serve(gate=gate) as silent,
        ClientPool(
            simultaneous=1, on_request=requests.append, on_response=responses.append, on_error=errors.append
        ) as pool,
    ):
        good, wrong, refused = ask(pool, server), ask(pool, bad), ask(pool, dead)
        late = ask(pool, silent, timeout=0.3)
        queued = ask(pool, silent, timeout=0.1)
        gevent.wait([late, queued], timeout=20)
        cancelled = ask(pool, silent)
        gate.wait_for(1)
        cancelled.cancel()
        pool.wait()
        turns()
        assert Counter(request.tag for request in requests) == Counter(tags([good, wrong, late, cancelled]))
        assert tags(responses) == tags([good])
        assert Counter(tags(errors)) == Counter(tags([wrong, refused, late, queued, cancelled]))


def test_hooks_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises is logged and changes nothing."""

    def hook(_: Any) -> None:
        raise KeyError('mine')

    with serve() as server, ClientPool(on_request=hook, on_response=hook) as pool:
        assert_right(ask(pool, server).get())
        wait_until(lambda: len(caplog.records) == 2)
        assert all(record.name.startswith('napixclient') for record in caplog.records)


def test_hooks_may_ask() -> None:
    """A hook runs in a greenlet: it may block, and use the pool itself."""
    asked: list[Any] = []

    def on_response(response: Response) -> None:
        if response.request.tag == 'first':
            asked.append(pool.request(server.host, 'GET', '/000009', tag='second').get().data)

    with serve() as server, ClientPool(simultaneous=1, on_response=on_response) as pool:
        pool.request(server.host, 'GET', '/000001', tag='first').get()
        wait_until(lambda: asked == [b'000009'])


# Observing -----------------------------------------------------------------------------------------------------------


def test_stats() -> None:
    """Stats count, per host, what is queued, in flight, done and failed, the bytes, and how long answers took."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=2) as pool:
        asked = [ask(pool, server) for _ in range(6)]
        gate.wait_for(2)
        counted = pool.stats()[server.host]
        assert (counted['queued'], counted['in_flight'], counted['done'], counted['failed']) == (4, 2, 0, 0)
        assert counted['latency'] == {'p50': None, 'p90': None, 'p99': None}
        gevent.sleep(0.05)
        bad = gate.held()[0]
        bad.release([b'HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno'])
        wait_until(lambda: bad not in gate.requests())
        gate.open()
        pool.wait()
        counted = pool.stats()[server.host]
        assert (counted['queued'], counted['in_flight'], counted['done'], counted['failed']) == (0, 0, 5, 1)
        assert counted['bytes'] == 5 * 6 + 2
        assert 0 < counted['latency']['p50'] <= counted['latency']['p90'] <= counted['latency']['p99']
        assert 0.04 < counted['latency']['p99'] < 2
        assert len(asked) == 6


def test_stats_count_every_failure() -> None:
    """Whatever ends a request badly counts as failed: refused, late, cancelled in flight or in the queue."""
    dead = kit.FaultServer(listening=False)
    gate = Gate()
    with dead, serve(gate=gate) as server, ClientPool(simultaneous=1) as pool:
        ask(pool, dead)
        late, queued = ask(pool, server, timeout=0.1), ask(pool, server, timeout=0.1)
        gevent.wait([late, queued], timeout=20)
        flying, waiting = ask(pool, server), ask(pool, server)
        gate.wait_for(1)
        waiting.cancel()
        flying.cancel()
        pool.wait()
        assert pool.stats()[dead.host]['failed'] == 1
        counted = pool.stats()[server.host]
        assert (counted['queued'], counted['in_flight'], counted['done'], counted['failed']) == (0, 0, 0, 4)


def test_stats_while_connecting() -> None:
    """A request whose connection is being opened counts as queued, and no longer once another connection took it."""
    gate = Gate(opened=True)
    with serve(gate=gate) as server, ClientPool(simultaneous=2, resolver=Names(peer=server)) as pool:
        with FullServer() as full:
            ask(pool, full)
            turns()
            assert pool.stats()[full.host]['queued'] == 1
            pool.cancel()
            assert pool.stats()[full.host]['queued'] == 0
        for _ in range(2):
            ask(pool, server)
        pool.wait()
        assert pool.stats()[server.host]['queued'] == 0


def test_stats_after_another_connection_took_over(authority: kit.Authority) -> None:
    """A connection that is still being opened, whose request another one took over, stands for no queued request."""
    gate = Gate()
    with (
        SlowHandshake(gate=gate, tls=authority.server()) as server,
        ClientPool(simultaneous=2, ca_certs=authority.ca_certs) as pool,
    ):
        server.willing.set()
        first = ask(pool, server)
        gate.wait_for(1)
        server.willing.clear()
        second = ask(pool, server)
        wait_until(lambda: server.accepted == 2)
        assert pool.stats()[server.host]['queued'] == 1
        gate.open()
        assert_right(first.get())
        assert_right(second.get(timeout=20))  # over the connection of the first
        assert pool.stats()[server.host]['queued'] == 0


def test_stats_while_waiting_to_try_again() -> None:
    """A request that waits to be tried again has no slot, but is not forgotten: it counts as queued."""
    with (
        serve(lambda *_: (503, {'Retry-After': '30'}, '')) as server,
        ClientPool(retries=urllib3.Retry(1, status_forcelist=[503])) as pool,
    ):
        ask(pool, server)
        wait_until(lambda: len(server.requests) == 1 and not pool.stats()[server.host]['in_flight'])
        assert pool.stats()[server.host]['queued'] == 1


def test_stats_of_streamed_bodies() -> None:
    """A streamed answer is in flight until its body has been read, and its bytes count."""
    with serve(lambda *_: (200, None, 'x' * 1000)) as server, ClientPool() as pool:
        response = ask(pool, server, stream=True).get()
        assert pool.stats()[server.host]['in_flight'] == 1
        assert len(response.read()) == 1000
        counted = pool.stats()[server.host]
        assert (counted['in_flight'], counted['bytes'], counted['done']) == (0, 1000, 1)


def test_repr_tells_the_state() -> None:
    """The repr of a pool, a client and a pending tells what they are doing."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1) as pool, Client(server.host) as client:
        flying, queued = ask(pool, server), ask(pool, server)
        gate.wait_for(1)
        assert '1 queued' in repr(pool)
        assert '1 in flight' in repr(pool)
        assert server.host in repr(client)
        assert str(flying.request) in repr(flying)
        assert 'queue' in repr(queued)
        gate.open()
        pool.wait()
        assert '<Response 200 OK>' in repr(flying)
        assert '0 queued' in repr(pool)


SECRET = 's3cr3t-s3cr3t'


@pytest.mark.parametrize(
    'authenticator',
    [
        {'login': 'root', 'key': SECRET},
        LoginAuthenticator('root', SECRET),
        TokenIdentifier(SECRET),
        BearerToken(SECRET),
        BasicAuth('root', SECRET),
    ],
    ids=lambda given: type(given).__name__,
)
def test_no_secret_is_shown(authenticator: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No secret is in a repr, in the text of an error, or in a log record, at whatever level."""
    from base64 import b64encode

    hidden = [SECRET, b64encode(f'root:{SECRET}'.encode()).decode()]
    dead = kit.FaultServer(listening=False)
    shown: list[Any] = [authenticator] if not isinstance(authenticator, dict) else []
    with (
        caplog.at_level(logging.DEBUG),
        dead,
        FaultServer([READ, ANSWER, READ, CLOSE], [READ, CLOSE]) as rude,
        serve(lambda *_: (500, None, 'no')) as bad,
        ClientPool(authenticator, 1, headers={'Cookie': f'session={SECRET}'}) as pool,
    ):
        signature = []
        for server in (dead, rude, bad, rude, rude):
            pending = ask(pool, server, headers={'X-Auth-Token': SECRET})
            shown += [pending, pool]
            gevent.wait([pending])
            shown += [pending, pool, pending.request, pending.request.headers, pending.exception, pending.value]
            if pending.exception is not None:
                shown += [str(pending.exception), pending.exception.chain, pending.exception.remote_call]
        for request in bad.requests:
            signature.append(request.headers.get('authorization', '').rpartition(':')[2])
        shown += [pool.stats(), *pool._origins.pools.values()]
    text = io.StringIO()
    for what in shown:
        text.write(f'{what!r}\n')
    for record in caplog.records:
        assert record.name.startswith('napixclient')
        text.write(record.getMessage() + str(record.args))
    assert caplog.records
    for secret in [*hidden, *filter(None, signature)]:
        assert secret not in text.getvalue()


def test_logs_are_quiet() -> None:
    """The library's logger prints nothing unless told."""
    done = run_program("""
from napixclient import ClientPool
with ClientPool() as pool:
    pool.request('127.0.0.1:1', 'GET', '/')
    print([type(answer).__name__ for answer in pool.wait()])
""")
    assert done == (0, "['RefusedError']\n", '')
