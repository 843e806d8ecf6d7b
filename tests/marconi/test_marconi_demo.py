"""The queues of `napix demo --serve`, as the page on queues uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from napixclient.demo.queues import Keystone, Zaqar
from napixclient.marconi import Client, Connection, NotFound, Unauthorized
from napixclient.testing import Server, serve
from napixclient.testing.server import Handler
from tests import kit


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """A Zaqar, and the Keystone that knows where it is."""
    handlers: list[Handler] = []
    with (
        serve(lambda method, path, headers, body: handlers[0](method, path, headers, body)) as zaqar,
        serve(lambda method, path, headers, body: handlers[1](method, path, headers, body)) as identity,
    ):
        keystone = Keystone(zaqar.url)
        handlers += [Zaqar(keystone), keystone]
        yield zaqar, identity


def login(identity: Server, password: str = 'demopw') -> Connection:
    """Someone who logs in."""
    return Connection('tacocat', password=password, auth_url=identity.url)


def test_messages_are_posted_listed_claimed_and_deleted(servers: tuple[Server, Server]) -> None:
    """What is posted is there until it is deleted, and nobody else's while it is claimed."""
    with login(servers[1]) as conn:
        queue = Client(conn).create_queue('orders')
        ids = queue.post_messages([{'ttl': 300, 'body': number} for number in range(25)])
        assert [each.name for each in Client(conn).queues()] == ['orders']
        assert [message.body for message in queue.messages(ids=ids[7:9])] == [7, 8]
        assert [message.body for message in queue.messages(echo=True)] == list(range(25))
        with queue.claim(limit=10, ttl=300, grace=60) as claim:
            assert queue.stats.claimed == 10
            for message in claim:
                if message.body % 2:
                    message.delete()
        assert (queue.stats.claimed, queue.stats.total) == (0, 20)
        with pytest.raises(NotFound):
            queue.update_claim('0e4b8c7e-7c1a-4b7e-9a57-0d2b4f1f7a11', ttl=60)
        queue.delete()
        assert list(Client(conn).queues()) == []


def test_a_worker_handles_every_message(servers: tuple[Server, Server]) -> None:
    """A consumer is handed all that was posted, once each."""
    with login(servers[1]) as conn:
        queue = Client(conn).queue('orders')
        queue.post_messages([{'body': number} for number in range(50)])
        handled: list[int] = []
        with queue.consume(lambda message: handled.append(message.body), concurrency=5, ttl=60) as consumer:
            kit.wait_until(lambda: consumer.done == 50)
        assert sorted(handled) == list(range(50)) and queue.stats.total == 0


def test_a_shared_queue_needs_no_login(servers: tuple[Server, Server]) -> None:
    """Who is given access posts to that queue, and a wrong password opens none."""
    with login(servers[1]) as conn:
        shared = json.loads(json.dumps(Client(conn).queue('orders').share(paths=['messages'], methods=['POST'])))
        with Connection(endpoint=servers[0].url, presigned=shared) as theirs:
            Client(theirs).queue('orders').post_messages({'body': 1})
        assert Client(conn).queue('orders').stats.total == 1
    with pytest.raises(Unauthorized), login(servers[1], 'guessed') as conn:
        Client(conn).ping()


def test_who_logs_in_finds_the_queues_empty(servers: tuple[Server, Server]) -> None:
    """So the examples give the same each time they are run."""
    for _ in range(2):
        with login(servers[1]) as conn:
            queue = Client(conn).queue('orders')
            queue.post_messages({'body': 1})
            assert queue.stats.total == 1
