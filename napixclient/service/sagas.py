"""Sagas: takes new ones, takes over those that were left, finds those of the past."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from math import inf
from typing import Any

import gevent

from .._http.options import Simultaneous
from ..allow import Allow
from ..authenticators import Authenticator
from ..pool import ClientPool
from ..saga.history import Entry, History
from .database import StoreRefused
from .lease import Lease, clock
from .runs import Busy
from .saga_run import SagaRun
from .saga_store import KeptSaga, SagaStore
from .saga_submission import SagaSubmission, saga_of
from .submission import BadSubmission

__all__ = ['Sagas']

log: logging.Logger = logging.getLogger('napixclient.service')

#: Opens a pool that connects to nothing that may not be asked, and sends nothing when the lease is over.
OpenPool = Callable[[Simultaneous, Lease, 'Authenticator | None'], ClientPool]


class Sagas:
    """All sagas.

    :param open_pool: makes their pools.
    :param authenticator: what proves to the servers who asks.
    :param most: how many may be under way at the same time.
    """

    def __init__(
        self, store: SagaStore, allow: Allow, open_pool: OpenPool, authenticator: Authenticator | None, most: int
    ) -> None:
        self.store = store
        self.allow = allow
        self.under_way: dict[str, SagaRun] = {}
        self.draining: bool = False
        self._open_pool = open_pool
        self._authenticator = authenticator
        self._most = most
        self._starting: set[str] = set()

    def start(self, submission: SagaSubmission) -> str:
        """Keep a new saga, and begin with it; its id.

        :raises Busy: when there are too many, or the service is about to end.
        :raises BadSubmission: when it cannot be kept.
        """
        if self.draining:
            raise Busy('the service is about to end')
        if len(self.under_way) + len(self._starting) >= self._most:
            raise Busy(f'{self._most} sagas are under way, which is as many as may be')
        id = uuid.uuid4().hex
        self._starting.add(id)
        try:
            asked = self._now()
            try:
                found = self.store.add(id, submission.document)
            except StoreRefused as exc:
                raise BadSubmission(f'it cannot be kept: {exc}') from exc
            self._begin(found, submission, Lease(asked))
        finally:
            self._starting.discard(id)
        return id

    def _now(self) -> float:
        return inf if self.store.exclusive else clock()

    def _begin(self, found: KeptSaga, submission: SagaSubmission, lease: Lease) -> None:
        saga = self.under_way[found.id] = SagaRun(self, found, submission, lease)
        saga.greenlet.start()

    # -- the store -------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Go on with the sagas whose service has ended: forward where that does no harm, else back."""
        if self.draining:
            return
        asked = self._now()
        for found in self.store.adopt(lambda id: id in self.under_way or id in self._starting):
            log.info('saga %s goes on', found.id)
            self._begin(found, saga_of(found.document, self.allow), Lease(asked))

    def renew(self) -> None:
        """Where others share the store, ask it which sagas are ours still, and which are to be undone."""
        if self.store.exclusive:
            return
        asked = clock()
        sagas = list(self.under_way.values())
        ours = self.store.renew([(saga.id, saga.fence) for saga in sagas])
        for saga in sagas:
            if saga.id not in ours:
                saga.lease.lose()
                saga.halt()
                continue
            saga.lease.renew(asked)
            if ours[saga.id]:
                saga.abort()

    def open_pool(self, simultaneous: Simultaneous, lease: Lease) -> ClientPool:
        """A pool that asks only whom it may, and signs as the profile says."""
        return self._open_pool(simultaneous, lease, self._authenticator)

    def ended(self, saga: SagaRun) -> None:
        """It has ended here."""
        if self.under_way.get(saga.id) is saga:
            del self.under_way[saga.id]

    # -- what callers ask ------------------------------------------------------------------------------------------

    def abort(self, id: str) -> bool:
        """Undo a saga that is under way, here or elsewhere; whether there is a saga of that id."""
        saga = self.under_way.get(id)
        if saga is None and self.store.find(id) is None:
            return False
        self.store.ask_abort(id)  # so that it holds after a kill, too
        if saga is not None:
            saga.abort()
        return True

    def document(self, id: str) -> dict[str, Any] | None:
        """How a saga stands; ``None`` where there is none of that id."""
        found = self.store.find(id)
        return None if found is None else _document(found, self._history(id), self.allow)

    def _history(self, id: str) -> History:
        saga = self.under_way.get(id)
        return self.store.history(id) if saga is None else saga.journal.history

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest sagas, without their steps."""
        return [_about(found, self._history(found.id)) for found in self.store.newest(limit)]

    def drain(self, seconds: float) -> None:
        """Take no new ones, and let those under way end for a while."""
        self.draining = True
        gevent.joinall([saga.greenlet for saga in self.under_way.values()], timeout=seconds)

    def stop(self) -> None:
        """Leave all as they are; they go on at the next start."""
        sagas = list(self.under_way.values())
        for saga in sagas:
            saga.halt()
        gevent.joinall([saga.greenlet for saga in sagas])


def _about(found: KeptSaga, history: History) -> dict[str, Any]:
    states = [_state_of(entry, found)['state'] for entry in history.entries.values() if entry.state != 'dropped']
    steps = sum(len(one) if isinstance(one, list) else 1 for one in found.document['steps'])
    return {
        'id': found.id,
        'state': found.state,
        'reason': history.reason,
        'created': found.created,
        'finished': found.finished,
        'counts': {'steps': steps, **{state: states.count(state) for state in sorted(set(states))}},
        'timeout': found.document.get('timeout'),
        'undo_timeout': found.document.get('undo_timeout') or 60,
        'simultaneous': found.document.get('simultaneous') or 2,
    }


def _document(found: KeptSaga, history: History, allow: Allow) -> dict[str, Any]:
    entries = {entry.name: entry for entry in history.entries.values()}  # of the same name the last one counts
    waits = saga_of(found.document, allow).waits
    steps = []
    for number, together in enumerate(waits, 1):
        for step in together:
            entry = entries.get(step.name)
            draft = step.draft
            steps.append(
                {
                    'name': step.name,
                    'wait': number,
                    'request': f'{draft.method} {draft.host}{draft.url}'
                    if entry is None
                    else _request_text(entry.line),
                    **_state_of(entry, found),
                    'undo': _undo_texts(entry, step.undo),
                }
            )
    return {**_about(found, history), 'steps': steps}


def _state_of(entry: Entry | None, found: KeptSaga) -> dict[str, Any]:
    if entry is None:
        return {'state': 'waiting', 'status': None, 'error': None}
    # One that was in flight when its service died has no other line where nothing could be done about it.
    state = 'unknown' if entry.state == 'running' and found.state != 'running' else entry.state
    return {'state': state, 'status': entry.status, 'error': entry.error}


def _request_text(line: dict[str, Any]) -> str:
    return f'{line["method"]} {line.get("host") or ""}{line["url"]}'


def _undo_texts(entry: Entry | None, undo: Any) -> list[str]:
    """The way back: the requests that undo a step, with templates as long as they are not known."""
    if entry is not None and isinstance(entry.undo, list):
        return [_request_text(record) for record in entry.undo]
    return [f'{draft.method} {draft.host or ""}{draft.url}' for draft in undo or ()]
