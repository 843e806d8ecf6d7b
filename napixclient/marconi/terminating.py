"""SIGTERM: calls what stops the consumers that asked for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from gevent.hub import get_hub

__all__ = ['attend', 'leave']

_attending: dict[object, tuple[Any, Callable[[], object]]] = {}
_before: Any = None


def attend(who: object, stop: Callable[[], object]) -> None:
    """Have SIGTERM call ``stop()`` in the loop of this thread, instead of its usual effect, until ``leave``.

    :raises ValueError: outside of the main thread.
    """
    global _before
    if not _attending:
        try:
            _before = signal.signal(signal.SIGTERM, _terminated)
        except ValueError:
            raise ValueError('sigterm: signals arrive in the main thread only; call stop() instead') from None
    _attending[who] = get_hub().loop, stop


def leave(who: object) -> None:
    """Undo ``attend``; after the last one SIGTERM does again what it did before."""
    if _attending.pop(who, None) and not _attending and signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if _before is None else _before)


def _terminated(number: int, frame: FrameType | None) -> None:
    # Runs between any two instructions of whatever runs just then, so it only schedules the call.
    for loop, stop in list(_attending.values()):
        loop.run_callback_threadsafe(stop)


def _after_fork() -> None:
    """In a child SIGTERM stops no consumer: they are the parent's."""
    for who in list(_attending):
        leave(who)


os.register_at_fork(after_in_child=_after_fork)
