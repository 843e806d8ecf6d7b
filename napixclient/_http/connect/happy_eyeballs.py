"""Connects to one of several addresses: the families by turns, and raced (RFC 8305).

The sockets are dialled side by side in the calling greenlet, so whoever kills it closes them all.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import zip_longest
from select import POLLOUT
from typing import cast

import gevent
from gevent import socket, ssl
from gevent.select import poll

from ..gevent_types import Loop, Socket, Watcher
from .attempts import Attempts, InternetAddress
from .local_end import LocalEnd, LocalEndError, dial

__all__ = ['Address', 'Found', 'LoopConnect', 'by_turns', 'is_limit', 'literal_family', 'race']

Address = tuple[int, InternetAddress]  # with its family
#: As ``getaddrinfo`` tells of one.
Found = tuple[int, int, int, str, InternetAddress]

#: Milliseconds that an address has before the next one is tried beside it: RFC 8305 §5.
HEAD_START = 250
#: Failures for which no address is to blame: the process has no descriptors or memory left.
LIMITS = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
_NUMBERED_OTHERWISE = (socket.gaierror, socket.herror, ssl.SSLError)
#: The machine has no way to that address, often because it has no IPv6 at all: other failures tell more.
_NO_WAY = frozenset([errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])


def is_limit(exc: BaseException | None) -> bool:
    """Whether the process has no descriptors or memory left.

    The errno of a resolver's failure is of another numbering, c-ares's or EAI_*, and so is that of TLS.
    """
    return isinstance(exc, OSError) and not isinstance(exc, _NUMBERED_OTHERWISE) and exc.errno in LIMITS


@lru_cache(4096)
def literal_family(host: str) -> int | None:
    """The address family of a literal; it needs no look-up."""
    if ':' in host:
        return socket.AF_INET6 if '%' not in host else None
    if not host[-1:].isdecimal():
        return None  # as most names
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    return socket.AF_INET


def by_turns(found: Iterable[Found]) -> list[Address]:
    """What ``getaddrinfo`` returned: each address once, the families by turns, the first one's first (RFC 8305 §4).

    :raises ValueError: for what is none, and for a name among them: to look it up would hold the hub.
    """
    families: dict[int, dict[Address, None]] = {}
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise ValueError(f'a resolver returns a list of 5-tuples as socket.getaddrinfo does, not {found!r}')
    for one in found:
        try:
            family, _, _, _, address = one
        except (TypeError, ValueError):
            raise ValueError(f'a resolver returns 5-tuples as socket.getaddrinfo does, not {one!r}') from None
        if literal_family(address[0]) is None and '%' not in address[0]:
            raise ValueError(f'{address[0]!r} is not an address')
        families.setdefault(family, {})[family, cast(InternetAddress, tuple(address))] = None
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


def _ignore(sock: Socket | None, failure: OSError | None) -> None:
    """Nobody waits for the connection any more."""


class LoopConnect:
    """A socket that is being connected on the loop, without a greenlet.

    :param loop: gevent's.
    :param local_end: where it comes from.
    :param attempts: notes what is tried.
    :param done: called with the connected socket, or with why there is none.
    :raises OSError: when it fails at once.
    """

    __slots__ = ('_done', '_sock', '_watcher')

    def __init__(
        self,
        loop: Loop,
        address: Address,
        local_end: LocalEnd,
        attempts: Attempts,
        done: Callable[[Socket | None, OSError | None], object],
    ) -> None:
        self._done = done
        self._sock = dial(*address, local_end, attempts)
        self._watcher: Watcher = loop.io(self._sock.fileno(), 2)
        self._watcher.start(self._writable)

    def _writable(self) -> None:
        """The loop says that the socket is connected, or will never be."""
        failure, done = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), self._done
        self._close_watcher()
        if failure:
            self._sock.close()
            done(None, OSError(failure, os.strerror(failure)))
        else:
            done(self._sock, None)

    def _close_watcher(self) -> None:
        self._done = _ignore  # what it would call holds this: no circle is left to the garbage collector
        self._watcher.stop()
        self._watcher.close()

    def close(self) -> None:
        """Give it up."""
        self._close_watcher()
        self._sock.close()


def race(addresses: list[Address], local_end: LocalEnd, attempts: Attempts) -> socket.socket:
    """A gevent socket to the first of the addresses that takes the connection; the others are closed.

    The next one is tried when the one before has failed, or has not succeeded for a while (RFC 8305 §5).

    :param attempts: notes which are tried, and which one takes it.
    :raises OSError: when none does: the most telling failure.
    """
    waiting = addresses[::-1]
    dialled: dict[int, tuple[_socket.socket, InternetAddress]] = {}  # by descriptor
    attempts.begin()
    failures: list[OSError] = []
    poller = poll()
    try:
        while waiting or dialled:
            if waiting:
                family, place = waiting.pop()
                try:
                    sock = dial(family, place, local_end, attempts)
                except LocalEndError:
                    raise
                except OSError as exc:
                    failures.append(exc)
                    gevent.sleep(0)  # there may be thousands, and all may fail at once
                    continue
                dialled[sock.fileno()] = sock, place
                poller.register(sock, POLLOUT)
            for number, _ in poller.poll(HEAD_START if waiting else None):
                sock, place = dialled.pop(number)
                poller.unregister(number)
                failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not failure:
                    attempts.reached(place)
                    return socket.socket(sock.family, socket.SOCK_STREAM, 0, fileno=sock.detach())
                sock.close()
                failures.append(OSError(failure, os.strerror(failure)))
        raise _worst(failures)
    finally:
        for sock, _ in dialled.values():
            sock.close()


def _worst(failures: list[OSError]) -> OSError:
    """The process's own limit, else refused only where all were that can be reached at all."""
    for exc in failures:
        if is_limit(exc):
            return exc
    telling = [exc for exc in failures if exc.errno not in _NO_WAY] or failures
    others = [exc for exc in telling if exc.errno != errno.ECONNREFUSED]
    return (others or telling or [OSError(errno.EADDRNOTAVAIL, 'the name has no address')])[0]
