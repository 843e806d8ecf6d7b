"""The rows of the siege. Each does one thing to a service while it works, on SQLite or on PostgreSQL with two instances."""

from __future__ import annotations

import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import gevent.subprocess
from gevent.lock import BoundedSemaphore

from napixclient import Client, HTTPError
from tests import kit
from tests.chaos.ledger import HOSTS, SIMULTANEOUS, Ledger
from tests.chaos.postgres import PostgreSQL
from tests.chaos.relay import Relay
from tests.service.serving import LONG, Service

#: Seconds without a sign of life after which a run is taken over.
LEASE = 20
SKEWED = Path(__file__).with_name('skewed')
#: The share of its requests that may be interrupted for each end of a service, and not have left it.
NEEDLESS = 0.1


#: A start takes a second of the processor, of which a machine may have two.
_one_at_a_time = BoundedSemaphore(2)


class Siege(NamedTuple):
    """What all rows are given.

    :param scale: 1, or more for the full form: it lengthens what is borne, and what is asked.
    """

    folder: Path
    postgres: PostgreSQL | None
    scale: int


class Row:
    """One row: what it does, and how it ended."""

    def __init__(self, siege: Siege, name: str, store: str) -> None:
        self.siege = siege
        self.name = name
        self.store = store
        self.folder = siege.folder / f'{name}-{store}'.replace(' ', '-')
        self.folder.mkdir()
        self.ledgers: list[Ledger] = []
        self.instances: list[Service] = []
        self.notes: list[str] = []
        self.wrong: list[str] = []
        self._made = False  # its database
        self._stack = ExitStack()

    # -- what it has -----------------------------------------------------------------------------------------------

    def url(self, port: int = 0) -> str:
        """The URL of its store."""
        if self.store == 'sqlite':
            return f'sqlite:///{self.folder}/runs'
        assert self.siege.postgres is not None
        name = 'row_' + self.name.lower().replace(' ', '_').replace('-', '_')
        if not self._made:
            self.siege.postgres.create(name)
            self._made = True
        return self.siege.postgres.url(name, port)

    def instance(self, url: str = '', skew: float = 0) -> Service:
        """A service, gone at the end of the row."""
        env = {'PYTHONPATH': f'{SKEWED}:{kit.ROOT}', 'SKEW': str(skew)} if skew else {}
        with _one_at_a_time:
            service = Service(url or self.url(), '--drain-timeout', 1, **env)
        self.instances.append(service)
        self._stack.callback(_end, service)
        return service

    def ledger(self, total: int, answer_after: float = 0.2) -> Ledger:
        """A run, and its servers."""
        ledger = self._stack.enter_context(Ledger(total, answer_after).serving())
        self.ledgers.append(ledger)
        return ledger

    def enter(self, thing: Any) -> Any:
        """Something that is closed at the end of the row."""
        return self._stack.enter_context(thing)

    def bear(self, seconds: float) -> None:
        """Let time pass: longer than a lease."""
        gevent.sleep(seconds * self.siege.scale)

    # -- what it finds ---------------------------------------------------------------------------------------------

    def expect(self, right: object, what: str) -> None:
        """One more law."""
        if not right:
            self.wrong.append(what)

    def goes_on(self, ledger: Ledger) -> None:
        """The store is back from now on: requests are sent again within 5 s."""
        before, began = len(ledger.arrived), time.monotonic()
        kit.wait_until(lambda: len(ledger.arrived) > before, 'it goes on', LONG)
        self.notes.append(f'on after {time.monotonic() - began:.1f} s')
        self.expect(time.monotonic() - began < 5, 'it went on too late')

    def run(self, work: Callable[[Row], None]) -> None:
        """Do it, and judge."""
        try:
            with self._stack:
                work(self)
        except Exception as exc:
            self.wrong.append(f'{type(exc).__name__}: {exc}')
        for ledger in self.ledgers:
            for what in 'lost', 'doubled', 'by_the_dead':
                found = getattr(ledger, what)
                self.expect(not found, f'{what}: {found[:5]}')

    def log(self) -> Iterator[str]:
        """What its instances had to say, but for what is asked of them."""
        for number, service in enumerate(self.instances):
            for one in service.log:
                if not isinstance(one, dict) or one['logger'] != 'napixclient.service.access':
                    yield f'      {number}: {one if isinstance(one, str) else one["time"][11:] + " " + one["message"]}'

    def total(self, what: str) -> int:
        """How many were lost, doubled, or sent by the dead."""
        return sum(len(getattr(ledger, what)) for ledger in self.ledgers)


def _end(service: Service) -> None:
    if service.process.poll() is None:
        service.process.send_signal(signal.SIGCONT)
        service.kill()


# Every run ends ---------------------------------------------------------------------------------------------------------

POISON = (
    '1e400',
    '-1e400',
    '1E+999',
    'NaN',
    '"\\ud800"',
    '"\\u0000"',
    '9' * 4000,
    '9' * 5000,
    '[' * 600 + ']' * 600,
    '[' * 5000 + ']' * 5000,
    '"' + 'x' * 1_000_000 + '"',
    '{"\\ud800": [1e-400]}',
)


def ends(row: Row) -> None:
    """Whatever a submission holds, it is refused or its run ends; where results cannot be kept it has failed, and says why."""
    service, ledger = row.instance(), row.ledger(8)
    host = f'127.0.0.1:{ledger.port}'
    taken = []
    for poison in POISON:
        for part in ('"tag": {}', '"body": [{}]', '"body": {}', '"headers": {{"X-A": {}}}', '"url": {}'):
            body = f'{{"requests": [{{"host": "{host}", "method": "PUT", "url": "/000000", {part.format(poison)}}}]}}'
            answer = service.ask('POST', '/runs', body.encode(), {'Content-Type': 'application/json'})
            row.expect(answer.status in (201, 400), f'{answer.status} for {body[:100]}')
            if answer.status == 201:
                taken.append(answer.body['id'])
    for id in taken:
        kit.wait_until(lambda id=id: service.show(id)['state'] != 'running', f'{id} ends', LONG)  # type: ignore[misc]
    row.notes.append(f'{len(taken)} of {5 * len(POISON)} taken')
    ledger.arrived.clear()
    ledger.submit(service)
    ledger.wait(service, LONG)
    _poison_the_store(row)
    id = service.start({'requests': [{'host': host, 'method': 'PUT', 'url': '/other'}]})['id']
    kit.wait_until(lambda: service.show(id)['state'] == 'failed', 'it fails', LONG)
    row.expect(service.show(id)['reason'], 'it does not say why')
    row.expect(service.said('cannot be kept'), 'it is not logged')
    row.expect(service.ask('DELETE', f'/runs/{id}').status == 200, 'it cannot be cancelled')
    row.expect(service.ask('GET', '/healthz').body['runs'] == 0, 'it is still under way')


def _poison_the_store(row: Row) -> None:
    """From now on the store refuses every result, and would for ever."""
    if row.store == 'sqlite':
        with sqlite3.connect(row.folder / 'runs') as database:
            database.execute("CREATE TRIGGER no BEFORE INSERT ON results BEGIN SELECT RAISE(ABORT, 'never'); END")
        database.close()
    else:
        with _connected(row) as connection:
            connection.execute('ALTER TABLE results ADD CONSTRAINT never CHECK (length(line) < 0) NOT VALID')


@contextmanager
def _connected(row: Row) -> Iterator[Any]:
    """A connection to the database of a row."""
    assert row.siege.postgres is not None
    connection: Any = row.siege.postgres.connect(row.url().rpartition('/')[2])
    with connection:
        yield connection


# A store that is away ---------------------------------------------------------------------------------------------------


def full(row: Row) -> None:
    """The disk is full for longer than the lease: the run pauses, and goes on by itself."""
    service, ledger = row.instance(), row.ledger(1000)
    ledger.submit(service)
    ledger.watch(service)
    ledger.flows(100)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
    _pauses(row, ledger)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    row.goes_on(ledger)
    ledger.wait(service, 6 * LONG)


def _pauses(row: Row, ledger: Ledger) -> None:
    """What was recorded may go out yet; then nothing is sent while the store is away."""
    gevent.sleep(5)
    before = len(ledger.arrived)
    row.bear(LEASE)
    row.expect(len(ledger.arrived) == before, 'it sent what was not recorded')


def locked(row: Row) -> None:
    """Another program holds the store for longer than the lease."""
    service, ledger = row.instance(), row.ledger(1000)
    ledger.submit(service)
    ledger.watch(service)
    ledger.flows(100)
    if row.store == 'sqlite':
        database = sqlite3.connect(row.folder / 'runs', isolation_level=None)
        database.execute('BEGIN IMMEDIATE')
        _pauses(row, ledger)
        database.execute('ROLLBACK')
        database.close()
    else:
        with _connected(row) as connection, connection.transaction():
            connection.execute('LOCK TABLE runs IN ACCESS EXCLUSIVE MODE')
            _pauses(row, ledger)
    row.goes_on(ledger)
    ledger.wait(service, 6 * LONG)


def frozen(row: Row) -> None:
    """Nobody reaches the database for longer than the lease; then both instances do again, and one goes on."""
    assert row.siege.postgres is not None
    relay = row.enter(Relay(row.siege.postgres.port))
    one, other = (row.instance(row.url(relay.port)) for _ in range(2))
    ledger = row.ledger(1000)
    ledger.submit(one)
    ledger.watch(one)
    ledger.watch(other)
    ledger.flows(100)
    relay.freeze()
    _pauses(row, ledger)
    relay.thaw()
    row.goes_on(ledger)
    ledger.wait(other, 6 * LONG)


# Leases -----------------------------------------------------------------------------------------------------------------


def stopped(row: Row) -> None:
    """An instance stands still for longer than its lease: the other goes on with its run, and it sends nothing more itself."""
    one, ledger = row.instance(), row.ledger(1200)
    other = row.instance() if row.store == 'postgresql' else None
    ledger.submit(one)
    ledger.watch(other or one)
    ledger.flows(100)
    one.process.send_signal(signal.SIGSTOP)
    if other is not None:
        kit.wait_until(lambda: ledger.id in _under_way(other), 'the other takes over', LEASE + LONG)
        ledger.flows(20)
    else:
        row.bear(LEASE + 2)
    one.process.send_signal(signal.SIGCONT)
    ledger.wait(other or one, 6 * LONG)
    if other is not None:
        row.expect(not _is_under_way(one), 'the first still runs it')
    _note_interrupted(row, ledger)


def _under_way(service: Service) -> list[str]:
    """Runs that an instance has taken over."""
    gevent.sleep(0.1)
    return [one['message'].split()[1] for one in list(service.log) if 'goes on:' in one['message']]


def _is_under_way(service: Service) -> bool:
    return bool(service.ask('GET', '/healthz').body['runs'])


def _note_interrupted(row: Row, ledger: Ledger, ends: int = 1) -> None:
    found, needless = ledger.interrupted
    row.notes.append(f'{found} interrupted, {needless} of them never sent')
    row.expect(needless <= NEEDLESS * ledger.total * ends, f'{needless} were interrupted without need')


def parted(row: Row) -> None:
    """One instance does not reach the database, the other does: it takes over, and the first has stopped before.

    The servers of a second run answer when its lease is over: then it has requests left that it had recorded.
    """
    assert row.siege.postgres is not None
    relay = row.enter(Relay(row.siege.postgres.port))
    one, other = row.instance(row.url(relay.port)), row.instance()
    ledger, slow = row.ledger(1200), row.ledger(24, answer_after=LEASE + 3)
    for run in slow, ledger:
        run.submit(one)
        run.watch(other)
        run.flows(HOSTS * SIMULTANEOUS)
    relay.freeze()
    kit.wait_until(lambda: {ledger.id, slow.id} <= {*_under_way(other)}, 'the other takes over', LEASE + LONG)
    slow.after = 0.2
    row.bear(5)
    relay.thaw()
    for run in ledger, slow:
        run.wait(other, 6 * LONG)
    _note_interrupted(row, ledger)


def skewed(row: Row) -> None:
    """Clocks differ by 30 s: nobody takes a run that lives; and after the death of its instance it is taken as ever."""
    one = row.instance()
    ledger = row.ledger(1200) if row.store == 'sqlite' else row.ledger(1200 * row.siege.scale, answer_after=0.5)
    if row.store == 'sqlite':
        ledger.submit(one, deadline=3600)
        ledger.watch(one)
        ledger.flows(100)
        one.kill()
        other = row.instance(skew=-30)
        ledger.watch(other)
    else:
        other = row.instance(skew=30)
        third = row.instance(skew=-30)
        ledger.submit(one, deadline=3600)
        ledger.watch(other)
        row.bear(LEASE + 5)
        row.expect(not _under_way(other) and not _under_way(third), 'a run that lives was taken')
        if row.siege.scale > 1:
            one.kill()
            kit.wait_until(lambda: bool(_under_way(other) or _under_way(third)), 'it is taken over', LEASE + LONG)
    ledger.wait(other, 6 * LONG)
    _note_interrupted(row, ledger)


# kill -9 ----------------------------------------------------------------------------------------------------------------


def killed(row: Row) -> None:
    """`kill -9` again and again: what had not been sent is, exactly once; interrupted is only what may have been."""
    ledger = row.ledger(4000, answer_after=0.01)
    service = row.instance()
    ledger.submit(service)
    ledger.watch(service)
    times = 1 if row.store == 'postgresql' else 3
    for _ in range(times):
        ledger.flows(500)
        service.kill()
        service = row.instance()
        ledger.watch(service)
    ledger.wait(service, 6 * LONG)
    _note_interrupted(row, ledger, times)


# First start ------------------------------------------------------------------------------------------------------------

APP = 'import os\nfrom napixclient.service import create_app\napp = create_app(store=os.environ["STORE"])\n'


def first(row: Row) -> None:
    """Two that start at the same time on an empty store both serve, or one of them is told in a line that it is taken."""
    for number in range(2 + row.siege.scale):
        if row.store == 'sqlite':
            starts = [gevent.spawn(_started, f'sqlite:///{row.folder}/first{number}') for _ in range(2)]
            services = [start.get() for start in starts]
            codes = [
                service.stop() if service.process.poll() is None else service.process.poll() for service in services
            ]
            row.expect(sorted(codes) == [0, 2], f'{codes}: {[list(service.log) for service in services]}')
        else:
            assert row.siege.postgres is not None
            row.expect(_start_gunicorn(row, row.siege.postgres.create(f'first{number}')), f'start {number} failed')


def _started(url: str) -> Service:
    """A service that serves by now, or has ended itself."""
    service = Service.__new__(Service)
    with suppress(AssertionError):
        service.__init__(url)  # type: ignore[misc]
    return service


def _start_gunicorn(row: Row, url: str) -> bool:
    """Whether two workers of gunicorn serve, as the documentation has it."""
    (row.folder / 'service.py').write_text(APP)
    listener = gevent.socket.socket()
    listener.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{listener.getsockname()[1]}'
    listener.close()
    log = (row.folder / 'gunicorn.log').open('a+')
    process = gevent.subprocess.Popen(
        [
            sys.executable,
            '-m',
            'gunicorn',
            '-k',
            'napixclient.service.gunicorn.Worker',
            '-w',
            '2',
            '--bind',
            address,
            'service:app',
        ],
        env={**kit.environment(STORE=url, PYTHONPATH=f'{row.folder}:{kit.ROOT}'), 'PYTHONWARNINGS': ''},
        cwd=row.folder,
        stdout=log,
        stderr=log,
    )
    try:
        kit.wait_until(lambda: process.poll() is not None or _answers(address), 'gunicorn serves', LONG)
        gevent.sleep(2)  # the other worker, too
        return process.poll() is None and _answers(address) and 'Worker failed' not in Path(log.name).read_text()
    finally:
        log.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=LONG)


def _answers(address: str) -> bool:
    gevent.sleep(0.1)
    try:
        with Client(address, timeout=5) as client:
            return bool(client.request('GET', '/healthz').status == 200)
    except HTTPError:
        return False


# All of them ------------------------------------------------------------------------------------------------------------

BOTH = ('sqlite', 'postgresql')
#: Names, what is done, and on which stores. Those of a lane follow each other; lanes go on side by side, as most wait.
LANES: list[list[tuple[str, Callable[[Row], None], tuple[str, ...]]]] = [
    [('full', full, ('sqlite',))],
    [('locked', locked, ('sqlite',))],
    [('locked', locked, ('postgresql',))],
    [('frozen', frozen, ('postgresql',))],
    [('SIGSTOP', stopped, ('sqlite',))],
    [('SIGSTOP', stopped, ('postgresql',))],
    [('parted', parted, ('postgresql',))],
    [('skew', skewed, ('postgresql',))],
    [('every run ends', ends, BOTH), ('skew', skewed, ('sqlite',))],
    [('kill -9', killed, BOTH)],
    [('first start', first, BOTH)],
]
