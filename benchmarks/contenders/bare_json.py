"""json.loads of bytes that are held, and its result beside them: the least that it costs to decode what is kept.

It asks nobody: what it holds is made here, an object with slots for each request, as a client would have it.
"""

import json
import time
from typing import Any

from benchmarks.work import Figures, Work, main


class Held:
    """A head and a body, as they came; and what the body says."""

    __slots__ = ('body', 'data', 'head')

    def __init__(self, address: str) -> None:
        self.head = (
            b'HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nX-Request-Id: %b' % address.encode()
        )
        self.data = b'{"name":"hypervisor","cpus":8,"free":8,"host":"%b"}' % address.encode()
        self.body: Any = None


def run(work: Work) -> Figures:
    held = [Held(address) for address in work.turns(work.addresses)]
    busy = time.process_time()
    for one in held:
        one.body = json.loads(one.data)
    spent = 1e6 * (time.process_time() - busy) / work.requests
    return {**work.check((200, 'x', one.body) for one in held), 'decoding_us': spent}


if __name__ == '__main__':
    main(run)
