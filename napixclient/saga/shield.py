"""Waits for a greenlet that has to end, whatever is thrown into who waits; only a second Ctrl-C stops it."""

from __future__ import annotations

from typing import Protocol

import gevent

__all__ = ['join_shielded']


class Interrupted(Protocol):
    """Who counts the interrupts."""

    interrupts: int


def join_shielded(greenlet: gevent.Greenlet[..., None], counter: Interrupted) -> None:
    """Wait until a greenlet has ended.

    What is thrown in meanwhile, such as a ``gevent.Timeout`` or the end of the greenlet that waits, is raised then.

    :param counter: of the interrupts so far: at the second one the greenlet is killed.
    """
    thrown: BaseException | None = None
    while not greenlet.dead:
        try:
            greenlet.join()
        except BaseException as exc:
            thrown = exc
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                counter.interrupts += 1
                if counter.interrupts > 1:
                    greenlet.kill()
    if thrown is not None:
        raise thrown
