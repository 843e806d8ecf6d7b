"""Makes the files of a store private to their owner."""

from __future__ import annotations

import logging
import os
import stat

__all__ = ['make_private']

log: logging.Logger = logging.getLogger('napixclient.service')
#: Files that SQLite and we ourselves put beside the store.
_SUFFIXES = ('', '-wal', '-shm', '-journal', '.lock')


def make_private(path: str) -> None:
    """Remove all access of other users to an SQLite store, and log it, as they may have read the store before.

    It works by name, since closing any descriptor of the file would release SQLite's own locks.

    :raises OSError: if we may not change the mode.
    """
    for suffix in _SUFFIXES:
        name = path + suffix
        try:
            found = os.stat(name).st_mode
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(found)
        if mode & 0o077 and stat.S_ISREG(found):  # anything but a file is not a store, so not ours to change
            try:
                os.chmod(name, mode & 0o700)
            except PermissionError as exc:
                raise PermissionError(
                    exc.errno, f'{name} is open to other users (mode {mode:04o}), and not ours to close'
                ) from exc
            log.warning('%s was open to other users (mode %04o); its mode is %04o now', name, mode, mode & 0o700)
