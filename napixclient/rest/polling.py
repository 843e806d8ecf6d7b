"""Polls until something is ready."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import gevent

from ..checks import is_number
from ..error_texts import one_line
from ..errors import Timeout

__all__ = ['wait']

_T = TypeVar('_T')


def wait(
    poll: Callable[[], _T],
    *,
    until: Callable[[_T], object] = bool,
    delay: float = 1.0,
    timeout: float | None = 100.0,
    backoff: float = 1.0,
    on_poll: Callable[[_T], object] | None = None,
) -> _T:
    """Call ``poll`` again and again until its result is the one that is waited for, and return that result.

    >>> from napixclient.rest import Client, wait
    >>> client = Client('http://server.example')
    >>> wait(lambda: client.get('/captains').json, until=lambda captains: len(captains) == 2, delay=0.1)
    ['/captains/1', '/captains/2']

    Other greenlets run meanwhile. An exception of ``poll`` is raised here.

    :param poll: called without arguments.
    :param until: decides whether a result is the awaited one; by default the first true one is.
    :param delay: seconds between the end of one poll and the start of the next.
    :param timeout: seconds in all, including those of a ``poll`` that hangs; ``None`` for no limit.
    :param backoff: the factor by which the delay grows after each poll, at least 1.
    :param on_poll: called with each result, the last one too.
    :raises napixclient.Timeout: if the time is up.
    :raises ValueError: if a number is out of range.
    """
    _check(delay=delay, backoff=backoff, timeout=timeout)
    deadline = None if timeout is None else monotonic() + timeout
    last = 'no poll has ended'
    while True:
        value = _within(poll, deadline, timeout, last)
        if on_poll is not None:
            on_poll(value)
        if until(value):
            return value
        last = f'the last poll gave {one_line(repr(value))}'
        _within(lambda: gevent.sleep(delay), deadline, timeout, last)  # noqa: B023 - called at once
        delay *= backoff


def _within(call: Callable[[], _T], deadline: float | None, timeout: float | None, last: str) -> _T:
    """Call a function, for as long as the time lasts."""
    if deadline is None:
        return call()
    clock = gevent.Timeout(max(deadline - monotonic(), 0))
    clock.start()
    try:
        return call()
    except gevent.Timeout as exc:
        if exc is not clock:
            raise
    finally:
        clock.close()
    raise Timeout(f'not ready after {timeout:g} s; {last}')


def _check(delay: float, backoff: float, timeout: float | None) -> None:
    for name, value, least in ('delay', delay, 0.0), ('backoff', backoff, 1.0), ('timeout', timeout, 0.0):
        if name == 'timeout' and value is None:
            continue
        if not is_number(value) or not least <= value < float('inf'):
            raise ValueError(f'{name} is a number of at least {least:g}, not {value!r}')
