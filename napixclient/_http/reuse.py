"""Whether a used connection may carry another request: what was seen of how its server closes connections.

A server may close a connection whenever it likes (RFC 9112 §9.5), and many close after an answer without announcing
it. A request that may be sent once more finds that out at no price; any other must not, for nobody can tell whether it
arrived. So while little is known of an origin, such a request goes over a connection that has been quiet for a while,
or that none other has come further than, or over a fresh one.

Nothing here does I/O.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from .http1.usage import Usage

__all__ = ['QUIET_SECONDS', 'Fitness', 'Reuse']

#: Seconds after an answer within which a server closes that does not mean to keep the connection.
QUIET_SECONDS = 0.05
#: Answers over one connection after which an origin is known to keep them: for what may be sent twice, for the rest.
KEPT, SURELY_KEPT = 8, 32
#: Of so many connections that are taken to be at their end, one is tried once more.
_PROBE = 8
#: Unannounced closes after which also those that may be sent twice rather go over a fresh connection.
_ENOUGH = 3
#: Requests that go over fresh connections before an origin that closes is looked at anew; twice as many after each that
#: was lost, up to the last of these.
_PATIENCE, _AFTER_LOSS, _MOST = 32, 64, 1024


class Fitness(Enum):
    """Whether a free connection is fit for a request, and what to do where it is not."""

    GO = 'send it over this connection'
    FRESH = 'give this connection up and open another'
    WAIT = 'see first whether the server leaves this one open'


class Used(Protocol):
    """A connection, as far as that depends on it."""

    usage: Usage

    @property
    def closed(self) -> bool:
        """Whether it is closed."""

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""


class Reuse:
    """What is known of one origin."""

    __slots__ = ('_fresh_left', '_limit', '_patience', '_probes', '_scout', '_seen', 'deepest', 'kept')

    def __init__(self) -> None:
        #: Whether it is known to keep connections, so that there is nothing to ask.
        self.kept: bool = False
        #: Answers that one of its connections has brought; as many are waited for over no other one.
        self.deepest: int = 0
        self._limit: int | None = None  # answers after which it has been seen to close unannounced
        self._seen = 0  # how often
        self._scout: Used | None = None  # the one connection that goes ahead with what cannot be sent twice
        self._probes = 0
        self._patience = _AFTER_LOSS
        self._fresh_left = 0  # of those that cannot be sent twice: so many go over fresh connections

    def fitness(self, connection: Used, repeatable: bool, now: float) -> Fitness:
        """Whether a connection that has brought answers may carry another request.

        :param repeatable: whether the request may be sent once more if the server turns out to have closed.
        :param now: of ``time.monotonic()``.
        """
        usage = connection.usage
        if usage.quiet_for(now) >= QUIET_SECONDS:
            self._scout = self._scout if self._scouted else connection
            return Fitness.GO
        served = usage.served
        if repeatable:
            self._note_kept(served)
            return Fitness.GO if self._limit is None else self._beyond(served, self._limit)
        if self._fresh_left:
            self._fresh_left -= 1
            return Fitness.FRESH
        if usage.doubtful:
            return Fitness.WAIT
        if self.kept:
            return Fitness.GO
        self._note_kept(served, SURELY_KEPT)
        if served < self.deepest:  # as far as another one has come
            return Fitness.GO
        if served > 1 and (connection is self._scout or not self._scouted):
            self._scout = connection
            self.deepest = served
            return Fitness.GO
        return Fitness.WAIT

    @property
    def _scouted(self) -> bool:
        return self._scout is not None and not self._scout.closed and not self._scout.idle

    def _note_kept(self, served: int, enough: int = KEPT) -> None:
        if served >= SURELY_KEPT:  # whatever was seen before: it keeps them now
            self._limit, self._seen, self._fresh_left = None, 0, 0
        if served >= enough and self._limit is None and not self._fresh_left:
            self.kept = True
            self._scout = None

    def _beyond(self, served: int, limit: int) -> Fitness:
        """For what may be sent twice: up to the limit, and now and then beyond it, which raises it."""
        if served > limit:
            self._limit = limit * 4 if limit * 4 <= KEPT else None
            self._seen = 0 if self._limit is None else self._seen
            return Fitness.GO
        if served < limit or self._seen < _ENOUGH:
            return Fitness.GO
        self._probes += 1
        return Fitness.FRESH if self._probes % _PROBE else Fitness.GO

    def closed(self, served: int, lost: bool) -> None:
        """The origin closed a connection after so many answers, without announcing it.

        :param lost: whether a request was lost that could not be sent once more.
        """
        self._fresh_left = max(self._fresh_left, _PATIENCE)
        if lost:
            self._fresh_left = self._patience
            self._patience = min(2 * self._patience, _MOST)
        self._limit = served if self._limit is None else min(self._limit, served)
        self._seen += 1
        self.kept, self._scout, self.deepest = False, None, 0

    def announced(self) -> None:
        """The origin kept a connection for more than one answer, and announced the close."""
        if self._limit is None and not self._fresh_left:
            self.kept = True
