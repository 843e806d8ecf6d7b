"""Consumers on a real Zaqar: one that is killed, a store that is stopped, and how fast they are."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent
import pytest

from napixclient.marconi import Client, Connection, ErrorBase, NoAnswer, ServerError
from tests.kit import wait_until
from tests.marconi.scenarios import a_name, bodies
from tests.zaqar import killed, throughput
from tests.zaqar.servers import Servers

#: In `make test-zaqar`; each of the programs does it with 10,000.
MESSAGES = 2_000


@pytest.fixture(scope='module')
def after_a_kill(servers: Servers) -> dict[str, Any]:
    """What became of the messages. Not in a test: those are shorter."""
    return killed.measure(servers, MESSAGES)


@pytest.fixture(scope='module')
def side_by_side(servers: Servers) -> dict[str, Any]:
    """How fast they were."""
    return throughput.measure(servers, MESSAGES)


def test_it_is_three_times_as_fast_as_the_official_client(side_by_side: dict[str, Any]) -> None:
    """Messages are posted and consumed at least three times as fast as with python-zaqarclient, on the same server."""
    print(json.dumps(side_by_side))
    assert side_by_side['ours']['seen'] == side_by_side['theirs']['seen'] == MESSAGES
    assert side_by_side['ratio'] >= 3


def test_no_message_is_lost_with_a_consumer(after_a_kill: dict[str, Any]) -> None:
    """When one of four consumers is killed in the middle of its claims, every message is handled all the same."""
    print(json.dumps(after_a_kill))
    assert (after_a_kill['ids'], after_a_kill['lost'], after_a_kill['left']) == (MESSAGES, 0, 0)
    assert after_a_kill['codes'] == [-9, 0, 0, 0]
    assert after_a_kill['claimed when killed'] > 0


def test_work_goes_on_when_the_store_is_back(servers: Servers) -> None:
    """While Redis is away, calls fail with errors of ours and in time; a consumer goes on when it is back."""
    told: list[BaseException] = []
    seen: list[Any] = []
    with Connection(endpoint=servers.urls['v1'], tenant='away', version=1) as conn:
        client = Client(conn)
        queue = client.create_queue(a_name())
        queue.post_messages([{'body': number} for number in range(5)])
        with queue.consume(
            lambda message: seen.append(message.body), concurrency=2, on_error=lambda error, message: told.append(error)
        ) as consumer:
            wait_until(lambda: consumer.done == 5, seconds=20)
            servers.stop('redis')
            try:
                for call in (
                    lambda: queue.post_messages({'body': 'never'}),
                    lambda: queue.claim(1),
                    client.ping,
                    lambda: queue.stats,
                    lambda: list(queue.messages()),
                    lambda: client.create_queue('q'),
                ):
                    began = time.monotonic()
                    with pytest.raises(ServerError) as caught:
                        call()
                    assert caught.value.code in (500, 503) and time.monotonic() - began < 20
                wait_until(lambda: bool(told), seconds=20)
            finally:
                servers.start_redis()
            after = a_name()
            answered = until_answered(lambda: queue.post_messages({'body': after}))
            assert len(answered) == 1
            wait_until(lambda: after in seen, seconds=20)
        assert all(isinstance(error, ErrorBase) for error in told) and seen[:5] == [0, 1, 2, 3, 4]


def test_a_server_that_is_stopped_is_no_answer(servers: Servers) -> None:
    """When Zaqar itself is away, that is an error of ours too, at once."""
    with Connection(endpoint=servers.urls['v1'], tenant='away', version=1) as conn:
        queue = Client(conn).create_queue(a_name())
        queue.post_messages([{'body': number} for number in range(5)])
        assert bodies(queue.messages(echo=True)) == [0, 1, 2, 3, 4]
    with Connection(endpoint='http://127.0.0.1:9', version=1) as conn:
        with pytest.raises(NoAnswer) as caught:
            Client(conn).ping()
        assert caught.value.code == 0 and caught.value.__cause__ is not None


def until_answered(call: Any) -> Any:
    """What it returns when it no longer fails."""
    end = time.monotonic() + 30
    while True:
        try:
            return call()
        except ErrorBase:
            if time.monotonic() > end:
                raise
            gevent.sleep(0.2)
