#!/usr/bin/env bash
# 2026-11-30. Versions: PostgreSQL 15.18 (Debian 12), psycopg 3.3.9, CPython 3.11.
# PostgreSQL: a unique column of URLs takes 100,000 characters, and refuses 2,700.
#
# One would guess that an index on text has a limit in characters or bytes: what takes a longer value takes a
# shorter one.
# What happens: a row of a B-tree index has at most 2,704 bytes after compression. "http://host/" and 100,000 times
# the same letter is compressed and fits; a URL of 2,800 characters with a signature, a token or an encoded state does
# not compress and fails at INSERT: "index row size 2816 exceeds btree version 4 maximum 2704". A test with 'x' * 5000
# passes, production fails on the first pre-signed link. Without the index both fit. A unique index on a digest of
# the URL has no such limit; a UNIQUE constraint or a primary key on the URL itself does.
#
# Source: PostgreSQL's documentation, "B-Tree indexes": an entry "cannot exceed approximately one-third of a
# page (after TOAST compression, if applicable)"; that of CREATE TABLE and of the type text names no limit.
# Seen:
#   100012 characters that repeat: stored
#   2500 characters of a token: stored
#   2800 characters of a token: ProgramLimitExceeded: index row size 2816 exceeds btree version 4 maximum 2704 ...
#   2800 characters of a token, unique by md5(url): stored

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
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'psycopg[binary]==3.3.9'

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
import random
import string
import sys

import psycopg

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


connection = psycopg.connect(f'host=127.0.0.1 port={sys.argv[1]} user=postgres', autocommit=True)
connection.execute('CREATE TABLE plain (url text PRIMARY KEY)')
connection.execute('CREATE TABLE digest (url text)')
connection.execute('CREATE UNIQUE INDEX ON digest (md5(url))')
draw = random.Random(7)


def token(length):
    """A URL of this length, whose query string does not compress."""
    start = 'http://host/?signature='
    return start + ''.join(draw.choices(string.ascii_letters + string.digits, k=length - len(start)))


def store(shown, table, url, expected):
    try:
        connection.execute(f'INSERT INTO {table} VALUES (%s)', (url,))
        result, name = 'stored', 'stored'
    except psycopg.Error as error:
        name = type(error).__name__
        result = f'{name}: {str(error).splitlines()[0]}'
    print(f'{len(url)} characters {shown}: {result}')
    check(name == expected, f'{len(url)} characters {shown}')


store('that repeat', 'plain', 'http://host/' + 'x' * 100_000, 'stored')
store('of a token', 'plain', token(2500), 'stored')
long = token(2800)
store('of a token', 'plain', long, 'ProgramLimitExceeded')
store('of a token, unique by md5(url)', 'digest', long, 'stored')
PY
