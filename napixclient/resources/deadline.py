"""One clock over several requests."""

from __future__ import annotations

from time import monotonic
from typing import Any

from urllib3 import Timeout as Timeouts

from .._http.pending import NEVER
from .._http.settings import Settings
from ..journey import current

__all__ = ['Deadline']

#: Seconds that a request is given whose time has just run out: it ends in the queue.
_LEAST = 1e-6


class Deadline:
    """When the time of a call is up, however many requests it makes.

    :param timeout: seconds in all, :class:`urllib3.Timeout`, or ``None`` for the default of the settings.
    """

    def __init__(self, timeout: Any, settings: Settings) -> None:
        self._timeout = timeout
        self._clocks = settings.clocks if timeout is None else settings.clocks_of(timeout)
        journey, total = current.get(), self._clocks.total
        if journey is not None:  # nobody waits for longer than our own caller does
            total = min(total, journey.remaining)
        #: Of ``time.monotonic()``; infinite where there is no bound.
        self.at = NEVER if total == NEVER else monotonic() + total

    @property
    def left(self) -> float:
        """Seconds."""
        return self.at - monotonic()

    @property
    def patience(self) -> float:
        """Seconds to wait for a turn: those left, and where there is no bound those between two reads."""
        return min(self.left, self._clocks.read)

    def for_one(self, first: bool) -> Any:
        """The ``timeout`` of the next request.

        :param first: whether it is the first, which has it all.
        """
        if first or self.at == NEVER:
            return self._timeout
        left = max(self.left, _LEAST)
        if isinstance(self._timeout, Timeouts):
            return Timeouts(connect=self._timeout._connect, read=self._timeout._read, total=left)
        return left

    def for_shared(self) -> Any:
        """That of a request which others may wait for, for longer perhaps: each has its own clock."""
        connect, read = (None if clock == NEVER else clock for clock in self._clocks[:2])
        return Timeouts(connect=connect, read=read)
