"""How the cluster fares over which runs ask, at ``/cluster``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

from gevent.lock import BoundedSemaphore

from ..errors import HTTPError
from ..wsgi.environ import Environ, StartResponse
from .flight import Cluster
from .problems import NotFound, Unavailable
from .saga_api import Answering

__all__ = ['ClusterApi']

Answer = Iterable[bytes]
#: Seconds for which what was found is shown: however many ask, the broker and the workers are asked once.
FRESH_SECONDS = 1.0


class ClusterApi:
    """Answers what is asked at ``/cluster``.

    :param via: ``None`` where the service asks by itself.
    """

    def __init__(self, via: Cluster | None, answering: Answering) -> None:
        self._via = via
        self._answering = answering
        self._looking = BoundedSemaphore()
        self._found: dict[str, object] = {}
        self._fresh_until = 0.0
        #: Patterns of paths, and who answers there.
        self.routes: tuple[tuple[str, dict[str, Callable[..., Answer]]], ...] = ((r'/cluster', {'GET': self._show}),)

    def _show(self, environ: Environ, start_response: StartResponse) -> Answer:
        if self._via is None:
            raise NotFound('off: this service asks by itself; napix serve --via URL asks over the workers of a cluster')
        with self._looking:
            if monotonic() >= self._fresh_until:
                try:
                    self._found = self._via.status()
                except HTTPError as exc:
                    raise Unavailable(exc.message, Retry_After='1') from exc
                self._fresh_until = monotonic() + FRESH_SECONDS
        return self._answering.write_json(start_response, self._found)
