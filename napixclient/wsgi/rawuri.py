"""gevent's WSGI server with the path as it was sent."""

from __future__ import annotations

from typing import Any

from gevent.pywsgi import WSGIHandler

__all__ = ['RawURIHandler']


class RawURIHandler(WSGIHandler):
    """Puts the target of the request line into the environ as ``RAW_URI``, untouched, as gunicorn does.

    ``WSGIServer(address, app, handler_class=RawURIHandler)``. With it :class:`SignatureGuard` tells ``/a%2Fb`` from
    ``/a/b``. To combine it with another handler class, name this one first:
    ``class Handler(RawURIHandler, WebSocketHandler): pass``.
    """

    def get_environ(self) -> dict[str, Any]:
        """The environ of one request."""
        environ: dict[str, Any] = super().get_environ()
        environ['RAW_URI'] = self.path
        return environ
