#!/usr/bin/env bash
# 2026-11-30. Versions: Node 20.20.2, Python 3.11.7.
# One would guess: a server that has ended an idle connection (FIN) is done with it. A POST that crosses with that end is
#   carried out by nobody, so a client that reads the end instead of an answer can send it again. That is how RFC 9112
#   §9.5 tells it ("From the server's point of view, the connection is being closed while it was idle"), and what many
#   clients go by.
# What happens: a program of Node that ends its idle connections with `socket.end()`, in order to stop gracefully, goes on
#   to read them: http.createServer makes its sockets with allowHalfOpen, though net.createServer does not by default.
#   The POST behind the end is parsed, given to the handler and carried out. Its answer has nowhere to go, and nobody
#   hears of it: the response emits no error, and the callback of its end() gets none; `finish` never comes, only
#   `close`. The client has seen an end without an answer, sends the POST again elsewhere, and it has been done twice.
#   `server.closeIdleConnections()` closes for good: the same POST meets a reset and is not carried out.
# Source: RFC 9112 §9.5; Node's documentation of net: allowHalfOpen is false by default, and `socket.end()` "Half-closes
#   the socket. i.e., it sends a FIN packet. It is possible the server will still send some data". The page on http does
#   not name allowHalfOpen.
# Output seen:
#   socket.end():           the client reads an end; POST behind it: carried out, response: close
#   closeIdleConnections(): the client reads an end; POST behind it: not carried out
set -euo pipefail

command -v node > /dev/null || { echo 'node is missing: apt-get install nodejs'; exit 77; }
version=$(node --version)
echo "Node $version"
case "$version" in v20.*) ;; *) echo 'this was seen with Node 20'; exit 77 ;; esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.js" << 'JAVASCRIPT'
const http = require('http');
const sockets = new Set();
const server = http.createServer((request, response) => {
  if (request.url === '/stop') {  // over another connection; it says how
    response.end('stopping');
    response.once('finish', () => setImmediate(() => {
      if (request.headers.how === 'closeIdleConnections()') server.closeIdleConnections();
      else for (const socket of sockets) if (socket !== request.socket) socket.end();
    }));
    return;
  }
  console.log(`carried out ${request.url}`);
  for (const event of ['finish', 'error', 'close']) response.on(event, () => console.log(`${event} ${request.url}`));
  request.resume().on('end', () => response.end('done', (error) => error && console.log(`error ${request.url}`)));
});
server.on('connection', (socket) => sockets.add(socket.on('close', () => sockets.delete(socket))));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
JAVASCRIPT
cat > "$folder/see.py" << 'PYTHON'
import http.client
import socket
import subprocess
import sys
import time


def post(path):
    return f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx'.encode()


def behind_the_end(how):
    """What becomes of a POST that arrives behind the end of its connection: what the program said of it."""
    program = subprocess.Popen(['node', f'{sys.argv[1]}/program.js'], stdout=subprocess.PIPE, text=True)
    try:
        port = int(program.stdout.readline())
        peer = socket.create_connection(('127.0.0.1', port), timeout=10)
        peer.sendall(post('/before'))
        assert peer.recv(65536).startswith(b'HTTP/1.1 200')
        other = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
        other.request('GET', '/stop', headers={'how': how})
        other.getresponse().read()
        assert peer.recv(65536) == b''  # the end, behind which nothing can be answered
        peer.send(post('/behind'))  # as one does that was on its way
        time.sleep(0.5)
        peer.close()
        time.sleep(0.5)
    finally:
        program.terminate()
        said = program.communicate(timeout=10)[0]
    return [line.removesuffix(' /behind') for line in said.splitlines() if line.endswith(' /behind')]


seen = {how: behind_the_end(how) for how in ('socket.end()', 'closeIdleConnections()')}
for how, said in seen.items():
    became = f'{said[0]}, response: {", ".join(said[1:])}' if said else 'not carried out'
    print(f'{how + ":":23} the client reads an end; POST behind it: {became}')
expected = {'socket.end()': ['carried out', 'close'], 'closeIdleConnections()': []}
sys.exit(0 if seen == expected else 'CHANGED: what is carried out behind the end is another')
PYTHON
timeout 45 python3 "$folder/see.py" "$folder"
