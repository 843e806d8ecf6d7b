"""What is known of all hosts together. No I/O."""

from __future__ import annotations

from .hedging import Hedging
from .policy import Load

__all__ = ['Figures']


class Figures:
    """Latencies and loads, over all hosts of a mapping.

    :param hedges: the share of requests that may be sent twice.
    """

    def __init__(self, hedges: float) -> None:
        self.hedging: Hedging = Hedging(hedges)
        self.load: Load = Load()

    @property
    def usual(self) -> float:
        """The latency to assume for a host of which nothing is known, in seconds."""
        return self.load.latency or 1.0
