"""Runs the handler of a consumer, and tells whoever started the consumer what goes wrong."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextvars import copy_context

import gevent

from .errors import ErrorBase, NotFound
from .forking import Staying
from .inhand import Task
from .messages import Message

__all__ = ['Handlers', 'Reports']

logger: logging.Logger = logging.getLogger('napixclient.marconi')


class Reports:
    """Passes errors to ``on_error(error, message)``, or else to the log.

    :param queue: the name of the queue, for the log.
    """

    def __init__(self, queue: str, on_error: Callable[[BaseException, Message | None], object] | None) -> None:
        self._queue, self._on_error = queue, on_error
        self._inside: set[object] = set()

    def __contains__(self, greenlet: object) -> bool:
        """Whether this greenlet is inside ``on_error``."""
        return greenlet in self._inside

    def failed(self, error: ErrorBase) -> None:
        """The server has failed."""
        self._tell(error, None, '')

    def handler_failed(self, error: BaseException, message: Message) -> None:
        """The handler has raised at this message."""
        self._tell(error, message, 'the handler failed at')

    def lost(self, message: Message, cause: ErrorBase) -> None:
        """The claim of a message in hand is over."""
        error = NotFound('the claim was lost', 404, 'The message may be handed out again, here or elsewhere.')
        error.__cause__ = cause
        self._tell(error, message, 'lost')

    def _tell(self, error: BaseException, message: Message | None, what: str) -> None:
        here = gevent.getcurrent()
        self._inside.add(here)
        try:
            if self._on_error is not None:
                self._on_error(error, message)
            elif message is None:
                logger.warning('consumer of the queue %s: %s', self._queue, error)
            else:
                logger.error(
                    'consumer of the queue %s: %s the message %s', self._queue, what, message.id, exc_info=error
                )
        except Exception:
            logger.exception('consumer of the queue %s: on_error failed', self._queue)
        finally:
            self._inside.discard(here)


class Handlers:
    """The greenlets that run the handler, one for each message, in the context of whoever started the consumer.

    :param ended: called by the loop with the message, and with whether the handler returned.
    """

    def __init__(
        self, handler: Callable[[Message], object], reports: Reports, ended: Callable[[Task, bool], object]
    ) -> None:
        self._handler, self._reports, self._on_end = handler, reports, ended
        self._context = copy_context()
        self._pid = os.getpid()
        self._running: dict[Staying, Task] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, greenlet: object) -> bool:
        return greenlet in self._running

    @property
    def elsewhere(self) -> bool:
        """Whether this is the child of a fork: they run in the parent only."""
        return os.getpid() != self._pid

    def start(self, task: Task) -> None:
        """Hand out a message."""
        greenlet = Staying(self._handle, task.message)
        greenlet.gr_context = self._context.copy()
        self._running[greenlet] = task
        greenlet.rawlink(self._ended)
        greenlet.start()

    def kill(self) -> None:
        """Kill those that run; does not wait for their end."""
        gevent.killall(list(self._running), block=False)

    def _handle(self, message: Message) -> bool:
        """Whether the handler has returned."""
        try:
            self._handler(message)
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # a gevent.Timeout of the handler's own, too
            self._reports.handler_failed(exc, message)
            return False
        return True

    def _ended(self, greenlet: Staying) -> None:
        """Called by the loop, also for a handler that was killed before it began."""
        if not self.elsewhere:  # else it was the handler that forked
            self._on_end(self._running.pop(greenlet), greenlet.value is True)
