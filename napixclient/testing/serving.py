"""Starts a server for a function, and tells a handler from a WSGI application."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

from .apps import App, AppServer
from .gate import Gate
from .server import Handler, Server

__all__ = ['serve']


def serve(
    app_or_handler: Handler | App,
    gate: Gate | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    address: str = '127.0.0.1',
    listening: bool = True,
) -> Server:
    """Start a real server in this process, on a port of its own; leaving its ``with`` closes it.

    It serves a handler or a WSGI application; the number of positional arguments tells which.

    - A *handler* ``(method, path, headers, body)`` returns ``(status, headers, body)``, ``(status, body)`` or just a
      body, with status 200. The returned body is a dict or a list, which are sent as JSON, a str, bytes or None. The
      argument ``path`` is the target as it was sent, ``headers`` a case-insensitive mapping, ``body`` bytes.
    - A *WSGI application* ``(environ, start_response)`` runs under gevent's pywsgi. Each request is read whole before
      the application is called.

    Both may block as greenlets do. If the process is not patched, they must not call anything that blocks the hub.

    >>> from napixclient import Client
    >>> from napixclient.testing import serve
    >>> with serve(lambda method, path, headers, body: {'path': path}) as server:
    ...     Client(server.host).request('GET', '/captains').body
    {'path': '/captains'}

    :param app_or_handler: the handler, or the WSGI application.
    :param gate: holds and counts the requests; without one they are answered at once.
    :param tls: the context of a TLS server, a ``gevent.ssl.SSLContext``: if the process is not patched, an
        ``ssl.SSLContext`` would block every greenlet, the client too.
    :param address: the address to listen on; ``0.0.0.0`` for all addresses of this machine; the path of a Unix socket,
        which is removed with the server.
    :param listening: ``False`` to refuse connections until ``listen()`` is called.
    :raises TypeError: if it is neither a handler nor a WSGI application, or could be both.
    :raises ValueError: if ``tls`` would block, or is for a Unix socket.
    """
    kind: Any = AppServer if is_app(app_or_handler) else Server
    server: Server = kind(app_or_handler, gate, tls=tls, address=address, listening=listening)
    return server


def is_app(given: Handler | App) -> bool:
    """Whether it is a WSGI application, and not a handler.

    :raises TypeError: if it could be either or neither.
    """
    # First by its own signature; a wrapper that takes any arguments is what it wraps.
    for follow_wrapped in False, True:
        try:
            signature = inspect.signature(given, follow_wrapped=follow_wrapped)
        except (TypeError, ValueError):
            break
        two, four = _takes(signature, 2), _takes(signature, 4)
        if two != four:
            return two
        if not two:
            break
    raise TypeError(
        'serve takes a handler, called as (method, path, headers, body), or a WSGI application, called as '
        f'(environ, start_response); this could be either or neither: {given!r}. A lambda around it with '
        'the right arguments tells which'
    )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
