"""What the consumer of Celery 5.7 does in addition, and what it leaves out.

There is no delayed delivery: its 28 queues are for tasks that are to run later. The steps are stopped in the reverse of
the order in which they are started.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from time import monotonic
from typing import Any

import gevent
from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer

from ...masking import mask
from ..broker import FAILURES, is_final
from ..lanes import TASK
from .app import PREFETCH
from .fence import PROOF_SECONDS, Fence

__all__ = ['Drain', 'FenceStep', 'LaneConsumer', 'Prefetch', 'Watch']

log: logging.Logger = logging.getLogger('napixclient.cluster')

_TASKS = 'celery.worker.consumer.tasks:Tasks'
WATCH_SECONDS = 0.5
#: Seconds for batches under way to end after SIGTERM.
DRAIN_SECONDS = 25.0
AGAIN_SECONDS = 1.0
#: Seconds between two lines about a broker that cannot be reached.
TELL_SECONDS = 30.0


class Prefetch(bootsteps.StartStopStep):  # type: ignore[misc]
    """With quorum queues the prefetch is per queue: Celery would take as many of each lane as it runs in all."""

    requires: tuple[object, ...] = (_TASKS,)

    def __init__(self, consumer: Any, **options: object) -> None:
        consumer.initial_prefetch_count = PREFETCH
        super().__init__(consumer, **options)


class FenceStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Keeps the proof that the lanes are held here, from the connection on which they are."""

    requires: tuple[object, ...] = (_TASKS,)
    _greenlet: Any = None

    def start(self, consumer: Any) -> None:
        """Called before anything is consumed."""
        app = consumer.app
        app.program.look_for_owners(consumer.connection)
        app.asker.lapsed = False
        fence = app.asker.fence = Fence(consumer.connection, app.program.lease)
        self._greenlet = gevent.spawn(self._prove, fence)

    def _prove(self, fence: Fence) -> None:
        with suppress(*FAILURES):  # then the lease runs out
            while True:
                gevent.sleep(PROOF_SECONDS)
                fence.prove()

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or about to be closed: whatever is in flight may be another's at once."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        app = consumer.app
        app.program.lease.lose()
        fence, app.asker.fence = app.asker.fence, None
        if fence is not None:
            fence.lose()
        app.asker.cut_off()
        app.batches.kill(block=False)  # they cannot be acknowledged any more


class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
    """Tells the loop that its connection is lost, where somebody else found out first.

    kombu connects again silently when an acknowledgement meets the loss before the loop does: then nobody consumes.
    """

    requires: tuple[object, ...] = (_TASKS, FenceStep)
    _greenlet: Any = None

    def start(self, consumer: object) -> None:
        """Called in the greenlet of the loop."""
        self._greenlet = gevent.spawn(self._watch, consumer, gevent.getcurrent())

    def stop(self, consumer: object) -> None:
        """The loop has ended."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _watch(self, consumer: Any, loop: Any) -> None:
        raw = consumer.task_consumer.channel.connection
        while True:
            gevent.sleep(WATCH_SECONDS)
            if consumer.app.asker.draining or consumer.connection is None or consumer.task_consumer is None:
                return
            asker = consumer.app.asker
            lost = consumer.connection._connection is not raw or not raw.connected
            if lost or asker.lapsed or not consumer.app.program.lease.holds:
                log.warning('the broker was not heard of in time: connecting again')
                asker.cut_off()
                error = ConnectionResetError('the connection was lost, and nobody told the loop')
                gevent.get_hub().loop.run_callback(loop.throw, error)
                return


class Drain(bootsteps.StartStopStep):  # type: ignore[misc]
    """On SIGTERM: begins no batch, lets those under way end, and closes the connection.

    It is stopped before the consumers are: a consumer that is cancelled gives its lanes away at once.
    """

    requires: tuple[object, ...] = (_TASKS, FenceStep, Watch)

    def stop(self, consumer: Any) -> None:
        """The worker ends, or the connection is lost."""
        asker = consumer.app.asker
        if not asker.draining or consumer.connection is None:
            return
        if asker.under_way:
            log.warning('draining: %d batches are under way', len(asker.under_way))
        end = monotonic() + DRAIN_SECONDS
        with suppress(*FAILURES):  # the loop has ended: what proves the lease is read here
            while asker.under_way and monotonic() < end and consumer.app.program.lease.holds:
                consumer.connection.heartbeat_check()
                with suppress(TimeoutError):
                    consumer.connection.drain_events(timeout=0.05)
        if asker.under_way:
            log.warning('%d batches did not end in %d s: they go back', len(asker.under_way), DRAIN_SECONDS)
        consumer.app.program.lease.lose()
        asker.cut_off()
        connection, consumer.connection, consumer.task_consumer = consumer.connection, None, None
        with suppress(*FAILURES):
            connection.close()


class LaneConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer without what is of no use here."""

    class Blueprint(bootsteps.Blueprint):  # type: ignore[misc]
        """Its steps."""

        name = 'Consumer'
        default_steps: tuple[object, ...] = (
            'celery.worker.consumer.connection:Connection',
            _TASKS,
            Prefetch,
            FenceStep,
            Watch,
            Drain,
            'celery.worker.consumer.consumer:Evloop',
        )

        def shutdown(self, parent: object) -> None:
            """End all steps."""
            self.send_all(parent, 'shutdown')

    def connect(self) -> object:
        """Connect to the broker, for as long as that takes.

        :raises WorkerShutdown: when the broker refuses, or the worker is to end.
        """
        program, told = self.app.program, -TELL_SECONDS
        while True:
            if self.app.asker.draining:
                raise WorkerShutdown(0)
            try:
                connection = self.app.broker.connect()
                program.declare(connection)
                return connection
            except FAILURES as exc:
                if is_final(exc):
                    program.failure = self.app.broker.error(exc).message
                    raise WorkerShutdown(1) from exc
                if monotonic() - told >= TELL_SECONDS:
                    told = monotonic()
                    log.warning('%s; trying again', self.app.broker.error(exc).message)
                gevent.sleep(AGAIN_SECONDS)

    def create_task_handler(self, *args: Any, **options: Any) -> Any:
        """What is done with each message; one of another task is for the dead letters, and ends no worker."""
        handle = super().create_task_handler(*args, **options)

        def handle_batch(message: Any) -> object:
            headers = message.headers
            if isinstance(headers, dict) and headers.get('task') == TASK:
                return handle(message)
            log.warning('a message in %s is of no task of ours', message.delivery_info.get('routing_key'))
            return message.reject()

        return handle_batch

    def start(self) -> None:
        """Consume, and connect again as often as needed.

        :raises WorkerShutdown: when the broker refuses.
        """
        try:
            super().start()
        except FAILURES as exc:
            self.app.program.failure = self.app.broker.error(exc).message
            raise WorkerShutdown(1) from exc

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Say so in one line."""
        log.warning('the connection to the broker is lost: %s', mask(str(exc) or type(exc).__name__))
        super().on_connection_error_after_connected(exc)
