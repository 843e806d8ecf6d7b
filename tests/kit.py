"""What only our own tests need beside `napixclient.testing`, which is handed on: names are imported from here.

Servers that answer with the id of the request and can be told to relent, a `Ticker` that tells whether something
blocked the hub, `Leaks`, an `Authority` for TLS, programs in processes of their own. All on gevent's hub.
"""

from __future__ import annotations

import datetime
import functools
import gc
import itertools
import math
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import gevent.ssl
import gevent.subprocess
import trustme
from gevent import monkey, socket
from greenlet import greenlet

from napixclient import testing
from napixclient.testing import (
    ANSWER,
    CLOSE,
    FIN,
    LATER,
    READ,
    RST,
    SILENCE,
    Drip,
    Forever,
    Gate,
    Pause,
    Peer,
    Script,
    Step,
    Wait,
    wait_until,
)
from napixclient.testing.gate import LONG
from napixclient.testing.server import Handler

__all__ = [
    'ANSWER',
    'Authority',
    'CLOSE',
    'Drip',
    'FIN',
    'FLOOD',
    'FaultServer',
    'Finished',
    'Forever',
    'FullServer',
    'Gate',
    'Handler',
    'HandlerServer',
    'Held',
    'ID',
    'LATER',
    'LONG',
    'Leaks',
    'Mute',
    'MuteAtFirst',
    'Pause',
    'Peer',
    'READ',
    'ROOT',
    'RST',
    'Received',
    'SILENCE',
    'Script',
    'Server',
    'Step',
    'Ticker',
    'Took',
    'Wait',
    'descriptors',
    'echo',
    'environment',
    'flood',
    'greenlets',
    'is_patched',
    'limit',
    'next_id',
    'own_time',
    'play',
    'rss',
    'run_program',
    'sent',
    'serve',
    'started',
    'turn',
    'wait_until',
]


# Time ----------------------------------------------------------------------------------------------------------------

#: How much a limit in seconds is stretched: under a tracer it says nothing, and little beside another suite.
STRETCH = math.inf if sys.gettrace() or 'COVERAGE_RUN' in os.environ else 10 if 'BESIDE' in os.environ else 1


def limit(seconds: float) -> float:
    """So many seconds where they are a law: in a run that is alone and untraced, as the one of tests marked `timed` is.

    A machine that is slow at this moment has more: by so much as a loop takes longer than where limits are set.
    """
    return STRETCH if STRETCH == math.inf else seconds * STRETCH * _slowness(int(time.monotonic()))


@functools.lru_cache(maxsize=1)
def _slowness(second: int) -> float:
    """How many times longer a loop takes in this second; measured once, as that holds the hub for some milliseconds."""

    def loop() -> float:
        began = time.perf_counter()
        for _ in range(20_000):
            pass
        return time.perf_counter() - began

    return max(1.0, min(loop() for _ in range(5)) / LOOP)


LOOP = 0.35e-3  # seconds


def own_time() -> float:
    """Seconds, without those in which this process was ready to run and the machine gave it no processor."""
    try:
        with open('/proc/self/schedstat', 'rb') as file:
            waited = int(file.read().split()[1])
    except OSError:
        waited = 0
    return time.perf_counter() - waited / 1e9


def turn() -> None:
    """One turn of the loop with a look at the sockets: `gevent.sleep(0)` may come back a thousand times before that."""
    gevent.sleep(1e-6)


class Took:
    """How long something takes, by two clocks: at least by the wall's, at most by our own (see `own_time` and `limit`)."""

    def __init__(self) -> None:
        self._began = time.monotonic(), own_time()

    def between(self, least: float, most: float) -> bool:
        """Whether it has been so many seconds since it was made."""
        wall, own = self._began
        return time.monotonic() - wall > least and own_time() - own < limit(most)


class Ticker:
    """A greenlet that ticks every 5 ms; `gap` is the longest time (seconds) that the hub did not let it tick.

    :param clock: `own_time`, by which a machine that is busy holds nobody; or that of the wall, by which it does.
    """

    def __init__(self, every: float = 0.005, clock: Callable[[], float] = own_time) -> None:
        self.every = every
        self.clock = clock
        self.gap = 0.0
        self._greenlet: gevent.Greenlet | None = None

    def _tick(self) -> None:
        last = self.clock()
        while True:
            gevent.sleep(self.every)
            now = self.clock()
            self.gap = max(self.gap, now - last - self.every)
            last = now

    def __enter__(self) -> Any:
        self._greenlet = gevent.spawn(self._tick)
        gevent.sleep(0)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._greenlet is not None
        gevent.sleep(2 * self.every)  # a blocked hub shows at the first tick after it
        self._greenlet.kill()


# Leaks ---------------------------------------------------------------------------------------------------------------


def descriptors() -> dict[str, str]:
    """The open descriptors of this process: number -> what it is."""
    found = {}
    for number in os.listdir('/proc/self/fd'):
        try:
            found[number] = os.readlink(f'/proc/self/fd/{number}')
        except OSError:  # the one that lists the directory
            continue
    return found


def greenlets() -> list[greenlet]:
    """The greenlets that are alive, but for workers of gevent's thread pool, and what each thread is itself."""
    return [
        o
        for o in gc.get_objects()
        if issubclass(type(o), greenlet)
        and o
        and not o.dead
        and 'WorkerGreenlet' not in type(o).__name__
        and o.parent is not None
    ]


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

    def assert_back(self, seconds: float = LONG) -> None:
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

    def certificate(self, *names: str, not_after: datetime.datetime | None = None) -> trustme.LeafCert:
        """A certificate for these names, and its key."""
        return self._ca.issue_cert(*names, not_after=not_after)

    def server(self, *names: str) -> ssl.SSLContext:
        """The context of a server that is called by these names (by default all of ours)."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate(*(names or ('localhost', '127.0.0.1', '127.0.0.2', '::1'))).configure_cert(context)
        return context


# Servers -------------------------------------------------------------------------------------------------------------

ID = b'######'  # in a script's bytes: the id of the request that was read last


def id_of(path: str) -> str:
    """The six digits by which the tests know a request from all others."""
    found = re.search(r'\d{6}', path)
    return found.group() if found else '000000'


class Received(testing.Received):
    """A request, with the id that is in its path."""

    @property
    def id(self) -> str:
        """The six digits in its path."""
        return id_of(self.path)

    @property
    def request(self) -> Received:
        """What a gate holds is the request itself."""
        return self


Held = Received


def echo(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """A handler whose answer's body is the id of its request."""
    return 200, {'Content-Type': 'text/plain'}, id_of(path)


class Server(testing.Server):
    """Answers with the id of the request, unless a handler says otherwise; scripts may name it as `ID`."""

    received = Received

    def __init__(self, handler: Handler | None = None, gate: Gate | None = None, **options: Any) -> None:
        super().__init__(handler or echo, gate, **options)

    def relent(self) -> None:
        """Be good from now on: a server that refuses connections takes them."""
        if not self._greenlets:
            self.listen()

    def leave_to_parent(self) -> None:
        """In the child of a fork: take no connections any more."""
        self._listener.close()

    def times_read(self, id: str) -> int:
        """How often the server has read the request of this id."""
        return sum(request.id == id for request in self.requests)

    def play(self, script: Script, peer: Peer) -> None:
        """Play it with the id of the last request in its place."""
        super().play((named(step, peer) for step in script), peer)


def named(step: Any, peer: Peer) -> Any:
    """The step with the id of the last request in the place of `ID`."""
    match step:
        case bytes() if peer.request is not None:
            return step.replace(ID, peer.request.id.encode())
        case Drip() | Forever():
            return step._replace(data=named(step.data, peer))
    return step


HandlerServer = Server


class FaultServer(testing.FaultServer, Server):
    """Its first connections play the scripts, one each, in turn; all later ones answer well."""


def serve(handler: Handler = echo, gate: Gate | None = None, **options: Any) -> Server:
    """A real server on port 0 for `(method, path, headers, body) -> (status, headers, body)`; a context manager."""
    return Server(handler, gate, **options)


def play(script: Script, peer: Peer) -> None:
    """Play a script on a connection; its end leaves the connection as it is."""
    peer.server.play(script, peer)


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
        for _ in range(4):  # the kernel takes one or two more than the backlog says
            filler = socket.socket(self._listener.family)
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


def environment(traced: bool = True, **more: str) -> dict[str, str]:
    """The environment of our programs: warnings are errors, our tree is importable, nothing else is said to Python.

    :param traced: whether coverage, where it runs, is to trace them too: many at once are late then.
    """
    others = 'PYTHON' if traced else ('PYTHON', 'COVERAGE_')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, 'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'error', **more}


def run_program(
    source: str, *arguments: object, patched: bool | None = None, seconds: float = 30, **env: str
) -> Finished:
    """Run Python source in a process of its own (patched as this one is, unless told), while our servers go on.

    It finds its arguments in sys.argv[1:].
    """
    with started(source, *arguments, patched=patched, **env) as process:
        out, err = process.communicate(timeout=seconds)
    return Finished(process.returncode, out.decode(), err.decode())


@contextmanager
def started(source: str, *arguments: object, patched: bool | None = None, **env: str) -> Iterator[Any]:
    """The same program while it runs, to be waited for by `communicate`; it is killed where that fails."""
    if is_patched() if patched is None else patched:
        source = 'from gevent import monkey; monkey.patch_all()\n' + source
    process = gevent.subprocess.Popen(
        [sys.executable, '-c', source, *map(str, arguments)],
        env=environment(**env),
        cwd=ROOT,
        stdin=gevent.subprocess.DEVNULL,
        stdout=gevent.subprocess.PIPE,
        stderr=gevent.subprocess.PIPE,
    )
    try:
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise


def sent(request: Received) -> bytes:
    """The bytes of a request, without what is another in each attempt (W3C Trace Context: the parent id)."""
    return re.sub(rb'\r\ntraceparent:[^\r]*', b'', request.raw)


def is_patched() -> bool:
    """Whether gevent has patched this process."""
    return bool(monkey.is_module_patched('socket'))


FLOOD = """
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
"""


@contextmanager
def flood() -> Iterator[str]:
    """A server in a process of its own, so that there is always something to read: yields its host.

    A path with `body`, `chunks`, `trailers` or `informational` in it is answered with that, without end; any other
    with the id in it. It ends when its standard input is closed, so also when this process dies.
    """
    process = gevent.subprocess.Popen(
        [sys.executable, '-S', '-c', FLOOD],
        env=environment(),
        stdin=gevent.subprocess.PIPE,
        stdout=gevent.subprocess.PIPE,
    )
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
