"""Large bodies: what the contenders of these cases share.

A contender is a module with up to three functions, named as the modes are, that ends in `main(globals())`:

* `large(work)` returns all bodies, whole and as bytes, in the order asked; at most `UNDER_WAY` requests are in flight;
* `streaming(work)` yields one body in pieces of whatever size, and keeps none of them;
* `upload(work)` sends the file of that name in one POST, and returns the status of the answer.
"""

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import work
from benchmarks.nginx import MARK, body_path
from benchmarks.work import Figures, Work

#: Requests that may be in flight at once where many large bodies are received.
UNDER_WAY = 64


def urls(given: Work) -> list[str]:
    """The URL of the large body, one per origin."""
    return [f'http://{origin}{body_path(given.size)}' for origin in given.origins]


def check(body: bytes, size: int) -> None:
    """AssertionError for a body that is not the file."""
    if len(body) != size or not body.startswith(MARK) or not body.endswith(MARK):
        raise AssertionError(f'{len(body)} bytes: {body[:20]!r}…{body[-20:]!r}')


def main(functions: dict[str, Callable[[Work], Any]]) -> None:
    """Do what the command line says, once, and print the figures."""

    def run(given: Work) -> Figures:
        return {'large': large, 'streaming': streaming, 'upload': upload}[given.mode](given, functions[given.mode])

    work.main(run)


def large(given: Work, receive: Callable[[Work], list[bytes]]) -> Figures:
    bodies = receive(given)
    if len(bodies) != given.requests:
        raise AssertionError(f'{len(bodies)} bodies to {given.requests} requests')
    for body in bodies:
        check(body, given.size)
    return {'failures': 0, 'held_mb': sum(map(len, bodies)) / 2**20}


def streaming(given: Work, receive: Callable[[Work], Iterable[bytes]]) -> Figures:
    size, last = 0, b''
    for piece in receive(given):
        size += len(piece)
        last = piece
    if size != given.size or not last.endswith(MARK[-1:]):
        raise AssertionError(f'{size} bytes, which end with {last[-20:]!r}')
    return {'failures': 0}


def upload(given: Work, send: Callable[[Work], int]) -> Figures:
    status = send(given)
    if status != 200:
        raise AssertionError(f'the answer is {status}')
    return {'failures': 0}
