#!/usr/bin/env bash
# 2026-11-30. Versions: Apache httpd 2.4.71 (Debian 12), wsgiref of Python 3.11.7, curl 7.88.1.
# One would guess: `Expect: 100-continue` is an offer to wait a little. RFC 9110 §10.1.1: a client must not wait
#   for ever, and curl sends its body after a second without an answer; so a program behind Apache that knows no
#   100 costs that second, as it does when asked directly.
# What happens: behind Apache as a proxy the request fails with 503 when the time of the proxy is up (60 s by
#   default, 3 s here). Apache passes Expect on and waits for the program's 100 with the body that it already
#   has; the program, which speaks HTTP/1.0 and so cannot send a 100, waits for the body. The program has the
#   request all that time, and carries it out or not as it likes. That an answer of HTTP/1.0 came from the same
#   program a moment before changes nothing. Without Expect, or with Apache's `Proxy100Continue Off`, the same
#   POST takes milliseconds. curl makes this offer by itself for bodies above 1 MB.
# Source: RFC 9110 §10.1.1: a client "SHOULD NOT wait for an indefinite period before sending the content", and a
#   proxy that believes from past interaction that the next server only supports HTTP/1.0 MAY send the 100
#   itself. Apache's mod_proxy has the directive Proxy100Continue, On by default.
# Output seen:
#   directly, with Expect:                      200 in 1.0 s
#   by Apache, without Expect:                  200 in 0.0 s
#   by Apache, with Expect:                     503 in 3.0 s
#   by Apache, Proxy100Continue Off, with it:   200 in 0.0 s
set -euo pipefail

for each in apache2 curl; do
  command -v "$each" > /dev/null || { echo "$each is missing: apt-get install $each"; exit 77; }
done
version=$(apache2 -v)
echo "${version%%$'\n'*}"
case "$version" in *Apache/2.4.*) ;; *) echo 'this was seen with Apache httpd 2.4.71'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/see.py" << 'PYTHON'
import contextlib
import pathlib
import socket
import subprocess
import sys
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server

folder = pathlib.Path(sys.argv[1])
modules = 'mpm_event', 'authz_core', 'proxy', 'proxy_http'
loads = '\n'.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so' for name in modules)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def program(environ, start_response):
    body = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]


@contextlib.contextmanager
def apache(name, behind, more=''):
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    config = folder / f'{name}.conf'
    config.write_text(f"""{loads}
ServerRoot {folder}
ServerName localhost
PidFile {folder}/{name}.pid
ErrorLog {folder}/{name}.log
User nobody
Group nogroup
Listen 127.0.0.1:{port}
{more}
ProxyPass / http://127.0.0.1:{behind}/ timeout=3
""")
    server = subprocess.Popen(['apache2', '-f', config, '-DFOREGROUND'])
    try:
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(15)


def post(port, *more):
    url = f'http://127.0.0.1:{port}/'
    curl = ['curl', '-s', '-m', '15', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code} %{time_total}']
    out = subprocess.run([*curl, '-d', 'hello', *more, url], stdout=subprocess.PIPE, text=True).stdout.split()
    return int(out[0]), float(out[1])


expect = '-H', 'Expect: 100-continue'
older = make_server('127.0.0.1', 0, program, handler_class=Quiet)
threading.Thread(target=older.serve_forever, daemon=True).start()
behind = older.server_port
seen = {'directly, with Expect': post(behind, *expect)}
with apache('plain', behind) as port:
    seen['by Apache, without Expect'] = post(port)
    seen['by Apache, with Expect'] = post(port, *expect)
with apache('off', behind, 'Proxy100Continue Off') as port:
    seen['by Apache, Proxy100Continue Off, with it'] = post(port, *expect)
for name, (status, taken) in seen.items():
    print(f'{name + ":":43} {status} in {taken:.1f} s')
as_found = [status for status, _ in seen.values()] == [200, 200, 503, 200]
as_found &= seen['by Apache, with Expect'][1] > 2.9
sys.exit(0 if as_found else 'CHANGED: Apache no longer keeps the body from a program that sends no 100')
PYTHON
timeout 50 python3 "$folder/see.py" "$folder"
