"""A resolver for a service whose runs name hosts that there are not: it says so at once, and asks nobody."""

from __future__ import annotations

from socket import EAI_NONAME, gaierror
from typing import Any

from gevent.resolver.thread import Resolver


class Nowhere(Resolver):
    """Knows no host. gevent is told of it by `GEVENT_RESOLVER`."""

    def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        """No address."""
        raise gaierror(EAI_NONAME, 'Name or service not known')
