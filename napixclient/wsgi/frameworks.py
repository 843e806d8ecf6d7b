"""For a framework that would swallow exceptions."""

from __future__ import annotations

from typing import Any

from .catcher import ExceptionsCatcher

__all__ = ['flask_handler']


def flask_handler(app: Any, **options: Any) -> Any:
    """Let a Flask application's exceptions out, and answer them.

    Sets ``PROPAGATE_EXCEPTIONS``, and puts an :class:`ExceptionsCatcher` around ``app.wsgi_app``, so that
    ``app.run()``, ``app.test_client()`` and any server use it. What the application handles itself, by ``abort`` or by
    an error handler of its own, it still does.

    :param app: the ``flask.Flask``.
    :param options: as :class:`ExceptionsCatcher` takes them.
    :return: the same application.
    """
    app.config['PROPAGATE_EXCEPTIONS'] = True
    app.wsgi_app = ExceptionsCatcher(app.wsgi_app, **options)
    return app
