"""Requests, responses and headers as values: what is refused, what is kept, what is sent."""

from __future__ import annotations

import io
import json
import socket
import string
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import hypothesis
import pytest
import urllib3
from hypothesis import strategies as st

from napixclient import Headers, Request, Response
from napixclient.messages import Source, parse_origin


def request(*args: Any, **options: Any) -> Request:
    """A request to a host that does not matter."""
    return Request('server.example', *(args or ('GET', '/captains')), **options)


def response(*fields: str, body: bytes = b'', first: str = 'HTTP/1.1 200 OK') -> Response:
    """An answer with these header fields."""
    return Response(request(), int(first[9:12]), '\r\n'.join([first, *fields]).encode('latin-1'), body, 0.25)


# Hosts ---------------------------------------------------------------------------------------------------------------

HOSTS = [
    # as written, scheme, host, port, authority
    ('name', 'http', 'name', 80, 'name'),
    ('name:8002', 'http', 'name', 8002, 'name:8002'),
    ('name:80', 'http', 'name', 80, 'name'),
    ('name:443', 'http', 'name', 443, 'name:443'),
    ('NAME.Example', 'http', 'name.example', 80, 'name.example'),
    ('under_score', 'http', 'under_score', 80, 'under_score'),
    ('127.0.0.1:65535', 'http', '127.0.0.1', 65535, '127.0.0.1:65535'),
    ('[::1]', 'http', '::1', 80, '[::1]'),
    ('[::1]:80', 'http', '::1', 80, '[::1]'),
    ('[::1]:8002', 'http', '::1', 8002, '[::1]:8002'),
    ('[FE80::A]:8002', 'http', 'fe80::a', 8002, '[fe80::a]:8002'),
    ('http://name', 'http', 'name', 80, 'name'),
    ('HTTP://name', 'http', 'name', 80, 'name'),
    ('http://name:8002', 'http', 'name', 8002, 'name:8002'),
    ('https://name', 'https', 'name', 443, 'name'),
    ('https://name:443', 'https', 'name', 443, 'name'),
    ('https://name:80', 'https', 'name', 80, 'name:80'),
    ('https://name:8443', 'https', 'name', 8443, 'name:8443'),
    ('https://[::1]:8443', 'https', '::1', 8443, '[::1]:8443'),
]


@pytest.mark.parametrize(('written', 'scheme', 'host', 'port', 'authority'), HOSTS)
def test_hosts(written: str, scheme: str, host: str, port: int, authority: str) -> None:
    """A host is read as scheme, host and port, and sent with its port only where that is not the scheme's own."""
    origin = parse_origin(written)
    assert origin == (scheme, host, port)
    assert origin.authority == authority
    assert Request(written, 'GET', '/').authority == authority
    assert str(origin) == f'{scheme}://{authority}'


@pytest.mark.parametrize(
    'written',
    [
        '',
        ' ',
        'a b',
        ' name',
        'name ',
        'name\t',
        'na\rme',
        'na\nme',
        'name\r\nX: y',
        'na\0me',
        'na\x1fme',
        'na\x7fme',
        'na\x80me',
        'na\u2028me',
        'name/path',
        'name//',
        'http://name/path',
        '/name',
        '//name',
        'name\\path',
        'user@name',
        'user:secret@name',
        'http://user:secret@name',
        'http://name\\@other',
        'name:0',
        'name:65536',
        'name:99999',
        'name:-1',
        'name:+80',
        'name:8a',
        'name:80:80',
        ':80',
        'name:\uff11\uff12',
        'ftp://name',
        'ws://name',
        '://name',
        'http://',
        'http:///',
        'http:////name',
        'http://http://name',
        '::1',
        'fe80::1',
        '[::1',
        '::1]',
        '[::1]x',
        '[::1]]',
        '[]',
        '[name]',
        '[::1]:80:80',
        '[1.2.3.4]',
        b'name',
        5,
        None,
        True,
        1.5,
    ],
)
def test_bad_hosts(written: Any) -> None:
    """What is not a host in one of the forms of the contract is a ValueError, for any kind of value."""
    for secret in 'http://me:s3cret@host', 'me:s3cret@host:80', 'https://s3cret@host/path', 'ftp://a:s3cret@b':
        with pytest.raises(ValueError) as caught:
            parse_origin(secret)
        assert 's3cret' not in str(caught.value) and 'host' in str(caught.value)
    with pytest.raises(ValueError):
        parse_origin(written)
    with pytest.raises(ValueError):
        Request(written, 'GET', '/')


@pytest.mark.parametrize(
    'written', ['@name', 'http://@name', 'name?', 'name#', 'name/?', 'http://name#', 'name/..', 'name/.', 'name:']
)
def test_hosts_with_empty_parts(written: str) -> None:
    """An empty user, query, fragment or port, or a path that comes to nothing, is no more a host than a full one."""
    with pytest.raises(ValueError):
        parse_origin(written)


@pytest.mark.parametrize('written', ['%41.example', 'a"b', 'a<b', 'a>b', 'a`b', 'a{b}', 'a|b', 'a^b', '*'])
def test_hosts_of_odd_characters(written: str) -> None:
    """Characters that no host name has are refused, and percent-encoding is not undone behind the caller's back."""
    with pytest.raises(ValueError):
        parse_origin(written)


@pytest.mark.parametrize('written', [['name'], {'name': 1}, bytearray(b'name')])
def test_hosts_that_do_not_hash(written: Any) -> None:
    """A host of a kind that cannot be a key is a ValueError like any other."""
    with pytest.raises(ValueError):
        Request(written, 'GET', '/')


def test_zone_is_not_sent() -> None:
    """The zone of an IPv6 address means nothing to the server and is not part of Host (RFC 6874 §4)."""
    assert '%' not in parse_origin('[fe80::1%25eth0]:8002').authority


# Methods, urls, params -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'method',
    [
        'GET',
        'HEAD',
        'POST',
        'PUT',
        'DELETE',
        'PATCH',
        'OPTIONS',
        'TRACE',
        'PROPFIND',
        'Get',
        'M-SEARCH',
        "!#$%&'*+-.^_`|~09",
    ],
)
def test_methods(method: str) -> None:
    """Any token is a method, and its case is kept (RFC 9110 §9.1)."""
    assert request(method, '/').method == method


@pytest.mark.parametrize(
    'method',
    [
        '',
        ' ',
        'GET ',
        ' GET',
        'G ET',
        'GET\r\nX: y',
        'GET\n',
        'GET\r',
        'GET\0',
        'GET\t',
        'GET\x7f',
        'GÉT',
        'GET\u2028',
        'G/T',
        'G:T',
        'G(T',
        '"GET"',
        None,
        5,
        b'GET',
        ['GET'],
        {},
    ],
)
def test_bad_methods(method: Any) -> None:
    """What is not a token is no method, whatever its kind: a ValueError."""
    with pytest.raises(ValueError):
        request(method, '/')


@pytest.mark.parametrize(
    ('url', 'sent'),
    [
        ('/', '/'),
        ('/captains', '/captains'),
        ('/?', '/?'),
        ('//double', '//double'),
        ('/a/../b', '/a/../b'),
        ('/a b', '/a%20b'),
        ('/é', '/%C3%A9'),
        ('/€?q=€', '/%E2%82%AC?q=%E2%82%AC'),
        ('/"x"', '/%22x%22'),
        ('/a%20b', '/a%20b'),
        ('/%C3%A9', '/%C3%A9'),
        ('/?a=b+c&d=%26', '/?a=b+c&d=%26'),
        ('/x;y=1,2', '/x;y=1,2'),
        ('/?u=http://a/?b=c', '/?u=http://a/?b=c'),
        ('/[1]', '/[1]'),
        ('/a\x80b', '/a%C2%80b'),
        ('/\u2028', '/%E2%80%A8'),
        ('/\U0001f600', '/%F0%9F%98%80'),
        ('/a b%20c', '/a%20b%20c'),
    ],
)
def test_urls(url: str, sent: str) -> None:
    """Spaces and what is not ASCII are percent-encoded as UTF-8; what is encoded already is left as it is."""
    assert request('GET', url).url == sent


def test_asterisk() -> None:
    """``*`` is a target of its own (RFC 9112 §3.2.4)."""
    assert request('OPTIONS', '*').url == '*'


@pytest.mark.parametrize(
    'url',
    [
        '',
        'captains',
        '?a=b',
        'http://server.example/',
        '*x',
        '/x#y',
        '/#',
        '/a\r\nX: y',
        '/a\nb',
        '/a\rb',
        '/a\0b',
        '/a\tb',
        '/a\x0bb',
        '/a\x1fb',
        '/a\x7fb',
        '\r/',
        ' /',
        '/\ud800',
        None,
        5,
        b'/',
        [],
        {},
    ],
)
def test_bad_urls(url: Any) -> None:
    """A url that is not a path, has a fragment or a control character is a ValueError."""
    with pytest.raises(ValueError):
        request('GET', url)


@pytest.mark.parametrize(
    ('params', 'query'),
    [
        ({'a': 1}, 'a=1'),
        ({'a': [1, 2]}, 'a=1&a=2'),
        ([('a', 1), ('a', 2)], 'a=1&a=2'),
        ((('b', ''),), 'b='),
        ({'a b': 'c d'}, 'a+b=c+d'),
        ({'a': '&=#+%?/'}, 'a=%26%3D%23%2B%25%3F%2F'),
        ({'é': '€'}, '%C3%A9=%E2%82%AC'),
        ({'a': 'x\r\nX: y\0'}, 'a=x%0D%0AX%3A+y%00'),
        ({'a\r\n': 1}, 'a%0D%0A=1'),
        ({'a': b'\xff'}, 'a=%FF'),
        ('a=b&c=d', 'a=b&c=d'),
        ('a=b c', 'a=b%20c'),
        ('a=%20', 'a=%20'),
        ('a\r\nb#c', 'a%0D%0Ab%23c'),
        (iter([('a', 1)]), 'a=1'),
        (MappingProxyType({'a': 1}), 'a=1'),
    ],
)
def test_params(params: Any, query: str) -> None:
    """Params are added to the query, quoted so that nothing in them is syntax."""
    url = request('GET', '/x', params=params).url
    assert url == f'/x?{query}'


@pytest.mark.parametrize('params', [{}, (), '', [], None])
def test_no_params(params: Any) -> None:
    """No params add nothing, not even a question mark."""
    assert request('GET', '/x', params=params).url == '/x'


def test_params_follow_a_query() -> None:
    """Params are added to the query that the url has."""
    assert request('GET', '/x?a=1', params={'b': 2}).url == '/x?a=1&b=2'


@pytest.mark.parametrize('params', [{'a': '\ud800'}, '\ud800'])
def test_bad_params(params: Any) -> None:
    """Params that have no bytes are a ValueError."""
    with pytest.raises(ValueError):
        request('GET', '/', params=params)


def test_asterisk_takes_no_params() -> None:
    """``*`` with a query is not a target."""
    with pytest.raises(ValueError):
        request('OPTIONS', '*', params={'a': 1})


@hypothesis.given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_url_is_one_line_or_refused(url: str, params: dict[str, str]) -> None:
    """Whatever a url and params are made of, the target is visible ASCII, or there is no request."""
    try:
        target = request('GET', f'/{url}', params=params).url
    except ValueError:
        return
    assert target.startswith('/')
    assert set(target) <= set(string.printable) - set(string.whitespace) - set('"#')


# Headers of a request ------------------------------------------------------------------------------------------------

BAD_NAMES = [
    '',
    ' ',
    'A ',
    ' A',
    'A B',
    'A:',
    ':A',
    'A\r',
    'A\n',
    'A\r\nB',
    'A\0',
    'A\t',
    'A\x0b',
    'A\x7f',
    'É',
    '€',
    'A/B',
    'A"',
    'A(b)',
    '\ufeffA',
    b'A\r\n',
    b'\xff',
    None,
    5,
    True,
    ('A',),
]
BAD_VALUES = [
    'x\r\nB: y',
    'x\r',
    'x\n',
    '\nx',
    '\rx',
    'x\0',
    '\0',
    'x\r\n y',
    b'x\r\nB: y',
    b'\0',
    '€',
    '\ud800',
    None,
    True,
    False,
    [],
    {},
    object(),
]


@pytest.mark.parametrize('name', BAD_NAMES)
def test_bad_names(name: Any) -> None:
    """The name of a field is a token (RFC 9110 §5.1), or a ValueError."""
    with pytest.raises(ValueError):
        request('GET', '/', headers=[(name, 'x')])
    with pytest.raises(ValueError):
        Headers([(name, 'x')])


@pytest.mark.parametrize('value', BAD_VALUES)
def test_bad_values(value: Any) -> None:
    """The value of a field has no CR, LF or NUL, and can be sent as it is, or it is a ValueError."""
    with pytest.raises(ValueError):
        request('GET', '/', headers={'A': value})
    with pytest.raises(ValueError):
        Headers({'A': value})


@pytest.mark.parametrize(
    ('value', 'kept'),
    [
        ('x', 'x'),
        ('', ''),
        (' x ', 'x'),
        ('\tx\t', 'x'),
        ('a b', 'a b'),
        ('é', 'é'),
        (b'\xff', 'ÿ'),
        (b'x', 'x'),
        (5, '5'),
        (1.5, '1.5'),
        ('a: b', 'a: b'),
        ('"q"', '"q"'),
        ('\xa0x\x85', '\xa0x\x85'),
    ],
)
def test_values(value: Any, kept: str) -> None:
    """A value is text, bytes or a number; spaces around it are not part of it (RFC 9110 §5.5)."""
    assert Headers({'A': value})['A'] == kept


@hypothesis.given(st.lists(st.tuples(st.text() | st.binary(), st.text() | st.binary())))
def test_any_headers_are_those_fields_or_refused(fields: list[tuple[Any, Any]]) -> None:
    """Whatever fields are made of, there are as many lines as fields, or there is a ValueError."""
    try:
        headers = Headers(fields)
    except ValueError:
        return
    assert len(headers.multi_items()) == len(fields)
    block = headers.block
    assert block.count(b'\r') == block.count(b'\n') == block.count(b'\r\n') == len(fields)
    assert b'\0' not in block


@pytest.mark.parametrize(
    ('body', 'fields'),
    [
        (None, {'Host': 'other'}),
        (None, {'HOST': 'other'}),
        (b'x', {'host': 'server.example'}),
        (b'x', {'Transfer-Encoding': 'chunked'}),
        (None, {'transfer-encoding': 'identity'}),
        (None, {'Content-Length': '1'}),
        (b'abc', {'Content-Length': '2'}),
        (b'abc', {'Content-Length': '4'}),
        (b'abc', {'content-length': '+3'}),
        (b'abc', {'Content-Length': '3, 3'}),
        (b'abc', {'Content-Length': ''}),
        (b'abc', [('Content-Length', '3'), ('content-length', '3')]),
        (io.BytesIO(b'abc'), {'Content-Length': '3'}),
        (iter([b'abc']), {'Content-Length': '3'}),
        ({'a': 1}, {'Content-Length': '6'}),
    ],
)
def test_framing_is_ours(body: Any, fields: Any) -> None:
    """``Host``, ``Transfer-Encoding`` and a wrong ``Content-Length`` are refused: so are requests smuggled."""
    with pytest.raises(ValueError):
        request('POST', '/', body, fields)


@pytest.mark.parametrize('body', [b'abc', 'abc', [1]])
def test_right_length_is_accepted(body: Any) -> None:
    """A Content-Length that is right is allowed, and not sent twice."""
    made = request('POST', '/', body, {'Content-Length': 3, 'A': 'b'})
    assert dict(made.headers) == {'A': 'b'}


@pytest.mark.parametrize('headers', [5, 'abc', [('A',)], [5], [('A', 'b', 'c')]])
def test_headers_of_a_wrong_shape(headers: Any) -> None:
    """Headers that are neither a mapping nor pairs are refused."""
    with pytest.raises((ValueError, TypeError)):
        request('GET', '/', headers=headers)


# Bodies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('body', 'payload'),
    [
        (None, None),
        ({'a': 1}, b'{"a":1}'),
        ([1, None, 'é'], None),
        ({}, b'{}'),
        ([], b'[]'),
        ('é', b'\xc3\xa9'),
        ('', b''),
        (b'\xff', b'\xff'),
        (b'', b''),
        (bytearray(b'x'), b'x'),
        (memoryview(b'x'), b'x'),
    ],
)
def test_bodies(body: Any, payload: bytes | None) -> None:
    """Dicts and lists go as JSON, texts as UTF-8, bytes as they are; ``body`` stays what the caller gave."""
    made = request('POST', '/', body)
    assert made.body is body
    if payload is not None or body is None:
        assert made.payload == payload
    else:
        assert json.loads(made.payload) == body


@pytest.mark.parametrize(
    'body', [5, True, 1.5, object(), len, {'a': object()}, {'a': float('nan')}, [float('inf')], {'a': b'x'}, '\ud800']
)
def test_bad_bodies(body: Any) -> None:
    """A body that has no bytes is refused at once: TypeError for its kind, ValueError for its content."""
    with pytest.raises((TypeError, ValueError)):
        request('POST', '/', body)


def test_body_that_holds_itself() -> None:
    """A body that has no end is a ValueError."""
    body: list[Any] = []
    body.append(body)
    with pytest.raises(ValueError):
        request('POST', '/', body)


def test_mapping_is_not_an_iterable_of_its_keys() -> None:
    """A mapping that is no dict is JSON or refused; its keys alone are never the body."""
    try:
        payload = request('POST', '/', MappingProxyType({'a': 1})).payload
    except TypeError:
        return
    assert payload == b'{"a":1}'


def test_multipart() -> None:
    """Multipart fields are a body with its content type; beside a body they are refused."""
    made = request('POST', '/', multipart={'name': 'value', 'file': ('a.txt', b'data')})
    boundary = made.headers['content-type'].partition('boundary=')[2].encode()
    assert made.payload.startswith(b'--' + boundary)
    assert b'value' in made.payload and b'data' in made.payload
    with pytest.raises(ValueError):
        request('POST', '/', b'x', multipart={'name': 'value'})


def test_multipart_has_one_content_type() -> None:
    """A Content-Type that the caller gave does not go out beside that of the multipart body."""
    try:
        made = request('POST', '/', multipart={'a': 'b'}, headers={'content-type': 'text/plain'})
    except ValueError:
        return
    assert len(made.headers.getlist('Content-Type')) == 1


class _Odd(io.BytesIO):
    """A file that cannot tell where it stands."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b'abc')
        self._error_ = error

    def tell(self) -> int:
        raise self._error_


@pytest.mark.parametrize(
    'source', [_Odd(OSError()), _Odd(ValueError()), _Odd(RuntimeError('mine')), _Odd(EOFError()), iter([b'x']), [b'x']]
)
def test_length_of_a_source_that_cannot_tell(source: Any) -> None:
    """A file that fails when asked for its place, however it fails, is one that cannot tell its length."""
    assert Source(source).length is None


def test_length_of_a_file_is_what_is_left() -> None:
    """What was read already is not sent, and asking does not move the file."""
    file = io.BytesIO(b'abcdef')
    file.read(2)
    assert Source(file).length == 4
    assert file.read() == b'cdef'


def test_length_of_a_file_behind_its_end() -> None:
    """A file that stands behind its end has nothing left: never a negative length."""
    file = io.BytesIO(b'abc')
    file.seek(50)
    assert Source(file).length in (0, None)


@pytest.mark.parametrize(
    'make',
    [
        lambda path: io.StringIO('é' * 10),
        lambda path: open(path, encoding='utf-8'),
        lambda path: open(path, encoding='latin-1'),
    ],
    ids=['StringIO', 'utf-8', 'latin-1'],
)
def test_length_of_a_text_file(make: Any, tmp_path: Any) -> None:
    """The length of a text file is not that of the UTF-8 that is sent: it is right, or it is not told."""
    path = tmp_path / 'text'
    path.write_bytes('é'.encode() * 10)
    with make(path) as file:
        length = Source(file).length
        assert length in (None, len(file.read().encode()))


# Options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'timeout', [None, 1, 0.5, float('inf'), urllib3.Timeout(3), urllib3.Timeout(connect=1, read=2)]
)
def test_timeouts(timeout: Any) -> None:
    """A timeout is a number of seconds or ``urllib3.Timeout``."""
    assert request(timeout=timeout).timeout is timeout


@pytest.mark.parametrize(
    'timeout', [0, 0.0, -1, float('nan'), float('-inf'), True, False, '5', b'5', (1, 2), [], object()]
)
def test_bad_timeouts(timeout: Any) -> None:
    """Any other timeout is a ValueError that names it."""
    with pytest.raises(ValueError, match='timeout'):
        request(timeout=timeout)


@pytest.mark.parametrize('max_body', [-1, 1.5, '5', True, float('inf'), [], object()])
def test_bad_max_body(max_body: Any) -> None:
    """A bound that is not a number of bytes is a ValueError that names it."""
    with pytest.raises(ValueError, match='max_body'):
        request(max_body=max_body)


@pytest.mark.parametrize('retries', ['x', 1.5, [], object(), (1, 2)])
def test_bad_retries(retries: Any) -> None:
    """Retries of another kind are a ValueError that names them, before anything is sent."""
    with pytest.raises(ValueError, match='retries'):
        request(retries=retries)


# A request as a value ------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    'headers': {'A': 'b'},
    'timeout': 5,
    'retries': urllib3.Retry(1),
    'tag': object(),
    'stream': True,
    'max_body': 10,
}


def test_attributes() -> None:
    """A request keeps its parts as the caller gave them; headers are a ``Headers``."""
    made = Request('https://Name:8443', 'PUT', '/a b', {'x': 1}, params={'c': 'd'}, **FULL)
    assert (made.host, made.method, made.url, made.body) == ('https://Name:8443', 'PUT', '/a%20b?c=d', {'x': 1})
    assert made.authority == 'name:8443'
    assert isinstance(made.headers, Headers) and dict(made.headers) == {'A': 'b'}
    for name in ('timeout', 'retries', 'tag', 'stream', 'max_body'):
        assert getattr(made, name) == FULL[name]


def test_defaults() -> None:
    """What is not given is empty or ``None``."""
    made = request()
    assert not made.headers and isinstance(made.headers, Headers)
    assert (made.body, made.timeout, made.retries, made.tag, made.stream, made.max_body) == (
        None,
        None,
        None,
        None,
        False,
        None,
    )


@pytest.mark.parametrize(
    'name',
    [
        'host',
        'method',
        'url',
        'body',
        'headers',
        'tag',
        'timeout',
        'retries',
        'stream',
        'max_body',
        'authority',
        'new',
        'payload',
    ],
)
def test_frozen(name: str) -> None:
    """No attribute of a request can be set or deleted."""
    made = request()
    with pytest.raises(AttributeError):
        setattr(made, name, 'x')
    with pytest.raises(AttributeError):
        delattr(made, name)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('host', 'other:1'),
        ('method', 'PUT'),
        ('url', '/other'),
        ('body', b'other'),
        ('headers', Headers({'C': 'd'})),
        ('timeout', 9),
        ('retries', None),
        ('tag', 'other'),
        ('stream', False),
        ('max_body', None),
    ],
)
def test_replace(name: str, value: Any) -> None:
    """``replace`` gives a new request in which one part differs; the old one is as it was."""
    old = request('POST', '/x', b'body', **FULL)
    new = old.replace(**{name: value})
    assert getattr(new, name) == value
    for other in ('host', 'method', 'url', 'body', 'headers', 'timeout', 'retries', 'tag', 'stream', 'max_body'):
        assert getattr(old, other) == getattr(request('POST', '/x', b'body', **FULL), other)
        if other != name:
            assert getattr(new, other) == getattr(old, other)


@pytest.mark.parametrize(
    'change',
    [
        {'host': 'a b'},
        {'method': 'G T'},
        {'url': 'x'},
        {'headers': {'A': '\n'}},
        {'timeout': 0},
        {'body': 5},
        {'headers': {'Host': 'x'}},
        {'nonsense': 1},
    ],
)
def test_replace_checks(change: dict[str, Any]) -> None:
    """What ``replace`` is given is checked as at the beginning."""
    with pytest.raises((ValueError, TypeError)):
        request().replace(**change)


def test_replace_adds_params() -> None:
    """Params given to ``replace`` are added to the query that is there."""
    assert request('GET', '/x', params={'a': 1}).replace(params={'b': 2}).url == '/x?a=1&b=2'


def test_replace_url_is_stable() -> None:
    """Replacing another part does not encode the url twice."""
    made = request('GET', '/a b%20é?x=%26', params={'y': 'a b&'})
    assert made.replace(tag=1).replace(params=None).url == made.url


def test_replace_sends_what_was_checked() -> None:
    """A body that its owner changes later goes out as it was when the request was made, also after ``replace``."""
    body = {'size': 1}
    made = request('POST', '/', body)
    body['size'] = 2
    assert made.replace(url='/other').payload == b'{"size":1}'


@pytest.mark.parametrize(
    ('host', 'url', 'text'),
    [
        ('server.example', '/captains', 'GET http://server.example/captains'),
        ('server.example:8002', '/', 'GET http://server.example:8002/'),
        ('http://server.example', '/a?b=c', 'GET http://server.example/a?b=c'),
        ('https://server.example:8443', '/x', 'GET https://server.example:8443/x'),
        ('[::1]:80', '/x', 'GET http://[::1]:80/x'),
        ('server.example', '/é b', 'GET http://server.example/%C3%A9%20b'),
    ],
)
def test_text(host: str, url: str, text: str) -> None:
    """The text of a request is its method and whole URL."""
    made = Request(host, 'GET', url)
    assert str(made) == text
    assert repr(made) == f'<Request {text}>'


def test_text_tells_no_field_and_no_body() -> None:
    """Neither the text nor the repr of a request shows a header or the body."""
    made = request('POST', '/', {'password': 'hush'}, {'Authorization': 'hush', 'X-Api-Key': 'hush'})
    assert 'hush' not in str(made) + repr(made)


# Headers -------------------------------------------------------------------------------------------------------------

SOME = [
    ('Content-Type', 'text/plain'),
    ('Set-Cookie', 'a=1'),
    ('X-Empty', ''),
    ('set-cookie', 'b=2, c'),
    ('Date', 'Mon, 01 Jan 2024 00:00:00 GMT'),
]


@pytest.fixture(params=['made', 'received'])
def headers(request: Any) -> Headers:
    """The same fields as a caller makes them and as a server sends them."""
    if request.param == 'made':
        return Headers(SOME)
    return response(*(f'{name}: {value}' for name, value in SOME)).headers


def test_lookup(headers: Headers) -> None:
    """A field is found in any case; repeats are joined in order (RFC 9110 §5.3)."""
    for spelling in ('Set-Cookie', 'set-cookie', 'SET-COOKIE'):
        assert headers[spelling] == 'a=1, b=2, c'
        assert headers.get(spelling) == 'a=1, b=2, c'
        assert headers.getlist(spelling) == headers.get_all(spelling) == ['a=1', 'b=2, c']
        assert spelling in headers
    assert headers['content-type'] == 'text/plain'
    assert headers['x-empty'] == '' and headers.getlist('x-empty') == ['']
    assert headers['DATE'] == 'Mon, 01 Jan 2024 00:00:00 GMT'


def test_order(headers: Headers) -> None:
    """Iteration gives each name once, as first spelled, in the order received; ``multi_items`` every field."""
    names = ['Content-Type', 'Set-Cookie', 'X-Empty', 'Date']
    assert list(headers) == list(headers.keys()) == names
    assert len(headers) == 4
    assert headers.multi_items() == SOME
    assert list(headers.items()) == [(name, headers[name]) for name in names]
    assert list(headers.values()) == [headers[name] for name in names]
    assert dict(headers)['Set-Cookie'] == 'a=1, b=2, c'


@pytest.mark.parametrize(
    'name',
    [
        'Cookie',
        'Content',
        'Type',
        'ontent-Type',
        'text/plain',
        'HTTP/1.1 200 OK',
        '',
        ':',
        'Content-Type:',
        'Date: Mon, 01 Jan 2024 00',
        'a=1\r\nX-Empty',
        'X-Empty: \r\nset-cookie',
        'É',
        '€',
        '\ud800',
        '\0',
        5,
        None,
        b'Date',
        (),
    ],
)
def test_missing(headers: Headers, name: Any) -> None:
    """What is not the name of a field is not found, whatever its kind, as in any mapping."""
    assert name not in headers
    assert headers.get(name) is None
    assert headers.get(name, 'default') == 'default'
    with pytest.raises(KeyError):
        headers[name]


def test_headers_are_equal_in_any_case_and_order(headers: Headers) -> None:
    """Equal are those with the same fields, whatever the case of their names; equal ones hash alike."""
    other = Headers((name.upper(), value) for name, value in sorted(SOME, key=lambda field: field[0].lower()))
    assert headers == other and hash(headers) == hash(other)
    assert headers == Headers(headers) and headers != Headers(SOME[1:])
    assert Headers([('A', '1'), ('A', '2')]) != Headers([('A', '2'), ('A', '1')])
    assert Headers({'A': 'b'}) == {'a': 'b'} and {'a': 'b'} == Headers({'A': 'b'})
    assert headers != {} and Headers() == {}


@pytest.mark.parametrize('other', [5, None, 'A', {1: 2}, {'bad name': 'x'}, {'A': None}, {'A': ['b']}, {'A': '\n'}])
def test_headers_are_not_equal_to_anything_else(other: Any) -> None:
    """Comparing with a value that headers cannot have is false, not an error."""
    assert Headers({'A': 'b'}) != other
    assert not Headers({'A': 'b'}) == other


def test_headers_are_frozen(headers: Headers) -> None:
    """Fields can neither be set nor deleted."""
    assert isinstance(headers, Mapping)
    for change in (
        lambda: headers.__setitem__('A', 'b'),
        lambda: headers.__delitem__('Date'),
        lambda: setattr(headers, 'new', 1),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()


def test_empty_headers() -> None:
    """No fields are false, and so is an answer's head without any."""
    for empty in (Headers(), Headers({}), Headers([]), response().headers):
        assert not empty and len(empty) == 0 and list(empty) == [] and empty.multi_items() == []
    assert Headers(SOME)


def test_weird_bytes() -> None:
    """Values received are latin-1, byte for byte; colons and spaces inside them are theirs."""
    raw = bytes(range(0x80, 0x100)).decode('latin-1')
    found = response(f'A: {raw}', 'B:x', 'C:', 'D: \t y \t', 'E: f: g', 'e:h').headers
    assert found['a'] == raw
    assert (found['b'], found['c'], found['d'], found['e']) == ('x', '', 'y', 'f: g, h')
    assert found['a'].encode('latin-1') == bytes(range(0x80, 0x100))


def test_repr_hides_secrets() -> None:
    """The repr of headers masks credentials and cookies, in any case."""
    shown = repr(
        Headers(
            dict.fromkeys(
                ('Authorization', 'PROXY-AUTHORIZATION', 'cookie', 'Set-Cookie', 'X-Auth-Token', 'X-Subject-Token'),
                'hush',
            )
            | {'A': 'b'}
        )
    )
    assert 'hush' not in shown and "('A', 'b')" in shown


# Responses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('first', 'reason', 'shown'),
    [
        ('HTTP/1.1 200 OK', 'OK', '<Response 200 OK>'),
        ('HTTP/1.1 204 No Content', 'No Content', '<Response 204 No Content>'),
        ('HTTP/1.1 200 ', '', '<Response 200>'),
        ('HTTP/1.1 200', '', '<Response 200>'),
        ('HTTP/1.0 404 NOT FOUND', 'NOT FOUND', '<Response 404 NOT FOUND>'),
        ('HTTP/1.1 200 d\xe9j\xe0', 'déjà', '<Response 200 déjà>'),
    ],
)
def test_reason(first: str, reason: str, shown: str) -> None:
    """The reason phrase may be missing; the repr is that of the contract."""
    got = response(first=first)
    assert (got.status, got.reason, repr(got)) == (int(first[9:12]), reason, shown)


def test_response_attributes() -> None:
    """An answer knows its request, where it came from and how long it took."""
    got = response('A: b', body=b'x')
    assert got.request.url == '/captains' and got.url == 'http://server.example/captains'
    assert (got.data, got.elapsed, got.attempts) == (b'x', 0.25, 1)
    assert got.headers['a'] == 'b'


JSON = 'Content-Type: application/json'
BODIES = [
    # Content-Type, bytes, body, text
    (None, b'', None, ''),
    (JSON, b'', None, ''),
    (JSON, b'{"a": 1}', {'a': 1}, '{"a": 1}'),
    (JSON, b' [1] ', [1], ' [1] '),
    (JSON, b'null', None, 'null'),
    (JSON, b'0', 0, '0'),
    (JSON, b'"x"', 'x', '"x"'),
    (JSON, '"é€"'.encode(), 'é€', '"é€"'),
    ('content-type: APPLICATION/JSON; charset=utf-8', b'[]', [], '[]'),
    ('Content-Type: application/problem+json', b'{}', {}, '{}'),
    ('Content-Type: text/plain; x=json', b'[]', '[]', '[]'),
    (JSON, b'{oops', '{oops', '{oops'),
    (JSON, b'[1] trailing', '[1] trailing', '[1] trailing'),
    (JSON, b'"\xff"', '"\ufffd"', '"\ufffd"'),
    (JSON, b'[' * 100_000, '[' * 100_000, '[' * 100_000),
    (JSON, b'1' * 5000, '1' * 5000, '1' * 5000),
    (None, b'{"a": 1}', '{"a": 1}', '{"a": 1}'),
    ('Content-Type: text/plain', 'é'.encode(), 'é', 'é'),
    ('Content-Type: text/plain', b'\xff', '\ufffd', '\ufffd'),
    ('Content-Type: text/plain; charset=latin-1', b'\xe9', 'é', 'é'),
    ('Content-Type: text/plain; charset="ISO-8859-15"', b'\xa4', '€', '€'),
    ('Content-Type: text/plain; CHARSET = utf-16; x=y', 'é'.encode('utf-16'), 'é', 'é'),
    ('Content-Type: text/plain; charset=', b'x', 'x', 'x'),
    ('Content-Type: text/plain; charset=klingon', 'é'.encode(), 'é', 'é'),
    ('Content-Type: text/plain', b'x' * 200_000, 'x' * 200_000, 'x' * 200_000),
]


@pytest.mark.parametrize(('content_type', 'data', 'body', 'text'), BODIES, ids=range(len(BODIES)))
def test_response_bodies(content_type: str | None, data: bytes, body: Any, text: str) -> None:
    """``body`` is the JSON where the type says so and it parses, else the text, ``None`` without a body; also twice."""
    got = response(*([content_type] if content_type else []), body=data)
    assert got.body == body and got.body == body
    assert got.text == text and got.data == data


@pytest.mark.parametrize(
    'charset',
    [
        'undefined',
        'idna',
        'punycode',
        'base64',
        'hex',
        'rot13',
        'zlib',
        'unicode_escape',
        'mbcs',
        'utf-7',
        'aliases',
        '..',
        '\xe9',
        'x' * 5000,
        '0',
        'utf_8_sig',
    ],
)
@pytest.mark.parametrize('data', [b'\xff\xfeA', b'abc', b'\\', b'xn--\xff'])
def test_any_charset_gives_text(charset: str, data: bytes) -> None:
    """Whatever charset a server names, and whatever it sends, the text is a text and reading it raises nothing."""
    got = response(f'Content-Type: text/plain; charset={charset}', body=data)
    assert isinstance(got.text, str) and isinstance(got.body, str)


@pytest.mark.parametrize('data', [b'', b'{oops', b'[1] x', b'\xff', b'1' * 5000, b"{'a': 1}"])
def test_json_raises(data: bytes) -> None:
    """``json()`` of what is not JSON is a ValueError, whatever the content type."""
    with pytest.raises(ValueError):
        response(JSON, body=data).json()


def test_json_too_deep() -> None:
    """JSON that is nested too deep to read is a ValueError like any other that cannot be read."""
    with pytest.raises(ValueError):
        response(JSON, body=b'[' * 100_000).json()


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'utf-32-le'])
def test_json_in_any_unicode(encoding: str) -> None:
    """JSON is read in whichever Unicode encoding it comes, with or without its mark (as ``json.loads`` reads bytes)."""
    got = response(JSON, body='{"a": "x"}'.encode(encoding))
    assert got.json() == got.body == {'a': 'x'}


def test_json_needs_no_content_type() -> None:
    """``json()`` reads the bytes, whatever the server calls them."""
    assert response('Content-Type: text/html', body=b'[1]').json() == [1]


def test_socket_is_not_needed() -> None:
    """Making requests and answers resolves no name."""

    def refuse(*_: Any) -> Any:
        raise AssertionError('a value did I/O')

    original, socket.getaddrinfo = socket.getaddrinfo, refuse
    try:
        assert repr(Request('no-such-host.example', 'GET', '/')) and repr(response())
    finally:
        socket.getaddrinfo = original
