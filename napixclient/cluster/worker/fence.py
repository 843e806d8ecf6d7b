"""That a worker still holds its lanes is proved over the connection that it got them on.

The broker confirms what is published over that connection only while it regards the connection as alive. So a batch
whose beginning was confirmed there had not been given to anybody else. And for some seconds after the broker has
confirmed anything there, nobody else gets the lanes: that is the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any, Literal

from gevent.event import AsyncResult
from gevent.lock import Semaphore

from ..broker import HEARTBEAT
from ..publisher import SEALED

__all__ = ['Fence', 'Lease', 'LeaseOver', 'clock']

#: Seconds by which the worker stops before the broker can have given its lanes away.
MARGIN_SECONDS = 2.0
#: Seconds between two proofs.
PROOF_SECONDS = 1.5
#: A queue that is not there: what goes there is confirmed and dropped.
NOWHERE = 'napix.nowhere'
#: A clock that also counts while the machine sleeps, if there is one.
_CLOCK = getattr(time, 'CLOCK_BOOTTIME', time.CLOCK_MONOTONIC)
Write = Callable[[bytes | memoryview], int]


def clock() -> float:
    """Seconds of a monotonic clock."""
    return time.clock_gettime(_CLOCK)


class LeaseOver(OSError):
    """Nothing was written, as another worker may have the lanes."""


class Lease:
    """Whether a worker may send."""

    __slots__ = ('until',)

    def __init__(self) -> None:
        #: When it ends, by :func:`clock`.
        self.until: float = -inf

    @property
    def holds(self) -> bool:
        """Whether no other worker can have the lanes yet."""
        return clock() < self.until

    def renew(self, asked: float) -> None:
        """The broker has confirmed what was published at that time: it did not take the connection for dead."""
        self.until = max(self.until, asked + HEARTBEAT - MARGIN_SECONDS)

    def lose(self) -> None:
        """The connection is gone, and the lanes with it."""
        self.until = -inf

    def guard(self, send: Write) -> Write:
        """A function that writes to a socket only while the lease holds; it checks right before the system call."""
        gettime, which = time.clock_gettime, _CLOCK

        def guarded(data: bytes | memoryview) -> int:
            if gettime(which) >= self.until:
                raise LeaseOver('the worker may have lost its lanes')
            return send(data)

        return guarded


class Fence:
    """A channel of the consumer's connection, on which the broker confirms. Its confirms are read by the consumer.

    It is made in the consumer's greenlet, before that reads.
    """

    def __init__(self, connection: Any, lease: Lease) -> None:
        self._lease = lease
        self._channel = channel = connection.channel()
        self._lock = Semaphore()  # a message and its number are one step
        self._number = 0
        self._proofs: dict[int, float] = {}
        self._begun: dict[int, tuple[str, AsyncResult[str]]] = {}
        self._gone: set[str] = set()
        self._lost = False
        channel.confirm_select()
        channel.events['basic_ack'].add(self._on_ack)
        channel.events['basic_return'].add(self._on_return)
        self.prove()
        while self._proofs:
            connection.drain_events(timeout=HEARTBEAT)

    def prove(self) -> None:
        """Have the broker confirm that it regards the connection as alive.

        :raises OSError, AMQPError: when it does not.
        """
        with self._lock:
            self._number += 1
            self._proofs[self._number] = clock()
            self._channel.basic_publish(self._channel.prepare_message(b''), exchange='', routing_key=NOWHERE)

    def begin(self, queue: str, body: bytes) -> Literal['begun', 'gone', 'lost']:
        """Say that a batch begins, to the queue of the replies; return when that is kept.

        :return: ``gone`` when nobody waits for it, ``lost`` when the batch may be another worker's.
        """
        result: AsyncResult[str] = AsyncResult()
        try:
            with self._lock:
                if self._lost:
                    return 'lost'
                self._number += 1
                self._begun[self._number] = queue, result
                message = self._channel.prepare_message(
                    body, content_type=SEALED, content_encoding='binary', properties={'delivery_mode': 2}
                )
                self._channel.basic_publish(message, exchange='', routing_key=queue, mandatory=True)
        except Exception:  # whatever it is: nobody knows that it has begun
            return 'lost'
        return result.get()  # type: ignore[return-value]

    def lose(self) -> None:
        """The connection is lost, and with it all that was delivered over it."""
        self._lost = True
        begun, self._begun = self._begun, {}
        for _, result in begun.values():
            result.set('lost')

    def _on_ack(self, number: int, multiple: bool) -> None:
        for one in [n for n in self._proofs if n <= number] if multiple else [number]:
            asked = self._proofs.pop(one, None)
            if asked is not None:
                self._lease.renew(asked)
        for one in [n for n in self._begun if n <= number] if multiple else [number]:
            begun = self._begun.pop(one, None)
            if begun is not None:
                begun[1].set('gone' if begun[0] in self._gone else 'begun')

    def _on_return(self, exc: object, exchange: str, queue: str, message: object) -> None:
        self._gone.add(queue)  # the broker sends it before the confirm; a run has its queue until its end
