"""Where outcomes go, in groups: each destination is woken once for all that have come for it."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from itertools import count
from typing import Protocol

from .._http.pending import Batch, Outcome, PendingResponse
from .._http.streaming import StreamedResponse
from ..messages import Request, Response

__all__ = ['Border', 'Group', 'Port', 'Pull', 'Ticket']


class Ticket(Protocol):
    """A request on its way to the hub, and its outcome on the way back."""

    request: Request
    #: A copy of that of the call, until the request is made in it.
    context: Context | None
    #: Set by the hub's thread, for as long as the request is under way.
    pending: PendingResponse | None

    @property
    def port(self) -> Port:
        """Where the outcome goes."""

    def finish(self, outcome: Outcome) -> None:
        """The outcome is there; called once, at the destination."""

    def forked(self) -> None:
        """This is the child of a fork, and ``finish`` is called next."""


Group = list[tuple[Ticket, Outcome]]


class Pull(ABC):
    """Something that a greenlet of the hub is to do, and that somebody waits for."""

    __slots__ = ()

    @abstractmethod
    def run(self) -> None:
        """Do it, in that greenlet."""

    @abstractmethod
    def refuse(self) -> None:
        """It cannot be done any more."""


class Border(Protocol):
    """The way to the hub's thread."""

    def put(self, entry: Ticket | Pull | partial[None]) -> None:
        """Give the hub's thread something to do; from any thread."""

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        """End these with :class:`Cancelled`, soon."""

    def expire(self, tickets: Iterable[Ticket]) -> None:
        """End these with a timeout, soon."""

    def check_thread(self) -> None:
        """:raises RuntimeError: where nobody may wait for an outcome."""

    def ready(self, port: Port) -> None:
        """Have ``port.flush`` be called soon; in the hub."""


class Port(ABC):
    """One destination, as the hub's thread knows it."""

    def __init__(self, border: Border) -> None:
        self.border: Border = border
        self.tickets: dict[int, Ticket] = {}
        self._numbers = count()
        #: What the engine puts outcomes into.
        self.batch: Batch = self._new_batch()

    def _new_batch(self) -> Batch:
        batch = Batch({})
        batch.waiter = _Waker(self)
        batch.wake_at = 1
        return batch

    def add(self, ticket: Ticket) -> int:
        """Take note of a request; returns the index of its outcome in the batch."""
        index = next(self._numbers)
        self.tickets[index] = ticket
        return index

    def flush(self) -> None:
        """Hand on what has finished."""
        tickets, outcomes, finished = self.tickets, self.batch.outcomes, self.batch.finished
        group: Group = []
        while finished:
            index = finished.popleft()
            ticket, outcome = tickets.pop(index, None), outcomes.pop(index)
            if ticket is None:
                continue  # it was said to have failed when it was made
            ticket.pending = None
            if outcome.__class__ is StreamedResponse:
                outcome = self.streamed(outcome)
            group.append((ticket, outcome))
        self.batch.wake_at = 1
        if group:
            self.deliver(group)

    @abstractmethod
    def streamed(self, response: StreamedResponse) -> Response:
        """What is read at the destination instead of a streamed answer of the hub's."""

    @abstractmethod
    def deliver(self, group: Group) -> None:
        """Finish the tickets of a group, at the destination."""

    @abstractmethod
    def post(self, function: Callable[[], object]) -> None:
        """Have something else be done at the destination; from the hub's thread."""

    def expect(self) -> None:  # noqa: B027  (most have nothing to do)
        """Called at the destination before one more thing is asked of the hub: an outcome, or what is posted."""

    def forked(self) -> list[Ticket]:
        """In the child of a fork: forget what was under way, and return it."""
        return self.forget()

    def forget(self) -> list[Ticket]:
        """The hub that had it under way is not there any more: forget it, and return it."""
        left = list(self.tickets.values())
        self.tickets = {}
        self.batch = self._new_batch()
        return left


class _Waker:
    """Waits for the first outcome of a batch, as a greenlet would. Weak: the batch keeps no pool alive."""

    __slots__ = ('_port',)

    def __init__(self, port: Port) -> None:
        self._port = weakref.ref(port)

    def switch(self, batch: object) -> None:
        """Called by the batch, in the hub."""
        port = self._port()
        if port is not None:
            port.border.ready(port)
