"""The files of a store are nobody else's business."""

from __future__ import annotations

import logging
import os
import stat

__all__ = ['make_private']

log: logging.Logger = logging.getLogger('napixclient.service')
#: What SQLite, and we ourselves, put beside the file.
_SUFFIXES = ('', '-wal', '-shm', '-journal', '.lock')


def make_private(path: str) -> None:
    """Take all rights to an SQLite store from others than its owner, and say so; they may have read it till now.

    By name: to close any descriptor of the file would take away the locks of SQLite's own.

    :raises OSError: where that is not ours to do.
    """
    for suffix in _SUFFIXES:
        name = path + suffix
        try:
            found = os.stat(name).st_mode
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(found)
        if mode & 0o077 and stat.S_ISREG(found):  # what is no file is no store either: not ours to change
            try:
                os.chmod(name, mode & 0o700)
            except PermissionError as exc:
                raise PermissionError(
                    exc.errno, f'{name} is open to other users (mode {mode:04o}), and not ours to close'
                ) from exc
            log.warning('%s was open to other users (mode %04o); its mode is %04o now', name, mode, mode & 0o700)
