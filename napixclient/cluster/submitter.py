"""Publishes requests to their lanes, and gives each the outcome that comes back.

The law of requests that are not idempotent: a lot of them is published once. It is published anew only when a worker
says that it was delivered before and has not begun; that it begins is said on the connection that it was delivered on,
so that nobody says so who has lost it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic, time
from typing import Any, NamedTuple

import gevent
from gevent.hub import get_hub

from .._http.pending import Batch as Outcomes
from .._http.pending import Outcome, PendingResponse, new_pending, timeout_of
from .._http.redirecting import redirect_of
from ..authenticators import Description
from ..call_context import current
from ..errors import DeadlineExceeded, HTTPError, Interrupted, copy_for
from ..masking import mask
from ..messages import IDEMPOTENT, REDIRECTS, Headers, Request
from .broker import FAILURES, Broker, is_final, leave
from .control import cancel, workers
from .counts import HostCounts
from .errors import ClusterError
from .keys import BadSeal, Keyring
from .lanes import Zone, reply_queue
from .lots import Entry, Lane, Lot
from .outcomes import BEGAN, OUTCOME, REFUSED, UNSURE, response_of, restored, unpacked
from .publisher import PLAIN, Fate, Message, Publisher
from .replies import Replies
from .travel import Batch, Parcel, check, pack

__all__ = ['Plan', 'Submitter']

log: logging.Logger = logging.getLogger('napixclient.cluster')

#: Seconds for which a request waits for others of its lane; and where the lane has enough to do.
LINGER_SECONDS = 0.02
LONGEST_LINGER = 0.2
#: Lots of a lane that keep its worker busy.
BUSY_LOTS = 4
#: Requests of a lot that are not idempotent: of those that a dead worker had begun nobody knows what became.
UNSAFE_LOT = 10
#: Bytes of bodies in a lot.
LOT_BYTES = 1 << 20
#: Seconds of a request without a timeout: the broker takes a delivery back after half an hour.
LONGEST_SECONDS = 25 * 60.0
#: Seconds behind the deadline in which the worker's own word on it may come.
GRACE_SECONDS = 0.5
SWEEP_SECONDS = 0.25
#: Seconds without a word of a lane before somebody looks whether it has a worker.
UNHEARD_SECONDS = 5.0
#: Seconds for which a broker that was never reached may not answer.
UNREACHED_SECONDS = 7.0


class Plan(NamedTuple):
    """What all requests of a pool have in common.

    :param signer: what signs the requests.
    :param defaults: a request that carries the pool's own options.
    :param headers: fields for each request that does not set them.
    """

    broker: Broker
    keys: Keyring
    zone: Zone
    run: str
    cap: int
    signer: Description | None
    batch: int
    window: int
    defaults: Request
    headers: Headers

    @property
    def total(self) -> float:
        """Seconds that a request has unless it says otherwise."""
        return _total(self.defaults.timeout, LONGEST_SECONDS)


def _total(timeout: Any, default: float) -> float:
    total = timeout if timeout is None or isinstance(timeout, (int, float)) else timeout.total
    return min(total, LONGEST_SECONDS) if isinstance(total, (int, float)) else default


class Submitter:
    """The requests of one pool that are under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hub = get_hub()
        self.closed = False
        self.counts = HostCounts()
        #: What ended requests for a reason that is not theirs, and is not yet told.
        self.untold: ClusterError | None = None
        self._pid = os.getpid()
        self._total = plan.total
        self._under_way: dict[int, Entry] = {}
        self._lots: dict[int, Lot] = {}
        self._lanes: dict[int, Lane] = {}
        self._flying = 0  # requests that are published and have no outcome
        self._stalled = False  # whether the window is full
        self._number = 0
        self._lot_number = 0
        self._next_deadline = float('inf')
        self._dropped: list[int] = []  # numbers that workers are to be told to drop
        self._warned = self._asked = self._reached = False
        self._publisher: Publisher | None = None
        self._replies: Replies | None = None
        loop: Any = self.hub.loop
        self._linger = loop.timer(LINGER_SECONDS)
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
        pending.deadline = monotonic() + _total(request.timeout, self._total)
        if pending.deadline < self._next_deadline:
            self._next_deadline = pending.deadline
        if self._publisher is None:
            self._start()
        lane, safe = self._lane(request.host), request.method in IDEMPOTENT
        self._queue(Entry(self, pending, lane, safe, current.get()))
        return pending

    def _lane(self, host: str) -> Lane:
        number = self.plan.zone.lane_of(host)
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane(number)
        return lane

    def _queue(self, entry: Entry) -> None:
        """Have it published together with others of its lane."""
        self._number += 1
        entry.number = self._number
        entry.lot = None
        entry.pending.holder = entry
        self._under_way[entry.number] = entry
        lane = entry.lane
        waiting = lane.safe if entry.safe else lane.unsafe
        if not lane.safe and not lane.unsafe:
            lane.since = monotonic()
            if not self._linger.active:
                self._linger.start(self._flush)
        waiting.append(entry)
        payload = entry.pending.current.payload
        if payload:
            lane.bytes += len(payload)
        if len(waiting) >= (self.plan.batch if entry.safe else UNSAFE_LOT) or lane.bytes >= LOT_BYTES:
            self._publish(lane)

    def _start(self) -> None:
        plan = self.plan
        self._replies = Replies(plan.broker, reply_queue(plan.run), self._take, self._on_failure)
        self._publisher = Publisher(plan.broker, self._declare, self._on_failure)
        if not self._sweeper.active:
            self._sweeper.start(self._sweep)

    # -- publishing ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Publish what has waited long enough. Called by the loop."""
        now, again = monotonic(), False
        for lane in self._lanes.values():
            if lane.safe or lane.unsafe:
                if not self._stalled and (lane.out < BUSY_LOTS or now - lane.since >= LONGEST_LINGER):
                    self._publish(lane)
                again = again or bool(lane.safe or lane.unsafe)
        if again and not self.closed:
            self._linger.start(self._flush)

    def _publish(self, lane: Lane) -> None:
        """Publish all that waits in the lane, as far as the window allows."""
        for safe in True, False:
            waiting = lane.safe if safe else lane.unsafe
            while waiting:
                if self._flying >= self.plan.window:
                    self._stalled = True
                    return
                most = self.plan.batch if safe else UNSAFE_LOT
                taken = _first(waiting, most)
                entries = [entry for entry in taken if entry.pending.outcome is None]
                if entries:
                    self._publish_lot(lane, safe, entries)
        lane.bytes = 0

    def _publish_lot(self, lane: Lane, safe: bool, entries: list[Entry]) -> None:
        self._lot_number += 1
        lot = self._lots[self._lot_number] = Lot(self._lot_number, lane, safe, entries)
        now, wall = monotonic(), time()
        parcels = []
        for entry in entries:
            pending = entry.pending
            entry.lot = lot
            pending.sent = True
            redirect = pending.redirect
            parcels.append(
                Parcel(
                    entry.number,
                    pending.current,
                    wall + pending.deadline - now,
                    redirect is not None and redirect.foreign,
                    entry.context,
                )
            )
        self._flying += len(entries)
        if not lane.out:
            lane.heard = now
        lane.out += 1
        plan = self.plan
        id = f'{plan.run}.{lot.number}'
        body = plan.keys.seal(pack(Batch(plan.cap, plan.signer, parcels), plan.defaults, plan.headers), id.encode())
        assert self._publisher is not None
        self._publisher.put(
            Message(
                plan.zone.queue(lane.number),
                body,
                partial(self._on_fate, lot),
                {'correlation_id': id, 'reply_to': reply_queue(plan.run)},
                _task_headers(id, wall),
            )
        )

    def _declare(self, channel: Any, queue: str) -> None:
        """Before the first lot goes to a lane. Called by the publisher."""
        assert self._replies is not None
        self._replies.ready.wait()
        self._reached = True
        zone = self.plan.zone
        consumers = channel.queue_declare(queue, durable=True, auto_delete=False, arguments=zone.arguments)[2]
        if not consumers and not self._asked:
            self._asked = True
            gevent.spawn(self._ask_around)

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
                entry = self._under_way.get(number)
                if entry is not None:
                    self._finish(entry, worker, *rest)
            else:
                lot = self._lots.get(number)
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
            self._leave(entry)
            self._queue(entry)

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
                    self._leave(entry)
                    pending.redirect = redirect
                    current_request = redirect.request
                    entry.lane, entry.safe = self._lane(current_request.host), current_request.method in IDEMPOTENT
                    self._queue(entry)
                    return
        except HTTPError as exc:
            exc.request, exc.worker = request, worker
            outcome = exc
        outcome.attempts = pending.tries
        self._leave(entry)
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
        self._leave(entry)

    def _leave(self, entry: Entry) -> None:
        """The request is in no lot any more, and its number is used up."""
        self._under_way.pop(entry.number, None)
        lot, entry.lot = entry.lot, None
        if lot is None:
            return
        self._flying -= 1
        lot.left -= 1
        lane = lot.lane
        if not lot.left:
            del self._lots[lot.number]
            lane.out -= 1
            if lane.out < BUSY_LOTS and (lane.safe or lane.unsafe) and not self._stalled:
                self._publish(lane)
        if self._stalled and self._flying <= self.plan.window * 3 // 4:
            self._stalled = False
            if not self._linger.active and not self.closed:
                self._linger.start(self._flush)

    def _interrupt(self, entry: Entry, why: str) -> None:
        request = entry.pending.request
        self._leave(entry)
        text = f'{why}; whether the request was carried out is not known'
        self.complete(entry.pending, Interrupted(text, request=request, phase='read'))

    def _refuse_by_name(self, id: str, text: str) -> None:
        run, _, number = id.rpartition('.')
        lot = self._lots.get(int(number)) if run == self.plan.run and number.isdecimal() else None
        if lot is not None:
            self._refuse(lot, ClusterError(text))

    def _refuse(self, lot: Lot, error: ClusterError) -> None:
        """End what is left of a lot."""
        self._end(lot.under_way(), error)

    def fail(self, error: ClusterError) -> None:
        """End everything: the cluster cannot be used. The next request tries anew."""
        publisher, replies = self._publisher, self._replies
        self._publisher = self._replies = None
        for part in publisher, replies:
            if part is not None:
                gevent.spawn(part.close)
        self._end(list(self._under_way.values()), error)

    def _end(self, entries: Iterable[Entry], error: ClusterError) -> None:
        requests = []
        for entry in entries:
            request = entry.pending.request
            requests.append(request)
            self._leave(entry)
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
            for entry in self._under_way.values():
                deadline = entry.pending.deadline
                if now >= deadline + GRACE_SECONDS:
                    late.append(entry)
                elif deadline < self._next_deadline:
                    self._next_deadline = deadline
            for entry in late:
                self._expire(entry)
        if not self._warned and any(lane.out and now - lane.heard > UNHEARD_SECONDS for lane in self._lanes.values()):
            self._warned = True
            gevent.spawn(self._look_for_owners)

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

    def _ask_around(self) -> None:
        """A lane has no worker now: perhaps the workers of this zone count otherwise."""
        zone = self.plan.zone
        found = self._unless_failed(lambda: workers(self.plan.broker, zone.name))
        counts = sorted({one.get('lanes', 0) for one in found or ()})
        if counts and zone.lanes not in counts:
            self.fail(
                ClusterError(
                    f'the workers of zone {zone.name!r} have {counts[0]} lanes, this pool has {zone.lanes}: '
                    'make it with the same number'
                )
            )

    def _look_for_owners(self) -> None:
        now = monotonic()
        silent = [lane for lane in self._lanes.values() if lane.out and now - lane.heard > UNHEARD_SECONDS]
        lane = self._unless_failed(partial(self._without_owner, silent))
        if lane is None:
            gevent.sleep(UNHEARD_SECONDS)
            self._warned = False
            return
        log.warning(
            'no worker has lane %d of zone %r: its requests wait; napix cluster status tells more',
            lane.number,
            self.plan.zone.name,
        )

    def _without_owner(self, lanes: list[Lane]) -> Lane | None:
        connection = self.plan.broker.connect()
        try:
            channel = connection.channel()
            for lane in lanes:
                if not channel.queue_declare(self.plan.zone.queue(lane.number), passive=True)[2]:
                    return lane
        finally:
            leave(connection)
        return None

    def _tell_dropped(self) -> None:
        numbers, self._dropped = self._dropped, []
        self._unless_failed(lambda: cancel(self.plan.broker, self.plan.run, numbers))

    def _unless_failed(self, work: Callable[[], Any]) -> Any:
        """What it returns; ``None`` when the broker is away, for then nobody can be told anything."""
        try:
            return work()
        except FAILURES as exc:
            log.info('the broker at %s: %s', self.plan.broker.address, mask(repr(exc)))
            return None

    def close(self) -> None:
        """Cancel what is under way, and leave the broker. May be repeated."""
        self.check_use()
        if self.closed:
            return
        self.cancel()
        self.closed = True
        for timer in self._linger, self._sweeper:
            timer.stop()
            timer.close()
        publisher, replies = self._publisher, self._replies
        self._publisher = self._replies = None
        if self._dropped:
            self._tell_dropped()
        if publisher is not None and replies is not None:
            publisher.close()
            replies.close()

    def cancel(self) -> None:
        """End everything that is under way with ``Cancelled``."""
        self.check_use()
        for entry in list(self._under_way.values()):
            entry.pending.cancel()

    def at_hosts(self) -> dict[str, tuple[int, int]]:
        """How many requests of each host wait here, and how many are with the broker or a worker."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self._under_way.values():
            host = entry.pending.request.host
            queued, in_flight = found.get(host, (0, 0))
            found[host] = (queued + 1, in_flight) if entry.lot is None else (queued, in_flight + 1)
        return found


def _first(waiting: list[Entry], most: int) -> list[Entry]:
    """Take so many from the front, and no more bytes than fit."""
    size, count = 0, 0
    for entry in waiting[:most]:
        payload = entry.pending.current.payload
        size += len(payload) if payload else 0
        if count and size > LOT_BYTES:
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _task_headers(id: str, sent: float) -> dict[str, Any]:
    """The header of a task, as Celery's protocol has it (version 2). What is secret is in the body alone."""
    return {
        'lang': 'py',
        'task': 'napix.fan_out',
        'id': id,
        'root_id': id,
        'parent_id': None,
        'group': None,
        'argsrepr': '-',
        'kwargsrepr': '-',
        'origin': 'napix',
        'eta': None,
        'expires': None,
        'retries': 0,
        'timelimit': [None, None],
        'shadow': None,
        'ignore_result': True,
        'sent': sent,
    }
