"""Row 26 of the faults at its full size: ten thousand requests, half of them killed at random, plain and over TLS."""

from __future__ import annotations

from typing import Any

import pytest

from tests import kit
from tests.test_kills import cancel_half, kill_half

REQUESTS = 10_000


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """That of the round."""
    return int(request.config.getoption('--hypothesis-seed') or 0)


@pytest.fixture(params=['http', 'https'])
def tls(request: pytest.FixtureRequest, authority: kit.Authority) -> Any:
    """The context of the server: none, then one."""
    return authority.server() if request.param == 'https' else None


@pytest.mark.usefixtures('tidy')
def test_half_of_all_cancelled(seed: int, tls: Any, authority: kit.Authority) -> None:
    """By `cancel()` and `kill()`: none gets the answer to another one, and everything is given back."""
    cancel_half(REQUESTS, seed, tls, authority)


@pytest.mark.usefixtures('tidy')
def test_half_of_all_callers_killed(seed: int, tls: Any, authority: kit.Authority) -> None:
    """The same where the greenlets that are blocked in `Client.request` are killed."""
    kill_half(REQUESTS, seed, tls, authority)
