"""Greenlets that belong to one process: in the child of a fork they never run again."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent

__all__ = ['Staying']

_all: weakref.WeakSet[Staying] = weakref.WeakSet()
#: In a child, the greenlets of the parent: dropping one would end it, and run its `finally` blocks here.
_left_to_parent: list[Staying] = []


# gevent's class is generic in its types only.
if TYPE_CHECKING:
    _Greenlet = gevent.Greenlet[..., object]
else:
    _Greenlet = gevent.Greenlet


class Staying(_Greenlet):
    """Runs in the process that started it only: in a child nothing of it runs, not even a ``finally``.

    Killing it in the child is not enough: what it waits for may come first, as the cancellation of a request by the
    fork does. The greenlet that forks, as :mod:`multiprocessing` may do, goes on in the child as well.
    """

    _still = False

    def __init__(self, run: Callable[..., object], *args: object, **kwargs: object) -> None:
        super().__init__(run, *args, **kwargs)
        _all.add(self)

    # Whatever a greenlet waits for resumes it with one of these two.
    def switch(self, *args: object, **kwargs: object) -> object:
        """Resume it, except in a child."""
        return None if self._still else super().switch(*args, **kwargs)

    def throw(self, *args: object) -> object:
        """Raise in it, except in a child."""
        return None if self._still else super().throw(*args)  # type: ignore[call-overload]


def _after_fork() -> None:
    current = gevent.getcurrent()
    for greenlet in list(_all):
        if greenlet is not current:
            greenlet._still = True
            _left_to_parent.append(greenlet)


os.register_at_fork(after_in_child=_after_fork)
