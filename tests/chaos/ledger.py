"""What the servers of a row received, and what its instances said of it: who has lost, doubled, or sent after death."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from napixclient import HTTPError
from tests import kit
from tests.service.serving import LONG, Service

#: Methods in turn: a POST is never sent twice, a PUT may be.
METHODS = ('POST', 'PUT', 'POST', 'GET')
#: Addresses of this machine that are asked as if they were hosts, and requests in flight to each.
HOSTS, SIMULTANEOUS = 4, 4


class Ledger:
    """One run: its requests, when they arrived, and when their results were seen.

    :param answer_after: seconds that the server takes for each.
    """

    def __init__(self, total: int, answer_after: float) -> None:
        self.total = total
        self.arrived: dict[str, list[float]] = {}
        self.seen: dict[str, tuple[float, dict[str, Any]]] = {}
        self.twice = 0  # results that came twice
        self.id = ''
        self.after = answer_after
        self.port = 0
        self._watchers: list[gevent.Greenlet] = []

    def _answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        self.arrived.setdefault(path, []).append(time.monotonic())
        gevent.sleep(self.after)
        return 200, {}, path

    @contextmanager
    def serving(self) -> Iterator[Ledger]:
        """While its server runs."""
        with kit.serve(self._answer, address='0.0.0.0') as server:
            self.port = server.port
            try:
                yield self
            finally:
                gevent.killall(self._watchers)

    def submit(self, service: Service, **options: Any) -> str:
        """Start the run."""
        requests = [
            {
                'host': f'127.0.0.{number % HOSTS + 1}:{self.port}',
                'url': f'/{number:06}',
                'method': METHODS[number % len(METHODS)],
            }
            for number in range(self.total)
        ]
        self.id = service.start({'requests': requests, 'simultaneous': SIMULTANEOUS, **options})['id']
        return self.id

    def watch(self, service: Service) -> None:
        """Note when an instance shows each result, until the run has ended, whatever happens to the instance."""
        self._watchers.append(gevent.spawn(self._watch, service))

    def _watch(self, service: Service) -> None:
        seq = 0
        while seq < self.total:
            try:
                answer = service.ask('GET', f'/runs/{self.id}/results?from={seq}', timeout=5)
                for line in answer.text.splitlines() if answer.status == 200 else ():
                    self._note(json.loads(line), seq)
                    seq += 1
            except HTTPError:
                pass  # it stands still, has no store, or is gone
            gevent.sleep(0.3)

    def _note(self, result: dict[str, Any], seq: int) -> None:
        assert result['seq'] == seq, (result, seq)
        self.seen.setdefault(result['url'], (time.monotonic(), result))

    def wait(self, service: Service, seconds: float) -> dict[str, Any]:
        """Wait until the run has ended; read its results whole."""
        kit.wait_until(lambda: self._state(service) != 'running', 'the run ends', seconds)
        urls = [result['url'] for result in service.results(self.id)]
        self.twice = len(urls) - len(set(urls))
        for result in service.results(self.id):
            self.seen.setdefault(result['url'], (time.monotonic(), result))
        return service.show(self.id)

    def _state(self, service: Service) -> str:
        gevent.sleep(0.2)
        try:
            return str(service.show(self.id)['state'])
        except (HTTPError, AssertionError):
            return 'running'

    def flows(self, count: int) -> None:
        """Wait until so many requests more have arrived."""
        least = len(self.arrived) + count
        kit.wait_until(lambda: len(self.arrived) >= least, f'{count} more requests arrive', LONG)

    # -- the law ---------------------------------------------------------------------------------------------------

    @property
    def lost(self) -> list[str]:
        """Requests without a result, or with one that says they were answered, though they never came."""
        return [
            url
            for url in map('/{:06}'.format, range(self.total))
            if url not in self.seen or (self.seen[url][1]['state'] == 'done' and url not in self.arrived)
        ]

    @property
    def doubled(self) -> list[str]:
        """Requests that must come once and came twice, and results that are there twice."""
        posts = {url for url, (_, result) in self.seen.items() if result['method'] == 'POST'}
        return [url for url, times in self.arrived.items() if url in posts and len(times) > 1] + ['twice'] * self.twice

    @property
    def by_the_dead(self) -> list[str]:
        """Requests that came after their result had been seen."""
        return [url for url, times in self.arrived.items() if url in self.seen and times[-1] > self.seen[url][0]]

    @property
    def interrupted(self) -> tuple[int, int]:
        """How many results say that nobody can know; and of how many of those the request never came."""
        found = [url for url, (_, result) in self.seen.items() if result['state'] == 'interrupted']
        return len(found), sum(url not in self.arrived for url in found)
