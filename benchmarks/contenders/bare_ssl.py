"""The interpreter's own ssl in a blocking loop, one connection after the other: the least that a handshake costs here.

No client that takes its TLS from the interpreter can do with less. It makes a connection for each request, offers the
last session of the origin where there is one, as napixclient does, and reads until the server closes.
"""

import json
import socket
import ssl

from benchmarks.work import HEADER, PATH, Answer, Figures, Outcome, Work, main

FIELD = f'\r\n{HEADER.lower()}: '.encode()


def run(work: Work) -> Figures:
    context = ssl.create_default_context(cafile=work.ca)
    sessions: dict[str, ssl.SSLSession] = {}
    answers: list[Outcome] = []
    for address in work.turns(work.addresses):
        request = f'GET {PATH} HTTP/1.1\r\nHost: {address}:{work.port}\r\n\r\n'.encode()
        with socket.create_connection((address, work.port)) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = sessions.get(address)
            with context.wrap_socket(plain, server_hostname=address, session=session) as sock:
                sock.sendall(request)
                answers.append(parsed(b''.join(iter(lambda: sock.recv(65536), b''))))
                if session is None:
                    sessions[address] = sock.session
    return work.check(answers)


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b'\r\n\r\n')
    at = head.lower().find(FIELD)
    value = head[at + len(FIELD) :].partition(b'\r\n')[0].decode('latin-1') if at >= 0 else None
    return int(head[9:12]), value, json.loads(body)


if __name__ == '__main__':
    main(run)
