"""Ctrl-C: the program's main greenlet gets a KeyboardInterrupt, once; the hub prints nothing, and the pool goes on."""

from __future__ import annotations

import signal
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import gevent
import pytest
from urllib3 import Retry

from napixclient import Client, ClientPool, HTTPError, Request
from tests import kit
from tests.kit import READ, SILENCE, FaultServer, FullServer, Gate, Mute, serve, wait_until

PROGRAM = """
import sys, gevent
from urllib3 import Retry
from napixclient import Client, ClientPool
from napixclient.resources import Resources
from napixclient.rest import Client as RestClient, wait

good, held, mute, full, half, busy, *names = sys.argv[1:]


def say(what):
    print(what, flush=True)


def stop(*_):
    say('reached')
    gevent.sleep(60)


def parts():
    yield b'a'
    stop()


def asked(count=1):
    return [pool.request(held, 'GET', '/000001') for _ in range(count)]


def callers():
    mine = [gevent.spawn(client.request, 'GET', '/000001') for _ in range(3)]
    try:
        gevent.joinall(mine)
    finally:
        gevent.killall(mine)


def limited():
    with Client(good, rate=0.01) as slow:
        slow.request('GET', '/000001')
        gevent.spawn(say, 'reached')
        slow.request('GET', '/000001')


def closing():
    with ClientPool() as inner:
        inner.request(held, 'GET', '/000001')
        inner.wait()


states = {
    'a name': lambda: Client('name.example', resolver=stop).request('GET', '/'),
    'connecting': lambda: gevent.spawn(say, 'reached') and Client(full).request('GET', '/'),
    'the handshake': lambda: Client(f'https://{mute}', verify=False).request('GET', '/'),
    'an authenticator': lambda: Client(good, stop).request('GET', '/'),
    'an upload': lambda: Client(good).request('PUT', '/000001', parts()),
    'the answer': lambda: client.request('GET', '/000001'),
    'a streamed body': lambda: Client(half).request('GET', '/000001', stream=True).read(),
    'a back-off': lambda: Client(busy, retries=Retry(9)).request('GET', '/'),
    'the rate': limited,
    'get': lambda: asked()[0].get(),
    'get, timed': lambda: asked()[0].get(timeout=60),
    'wait': lambda: asked(3) and pool.wait(),
    'wait, timed': lambda: asked(3) and pool.wait(timeout=60),
    'wait_unordered': lambda: asked(3) and list(pool.wait_unordered()),
    'iteration': lambda: asked(3) and list(pool),
    'a stream': lambda: list(pool.stream((held, 'GET', '/000001') for _ in range(9))),
    'the end of a with': closing,
    'gevent.wait': lambda: gevent.wait(asked(3)),
    'asleep': lambda: asked() and gevent.sleep(60),
    'callers of their own': callers,
    'REST': lambda: RestClient(f'http://{held}').get('000001'),
    'REST, waiting': lambda: gevent.spawn(say, 'reached') and wait(lambda: False, delay=60),
    'REST, many': lambda: RestClient(f'http://{held}').async_run(client.request, [{'method': 'GET', 'url': '/'}] * 3),
    'replicas': lambda: Resources([held]).unicast('GET', '/'),
    'replicas, all': lambda: Resources([held]).broadcast('GET', '/'),
}
client, pool = Client(held), ClientPool()
for name in names:
    try:
        states[name.removesuffix('!')]()
    except KeyboardInterrupt:
        if name.endswith('!'):
            raise
        pool.cancel()
        pool.wait()
        pool.request(good, 'GET', '/000001')
        say(f'{name}: {[answer.status for answer in pool.wait(timeout=30)]}')
"""

HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'
BUSY = b'HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n'
# Those that the program tells itself, as it has code there; those in which a server has the request; and the others.
TOLD = ['a name', 'connecting', 'an authenticator', 'an upload', 'the rate', 'REST, waiting']
HELD = [
    'the answer',
    'get',
    'get, timed',
    'wait',
    'wait, timed',
    'wait_unordered',
    'iteration',
    'a stream',
    'the end of a with',
    'gevent.wait',
    'asleep',
    'callers of their own',
    'REST',
    'REST, many',
    'replicas',
    'replicas, all',
]
SEEN = ['the handshake', 'a streamed body', 'a back-off']


def is_asleep(pid: int) -> bool:
    """Whether it waits for the loop. gevent hears a signal that comes just before that only when it wakes."""
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'S'


@pytest.mark.parametrize(
    'names',
    [
        [*TOLD, *HELD, *SEEN],
        ['connecting!'],
        ['the answer!'],
        ['a streamed body!'],
        ['wait!'],
        ['a stream!'],
        ['callers of their own!'],
        ['asleep!'],
    ],
    ids=lambda names: names[0] if len(names) == 1 else 'all',
)
def test_ctrl_c(names: list[str]) -> None:
    """In whatever state, a program that catches it goes on with its pool, and one that does not prints its traceback."""
    gate = Gate()
    with (
        serve() as good,
        serve(gate=gate) as held,
        Mute() as mute,
        FullServer() as full,
        FaultServer([READ, HALF, SILENCE]) as half,
        FaultServer([READ, BUSY, SILENCE]) as busy,
        kit.started(PROGRAM, good.host, held.host, mute.authority, full.host, half.host, busy.host, *names) as process,
    ):
        for name in names:
            state = name.removesuffix('!')
            if state in TOLD:
                assert process.stdout.readline() == b'reached\n', (name, process.stderr.read())
            elif state in HELD:
                gate.wait_for(1)
            else:
                server = {'the handshake': mute, 'a streamed body': half, 'a back-off': busy}[state]
                wait_until(lambda server=server: server.requests or server.accepted and server is mute)
                gevent.sleep(0.05)  # the answer is on its way
            wait_until(lambda: is_asleep(process.pid))
            process.send_signal(signal.SIGINT)
            if not name.endswith('!'):
                assert process.stdout.readline().decode() == f'{name}: [200]\n', process.stderr.read()
                wait_until(lambda: not gate.in_flight)
        out, err = (said.decode() for said in process.communicate(timeout=kit.LONG))
    assert out == ''
    if not names[-1].endswith('!'):
        assert (process.returncode, err) == (0, '')
    else:
        assert process.returncode == -signal.SIGINT
        assert err.startswith('Traceback (most recent call last):\n') and err.endswith('\nKeyboardInterrupt\n')
        assert err.count('KeyboardInterrupt') == err.count('Traceback') == 1


def raising(kind: type[BaseException], where: str) -> tuple[dict[str, Any], Any]:
    """Options of a client, and a body, that make code of the caller's raise it in a greenlet of ours."""

    def fail(*_: Any, **__: Any) -> Any:
        raise kind

    class Failing(Retry):
        increment = fail

    class Jar(CookieJar):
        extract_cookies = fail

    options = {
        'a resolver': {'resolver': fail},
        'an authenticator': {'authenticator': fail},
        'a jar': {'cookies': Jar()},
        'a retry': {'retries': Failing(3, status_forcelist=[503])},
        'an upload': {},
    }
    return options[where], (fail() for _ in range(1)) if where == 'an upload' else None


@pytest.mark.usefixtures('tidy')
@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize('where', ['a resolver', 'an authenticator', 'a retry', 'a jar', 'an upload'])
def test_raised_in_a_greenlet_of_ours(where: str, kind: type[BaseException]) -> None:
    """It is the main greenlet's, at once and only once; its request has ended, typed, and gives back what it held."""
    fields = {'Set-Cookie': 'a=1'} if where == 'a jar' else {}
    with serve(lambda *_: (503 if where == 'a retry' else 200, fields, '')) as server:
        options, body = raising(kind, where)
        host = f'name.example:{server.port}' if where == 'a resolver' else server.host
        with Client(host, simultaneous=1, **options) as client:
            pending = client.submit('PUT', '/000001', body)
            with pytest.raises(kind):
                wait_until(lambda: False)
            wait_until(pending.ready)
            error = pending.exception
            assert isinstance(error, HTTPError) and isinstance(_root(error), kind)
            wait_until(lambda: client.stats()['in_flight'] == client.stats()['queued'] == 0)


@pytest.mark.usefixtures('tidy')
@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
def test_raised_where_retries_are_decided(kind: type[BaseException]) -> None:
    """What comes in the midst of that is the main greenlet's too; the connection goes on with the next request."""

    class Interrupted(list[int]):
        """Asked by the loop whether a status is to be tried again."""

        def __contains__(self, status: object) -> bool:
            raise kind

    retries = Retry(3, status_forcelist=Interrupted([503]))
    with serve(lambda *_: (503, {}, '')) as server, Client(server.host, simultaneous=1, retries=retries) as client:
        pending, following = client.submit('GET', '/000001'), client.submit('GET', '/000002', retries=False)
        with pytest.raises(kind):
            wait_until(lambda: False)
        wait_until(pending.ready)
        assert isinstance(pending.exception, HTTPError) and isinstance(_root(pending.exception), kind)
        wait_until(following.ready)
        assert following.exception is not None and following.exception.status == 503
        assert len(server.peers) == 1


@pytest.mark.usefixtures('tidy')
def test_in_the_midst_of_asking() -> None:
    """What is interrupted while it is being asked for takes nobody's place: the others have their own outcomes."""

    class Interrupted:
        """Called in place, as it does not block."""

        blocking = False

        def __call__(self, request: Request) -> None:
            if request.url == '/000000':
                raise KeyboardInterrupt

    with serve() as server, ClientPool(Interrupted(), simultaneous=1) as pool:
        pool.request(server.host, 'GET', '/000001').get()
        with pytest.raises(KeyboardInterrupt):
            pool.request(server.host, 'GET', '/000000')
        pool.request(server.host, 'GET', '/000002')
        assert [answer.data for answer in pool.wait(timeout=kit.LONG)] == [b'000001', b'000002']
        assert len(server.peers) == 1


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def test_the_hub_is_left_as_it_was() -> None:
    """Only while a pool is open does the hub keep silent, and what others have told it meanwhile stands."""
    hub = gevent.get_hub()
    before = hub.NOT_ERROR
    with ClientPool(), Client('server.example'):
        assert set(hub.NOT_ERROR) == {*before, KeyboardInterrupt}
    assert hub.NOT_ERROR is before
    pool = ClientPool()
    del pool
    wait_until(lambda: hub.NOT_ERROR is before)
    for bad in ({'simultaneous': 0}, {'authenticator': 3}, {'max_connections': 0}):
        with pytest.raises(ValueError):
            ClientPool(**bad)  # type: ignore[arg-type]
        assert hub.NOT_ERROR is before
    try:
        with ClientPool():
            hub.NOT_ERROR = (*before, ZeroDivisionError)
        assert hub.NOT_ERROR == (*before, ZeroDivisionError)
    finally:
        hub.NOT_ERROR = before
