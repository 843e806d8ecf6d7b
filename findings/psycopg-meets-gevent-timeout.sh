#!/usr/bin/env bash
# 2026-11-30. Versions: psycopg 3.3.9 (binary), gevent 26.9.0, PostgreSQL 15.18 (Debian 12), CPython 3.11.
# psycopg 3 meets gevent.Timeout: the statement that one gave up is committed, behind a connection that was closed.
#
# One would guess that a statement interrupted by gevent.Timeout, or by killing its greenlet, is cancelled: psycopg 3
# supports gevent, and on Ctrl-C it cancels the statement on the server and leaves the connection usable.
# What happens: it does so for KeyboardInterrupt and SystemExit only. gevent.Timeout and GreenletExit are neither: the
# statement goes on, the connection stays ACTIVE, neither closed nor broken, and every further call, rollback() too,
# raises "another command is already in progress", also when the statement has long ended. close() does not cancel
# either: with autocommit an UPDATE that was given up and closed is committed seconds later.
# What helps: statement_timeout, a pool (it closes what comes back ACTIVE), or conn.cancel_safe() before closing.
#
# Source: psycopg's documentation, "Concurrent operations": gevent is supported once it has patched; "Interrupting
# async operations using Ctrl-C".
# Seen:
#   after gevent.Timeout: ACTIVE, closed False, broken False
#   SELECT 1: OperationalError: sending query failed: another command is already in progress
#   rollback(): OperationalError
#   UPDATE given up and connection closed: a is 1; after it has had its time: a is 2
#   the same with cancel_safe() before close(): a is 2

set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -n 1 || true)
if [ -z "$bin" ]; then
    echo 'PostgreSQL is missing: apt-get install postgresql' >&2
    exit 77
fi
"$bin/postgres" --version

folder=$(mktemp -d)
server=''
finish() {
    [ -z "$server" ] || kill -INT "$server" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    'psycopg[binary]==3.3.9' 'gevent==26.9.0'

# A cluster of our own on a free port of loopback; PostgreSQL does not run as root.
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mkdir "$folder/pg"
as=()
if [ "$(id -u)" = 0 ]; then
    chmod 711 "$folder"
    chown postgres "$folder/pg"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
cd /
"${as[@]}" "$bin/initdb" -D "$folder/pg/data" -U postgres -A trust --no-sync > /dev/null
"${as[@]}" "$bin/postgres" -D "$folder/pg/data" -p "$port" -k "$folder/pg" -c listen_addresses=127.0.0.1 \
    > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && break
    sleep 0.1
done

timeout 50 "$folder/venv/bin/python" - "$port" <<'PY'
import gevent.monkey

gevent.monkey.patch_all()

import logging
import sys

import gevent
import psycopg

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


logging.getLogger('psycopg').setLevel(logging.CRITICAL)
DSN = f'host=127.0.0.1 port={sys.argv[1]} user=postgres'
SLOW = 'UPDATE t SET a = a + 1 WHERE pg_sleep(1.5) IS NOT NULL'


def raised(call, *arguments):
    """The error of a call."""
    try:
        call(*arguments)
    except psycopg.Error as error:
        return type(error).__name__, str(error).splitlines()[0]
    return None, 'no error'


def given_up(cancel):
    """Give up an UPDATE after a moment, and close its connection."""
    with gevent.Timeout(0.4, False):
        connection.execute(SLOW)
    if cancel:
        connection.cancel_safe()
    connection.close()


watcher = psycopg.connect(DSN, autocommit=True)
watcher.execute('CREATE TABLE t (a int)')
watcher.execute('INSERT INTO t VALUES (1)')


def value():
    return watcher.execute('SELECT a FROM t').fetchone()[0]


connection = psycopg.connect(DSN, autocommit=True)
with gevent.Timeout(0.3, False):
    connection.execute('SELECT pg_sleep(0.6)')
state = connection.info.transaction_status.name, connection.closed, connection.broken
print('after gevent.Timeout: {}, closed {}, broken {}'.format(*state))
check(state == ('ACTIVE', False, False), 'the connection is not left ACTIVE')
gevent.sleep(0.8)
name, message = raised(connection.execute, 'SELECT 1')
print(f'SELECT 1: {name}: {message}')
check('another command is already in progress' in message, 'the connection can be used again')
name, _ = raised(connection.rollback)
print(f'rollback(): {name}')
check(name == 'OperationalError', 'rollback() helps')
connection.close()

connection = psycopg.connect(DSN, autocommit=True)
given_up(cancel=False)
before = value()
gevent.sleep(2.5)
after = value()
print(f'UPDATE given up and connection closed: a is {before}; after it has had its time: a is {after}')
check((before, after) == (1, 2), 'the UPDATE that was given up')

connection = psycopg.connect(DSN, autocommit=True)
given_up(cancel=True)
gevent.sleep(2.5)
print(f'the same with cancel_safe() before close(): a is {value()}')
check(value() == 2, 'cancel_safe()')
PY
