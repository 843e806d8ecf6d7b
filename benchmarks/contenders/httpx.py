"""httpx's AsyncClient: a task per request. It has no cap per host: a semaphore per origin instead.

One client for all origins, as people write it; or, with mode 'clients', a client per origin, which is faster: the
work that httpx's pool does for a request grows with the connections and requests that it holds.
"""

import asyncio
import ssl

from httpx import AsyncClient, Limits

from benchmarks.work import HEADER, Answer, Figures, Work, main


def run(work: Work) -> Figures:
    return work.check(asyncio.run(ask(work)))


async def ask(work: Work) -> list[Answer]:
    tls = ssl.create_default_context()  # making one costs more than a hundred requests
    if work.mode == 'clients':
        clients = [client(work.simultaneous, tls) for _ in work.urls]
    else:
        clients = [client(work.simultaneous * work.hosts, tls)] * work.hosts
    slots = [asyncio.Semaphore(work.simultaneous) for _ in work.urls]
    origins = list(zip(clients, work.urls, slots, strict=True))
    return await asyncio.gather(*[get(*origin) for origin in work.turns(origins)])


def client(connections: int, tls: ssl.SSLContext) -> AsyncClient:
    limits = Limits(max_connections=connections, max_keepalive_connections=connections)
    return AsyncClient(limits=limits, timeout=300, trust_env=False, verify=tls)


async def get(client: AsyncClient, url: str, slot: asyncio.Semaphore) -> Answer:
    async with slot:
        response = await client.get(url)
    return response.status_code, response.headers[HEADER], response.json()


if __name__ == '__main__':
    main(run)
