"""What a consumer has in hand: messages, and the claims that hold them. Asks for renewals only; imports claim.

A message may be held by several claims of the same consumer: on Redis, once an older claim was released or has expired,
Zaqar hands out again what younger claims still hold (zaqar 23.0.1, ``storage/redis/scripts/claim_messages.lua``: behind
the first free message all count as free). Whichever of them was made or renewed last is the one that the server knows.
"""

from __future__ import annotations

from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import TypeVar

from .claim import Claim, Renewal
from .errors import ErrorBase
from .messages import Message

__all__ = ['LONGEST', 'SHORTEST', 'Batch', 'Memory', 'Task', 'soon']

T = TypeVar('T')

#: Seconds to wait when there was nothing to do, or a failure: at first, and at most.
SHORTEST, LONGEST = 0.1, 5.0


def soon(pause: float) -> float:
    """The moment (monotonic) when that pause is over; a little other in each consumer, lest they all come at once."""
    return monotonic() + uniform(0.75, 1) * pause


class Task:
    """A message in hand: with its handler, failed and waiting for another try, or handled and to be deleted."""

    def __init__(self, message: Message, tries: int = 0, due: float = 0.0) -> None:
        self.message = message
        #: Whose claims hold it, the newest last; none once all are lost.
        self.batches: list[Batch] = []
        #: How often its handler has failed.
        self.tries = tries
        #: When it is to be handed out again, or until when its deletion is tried.
        self.due = due
        #: Whether its handler has failed since it was claimed.
        self.failed = False
        #: Whether it is to be deleted by itself, as its deletion in a list has failed.
        self.alone = False

    def fail(self) -> None:
        """Its handler has failed: it waits, longer each time."""
        self.due = soon(min(SHORTEST * 2 ** min(self.tries, 10), LONGEST))
        self.tries += 1
        self.failed = True

    @property
    def surely_held(self) -> bool:
        """Whether a claim of it outlasts the next renewal, so that nobody else's claim can hold it.

        Deletion in a list asks for no claim.
        """
        return any(batch.claim._left > batch.claim.ttl / 4 + 1 for batch in self.batches)


class Batch:
    """A claim, and the messages of it that are not done with."""

    def __init__(self, claim: Claim, on_lost: Callable[[Batch, ErrorBase], object]) -> None:
        self.claim = claim
        self.open: dict[Task, None] = {}  # in order
        #: Messages that have failed, and such as were handled and could not be deleted.
        self.failed = self.undeleted = 0
        self.renewal = Renewal(claim, lambda error: on_lost(self, error))

    def hold(self, task: Task) -> None:
        """It was in the claim's list."""
        if task not in self.open:
            self.open[task] = None
            task.batches.append(self)
            task.message.claim_id = self.claim.id


class Memory(dict[str, T]):
    """The newest so many ids, and something of each."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, id: str, what: T) -> None:
        """Remember it, and forget the oldest one for it."""
        self.pop(id, None)
        self[id] = what
        if len(self) > self._most:
            del self[next(iter(self))]
