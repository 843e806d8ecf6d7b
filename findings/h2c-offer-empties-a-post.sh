#!/usr/bin/env bash
# 2026-11-30. Versions: uvicorn 0.54.0, httptools 0.9.0, h11 0.16.0, curl 7.88.1 (Debian 12).
# One would guess: `curl --http2 -d hello http://…`, which offers HTTP/2 by `Upgrade: h2c` along with the POST, is
#   a plain HTTP/1.1 POST for a server that does not speak HTTP/2. RFC 9110 §7.8: a server may ignore Upgrade.
#   uvicorn does ignore it, and says so in its log.
# What happens: with httptools installed (`uvicorn[standard]`, its default then) the program is called with an
#   empty body, its `receive` says that no more is to come, and the client gets a 200 for it; 5 bytes are lost
#   without a word. With h11 (`--http h11`, and the default where httptools is missing) the same request
#   arrives whole. Content-Length still says 5. httptools stops at the end of the header of a request with
#   Upgrade (`HttpParserUpgrade`) and never parses the body; uvicorn takes that for the end of the request.
#   Java's HttpClient makes this offer with each cleartext request unless it is told HTTP_1_1.
# Source: RFC 9110 §7.8; RFC 7540 §3.2 ("Requests that contain a payload body MUST be sent in their entirety
#   before the client can send HTTP/2 frames"). uvicorn's page of settings names speed as the difference of the
#   two parsers. It is known to uvicorn (its issue 2722, open).
# Output seen:
#   h11:       plain b'5 announced, 5 received', with the offer b'5 announced, 5 received'
#   httptools: plain b'5 announced, 5 received', with the offer b'5 announced, 0 received'
set -euo pipefail

command -v curl > /dev/null || { echo 'curl is missing: apt-get install curl'; exit 77; }
version=$(curl --version)
echo "${version%%$'\n'*}"
case "$version" in *HTTP2*) ;; *) echo 'this needs a curl with HTTP2'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0

cat > "$folder/program.py" << 'PYTHON'
async def app(scope, receive, send):
    body, more = b'', True
    while more:
        message = await receive()
        body += message.get('body', b'')
        more = message.get('more_body', False)
    announced = dict(scope['headers']).get(b'content-length', b'-').decode()
    text = f'{announced} announced, {len(body)} received'.encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(text))]})
    await send({'type': 'http.response.body', 'body': text})
PYTHON
cat > "$folder/see.py" << 'PYTHON'
import socket
import subprocess
import sys
import time

folder = sys.argv[1]
seen = {}
for parser in 'h11', 'httptools':
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'uvicorn', '--app-dir', folder, '--port', str(port), '--http', parser]
    server = subprocess.Popen([*command, '--lifespan', 'off', '--log-level', 'error', 'program:app'])
    try:
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                time.sleep(0.05)
        curl = ['curl', '-s', '-m', '5', '--noproxy', '*', '-d', 'hello', f'http://127.0.0.1:{port}/']
        answers = [subprocess.run([*curl, *more], stdout=subprocess.PIPE).stdout for more in ([], ['--http2'])]
        seen[parser] = answers
        print(f'{parser + ":":10} plain {answers[0]}, with the offer {answers[1]}')
    finally:
        server.terminate()
        server.wait(10)
whole, empty = b'5 announced, 5 received', b'5 announced, 0 received'
as_found = seen == {'h11': [whole, whole], 'httptools': [whole, empty]}
sys.exit(0 if as_found else 'CHANGED: an offer of h2c no longer empties a POST')
PYTHON
timeout 40 "$folder/venv/bin/python" "$folder/see.py" "$folder"
