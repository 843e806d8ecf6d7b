"""The scenarios, and the session of the seed, against real servers: Zaqar 23 for version 2, Zaqar 19 for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from napixclient.marconi import Client, Connection
from tests.marconi import scenarios
from tests.zaqar.servers import Servers

VERSIONS = ('1', '1.1', '2')


@pytest.fixture(params=VERSIONS)
def conn(request: Any, servers: Servers) -> Iterator[Connection]:
    """A connection without authentication."""
    endpoint = servers.urls['v2' if request.param == '2' else 'v1']
    with Connection(
        'tacocat', apikey='my_awesome_key', endpoint=endpoint, tenant='tests', version=request.param
    ) as made:
        yield made


def test_the_session_of_the_seed_runs(conn: Connection) -> None:
    """The session of the seed runs without authentication."""
    scenarios.seed_session(conn)


@pytest.mark.parametrize('scenario', scenarios.OF_A_CLIENT, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Callable[[Client], None], conn: Connection) -> None:
    """What the scenario says of itself holds."""
    scenario(Client(conn))


def test_what_is_left_out_hides_nothing(conn: Connection) -> None:
    """Own and claimed messages hide nothing of what is behind them."""
    scenarios.pages_behind_others(Client(conn), Client(conn))


def test_asynchronous_operations(conn: Connection) -> None:
    """With `async_` the same results come from what is waited for."""
    scenarios.asynchronous(conn)


def test_the_newest_version_is_spoken(servers: Servers) -> None:
    """Without `version` it is the newest that the server lists; an endpoint that has a version keeps it."""
    for part, url, version in ('v2', '', '2.0'), ('v1', '', '2.0'), ('v1', '/v1', '1.0'), ('v1', '/v1.1/', '1.1'):
        with Connection(endpoint=servers.urls[part] + url, tenant='tests') as conn:
            assert conn.version == version
