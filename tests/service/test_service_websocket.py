"""WebSockets: every result once and in sequence, exact close codes, and peers who want to hurt."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from tests import kit
from tests.service.serving import Service, Watcher, close_code, descriptors_of, frame, results_of, serving, upgraded

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope='module')
def long_run(service: Service) -> Iterator[str]:
    """The id of a run that does not end by itself."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'hosts': server.host, 'request': {}})['id']
        yield id
        service.ask('DELETE', f'/runs/{id}')


@pytest.fixture(scope='module')
def past_run(service: Service) -> str:
    """The id of a run that has ended, with 200 results."""
    with kit.serve() as server:
        return service.run({'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(200)]})[0]['id']


def test_results_and_progress(service: Service) -> None:
    """Results come as they finish, then the last progress, then 1000."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 6, 'simultaneous': 6})['id']
        watcher = Watcher(service, f'/runs/{id}/ws')
        messages = watcher.messages()
        first = next(messages)
        assert first['type'] == 'progress' and first['state'] == 'running' and first['counts']['total'] == 6
        gate.wait_for(6)
        gate.open()
        rest = list(messages)
    assert [one['seq'] for one in results_of(iter(rest))] == list(range(6))
    assert rest[-1]['type'] == 'progress' and rest[-1]['state'] == 'done' and rest[-1]['counts']['ok'] == 6
    assert watcher.code == 1000


def test_from_any_number(service: Service, past_run: str) -> None:
    """`?from=N` begins there; what is asked for twice is the same."""
    results = service.results(past_run)
    for start in 0, 1, 150, 199, 200, 10**9:
        watcher = Watcher(service, f'/runs/{past_run}/ws?from={start}')
        assert results_of(watcher.messages()) == results[start:]
        assert watcher.code == 1000


def test_cancel_from_the_client(service: Service) -> None:
    """`{"type": "cancel"}` cancels; the results and 1000 follow."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 3})['id']
        watcher = Watcher(service, f'/runs/{id}/ws')
        gate.wait_for(2)
        watcher.send('{"type": "cancel"}')
        assert [one['state'] for one in results_of(watcher.messages())] == ['cancelled'] * 3
    assert watcher.code == 1000 and service.show(id)['state'] == 'cancelled'


def test_row_43_pings_in_the_middle(service: Service) -> None:
    """Pings in the middle of the stream, and of a message in fragments, cost no message; the end is 1000."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host, 'url': f'/{n:06}'} for n in range(300)]})['id']
        watcher = Watcher(service, f'/runs/{id}/ws')
        for number in range(50):
            watcher.ping(b'%d' % number)
        gate.open()
        seen = []
        for message in watcher.messages():
            if message['type'] == 'result':
                seen.append(message['result']['seq'])
                if len(seen) in (10, 100, 200):
                    watcher.ping()
    assert seen == list(range(300)) and watcher.code == 1000


@pytest.mark.parametrize(
    ('code', 'reason'), [(1000, ''), (1001, 'going'), (3000, 'ünicode'), (4999, 'x' * 123), (1011, '')]
)
def test_row_47_close_codes(service: Service, long_run: str, code: int, reason: str) -> None:
    """A Close is answered with the code that it had."""
    watcher = Watcher(service, f'/runs/{long_run}/ws')
    watcher.close(code, reason)
    assert watcher.code == code


def test_row_47_close_without_a_code(service: Service, long_run: str) -> None:
    """A Close without a code is answered with 1000."""
    sock = upgraded(service, f'/runs/{long_run}/ws')
    sock.sendall(frame(CLOSE))
    assert close_code(sock) == 1000


LIE = (12 << 30).to_bytes(8, 'big')
VIOLATIONS: dict[str, tuple[bytes, int]] = {
    'a frame that claims 12 GB': (b'\x81\xff' + LIE + b'mask' + b'x' * 1000, 1009),
    'a frame that claims 2^63': (b'\x82\xff' + b'\xff' * 8 + b'mask', 1009),
    'a message of 1 MiB and a byte': (frame(TEXT, b' ' * ((1 << 20) + 1)), 1009),
    'fragments of more than 1 MiB': (
        frame(TEXT, b' ' * (1 << 19), fin=False) + frame(0, b' ' * (1 << 19), fin=False) + frame(0, b' '),
        1009,
    ),
    'no mask': (frame(TEXT, b'{}', mask=None), 1002),
    'a ping without a mask': (frame(PING, b'x', mask=None), 1002),
    'a reserved bit': (frame(TEXT, b'{}', reserved=0x40), 1002),
    'an opcode that is not known': (frame(3, b'x'), 1002),
    'a control opcode that is not known': (frame(11, b'x'), 1002),
    'a ping in fragments': (frame(PING, b'x', fin=False), 1002),
    'a ping of 126 bytes': (frame(PING, b'x' * 126), 1002),
    'a fragment of nothing': (frame(0, b'x'), 1002),
    'a message within a message': (frame(TEXT, b'{', fin=False) + frame(TEXT, b'}'), 1002),
    'half a close code': (frame(CLOSE, b'\x03'), 1002),
    'a close code that must not be sent': (frame(CLOSE, struct.pack('!H', 1006)), 1002),
    'a close code below 1000': (frame(CLOSE, struct.pack('!H', 999)), 1002),
    'bad UTF-8': (frame(TEXT, b'\xff\xfe'), 1007),
    'bad UTF-8 in a fragment': (frame(TEXT, b'\xc3', fin=False) + frame(0, b'(', fin=False), 1007),
    'UTF-8 that is cut': (frame(TEXT, b'{"\xe2\x82'), 1007),
    'a reason that is not UTF-8': (frame(CLOSE, struct.pack('!H', 1000) + b'\xff'), 1007),
    'a flood of empty fragments': (frame(TEXT, b'', fin=False) + frame(0, b'', fin=False) * 5000, 1008),
    'a flood of pongs': (frame(PONG) * 5000, 1008),
    'a flood of pings': (frame(PING) * 5000, 1008),
    'bytes': (frame(BINARY, b'x'), 1003),
    'a message that is not known': (frame(TEXT, b'{"type": "hello"}'), 1008),
    'a text that is no JSON': (frame(TEXT, b'[' * 100_000), 1008),
}


@pytest.mark.parametrize('name', VIOLATIONS)
def test_row_45_violations(service: Service, long_run: str, name: str) -> None:
    """Who breaks a rule reads the close code that says which, even while he goes on sending."""
    data, code = VIOLATIONS[name]
    sock = upgraded(service, f'/runs/{long_run}/ws')
    sending = gevent.spawn(send_all, sock, data)
    assert close_code(sock) == code
    sending.kill()
    assert service.alive()


def send_all(sock: socket.socket, data: bytes) -> None:
    """Send, and be no more concerned."""
    try:
        sock.sendall(data)
    except OSError:
        pass


def test_row_45_bounds_are_not_too_tight(service: Service, long_run: str) -> None:
    """A message of 1 MiB in 1,000 fragments, and 99 control frames at once, are within the bounds."""
    sock = upgraded(service, f'/runs/{long_run}/ws')
    text = b'{"type": "cance1"}' + b' ' * ((1 << 20) - 18)
    pieces = [text[at : at + 1049] for at in range(0, len(text), 1049)]
    assert len(pieces) <= 1000
    sock.sendall(frame(PONG) * 98)
    for index, piece in enumerate(pieces):
        sock.sendall(frame(0 if index else TEXT, piece, fin=index == len(pieces) - 1))
    assert close_code(sock) == 1008  # all of it was read, and not understood


def test_row_45_one_byte_at_a_time(service: Service, long_run: str) -> None:
    """A frame may come in any pieces."""
    sock = upgraded(service, f'/runs/{long_run}/ws')
    for byte in frame(CLOSE, struct.pack('!H', 4000) + b'bye'):
        sock.sendall(bytes([byte]))
        gevent.sleep(0.001)
    assert close_code(sock) == 4000


def test_after_our_close_pings_are_ignored(service: Service, past_run: str) -> None:
    """After our Close nothing is answered, what comes is drained, and the connection ends by a FIN."""
    sock = upgraded(service, f'/runs/{past_run}/ws')
    data = b''
    while struct.pack('!BBH', 0x88, 2, 1000) not in data:
        piece = sock.recv(65536)
        assert piece
        data += piece
    assert data.endswith(struct.pack('!BBH', 0x88, 2, 1000))
    sock.sendall(frame(PING, b'still there?') * 300 + frame(TEXT, b'{"type": "cancel"}'))
    gevent.sleep(0.05)
    sock.sendall(frame(CLOSE, struct.pack('!H', 1000)))
    assert sock.recv(65536) == b''
    sock.close()


@pytest.mark.parametrize(
    ('change', 'status'),
    [
        (('Sec-WebSocket-Version: 13', 'Sec-WebSocket-Version: 8'), 426),
        (('Sec-WebSocket-Version: 13\r\n', ''), 426),
        (('dGhlIHNhbXBsZSBub25jZQ==', 'short'), 400),
        (('dGhlIHNhbXBsZSBub25jZQ==', 'dGhlIHNhbXBsZSBub25jZQ'), 400),
        (('Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n', ''), 400),
        (('keep-alive, Upgrade', 'close'), 426),
        (('Upgrade: WebSocket', 'Upgrade: h2c'), 426),
        (('HTTP/1.1', 'HTTP/1.0'), 426),
        (('GET ', 'POST '), 405),
        (('Connection:', 'Content-Length: 5\r\nConnection:'), 400),
    ],
)
def test_what_is_no_handshake(service: Service, long_run: str, change: tuple[str, str], status: int) -> None:
    """What is not RFC 6455's handshake is an ordinary error, and no WebSocket."""
    from tests.service.serving import HANDSHAKE

    text = HANDSHAKE.format(path=f'/runs/{long_run}/ws', host=service.host, more='')
    assert change[0] in text
    sock = service.raw(text.replace(*change, 1).encode() + b'12345')
    assert sock.recv(12) == b'HTTP/1.1 %d' % status
    sock.close()


def test_an_unknown_run_is_404_before_the_upgrade(service: Service) -> None:
    """There is no WebSocket for a run that there is not."""
    watcher = Watcher(service, f'/runs/{"0" * 32}/ws')
    assert watcher.answer.status_code == 404
    assert json.loads(watcher.answer.body)['error_class'] == 'NotFound'
    watcher.sock.close()


# Peers that go away -----------------------------------------------------------------------------------------------------


def big(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """An answer of 200 kB."""
    return 200, {}, 'x' * 200_000


@pytest.fixture(scope='module')
def big_run(service: Service) -> str:
    """The id of a run with 8 MB of results, more than the kernel holds for a peer."""
    with kit.serve(big) as server:
        return service.run({'requests': [{'host': server.host}] * 40})[0]['id']


def reset(sock: socket.socket) -> None:
    """Go away without a word: a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def test_row_42_peer_goes_away_while_we_send(service: Service, big_run: str) -> None:
    """A hundred peers that never read and go away while they are being sent to: the process lives."""
    before = descriptors_of(service)
    for number in range(100):
        sock = upgraded(service, f'/runs/{big_run}/ws', SO_RCVBUF=4096)
        gevent.sleep(0.002 * (number % 3))  # at different places of the sending
        if number % 2:
            reset(sock)
        else:
            sock.close()
    assert service.alive()
    kit.wait_until(lambda: descriptors_of(service) <= before + 3, 'all descriptors are given back', 30)
    assert len(results_of(Watcher(service, f'/runs/{big_run}/ws').messages())) == 40


def test_row_42_at_the_end_of_the_run(service: Service) -> None:
    """The same with peers that go away in the very moment in which the run ends."""
    gate = kit.Gate()
    with kit.serve(big, gate=gate) as server:
        for _ in range(10):
            id = service.start({'requests': [{'host': server.host}] * 4, 'simultaneous': 4})['id']
            peers = [upgraded(service, f'/runs/{id}/ws', SO_RCVBUF=4096) for _ in range(5)]
            gate.wait_for(4)
            for one in gate.held():
                one.release()
            for peer in peers:
                reset(peer)
            service.follow(id)
    assert service.alive()


def test_rows_44_and_48(tmp_path: Path) -> None:
    """Who reads nothing is dropped after the time of a slow reader, who says nothing after the heartbeat's."""
    gate = kit.Gate()
    with (
        serving(tmp_path / 'runs', '--slow-timeout', 1, '--ping-every', 0.2, '--ping-timeout', 1) as service,
        kit.serve(big) as server,
        kit.serve(gate=gate) as holding,
    ):
        run, _ = service.run({'requests': [{'host': server.host}] * 40})
        id = service.start({'hosts': holding.host, 'request': {}})['id']
        gate.wait_for(1)
        before = descriptors_of(service)
        stuck = [upgraded(service, f'/runs/{run["id"]}/ws', SO_RCVBUF=4096) for _ in range(3)]
        for path in f'/runs/{run["id"]}/results', f'/runs/{run["id"]}/events':  # and over plain HTTP
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(('127.0.0.1', service.port))
            sock.sendall(f'GET {path} HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode())
            stuck.append(sock)
        silent = [upgraded(service, f'/runs/{id}/ws') for _ in range(3)]
        alive = Watcher(service, f'/runs/{id}/ws')
        reading = gevent.spawn(lambda: list(alive.messages()))  # answers pings
        kit.wait_until(lambda: descriptors_of(service) <= before + 1, 'they are dropped', 30)
        gevent.sleep(1.5)
        assert not reading.ready()  # who answers is not
        gate.open()
        assert results_of(iter(reading.get(timeout=30))) and alive.code == 1000
        for sock in *stuck, *silent:
            sock.close()


def test_a_drain_is_announced(tmp_path: Path) -> None:
    """At SIGTERM, who watches a run that does not end reads 1001, or an answer that breaks off; the run goes on later."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with serving(tmp_path / 'runs', '--drain-timeout', 0.3) as service:
            id = service.start({'hosts': server.host, 'request': {}})['id']
            watcher = Watcher(service, f'/runs/{id}/ws')
            following = service.raw(
                f'GET /runs/{id}/results?follow=1 HTTP/1.1\r\nHost: {service.host}\r\n\r\n'.encode()
            )
            gate.wait_for(1)
            assert service.stop() == 0
            assert results_of(watcher.messages()) == [] and watcher.code == 1001
            data = b''
            while piece := following.recv(65536):
                data += piece
            following.close()
            assert data.startswith(b'HTTP/1.1 200') and not data.endswith(b'0\r\n\r\n')
        gate.open()
        with serving(tmp_path / 'runs') as service:
            assert service.follow(id)['counts']['ok'] == 1
