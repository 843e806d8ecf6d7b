"""The job log: one line of JSON for each outcome, from which a run can be resumed."""

from __future__ import annotations

import os
import sys
from time import time
from typing import Any

from ..masking import mask
from ..messages import load_json
from .json_format import log_line
from .outcomes import Outcome, tag_of
from .targets import Targets

__all__ = ['BadLog', 'Done', 'JobLog', 'take_up']

Key = tuple[str, str, str, int]


class BadLog(ValueError):
    """The file is not a job log, or cannot be read or written."""


class Done:
    """The requests that succeeded in an earlier run, by its job log. A missing file is an empty log.

    :raises BadLog: if the file cannot be read, or is not a job log.
    """

    def __init__(self, path: str) -> None:
        #: Digests of the bodies that were sent.
        self._sent: dict[Key, str] = {}
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
        key, sent, failed = found
        if failed:  # the last line of a request counts
            self._sent.pop(key, None)
        else:
            self._sent[key] = sent
        self.size += len(line)
        self.open_ended = not line.endswith(b'\n')
        return True

    def has(self, targets: Targets, place: int, turn: int) -> bool:
        """Whether this request succeeded, with the same body."""
        url = mask(targets.url(place, turn))
        key = targets.hosts[place], targets.method, url, targets.repetition(place, turn)
        return self._sent.get(key) == targets.digest(place)


def take_up(path: str) -> Done | None:
    """What to do with a job log of an earlier run, if there is one: ask on a terminal, refuse elsewhere.

    :return: the log to go on with, or ``None`` to begin anew.
    :raises BadLog: if nobody can be asked, or whoever was asked wants neither.
    """
    if not os.path.isfile(path) or not os.path.getsize(path):
        return None
    what = f'the job log {path} is that of an earlier run'
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadLog(f'{what}: go on with that one by --resume, or remove the file')
    print(f'napix: {what}: [r]esume it, [o]verwrite it, or [q]uit? ', end='', file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().lower()
    if answer in ('r', 'resume'):
        return Done(path)
    if answer in ('o', 'overwrite'):
        return None
    raise BadLog(f'{what}, and is left as it is')


def _key(line: bytes) -> tuple[Key, str, bool] | None:
    """The request of a line, its digest, and whether it failed; ``None`` if it is not a line of a job log."""
    try:
        parsed: Any = load_json(line)
        status = parsed['status']
        key = str(parsed['host']), str(parsed['method']), mask(str(parsed['url'])), int(parsed.get('repeat', 0))
        return key, str(parsed.get('sent', '')), parsed.get('error') is not None or status is None or int(status) >= 400
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
        tag = tag_of(outcome)
        line = log_line(outcome, targets.repetition(tag.place, tag.turn), time(), targets.digest(tag.place))
        self._file.write(line.encode('ascii'))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
