"""The service under gunicorn: ``gunicorn -k napixclient.service.gunicorn.Worker``."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventPyWSGIWorker

from .handler import Handler

__all__ = ['Worker']


class Worker(GeventPyWSGIWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with WebSockets and the limits of ``napix serve``."""

    wsgi_handler = Handler
