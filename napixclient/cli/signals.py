"""How SIGINT and SIGTERM end the program: quickly, without a traceback, with 128 and the signal's number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import gevent

__all__ = ['exit_on_interrupt', 'hold', 'raise_exit']

_ENDING = (signal.SIGINT, signal.SIGTERM)


def exit_on_interrupt() -> None:
    """From now on Ctrl-C ends the process at once: for the time in which there is nothing to put away."""

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    signal.signal(signal.SIGINT, leave)


def raise_exit(first: Callable[[], object] | None = None) -> None:
    """From now on SIGINT or SIGTERM raises ``SystemExit`` in the calling greenlet, once, wherever it waits.

    By gevent's watchers: a ``KeyboardInterrupt`` of Python's own would be raised in whichever greenlet runs just then,
    the hub included.

    :param first: what the first SIGINT does instead, in a greenlet of its own.
    """
    caller = gevent.getcurrent()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if number == signal.SIGINT and first is not None and received == [number]:
            first()
        elif len(received) == 1 or first is not None and len(received) == 2 and received[0] == signal.SIGINT:
            # What this one begins to put away, a later one must not break off, nor the end of Python after it.
            for late in _ENDING:
                signal.signal(late, signal.SIG_IGN)
            gevent.kill(caller, SystemExit(128 + number))

    for number in _ENDING:
        gevent.signal_handler(number, stop, number)


@contextmanager
def hold() -> Iterator[None]:
    """Within, neither signal is delivered; at the end those that came meanwhile are."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
