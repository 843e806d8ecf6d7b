"""The Celery application of a worker, and its one task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.exceptions import Reject
from celery.worker.strategy import default
from kombu import entity, serialization

from ...masking import mask
from ..broker import HEARTBEAT, Broker
from ..lanes import Zone
from ..publisher import SEALED
from .asking import Asker, Delivery, Poison

__all__ = ['App', 'TASK', 'make_app']

log: logging.Logger = logging.getLogger('napixclient.cluster')

TASK = 'napix.fan_out'

#: Batches of a lane that a worker has ahead.
PREFETCH = 4


class App(Celery):  # type: ignore[misc]  # Celery ships no types
    """Connects as the rest of the cluster does."""

    broker: Broker
    asker: Asker
    #: Who runs it.
    program: Any = None

    def connection_for_read(self, *args: object, **options: object) -> object:
        """A connection that is not yet open."""
        return self.broker.prepare()

    connection_for_write = connection_for_read


def make_app(broker: Broker, zone: Zone, lanes: list[int], asker: Asker) -> App:
    """The application of a worker that owns these lanes."""
    # What is sealed is opened by the task: it knows whom to tell when that fails.
    codecs: Any = serialization
    codecs.register('napix', bytes, lambda body: ((bytes(body),), {}, {}), SEALED, 'binary')
    app = App('napix', set_as_current=False, loader='celery.loaders.default:Loader')
    app.broker = broker
    app.asker = asker
    kombu: Any = entity
    exchange = kombu.Exchange('')
    app.conf.update(
        task_queues=[
            kombu.Queue(
                zone.queue(lane), exchange, routing_key=zone.queue(lane), durable=True, queue_arguments=zone.arguments
            )
            for lane in lanes
        ],
        task_default_queue=zone.queue(lanes[0]),
        task_default_exchange='',
        task_create_missing_queues=False,
        accept_content=['napix', 'json'],  # JSON is that of remote control
        task_ignore_result=True,
        result_backend_thread_safe=True,  # or each task makes a new one, which then does nothing
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=False,
        worker_prefetch_multiplier=1,
        # When it connects again, Celery 5.7 sets the prefetch of each lane to the size of its pool otherwise. Then the
        # loop waits for the pool, and the pool for confirms that the loop reads.
        worker_enable_prefetch_count_reduction=False,
        worker_detect_quorum_queues=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_heartbeat=HEARTBEAT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_enable_remote_control=False,
        enable_utc=True,
    )
    strategy = f'{__name__}:strategy'
    app.task(_fan_out, bind=True, name=TASK, acks_late=True, ignore_result=True, shared=False, Strategy=strategy)
    app.finalize()
    app.set_current()
    app.set_default()
    return app


def strategy(task: object, app: App, consumer: object, **options: object) -> Callable[..., object]:
    """What Celery does with a message of the task: what is no batch is left to the dead letters."""
    take: Callable[..., object] = default(task, app, consumer, **options)

    def take_batch(message: Any, *rest: Any, **more: Any) -> object:
        if message.content_type != SEALED or not message.properties.get('reply_to'):
            return message.reject()
        try:
            return take(message, *rest, **more)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:  # of its headers: they would end the worker
            log.warning('a message in %s is no batch: %s', message.delivery_info.get('routing_key'), mask(repr(exc)))
            return None if message.acknowledged else message.reject()

    return take_batch


def _fan_out(self: Any, sealed: bytes) -> None:
    """Send the requests of a batch."""
    request = self.request
    info = request.delivery_info or {}
    lane = str(info.get('routing_key', '')).rpartition('.')[2]
    count = int(request.get('x-delivery-count', 0) or 0)
    delivery = Delivery(
        str(request.id),
        str(request.reply_to),
        int(lane) if lane.isdecimal() else -1,
        sealed,
        bool(info.get('redelivered')) or count > 0,
        count,
        float(request.get('sent', 0) or 0),
    )
    try:
        self.app.asker.ask(delivery)
    except Poison as exc:
        raise Reject(str(exc), requeue=False) from exc
