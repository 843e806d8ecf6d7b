"""SIGINT and SIGTERM end the program quickly, without a traceback, with exit code 128 plus the signal number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ['exit_on_interrupt', 'hold', 'raise_exit']

_ENDING = (signal.SIGINT, signal.SIGTERM)


def exit_on_interrupt() -> None:
    """Make Ctrl-C end the process at once, while there is nothing to clean up."""

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    signal.signal(signal.SIGINT, leave)


def raise_exit(first: Callable[[], object] | None = None) -> None:
    """Make SIGINT and SIGTERM raise ``SystemExit`` once in the calling greenlet, wherever it waits.

    It uses gevent's watchers: Python would raise ``KeyboardInterrupt`` in whichever greenlet is running, even the hub.

    :param first: called in a greenlet of its own by the first SIGINT, instead of the exit.
    """
    import gevent  # only here: help and completion do without

    caller = gevent.getcurrent()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if number == signal.SIGINT and first is not None and received == [number]:
            first()
        elif len(received) == 1 or first is not None and len(received) == 2 and received[0] == signal.SIGINT:
            # A later signal must not interrupt the clean-up that this one begins, nor the exit of Python after it.
            for late in _ENDING:
                signal.signal(late, signal.SIG_IGN)
            gevent.kill(caller, SystemExit(128 + number))

    for number in _ENDING:
        gevent.signal_handler(number, stop, number)


@contextmanager
def hold() -> Iterator[None]:
    """Hold both signals back; they are delivered when the context ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
