"""Rates: how fast requests may go out, how a 429 slows them down, and how many retries there may be."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from email.utils import formatdate
from functools import partial
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from urllib3 import Retry

from napixclient import Cancelled, Client, ClientPool, QueueTimeout, Request, Response
from napixclient._http.pacing import Pace, RetryBudget, pause_asked_for
from napixclient.testing import FakeClock
from tests import kit
from tests.helpers_pool import Names, SlowHandshake, address, ask, assert_right, tags
from tests.kit import ANSWER, CLOSE, READ, FaultServer, Gate, serve, wait_until
from tests.test_caps import Machine, PoolAsker

LATE = kit.limit(0.8)  # seconds that the machine may need for something else


def sent_within(pace: Pace, clock: FakeClock, seconds: float) -> int:
    """How many requests go out in so many seconds, when each goes as soon as it may."""
    end, count = clock() + seconds, 0
    while clock() + pace.wait() <= end:
        clock.advance(pace.wait())
        if not pace.wait():
            pace.take()
            count += 1
    clock.advance(end - clock())
    return count


# The bucket ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('rate', [0.1, 0.5, 1, 2.5, 20, 1000])
def test_a_second_is_saved_up(rate: float) -> None:
    """The bucket starts full, with one second's worth and at least one token, and never holds more."""
    clock = FakeClock()
    pace = Pace(rate, clock)
    for _ in range(2):
        for _ in range(max(1, int(rate))):
            assert pace.wait() == 0
            pace.take()
        assert 0 < pace.wait() <= 1 / rate
        clock.advance(3600)
    assert pace.full


@pytest.mark.parametrize('rate', [0.5, 3, 20, 333])
def test_never_above_the_rate(rate: float) -> None:
    """Within any time, however it is asked, no more go out than the rate allows and what was saved up."""
    clock, rng = FakeClock(), random.Random(rate)
    pace = Pace(rate, clock)
    sent = []
    for _ in range(2000):
        clock.advance(rng.choice([0, 0, 0.3, 1, 5]) * rng.random() / rate)
        while rng.random() < 0.9 and not pace.wait():
            pace.take()
            sent.append(clock())
    for first in range(0, len(sent), 7):
        for last in range(first, len(sent), 11):
            assert last - first + 1 <= max(1, rate) + rate * (sent[last] - sent[first]) + 1e-6
    assert len(sent) > 400


def test_the_wait_is_exact() -> None:
    """After the time that it said there is a token, and not before."""
    clock = FakeClock()
    pace = Pace(4, clock)
    for _ in range(4):
        pace.take()
    assert pace.wait() == pytest.approx(0.25)
    assert pace.wait(ahead=2) == pytest.approx(0.75)  # two others have a token coming to them
    clock.advance(0.2)
    assert pace.wait() == pytest.approx(0.05)
    clock.advance(pace.wait())
    assert pace.wait() == 0 and pace.wait(ahead=1) > 0


# 429 -----------------------------------------------------------------------------------------------------------------


def test_a_pause_then_half() -> None:
    """A 429 pauses for the time that it asks for, then halves the rate, which grows back in a line within 10 s."""
    clock = FakeClock()
    pace = Pace(20, clock)
    pace.tighten(3, sent=clock())
    assert pace.wait() == pytest.approx(3)
    clock.advance(2.9)
    assert pace.wait() == pytest.approx(0.1)
    clock.advance(0.1)
    assert pace.wait() == 0  # one goes at once; what was saved up is forgotten
    assert sent_within(pace, clock, 1) == 1 + 10  # 10 a second, and growing: 10.5 in the first
    assert sent_within(pace, clock, 9) == pytest.approx(20 * 9 - 9 * 4.5, abs=2)
    assert sent_within(pace, clock, 5) == pytest.approx(100, abs=1)


def test_the_rate_grows_back_exactly() -> None:
    """Also where one token takes longer than the growing: the wait is what it takes."""
    clock = FakeClock()
    pace = Pace(0.1, clock)
    pace.take()
    pace.tighten(0, sent=clock())
    assert pace.wait() == pytest.approx(10 + (1 - 0.75) / 0.1)
    before = clock()
    while pace.wait():
        clock.advance(pace.wait())
    assert clock() - before == pytest.approx(12.5)


def test_a_burst_halves_once() -> None:
    """The 429s to what was in flight together extend the pause, but halve the rate once; a later one halves it anew."""
    clock = FakeClock()
    pace = Pace(16, clock)
    sent = clock()
    clock.advance(0.1)
    pace.tighten(1, sent)
    for pause in (2, 5, 3):
        pace.tighten(pause, sent)
    assert pace.wait() == pytest.approx(5)
    clock.advance(5)
    pace.take()
    pace.tighten(0, sent)  # late, when the pause is over
    assert pace.wait() == pytest.approx(1 / 8, rel=0.05)
    pace.tighten(0, clock())
    assert pace.wait() == pytest.approx(1 / 4, rel=0.05)


def test_no_rate_is_lost_for_good() -> None:
    """However often it is halved, within 10 s the rate is what it was."""
    clock = FakeClock()
    pace = Pace(20, clock)
    for _ in range(200):
        clock.advance(0.001)
        pace.tighten(0, clock())
    assert pace.wait() < 2 and not pace.full
    clock.advance(11)
    assert sent_within(pace, clock, 5) == 20 + 100 and not pace.full
    clock.advance(1)
    assert pace.full


@pytest.mark.parametrize(
    ('field', 'seconds'),
    [
        ('3', 3),
        (' 120 ', 120),
        ('0', 0),
        ('99999999999', 6 * 3600),
        ('9' * 5000, None),
        (None, None),
        ('', None),
        ('soon', None),
        ('-1', None),
        ('1.5', None),
        ('3, 4', None),
        (formatdate(0), 0),
        ('Fri, 31 Dec 99999 23:59:59 GMT', None),
        ('9' * 300, 6 * 3600),
        ('007', 7),
        ('٣', None),
        ('²', None),
        ('1e3', None),
        ('30s', None),
        ('+5', None),
        ('1_0', None),
        ('0x10', None),
        ('3.', None),
        ('3\n', None),
        ('2030-01-01', None),
        ('2030-01-01T00:00:00Z', None),
        ('12:30:00', None),
        ('Sun, 06 Nov 1994 08:49:37 GMT', 0),
        ('Sunday, 06-Nov-94 08:49:37 GMT', 0),
        ('Sun Nov  6 08:49:37 1994', 0),
        ('sun, 6 nov 1994 08:49:37 utc', 0),
        ('Sat, 31 Dec 2016 23:59:60 GMT', 0),
        ('Fri, 31 Dec 2999 23:59:59 GMT', 6 * 3600),
        ('Wed Dec 31 23:59:59 2999', 6 * 3600),
        ('Mon, 31 Feb 2999 00:00:00 GMT', None),
        ('Fri, 01 Jan 2999 24:00:00 GMT', None),
        ('Fri, 01 Jan 0000 00:00:00 GMT', 0),
        ('Fri, 01 Foo 2999 00:00:00 GMT', None),
        ('Fri, 01 Jan 2999 00:00:00', None),
        ('Fri, ٠1 Jan 2999 00:00:00 GMT', None),
    ],
)
def test_retry_after(field: str | None, seconds: float | None) -> None:
    """A number or a date, at most six hours; what nobody can read asks for nothing."""
    assert pause_asked_for(field) == seconds


def test_retry_after_as_a_date() -> None:
    """A date is so many seconds from now in any of its forms, all of which are in GMT, wherever we are."""
    zone = os.environ.get('TZ')
    os.environ['TZ'] = 'Etc/GMT+7'
    time.tzset()
    try:
        when = time.gmtime(time.time() + 300)
        for form in (
            '%a, %d %b %Y %H:%M:%S GMT',
            '%A, %d-%b-%y %H:%M:%S GMT',
            '%a %b %d %H:%M:%S %Y',
            '%a, %d %b %Y %H:%M:%S +0000',
        ):
            assert 200 < (pause_asked_for(time.strftime(form, when)) or 0) <= 300, form
        assert pause_asked_for(time.strftime('%a, %d %b %Y %H:%M:%S +0100', when)) == 0
        assert 3700 < (pause_asked_for(time.strftime('%a, %d %b %Y %H:%M:%S -0100', when)) or 0) <= 3900
    finally:
        os.environ.pop('TZ') if zone is None else os.environ.update(TZ=zone)
        time.tzset()


# The retry budget ----------------------------------------------------------------------------------------------------


def test_budget() -> None:
    """It starts with ten; a fifth of the requests and ten a second come in."""
    clock = FakeClock()
    budget = RetryBudget(0.2, 10, clock)

    def taken(requests: int) -> int:
        count = 0
        while budget.take(requests):
            count += 1
        return count

    assert taken(0) == 10
    assert taken(100) == 20
    assert taken(100) == 0
    clock.advance(0.55)
    assert taken(100) == 5
    clock.advance(3600)
    assert taken(100) == 10 + 20  # time alone saves up no more than ten
    clock.advance(0.05)
    assert taken(103) == 1  # halves add up


def test_budget_forgets_what_is_long_ago() -> None:
    """Requests add to the budget for ten to twenty seconds: then a storm has only what time has saved up."""
    clock = FakeClock()
    budget = RetryBudget(0.2, 10, clock)
    for _ in range(3):
        clock.advance(10)
        budget.mark(1_000_000)
    assert sum(budget.take(1_000_000) for _ in range(1000)) == 10
    assert sum(budget.take(1_000_500) for _ in range(1000)) == 100  # those of now count


def test_budget_of_nothing() -> None:
    """Without a share and a rate there are the first ten, and no more."""
    clock = FakeClock()
    budget = RetryBudget(0, 0, clock)
    assert sum(budget.take(1000) for _ in range(50)) == 10
    clock.advance(1e9)
    assert not budget.take(1000)


@pytest.mark.usefixtures('tidy')
def test_a_storm_of_retries_ends() -> None:
    """500 requests to a port where nobody listens make a fifth as many retries, and ten, and ten a second."""
    with FaultServer(listening=False) as dead, ClientPool(simultaneous=20, retries=Retry(total=5)) as pool:
        began = time.monotonic()
        for _ in range(500):
            ask(pool, dead)
        outcomes = pool.wait(timeout=20)
        seconds = time.monotonic() - began
    retried = sum(outcome.attempts - 1 for outcome in outcomes)
    assert 90 <= retried <= 500 * 0.2 + 10 + 10 * seconds
    assert {outcome.status for outcome in outcomes} == {None}


# The rate of a client ------------------------------------------------------------------------------------------------


class Arrivals(kit.Ticker):
    """A handler that takes note of when each request came; it answers what the test says, else well.

    It ticks, as a machine that stops for a while makes many come at once.
    """

    def __init__(self, *answers: Any) -> None:
        super().__init__(clock=time.monotonic)
        self.times: list[float] = []
        self.answers = list(answers)

    def __call__(self, method: str, path: str, *_: Any) -> Any:
        """Note when the request came."""
        self.times.append(time.monotonic())
        return self.answers.pop(0) if self.answers else kit.echo(method, path, {}, b'')

    def check(self, rate: float) -> None:
        """No more came, within any time, than the rate allows: what is late on the way comes closer to the next."""
        for first, began in enumerate(self.times):
            for last in range(first, len(self.times)):
                assert last - first <= max(1, rate) + rate * (self.times[last] - began + 0.25 + self.gap), (first, last)


@contextmanager
def paced(rate: float, handler: Any = None, **options: Any) -> Iterator[tuple[Any, ClientPool, Any]]:
    """A server that counts arrivals, and a pool with a rate."""
    arrivals = handler or Arrivals()
    ticking = arrivals if isinstance(arrivals, Arrivals) else nullcontext()
    with ticking, serve(arrivals) as server, ClientPool(rate=rate, **options) as pool:
        yield server, pool, arrivals


pytestmark = pytest.mark.usefixtures('tidy')


@pytest.mark.timed
@pytest.mark.parametrize('simultaneous', [1, 10, 'auto'])
def test_as_the_server_sees_it(simultaneous: Any) -> None:
    """What was saved up goes at once, the rest at the rate, whatever the cap; and it is not slower than that."""
    with paced(60, simultaneous=simultaneous) as (server, pool, arrivals):
        began = time.monotonic()
        asked = [ask(pool, server) for _ in range(75)]
        for outcome in pool.wait(timeout=20):
            assert_right(outcome)
        assert 0.2 < time.monotonic() - began < 0.25 + LATE
        arrivals.check(60)
        came = [request.id for request in server.requests]
        assert (came if simultaneous == 1 else sorted(came)) == tags(asked)


@pytest.mark.timed
def test_each_origin_has_its_own() -> None:
    """The rate is one of each origin, not of the pool."""
    with paced(5) as (server, pool, _), serve() as other:
        began = time.monotonic()
        for _ in range(5):
            ask(pool, server)
            ask(pool, other)
        pool.wait(timeout=20)
        assert time.monotonic() - began < LATE


@pytest.mark.timed
def test_a_client_has_a_rate_too() -> None:
    """Asked one by one, a client waits as well, and the loop lives while nothing but the rate is waited for."""
    with serve() as server, Client(server.host, rate=10) as client:
        began = time.monotonic()
        for _ in range(13):
            client.request('GET', '/000001')
        assert 0.28 < time.monotonic() - began < 0.3 + LATE


@pytest.mark.timed
def test_retries_count() -> None:
    """Every try takes a token, not only the first."""
    busy = [(503, {}, '')] * 9
    with paced(8, Arrivals(*busy), retries=Retry(9, status_forcelist=[503])) as (server, pool, arrivals):
        began = time.monotonic()
        assert_right(ask(pool, server).get(timeout=20))
        assert len(arrivals.times) == 10
        assert 0.2 < time.monotonic() - began < 0.25 + LATE


@pytest.mark.timed
def test_redirects_count() -> None:
    """Every hop takes a token of the origin that it goes to."""

    def hop(method: str, path: str, *_: Any) -> Any:
        number = int(path[1:])
        return (302, {'Location': f'/{number - 1:06}'}, '') if number else kit.echo(method, path, {}, b'')

    with paced(8, hop, redirect=True) as (server, pool, _):
        began = time.monotonic()
        assert pool.request(server.host, 'GET', '/000009').get(timeout=5).status == 200
        assert 0.2 < time.monotonic() - began < 0.25 + LATE


@pytest.mark.timed
def test_failed_connects_count() -> None:
    """A try that did not even connect is a try."""
    with FaultServer(listening=False) as dead, ClientPool(rate=8) as pool:
        began = time.monotonic()
        for _ in range(10):
            ask(pool, dead)
        pool.wait(timeout=20)
        assert 0.2 < time.monotonic() - began < 0.25 + LATE


def test_resent_after_the_wait() -> None:
    """What is sent once more in place of a dead connection waits for the rate if it must, and is answered."""
    with FaultServer([READ, ANSWER, READ, CLOSE]) as server, ClientPool(rate=2) as pool:
        assert_right(ask(pool, server).get())
        outcome = ask(pool, server).get(timeout=20)
        assert_right(outcome)
        assert outcome.attempts == 2 and len(server.requests) == 3


def test_no_burst_after_slow_connects() -> None:
    """Tokens are taken at the moment of sending: connections that were long in coming do not all send at once."""
    go = Event()

    def resolver(host: str, port: int) -> list[Any]:
        go.wait(5)
        return [address(port)]

    with paced(20, simultaneous=64, resolver=resolver) as (server, pool, arrivals):
        host = f'slow.example:{server.port}'
        for _ in range(64):
            ask(pool, host)
        gevent.sleep(0.6)
        go.set()
        wait_until(lambda: len(arrivals.times) >= 20)
        gevent.sleep(0.2)
        arrivals.check(20)
        assert pool.stats()[host]['queued'] >= 64 - 20 - 20 * (
            time.monotonic() - arrivals.times[0] + 0.25 + arrivals.gap
        )
        pool.cancel()


def test_no_burst_after_slow_authenticators() -> None:
    """Nor do requests whose authenticators took their time."""
    go = Event()

    def authenticator(request: Request) -> Request:
        go.wait(5)
        return request

    with Arrivals() as arrivals, serve(arrivals) as server, ClientPool(authenticator, 64, rate=20) as pool:
        for _ in range(64):
            ask(pool, server)
        gevent.sleep(0.6)
        go.set()
        wait_until(lambda: len(arrivals.times) >= 22)
        arrivals.check(20)
        pool.cancel()


def test_no_burst_after_slow_answers() -> None:
    """While a server is slow, what waits saves up one second's worth and no more."""
    gate = Gate()
    with Arrivals() as arrivals, serve(arrivals, gate=gate) as server, ClientPool(simultaneous=2, rate=20) as pool:
        for _ in range(64):
            ask(pool, server)
        gate.wait_for(2)
        gevent.sleep(0.9)
        gate.open()
        wait_until(lambda: len(arrivals.times) >= 24)
        arrivals.times[:2] = []  # when those two were answered, not when they came
        arrivals.check(20)
        pool.cancel()


# Waiting for the rate ------------------------------------------------------------------------------------------------


def test_deadlines_of_what_waits() -> None:
    """What waits for the rate is in the queue, and its time runs."""
    with paced(1) as (server, pool, _):
        ask(pool, server).get()
        late = ask(pool, server, timeout=0.1)
        assert repr(late).endswith("'queue'>")
        stats = pool.stats()[server.host]
        assert (stats['queued'], stats['in_flight']) == (1, 0)
        with pytest.raises(QueueTimeout):
            late.get(timeout=20)
        assert [type(outcome) for outcome in pool.wait()] == [Response, QueueTimeout]


@pytest.mark.timed
def test_cancelled_while_it_waits() -> None:
    """A request that is cancelled while it waits takes no token."""
    with paced(5) as (server, pool, arrivals):
        began = time.monotonic()
        asked = [ask(pool, server) for _ in range(1000)]
        wait_until(lambda: len(arrivals.times) == 5)
        for pending in asked[5:-1]:
            pending.cancel()
        assert_right(asked[-1].get(timeout=20))
        assert time.monotonic() - began < 0.2 + LATE


NOTHING_LEFT = """
import sys, time, gevent
from napixclient import ClientPool
pool = ClientPool(rate=0.001)
for end in (lambda: asked[1].cancel(), pool.cancel, pool.close):
    host = f'http://{sys.argv[1]}'.replace('127.0.0.1', ['127.0.0.1', '127.0.0.2', '127.0.0.3'][len(pool.stats())])
    asked = [pool.request(host, 'GET', '/000001') for _ in range(2)]
    asked[0].get()
    gevent.sleep(0.01)
    assert not gevent.wait(timeout=0.05), 'the loop lives while something waits for the rate'
    end()
    assert gevent.wait(timeout=5), 'something was left'
del asked
print('done')
"""


def test_what_would_wake_it_keeps_nothing_waiting() -> None:
    """While a request waits for the rate the loop lives; when it was cancelled `gevent.wait()` returns."""
    with serve(address='0.0.0.0') as server:
        done = kit.run_program(NOTHING_LEFT, server.at('127.0.0.1'))
        assert (done.code, done.out, done.err) == (0, 'done\n', '')


def test_closed_while_it_waits() -> None:
    """To close the pool ends what waits, and its timer: the fixture counts."""
    with paced(0.01) as (server, pool, _):
        asked = [ask(pool, server) for _ in range(10)]
        assert_right(asked[0].get())
        pool.close()
        assert all(isinstance(pending.exception, Cancelled) for pending in asked[1:])


def test_dropped_while_it_waits() -> None:
    """Requests of a pool that nobody holds still have their outcome; then the pool is collected."""
    with serve() as server:
        pool: ClientPool | None = ClientPool(rate=10)
        assert pool is not None
        asked = [ask(pool, server) for _ in range(12)]
        del pool
        gc.collect()
        for pending in asked:
            assert_right(pending.get(timeout=20))
        del pending, asked
        wait_until(lambda: gc.collect() is not None and not server.peers)


FORKED = """
import os, sys, gevent
from napixclient import Cancelled, ClientPool
pool = ClientPool(rate=5)
asked = [pool.request(sys.argv[1], 'GET', '/000001') for _ in range(6)]
for pending in asked[:5]:
    pending.get()
child = os.fork()
if not child:
    # What waited is the parent's; the child's own waits, and is answered.
    good = isinstance(asked[5].exception, Cancelled) and gevent.wait(timeout=0.05)
    good = good and pool.request(sys.argv[1], 'GET', '/000001').get(timeout=5).status == 200
    os._exit(0 if good else 1)
print(os.waitpid(child, 0)[1], asked[5].get(timeout=5).status)
"""


def test_forked_while_it_waits() -> None:
    """In the child what waits is cancelled and its timer gone; parent and child go on."""
    with serve() as server:
        done = kit.run_program(FORKED, server.host)
        assert (done.code, done.out, done.err) == (0, '0 200\n', '')


def test_it_holds_no_slot() -> None:
    """A host that waits for its rate leaves the pool's only connection to the others, and gets it back in its turn."""
    with paced(0.5, max_connections=1) as (server, pool, _), serve() as other:
        first, second = ask(pool, server), ask(pool, server)
        first.get()
        assert_right(ask(pool, other).get(timeout=10))
        assert not second.ready()
        assert_right(second.get(timeout=20))


@pytest.mark.timed
def test_many_hosts_and_few_slots() -> None:
    """Hosts with a rate take turns for few connections, each as fast as it may be."""
    with serve(arrivals := Arrivals()) as server:
        names = Names(**{f'host{number}': server for number in range(20)})
        with ClientPool(rate=5, max_connections=2, resolver=names) as pool:
            began = time.monotonic()
            for _ in range(7):
                for number in range(20):
                    ask(pool, f'host{number}.example:{server.port}')
            for outcome in pool.wait(timeout=20):
                assert_right(outcome)
            assert 0.35 < time.monotonic() - began < 0.4 + 3 * LATE
            assert len(arrivals.times) == 140 and len(server.peers) <= 2


def test_what_a_host_owes_is_not_forgotten() -> None:
    """A host that has been idle for long is forgotten, but not while a new one might do what it must not yet."""
    with serve() as server, ClientPool(rate=2, idle_seconds=0.05) as pool:
        for _ in range(3):
            ask(pool, server).get()
        wait_until(lambda: not server.peers)
        assert list(pool.stats()) == [server.host]  # it owes more than a second
        wait_until(lambda: pool.stats() == {}, 30)


def test_kills_at_random() -> None:
    """However many are killed, each has one outcome and an answer its own; then all is as before."""
    rng = random.Random(7)
    with paced(400, simultaneous=5) as (server, pool, arrivals):
        asked = [ask(pool, server) for _ in range(700)]
        for pending in rng.sample(asked, 500):
            if rng.random() < 0.2:
                gevent.sleep(0.001)
            pending.cancel()
        outcomes = pool.wait(timeout=20)
        assert tags(outcomes) == tags(asked)
        for outcome in outcomes:
            assert isinstance(outcome, Cancelled) or outcome.data.decode() == outcome.request.tag
        arrivals.check(400)
        assert_right(ask(pool, server).get(timeout=20))
        assert pool.stats()[server.host]['queued'] == 0


# 429 from a server ---------------------------------------------------------------------------------------------------

TOO_MANY = 429, {'Retry-After': '1'}, ''
HELD_BACK = [b'HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n']


@pytest.mark.timed
def test_429_pauses_the_origin() -> None:
    """Nothing goes to the origin while the pause lasts, with or without retries; other origins do not notice."""
    with (
        paced(20, Arrivals(TOO_MANY), simultaneous=1) as (server, pool, arrivals),
        paced(20, Arrivals(TOO_MANY), retries=Retry(1, status_forcelist=[429])) as (other, retrying, others),
        serve() as third,
    ):
        for _ in range(8):
            ask(pool, server)
        ask(retrying, other)
        wait_until(lambda: arrivals.times)
        assert_right(ask(pool, third).get(timeout=10))
        first, *outcomes, _ = pool.wait(timeout=20)
        assert first.status == 429
        for outcome in (*outcomes, *retrying.wait(timeout=20)):
            assert_right(outcome)
        assert outcome.attempts == 2
        for times in (arrivals.times, others.times):
            assert 0.95 < times[1] - times[0] < 1 + LATE
        assert arrivals.times[-1] - arrivals.times[1] > 0.4  # half of 20 a second, and growing


def test_429_while_more_is_in_flight() -> None:
    """What is in flight finishes, and makes way for nothing; its connections rest."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=3, rate=50) as pool:
        asked = [ask(pool, server) for _ in range(6)]
        first, *others = gate.wait_for(3)
        first.release(HELD_BACK)
        wait_until(lambda: pool.stats()[server.host]['failed'] == 1)
        for held in others:
            held.release()
        wait_until(lambda: pool.stats()[server.host]['done'] == 2)
        asked.append(ask(pool, server))
        gevent.sleep(0.2)
        assert (gate.arrived, pool.stats()[server.host]['queued'], len(server.peers)) == (3, 4, 3)


def test_429_while_a_connection_is_opened(authority: kit.Authority) -> None:
    """A request whose connection is open only in the pause goes back to the queue, and is sent after it."""
    gate = Gate()
    with (
        SlowHandshake(gate=gate, tls=authority.server()) as server,
        Client(server.host, rate=50, ca_certs=authority.ca_certs) as client,
    ):
        server.willing.set()
        client.submit('GET', '/000001')
        (first,) = gate.wait_for(1)
        server.willing.clear()
        second = client.submit('GET', '/000002')
        wait_until(lambda: server.accepted == 2)
        first.release(HELD_BACK)
        wait_until(lambda: client.stats()['failed'] == 1)
        gate.open()
        server.willing.set()
        wait_until(lambda: client.stats()['queued'] == 1 and len(client._pool.slots.idle) == 2)
        assert gate.arrived == 1 and not second.ready()
        assert second.get(timeout=20).data == b'000002'


def test_429_while_an_authenticator_runs() -> None:
    """A request whose authenticator is through only in the pause goes back to the queue, and holds no slot."""
    gate, go, asked = Gate(), Event(), 0

    def authenticator(request: Request) -> None:
        nonlocal asked
        asked += 1
        if request.url == '/000002':
            go.wait(5)

    with serve(gate=gate) as server, Client(server.host, authenticator, rate=50) as client:
        client.submit('GET', '/000001')
        (first,) = gate.wait_for(1)
        second = client.submit('GET', '/000002')
        wait_until(lambda: asked == 2)
        first.release(HELD_BACK)
        wait_until(lambda: client.stats()['failed'] == 1)
        go.set()
        wait_until(lambda: client.stats()['queued'] == 1 and len(client._pool.slots.idle) == 2)
        assert gate.arrived == 1 and repr(second).endswith("'queue'>")


@pytest.mark.timed
@pytest.mark.parametrize('answer', [(429, {}, ''), (429, {'Retry-After': 'soon'}, ''), (503, {'Retry-After': '9'}, '')])
def test_what_does_not_pause(answer: Any) -> None:
    """Only a 429 that says for how long pauses an origin."""
    with paced(20, Arrivals(answer)) as (server, pool, _):
        began = time.monotonic()
        for _ in range(6):
            ask(pool, server)
        pool.wait(timeout=20)
        assert time.monotonic() - began < LATE


@pytest.mark.timed
def test_429_without_a_rate() -> None:
    """Where no rate was given, none is made up."""
    with serve(Arrivals(TOO_MANY)) as server, ClientPool() as pool:
        began = time.monotonic()
        for _ in range(6):
            ask(pool, server)
        pool.wait(timeout=20)
        assert time.monotonic() - began < LATE


# The caps ------------------------------------------------------------------------------------------------------------


class PacedMachine(Machine):
    """A pool with a rate that is no bound: what is looked at is everything around it."""

    asks, origins, simultaneous, limit = partial(PoolAsker, rate=1e6), 3, 2, 4


def test_caps_hold_with_a_rate() -> None:
    """In flight is what the caps allow, no more and no less, with a rate as without one."""
    run_state_machine_as_test(
        PacedMachine,
        settings=settings(
            max_examples=15, stateful_step_count=30, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        ),
    )
