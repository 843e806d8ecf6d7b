"""Ctrl-C while a pool is open: the hub hands it on, and prints nothing of its own.

A signal that comes while the hub waits raises KeyboardInterrupt there. gevent prints it, with the time, and throws it
into the main greenlet, which may well catch it. ``SystemExit`` it throws without a word, as that is among the hub's
``NOT_ERROR``; while a pool of ours is open, KeyboardInterrupt is too.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

from gevent.hub import Hub

__all__ = ['hush', 'unhush']


class _Hushed(NamedTuple):
    pools: int  # that are open on this hub
    before: tuple[type[BaseException], ...]
    ours: tuple[type[BaseException], ...]


def hush(hub: Hub) -> None:
    """Have the hub print no KeyboardInterrupt; `unhush`, called as often, takes that back."""
    hushed = _hubs.get(hub)
    if hushed is None:
        before = hub.NOT_ERROR
        hub.NOT_ERROR = (*before, KeyboardInterrupt)
        hushed = _Hushed(0, before, hub.NOT_ERROR)
    _hubs[hub] = hushed._replace(pools=hushed.pools + 1)


def unhush(hub: Hub) -> None:
    """The end of one pool; behind the last of them the hub is as it was, unless somebody else has changed it since."""
    hushed = _hubs[hub]
    if hushed.pools > 1:
        _hubs[hub] = hushed._replace(pools=hushed.pools - 1)
        return
    del _hubs[hub]
    if hub.NOT_ERROR is hushed.ours:
        hub.NOT_ERROR = hushed.before


_hubs: WeakKeyDictionary[Hub, _Hushed] = WeakKeyDictionary()
