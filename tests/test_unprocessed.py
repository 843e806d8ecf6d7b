"""What TCP tells of a request that got no answer: whether it can have been carried out."""

from __future__ import annotations

import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.subprocess
import pytest
from gevent import monkey, socket
from urllib3 import Retry

from napixclient import Cancelled, Client, ClientPool, HTTPError, ProtocolError, QueueTimeout, RefusedError, RemoteError
from napixclient.resources import Resources
from tests import kit
from tests.kit import ANSWER, CLOSE, FIN, READ, RST, SILENCE, FaultServer, next_id

pytestmark = pytest.mark.usefixtures('tidy')

SAFE = 'not carried out as far as TCP can tell, safe to ask again'
Write = Callable[[bytes | memoryview], int]
# The real one: gevent's closes in a later turn of the loop.
close: Any = monkey.get_original('os', 'close')
of_linux = pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells what was acknowledged')


class ClosesBehind(kit.Server):
    """Ends a connection with the same turn of the loop in which it has answered, and does not say so before."""

    every = 40

    def talk(self, peer: kit.Peer) -> None:
        """Answer so many requests."""
        for _ in range(self.every):
            self.read(peer)
            self.answer(peer)
        peer.close()


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('body', [b'x', None, 'read once'])
@pytest.mark.parametrize('method', ['POST', 'PATCH', 'PUT', 'PURGE'])
def test_an_end_behind_an_answer_is_seen(
    method: str, body: bytes | str | None, scheme: str, authority: kit.Authority
) -> None:
    """What cannot be sent twice is not written to a connection whose end has come, however well the server kept it."""
    tls = authority.server() if scheme == 'https' else None
    with ClosesBehind(tls=tls) as server, ClientPool(simultaneous=2, ca_certs=authority.ca_certs) as pool:
        for _ in range(200):
            content: Any = iter([b'once']) if body == 'read once' else body
            pool.request(server.host, method, f'/{next_id()}', content)
        answers = pool.wait(timeout=40)
        assert [answer.status for answer in answers] == [200] * 200
        assert {answer.attempts for answer in answers} == {1}
        assert set(Counter(request.path for request in server.requests).values()) == {1}


class ClosesUnderTheWrite(kit.Server):
    """Closes its first connection in front of a write of a pool: the bytes leave when it is over, and are never read.

    :param answers: those that it has given before.
    """

    def __init__(self, answers: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.answers = answers
        self.over = gevent.event.Event()

    def talk(self, peer: kit.Peer) -> None:
        """Answer, and then do not even read."""
        if peer.number:
            super().talk(peer)
        for _ in range(self.answers):
            self.read(peer)
            self.answer(peer)
        self.over.wait()

    def around(self, send: Write) -> Write:
        """Write after the close where it is the write that comes too late."""
        writes = iter(range(1000))

        def write(data: bytes | memoryview) -> int:
            if self.accepted == 1 and next(writes) == self.answers:
                self._close()
            return send(data)

        return write

    def _close(self) -> None:
        sock = self.peers[0].socket
        if self.tls is not None:
            sock.settimeout(0)  # so that unwrap() only says goodbye
            with suppress(OSError):
                sock.unwrap()
        close(sock.detach())
        self.over.set()


class LookedAt(ClientPool):
    """A pool whose writes pass a last look before the kernel has the bytes, as under the lease of a service."""

    def __init__(self, server: ClosesUnderTheWrite, authenticator: Any = None, **options: Any) -> None:
        super().__init__(authenticator, **options)
        self._core.guard = server.around


@of_linux
@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('method', ['GET', 'POST', 'PATCH'])
def test_a_request_that_came_too_late_is_sent_again(method: str, scheme: str, authority: kit.Authority) -> None:
    """Where TCP tells that the server had closed before the request came, any request goes over another connection."""
    tls = authority.server() if scheme == 'https' else None
    with ClosesUnderTheWrite(tls=tls) as server, LookedAt(server, ca_certs=authority.ca_certs) as pool:
        for _ in range(3):
            pool.request(server.host, method, f'/{next_id()}', None if method == 'GET' else b'x')
            [answer] = pool.wait(timeout=20)
            assert answer.status == 200
            assert method == 'GET' or answer.attempts == 1
        assert len(server.requests) == 3


class SendsNoMore(ClosesUnderTheWrite):
    """Ends its own direction in front of a write of a pool, and goes on with the script: it may read what comes."""

    def __init__(self, *script: Any, **options: Any) -> None:
        super().__init__(**options)
        self.script = script

    def talk(self, peer: kit.Peer) -> None:
        """On its first connection, answer before and play the script after."""
        if peer.number:
            kit.Server.talk(self, peer)
        self.read(peer)
        self.answer(peer)
        self.over.wait()
        self.play(self.script, peer)

    def _close(self) -> None:
        sock = self.peers[0].socket
        if self.tls is not None:
            sock.settimeout(0)
            with suppress(OSError):
                sock.unwrap()
        with monkey.get_original('socket', 'socket')(fileno=os.dup(sock.fileno())) as same:
            same.shutdown(socket.SHUT_WR)
        self.over.set()


@of_linux
@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('then', [(), (CLOSE,), (SILENCE,)])
def test_who_sends_no_more_may_read_on(then: Any, scheme: str, authority: kit.Authority) -> None:
    """A FIN that came before the request is no proof where no RST follows: it is sent once, and nothing is promised."""
    tls = authority.server() if scheme == 'https' else None
    with SendsNoMore(READ, *then, tls=tls) as server, LookedAt(server, ca_certs=authority.ca_certs) as pool:
        for _ in range(2):
            pool.request(server.host, 'POST', f'/{next_id()}', b'x')
            [outcome] = pool.wait(timeout=20)
        assert isinstance(outcome, ProtocolError)
        assert not outcome.unprocessed and SAFE not in str(outcome)
        kit.wait_until(lambda: len(server.requests) == 2)
        kit.turn()
        assert len(server.requests) == server.accepted + 1 == 2


@of_linux
def test_a_reset_that_comes_later() -> None:
    """As over links with delay: behind a FIN it is waited for the RST, and the request is sent again."""
    statuses = []
    for _ in range(10):  # the system may be quicker to acknowledge, in which case nothing is known
        with SendsNoMore(kit.Pause(0.002), CLOSE) as server, LookedAt(server) as pool:
            for _ in range(2):
                pool.request(server.host, 'POST', f'/{next_id()}', b'x')
                [outcome] = pool.wait(timeout=20)
            statuses.append(outcome.status)
            assert len(server.requests) == 1 + (outcome.status == 200)
    assert 200 in statuses


@of_linux
@pytest.mark.parametrize('how', ['cancel', 'close'])
def test_nothing_is_left_of_the_wait_for_a_reset(how: str) -> None:
    """A request that waits for it is in flight like any other: it can be cancelled."""
    with SendsNoMore(SILENCE) as server, LookedAt(server) as pool:
        pool.request(server.host, 'POST', f'/{next_id()}', b'x').get()
        last = pool.request(server.host, 'POST', f'/{next_id()}', b'x')
        server.over.wait()
        kit.turn()
        (last.cancel if how == 'cancel' else pool.close)()
        assert isinstance(last.exception, Cancelled) and not last.exception.unprocessed


@of_linux
def test_who_wants_no_resend_is_told() -> None:
    """With ``retries`` that forbid it, the error says that it is safe to ask again."""
    with ClosesUnderTheWrite() as server, LookedAt(server, retries=Retry(False)) as pool:
        for _ in range(2):
            pool.request(server.host, 'POST', f'/{next_id()}', b'x')
            [outcome] = pool.wait(timeout=20)
        assert isinstance(outcome, ProtocolError)
        assert outcome.unprocessed and SAFE in str(outcome)
        assert pickle.loads(pickle.dumps(outcome)).unprocessed
        assert len(server.requests) == 1


@of_linux
@pytest.mark.parametrize('tries', [0, 1])
@pytest.mark.parametrize('proxied', [False, True])
def test_retries_of_connections_cover_it(tries: int, proxied: bool) -> None:
    """urllib3 counts it among the failures to connect, as the server did not receive it: a POST is tried again too."""
    with ClosesUnderTheWrite(answers=0) as server:
        retry, proxy = Retry(connect=tries, read=0), f'http://{server.host}' if proxied else None
        pool = LookedAt(server, lambda request: kit.wait_until(lambda: server.accepted), retries=retry, proxy=proxy)
        pool.request('origin.example' if proxied else server.host, 'POST', f'/{next_id()}', b'x')
        [outcome] = pool.wait(timeout=20)
        assert (outcome.status, len(server.requests)) == ((200, 1) if tries else (None, 0))
        assert tries or (outcome.unprocessed and SAFE in str(outcome))


#: What a server does that reads the second request over a connection, and of which nobody can tell what became.
READ_IT: dict[str, Any] = {
    'closes': [READ, ANSWER, READ, CLOSE],
    'resets': [READ, ANSWER, READ, RST],
    'sends no more': [READ, ANSWER, READ, FIN, SILENCE],
}


@pytest.mark.parametrize('scheme', ['http', 'https'])
@pytest.mark.parametrize('size', [1, 3_000_000])
@pytest.mark.parametrize('script', READ_IT)
def test_what_was_read_is_never_called_unprocessed(
    script: str, size: int, scheme: str, authority: kit.Authority
) -> None:
    """A request that the server has read may have been carried out: it is sent once, and its error promises nothing."""
    tls = authority.server() if scheme == 'https' else None
    with FaultServer(READ_IT[script], tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        client.request('POST', f'/{next_id()}', b'x')
        with pytest.raises(ProtocolError) as caught:
            client.request('POST', f'/{next_id()}', b'x' * size)
        assert not caught.value.unprocessed and SAFE not in str(caught.value)
        assert len(server.requests) == 2


#: Carries out a request when its head has come, and prints it; a large one it answers with a RST.
ACTS_ON_HEADS = """
import socket, ssl, struct, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    peer = context.wrap_socket(listener.accept()[0], server_side=True)
    while data := peer.recv(16384):
        print(data.split()[1].decode(), flush=True)
        if len(data) > 1000:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            break
        peer.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')
    peer.close()
"""


@pytest.mark.parametrize('kept', [True, False])
def test_a_write_that_fails_behind_its_first_record(kept: bool, tmp_path: Path, authority: kit.Authority) -> None:
    """TLS writes record after record: where one fails, the server may have read those before, and acted on the head."""
    chain = tmp_path / 'chain.pem'
    authority.certificate('127.0.0.1').private_key_and_cert_chain_pem.write_to_path(str(chain))
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', ACTS_ON_HEADS, str(chain)], stdout=gevent.subprocess.PIPE, text=True
    )
    try:
        host = f'https://127.0.0.1:{int(process.stdout.readline())}'
        large = [f'/{next_id()}' for _ in range(40)]
        for path in large:  # a matter of chance, each of them
            with Client(host, ca_certs=authority.ca_certs) as client:
                if kept:
                    client.request('POST', f'/{next_id()}', b'x')
                with pytest.raises(ProtocolError) as caught:
                    client.request('POST', path, b'x' * 60_000)
                assert not caught.value.unprocessed and SAFE not in str(caught.value)
    finally:
        process.kill()
        carried_out = Counter(process.communicate()[0].split())
    assert [carried_out[path] for path in large] == [1] * len(large)


def test_what_was_never_sent() -> None:
    """A request of which not a byte was sent is safe to ask again; one that the server has read is not."""
    with kit.serve() as server, FaultServer([READ, SILENCE]) as silent, ClientPool(simultaneous=1) as pool:
        refused = socket.socket()
        refused.bind(('127.0.0.1', 0))
        nobody = f'127.0.0.1:{refused.getsockname()[1]}'
        sent = pool.request(silent.host, 'POST', f'/{next_id()}', b'x', timeout=0.2)
        queued = pool.request(silent.host, 'POST', f'/{next_id()}', b'x', timeout=0.1)
        cancelled = pool.request(silent.host, 'POST', f'/{next_id()}', b'x')
        cancelled.cancel()
        unheard = pool.request(nobody, 'POST', '/', b'x')
        gevent.wait([sent, queued, cancelled, unheard])
        refused.close()
        assert isinstance(unheard.exception, RefusedError) and unheard.exception.unprocessed
        assert isinstance(queued.exception, QueueTimeout) and queued.exception.unprocessed
        assert isinstance(cancelled.exception, Cancelled) and cancelled.exception.unprocessed
        assert isinstance(sent.exception, HTTPError) and not sent.exception.unprocessed
        assert not server.requests


def test_what_was_answered() -> None:
    """An answer of 400 or above leaves open what was carried out."""
    with kit.serve(lambda *_: (500, {}, b'')) as server, Client(server.host) as client:
        with pytest.raises(RemoteError) as answered:
            client.request('POST', '/', b'x')
        assert not answered.value.unprocessed


class LastRequest(kit.Server):
    """Reads one request, closes, and takes no further connection."""

    def talk(self, peer: kit.Peer) -> None:
        """Nobody listens when the client hears of it."""
        self.read(peer)
        self._listener.close()
        kit.turn()  # which leaves the closing to a later turn of the loop
        peer.close()


def test_an_earlier_attempt_counts() -> None:
    """Where a first attempt may have been carried out, a second that found nobody makes nothing safe."""
    retry = Retry(connect=0, read=1, allowed_methods=None)
    with LastRequest() as server, Client(server.host, retries=retry) as client:
        with pytest.raises(RefusedError) as caught:
            client.request('POST', f'/{next_id()}', b'x')
        assert caught.value.attempts == 2 and not caught.value.unprocessed


@pytest.mark.parametrize('method', ['GET', 'PUT'])
def test_an_earlier_host_counts(method: str) -> None:
    """The same of a ``unicast`` that one host may have carried out, and that finds nobody at the next."""
    nobody = socket.socket()
    nobody.bind(('127.0.0.1', 0))
    refusing = f'127.0.0.1:{nobody.getsockname()[1]}'
    with nobody, LastRequest() as server, Resources([server.host, refusing]) as resources:
        with pytest.raises(HTTPError) as caught:
            resources.unicast(method, f'/{next_id()}', attempts=2)
        assert len(server.requests) == 1 and not caught.value.unprocessed
        with pytest.raises(RefusedError) as refused:  # now nobody is anywhere
            resources.unicast(method, f'/{next_id()}', attempts=2)
        assert refused.value.unprocessed
