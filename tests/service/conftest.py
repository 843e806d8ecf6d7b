"""One service for the tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.postgres import PostgreSQL, missing, postgresql
from tests.service.serving import Service, serving


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with no configuration but its store."""
    with serving(tmp_path_factory.mktemp('store') / 'runs.sqlite') as running:
        yield running


@pytest.fixture(scope='session')
def postgres() -> Iterator[PostgreSQL]:
    """A PostgreSQL of our own, where it is installed."""
    why = missing()
    if why:
        pytest.skip(why)
    with postgresql() as server:
        yield server
