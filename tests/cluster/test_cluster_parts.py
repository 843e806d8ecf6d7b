"""The parts of a cluster, each on its own, without a broker."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from urllib3 import Retry, Timeout

from napixclient import DeadlineExceeded, Request, Response
from napixclient.cluster.broker import Broker
from napixclient.cluster.control import ranges_of
from napixclient.cluster.keys import BadSeal, Keyring, new_key
from napixclient.cluster.lanes import Zone, folded, jump
from napixclient.cluster.ledger import Ledger
from napixclient.cluster.outcomes import UNSURE, pack_outcome, packed, response_of, restored, unpacked
from napixclient.cluster.travel import Batch, Parcel, pack, unpack
from napixclient.cluster.worker.withdrawn import Numbers, Withdrawn
from napixclient.messages import Headers
from napixclient.peer import Peer, Route
from tests import kit


def test_lanes_never_change() -> None:
    """Which lane an origin belongs to is the same in all versions, for all spellings of it."""
    zone = Zone(lanes=64)
    assert [zone.lane_of(host) for host in ('a.example', 'b.example', 'https://a.example', '[::1]:80')] == [
        zone.lane_of(host) for host in ('A.example:80', 'http://b.example', 'https://A.example:443', 'http://[::1]')
    ]
    # Vectors of other implementations.
    assert [jump(1, 1), jump(42, 57), jump(0xDEAD10CC, 666), jump(256, 1024)] == [0, 43, 361, 520]
    assert [zone.lane_of(host) for host in ('a.example', 'b.example', 'https://a.example')] == [46, 19, 36]
    assert all(jump(key, 10) in (jump(key, 9), 9) for key in range(1000))  # what moves goes to the new one
    counts = [0] * 64
    for number in range(6400):
        counts[zone.lane_of(f'host{number}.example')] += 1
    assert min(counts) > 50 and max(counts) < 160


def test_keys(tmp_path: Path) -> None:
    """What one key has sealed opens with it alone, for what it belongs to alone, unchanged."""
    first, second = new_key(), new_key()
    path = tmp_path / 'keys'
    path.write_text(f'# today\n{first}\n\n{second}\n')
    both, old = Keyring(f'@{path}'), Keyring(second)
    sealed = both.seal(b'secret', b'about')
    assert both.open(sealed, b'about') == b'secret' and b'secret' not in sealed
    assert both.open(old.seal(b'x', b''), b'') == b'x'
    for bad, about, text in [
        (sealed, b'another', 'does not open'),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), b'about', 'does not open'),
        (b'\x02' + sealed[1:], b'about', 'has version 2, and this is version 1'),
        (b'', b'about', 'version'),
        (sealed[:5], b'about', 'not among those here'),
    ]:
        with pytest.raises(BadSeal, match=text):
            both.open(bad, about)
    with pytest.raises(BadSeal, match='not among those here'):
        old.open(sealed, b'about')
    for given, text in [
        (None, 'key is missing'),
        ('', 'key is missing'),
        ('x:y', 'id:base64'),
        ([first, first], 'two keys have the id'),
        ('@/nowhere/key', 'cannot read the key file'),
    ]:
        with pytest.raises(ValueError, match=text):
            Keyring(given)


def test_requests_travel_whole() -> None:
    """Method, target, fields, body and options are the same at the worker; the pool's own fill what is open."""
    retry = Retry(3, backoff_factor=0.5, status_forcelist=[503], allowed_methods=['GET', 'POST'])
    requests = [
        Request('a.example', 'POST', '/p?q=1', {'size': 1}, {'X-Own': 'mine'}, retries=retry, timeout=Timeout(2, 3)),
        Request('https://b.example:8443', 'GET', '/', max_body=10, decode=False),
        Request('c.example', 'GET', '/'),
        Request('c.example', 'PUT', '/', [1], {'content-type': 'application/x+json'}),
        Request('c.example', 'PUT', '/', b'[1]'),
    ]
    defaults = Request('host', 'GET', '/', max_body=77, retries=1)
    parcels = [Parcel(number, request, time() + 100, False, None) for number, request in enumerate(requests)]
    signer = ('login', ('root', b'\xff'))
    data = pack(Batch(3, signer, parcels), defaults, Headers({'X-Own': 'general', 'X-More': 'yes'}))
    cap, found, there = unpack(data)
    assert (cap, found) == (3, signer)
    first, second, third, *puts = (parcel.request for parcel in there)
    assert (first.host, first.method, first.url, first.payload) == ('a.example', 'POST', '/p?q=1', b'{"size":1}')
    assert first.headers.multi_items() == [('X-Own', 'mine'), ('X-More', 'yes'), ('Content-Type', 'application/json')]
    assert [put.headers.get('content-type') for put in puts] == ['application/x+json', None] and first.max_body == 77
    assert first.retries is not None and first.retries.status_forcelist == {503} and first.retries.total == 3
    assert isinstance(first.timeout, Timeout) and 90 < (first.timeout.total or 0) <= 100
    assert (second.max_body, second.decode, second.tag) == (10, False, signer)
    assert third.retries is not None and third.retries.total == 1
    with pytest.raises(ValueError, match='makes no sense'):
        unpack(data[:-3])


def test_outcomes_travel_whole() -> None:
    """An answer and an error are the same at the submitter, of the submitter's own request."""
    request, there = Request('a.example', 'GET', '/', tag='own'), Request('a.example', 'GET', '/')
    answer = Response(there, 200, b'HTTP/1.1 200 OK\r\nX: y\r\nContent-Type: application/json', b'{"a": 1}', 0.5, 2)
    answer.trailer_block = b'\r\nX-Sum: 9'
    error = DeadlineExceeded('late', request=there, phase='read', elapsed=3.0)
    worker, _, _, _, entries = unpacked(packed('0/1@here', [pack_outcome(1, answer), pack_outcome(2, error)]))
    (_, _, _, first), (_, _, second, _) = entries
    found = restored(None, response_of(first, request, worker), request, worker)
    assert isinstance(found, Response) and found.body == {'a': 1} and found.headers['x'] == 'y'
    assert found.trailers['x-sum'] == '9'
    assert (found.elapsed, found.attempts, found.worker) == (0.5, 2, '0/1@here') and found.request is request
    lost = restored(second, None, request, worker)
    assert type(lost) is DeadlineExceeded and lost.message == 'late' and lost.elapsed == 3.0
    assert lost.request is request and lost.worker == '0/1@here'


def test_answers_share_what_they_have_in_common() -> None:
    """Heads and routes that are the same travel once in a message, whichever answers have them, and in any order."""
    request, heads = Request('a.example', 'GET', '/'), [b'HTTP/1.1 200 OK', b'HTTP/1.1 200 OK\r\nX: y']
    routes = [None, Route(Peer('127.0.0.1', 80), ()), Route('/run/x.sock', ('/run/x.sock',))]
    entries: list[Any] = []
    for number in range(100):
        answer = Response(request, 200 + number % 3, heads[number % 2], b'%d' % number, number / 8, 1 + number % 5)
        answer.route = routes[number * 7 % 3]
        entries.append(pack_outcome(number, answer))
    entries.insert(50, [UNSURE, 3, [7, 8]])
    data = packed('0/1@here', entries)
    assert data.count(b'X: y') == 1 and data.count(b'/run/x.sock') == 2
    said = unpacked(data)
    assert said.words == ((UNSURE, 3, (7, 8)),)
    for number, (found, status, head, body, elapsed, attempts, route) in enumerate(said.answers):
        assert (found, status, body) == (number, 200 + number % 3, b'%d' % number)
        assert (elapsed, attempts) == (number / 8, 1 + number % 5)
        assert (said.heads[head], said.routes[route]) == (heads[number % 2], routes[number * 7 % 3])
    with pytest.raises(ValueError, match='makes no sense'):
        unpacked(data[:-3])


def test_requests_share_what_they_have_in_common() -> None:
    """Requests that differ in nothing but their bodies and clocks are packed as one shape, and are themselves again."""
    parcels = []
    for number in range(90):
        host, body = f'{number % 3}.example', b'%d' % number if number % 5 == 0 else None
        request = Request(host, 'PUT' if number % 2 else 'GET', '/a', body, {'X-Own': str(number % 4)})
        parcels.append(Parcel(number, request, time() + (10 if number % 7 == 0 else 1000), False, None))
    data = pack(Batch(2, None, parcels), Request('host', 'GET', '/'), Headers())
    assert data.count(b'.example') == 12  # of three hosts, two methods and four fields
    for number, found in enumerate(unpack(data).parcels):
        given = parcels[number]
        assert found.number == number and found.deadline == given.deadline
        for part in 'host', 'method', 'url', 'payload', 'headers':
            assert getattr(found.request, part) == getattr(given.request, part), part
        assert (found.request.timeout is None) == (number % 7 != 0)


def test_what_is_withdrawn() -> None:
    """Numbers are held as ranges, in whatever order they come; what is no range is refused, and changes nothing."""
    numbers, rest = Numbers(), set(range(200))
    for first, last in (
        (50, 60),
        (10, 10),
        (61, 62),
        (12, 13),
        (11, 11),
        (55, 70),
        (0, 3),
        (100, 150),
        (5, 120),
        (4, 4),
    ):
        numbers.add(first, last)
        rest -= set(range(first, last + 1))
        assert {number for number in range(200) if number not in numbers} == rest
    withdrawn = Withdrawn()
    for wrong in ([[1]], [[1, 2], [3, None]], 'x', 7, [['a', 1]]):
        with pytest.raises((TypeError, ValueError)):
            withdrawn.add('run', wrong)  # type: ignore[arg-type]
    assert not withdrawn.has('run', 1)
    withdrawn.add('run', [[1, 2]])
    assert withdrawn.has('run', 2) and not withdrawn.has('run', 3) and not withdrawn.has('other', 1)


def test_what_may_be_acknowledged() -> None:
    """A message may be acknowledged when all requests that it tells of have their results in the store."""
    ledger = Ledger()
    for number in range(5):
        ledger.open(number)
    ledger.hold(1, [0, 1])
    ledger.hold(2, [1])
    ledger.hold(3, [7])  # of nothing that anybody waits for
    assert ledger.take_due() == [3] and ledger.take_due() == []
    ledger.keep([0])
    assert ledger.take_due() == []
    ledger.keep([1, 2])
    assert sorted(ledger.take_due()) == [1, 2]
    ledger.hold(4, [0, 3])  # the same once more, and another
    ledger.forget_tags()
    ledger.keep([3])
    assert ledger.take_due() == []
    ledger.hold(1, [3])
    assert ledger.take_due() == [1]


def test_small_things() -> None:
    """Lanes and numbers are told in ranges; a URL of a broker is checked, and its password never shown."""
    assert folded([5, 0, 1, 2, 9]) == '0-2,5,9' and ranges_of([3, 1, 2, 7]) == [[1, 3], [7, 7]]
    broker = Broker('amqps://user:hidden@mq.example/vhost')
    assert broker.shown == "mq.example:5671, virtual host 'vhost'" and 'hidden' not in str(broker.error(OSError('x')))
    alike = Broker('amqp://alike:alike@mq.example/')  # the name is no secret
    assert "does not permit 'alike'" in str(alike.error(AccessRefused('no')))
    for url in (
        'http://a',
        'amqp://',
        'amqp://a:port',
        'amqp://a?verify=none',
        'amqp://a?cacertfile=x',
        'amqps://a?cacertfile=/missing',
        7,
    ):
        with pytest.raises(ValueError, match='broker|certificates|cacertfile'):
            Broker(url)  # type: ignore[arg-type]


def test_without_the_extra() -> None:
    """Without the extra, the import says in one line what to install; the core never imports Celery."""
    done = kit.run_program(
        """
import sys
sys.modules['napixclient.unused'] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'celery' else find(name, *rest)
import napixclient
napixclient.ClientPool
assert not {'celery', 'kombu', 'msgpack', 'cryptography'} & set(sys.modules)
try:
    import napixclient.cluster
except ImportError as exc:
    print(exc)
"""
    )
    assert done.out == "napixclient.cluster needs celery: pip install 'napixclient[cluster]'\n", done.err


def test_process_must_be_patched() -> None:
    """In a process that gevent has not patched a ClusterPool is a RuntimeError that says what to do."""
    done = kit.run_program(
        """
from napixclient.cluster import ClusterPool
try:
    ClusterPool('amqp://a', key='x')
except RuntimeError as exc:
    print(exc)
""",
        patched=False,
    )
    assert done.out == 'a ClusterPool needs a process that gevent has patched: call gevent.monkey.patch_all() first\n'
