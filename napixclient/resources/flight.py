"""A request on its way to one host, and what its outcome says about the host."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from .. import messages
from .._http.connect.connector import NoDescriptors
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
from .figures import Figures
from .health import Health
from .policy import Load
from .resource import Response, outcome_of

__all__ = ['Flight', 'is_failure', 'is_our_own']

#: Statuses of a server that could not do its work, though another server may (RFC 9110 §15.6.3 to §15.6.5).
FAILED = frozenset([502, 503, 504])


class Host(Protocol):
    """The host of a flight, of which the outcome says something."""

    health: Health
    load: Load
    figures: Figures


class Flight:
    """A request that is under way to one host, for one caller or for several who ask the same.

    :param probe: whether it finds out if the host is up again.
    :param users: the callers who wait for it.
    """

    #: Whether several callers may wait for it, so that it has no clock of its own.
    shared = False
    __slots__ = ('_accounted', '_began', '_host', '_probe', 'pending', 'users')

    def __init__(self, host: Host, pending: PendingResponse, probe: bool, users: int) -> None:
        self._host = host
        self._probe = probe
        self._began = monotonic()
        self._accounted = False
        self.pending: PendingResponse = pending
        #: Callers who wait for it.
        self.users: int = users
        pending.rawlink(self.account)

    @property
    def sent(self) -> bool:
        """Whether any of it may have reached the host."""
        return self.pending.sent

    @property
    def outcome(self) -> Response | HTTPError:
        """A response of any status, or the error for which there is none."""
        return outcome_of(self.pending)

    def leave(self) -> None:
        """One caller stops waiting for it; the last one to leave cancels it."""
        self.users -= 1
        if self.users:
            return
        if not self.pending.ready():
            self._host.load.gave_up(monotonic() - self._began)
            self.pending.cancel()
        self.account()

    def give_up(self) -> None:
        """The caller stops waiting for it, because another host was faster.

        The time so far counts as its latency, which it is at least: without it slow answers would seem rare.
        """
        if not self._accounted and not self.pending.ready() and self.users == 1:
            self._note(monotonic() - self._began)
        self.leave()

    def account(self, _: object = None) -> None:
        """Learn from its outcome, once."""
        outcome = self.pending.outcome
        if self._accounted or outcome is None:
            return
        self._accounted = True
        health, load = self._host.health, self._host.load
        load.in_flight -= 1
        seconds = monotonic() - self._began
        if is_our_own(outcome):
            if self._probe:
                health.probe_lost()
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
            # Time in our queue and for a connection is left out: requests in flight are counted by themselves.
            load.answered(outcome.elapsed or seconds)
            self._host.figures.load.answered(outcome.elapsed or seconds)

    def _note(self, seconds: float) -> None:
        if self.pending.request.method in IDEMPOTENT:
            self._host.figures.hedging.note(seconds)


def is_failure(outcome: messages.Response | HTTPError) -> bool:
    """Whether there is no answer, or the server says that it could not do its work."""
    if outcome.status is not None and not isinstance(outcome, HTTPError):
        return outcome.status in FAILED
    return not isinstance(outcome, RemoteError) or outcome.status in FAILED


def is_our_own(outcome: messages.Response | HTTPError) -> bool:
    """Whether a failure is our own, so that it says nothing about the host."""
    return type(outcome) is HTTPError or isinstance(outcome, (Cancelled, QueueTimeout, NoDescriptors, BodyTooLarge))
