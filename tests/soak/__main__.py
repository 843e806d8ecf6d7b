"""`python -m tests.soak`: row 40 of the faults, a million requests of which a tenth are killed, in flat memory.

An nginx in a process of its own answers each request with its method and path; one in ten is asked over TLS, one in
five is a POST. Half of the victims are cancelled in a pool; the other half are those of greenlets that are killed
while they wait in `Client.request` or take from `pool.stream`. Memory and descriptors are looked at on the way; at the
end everything must be given back, no answer may have been wrong, and nothing but what was killed may have failed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from napixclient import Cancelled, Client, ClientPool, HTTPError, Response
from tests import kit
from tests.soak.server import Hosts, nginx

BATCH = 200  # requests of one batch or one stream
FRONT = 16  # of the unfinished: a slot each
SAMPLES = 20
MEGABYTE = 2**20
GROWTH = 10 * MEGABYTE  # of memory, from the first sample to the last, that is still flat
PATIENCE = 60  # seconds in which some request must have ended


class Soak:
    """What is asked, how it ended, and whether it was right.

    :param total: requests to ask for.
    """

    def __init__(self, total: int, seed: int, hosts: Hosts) -> None:
        self.total = total
        self.rng = random.Random(seed)
        self.hosts = hosts
        self.asked = 0
        self.ended: Counter[str] = Counter()
        self.in_flight = 0  # of those that were cancelled
        self.wrong: list[str] = []

    def request(self) -> tuple[Any, ...]:
        """The next one: host, method, path, body."""
        self.asked += 1
        path = f'/{"packed" if self.asked % 7 == 0 else "plain"}/{self.asked:07}'
        host = self.hosts.tls if self.rng.random() < 0.1 else self.hosts.plain
        if self.rng.random() < 0.8:
            return host, 'GET', path
        return host, 'POST', path, self.rng.choice([{'number': self.asked}, b'x' * 5000, iter([b'in', b'chunks'])])

    @property
    def left(self) -> int:
        """How many are still to be asked."""
        return self.total - self.asked

    def check(self, outcome: Response | HTTPError, killed: bool = False) -> None:
        """Count an outcome: an answer must be that of its request, an error must have been asked for."""
        if isinstance(outcome, Response):
            request = outcome.request
            if outcome.data == f'{request.method} {request.url}\n'.encode() * (20 if 'packed' in request.url else 1):
                self.ended['answered'] += 1
                return
        elif killed and isinstance(outcome, Cancelled):
            self.ended['cancelled'] += 1
            self.in_flight += outcome.elapsed is not None
            return
        self.ended['wrong'] += 1
        self.wrong.append(f'{outcome.request}: {outcome!r} {getattr(outcome, "data", b"")!r}')

    def victim(self, asked: list[Any]) -> list[Any]:
        """One of those whose turn it is about now, so that most are in flight; none where all are through."""
        front = [each for each in asked if not each.ready()][:FRONT]
        return self.rng.sample(front, min(len(front), 1))

    # -- how it is asked -------------------------------------------------------------------------------------------

    def batch(self, pool: ClientPool) -> None:
        """Ask for a batch in a pool and cancel a tenth of it, whatever has just become of each."""
        pendings = [pool.request(*self.request()) for _ in range(min(BATCH, self.left))]
        doomed = {pending.request.url for pending in self.rng.sample(pendings, self.rng.randrange(5))}
        for pending in pendings:
            if pending.request.url in doomed:
                pending.cancel()  # at once: most are not even sent
        for outcome in pool.wait_unordered():
            self.check(outcome, outcome.request.url in doomed)
            if len(doomed) < len(pendings) // 10 and self.rng.random() < 0.3:
                for victim in self.victim(pendings):
                    doomed.add(victim.request.url)
                    (victim.cancel if self.rng.random() < 0.5 else victim.kill)()

    def stream(self, pool: ClientPool) -> None:
        """Stream a batch in a greenlet that is killed when a tenth is left: that tenth is dropped."""
        requests = [self.request() for _ in range(min(BATCH, self.left))]
        kept = len(requests) - len(requests) // 10
        taken = 0
        reached = Event()

        def consume() -> None:
            nonlocal taken
            for outcome in pool.stream(requests, ordered=self.rng.random() < 0.5, window=40):
                self.check(outcome)
                taken += 1
                if taken == kept:
                    reached.set()
                    gevent.sleep(PATIENCE)  # until the blow falls

        consumer = gevent.spawn(consume)
        gevent.wait([consumer, reached], count=1)
        consumer.kill()
        self.ended['killed'] += len(requests) - taken
        if not consumer.successful():
            self.wrong.append(f'a stream failed: {consumer.exception!r}')

    def callers(self, clients: dict[str, Client]) -> None:
        """Ask by `Client.request` in many greenlets, a tenth of which are killed at any moment."""

        def call(host: str, *how: Any) -> None:
            try:
                self.check(clients[host].request(*how))
            except HTTPError as error:
                self.check(error)

        greenlets = [gevent.spawn(call, *self.request()) for _ in range(min(BATCH, self.left))]
        before = self.ended.total()
        for _ in range(len(greenlets) // 10):
            if self.rng.random() < 0.5:
                kit.turn()
            for victim in self.victim(greenlets):
                victim.kill(block=False)
        gevent.joinall(greenlets)
        # A victim may have had its answer already.
        self.ended['killed'] += len(greenlets) - (self.ended.total() - before)

    # -- the whole -------------------------------------------------------------------------------------------------

    def play(self, each: int, sample: Callable[[], None]) -> None:
        """Ask for everything, taking a sample after so many requests."""
        next_sample = each
        with ExitStack() as stack:
            how: Any = {'simultaneous': 8, 'ca_certs': self.hosts.ca_certs}
            pool, streaming = (stack.enter_context(ClientPool(**how)) for _ in range(2))
            clients = {host: stack.enter_context(Client(host, **how)) for host in (self.hosts.plain, self.hosts.tls)}
            ways = [(self.batch, pool), (self.stream, streaming), (self.batch, pool), (self.callers, clients)]
            for way, what in itertools.cycle(ways):
                with gevent.Timeout(PATIENCE):
                    way(what)
                if self.asked >= next_sample:
                    sample()
                    next_sample += each
                if not self.left or self.wrong:
                    return


def columns(*values: object) -> None:
    """A line of the table."""
    print(''.join(f'{value!s:>12}' for value in values), flush=True)


def soak(total: int, seed: int, hosts: Hosts) -> Iterator[str]:
    """Ask for so many requests; yields what was not as it must be."""
    run = Soak(total, seed, hosts)
    memory: list[int] = []
    with ClientPool(ca_certs=hosts.ca_certs) as pool:  # what gevent makes once is no leak
        pool.request(hosts.plain, 'GET', '/plain/')
        pool.request(hosts.tls, 'GET', '/plain/')
        pool.wait(timeout=PATIENCE)
    before = kit.Leaks.now()
    began = time.monotonic()
    columns('requests', 'answered', 'cancelled', 'killed', 'memory', 'descriptors', 'greenlets', 'per second')

    def sample() -> None:
        memory.append(kit.rss())
        columns(
            run.asked,
            run.ended['answered'],
            run.ended['cancelled'],
            run.ended['killed'],
            f'{memory[-1] / MEGABYTE:.1f} MiB',
            len(kit.descriptors()),
            len(kit.greenlets()),
            f'{run.asked / (time.monotonic() - began):.0f}',
        )

    run.play(max(total // SAMPLES, 1), sample)
    print(f'{run.in_flight} of the cancelled were in flight')
    yield from run.wrong
    if run.ended.total() != run.asked:
        yield f'{run.asked} requests, but {run.ended.total()} ends: {run.ended}'
    if memory and memory[-1] - memory[0] > GROWTH:
        yield f'memory grew by {(memory[-1] - memory[0]) / MEGABYTE:.1f} MiB'
    try:
        before.assert_back()
    except AssertionError as exc:
        yield str(exc)


def main() -> int:
    """Soak, and say how it was."""
    parser = argparse.ArgumentParser(prog='python -m tests.soak', description='A soak test.')
    parser.add_argument('--requests', type=int, default=1_000_000)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    print(f"make soak ARGS='--requests {given.requests} --seed {given.seed}'")
    with tempfile.TemporaryDirectory(prefix='soak-') as name, nginx(Path(name)) as hosts:
        faults = list(soak(given.requests, given.seed, hosts))
    for fault in faults[:20]:
        print('FAULT:', fault)
    print('FAILED' if faults else 'passed')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
