"""Real servers on loopback and instruments for the tests; everything on gevent's hub, so also in an unpatched process.

`serve` answers with a Python function, `FaultServer` plays scripts of bytes, a `Gate` holds requests and counts what is
in flight as the server sees it, a `Ticker` tells whether something blocked the hub. Imports nothing of napixclient.
"""
from __future__ import annotations

import enum
import gc
import itertools
import json
import os
import re
import ssl
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import gevent.ssl
import gevent.subprocess
import trustme
from gevent import monkey, socket
from gevent.event import Event
from greenlet import greenlet

# The real poll, also in a patched process: asking whether a peer is gone must not switch greenlets.
select = monkey.get_original('select', ['poll'])[0]
POLLRDHUP, POLLERR, POLLHUP, POLLNVAL = 0x2000, 0x8, 0x10, 0x20
LONG = 10.0                             # seconds after which a condition that did not come true is an error


# Time ----------------------------------------------------------------------------------------------------------------

def own_time() -> float:
    """Seconds, without those in which this process was ready to run and the machine gave it no processor."""
    try:
        with open('/proc/self/schedstat', 'rb') as file:
            waited = int(file.read().split()[1])
    except OSError:
        waited = 0
    return time.perf_counter() - waited / 1e9


def wait_until(condition: Callable[[], object], what: str = 'it', seconds: float = LONG) -> None:
    """Let the hub run until the condition is true, or fail: never a sleep to win a race."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'{what} did not come true within {seconds} s')
        gevent.sleep(0.001)


def turn() -> None:
    """One turn of the loop with a look at the sockets: `gevent.sleep(0)` may come back a thousand times before that."""
    gevent.sleep(1e-6)


class Ticker:
    """A greenlet that ticks every 5 ms; `gap` is the longest time (seconds) that the hub did not let it tick."""

    def __init__(self, every: float = 0.005) -> None:
        self.every = every
        self.gap = 0.0
        self._greenlet: gevent.Greenlet | None = None

    def _tick(self) -> None:
        last = own_time()
        while True:
            gevent.sleep(self.every)
            now = own_time()
            self.gap = max(self.gap, now - last - self.every)
            last = now

    def __enter__(self) -> Ticker:
        self._greenlet = gevent.spawn(self._tick)
        gevent.sleep(0)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._greenlet is not None
        gevent.sleep(2 * self.every)        # a blocked hub shows at the first tick after it
        self._greenlet.kill()


# Leaks ---------------------------------------------------------------------------------------------------------------

def descriptors() -> dict[str, str]:
    """The open descriptors of this process: number -> what it is."""
    found = {}
    for number in os.listdir('/proc/self/fd'):
        try:
            found[number] = os.readlink(f'/proc/self/fd/{number}')
        except OSError:                     # the one that lists the directory
            continue
    return found


def greenlets() -> list[greenlet]:
    """The greenlets that are alive, but for those of gevent's thread pool."""
    return [o for o in gc.get_objects()
            if issubclass(type(o), greenlet) and o and not o.dead and 'WorkerGreenlet' not in type(o).__name__]


def rss() -> int:
    """Bytes of memory that this process has now."""
    with open('/proc/self/statm', 'rb') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Leaks(NamedTuple):
    """What must return to where it was: descriptors, live greenlets and active watchers of the loop."""

    descriptors: int
    greenlets: int
    watchers: int

    @classmethod
    def now(cls) -> Leaks:
        """Count them, garbage put out first."""
        gc.collect()
        return cls(len(descriptors()), len(greenlets()), gevent.get_hub().loop.activecnt)

    def assert_back(self, seconds: float = 2.0) -> None:
        """Give what is ending some turns of the loop, then none of the three may be above where it was."""
        end = time.monotonic() + seconds
        while True:
            found = Leaks.now()
            if all(now <= then for now, then in zip(found, self, strict=True)):
                return
            if time.monotonic() > end:
                raise AssertionError(f'leaked: {self} became {found}\n{descriptors()}\n{greenlets()}')
            gevent.sleep(0.01)


# TLS -----------------------------------------------------------------------------------------------------------------

class Authority:
    """A certificate authority of the tests: contexts for servers, and the file that clients name as `ca_certs`."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.ca_certs = str(directory / 'ca.pem')
        self._ca.cert_pem.write_to_path(self.ca_certs)

    def server(self, *names: str) -> ssl.SSLContext:
        """The context of a server that is called by these names (by default all of ours)."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ('localhost', '127.0.0.1', '127.0.0.2', '::1'))).configure_cert(context)
        return context


# What a server reads -------------------------------------------------------------------------------------------------

@dataclass(eq=False)
class Received:
    """One request as the server read it."""

    peer: Peer
    method: str
    path: str
    headers: dict[str, str]             # names in lower case
    body: bytes
    raw: bytes

    @property
    def id(self) -> str:
        """The six digits by which the tests know a request from all others."""
        found = re.search(r'\d{6}', self.path)
        return found.group() if found else '000000'


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: Server, raw: socket.socket, number: int) -> None:
        self.server = server
        self.number = number            # of the server's connections, from 0
        self.socket = raw
        self._buffer = bytearray()

    def is_gone(self) -> bool:
        """Whether the client has closed or reset the connection, as poll() sees it now; no switch of greenlets."""
        number = self.socket.fileno()
        if number < 0:
            return True
        poller = select()
        poller.register(number, POLLRDHUP)
        return any(event & (POLLRDHUP | POLLERR | POLLHUP | POLLNVAL) for _, event in poller.poll(0))

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def close(self) -> None:
        """Over TLS say goodbye, then FIN."""
        if isinstance(self.socket, gevent.ssl.SSLSocket) and self.socket.fileno() >= 0:
            try:
                self.socket._sslobj.shutdown()      # sends our close_notify; the client's is not waited for
            except (OSError, ValueError):
                pass
        self.socket.close()

    def reset(self) -> None:
        """RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def finish(self) -> None:
        """FIN, but go on reading."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def drain(self) -> None:
        """Read and forget until the client is gone."""
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            self._fill()
        return self._take(end + len(mark))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def read(self) -> Received:
        """Read one whole request; EOFError or OSError when the client is gone."""
        head = self._until(b'\r\n\r\n')
        first, *lines = head.decode('latin-1').split('\r\n')[:-2]
        method, path, _ = first.split(' ')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
        if 'chunked' in headers.get('transfer-encoding', ''):
            raw, body = self._chunks()
        else:
            raw = body = self._take(int(headers.get('content-length', 0)))
        return Received(self, method, path, headers, body, head + raw)

    def _chunks(self) -> tuple[bytes, bytes]:
        raw = body = b''
        while True:
            line = self._until(b'\r\n')
            size = int(line, 16)
            data = self._take(size + 2)
            raw += line + data
            body += data[:-2]
            if not size:
                return raw, body


# Servers -------------------------------------------------------------------------------------------------------------

class Server:
    """A listening socket on port 0, a greenlet for each connection; what a connection does, subclasses say in `talk`.

    `accepted` counts connections, `requests` keeps every request in the order it was read.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, address: str = '127.0.0.1', listening: bool = True) -> None:
        self.tls = tls
        self.accepted = 0
        self.requests: list[Received] = []
        self.peers: dict[int, Peer] = {}                # the connections that are open, by number
        self.later = Event()                            # for the step LATER
        self._greenlets: set[gevent.Greenlet] = set()
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self.authority = f'[{address}]:{self.port}' if ':' in address else f'{address}:{self.port}'
        self.host = f'https://{self.authority}' if tls else self.authority    # as a caller of the pool writes it
        if listening:
            self.listen()

    def at(self, address: str) -> str:
        """The same server by another of the machine's addresses, where it listens on 0.0.0.0."""
        return f'{"https://" if self.tls else ""}{address}:{self.port}'

    def listen(self, backlog: int = 4096) -> None:
        """Begin to take connections (before, they are refused)."""
        self._listener.listen(backlog)
        self._greenlets.add(gevent.spawn(self._accept))

    def relent(self) -> None:
        """Be good from now on: a server that refuses connections takes them."""
        if not self._greenlets:
            self.listen()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = self.peers[self.accepted] = Peer(self, raw, self.accepted)
            self.accepted += 1
            talking = gevent.spawn(self._connected, peer)
            self._greenlets.add(talking)
            talking.rawlink(self._greenlets.discard)

    def _connected(self, peer: Peer) -> None:
        try:
            self._greet(peer)
            self.talk(peer)
        except (OSError, EOFError):         # the client went away; ssl.SSLError is an OSError
            pass
        finally:
            peer.close()
            self.peers.pop(peer.number, None)

    def _greet(self, peer: Peer) -> None:
        if self.tls is not None:
            peer.socket = self.tls.wrap_socket(peer.socket, server_side=True)

    def talk(self, peer: Peer) -> None:
        """What happens on one connection."""
        raise NotImplementedError

    def read(self, peer: Peer) -> Received:
        """Read a request and take note of it."""
        request = peer.read()
        self.requests.append(request)
        return request

    def times_read(self, id: str) -> int:
        """How often the server has read the request of this id."""
        return sum(request.id == id for request in self.requests)

    def close(self) -> None:
        """Close everything and wait until it is closed."""
        self._listener.close()
        talking = list(self._greenlets)
        for some in range(0, len(talking), 50):     # a thousand at once would hold the hub
            gevent.killall(talking[some:some + 50])
            turn()
        for peer in list(self.peers.values()):
            peer.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(eq=False)
class Held:
    """A request that a gate holds. `release` lets the server answer it, or play a script instead of the answer."""

    request: Received
    script: Script | None = None

    def __post_init__(self) -> None:
        self.opened = Event()

    @property
    def id(self) -> str:
        """The request's six digits."""
        return self.request.id

    def release(self, script: Script | None = None) -> None:
        """Let it go."""
        self.script = script
        self.opened.set()


class Gate:
    """Holds requests until opened, and counts what is in flight as the servers see it: one gate may serve several.

    A request is in flight from when its head has been read to when its answer has been given to the kernel, or to when
    poll() shows its connection as closed: an abort is a reset, so it is seen before the client's next connection is.
    `peak` and `peaks[port]` are the most that were ever in flight together, in all and on one server.
    """

    def __init__(self, opened: bool = False) -> None:
        self.opened = opened
        self.arrived = 0
        self.peak = 0
        self.peaks: Counter[int] = Counter()
        self._held: dict[int, Held] = {}

    def held(self, port: int | None = None) -> list[Held]:
        """What is in flight now (on one server), oldest first, after taking note of the connections that are closed."""
        for held in list(self._held.values()):
            if held.request.peer.is_gone():
                self.leave(held)
                held.release([])
        return [held for held in self._held.values() if port in (None, held.request.peer.server.port)]

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return len(self.held())

    def enter(self, request: Received) -> Held:
        """A server read a request: count it."""
        port = request.peer.server.port
        others = self.held()
        held = self._held[id(request)] = Held(request)
        self.arrived += 1
        self.peak = max(self.peak, len(others) + 1)
        self.peaks[port] = max(self.peaks[port], len(self.held(port)))
        if self.opened:
            held.release()
        return held

    def leave(self, held: Held) -> None:
        """It is no longer in flight."""
        self._held.pop(id(held.request), None)

    def open(self) -> None:
        """Let everything through, now and later."""
        self.opened = True
        for held in self.held():
            held.release()

    def shut(self) -> None:
        """Hold what arrives from now on."""
        self.opened = False

    def wait_for(self, count: int, port: int | None = None) -> list[Held]:
        """Wait until so many are in flight, and hand them out."""
        wait_until(lambda: len(self.held(port)) >= count, f'{count} requests in flight')
        return self.held(port)


Handler = Callable[[str, str, dict[str, str], bytes], 'tuple[int, Any, Any]']


def encode(status: int, headers: Any, body: Any, method: str = 'GET') -> bytes:
    """The bytes of an answer: a dict or list goes as JSON, Content-Length is added where none is given."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers or ())
    given = {name.lower() for name, _ in pairs}
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        if 'content-type' not in given:
            pairs.append(('Content-Type', 'application/json'))
    data = body.encode() if isinstance(body, str) else body or b''
    bodiless = status in (204, 304) or status < 200
    if not given & {'content-length', 'transfer-encoding'} and not bodiless:
        pairs.append(('Content-Length', str(len(data))))
    head = f'HTTP/1.1 {status} {REASONS.get(status, "Whatever")}\r\n'
    head += ''.join(f'{name}: {value}\r\n' for name, value in pairs) + '\r\n'
    return head.encode('latin-1') + (b'' if bodiless or method == 'HEAD' else data)


REASONS = {200: 'OK', 204: 'No Content', 304: 'Not Modified', 400: 'Bad Request', 404: 'Not Found',
           500: 'Internal Server Error', 503: 'Service Unavailable'}


class HandlerServer(Server):
    """HTTP/1.1 with keep-alive; each request is answered by the handler, after the gate."""

    def __init__(self, handler: Handler, gate: Gate | None = None, **options: Any) -> None:
        self.handler = handler
        self.gate = gate if gate is not None else Gate(opened=True)
        super().__init__(**options)

    def talk(self, peer: Peer) -> None:
        """Answer until the client leaves or says `Connection: close`."""
        while True:
            request = self.read(peer)
            held = self.gate.enter(request)
            try:
                held.opened.wait()
                if held.script is not None:
                    play(held.script, peer, request)
                    if peer.socket.fileno() < 0:
                        return
                    continue
                status, headers, body = self.handler(request.method, request.path, request.headers, request.body)
                peer.send(encode(status, headers, body, request.method))
            finally:
                self.gate.leave(held)       # no switch since the last byte went: nobody saw the answer before this
            if request.headers.get('connection', '').lower() == 'close':
                return


def echo(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
    """A handler whose answer's body is the id of its request."""
    found = re.search(r'\d{6}', path)
    return 200, {'Content-Type': 'text/plain'}, found.group() if found else '000000'


def serve(handler: Handler = echo, gate: Gate | None = None, **options: Any) -> HandlerServer:
    """A real server on port 0 for `(method, path, headers, body) -> (status, headers, body)`; a context manager."""
    return HandlerServer(handler, gate, **options)


# Scripts of bytes ----------------------------------------------------------------------------------------------------

class Step(enum.Enum):
    """The steps of a script that need no argument."""

    READ = 'read one whole request'
    ANSWER = 'answer it well; the body is its id'
    CLOSE = 'close the connection'
    RST = 'reset the connection'
    FIN = 'say that no more will be sent, and stay; over TLS without a goodbye'
    LATER = 'wait until the client has its answer (the test says so)'
    SILENCE = 'send nothing until the client is gone'


READ, ANSWER, CLOSE, RST, FIN, LATER, SILENCE = Step


class Forever(NamedTuple):
    """Send these bytes over and over until the client is gone."""

    data: bytes


class Drip(NamedTuple):
    """Send these bytes one by one, so many seconds apart."""

    data: bytes
    every: float


class Wait(NamedTuple):
    """Wait for the test to set this event."""

    event: Event


class Pause(NamedTuple):
    """A server that is slow by so many seconds."""

    seconds: float


Script = Iterable['bytes | Step | Forever | Drip | Wait | Pause']
ID = b'######'                          # in a script's bytes: the id of the request that was read last
OK = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n'


def play(script: Script, peer: Peer, request: Received | None = None) -> None:
    """Play a script on a connection; its end leaves the connection as it is."""
    for step in script:
        match step:
            case Step.READ:
                request = peer.server.read(peer)
            case Step.ANSWER:
                assert request is not None
                peer.send(encode(200, {'Content-Type': 'text/plain'}, request.id, request.method))
            case Step.CLOSE:
                peer.close()
                return
            case Step.RST:
                peer.reset()
                return
            case Step.FIN:
                peer.finish()
            case Step.LATER:
                peer.server.later.wait()
            case Step.SILENCE:
                peer.drain()
                return
            case Wait(event):
                event.wait()
            case Pause(seconds):
                gevent.sleep(seconds)
            case Drip(data, every):
                for index in range(len(data)):
                    peer.send(fill(data[index:index + 1], request))
                    gevent.sleep(every)
            case Forever(data):
                while True:
                    peer.send(fill(data, request))
                    gevent.sleep(0)
            case bytes():
                peer.send(fill(step, request))


def fill(data: bytes, request: Received | None) -> bytes:
    """The bytes with the request's id in its place."""
    return data.replace(ID, request.id.encode()) if request is not None else data


class FaultServer(Server):
    """Its first connections play the scripts, one each, in turn; all later ones answer well.

    A connection whose script has ended answers well too, unless the script closed it.
    """

    def __init__(self, *scripts: Script, **options: Any) -> None:
        self.scripts = deque(scripts)
        super().__init__(**options)

    def talk(self, peer: Peer) -> None:
        """Play, then be good."""
        if self.scripts:
            script = list(self.scripts.popleft())
            play(script, peer)
            if script and script[-1] in (CLOSE, RST, SILENCE):
                return
        while True:
            play([READ, ANSWER], peer)


class Mute(Server):
    """Says nothing: takes a connection and reads until the client leaves."""

    def talk(self, peer: Peer) -> None:
        """Nothing."""
        peer.drain()


class MuteAtFirst(FaultServer):
    """Speaks TLS, but does not answer a handshake until `relent`."""

    def __init__(self, *scripts: Script, **options: Any) -> None:
        self._speaks = False
        super().__init__(*scripts, **options)

    def _greet(self, peer: Peer) -> None:
        if self._speaks:
            super()._greet(peer)
        else:
            peer.drain()
            raise EOFError

    def relent(self) -> None:
        """Answer from now on."""
        self._speaks = True


class FullServer(FaultServer):
    """A server whose backlog is full: connections to it hang, until `relent` makes it good."""

    def __init__(self, **options: Any) -> None:
        super().__init__(listening=False, **options)
        self._listener.listen(0)
        self._fillers = []
        for _ in range(4):                  # the kernel takes one or two more than the backlog says
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            self._fillers.append(filler)

    def relent(self) -> None:
        """Take connections from now on."""
        self._drop_fillers()
        self.listen()

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def close(self) -> None:
        """Close the fillers too."""
        self._drop_fillers()
        super().close()


# Programs ------------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parent.parent


class Finished(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of our programs: warnings are errors, our tree is importable, nothing else is said to Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    return {**kept, 'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'error', **more}


def run_program(source: str, *arguments: object, patched: bool | None = None, seconds: float = 30,
                **env: str) -> Finished:
    """Run Python source in a process of its own (patched as this one is, unless told), while our servers go on.

    It finds its arguments in sys.argv[1:].
    """
    if patched is None:
        patched = is_patched()
    if patched:
        source = 'from gevent import monkey; monkey.patch_all()\n' + source
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', source, *map(str, arguments)], env=environment(**env), cwd=ROOT,
        stdin=gevent.subprocess.DEVNULL, stdout=gevent.subprocess.PIPE, stderr=gevent.subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Finished(process.returncode, out.decode(), err.decode())


def is_patched() -> bool:
    """Whether gevent has patched this process."""
    return bool(monkey.is_module_patched('socket'))


FLOOD = '''
import re, socket, sys, threading
KINDS = {
    'body': (b'', b'x' * 65536),
    'chunks': (b'Transfer-Encoding: chunked\\r\\n', b'1\\r\\nx\\r\\n' * 10000),
    'trailers': (b'Transfer-Encoding: chunked\\r\\n', b'X-T: 1\\r\\n' * 8000),
    'informational': None,
}
def talk(sock):
    buffer = b''
    try:
        while True:
            while b'\\r\\n\\r\\n' not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b'\\r\\n\\r\\n')
            path = head.split()[1].decode()
            kind = next((k for k in KINDS if k in path), None)
            if kind is None:
                id = re.search(r'[0-9]{6}', path).group().encode()
                sock.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\n' + id)
                continue
            if kind == 'informational':
                first, more = b'', b'HTTP/1.1 100 Continue\\r\\n\\r\\n' * 2000
            else:
                header, more = KINDS[kind]
                first = b'HTTP/1.1 200 OK\\r\\n' + header + b'\\r\\n' + (b'0\\r\\n' if kind == 'trailers' else b'')
            sock.sendall(first)
            while True:
                sock.sendall(more)
    except OSError:
        pass
    finally:
        sock.close()
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), __import__('os')._exit(0)), daemon=True).start()
while True:
    sock, _ = listener.accept()
    threading.Thread(target=talk, args=(sock,), daemon=True).start()
'''


@contextmanager
def flood() -> Iterator[str]:
    """A server in a process of its own, so that there is always something to read: yields its host.

    A path with `body`, `chunks`, `trailers` or `informational` in it is answered with that, without end; any other
    with the id in it. It ends when its standard input is closed, so also when this process dies.
    """
    process = gevent.subprocess.Popen([sys.executable, '-S', '-c', FLOOD], env=environment(),
                                      stdin=gevent.subprocess.PIPE, stdout=gevent.subprocess.PIPE)
    try:
        yield f'127.0.0.1:{int(process.stdout.readline())}'
    finally:
        process.kill()
        process.communicate()


# Requests of the tests -----------------------------------------------------------------------------------------------

_numbers = itertools.count(1)


def next_id() -> str:
    """Six digits that no other request of this run has."""
    return f'{next(_numbers):06}'
