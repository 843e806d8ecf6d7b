"""The real servers of these tests: started when they are first needed, stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zaqar import install
from tests.zaqar.servers import Servers

pytest.register_assert_rewrite('tests.marconi.scenarios', 'tests.marconi.store')

#: Seconds that a token lives here: shorter than a session takes.
TOKEN_SECONDS = 15


@pytest.fixture(scope='session', autouse=True)
def installed() -> None:
    """Whoever runs all tests has not asked for some hundred megabytes of servers."""
    if not install.installed():
        pytest.skip('the servers are not installed; make test-zaqar does that')


@pytest.fixture(scope='session')
def servers() -> Iterator[Servers]:
    """Zaqar 23 and 19, without authentication, and both with lives that may be short."""
    with Servers('redis', 'v2', 'v1', 'v2_short', 'v1_short') as started:
        yield started


@pytest.fixture(scope='session')
def keystone() -> Iterator[Servers]:
    """Zaqar 23 and 19 with Keystone, whose catalogue leads to version 1."""
    with Servers(
        'redis', 'keystone', 'v2_keystone', 'v1_keystone', token_seconds=TOKEN_SECONDS, messaging='v1_keystone'
    ) as started:
        yield started
