"""A request that is under way to one host, and what its outcome tells of the host."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from .._http.connect.connector import NoPlace
from .._http.pending import PendingResponse
from ..errors import (
    BodyTooLarge,
    Cancelled,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    QueueTimeout,
    RemoteError,
    Timeout,
)
from ..messages import IDEMPOTENT
from .resource import Response, outcome_of

if TYPE_CHECKING:
    from .replica import Replica

__all__ = ['Flight', 'is_failure', 'is_our_own']

#: Statuses of a server that could not do its work, so that another may (RFC 9110 §15.6.3 to §15.6.5).
FAILED = frozenset([502, 503, 504])


class Flight:
    """A request that is under way to one host, for one caller or for several who ask the same.

    :param probe: whether it is the one that tells whether the host is up again.
    :param users: the callers who wait for it.
    """

    #: Whether it has no clock of its own, as others may wait for it.
    shared = False
    __slots__ = ('_began', '_probe', '_replica', 'over', 'pending', 'users')

    def __init__(self, replica: Replica, pending: PendingResponse, probe: bool, users: int) -> None:
        self._replica = replica
        self._probe = probe
        self._began = monotonic()
        self.pending = pending
        #: Callers who wait for it.
        self.users = users
        #: Whether it was accounted for.
        self.over = False
        pending.rawlink(self.account)

    @property
    def outcome(self) -> Response | HTTPError:
        """A response of any status, or the error for which there is none."""
        return outcome_of(self.pending)

    def leave(self) -> None:
        """A caller does not wait for it any longer; the last one ends it."""
        self.users -= 1
        if self.users:
            return
        if self.pending.outcome is None:
            self._replica.load.waited(monotonic() - self._began)
            self.pending.cancel()
        self.account()

    def give_up(self) -> None:
        """The caller does not wait for it any longer, as another host was faster.

        Its time so far is the least that it would have taken: to leave it out would make slow answers seem rare.
        """
        if not self.over and self.pending.outcome is None and self.users == 1:
            self._note(monotonic() - self._began)
        self.leave()

    def account(self, _: Any = None) -> None:
        """Learn from its outcome, once."""
        outcome = self.pending.outcome
        if self.over or outcome is None:
            return
        self.over = True
        health, load = self._replica.health, self._replica.load
        load.in_flight -= 1
        seconds = monotonic() - self._began
        if is_our_own(outcome):
            if self._probe:
                health.abandon()
            return
        if is_failure(outcome):
            late = isinstance(outcome, Timeout) and monotonic() >= self.pending.deadline
            health.failed(
                self._began, probe=self._probe, late=late, dead=isinstance(outcome, (ConnectError, ConnectTimeout))
            )
        else:
            health.succeeded()
            self._note(seconds)
        if is_failure(outcome) or (outcome.status or 0) >= 500:
            load.failed(seconds)
        else:
            # Without the time for a connection and in our own queue: what is in flight counts by itself.
            load.answered(outcome.elapsed or seconds)
            self._replica.figures.load.answered(outcome.elapsed or seconds)

    def _note(self, seconds: float) -> None:
        if self.pending.request.method in IDEMPOTENT:
            self._replica.figures.hedging.note(seconds)


def is_failure(outcome: Any) -> bool:
    """Whether there is no answer, or one of a server that could not do its work."""
    if outcome.status is not None and not isinstance(outcome, HTTPError):
        return outcome.status in FAILED
    return not isinstance(outcome, RemoteError) or outcome.status in FAILED


def is_our_own(outcome: Any) -> bool:
    """Whether a failure is our own, and tells nothing of the host."""
    return type(outcome) is HTTPError or isinstance(outcome, (Cancelled, QueueTimeout, NoPlace, BodyTooLarge))
