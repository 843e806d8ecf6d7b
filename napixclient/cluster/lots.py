"""What a submitter knows of its requests: each on its own, in the lot it was published with, and in its lane."""

from __future__ import annotations

from typing import Protocol

from .._http.pending import Completer, PendingResponse
from ..call_context import CallContext
from ..errors import Phase

__all__ = ['Entry', 'Lane', 'Lot', 'Tracker']


class Tracker(Completer, Protocol):
    """Who has the entries."""

    def forget(self, entry: Entry) -> None:
        """The request has an outcome, or is about to: nobody waits for a worker any more."""

    def recall(self, entry: Entry) -> None:
        """The request is not to be sent, if it is not yet; the worker says what became of it."""


class Entry:
    """One request under way: who holds its ``PendingResponse``.

    :param safe: whether it may be sent twice: its method is idempotent (RFC 9110 §9.2.2).
    :param key: its number as the caller counts.
    """

    __slots__ = ('began', 'context', 'doubtful', 'key', 'lane', 'lot', 'number', 'pending', 'safe', 'tracker', 'turns')
    #: What a worker tries, only its outcome tells.
    route = None

    def __init__(
        self,
        tracker: Tracker,
        pending: PendingResponse,
        lane: Lane,
        safe: bool,
        context: CallContext | None,
        key: int = 0,
    ) -> None:
        self.tracker: Tracker = tracker
        self.pending: PendingResponse = pending
        self.lane: Lane = lane
        self.safe: bool = safe
        self.context: CallContext | None = context
        #: Its number in this run. One that is published anew gets another.
        self.number: int = 0
        self.lot: Lot | None = None
        self.key: int = key
        #: How often it was published anew.
        self.turns: int = 0
        #: Whether a worker may have sent it, of one that another process has published.
        self.began: bool = False
        #: Whether that process may have published it anew.
        self.doubtful: bool = False

    @property
    def inherited(self) -> bool:
        """Whether another process may have published it, so that in which lot it is nobody knows here."""
        return self.number < 0

    @property
    def phase(self) -> Phase:
        """The phase that a timeout now is reported with."""
        return 'queue' if self.lot is None else 'read'

    def drop(self, pending: PendingResponse) -> Completer:
        """Let go of the request at once; the worker is told to do so as well."""
        self.tracker.forget(self)
        return self.tracker

    def recall(self) -> None:
        """Have the worker send it no more; it ends as cancelled, or with its outcome where it was sent before."""
        self.tracker.recall(self)


class Lot:
    """A batch that is published. It may be delivered more than once; that it has begun is said once.

    :param entries: those that it was published with; none where it only asks what became of others.
    """

    __slots__ = ('began', 'doubtful', 'entries', 'lane', 'left', 'number', 'safe')

    def __init__(self, number: int, lane: Lane, safe: bool, entries: list[Entry]) -> None:
        self.number: int = number
        self.lane: Lane = lane
        self.safe: bool = safe
        self.entries: list[Entry] = entries
        self.left: int = len(entries)
        #: Whether a worker may have sent some of it.
        self.began: bool = False
        #: Whether nobody knows that it has reached its queue.
        self.doubtful: bool = False

    def under_way(self) -> list[Entry]:
        """Those that have no outcome, and are not in another lot by now."""
        return [entry for entry in self.entries if entry.lot is self and entry.pending.outcome is None]


class Lane:
    """The requests to the origins of a lane."""

    __slots__ = ('bytes', 'heard', 'inquiry', 'number', 'out', 'safe', 'since', 'unsafe')

    def __init__(self, number: int) -> None:
        self.number: int = number
        #: What waits to be published: idempotent requests, and others.
        self.safe: list[Entry] = []
        self.unsafe: list[Entry] = []
        #: Bytes of the bodies that wait.
        self.bytes: int = 0
        #: When the oldest began to wait.
        self.since: float = 0.0
        #: Lots that are published and have outcomes to come.
        self.out: int = 0
        #: When there was last something to hear of it, or to wait for.
        self.heard: float = 0.0
        #: The empty lot that asks what became of doubtful ones, until it is answered.
        self.inquiry: Lot | None = None
