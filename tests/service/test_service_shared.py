"""A store that several share: who stands still in it, or is cut off from it, holds nobody up."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import Event

from napixclient.service.database import Connection, LeaseLost, StoreError, open_database
from napixclient.service.rows import Kept
from napixclient.service.store import Store
from tests import kit
from tests.chaos.postgres import PostgreSQL
from tests.chaos.relay import Relay

#: Seconds after which PostgreSQL or we have given somebody up, on a slow machine.
LONG = 40.0


def kept(number: int) -> Kept:
    """A run as the store has it."""
    return Kept(f'{number:032x}', 0.0, None, 'running', 'me', False, {}, {}, 0)


def test_who_stands_still_holds_nobody_up(postgres: PostgreSQL) -> None:
    """An instance that stops before it commits loses what it has locked, and its run; what it did is undone."""
    url = postgres.create('still')
    first, second = (Store(open_database(url), name) for name in ('first', 'second'))
    first.add(kept(1), ['{}'], [0])
    stands = Event()
    moves = gevent.get_hub().loop.async_()
    moves.start(stands.set)

    def still(to: Connection) -> None:
        to.run('UPDATE runs SET results = 7')
        moves.send()
        time.sleep(12)  # in a thread of the database

    standing = gevent.spawn(first._database.write, still)
    assert stands.wait(kit.LONG)
    moves.stop()
    moves.close()
    second._database.write(lambda to: to.run('UPDATE runs SET seen = 0'))  # waits for the row
    assert [(run.fence, run.results) for run in second.adopt()] == [(1, 0)]
    with pytest.raises(StoreError):
        standing.get(timeout=LONG)
    with pytest.raises(LeaseLost):
        first.commit(kept(1).id, 0, 0, [(0, 'a')], {}, [])
    assert second.lines(kept(1).id, 0) == []
    for store in first, second:
        store.close()


def test_a_database_that_hangs_is_given_up(postgres: PostgreSQL) -> None:
    """A statement that is not answered fails after a while, and so does each connection; then all is as before."""
    postgres.create('hangs')
    with Relay(postgres.port) as relay:
        store = Store(open_database(postgres.url('hangs', relay.port)), 'me')
        store.add(kept(1), ['{}'], [])
        assert store.find(kept(1).id) is not None
        relay.freeze()
        for _ in range(2):  # over the connections that there are, then over new ones
            asking = [gevent.spawn(store.find, kept(1).id), gevent.spawn(store.renew, [(kept(1).id, 0)])]
            for one in asking:
                with pytest.raises(StoreError):
                    one.get(timeout=LONG)
        relay.thaw()
        kit.wait_until(lambda: _answers(store), 'it answers again', LONG)
        store.close()


def _answers(store: Store) -> bool:
    gevent.sleep(0.1)
    try:
        return store.renew([(kept(1).id, 0)]) == {kept(1).id: False} and store.find(kept(1).id) is not None
    except StoreError:
        return False


def test_tables_are_made_once(postgres: PostgreSQL) -> None:
    """Many that start at the same time on an empty database all have it."""
    for number in range(5):
        url = postgres.create(f'empty{number}')
        making = [gevent.spawn(lambda url=url: Store(open_database(url), 'me').close()) for _ in range(6)]
        gevent.joinall(making, raise_error=True)


def test_much_is_kept_and_read_in_pieces(postgres: PostgreSQL) -> None:
    """Many requests and long lines go in and come out as they are."""
    store = Store(open_database(postgres.create('much')), 'me')
    store.add(
        kept(1),
        [f'{{"n": {number}, "t": "\\u0000\\\\ \\"{{}}\\" %s :x"}}' for number in range(2500)],
        range(0, 2500, 2),
    )
    left = store.left(kept(1).id)
    assert [(one.number, one.request['n'], one.sent) for one in left] == [(n, n, n % 2 == 0) for n in range(2500)]
    assert left[7].request['t'] == '\x00\\ "{}" %s :x'
    lines = [f'"\\u0000\\\\ {{NULL}} ,"{"x" * 50_000}{number}"' for number in range(200)]
    store.commit(kept(1).id, 0, 0, list(enumerate(lines)), {}, [])
    found: list[str] = []
    while page := store.lines(kept(1).id, len(found)):
        assert sum(map(len, page)) < 1_200_000
        found += page
    assert found == lines and len(store.left(kept(1).id)) == 2300
    store.close()
