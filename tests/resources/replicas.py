"""Servers that are replicas of each other, and what the tests of resources ask of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
from gevent.lock import Semaphore

from napixclient.resources import Resources
from tests import kit
from tests.kit import serve, wait_until


def told(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Tell what was asked; `/404` is answered with 404, and so on."""
    first = path[1:].partition('?')[0]
    status = int(first) if first.isdigit() and len(first) == 3 else 200
    return (
        status,
        {'Content-Type': 'application/json'},
        {'method': method, 'path': path, 'sent': body.decode(), 'type': headers.get('content-type')},
    )


@contextmanager
def replicas(count: int, handler: kit.Handler = told, **options: Any) -> Iterator[list[kit.Server]]:
    """So many servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(handler, **options)) for _ in range(count)]


@contextmanager
def replicated(count: int, handler: kit.Handler = told, **options: Any) -> Iterator[tuple[list[kit.Server], Resources]]:
    """So many servers, and resources of them."""
    with replicas(count, handler) as servers, Resources([server.host for server in servers], **options) as resources:
        yield servers, resources


def counts(servers: list[kit.Server]) -> list[int]:
    """How many requests each has read."""
    return [len(server.requests) for server in servers]


def is_back(resources: Resources, server: kit.Server, simultaneous: int = 2) -> None:
    """All slots of a host are there: so many requests are sent to it at once, and no more are needed to see it."""
    held = [resources.request(server.host, 'GET', '/back', timeout=kit.LONG) for _ in range(simultaneous)]
    for resource in held:
        assert resources.getresponse(server.host, resource).status == 200


def die(server: kit.Server) -> None:
    """Refuse connections, and reset those that are open."""
    server._listener.close()
    for peer in list(server.peers.values()):
        peer.reset()


class Reborn(kit.Server):
    """A server at a port that another one had."""

    def __init__(self, port: int, handler: kit.Handler, **options: Any) -> None:
        super().__init__(handler, listening=False, **options)
        self._listener.close()
        self._listener = gevent.socket.socket()
        self._listener.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_REUSEADDR, 1)
        self._listener.bind(('127.0.0.1', port))
        self.port, self.authority = port, f'127.0.0.1:{port}'
        self.host, self.url = self.authority, f'http://{self.authority}'
        self.listen()


def one_at_a_time(seconds: float) -> kit.Handler:
    """A handler that serves one request at a time, each in so many seconds."""
    lock = Semaphore(1)

    def handler(*_: object) -> tuple[int, Any, Any]:
        with lock:
            gevent.sleep(seconds)
        return 200, None, None

    return handler


def closed_loop(callers: int, requests: int, ask: Callable[[], object]) -> list[float]:
    """The latencies of so many requests by so many callers, each of whom asks again when it is answered; sorted."""
    left, latencies = iter(range(requests)), []

    def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            ask()
            latencies.append(time.perf_counter() - began)

    gevent.joinall([gevent.spawn(caller) for _ in range(callers)], raise_error=True)
    return sorted(latencies)


def quantile(latencies: list[float], share: float) -> float:
    """That of sorted latencies."""
    return latencies[min(int(share * len(latencies)), len(latencies) - 1)]


def until_up(resources: Resources, host: str, seconds: float = kit.LONG) -> None:
    """Ask until the host is up again."""

    def up() -> bool:
        resources.unicast('GET', '/', attempts=len(resources))
        return resources.health()[host] == 'up'

    wait_until(up, f'{host} is up', seconds)
