#!/usr/bin/env bash
# 2026-11-30. Versions: Apache httpd 2.4.71 (Debian 12), Node 20.20.2; curl 7.88.1, Python 3.11.7, requests 2.34.2,
#   urllib3 2.8.0, aiohttp 3.14.5.
# One would guess: a server that announces how long it keeps an idle connection (`Keep-Alive: timeout=5`) tells that to
#   all whose connection it keeps. In HTTP/1.1 that is everybody who does not say `Connection: close` (RFC 9112 §9.3),
#   so a client that heeds the field, in order not to send a POST into the close, has nothing to do but to read it.
# What happens: Apache keeps the connection of each client of HTTP/1.1 for KeepAliveTimeout, but names the time only to
#   those that say `Connection: keep-alive`, the word of HTTP/1.0. requests does, so it is told what it does not heed;
#   curl, http.client, urllib3 and aiohttp do not, and meet the end unwarned. Tomcat 10.1 does likewise; Node 20 tells
#   everybody. A look at a server with requests or a browser shows the field, and the program in production never gets it.
# Source: RFC 9112 §9.3: "HTTP/1.1 defaults to the use of persistent connections"; Apache's documentation of
#   KeepAliveTimeout and MaxKeepAliveRequests does not say who is told.
# Output seen:
#                  Apache       Node
#   curl           -            timeout=5
#   http.client    -            timeout=5
#   urllib3        -            timeout=5
#   aiohttp        -            timeout=5
#   requests       timeout=5    timeout=5
#   each of them at Apache: 1 connection for 2 requests
set -euo pipefail

require() {
  command -v "$1" > /dev/null || { echo "$1 is missing: apt-get install $2"; exit 77; }
  local version
  version=$("$1" "$3" 2>&1)
  echo "${version%%$'\n'*}"
  case "$version" in *"$4"*) ;; *) echo "this was seen with $2 $4"; exit 77 ;; esac
}
require apache2 apache2-bin -v Apache/2.4.
require node nodejs --version v20.
require curl curl --version 'curl 7.88.'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5

cat > "$folder/see.py" << 'PYTHON'
import asyncio
import http.client
import pathlib
import re
import socket
import subprocess
import sys
import time

import aiohttp
import requests
import urllib3

folder = pathlib.Path(sys.argv[1])
folder.chmod(0o755)  # Apache becomes another user


def free():
    with socket.create_server(('127.0.0.1', 0)) as each:
        return each.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(('127.0.0.1', port)).close()
        except OSError:
            time.sleep(0.05)


def by_curl(url):
    done = subprocess.run(
        ['curl', '-sv', '-m', '10', '--noproxy', '*', '-o', '/dev/null', url, '-o', '/dev/null', url],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert 'Re-using existing connection' in done.stdout, done.stdout
    return (re.findall(r'< Keep-Alive: *([^\r\n]*)', done.stdout) or [None])[-1]


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split('/')[2], timeout=10)
    ports = set()
    for _ in range(2):
        connection.request('GET', '/')
        ports.add(connection.sock.getsockname())
        answer = connection.getresponse()
        answer.read()
    assert len(ports) == 1, ports
    return answer.getheader('Keep-Alive')


def by_urllib3(url):
    pool = urllib3.PoolManager(timeout=10)
    for _ in range(2):
        answer = pool.request('GET', url)
    assert pool.connection_from_url(url).num_connections == 1
    return answer.headers.get('Keep-Alive')


def by_aiohttp(url):
    async def ask():
        made = []

        async def note(session, context, parameters):
            made.append(parameters)

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(note)
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            for _ in range(2):
                async with session.get(url, timeout=aiohttp.ClientTimeout(10)) as answer:
                    await answer.read()
        assert len(made) == 1, made
        return answer.headers.get('Keep-Alive')

    return asyncio.run(ask())


def by_requests(url):
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(2):
            answer = session.get(url, timeout=10)
        (pool,) = session.adapters['http://'].poolmanager.pools._container.values()
        assert pool.num_connections == 1
        return answer.headers.get('Keep-Alive')


ports = {'Apache': free(), 'Node': free()}
(folder / 'index.html').write_text('hello')
(folder / 'apache.conf').write_text(f"""
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog {folder}/error.log
User nobody
Group nogroup
Listen 127.0.0.1:{ports['Apache']}
DocumentRoot {folder}
DirectoryIndex index.html
KeepAliveTimeout 5
MaxKeepAliveRequests 0
""")
node = f"require('http').createServer((_, answer) => answer.end('hello')).listen({ports['Node']}, '127.0.0.1')"
started = [
    subprocess.Popen(['apache2', '-f', f'{folder}/apache.conf', '-DFOREGROUND']),
    subprocess.Popen(['node', '-e', node]),
]
clients = {
    'curl': by_curl,
    'http.client': by_http_client,
    'urllib3': by_urllib3,
    'aiohttp': by_aiohttp,
    'requests': by_requests,
}
try:
    for port in ports.values():
        wait_for(port)
    told = {
        name: [client(f'http://127.0.0.1:{port}/') for port in ports.values()] for name, client in clients.items()
    }
finally:
    for process in started:
        process.terminate()
        process.wait(10)
print(f'{"":14} {"Apache":12} Node')
for name, (apache, other) in told.items():
    print(f'{name:14} {apache or "-":12} {other or "-"}')
print('each of them at Apache: 1 connection for 2 requests')
expected = {name: ['timeout=5' if name == 'requests' else None, 'timeout=5'] for name in clients}
sys.exit(0 if told == expected else 'CHANGED: others are told for how long the connection is kept')
PYTHON
timeout 45 "$folder/venv/bin/python" "$folder/see.py" "$folder"
