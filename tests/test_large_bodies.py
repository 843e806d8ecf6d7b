"""Large bodies: received into their place, read in pieces, and sent by the system as the files that they are."""

from __future__ import annotations

import gc
import gzip
import io
import os
import random
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    BodyTooLarge,
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    ProtocolError,
    ReadTimeout,
    RemoteError,
    TruncatedBody,
)
from tests import kit
from tests.kit import CLOSE, READ, RST, SILENCE, FaultServer, Forever, Wait, serve, wait_until
from tests.side_by_side import side_by_side

pytestmark = pytest.mark.usefixtures('oracle')

BODY = random.Random(16).randbytes(3_000_001)
PACKED = gzip.compress(BODY, 1)
TURN = bytes(reversed(range(256)))
HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'
both_schemes = pytest.mark.parametrize('scheme', ['http', 'https'])
SIZES = [65_535, 65_536, 65_537, 98_303, 98_304, 262_143, 262_145, len(BODY)]


def announced(size: int) -> bytes:
    """The head of an answer with a body of so many bytes."""
    return HEAD % size


def failure(call: Callable[[], Any]) -> HTTPError:
    """The error of a call that must fail."""
    with pytest.raises(HTTPError) as caught:
        call()
    return caught.value


@contextmanager
def asking(
    scheme: str, authority: kit.Authority, *scripts: Any, **options: Any
) -> Iterator[tuple[FaultServer, Client]]:
    """A server that plays scripts, and a client of it with one slot."""
    tls = authority.server() if scheme == 'https' else None
    with (
        FaultServer(*scripts, tls=tls) as server,
        Client(server.host, simultaneous=1, ca_certs=authority.ca_certs, **options) as client,
    ):
        yield server, client


# Received whole ------------------------------------------------------------------------------------------------------


@both_schemes
@side_by_side(SIZES, [True, False])
def test_intact(size: int, stream: bool, scheme: str, authority: kit.Authority) -> None:
    """A body of whatever size arrives as it was sent, whole or in pieces, and its connection goes on."""
    body = BODY[:size]
    with asking(scheme, authority, [READ, announced(size) + body, READ, announced(6) + b'000002']) as (server, client):
        assert client.request('GET', '/', stream=stream).data == body
        assert client.request('GET', '/').data == b'000002'
        assert server.accepted == 1


@both_schemes
@side_by_side([1, 300, 16_384, 70_000, 1_000_003], [True, False])
def test_intact_however_it_is_cut(piece: int, stream: bool, scheme: str, authority: kit.Authority) -> None:
    """However a server cuts head and body, they arrive as they were sent; a 1xx before them changes nothing."""
    size = 200_000 if piece < 1000 else len(BODY)
    sent = b'HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n' + announced(size) + BODY[:size]
    sent, rest = sent[: 40 * piece], sent[40 * piece :]  # thousands of turns prove no more
    pieces = [sent[at : at + piece] for at in range(0, len(sent), piece)]
    with asking(scheme, authority, [READ, *pieces, rest]) as (server, client):
        assert client.request('GET', '/', stream=stream).data == BODY[:size]
        assert client.request('GET', '/000002').data == b'000002'


@both_schemes
@side_by_side([70_000, len(BODY)], [True, False])
def test_more_than_the_body(size: int, stream: bool, scheme: str, authority: kit.Authority) -> None:
    """Bytes behind a body belong to nothing: the answer stands, and its connection carries no other."""
    behind = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong'
    with asking(scheme, authority, [READ, announced(size) + BODY[:size] + behind, READ, SILENCE]) as (server, client):
        assert client.request('GET', '/', stream=stream).data == BODY[:size]
        assert client.request('GET', '/000002').data == b'000002'
        assert server.accepted == 2


ENDS: dict[str, tuple[Any, type[HTTPError]]] = {
    'close': (CLOSE, TruncatedBody),
    'reset': (RST, TruncatedBody),
    'silence': (SILENCE, ReadTimeout),
}


@both_schemes
@side_by_side(ENDS, [10, 2_000_000, len(BODY) - 1], [True, False])
def test_cut(end: str, came: int, stream: bool, scheme: str, authority: kit.Authority) -> None:
    """A body that ends before its length is never half an answer; in pieces, what came can be read before the error."""
    step, expected = ENDS[end]
    clocks = urllib3.Timeout(read=0.8)
    with asking(scheme, authority, [READ, announced(len(BODY)) + BODY[:came], step], timeout=clocks) as (_, client):
        if stream:
            found = client.request('GET', '/', stream=True)
            parts: list[bytes] = []
            error = failure(lambda: parts.extend(found.iter_bytes()))
            if end != 'reset':  # which takes from the kernel what nobody has read
                assert b''.join(parts) == BODY[:came]
        else:
            error = failure(lambda: client.request('GET', '/', retries=False))
        assert isinstance(error, expected) and error.phase == 'read'
        assert client.request('GET', '/000002', timeout=20).data == b'000002'


@both_schemes
def test_cut_refusal(scheme: str, authority: kit.Authority) -> None:
    """A refusal that is cut by a reset tells what there is to tell, with as much of its body as came."""
    head = b'HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n' % len(BODY)
    read = Event()
    with asking(scheme, authority, [READ, head + BODY[:200_000], Wait(read), RST]) as (_, client):
        pending = client.submit('GET', '/')
        wait_until(lambda: client.stats()['in_flight'] == 1)
        gevent.sleep(0.2)  # a reset takes what has not been read
        read.set()
        error = failure(pending.get)
        assert isinstance(error, RemoteError) and error.status == 413
        assert BODY.startswith(error.response.data)


@side_by_side(['GET', 'HEAD'], ['200 OK', '204 No Content', '304 Not Modified'])
def test_length_without_a_body(method: str, status: str, authority: kit.Authority) -> None:
    """The length of a body that is not sent is waited for by nobody (RFC 9110 §8.6)."""
    if (method, status) == ('GET', '200 OK'):
        return
    head = f'HTTP/1.1 {status}\r\nContent-Length: 3000000\r\n\r\n'.encode()
    with asking('http', authority, [READ, head, READ, announced(6) + b'000002']) as (server, client):
        assert client.request(method, '/').data == b''
        assert client.request('GET', '/').data == b'000002'
        assert server.accepted == 1


@side_by_side([True, False])
def test_coded(stream: bool, authority: kit.Authority) -> None:
    """The content coding of a large body is undone."""
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n' % len(PACKED)
    with asking('http', authority, [READ, head + PACKED]) as (_, client):
        assert client.request('GET', '/', stream=stream).data == BODY


def test_bound(authority: kit.Authority) -> None:
    """A length above the bound is refused at the head."""
    script = [READ, announced(1 << 50), SILENCE]
    with asking('http', authority, script, script) as (_, client):
        assert isinstance(failure(lambda: client.request('GET', '/')), BodyTooLarge)
        assert isinstance(failure(lambda: client.request('GET', '/', stream=True, max_body=1 << 49)), BodyTooLarge)
        assert client.request('GET', '/000003').data == b'000003'


@side_by_side(['cancel', 'deadline'], ['http', 'https'])
def test_ended_in_the_middle(end: str, scheme: str, authority: kit.Authority) -> None:
    """Whoever cancels, or runs out of time, in the middle of a large body has the slot back."""
    size = 1 << 40
    script = [READ, announced(size), Forever(BODY)]
    with asking(scheme, authority, script, max_body=size) as (_, client):
        pending = client.submit('GET', '/', timeout=30 if end == 'cancel' else 0.3)
        if end == 'cancel':
            gevent.sleep(0.1)
            pending.cancel()
        assert isinstance(failure(pending.get), Cancelled if end == 'cancel' else DeadlineExceeded)
        assert client.request('GET', '/000002', timeout=20).data == b'000002'


def test_nobody_starves(authority: kit.Authority) -> None:
    """While one server sends all that it can, others are asked and answer."""
    size = 1 << 40
    with (
        asking('http', authority, [READ, announced(size), Forever(BODY)], max_body=size) as (_, greedy),
        serve() as server,
        Client(server.host) as client,
    ):
        pending = greedy.submit('GET', '/')
        for number in range(1, 100):
            assert client.request('GET', f'/{number:06}', timeout=20).data == b'%06d' % number
        assert not pending.ready()
        pending.cancel()


@both_schemes
@side_by_side([0, 10, 1_000_000], [10, 100_000, 2_000_000])
def test_rest_at_once(before: int, more: int, scheme: str, authority: kit.Authority) -> None:
    """Who is interrupted while all of the rest is awaited misses nothing, however it is read then."""
    go = Event()
    first = before + more
    script = [READ, announced(len(BODY)) + BODY[:first], Wait(go), BODY[first:], READ, announced(6) + b'000002']
    with asking(scheme, authority, script) as (server, client):
        found = client.request('GET', '/', stream=True)
        parts = [found.read(before)]
        for _ in range(2):
            with gevent.Timeout(0.2, False):
                found.read()
        parts.append(found.read(more))
        go.set()
        parts += [found.read(5), next(found.iter_bytes(), b''), found.read()]
        assert b''.join(parts) == BODY
        assert client.request('GET', '/', timeout=20).data == b'000002'
        assert (server.accepted, client.stats()['bytes']) == (1, len(BODY) + 6)


@side_by_side(['close', 'cancel', 'leave'])
def test_rest_that_never_comes(end: str, authority: kit.Authority) -> None:
    """Who awaits all of the rest hears that it does not come, and the slot is back."""
    go = Event()
    script = [READ, announced(len(BODY)) + BODY[:1_000_000], Wait(go), CLOSE if end == 'close' else SILENCE]
    with asking('http', authority, script) as (_, client):
        found = client.request('GET', '/', stream=True)
        reader = gevent.spawn(failure, found.read)
        gevent.sleep(0.1)
        if end == 'leave':
            reader.kill()
            found.close()
        else:
            go.set()
            if end == 'cancel':
                found.cancel()
            assert isinstance(reader.get(timeout=20), TruncatedBody if end == 'close' else Cancelled)
        assert client.request('GET', '/000002', timeout=20).data == b'000002'
        go.set()


# Memory --------------------------------------------------------------------------------------------------------------


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Tells how many bytes the interpreter has asked for, at most, since it began."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


#: Prints its peak memory by what it holds in the end, both without what it had at first.
HOLDS = """
import sys
from napixclient import ClientPool
def memory(what):
    with open('/proc/self/status') as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(what))
host, count = sys.argv[1], int(sys.argv[2])
with ClientPool(simultaneous=count) as pool:
    pool.request(host, 'GET', '/first').get()
    before = memory('VmRSS:')
    for _ in range(count):
        pool.request(host, 'GET', '/large')
    held = sum(len(answer.data) for answer in pool.wait()[1:])
    print((memory('VmHWM:') - before) / held)
"""


def test_received_into_its_place() -> None:
    """What the memory of bodies that come side by side peaks at is hardly more than what is held of them."""
    body = BODY * 2
    with serve(lambda method, path, *_: (200, None, body if path == '/large' else b'first')) as server:
        finished = kit.run_program(HOLDS, server.host, 16)
    assert (finished.code, finished.err) == (0, '')
    assert float(finished.out) < 1.15


def test_rest_is_received_into_its_place() -> None:
    """Who reads all of a streamed body holds it once."""
    body = BODY * 6
    with FaultServer([READ, announced(len(body)) + body, SILENCE]) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        with traced() as peak:
            assert len(found.data) == len(body)
            assert peak() < 1.15 * len(body)
            assert found.data == body


def test_a_mere_claim_takes_no_memory() -> None:
    """A length takes memory when its bytes come, and not when it is announced."""
    count, size = 20, 60_000_000
    script = [READ, announced(size) + BODY[:100], SILENCE]
    with FaultServer(*[script] * count) as server, ClientPool(simultaneous=count) as pool, traced() as peak:
        for _ in range(count):
            pool.request(server.host, 'GET', '/')
        answers = pool.wait(timeout=0.5)
        assert peak() < count * 1_000_000
        assert all(isinstance(answer, DeadlineExceeded) for answer in answers)


#: Has little memory for what comes; prints the error, and the answer to the next request.
LACKS = """
import resource, sys
from napixclient import Client, HTTPError
with Client(sys.argv[1], max_body=1 << 40) as client:
    client.request('GET', '/000001')
    with open('/proc/self/statm') as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 300_000_000,) * 2)
    try:
        client.request('GET', '/000002')
    except HTTPError as error:
        print(type(error).__name__, type(error.__cause__).__name__, error.phase)
    print(client.request('GET', '/000003').text)
"""


def test_no_memory_left() -> None:
    """Where there is no memory for a body that goes on, its request fails, and no other."""
    script = [READ, announced(6) + b'000001', READ, announced(1 << 40), Forever(BODY)]
    with FaultServer(script) as server:
        finished = kit.run_program(LACKS, server.host)
    assert (finished.err, finished.out) == ('', 'ProtocolError MemoryError read\n000003\n')


def test_idle_connections_hold_no_body() -> None:
    """A body belongs to its answer alone, though the connection that it came over stays."""
    with serve(lambda *_: (200, None, BODY)) as server, Client(server.host, simultaneous=1) as client:
        answer = client.request('GET', '/')
        assert gc.get_referrers(answer.data) == [answer]
        assert client.request('GET', '/').data == BODY
        assert server.accepted == 1


def test_slow_reader_costs_little() -> None:
    """What a reader has not asked for stays with the server, however fast that is."""
    script = [READ, announced(1 << 40), Forever(BODY)]
    with FaultServer(script) as server, Client(server.host) as client, traced() as peak:
        found = client.request('GET', '/', stream=True)
        for _ in range(10):
            assert found.read(100_000)
            gevent.sleep(0.02)
        assert peak() < 2_000_000
        found.close()


# Sent ----------------------------------------------------------------------------------------------------------------


class Turned(io.FileIO):
    """A file of which other bytes are read than are in it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Each byte turned round."""
        return (super().read(size) or b'').translate(TURN)


@contextmanager
def written(kind: str, directory: Path, size: int = len(BODY)) -> Iterator[tuple[Any, bytes]]:
    """A file of some kind, and what is to arrive of it."""
    path = directory / f'{kind}-{kit.next_id()}'
    body = BODY[:size]
    path.write_bytes(body)
    if kind == 'temporary':
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(body)  # of which the last bytes are still in its buffer
            file.seek(0)
            yield file, body
    elif kind == 'coded':
        body = body[:200_000]
        path.write_bytes(gzip.compress(body, 1))
        with gzip.open(path) as coded:
            yield coded, body
    elif kind == 'turned':
        with Turned(path) as turned:
            yield turned, body.translate(TURN)
    elif kind == 'text':
        path.write_bytes(b'a\xe9' * 100_000)
        with open(path, encoding='latin-1') as text:
            yield text, 'a\xe9'.encode() * 100_000
    else:
        with open(path, 'r+b' if kind == 'written to' else 'rb', 0 if kind == 'unbuffered' else -1) as real:
            if kind == 'written to':
                real.write(b'overwritten')
                real.seek(0)
                body = b'overwritten' + body[11:]
            yield real, body


KINDS = ['plain', 'unbuffered', 'written to', 'temporary', 'coded', 'turned', 'text']


@both_schemes
@side_by_side(KINDS)
def test_sent_as_it_reads(kind: str, scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """Whatever a file is made of, the server gets what whoever reads it would get, over and over."""
    with asking(scheme, authority) as (server, client), written(kind, tmp_path) as (file, body):
        for number in range(2):
            assert client.request('POST', f'/{number:06}', file).data == b'%06d' % number
            assert server.requests[-1].body == body
        assert server.accepted == 1


@side_by_side(['plain', 'unbuffered', 'temporary'], ['http', 'https'])
def test_sent_from_where_it_stands(kind: str, scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """A file is sent from where it stands, which it is not moved from: several can send it at once."""
    with asking(scheme, authority) as (server, client), written(kind, tmp_path) as (file, body):
        file.seek(1_000_003)
        pending = [client.submit('PUT', f'/{number:06}', file) for number in range(3)]
        for number, one in enumerate(pending):
            assert one.get(timeout=30).data == b'%06d' % number
        assert [request.body for request in server.requests] == [body[1_000_003:]] * 3
        assert file.tell() == 1_000_003


def head_of(peer: kit.Peer) -> bytes:
    """The head of a request, with what came with it."""
    data = b''
    while b'\r\n\r\n' not in data:
        data += peer.socket.recv(65536)
    return data


class Half(kit.Server):
    """Reads the head and the first bytes of a body, and the rest when it is told to."""

    def __init__(self, **options: Any) -> None:
        self.go = Event()
        self.reading = Event()
        self.seen = bytearray()
        self.gone = Event()
        super().__init__(**options)

    def talk(self, peer: kit.Peer) -> None:
        """Until the client leaves, or has sent all."""
        self.seen += head_of(peer)
        self.reading.set()
        self.go.wait()
        try:
            while data := peer.socket.recv(65536):
                self.seen += data
        except OSError:
            pass
        self.gone.set()


@side_by_side(['shrinks', 'closes', 'grows'], ['http', 'https'])
def test_file_that_changes_meanwhile(change: str, scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """A file that loses its end, or is closed, while it is sent is its request's failure; one that grows ends as it was."""
    size = 60_000_000  # more than the kernel takes for both sides
    path = tmp_path / f'{change}{scheme}'
    with open(path, 'wb') as made:
        made.truncate(size)
    tls = authority.server() if scheme == 'https' else None
    with Half(tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client, open(path, 'rb') as file:
        pending = client.submit('PUT', '/', file, timeout=25)
        assert server.reading.wait(20)
        gevent.sleep(0.2)
        if change == 'closes':
            file.close()
        else:
            os.truncate(path, 50_000_000 if change == 'shrinks' else 70_000_000)
        server.go.set()
        if change == 'grows':
            wait_until(lambda: len(server.seen) >= size, seconds=20)
            gevent.sleep(0.1)
            assert server.seen.endswith(b'\0') and server.seen.count(b'\0') == size
            pending.cancel()
            return
        error = failure(pending.get)
        assert (type(error), error.phase) == (HTTPError, 'send')
        assert isinstance(error.__cause__, ValueError)
        assert server.gone.wait(20)
        assert server.seen.count(b'\0') < size


@side_by_side(['http', 'https'])
def test_server_that_reads_nothing(scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """A server that stops reading is a timeout like any other, and the slot is back."""
    path = tmp_path / scheme
    with open(path, 'wb') as made:
        made.truncate(60_000_000)
    tls = authority.server() if scheme == 'https' else None
    clocks = urllib3.Timeout(read=0.5)
    with Half(tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client, open(path, 'rb') as file:
        error = failure(lambda: client.request('PUT', '/', file, timeout=clocks))
        assert isinstance(error, ReadTimeout) and error.phase == 'send'
        error = failure(lambda: client.request('PUT', '/', file, timeout=0.5))
        assert isinstance(error, DeadlineExceeded) and error.phase == 'send'
        assert client.stats()['in_flight'] == 0
        server.go.set()


@side_by_side(['agrees', 'refuses', 'is silent'])
def test_file_that_is_held_back(server_does: str, authority: kit.Authority, tmp_path: Path) -> None:
    """Not a byte of a file goes out before the server agrees, or has been silent for a while (RFC 9110 §10.1.1)."""
    first = {
        'agrees': [b'HTTP/1.1 100 Continue\r\n\r\n'],
        'refuses': [b'HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', CLOSE],
        'is silent': [],
    }[server_does]

    class Reluctant(Half):
        """Looks at the head first."""

        def talk(self, peer: kit.Peer) -> None:
            """Then answer."""
            self.seen += head_of(peer)
            self.play(first, peer)
            if server_does != 'refuses':
                while not self.seen.endswith(BODY[-100:]):
                    self.seen += peer.socket.recv(65536)
                peer.send(announced(2) + b'ok')

    with Reluctant() as server, Client(server.host) as client, written('plain', tmp_path) as (file, body):
        if server_does == 'refuses':
            error = failure(lambda: client.request('PUT', '/', file, expect=True))
            assert isinstance(error, RemoteError) and error.status == 413
            assert server.seen.endswith(b'\r\n\r\n')
        else:
            assert client.request('PUT', '/', file, expect=True, timeout=20).data == b'ok'
            assert server.seen.endswith(body)


@side_by_side(['503', '307', 'closed'])
def test_file_is_sent_once_more(why: str, authority: kit.Authority, tmp_path: Path) -> None:
    """A retry, or a redirect, sends a file from its beginning again."""
    first = {
        '503': b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n',
        '307': b'HTTP/1.1 307 Over There\r\nLocation: /000001\r\nContent-Length: 0\r\n\r\n',
        'closed': RST,
    }[why]
    retries = urllib3.Retry(2, status_forcelist=[503])
    with asking('http', authority, [READ, first]) as (server, client), written('plain', tmp_path) as (file, body):
        file.seek(5)
        found = client.request('PUT', '/000001', file, retries=retries, redirect=True, timeout=20)
        assert found.data == b'000001'
        assert [request.body for request in server.requests] == [body[5:]] * 2


@side_by_side(['http', 'https'])
def test_reset_while_a_file_is_sent(scheme: str, authority: kit.Authority, tmp_path: Path) -> None:
    """A connection that breaks while a file goes out is a failure of the protocol, and not of the file."""
    path = tmp_path / scheme
    with open(path, 'wb') as made:
        made.truncate(60_000_000)

    class Resetting(kit.Server):
        """Resets behind the head."""

        def talk(self, peer: kit.Peer) -> None:
            """At once."""
            head_of(peer)
            peer.reset()

    tls = authority.server() if scheme == 'https' else None
    with (
        Resetting(tls=tls) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
        open(path, 'rb') as file,
    ):
        error = failure(lambda: client.request('POST', '/', file, timeout=20))
        assert isinstance(error, ProtocolError)


@side_by_side(['goes on reading', 'closes', 'resets'], [False, True])
def test_early_refusal(then: str, stream: bool, authority: kit.Authority, tmp_path: Path) -> None:
    """The refusal of a server that does not want the rest of a file is heard, and its connection carries no other."""
    path = tmp_path / f'{then}{stream}'
    with open(path, 'wb') as made:
        made.truncate(60_000_000)

    class Refusing(FaultServer):
        """Refuses the first request at its head."""

        def talk(self, peer: kit.Peer) -> None:
            """Answer before the body."""
            if peer.number:
                super().talk(peer)
                return
            head_of(peer)
            peer.send(b'HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large')
            if then == 'goes on reading':
                peer.drain()
            elif then == 'resets':
                peer.finish()
                gevent.sleep(0.05)
                peer.reset()

    with Refusing() as server, Client(server.host, simultaneous=1) as client, open(path, 'rb') as file:
        error = failure(lambda: client.request('POST', '/', file, stream=stream, timeout=20))
        assert isinstance(error, RemoteError) and error.status == 413
        assert error.response.data == b'too large'
        assert client.request('GET', '/000001', timeout=20).data == b'000001'
        assert server.accepted == 2
