"""The thread of a shared hub: in forks, at the end of a program, and where gevent has patched threads away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import kit


@pytest.fixture
def gated() -> Iterator[kit.Server]:
    """Answers when its gate is opened."""
    with kit.serve(gate=kit.Gate()) as server:
        yield server


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers at once."""
    with kit.serve() as server:
        yield server


FORK = """
import concurrent.futures, os, sys, time, warnings
warnings.simplefilter('ignore')  # Python 3.12 warns of threads in a process that forks
from napixclient import Cancelled
from napixclient.threads import SharedPool
held, host = sys.argv[1:]
pool = SharedPool()
pool.request(host, 'GET', '/').result()
pool.wait()
queued = pool.request(held, 'GET', '/')
while not pool.stats().get(held, {}).get('in_flight'):
    time.sleep(0.001)
pid = os.fork()
if pid == 0:
    try:
        ended = isinstance(queued.result(timeout=5), Cancelled) and isinstance(pool.wait()[0], Cancelled)
        again = pool.request(host, 'GET', '/').result(timeout=5).status == 200
        done, _ = concurrent.futures.wait([queued], timeout=5)
        pool.close()
        os._exit(0 if ended and again and done else 1)
    finally:
        os._exit(2)
code = os.waitpid(pid, 0)[1]
print(code, queued.done(), pool.request(host, 'GET', '/').result().status, flush=True)
queued.cancel()
print(type(pool.wait()[0]).__name__)
"""


def test_after_a_fork(gated: kit.Server, server: kit.Server) -> None:
    """In the child the parent's futures are `Cancelled`, and new requests work; the parent goes on as if nothing was."""
    done = kit.run_program(FORK, gated.host, server.host)
    assert done == (0, '0 False 200\nCancelled\n', ''), done
    kit.wait_until(lambda: not gated.gate.in_flight, 'the end of the connection')


KEPT_OPEN = """
import os, sys, time, warnings
warnings.simplefilter('ignore')
from napixclient.threads import SharedPool
held, = sys.argv[1:]
pool = SharedPool()
future = pool.request(held, 'GET', '/')
while not pool.stats().get(held, {}).get('in_flight'):
    time.sleep(0.001)
pid = os.fork()
if pid == 0:
    time.sleep(60)
    os._exit(0)
future.cancel()
print('cancelled', flush=True)
time.sleep(0.5)
os.kill(pid, 9)
os.waitpid(pid, 0)
"""


def test_a_child_holds_no_connection_of_its_parent(gated: kit.Server) -> None:
    """To cancel a request in the parent is seen by the server, whatever the child does."""
    with kit.started(KEPT_OPEN, gated.host) as process:
        assert process.stdout.readline() == b'cancelled\n'
        kit.wait_until(lambda: not gated.gate.in_flight, 'the end of the connection')
        assert process.wait() == 0


EXIT = """
import sys
from napixclient.threads import SharedPool
pool = SharedPool()
future = pool.request(sys.argv[1], 'GET', '/')
while not pool.stats().get(sys.argv[1], {}).get('in_flight'):
    pass
future.add_done_callback(lambda future: print(type(future.result()).__name__))
"""
EXIT_OF_A_LOOP = """
import asyncio, sys
from napixclient.aio import AsyncPool
pool = AsyncPool()
async def main():
    pool.request(sys.argv[1], 'GET', '/')
    while not pool.stats().get(sys.argv[1], {}).get('in_flight'):
        await asyncio.sleep(0.001)
asyncio.run(main())
print('Cancelled')
"""
EXIT_WITH_A_BODY = """
import sys
from napixclient.threads import SharedPool
pool = SharedPool(on_response=print)
def pieces():
    yield b'one'
    import gevent
    gevent.sleep(60)
future = pool.request(sys.argv[1], 'POST', '/', pieces())
while not pool.stats().get(sys.argv[1], {}).get('in_flight'):
    pass
print('Cancelled')
"""


@pytest.mark.parametrize('program', [EXIT, EXIT_OF_A_LOOP, EXIT_WITH_A_BODY], ids=['threads', 'asyncio', 'upload'])
def test_the_end_of_a_program(program: str, gated: kit.Server) -> None:
    """It is at once and without a word, whatever is under way: that ends with `Cancelled`."""
    patched = False if program is EXIT_OF_A_LOOP else None
    done = kit.run_program(program, gated.host, patched=patched)
    assert done.code == 0 and done.err.count('WARNING') <= kit.is_patched()
    assert 'Traceback' not in done.err
    if not kit.is_patched():
        assert done.out == 'Cancelled\n'


THREADS_AT_THE_END = """
import sys, threading
from napixclient.threads import SharedPool
pool = SharedPool()
def work():
    main.join()
    print(pool.request(sys.argv[1], 'GET', '/').result().status)
main = threading.main_thread()
threading.Thread(target=work).start()
"""


def test_threads_that_outlive_the_main_thread(server: kit.Server) -> None:
    """They go on: the hub ends after them."""
    assert kit.run_program(THREADS_AT_THE_END, server.host, patched=False) == (0, '200\n', '')


PATCHED = """
import logging, sys, gevent, threading
logging.basicConfig(format='%(levelname)s %(message)s')
from napixclient.threads import SharedPool
pool = SharedPool()
native = len(__import__('os').listdir('/proc/self/task'))
ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.001)
        ticks += 1
gevent.spawn(tick)
def work(number):
    pool.request(sys.argv[1], 'GET', f'/{number:06}')
    found.append((number, pool.wait()[0].text))
found = []
threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(all(int(text) == number for number, text in found), len(found))
print(pool.request(sys.argv[1], 'GET', '/').result().status)
print(ticks > 0, len(__import__('os').listdir('/proc/self/task')) > native)
pool.close()
"""


def test_a_patched_process(server: kit.Server) -> None:
    """Its threads are greenlets: each has its own batch, none holds the others; the hub is native, and it is said."""
    done = kit.run_program(PATCHED, server.host, patched=True)
    assert done.code == 0 and done.out == 'True 8\n200\nTrue True\n', done
    assert done.err.count('WARNING') == 1 and 'ClientPool' in done.err


IMPORT = """
import sys
import napixclient.threads, napixclient.aio
from gevent import monkey
assert not monkey.saved
import threading
assert threading.active_count() == 1
"""


def test_importing_it_does_nothing() -> None:
    """No thread is started, nothing is patched."""
    assert kit.run_program(IMPORT, patched=False) == (0, '', '')


INTERRUPTED = """
import os, signal, sys, threading
from napixclient.threads import SharedPool
pool = SharedPool()
first = pool.request(sys.argv[1], 'GET', '/')
second = pool.request(sys.argv[1], 'GET', '/')
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    pool.wait()
except KeyboardInterrupt:
    print('interrupted', flush=True)
pool.request(sys.argv[1], 'GET', '/')
print([outcome.status for outcome in pool.wait()])
"""


def test_ctrl_c_in_a_wait(gated: kit.Server) -> None:
    """It cancels nothing, and the next `wait` returns the same requests, and those asked for since."""
    with kit.started(INTERRUPTED, gated.host, patched=False) as process:
        assert process.stdout.readline() == b'interrupted\n'
        gated.gate.open()
        out, err = process.communicate()
        assert (out, err) == (b'[200, 200, 200]\n', b'')
