#!/usr/bin/env bash
# 2026-11-30. Versions: nginx 1.22.1, HAProxy 2.6.12, Varnish 7.1.1 (Debian 12), gunicorn 27.0.1.
# One would guess: a receiver of the PROXY protocol takes the line `PROXY UNKNOWN`, with which a balancer passes on
#   a connection whose client it cannot or will not name (its own health check, a client of a UNIX socket). The
#   specification knows two forms of it, gives the longer one as the worst case that a receiver must have room
#   for, and says that all up to the CRLF is to be ignored and the real addresses used.
# What happens: of four receivers one takes both. nginx takes both; HAProxy, whose author wrote the specification,
#   takes the short one and resets the connection at the long one; Varnish closes without an answer at both;
#   gunicorn answers 400 to both, the one receiver from which the sender gets a reason. All four take `PROXY TCP4`,
#   so a setup that works for each request can fail for each health check.
# Source: the PROXY protocol, versions 1 & 2 (HAProxy's doc/proxy-protocol.txt), §2.1: "the receiver must ignore
#   anything presented before the CRLF is found" after UNKNOWN, and the worst case "PROXY UNKNOWN
#   ffff:f...f:ffff ffff:f...f:ffff 65535 65535".
# Output seen:
#              TCP4   UNKNOWN  UNKNOWN with addresses
#   nginx      200    200      200
#   haproxy    200    200      closed
#   varnish    200    closed   closed
#   gunicorn   200    400      400
set -euo pipefail

require() {
  command -v "$1" > /dev/null || { echo "$1 is missing: apt-get install $2"; exit 77; }
  local version
  version=$("$1" "$3" 2>&1)
  echo "${version%%$'\n'*}"
  case "$version" in *"$4"*) ;; *) echo "this was seen with $2 $4 of Debian 12"; exit 77 ;; esac
}
require nginx nginx -v 1.22.
require haproxy haproxy -v 2.6.
require varnishd varnish -V varnish-7.1.

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gunicorn==27.0.1

cat > "$folder/program.py" << 'PYTHON'
def app(environ, start_response):
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
PYTHON
cat > "$folder/see.py" << 'PYTHON'
import pathlib
import socket
import subprocess
import sys
import time

folder = pathlib.Path(sys.argv[1])
folder.chmod(0o755)


def free():
    with socket.create_server(('127.0.0.1', 0)) as each:
        return each.getsockname()[1]


def nginx(port):
    kinds = 'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'
    paths = ''.join(f'{kind}_temp_path {folder}/{kind}; ' for kind in kinds)
    (folder / 'nginx.conf').write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ }}
http {{ access_log off; {paths}
  server {{ listen 127.0.0.1:{port} proxy_protocol; location / {{ return 200 ok; }} }} }}
""")
    return ['nginx', '-c', f'{folder}/nginx.conf', '-e', f'{folder}/nginx.log']


def haproxy(port):
    (folder / 'haproxy.cfg').write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend front
  bind 127.0.0.1:{port} accept-proxy
  http-request return status 200 content-type text/plain string ok
""")
    return ['haproxy', '-f', f'{folder}/haproxy.cfg']


def varnish(port):
    (folder / 'front.vcl').write_text("""
vcl 4.1;
backend none none;
sub vcl_recv { return (synth(200)); }
""")
    name = '-n', f'{folder}/varnish', '-f', f'{folder}/front.vcl'
    return ['varnishd', '-F', '-j', 'none', *name, '-a', f'127.0.0.1:{port},PROXY', '-s', 'malloc,16m']


def gunicorn(port):
    options = '--proxy-protocol', 'auto', '--log-level', 'critical', '--no-control-socket'
    return [sys.executable, '-m', 'gunicorn', '--chdir', folder, '-b', f'127.0.0.1:{port}', *options, 'program:app']


def ask(port, line):
    with socket.create_connection(('127.0.0.1', port), timeout=5) as client:
        client.sendall(line + b'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            answer = b''
    return answer[9:12].decode() or 'closed'


lines = (
    b'PROXY TCP4 192.0.2.7 192.0.2.8 5555 80\r\n',
    b'PROXY UNKNOWN\r\n',
    b'PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n',
)
seen = {}
print(f'{"":10} TCP4   UNKNOWN  UNKNOWN with addresses')
for receiver in nginx, haproxy, varnish, gunicorn:
    port = free()
    with open(folder / 'output', 'w') as output:
        process = subprocess.Popen(receiver(port), stdout=output, stderr=output)
    try:
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                time.sleep(0.05)
        seen[receiver.__name__] = answers = [ask(port, line) for line in lines]
    finally:
        process.terminate()
        process.wait(15)
    print(f'{receiver.__name__:10} {answers[0]:6} {answers[1]:8} {answers[2]}')
expected = {
    'nginx': ['200', '200', '200'],
    'haproxy': ['200', '200', 'closed'],
    'varnish': ['200', 'closed', 'closed'],
    'gunicorn': ['200', '400', '400'],
}
sys.exit(0 if seen == expected else 'CHANGED: PROXY UNKNOWN is received otherwise')
PYTHON
timeout 50 "$folder/venv/bin/python" "$folder/see.py" "$folder"
