"""Fan-outs as jobs: submitted over HTTP, watched live, kept. ``napix serve`` starts it.

command     the command, and how it ends
service     the parts put together
gunicorn    the service under gunicorn
access      who may ask: host, origin, credentials
api         routes, and the documents they take and give
query       the query of a request
openapi     the description of the API
page        serves the files of the page
metrics     the figures at ``/metrics``
watching    what watchers are sent: lines, events, WebSocket messages
flight      the requests of a run in flight: given to the pool, and their outcomes taken
via         runs that ask over the workers of a cluster
cluster_api, again_openapi  the route that tells of it; descriptions of that and of asking again
following   hands results to all who watch
runs        takes new runs, takes over those that were left
run         one that is under way
listing     the list of runs, filtered
again, again_api  what has not succeeded of a run, asked in another
keeping     commits results, and what is to be sent next
lanes       which requests are to be sent next
lease       the right to send, where others share the store
sagas       takes new sagas, takes over those that were left
saga_run    one that is under way
saga_submission, saga_store, saga_journal  what is posted, what is kept of it, and the events of its steps
saga_api, saga_openapi  routes of sagas, and their description
submission  what is posted, read and checked
results     a result as a line of JSON
lines, csv_form  such lines, read; and written as CSV
segments    results that were committed together
counts      the progress of a run
slices      JSON of any size, decoded in slices
secrets     the secrets of a run, taken out of what is kept and shown
store       runs in a database
queries, rows  what is read from it, and how its rows are written
nonces      those of signed requests, in the same database
database    threads that talk to one
sqlite      a store in a file
alchemy     a store in PostgreSQL
private     makes the files of a store private
handler     gevent's server with bounds
framing     requests as bytes, read strictly
admission   which connections are served, wait, or give way
problems    errors that the service answers itself
websocket   the WebSocket protocol, hardened
sender      bytes for a peer who may be slow
logs        log records, as lines or JSON
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
