"""Greenlets that belong to one process: in the child of a fork they stand still."""

from __future__ import annotations

import os
import weakref
from typing import Any

import gevent

__all__ = ['Staying']

_all: weakref.WeakSet[Staying] = weakref.WeakSet()
#: In a child: what is the parent's. To forget a greenlet would end it, and its `finally` blocks would run here too.
_left_to_parent: list[Staying] = []


class Staying(gevent.Greenlet):  # type: ignore[type-arg]
    """Goes on in the process that began it, and in no child: there nothing of it runs, not even a ``finally``.

    To kill it there would not do: what it waits for may come first, as a request that the fork has cancelled does.
    The one that forks, as :mod:`multiprocessing` may do in it, is the child's.
    """

    _still = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _all.add(self)

    # Whatever a greenlet waits for resumes it by one of these two.
    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Go on, but not in a child."""
        return None if self._still else super().switch(*args, **kwargs)

    def throw(self, *args: Any) -> Any:
        """Go on with an exception, but not in a child."""
        return None if self._still else super().throw(*args)


def _after_fork() -> None:
    current = gevent.getcurrent()
    for greenlet in list(_all):
        if greenlet is not current:
            greenlet._still = True
            _left_to_parent.append(greenlet)


os.register_at_fork(after_in_child=_after_fork)
