"""What a cluster costs against one pool, side by side in one run: `python -m benchmarks.cluster [--full]`.

A broker, three workers and nginx on the same machine. Each figure is of one pool, of the cluster, and the ratio.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from napixclient import ClientPool, Request  # noqa: E402
from napixclient.cluster import ClusterPool  # noqa: E402
from tests.cluster.broker import RabbitMQ, free_port  # noqa: E402
from tests.cluster.kit import Cluster  # noqa: E402

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 8000; }}
http {{
    access_log off; keepalive_requests 100000000; keepalive_timeout 300;
    server {{ listen 0.0.0.0:{port} backlog=8192; location / {{ return 200 'ok'; }} }}
}}
"""


@contextlib.contextmanager
def nginx() -> Iterator[int]:
    """A server that answers at once, on all addresses of loopback."""
    folder, port = Path(tempfile.mkdtemp(prefix='napix-nginx-')), free_port()
    (folder / 'conf').write_text(NGINX.format(folder=folder, port=port))
    path = shutil.which('nginx') or '/usr/sbin/nginx'
    process = subprocess.Popen([path, '-p', str(folder), '-c', str(folder / 'conf')])
    try:
        time.sleep(1)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def hosts(count: int, port: int) -> list[str]:
    """So many origins: all addresses of loopback are this machine."""
    return [f'127.{1 + n // 40000}.{n // 200 % 200}.{1 + n % 200}:{port}' for n in range(count)]


def run(pool: Any, names: list[str], count: int) -> tuple[float, float]:
    """Ask so often; return the requests a second, and the seconds until the first outcome."""
    began, first, good = time.monotonic(), 0.0, 0
    for outcome in pool.stream(Request(names[n % len(names)], 'GET', '/') for n in range(count)):
        first = first or time.monotonic() - began
        good += outcome.status == 200
    assert good == count, f'{good} of {count}'
    return count / (time.monotonic() - began), first


def measure(cluster: Cluster, what: str, names: list[str], count: int, kinds: list[str]) -> None:
    """Measure one after the other, in a process each."""
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(3 if count < 500_000 else 1):
        for kind in kinds:
            orders = {'kind': kind, 'names': names, 'count': count, 'url': cluster.broker.url}
            orders['options'] = cluster.options()
            done = subprocess.run(
                [sys.executable, '-m', 'benchmarks.cluster', '--one'],
                input=json.dumps(orders),
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            rates[kind].append(found['rate'])
            print(f'{what}, {kind}: {found}', flush=True)
    base = max(rates[kinds[0]])
    for kind in kinds[1:]:
        print(f'==> {what}, {kind}: {max(rates[kind]) / base:.2f} of {kinds[0]}', flush=True)


def one() -> None:
    """Measure in this process, as ordered on standard input."""
    orders = json.load(sys.stdin)
    cpu = time.process_time()
    if orders['kind'] == 'one pool':
        pool: Any = ClientPool()
    else:
        pool = ClusterPool(orders['url'], batch=int(orders['kind'].split()[1]), **orders['options'])
    with pool:
        rate, first = run(pool, orders['names'], orders['count'])
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = (time.process_time() - cpu) / orders['count'] * 1e6
    print(json.dumps({'rate': round(rate), 'first': round(first, 3), 'MB': round(rss, 1), 'us': round(used, 1)}))


def main() -> None:
    """Start all, and measure."""
    broker = RabbitMQ()
    folder = Path(tempfile.mkdtemp(prefix='napix-figures-'))
    cluster = Cluster(broker, folder, lanes=12)
    try:
        broker.start()
        with nginx() as port:
            cluster.workers(3)
            measure(cluster, 'first outcome', hosts(1, port), 1, ['one pool', 'batch 100'])
            measure(cluster, '100 hot hosts', hosts(100, port), 40_000, ['one pool', 'batch 100', 'batch 500'])
            measure(cluster, '20,000 hosts', hosts(20_000, port), 20_000, ['one pool', 'batch 100', 'batch 500'])
            if '--full' in sys.argv:
                measure(cluster, '1,000,000 requests', hosts(1000, port), 1_000_000, ['one pool', 'batch 100'])
    finally:
        cluster.close()
        broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    one() if '--one' in sys.argv else main()
