#!/usr/bin/env bash
# 2026-11-30. Versions: lighttpd 1.4.69 (Debian 12), gunicorn 27.0.1.
# One would guess: `Connection: TE` with `TE: trailers`, which a client sends that can read trailers, changes nothing
#   for a HEAD. RFC 9110 §7.6.1: the fields that Connection names are for the next hop and end there.
# What happens: through lighttpd's mod_proxy to gunicorn (gthread) a HEAD with these two fields takes as long as
#   gunicorn keeps an idle connection, without them a millisecond; a GET is not held up. Two readings of one
#   list meet: lighttpd, which wants the connection closed, passes TE on and announces `Connection: close, te`;
#   gunicorn compares the whole value with "close", takes the list for something else, and answers
#   `Connection: keep-alive`; lighttpd then waits for the end that it asked for, as a HEAD has no body whose
#   length would tell. Either alone is unremarkable.
# Source: RFC 9110 §7.6.1 (Connection is a list: #connection-option) and §10.1.4 (TE); gunicorn's settings:
#   `keepalive`, "The number of seconds to wait for requests on a Keep-Alive connection".
# Output seen (seconds, gunicorn with --keep-alive 3):
#   directly:      HEAD 0.0, HEAD with TE 0.0, GET with TE 0.0
#   by lighttpd:   HEAD 0.0, HEAD with TE 3.0, GET with TE 0.0
set -euo pipefail

for each in lighttpd curl; do
  command -v "$each" > /dev/null || { echo "$each is missing: apt-get install $each"; exit 77; }
done
version=$(lighttpd -v)
echo "$version"
case "$version" in lighttpd/1.4.69*) ;; *) echo 'this was seen with lighttpd 1.4.69'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gunicorn==27.0.1

cat > "$folder/program.py" << 'PYTHON'
def app(environ, start_response):
    start_response('200 OK', [('Content-Length', '2')])
    return [] if environ['REQUEST_METHOD'] == 'HEAD' else [b'ok']
PYTHON
cat > "$folder/see.py" << 'PYTHON'
import socket
import subprocess
import sys
import time

folder = sys.argv[1]


def free():
    with socket.create_server(('127.0.0.1', 0)) as each:
        return each.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(('127.0.0.1', port)).close()
        except OSError:
            time.sleep(0.05)


def seconds(port, *more):
    curl = ['curl', '-s', '-m', '15', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code} %{time_total}', *more]
    out = subprocess.run([*curl, f'http://127.0.0.1:{port}/'], stdout=subprocess.PIPE, text=True).stdout.split()
    assert out[0] == '200', out
    return float(out[1])


behind, front = free(), free()
with open(f'{folder}/lighttpd.conf', 'w') as config:
    config.write(f"""
server.modules = ("mod_proxy")
server.document-root = "{folder}"
server.upload-dirs = ("{folder}")
server.errorlog = "{folder}/error.log"
server.bind = "127.0.0.1"
server.port = {front}
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {behind})))
""")
options = '--keep-alive', '3', '--log-level', 'error', '--no-control-socket', '-k', 'gthread', '--threads', '4'
gunicorn = [sys.executable, '-m', 'gunicorn', '--chdir', folder, '-b', f'127.0.0.1:{behind}', *options, 'program:app']
started = [subprocess.Popen(gunicorn), subprocess.Popen(['lighttpd', '-D', '-f', f'{folder}/lighttpd.conf'])]
try:
    wait_for(behind)
    wait_for(front)
    te = '-H', 'Connection: TE', '-H', 'TE: trailers'
    seen = {
        name: (seconds(port, '-I'), seconds(port, '-I', *te), seconds(port, *te))
        for name, port in (('directly', behind), ('by lighttpd', front))
    }
finally:
    for process in started:
        process.terminate()
        process.wait(10)
for name, taken in seen.items():
    print(f'{name + ":":14} HEAD {taken[0]:.1f}, HEAD with TE {taken[1]:.1f}, GET with TE {taken[2]:.1f}')
held = [each > 2.5 for taken in seen.values() for each in taken]
sys.exit(0 if held == [False, False, False, False, True, False] else 'CHANGED: a HEAD with TE is not held up')
PYTHON
timeout 45 "$folder/venv/bin/python" "$folder/see.py" "$folder"
