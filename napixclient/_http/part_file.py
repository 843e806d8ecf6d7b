"""What has come of a body, beside the file that it is going to be, and by what to tell whether it may go on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import IO, NamedTuple

from .own_files import Hold, hold

__all__ = ['Kept', 'PartFile']


class Kept(NamedTuple):
    """What must be the same for the rest to belong to what has come.

    :param validator: a strong ETag or a Last-Modified.
    :param coding: the content coding that the bytes are in, if any.
    """

    validator: str
    coding: str | None


class PartFile:
    """``<path>.part``, and ``<path>.part.validator`` where the body may go on. ``open`` makes one.

    :param file: the first, open.
    :param url: what it is a part of; only its digest is written, for a query may hold a secret.
    :param held: knows whether the file is still ours.
    """

    def __init__(self, file: IO[bytes], url: str, held: Hold) -> None:
        self.file = file
        self._held = held
        self._url = sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()
        self._validator_path = f'{file.name}.validator'
        #: By what the rest is asked for; ``None`` where nothing can go on.
        self.kept: Kept | None = self._read_validator()
        #: Bytes that have come.
        self.size: int = file.seek(0, os.SEEK_END)

    @classmethod
    @contextmanager
    def open(cls, target: str, url: str, mode: int) -> Iterator[PartFile]:
        """That of a file. It stays when something is raised and it may go on, else it is gone unless it was renamed.

        :param mode: the permissions of a new one.
        :raises OSError: when it cannot be written, or somebody else is writing it.
        """
        path = f'{target}.part'
        with _locked(path, mode) as file, hold(file) as held:
            part = cls(file, url, held)
            try:
                yield part
            except BaseException:
                if not held.left and (part.kept is None or not part.size):
                    part.finish()
                    os.unlink(path)
                raise
            if _is_still(path, os.fstat(file.fileno())):  # else it may be another's by now
                os.unlink(path)

    def finish(self) -> None:
        """All of it is in the file, and there is nothing more to ask for.

        :raises Cancelled: in the child of a fork: the file is the parent's.
        """
        self._held.check()
        self.file.flush()
        with suppress(FileNotFoundError):
            os.unlink(self._validator_path)

    def begin(self, kept: Kept | None) -> None:
        """Begin anew; in this order, so that nothing old is ever taken for a part of something new.

        :raises Cancelled: in the child of a fork: the file is the parent's.
        """
        self._held.check()
        with suppress(FileNotFoundError):
            os.unlink(self._validator_path)
        self.file.seek(0)
        self.file.truncate()
        self.size, self.kept = 0, kept
        if kept is not None:
            with open(self._validator_path, 'x', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                json.dump({'url': self._url, **kept._asdict()}, file)

    def write(self, piece: bytes) -> None:
        """Add to it."""
        self.file.write(piece)
        self.size += len(piece)

    def _read_validator(self) -> Kept | None:
        try:
            with open(self._validator_path, encoding='utf-8') as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or found.get('url') != self._url:
            return None
        validator, coding = found.get('validator'), found.get('coding')
        if not isinstance(validator, str) or not isinstance(coding, (str, type(None))):
            return None
        return Kept(validator, coding)


@contextmanager
def _locked(path: str, mode: int) -> Iterator[IO[bytes]]:
    """The file, for this one writer alone."""
    while True:
        with open(path, 'r+b', opener=lambda name, _: _open_regular(name, mode)) as file:
            found = os.fstat(file.fileno())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise BlockingIOError(exc.errno, 'somebody else is saving the same file', path) from None
            except OSError:  # this file system has no locks
                pass
            if _is_still(path, found):  # else whoever had it has just put it in its place
                yield file
                return


def _open_regular(path: str, mode: int) -> int:
    found = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, 'not a regular file', path)
    return found


def _is_still(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False
