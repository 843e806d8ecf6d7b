"""The parts of a connection, each without the others: what it was used for, what receives, what sends later."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from gevent import get_hub, socket

from napixclient import Client, HTTPError, InvalidResponse, ProtocolError, Request, Response
from napixclient._http.http1.head_buffer import HeadBuffer
from napixclient._http.http1.outgoing import send_rest
from napixclient._http.http1.parser import ResponseParser
from napixclient._http.http1.receiver import Receiver
from napixclient._http.http1.states import TRANSITIONS, Event, State
from napixclient._http.http1.transport import Transport
from napixclient._http.http1.usage import Usage
from napixclient._http.pending import NEVER, PendingResponse, new_pending
from tests.kit import serve, wait_until

pytestmark = pytest.mark.usefixtures('tidy')

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


class Record:
    """What receives and what sends know of their connection, and what they report: nothing else happens."""

    def __init__(self, state: State = 'reading') -> None:
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.transport = Transport(ours, get_hub().loop)
        self.parser = ResponseParser(65536, 100)
        self.usage = Usage()
        self.state: State = state
        self.pending: PendingResponse | None = new_pending(Request('h', 'GET', '/'), None)
        self.route = None
        self.streamed: Any = None
        self.outgoing: Any = None
        self.started = 0.0
        self.read_seconds = 60.0
        self.expires = self.deadline = NEVER
        self.reports: list[Any] = []

    def step(self, event: Event) -> None:
        """Go to the next state, as the table has it."""
        self.state = TRANSITIONS[self.state, event]

    def writable(self) -> None:
        """The socket takes more."""
        assert self.outgoing.writable()

    def close(self) -> None:
        """Note it, and close the socket."""
        self.state = 'closed'
        self.transport.close()

    def fail(self, error: HTTPError) -> None:
        """Note the error."""
        self.reports.append(error)

    def lost(self, exc: OSError | None) -> None:
        """Note how the connection broke."""
        self.reports.append(('lost', exc))

    def send_failed(self, exc: OSError) -> None:
        """Note how the connection broke."""
        self.reports.append(('send failed', exc))

    def end_idle(self) -> None:
        """Note it."""
        self.reports.append('idle end')
        self.transport.reader.stop()

    def end_at_once(self) -> None:
        """Note it."""
        self.reports.append('end')

    # As the owner.

    def answered(self, connection: Record, pending: PendingResponse, response: Response, coding: str | None) -> None:
        """Note the answer."""
        assert connection is self
        self.reports.append(response.data)

    def streaming(self, connection: Record, pending: PendingResponse, response: Response) -> None:
        """Nothing is streamed."""

    def stream_ended(self, connection: Record) -> None:
        """Nothing is streamed."""

    def received(self, size: int) -> None:
        """Nothing is streamed."""

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Nothing is decoded."""
        return False

    def wait(self) -> Any:
        """The next report."""
        wait_until(lambda: self.reports, 'a report')
        return self.reports.pop(0)


@contextmanager
def record(state: State = 'reading') -> Iterator[Record]:
    """One, which is closed."""
    made = Record(state)
    try:
        yield made
    finally:
        made.peer.close()
        if made.state != 'closed':
            made.close()


# What it was used for ------------------------------------------------------------------------------------------------


def test_it_is_quiet_since_the_first_rest_after_its_last_answer() -> None:
    """A connection that is taken and rests again without an answer in between has been quiet all the while."""
    usage = Usage()
    assert not usage.rested and usage.quiet_for(5.0) == 0.0
    usage.rest(10.0, None)
    assert usage.rested and usage.quiet_for(12.0) == 2.0
    usage.rest(14.0, None)
    assert usage.quiet_for(15.0) == 5.0
    usage.served += 1
    assert usage.rested and usage.quiet_for(15.0) == 0.0
    usage.rest(20.0, None)
    assert usage.quiet_for(21.0) == 1.0


@pytest.mark.parametrize(('kept', 'ends'), [(None, NEVER), (60, 159.0), (2, 101.5), (0, 100.0)])
def test_it_is_left_alone_in_the_last_moments_that_were_announced(kept: int | None, ends: float) -> None:
    """A connection ends for us a second before its server said it would, or a quarter of that time."""
    usage = Usage()
    usage.rest(100.0, kept)
    assert usage.ends == ends


# What receives -------------------------------------------------------------------------------------------------------


def test_a_whole_answer_is_reported_and_leaves_the_connection_idle_or_closed() -> None:
    """It is idle behind an answer after which another may come, and else closed, before the owner hears of it."""
    for head, state in ((OK, 'idle'), (OK.replace(b'OK\r\n', b'OK\r\nConnection: close\r\n'), 'closed')):
        with record() as made:
            made.parser.begin('GET', None)
            Receiver(made, made, made.transport, made.parser)
            made.peer.sendall(head)
            assert made.wait() == b'ok'
            assert made.state == state and made.pending is None and made.usage.served == 1


def test_an_answer_in_pieces_resets_the_read_timeout() -> None:
    """Each read that is not the last sets the time by which the server has to go on."""
    with record() as made:
        made.parser.begin('GET', None)
        Receiver(made, made, made.transport, made.parser)
        made.peer.sendall(OK[:-1])
        wait_until(lambda: made.expires != NEVER, 'a read')
        assert not made.reports
        made.peer.sendall(OK[-1:])
        assert made.wait() == b'ok'


def test_what_is_no_answer_fails_the_request_and_an_end_while_idle_is_told() -> None:
    """Garbage is an error of the phase `read`; the server's close while nothing is in flight is no error."""
    with record() as made:
        made.parser.begin('GET', None)
        Receiver(made, made, made.transport, made.parser)
        made.peer.sendall(b'SSH-2.0-OpenSSH\r\n\r\n')
        error = made.wait()
        assert isinstance(error, ProtocolError) and error.phase == 'read'
    with record('idle') as made:
        made.pending = None
        Receiver(made, made, made.transport, made.parser)
        made.peer.close()
        assert made.wait() == 'idle end'


# What sends later ----------------------------------------------------------------------------------------------------


def test_a_large_body_goes_out_as_the_socket_takes_it() -> None:
    """What is sent later is sent whole, in order, and when it is out it is the server's turn."""
    body = bytes(range(256)) * 4000
    with record() as made:
        request = Request('h', 'PUT', '/', body)
        made.outgoing = send_rest(made, made.transport, request, memoryview(b'the head '))
        assert made.state == 'sending'
        got = b''
        while len(got) < len(body) + 9:
            got += made.peer.recv(65536)
        assert got == b'the head ' + body
        wait_until(lambda: made.state == 'reading', 'the end of the request')
        assert made.outgoing is None and made.expires == NEVER and not made.reports


def test_nothing_is_left_of_a_request_that_went_out_whole() -> None:
    """A request whose head and small body were sent at once leaves nothing to do."""
    with record() as made:
        assert send_rest(made, made.transport, Request('h', 'PUT', '/', b'small'), memoryview(b'')) is None
        assert made.state == 'reading'


@pytest.mark.parametrize('before', [b'', b'\r\n', b'\r\n\r\n', b'\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n\r\n'])
@pytest.mark.parametrize('step', [1, 3, 1000])
def test_a_head_of_the_largest_size(before: bytes, step: int) -> None:
    """What stands before a head takes nothing of its size, in however many pieces it comes; it has a bound as well."""
    for more in 0, 1:
        head = b'HTTP/1.1 200 OK\r\nX: '
        head += b'y' * (300 + more - len(head))
        wire, heads, found = before + head + b'\r\n\r\n', HeadBuffer(300), None
        heads.begin(False)
        with pytest.raises(InvalidResponse, match='larger than 300') if more else nullcontext():
            for at in range(0, len(wire), step):
                assert found is None
                heads.add(wire[at : at + step])
                found = heads.find()
            assert found == head
    heads.begin(False)
    with pytest.raises(InvalidResponse, match='larger than 300'):
        for _ in range(400):
            heads.add(b'\r\n'[:step])
            assert heads.find() is None


# The end -------------------------------------------------------------------------------------------------------------


def test_a_closed_connection_leaves_nothing_to_the_garbage_collector() -> None:
    """Nothing of a connection holds another part of it in a circle once it is closed, however it came to that."""
    closing = {'Connection': 'close'}
    with serve() as server, Client(server.host) as client:
        client.request('GET', '/000001', headers=closing)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            client.request('GET', '/000002', headers=closing)
            client.request('PUT', '/000003', b'x' * 1_000_000, headers=closing)
            client.request('GET', '/000004', headers=closing, stream=True).read()
            client.submit('GET', '/000005').cancel()
            gc.collect()
            assert {type(one) for one in gc.garbage if type(one).__module__.startswith('napixclient._http')} == set()
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
