"""`python -m tests.saga.kills`: kills processes that run sagas, recovers, and checks what is left.

The law: a committed saga has all of its steps, and no other has any that its journal and the report do not name; no
undo is lost, and none is sent for a step that was never sent. Hypothesis draws sagas, failures and crash points.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
import hypothesis

from napixclient import ClientPool
from napixclient.saga import Saga
from napixclient.saga.journal import read_file
from napixclient.testing import wait_until
from tests import kit
from tests.chaos.postgres import missing, postgresql
from tests.saga.kills.ledger import Ledger, LedgerServer
from tests.saga.kills.plans import Plan, numbered, plans
from tests.saga.kills.service import ServiceKiller


class Killer:
    """Runs sagas in processes, and kills these at the points of their plans."""

    def __init__(self, directory: str) -> None:
        self.journal = Path(directory) / 'a.saga'
        self.kills = 0
        self.ends: Counter[str] = Counter()
        self.servers = [LedgerServer(), LedgerServer()]
        self._pid = 0
        self._events: Counter[str] = Counter()
        self._point: Any = None
        self._child = gevent.subprocess.Popen(
            [sys.executable, '-m', 'tests.saga.kills.child'],
            env=kit.environment(),
            cwd=kit.ROOT,
            stdin=gevent.subprocess.PIPE,
            stdout=gevent.subprocess.PIPE,
        )

    def close(self) -> None:
        """End the processes and the servers."""
        self._child.stdin.close()
        self._child.wait(timeout=30)
        self._child.stdout.close()
        for server in self.servers:
            server.close()

    # -- killing ---------------------------------------------------------------------------------------------------

    def _told(self, event: str) -> None:
        """An event at a server: the process is killed here, if this is the point."""
        self._events[event] += 1
        if self._point is not None and self._point[0] == event and self._events[event] == self._point[1]:
            milliseconds, self._point = self._point[2], None
            if milliseconds:
                gevent.spawn_later(milliseconds / 1000, self._kill, self._pid)
            else:
                self._kill(self._pid)

    def _kill(self, pid: int) -> None:
        if self._pid == pid:  # it has not ended, or nobody has waited for it yet
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _run(self, plan: Plan, point: Any, recover: bool) -> None:
        """Run a process to its end, whatever ends it; its connections are closed then."""
        order = {'plan': plan, 'hosts': [server.host for server in self.servers], 'journal': str(self.journal)}
        self._events.clear()
        self._point = point
        self._child.stdin.write(json.dumps({**order, 'recover': recover}).encode() + b'\n')
        self._child.stdin.flush()
        self._pid = int(self._child.stdout.readline())
        if point is not None and point[0] == 'start':
            self._told('start')
            for _ in range(point[1] - 1):
                gevent.sleep(0.002)
                self._told('start')
        status = int(self._child.stdout.readline())
        self._pid = 0
        if os.WIFSIGNALED(status):
            self.kills += 1
        else:
            assert status == 0, 'the saga ended with a traceback'
        for server in self.servers:
            wait_until(lambda server=server: not server.peers, 'the end of its connections')  # type: ignore[misc]

    # -- one saga --------------------------------------------------------------------------------------------------

    def check(self, plan: Plan) -> None:
        """Run a saga, kill it, recover it, and check what is left."""
        self.journal.unlink(missing_ok=True)
        ledger = Ledger(plan, self._told)
        for server in self.servers:
            server.ledger = ledger
            server.requests.clear()
        self._run(plan, plan['point'], recover=False)
        if not self.journal.exists():  # it was killed before it was begun
            assert not ledger.sent
            return
        before = read_file(self.journal)
        written = {entry.line['url']: entry for entry in before.entries.values()}
        unanswered = {path for path, entry in written.items() if entry.state == 'running'}
        assert set(ledger.sent) <= set(written), 'a step was sent before it was written down'
        if plan['again'] is not None and not before.finished:
            self._run(plan, plan['again'], recover=True)
        with ClientPool(timeout=0.3) as pool:
            report = Saga.recover(self.journal, pool)
            self._judge(ledger, report, unanswered)
            undos = +ledger.undos
            again = Saga.recover(self.journal, pool)
            assert again.state == report.state
            if report.state != 'not_undone':
                assert ledger.undos == undos, 'a second recovery did more'

    def _judge(self, ledger: Ledger, report: Any, unanswered: set[str]) -> None:
        self.ends[report.state] += 1
        if report.state == 'committed':
            assert ledger.there == set(ledger.steps), 'a committed saga misses a step'
            assert not ledger.undos, 'a step of a committed saga was undone'
            return
        named = {step.request.url for step in report.unknown} | {step.request.url for step, _ in report.not_undone}
        assert ledger.there <= named, f'nobody tells of {ledger.there - named}'
        assert (report.state == 'undone') is (not named)
        for path in ledger.undos:
            assert ledger.sent[path] or path in unanswered, f'{path} was never sent, but undone'
        for step in report.undone:
            assert ledger.undos[step.request.url], f'{step.request.url} is called undone'
        twice = [path for path, count in ledger.made.items() if count > 1 and ledger.steps[path]['method'] == 'POST']
        assert not twice, 'a step that is not idempotent was done twice'


def draw(kill: Callable[[Plan], None], kills: Callable[[], int], wanted: int, seed: int) -> None:
    """Draw plans until so many processes were killed."""
    rounds = 0
    while kills() < wanted:
        settings = hypothesis.settings(
            max_examples=min(wanted - kills(), 50),
            deadline=None,
            database=None,
            print_blob=True,
            phases=[hypothesis.Phase.generate],  # a race is no other one when it is smaller
            suppress_health_check=list(hypothesis.HealthCheck),
        )

        @hypothesis.seed(seed + rounds)
        @settings
        @hypothesis.given(plans)
        def law(plan: Plan) -> None:
            if kills() < wanted:
                kill(numbered(plan))

        law()
        rounds += 1


def report(what: str, killer: Killer | ServiceKiller, began: float) -> None:
    """Say how that went."""
    seconds = time.monotonic() - began
    print(f'{what}: {killer.kills} kills in {seconds:.0f} s; the sagas ended {dict(killer.ends)}', flush=True)


def kill_services(directory: Path, wanted: int, full: bool, seed: int) -> None:
    """Kill services on SQLite, and where there is time for their leases, on PostgreSQL."""
    with ExitStack() as stack:
        stores: list[tuple[str, Any, int]] = [('the service on SQLite', directory / 'runs.sqlite', wanted)]
        if full and not missing():
            server = stack.enter_context(postgresql())
            stores.append(('the service on PostgreSQL', server.create('sagas'), max(wanted // 5, 1)))
        for what, store, some in stores:
            began, killer = time.monotonic(), ServiceKiller(store)
            try:
                draw(killer.check, lambda killer=killer: killer.kills, some, seed)  # type: ignore[misc]
            finally:
                killer.close()
            report(what, killer, began)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.saga.kills', description='Kills sagas and checks what is left.'
    )
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--services', type=int, default=5, help='kills of services')
    parser.add_argument('--full', action='store_true', help='500 kills, and 50 of services, on PostgreSQL too')
    parser.add_argument('--seed', type=int, default=None)
    given = parser.parse_args()
    wanted, services = (500, 50) if given.full else (given.kills, given.services)
    seed = int.from_bytes(os.urandom(4), 'big') if given.seed is None else given.seed
    print(f'{wanted} kills, and {services} of services; the seed is {seed}', flush=True)
    with tempfile.TemporaryDirectory() as directory:
        began, killer = time.monotonic(), Killer(directory)
        try:
            draw(killer.check, lambda: killer.kills, wanted, seed)
        finally:
            killer.close()
        report('processes', killer, began)
        kill_services(Path(directory), services, given.full, seed)
    return 0


if __name__ == '__main__':
    sys.exit(main())
