"""Peers: the address at the other end of a connection, and the addresses that were tried for it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ['AnyPeer', 'Peer', 'Route', 'listed']

#: Addresses that a text names at most.
_MOST = 5


class Peer(NamedTuple):
    """An address and a port that a connection leads to."""

    address: str
    port: int

    def __str__(self) -> str:
        return f'[{self.address}]:{self.port}' if ':' in self.address else f'{self.address}:{self.port}'


#: A Unix socket is known by its path.
AnyPeer = Peer | str


class Route(NamedTuple):
    """How a connection was opened."""

    peer: AnyPeer  # the one that took the connection, or was tried last
    tried: tuple[AnyPeer, ...]  # all of them, in order


def listed(peers: tuple[AnyPeer, ...], text: str) -> str:
    """The peers that a text does not name, as they follow it: `` (tried 10.0.0.1:80, 10.0.0.2:80)``; or nothing."""
    names = [name for name in dict.fromkeys(map(str, peers)) if name not in text]
    if not names:
        return ''
    more = f' and {len(names) - _MOST} more' if len(names) > _MOST else ''
    return f' (tried {", ".join(names[:_MOST])}{more})'
