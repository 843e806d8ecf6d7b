"""`napix … --via` shows, records, ends and refuses as it does without a cluster."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from napixclient.cluster.keys import new_key
from tests.cluster.broker import free_port
from tests.cluster.kit import Cluster, Process, until


def documents(command: Process) -> list[dict[str, Any]]:
    """The lines of JSON that it has printed."""
    return [json.loads(line) for line in command.lines if line.startswith('{')]


def test_summary_and_json(cluster: Cluster) -> None:
    """Lines of JSON, counts and exit code tell of each request, also of one that a worker cannot connect for."""
    servers = cluster.servers(3)
    cluster.worker()
    closed = f'127.0.0.1:{free_port()}'
    command = cluster.command('get', ','.join([*servers.hosts, closed]), '/a', '--json', '--summary')
    assert command.wait() == 1, command.text
    found = {one['host']: one for one in documents(command)}
    assert [found[host]['status'] for host in servers.hosts] == [200, 200, 200]
    assert found[closed]['status'] is None and found[closed]['error']['class'] == 'RefusedError'
    assert '3 below 400, 0 at 400 or above, 1 without an answer' in command.text, command.text
    assert servers.report()['seen'] == 3


def test_joblog_and_resume(cluster: Cluster, tmp_path: Path) -> None:
    """What succeeded stands in the job log and is not sent again with --resume; the rest is."""
    servers = cluster.servers(3)
    cluster.worker()
    log = tmp_path / 'log'
    first = cluster.command('post', ','.join(servers.hosts[:2]), '/a', '--joblog', str(log))
    assert first.wait() == 0, first.text
    assert len(log.read_text().splitlines()) == 2
    again = cluster.command('post', ','.join(servers.hosts), '/a', '--joblog', str(log), '--resume', '--json')
    assert again.wait() == 0, again.text
    assert [one['host'] for one in documents(again)] == servers.hosts[2:]
    assert (servers.report()['seen'], servers.report()['posts twice']) == (3, [])
    assert len(log.read_text().splitlines()) == 3


def test_interrupt(cluster: Cluster) -> None:
    """The first Ctrl-C tells who is waited for, the second ends with 130; workers drop what is left."""
    servers = cluster.servers(2, 30)
    worker = cluster.worker()
    command = cluster.command('post', ','.join(servers.hosts), '/a[1-40]')
    until(lambda: servers.report()['seen'] == 4)
    command.send(signal.SIGINT)
    until(lambda: 'napix: waiting for 2 of 2' in command.text)
    command.send(signal.SIGINT)
    assert command.wait() == 130, command.text
    assert command.lines[-1].endswith(' 80 not waited for') and 'Traceback' not in command.text, command.text
    until(lambda: servers.report()['flying'] == 0)
    assert servers.report()['seen'] == 4  # what was not sent never is
    assert 'Traceback' not in worker.text
    after = cluster.command('get', servers.hosts[0], '/after', '--timeout', '1')
    assert after.wait() == 3, after.text
    assert servers.report()['last'] == '/after'


def test_what_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """A host that no worker may ask is an outcome that names --allow; a wrong key is one error, with exit code 3."""
    servers = cluster.servers(1)
    cluster.worker(0, 1, '--allow', '10.0.0.0/8')
    command = cluster.command('get', servers.hosts[0], '/')
    assert command.wait() == 3, command.text
    assert '127.0.0.1' in command.text and '--allow' in command.text
    other = tmp_path / 'other'
    other.write_text(f'{new_key()}\n')
    wrong = cluster.command('get', servers.hosts[0], '/', '--via-key', f'@{other}')
    assert wrong.wait() == 3, wrong.text
    assert len([line for line in wrong.lines if 'not among those here' in line]) == 1, wrong.text
    assert servers.report()['seen'] == 0
