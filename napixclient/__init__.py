"""Many HTTP requests on many servers at once, on gevent; every outcome is handed back.

cli              the command ``napix``: flags, hosts, formats of output
demo             the servers that the examples of the documentation ask
service          ``napix serve``: runs as jobs over HTTP, kept, watched live
cluster          fan-outs over workers on other machines
testing          servers and a clock to test with
aio              a pool for programs on asyncio
threads          a pool that all threads of a process share
marconi          the client of OpenStack's message queues
rest             the base class of clients of REST services
saga             steps that are undone when a later one fails, and their journal
resources        replicas and shards: which host is asked, and how many must succeed
allow            which hosts may be asked, by the address that is connected to
pool             many hosts, one client per origin
waiting          outcomes in order, as they finish, or as a stream
client           one host
verbs            get, post and their like, for clients and pools
profiles         who asks, as the configuration says
wsgi             middlewares for the serving side: errors that chain, signatures that are verified
_http            the engine: queues, slots, connections, retries, redirects, HTTP/1.1, names, TLS, proxies
authenticators   what proves to a server who asks
error_documents  reads the error document of an answer, and writes ours within its cap: 8 objects, 16 KiB
error_shapes     the shapes in which servers of any kind describe a failure
tracing          calls as spans of OpenTelemetry
messages         Request, Response, Headers: frozen values; JSON; which methods are idempotent
call_context     what a call hands on along a chain of servers
tracebacks       tracebacks as logs show them
errors           the error tree
hops             the calls of a chain of servers
members          outcomes as members of a JSON object
error_texts      texts about failures: the outline of a chain, foreign texts made harmless
masking          takes secrets out of texts
secret_names     which names carry credentials
peer             the addresses that a connection leads to, and that were tried for it
hosts            node sets and groups
histogram        times in buckets, and their quantiles
checks           what callers give, checked

Imports only go down. Importing this patches nothing, and loads a part when it is first asked for: a program that
monkey-patches can import it before it does.
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
        Interrupted,
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
    from .messages import Headers, Request, RequestOptions, Response, ServerSentEvent
    from .peer import Peer
    from .pool import ClientPool
    from .saga.errors import SagaFailed

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
    'Interrupted',
    'InvalidResponse',
    'NameResolutionError',
    'NapixError',
    'Options',
    'Peer',
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
    'SagaFailed',
    'ServerSentEvent',
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
    'Peer': 'peer',
    'PendingResponse': '_http.pending',
    'Request': 'messages',
    'RequestOptions': 'messages',
    'Response': 'messages',
    'SagaFailed': 'saga.errors',
    'ServerSentEvent': 'messages',
    'StreamedResponse': '_http.streaming',
}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'errors')
