"""What is tried again, when, how often and at whose expense: every word of urllib3.Retry, the budget, the attempts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from email.utils import formatdate
from itertools import product
from pathlib import Path
from time import monotonic, time
from typing import Any

import gevent
import gevent.lock
import pytest
import urllib3
from gevent.event import Event

from napixclient import (
    Cancelled,
    Client,
    ClientPool,
    ConnectTimeout,
    DeadlineExceeded,
    HTTPError,
    ProtocolError,
    ReadTimeout,
    RefusedError,
    RemoteError,
    Request,
    Response,
    TLSError,
    TruncatedBody,
)
from napixclient.authenticators import LoginAuthenticator
from tests import kit
from tests.helpers_pool import ask, assert_right, failure
from tests.kit import ANSWER, CLOSE, READ, RST, SILENCE, FaultServer, Gate, serve, wait_until
from tests.side_by_side import side_by_side

pytestmark = pytest.mark.usefixtures('oracle')

Retry = urllib3.Retry
FORCED = [500, 503]
CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


class Counting(kit.HandlerServer):
    """Says these statuses first, then 200 with the id; `times` is when each request came, by two clocks."""

    def __init__(self, *statuses: int, fields: dict[str, str] | None = None, **options: Any) -> None:
        self.statuses = list(statuses)
        self.fields = fields or {}
        self.times: list[tuple[float, float]] = []
        super().__init__(self.say, **options)

    def say(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
        """The next of them."""
        self.times.append((monotonic(), kit.own_time()))
        if self.statuses:
            return self.statuses.pop(0), self.fields, 'no'
        return kit.echo(method, path, headers, body)

    def assert_waits(self, *expected: float) -> None:
        """Between its requests there were so many seconds, or a little more: of the wall clock, and of our own time."""
        pairs = list(zip(self.times, self.times[1:], strict=False))
        assert len(pairs) == len(expected)
        for (before, own_before), (after, own_after), least in [
            (*pair, least) for pair, least in zip(pairs, expected, strict=True)
        ]:
            assert after - before >= least, (self.times, expected)
            assert own_after - own_before < least + kit.limit(0.15), (self.times, expected)


class Refusing:
    """A port where nobody listens; as a resolver it counts how often somebody wants to go there."""

    def __init__(self) -> None:
        self.asked = 0
        with FaultServer(listening=False) as server:
            self.port = server.port
        self.host = f'peer.example:{self.port}'

    def __call__(self, host: str, port: int) -> list[Any]:
        """Count the look-up."""
        self.asked += 1
        gevent.sleep(0)
        return [(2, 1, 0, '', ('127.0.0.1', self.port))]


def outcome(client: Client, *request: Any, **how: Any) -> Response | HTTPError:
    """The one or the other."""
    try:
        return client.request(*request, **how)
    except HTTPError as error:
        return error


# The words of Retry --------------------------------------------------------------------------------------------------

BY_STATUS: dict[str, tuple[Retry | int | bool, str, list[int], int, int]] = {
    # what is given, the method, what the server says before it says 200, the status at the end, how often it was asked
    'total': (Retry(2, status_forcelist=FORCED), 'GET', [503] * 9, 503, 3),
    'total of 0': (Retry(0, status_forcelist=FORCED), 'GET', [503] * 9, 503, 1),
    'no total': (Retry(None, status=2, status_forcelist=FORCED), 'GET', [503] * 9, 503, 3),
    'total False': (Retry(False, status_forcelist=FORCED), 'GET', [503] * 9, 503, 1),
    'status': (Retry(9, status=1, status_forcelist=FORCED), 'GET', [503] * 9, 503, 2),
    'status of 0': (Retry(9, status=0, status_forcelist=FORCED), 'GET', [503] * 9, 503, 1),
    'total before status': (Retry(1, status=5, status_forcelist=FORCED), 'GET', [503] * 9, 503, 2),
    'other counts': (
        Retry(3, connect=0, read=0, other=0, redirect=0, status_forcelist=FORCED),
        'GET',
        [500] * 3,
        200,
        4,
    ),
    'enough': (Retry(3, status_forcelist=FORCED), 'GET', [503, 500, 503], 200, 4),
    'other status': (Retry(3, status_forcelist=FORCED), 'GET', [502], 502, 1),
    'one and then another': (Retry(3, status_forcelist=FORCED), 'GET', [503, 404, 503], 404, 2),
    'a success': (Retry(3, status_forcelist=[202]), 'GET', [202, 202], 200, 3),
    'a success to the end': (Retry(1, status_forcelist=[202]), 'GET', [202] * 9, 202, 2),
    'range of statuses': (Retry(2, status_forcelist=range(500, 600)), 'GET', [599, 507], 200, 3),
    'a status beyond 599': (Retry(2, status_forcelist=[999]), 'GET', [999, 999], 200, 3),
    'a status beyond 599 that is not named': (Retry(2, status_forcelist=range(500, 600)), 'GET', [999], 999, 1),
    'nothing is said to be raised': (
        Retry(1, status_forcelist=FORCED, raise_on_status=False),
        'GET',
        [503] * 9,
        503,
        2,
    ),
    'no statuses': (Retry(3), 'GET', [503], 503, 1),
    'number': (3, 'GET', [503], 503, 1),
    'POST': (Retry(3, status_forcelist=FORCED), 'POST', [503], 503, 1),
    'PATCH': (Retry(3, status_forcelist=FORCED), 'PATCH', [503], 503, 1),
    'PUT': (Retry(3, status_forcelist=FORCED), 'PUT', [503], 200, 2),
    'DELETE': (Retry(3, status_forcelist=FORCED), 'DELETE', [503], 200, 2),
    'HEAD': (Retry(3, status_forcelist=FORCED), 'HEAD', [503], 200, 2),
    'OPTIONS': (Retry(3, status_forcelist=FORCED), 'OPTIONS', [503], 200, 2),
    'all methods': (Retry(3, allowed_methods=None, status_forcelist=FORCED), 'POST', [503], 200, 2),
    'POST allowed': (Retry(3, allowed_methods=['POST'], status_forcelist=FORCED), 'POST', [503], 200, 2),
    'only POST allowed': (Retry(3, allowed_methods=['POST'], status_forcelist=FORCED), 'GET', [503], 503, 1),
}


@side_by_side(BY_STATUS)
def test_retry_by_status(kind: str) -> None:
    """Statuses are tried again as Retry says; the outcome is the last answer, and knows how often it was asked."""
    retries, method, statuses, status, times = BY_STATUS[kind]
    with Counting(*statuses) as server, Client(server.host, retry_budget=None) as client:
        found = outcome(client, method, '/000001', b'x' if method in ('POST', 'PUT') else None, retries=retries)
        assert (found.status, found.attempts, len(server.requests)) == (status, times, times)
        assert isinstance(found, RemoteError if status >= 400 else Response)
        if isinstance(found, RemoteError):
            assert (found.response.data, found.response.attempts) == (b'' if method == 'HEAD' else b'no', times)
        assert len({kit.sent(request) for request in server.requests}) == 1
        assert server.accepted == 1


BY_FAILURE: dict[str, tuple[Retry | int | bool, str, list[Any], type[Any], int]] = {
    # what is given, the method, what the first connections play, the outcome, how often it was tried
    'closed': (2, 'GET', [[READ, CLOSE]] * 2, Response, 3),
    'closed too often': (2, 'GET', [[READ, CLOSE]] * 3, ProtocolError, 3),
    'reset': (Retry(1), 'GET', [[READ, RST]], Response, 2),
    'no HTTP': (1, 'GET', [[READ, b'what?\r\n\r\n', SILENCE]], Response, 2),
    'truncated': (1, 'GET', [[READ, CUT, CLOSE]], Response, 2),
    'silent': (1, 'GET', [[READ, SILENCE]], Response, 2),
    'silent too often': (1, 'GET', [[READ, SILENCE]] * 2, ReadTimeout, 2),
    'read': (Retry(9, read=1), 'GET', [[READ, CLOSE]] * 3, ProtocolError, 2),
    'read of 0': (Retry(9, read=0), 'GET', [[READ, CLOSE]] * 3, ProtocolError, 1),
    'read False': (Retry(9, read=False), 'GET', [[READ, CLOSE]] * 3, ProtocolError, 1),
    'read of 0, silent': (Retry(9, read=0), 'GET', [[READ, SILENCE]] * 3, ReadTimeout, 1),
    'other counts': (Retry(1, connect=0, status=0, other=0, redirect=0), 'GET', [[READ, CLOSE]], Response, 2),
    'False': (False, 'GET', [[READ, CLOSE]], ProtocolError, 1),
    '0': (0, 'GET', [[READ, CLOSE]], ProtocolError, 1),
    'POST': (9, 'POST', [[READ, CLOSE]], ProtocolError, 1),
    'POST, silent': (9, 'POST', [[READ, SILENCE]], ReadTimeout, 1),
    'POST, truncated': (9, 'POST', [[READ, CUT, CLOSE]], TruncatedBody, 1),
    'POST allowed': (Retry(9, allowed_methods=None), 'POST', [[READ, CLOSE]], Response, 2),
    'one of each': (
        Retry(9, status_forcelist=FORCED),
        'GET',
        [
            [READ, CLOSE],
            [READ, RST],
            [READ, CUT, RST],
            [READ, SILENCE],
            [READ, b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n', READ, CLOSE],
        ],
        Response,
        7,
    ),
}


@side_by_side(BY_FAILURE)
def test_retry_by_failure(kind: str) -> None:
    """Failures of reading are tried again as Retry says, over a connection of their own each."""
    retries, method, scripts, expected, times = BY_FAILURE[kind]
    with FaultServer(*scripts) as server, Client(server.host, timeout=urllib3.Timeout(read=0.5)) as client:
        found = outcome(client, method, '/000001', b'x' if method == 'POST' else None, retries=retries)
        assert isinstance(found, expected)
        assert (found.attempts, len(server.requests)) == (times, times)
        if expected is Response:
            assert found.data == b'000001'
        else:
            assert failure(client, 'GET', '/000002', retries=0) if server.scripts else True


@side_by_side(
    [
        (2, 3),
        (Retry(9, connect=2), 3),
        (Retry(9, connect=0), 1),
        (Retry(9, connect=False), 1),
        (Retry(0), 1),
        (Retry(2, read=0, status=0, other=0), 3),
        (False, 1),
        (None, 1),
    ],
    ['GET', 'POST'],
)
def test_retry_to_connect(case: tuple[Any, int], method: str) -> None:
    """A connection that is refused is tried as often as Retry says, whatever the method: nothing was sent."""
    retries, times = case
    nobody = Refusing()
    with Client(nobody.host, resolver=nobody) as client:
        error = failure(client, method, '/', retries=retries)
        assert isinstance(error, RefusedError)
        assert (error.attempts, error.status, error.phase) == (times, None, 'connect')


@side_by_side([(2, 3), (Retry(9, other=1), 2), (Retry(9, other=0), 1), (Retry(2, connect=0, read=0), 3), (0, 1)])
def test_retry_of_tls(case: tuple[Any, int], authority: kit.Authority) -> None:
    """A failure of TLS counts as `other`."""
    retries, times = case
    with (
        serve(tls=authority.server('peer.example')) as server,
        Client(server.host, ca_certs=authority.ca_certs) as client,
    ):
        error = failure(client, 'GET', '/', retries=retries)
        assert isinstance(error, TLSError)
        assert (error.attempts, server.accepted, len(server.requests)) == (times, times, 0)
        wait_until(lambda: not server.peers)


def test_retry_of_slow_connecting() -> None:
    """A connection that does not come within the time for it is tried again, each with a time of its own."""
    with kit.FullServer() as server, Client(server.host, timeout=urllib3.Timeout(connect=0.1)) as client:
        error = failure(client, 'GET', '/', retries=2)
        assert isinstance(error, ConnectTimeout)
        assert error.attempts == 3
        server.relent()


@side_by_side([b'x', {'a': 1}, 'text', [1, 2], bytearray(b'y'), memoryview(b'z')])
def test_what_is_sent_again(body: Any) -> None:
    """A try sends what the first one sent."""
    with Counting(503, 503) as server, Client(server.host) as client:
        assert (
            client.request(
                'PUT', '/000001', body, {'A': 'b'}, retries=Retry(2, status_forcelist=FORCED), params={'q': 'é'}
            ).attempts
            == 3
        )
        assert len({kit.sent(request) for request in server.requests}) == 1


@contextmanager
def source_of(kind: str, folder: Path) -> Iterator[tuple[Any, bytes | None]]:
    """A body to be read while it is sent, and what arrives each time; `None` where it arrives only once."""
    match kind:
        case 'BytesIO':
            yield io.BytesIO(b'abc' * 1000), b'abc' * 1000
        case 'file from its middle':
            (folder / 'file').write_bytes(b'0123456789')
            with open(folder / 'file', 'rb') as file:
                file.seek(4)
                yield file, b'456789'
        case 'file of text':
            (folder / 'text').write_text('é€\n' * 1000, encoding='utf-8')
            with open(folder / 'text', encoding='utf-8') as text:
                text.readline()
                yield text, 'é€\n'.encode() * 999
        case 'empty file':
            yield io.BytesIO(), b''
        case 'tuple':
            yield (b'a', 'é', bytearray(b'b')), 'aéb'.encode()
        case 'own iterable':

            class Anew:
                """Begins anew each time."""

                def __iter__(self) -> Iterator[bytes]:
                    """Three pieces."""
                    yield from (b'1', b'22', b'333')

            yield Anew(), b'122333'
        case 'generator':
            yield (piece for piece in (b'a', b'b')), None
        case 'pipe':
            yield kit_pipe(b'abc'), None


def kit_pipe(data: bytes) -> Any:
    """A file that cannot seek."""

    class Pipe(io.RawIOBase):
        """Readable, and no more."""

        def __init__(self) -> None:
            self.left = data

        def read(self, size: int = -1) -> bytes:
            """What is left."""
            given, self.left = self.left, b''
            return given

    return Pipe()


@side_by_side(
    ['BytesIO', 'file from its middle', 'file of text', 'empty file', 'tuple', 'own iterable', 'generator', 'pipe'],
    ['status', 'closed', 'free resend'],
)
def test_sources_that_are_sent_again(kind: str, fault: str, tmp_path: Path) -> None:
    """A file that can seek goes again from where it stood, an iterable that can begin anew too; others are not retried.

    Their one failure is the outcome.
    """
    script = {
        'status': [READ, b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n'],
        'closed': [READ, CLOSE],
        'free resend': [READ, ANSWER, READ, CLOSE],
    }[fault]
    retries = None if fault == 'free resend' else Retry(2, status_forcelist=FORCED)
    with FaultServer(script) as server, Client(server.host) as client, source_of(kind, tmp_path) as (body, arrives):
        if fault == 'free resend':
            client.request('GET', '/000001')
        found = outcome(client, 'PUT', '/000002', body, retries=retries)
        sent = [request.body for request in server.requests if request.id == '000002']
        if arrives is None:
            assert isinstance(found, HTTPError)
            assert (found.attempts, len(sent)) == (1, 1)
        else:
            assert isinstance(found, Response)
            assert found.attempts == 2
            assert sent == [arrives, arrives]


def test_a_source_that_never_left_is_sent() -> None:
    """What could not be sent at all, because nobody listened, is still whole: even a generator goes once more."""
    server = FaultServer(listening=False)
    with server, Client(server.host) as client:
        pending = client.submit(
            'PUT', '/000001', (piece for piece in (b'a', b'b')), retries=Retry(30, backoff_factor=0.01)
        )
        gevent.sleep(0.02)
        server.relent()
        assert pending.get(timeout=5).data == b'000001'
        assert server.requests[0].body == b'ab'


# When ----------------------------------------------------------------------------------------------------------------


@side_by_side(
    [
        ({}, (0, 0, 0, 0)),
        ({'backoff_factor': 0.05}, (0, 0.1, 0.2, 0.4)),
        ({'backoff_factor': 0.1, 'backoff_max': 0.15}, (0, 0.15, 0.15, 0.15)),
        ({'backoff_factor': 10, 'backoff_max': 0}, (0, 0, 0, 0)),
        ({'backoff_factor': 0.05, 'backoff_jitter': 0.05}, (0, 0.1, 0.2, 0.4)),
    ]
)
def test_backoff(case: tuple[dict[str, float], tuple[float, ...]]) -> None:
    """The first retry is made at once, the next wait doubles each time, up to a bound, with some jitter if asked."""
    words, waits = case
    with Counting(*[503] * 4) as server, Client(server.host) as client:
        assert client.request('GET', '/', retries=Retry(4, status_forcelist=FORCED, **words)).attempts == 5
        server.assert_waits(*waits)


@pytest.mark.timed
def test_backoff_of_failures() -> None:
    """Failures wait as answers do, and a wait holds neither the hub nor a connection."""
    nobody = Refusing()
    with Client(nobody.host, resolver=nobody) as client:
        began, own_began = monotonic(), kit.own_time()
        pending = client.submit('GET', '/', retries=Retry(3, backoff_factor=0.05))
        wait_until(lambda: 'backoff' in repr(pending))
        assert client.stats()['in_flight'] == 0
        assert not client._pool.slots.open
        with pytest.raises(RefusedError):
            pending.get()
        assert monotonic() - began >= 0.3
        assert kit.own_time() - own_began < kit.limit(0.6)


RETRY_AFTER: dict[str, tuple[str, dict[str, Any], list[int], tuple[float, ...]]] = {
    # the field, the words of Retry, the statuses, and the waits: one for each time that it is tried again
    'seconds': ('1', {'backoff_factor': 0.01}, [503], (1,)),
    '413 and 429': ('0', {}, [413, 429], (0, 0)),
    'another status': ('1', {}, [500], ()),
    'another status, forced': ('1', {'status_forcelist': [500], 'retry_after_max': 0.1}, [500], (0.1,)),
    'none': ('0', {'backoff_factor': 0.05}, [503, 503], (0, 0.1)),
    'past': ('Thu, 01 Jan 1970 00:00:00 GMT', {}, [503], (0,)),
    'bounded': ('3600', {'retry_after_max': 0.2}, [503], (0.2,)),
    'not respected': ('3600', {'respect_retry_after_header': False}, [503], ()),
    'not respected, forced': ('3600', {'respect_retry_after_header': False, 'status_forcelist': [503]}, [503], (0,)),
    'no time': ('soon', {'backoff_factor': 0.1}, [503, 503], (0, 0.2)),
    'no time at all': ('', {}, [503], (0,)),
    'negative': ('-5', {}, [503], (0,)),
    'twice': ('1, 1', {}, [503], (0,)),
    'a year that no clock knows': ('Fri, 31 Dec 99999 23:59:59 GMT', {}, [503], (0,)),
    'zero, with a back-off': ('0', {'backoff_factor': 0.1}, [503, 503], (0, 0.2)),
    'past, with a back-off': ('Sun Nov  6 08:49:37 1994', {'backoff_factor': 0.1}, [503, 503], (0, 0.2)),
    'many digits': ('9' * 300, {'retry_after_max': 0.1}, [503], (0.1,)),
}


@pytest.mark.timed
@side_by_side(RETRY_AFTER)
def test_retry_after(kind: str) -> None:
    """`Retry-After` is waited for where Retry respects it; one of no seconds, or in the past, leaves the back-off as it is."""
    value, words, statuses, waits = RETRY_AFTER[kind]
    with Counting(*statuses, fields={'Retry-After': value}) as server, Client(server.host) as client:
        found = outcome(client, 'GET', '/', retries=Retry(3, **words), timeout=30)
        assert found.status == 200 if waits else statuses[0]
        server.assert_waits(*waits)


UNREADABLE = [
    '9' * 5000,
    '0.5',
    '30s',
    '-1',
    '-0',
    '+1',
    '',
    '1e3',
    '0x1',
    '1_0',
    '1 0',
    '1, 1',
    '1;',
    '²',
    'soon',
    '1 hour',
    'PT1S',
    '00:00:01',
    '2999-01-01T00:00:00Z',
    'Fri, 31 Dec 99999 23:59:59 GMT',
    'Mon, 31 Feb 2999 00:00:00 GMT',
    'Fri, 01 Jan 2999 25:00:00 GMT',
    'Fri, 01 Jan 2999 00:00:00',
    'Fri, 01 Foo 2999 00:00:00 GMT',
    '01 Jan 2999',
    'nan',
    'inf',
]


@pytest.mark.timed
@side_by_side(UNREADABLE, [{}, {'status_forcelist': FORCED}])
def test_retry_after_that_nobody_can_read(value: str, words: dict[str, Any]) -> None:
    """One that is neither seconds nor a date says nothing of when: the back-off is what it is without."""
    said = {'Retry-After': value.encode().decode('latin-1')}
    with Counting(503, 503, fields=said) as server, Client(server.host, retry_budget=None) as client:
        found = outcome(client, 'GET', '/', retries=Retry(3, backoff_factor=0.1, **words), timeout=5)
        assert (found.status, found.attempts) == (200, 3)
        server.assert_waits(0, 0.2)


class InMinutes(Retry):
    """Reads the field in its own way."""

    def parse_retry_after(self, retry_after: str) -> float:
        """Minutes, of which a hundredth is long enough here."""
        return float(retry_after.removesuffix('min')) * 0.6


class WithoutField(Retry):
    """Knows when without the field."""

    def get_retry_after(self, response: Any) -> float:
        """Soon."""
        return 0.3


@pytest.mark.timed
def test_retry_after_of_ones_own() -> None:
    """A class that reads the field in its own way, or does without it, is asked; what it cannot read is none."""
    with Counting(503, fields={'Retry-After': '0.5min'}) as server, Client(server.host) as client:
        assert client.request('GET', '/', retries=InMinutes(1)).attempts == 2
        server.assert_waits(0.3)
    with Counting(503, 503, fields={'Retry-After': 'soon'}) as server, Client(server.host) as client:
        assert client.request('GET', '/', retries=InMinutes(2, backoff_factor=0.1)).attempts == 3
        server.assert_waits(0, 0.2)
    with Counting(503) as server, Client(server.host) as client:
        assert client.request('GET', '/', retries=WithoutField(1, status_forcelist=FORCED)).attempts == 2
        server.assert_waits(0.3)


@pytest.mark.timed
def test_retry_after_is_a_date() -> None:
    """A date is waited for as well."""
    with (
        Counting(503, fields={'Retry-After': formatdate(time() + 1.8, usegmt=True)}) as server,
        Client(server.host) as client,
    ):
        assert client.request('GET', '/', retries=1).attempts == 2
        assert 0.5 < server.times[1][0] - server.times[0][0] < kit.limit(2.5)


@pytest.mark.timed
@side_by_side(['3600', formatdate(time() + 3600, usegmt=True), str(10**30)], [False, True])
def test_37_retry_after_beyond_the_deadline(value: str, stream: bool) -> None:
    """A wait that would exceed the deadline is none: that answer is the outcome at once, and takes no budget."""
    with (
        Counting(*[503] * 3, fields={'Retry-After': value}) as server,
        Client(server.host, retry_budget=(0, 1)) as client,
    ):
        began = kit.own_time()
        for _ in range(3):
            error = failure(client, 'GET', '/', retries=5, timeout=10, stream=stream)
            assert (type(error), error.status, error.attempts) == (RemoteError, 503, 1)
        assert kit.own_time() - began < kit.limit(0.25)
        assert client.request('GET', '/000001').data == b'000001'


@pytest.mark.timed
@side_by_side(['status', 'refused'])
def test_backoff_beyond_the_deadline(fault: str) -> None:
    """The same holds of the back-off, and of failures: the last of them is the outcome as soon as that is clear."""
    retries = Retry(9, backoff_factor=5, status_forcelist=FORCED)
    nobody = Refusing()
    with (
        Counting(*[503] * 3) as server,
        Client(server.host if fault == 'status' else nobody.host, resolver=nobody) as client,
    ):
        began = kit.own_time()
        error = failure(client, 'GET', '/', retries=retries, timeout=9)
        assert kit.own_time() - began < kit.limit(0.25)
        assert isinstance(error, RemoteError if fault == 'status' else RefusedError)
        assert error.attempts == 2


def test_deadline_in_a_later_try() -> None:
    """The total is one clock: it ends the try that is under way then, typed, with all attempts counted."""
    gate = Gate(opened=True)
    with Counting(503, 503, gate=gate) as server, Client(server.host) as client:
        pending = client.submit('GET', '/', retries=Retry(5, status_forcelist=FORCED, backoff_factor=0.05), timeout=2)
        wait_until(lambda: len(server.times) == 2)
        gate.shut()
        error = failure(client, 'GET', '/', timeout=0.1, retries=5)
        assert isinstance(error, DeadlineExceeded)
        assert error.attempts == 1
        with pytest.raises(DeadlineExceeded) as caught:
            pending.get()
        assert (caught.value.attempts, caught.value.phase) == (3, 'read')


# Who waits holds nothing ---------------------------------------------------------------------------------------------


def test_waiting_holds_no_slot_of_the_pool() -> None:
    """With one connection in the whole pool, other hosts are served while one request waits; then it is its turn."""
    with (
        Counting(503, fields={'Retry-After': '1'}) as server,
        serve() as other,
        ClientPool(max_connections=1, retries=Retry(1, retry_after_max=1)) as pool,
    ):
        waiting = ask(pool, server)
        wait_until(lambda: server.times)
        for _ in range(5):
            assert_right(ask(pool, other, timeout=10).get())
        assert not waiting.ready()
        assert_right(waiting.get(timeout=20))
        assert waiting.value.attempts == 2


def test_many_waiting() -> None:
    """A hundred requests that wait leave the two slots of their host to the others, and the cap holds afterwards."""
    gate = Gate(opened=True)
    with (
        Counting(*[503] * 100, fields={'Retry-After': '1'}, gate=gate) as server,
        ClientPool(simultaneous=2, retries=Retry(1, retry_after_max=1), retry_budget=None) as pool,
    ):
        for _ in range(100):
            ask(pool, server)
        wait_until(lambda: len(server.times) == 100)
        assert_right(ask(pool, server, timeout=10).get())
        stats = pool.stats()[server.host]
        assert [stats[name] for name in ('queued', 'in_flight', 'done', 'failed')] == [100, 0, 1, 0]
        for answer in pool.wait(timeout=5):
            assert_right(answer)
        assert gate.peak <= 2
        assert len(server.requests) == 201


@side_by_side(['cancel', 'pool', 'wait', 'leave', 'client raises'])
def test_waiting_is_ended(end: str) -> None:
    """A request that waits to be tried again can be ended by all that ends requests, and is not sent again."""
    retry = Retry(1, retry_after_max=0.3)
    with Counting(*[503] * 9, fields={'Retry-After': '1'}) as server, ClientPool(retries=retry) as pool:
        pending = ask(pool, server)
        wait_until(lambda: 'backoff' in repr(pending))
        match end:
            case 'cancel':
                pending.cancel()
            case 'pool':
                pool.cancel()
            case 'wait':
                [error] = pool.wait(timeout=0.05)
                assert isinstance(error, DeadlineExceeded)
                assert error.phase == 'backoff'
            case 'leave':
                ask(pool, server, retries=0)
                for _ in pool.wait_unordered(count=1):
                    pass
            case 'client raises':
                caller = gevent.spawn(Client(server.host, retries=retry).request, 'GET', '/')
                wait_until(lambda: len(server.times) == 2)
                gevent.sleep(0.01)
                caller.kill()
                pending.cancel()
        error = pending.exception
        assert isinstance(error, DeadlineExceeded if end == 'wait' else Cancelled)
        assert (error.attempts, error.status) == (1, None)
        asked = len(server.times)
        gevent.sleep(0.35)
        assert len(server.times) == asked


# Who asked -----------------------------------------------------------------------------------------------------------


def test_signed_anew_for_each_attempt() -> None:
    """Each try is signed with a nonce of its own; all else of it stays."""
    with Counting(503, 503) as server, Client(server.host, LoginAuthenticator('root', 'toor')) as client:
        assert client.request('GET', '/000001', retries=Retry(2, status_forcelist=FORCED)).attempts == 3
        assert len({request.headers['authorization'] for request in server.requests}) == 3
        assert len({request.path for request in server.requests}) == 1


ASKER: ContextVar[str] = ContextVar('asker', default='nobody')


def test_authenticator_and_hooks_of_each_attempt() -> None:
    """One that may block is called for each try, in the context of the call; so is `on_request`, the others once."""
    seen: list[Any] = []

    def authenticate(request: Request) -> Request:
        gevent.sleep(0)
        seen.append(('authenticate', ASKER.get()))
        return request.replace(headers={'X-Try': str(len(seen))})

    def hook(name: str) -> Callable[[Any], None]:
        return lambda _: seen.append((name, ASKER.get()))

    with (
        Counting(503, 503) as server,
        Client(
            server.host, authenticate, on_request=hook('request'), on_response=hook('response'), on_error=hook('error')
        ) as client,
    ):
        ASKER.set('me')
        client.request('GET', '/', retries=Retry(2, status_forcelist=FORCED))
        ASKER.set('nobody')
        wait_until(lambda: len(seen) == 7)
        assert sorted(name for name, _ in seen) == ['authenticate'] * 3 + ['request'] * 3 + ['response']
        assert {asker for _, asker in seen} == {'me'}
        assert len({request.headers['x-try'] for request in server.requests}) == 3


def test_authenticator_that_fails_at_the_second_attempt() -> None:
    """What it raises then is the cause of the outcome; nothing more is sent."""
    mine = KeyError('the token has expired')
    calls: list[int] = []

    def authenticate(request: Request) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise mine

    with Counting(*[503] * 9) as server, Client(server.host, authenticate) as client:
        error = failure(client, 'GET', '/', retries=Retry(5, status_forcelist=FORCED))
        assert (error.__cause__, error.phase, len(server.requests)) == (mine, 'authenticate', 1)


def test_attempts_without_retries() -> None:
    """Whatever ends at its first try, or before, says 1."""
    nobody = Refusing()
    with (
        serve(lambda method, path, *_: (404 if 'none' in path else 200, None, '')) as server,
        ClientPool(resolver=nobody) as pool,
    ):
        pool.request(server.host, 'GET', '/')
        pool.request(server.host, 'GET', '/none')
        pool.request(nobody.host, 'GET', '/')
        pool.request(server.host, 'GET', '/').cancel()
        assert [answer.attempts for answer in pool.wait()] == [1, 1, 1, 1]


def test_whose_retries() -> None:
    """Those of the request go before those of the client; one Retry serves many requests and is not used up."""
    retry = Retry(1, status_forcelist=FORCED)
    with Counting(*[503] * 99) as server, Client(server.host, retries=retry, retry_budget=None) as client:
        assert [failure(client, 'GET', '/').attempts for _ in range(3)] == [2, 2, 2]
        assert failure(client, 'GET', '/', retries=False).attempts == 1
        assert failure(client, 'GET', '/', retries=0).attempts == 1
        assert failure(client, 'GET', '/', retries=retry.new(total=3)).attempts == 4
        assert (retry.total, retry.history) == (1, ())


# Classes of the caller's own -----------------------------------------------------------------------------------------


class Told(Retry):
    """Keeps what `increment` was told."""

    told: list[tuple[Any, ...]] = []

    def increment(
        self,
        method: Any = None,
        url: Any = None,
        response: Any = None,
        error: Any = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Any:
        """Take note."""
        self.told.append((method, url, response and response.status, type(error).__name__))
        return super().increment(method, url, response, error, _pool, _stacktrace)


def test_own_increment_and_history() -> None:
    """`increment` is asked before each further try, in urllib3's words, and its history tells what went before."""
    Told.told = []
    histories: list[Any] = []

    class Historian(Told):
        """Keeps the history of the last."""

        def get_backoff_time(self) -> float:
            """No wait."""
            histories.append(self.history)
            return 0

    with (
        FaultServer([READ, CLOSE], [READ, b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n', READ, SILENCE]) as server,
        Client(server.host, timeout=urllib3.Timeout(read=0.5)) as client,
    ):
        found = client.request('GET', '/000001?a=b', retries=Historian(9, status_forcelist=FORCED))
        assert (found.data, found.attempts) == (b'000001', 4)
        assert Told.told == [
            ('GET', '/000001?a=b', None, 'ProtocolError'),
            ('GET', '/000001?a=b', 503, 'NoneType'),
            ('GET', '/000001?a=b', None, 'ReadTimeoutError'),
        ]
        last = histories[-1]
        assert [(entry.method, entry.url, entry.status, entry.redirect_location) for entry in last] == [
            ('GET', '/000001?a=b', None, None),
            ('GET', '/000001?a=b', 503, None),
            ('GET', '/000001?a=b', None, None),
        ]
        assert isinstance(last[0].error, urllib3.exceptions.ProtocolError)
        assert isinstance(last[2].error, urllib3.exceptions.ReadTimeoutError)
        assert last[1].error is None


class WhenAsked(Retry):
    """Tries again what a field of its own asks for."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Any 404, and nothing else."""
        return status_code == 404


def test_own_is_retry() -> None:
    """`is_retry` decides over answers, successes too."""
    with Counting(404, 404, 503) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/', retries=WhenAsked(9, status_forcelist=FORCED))
        assert (error.status, error.attempts) == (503, 3)
        assert client.request('POST', '/000001', retries=WhenAsked(9)).attempts == 1


def test_own_times() -> None:
    """`get_backoff_time` and `get_retry_after` tell how long is waited; what makes no sense is no wait."""

    class Steady(Retry):
        """Always the same."""

        def get_backoff_time(self) -> float:
            """A tenth of a second, also the first time."""
            return 0.1

    class Doubling(Retry):
        """What servers say, and a little more."""

        def get_retry_after(self, response: Any) -> float | None:
            """From a field of their own."""
            return float(response.headers['X-Wait'])

    with Counting(503, 503) as server, Client(server.host) as client:
        client.request('GET', '/', retries=Steady(9, status_forcelist=FORCED))
        server.assert_waits(0.1, 0.1)
    with Counting(503, 503, fields={'x-wait': '0.1', 'Retry-After': '3600'}) as server, Client(server.host) as client:
        client.request('GET', '/', retries=Doubling(9))
        server.assert_waits(0.1, 0.1)
    left = [-1.0, float('nan'), float('-inf')]

    class Odd(Retry):
        """Times that are none."""

        def get_backoff_time(self) -> float:
            """Which is no wait."""
            return left.pop()

    with Counting(503, 503, 503) as server, Client(server.host) as client:
        assert client.request('GET', '/', retries=Odd(9, status_forcelist=FORCED), timeout=5).attempts == 4


def test_own_increment_gives_up() -> None:
    """What `increment` raises in urllib3's own words ends the tries: the last answer or failure is the outcome."""

    class Weary(Retry):
        """Tries once more and no more."""

        def increment(self, *args: Any, **words: Any) -> Any:
            """Give up at the second."""
            if self.history:
                raise urllib3.exceptions.MaxRetryError(None, '/', None)
            return super().increment(*args, **words)

    with Counting(*[503] * 9) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/', retries=Weary(9, status_forcelist=FORCED))
        assert (type(error), error.status, error.attempts) == (RemoteError, 503, 2)


@side_by_side(
    [
        *product(['increment', 'get_backoff_time'], ['status', 'closed', 'refused', 'truncated coding']),
        ('is_retry', 'status'),
    ],
    [KeyError, gevent.Timeout, gevent.GreenletExit],
)
def test_own_class_raises(case: tuple[str, str], raised: type[BaseException]) -> None:
    """What a class of the caller's own raises is the cause of the outcome; slot and connection are back."""
    method, fault = case
    mine = raised()

    class Broken(Retry):
        """Raises in one of its methods."""

    def broken(self: Any, *args: Any, **words: Any) -> Any:
        raise mine

    setattr(Broken, method, broken)
    first = {
        'status': [READ, b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n'],
        'closed': [READ, CLOSE],
        'refused': [],
        'truncated coding': [READ, b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n\x1f'],
    }
    with FaultServer(first[fault], listening=fault != 'refused') as server, ClientPool(simultaneous=1) as pool:
        pending = pool.request(server.host, 'GET', '/000009', retries=Broken(9, status_forcelist=FORCED))
        with pytest.raises(HTTPError) as caught:
            pending.get(timeout=20)
        assert caught.value.__cause__ is mine
        assert (caught.value.attempts, caught.value.request) == (1, pending.request)
        server.relent()
        pool.wait()
        assert_right(ask(pool, server, timeout=2).get())


@side_by_side(['goes on', 'cancel', 'deadline', 'close'])
def test_own_class_blocks(end: str) -> None:
    """A class of the caller's own may block, on a lock say: it holds nobody else, and ends with its request."""
    lock = gevent.lock.Semaphore(0)

    class Logging(Retry):
        """Waits for its turn to write."""

        def increment(self, *args: Any, **words: Any) -> Any:
            """With a lock."""
            with lock:
                return super().increment(*args, **words)

    with Counting(503) as server, Client(server.host, simultaneous=1) as client:
        pending = client.submit('GET', '/000001', retries=Logging(9, status_forcelist=FORCED), timeout=1)
        wait_until(lambda: server.times and not client.stats()['in_flight'])
        assert client.request('GET', '/000002', timeout=10).data == b'000002'
        if end == 'goes on':
            lock.release()
            assert pending.get().data == b'000001'
        else:
            if end != 'deadline':
                (client.close if end == 'close' else pending.cancel)()
            with pytest.raises(DeadlineExceeded if end == 'deadline' else Cancelled):
                pending.get(timeout=20)


# The budget ----------------------------------------------------------------------------------------------------------

STORM = Retry(10, status_forcelist=FORCED)


def storm(pool: ClientPool, hosts: list[Any], count: int, **how: Any) -> float:
    """Ask so often, wait for all, and tell how many seconds that took."""
    began = monotonic()
    for number in range(count):
        ask(pool, hosts[number % len(hosts)], **how)
    assert {type(error) for error in pool.wait(timeout=20)} <= {RemoteError, RefusedError}
    return monotonic() - began


def test_default_budget() -> None:
    """By default retries are a fifth of the requests and ten a second, for all hosts of the pool together."""
    with (
        Counting(*[503] * 9999) as one,
        Counting(*[503] * 9999) as other,
        ClientPool(simultaneous=10, retries=STORM) as pool,
    ):
        seconds = storm(pool, [one, other], 500)
        retries = len(one.requests) + len(other.requests) - 500
        assert 10 + 100 - 1 <= retries <= 10 + 100 + 10 * (seconds + 0.1)


@side_by_side(
    [
        ((0, 0), 10, 10, 0),
        ((1.0, 0), 110, 110, 0),
        ((0.5, 1), 60, 60, 1),
        ((0, 1000), 10, 1000, 1000),
        (None, 1000, 1000, 0),
    ]
)
def test_budget_of_ones_own(case: tuple[Any, int, int, int]) -> None:
    """It begins with ten; `(share, rate)` adds a share of the requests and so many a second, `None` knows no bound."""
    budget, least, most, a_second = case
    with Counting(*[503] * 9999) as server, ClientPool(simultaneous=10, retries=STORM, retry_budget=budget) as pool:
        seconds = storm(pool, [server], 100)
        retries = len(server.requests) - 100
        assert least <= retries <= min(most + a_second * seconds + 1, 1000)


def test_budget_comes_back() -> None:
    """A budget that is empty fills up again, by time and by requests; meanwhile the first failure is the outcome."""
    retry = Retry(1, status_forcelist=FORCED)
    with Counting(*[503] * 9999) as server, ClientPool(retries=retry, retry_budget=(0, 10)) as pool:
        storm(pool, [server], 100)
        assert [error.attempts for error in (failure(pool, server.host, 'GET', '/') for _ in range(3))].count(1) >= 2
        began = monotonic()
        gevent.sleep(0.35)
        tries = [failure(pool, server.host, 'GET', '/').attempts for _ in range(6)]
        assert 3 <= tries.count(2) <= 2 + 10 * (monotonic() - began)
    with Counting(*[503] * 9999) as server, ClientPool(retries=retry, retry_budget=(0.25, 0)) as pool:
        storm(pool, [server], 100)
        assert sum(failure(pool, server.host, 'GET', '/').attempts - 1 for _ in range(8)) == 2


def test_budget_is_for_failures_too() -> None:
    """Connections that are refused take of the budget; without it they are the outcome."""
    nobody = Refusing()
    with ClientPool(retries=9, retry_budget=(0, 0), resolver=nobody) as pool:
        attempts = [failure(pool, nobody.host, 'GET', '/').attempts for _ in range(3)]
        assert attempts == [10, 2, 1]


def test_free_resend_takes_nothing_of_the_budget() -> None:
    """However many connections have gone stale: a server that had closed has no more to do for it."""
    with (
        FaultServer(*[[READ, ANSWER, READ, CLOSE]] * 11) as server,
        ClientPool(simultaneous=11, retry_budget=(0, 0)) as pool,
    ):
        gate = [ask(pool, server) for _ in range(11)]
        for pending in gate:
            assert_right(pending.get(timeout=5))
        assert server.accepted == 11
        pool.wait()
        for _ in range(11):
            ask(pool, server)
        outcomes = pool.wait(timeout=5)
        assert [answer.attempts for answer in outcomes] == [2] * 11
        assert [answer.status for answer in outcomes] == [200] * 11


def test_pools_have_budgets_of_their_own() -> None:
    """What one pool has used up is no other's loss; a client without a pool has its own."""
    with Counting(*[503] * 9999) as server:
        for _ in range(2):
            with ClientPool(retries=STORM, retry_budget=(0, 0)) as pool:
                storm(pool, [server], 20)
            with Client(server.host, retries=STORM, retry_budget=(0, 0)) as client:
                for _ in range(3):
                    failure(client, 'GET', '/')
        assert len(server.requests) == 2 * (20 + 10) + 2 * (3 + 10)


def test_fifty_waiting_at_their_locks_are_let_go() -> None:
    """A pool that is closed leaves no greenlet of a class of the caller's own behind."""
    never = Event()

    class Waiting(Retry):
        """Never decides."""

        def increment(self, *args: Any, **words: Any) -> Any:
            """Wait."""
            never.wait()

    with Counting(*[503] * 50) as server:
        with ClientPool(simultaneous=10, retries=Waiting(1, status_forcelist=FORCED)) as pool:
            pendings = [ask(pool, server) for _ in range(50)]
            wait_until(lambda: len(server.times) == 50)
        assert all(isinstance(pending.exception, Cancelled) for pending in pendings)
