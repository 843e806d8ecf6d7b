"""Runs SQL in gevent's threadpool, on SQLite of the standard library or on databases of SQLAlchemy Core.

The SQL is the same for all of them; the modules sqlite and alchemy open the connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import gevent
from gevent.threadpool import ThreadPool

__all__ = ['Connection', 'Database', 'LeaseLost', 'RawConnection', 'StoreError', 'StoreRefused', 'open_database']

_T = TypeVar('_T')
#: Parameters of a statement, by name.
Values = Mapping[str, Any]
#: A row, with the types that its query selects.
Row = tuple[Any, ...]

#: Exceptions that pass by themselves (a full disk, a lock, a database that is away), as DB-API 2.0 and SQLAlchemy name
#: them.
_PASSING = frozenset(['OperationalError', 'InterfaceError', 'InternalError', 'TimeoutError', 'OSError'])


class StoreError(Exception):
    """The store cannot be opened, or a statement failed; the text says why."""


class StoreRefused(StoreError):
    """The store will never accept what it was given."""


class LeaseLost(StoreError):
    """Another instance has taken the run over."""


class Connection(Protocol):
    """The face of a database that work uses; parameters are written ``:name``."""

    #: SQL for the time by the database's own clock, in seconds since the epoch.
    now: str
    #: Statements that keep others from creating tables until the transaction ends.
    alone: tuple[str, ...]

    def run(self, sql: str, values: Values | None = None) -> int:
        """Run a statement and return the number of rows that it changed."""

    def insert(self, table: str, columns: Mapping[str, str], rows: list[Row]) -> None:
        """Add rows to a table.

        :param columns: the names and the types of its columns.
        """

    def rows(self, sql: str, values: Values | None = None) -> Iterator[Row]:
        """The rows of a query."""

    def stream(self, sql: str, values: Values | None = None) -> Iterator[Row]:
        """The rows of a query that may be many or large; they are fetched as they are read."""

    def columns(self, table: str) -> set[str]:
        """The names of the columns of a table."""


class RawConnection(Connection, Protocol):
    """A connection, with what the database itself needs of it."""

    def transaction(self, write: bool) -> AbstractContextManager[None]:
        """A transaction that commits at its end, or changes nothing; the next one replaces a broken connection."""

    def cut(self) -> None:
        """Give up a statement that gets no answer; called from another thread."""

    def close(self) -> None:
        """Close it."""


class Database:
    """Runs work in threads of its own: one writes, another reads beside it.

    :param connect: opens a connection; called in the thread that will use it.
    :param exclusive: whether no other process can open the database.
    """

    def __init__(self, connect: Callable[[], RawConnection], exclusive: bool, threads: int = 2) -> None:
        self.exclusive = exclusive
        self._connect = connect
        self._writer = ThreadPool(1)
        self._reader = ThreadPool(1) if threads > 1 else self._writer
        self._connections: dict[ThreadPool, RawConnection] = {}
        self._watch = None if exclusive else gevent.spawn(self._cut_what_hangs)

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run the work in a transaction; it is on disk when this returns.

        :raises StoreError: if it failed and changed nothing. If the connection broke at the very end, it may have
            changed something. :class:`StoreRefused` if it would fail again.
        """
        return self._run(self._writer, work)

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run work that changes nothing.

        :raises StoreError: if it failed.
        """
        return self._run(self._reader, work)

    def _run(self, pool: ThreadPool, work: Callable[[Connection], _T]) -> _T:
        # Exceptions come back as values, since gevent prints those that a thread raises.
        value, failure = pool.apply(self._in_thread, (pool, work))
        if failure is None:
            return value  # type: ignore[no-any-return]
        if isinstance(failure, StoreError):
            raise failure
        passes = any(kind.__name__ in _PASSING for kind in type(failure).__mro__)
        text = str(failure).partition('\n')[0]
        raise (StoreError if passes else StoreRefused)(text) from failure

    def _in_thread(self, pool: ThreadPool, work: Callable[[Any], Any]) -> tuple[Any, BaseException | None]:
        try:
            connection = self._connections.get(pool)
            if connection is None:
                connection = self._connections[pool] = self._connect()
            with connection.transaction(pool is self._writer):
                value = work(connection)
            return value, None
        except Exception as exc:
            return None, exc

    def _cut_what_hangs(self) -> None:
        while True:
            gevent.sleep(1)
            for connection in list(self._connections.values()):
                connection.cut()

    def close(self) -> None:
        """Close the connections and end the threads. May be repeated."""
        for pool, connection in list(self._connections.items()):
            pool.apply(connection.close)
        self._connections.clear()
        if self._watch is not None:
            self._watch.kill()
        for pool in {self._writer, self._reader}:
            pool.kill()


def open_database(url: str) -> Database:
    """Open ``sqlite:///PATH`` (``sqlite:////absolute/path``), or an SQLAlchemy URL of PostgreSQL.

    :raises StoreError: if it cannot be opened, or another process has it open.
    """
    if url.partition(':')[0] == 'sqlite':
        from .sqlite import open_sqlite

        return open_sqlite(url)
    from .alchemy import open_alchemy

    return open_alchemy(url)
