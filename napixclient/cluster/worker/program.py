"""The worker as a program: from its start to its exit code."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click
import gevent
from celery.worker import WorkController, state

from ..._http.options import Options
from ...allow import Allow
from ..broker import FAILURES, Broker
from ..control import CANCEL, RECALL, WHO, workers
from ..keys import Keyring
from ..lanes import Zone, folded
from ..publisher import Publisher
from .app import make_app
from .asking import Asker
from .consumer import LaneConsumer
from .fence import Lease
from .listening import Listener
from .saying import Sayer

__all__ = ['Program', 'WorkerConfig']

log: logging.Logger = logging.getLogger('napixclient.cluster')


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is to be.

    :raises ValueError: for a number that is none of so many, and for a worker without a lane.
    """

    broker: Broker
    keys: Keyring
    zone: Zone
    number: int = 0
    of: int = 1
    simultaneous: int = 2
    allow: Allow = field(default_factory=Allow)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            last = self.of - 1
            raise ValueError(f'--number counts from 0: of {self.of} it is 0 to {last}, not {self.number}')
        if self.of > self.zone.lanes:
            raise ValueError(f'--of {self.of} is more than the {self.zone.lanes} lanes that there are to own')


class Program:
    """One worker, until it is told to end."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.name: str = f'{config.number}/{config.of}@{socket.gethostname()}'
        self.lanes: list[int] = config.zone.owned(config.number, config.of)
        self.lease: Lease = Lease()
        #: Why the broker let it do nothing.
        self.failure: str | None = None
        self._publisher = Publisher(config.broker)
        sayer = Sayer(self.name, config.keys, self._publisher)
        self._asker = Asker(config.simultaneous, config.allow, sayer, self.lease, config.options)
        self._app = make_app(config.broker, config.zone, self.lanes, self._asker)
        self._app.program = self
        self._node = f'napix-{config.zone.name}-{self.name}-{os.getpid()}'

    def run(self) -> int:
        """Work until SIGTERM or SIGINT, and return the exit code. A second signal ends it at once."""
        for number in signal.SIGTERM, signal.SIGINT:
            gevent.signal_handler(number, self._stop, number)
        worker = WorkController(
            app=self._app,
            hostname=self._node,
            pool='gevent',
            consumer_cls=LaneConsumer,
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
            ready_callback=self._say_ready,
        )
        handlers: dict[str, Callable[..., object]] = {
            CANCEL: self._asker.cancel,
            RECALL: self._asker.recall,
            WHO: self.describe,
        }
        listener = Listener(self.config.broker, self._node, handlers)
        worker.start()
        listener.close()
        self._publisher.close(2)
        self._asker.close()
        if self.failure is None and worker.exitcode:
            self.failure = 'the worker ended by an error of its own; with -v it logs which'
        if self.failure is not None:
            click.echo(f'napix: {self.failure}', err=True)
            return 1
        return 0

    def _stop(self, number: int) -> None:
        if self._asker.draining:
            os._exit(128 + number)
        self._asker.draining = True
        state.should_stop = 0

    # -- what it says ----------------------------------------------------------------------------------------------

    def _say_ready(self, consumer: Any) -> None:
        config = self.config
        text = (
            f'ready: worker {self.name}, zone {config.zone.name}, lanes {folded(self.lanes)} '
            f'({len(self.lanes)} of {config.zone.lanes}), {config.simultaneous} at once to an origin'
        )
        click.echo(text, err=True)

    def declare(self, connection: Any) -> None:
        """Have the queues of its lanes be there, and that of dead letters."""
        channel = connection.channel()
        zone = self.config.zone
        channel.queue_declare(zone.dead_letters, durable=True, auto_delete=False)
        for lane in self.lanes:
            channel.queue_declare(zone.queue(lane), durable=True, auto_delete=False, arguments=zone.arguments)
        channel.close()

    def look_for_owners(self, connection: Any) -> None:
        """Say which lanes another worker has: then this one stands by. Called before it consumes."""
        channel = connection.channel()
        zone = self.config.zone
        taken = [lane for lane in self.lanes if channel.queue_declare(zone.queue(lane), passive=True)[2]]
        channel.close()
        if not taken:
            return
        try:
            others = [one for one in workers(self.config.broker, zone.name) if set(one.get('owns', ())) & set(taken)]
            others = [one for one in others if (one['name'], one['pid']) != (self.name, os.getpid())]
        except FAILURES:
            others = []
        names = ', '.join(sorted({str(one.get('name')) for one in others})) or 'a worker that does not answer'
        log.warning('another worker has lanes %s: %s; this one stands by until it ends', folded(taken), names)

    def describe(self) -> dict[str, object]:
        """What it says of itself to whoever asks."""
        config, asker = self.config, self._asker
        oldest: dict[int, float] = {}
        for delivery in asker.under_way.values():
            if delivery.sent:
                oldest[delivery.lane] = min(oldest.get(delivery.lane, delivery.sent), delivery.sent)
        return {
            'name': self.name,
            'number': config.number,
            'of': config.of,
            'zone': config.zone.name,
            'lanes': config.zone.lanes,
            'owns': self.lanes,
            'simultaneous': config.simultaneous,
            'pid': os.getpid(),
            'batches': len(asker.under_way),
            'done': asker.figures.done,
            'rate': round(asker.figures.rate(), 1),
            'oldest': {str(lane): sent for lane, sent in oldest.items()},
        }
