#!/usr/bin/env bash
# 2026-11-30. Versions: Python 3.11.7, OpenSSL 3.0.19.
# One would guess: a `send` that raises has sent nothing. So it is with TCP, where BlockingIOError and
#   ConnectionResetError mean that not a byte of this call went out, and what the system took of it is returned. Python's
#   documentation of ssl only says that SSLWantWriteError takes the place of BlockingIOError, and that `send` returns the
#   number of bytes that it sent.
# What happens: `SSLSocket.send` is all or nothing for its caller only. OpenSSL writes one record of 16 KB after the other,
#   and where one of them does not go out, the call raises and the records before it are with the peer: here 300 KB are
#   given to it, it raises SSLWantWriteError, and the peer reads the first records. With a reset in place of a full buffer
#   it is the same. So a client that takes an error of `send` as leave to send a request again over another connection,
#   since not a byte of it went out, may have it carried out twice: the head is in the first record.
# Source: Python's documentation of ssl, "Notes on non-blocking sockets" and SSLSocket; OpenSSL's SSL_write(3) tells it of
#   SSL_MODE_ENABLE_PARTIAL_WRITE, which Python does not set: without it, success is reported "only when the complete
#   contents ... has been written".
# Output seen:
#   TCP: BlockingIOError, and the peer reads what send said that it took
#   TLS: SSLWantWriteError, and the peer reads the head and whole records
set -euo pipefail

command -v openssl > /dev/null || { echo 'openssl is missing: apt-get install openssl'; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout "$folder/key.pem" \
  -out "$folder/cert.pem" -subj /CN=localhost 2> "$folder/openssl.log"
cat > "$folder/see.py" << 'PYTHON'
import platform
import socket
import ssl
import sys
import threading

REQUEST = b'POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n' + b'x' * 300_000
print(f'Python {platform.python_version()}, {ssl.OPENSSL_VERSION}')


def pair():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 40_000)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        client.settimeout(10)
        client.connect(listener.getsockname())
        return client, listener.accept()[0]


def read(peer):
    """All that comes within half a second."""
    peer.settimeout(0.5)
    came = b''
    try:
        while data := peer.recv(65536):
            came += data
    except TimeoutError:
        pass
    return came


def send(client):
    client.setblocking(False)
    try:
        return client.send(REQUEST)
    except OSError as exc:
        return type(exc).__name__


client, peer = pair()
taken, full = 0, None
for _ in range(1000):  # the system moves some of it on meanwhile
    full = send(client)
    if isinstance(full, str):
        break
    taken += full
came = read(peer)
of_tcp = full == 'BlockingIOError' and 0 < len(came) == taken
print(f'TCP: {full}, and the peer reads {"what send said that it took" if of_tcp else (taken, len(came))}')

client, peer = pair()
ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
theirs.load_cert_chain(f'{sys.argv[1]}/cert.pem', f'{sys.argv[1]}/key.pem')
wrapped = []
thread = threading.Thread(target=lambda: wrapped.append(theirs.wrap_socket(peer, server_side=True)))
thread.start()
client = ours.wrap_socket(client)
thread.join(10)
raised = send(client)
came = read(wrapped[0])
whole = len(came) > 0 and len(came) % 16384 == 0 and came.startswith(b'POST /jobs HTTP/1.1\r\n')
print(f'TLS: {raised}, and the peer reads {"the head and whole records" if whole else len(came)}')
sys.exit(0 if of_tcp and raised == 'SSLWantWriteError' and whole else 'CHANGED: it has sent something else')
PYTHON
timeout 30 python3 "$folder/see.py" "$folder"
