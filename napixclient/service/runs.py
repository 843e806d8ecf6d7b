"""Runs: takes new ones, takes over those that were left, finds those of the past."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Container, Iterable
from math import inf
from operator import itemgetter
from typing import Any

import gevent

from .._http.core import default_max_connections
from .._http.options import Simultaneous
from ..allow import Allow
from ..authenticators import Authenticator
from ..pool import ClientPool
from .counts import Counts, document_of
from .database import StoreRefused
from .flight import Cluster, Flight, PoolFlight
from .lanes import Lanes
from .lease import Lease, clock
from .metrics import Metrics
from .rows import Kept
from .run import Run
from .secrets import Secrets
from .store import Store
from .submission import BadSubmission, Item, Options, Submission, kept_all, politely, restored

__all__ = ['Busy', 'Runs']

log: logging.Logger = logging.getLogger('napixclient.service')

#: Positions by which a result may be ahead of those before it, where they come in order.
MOST_AHEAD = 1024
#: Requests of a run that the broker and the workers may have, where it is for them to connect.
WITH_WORKERS = 4000
#: Seconds for runs to write down how far they have come, when the service ends.
HALT_SECONDS = 3.0


class Busy(Exception):
    """No more runs can be taken now."""


class Runs:
    """All runs: takes new ones, takes over those that were left, finds those of the past.

    :param max_runs: how many may be under way at the same time.
    :param max_answer: bytes of an answer's body, at most.
    :param via: the cluster that asks.
    """

    def __init__(
        self,
        store: Store,
        allow: Allow,
        *,
        max_runs: int,
        max_answer: int,
        connections_of_run: int | None,
        metrics: Metrics,
        via: Cluster | None = None,
    ) -> None:
        self.store = store
        self.allow = allow
        self.metrics = metrics
        self.via = via
        self.under_way: dict[str, Run] = {}
        self.draining: bool = False
        self._max_runs = max_runs
        self._max_answer = max_answer
        self._connections = connections_of_run
        self._starting: set[str] = set()  # ids of runs that the store is being given
        self._unkept: set[str] = set()

    def start(self, submission: Submission, parent: str | None = None) -> Run:
        """Keep a new run, and begin with it.

        :param parent: the id of the run of which it asks what has not succeeded.

        :raises Busy: when there are too many, or the service is about to end.
        :raises BadSubmission: when it cannot be kept; a ``StoreError`` when it cannot be kept now.
        """
        if self.via is not None:
            self.via.check(submission.options)
        if self.draining:
            raise Busy('the service is about to end')
        if len(self.under_way) + len(self._starting) >= self._max_runs:
            raise Busy(f'{self._max_runs} runs are under way, which is as many as may be')
        id = uuid.uuid4().hex
        self._starting.add(id)
        try:
            counts = Counts(len(submission.items), _about(submission.items))
            options, summary = submission.options._asdict(), counts.summary()
            found = Kept(id, 0.0, None, 'running', self.store.owner, False, options, summary, 0, parent=parent)
            secrets = submission.secrets or None
            requests = kept_all(submission.items, secrets)
            lanes = self._lanes(submission)
            group = lanes.take()
            lease = Lease(self._now())
            try:
                found = self.store.add(found, requests, [item.number for item in group])
            except StoreRefused as exc:
                raise BadSubmission(f'it cannot be kept: {exc}') from exc
            return self._begin(found, submission, lease, lanes, group, set())
        finally:
            self._starting.discard(id)

    def _now(self) -> float:
        """When a lease begins that the store is about to be asked for."""
        return inf if self.store.exclusive else clock()

    def _lanes(self, submission: Submission, sent: Container[int] = ()) -> Lanes:
        """What is to be sent; a quarter more than there are connections, so that none waits for the next commit."""
        limit, connections = submission.options.simultaneous, self._connections or default_max_connections()
        items: Iterable[Item] = politely(submission.items)
        if self.via is not None:  # what was published already is waited for
            connections = self._connections or WITH_WORKERS
            items = (item._replace(given=None) if item.number in sent else item for item in items)
        return Lanes(
            items,
            limit if isinstance(limit, int) else 2,
            connections * 5 // 4 + 16,
            MOST_AHEAD if submission.options.ordered else None,
        )

    def _begin(
        self, found: Kept, submission: Submission, lease: Lease, lanes: Lanes, group: list[Item], sent: set[int]
    ) -> Run:
        run = self.under_way[found.id] = Run(self, found, submission, lease, lanes, group, sent)
        self.metrics.on_begin()
        run.greenlet.start()
        return run

    # -- the store -------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Go on with the runs whose service has ended."""
        if self.draining:
            return
        asked = self._now()
        for one in self.store.adopt(lambda id: id in self.under_way or id in self._starting or id in self._unkept):
            options = Options(**one.options)
            left = self.store.left(one.id)
            over = self.via is None  # nobody knows any more what became of what was sent
            items = [restored(number, document, options, sent and over) for number, document, sent in politely(left)]
            sent = {number for number, _, sent in left if sent}
            log.info(
                'run %s goes on: %d requests are left, of which %d may have been sent', one.id, len(items), len(sent)
            )
            submission = Submission(items, options, Secrets())
            self._begin(one, submission, Lease(asked), self._lanes(submission, sent), [], sent)

    def renew(self) -> None:
        """Where others share the store, ask it which runs are ours still; and cancel those that they were asked to."""
        if self.store.exclusive:
            return
        asked = clock()
        runs = list(self.under_way.values())
        ours = self.store.renew([(run.id, run.fence) for run in runs])
        for run in runs:
            if run.id not in ours:
                run.lost()
                continue
            run.lease.renew(asked)
            if ours[run.id]:
                run.cancel()

    # -- what a run asks -------------------------------------------------------------------------------------------

    def open_flight(self, run: Run) -> Flight | None:
        """What sends the requests of a run; ``None`` when the run was over before there was a way."""
        simultaneous = run.options.simultaneous
        if self.via is None:
            return PoolFlight(self.open_pool(simultaneous, run.lease))
        return self.via.open(run.id, run.fence, simultaneous, lambda: run.ending)

    def open_pool(
        self, simultaneous: Simultaneous, lease: Lease, authenticator: Authenticator | None = None
    ) -> ClientPool:
        """A pool that connects to nothing that may not be asked, and sends nothing when the lease is over."""
        pool = ClientPool(authenticator, simultaneous, max_body=self._max_answer, max_connections=self._connections)
        self.allow.guard(pool)
        if not self.store.exclusive:
            pool._core.guard = lease.guard
        return pool

    def end_unkept(self, id: str) -> None:
        """That the run has ended cannot be kept: it must not be taken for one that was left."""
        self._unkept.add(id)

    def ended(self, run: Run) -> None:
        """The run has ended here."""
        if self.under_way.get(run.id) is run:
            del self.under_way[run.id]
        self.metrics.on_end(run.state)

    # -- what callers ask ------------------------------------------------------------------------------------------

    def cancel(self, id: str) -> bool:
        """Cancel a run that is under way, here or elsewhere; whether there is a run of that id."""
        run = self.under_way.get(id)
        if run is not None:
            run.cancel()  # also where the store cannot be told now
        elif self.store.find(id) is None:
            return False
        self.store.ask_cancel(id)  # so that it holds after a kill, too
        return True

    def document(self, id: str) -> dict[str, Any] | None:
        """How a run stands; ``None`` where there is none of that id."""
        run = self.under_way.get(id)
        if run is not None:
            return run.document()
        found = self.store.find(id)
        return None if found is None else document_of(found)

    def forget(self, id: str) -> bool | None:
        """Forget a run that has ended; ``False`` where it has not, ``None`` where there is none of that id."""
        run = self.under_way.get(id)
        if run is not None:
            if run.state == 'running':
                return False
            run.greenlet.join(HALT_SECONDS)  # it has ended, and only tells so
        return self.store.forget(id)

    def left(self, id: str) -> list[dict[str, Any]]:
        """The requests of a run that have no result yet."""
        run = self.under_way.get(id)
        if run is not None:
            return [_shown(item.number, item.tag, item.host, item.method, item.url) for item in run.left()]
        return [
            _shown(number, *(request[name] for name in ('tag', 'host', 'method', 'url')))
            for number, request, _ in self.store.left(id)
        ]

    def in_flight(self, id: str) -> dict[str, Any]:
        """Which requests of a run are in flight, the earliest first; none where another service runs it."""
        run = self.under_way.get(id)
        return {'now': None, 'flying': []} if run is None else run.in_flight()

    def drain(self, seconds: float) -> None:
        """Take no new ones, and let those under way finish for a while; the others go on at the next start."""
        self.draining = True
        gevent.joinall([run.greenlet for run in self.under_way.values()], timeout=seconds)

    def stop(self) -> None:
        """End all greenlets; what has no result goes on at the next start."""
        runs = list(self.under_way.values())
        gevent.joinall([gevent.spawn(run.halt) for run in runs], timeout=HALT_SECONDS)
        gevent.joinall([run.greenlet for run in runs], timeout=HALT_SECONDS)
        gevent.killall([run.greenlet for run in runs])
        if self.via is not None:
            self.via.close()


def _about(items: list[Item]) -> dict[str, Any]:
    """What distinguishes a run from others at a glance; ``None`` for what differs between its requests."""
    methods, urls, hosts = (set(map(itemgetter(part), items)) for part in (_METHOD, _URL, _HOST))
    return {
        'method': methods.pop() if len(methods) == 1 else None,
        'url': urls.pop() if len(urls) == 1 else None,
        'host': items[0].host,
        'hosts': len(hosts),
    }


_METHOD, _URL, _HOST = (Item._fields.index(name) for name in ('method', 'url', 'host'))


def _shown(number: int, tag: Any, host: str, method: str, url: str) -> dict[str, Any]:
    return {'index': number, 'tag': tag, 'host': host, 'method': method, 'url': url}
