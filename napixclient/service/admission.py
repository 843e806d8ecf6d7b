"""Decides which connections are served, which wait for their turn, and which are closed to make room.

A connection without a request costs little, so more may be open than are served. A new connection is always accepted;
if there are too many, the one that has been idle longest is closed. So a thousand slow clients do not keep anybody from
the health check.
"""

from __future__ import annotations

import logging
from math import inf
from time import monotonic
from typing import Protocol

from gevent.event import AsyncResult

from .problems import Unavailable

__all__ = ['Guest', 'Admission']

log: logging.Logger = logging.getLogger('napixclient.service')
#: Seconds between two log records about it.
LOG_EVERY = 10.0


class Guest(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Read nothing more, as another connection takes its place."""


class Admission:
    """Admits the connections of one server.

    :param most: requests that are served at once.
    :param spare: further connections, which are idle, or whose request waits.
    """

    def __init__(self, most: int, spare: int) -> None:
        self._most = most
        self._spare = spare
        self._served = 0
        self._logged = -inf
        self._others: dict[Guest, None] = {}  # idle ones, the oldest first
        self._waiting: dict[Guest, AsyncResult[bool]] = {}  # for their turn to be served

    def enter(self, guest: Guest) -> None:
        """Add a new connection; if there are too many, the one that has been idle longest gives way."""
        if len(self._others) + len(self._waiting) + self._served >= self._most + self._spare:
            self.make_room()
        self._others[guest] = None

    def make_room(self) -> bool:
        """Make one give way, and return whether there was one. The last waiting one goes only if none is idle."""
        if monotonic() >= self._logged + LOG_EVERY:
            self._logged = monotonic()
            log.warning('there are too many connections: those that have asked nothing for the longest time give way')
        if self._others:
            guest = next(iter(self._others))
            del self._others[guest]
            guest.give_way()
            return True
        if self._waiting:
            guest, turn = self._waiting.popitem()
            guest.give_way()
            turn.set(False)
            return True
        return False

    def take(self, guest: Guest, seconds: float) -> None:
        """Wait for a turn to be served, and take it.

        :raises Unavailable: if there is none within so many seconds, or this connection had to give way.
        """
        self._others.pop(guest, None)
        if self._served < self._most:
            self._served += 1
            return
        turn = self._waiting[guest] = AsyncResult()
        try:
            turn.wait(seconds)
        except BaseException:
            if turn.ready() and turn.value:
                self._pass_on()
            raise
        finally:
            self._waiting.pop(guest, None)
        if not turn.value:
            if not turn.ready():
                self._others[guest] = None
            raise Unavailable(
                f'{self._most} requests are served at once, and all of them take long',
                Retry_After='1',
                Connection='close',
            )

    def give(self, guest: Guest) -> None:
        """Give the turn back; the request has been answered."""
        self._others[guest] = None
        self._pass_on()

    def _pass_on(self) -> None:
        for guest in self._waiting:
            self._waiting.pop(guest).set(True)
            return
        self._served -= 1

    def leave(self, guest: Guest) -> None:
        """Remove a connection that is closed."""
        self._others.pop(guest, None)
