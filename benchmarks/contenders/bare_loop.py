"""gevent's own event loop and httptools, and nothing else: the least that a request costs on this loop.

No queue, no deadlines, no bounds, no errors but those that end it all: two state machines per origin, whose callbacks
the loop calls. After an answer behind which the server closes, the next one is asked for over another connection.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

from gevent.hub import Waiter, get_hub
from httptools import HttpResponseParser

from benchmarks.work import HEADER, PATH, Figures, Outcome, Work, main

FIELD = f'\r\n{HEADER.lower()}: '.encode()
READ, WRITE = 1, 2


class Run:
    """What the state machines share."""

    def __init__(self, work: Work) -> None:
        self.loop: Any = get_hub().loop
        self.answers: list[Outcome] = work.unanswered()
        self.left = work.requests
        self.over: Waiter[None] = Waiter()

    def answered(self, number: int, answer: Outcome) -> None:
        self.answers[number] = answer
        self.left -= 1
        if not self.left:
            self.loop.run_callback(self.over.switch, None)


class Machine:
    """Asks one origin for one thing after the other."""

    __slots__ = ('address', 'body', 'complete', 'data', 'keeps', 'number', 'parser', 'run', 'share', 'sock', 'watcher')

    def __init__(self, run: Run, address: tuple[str, int], share: Iterator[int]) -> None:
        self.run, self.address, self.share = run, address, share
        self.data = f'GET {PATH} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n'.encode()
        self.body: list[bytes] = []
        self.take()
        if self.number is not None:
            self.connect()

    def take(self) -> None:
        self.number = next(self.share, None)
        self.complete = False

    def connect(self) -> None:
        self.parser = HttpResponseParser(self)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(self.address)
        self.watcher = self.run.loop.io(self.sock.fileno(), WRITE)
        self.watcher.start(self.connected)

    def connected(self) -> None:
        self.unwatch()
        self.watcher = self.run.loop.io(self.sock.fileno(), READ)
        self.watcher.start(self.readable)
        self.sock.send(self.data)

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True
        self.keeps = self.parser.should_keep_alive()

    def readable(self) -> None:
        data = self.sock.recv(65536)
        self.parser.feed_data(data)
        if not self.complete:
            if not data:
                raise ConnectionError('the server closed early')
            return
        at = data.lower().find(FIELD)
        value = data[at + len(FIELD) :].partition(b'\r\n')[0].decode('latin-1') if at >= 0 else None
        self.run.answered(self.number, (self.parser.get_status_code(), value, json.loads(b''.join(self.body))))
        self.body.clear()
        if not self.keeps:
            self.unwatch()
            self.sock.close()
        self.take()
        if self.number is None:
            if self.keeps:
                self.unwatch()
        elif self.keeps:
            self.sock.send(self.data)
        else:
            self.connect()

    def unwatch(self) -> None:
        self.watcher.stop()
        self.watcher.close()


def run(work: Work) -> Figures:
    shared = Run(work)
    machines = [
        Machine(shared, (address, work.port), share)
        for address, share in zip(work.addresses, work.shares(), strict=True)
        for _ in range(work.simultaneous)
    ]
    shared.over.get()
    del machines
    return work.check(shared.answers)


if __name__ == '__main__':
    main(run)
