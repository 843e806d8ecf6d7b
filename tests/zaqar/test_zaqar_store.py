"""What a client and a consumer make of the store of a real Zaqar, 23 and 19, where a life may last for a second."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from napixclient.marconi import Client, Connection
from tests.marconi import store
from tests.zaqar.servers import Servers


def together(servers: Servers, part: str, version: int, scenarios: list[Callable[[Client, Client], None]]) -> None:
    """All at once, as they wait more than they work; each with a queue of its own."""
    with Connection(endpoint=servers.urls[part], tenant='tests', version=version) as conn:
        running = [gevent.spawn(scenario, Client(conn), Client(conn)) for scenario in scenarios]
        gevent.joinall(running, timeout=100)
        failed = {
            scenario.__name__: each.exception
            for scenario, each in zip(scenarios, running, strict=True)
            if not each.successful()
        }
        assert not failed


def test_zaqar_23(servers: Servers) -> None:
    """What the scenarios say of themselves holds on version 2 of Zaqar 23."""
    together(servers, 'v2_short', 2, store.OF_ALL + store.OF_VERSION_2)


def test_zaqar_19(servers: Servers) -> None:
    """And on version 1 of Zaqar 19."""
    together(servers, 'v1_short', 1, store.OF_ALL)
