"""What the tests of pools for threads and for asyncio share: bodies in native threads, while our servers go on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import gevent

from tests import kit

T = TypeVar('T')


def begin(body: Callable[..., T], *args: Any) -> Any:
    """Run it in a thread: a native one, or what a thread is in a patched process. ``get()`` waits for its end."""
    if kit.is_patched():
        return gevent.spawn(body, *args)
    return gevent.get_hub().threadpool.spawn(body, *args)


def run(body: Callable[..., T], *args: Any) -> T:
    """Run it in a thread, and return what it returns."""
    found: T = begin(body, *args).get(timeout=kit.LONG)
    return found


def in_thread(test: Callable[..., None]) -> Callable[..., None]:
    """A test whose body runs in a thread; its fixtures do not."""

    @functools.wraps(test)
    def body(**fixtures: Any) -> None:
        run(functools.partial(test, **fixtures))

    return body


def run_loop(body: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run a coroutine in an event loop of its own, in a thread."""
    return run(lambda: asyncio.run(body(*args)))


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine: it runs in an event loop of its own, in a thread."""

    @functools.wraps(test)
    def body(**fixtures: Any) -> None:
        run_loop(functools.partial(test, **fixtures))

    return body
