"""What the tests of the command share."""

from __future__ import annotations

from collections.abc import Iterator

import click  # noqa: F401
import ClusterShell  # noqa: F401  # without these the command only says what is missing
import pytest
import rich  # noqa: F401

from tests import kit
from tests.cli.programs import Warmed


@pytest.fixture(scope='session', autouse=True)
def warmed() -> None:
    """The process that each run is forked from."""
    Warmed.here()


@pytest.fixture
def refused() -> Iterator[str]:
    """A host whose port refuses."""
    with kit.FaultServer(listening=False) as server:
        yield server.host
