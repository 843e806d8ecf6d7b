"""The caps hold exactly, whatever happens: hypothesis drives a client against real, gated servers.

After each step the servers must have in flight exactly what the caps allow of what is outstanding: one less is a lost
slot, one more a slot that was won. Each answer belongs to its request. A failure prints how to get its example again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gevent
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from napixclient import Cancelled, Client, ClientPool, HTTPError, ProtocolError, RemoteError, Response, Timeout
from tests import kit
from tests.kit import ANSWER, CLOSE, ID, RST, SILENCE, Gate, HandlerServer, Held, next_id, serve, wait_until

SHORT = 0.02  # seconds: the deadline of those requests that are to time out
HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n'
ENDINGS: dict[str, tuple[Any, ...]] = {
    # how a server may end a request that it holds: what it plays, what may come of it
    'answers': ([ANSWER], Response),
    'answers and closes': ([ANSWER, CLOSE], Response),
    'answers and says it closes': ([HEAD + b'Connection: close\r\n\r\n' + ID, CLOSE], Response),
    'answers twice': ([HEAD + b'\r\n' + ID + HEAD + b'\r\npoison', SILENCE], Response),
    'fails': ([b'HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops'], RemoteError),
    'fails and closes': ([b'HTTP/1.1 503 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', CLOSE], RemoteError),
    'closes': ([CLOSE], ProtocolError),
    'resets': ([RST], ProtocolError),
    'truncates': ([HEAD + b'\r\n000', CLOSE], ProtocolError),
    'resets in the body': ([HEAD + b'\r\n000', RST], ProtocolError),
    'is garbled': ([b'SSH-2.0-OpenSSH\r\n\r\n', SILENCE], ProtocolError),
}


class One:
    """A request of the machine: whom it asks, how it is going, what may come of it."""

    def __init__(self, server: HandlerServer, method: str, short: bool) -> None:
        self.server = server
        self.method = method
        self.id = next_id()
        self.short = short  # it has a deadline that may pass
        self.allowed: set[type] = set()  # what its end may be, besides a Timeout where `short`
        self.ends = 0
        self.result: Any = None

    def ended(self, result: Any) -> None:
        """Take note of the end."""
        self.ends += 1
        self.result = result

    def how(self) -> dict[str, Any]:
        """The keywords of the request."""
        return {'tag': self.id, 'timeout': SHORT if self.short else kit.LONG}

    def check(self) -> None:
        """It ended once, as it had to, and an answer is its own."""
        assert self.ends == 1, (self.id, self.ends)
        allowed = (*self.allowed, Timeout) if self.short else tuple(self.allowed)
        assert isinstance(self.result, allowed), (self.result, allowed)
        if isinstance(self.result, Response):
            assert self.result.data == self.id.encode()
        if self.result is not None and not isinstance(self.result, gevent.GreenletExit):
            assert self.result.request.tag == self.id


class Asker(Protocol):
    """What a machine asks through."""

    def start(self, one: One) -> None:
        """Ask."""

    def kill(self, one: One) -> None:
        """Make it end, now."""

    def empty(self) -> None:
        """Nothing is left to be waited for."""

    def close(self) -> None:
        """Close what was made."""


class PoolAsker:
    """Asks through a pool."""

    def __init__(self, servers: list[HandlerServer], simultaneous: int, limit: int, rate: float | None = None) -> None:
        self.pool = ClientPool(simultaneous=simultaneous, max_connections=limit, rate=rate)
        self.pendings: dict[One, Any] = {}

    def start(self, one: One) -> None:
        """Through the pool."""
        pending = self.pool.request(one.server.host, one.method, f'/{one.id}', **one.how())
        self.pendings[one] = pending
        pending.rawlink(lambda done: one.ended(done.value if done.successful() else done.exception))

    def kill(self, one: One) -> None:
        """By its PendingResponse."""
        self.pendings[one].cancel()

    def empty(self) -> None:
        """All that were asked come out, in order, and then the pool is empty."""
        assert [found.request.tag for found in self.pool.wait(timeout=kit.LONG)] == [one.id for one in self.pendings]
        for counted in self.pool.stats().values():
            assert (counted['queued'], counted['in_flight']) == (0, 0)

    def close(self) -> None:
        """The pool."""
        self.pool.close()


class CallerAsker:
    """Asks through a client, in greenlets that are blocked in `request`, and are killed there."""

    def __init__(self, servers: list[HandlerServer], simultaneous: int, limit: int) -> None:
        assert len(servers) == 1 and limit == simultaneous
        self.client = Client(servers[0].host, simultaneous=simultaneous)
        self.callers: dict[One, gevent.Greenlet] = {}

    def start(self, one: One) -> None:
        """In a greenlet of its own."""

        def call() -> None:
            try:
                one.ended(self.client.request(one.method, f'/{one.id}', **one.how()))
            except HTTPError as error:
                one.ended(error)
            except gevent.GreenletExit as killed:
                one.ended(killed)

        self.callers[one] = gevent.spawn(call)
        gevent.sleep(0)

    def kill(self, one: One) -> None:
        """By killing its caller."""
        self.callers[one].kill()

    def empty(self) -> None:
        """No caller is left."""
        assert len(gevent.joinall(self.callers.values(), timeout=kit.LONG)) == len(self.callers)

    def close(self) -> None:
        """The client."""
        self.client.close()


class Machine(RuleBasedStateMachine):
    """Requests come, and end in every way, in any order."""

    asks: Callable[[list[HandlerServer], int, int], Asker]  # makes what is asked through
    origins: int
    simultaneous: int
    limit: int  # in flight over all origins

    ones = Bundle('ones')

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.servers = [serve(gate=self.gate) for _ in range(self.origins)]
        self.asker = type(self).asks(self.servers, self.simultaneous, self.limit)
        self.all: list[One] = []
        self.broken = False

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait a while for what must come true."""
        try:
            wait_until(condition, what)
        except AssertionError:
            self.broken = True
            raise

    # The rules.

    @rule(
        target=ones,
        server=st.integers(0, 9),
        method=st.sampled_from(['GET', 'GET', 'POST']),
        short=st.sampled_from([False, False, False, True]),
    )
    def submit(self, server: int, method: str, short: bool) -> One:
        """One more request."""
        one = One(self.servers[server % self.origins], method, short)
        self.all.append(one)
        self.asker.start(one)
        return one

    @rule(target=ones, server=st.integers(0, 9), count=st.integers(2, 6))
    def submit_many(self, server: int, count: int) -> Any:
        """Many more for one server."""
        return multiple(*[self.submit(server, 'GET', False) for _ in range(count)])

    @rule(index=st.integers(0, 9), ending=st.sampled_from(sorted(ENDINGS)))
    def release(self, index: int, ending: str) -> None:
        """A server ends one of those that it holds."""
        held = self.gate.held()
        if held:
            self.end(held[index % len(held)], ending)

    def end(self, held: Held, ending: str) -> None:
        """Let it go so, and wait until it has gone."""
        if ending == 'answers and closes' and any(one.method == 'POST' for one in self.all if not one.ends):
            ending = 'answers'  # a POST may meet that close on the way, and is then rightly an error
        script, outcome = ENDINGS[ending]
        one = next(one for one in self.all if one.id == held.id)
        one.allowed.add(outcome)
        held.release(script)
        self.wait(lambda: one.ends or held not in self.gate.requests(), f'that a server {ending}')
        # An idempotent request may come once more where its reused connection closed before any byte of an answer,
        # or carried what is none.
        if ending in ('closes', 'resets', 'is garbled') and one.method == 'GET':
            return
        self.wait(lambda: one.ends, f'the end of a request whose server {ending}')

    @rule(one=consumes(ones))
    def kill_one(self, one: One) -> None:
        """Kill one, queued or in flight or ended."""
        if not one.ends:
            one.allowed |= {Cancelled, gevent.GreenletExit}
            self.asker.kill(one)
            self.wait(lambda: one.ends, 'the end of a killed request')

    @rule()
    def let_deadlines_pass(self) -> None:
        """Those with a short deadline end by it."""
        self.wait(lambda: all(one.ends for one in self.all if one.short), 'the deadlines')

    @rule(index=st.integers(0, 9))
    def close_idle(self, index: int) -> None:
        """A server closes a connection that carries no request."""
        busy = {request.peer for request in self.gate.requests()}
        idle = [
            peer for server in self.servers for peer in server.peers.values() if peer not in busy and not peer.is_gone()
        ]
        if idle:
            peer = idle[index % len(idle)]
            peer.finish()
            self.wait(peer.is_gone, 'the end of an idle connection that the server closed')

    @rule()
    def turn(self) -> None:
        """Nothing but a turn of the loop."""
        kit.turn()

    # The laws.

    def expected(self) -> list[int]:
        """How many requests each server should have in flight, were there no cap over all."""
        return [
            min(self.simultaneous, sum(not one.ends for one in self.all if one.server is server))
            for server in self.servers
        ]

    @invariant()
    def in_flight_is_what_the_caps_allow(self) -> None:
        """No more than the caps allow, ever; and no less, as soon as all that is under way has been done."""
        self.wait(lambda: self.gate.in_flight == min(self.limit, sum(self.expected())), 'as many in flight as may be')
        assert self.gate.peak <= self.limit
        assert all(count <= self.simultaneous for count in self.gate.peaks.values())

    def teardown(self) -> None:
        """Let all that is left be answered: each has ended once, as it had to, and no slot was lost or won."""
        try:
            if self.broken:
                return
            self.drain()
            self.gate.shut()
            for server in self.servers * (self.simultaneous + 1):
                one = One(server, 'POST', False)
                self.all.append(one)
                self.asker.start(one)
            self.in_flight_is_what_the_caps_allow()
            self.drain()
            self.asker.empty()
        finally:
            self.asker.close()
            for server in self.servers:
                server.close()

    def drain(self) -> None:
        """Open the gate until nothing is left."""
        for one in self.all:
            if not one.ends:
                one.allowed.add(Response)
        self.gate.open()
        self.wait(lambda: all(one.ends for one in self.all), 'the end of all')
        for one in self.all:
            one.check()


class PoolMachine(Machine):
    """A pool of three origins that shares fewer connections than they could use."""

    asks, origins, simultaneous, limit = PoolAsker, 3, 2, 4


class CallerMachine(Machine):
    """A client whose callers are greenlets."""

    asks, origins, simultaneous, limit = CallerAsker, 1, 2, 2


class OneByOneMachine(Machine):
    """A pool that may have one connection in all."""

    asks, origins, simultaneous, limit = PoolAsker, 2, 3, 1


@pytest.mark.usefixtures('tidy')  # hypothesis itself holds the hub now and then
@pytest.mark.parametrize('machine', [PoolMachine, CallerMachine, OneByOneMachine])
def test_caps_hold(machine: type[Machine]) -> None:
    """In flight at the servers is never above a cap, nor below what it allows; each request gets its own answer."""
    run_state_machine_as_test(
        machine,
        settings=settings(  # each failing try takes a second: too long to shrink
            max_examples=60, stateful_step_count=30, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        ),
    )


def test_an_origin_that_lost_its_only_connection_has_its_turn() -> None:
    """A host whose attempt failed has no connection: its next request does not wait for all those of another host."""
    with kit.FaultServer(listening=False) as refusing, serve() as busy:
        with ClientPool(simultaneous=2, max_connections=1) as pool:
            refused = [pool.request(refusing.host, 'GET', f'/{next_id()}') for _ in range(2)]
            many = [pool.request(busy.host, 'GET', f'/{next_id()}') for _ in range(200)]
            refused[1].wait()
            assert isinstance(refused[0].exception, HTTPError) and isinstance(refused[1].exception, HTTPError)
            assert not all(pending.ready() for pending in many)
            pool.cancel()
