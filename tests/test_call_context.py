"""The call context: what is taken over from the caller's request, and what goes onto the wire."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.cookiejar import CookieJar
from time import monotonic
from typing import Any

import gevent
import hypothesis
import pytest
from gevent.event import Event
from hypothesis import strategies as st
from urllib3 import Retry

from napixclient import Client, ClientPool, Headers, QueueTimeout, Request
from napixclient import Response as Answer
from napixclient.authenticators import LoginAuthenticator, TokenIdentifier
from napixclient.call_context import MAX_VIA, CallContext, current, extract, prepared_fields, propagated_fields
from tests import kit
from tests.helpers_pool import failure

TRACE, PARENT = 'ab' * 16, 'cd' * 8
GIVEN = f'00-{TRACE}-{PARENT}-01'
FOREVER = float('inf')
NAMES = ('traceparent', 'tracestate', 'x-request-id', 'x-napix-via', 'x-napix-timeout')


def came(server_id: str = 'here', **fields: str) -> tuple[CallContext, bool]:
    """The call context of a request with these fields, as a WSGI server gives them."""
    known = {name.lower().replace('_', '-'): value for name, value in fields.items()}
    return extract(lambda name: known.get(name.lower()), server_id)


def propagated(headers: Headers) -> dict[str, str]:
    """Of the fields of a request those that travel; none is there twice."""
    assert all(len(headers.getlist(name)) <= 1 for name in NAMES)
    return {name: headers[name] for name in NAMES if name in headers}


@contextmanager
def within(call_context: CallContext) -> Iterator[CallContext]:
    """As if a request were served."""
    token = current.set(call_context)
    try:
        yield call_context
    finally:
        current.reset(token)


# What arrives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('value', 'flags'),
    [
        (GIVEN, '01'),
        (f'00-{TRACE}-{PARENT}-00', '00'),
        (f'00-{TRACE}-{PARENT}-03', '03'),
        (f'00-{TRACE}-{PARENT}-ff', '03'),
        (f'00-{TRACE}-{PARENT}-fc', '00'),
        (f'cc-{TRACE}-{PARENT}-01', '01'),
        (f'01-{TRACE}-{PARENT}-01-what-the-future-brings', '01'),
        (f'01-{TRACE}-{PARENT}-01-', '01'),
    ],
)
def test_a_trace_goes_on(value: str, flags: str) -> None:
    """W3C Trace Context §3.2: also of a version to come; flags that mean nothing yet are not passed on."""
    call_context, loops = came(traceparent=value, tracestate='a=1')
    assert (call_context.trace_id, call_context.parent_id, call_context.flags, call_context.tracestate, loops) == (
        TRACE,
        PARENT,
        flags,
        'a=1',
        False,
    )


@pytest.mark.parametrize(
    'value',
    [
        '',
        ' ',
        'nonsense',
        GIVEN.upper(),
        f'ff-{TRACE}-{PARENT}-01',
        f'00-{"0" * 32}-{PARENT}-01',
        f'00-{TRACE}-{"0" * 16}-01',
        f'00-{TRACE}-{PARENT}-01-more',
        f'00-{TRACE}-{PARENT}-01-',
        f'00-{TRACE}-{PARENT}-1',
        f'00-{TRACE}-{PARENT}',
        f'0-{TRACE}-{PARENT}-01',
        f'00-{TRACE[1:]}-{PARENT}-01',
        f'00-{TRACE}g-{PARENT}-01',
        f'00-{TRACE}-{PARENT}-0x',
        f' {GIVEN}',
        f'{GIVEN} ',
        f'{GIVEN}\n',
        f'{GIVEN},{GIVEN}',
        f'{GIVEN}, {GIVEN}',
        f'01-{TRACE}-{PARENT}-01.more',
        f'01-{TRACE}-{PARENT}-01more',
        GIVEN.replace('a', 'а'),
        f'00-{TRACE}-{PARENT}-०१',
        '00-' * 1000,
        'x' * 100_000,
    ],
)
def test_what_is_no_trace_begins_a_new_one(value: str) -> None:
    """Two values, upper case, all zero, a version that is forbidden: as if there were none; its tracestate goes with it."""
    call_context, _ = came(traceparent=value, tracestate='a=1')
    assert re.fullmatch('[0-9a-f]{32}', call_context.trace_id) and call_context.trace_id not in (TRACE, '0' * 32)
    assert (call_context.parent_id, call_context.flags, call_context.tracestate, call_context.request_id) == (
        None,
        '00',
        None,
        call_context.trace_id,
    )
    assert came()[0].trace_id != came()[0].trace_id


@pytest.mark.parametrize(
    ('value', 'kept'),
    [
        ('a=1', True),
        ('a=1,b=2', True),
        ('vendor@x=' + 'v' * 256, True),
        ('x' * 512, True),
        ('x' * 513, False),
        ('', False),
        ('é', False),
        ('a=1\r\nX: y', False),
        ('a\t', False),
    ],
)
def test_tracestate(value: str, kept: bool) -> None:
    """Up to 512 printable characters are passed on."""
    assert came(traceparent=GIVEN, tracestate=value)[0].tracestate == (value if kept else None)


@pytest.mark.parametrize(
    ('value', 'taken'),
    [
        ('order-17', True),
        ('x' * 128, True),
        ('x' * 129, False),
        ('', False),
        ('a b', False),
        ('a,b', False),
        ('a\r\nX: y', False),
        ('é', False),
        ('"a"', False),
        ('<a>', False),
        ('a;b', False),
        ('a\\b', False),
        ('{a}', False),
        ('a%20b', False),
        ('A.b_c~d:e+f/g=h@i-j', True),
        ('550e8400-e29b-41d4-a716-446655440000', True),
        (' a', False),
    ],
)
def test_request_id(value: str, taken: bool) -> None:
    """At most 128 safe characters; two values are none."""
    assert came(X_Request_ID=value, traceparent=GIVEN)[0].request_id == (value if taken else TRACE)


@pytest.mark.parametrize(
    ('value', 'passed', 'loops'),
    [
        ('', (), False),
        ('a', ('a',), False),
        ('a,b', ('a', 'b'), False),
        (' a ,\tb ', ('a', 'b'), False),
        ('a,,b,', ('a', 'b'), False),
        ('here', ('here',), True),
        ('a,here,b', ('a', 'here', 'b'), True),
        ('HERE', ('HERE',), False),
        ('a b', (), False),
        ('a,<b>,"c",d', ('a', 'd'), False),
        ('x' * 129, (), False),
        (','.join('abcdefgh'), tuple('abcdefgh'), False),
        (','.join('abcdefghi'), tuple('abcdefghi'), True),
        (','.join('a' * 60_000), ('a',) * 9, True),
    ],
)
def test_via(value: str, passed: tuple[str, ...], loops: bool) -> None:
    """Ids between commas; one's own among them, or more than eight, is a loop; what is no id is left out."""
    call_context, found = came(X_Napix_Via=value)
    assert (call_context.via, found) == ((*passed, 'here'), loops)


@pytest.mark.parametrize(
    ('value', 'seconds'),
    [('1500', 1.5), (' 1500 ', 1.5), ('0', 0), ('-20', -0.02), ('00005', 0.005), ('999999999999', 999999999.999)],
)
def test_timeout(value: str, seconds: float) -> None:
    """Whole milliseconds; 0 or less is a caller who has left."""
    before = monotonic()
    call_context, _ = came(X_Napix_Timeout=value)
    assert before + seconds <= call_context.deadline <= monotonic() + seconds
    assert call_context.remaining <= seconds


@pytest.mark.parametrize(
    'value',
    [
        '',
        'soon',
        '1.5',
        '1e3',
        '+5',
        '5,7',
        '0x10',
        '1_000',
        '٣',
        '--5',
        '- 5',
        'inf',
        'nan',
        '9' * 13,
        '9' * 5000,
        '5 5',
        '5\x00',
    ],
)
def test_timeout_that_is_nonsense(value: str) -> None:
    """It is ignored."""
    assert came(X_Napix_Timeout=value)[0].deadline == FOREVER


@hypothesis.given(
    st.dictionaries(st.sampled_from(NAMES), st.text(max_size=60) | st.text('0123456789abcdef-, ', max_size=80)),
    st.sampled_from(['here', 'a', '0']),
)
def test_whatever_arrives(fields: dict[str, str], server_id: str) -> None:
    """What is sent on is always valid, and cannot break out of its field."""
    call_context, _ = came(server_id, **fields)
    lines = propagated_fields(call_context, None, call_context.deadline).split('\r\n')
    assert lines[0] == '' and len(lines) == len({line.partition(':')[0] for line in lines}) <= 6
    sent = Headers(line.split(': ', 1) for line in lines[1:])
    assert re.fullmatch('00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]', sent['traceparent'])
    assert re.fullmatch('[!-~]{1,128}', sent['x-request-id']) and sent['x-napix-via'].split(',')[-1] == server_id
    assert re.fullmatch('[0-9]+', sent.get('x-napix-timeout', '0'))


# What leaves ---------------------------------------------------------------------------------------------------------


def test_outside_of_any_request() -> None:
    """Each of ten thousand calls begins a trace of its own, valid, not sampled, with the same request id."""
    with kit.serve() as server, ClientPool() as pool:
        for _ in range(10_000):
            pool.request(server.host, 'GET', '/')
        assert all(answer.status == 200 for answer in pool.wait())
    found = [propagated(request.headers) for request in server.requests]
    ids = [re.fullmatch('00-([0-9a-f]{32})-([0-9a-f]{16})-00', fields.pop('traceparent')) for fields in found]
    assert len({match[1] for match in ids if match}) == len({match[2] for match in ids if match}) == 10_000
    assert found == [{'x-request-id': match[1]} for match in ids if match]
    assert not any(set(match[1]) == {'0'} or set(match[2]) == {'0'} for match in ids if match)


def test_threads_share_no_ids() -> None:
    """Each has its pool; what was made beforehand is handed out once."""

    def work() -> None:
        try:
            with Client(server.host) as client:
                for _ in range(1500):
                    assert client.request('GET', '/').status == 200
        except Exception as exc:
            failed.append(exc)

    failed: list[Exception] = []
    with kit.serve() as server:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        kit.wait_until(lambda: not any(thread.is_alive() for thread in threads), 'the threads are done', 50)
    assert failed == []
    assert len({request.headers['x-request-id'] for request in server.requests}) == len(server.requests) == 4500


FORK = """
import os, sys
from napixclient import ClientPool
def ask(times):
    for _ in range(times):
        pool.request(sys.argv[1], 'GET', '/')
    assert all(answer.status == 200 for answer in pool.wait())
pool = ClientPool()
ask(3)
import gevent.os
child = gevent.os.fork_gevent()
ask(40)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_has_ids_of_its_own() -> None:
    """Those that the parent had made beforehand are the parent's."""
    with kit.serve() as server:
        done = kit.run_program(FORK, server.host)
        assert done == (0, '', '')
    assert len({request.headers['x-request-id'] for request in server.requests}) == len(server.requests) == 83


@pytest.mark.parametrize('inside', [False, True])
def test_each_attempt(inside: bool) -> None:
    """The trace and the request stay the same, the parent is another, and less time is left."""
    statuses = iter([503, 503, 200] * 2)
    retries = Retry(3, status_forcelist=[503], backoff_factor=0.01)
    with (
        kit.serve(lambda *request: (next(statuses), {}, 'x')) as server,
        Client(server.host, retries=retries) as client,
    ):
        with within(came(traceparent=GIVEN, X_Request_ID='order-17')[0]) if inside else nullcontext():
            assert client.request('GET', '/', timeout=30).attempts == 3
            assert client.request('GET', '/').attempts == 3
    for requests in server.requests[:3], server.requests[3:]:
        found = [propagated(request.headers) for request in requests]
        parts = [fields['traceparent'].split('-') for fields in found]
        assert len({part[1] for part in parts}) == 1 and len({part[2] for part in parts}) == 3
        assert {fields['x-request-id'] for fields in found} == {'order-17' if inside else parts[0][1]}
        assert (parts[0][1] == TRACE) is inside and PARENT not in parts[0][2]
    left = [int(request.headers['x-napix-timeout']) for request in server.requests[:3]]
    assert 30_000 >= left[0] >= left[1] > left[2] > 20_000
    assert not any('x-napix-timeout' in request.headers for request in server.requests[3:])


@pytest.mark.parametrize('place', ['request', 'client'])
@pytest.mark.parametrize(
    'name',
    ['traceparent', 'TraceParent', 'tracestate', 'X-Request-ID', 'x-request-id', 'X-Napix-Via', 'X-Napix-Timeout'],
)
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_what_the_caller_sets_wins(method: str, name: str, place: str) -> None:
    """And is not sent twice; a tracestate of another trace does not go with a traceparent of the caller's."""
    mine = {name: 'mine'}
    body = {'a': 1} if method == 'POST' else None
    with (
        kit.serve() as server,
        Client(server.host, LoginAuthenticator('root', 'toor'), headers=mine if place == 'client' else None) as client,
    ):
        with within(came(traceparent=GIVEN, tracestate='a=1', X_Napix_Timeout='9000')[0]):
            client.request(method, '/', body, mine if place == 'request' else None)
        found = propagated(server.requests[0].headers)
    assert found.pop(name.lower()) == 'mine' and 'authorization' in server.requests[0].headers
    left = set(NAMES) - {name.lower()} - ({'tracestate'} if name.lower() == 'traceparent' else set())
    assert set(found) == left and 'mine' not in found.values()


def test_the_request_of_the_caller_wins_over_the_client() -> None:
    """As with any field."""
    with kit.serve() as server, Client(server.host, headers={'X-Request-ID': 'of-the-client'}) as client:
        client.request('GET', '/', headers={'x-request-id': 'of-the-request'})
        client.request('GET', '/')
    assert [request.headers.getlist('x-request-id') for request in server.requests] == [
        ['of-the-request'],
        ['of-the-client'],
    ]


PROPAGATED = {
    'traceparent': GIVEN,
    'X-Request-ID': 'order-17',
    'X-Napix-Via': 'a,b',
    'X-Napix-Timeout': '60000',
    'tracestate': 'a=1',
}


def test_redirects_cookies_and_signatures() -> None:
    """Whatever else is done to a request, it carries on: to other origins, too, without credentials."""

    def move(method: str, path: str, *_: Any) -> Any:
        if path.partition('?')[0] == '/':
            return 302, {'Location': '/next', 'Set-Cookie': 'a=1'}, ''
        return 302, {'Location': f'http://{other.host}/end'}, ''

    for authenticator in LoginAuthenticator('root', 'toor'), TokenIdentifier('s3cret-token'), lambda request: None:
        with (
            kit.serve() as other,
            kit.serve(move) as server,
            Client(server.host, authenticator, cookies=CookieJar(), redirect=True) as client,
        ):
            with within(came(**PROPAGATED)[0]):
                assert client.request('GET', '/').status == 200
            requests = [*server.requests, *other.requests]
            assert (
                len(requests) == 3 and ('cookie' in requests[1].headers) and 'authorization' not in requests[2].headers
            )
            parents = set()
            for request in requests:
                found = propagated(request.headers)
                assert 50_000 < int(found.pop('x-napix-timeout')) <= 60_000
                _, trace, parent, flags = found.pop('traceparent').split('-')
                assert (trace, flags) == (TRACE, '01')
                assert found == {'tracestate': 'a=1', 'x-request-id': 'order-17', 'x-napix-via': 'a,b,here'}
                parents.add(parent)
            assert len(parents) == 3


@pytest.mark.parametrize(('options', 'left'), [({}, None), ({'timeout': 20}, 20_000), ({'timeout': 0.4}, 400)])
def test_the_time_that_is_left(options: dict[str, Any], left: int | None) -> None:
    """Whole milliseconds, where the call has a total of its own or an inherited one."""
    with kit.serve() as server, Client(server.host) as client, Client(server.host, **options) as other:
        client.request('GET', '/', **options)
        other.request('GET', '/')
        for request in server.requests:
            found = request.headers.get('x-napix-timeout')
            assert found is None if left is None else left / 2 < int(found) <= left
        with within(came(X_Napix_Timeout='10000')[0]):
            client.request('GET', '/', **options)
        assert 0 < int(server.requests[-1].headers['x-napix-timeout']) <= min(left or 10_000, 10_000)


def test_a_caller_who_has_left() -> None:
    """Nothing is sent for it any more, over an idle connection neither."""
    with kit.serve() as server, Client(server.host) as client, ClientPool() as pool:
        client.request('GET', '/')
        with within(came(X_Napix_Timeout='0')[0]):
            assert isinstance(failure(client, 'GET', '/'), QueueTimeout)
            pool.request(server.host, 'GET', '/')
            assert isinstance(pool.wait()[0], QueueTimeout)
            assert [type(found) for found in pool.stream([Request(server.host, 'GET', '/')] * 3)] == [QueueTimeout] * 3
        assert len(server.requests) == 1
        assert client.request('GET', '/').status == 200


def test_who_sees_the_context() -> None:
    """Hooks, authenticators, and the iterable of a stream run in the context of the call; others do not."""
    seen: dict[str, CallContext | None] = {}
    done = Event()

    def note(name: str, value: Any = None) -> Callable[[Any], Any]:
        def take(given: Any) -> Any:
            gevent.sleep(0)
            seen[name] = current.get()
            if name == 'on_response':
                done.set()
            return value

        return take

    def requests() -> Iterator[Request]:
        gevent.sleep(0)
        seen['stream'] = current.get()
        yield Request(server.host, 'GET', '/')

    with (
        kit.serve() as server,
        ClientPool(
            note('authenticator'),
            on_request=note('on_request'),
            on_response=note('on_response'),
            on_error=note('on_error'),
        ) as pool,
    ):
        with within(came(traceparent=GIVEN)[0]) as call_context:
            assert [found.status for found in pool.stream(requests())] == [200]
            pool.request('127.0.0.1:1', 'GET', '/')
            pool.wait()
        done.wait(5)
        kit.wait_until(lambda: len(seen) == 5)
        assert all(found is call_context for found in seen.values())
        pool.request(server.host, 'GET', '/')
        pool.wait()
        assert current.get() is None
        assert 'x-napix-via' not in server.requests[-1].headers


def test_two_streams_in_one_client() -> None:
    """A client that is shared by many requests mixes nothing up: what travels is of the call, not of the client."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, Client(server.host, simultaneous=1) as client:
        pendings = []
        for number in range(4):
            with within(came(X_Request_ID=f'order-{number}')[0]):
                pendings.append(client.submit('GET', f'/{number:06}'))  # three of them wait in the queue
        pendings.append(client.submit('GET', '/000009'))
        gate.open()
        gevent.wait(pendings)
    assert [request.headers['x-request-id'] for request in server.requests[:4]] == [
        f'order-{number}' for number in range(4)
    ]
    assert isinstance(pendings[4].get(), Answer) and 'x-napix-via' not in server.requests[4].headers


def test_as_many_servers_as_may_be() -> None:
    """The ninth is still served; whom it asks will see nine, and refuse."""
    call_context, loops = came('ninth', X_Napix_Via=','.join(f's{number}' for number in range(MAX_VIA)))
    assert not loops and len(call_context.via) == MAX_VIA + 1
    assert came('tenth', X_Napix_Via=','.join(call_context.via))[1]


def test_ids_are_made_beforehand() -> None:
    """Many for one call of the system: by far the most calls are outside of any request."""
    with kit.serve() as server, Client(server.host) as client:
        client.request('GET', '/')
        before = len(prepared_fields)
        client.request('GET', '/')
        assert len(prepared_fields) == (before or 1024) - 1
