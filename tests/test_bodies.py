"""Bodies at their edges: read in pieces and interrupted, saved, uploaded by sources that fail, answered too early."""

from __future__ import annotations

import email
import email.policy
import errno
import gc
import gzip
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest
import urllib3
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from urllib3.fields import RequestField

from napixclient import (
    BodyTooLarge,
    Cancelled,
    Client,
    ClientPool,
    DeadlineExceeded,
    HTTPError,
    InvalidResponse,
    ProtocolError,
    ReadTimeout,
    RemoteError,
    Response,
    Timeout,
    TruncatedBody,
)
from tests import kit
from tests.helpers_pool import ask, assert_right, failure
from tests.kit import CLOSE, READ, RST, SILENCE, Drip, FaultServer, Forever, Gate, Wait, serve, wait_until
from tests.side_by_side import side_by_side

pytestmark = pytest.mark.usefixtures('oracle')

HEAD = b'HTTP/1.1 200 OK\r\n'
CHUNKED = HEAD + b'Transfer-Encoding: chunked\r\n\r\n'
READ_TIMEOUT = 0.8  # seconds: a machine that stops for a while is no silent server
CLOCKS = urllib3.Timeout(read=READ_TIMEOUT)


def said(body: bytes, *fields: str, status: str = '200 OK') -> bytes:
    """The bytes of an answer with a body of known length."""
    return '\r\n'.join([f'HTTP/1.1 {status}', f'Content-Length: {len(body)}', *fields, '', '']).encode() + body


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 §7.1)."""
    return b'%x\r\n%b\r\n' % (len(data), data)


def error_of(call: Callable[[], Any]) -> HTTPError:
    """What it raises."""
    with pytest.raises(HTTPError) as caught:
        call()
    return caught.value


def drained(found: Any) -> bytes:
    """All that can be read, in pieces as they come."""
    return b''.join(found.iter_bytes())


# Read in pieces: what goes wrong behind the head ---------------------------------------------------------------------

PACKED = gzip.compress(bytes(i * 7 % 251 for i in range(30_000)))
ZIPPED = b'Content-Encoding: gzip\r\n'

BROKEN: dict[str, tuple[list[Any], type[HTTPError]]] = {
    # what the server sends behind a first piece that can be read, and what the reader gets then
    'no more of the length': ([HEAD + b'Content-Length: 9\r\n\r\nabc', Wait, CLOSE], TruncatedBody),
    'reset': ([HEAD + b'Content-Length: 9\r\n\r\nabc', Wait, RST], TruncatedBody),
    'no final chunk': ([CHUNKED + chunk(b'abc'), Wait, CLOSE], TruncatedBody),
    'half a chunk': ([CHUNKED + chunk(b'abc'), Wait, b'9\r\nxyz', CLOSE], TruncatedBody),
    'no end of the trailers': ([CHUNKED + chunk(b'abc'), Wait, b'0\r\nA: b\r\n', CLOSE], TruncatedBody),
    'no chunk size': ([CHUNKED + chunk(b'abc'), Wait, b'ZZ\r\nxyz\r\n', SILENCE], InvalidResponse),
    'endless trailers': ([CHUNKED + chunk(b'abc'), Wait, b'0\r\n', Forever(b'A: b\r\n' * 1000)], ProtocolError),
    'endless chunk extension': ([CHUNKED + chunk(b'abc'), Wait, b'3;', Forever(b'a' * 10_000)], ProtocolError),
    'silence': ([HEAD + b'Content-Length: 9\r\n\r\nabc', Wait, SILENCE], ReadTimeout),
    'more than the bound': ([CHUNKED + chunk(b'abc'), Wait, Forever(chunk(b'x' * 1000))], BodyTooLarge),
    'dripped within the read timeout': (
        [HEAD + b'Content-Length: 99\r\n\r\nabc', Wait, Drip(b'x' * 96, 0.05)],
        DeadlineExceeded,
    ),
}


@side_by_side(BROKEN, ['http', 'https'])
def test_streamed_body_breaks(what: str, scheme: str, authority: kit.Authority) -> None:
    """What came can be read; the break is a typed error each time; slot and socket are back, a retry is not made."""
    go = Event()
    script, expected = BROKEN[what]
    tls = authority.server() if scheme == 'https' else None
    with (
        FaultServer([READ, *(Wait(go) if step is Wait else step for step in script)], tls=tls) as server,
        Client(server.host, simultaneous=1, max_body=50_000, ca_certs=authority.ca_certs, retries=5) as client,
    ):
        found = client.request('GET', '/', stream=True, timeout=urllib3.Timeout(read=READ_TIMEOUT, total=2))
        assert found.read(3) == b'abc'
        go.set()
        for _ in range(2):
            error = error_of(lambda: drained(found))
            assert isinstance(error, expected)
            assert (error.request, error.response, error.status) == (found.request, found, 200)
        assert client.request('GET', '/000002', timeout=20).data == b'000002'
        assert (len(server.requests), server.accepted) == (2, 2)


@side_by_side([5, 12, 200, -9, -1], [1, 100, 10**6])
def test_streamed_coding_is_cut(cut: int, pieces: int) -> None:
    """A coding that does not end breaks a streamed body as well, in whatever pieces it came."""
    packed = PACKED[:cut]
    parts = [chunk(packed[at : at + pieces]) for at in range(0, min(len(packed), 300), pieces)]
    parts.append(chunk(packed[300:]) if pieces < 300 < len(packed) else b'')
    with (
        FaultServer([READ, HEAD + ZIPPED + b'Transfer-Encoding: chunked\r\n\r\n', *parts, b'0\r\n\r\n']) as server,
        Client(server.host) as client,
    ):
        found = client.request('GET', '/', stream=True)
        assert isinstance(error_of(lambda: drained(found)), TruncatedBody)
        assert client.stats()['in_flight'] == 0


def test_streamed_bomb() -> None:
    """A bomb that is read in pieces ends at the bound, and costs little memory without one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b'') + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)  # no copy depends on another
    bomb = HEAD + ZIPPED + b'\r\n' + head + block * 60
    with FaultServer(*[[READ, bomb, SILENCE]] * 2) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True, max_body=10**6)
        size = 0
        with pytest.raises(BodyTooLarge):
            for piece in found.iter_bytes():
                size += len(piece)
        assert size <= 10**6
        memory = kit.rss()
        found = client.request('GET', '/', stream=True)
        for _ in range(60):
            assert len(found.read(10**6)) == 10**6
        assert kit.rss() - memory < 20 * 10**6


def test_streamed_head_with_too_many_codings() -> None:
    """Six codings are refused at the head, and so is a length above the bound: nothing is handed out."""
    for head in (
        HEAD + b'Content-Encoding: ' + b'gzip,' * 6 + b'\r\nContent-Length: 9\r\n\r\n',
        HEAD + b'Content-Length: 101\r\n\r\n',
    ):
        with FaultServer([READ, head, SILENCE]) as server, Client(server.host, max_body=100) as client:
            assert isinstance(failure(client, 'GET', '/', stream=True, timeout=20), (InvalidResponse, BodyTooLarge))
            assert client.request('GET', '/000001', stream=True).read() == b'000001'


def test_error_answers_are_decoded() -> None:
    """The body of an error is decoded like any other, asked for in pieces or not."""
    packed = gzip.compress(b'{"error_text": "no disk"}')
    answer = said(packed, 'Content-Encoding: gzip', 'Content-Type: application/json', status='500 Oops')
    with FaultServer([READ, answer] * 2) as server, Client(server.host) as client:
        for stream in False, True:
            error = failure(client, 'GET', '/', stream=stream)
            assert error.remote_error == {'error_text': 'no disk'}
            assert error.response.data == b'{"error_text": "no disk"}'
        assert server.accepted == 1


# Read in pieces: sizes, ends, interruptions --------------------------------------------------------------------------


def test_sizes_of_read() -> None:
    """No bytes are no bytes, a negative size or None is all that is left, at the end there is nothing."""
    with FaultServer([READ, said(b'abcdef')] * 2) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        assert found.read(0) == b''
        assert [found.read(2), found.read(0), found.read(-1)] == [b'ab', b'', b'cdef']
        assert found.read() == found.read(None) == found.read(5) == found.data == b''
        assert list(found.iter_bytes()) == list(found.iter_bytes(4)) == list(found.iter_lines()) == []
        assert client.request('GET', '/', stream=True).read(None) == b'abcdef'


def test_sizes_that_are_none() -> None:
    """A size that is no whole number, or none to go by, is refused at the call, and nothing of the body is lost."""
    with FaultServer([READ, said(b'abcdef')]) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        for size in ('2', 1.5, b'1'):
            with pytest.raises(TypeError):
                found.read(size)
            with pytest.raises(TypeError):
                found.iter_bytes(size)
        for size in (0, -1):
            with pytest.raises(ValueError):
                found.iter_bytes(size)
        assert found.read() == b'abcdef'


@side_by_side(['read', 'read to the end', 'pieces', 'lines'])
def test_interrupted_reader_misses_nothing(how: str) -> None:
    """A clock of the caller's own that fires while he reads passes through; who reads on has every byte."""
    go = Event()
    with (
        FaultServer(
            [READ, CHUNKED + chunk(b'one\ntw'), chunk(b'o'), Wait(go), chunk(b'!\nthree'), b'0\r\n\r\n']
        ) as server,
        Client(server.host) as client,
    ):
        found = client.request('GET', '/', stream=True)
        assert found.read(4) == b'one\n'
        mine = gevent.Timeout(0.1)
        with pytest.raises(gevent.Timeout) as caught, mine:
            match how:
                case 'read':
                    found.read(100)
                case 'read to the end':
                    found.read()
                case 'pieces':
                    list(found.iter_bytes(100))
                case 'lines':
                    list(found.iter_lines())
        assert caught.value is mine
        go.set()
        assert found.read() == b'two!\nthree'


@side_by_side([1, 2, 3, 5, 100])
def test_lines_and_then_the_rest(size: int) -> None:
    """Who leaves the loop over lines reads on behind the last line that he got."""
    body = 'first: é\r\n\r\nrest\nof it'.encode()
    parts = [chunk(body[at : at + size]) for at in range(0, len(body), size)]
    with FaultServer([READ, CHUNKED, *parts, b'0\r\n\r\n']) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        lines = []
        for line in found.iter_lines():
            lines.append(line)
            if not line:
                break
        assert lines == ['first: é', '']
        assert found.read() == b'rest\nof it'


@pytest.mark.timed
def test_many_lines_are_linear() -> None:
    """A line of a megabyte in small pieces, and a megabyte of short lines, take no time worth mentioning."""
    for body, count in ((b'x' * 10**6, 1), (b'\n' * 200_000, 200_000), (b'ab\r\n' * 50_000, 50_000)):
        with serve(lambda *_, body=body: (200, None, body)) as server, Client(server.host) as client:
            began = kit.own_time()
            seen = 0
            for _ in client.request('GET', '/', stream=True).iter_lines():
                seen += 1
                if not seen % 100:
                    gevent.sleep(0)
            assert seen == count
            assert kit.own_time() - began < kit.limit(3)


def test_read_after_close() -> None:
    """What was closed half read raises Cancelled, however it is read; closing twice is closing once."""
    with FaultServer([READ, said(b'abcdef')]) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        assert found.read(2) == b'ab'
        found.close()
        found.close()
        for read in (
            found.read,
            lambda: found.read(2),
            lambda: drained(found),
            lambda: list(found.iter_lines()),
            lambda: found.data,
            found.json,
            lambda: found.text,
            lambda: found.body,
        ):
            assert isinstance(error_of(read), Cancelled)
        assert found.read(0) == b''
        assert (found.status, found.headers['content-length']) == (200, '6')


def test_closing_ends_whoever_reads() -> None:
    """`close()` from another greenlet ends what waits for the next piece with Cancelled, however it reads."""
    head = HEAD + b'Content-Type: text/event-stream\r\nContent-Length: 99\r\n\r\n'
    readings = ('read', 'iter_bytes', 'iter_lines', 'iter_events')
    with FaultServer(*[[READ, head + b'data', SILENCE]] * len(readings)) as server, Client(server.host) as client:
        for how in readings:
            found: Any = client.request('GET', '/', stream=True)
            reader = gevent.spawn(error_of, lambda found=found, how=how: list(getattr(found, how)()))
            gevent.sleep(0.01)
            found.close()
            error = reader.get(timeout=20)
            assert isinstance(error, Cancelled) and error.request is found.request


def test_read_to_its_end_then_closed() -> None:
    """To close what was read to its end changes nothing: there is no error, and the connection is used again."""
    with serve(lambda *_: (200, None, 'abc')) as server, Client(server.host) as client:
        for _ in range(3):
            with client.request('GET', '/', stream=True) as found:
                assert found.read() == b'abc'
            found.close()
            assert found.read() == b''
        assert server.accepted == 1


@side_by_side([KeyError, gevent.Timeout, gevent.GreenletExit, KeyboardInterrupt])
def test_exception_within_the_context(raised: type[BaseException]) -> None:
    """An exception leaves the `with` as it is; the half-read body goes with its connection, and the slot is back."""
    mine = raised()
    with serve(lambda *_: (200, None, 'x' * 100)) as server, Client(server.host, simultaneous=1) as client:
        with pytest.raises(raised) as caught, client.request('GET', '/', stream=True) as found:
            found.read(1)
            raise mine
        assert caught.value is mine
        assert client.request('GET', '/', timeout=20).data == b'x' * 100
        assert server.accepted == 2


def test_killed_reader() -> None:
    """A greenlet that is killed while it reads leaves no slot taken."""
    with (
        FaultServer([READ, HEAD + b'Content-Length: 9\r\n\r\nabc', SILENCE]) as server,
        Client(server.host, simultaneous=1) as client,
    ):

        def read() -> None:
            client.request('GET', '/', stream=True).read()

        reader = gevent.spawn(read)
        wait_until(lambda: client.stats()['done'] == 1)
        gevent.sleep(0.01)
        reader.kill()
        del reader
        gc.collect()
        assert client.request('GET', '/000001', timeout=20).data == b'000001'


@side_by_side(['none', 'gzip'])
def test_two_readers(coding: str) -> None:
    """Two greenlets that read one body get each byte once between them, and both see the end."""
    body = bytes(range(256)) * 400
    packed = gzip.compress(body)
    script = (
        [CHUNKED, *(chunk(body[at : at + 1000]) for at in range(0, len(body), 1000)), b'0\r\n\r\n']
        if coding == 'none'
        else [HEAD + ZIPPED + b'Content-Length: %d\r\n\r\n' % len(packed), packed]
    )
    with FaultServer([READ, *script]) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        got: list[bytes] = []

        def read() -> None:
            for piece in found.iter_bytes(700):
                got.append(piece)
                gevent.sleep(0)

        gevent.joinall([gevent.spawn(read) for _ in range(2)], timeout=5, raise_error=True)
        assert sorted(b''.join(got)) == sorted(body)
        assert client.request('GET', '/000001').data == b'000001'
        assert server.accepted == 1


NOTHING_TO_READ: dict[str, tuple[str, bytes]] = {
    'HEAD': ('HEAD', HEAD + b'Content-Length: 9\r\n\r\n'),
    '204': ('GET', b'HTTP/1.1 204 No Content\r\n\r\n'),
    '304': ('GET', b'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n'),
    'no bytes': ('GET', said(b'')),
    'no chunks': ('GET', CHUNKED + b'0\r\n\r\n'),
    'no bytes of gzip': ('GET', said(b'', 'Content-Encoding: gzip')),
    '204 of gzip': ('GET', b'HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n'),
}


@side_by_side(NOTHING_TO_READ)
def test_nothing_to_read(kind: str) -> None:
    """An answer without a body holds no slot, though nobody closes it, and its connection is used again."""
    method, answer = NOTHING_TO_READ[kind]
    with FaultServer([READ, answer]) as server, Client(server.host, simultaneous=1) as client:
        found = client.request(method, '/', stream=True)
        assert client.request('GET', '/000001', timeout=20).data == b'000001'
        assert (found.read(), found.body, found.data) == (b'', None, b'')
        with found:
            assert list(found.iter_lines()) == []
        assert client.request('GET', '/000002', timeout=20).data == b'000002'
        assert server.accepted == 1


@side_by_side(['length', 'chunked', 'final chunk late', 'gzip', 'gzip, chunked', 'lines'])
def test_read_to_the_last_byte(kind: str) -> None:
    """Who has read the last byte gives the slot back, though he did not ask whether there is more."""
    go = Event()
    packed = gzip.compress(b'abc\n')
    script = {
        'length': [said(b'abc\n')],
        'chunked': [CHUNKED + chunk(b'abc\n') + b'0\r\n\r\n'],
        'final chunk late': [CHUNKED + chunk(b'abc\n'), Wait(go), b'0\r\n\r\n'],
        'gzip': [said(packed, 'Content-Encoding: gzip')],
        'gzip, chunked': [HEAD + ZIPPED + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(packed) + b'0\r\n\r\n'],
        'lines': [said(b'abc\n')],
    }[kind]
    with FaultServer([READ, *script]) as server, Client(server.host, simultaneous=1) as client:
        found = client.request('GET', '/', stream=True)
        assert next(found.iter_lines()) == 'abc' if kind == 'lines' else found.read(4) == b'abc\n'
        go.set()
        assert client.request('GET', '/000001', timeout=20).data == b'000001'
        assert found.read() == b''
        assert server.accepted == 1


def test_ends_with_the_connection() -> None:
    """A streamed body that only the close can end is whole at the close."""
    go = Event()
    with FaultServer([READ, HEAD + b'\r\nabc', Wait(go), b'def', CLOSE]) as server, Client(server.host) as client:
        found = client.request('GET', '/', stream=True)
        assert found.read(3) == b'abc'
        go.set()
        assert found.read() == b'def'
        assert client.request('GET', '/000001').data == b'000001'


def test_as_a_file(tmp_path: Path) -> None:
    """What reads from files reads from a streamed answer."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w:gz') as tar:
        tar.addfile(tarfile.TarInfo('empty'))
    bodies = [b'[1, 2]', b'x' * 200_000, gzip.compress(b'zipped'), packed.getvalue()]
    with FaultServer([step for body in bodies for step in (READ, said(body))]) as server, Client(server.host) as client:
        with client.request('GET', '/', stream=True) as found:
            assert json.load(found) == [1, 2]
        with client.request('GET', '/', stream=True) as found, open(tmp_path / 'copy', 'wb') as file:
            shutil.copyfileobj(found, file)
        assert (tmp_path / 'copy').read_bytes() == bodies[1]
        with client.request('GET', '/', stream=True) as found:
            assert gzip.GzipFile(fileobj=found).read() == b'zipped'
        with client.request('GET', '/', stream=True) as found, tarfile.open(fileobj=found, mode='r|gz') as tar:
            assert tar.getnames() == ['empty']


def test_streamed_answer_is_a_response() -> None:
    """It is a Response with its status, fields, reason, time and attempts; of the last try where there were several."""
    left = [503, 200]
    with (
        serve(lambda *_: (left.pop(0), {'A': 'b'}, 'abc')) as server,
        Client(server.host) as client,
        client.request('GET', '/x', stream=True, retries=urllib3.Retry(2, status_forcelist=[503])) as found,
    ):
        assert isinstance(found, Response)
        assert (repr(found), found.reason, found.headers['a'], found.attempts) == ('<Response 200 OK>', 'OK', 'b', 2)
        assert found.url == f'http://{server.authority}/x'
        assert 0 < found.elapsed < 30
        assert found.text == 'abc'


def test_slow_reader_over_tls(authority: kit.Authority) -> None:
    """A reader who pauses over TLS makes the server wait, and misses nothing of what TLS held back."""
    body = bytes(range(256)) * 20_000
    with (
        serve(lambda *_: (200, None, body), tls=authority.server()) as server,
        Client(server.host, ca_certs=authority.ca_certs, timeout=CLOCKS) as client,
        client.request('GET', '/', stream=True) as found,
    ):
        parts = [found.read(10)]
        gevent.sleep(2 * READ_TIMEOUT)
        for piece in found.iter_bytes(100_000):
            parts.append(piece)
            gevent.sleep(0.002)
        assert b''.join(parts) == body


def test_deadline_behind_the_end() -> None:
    """A deadline that passes when all has been read changes nothing any more; before that it ends the reader."""
    with serve(lambda *_: (200, None, 'abcdef')) as server, Client(server.host) as client:
        read = client.request('GET', '/', stream=True, timeout=0.1)
        assert read.read(6) == b'abcdef'
        half = client.request('GET', '/', stream=True, timeout=0.1)
        assert half.read(2) == b'ab'
        gevent.sleep(0.3)
        assert read.read() == b''
        error = error_of(half.read)
        assert isinstance(error, DeadlineExceeded)
        assert (error.phase, error.response) == ('read', half)


def test_deadlines_hold_no_answers() -> None:
    """A deadline that is still to come holds neither an answer's memory nor the slot of one that nobody reads."""
    body = bytes(10**6)
    with serve(lambda *_: (200, None, body)) as server, Client(server.host, simultaneous=1, timeout=60) as client:
        assert client.request('GET', '/').data == body
        memory = kit.rss()
        for _ in range(60):
            assert len(client.request('GET', '/').data) == len(body)
        assert kit.rss() - memory < 20 * 10**6
        for _ in range(3):
            found = client.request('GET', '/', stream=True)
            assert found.read(1) == b'\0'
            del found  # nobody can close it any more
        assert client.request('GET', '/', timeout=20).data == body


def test_cancel_of_a_streamed_answer() -> None:
    """`cancel()`, of the request or the answer, ends the reader with Cancelled, and does nothing to what was read."""
    with (
        FaultServer(*[[READ, HEAD + b'Content-Length: 9\r\n\r\nabc', SILENCE]] * 2) as server,
        Client(server.host, simultaneous=1) as client,
    ):
        for end in 'pending', 'answer':
            pending = client.submit('GET', '/', stream=True)
            found = pending.get()
            reader = gevent.spawn(error_of, lambda found=found: drained(found))
            gevent.sleep(0.01)
            (pending if end == 'pending' else found).cancel()
            error = reader.get(timeout=20)
            assert isinstance(error, Cancelled)
            assert (error.request, error.status) == (found.request, 200)
            assert isinstance(error_of(found.read), Cancelled)
            assert pending.successful()
        pending = client.submit('GET', '/000003', stream=True)
        found = pending.get(timeout=20)
        assert found.read() == b'000003'
        pending.cancel()
        found.cancel()
        assert found.read() == b''
        assert client.request('GET', '/000004').data == b'000004'
        assert server.accepted == 3


# Saved ---------------------------------------------------------------------------------------------------------------


def test_save_to_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A path that cannot be written is an OSError before a byte is read: the body can be saved elsewhere."""
    (tmp_path / 'file').write_bytes(b'')
    with serve(lambda *_: (200, None, 'abc')) as server, Client(server.host, simultaneous=1) as client:
        for path in (tmp_path / 'none' / 'x', tmp_path, tmp_path / 'file' / 'x', '/proc/none/x'):
            found = client.request('GET', '/', stream=True)
            with pytest.raises(OSError):
                found.save(path)
            assert found.save(str(tmp_path / 'right')) == 3
            assert (tmp_path / 'right').read_bytes() == b'abc'
        assert sorted(os.listdir(tmp_path)) == ['file', 'right']
        assert server.accepted == 1


def test_save_keeps_what_was_there_until_it_is_whole(tmp_path: Path) -> None:
    """A file is replaced by the whole body or not at all; a link to it stays one, and so does its mode."""
    target, link = tmp_path / ('n' * 255), tmp_path / 'link'
    target.write_bytes(b'old')
    link.symlink_to(target)
    mode = target.stat().st_mode
    with (
        FaultServer([READ, said(b'abcdef')[:-1], CLOSE], [READ, said(b'abcdef')]) as server,
        Client(server.host) as client,
    ):
        with pytest.raises(TruncatedBody):
            client.request('GET', '/', stream=True).save(link)
        assert target.read_bytes() == b'old'
        assert client.request('GET', '/', stream=True).save(link) == 6
        assert (link.is_symlink(), target.read_bytes()) == (True, b'abcdef')
        assert target.stat().st_mode == mode
        assert sorted(os.listdir(tmp_path)) == ['link', target.name]


def test_save_to_what_is_no_file(tmp_path: Path) -> None:
    """A pipe or a device is written to, and stays what it is; where it is full, the error is its own."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with serve(lambda *_: (200, None, 'abc')) as server, Client(server.host) as client:
            assert client.request('GET', '/', stream=True).save(pipe) == 3
            assert os.read(reading, 10) == b'abc'
            assert pipe.is_fifo()
            with client.request('GET', '/', stream=True) as found, pytest.raises(OSError) as caught:
                found.save('/dev/full')
            assert caught.value.errno == errno.ENOSPC
            assert os.path.exists('/dev/full') and not os.path.isfile('/dev/full')
    finally:
        os.close(reading)


# Uploads -------------------------------------------------------------------------------------------------------------


class Listening(kit.Server):
    """Takes note of every byte, and answers when a request is whole: what an upload looks like from outside."""

    def __init__(self, **options: Any) -> None:
        self.seen = bytearray()
        self.gone = 0
        super().__init__(**options)

    def talk(self, peer: kit.Peer) -> None:
        """Until the client leaves."""
        try:
            while True:
                data = peer.socket.recv(65536)
                if not data:
                    return
                self.seen += data
                if self.seen.endswith(b'0\r\n\r\n'):
                    peer.send(said(b'thanks'))
        finally:
            self.gone += 1


@side_by_side([KeyError, gevent.Timeout, gevent.GreenletExit, HTTPError, StopAsyncIteration], [False, True])
def test_iterable_raises(raised: type[BaseException], stream: bool) -> None:
    """What an iterable raises is the cause; the connection closes without the final chunk; nothing is sent again."""
    mine = raised()

    def parts() -> Iterator[bytes]:
        yield b'abc'
        gevent.sleep(0.01)
        raise mine

    with Listening() as server, Client(server.host, simultaneous=1, retries=5) as client:
        error = failure(client, 'PUT', '/', parts(), stream=stream, timeout=5)
        assert (type(error), error.phase, error.__cause__, error.attempts) == (HTTPError, 'send', mine, 1)
        wait_until(lambda: server.gone == 1)
        assert server.seen.endswith(b'\r\n\r\n3\r\nabc\r\n')
        assert server.accepted == 1
        assert client.request('PUT', '/', iter([b'y']), timeout=20).data == b'thanks'


@side_by_side(['iterable', 'file'])
def test_source_fails_behind_an_early_head(kind: str) -> None:
    """Where a streamed answer was handed out before the upload was through, its reader gets what the source raised."""
    mine = OSError(errno.EIO, 'the disk is broken')

    class Source(io.RawIOBase):
        """A file that breaks half-way."""

        def read(self, size: int = -1) -> bytes:
            """The first time something."""
            gevent.sleep(0.05)
            if server.times:
                raise mine
            server.times += 1
            return b'abc'

    class Early(Listening):
        """Sends its head and the beginning of its body before it has read all of the request's."""

        times = 0

        def talk(self, peer: kit.Peer) -> None:
            """Then listen."""
            peer._until(b'\r\n\r\n')
            peer.send(CHUNKED + chunk(b'early'))
            super().talk(peer)

    with Early() as server, Client(server.host) as client:
        source: Any = Source() if kind == 'file' else iter(Source().read, b'')
        found = client.request('POST', '/', source, stream=True)
        assert found.read(5) == b'early'
        reader = gevent.spawn(error_of, found.read)
        error = reader.get(timeout=20)
        assert (error.__cause__, error.response, error.request) == (mine, found, found.request)
        wait_until(lambda: server.gone == 1)
        assert not server.seen.endswith(b'0\r\n\r\n')


@side_by_side(['shrinks', 'grows', 'closes'])
def test_file_that_changes(change: str, tmp_path: Path) -> None:
    """A file that ends before its length is an error of that request; one that grew ends where it ended at first."""
    path = tmp_path / change
    path.write_bytes(b'x' * 100_000)
    with serve() as server, Client(server.host) as client, open(path, 'rb') as file:
        with gevent.Timeout(5):
            request = client.submit('POST', '/000001', file)  # opens the connection: nothing was read of the file
            if change == 'shrinks':
                os.truncate(path, 90_000)
            elif change == 'grows':
                os.truncate(path, 200_000)
            else:
                file.close()
            if change == 'grows':
                assert request.get().data == b'000001'
                assert server.requests[0].body == b'x' * 100_000
                assert server.requests[0].headers['content-length'] == '100000'
            else:
                error = error_of(request.get)
                assert isinstance(error.__cause__, ValueError)
                assert not server.requests
        assert client.request('GET', '/000002').data == b'000002'


@side_by_side(['cancel', 'deadline', 'close', 'read timeout'])
def test_iterable_that_blocks(end: str) -> None:
    """An iterable that blocks holds up nobody else; the end of its request ends it too, in its own `finally`."""
    ended = Event()

    def parts() -> Iterator[bytes]:
        try:
            yield b'abc'
            Event().wait()
        finally:
            ended.set()

    with serve() as server, Client(server.host, timeout=CLOCKS) as client:
        pending = client.submit('POST', '/', parts(), timeout=urllib3.Timeout(read=0.1, total=1))
        wait_until(lambda: client.stats()['in_flight'] == 1)
        for _ in range(5):
            assert client.request('GET', '/000001', timeout=10).data == b'000001'
        if end == 'read timeout':  # it is not the server who is silent
            gevent.sleep(0.2)
            assert not pending.ready()
            pending.cancel()
        elif end != 'deadline':
            (client.close if end == 'close' else pending.cancel)()
        error = error_of(lambda: pending.get(timeout=20))
        assert isinstance(error, DeadlineExceeded if end == 'deadline' else Cancelled)
        assert ended.wait(10)


def test_source_cancels_its_own_request() -> None:
    """An iterable may cancel the request that it is the body of, and sends nothing more."""

    def parts() -> Iterator[bytes]:
        yield b'abc'
        pending.cancel()
        yield b'def'
        went_on.append(True)
        yield b'ghi'

    went_on: list[bool] = []
    with Listening() as server, Client(server.host, simultaneous=1) as client:
        pending = client.submit('POST', '/', parts())
        assert isinstance(error_of(lambda: pending.get(timeout=20)), Cancelled)
        wait_until(lambda: server.gone == 1)
        assert server.seen.endswith(b'abc\r\n')
        assert not went_on
        assert client.request('PUT', '/', iter([b'y']), timeout=20).data == b'thanks'


def test_iterable_is_asked_as_fast_as_the_server_takes() -> None:
    """What a server does not take is not asked of the iterable: an upload costs no memory."""
    asked: list[int] = []
    willing = Event()

    def parts() -> Iterator[bytes]:
        for number in range(3000):
            asked.append(number)
            yield b'x' * 10_000

    class Waiting(Listening):
        """Reads when it is told to."""

        def talk(self, peer: kit.Peer) -> None:
            """Later."""
            willing.wait()
            super().talk(peer)

    with Waiting() as server, Client(server.host) as client:
        pending = client.submit('POST', '/', parts())
        wait_until(lambda: asked)
        gevent.sleep(0.1)
        assert len(asked) < 2000  # what the kernel takes for both sides
        willing.set()
        assert pending.get(timeout=20).data == b'thanks'
        assert len(asked) == 3000


LARGE: dict[str, Callable[[], Any]] = {
    'bytes': lambda: bytes(20_000_000),
    'file': lambda: io.BytesIO(bytes(20_000_000)),
    'iterable': lambda: (bytes(10_000) for _ in range(2000)),
}


@side_by_side(LARGE, ['goes on reading', 'closes', 'resets'], [False, True])
def test_early_refusal(kind: str, then: str, stream: bool) -> None:
    """The refusal of a server that does not want the rest is heard, and no other request goes over that connection."""

    class Refusing(FaultServer):
        """Refuses the first request at its head."""

        def talk(self, peer: kit.Peer) -> None:
            """Answer before the body."""
            if peer.number == 0:
                peer._until(b'\r\n\r\n')
                peer.send(said(b'too large', status='413 Too Large'))
                if then == 'goes on reading':
                    peer.drain()
                elif then == 'resets':
                    peer.finish()
                    gevent.sleep(0.05)
                    peer.reset()
                return
            super().talk(peer)

    with Refusing() as server, Client(server.host, simultaneous=1) as client:
        error = failure(client, 'POST', '/', LARGE[kind](), stream=stream, timeout=5)
        assert isinstance(error, RemoteError)
        assert (error.status, error.response.data) == (413, b'too large')
        assert client.request('GET', '/000001', timeout=20).data == b'000001'
        assert server.accepted == 2


@side_by_side(LARGE)
def test_early_success_in_pieces(kind: str) -> None:
    """A server that answers, and stops to read the upload, is heard to the end of its answer."""

    class Hasty(kit.Server):
        """Answers in two parts and closes, the rest of the request unread."""

        def talk(self, peer: kit.Peer) -> None:
            """A part before the client knows, and a part when it may have noticed."""
            peer._until(b'\r\n\r\n')
            peer.send(HEAD + b'Content-Length: 200003\r\n\r\nabc')
            gevent.sleep(0.05)
            peer.send(b'x' * 200_000)
            peer.finish()
            gevent.sleep(0.05)

    with (
        Hasty() as server,
        Client(server.host) as client,
        client.request('POST', '/', LARGE[kind](), stream=True, timeout=5) as found,
    ):
        assert found.read(3) == b'abc'
        gevent.sleep(0.2)
        assert found.read() == b'x' * 200_000


def test_both_ways_at_once() -> None:
    """A server may answer while it reads; neither a slow source nor a slow reader is taken for its silence."""

    class Echoing(kit.Server):
        """Sends each chunk back as it comes."""

        def talk(self, peer: kit.Peer) -> None:
            """Until the final one."""
            peer._until(b'\r\n\r\n')
            peer.send(CHUNKED)
            size = 1
            while size:
                size = int(peer._until(b'\r\n'), 16)
                peer.send(chunk(peer._take(size + 2)[:-2]))

    def parts() -> Iterator[bytes]:
        for number in range(2):
            yield b'%d' % number
            gevent.sleep(2 * READ_TIMEOUT)

    with Echoing() as server, Client(server.host, timeout=CLOCKS) as client:
        with client.request('POST', '/', parts(), stream=True) as found:
            assert list(found.iter_bytes()) == [b'0', b'1']
        many = (b'x' * 10_000 for _ in range(200))
        with client.request('POST', '/', many, stream=True) as found:
            assert found.read(10) == b'x' * 10
            gevent.sleep(2 * READ_TIMEOUT)
            assert len(found.read()) == 2_000_000 - 10


@side_by_side([b'HTTP/1.1 102 Processing\r\n\r\n', b'HTTP/1.1 200 O'])
def test_slow_source_behind_a_sign_of_life(early: bytes) -> None:
    """What a server says meanwhile does not start its clock: it is the source that is waited for."""

    def parts() -> Iterator[bytes]:
        yield b'a'
        gevent.sleep(2 * READ_TIMEOUT)
        yield b'b'

    class Chatting(kit.Server):
        """Says something at the head of a request."""

        def talk(self, peer: kit.Peer) -> None:
            """And answers at its end."""
            peer._until(b'\r\n\r\n')
            peer.send(early)
            _, body = peer._chunks()
            peer.send(said(body).removeprefix(early))

    with Chatting() as server, Client(server.host, timeout=CLOCKS) as client:
        assert client.request('POST', '/', parts()).data == b'ab'


def test_silence_behind_an_upload() -> None:
    """When the whole body is out it is the server's turn: its silence is a ReadTimeout."""
    with serve(gate=Gate()) as server, Client(server.host, timeout=CLOCKS) as client:
        error = failure(client, 'POST', '/', iter([b'abc']))
        assert isinstance(error, ReadTimeout)
        assert error.phase == 'read'
        assert server.requests[0].body == b'abc'


def test_streamed_answer_as_a_body() -> None:
    """An answer can be sent on to another server while it comes in; where it breaks off, that is the cause."""
    body = bytes(range(256)) * 4000
    with (
        serve(lambda *_: (200, None, body)) as origin,
        serve(lambda *_: (204, None, None)) as target,
        ClientPool() as pool,
    ):
        with pool.request(origin.host, 'GET', '/', stream=True).get() as found:
            assert pool.request(target.host, 'PUT', '/', found).get().status == 204
        assert target.requests[0].body == body
    with (
        FaultServer([READ, HEAD + b'Content-Length: 9\r\n\r\nabc', CLOSE]) as origin,
        Listening() as target,
        ClientPool() as pool,
    ):
        found = pool.request(origin.host, 'GET', '/', stream=True).get()
        error = error_of(pool.request(target.host, 'PUT', '/', found).get)
        assert isinstance(error.__cause__, TruncatedBody)


def test_against_pywsgi() -> None:
    """The server of gevent reads what we send, whatever it is, and we what it sends, also while it still reads."""

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        source = environ['wsgi.input']
        start('200 OK', [('Content-Type', 'application/octet-stream')])
        while piece := source.read(10_000):
            yield piece

    application = WSGIServer(('127.0.0.1', 0), app, log=None, error_log=None, environ={'SERVER_NAME': 'here'})
    application.start()
    data = bytes(range(256)) * 2000
    bodies: list[Callable[[], Any]] = [
        lambda: data,
        lambda: bytearray(data),
        lambda: memoryview(data),
        lambda: io.BytesIO(data),
        lambda: (data[at : at + 7777] for at in range(0, len(data), 7777)),
        lambda: data.decode('latin-1'),
    ]
    try:
        with Client(f'127.0.0.1:{application.server_port}') as client:
            for make in bodies:
                body = make()
                arrives = body.encode() if isinstance(body, str) else data
                assert client.request('POST', '/', make()).data == arrives
                with client.request('POST', '/', body, stream=True) as found:
                    assert drained(found) == arrives
    finally:
        application.stop()


def test_cancelled_uploads() -> None:
    """Uploads of every kind that are cancelled half-way leave nothing behind, and disturb no other request."""
    willing = Event()

    class Deaf(kit.HandlerServer):
        """Reads no body until it is told to."""

        def read(self, peer: kit.Peer) -> kit.Received:
            """Wait."""
            willing.wait()
            return super().read(peer)

    with Deaf(kit.echo) as server, serve() as good, ClientPool(simultaneous=3) as pool:
        uploads = [pool.request(server.host, 'PUT', '/', make()) for make in LARGE.values()]
        gevent.sleep(0.05)
        for upload in uploads:
            upload.cancel()
            assert isinstance(upload.exception, Cancelled)
        willing.set()
        assert_right(ask(pool, server).get(timeout=20))
        assert_right(ask(pool, good).get(timeout=20))


# Forms ---------------------------------------------------------------------------------------------------------------


def parts_of(request: kit.Received) -> list[tuple[str | None, str | None, str, bytes]]:
    """Name, file name, type and content of each part of a form, as another program reads it."""
    head = f'Content-Type: {request.headers["content-type"]}\r\n\r\n'.encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert message.is_multipart()
    found = []
    for part in message.iter_parts():
        disposition = part['content-disposition'].params
        found.append(
            (
                disposition.get('name'),
                disposition.get('filename'),
                part.get_content_type(),
                part.get_payload(decode=True),
            )
        )
    return found


FORMS: dict[str, tuple[Any, list[tuple[str | None, str | None, str, bytes]]]] = {
    'mapping': ({'a': 'b', 'n': 7}, [('a', None, 'text/plain', b'b'), ('n', None, 'text/plain', b'7')]),
    'pairs, repeated': ([('a', 'b'), ('a', 'c')], [('a', None, 'text/plain', b'b'), ('a', None, 'text/plain', b'c')]),
    'file': ({'f': ('a.json', b'{}')}, [('f', 'a.json', 'application/json', b'{}')]),
    'file of a type': ({'f': ('a', b'\0\xff\r\n--', 'image/png')}, [('f', 'a', 'image/png', b'\0\xff\r\n--')]),
    'unicode': (
        {'schlüssel': ('büro €.txt', 'grüße'.encode())},
        [('schlüssel', 'büro €.txt', 'text/plain', 'grüße'.encode())],
    ),
    'field': (
        [
            RequestField(
                'f',
                b'x',
                'n.bin',
                {'Content-Disposition': 'form-data; name="f"; filename="n.bin"', 'Content-Type': 'application/x'},
            )
        ],
        [('f', 'n.bin', 'application/x', b'x')],
    ),
    'large': ({'f': ('big', b'x' * 300_000, 'application/x')}, [('f', 'big', 'application/x', b'x' * 300_000)]),
}


@side_by_side(FORMS)
def test_forms(kind: str) -> None:
    """A form arrives as it was given, with its own Content-Type, the same in each attempt."""
    form, expected = FORMS[kind]
    left = [503, 204]
    with serve(lambda *_: (left.pop(0), None, None)) as server, Client(server.host) as client:
        assert (
            client.request(
                'PUT',
                '/',
                multipart=form,
                headers={'content-type': 'x/y', 'A': 'b'},
                retries=urllib3.Retry(1, status_forcelist=[503]),
            ).attempts
            == 2
        )
        first, second = server.requests
        assert parts_of(first) == expected
        assert first.raw.lower().count(b'content-type: multipart/form-data; boundary=') == 1
        assert b'x/y' not in first.raw
        assert (kit.sent(first), first.headers['a']) == (kit.sent(second), 'b')


@side_by_side([{'f': object()}, {'f': ('name', None)}, 5, {'f': ('name', {})}])
def test_not_a_form(form: Any) -> None:
    """What cannot be a form is refused at the call."""
    with serve() as server, Client(server.host) as client:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            client.request('POST', '/', multipart=form)
        assert not server.requests


# Codings whose libraries may not be there ----------------------------------------------------------------------------

ASKS = """
import sys, gevent
from napixclient import Client
client = Client(sys.argv[1])
found = client.request('GET', '/')
print(found.request.headers.get('accept-encoding'), found.status, found.headers.get('content-encoding'),
      len(found.data))
"""

OLD_BROTLI = """
import sys, types
old = types.ModuleType('brotli')
old.error = ValueError
class Decompressor:
    def process(self, data):
        return data * 1000
old.Decompressor = Decompressor
sys.modules['brotli'], sys.modules['brotlicffi'] = old, None
"""

NO_LIBRARY = """
import sys
for name in 'brotli', 'brotlicffi', 'backports.zstd', 'compression.zstd':
    sys.modules[name] = None
"""


@side_by_side([NO_LIBRARY, OLD_BROTLI])
def test_codings_without_libraries(libraries: str) -> None:
    """Only what can be undone within bounds is offered; what comes unasked stays packed, as its field says."""
    with FaultServer([READ, said(b'packed', 'Content-Encoding: br')]) as server:
        ended = kit.run_program(libraries + ASKS, server.host)
        assert (ended.code, ended.err, ended.out) == (0, '', 'None 200 br 6\n')
        offered = [name.strip() for name in server.requests[0].headers['accept-encoding'].split(',')]
        assert offered[:2] == ['gzip', 'deflate']
        assert 'br' not in offered


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('coding', ['br', 'zstd'])
def test_codings_with_libraries(coding: str, stream: bool) -> None:
    """br and zstd are offered where their libraries are there, undone, bounded, and truncated they are an error."""
    if coding == 'br':
        packed = pytest.importorskip('brotli').compress(bytes(10**6))
    else:
        packed = pytest.importorskip('backports.zstd').compress(bytes(10**6))
    answers = [said(packed, f'Content-Encoding: {coding}'), said(packed[:-1], f'Content-Encoding: {coding}')]
    with FaultServer([READ, answers[0]] * 2, [READ, answers[1]]) as server, Client(server.host) as client:
        assert client.request('GET', '/', stream=stream, max_body=10**6).data == bytes(10**6)
        assert coding in server.requests[0].headers['accept-encoding']
        with pytest.raises(BodyTooLarge):
            _ = client.request('GET', '/', stream=stream, max_body=10**6 - 1).data
    with FaultServer([READ, answers[1]]) as server, Client(server.host) as client, pytest.raises(TruncatedBody):
        _ = client.request('GET', '/', stream=stream).data


def test_streamed_answers_in_a_pool() -> None:
    """Streamed answers come out of `wait_unordered` at their heads; errors among them are values as ever."""
    with (
        serve(lambda method, path, *_: (500 if 'bad' in path else 200, None, path * 1000)) as server,
        ClientPool(simultaneous=4) as pool,
    ):
        for path in '/a', '/bad', '/c':
            pool.request(server.host, 'GET', path, stream=True)
        seen = {}
        for answer in pool.wait_unordered(timeout=5):
            seen[answer.request.url] = answer.read() if isinstance(answer, Response) else answer.status
        assert seen == {'/a': b'/a' * 1000, '/bad': 500, '/c': b'/c' * 1000}
        pool.request(server.host, 'GET', '/d', stream=True)
        [answer] = pool.wait(timeout=5)
        assert not isinstance(answer, Timeout)
        answer.close()
