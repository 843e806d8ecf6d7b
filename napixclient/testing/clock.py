"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import math

__all__ = ['FakeClock']


class FakeClock:
    """A clock for whatever takes one as a parameter: a call tells the time, ``advance`` lets time pass.

    >>> from napixclient.testing import FakeClock
    >>> clock = FakeClock(1700000000)
    >>> clock.advance(90)
    >>> clock()
    1700000090.0

    :param start: what it shows at first, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def __call__(self) -> float:
        """The time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        :raises ValueError: for a negative or an infinite number: this clock never goes back.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f'a clock advances by a finite number of seconds, 0 or more, not by {seconds!r}')
        self._now += seconds

    def __repr__(self) -> str:
        return f'<FakeClock {self._now:g} s>'
