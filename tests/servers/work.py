"""The work: valid, ordinary requests, as a program asks them that has many to ask."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import gevent
import gevent.subprocess
from gevent.event import Event
from urllib3 import Retry, Timeout

from napixclient import Client, ClientPool, HTTPError, Request, Response
from tests.servers.counting import Cell, Ledger, count, count_others, new_ids
from tests.servers.install import PYTHON
from tests.servers.programs import Running
from tests.servers.table import APPS, HOSTS, Server

SECONDS = 60.0
SMALL, LARGE = b'x' * 20, b'x' * (2 << 20)
Outcome = Response | HTTPError
Other = Literal['aiohttp', 'pycurl']
#: A connection that is refused is tried again, for as long as a server takes that is started anew.
PATIENT = Retry(None, connect=200, read=0, status=0, other=0, redirect=0, backoff_factor=0.05, backoff_max=0.1)
#: At a time, while the server loads its configuration anew.
AT_A_TIME = 4


def is_right(request: str, outcome: Outcome) -> bool:
    """Whether it is the answer with the request's own id."""
    return isinstance(outcome, Response) and outcome.status == 200 and outcome.data == request.encode()


class Failed(Exception):
    """Another client did not do the work."""


class Work:
    """The work on one server.

    :param port: where it listens.
    :param behind: the port of the application behind it.
    :param share: how much of the work is done, of 1.
    """

    def __init__(
        self, server: Server, running: Running, ledger: Ledger, port: int, behind: int, share: float = 1.0
    ) -> None:
        self._server = server
        self._running = running
        self._ledger = ledger
        self._share = share
        self._proxy = None if server.takes == 'origin' else f'{server.takes}://127.0.0.1:{port}'
        self._hosts = [
            f'127.0.0.{number + 1}:{port if self._proxy is None else behind}' for number in range(server.hosts)
        ]

    def _several(self, count: int) -> int:
        return max(10, int(count * self._share))

    def _pool(self, simultaneous: int, **options: Any) -> ClientPool:
        return ClientPool(
            simultaneous=simultaneous,
            proxy=self._proxy,
            timeout=Timeout(connect=10, read=5),
            max_header_bytes=1 << 18,
            **options,
        )

    def _ask(
        self,
        number: int,
        kind: str = 'id',
        method: str = 'GET',
        body: Callable[[], Any] = lambda: None,
        headers: dict[str, str] | None = None,
        right: Callable[[str, Outcome], bool] = is_right,
        simultaneous: int = 2,
        **more: Any,
    ) -> Cell:
        """So many requests of a kind at once."""
        ids = new_ids(number)
        with self._pool(simultaneous) as pool:
            for request in ids:
                pool.request(self._hosts[0], method, f'/{kind}/{request}', body(), headers, **more)
            outcomes = pool.wait(timeout=SECONDS)
        return count(self._ledger, zip(ids, outcomes, strict=True), simultaneous, right)

    # -- pieces ----------------------------------------------------------------------------------------------------

    def gets(self, simultaneous: int) -> Cell:
        """500 GETs, so many at a time."""
        return self._ask(self._several(500), simultaneous=simultaneous)

    def head(self) -> Cell:
        """HEAD, in turn with GET over the same connections."""
        ids = new_ids(40)
        with self._pool(2) as pool:
            for number, request in enumerate(ids):
                pool.request(self._hosts[0], ('HEAD', 'GET')[number % 2], f'/id/{request}')
            outcomes = pool.wait(timeout=SECONDS)
        heads = set(ids[::2])
        return count(
            self._ledger,
            zip(ids, outcomes, strict=True),
            2,
            lambda request, outcome: (
                (outcome.status == 200 and isinstance(outcome, Response) and not outcome.data)
                if request in heads
                else is_right(request, outcome)
            ),
        )

    def empty(self) -> Cell:
        """204."""
        return self._ask(40, 'empty', right=lambda _, outcome: outcome.status == 204)

    def gzip(self) -> Cell:
        """A body that is compressed."""
        return self._ask(
            40,
            'gzip',
            right=lambda request, outcome: (
                isinstance(outcome, Response) and outcome.data == f'{request}\n'.encode() * 1000
            ),
        )

    def header_sent(self) -> Cell:
        """100 KB of header in the request, in turn with none."""
        fields = {f'X-Field-{number}': 'x' * 1000 for number in range(100)}
        ids = new_ids(20)
        with self._pool(2) as pool:
            for number, request in enumerate(ids):
                pool.request(self._hosts[0], 'GET', f'/id/{request}', None, fields if number % 2 else None)
            outcomes = pool.wait(timeout=SECONDS)
        return count(self._ledger, zip(ids, outcomes, strict=True), 2, is_right)

    def header_received(self) -> Cell:
        """100 KB of header in the answer."""
        return self._ask(10, 'header')

    def closing(self) -> Cell:
        """200 answers of which each ends its connection."""
        return self._ask(self._several(200), headers={'Connection': 'close'}, simultaneous=4)

    def refused(self) -> Cell:
        """A body of 2 MB that is refused early, in turn with small ones."""
        ids = new_ids(20)
        with self._pool(2) as pool:
            for number, request in enumerate(ids):
                large = number % 2
                kind, body = ('refuse', LARGE) if large else ('id', SMALL)
                pool.request(self._hosts[0], 'POST', f'/{kind}/{request}', body)
            outcomes = pool.wait(timeout=SECONDS)
        larges = set(ids[1::2])
        return count(
            self._ledger,
            zip(ids, outcomes, strict=True),
            None if self._server.behind else 2,  # who refuses in front does not wait for who is behind
            lambda request, outcome: outcome.status == 413 if request in larges else is_right(request, outcome),
        )

    def expect(self) -> Cell:
        """A body that waits for a 100."""
        size = 100_000
        return self._ask(
            *(10, 'sum', 'POST', lambda: b'x' * size),
            right=lambda _, outcome: isinstance(outcome, Response) and outcome.data == b'%d' % size,
            expect=True,
        )

    def chunked(self) -> Cell:
        """A body of unknown length."""
        return self._ask(
            *(10, 'sum', 'POST', lambda: iter([b'x' * 10_000] * 10)),
            right=lambda _, outcome: isinstance(outcome, Response) and outcome.data == b'100000',
        )

    def keep(self) -> Cell:
        """POSTs over connections that are about to be closed because they are idle."""
        gaps, outcomes = self._gaps(), []

        def twice(gap: float, first: str, second: str) -> None:
            with Client(self._hosts[0], proxy=self._proxy, timeout=20) as client:
                for request, pause in ((first, gap), (second, 0)):
                    pending = client.submit('POST', f'/id/{request}', SMALL)
                    pending.wait()
                    outcomes.append((request, pending.outcome))
                    gevent.sleep(pause)

        ids = new_ids(2 * len(gaps))
        gevent.joinall(
            [gevent.spawn(twice, gap, *ids[2 * number : 2 * number + 2]) for number, gap in enumerate(gaps)],
            raise_error=True,
        )
        return count(self._ledger, outcomes, None, is_right)

    def _gaps(self) -> list[float]:
        """Pauses around the time after which the server closes: most do some time later."""
        number = self._several(100)
        return [self._server.keeps - 0.2 + 0.8 * at / number for at in range(number)]

    def reload(self) -> Cell:
        """POSTs while the server loads its configuration anew, or is started anew."""
        ended, outcomes = Event(), []

        def requests() -> Iterator[Request]:
            while not ended.is_set():
                [request] = new_ids(1)
                yield Request(self._hosts[0], 'POST', f'/id/{request}', SMALL, tag=request)

        reloading = gevent.spawn(self._reload, ended.set)
        with self._pool(AT_A_TIME, retries=PATIENT, retry_budget=None) as pool:
            for outcome in pool.stream(requests(), window=AT_A_TIME):
                outcomes.append((str(outcome.request.tag), outcome))
        reloading.get()
        return count(self._ledger, outcomes, None, is_right)

    def _reload(self, end: Callable[[], object]) -> None:
        try:
            gevent.sleep(0.4)
            self._running.reload()
            gevent.sleep(0.2)
            self._running.wait_until_up()
            gevent.sleep(1.2)
        finally:
            end()

    def hosts(self) -> Cell:
        """POSTs to many hosts, 2 at a time to each, while all of them are loaded anew."""
        ids = new_ids(self._several(6000))
        reloads = {len(ids) // 4, len(ids) // 2, len(ids) * 3 // 4}
        outcomes = []
        with self._pool(2) as pool:
            for number, request in enumerate(ids):
                pool.request(self._hosts[number % HOSTS], 'POST', f'/id/{request}', SMALL, tag=request)
            for outcome in pool.wait_unordered(timeout=SECONDS):
                outcomes.append((str(outcome.request.tag), outcome))
                if len(outcomes) in reloads:
                    self._running.reload()
        gevent.sleep(0.3)  # the last lines
        return count(self._ledger, outcomes, None, is_right)

    # -- the same by others ----------------------------------------------------------------------------------------

    def by_another(self, client: Other, work: str) -> Cell:
        """The same work by another client; those that `others.py` knows."""
        number = self._several(6000 if work == 'hosts' else 200)
        gaps = self._gaps() if work == 'keep' else []
        does = {
            'proxy': self._proxy and self._proxy.replace('socks5:', 'socks5h:'),
            'hosts': self._hosts,
            'gaps': gaps,
            'ids': new_ids(1 if work == 'reload' else 2 * len(gaps) or number),
            'simultaneous': 2 if work == 'hosts' else AT_A_TIME,
        }
        process = gevent.subprocess.Popen(
            [str(PYTHON), str(APPS.parent / 'others.py'), client, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            process.stdin.write(json.dumps(does).encode() + b'\n')
            process.stdin.flush()
            process.stdout.readline()
            if work == 'reload':
                self._reload(lambda: None)
            elif work == 'hosts':
                for _ in range(3):
                    gevent.sleep(0.2)
                    self._running.reload()
            printed, complaints = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise Failed(f'{client}: {complaints.decode().strip()[-300:]}')
        time.sleep(0.3 if work == 'hosts' else 0)
        return count_others(self._ledger, json.loads(printed))
