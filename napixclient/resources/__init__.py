"""Replicas and shards: a request to all hosts, to any one of them, or to the fewest that hold a set of keys.

shards        a mapping of keys to hosts: unicast, broadcast, multicast
resources     a mapping of hosts: unicast, broadcast, rolling
tries         one request, on one host after another, hedged
gathering     many requests at the same time, all of them or a quorum
lease         a resource that one caller owns while its request is under way
landing       waits for several flights
sharing       identical requests that share a flight and its answer
replicas      the hosts of a mapping, found by any of their spellings
replica       one host of many: its client and its figures
flight        a request under way, and what its outcome says about the host
resource      one host that speaks JSON, and its answers
deadline      one clock over several requests, no I/O
figures       what is known of all hosts together, no I/O
policy        balancing policies: which of several hosts is asked next, no I/O
health        which hosts are set aside, and for how long, no I/O
hedging       when a request is slow, and how many may be sent twice, no I/O
quorum        how many must succeed, and in which zones, no I/O
rolling       how many requests at a time, and how many may fail, no I/O
cover, exact  the fewest hosts that hold all keys, no I/O
errors        the errors of this package, and errors as values

A part is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .errors import Failure, NoHostAvailable, QuorumError, RollingError, UnknownHost
    from .resource import Resource, Response
    from .resources import Resources
    from .rolling import Rollout
    from .shards import Shards

__all__ = [
    'Failure',
    'NoHostAvailable',
    'QuorumError',
    'Resource',
    'Resources',
    'Response',
    'RollingError',
    'Rollout',
    'Shards',
    'UnknownHost',
]

_HOMES = {
    'Resource': 'resource',
    'Resources': 'resources',
    'Response': 'resource',
    'Rollout': 'rolling',
    'Shards': 'shards',
}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'errors')
