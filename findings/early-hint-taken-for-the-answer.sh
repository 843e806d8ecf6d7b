#!/usr/bin/env bash
# 2026-11-30. Versions: HAProxy 2.6.12 (Debian 12), requests 2.34.2, urllib3 2.8.0, aiohttp 3.14.5, Python 3.11.7.
# One would guess: HAProxy's early hint (103) is an answer in passing. RFC 9110 §15.2 says that a client has to
#   parse any 1xx in front of the final answer even if it does not expect one, so the 200 behind it is what the
#   caller of requests, urllib3 and http.client gets.
# What happens: all three hand out the 103 as the answer, with an empty body, and no error. The 200 is never
#   seen: it stays unread on the connection, which urllib3 then drops and opens anew, so the same comes each
#   time. `response.ok` of requests is True. aiohttp gets the 200. Only 100 is passed over by
#   http.client (its documentation does not say so); all that is built upon it inherits this.
# Source: RFC 9110 §15.2 ("A client MUST be able to parse one or more 1xx responses received prior to a final
#   response, even if the client does not expect one"). RFC 8297 §3 warns of servers that send hints unasked.
# Output seen:
#   http.client  [(103, b''), (103, b'')]
#   urllib3      [(103, b''), (103, b'')]
#   requests     [(103, b'', True), (103, b'', True)]
#   aiohttp      [(200, b'/1'), (200, b'/2')]
set -euo pipefail

command -v haproxy > /dev/null || { echo 'HAProxy is missing: apt-get install haproxy'; exit 77; }
version=$(haproxy -v)
echo "${version%%$'\n'*}"
case "$version" in *' 2.6.'*) ;; *) echo 'this was seen with HAProxy 2.6 of Debian 12'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5

cat > "$folder/see.py" << 'PYTHON'
import asyncio
import http.client
import socket
import subprocess
import sys
import time

import aiohttp
import requests
import urllib3

folder = sys.argv[1]
with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
with open(f'{folder}/haproxy.cfg', 'w') as config:
    config.write(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend front
  bind 127.0.0.1:{port}
  http-request early-hint Link "</style.css>; rel=preload"
  http-request return status 200 content-type text/plain lf-string %[path]
""")
url = f'http://127.0.0.1:{port}'


def plain():
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    for path in '/1', '/2':
        connection.request('GET', path)
        answer = connection.getresponse()
        yield answer.status, answer.read()
    connection.close()


def pooled():
    with urllib3.PoolManager() as pool:
        for path in '/1', '/2':
            answer = pool.request('GET', url + path, timeout=5)
            yield answer.status, answer.data


def session():
    with requests.Session() as client:
        for path in '/1', '/2':
            answer = client.get(url + path, timeout=5)
            yield answer.status_code, answer.content, answer.ok


async def loop():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
        for path in '/1', '/2':
            async with client.get(url + path) as answer:
                yield answer.status, await answer.read()


async def looped():
    return [each async for each in loop()]


server = subprocess.Popen(['haproxy', '-f', f'{folder}/haproxy.cfg'])
try:
    for _ in range(100):
        try:
            socket.create_connection(('127.0.0.1', port)).close()
            break
        except OSError:
            time.sleep(0.05)
    seen = {
        'http.client': list(plain()),
        'urllib3': list(pooled()),
        'requests': list(session()),
            'aiohttp': asyncio.run(looped()),
    }
finally:
    server.terminate()
    server.wait(10)
for name, answers in seen.items():
    print(f'{name:12} {answers}')
hint, final = [(103, b'')] * 2, [(200, b'/1'), (200, b'/2')]
expected = [hint, hint, [(103, b'', True)] * 2, final]
sys.exit(0 if list(seen.values()) == expected else 'CHANGED: a 103 is no longer taken for the answer by those three')
PYTHON
timeout 40 "$folder/venv/bin/python" "$folder/see.py" "$folder"
