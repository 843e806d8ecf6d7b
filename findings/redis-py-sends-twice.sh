#!/usr/bin/env bash
# 2026-11-30. Versions: redis 8.1.0 (redis-py), Redis 7.0.15 (Debian 12), CPython 3.11.
# redis-py: one call of incr() counts two when the connection is lost behind it.
#
# One would guess that a client does not send a command again of which it cannot know whether the server ran it, if
# the command is not idempotent: INCR, LPUSH, a transaction.
# What happens: redis.Redis sends again by default, up to 3 times since 6.0 and 10 times since 8.0: on a lost
# connection or a timeout, any command, whatever it does. Here a relay passes the first INCR on and hangs up
# instead of answering: the caller gets 2, no error and no log. MULTI ... EXEC likewise. Up to 5.2 the default was
# not to retry; Retry(NoBackoff(), 0) is that.
#
# Source: RFC 9110, section 9.2.2, is the rule that clients of HTTP keep, and what one expects elsewhere; on
# redis-py's page about retries the error decides what is sent again, the command does not.
# Seen:
#   incr("jobs") once, answer lost -> 2; INCR reached the server 2 times
#   MULTI incr("runs") EXEC once, answer lost -> [2]
#   with retry=Retry(NoBackoff(), 0): ConnectionError, and the counter is 1

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
import socket
import sys
import threading

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


PORT = int(sys.argv[1])


class Relay:
    """Passes everything on to Redis, but hangs up instead of the first answer to the word it looks for."""

    def __init__(self, word):
        self.word, self.passed = word, 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for _ in range(20):
            near, _ = self.listener.accept()
            far = socket.create_connection(('127.0.0.1', PORT))
            threading.Thread(target=self.exchange, args=(near, far), daemon=True).start()

    def exchange(self, near, far):
        """The protocol takes turns: a request, then its answer."""
        with near, far:
            while request := near.recv(65536):
                far.sendall(request)
                answer = far.recv(65536)
                if self.word in request:
                    self.passed += 1
                    if self.passed == 1:
                        return
                near.sendall(answer)


direct = redis.Redis(port=PORT)
relay = Relay(b'INCR')
counted = redis.Redis(port=relay.port).incr('jobs')
print(f'incr("jobs") once, answer lost -> {counted}; INCR reached the server {relay.passed} times')
check(counted == 2 and relay.passed == 2 and direct.get('jobs') == b'2', 'INCR is not sent again')

with redis.Redis(port=Relay(b'EXEC').port).pipeline(transaction=True) as transaction:
    transaction.incr('runs')
    counted = transaction.execute()
print(f'MULTI incr("runs") EXEC once, answer lost -> {counted}')
check(counted == [2], 'the transaction is not sent again')

once = redis.Redis(port=Relay(b'INCR').port, retry=Retry(NoBackoff(), 0))
try:
    once.incr('once')
except redis.ConnectionError as error:
    print(f'with retry=Retry(NoBackoff(), 0): {type(error).__name__}, and the counter is {int(direct.get("once"))}')
else:
    check(False, 'a lost answer is no error without retries')
check(direct.get('once') == b'1', 'INCR is sent again without retries')
PY
