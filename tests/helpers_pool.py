"""What the tests of clients and pools share beside the kit: names without DNS, small askers, servers for TLS."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event

from napixclient import Client, ClientPool, HTTPError, PendingResponse, Response
from tests import kit
from tests.kit import next_id

Address = tuple[int, int, int, str, tuple[str, int]]


def address(port: int, host: str = '127.0.0.1') -> Address:
    """What getaddrinfo says of a server of ours."""
    return socket.AF_INET, socket.SOCK_STREAM, 0, '', (host, port)


class Names:
    """A resolver for `resolver=`: name -> server. Counts what it was asked."""

    def __init__(self, **servers: kit.Server) -> None:
        self.servers = servers
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        """Note the name, and look it up among the servers."""
        self.asked.append((host, port))
        name = host.split('.')[0]
        if name not in self.servers:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, 'Name or service not known')
        return [address(self.servers[name].port)]


class HubNames:
    """In place of the hub's resolver, so that `http://server.example` is a server on loopback, port 80 included."""

    def __init__(self, real: Any, names: dict[str, kit.Server]) -> None:
        self._real = real
        self._names = names

    def getaddrinfo(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        """The server of that name."""
        text = host.decode() if isinstance(host, bytes) else host
        if text in self._names:
            return [address(self._names[text].port)]
        return self._real.getaddrinfo(host, port, *rest, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def known_as(names: dict[str, kit.Server]) -> Iterator[None]:
    """Let these names lead to these servers, whatever port is asked for."""
    hub = gevent.get_hub()
    real = hub.resolver
    hub.resolver = HubNames(real, names)
    try:
        yield
    finally:
        hub.resolver = real


class SlowHandshake(kit.HandlerServer):
    """Speaks TLS, but begins each handshake only when `willing` is set."""

    def __init__(self, handler: kit.Handler = kit.echo, **options: Any) -> None:
        self.willing = Event()
        super().__init__(handler, **options)

    def _greet(self, peer: kit.Peer) -> None:
        self.willing.wait()
        super()._greet(peer)


def ask(pool: ClientPool, server: kit.Server | str, method: str = 'GET', **how: Any) -> PendingResponse:
    """Ask for the answer with a fresh id, which is also the tag."""
    id = next_id()
    host = server if isinstance(server, str) else server.host
    return pool.request(host, method, f'/{id}', tag=id, **how)


def tags(outcomes: Any) -> list[Any]:
    """The tags of outcomes, requests or pendings."""
    return [outcome.request.tag for outcome in outcomes]


def assert_right(found: Any) -> None:
    """An answer, and that to its own request."""
    assert isinstance(found, Response), repr(found)
    assert found.data.decode() == found.request.tag


def failure(client: Client | ClientPool, *request: Any, **how: Any) -> HTTPError:
    """The error that a request ends with; the test fails when it ends well."""
    call: Callable[..., Any] = client.request
    try:
        found = call(*request, **how)
        if isinstance(found, PendingResponse):
            found = found.get()
    except HTTPError as error:
        return error
    raise AssertionError(f'it ended well: {found!r}')


def asking_for_certificates(authority: kit.Authority) -> ssl.SSLContext:
    """The context of a server that wants to see a certificate of this authority."""
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_certs)
    return context
