"""Which connections are served at once, which wait for their turn, and which give way.

A connection costs little while nothing has been asked over it, so more of those are open than are served; and whoever
connects is always let in, in the place of the one that has asked nothing for the longest time. So a thousand slow
clients do not keep anybody from asking whether the service lives.
"""

from __future__ import annotations

import logging
from math import inf
from time import monotonic
from typing import Protocol

from gevent.event import AsyncResult

from .problems import Unavailable

__all__ = ['Guest', 'Places']

log: logging.Logger = logging.getLogger('napixclient.service')
#: Seconds between two words about it.
TELL_EVERY = 10.0


class Guest(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Read nothing more: somebody else needs the place."""


class Places:
    """The places for the connections of one server.

    :param most: requests that are served at once.
    :param spare: connections beside them, over which nothing is asked, or whose request waits.
    """

    def __init__(self, most: int, spare: int) -> None:
        self._most = most
        self._spare = spare
        self._served = 0
        self._told = -inf
        self._others: dict[Guest, None] = {}  # over which nothing is asked; the oldest first
        self._waiting: dict[Guest, AsyncResult[bool]] = {}  # for their turn to be served

    def enter(self, guest: Guest) -> None:
        """A new connection; if there are too many, the one that has been idle for the longest time gives way."""
        if len(self._others) + len(self._waiting) + self._served >= self._most + self._spare:
            self.make_room()
        self._others[guest] = None

    def make_room(self) -> bool:
        """Have one give way, of those that wait the last only where there is no other; whether one can."""
        if monotonic() >= self._told + TELL_EVERY:
            self._told = monotonic()
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
        """Be served from now on, as soon as there is a place.

        :raises Unavailable: when there is none for so long, or this one had to give way.
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
        """The request has been answered."""
        self._others[guest] = None
        self._pass_on()

    def _pass_on(self) -> None:
        for guest in self._waiting:
            self._waiting.pop(guest).set(True)
            return
        self._served -= 1

    def leave(self, guest: Guest) -> None:
        """The connection is closed."""
        self._others.pop(guest, None)
