"""Outcomes of steps, told of within the transition of the engine that sets them."""

from __future__ import annotations

from collections.abc import Callable

from .._http.pending import Batch
from ..errors import HTTPError

__all__ = ['Arrivals']


class Arrivals(Batch):
    """Told of each outcome within the transition of the engine that sets it: before anything else is sent."""

    __slots__ = ('_on_failure', '_wake')

    def __init__(self, on_failure: Callable[[int, HTTPError], None], wake: Callable[[], None]) -> None:
        super().__init__({})
        self.wake_at: float = 1
        self._on_failure = on_failure
        self._wake = wake

    def wake(self) -> None:
        """Another one has finished."""
        index = self.finished[-1]
        outcome = self.outcomes[index]
        if isinstance(outcome, HTTPError):
            self._on_failure(index, outcome)
        self._wake()
