"""Servers that break: they play scripts of bytes."""

from __future__ import annotations

import ssl
from collections import deque

from .gate import Gate
from .peer import Peer
from .server import Handler, Server
from .steps import Script, checked

__all__ = ['FaultServer']


class FaultServer(Server):
    r"""A server whose first connections play one script each, in turn; all later connections answer as usual.

    After its script, a connection answers as usual too, unless the script closed it. So ``FaultServer([READ, RST])``
    resets the first connection after reading a request, and then works. The gate counts requests that are answered,
    not those that a script reads. :class:`Server` lists the attributes.

    >>> from napixclient import Client
    >>> from napixclient.testing import CLOSE, READ, FaultServer
    >>> with FaultServer([READ, b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', CLOSE]) as server:
    ...     with Client(server.host) as client:
    ...         client.request('GET', '/captains')
    Traceback (most recent call last):
    napixclient.errors.TruncatedBody: ...

    :param scripts: lists of steps: ``bytes``, :data:`READ`, :data:`ANSWER`, :class:`Pause` and so on.
    :param handler: answers requests as usual, as :func:`serve` takes it; by default with 200 and no body.
    :param gate: holds and counts the requests that are answered as usual.
    :param tls: as :func:`serve` takes it.
    :param address: the address to listen on.
    :param listening: ``False`` to refuse connections until ``listen()`` is called.
    :raises TypeError: if a script is not a list of steps.
    :raises ValueError: if ``tls`` would block.
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
        #: The scripts that no connection has started.
        self.scripts: deque[Script] = deque(map(checked, scripts))
        super().__init__(handler, gate, tls=tls, address=address, listening=listening)

    def talk(self, peer: Peer) -> None:
        """Play a script if one is left, then answer as usual."""
        if self.scripts:
            self.play(self.scripts.popleft(), peer)
        super().talk(peer)
