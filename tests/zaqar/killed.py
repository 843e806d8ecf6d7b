"""Four consumers, of which one is killed in the middle of its claims: every message is handled, some perhaps twice.

`python -m tests.zaqar.killed` starts the servers and does it with 10,000 messages; the tests take fewer. It lasts for
more than a minute in any case, for no claim ends before.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess

from napixclient.marconi import Client, Connection, ServiceUnavailable
from tests import kit
from tests.marconi.scenarios import a_name
from tests.zaqar.servers import Servers

CONSUMERS = 4
#: A process of its own: writes the number of each message that it has handled to a file, until SIGTERM.
CONSUMER = """
import os, sys
import gevent
from napixclient.marconi import Client, Connection
url, name, path = sys.argv[1:]
out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def handle(message):
    gevent.sleep(0.02)
    os.write(out, b'%d\\n' % message.body['number'])
with Connection(endpoint=url, tenant='killed') as conn:
    consumer = Client(conn).queue(name).consume(handler=handle, ttl=60, grace=60, sigterm=True)
    os.write(1, b'at work\\n')
    consumer.join()
"""


def measure(servers: Servers, messages: int) -> dict[str, Any]:
    """Post, consume, kill, wait, stop; what became of the messages."""
    with tempfile.TemporaryDirectory() as directory, Connection(endpoint=servers.urls['v2'], tenant='killed') as conn:
        queue = Client(conn).queue(a_name())
        began = time.monotonic()
        ids = queue.post_messages({'ttl': 3600, 'body': {'number': number}} for number in range(messages))
        posted = time.monotonic() - began
        files = [Path(directory, f'{number}') for number in range(CONSUMERS)]
        consumers = [start(servers.urls['v2'], queue.name, file) for file in files]
        try:
            kit.wait_until(lambda: len(numbers(files[:1])) >= messages / CONSUMERS / 8, seconds=60)
            consumers[0].kill()  # SIGKILL, with claims in hand
            left = stats_of(queue)
            wait_for_all(files, messages, began + 300)
            handled = time.monotonic() - began
            for consumer in consumers[1:]:
                consumer.send_signal(signal.SIGTERM)
            codes = [consumer.wait(60) for consumer in consumers]
        finally:
            for consumer in consumers:
                if consumer.poll() is None:
                    consumer.kill()
                consumer.communicate()
        counted = Counter(numbers(files))
        return {
            'messages': messages,
            'ids': len(set(ids)),
            'lost': messages - len(counted),
            'twice': sum(number > 1 for number in counted.values()),
            'most': max(counted.values()),
            'claimed when killed': left.claimed,
            'left': stats_of(queue).total,
            'codes': codes,
            'seconds to post': round(posted, 1),
            'seconds in all': round(handled, 1),
        }


def start(url: str, name: str, file: Path) -> Any:
    """A consumer that is at work."""
    file.touch()
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', CONSUMER, url, name, str(file)], env=kit.environment(), stdout=gevent.subprocess.PIPE
    )
    assert process.stdout.readline() == b'at work\n'
    return process


def stats_of(queue: Any) -> Any:
    """Its counts, as soon as Zaqar has them: on Redis it answers 503 while claims come and go."""
    for _ in range(50):
        try:
            return queue.stats
        except ServiceUnavailable:
            gevent.sleep(0.2)
    return queue.stats


def numbers(files: list[Path]) -> list[int]:
    """What was handled, in whole lines."""
    return [int(line) for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith('\n')]


def wait_for_all(files: list[Path], messages: int, end: float) -> None:
    """Until each was handled at least once."""
    while len(set(numbers(files))) < messages:
        if time.monotonic() > end:
            raise AssertionError(f'{messages - len(set(numbers(files)))} messages were not handled in time')
        gevent.sleep(0.2)


def main() -> None:
    """In full."""
    parser = argparse.ArgumentParser(prog='python -m tests.zaqar.killed')
    parser.add_argument('--messages', type=int, default=10_000)
    given = parser.parse_args()
    with Servers('redis', 'v2') as servers:
        print(json.dumps(measure(servers, given.messages), indent=2))


if __name__ == '__main__':
    main()
