"""What the servers' applications write down: when a request begins to be carried out, and when that ends.

Runs in the servers' own environment, with nothing of napixclient's.
"""

import gzip
import os

#: Lines are short, so each reaches the file whole, from whatever process.
_FILE = os.open(os.environ['LEDGER'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
#: Fields and bytes of each, in a head of 100 KB.
FIELDS, FIELD_SIZE = 100, 1000
WORK_SECONDS = 0.001


def begin(request: str) -> None:
    """The request of this id is being carried out."""
    os.write(_FILE, f'B {request}\n'.encode())


def end(request: str) -> None:
    """It was."""
    os.write(_FILE, f'E {request}\n'.encode())


def answer(kind: str, request: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, fields and body for a path of two parts, `/kind/id`."""
    plain = [('Content-Type', 'text/plain')]
    if kind == 'empty':
        return 204, [], b''
    if kind == 'gzip':
        return 200, [*plain, ('Content-Encoding', 'gzip')], gzip.compress(f'{request}\n'.encode() * 1000)
    if kind == 'header':
        return 200, [*plain, *((f'X-Field-{number}', 'x' * FIELD_SIZE) for number in range(FIELDS))], request.encode()
    if kind == 'refuse':
        return 413, plain, b'too much'
    if kind == 'sum':
        return 200, plain, str(len(body)).encode()
    return 200, plain, request.encode()


def parts(path: str) -> tuple[str, str]:
    """Kind and id."""
    kind, _, request = path.strip('/').partition('/')
    return kind, request
