"""Everything at once, in an order that a seed decides: whatever happens, the ledger of slots is right at every moment."""

from __future__ import annotations

import gzip
import http.cookiejar
import random
from typing import Any

import gevent
import pytest
from urllib3 import Retry

from napixclient import ClientPool, HTTPError, Request, Response
from tests import kit

pytestmark = pytest.mark.usefixtures('tidy')

SEEDS = range(8)
PACKED = gzip.compress(bytes(range(250)) * 2000)
ANSWERS = [
    *[b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'] * 8,
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200',  # and what nobody asked for
    b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b' % (len(PACKED), PACKED),
    b'HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: /next\r\n\r\n',
    b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n',
    b'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n',
    b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n',
]
LAST = [
    b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx',
    b'',
    b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx',
]


class Disorderly(kit.Server):
    """Answers, or does not, now or later."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        super().__init__()

    def talk(self, peer: kit.Peer) -> None:
        """Until it closes or resets."""
        rng = self.rng
        while rng.random() > 0.03:
            self.read(peer)
            if rng.random() < 0.3:
                gevent.sleep(rng.random() * 0.003)
            if rng.random() < 0.08:
                peer.send(rng.choice(LAST))
                break
            peer.send(rng.choice(ANSWERS))
        if rng.random() < 0.5:
            peer.reset()
        else:
            peer.close()


class Signing:
    """An authenticator that blocks or fails now and then."""

    def __init__(self, rng: random.Random, blocking: bool) -> None:
        self.rng = rng
        self.blocking = blocking

    def __call__(self, request: Request) -> None:
        """Sign nothing."""
        self.act(self.blocking)

    def challenged(self, request: Request, response: Response) -> Request | None:
        """Perhaps."""
        self.act(True)
        return request if self.rng.random() < 0.8 else None

    def act(self, may_block: bool) -> None:
        """Block or fail."""
        if may_block and self.rng.random() < 0.3:
            kit.turn()
        if self.rng.random() < 0.03:
            raise KeyError('no key')


def assert_right(pool: ClientPool) -> None:
    """Each slot is one connection or attempt; each connection is in use or idle, in one place, and nobody waits in vain."""
    slots, origins = pool._core.slots, list(pool._origins.pools.values())
    opened = [connection for origin in origins for connection in origin.slots.open]
    idle = [connection for origin in origins for connection in origin.slots.idle]
    assert slots.used == len(opened) + sum(len(origin.slots.connecting) for origin in origins) <= slots.limit
    assert set(opened) == slots.open and len(opened) == len(slots.open)
    assert set(idle) == set(slots.idle) and len(idle) == len(slots.idle) and slots.open.issuperset(idle)
    for connection in opened:
        assert connection.idle is (connection in slots.idle) and not connection.closed
    if slots.used < slots.cap:
        assert not any(waiter.wants_more() for waiter in (*slots.starved, *slots.wants_more))


def options(rng: random.Random) -> dict[str, Any]:
    """Those of a pool: small numbers, so that everything is scarce."""
    return {
        'simultaneous': rng.choice([1, 2, 4, 'auto']),
        'max_connections': rng.choice([1, 2, 3, 50]),
        'max_idle': rng.choice([None, 0, 1]),
        'idle_seconds': rng.choice([0.001, 0.05, 60]),
        'redirect': rng.random() < 0.5,
        'rate': rng.choice([None, None, 500]),
        'retries': rng.choice([None, Retry(2, status_forcelist=[503], backoff_factor=0)]),
        'cookies': rng.choice([None, http.cookiejar.CookieJar()]),
    }


def submit(pool: ClientPool, rng: random.Random, hosts: list[str]) -> Any:
    """Any request."""
    method = rng.choice(['GET', 'POST', 'PUT'])
    body = None if method == 'GET' else rng.choice([b'x', b'y' * 100_000, (b'a', b'b'), iter([b'a', b'b'])])
    expect = body is not None and rng.random() < 0.05
    return pool.request(rng.choice(hosts), method, '/', body, stream=rng.random() < 0.2, expect=expect)


def let_go(pending: Any, rng: random.Random) -> None:
    """Read or close a streamed answer."""
    try:
        if rng.random() < 0.5 and pending.value is not None:
            assert pending.value.data is not None
    except HTTPError:
        pass
    if hasattr(pending.value, 'close'):
        pending.value.close()


@pytest.mark.parametrize('seed', SEEDS)
def test_the_ledger_is_right_at_every_moment(seed: int) -> None:
    """Closes, resets, redirects, challenges, retries, cancels and streams: no slot is lost, and each request ends."""
    rng = random.Random(seed)
    with Disorderly(rng) as one, Disorderly(rng) as other, kit.Server(listening=False) as dead:
        authenticator = rng.choice([None, Signing(rng, True), Signing(rng, False)])
        with ClientPool(authenticator, **options(rng)) as pool:
            pendings: list[Any] = []
            for _ in range(60):
                pendings += [submit(pool, rng, [one.host, other.host, dead.host]) for _ in range(rng.randrange(4))]
                for pending in rng.sample(pendings, min(len(pendings), 2)):
                    if rng.random() < 0.1:
                        pending.cancel()
                    elif pending.ready():
                        let_go(pending, rng)
                assert_right(pool)
                gevent.sleep(rng.choice([0, 1e-6, 0.002]))
                assert_right(pool)
            while not all(pending.ready() for pending in pendings):
                for pending in pendings:
                    let_go(pending, rng)
                kit.turn()
                assert_right(pool)
            for pending in pendings:
                let_go(pending, rng)
            kit.wait_until(lambda: pool._core.slots.used == len(pool._core.slots.idle), 'rest')
            assert_right(pool)
