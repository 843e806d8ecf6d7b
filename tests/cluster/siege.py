"""Kill -9, SIGTERM, SIGSTOP and a broker that is killed in one run: `python -m tests.cluster.siege`.

Three workers and three submitters: the cap holds, each request has one outcome, no POST comes twice.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import shutil  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.cluster.broker import RabbitMQ  # noqa: E402
from tests.cluster.kit import Cluster, until  # noqa: E402

COUNT = 3500


def main() -> int:
    """Run it; return the exit code."""
    node, folder = RabbitMQ(), Path(tempfile.mkdtemp(prefix='napix-siege-'))
    cluster = Cluster(node, folder)
    try:
        node.start()
        servers = cluster.servers(8, 0.02)
        workers = cluster.workers(3)
        submitters = [
            cluster.submitter(f'run{number}', servers.hosts, COUNT, 'GET', 'POST', tell=50, options={'timeout': 120})
            for number in range(3)
        ]
        until(lambda: submitters[0].done >= 200)
        workers[0].send(signal.SIGKILL)
        workers[0].wait()
        cluster.worker(0, 3)
        workers[1].send(signal.SIGTERM)
        workers[1].wait()
        cluster.worker(1, 3)
        node.kill()
        node.start()
        workers[2].send(signal.SIGSTOP)
        cluster.worker(2, 3)
        time.sleep(16)
        workers[2].send(signal.SIGCONT)
        results, report = [submitter.result(180) for submitter in submitters], servers.report()
        print(*results, report, sep='\n')
        good = report['posts twice'] == [] and report['peak'] <= 2 and all(result['once'] for result in results)
        return 0 if good and all(set(result['kinds']) <= {'200', 'Interrupted'} for result in results) else 1
    finally:
        cluster.close()
        node.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main())
