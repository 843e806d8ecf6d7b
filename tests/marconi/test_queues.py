"""Queues when something goes wrong, and what is asked of the server; `scenarios` has what goes well."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

import napixclient
from napixclient import marconi
from napixclient.marconi import (
    Client,
    ErrorBase,
    MalformedRequest,
    NoAnswer,
    NotFound,
    PendingResult,
    ServerError,
    ServiceUnavailable,
)
from tests import kit
from tests.marconi.conftest import Peers
from tests.marconi.scenarios import a_name, bodies, filled


def failing(zaqar: Peers, what: str, answers: list[Any]) -> None:
    """The next requests of which that is a part are answered with these; `None` is the usual answer."""

    def fault(method: str, target: str, headers: Any, body: bytes) -> Any:
        if what in f'{method} {target}' and answers:
            answer = answers.pop(0)
            return answer(method, target, headers, body) if callable(answer) else answer
        return None

    zaqar.fault = fault


DOWN = 503, {}, {'title': 'Service temporarily unavailable', 'description': 'Try again.'}


# Posting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('version', [1, 2])
def test_a_post_that_fails_says_what_became_of_the_messages(version: Any, zaqar: Peers) -> None:
    """Those before it were stored, its own may have been, those after it were not; nothing is sent again."""
    queue = zaqar.client(version=version).queue(a_name())
    failing(zaqar, 'POST', [None, DOWN])
    messages = [{'body': number, 'ttl': 60} for number in range(250)]
    with pytest.raises(ServiceUnavailable) as caught:
        queue.post_messages(messages)
    error = caught.value
    assert [message['id'] for message in zaqar.messages[queue.name]] == error.posted and len(error.posted) == 100
    assert (error.uncertain, error.unposted) == (messages[100:200], messages[200:])
    assert sum(line.startswith('POST') for line in zaqar.asked) == 2
    assert 'Try again. 100 of 250 messages were stored (see posted). 100 more may have been stored or not' in str(error)


@pytest.mark.parametrize(
    ('answer', 'uncertain', 'unposted'),
    [
        (DOWN, 3, 0),
        ((500, {}, b''), 3, 0),
        ((400, {}, {'title': 'No'}), 0, 3),
        ((429, {}, b''), 0, 3),
        ((201, {}, b'<html>'), 3, 0),
        ((201, {}, {'resources': ['/a'], 'partial': True}), 3, 0),
        ((201, {}, {'resources': ['/a', '/b', '/c'], 'partial': True}), 3, 0),
        ((201, {}, {'resources': [1, 2, 3]}), 3, 0),
    ],
)
def test_what_may_have_been_stored(answer: Any, uncertain: int, unposted: int, zaqar: Peers) -> None:
    """After 500 and above, or an answer that makes no sense, nobody knows; what was refused was not stored."""
    queue = zaqar.client(version=1).queue(a_name())
    zaqar.fault = lambda *_: answer
    with pytest.raises(ErrorBase) as caught:
        queue.post_messages([{'body': number} for number in range(3)])
    error = caught.value
    assert (error.posted, len(error.uncertain), len(error.unposted)) == ([], uncertain, unposted)
    assert len(zaqar.asked) == 1


def test_a_post_without_an_answer(zaqar: Peers) -> None:
    """May have been stored if it was sent; not, if nobody was there."""
    queue = zaqar.client(version=2, timeout=0.3).queue(a_name())
    zaqar.fault = lambda *_: gevent.sleep(1)
    with pytest.raises(NoAnswer) as caught:
        queue.post_messages({'body': 1})
    assert caught.value.uncertain == [{'body': 1}] and 'may have been stored' in str(caught.value)
    with kit.Mute(listening=False) as dead:
        queue = zaqar.client(endpoint=f'{dead.url}/v2').queue(a_name())
        with pytest.raises(NoAnswer) as caught:
            queue.post_messages({'body': 1})
    assert caught.value.unposted == [{'body': 1}] and caught.value.uncertain == []


def test_nothing_was_stored_when_keystone_failed(with_keystone: Any) -> None:
    """Whether the token had to be renewed before the post, or was refused with it."""
    peers = with_keystone(2.0)
    queue = peers.client(version=2).queue(a_name())
    peers.keystone.fault = lambda: DOWN
    peers.keystone.revoke()
    for _ in range(2):
        with pytest.raises(ServiceUnavailable) as caught:
            queue.post_messages({'body': 1})
        assert caught.value.unposted == [{'body': 1}] and caught.value.uncertain == []
        gevent.sleep(2.1)


def test_a_clock_of_the_caller_passes_through(zaqar: Peers) -> None:
    """And leaves no place taken: neither a timeout of gevent's nor a kill is swallowed."""
    client = zaqar.client(version=2, max_concurrency=1)
    gate = kit.Gate()
    zaqar.server.gate = gate
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as clock:
        client.queue('q').post_messages({'body': 1})
    assert caught.value is clock
    killed = gevent.spawn(client.ping)
    gate.wait_for(1)
    killed.kill()
    gate.open()
    assert isinstance(killed.value, gevent.GreenletExit) and client.ping() is True
    queue = filled(client, 2)
    with pytest.raises(gevent.Timeout), queue.claim(2), gevent.Timeout(0.05):
        gevent.sleep(5)
    assert queue.stats.free == 2  # the claim was released on the way


def test_a_queue_may_take_less_than_others(zaqar: Peers) -> None:
    """What its own settings do not allow in one request goes in several; its metadata is asked for only then."""
    client = zaqar.client(version=2)
    queue = client.create_queue(a_name(), {'_max_messages_post_size': 1000})
    queue.post_messages([{'body': 'small'}])
    assert not [line for line in zaqar.asked if line.startswith('GET /v2/queues/')]
    ids = queue.post_messages([{'body': 'x' * 90} for _ in range(50)])
    assert len(ids) == 50 and queue.stats.total == 51
    failing(zaqar, 'GET', [DOWN])
    with pytest.raises(MalformedRequest):  # and not the error of the question
        queue.post_messages([{'body': 'x' * 900}, {'body': 'y' * 900}])


@pytest.mark.parametrize(
    'messages', [[7], ['text'], [{'ttl': 60}], [{'body': object()}], [{'body': float('nan')}], [None]]
)
def test_what_is_no_message_is_refused(messages: list[Any], zaqar: Peers) -> None:
    """Before anything is sent."""
    queue = zaqar.client(version=2).queue(a_name())
    with pytest.raises(ValueError, match='a message is a mapping|cannot be written as JSON'):
        queue.post_messages([{'body': 1}, *messages])
    assert zaqar.asked == []


# Listing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('version', [1, 2])
def test_a_link_that_repeats_ends_a_listing(version: Any, zaqar: Peers) -> None:
    """However its text is written: markers are compared."""
    client = zaqar.client(version=version)
    turns = iter(range(100))
    page = {'messages': [{'id': 'a', 'href': '/a', 'ttl': 1, 'age': 0, 'body': 'A'}]}
    queues = {'queues': [{'name': 'q', 'href': '/q'}]}

    def repeat(method: str, target: str, headers: Any, body: bytes) -> Any:
        link = {'links': [{'rel': 'self'}, {'rel': 'next', 'href': f'/x?turn={next(turns)}&marker=a'}]}
        return 200, {}, {**(page if '/messages' in target else queues), **link}

    zaqar.fault = repeat
    assert bodies(client.queue('q').messages(echo=True)) == ['A'] and next(turns) == 2
    assert [queue.name for queue in client.queues()] == ['q'] and next(turns) == 5


def test_a_listing_is_lazy(zaqar: Peers) -> None:
    """A page is asked for when the one before it is used up; nothing before the first item."""
    queue = filled(zaqar.client(version=2), 5)
    zaqar.asked.clear()
    listing = queue.messages(limit=2, echo=True)
    assert zaqar.asked == []
    assert next(listing).body == 0 and next(listing).body == 1 and len(zaqar.asked) == 1
    assert next(listing).body == 2 and len(zaqar.asked) == 2
    assert 'limit=2' in zaqar.asked[0] and 'marker=' in zaqar.asked[1]
    list(queue.messages(limit=1, echo=True))
    assert 'limit=2' in zaqar.asked[-1]
    list(queue.messages(ids=['a', 'b/c']))
    assert zaqar.asked[-1].endswith('/messages?ids=a,b%2Fc')
    for limit in (0, -1, True, '5', 1.5):
        with pytest.raises(ValueError, match='limit is a number of 1 or more'):
            queue.messages(limit=limit)
    with pytest.raises(ServiceUnavailable):
        zaqar.fault = lambda *_: DOWN
        list(queue.messages(include_claimed=True))


def test_queues_are_named(zaqar: Peers) -> None:
    """By a text that is not empty, which is quoted; metadata is a mapping."""
    client = zaqar.client(version=2)
    for name in ('', None, 7):
        with pytest.raises(ValueError, match='the name of a queue'):
            client.queue(name)  # type: ignore[arg-type]
    failing(zaqar, 'PUT', [(201, {}, b'')])
    client.create_queue('a/b ä')
    assert zaqar.asked[-1] == 'PUT /v2/queues/a%2Fb%20%C3%A4'
    for metadata in ('[1]', 'no JSON', 7, [1]):
        with pytest.raises(ValueError, match='metadata is a mapping'):
            client.create_queue('q', metadata)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='conn is a Connection'):
        Client('http://z.example')  # type: ignore[arg-type]


def test_metadata_that_did_not_change_is_not_sent(zaqar: Peers) -> None:
    """And what begins with `_` stays, unless it is given."""
    client = zaqar.client(version=2)
    queue = client.create_queue(a_name(), {'_default_message_ttl': 600, 'old': 1})
    queue.set_metadata('{"new": 2}')
    assert zaqar.queues[queue.name] == {'_default_message_ttl': 600, 'new': 2}
    queue.set_metadata({'_default_message_ttl': 700, 'new': 2})
    assert zaqar.queues[queue.name] == {'_default_message_ttl': 700, 'new': 2}
    queue.set_metadata({})
    zaqar.asked.clear()
    queue.set_metadata({})
    assert [line.split()[0] for line in zaqar.asked] == ['GET']
    with pytest.raises(NotFound):
        client.queue('nothing').set_metadata({'a': 1})


# Claims --------------------------------------------------------------------------------------------------------------


def test_a_client_may_keep_its_id(zaqar: Peers) -> None:
    """With the id of an earlier client it is the same to the server: listings leave out what that one has posted."""
    first, later = zaqar.client(version=2), zaqar.client(version=2)
    queue = first.create_queue(a_name())
    queue.post_messages({'body': 1})
    assert bodies(later.queue(queue.name).messages()) == [1]
    later.client_id = first.client_id
    assert bodies(later.queue(queue.name).messages()) == []
    assert bodies(later.queue(queue.name).messages(echo=True)) == [1]


def test_a_claim_renews_itself_while_a_slow_worker_works(zaqar: Peers, caplog: Any) -> None:
    """On request, until its block ends, through failures too."""
    queue = filled(zaqar.client(version=2), 2)
    failing(zaqar, 'PATCH', [DOWN])
    with queue.claim(2, ttl=2, renew=True) as claim:
        gevent.sleep(3.5)
        assert queue.stats.claimed == 2 and bodies(claim.messages()) == [0, 1]
    assert 2 <= sum(line.startswith('PATCH') for line in zaqar.asked) <= 8
    assert queue.stats.free == 2 and 'could not be renewed yet' in caplog.text
    with queue.claim(2, ttl=1) as claim:
        gevent.sleep(1.2)
        with pytest.raises(NotFound):
            list(claim.messages())
    with queue.claim(2, ttl=1, renew=True):
        zaqar.claims.clear()
        gevent.sleep(0.7)
    assert 'was over before it could be renewed' in caplog.text


def test_a_claim_that_cannot_be_released(zaqar: Peers, caplog: Any) -> None:
    """Is an error of its own, but never in the place of another one; one that is gone is as good as released."""
    queue = filled(zaqar.client(version=2), 1)
    failing(zaqar, 'DELETE', [DOWN])
    with pytest.raises(ServiceUnavailable), queue.claim(1):
        pass
    zaqar.claims.clear()
    failing(zaqar, 'DELETE', [DOWN])
    with pytest.raises(ZeroDivisionError), queue.claim(1):
        raise ZeroDivisionError
    assert 'could not be released' in caplog.text
    zaqar.claims.clear()
    failing(zaqar, 'DELETE', [(404, {}, {'title': 'Not found'})])
    with queue.claim(1) as claim:
        assert '1 messages' in repr(claim) and claim.id in repr(claim)
    zaqar.claims.clear()
    assert repr(next(queue.messages(echo=True))).endswith('Free>')


# Asynchronous --------------------------------------------------------------------------------------------------------


def test_a_pending_result_can_be_cancelled(zaqar: Peers) -> None:
    """It ends with `Cancelled`, its request too; before it has begun nothing is asked."""
    client = zaqar.client(async_=True, version=2)
    gate = kit.Gate()
    zaqar.server.gate = gate
    pending = client.ping()
    assert isinstance(pending, PendingResult) and 'under way' in repr(pending)
    for given in ({'block': False}, {'timeout': 0.01}):
        for kind in (napixclient.Timeout, gevent.Timeout):
            with pytest.raises(kind, match='goes on'):
                pending.get(**given)
    gate.wait_for(1)
    assert pending.cancel() is True and pending.cancel() is False
    unbegun = client.ping()
    unbegun.kill()
    for each in pending, unbegun:
        with pytest.raises(napixclient.Cancelled):
            each.get()
    gate.open()
    assert len(zaqar.server.requests) == 1
    good = client.ping()
    assert good.get() is True and repr(good) == '<PendingResult: True>'
    zaqar.fault = lambda *_: DOWN
    bad = client.queue('q').messages()
    with pytest.raises(ServerError):
        bad.get()
    assert 'ServiceUnavailable' in repr(bad)
    zaqar.fault = lambda *_: None
    assert list(client.queues().get()) == [] and [queue.name for queue in client.queues] == []
    assert list(client.queue('q').claim(1).get().messages().get()) == []


def test_ctrl_c_in_a_pending_result() -> None:
    """It is the main greenlet's, and only once: the result is Cancelled."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with napixclient.ClientPool():
        pending = PendingResult(interrupted)
        with pytest.raises(KeyboardInterrupt):
            kit.wait_until(lambda: False)
        with pytest.raises(napixclient.Cancelled):
            pending.get()


def test_the_killer_of_a_pending_result_is_not_held_up(zaqar: Peers) -> None:
    """Who is killed while he waits for one leaves it going on."""
    client = zaqar.client(async_=True, version=2)
    gate = kit.Gate()
    zaqar.server.gate = gate
    pending = client.ping()
    waiter = gevent.spawn(pending.get)
    gate.wait_for(1)
    waiter.kill()
    gate.open()
    assert pending.get(timeout=20) is True


def test_the_public_names(tidy: None) -> None:
    """Are sorted, and exist."""
    assert marconi.__all__ == sorted(marconi.__all__)
    assert all(getattr(marconi, name) for name in marconi.__all__)
    for each in (
        zaqar_repr for zaqar_repr in (marconi.HomeDoc({}), marconi.QueueStats({'claimed': 0, 'free': 1, 'total': 1}))
    ):
        assert repr(each).startswith('<')
    stats = marconi.QueueStats({'claimed': '0', 'free': 1, 'total': 1, 'newest': {'age': 1}})
    assert (stats.claimed, stats.oldest, stats.newest) == (0, None, {'age': 1})
