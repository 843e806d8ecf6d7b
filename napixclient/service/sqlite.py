"""A store in an SQLite file, which is one service's."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

from .database import Database, StoreError, Values
from .private import make_private

__all__ = ['open_sqlite']

#: Seconds that SQLite waits for another program that writes to the file.
BUSY_SECONDS = 5.0
#: Rows that one statement adds: SQLite before 3.32 knows 999 parameters.
_ROWS = (100, 10, 1)


class _SQLite:
    """A connection of the standard library's."""

    now = 'epoch()'
    alone: tuple[str, ...] = ()  # a transaction that writes is

    def __init__(self, path: str) -> None:
        # Threads of one pool follow each other; none uses it beside another.
        self._raw = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._raw.create_function('epoch', 0, time.time)  # its own know milliseconds only
        self._raw.execute('PRAGMA journal_mode=WAL')
        self._raw.execute('PRAGMA synchronous=FULL')

    @contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        # Whoever reads first and then wants to write is refused at once if another has written meanwhile.
        self._raw.execute('BEGIN IMMEDIATE' if write else 'BEGIN')
        try:
            yield
            self._raw.execute('COMMIT')
        except BaseException:
            if self._raw.in_transaction:  # a full disk may have ended it
                self._raw.execute('ROLLBACK')
            raise

    def run(self, sql: str, values: Values | None = None) -> int:
        return self._raw.execute(sql, values or {}).rowcount

    def insert(self, table: str, columns: Mapping[str, str], rows: list[tuple[Any, ...]]) -> None:
        # Each statement hands the interpreter's lock back and forth with the loop: so many rows are in one.
        row = f'({", ".join("?" * len(columns))})'
        start = 0
        for size in _ROWS:
            sql = f'INSERT INTO {table} ({", ".join(columns)}) VALUES {", ".join([row] * size)}'
            while len(rows) - start >= size:
                self._raw.execute(sql, tuple(chain.from_iterable(rows[start : start + size])))
                start += size

    def rows(self, sql: str, values: Values | None = None) -> Iterator[tuple[Any, ...]]:
        return iter(self._raw.execute(sql, values or {}))

    stream = rows

    def columns(self, table: str) -> set[str]:
        return {row[0] for row in self.rows(f"SELECT name FROM pragma_table_info('{table}')")}

    def cut(self) -> None:
        pass  # it waits for BUSY_SECONDS at most

    def close(self) -> None:
        self._raw.close()


def open_sqlite(url: str) -> Database:
    """Open ``sqlite:///PATH``.

    :raises StoreError: when it cannot be opened, or another process has it.
    """
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
                raise StoreError(
                    f'the store {path} is in use by another service: end that one, or give this one a '
                    '--store of its own'
                ) from exc
            raise
        super().__init__(lambda: _SQLite(path), exclusive=True)

    def close(self) -> None:
        super().close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
