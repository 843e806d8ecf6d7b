"""The same law through the service: it is killed, started again, and ends what it had begun."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import gevent

from napixclient import HTTPError
from napixclient.testing import wait_until
from tests.saga.kills.ledger import Ledger, LedgerServer
from tests.saga.kills.plans import Plan
from tests.service.serving import LONG, Service

ENDED = ('committed', 'undone', 'not_undone')


def submission(plan: Plan, hosts: list[str]) -> dict[str, Any]:
    """The plan as data."""
    return {'steps': [[_step(step, hosts) for step in wait] for wait in plan['waits']], 'timeout': 5, 'undo_timeout': 3}


def _step(step: dict[str, Any], hosts: list[str]) -> dict[str, Any]:
    path = step['path']
    template = {'method': 'DELETE', 'url': '{header:location}'}
    undos: dict[str, Any] = {
        'data': {'method': 'DELETE', 'url': path},
        'template': {'method': 'DELETE', 'url': '/{json.id}'},
        'callable': template,
        'list': [{'method': 'DELETE', 'url': path}, template],
        'post': {'method': 'POST', 'url': f'{path}/undo'},
    }
    return {
        'name': path[1:],
        'host': hosts[step['host']],
        'method': step['method'],
        'url': path,
        'body': {'a': 1},
        'undo': undos[step['undo']],
        'find': {'method': 'GET', 'url': path} if step['find'] else None,
        'idempotency': step['idempotency'],
    }


class ServiceKiller:
    """Kills services at the points of plans.

    :param store: a URL, or the path of a file.
    """

    def __init__(self, store: Path | str) -> None:
        self.kills = 0
        self.ends: Counter[str] = Counter()
        self._store = store
        self._servers = [LedgerServer(), LedgerServer()]
        self._service: Service | None = None
        self._events: Counter[str] = Counter()
        self._point: Any = None
        self._seen: set[str] = set()
        self._timer: gevent.Greenlet[..., None] | None = None

    def close(self) -> None:
        """End all."""
        if self._service is not None:
            self._service.kill()
        for server in self._servers:
            server.close()

    def _told(self, event: str) -> None:
        self._events[event] += 1
        if self._point is not None and self._point[0] == event and self._events[event] == self._point[1]:
            milliseconds, self._point = self._point[2], None
            self._timer = gevent.spawn_later(milliseconds / 1000, self._kill)
            if not milliseconds:
                self._kill()

    def _kill(self) -> None:
        if self._service is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._service.process.pid, signal.SIGKILL)

    def check(self, plan: Plan) -> None:
        """Run a saga, kill its service as often as the plan says, and check what is left."""
        ledger = Ledger(plan, self._told)
        for server in self._servers:
            server.ledger = ledger
        id = ''
        for point in (plan['point'], plan['again'], None):
            service = self._started()
            self._events.clear()
            self._point = point
            if not id:
                id = self._submitted(service, plan)
            if not id:
                assert not ledger.sent, 'a saga that was not kept was begun'
                return
            if point is not None and point[0] == 'start':
                self._told('start')
            wait_until(lambda id=id: self._is_over(id), 'the saga ends', 2 * LONG)  # type: ignore[misc]
            self._point = None
            if self._timer is not None:
                self._timer.kill()
        assert self._service is not None
        self._judge(ledger, self._service.ask('GET', f'/sagas/{id}').body)

    def _submitted(self, service: Service, plan: Plan) -> str:
        """The id of the saga; nothing where the service died before it was kept."""
        body = submission(plan, [server.host for server in self._servers])
        try:
            answer = service.ask('POST', '/sagas', body, {'Content-Type': 'application/json'})
            assert answer.status == 201, answer.body
            id = str(answer.body['id'])
        except HTTPError:  # it died before it could answer
            wait_until(lambda: service.process.poll() is not None, 'the end of the service')
            kept = {one['id'] for one in self._started().ask('GET', '/sagas?limit=500').body['sagas']}
            id = next(iter(kept - self._seen), '')
        self._seen.add(id)
        return id

    def _started(self) -> Service:
        if self._service is not None and self._service.process.poll() is not None:
            self.kills += 1
            self._service.kill()
            self._service = None
            for server in self._servers:
                wait_until(lambda server=server: not server.peers, 'the end of its connections')  # type: ignore[misc]
        if self._service is None:
            self._service = Service(self._store)
        return self._service

    def _is_over(self, id: str) -> bool:
        """Whether the service is dead, or the saga has ended."""
        service = self._service
        assert service is not None
        if service.process.poll() is not None:
            return True
        try:
            return service.ask('GET', f'/sagas/{id}').body['state'] in ENDED
        except Exception:  # it dies in the midst of it
            return False

    def _judge(self, ledger: Ledger, document: dict[str, Any]) -> None:
        self.ends[document['state']] += 1
        if document['state'] == 'committed':
            assert ledger.there == set(ledger.steps), 'a committed saga misses a step'
            assert not ledger.undos, 'a step of a committed saga was undone'
            return
        named = {f'/{step["name"]}' for step in document['steps'] if step['state'] in ('unknown', 'not_undone')}
        assert ledger.there <= named, f'nobody tells of {ledger.there - named}: {document}'
        assert (document['state'] == 'undone') is (not named), document
        twice = [path for path, count in ledger.made.items() if count > 1 and ledger.steps[path]['method'] == 'POST']
        assert not twice, 'a step that is not idempotent was done twice'
