"""Every example of the document that the client was designed by, against real servers; only the imports differ.

The names of the examples lead to servers on loopback, port 80 included, through the hub's own resolver.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import gevent
import pytest

from napixclient import HTTPError, RemoteError, Response
from tests import kit
from tests.helpers_pool import known_as
from tests.kit import Gate, serve

pytestmark = pytest.mark.usefixtures('oracle')

TOKEN = 'de72457df438272d8d05a0823289084811813c07'
EXPECTED_SIZE = 10


def napix(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
    """A server that lists its resources to whoever proves who it is."""
    target, _, query = path.partition('?')
    if parse_qs(query).get('token') != [TOKEN]:
        message, _, signature = headers.get('authorization', '').rpartition(':')
        if not message:
            return 401, None, 'You need to sign your request'
        said = {name: values[0] for name, values in parse_qs(message).items()}
        right = hmac.new(b'toor', message.encode(), 'sha256').hexdigest() == signature
        if not right or (said['path'], said['host'], said['method'], said['login']) != (
            path,
            headers['host'],
            method,
            'root',
        ):
            return 403, None, 'Access Denied'
    return 200, None, ['/abc', '/captain'] if target == '/' else {'path': target}


@contextmanager
def server_napix(handler: Any = napix, **options: Any) -> Iterator[kit.HandlerServer]:
    """A server by the name of the examples."""
    with serve(handler, **options) as server, known_as({'server.napix.nx': server}):
        yield server


def test_client_with_a_token() -> None:
    """A client with a token asks, and `body` is the decoded answer."""
    with server_napix() as server:
        from napixclient import Client
        from napixclient.authenticators import TokenIdentifier

        c = Client('server.napix.nx', authenticator=TokenIdentifier('de72457df438272d8d05a0823289084811813c07'))
        resp = c.request('GET', '/')
        assert resp.body == ['/abc', '/captain']

        assert server.requests[0].path == f'/?token={TOKEN}'
        assert server.requests[0].headers['host'] == 'server.napix.nx'
        c.close()


def test_client_with_login_and_key() -> None:
    """A mapping of login and key signs the request so that the server can verify it."""
    with server_napix():
        from napixclient import Client

        c = Client('server.napix.nx', {'login': 'root', 'key': 'toor'})
        resp = c.request('GET', '/')
        assert resp.body == ['/abc', '/captain']
        c.close()


def test_wrong_key() -> None:
    """An error raises HTTPError, with the call and what the server said as text."""
    with server_napix():
        from napixclient import Client

        c = Client('server.napix.nx', {'login': 'root', 'key': 'wrong'})
        with pytest.raises(HTTPError) as caught:
            c.request('GET', '/')
        assert caught.value.status == 403
        assert caught.value.remote_call == 'GET http://server.napix.nx/'
        assert caught.value.remote_error == '"403 Forbidden" Access Denied'
        c.close()


def test_errors_as_text() -> None:
    """What is no JSON object becomes the quoted status line and the body."""
    script = [kit.READ, b'HTTP/1.1 404 NOT FOUND\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n10 not found']
    with kit.FaultServer(script) as server, known_as({'server.napix.nx': server}):
        from napixclient import Client

        c = Client('server.napix.nx')
        with pytest.raises(HTTPError) as caught:
            c.request('GET', '/captain/10')
        assert caught.value.remote_call == 'GET http://server.napix.nx/captain/10'
        assert caught.value.remote_error == '"404 NOT FOUND" 10 not found'
        c.close()


def test_errors_bubble_through_servers() -> None:
    """A full exception detail is kept as it came, and its calls and causes are the error's chain."""
    detail = {
        'error_class': 'HTTPError',
        'error_text': 'filer failed',
        'request': {'path': '/vm/', 'method': 'POST'},
        'remote_call': 'POST http://filer.enix.org/storage/',
        'remote_error': {
            'error_class': 'HTTPError',
            'error_text': 'disk failed',
            'remote_call': 'PUT http://disk.enix.org/',
            'remote_error': '"500 Oops" no space left',
        },
    }
    with server_napix(lambda *_: (500, None, detail)):
        from napixclient import Client

        c = Client('server.napix.nx')
        with pytest.raises(RemoteError) as caught:
            c.request('POST', '/vm/', {'size': 1})
        error = caught.value
        assert error.remote_error == detail
        assert [hop.remote_call for hop in error.chain] == [
            'POST http://server.napix.nx/vm/',
            'POST http://filer.enix.org/storage/',
            'PUT http://disk.enix.org/',
        ]
        assert error.root.error_text == '"500 Oops" no space left'
        c.close()


def test_pool() -> None:
    """A pool's `wait` gives the responses, which show themselves as in the example."""
    with server_napix():
        from napixclient import ClientPool
        from napixclient.authenticators import TokenIdentifier

        c = ClientPool(TokenIdentifier('de72457df438272d8d05a0823289084811813c07'))
        c.request('server.napix.nx', 'GET', '/')
        assert [repr(response) for response in c.wait()] == ['<Response 200 OK>']
        c.close()


def test_two_at_a_time() -> None:
    """Requests to one server share its client: at most two of them are in flight by default."""
    gate = Gate()
    with server_napix(lambda *_: (200, None, []), gate=gate):
        from napixclient import ClientPool

        c = ClientPool()
        for _ in range(6):
            c.request('server.napix.nx', 'GET', '/')
        gate.wait_for(2)
        gevent.sleep(0.02)
        assert gate.in_flight == 2
        gate.open()
        assert [response.status for response in c.wait()] == [200] * 6
        assert gate.peak == 2
        c.close()


class Provisioner:
    """The example's plugin."""

    def create_resource(self, resource_dict: dict[str, Any]) -> Any:
        """Order an address and a disk at once."""
        from napixclient import ClientPool

        authenticator = None
        cp = ClientPool(authenticator)
        cp.request('ip-allocator.enix.org', 'POST', '/vm-ip/', {'size': 1})
        cp.request('filer.enix.org', 'POST', '/storage/', {'size': 10**9})
        # wait until the filer and ip are ready
        ip, filer = cp.wait()

        if ip.status != 204:
            raise ValueError('Cannot get IP')
        elif filer.status != 204:  # noqa: RET506
            raise ValueError('Cannot get storage')

        cp.close()
        return ip, filer


def ordered(status: int) -> Any:
    """A server that takes orders, and answers with that status."""
    return lambda *_: (status, None, None)


def test_ordered_wait() -> None:
    """`wait` gives the responses in the order asked once all are there, whichever was first."""
    with (
        serve(ordered(204), gate=Gate()) as allocator,
        serve(ordered(204)) as filer,
        known_as({'ip-allocator.enix.org': allocator, 'filer.enix.org': filer}),
    ):
        provisioner = gevent.spawn(Provisioner().create_resource, {})
        allocator.gate.wait_for(1)
        kit.wait_until(lambda: filer.requests and not filer.gate.in_flight)
        assert not provisioner.ready()
        allocator.gate.open()
        ip, storage = provisioner.get(timeout=5)
        assert (str(ip.request), str(storage.request)) == (
            'POST http://ip-allocator.enix.org/vm-ip/',
            'POST http://filer.enix.org/storage/',
        )
        assert json.loads(allocator.requests[0].body) == {'size': 1}
        assert json.loads(filer.requests[0].body) == {'size': 10**9}
        assert filer.requests[0].headers['content-type'] == 'application/json'


@pytest.mark.parametrize(('statuses', 'says'), [((500, 204), 'Cannot get IP'), ((204, 404), 'Cannot get storage')])
def test_ordered_wait_with_errors(statuses: tuple[int, int], says: str) -> None:
    """Errors are handed out as values whose status can be asked for."""
    with (
        serve(ordered(statuses[0])) as allocator,
        serve(ordered(statuses[1])) as filer,
        known_as({'ip-allocator.enix.org': allocator, 'filer.enix.org': filer}),
        pytest.raises(ValueError, match=says),
    ):
        Provisioner().create_resource({})


class Placer:
    """The example's plugin that looks for a server with room."""

    def __init__(self, xen_servers: list[str]) -> None:
        self.xen_servers = xen_servers

    def create_resource(self, resource_dict: dict[str, Any], seconds: float = 10) -> Any:
        """Take the first server that has room."""
        from napixclient import ClientPool

        authenticator = None
        EXPECTED = EXPECTED_SIZE
        cp = ClientPool(authenticator)
        for x in self.xen_servers:
            cp.request(x, 'GET', '/capacity/capacity')

        server = None
        for response in cp.wait_unordered(timeout=seconds):
            # wait up to 10 seconds for the server
            if response.status != 200:
                # disregard failures
                continue
            if response.body['size'] < EXPECTED:
                # disregard non suitable responses
                continue

            # take the first one.
            server = response.request.host
            break
        else:
            raise ValueError('No server available')

        return server


def capacity(size: int, status: int = 200) -> Any:
    """A server with so much room."""
    return lambda *_: (status, None, {'size': size})


def test_unordered_takes_the_first_that_fits() -> None:
    """`wait_unordered` gives responses as they complete, failures and dead servers among them."""
    dead = kit.FaultServer(listening=False)
    with (
        dead,
        serve(capacity(99), gate=Gate()) as slow,
        serve(capacity(1)) as small,
        serve(capacity(99, 500)) as ill,
        serve(capacity(20)) as good,
        known_as({'xen0': dead, 'xen1': slow, 'xen2': small, 'xen3': ill, 'xen4': good}),
    ):
        placer = Placer(['xen0', 'xen1', 'xen2', 'xen3', 'xen4'])
        assert placer.create_resource({}) == 'xen4'


def test_unordered_without_a_server() -> None:
    """When the time is up the loop ends as if by itself, so that its `else` is reached."""
    with serve(capacity(99), gate=Gate()) as slow, serve(capacity(1)) as small, known_as({'xen1': slow, 'xen2': small}):
        with pytest.raises(ValueError, match='No server available'):
            Placer(['xen1', 'xen2']).create_resource({}, 0.2)
        with pytest.raises(ValueError, match='No server available'):
            Placer([]).create_resource({})


def test_responses_or_errors() -> None:
    """What a wait hands out is either the response that was returned or the error that was raised."""
    with serve(capacity(1)) as good, serve(capacity(1, 404)) as bad, known_as({'a.nx': good, 'b.nx': bad}):
        from napixclient import ClientPool

        with ClientPool() as cp:
            cp.request('a.nx', 'GET', '/')
            cp.request('b.nx', 'GET', '/')
            assert [type(answer) for answer in cp.wait()] == [Response, RemoteError]
