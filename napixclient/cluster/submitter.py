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
from .._http.redirecting import redirect_of
from ..call_context import current
from ..errors import DeadlineExceeded, HTTPError, Interrupted, copy_for
from ..messages import IDEMPOTENT, REDIRECTS, Request
from .broker import is_final
from .counts import HostCounts
from .errors import ClusterError
from .keys import BadSeal
from .lanes import reply_queue
from .lookout import Lookout
from .lots import Entry, Lot
from .outbox import LINGER_SECONDS, Outbox
from .outcomes import BEGAN, OUTCOME, REFUSED, UNSURE, response_of, restored, unpacked
from .plan import Plan, total_of
from .publisher import PLAIN, Fate, Publisher
from .replies import Replies
from .travel import check

__all__ = ['Submitter']

#: Seconds behind the deadline in which the worker's own word on it may come.
GRACE_SECONDS = 0.5
SWEEP_SECONDS = 0.25
#: Seconds for which a broker that was never reached may not answer.
UNREACHED_SECONDS = 7.0


class Submitter:
    """The requests of one pool that are under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hub: Hub = get_hub()
        self.closed: bool = False
        self.counts: HostCounts = HostCounts()
        #: What ended requests for a reason that is not theirs, and is not yet told.
        self.untold: ClusterError | None = None
        self._pid = os.getpid()
        self._total = plan.total
        self._outbox = Outbox(plan, self._on_fate)
        self._lookout = Lookout(plan, self.fail)
        self._next_deadline = float('inf')
        self._dropped: list[int] = []  # numbers that workers are to be told to drop
        self._reached = False
        self._replies: Replies | None = None
        loop: Any = self.hub.loop
        self._sweeper = loop.timer(SWEEP_SECONDS, SWEEP_SECONDS, ref=False)

    # -- asking ----------------------------------------------------------------------------------------------------

    def check_use(self) -> None:
        """:raises RuntimeError: when it is used where it cannot work."""
        if get_hub() is not self.hub:
            raise RuntimeError('a pool belongs to the thread that made it; make one in each thread')
        if os.getpid() != self._pid:
            raise RuntimeError('a ClusterPool does not survive a fork: make one in each process')

    def submit(self, request: Request, batch: Outcomes | None, index: int = 0) -> PendingResponse:
        """Have a request sent by a worker; its outcome lands in the batch, at this index.

        :raises ValueError: for a request that cannot travel.
        """
        if get_hub() is not self.hub or self.closed or os.getpid() != self._pid:
            self.check_use()
            raise RuntimeError('the pool is closed')
        check(request)
        pending = new_pending(request, batch, index)
        pending.deadline = monotonic() + total_of(request.timeout, self._total)
        if pending.deadline < self._next_deadline:
            self._next_deadline = pending.deadline
        if self._outbox.publisher is None:
            self._start()
        lane, safe = self._outbox.lane(request.host), request.method in IDEMPOTENT
        self._outbox.add(Entry(self, pending, lane, safe, current.get()))
        return pending

    def _start(self) -> None:
        plan = self.plan
        self._replies = Replies(plan.broker, reply_queue(plan.run), self._take, self._on_failure)
        self._outbox.publisher = Publisher(plan.broker, self._declare, self._on_failure)
        if not self._sweeper.active:
            self._sweeper.start(self._sweep)

    # -- publishing ------------------------------------------------------------------------------------------------

    def _declare(self, channel: Any, queue: str) -> None:
        """Before the first lot goes to a lane. Called by the publisher."""
        assert self._replies is not None
        self._replies.ready.wait()
        self._reached = True
        zone = self.plan.zone
        consumers = channel.queue_declare(queue, durable=True, auto_delete=False, arguments=zone.arguments)[2]
        if not consumers:
            self._lookout.on_no_consumer()

    def _on_fate(self, lot: Lot, fate: Fate) -> bool:
        """What became of a published lot; whether it is to be published once more."""
        if fate == 'lost':
            lot.doubtful = not lot.safe
            return lot.safe
        if fate == 'returned':  # its queue is gone: it was not taken
            self._again(lot)
        elif fate == 'too large':
            self._refuse(lot, ClusterError('a batch is larger than the broker takes (its max_message_size)'))
        return False

    # -- what workers say ------------------------------------------------------------------------------------------

    def _take(self, body: bytes, properties: dict[str, Any]) -> None:
        """A message of a worker's. Called by the replies' greenlet."""
        try:
            if properties.get('content_type') == PLAIN:  # of a worker that cannot seal it
                self._refuse_by_name(properties.get('correlation_id') or '', body[:1000].decode('utf-8', 'replace'))
                return
            worker, entries = unpacked(self.plan.keys.open(body, reply_queue(self.plan.run).encode()))
        except ValueError as exc:
            what = 'a worker' if isinstance(exc, BadSeal) else 'a reply'
            self.fail(ClusterError(f'{what} cannot be understood: {exc}'))
            return
        for said, number, *rest in entries:
            if said == OUTCOME:
                entry = self._outbox.under_way.get(number)
                if entry is not None:
                    self._finish(entry, worker, *rest)
            else:
                lot = self._outbox.lots.get(number)
                if lot is not None:
                    lot.lane.heard = monotonic()
                    self._take_word(lot, said, rest)

    def _take_word(self, lot: Lot, said: int, rest: list[Any]) -> None:
        """What a worker says of a whole lot."""
        if said == BEGAN:
            lot.began = True
        elif said == REFUSED:
            self._refuse(lot, ClusterError(str(rest[0])))
        elif said == UNSURE:
            if not lot.began:
                self._again(lot)
                return
            for entry in lot.under_way():
                self._interrupt(entry, 'the worker that had begun it is gone')

    def _again(self, lot: Lot) -> None:
        """Nothing of the lot was sent: publish it anew, as another."""
        left = lot.under_way()
        for entry in left:
            self._outbox.leave(entry)
            self._outbox.add(entry)

    def _finish(self, entry: Entry, worker: str, error: list[Any] | None, packed: list[Any] | None) -> None:
        pending = entry.pending
        request = pending.request
        url = None if pending.redirect is None else pending.redirect.request.full_url
        response = None if packed is None else response_of(packed, request, worker, url)
        entry.lane.heard = monotonic()
        outcome: Outcome
        try:
            outcome = restored(error, response, request, worker)
            pending.attempts += outcome.attempts
            if response is not None and response.status in REDIRECTS and error is None:
                redirect = redirect_of(pending, response, bool(self.plan.defaults.redirect))
                if redirect is not None:
                    self._outbox.leave(entry)
                    pending.redirect = redirect
                    current_request = redirect.request
                    entry.lane, entry.safe = (
                        self._outbox.lane(current_request.host),
                        current_request.method in IDEMPOTENT,
                    )
                    self._outbox.add(entry)
                    return
        except HTTPError as exc:
            exc.request, exc.worker = request, worker
            outcome = exc
        outcome.attempts = pending.tries
        self._outbox.leave(entry)
        self.complete(pending, outcome)

    # -- ends ------------------------------------------------------------------------------------------------------

    def complete(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome."""
        self.counts.add(pending.request.host, outcome)
        pending.finish(outcome)

    def forget(self, entry: Entry) -> None:
        """Nobody waits for the request any more: workers are told to drop it, many at a time."""
        if entry.lot is not None:
            if not self._dropped and not self.closed:
                gevent.spawn_later(LINGER_SECONDS, self._tell_dropped)
            self._dropped.append(entry.number)
        self._outbox.leave(entry)

    def _interrupt(self, entry: Entry, why: str) -> None:
        request = entry.pending.request
        self._outbox.leave(entry)
        text = f'{why}; whether the request was carried out is not known'
        self.complete(entry.pending, Interrupted(text, request=request, phase='read'))

    def _refuse_by_name(self, id: str, text: str) -> None:
        run, _, number = id.rpartition('.')
        lot = self._outbox.lots.get(int(number)) if run == self.plan.run and number.isdecimal() else None
        if lot is not None:
            self._refuse(lot, ClusterError(text))

    def _refuse(self, lot: Lot, error: ClusterError) -> None:
        """End what is left of a lot."""
        self._end(lot.under_way(), error)

    def fail(self, error: ClusterError) -> None:
        """End everything: the cluster cannot be used. The next request tries anew."""
        publisher, replies = self._outbox.publisher, self._replies
        self._outbox.publisher = self._replies = None
        for part in publisher, replies:
            if part is not None:
                gevent.spawn(part.close)
        self._end(list(self._outbox.under_way.values()), error)

    def _end(self, entries: Iterable[Entry], error: ClusterError) -> None:
        requests = []
        for entry in entries:
            request = entry.pending.request
            requests.append(request)
            self._outbox.leave(entry)
            self.complete(entry.pending, copy_for(error, request))
        if self.untold is None:
            self.untold = error
        if requests:
            self.untold.requests = [*self.untold.requests, *requests]

    def _on_failure(self, exc: BaseException, seconds: float) -> None:
        """There is no connection to the broker. Called by the greenlets that need one."""
        if is_final(exc) or (seconds >= UNREACHED_SECONDS and not self._reached):
            self.fail(self.plan.broker.error(exc))

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
        self._lookout.look(self._outbox.lanes.values())

    def _expire(self, entry: Entry) -> None:
        request = entry.pending.request
        if entry.lot is None:
            entry.pending.end(timeout_of(entry.pending, 'total'))
        elif entry.safe:
            entry.pending.end(DeadlineExceeded('the total time was up', request=request, phase='read'))
        else:
            text = 'the total time was up; whether the request was carried out is not known'
            entry.pending.end(Interrupted(text, request=request, phase='read'))

    # -- what takes a while ----------------------------------------------------------------------------------------

    def _tell_dropped(self) -> None:
        numbers, self._dropped = self._dropped, []
        self._lookout.drop(numbers)

    def close(self) -> None:
        """Cancel what is under way, and leave the broker. May be repeated."""
        self.check_use()
        if self.closed:
            return
        self.cancel()
        self.closed = True
        self._outbox.close()
        self._sweeper.stop()
        self._sweeper.close()
        publisher, replies = self._outbox.publisher, self._replies
        self._outbox.publisher = self._replies = None
        if self._dropped:
            self._tell_dropped()
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
        found: dict[str, tuple[int, int]] = {}
        for entry in self._outbox.under_way.values():
            host = entry.pending.request.host
            queued, in_flight = found.get(host, (0, 0))
            found[host] = (queued + 1, in_flight) if entry.lot is None else (queued, in_flight + 1)
        return found
