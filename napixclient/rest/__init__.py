"""What clients of REST services are written on: a few lines make the client of a service.

client       the base class: verbs, and calls side by side               -> all below, the core's client
paging       listings that come in pages                                 -> client
polling      waiting for what becomes ready later                        -> the core's errors
concurrency  many calls at a time, and how many that may be              -> the core's errors
responses    what a verb returns; one may be lazy                        -> errors
errors       ClientError                                                 -> the core's errors, remote, documents
quoting      paths, parameters and fields, as they are sent              -> messages
logs         what is logged of a call                                    -> the core's errors, masking

A part is loaded when it is first asked for.
"""

from __future__ import annotations

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
