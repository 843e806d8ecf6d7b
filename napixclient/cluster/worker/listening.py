"""Hears what is said to all workers: that requests are dropped, and the question who is there.

Celery's own remote control is left out: it could end the worker, and it does not come back when its connection is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import gevent

from ...masking import mask
from ..broker import FAILURES, HEARTBEAT, Broker, leave
from ..control import mailbox

__all__ = ['Listener']

log: logging.Logger = logging.getLogger('napixclient.cluster')

AGAIN_SECONDS = 1.0


class Listener:
    """One greenlet with a connection of its own.

    :param name: of this worker, and of no other.
    :param handlers: what is called for what is said.
    """

    def __init__(self, broker: Broker, name: str, handlers: dict[str, Callable[..., object]]) -> None:
        self._broker = broker
        self._name = name
        self._handlers = handlers
        self.greenlet: Any = gevent.spawn(self._run)

    def close(self) -> None:
        """Hear nothing more."""
        self.greenlet.kill()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except FAILURES as exc:
                log.info('the broker at %s: %s', self._broker.address, mask(repr(exc)))
            gevent.sleep(AGAIN_SECONDS)

    def _listen(self) -> None:
        connection = self._broker.connect()
        try:
            node = mailbox(connection).Node(self._name, state=None, channel=connection.channel())
            node.handlers = {
                name: lambda state, handler=handler, **arguments: handler(**arguments)
                for name, handler in self._handlers.items()
            }
            node.listen(callback=lambda body, message: self._hear(node, body))
            beat = monotonic()
            while True:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=HEARTBEAT / 4)
                if monotonic() - beat > HEARTBEAT / 4:
                    connection.heartbeat_check()
                    beat = monotonic()
        finally:
            leave(connection)

    def _hear(self, node: Any, body: Any) -> None:
        try:
            node.handle_message(body)
        except FAILURES:
            raise
        except Exception as exc:  # anybody may say anything
            log.info('what was said makes no sense: %s', mask(repr(exc)))
