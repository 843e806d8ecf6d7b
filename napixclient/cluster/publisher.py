"""Publishes messages over a connection of its own, and says of each what became of it.

A connection of py-amqp is for one greenlet. So there is one greenlet here; it sends what waits, then reads until all of
it is confirmed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Literal, Protocol

import gevent
from amqp.exceptions import PreconditionFailed
from gevent.event import Event

from ..masking import mask
from .broker import FAILURES, READ_SECONDS, Broker, keep_alive, leave

__all__ = ['PLAIN', 'SEALED', 'Fate', 'Message', 'Publishable', 'Publisher']

log: logging.Logger = logging.getLogger('napixclient.cluster')

#: What became of a message. ``lost`` is what may or may not have reached its queue.
Fate = Literal['confirmed', 'returned', 'lost', 'too large']
#: What is sealed, and what is not.
SEALED = 'application/x-napix'
PLAIN = 'text/plain'
#: Messages that are sent before their confirms are waited for, and the size of one that is sent alone.
GROUP = 64
ALONE_BYTES = 16 << 10
IDLE_SECONDS = 3.0
#: Seconds between two attempts to connect: at first, and at most.
AGAIN_SECONDS = 0.1
MOST_SECONDS = 2.0


class Publishable(Protocol):
    """What is published to a queue."""

    queue: str
    content_type: str
    properties: dict[str, Any]
    headers: dict[str, Any]

    @property
    def body(self) -> bytes:
        """It is asked for when the message is sent."""

    @property
    def ended(self) -> Callable[[Fate], object]:
        """Called with what became of it, in the publisher's greenlet; it does not block.

        If it returns true for ``lost``, the message is published once more.
        """


class Message:
    """A message that is complete."""

    __slots__ = ('body', 'content_type', 'ended', 'headers', 'properties', 'queue')

    def __init__(
        self,
        queue: str,
        body: bytes,
        ended: Callable[[Fate], object],
        properties: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        content_type: str = SEALED,
    ) -> None:
        self.queue: str = queue
        self.content_type: str = content_type
        self.body: bytes = body
        self.ended: Callable[[Fate], object] = ended
        self.properties: dict[str, Any] = properties or {}
        self.headers: dict[str, Any] = headers or {}


class Publisher:
    """One greenlet, one connection, confirms, and messages that come back from where nobody listens.

    :param prepare: called with a channel and the name of a queue before the first message goes there.
    :param failed: called when there is no connection, with the failure and how long that has been so, in seconds.
    """

    def __init__(
        self,
        broker: Broker,
        prepare: Callable[[Any, str], None] | None = None,
        failed: Callable[[BaseException, float], None] | None = None,
    ) -> None:
        self._broker = broker
        self._prepare = prepare
        self._failed = failed
        self._waiting: deque[Publishable] = deque()
        self._news = Event()
        self._connection: Any = None
        self._channel: Any = None
        self._prepared: set[str] = set()
        self._sent: OrderedDict[int, Publishable] = OrderedDict()  # by the number that the broker confirms
        self._returned: set[str] = set()  # names of messages of the group that came back
        self._number = 0
        self._since: float | None = None  # when the connection was missed first
        self._closing = False
        self.greenlet: Any = gevent.spawn(self._run)

    def put(self, message: Publishable) -> None:
        """Have a message published."""
        self._waiting.append(message)
        self._news.set()

    def close(self, seconds: float = 0) -> None:
        """Stop, after what waits has been published, or so many seconds have passed."""
        self._closing = True
        self._news.set()
        if gevent.getcurrent() is not self.greenlet:
            self.greenlet.join(seconds)
            self.greenlet.kill(timeout=1)

    # -- the greenlet ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = AGAIN_SECONDS
        try:
            while self._waiting or not self._closing:
                try:
                    self._connect()
                    self._turn()
                    pause, self._since = AGAIN_SECONDS, None
                except FAILURES as exc:
                    self._lose(exc)
                    gevent.sleep(pause)
                    pause = min(2 * pause, MOST_SECONDS)
        finally:
            self._drop_connection()

    def _connect(self) -> None:
        if self._connection is not None:
            return
        if self._since is None:
            self._since = monotonic()
        self._connection = self._broker.connect()
        self._open_channel()

    def _open_channel(self) -> None:
        self._channel = channel = self._connection.channel()
        channel.confirm_select()
        channel.events['basic_ack'].add(self._on_ack)
        channel.events['basic_nack'].add(self._on_nack)
        channel.events['basic_return'].add(self._on_return)
        self._number = 0
        self._prepared.clear()

    def _turn(self) -> None:
        """Publish a group of what waits, or keep the connection alive."""
        if not self._waiting:
            self._news.clear()
            if not self._closing and not self._news.wait(IDLE_SECONDS):
                keep_alive(self._connection)
            return
        try:
            self._publish_group()
            end = monotonic() + READ_SECONDS
            while self._sent:
                if monotonic() > end:
                    raise TimeoutError('the broker confirms nothing')
                self._connection.drain_events(timeout=READ_SECONDS)
        except PreconditionFailed as exc:
            if len(self._sent) != 1 or 'size' not in str(exc):
                raise
            _, message = self._sent.popitem()
            message.ended('too large')
            self._drop_connection()

    def _publish_group(self) -> None:
        for _ in range(GROUP):
            if not self._waiting:
                break
            message = self._waiting[0]
            alone = len(message.body) > ALONE_BYTES
            if alone and self._sent:
                break
            if message.queue not in self._prepared:
                if self._prepare is not None:
                    self._prepare(self._channel, message.queue)
                self._prepared.add(message.queue)
            self._waiting.popleft()
            self._number += 1
            self._sent[self._number] = message
            self._send(message)
            if alone:
                break

    def _send(self, message: Publishable) -> None:
        channel = self._channel
        made = channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding='binary',
            headers=message.headers,
            properties={'delivery_mode': 2, **message.properties},
        )
        channel.basic_publish(made, exchange='', routing_key=message.queue, mandatory=True)

    def _on_ack(self, number: int, multiple: bool) -> None:
        returned, sent = self._returned, self._sent
        for one in [key for key in sent if key <= number] if multiple else [number]:
            message = sent.pop(one, None)
            if message is not None:
                is_returned = _name(message) in returned
                if is_returned:
                    self._prepared.discard(message.queue)
                message.ended('returned' if is_returned else 'confirmed')
        if not sent:
            returned.clear()

    def _on_nack(self, number: int, multiple: bool) -> None:
        raise ConnectionResetError('the broker did not take a message')

    def _on_return(self, exc: object, exchange: str, queue: str, message: Any) -> None:
        # The broker sends it before the confirm.
        self._returned.add(message.properties.get('correlation_id') or queue)

    # -- losses ----------------------------------------------------------------------------------------------------

    def _lose(self, exc: BaseException) -> None:
        """The connection is gone: what was not confirmed may have arrived."""
        log.info('the broker at %s: %s', self._broker.address, mask(repr(exc)))
        self._drop_connection()
        lost = list(self._sent.values())
        self._sent.clear()
        self._returned.clear()
        self._waiting.extendleft(reversed([message for message in lost if message.ended('lost')]))
        now = monotonic()
        if self._since is None:
            self._since = now
        if self._failed is not None:
            self._failed(exc, now - self._since)

    def _drop_connection(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            leave(connection, lost=bool(self._sent) or not connection.connected)


def _name(message: Publishable) -> str:
    """What tells a message that came back from others: its id, or where nobody listens, its queue."""
    name: str = message.properties.get('correlation_id') or message.queue
    return name
