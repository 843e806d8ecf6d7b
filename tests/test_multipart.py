"""Forms with files in them: read while they are sent, of known length where it can be known, sent again where it can."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import urllib3
from urllib3.fields import RequestField

from napixclient import Client, ClientPool, HTTPError, ProtocolError, Request
from napixclient.aio import AsyncPool
from napixclient.rest import Client as RestClient
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread
from tests.helpers_pool import failure
from tests.kit import READ, RST, FaultServer, serve
from tests.test_bodies import parts_of

pytestmark = pytest.mark.usefixtures('oracle')

RETRIES = urllib3.Retry(2, status_forcelist=[503], allowed_methods=None)


class Pipe:
    """A file that can only be read, once and in pieces."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest = 0

    def read(self, size: int) -> bytes:
        """So many bytes at most."""
        assert size > 0
        self.largest = max(self.largest, size)
        size = min(size, self.left)
        self.left -= size
        return b'x' * size


class Again:
    """An iterable that begins anew each time."""

    def __iter__(self) -> Iterator[bytes | str]:
        yield b'a'
        yield ''
        yield 'é'


def opened(directory: Path, data: bytes, name: str = 'disk.png') -> Any:
    """A file with that content."""
    (directory / name).write_bytes(data)
    return open(directory / name, 'rb')


# What arrives --------------------------------------------------------------------------------------------------------


def test_a_form_of_files(tmp_path: Path) -> None:
    """Files and iterables arrive with the names and types that they have, or that they are given."""
    with serve() as server, Client(server.host) as client, opened(tmp_path, b'\x89PNG\r\n--') as file:
        text = io.StringIO('grüße')
        form = {
            'plain': 'a text',
            'number': 1.5,
            'disk': file,
            'unnamed': io.BytesIO(b'b'),
            'named': ('n.json', io.BytesIO(b'{}')),
            'typed': ('n', iter([b'1', '2']), 'application/x-disk'),
            'text': ('t.txt', text),
            'listed': ('l', [b'3', '4']),
            'again': ('g.bin', Again()),
            'bare': (None, b'no file'),
            'untyped': ('u', b'', None),
        }
        client.request('POST', '/', multipart=form)
        other = 'application/octet-stream'
        assert parts_of(server.requests[0]) == [
            ('plain', None, 'text/plain', b'a text'),
            ('number', None, 'text/plain', b'1.5'),
            ('disk', 'disk.png', 'image/png', b'\x89PNG\r\n--'),
            ('unnamed', 'unnamed', other, b'b'),
            ('named', 'n.json', 'application/json', b'{}'),
            ('typed', 'n', 'application/x-disk', b'12'),
            ('text', 't.txt', 'text/plain', 'grüße'.encode()),
            ('listed', 'l', other, b'34'),
            ('again', 'g.bin', other, 'aé'.encode()),
            ('bare', None, 'text/plain', b'no file'),
            ('untyped', 'u', 'text/plain', b''),
        ]
        assert 'content-length' not in server.requests[0].headers


def test_a_known_length_is_told(tmp_path: Path) -> None:
    """Files that tell their size, from where they stand, are counted; one that cannot makes it go in chunks."""
    with serve() as server, Client(server.host) as client, opened(tmp_path, b'0123456789' * 30_000) as file:
        file.seek(7)
        form = [('a', 'b'), ('f', file), ('f', io.BytesIO(b'')), ('f', file)]
        client.request('POST', '/', multipart=form)
        client.request('POST', '/', multipart=[*form, ('g', ('g', Again()))])
        counted, chunked = server.requests
        assert 'transfer-encoding' not in counted.headers and len(counted.body) == int(
            counted.headers['content-length']
        )
        assert [len(part[3]) for part in parts_of(counted)] == [1, 299_993, 0, 299_993] and file.tell() == 7
        assert chunked.headers['transfer-encoding'] == 'chunked' and parts_of(chunked)[:4] == parts_of(counted)


def test_nothing_is_read_whole() -> None:
    """What is held of a large form does not grow with it."""
    pipe = Pipe(50_000_000)

    def large() -> Iterator[bytes]:
        for _ in range(500):
            yield b'y' * 100_000

    seen = []

    class Counting(kit.Server):
        """Keeps nothing of what it reads."""

        def talk(self, peer: kit.Peer) -> None:
            """Count until the last boundary."""
            size, tail = 0, b''
            while not tail.endswith(b'--\r\n\r\n0\r\n\r\n'):
                data = peer.socket.recv(1 << 16)
                size, tail = size + len(data), (tail + data)[-20:]
            seen.append(size)
            peer.send(b'HTTP/1.1 204 No Content\r\n\r\n')

    with Counting() as server, Client(server.host) as client:
        tracemalloc.start()
        try:
            client.request('POST', '/', multipart={'p': ('p', pipe), 'l': ('l', large())})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert seen[0] > 100_000_000 and peak < 5_000_000 and pipe.largest < 1_000_000


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        ('a "b".txt', b'filename="a %22b%22.txt"'),
        ('a\r\nB: c', b'filename="a%0D%0AB: c"'),
        ('a\\b;c', b'filename="a\\b;c"'),
        ('büro 100%22.txt', 'filename="büro 100%22.txt"'.encode()),
        ('\udcff.bin', b'filename="\xff.bin"'),
        (b'\xff.bin', b'filename="\xff.bin"'),
        ('', b'filename=""'),
    ],
)
@pytest.mark.parametrize('value', [b'x', Again()])
def test_names_are_escaped_as_html_says(name: Any, written: bytes, value: Any) -> None:
    """Quotes and line ends of a file name, and of a field's, are percent-encoded; the rest is as it is, in UTF-8."""
    with serve() as server, Client(server.host) as client:
        client.request('POST', '/', multipart={'f"\r\n': (name, value)})
        head = server.requests[0].body.partition(b'\r\n\r\n')[0]
        assert head.split(b'\r\n')[1] == b'Content-Disposition: form-data; name="f%22%0D%0A"; ' + written


@pytest.mark.parametrize(
    'value',
    [
        *(object(), None, {'a': 'b'}, ['a'], iter([b'a']), Path('a'), True),
        *(('name',), ('name', b'', 'a/b', {}, 1), ('name', None), ('name', {}), ('name', 5.5j), (7, b'x')),
        *(('name', b'x', 7), ('name', b'x', 'a/b\r\nX: y'), ('na\0me', b'x'), ('name', [7])),
        *(('name', b'x', None, fields) for fields in (5, 'text', {'X Y': 'z'}, {'X': 'y\r\nZ: z'}, {'X': object()})),
        RequestField('f', b'x', None, {'X\r\nY': 'z'}),
    ],
    ids=repr,
)
def test_what_is_no_field(value: Any) -> None:
    """It is refused when the request is made, and what is wrong is told."""
    with pytest.raises((TypeError, ValueError)) as caught:
        Request('h', 'POST', '/', multipart=[value] if isinstance(value, RequestField) else {'f': value})
    assert str(caught.value)
    for fields in 5, 'text', [5], [('a', 'b', 'c')], {7: 'a'}, object():
        with pytest.raises((TypeError, ValueError)):
            Request('h', 'POST', '/', multipart=fields)  # type: ignore[arg-type]


# Once more -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['file', 'iterable'])
def test_once_more_after_a_status_a_break_and_a_redirect(kind: str, tmp_path: Path) -> None:
    """A form whose parts can be read again is the same each time, from where its files stood."""
    left: list[Any] = [(503, None, None), (307, {'Location': '/there'}, None), (204, None, None)]
    with (
        FaultServer([READ, RST], handler=lambda *_: left.pop(0)) as server,
        Client(server.host, redirect=True) as client,
        opened(tmp_path, b'0123456789') as file,
    ):
        file.seek(5)
        value = file if kind == 'file' else ('g', Again())
        assert client.request('POST', '/', multipart={'a': 'b', 'f': value}, retries=RETRIES).status == 204
        first, *others = server.requests
        assert [kit.sent(other).partition(b'\r\n\r\n')[2] for other in others] == [
            kit.sent(first).partition(b'\r\n\r\n')[2]
        ] * 3
        assert parts_of(first)[1][3] == (b'56789' if kind == 'file' else 'aé'.encode())
        assert server.requests[3].path == '/there'


def test_what_can_be_read_once_goes_once() -> None:
    """As soon as anything was read of it the request is not tried again, and a redirect that asks for it is an error."""
    with serve(lambda *_: (503, None, None)) as server, Client(server.host) as client:
        error = failure(client, 'POST', '/', multipart={'a': 'b', 'f': ('f', iter([b'x']))}, retries=RETRIES)
        assert error.status == 503 and len(server.requests) == 1
    with serve(lambda *_: (307, {'Location': '/x'}, None)) as server, Client(server.host, redirect=True) as client:
        error = failure(client, 'POST', '/', multipart={'f': Pipe(9)})
        assert isinstance(error, ProtocolError) and 'cannot be read again' in str(error)
    with kit.FaultServer(listening=False) as server, Client(server.host) as client:
        gevent.spawn_later(0.05, server.listen)
        assert client.request('POST', '/', multipart={'f': Pipe(9)}, retries=urllib3.Retry(9, backoff_factor=0.1))


def test_one_file_to_many_hosts(tmp_path: Path) -> None:
    """All of them may send the same open file at once."""
    data = os.urandom(200_000)
    with serve() as one, serve() as two, ClientPool() as pool, opened(tmp_path, data) as file:
        for server in one, two, one, two:
            pool.request(server.host, 'POST', '/', multipart={'f': file, 'g': ('again', file)})
        assert [answer.status for answer in pool.wait()] == [200] * 4
        for request in *one.requests, *two.requests:
            assert [part[3] == data for part in parts_of(request)] == [True, True]


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_part_that_fails() -> None:
    """What reading it raises is the cause of the error; nothing of it is taken for a whole form."""

    def broken() -> Iterator[bytes]:
        yield b'a'
        raise OSError('the disk is gone')

    class Shrunk(io.BytesIO):
        """Shorter than it said."""

        def read(self, size: int | None = -1) -> bytes:
            """Half of it."""
            return super().read(size) if size == 0 else super().read(4) if self.tell() < 4 else b''

    for value, message in (
        (broken(), 'the disk is gone'),
        (Shrunk(b'12345678'), 'the file ended 4 bytes before its length'),
        (iter([7]), 'a piece of a body is bytes or text, not int'),
    ):
        with serve() as server, Client(server.host) as client:
            error = failure(client, 'POST', '/', multipart={'f': ('f', value), 'g': 'behind'})
            assert isinstance(error, HTTPError) and message in str(error.__cause__)
            assert not server.requests and client.request('GET', '/').status == 200


def test_a_file_that_grows_ends_where_it_ended(tmp_path: Path) -> None:
    """What is appended while the form waits is no part of it, and what stands behind it is whole."""
    with serve() as server, Client(server.host) as client, opened(tmp_path, b'abc') as file:
        request = Request(server.host, 'POST', '/', multipart={'f': file, 'g': 'behind'})
        with open(file.name, 'ab') as other:
            other.write(b'more')
        assert client.send(request).get().status == 200
        assert [part[3] for part in parts_of(server.requests[0])] == [b'abc', b'behind']


# Faces ---------------------------------------------------------------------------------------------------------------


def test_a_rest_client_sends_files(tmp_path: Path) -> None:
    """`multipart` is an option of its verbs."""
    with serve(lambda *_: (200, None, {})) as server, opened(tmp_path, b'abc') as file:
        RestClient(server.url).post('/', multipart={'f': file})
        assert parts_of(server.requests[0]) == [('f', 'disk.png', 'image/png', b'abc')]


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers 200."""
    with serve() as server:
        yield server


@in_thread
def test_a_thread_sends_files(server: kit.Server, tmp_path: Path) -> None:
    """Files are read at the other side of the border."""
    with SharedPool() as pool, opened(tmp_path, b'abc' * 100_000) as file:
        assert pool.request(server.host, 'POST', '/', multipart={'f': file}).result().status == 200
        assert parts_of(server.requests[0])[0][3] == b'abc' * 100_000


@in_loop
async def test_a_task_sends_files(server: kit.Server, tmp_path: Path) -> None:
    """So they are for asyncio."""
    async with AsyncPool() as pool:
        with opened(tmp_path, b'abc') as file:
            assert (await pool.request(server.host, 'POST', '/', multipart={'f': file})).status == 200
        assert parts_of(server.requests[0])[0][3] == b'abc'
