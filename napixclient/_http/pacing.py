"""Token buckets: the rate of an origin, and the budget for retries.

No I/O, no timers; clocks are given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_tz
from math import sqrt
from time import monotonic, time

__all__ = ['SIX_HOURS', 'Pace', 'RetryBudget', 'pause_asked_for']

#: Seconds in which a rate that was halved grows back.
RECOVERY_SECONDS = 10.0
#: What is less than a token only because numbers are rounded.
_ROUNDING = 1e-9
#: As long as urllib3 waits at most.
SIX_HOURS = 21600.0
#: More digits than a float holds are nobody's number.
_is_number = re.compile('[0-9]{1,300}').fullmatch
# The three forms of RFC 9110 §5.6.7, all of them in GMT; of the first one also what mail makes of it (RFC 5322 §3.3).
_is_date = re.compile(
    '[A-Z]{3}, [0-9]{1,2} [A-Z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:GMT|UTC|[+-][0-9]{4})'
    '|[A-Z]{6,9}, [0-9]{2}-[A-Z]{3}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT'
    '|[A-Z]{3} [A-Z]{3} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}',
    re.IGNORECASE | re.ASCII,
).fullmatch


class Pace:
    """At most so many requests a second to one origin: a token bucket.

    Tokens come in at the rate, and at most one second's worth is saved up (one token, where the rate is below one).
    The bucket starts full. Each request that is sent takes one.

    :param rate: requests a second.
    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = ('_at', '_clock', '_level', '_low', '_rate', '_resumed', '_tightened')

    def __init__(self, rate: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rate = self._low = rate
        self._level = max(1.0, rate)
        self._at = clock()  # when the level was, or will be, what it says: later during a pause
        self._resumed = self._at - RECOVERY_SECONDS  # when the rate was ``_low``, from where it grows back
        self._tightened = float('-inf')  # when it was last halved

    def wait(self, ahead: int = 0) -> float:
        """Seconds until a request may be sent; 0 for now.

        :param ahead: others that will be sent before it, each with a token of its own.
        """
        now = self._fill()
        missing = ahead + 1 - self._level
        return self._at - now + (self._seconds_for(missing) if missing > _ROUNDING else 0.0)

    def take(self) -> None:
        """A request is being sent."""
        self._fill()
        self._level -= 1

    def tighten(self, pause: float, sent: float) -> None:
        """The origin answered 429: nothing is to be sent for so many seconds, and then half as much.

        The answers of one burst halve the rate once: those to requests that were sent before it was halved last.

        :param pause: seconds, of ``Retry-After``.
        :param sent: what the clock showed when the request was sent.
        """
        now = self._fill()
        if self._at == now and sent > self._tightened:
            self._low = self._rate_at(now) / 2
            self._tightened = now
        until = max(self._at, now + pause)
        # What was saved up is gone, or it would all go out when the pause ends.
        self._level = min(1.0, self._level + self._low * (until - self._at))
        self._at = self._resumed = until

    @property
    def full(self) -> bool:
        """Whether it is as a new one would be."""
        now = self._fill()
        return now >= self._resumed + RECOVERY_SECONDS and self._level >= max(1.0, self._rate)

    def _fill(self) -> float:
        """Count what has come in since; the time is returned."""
        now = self._clock()
        if now > self._at:
            self._level = min(self._level + self._income(now - self._at), max(1.0, self._rate_at(now)))
            self._at = now
        return now

    def _rate_at(self, when: float) -> float:
        """The rate at that time: it grows in a straight line."""
        grown = min(max((when - self._resumed) / RECOVERY_SECONDS, 0.0), 1.0)
        return self._low + (self._rate - self._low) * grown

    def _growing(self) -> float:
        """Seconds for which the rate still grows, from ``_at`` on."""
        return max(self._resumed + RECOVERY_SECONDS - self._at, 0.0)

    def _income(self, seconds: float) -> float:
        """Tokens that come in from ``_at`` on."""
        growing = min(seconds, self._growing())
        average = (self._rate_at(self._at) + self._rate_at(self._at + growing)) / 2
        return average * growing + self._rate * (seconds - growing)

    def _seconds_for(self, tokens: float) -> float:
        """The reverse: how long it takes for so many to come in."""
        growing = self._growing()
        income = self._income(growing)
        if income <= tokens:
            return growing + (tokens - income) / self._rate
        rate, slope = self._rate_at(self._at), (self._rate - self._low) / RECOVERY_SECONDS
        return 2 * tokens / (rate + sqrt(rate * rate + 2 * slope * tokens))


#: Seconds after which the share of a request is no longer saved up, or twice as many.
WINDOW_SECONDS = 10.0


class RetryBudget:
    """How many retries a pool may make, so that they do not multiply the load when many servers are in trouble.

    It starts with ten; each request adds a share of a retry, each second some more. Saved up is at most one second's
    worth, or ten, and the share of the requests of the last ten to twenty seconds: a million good requests are no
    reason to try two hundred thousand times when trouble comes.

    :param share: retries for each request.
    :param rate: retries a second.
    :param clock: seconds, as ``time.monotonic``.
    """

    __slots__ = ('_at', '_before', '_clock', '_mark', '_marked', '_rate', '_requests', '_saved', '_share')

    def __init__(self, share: float, rate: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._share = share
        self._rate = rate
        self._saved = 10.0
        self._requests = 0
        self._at = self._marked = clock()
        self._mark = self._before = 0  # how many requests there had been at the last mark, and the one before

    def mark(self, requests: int) -> None:
        """Called now and then, so that it is known what is long ago."""
        now = self._clock()
        if now - self._marked >= WINDOW_SECONDS:
            self._before, self._mark, self._marked = self._mark, requests, now

    def take(self, requests: int) -> bool:
        """Take one retry; false when there is none.

        :param requests: how many the pool was asked for so far.
        """
        self.mark(requests)
        now = self._clock()
        self._saved += self._share * (requests - self._requests) + self._rate * (now - self._at)
        self._saved = min(self._saved, max(self._rate, 10.0) + self._share * (requests - self._before))
        self._requests, self._at = requests, now
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def pause_asked_for(retry_after: str | None, most: float = SIX_HOURS) -> float | None:
    """Seconds that a ``Retry-After`` field asks for, as a number or as a date (RFC 9110 §10.2.3).

    ``None`` where there is no such field, or one that is neither: ``0.5``, ``30s``, ``-1``.

    :param most: seconds; what is longer is so long. By default six hours.
    """
    value = (retry_after or '').strip(' \t')
    if _is_number(value):
        return min(float(value), most)
    date = parsedate_tz(value) if _is_date(value) else None
    if date is None:
        return None
    try:
        when = datetime(*date[:5], min(date[5], 59), tzinfo=timezone.utc)  # a minute may have 61 seconds
    except ValueError:  # such as the 31st of February
        return None
    return min(max(when.timestamp() - (date[9] or 0) - time(), 0.0), most)
