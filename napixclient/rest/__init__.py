"""A base for clients of REST services: the client of a service takes a few lines.

client       the base class: verbs, and calls side by side
paging       listings that come in pages
polling      polls until something is ready
concurrency  many calls at a time, and how many may run
errors       ClientError, and what makes the errors of a client
responses    what a verb returns; it may be lazy
quoting      paths, parameters and fields as they are sent
logs         what is logged of a call

A part is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .client import Client, ClientOptions
    from .concurrency import SilentEvent
    from .errors import ClientError
    from .paging import paginate
    from .polling import wait
    from .responses import Response

__all__ = ['Client', 'ClientError', 'ClientOptions', 'Response', 'SilentEvent', 'paginate', 'wait']

_HOMES = {
    'Client': 'client',
    'ClientError': 'errors',
    'ClientOptions': 'client',
    'Response': 'responses',
    'SilentEvent': 'concurrency',
    'paginate': 'paging',
    'wait': 'polling',
}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
