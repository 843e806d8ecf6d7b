"""The names of the servers, and where they lead. Imported by whatever runs an example: nothing else is loaded."""

from __future__ import annotations

import os
import socket
from typing import Any

from gevent.resolver.thread import Resolver

__all__ = ['HOSTS', 'PORT', 'VARIABLE', 'Names', 'port_of']

#: Where the servers listen, on 127.0.0.1, unless the environment variable says otherwise.
PORT: int = 8600
VARIABLE: str = 'NAPIX_DEMO_PORT'
Found = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
#: Nobody listens here: the servers hold its port, and it refuses.
_DEAD = 'web4.example'
HOSTS: frozenset[str] = frozenset(
    [
        *(f'{name}.example' for name in ('server', 'secure', 'vault', 'tokens', 'cloud', 'ip-allocator', 'filer')),
        *(f'{name}.example' for name in ('proxy', 'zaqar', 'open', 'keystone')),
        *(f'xen{number}.example' for number in range(1, 5)),
        *(f'web{number}.example' for number in range(1, 101)),
    ]
)


def port_of(host: str) -> int:
    """The port of a host on 127.0.0.1. That of the host that is down is the next one."""
    return int(os.environ.get(VARIABLE) or PORT) + (host == _DEAD)


class Names(Resolver):
    """A resolver of gevent for which the hosts of the documentation are on this machine, whatever port is asked for.

    No other name in ``.example`` exists (RFC 2606 §3); all other names are looked up as the system does.
    """

    def getaddrinfo(
        self, host: str | bytes, port: Any, family: int = 0, socktype: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Found]:
        """What ``socket.getaddrinfo`` would return.

        :raises socket.gaierror: for a name that does not exist.
        """
        name = host.decode() if isinstance(host, bytes) else host
        if name in HOSTS:
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', ('127.0.0.1', port_of(name)))]
        if name and name.rstrip('.').lower().endswith('.example'):
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return super().getaddrinfo(name, port, family, socktype, proto, flags)
