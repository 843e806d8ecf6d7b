"""Makes gevent's WSGI server pass on the path as it was sent."""

from __future__ import annotations

from gevent.pywsgi import WSGIHandler

from .environ import Environ

__all__ = ['RawURIHandler']


class RawURIHandler(WSGIHandler):
    """Puts the target of the request line into the environ as ``RAW_URI``, untouched, as gunicorn does.

    ``WSGIServer(address, app, handler_class=RawURIHandler)``. With it :class:`SignatureGuard` tells ``/a%2Fb`` from
    ``/a/b``. To combine it with another handler class, name this one first:
    ``class Handler(RawURIHandler, WebSocketHandler): pass``.
    """

    def get_environ(self) -> Environ:
        """The environ of one request."""
        environ: Environ = super().get_environ()
        environ['RAW_URI'] = self.path
        return environ
