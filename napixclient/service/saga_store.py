"""The sagas in the store: what they are to do, and the events of their journals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..saga.history import History
from .database import Connection, Database, LeaseLost, StoreError
from .lease import LEASE_SECONDS

__all__ = ['KeptSaga', 'SagaStore']

_TABLES = (
    """CREATE TABLE IF NOT EXISTS sagas (
        id VARCHAR(32) PRIMARY KEY, created DOUBLE PRECISION NOT NULL, finished DOUBLE PRECISION,
        state VARCHAR(16) NOT NULL, owner VARCHAR(32), seen DOUBLE PRECISION NOT NULL, cancel INTEGER NOT NULL,
        fence BIGINT NOT NULL, events BIGINT NOT NULL, document TEXT NOT NULL)""",
    'CREATE INDEX IF NOT EXISTS sagas_created ON sagas (created)',
    # What is committed together is one row: the number of the first event, and a line for each.
    """CREATE TABLE IF NOT EXISTS saga_events (
        saga VARCHAR(32) NOT NULL, seq BIGINT NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (saga, seq))""",
)
_EVENT = {'saga': 'VARCHAR', 'seq': 'BIGINT', 'lines': 'TEXT'}
_COLUMNS = 'id, created, finished, state, owner, cancel, fence, events, document'
_ENDED = ('committed', 'undone', 'not_undone')


class KeptSaga(NamedTuple):
    """A saga as the store has it.

    :param fence: how often it was taken over: who does not know the latest number commits nothing.
    :param events: how many events there are.
    :param age: seconds since it was created, by the clock of the database.
    """

    id: str
    created: float
    finished: float | None
    state: str
    owner: str | None
    cancel: bool
    fence: int
    events: int
    document: dict[str, Any]
    age: float = 0.0


class SagaStore:
    """Sagas in a database, beside the runs.

    :param owner: who we are, among the instances that share it.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.exclusive: bool = database.exclusive
        self.owner = owner
        self._database = database
        try:
            database.write(_make_tables)
        except StoreError as exc:
            raise StoreError(f'cannot open the store: {exc}') from exc

    def add(self, id: str, document: dict[str, Any]) -> KeptSaga:
        """Keep a new saga; it comes back with the time at which it was created."""

        def work(to: Connection) -> KeptSaga:
            to.run(
                'INSERT INTO sagas (id, created, finished, state, owner, seen, cancel, fence, events, document) '
                f"VALUES (:id, {to.now}, NULL, 'running', :owner, {to.now}, 0, 0, 0, :document)",
                {'id': id, 'owner': self.owner, 'document': json.dumps(document)},
            )
            return _found(to, 'WHERE id = :id', {'id': id})[0]

        return self._database.write(work)

    def append(self, id: str, fence: int, first: int, events: list[Mapping[str, object]], state: str) -> None:
        """Keep events of a saga. May be repeated as it was.

        :param first: how many there are before them.
        :param state: how it stands with them.
        :raises LeaseLost: when another instance has taken the saga over; nothing is kept then.
        """
        lines = '\n'.join(json.dumps(event) for event in events)
        ends = state in _ENDED
        values = {
            'id': id,
            'owner': self.owner,
            'fence': fence,
            'first': first,
            'next': first + len(events),
            'state': state,
        }

        def work(to: Connection) -> None:
            # First of all: whoever takes the saga over waits for the row, or makes this find none.
            if to.run(
                f'UPDATE sagas SET events = :next, state = :state, finished = {to.now if ends else "NULL"} '
                'WHERE id = :id AND owner = :owner AND fence = :fence AND events = :first',
                values,
            ):
                to.insert('saga_events', _EVENT, [(id, first, lines)])
                return
            found = _found(to, 'WHERE id = :id', {'id': id})
            if not found or (found[0].owner, found[0].fence) != (self.owner, fence):
                raise LeaseLost('the saga was taken over by another instance')
            # Else it was committed before, by a connection that broke before it could say so.

        self._database.write(work)

    def history(self, id: str) -> History:
        """What the events of a saga tell."""

        def work(to: Connection) -> History:
            history = History()
            rows = to.stream('SELECT seq, lines FROM saga_events WHERE saga = :id ORDER BY seq', {'id': id})
            for _, lines in rows:
                for line in lines.split('\n'):
                    history.tell(json.loads(line))
            return history

        return self._database.read(work)

    def adopt(self, is_ours: Callable[[str], bool]) -> list[KeptSaga]:
        """Take over the sagas whose service is gone: all that are not ended, or those whose lease is over.

        :param is_ours: tells of an id whether we run it already.
        """
        lease = {} if self.exclusive else {'lease': LEASE_SECONDS}

        def over(to: Connection) -> str:
            return 'finished IS NULL' if self.exclusive else f'finished IS NULL AND seen < {to.now} - :lease'

        def take(to: Connection) -> list[KeptSaga]:
            mine = [
                id
                for id, fence in found
                if to.run(
                    f'UPDATE sagas SET owner = :owner, seen = {to.now}, fence = fence + 1 '
                    f'WHERE id = :id AND fence = :fence AND {over(to)}',
                    {'owner': self.owner, 'id': id, 'fence': fence, **lease},
                )
            ]
            return [saga for id in mine for saga in _found(to, 'WHERE id = :id', {'id': id})]

        found = [
            (id, fence)
            for id, fence in self._database.read(
                lambda to: list(to.rows(f'SELECT id, fence FROM sagas WHERE {over(to)} ORDER BY created', lease))
            )
            if not is_ours(id)
        ]
        return self._database.write(take) if found else []

    def renew(self, held: list[tuple[str, int]]) -> dict[str, bool]:
        """Say that we still run these; those that are ours, and whether somebody asked to abort them."""
        rows: list[dict[str, Any]] = [{'id': id, 'fence': fence, 'owner': self.owner} for id, fence in held]

        def work(to: Connection) -> dict[str, bool]:
            ours = [
                row['id']
                for row in rows
                if to.run(f'UPDATE sagas SET seen = {to.now} WHERE id = :id AND owner = :owner AND fence = :fence', row)
            ]
            return {
                id: bool(cancel)
                for id in ours
                for (cancel,) in to.rows('SELECT cancel FROM sagas WHERE id = :id', {'id': id})
            }

        return self._database.write(work) if rows else {}

    def ask_abort(self, id: str) -> None:
        """Note that the saga is to be undone, by whoever runs it."""
        self._database.write(
            lambda to: to.run('UPDATE sagas SET cancel = 1 WHERE id = :id AND finished IS NULL', {'id': id})
        )

    def find(self, id: str) -> KeptSaga | None:
        """A saga, if there is one of that id."""
        found = self._database.read(lambda to: _found(to, 'WHERE id = :id', {'id': id}))
        return found[0] if found else None

    def newest(self, limit: int) -> list[KeptSaga]:
        """The newest sagas."""
        return self._database.read(
            lambda to: _found(to, 'ORDER BY created DESC, id DESC LIMIT :limit', {'limit': limit})
        )

    def sweep(self, seconds: float) -> int:
        """Forget the sagas that ended so long ago, unless something of them is left; how many there were."""

        def work(to: Connection) -> int:
            old = list(
                to.rows(
                    f"SELECT id FROM sagas WHERE state IN ('committed', 'undone') AND finished < {to.now} - :seconds",
                    {'seconds': seconds},
                )
            )
            for (id,) in old:
                to.run('DELETE FROM saga_events WHERE saga = :id', {'id': id})
                to.run('DELETE FROM sagas WHERE id = :id', {'id': id})
            return len(old)

        return self._database.write(work)


def _make_tables(to: Connection) -> None:
    for sql in (*to.alone, *_TABLES):
        to.run(sql)


def _found(to: Connection, which: str, values: dict[str, Any]) -> list[KeptSaga]:
    return [
        KeptSaga(id, created, finished, state, owner, bool(cancel), fence, events, json.loads(document), age)
        for id, created, finished, state, owner, cancel, fence, events, document, age in to.rows(
            f'SELECT {_COLUMNS}, {to.now} - created FROM sagas {which}', values
        )
    ]
