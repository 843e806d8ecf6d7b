"""Pauses of a consumer: each twice as long as the one before, up to a limit. Does no I/O."""

from __future__ import annotations

from random import uniform
from time import monotonic

__all__ = ['LONGEST', 'SHORTEST', 'Backoff', 'Rest', 'soon']

#: Seconds to pause when there was nothing to do, or a failure: at first, and at most.
SHORTEST, LONGEST = 0.1, 5.0


class Backoff:
    """The length of the next pause, in seconds."""

    def __init__(self) -> None:
        self._pause = SHORTEST

    def next(self) -> float:
        """The pause to make now; the one after it is longer."""
        pause = self._pause
        self._pause = min(2 * pause, LONGEST)
        return pause

    def reset(self) -> None:
        """Start over, as things go well."""
        self._pause = SHORTEST


class Rest:
    """When a consumer may claim again; it rests longer each time in a row that it finds nothing, or that all fails."""

    def __init__(self) -> None:
        #: By ``time.monotonic()``.
        self.until: float = 0.0
        self._after_nothing, self._after_failure = Backoff(), Backoff()

    @property
    def over(self) -> bool:
        """Whether it may claim now."""
        return self.until <= monotonic()

    def after_nothing(self) -> None:
        """Rest, as there was nothing to hand out."""
        self.until = soon(self._after_nothing.next())

    def after_failure(self) -> None:
        """Rest, as claiming at once would bring again what has failed."""
        self.until = soon(self._after_failure.next())

    def found_some(self) -> None:
        """Have the next rest after nothing be short."""
        self._after_nothing.reset()

    def went_well(self) -> None:
        """Have the next rest after a failure be short."""
        self._after_failure.reset()


def soon(pause: float) -> float:
    """When that pause is over (``time.monotonic()``); a little different in each consumer, lest all come at once."""
    return monotonic() + uniform(0.75, 1) * pause
