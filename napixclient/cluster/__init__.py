"""Fan-outs beyond one machine: requests travel over a broker to workers, each of which has origins of its own.

pool        ``ClusterPool``: ``ClientPool`` over workers
plan        what all requests of a pool have in common
submitter   takes requests, and gives each the outcome that comes back
outbox      gathers requests by lane, and publishes them
hearing     makes outcomes of what workers say
heir        what another process may have published, of a run that outlives it
ledger      which replies of such a run may be acknowledged
lookout     looks whether there are workers
lots        what a submitter knows of its requests
publisher   publishes messages, and says what became of each
replies     fetches what workers say
travel      requests as they travel
outcomes    outcomes as they travel back
lanes       which origin belongs to which worker
keys        keys, and what is sealed with them
broker      the broker: connections, and what its refusals mean
control     what is said to all workers at once
counts      what became of the requests to each host
status      which lanes have a worker, and what waits
worker      ``napix worker``
command     ``napix worker`` and ``napix cluster`` as commands
errors      ``ClusterError``
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .errors import ClusterError
    from .pool import ClusterPool, RequestDefaults

__all__ = ['ClusterError', 'ClusterPool', 'RequestDefaults']

for _needed in ('celery', 'kombu', 'msgpack', 'cryptography'):
    if find_spec(_needed) is None:
        raise ImportError(f"napixclient.cluster needs {_needed}: pip install 'napixclient[cluster]'", name=_needed)

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, {'ClusterPool': 'pool', 'RequestDefaults': 'pool'}, 'errors')
