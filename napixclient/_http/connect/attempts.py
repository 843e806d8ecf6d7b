"""Notes the addresses that are tried for one connection."""

from __future__ import annotations

from ...peer import AnyPeer, Peer, Route

__all__ = ['Attempts', 'InternetAddress', 'Place']

#: What ``connect()`` takes: host and port, over IPv6 two numbers more …
InternetAddress = tuple[str, int] | tuple[str, int, int, int]
#: … and of a Unix socket the path.
Place = InternetAddress | str


class Attempts:
    """The addresses that are tried for one connection, and the one that takes it."""

    __slots__ = ('_reached', '_tried')

    def __init__(self) -> None:
        self._tried: list[Place] = []
        self._reached: Place | None = None

    def begin(self) -> None:
        """A socket is to be connected, perhaps another one than before: through the same proxy, or for TLS."""
        self._tried.clear()
        self._reached = None

    def add(self, place: Place) -> None:
        """This one is tried, perhaps once more."""
        if self._tried[-1:] != [place]:
            self._tried.append(place)

    def reached(self, place: Place) -> None:
        """This one took the connection."""
        self._reached = place

    @property
    def route(self) -> Route | None:
        """What is known by now; ``None`` where nothing was tried."""
        tried = self._tried
        if not tried:
            return None
        peers = tuple(map(_peer_at, tried))
        return Route(peers[-1] if self._reached is None else _peer_at(self._reached), peers)


def _peer_at(place: Place) -> AnyPeer:
    return place if isinstance(place, str) else Peer(place[0], place[1])
