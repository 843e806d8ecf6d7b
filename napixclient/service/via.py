"""Runs that ask over the workers of a cluster, ``napix serve --via URL``.

The store has what may be published before it is, and the broker has what workers say until the store has it. So whoever
goes on with a run fetches the outcomes of what was published before from the same queue, and publishes none of it anew
that must not be sent twice.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from time import monotonic

import gevent
from amqp.exceptions import NotFound
from gevent import monkey
from gevent.pool import Group

from .._http.options import Simultaneous
from .._http.pending import PendingResponse
from ..cluster.broker import FAILURES, Broker, leave
from ..cluster.keys import Keyring
from ..cluster.lanes import LANES, Zone, reply_queue
from ..cluster.plan import Plan
from ..cluster.status import look
from ..cluster.submitter import Submitter
from ..masking import mask
from ..messages import Headers, Request
from .flight import Flight
from .submission import BadSubmission, Options

__all__ = ['Via', 'ViaFlight']

log: logging.Logger = logging.getLogger('napixclient.service')

#: Requests that travel together at most, and that may be with the broker and the workers at once, of one run.
BATCH, WINDOW = 100, 20_000
AGAIN_SECONDS = 1.0
#: Seconds for the broker to confirm what is on its way when the service ends.
LEAVE_SECONDS = 1.0
_OTHER_CAP = 2  # of a run that an instance without a cluster has begun


class Via:
    """The cluster that asks.

    :param max_answer: bytes of an answer's body, at most.
    :raises ValueError: for a URL, keys, a zone or lanes that make no sense, and for a broker that cannot be used.
    """

    def __init__(self, url: str, key: str | None, zone: str | None, lanes: int | None, max_answer: int) -> None:
        if not monkey.is_module_patched('socket'):
            raise ValueError('a service that asks over a cluster needs a process that gevent has patched')
        given = key or os.environ.get('NAPIX_CLUSTER_KEY')
        if not given:
            raise ValueError('--via needs the key of the cluster: give --via-key @FILE, or set NAPIX_CLUSTER_KEY')
        self._broker = Broker(url)
        self._keys = Keyring(given)
        self._zone = Zone(zone or 'default', lanes or LANES)
        self._leaving = Group()
        self._defaults = Request('host', 'GET', '/', max_body=max_answer)
        try:
            leave(self._broker.connect())
        except FAILURES as exc:
            raise ValueError(self._broker.error(exc).message) from exc
        log.info('runs ask over the cluster %r of the broker at %s', self._zone.name, self._broker.shown)

    def check(self, options: Options) -> None:
        """:raises BadSubmission: for what only a pool of the service's own can do."""
        if options.simultaneous == 'auto':
            raise BadSubmission('simultaneous: "auto" is not for runs over a cluster: the cap is that of its workers')

    def open(self, id: str, fence: int, simultaneous: Simultaneous, ended: Callable[[], bool]) -> ViaFlight | None:
        """What sends the requests of a run.

        :param fence: how many had the run before.
        :param ended: whether the run is over; ``None`` is returned then.
        """
        name: str | None = id
        while fence:
            try:
                name = self._find(id, fence)
                break
            except FAILURES as exc:
                log.warning('run %s waits for the broker at %s: %s', id, self._broker.address, mask(repr(exc)))
                gevent.sleep(AGAIN_SECONDS)
                if ended():
                    return None
        plan = Plan(
            self._broker,
            self._keys,
            self._zone,
            name or f'{id}.{fence}',
            simultaneous if isinstance(simultaneous, int) else _OTHER_CAP,
            signer=None,
            batch=BATCH,
            window=WINDOW,
            defaults=self._defaults,
            headers=Headers({}),
            fence=fence,
        )
        return ViaFlight(Submitter(plan), name is not None, self._leaving)

    def status(self) -> dict[str, object]:
        """Its lanes and workers.

        :raises ClusterError: when the broker cannot be asked.
        """
        try:
            return look(self._broker, self._zone).document()
        except FAILURES as exc:
            raise self._broker.error(exc) from exc

    def close(self) -> None:
        """Wait until all runs have left the broker."""
        self._leaving.join(LEAVE_SECONDS * 2)

    def _find(self, id: str, fence: int) -> str | None:
        """The name of the run whose replies the broker still has: the latest that one before us gave it."""
        connection = self._broker.connect()
        try:
            for name in [*(f'{id}.{number}' for number in range(fence - 1, 0, -1)), id]:
                try:
                    connection.channel().queue_declare(reply_queue(name), passive=True)
                    return name
                except NotFound:
                    pass
        finally:
            leave(connection)
        return None


class ViaFlight(Flight):
    """Gives requests to workers.

    :param known: whether the broker has what workers have said to who had the run before.
    :param leaving: the greenlets that leave the broker.
    """

    def __init__(self, submitter: Submitter, known: bool, leaving: Group) -> None:
        super().__init__()
        self._leaving = leaving
        self.known: bool = known
        self._submitter = submitter
        self._left = False
        self._since: dict[int, float] = {}  # by number: when it was given to the submitter

    def submit(self, number: int, request: Request) -> None:
        """Have a request published."""
        self._since[number] = monotonic()
        self._under_way[number] = self._submitter.submit(request, self._batch, number)

    def inherit(self, number: int, request: Request) -> None:
        """Wait for the outcome of what was published before."""
        self._since[number] = monotonic()
        self._under_way[number] = self._submitter.inherit(request, self._batch, number)

    def kept(self, numbers: list[int]) -> None:
        """The results of these are in the store: the broker may forget them."""
        for number in numbers:
            self._since.pop(number, None)
        ledger = self._submitter.ledger
        assert ledger is not None
        ledger.keep(number + 1 for number in numbers)

    def cancel(self) -> None:
        """End everything with ``Cancelled``, and have workers drop it."""
        if not self._left:
            self._submitter.cancel()

    def halt(self) -> set[int]:
        """Leave everything to the next start; which requests were not published."""
        self._left = True
        unsent = self._submitter.leave(LEAVE_SECONDS)
        self._under_way.clear()
        self.finished.clear()
        return unsent

    def close(self, keeps: bool) -> None:
        """Leave the broker.

        :param keeps: whether somebody goes on with the run, and needs what workers say.
        """
        if not self._left:  # in a greenlet of its own, as that of the run may be killed meanwhile
            self._leaving.spawn(self.halt if keeps else self._submitter.close)

    def limit(self, host: str) -> int:
        """The cap of the workers."""
        return self._submitter.plan.cap

    def sent(self) -> Iterator[tuple[float, int]]:
        """Since when the broker or a worker has what it has, by ``time.monotonic()``, and its number."""
        for number, pending in self._under_way.items():
            if isinstance(pending, PendingResponse) and pending.sent:
                yield self._since[number], number
