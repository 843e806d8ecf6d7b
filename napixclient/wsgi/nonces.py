"""The memory of nonces, which tells a request that is sent twice."""

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
    """What remembers nonces."""

    def take(self, login: str, nonce: str, end: float, now: float) -> None:
        """Use a nonce.

        :param nonce: what was sent, as latin-1.
        :param end: seconds since the epoch, until when it is remembered.
        :raises Refusal: of :mod:`napixclient.wsgi.refusals`, such as ``denied('…')``, where it was used before, or
            cannot be remembered.
        """


class Nonces:
    """The nonces that were used, each for as long as its timestamp is in the window. Safe to share between threads."""

    #: Forgotten at a time, at most: nobody waits for the nonces of a busy hour.
    _BATCH = 64

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, set[bytes]] = {}  # by login
        self._ends: list[tuple[float, bytes, str]] = []  # a heap: when which is forgotten
        self._forgotten = -math.inf
        # The real lock, also in a patched process: that of gevent may hang for ever between threads. Greenlets do not
        # need one, for nothing switches while it is held.
        self._lock: Lock = get_original('_thread', 'allocate_lock')()

    def __len__(self) -> int:
        return len(self._ends)

    def take(self, login: str, nonce: str, end: float, now: float) -> None:
        """Use a nonce.

        :param end: seconds since the epoch, until when it is remembered.
        :raises Refusal: where it was used before, or cannot be remembered.
        """
        digest = blake2b(nonce.encode('latin-1'), digest_size=16).digest()  # of one size, however long it is
        with self._lock:
            self._forget(now)
            used = self._used.get(login) or set()
            # A clock that was set back lets in what is as old as those that are forgotten.
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
