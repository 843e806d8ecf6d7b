"""A fan-out over the workers of a cluster: `python fan_out.py amqps://user:password@mq.example/ @key HOST...`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from napixclient import HTTPError  # noqa: E402
from napixclient.cluster import ClusterPool  # noqa: E402


def main(broker: str, key: str, hosts: list[str]) -> int:
    """Ask all hosts for their state; return how many did not answer well."""
    failed = 0
    with ClusterPool(broker, simultaneous=2, key=key, timeout=30) as pool:
        for host in hosts:
            pool.request(host, 'GET', '/state')
        for outcome in pool.wait_unordered():
            if isinstance(outcome, HTTPError):
                failed += 1
                print(f'{outcome.request.host}: {outcome}')
            else:
                print(f'{outcome.request.host}: {outcome.text.strip()} (by {outcome.worker})')
    return failed


if __name__ == '__main__':
    sys.exit(min(main(sys.argv[1], sys.argv[2], sys.argv[3:]), 100))
