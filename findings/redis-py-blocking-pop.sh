#!/usr/bin/env bash
# 2026-11-30. Versions: redis 8.1.0 (redis-py), Redis 7.0.15 (Debian 12), CPython 3.11.
# redis-py: blpop(queue, timeout=7) does not return after 7 seconds, but raises after about a minute.
#
# One would guess that the time given to a command which waits on the server is the time that the client waits, and
# that the client's own limit on sockets is none, as it was up to 7.0.
# What happens: since 8.0 redis.Redis() has socket_timeout=5. It is not stretched for commands that wait. After 5
# seconds the client hangs up and, as a timeout is retried, sends the command anew on another connection, 11 times in
# all: timeout=7 and timeout=0 ("for ever") end after a minute with TimeoutError. With messages in the
# queue all is well, so that tests pass; a worker on an idle queue fails. Redis(socket_timeout=None), or one that is
# longer than the command's, is as before.
#
# Source: redis.io, BLPOP: "timeout ... specifying the maximum number of seconds to block"; redis-py's docstring of
# blpop: "If timeout is 0, then block indefinitely".
# Seen:
#   socket_timeout of redis.Redis(): 5
#   blpop("queue", timeout=6): still waiting after 7 s, BLPOP begun 2 times by 2 connections
#   with socket_timeout=None: None after 6 s, BLPOP begun 1 time

set -euo pipefail
if ! command -v redis-server > /dev/null; then
    echo 'Redis is missing: apt-get install redis-server' >&2
    exit 77
fi
redis-server --version | cut -d ' ' -f 1-3

folder=$(mktemp -d)
server=''
finish() {
    [ -z "$server" ] || kill "$server" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'redis==8.1.0'

port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$folder" > "$folder/log" &
server=$!
for _ in $(seq 100); do
    redis-cli -p "$port" ping > "$folder/ping" 2>&1 && break
    sleep 0.1
done

timeout 50 "$folder/venv/bin/python" - "$port" <<'PY'
import inspect
import sys
import threading
import time

import redis

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


PORT = int(sys.argv[1])
default = inspect.signature(redis.Redis).parameters['socket_timeout'].default
print(f'socket_timeout of redis.Redis(): {default}')
check(default == 5, 'the default of socket_timeout')

watcher = redis.Redis(port=PORT)


class Pop(threading.Thread):
    """Pops from a queue that stays empty."""

    def __init__(self, **options):
        super().__init__(daemon=True)
        self.client, self.result = redis.Redis(port=PORT, **options), []

    def run(self):
        try:
            self.result.append(self.client.blpop('queue', timeout=6))
        except redis.RedisError as error:
            self.result.append(error)


def connections_until(pop, seconds):
    """The connections that wait in BLPOP meanwhile, by their ids."""
    found, end = set(), time.monotonic() + seconds
    while time.monotonic() < end and not pop.result:
        found |= {client['id'] for client in watcher.client_list() if client['cmd'] == 'blpop'}
        time.sleep(0.1)
    return found


pop = Pop(socket_timeout=None)
pop.start()
found = connections_until(pop, 12)
check(pop.result == [None] and len(found) == 1, 'a pop without a limit on the socket')
without = f'with socket_timeout=None: {pop.result[0]} after 6 s, BLPOP begun {len(found)} time'

pop = Pop()
pop.start()
found = connections_until(pop, 7.5)
begun = f'BLPOP begun {len(found)} times by {len(found)} connections'
print(f'blpop("queue", timeout=6): still waiting after 7 s, {begun}')
check(not pop.result, 'blpop keeps to its timeout')
check(len(found) == 2, 'blpop is sent anew')
print(without)
PY
