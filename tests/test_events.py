"""Server-sent events: read as browsers read them, over as many connections as it takes, until somebody has enough."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import urllib3
from gevent.server import StreamServer

from napixclient import (
    BodyTooLarge,
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    InvalidResponse,
    RemoteError,
    ServerSentEvent,
    TruncatedBody,
)
from napixclient.aio import AsyncPool
from napixclient.messages import MAX_EVENT, EventParser
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import begin, in_loop, in_thread, run
from tests.kit import CLOSE, LATER, READ, RST, SILENCE, FaultServer, Forever, wait_until
from tests.test_bodies import error_of

pytestmark = pytest.mark.usefixtures('oracle')

HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n'
UNTIL_CLOSE = HEAD + b'Connection: close\r\n\r\n'
NO_MORE = b'HTTP/1.1 204 No Content\r\n\r\n'
SOON = b'retry: 10\n'


def said(body: bytes, head: bytes = HEAD) -> bytes:
    """An answer of known length."""
    return head + b'Content-Length: %d\r\n\r\n' % len(body) + body


def events(client: Client, **options: Any) -> Any:
    """The events of a client's server."""
    return client.request('GET', '/events', stream=True, **options).iter_events()  # type: ignore[attr-defined]


def asked_from(server: kit.Server) -> list[str | None]:
    """The last event ids that it was asked from."""
    return [request.headers.get('last-event-id') for request in server.requests]


# How they are parsed -------------------------------------------------------------------------------------------------


def event(data: str, kind: str = 'message', last: str = '', retry: int | None = None) -> ServerSentEvent:
    """One, of what is said of it."""
    return ServerSentEvent(kind, data, last, retry)


STREAMS: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    'one': (b'data: a\n\n', [event('a')]),
    'lines are joined': (b'data: YHOO\ndata: +2\ndata: 10\n\n', [event('YHOO\n+2\n10')]),
    'comments, an id that is reset': (
        b': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
        [event('first event', last='1'), event('second event'), event(' third event')],
    ),
    'no data is one line of none': (b'data\n\ndata\ndata\n\ndata:', [event(''), event('\n')]),
    'one space is taken away': (
        b'data:test\n\ndata: test\n\ndata:\ttest\n\n',
        [event('test'), event('test'), event('\ttest')],
    ),
    'CR LF': (b'event: a\r\ndata: b\r\n\r\n', [event('b', 'a')]),
    'CR': (b'event: a\rdata: b\r\r', [event('b', 'a')]),
    'mixed ends': (b'data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r\n', [event('a\nb\nc'), event('d')]),
    'a mark': (b'\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n', [event('a'), event('c')]),
    'two marks': (b'\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: c\n\n', [event('c')]),
    'an id lasts': (b'id: 7\ndata: a\n\ndata: b\n\n', [event('a', last='7'), event('b', last='7')]),
    'an id with NUL': (b'id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n', [event('a', last='7'), event('b', last='7')]),
    'an id without data': (b'id: 7\n\ndata: a\n\n', [event('a', last='7')]),
    'a type without data': (b'event: x\n\ndata: a\n\n', [event('a')]),
    'the last type': (b'event: x\nevent: y\ndata: a\n\nevent:\ndata: b\n\n', [event('a', 'y'), event('b')]),
    'retry': (b'retry: 250\ndata: a\n\ndata: b\n\n', [event('a', retry=250), event('b')]),
    'retry of other than digits': (
        b'retry: 1.5\nretry: -1\nretry: +1\nretry:\nretry: 1 \nretry:  1\nretry: \xd9\xa3\ndata: a\n\n',
        [event('a')],
    ),
    'retry without end': (b'retry: ' + b'9' * 10_000 + b'\ndata: a\n\n', [event('a', retry=10**15 - 1)]),
    'unknown fields, and case': (b'Data: x\nDATA: x\ndat: x\ndata : x\n data: x\nfoo\ndata: a\n\n', [event('a')]),
    'colons': (b'data:a:b: c\n\ndata::\n\n', [event('a:b: c'), event(':')]),
    'UTF-8': ('event: é\nid: €\ndata: 日本 \U0001f600\n\n'.encode(), [event('日本 \U0001f600', 'é', '€')]),
    'not UTF-8': (b'data: \xff\xe2\x82\ndata: b\n\n', [event('\ufffd\ufffd\nb')]),
    'NUL in data': (b'data: a\0b\n\n', [event('a\0b')]),
    'other ends of lines are none': ('data: a\u2028b\x0b\x0c\x85c\n\n'.encode(), [event('a\u2028b\x0b\x0c\x85c')]),
    'incomplete': (b'data: a\n\ndata: b\n', [event('a')]),
    'incomplete, and its id': (b'id: 1\ndata: a\n\nid: 2\ndata: b', [event('a', last='1')]),
    'nothing': (b'', []),
    'empty lines': (b'\n\n\r\r\n\n', []),
}


@pytest.mark.parametrize('name', STREAMS)
def test_streams(name: str) -> None:
    """Each stream gives the events that browsers find in it, wherever its bytes are cut."""
    stream, expected = STREAMS[name]
    size = len(stream)
    cuts = [[], range(1, size), *([cut] for cut in range(1, min(size, 99))), range(2, size, 2), range(3, size, 3)]
    for edges in cuts:
        parser = EventParser('', MAX_EVENT)
        found = [
            event for start, end in itertools.pairwise([0, *edges, size]) for event in parser.feed(stream[start:end])
        ]
        assert found == expected, list(edges)


def test_bounds() -> None:
    """A line, and the data of an event, of so many bytes is accepted; one more is not; comments have no sum."""
    for stream, right in (
        (b'data:' + b'x' * 95 + b'\n\n', True),
        (b'data:' + b'x' * 96 + b'\n\n', False),
        (b'data:' + b'x' * 96, False),
        (b':' + b'x' * 100, False),
        (b'data:xxxxxxxxx\n' * 10 + b'\n', True),
        (b'data:xxxxxxxxx\n' * 11, False),
        ((b'data:xxxxxxxxx\n' * 10 + b'\n') * 10, True),
        (b': ping\nevent: x\n' * 100 + b'\n', True),
    ):
        for size in 1, 7, len(stream):
            parser = EventParser('', 100)
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            if right:
                assert all(isinstance(parser.feed(piece), list) for piece in pieces)
            else:
                with pytest.raises(BodyTooLarge, match='100 bytes'):
                    for piece in pieces:
                        parser.feed(piece)


# Over the wire -------------------------------------------------------------------------------------------------------


def test_it_goes_on_from_the_last_event() -> None:
    """After a clean end, a break and a reset the request goes out again with the last id; what was begun is dropped."""
    with (
        FaultServer(
            [READ, said(SOON + b'id: 1\ndata: a\n\n'), READ, UNTIL_CLOSE + b'data: b\n\nid: 3\ndata: c', CLOSE],
            [READ, HEAD + b'Content-Length: 99\r\n\r\nid: 2\ndata: d\n\n', CLOSE],
            [READ, HEAD + b'Transfer-Encoding: chunked\r\n\r\n9\r\ndata: e\n\n\r\n', RST],
            [READ, said(b'id\ndata: f\n\n'), READ, said(b'data: g\n\n'), READ, NO_MORE],
        ) as server,
        Client(server.host, simultaneous=1) as client,
    ):
        found = list(events(client, headers={'Accept': 'text/event-stream'}))
        assert ''.join(one.data for one in found) == 'abdefg'
        assert [one.id for one in found] == ['1', '1', '2', '2', '', '']
        assert asked_from(server) == [None, '1', '1', '2', '2', None, None]
        assert {request.headers['accept'] for request in server.requests} == {'text/event-stream'}
        wait_until(lambda: client.stats()['in_flight'] == 0, 'the slot')


def test_the_callers_own_id_is_where_it_begins() -> None:
    """A Last-Event-ID of the caller's own is kept until the server gives another, and one id is sent."""
    with (
        FaultServer([READ, said(SOON), READ, said('id: é\n\n'.encode()), READ, said(b''), READ, NO_MORE]) as server,
        Client(server.host) as client,
    ):
        assert list(events(client, headers={'last-event-id': 'own', 'X-Own': 'a'})) == []
        assert asked_from(server)[:2] == ['own', 'own']
        assert [request.raw.lower().count(b'\r\nlast-event-id:') for request in server.requests] == [1] * 4
        assert 'é'.encode() in server.requests[2].raw and server.requests[3].headers['x-own'] == 'a'


def test_it_waits_as_the_server_says() -> None:
    """Three seconds by default, else what `retry` says, though it came with no event."""
    with FaultServer([READ, said(b'data: a\n\n')]) as server, Client(server.host) as client:
        stream = events(client)
        assert next(stream).data == 'a'
        with pytest.raises(gevent.Timeout), gevent.Timeout(1):
            next(stream)
        assert len(server.requests) == 1
        stream.close()
    with FaultServer([READ, said(b'retry: 3600000\n'), READ, NO_MORE]) as server, Client(server.host) as client:
        stream = events(client)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
            next(stream)
        assert (len(server.requests), client.stats()['in_flight']) == (1, 0)  # it holds no slot meanwhile
        stream.close()
        assert client.stats()['queued'] == 0


def test_who_is_interrupted_reads_on() -> None:
    """A clock of the caller's own that runs out loses no event, while it reads and while it waits to ask again."""
    with (
        FaultServer(
            [READ, UNTIL_CLOSE + b'retry: 300\ndata: a\n\ndata: b', LATER, b'c\n\n', CLOSE],
            [READ, said(b'data: d\n\n'), READ, NO_MORE],
        ) as server,
        Client(server.host) as client,
    ):
        stream = events(client)
        assert next(stream).data == 'a'
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            next(stream)
        server.later.set()
        assert next(stream).data == 'bc'
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            next(stream)
        assert [one.data for one in stream] == ['d'] and asked_from(server) == [None] * 3


@pytest.mark.parametrize('how', ['iter_events', 'iter_lines', 'iter_bytes', 'read'])
def test_what_is_read_behind_a_loop_that_was_left(how: str) -> None:
    """The slot was given up: whoever reads on is told so."""
    with FaultServer([READ, HEAD + b'Content-Length: 99\r\n\r\ndata: a\n\ndata: b\n\n', SILENCE]) as server:
        with Client(server.host) as client:
            response: Any = client.request('GET', '/', stream=True)
            for one in response.iter_events():
                assert one.data == 'a'
                break
            reader = gevent.spawn(error_of, lambda: list(getattr(response, how)()))
            assert isinstance(reader.get(timeout=kit.LONG), Cancelled)


def test_interruptions_do_not_prolong_the_pause() -> None:
    """Who looks for an event again and again, for less than the pause each time, is connected after it all the same."""
    with (
        FaultServer([READ, said(b'retry: 1000\ndata: a\n\n'), READ, said(b'data: b\n\n'), READ, NO_MORE]) as server,
        Client(server.host) as client,
    ):
        stream, found = events(client), []
        for _ in range(50):
            with gevent.Timeout(0.3, False):
                for one in stream:
                    found.append(one.data)
                break
        assert found == ['a', 'b'] and len(server.requests) == 3


def test_a_server_that_cannot_be_reached_is_asked_again() -> None:
    """While it is silent, or closes before it answers, the stream waits for it."""
    with (
        FaultServer(
            [READ, UNTIL_CLOSE + SOON + b'id: 1\ndata: a\n\n', CLOSE],
            [READ, CLOSE],
            [READ, SILENCE],
            [READ, UNTIL_CLOSE, SILENCE],
            [READ, said(b'data: b\n\n'), READ, NO_MORE],
        ) as server,
        Client(server.host, timeout=urllib3.Timeout(read=0.3)) as client,
    ):
        assert [one.data for one in events(client)] == ['a', 'b']
        assert asked_from(server) == [None, *['1'] * 5]


def test_a_server_that_is_started_anew() -> None:
    """While nobody listens there, the stream waits."""
    with FaultServer([READ, UNTIL_CLOSE + b'retry: 1\nid: 1\ndata: a\n\n', CLOSE]) as server:
        client = Client(server.host)
        stream = events(client)
        assert next(stream).data == 'a'
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        next(stream)
    heads = []

    def answer(peer: Any, address: object) -> None:
        heads.append(peer.recv(65536))
        peer.sendall(NO_MORE)
        peer.close()

    anew = StreamServer(('127.0.0.1', server.port), answer)
    anew.start()
    try:
        assert list(stream) == [] and b'Last-Event-ID: 1\r\n' in heads[0]
    finally:
        anew.stop()
        client.close()


ENDS: dict[str, tuple[bytes, type[HTTPError] | None]] = {
    '204': (NO_MORE, None),
    '404': (b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', RemoteError),
    '503': (b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n', RemoteError),
    '202': (said(b'', HEAD.replace(b'200', b'202')), InvalidResponse),
    '302': (b'HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n', InvalidResponse),
    'JSON': (said(b'{}', b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'), InvalidResponse),
    'of no type': (said(b'{}', b'HTTP/1.1 200 OK\r\n'), InvalidResponse),
    'malformed': (b'HTTP/1.1 abc\r\n\r\n', InvalidResponse),
    'malformed behind its head': (HEAD + b'Transfer-Encoding: chunked\r\n\r\nZZ\r\n', InvalidResponse),
    'cannot be decoded': (said(b'data: a\n\n', HEAD + b'Content-Encoding: gzip\r\n'), HTTPError),
}


@pytest.mark.parametrize('first', [True, False])
@pytest.mark.parametrize('name', ENDS)
def test_ends(name: str, first: bool) -> None:
    """204 is the end, and an error status or what is no stream of events an error, from the first answer and later."""
    answer, expected = ENDS[name]
    script = [READ, answer] if first else [READ, said(SOON + b'data: a\n\n'), READ, answer]
    with FaultServer(script) as server, Client(server.host, simultaneous=1) as client:
        found = []

        def read() -> None:
            for one in events(client):
                found.append(one.data)

        if expected is None:
            read()
        else:
            with pytest.raises(expected) as caught:
                read()
            assert caught.value.request.url == '/events' and 'Last-Event-ID' not in caught.value.request.headers
        assert found == ([] if first else ['a'])
        assert client.request('GET', '/').status == 200  # it holds no slot
        assert len(server.requests) == len(script) // 2 + 1


def test_a_wrong_type_says_what_it_is() -> None:
    """The error names the type, and has the answer; it is raised before anything is read."""
    with FaultServer([READ, ENDS['JSON'][0]]) as server, Client(server.host) as client:
        response: Any = client.request('GET', '/', stream=True)
        with pytest.raises(InvalidResponse, match="'application/json', and not text/event-stream") as caught:
            response.iter_events()
        assert caught.value.response is response and caught.value.status == 200
        for wrong in 0, -1, True, None, 1.5:
            with pytest.raises(ValueError, match='max_event'):
                response.iter_events(wrong)
    for kind in b'text/event-stream', b'Text/Event-Stream ; charset=x', b'text/event-stream;a=b':
        script = [READ, said(b'data: a\n\n', b'HTTP/1.1 200 OK\r\nContent-Type: %b\r\n' % kind), READ, NO_MORE]
        with FaultServer(script) as server, Client(server.host) as client:
            assert next(events(client)).data == 'a'


def test_a_coded_stream_is_not_held_up() -> None:
    """An event in gzip comes when the server has flushed it."""
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b'data: a\n\n') + packer.flush(zlib.Z_SYNC_FLUSH)
    with (
        FaultServer(
            [READ, HEAD + b'Content-Encoding: gzip\r\nConnection: close\r\n\r\n' + first, LATER, CLOSE], [READ, NO_MORE]
        ) as server,
        Client(server.host) as client,
    ):
        stream = events(client)
        assert next(stream).data == 'a' and not server.later.is_set()
        stream.close()
        server.later.set()


def test_lines_that_make_no_event_hold_nobody_up() -> None:
    """Others run while a server sends empty lines and comments without end."""
    with FaultServer([READ, UNTIL_CLOSE, Forever(b'\n:\n' * 10_000)]) as server, Client(server.host) as client:
        reader = gevent.spawn(error_of, lambda: next(events(client)))
        for _ in range(100):
            gevent.sleep(0)
        assert not reader.ready()
        client.cancel()
        assert isinstance(reader.get(timeout=kit.LONG), Cancelled)


def test_an_endless_event_is_an_error() -> None:
    """What would fill the memory is a BodyTooLarge that names its bound, and there is no further attempt."""
    for piece in b'x' * 10_000, b'data: ' + b'x' * 10_000 + b'\n':
        with FaultServer([READ, UNTIL_CLOSE + b'data:', Forever(piece)]) as server, Client(server.host) as client:
            with pytest.raises(BodyTooLarge, match='max_event') as caught:
                next(events(client))
            assert caught.value.status == 200 and caught.value.request.url == '/events'
            wait_until(lambda server=server: not server.peers, 'the end of the connection')
            assert len(server.requests) == 1


def test_only_get_is_sent_again() -> None:
    """A stream that was asked for with another method ends with its answer, and a break is the reader's."""
    with (
        FaultServer([READ, said(SOON + b'data: a\n\n'), READ, HEAD + b'Content-Length: 99\r\n\r\n', CLOSE]) as server,
        Client(server.host) as client,
    ):
        for _ in range(1):
            response: Any = client.request('POST', '/', {}, stream=True)
            assert [one.data for one in response.iter_events()] == ['a']
        response = client.request('POST', '/', {}, stream=True)
        with pytest.raises(TruncatedBody):
            list(response.iter_events())
        assert len(server.requests) == 2


# Who has enough ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('later', [False, True])
@pytest.mark.parametrize('how', ['break', 'raise', 'close', 'cancel', 'del', 'pool'])
def test_who_stops_gives_up_the_slot(how: str, later: bool) -> None:
    """However a loop is left, the connection ends and the slot is free, of the first answer and of one behind it."""
    first = [said(SOON), READ] if later else []
    with (
        FaultServer([READ, *first, UNTIL_CLOSE + b'data: a\n\n', SILENCE]) as server,
        Client(server.host, simultaneous=1) as client,
    ):
        response: Any = client.request('GET', '/', stream=True)
        if how == 'break':
            for _ in response.iter_events():
                break
        elif how == 'raise':
            with pytest.raises(KeyError):
                for one in response.iter_events():
                    raise KeyError(one)
        else:
            stream = response.iter_events()
            assert next(stream).data == 'a'
            if how == 'close':
                with response:
                    pass
            elif how == 'cancel':
                response.cancel()
            elif how == 'pool':
                client.cancel()
            if how in ('cancel', 'pool'):
                with pytest.raises(Cancelled):
                    next(stream)
            elif how == 'close':
                assert list(stream) == []
            del stream
        assert client.request('GET', '/', timeout=kit.LONG).status == 200
        wait_until(lambda: len(server.peers) == 1, 'the end of the first connection')


@pytest.mark.parametrize('at', ['reading', 'waiting', 'asking'])
@pytest.mark.parametrize('how', ['cancel', 'pool', 'close the pool', 'deadline'])
def test_it_ends_from_outside(how: str, at: str) -> None:
    """To cancel, to close the pool and the total time end the loop with an error, wherever it stands."""
    scripts = {
        'reading': [READ, UNTIL_CLOSE + b'data: a\n\n', SILENCE],
        'waiting': [READ, said(b'retry: 3600000\ndata: a\n\n'), SILENCE],
        'asking': [READ, said(SOON + b'data: a\n\n'), READ, SILENCE],
    }
    with FaultServer(scripts[at]) as server, Client(server.host) as client:
        response: Any = client.request('GET', '/', stream=True, timeout=1.0 if how == 'deadline' else None)
        stream = response.iter_events()
        assert next(stream).data == 'a'
        reader = gevent.spawn(error_of, lambda: next(stream))
        wait_until(lambda: len(server.requests) == (2 if at == 'asking' else 1), 'its request')
        gevent.sleep(0.05)
        if how == 'cancel':
            response.cancel()
        elif how == 'pool':
            client.cancel()
        elif how == 'close the pool':
            client.close()
        error = reader.get(timeout=kit.LONG)
        assert type(error) is (DeadlineExceeded if how == 'deadline' else Cancelled)
        assert error.request.url == '/' and list(stream) == []


# Other faces ---------------------------------------------------------------------------------------------------------


def test_a_pool_and_a_proof() -> None:
    """A pool's outcome has events, too; each attempt is signed anew, and behind a redirect it is led there again."""
    moved = b'HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n'
    numbers = itertools.count()
    with (
        FaultServer([READ, moved, READ, said(SOON + b'id: 1\ndata: a\n\n'), READ, moved, READ, NO_MORE]) as server,
        ClientPool(lambda request: request.replace(headers={**request.headers, 'X-N': next(numbers)})) as pool,
    ):
        pool.request(server.host, 'GET', '/here', stream=True, redirect=True)
        (response,) = pool.wait()
        assert [one.data for one in response.iter_events()] == ['a']  # type: ignore[union-attr]
        assert [request.path for request in server.requests] == ['/here', '/there'] * 2
        assert asked_from(server) == [None, None, '1', '1']
        assert len({request.headers['x-n'] for request in server.requests}) == 4


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Two answers, the end, and one that stays open."""
    answers = [said(SOON + b'id: 1\ndata: a\n\n'), UNTIL_CLOSE + b'data: b\n\n']
    with FaultServer(
        [READ, answers[0], READ, answers[1], CLOSE], [READ, NO_MORE, READ, UNTIL_CLOSE + b'data: c\n\n', SILENCE]
    ) as server:
        yield server


@in_thread
def test_threads(server: FaultServer) -> None:
    """A thread reads on over connections, and gives up its slot when it leaves the loop."""
    with SharedPool(simultaneous=1) as pool:
        response: Any = pool.request(server.host, 'GET', '/', stream=True).result()
        assert [one.data for one in response.iter_events()] == ['a', 'b']
        response = pool.request(server.host, 'GET', '/', stream=True).result()
        for one in response.iter_events():
            assert one.data == 'c'
            break
        assert pool.request(server.host, 'GET', '/').result(timeout=kit.LONG).status == 200
        assert asked_from(server)[:3] == [None, '1', '1']


def test_closing_the_pool_of_a_thread_that_waits_to_ask_again() -> None:
    """It gets Cancelled: the end of the pool is told it once."""
    with FaultServer([READ, said(b'retry: 60000\ndata: a\n\n')]) as server:
        pool = run(SharedPool)
        response: Any = run(lambda: pool.request(server.host, 'GET', '/', stream=True).result())
        stream = response.iter_events()
        assert run(next, stream).data == 'a'
        reader = begin(lambda: pytest.raises(Cancelled, next, stream))
        gevent.sleep(0.05)  # it asks the pool meanwhile
        run(pool.close)
        reader.get(timeout=kit.LONG)


@in_loop
async def test_asyncio(server: FaultServer) -> None:
    """So does a task, which may be cancelled while it waits for an event."""
    async with AsyncPool(simultaneous=1) as pool:
        async with await pool.request(server.host, 'GET', '/', stream=True) as response:  # type: ignore[union-attr]
            assert [one.data async for one in response.iter_events()] == ['a', 'b']
        response = await pool.request(server.host, 'GET', '/', stream=True)  # type: ignore[assignment]
        found = []

        async def read() -> None:
            async for one in response.iter_events():
                found.append(one.data)

        task = asyncio.create_task(read())
        while not found:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await asyncio.wait_for(pool.request(server.host, 'GET', '/'), kit.LONG)).status == 200
        assert found == ['c'] and asked_from(server)[:3] == [None, '1', '1']


@pytest.fixture
def wrong() -> Iterator[FaultServer]:
    """Answers with JSON, and then with an endless event."""
    with FaultServer([READ, ENDS['JSON'][0]], [READ, UNTIL_CLOSE + b'data:', Forever(b'x' * 10_000)]) as server:
        yield server


@in_loop
async def test_errors_of_asyncio(wrong: FaultServer) -> None:
    """They are the same, and senseless bounds are a ValueError."""
    async with AsyncPool() as pool:
        for expected in InvalidResponse, BodyTooLarge:
            response: Any = await pool.request(wrong.host, 'GET', '/', stream=True)
            with pytest.raises(expected):
                async for _ in response.iter_events():
                    pass
            with pytest.raises(ValueError, match='max_event'):
                async for _ in response.iter_events(0):
                    pass
