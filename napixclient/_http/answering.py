"""Holds the slot of a request, and its connection, while an authenticator is asked about a challenge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gevent

from ..errors import Phase
from ..peer import Route
from .completion import Completion, killed
from .http1.connection import Connection
from .outcomes import Answered, Deferred, Verdict
from .pending import PendingResponse
from .slots import OriginSlots, Slot

__all__ = ['Answering']


class Owner(Protocol):
    """Where the request goes on: the requests in flight to the origin."""

    completion: Completion

    def send_answer(self, slot: Slot[Connection], connection: Connection | None, pending: PendingResponse) -> None:
        """Send the answer to a challenge, over the connection where that is left."""

    def leave(self, slot: Slot[Connection], connection: Connection | None) -> None:
        """The slot is free, with the connection where that is left."""


class Answering:
    """One challenge that is being answered.

    :param connection: that it came over. Its slot is ours from now on; where the server keeps it open, so is it.
    :param step: what is first to be done with it, in a greenlet.
    """

    __slots__ = ('_connection', '_greenlet', '_owner', '_slots', 'pending')

    #: As the holder of the request.
    phase: Phase = 'authenticate'

    def __init__(
        self,
        owner: Owner,
        slots: OriginSlots[Connection],
        connection: Connection,
        pending: PendingResponse,
        step: Callable[[], Verdict],
    ) -> None:
        self._owner = owner
        self._slots = slots
        self._connection = connection
        self.pending: PendingResponse | None = pending
        slots.remove(connection).connect(self)
        pending.holder = self
        self._greenlet = gevent.spawn(self._run, step)
        self._greenlet.rawlink(self._ended)

    @property
    def route(self) -> Route | None:
        """That of the connection that the challenge came over."""
        return self._connection.route

    def _run(self, step: Callable[[], Verdict]) -> None:
        """In a greenlet."""
        verdict = step()
        while isinstance(verdict, Deferred) and verdict.phase != 'backoff':
            verdict = verdict.step()
        pending = self.pending
        if pending is not None:
            if isinstance(verdict, Answered):
                self._owner.send_answer(*self._let_go(), pending)
            else:
                self._end(pending, verdict)
        cause = getattr(getattr(verdict, 'outcome', None), '__cause__', None)
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause  # the program's business

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        """The greenlet ended: one that somebody killed before it began has given no verdict."""
        pending = self.pending
        if pending is not None:
            self._owner.completion.complete(pending, killed(pending, greenlet))
            self._owner.leave(*self._let_go())

    def _end(self, pending: PendingResponse, verdict: Verdict) -> None:
        held = self._let_go()
        self._owner.completion.act(pending, verdict)
        self._owner.leave(*held)

    def _let_go(self) -> tuple[Slot[Connection], Connection | None]:
        """Give the slot away, and the connection unless the server has closed it meanwhile."""
        self.pending = None
        connection = self._connection
        is_left = not connection.closed and connection.take()
        return self._slots.connecting.pop(self), connection if is_left else None

    # -- from outside ----------------------------------------------------------------------------------------------

    def drop(self, pending: PendingResponse) -> Completion:
        """The request was cancelled."""
        held = self._let_go()
        self._greenlet.kill(block=False)
        self._owner.leave(*held)
        return self._owner.completion

    def stop(self) -> None:
        """In the child of a fork: the connection is the parent's."""
        self.pending = None
        self._greenlet.kill(block=False)
        self._connection.leave_to_parent()
