"""Servers that keep a ledger of what was made and undone, that fail, stall and reset, and tell of each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from napixclient.testing import Peer
from napixclient.testing.server import encode
from tests import kit
from tests.saga.kills.plans import Plan


class Ledger:
    """What the servers of one saga know, by the path of each step."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.steps = {step['path']: step for wait in plan['waits'] for step in wait}
        self.tell = tell
        self.sent: Counter[str] = Counter()  # requests for a step that arrived
        self.made: Counter[str] = Counter()  # times that it was done
        self.undos: Counter[str] = Counter()  # requests to undo it that arrived
        self.there: set[str] = set()
        self._keys: set[str] = set()

    def do(self, path: str, key: str | None) -> None:
        """Do a step; one with a key that is known is not done again."""
        if key is None or key not in self._keys:
            self.made[path] += 1
        if key is not None:
            self._keys.add(key)
        self.there.add(path)
        self.tell('done')

    def undo(self, path: str) -> int:
        """Undo a step; the status of the answer."""
        self.undos[path] += 1
        if self.undos[path] <= self.steps[path]['undo_fails']:
            return 503
        if path not in self.there:
            return 404
        self.there.discard(path)
        return 200


class LedgerServer(kit.Server):
    """One of the servers."""

    ledger: Ledger

    def answer(self, peer: Peer) -> None:
        """Note it, do it, tell of it, or not."""
        request, ledger = peer.request, self.ledger
        assert request is not None
        path = request.path.removesuffix('/undo')
        ledger.tell('read')
        if request.method == 'GET':
            return self._say(peer, 200 if path in ledger.there else 404, path)
        if request.method == 'DELETE' or request.path.endswith('/undo'):
            ledger.tell('undo')
            return self._say(peer, ledger.undo(path), path)
        ledger.sent[path] += 1
        end = ledger.steps[path]['end']
        if ledger.sent[path] > 1:  # tried again with its key
            end = 'ok' if end in ('reset', 'gateway', 'lost') else end
        if end == 'lost':
            return peer.reset()
        if end == 'fail':
            return self._say(peer, 500, path)
        ledger.do(path, request.headers.get('idempotency-key'))
        if end == 'reset':
            return peer.reset()
        if end == 'mute':
            return peer.drain()
        return self._say(peer, 502 if end == 'gateway' else 201, path)

    def _say(self, peer: Peer, status: int, path: str) -> None:
        fields: dict[str, Any] = {'Location': path, 'Content-Type': 'application/json'}
        peer.send(encode(status, fields, {'id': path[1:]}))
        self.ledger.tell('answered')
