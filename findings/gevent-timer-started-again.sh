#!/usr/bin/env bash
# 2026-11-30. Versions: gevent 26.9.0, greenlet 3.5.6, Python 3.11.7, cffi 2.0.0 (libuv's loop needs it).
# One would guess: a one-shot timer of gevent's loop, `loop.timer(0.2)`, that has fired and is started once more waits
#   its 0.2 s once more: its `start` takes no delay, so the timer must know it.
# What happens: with libev, gevent's loop on Linux, it waits the first time only. Each later `start` fires at the next
#   turn of the loop, and one that was stopped half-way goes on with what was left. With libuv the same lines wait each
#   time. `loop.timer(0.2, 0.2)` with `again` in place of `start` waits each time with both.
# Source: libev's manual, "ev_timer_again": a timer that has fired is to be set anew before it is started; gevent's
#   `start` does not. gevent's documentation of the loop says nothing of it; its issue 1890, open since 2022, is of a
#   `Timeout` that is cancelled and started again.
# Output seen (hundredths of a second from one to the next, and W for what waited):
#   start 20 0 0 0
#   again 20 20 20 20
#   start 20 20 20 20
#   again 20 20 20 20
#   libev start W 0 0 0 again W W W W
#   libuv start W W W W again W W W W
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6 \
  cffi==2.0.0

cat > "$folder/see.py" << 'PYTHON'
import sys
import time

from gevent.event import Event
from gevent.hub import get_hub

loop = get_hub().loop


def waits(timer, start):
    """Seconds that each of four starts waits."""
    found, done, began = [], Event(), time.monotonic()

    def fired():
        nonlocal began
        now = time.monotonic()
        found.append(now - began)
        began = now
        timer.stop()
        if len(found) < 4:
            start(fired)
        else:
            done.set()

    start(fired)
    assert done.wait(10)
    return found


once, repeating = loop.timer(0.2), loop.timer(0.2, 0.2)
for name, found in ('start', waits(once, once.start)), ('again', waits(repeating, repeating.again)):
    print(name, *('W' if seconds > 0.15 else '0' if seconds < 0.1 else '-' for seconds in found))
    print(name, *(round(seconds * 100) for seconds in found), file=sys.stderr)
PYTHON
libev=$(GEVENT_LOOP=libev-cext timeout 30 "$folder/venv/bin/python" "$folder/see.py" | paste -sd ' ')
libuv=$(GEVENT_LOOP=libuv timeout 30 "$folder/venv/bin/python" "$folder/see.py" | paste -sd ' ')
echo "libev $libev"
echo "libuv $libuv"
if [ "$libev" != 'start W 0 0 0 again W W W W' ] || [ "$libuv" != 'start W W W W again W W W W' ]; then
  echo 'CHANGED: a timer that has fired no longer waits only with libuv when it is started again' >&2
  exit 1
fi
