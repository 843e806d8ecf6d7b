"""The parts of the Marconi client that need no server: versions, pauses, pages, and what a consumer has in hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from napixclient.marconi import ErrorBase
from napixclient.marconi.api import Api, QueueApi
from napixclient.marconi.backoff import LONGEST, SHORTEST, Backoff, Rest
from napixclient.marconi.inhand import Batch, InHand, Task
from napixclient.marconi.lease import Lease
from napixclient.marconi.messages import Message, Messages
from napixclient.marconi.paging import marker_of
from napixclient.marconi.versions import locate, newest, version_of
from tests.marconi.conftest import Peers


class Hand:
    """What a consumer has in hand, and claims and messages to put there; no request is sent."""

    def __init__(self, zaqar: Peers) -> None:
        self.queue = QueueApi(Api(zaqar.connect(version=2), False), 'q')
        self.messages = Messages(self.queue)
        self.in_hand = InHand()
        self.batches: list[Batch] = []

    def claim(self, *ids: str) -> tuple[Batch, list[Task]]:
        """Put a claim of these messages in hand; those that were not there yet."""
        lease = Lease(self.queue, str(uuid.uuid4()), 60, 60)
        self.batches.append(Batch(lease, len(ids), lambda batch, error: None))
        found = [Message(self.messages, {'id': id, 'ttl': 60, 'age': 0, 'body': None}) for id in ids]
        return self.batches[-1], self.in_hand.hold(self.batches[-1], found)


@pytest.fixture
def hand(zaqar: Peers) -> Iterator[Hand]:
    """Nothing in hand yet."""
    hand = Hand(zaqar)
    yield hand
    for batch in hand.batches:
        batch.renewal.stop()


@pytest.mark.parametrize(
    ('endpoint', 'parts'),
    [
        ('http://zaqar', ('http://zaqar', '', '')),
        ('http://zaqar/', ('http://zaqar', '', '')),
        ('http://zaqar/v1', ('http://zaqar', '/v1', '1.0')),
        ('http://zaqar/messaging/v1.1//', ('http://zaqar/messaging', '/v1.1', '1.1')),
        ('http://zaqar/v2/', ('http://zaqar', '/v2', '2.0')),
        ('http://v2.example', ('http://v2.example', '', '')),
    ],
)
def test_an_endpoint_may_end_in_a_version(endpoint: str, parts: tuple[str, str, str]) -> None:
    """Its root, the path of the version and the version are told apart."""
    assert locate(endpoint) == parts


def test_versions_have_several_names() -> None:
    """A version is a number or a text, and the newest that is spoken here wins."""
    assert [version_of(given) for given in (1, '1', 1.0, 'v1.1', 'V2', 2.0)] == [
        '1.0',
        '1.0',
        '1.0',
        '1.1',
        '2.0',
        '2.0',
    ]
    for given in (True, 3, 'v1.2', None):
        with pytest.raises(ValueError, match='version is 1, 1.1 or 2'):
            version_of(given)
    assert newest(['1', '1.1', '9']) == '1.1'
    with pytest.raises(ValueError):
        newest(['9'])


def test_pauses_grow_up_to_a_limit() -> None:
    """Each is twice the one before, until things go well."""
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(10)]
    assert pauses[:3] == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST] and pauses[-1] == LONGEST
    backoff.reset()
    assert backoff.next() == SHORTEST


def test_rests_after_nothing_and_after_failures_grow_apart() -> None:
    """To find something shortens the rests after nothing only."""
    rest = Rest()
    assert rest.over
    for _ in range(10):
        rest.after_nothing()
        rest.after_failure()
    before = rest.until
    rest.found_some()
    rest.after_nothing()
    assert rest.until < before
    rest.after_failure()
    assert rest.until > before - LONGEST / 2 and not rest.over


@pytest.mark.parametrize(
    ('links', 'marker'),
    [
        ([], None),
        ([{'rel': 'self', 'href': '/v2/queues?marker=a'}], None),
        ([{'rel': 'next', 'href': '/v2/queues?limit=2&marker=a%20b'}], 'a b'),
        ([{'rel': 'next', 'href': '/v2/queues?limit=2'}], None),
        ([{'rel': 'next'}], None),
    ],
)
def test_the_marker_of_the_next_page(links: Any, marker: str | None) -> None:
    """Only the link to the next page counts, and only its marker."""
    assert marker_of(links) == marker


def test_an_answer_is_a_list_or_has_a_name(hand: Hand) -> None:
    """Messages come by themselves, as in version 1, or under their name; what is neither is an error."""
    document: Any = {'id': 'a', 'ttl': 60, 'age': 0, 'body': 1}
    assert [message.id for message in hand.messages.parse([document])] == ['a']
    assert [message.id for message in hand.messages.parse({'messages': [document]})] == ['a']
    nothing: Any = None
    with pytest.raises(ErrorBase, match='makes no sense'):
        hand.messages.parse(nothing)


def test_a_message_of_two_claims_is_in_hand_once(hand: Hand) -> None:
    """Both claims end with their last message, and the newer one names the message's claim."""
    older, new = hand.claim('a', 'b')
    assert [task.message.id for task in new] == ['a', 'b']
    newer, new = hand.claim('b', 'c')
    assert [task.message.id for task in new] == ['c']
    tasks = hand.in_hand.tasks
    assert tasks['b'].message.claim_id == newer.lease.id
    assert [hand.in_hand.close(tasks[id]) for id in ('a', 'c', 'b')] == [[], [], [older, newer]]
    assert not hand.in_hand.tasks and not hand.in_hand.busy


def test_a_message_is_lost_with_its_last_claim(hand: Hand) -> None:
    """While another claim of ours holds it, nobody else is given it."""
    older, _ = hand.claim('a', 'b')
    newer, _ = hand.claim('b')
    assert [task.message.id for task in hand.in_hand.lose(older)] == ['a']
    assert [task.message.id for task in hand.in_hand.lose(newer)] == ['b']
    assert not hand.in_hand.batches and set(hand.in_hand.tasks) == {'a', 'b'}


def test_what_failed_too_often_is_given_back_when_nothing_is_under_way(hand: Hand) -> None:
    """With it go the other messages of its claims; how often they failed is known when they come again."""
    batch, (spent, other) = hand.claim('a', 'b')
    for _ in range(4):
        assert hand.in_hand.fail(spent, at_once=False) == []
        hand.in_hand.waiting.remove(spent)
    hand.in_hand.fail(spent, at_once=False)
    assert hand.in_hand.busy and hand.in_hand.give_back() == []
    hand.in_hand.fail(other, at_once=False)
    assert hand.in_hand.give_back() == [batch] and batch.all_failed
    _, again = hand.claim('a', 'b')
    assert [task.tries for task in again] == [5, 1] and not any(task.failed for task in again)


def test_what_has_failed_and_is_lost_waits_no_longer(hand: Hand) -> None:
    """It is forgotten but for how often it failed, and may be claimed again."""
    batch, (task,) = hand.claim('a')
    hand.in_hand.fail(task, at_once=False)
    assert hand.in_hand.lose(batch) == [task]
    assert not hand.in_hand.waiting and not hand.in_hand.tasks
    _, (again,) = hand.claim('a')
    assert again.tries == 1 and again.due == task.due


def test_what_was_handled_is_known_when_it_comes_again(hand: Hand) -> None:
    """Whether it could be deleted or not; the first deletion counts."""
    _, (task,) = hand.claim('a')
    assert not hand.in_hand.was_handled(task)
    hand.in_hand.handled(task)
    assert hand.in_hand.was_handled(task)
    assert hand.in_hand.deleted(task) and not hand.in_hand.deleted(task)
    hand.in_hand.close(task)
    _, (again,) = hand.claim('a')
    assert hand.in_hand.was_handled(again)
