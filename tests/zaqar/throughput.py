"""How fast messages go through the same server with this client and with python-zaqarclient, one after the other.

`python -m tests.zaqar.throughput` starts the servers and does it with 10,000 messages; the tests take fewer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess

from napixclient.marconi import Client, Connection
from tests.marconi.scenarios import a_name
from tests.zaqar import install
from tests.zaqar.servers import Servers, environment

THEIRS = Path(__file__).parent / 'theirs.py'
IN_A_POST = 100


def ours(url: str, messages: int) -> dict[str, float]:
    """Post, then consume until all are deleted."""
    with Connection(endpoint=url, tenant='throughput') as conn:
        queue, seen = Client(conn).queue(a_name()), set()
        began = time.monotonic()
        queue.post_messages({'ttl': 3600, 'body': {'number': number}} for number in range(messages))
        posted = time.monotonic()
        with queue.consume(lambda message: seen.add(message.body['number'])) as consumer:
            while consumer.done < messages:
                gevent.sleep(0.005)
        return {'post': posted - began, 'consume': time.monotonic() - posted, 'seen': len(seen)}


def theirs(url: str, messages: int) -> dict[str, float]:
    """The same with python-zaqarclient, in a process of its own; the time that it takes to start is not counted."""
    done = gevent.subprocess.run(
        [install.PYTHON, '-W', 'ignore', THEIRS, url, a_name(), str(messages), str(IN_A_POST)],
        env=environment(),
        stdout=gevent.subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def measure(servers: Servers, messages: int, rounds: int = 2) -> dict[str, Any]:
    """In turns, so that what else the machine has to do falls on both."""
    runs: dict[str, list[dict[str, float]]] = {'ours': [], 'theirs': []}
    for _ in range(rounds):
        runs['ours'].append(ours(servers.urls['v2'], messages // rounds))
        runs['theirs'].append(theirs(servers.urls['v2'], messages // rounds))
    told: dict[str, Any] = {'messages': messages}
    for who, each in runs.items():
        told[who] = {what: round(sum(run[what] for run in each), 2) for what in ('post', 'consume', 'seen')}
        told[who]['messages a second'] = round(messages / (told[who]['post'] + told[who]['consume']))
    told['ratio'] = round(told['ours']['messages a second'] / told['theirs']['messages a second'], 1)
    return told


def main() -> None:
    """In full."""
    parser = argparse.ArgumentParser(prog='python -m tests.zaqar.throughput')
    parser.add_argument('--messages', type=int, default=10_000)
    given = parser.parse_args()
    with Servers('redis', 'v2') as servers:
        print(json.dumps(measure(servers, given.messages), indent=2))


if __name__ == '__main__':
    sys.exit(main())
