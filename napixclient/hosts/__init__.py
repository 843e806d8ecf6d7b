"""Hosts as people write them: node sets and groups, for the command and the service.

expanding   node sets and groups together: to hosts, and back
groups      what @name stands for
nodesets    node sets as texts
"""

from __future__ import annotations

from .expanding import expand, fold, sizes_of
from .groups import Groups, config_home
from .nodesets import BadHosts

__all__ = ['BadHosts', 'Groups', 'config_home', 'expand', 'fold', 'sizes_of']
