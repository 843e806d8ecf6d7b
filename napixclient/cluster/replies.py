"""Fetches what workers say of a run, from the queue of its replies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from ..masking import mask
from .broker import FAILURES, HEARTBEAT, Broker, leave
from .lanes import REPLIES_KEPT
from .ledger import Ledger

__all__ = ['Replies']

log: logging.Logger = logging.getLogger('napixclient.cluster')

#: Messages that may be here and not yet acknowledged.
AHEAD = 50
#: Seconds between two looks for what is kept by now.
KEPT_SECONDS = 0.25
AGAIN_SECONDS = 0.1
MOST_SECONDS = 2.0


class Replies:
    """One greenlet with a connection of its own; it goes on when the broker comes back.

    :param take: called with the body and the properties of each message, and whether it was delivered before; it does
        not block. It returns the numbers of the requests that the message tells of.
    :param failed: called when there is no connection, with the failure and how long that has been so, in seconds.
    :param ledger: says what may be acknowledged; without one a message may be as soon as it was taken.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        take: Callable[[bytes, dict[str, Any], bool], Iterable[int]],
        failed: Callable[[BaseException, float], None],
        ledger: Ledger | None = None,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._take = take
        self._failed = failed
        self._ledger = ledger
        self._latest: int | None = None  # the tag of the latest message, if it is not yet acknowledged
        self._closing = False
        self._deletes = True
        #: Set when the queue is there, so that workers may be told of it.
        self.ready: Event = Event()
        self.greenlet: Any = gevent.spawn(self._run)

    def close(self, deletes: bool = True) -> None:
        """Stop.

        :param deletes: to have the queue deleted: workers learn by it that nobody waits.
        """
        self._closing = True
        self._deletes = deletes
        if gevent.getcurrent() is not self.greenlet:
            self.greenlet.kill(timeout=2)

    def _run(self) -> None:
        pause, since = AGAIN_SECONDS, monotonic()
        while not self._closing:
            try:
                self._consume()
            except FAILURES as exc:
                log.info('the broker at %s: %s', self._broker.address, mask(repr(exc)))
                if self.ready.is_set():
                    self.ready.clear()
                    pause, since = AGAIN_SECONDS, monotonic()
                self._failed(exc, monotonic() - since)
                gevent.sleep(pause)
                pause = min(2 * pause, MOST_SECONDS)

    def _consume(self) -> None:
        connection = self._broker.connect()
        try:
            channel = connection.channel()
            channel.queue_declare(
                self._queue, durable=True, auto_delete=False, arguments={'x-expires': REPLIES_KEPT * 1000}
            )
            # What waits to be kept must not keep away what it waits for: a result may have to wait for its turn.
            channel.basic_qos(0, AHEAD if self._ledger is None else 0, False)
            self._latest = None
            if self._ledger is not None:
                self._ledger.forget_tags()
            channel.basic_consume(self._queue, callback=self._on_message)
            self.ready.set()
            self._drain(connection, channel)
        except gevent.GreenletExit:
            if self._deletes:
                with suppress(*FAILURES), gevent.Timeout(1, TimeoutError('the broker does not answer')):
                    channel.queue_delete(self._queue)
            raise
        finally:
            leave(connection)

    def _drain(self, connection: Any, channel: Any) -> None:
        beat = monotonic()
        while True:
            with suppress(TimeoutError):
                connection.drain_events(timeout=HEARTBEAT / 4 if self._ledger is None else KEPT_SECONDS)
            if self._latest is not None:
                tag, self._latest = self._latest, None
                channel.basic_ack(tag, multiple=True)
            for tag in () if self._ledger is None else self._ledger.take_due():
                channel.basic_ack(tag)
            if monotonic() - beat > HEARTBEAT / 4:
                connection.heartbeat_check()
                beat = monotonic()

    def _on_message(self, message: Any) -> None:
        again = bool(message.delivery_info.get('redelivered'))
        numbers = self._take(bytes(message.body), message.properties, again)
        if self._ledger is None:
            self._latest = message.delivery_tag
        else:
            self._ledger.hold(message.delivery_tag, numbers)
