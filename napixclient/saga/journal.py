"""The file of a journal: one writer, lines of JSON, and one ``fsync`` for all that go together."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import weakref
from collections.abc import Mapping
from contextlib import suppress
from shlex import quote
from typing import Protocol

from gevent.hub import get_hub
from gevent.lock import BoundedSemaphore

from ..messages import dump_json
from .errors import JournalError, JournalLocked, JournalUnfinished
from .history import History, read_history

__all__ = ['Journal', 'Lines', 'NoJournal', 'read_file']


class Lines(Protocol):
    """Where the events of a saga are written down."""

    def add(self, event: Mapping[str, object]) -> None:
        """One more event, which is durable after the next ``sync``."""

    def sync(self) -> None:
        """Block until all events so far are durable."""

    def close(self) -> None:
        """Nothing more is to come."""


class NoJournal:
    """For a saga that is kept in memory alone."""

    def add(self, event: Mapping[str, object]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Journal:
    """A file of events, locked for as long as it is open; only its owner may read it (mode 0600).

    :param path: the file; it is made where there is none.
    :raises JournalLocked: when another one has it.
    :raises JournalError: when it cannot be opened, or is no journal.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True) -> None:
        self.path: str = os.fspath(path)
        self._file = _opened(self.path, create)
        try:
            #: What it had in it when it was opened.
            self.history: History = read_history(_content(self._file), self.path)
        except BaseException:
            os.close(self._file)
            raise
        self._pending: list[bytes] = []
        self._added = self._durable = 0
        self._lock = BoundedSemaphore()
        self._closed = False
        _open_journals.add(self)

    @classmethod
    def begin(cls, path: str | os.PathLike[str]) -> Journal:
        """A journal for a new saga: an existing one begins anew where its saga was ended.

        :raises JournalUnfinished: where it was not.
        """
        journal = cls(path)
        try:
            if not journal.history.finished:
                raise JournalUnfinished(
                    f'{journal.path} tells of a saga that was neither committed nor undone; '
                    f'undo it first: napix saga undo {quote(journal.path)}'
                )
            os.ftruncate(journal._file, 0)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> Journal:
        """A journal that is there, to be written to behind its last whole line."""
        journal = cls(path, create=False)
        os.ftruncate(journal._file, journal.history.size)
        return journal

    def add(self, event: Mapping[str, object]) -> None:
        """One more event, which is durable after the next ``sync``."""
        self._pending.append(dump_json(event, 'an event'))
        self._added += 1

    def sync(self) -> None:
        """Block this greenlet until all events so far are durable: those of all who wait go with one ``fsync``.

        :raises OSError: when they cannot be written.
        """
        wanted = self._added
        while self._durable < wanted:
            with self._lock:
                if self._durable >= wanted:
                    return
                lines, upto = self._pending, self._added
                self._pending = []
                try:
                    self._write(b''.join([line + b'\n' for line in lines]))
                except BaseException:
                    self._pending = lines + self._pending
                    raise
                self._durable = upto

    def _write(self, data: bytes) -> None:
        """Append it and have it on the disk, or leave the file as it was."""
        size = os.fstat(self._file).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            failure = get_hub().threadpool.apply(_synced, (self._file,))
            if failure is not None:
                raise failure
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise

    def close(self) -> None:
        """Let go of the file and its lock. May be repeated."""
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def __del__(self) -> None:
        if hasattr(self, '_closed'):
            self.close()


def read_file(path: str | os.PathLike[str]) -> History:
    """What a journal tells, whoever writes to it now.

    :raises JournalError: when it cannot be read, or is no journal.
    """
    path = os.fspath(path)
    try:
        with open(path, 'rb') as file:
            return read_history(file.read(), path)
    except OSError as exc:
        raise JournalError(f'{path}: {exc.strerror}') from exc


def _opened(path: str, create: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        is_new = create and not os.path.lexists(path)
        file = os.open(path, flags, 0o600)
    except OSError as exc:
        raise JournalError(f'{path}: {exc.strerror}') from exc
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise JournalError(f'{path} is no file')
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_mode & 0o077:
            os.fchmod(file, 0o600)
        if is_new:
            _sync_directory(os.path.dirname(os.path.abspath(path)))
    except OSError as exc:
        os.close(file)
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise JournalLocked(f'{path} is in use by another saga, or by one that recovers it') from exc
        raise JournalError(f'{path}: {exc.strerror}') from exc
    except BaseException:
        os.close(file)
        raise
    return file


def _synced(file: int) -> OSError | None:
    """In a thread: why that failed, as a value, for gevent would print what a thread raises."""
    try:
        os.fsync(file)
    except OSError as exc:
        return exc
    return None


def _sync_directory(path: str) -> None:
    """A new file is not lost with its directory's entry."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _content(file: int) -> bytes:
    with open(os.dup(file), 'rb') as reader:
        reader.seek(0)
        return reader.read()


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_all() -> None:
    """In the child of a fork: the journal, and the lock on it, are the parent's."""
    for journal in list(_open_journals):
        journal.close()


os.register_at_fork(after_in_child=_close_all)
