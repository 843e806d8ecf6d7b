"""One clock over several requests."""

from __future__ import annotations

from time import monotonic

from urllib3 import Timeout as Timeouts

from .._http.pending import NEVER
from .._http.settings import Settings
from ..call_context import current

__all__ = ['Deadline']

#: Seconds for a request whose time has just run out: it ends in the queue.
_LEAST = 1e-6


class Deadline:
    """When the time of a call is up, however many requests it makes.

    :param timeout: seconds in all, :class:`urllib3.Timeout`, or ``None`` for the default of the settings.
    """

    def __init__(self, timeout: float | Timeouts | None, settings: Settings) -> None:
        self._timeout = timeout
        self._clocks = settings.clocks if timeout is None else settings.clocks_of(timeout)
        call_context, total = current.get(), self._clocks.total
        if call_context is not None:  # nobody waits for longer than our own caller does
            total = min(total, call_context.remaining)
        #: Of ``time.monotonic()``; infinite where there is no bound.
        self.at: float = NEVER if total == NEVER else monotonic() + total

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.at - monotonic()

    @property
    def patience(self) -> float:
        """Seconds to wait for a turn: those left; without a bound, the read timeout."""
        return min(self.left, self._clocks.read)

    def for_one(self, first: bool) -> float | Timeouts | None:
        """The ``timeout`` of the next request.

        :param first: whether it is the first request, which has all the time.
        """
        return self._timeout if first else self.share(1)

    def share(self, parts: int) -> float | Timeouts | None:
        """The ``timeout`` of the next request, where so many are to have equal shares of the time that is left."""
        if self.at == NEVER:
            return self._timeout
        left = max(self.left / parts, _LEAST)
        if isinstance(self._timeout, Timeouts):
            timeout = self._timeout.clone()
            timeout.total = left
            return timeout
        return left

    def for_shared(self) -> Timeouts:
        """The ``timeout`` of a request that others may wait for longer: no total, as each caller has a clock."""
        connect, read = (None if clock == NEVER else clock for clock in self._clocks[:2])
        return Timeouts(connect=connect, read=read)
