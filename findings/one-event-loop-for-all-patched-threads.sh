#!/usr/bin/env bash
# 2026-11-30. Versions: gevent 26.9.0, greenlet 3.5.6, Python 3.11.7.
# One would guess: two threads may each call `asyncio.run`, so the two workers of a ThreadPoolExecutor may use a
#   library that does so inside; gevent's patched threads keep to that, since each has its own `threading.local`,
#   `get_ident` and `current_thread`, and asyncio keeps its running loop "per thread".
# What happens: the second `asyncio.run` raises RuntimeError, "asyncio.run() cannot be called from a running event
#   loop", while the first waits. A loop itself works, and lets other greenlets run: one alone is fine, and so
#   are ten in turn. But asyncio writes the running loop down in C for the thread of the operating system, which all
#   patched threads share. So it works in each test with one worker and fails under load. Worse, code that asks
#   `asyncio.get_running_loop()` in order to find out whether it is called from a coroutine is told so in a thread
#   that has nothing to do with asyncio.
# Source: Python's documentation of asyncio.get_running_loop, "Return the running event loop in the current OS thread";
#   gevent's, which presents monkey.patch_all as what makes the standard library cooperative. Known to gevent (its
#   issue 2026, open).
# Output seen:
#   plain:  two at once: done, done; a bystander sees: no loop
#   gevent: two at once: done, RuntimeError; a bystander sees: a loop
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6

cat > "$folder/see.py" << 'PYTHON'
import sys

if sys.argv[1] == 'gevent':
    from gevent import monkey

    monkey.patch_all()
import asyncio
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

warnings.simplefilter('ignore')  # of the coroutine that is never awaited
running, release = threading.Event(), threading.Event()


async def wait_for_release():
    running.set()
    for _ in range(1000):
        if release.is_set():
            return 'done'
        await asyncio.sleep(0.01)
    return 'late'


async def nothing():
    return 'done'


def second():
    try:
        return asyncio.run(nothing())
    except RuntimeError as error:
        return type(error).__name__


def bystander():
    try:
        asyncio.get_running_loop()
        return 'a loop'
    except RuntimeError:
        return 'no loop'


with ThreadPoolExecutor(3) as pool:
    assert [pool.submit(asyncio.run, nothing()).result(10) for _ in range(10)] == ['done'] * 10  # in turn
    first = pool.submit(asyncio.run, wait_for_release())
    assert running.wait(10)
    at_once = pool.submit(second).result(10)
    seen = pool.submit(bystander).result(10)
    release.set()
    print(f'two at once: {first.result(15)}, {at_once}; a bystander sees: {seen}')
PYTHON
plain=$(timeout 20 "$folder/venv/bin/python" "$folder/see.py" plain)
patched=$(timeout 20 "$folder/venv/bin/python" "$folder/see.py" gevent)
echo "plain:  $plain"
echo "gevent: $patched"
if [ "$plain" != 'two at once: done, done; a bystander sees: no loop' ] ||
  [ "$patched" != 'two at once: done, RuntimeError; a bystander sees: a loop' ]; then
  echo 'CHANGED: event loops in patched threads' >&2
  exit 1
fi
