"""A DNS server of the tests, in a process of its own, and a network namespace in which it is the system's.

As a program, `serve PORT LOG ADDRESS…` is the server, and `enter DIRECTORY ARGUMENT…` runs a program in a namespace that
`unshare` has made. So that these begin at once, what only the tests themselves need is imported where it is used.
"""

from __future__ import annotations

import functools
import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

A, AAAA, CNAME = 1, 28, 5
RCODES = {'nx': 3, 'servfail': 2, 'refused': 5, 'notimp': 4}
ADDRESSES = ('127.0.0.1', '127.0.0.2', '::1')
#: Files of /etc that programs need beside those that a test writes.
NEEDED = ('ld.so.cache', 'passwd', 'group', 'localtime', 'gai.conf')


# The server ----------------------------------------------------------------------------------------------------------


class Server:
    """Answers by the first label of a name; writes a line for each query: server, protocol, id, name, type.

    `dead…` is never answered, `mutea…` and `mutesix…` for one type only; `nx`, `servfail`, `refused`, `notimp` are
    codes, `empty…` has no records, `flip…` has none when it is asked first; `both…` has an address of each family,
    `many…` forty, that do not fit into a datagram, and `vast…` two hundred; `cut…` would not fit either, but is not to
    be had over TCP; `chain…` is 20 names long, `loop…` has no end and `leads…` leads to no address; `other…` is told of
    another name. `six…` and `four…` with a code have that for one family and an address of the other; the addresses
    of `slowsix…` over IPv6 come after 3 s. `webN` is the N-th address from 127.1.0.1 on, `only6` is ::1; all others are
    127.0.0.1.
    """

    def __init__(self, port: int, log: str, addresses: list[str]) -> None:
        self._log = open(log, 'a', buffering=1)
        self._flipped: set[tuple[str, int]] = set()
        self._selector = selectors.DefaultSelector()
        for address in addresses:
            family = socket.AF_INET6 if ':' in address else socket.AF_INET
            while True:  # a port that is free for datagrams may be taken for streams
                udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    udp.bind((address, port))
                    tcp.bind(udp.getsockname()[:2])
                    break
                except OSError:
                    if port:
                        raise
            port = udp.getsockname()[1]
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            tcp.listen(64)
            self._selector.register(udp, selectors.EVENT_READ, (self._datagram, address))
            self._selector.register(tcp, selectors.EVENT_READ, (self._accept, address))
        print(port, flush=True)

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self._selector.select():
                take, address = key.data
                take(key.fileobj, address)

    def _datagram(self, sock: Any, address: str) -> None:
        query, peer = sock.recvfrom(4096)
        answer = self._answer(query, address, 'udp')
        if answer is not None:
            asked = question(query)
            if len(answer) > 1200 or name_of(asked).startswith('cut'):  # the flag TC, and nothing else
                answer = answer[:2] + b'\x83\x80' + query[4:6] + bytes(6) + asked
            if name_of(asked).startswith('slowsix') and asked[-3] == AAAA:
                threading.Timer(3, sock.sendto, (answer, peer)).start()
            else:
                sock.sendto(answer, peer)

    def _accept(self, sock: Any, address: str) -> None:
        threading.Thread(target=self._converse, args=(sock.accept()[0], address), daemon=True).start()

    def _converse(self, peer: Any, address: str) -> None:
        with peer:
            while size := peer.recv(2, socket.MSG_WAITALL):
                query = peer.recv(int.from_bytes(size, 'big'), socket.MSG_WAITALL)
                answer = self._answer(query, address, 'tcp')
                if name_of(question(query)).startswith('cut'):
                    return
                if answer is not None:
                    peer.sendall(struct.pack('!H', len(answer)) + answer)

    def _answer(self, query: bytes, address: str, protocol: str) -> bytes | None:
        asked = question(query)
        name, (kind,) = name_of(asked), struct.unpack('!H', asked[-4:-2])
        self._log.write(f'{address} {protocol} {query[:2].hex()} {name} {kind}\n')
        label = name.partition('.')[0].lower()
        if (
            label.startswith('dead')
            or (label.startswith('mutea') and kind == A)
            or (label.startswith('mutesix') and kind == AAAA)
        ):
            return None
        code = RCODES.get(label.rstrip('0123456789'), 0)
        for family, of_that in ('six', AAAA), ('four', A):
            if label.startswith(family) and kind == of_that:
                code = RCODES.get(label.removeprefix(family), 0)
        records = [] if code else self._records(label, name, kind)
        return (
            query[:2]
            + struct.pack('!BBHHHH', 0x81, 0x80 | code, 1, len(records), 0, 0)
            + asked
            + b''.join(b'\xc0\x0c' + record if record[:1] != b'\xff' else record[1:] for record in records)
        )

    def _records(self, label: str, name: str, kind: int) -> list[bytes]:
        if label.startswith('flip') and (name, kind) not in self._flipped:
            self._flipped.add((name, kind))
            return []
        if label.startswith('loop'):
            return [record(CNAME, packed(f'loop{1 - int(label[4:] or 0)}.example'))]
        if label.startswith('chain'):
            names = [name, *(f'c{n}.example' for n in range(20))]
            chain = [
                b'\xff' + packed(one) + record(CNAME, packed(other))
                for one, other in zip(names, names[1:], strict=False)
            ]
            return chain + ([b'\xff' + packed(names[-1]) + record(A, bytes([127, 0, 0, 1]))] if kind == A else [])
        if label.startswith('leads'):
            return [record(CNAME, packed('empty.example'))]
        if label.startswith('other') and kind == A:
            return [b'\xff' + packed('elsewhere.example') + record(A, bytes([127, 0, 0, 1]))]
        if label.startswith(('many', 'vast')):
            many = range(1, 41 if label.startswith('many') else 201)
            return [record(kind, bytes([127, 0, 1, n]) if kind == A else bytes(15) + bytes([n])) for n in many]
        if label.startswith('empty'):
            return []
        if kind == A and not label.startswith(('only6', 'other')):
            number = int(label[3:]) if label.startswith('web') else None
            where = [127, 0, 0, 1] if number is None else [127, 1, number // 250, number % 250 + 1]
            return [record(A, bytes(where))]
        if kind == AAAA and label.startswith(('both', 'mutea', 'only6', 'four', 'slowsix')):
            return [record(AAAA, bytes(15) + b'\x01')]
        return []


def question(query: bytes) -> bytes:
    """The question of a query: name, type and class."""
    end = 12
    while query[end]:
        end += query[end] + 1
    return query[12 : end + 5]


def name_of(asked: bytes) -> str:
    """The name in a question, without the dot at its end."""
    labels, at = [], 0
    while asked[at]:
        labels.append(asked[at + 1 : at + 1 + asked[at]].decode('latin-1'))
        at += asked[at] + 1
    return '.'.join(labels)


def packed(name: str) -> bytes:
    """A name as it is in a message."""
    return b''.join(bytes([len(label)]) + label.encode() for label in name.split('.')) + b'\0'


def record(kind: int, data: bytes) -> bytes:
    """A record without its name; good for a minute."""
    return struct.pack('!HHIH', kind, 1, 60, len(data)) + data


def start(port: int, log: str, *addresses: str) -> tuple[Any, int]:
    """The server in a process of its own, and its port."""
    process = subprocess.Popen([sys.executable, __file__, 'serve', str(port), log, *addresses], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def stop(process: Any) -> None:
    """End it."""
    process.kill()
    process.communicate()


# The namespace -------------------------------------------------------------------------------------------------------


@functools.cache
def why_not() -> str:
    """Why there can be no namespace here; empty where there can."""
    for program in 'unshare', 'ip', 'mount':
        if shutil.which(program) is None:
            return f'{program} is not installed'
    tried = subprocess.run(['unshare', '-Urnm', 'true'], capture_output=True, text=True, check=False)
    return '' if tried.returncode == 0 else f'no user namespaces: {tried.stderr.strip()}'


def in_namespace(
    source: str,
    *arguments: object,
    nsswitch: str | None = 'hosts: files dns\n',
    resolv: str | None = 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n',
    hosts: str = '127.0.0.1 localhost\n',
    seconds: float = 50,
    **env: str,
) -> Any:
    """Run Python source where our server is the system's, with that /etc; what it prints, read as JSON.

    `from tests.helpers_dns import *` there has `queries()` and `write_etc()`.
    """
    import gevent.subprocess
    import pytest

    from tests import kit

    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory() as directory:
        etc = Path(directory) / 'etc'
        etc.mkdir()
        for name, text in ('nsswitch.conf', nsswitch), ('resolv.conf', resolv), ('hosts', hosts):
            if text is not None:
                (etc / name).write_text(text)
        for name in NEEDED:
            if os.path.exists(f'/etc/{name}'):
                shutil.copy(f'/etc/{name}', etc / name)
        program = Path(directory) / 'program.py'
        patch = 'from gevent import monkey; monkey.patch_all()\n' if kit.is_patched() else ''
        program.write_text(f'{patch}import json, os, sys\nfrom tests.helpers_dns import *\n{source}')
        process = gevent.subprocess.Popen(
            ['unshare', '-Urnm', sys.executable, __file__, 'enter', directory, *map(str, arguments)],
            cwd=kit.ROOT,
            env=kit.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            process.communicate()
            raise
    assert (process.returncode, err) == (0, b''), err.decode()
    return json.loads(out)


def enter(directory: str, *arguments: str) -> int:
    """In the namespace: its network, its /etc and its server, then the program."""
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    subprocess.run(['mount', '--bind', f'{directory}/etc', '/etc'], check=True)
    os.environ['DNS_LOG'] = log = f'{directory}/queries'
    server, _ = start(53, log, *ADDRESSES)
    try:
        return subprocess.run([sys.executable, f'{directory}/program.py', *arguments], check=False).returncode
    finally:
        stop(server)


def queries(*names: str) -> list[str]:
    """The queries so far: server, protocol, id, name, type; only those for these names, if any are given."""
    lines = Path(os.environ['DNS_LOG']).read_text().splitlines()
    return [line for line in lines if not names or line.split()[3] in names]


def write_etc(name: str, text: str, rename: bool = True) -> None:
    """Write a file of /etc in its place, or beside it and rename that."""
    path = Path('/etc') / (f'{name}.new' if rename else name)
    path.write_text(text)
    if rename:
        path.rename(f'/etc/{name}')


def found_by(lookups: Any, name: str) -> Any:
    """What the look-ups of a hub say of a name: on the loop, or where that cannot know, as the system does."""
    from gevent.event import Event

    over, said = Event(), []

    def done(found: Any, failure: BaseException | None) -> None:
        said.extend([found, failure])
        over.set()

    if not lookups.start(name, 80, done):
        return lookups.find(name, 80)
    over.wait()
    found, failure = said
    if failure is not None:
        raise failure
    return found


def outcome(find: Any, name: str) -> Any:
    """What a look-up of a name comes to: the addresses, in order, or what kind of failure it was."""
    import _socket

    try:
        return list(dict.fromkeys(found[4][0] for found in find(name)))
    except _socket.gaierror as exc:
        return 'not found' if exc.errno in (-2, -5, 1, 4) else 'temporary'
    except OSError as exc:
        return f'OSError {exc.errno}'


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        Server(int(sys.argv[2]), sys.argv[3], sys.argv[4:]).run()
    sys.exit(enter(*sys.argv[2:]))
