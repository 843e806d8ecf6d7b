"""paginate: every item of a listing once, whatever tells where the next page is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import gevent
import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient.authenticators import BearerToken
from napixclient.rest import Client, ClientError, paginate
from tests import kit


def listing(count: int, most: int = 1000, shape: Any = lambda number: {'id': f'é{number}'}) -> Any:
    """A handler of a listing by marker and limit, with at most so many items a page."""
    items = [shape(number) for number in range(count)]
    marks = [str(item.get('id', item.get('name')) if isinstance(item, dict) else item) for item in items]

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        query = {name: values[0] for name, values in parse_qs(path.partition('?')[2]).items()}
        if 'marker' in query and query['marker'] not in marks:
            return 400, {'badRequest': {'message': 'no such marker'}}
        start = marks.index(query['marker']) + 1 if 'marker' in query else 0
        return {'items': items[start : start + min(most, int(query.get('limit', most)))]}

    return handle


def linked(pages: list[Any], link: Any = lambda number: f'</things?page={number + 1}>; rel="next"') -> Any:
    """A handler of pages, each but the last with a link to the next."""

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        number = int(parse_qs(path.partition('?')[2]).get('page', ['0'])[0])
        return 200, [('Link', link(number))] if number + 1 < len(pages) else [], pages[number]

    return handle


# By marker -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('count', 'limit', 'most'),
    [
        (0, 3, 9),
        (1, 3, 9),
        (3, 3, 9),
        (7, 3, 9),
        (9, 3, 9),
        (7, None, 3),
        (7, 5, 2),
        (7, 100, 3),
        (1, 1, 1),
        (4, None, 9),
    ],
)
def test_by_marker(tidy: None, count: int, limit: int | None, most: int) -> None:
    """Every item comes once, in order, also where the server gives less than it is asked for."""
    with kit.serve(listing(count, most)) as server, Client(server.url) as rest:
        found = list(paginate(rest, '/things', items='items', limit=limit))
    assert found == [{'id': f'é{number}'} for number in range(count)]
    assert all(('limit=' in request.path) == (limit is not None) for request in server.requests)


@hypothesis.given(st.integers(0, 12), st.none() | st.integers(1, 5), st.integers(1, 5), st.integers(0, 3))
@hypothesis.settings(max_examples=30)
def test_any_listing(count: int, limit: int | None, most: int, prefetch: int) -> None:
    """Whatever the sizes are, all items come, once."""
    with kit.serve(listing(count, most)) as server, Client(server.url) as rest:
        found = [item['id'] for item in paginate(rest, items='items', limit=limit, prefetch=prefetch)]
    assert found == [f'é{number}' for number in range(count)]


@pytest.mark.parametrize(
    'shape',
    [
        lambda number: f'name & {number}',
        lambda number: 10 + number,
        lambda number: {'name': f'n{number}'},
        lambda number: {'id': number, 'name': 'same'},
    ],
)
def test_markers(tidy: None, shape: Any) -> None:
    """An item is its own marker, or has one in its id, or in its name."""
    with kit.serve(listing(7, 3, shape)) as server, Client(server.url) as rest:
        assert list(paginate(rest, items='items', limit=3)) == [shape(number) for number in range(7)]


def test_another_name_of_the_marker(tidy: None) -> None:
    """The parameter is called as it is told; parameters of the call go along with each page."""
    with (
        kit.serve(lambda method, path, headers, body: [] if 'last=' in path else ['a', 'b']) as server,
        Client(server.url, 'tok-1234') as rest,
    ):
        assert list(
            paginate(rest, 'x', items=list, marker='last', limit=2, params={'status': 'up'}, headers={'X-A': '1'})
        ) == ['a', 'b']
    assert [request.path for request in server.requests] == ['/x?status=up&limit=2', '/x?status=up&limit=2&last=b']
    assert all(request.headers['x-a'] == '1' for request in server.requests)


def test_a_listing_that_does_not_look_at_the_marker(tidy: None) -> None:
    """Where all came at once, all come once; where a full page comes again, that is an error."""
    with kit.serve(lambda method, path, headers, body: ['a', 'b']) as server, Client(server.url) as rest:
        assert list(paginate(rest, items=list)) == ['a', 'b']
        assert list(paginate(rest, items=list, limit=5)) == ['a', 'b']
        pages = paginate(rest, items=list, limit=2)
        assert [next(pages), next(pages)] == ['a', 'b']
        with pytest.raises(ClientError, match='repeats'):
            next(pages)
        assert list(paginate(rest, items=list, limit=2, marker=None)) == ['a', 'b']


def test_a_listing_in_a_circle(tidy: None) -> None:
    """A marker that was there before ends it with an error."""
    turns = iter(range(100))
    with (
        kit.serve(lambda *_: [next(turns) % 3]) as server,
        Client(server.url) as rest,
        pytest.raises(ClientError, match='repeats'),
    ):
        list(paginate(server and rest, items=list))
    assert len(server.requests) == 4


def test_items_without_a_marker(tidy: None) -> None:
    """A page that is not full is the last one; behind a full one nobody knows what comes."""
    with kit.serve(lambda method, path, headers, body: [{'x': 1}, None]) as server, Client(server.url) as rest:
        assert list(paginate(rest, items=list)) == [{'x': 1}, None]
        assert list(paginate(rest, items=list, limit=3)) == [{'x': 1}, None]
        with pytest.raises(ClientError, match='follows an item without id and name'):
            list(paginate(rest, items=list, limit=2))


# By link -------------------------------------------------------------------------------------------------------------

PAGES = [['a', 'b'], [], ['c'], ['d']]


@pytest.mark.parametrize(
    'link',
    [
        '</things?page={}>; rel="next"',
        '<?page={}>;rel=next',
        '<things?page={}>; rel="prev next"',
        '<//{host}/things?page={}> ; title="a, <b>; c" ; REL = "NEXT"',
        '</x>; rel="prev", <http://{host}/things?page={}#top>; rel="next", </y>; rel=last',
        '</x>; rel=prev; rel=next, < /things?page={} >; rel="next"',
        '</x>; title=rel; x="; rel=next", </things?page={}>; rel="next"; title*=UTF-8\'\'%e2',
        '<http://{host}//things?page={}>; rel="next"',
        '</things?page={}>; anchor; rel="start next"',
    ],
)
def test_by_link(oracle: None, link: str) -> None:
    """A link may be relative, stand among others, and be written in any way that RFC 8288 allows; an empty page is no end."""

    def of(number: int) -> str:
        return link.replace('{host}', server.host).replace('{}', str(number + 1))

    with kit.serve(linked(PAGES, of)) as server, Client(server.url, 'tok-1234') as rest:
        assert list(paginate(rest, '/things', items=list)) == ['a', 'b', 'c', 'd']
    assert len(server.requests) == 4
    assert all(request.headers['x-auth-token'] == 'tok-1234' for request in server.requests)


@pytest.mark.parametrize(
    'link',
    [
        '',
        '</x>; rel=prev',
        '</x>',
        '</x>; rel="nextly"',
        '</x>; title=next',
        'rel=next',
        '<; rel=next',
        '</x>; rev=next',
    ],
)
def test_no_link(tidy: None, link: str) -> None:
    """What is no link to the next page is none."""
    with kit.serve(lambda *_: (200, [('Link', link)], '["a"]')) as server, Client(server.url) as rest:
        assert list(paginate(rest, items=list, marker=None)) == ['a']


def test_several_fields(tidy: None) -> None:
    """The links may come in several fields."""
    with (
        kit.serve(
            lambda method, path, headers, body: (
                200,
                [('Link', '</0>; rel=prev'), ('Link', '</b>; rel=next')] if path == '/a' else [],
                [path],
            )
        ) as server,
        Client(server.url) as rest,
    ):
        assert list(paginate(rest, 'a', items=list)) == ['/a', '/b']


@pytest.mark.parametrize('path', ['/things?page=0', '/things'])
def test_a_link_that_repeats(oracle: None, path: str) -> None:
    """It ends the listing with an error, after all that came before."""
    with (
        kit.serve(lambda method, got, headers, body: (200, {'Link': f'<{path}>; rel=next'}, [got])) as server,
        Client(server.url) as rest,
    ):
        pages = paginate(rest, '/things', items=list)
        assert next(pages) == '/things'
        with pytest.raises(ClientError, match='repeats'):
            list(pages)
    assert len(server.requests) <= 2


@pytest.mark.parametrize(
    'link',
    [
        'ftp://server.example/x',
        'http://user:password@server.example/',
        'http://[::1/',
        'mailto:x',
        'http://server.example:99999/',
    ],
)
def test_links_that_lead_nowhere(oracle: None, link: str) -> None:
    """What a server sends is never a ValueError of ours."""
    with kit.serve(lambda *_: (200, {'Link': f'<{link}>; rel=next'}, '["a"]')) as server, Client(server.url) as rest:
        pages = paginate(rest, items=list)
        assert next(pages) == 'a'
        with pytest.raises(ClientError):
            next(pages)


# Another origin ------------------------------------------------------------------------------------------------------


def test_another_origin_gets_no_token(oracle: None) -> None:
    """Nor the authenticator's proof, nor a secret field; and neither does our own when that leads back."""

    def here(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 200, {'Link': f'<{there.url}/second>; rel=next'} if path == '/first' else {}, [path]

    def elsewhere(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 200, {'Link': f'<{server.url}/third>; rel=next'}, [path]

    with (
        kit.serve(here) as server,
        kit.serve(elsewhere) as there,
        Client(
            server.url,
            'tok-1234',
            authenticator=BearerToken('other-token'),
            base_headers={'Cookie': 'a=b', 'X-Mine': '1'},
        ) as rest,
    ):
        assert list(paginate(rest, '/first', items=list, headers={'Authorization': 'Basic eA==', 'X-Call': '2'})) == [
            '/first',
            '/second',
            '/third',
        ]
    first, third = server.requests
    [second] = there.requests
    assert first.headers['x-auth-token'] == 'tok-1234' and 'cookie' in first.headers
    for request in second, third:
        assert not {'x-auth-token', 'authorization', 'cookie'} & {name.lower() for name in request.headers}
        assert (request.headers['x-mine'], request.headers['x-call']) == ('1', '2')


def test_the_client_of_another_origin_is_closed(oracle: None) -> None:
    """Also when the listing is left early, and when it fails there."""
    with (
        kit.serve(lambda *_: (500, None, 'no')) as there,
        kit.serve(lambda *_: (200, {'Link': f'<{there.url}/>; rel=next'}, '["a"]')) as server,
        Client(server.url) as rest,
    ):
        with pytest.raises(ClientError) as caught:
            list(paginate(rest, items=list))
        assert caught.value.status == 500
        kit.wait_until(lambda: not there.peers)


# Lazily, and ahead ---------------------------------------------------------------------------------------------------


def test_pages_are_asked_for_when_they_are_wanted(oracle: None) -> None:
    """Nothing is sent before the first item is wanted, and no page before its own is."""
    with kit.serve(linked([['a', 'b'], ['c', 'd'], ['e']])) as server, Client(server.url) as rest:
        items = paginate(rest, '/things', items=list)
        seen = [len(server.requests)]
        for _ in items:
            kit.turn()
            seen.append(len(server.requests))
    assert seen == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize('prefetch', [1, 2, 50])
def test_prefetch(oracle: None, prefetch: int) -> None:
    """So many pages more are asked for, and no further one."""
    pages = [[number] for number in range(6)]
    with kit.serve(linked(pages)) as server, Client(server.url) as rest:
        items = paginate(rest, '/things', items=list, prefetch=prefetch)
        kit.turn()
        assert len(server.requests) == 0
        for number in range(6):
            assert next(items) == number
            kit.wait_until(lambda: len(server.requests) == min(number + 1 + prefetch, 6))  # noqa: B023 - called at once
            for _ in range(5):
                kit.turn()
            assert len(server.requests) == min(number + 1 + prefetch, 6)
        assert list(items) == []


@pytest.mark.parametrize('prefetch', [0, 1, 3])
def test_an_error_comes_after_what_was_before_it(oracle: None, prefetch: int) -> None:
    """Items of good pages are handed out first."""

    def handle(method: str, path: str, headers: Any, body: bytes) -> Any:
        return (
            (500, None, 'no luck') if 'page=2' in path else linked([['a'], ['b'], ['c']])(method, path, headers, body)
        )

    with kit.serve(handle) as server, Client(server.url) as rest:
        items = paginate(rest, '/things', items=list, prefetch=prefetch)
        assert [next(items), next(items)] == ['a', 'b']
        with pytest.raises(ClientError, match='no luck'):
            next(items)
        assert list(items) == []


@pytest.mark.parametrize('end', ['close', 'forget', 'kill'])
def test_a_listing_that_is_left(oracle: None, end: str) -> None:
    """What is being fetched ahead is cancelled, and nothing is left behind."""

    def consume() -> None:
        for _ in paginate(rest, '/things', items=list, prefetch=1):
            pass

    with kit.serve(linked([['a'], ['b'], ['c']]), kit.Gate()) as server, Client(server.url) as rest:
        if end == 'kill':
            consumer = gevent.spawn(consume)
            server.gate.wait_for(1)
            consumer.kill()
        else:
            items: Iterator[Any] | None = paginate(rest, '/things', items=list, prefetch=1)
            first = gevent.spawn(next, items)
            server.gate.wait_for(1)[0].release()
            assert first.get(timeout=kit.LONG) == 'a'
            server.gate.wait_for(1)
            if end == 'close':
                items.close()  # type: ignore[union-attr]
            first = items = None  # type: ignore[assignment]
        kit.wait_until(lambda: server.gate.in_flight == 0)
        assert rest._core.stats()['in_flight'] == 0


# Pages ---------------------------------------------------------------------------------------------------------------


def test_pages_without_a_body(tidy: None) -> None:
    """There is nothing, which is not read."""
    with kit.serve(lambda *_: (204, None, None)) as server, Client(server.url) as rest:
        assert list(paginate(rest, items='queues', success=(200, 204))) == []


@pytest.mark.parametrize('body', ['{"other": []}', '[]', '{"items": {}}', '{"items": null}', 'no json'])
def test_pages_that_make_no_sense(tidy: None, body: str) -> None:
    """A page without the list, or of something else, is a ClientError that knows the answer."""
    with (
        kit.serve(lambda *_: (200, None, body)) as server,
        Client(server.url) as rest,
        pytest.raises(ClientError) as caught,
    ):
        list(paginate(rest, items='items'))
    assert caught.value.status == 200 and caught.value.response is not None and caught.value.response.text == body


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        ({'items': None}, ValueError),
        ({}, TypeError),
        ({'items': 'x', 'limit': 0}, ValueError),
        ({'items': 'x', 'limit': True}, ValueError),
        ({'items': 'x', 'prefetch': -1}, ValueError),
        ({'items': 'x', 'prefetch': None}, ValueError),
        ({'items': 'x', 'marker': ''}, ValueError),
        ({'items': 'x', 'marker': 7}, ValueError),
        ({'items': 'x', 'json': 1}, TypeError),
        ({'items': 'x', 'nonsense': 1}, TypeError),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], kind: type[Exception]) -> None:
    """They are told by the call, not by the first item."""
    with Client('http://server.example') as rest, pytest.raises(kind):
        paginate(rest, '/things', **options)
