"""One service for the tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.postgres import PostgreSQL, missing, postgresql
from tests.service.browser import MISSING, Browser
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


@pytest.fixture(scope='module')
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a module."""
    if MISSING:
        pytest.skip(f'{MISSING} is missing: apt install chromium chromium-driver')
    with Browser(tmp_path_factory.mktemp('profile')) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, with nothing open; the page must not have complained of anything."""
    chromium.open('about:blank')
    chromium.resize(1280, 900)
    chromium.prefer()
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []
