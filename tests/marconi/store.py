"""What the store of a real Zaqar does with messages and claims, and what a client and a consumer make of it.

Functions of two clients, run against the peer in memory and against Zaqar on Redis with lives of a second.
"""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from napixclient.marconi import Client, NotFound, Queue, ServiceUnavailable
from napixclient.marconi.lease import Renewal
from tests.kit import wait_until
from tests.marconi.scenarios import a_name, bodies, filled


def status(client: Client, queue: Queue, method: str, path: str, data: str | None = None) -> int:
    """What the server answers, for what no method of ours asks."""
    try:
        return client.conn.request(method, f'/queues/{queue.name}/{path}', data=data).status_code
    except ServiceUnavailable as error:
        return error.code


def facts(client: Client, other: Client) -> None:
    """The store hands out what is claimed, deletes it in a list, and cannot renew a claim with a dead message."""
    queue = filled(client, 5)
    older, younger = queue.claim(1), queue.claim(2)
    assert bodies(younger) == [1, 2]
    older.delete()
    again = other.queue(queue.name).claim(20)
    assert bodies(again) == [0, 1, 2, 3, 4]
    assert status(client, queue, 'DELETE', f'messages?ids={",".join(message.id for message in again)}') == 204
    assert queue.stats.total == 0
    queue.post_messages([{'ttl': 1, 'body': 'short'}, {'ttl': 300, 'body': 'long'}])
    answer = client.conn.request('POST', f'/queues/{queue.name}/claims', data='{"ttl": 20, "grace": 60}')
    claim = answer.headers['location'].rpartition('/')[2]
    gevent.sleep(2.1)
    assert status(client, queue, 'GET', f'claims/{claim}') == 200
    assert [
        status(client, queue, method, f'claims/{claim}', '{"ttl": 20, "grace": 60}') for method in ('PATCH', 'DELETE')
    ] == [503, 503]


def short_lived(client: Client, other: Client) -> None:
    """A message with less time left than its claim does not die under it: the claim can be renewed and released."""
    queue = client.create_queue(a_name())
    queue.post_messages([{'ttl': 1, 'body': 'short'}, {'ttl': 300, 'body': 'long'}])
    claim = queue.claim(ttl=20)
    with other.queue(queue.name).claim() as nothing:
        assert not nothing
    gevent.sleep(2.1)
    claim.patch(ttl=20)
    assert bodies(claim.messages()) == ['short', 'long']
    claim.delete()
    assert queue.stats.free == 2


def expired(client: Client, other: Client) -> None:
    """A claim whose time is over is not found, whatever the server says, and counts as released; its renewal is lost."""
    queue = filled(client, 2)
    claim = queue.claim(1, ttl=2)
    with queue.claim(1, ttl=2):
        gevent.sleep(3.1)
    for call in (claim.patch, lambda: list(claim.messages()), lambda: queue.update_claim(claim)):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.code == 404
    claim.delete()
    queue.release_claim(claim)
    told: list[BaseException] = []
    renewal = Renewal(claim.lease, told.append)
    wait_until(lambda: renewal.lost, seconds=20)
    assert [type(error) for error in told] == [NotFound]
    assert len(queue.claim(20, ttl=20)) == 2


def statistics(client: Client, other: Client) -> None:
    """Once a claim has expired there are none, and the error says why; those that end in time do no harm."""
    queue = filled(client, 40)
    with queue.claim(1, ttl=2) as claim:
        for message in claim:
            message.delete()
    with queue.consume(lambda message: None, 1, ttl=2) as consumer:
        wait_until(lambda: consumer.done == 1, seconds=20)
        consumer.stop()
    left = queue.stats.total
    gevent.sleep(3.1)
    assert queue.stats.total == left
    queue.claim(1, ttl=2)
    gevent.sleep(3.1)
    with pytest.raises(ServiceUnavailable, match='once a claim of it has expired'):
        assert queue.stats


def handed_out_once(client: Client, other: Client) -> None:
    """No handler is given what another has under way, though the server hands it out again."""
    queue = filled(client, 6)
    older = other.queue(queue.name).claim(1)
    seen: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        seen.append(message.body)
        go.wait()

    with queue.consume(handle, ttl=20) as consumer:
        wait_until(lambda: len(seen) == 5, seconds=20)
        older.delete()
        wait_until(lambda: len(seen) > 5, seconds=20)
        go.set()
        wait_until(lambda: consumer.done == 6, seconds=20)
    assert seen == [1, 2, 3, 4, 5, 0] and queue.stats.total == 0
    assert (consumer.failed, consumer.lost) == (0, 0)


def tried_again_here(client: Client, other: Client) -> None:
    """What has failed is handed out again by the consumer itself, under its claim, while other messages are under way."""
    queue = filled(client, 3)
    tries: list[Any] = []
    begun: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        if message.body:
            begun.append(message.body)
            go.wait()
            return
        tries.append(message.claim_id)
        if len(tries) < 4:
            raise ZeroDivisionError

    with queue.consume(handle, ttl=4, on_error=lambda error, message: None) as consumer:
        wait_until(lambda: consumer.done == 1, seconds=20)
        assert not other.queue(queue.name).claim(20)
        gevent.sleep(4.1)  # longer than the claim lives by itself
        assert not other.queue(queue.name).claim(20)
        go.set()
        wait_until(lambda: consumer.done == 3, seconds=20)
    assert len(tries) == 4 and len(set(tries)) == 1 and sorted(begun) == [1, 2]
    assert (consumer.failed, consumer.lost) == (3, 0)


def released_at_the_end(client: Client, other: Client) -> None:
    """What has failed is held until the consumer stops, and then others may have it."""
    queue = filled(client, 2)
    failed, go = Event(), Event()

    def handle(message: Any) -> None:
        if message.body:
            go.wait()
            return
        failed.set()
        raise ZeroDivisionError

    consumer = queue.consume(handle, ttl=20, on_error=lambda error, message: None)
    failed.wait()
    stopping = gevent.spawn(consumer.stop)
    gevent.sleep(0.3)
    assert not other.queue(queue.name).claim(20) and not stopping.ready()
    go.set()
    assert stopping.get(timeout=20) is True and (consumer.done, consumer.failed >= 1) == (1, True)
    assert bodies(other.queue(queue.name).claim(20)) == [0]


def lost(client: Client, other: Client) -> None:
    """What is under way under a claim that is over is told, and is not deleted when somebody else has it by then."""
    queue, told, held = _taken_away(client, other, lambda theirs: theirs.claim(20))
    assert bodies(held.messages()) == [0, 1] and queue.stats.claimed == 2
    assert told == {0: NotFound, 1: NotFound}


def lost_and_free(client: Client, other: Client) -> None:
    """What nobody else has been given by then is deleted, as it was handled."""
    queue, told, _ = _taken_away(client, other, lambda theirs: None)
    assert queue.stats.total == 0 and told == {0: NotFound, 1: NotFound}


def _taken_away(client: Client, other: Client, then: Any) -> Any:
    """A consumer whose claim somebody else releases."""
    queue = filled(client, 2)
    theirs = other.queue(queue.name)
    claims: list[Any] = []
    told: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        claims.append(message.claim_id)
        go.wait()

    with queue.consume(handle, 2, ttl=2, on_error=lambda *given: told.append(given)) as consumer:
        wait_until(lambda: len(claims) == 2, seconds=20)
        theirs.release_claim(claims[0])
        found = then(theirs)
        wait_until(lambda: consumer.lost == 2, seconds=20)
        go.set()
    assert f'{consumer.done} done, 0 failed, 2 lost' in repr(consumer)
    assert len(claims) == 2 and consumer.done == (0 if found else 2)
    return queue, {message.body: type(error) for error, message in told}, found


def emptied(client: Client, other: Client) -> None:
    """`purge` deletes what is claimed and what is delayed, and each subscription; or one kind only."""
    queue = client.create_queue(a_name(), {'_default_message_delay': 30})
    queue.post_messages([{'ttl': 300, 'body': number, 'delay': 0} for number in range(30)])
    other.queue(queue.name).claim(20)
    queue.post_messages([{'ttl': 300, 'body': number} for number in range(30)])
    # No message is posted from now on, for the server would try to send it there.
    _subscribe(queue)
    queue.purge('subscriptions')
    assert queue.stats.total == 60 and not list(queue.subscriptions())
    _subscribe(queue)
    queue.purge('messages')
    assert queue.stats.total == 0 and len(list(queue.subscriptions())) == 25
    for _ in range(2):
        queue.purge()
        assert queue.stats.total == 0 and not list(queue.subscriptions())


def _subscribe(queue: Queue) -> None:
    for number in range(25):
        queue.subscribe(f'http://127.0.0.1:9/{number}', ttl=300)


def dead_letters(client: Client, other: Client) -> None:
    """They stay claimed by nobody that is known; a purge moves none there."""
    letters = client.create_queue(a_name())
    queue = client.create_queue(
        a_name(), {'_max_claim_count': 1, '_dead_letter_queue': letters.name, '_dead_letter_queue_messages_ttl': 300}
    )
    queue.post_messages([{'ttl': 300, 'body': number} for number in range(3)])
    queue.claim(20).delete()
    assert queue.stats.total == 3 and letters.stats.total == 0
    queue.purge()
    assert (queue.stats.total, letters.stats.total) == (0, 0)
    queue.post_messages([{'ttl': 300, 'body': 'letter'}])
    queue.claim(1).delete()
    assert not queue.claim(1) and not letters.claim(1)
    assert bodies(letters.messages(echo=True, include_claimed=True)) == ['letter']
    letters.purge()
    assert letters.stats.total == 0


#: With two clients; the last ones need version 2.
OF_ALL = [
    facts,
    short_lived,
    expired,
    statistics,
    handed_out_once,
    tried_again_here,
    released_at_the_end,
    lost,
    lost_and_free,
]
OF_VERSION_2 = [emptied, dead_letters]
