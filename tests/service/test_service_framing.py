"""Requests as bytes over real sockets: what two servers could read in two ways is refused, and the connection closed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from gevent import socket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napixclient.service.handler import Server
from tests import kit

SMUGGLED = b'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n'
HOST = b'Host: h\r\n'


class Echo:
    """The server under test before an application that tells what it was asked."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(1024)
        self.server = Server(
            listener, self.app, **{'connections': 100, 'header_seconds': 10.0, 'slow_seconds': 10.0, **options}
        )
        self.server.start()

    def app(self, environ: Any, start_response: Any) -> list[bytes]:
        """Note what was asked, once its body has been read."""
        body = b'' if environ['PATH_INFO'] == '/unread' else environ['wsgi.input'].read()
        self.asked.append((environ['REQUEST_METHOD'], environ['PATH_INFO'], body))
        start_response('200 OK', [('Content-Length', '2')])
        return [b'ok']

    def connect(self) -> Any:
        """Open a connection to it."""
        return socket.create_connection(('127.0.0.1', self.server.server_port), kit.LONG)

    def talk(self, data: bytes, end: bool = False) -> bytes:
        """What is answered to these bytes until the server closes; the client closes its side only if told."""
        with self.connect() as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            answer = b''
            while piece := sock.recv(65536):
                answer += piece
        return answer


@pytest.fixture(scope='module')
def echo() -> Iterator[Echo]:
    """A server."""
    running = Echo()
    yield running
    running.server.stop()


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers to several requests."""
    return [int(status) for status in re.findall(rb'HTTP/1\.1 (\d{3}) ', answer)]


def post(fields: bytes, body: bytes = b'') -> bytes:
    """A request with these fields."""
    return b'POST / HTTP/1.1\r\n' + HOST + fields + b'\r\n' + body


CHUNKED = b'Transfer-Encoding: chunked\r\n'
BAD_HEADS = {
    'two lengths': post(b'Content-Length: 3\r\n' + CHUNKED, b'0\r\n\r\n'),
    'two lengths, the other way round': post(CHUNKED + b'Content-Length: 3\r\n', b'0\r\n\r\n'),
    'two lengths, one of them empty': post(CHUNKED + b'Content-Length:\r\n', b'0\r\n\r\n'),
    'a blank before the colon': post(b'Content-Length : 3\r\n'),
    'a tab before the colon': post(b'Transfer-Encoding\t: chunked\r\n'),
    'a line without a colon': post(b'Content-Length 3\r\n'),
    'a line of one word': post(b'nothing\r\n'),
    'no name': post(b': x\r\n'),
    'a bare LF after a field': b'POST / HTTP/1.1\r\nHost: h\nContent-Length: 0\r\n\r\n',
    'a bare LF after the request line': b'GET / HTTP/1.1\nHost: h\r\n\r\n',
    'a bare LF as the end': b'GET / HTTP/1.1\r\nHost: h\r\n\n',
    'bare LFs only': b'GET / HTTP/1.1\nHost: h\n\n',
    'a bare CR in a value': post(b'X: a\rContent-Length: 3\r\n'),
    'a bare CR at the end of a line': post(b'X: a\r\r\n'),
    'a bare CR in the request line': b'GET /\r HTTP/1.1\r\n' + HOST + b'\r\n',
    'NUL in a value': post(b'X: a\0b\r\n'),
    'NUL in a name': post(b'X\0: a\r\n'),
    'a control character in a value': post(b'X: a\x0bb\r\n'),
    'a character that is no token': post(b'X(: a\r\n'),
    'a folded field': post(b'X: a\r\n b\r\n'),
    'a fold of a length': post(b'Content-Length:\r\n 3\r\n'),
    'a blank before the first field': b'GET / HTTP/1.1\r\n Host: h\r\n\r\n',
    'a line of blanks': post(b' \r\n'),
    'several lengths': post(b'Content-Length: 3\r\nContent-Length: 4\r\n'),
    'several equal lengths': post(b'Content-Length: 3\r\nContent-Length: 3\r\n'),
    'a list of lengths': post(b'Content-Length: 5, 5\r\n'),
    'a signed length': post(b'Content-Length: +5\r\n'),
    'a negative length': post(b'Content-Length: -1\r\n'),
    'a length with an underscore': post(b'Content-Length: 1_0\r\n'),
    'a hexadecimal length': post(b'Content-Length: 0x5\r\n'),
    'an empty length': post(b'Content-Length:\r\n'),
    'a length in digits that are not ASCII': post('Content-Length: \xb2\r\n'.encode('latin-1')),
    'an unknown coding': post(b'Transfer-Encoding: xchunked\r\n'),
    'identity': post(b'Transfer-Encoding: identity\r\n'),
    'a coding before chunked': post(b'Transfer-Encoding: gzip, chunked\r\n'),
    'chunked twice': post(b'Transfer-Encoding: chunked, chunked\r\n'),
    'chunked in two fields': post(CHUNKED + CHUNKED),
    'an empty coding': post(b'Transfer-Encoding:\r\n'),
    'chunked with a parameter': post(b'Transfer-Encoding: chunked;q=1\r\n'),
    'chunked with a vertical tab': post(b'Transfer-Encoding: \x0bchunked\r\n'),
    'chunked on HTTP/1.0': b'POST / HTTP/1.0\r\n' + HOST + CHUNKED + b'\r\n0\r\n\r\n',
    'two blanks in the request line': b'GET  / HTTP/1.1\r\n' + HOST + b'\r\n',
    'a blank at the end of the request line': b'GET / HTTP/1.1 \r\n' + HOST + b'\r\n',
    'a blank before the request line': b' GET / HTTP/1.1\r\n' + HOST + b'\r\n',
    'a tab in the request line': b'GET\t/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'a vertical tab in the request line': b'GET\x0b/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'four words': b'GET / x HTTP/1.1\r\n' + HOST + b'\r\n',
    'no version': b'GET /\r\n\r\n',
    'a version in small letters': b'GET / http/1.1\r\n' + HOST + b'\r\n',
    'a version of two digits': b'GET / HTTP/1.01\r\n' + HOST + b'\r\n',
    'a method that is no token': b'G(T / HTTP/1.1\r\n' + HOST + b'\r\n',
    'a control character in the target': b'GET /\x1b[2J HTTP/1.1\r\n' + HOST + b'\r\n',
    'NUL in the target': b'GET /\0 HTTP/1.1\r\n' + HOST + b'\r\n',
    'a target that is no path': b'GET x HTTP/1.1\r\n' + HOST + b'\r\n',
    'a URL of another scheme': b'GET ftp://h/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'a URL with a user': b'GET http://a@h/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'a URL of another host': b'GET http://other/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'an asterisk for GET': b'GET * HTTP/1.1\r\n' + HOST + b'\r\n',
    'no Host': b'GET / HTTP/1.1\r\n\r\n',
    'two Hosts': b'GET / HTTP/1.1\r\n' + HOST + HOST + b'\r\n',
    'two empty lines before it': b'\r\n\r\nGET / HTTP/1.1\r\n' + HOST + b'\r\n',
    'nothing of HTTP': b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n',
}


@pytest.mark.parametrize('name', BAD_HEADS)
def test_bad_head(echo: Echo, name: str) -> None:
    """It is answered 400 with the document of all refusals, nothing is run, and what follows is no request."""
    echo.asked.clear()
    answer = echo.talk(BAD_HEADS[name] + SMUGGLED)
    assert statuses(answer) == [400] and echo.asked == []
    head, _, body = answer.partition(b'\r\n\r\n')
    document = json.loads(body)
    assert b'\r\nConnection: close' in head and f'Content-Length: {len(body)}'.encode() in head
    assert (document['status'], document['title'], document['error_class']) == (400, 'Bad Request', 'BadRequest')
    assert document['error_text'] and document['request'].keys() == {'method', 'path'}


@pytest.mark.parametrize(
    ('head', 'status'),
    [
        (b'GET / HTTP/2.0\r\n' + HOST + b'\r\n', 505),
        (b'GET / HTTP/0.9\r\n' + HOST + b'\r\n', 505),
        (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505),
        (b'GET /' + b'x' * 9000 + b' HTTP/1.1\r\n' + HOST + b'\r\n', 414),
        (post(b'X: ' + b'x' * 70_000 + b'\r\n'), 431),
        (post(b'X: y\r\n' * 200), 431),
        (post(b'Content-Length: ' + b'9' * 5000 + b'\r\n'), 413),
        (b'x' * 100_000, 414),
    ],
)
def test_what_has_a_status_of_its_own(echo: Echo, head: bytes, status: int) -> None:
    """Another version, and what is too long, is told by its status; the connection is closed."""
    echo.asked.clear()
    assert statuses(echo.talk(head + SMUGGLED)) == [status] and echo.asked == []


@pytest.mark.parametrize(
    'head',
    [
        b'GET',
        b'GET / HTTP/1.1',
        b'GET / HTTP/1.1\r\n',
        b'GET / HTTP/1.1\r\nHost: h\r\n',
        b'GET / HTTP/1.1\r\nHost: h',
        b'GET / HTTP/1.1\r\nHost: h\r\n\r',
    ],
)
def test_a_head_without_end(echo: Echo, head: bytes) -> None:
    """Whoever ends in the middle of a head is told so, and nothing is run."""
    echo.asked.clear()
    assert statuses(echo.talk(head, end=True)) == [400] and echo.asked == []


GOOD = {
    'a length': (post(b'Content-Length: 3\r\n', b'abc'), ('POST', '/', b'abc')),
    'a length with zeros': (post(b'content-length:\t003 \r\n', b'abc'), ('POST', '/', b'abc')),
    'chunks': (post(CHUNKED, b'2\r\nab\r\n00a\r\n0123456789\r\n0\r\n\r\n'), ('POST', '/', b'ab0123456789')),
    'chunks in capitals': (
        post(b'TRANSFER-ENCODING:  Chunked\t\r\n', b'A\r\n0123456789\r\n0\r\n\r\n'),
        ('POST', '/', b'0123456789'),
    ),
    'chunk extensions': (
        post(CHUNKED, b'1;a\r\nx\r\n1 ; a = "q;\\"\r" ; b=c\r\ny\r\n'.replace(b'\r"', b'"') + b'0;z\r\n\r\n'),
        ('POST', '/', b'xy'),
    ),
    'trailers': (post(CHUNKED, b'1\r\nx\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n'), ('POST', '/', b'x')),
    'an empty line before it': (b'\r\nGET /a HTTP/1.1\r\n' + HOST + b'\r\n', ('GET', '/a', b'')),
    'the absolute form': (b'GET http://H/a%20b?x HTTP/1.1\r\n' + HOST + b'\r\n', ('GET', '/a b', b'')),
    'the absolute form without a path': (b'GET http://h?x HTTP/1.1\r\n' + HOST + b'\r\n', ('GET', '/', b'')),
    'an asterisk': (b'OPTIONS * HTTP/1.1\r\n' + HOST + b'\r\n', ('OPTIONS', '*', b'')),
    'bytes that are not ASCII': (
        b'GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\nX: \xff\r\nY:\r\nZ: a\tb\r\n\r\n',
        ('GET', '/\xc3\xa9', b''),
    ),
    'an upgrade with a body': (
        post(b'Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n', b'abc'),
        ('POST', '/', b'abc'),
    ),
}


@pytest.mark.parametrize('name', GOOD)
def test_good_requests_follow_each_other(echo: Echo, name: str) -> None:
    """What the grammar allows is read as it is meant, also where the next request was sent at once."""
    data, expected = GOOD[name]
    echo.asked.clear()
    last = b'GET /last HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n'
    assert statuses(echo.talk(data * 3 + last)) == [200] * 4
    assert echo.asked == [expected] * 3 + [('GET', '/last', b'')]


def test_http_1_0(echo: Echo) -> None:
    """HTTP/1.0 needs no Host, and its connection is closed unless it is asked to be kept."""
    echo.asked.clear()
    one = b'GET /a HTTP/1.0\r\n\r\n'
    kept = b'GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'
    assert statuses(echo.talk(kept + one + one)) == [200, 200]
    assert [path for _, path, _ in echo.asked] == ['/b', '/a']


BAD_CHUNKS = {
    'no digits': b'\r\nabc\r\n',
    'a sign': b'+1\r\na\r\n',
    'a prefix': b'0x1\r\na\r\n',
    'an underscore': b'1_0\r\n' + b'a' * 16,
    'a blank before': b' 1\r\na\r\n',
    'a blank behind': b'1 \r\na\r\n',
    'a bare LF': b'1\na\r\n',
    'a bare CR': b'1\ra\r\n',
    'a bare LF after the data': b'1\r\na\n0\r\n\r\n',
    'more than it says': b'1\r\nab\r\n',
    'less than it says': b'3\r\nab\r\n0\r\n\r\n',
    'a size of 17 digits': b'1' * 17 + b'\r\n',
    'a negative size': b'-1\r\n',
    'a letter': b'g\r\n',
    'an extension with LF': b'1;a\nb\r\nx\r\n',
    'an extension with CR': b'1;a="\r"\r\nx\r\n',
    'an extension without a name': b'1;\r\nx\r\n',
    'extensions without end': b'1;a=' + b'b' * 9000,
    'many extensions': (b'1;a=' + b'b' * 4000 + b'\r\nx\r\n') * 5,
    'a trailer without a colon': b'0\r\nX\r\n\r\n',
    'a trailer with a bare LF': b'0\r\nX: a\nY: b\r\n\r\n',
    'trailers without end': b'0\r\n' + b'X: y\r\n' * 200,
    'a folded trailer': b'0\r\nX: a\r\n b\r\n\r\n',
}


@pytest.mark.parametrize('name', BAD_CHUNKS)
def test_bad_chunks(echo: Echo, name: str) -> None:
    """A body that cannot be read is 400, the application never sees its end, and what follows is no request."""
    echo.asked.clear()
    answer = echo.talk(post(CHUNKED, BAD_CHUNKS[name]) + SMUGGLED, end=True)
    assert statuses(answer) == [400] and echo.asked == []


def test_a_body_that_is_left_unread(echo: Echo) -> None:
    """A little of it is passed over, more of it ends the connection: it is never taken for a request."""
    echo.asked.clear()
    unread = b'POST /unread HTTP/1.1\r\n' + HOST + b'Content-Length: %d\r\n\r\n'
    last = b'GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'
    assert statuses(echo.talk(unread % len(SMUGGLED) + SMUGGLED + last)) == [200, 200]
    large = SMUGGLED * 10_000
    assert statuses(echo.talk(unread % len(large) + large + last)) == [200]
    assert statuses(echo.talk(unread % 10**15)) == [200]
    expecting = unread.replace(b'\r\n\r\n', b'\r\nExpect: 100-continue\r\n\r\n')
    assert statuses(echo.talk(expecting % len(SMUGGLED) + SMUGGLED)) == [200]
    assert {path for _, path, _ in echo.asked} == {'/unread', '/last'}


def test_expect(echo: Echo) -> None:
    """Who waits for 100 gets it when the body is read, and only then."""
    head = b'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n'
    with echo.connect() as sock:
        sock.sendall(head)
        assert sock.recv(1000) == b'HTTP/1.1 100 Continue\r\n\r\n'
        sock.sendall(b'abc')
        assert sock.recv(12) == b'HTTP/1.1 200'


def test_a_head_is_refused_to_head_without_a_body(echo: Echo) -> None:
    """HEAD has no body in its refusal either, where the request line could be read."""
    answer = echo.talk(b'HEAD / HTTP/1.1\r\nX : y\r\n\r\n')
    assert statuses(answer) == [400] and answer.endswith(b'\r\n\r\n')


LINES = st.lists(
    st.sampled_from(
        [
            b'Host: h',
            b'Content-Length: 5',
            b'Content-Length: 0',
            b'Transfer-Encoding: chunked',
            b'Transfer-Encoding: gzip',
            b'X: y',
            b' folded',
            b'X : y',
            b'x',
            b'',
            b'Content-Length: 5, 5',
            b'\0',
            b'X: \r y',
        ]
    ),
    max_size=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.sampled_from([b'\r\n', b'\r\n', b'\r\n', b'\n']), st.binary(max_size=20))
def test_any_head(echo: Echo, lines: list[bytes], end: bytes, body: bytes) -> None:
    """Whatever is sent, each answer is whole and of a known status, and after the first refusal there is no other."""
    answer = echo.talk(b'POST / HTTP/1.1\r\n' + b''.join(line + end for line in lines) + b'\r\n' + body, end=True)
    found = statuses(answer)
    assert set(found) <= {200, 400, 505} and all(status == 200 for status in found[:-1])
