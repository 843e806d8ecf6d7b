"""Where runs are kept: a database that is talked to in gevent's threadpool. Imports private.

The SQL is the same for all of them: SQLite of the standard library, or what SQLAlchemy Core knows.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from gevent.threadpool import ThreadPool

from .private import make_private

__all__ = ['Connection', 'Database', 'StoreError', 'open_database']

_T = TypeVar('_T')
Values = Mapping[str, Any]

#: Seconds that SQLite waits for another program that reads or backs up the file.
BUSY_SECONDS = 10.0


class StoreError(Exception):
    """The store cannot be opened, or does not do what it is asked; the text says why."""


class Connection(Protocol):
    """What a piece of work may ask of a database; parameters are written ``:name``."""

    def run(self, sql: str, values: Values | list[Values] | None = None) -> int:
        """Run a statement, once or for each of several values; the number of rows that it changed."""

    def rows(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are read."""


class Database:
    """Runs work in threads of its own: one that writes, one that reads beside it.

    :param connect: opens a connection; called in the thread that will use it.
    :param exclusive: whether no other process can have it open.
    """

    def __init__(self, connect: Callable[[], Any], exclusive: bool, threads: int = 2) -> None:
        self.exclusive = exclusive
        self._connect = connect
        self._writer = ThreadPool(1)
        self._reader = ThreadPool(1) if threads > 1 else self._writer
        self._connections: dict[ThreadPool, Any] = {}

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run the work in a transaction; it is on the disk when this returns.

        :raises StoreError: when it failed, and changed nothing.
        """
        return self._run(self._writer, work)

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run work that changes nothing.

        :raises StoreError: when it failed.
        """
        return self._run(self._reader, work)

    def _run(self, pool: ThreadPool, work: Callable[[Connection], _T]) -> _T:
        # Exceptions come back as values: gevent would print those that a thread raises.
        value, failure = pool.apply(self._in_thread, (pool, work))
        if failure is not None:
            raise StoreError(str(failure).partition('\n')[0]) from failure
        return value  # type: ignore[no-any-return]

    def _in_thread(self, pool: ThreadPool, work: Callable[[Any], Any]) -> tuple[Any, BaseException | None]:
        try:
            connection = self._connections.get(pool)
            if connection is None:
                connection = self._connections[pool] = self._connect()
            with connection.transaction():
                return work(connection), None
        except Exception as exc:
            return None, exc

    def close(self) -> None:
        """Close the connections and end the threads. May be repeated."""
        for pool, connection in list(self._connections.items()):
            pool.apply(connection.close)
        self._connections.clear()
        for pool in {self._writer, self._reader}:
            pool.kill()


class _SQLite:
    """A connection of the standard library's."""

    def __init__(self, path: str) -> None:
        # Threads of one pool follow each other; none uses it beside another.
        self._raw = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._raw.execute('PRAGMA journal_mode=WAL')
        self._raw.execute('PRAGMA synchronous=FULL')

    def transaction(self) -> _SQLite:
        return self

    def __enter__(self) -> None:
        self._raw.execute('BEGIN')

    def __exit__(self, kind: object, *_: object) -> None:
        self._raw.execute('COMMIT' if kind is None else 'ROLLBACK')

    def run(self, sql: str, values: Values | list[Values] | None = None) -> int:
        if isinstance(values, list):
            return self._raw.executemany(sql, values).rowcount
        return self._raw.execute(sql, values or {}).rowcount

    def rows(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        return iter(self._raw.execute(sql, values or {}))

    def close(self) -> None:
        self._raw.close()


class _Alchemy:
    """A connection of SQLAlchemy's."""

    def __init__(self, engine: Any) -> None:
        from sqlalchemy import text
        self._raw = engine.connect()
        self._text = text

    def transaction(self) -> Any:
        return self._raw.begin()

    def run(self, sql: str, values: Values | list[Values] | None = None) -> int:
        return self._raw.execute(self._text(sql), values or {}).rowcount  # type: ignore[no-any-return]

    def rows(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        return (tuple(row) for row in self._raw.execute(self._text(sql), values or {}))

    def close(self) -> None:
        self._raw.close()


def open_database(url: str) -> Database:
    """Open ``sqlite:///PATH`` (``sqlite:////absolute/path``), or any URL that SQLAlchemy knows.

    :raises StoreError: when it cannot be opened, or another process has it.
    """
    if url.partition(':')[0] == 'sqlite':
        return _open_sqlite(url)
    return _open_alchemy(url)


def _open_sqlite(url: str) -> Database:
    path = url.removeprefix('sqlite:///')
    if path == url or not path:
        raise StoreError(f'not a store: {url!r}; expected sqlite:///PATH, with four slashes for an absolute path')
    if path == ':memory:':
        return Database(lambda: _SQLite(path), exclusive=True, threads=1)
    path = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        make_private(path)
        return _Locked(path)
    except OSError as exc:
        raise StoreError(f'cannot open the store {path}: {exc.strerror}') from exc


class _Locked(Database):
    """An SQLite file that no other service has open: two would finish each other's runs."""

    def __init__(self, path: str) -> None:
        # Not the file itself: to close any descriptor of that would take away the locks of SQLite's own.
        self._lock = os.open(f'{path}.lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # What runs say and are told is nobody else's business; SQLite gives its other files the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as exc:
            os.close(self._lock)
            if isinstance(exc, BlockingIOError):
                raise StoreError(f'the store {path} is in use by another service: end that one, or give this one a '
                                 '--store of its own') from exc
            raise
        super().__init__(lambda: _SQLite(path), exclusive=True)

    def close(self) -> None:
        super().close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _open_alchemy(url: str) -> Database:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError as exc:
        raise StoreError("this store needs SQLAlchemy: pip install 'napixclient[postgresql]'") from exc
    if url.startswith(('postgresql://', 'postgres://')):
        url = f'postgresql+psycopg://{url.partition("://")[2]}'     # the same driver with every release of SQLAlchemy
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)   # we keep connections ourselves
    except (ArgumentError, NoSuchModuleError, ImportError) as exc:
        raise StoreError(f'cannot open the store: {str(exc).splitlines()[0]}') from exc
    return Database(lambda: _Alchemy(engine), exclusive=False)
