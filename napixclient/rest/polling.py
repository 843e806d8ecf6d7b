"""Waiting for what becomes ready later."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import gevent

from ..errors import Timeout, one_line

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
    """Ask again and again, until the answer is the one that is waited for; that answer.

    >>> from napixclient.rest import Client, wait
    >>> client = Client('http://server.example')
    >>> wait(lambda: client.get('/captains').json, until=lambda captains: len(captains) == 2, delay=0.1)
    ['/captains/1', '/captains/2']

    Other greenlets run meanwhile. What ``poll`` raises is raised here.

    :param poll: asks; called without arguments.
    :param until: whether this is it; by default whether it is true.
    :param delay: seconds between the end of one poll and the next.
    :param timeout: seconds in all, those of a ``poll`` that hangs among them; ``None`` for no end.
    :param backoff: what the delay is multiplied by after each poll, at least 1.
    :param on_poll: called with each answer, the last one too.
    :raises napixclient.Timeout: when the time is up.
    :raises ValueError: for a number that makes no sense.
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
    """Call it, until the time is up."""
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
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < float('inf'):
            raise ValueError(f'{name} is a number of at least {least:g}, not {value!r}')
