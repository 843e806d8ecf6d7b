"""Consumers: what becomes of messages, of claims and of the consumer, when all goes well and when not."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from napixclient.marconi import ErrorBase, ServiceUnavailable
from tests import kit
from tests.kit import wait_until
from tests.marconi.conftest import Peers
from tests.marconi.scenarios import a_name, filled
from tests.marconi.test_queues import DOWN, failing


@pytest.mark.parametrize('version', [1, 1.1, 2])
def test_what_succeeded_is_deleted_and_what_failed_is_released(version: Any, zaqar: Peers) -> None:
    """Each message is handled; one that failed comes again; the error goes to `on_error` with its message."""
    queue = filled(zaqar.client(version=version), 50)
    seen: list[Any] = []
    told: list[Any] = []

    def handle(message: Any) -> None:
        seen.append(message.body)
        if message.body % 10 == 3 and seen.count(message.body) == 1:
            raise ZeroDivisionError(message.body)

    with queue.consume(handle, concurrency=7, on_error=lambda *given: told.append(given)) as consumer:
        wait_until(lambda: consumer.done == 50, seconds=30)
        assert 'at work' in repr(consumer)
    assert sorted(set(seen)) == list(range(50)) and len(seen) == 55
    assert sorted((str(error), message.body) for error, message in told) == [(str(n), n) for n in (13, 23, 3, 33, 43)]
    assert consumer.failed == 5 and zaqar.messages[queue.name] == [] and consumer.stopped
    assert repr(consumer) == f'<Consumer of {queue.name}: stopped, 0 under way, 50 done, 5 failed>'


def test_no_more_are_handled_at_once_than_asked_for(zaqar: Peers) -> None:
    """Nor are more claimed than are handled."""
    queue = filled(zaqar.client(version=2), 30)
    now = most = claimed = 0

    def handle(message: Any) -> None:
        nonlocal now, most, claimed
        now += 1
        most = max(most, now)
        claimed = max(claimed, sum(map(zaqar.is_claimed, zaqar.messages[queue.name])))
        gevent.sleep(0.01)
        now -= 1

    with queue.consume(handle, concurrency=3) as consumer:
        wait_until(lambda: consumer.done == 30, seconds=30)
    assert most == 3 and claimed <= 3 + 3 + 20


def test_deleting_takes_few_requests(zaqar: Peers) -> None:
    """What was handled meanwhile is deleted together."""
    queue = filled(zaqar.client(version=2), 200)
    zaqar.asked.clear()
    with queue.consume(lambda message: None) as consumer:
        wait_until(lambda: consumer.done == 200, seconds=30)
    assert len([line for line in zaqar.asked if line.startswith('DELETE')]) <= 40


def test_a_long_claim_is_renewed(zaqar: Peers) -> None:
    """While a handler works for longer than the claim lives, the message is nobody else's."""
    queue = filled(zaqar.client(version=2), 1)
    starts: list[float] = []

    def handle(message: Any) -> None:
        starts.append(time.monotonic())
        gevent.sleep(3.5)

    with queue.consume(handle, ttl=2) as one, queue.consume(handle, ttl=2) as other:
        wait_until(lambda: one.done + other.done == 1, seconds=30)
    assert len(starts) == 1


def test_an_empty_queue_is_asked_ever_less_often(zaqar: Peers) -> None:
    """At first ten times a second, at last every five seconds; a message that comes is found."""
    queue = filled(zaqar.client(version=2), 0)
    zaqar.asked.clear()
    seen: list[Any] = []
    with queue.consume(seen.append):
        gevent.sleep(1.5)
        assert 2 <= len(zaqar.asked) <= 6
        queue.post_messages({'body': 1})
        wait_until(lambda: bool(seen), seconds=20)


def test_a_message_that_always_fails_is_not_tried_all_the_time(zaqar: Peers, caplog: Any) -> None:
    """A claim of which nothing succeeded makes the consumer wait, longer each time; errors are logged by default."""
    queue = filled(zaqar.client(version=2), 1)
    tries: list[Any] = []

    def handle(message: Any) -> None:
        tries.append(message)
        raise ZeroDivisionError('always')

    with queue.consume(handle):
        gevent.sleep(1.5)
    assert 2 <= len(tries) <= 6
    assert 'the handler failed at the message' in caplog.text and 'ZeroDivisionError: always' in caplog.text


def test_it_goes_on_when_the_server_fails(zaqar: Peers) -> None:
    """Claims, deletions and releases that fail are told, and tried again."""
    queue = filled(zaqar.client(version=2), 5)
    told: list[Any] = []
    failed: list[Any] = []

    def handle(message: Any) -> None:
        if message.body == 0 and not failed:
            failed.append(message)
            raise ZeroDivisionError

    failing(zaqar, '/claims', [DOWN, None, DOWN])  # the claim, and its release
    with queue.consume(handle, ttl=1, on_error=lambda error, message: told.append(error)) as consumer:
        wait_until(lambda: consumer.done == 4, seconds=20)
        failing(zaqar, 'DELETE', [DOWN, DOWN])
        wait_until(lambda: consumer.done == 5, seconds=20)
    assert zaqar.messages[queue.name] == []
    assert [type(error) for error in told].count(ServiceUnavailable) >= 3
    assert all(isinstance(error, (ErrorBase, ZeroDivisionError)) for error in told)


def test_what_cannot_be_deleted_is_given_up_after_the_life_of_a_claim(zaqar: Peers) -> None:
    """So that a consumer that is to stop does stop."""
    queue = filled(zaqar.client(version=2), 2)
    zaqar.fault = lambda method, *_: DOWN if method == 'DELETE' else None
    told: list[Any] = []
    consumer = queue.consume(lambda message: None, ttl=1, on_error=lambda error, message: told.append(error))
    wait_until(lambda: bool(told), seconds=20)
    assert consumer.stop(timeout=20) is True
    assert consumer.done == 0 and len(zaqar.messages[queue.name]) == 2


def test_stop_waits_for_what_is_under_way(zaqar: Peers) -> None:
    """And claims no more; with a timeout the handlers that still run are killed and their messages released."""
    queue = filled(zaqar.client(version=2), 3)
    begun, go = Event(), Event()

    def handle(message: Any) -> None:
        begun.set()
        go.wait()

    consumer = queue.consume(handle, concurrency=2)
    begun.wait()
    stopping = gevent.spawn(consumer.stop)
    kit.turn()
    assert not stopping.ready() and 'stopping' in repr(consumer)
    go.set()
    assert stopping.get(timeout=20) is True and consumer.done == 2 and len(zaqar.messages[queue.name]) == 1
    go.clear()
    begun.clear()
    consumer = queue.consume(handle)
    begun.wait()
    assert consumer.stop(timeout=0.1) is False and consumer.stopped
    assert queue.stats.free == 1 and consumer.failed == 1


def test_a_handler_may_stop_its_consumer(zaqar: Peers) -> None:
    """It does not wait for itself then; nor does `on_error`."""
    queue = filled(zaqar.client(version=2), 1)
    box: list[Any] = []
    box.append(queue.consume(lambda message: box.append(box[0].stop())))
    assert box[0].join(20) is True and box[1] is False and box[0].done == 1
    zaqar.fault = lambda *_: DOWN
    box = []
    box.append(queue.consume(lambda message: None, on_error=lambda error, message: box.append(box[0].stop())))
    assert box[0].join(20) is True and box[1] is False


def test_on_error_may_fail_itself(zaqar: Peers, caplog: Any) -> None:
    """That is logged, and the consumer goes on; a gevent.Timeout of the handler's is an error like others."""
    queue = filled(zaqar.client(version=2), 2)
    seen: list[Any] = []

    def handle(message: Any) -> None:
        seen.append(message)
        if len(seen) == 1:
            raise gevent.Timeout(3)

    def on_error(error: BaseException, message: Any) -> None:
        raise KeyError('on_error')

    with queue.consume(handle, on_error=on_error) as consumer:
        wait_until(lambda: consumer.done == 2, seconds=20)
    assert 'on_error failed' in caplog.text


def test_a_consumer_that_is_killed_leaves_nothing_behind(zaqar: Peers) -> None:
    """Not a greenlet; its claims end by themselves."""
    queue = filled(zaqar.client(version=2), 3)
    begun = Event()

    def handle(message: Any) -> None:
        begun.set()
        gevent.sleep(60)

    consumer = queue.consume(handle)
    begun.wait()
    consumer._main.kill()
    assert consumer.stopped and consumer.stop() is True


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        ({'handler': 7}, 'cannot be called'),
        ({'handler': print, 'concurrency': 0}, 'concurrency is a number'),
        ({'handler': print, 'concurrency': True}, 'concurrency is a number'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, Any], match: str, zaqar: Peers) -> None:
    """Before anything is claimed."""
    with pytest.raises(ValueError, match=match):
        zaqar.client(version=2).queue(a_name()).consume(**given)
    assert zaqar.asked == []


AT_WORK = """
import os, signal, sys
import gevent
from napixclient.marconi import Client, Connection
url, = sys.argv[1:]
before = lambda *_: print('as before', flush=True)
signal.signal(signal.SIGTERM, before)
with Connection(endpoint=url, tenant='p1', version=2) as conn:
    def handle(message):
        if message.body == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        gevent.sleep(0.3)
    consumers = [Client(conn).queue('q').consume(handle, 2, sigterm=True) for _ in range(2)]
    for consumer in consumers:
        assert consumer.join(20)
    print(sum(consumer.done for consumer in consumers), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
gevent.sleep(0.5)
"""


def test_sigterm_drains(zaqar: Peers) -> None:
    """All consumers that asked for it stop at SIGTERM, with what they have in hand done; later it is as it was before."""
    zaqar.client(version=2).queue('q').post_messages([{'body': number} for number in range(30)])
    done = kit.run_program(AT_WORK, zaqar.server.url)
    assert (done.code, done.err) == (0, '')
    handled, after = done.out.splitlines()
    assert after == 'as before' and 2 <= int(handled) <= 8
    assert len(zaqar.messages['q']) == 30 - int(handled)
