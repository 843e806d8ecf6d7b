"""Remembers nonces, to detect replayed requests."""

from __future__ import annotations

import math
from hashlib import blake2b
from heapq import heappop, heappush
from sys import intern
from typing import TYPE_CHECKING, Protocol

from gevent.monkey import get_original

from .refusals import Overloaded, denied

if TYPE_CHECKING:
    from threading import Lock

__all__ = ['NonceStore', 'Nonces']


class NonceStore(Protocol):
    """Remembers nonces."""

    def take(self, login: str, nonce: str, end: float, now: float) -> None:
        """Use a nonce.

        :param nonce: the nonce as it was sent, read as latin-1.
        :param end: until when it must be remembered, in seconds since the epoch.
        :param now: the present time, in seconds since the epoch.
        :raises Refusal: of :mod:`napixclient.wsgi.refusals`, such as ``denied('…')``, if it was used before or cannot
            be remembered.
        """


class Nonces:
    """Remembers each nonce for as long as its timestamp is in the window. Threads may share it.

    :param most: nonces to remember at most.
    """

    #: Nonces to forget at a time, so that no request has to wait until those of a busy hour are forgotten.
    _BATCH = 64

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, set[bytes]] = {}  # by login
        self._ends: list[tuple[float, bytes, str]] = []  # a heap: when which is forgotten
        self._forgotten = -math.inf
        # The real lock even in a patched process, because gevent's may hang for ever between threads. Greenlets need
        # none, because nothing switches while it is held.
        self._lock: Lock = get_original('_thread', 'allocate_lock')()

    def __len__(self) -> int:
        return len(self._ends)

    def take(self, login: str, nonce: str, end: float, now: float) -> None:
        """Use a nonce.

        :param end: until when it must be remembered, in seconds since the epoch.
        :raises Refusal: if it was used before, or cannot be remembered.
        """
        digest = blake2b(nonce.encode('latin-1'), digest_size=16).digest()  # of one size, however long it is
        with self._lock:
            self._forget(now)
            used = self._used.get(login) or set()
            # If the clock was set back, a nonce may be as old as those that are forgotten.
            if digest in used or end <= self._forgotten:
                raise denied('the nonce was used before')
            if len(used) >= self._most - len(self._ends):
                raise Overloaded(self._ends[0][0] - now)
            login = intern(login)
            self._used.setdefault(login, used).add(digest)
            heappush(self._ends, (end, digest, login))

    def _forget(self, now: float) -> None:
        for _ in range(self._BATCH):
            if not self._ends or self._ends[0][0] >= now:
                break
            self._forgotten, digest, login = heappop(self._ends)
            used = self._used[login]
            used.remove(digest)
            if not used:
                del self._used[login]
