"""The cap holds over all workers and submitters, whatever dies; what is not idempotent is received once at most."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cluster.broker import RabbitMQ
from tests.cluster.kit import Cluster, until


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_kill_of_a_worker(cluster: Cluster, method: str) -> None:
    """After kill -9 of a worker each request has one outcome, and no POST was received twice."""
    servers = cluster.servers(6, 0.01)
    workers = cluster.workers(2)
    submitter = cluster.submitter('kill', servers.hosts, 3000, method, tell=100, options={'timeout': 120})
    until(lambda: submitter.done >= 600)
    workers[0].send(signal.SIGKILL)
    workers[0].wait()
    cluster.worker(0, 2)
    result = submitter.result()
    report = servers.report()
    assert result['once'], result
    assert report['posts twice'] == []
    assert set(result['kinds']) <= {'200', 'Interrupted'}
    # Of a batch that had begun, ten at most; the worker had four batches of each of its four lanes at most.
    assert result['kinds'].get('Interrupted', 0) <= (160 if method == 'POST' else 0)
