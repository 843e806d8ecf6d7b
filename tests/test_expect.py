"""`expect=True`: the server is asked before the body is sent, and what comes of each of its answers."""

from __future__ import annotations

import io
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
import urllib3
from gevent import socket

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    ProtocolError,
    ReadTimeout,
    RemoteError,
    Response,
)
from tests import kit
from tests.helpers_pool import failure
from tests.kit import CLOSE, FIN, RST, Drip, Pause, serve, wait_until

pytestmark = pytest.mark.usefixtures('oracle')

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
EARLY = b'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n'
FINE = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine'
# Steps beside those of the kit: look whether anything came, read the body, read what comes until the client is gone.
QUIET, BODY, REST = object(), object(), object()
LATE = kit.limit(0.25)  # seconds that a clock of one second may be late


def said(status: int, *fields: str, body: bytes = b'') -> bytes:
    """The bytes of an answer."""
    return '\r\n'.join([f'HTTP/1.1 {status} Said', f'Content-Length: {len(body)}', *fields, '', '']).encode() + body


class HeadFirst(kit.Server):
    """Reads a head and plays a script, which says when the body is read; then the next head, with the next script.

    When no script is left, it agrees and answers well.
    """

    def __init__(self, *scripts: list[Any], **options: Any) -> None:
        self.scripts = deque(scripts)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []  # what BODY and REST have read
        self.waited: list[float] = []  # seconds from a head to the first byte of its body
        super().__init__(**options)

    def talk(self, peer: Any) -> None:
        """Head, script; head, script."""
        while not peer.closed:
            head = peer._until(b'\r\n\r\n')
            since = monotonic()
            self.heads.append(head)
            for step in self.scripts.popleft() if self.scripts else [CONTINUE, BODY, FINE]:
                if step is QUIET:
                    gevent.sleep(0.01)
                    assert not peer._buffer
                    peer.socket.settimeout(0.01)
                    with pytest.raises(TimeoutError):
                        peer._fill()
                    peer.socket.settimeout(None)
                elif step is BODY:
                    self.bodies.append(self._body(peer, head.lower(), since))
                elif step is REST:
                    self.bodies.append(b'')
                    while True:
                        self.bodies[-1] += bytes(peer._take(len(peer._buffer)))
                        peer._fill()
                else:
                    self.play([step], peer)

    def _body(self, peer: Any, head: bytes, since: float) -> bytes:
        chunked = b'\r\ntransfer-encoding:' in head
        size = int(head.partition(b'\r\ncontent-length:')[2].partition(b'\r\n')[0] or b'0')
        if not chunked and not size:
            return b''
        if not peer._buffer:
            peer._fill()
        self.waited.append(monotonic() - since)
        return bytes(peer._chunks()[1] if chunked else peer._take(size))

    @property
    def asked(self) -> list[bool]:
        """Of each head, whether it asked."""
        return [head.count(b'\r\nExpect: 100-continue\r\n') == 1 for head in self.heads]


def slots(client: Client) -> tuple[int, int]:
    """What is queued and in flight."""
    stats = client.stats()
    return stats['queued'], stats['in_flight']


def assert_good(client: Client) -> None:
    """The slots are back, and a good request succeeds."""
    assert slots(client) == (0, 0)
    assert client.request('PUT', '/', b'good', timeout=5, expect=True).data == b'fine'


class Parts:
    """An iterator of a body, which can be read only once."""

    def __init__(self) -> None:
        self.parts = [b'abc', b'def']
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.begun = True
        if not self.parts:
            raise StopIteration
        return self.parts.pop(0)


def file_of(data: bytes, skip: int = 0) -> Any:
    """A real file that stands at `skip`."""
    file = open(os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR), 'w+b')
    file.write(data)
    file.seek(skip)
    return file


BODIES: dict[str, tuple[Callable[[], Any], bytes]] = {
    'dict': (lambda: {'a': 1}, b'{"a":1}'),
    'empty dict': (dict, b'{}'),
    'text': (lambda: 'é', 'é'.encode()),
    'bytes': (lambda: b'abc', b'abc'),
    'large bytes': (lambda: b'x' * 3_000_000, b'x' * 3_000_000),
    'file from its middle': (lambda: file_of(b'0123' + b'y' * 200_000, 4), b'y' * 200_000),
    'StringIO': (lambda: io.StringIO('é' * 100_000), 'é'.encode() * 100_000),
    'tuple': (lambda: (b'abc', 'def'), b'abcdef'),
    'iterator': (Parts, b'abcdef'),
    'empty iterator': (lambda: iter(()), b''),
}
NONE: dict[str, Callable[[], Any]] = {
    'none': lambda: None,
    'no bytes': lambda: b'',
    'no text': lambda: '',
    'empty file': lambda: file_of(b''),
    'a file at its end': lambda: file_of(b'abc', 3),
}


# When the server agrees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_the_body_comes_when_it_is_wanted(scheme: str, authority: kit.Authority) -> None:
    """Nothing of a body is sent before the 100, all of it after; one connection serves on (RFC 9110 §10.1.1)."""
    tls = authority.server() if scheme == 'https' else None
    with (
        HeadFirst(*[[QUIET, CONTINUE, BODY, FINE] for _ in BODIES], tls=tls) as server,
        Client(server.host, ca_certs=authority.ca_certs, timeout=5) as client,
    ):
        for kind, (make, arrives) in BODIES.items():
            body = make()
            assert client.request('PUT', '/', body, expect=True).data == b'fine'
            assert server.bodies[-1] == arrives, kind
            if isinstance(body, io.IOBase):
                body.close()
        assert (server.asked, server.accepted, server.errors) == ([True] * len(BODIES), 1, [])


def test_nothing_is_asked_without_a_body() -> None:
    """Where there is no body, or nobody wants it to be asked for, there is no Expect."""
    with HeadFirst(*[[BODY, said(200)]] * 99) as server, Client(server.host, timeout=5) as client:
        for method in ('GET', 'PUT', 'HEAD', 'POST'):
            for make in NONE.values():
                body = make()
                assert client.request(method, '/', body, expect=True).status == 200
                if body is not None and hasattr(body, 'close'):
                    body.close()
        client.request('PUT', '/', b'abc')
        client.request('PUT', '/', iter([b'abc']), expect=False)
        client.request('PUT', '/', multipart={'a': 'b'})
        assert not any(server.asked)
        assert server.accepted == 1


AGREES: dict[str, list[Any]] = {
    'in pieces': [Drip(CONTINUE, 0.001), BODY, FINE],
    'with the first half of the answer': [CONTINUE, BODY, FINE[:20], Pause(0.01), FINE[20:]],
    'with fields': [b'HTTP/1.1 100 Go\r\nX: y\r\nContent-Length: 5\r\n\r\n', BODY, FINE],
    'after a 103': [EARLY, QUIET, CONTINUE, BODY, FINE],
    'in one read with a 103': [EARLY + CONTINUE + EARLY, BODY, FINE],
    'half of it with a 103': [EARLY + CONTINUE[:9], QUIET, CONTINUE[9:], BODY, FINE],
    'twice': [CONTINUE, CONTINUE, BODY, CONTINUE, FINE],
    'twice at once': [CONTINUE * 2, BODY, FINE],
}


@pytest.mark.timed
def test_ways_to_agree() -> None:
    """A 100 is heard in whatever pieces it comes, and among other answers that are not final."""
    with HeadFirst(*AGREES.values()) as server, Client(server.host, timeout=5) as client:
        for way in AGREES:
            assert client.request('PUT', '/', Parts(), expect=True).data == b'fine', way
            assert server.bodies[-1] == b'abcdef', way
        assert (server.accepted, server.errors) == (1, [])
        assert max(server.waited) < kit.limit(0.5)


def test_a_form_is_held_back() -> None:
    """A form is a body as others are."""
    with HeadFirst([QUIET, CONTINUE, BODY, FINE]) as server, Client(server.host, timeout=5) as client:
        client.request('POST', '/', multipart={'a': ('a.txt', b'bytes')}, expect=True)
        assert b'filename="a.txt"' in server.bodies[0]
        assert server.asked == [True]
    once = iter([b'bytes'])  # read by nobody when the server refuses
    with HeadFirst([said(413), REST]) as server, Client(server.host, timeout=5) as client:
        assert failure(client, 'POST', '/', multipart={'a': ('a.txt', once)}, expect=True).status == 413
        assert list(once) == [b'bytes']


# When it answers at once ---------------------------------------------------------------------------------------------

REFUSES: dict[str, tuple[list[Any], int]] = {
    # script, status
    'success': ([FINE, REST], 200),
    'refusal': ([said(403, body=b'no'), REST], 403),
    'too large': ([said(413, 'Connection: close'), REST], 413),
    'redirect': ([said(307, 'Location: /'), REST], 307),
    'in pieces': ([said(403)[:12], Pause(0.01), said(403)[12:-1], Pause(0.01), b'\n', REST], 403),
    'after a 103': ([EARLY, said(403), REST], 403),
    'chunked': (
        [b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', Pause(0.01), b'1\r\nx\r\n0\r\n\r\n', REST],
        200,
    ),
    'with its end': ([b'HTTP/1.0 200 OK\r\n\r\nfine', FIN, REST], 200),
    'with the 100 in one read': ([CONTINUE + FINE, REST], 200),
    'with a 100 behind the head of the answer': ([CONTINUE + FINE[:-2], Pause(0.01), FINE[-2:], REST], 200),
}


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_a_final_answer(scheme: str, stream: bool, authority: kit.Authority) -> None:
    """After a final answer no byte of the body goes out, and the connection carries nothing more; it is not read."""
    tls = authority.server() if scheme == 'https' else None
    for way, (script, status) in REFUSES.items():
        if FIN in script and tls is not None:  # over TLS an end without a goodbye is none
            continue
        with (
            HeadFirst(script, tls=tls) as server,
            Client(server.host, simultaneous=1, ca_certs=authority.ca_certs, timeout=5) as client,
        ):
            parts = Parts()
            pending = client.submit('PUT', '/', parts, expect=True, stream=stream)
            gevent.wait([pending], timeout=20)
            found: Any = pending.value or pending.exception
            assert found.status == status, way
            if isinstance(found, Response):
                assert found.data in (b'fine', b'x', b''), way
            wait_until(lambda server=server: server.bodies == [b''], way)
            assert not parts.begun
            assert_good(client)
            assert server.accepted == 2
            # It can be given once more.
            assert client.request('PUT', '/', parts, expect=True).data == b'fine'
            assert server.bodies[-1] == b'abcdef'


def test_417() -> None:
    """After a 417 the request is sent once more, without asking; an iterator too, as it was not begun."""
    for kind, (make, arrives) in BODIES.items():
        with HeadFirst([said(417), REST], [BODY, FINE]) as server, Client(server.host, timeout=5) as client:
            body = make()
            found = client.request('POST', '/', body, {'X-Own': 'a'}, expect=True, retries=False)
            assert (found.data, found.attempts, found.request.expect) == (b'fine', 2, True), kind
            assert (server.asked, set(server.bodies)) == ([True, False], {b'', arrives}), kind
            assert all(b'\r\nX-Own: a\r\n' in head for head in server.heads)
            if isinstance(body, io.IOBase):
                body.close()


def test_417_once_more() -> None:
    """A second 417 is the outcome, and so is one to a request that did not ask."""
    with (
        HeadFirst([said(417), REST], [BODY, said(417)], [BODY, said(417)]) as server,
        Client(server.host, timeout=5) as client,
    ):
        error = failure(client, 'PUT', '/', b'abc', expect=True)
        assert isinstance(error, RemoteError)
        assert (error.status, error.attempts) == (417, 2)
        error = failure(client, 'PUT', '/', b'abc')
        assert (error.status, error.attempts, len(server.heads)) == (417, 1, 3)


def test_417_too_late() -> None:
    """A 417 after the body was begun: what can be read again is sent again, anything else is not, and never half."""
    for body, arrives in ((b'abc', [b'abc', b'abc']), (Parts(), [b'abcdef'])):
        with HeadFirst([CONTINUE, BODY, said(417)], [BODY, FINE]) as server, Client(server.host, timeout=5) as client:
            if arrives == [b'abcdef']:
                assert failure(client, 'PUT', '/', body, expect=True).status == 417
            else:
                assert client.request('PUT', '/', body, expect=True).data == b'fine'
            assert server.bodies == arrives


# When it is silent ---------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_silence() -> None:
    """A second of silence, and the body is sent all the same, whatever the read timeout; that runs from then on."""
    short = urllib3.Timeout(read=0.6)
    rows: list[tuple[list[Any], Any, type[HTTPError] | None, float]] = [
        # script, timeout, outcome, seconds
        ([BODY, FINE], None, None, 1.0),
        ([BODY, FINE], short, None, 1.0),
        ([BODY, CONTINUE, FINE], short, None, 1.0),
        ([Pause(0.1), EARLY, BODY, FINE], short, None, 1.0),
        ([Pause(0.1), CONTINUE[:9], BODY, CONTINUE[9:] + FINE], short, None, 1.0),
        ([BODY, REST], short, ReadTimeout, 1.6),
        ([REST], 0.5, DeadlineExceeded, 0.5),
        ([said(200, body=b'fine')[:-1], REST], short, ReadTimeout, 0.6),
        ([BODY, FINE], 5, None, 1.0),
    ]

    def run(script: list[Any], timeout: Any, outcome: Any, seconds: float) -> None:
        with HeadFirst(script) as server, Client(server.host, simultaneous=1) as client:
            begun = monotonic()
            pending = client.submit('PUT', '/', Parts(), expect=True, timeout=timeout)
            gevent.wait([pending], timeout=20)
            assert seconds - 0.01 <= monotonic() - begun <= seconds + LATE, (script, timeout)
            found: Any = pending.value or pending.exception
            assert isinstance(found, outcome or Response), (script, found)
            if BODY in script:
                assert server.bodies[0] == b'abcdef'
                assert all(waited <= 1 + LATE for waited in server.waited)
            else:
                wait_until(lambda: server.bodies == [b''] or not server.peers)
            assert_good(client)

    running = [gevent.spawn(run, *row) for row in rows]
    gevent.joinall(running, timeout=40, raise_error=True)
    assert all(greenlet.successful() for greenlet in running)


@pytest.mark.parametrize('end', ['cancel', 'wait', 'close'])
def test_ended_while_it_waits(end: str) -> None:
    """A request that waits for its 100 can be ended, and leaves nothing behind, no timer either."""
    parts = Parts()
    before = kit.Leaks.now()
    with HeadFirst([REST]) as server, ClientPool(simultaneous=1) as pool:
        pending = pool.request(server.host, 'PUT', '/', parts, expect=True)
        wait_until(lambda: server.heads)
        match end:
            case 'cancel':
                pending.cancel()
            case 'wait':
                assert isinstance(pool.wait(timeout=0.01)[0], DeadlineExceeded)
            case 'close':
                pool.close()
        error = pending.exception
        assert isinstance(error, DeadlineExceeded if end == 'wait' else Cancelled)
        assert error.phase == ('expect' if end == 'wait' else None)
        wait_until(lambda: not server.peers)
        assert (parts.begun, server.bodies) == (False, [b''])
        assert gevent.get_hub().loop.activecnt <= before.watchers + 1  # the server's own
        if end != 'close':
            assert pool.request(server.host, 'PUT', '/', parts, expect=True).get(timeout=20).data == b'fine'
            assert server.bodies[-1] == b'abcdef'


def test_killed_while_it_waits() -> None:
    """Who is killed in `request` meanwhile cancels it."""
    with HeadFirst([REST]) as server, Client(server.host, simultaneous=1) as client:
        caller = gevent.spawn(client.request, 'PUT', '/', Parts(), expect=True)
        wait_until(lambda: server.heads)
        caller.kill()
        wait_until(lambda: not server.peers)
        assert_good(client)


def test_many_wait_at_once() -> None:
    """Two hundred requests that wait for their 100 take no greenlet each, and all end."""
    with HeadFirst(*[[Pause(0.3), CONTINUE, BODY, FINE]] * 200) as server, ClientPool(simultaneous=200) as pool:
        before = len(kit.greenlets())
        for number in range(200):
            pool.request(server.host, 'PUT', '/', b'%06d' % number, expect=True)
        wait_until(lambda: len(server.heads) == 200)
        assert len(kit.greenlets()) - before <= server.accepted + 5  # those of the server
        assert {answer.status for answer in pool.wait(timeout=5)} == {200}
        assert sorted(server.bodies) == [b'%06d' % number for number in range(200)]


# When the connection breaks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('end', [CLOSE, RST])
@pytest.mark.parametrize('method', ['PUT', 'POST'])
def test_closed_while_it_waits(end: Any, method: str) -> None:
    """A server that goes away instead of answering is an error; on a reused connection a PUT is sent once more."""
    parts = Parts()
    with HeadFirst([end], [CONTINUE, BODY, FINE], [end]) as server, Client(server.host, simultaneous=1) as client:
        error = failure(client, method, '/', parts, expect=True, timeout=20)
        assert isinstance(error, ProtocolError)
        assert not parts.begun
        assert_good(client)
        if method == 'PUT':
            found = client.request(method, '/', parts, expect=True, timeout=2)
            assert (found.data, found.attempts, server.bodies[-1]) == (b'fine', 2, b'abcdef')
        else:
            assert isinstance(failure(client, method, '/', parts, expect=True, timeout=20), ProtocolError)
            assert not parts.begun
        assert_good(client)


def test_closed_after_it_agreed() -> None:
    """A server that agrees and goes away is an error."""
    with (
        HeadFirst([CONTINUE, RST], [CONTINUE, CLOSE], [CONTINUE[:5], CLOSE]) as server,
        Client(server.host, simultaneous=1, timeout=20) as client,
    ):
        for _ in range(3):
            assert isinstance(failure(client, 'PUT', '/', b'x' * 1_000_000, expect=True), HTTPError)
        assert_good(client)


def test_retries() -> None:
    """What was not begun can be tried again: an iterator that the server refused with a 503, or never asked for."""
    retry = urllib3.Retry(2, status_forcelist=[503])
    parts = Parts()
    with (
        HeadFirst([said(503), REST], [RST], [CONTINUE, BODY, FINE]) as server,
        Client(server.host, retries=retry, timeout=5) as client,
    ):
        found = client.request('PUT', '/', parts, expect=True)
        assert (found.data, found.attempts, server.bodies) == (b'fine', 3, [b'', b'abcdef'])
        assert server.asked == [True] * 3
    with HeadFirst([CONTINUE, BODY, said(503)]) as server, Client(server.host, retries=retry, timeout=5) as client:
        assert failure(client, 'PUT', '/', Parts(), expect=True).status == 503


@pytest.mark.parametrize('far', [False, True])
def test_redirects(far: bool) -> None:
    """A 307 instead of the 100 leads on, an iterator too, and it is asked again there; a 303 leaves the body behind."""
    with HeadFirst() as other, HeadFirst() as server, Client(server.host, redirect=True, timeout=5) as client:
        target = other if far else server
        for status in (307, 308, 303, 301, 302):
            server.scripts.append([said(status, f'Location: http://{target.authority}/'), REST])
            if status in (301, 302, 303):
                target.scripts.append([BODY, FINE])
            parts = Parts()
            count = len(target.heads)
            assert client.request('POST', '/', parts, expect=True).data == b'fine'
            dropped = status in (301, 302, 303)
            assert parts.begun == (not dropped)
            assert target.heads[-1].startswith(b'GET' if dropped else b'POST')
            assert target.asked[-1] == (not dropped)
            assert target.bodies[-1] == (b'' if dropped else b'abcdef')
            assert len(target.heads) == count + (1 if far else 2)


def test_417_behind_a_redirect() -> None:
    """A 417 where a redirect led is heard there, and is no further redirect."""
    with (
        serve(lambda *_: (307, {'Location': f'http://{other.authority}/'}, '')) as server,
        HeadFirst([said(417), REST], [BODY, FINE]) as other,
        Client(server.host, timeout=5) as client,
    ):
        found = client.request('PUT', '/', (b'abc',), expect=True, redirect=True)
        assert (found.data, found.url, found.attempts) == (b'fine', f'http://{other.authority}/', 2)
        assert (other.asked, other.bodies) == ([True, False], [b'', b'abc'])


def test_a_head_that_takes_its_time() -> None:
    """A head that goes out in pieces is followed by no body either, and its connection carries nothing more."""

    class Slow(kit.Server):
        """Takes a large head late, answers it at once, and reads what comes then."""

        rest = b''

        def talk(self, peer: Any) -> None:
            """One large head."""
            if self.accepted > 1:
                super().talk(peer)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
            wait_until(lambda: slots(client) == (0, 1))
            gevent.sleep(0.05)
            end = b''
            while not end.endswith(b'\r\n\r\n'):
                end = end[-3:] + peer.socket.recv(1 << 20)
            peer.send(FINE)
            try:
                while more := peer.socket.recv(65536):
                    self.rest += more
            except OSError:
                pass

    with Slow() as server, Client(server.host, simultaneous=1, timeout=5) as client:
        large = {f'X-{number}': 'x' * 1_000_000 for number in range(6)}  # more than the kernel takes at once
        assert client.request('PUT', '/', b'abc', large, expect=True).data == b'fine'
        assert client.request('GET', '/000002').data == b'000002'
        assert (server.rest, server.accepted) == (b'', 2)


def test_against_a_willing_server() -> None:
    """The servers of the test kit agree by themselves, and nothing waits for a second."""
    with serve() as server, Client(server.host) as client:
        begun = monotonic()
        for number in range(20):
            assert client.request('PUT', f'/{number:06}', b'x' * 100_000, expect=True).data == b'%06d' % number
        assert monotonic() - begun < 15  # it would be a second for each
        assert [len(request.body) for request in server.requests] == [100_000] * 20
        assert server.accepted == 1
