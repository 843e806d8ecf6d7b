"""A DNS server for the case `names`: it knows the origins by name, and takes its time.

A program: `python -m benchmarks.dns_server SECONDS` listens on port 53 of 127.0.0.1, and prints a line when it does. A
has the address of the origin, all else no records.
"""

import select
import socket
import struct
import sys
import time
from collections import deque

from benchmarks.work import addresses, name_of

A = 1
#: How many origins it knows.
ORIGINS = 5000
#: The flags of an answer: a response, recursion desired and available.
ANSWER = b'\x81\x80'
#: A pointer to the name of the question, then: A, IN, a minute, four bytes.
RECORD = b'\xc0\x0c' + struct.pack('!HHIH', A, 1, 60, 4)


def answer(query: bytes, known: dict[bytes, bytes]) -> bytes:
    """The answer to a query with one question."""
    end = 12
    while query[end]:
        end += query[end] + 1
    name, (kind,) = query[12:end], struct.unpack('!H', query[end + 1 : end + 3])
    address = known.get(name.lower()) if kind == A else None
    counts = struct.pack('!HHHH', 1, address is not None, 0, 0)
    question = query[12 : end + 5]
    return query[:2] + ANSWER + counts + question + (RECORD + address if address else b'')


def packed(name: str) -> bytes:
    """A name as it is in a question, without the end."""
    return b''.join(bytes([len(label)]) + label.encode() for label in name.split('.'))


def serve(sock: socket.socket, seconds: float) -> None:
    """Answer each query so long after it came."""
    known = {packed(name_of(i)): socket.inet_aton(address) for i, address in enumerate(addresses(ORIGINS))}
    waiting: deque[tuple[float, bytes, object]] = deque()
    while True:
        patience = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([sock], [], [], patience)[0]:
            try:
                while True:
                    query, peer = sock.recvfrom(4096)
                    waiting.append((time.monotonic() + seconds, answer(query, known), peer))
            except BlockingIOError:
                pass
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, said, peer = waiting.popleft()
            sock.sendto(said, peer)  # type: ignore[arg-type]


def main() -> None:
    """Serve until killed."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind(('127.0.0.1', 53))
    sock.setblocking(False)
    print('ready', flush=True)
    serve(sock, float(sys.argv[1]))


if __name__ == '__main__':
    main()
