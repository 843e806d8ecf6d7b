"""Work with tokens that live for seconds: no call fails, and Keystone is asked as seldom as can be.

`python -m tests.zaqar.tokens` starts the servers and runs it in full; the tests run a shorter one.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import gevent

from napixclient.marconi import Client, Connection, ErrorBase, ServiceUnavailable
from tests import kit
from tests.helpers_proxy import connected
from tests.marconi.scenarios import a_name
from tests.zaqar.servers import ACCOUNTS, Servers


class Counting(kit.Server):
    """In front of another server: hands everything on, and counts the requests for tokens."""

    def __init__(self, port: int) -> None:
        self.behind = port
        self.tokens = 0
        super().__init__()

    def talk(self, peer: kit.Peer) -> None:
        """Requests one way, answers the other."""
        with connected(self.behind) as onward:
            answers = gevent.spawn(self._answers, onward, peer)
            try:
                while data := peer.socket.recv(65536):
                    self.tokens += data.count(b'POST /v3/auth/tokens')
                    onward.sendall(data)
            finally:
                answers.kill()

    @staticmethod
    def _answers(onward: Any, peer: kit.Peer) -> None:
        while data := onward.recv(65536):
            peer.socket.sendall(data)


def measure(servers: Servers, seconds: float, greenlets: int = 3) -> dict[str, Any]:
    """Ask something all the time, in several greenlets; the servers' tokens live 15 s."""
    failed: list[str] = []
    calls = unavailable = 0
    with (
        Counting(int(servers.urls['keystone'].rpartition(':')[2])) as proxy,
        Connection('demo', password=ACCOUNTS['demo'], auth_url=proxy.url) as conn,
    ):
        client, end, first = Client(conn), time.monotonic() + seconds, conn.token

        def work() -> None:
            nonlocal calls, unavailable
            queue = client.queue(a_name())
            steps = (
                lambda: client.create_queue(queue.name),
                lambda: queue.post_messages({'ttl': 60, 'body': 1}),
                lambda: queue.stats,
                lambda: queue.claim(1),
                queue.delete,
            )
            while time.monotonic() < end:
                for step in steps:
                    try:
                        step()
                    except ServiceUnavailable:  # a busy Zaqar itself, which has taken the token
                        unavailable += 1
                    except ErrorBase as error:
                        failed.append(repr(error))
                    calls += 1

        gevent.joinall([gevent.spawn(work) for _ in range(greenlets)], raise_error=True)
        return {
            'seconds': seconds,
            'calls': calls,
            'failed': failed,
            'unavailable': unavailable,
            'tokens': proxy.tokens,
            'renewed': conn.token != first,
        }


def main() -> None:
    """In full."""
    parser = argparse.ArgumentParser(prog='python -m tests.zaqar.tokens')
    parser.add_argument('--seconds', type=float, default=60)
    given = parser.parse_args()
    with Servers('redis', 'keystone', 'v1_keystone', token_seconds=15, messaging='v1_keystone') as servers:
        print(json.dumps(measure(servers, given.seconds), indent=2))


if __name__ == '__main__':
    main()
