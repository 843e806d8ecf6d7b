"""An AsyncClient of httpx, or of its successor: a task per request. It has no cap per host: a semaphore per origin instead.

One client for all origins, as people write it; or, with mode 'clients', a client per origin, which is faster: the
work that httpx's pool does for a request grows with the connections and requests that it holds.
"""

import asyncio
import ssl
from typing import Any

from benchmarks.work import HEADER, Answer, Figures, Work


def run(library: Any, work: Work) -> Figures:
    return work.check(asyncio.run(ask(library, work)))


async def ask(library: Any, work: Work) -> list[Answer]:
    tls = ssl.create_default_context()  # making one costs more than a hundred requests
    if work.mode == 'clients':
        clients = [client(library, work.simultaneous, tls) for _ in work.urls]
    else:
        clients = [client(library, work.simultaneous * work.hosts, tls)] * work.hosts
    slots = [asyncio.Semaphore(work.simultaneous) for _ in work.urls]
    origins = list(zip(clients, work.urls, slots, strict=True))
    return await asyncio.gather(*[get(*origin) for origin in work.turns(origins)])


def client(library: Any, connections: int, tls: ssl.SSLContext) -> Any:
    limits = library.Limits(max_connections=connections, max_keepalive_connections=connections)
    return library.AsyncClient(limits=limits, timeout=300, trust_env=False, verify=tls)


async def get(client: Any, url: str, slot: asyncio.Semaphore) -> Answer:
    async with slot:
        response = await client.get(url)
    return response.status_code, response.headers[HEADER], response.json()
