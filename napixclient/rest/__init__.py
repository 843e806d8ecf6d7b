"""A base for clients of REST services: the client of a service takes a few lines.

client       the base class: verbs, and calls side by side               -> all below, the core's client
paging       listings that come in pages                                 -> client
polling      polls until something is ready                              -> the core's errors
concurrency  many calls at a time, and how many may run                  -> the core's errors
errors       ClientError, and what makes the errors of a client          -> responses, remote, documents
responses    what a verb returns; it may be lazy                         -> the core's requests and errors
quoting      paths, parameters and fields as they are sent               -> messages
logs         what is logged of a call                                    -> the core's errors, masking

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
