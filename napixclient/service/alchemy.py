"""A store that SQLAlchemy talks to: PostgreSQL, which several services may share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from typing import Any

from gevent import monkey, socket

from .database import Database, StoreError, Values

__all__ = ['open_alchemy']

#: Seconds for a connection to a database to be made, and until it is tried again.
CONNECT_SECONDS = 3
AGAIN_SECONDS = 1.0
#: Seconds for which a database may leave a statement unanswered; then the connection is cut.
STUCK_SECONDS = 10.0
#: Milliseconds after which PostgreSQL takes the locks back from a service that stands still in a transaction, and for
#: which it has another wait for them.
_SESSION = ('SET idle_in_transaction_session_timeout = 4000', 'SET lock_timeout = 8000')
#: Rows are added so many at a time, so that a long list is not taken for a database that hangs.
_AT_ONCE = 1000
#: Rows that are asked for at a time, where they may be large.
_ROWS = 50
_allocate_lock = monkey.get_original('_thread', 'allocate_lock')  # between threads, whatever gevent has patched
#: By the name of a dialect: the time, what keeps others from making tables, what begins a transaction.
_DIALECTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    'postgresql': (
        'CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)',
        ('SELECT pg_advisory_xact_lock(7881369014)',),
        '',
    ),
    'sqlite': ("((julianday('now') - 2440587.5) * 86400)", (), 'BEGIN IMMEDIATE'),
}


class _Alchemy:
    """A connection of SQLAlchemy's; its state after a failure is unknown, so it is then replaced."""

    def __init__(self, engine: Any) -> None:
        from sqlalchemy import inspect, text

        self._engine = engine
        self._text = text
        self._inspect = inspect
        self.now, self.alone, self._begin = _DIALECTS[engine.dialect.name]
        self._raw: Any = None
        self._file = -1  # its socket, where it has one
        self._lock = _allocate_lock()  # as long as it is held the socket is not closed
        self._asked = inf  # when it was given the statement that it works on
        self._failed: tuple[float, Exception] | None = None

    def _connected(self) -> Any:
        if self._raw is not None:
            return self._raw
        if self._failed is not None and time.monotonic() < self._failed[0] + AGAIN_SECONDS:
            raise self._failed[1].with_traceback(None)  # else all who wait in line would try, one after the other
        try:
            raw = self._engine.connect()
        except Exception as exc:
            self._failed = time.monotonic(), exc
            raise
        self._failed = None
        self._raw = raw
        inner = raw.connection.dbapi_connection
        if self._begin:
            inner.isolation_level = None  # else the module of the standard library begins transactions itself
        self._file = inner.fileno() if hasattr(inner, 'fileno') else -1
        if self._engine.dialect.name == 'postgresql':
            self._asked = time.monotonic()
            for statement in _SESSION:
                raw.exec_driver_sql(statement)
            raw.commit()
        return raw

    @contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        try:
            with self._connected().begin():
                if self._begin:
                    self._raw.exec_driver_sql(self._begin)
                yield
                self._asked = time.monotonic()
        except BaseException:
            self._disconnect()
            raise
        finally:
            self._asked = inf

    def run(self, sql: str, values: Values | None = None) -> int:
        return self._execute(sql, values).rowcount  # type: ignore[no-any-return]

    def insert(self, table: str, columns: Mapping[str, str], rows: list[tuple[Any, ...]]) -> None:
        # psycopg would send many statements at once, between which PostgreSQL knows no timeout: whoever stood still
        # there would keep what is locked for ever. So it is one, with a list for each column.
        into = f'INSERT INTO {table} ({", ".join(columns)})'
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            if self._engine.dialect.name == 'postgresql':
                lists = ', '.join(f'CAST(:{name} AS {kind}[])' for name, kind in columns.items())
                self._execute(
                    f'{into} SELECT * FROM unnest({lists})',
                    dict(zip(columns, map(list, zip(*some, strict=True)), strict=True)),
                )
            else:
                self._execute(
                    f'{into} VALUES ({", ".join(f":{name}" for name in columns)})',
                    [dict(zip(columns, row, strict=True)) for row in some],
                )

    def rows(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        return (tuple(row) for row in self._execute(sql, values))

    def stream(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        result = self._execute(sql, values, stream_results=True, max_row_buffer=_ROWS)
        try:
            for row in result:
                self._asked = time.monotonic()
                yield tuple(row)
        finally:
            result.close()

    def _execute(self, sql: str, values: Any, **options: Any) -> Any:
        self._asked = time.monotonic()
        return self._raw.execute(self._text(sql).execution_options(**options), values or {})

    def columns(self, table: str) -> set[str]:
        return {column['name'] for column in self._inspect(self._raw).get_columns(table)}

    def cut(self) -> None:
        with self._lock:
            if self._file >= 0 and time.monotonic() - self._asked > STUCK_SECONDS:
                with suppress(OSError), socket.socket(fileno=os.dup(self._file)) as same:
                    same.shutdown(socket.SHUT_RDWR)  # the thread that waits for it is told that it has ended

    def _disconnect(self) -> None:
        with self._lock:
            self._file = -1
        raw, self._raw = self._raw, None
        if raw is not None:
            with suppress(Exception):
                raw.invalidate()
            with suppress(Exception):
                raw.close()

    def close(self) -> None:
        self._disconnect()


def open_alchemy(url: str) -> Database:
    """Open a URL of SQLAlchemy's.

    :raises StoreError: when it cannot be opened.
    """
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError as exc:
        raise StoreError("this store needs SQLAlchemy: pip install 'napixclient[postgresql]'") from exc
    if url.startswith(('postgresql://', 'postgres://')):
        url = f'postgresql+psycopg://{url.partition("://")[2]}'  # the same driver with every release of SQLAlchemy
    try:
        made = make_url(url)
        if made.get_backend_name() not in _DIALECTS:
            raise StoreError(f'cannot open the store: {made.get_backend_name()} is not one of {", ".join(_DIALECTS)}')
        more = (
            {}
            if made.get_backend_name() != 'postgresql'
            or 'connect_timeout' in made.query
            or made.get_driver_name() not in ('psycopg', 'psycopg2')
            else {'connect_timeout': CONNECT_SECONDS}
        )
        # We keep connections ourselves.
        engine = create_engine(made, poolclass=NullPool, hide_parameters=True, connect_args=more)
    except ArgumentError as exc:  # what was given may hold a secret
        raise StoreError('not a store; expected a URL: sqlite:///PATH or postgresql://HOST/DATABASE') from exc
    except (NoSuchModuleError, ImportError) as exc:
        raise StoreError(f'cannot open the store: {str(exc).splitlines()[0]}') from exc
    return Database(lambda: _Alchemy(engine), exclusive=False)
