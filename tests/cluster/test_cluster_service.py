"""`napix serve --via`: runs ask over workers, the store stays the record, and what dies sends no POST twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from napixclient.cluster.broker import Broker
from napixclient.cluster.lanes import Zone
from napixclient.cluster.status import look
from tests.chaos.relay import Relay
from tests.cluster.kit import Cluster, Servers, until
from tests.service.browser import MISSING, Browser
from tests.service.serving import Service, serving


def run_of(servers: Servers, count: int, method: str = 'POST', **options: Any) -> dict[str, Any]:
    """A run with a path of its own for each request."""
    hosts = servers.hosts
    requests = [
        {'host': hosts[number % len(hosts)], 'method': method, 'url': f'/run/{number}', 'tag': number}
        for number in range(count)
    ]
    return {'requests': requests, **options}


def states(results: list[dict[str, Any]]) -> Counter[str]:
    """What became of the requests of a run."""
    return Counter(one['state'] for one in results)


def test_results(cluster: Cluster, tmp_path: Path) -> None:
    """A run has the results that it has without a cluster; the allow-lists of service and workers both hold."""
    servers = cluster.servers(3)
    cluster.worker()
    with serving(tmp_path / 'runs', *cluster.via()) as service:
        run, results = service.run(run_of(servers, 60, ordered=True))
        assert (run['state'], run['counts']['ok'], len(results)) == ('done', 60, 60)
        assert [one['tag'] for one in results] == list(range(60))
        assert {(one['status'], one['body'], one['attempts']) for one in results} == {(200, 'ok', 1)}
        refused = service.start({'requests': [{'host': '10.0.0.1', 'method': 'GET', 'url': '/'}]}, 400)
        assert '--allow' in str(refused)
        auto = service.start(run_of(servers, 1, simultaneous='auto'), 400)
        assert 'the cap is that of its workers' in str(auto)
        _, [other] = service.run(run_of(servers, 1, 'GET', simultaneous=5))
        assert other['error']['class'] == 'ClusterError' and 'give both the same number' in other['error']['text']
    assert (servers.report()['seen'], servers.report()['different']) == (60, 60)


def test_kill_of_the_service(cluster: Cluster, tmp_path: Path) -> None:
    """After kill -9 of the service in a run of POSTs the next start has each outcome, and none was sent twice."""
    servers = cluster.servers(6, 0.02)
    cluster.workers(2)
    first = Service(tmp_path / 'runs', *cluster.via())
    id = first.start(run_of(servers, 1500, timeout=8))['id']
    until(lambda: first.show(id)['counts']['ok'] >= 300)
    first.kill()
    with serving(tmp_path / 'runs', *cluster.via()) as second:
        run = second.follow(id)
        found = second.results(id)
    assert sorted(one['tag'] for one in found) == list(range(1500))
    counts, report = states(found), servers.report()
    assert set(counts) <= {'done', 'interrupted'} and run['counts']['ok'] == counts['done'], counts
    # What had been published has its outcome: only what stood between the store and the broker is not known.
    assert counts['interrupted'] <= 100 and report['posts twice'] == [], counts
    assert counts['done'] <= report['seen'] <= 1500


def test_stop_of_the_service(cluster: Cluster, tmp_path: Path) -> None:
    """SIGTERM leaves what is published to the next start, which knows what was not: all is done, and once."""
    servers = cluster.servers(4, 0.05)
    cluster.worker()
    first = Service(tmp_path / 'runs', *cluster.via(), '--drain-timeout', '0')
    id = first.start(run_of(servers, 800, timeout=60))['id']
    until(lambda: first.show(id)['counts']['ok'] >= 100)
    assert first.stop() == 0
    with serving(tmp_path / 'runs', *cluster.via()) as second:
        run = second.follow(id)
    assert (run['state'], run['counts']['ok']) == ('done', 800), run
    assert (servers.report()['seen'], servers.report()['different']) == (800, 800)


def test_kill_of_both(cluster: Cluster, tmp_path: Path) -> None:
    """After kill -9 of service and worker what the worker had begun is interrupted, and the rest is done, once."""
    servers = cluster.servers(4, 0.05)
    worker = cluster.worker()
    first = Service(tmp_path / 'runs', *cluster.via())
    id = first.start(run_of(servers, 600, timeout=6))['id']
    until(lambda: first.show(id)['counts']['ok'] >= 100)
    first.kill()
    worker.send(signal.SIGKILL)
    worker.wait()
    cluster.worker()
    with serving(tmp_path / 'runs', *cluster.via()) as second:
        run = second.follow(id)
        counts = states(second.results(id))
    assert run['state'] == 'interrupted' and sum(counts.values()) == 600, counts
    assert set(counts) == {'done', 'interrupted'} and counts['done'] > counts['interrupted'], counts
    assert servers.report()['posts twice'] == []


def test_broker_has_forgotten(cluster: Cluster, tmp_path: Path) -> None:
    """Where the broker has forgotten what workers said, POSTs are interrupted at once, and later ones are not lost."""
    servers = cluster.servers(4, 0.05)
    cluster.worker()
    first = Service(tmp_path / 'runs', *cluster.via())
    id = first.start(run_of(servers, 500, timeout=60))['id']
    until(lambda: first.show(id)['counts']['ok'] >= 50)
    first.kill()
    connection = Broker(cluster.broker.url).connect()
    connection.channel().queue_delete(f'napix.reply.{id}')
    connection.release()
    second = Service(tmp_path / 'runs', *cluster.via(), '--drain-timeout', '0')
    until(lambda: second.show(id)['counts']['ok'] >= 150)
    assert 0 < second.show(id)['counts']['interrupted'] <= 150
    assert second.stop() == 0  # with what it has published under another name
    with serving(tmp_path / 'runs', *cluster.via()) as third:
        run = third.follow(id)
        counts = states(third.results(id))
    assert run['state'] == 'interrupted' and sum(counts.values()) == 500
    assert set(counts) == {'done', 'interrupted'} and counts['interrupted'] <= 150, counts
    assert servers.report()['posts twice'] == []


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_kill_of_a_worker(cluster: Cluster, tmp_path: Path, method: str) -> None:
    """After kill -9 of a worker each request of the run has one result, and no POST was sent twice."""
    servers = cluster.servers(4, 0.02)
    workers = cluster.workers(2)
    with serving(tmp_path / 'runs', *cluster.via()) as service:
        id = service.start(run_of(servers, 800, method, timeout=60))['id']
        until(lambda: service.show(id)['counts']['ok'] >= 200)
        workers[0].send(signal.SIGKILL)
        workers[0].wait()
        cluster.worker(0, 2)
        service.follow(id)
        found = service.results(id)
    assert sorted(one['tag'] for one in found) == list(range(800))
    assert set(states(found)) <= ({'done'} if method == 'GET' else {'done', 'interrupted'})
    assert servers.report()['posts twice'] == []


def test_cancel(cluster: Cluster, tmp_path: Path) -> None:
    """A run that is cancelled is so at the workers: what is in flight is cut off, what is not is never sent."""
    servers = cluster.servers(2, 30)
    cluster.worker()
    with serving(tmp_path / 'runs', *cluster.via()) as service:
        id = service.start(run_of(servers, 200))['id']
        until(lambda: servers.report()['flying'] == 4)
        assert service.ask('DELETE', f'/runs/{id}').status in (200, 202, 204)
        run = service.follow(id)
        assert (run['state'], run['counts']['cancelled']) == ('cancelled', 200)
        until(lambda: servers.report()['flying'] == 0)
        assert servers.report()['seen'] == 4


def test_what_is_refused_at_start(cluster: Cluster, tmp_path: Path) -> None:
    """A URL, a key or a broker that cannot be used is one clear error at the start."""
    via = cluster.via()
    for wrong, text in [
        (['--via', 'http://127.0.0.1/'], 'its scheme is amqp or amqps'),
        (['--via', f'amqp://guest:wrong@127.0.0.1:{cluster.broker.port}//'], 'refuses the login'),
        (['--via-key', '@/nowhere/key'], 'cannot read the key file /nowhere/key'),
    ]:
        with pytest.raises(AssertionError) as caught:
            Service(tmp_path / 'runs', *via, *wrong)
        assert text in str(caught.value) and 'Traceback' not in str(caught.value)
    with pytest.raises(AssertionError, match='name its broker with --via URL'):
        Service(tmp_path / 'runs', *via[2:])


def test_status(cluster: Cluster, tmp_path: Path) -> None:
    """`/cluster` tells of lanes and workers what `napix cluster status` does; without a broker it is 503, not an error."""
    servers = cluster.servers(2, 30)
    worker = cluster.worker(0, 2)
    with serving(tmp_path / 'runs', *cluster.via()) as service:
        assert service.ask('GET', '/healthz').body == {'status': 'ok', 'runs': 0, 'cluster': True}
        id = service.start(run_of(servers, 40))['id']
        until(lambda: any(one['depth'] or one['oldest'] for one in service.ask('GET', '/cluster').body['lanes']))
        answer = service.ask('GET', '/cluster')
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.body
        told: dict[str, Any] = look(Broker(cluster.broker.url), Zone(cluster.zone, cluster.lanes)).document()
        assert (found['zone'], found['unowned'], found['problems']) == (told['zone'], told['unowned'], told['problems'])
        owners, others = ([(one['lane'], one['owner']) for one in each['lanes']] for each in (found, told))
        assert owners == others and any(owner for _, owner in owners)
        assert {one['name'] for one in found['workers']} == {one['name'] for one in told['workers']}
        assert found['unowned'] == [1, 3, 5, 7]
        assert service.ask('DELETE', f'/runs/{id}').status == 200
        worker.send(signal.SIGTERM)
        worker.wait()
        until(lambda: not service.ask('GET', '/cluster').body['workers'])
    with Relay(cluster.broker.port) as relay:
        via = [text.replace(f':{cluster.broker.port}', f':{relay.port}') for text in cluster.via()]
        lonely = Service(tmp_path / 'runs', *via)
        assert lonely.ask('GET', '/cluster').status == 200
    try:
        answer = until(lambda: (found := lonely.ask('GET', '/cluster')).status != 200 and found)
        assert answer.status == 503 and f'127.0.0.1:{relay.port}' in answer.body['error_text'], answer.body
        assert lonely.alive()
    finally:
        lonely.kill()


@pytest.mark.skipif(bool(MISSING), reason=f'{MISSING} is missing: apt install chromium chromium-driver')
def test_page(cluster: Cluster, tmp_path: Path) -> None:
    """Where runs ask over a cluster the page has a place for it: workers, lanes without one, and it stays up to date."""
    cluster.worker(0, 2)
    with serving(tmp_path / 'runs', *cluster.via()) as service, Browser(tmp_path / 'profile') as browser:
        browser.open(service.url)
        browser.until('document.getElementById("cluster-link").checkVisibility()')
        browser.click('#cluster-link')
        browser.until('document.querySelectorAll("#cluster-workers tbody tr").length === 1')
        assert '1 worker' in browser.text('#cluster-state')
        assert 'No worker has the lanes 1,3,5,7' in browser.text('#cluster-problems')
        assert browser.run('return document.querySelectorAll("#cluster-lanes tbody tr[data-owned=true]").length') > 0
        assert browser.text('header nav a[aria-current]') == 'Cluster'
        cluster.worker(1, 2)
        browser.until('document.querySelectorAll("#cluster-workers tbody tr").length === 2')
        browser.until('document.querySelectorAll("#cluster-lanes tbody tr[data-owned=false]").length === 0')
        browser.until('document.getElementById("cluster-problems").children.length === 0')
        assert browser.complaints() == []
