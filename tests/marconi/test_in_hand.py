"""Consumers and what they have in hand: what is tried again, what is lost, how it is deleted, and what a fork leaves."""

from __future__ import annotations

import re
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from napixclient.marconi import ErrorBase, NotFound, ServiceUnavailable
from napixclient.marconi.inhand import Memory
from tests import kit
from tests.kit import wait_until
from tests.marconi.conftest import Peers
from tests.marconi.scenarios import bodies, filled
from tests.marconi.test_queues import DOWN, failing


def asked(zaqar: Peers, pattern: str) -> list[str]:
    """The requests that match, as `DELETE /v2/queues/…`."""
    return [line for line in zaqar.asked if re.search(pattern, line)]


def ignore(error: BaseException, message: Any) -> None:
    """An `on_error` that does not fill the log."""


# Claims --------------------------------------------------------------------------------------------------------------


def test_a_new_claim_is_renewed_before_anything_else(zaqar: Peers) -> None:
    """Before a handler is given anything of it, and before anything else is asked; what cannot be renewed is held."""
    client = zaqar.client(version=2)
    queue = filled(client, 4)
    before: list[list[str]] = []
    zaqar.asked.clear()
    with queue.consume(lambda message: before.append(list(zaqar.asked)), concurrency=2) as consumer:
        wait_until(lambda: consumer.done == 4, seconds=20)
    assert [line.split()[0] for line in before[0]] == ['POST', 'PATCH']
    queue = filled(client, 2)
    zaqar.asked.clear()
    queue.claim(1)
    assert [line.split()[0] for line in zaqar.asked] == ['POST', 'PATCH']
    failing(zaqar, 'PATCH', [DOWN])
    with queue.claim(1, ttl=20, renew=True) as claim:
        assert bodies(claim) == [1]
        wait_until(lambda: len(asked(zaqar, 'PATCH')) == 3, seconds=20)  # long before half of its life is over
    assert not queue.claim(1).id or bodies(queue.claim(1)) == []


def test_a_claim_of_nothing_keeps_no_consumer(zaqar: Peers) -> None:
    """An answer that has a claim and no messages is like one that has none."""
    queue = filled(zaqar.client(version=2), 1)
    failing(
        zaqar, 'POST /v2/queues/' + queue.name + '/claims', [(201, {'location': '/v2/claims/none'}, {'messages': []})]
    )
    with queue.consume(lambda message: None) as consumer:
        wait_until(lambda: consumer.done == 1, seconds=20)
        assert consumer.stop(20) is True


def test_claims_that_are_done_with_are_released(zaqar: Peers) -> None:
    """So that none expires, which would cost the queue its statistics; those that cannot be told nobody."""
    queue = filled(zaqar.client(version=2), 50)
    told: list[Any] = []
    with queue.consume(lambda message: None, on_error=lambda *given: told.append(given)) as consumer:
        wait_until(lambda: consumer.done == 50, seconds=20)
    assert zaqar.claims == {} and told == []


# What has failed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('concurrency', [1, 2, 20])
def test_what_always_fails_does_not_starve_others(concurrency: int, zaqar: Peers) -> None:
    """Others are claimed and handled, with one place too; what fails is never given up, and is there at the end."""
    queue = filled(zaqar.client(version=2), 40)
    tries: list[Any] = []

    def handle(message: Any) -> None:
        if message.body % 10 == 0:
            tries.append(message.body)
            raise ZeroDivisionError

    with queue.consume(handle, concurrency, on_error=ignore) as consumer:
        wait_until(lambda: consumer.done == 36, seconds=30)
    assert set(tries) == {0, 10, 20, 30} and consumer.failed == len(tries)
    assert bodies(queue.messages(echo=True)) == [0, 10, 20, 30]


def test_a_broken_handler_does_not_hoard_the_queue(zaqar: Peers) -> None:
    """No more than a hundred messages wait for another try, and a claim's worth: the others are for others."""
    queue = filled(zaqar.client(version=2), 300)
    most, seen = 0, set()

    def handle(message: Any) -> None:
        nonlocal most
        seen.add(message.body)
        most = max(most, sum(map(zaqar.is_claimed, zaqar.messages[queue.name])))
        raise ZeroDivisionError

    with queue.consume(handle, on_error=ignore) as consumer:
        wait_until(lambda: len(seen) >= 100, seconds=30)
        wait_until(lambda: consumer.failed >= 300, seconds=60)
    assert 100 <= most <= 120 and queue.stats.free == 300


def test_what_fails_again_and_again_is_left_to_others(zaqar: Peers) -> None:
    """After five tries, and when nothing else is under way: somebody else can do what this consumer cannot."""
    queue = filled(zaqar.client(version=2), 2)
    other = zaqar.client(version=2).queue(queue.name)
    tries: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        if message.body:
            go.wait()
            return
        tries.append(message.claim_id)
        raise ZeroDivisionError

    with queue.consume(handle, on_error=ignore) as consumer:
        wait_until(lambda: len(tries) == 6, seconds=30)  # one more, as another message is under way
        assert len(set(tries)) == 1 and not other.claim(20) and not asked(zaqar, 'DELETE.*/claims/')
        go.set()
        wait_until(lambda: consumer.done == 1, seconds=20)
        wait_until(lambda: bool(asked(zaqar, f'DELETE.*/claims/{tries[0]}')), seconds=30)
        with other.consume(lambda message: None) as better:
            wait_until(lambda: better.done == 1, seconds=60)
    assert zaqar.messages[queue.name] == []


def test_what_was_given_back_is_not_tried_all_the_time(zaqar: Peers) -> None:
    """Claimed again by the same consumer, it waits for as long as it would have waited; others do not."""
    queue = filled(zaqar.client(version=2), 1)
    tries: list[tuple[str, float]] = []
    seen: list[Any] = []

    def handle(message: Any) -> None:
        if message.body == 0:
            tries.append((message.claim_id, time.monotonic()))
            raise ZeroDivisionError
        seen.append(message.body)

    with queue.consume(handle, on_error=ignore):
        wait_until(lambda: len(tries) == 5, seconds=30)
        queue.post_messages({'body': 1})
        wait_until(lambda: bool(seen), seconds=30)
        assert len(tries) == 5 or tries[5][1] - tries[4][1] > 1
        wait_until(lambda: len(tries) == 6, seconds=30)  # it was released, and claimed again
    assert len({claim for claim, _ in tries}) == 2 and tries[5][1] - tries[4][1] > 1


def test_released_at_once(zaqar: Peers) -> None:
    """On request what has failed is released with the end of its claim; what else is in hand is not handed out twice."""
    queue = filled(zaqar.client(version=2), 40)
    other = zaqar.client(version=2).queue(queue.name)
    seen: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        seen.append(message.body)
        if message.body == 0 and seen.count(0) == 1:
            raise ZeroDivisionError
        if message.body >= 20:
            go.wait()

    zaqar.asked.clear()
    with queue.consume(handle, concurrency=40, release='at once', on_error=ignore) as consumer:
        wait_until(lambda: seen.count(0) == 2, seconds=30)
        assert not go.is_set() and asked(zaqar, 'DELETE.*/claims/') and not other.claim(20)
        go.set()
        wait_until(lambda: consumer.done == 40, seconds=30)
    assert sorted(seen) == [0, *range(40)]
    with pytest.raises(ValueError, match="release is one of 'when idle', 'at once', not 'never'"):
        queue.consume(handle, release='never')


# What was handled ----------------------------------------------------------------------------------------------------


def test_what_was_handled_is_not_handled_again(zaqar: Peers) -> None:
    """A message that could not be deleted comes again, and is deleted then."""
    queue = filled(zaqar.client(version=2), 5)
    seen: list[Any] = []
    zaqar.fault = lambda method, *_: DOWN if method == 'DELETE' else None
    with queue.consume(lambda message: seen.append(message.body), ttl=1, on_error=ignore) as consumer:
        wait_until(lambda: len(asked(zaqar, 'POST.*/claims')) > 1 and len(seen) == 5, seconds=20)
        wait_until(lambda: not consumer._in_hand.tasks, seconds=20)  # given up
        zaqar.fault = lambda *_: None
        wait_until(lambda: consumer.done == 5, seconds=20)
    assert seen == [0, 1, 2, 3, 4] and zaqar.messages[queue.name] == []


def test_a_store_that_forgets_a_deletion(zaqar: Peers) -> None:
    """What was deleted and is there again, as after a failover, is deleted again, and counted once."""
    queue = filled(zaqar.client(version=2), 3)
    copy = [dict(message) for message in zaqar.messages[queue.name]]
    seen: list[Any] = []
    with queue.consume(lambda message: seen.append(message.body)) as consumer:
        wait_until(lambda: consumer.done == 3, seconds=20)
        zaqar.messages[queue.name] = copy
        wait_until(lambda: not zaqar.messages[queue.name], seconds=20)
    assert seen == [0, 1, 2] and consumer.done == 3


def test_how_much_is_remembered() -> None:
    """The newest so many; what is kept again counts as new."""
    memory = Memory[int](3)
    for number, id in enumerate('abcad'):
        memory.keep(id, number)
    assert memory == {'c': 2, 'a': 3, 'd': 4}


def test_what_is_not_surely_ours_is_not_deleted_in_a_list(zaqar: Peers) -> None:
    """With little time left of its claim, each is deleted with the name of that; with enough, all with one request."""
    client = zaqar.client(version=2)
    for ttl, in_list in ((60, True), (1, False)):
        queue = filled(client, 4)
        zaqar.asked.clear()
        with queue.consume(lambda message: None, ttl=ttl) as consumer:
            wait_until(lambda: consumer.done == 4, seconds=20)
        assert bool(asked(zaqar, r'DELETE.*\?ids=')) is in_list
        alone = {line.split('?')[0] for line in asked(zaqar, r'DELETE.*/messages/[^?]+\?claim_id=')}
        assert len(alone) == (0 if in_list else 4)


def test_a_list_that_is_refused_is_deleted_one_by_one(zaqar: Peers) -> None:
    """As a Zaqar does that compares claims with lists: it is told them, and a list that it refuses costs no message."""
    queue = filled(zaqar.client(version=2), 4)
    zaqar.fault = lambda method, target, *_: DOWN if method == 'DELETE' and '?ids=' in target else None
    told: list[Any] = []
    with queue.consume(lambda message: None, on_error=lambda error, message: told.append(type(error))) as consumer:
        wait_until(lambda: consumer.done == 4, seconds=20)
    lists = asked(zaqar, r'DELETE.*\?ids=')
    claims = {line.rpartition('claim_id=')[2] for line in asked(zaqar, r'DELETE.*\?claim_id=')}
    assert told == [ServiceUnavailable] * len(lists)
    assert {line.rpartition('&claim_ids=')[2] for line in lists} <= claims


# What is lost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('answer', [DOWN, (404, {}, {'title': 'Not found'}), (500, {}, b'')])
def test_a_claim_that_cannot_be_renewed_until_its_end_is_lost(answer: Any, zaqar: Peers) -> None:
    """What is in hand is told; what is handled all the same is deleted where nobody else has it."""
    queue = filled(zaqar.client(version=2), 3)
    told: list[Any] = []
    tries: list[Any] = []
    go = Event()

    def handle(message: Any) -> None:
        tries.append(message.body)
        if message.body == 0:
            raise ZeroDivisionError
        go.wait()

    zaqar.fault = lambda method, *_: answer if method == 'PATCH' else None
    consumer = queue.consume(handle, 3, ttl=2, on_error=lambda *given: told.append(given))
    wait_until(lambda: consumer.lost >= 3, seconds=20)
    zaqar.fault = lambda *_: None
    lost = [message.body for error, message in told if type(error) is NotFound]
    assert sorted(lost[:3]) == [0, 1, 2] and f'{consumer.lost} lost' in repr(consumer)
    go.set()
    assert consumer.stop(20) is True and consumer.done == 2
    assert bodies(queue.messages(echo=True, include_claimed=True)) == [0] and sorted(tries)[-2:] == [1, 2]


def test_on_error_may_stop_the_consumer_wherever_it_is_called(zaqar: Peers, caplog: Any) -> None:
    """Also where it is told of a claim that is lost or cannot be released; without one it is logged."""
    queue = filled(zaqar.client(version=2), 1)
    box: list[Any] = []
    box.append(
        queue.consume(
            lambda message: gevent.sleep(1.5), ttl=1, grace=1, on_error=lambda error, message: box.append(box[0].stop())
        )
    )
    zaqar.fault = lambda method, *_: DOWN if method == 'PATCH' else None
    assert box[0].join(30) is True and box[1:] and set(box[1:]) == {False}
    queue = filled(zaqar.client(version=2), 1)
    with queue.consume(lambda message: gevent.sleep(2), 1, ttl=1) as consumer:
        wait_until(lambda: consumer.lost == 1, seconds=20)
    assert 'lost the message' in caplog.text


def test_a_claim_that_is_over_but_known_by_its_id_alone(zaqar: Peers) -> None:
    """Of it nobody can say when it was over: the server's answer stands."""
    queue = filled(zaqar.client(version=2), 1)
    claim = queue.claim(ttl=1)
    gevent.sleep(1.1)
    for call in (
        lambda: queue.update_claim(claim.id),
        lambda: list(queue.messages(claim=claim.id)),
        lambda: queue.release_claim(claim.id),
    ):
        with pytest.raises(ServiceUnavailable):
            call()
    with pytest.raises(NotFound, match=r'(?s)NotFound \(404\): the claim is over.*The server answers 503') as caught:
        claim.patch()
    assert isinstance(caught.value.__cause__, ServiceUnavailable)


def test_what_is_not_deleted_though_the_server_says_so(zaqar: Peers) -> None:
    """Makes `purge` fail, and not go on for ever; unknown kinds are refused before anything is asked."""
    queue = filled(zaqar.client(version=2), 3)
    zaqar.fault = lambda method, target, *_: (204, {}, None) if method == 'DELETE' or 'purge' in target else None
    with pytest.raises(ErrorBase, match='messages were not deleted'):
        queue.purge()
    zaqar.asked.clear()
    with pytest.raises(ValueError, match="messages and subscriptions can be purged, not 'claims'"):
        queue.purge('messages', 'claims')
    assert zaqar.asked == []
    failing(zaqar, 'purge', [DOWN])
    queue.purge()
    assert queue.stats.total == 0


# Forks ---------------------------------------------------------------------------------------------------------------

FORKED = """
import os, signal, sys
import gevent
from gevent.event import Event
from napixclient.marconi import Client, Connection
url, reinit = sys.argv[1:]
parent, go, begun, errors = os.getpid(), Event(), [], []
def who():
    return 'parent' if os.getpid() == parent else 'child'
def say(what):
    os.write(1, f'{what} {who()}\\n'.encode())
def handle(message):
    begun.append(message.body)
    try:
        go.wait()
        say('handled')
    finally:
        say('left')
before = lambda *_: say('terminated')
signal.signal(signal.SIGTERM, before)
with Connection(endpoint=url, tenant='p1', version=2) as conn:
    queue = Client(conn).queue('q')
    consumer = queue.consume(handle, 2, ttl=2, sigterm=True, on_error=lambda *given: say(given))
    with queue.claim(1, renew=True) as claim:
        while len(begun) < 2:
            gevent.sleep(0.01)
        go.set()                                # they are about to go on
        child = os.fork()
        if not child:
            if reinit == 'reinit':
                gevent.reinit()
            assert consumer.stopped and consumer.join() and consumer.stop() and 'stopped, 0 under way' in repr(consumer)
            os.kill(os.getpid(), signal.SIGTERM)
            gevent.sleep(1)
            queue.stats                         # the connection works in the child
            with Client(conn).queue('of the child').consume(lambda message: say(message.body), 1) as own:
                while not own.done:
                    gevent.sleep(0.01)
            say('child')
            sys.stdout.flush()
            os._exit(0)
    assert not consumer.stopped
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        gevent.sleep(0.01)
    while consumer.done < 3:
        gevent.sleep(0.01)
    consumer.stop()
"""


@pytest.mark.parametrize('reinit', ['reinit', 'plain'])
def test_a_consumer_does_not_go_on_in_the_child_of_a_fork(reinit: str, zaqar: Peers) -> None:
    """Its handlers go on in the parent only, and a consumer of the child's own works.

    In the child it is stopped, claims nothing and no longer attends to SIGTERM; not even a handler's `finally` runs.
    """
    queue = zaqar.client(version=2).create_queue('q')
    queue.post_messages([{'body': number} for number in range(3)])
    zaqar.client(version=2).create_queue('of the child').post_messages({'body': 'own'})
    done = kit.run_program(FORKED, zaqar.server.url, reinit)
    assert (done.code, done.err) == (0, '')
    lines = done.out.splitlines()
    assert [line for line in lines if line.endswith('child')] == ['terminated child', 'own child', 'child child']
    assert sorted(line for line in lines if line.endswith('parent')) == ['handled parent'] * 3 + ['left parent'] * 3
    assert len(asked(zaqar, f'DELETE.*{queue.name}/messages')) <= 3 and zaqar.messages['q'] == []


FORKING_HANDLER = """
import os, sys
import gevent
from napixclient.marconi import Client, Connection
def handle(message):
    child = os.fork()
    if not child:
        gevent.sleep(0.1)                       # the child is in this greenlet, which is its own
        os.write(1, b'child goes on\\n')
        return
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        gevent.sleep(0.01)
with Connection(endpoint=sys.argv[1], tenant='p1', version=2) as conn:
    consumer = Client(conn).queue('q').consume(handle, 1)
    while not consumer.done:
        gevent.sleep(0.01)
        if consumer.stopped:
            gevent.sleep(0.5)
            os._exit(0)
    print(consumer.done, flush=True)
    consumer.stop()
"""


def test_a_handler_may_fork(zaqar: Peers) -> None:
    """The child goes on in it; what it returns from there is not deleted by it."""
    zaqar.client(version=2).queue('q').post_messages([{'body': 1}])
    done = kit.run_program(FORKING_HANDLER, zaqar.server.url)
    assert (done.code, done.err) == (0, '')
    assert done.out in ('child goes on\n1\n',) and len(asked(zaqar, 'DELETE.*/messages')) == 1
