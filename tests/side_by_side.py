"""A table of cases in one test, all at once: a test for each would cost as much again to look for leaks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import gevent

SECONDS = 50.0


def side_by_side(*tables: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `parametrize`, but each case in a greenlet of its own; the first arguments are one of each table.

    gevent prints the traceback of each case that fails, with its arguments; the test raises the first of them.
    """
    cases = list(product(*map(list, tables)))

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        def test(**fixtures: Any) -> None:
            running = [gevent.spawn(check, *case, **fixtures) for case in cases]
            gevent.joinall(running, timeout=SECONDS)
            late = [case for case, one in zip(cases, running, strict=True) if not one.ready()]
            gevent.killall(running)
            assert not late, f'did not end: {late}'
            for one in running:
                one.get()

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        parameters = list(inspect.signature(check).parameters.values())[len(tables) :]
        test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return test

    return decorate
