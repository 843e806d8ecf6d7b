"""Keeps the addresses of names for the time to live (TTL) that the resolver returns; each name is looked up once."""

from __future__ import annotations

import errno
import os
from math import isfinite
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.event import Event

from ...checks import is_number
from ...errors import HTTPError, NameResolutionError
from ...masking import mask
from ..options import Resolver
from .happy_eyeballs import Address, by_turns, is_limit, literal_family
from .resolvers import lookups

__all__ = ['Counts', 'LookupWaiter', 'NameCache']

#: Seconds for which the addresses of a name are remembered, where the resolver says nothing of it.
NAME_SECONDS = 30.0
#: Seconds after which a look-up has failed, whoever still waits for it.
LOOKUP_SECONDS = 30.0
_MAX_NAMES = 4096
#: Of ``getaddrinfo`` (EAI_*), and of c-ares, which numbers otherwise: there is no such name, or it has no address.
_NOT_FOUND = frozenset([socket.EAI_NONAME, socket.EAI_NODATA, 1, 4])


class Counts:
    """What was looked up for one host."""

    __slots__ = ('count', 'failed', 'seconds')
    count: int
    failed: int

    def __init__(self) -> None:
        self.count = self.failed = 0
        self.seconds: float = 0.0


class LookupWaiter(Protocol):
    """Who needs the addresses of a name, and waits for them."""

    @property
    def counts(self) -> Counts:
        """Where its look-ups are counted."""

    def lookup_started(self, name: str, takes_turn: bool) -> None:
        """It waits for a look-up from now on.

        :param takes_turn: whether it keeps its turn to connect meanwhile.
        """

    def lookup_done(self) -> None:
        """The look-up is over; blocks until there is another turn."""


class NameCache:
    """The names of one pool, and who waits for them.

    :param resolver: the caller's own, or ``None``.
    """

    def __init__(self, resolver: Resolver | None) -> None:
        self._resolver = resolver
        self._known: dict[tuple[str, int], _Entry] = {}

    def addresses(self, host: str, port: int, waiter: LookupWaiter) -> list[Address]:
        """The addresses to try; look-ups of one name at the same time are one look-up.

        :raises NameResolutionError: when there are none.
        :raises OSError: when the process may open no more files.
        """
        family = literal_family(host)
        if family is not None:
            return [(family, (host, port))]
        key = host, port
        entry = self._known.get(key)
        if entry is None or not entry.is_good:
            if len(self._known) >= _MAX_NAMES:
                self._known.clear()
            entry = self._known[key] = _Entry()
            # Its own greenlet: who asked first may be killed.
            entry.greenlet = gevent.spawn(self._look_up, key, entry, waiter.counts)
        if not entry.over.is_set():
            waiter.lookup_started(host, takes_turn=self._resolver is not None)
            entry.waiting += 1
            try:
                entry.over.wait()
            finally:
                entry.waiting -= 1
                if not entry.waiting and not entry.over.is_set():
                    self._give_up(key, entry)
            waiter.lookup_done()
        exc = entry.failure
        if exc is None:
            return list(entry.addresses)
        if is_limit(exc):
            raise exc
        raise _failure(host, exc) from exc

    def _give_up(self, key: tuple[str, int], entry: _Entry) -> None:
        """Nobody waits for a look-up any more: end it where it has a thread, or waits for one, which others need."""
        if self._resolver is None and entry.greenlet in lookups().threads.callers:
            if self._known.get(key) is entry:
                del self._known[key]
            entry.greenlet.kill(block=False)

    def crowd(self) -> str:
        """Why a look-up may have had to wait for a thread; empty where it had not."""
        return '' if self._resolver is not None else lookups().threads.crowd

    def forget(self) -> None:
        """In the child of a fork: the greenlets that look names up are in the parent."""
        self._known.clear()

    def _look_up(self, key: tuple[str, int], entry: _Entry, counts: Counts) -> None:
        counts.count += 1
        began = monotonic()
        clock = gevent.Timeout(LOOKUP_SECONDS)
        clock.start()
        try:
            find = self._resolver or lookups().find
            found, ttl = _answer(find(*key))
            entry.addresses = by_turns(found)
            if not entry.addresses:
                raise OSError(errno.EADDRNOTAVAIL, 'no address')
            entry.expires = monotonic() + ttl
        except BaseException as exc:  # a gevent.Timeout of the resolver's own, too
            clock.close()
            counts.failed += 1
            entry.failure = _LookupTimeout() if exc is clock else _cause_of(exc)
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            clock.close()
            entry.over.set()
            counts.seconds += monotonic() - began


class _Entry:
    """What is known of a name, or going to be."""

    __slots__ = ('addresses', 'expires', 'failure', 'greenlet', 'over', 'waiting')

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.expires = 0.0
        self.greenlet: Any = None  # of the look-up
        self.waiting = 0  # greenlets that wait for it
        self.failure: BaseException | None = None
        self.over = Event()  # AsyncResult may need a descriptor to keep a failure

    @property
    def is_good(self) -> bool:
        """Whether no new look-up is needed: its addresses have not expired, or a look-up is under way."""
        return not self.over.is_set() or (self.failure is None and monotonic() < self.expires)


class _LookupTimeout(Exception):
    """A look-up did not end in its own time."""


def _answer(found: Any) -> tuple[Any, float]:
    """What a resolver returned: a list, or a pair of a list and the seconds for which it is good."""
    if not isinstance(found, tuple) or len(found) != 2 or isinstance(found[1], (tuple, list)):
        return found, NAME_SECONDS
    found, ttl = found
    if not is_number(ttl) or not isfinite(ttl) or ttl < 0:
        raise ValueError(f'a resolver returns a list of addresses, or (list, seconds); not {ttl!r} seconds')
    return found, ttl


def _cause_of(exc: BaseException) -> BaseException:
    """The failure, or the lack of descriptors behind it: a resolver that can open no socket may report anything."""
    if isinstance(exc, socket.gaierror):
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as lack:
            return lack
    return exc


def _failure(host: str, exc: BaseException) -> HTTPError:
    if isinstance(exc, NameResolutionError):
        return type(exc)(exc.message, phase='connect')
    if isinstance(exc, _LookupTimeout):
        text = f'the look-up did not end within {LOOKUP_SECONDS:g} s'
    elif isinstance(exc, socket.gaierror):
        known = 'no such name, or it has no address' if exc.errno in _NOT_FOUND else 'the resolver failed for now'
        text = f'{known}: {exc.strerror or exc}'
    else:  # the system's words, or those of the caller's resolver
        text = (str(exc) if isinstance(exc, OSError) else mask(str(exc))) or type(exc).__name__
    return NameResolutionError(f'cannot resolve {host}: {text}', phase='connect')
