"""Names a server in ``X-Napix-Via`` if nobody has named it."""

from __future__ import annotations

import _socket
import ipaddress
import os
import socket
from functools import lru_cache
from hashlib import sha256
from typing import Any

from .environ import Environ, text_of

__all__ = ['default_id']


def default_id(environ: Environ) -> str:
    """An id that is the same after a restart and in all workers, and differs between the servers of a machine.

    It is made of the machine's name, the working directory, the address that the server listens on, as far as the
    environ tells it, and the mount point.
    """
    return _hashed(*_listens_at(environ), text_of(environ, 'SCRIPT_NAME'))


@lru_cache(maxsize=64)
def _hashed(*where: str) -> str:
    text = '|'.join((socket.gethostname(), os.getcwd(), *where))
    return sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]


def _listens_at(environ: Environ) -> tuple[str, str]:
    """Address and port. If the server listens on all addresses and does not say so, the one that the caller used."""
    connection = _own_end(environ)
    if connection and isinstance(connection, (str, bytes)):
        # A Unix socket: then servers take name and port from what the caller sent.
        return os.fsdecode(connection), ''
    name, port = text_of(environ, 'SERVER_NAME'), text_of(environ, 'SERVER_PORT')
    if text_of(environ, 'SERVER_ADDR'):
        name = text_of(environ, 'SERVER_ADDR')
    elif isinstance(connection, tuple) and not _is_address(name):
        name = str(connection[0])  # two addresses may share a name
    return name, port


@lru_cache(maxsize=64)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_end(environ: Environ) -> Any:
    """Our end of the connection, as ``getsockname`` returns it; ``None`` if the environ does not lead to it."""
    try:
        for name in 'gunicorn.socket', 'werkzeug.socket':
            if name in environ:
                return environ[name].getsockname()
        if 'waitress.client_disconnected' in environ:  # a method of what holds the connection
            return environ['waitress.client_disconnected'].__self__.socket.getsockname()
        body = environ['wsgi.input']
        ours = _socket.socket(fileno=(body if hasattr(body, 'fileno') else body.rfile).fileno())
        try:
            return ours.getsockname()
        finally:
            ours.detach()  # it is the server's
    except Exception:  # there is no socket, or its caller has left
        return None
