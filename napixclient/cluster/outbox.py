"""Gathers requests by lane, and publishes them in lots, as far as the window allows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import Any

from gevent.hub import get_hub

from .lanes import TASK, reply_queue
from .lots import Entry, Lane, Lot
from .plan import Plan
from .publisher import Fate, Message, Publisher
from .travel import Batch, Parcel, new_parcel, pack

__all__ = ['Outbox', 'key_of']

#: Seconds for which a request waits for others of its lane; and where the lane has enough to do.
LINGER_SECONDS = 0.02
LONGEST_LINGER = 0.2
#: Lots of a lane that keep its worker busy.
BUSY_LOTS = 2
#: Requests of a lot that are not idempotent: of those that a dead worker had begun nobody knows what became.
UNSAFE_LOT = 10
#: Bytes of bodies in a lot.
LOT_BYTES = 1 << 20
#: Bits of the caller's own number; above them is how often the request was published anew, and by whom.
KEY_BITS = 32


class Outbox:
    """The requests that are under way, by number, by lot and by lane.

    :param on_fate: called with what became of a published lot; whether it is to be published once more.
    """

    def __init__(self, plan: Plan, on_fate: Callable[[Lot, Fate], bool]) -> None:
        self.under_way: dict[int, Entry] = {}
        self.lots: dict[int, Lot] = {}
        self.lanes: dict[int, Lane] = {}
        self.publisher: Publisher | None = None
        self._plan = plan
        self._on_fate = on_fate
        self._closed = False
        self._flying = 0  # requests that are published and have no outcome
        self._stalled = False  # whether the window is full
        self._idle: list[Lane] = []  # those that had nothing out a moment ago
        self._number = 0
        self._lot_number = (plan.fence or 0) << KEY_BITS
        loop: Any = get_hub().loop
        self._linger = loop.timer(LINGER_SECONDS, LINGER_SECONDS)  # repeats: libev starts none anew that has fired

    def close(self) -> None:
        """Publish nothing more."""
        self._closed = True
        self._linger.stop()
        self._linger.close()

    def lane(self, host: str) -> Lane:
        """The lane of a host."""
        number = self._plan.zone.lane_of(host)
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = Lane(number)
        return lane

    def add(self, entry: Entry) -> None:
        """Have it published together with others of its lane."""
        entry.number = self._number_of(entry)
        entry.lot = None
        entry.pending.holder = entry
        self.under_way[entry.number] = entry
        lane = entry.lane
        waiting = lane.safe if entry.safe else lane.unsafe
        if not lane.safe and not lane.unsafe:
            lane.since = monotonic()
            if not self._linger.active and not self._closed:
                self._linger.again(self._flush)
        waiting.append(entry)
        payload = _payload(entry)
        if payload:
            lane.bytes += len(payload)
        if len(waiting) >= (self._plan.batch if entry.safe else UNSAFE_LOT) or lane.bytes >= LOT_BYTES:
            self._publish(lane)

    def _number_of(self, entry: Entry) -> int:
        """A number that it never had. In a run that outlives its process it tells the caller's own."""
        fence = self._plan.fence
        if fence is None:
            self._number += 1
            return self._number
        if not entry.number:
            return entry.key
        entry.turns += 1
        return (((fence & 0xFFFF) << 16) + entry.turns) << KEY_BITS | entry.key

    def inherit(self, entry: Entry) -> None:
        """Wait for the outcome of what another process may have published."""
        entry.number = inherited_number(entry.key)
        entry.pending.holder = entry
        entry.pending.sent = True
        self.under_way[entry.number] = entry

    def find(self, number: int) -> Entry | None:
        """The request that was published by this number, here or before."""
        entry = self.under_way.get(number)
        if entry is None and self._plan.fence is not None:
            entry = self.under_way.get(inherited_number(key_of(number)))
        return entry

    def _flush(self) -> None:
        """Publish what has waited long enough. Called by the loop."""
        now, again = monotonic(), False
        for lane in self.lanes.values():
            if lane.safe or lane.unsafe:
                if not self._stalled and (lane.out < BUSY_LOTS or now - lane.since >= LONGEST_LINGER):
                    self._publish(lane)
                again = again or bool(lane.safe or lane.unsafe)
        if not again and not self._closed:
            self._linger.stop()

    def _publish(self, lane: Lane) -> None:
        """Publish all that waits in the lane, as far as the window allows."""
        if self._closed or self.publisher is None:
            return
        for safe in True, False:
            waiting = lane.safe if safe else lane.unsafe
            while waiting:
                room = self._plan.window - self._flying
                if room <= 0:
                    self._stalled = True
                    return
                taken = _first(waiting, min(room, self._plan.batch if safe else UNSAFE_LOT))
                entries = [entry for entry in taken if entry.pending.outcome is None]
                if entries:
                    self._publish_lot(lane, safe, entries)
        lane.bytes = 0

    def _publish_lot(self, lane: Lane, safe: bool, entries: list[Entry]) -> None:
        self._lot_number += 1
        lot = self.lots[self._lot_number] = Lot(self._lot_number, lane, safe, entries)
        now, wall = monotonic(), time()
        later = wall - now
        parcels = []
        for entry in entries:
            pending = entry.pending
            entry.lot = lot
            pending.sent = True
            redirect, deadline = pending.redirect, pending.deadline + later
            if redirect is None:
                parcels.append(new_parcel(entry.number, pending.asked, deadline, False, entry.context))
            else:
                parcels.append(new_parcel(entry.number, redirect.request, deadline, redirect.foreign, entry.context))
        self._flying += len(entries)
        if not lane.out:
            lane.heard = now
        lane.out += 1
        self._post(lot, parcels, wall)

    def inquire(self, about: Lot) -> None:
        """Have the worker of the lane say which lots of this run it has, of those that reached the lane so far.

        An empty lot asks: it is behind them in the queue, and whatever was said of those that are done by then comes
        before the answer.
        """
        lane = about.lane
        if lane.inquiry is not None and lane.inquiry.number < about.number:
            self.forget_inquiry(lane.inquiry)  # the next one asks about all that it asked about, too
        if lane.inquiry is None and self.publisher is not None and not self._closed:
            self._lot_number += 1
            lot = self.lots[self._lot_number] = lane.inquiry = Lot(self._lot_number, lane, True, [])
            self._post(lot, [], time())

    def answered(self, inquiry: Lot) -> list[Lot]:
        """The doubtful lots that an inquiry was about, now that it is answered."""
        self.forget_inquiry(inquiry)
        return [
            lot
            for lot in self.lots.values()
            if lot.lane is inquiry.lane and lot.doubtful and not lot.began and lot.number < inquiry.number
        ]

    def forget_inquiry(self, inquiry: Lot) -> None:
        """It is answered, or nobody will answer it."""
        self.lots.pop(inquiry.number, None)
        if inquiry.lane.inquiry is inquiry:
            inquiry.lane.inquiry = None

    def _post(self, lot: Lot, parcels: list[Parcel], sent: float) -> None:
        plan = self._plan
        id = f'{plan.run}.{lot.number}'
        body = plan.keys.seal(pack(Batch(plan.cap, plan.signer, parcels), plan.defaults, plan.headers), id.encode())
        assert self.publisher is not None
        self.publisher.put(
            Message(
                plan.zone.queue(lot.lane.number),
                body,
                partial(self._on_fate, lot),
                {'correlation_id': id, 'reply_to': reply_queue(plan.run)},
                {'task': TASK, 'sent': sent},  # each field takes microseconds; what is secret is in the body alone
            )
        )

    def leave(self, entry: Entry) -> None:
        """The request is in no lot any more, and its number is used up."""
        self.under_way.pop(entry.number, None)
        lot, entry.lot = entry.lot, None
        if lot is None:
            return
        self._flying -= 1
        lot.left -= 1
        lane = lot.lane
        if not lot.left:
            del self.lots[lot.number]
            lane.out -= 1
            if not lane.out and (lane.safe or lane.unsafe):
                # Not at once: who ends many is not to have published what he is about to end.
                if not self._idle:
                    get_hub().loop.run_callback(self._publish_idle)
                self._idle.append(lane)
        if self._stalled and self._flying <= self._plan.window * 3 // 4:
            self._stalled = False
            if not self._linger.active and not self._closed:
                self._linger.again(self._flush)

    def _publish_idle(self) -> None:
        """Publish what waits in lanes that have nothing out. Called by the loop."""
        lanes, self._idle = self._idle, []
        for lane in lanes:
            if not lane.out and not self._stalled:
                self._publish(lane)

    def at_hosts(self) -> dict[str, tuple[int, int]]:
        """How many requests of each host wait here, and how many are with the broker or a worker."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self.under_way.values():
            host = entry.pending.request.host
            queued, in_flight = found.get(host, (0, 0))
            found[host] = (queued + 1, in_flight) if entry.lot is None else (queued, in_flight + 1)
        return found


def key_of(number: int) -> int:
    """The caller's own number of what was published by this one, in a run that outlives its process."""
    return number & ((1 << KEY_BITS) - 1)


def inherited_number(key: int) -> int:
    """What stands for the numbers by which another process may have published a request."""
    return -1 - key


def _payload(entry: Entry) -> Any:
    """The body that is to be sent."""
    pending = entry.pending
    return (pending.asked if pending.redirect is None else pending.redirect.request).payload


def _first(waiting: list[Entry], most: int) -> list[Entry]:
    """Take so many from the front, and no more bytes than fit."""
    size, count = 0, 0
    for entry in waiting[:most]:
        payload = _payload(entry)
        size += len(payload) if payload else 0
        if count and size > LOT_BYTES:
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken
