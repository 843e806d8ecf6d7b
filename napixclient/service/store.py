"""The store: what runs are to do, their results, how they stand, in any database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from . import queries
from .database import Connection, Database, LeaseLost, StoreError, StoreRefused
from .lease import LEASE_SECONDS
from .nonces import TABLES
from .rows import Added, Alike, Failed, Kept, Left, found_runs, rows_of, sent_text

__all__ = ['Store']

_TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        id VARCHAR(32) PRIMARY KEY, created DOUBLE PRECISION NOT NULL, finished DOUBLE PRECISION,
        state VARCHAR(16) NOT NULL, owner VARCHAR(32), seen DOUBLE PRECISION NOT NULL, cancel INTEGER NOT NULL,
        options TEXT NOT NULL, summary TEXT NOT NULL, results BIGINT NOT NULL, bytes BIGINT NOT NULL,
        fence BIGINT NOT NULL DEFAULT 0, sent TEXT, parent VARCHAR(32))""",
    'CREATE INDEX IF NOT EXISTS runs_created ON runs (created)',
    """CREATE TABLE IF NOT EXISTS requests (
        run VARCHAR(32) NOT NULL, number BIGINT NOT NULL, request TEXT NOT NULL, PRIMARY KEY (run, number))""",
    # What is committed together is one row: the place and the request's number of the first result, the numbers of all,
    # a line for each, and the numbers of the requests that may be sent from then on. Older releases wrote each into a
    # row of its own, which has no numbers.
    """CREATE TABLE IF NOT EXISTS results (
        run VARCHAR(32) NOT NULL, seq BIGINT NOT NULL, number BIGINT NOT NULL, line TEXT NOT NULL,
        numbers TEXT, sent TEXT, PRIMARY KEY (run, seq))""",
    *TABLES,
)
#: After the columns that older releases did not have: a run is asked again once.
_INDEXES = ('CREATE UNIQUE INDEX IF NOT EXISTS runs_parent ON runs (parent)',)
_REQUEST = {'run': 'VARCHAR', 'number': 'BIGINT', 'request': 'TEXT'}
_RESULT = {'run': 'VARCHAR', 'seq': 'BIGINT', 'number': 'BIGINT', 'line': 'TEXT', 'numbers': 'TEXT', 'sent': 'TEXT'}
#: Columns that older releases did not have.
_NEWER = {
    'runs': {'fence': 'BIGINT NOT NULL DEFAULT 0', 'sent': 'TEXT', 'parent': 'VARCHAR(32)'},
    'results': {'numbers': 'TEXT', 'sent': 'TEXT'},
}


class Store:
    """Runs in a database. All times are of its clock: no two instances need to agree on one.

    :param owner: who we are, among the instances that share it.
    :raises StoreError: when it cannot be opened; and so does each method when it fails.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.exclusive: bool = database.exclusive
        self.owner = owner
        self._database = database
        try:
            database.write(_make_tables)
        except StoreError as exc:
            database.close()
            raise StoreError(f'cannot open the store: {exc}') from exc

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # -- a run's life ----------------------------------------------------------------------------------------------

    def add(self, run: Kept, requests: Iterable[str | Alike], sent: Iterable[int]) -> Kept:
        """Keep a new run; it comes back with the time at which it was created.

        :param requests: what it is to do, in JSON.
        :param sent: numbers of those that may be sent as soon as this returns.
        """
        rows = [(run.id, first, text) for first, text in rows_of(requests)]
        values = {
            'id': run.id,
            'state': run.state,
            'owner': self.owner,
            'options': json.dumps(run.options),
            'summary': json.dumps(run.summary),
            'bytes': sum(len(request) for _, _, request in rows),
            'sent': sent_text(0, sent),
            'parent': run.parent,
        }

        def work(to: Connection) -> Kept:
            to.run(
                'INSERT INTO runs (id, created, finished, state, owner, seen, cancel, options, summary, results, '
                f'bytes, fence, sent, parent) VALUES (:id, {to.now}, NULL, :state, :owner, {to.now}, 0, :options, '
                ':summary, 0, :bytes, 0, :sent, :parent)',
                values,
            )
            to.insert('requests', _REQUEST, rows)
            return found_runs(to, 'WHERE id = :id', {'id': run.id})[0]

        return self._database.write(work)

    def commit(
        self,
        id: str,
        fence: int,
        first: int,
        results: list[tuple[int, str]],
        summary: dict[str, Any],
        sent: Iterable[int] | Added,
        state: str = 'running',
    ) -> float | None:
        """Keep results, how the run stands, and what of it may be sent from now on. May be repeated as it was.

        :param first: the number in sequence of the first of the results.
        :param results: number of the request, and the line.
        :param sent: numbers of all requests that may have been sent, and have no result; or, with results, those that
            were added to what was recorded before.
        :param state: any but ``running`` ends the run: what it was to do is then forgotten, if all of it has succeeded.
        :returns: when the run ended.
        :raises LeaseLost: when another instance has taken the run over; nothing is kept then.
        """
        lines = [line for _, line in results]
        text = '\n'.join(lines)
        numbers = [number for number, _ in results]
        # One row for all that are committed together.
        added = str(sent.numbers) if isinstance(sent, Added) and sent.numbers else None
        row = (id, first, numbers[0], text, str(numbers), added) if numbers else None
        values = {
            'id': id,
            'owner': self.owner,
            'fence': fence,
            'first': first,
            'next': first + len(lines),
            'summary': json.dumps(summary),
            'sent': None if isinstance(sent, Added) else sent_text(first, sent),
            'state': state,
            'bytes': len(text),
        }
        counts = summary.get('counts', {})
        keep = counts.get('ok', 0) < counts.get('total', 0)  # somebody may ask the others again
        return self._database.write(lambda to: _commit(to, values, row, keep))

    def ask_cancel(self, id: str) -> None:
        """Note that the run is to be cancelled, by whoever runs it."""
        self._database.write(
            lambda to: to.run("UPDATE runs SET cancel = 1 WHERE id = :id AND state = 'running'", {'id': id})
        )

    def adopt(self, is_ours: Callable[[str], bool] = lambda id: False) -> list[Kept]:
        """Take over the runs whose service is gone: all that run, or those whose lease is over where it is shared.

        :param is_ours: tells of an id whether we run it already; asked after the store was, as we may begin one
            meanwhile.
        """
        lease = {} if self.exclusive else {'lease': LEASE_SECONDS}

        def over(to: Connection) -> str:
            return "state = 'running'" if self.exclusive else f"state = 'running' AND seen < {to.now} - :lease"

        def take(to: Connection) -> list[Kept]:
            mine = [
                id
                for id, fence in found
                if to.run(
                    f'UPDATE runs SET owner = :owner, seen = {to.now}, fence = fence + 1 '
                    f'WHERE id = :id AND fence = :fence AND {over(to)}',
                    {'owner': self.owner, 'id': id, 'fence': fence, **lease},
                )
            ]
            return [run for id in mine for run in found_runs(to, 'WHERE id = :id', {'id': id})]

        found = [
            (id, fence)
            for id, fence in self._database.read(
                lambda to: list(to.rows(f'SELECT id, fence FROM runs WHERE {over(to)} ORDER BY created', lease))
            )
            if not is_ours(id)
        ]
        return self._database.write(take) if found else []

    def leave(self, id: str, fence: int) -> None:
        """Let anybody take a run over at once."""
        self._database.write(
            lambda to: to.run(
                'UPDATE runs SET seen = 0 WHERE id = :id AND owner = :owner AND fence = :fence',
                {'id': id, 'owner': self.owner, 'fence': fence},
            )
        )

    def renew(self, held: Iterable[tuple[str, int]]) -> dict[str, bool]:
        """Say that we still run these.

        :param held: ids, and their fences.
        :returns: those that are ours, and whether somebody asked to cancel them.
        """
        rows: list[dict[str, Any]] = [{'id': id, 'fence': fence, 'owner': self.owner} for id, fence in held]

        def work(to: Connection) -> dict[str, bool]:
            ours = [
                row['id']
                for row in rows
                if to.run(f'UPDATE runs SET seen = {to.now} WHERE id = :id AND owner = :owner AND fence = :fence', row)
            ]
            cancelled = {
                id
                for (id,) in to.rows(
                    "SELECT id FROM runs WHERE state = 'running' AND cancel = 1 AND owner = :owner",
                    {'owner': self.owner},
                )
            }
            return {id: id in cancelled for id in ours}

        return self._database.write(work) if rows else {}

    def left(self, id: str) -> list[Left]:
        """The requests of a run that have no result."""
        return self._database.read(lambda to: queries.left(to, id))

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Kept | None:
        """A run, if there is one of that id."""
        runs = self._database.read(lambda to: found_runs(to, 'WHERE id = :id', {'id': id}))
        return runs[0] if runs else None

    def newest(
        self, limit: int, before: Kept | None = None, states: Iterable[str] = (), words: Iterable[str] = ()
    ) -> list[Kept]:
        """The newest runs, or those older than one.

        :param states: any of these; all where there is none.
        :param words: what id or summary must contain in any case, the latter as JSON has it; others may be among them.
        """
        return self._database.read(lambda to: queries.newest(to, limit, before, states, words))

    def asked_again(self, ids: Iterable[str]) -> dict[str, str]:
        """Of these runs those that were asked again, and the id of the run that did."""
        return self._database.read(lambda to: queries.asked_again(to, ids))

    def not_succeeded(self, id: str) -> list[Failed]:
        """The requests of a run without a result that is good; none where they are not kept."""
        return self._database.read(lambda to: queries.not_succeeded(to, id))

    def lines(self, id: str, seq: int) -> list[str]:
        """Result lines from a number in sequence on: a page of them at most."""
        return self._database.read(lambda to: queries.lines(to, id, seq))

    def forget(self, id: str) -> bool | None:
        """Forget a run that has ended; ``False`` where it has not, ``None`` where there is none of that id."""

        def work(to: Connection) -> bool | None:
            for (state,) in list(to.rows('SELECT state FROM runs WHERE id = :id', {'id': id})):
                if state != 'running':
                    _forget(to, id)
                return bool(state != 'running')
            return None

        return self._database.write(work)

    # -- retention -------------------------------------------------------------------------------------------------

    def sweep(self, seconds: float, most_bytes: int) -> int:
        """Forget the runs that ended so long ago, then the oldest that have ended while all take too much room.

        A run at a time, so that nobody waits for long; how many there were.
        """
        count = 0
        while self._database.write(lambda to: self._forget_one(to, seconds, most_bytes)):
            count += 1
        return count

    def _forget_one(self, to: Connection, seconds: float, most_bytes: int) -> bool:
        for id, ago in list(
            to.rows(f'SELECT id, {to.now} - finished FROM runs WHERE finished IS NOT NULL ORDER BY finished LIMIT 1')
        ):
            (size,) = next(iter(to.rows('SELECT COALESCE(SUM(bytes), 0) FROM runs')))
            if ago > seconds or size > most_bytes:
                _forget(to, id)
                return True
        return False


def _forget(to: Connection, id: str) -> None:
    for table, column in ('results', 'run'), ('requests', 'run'), ('runs', 'id'):
        to.run(f'DELETE FROM {table} WHERE {column} = :id', {'id': id})


def _make_tables(to: Connection) -> None:
    """Two that start on an empty store do so one after the other."""
    for sql in (*to.alone, *_TABLES):
        to.run(sql)
    for table, columns in _NEWER.items():
        known = to.columns(table)
        for name, kind in columns.items():
            if name not in known:
                to.run(f'ALTER TABLE {table} ADD COLUMN {name} {kind}')
    for sql in _INDEXES:
        to.run(sql)


def _commit(to: Connection, values: dict[str, Any], row: tuple[Any, ...] | None, keep: bool) -> float | None:
    """Keep results; when the run ended, if it did."""
    ends = values['state'] != 'running'
    # First of all: whoever takes the run over waits for the row, or makes this find none.
    if not to.run(
        'UPDATE runs SET summary = :summary, results = :next, bytes = bytes + :bytes, '
        'sent = COALESCE(:sent, sent), '
        f'state = :state, finished = {to.now if ends else "NULL"} WHERE id = :id AND owner = :owner '
        "AND fence = :fence AND results = :first AND state = 'running'",
        values,
    ):
        return _committed(to, values, row)
    if row is not None:
        to.insert('results', _RESULT, [row])
    if not ends:
        return None
    if not keep:
        to.run('DELETE FROM requests WHERE run = :run', {'run': values['id']})
    return found_runs(to, 'WHERE id = :id', {'id': values['id']})[0].finished


def _committed(to: Connection, values: dict[str, Any], row: tuple[Any, ...] | None) -> float | None:
    """When the run ended; the same was committed before, by a connection that broke before it could say so."""
    found = found_runs(to, 'WHERE id = :id', {'id': values['id']})
    if not found or (found[0].owner, found[0].fence) != (values['owner'], values['fence']):
        raise LeaseLost('the run was taken over by another instance')
    last = [
        lines
        for (lines,) in to.rows(
            'SELECT line FROM results WHERE run = :id AND seq = :first', {'id': values['id'], 'first': values['first']}
        )
    ]
    if (found[0].results, found[0].state) != (values['next'], values['state']) or (
        row is not None and last != [row[3]]
    ):
        raise StoreRefused('a place in the sequence is not unique')
    return found[0].finished
