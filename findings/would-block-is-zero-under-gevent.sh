#!/usr/bin/env bash
# 2026-11-30. Versions: gevent 26.9.0, greenlet 3.5.6, Python 3.11.7, OpenSSL 3.0.19.
# One would guess: `send` of a TLS socket that does not block and whose peer does not read raises SSLWantWriteError,
#   as Python's documentation says, in a process patched by gevent too: `recv` of the same socket raises
#   SSLWantReadError there, and `send` of a plain socket BlockingIOError.
# What happens: gevent's `send` returns 0, which `socket.send` otherwise never does for data that is not empty. Code
#   that adds up what `send` returns, and waits in a selector upon SSLWantWriteError, is not told that it has to wait.
# Source: Python's documentation of ssl, "Notes on non-blocking sockets": "Most SSLSocket methods will raise either
#   SSLWantWriteError or SSLWantReadError instead of BlockingIOError if an I/O operation would block".
# Output seen:
#   plain:  TLS send SSLWantWriteError, TLS recv SSLWantReadError, TCP send BlockingIOError
#   gevent: TLS send 0, TLS recv SSLWantReadError, TCP send BlockingIOError
set -euo pipefail

command -v openssl > /dev/null || { echo 'openssl is missing: apt-get install openssl'; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" -days 2 \
  -subj /CN=localhost 2> "$folder/openssl.log"

cat > "$folder/see.py" << 'PYTHON'
import sys

if sys.argv[1] == 'gevent':
    from gevent import monkey

    monkey.patch_all()
import socket
import ssl
import threading

folder = sys.argv[2]
server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(f'{folder}/cert.pem', f'{folder}/key.pem')
client_side = ssl.create_default_context(cafile=f'{folder}/cert.pem')
client_side.check_hostname = False
done = threading.Event()
listener = socket.create_server(('127.0.0.1', 0))
listener.settimeout(10)


def accept_and_never_read():
    connection, _ = listener.accept()
    connection.settimeout(10)
    with server_side.wrap_socket(connection, server_side=True):
        done.wait(10)


def last(call):
    """What a call says that no longer works as before."""
    for _ in range(20_000):
        try:
            result = call()
        except OSError as error:
            return type(error).__name__
        if not result:
            return str(result)
    return 'no end'


peer = threading.Thread(target=accept_and_never_read)
peer.start()
tls = client_side.wrap_socket(socket.create_connection(listener.getsockname(), timeout=10))
tls.setblocking(False)
quiet = socket.create_server(('127.0.0.1', 0))
tcp = socket.create_connection(quiet.getsockname(), timeout=10)
tcp.setblocking(False)
piece = b'x' * 16384
sent = last(lambda: tls.send(piece))
print(f'TLS send {sent}, TLS recv {last(lambda: tls.recv(1))}, TCP send {last(lambda: tcp.send(piece))}')
done.set()
peer.join()
PYTHON
plain=$(timeout 20 "$folder/venv/bin/python" "$folder/see.py" plain "$folder")
patched=$(timeout 20 "$folder/venv/bin/python" "$folder/see.py" gevent "$folder")
echo "plain:  $plain"
echo "gevent: $patched"
rest='TLS recv SSLWantReadError, TCP send BlockingIOError'
if [ "$plain" != "TLS send SSLWantWriteError, $rest" ] || [ "$patched" != "TLS send 0, $rest" ]; then
  echo 'CHANGED: a TLS send that would block no longer returns 0 under gevent' >&2
  exit 1
fi
