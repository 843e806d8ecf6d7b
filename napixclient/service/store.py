"""What is kept of runs: what they are to do, their results, how they stand. Imports database, nonces."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from .database import Connection, Database, StoreError
from .nonces import TABLES

__all__ = ['Kept', 'Store']

#: Result lines that are read at a time, and bytes of them after which no more are.
PAGE_LINES = 500
PAGE_BYTES = 1 << 20

_TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        id VARCHAR(32) PRIMARY KEY, created DOUBLE PRECISION NOT NULL, finished DOUBLE PRECISION,
        state VARCHAR(16) NOT NULL, owner VARCHAR(32), seen DOUBLE PRECISION NOT NULL, cancel INTEGER NOT NULL,
        options TEXT NOT NULL, summary TEXT NOT NULL, results BIGINT NOT NULL, bytes BIGINT NOT NULL)""",
    'CREATE INDEX IF NOT EXISTS runs_created ON runs (created)',
    """CREATE TABLE IF NOT EXISTS requests (
        run VARCHAR(32) NOT NULL, number BIGINT NOT NULL, request TEXT NOT NULL, PRIMARY KEY (run, number))""",
    """CREATE TABLE IF NOT EXISTS results (
        run VARCHAR(32) NOT NULL, seq BIGINT NOT NULL, number BIGINT NOT NULL, line TEXT NOT NULL,
        PRIMARY KEY (run, seq))""",
    *TABLES,
)
_COLUMNS = 'id, created, finished, state, owner, cancel, options, summary, results'


class Kept(NamedTuple):
    """A run as the store has it."""

    id: str
    created: float
    finished: float | None
    state: str
    owner: str | None
    cancel: bool
    options: dict[str, Any]
    summary: dict[str, Any]
    results: int


class Store:
    """Runs in a database.

    :param owner: who we are, among the services that share it.
    :raises StoreError: when it cannot be opened; and so does each method when it fails.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.exclusive = database.exclusive
        self.owner = owner
        self._database = database
        try:
            database.write(lambda to: [to.run(sql) for sql in _TABLES])
        except StoreError as exc:
            database.close()
            raise StoreError(f'cannot open the store: {exc}') from exc

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # -- a run's life ----------------------------------------------------------------------------------------------

    def add(self, run: Kept, requests: list[dict[str, Any]], now: float) -> None:
        """Keep a new run, with what it is to do."""
        def work(to: Connection) -> None:
            rows: list[Any] = [{'run': run.id, 'number': number, 'request': json.dumps(request)}
                               for number, request in enumerate(requests)]
            size = sum(len(row['request']) for row in rows)
            to.run('INSERT INTO runs (id, created, finished, state, owner, seen, cancel, options, summary, results, '
                   'bytes) VALUES (:id, :created, NULL, :state, :owner, :seen, 0, :options, :summary, 0, :bytes)',
                   {'id': run.id, 'created': run.created, 'state': run.state, 'owner': self.owner, 'seen': now,
                    'options': json.dumps(run.options), 'summary': json.dumps(run.summary), 'bytes': size})
            to.run('INSERT INTO requests (run, number, request) VALUES (:run, :number, :request)', rows)

        self._database.write(work)

    def commit(self, id: str, first: int, results: list[tuple[int, str]], summary: dict[str, Any],
               state: str, finished: float | None) -> None:
        """Keep results, and how the run stands.

        :param first: the number in sequence of the first of them.
        :param results: number of the request, and the line.
        :param finished: when the run ended, if it has: what it was to do is then forgotten.
        """
        rows: list[Any] = [{'run': id, 'seq': seq, 'number': number, 'line': line}
                           for seq, (number, line) in enumerate(results, first)]

        def work(to: Connection) -> None:
            if rows:
                to.run('INSERT INTO results (run, seq, number, line) VALUES (:run, :seq, :number, :line)', rows)
            to.run('UPDATE runs SET summary = :summary, results = :results, bytes = bytes + :bytes, state = :state, '
                   'finished = :finished WHERE id = :id',
                   {'id': id, 'summary': json.dumps(summary), 'results': first + len(rows), 'state': state,
                    'finished': finished, 'bytes': sum(len(line) for _, line in results)})
            if finished is not None:
                to.run('DELETE FROM requests WHERE run = :run', {'run': id})

        self._database.write(work)

    def ask_cancel(self, id: str) -> None:
        """Note that the run is to be cancelled, by whoever runs it."""
        self._database.write(lambda to: to.run('UPDATE runs SET cancel = 1 WHERE id = :id', {'id': id}))

    def adopt(self, now: float, lease: float, ours: Container[str] = ()) -> list[Kept]:
        """Take over the runs whose service is gone: all that run, or those not seen for a while where it is shared.

        :param ours: ids of those that we run already.
        """
        def work(to: Connection) -> list[Kept]:
            limit = now + 1 if self.exclusive else now - lease
            found = [row[0] for row in to.rows(
                "SELECT id FROM runs WHERE state = 'running' AND seen < :limit ORDER BY created", {'limit': limit})]
            mine = [id for id in found if id not in ours and to.run(
                "UPDATE runs SET owner = :owner, seen = :now WHERE id = :id AND state = 'running' AND seen < :limit",
                {'owner': self.owner, 'now': now, 'id': id, 'limit': limit})]
            return [run for id in mine for run in _found(to, 'WHERE id = :id', {'id': id})]

        return self._database.write(work)

    def seen(self, ids: Iterable[str], now: float) -> list[str]:
        """Say that we still run these; those of them that somebody asked to cancel."""
        rows: list[Any] = [{'id': id, 'now': now, 'owner': self.owner} for id in ids]

        def work(to: Connection) -> list[str]:
            to.run('UPDATE runs SET seen = :now WHERE id = :id AND owner = :owner', rows)
            return [row[0] for row in to.rows("SELECT id FROM runs WHERE state = 'running' AND cancel = 1 "
                                              'AND owner = :owner', {'owner': self.owner})]

        return self._database.write(work) if rows else []

    def left(self, id: str) -> list[tuple[int, dict[str, Any]]]:
        """The requests of a run that have no result, with their numbers."""
        def work(to: Connection) -> list[tuple[int, dict[str, Any]]]:
            done = {row[0] for row in to.rows('SELECT number FROM results WHERE run = :run', {'run': id})}
            return [(row[0], json.loads(row[1])) for row in to.rows(
                'SELECT number, request FROM requests WHERE run = :run ORDER BY number', {'run': id})
                if row[0] not in done]

        return self._database.read(work)

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Kept | None:
        """A run, if there is one of that id."""
        runs = self._database.read(lambda to: _found(to, 'WHERE id = :id', {'id': id}))
        return runs[0] if runs else None

    def newest(self, limit: int, before: Kept | None = None) -> list[Kept]:
        """The newest runs, or those older than one."""
        if before is None:
            return self._database.read(lambda to: _found(to, 'ORDER BY created DESC, id DESC LIMIT :limit',
                                                         {'limit': limit}))
        return self._database.read(lambda to: _found(
            to, 'WHERE created < :created OR (created = :created AND id < :id) ORDER BY created DESC, id DESC '
                'LIMIT :limit', {'limit': limit, 'created': before.created, 'id': before.id}))

    def lines(self, id: str, seq: int) -> list[str]:
        """Result lines from a number in sequence on: a page of them at most."""
        def work(to: Connection) -> list[str]:
            lines, size = [], 0
            for line, in to.rows('SELECT line FROM results WHERE run = :run AND seq >= :seq ORDER BY seq LIMIT :limit',
                                 {'run': id, 'seq': seq, 'limit': PAGE_LINES}):
                lines.append(line)
                size += len(line)
                if size >= PAGE_BYTES:
                    break
            return lines

        return self._database.read(work)

    # -- retention -------------------------------------------------------------------------------------------------

    def sweep(self, oldest: float, most_bytes: int) -> int:
        """Forget the runs that ended before a time, then the oldest that have ended while all take too much room.

        A run at a time, so that nobody waits for long; how many there were.
        """
        count = 0
        while self._database.write(lambda to: self._forget_one(to, oldest, most_bytes)):
            count += 1
        return count

    def _forget_one(self, to: Connection, oldest: float, most_bytes: int) -> bool:
        for id, finished in list(to.rows('SELECT id, finished FROM runs WHERE finished IS NOT NULL '
                                         'ORDER BY finished LIMIT 1')):
            size, = next(iter(to.rows('SELECT COALESCE(SUM(bytes), 0) FROM runs')))
            if finished < oldest or size > most_bytes:
                for table, column in ('results', 'run'), ('requests', 'run'), ('runs', 'id'):
                    to.run(f'DELETE FROM {table} WHERE {column} = :id', {'id': id})
                return True
        return False


def _found(to: Connection, which: str, values: dict[str, Any]) -> list[Kept]:
    return [Kept(id, created, finished, state, owner, bool(cancel), json.loads(options), json.loads(summary), results)
            for id, created, finished, state, owner, cancel, options, summary, results
            in to.rows(f'SELECT {_COLUMNS} FROM runs {which}', values)]
