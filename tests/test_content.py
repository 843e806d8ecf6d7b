"""Bodies as other libraries call them: `json=`, `data=` and `files=`; and what else they call otherwise."""

from __future__ import annotations

import email
import email.policy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from napixclient import Client, ClientPool, Request
from napixclient._http.options import Options
from napixclient._options import OF_CLIENTS
from napixclient.aio import AsyncPool
from napixclient.messages import RequestOptions
from napixclient.resources import Resources
from napixclient.rest import Client as RestClient
from napixclient.saga import Saga
from napixclient.threads import SharedPool
from tests import kit
from tests.helpers_native import in_loop, in_thread

FORM = 'application/x-www-form-urlencoded'


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Takes whatever comes."""
    with kit.serve() as server:
        yield server


def sent(server: kit.Server) -> tuple[str | None, bytes]:
    """The type of the content that came last, and the content."""
    last = server.requests[-1]
    return last.headers.get('content-type'), last.body


def parts(server: kit.Server) -> list[tuple[str, str | None, str, bytes]]:
    """Name, file name, type and content of each part of the form that came last."""
    kind, body = sent(server)
    assert kind is not None and kind.startswith('multipart/form-data; boundary=')
    message: Any = email.message_from_bytes(f'Content-Type: {kind}\r\n\r\n'.encode() + body, policy=email.policy.HTTP)
    return [
        (
            part.get_param('name', header='content-disposition'),
            part.get_filename(),
            part.get_content_type() if 'content-type' in part else '',
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


# json ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('value', 'body'),
    [
        ({'a': 1}, b'{"a":1}'),
        ([1, 2], b'[1,2]'),
        ((1, 2), b'[1,2]'),
        ('text', b'"text"'),
        (7, b'7'),
        (1.5, b'1.5'),
        (True, b'true'),
        (False, b'false'),
        ({}, b'{}'),
        ([], b'[]'),
        ('', b'""'),
        (0, b'0'),
    ],
)
def test_json_is_any_value(server: kit.Server, value: Any, body: bytes) -> None:
    """It is sent as JSON with that type, what is false as well; a type of one's own stays."""
    with Client(server.host) as client:
        client.post('/', json=value)
        assert sent(server) == ('application/json', body)
        client.request('PUT', '/', json=value, headers={'content-type': 'application/vnd.api+json'})
        assert sent(server) == ('application/vnd.api+json', body)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), [float('-inf')]])
def test_what_is_no_json_is_refused(value: Any) -> None:
    """Before anything is sent, as for a body that goes as JSON."""
    with pytest.raises(ValueError, match='JSON'):
        Request('h', 'POST', '/', json=value)
    with pytest.raises(TypeError):
        Request('h', 'POST', '/', json={1, 2})


def test_no_json_is_no_body(server: kit.Server) -> None:
    """`None` is what says that there is none, of each of the three."""
    with Client(server.host) as client:
        client.post('/', json=None, data=None, files=None)
        assert sent(server) == (None, b'')
        client.post('/', 'body', json=None)
        assert sent(server) == (None, b'body')


# data ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('data', 'pairs'),
    [
        ({'a': 'é &=+', 'b': 1, 'c': 1.5}, [('a', 'é &=+'), ('b', '1'), ('c', '1.5')]),
        ({'a': [1, 2], 'b': ('x',), 'c': [], 'd': None}, [('a', '1'), ('a', '2'), ('b', 'x')]),
        ([('a', 1), ('a', 2), ['b', b'\xff']], [('a', '1'), ('a', '2'), ('b', '\ufffd')]),
        ((('a', 1), ('b', '')), [('a', '1'), ('b', '')]),
        ({}, []),
    ],
)
def test_data_is_a_form(server: kit.Server, data: Any, pairs: list[tuple[str, str]]) -> None:
    """A mapping or pairs; a list repeats its name, and `None` is left out."""
    with Client(server.host) as client, RestClient(server.url) as rest:
        for post in client.post, rest.post:
            post('/', data=data)
            kind, body = sent(server)
            assert kind == FORM and parse_qsl(body.decode(), keep_blank_values=True) == pairs
        client.post('/', data=data, headers={'Content-Type': f'{FORM}; charset=utf-8'})
        assert sent(server)[0] == f'{FORM}; charset=utf-8'


@pytest.mark.parametrize('data', ['é', 'é'.encode(), io.BytesIO('é'.encode()), iter(['é']), ('é'.encode(),)])
def test_other_data_is_sent_as_it_is(server: kit.Server, data: Any) -> None:
    """As `body=` is, without a type."""
    with Client(server.host) as client:
        client.put('/', data=data)
        assert sent(server) == (None, 'é'.encode())


# files ---------------------------------------------------------------------------------------------------------------


def test_files_are_a_multipart_form(server: kit.Server, tmp_path: Path) -> None:
    """An open file has its own name, what is none that of its field; the fields of `data` come first."""
    path = tmp_path / 'a.txt'
    path.write_bytes(b'of a file')
    with path.open('rb') as file, Client(server.host) as client, RestClient(server.url) as rest:
        for post in client.post, rest.post:
            file.seek(0)
            files = {
                'f': file,
                'g': ('b.json', b'{}'),
                'h': ('c.bin', io.BytesIO(b'\0'), 'x/y'),
                'i': b'bytes',
                'j': 'text',
                'k': (None, 'a field'),
            }
            post('/', data={'n': 1, 'm': ['x', 'y']}, files=files)
            assert parts(server) == [
                ('n', None, '', b'1'),
                ('m', None, '', b'x'),
                ('m', None, '', b'y'),
                ('f', 'a.txt', 'text/plain', b'of a file'),
                ('g', 'b.json', 'application/json', b'{}'),
                ('h', 'c.bin', 'x/y', b'\0'),
                ('i', 'i', 'application/octet-stream', b'bytes'),
                ('j', 'j', 'application/octet-stream', b'text'),
                ('k', None, '', b'a field'),
            ]
    with Client(server.host) as client:
        client.post('/', files=[('f', 'a'), ('f', 'b')], headers={'Content-Type': 'x/y'})
        assert [part[3] for part in parts(server)] == [b'a', b'b']


def test_a_file_may_have_header_fields(server: kit.Server) -> None:
    """They stand in its part; those that describe the part are still its own."""
    fields = {'X-Checksum': 'abc', 'Content-Disposition': 'attachment'}
    with Client(server.host) as client:
        for given in {'files': {'f': ('n', b'x', 'a/b', fields)}}, {'multipart': {'f': ('n', b'x', 'a/b', fields)}}:
            client.post('/', **given)
            assert parts(server) == [('f', 'n', 'a/b', b'x')]
            assert b'\r\nX-Checksum: abc\r\n' in sent(server)[1] and b'attachment' not in sent(server)[1]


@pytest.mark.parametrize('none', [{}, [], ()])
def test_no_files_are_no_multipart_form(server: kit.Server, none: Any) -> None:
    """They are as if they had not been given, as with requests: what was collected may be nothing."""
    with Client(server.host) as client, RestClient(server.url) as rest:
        for post in client.post, rest.post:
            post('/', files=none)
            assert sent(server) == (None, b'')
            post('/', data={'a': 'b'}, files=none)
            assert sent(server) == (FORM, b'a=b')
            post('/', json=[1], files=none)
            assert sent(server) == ('application/json', b'[1]')


# Together ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('given', 'kind', 'says'),
    [
        ({'body': 'x', 'json': 1}, ValueError, 'body and json exclude each other'),
        ({'body': 'x', 'data': {'a': 1}}, ValueError, 'body and data exclude each other'),
        ({'body': 'x', 'files': {'a': 'b'}}, ValueError, 'body and files exclude each other'),
        ({'body': 'x', 'multipart': {'a': 'b'}}, ValueError, 'body and multipart exclude each other'),
        ({'json': 0, 'data': ''}, ValueError, 'json and data exclude each other'),
        ({'json': 1, 'files': {'a': 'b'}}, ValueError, 'json and files exclude each other'),
        ({'multipart': {'a': 'b'}, 'files': {'a': 'b'}}, ValueError, 'multipart and files exclude each other'),
        ({'data': 'x', 'files': {'a': 'b'}}, TypeError, 'beside files, data is a mapping or pairs, not str'),
        ({'data': {'a': {'b': 1}}}, TypeError, "'a' is a dict, which no form has; what is nested is sent by json="),
        ({'data': {'a': io.BytesIO()}}, TypeError, 'files by files='),
        ({'data': [{'secret': 1}]}, TypeError, 'A list is sent as JSON by json='),
        ({'data': [1, 2]}, TypeError, 'an? int in it is no pair'),
        ({'data': 7}, TypeError, 'a body is a dict, list, text'),
        ({'files': 'a.txt'}, TypeError, 'files is a mapping or pairs'),
        ({'files': {'a': ('b',)}}, ValueError, r'\(file name, value, content type, headers\)'),
        ({'files': {'a': 7}}, TypeError, 'a file, a text or bytes, or .name, file., not int'),
    ],
)
def test_what_cannot_be_sent_is_refused(given: Any, kind: type[Exception], says: str) -> None:
    """Two bodies at once, and what no form has; the error says where it belongs."""
    with pytest.raises(kind, match=says) as caught:
        Request('h', 'POST', '/', **given)
    assert 'secret' not in str(caught.value)


def test_another_content_replaces_what_was_there() -> None:
    """With `replace` the old body goes and the type that it had; all else stays."""
    form = Request('h', 'POST', '/', data={'a': 1}, headers={'A': 'b'}, tag='t')
    changed = form.replace(json=[1])
    assert (changed.body, changed.headers.get('content-type'), changed.headers['a']) == ([1], None, 'b')
    assert changed.tag == 't' and changed.replace(data={'c': 2}).headers['content-type'] == FORM
    assert form.replace(files={'f': 'x'}).headers['content-type'].startswith('multipart/form-data')
    for none in {'json': None}, {'files': None}, {'files': {}}, {'files': []}:
        same = form.replace(url='/x', **none)
        assert (same.body, same.headers['content-type']) == (b'a=1', FORM)


def test_a_request_knows_its_object() -> None:
    """A mapping or a list that is sent as JSON is the body, for whoever looks at the request."""
    assert Request('h', 'POST', '/', json={'a': 1}).body == {'a': 1}
    assert Request.from_url('http://h/', 'post', json='x').body == b'"x"'


def test_pools_take_them(server: kit.Server) -> None:
    """All that make requests do."""
    with ClientPool() as pool, Saga(pool) as saga:
        pool.post(server.host, '/', json=1)
        pool.wait()
        assert sent(server) == ('application/json', b'1')
        saga.call(server.host, 'POST', '/', data={'a': 1}, undo=None)
        assert sent(server) == (FORM, b'a=1')
    with Resources([server.host]) as resources:
        resources.unicast('POST', '/', json='x')
        assert sent(server) == ('application/json', b'"x"')


@in_thread
def test_a_shared_pool_takes_them(server: kit.Server) -> None:
    """Likewise."""
    with SharedPool() as pool:
        pool.post(f'{server.url}/', data={'a': 'b'}).result()
        assert sent(server) == (FORM, b'a=b')


@in_loop
async def test_an_async_pool_takes_them(server: kit.Server) -> None:
    """Likewise."""
    async with AsyncPool() as pool:
        await pool.post(f'{server.url}/', files={'a': 'b'})
        assert parts(server) == [('a', 'a', 'application/octet-stream', b'b')]


# What others call otherwise ------------------------------------------------------------------------------------------

OF_REQUESTS = {
    'allow_redirects': "called 'redirect' here",
    'follow_redirects': "called 'redirect' here",
    'content': "called 'body' here",
    'query': "called 'params' here",
    'retry': "called 'retries' here",
    'auth': "called 'authenticator' here, an option of the client or the pool",
    'proxies': "called 'proxy' here, an option of the client or the pool",
    'ssl': "called 'ssl_context' here, an option of the client or the pool",
    'verify': 'an option of the client or the pool',
    'cert': 'an option of the client or the pool',
    'proxy': 'an option of the client or the pool',
    'cookies': 'an option of the client or the pool',
    'hooks': "called 'on_response' here, an option of the client or the pool",
}
OF_POOLS = {
    'auth': "called 'authenticator' here",
    'follow_redirects': "called 'redirect' here",
    'proxies': "called 'proxy' here",
    'ssl': "called 'ssl_context' here",
    'limits': "called 'max_connections' here",
    'max_retries': "called 'retries' here",
    'event_hooks': "called 'on_response' here",
    'concurrency': "called 'simultaneous' here",
    'cookie_jar': "called 'cookies' here",
}


@pytest.mark.parametrize('name', OF_REQUESTS)
def test_a_request_says_what_an_option_is_called_here(name: str) -> None:
    """Those of requests, httpx and aiohttp are told apart from misspelt ones, and said to belong to a pool."""
    given: Any = {name: True}
    with ClientPool() as pool, Client('h') as client:
        for ask in (
            lambda: Request('h', 'GET', '/', **given),
            lambda: pool.get('http://h/', **given),
            lambda: client.post('/', **given),
        ):
            with pytest.raises(TypeError, match=f"takes no option '{name}': .*{OF_REQUESTS[name]}"):
                ask()


@pytest.mark.parametrize('name', OF_POOLS)
def test_a_pool_says_what_an_option_is_called_here(name: str) -> None:
    """Likewise."""
    given: Any = {name: True}
    for make in ClientPool, SharedPool, AsyncPool, lambda **options: Client('h', **options):
        with pytest.raises(TypeError, match=f"takes no option '{name}': it is {OF_POOLS[name]}"):
            make(**given)


def test_a_rest_client_says_what_a_body_is_called_there() -> None:
    """There it is `data`, or `json`."""
    with RestClient('http://h/') as client:
        for name in 'body', 'content':
            given: Any = {name: 'x'}
            with pytest.raises(TypeError, match=f"takes no option '{name}': it is called 'data' here"):
                client.post('/', **given)


def test_what_belongs_to_a_client_is_none_of_a_request() -> None:
    """The list of them has no other names than these."""
    ours = {*Options.__optional_keys__, 'authenticator', 'simultaneous'}
    assert ours - RequestOptions.__optional_keys__ >= OF_CLIENTS
