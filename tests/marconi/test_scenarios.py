"""What a client does, on each version, against the peer in memory; tests/zaqar has the same with real servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napixclient.marconi import Client
from tests.marconi import scenarios
from tests.marconi.conftest import Peers

VERSIONS = (1, 1.1, 2)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('keystone', [False, True], ids=['open', 'keystone'])
def test_the_session_of_the_seed_runs(version: Any, keystone: bool, zaqar: Peers, with_keystone: Any) -> None:
    """The session of the seed runs on each version, with authentication and without."""
    peers = with_keystone() if keystone else zaqar
    scenarios.seed_session(peers.connect(version=version))


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('scenario', scenarios.OF_A_CLIENT, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Callable[[Client], None], version: Any, zaqar: Peers) -> None:
    """What the scenario says of itself holds."""
    scenario(zaqar.client(version=version))


@pytest.mark.parametrize('version', VERSIONS)
def test_what_is_left_out_hides_nothing(version: Any, zaqar: Peers) -> None:
    """Own and claimed messages hide nothing of what is behind them."""
    scenarios.pages_behind_others(zaqar.client(version=version), zaqar.client(version=version))


@pytest.mark.parametrize('version', VERSIONS)
def test_asynchronous_operations(version: Any, zaqar: Peers) -> None:
    """With `async_` the same results come from what is waited for."""
    scenarios.asynchronous(zaqar.connect(version=version))
