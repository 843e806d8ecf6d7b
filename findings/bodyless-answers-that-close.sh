#!/usr/bin/env bash
# 2026-11-30. Versions: waitress 3.0.2, uvicorn 0.54.0, httptools 0.9.0, h11 0.16.0, Python 3.11.7.
# One would guess: the connection of a client that deletes or revalidates much is kept best of all: a 204 and a 304
#   have no body, so they end with their header, and need neither Content-Length nor chunks (RFC 9112 §6.3).
# What happens: waitress closes after each 204 and each 304, and says `Connection: close`, whatever the program does:
#   it needs a Content-Length to keep a connection, and removes the one that the program has set. uvicorn keeps
#   connections after both, until a 304 names the length of what did not change, as RFC 9110 §8.6 allows: with
#   httptools it then closes, without having said so, as it still expects that many bytes from the program; a
#   client that sends the next request at once meets the close. With h11 the same uvicorn keeps it.
# Source: RFC 9112 §6.3 and §9.3; RFC 9110 §8.6 ("A server MAY send a Content-Length header field in a 304").
# Output seen (connections for 3 requests, and what the last answer said):
#                        200            204            304            304 with length
#   waitress             1 -            3 close        3 close        3 close
#   uvicorn, h11         1 -            1 -            1 -            1 -
#   uvicorn, httptools   1 -            1 -            1 -            3 -
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  waitress==3.0.2 uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0

cat > "$folder/program.py" << 'PYTHON'
"""One program in two forms: /200, /204, /304, and /304/length, which names the length of what did not change."""

REASONS = {200: 'OK', 204: 'No Content', 304: 'Not Modified'}


def answer(path):
    _, status, *length = path.split('/')
    headers = [('ETag', '"1"')] if status != '200' else []
    if length or status == '200':
        headers.append(('Content-Length', '5'))
    return int(status), headers, b'hello' if status == '200' else b''


def wsgi(environ, start_response):
    status, headers, body = answer(environ['PATH_INFO'])
    start_response(f'{status} {REASONS[status]}', headers)
    return [body]


async def asgi(scope, receive, send):
    status, headers, body = answer(scope['path'])
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({'type': 'http.response.start', 'status': status, 'headers': raw})
    await send({'type': 'http.response.body', 'body': body})
PYTHON
cat > "$folder/see.py" << 'PYTHON'
import socket
import subprocess
import sys
import time

folder = sys.argv[1]
uvicorn = '-m', 'uvicorn', '--app-dir', folder, '--lifespan', 'off', '--log-level', 'critical', '--port', 'PORT'
SERVERS = {
    'waitress': ('-m', 'waitress', '--host', '127.0.0.1', '--port', 'PORT', 'program:wsgi'),
    'uvicorn, h11': (*uvicorn, '--http', 'h11', 'program:asgi'),
    'uvicorn, httptools': (*uvicorn, '--http', 'httptools', 'program:asgi'),
}
PATHS = {'200': '/200', '204': '/204', '304': '/304', '304 with length': '/304/length'}


def read_answer(client):
    """Header and, of a 200, its 5 bytes: each of these answers ends there."""
    data = b''
    while b'\r\n\r\n' not in data or (data[9:12] == b'200' and not data.endswith(b'hello')):
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def is_closed(client):
    """Whether the server closes within a moment; it keeps idle connections for 5 s and more."""
    client.settimeout(0.4)
    try:
        return client.recv(1) == b''
    except TimeoutError:
        return False


def ask(port, path):
    connections, client, said = 0, None, '-'
    for last in False, False, True:
        if client is None:
            client, connections = socket.create_connection(('127.0.0.1', port)), connections + 1
        client.settimeout(5)
        client.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
        said = 'close' if b'connection: close' in read_answer(client).lower() else '-'
        if not last and is_closed(client):
            client.close()
            client = None
    if client:
        client.close()
    return f'{connections} {said}'


seen = {}
print(' ' * 20, ''.join(f'{name:15}' for name in PATHS).rstrip())
for name, command in SERVERS.items():
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with open(f'{folder}/output', 'w') as output:
        ready = [str(port) if each == 'PORT' else each for each in command]
        process = subprocess.Popen([sys.executable, *ready], cwd=folder, stdout=output, stderr=output)
    try:
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                time.sleep(0.05)
        seen[name] = answers = [ask(port, path) for path in PATHS.values()]
    finally:
        process.terminate()
        process.wait(10)
    print(f'{name:20}', ''.join(f'{each:15}' for each in answers).rstrip())
expected = {
    'waitress': ['1 -', '3 close', '3 close', '3 close'],
    'uvicorn, h11': ['1 -'] * 4,
    'uvicorn, httptools': ['1 -', '1 -', '1 -', '3 -'],
}
sys.exit(0 if seen == expected else 'CHANGED: connections are kept otherwise after answers without a body')
PYTHON
timeout 50 "$folder/venv/bin/python" "$folder/see.py" "$folder"
