"""One broker for all tests of the cluster, and one whose end belongs to the test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kit
from tests.cluster.broker import RabbitMQ, find_server
from tests.cluster.kit import Cluster


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A ClusterPool needs a patched process, and the tests a broker: `make test-cluster` gives them both."""
    why = None
    if find_server() is None:
        why = 'there is no rabbitmq-server (Debian: rabbitmq-server)'
    elif not kit.is_patched():
        why = 'the cluster is tested in a patched process: make test-cluster'
    for item in items:
        if 'tests/cluster/' in item.nodeid:  # py-amqp leaves the socket of a connection that the broker refuses
            item.add_marker(pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'))
        if why is not None and 'tests/cluster/' in item.nodeid and 'test_cluster_parts' not in item.nodeid:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope='session')
def broker() -> Iterator[RabbitMQ]:
    """A broker that stays."""
    node = RabbitMQ()
    try:
        yield node.start()
    finally:
        node.close()


@pytest.fixture
def cluster(broker: RabbitMQ, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own zone."""
    cluster = Cluster(broker, tmp_path)
    yield cluster
    cluster.close()
    gc.collect()
