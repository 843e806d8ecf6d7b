"""A run that is under way here.

One greenlet takes outcomes from the pool. Its keeper, in another, commits results, and shows them only then; with each
commit it records what is to be sent next, and hands it over only then. So whoever finds the run in the store after our
end knows which requests may have been sent, and that the others were not.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import Context
from math import inf
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent.event import Event

from ..errors import Cancelled, HTTPError
from ..masking import mask
from ..messages import IDEMPOTENT, Request, Response
from .counts import document_of
from .database import LeaseLost, StoreError
from .flight import Cluster, Flight
from .keeping import Keeper
from .lanes import Lanes
from .lease import Lease, LeaseOver
from .metrics import Metrics
from .results import Result, result_of, unasked
from .rows import Kept
from .segments import Segment
from .store import Store
from .submission import Item, Options, Submission, politely

__all__ = ['Parent', 'Run']

log: logging.Logger = logging.getLogger('napixclient.service')

#: Requests in flight that are listed one by one.
MOST_FLYING = 2000
#: Outcomes that are taken at once.
AT_ONCE = 100
#: Seconds between two looks at a lease that is over.
PAUSE_SECONDS = 0.1
#: Seconds for outcomes that workers had said before the service began to ask for them.
LEAST_SECONDS = 5.0
INTERRUPTED = 'the service ended before the answer was kept; whether the request was carried out is not known'
UNSENT = 'not sent: the service ended, and what is secret of the request was in its memory only'
WHY = {'need': 'enough others had succeeded', 'cancelled': 'the run was cancelled', 'failed': 'the run failed'}


class Parent(Protocol):
    """What a run knows of those who run it."""

    store: Store
    metrics: Metrics
    via: Cluster | None

    def open_flight(self, run: Run) -> Flight | None:
        """What sends the requests of a run; ``None`` when the run was over before there was a way."""

    def end_unkept(self, id: str) -> None:
        """That the run has ended cannot be kept: it must not be taken for one that was left."""

    def ended(self, run: Run) -> None:
        """The run has ended here."""


class Run:
    """A run that is under way here, or was until lately.

    :param lanes: what is to be sent.
    :param group: what of it may be sent at once: that is recorded.
    :param sent: numbers of what may have been sent before, and has no result.
    """

    def __init__(
        self,
        parent: Parent,
        found: Kept,
        submission: Submission,
        lease: Lease,
        lanes: Lanes,
        group: list[Item],
        sent: set[int],
    ) -> None:
        self.id: str = found.id
        self.created: float = found.created
        self.state: str = 'running'
        self.options: Options = submission.options
        self.fence: int = found.fence
        self.parent: str | None = found.parent
        self.lease = lease
        #: Set, and replaced by another, whenever there is something new.
        self.news: Event = Event()
        #: Whether it goes on elsewhere, or after the next start: what is known ends here.
        self.left_off: bool = False
        self._parent = parent
        self._items = {item.number: item for item in submission.items}
        self._keeper = Keeper(self, parent.store, found, sent | {item.number for item in group}, parent.metrics)
        self._secrets = submission.secrets or None
        self._succeeded = self._keeper.counts.counts['ok']
        self._ending = 'cancelled' if found.cancel else ''  # why the rest is not asked any more
        self._began = monotonic() - max(found.age, 0)
        self._lanes = lanes
        self._asked: dict[int, float] = {}  # number -> when the pool took it
        self._cleared: deque[Item] = deque()  # recorded, and to be given to the pool
        self._unsent: set[int] = set()  # recorded, and known not to have been sent
        self._flight: Flight | None = None
        #: Numbers of what may have been published before, and may still have its outcome from a worker.
        self._inherited: set[int] = set() if parent.via is None else sent.copy()
        self.send(group)
        self._order = deque(self._items) if self.options.ordered else None
        self._early: dict[int, Result] = {}  # results whose turn has not come
        self.greenlet: gevent.Greenlet[[], None] = gevent.Greenlet(self._run)
        self.greenlet.gr_context = Context()  # it outlives the request that it came with

    # -- what others see -------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether there will be no more results, at least for now."""
        return self.state != 'running' or self.broken

    @property
    def broken(self) -> bool:
        """Whether results come later or elsewhere: the store fails, or the run is another's."""
        return self.state == 'running' and (self.left_off or self._keeper.stuck)

    @property
    def ending(self) -> bool:
        """Whether nothing more is asked."""
        return bool(self._ending)

    @property
    def results(self) -> int:
        """How many results can be read."""
        return self._keeper.results

    def document(self) -> dict[str, Any]:
        """What ``GET /runs/<id>`` shows."""
        keeper = self._keeper
        summary = keeper.summary
        flying = 0 if self.state != 'running' else sum(1 for _ in self._flying())
        summary = {**summary, 'counts': {**summary['counts'], 'in_flight': flying}}
        return document_of(
            Kept(
                self.id,
                self.created,
                keeper.finished,
                self.state,
                None,
                False,
                self.options._asdict(),
                summary,
                self.results,
                parent=self.parent,
            )
        )

    def in_flight(self) -> dict[str, Any]:
        """What ``GET /runs/<id>/flying`` shows."""
        flying = sorted(self._flying())[:MOST_FLYING]
        return {'now': float(self._at()), 'flying': [[number, round(at, 3)] for at, number in flying]}

    def _flying(self) -> Iterator[tuple[float, int]]:
        """When each request that is in flight was sent, in ms from the beginning, and its number."""
        for started, number in () if self._flight is None else self._flight.sent():
            yield (started - self._began) * 1000, number

    def left(self) -> list[Item]:
        """What has no result yet."""
        return list(self._items.values())

    def segment(self, seq: int) -> Segment | None:
        """The segment in memory that holds this number of the sequence."""
        return self._keeper.tail.find(seq)

    # -- its end ---------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End it: what is in flight is cancelled, what is not yet sent never is."""
        self._end('cancelled')

    def halt(self) -> None:
        """The service ends: keep what has come, write down what was really sent, leave the rest for its next start."""
        if not self._ending:
            self.left_off = True
            self._end('halted')

    def lost(self) -> None:
        """Another instance runs it by now: nothing more is sent, and nothing committed."""
        if self.state == 'running' and not self.left_off:
            log.warning('run %s is run by another instance by now', self.id)
            self.left_off = True
            self.lease.lose()
            self.greenlet.kill(block=False)

    def failed(self, reason: str) -> None:
        """Nothing more can be kept."""
        self._keeper.counts.reason = reason
        self._end('failed')

    def _end(self, why: str) -> None:
        if not self._ending or why == 'failed':
            self._ending = why
            self._lanes.close()
            flight = self._flight
            if flight is not None:
                if why == 'halted':
                    self._unsent |= flight.halt()
                else:
                    flight.cancel()
                flight.wake()

    def _run(self) -> None:
        keeper = gevent.spawn(self._keeper.run)
        try:
            try:
                self._ask()
                self._conclude()
            except Exception as exc:  # ours to mend; but it must not run for ever
                log.error('run %s failed', self.id, exc_info=True)
                self.failed(f'{type(exc).__name__}: {mask(str(exc))}')
            self._keeper.close()
            keeper.join()
            self._commit_end()
        finally:
            keeper.kill()
            self.left_off = self.state == 'running'
            if self._flight is not None:  # not before all is kept
                self._flight.close(self.left_off)
            self._parent.ended(self)
            self.tell()

    def _commit_end(self) -> None:
        """Commit how it ended, unless it goes on elsewhere or later."""
        counts = self._keeper.counts
        if self._ending == 'halted':
            self._keeper.sent -= self._unsent.union(item.number for item in self._cleared)
            state = 'running'
        elif self._ending in ('cancelled', 'failed'):
            state = self._ending
        else:
            state = 'interrupted' if counts.counts['interrupted'] or counts.reason else 'done'
        try:
            self._keeper.end(state)
        except LeaseLost:
            self.lost()
            return
        except StoreError:
            log.error('run %s: that its state is %s cannot be kept', self.id, state, exc_info=True)
            self._parent.end_unkept(self.id)
        self.state = state

    # -- asking ----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._interrupt()
        flight = self._flight = self._parent.open_flight(self)
        if flight is None:
            return
        self._inherit(flight)
        if self._succeeded >= (self.options.need or inf):
            self._end('need')
        if self._ending:
            flight.cancel()
        if self.options.simultaneous == 'auto':
            self._lanes.simultaneous = flight.limit
        while flight or (self._items and not self._ending):
            self._hand_over(flight)
            self._keeper.wait_for_room()
            if not flight.finished:
                flight.wait(PAUSE_SECONDS if self._cleared else None)
            self._take(flight.take(AT_ONCE))

    def _inherit(self, flight: Flight) -> None:
        """Wait for what others may have published, where somebody can still tell what became of it."""
        now = monotonic()
        for number in self._inherited.intersection(self._items):
            item = self._items[number]
            request = item.request
            assert request is not None
            self._asked[number] = now
            if self.options.deadline is not None:
                request = self._timed(request, self.options.deadline, LEAST_SECONDS)
            if flight.known:
                flight.inherit(number, request)
            elif item.method in IDEMPOTENT:
                flight.submit(number, request)
            else:
                self._finish_unasked(item, 'interrupted', INTERRUPTED)

    def _hand_over(self, flight: Flight) -> None:
        """Give the pool what is recorded, unless the lease is over."""
        cleared, deadline = self._cleared, self.options.deadline
        if not cleared or self._ending or not (self.lease.until == inf or self.lease.holds):
            return
        now = monotonic()
        while cleared:
            item = cleared.popleft()
            request = item.request
            assert request is not None
            self._asked[item.number] = now
            flight.submit(item.number, request if deadline is None else self._timed(request, deadline))

    def _timed(self, request: Request, deadline: float, least: float = 1e-3) -> Request:
        """The request, bounded by what is left of the run's time."""
        left = max(self._began + deadline - monotonic(), least)
        return request.replace(timeout=min(left, self.options.timeout or left))

    def _take(self, outcomes: Iterable[tuple[int, Response | HTTPError]]) -> None:
        """Make results of outcomes, which have come just now."""
        items, asked, done, secrets = self._items, self._asked, self._lanes.done, self._secrets
        inherited = self._inherited
        now = monotonic()
        at = _in_ms(now - self._began)
        results: list[Result] = []
        succeeded = 0
        for number, outcome in outcomes:
            item, began = items.pop(number), asked.pop(number)
            if isinstance(outcome, Response):
                succeeded += 1
            elif self._is_left(item, outcome):
                items[number] = item
                continue
            ms = (now - began if outcome.elapsed is None else outcome.elapsed) * 1000
            results.append(result_of(item, outcome, ms, at, secrets))
            if number not in inherited:
                done(item)
        self._finish(results)
        self._succeeded += succeeded
        if self._succeeded >= (self.options.need or inf) > self._succeeded - succeeded:
            self._end('need')

    def _is_left(self, item: Item, error: HTTPError) -> bool:
        """Whether a request is sent later, here or after the next start."""
        if _held_back(error, item):
            self._cleared.append(item)  # it was recorded, and is sent when the lease is renewed
            return True
        if self._ending == 'halted' and isinstance(error, Cancelled):
            self._leave(item, error)
            return True
        return False

    def _leave(self, item: Item, outcome: HTTPError) -> None:
        """The service ends, and the request with it: whether it was sent decides what may become of it later."""
        if outcome.elapsed is None and not self.options.redirect:
            self._unsent.add(item.number)

    def _interrupt(self) -> None:
        """What is left from a service that ended: some of it must not be sent once more, or cannot."""
        for item in politely([item for item in self._items.values() if item.given is None]):
            if item.number in self._keeper.sent:
                self._finish_unasked(item, 'interrupted', INTERRUPTED)
            else:
                self._keeper.counts.reason = UNSENT
                self._finish_unasked(item, 'cancelled', UNSENT)

    def _conclude(self) -> None:
        """What was never sent has its result too, unless it is sent later."""
        if self._ending == 'halted':
            return
        for item in politely(list(self._items.values())):
            if item.number in self._inherited and item.method not in IDEMPOTENT:
                self._finish_unasked(item, 'interrupted', INTERRUPTED)
            else:
                self._finish_unasked(item, 'cancelled', f'not sent: {WHY.get(self._ending, "")}')

    def _at(self) -> str:
        return _in_ms(monotonic() - self._began)

    def _finish_unasked(self, item: Item, state: str, why: str) -> None:
        """A request has a result that no answer made."""
        del self._items[item.number]
        self._finish([unasked(item, state, why, self._at(), self._secrets)])

    def _finish(self, results: list[Result]) -> None:
        """Requests have their results; in order, where that was asked for."""
        if self._order is None:
            self._keeper.add(results)
            return
        self._early.update((result.number, result) for result in results)
        while self._order and self._order[0] in self._early:
            self._lanes.released()
            self._keeper.add([self._early.pop(self._order.popleft())])

    # -- the keeper's side -----------------------------------------------------------------------------------------

    def plan(self) -> list[Item]:
        """What is to be sent next."""
        return self._lanes.take()

    def send(self, group: list[Item]) -> None:
        """What was recorded may be sent."""
        self._lanes.recorded()
        self._cleared.extend(group)
        if group and self._flight is not None:
            self._flight.wake()

    def kept(self, numbers: list[int]) -> None:
        """The results of these are in the store."""
        if self._flight is not None:
            self._flight.kept(numbers)

    def tell(self) -> None:
        """Wake all who watch."""
        news, self.news = self.news, Event()
        news.set()


def _in_ms(seconds: float) -> str:
    """As JSON writes it."""
    return f'{seconds * 1000:.3f}'


def _held_back(error: HTTPError, item: Item) -> bool:
    """Whether the lease was over before anything was sent that must not be sent once more."""
    return isinstance(error.__cause__, LeaseOver) and (
        item.method in IDEMPOTENT or (error.phase == 'read' and error.attempts <= 1)
    )
