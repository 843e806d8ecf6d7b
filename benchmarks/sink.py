"""A server for uploads: it reads what comes, keeps none of it, and answers 200 when all of it has come.

`python -m benchmarks.sink PORT`. nginx alone would answer before it has read a body, or write it to a file.
"""

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.nginx import Server, free_port, wait_until_up
from benchmarks.processes import ROOT, end, pinned

ADDRESS = '127.0.0.1'
PIECE = 1 << 20
length_of = re.compile(rb'\r\ncontent-length: *(\d+)', re.IGNORECASE).search


@contextmanager
def sink(core: int) -> Iterator[Server]:
    """Run the server on one core."""
    port = free_port()
    with tempfile.NamedTemporaryFile() as log:
        with pinned(core):
            command = [sys.executable, '-m', 'benchmarks.sink', str(port)]
            server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=log, text=True)
        try:
            wait_until_up(server, ADDRESS, port, Path(log.name))
            yield Server(port, '', Path(log.name))
        finally:
            end(server)


def serve(port: int) -> None:
    """Answer one connection after the other."""
    with socket.create_server((ADDRESS, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                while answer(connection):
                    pass


def answer(connection: socket.socket) -> bool:
    """Read a request and answer it; false where the client has left instead."""
    received = b''
    while b'\r\n\r\n' not in received:
        piece = connection.recv(65536)
        if not piece:
            return False
        received += piece
    head, _, body = received.partition(b'\r\n\r\n')
    length = length_of(head)
    if length is None:
        connection.sendall(b'HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n')
        return False
    if b'100-continue' in head.lower():
        connection.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
    left = int(length[1]) - len(body)
    nowhere = bytearray(PIECE)
    while left:
        # MSG_TRUNC: the kernel drops what there is, and copies nothing (tcp(7)).
        size = connection.recv_into(nowhere, min(left, PIECE), socket.MSG_TRUNC)
        if not size:
            return False
        left -= size
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    return True


if __name__ == '__main__':
    serve(int(sys.argv[1]))
