"""Files that are being written: after a fork they are the parent's, and the child neither writes nor removes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ..errors import Cancelled

__all__ = ['Hold', 'hold']


class Hold:
    """Files that somebody is writing. ``hold`` makes one."""

    def __init__(self, files: tuple[IO[bytes], ...]) -> None:
        self._files = files
        #: Whether they are those of the parent of this process.
        self.left: bool = False

    def check(self) -> None:
        """Before something is put in its place, or removed.

        :raises Cancelled: in the child of a fork.
        """
        if self.left:
            raise Cancelled("the process was forked; this file is the parent's")

    def leave(self) -> None:
        """In the child of a fork: both have one position in a file, and each has what is still to be written to it."""
        self.left = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        for file in self._files:
            if not file.closed:
                os.dup2(nowhere, file.fileno(), inheritable=False)
        os.close(nowhere)


_held: set[Hold] = set()


@contextmanager
def hold(*files: IO[bytes]) -> Iterator[Hold]:
    """Hold files while they are written."""
    one = Hold(files)
    _held.add(one)
    try:
        yield one
    finally:
        _held.discard(one)


def _after_fork() -> None:
    for one in _held:
        one.leave()


os.register_at_fork(after_in_child=_after_fork)
