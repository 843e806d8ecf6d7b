"""Saves a body to a file: whole or not at all, and the file stays what it was otherwise."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import gevent

from .own_files import Hold, hold
from .part_file import PartFile

__all__ = ['save', 'save_resumed']

#: Bytes that are copied before others have their turn.
_STEP = 1 << 20
#: What makes a program run as its owner or group: no write of anybody but root leaves it (chmod(2)), and no body does.
_RUN_AS = stat.S_ISUID | stat.S_ISGID
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Writer = Callable[[IO[bytes]], int]


def save(path: str | os.PathLike[str], write: Writer) -> int:
    """Have a file written, which appears when it is whole; what ``write`` returns.

    :raises OSError: when the file cannot be written.
    """
    path = os.fsdecode(path)  # which may be bytes, as for open()
    target = os.path.realpath(path)  # a symbolic link stays one
    there = _opened(path)
    if there is None:
        return _save_new(target, write)
    with hold(there), there:
        if stat.S_ISREG(os.fstat(there.fileno()).st_mode):
            return _save_over(there, target, write)
        return write(there)


def save_resumed(path: str | os.PathLike[str], url: str, write: Callable[[PartFile], int]) -> int:
    """Have ``<path>.part`` written, which becomes the file when it is whole; what ``write`` returns.

    :param url: what it comes from.
    :raises OSError: when it cannot be written.
    :raises ValueError: where the path is that of a pipe or a device.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    there = _opened(path)
    if there is None:
        with PartFile.open(target, url, 0o666) as part:
            written = write(part)
            part.finish()
            os.replace(part.file.name, target)
        return written
    with hold(there), there:
        if not stat.S_ISREG(os.fstat(there.fileno()).st_mode):
            raise ValueError(f'resume=True is for regular files, and {path!r} is none')
        with PartFile.open(target, url, 0o600) as part:
            os.fchmod(part.file.fileno(), 0o600)  # it may be older than the file
            written = write(part)
            part.finish()
            _put(part.file, there, target)
    return written


def _opened(path: str) -> IO[bytes] | None:
    """The file that is there, to be written into; ``None`` where none is."""
    try:
        return open(path, 'wb', opener=lambda name, _: os.open(name, os.O_WRONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        if os.path.basename(path) in ('', '.'):  # of a directory: realpath forgets that
            raise
        return None


def _save_new(target: str, write: Writer) -> int:
    file = _beside(target, 0o666)  # the system takes away what the umask says
    with _temporary(file) as held:
        written = write(file)
        held.check()
        file.flush()
        os.replace(file.name, target)
    return written


def _save_over(there: IO[bytes], target: str, write: Writer) -> int:
    """Replace a file by a new one where nobody can notice the difference, else write into it.

    Both when the body is whole. To put it there is better: nobody ever sees half of it.
    """
    new: IO[bytes]
    try:
        new = _beside(target, 0o600)
    except OSError:  # nothing new can be made there
        new = tempfile.TemporaryFile()
    with _temporary(new) as held:
        written = write(new)
        held.check()
        new.flush()
        _put(new, there, target)
    return written


def _put(new: IO[bytes], there: IO[bytes], target: str) -> None:
    if isinstance(new.name, str) and _resembles(new.fileno(), there.fileno()):
        try:
            os.replace(new.name, target)
            return
        except OSError:  # such as a file that something is mounted on
            pass
    _overwrite(there, new)


def _beside(target: str, mode: int) -> IO[bytes]:
    """A new file in the directory of another."""
    name = os.path.join(os.path.dirname(target), f'.{secrets.token_hex(8)}')
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return open(name, 'w+b', opener=lambda name, _: os.open(name, flags, mode))


@contextmanager
def _temporary(file: IO[bytes]) -> Iterator[Hold]:
    """Closed at the end, and removed unless it got another name."""
    with hold(file) as held:
        try:
            with file:
                yield held
        finally:
            if isinstance(file.name, str) and not held.left:  # else it never had one, or the parent goes on
                with suppress(FileNotFoundError):
                    os.unlink(file.name)


def _resembles(new: int, old: int) -> bool:
    """Give a file the owner, group and permissions of another.

    False where it cannot be as good: the other has several names, an access list or attributes, or belongs to somebody
    to whom we cannot give it. Without the list, the bits of the group mean another thing (acl(5)).
    """
    was, made = os.fstat(old), os.fstat(new)
    if was.st_nlink != 1 or _has_attributes(old):
        return False
    try:
        if (was.st_uid, was.st_gid) != (made.st_uid, made.st_gid):
            os.fchown(new, was.st_uid, was.st_gid)
        os.fchmod(new, stat.S_IMODE(was.st_mode) & ~_RUN_AS)
    except OSError:
        return False
    return True


def _has_attributes(file: int) -> bool:
    """Whether there is an access list or an extended attribute; labels are the system's business."""
    try:
        return any(not name.startswith('security.') for name in os.listxattr(file))
    except (AttributeError, OSError):  # neither this system nor this file system has any
        return False


def _overwrite(there: IO[bytes], file: IO[bytes]) -> None:
    """Write one file into another."""
    size, before = file.seek(0, os.SEEK_END), os.fstat(there.fileno()).st_size
    if size > before and hasattr(os, 'posix_fallocate'):
        try:
            os.posix_fallocate(there.fileno(), 0, size)  # a full disk shows before anything is lost
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                os.ftruncate(there.fileno(), before)
                raise
    file.seek(0)
    try:
        while piece := file.read(_STEP):
            there.write(piece)
            gevent.sleep(0)
    finally:  # who is interrupted meanwhile leaves a whole file all the same
        shutil.copyfileobj(file, there, _STEP)
        there.truncate(size)
    mode = stat.S_IMODE(os.fstat(there.fileno()).st_mode)
    if mode & _RUN_AS:  # it was root who wrote
        with suppress(OSError):
            os.fchmod(there.fileno(), mode & ~_RUN_AS)
