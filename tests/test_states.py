"""The table of a connection's states: all that it allows is done by real traffic, and nothing else can be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, get_args

import pytest
from gevent import get_hub, socket

from napixclient import HTTPError, Request, Response
from napixclient._http.http1.connection import Connection
from napixclient._http.http1.parser import ResponseParser
from napixclient._http.http1.states import PHASES, TRANSITIONS, Event, State, may
from napixclient._http.http1.transport import Transport
from napixclient._http.pending import NEVER, PendingResponse, new_pending
from tests import kit
from tests.kit import LATER, READ, RST, SILENCE, FaultServer, wait_until

pytestmark = pytest.mark.usefixtures('tidy')

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
HEAD, BODY = OK[:-2], OK[-2:]
LARGE = b'x' * 1_000_000  # more than sockets take

_state: Any = Connection.__dict__['state']


class Recorded(Connection):
    """A connection that notes the transitions that it makes."""

    __slots__ = ('seen',)

    def __init__(self, owner: Owner, sock: Any, seen: set[tuple[State, Event]]) -> None:
        self.seen = seen
        super().__init__(owner, Transport(sock, get_hub().loop), ResponseParser(65536, 100), None)

    @property
    def state(self) -> State:  # type: ignore[override]
        """The state, as it is without this class."""
        found: State = _state.__get__(self)
        return found

    @state.setter
    def state(self, after: State) -> None:
        try:
            before = self.state
        except AttributeError:  # the first one
            assert after == 'idle'
        else:
            [event] = [event for event in EVENTS if TRANSITIONS.get((before, event)) == after]
            self.seen.add((before, event))
        _state.__set__(self, after)


class Owner:
    """What a connection reports to: it notes the reports."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self.response: Any = None
        self.error: HTTPError | None = None

    @property
    def completion(self) -> Owner:
        """Itself."""
        return self

    def complete(self, pending: PendingResponse, outcome: Any) -> None:
        """A request that was dropped ends."""
        pending.finish(outcome)

    def answered(self, connection: Any, pending: PendingResponse, response: Response, coding: str | None) -> None:
        """Note it."""
        self.reports.append('answered')
        self.response = response
        pending.finish(response)

    def streaming(self, connection: Any, pending: PendingResponse, response: Any) -> None:
        """Note it, and hold the response."""
        self.reports.append('streaming')
        self.response = response
        pending.finish(response)

    def stream_ended(self, connection: Any) -> None:
        """Note it."""
        self.reports.append('stream ended')

    def received(self, size: int) -> None:
        """Nothing."""

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Nothing is decoded."""
        return False

    def unsent(self, connection: Any, pending: PendingResponse) -> None:
        """Note it."""
        self.reports.append('unsent')

    def broken(self, connection: Any, pending: PendingResponse, error: HTTPError) -> None:
        """Note it."""
        self.reports.append('broken')
        self.error = error
        pending.finish(error)

    def gone(self, connection: Any) -> None:
        """Note it."""
        self.reports.append('gone')

    def wait(self, report: str) -> None:
        """Until it is the last one."""
        wait_until(lambda: self.reports and self.reports[-1] == report, report)


class Wire:
    """A connection to a server that plays a script, its owner, and what they did."""

    def __init__(self, server: FaultServer, seen: set[tuple[State, Event]]) -> None:
        sock = socket.create_connection(('127.0.0.1', server.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.server = server
        self.owner = Owner()
        self.connection = Recorded(self.owner, sock, seen)

    def send(self, body: Any = None, head: bytes = b'', method: str = 'PUT', **options: Any) -> PendingResponse:
        """Send a request.

        :param head: fields that its head has beside the length of the body.
        """
        pending = new_pending(Request(self.server.host, method, '/', body, **options), None)
        fields = b'' if body is None else b'Content-Length: %d\r\n' % len(body)
        data = b'%b / HTTP/1.1\r\nHost: h\r\n%b%b\r\n' % (method.encode(), fields, head)
        if body is not None and len(body) < 100 and not options.get('expect'):
            data += body
        self.connection.start(pending, pending.request, data, 60.0, 10**9, None)
        return pending

    def reach(self, state: State) -> None:
        """Wait until it is in that state."""
        wait_until(lambda: self.connection.state == state, state)


@contextmanager
def wire(*script: Any, seen: set[tuple[State, Event]] | None = None, kind: Any = FaultServer) -> Iterator[Wire]:
    """One to a server that plays this."""
    with kind(list(script)) as server:
        made = Wire(server, set() if seen is None else seen)
        try:
            yield made
        finally:
            made.connection.close()


# The table -----------------------------------------------------------------------------------------------------------


def test_the_table_speaks_of_its_states_only() -> None:
    """Every state and event is in the table, every state can be reached and left, and has a phase."""
    assert {state for state, _ in TRANSITIONS} == set(STATES) - {'closed'}
    assert {event for _, event in TRANSITIONS} == set(EVENTS)
    assert set(TRANSITIONS.values()) == set(STATES) == set(PHASES)
    for event in EVENTS:
        assert may(event) == {state for state in STATES if (state, event) in TRANSITIONS}


@pytest.mark.parametrize(('state', 'event'), list(product(STATES, EVENTS)))
def test_a_step(state: State, event: Event) -> None:
    """A step is one of the table, or is refused and changes nothing."""
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(Owner(), Transport(ours, get_hub().loop), ResponseParser(65536, 100), None)
        try:
            connection.state = state
            if (state, event) in TRANSITIONS:
                connection.step(event)
                assert connection.state == TRANSITIONS[state, event]
            else:
                with pytest.raises(AssertionError):
                    connection.step(event)
                assert connection.state == state
        finally:
            connection.state = 'idle'
            connection.close()


# What real traffic does ----------------------------------------------------------------------------------------------


def plain(seen: set[Any]) -> None:
    """Two requests over one connection, which then closes."""
    with wire(READ, OK, READ, OK, RST, seen=seen) as made:
        for _ in range(2):
            pending = made.send()
            wait_until(pending.ready, 'the answer')
        made.owner.wait('gone')
    assert made.owner.reports == ['answered', 'answered', 'gone']


def reserved(seen: set[Any]) -> None:
    """A request that is being signed, twice; the server closes during the second time."""
    with wire(READ, OK, LATER, RST, seen=seen) as made:
        pending = new_pending(Request(made.server.host, 'GET', '/'), None)
        made.connection.reserve(pending, None)
        made.connection.unreserve()
        wait_until(made.send().ready, 'the answer')
        made.connection.reserve(pending, None)
        made.server.later.set()
        made.owner.wait('broken')


def large(seen: set[Any]) -> None:
    """A body that does not go out at once; in the end the server breaks it off."""
    with wire(READ, OK, LATER, RST, seen=seen) as made:
        made.send(LARGE)
        assert made.connection.state == 'sending'
        made.owner.wait('answered')
        made.send(LARGE)
        made.server.later.set()
        made.owner.wait('broken')


def unanswered(seen: set[Any]) -> None:
    """The server breaks the connection when it has read the request."""
    with wire(READ, RST, seen=seen) as made:
        made.send()
        made.owner.wait('broken')


def expecting(seen: set[Any]) -> None:
    """A body that the server wants, and one that it refuses."""
    with wire(LATER, b'HTTP/1.1 100 Continue\r\n\r\n', READ, OK, b'', seen=seen) as made:
        made.send(b'x' * 50, expect=True)
        assert made.connection.state == 'expecting'
        made.server.later.set()
        made.owner.wait('answered')
    refusal = b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n'
    with wire(refusal, SILENCE, seen=seen) as made:
        made.send(b'x' * 50, expect=True)
        made.owner.wait('answered')
        assert made.connection.closed


def long_head(seen: set[Any]) -> None:
    """A head that does not go out at once, before a body that the server is asked about."""
    with wire(LATER, b'HTTP/1.1 100 Continue\r\n\r\n', READ, OK, SILENCE, seen=seen) as made:
        made.send(b'x' * 50, b'X: %b\r\n' % LARGE, expect=True)
        assert made.connection.state == 'expecting'
        made.server.later.set()
        made.owner.wait('answered')


def streamed(seen: set[Any]) -> None:
    """An answer that is read in pieces to its end, and one that is left half read."""
    with wire(READ, HEAD, LATER, BODY, READ, HEAD, SILENCE, seen=seen) as made:
        made.send(stream=True)
        made.reach('streaming')
        made.server.later.set()
        assert made.owner.response.read() == b'ok'
        assert made.owner.reports[-1] == 'stream ended' and made.connection.state == 'idle'
        made.send(stream=True)
        made.reach('streaming')
        made.owner.response.close()
        made.owner.wait('gone')


def duplex(seen: set[Any]) -> None:
    """An answer that begins while the body of the request is still to go out, and is left half read once."""
    with wire(HEAD, LATER, READ, BODY, SILENCE, seen=seen) as made:
        made.send(LARGE, stream=True)
        made.reach('duplex')
        made.server.later.set()
        made.reach('streaming')
        assert made.owner.response.read() == b'ok'
    with wire(HEAD, SILENCE, seen=seen) as made:
        made.send(LARGE, stream=True)
        made.reach('duplex')
        made.owner.response.close()


def refused(seen: set[Any]) -> None:
    """An answer that is read in pieces, instead of a body that the server did not want."""
    with wire(HEAD, LATER, BODY, SILENCE, seen=seen) as made:
        made.send(b'x' * 50, expect=True, stream=True)
        made.reach('refused')
        made.server.later.set()
        assert made.owner.response.read() == b'ok'
        assert made.connection.closed


def test_real_traffic_makes_all_transitions_and_no_other() -> None:
    """There is no entry in the table that no connection needs, and none is missing."""
    seen: set[tuple[State, Event]] = set()
    for walk in plain, reserved, large, unanswered, expecting, long_head, streamed, duplex, refused:
        walk(seen)
    assert seen == set(TRANSITIONS)


# What has gone wrong -------------------------------------------------------------------------------------------------


class Hasty(FaultServer):
    """Begins to answer, and then reads the head of the request, and no body."""

    def talk(self, peer: kit.Peer) -> None:
        """Do so, and then play on."""
        peer.send(HEAD)
        self.later.wait()
        end = b''
        while not end.endswith(b'\r\n\r\n'):
            end = end[-3:] + peer.socket.recv(65536)
        super().talk(peer)


def test_refused_before_the_head_was_out() -> None:
    """A server may answer before it has read the head: when that is out at last, its body stays where it is."""
    with wire(BODY, SILENCE, kind=Hasty) as made:
        made.send(b'x' * 50, b'X: %b\r\n' % LARGE, expect=True, stream=True)
        made.reach('refused')
        made.server.later.set()
        assert made.owner.response.read() == b'ok'
        assert made.connection.closed


def test_a_reader_that_is_slow_while_the_request_goes_out() -> None:
    """While the reader of an answer is slow, no time runs against the server, not even when the request is out."""
    with wire(HEAD.replace(b': 2', b': 1000000'), b'x' * 1_000_000, LATER, READ, SILENCE) as made:
        made.send(LARGE, stream=True)
        made.reach('duplex')
        wait_until(lambda: made.connection.expires == NEVER, 'a pause')
        made.server.later.set()
        made.reach('streaming')
        assert made.connection.expires == NEVER
        assert len(made.owner.response.read(1_000_000)) == 1_000_000
        made.connection.close()
