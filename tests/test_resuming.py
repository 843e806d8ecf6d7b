"""Downloads that go on where they broke off, and requests for what has changed only."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import gevent.os
import gevent.socket
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
    Request,
    Response,
    TruncatedBody,
)
from napixclient.rest import Client as RestClient
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import begin, in_thread, run
from tests.helpers_proxy import on_some_port, path_of
from tests.kit import wait_until
from tests.test_bodies import error_of

pytestmark = pytest.mark.usefixtures('oracle')

DATA = bytes(i * 7 % 251 for i in range(300_000))
OTHER = bytes(i * 11 % 241 for i in range(200_000))
OLD = 'Mon, 02 Jan 2023 10:00:00 GMT'
NEW = 'Tue, 03 Jan 2023 10:00:00 GMT'
RETRIES = urllib3.Retry(5, backoff_factor=0)


class Store(kit.Server):
    """An object with ranges, whose answers break off behind so many bytes each, while there are such numbers."""

    def __init__(self, *breaks: int, data: bytes = DATA, **fields: str) -> None:
        self.data = data
        self.breaks = list(breaks)
        self.fields = {name.replace('_', '-'): value for name, value in fields.items()}
        self.ranges = True
        self.heeds = True  # If-Range
        self.whole_head = True  # whether a whole answer has a length, else it is in chunks
        self.says: dict[str, str] = {}  # fields of a 206 instead of the right ones
        super().__init__()

    def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and fields."""
        fields = {'ETag': '"1"', **self.fields}
        fields = {name: value for name, value in fields.items() if value}
        asked = re.fullmatch(r'bytes=(\d+)-', headers.get('range', ''))
        if_range = headers.get('if-range')
        matches = not self.heeds or if_range in (None, fields.get('ETag'), fields.get('Last-Modified'))
        if asked is None or not self.ranges or not matches:
            return 200, self.data, fields
        first = int(asked[1])
        if first >= len(self.data):
            return 416, b'', {'Content-Range': f'bytes */{len(self.data)}'}
        fields['Content-Range'] = f'bytes {first}-{len(self.data) - 1}/{len(self.data)}'
        return 206, self.data[first:], {**fields, **self.says}

    def talk(self, peer: kit.Peer) -> None:
        """Answer until one breaks off."""
        while True:
            request = self.read(peer)
            status, body, fields = self.part(request.headers)
            end = self.breaks.pop(0) if self.breaks and status < 400 else None
            framing = {'Content-Length': str(len(body))} if self.whole_head else {'Transfer-Encoding': 'chunked'}
            lines = [f'{name}: {value}' for name, value in {**framing, **fields}.items()]
            peer.send('\r\n'.join([f'HTTP/1.1 {status} Said', *lines, '', '']).encode())
            sent = body if end is None else body[:end]
            peer.send(sent if self.whole_head else b'%x\r\n%b\r\n' % (len(sent), sent) if sent else b'')
            if end is not None:
                return
            peer.send(b'' if self.whole_head else b'0\r\n\r\n')


def ask(client: Any, url: str = '/object', **options: Any) -> Any:
    """A streamed answer."""
    return client.request('GET', url, stream=True, **options)


def asked(server: kit.Server, name: str = 'range') -> list[str | None]:
    """That field of each request."""
    return [request.headers.get(name) for request in server.requests]


def rest_of(path: Path) -> list[str]:
    """What there is beside the file."""
    return sorted(other.name for other in path.parent.iterdir() if other != path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to save."""
    return tmp_path / 'saved'


# In one call ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('chunked', [False, True])
@pytest.mark.parametrize('there', [False, True])
@pytest.mark.parametrize(
    ('fields', 'validator'),
    [
        ({'ETag': '"a"', 'Last_Modified': OLD}, '"a"'),
        ({'ETag': 'W/"1"', 'Last_Modified': OLD}, OLD),
        ({'ETag': '', 'Last_Modified': OLD}, OLD),
        ({'ETag': '', 'Last_Modified': OLD, 'Date': NEW}, OLD),
    ],
)
def test_it_goes_on(fields: Any, validator: str, there: bool, chunked: bool, path: Path) -> None:
    """After each break the rest is asked for, if it is still of the same object; the file is whole, and alone."""
    if there:
        path.write_bytes(b'before')
        path.chmod(0o640)
    with Store(1000, 0, 50_000, **fields) as server, Client(server.host, retries=RETRIES) as client:
        server.whole_head = not chunked
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and rest_of(path) == []
        assert asked(server) == [None, 'bytes=1000-', 'bytes=1000-', 'bytes=51000-']
        assert asked(server, 'if-range') == [None, *[validator] * 3]
        assert asked(server, 'accept-encoding')[1:] == ['identity'] * 3
        assert stat.S_IMODE(path.stat().st_mode) == (0o640 if there else 0o666 & ~umask())
        assert client.stats()['in_flight'] == 0


def umask() -> int:
    """That of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    'fields',
    [
        *({'ETag': ''}, {'ETag': 'W/"1"'}, {'ETag': 'bare'}, {'ETag': '', 'Last_Modified': 'soon'}),
        {'ETag': '', 'Last_Modified': OLD, 'Date': OLD},
    ],
)
def test_without_a_strong_validator_it_begins_anew(fields: Any, path: Path) -> None:
    """What cannot be told from another object is asked for whole, within the retries; nothing of it stays."""
    with Store(1000, 2000, **fields) as server, Client(server.host, retries=RETRIES) as client:
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None] * 3 and rest_of(path) == []
        server.breaks = [1000]
        with pytest.raises(TruncatedBody):
            ask(client, retries=False).save(path, resume=True)
        assert path.read_bytes() == DATA and rest_of(path) == []


@pytest.mark.parametrize('how', ['If-Range', 'a server that does not heed it', 'no ranges'])
def test_what_has_changed_begins_anew(how: str, path: Path) -> None:
    """An object that is another one by the time of the break is saved whole, and nothing of the old one is in it."""
    with Store(1000) as server, Client(server.host, retries=RETRIES) as client:
        response = ask(client)
        server.data, server.fields = OTHER, {'ETag': '"2"'}
        server.heeds, server.ranges = how != 'a server that does not heed it', how != 'no ranges'
        assert response.save(path, resume=True) == len(OTHER)
        assert path.read_bytes() == OTHER and rest_of(path) == []
        assert asked(server) == [None, 'bytes=1000-', *([None] if not server.heeds else [])]


WRONG = [
    *('bytes 0-299999/300000', 'bytes 999-299999/300000', 'bytes 1001-299999/300000', 'bytes 1000-999/300000'),
    *('bytes 1000-300000/300000', 'bytes 1000-299998/300000', 'bytes 1000-', 'items 1000-299999/300000', ''),
    *('bytes */300000', 'bytes 1000-99999999999999999999999/*'),
]


@pytest.mark.parametrize('wrong', WRONG)
def test_a_wrong_part_is_never_added(wrong: str, path: Path) -> None:
    """A 206 that is not the part that was asked for is an error as a malformed answer is, and begins anew."""
    path.write_bytes(b'before')
    with Store(1000) as server, Client(server.host) as client:
        server.says = {'Content-Range': wrong}
        with pytest.raises(TruncatedBody):
            ask(client).save(path, resume=True)
        with pytest.raises(InvalidResponse, match='cannot go on') as caught:
            ask(client).save(path, resume=True)
        assert caught.value.request.headers == {} and caught.value.status == 206
        assert path.read_bytes() == b'before' and rest_of(path) == []
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA
    with Store(1000) as server, Client(server.host, retries=RETRIES) as client:
        server.says = {'Content-Range': wrong}
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None, 'bytes=1000-', None]


def test_a_short_part_is_followed_by_another(path: Path) -> None:
    """A server that sends less than was asked for is asked for the rest, which is no retry."""

    class Sparing(Store):
        """Sends 100,000 bytes at most."""

        def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
            """Of a range."""
            status, body, fields = super().part(headers)
            if status == 206:
                first, body = len(DATA) - len(body), body[:100_000]
                fields['Content-Range'] = f'bytes {first}-{first + len(body) - 1}/{len(DATA)}'
            return status, body, fields

    with Sparing(1000) as server, Client(server.host) as client:
        assert ask(client, retries=1).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA
        assert asked(server) == [None, 'bytes=1000-', 'bytes=101000-', 'bytes=201000-']


@pytest.mark.parametrize('status', [204, 302, 304])
def test_an_answer_that_is_neither_whole_nor_a_part(status: int, path: Path) -> None:
    """It is an error, and what has come stays."""

    class Odd(Store):
        """Answers so to a range."""

        def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
            """The second time."""
            found = super().part(headers)
            return found if found[0] == 200 else (status, b'', {'Location': '/x'})

    with Odd(1000) as server, Client(server.host, retries=RETRIES) as client:
        error = error_of(lambda: ask(client).save(path, resume=True))
        assert isinstance(error, InvalidResponse) and str(status) in str(error)
        assert rest_of(path) == ['saved.part', 'saved.part.validator']


def test_retries_are_one_account(path: Path) -> None:
    """As many breaks are borne as `retries` allow, also of requests for the rest; the last one is raised."""
    with Store(*[1000] * 9) as server, Client(server.host) as client:
        with pytest.raises(TruncatedBody) as caught:
            ask(client, retries=3).save(path, resume=True)
        assert asked(server) == [None, 'bytes=1000-', 'bytes=2000-', 'bytes=3000-']
        assert caught.value.request.url == '/object' and (path.parent / 'saved.part').stat().st_size == 4000
    for options in ({}, {'retries': False}, {'retries': urllib3.Retry(9, allowed_methods=['PUT'])}):
        with Store(1000) as server, Client(server.host) as client, pytest.raises(TruncatedBody):
            ask(client, **options).save(path.with_name('other'), resume=True)  # type: ignore[arg-type]
        assert len(server.requests) == 1


def test_a_retry_waits_for_a_server_that_is_busy(path: Path) -> None:
    """The request for the rest is one as any other: its retries bear a 503, and another error status is raised."""

    class Busy(Store):
        """Answers a range with an error, while there are such."""

        refusals = [503, 503, 404]

        def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
            """The error, or else the part."""
            found = super().part(headers)
            return (self.refusals.pop(0), b'', {}) if found[0] == 206 and self.refusals else found

    retries = urllib3.Retry(9, status_forcelist=[503], backoff_factor=0)
    with Busy(1000) as server, Client(server.host, retries=retries) as client:
        with pytest.raises(RemoteError) as caught:
            ask(client).save(path, resume=True)
        assert caught.value.status == 404 and len(server.requests) == 4
        assert ask(client).save(path, resume=True) == len(DATA) and path.read_bytes() == DATA


def test_the_total_time_is_that_of_all(path: Path) -> None:
    """A pause for which there is no time left is none: the break is the error, and what has come stays."""
    with Store(1000, 1000, 1000) as server, Client(server.host) as client:
        slow = urllib3.Retry(9, backoff_factor=1000)
        error = error_of(lambda: ask(client, retries=slow, timeout=kit.LONG).save(path, resume=True))
        assert isinstance(error, TruncatedBody) and len(server.requests) == 2  # urllib3's first pause is none
    with Mute() as server, Client(server.host) as client:
        error = error_of(lambda: ask(client, retries=9, timeout=1).save(path.with_name('other'), resume=True))
        assert isinstance(error, DeadlineExceeded) and len(server.requests) == 2
        assert (path.parent / 'other.part').read_bytes() == DATA[:5000]


class Mute(Store):
    """Breaks off its first answer, and never sends the rest."""

    def talk(self, peer: kit.Peer) -> None:
        """Half of it, or nothing."""
        if 'range' not in self.read(peer).headers:
            peer.send(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 300000\r\n\r\n' + DATA[:5000])
        else:
            peer.socket.recv(1)


class Stuck(Store):
    """Sends the beginning, and waits."""

    def talk(self, peer: kit.Peer) -> None:
        """The beginning of each answer."""
        self.read(peer)
        peer.send(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 300000\r\n\r\n' + DATA[:5000])
        peer.socket.recv(1)


def test_max_body_is_that_of_the_whole(path: Path) -> None:
    """A part that would make it too large is refused; one that makes it exactly as large is not."""
    with Store(1000, 1000) as server, Client(server.host, retries=RETRIES) as client:
        server.whole_head = False
        assert ask(client, max_body=len(DATA)).save(path, resume=True) == len(DATA)
        server.breaks = [1000]
        error = error_of(lambda: ask(client, max_body=len(DATA) - 1).save(path, resume=True))
        assert isinstance(error, BodyTooLarge)


def test_nothing_is_a_whole_object_too(path: Path) -> None:
    """An object of no bytes is saved as a file of none."""
    with Store(data=b'') as server, Client(server.host) as client:
        for chunked in False, True:
            server.whole_head = not chunked
            assert ask(client).save(path, resume=True) == 0 and path.read_bytes() == b'' and rest_of(path) == []


# Over calls ----------------------------------------------------------------------------------------------------------


def broken(server: Store, client: Any, path: Path, at: int = 1000, **options: Any) -> None:
    """Save it up to there."""
    server.breaks = [at]
    with pytest.raises(TruncatedBody):
        ask(client, **options).save(path, resume=True)
    server.requests.clear()


def test_the_next_call_goes_on(path: Path) -> None:
    """The answer that it has is closed, and the rest is asked for; the file that was there is as it was until then."""
    path.write_bytes(b'before')
    with Store() as server, Client(server.host, simultaneous=1) as client:
        broken(server, client, path)
        assert path.read_bytes() == b'before' and rest_of(path) == ['saved.part', 'saved.part.validator']
        assert (path.parent / 'saved.part').read_bytes() == DATA[:1000]
        kept = json.loads((path.parent / 'saved.part.validator').read_text())
        assert kept['validator'] == '"1"' and '/object' not in str(kept)
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and rest_of(path) == []
        assert asked(server) == [None, 'bytes=1000-'] and asked(server, 'if-range') == [None, '"1"']


def test_all_of_it_was_there(path: Path) -> None:
    """What had come whole, but was not put in its place, is not asked for again; a 416 says the same."""
    with Store() as server, Client(server.host) as client:
        broken(server, client, path, len(DATA) - 1)
        with open(path.parent / 'saved.part', 'ab') as part:
            part.write(DATA[-1:])
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None]
        server.whole_head = False
        broken(server, client, path, len(DATA) - 1)
        with open(path.parent / 'saved.part', 'ab') as part:
            part.write(DATA[-1:])
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None, f'bytes={len(DATA)}-']


@pytest.mark.parametrize('whole_head', [False, True])
def test_a_416_of_less_begins_anew(whole_head: bool, path: Path) -> None:
    """Where the server has less than has come, something is wrong: it is asked for whole."""
    with Store() as server, Client(server.host) as client:
        server.whole_head = whole_head
        broken(server, client, path, len(DATA) - 1)
        with open(path.parent / 'saved.part', 'ab') as part:
            part.write(b'more than there is')
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and rest_of(path) == []
        assert asked(server) == [None, f'bytes={len(DATA) + 17}-', None]


@pytest.mark.parametrize('what', ['object', 'url', 'validator', 'no JSON', 'other JSON', 'no validator'])
def test_what_is_of_something_else_is_not_gone_on_with(what: str, path: Path) -> None:
    """A part of another URL, of an object that has changed, or of which nobody knows what it is: it begins anew."""
    with Store() as server, Client(server.host) as client:
        broken(server, client, path)
        file = path.parent / 'saved.part.validator'
        if what == 'object':
            server.data, server.fields = OTHER, {'ETag': '"2"'}
        elif what == 'validator':
            file.write_text(file.read_text().replace('1', '2'))
        elif what == 'no JSON':
            file.write_text('{"url')
        elif what == 'other JSON':
            file.write_text('[1]')
        elif what == 'no validator':
            file.unlink()
        expected = server.data
        assert ask(client, '/other' if what == 'url' else '/object').save(path, resume=True) == len(expected)
        assert path.read_bytes() == expected and rest_of(path) == [] and asked(server) == [None]


@pytest.mark.parametrize('how', ['timeout', 'cancel', 'close'])
def test_who_is_interrupted_goes_on(how: str, path: Path) -> None:
    """A clock of the caller's own, a cancellation and the end of the pool leave what has come as a break does."""
    part = path.parent / 'saved.part'
    with Stuck() as server, Client(server.host) as client:
        response = ask(client, retries=RETRIES)
        if how == 'timeout':
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
                response.save(path, resume=True)
        else:
            saving = gevent.spawn(error_of, lambda: response.save(path, resume=True))
            wait_until(part.exists, 'the part')
            gevent.sleep(0.05)
            (response.cancel if how == 'cancel' else client.close)()
            assert isinstance(saving.get(timeout=kit.LONG), Cancelled)
        response.close()
        assert part.read_bytes() == DATA[:5000] and len(server.requests) == 1


def test_one_at_a_time(path: Path) -> None:
    """Whoever saves the same file meanwhile is told so, and disturbs nothing."""
    with Store() as server, Client(server.host, simultaneous=4) as client:
        broken(server, client, path)
        first, second = ask(client), ask(client)
        held = threading.Event()

        class Slow(Store):
            """Waits with the rest."""

            def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
                """When it is told to."""
                if 'range' in headers:
                    while not held.is_set():
                        gevent.sleep(0.01)
                return super().part(headers)

        server.__class__ = Slow
        saving = gevent.spawn(first.save, path, True)
        wait_until(lambda: len(server.requests) == 3, 'the request for the rest')
        with pytest.raises(BlockingIOError, match='somebody else'):
            second.save(path, resume=True)
        second.close()
        held.set()
        assert saving.get(timeout=kit.LONG) == len(DATA) and path.read_bytes() == DATA and rest_of(path) == []


def test_nothing_is_written_through_a_link(path: Path) -> None:
    """A part that is a link, or no file at all, is left alone; the file itself may be reached through one."""
    with Store() as server, Client(server.host) as client:
        victim = path.with_name('victim')
        victim.write_bytes(b'precious')
        (path.parent / 'saved.part').symlink_to(victim)
        with pytest.raises(OSError, match='symbolic'), ask(client) as response:
            response.save(path, resume=True)
        (path.parent / 'saved.part').unlink()
        os.mkfifo(path.parent / 'saved.part')
        with pytest.raises(OSError, match='regular'), ask(client) as response:
            response.save(path, resume=True)
        assert victim.read_bytes() == b'precious' and not path.exists()
        (path.parent / 'saved.part').unlink()
        path.symlink_to(victim)
        assert ask(client).save(path, resume=True) == len(DATA)
        assert path.is_symlink() and victim.read_bytes() == DATA and rest_of(path) == ['victim']


def test_what_cannot_be_resumed_is_refused(path: Path) -> None:
    """Another method, a Range of the caller's own, and a path that is no file: a ValueError, before anything is read."""
    with Store() as server, Client(server.host) as client:
        for method, headers in ('POST', {}), ('GET', {'Range': 'bytes=1-'}):
            with client.request(method, '/', headers=headers, stream=True) as response:
                with pytest.raises(ValueError, match='resume=True'):
                    response.save(path, resume=True)
        with ask(client) as response, pytest.raises(ValueError, match='regular'):
            response.save('/dev/null', resume=True)
        with ask(client) as response, pytest.raises(FileNotFoundError):
            response.save(path.parent / 'no' / 'saved', resume=True)
        for begin in (lambda answer: answer.read(5), lambda answer: next(answer.iter_bytes(5))):
            with ask(client) as response, pytest.raises(ValueError, match='nothing was read'):
                begin(response)  # its place in the file would not be that in the body
                response.save(path, resume=True)
        assert rest_of(path) == [] and not path.exists()


# Content codings -----------------------------------------------------------------------------------------------------


class Packing(Store):
    """Sends gzip to whom accepts it, with another ETag; ranges are those of what it sends."""

    stubborn = False

    def part(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        """In gzip, or as it is."""
        if not self.stubborn and 'gzip' not in headers.get('accept-encoding', ''):
            return super().part(headers)
        plain, self.data = self.data, gzip.compress(self.data, mtime=0)
        self.fields = {'ETag': '"1-gzip"', 'Content-Encoding': 'gzip'}
        try:
            return super().part(headers)
        finally:
            self.data, self.fields = plain, {}


def test_what_is_decoded_is_asked_for_without_its_coding(path: Path) -> None:
    """A place in what was decoded is none in what was coded: it is asked for as it is, and so can go on, in each call."""
    with Packing(9_000_000, 1000) as server, Client(server.host) as client:
        assert ask(client, retries=1).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None, None, 'bytes=1000-']
        server.requests.clear()
        server.breaks = [9_000_000, 1000]
        with pytest.raises(TruncatedBody):
            ask(client).save(path, resume=True)
        assert ask(client).save(path, resume=True) == len(DATA) and path.read_bytes() == DATA
        assert asked(server) == [None, None, None, 'bytes=1000-'] and rest_of(path) == []


def test_a_coding_that_nobody_takes_away_begins_anew(path: Path) -> None:
    """A server that always sends gzip has the whole of it asked for again, and it is decoded."""
    with Packing(9_000_000, 200) as server, Client(server.host) as client:
        server.stubborn = True
        assert ask(client, retries=1).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and asked(server) == [None] * 3 and rest_of(path) == []


def test_as_it_came(path: Path) -> None:
    """With `decode=False` the coded bytes go on as such, and are asked for in their coding."""
    with Packing(200) as server, Client(server.host, decode=False) as client:
        assert ask(client, retries=1).save(path, resume=True) == path.stat().st_size
        assert path.read_bytes() == gzip.compress(DATA, mtime=0)
        assert asked(server) == [None, 'bytes=200-'] and asked(server, 'accept-encoding')[1] == 'gzip'
        server.breaks = [200]
        with pytest.raises(TruncatedBody):
            ask(client).save(path, resume=True)
        assert ask(client, decode=True).save(path, resume=True) == len(DATA)  # what is there is no part of that
        assert path.read_bytes() == DATA and rest_of(path) == []


# A real server -------------------------------------------------------------------------------------------------------

NGINX = """
daemon off; master_process off; error_log {directory}/error.log; pid {directory}/pid;
events {{ worker_connections 64; }}
http {{
    access_log {directory}/access.log; default_type application/octet-stream; types {{ application/json json; }}
    client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
    uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e; gzip_types application/json; gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port}; root {directory};
        location /untagged/ {{ alias {directory}/; etag off; }}
        location /packed/ {{ alias {directory}/; gzip on; }}
        location /whole/ {{ alias {directory}/; max_ranges 0; }}
    }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[int]:
    """The port of one that serves a directory."""
    directory = tmp_path / 'served'
    directory.mkdir()
    directory.chmod(0o755)
    tmp_path.chmod(0o755)
    (directory / 'object').write_bytes(DATA)
    (directory / 'object.json').write_bytes(DATA)
    for name in 'object', 'object.json':
        os.utime(directory / name, (1_600_000_000, 1_600_000_000))

    def command(port: int) -> list[str]:
        (directory / 'nginx.conf').write_text(f'user root; {NGINX}'.format(directory=directory, port=port))
        return [
            path_of('nginx'),
            '-p',
            str(directory),
            '-c',
            str(directory / 'nginx.conf'),
            '-e',
            str(directory / 'e0'),
        ]

    with on_some_port(command) as port:
        yield port


@contextmanager
def breaking(port: int, *breaks: int) -> Iterator[str]:
    """The host of a relay to that port: each of its first connections ends behind so many bytes of the answer."""
    left = list(breaks)

    def relay(near: Any, _: object) -> None:
        most = left.pop(0) if left else None
        far = gevent.socket.create_connection(('127.0.0.1', port))
        ways = [gevent.spawn(pump, near, far, None), gevent.spawn(pump, far, near, most)]
        gevent.wait(ways, count=1)
        gevent.killall(ways)
        near.close()
        far.close()

    server = StreamServer(('127.0.0.1', 0), relay)
    server.start()
    try:
        yield f'127.0.0.1:{server.server_port}'
    finally:
        server.stop()


def pump(source: Any, sink: Any, most: int | None) -> None:
    """Bytes from one socket to another, so many at most."""
    with suppress(OSError):
        while most != 0 and (data := source.recv(65536 if most is None else min(most, 65536))):
            sink.sendall(data)
            most = None if most is None else most - len(data)


@pytest.mark.parametrize('url', ['/object', '/untagged/object', '/whole/object', '/packed/object.json'])
def test_nginx(url: str, nginx: int, path: Path) -> None:
    """By its ETag, by its date, without ranges, and in gzip unless it is asked not to: the file is whole."""
    with breaking(nginx, 50_000, 60_000) as host, Client(host, retries=RETRIES, simultaneous=1) as client:
        assert ask(client, url).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA and not (path.parent / 'saved.part').exists()
    with breaking(nginx, 50_000, 60_000) as host, Client(host) as client:
        for _ in range(9):
            try:
                assert ask(client, url).save(path, resume=True) == len(DATA)
                break
            except TruncatedBody:
                continue
        assert path.read_bytes() == DATA


def test_nginx_answers_with_304(nginx: int) -> None:
    """What it has said of an answer asks it again, until the object has changed."""
    with Client(f'127.0.0.1:{nginx}') as client, ClientPool() as pool:
        for url in '/object', '/untagged/object', '/packed/object.json':
            first = client.request('GET', url)
            asked = first.conditional()
            assert ('if-none-match' in asked) == (url != '/untagged/object') and 'if-modified-since' in asked
            again = client.request('GET', url, headers=asked)
            assert (again.status, again.body, again.data) == (304, None, b'')
            assert client.request('GET', url, headers={**again.conditional(), 'X-Own': 'a'}).status == 304
            with ask(client, url, headers=asked) as streamed:
                assert streamed.status == 304 and streamed.conditional() == again.conditional()
            pool.request(client.host, 'GET', url, headers=asked)
        assert [(type(answer), answer.status) for answer in pool.wait()] == [(Response, 304)] * 3
        answer = RestClient(f'http://127.0.0.1:{nginx}').get('/object', headers=first.conditional(), success=304)
        assert answer.status_code == 304 and 'if-none-match' in answer.conditional()


# Conditions ----------------------------------------------------------------------------------------------------------


def answer(*fields: str, status: int = 200, **asked: str) -> Response:
    """One with these fields."""
    request = Request('h', 'GET', '/', headers={name.replace('_', '-'): value for name, value in asked.items()})
    return Response(request, status, '\r\n'.join([f'HTTP/1.1 {status} Said', *fields]).encode('latin-1'), b'', 0.1)


@pytest.mark.parametrize(
    ('response', 'expected'),
    [
        (answer(), {}),
        (answer('ETag: "a"'), {'If-None-Match': '"a"'}),
        (answer('etag: W/"a"'), {'If-None-Match': 'W/"a"'}),
        (answer('ETag: bare'), {'If-None-Match': 'bare'}),
        (answer('ETag: "a"', 'ETag: "a"'), {'If-None-Match': '"a"'}),
        (answer('ETag: "a"', 'ETag: "b"', f'Last-Modified: {OLD}'), {'If-Modified-Since': OLD}),
        (answer('ETag: "a, b"', f'Last-Modified: {OLD}'), {'If-None-Match': '"a, b"', 'If-Modified-Since': OLD}),
        (answer('ETag: "\xe9"'), {'If-None-Match': '"é"'}),
        (
            answer(status=304, If_None_Match='"a"', If_Modified_Since=OLD),
            {'If-None-Match': '"a"', 'If-Modified-Since': OLD},
        ),
        (answer('ETag: "b"', status=304, If_None_Match='"a", "b"'), {'If-None-Match': '"b"'}),
        (answer(If_None_Match='"a"'), {}),
    ],
)
def test_conditional(response: Response, expected: dict[str, str]) -> None:
    """What an answer says of itself is what it is asked again by; a 304 that says nothing stands for what was asked."""
    assert dict(response.conditional()) == expected


# Other faces ---------------------------------------------------------------------------------------------------------


def test_the_conditions_of_the_caller_are_not_those_of_the_rest(path: Path) -> None:
    """A request for what has changed only that breaks off asks for its rest without that condition."""
    with Store(1000) as server, Client(server.host, retries=RETRIES) as client:
        fields = {'If-None-Match': '"0"', 'If-Modified-Since': OLD, 'X-Own': 'a'}
        assert ask(client, headers=fields).save(path, resume=True) == len(DATA)
        assert asked(server, 'if-none-match') == ['"0"', None] and asked(server, 'if-modified-since') == [OLD, None]
        assert asked(server, 'x-own') == ['a', 'a']


def test_a_client_that_nobody_holds(path: Path) -> None:
    """The answer alone is enough to go on."""
    with Store(1000, 1000) as server:
        assert ask(Client(server.host, retries=RETRIES)).save(path, resume=True) == len(DATA)
        assert path.read_bytes() == DATA


def test_a_pool_and_a_redirect(path: Path) -> None:
    """The request itself is sent again: to its own host, by way of its redirects, and signed anew."""
    moved = kit.serve(lambda *_: (302, {'Location': f'http://{server.host}/object'}, None))
    with Store(1000) as server, moved, ClientPool(retries=RETRIES, redirect=True) as pool:
        pool.request(moved.host, 'GET', '/here', stream=True)
        (response,) = pool.wait()
        assert response.save(path, resume=True) == len(DATA)  # type: ignore[union-attr]
        assert path.read_bytes() == DATA and asked(server) == [None, 'bytes=1000-'] and len(moved.requests) == 2


@pytest.fixture
def store() -> Iterator[Store]:
    """One that breaks off twice."""
    with Store(1000, 50_000) as server:
        yield server


@in_thread
def test_a_thread(store: Store, path: Path) -> None:
    """A thread saves as greenlets do."""
    with SharedPool(retries=1) as pool:
        for _ in range(2):
            try:
                response: Any = pool.request(store.host, 'GET', '/object', stream=True).result()
                size = response.save(path, resume=True)
                break
            except HTTPError as error:
                assert isinstance(error, TruncatedBody) and (path.parent / 'saved.part').stat().st_size == 51_000
        assert size == len(DATA) and path.read_bytes() == DATA and rest_of(path) == []
        assert asked(store) == [None, 'bytes=1000-', None, 'bytes=51000-']


TAGGED = b'HTTP/1.1 %s\r\nETag: "1"\r\nContent-Length: %d\r\n'


@pytest.fixture(params=['pause', 'answer'])
def broken_off(request: pytest.FixtureRequest) -> Iterator[kit.FaultServer]:
    """Breaks off, so that a retry waits long; or breaks off, and says nothing more in the answer with the rest."""
    whole = [kit.READ, TAGGED % (b'200 OK', 9) + b'\r\nabc', kit.CLOSE]
    silent = [kit.READ, TAGGED % (b'206 P', 6) + b'Content-Range: bytes 3-8/9\r\n\r\n', kit.SILENCE]
    with kit.FaultServer(whole, whole if request.param == 'pause' else silent) as server:
        server.seconds = 60 if request.param == 'pause' else 0  # type: ignore[attr-defined]
        yield server


@pytest.mark.parametrize('end', ['close', 'cancel'])
def test_the_answer_ends_what_follows_it(broken_off: Any, path: Path, end: str) -> None:
    """`close()` and `cancel()` end a download that waits to ask for the rest, or reads it; what has come stays."""
    retries = urllib3.Retry(3, backoff_factor=broken_off.seconds)
    with Client(broken_off.host, simultaneous=1, retries=retries) as client:
        response: Any = client.request('GET', '/', stream=True)
        reader = gevent.spawn(error_of, lambda: response.save(path, resume=True))
        gevent.sleep(0.1)  # it has come as far as it comes
        getattr(response, end)()
        error = reader.get(timeout=kit.LONG)
        assert isinstance(error, Cancelled) and error.request is response.request
        assert rest_of(path) == ['saved.part', 'saved.part.validator']
        wait_until(lambda: client.stats()['in_flight'] == 0)


def test_another_thread_ends_what_follows(broken_off: Any, path: Path) -> None:
    """As another greenlet does."""
    with SharedPool(retries=urllib3.Retry(3, backoff_factor=broken_off.seconds)) as pool:
        response: Any = run(lambda: pool.request(broken_off.host, 'GET', '/', stream=True).result())
        reader = begin(error_of, lambda: response.save(path, resume=True))
        gevent.sleep(0.1)  # it has come as far as it comes
        run(response.cancel)
        assert isinstance(reader.get(timeout=kit.LONG), Cancelled)


# Forks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('there', [False, True])
@pytest.mark.parametrize('resume', [False, True])
def test_a_fork_meanwhile(resume: bool, there: bool, tmp_path: Path) -> None:
    """In the child of a fork a file that is being saved is the parent's: nothing is written to it, or removed."""
    data = DATA[:6000]  # of which a file keeps the beginning in its buffer
    head = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 6000\r\n\r\n'
    path = tmp_path / 'saved'
    if there:
        path.write_bytes(OTHER)
    with (
        kit.FaultServer([kit.READ, head + data[:3000], kit.LATER, data[3000:]]) as server,
        Client(server.host) as client,
    ):
        answer: Any = client.request('GET', '/', stream=True)

        def save() -> int | Cancelled:
            try:
                return int(answer.save(path, resume=resume))
            except Cancelled as error:
                return error

        saving = gevent.spawn(save)
        wait_until(lambda: client.stats()['bytes'] >= 3000)
        kit.turn()
        before = sorted(os.listdir(tmp_path))
        child = gevent.os.fork_and_watch()
        if not child:
            saving.join(10)
            kept = sorted(os.listdir(tmp_path)) == before
            os._exit(0 if isinstance(saving.value, Cancelled) and kept else 1)
        assert gevent.os.waitpid(child, 0)[1] == 0
        server.later.set()
        assert saving.get(timeout=10) == len(data)
        assert path.read_bytes() == data
        assert os.listdir(tmp_path) == ['saved']
