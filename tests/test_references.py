"""References, resolved as RFC 3986 says: its own examples, what is empty, and laws that hold of any text."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient import Client
from napixclient.messages.reference import Reference, lead, resolve, split_reference
from napixclient.rest import Client as RestClient
from napixclient.rest import ClientError, paginate
from tests import kit

BASE = 'http://a/b/c/d;p?q'

NORMAL = {  # RFC 3986 §5.4.1
    'g:h': 'g:h',
    'g': 'http://a/b/c/g',
    './g': 'http://a/b/c/g',
    'g/': 'http://a/b/c/g/',
    '/g': 'http://a/g',
    '//g': 'http://g',
    '?y': 'http://a/b/c/d;p?y',
    'g?y': 'http://a/b/c/g?y',
    '#s': 'http://a/b/c/d;p?q#s',
    'g#s': 'http://a/b/c/g#s',
    'g?y#s': 'http://a/b/c/g?y#s',
    ';x': 'http://a/b/c/;x',
    'g;x': 'http://a/b/c/g;x',
    'g;x?y#s': 'http://a/b/c/g;x?y#s',
    '': 'http://a/b/c/d;p?q',
    '.': 'http://a/b/c/',
    './': 'http://a/b/c/',
    '..': 'http://a/b/',
    '../': 'http://a/b/',
    '../g': 'http://a/b/g',
    '../..': 'http://a/',
    '../../': 'http://a/',
    '../../g': 'http://a/g',
}

ABNORMAL = {  # RFC 3986 §5.4.2, for strict parsers
    '../../../g': 'http://a/g',
    '../../../../g': 'http://a/g',
    '/./g': 'http://a/g',
    '/../g': 'http://a/g',
    'g.': 'http://a/b/c/g.',
    '.g': 'http://a/b/c/.g',
    'g..': 'http://a/b/c/g..',
    '..g': 'http://a/b/c/..g',
    './../g': 'http://a/b/g',
    './g/.': 'http://a/b/c/g/',
    'g/./h': 'http://a/b/c/g/h',
    'g/../h': 'http://a/b/c/h',
    'g;x=1/./y': 'http://a/b/c/g;x=1/y',
    'g;x=1/../y': 'http://a/b/c/y',
    'g?y/./x': 'http://a/b/c/g?y/./x',
    'g?y/../x': 'http://a/b/c/g?y/../x',
    'g#s/./x': 'http://a/b/c/g#s/./x',
    'g#s/../x': 'http://a/b/c/g#s/../x',
    'http:g': 'http:g',
}


@pytest.mark.parametrize(('reference', 'target'), [*NORMAL.items(), *ABNORMAL.items()])
def test_examples_of_the_rfc(reference: str, target: str) -> None:
    """Every example of RFC 3986 §5.4 comes out as it stands there."""
    assert str(resolve(BASE, reference)) == target


@pytest.mark.parametrize(
    ('base', 'reference', 'target'),
    [
        # what is empty is not what is not there
        ('http://a/b?x=1', '?', 'http://a/b?'),
        ('http://a/b?x=1', '#', 'http://a/b?x=1#'),
        ('http://a/b', '/c?', 'http://a/c?'),
        ('http://a/b', '/c;', 'http://a/c;'),
        ('http://a/b', '/c;?q=1#', 'http://a/c;?q=1#'),
        ('http://a/b', '//', 'http://'),
        ('http://a/b', 'http://', 'http://'),
        ('http://a/b', '?#', 'http://a/b?#'),
        ('http://a/b?', '#f', 'http://a/b?#f'),
        # empty segments
        ('http://a//b/c', 'd', 'http://a//b/d'),
        ('http://a/x', 'd//e', 'http://a/d//e'),
        ('http://a/b//', '..', 'http://a/b/'),
        ('http://a/b//', '../..', 'http://a/'),
        ('http://a/b//', '.', 'http://a/b//'),
        ('http://a//', '..', 'http://a/'),
        ('http://a/w/http://b/p', 'q', 'http://a/w/http://b/q'),
        ('http://a/b', '/..//c', 'http://a//c'),
        # bases without a path, or without an authority
        ('http://a', 'g', 'http://a/g'),
        ('http://a', '', 'http://a'),
        ('http://a', '?y', 'http://a?y'),
        ('http://a', '../g', 'http://a/g'),
        ('http://a?x', 'g', 'http://a/g'),
        ('mailto:b', 'g', 'mailto:g'),
        ('u:b/c', '../../g', 'u:/g'),
        ('u:b', '../g', 'u:g'),
        ('u:b', '..', 'u:'),
        ('u:', './../.', 'u:'),
        # dots that are more, or quoted
        ('http://a/b/c', '...', 'http://a/b/...'),
        ('http://a/b/c', '%2e%2e/g', 'http://a/b/%2e%2e/g'),
        ('http://a/b/c', './.', 'http://a/b/'),
        ('http://a/b/c', '.../../g', 'http://a/b/g'),
        ('http://a/b/c', '/../..', 'http://a/'),
        ('http://a/b/c', '/.', 'http://a/'),
        # what is no scheme, and what is
        ('http://a/b', '12:30', 'http://a/12:30'),
        ('http://a/b', ':x', 'http://a/:x'),
        ('http://a/b', 'x_y:z', 'http://a/x_y:z'),
        ('http://a/b', 'é:z', 'http://a/é:z'),
        ('http://a/b', 'x+y-1.2:z/../w', 'x+y-1.2:/w'),
        ('http://a/b', 'HTTP://B', 'HTTP://B'),
        # odd characters are as good as others
        ('http://a/b', 'x y', 'http://a/x y'),
        ('http://a/b', '\\\\c\\d', 'http://a/\\\\c\\d'),
        ('http://a/b', '/é?ü#ö', 'http://a/é?ü#ö'),
        ('http://u:p@[::1]:80/b', '../c', 'http://u:p@[::1]:80/c'),
        ('http://a/b', '//u@c:/d', 'http://u@c:/d'),
        ('http://a/b', 'c\nd', 'http://a/c\nd'),
    ],
)
def test_edges(base: str, reference: str, target: str) -> None:
    """Empty parts, odd bases and odd characters are kept, and dots mean what they mean to §5.2.4."""
    assert str(resolve(base, reference)) == target


def by_the_book(path: str) -> str:
    """RFC 3986 §5.2.4, step by step as it is written there."""
    output = ''
    while path:
        if path.startswith(('../', './')):  # A
            path = path.partition('/')[2]
        elif path.startswith('/./') or path == '/.':  # B
            path = '/' + path[3:]
        elif path.startswith('/../') or path == '/..':  # C
            path, output = '/' + path[4:], output[: max(output.rfind('/'), 0)]
        elif path in ('.', '..'):  # D
            path = ''
        else:  # E
            end = path.find('/', 1)
            end = len(path) if end < 0 else end
            output, path = output + path[:end], path[end:]
    return output


paths = st.lists(st.sampled_from(['/', '.', '..', 'a', '/.', '/..', ';', ':', '%2e']), max_size=12).map(''.join)
texts = st.text(st.sampled_from('ab:/?#.;@[]% é\\'), max_size=20) | st.text(max_size=20)


@hypothesis.given(paths)
def test_dots_by_the_book(path: str) -> None:
    """The dots of any path are removed as the RFC's own steps remove them."""
    if not path.startswith('//'):  # which would be an authority
        assert resolve('u:', f'v:{path}').path == by_the_book(path)
    assert resolve('http://a', f'http://b/{path}').path == by_the_book(f'/{path}')
    assert resolve('http://a/b/c', f'/x{path}').path == by_the_book(f'/x{path}')


@hypothesis.given(texts)
def test_any_text_is_put_together_again(text: str) -> None:
    """The parts of a reference make the same text: nothing that is empty gets lost."""
    assert str(split_reference(text)) == text


@hypothesis.given(texts, paths, st.none() | st.text('ab?/', max_size=4))
def test_laws_of_resolution(reference: str, path: str, query: str | None) -> None:
    """A target has no dots left, stands for itself wherever it is read, and nothing added to it leads to itself."""
    base = resolve('http://host', str(Reference('http', 'host', f'/{by_the_book(f"/{path}")[1:]}', query, None)))
    target = resolve(str(base), reference)
    assert target.scheme is not None and not {'.', '..'} & set(target.path.split('/'))
    if target.authority is not None:  # without one, a path of two slashes would be taken for one: §3.3
        assert target.path[:1] in ('', '/')
        assert resolve('u://elsewhere/x', str(target)) == target
        assert resolve(str(target), '') == target._replace(fragment=None)
        assert resolve(str(target), '#s') == target._replace(fragment='s')


@hypothesis.given(texts)
def test_what_is_led_to_can_be_asked_for(reference: str) -> None:
    """Whatever a server writes leads to a host and a target that can be sent, or is a ValueError."""
    try:
        host, target = lead('http://host:8/a/b?c', reference)
    except ValueError:
        return
    assert host.startswith(('http://', 'https://'))
    assert '@' not in host and '\\' not in host
    assert target.startswith('/') and target.isascii() and target.isprintable() and not {' ', '#'} & set(target)


def test_a_long_path_takes_no_time() -> None:
    """Dots cost what they are long, however many there are."""
    assert resolve(BASE, '../' * 100_000 + 'g').path == '/g'
    assert resolve(BASE, '/a' * 100_000 + '/..' * 100_000).path == '/'
    assert resolve(BASE, '/' * 100_000 + '../' * 99_999).path == '/'


# In redirects and links ----------------------------------------------------------------------------------------------

#: Base, reference, and what is asked for then; a base with a query is not one that paginate can be given.
LEADS = [
    ('/w/http://a.example/p', 'q', '/w/http://a.example/q'),
    ('/a//b/c', 'd', '/a//b/d'),
    ('/bucket/x', 'dir//file', '/bucket/dir//file'),
    ('/a//', '..', '/a/'),
    ('/a/b', '/c?', '/c?'),
    ('/a/b?x=1', '?', '/a/b?'),
    ('/a/b', '/c;', '/c;'),
    ('/a/b', '/c;?q=1', '/c;?q=1'),
    ('/a/b', '../c', '/c'),
    ('/a/b', '?q', '/a/b?q'),
    ('/a/b', '//HOST?q', '/?q'),
    ('/a/b', 'HTTP://HOST//c#d', '//c'),
    ('/a/b', '/é e', '/%C3%A9%20e'),
    ('/a/b', '\\c', '/a/\\c'),
    ('/a/b', '/./..//c/.', '//c/'),
    ('/a/b', '?x?#y', '/a/b?x?'),
]


@pytest.mark.parametrize(('base', 'reference', 'target'), LEADS)
def test_redirects_and_links_lead_there(oracle: None, base: str, reference: str, target: str) -> None:
    """A `Location` and a `Link` lead to the same place, in UTF-8 where they are not ASCII, and URLs show it."""

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        if path != base:
            return 200, {}, []
        return (
            (302, {'Location': field}, [])
            if headers.get('x-how') == 'redirect'
            else (200, {'Link': f'<{field}>; rel=next'}, [])
        )

    with kit.serve(handle) as server:
        field = reference.replace('HOST', server.authority).encode().decode('latin-1')
        with Client(server.host, redirect=True) as client:
            found = client.request('GET', base, headers={'X-How': 'redirect'})
            assert found.url == f'http://{server.host}{target}'
        with RestClient(server.url) as rest:
            if base in ('/a/b', '/a//b/c', '/a//', '/bucket/x', '/w/http://a.example/p'):
                assert list(paginate(rest, base, items=list, marker=None)) == []
                assert [request.path for request in server.requests] == [base, target] * 2


@pytest.mark.parametrize(
    'link',
    [
        'http:/x',
        'http:x',
        'http:',
        '//',
        '///x',
        'http:///x',
        'javascript:x',
        '//u@HOST/x',
        '//HOST:x/',
        '//HOST:0/',
        '//h h/',
    ],
)
def test_links_that_nobody_follows(oracle: None, link: str) -> None:
    """A link without a host, of another scheme, or with credentials is an error of the client's."""
    with (
        kit.serve(lambda *_: (200, {'Link': f'<{link.replace("HOST", server.authority)}>; rel=next'}, ['a'])) as server,
        RestClient(server.url) as rest,
    ):
        pages = paginate(rest, items=list)
        assert next(pages) == 'a'
        with pytest.raises(ClientError, match='link'):
            next(pages)
    assert len(server.requests) == 1


def test_a_link_with_an_empty_port(oracle: None) -> None:
    """A colon without a number is the scheme's own port (RFC 9110 §4.2.3), and another origin."""
    with (
        kit.serve(
            lambda method, path, *_: (
                200,
                {'Link': '<http://name.example:/b>; rel=next'} if path == '/a' else {},
                [path],
            )
        ) as server,
        RestClient(
            server.url,
            resolver=lambda host, port: asked.append((host, port)) or [(2, 1, 0, '', ('127.0.0.1', server.port))],
        ) as rest,
    ):
        asked: list[Any] = []
        assert list(paginate(rest, 'a', items=list)) == ['/a', '/b']
        assert asked == [('name.example', 80)]
        assert server.requests[-1].headers['host'] == 'name.example'
