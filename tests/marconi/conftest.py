"""Zaqar and Keystone in memory, behind real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from napixclient.marconi import Client, Connection
from tests import kit
from tests.marconi.peer import Keystone, Zaqar

pytest.register_assert_rewrite('tests.marconi.scenarios', 'tests.marconi.store')


class Peers(Zaqar):
    """A Zaqar that listens, and makes connections to itself."""

    def __init__(self, keystone: Keystone | None = None, **options: Any) -> None:
        super().__init__(keystone)
        self.server = kit.serve(self, **options)
        self.identity = None if keystone is None else kit.serve(keystone)
        if keystone is not None:
            keystone.at(self.server.url)
        self._opened: list[Connection] = []

    def connect(self, *arguments: Any, **options: Any) -> Connection:
        """A connection: with Keystone as `demo`, without as the tenant `p1`."""
        if self.identity is not None:
            options = {'auth_url': self.identity.url, **options}
            if not {'password', 'apikey', 'token', 'application_credential'} & set(options):
                arguments, options = arguments or ('demo',), {'password': 'demopw', **options}
        else:
            options = {'endpoint': self.server.url, 'tenant': 'p1', **options}
        self._opened.append(Connection(*arguments, **options))
        return self._opened[-1]

    def client(self, async_: bool = False, **options: Any) -> Client:
        """A client with a connection of its own."""
        return Client(self.connect(**options), async_)

    def posts(self) -> int:
        """How often Keystone was asked for a token."""
        return 0 if self.keystone is None else len(self.keystone.asked)

    def close(self) -> None:
        """Close the connections, then the servers."""
        for conn in self._opened:
            conn.close()
        for server in (self.server, self.identity):
            if server is not None:
                server.close()


@pytest.fixture
def zaqar(tidy: None) -> Iterator[Peers]:
    """A Zaqar without authentication."""
    peers = Peers()
    yield peers
    peers.close()


@pytest.fixture
def with_keystone(tidy: None) -> Iterator[Callable[..., Peers]]:
    """Makes a Zaqar with Keystone: `with_keystone(seconds=3600)` is how long its tokens live."""
    made: list[Peers] = []

    def make(seconds: float = 3600) -> Peers:
        made.append(Peers(Keystone(seconds)))
        return made[-1]

    yield make
    for peers in made:
        peers.close()
