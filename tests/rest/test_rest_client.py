"""The verbs of a REST client, where their paths lead, what counts as a success, and what they return."""

from __future__ import annotations

import inspect
import io
import json
import pickle
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import gevent
import pytest

from napixclient import HTTPError
from napixclient import Response as CoreResponse
from napixclient.authenticators import BearerToken
from napixclient.rest import Client, ClientError, Response, client, concurrency, errors, paging, polling, responses
from tests import kit

VERBS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options', 'copy', 'move']


def tell(method: str, path: str, headers: Any, body: bytes) -> Any:
    """Tell what was received; a path may ask for a status."""
    status = int(path.rpartition('status/')[2][:3]) if 'status/' in path else 200
    return (
        status,
        {'X-Method': method},
        {
            'method': method,
            'path': path,
            'body': body.decode(),
            'type': headers.get('content-type'),
            'token': headers.get('x-auth-token'),
        },
    )


@pytest.fixture
def server(tidy: None) -> Iterator[kit.Server]:
    """A server that tells what it received."""
    with kit.serve(tell) as server:
        yield server


@pytest.fixture
def rest(server: kit.Server) -> Iterator[Client]:
    """A client of a service below a path."""
    with Client(f'{server.url}/some/api', 'tok-1234') as rest:
        yield rest


# Verbs and paths -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('verb', VERBS)
def test_verbs(rest: Client, verb: str) -> None:
    """Each verb sends its method, with the token, to the path below the endpoint."""
    response = getattr(rest, verb)('/my/content')
    assert isinstance(response, Response)
    assert (response.status_code, response.headers['x-method']) == (200, verb.upper())
    if verb != 'head':
        assert (response.json['path'], response.json['token']) == ('/some/api/my/content', 'tok-1234')


@pytest.mark.parametrize('verb', VERBS)
def test_verbs_take_a_path_by_position_and_all_else_by_keyword(rest: Client, verb: str) -> None:
    """The path may be left out; nothing but it may be given by its place."""
    assert getattr(rest, verb)().status_code == 200
    with pytest.raises(TypeError):
        getattr(rest, verb)('/x', {'a': 1})
    with pytest.raises(TypeError, match='nonsense'):
        getattr(rest, verb)('/x', nonsense=1)


@pytest.mark.parametrize(
    ('endpoint', 'path', 'target'),
    [
        ('', '', '/'),
        ('', '/', '/'),
        ('', 'x', '/x'),
        ('', '/x', '/x'),
        ('', '//x', '//x'),
        ('/', '', '/'),
        ('/', 'x', '/x'),
        ('/', '/x', '/x'),
        ('/some/api', '', '/some/api'),
        ('/some/api', '/', '/some/api/'),
        ('/some/api', 'x', '/some/api/x'),
        ('/some/api/', '', '/some/api/'),
        ('/some/api/', '/x', '/some/api/x'),
        ('/some/api/', 'x/', '/some/api/x/'),
        ('/some/api', 'a//b/../c/./d', '/some/api/a//b/../c/./d'),
        ('/some/api', '..', '/some/api/..'),
        ('/some/api', '100%', '/some/api/100%25'),
        ('/some/api', 'a%20b', '/some/api/a%2520b'),
        ('/some/api', 'a?b=c#d', '/some/api/a%3Fb=c%23d'),
        ('/some/api', 'a b/é/☃', '/some/api/a%20b/%C3%A9/%E2%98%83'),
        ('/some/api', "a:@!$&'()*+,;=-._~b", "/some/api/a:@!$&'()*+,;=-._~b"),
        ('/some/api', '[a]|"<\\^`{}>', '/some/api/%5Ba%5D%7C%22%3C%5C%5E%60%7B%7D%3E'),
        ('/a%20b', 'c', '/a%20b/c'),
        ('/é', 'c', '/%C3%A9/c'),
    ],
)
def test_paths(server: kit.Server, endpoint: str, path: str, target: str) -> None:
    """Exactly one slash joins them; what is in a path is data, quoted as RFC 3986 says."""
    with Client(server.url + endpoint) as rest:
        assert rest.get(path).json['path'] == target


@pytest.mark.parametrize('path', ['a\r\nX: y', 'a\nb', 'a\0b', '\ud800', 'é\udfff', None, 7, b'/x'])
def test_paths_that_are_refused(server: kit.Server, rest: Client, path: Any) -> None:
    """A path that could not arrive as it is is refused, and nothing is sent."""
    with pytest.raises(ValueError, match='path'):
        rest.get(path)
    assert server.requests == []


@pytest.mark.parametrize(
    'url',
    [
        'server.example/api',
        'ftp://server.example/',
        'ws://server.example',
        '//server.example',
        'http://',
        'http:///api',
        '',
        'http://server.example/api?x=1',
        'http://server.example/?',
        'http://server.example/api#top',
        'http://server.example#',
        'http://user:password@server.example/',
        'http://server.example:0/',
        'http://server.example/a b',
        'http://server.example/a\r\nb',
        'http://server.example/100%',
        'http://server.example/\ud800',
        None,
        7,
    ],
)
def test_endpoints_that_are_refused(url: Any) -> None:
    """An endpoint is the URL of a service: nothing but scheme, host, port and path."""
    with pytest.raises(ValueError) as caught:
        Client(url)
    assert 'password' not in str(caught.value) or 'without credentials' in str(caught.value)


def test_endpoints_are_kept(server: kit.Server) -> None:
    """The scheme is known in any case of its letters, and the client tells its endpoint as it was given."""
    with Client(server.url.replace('http', 'HTTP') + '/Api') as rest:
        assert rest.get('x').json['path'] == '/Api/x'
        assert rest.endpoint_url.endswith('/Api')
        assert rest.endpoint_url in repr(rest) and repr(rest).startswith('<Client ')


@pytest.mark.parametrize(
    ('params', 'query'),
    [
        ({'a': 1, 'b': 'two'}, 'a=1&b=two'),
        ([('a', 1), ('a', 2)], 'a=1&a=2'),
        ({'a': ['x', 'y'], 'b': []}, 'a=x&a=y'),
        ({'a b&c=d': 'é+%/?#'}, 'a%20b%26c%3Dd=%C3%A9%2B%25/%3F%23'),
        ({'ids': 'a,b'}, 'ids=a,b'),
        ({'t': '12:30'}, 't=12:30'),
        ({'a': b'\xff'}, 'a=%FF'),
        ({'a': ''}, 'a='),
        ({'f': 1.5, 'yes': True}, 'f=1.5&yes=True'),
        ({'x': 'a\r\nb'}, 'x=a%0D%0Ab'),
    ],
)
def test_params(rest: Client, params: Any, query: str) -> None:
    """Parameters are quoted as RFC 3986 says; a list repeats its name."""
    assert rest.get('x', params=params).json['path'] == f'/some/api/x?{query}'


@pytest.mark.parametrize('params', [{}, [], None])
def test_no_params(rest: Client, params: Any) -> None:
    """Without parameters there is no query."""
    assert rest.get('x', params=params).json['path'] == '/some/api/x'


@pytest.mark.parametrize(
    'params',
    [
        {'a': None},
        {None: 'a'},
        {'a': {}},
        {'a': '\ud800'},
        {'\ud800': 'a'},
        'a=1',
        ['ab1'],
        ['ab'],
        [1],
        7,
        {'a': [None]},
    ],
)
def test_params_that_are_refused(server: kit.Server, rest: Client, params: Any) -> None:
    """What is no text and no number is refused, and nothing is sent."""
    with pytest.raises(ValueError, match='param'):
        rest.get('x', params=params)
    assert server.requests == []


@pytest.mark.parametrize(
    'value',
    [
        ' x',
        'x ',
        '\tx',
        'x\xa0',
        '\x85',
        'a\rb',
        'a\nb',
        'a\0b',
        'a\x7fb',
        'a\x1bb',
        '☃',
        'a☃b',
        '\ud800',
        None,
        True,
        ['x'],
    ],
)
def test_header_values_that_are_refused(server: kit.Server, rest: Client, value: Any) -> None:
    """A value that would not arrive as it is is refused, of a call, of a client, of a token; it is not told, for it may be a secret."""
    with pytest.raises(ValueError, match='X-Thing'):
        rest.get('x', headers={'X-Thing': value})
    with pytest.raises(ValueError, match='X-Thing'):
        Client(server.url, base_headers={'X-Thing': value})
    if value is not None:
        with pytest.raises(ValueError, match='(?i)token'):
            Client(server.url, value)
    assert server.requests == []


@pytest.mark.parametrize(
    'headers',
    [
        {'X Thing': 'a'},
        {'': 'a'},
        {'Host': 'a'},
        {'Transfer-Encoding': 'chunked'},
        [('X',)],
        ['X: y'],
        ['ab'],
        'X: y',
        7,
    ],
)
def test_header_names_that_are_refused(server: kit.Server, rest: Client, headers: Any) -> None:
    """Names are tokens, and those that frame the message are the client's own business."""
    with pytest.raises(ValueError):
        rest.get('x', headers=headers)
    assert server.requests == []


def test_fields(server: kit.Server) -> None:
    """Fields of a call are sent in the place of the client's own; the token may be given besides an authenticator."""
    with Client(
        server.url, 'tok-1234', authenticator=BearerToken('other-token'), base_headers={'X-A': '1', 'X-B': '1'}
    ) as rest:
        rest.get(headers={'x-b': b'2', 'X-C': 3})
        rest.get(headers=[('X-Auth-Token', 'tok-5678')])
    first, second = (request.headers for request in server.requests)
    assert [first[name] for name in ('x-a', 'x-b', 'x-c', 'x-auth-token', 'authorization')] == [
        '1',
        '2',
        '3',
        'tok-1234',
        'Bearer other-token',
    ]
    assert second.getlist('x-auth-token') == ['tok-5678']


# Bodies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('value', [{'a': 'é'}, [1, 2], 'text', 7, 0, False, '', {}])
def test_json(rest: Client, value: Any) -> None:
    """``json`` is encoded, whatever its type, and the field says so."""
    told = rest.post(json=value).json
    assert (json.loads(told['body']), told['type']) == (value, 'application/json')


def test_json_with_a_type_of_its_own(rest: Client) -> None:
    """A Content-Type of the call stands."""
    assert (
        rest.patch(json=[], headers={'content-type': 'application/json-patch+json'}).json['type']
        == 'application/json-patch+json'
    )
    assert rest.patch(json=[], headers={'X-Other': '1'}).json['type'] == 'application/json'


@pytest.mark.parametrize(
    'data', ['é', 'é'.encode(), io.BytesIO('é'.encode()), ['é'.encode()].__iter__(), bytearray('é'.encode())]
)
def test_data(rest: Client, data: Any) -> None:
    """``data`` is sent as it is, without a Content-Type."""
    told = rest.put(data=data).json
    assert (told['body'], told['type']) == ('é', None)


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        ({'json': 1, 'data': 'x'}, ValueError),
        ({'data': {'a': {}}}, TypeError),
        ({'data': [1]}, TypeError),
        ({'data': 'x', 'files': {'f': 'x'}}, TypeError),
        ({'json': 1, 'files': {'f': 'x'}}, ValueError),
        ({'multipart': {'a': 'b'}, 'files': {'f': 'x'}}, ValueError),
        ({'data': 7}, TypeError),
        ({'json': {1, 2}}, TypeError),
        ({'json': float('nan')}, ValueError),
    ],
)
def test_bodies_that_are_refused(
    server: kit.Server, rest: Client, options: dict[str, Any], kind: type[Exception]
) -> None:
    """What cannot be sent is told at once."""
    with pytest.raises(kind):
        rest.post(**options)
    assert server.requests == []


def test_options_of_the_request(server: kit.Server, rest: Client) -> None:
    """A call hands on what the core's request takes."""
    with pytest.raises(ClientError):
        rest.get(max_body=3)
    assert rest.get(timeout=5, retries=0, redirect=True, expect=True).status_code == 200
    assert 'filename="f"' in rest.post(multipart={'f': ('f', b'x')}).json['body']


# Success -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('success', 'status'),
    [
        (200, 200),
        (202, 202),
        (HTTPStatus.CREATED, 201),
        ((200, 204), 204),
        ([201], 201),
        ({404}, 404),
        (range(200, 300), 299),
        (404, 404),
        (range(100, 600), 503),
        (frozenset([HTTPStatus.OK]), 200),
        ({200: 'ok'}, 200),
        (304, 304),
    ],
)
def test_success(rest: Client, success: Any, status: int) -> None:
    """A status that was asked for is a success, be it 404."""
    assert rest.get(f'status/{status}', success=success).status_code == status


@pytest.mark.parametrize(
    ('success', 'status'),
    [(200, 201), (202, 200), ((200, 204), 202), (range(200, 300), 300), ((), 200), (404, 200), (200, 404)],
)
def test_another_status(rest: Client, success: Any, status: int) -> None:
    """Any other status is raised."""
    with pytest.raises(ClientError) as caught:
        rest.get(f'status/{status}', success=success)
    assert caught.value.status == status


@pytest.mark.parametrize('success', [True, '200', ['200'], 200.0, object(), b'x', [None]])
def test_success_that_makes_no_sense(server: kit.Server, rest: Client, success: Any) -> None:
    """What is no status and no collection of them is refused, and nothing is sent."""
    with pytest.raises(ValueError, match='success'):
        rest.get(success=success)
    assert server.requests == []


# Responses -----------------------------------------------------------------------------------------------------------


def test_response(rest: Client) -> None:
    """It tells the answer in the words of the seed: ``status`` is the reason."""
    response = rest.get('x')
    assert not isinstance(response, CoreResponse)
    assert (response.status_code, response.status, repr(response)) == (200, 'OK', '<Response 200 OK>')
    assert response.headers['Content-Type'] == 'application/json'
    assert json.loads(response.content) == json.loads(response.text) == response.json
    copied = pickle.loads(pickle.dumps(response))
    assert (copied.json, copied.status) == (response.json, 'OK')
    assert isinstance(response.answer, CoreResponse) and response.url == response.answer.url
    assert response.url.endswith('/x')


@pytest.mark.parametrize('body', ['', 'no json', '{"a":', b'\xff\xfe', '[' * 100_000])
def test_a_body_that_is_no_json(tidy: None, body: Any) -> None:
    """It raises a ClientError that knows the answer."""
    with kit.serve(lambda method, path, headers, data: (200, None, body)) as server, Client(server.url) as rest:
        response = rest.get()
        with pytest.raises(ClientError, match='JSON') as caught:
            _ = response.json
    assert (caught.value.status, caught.value.response) == (200, response)
    assert isinstance(caught.value.__cause__, ValueError)


# Lazy responses ------------------------------------------------------------------------------------------------------


def test_lazy(tidy: None) -> None:
    """``success=None`` returns at once; the request is under way, and the first thing that is asked waits for it."""
    with kit.serve(tell, kit.Gate()) as server, Client(server.url) as rest:
        response = rest.get('status/404', success=None)
        assert 'under way' in repr(response)
        server.gate.wait_for(1)  # nobody has asked for anything yet
        reader = gevent.spawn(lambda: response.status_code)
        kit.turn()
        assert not reader.ready() and 'under way' in repr(response)
        server.gate.open()
        assert reader.get(timeout=kit.LONG) == 404
        assert response.status == 'Not Found' and response.json['path'] == '/status/404'
        assert repr(response) == '<Response 404 Not Found>'


@pytest.mark.parametrize('name', ['status_code', 'status', 'headers', 'content', 'text', 'json'])
def test_any_attribute_of_a_lazy_one_waits(tidy: None, name: str) -> None:
    """Each of them waits, and raises a ClientError where there was no answer, as often as it is asked."""
    with kit.serve(tell) as server, Client(server.url) as rest:
        assert getattr(rest.get(success=None), name)
    with kit.Mute(listening=False) as dead, Client(dead.url) as rest:
        response = rest.get(success=None)
        for _ in range(2):
            with pytest.raises(ClientError) as caught:
                getattr(response, name)
            assert caught.value.status == 0


@pytest.mark.parametrize('keeps', [True, False])
def test_a_lazy_one_that_nobody_reads(oracle: None, keeps: bool) -> None:
    """It finishes in the background, whether or not somebody still has it; it is no leak and prints nothing."""
    with kit.serve(tell, kit.Gate()) as server, Client(server.url, max_concurrency=4) as rest:
        kept = [rest.post(f'{number:06}', json=number, success=None) for number in range(20)]
        if not keeps:
            kept.clear()
        server.gate.wait_for(4)
        server.gate.open()
        kit.wait_until(lambda: len(server.requests) == 20 and not server.gate.in_flight)
        assert sorted(int(request.body) for request in server.requests) == list(range(20))
        assert rest.get('x').status_code == 200


def test_a_lazy_one_outlives_its_client(oracle: None) -> None:
    """What was asked for arrives, though nobody has kept the client."""
    with kit.serve(tell, kit.Gate()) as server:
        response = Client(server.url).post('x', json=1, success=None)
        server.gate.wait_for(1)[0].release()
        assert response.status_code == 200


def test_lazy_failures_that_nobody_reads(oracle: None) -> None:
    """A request that fails in the background is silent, too."""
    with kit.Mute(listening=False) as dead, Client(dead.url) as rest:
        pending = rest.get(success=None)
        kit.wait_until(lambda: 'not read yet' in repr(pending))


def test_a_reader_that_is_killed_cancels_nothing(tidy: None) -> None:
    """To wait for a lazy response is only to wait: the next reader has it."""
    with kit.serve(tell, kit.Gate()) as server, Client(server.url) as rest:
        response = rest.get('x', success=None)
        server.gate.wait_for(1)
        reader = gevent.spawn(lambda: response.status_code)
        kit.turn()
        reader.kill()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            _ = response.text
        server.gate.open()
        assert response.status_code == 200
        assert len(server.requests) == 1


# One client, many greenlets ------------------------------------------------------------------------------------------


def test_a_call_leaves_nothing_behind(rest: Client) -> None:
    """The client is the same before and after."""
    before = {name: repr(value) for name, value in vars(rest).items() if name != '_core'}
    rest.post('x', json={'a': 1}, headers={'X-A': '1'}, params={'a': 1}, success=range(200, 300))
    with pytest.raises(ClientError):
        rest.get('status/404')
    rest.get('x', success=None).text  # noqa: B018 - it waits
    assert {name: repr(value) for name, value in vars(rest).items() if name != '_core'} == before


def test_a_hundred_greenlets_may_use_one(oracle: None) -> None:
    """Each gets the answer to its own call, with its own fields and parameters."""

    def echo(method: str, path: str, headers: Any, body: bytes) -> Any:
        return {'id': headers['x-id'], 'path': path, 'body': body.decode()}

    with kit.serve(echo) as server, Client(server.url) as rest:

        def call(number: int) -> None:
            for _ in range(5):
                told = rest.post(f'/{number}', params={'n': number}, headers={'X-Id': number}, json=number).json
                assert told == {'id': str(number), 'path': f'/{number}?n={number}', 'body': str(number)}

        gevent.joinall([gevent.spawn(call, number) for number in range(100)], raise_error=True)
        assert len(server.requests) == 500 and server.accepted <= 10


def test_a_caller_that_is_killed_cancels_its_request(oracle: None) -> None:
    """As with the core: its connection is closed, and its slot is free at once."""
    with kit.serve(tell, kit.Gate()) as server, Client(server.url, max_concurrency=1) as rest:
        caller = gevent.spawn(rest.get, 'x')
        server.gate.wait_for(1)
        caller.kill()
        kit.wait_until(lambda: not server.gate.in_flight)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            rest.get('x')
        server.gate.open()
        assert rest.get('x').status_code == 200


@pytest.mark.parametrize('cap', [1, 3, 10])
def test_max_concurrency_is_the_cap_of_the_origin(oracle: None, cap: int) -> None:
    """The server never sees more calls at a time; ten by default."""
    with (
        kit.serve(tell, kit.Gate()) as server,
        Client(server.url, **({} if cap == 10 else {'max_concurrency': cap})) as rest,
    ):
        callers = [gevent.spawn(rest.get) for _ in range(30)]
        server.gate.wait_for(cap)
        for _ in range(10):
            kit.turn()
        server.gate.open()
        gevent.joinall(callers, raise_error=True)
        assert server.gate.peak == cap


@pytest.mark.parametrize(
    'options',
    [
        {'max_concurrency': 0},
        {'max_concurrency': True},
        {'max_concurrency': 'many'},
        {'max_concurrency': 1.5},
        {'token': ''},
        {'token': 7},
        {'authenticator': 'x'},
        {'timeout': -1},
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any]) -> None:
    """They are told when the client is made."""
    with pytest.raises(ValueError):
        Client('http://server.example', **options)


@pytest.mark.parametrize('name', ['headers', 'simultaneous', 'nonsense'])
def test_arguments_that_are_unknown(name: str) -> None:
    """They are a TypeError that names them."""
    with pytest.raises(TypeError, match=name):
        Client('http://server.example', **{name: 1})


def test_no_text_of_a_client_shows_its_token(server: kit.Server) -> None:
    """Neither its repr nor its errors."""
    with Client(server.url, 'tok-1234') as rest, pytest.raises(ClientError) as caught:
        rest.get('status/500/tok-1234')
    assert 'tok-1234' not in f'{rest!r} {caught.value} {caught.value!r} {caught.value.message} {caught.value.chain}'


def test_tls(authority: kit.Authority, oracle: None) -> None:
    """The options of the pool are those of the client."""
    with kit.serve(tell, tls=authority.server()) as server:
        with Client(f'{server.url}/api', ca_certs=authority.ca_certs) as rest:
            assert rest.get('x').json['path'] == '/api/x'
        with Client(server.url) as rest, pytest.raises(ClientError) as caught:
            rest.get()
        assert caught.value.status == 0 and isinstance(caught.value.__cause__, HTTPError)


# The public names ----------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    """They are these, sorted; each can be imported, is listed by ``dir``, and is documented."""
    from napixclient import rest as package

    assert package.__all__ == ['Client', 'ClientError', 'ClientOptions', 'Response', 'SilentEvent', 'paginate', 'wait']
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match='nonsense'):
        _ = package.nonsense
    for module in client, concurrency, errors, paging, polling, responses:
        assert module.__all__ == sorted(module.__all__) and module.__doc__
    for name in package.__all__:
        thing = getattr(package, name)
        assert thing.__doc__
        for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
            if not attribute.startswith('_') and (inspect.isfunction(member) or isinstance(member, property)):
                assert inspect.getdoc(member), attribute


def test_the_import_loads_nothing() -> None:
    """A program that monkey-patches can import the package before it does."""
    done = kit.run_program("""
import sys, napixclient.rest
assert not [name for name in sys.modules if name.startswith(('napixclient.client', 'napixclient._http', 'napixclient.rest.'))]
""")
    assert done == (0, '', '')
