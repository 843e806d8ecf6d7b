"""A server that makes and deletes things, counts both, and fails as its requests ask it to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import gevent

from napixclient.testing import Gate, Peer
from tests import kit


class World(kit.Server):
    """Things by path. What a path has in it decides how the request ends.

    `fail` is answered 500, `gateway` is done and answered 502, `reset` is done and the connection reset, `lost` is not
    done and the connection reset, `mute` is done and never answered. `statuses` gives the next answers to a path.
    """

    def __init__(self, gate: Gate | None = None, **options: Any) -> None:
        super().__init__(None, gate, **options)
        self.things: dict[str, Any] = {}
        self.made: list[str] = []  # every thing that was ever made
        self.deleted: list[str] = []  # every deletion, also of what was not there
        self.keys: dict[str, list[str | None]] = {}  # by path of the POST
        self.statuses: dict[str, list[Any]] = {}
        self._numbers = itertools.count(1)

    def asked(self, method: str) -> list[str]:
        """The paths of the requests with this method, in the order in which they came."""
        return [request.path for request in self.requests if request.method == method]

    def answer(self, peer: Peer) -> None:
        """Do it, and tell, or not."""
        request = peer.request
        assert request is not None
        planned = self.statuses.get(request.path)
        if planned:
            status = planned.pop(0)
            fields = {}
            if isinstance(status, tuple):
                status, fields = status
            if status is None:
                return peer.reset()
            if status != 'go on':
                return self._say(peer, status, fields, {})
        path = request.path.partition('?')[0]
        steps = request.method in ('POST', 'PUT', 'PATCH')
        if steps and 'lost' in path:
            return peer.reset()
        if 'fail' in path:
            return self._say(peer, 500, {}, {'error_class': 'DiskFull', 'error_text': 'disk full'})
        status, fields, body = self._do(request.method, path, request.headers.get('idempotency-key'))
        if steps:
            if 'reset' in path:
                return peer.reset()
            if 'mute' in path:
                return peer.drain()
            if 'gateway' in path:
                return self._say(peer, 502, {}, {})
        return self._say(peer, status, fields, body)

    def _do(self, method: str, path: str, key: str | None) -> tuple[int, dict[str, str], Any]:
        if method == 'GET':
            found = self.things.get(path)
            return (404, {}, {}) if found is None else (200, {'Location': path}, found)
        if method == 'DELETE':
            self.deleted.append(path)
            return (404, {}, {}) if self.things.pop(path, None) is None else (204, {}, None)
        self.keys.setdefault(path, []).append(key)
        number = next(self._numbers)
        place = path if method == 'PUT' else f'{path.rstrip("/")}/{number}'
        self.things[place] = {'id': number, 'name': f'a b/{number}', 'path': place, 'ok': True, 'tags': ['x', {'y': 7}]}
        self.made.append(place)
        return 201, {'Location': place}, self.things[place]

    def _say(self, peer: Peer, status: int, fields: dict[str, str], body: Any) -> None:
        from napixclient.testing.server import encode

        data = None if body is None else json.dumps(body)
        request = peer.request
        assert request is not None
        peer.send(encode(status, {'Content-Type': 'application/json', **fields}, data, request.method))


LOCATION = ('DELETE', '{header:location}')


def located(answer: Any) -> tuple[str, str]:
    """The undo of most."""
    return 'DELETE', answer.headers['location']


def caught(function: Callable[[], Any]) -> gevent.Greenlet[..., Any]:
    """Run it in a greenlet, whose value is what it raised."""

    def run() -> BaseException | None:
        try:
            function()
        except BaseException as exc:
            return exc
        return None

    return gevent.spawn(run)
