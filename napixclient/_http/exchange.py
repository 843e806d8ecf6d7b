"""The interface of a protocol, as a pool's slots and clock use it: HTTP/1.1 has it, and HTTP/2 would have it.

Over HTTP/1.1 a connection carries one at a time and is its own exchange, so that nothing is allocated for it. A
connection of HTTP/2 would make an exchange of each of its streams.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import HTTPError, Phase
from .pending import PendingResponse

__all__ = ['Exchange']


class Exchange(Protocol):
    """What carries a request and brings its answer."""

    #: The request in flight; ``None`` when its answer is whole or was handed out.
    pending: PendingResponse | None
    #: Of ``time.monotonic()``: when the server has been silent for too long.
    expires: float
    #: Of ``time.monotonic()``: when the time of a streamed answer is up.
    deadline: float
    #: Seconds for which the server may be silent.
    read_seconds: float

    @property
    def streamed(self) -> object | None:
        """The body that is being read in pieces, if one is."""

    @property
    def phase(self) -> Phase:
        """The phase that a failure now is reported with."""

    def fail(self, error: HTTPError) -> None:
        """End what is in flight with this error."""

    def cut_off(self) -> None:
        """The total time of a streamed answer is up."""

    def rest(self) -> None:
        """Become idle: keep neither the loop nor the pool alive."""

    def close(self) -> None:
        """Close what carries it. May be repeated."""
