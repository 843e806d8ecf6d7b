"""A clock that stands still until a test advances it."""

from __future__ import annotations

import math

__all__ = ['FakeClock']


class FakeClock:
    """A clock for code that takes one as a parameter: calling it returns the time, ``advance`` lets time pass.

    >>> from napixclient.testing import FakeClock
    >>> clock = FakeClock(1700000000)
    >>> clock.advance(90)
    >>> clock()
    1700000090.0

    :param start: the time at first, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def __call__(self) -> float:
        """The time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        :raises ValueError: if ``seconds`` is negative or infinite: this clock never goes back.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f'a clock advances by a finite number of seconds, 0 or more, not by {seconds!r}')
        self._now += seconds

    def __repr__(self) -> str:
        return f'<FakeClock {self._now:g} s>'
