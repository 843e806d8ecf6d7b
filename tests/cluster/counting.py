"""Servers that count what they get, in a process of their own: at most how much at once, and what came twice.

`python -m tests.cluster.counting PORTS SECONDS` prints its ports; `/report` on any of them tells all.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from gevent.server import StreamServer  # noqa: E402


class Counting:
    """What all servers of the process have seen."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.flying: Counter[int] = Counter()
        self.peak: Counter[int] = Counter()
        self.seen: Counter[str] = Counter()
        self.last = ''

    def talk(self, sock: Any, address: object) -> None:
        """Serve one connection. A request counts as in flight until its connection is seen closed, or answered."""
        port = sock.getsockname()[1]
        file = sock.makefile('rb')
        try:
            while line := file.readline():
                method, path, _ = line.decode().split()
                length, authorization = 0, ''
                while (field := file.readline()) not in (b'\r\n', b''):
                    name, _, value = field.decode().partition(':')
                    if name.lower() == 'content-length':
                        length = int(value)
                    elif name.lower() == 'authorization':
                        authorization = value.strip()
                file.read(length)
                if path == '/report':
                    self.answer(sock, self.report().encode())
                    continue
                self.last = path
                self.seen[f'{method} {port} {path}'] += 1
                self.flying[port] += 1
                self.peak[port] = max(self.peak[port], self.flying[port])
                try:
                    self.wait(sock)
                finally:
                    self.flying[port] -= 1
                if path.startswith('/to/'):
                    _, _, target, rest = path.split('/', 3)
                    self.answer(sock, b'', f'Location: http://127.0.0.1:{target}/{rest}\r\n', '302 Found')
                elif path.startswith('/large/'):
                    self.answer(sock, b'x' * int(path.split('/')[2]))
                else:
                    self.answer(sock, (authorization or 'ok').encode())
        except OSError:
            pass
        finally:
            sock.close()

    def wait(self, sock: Any) -> None:
        """Take some time, or until the client has left."""
        if self.seconds:
            with gevent.Timeout(self.seconds, False):
                gevent.socket.wait_read(sock.fileno())

    @staticmethod
    def answer(sock: Any, body: bytes, fields: str = '', status: str = '200 OK') -> None:
        """Answer."""
        sock.sendall(f'HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n'.encode() + body)

    def report(self) -> str:
        """What was seen."""
        twice = [key for key, count in self.seen.items() if count > 1]
        return json.dumps(
            {
                'peak': max(self.peak.values(), default=0),
                'seen': sum(self.seen.values()),
                'flying': sum(self.flying.values()),
                'last': self.last,
                'different': len(self.seen),
                'posts twice': [key for key in twice if key.startswith('POST')],
                'gets twice': sum(key.startswith('GET') for key in twice),
            }
        )


if __name__ == '__main__':
    counting = Counting(float(sys.argv[2]))
    servers = [StreamServer(('127.0.0.1', 0), counting.talk, backlog=1024) for _ in range(int(sys.argv[1]))]
    for server in servers:
        server.start()
    print(json.dumps([server.server_port for server in servers]), flush=True)
    FileObject(sys.stdin.buffer).read(1)  # until whoever started it is gone
