"""Publishes requests to their lanes, and gives each the outcome that comes back.

The law of requests that are not idempotent: a lot of them is published once. It is published anew only when a worker
says that it was delivered before and has not begun; that it begins is said on the connection that it was delivered on,
so that nobody says so who has lost it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import monotonic
from typing import Any

import gevent
from gevent.hub import Hub, get_hub

from .._http.pending import Batch as Outcomes
from .._http.pending import Outcome, PendingResponse, new_pending, timeout_of
from ..call_context import current
from ..errors import DeadlineExceeded, Interrupted, copy_for
from ..messages import IDEMPOTENT, NO_OPTIONS, Request
from .broker import is_final
from .control import CANCEL, RECALL
from .counts import HostCounts
from .errors import ClusterError
from .hearing import Hearing
from .heir import Heir
from .lanes import reply_queue
from .ledger import Ledger
from .lookout import Lookout
from .lots import Entry, Lot
from .outbox import KEY_BITS, LINGER_SECONDS, Outbox
from .plan import Plan, total_of
from .publisher import Fate, Publisher
from .replies import Replies
from .travel import check

__all__ = ['Submitter']

#: Seconds behind the deadline in which the worker's own word on it may come.
GRACE_SECONDS = 0.5
SWEEP_SECONDS = 0.25
#: Seconds for which a broker that was never reached may not answer: one attempt that ends in silence, or several.
UNREACHED_SECONDS = 5.5
#: How often this process comes of a fork: to ask for its id takes a system call.
_forks = 0


def _after_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_after_fork)


class Submitter:
    """The requests of one pool that are under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hub: Hub = get_hub()
        self.closed: bool = False
        self.counts: HostCounts = HostCounts()
        #: What ended requests for a reason that is not theirs, and is not yet told.
        self.untold: ClusterError | None = None
        self._forks = _forks
        self._total = plan.total
        self._outbox = Outbox(plan, self._on_fate)
        self._lookout = Lookout(plan, self.fail)
        self._next_deadline = float('inf')
        self._withdrawn: dict[str, list[int]] = {}  # numbers that workers are to be told to drop, by how
        #: Whether the broker has been.
        self.reached: bool = False
        self._replies: Replies | None = None
        #: What may be acknowledged, of a run that outlives its process.
        self.ledger: Ledger | None = None if plan.fence is None else Ledger()
        self._heir = Heir(self._outbox, self.refuse, self.interrupt)
        self._hearing = Hearing(plan, self._outbox, self._heir, self)
        loop: Any = self.hub.loop
        self._sweeper = loop.timer(SWEEP_SECONDS, SWEEP_SECONDS, ref=False)

    # -- asking ----------------------------------------------------------------------------------------------------

    def check_use(self) -> None:
        """:raises RuntimeError: when it is used where it cannot work."""
        if get_hub() is not self.hub:
            raise RuntimeError('a pool belongs to the thread that made it; make one in each thread')
        if _forks != self._forks:
            raise RuntimeError('a ClusterPool does not survive a fork: make one in each process')

    def submit(self, request: Request, batch: Outcomes | None, index: int = 0) -> PendingResponse:
        """Have a request sent by a worker; its outcome lands in the batch, at this index.

        :raises ValueError: for a request that cannot travel.
        """
        entry = self._enter(request, batch, index)
        self._outbox.add(entry)
        return entry.pending

    def inherit(self, request: Request, batch: Outcomes | None, index: int) -> PendingResponse:
        """Wait for the outcome of a request that another process may have published.

        It is published only when it may be sent twice, or a worker says that it was not sent.
        """
        entry = self._enter(request, batch, index)
        self._heir.add(entry)
        self.reached = True  # that the broker is away now is no answer
        return entry.pending

    def _enter(self, request: Request, batch: Outcomes | None, index: int) -> Entry:
        if get_hub() is not self.hub or self.closed or _forks != self._forks:
            self.check_use()
            raise RuntimeError('the pool is closed')
        check(request)
        pending = new_pending(request, batch, index)
        total = self._total if request.options is NO_OPTIONS else total_of(request.timeout, self._total)
        pending.deadline = deadline = monotonic() + total
        if deadline < self._next_deadline:
            self._next_deadline = deadline
        if self._outbox.publisher is None:
            self._start()
        lane, safe = self._outbox.lane(request.host), request.method in IDEMPOTENT
        if self.ledger is not None:
            self.ledger.open(index + 1)
        return Entry(self, pending, lane, safe, current.get(), index + 1)

    def _start(self) -> None:
        plan = self.plan
        self._replies = Replies(plan.broker, reply_queue(plan.run), self._hearing.take, self._on_failure, self.ledger)
        self._outbox.publisher = Publisher(plan.broker, self._declare, self._on_failure)
        if not self._sweeper.active:
            self._sweeper.start(self._sweep)

    # -- publishing ------------------------------------------------------------------------------------------------

    def _declare(self, channel: Any, queue: str) -> None:
        """Before the first lot goes to a lane. Called by the publisher."""
        assert self._replies is not None
        self._replies.ready.wait()
        self.reached = True
        zone = self.plan.zone
        consumers = channel.queue_declare(queue, durable=True, auto_delete=False, arguments=zone.arguments)[2]
        if not consumers:
            self._lookout.on_no_consumer()

    def _on_fate(self, lot: Lot, fate: Fate) -> bool:
        """What became of a published lot; whether it is to be published once more."""
        if fate == 'lost':
            lot.doubtful = not lot.safe
            if lot.doubtful:
                self._outbox.inquire(lot)
            return lot.safe
        if fate == 'returned' and lot.entries:  # its queue is gone: it was not taken
            self._hearing.again(lot)
        elif fate == 'returned':
            self._hearing.take_stock(lot, [])
        elif fate == 'too large':
            self.refuse(lot.under_way(), ClusterError('a batch is larger than the broker takes (its max_message_size)'))
        return False

    # -- ends ------------------------------------------------------------------------------------------------------

    def complete(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome."""
        self.counts.add(pending.request.host, outcome)
        pending.finish(outcome)

    def forget(self, entry: Entry) -> None:
        """Nobody waits for the request any more: workers are told to drop it, many at a time."""
        if entry.lot is not None or entry.inherited:
            self._withdraw(CANCEL, entry)
        self._outbox.leave(entry)

    def recall(self, entry: Entry) -> None:
        """The request is not to be sent any more: workers are told so, and say what became of it."""
        self._withdraw(RECALL, entry)

    def _withdraw(self, how: str, entry: Entry) -> None:
        if not self._withdrawn and not self.closed:
            gevent.spawn_later(LINGER_SECONDS, self._tell_withdrawn)
        self._withdrawn.setdefault(how, []).append(entry.key if entry.inherited else entry.number)

    def interrupt(self, entry: Entry, why: str) -> None:
        """Nobody knows what became of the request."""
        request = entry.pending.request
        self._outbox.leave(entry)
        text = f'{why}; whether the request was carried out is not known'
        self.complete(entry.pending, Interrupted(text, request=request, phase='read'))

    def fail(self, error: ClusterError) -> None:
        """End everything: the cluster cannot be used. The next request tries anew."""
        publisher, replies = self._outbox.publisher, self._replies
        self._outbox.publisher = self._replies = None
        for lane in self._outbox.lanes.values():
            if lane.inquiry is not None:
                self._outbox.forget_inquiry(lane.inquiry)
        if publisher is not None:
            gevent.spawn(publisher.close)
        if replies is not None:
            gevent.spawn(replies.close, deletes=self.ledger is None)
        for entry in [entry for entry in self._outbox.under_way.values() if not entry.safe]:
            if entry.inherited or (entry.lot is not None and (entry.lot.began or self._outlives)):
                self.interrupt(entry, error.message)
        self.refuse(list(self._outbox.under_way.values()), error)

    def refuse(self, entries: Iterable[Entry], error: ClusterError) -> None:
        """The cluster refuses these."""
        requests = []
        for entry in entries:
            request = entry.pending.request
            requests.append(request)
            self._outbox.leave(entry)
            self.complete(entry.pending, copy_for(error, request))
        if requests:
            if self.untold is None:
                self.untold = error
            self.untold.requests = [*self.untold.requests, *requests]

    def _on_failure(self, exc: BaseException, seconds: float) -> None:
        """There is no connection to the broker. Called by the greenlets that need one."""
        if is_final(exc) or (seconds >= UNREACHED_SECONDS and not self.reached):
            self.fail(self.plan.broker.error(exc))

    @property
    def under_way(self) -> int:
        """How many requests have no outcome."""
        return len(self._outbox.under_way)

    @property
    def _outlives(self) -> bool:
        """Whether workers may go on with what is published after it has ended here."""
        return self.ledger is not None and self.reached

    # -- time ------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """End what is late, and look for lanes that nobody hears of. Called by the loop."""
        now = monotonic()
        if now >= self._next_deadline + GRACE_SECONDS:
            late = []
            self._next_deadline = float('inf')
            for entry in self._outbox.under_way.values():
                deadline = entry.pending.deadline
                if now >= deadline + GRACE_SECONDS:
                    late.append(entry)
                elif deadline < self._next_deadline:
                    self._next_deadline = deadline
            for entry in late:
                self._expire(entry)
        self._heir.look()
        self._lookout.look(self._outbox.lanes.values())

    def _expire(self, entry: Entry) -> None:
        request = entry.pending.request
        if entry.lot is None and not entry.inherited:
            entry.pending.end(timeout_of(entry.pending, 'total'))
        elif entry.safe:
            entry.pending.end(DeadlineExceeded('the total time was up', request=request, phase='read'))
        else:
            text = 'the total time was up; whether the request was carried out is not known'
            entry.pending.end(Interrupted(text, request=request, phase='read'))

    # -- what takes a while ----------------------------------------------------------------------------------------

    def _tell_withdrawn(self) -> None:
        numbers, self._withdrawn = self._withdrawn, {}
        self._lookout.withdraw(numbers)

    def leave(self, seconds: float) -> set[int]:
        """Leave the broker, and what is under way to another process.

        :returns: the requests that were never published, by their index.
        :param seconds: for the broker to confirm what is on its way there.
        """
        self.check_use()
        entries = self._outbox.under_way.values()
        fresh = {entry.key - 1 for entry in entries if entry.lot is None and not entry.number >> KEY_BITS}
        self._end()
        if self._replies is not None:  # first: nothing is to change any more
            self._replies.close(deletes=False)
        if self._outbox.publisher is not None:
            self._outbox.publisher.close(seconds)
        self._outbox.publisher = self._replies = None
        return fresh

    def _end(self) -> None:
        self.closed = True
        self._outbox.close()
        self._sweeper.stop()
        self._sweeper.close()

    def close(self) -> None:
        """Cancel what is under way, and leave the broker. May be repeated."""
        self.check_use()
        if self.closed:
            return
        self.cancel()
        self._end()
        publisher, replies = self._outbox.publisher, self._replies
        self._outbox.publisher = self._replies = None
        if self._withdrawn:
            self._tell_withdrawn()
        if publisher is not None and replies is not None:
            publisher.close()
            replies.close()

    def cancel(self) -> None:
        """End everything that is under way with ``Cancelled``."""
        self.check_use()
        for entry in list(self._outbox.under_way.values()):
            entry.pending.cancel()

    def at_hosts(self) -> dict[str, tuple[int, int]]:
        """How many requests of each host wait here, and how many are with the broker or a worker."""
        return self._outbox.at_hosts()
