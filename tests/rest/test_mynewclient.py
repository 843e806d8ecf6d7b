"""The clients of both seed texts, against a real server: adapted in their imports and their broken syntax only."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from napixclient.rest import Client, ClientError, SilentEvent
from tests import kit

TOKEN = 'Some-token'
logger = logging.getLogger(__name__)


# The newer text ------------------------------------------------------------------------------------------------------


class MyNewClient(Client):
    """MyNewClient Description Here"""

    def list(self, **params):  # type: ignore[no-untyped-def]
        """
        :returns: a list of content objects [{...}, {...}, ...]
        """
        r = self.get('/my/contents', **params)
        return r.json

    def create(self, data, **args):  # type: ignore[no-untyped-def]
        """
        :returns: True if new content is created, False if already there
        """
        logger.info('Create new content')
        try:
            self.post(json=data, **args, success=202)
        except ClientError as ce:
            if ce.status in (201,):
                logger.debug('Content was already there')
                return False
            raise
        logger.debug('New content was added')
        return True

    def _single_threaded_method(self, **args):  # type: ignore[no-untyped-def]
        return self.get('/my/contents/{number}'.format(**args)).json

    def multithread_method(self, kwarg_list):  # type: ignore[no-untyped-def]
        return self.async_run(self._single_threaded_method, kwarg_list)


# The older text ------------------------------------------------------------------------------------------------------


class SomeKnownException(Exception):
    """What the first method knows."""


class MyOlderClient(Client):
    """MyNewClient Description Here"""

    def my_first_method(self, **args):  # type: ignore[no-untyped-def]
        """Method description"""
        try:
            if args['fails']:
                raise SomeKnownException('no luck')
        except SomeKnownException as e1:
            raise ClientError('MyError: %s' % e1)  # noqa: B904, UP031 - as the text has it
        return self.get('/my/contents').json

    def _single_threaded_method(self, **args):  # type: ignore[no-untyped-def]
        return self.get('/my/contents/{number}'.format(**args)).json

    def multithread_method(self, numbers):  # type: ignore[no-untyped-def]
        left = list(numbers)
        events = []
        thread_list = []
        self._init_thread_limit()
        while left or thread_list:
            if left:
                event = SilentEvent(self._single_threaded_method, number=left.pop(0))
                event.start()
                events.append(event)
                thread_list.append(event)
            thread_list = self._watch_thread_limit(thread_list)
        return events


# A server as both have it in mind ------------------------------------------------------------------------------------


class Service:
    """Contents at `/some/api/endpoint`."""

    def __init__(self) -> None:
        self.contents = [{'name': 'first'}]

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """Answer."""
        if headers.get('x-auth-token') != TOKEN:
            return 401, {'error': {'code': 401, 'message': 'who are you?', 'title': 'Unauthorized'}}
        match method, path.removeprefix('/some/api/endpoint').partition('?')[0]:
            case 'GET', '/my/contents':
                return self.contents
            case 'GET', where if where.startswith('/my/contents/'):
                gevent.sleep(0.001)  # so that others arrive meanwhile
                return {'number': int(where.rpartition('/')[2])}
            case 'POST', '':
                assert headers['content-type'] == 'application/json'
                content = json.loads(body)
                if 'name' not in content:
                    return 400, {'badRequest': {'message': 'a content has a name', 'code': 400, 'details': 'name'}}
                if content in self.contents:
                    return 201, content
                self.contents.append(content)
                return 202, content
        return 404, None


@pytest.fixture
def server(oracle: None) -> Iterator[kit.Server]:
    """The service."""
    with kit.serve(Service()) as server:
        yield server


@pytest.fixture
def cl(server: kit.Server) -> Iterator[MyNewClient]:
    """A client, as the text makes one."""
    with MyNewClient(f'{server.url}/some/api/endpoint', TOKEN) as cl:
        yield cl


def test_list(cl: MyNewClient, server: kit.Server) -> None:
    """``list`` gives the decoded list; its parameters are those of the verb."""
    assert cl.list() == [{'name': 'first'}]
    assert cl.list(params={'limit': 1, 'marker': 'é &'}) == [{'name': 'first'}]
    assert [request.path for request in server.requests] == [
        '/some/api/endpoint/my/contents',
        '/some/api/endpoint/my/contents?limit=1&marker=%C3%A9%20%26',
    ]


def test_create(cl: MyNewClient, server: kit.Server) -> None:
    """``create`` is true for what is new (202) and false for what was there already (201)."""
    assert cl.create({'name': 'second'}) is True
    assert cl.create({'name': 'second'}) is False
    assert cl.list() == [{'name': 'first'}, {'name': 'second'}]
    assert server.requests[0].path == '/some/api/endpoint'
    assert server.requests[0].body == b'{"name":"second"}'


def test_any_other_failure_of_create_goes_on(cl: MyNewClient) -> None:
    """What is neither is raised, in the server's words."""
    with pytest.raises(ClientError) as caught:
        cl.create({})
    assert (caught.value.status, caught.value.message, caught.value.details) == (400, 'a content has a name', ['name'])


def test_how_to_use_your_client(server: kit.Server, capfd: pytest.CaptureFixture[str]) -> None:
    """The text's own ``try``: what fails is a ClientError that can be printed."""
    said = ''
    try:
        cl = MyNewClient(f'{server.url}/some/api/endpoint', 'another-token')
        print(cl.list())
    except ClientError as cle:
        said = f'Client Error: {cle}'
    assert 'who are you?' in said and '401' in said and 'another-token' not in said
    cl.close()


@pytest.mark.parametrize('kind', [MyNewClient, MyOlderClient])
def test_multithread_method(server: kit.Server, kind: Any) -> None:
    """Both ways to do many calls at once do them all, and never more than ten at a time."""
    with kind(f'{server.url}/some/api/endpoint', TOKEN) as cl:
        if kind is MyNewClient:
            found = cl.multithread_method([{'number': number} for number in range(60)])
        else:
            found = [event.value for event in cl.multithread_method(range(60))]
    assert found == [{'number': number} for number in range(60)]
    assert 1 < server.gate.peak <= 10


def test_my_first_method(server: kit.Server) -> None:
    """A ClientError of a client's own making is caught as any other is."""
    with MyOlderClient(f'{server.url}/some/api/endpoint', TOKEN) as cl:
        assert cl.my_first_method(fails=False) == [{'name': 'first'}]
        with pytest.raises(ClientError, match='^MyError: no luck$'):
            cl.my_first_method(fails=True)
