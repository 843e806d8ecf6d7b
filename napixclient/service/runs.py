"""Runs: fan-outs that are under way, and those of the past. Imports submission, results, store, allow, the pool.

A run has one greenlet that takes outcomes from the pool, and one that commits results, many at a time, and only then
shows them. Whoever watches reads at his own pace: the latest lines from memory, older ones from the store.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextvars import Context
from math import frexp, inf
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from ..errors import HTTPError
from ..masking import mask
from ..messages import Request, Response
from ..pool import ClientPool
from .allow import Allow
from .database import StoreError
from .metrics import Metrics
from .results import line_of, result_of, unasked
from .secrets import Secrets
from .store import Kept, Store
from .submission import Item, Options, Submission, kept, politely, restored

__all__ = ['Busy', 'Follower', 'Run', 'Runs', 'document_of_run']

log = logging.getLogger('napixclient.service')

#: Results that are committed together, and bytes of them.
COMMIT_LINES = 500
COMMIT_BYTES = 1 << 20
#: Bytes of results that may wait for their commit; then no more outcomes are taken.
MOST_WAITING = 8 << 20
#: Bytes of the latest lines of a run that are kept in memory.
TAIL_BYTES = 2 << 20
#: Requests in flight that are told one by one.
MOST_FLYING = 2000
#: Seconds between two signs of life in a store that others share; after so many without one a run is taken over.
LEASE_EVERY = 1.0
LEASE_SECONDS = 20.0
#: Seconds between two looks at a run that another service runs.
POLL_SECONDS = 0.5
INTERRUPTED = 'the service ended before the answer was kept; whether the request was carried out is not known'


class Busy(Exception):
    """No more runs can be taken now."""


class Counts:
    """How many requests ended how, and how long they took; written into the store as JSON."""

    def __init__(self, total: int, about: dict[str, Any]) -> None:
        self.about = about
        self.counts = {'total': total, 'done': 0, 'ok': 0, 'failed': 0, 'cancelled': 0, 'interrupted': 0,
                       'in_flight': 0}
        self.buckets: dict[str, int] = {}       # of milliseconds, eight to a power of two

    @classmethod
    def of(cls, summary: dict[str, Any]) -> Counts:
        """Read from the store."""
        self = cls(0, summary['about'])
        self.counts = {**summary['counts'], 'in_flight': 0}
        self.buckets = dict(summary['buckets'])
        return self

    def count(self, result: dict[str, Any]) -> None:
        """One more result."""
        counts = self.counts
        counts['done'] += 1
        error = result['error']
        if error is None:
            counts['ok'] += 1
        elif result['state'] == 'done' and error['class'] != 'Cancelled':
            counts['failed'] += 1
        else:
            counts['interrupted' if result['state'] == 'interrupted' else 'cancelled'] += 1
        if result['status'] is not None:
            fraction, exponent = frexp(result['ms'] or 1e-3)
            bucket = str(exponent * 8 + int(fraction * 16) - 8)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def latency(self) -> dict[str, float | None]:
        """Quantiles in milliseconds, within 9 %."""
        return {f'p{percent}': self._quantile(percent / 100) for percent in (50, 90, 99)}

    def _quantile(self, share: float) -> float | None:
        missing = share * sum(self.buckets.values())
        for bucket in sorted(map(int, self.buckets)):
            missing -= self.buckets[str(bucket)]
            if missing <= 0:
                exponent, part = divmod(bucket, 8)
                return round(float((part + 8.5) / 16 * 2.0 ** exponent), 3)
        return None

    def summary(self) -> dict[str, Any]:
        """For the store."""
        return {'about': self.about, 'counts': dict(self.counts), 'buckets': self.buckets}


class Segment:
    """Results that were committed together."""

    __slots__ = ('first', 'lines', 'made', 'size')

    def __init__(self, first: int, lines: list[str]) -> None:
        self.first = first
        self.lines = lines
        self.size = sum(map(len, lines))
        #: What a watcher made of it, for the next one to send as it is.
        self.made: dict[Any, bytes] = {}


class Run:
    """A run that is under way here, or was until lately."""

    def __init__(self, runs: Runs, found: Kept, submission: Submission) -> None:
        self.id = found.id
        self.created = found.created
        self.finished: float | None = None
        self.state = 'running'
        self.options = submission.options
        self.counts = Counts.of(found.summary)
        #: Set, and replaced by another, whenever there is something new.
        self.news = Event()
        self.results = found.results            # committed
        self._runs = runs
        self._items = {item.number: item for item in submission.items}
        self._secrets = submission.secrets
        self._succeeded = self.counts.counts['ok']
        self._ending = 'cancelled' if found.cancel else ''       # why the rest is not asked any more
        self._began = monotonic() - max(time.time() - found.created, 0)
        self._asked: dict[int, float] = {}      # number -> when the pool took it
        self._waiting: deque[dict[str, Any]] = deque()
        self._size = 0
        self._room = Event()
        self._work = Event()
        self._over = False                      # nothing more will wait for its commit
        self._tail: deque[Segment] = deque()
        self._tail_size = 0
        self._pool: ClientPool | None = None
        self.broken = False                     # the store failed: what is known ends here
        self.greenlet = gevent.Greenlet(self._run)
        self.greenlet.gr_context = Context()    # it outlives the request that it came with

    # -- what others see -------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether there will be no more results."""
        return self.state != 'running' or self.broken

    def document(self) -> dict[str, Any]:
        """What ``GET /runs/<id>`` shows."""
        self.counts.counts['in_flight'] = sum(1 for _ in self._flying())
        return document_of_run(Kept(self.id, self.created, self.finished, self.state, None, False,
                                    self.options._asdict(), self.counts.summary(), self.results))

    def in_flight(self) -> dict[str, Any]:
        """What ``GET /runs/<id>/flying`` shows."""
        flying = sorted(self._flying())[:MOST_FLYING]
        return {'now': round(self._at(), 3), 'flying': [[number, round(at, 3)] for at, number in flying]}

    def _flying(self) -> Iterator[tuple[float, int]]:
        """When each request that is in flight was sent, in ms from the beginning, and its number.

        Read off the connections when somebody asks: a hook would cost each request a greenlet.
        """
        if self._pool is not None:
            for connection in self._pool._engine.connections:
                if connection.pending is not None:
                    yield (connection.started - self._began) * 1000, connection.pending.request.tag

    def left(self) -> list[dict[str, Any]]:
        """What has no result yet."""
        return [_shown(item.number, item.tag, item.host, item.method, item.url) for item in self._items.values()]

    def segment(self, seq: int) -> Segment | None:
        """The segment in memory that has this place in the sequence."""
        for segment in reversed(self._tail):
            if segment.first <= seq:
                return segment if seq < segment.first + len(segment.lines) else None
        return None

    def cancel(self) -> None:
        """End it: what is in flight is cancelled, what is not yet sent never is."""
        self._end('cancelled')

    def _end(self, why: str) -> None:
        if not self._ending:
            self._ending = why
            if self._pool is not None:
                self._pool.cancel()

    # -- asking ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        writer = gevent.spawn(self._write)
        try:
            self._ask()
            self._conclude()
            self._over = True
            self._work.set()
            writer.join()
        finally:
            writer.kill()
            self.broken = self.state == 'running'
            self._runs.ended(self)
            self._tell()

    def _ask(self) -> None:
        self._interrupt()
        if self._ending or not self._items:
            return
        with ClientPool(None, self.options.simultaneous, max_body=self._runs.max_answer,
                        max_connections=self._runs.connections_of_run) as pool:
            self._runs.allow.guard(pool)
            self._pool = pool
            try:
                for outcome in pool.stream(self._requests(), ordered=self.options.ordered):
                    self._take(outcome)
            finally:
                self._pool = None

    def _requests(self) -> Iterator[Request]:
        """What the pool is given, as it asks for more."""
        for item in list(self._items.values()):
            if self._ending:
                return
            request = item.request
            assert request is not None
            deadline = self.options.deadline
            if deadline is not None:
                left = max(self._began + deadline - monotonic(), 1e-3)
                request = request.replace(timeout=min(left, self.options.timeout or left))
            self._asked[item.number] = monotonic()
            yield request

    def _take(self, outcome: Response | HTTPError) -> None:
        request = outcome.request
        assert request is not None
        item = self._items.pop(request.tag)
        now = monotonic()
        began = self._asked.pop(item.number)
        ms = (now - began if outcome.elapsed is None else outcome.elapsed) * 1000
        self._add(result_of(item, outcome, ms, (now - self._began) * 1000))
        if isinstance(outcome, Response):
            self._succeeded += 1
            if self._succeeded == self.options.need:
                self._end('need')
        while self._size > MOST_WAITING and not self.broken:
            self._room.clear()
            self._room.wait()

    def _interrupt(self) -> None:
        """What is left from a service that ended: some of it must not be sent once more."""
        for item in politely([item for item in self._items.values() if item.request is None]):
            del self._items[item.number]
            self._add(unasked(item, 'interrupted', INTERRUPTED, self._at()))

    def _conclude(self) -> None:
        """What was never sent has its result too."""
        why = {'need': 'enough others had succeeded', 'cancelled': 'the run was cancelled'}.get(self._ending, '')
        for item in politely(list(self._items.values())):
            self._add(unasked(item, 'cancelled', f'not sent: {why}', self._at()))
        self._items.clear()

    def _at(self) -> float:
        return (monotonic() - self._began) * 1000

    def _add(self, result: dict[str, Any]) -> None:
        if result['error'] is not None and result['error']['class'] == 'Cancelled':
            result['state'] = 'cancelled'
        self._waiting.append(result)
        body = result['body']
        self._size += 500 + (len(body) if isinstance(body, str) else 0)
        self._work.set()

    # -- committing ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            while self._waiting or not self._over:
                self._work.wait()
                self._work.clear()
                while self._waiting:
                    self._commit()
            if not self._waiting:
                self._commit_end()
        except gevent.GreenletExit:
            raise
        except StoreError as exc:               # a full disk, a database that is gone: it is gone on with later
            log.error('run %s: its results cannot be kept: %s', self.id, mask(str(exc)))
            self.broken = True
            self._waiting.clear()
            self._room.set()
            self._end('cancelled')
            self._tell()

    def _commit(self) -> None:
        lines: list[tuple[int, str]] = []
        size = 0
        while self._waiting and len(lines) < COMMIT_LINES and size < COMMIT_BYTES:
            result = self._waiting.popleft()
            self.counts.count(result)           # here, so that what is kept counts what is kept with it
            self._runs.metrics.on_result(result)
            line = line_of(self.results + len(lines), result, self._secrets)
            lines.append((result['index'], line))
            size += len(line)
        self._runs.store.commit(self.id, self.results, lines, self.counts.summary(), 'running', None)
        self._size = 0 if not self._waiting else max(self._size - size, 1)
        self._room.set()
        self._remember(Segment(self.results, [line for _, line in lines]))
        self.results += len(lines)
        self._tell()

    def _commit_end(self) -> None:
        self.counts.counts['in_flight'] = 0
        if self._ending == 'cancelled':
            state = 'cancelled'
        else:
            state = 'interrupted' if self.counts.counts['interrupted'] else 'done'
        finished = time.time()
        self._runs.store.commit(self.id, self.results, [], self.counts.summary(), state, finished)
        self.finished = finished
        self.state = state
        self._tell()

    def _remember(self, segment: Segment) -> None:
        self._tail.append(segment)
        self._tail_size += segment.size
        while self._tail_size > TAIL_BYTES and len(self._tail) > 1:
            self._tail_size -= self._tail.popleft().size

    def _tell(self) -> None:
        news, self.news = self.news, Event()
        news.set()


def _about(items: list[Item]) -> dict[str, Any]:
    """What tells a run from others at a glance; ``None`` for what differs between its requests."""
    methods, urls = {item.method for item in items}, {item.url for item in items}
    return {'method': methods.pop() if len(methods) == 1 else None, 'url': urls.pop() if len(urls) == 1 else None,
            'host': items[0].host, 'hosts': len({item.host for item in items})}


def _shown(number: int, tag: Any, host: str, method: str, url: str) -> dict[str, Any]:
    return {'index': number, 'tag': tag, 'host': host, 'method': method, 'url': url}


def document_of_run(run: Kept) -> dict[str, Any]:
    """A run as it is shown; times in seconds since the epoch, latencies in milliseconds."""
    counts = Counts.of(run.summary)
    return {'id': run.id, 'state': run.state, 'created': round(run.created, 3),
            'finished': None if run.finished is None else round(run.finished, 3),
            'about': counts.about, 'counts': run.summary['counts'], 'latency': counts.latency(),
            'results': run.results, **run.options}


class Runs:
    """All runs: takes new ones, takes over those that were left, finds those of the past.

    :param max_runs: how many may be under way at the same time.
    :param max_answer: bytes of an answer's body, at most.
    """

    def __init__(self, store: Store, allow: Allow, *, max_runs: int, max_answer: int, connections_of_run: int | None,
                 metrics: Metrics) -> None:
        self.store = store
        self.allow = allow
        self.max_answer = max_answer
        self.connections_of_run = connections_of_run
        self.metrics = metrics
        self.under_way: dict[str, Run] = {}
        self.draining = False
        self._max_runs = max_runs
        self._starting = 0
        self._failed_at = inf                   # when a run could not be kept

    def start(self, submission: Submission) -> Run:
        """Keep a new run, and begin with it.

        :raises Busy: when there are too many, or the service is about to end.
        """
        if self.draining:
            raise Busy('the service is about to end')
        if len(self.under_way) + self._starting >= self._max_runs:
            raise Busy(f'{self._max_runs} runs are under way, which is as many as may be')
        self._starting += 1
        try:
            now = time.time()
            counts = Counts(len(submission.items), _about(submission.items))
            found = Kept(uuid.uuid4().hex, now, None, 'running', self.store.owner, False,
                         submission.options._asdict(), counts.summary(), 0)
            requests = [kept(item, item.request, submission.secrets) for item in politely(submission.items)]
            self.store.add(found, requests, now)
        finally:
            self._starting -= 1
        return self._begin(found, submission)

    def _begin(self, found: Kept, submission: Submission) -> Run:
        run = self.under_way[found.id] = Run(self, found, submission)
        self.metrics.on_begin()
        run.greenlet.start()
        return run

    def take_over(self) -> int:
        """Go on with the runs whose service has ended; how many there were."""
        self._failed_at = inf
        found = self.store.adopt(time.time(), LEASE_SECONDS, self.under_way)
        for one in found:
            options = Options(**one.options)
            left = self.store.left(one.id)
            items = [restored(number, document, options) for number, document in politely(left)]
            log.info('run %s goes on: %d requests are left', one.id, len(items))
            self._begin(one, Submission(items, options, Secrets()))
        return len(found)

    def show_life(self) -> None:
        """Where the store is shared: keep our runs, cancel those that others were asked to, take over what is left.

        What could not be kept, because the store failed, is gone on with after a while.
        """
        if not self.store.exclusive:
            for id in self.store.seen(self.under_way, time.time()):
                if id in self.under_way:
                    self.under_way[id].cancel()
        if not self.draining and (not self.store.exclusive or monotonic() > self._failed_at + LEASE_SECONDS):
            self.take_over()

    def ended(self, run: Run) -> None:
        """Called by a run at its end."""
        if self.under_way.get(run.id) is run:
            del self.under_way[run.id]
        if run.broken:
            self._failed_at = monotonic()
        self.metrics.on_end(run.state)

    def cancel(self, id: str) -> bool:
        """Cancel a run that is under way, here or elsewhere; whether there is a run of that id."""
        run = self.under_way.get(id)
        found = self.store.find(id)
        if found is None:
            return False
        if found.state == 'running':
            self.store.ask_cancel(id)           # first, so that it holds after a kill too
            if run is not None:
                run.cancel()
        return True

    def document(self, id: str) -> dict[str, Any] | None:
        """How a run stands; ``None`` where there is none of that id."""
        run = self.under_way.get(id)
        if run is not None:
            return run.document()
        found = self.store.find(id)
        return None if found is None else document_of_run(found)

    def left(self, id: str) -> list[dict[str, Any]]:
        """The requests of a run that have no result yet."""
        run = self.under_way.get(id)
        if run is not None:
            return run.left()
        return [_shown(number, *(kept[name] for name in ('tag', 'host', 'method', 'url')))
                for number, kept in self.store.left(id)]

    def in_flight(self, id: str) -> dict[str, Any]:
        """Which requests of a run are in flight, the earliest first; none where another service runs it."""
        run = self.under_way.get(id)
        return {'now': None, 'flying': []} if run is None else run.in_flight()

    def drain(self, seconds: float) -> None:
        """Take no new ones, and let those under way finish for a while; the others go on at the next start."""
        self.draining = True
        gevent.joinall([run.greenlet for run in self.under_way.values()], timeout=seconds)

    def stop(self) -> None:
        """End all greenlets; what they have not committed is asked again, or interrupted, at the next start."""
        for run in list(self.under_way.values()):
            run.broken = True
            run.greenlet.kill()


class Follower:
    """Reads the results of a run in sequence, at the pace of whoever watches.

    :param seq: the first that is wanted.
    """

    def __init__(self, runs: Runs, id: str, seq: int) -> None:
        self.seq = seq
        #: Whether the end has been read.
        self.over = False
        #: Whether it came too early: the store failed, or the service ends.
        self.broken = False
        self._runs = runs
        self._id = id
        self._run = runs.under_way.get(id)
        self._news: Event | None = None

    def take(self) -> Segment | None:
        """The next results, from ``seq`` on; ``None`` where there are none now."""
        run = self._run
        self._news = None if run is None else run.news
        ended = self._ended()
        segment = None if run is None else run.segment(self.seq)
        if segment is None and (run is None or self.seq < run.results):
            lines = self._runs.store.lines(self._id, self.seq)
            segment = Segment(self.seq, lines) if lines else None
        elif segment is not None and segment.first < self.seq:
            segment = Segment(self.seq, segment.lines[self.seq - segment.first:])
        if segment is None:
            self.over = ended
            self.broken = ended and run is not None and run.broken
        else:
            self.seq = segment.first + len(segment.lines)
        return segment

    @property
    def live(self) -> bool:
        """Whether it is run here, and under way."""
        return self._run is not None and not self._run.ended

    def _ended(self) -> bool:
        if self._run is not None:
            return self._run.ended
        document = self._runs.document(self._id)
        return document is None or document['state'] != 'running'

    def wait(self, seconds: float) -> None:
        """Until there may be something new, or the time is up."""
        if self._news is not None:
            self._news.wait(seconds)
        else:
            gevent.sleep(min(seconds, POLL_SECONDS))
