#!/usr/bin/env bash
# 2026-11-30. Versions: cheroot 11.1.2, tinyproxy 1.11.1 (Debian 12).
# One would guess: a header that is sent as two fields (`Prefer: return=minimal`, `Prefer: wait=5`; Forwarded,
#   baggage and tracestate come so too) arrives as two fields or as one with a comma. RFC 9110 §5.3 lets a
#   recipient join them because that changes no meaning, and RFC 7240 §2 shows Prefer in both forms.
# What happens: cheroot, the server of CherryPy, gives its program only the last of them: it joins a fixed list of
#   names (Accept, Via and the like) and overwrites all others. tinyproxy, as a proxy in front of anything,
#   passes on only the first of them. Neither logs it, both answer 200. Through tinyproxy to cheroot it is the
#   first, to cheroot alone the last; only the one field with a comma arrives whole everywhere.
# Source: RFC 9110 §5.2 and §5.3; RFC 7240 §2; W3C Trace Context, tracestate, allows several fields.
# Output seen:
#   two fields, cheroot:             Prefer: wait=5
#   two fields, tinyproxy, cheroot:  Prefer: return=minimal
#   two fields, tinyproxy, a socket: Prefer: return=minimal
#   one field, cheroot:              Prefer: return=minimal, wait=5
#   one field, tinyproxy, cheroot:   Prefer: return=minimal, wait=5
set -euo pipefail

command -v tinyproxy > /dev/null || { echo 'tinyproxy is missing: apt-get install tinyproxy'; exit 77; }
version=$(tinyproxy -v)
echo "$version"
case "$version" in *' 1.11.'*) ;; *) echo 'this was seen with tinyproxy 1.11.1'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check cheroot==11.1.2

cat > "$folder/see.py" << 'PYTHON'
import re
import socket
import subprocess
import sys
import threading
import time

from cheroot import wsgi

TWO, ONE = b'Prefer: return=minimal\r\nPrefer: wait=5\r\n', b'Prefer: return=minimal, wait=5\r\n'


def program(environ, start_response):
    text = environ['HTTP_PREFER'].encode()
    start_response('200 OK', [('Content-Length', str(len(text)))])
    return [text]


def bare(listener):
    """Answers with the lines of Prefer that arrived."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(5)
        head = b''
        while b'\r\n\r\n' not in head:
            head += connection.recv(65536)
        text = b' | '.join(re.findall(rb'(?im)^prefer: *(.*?)\r$', head))
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(text) + text)


def ask(port, fields, by=None):
    target = b'/' if by is None else b'http://127.0.0.1:%d/' % port
    with socket.create_connection(('127.0.0.1', by or port), timeout=5) as client:
        head = b'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sConnection: close\r\n\r\n' % (target, port, fields)
        client.sendall(head)
        answer = b''
        while piece := client.recv(65536):
            answer += piece
    return answer.partition(b'\r\n\r\n')[2].decode()


server = wsgi.Server(('127.0.0.1', 0), program)
server.prepare()
threading.Thread(target=server.serve, daemon=True).start()
behind = server.bind_addr[1]
listener = socket.create_server(('127.0.0.1', 0))
listener.settimeout(20)
threading.Thread(target=bare, args=(listener,), daemon=True).start()
with socket.create_server(('127.0.0.1', 0)) as free:
    proxy = free.getsockname()[1]
config = f'{sys.argv[1]}/tinyproxy.conf'
with open(config, 'w') as file:
    file.write(f'Port {proxy}\nListen 127.0.0.1\nTimeout 10\nMaxClients 10\nLogLevel Critical\n')
process = subprocess.Popen(['tinyproxy', '-d', '-c', config])
try:
    for _ in range(100):
        try:
            socket.create_connection(('127.0.0.1', proxy)).close()
            break
        except OSError:
            time.sleep(0.05)
    seen = {
        'two fields, cheroot': ask(behind, TWO),
        'two fields, tinyproxy, cheroot': ask(behind, TWO, by=proxy),
        'two fields, tinyproxy, a socket': ask(listener.getsockname()[1], TWO, by=proxy),
        'one field, cheroot': ask(behind, ONE),
        'one field, tinyproxy, cheroot': ask(behind, ONE, by=proxy),
    }
finally:
    process.terminate()
    process.wait(10)
    server.stop()
for name, value in seen.items():
    print(f'{name + ":":32} Prefer: {value}')
first, last, both = 'return=minimal', 'wait=5', 'return=minimal, wait=5'
sys.exit(0 if list(seen.values()) == [last, first, first, both, both] else 'CHANGED: repeated fields arrive otherwise')
PYTHON
timeout 40 "$folder/venv/bin/python" "$folder/see.py" "$folder"
