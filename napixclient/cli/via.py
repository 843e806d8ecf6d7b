"""The pool of a run that goes over the workers of a cluster, ``--via URL``."""

from __future__ import annotations

import os

from .._http.options import Options
from ..authenticators import Authenticator
from ..waiting import Waiting
from .options import Asked

__all__ = ['cluster_pool']

#: Flags that are the worker's own business.
_OF_WORKERS = ('max_connections', 'rate_per_host', 'cacert', 'cert', 'insecure', 'proxy', 'no_proxy', 'source')


def cluster_pool(asked: Asked, authenticator: Authenticator | None, options: Options) -> Waiting:
    """The pool whose requests workers send.

    :param options: those of the requests.
    :raises ValueError: for what makes no sense, and for flags that workers have instead.
    """
    for name in _OF_WORKERS:
        if getattr(asked, name):
            flag = f'--{name.replace("_", "-")}'
            raise ValueError(
                f'{flag} and --via exclude each other: it is for the workers to know (napix worker --help)'
            )
    if asked.max_redirects is not None:
        raise ValueError('--max-redirects and --via exclude each other: ten redirects are followed, with --follow')
    if asked.simultaneous == 'auto':
        raise ValueError('--simultaneous auto and --via exclude each other: the cap is that of the workers')
    key = asked.via_key or os.environ.get('NAPIX_CLUSTER_KEY')
    if not key:
        raise ValueError('--via needs the key of the cluster: give --via-key @FILE, or set NAPIX_CLUSTER_KEY')
    try:
        from ..cluster import ClusterPool
    except ImportError as exc:
        raise ValueError(f"--via needs {exc.name}: pip install 'napixclient[cluster]'") from exc
    given = {name: value for name, value in options.items() if name in ('timeout', 'retries', 'redirect')}
    more = {name: value for name, value in (('zone', asked.zone), ('lanes', asked.lanes)) if value is not None}
    assert asked.via is not None
    return ClusterPool(asked.via, authenticator, asked.simultaneous or 2, key=key, **more, **given)  # type: ignore[arg-type]
