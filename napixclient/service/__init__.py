"""Fan-outs as jobs: submitted over HTTP, watched live, kept. ``napix serve`` starts it.

command     the command, and how it ends                        -> service, handler, logs
service     the parts put together                              -> all below
access      who may ask: host, origin, credentials              -> wsgi
api         routes, and the documents they take and give        -> runs, watching, submission, openapi, page
watching    a run as lines, events, over a WebSocket            -> following, websocket
following   hands results to all who watch, each written once   -> runs, segments
runs        takes new runs, takes over those that were left     -> run, store, lease, allow
run         one that is under way: what is asked                -> keeping, lanes, lease, submission, results
keeping     commits results, and what is to be sent next        -> store, results, counts, segments
lanes       what is to be sent next                             -> submission
lease       the right to send, where others share the store     -> nothing
submission  what is posted, checked                             -> allow, secrets, slices
results     a result as a line of JSON                          -> secrets
slices      JSON of any size, decoded in slices                 -> nothing
store       runs in a database                                  -> database, lease, nonces
nonces      those of signed requests, in the same database      -> database, wsgi
database    threads that talk to one                            -> sqlite, alchemy
private     the files of a store, closed to others              -> nothing
handler     gevent's server with bounds                         -> framing, places, websocket
framing     requests as bytes, read strictly                    -> problems
places      which connections are served, wait, give way        -> problems
problems    what is answered where nothing can be done          -> wsgi
websocket   gevent-websocket, hardened; streams of an answer    -> sending
sending     bytes for a peer who may be slow                    -> nothing
allow       which addresses may be connected to                 -> the engine's opener
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .service import create_app

__all__ = ['create_app']

# The command patches its process before anything else is loaded.
__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, {'create_app': 'service'})
