"""What the engine uses of gevent's loop and of sockets, for the type checker: gevent's stubs leave some of it out."""

from __future__ import annotations

import _socket
from collections.abc import Callable
from typing import Protocol

from gevent import socket

__all__ = ['Loop', 'Sender', 'Socket', 'Watcher']

#: One of the standard library or of gevent; an ``SSLSocket`` is one as well.
Socket = _socket.socket | socket.socket


class Watcher(Protocol):
    """Calls when a socket is ready, or when a time is up."""

    #: Whether the loop goes on for it.
    ref: bool

    @property
    def active(self) -> bool:
        """Whether it was started, and not stopped since."""

    def start(self, callback: Callable[..., object], *arguments: object, update: bool = False) -> None:
        """Call from now on; ``update`` looks at the clock first, and is for timers only."""

    def stop(self) -> None:
        """Call no more; may be started again."""

    def close(self) -> None:
        """Let go of it, once it is stopped."""


class Sender(Watcher, Protocol):
    """Calls when somebody sends."""

    def send(self) -> None:
        """Have it call; from any thread."""


class Loop(Protocol):
    """The loop of a hub."""

    def io(self, fd: int, events: int, ref: bool = True) -> Watcher:
        """Watch a descriptor: 1 for reading, 2 for writing."""

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True) -> Watcher:
        """A timer of seconds."""

    def async_(self, ref: bool = True) -> Sender:
        """A watcher that another thread can wake."""

    def run_callback_threadsafe(self, func: Callable[..., object], *args: object) -> object:
        """Call in the loop's next turn; from any thread."""
