"""How an authenticator asks somebody else: over connections of its own, made as those of the pool that asks it.

The engine says in a context variable which pool that is, while it calls an authenticator.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import NamedTuple

from ..messages import Request, Response

__all__ = ['Fetch', 'Way', 'fetch_here', 'way']

Fetch = Callable[[Request], Response]


class Way(NamedTuple):
    """How a pool connects. What these are is the engine's business."""

    settings: object
    #: Opens its connections; ``None`` for the authenticator of its proxy, which the proxy lets through later.
    dialer: object


#: That of the pool whose authenticator is being called; ``None`` outside of any pool.
way: ContextVar[Way | None] = ContextVar('way', default=None)


def fetch_here() -> Fetch:
    """What sends a request as the pool that asks would, without its credentials; with the default options elsewhere."""
    # The engine is above us: it is loaded by now, unless somebody calls an authenticator by hand.
    fetch: Fetch = partial(import_module('napixclient._http.origins').fetch_over, way.get())
    return fetch
