"""What a client and a consumer make of the store, against the peer in memory; tests/zaqar has the same with real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napixclient.marconi import Client
from tests.marconi import store
from tests.marconi.conftest import Peers

CASES = [(scenario, version) for scenario in store.OF_ALL for version in (1, 2)] + [
    (scenario, 2) for scenario in store.OF_VERSION_2
]


@pytest.mark.parametrize(('scenario', 'version'), CASES, ids=lambda each: getattr(each, '__name__', None))
def test_store(scenario: Callable[[Client, Client], None], version: Any, zaqar: Peers) -> None:
    """What the scenario says of itself holds."""
    scenario(zaqar.client(version=version), zaqar.client(version=version))
