"""Random kills in whatever takes more than one message: challenges, tokens, downloads, events, forms, local ends."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import gevent.pool
import pytest
from urllib3 import Retry

from napixclient import ClientPool, HTTPError, PendingResponse
from napixclient.authenticators import Digest, OAuth2ClientCredentials
from tests import kit

REQUESTS, KILLS, AT_A_TIME = 5_000, 1_000, 80
SIZE, PIECE, EVENTS = 60_000, 8_000, 8
BODY = bytes(number * 7 % 251 for number in range(SIZE))
KINDS = 'digest', 'oauth', 'download', 'events', 'form', 'source', 'unix'


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """That of the round."""
    return int(request.config.getoption('--hypothesis-seed') or 0)


class Peer(kit.Server):
    """Challenges, breaks off and closes at random, and counts the POSTs that it has carried out."""

    def __init__(self, rng: random.Random, tokens: list[str], **options: Any) -> None:
        super().__init__(self.plainly, **options)
        self.rng = rng
        self.tokens = tokens
        self.carried: Counter[str] = Counter()

    def turns(self, most: int = 4) -> None:
        """Some turns of the loop."""
        for _ in range(self.rng.randrange(most)):
            kit.turn()

    def answer(self, peer: kit.Peer) -> None:
        """By the kind that the path begins with."""
        request = peer.request
        assert request is not None
        kind = request.path.split('/')[1]
        if kind in ('download', 'events'):
            self.turns()
            for piece in getattr(self, kind)(request):
                peer.send(piece)
                self.turns(2)
        elif kind != 'free' and self.rng.random() < 0.01:
            self.plainly(request.method, request.path, request.headers, request.body)
            raise OSError('closed in place of the answer')
        else:
            super().answer(peer)
        if self.rng.random() < 0.01:
            raise OSError('closed behind the answer')

    def plainly(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """With the id, to who has the right."""
        kind, authorization = path.split('/')[1], headers.get('authorization', '')
        self.turns()
        if kind == 'digest' and (not authorization.startswith('Digest ') or self.rng.random() < 0.05):
            nonce = self.rng.randrange(1 << 30)
            closing = {'Connection': 'close'} if self.rng.random() < 0.2 else {}
            challenge = f'Digest realm="r", nonce="{nonce}", qop="auth", algorithm=SHA-256, stale=true'
            return 401, {'WWW-Authenticate': challenge, **closing}, b''
        if kind == 'oauth' and authorization != f'Bearer {self.tokens[-1]}':
            return 401, {'WWW-Authenticate': 'Bearer'}, b''
        if self.rng.random() < 0.02:
            self.tokens.append(f't{len(self.tokens)}')
        self.carried[kit.id_of(path)] += method == 'POST'
        self.turns()
        return kit.echo(method, path, headers, body)

    def download(self, request: kit.Received) -> Iterator[bytes]:
        """The part that was asked for, or less."""
        asked = request.headers.get('range')
        first = int(asked[6:-1]) if asked else 0
        status = f'206 Partial\r\nContent-Range: bytes {first}-{SIZE - 1}/{SIZE}' if asked else '200 OK'
        yield f'HTTP/1.1 {status}\r\nETag: "a"\r\nContent-Length: {SIZE - first}\r\n\r\n'.encode()
        for at in range(first, SIZE, PIECE):
            if self.rng.random() < 0.08:
                raise OSError('broken off')
            yield BODY[at : at + PIECE]

    def events(self, request: kit.Received) -> Iterator[bytes]:
        """Those behind the last one, or some of them."""
        last = int(request.headers.get('last-event-id', '0'))
        if last == EVENTS:
            yield b'HTTP/1.1 204 No Content\r\n\r\n'
            return
        yield b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
        for number in range(last + 1, EVENTS + 1):
            text = f'retry: {self.rng.choice([1, 3, 20])}\nid: {number}\ndata: {request.id} {number}\n\n'
            yield f'{len(text):x}\r\n{text}\r\n'.encode()
            if self.rng.random() < 0.1:
                raise OSError('broken off')
            if self.rng.random() < 0.1:
                break
        yield b'0\r\n\r\n'


def issue(rng: random.Random, tokens: list[str]) -> kit.Handler:
    """Gives out the last token, after some turns of the loop."""

    def handler(*_: Any) -> Any:
        for _ in range(rng.randrange(6)):
            kit.turn()
        if rng.random() < 0.1:
            return 503, {}, b''
        document = {'access_token': tokens[-1], 'token_type': 'bearer', 'expires_in': 1000}
        return 200, {'Content-Type': 'application/json'}, json.dumps(document).encode()

    return handler


class Caller:
    """Asks, and checks what comes.

    :param folder: for what is downloaded and sent.
    """

    def __init__(self, rng: random.Random, servers: dict[str, Peer], issuer: kit.Server, folder: Path) -> None:
        self.rng = rng
        self.servers = servers
        self.folder = folder
        self.asked: dict[str, PendingResponse] = {}
        self.ends: Counter[str] = Counter()
        self.denied: list[str] = []  # carried out, though the error says that nobody has
        #: What is under way: id -> the request and the greenlet that waits for it.
        self.under_way: dict[str, tuple[PendingResponse, gevent.Greenlet[..., None]]] = {}
        options: dict[str, Any] = {kind: {} for kind in KINDS} | {
            'digest': {'authenticator': Digest('a', 'b')},
            'oauth': {'authenticator': OAuth2ClientCredentials(f'{issuer.url}/token', 'id', 'secret')},
            'download': {'retries': Retry(50, backoff_factor=0)},
            'source': {'source_address': '127.0.0.3', 'local_port_range': (41000, 41999)},
        }
        self.pools = {kind: ClientPool(simultaneous=2, retry_budget=None, **options[kind]) for kind in KINDS}

    def _ask(self, kind: str, id: str, files: ExitStack) -> PendingResponse:
        rng, host = self.rng, self.servers[kind].host
        how: dict[str, Any] = {'timeout': rng.random() * 0.05} if rng.random() < 0.05 else {}
        if kind in ('download', 'events'):
            return self.pools[kind].request(host, 'GET', f'/{kind}/{id}', tag=id, stream=True, **how)
        if kind == 'form':
            path = self.folder / 'form'
            path.write_bytes(b'x' * rng.choice([10, 300_000]))
            how['multipart'] = {'id': id, 'file': ('name', files.enter_context(path.open('rb')), 'text/plain')}
        elif rng.random() < 0.5:
            return self.pools[kind].request(host, 'GET', f'/{kind}/{id}', None, {'Connection': 'close'}, tag=id, **how)
        else:
            how['body'] = b'x' * rng.choice([1, 1000, 200_000])
        return self.pools[kind].request(host, 'POST', f'/{kind}/{id}', tag=id, **how)

    def call(self, kind: str, id: str) -> None:
        """Ask, and wait for all of it."""
        with ExitStack() as files:
            pending = self.asked[id] = self._ask(kind, id, files)
            self.under_way[id] = pending, gevent.getcurrent()
            pending.rawlink(lambda _: self.ends.update([id]))
            try:
                self._check(kind, id, pending.get())
            except HTTPError as error:
                if error.unprocessed and self.servers[kind].carried[id]:
                    self.denied.append(id)
            except (gevent.GreenletExit, gevent.Timeout):
                pending.cancel()
            finally:
                del self.under_way[id]

    def _check(self, kind: str, id: str, answer: Any) -> None:
        if kind == 'download':
            with answer:
                answer.save(self.folder / id, resume=True)
            assert (self.folder / id).read_bytes() == BODY
        elif kind == 'events':
            with answer:
                said = [event.data for event in answer.iter_events()]
            assert said == [f'{id} {number}' for number in range(1, EVENTS + 1)]
        else:
            assert answer.data == id.encode()

    def strike(self) -> None:
        """End something that is under way, in one of the ways that there are."""
        pending, greenlet = self.under_way[self.rng.choice(list(self.under_way))]
        ways: list[Callable[[], object]] = [
            pending.cancel,
            lambda: greenlet.kill(block=False),
            lambda: greenlet.kill(gevent.Timeout(1), block=False),
            getattr(pending.outcome, 'cancel', pending.cancel),
        ]
        self.rng.choice(ways)()


@pytest.mark.usefixtures('tidy')
def test_kills_wherever_they_fall(seed: int, tmp_path: Path) -> None:
    """Each has one outcome, no POST is carried out twice, and slots, caps and descriptors are what they were."""
    rng, tokens = random.Random(seed), ['t0']
    with ExitStack() as stack:
        issuer = stack.enter_context(kit.serve(issue(rng, tokens)))
        addresses = {'unix': {'address': f'{tmp_path}/x.sock'}}
        servers = {kind: stack.enter_context(Peer(rng, tokens, **addresses.get(kind, {}))) for kind in KINDS}
        caller, group = Caller(rng, servers, issuer, tmp_path), gevent.pool.Group()
        for pool in caller.pools.values():
            stack.enter_context(pool)
        calls, kills = [], 0
        while len(calls) < REQUESTS or len(group):
            for _ in range(min(AT_A_TIME - len(group), REQUESTS - len(calls))):
                calls.append(group.spawn(caller.call, rng.choice(KINDS), kit.next_id()))
            gevent.sleep(rng.choice([0, 1e-6, 1e-4, 1e-3]))
            if caller.under_way and kills < KILLS:
                kills += 1
                caller.strike()
        gevent.joinall(calls, raise_error=True)
        assert kills == KILLS
        kit.wait_until(lambda: len(caller.ends) == len(caller.asked), 'each has an outcome')
        assert set(caller.ends.values()) == {1}
        for kind, server in servers.items():
            assert [id for id, times in server.carried.items() if times > 1] == []
            assert server.gate.peak <= 2, kind
            _assert_slots(caller.pools[kind], server)
        assert caller.denied == []


def _assert_slots(pool: ClientPool, server: kit.Server) -> None:
    """Both slots of a pool are free, and there are no more."""
    server.gate.shut()
    asked = [pool.request(server.host, 'GET', f'/free/{kit.next_id()}') for _ in range(4)]
    server.gate.wait_for(2)
    kit.turn()
    assert server.gate.in_flight == 2
    server.gate.open()
    assert [pending.get().status for pending in asked] == [200] * 4
