"""A submitter in a process of its own: sends requests, and prints what became of them as JSON.

`python -m tests.cluster.submitting` reads its orders as JSON from standard input.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

from napixclient import Request  # noqa: E402
from napixclient.cluster import ClusterPool  # noqa: E402


def requests(orders: dict[str, Any]) -> Iterator[Request]:
    """What is to be asked: a path of its own for each request."""
    hosts, name = orders['hosts'], orders['name']
    for number in range(orders['count']):
        method = orders['methods'][number % len(orders['methods'])]
        yield Request(hosts[number % len(hosts)], method, f'/{name}/{number}', tag=number)


def main() -> None:
    """Do as ordered."""
    orders = json.loads(sys.stdin.readline())
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    numbers: Counter[int] = Counter()
    posts: Counter[str] = Counter()
    first = None
    with ClusterPool(orders['broker'], key=orders['key'], **orders.get('options', {})) as pool:
        for done, outcome in enumerate(pool.stream(requests(orders)), 1):
            first = first or time.monotonic() - began
            kind = type(outcome).__name__ if outcome.status is None else str(outcome.status)
            kinds[kind] += 1
            if outcome.request.method == 'POST':
                posts[kind] += 1
            numbers[outcome.request.tag] += 1
            if orders.get('tell') and done % orders['tell'] == 0:
                print(json.dumps({'done': done}), flush=True)
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {
                'kinds': dict(kinds),
                'posts': dict(posts),
                'once': len(numbers) == orders['count'] and set(numbers.values()) <= {1},
                'seconds': seconds,
                'first': first,
                'rss': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        ),
        flush=True,
    )


if __name__ == '__main__':
    main()
