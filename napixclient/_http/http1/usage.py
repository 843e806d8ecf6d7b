"""What a connection has been used for: its answers, since when it is quiet, and which end its server announced.

Without I/O. :mod:`..reuse` decides by it whether the connection carries another request.
"""

from __future__ import annotations

from ..pending import NEVER

__all__ = ['Usage']

#: Seconds before the end that a server announced in which a connection is not used any more, or a quarter of the time
#: that it gave: what is sent then may meet its close on the way.
LAST_MOMENTS = 1.0


class Usage:
    """The usage of one connection. All points in time are of ``time.monotonic()``."""

    __slots__ = ('_quiet_since', '_rested_after', 'doubtful', 'ends', 'served')

    def __init__(self) -> None:
        self.served: int = 0  # answers that came over it
        self.doubtful: bool = False  # whether the server may not have read all of the last request
        self.ends: float = NEVER  # when the server is about to close it, as it announced
        self._quiet_since = 0.0  # since when it has had nothing to do …
        self._rested_after = -1  # … after so many answers; below 0 before the first rest

    def rest(self, now: float, kept_seconds: int | None) -> None:
        """The connection has become idle. It counts from the first time after each answer.

        :param kept_seconds: for which the server keeps an idle connection, as it announced (RFC 2068 §19.7.1).
        """
        if self._rested_after != self.served:
            self._rested_after = self.served
            self._quiet_since = now
            if kept_seconds is not None:
                self.ends = now + kept_seconds - min(kept_seconds / 4, LAST_MOMENTS)

    def quiet_for(self, now: float) -> float:
        """Seconds since the connection became idle after its last answer; 0 where it did not."""
        return now - self._quiet_since if self._rested_after == self.served else 0.0

    @property
    def rested(self) -> bool:
        """Whether the connection ever was idle, so that the server may have closed it."""
        return self._rested_after >= 0
