"""What watchers cost a run of `napix serve`: `python -m benchmarks.watching`.

A run of 1,500 requests, whose answers trickle in, is watched by nobody, and then by 1,000 WebSockets and 1,000 event
streams, in turns. Those are all connected before the first answer. The clock runs from there until the run has ended
and, where it is watched, until every watcher has all results and the end. A ratio is that of the two in one round.
The service has a core of its own; the server that is asked and the watchers share the other. How late results come is
measured by one more watcher of each kind, which connect last and so are served last, in a process of their own.
"""

import argparse
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import ROOT, end, pinned, raise_open_files

HOSTS = 100
#: Answers nothing before a line comes on its stdin; then each request after about as long as it is told.
SERVER = """
import random, sys
import gevent
from gevent.event import Event
from gevent.server import StreamServer
delay, gate, random = float(sys.argv[1]), Event(), random.Random(1)
body = b'{"name": "web", "load": 0.25, "uptime": 1234567, "version": "1.2.3"}'
answer = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body
def serve(sock, address):
    data = b''
    while piece := sock.recv(65536):
        data += piece
        while b'\\r\\n\\r\\n' in data:
            data = data.partition(b'\\r\\n\\r\\n')[2]
            gate.wait()
            if delay:
                gevent.sleep(random.uniform(delay / 2, delay * 3 / 2))
            sock.sendall(answer)
server = StreamServer(('0.0.0.0', 0), serve, backlog=1024)
server.start()
print(server.server_port, flush=True)
gevent.get_hub().threadpool.apply(sys.stdin.readline)
gate.set()
gevent.get_hub().threadpool.apply(sys.stdin.read)
"""
_ended_at = re.compile(rb'"at":([0-9.]+)')


@dataclass(frozen=True)
class Size:
    """How many there are of each, and how long an answer takes, in seconds."""

    requests: int = 1500
    watchers: int = 1000
    delay: float = 1.0
    rounds: int = 3


QUICK = Size(requests=600, watchers=100, delay=0.3, rounds=1)


# The watchers: a process of their own --------------------------------------------------------------------------------


class Watching:
    """One connection, and what came over it."""

    def __init__(self, port: int, path: str, mark: bytes, fields: str = '') -> None:
        self.sock = socket.create_connection(('127.0.0.1', port))
        self.sock.sendall(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n'.encode())
        self.mark = mark
        self.results = 0
        self.ended = 0.0
        self.tail = b''

    def take(self) -> bytes:
        """Read what is there."""
        data = self.sock.recv(1 << 18)
        if not data:
            self.ended = time.time()
            return data
        data = self.tail + data
        self.results += data.count(self.mark)
        self.tail = data[1 - len(self.mark) :]
        if data.endswith((b'0\r\n\r\n', b'\x88\x02\x03\xe8')):
            self.ended = time.time()
        return data


def watch(port: int, id: str, created: float, each: int, expected: int) -> dict[str, Any]:
    """Connect, say so, and read until all have ended."""
    upgrade = (
        'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
    )
    began, watchers = time.time(), []
    for _ in range(each):
        watchers.append(Watching(port, f'/runs/{id}/ws', b'"result":{"seq"', upgrade))
        watchers.append(Watching(port, f'/runs/{id}/events', b'event: result\n'))
    selector = selectors.DefaultSelector()
    for one in watchers:
        one.sock.recv(12)  # of the head
        selector.register(one.sock, selectors.EVENT_READ, one)
    print(json.dumps({'connected': time.time() - began}), flush=True)
    left, late = len(watchers), [0.0]
    while left:
        for key, _ in selector.select():
            one = key.data
            data = one.take()
            if each == 1 and (found := _ended_at.search(data)):  # the oldest result in it
                late.append(time.time() - created - float(found[1]) / 1000)
            if one.ended:
                selector.unregister(one.sock)
                left -= 1
    wrong = [one.results for one in watchers if one.results != expected]
    assert not wrong, (len(wrong), wrong[:10])
    return {'ended': max([one.ended for one in watchers], default=0.0), 'late': sorted(late)}


# The measurement ------------------------------------------------------------------------------------------------------


@contextmanager
def started(core: int, *command: str, **options: Any) -> Iterator[Any]:
    """A process on a core of its own, which is ended."""
    with pinned(core):
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
    try:
        yield process
    finally:
        end(process)
        for stream in process.stdin, process.stdout, process.stderr:
            if stream is not None:
                stream.close()


def ask(port: int, method: str, path: str, document: Any = None) -> Any:
    """Ask the service, over a connection of its own."""
    data = b'' if document is None else json.dumps(document).encode()
    head = (
        f'{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n'
        f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n'
    )
    with socket.create_connection(('127.0.0.1', port)) as sock:
        sock.sendall(head.encode() + data)
        answer = b''
        while piece := sock.recv(1 << 16):
            answer += piece
    return json.loads(answer.partition(b'\r\n\r\n')[2])


def read(process: Any) -> Any:
    """The next line that a process prints, of JSON."""
    return json.loads(process.stdout.readline())


def processor_seconds(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def measure(size: Size, each: int, store: Path) -> dict[str, Any]:
    """One run, watched by so many of each kind."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    serve = ('-m', 'napixclient', 'serve', '--bind', '127.0.0.1:0', '--store', f'sqlite:///{store}', '--log-json')
    most = ('--max-connections', str(2 * each + 100))
    with (
        started(last, '-c', SERVER, str(size.delay)) as server,
        started(first, *serve, *most, stderr=subprocess.PIPE) as service,
    ):
        asked = int(server.stdout.readline())
        port = next(int(url.rpartition(':')[2].strip('/')) for line in service.stderr if (url := _url_of(line)))
        threading.Thread(target=service.stderr.read, daemon=True).start()  # its log, which must not fill the pipe
        hosts = [f'127.0.0.{number % HOSTS + 1}:{asked}' for number in range(size.requests)]
        run = ask(port, 'POST', '/runs', {'requests': [{'host': host, 'url': '/'} for host in hosts]})
        own = ('-m', 'benchmarks.watching', '--watch', str(port), run['id'], str(run['created']), str(size.requests))
        with started(last, *own, str(each)) as watchers, started(last, *own, str(min(each, 1))) as probe:
            connected = read(watchers)
            probe.stdin.write('go\n')
            probe.stdin.flush()
            read(probe)
            began, busy = time.time(), processor_seconds(service.pid)
            server.stdin.write('go\n')
            server.stdin.flush()
            ends = [read(watchers), read(probe)]
            while (shown := ask(port, 'GET', f'/runs/{run["id"]}'))['state'] == 'running':
                time.sleep(0.02)
        assert shown['counts']['ok'] == size.requests, shown
        busy = processor_seconds(service.pid) - busy
    late = ends[1].get('late', [0.0])
    return {
        'connected': connected.get('connected', 0.0),
        'run': shown['finished'] - began,
        'seconds': max(shown['finished'], *(found.get('ended', 0.0) for found in ends)) - began,
        'cpu_seconds': busy,
        'late': [late[len(late) // 2], late[len(late) * 99 // 100], late[-1]],
    }


def _url_of(line: str) -> str:
    try:
        return str(json.loads(line).get('url', ''))
    except ValueError:
        return ''


def compare(size: Size) -> dict[str, Any]:
    """The rounds, and the medians of their ratios."""
    rounds = []
    with tempfile.TemporaryDirectory(prefix='benchmark-') as directory:
        for number in range(size.rounds):
            alone, watched = (
                measure(size, each, Path(directory, f'{number}-{each}.sqlite')) for each in (0, size.watchers)
            )
            rounds.append({'alone': alone, 'watched': watched})
            print(
                f'alone {alone["seconds"]:6.2f} s, processor {alone["cpu_seconds"]:5.2f} s   '
                f'watched: the run {watched["run"]:6.2f} s, all of it {watched["seconds"]:6.2f} s '
                f'({watched["seconds"] / alone["seconds"]:.2f} x), processor {watched["cpu_seconds"]:5.2f} s   '
                f'late by {watched["late"][0]:.3f} s, 99 % {watched["late"][1]:.3f}, most {watched["late"][2]:.3f}   '
                f'connected in {watched["connected"]:.2f} s',
                flush=True,
            )
    ratio = median(one['watched']['seconds'] / one['alone']['seconds'] for one in rounds)
    return {'size': asdict(size), 'rounds': rounds, 'ratio': ratio}


def main() -> int:
    """Measure in turns, and print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='small: some seconds')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--requests', type=int)
    parser.add_argument('--watchers', type=int, help='of each kind')
    parser.add_argument('--delay', type=float, help='seconds that an answer takes')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')
    parser.add_argument('--watch', nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    raise_open_files()
    if given.watch:
        port, id, created, expected, each = given.watch
        if int(each) == 1:
            sys.stdin.readline()  # when all others are there
        print(json.dumps(watch(int(port), id, float(created), int(each), int(expected))), flush=True)
        return 0
    small = asdict(QUICK if given.quick else Size())
    found = compare(Size(**{**small, **{name: value for name in small if (value := getattr(given, name)) is not None}}))
    print(f'with {found["size"]["watchers"]:,} watchers of each kind: {found["ratio"]:.2f} x (target: at most 1.5)')
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
