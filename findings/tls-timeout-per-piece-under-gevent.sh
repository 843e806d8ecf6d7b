#!/usr/bin/env bash
# 2026-11-30. Versions: gevent 26.9.0, greenlet 3.5.6, Python 3.11.7, OpenSSL 3.0.19.
# One would guess: `settimeout(0.5)` bounds one `recv` of a TLS socket in a process patched by gevent as it does
#   in any other: where no byte of content has come after half a second, it raises TimeoutError.
# What happens: plain Python computes one deadline for the whole SSL_read and SSL_do_handshake. gevent's
#   SSLSocket waits up to 0.5 s for each piece that arrives, and starts again with each, though no byte of
#   content can be delivered before a TLS record is whole. Over a slow link, which brings a record of 62 bytes
#   in pieces of five, 0.25 s apart, a `recv` with 0.5 s takes some 3 s. A program that is to give a slow peer up
#   and ask another one does so plain, and waits under gevent.
# Source: Python's documentation of ssl, "Changed in version 3.5: The socket timeout is no longer reset each
#   time bytes are received or sent. The socket timeout is now the maximum total duration" (of SSLSocket.read
#   and do_handshake). gevent's documentation of its ssl module names no difference.
# Output seen:
#   plain:  TimeoutError after 0.5 s
#   gevent: 40 bytes after 3.0 s
set -euo pipefail

command -v openssl > /dev/null || { echo 'openssl is missing: apt-get install openssl'; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" -days 2 \
  -subj /CN=localhost 2> "$folder/openssl.log"

cat > "$folder/peer.py" << 'PYTHON'
"""A TLS peer over a slow link: one record of content, five bytes each 0.25 s; a process of its own, never patched."""
import socket
import ssl
import sys
import time

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f'{sys.argv[1]}/cert.pem', f'{sys.argv[1]}/key.pem')
listener = socket.create_server(('127.0.0.1', 0))
listener.settimeout(20)
print(listener.getsockname()[1], flush=True)
raw, _ = listener.accept()
raw.settimeout(10)
arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(arrived, leaving, server_side=True)
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        raw.sendall(leaving.read())
        arrived.write(raw.recv(65536))
raw.sendall(leaving.read())
tls.write(b'x' * 40)
record = leaving.read()
try:
    for at in range(0, len(record), 5):
        raw.sendall(record[at : at + 5])
        time.sleep(0.25)
except OSError:
    pass  # the client has had enough
PYTHON
cat > "$folder/client.py" << 'PYTHON'
import sys

if sys.argv[1] == 'gevent':
    from gevent import monkey

    monkey.patch_all()
import socket
import ssl
import time

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
client = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[2])), timeout=5))
client.settimeout(0.5)
begin = time.monotonic()
try:
    what = f'{len(client.recv(100))} bytes'
except TimeoutError:
    what = 'TimeoutError'
print(f'{what} after {time.monotonic() - begin:.1f} s')
PYTHON
see() {
  timeout 40 "$folder/venv/bin/python" "$folder/peer.py" "$folder" > "$folder/port.$1" &
  local peer=$!
  for _ in $(seq 100); do [ -s "$folder/port.$1" ] && break; sleep 0.05; done
  timeout 20 "$folder/venv/bin/python" "$folder/client.py" "$1" "$(cat "$folder/port.$1")"
  wait "$peer"
}
plain=$(see plain)
patched=$(see gevent)
echo "plain:  $plain"
echo "gevent: $patched"
case "$plain/$patched" in
  TimeoutError*/40\ bytes*) ;;
  *) echo 'CHANGED: the timeout of a TLS socket is the same with and without gevent' >&2; exit 1 ;;
esac
