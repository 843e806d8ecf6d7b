"""Those who watch a run: all of it, at once, and at little cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent.socket
import pytest
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from napixclient import Client
from napixclient.service.following import Feeds, Watcher
from napixclient.service.run import Run
from napixclient.service.segments import Form, Segment, Tail, written
from napixclient.service.sender import Sender
from napixclient.service.service import Config
from napixclient.service.service import Service as Parts
from napixclient.service.submission import read_submission
from napixclient.service.watching import EVENTS, FRAMES, LINES
from tests import kit
from tests.chaos.postgres import PostgreSQL
from tests.service.serving import LONG, Service, results_of, serving, upgraded
from tests.service.serving import Watcher as Peer

# The parts, in this process -------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A service without its server."""
    made = Parts(Config(store=f'sqlite:///{tmp_path / "runs.sqlite"}'))
    yield made
    made.close()


def begun(parts: Parts, host: str, requests: int, **options: Any) -> Run:
    """A run that has begun."""
    document = {'requests': [{'host': host, 'url': f'/{number:06}'} for number in range(requests)], **options}
    return parts.runs.start(read_submission(json.dumps(document).encode(), requests, parts.runs.allow))


class Taken:
    """Takes what it is sent, for as long as it is willing to."""

    def __init__(self) -> None:
        self.data = b''
        #: Pieces that it was sent by another greenlet, and by its own; how often that one was woken.
        self.pushed = self.read = self.woken = 0
        self.largest = 0
        self.willing = True
        self.free = Event()
        self.free.set()

    def send_now(self, data: bytes) -> bool:
        """Take it."""
        self.data += data
        self.pushed += 1
        return self.willing

    def follow(self, watcher: Watcher) -> None:
        """What its own greenlet does."""
        for data in watcher.pieces():
            self.free.wait()
            self.woken += 1
            self.read += data != b''
            self.largest = max(self.largest, len(data))
            self.data += data


def counting(form: Form, counts: Counter[tuple[str, int]]) -> Form:
    """The form, with every result counted that is written."""

    def result(seq: int, line: str) -> bytes:
        counts[form.name, seq] += 1
        return form.result(seq, line)

    return form._replace(result=result)


@contextmanager
def watched(feeds: Feeds, run: Run, forms: list[Form], seqs: Any = None) -> Iterator[list[Taken]]:
    """Watchers of a run, each in a greenlet of its own; all have ended after it."""
    with feeds.watching(run.id, 'test') as feed:
        outlets = [Taken() for _ in forms]
        greenlets = [
            gevent.spawn(outlet.follow, Watcher(feed, seq, form, outlet))
            for outlet, form, seq in zip(outlets, forms, seqs or [0] * len(forms), strict=True)
        ]
        yield outlets
        gevent.joinall(greenlets, timeout=LONG, raise_error=True)
        assert all(greenlet.successful() for greenlet in greenlets)


def seqs_of(data: bytes) -> list[int]:
    """The numbers in sequence of the results in lines."""
    return [json.loads(line)['seq'] for line in data.splitlines()]


def test_a_result_is_written_once_for_each_kind_of_stream(parts: Parts) -> None:
    """Whoever watches, early or late, from the beginning or from the middle: each result is written once for a kind."""
    counts: Counter[tuple[str, int]] = Counter()
    forms = [counting(form, counts) for form in (LINES, EVENTS, FRAMES)] * 20
    gate = kit.Gate()
    feeds = Feeds(parts.runs)
    with kit.serve(gate=gate) as server:
        run = begun(parts, server.host, 200, simultaneous=200)
        held = gate.wait_for(200)
        with watched(feeds, run, forms) as early:
            for one in held[:100]:
                one.release()
            kit.wait_until(lambda: run.results == 100, 'half of it is committed', LONG)
            with watched(feeds, run, forms, list(range(60))) as late:
                gate.open()
    assert seqs_of(early[0].data) == list(range(200)) and seqs_of(late[3].data) == list(range(3, 200))
    assert len({outlet.data for outlet in early[::3]}) == 1
    assert {kind for kind, _ in counts} == {'lines', 'events', 'frames'} and len(counts) == 600
    assert set(counts.values()) == {1}


def test_a_past_run_is_written_once_for_all_who_come_together(parts: Parts) -> None:
    """What is read from the store for one is there for the others who watch at the same time."""
    counts: Counter[tuple[str, int]] = Counter()
    with kit.serve() as server:
        run = begun(parts, server.host, 300)
        kit.wait_until(lambda: run.ended, 'the run ends', LONG)
    run.greenlet.join(LONG)
    feeds = Feeds(parts.runs)
    with watched(feeds, run, [counting(LINES, counts)] * 30) as outlets:
        pass
    assert all(seqs_of(outlet.data) == list(range(300)) for outlet in outlets)
    assert len(counts) == 300 and set(counts.values()) == {1}


def test_who_waits_is_not_woken_for_a_commit(parts: Parts) -> None:
    """Of each commit a watcher is sent one piece, by the one greenlet that is woken; its own sleeps until the end."""
    gate = kit.Gate()
    feeds = Feeds(parts.runs)
    with kit.serve(gate=gate) as server:
        run = begun(parts, server.host, 50, simultaneous=50)
        held = gate.wait_for(50)
        with watched(feeds, run, [LINES] * 200) as outlets:
            for number, one in enumerate(held, 1):
                one.release()
                kit.wait_until(lambda number=number: run.results == number, 'it is committed', LONG)
                kit.wait_until(lambda: len({len(outlet.data) for outlet in outlets}) == 1, 'all have it', LONG)
    for outlet in outlets:
        assert seqs_of(outlet.data) == list(range(50))
        assert outlet.pushed + outlet.read <= 50 and outlet.woken <= 5


def test_who_takes_nothing_is_left_to_himself(parts: Parts) -> None:
    """What one cannot take holds up nobody; he reads on by himself, in pieces, and has all of it in sequence."""
    gate = kit.Gate()
    feeds = Feeds(parts.runs)

    def big(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, str]:
        return 200, {'Content-Type': 'text/plain'}, 'x' * 50_000

    with kit.serve(big, gate=gate) as server:
        run = begun(parts, server.host, 60, simultaneous=60)
        held = gate.wait_for(60)
        with watched(feeds, run, [LINES] * 3) as outlets:
            slow = outlets[1]
            slow.willing = False
            slow.free.clear()
            for number, one in enumerate(held, 1):
                one.release()
                kit.wait_until(
                    lambda number=number: all(
                        outlet.data.count(b'\n') == number for outlet in outlets if outlet is not slow
                    ),
                    'the others have it',
                    LONG,
                )
            assert slow.data.count(b'\n') <= 1
            slow.free.set()
    assert slow.data == outlets[0].data and seqs_of(slow.data) == list(range(60))
    assert slow.largest <= 64 * 1024 + 51_000


def test_what_two_segments_have_is_written_once() -> None:
    """A page of the store may end within a segment in memory: each result of both is written once."""
    lines = [f'{{"seq":{seq}}}' for seq in range(40)]
    found = [Segment(0, lines[:20]), Segment(14, lines[14:30]), Segment(28, lines[28:])]
    for first, end in (0, 40), (5, 40), (0, 25), (19, 29), (13, 14):
        assert seqs_of(written(LINES, found, first, end)) == list(range(first, end))


def test_a_tail_has_what_came_last() -> None:
    """Of segments of any size each place in the sequence is found, but for those that are too old."""
    tail, first = Tail(), 0
    for size in 1, 500, 3, 1, 90:
        tail.add(Segment(first, ['x' * 1000] * size))
        first += size
    for seq in 0, 1, 500, 501, 504, 594:
        found = tail.find(seq)
        assert found is not None and found.first <= seq < found.end
    assert tail.find(first) is None
    for _ in range(3):
        tail.add(Segment(first, ['x' * (1 << 20)]))
        first += 1
    assert tail.find(first - 3) is None and tail.find(0) is None and tail.find(first - 1).first == first - 1


def test_a_segment_is_cut_anywhere() -> None:
    """From any place in it to any other, the same bytes are written."""
    lines = [f'{{"seq":{number}}}' for number in range(10)]
    segments = [Segment(0, lines[:4]), Segment(4, lines[4:5]), Segment(5, lines[5:])]
    for first in range(10):
        for end in range(first + 1, 11):
            found = [one for one in segments if one.first < end and one.end > first]
            assert written(LINES, found, first, end) == ''.join(f'{line}\n' for line in lines[first:end]).encode()


def test_what_a_socket_does_not_take_comes_first() -> None:
    """After a piece that was sent in part, all bytes come in the order in which they were given."""
    ours, theirs = gevent.socket.socketpair()
    sender = Sender(ours, LONG)
    pieces = [bytes([65 + number]) * 200_000 for number in range(8)]
    taken = [sender.send_now(piece) for piece in pieces[:6]]
    assert not all(taken)
    sending = gevent.spawn(lambda: (sender.send(pieces[6]), sender.send_now(pieces[7]), sender.send(), ours.close()))
    data = b''
    while piece := theirs.recv(1 << 20):
        data += piece
    sending.get()
    theirs.close()
    assert data == b''.join(pieces) and sender.sent == len(data)


# Over the wire ----------------------------------------------------------------------------------------------------------


def told(watcher: Peer) -> list[tuple[int, dict[str, Any]]]:
    """Each message of progress of a WebSocket, with the number of results before it."""
    seen, found = 0, []
    for message in watcher.messages():
        seen += message['type'] == 'result'
        if message['type'] == 'progress':
            found.append((seen, message))
    return found


def test_progress_is_of_the_moment_at_which_it_is_sent(service: Service) -> None:
    """However the answers trickle in, a message of progress counts the results that came before it, and no others."""

    def trickling(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, str]:
        gevent.sleep(int(path[1:]) % 17 / 100)
        return 200, {}, ''

    with kit.serve(trickling) as server:
        id = service.start(
            {'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(600)], 'simultaneous': 20}
        )['id']
        watchers = [gevent.spawn(told, Peer(service, f'/runs/{id}/ws')) for _ in range(5)]
        found = [one for watcher in watchers for one in watcher.get(timeout=LONG)]
    for seen, message in found:
        counts = message['counts']
        assert seen == message['results'] == counts['done'] == counts['ok'] and message['latency'].keys() == {
            'p50',
            'p90',
            'p99',
        }
    assert {message['state'] for seen, message in found if seen == 600} >= {'done'}


def test_each_result_comes_when_it_is_committed(service: Service) -> None:
    """No watcher of any kind waits for the result after it."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, Client(service.host, timeout=LONG) as client, Client(service.host) as other:
        id = service.start({'requests': [{'host': server.host}] * 20, 'simultaneous': 20})['id']
        held = gate.wait_for(20)
        socket = results_stream(Peer(service, f'/runs/{id}/ws'))
        lines = client.request('GET', f'/runs/{id}/results?follow=1', stream=True).iter_json()
        events = other.request('GET', f'/runs/{id}/events', stream=True).iter_lines()
        for number, one in enumerate(held):
            one.release()
            assert next(lines)['seq'] == number == next(socket)['seq']
            while f'id: {number}' != next(events):
                pass
        assert next(socket, None) is None and next(lines, None) is None
        assert 'event: end' in list(events)


def results_stream(watcher: Peer) -> Iterator[dict[str, Any]]:
    """The results as they come."""
    return (message['result'] for message in watcher.messages() if message['type'] == 'result')


@pytest.mark.parametrize('start', [1, 2, 3, 4, 10**9])
def test_a_stream_from_beyond_the_end_has_its_head_at_once(service: Service, start: int) -> None:
    """`follow=1&from=` of a result that is not there, or never will be, is answered; what comes later follows."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, Client(service.host, timeout=LONG) as client:
        id = service.start({'requests': [{'host': server.host}] * 4, 'simultaneous': 4})['id']
        held = gate.wait_for(4)
        held[0].release()
        kit.wait_until(lambda: service.show(id)['results'] == 1, 'one is committed', LONG)
        answer = client.request('GET', f'/runs/{id}/results?follow=1&from={start}', stream=True)
        assert answer.status == 200 and gate.in_flight == 3
        events = service.raw(f'GET /runs/{id}/events?from={start} HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode())
        assert events.recv(15) == b'HTTP/1.1 200 OK'
        watcher = Peer(service, f'/runs/{id}/ws?from={start}')
        assert watcher.answer.status_code == 101 and gate.in_flight == 3
        gate.open()
        assert [one['seq'] for one in answer.iter_json()] == list(range(start, 4))
        assert [one['seq'] for one in results_of(watcher.messages())] == list(range(start, 4))
        assert watcher.code == 1000
        text = b''
        while b'\r\n0\r\n\r\n' not in text:
            piece = events.recv(65536)
            assert piece
            text += piece
        events.close()
        assert text.count(b'event: result') == max(4 - start, 0) and text.count(b'event: end') == 1


def test_a_stream_is_whole_for_http_1_0(service: Service) -> None:
    """Who does not know chunks has the same lines, to the end of the connection."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 3})['id']
        sock = service.raw(f'GET /runs/{id}/results?follow=1 HTTP/1.0\r\nHost: {service.host}\r\n\r\n'.encode())
        assert sock.recv(1) == b'H'
        gate.open()
        data = b''
        while piece := sock.recv(65536):
            data += piece
        sock.close()
    head, _, body = data.partition(b'\r\n\r\n')
    assert b'chunked' not in head and [json.loads(line)['seq'] for line in body.splitlines()] == [0, 1, 2]


def test_another_server_sends_the_same(parts: Parts) -> None:
    """Under a server that only iterates a body the streams are whole, and come while the run is under way."""
    gate = kit.Gate()
    plain = WSGIServer(('127.0.0.1', 0), parts.app, log=None)
    plain.start()
    host = f'127.0.0.1:{plain.server_port}'
    with kit.serve(gate=gate) as server, Client(host, timeout=LONG) as client, Client(host, timeout=LONG) as other:
        run = begun(parts, server.host, 30, simultaneous=30)
        lines = client.request('GET', f'/runs/{run.id}/results?follow=1', stream=True)
        events = other.request('GET', f'/runs/{run.id}/events', stream=True).iter_lines()
        assert lines.status == 200
        results = lines.iter_json()
        for number, one in enumerate(gate.wait_for(30)):
            one.release()
            assert next(results)['seq'] == number
            while f'id: {number}' != next(events):
                pass
        assert next(results, None) is None and 'event: end' in list(events)
    plain.stop()


def test_a_connection_goes_on_after_a_stream(service: Service) -> None:
    """The end of a stream is not that of its connection."""
    with kit.serve() as server:
        id = service.run({'requests': [{'host': server.host}] * 3})[0]['id']
    asked = f'GET /runs/{id}/results?follow=1 HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode()
    sock = service.raw(asked * 3)
    data = b''
    while data.count(b'\r\n0\r\n\r\n') < 3:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    sock.close()
    assert data.count(b'HTTP/1.1 200 OK') == 3 and data.count(b'"seq":2') == 3


def test_large_results_for_many(service: Service) -> None:
    """Results of half a megabyte reach every watcher whole, whatever its socket takes at once."""

    def big(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, str]:
        return 200, {'Content-Type': 'text/plain'}, 'x' * 500_000

    with kit.serve(big) as server:
        id = service.start({'requests': [{'host': server.host}] * 10})['id']
        watchers = [Peer(service, f'/runs/{id}/ws') for _ in range(8)]

        def read(watcher: Peer) -> list[tuple[int, int]]:
            return [(one['seq'], len(one['body'])) for one in results_of(watcher.messages())]

        reading = [gevent.spawn(read, watcher) for watcher in watchers]
        assert all(one.get(timeout=LONG) == [(seq, 500_000) for seq in range(10)] for one in reading)


def test_pongs_do_not_cut_what_is_sent(tmp_path: Path) -> None:
    """A ping in the middle of results that the socket does not take is answered between two messages."""

    def big(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, str]:
        return 200, {'Content-Type': 'text/plain'}, 'x' * 300_000

    with serving(tmp_path / 'runs') as service, kit.serve(big) as server:
        id = service.start({'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(40)]})['id']
        watcher = Peer(service, f'/runs/{id}/ws', small(service))
        seen = []
        for message in watcher.messages():
            if message['type'] == 'result':
                seen.append(message['result']['seq'])
                if len(seen) < 30:
                    watcher.ping(b'x')
        assert seen == list(range(40)) and watcher.code == 1000


def small(service: Service) -> gevent.socket.socket:
    """A connection that takes little at once."""
    sock = gevent.socket.socket()
    sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_RCVBUF, 4096)
    sock.connect(('127.0.0.1', service.port))
    return sock


def test_who_takes_nothing_is_dropped_and_costs_nothing(tmp_path: Path) -> None:
    """A watcher that reads nothing loses his connection; those who read have everything, and the run ends."""

    def big(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, str]:
        return 200, {'Content-Type': 'text/plain'}, 'x' * 200_000

    with serving(tmp_path / 'runs', '--slow-timeout', '0.5') as service, kit.serve(big) as server:
        gate_free = [{'host': server.host, 'url': f'/{n:06}'} for n in range(60)]
        id = service.start({'requests': gate_free, 'simultaneous': 4})['id']
        deaf = upgraded(service, f'/runs/{id}/ws', SO_RCVBUF=4096)
        still = small(service)
        still.sendall(f'GET /runs/{id}/events HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode())
        watcher = Peer(service, f'/runs/{id}/ws')
        assert [one['seq'] for one in results_of(watcher.messages())] == list(range(60))
        kit.wait_until(lambda: watchers_of(service) == 0, 'both are dropped', LONG)
        deaf.close()
        still.close()


def watchers_of(service: Service) -> float:
    """How many there are who watch."""
    return sum(value for name, value in service.metrics().items() if name.startswith('napix_watchers'))


def test_watchers_of_another_instance(postgres: PostgreSQL) -> None:
    """Who watches where the run is not under way has the same, with progress of the same moment."""
    url = postgres.create('watched')
    gate = kit.Gate()
    with serving(url) as first, serving(url) as second, kit.serve(gate=gate) as server:
        id = first.start({'requests': [{'host': server.host}] * 12, 'simultaneous': 12})['id']
        held = gate.wait_for(12)
        watchers = [gevent.spawn(told, Peer(second, f'/runs/{id}/ws?from={start}')) for start in (0, 0, 0, 5, 12)]
        lines = gevent.spawn(second.results, id, '?follow=1')
        for number, one in enumerate(held, 1):
            one.release()
            kit.wait_until(lambda number=number: second.show(id)['results'] == number, 'it is committed', LONG)
        found = [one.get(timeout=LONG) for one in watchers]
        assert [one['seq'] for one in lines.get(timeout=LONG)] == list(range(12))
    assert [pairs[-1][0] for pairs in found] == [12, 12, 12, 7, 0]
    assert all(seen == message['results'] for pairs in found[:3] for seen, message in pairs)
    assert all(pairs[-1][1]['state'] == 'done' for pairs in found)
