"""Keeps the addresses of names as long as the TTL says that their resolver returns; each name is looked up once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from math import isfinite
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.event import Event
from gevent.hub import get_hub

from ...checks import is_number
from ...errors import HTTPError, NameResolutionError
from ...masking import mask
from ..options import Resolver
from .happy_eyeballs import Address, by_turns, is_limit, literal_family
from .resolvers import lookups

__all__ = ['Counts', 'Lookup', 'LookupWaiter', 'NameCache']

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


class Lookup:
    """What is known of a name, or going to be."""

    __slots__ = ('_addresses', '_expires', '_failure', 'began', 'greenlet', 'key', 'links', 'over', 'timer')

    def __init__(self, key: tuple[str, int]) -> None:
        self.key: tuple[str, int] = key  # host and port
        self._addresses: tuple[Address, ...] = ()  # which the garbage collector need not look at
        self._expires = 0.0
        self._failure: BaseException | None = None
        self.began: float = monotonic()
        self.over: bool = False
        #: Called when it is over, in a turn of the loop of their own; nobody else waits for it.
        self.links: dict[Callable[[], object], None] = {}
        #: The greenlet that it runs in, if it needs one, and what ends it after a while, if it has none.
        self.greenlet: Any = None
        self.timer: Any = None

    @property
    def is_good(self) -> bool:
        """Whether no new look-up is needed: its addresses have not expired, or it is under way."""
        return not self.over or (self._failure is None and monotonic() < self._expires)

    def succeed(self, found: Any, seconds: float) -> None:
        """Keep the addresses.

        :raises OSError: when there are none.
        :raises ValueError: when one of them is none.
        """
        self._addresses = tuple(by_turns(found))
        if not self._addresses:
            raise OSError(errno.EADDRNOTAVAIL, 'no address')
        self._expires = monotonic() + seconds

    def fail(self, exc: BaseException) -> None:
        """Keep why there are none."""
        self._failure = _cause_of(exc)

    def result(self) -> list[Address]:
        """The addresses to try, once it is over.

        :raises NameResolutionError: when there are none.
        :raises OSError: when the process may open no more files.
        """
        exc = self._failure
        if exc is None:
            return list(self._addresses)
        if is_limit(exc):
            raise exc
        raise _failure(self.key[0], exc) from exc


class NameCache:
    """The names of one pool, and who waits for them.

    :param resolver: the caller's own, or ``None``.
    """

    def __init__(self, resolver: Resolver | None) -> None:
        self._resolver = resolver
        self._known: dict[tuple[str, int], Lookup] = {}
        #: Whether a look-up counts as a connection that is being opened: the caller's own may not support many at once.
        self.take_turns: bool = resolver is not None

    def addresses(self, host: str, port: int, waiter: LookupWaiter) -> list[Address]:
        """The addresses to try; look-ups of one name at the same time are one look-up. Blocks the calling greenlet.

        :raises NameResolutionError: when there are none.
        :raises OSError: when the process may open no more files.
        """
        family = literal_family(host)
        if family is not None:
            return [(family, (host, port))]
        lookup = self.look_up(host, port, waiter.counts)
        if not lookup.over:
            waiter.lookup_started(host, self.take_turns)
            over = Event()  # AsyncResult may need a descriptor to keep a failure
            lookup.links[over.set] = None
            try:
                over.wait()
            finally:
                self.leave(lookup, over.set)
            waiter.lookup_done()
        return lookup.result()

    def look_up(self, host: str, port: int, counts: Counts) -> Lookup:
        """Begin to look a name up, or join who does; it may be over already."""
        key = host, port
        lookup = self._known.get(key)
        if lookup is None or not lookup.is_good:
            if len(self._known) >= _MAX_NAMES:
                self._known.clear()
            lookup = self._known[key] = Lookup(key)
            counts.count += 1
            self._begin(lookup, counts)
        return lookup

    def leave(self, lookup: Lookup, link: Callable[[], object]) -> None:
        """Wait no more. A look-up that nobody waits for is ended where it has a thread, or waits for one."""
        lookup.links.pop(link, None)
        if lookup.links or lookup.over or self._resolver is not None or lookup.greenlet is None:
            return
        if lookup.greenlet in lookups().threads.callers:
            if self._known.get(lookup.key) is lookup:
                del self._known[lookup.key]
            lookup.greenlet.kill(block=False)

    def crowd(self) -> str:
        """Why a look-up may have had to wait for a thread; empty where it had not."""
        return '' if self._resolver is not None else lookups().threads.crowd

    def forget(self) -> None:
        """In the child of a fork: what looks names up is in the parent."""
        for lookup in self._known.values():
            if lookup.timer is not None:
                lookup.timer.stop()
        self._known.clear()

    def _begin(self, lookup: Lookup, counts: Counts) -> None:
        """On the loop where nothing blocks; else in a greenlet of its own, as who asked first may be killed."""

        def done(found: Any, failure: BaseException | None) -> None:
            if not lookup.over:
                self._end(lookup, counts, found, NAME_SECONDS, failure)

        try:
            on_loop = self._resolver is None and lookups().start(*lookup.key, done)
        except (OSError, HTTPError, ValueError) as exc:
            self._end(lookup, counts, (), 0.0, exc)
            return
        if on_loop:
            lookup.timer = get_hub().loop.timer(LOOKUP_SECONDS, ref=False)  # c-ares keeps the loop alive
            lookup.timer.start(done, (), _LookupTimeout())
        else:
            greenlet = lookup.greenlet = gevent.spawn(self._find, lookup, counts)
            # One that somebody killed before it began has told nobody.
            greenlet.rawlink(lambda ended: done((), ended.exception or ended.value))

    def _find(self, lookup: Lookup, counts: Counts) -> None:
        """In a greenlet."""
        clock = gevent.Timeout(LOOKUP_SECONDS)
        clock.start()
        found: Any = ()
        ttl, failure = 0.0, None
        try:
            find = self._resolver or lookups().find
            found, ttl = _answer(find(*lookup.key))
        except BaseException as exc:  # a gevent.Timeout of the resolver's own, too
            failure = _LookupTimeout() if exc is clock else exc
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            clock.close()
            self._end(lookup, counts, found, ttl, failure)

    def _end(self, lookup: Lookup, counts: Counts, found: Any, seconds: float, failure: BaseException | None) -> None:
        """Keep the outcome, and call who waits for it."""
        try:
            if failure is not None:
                raise failure
            lookup.succeed(found, seconds)
        except BaseException as exc:
            counts.failed += 1
            lookup.fail(exc)
        lookup.over = True
        lookup.greenlet = None
        counts.seconds += monotonic() - lookup.began
        if lookup.timer is not None:
            lookup.timer.stop()
            lookup.timer.close()
            lookup.timer = None
        links, lookup.links = lookup.links, {}
        for link in links:
            get_hub().loop.run_callback(link)


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
