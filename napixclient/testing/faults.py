"""Servers that break."""

from __future__ import annotations

import ssl
from collections import deque

from .gate import Gate
from .peer import Peer
from .server import Handler, Server
from .steps import Script, checked

__all__ = ['FaultServer']


class FaultServer(Server):
    r"""A server whose first connections play scripts, one each, in turn; all later ones answer well.

    A connection whose script has ended answers well too, unless the script closed it. So ``FaultServer([READ, RST])``
    resets the first connection once it has read a request, and then is good. The gate counts what is answered, not
    what a script reads. :class:`Server` tells of its attributes.

    >>> from napixclient import Client
    >>> from napixclient.testing import CLOSE, READ, FaultServer
    >>> with FaultServer([READ, b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', CLOSE]) as server:
    ...     with Client(server.host) as client:
    ...         client.request('GET', '/captains')
    Traceback (most recent call last):
    napixclient.errors.TruncatedBody: ...

    :param scripts: lists of steps: ``bytes``, :data:`READ`, :data:`ANSWER`, :class:`Pause` and so on.
    :param handler: what answers well, as :func:`serve` takes it; by default 200 without a body.
    :param gate: what holds and counts what is answered well.
    :param tls: as :func:`serve` takes it.
    :param address: the address to listen at.
    :param listening: ``False`` to refuse connections until ``listen()`` is called.
    :raises TypeError: for what is no script.
    :raises ValueError: for a ``tls`` that would block.
    """

    def __init__(
        self,
        *scripts: Script,
        handler: Handler | None = None,
        gate: Gate | None = None,
        tls: ssl.SSLContext | None = None,
        address: str = '127.0.0.1',
        listening: bool = True,
    ) -> None:
        #: The scripts that no connection has begun to play.
        self.scripts = deque(map(checked, scripts))
        super().__init__(handler, gate, tls=tls, address=address, listening=listening)

    def talk(self, peer: Peer) -> None:
        """Play, then be good."""
        if self.scripts:
            self.play(self.scripts.popleft(), peer)
        super().talk(peer)
