"""Error handlers for frameworks that would answer an exception before the middleware sees it: Flask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict, TypeVar

from .._options import Unpack, lists, refuse_unknown
from .catcher import ExceptionsCatcher
from .environ import Environ

__all__ = ['flask_handler']

_Flask = TypeVar('_Flask')


class CatcherOptions(TypedDict, total=False):
    """What :class:`ExceptionsCatcher` takes by keyword.

    :param expose_traceback: ``bool``, send tracebacks to callers. Default: ``False``.
    :param on_error: a callable, called with ``(exception, environ)`` for everything caught. Default: ``None``.
    :param statuses: a mapping of classes of exceptions to statuses. Default: ``None``.
    :param passthrough: statuses of further servers that are handed on as they are. Default: none.
    :param server_id: ``str``, what this server is called in ``X-Napix-Via``. Default: made of the machine's name, the
        working directory, the address that the server listens on and the mount point.
    """

    expose_traceback: bool
    on_error: Callable[[BaseException, Environ], object] | None
    statuses: Mapping[type[BaseException], int] | None
    passthrough: Collection[int]
    server_id: str | None


@lists(CatcherOptions)
def flask_handler(app: _Flask, **options: Unpack[CatcherOptions]) -> _Flask:
    """Let the exceptions of a Flask application out, and answer them.

    Sets ``PROPAGATE_EXCEPTIONS`` and wraps ``app.wsgi_app`` in an :class:`ExceptionsCatcher`, so that ``app.run()``,
    ``app.test_client()`` and any server use it. The application still handles what it handles itself, by ``abort`` or
    by an error handler of its own.

    :param app: the ``flask.Flask``.
    :param options: as :class:`ExceptionsCatcher` takes them:
    :return: the same application.
    :raises TypeError: if there is no such option.
    """
    refuse_unknown(flask_handler, options, CatcherOptions.__optional_keys__)
    flask: Any = app
    flask.config['PROPAGATE_EXCEPTIONS'] = True
    flask.wsgi_app = ExceptionsCatcher(flask.wsgi_app, **options)
    return app
