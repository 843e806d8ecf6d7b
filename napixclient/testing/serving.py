"""A server for a function, and how its kind is told."""

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
    """Start a real server in this process, on a port of its own; a context manager that ends it.

    It is made for a handler or for a WSGI application. The number of positional arguments tells which it is.

    - A *handler* ``(method, path, headers, body)`` returns ``(status, headers, body)``, ``(status, body)`` or just a
      body, with status 200. A body is a dict or a list, which go as JSON, a str, bytes or None. ``path`` is the target
      as it was sent, ``headers`` a case-insensitive mapping, ``body`` bytes.
    - A *WSGI application* ``(environ, start_response)`` runs under gevent's pywsgi. Its requests are read whole before
      it is called.

    Both may block as greenlets do; in a process that is not patched they must not call what blocks otherwise.

    >>> from napixclient import Client
    >>> from napixclient.testing import serve
    >>> with serve(lambda method, path, headers, body: {'path': path}) as server:
    ...     Client(server.host).request('GET', '/captains').body
    {'path': '/captains'}

    :param app_or_handler: the handler, or the WSGI application.
    :param gate: what holds and counts its requests; without one all are answered at once.
    :param tls: the context of a TLS server, a ``gevent.ssl.SSLContext``: an ``ssl.SSLContext`` of a process that is not
        patched would block every greenlet, the client too.
    :param address: the address to listen at; ``0.0.0.0`` for all addresses of this machine.
    :param listening: ``False`` to refuse connections until ``listen()`` is called.
    :raises TypeError: for what is neither a handler nor a WSGI application, or could be both.
    :raises ValueError: for a ``tls`` that would block.
    """
    kind: Any = AppServer if is_app(app_or_handler) else Server
    server: Server = kind(app_or_handler, gate, tls=tls, address=address, listening=listening)
    return server


def is_app(given: Any) -> bool:
    """Whether it is a WSGI application, rather than a handler.

    :raises TypeError: when that cannot be told.
    """
    # First as it will be called; a wrapper that takes anything is what it wraps.
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
