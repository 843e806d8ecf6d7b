"""One host: what is sent, what comes back, one step or two."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gevent
import pytest

import napixclient
from napixclient import ConnectError, HTTPError, RefusedError, RemoteError, resources
from napixclient.resources import Resource, Response, UnknownHost
from napixclient.resources.errors import as_value
from tests.kit import CLOSE, READ, FaultServer, Gate, Leaks, serve
from tests.resources.replicas import told

pytestmark = pytest.mark.usefixtures('oracle')


def test_a_call_returns_the_evaluated_body() -> None:
    """`resource(method, path, body)` sends JSON and returns JSON."""
    with serve(told) as server, Resource(server.host) as resource:
        assert resource('POST', '/captains', {'name': 'Nemo'}) == {
            'method': 'POST',
            'path': '/captains',
            'sent': '{"name":"Nemo"}',
            'type': 'application/json',
        }


@pytest.mark.parametrize(
    ('call', 'method', 'path', 'sent'),
    [
        (lambda resource: resource.get('/x'), 'GET', '/x', ''),
        (lambda resource: resource.get('/x', a=1, path='b', self=['c', 'd']), 'GET', '/x?a=1&path=b&self=c&self=d', ''),
        (lambda resource: resource.delete('/x?y=1', a=1), 'DELETE', '/x?y=1&a=1', ''),
        (lambda resource: resource.post('/x', path=1, self=None), 'POST', '/x', '{"path":1,"self":null}'),
        (lambda resource: resource.put('/x', a=[1]), 'PUT', '/x', '{"a":[1]}'),
        (lambda resource: resource.patch('/x', a={'b': 2}), 'PATCH', '/x', '{"a":{"b":2}}'),
    ],
)
def test_the_verbs(call: Any, method: str, path: str, sent: str) -> None:
    """GET and DELETE take parameters, POST, PUT and PATCH members of a body, whatever they are called."""
    with serve(told) as server, Resource(server.host) as resource:
        found = call(resource)
        assert (found['method'], found['path'], found['sent']) == (method, path, sent)


@pytest.mark.parametrize('status', [302, 404, 500, 503])
def test_a_call_raises_what_is_no_success(status: int) -> None:
    """A call returns the body of a 2xx, and raises everything else with what the server said."""
    with serve(told) as server, Resource(server.host) as resource:
        with pytest.raises(RemoteError) as caught:
            resource.get(f'/{status}')
        assert caught.value.status == status
        assert str(caught.value).startswith(f'GET {server.url}/{status}: "{status} ')


def test_no_answer_raises() -> None:
    """Without an answer there is nothing to evaluate, in one step or in two."""
    with serve(told, listening=False) as server, Resource(server.host) as resource:
        with pytest.raises(RefusedError):
            resource.get('/')
        resource.request('GET', '/')
        with pytest.raises(RefusedError):
            resource.getresponse()


@pytest.mark.parametrize('status', [200, 204, 302, 404, 503])
def test_two_steps_return_a_response_of_any_status(status: int) -> None:
    """`bool(response)` is success, `response()` the evaluated body or the error; the rest is that of any response."""
    with serve(told) as server, Resource(server.host) as resource:
        resource.request('GET', f'/{status}')
        response = resource.getresponse()
        assert isinstance(response, Response) and isinstance(response, napixclient.Response)
        assert (response.status, bool(response), response.url) == (status, status < 300, f'{server.url}/{status}')
        assert response.reason and repr(response) == f'<Response {status} {response.reason}>'
        assert response.body is response.body
        if status == 204:
            assert response() is None
        elif response:
            assert response() == response.body == response.json()
        else:
            assert response.body['path'] == f'/{status}'
            with pytest.raises(RemoteError, match=f'"{status} '):
                response()


def test_two_steps_are_for_one_request_at_a_time() -> None:
    """The answer is taken before the next request; a request that cannot be sent changes nothing."""
    with serve(told) as server, Resource(server.host) as resource:
        with pytest.raises(RuntimeError, match='nothing was asked'):
            resource.getresponse()
        with pytest.raises(ValueError, match='begins with'):
            resource.request('GET', 'x')
        resource.request('GET', '/1')
        with pytest.raises(RuntimeError, match='not taken'):
            resource.request('GET', '/2')
        assert resource.getresponse().body['path'] == '/1'
        with pytest.raises(RuntimeError, match='nothing was asked'):
            resource.getresponse()


def test_the_class_of_responses_can_be_one_of_our_own() -> None:
    """`response_class` is what answers are made."""

    class Mine(Response):
        __slots__ = ()

    class Own(Resource):
        response_class = Mine

    assert Resource.response_class is Response
    with serve(told) as server, Own(server.host) as resource:
        resource.request('GET', '/')
        assert type(resource.getresponse()) is Mine


def test_download(tmp_path: Path) -> None:
    """A body of any size goes to a file, which is there when it is whole; an error leaves none."""
    body = bytes(range(256)) * 4096
    with (
        serve(lambda method, path, headers, _: (200 if path == '/x' else 404, None, body)) as server,
        Resource(server.host) as resource,
    ):
        assert resource.download('/x', tmp_path / 'file') == len(body)
        assert (tmp_path / 'file').read_bytes() == body
        with pytest.raises(RemoteError, match='404'):
            resource.download('/y', tmp_path / 'other')
        assert [path.name for path in tmp_path.iterdir()] == ['file']
    with (
        FaultServer([READ, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', CLOSE]) as broken,
        Resource(broken.host) as resource,
    ):
        with pytest.raises(HTTPError):
            resource.download('/x', tmp_path / 'other')
    with serve(told) as server, Resource(server.host) as resource, pytest.raises(RemoteError, match='302'):
        resource.download('/302', tmp_path / 'other')
    assert [path.name for path in tmp_path.iterdir()] == ['file']


@pytest.mark.parametrize('kill', ['call', 'getresponse'])
def test_who_is_killed_gives_its_slot_back(kill: str) -> None:
    """A caller that is killed while it waits cancels what it asked."""
    gate = Gate()
    with serve(told, gate) as server, Resource(server.host, simultaneous=1) as resource:

        def ask() -> None:
            if kill == 'call':
                resource.get('/held')
            else:
                resource.request('GET', '/held')
                resource.getresponse()

        caller = gevent.spawn(ask)
        gate.wait_for(1)
        caller.kill()
        gate.open()
        assert resource.get('/next')['path'] == '/next'
        resource.request('GET', '/two-steps')  # nothing is left of those that were interrupted
        assert resource.getresponse()


def test_hosts_and_ports() -> None:
    """A host in any form, its port within or beside it, never both."""
    with serve(told) as server:
        for host, port in (
            (server.host, None),
            ('127.0.0.1', server.port),
            ('http://127.0.0.1', server.port),
            (f'http://127.0.0.1:{server.port}', None),
            ('http://127.0.0.1/', server.port),
        ):
            with Resource(host, port) as resource:
                assert resource.get('/x')['path'] == '/x'
                assert resource.host.rstrip('/').endswith(str(server.port))
                assert repr(resource) == f'<Resource {server.url}>'
    with serve(told, address='::1') as server, Resource('[::1]', server.port) as resource:
        assert resource.get('/x')['path'] == '/x'


@pytest.mark.parametrize(
    ('given', 'why'),
    [
        (('name:80', 80), 'has a port already'),
        (('[::1]:80', 81), 'has a port already'),
        (('name', 0), '1 to 65535'),
        (('name', '80'), '1 to 65535'),
        (('name', True), '1 to 65535'),
        ((3, 80), 'a host is'),
        (('a b', None), 'not a host'),
    ],
)
def test_what_is_no_host(given: Any, why: str) -> None:
    """Bad input says what is wrong."""
    with pytest.raises(ValueError, match=why):
        Resource(*given)


def test_answers_are_read_whole() -> None:
    """`stream=True` is refused where a response is to be evaluated."""
    with serve(told) as server, Resource(server.host) as resource:
        for ask in (resource, resource.request):
            with pytest.raises(ValueError, match='download'):
                ask('GET', '/', stream=True)
        assert not server.requests


def test_a_timeout_and_an_authenticator() -> None:
    """They are those of every client."""
    gate = Gate()
    with serve(told, gate) as server, Resource(server.host, timeout=0.1) as resource:
        with pytest.raises(napixclient.Timeout):
            resource.get('/')
    with (
        serve(lambda method, path, headers, body: {'who': headers['authorization'][:10]}) as server,
        Resource(server.host, authenticator={'login': 'root', 'key': 'toor'}) as resource,
    ):
        assert resource.get('/') == {'who': 'login=root'}


def test_a_closed_resource_leaves_nothing() -> None:
    """`close` ends what is under way; so does the end of a `with`."""
    before = Leaks.now()
    gate = Gate()
    with serve(told, gate) as server:
        with Resource(server.host) as resource:
            resource.request('GET', '/')
            gate.wait_for(1)
        with pytest.raises(napixclient.Cancelled):
            resource.getresponse()
        resource.close()
    before.assert_back()


def test_the_names_of_the_package() -> None:
    """All public names are there, each loaded when it is asked for; no others are."""
    assert resources.__all__ == sorted(resources.__all__) and set(resources.__all__) <= set(dir(resources))
    for name in resources.__all__:
        assert getattr(resources, name).__name__ == name
    with pytest.raises(AttributeError, match='nothing'):
        resources.nothing()


def test_a_resource_leaves_the_client_of_somebody_else_open() -> None:
    """It asks with that client, and to close it ends nothing of others."""
    with serve(told) as server, napixclient.Client(server.host) as client:
        with Resource.of_client(client) as resource:
            assert resource.client is client and resource.host == client.host
            resource.get('/')
        assert client.request('GET', '/').status == 200
        assert server.accepted == 1


def test_a_response_tells_its_error() -> None:
    """It is the one that to call the response raises; a success has none."""
    with serve(lambda method, path, headers, body: (int(path[1:]), {}, {})) as server:
        with Resource(server.host) as resource:
            for status in 200, 404:
                resource.request('GET', f'/{status}')
                answer = resource.getresponse()
                assert (answer.error is None) is bool(answer)
        with pytest.raises(RemoteError) as caught:
            answer()
        assert caught.value is answer.error


# Errors as values ----------------------------------------------------------------------------------------------------


def test_an_error_as_a_value() -> None:
    """The error is the same, of the same class, but falsy, and to call it raises it; also after pickle and copy."""
    error = RefusedError('nobody listens', phase='connect')
    value = as_value(error)
    assert value is error is as_value(value)
    for one in (value, copy.copy(value), pickle.loads(pickle.dumps(value))):
        assert not one and isinstance(one, RefusedError) and type(one).__name__ == 'RefusedError'
        assert (one.message, one.phase, repr(one)) == ('nobody listens', 'connect', '<RefusedError nobody listens>')
        with pytest.raises(ConnectError) as caught:
            one()
        assert caught.value is one and isinstance(one, resources.Failure)
    assert RefusedError('other') and not callable(RefusedError('other'))


def test_an_error_of_a_class_of_ones_own_as_a_value() -> None:
    """Whatever derives from HTTPError can be one."""

    class Mine(HTTPError):
        def __init__(self, number: int) -> None:
            super().__init__('mine')
            self.number = number

    value: Any = as_value(Mine(3))
    assert not value and isinstance(value, Mine) and value.number == 3


def test_an_unknown_host_reads_well() -> None:
    """It is a KeyError, as of a mapping, and a ValueError, as of an argument; its text is not quoted."""
    error = UnknownHost('no such host')
    assert isinstance(error, KeyError) and isinstance(error, ValueError) and str(error) == 'no such host'
