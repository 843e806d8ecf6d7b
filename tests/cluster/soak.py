"""A million requests while a worker is killed every 20 s, and the broker once: `python -m tests.cluster.soak`.

Each request has one outcome, no POST is received twice, the cap holds, and the caller's memory stays bounded.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.cluster.broker import RabbitMQ  # noqa: E402
from tests.cluster.kit import Cluster  # noqa: E402

WORKERS = 3
KILL_SECONDS = 20


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--requests', type=int, default=1_000_000)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    asked = parser.parse_args()
    print(f'seed {asked.seed}', flush=True)
    draw = random.Random(asked.seed)
    broker, folder = RabbitMQ(), Path(tempfile.mkdtemp(prefix='napix-soak-'))
    cluster = Cluster(broker, folder, lanes=12)
    try:
        broker.start()
        servers = cluster.servers(200)
        workers = cluster.workers(WORKERS)
        submitter = cluster.submitter(
            'soak', servers.hosts, asked.requests, 'GET', 'GET', 'GET', 'POST', tell=10_000, options={'timeout': 300}
        )
        began, killed = time.monotonic(), False
        while not submitter.ended:
            time.sleep(KILL_SECONDS)
            number = draw.randrange(WORKERS)
            workers[number].send(signal.SIGKILL)
            workers[number].wait()
            workers[number] = cluster.worker(number, WORKERS, ready=False)
            if not killed and submitter.done > asked.requests // 3:
                killed = True
                broker.kill()
                broker.start()
            print(f'{time.monotonic() - began:.0f} s: {submitter.done}', flush=True)
        result, report = submitter.result(), servers.report()
        print(result, report, sep='\n')
        good = result['once'] and report['posts twice'] == [] and report['peak'] <= 2
        return 0 if good and set(result['kinds']) <= {'200', 'Interrupted'} else 1
    finally:
        cluster.close()
        broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main())
