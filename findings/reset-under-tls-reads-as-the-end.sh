#!/usr/bin/env bash
# 2026-11-30. Versions: CPython 3.11.7 and Debian 12's 3.11.2, also 3.10.13 and 3.12.1, with OpenSSL 3.0.19; 3.9.18
#   and 3.13.0 raise ConnectionResetError.
# One would guess: a connection that is reset while an answer arrives is a ConnectionResetError, under TLS as
#   without it. An answer without Content-Length ends with the connection, so whether it was ended or broken off is
#   all that tells a whole answer from a part of one.
# What happens: under TLS `recv` returns b'', the sign of an orderly end, though no close_notify came and TCP said
#   RST; the same bytes without TLS raise. http.client then hands out the part as a whole answer, status 200,
#   no error. Since Python 3.10 the read goes through SSL_read_ex, whose failures were all taken for an EOF, and
#   an EOF is what `suppress_ragged_eofs`, True by default, turns into b''. With it False the reset is an
#   SSLEOFError, which names the wrong cause but is an error.
# Source: Python's documentation of ssl, `suppress_ragged_eofs`: it speaks of an "unexpected EOF" that the other end
#   causes, not of a reset. Mended by CPython's gh-115627 (2024), which Debian 12 does not have.
# Output seen:
#   without TLS: recv ConnectionResetError, http.client ConnectionResetError
#   with TLS:    recv b'', http.client (200, b'half of the ')
set -euo pipefail

command -v openssl > /dev/null || { echo 'openssl is missing: apt-get install openssl'; exit 77; }
python=python3
for each in python3 /usr/bin/python3; do
  # Those of which it is known.
  if "$each" -c 'import sys; v = sys.version_info[:3]; sys.exit(not (
    (3, 10) <= v <= (3, 11, 7) or (3, 12) <= v <= (3, 12, 1)))'; then python=$each; break; fi
  python=
done
[ -n "$python" ] || { echo 'this needs a Python from 3.10.0 to 3.11.7, or 3.12.0 or 3.12.1'; exit 77; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" -days 2 \
  -subj /CN=localhost 2> "$folder/openssl.log"

cat > "$folder/see.py" << 'PYTHON'
import http.client
import socket
import ssl
import struct
import sys
import threading

print('Python', sys.version.split()[0], 'with', ssl.OPENSSL_VERSION)
folder = sys.argv[1]
server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(f'{folder}/cert.pem', f'{folder}/key.pem')
client_side = ssl.create_default_context(cafile=f'{folder}/cert.pem')
client_side.check_hostname = False


class Peer(threading.Thread):
    """Sends a part, and resets the connection once the part was read."""

    def __init__(self, tls):
        super().__init__(daemon=True)
        self.tls, self.arrived, self.broken = tls, threading.Event(), threading.Event()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.listener.settimeout(10)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        if self.tls:
            connection = server_side.wrap_socket(connection, server_side=True)
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of the ')
        self.arrived.wait(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # close resets
        connection.close()
        self.broken.set()


def by_recv(tls):
    peer = Peer(tls)
    client = socket.create_connection(('127.0.0.1', peer.port), timeout=10)
    if tls:
        client = client_side.wrap_socket(client)
    client.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    received = b''
    while not received.endswith(b'of the '):
        received += client.recv(65536)
    peer.arrived.set()
    assert peer.broken.wait(10)
    try:
        return repr(client.recv(65536))
    except OSError as error:
        return type(error).__name__


def by_client(tls):
    peer = Peer(tls)
    if tls:
        client = http.client.HTTPSConnection('127.0.0.1', peer.port, timeout=10, context=client_side)
    else:
        client = http.client.HTTPConnection('127.0.0.1', peer.port, timeout=10)
    client.request('GET', '/')
    answer = client.getresponse()
    part = answer.read(12)
    peer.arrived.set()
    assert peer.broken.wait(10)
    try:
        return repr((answer.status, part + answer.read()))
    except OSError as error:
        return type(error).__name__


seen = {name: (by_recv(tls), by_client(tls)) for name, tls in (('without TLS', False), ('with TLS', True))}
for name, (received, answered) in seen.items():
    print(f'{name + ":":12} recv {received}, http.client {answered}')
expected = {
    'without TLS': ('ConnectionResetError', 'ConnectionResetError'),
    'with TLS': ("b''", "(200, b'half of the ')"),
}
sys.exit(0 if seen == expected else 'CHANGED: a reset under TLS is no longer read as an orderly end')
PYTHON
timeout 40 "$python" "$folder/see.py" "$folder"
