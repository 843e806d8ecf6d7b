"""Leads all names to one server of `pictures.py`: the resolver of the `napix` that is recorded."""

from __future__ import annotations

import os
import socket

from gevent.resolver.thread import Resolver

#: The port, in the environment.
VARIABLE = 'PORT_OF_THE_PICTURES'


class Names(Resolver):
    """A resolver of gevent for which every name is that server."""

    def getaddrinfo(self, host: str, port: int, family: int = 0, socktype: int = 0, proto: int = 0, flags: int = 0):
        """What `socket.getaddrinfo` would return."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', int(os.environ[VARIABLE])))]
