"""What a client of queues does, as functions of a client: run against the peer in memory, and against real servers.

Each begins with a queue of its own, for others may be at work on the same server.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

import gevent
import pytest

from napixclient.marconi import (
    Claim,
    Client,
    Connection,
    ErrorBase,
    Forbidden,
    HomeDoc,
    Http,
    MalformedRequest,
    Message,
    NotFound,
    Queue,
    QueueStats,
    Unsupported,
)


def a_name() -> str:
    """The name of a queue that nobody else has."""
    return f'q-{uuid.uuid4().hex[:12]}'


def filled(client: Client, count: int, **more: Any) -> Queue:
    """A queue with that many messages, whose bodies are their numbers."""
    queue = client.create_queue(a_name())
    queue.post_messages([{'ttl': 300, 'body': number, **more} for number in range(count)])
    return queue


def bodies(messages: Any) -> list[Any]:
    """The bodies of messages."""
    return [message.body for message in messages]


def seed_session(conn: Connection) -> None:
    """The session of the seed, line by line, in its order."""
    with_keystone = conn.expires is not None
    v1, v2 = conn.version == '1.0', conn.version == '2.0'
    # Working with a connection
    assert isinstance(conn.tenant, str)
    assert conn.host.endswith({'1.0': '/v1', '1.1': '/v1.1', '2.0': '/v2'}[conn.version])
    fields = {'host', 'date', 'accept', 'accept-encoding', 'content-length', 'x-project-id'}
    if with_keystone:
        assert isinstance(conn.expires, datetime) and conn.expires.tzinfo is not None
        assert conn.token and conn.token not in repr(conn.headers) and conn.headers['x-auth-token'] == conn.token
        fields |= {'x-auth-token'}
        assert repr(conn) == f'<MarconiConnection user:demo expires:{conn.expires.isoformat(timespec="milliseconds")}>'
    assert set(conn.headers) == fields
    sent = json.dumps({'my': 'message'})
    answer = conn.request(Http.GET, headers={'x-client-id': 100}, data=sent, verify=True)
    assert answer.status_code == 200
    assert conn.headers['content-length'] == str(len(sent))
    # Client operation
    client = Client(conn, async_=False)
    name = a_name()
    queue = client.create_queue(name=name, metadata=json.dumps({'game': 'd2'}))
    assert repr(queue) == f'<MarconiQueue [{name}]>'
    assert name in {each.name for each in client.queues(marker=None, limit=10, detailed=False)}
    listed = next(each for each in client.queues(detailed=True) if each.name == name).listed
    assert listed['metadata']['game'] == 'd2'
    assert isinstance(client.home, HomeDoc) and client.home.resources
    assert client.async_ is False
    # Queue handling
    queue = next(q for q in client.queues if q.name == name)
    assert isinstance(queue.stats, QueueStats) and (queue.stats.free, queue.stats.total) == (0, 0)
    ids = queue.post_messages(messages=[{'ttl': 120, 'body': {'action': 'win', 'number': n}} for n in range(6)])
    assert list(queue.get_messages()) == []  # its own are left out
    assert [message.id for message in queue.get_messages(echo=True)] == ids
    assert [message.id for message in queue.get_messages(ids=ids[1:3])] == ids[1:3]
    assert queue.metadata['game'] == 'd2'
    if conn.version != '1.1':
        queue.set_metadata({'a': 2, 'b/~': [3]})
        assert {key: value for key, value in queue.metadata.items() if not key.startswith('_')} == {'a': 2, 'b/~': [3]}
    # Message handling
    message = next(queue.messages(echo=True))
    assert (message.id, message.ttl, message.body) == (ids[0], 120, {'action': 'win', 'number': 0})
    assert message.age >= 0
    assert message.status is Message.Free and repr(message.status) == '<EnumValue: Message.Free [value=1]>'
    # Claim management
    claim = queue.claim(limit=2)
    assert claim and len(claim) == 2 and (claim.ttl, claim.grace) == (60, 60) and claim.age >= 0
    first = next(claim.messages())
    assert first.id == ids[0] and first.status is Message.Claimed
    assert [each.id for each in queue.get_messages(ids=[ids[1], ids[2]], claim=claim.id, limit=1)] == [ids[1]]
    with pytest.raises(Forbidden):
        conn.request(Http.DELETE, f'/queues/{name}/messages/{first.id}')  # without its claim
    claim.patch(ttl=90, grace=70)
    assert (claim.ttl, claim.grace) == (90, 70)
    first.delete()
    assert [each.id for each in claim.messages()] == ids[1:2]
    queue.update_claim(claim.id, ttl=100)
    queue.release_claim(claim)
    with pytest.raises(NotFound) as caught:
        claim.patch(ttl=60)
    assert caught.value.code == 404
    assert str(caught.value).startswith('NotFound (404): Not found\n')
    assert [each.id for each in queue.messages(echo=True)] == ids[1:]
    other = queue.claim(limit=10)
    other.delete()
    queue.delete()
    if v1:
        assert not queue.exists() and client.queue(name).name == name
    if v2:
        assert bodies(queue.messages(echo=True)) == []


def every_page(client: Client) -> None:
    """A listing has every message once and in order, whatever the size of its pages; the queues, too."""
    queue = filled(client, 23)
    for limit in (None, 1, 2, 5, 20):
        assert bodies(queue.messages(limit=limit, echo=True)) == list(range(23)), limit
    marker = list(queue.messages(echo=True))[4].id
    assert bodies(queue.messages(marker=marker, limit=3, echo=True)) == list(range(5, 23))
    alone = filled(client, 1)
    assert bodies(alone.messages(limit=1, echo=True)) == [0]
    names = {queue.name, alone.name, filled(client, 0).name}
    for limit in (1, 2, 20):
        listed = [each.name for each in client.queues(limit=limit)]
        assert names <= set(listed) and len(listed) == len(set(listed)), limit
    with pytest.raises(MalformedRequest):
        list(client.queues(limit=21))


def pages_behind_others(client: Client, other: Client) -> None:
    """What a listing leaves out (own and claimed messages) hides nothing of what is behind it."""
    queue = filled(client, 8)
    other.queue(queue.name).post_messages([{'ttl': 300, 'body': f'other {n}'} for n in range(3)])
    queue.post_messages([{'ttl': 300, 'body': n} for n in range(8)])
    other.queue(queue.name).post_messages({'ttl': 300, 'body': 'other 3'})
    assert bodies(queue.messages(limit=2)) == [f'other {n}' for n in range(4)]
    claim = queue.claim(limit=6)
    assert bodies(queue.messages(limit=2, echo=True)) == [6, 7, 'other 0', 'other 1', 'other 2', *range(8), 'other 3']
    assert len(bodies(queue.messages(limit=2, echo=True, include_claimed=True))) == 20
    assert len(claim) == 6
    queue.claim(limit=20, ttl=60)
    claim.delete()
    queue.post_messages({'ttl': 300, 'body': 'last'})
    assert bodies(queue.messages(limit=2, echo=True)) == [*range(6), 'last']


def deleting_while_listing(client: Client) -> None:
    """Who deletes some of what a listing gives, while it goes on, gets every message once."""
    for doomed in (lambda n: True, lambda n: n % 2 == 1, lambda n: n % 3 == 0, lambda n: n in (1, 4)):
        queue, seen = filled(client, 12), []
        for message in queue.messages(limit=2, echo=True):
            seen.append(message.body)
            if doomed(message.body):
                message.delete()
        assert seen == list(range(12))
        assert bodies(queue.messages(echo=True)) == [n for n in range(12) if not doomed(n)]


def many_messages(client: Client) -> None:
    """What is too much for one request is posted in several, in order."""
    queue = client.create_queue(a_name())
    small = [{'ttl': 300, 'body': number} for number in range(350)]
    large = [{'ttl': 300, 'body': 'ä' * 15_000 + str(number)} for number in range(8)]  # 90 KB each, as JSON
    ids = queue.post_messages(message for message in [*small, *large])
    assert len(set(ids)) == 358 and queue.stats.total == 358
    found = list(queue.messages(limit=20, echo=True))
    assert [message.id for message in found] == ids
    assert [message.body for message in found] == [message['body'] for message in small + large]
    assert queue.post_messages([]) == []
    with pytest.raises(MalformedRequest) as caught:
        queue.post_messages([{'ttl': 300, 'body': 'small'}, {'ttl': 300, 'body': 'x' * 300_000}, {'body': 'never'}])
    error = caught.value
    assert (len(error.posted), error.uncertain, [message['body'][:5] for message in error.unposted]) == (
        1,
        [],
        ['xxxxx', 'never'],
    )
    assert '1 of 3 messages were stored' in str(error)


def claims(client: Client) -> None:
    """A claim is iterated, released at the end of its block, empty when nothing is left."""
    queue = filled(client, 5)
    with queue.claim(limit=3) as claim:
        assert bodies(claim) == [0, 1, 2] and bool(claim)
        next(iter(claim)).delete()
    assert bodies(queue.messages(echo=True)) == [1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError), queue.claim(limit=20) as claim:
        assert len(claim) == 4
        raise ZeroDivisionError
    with queue.claim(limit=20) as claim:
        for message in claim:
            message.delete()
    assert queue.stats.total == 0
    with queue.claim(limit=3) as empty:
        assert isinstance(empty, Claim) and not empty and empty.id is None and list(empty) == []
        assert list(empty.messages()) == []
    empty.delete()
    for what in (lambda: empty.patch(), lambda: queue.update_claim(empty), lambda: list(queue.messages(claim=empty))):
        with pytest.raises(ValueError, match='empty'):
            what()
    with pytest.raises(NotFound):
        list(queue.messages(claim=str(uuid.uuid4())))
    queue.release_claim(str(uuid.uuid4()))


def by_ids(client: Client) -> None:
    """Messages by their ids, any number of them; those that are not there are left out."""
    queue = client.create_queue(a_name())
    ids = queue.post_messages([{'ttl': 300, 'body': number} for number in range(45)])
    assert sorted(bodies(queue.get_messages(ids=ids))) == list(range(45))
    assert bodies(queue.get_messages(ids=ids[7])) == [7]
    assert bodies(queue.get_messages(ids=[str(uuid.uuid4()), ids[3]], limit=1)) == [3]
    assert bodies(queue.get_messages(ids=[str(uuid.uuid4())])) == []
    assert bodies(queue.get_messages(ids=[])) == []


def what_versions_have(client: Client) -> None:
    """A call that the version does not have is refused with an error that says which one has it."""
    version, queue = client.conn.version, filled(client, 4)
    assert client.ping() is True
    if version == '1.0':
        assert queue.exists() is True and client.queue(a_name()).exists() is False
        assert client.health() is True
    else:
        with pytest.raises(Unsupported, match='(?s)nobody can tell.*answers alike'):
            queue.exists()
        assert bodies(queue.pop()) == [0] and bodies(queue.pop(limit=2)) == [1, 2]
    later = [
        lambda: queue.purge(),
        lambda: queue.subscribe('http://127.0.0.1:9/'),
        lambda: list(queue.subscriptions()),
        lambda: queue.share(),
    ]
    if version == '1.0':
        later.append(lambda: queue.pop())
    if version == '1.1':
        later.append(lambda: queue.set_metadata({}))
    if version != '2.0':
        for call in later:
            with pytest.raises(Unsupported, match='it needs'):
                call()
        return
    with pytest.raises(Forbidden):
        client.health()
    queue.purge()
    assert queue.stats.total == 0
    subscriptions(queue)
    shares(client, queue)


def subscriptions(queue: Queue) -> None:
    """Subscriptions are made, listed, changed and deleted."""
    made = [queue.subscribe(f'http://127.0.0.1:9/{n}', ttl=300, options={'n': n}) for n in range(3)]
    for limit in (None, 1, 2):
        assert {each.id for each in queue.subscriptions(limit=limit)} == {each.id for each in made}
    made[0].update(ttl=600)
    found = next(each for each in queue.subscriptions() if each.id == made[0].id)
    assert (found.ttl, found.subscriber, found.options) == (600, 'http://127.0.0.1:9/0', {'n': 0})
    for each in made:
        each.delete()
    assert list(queue.subscriptions()) == []
    with pytest.raises(NotFound):
        made[0].update(ttl=700)


def shares(client: Client, queue: Queue) -> None:
    """Who has a share, as JSON, can do what it is for, and nothing else."""
    handed_on = json.dumps(queue.share())
    assert json.loads(handed_on)['signature'] not in repr(queue.share())
    with Connection(endpoint=client.conn.host, presigned=json.loads(handed_on)) as conn:
        theirs = Client(conn).queue(queue.name)
        theirs.post_messages({'ttl': 300, 'body': 'by a share'})
        assert bodies(theirs.messages(echo=True)) == ['by a share']
    assert bodies(queue.messages()) == ['by a share']


def asynchronous(conn: Connection) -> None:
    """With `async_`, whatever asks the server returns at once what gives the same result; they can be mixed."""
    client, sync = Client(conn, async_=True), Client(conn)
    assert client.async_ is True
    name = a_name()
    queue = client.create_queue(name).get()
    assert isinstance(queue, Queue)
    ids = queue.post_messages([{'ttl': 300, 'body': n} for n in range(25)]).get()
    pending = [
        queue.get_messages(echo=True),
        queue.stats,
        client.queue(a_name()).claim(1),
        queue.metadata,
        client.ping(),
        client.home,
        client.queues(),
        queue.get_messages(claim=str(uuid.uuid4())),
    ]
    assert not any(each.ready() for each in pending)
    assert set(gevent.iwait(pending, timeout=30)) == set(pending)  # as they finish
    assert gevent.wait(pending, timeout=30) and all(each.ready() for each in pending)
    listed, stats, nothing, metadata, ping, home, queues, failed = pending
    assert bodies(listed.get()) == list(range(25)) and stats.get().total == 25 and not nothing.get()
    assert metadata.get() == sync.queue(name).metadata and ping.get() is True and home.get() == sync.home
    assert name in {each.name for each in queues.get()}
    assert not failed.successful() and isinstance(failed.exception, NotFound) and failed.value is None
    with pytest.raises(NotFound):
        failed.get()
    with queue.claim(3).get() as claimed:  # also released without anything more
        message = next(iter(claimed))
        assert message.delete().get() is None
        assert [each.id for each in claimed.messages().get()] == ids[1:3]
        assert claimed.patch().get() is None and queue.update_claim(claimed, ttl=70).get() is None
    assert queue.release_claim(claimed).get() is None and claimed.delete().get() is None
    assert queue.stats.get().free == 24
    assert queue.delete().get() is None


def errors(client: Client) -> None:
    """Errors tell what the server said, and belong to the chain."""
    with pytest.raises(NotFound) as caught:
        client.queue(a_name()).update_claim(str(uuid.uuid4()))
    error = caught.value
    assert isinstance(error, ErrorBase) and (error.code, error.status, error.title) == (404, 404, 'Not found')
    assert error.description and f'NotFound (404): Not found\n{error.description}' == str(error)
    assert error.chain[0].remote_call.startswith('PATCH http://') and error.remote_error['title'] == 'Not found'
    with pytest.raises(MalformedRequest):
        client.queue(a_name()).messages(limit=99).__next__()
    with pytest.raises(NotFound):
        client.conn.request('GET', '/nothing/of/that/name')


#: With a client, or with two; `seed_session` and `asynchronous` take a connection.
OF_A_CLIENT = [every_page, deleting_while_listing, many_messages, claims, by_ids, what_versions_have, errors]
