"""The Celery application of a worker, and its one task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery
from gevent.pool import Group
from kombu import entity, serialization

from ...masking import mask
from ..broker import FAILURES, HEARTBEAT, Broker
from ..lanes import TASK, Zone
from ..publisher import SEALED
from .asking import Asker, Delivery, Kept, Poison

__all__ = ['App', 'make_app']

log: logging.Logger = logging.getLogger('napixclient.cluster')

#: Batches of a lane that a worker has ahead.
PREFETCH = 4


class App(Celery):  # type: ignore[misc]  # Celery ships no types
    """Connects as the rest of the cluster does."""

    broker: Broker
    asker: Asker
    #: The batches that run.
    batches: Group
    #: Who runs it.
    program: Any = None

    def connection_for_read(self, *args: object, **options: object) -> object:
        """A connection that is not yet open."""
        return self.broker.prepare()

    connection_for_write = connection_for_read


def make_app(broker: Broker, zone: Zone, lanes: list[int], asker: Asker) -> App:
    """The application of a worker that owns these lanes."""
    # Nothing is decoded by it; but Celery acknowledges what it cannot decode, which is for the dead letters.
    codecs: Any = serialization
    codecs.register('napix', bytes, lambda body: ((bytes(body),), {}, {}), SEALED, 'binary')
    app = App('napix', set_as_current=False, loader='celery.loaders.default:Loader')
    app.broker = broker
    app.asker = asker
    app.batches = Group()
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
        worker_prefetch_multiplier=1,
        # When it connects again, Celery 5.7 sets the prefetch of each lane to the size of its pool otherwise.
        worker_enable_prefetch_count_reduction=False,
        worker_detect_quorum_queues=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # it has none; without this it warns
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_heartbeat=HEARTBEAT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_enable_remote_control=False,
        enable_utc=True,
    )
    app.task(_not_run, name=TASK, ignore_result=True, shared=False, Strategy=f'{__name__}:strategy')
    app.finalize()
    app.set_current()
    app.set_default()
    return app


def strategy(task: object, app: App, consumer: object, **options: object) -> Callable[..., object]:
    """What Celery does with a message of the task: a greenlet asks, and acknowledges it in the end.

    Celery's own takes more time for a batch than the engine takes for thirty requests.
    """
    batches = app.batches

    def take(message: Any, *rest: object) -> object:
        try:
            delivery = _delivery_of(message)
        except (TypeError, ValueError, AttributeError) as exc:  # they would end the worker; it is for the dead letters
            log.warning('a message in %s is no batch: %s', message.delivery_info.get('routing_key'), mask(str(exc)))
            return message.reject()
        return batches.spawn(_ask, app.asker, delivery, message)

    return take


def _delivery_of(message: Any) -> Delivery:
    """:raises TypeError, ValueError, AttributeError: for what is no batch."""
    headers, properties, info = message.headers, message.properties, message.delivery_info
    if message.content_type != SEALED or not properties.get('reply_to') or not properties.get('correlation_id'):
        raise ValueError(f'it is no {SEALED} with a correlation_id and a reply_to')
    lane = str(info.get('routing_key', '')).rpartition('.')[2]
    count = int(headers.get('x-delivery-count', 0) or 0)
    return Delivery(
        properties['correlation_id'],
        properties['reply_to'],
        int(lane) if lane.isdecimal() else -1,
        bytes(message.body),
        bool(info.get('redelivered')) or count > 0,
        count,
        float(headers.get('sent', 0) or 0),
    )


def _ask(asker: Asker, delivery: Delivery, message: Any) -> None:
    """Send the requests of a batch; it is killed when the connection is lost that the batch came over."""
    try:
        asker.ask(delivery)
        end = message.ack
    except Kept:
        return
    except Poison:
        end = message.reject
    except Exception:
        log.exception('a batch of lane %d cannot be sent', delivery.lane)
        end = message.reject
    with suppress(*FAILURES):  # the loop finds out, or has found out
        end()


def _not_run() -> None:
    """The task's strategy does all that is to be done."""
