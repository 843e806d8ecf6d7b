"""The cap that is learned: it finds what a server can take, gives way when that shrinks, and is never left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

import gevent
import pytest
from gevent.event import Event
from urllib3 import Timeout

from napixclient import Client, ClientPool, Response
from napixclient._http.adapting import CEILING, FLOOR, AdaptiveCap
from tests import kit
from tests.helpers_pool import ask, assert_right
from tests.kit import Gate, serve, wait_until

Noise = Callable[[random.Random], float]
NOISES: dict[str, Noise] = {
    'even': lambda rng: rng.uniform(0.8, 1.2),
    'skewed': lambda rng: 0.8 + rng.expovariate(5),
    'none': lambda rng: 1.0,
}


class Model:
    """A server that works on so many requests at a time, in the order they came, and a client that has always more.

    Time is the model's own. With `refuses` the server answers 503 at once to what it would have to keep waiting.
    """

    def __init__(
        self, capacity: int, seconds: float, noise: Noise = NOISES['even'], seed: int = 0, refuses: bool = False
    ) -> None:
        self.capacity, self.seconds, self.refuses = capacity, seconds, refuses
        self.now = 0.0
        self.cap = AdaptiveCap(lambda: self.now)
        self.seen = {self.cap.limit}
        self._noise, self._rng = noise, random.Random(seed)
        self._waiting: list[float] = []
        self._events: list[tuple[float, int, float, bool]] = []
        self._busy = self._in_flight = self._count = 0

    def _send(self) -> None:
        self._in_flight += 1
        if self.refuses and self._busy >= self.capacity:
            self._answer_at(self.now + self.seconds / 20, self.now, True)
        else:
            self._waiting.append(self.now)
            self._work()

    def _work(self) -> None:
        while self._waiting and self._busy < self.capacity:
            self._busy += 1
            self._answer_at(self.now + self.seconds * self._noise(self._rng), self._waiting.pop(0), False)

    def _answer_at(self, when: float, sent: float, refused: bool) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, sent, refused))

    def run(self, seconds: float) -> float:
        """Let so much time pass; the mean of the cap meanwhile is returned."""
        began, area = self.now, 0.0
        while self.now < began + seconds:
            while self._in_flight < self.cap.limit:
                self._send()
            when, _, sent, refused = heappop(self._events)
            area += self.cap.limit * (when - self.now)
            self.now = when
            self._in_flight -= 1
            if refused:
                self.cap.refused()
            else:
                self._busy -= 1
                self.cap.answered(when - sent, True)
            self._work()
            self.seen.add(self.cap.limit)
        return area / (self.now - began)

    def settle(self) -> None:
        """The time that it may take to find the capacity."""
        self.run(100 * self.seconds)

    def watch(self) -> float:
        """The mean of the cap over the time in which its baseline is measured anew, or some round trips."""
        return self.run(min(max(100 * self.seconds, 0.4), 15))


def near(mean: float, capacity: int) -> bool:
    """Within 20 %."""
    return abs(mean - capacity) <= 0.2 * capacity


# The model -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('noise', 'seconds'),
    [
        ('even', 0.001),
        ('even', 0.02),
        ('even', 0.2),
        ('skewed', 0.001),
        ('skewed', 0.02),
        ('skewed', 0.2),
        ('none', 0.02),
    ],
)
@pytest.mark.parametrize('capacity', [5, 10, 20, 40])
def test_it_finds_the_capacity(capacity: int, noise: str, seconds: float) -> None:
    """It comes within 20 % of what the server can take and stays there, gives way when that halves, and comes back."""
    model = Model(capacity, seconds, NOISES[noise], seed=capacity)
    for now in (capacity, capacity // 2, capacity):
        model.capacity = now
        model.settle()
        mean = model.watch()
        assert now < 5 or near(mean, now), (now, mean)
    assert min(model.seen) >= FLOOR and max(model.seen) <= CEILING


@pytest.mark.parametrize('capacity', [5, 10, 20, 40])
def test_it_finds_where_the_server_refuses(capacity: int) -> None:
    """So it does with a server that answers 503 instead of keeping requests waiting."""
    model = Model(capacity, 0.02, refuses=True)
    for now in (capacity, capacity // 2, capacity):
        model.capacity = now
        model.settle()
        mean = model.watch()
        assert now < 5 or near(mean, now), (now, mean)


def test_it_bears_with_wild_answers() -> None:
    """Where answers take any time at all (exponentially distributed), it is still about right."""
    means = []
    for seed in range(10):
        model = Model(10, 0.02, lambda rng: rng.expovariate(1), seed)
        model.settle()
        means.append(model.watch())
    assert min(means) > 3 and near(sum(means) / len(means), 10), means


def test_a_server_without_a_limit() -> None:
    """It grows to 64, by about one a round trip, and no further."""
    model = Model(1000, 0.05)
    model.run(120 * 0.05)
    assert model.cap.limit == CEILING
    model.run(10)
    assert max(model.seen) == CEILING


def test_a_server_that_does_one_thing_at_a_time() -> None:
    """It goes down to 2, and no further."""
    model = Model(1, 0.02)
    model.settle()
    assert model.watch() < 3.5
    assert min(model.seen) == FLOOR


def test_slower_answers_are_no_lasting_sign() -> None:
    """A server whose answers take longer from now on, however many there are, is found out by the next measurement."""
    model = Model(20, 0.01)
    model.settle()
    model.seconds = 0.03
    model.run(30)
    assert near(model.watch(), 20)


def test_jitter_of_a_millisecond() -> None:
    """Answers that come within half a millisecond, or one and a half, are no sign of anything."""
    rng = random.Random(1)
    cap = AdaptiveCap(lambda: 0.0)
    lowest = CEILING
    for count in range(30_000):
        cap.answered(0.0005 + 0.001 * rng.random(), True)
        if count > 10_000:
            lowest = min(lowest, cap.limit)
    assert lowest > CEILING // 2


def test_one_hiccup_is_no_sign() -> None:
    """One answer that took a hundred times as long changes nothing where there are many."""
    cap = AdaptiveCap(lambda: 0.0)
    for count in range(3000):
        cap.answered(2.0 if count % 150 == 0 else 0.02, True)
    assert cap.limit == CEILING


# Growing and shrinking -----------------------------------------------------------------------------------------------


def grown_to(limit: int, clock: Callable[[], float] = lambda: 0.0) -> AdaptiveCap:
    """A cap that has come so far."""
    cap = AdaptiveCap(clock)
    while cap.limit < limit:
        cap.answered(0.02, True)
    return cap


def test_one_more_a_window() -> None:
    """It grows by one with each window of as many answers as it is (at least 16)."""
    cap, steps, last = AdaptiveCap(lambda: 0.0), [], 0
    for count in range(3000):
        before = cap.limit
        cap.answered(0.02, True)
        if cap.limit != before:
            steps.append((before, count - last))
            assert cap.limit == before + 1
            last = count
    assert steps[1:] == [(limit, max(limit, 16)) for limit in range(3, CEILING)]


def test_it_grows_only_where_it_is_the_bound() -> None:
    """While nothing waits for it, the cap stays what it is."""
    cap = AdaptiveCap(lambda: 0.0)
    for count in range(1000):
        cap.answered(0.02, count % 3 == 0)
    assert cap.limit == FLOOR


def test_a_burst_of_refusals_counts_once() -> None:
    """Of the refusals and timeouts of what was in flight together one makes it shrink; a later one does again."""
    cap = grown_to(40)
    for _ in range(40):
        cap.refused()
    assert cap.limit == 34
    cap.refused()
    assert cap.limit == 34
    for _ in range(60):
        cap.answered(0.02, False)
    cap.refused()
    assert cap.limit == 28
    for _ in range(5000):
        cap.refused()
    assert cap.limit == FLOOR


def test_the_baseline_is_measured_anew() -> None:
    """Every ten seconds, or forty windows if these take longer, it drops to half for one window, then goes back."""
    now = 0.0
    cap = grown_to(20, lambda: now)
    drops = []
    for _ in range(25_000):
        now += 0.001
        before = cap.limit
        cap.answered(0.02, True)
        if cap.limit < before:
            assert cap.limit == before // 2
            drops.append(now)
        elif drops and cap.limit > before + 1:
            assert before == cap.limit // 2 and now - drops[-1] < 0.2
    assert [round(drop) for drop in drops] == [10, 20]


# A real server -------------------------------------------------------------------------------------------------------


class Workers:
    """A handler that works on so many requests at a time, each for so long; the others wait in turn."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self.capacity, self.seconds = capacity, seconds
        self._busy = 0
        self._waiting: list[Event] = []

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """Answer after the work, for which requests queue."""
        if self._busy >= self.capacity:
            turn = Event()
            self._waiting.append(turn)
            turn.wait()
        self._busy += 1
        gevent.sleep(self.seconds)
        self._busy -= 1
        if self._waiting and self._busy < self.capacity:
            self._waiting.pop(0).set()
        return kit.echo(method, path, headers, body)


@contextmanager
def streaming(pool: ClientPool, server: kit.Server) -> Iterator[None]:
    """The pool has always more to ask of the server."""

    def requests() -> Iterator[Any]:
        while True:
            yield server.host, 'GET', '/000001'

    def consume() -> None:
        for outcome in pool.stream(requests(), window=150):
            assert isinstance(outcome, Response)

    consumer = gevent.spawn(consume)
    try:
        yield
    finally:
        consumer.kill()
        pool.cancel()
    assert isinstance(consumer.value, gevent.GreenletExit), repr(consumer.exception)


@pytest.mark.usefixtures('tidy')
def test_a_real_server() -> None:
    """Over real connections too it finds about what the server can take, and never has more in flight than its cap."""
    workers, gate = Workers(8, 0.04), Gate(opened=True)
    with serve(workers, gate=gate) as server, ClientPool(simultaneous='auto') as pool:

        def cap() -> int:
            found: int = pool.stats()[server.host]['simultaneous']
            return found

        def mean(seconds: float) -> float:
            end, caps = time.monotonic() + seconds, []
            while time.monotonic() < end:
                gevent.sleep(0.005)
                caps.append(cap())
            return sum(caps) / len(caps)

        with streaming(pool, server):
            wait_until(lambda: server.host in pool.stats() and cap() >= 7, 'that it has grown', 30)
            assert 4 < mean(0.8) < 12
            assert gate.peak <= 20
            workers.capacity = 2
            wait_until(lambda: cap() <= 4, 'that it has given way', 30)


@pytest.mark.usefixtures('tidy')
def test_it_begins_with_two() -> None:
    """A client, and each origin of a pool, begins with two, as its stats tell."""
    gate = Gate()
    with (
        serve(gate=gate) as server,
        ClientPool(simultaneous='auto') as pool,
        Client(server.host, simultaneous='auto') as client,
    ):
        for _ in range(5):
            ask(pool, server)
            client.submit('GET', '/000001')
        gate.wait_for(4)
        gevent.sleep(0.01)
        assert gate.in_flight == 4
        assert pool.stats()[server.host]['simultaneous'] == client.stats()['simultaneous'] == 2


@pytest.mark.usefixtures('tidy')
def test_as_many_as_the_cap() -> None:
    """When the cap grows, more is sent at once; when it shrinks, nothing is cut, and no more is sent until it fits."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, simultaneous='auto') as client:
        assert client._pool.throttle.cap is not None
        asked = [client.submit('GET', f'/{number:06}') for number in range(60)]
        gate.wait_for(2)
        client._pool.throttle.cap.limit = 10
        gate.held()[0].release()
        held = gate.wait_for(10)
        client._pool.throttle.cap.limit = 4
        for one in held[:6]:
            one.release()
        wait_until(lambda: sum(pending.ready() for pending in asked) == 7)
        gevent.sleep(0.01)
        assert gate.in_flight == 4 and gate.peak == 10 and len(server.peers) == 4
        gate.peak = 0
        gate.open()
        for pending in asked:
            assert pending.get(timeout=5).status == 200
        assert gate.peak <= client.stats()['simultaneous'] + 1


@pytest.mark.usefixtures('tidy')
def test_idle_connections_above_the_cap() -> None:
    """When the cap shrinks, the connections above it that are idle are closed at once."""
    gate = Gate()
    with serve(gate=gate) as server, Client(server.host, simultaneous='auto') as client:
        assert client._pool.throttle.cap is not None
        client._pool.growth.follow_limit(8)
        client._pool.throttle.cap.limit = 8
        for number in range(8):
            client.submit('GET', f'/{number:06}')
        held = gate.wait_for(8)
        for one in held[:6]:
            one.release()
        wait_until(lambda: len(client._pool.slots.idle) == 6)
        client._pool.throttle.cap.limit = 3
        held[6].release()
        wait_until(lambda: len(server.peers) == 3)
        assert client._pool.slots.used == 3
        gate.open()


OVERLOADED = {
    503: [b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n'],
    429: [b'HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n'],
}


@pytest.mark.usefixtures('tidy')
@pytest.mark.parametrize('sign', [503, 429, 'read', 'total', 'connect'])
def test_signs_of_overload(sign: Any) -> None:
    """A 429, a 503 and each kind of timeout make the cap shrink."""
    gate = Gate()
    timeout = {'read': Timeout(read=0.1), 'total': 0.1, 'connect': Timeout(connect=0.1)}.get(sign)
    with (
        serve(gate=gate) as server,
        kit.FullServer() as full,
        Client(full.host if sign == 'connect' else server.host, simultaneous='auto', timeout=timeout) as client,
    ):
        assert client._pool.throttle.cap is not None
        client._pool.throttle.cap = grown_to(20)
        client._pool.growth.follow_limit(20)
        pending = client.submit('GET', '/000001')
        if sign in OVERLOADED:
            gate.wait_for(1)[0].release(OVERLOADED[sign])
        wait_until(pending.ready)
        assert client.stats()['simultaneous'] == 17


@pytest.mark.usefixtures('tidy')
def test_the_pool_is_the_bound() -> None:
    """Where it is the pool that has no place for more connections, the cap does not grow."""
    with serve() as server, ClientPool(simultaneous='auto', max_connections=1) as pool:
        for _ in range(200):
            ask(pool, server)
        for outcome in pool.wait(timeout=10):
            assert_right(outcome)
        assert pool.stats()[server.host]['simultaneous'] == 2


@pytest.mark.usefixtures('tidy')
def test_the_rate_is_the_bound() -> None:
    """Where it is the rate that holds requests back, the cap does not grow."""
    with serve() as server, ClientPool(simultaneous='auto', rate=20) as pool:
        for _ in range(24):  # twenty at once, the rest at the rate
            ask(pool, server)
        pool.wait(timeout=10)
        before = pool.stats()[server.host]['simultaneous']
        for _ in range(20):
            ask(pool, server)
        pool.wait(timeout=10)
        assert pool.stats()[server.host]['simultaneous'] == before
