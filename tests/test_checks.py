"""What callers give is checked alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napixclient import Client, ClientPool, Request, rest
from napixclient.checks import is_number, is_whole, seconds_of
from napixclient.resources import Resources, Shards
from napixclient.wsgi import SignatureGuard

HOST, BASE = 'server.example', 'http://server.example'
COUNTS: dict[str, Callable[[Any], object]] = {
    'Client simultaneous': lambda value: Client(HOST, simultaneous=value),
    'ClientPool simultaneous': lambda value: ClientPool(simultaneous=value),
    'ClientPool max_connections': lambda value: ClientPool(max_connections=value),
    'ClientPool max_header_bytes': lambda value: ClientPool(max_header_bytes=value),
    'ClientPool max_header_fields': lambda value: ClientPool(max_header_fields=value),
    'ClientPool window': lambda value: list(ClientPool().stream([], window=value)),
    'Resources simultaneous': lambda value: Resources([HOST], simultaneous=value),
    'Resources attempts': lambda value: Resources([HOST]).unicast('GET', '/', attempts=value),
    'rest.Client max_concurrency': lambda value: rest.Client(BASE, max_concurrency=value),
    'paginate limit': lambda value: list(rest.paginate(rest.Client(BASE), '/', items='items', limit=value)),
    'SignatureGuard max_nonces': lambda value: SignatureGuard(lambda *_: [], {}, max_nonces=value),
}
FLAGS: dict[str, Callable[[Any], object]] = {
    'decode': lambda value: ClientPool(decode=value),
    'redirect': lambda value: ClientPool(redirect=value),
    'decode of a request': lambda value: Request(HOST, 'GET', '/', decode=value),
    'singleflight': lambda value: Resources([HOST], singleflight=value),
}


@pytest.mark.parametrize('value', [True, False, 0, -1, 1.0, '1', [1], float('nan')])
@pytest.mark.parametrize('name', COUNTS)
def test_counts(name: str, value: Any) -> None:
    """A count is a whole number: what is none, and True and False among it, is refused by its name, and shown."""
    with pytest.raises(ValueError, match=f'{name.split()[-1]} is a .*number (of at least 1|above 0), ') as caught:
        COUNTS[name](value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize('value', [True, False, -1, 0.0, '0'])
@pytest.mark.parametrize('taker', [lambda value: Resources([HOST], value), lambda value: Shards([(HOST, 1)], value)])
def test_counts_that_may_be_none(taker: Callable[[Any], object], value: Any) -> None:
    """Where 0 is a count, False is none all the same."""
    taker(0)
    with pytest.raises(ValueError, match='limit is a number of connections of at least 0, not '):
        taker(value)


@pytest.mark.parametrize('value', [0, 1, 'yes', ()])
@pytest.mark.parametrize('name', FLAGS)
def test_flags(name: str, value: Any) -> None:
    """A flag is True or False, and nothing that counts as either."""
    with pytest.raises(ValueError, match=f'{name.split()[0]} is True(,| or) False.*, not ') as caught:
        FLAGS[name](value)
    assert repr(value) in str(caught.value)


def test_kinds_of_numbers() -> None:
    """A whole number is a number, a float is no whole number even where it is one, and a bool is neither."""
    assert [is_whole(value) for value in (0, -1, 10**30, 1.0, True, '1', None)] == [True] * 3 + [False] * 4
    assert [is_number(value) for value in (0, 1.5, float('inf'), False, '1', None, 1j)] == [True] * 3 + [False] * 4


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [
        ('5', 5),
        ('0.25', 0.25),
        ('1e3', 1000),
        ('-2', -2),
        ('5s', 5),
        ('500ms', 0.5),
        ('1m30s', 90),
        ('1.5m', 90),
        ('2h', 7200),
        ('1d2h3m4s5ms', 93784.005),
        ('0s', 0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """A plain number is of seconds, or of the unit that is meant; with units their sum, the greatest first."""
    assert seconds_of(text) == pytest.approx(seconds)
    assert seconds_of('2', unit=86400) == 172800
    assert seconds_of('2h', unit=86400) == 7200


@pytest.mark.parametrize(
    'text', ['', 's', '5x', '5 s', '1s1m', '5S', '-5s', '.5s', '5s5', '1m30', 'ms', '1,5s', 'nan', 'inf', '1e999', '٥s']
)
def test_what_is_no_time(text: str) -> None:
    """Anything else is refused, with what was written."""
    with pytest.raises(ValueError, match='is not a number of seconds') as caught:
        seconds_of(text)
    assert text in str(caught.value)
