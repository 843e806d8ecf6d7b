"""Runs the real `napix serve`, in a process of its own, while the servers of the test go on; and clients that are not ours."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
from gevent import socket
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response as Handshake
from websockets.uri import parse_uri

from napixclient import Client, HTTPError, Response
from tests import kit

PIPE = gevent.subprocess.PIPE
#: Seconds that anything of these tests may take on a slow machine.
LONG = 30.0


class Service:
    """`napix serve` on a port of its own."""

    def __init__(self, store: Path | str, *options: object, **env: str) -> None:
        url = store if '://' in str(store) else f'sqlite:///{store}'
        self.process = gevent.subprocess.Popen(
            [
                sys.executable,
                '-m',
                'napixclient',
                'serve',
                '--bind',
                '127.0.0.1:0',
                '--store',
                str(url),
                '--log-json',
                *map(str, options),
            ],
            env=kit.environment(RES_OPTIONS='timeout:1 attempts:1', **env),
            cwd=kit.ROOT,
            stdin=gevent.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        #: What it logs, as it comes; what is no JSON as a text.
        self.log: list[Any] = []
        self._reader = gevent.spawn(self._read)
        try:
            kit.wait_until(lambda: self.process.poll() is not None or self.said('listening'), 'it listens', LONG)
        except BaseException:
            self.kill()
            raise
        assert self.process.poll() is None, self.log
        self.url: str = next(one['url'] for one in self.log if isinstance(one, dict) and 'url' in one)
        self.host = self.url.removeprefix('http://').rstrip('/')
        self.port = int(self.host.rpartition(':')[2])

    def _read(self) -> None:
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append(line.decode())

    def said(self, text: str) -> bool:
        """Whether it has logged that."""
        return any(text in (one['message'] if isinstance(one, dict) else one) for one in self.log)

    # -- asking ----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, headers: Any = None, **options: Any) -> Any:
        """An answer of any status."""
        with Client(self.host, timeout=LONG) as client:
            try:
                return client.request(method, path, body, headers, **options)
            except HTTPError as exc:
                if exc.response is None:
                    raise
                return exc.response

    def start(self, body: Any, status: int = 201) -> dict[str, Any]:
        """Submit a run."""
        answer = self.ask('POST', '/runs', body, {'Content-Type': 'application/json'})
        assert answer.status == status, (answer.status, answer.body)
        if status == 201:
            assert answer.headers['location'] == f'/runs/{answer.body["id"]}'
        return answer.body

    def run(self, body: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Submit a run and wait for its end: the run, and its results."""
        id = self.start(body)['id']
        return self.follow(id), self.results(id)

    def follow(self, id: str) -> dict[str, Any]:
        """Wait for the end of a run."""
        self.results(id, '?follow=1')
        kit.wait_until(lambda: self.show(id)['state'] != 'running', 'the run ends', LONG)
        return self.show(id)

    def show(self, id: str) -> dict[str, Any]:
        """How a run stands."""
        answer = self.ask('GET', f'/runs/{id}')
        assert answer.status == 200, answer.body
        return answer.body

    def results(self, id: str, query: str = '') -> list[dict[str, Any]]:
        """Its results."""
        answer = self.ask('GET', f'/runs/{id}/results{query}')
        assert answer.status == 200, answer.body
        assert answer.headers['content-type'] == 'application/x-ndjson'
        return list(answer.iter_json())  # which takes no NaN and no Infinity

    def metrics(self) -> dict[str, float]:
        """What Prometheus reads."""
        lines = [line for line in self.ask('GET', '/metrics').text.splitlines() if not line.startswith('#')]
        return {name: float(value) for name, _, value in (line.rpartition(' ') for line in lines)}

    def raw(self, data: bytes = b'') -> socket.socket:
        """A connection to it."""
        sock = socket.create_connection(('127.0.0.1', self.port), LONG)
        sock.sendall(data)
        return sock

    # -- its end ---------------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether the process lives and answers."""
        return self.process.poll() is None and self.ask('GET', '/healthz').status == 200

    def kill(self) -> None:
        """`kill -9`, as a crash would."""
        self.process.kill()
        self._end()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and see the process end; its code."""
        self.process.send_signal(number)
        self.process.wait(timeout=LONG)
        self._end()
        return self.process.returncode

    def _end(self) -> None:
        self.process.wait(timeout=LONG)
        self._reader.join(LONG)
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def serving(store: Path | str, *options: object, **env: str) -> Iterator[Service]:
    """A service, which must end well and have had nothing to complain of."""
    service = Service(store, *options, **env)
    try:
        yield service
    except BaseException:
        service.kill()
        print(*service.log[-30:], sep='\n')
        raise
    if service.process.poll() is None:
        assert service.stop() == 0
    bad = [one for one in service.log if not isinstance(one, dict) or one['level'] == 'error']
    assert not bad, bad


# A WebSocket client that is not ours ------------------------------------------------------------------------------------


class Watcher:
    """The package `websockets`, without its own input and output, over a socket of gevent's."""

    def __init__(self, service: Service, path: str, sock: Any = None, **headers: str) -> None:
        self.protocol = ClientProtocol(parse_uri(f'ws://{service.host}{path}'), max_size=None)
        self.sock = sock or service.raw()
        self.sock.settimeout(LONG)
        request = self.protocol.connect()
        for name, value in headers.items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
        self.protocol.send_request(request)
        self._events: list[Any] = []
        self._flush()
        #: The answer to the handshake.
        self.answer: Handshake = self.event()

    def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.sock.sendall(data)
            # an empty piece means to close the writing side: the server is to do so first

    def event(self) -> Any:
        """The next thing that comes; `None` at the end."""
        while not self._events:
            data = self.sock.recv(65536)
            if data:
                self.protocol.receive_data(data)
            else:
                self.protocol.receive_eof()
                self.sock.close()
            self._events += self.protocol.events_received()
            if not data:
                return self._events.pop(0) if self._events else None
            self._flush()
        return self._events.pop(0)

    def messages(self) -> Iterator[dict[str, Any]]:
        """The messages until the server closes."""
        text = b''
        while (one := self.event()) is not None:
            if isinstance(one, Frame) and one.opcode in (Opcode.TEXT, Opcode.CONT):
                text += one.data
                if one.fin:
                    yield json.loads(text)
                    text = b''

    def send(self, text: str) -> None:
        """A message."""
        self.protocol.send_text(text.encode())
        self._flush()

    def ping(self, data: bytes = b'') -> None:
        """A ping."""
        self.protocol.send_ping(data)
        self._flush()

    @property
    def code(self) -> int | None:
        """The close code that the server sent."""
        return None if self.protocol.close_rcvd is None else self.protocol.close_rcvd.code

    @property
    def reason(self) -> str:
        """The reason that came with it."""
        return '' if self.protocol.close_rcvd is None else self.protocol.close_rcvd.reason

    def close(self, code: int = 1000, reason: str = '') -> None:
        """Say goodbye, and read to the end."""
        self.protocol.send_close(code, reason)
        self._flush()
        while self.event() is not None:
            pass


def results_of(messages: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results among messages."""
    return [message['result'] for message in messages if message['type'] == 'result']


# Raw frames -------------------------------------------------------------------------------------------------------------


def frame(
    opcode: int,
    payload: bytes = b'',
    *,
    fin: bool = True,
    mask: bytes | None = b'\x01\x02\x03\x04',
    length: int | None = None,
    reserved: int = 0,
) -> bytes:
    """A client's frame, with whatever is wrong with it."""
    length = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    bit = 0 if mask is None else 0x80
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + length.to_bytes(2, 'big')
    else:
        head += bytes([bit | 127]) + length.to_bytes(8, 'big')
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


HANDSHAKE = (
    'GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n'
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n'
)


def upgraded(service: Service, path: str, more: str = '', **options: Any) -> socket.socket:
    """A raw connection after the handshake; the answer's head has been read."""
    sock = socket.socket()
    for name, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    sock.settimeout(LONG)
    sock.connect(('127.0.0.1', service.port))
    sock.sendall(HANDSHAKE.format(path=path, host=service.host, more=more).encode())
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        piece = sock.recv(1)
        assert piece, head
        head += piece
    assert head.startswith(b'HTTP/1.1 101 '), head
    assert b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in head  # RFC 6455 §1.3
    return sock


def close_code(sock: socket.socket) -> int | None:
    """Read a raw connection to its end: the close code that came, `None` without one."""
    data = b''
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    sock.close()
    while len(data) >= 2:
        length, at = data[1] & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(data[2:4], 'big'), 4
        elif length == 127:
            length, at = int.from_bytes(data[2:10], 'big'), 10
        if data[0] & 0x0F == 8:
            return int.from_bytes(data[at : at + 2], 'big')
        data = data[at + length :]
    return None


def descriptors_of(service: Service) -> int:
    """How many files the process has open."""
    return len(os.listdir(f'/proc/{service.process.pid}/fd'))


def ok(answer: Any) -> Response:
    """An answer of 200."""
    assert answer.status == 200, (answer.status, answer.body)
    return answer
