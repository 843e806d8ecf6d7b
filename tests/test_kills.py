"""Kills, scarce descriptors, forks, import orders: what the caller's process does to its requests."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.pool import Group

from napixclient import Cancelled, Client, ClientPool, HTTPError, PendingResponse, Request, Response
from tests import kit
from tests.helpers_proxy import Tunnel
from tests.kit import ANSWER, READ, SILENCE, FaultServer, Gate, next_id, serve, wait_until

SCHEMES = ['http', 'https']
SEED = 20260


@pytest.fixture(params=SCHEMES)
def tls(request: pytest.FixtureRequest, authority: kit.Authority) -> Any:
    """The context of the server: none, then one."""
    return authority.server() if request.param == 'https' else None


def slow_echo(rng: random.Random) -> kit.Handler:
    """Answers with the id, some turns of the loop later."""

    def handler(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
        for _ in range(rng.randrange(4)):
            kit.turn()
        return kit.echo(method, path, headers, body)

    return handler


def assert_all_back(pool: ClientPool | Client, server: kit.HandlerServer, simultaneous: int) -> None:
    """No slot was lost or won: of twice as many requests, `simultaneous` are in flight at once, and not one more."""
    server.gate.shut()
    server.gate.peak = 0
    pendings = [submit(pool, server.host, next_id()) for _ in range(2 * simultaneous)]
    server.gate.wait_for(simultaneous)
    for _ in range(10):
        gevent.sleep(0.001)
    assert server.gate.in_flight == server.gate.peak == simultaneous
    server.gate.open()
    for pending in pendings:
        assert_right(pending.get())
    assert server.gate.peak == simultaneous


def submit(pool: ClientPool | Client, host: str, id: str, **how: Any) -> Any:
    """Ask for the answer with this id, through either."""
    if isinstance(pool, Client):
        return pool.submit('GET', f'/{id}', tag=id, **how)
    return pool.request(host, 'GET', f'/{id}', tag=id, **how)


def assert_right(found: Any) -> None:
    """The answer carries the id of its own request."""
    assert isinstance(found, Response), repr(found)
    assert found.data == found.request.tag.encode() == found.request.url[1:].encode()


def strike(rng: random.Random, server: kit.HandlerServer, victims: set[str], unfinished: set[str]) -> Iterator[str]:
    """Name the victims one by one: some while they are queued, most while the server has them in hand."""
    for id in rng.sample(sorted(victims), len(victims) // 5):
        if rng.random() < 0.5:
            kit.turn()
        yield id
    while unfinished:
        for request in server.gate.requests():
            if request.id in victims and rng.random() < 0.5:
                yield request.id
        kit.turn()


# 26 ------------------------------------------------------------------------------------------------------------------

# Smaller over TLS, to save time: `make fuzz` plays both at full size, from other seeds each time.


@pytest.mark.usefixtures('oracle')
@pytest.mark.parametrize(('scheme', 'requests'), [('http', 10_000), ('https', 1_000)])
def test_26_half_of_all_cancelled(scheme: str, requests: int, authority: kit.Authority) -> None:
    """Of many requests, half of them cancelled at any moment, none gets the answer to another one."""
    cancel_half(requests, SEED, authority.server() if scheme == 'https' else None, authority)


def cancel_half(requests: int, seed: int, tls: Any, authority: kit.Authority) -> None:
    """In a pool, by `cancel()` and by `kill()`."""
    rng = random.Random(seed)
    ends: Counter[str] = Counter()
    unfinished: set[str] = set()
    right = wrong = in_flight = 0

    def ended(pending: PendingResponse) -> None:
        ends[pending.request.tag] += 1
        unfinished.discard(pending.request.tag)

    with serve(slow_echo(rng), tls=tls) as server, ClientPool(simultaneous=8, ca_certs=authority.ca_certs) as pool:
        for _ in range(requests // 100):
            batch = {id: submit(pool, server.host, id) for id in (next_id() for _ in range(100))}
            for pending in batch.values():
                pending.rawlink(ended)
            unfinished.update(batch)
            victims = set(rng.sample(sorted(batch), 50))
            for id in strike(rng, server, victims, unfinished):
                in_flight += bool(server.times_read(id))
                (batch[id].cancel if rng.random() < 0.5 else batch[id].kill)()
            server.requests.clear()
            for found in pool.wait():
                if isinstance(found, Response):
                    assert_right(found)
                    right += 1
                else:
                    assert isinstance(found, Cancelled), repr(found)
                    assert found.request.tag in victims
                    wrong += 1
        assert right + wrong == requests
        assert right >= requests // 2
        assert in_flight > requests // 8  # of the victims, when the blow fell
        wait_until(lambda: len(ends) == requests)
        assert set(ends.values()) == {1}
        assert server.gate.peak <= 8
        assert_all_back(pool, server, 8)


@pytest.mark.usefixtures('oracle')
@pytest.mark.parametrize(('scheme', 'requests'), [('http', 4_000), ('https', 600)])
def test_26_half_of_all_callers_killed(scheme: str, requests: int, authority: kit.Authority) -> None:
    """The same where the greenlets that are blocked in `Client.request` are killed."""
    kill_half(requests, SEED + 1, authority.server() if scheme == 'https' else None, authority)


def kill_half(requests: int, seed: int, tls: Any, authority: kit.Authority) -> None:
    """With a client."""
    rng = random.Random(seed)
    right: list[str] = []
    unfinished: set[str] = set()
    in_flight = 0

    def call(id: str) -> None:
        assert_right(client.request('GET', f'/{id}', tag=id))
        right.append(id)

    with (
        serve(slow_echo(rng), tls=tls) as server,
        Client(server.host, simultaneous=8, ca_certs=authority.ca_certs) as client,
    ):
        for _ in range(requests // 100):
            ids = [next_id() for _ in range(100)]
            callers = {id: gevent.spawn(call, id) for id in ids}
            unfinished.update(ids)
            for id, caller in callers.items():
                caller.rawlink(lambda _, id=id: unfinished.discard(id))
            victims = set(rng.sample(ids, 50))
            for id in strike(rng, server, victims, unfinished):
                in_flight += bool(server.times_read(id))
                callers[id].kill(block=False)
            server.requests.clear()
            gevent.joinall(callers.values(), timeout=kit.LONG)
            assert all(caller.successful() for caller in callers.values())  # to gevent a killed one is too
            assert set(ids) - victims <= set(right)
        assert requests // 2 <= len(right)
        assert in_flight > requests // 8  # of the victims, when the blow fell
        assert server.gate.peak <= 8
        assert_all_back(client, server, 8)


# 27 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures('oracle')
def test_27_callers_killed_while_waiting_for_a_slot(tls: Any, authority: kit.Authority) -> None:
    """With 2 slots and 100 waiting callers killed in any order, the cap holds and no slot is lost or won."""
    rng = random.Random(SEED + 2)
    with serve(gate=Gate(), tls=tls) as server, Client(server.host, ca_certs=authority.ca_certs) as client:
        for _ in range(3):
            server.gate.shut()
            ids = [next_id() for _ in range(102)]
            callers = {id: gevent.spawn(client.request, 'GET', f'/{id}') for id in ids}
            server.gate.wait_for(2)
            rng.shuffle(ids)
            unsent = set()
            for id in ids[:100]:
                wait_until(lambda: server.gate.in_flight == 2, 'two in flight')
                if not server.times_read(id):
                    unsent.add(id)
                callers[id].kill()
                assert isinstance(callers[id].value, gevent.GreenletExit)
                assert server.gate.in_flight <= 2
            wait_until(lambda: server.gate.in_flight == 2, 'the survivors at the server')
            server.gate.open()
            for id in ids[100:]:
                assert callers[id].get().text == id
            assert not any(map(server.times_read, unsent))
            assert server.gate.peak == 2
            assert_all_back(client, server, 2)


@pytest.mark.usefixtures('oracle')
def test_27_killing_one_in_flight_frees_its_slot_at_once() -> None:
    """Whoever waits next is sent as soon as a caller in flight is killed, and the server sees the reset first."""
    with serve(gate=Gate()) as server, Client(server.host, simultaneous=1) as client:
        callers = [gevent.spawn(client.request, 'GET', f'/{next_id()}') for _ in range(50)]
        for index, caller in enumerate(callers):
            wait_until(lambda count=index + 1: server.gate.arrived == count)
            caller.kill()
        assert server.gate.peak == 1
        assert_all_back(client, server, 1)


@pytest.mark.usefixtures('oracle')
def test_27_foreign_exception_passes_through() -> None:
    """A gevent.Timeout that is the caller's own comes out of `Client.request` as it is, and the slot is back."""
    with serve(gate=Gate()) as server, Client(server.host, simultaneous=1) as client:
        for _ in range(3):
            mine = gevent.Timeout(0.02)
            with pytest.raises(gevent.Timeout) as caught, mine:
                client.request('GET', f'/{next_id()}')
            assert caught.value is mine
            assert server.gate.in_flight == 0
        assert_all_back(client, server, 1)


@pytest.mark.usefixtures('oracle')
@pytest.mark.parametrize('blocked_in', ['get', 'wait', 'wait_unordered', 'iter'])
def test_27_killing_who_waits_cancels_nothing(blocked_in: str) -> None:
    """Who is killed in `get`, `wait` or `wait_unordered` harms no request; the next `wait` returns them all."""
    with serve(gate=Gate()) as server, ClientPool() as pool:
        pendings = [submit(pool, server.host, next_id()) for _ in range(5)]
        wait = {
            'get': pendings[0].get,
            'wait': pool.wait,
            'iter': lambda: list(pool),
            'wait_unordered': lambda: list(pool.wait_unordered()),
        }[blocked_in]
        waiting = gevent.spawn(wait)
        server.gate.wait_for(2)
        waiting.kill()
        assert server.gate.in_flight == 2
        server.gate.open()
        answers = pool.wait()
        assert [found.request.tag for found in answers] == [pending.request.tag for pending in pendings]
        for found in answers:
            assert_right(found)


@pytest.mark.usefixtures('oracle')
def test_27_closing_the_pool_ends_everything() -> None:
    """What is queued or in flight when its pool closes ends as Cancelled, each once, and the server is left."""
    with serve(gate=Gate()) as server:
        pool = ClientPool()
        pendings = [submit(pool, server.host, next_id()) for _ in range(10)]
        server.gate.wait_for(2)
        pool.close()
        for pending in pendings:
            with pytest.raises(Cancelled):
                pending.get(timeout=20)
        assert server.gate.in_flight == 0
        wait_until(lambda: not server.peers, 'the end of the connections')


@pytest.mark.usefixtures('oracle')
def test_27_many_callers_of_one_pool() -> None:
    """Callers in many greenlets, some killed, share a pool's hosts: caps hold at each, answers are right."""
    rng = random.Random(SEED + 3)
    gate = Gate(opened=True)
    with (
        serve(slow_echo(rng), gate=gate) as one,
        serve(slow_echo(rng), gate=gate) as two,
        ClientPool(simultaneous=3, max_connections=4) as pool,
    ):

        def call() -> None:
            for _ in range(20):
                id = next_id()
                assert_right(submit(pool, rng.choice((one, two)).host, id).get())

        group = Group()
        for _ in range(30):
            group.spawn(call)
        gevent.sleep(0.01)
        for victim in rng.sample(list(group), 10):
            victim.kill(block=False)
            gevent.sleep(0.001)
        group.join(timeout=kit.LONG, raise_error=True)
        pool.wait(timeout=kit.LONG)
        assert max(gate.peaks.values()) == 3
        assert gate.peak == 4


# 38: descriptors -----------------------------------------------------------------------------------------------------

PRELUDE = """
import gc, os, resource, sys, time
import gevent
from napixclient import Cancelled, Client, ClientPool, ConnectError, HTTPError, Response
numbers = iter(range(10**5, 10**6))
def ask(pool, host, **how):
    id = str(next(numbers))
    return pool.request(host, 'GET', '/' + id, tag=id, **how)
def right(answer):
    return isinstance(answer, Response) and answer.data == answer.request.tag.encode()
"""


def assert_fine(finished: kit.Finished, out: str = '') -> None:
    """The program ended well, printed this and nothing else."""
    assert finished == (0, out, '')


@pytest.mark.parametrize('scheme', SCHEMES)
def test_38_sixty_descriptors(scheme: str, authority: kit.Authority) -> None:
    """With 60 descriptors, 300 requests to 100 hosts all have their answer, in whatever time that takes."""
    tls = authority.server(*[f'127.0.0.{i}' for i in range(1, 101)]) if scheme == 'https' else None
    with serve(address='0.0.0.0', tls=tls) as server:
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
scheme, port, ca_certs = sys.argv[1:]
pool = ClientPool(ca_certs=ca_certs)
for round in range(3):
    for i in range(100):
        ask(pool, f'{scheme}://127.0.0.{i + 1}:{port}')
answers = pool.wait()
assert len(answers) == 300
assert all(map(right, answers)), [a for a in answers if not right(a)][:3]
assert len(os.listdir('/proc/self/fd')) <= 60
pool.close()
""",
                scheme,
                server.port,
                authority.ca_certs,
            )
        )
        assert len(server.requests) == 300


@pytest.mark.timed
def test_38_descriptors_run_out() -> None:
    """When others eat all descriptors every request has an outcome by its deadline; when they are back, it works."""
    with serve(address='0.0.0.0') as server:
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
port, limit = sys.argv[1:]
host = '127.0.0.{}:' + port
pool = ClientPool(max_connections=1000, timeout=1.0)
assert right(ask(pool, host.format(1)).get())
eaten = []
try:
    while True:
        eaten.append(os.open('/dev/null', os.O_RDONLY))
except OSError:
    pass
os.close(eaten.pop())
os.close(eaten.pop())
began = time.monotonic()
pendings = [ask(pool, host.format(i % 20 + 1)) for i in range(60)]
outcomes = []
for pending in pendings:
    try:
        outcomes.append(pending.get(timeout=5))
    except HTTPError as error:
        outcomes.append(error)
assert time.monotonic() - began < float(limit), time.monotonic() - began
good = [o for o in outcomes if right(o)]
assert all(right(o) or isinstance(o, HTTPError) for o in outcomes)
assert len(good) >= 3, outcomes         # those to the host that is connected
for number in eaten:
    os.close(number)
assert len(pool.wait(timeout=0)) == 61
for i in range(20):
    ask(pool, host.format(i + 1), timeout=5)
answers = pool.wait()
assert all(map(right, answers)), answers
pool.close()
""",
                server.port,
                kit.limit(1.5),
            )
        )


def test_38_default_cap_follows_the_limit() -> None:
    """`max_connections` is by default three quarters of the descriptors that were free when the pool was made."""
    with serve(address='0.0.0.0', gate=Gate()) as server:
        program = gevent.spawn(
            kit.run_program,
            PRELUDE
            + """
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
port, = sys.argv[1:]
pool = ClientPool()
free = 60 - len(os.listdir('/proc/self/fd')) + 1
for i in range(100):
    ask(pool, f'127.0.0.{i + 1}:{port}')
answers = pool.wait()
assert all(map(right, answers)), answers
pool.close()
print(free)
""",
            server.port,
        )
        server.gate.wait_for(20)
        held = 0
        while held != server.gate.in_flight:  # until no more come
            held = server.gate.in_flight
            gevent.sleep(0.1)
        server.gate.open()
        code, out, err = program.get()
        assert (code, err) == (0, '')
        assert abs(held - 0.75 * int(out)) <= 3
        assert server.gate.peak <= 0.75 * 60


@pytest.mark.parametrize('whose', ['own', "another pool's"])
@pytest.mark.parametrize('how', ['stream', 'wait', 'get'])
@pytest.mark.parametrize('kind', ['literal', 'name', 'TLS', 'tunnel'])
def test_55_idle_connections_are_given_up(kind: str, how: str, whose: str, authority: kit.Authority) -> None:
    """Where the process has no descriptor left, an idle connection is given up at once, whatever is to be opened."""
    tls = authority.server(*[f'127.0.0.{i}' for i in range(1, 41)]) if kind in ('TLS', 'tunnel') else None
    with serve(address='0.0.0.0', tls=tls) as server, Tunnel() as proxy:
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
kind, how, whose, port, proxy, ca_certs = sys.argv[1:]
from gevent import socket
def resolver(host, port):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', port))]
def host(number):
    if kind == 'name':
        return f'web{number}.example:{port}'
    return f'{"http" if kind == "literal" else "https"}://127.0.0.{number}:{port}'
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 1024))
def new_pool():
    return ClientPool(resolver=resolver, max_connections=60, ca_certs=ca_certs,
                      proxy='http://127.0.0.1:' + proxy if kind == 'tunnel' else None)
first = new_pool()
for number in range(1, 21):
    ask(first, host(number))
assert all(map(right, first.wait()))
pool = first if whose == 'own' else new_pool()
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
asked = [(host(number), 'GET', f'/{number:06}') for number in range(21, 41)]
if how == 'stream':
    outcomes = list(pool.stream(asked))
elif how == 'wait':
    for one in asked:
        pool.request(*one)
    outcomes = pool.wait()
else:
    outcomes = [pool.request(*one).get() for one in asked]
assert [outcome.status for outcome in outcomes] == [200] * 20, outcomes
pool.close()
first.close()
""",
                kind,
                how,
                whose,
                server.port,
                proxy.port,
                authority.ca_certs,
            )
        )


@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_deadline_is_seen_by_the_loop(scheme: str, authority: kit.Authority) -> None:
    """A request that waits for a slot which nothing is going to free ends by its deadline, not with a LoopExit."""
    with serve(lambda *_: (200, {}, b'x' * 10**6), tls=authority.server() if scheme == 'https' else None) as server:
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
from napixclient import QueueTimeout
host, ca_certs = sys.argv[1:]
with Client(host, simultaneous=1, ca_certs=ca_certs) as client:
    held = client.request('GET', '/000001', stream=True)
    held.read(1)
    gevent.sleep(0.1)                       # it has more than enough, so that nobody watches the socket
    for _ in range(2):
        try:
            client.request('GET', '/000002', timeout=0.2)
        except QueueTimeout:
            print('in time')
    held.read()
    began = time.monotonic()
    client.request('GET', '/000003', timeout=3600).data
gevent.wait()                               # nothing keeps the loop going for a request that is over
assert time.monotonic() - began < 60
""",
                server.host,
                authority.ca_certs,
            ),
            'in time\nin time\n',
        )


# 39: fork ------------------------------------------------------------------------------------------------------------

FORK = (
    PRELUDE
    + '''
import gevent.os, traceback
def in_child(work, fork=gevent.os.fork):
    """Run it in a child, which has its own ids: 0 when it came back true."""
    global numbers
    child = fork()
    if child:
        return child
    if fork is os.fork and fork is not gevent.os.fork:
        gevent.reinit()
    numbers = iter(range(10**6 - 10**4, 10**6))
    code = 1
    try:
        code = 0 if work() else 2
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
'''
)


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('fork', ['os.fork', 'gevent.os.fork'])
def test_39_fork_with_idle_connections(fork: str, scheme: str, authority: kit.Authority) -> None:
    """After a fork parent and child both send: no answer is wrong, and the parent's connections live on."""
    tls = authority.server() if scheme == 'https' else None
    with serve(tls=tls) as server:
        assert_fine(
            kit.run_program(
                FORK
                + """
host, ca_certs = sys.argv[1:]
pool = ClientPool(ca_certs=ca_certs, simultaneous=4)
def check(count=40):
    for _ in range(count):
        ask(pool, host)
    answers = pool.wait(timeout=10)
    return len(answers) == count and all(map(right, answers))
assert check()
child = in_child(lambda: check() and check(), HOW)
assert check()
pid, status = HOW_TO_WAIT(child, 0)
assert status == 0, status
assert check()
pool.close()
""".replace('HOW_TO_WAIT', fork.replace('fork', 'waitpid')).replace('HOW', fork),
                server.host,
                authority.ca_certs,
            )
        )
        assert len(server.requests) == 200
        assert server.accepted <= 8  # four connections of the parent's, four of the child's


def test_39_fork_with_requests_in_flight() -> None:
    """What was pending at a fork is Cancelled in the child, and goes on undisturbed in the parent."""
    with serve(gate=Gate()) as server:
        program = gevent.spawn(
            kit.run_program,
            FORK
            + """
host, = sys.argv[1:]
pool = ClientPool()
pendings = [ask(pool, host) for _ in range(6)]
while list(pool.stats().values())[0]['in_flight'] < 2:
    gevent.sleep(0.001)
def work():
    for pending in pendings:
        try:
            pending.get(timeout=20)
        except Cancelled:
            continue
        return False
    return right(ask(pool, host, timeout=5).get())
child = in_child(work)
answers = pool.wait(timeout=10)
assert len(answers) == 6 and all(map(right, answers)), answers
pid, status = gevent.os.waitpid(child, 0)
assert status == 0, status
pool.close()
""",
            server.host,
        )
        wait_until(lambda: server.gate.in_flight == 3 or program.ready())  # two of the parent's, one of the child's
        server.gate.open()
        assert_fine(program.get())
        assert len(server.requests) == 7


# 41: import orders ---------------------------------------------------------------------------------------------------

ORDERS = {
    'never patched': 'import napixclient',
    'patched first': 'from gevent import monkey; monkey.patch_all(); import napixclient',
    'patched after': 'import napixclient; from gevent import monkey; monkey.patch_all()',
    'urllib3 first': 'import urllib3, ssl; import napixclient',
    'urllib3, patched, ours': 'import urllib3; from gevent import monkey; monkey.patch_all(); import napixclient',
    'urllib3, ours, patched': 'import urllib3; import napixclient; from gevent import monkey; monkey.patch_all()',
    'patched without ssl': 'from gevent import monkey; monkey.patch_all(ssl=False); import napixclient',
    'patched without sockets': 'from gevent import monkey; monkey.patch_all(socket=False); import napixclient',
    'patched late, in use': 'import napixclient; napixclient.ClientPool().close(); '
    'from gevent import monkey; monkey.patch_all()',
}


@pytest.mark.parametrize('order', ORDERS)
def test_41_import_order(order: str, authority: kit.Authority) -> None:
    """In whatever order gevent patches and modules are imported, it works, or refuses once and clearly."""
    with serve() as plain, serve(tls=authority.server()) as secure:
        finished = kit.run_program(
            """
import sys, warnings
warnings.filterwarnings('ignore', 'Monkey-patching ssl after ssl')      # gevent's own
"""
            + ORDERS[order]
            + """
import gevent
*hosts, ca_certs = sys.argv[1:]
gaps = []
def tick():
    import time
    while True:
        began = time.perf_counter()
        gevent.sleep(0.005)
        gaps.append(time.perf_counter() - began)
ticking = gevent.spawn(tick)
gevent.sleep(0)
try:
    with napixclient.ClientPool(ca_certs=ca_certs) as pool:
        for host in hosts * 10:
            pool.request(host, 'GET', '/123456')
        print([(answer.status, answer.body) for answer in pool.wait(timeout=10)] == [(200, '123456')] * 20)
except RuntimeError as error:
    if isinstance(error, RecursionError):
        raise
    print('refused:', error)
""",
            plain.host,
            secure.host,
            authority.ca_certs,
            patched=False,
        )
        assert (finished.code, finished.err) == (0, '')
        if finished.out != 'True\n':
            refused, _, why = finished.out.partition(' ')
            assert refused == 'refused:'
            assert 'monkey' in why
            assert order in (
                'patched after',
                'urllib3, patched, ours',
                'urllib3, ours, patched',
                'patched late, in use',
            )


@pytest.mark.timed
def test_41_importing_patches_nothing_and_is_quick() -> None:
    """With gevent already imported, `import napixclient` patches nothing and takes less than 150 ms."""
    program = """
import socket, ssl, time, threading, select, os, subprocess, signal, queue
import gevent, gevent.socket, gevent.ssl
watched = {(module, name): getattr(module, name)
           for module in (socket, ssl, time, threading, select, os, subprocess, signal, queue) for name in dir(module)
           if not name.startswith('__')}
began = time.perf_counter()
import napixclient
took = time.perf_counter() - began
from gevent import monkey
assert not monkey.is_anything_patched()
changed = [(module.__name__, name) for (module, name), thing in watched.items() if getattr(module, name) is not thing]
assert not changed, changed
print(took)
"""
    times = []
    for _ in range(5):
        code, out, err = kit.run_program(program, patched=False, COVERAGE_PROCESS_START='', COVERAGE_PROCESS_CONFIG='')
        assert (code, err) == (0, '')
        times.append(float(out))
        if times[-1] < 0.1:
            break
    assert min(times) < kit.limit(0.15)


def test_failures_print_nothing(authority: kit.Authority) -> None:
    """Requests that fail in every way, unobserved or killed, print nothing; nor does the end of the process."""
    with (
        FaultServer([READ, SILENCE], [READ, b'HTTP/1.1 oops\r\n\r\n'], [READ, ANSWER, READ, SILENCE]) as server,
        serve(tls=authority.server('other.example')) as secure,
        FaultServer(listening=False) as refusing,
        kit.Mute() as mute,
    ):
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
fault, secure, refusing, mute, ca_certs = sys.argv[1:]
pool = ClientPool(ca_certs=ca_certs, timeout=0.2, simultaneous=1)
for host in [fault] * 3 + [secure] * 2 + [refusing] * 2:
    ask(pool, host)
outcomes = pool.wait()
assert len(outcomes) == 7
caller = gevent.spawn(lambda: Client(mute).request('GET', '/000001'))
gevent.sleep(0.02)
caller.kill()
def authenticator(request):
    raise ZeroDivisionError('from an authenticator')
with ClientPool(authenticator) as other:
    other.request(fault, 'GET', '/000001')
    error, = other.wait()
    assert isinstance(error, HTTPError) and isinstance(error.__cause__, ZeroDivisionError), repr(error)
abandoned = ClientPool()
ask(abandoned, mute)
ask(abandoned, refusing)
gevent.sleep(0.02)
del abandoned, pool, caller
gc.collect()
gevent.sleep(0)
print('done')
""",
                server.host,
                secure.host,
                refusing.host,
                mute.host,
                authority.ca_certs,
            ),
            'done\n',
        )


def test_a_process_that_ends_in_the_midst() -> None:
    """A process may end, or be interrupted, with requests in flight: no hang, no crash, no noise."""
    with serve(gate=Gate()) as server:
        assert_fine(
            kit.run_program(
                PRELUDE
                + """
host, = sys.argv[1:]
pool = ClientPool()
pendings = [ask(pool, host) for _ in range(5)]
gevent.sleep(0.05)
""",
                server.host,
            )
        )
        finished = kit.run_program(
            PRELUDE
            + """
import signal
host, = sys.argv[1:]
pool = ClientPool()
pendings = [ask(pool, host) for _ in range(5)]
signal.signal(signal.SIGALRM, signal.default_int_handler)       # as Ctrl-C, at any moment
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    pool.wait()
except KeyboardInterrupt:
    print('interrupted')
""",
            server.host,
        )
        assert_fine(finished, 'interrupted\n')
        assert server.gate.in_flight == 0


# Greenlets of the library ---------------------------------------------------------------------------------------------


class Slow:
    """An authenticator that takes its time to sign."""

    def __call__(self, request: Request) -> None:
        """Sign nothing."""
        kit.turn()


class Challenged(Slow):
    """One that takes its time to answer a challenge."""

    blocking = False

    def __call__(self, request: Request) -> None:
        """Sign nothing."""

    def challenged(self, request: Request, response: Response) -> None:
        """Have no answer."""
        kit.turn()


PACKED = gzip.compress(bytes(range(256)) * 10_000)
STAGES: dict[str, dict[str, Any]] = {
    'dial': {'host': 'localhost'},
    'sign': {'authenticator': Slow()},
    'upload': {'body': (b'a', b'b')},
    'decode': {'answer': (200, {'Content-Encoding': 'gzip'}, PACKED)},
    'challenge': {'answer': (401, {}, None), 'authenticator': Challenged()},
}


@pytest.mark.parametrize('late', [False, True], ids=['before it began', 'in the midst'])
@pytest.mark.parametrize('stage', STAGES)
def test_a_greenlet_of_the_library_is_killed(stage: str, late: bool) -> None:
    """Whoever kills all greenlets that there are ends requests with an error, and their slots come back."""
    how = STAGES[stage]
    with serve(lambda *_: how.get('answer', (200, {}, None))) as server:
        with ClientPool(how.get('authenticator'), simultaneous=1) as pool:
            host = f'{how.get("host", "127.0.0.1")}:{server.port}'
            pending = pool.request(host, 'PUT', '/', how.get('body'))
            killed = kill_one_of_ours(pending, late)
            with gevent.Timeout(kit.LONG):
                pending.wait()
            if killed:
                assert isinstance(pending.exception, HTTPError)
            again = pool.request(host, 'GET', '/')
            with gevent.Timeout(kit.LONG):
                again.wait()
            assert again.attempts == 1
            assert pool.stats()[host]['queued'] == pool.stats()[host]['in_flight'] == 0


def kill_one_of_ours(pending: PendingResponse, late: bool) -> bool:
    """Kill the first greenlet that the library makes for a request, before it runs or a turn later; whether it lived."""
    while not pending.ready():
        for found in kit.greenlets():
            module = getattr(getattr(found, '_run', None), '__module__', '')
            if module.startswith('napixclient._http.') and isinstance(found, gevent.Greenlet):
                if late:
                    gevent.sleep(0)
                alive = not found.dead
                found.kill()
                return alive
        gevent.sleep(0)
    return False
