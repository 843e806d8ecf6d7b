"""The cap holds over all workers and submitters, whatever dies; what is not idempotent is received once at most."""

from __future__ import annotations

import signal
import time
from pathlib import Path

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


def test_cap_over_all(cluster: Cluster) -> None:
    """Three submitters and three workers together never exceed the cap of an origin, as its server counts."""
    servers = cluster.servers(8, 0.01)
    cluster.workers(3)
    submitters = [cluster.submitter(f'run{number}', servers.hosts, 1200, 'GET', 'POST') for number in range(3)]
    for result in [submitter.result() for submitter in submitters]:
        assert (result['kinds'], result['once']) == ({'200': 1200}, True)
    report = servers.report()
    assert (report['peak'], report['seen'], report['different']) == (2, 3600, 3600)


def test_term_with_a_standby(cluster: Cluster) -> None:
    """SIGTERM lets a standby take over without a request lost, sent twice or beyond the cap."""
    servers = cluster.servers(6, 0.02)
    first = cluster.worker()
    standby = cluster.worker()
    assert 'another worker has lanes 0-7' in standby.text
    submitter = cluster.submitter('term', servers.hosts, 2500, 'GET', 'POST', tell=50)
    until(lambda: submitter.done >= 300)
    first.send(signal.SIGTERM)
    assert first.wait() == 0, first.text
    assert (submitter.result()['kinds'], submitter.done) == ({'200': 2500}, 2500)
    report = servers.report()
    assert (report['peak'], report['seen'], report['different']) == (2, 2500, 2500)
    assert 'Traceback' not in first.text + standby.text


def test_stop_with_a_standby(cluster: Cluster) -> None:
    """A worker that is suspended until the broker has given its lanes away sends nothing when it goes on."""
    servers = cluster.servers(6, 0.02)
    first = cluster.worker()
    standby = cluster.worker()
    submitter = cluster.submitter('stop', servers.hosts, 4000, 'GET', 'POST', tell=50, options={'timeout': 100})
    until(lambda: submitter.done >= 300)
    first.send(signal.SIGSTOP)
    done = submitter.done
    until(lambda: submitter.done > done + 300)  # the standby has the lanes
    first.send(signal.SIGCONT)
    result = submitter.result()
    report = servers.report()
    assert result['once'] and set(result['kinds']) <= {'200', 'Interrupted'}, result
    assert (report['peak'], report['posts twice']) == (2, [])
    assert 'Traceback' not in first.text + standby.text


def test_slow_batches_and_sigterm(cluster: Cluster) -> None:
    """A batch may take longer than two heartbeats of the broker, and one under way at SIGTERM ends first."""
    servers = cluster.servers(2, 0.5)
    worker = cluster.worker()
    submitter = cluster.submitter('slow', servers.hosts, 120, 'GET', tell=1, options={'timeout': 100})
    until(lambda: submitter.done >= 40)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert 'they go back' not in worker.text
    cluster.worker()
    assert (submitter.result()['kinds'], servers.report()['different']) == ({'200': 120}, 120)
    assert servers.report()['gets twice'] == 0


def test_kill_of_the_broker(tmp_path: Path) -> None:
    """After kill -9 of the broker all goes on: each request has one outcome, no POST comes twice, the cap holds."""
    node = RabbitMQ()
    cluster = Cluster(node, tmp_path)
    try:
        node.start()
        servers = cluster.servers(8, 0.01)
        workers = cluster.workers(2)
        time.sleep(2)  # killed within a second after it has made a queue, RabbitMQ 3.10.8 may leave that for good
        submitter = cluster.submitter('broker', servers.hosts, 2500, 'GET', 'POST', tell=50, options={'timeout': 600})
        until(lambda: submitter.done >= 300)
        node.kill()
        node.start()
        until(lambda: _prefetch(node, cluster.zone) == ['4'] * 8)  # as before, or the loop waits for its own pool
        result, report = submitter.result(), servers.report()
        assert result['once'] and set(result['kinds']) <= {'200', 'Interrupted'}, result
        assert (report['peak'], report['posts twice']) == (2, [])
        assert 'Traceback' not in ''.join(worker.text for worker in workers)
    finally:
        cluster.close()
        node.close()


def _prefetch(node: RabbitMQ, zone: str) -> list[str]:
    """How many batches the consumer of each lane may have ahead."""
    lines = node.control('list_consumers', 'queue_name', 'prefetch_count').splitlines()
    return [count for name, count in map(str.split, lines[1:]) if name.startswith(f'napix.{zone}.')]
