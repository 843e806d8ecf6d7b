"""The job log: one line of JSON for each outcome, from which a run can be resumed."""

from __future__ import annotations

import os
from time import time
from typing import Any

from ..masking import mask
from ..messages import load_json
from .formats import Outcome, log_line, tag_of
from .targets import Targets

__all__ = ['BadLog', 'Done', 'JobLog']

Key = tuple[str, str, str, int]


class BadLog(ValueError):
    """The file is not a job log, or cannot be read or written."""


class Done:
    """The requests that succeeded in an earlier run, by its job log. A missing file is an empty log.

    :raises BadLog: if the file cannot be read, or is not a job log.
    """

    def __init__(self, path: str) -> None:
        self._keys: set[Key] = set()
        #: Bytes of whole lines, and whether the last of them lacks its end.
        self.size: int = 0
        self.open_ended: bool = False
        try:
            with open(path, 'rb') as file:
                for number, line in enumerate(file, 1):
                    if not self._take(line, f'{path}, line {number}'):
                        break
        except FileNotFoundError:
            return
        except OSError as exc:
            raise BadLog(f'cannot read the job log {path}: {exc.strerror}') from exc

    def _take(self, line: bytes, where: str) -> bool:
        """Take a line; false if it is torn because the run was killed while writing it."""
        found = _key(line)
        if found is None and line.endswith(b'\n'):
            raise BadLog(f'{where} is no line of a job log')
        if found is None:
            return False
        key, failed = found
        (self._keys.discard if failed else self._keys.add)(key)  # the last line of a request counts
        self.size += len(line)
        self.open_ended = not line.endswith(b'\n')
        return True

    def has(self, targets: Targets, place: int, turn: int) -> bool:
        """Whether this request succeeded."""
        url = mask(targets.url(place, turn))
        return (targets.hosts[place], targets.method, url, targets.repetition(turn)) in self._keys


def _key(line: bytes) -> tuple[Key, bool] | None:
    """The request of a line, and whether it failed; ``None`` if it is not a line of a job log."""
    try:
        parsed: Any = load_json(line)
        status = parsed['status']
        key = str(parsed['host']), str(parsed['method']), mask(str(parsed['url'])), int(parsed.get('repeat', 0))
        return key, parsed.get('error') is not None or status is None or int(status) >= 400
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None


class JobLog:
    """Writes a job log.

    :param done: the log so far, to append to; without it the file is overwritten.
    :raises BadLog: if the file cannot be written.
    """

    def __init__(self, path: str, done: Done | None) -> None:
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), 'wb', buffering=0)
            if os.path.isfile(path):
                self._file.truncate(0 if done is None else done.size)
            if done is not None and done.size:
                self._file.seek(done.size)
                self._file.write(b'\n' if done.open_ended else b'')
        except OSError as exc:
            raise BadLog(f'cannot write the job log {path}: {exc.strerror}') from exc

    def write(self, outcome: Outcome, targets: Targets) -> None:
        """Write a line at once."""
        self._file.write(log_line(outcome, targets.repetition(tag_of(outcome).turn), time()).encode('ascii'))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
