"""What servers do wrong, and what must come of it: one table of scripts, each row under the same oracle.

The oracle: an answer's body carries the id of its request; each request ends exactly once, in time; the hub is never
held; descriptors, greenlets and slots come back, and then good requests to the same host succeed; another host is not
slowed; nothing but an HTTPError comes out, nothing is printed. The numbers are those of docs/faults.rst.
"""

from __future__ import annotations

import gzip
import socket as stdlib_socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    BodyTooLarge,
    Cancelled,
    Client,
    ClientPool,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPError,
    NameResolutionError,
    PendingResponse,
    ProtocolError,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Response,
    Timeout,
    TruncatedBody,
)
from tests import kit
from tests.kit import (
    ANSWER,
    CLOSE,
    FIN,
    ID,
    LATER,
    READ,
    RST,
    SILENCE,
    Drip,
    FaultServer,
    Forever,
    Gate,
    Pause,
    Script,
    next_id,
    serve,
    wait_until,
)

pytestmark = [pytest.mark.usefixtures('oracle'), pytest.mark.timed]

READ_TIMEOUT, CONNECT_TIMEOUT, TOTAL = 0.3, 0.3, 0.8
LIMITS = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT, total=TOTAL)
LATE = kit.limit(0.25)  # seconds after its deadline that a request may end
SLOWEST = kit.limit(0.1)  # seconds that a request to a healthy host may take meanwhile


# The table -----------------------------------------------------------------------------------------------------------

Expected = int | type[HTTPError]


@dataclass
class Row:
    """A fault: what the server's first connections play, what is asked, one request after the other, what must come."""

    number: str
    scripts: list[Script]
    expect: list[Expected | tuple[Expected, ...]]  # one for each request; a tuple names alternatives
    ask: tuple[str, ...] = ()  # the methods; GET unless told
    within: float = 0.0  # seconds that a request may take, and LATE beside them
    reads: tuple[int, ...] = ()  # how often the server reads each request; once unless told
    attempts: tuple[int, ...] = ()  # how often each was tried; as often as it was read unless told
    gone: bool = False  # after the first, wait until the server sees the client leave
    closes: bool = True  # an error ends the connection
    server: type[FaultServer] = FaultServer
    how: dict[str, Any] = field(default_factory=dict)  # for the server
    options: dict[str, Any] = field(default_factory=dict)
    schemes: tuple[str, ...] = ('http', 'https')

    def __post_init__(self) -> None:
        self.ask = self.ask or ('GET',) * len(self.expect)
        self.reads = self.reads or (1,) * len(self.expect)
        self.attempts = self.attempts or self.reads

    @property
    def timeout(self) -> Any:
        """Short clocks where one of them is to end the request: elsewhere a machine that stops for a while would."""
        return LIMITS if self.expect[0] in (ConnectTimeout, ReadTimeout, DeadlineExceeded) else kit.LONG


def answer(*headers: str, body: bytes = b'', status: str = '200 OK', version: str = 'HTTP/1.1') -> bytes:
    """The bytes of an answer with just these headers."""
    return '\r\n'.join([f'{version} {status}', *headers, '', '']).encode('latin-1') + body


def informational(status: int) -> bytes:
    """An answer that is not the final one."""
    return b'HTTP/1.1 %d Well\r\n\r\n' % status


def chunked(*body: bytes) -> bytes:
    """The head of a chunked answer, and these bytes after it."""
    return answer('Transfer-Encoding: chunked', body=b''.join(body))


def zipped(*headers: str, body: bytes) -> bytes:
    """An answer that says its body is packed by gzip."""
    return answer('Content-Encoding: gzip', f'Content-Length: {len(body)}', *headers, body=body)


def hidden(block: bytes = bytes(10**6), times: int = 400) -> bytes:
    """A gzip body that grows a thousandfold: one packed block, over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b'') + packer.flush(zlib.Z_FULL_FLUSH)
    return head + (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * times


def moved(target: bytes) -> bytes:
    """A redirect."""
    return answer(f'Location: {target.decode()}', 'Content-Length: 0', status='302 Found')


RIGHT = answer('Content-Length: 6', body=ID)
POISON = answer('Content-Length: 6', body=b'poison')
PACKED = gzip.compress(bytes(range(256)) * 40)
BOMB = hidden()

TABLE = [
    # row, what the first connections play, what must come, …
    Row('1 refused', [], [RefusedError], reads=(0,), how={'listening': False}),
    Row('2 connect hangs', [], [ConnectTimeout], within=CONNECT_TIMEOUT, reads=(0,), server=kit.FullServer),
    Row('3 accepted, then silence', [[READ, SILENCE]], [ReadTimeout], within=READ_TIMEOUT),
    Row('3 silence within the head', [[READ, b'HTTP/1.1 200 OK\r\nA:', SILENCE]], [ReadTimeout], within=READ_TIMEOUT),
    Row(
        '3 silence within the body',
        [[READ, answer('Content-Length: 6', body=b'0'), SILENCE]],
        [ReadTimeout],
        within=READ_TIMEOUT,
    ),
    Row(
        '4 TLS handshake never answered',
        [],
        [ConnectTimeout],
        within=CONNECT_TIMEOUT,
        reads=(0,),
        server=kit.MuteAtFirst,
        schemes=('https',),
    ),
    Row('5 closed before any byte', [[READ, CLOSE]], [ProtocolError]),
    Row('5 closed before any byte of a POST', [[READ, CLOSE]], [ProtocolError], ask=('POST',)),
    Row('5 reset before any byte of a POST', [[READ, RST]], [ProtocolError], ask=('POST',)),
    Row('6 the second request closes, GET', [[READ, ANSWER, READ, CLOSE]], [200, 200], reads=(1, 2)),
    Row('6 the second request resets, GET', [[READ, ANSWER, READ, RST]], [200, 200], reads=(1, 2)),
    Row('6 the second request closes, POST', [[READ, ANSWER, READ, CLOSE]], [200, ProtocolError], ask=('GET', 'POST')),
    Row(
        '6 sent once more, not twice', [[READ, ANSWER, READ, CLOSE], [READ, CLOSE]], [200, ProtocolError], reads=(1, 2)
    ),
    Row('6 closes after the first byte', [[READ, ANSWER, READ, b'H', CLOSE]], [200, ProtocolError]),
    Row('7 idle connection closed, GET', [[READ, ANSWER, CLOSE]], [200, 200]),
    Row(
        '7 idle connection closed, POST',
        [[READ, ANSWER, LATER, FIN, SILENCE]],
        [200, 200],
        ask=('GET', 'POST'),
        gone=True,
    ),
    *[
        Row(f'7 {what} is not used again', [[READ, head, READ, POISON, SILENCE]], [200, 200], ask=('GET', 'POST'))
        for what, head in (
            ('one that says close', answer('Content-Length: 6', 'Connection: close', body=ID)),
            ('one of HTTP/1.0', answer('Content-Length: 6', version='HTTP/1.0', body=ID)),
        )
    ],
    Row('8 RST in the head', [[READ, b'HTTP/1.1 200 OK\r\nContent-', RST]], [ProtocolError]),
    Row('9 RST in the body', [[READ, answer('Content-Length: 6', body=b'000'), RST]], [TruncatedBody]),
    Row('9 RST in a chunk', [[READ, chunked(b'6\r\n000'), RST]], [TruncatedBody]),
    Row('9 RST in a body that the close ends', [[READ, answer(body=b'000'), RST]], [TruncatedBody]),
    Row('10 body shorter than its length', [[READ, answer('Content-Length: 6', body=b'000'), CLOSE]], [TruncatedBody]),
    Row('11 no final chunk', [[READ, chunked(b'6\r\n', ID, b'\r\n'), CLOSE]], [TruncatedBody]),
    Row('11 no end of the trailers', [[READ, chunked(b'6\r\n', ID, b'\r\n0\r\n'), CLOSE]], [TruncatedBody]),
    *[
        Row(
            f'12 chunk size {size}',
            [[READ, chunked(size.encode(), b'\r\n', ID, b'\r\n0\r\n\r\n'), SILENCE]],
            [ProtocolError],
        )
        for size in ('ZZ', '-5', '0x5', '1_0', str(2**70), f'{2**70:x}', '')
    ],
    *[
        Row(
            f'13 Content-Length {length}',
            [[READ, answer(f'Content-Length: {length}', body=b'000'), SILENCE]],
            [ProtocolError],
        )
        for length in ('-3', '3x', '+3', '3\r\nContent-Length: 4', '3, 4', str(2**70))
    ],
    Row('13 Content-Length 6, 6', [[READ, answer('Content-Length: 6, 6', body=ID), SILENCE]], [(200, ProtocolError)]),
    Row(
        '14 Content-Length with Transfer-Encoding',
        [
            [
                READ,
                answer('Content-Length: 6', 'Transfer-Encoding: chunked', body=b'6\r\n' + ID + b'\r\n0\r\n\r\n'),
                SILENCE,
            ]
        ],
        [ProtocolError],
    ),
    Row(
        '14 Transfer-Encoding on HTTP/1.0',
        [
            [
                READ,
                answer(
                    'Transfer-Encoding: chunked',
                    'Connection: keep-alive',
                    version='HTTP/1.0',
                    body=b'6\r\n' + ID + b'\r\n0\r\n\r\n',
                ),
                READ,
                POISON,
                SILENCE,
            ]
        ],
        [(200, ProtocolError), 200],
    ),
    *[
        Row(f'15 {status}, then 200 at once', [[READ, informational(status) + RIGHT]], [200, 200])
        for status in (100, 102, 103)
    ],
    *[
        Row(f'15 {status}, then 200 later', [[READ, informational(status), Pause(0.1), RIGHT]], [200, 200])
        for status in (100, 102, 103)
    ],
    Row('15 a 103 for each of two', [[READ, answer('Link: </a>', status='103 Early Hints'), RIGHT] * 2], [200, 200]),
    Row(
        '16 101 nobody asked for',
        [[READ, answer('Upgrade: x', 'Connection: upgrade', status='101 Switching'), SILENCE]],
        [ProtocolError, 200],
    ),
    Row('17 a few 100s', [[READ, informational(100) * 19, RIGHT]], [200, 200]),
    Row('17 endless 100s', [[READ, Forever(informational(100))]], [ProtocolError]),
    Row('17 thirty 100s', [[READ, informational(100) * 30, SILENCE]], [ProtocolError]),
    Row('18 a header of 300 KiB', [[READ, answer('A: ' + 'a' * 300 * 1024), SILENCE]], [ProtocolError]),
    Row('18 a header without end', [[READ, b'HTTP/1.1 200 OK\r\nA: ', Forever(b'a' * 1024)]], [ProtocolError]),
    Row('18 a reason without end', [[READ, b'HTTP/1.1 200 ', Forever(b'a' * 1024)]], [ProtocolError]),
    Row('18 5,000 headers', [[READ, answer(*(f'A{i}: a' for i in range(5000))), SILENCE]], [ProtocolError]),
    Row(
        '18 257 headers',
        [[READ, answer('Content-Length: 0', *(f'A{i}: a' for i in range(256))), SILENCE]],
        [ProtocolError],
    ),
    Row('18 256 headers', [[READ, answer('Content-Length: 6', *(f'A{i}: a' for i in range(255)), body=ID)]], [200]),
    Row('18 NUL', [[READ, answer('A: a\0b'), SILENCE]], [ProtocolError]),
    Row('18 no colon', [[READ, answer('A a'), SILENCE]], [ProtocolError]),
    Row('18 a fold that continues no field', [[READ, answer(' A: a'), SILENCE]], [ProtocolError]),
    Row('18 folds without end', [[READ, b'HTTP/1.1 200 OK\r\nA: a', Forever(b'\r\n b' * 256)]], [ProtocolError]),
    Row(
        '20 body dripped',
        [[READ, answer('Content-Length: 99'), Drip(b'x' * 99, 0.1)]],
        [DeadlineExceeded],
        within=TOTAL,
    ),
    Row('21 headers dripped', [[READ, Drip(answer('A: ' + 'a' * 99), 0.1)]], [DeadlineExceeded], within=TOTAL),
    Row(
        '22 gzip bomb',
        [[READ, zipped(body=BOMB)]],
        [BodyTooLarge],
        options={'max_body': 10**6},
        within=LATE,
        closes=False,
    ),
    Row(
        '22 six codings',
        [[READ, answer('Content-Encoding: ' + ', '.join(['gzip'] * 6), 'Content-Length: 6', body=ID)]],
        [ProtocolError],
        closes=False,
    ),
    *[
        Row(f'23 gzip cut after {cut}', [[READ, zipped(body=PACKED[:cut])]], [TruncatedBody], closes=False)
        for cut in (1, 9, len(PACKED) // 2, len(PACKED) - 8, len(PACKED) - 1)
    ],
    Row('23 gzip, but HEAD', [[READ, zipped(body=PACKED)[: -len(PACKED)]]], [200, 200], ask=('HEAD', 'GET')),
    *[
        Row(
            f'23 gzip, but {status}', [[READ, answer('Content-Encoding: gzip', status=f'{status} Well')]], [status, 200]
        )
        for status in (204, 304)
    ],
    Row('23 gzip, but zero bytes', [[READ, zipped(body=b'')]], [200, 200]),
    *[
        Row(
            f'24 {what} with a body at once',
            [[READ, head + extra, READ, POISON, SILENCE]],
            [status, 200],
            ask=(method, 'GET'),
        )
        for what, method, status, head, extra in (
            ('HEAD', 'HEAD', 200, answer('Content-Length: 50'), POISON),
            ('HEAD, chunked,', 'HEAD', 200, answer('Transfer-Encoding: chunked'), b'1\r\nx\r\n0\r\n\r\n'),
            ('204', 'GET', 204, answer(status='204 No Content'), POISON),
            ('304', 'GET', 304, answer('Content-Length: 50', status='304 Not Modified'), POISON),
        )
    ],
    *[
        Row(
            f'24 {what} with a body late',
            [[READ, head, LATER, extra, SILENCE]],
            [status, 200],
            ask=(method, 'GET'),
            gone=True,
        )
        for what, method, status, head, extra in (
            ('HEAD', 'HEAD', 200, answer('Content-Length: 50'), POISON),
            ('204', 'GET', 204, answer(status='204 No Content'), POISON),
            ('304', 'GET', 304, answer('Content-Length: 50', status='304 Not Modified'), POISON),
        )
    ],
    *[
        Row(f'24 {what} as it should be', [[READ, head]], [status, 200], ask=(method, 'GET'))
        for what, method, status, head in (
            ('HEAD', 'HEAD', 200, answer('Content-Length: 50')),
            ('HEAD, chunked,', 'HEAD', 200, answer('Transfer-Encoding: chunked')),
            ('304', 'GET', 304, answer('Content-Length: 50', status='304 Not Modified')),
        )
    ],
    Row('25 a second answer at once', [[READ, RIGHT + POISON, READ, POISON, SILENCE]], [200, 200]),
    Row('25 a second answer late', [[READ, RIGHT, LATER, POISON, SILENCE]], [200, 200], gone=True),
    Row(
        '30 a redirect to itself',
        [[READ, moved(b'/' + ID)] * 11],
        [ProtocolError],
        reads=(11,),
        attempts=(1,),
        options={'redirect': True},
        closes=False,
    ),
    Row(
        '30 ten redirects',
        [[READ, moved(b'/' + ID)] * 10],
        [200, 200],
        reads=(11, 1),
        attempts=(1, 1),
        options={'redirect': True},
    ),
    *[
        Row(
            f'30 a redirect to {target}',
            [[READ, moved(target.encode())]],
            [ProtocolError],
            closes=False,
            options={'redirect': True},
        )
        for target in (
            'ftp://127.0.0.1/',
            'javascript:alert(1)',
            'http://127.0.0.1:0/',
            'http://a b/',
            'http://u:p@127.0.0.1/',
            'http://[::1/',
            'http://127.0.0.1:99999/',
        )
    ],
    Row(
        '30 a redirect to a dead port',
        [[READ, moved(b'http://127.0.0.1:1/')]],
        [RefusedError],
        closes=False,
        options={'redirect': True},
        attempts=(1,),
    ),
    Row(
        '37 503 with Retry-After: 3600',
        [[READ, answer('Retry-After: 3600', 'Content-Length: 6', body=ID, status='503 Busy')]],
        [RemoteError],
        closes=False,
        options={'retries': urllib3.Retry(3, status_forcelist=[503])},
    ),
    *[
        Row(
            f'51 closes after {what}, {method}',
            [[READ, ANSWER] * answers + [CLOSE]] * 3,
            [200] * 3 * answers,
            ask=(method,) * 3 * answers,
        )
        for what, answers in (('each answer', 1), ('every 2nd', 2))
        for method in ('GET', 'PUT', 'POST')
    ],
    *[
        Row(
            f'52 {status} with a whole head, then {how}',
            [[READ, answer(*fields, status=status, body=body), end]],
            [int(status[:3])],
            ask=(method,),
        )
        for status, method in (
            ('431 Request Header Fields Too Large', 'GET'),
            ('413 Content Too Large', 'POST'),
            ('503 Busy', 'PUT'),
        )
        for fields, body in (
            (['Connection: close'], b''),
            (['Content-Length: 99'], b'too much'),
            (['Transfer-Encoding: chunked'], b'8\r\ntoo much'),
        )
        for how, end in (('a reset', RST), ('the end', CLOSE))
    ],
    *[
        Row(
            f'52 {status} that the end of the connection ends',
            [[READ, answer(*fields, status=status, body=body), CLOSE]],
            [int(status[:3])],
            closes=False,
        )
        for status, fields, body in (('404 Gone', ['Content-Encoding: gzip'], PACKED), ('599 Odd', [], b'odd'))
    ],
    *[
        Row(
            f'52 {status} whose coding is spoilt',
            [[READ, zipped(body=body).replace(b'200 OK', status.encode())]],
            [int(status[:3])],
            ask=('POST',),
            closes=False,
        )
        for status, body in (('404 Gone', b'no gzip'), ('503 Busy', PACKED[:-9]))
    ],
    Row(
        '52 a redirect whose body breaks off',
        [[READ, moved(b'/' + ID).replace(b'0\r\n\r\n', b'9\r\n\r\nmo'), RST]],
        [TruncatedBody],
        options={'redirect': True},
    ),
    Row('57 folded fields', [[READ, answer('A: a', ' b', 'Content-Length:', '\t6', body=ID)] * 2], [200, 200]),
    Row(
        '57 folded fields, cut within the fold',
        [[READ, b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nA: a\r\n', Pause(0.1), b' b\r\n\r\n', ID]],
        [200, 200],
    ),
    Row(
        '57 folded fields of a 103',
        [[READ, answer('Link: <a>,', ' <b>', status='103 Early Hints'), RIGHT] * 2],
        [200, 200],
    ),
    Row(
        '57 folded fields to HEAD', [[READ, answer('A: a', ' b', 'Content-Length: 6')]], [200, 200], ask=('HEAD', 'GET')
    ),
    Row(
        '57 folded fields and half a body',
        [[READ, answer('A: a', ' b', 'Content-Length: 6', body=b'000'), CLOSE]],
        [TruncatedBody],
    ),
    Row(
        '57 folded fields and a second answer at once',
        [[READ, answer('A: a', ' b', 'Content-Length: 6', body=ID) + POISON, READ, POISON, SILENCE]],
        [200, 200],
    ),
    Row('57 folded trailers', [[READ, chunked(b'6\r\n', ID, b'\r\n0\r\nA: a\r\n b\r\n\r\n')] * 2], [200, 200]),
    Row(
        '57 white space in chunk extensions',
        [[READ, chunked(b'6 ; a = "b"\r\n', ID, b'\r\n0 ;c\r\n\r\n')] * 2],
        [200, 200],
    ),
    Row(
        '57 empty elements around chunked',
        [[READ, answer('Transfer-Encoding: ,chunked\t,', body=b'6\r\n' + ID + b'\r\n0\r\n\r\n')] * 2],
        [200, 200],
    ),
    *[
        Row(
            f'57 status {status}',
            [[READ, answer('Content-Length: 6', status=f'{status} Odd', body=ID)]],
            [RemoteError, 200],
            closes=False,
        )
        for status in (600, 999)
    ],
    Row('25 half a second answer at once', [[READ, RIGHT + POISON[:9], READ, POISON, SILENCE]], [200, 200]),
]


# The oracle ----------------------------------------------------------------------------------------------------------


class Watched:
    """A request whose end is watched: that it comes once, and after how many seconds (of own_time)."""

    def __init__(self, pool: ClientPool, host: str, method: str = 'GET', timeout: Any = kit.LONG, **how: Any) -> None:
        self.id = next_id()
        self.method = method
        self.ends: list[float] = []
        body = {'id': self.id} if method == 'POST' else None
        self.began = kit.own_time()
        self.pending: PendingResponse = pool.request(
            host, method, f'/{self.id}', body, tag=self.id, timeout=timeout, **how
        )
        self.pending.rawlink(lambda _: self.ends.append(kit.own_time()))

    def outcome(self) -> Response | HTTPError:
        """Wait for the end, which is a value."""
        wait_until(lambda: self.ends, f'the end of {self.pending!r}')
        found = self.pending.value if self.pending.successful() else self.pending.exception
        assert isinstance(found, (Response, HTTPError)), repr(found)
        assert found.request.tag == self.id
        return found

    @property
    def took(self) -> float:
        """Seconds from the request to its end."""
        return self.ends[0] - self.began

    def assert_good(self) -> None:
        """A 200 with its own id."""
        found = self.outcome()
        assert isinstance(found, Response), repr(found)
        self.assert_right(found)

    def assert_right(self, found: Response) -> None:
        """What arrived is the answer to this request, where it has a body."""
        if found.data and found.status == 200:
            assert found.data in (self.id.encode(), bytes(range(256)) * 40)


def slots(pool: ClientPool, port: int) -> tuple[int, int]:
    """How many requests of the host on that port are queued and in flight."""
    for host, counted in pool.stats().items():
        if host.endswith(f':{port}'):
            return counted['queued'], counted['in_flight']
    return 0, 0


@contextmanager
def healthy(pool: ClientPool) -> Iterator[kit.Server]:
    """Meanwhile another host of the pool is asked again and again: it is right each time, and never slow."""
    asked: list[Watched] = []

    def ask() -> None:
        while True:
            asked.append(Watched(pool, server.host))
            asked[-1].pending.get()
            gevent.sleep(0.005)

    with serve() as server:
        Watched(pool, server.host).assert_good()
        asking = gevent.spawn(ask)
        gevent.sleep(0)
        try:
            yield server
        finally:
            gevent.sleep(0.01)
            asking.kill()
        for one in asked:
            one.assert_good()
        slowest = max(one.took for one in asked)
        assert slowest < SLOWEST, f'a healthy host took {slowest:.3f} s'


def matches(found: Response | HTTPError, expected: Any) -> bool:
    """Whether the outcome is the one expected, or one of those."""
    if isinstance(expected, tuple):
        return any(matches(found, one) for one in expected)
    if isinstance(expected, int):
        return isinstance(found, (Response, RemoteError)) and found.status == expected
    return isinstance(found, expected)


CASES = [
    pytest.param(row, scheme, id=f'{row.number}-{scheme}'.replace(' ', '-')) for row in TABLE for scheme in row.schemes
]


@pytest.mark.parametrize(('row', 'scheme'), CASES)
def test_fault(row: Row, scheme: str, authority: kit.Authority) -> None:
    """Whatever a server does wrong harms the request that met it, and nothing else."""
    tls = authority.server() if scheme == 'https' else None
    options = {'ca_certs': authority.ca_certs, **row.options}
    with row.server(*row.scripts, tls=tls, **row.how) as server, ClientPool(**options) as pool, healthy(pool):
        asked = []
        for method, expected, reads, attempts in zip(row.ask, row.expect, row.reads, row.attempts, strict=True):
            one = Watched(pool, server.host, method, row.timeout)
            asked.append(one)
            found = one.outcome()
            assert matches(found, expected), repr(found)
            assert one.took < row.within + LATE
            assert server.times_read(one.id) == reads
            if isinstance(found, HTTPError):
                assert found.status != 200
                assert found.attempts == max(attempts, 1)
                assert str(found)
            else:
                one.assert_right(found)
                assert found.attempts == attempts
            assert slots(pool, server.port) == (0, 0)
            server.later.set()
            if row.gone and len(asked) == 1:
                wait_until(lambda: not server.peers, 'the end of the connection')
        if isinstance(found, HTTPError) and row.closes:  # what broke half-way is closed
            wait_until(lambda: not server.peers, 'the end of the connection')
        server.relent()
        after = [Watched(pool, server.host, how) for how in ('GET', 'POST', 'GET', 'GET')]
        for one in after:
            one.assert_good()
        assert slots(pool, server.port) == (0, 0)
        assert all(len(one.ends) == 1 for one in asked + after)


# 19: more to read than there is time for -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('what', 'expected'),
    [
        ('body', (BodyTooLarge, DeadlineExceeded)),
        ('chunks', (BodyTooLarge, DeadlineExceeded)),
        ('trailers', (ProtocolError,)),
        ('informational', (ProtocolError,)),
    ],
)
def test_19_endless_at_full_speed(what: str, expected: tuple[type[HTTPError], ...]) -> None:
    """A server that always has more to send is stopped by a bound or the deadline, and nobody else notices."""
    with ClientPool(timeout=urllib3.Timeout(read=READ_TIMEOUT, total=TOTAL)) as pool, kit.flood() as host:
        with healthy(pool):
            memory = kit.rss()
            one = Watched(pool, host, 'GET', max_body=16 * 2**20)
            pending = pool.request(host, 'GET', f'/{what}/{next_id()}', max_body=16 * 2**20)
            began = kit.own_time()
            wait_until(pending.ready)
            assert kit.own_time() - began < TOTAL + LATE
            assert isinstance(pending.exception, expected), repr(pending.exception)
            assert kit.rss() - memory < 48 * 2**20
            one.assert_good()
            Watched(pool, host).assert_good()


@pytest.mark.parametrize('what', ['body', 'chunks'])
def test_19_endless_streamed(what: str) -> None:
    """A deadline ends a streamed body that has no end, in the midst of its reader's loop."""
    with ClientPool(timeout=urllib3.Timeout(read=READ_TIMEOUT, total=TOTAL)) as pool, kit.flood() as host:
        with healthy(pool):
            memory, began = kit.rss(), kit.own_time()
            answer = pool.request(host, 'GET', f'/{what}/{next_id()}', stream=True).get()
            with pytest.raises(DeadlineExceeded):
                for _ in answer.iter_bytes(65536):
                    gevent.sleep(0)
            assert kit.own_time() - began < TOTAL + LATE
            assert kit.rss() - memory < 48 * 2**20
            Watched(pool, host).assert_good()


def test_19_endless_streamed_to_nobody() -> None:
    """What a reader does not read is not read from the server either, and the deadline still holds."""
    with ClientPool(timeout=urllib3.Timeout(read=READ_TIMEOUT, total=TOTAL)) as pool, kit.flood() as host:
        with healthy(pool):
            memory = kit.rss()
            answer = pool.request(host, 'GET', f'/body/{next_id()}', stream=True).get()
            wait_until(lambda: slots(pool, int(host.rpartition(':')[2])) == (0, 0), 'the deadline')
            with pytest.raises(Timeout):
                while answer.read(65536):
                    pass
            assert kit.rss() - memory < 16 * 2**20
            Watched(pool, host).assert_good()


def test_22_bomb_takes_little_memory() -> None:
    """A body that unpacks to a thousand times its size is stopped at the bound, not after unpacking it."""
    with FaultServer([READ, zipped(body=BOMB), SILENCE]) as server, ClientPool(timeout=TOTAL) as pool:
        memory, high = kit.rss(), 0
        one = Watched(pool, server.host, max_body=10**6)

        def watch() -> None:
            nonlocal high
            while True:
                high = max(high, kit.rss())
                gevent.sleep(0.001)

        watching = gevent.spawn(watch)
        assert isinstance(one.outcome(), HTTPError)
        watching.kill()
        assert high - memory < 30 * 10**6


# 28 and 29: streamed bodies ------------------------------------------------------------------------------------------

BIG = b'x' * 10**6


def big(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
    """A handler: a large body where the path has `big` in it."""
    return (200, {}, BIG) if 'big' in path else kit.echo(method, path, headers, body)


@pytest.mark.parametrize('leave', ['close', 'with'])
def test_28_streamed_body_left_unread(leave: str) -> None:
    """A body that was left half read takes its connection with it, and its slot comes back."""
    with serve(big) as server, ClientPool(simultaneous=1, timeout=kit.LONG) as pool, healthy(pool):
        answer = pool.request(server.host, 'GET', '/big', stream=True).get()
        assert answer.read(16) == BIG[:16]
        assert slots(pool, server.port) == (0, 1)
        waiting = Watched(pool, server.host)
        assert slots(pool, server.port) == (1, 1)
        if leave == 'close':
            answer.close()
        else:
            with answer:
                pass
        waiting.assert_good()
        assert server.accepted == 2
        wait_until(lambda: len(server.peers) == 1, 'the end of the first connection')
        assert slots(pool, server.port) == (0, 0)


def test_28_streamed_body_read_to_its_end() -> None:
    """A body that was read to its end gives its connection back."""
    with serve(big) as server, ClientPool(simultaneous=1, timeout=kit.LONG) as pool:
        with pool.request(server.host, 'GET', '/big', stream=True).get() as answer:
            assert b''.join(answer.iter_bytes(1000)) == BIG
        Watched(pool, server.host).assert_good()
        assert server.accepted == 1


def test_28_streamed_body_with_more_behind_it() -> None:
    """What follows the end of a streamed body is nobody's: it goes with its connection."""
    with FaultServer([READ, RIGHT + POISON, READ, POISON, SILENCE]) as server, ClientPool(timeout=LIMITS) as pool:
        with pool.request(server.host, 'GET', '/000042', stream=True).get() as streamed:
            assert streamed.read() == b'000042'
        Watched(pool, server.host).assert_good()


def test_29_cancelled_while_streaming() -> None:
    """Who reads a streamed body that another greenlet cancels gets Cancelled, and the slot comes back."""
    script = [READ, answer('Content-Length: 1000', body=b'x' * 16), SILENCE]
    with FaultServer(script) as server, ClientPool(simultaneous=1, timeout=10) as pool, healthy(pool):
        pending = pool.request(server.host, 'GET', '/stream', stream=True)
        streamed = pending.get()
        assert streamed.read(16) == b'x' * 16
        reader = gevent.spawn(lambda: pytest.raises(Cancelled, streamed.read, 16))
        gevent.sleep(0)
        gevent.spawn(pending.cancel)
        reader.get(timeout=10)
        assert slots(pool, server.port) == (0, 0)
        Watched(pool, server.host).assert_good()
        wait_until(lambda: len(server.peers) == 1, 'the end of the first connection')


@pytest.mark.parametrize('where', ['queued', 'in flight', 'in the body'])
def test_29_cancelled(where: str) -> None:
    """A request that another greenlet cancels ends at once as Cancelled, and only it."""
    scripts = {
        'queued': [READ, SILENCE],
        'in flight': [READ, SILENCE],
        'in the body': [READ, answer('Content-Length: 6', body=b'0'), SILENCE],
    }
    with FaultServer(scripts[where]) as server, ClientPool(simultaneous=1, timeout=10) as pool, healthy(pool):
        first = Watched(pool, server.host)
        wait_until(lambda: server.requests, 'the request at the server')
        queued = Watched(pool, server.host)
        victim = queued if where == 'queued' else first
        gevent.spawn(victim.pending.kill)
        assert isinstance(victim.outcome(), Cancelled)
        if where == 'queued':
            assert slots(pool, server.port) == (0, 1)
            first.pending.cancel()
            assert isinstance(first.outcome(), Cancelled)
        else:
            queued.assert_good()
        Watched(pool, server.host).assert_good()
        assert server.times_read(queued.id) == (where != 'queued')
        assert len(first.ends) == len(queued.ends) == 1


def test_29_cancelled_while_connecting(authority: kit.Authority) -> None:
    """A request that is cancelled while its connection is being opened ends at once and leaves nothing behind."""
    with kit.FullServer() as full, kit.MuteAtFirst(tls=authority.server()) as mute:
        with ClientPool(timeout=10, ca_certs=authority.ca_certs) as pool, healthy(pool):
            for server in full, mute:
                one = Watched(pool, server.host)
                gevent.sleep(0.02)
                one.pending.cancel()
                assert isinstance(one.outcome(), Cancelled)
                assert slots(pool, server.port) == (0, 0)
                server.relent()
                Watched(pool, server.host).assert_good()


# 35: names -----------------------------------------------------------------------------------------------------------


def resolving(**answers: Any) -> Any:
    """A resolver that knows these names: an address, an error to raise, or an event to wait for."""

    def resolver(host: str, port: int) -> list[Any]:
        found = answers[host.partition('.')[0]]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, Event):
            found.wait()
            found = '127.0.0.1'
        return [(stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM, 6, '', (found, port))]

    return resolver


def test_35_name_does_not_resolve() -> None:
    """A name that is unknown fails its own requests, typed, and no other host's."""
    resolver = resolving(good='127.0.0.1', bad=stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, 'unknown'))
    with serve() as server, ClientPool(timeout=LIMITS, resolver=resolver) as pool, healthy(pool):
        bad = [Watched(pool, f'bad.example:{server.port}') for _ in range(5)]
        good = [Watched(pool, f'good.example:{server.port}') for _ in range(5)]
        for one in good:
            one.assert_good()
        for one in bad:
            assert isinstance(one.outcome(), NameResolutionError)
            assert one.took < LATE


def test_35_slow_name() -> None:
    """A name that takes too long fails its own requests as a ConnectTimeout; once it resolves, all is well."""
    known = Event()
    resolver = resolving(good='127.0.0.1', slow=known)
    with serve() as server, ClientPool(timeout=LIMITS, resolver=resolver) as pool, healthy(pool):
        slow = [Watched(pool, f'slow.example:{server.port}', timeout=LIMITS) for _ in range(5)]
        good = [Watched(pool, f'good.example:{server.port}') for _ in range(5)]
        for one in good:
            one.assert_good()
            assert one.took < SLOWEST
        for one in slow:
            assert isinstance(one.outcome(), Timeout)
            assert one.took < TOTAL + LATE
        assert isinstance(slow[0].outcome(), ConnectTimeout)
        known.set()
        Watched(pool, f'slow.example:{server.port}').assert_good()


def test_35_resolver_is_broken() -> None:
    """A resolver that raises something foreign fails its own requests, with that as the cause."""
    resolver = resolving(good='127.0.0.1', bad=ZeroDivisionError('boom'))
    with serve() as server, ClientPool(timeout=LIMITS, resolver=resolver) as pool, healthy(pool):
        one = Watched(pool, f'bad.example:{server.port}')
        found = one.outcome()
        assert isinstance(found, HTTPError)
        assert any(isinstance(cause, ZeroDivisionError) for cause in causes(found))
        Watched(pool, f'good.example:{server.port}').assert_good()


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


# 36: half of the world is dead ---------------------------------------------------------------------------------------


def test_36_500_of_1000_hosts_dead() -> None:
    """Five hundred hosts that refuse, hang or stay silent do not keep five hundred good ones from their answers."""
    limits = urllib3.Timeout(connect=1.5, read=1.5, total=2.0)
    addresses = [f'127.0.{i // 250 + 1}.{i % 250 + 1}' for i in range(500)]
    with (
        serve(address='0.0.0.0') as alive,
        kit.Mute(address='0.0.0.0') as mute,
        kit.FullServer(address='0.0.0.0') as full,
        FaultServer(listening=False, address='0.0.0.0') as refusing,
    ):
        dead = [(refusing, 300), (mute, 150), (full, 50)]
        homes = iter(addresses)
        hosts = [
            (server.at(next(homes)), RefusedError if server is refusing else Timeout)
            for server, count in dead
            for _ in range(count)
        ]
        with ClientPool(max_connections=1000) as pool:
            bad = []
            good = []
            for (host, expected), address in zip(hosts, addresses, strict=True):
                bad.append((Watched(pool, host, timeout=limits), expected))
                good.append(Watched(pool, alive.at(address)))
                if len(good) % 10 == 0:
                    kit.turn()
            for one in good:
                one.assert_good()
                assert one.took < kit.limit(1.0)
            for one, expected in bad:
                assert isinstance(one.outcome(), expected), repr(one.outcome())
                assert one.took < 2.0 + LATE
            assert all(len(one.ends) == 1 for one in good)
            Watched(pool, alive.host).assert_good()


# What is asked of a pool while things fail ---------------------------------------------------------------------------

PARTS: dict[str, dict[str, Any]] = {
    'CR LF in the method': {'method': 'GET\r\nX: y'},
    'a space in the method': {'method': 'GE T'},
    'no method': {'method': ''},
    'CONNECT': {'method': 'CONNECT'},
    'CR LF in the target': {'url': '/\r\nX: y'},
    'NUL in the target': {'url': '/\0'},
    'LF in the query': {'url': '/?\n'},
    'CR in a name': {'headers': {'X\r': 'y'}},
    'a colon in a name': {'headers': {'X:': 'y'}},
    'an empty name': {'headers': {'': 'y'}},
    'CR LF in a value': {'headers': {'X': 'y\r\nZ: z'}},
    'LF in a value': {'headers': {'X': 'y\nZ: z'}},
    'NUL in a value': {'headers': {'X': '\0'}},
    'Host': {'headers': {'Host': 'other'}},
    'host': {'headers': {'host': 'other'}},
    'Transfer-Encoding': {'headers': {'Transfer-Encoding': 'chunked'}},
    'a wrong Content-Length': {'headers': {'Content-Length': '7'}, 'body': b'123'},
    'two Content-Lengths': {'headers': [('Content-Length', '3'), ('content-length', '3')], 'body': b'123'},
    'CR LF in the host': {'host': '127.0.0.1\r\n'},
    'a path in the host': {'host': '127.0.0.1/x'},
}


@pytest.mark.parametrize('what', PARTS)
def test_33_parts_that_would_smuggle(what: str) -> None:
    """What would make another request, or another message, of a request is refused before anything is sent."""
    with serve() as server, ClientPool() as pool:
        parts = {'host': server.host, 'method': 'POST', 'url': '/', **PARTS[what]}
        with pytest.raises(ValueError, match='.'):
            pool.request(**parts)
        assert not server.accepted
        assert pool.wait() == []
        Watched(pool, server.host).assert_good()


def test_every_failure_is_a_value() -> None:
    """One of each failure through one pool: `wait` returns all of them, in the order asked, and raises nothing."""
    faults = [row for row in TABLE if len(row.expect) == 1 and row.server is FaultServer and not row.options]
    servers = [row.server(*row.scripts, **row.how) for row in faults]
    try:
        with ClientPool() as pool:
            for row, server in zip(faults, servers, strict=True):
                pool.request(server.host, 'GET', f'/{next_id()}', tag=server, timeout=row.timeout)
            answers = pool.wait()
            assert [found.request.tag for found in answers] == servers
            for row, found in zip(faults, answers, strict=True):
                assert matches(found, row.expect[0]), (row.number, found)
    finally:
        for server in servers:
            server.close()


def test_client_raises_what_the_pool_hands_out() -> None:
    """`Client.request` raises the typed error, and the next request succeeds."""
    with FaultServer([READ, answer('Content-Length: 6', body=b'0'), CLOSE]) as server:
        with Client(server.host, timeout=kit.LONG) as client:
            with pytest.raises(TruncatedBody) as caught:
                client.request('GET', '/000001')
            assert caught.value.request.url == '/000001'
            assert caught.value.remote_call == f'GET http://{server.authority}/000001'
            assert client.request('GET', '/000002').text == '000002'


def test_error_answers_keep_their_connection() -> None:
    """A well-framed 500 is a RemoteError, and its connection is used again."""
    with FaultServer([READ, answer('Content-Length: 4', status='500 Oops', body=b'boom')]) as server:
        with ClientPool(timeout=LIMITS) as pool:
            found = Watched(pool, server.host).outcome()
            assert isinstance(found, RemoteError)
            assert found.status == 500
            Watched(pool, server.host).assert_good()
            assert server.accepted == 1


def test_gate_counts_what_the_server_sees() -> None:
    """The instrument itself: a request that was aborted does not count any more when the next one is counted."""
    gate = Gate()
    with serve(gate=gate) as server, ClientPool(simultaneous=1, timeout=10) as pool:
        for _ in range(20):
            one = Watched(pool, server.host)
            gate.wait_for(1)
            one.pending.cancel()
        last = Watched(pool, server.host)
        wait_until(lambda: gate.arrived == 21)
        assert (gate.peak, gate.in_flight) == (1, 1)
        gate.open()
        last.assert_good()
