"""Many HTTP requests on many servers at once, on gevent; every outcome is handed back.

rest            the base class of clients of REST services              -> client
pool            many hosts: ordered, as they finish, or a stream        -> client
client          one host: its queue, its cap, its connections           -> authenticators, remote, _http
authenticators  what proves who asks                                    -> messages
remote          what a server said about its failure                    -> messages, errors
_http           the engine: opening, connection, wire                   -> messages, errors
messages        Request, Response, Headers: frozen values               -> nothing
errors          the error tree                                          -> nothing
cli             the command ``napix``                                   -> pool

Importing this patches nothing, and loads a part when it is first asked for: a program that monkey-patches can import
it before it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._lazy import lazy
from ._version import __version__

if TYPE_CHECKING:
    from ._http.options import Options
    from ._http.pending import PendingResponse
    from ._http.streaming import StreamedResponse
    from .client import Client
    from .errors import (
        BodyTooLarge,
        Cancelled,
        ConnectError,
        ConnectTimeout,
        DeadlineExceeded,
        Hop,
        HTTPError,
        InvalidResponse,
        NameResolutionError,
        NapixError,
        Phase,
        ProtocolError,
        ProxyError,
        QueueTimeout,
        ReadTimeout,
        RefusedError,
        RemoteError,
        Timeout,
        TLSError,
        TruncatedBody,
    )
    from .messages import Headers, Request, RequestOptions, Response
    from .pool import ClientPool

__all__ = [
    'BodyTooLarge',
    'Cancelled',
    'Client',
    'ClientPool',
    'ConnectError',
    'ConnectTimeout',
    'DeadlineExceeded',
    'HTTPError',
    'Headers',
    'Hop',
    'InvalidResponse',
    'NameResolutionError',
    'NapixError',
    'Options',
    'PendingResponse',
    'Phase',
    'ProtocolError',
    'ProxyError',
    'QueueTimeout',
    'ReadTimeout',
    'RefusedError',
    'RemoteError',
    'Request',
    'RequestOptions',
    'Response',
    'StreamedResponse',
    'TLSError',
    'Timeout',
    'TruncatedBody',
    '__version__',
]

_HOMES = {
    'Client': 'client',
    'ClientPool': 'pool',
    'Headers': 'messages',
    'Options': '_http.options',
    'PendingResponse': '_http.pending',
    'Request': 'messages',
    'RequestOptions': 'messages',
    'Response': 'messages',
    'StreamedResponse': '_http.streaming',
}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'errors')
