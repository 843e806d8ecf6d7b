"""The service under gunicorn: ``gunicorn -k napixclient.service.gunicorn.Worker``."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventPyWSGIWorker

from .handler import Handler

__all__ = ['Worker']


class Worker(GeventPyWSGIWorker):  # type: ignore[misc]
    """gunicorn's worker on gevent, with WebSockets, and with the bounds that ``napix serve`` has."""

    wsgi_handler = Handler
